//! `vend stats`: earnings, funnel, drop reasons, per model and per day.

use super::Global;
use super::ask::Json;
use super::exit::{Exit, Outcome, json, runtime, say};
use super::host;
use crate::domain::stats::Totals;
use crate::domain::text::clean;

/// Prints the figures.
pub fn main(global: &Global, as_json: Json) -> Outcome {
    let ledger = host::look(&global.places()?.database())?;
    let totals = runtime()?.block_on(async {
        match &ledger {
            Some(ledger) => ledger.totals().await.map_err(|error| Exit::failed(&error)),
            None => Ok(Totals::default()),
        }
    })?;
    if as_json.json {
        return json(&totals);
    }
    print(&totals)
}

fn print(totals: &Totals) -> Outcome {
    say(&format!(
        "earned  {} from {} jobs ({} failed, {} unpaid); owed to buyers {}",
        totals.revenue_msat.display(),
        totals.jobs,
        totals.failed,
        totals.unpaid,
        totals.owed_msat.display()
    ))?;
    if !totals.balances_msat.is_zero() {
        say(&format!(
            "of it   {} are buyers' balances, owed in work",
            totals.balances_msat.display()
        ))?;
    }
    let funnel = &totals.funnel;
    say(&format!(
        "funnel  seen {} > understood {} > admitted {} > delivered {} > paid {}",
        funnel.seen, funnel.understood, funnel.admitted, funnel.delivered, funnel.paid
    ))?;
    for (reason, count) in &totals.drops {
        say(&format!("dropped {count:>8}  {reason}"))?;
    }
    for (model, stats) in &totals.models {
        say(&format!(
            "model   {}  {} jobs, {}, {} tokens",
            clean(model, 60),
            stats.jobs,
            stats.revenue_msat.display(),
            stats.tokens
        ))?;
    }
    for (day, stats) in &totals.days {
        say(&format!(
            "{day}  {} jobs, {}",
            stats.jobs,
            stats.revenue_msat.display()
        ))?;
    }
    Ok(())
}
