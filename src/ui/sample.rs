//! A shop in the middle of a day, for the tests of the screen.

use std::path::PathBuf;

use nostr::{EventId, PublicKey};

use super::Options;
use super::app::{App, Input};
use super::settings_form;
use crate::domain::detail::{JobDetail, RawEvent};
use crate::domain::event::{Event, EventKind, Level};
use crate::domain::health::{
    Check, CheckKind, CheckStatus, EndpointHealth, HealthLevel, RelayHealth, ShopState,
    WalletHealth,
};
use crate::domain::id::{Buyer, EndpointName, RequestId};
use crate::domain::job::{JobView, PayOrder, Status, TimelineEntry};
use crate::domain::load::{GpuLoad, MachineLoad};
use crate::domain::msat::Msat;
use crate::domain::stats::{DayStats, Funnel, HourStats, ModelStats, Totals};
use crate::domain::time::Time;

mod conditions;

pub use conditions::{STRANGE, demo, failed, hostile, starting, well};

/// 2026-11-18T11:06:40Z.
pub const NOON: i64 = 1_795_000_000_000;
/// Milliseconds.
const HOUR: i64 = 3_600_000;

/// Plain options.
pub fn options() -> Options {
    Options {
        ascii: false,
        color: true,
        theme: crate::domain::screen::ThemeName::Dark,
        health: false,
        config_path: PathBuf::from("vend.toml"),
        banner: None,
        mouse: false,
        keys: std::collections::BTreeMap::new(),
        logs: PathBuf::from("logs"),
        attached: false,
    }
}

/// A screen that knows nothing but the default settings.
pub fn empty() -> App {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vend.toml");
    crate::config::edit::init(&path).unwrap();
    let mut app = App::new(&options());
    app.handle(Input::Fields(settings_form::read(&path)));
    app
}

/// Tells the screen something that happened at noon.
pub fn tell(app: &mut App, kind: EventKind) {
    let at = Time(NOON);
    app.handle(Input::Event(Box::new(Event { at, kind })));
}

/// A job; its number makes its id, its time and its price.
pub fn job(number: u8, status: Status) -> JobView {
    JobView {
        id: RequestId(EventId::from_byte_array([number; 32])),
        buyer: Buyer(PublicKey::from_byte_array([0xb0 + number; 32])),
        kind: 5050,
        status,
        model: Some("gemma2:latest".to_owned()),
        prompt_tokens: Some(12),
        completion_tokens: Some(100 + u32::from(number)),
        elapsed_ms: Some(3_300),
        price_msat: Some(Msat::from_sats(20 + u64::from(number))),
        paid_msat: Msat::ZERO,
        bolt11: Some(format!("lnbc210n1{}", "qpzry9x8".repeat(30))),
        payment_hash: None,
        invoice_expires_at: Some(Time(NOON + 600_000)),
        result_id: None,
        owed_to_buyer_msat: Msat::ZERO,
        balance_used_msat: Msat::ZERO,
        offer: None,
        encrypted: number.is_multiple_of(2),
        error: None,
        created_at: Time(NOON + i64::from(number) * 1_000),
        updated_at: Time(NOON + i64::from(number) * 1_000),
    }
}

/// All that is kept of a job.
pub fn detail(job: JobView) -> JobDetail {
    let entry = |at: i64, what: &str, detail: &str| TimelineEntry {
        at: Time(NOON + at),
        what: what.to_owned(),
        detail: detail.to_owned(),
    };
    let signed = |role: &str, kind: u16| RawEvent {
        role: role.to_owned(),
        json: format!(
            r#"{{"id":"{}","kind":{kind},"tags":[["e","{}"]],"content":"…"}}"#,
            job.id, job.id
        ),
    };
    JobDetail {
        order: PayOrder::After,
        endpoint: Some("local".to_owned()),
        attempts: 1,
        seen_on: "wss://relay.one.example".to_owned(),
        timeline: vec![
            entry(0, "admitted", "from wss://relay.one.example"),
            entry(900, "started", "on local"),
            entry(4_200, "answered", "103 tokens, 23 sats"),
            entry(4_500, "invoiced", "payable for an hour"),
        ],
        prompt: Some("Write a haiku about the lighthouse.".to_owned()),
        answer: Some(
            "Beam over dark waves\nthe keeper's lamp turns and turns\nships come home to port"
                .to_owned(),
        ),
        request: Some(format!(
            r#"{{"id":"{}","kind":5050,"tags":[["i","Write a haiku","text"]],"content":""}}"#,
            job.id
        )),
        events: vec![signed("processing", 7000), signed("result", 6050)],
        cut: Vec::new(),
        job,
    }
}

fn health() -> Vec<EventKind> {
    let relay = |url: &str, health, state: &str, detail: &str| EventKind::Relay {
        relay: RelayHealth {
            url: url.to_owned(),
            health,
            state: state.to_owned(),
            detail: detail.to_owned(),
            ..RelayHealth::default()
        },
    };
    vec![
        EventKind::State {
            state: ShopState::Degraded,
            detail: "relay.two.example is down".to_owned(),
            since: Time(NOON),
            npub: "npub1vend0000000000000000000000000000000000000000000000000000000".to_owned(),
        },
        EventKind::Check {
            check: Check {
                check: CheckKind::Relay,
                target: "wss://relay.two.example".to_owned(),
                status: CheckStatus::Fail,
                detail: "connection refused".to_owned(),
                fix: "vend config set nostr.relays …".to_owned(),
            },
        },
        EventKind::Wallet {
            wallet: WalletHealth {
                backend: "sandbox".to_owned(),
                state: "up".to_owned(),
                health: HealthLevel::Ok,
                balance_msat: Some(Msat::from_sats(1_234)),
                sandbox: true,
                ..WalletHealth::default()
            },
        },
        EventKind::Endpoint {
            endpoint: EndpointHealth {
                name: EndpointName("local".to_owned()),
                kind: "ollama".to_owned(),
                url: "http://127.0.0.1:11434".to_owned(),
                state: "up".to_owned(),
                health: HealthLevel::Ok,
                detail: "Ollama 0.9".to_owned(),
                models: vec!["gemma2:latest".to_owned()],
                running: 1,
                slots: 1,
                tokens_per_second: Some(31.5),
            },
        },
        relay("wss://relay.one.example", HealthLevel::Ok, "subscribed", ""),
        relay(
            "wss://relay.two.example",
            HealthLevel::Down,
            "down",
            "refused; next try in 8 s",
        ),
    ]
}

fn totals() -> Totals {
    let mut totals = Totals {
        jobs: 9,
        successful: 2,
        failed: 1,
        unpaid: 1,
        revenue_msat: Msat::from_sats(2_100),
        owed_msat: Msat::from_sats(21),
        funnel: Funnel {
            seen: 40,
            understood: 31,
            admitted: 12,
            delivered: 11,
            paid: 10,
        },
        ..Totals::default()
    };
    totals.open_credit_msat = Msat::from_sats(42);
    totals.last_request_at = Some(Time(NOON));
    for (reason, times) in [
        ("not_for_us", 9),
        ("bid_too_low", 7),
        ("flood", 3),
        ("unsupported_model", 2),
        ("stale", 1),
    ] {
        totals.drops.insert(reason.to_owned(), times);
    }
    for (days, jobs) in [(0, 4), (1, 3), (5, 2), (6, 1), (7, 2)] {
        let day = DayStats {
            jobs,
            revenue_msat: Msat::from_sats(jobs * 21),
        };
        let at = Time(NOON - days * 24 * HOUR);
        totals.days.insert(at.day(), day);
    }
    for (ago, jobs) in [
        (0, 1),
        (1, 2),
        (2, 1),
        (5, 4),
        (9, 8),
        (10, 5),
        (20, 3),
        (23, 1),
    ] {
        let hour = HourStats {
            seen: jobs * 3,
            admitted: jobs,
            jobs,
            paid: jobs,
            revenue_msat: Msat::from_sats(jobs * 21 + ago),
            ..HourStats::default()
        };
        let ago = i64::try_from(ago).unwrap();
        totals.hours.insert(Time(NOON - ago * HOUR).hour(), hour);
    }
    let model = ModelStats {
        jobs: 11,
        revenue_msat: Msat::from_sats(2_100),
        tokens: 12_480,
        tokens_per_second: Some(31.5),
        ..ModelStats::default()
    };
    totals.models.insert("gemma2:latest".to_owned(), model);
    totals
}

/// A machine at work.
fn load() -> EventKind {
    let gib = 1024 * 1024 * 1024;
    EventKind::Load {
        load: Box::new(MachineLoad {
            cpu_percent: 42,
            memory_used: 3 * gib,
            memory_total: 16 * gib,
            gpus: vec![GpuLoad {
                name: "card0".to_owned(),
                busy_percent: Some(97),
                memory_used: Some(5 * gib),
                memory_total: Some(8 * gib),
            }],
        }),
    }
}

/// A screen of a shop at work.
pub fn busy() -> App {
    let mut app = empty();
    for kind in health() {
        tell(&mut app, kind);
    }
    for (number, status) in (1..).zip(Status::ALL) {
        let job = Box::new(job(number, status));
        let what = status.as_str().to_owned();
        tell(&mut app, EventKind::Job { job, what });
    }
    let kind = [
        EventKind::Progress {
            id: job(3, Status::Processing).id,
            tokens: 63,
            of: Some(512),
            elapsed_ms: 2_000,
        },
        EventKind::Queue {
            waiting: 1,
            running: 1,
        },
        EventKind::Totals {
            totals: Box::new(totals()),
        },
        load(),
        EventKind::Notice {
            level: Level::Warn,
            category: "wallet".to_owned(),
            message: "the wallet answers slowly".to_owned(),
        },
    ];
    for kind in kind {
        tell(&mut app, kind);
    }
    app
}
