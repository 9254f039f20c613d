//! `vend stats`: earnings, funnel, drop reasons, per model and per day.

use super::Global;
use super::ask::Json;
use super::exit::{Exit, Outcome, json, runtime, say};
use super::{host, settings};
use crate::domain::energy;
use crate::domain::stats::{ModelStats, Totals};
use crate::domain::text::clean;

/// Prints the figures.
pub fn main(global: &Global, as_json: Json) -> Outcome {
    let places = global.places()?;
    let ledger = host::look(&places.database())?;
    let mut totals = runtime()?.block_on(async {
        match &ledger {
            Some(ledger) => ledger.totals().await.map_err(|error| Exit::failed(&error)),
            None => Ok(Totals::default()),
        }
    })?;
    // Figures are told whatever is wrong with the settings; the cost needs their price.
    if let Ok(settings) = settings::load(&places.config)
        && let Some(price) = settings.machine.price_per_kwh
    {
        let currency = settings.machine.currency.as_ref();
        totals.price(price, currency.unwrap_or(&settings.books.currency));
    }
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
        if stats.busy_ms > 0 {
            say(&format!(
                "        {}",
                spent(stats, totals.currency.as_deref())
            ))?;
        }
    }
    for (offer, stats) in totals.offers.iter().filter(|_| totals.offers.len() > 1) {
        say(&format!(
            "offer   {}  {} jobs, {}, {} tokens",
            clean(offer, 60),
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

/// What the machine spent on a model, and what that brought.
fn spent(stats: &ModelStats, currency: Option<&str>) -> String {
    let seconds = stats.busy_ms / 1_000;
    let mut parts = vec![format!(
        "busy {}:{:02}:{:02}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )];
    if let Some(rate) = stats.sats_per_hour {
        parts.push(format!("{rate} sats an hour"));
    }
    if stats.energy_mj > 0 {
        parts.push(format!("{:.4} kWh", energy::kwh(stats.energy_mj)));
    }
    if let (Some(cost), Some(currency)) = (stats.cost, currency) {
        parts.push(format!("which cost {cost:.4} {currency}"));
    }
    if let Some(rate) = stats.sats_per_kwh {
        parts.push(format!("{rate} sats a kWh"));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_model_earns_is_one_line() {
        let mut totals = Totals::default();
        let model = ModelStats {
            busy_ms: 1_800_000,
            energy_mj: 450_000_000,
            sats_per_hour: Some(180.0),
            sats_per_kwh: Some(720.0),
            ..ModelStats::default()
        };
        totals.models.insert("m".to_owned(), model);
        totals.price(0.3, "EUR");
        let line = spent(&totals.models["m"], totals.currency.as_deref());
        let expected =
            "busy 0:30:00, 180 sats an hour, 0.1250 kWh, which cost 0.0375 EUR, 720 sats a kWh";
        assert_eq!(line, expected);
    }
}
