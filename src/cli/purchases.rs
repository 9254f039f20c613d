//! `vend purchases`: what was bought and paid, read while vend runs and while it does not.

use std::time::Duration;

use nostr::RelayUrl;
use tokio::sync::mpsc;

use super::exit::{Exit, Outcome, json, runtime, say};
use super::{Global, host, prompt};
use crate::buyer::{Buyer, Payer, buyer_key, collect, settle_open};
use crate::config::load;
use crate::config::place::Places;
use crate::domain::purchase::PurchaseView;
use crate::domain::text::{clean, clean_lines};
use crate::ledger::Ledger;
use crate::wallet::nwc::NwcPayer;
use crate::wallet::open::SANDBOX_FOLDER;
use crate::wallet::sandbox::SandboxPayer;

/// Answers that came and were not read yet.
const LATE: usize = 1_024;
/// Rows where --limit does not say.
const ROWS: u32 = 100_000;

/// `vend purchases`
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// At most so many, newest first
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// First ask the wallet and the relays what became of those that a crash or a timeout left open, and print their answers;
    /// with a real wallet its connection string comes from `VEND_BUYER_NWC`
    #[arg(long)]
    check: bool,
    /// A relay to ask with --check; may be given several times [default: the settings' relays]
    #[arg(long, value_name = "URL", requires = "check")]
    relay: Vec<String>,
    /// How long --check waits for answers, seconds
    #[arg(long, value_name = "S", default_value_t = 10, requires = "check", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    timeout: u64,
    /// One JSON array on stdout
    #[arg(long)]
    json: bool,
}

/// Lists what was bought.
pub fn main(global: &Global, args: &Args) -> Outcome {
    let places = global.places()?;
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        if args.check {
            check(&places, args).await?;
        }
        list(&places, args).await
    });
    runtime.shutdown_background();
    done
}

async fn list(places: &Places, args: &Args) -> Outcome {
    let ledger = host::look(&places.database())?;
    let bought = match &ledger {
        Some(ledger) => ledger.purchases(false, args.limit.unwrap_or(ROWS)).await,
        None => Ok(Vec::new()),
    };
    let bought = bought.map_err(|error| Exit::failed(&error))?;
    let views: Vec<PurchaseView> = bought.into_iter().map(|one| one.view).collect();
    if args.json {
        return json(&views);
    }
    if views.is_empty() {
        return say("no purchases");
    }
    for view in &views {
        say(&line(view))?;
    }
    Ok(())
}

fn line(view: &PurchaseView) -> String {
    format!(
        "{}  {}  {:<9} {:>12}  {:<20} {}",
        view.created_at,
        view.request_id,
        view.status.as_str(),
        view.paid_msat.display().to_string(),
        clean(view.model.as_deref().unwrap_or("-"), 20),
        clean(view.error.as_deref().unwrap_or(""), 120)
    )
}

async fn check(places: &Places, args: &Args) -> Outcome {
    if !places.database().exists() {
        return Ok(());
    }
    let failed = |error: &dyn std::fmt::Display| Exit::failed(error);
    let ledger = Ledger::open(&places.database()).map_err(|error| failed(&error))?;
    let mut payers = Vec::new();
    if let Ok(payer) = SandboxPayer::open(&places.data.join(SANDBOX_FOLDER)) {
        payers.push(Payer::Sandbox(payer));
    }
    if std::env::var("VEND_BUYER_NWC").is_ok_and(|text| !text.is_empty()) {
        let uri = prompt::buyer_wallet().map_err(|error| failed(&error))?;
        let payer = NwcPayer::open(&uri).map_err(|error| failed(&error))?;
        payers.push(Payer::Nwc(Box::new(payer)));
    }
    for payer in &payers {
        settle_open(&ledger, payer)
            .await
            .map_err(|error| failed(&error))?;
    }
    answers(places, args, &ledger).await
}

async fn answers(places: &Places, args: &Args, ledger: &Ledger) -> Outcome {
    let failed = |error: &dyn std::fmt::Display| Exit::failed(error);
    let open = ledger
        .purchases(true, ROWS)
        .await
        .map_err(|error| failed(&error))?;
    let mut kinds: Vec<u16> = open.iter().map(|bought| bought.kind).collect();
    kinds.dedup();
    if kinds.is_empty() {
        return Ok(());
    }
    let urls = if args.relay.is_empty() {
        let settings = load(&places.config).map_err(|error| Exit::settings(&error))?;
        settings.nostr.relays
    } else {
        args.relay.clone()
    };
    let relays: Vec<RelayUrl> = urls
        .iter()
        .filter_map(|url| RelayUrl::parse(url).ok())
        .collect();
    let keys = buyer_key(&places.data).map_err(|error| failed(&error))?;
    let (late, mut heard) = mpsc::channel(LATE);
    let buyer = Buyer::connect(keys, relays, &kinds, Some(late));
    let wait = Duration::from_secs(args.timeout);
    let came = collect(ledger, &mut heard, wait).await;
    buyer.leave().await;
    for (bought, delivery) in came.map_err(|error| failed(&error))? {
        if args.json {
            continue;
        }
        say(&format!("answer to {}:", bought.view.request_id))?;
        say(&clean_lines(&delivery.content, 1_000_000))?;
    }
    Ok(())
}
