//! `vend demo`: the whole shop on this machine.

use secrecy::ExposeSecret;

use super::Global;
use super::exit::{Exit, Outcome, block_on, json, runtime, say};
use super::host::Host;
use super::run;
use crate::config::place::Places;
use crate::demo::{self, BANNER, DemoRelay, NOTE, Regular, Report};
use crate::gateway::{LISTEN, gateway_key};

/// Why there is no sheet.
const STOPPED: &str = "the demo was told to end before everything was sold";

/// `vend demo`
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Without a screen: sell some jobs, print the sheet, and end
    #[arg(long)]
    headless: bool,
    /// How many jobs to sell (with --headless)
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    jobs: u32,
    /// The sheet as one JSON document
    #[arg(long, requires = "headless")]
    json: bool,
    /// Without a screen: keep the shop open behind a gateway that pays play money, and print how to ask it
    #[arg(long, conflicts_with = "headless")]
    gateway: bool,
}

/// With a screen the demo keeps a data directory of its own, so that it can be killed and started again.
pub fn main(global: &Global, args: &Args) -> Outcome {
    if args.gateway {
        return behind_gateway(global);
    }
    if args.headless {
        return headless(global, args);
    }
    watched(global)
}

/// A folder of its own, gone when it is dropped, and the demo's places in it, or below --data-dir.
fn own_places(global: &Global) -> Result<(tempfile::TempDir, Places), Exit> {
    let folder = tempfile::Builder::new()
        .prefix("vend-demo-")
        .tempdir()
        .map_err(|error| Exit::failed(&error))?;
    let places = if global.data_dir.is_some() {
        global.places()?.of_demo()
    } else {
        let data = folder.path().join("data");
        Places::new(data.join("config.toml"), data)
    };
    places.prepare().map_err(|error| Exit::failed(&error))?;
    Ok((folder, places))
}

fn behind_gateway(global: &Global) -> Outcome {
    let (_folder, places) = own_places(global)?;
    block_on(async {
        let relay = DemoRelay::start().await.map_err(|e| Exit::failed(&e))?;
        demo::settings(&places.config, &relay.url, false).map_err(|e| Exit::failed(&e))?;
        let host = Host::start(&places, &global.log, None).await?;
        demo::online(&host.engine)
            .await
            .map_err(|e| Exit::failed(&e))?;
        let mut settings = super::settings::load(&places.config)?;
        // What the own endpoint answers is not bought, and buying is what is shown.
        settings.gateway.own_first = false;
        let ledger = host.engine.shop().ledger.clone();
        let first = super::gateway::start(&places, &settings, ledger.clone(), LISTEN).await;
        let gateway = match first {
            Ok(gateway) => gateway,
            // Another gateway runs on this machine.
            Err(_) => super::gateway::start(&places, &settings, ledger, "127.0.0.1:0").await?,
        };
        let key = gateway_key(&places.data).map_err(|error| Exit::failed(&error))?;
        say(NOTE)?;
        say(&format!(
            "curl -s http://{}/v1/chat/completions -H 'Authorization: Bearer {}' -H 'Content-Type: application/json' -d '{}'",
            gateway.address(),
            key.expose_secret(),
            r#"{"model":"auto","messages":[{"role":"user","content":"What is the capital of France?"}]}"#
        ))?;
        let ended = run::serve(host, None).await;
        gateway.stop().await;
        relay.stop();
        ended
    })
}

fn headless(global: &Global, args: &Args) -> Outcome {
    let (_folder, places) = own_places(global)?;
    let report = runtime()?.block_on(async {
        let relay = DemoRelay::start().await.map_err(|e| Exit::failed(&e))?;
        demo::settings(&places.config, &relay.url, false).map_err(|e| Exit::failed(&e))?;
        let mut host = Host::start(&places, &global.log, None).await?;
        let orders = host.engine.orders();
        let report = tokio::select! {
            report = demo::sell(&host.engine, &relay.url, &places.data, args.jobs) => report.map_err(|error| Exit::failed(&error)),
            () = orders.closed() => Err(Exit::failed(&STOPPED)),
            _ = host.signals.next() => Err(Exit::failed(&STOPPED)),
        };
        drop(orders);
        let ended = run::serve(host, Some(report.is_err())).await;
        relay.stop();
        ended.and(report)
    })?;
    if args.json {
        json(&report)?;
    } else {
        print(&report)?;
    }
    if report.ok {
        return Ok(());
    }
    Err(Exit::failed(
        &"not every job was delivered, paid and reconciled: see the sheet",
    ))
}

fn print(report: &Report) -> Outcome {
    say(NOTE)?;
    for job in &report.jobs {
        let price = job.price_msat.unwrap_or_default().display();
        say(&format!(
            "{}  {:<16} {:>10}  {}",
            &job.id.short(),
            job.status.as_str(),
            price,
            job.error.as_deref().unwrap_or("")
        ))?;
    }
    say(&format!(
        "buyer: {} sent, {} delivered, {} paid; seller: {} confirmed; {} ms",
        report.buyer.sent,
        report.buyer.delivered,
        report.buyer.paid_msat.display(),
        report.seller.confirmed_msat.display(),
        report.elapsed_ms
    ))?;
    say(if report.ok {
        "every job was delivered, paid and reconciled"
    } else {
        "NOT every job was delivered, paid and reconciled"
    })
}

fn watched(global: &Global) -> Outcome {
    super::dashboard::must_be_terminal("vend demo --headless")?;
    let places = global.places()?.of_demo();
    places.prepare().map_err(|error| Exit::failed(&error))?;
    block_on(async {
        // Before its settings are written: they name the relay of the demo that runs.
        if let Some(client) = super::ask::connect(&places).await {
            return super::dashboard::attach(global, &places, client, Some(BANNER)).await;
        }
        let relay = DemoRelay::start().await.map_err(|e| Exit::failed(&e))?;
        demo::settings(&places.config, &relay.url, true).map_err(|e| Exit::failed(&e))?;
        let host = Host::start(&places, &global.log, Some(demo::WATCHABLE)).await?;
        let seller = host.engine.shop().keys.public_key();
        let regular = Regular::start(relay.url.clone(), &places.data, seller);
        let outcome = super::dashboard::host(global, &places, host, Some(BANNER), true).await;
        regular.leave().await;
        relay.stop();
        outcome
    })
}
