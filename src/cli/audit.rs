//! `vend audit`: asks the wallet about every invoice of a time and prints what differs from the ledger.

use std::io::IsTerminal;

use super::exit::{Exit, Outcome, json, runtime, say};
use super::{Global, host, settings};
use crate::domain::text::clean;
use crate::domain::time::Time;
use crate::engine::Place;
use crate::engine::audit::{Report, audit};
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
    let report = runtime()?.block_on(async {
        let wallet = open_wallet(&settings, &place).map_err(|error| Exit::failed(&error))?;
        let report = compared(&ledger, &*wallet, args).await;
        wallet.close().await;
        report
    })?;
    let ok = report.ok;
    if args.json {
        json(&report)?;
    } else {
        print(&report)?;
    }
    if ok { Ok(()) } else { Err(Exit::silent()) }
}

async fn compared(
    ledger: &Ledger,
    wallet: &dyn crate::wallet::Wallet,
    args: &Args,
) -> Result<Report, Exit> {
    let since = args.since.unwrap_or(Time(i64::MIN));
    let until = args.until.unwrap_or(Time(i64::MAX));
    // Five a second: a person is told how far it is.
    let watched = std::io::stderr().is_terminal();
    let told = |done: u64, all: u64| {
        if watched && (done.is_multiple_of(50) || done == all) {
            eprintln!("{done} of {all}");
        }
    };
    let report = audit(ledger, wallet, since, until, told).await;
    report.map_err(|error| Exit::failed(&error))
}

fn print(report: &Report) -> Outcome {
    for one in &report.differences {
        let hash = one
            .payment_hash
            .map_or_else(String::new, |hash| hash.to_string());
        let job = one
            .job
            .map_or_else(|| "unknown".to_owned(), |job| job.to_string());
        let ledger = serde_json::to_value(one.ledger).ok();
        let ledger = ledger.as_ref().and_then(|word| word.as_str());
        let ledger = ledger.unwrap_or("nothing");
        say(&format!(
            "{:<12} job {job}  {}  ledger: {ledger} {}  wallet: {}  {hash}",
            one.differs.as_str(),
            one.amount_msat.display(),
            one.ledger_msat.display(),
            clean(&one.wallet, 200),
        ))?;
    }
    for one in &report.errors {
        say(&format!(
            "no answer    job {}  {}",
            one.job,
            clean(&one.error, 200)
        ))?;
    }
    if !report.cut.is_empty() {
        say(&format!("ended early: {}", report.cut))?;
    }
    if !report.listed && report.cut.is_empty() {
        say("this wallet lists no invoices: one that the ledger does not have would not be found")?;
    }
    say(&format!(
        "{} invoices: {} agree, {} expired and forgotten by the wallet, {} differ, {} without an answer ({} {})",
        report.invoices,
        report.agree,
        report.forgotten,
        report.differences.len(),
        report.errors.len(),
        report.wallet,
        clean(
            report
                .identity
                .as_deref()
                .unwrap_or("which does not say who it is"),
            100
        )
    ))
}
