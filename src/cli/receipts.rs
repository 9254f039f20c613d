//! `vend receipts`: one row for each confirmed payment.

use serde::Serialize;

use super::Global;
use super::exit::{Exit, Outcome, json, runtime, say};
use super::host;
use crate::domain::id::{Buyer, PaymentHash, RequestId};
use crate::domain::job::Job;
use crate::domain::msat::Msat;
use crate::domain::time::Time;
use crate::ledger::JobFilter;

/// `vend receipts`
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only payments confirmed at or after this
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

#[derive(Serialize)]
struct Receipt {
    paid_at: Option<Time>,
    job: RequestId,
    buyer: Buyer,
    amount_msat: Msat,
    payment_hash: Option<PaymentHash>,
    wallet: String,
    model: String,
    tokens: Option<u32>,
}

fn receipt(job: &Job) -> Option<Receipt> {
    let invoice = job.invoice.as_ref().filter(|_| !job.paid.is_zero())?;
    Some(Receipt {
        paid_at: invoice.paid_at,
        job: job.id,
        buyer: job.buyer,
        amount_msat: job.paid,
        payment_hash: invoice.payment_hash,
        wallet: invoice.wallet.clone(),
        model: job.terms.model.clone(),
        tokens: job.answer.as_ref().map(|answer| {
            answer
                .prompt_tokens
                .saturating_add(answer.completion_tokens)
        }),
    })
}

/// Prints the receipts, oldest payment first.
pub fn main(global: &Global, args: &Args) -> Outcome {
    let ledger = host::look(&global.places()?.database())?;
    let jobs = runtime()?.block_on(async {
        match &ledger {
            Some(ledger) => ledger
                .jobs(JobFilter::default())
                .await
                .map_err(|error| Exit::failed(&error)),
            None => Ok(Vec::new()),
        }
    })?;
    let mut receipts: Vec<Receipt> = jobs
        .iter()
        .filter_map(receipt)
        .filter(|row| args.since.is_none_or(|since| row.paid_at >= Some(since)))
        .filter(|row| args.until.is_none_or(|until| row.paid_at < Some(until)))
        .collect();
    receipts.sort_by_key(|row| row.paid_at);
    match args.format {
        Format::Json => json(&receipts),
        Format::Csv => csv(&receipts),
    }
}

fn csv(receipts: &[Receipt]) -> Outcome {
    say("paid_at,job,buyer,amount_msat,payment_hash,wallet,model,tokens")?;
    for row in receipts {
        let known = |text: Option<String>| text.unwrap_or_default();
        say(&format!(
            "{},{},{},{},{},{},{},{}",
            known(row.paid_at.map(|at| at.to_string())),
            row.job,
            row.buyer,
            row.amount_msat.0,
            known(row.payment_hash.map(|hash| hash.to_string())),
            quoted(&row.wallet),
            quoted(&row.model),
            known(row.tokens.map(|tokens| tokens.to_string()))
        ))?;
    }
    Ok(())
}

/// A field as RFC 4180 has it; one that a spreadsheet would run as a formula gets an apostrophe in front.
fn quoted(text: &str) -> String {
    let text = crate::domain::text::clean(text, 200);
    let guard = if text.starts_with(['=', '+', '-', '@']) {
        "'"
    } else {
        ""
    };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}
