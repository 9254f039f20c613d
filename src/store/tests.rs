use super::*;
use crate::domain::health::{CheckKind, CheckStatus, HealthLevel};
use crate::domain::id::{Buyer, EndpointName, RequestId};
use crate::domain::msat::Msat;
use crate::domain::stats::{DayStats, HourStats};
use nostr::{EventId, PublicKey};
use proptest::prelude::*;

const DAY: i64 = 1_795_000_000_000;

fn id(number: u32) -> RequestId {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    RequestId(EventId::from_byte_array(bytes))
}

pub(super) fn job(number: u32, status: Status, updated: i64) -> JobView {
    JobView {
        id: id(number),
        buyer: Buyer(PublicKey::from_byte_array([7; 32])),
        kind: 5050,
        status,
        model: Some("m".to_owned()),
        prompt_tokens: None,
        completion_tokens: None,
        elapsed_ms: None,
        price_msat: Some(Msat(21_000)),
        paid_msat: Msat::ZERO,
        bolt11: None,
        payment_hash: None,
        invoice_expires_at: None,
        result_id: None,
        owed_to_buyer_msat: Msat::ZERO,
        balance_used_msat: Msat::ZERO,
        offer: None,
        encrypted: false,
        error: None,
        created_at: Time(DAY + i64::from(number)),
        updated_at: Time(updated),
    }
}

fn told(kind: EventKind) -> Event {
    Event {
        at: Time(DAY),
        kind,
    }
}

fn job_event(job: JobView, what: &str) -> Event {
    told(EventKind::Job {
        job: Box::new(job),
        what: what.to_owned(),
    })
}

fn state(state: ShopState) -> Event {
    told(EventKind::State {
        state,
        detail: String::new(),
        since: Time(DAY),
        npub: "npub1".to_owned(),
    })
}

fn check(target: &str, status: CheckStatus) -> Event {
    told(EventKind::Check {
        check: Check {
            check: CheckKind::Relay,
            target: target.to_owned(),
            status,
            detail: String::new(),
            fix: String::new(),
        },
    })
}

#[test]
fn a_new_start_forgets_the_checks_of_the_last_one() {
    let mut store = Store::new();
    store.apply(&state(ShopState::Starting));
    store.apply(&check("a", CheckStatus::Fail));
    store.apply(&check("a", CheckStatus::Ok));
    store.apply(&state(ShopState::Starting));
    assert_eq!(store.checks.len(), 1);
    assert_eq!(store.checks[0].status, CheckStatus::Ok);
    store.apply(&state(ShopState::Offline));
    store.apply(&state(ShopState::Starting));
    assert!(store.checks.is_empty());
}

#[test]
fn relays_and_endpoints_of_another_time_are_not_shown() {
    let relay = told(EventKind::Relay {
        relay: RelayHealth {
            url: "wss://a".to_owned(),
            ..RelayHealth::default()
        },
    });
    let mut store = Store::new();
    for (before, after) in [
        (ShopState::Starting, ShopState::Offline),
        (ShopState::Offline, ShopState::Starting),
    ] {
        store.apply(&state(before));
        store.apply(&relay);
        store.apply(&state(before));
        assert_eq!(store.relays.len(), 1);
        store.apply(&state(after));
        assert!(store.relays.is_empty());
    }
}

#[test]
fn a_late_word_on_a_job_does_not_undo_a_later_one() {
    let mut store = Store::new();
    store.apply(&job_event(job(1, Status::Paid, 9), "paid"));
    store.apply(&job_event(job(1, Status::Processing, 5), "running"));
    assert_eq!(store.jobs.get(&id(1)).unwrap().status, Status::Paid);
}

#[test]
fn progress_lives_as_long_as_the_work() {
    let mut store = Store::new();
    let progress = told(EventKind::Progress {
        id: id(1),
        tokens: 20,
        of: Some(80),
        elapsed_ms: 2_000,
    });
    store.apply(&progress);
    assert_eq!(store.jobs.progress_of(&id(1)), None);
    store.apply(&job_event(job(1, Status::Processing, 1), "running"));
    store.apply(&progress);
    let seen = store.jobs.progress_of(&id(1)).unwrap();
    assert!((seen.speed() - 10.0).abs() < f64::EPSILON);
    assert_eq!(seen.part(), Some(0.25));
    store.apply(&job_event(job(1, Status::Paid, 2), "paid"));
    assert_eq!(store.jobs.progresses(), 0);
}

#[test]
fn ended_jobs_are_bounded_and_live_ones_are_kept() {
    let mut store = Store::new();
    store.apply(&job_event(job(0, Status::PendingPayment, 1), "known"));
    for number in 1..=2_100 {
        store.apply(&job_event(job(number, Status::Paid, 1), "known"));
    }
    assert_eq!(store.jobs.len(), JOBS_MAX + 1);
    assert!(store.jobs.get(&id(0)).is_some());
    assert!(store.jobs.get(&id(1)).is_none());
    let first = store.jobs.newest_first().next().unwrap();
    assert_eq!(first.id, id(2_100));
}

#[test]
fn the_store_knows_how_far_back_no_job_is_missing() {
    let mut store = Store::new();
    let unbroken = |store: &Store, there| store.jobs.unbroken(there).count();
    for number in 10..20 {
        store.apply(&job_event(job(number, Status::Paid, 1), "known"));
    }
    assert_eq!(unbroken(&store, 10), 10);
    // Others of the oldest one's moment may be missing.
    assert_eq!(unbroken(&store, 50), 9);
    // A payment for an old job does not fill the gap before it.
    store.apply(&job_event(job(3, Status::Paid, 1), "paid"));
    store.apply(&job_event(job(20, Status::Queued, 1), "admitted"));
    assert_eq!(unbroken(&store, 50), 10);
    store.apply(&told(EventKind::Resync { missed: 7 }));
    assert_eq!(unbroken(&store, 50), 0);
    store.apply(&job_event(job(15, Status::Paid, 1), "known"));
    assert_eq!(unbroken(&store, 50), 5);
    for number in 100..2_200 {
        store.apply(&job_event(job(number, Status::Paid, 1), "paid"));
    }
    // Forgotten down to number 199; the one that is alive stays beyond the gap.
    assert_eq!(unbroken(&store, 5_000), JOBS_MAX);
}

#[test]
fn gauges_and_snapshots_stay_out_of_the_feed() {
    let mut store = Store::new();
    store.apply(&job_event(job(1, Status::Paid, 1), "known"));
    store.apply(&told(EventKind::Queue {
        waiting: 1,
        running: 2,
    }));
    assert!(store.feed().is_empty());
    for _ in 0..FEED_MAX + 10 {
        store.apply(&told(EventKind::Resync { missed: 1 }));
    }
    assert_eq!(store.feed().len(), FEED_MAX);
    assert_eq!(store.fed(), FEED_MAX as u64 + 10);
}

#[test]
fn today_is_the_utc_day_of_the_last_event() {
    let mut totals = Totals::default();
    let stats = DayStats {
        jobs: 3,
        revenue_msat: Msat(63_000),
    };
    totals.days.insert(Time(DAY).day(), stats.clone());
    let mut store = Store::new();
    store.apply(&told(EventKind::Totals {
        totals: Box::new(totals),
    }));
    assert_eq!(store.today(), stats);
}

#[test]
fn days_and_hours_are_counted_back_from_the_last_event() {
    const HOUR: i64 = 3_600_000;
    let mut totals = Totals::default();
    for days in [0, 6, 7] {
        let day = DayStats {
            jobs: 1,
            revenue_msat: Msat(1_000),
        };
        let at = Time(DAY - days * 24 * HOUR);
        totals.days.insert(at.day(), day);
    }
    for hours in [0, 23, 24] {
        let hour = HourStats {
            jobs: 1,
            ..HourStats::default()
        };
        totals.hours.insert(Time(DAY - hours * HOUR).hour(), hour);
    }
    let mut store = Store::new();
    store.apply(&told(EventKind::Totals {
        totals: Box::new(totals),
    }));
    assert_eq!(store.last_days(7).jobs, 2);
    let hours: Vec<u64> = store.last_hours(24).iter().map(|hour| hour.jobs).collect();
    assert_eq!(hours.len(), 24);
    assert_eq!((hours[0], hours[23], hours.iter().sum()), (1, 1, 2_u64));
}

fn any_event() -> impl Strategy<Value = Event> {
    let number = 0_u32..40;
    let jobs = (number.clone(), 0..Status::ALL.len(), 0_i64..9).prop_map(|(number, status, at)| {
        job_event(job(number, Status::ALL[status], at), "changed")
    });
    let progress = (number, any::<u32>(), any::<u64>()).prop_map(|(number, tokens, elapsed_ms)| {
        told(EventKind::Progress {
            id: id(number),
            tokens,
            of: None,
            elapsed_ms,
        })
    });
    let relays = any::<String>().prop_map(|url| {
        told(EventKind::Relay {
            relay: RelayHealth {
                url,
                ..RelayHealth::default()
            },
        })
    });
    let checks = ".{0,9}".prop_map(|target| check(&target, CheckStatus::Fail));
    let notices = any::<String>().prop_map(|message| {
        told(EventKind::Notice {
            level: Level::Error,
            category: message.clone(),
            message,
        })
    });
    let states = prop_oneof![Just(ShopState::Starting), Just(ShopState::Offline)].prop_map(state);
    prop_oneof![4 => jobs, 2 => progress, 1 => relays, 1 => checks, 1 => notices, 1 => states]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_order_of_events_keeps_the_bounds(
        events in prop::collection::vec(any_event(), 0..300),
        again in prop::collection::vec(any::<prop::sample::Index>(), 0..100),
    ) {
        let mut store = Store::new();
        let twice = again.iter().filter(|_| !events.is_empty()).map(|at| at.get(&events));
        for event in events.iter().chain(twice) {
            store.apply(event);
            prop_assert!(store.feed().len() <= FEED_MAX);
            prop_assert!(store.relays.len() <= HEALTH_MAX && store.checks.len() <= HEALTH_MAX);
            prop_assert_eq!(store.jobs.newest_first().count(), store.jobs.len());
            prop_assert!(store.jobs.progresses() <= store.running().count());
        }
    }
}

/// A relay's counters change with every job; that it is still there is no news.
#[test]
fn a_light_that_stays_as_it_is_is_told_once_in_the_feed() {
    let mut store = Store::new();
    let mut tell = |relay: &RelayHealth, endpoint: &EndpointHealth| {
        for kind in [
            EventKind::Relay {
                relay: relay.clone(),
            },
            EventKind::Endpoint {
                endpoint: endpoint.clone(),
            },
        ] {
            store.apply(&Event { at: Time(1), kind });
        }
        (store.feed().len(), store.relays["wss://a"].accepted)
    };
    let mut relay = RelayHealth {
        url: "wss://a".to_owned(),
        state: "subscribed".to_owned(),
        health: HealthLevel::Ok,
        ..RelayHealth::default()
    };
    let mut endpoint = EndpointHealth {
        name: EndpointName("local".to_owned()),
        kind: "ollama".to_owned(),
        url: String::new(),
        state: "up".to_owned(),
        health: HealthLevel::Ok,
        detail: String::new(),
        models: Vec::new(),
        running: 0,
        slots: 1,
        tokens_per_second: None,
    };
    assert_eq!(tell(&relay, &endpoint), (2, 0));
    (relay.accepted, endpoint.running) = (7, 1);
    assert_eq!(tell(&relay, &endpoint), (2, 7));
    relay.health = HealthLevel::Down;
    "down".clone_into(&mut endpoint.state);
    assert_eq!(tell(&relay, &endpoint), (4, 7));
}
