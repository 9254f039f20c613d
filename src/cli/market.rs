//! `vend market`: what is asked and charged on the seller's relays, and what was missed.

use super::Global;
use super::exit::{Exit, Outcome, json, runtime, say};
use super::{host, settings};
use crate::domain::market::{DAYS_KEPT, Other, Report};
use crate::domain::msat::Msat;
use crate::domain::text::clean;
use crate::domain::time::Time;

/// Sellers and models that are printed.
const SHOWN: usize = 20;

/// `vend market`
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// How many days, today among them; 90 are kept
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..=DAYS_KEPT))]
    days: u64,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Prints it.
pub fn main(global: &Global, args: Args) -> Outcome {
    let places = global.places()?;
    let ledger = host::look(&places.database())?;
    let now = Time::now();
    let report = runtime()?.block_on(async {
        match &ledger {
            Some(ledger) => {
                let report = ledger.market(args.days, now).await;
                report.map_err(|error| Exit::failed(&error))
            }
            None => Ok(Report {
                days: args.days,
                ..Report::default()
            }),
        }
    })?;
    if args.json {
        return json(&report);
    }
    let settings = settings::load(&places.config)?;
    let mut ours = settings.text.allow_models.clone();
    ours.push(settings.text.model.clone());
    for line in lines(&report, &ours) {
        say(&line)?;
    }
    if !settings.market.watch {
        say("nothing is counted while market.watch is false")?;
    }
    Ok(())
}

/// In plain words.
fn lines(report: &Report, ours: &[String]) -> Vec<String> {
    let mut lines = vec![summary(report, ours)];
    for one in &report.requests {
        let bid = one.bid_msat_median.map_or_else(String::new, |bid| {
            format!(", the middle bid {}", bid.display())
        });
        let mut models: Vec<(&String, &u64)> = one.models.iter().collect();
        models.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let named: Vec<String> = models
            .into_iter()
            .take(SHOWN)
            .map(|(name, count)| format!("{} {count}", clean(name, 60)))
            .collect();
        let named = if named.is_empty() {
            String::new()
        } else {
            format!("; named {}", named.join(", "))
        };
        lines.push(format!(
            "{}  kind {}  {}{bid}{named}",
            one.day,
            one.kind,
            requests(one.count)
        ));
    }
    for missed in &report.missed {
        let worth = match missed.worth_msat {
            Msat::ZERO => String::new(),
            worth => format!(", worth at least {}", worth.display()),
        };
        lines.push(format!(
            "missed  {}  {}{worth}",
            missed.reason,
            requests(missed.count)
        ));
    }
    lines.extend(report.sellers.iter().take(SHOWN).map(seller));
    if report.sellers.len() > SHOWN {
        lines.push(format!(
            "and {} more sellers: --json has all",
            report.sellers.len() - SHOWN
        ));
    }
    lines
}

fn summary(report: &Report, ours: &[String]) -> String {
    let days = match report.days {
        1 => "today".to_owned(),
        days => format!("in {days} days"),
    };
    let sellers = match report.sellers.len() {
        0 => String::new(),
        1 => "; 1 other seller announces itself".to_owned(),
        many => format!("; {many} other sellers announce themselves"),
    };
    format!(
        "{} {days}; {} named a model you have{sellers}",
        requests(report.count()),
        report.named(ours)
    )
}

fn seller(other: &Other) -> String {
    let sign = if other.alive { "there" } else { "silent" };
    let mut models: Vec<String> = other
        .models
        .iter()
        .take(SHOWN)
        .map(|(name, charge)| {
            let least = charge.min_msat.map_or_else(
                || "no price".to_owned(),
                |least| format!("from {}", Msat(least).display()),
            );
            format!("{} {least}", clean(name, 60))
        })
        .collect();
    if models.is_empty() {
        models.push("names no model".to_owned());
    }
    let name = if other.name.is_empty() {
        &other.npub
    } else {
        &other.name
    };
    format!("seller  {}  {sign}  {}", clean(name, 64), models.join(", "))
}

fn requests(count: u64) -> String {
    match count {
        1 => "1 request".to_owned(),
        _ => format!("{count} requests"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::market::{Charge, Missed, Requests};

    #[test]
    fn it_is_told_in_plain_words() {
        let report = Report {
            days: 7,
            requests: vec![Requests {
                day: "2026-11-21".to_owned(),
                kind: 5050,
                count: 3,
                models: BTreeMap::from([("gemma2".to_owned(), 1), ("gpt-9".to_owned(), 1)]),
                bid_msat_median: Some(Msat(12_000)),
            }],
            sellers: vec![Other {
                npub: "npub1x".to_owned(),
                name: "other".to_owned(),
                kinds: vec![5050],
                alive: true,
                models: BTreeMap::from([(
                    "a".to_owned(),
                    Charge {
                        min_msat: Some(5_000),
                        ..Charge::default()
                    },
                )]),
            }],
            missed: vec![Missed {
                reason: "busy".to_owned(),
                count: 2,
                worth_msat: Msat(20_000),
            }],
        };
        assert_eq!(
            lines(&report, &["gemma2:latest".to_owned()]),
            [
                "3 requests in 7 days; 1 named a model you have; 1 other seller announces itself",
                "2026-11-21  kind 5050  3 requests, the middle bid 12 sats; named gemma2 1, gpt-9 1",
                "missed  busy  2 requests, worth at least 20 sats",
                "seller  other  there  a from 5 sats",
            ]
        );
    }
}
