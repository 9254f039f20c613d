//! An event as one line of telemetry: what an operator reads in the feed and in the log.
//!
//! Pure, and total over [`EventKind`]. It never holds a prompt, an answer, an invoice, a preimage or a secret: none of them is
//! an event's business, and the invoice that a job carries is left out here.

use std::collections::BTreeMap;

use nostr::nips::nip19::ToBech32;
use serde::{Deserialize, Serialize};

use super::event::{Event, EventKind, Level};
use super::health::{CheckStatus, HealthLevel, ShopState};
use super::job::{JobView, Status};
use super::text::clean;
use super::time::Time;

/// The longest word (category, action) in characters.
const WORD: usize = 32;
/// The longest label in characters.
const LABEL: usize = 200;
/// The longest value of the context in characters.
const VALUE: usize = 400;
/// Characters of a buyer's npub in a label.
const BUYER: usize = 12;
/// Msat in a sat.
const MSAT_PER_SAT: f64 = 1_000.0;

/// One line of telemetry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Telemetry {
    /// When.
    pub at: Time,
    /// How serious.
    pub level: Level,
    /// relay, wallet, model, job, ledger, shop.
    pub category: String,
    /// What happened, one word.
    pub action: String,
    /// Plain words, one line of at most 200 characters; clean.
    pub label: String,
    /// The one number that matters, where there is one: sats, tokens, milliseconds or a count, as the action says.
    pub value: Option<f64>,
    /// Where it happened; every value is clean and at most 400 characters long.
    pub context: BTreeMap<String, String>,
}

impl Telemetry {
    fn new(at: Time, level: Level, category: &str, action: &str, label: &str) -> Self {
        Self {
            at,
            level,
            category: clean(category, WORD),
            action: clean(action, WORD),
            label: clean(label, LABEL),
            value: None,
            context: BTreeMap::new(),
        }
    }

    fn value(mut self, value: impl Into<Option<f64>>) -> Self {
        self.value = value.into();
        self
    }

    /// Adds where it happened; an empty value says nothing and is left out.
    fn with(mut self, key: &str, value: &(impl ToString + ?Sized)) -> Self {
        let value = clean(&value.to_string(), VALUE);
        if !value.is_empty() {
            self.context.insert(key.to_owned(), value);
        }
        self
    }
}

/// What an event says, as a line of telemetry.
#[must_use]
pub fn telemetry(event: &Event) -> Telemetry {
    let at = event.at;
    let line = |level, category: &str, action: &str, label: &str| {
        Telemetry::new(at, level, category, action, label)
    };
    match &event.kind {
        EventKind::State { state, detail, .. } => {
            line(state_level(*state), "shop", state.as_str(), detail)
        }
        EventKind::Job { job, what } => of_job(at, job, what),
        EventKind::Progress {
            id,
            tokens,
            elapsed_ms,
            ..
        } => {
            let label = format!("{tokens} tokens in {:.1} s", lossy(*elapsed_ms) / 1_000.0);
            line(Level::Debug, "job", "progress", &label)
                .value(f64::from(*tokens))
                .with("job", id)
        }
        EventKind::Paid {
            id,
            amount_msat,
            late,
        } => {
            let after = if *late {
                ", after the invoice had expired"
            } else {
                ""
            };
            let label = format!("{} arrived{after}", amount_msat.display());
            line(Level::Info, "wallet", "paid", &label)
                .value(lossy(amount_msat.0) / MSAT_PER_SAT)
                .with("job", id)
        }
        EventKind::Dropped {
            reason,
            count,
            buyer,
        } => line(Level::Debug, "job", "dropped", reason)
            .value(lossy(*count))
            .with("reason", reason)
            .with("buyer", buyer),
        EventKind::Published { .. } => of_publication(event),
        EventKind::Totals { totals } => line(
            Level::Debug,
            "ledger",
            "totals",
            &format!("{} jobs, {}", totals.jobs, totals.revenue_msat.display()),
        )
        .value(lossy(totals.jobs)),
        EventKind::Queue { waiting, running } => line(
            Level::Debug,
            "job",
            "queue",
            &format!("{waiting} waiting, {running} running"),
        )
        .value(f64::from(*waiting)),
        EventKind::Load { load } => line(
            Level::Debug,
            "shop",
            "load",
            &format!("processors {} %", load.cpu_percent),
        )
        .value(f64::from(load.cpu_percent)),
        EventKind::Settings { detail } => line(Level::Info, "shop", "settings", detail),
        EventKind::Notice {
            level,
            category,
            message,
        } => line(*level, category, "notice", message),
        EventKind::Resync { missed } => {
            let label = format!("{missed} events missed; the whole state was given again");
            line(Level::Warn, "shop", "resync", &label).value(lossy(*missed))
        }
        EventKind::Check { .. }
        | EventKind::Relay { .. }
        | EventKind::Endpoint { .. }
        | EventKind::Wallet { .. } => of_health(event),
    }
}

fn of_health(event: &Event) -> Telemetry {
    let at = event.at;
    match &event.kind {
        EventKind::Check { check } => {
            let level = match check.status {
                CheckStatus::Ok => Level::Info,
                CheckStatus::Warn => Level::Warn,
                CheckStatus::Fail => Level::Error,
            };
            let kind = format!("{:?}", check.check).to_lowercase();
            let label = format!("{kind} {}: {}", check.status.as_str(), check.detail);
            Telemetry::new(at, level, "shop", "check", &label)
                .with("target", &check.target)
                .with("fix", &check.fix)
        }
        EventKind::Relay { relay } => {
            let label = format!("{} {}", relay.url, relay.detail);
            Telemetry::new(at, light_level(relay.health), "relay", &relay.state, &label)
                .value(relay.latency_ms.map(lossy))
                .with("relay", &relay.url)
        }
        EventKind::Endpoint { endpoint } => {
            let label = format!("{} {}", endpoint.name, endpoint.detail);
            let level = light_level(endpoint.health);
            Telemetry::new(at, level, "model", &endpoint.state, &label)
                .value(endpoint.tokens_per_second)
                .with("endpoint", &endpoint.name)
        }
        EventKind::Wallet { wallet } => {
            let label = format!("{} {}", wallet.backend, wallet.detail);
            let level = light_level(wallet.health);
            Telemetry::new(at, level, "wallet", &wallet.state, &label)
                .with("wallet", &wallet.backend)
        }
        // The caller sends the four above alone; any other would still be a truthful, empty line.
        _ => Telemetry::new(at, Level::Debug, "shop", "event", ""),
    }
}

fn of_job(at: Time, job: &JobView, what: &str) -> Telemetry {
    let level = match job.status {
        Status::Error | Status::Unpaid => Level::Warn,
        _ => Level::Info,
    };
    let why = job.error.as_deref().unwrap_or_default();
    let amount = match (job.paid_msat.is_zero(), job.price_msat) {
        (false, _) => format!(" {}", job.paid_msat.display()),
        (true, Some(price)) => format!(" {}", price.display()),
        (true, None) => String::new(),
    };
    let buyer = job.buyer.0.to_bech32();
    let buyer = buyer.unwrap_or_else(|_| job.buyer.to_string());
    let buyer: String = buyer.chars().take(BUYER).collect();
    let status = job.status.as_str();
    let label = format!("{} {status}{amount} by {buyer}… {why}", job.id.short());
    Telemetry::new(at, level, "job", what, &label)
        .value(job.price_msat.map(|price| lossy(price.0) / MSAT_PER_SAT))
        .with("job", &job.id)
        .with("buyer", &job.buyer)
        .with("status", job.status.as_str())
        .with("model", job.model.as_deref().unwrap_or_default())
}

fn of_publication(event: &Event) -> Telemetry {
    let EventKind::Published {
        id,
        role,
        relay,
        outcome,
        detail,
    } = &event.kind
    else {
        return Telemetry::new(event.at, Level::Debug, "relay", "published", "");
    };
    let level = match outcome.as_str() {
        "accepted" => Level::Debug,
        _ => Level::Warn,
    };
    let label = format!("{role} {outcome} by {relay} {detail}");
    let line = Telemetry::new(event.at, level, "relay", "published", &label)
        .with("relay", relay)
        .with("role", role)
        .with("outcome", outcome);
    match id {
        Some(id) => line.with("job", id),
        None => line,
    }
}

const fn state_level(state: ShopState) -> Level {
    match state {
        ShopState::Degraded => Level::Warn,
        _ => Level::Info,
    }
}

const fn light_level(health: HealthLevel) -> Level {
    match health {
        HealthLevel::Unknown | HealthLevel::Ok => Level::Info,
        HealthLevel::Warn => Level::Warn,
        HealthLevel::Down => Level::Error,
    }
}

/// A count as a figure to show. Above 2^53 the last digits are not exact, which a screen does not mind.
#[allow(clippy::cast_precision_loss)]
const fn lossy(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::text::is_hostile;

    #[test]
    fn an_event_says_who_what_and_how_bad_it_is() {
        let kind = EventKind::Notice {
            level: Level::Warn,
            category: "wallet".to_owned(),
            message: "slow\u{1b}[2J".to_owned(),
        };
        let line = telemetry(&Event { at: Time(7), kind });
        assert_eq!(
            (
                line.at,
                line.level,
                line.category.as_str(),
                line.label.as_str()
            ),
            (Time(7), Level::Warn, "wallet", "slow[2J")
        );
    }

    #[test]
    fn strangers_text_is_clean_and_bounded() {
        let kind = EventKind::Published {
            id: None,
            role: "result".to_owned(),
            relay: "wss://r\u{202e}".to_owned(),
            outcome: "refused".to_owned(),
            detail: "x\u{7}".repeat(10_000),
        };
        let line = telemetry(&Event::now(kind));
        assert!(line.label.chars().count() <= LABEL);
        let values = line.context.values().chain([&line.label]);
        assert!(values.flat_map(|text| text.chars()).all(|c| !is_hostile(c)));
    }

    #[test]
    fn a_line_reads_back_from_json() {
        let line = telemetry(&Event {
            at: Time(1_000),
            kind: EventKind::Resync { missed: 3 },
        });
        let json = serde_json::to_string(&line).unwrap();
        assert_eq!(serde_json::from_str::<Telemetry>(&json).unwrap(), line);
    }
}
