//! `vend audit`: asks the wallet about every invoice of a time and prints what differs from the ledger.

use std::io::IsTerminal;

use super::exit::{Exit, Outcome, json, runtime, say};
use super::{Global, host, settings};
use crate::domain::text::clean;
use crate::domain::time::Time;
use crate::engine::Place;
use crate::engine::audit::{Sheet, audit};
use crate::engine::preflight::open_wallet;
use crate::ledger::Ledger;

/// `vend audit`
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only invoices made at or after this: 2026-11-21 or 2026-11-21T08:30:00Z
    #[arg(long, value_name = "T", value_parser = Time::parse)]
    since: Option<Time>,
    /// Only invoices made before this
    #[arg(long, value_name = "T", value_parser = Time::parse)]
    until: Option<Time>,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Compares, prints, and fails where something differs or had no answer.
pub fn main(global: &Global, args: &Args) -> Outcome {
    let places = global.places()?;
    let settings = settings::load(&places.config)?;
    let ledger = host::look(&places.database())?;
    let ledger = ledger.ok_or_else(|| Exit::failed(&"there is no ledger here yet"))?;
    let place = Place {
        config: places.config.clone(),
        data: places.data.clone(),
        pace: None,
        timing: crate::nostr::Timing::default(),
    };
    let sheet = runtime()?.block_on(async {
        let wallet = open_wallet(&settings, &place).map_err(|error| Exit::failed(&error))?;
        let sheet = compared(&ledger, &*wallet, args).await;
        wallet.close().await;
        sheet
    })?;
    let ok = sheet.ok;
    if args.json {
        json(&sheet)?;
    } else {
        print(&sheet)?;
    }
    if ok { Ok(()) } else { Err(Exit::silent()) }
}

async fn compared(
    ledger: &Ledger,
    wallet: &dyn crate::wallet::Wallet,
    args: &Args,
) -> Result<Sheet, Exit> {
    let since = args.since.unwrap_or(Time(i64::MIN));
    let until = args.until.unwrap_or(Time(i64::MAX));
    // Five a second: a person is told how far it is.
    let watched = std::io::stderr().is_terminal();
    let told = |done: u64, all: u64| {
        if watched && (done.is_multiple_of(50) || done == all) {
            eprintln!("{done} of {all}");
        }
    };
    let sheet = audit(ledger, wallet, since, until, told).await;
    sheet.map_err(|error| Exit::failed(&error))
}

fn print(sheet: &Sheet) -> Outcome {
    for one in &sheet.differences {
        let hash = one
            .payment_hash
            .map_or_else(String::new, |hash| hash.to_string());
        let ledger = serde_json::to_value(one.ledger).ok();
        let ledger = ledger.as_ref().and_then(|word| word.as_str()).unwrap_or("");
        say(&format!(
            "{:<12} job {}  {}  ledger: {ledger} {}  wallet: {}  {hash}",
            one.differs.word(),
            one.job,
            one.amount_msat.display(),
            one.ledger_msat.display(),
            clean(&one.wallet, 200),
        ))?;
    }
    for one in &sheet.errors {
        say(&format!(
            "no answer    job {}  {}",
            one.job,
            clean(&one.error, 200)
        ))?;
    }
    if !sheet.cut.is_empty() {
        say(&format!("ended early: {}", sheet.cut))?;
    }
    say(&format!(
        "{} invoices: {} agree, {} expired and forgotten by the wallet, {} differ, {} without an answer ({} {})",
        sheet.invoices,
        sheet.agree,
        sheet.forgotten,
        sheet.differences.len(),
        sheet.errors.len(),
        sheet.wallet,
        clean(
            sheet
                .identity
                .as_deref()
                .unwrap_or("which does not say who it is"),
            100
        )
    ))
}
