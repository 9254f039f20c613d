//! `vend receipts`: one row for each confirmed payment.

use std::fs::File;
use std::io::{Read, Write};

use super::exit::{Exit, Outcome, runtime};
use super::rows::Array;
use super::{Global, host, settings};
use crate::config::place::Places;
use crate::config::{Settings, secret};
use crate::domain::accounting::{RATES_MAX, Rates, Receipt, cell};
use crate::domain::text::{clean, plain};
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

/// Receipts that are read at once.
const PAGE: u32 = 500;

/// The columns of the table, in the order of [`row`].
const COLUMNS: [&str; 18] = [
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
    "left_msat",
    "offer",
];

/// Prints the receipts, oldest payment first.
pub fn main(global: &Global, args: &Args) -> Outcome {
    let places = global.places()?;
    let settings = settings::load(&places.config)?;
    let rates = rates(&settings, &places)?;
    let since = args.since.unwrap_or(Time(i64::MIN));
    let until = args.until.unwrap_or(Time(i64::MAX));
    let mut out = Out::new(args.format)?;
    let (mut count, mut without) = (0_u64, 0_u64);
    if let Some(ledger) = host::look(&places.database())? {
        let runtime = runtime()?;
        let mut after = None;
        loop {
            let page = ledger.receipts(since, until, after, PAGE);
            let page = runtime
                .block_on(page)
                .map_err(|error| Exit::failed(&error))?;
            let Some(last) = page.last() else { break };
            after = last.paid_at.map(|at| (at, last.job));
            for mut one in page {
                if let Some(rates) = &rates {
                    one.rate(rates, &settings.books.currency);
                    without += u64::from(one.value.is_none());
                }
                count += 1;
                out.put(&one)?;
            }
        }
    }
    out.end()?;
    if without > 0 {
        without_rate(without, count, &settings);
    }
    Ok(())
}

fn unwritten(error: ::csv::Error) -> Exit {
    match error.into_kind() {
        ::csv::ErrorKind::Io(error) => Exit::unwritten(&error),
        other => Exit::failed(&format!("{other:?}")),
    }
}

/// How the receipts are written, one by one.
enum Out {
    Csv(Box<::csv::Writer<std::io::Stdout>>),
    Json(Array),
}

impl Out {
    fn new(format: Format) -> Result<Self, Exit> {
        Ok(match format {
            Format::Json => Self::Json(Array::default()),
            Format::Csv => {
                let mut table = ::csv::Writer::from_writer(std::io::stdout());
                table.write_record(COLUMNS).map_err(unwritten)?;
                Self::Csv(Box::new(table))
            }
        })
    }

    fn put(&mut self, one: &Receipt) -> Outcome {
        match self {
            Self::Json(array) => array.push(one),
            Self::Csv(table) => table.write_record(row(one)).map_err(unwritten),
        }
    }

    fn end(self) -> Outcome {
        match self {
            Self::Json(array) => array.end(),
            Self::Csv(mut table) => table.flush().map_err(|error| Exit::unwritten(&error)),
        }
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
fn without_rate(without: u64, count: u64, settings: &Settings) {
    let file = settings.books.rates.as_deref().unwrap_or_default();
    let line = format!(
        "vend: {without} of {count} payments have no value: {} has no rate of their day or before it",
        clean(file, 4_096)
    );
    // With stderr gone there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{}", plain(&line));
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
        one.left_msat.0.to_string(),
        cell(one.offer.as_deref().unwrap_or_default()),
    ]
}
