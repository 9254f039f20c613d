//! `vend gateway`: buy with any program that speaks to OpenAI.

use std::time::Duration;

use secrecy::ExposeSecret;

use super::exit::{Exit, Outcome, json, runtime, say};
use super::signals::Signals;
use super::{Global, host, log, settings};
use crate::buyer::Payer;
use crate::config::place::Places;
use crate::config::schema::{Backend, Settings};
use crate::config::secret;
use crate::domain::text::clean;
use crate::gateway::{Gateway, HEAD_WAIT, LISTEN, Setup, check_listen, gateway_key, sellers};
use crate::identity;
use crate::inference::{self, Pool};
use crate::ledger::Ledger;
use crate::wallet::nwc::NwcPayer;
use crate::wallet::open::SANDBOX_FOLDER;
use crate::wallet::sandbox::SandboxPayer;

/// `vend gateway`
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Where to listen [default: gateway.listen, or 127.0.0.1:8450]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Action {
    /// Print the key that programs must send; made at first use
    Key,
    /// The sellers in the order in which they are asked, and why
    Sellers {
        /// How long to listen for them, seconds
        #[arg(long, value_name = "S", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=300))]
        timeout: u64,
        /// One JSON array on stdout
        #[arg(long)]
        json: bool,
    },
}

/// Serves until SIGTERM or SIGINT, or shows what was asked for.
pub fn main(global: &Global, args: &Args) -> Outcome {
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        match &args.action {
            Some(Action::Key) => key(global),
            Some(Action::Sellers { timeout, json }) => list(global, *timeout, *json).await,
            None => serve(global, args.listen.as_deref()).await,
        }
    });
    // A name that does not resolve must not keep the program.
    runtime.shutdown_background();
    done
}

fn key(global: &Global) -> Outcome {
    let places = global.prepared()?;
    let key = gateway_key(&places.data).map_err(|error| Exit::failed(&error))?;
    say(key.expose_secret())
}

async fn list(global: &Global, timeout: u64, as_json: bool) -> Outcome {
    let places = global.places()?;
    let settings = settings::load(&places.config)?;
    let ledger = host::look(&places.database())?;
    let wait = Duration::from_secs(timeout);
    let all = sellers(&settings, ledger.as_ref(), wait)
        .await
        .map_err(|error| Exit::failed(&error))?;
    if as_json {
        return json(&all);
    }
    if all.is_empty() {
        return say("no seller of text announces itself on your relays");
    }
    for seller in &all {
        let mark = if seller.alive { "alive" } else { "-" };
        let models: Vec<&str> = seller.models.keys().map(String::as_str).take(4).collect();
        say(&format!(
            "{:<5} {}  {}  {}\n      {}",
            mark,
            seller.npub,
            clean(&seller.name, 40),
            clean(&models.join(", "), 80),
            clean(&seller.reasons.join("; "), 160)
        ))?;
    }
    Ok(())
}

async fn serve(global: &Global, listen: Option<&str>) -> Outcome {
    let places = global.prepared()?;
    let settings = settings::load(&places.config)?;
    let log = log::start(&places.logs(), &global.log, settings.log.max_mb)?;
    let ledger = Ledger::open(&places.database()).map_err(|error| Exit::failed(&error))?;
    let listen = match listen {
        Some(listen) => listen.to_owned(),
        None if settings.gateway.listen.is_empty() => LISTEN.to_owned(),
        None => settings.gateway.listen.clone(),
    };
    let mut signals = Signals::listen()?;
    let gateway = start(&places, &settings, ledger, &listen).await?;
    let address = gateway.address();
    say(&format!(
        "http://{address}/v1 answers; its key: `vend gateway key`"
    ))?;
    if !address.ip().is_loopback() {
        say("it can be reached from other machines: whoever has the key spends your money")?;
    }
    signals.next().await;
    tokio::select! {
        () = gateway.stop() => {}
        // Told twice: at once.
        _ = signals.next() => {}
    }
    log.close().await;
    Ok(())
}

/// A gateway of these settings on this data directory.
///
/// # Errors
/// Where it can't run: the address, the wallet that pays, a file.
pub async fn start(
    places: &Places,
    settings: &Settings,
    ledger: Ledger,
    listen: &str,
) -> Result<Gateway, Exit> {
    check_listen(listen).map_err(|error| Exit::failed(&error))?;
    let setup = Setup {
        payer: payer(places, settings)?,
        own: own(places, settings)?,
        us: identity::summary(&places.identity())
            .ok()
            .and_then(|one| one.public_key),
        settings: settings.clone(),
        data: places.data.clone(),
        ledger,
        head_wait: HEAD_WAIT,
    };
    Gateway::start(setup, listen)
        .await
        .map_err(|error| Exit::failed(&error))
}

/// The wallet that spends: `gateway.nwc`; or the sandbox, where the shop's own wallet is the sandbox.
fn payer(places: &Places, settings: &Settings) -> Result<Option<Payer>, Exit> {
    if let Some(source) = &settings.gateway.nwc {
        let failed = |error: &dyn std::fmt::Display| Exit::failed(&format!("gateway.nwc: {error}"));
        let uri = secret::resolve(source, places.config_dir()).map_err(|error| failed(&error))?;
        let payer = NwcPayer::open(&uri).map_err(|error| failed(&error))?;
        return Ok(Some(Payer::Nwc(Box::new(payer))));
    }
    if settings.wallet.backend != Backend::Sandbox {
        return Ok(None);
    }
    let payer = SandboxPayer::open(&places.data.join(SANDBOX_FOLDER));
    let payer = payer.map_err(|error| Exit::failed(&error))?;
    Ok(Some(Payer::Sandbox(payer)))
}

fn own(places: &Places, settings: &Settings) -> Result<Option<Pool>, Exit> {
    if !settings.gateway.own_first {
        return Ok(None);
    }
    let resolve =
        |source: &crate::config::schema::SecretSource| secret::resolve(source, places.config_dir());
    let endpoints = inference::open(&settings.endpoints.0, resolve, None);
    let endpoints = endpoints.map_err(|error| Exit::failed(&error))?;
    Ok(Some(Pool::new(endpoints)))
}
