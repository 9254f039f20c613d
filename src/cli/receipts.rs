//! `vend receipts`: one row for each confirmed payment.

use std::fs::File;
use std::io::{Read, Write};

use super::exit::{Exit, Outcome, json, runtime};
use super::{Global, host, settings};
use crate::config::place::Places;
use crate::config::{Settings, secret};
use crate::domain::books::{RATES_MAX, Rates, Receipt, cell};
use crate::domain::text::clean;
use crate::domain::time::Time;

/// `vend receipts`
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only payments confirmed at or after this: 2026-11-21 or 2026-11-21T08:30:00Z
    #[arg(long, value_name = "T", value_parser = Time::parse)]
    since: Option<Time>,
    /// Only payments confirmed before this
    #[arg(long, value_name = "T", value_parser = Time::parse)]
    until: Option<Time>,
    /// How it is written
    #[arg(long, value_enum)]
    format: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// A table for a spreadsheet
    Csv,
    /// One JSON array
    Json,
}

/// The columns of the table, in the order of [`row`].
const COLUMNS: [&str; 16] = [
    "paid_at",
    "job",
    "buyer",
    "amount_msat",
    "payment_hash",
    "wallet",
    "model",
    "tokens",
    "amount_sat",
    "preimage",
    "fee_msat",
    "refunded_msat",
    "value",
    "currency",
    "rate",
    "rate_date",
];

/// Prints the receipts, oldest payment first.
pub fn main(global: &Global, args: &Args) -> Outcome {
    let places = global.places()?;
    let settings = settings::load(&places.config)?;
    let rates = rates(&settings, &places)?;
    let since = args.since.unwrap_or(Time(i64::MIN));
    let until = args.until.unwrap_or(Time(i64::MAX));
    let mut receipts = match host::look(&places.database())? {
        Some(ledger) => runtime()?
            .block_on(ledger.receipts(since, until))
            .map_err(|error| Exit::failed(&error))?,
        None => Vec::new(),
    };
    if let Some(rates) = rates {
        for one in &mut receipts {
            one.rate(&rates, &settings.books.currency);
        }
        without_rate(&receipts, &settings);
    }
    match args.format {
        Format::Json => json(&receipts),
        Format::Csv => csv(&receipts),
    }
}

/// The seller's rates, where the settings name a file.
fn rates(settings: &Settings, places: &Places) -> Result<Option<Rates>, Exit> {
    let Some(file) = &settings.books.rates else {
        return Ok(None);
    };
    let path = secret::place(file, places.config_dir(), &|name| std::env::var_os(name));
    let shown = clean(&path.to_string_lossy(), 4_096);
    let failed =
        |why: &dyn std::fmt::Display| Exit::failed(&format!("books.rates: {shown}: {why}"));
    let mut bytes = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(RATES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| failed(&error))?;
    if bytes.len() as u64 > RATES_MAX {
        return Err(failed(&format!("larger than {RATES_MAX} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| failed(&"not text in UTF-8"))?;
    // A spreadsheet may put a byte order mark in front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Rates::parse(text).map(Some).map_err(|error| failed(&error))
}

/// Says how many payments are older than every rate, so that an empty column is no riddle.
fn without_rate(receipts: &[Receipt], settings: &Settings) {
    let count = receipts.iter().filter(|one| one.value.is_none()).count();
    if count > 0 {
        let file = settings.books.rates.as_deref().unwrap_or_default();
        let line = format!(
            "vend: {count} of {} payments have no value: {} has no rate of their day or before it",
            receipts.len(),
            clean(file, 4_096)
        );
        // With stderr gone there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

fn csv(receipts: &[Receipt]) -> Outcome {
    let mut table = ::csv::Writer::from_writer(std::io::stdout().lock());
    let failed = |error: ::csv::Error| Exit::failed(&error);
    table.write_record(COLUMNS).map_err(failed)?;
    for one in receipts {
        table.write_record(row(one)).map_err(failed)?;
    }
    table.flush().map_err(|error| Exit::failed(&error))
}

fn row(one: &Receipt) -> [String; COLUMNS.len()] {
    fn known<T: ToString>(value: Option<&T>) -> String {
        value.map_or_else(String::new, ToString::to_string)
    }
    [
        known(one.paid_at.as_ref()),
        one.job.to_string(),
        one.buyer.to_string(),
        one.amount_msat.0.to_string(),
        known(one.payment_hash.as_ref()),
        cell(&one.wallet),
        cell(&one.model),
        known(one.tokens.as_ref()),
        one.amount_sat.clone(),
        known(one.preimage.as_ref()),
        known(one.fee_msat.map(|fee| fee.0).as_ref()),
        one.refunded_msat.0.to_string(),
        known(one.value.as_ref()),
        cell(one.currency.as_deref().unwrap_or_default()),
        known(one.rate.as_ref()),
        known(one.rate_date.as_ref()),
    ]
}
