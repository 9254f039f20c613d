use super::*;
use crate::domain::health::{Check, CheckKind, EndpointHealth, RelayHealth};
use crate::domain::id::EndpointName;
use crate::domain::job::Status;
use crate::domain::time::Time;

/// 2026-11-18T11:06:40Z.
const NOW: Time = Time(1_795_000_000_000);
const HOUR: i64 = 3_600_000;

/// A shop that listens and has heard nobody in this hour.
fn online() -> Store {
    let mut store = Store::new();
    store.state = ShopState::Online;
    store.now = NOW;
    store.since = Time(NOW.0 - 3 * HOUR);
    store.wallet.health = HealthLevel::Ok;
    store.totals.last_request_at = Some(Time(NOW.0 - 2 * HOUR));
    store
}

/// The same with something in this hour.
fn with(hour: HourStats) -> Store {
    let mut store = online();
    store.totals.last_request_at = Some(NOW);
    store.totals.hours.insert(NOW.hour(), hour);
    store
}

fn dropped(drops: &[(&str, u64)]) -> Store {
    with(HourStats {
        seen: 7,
        drops: drops
            .iter()
            .map(|(word, n)| ((*word).to_owned(), *n))
            .collect(),
        ..HourStats::default()
    })
}

/// One was taken, and the figures have not heard of a delivery.
fn taken(status: Status) -> Store {
    let mut store = with(HourStats {
        seen: 1,
        admitted: 1,
        ..HourStats::default()
    });
    store.jobs.put(&crate::store::tests::job(1, status, NOW.0));
    store
}

fn delivered() -> Store {
    with(HourStats {
        seen: 2,
        admitted: 2,
        jobs: 2,
        ..HourStats::default()
    })
}

fn offline(detail: &str, fix: Option<&str>) -> Store {
    let mut store = Store::new();
    store.detail = detail.to_owned();
    store.checks.extend(fix.map(|fix| Check {
        check: CheckKind::Model,
        target: "m".to_owned(),
        status: CheckStatus::Fail,
        detail: detail.to_owned(),
        fix: fix.to_owned(),
    }));
    store
}

fn endpoint(health: HealthLevel) -> EndpointHealth {
    EndpointHealth {
        name: EndpointName("local".to_owned()),
        kind: "ollama".to_owned(),
        url: String::new(),
        state: String::new(),
        health,
        detail: String::new(),
        models: Vec::new(),
        running: 0,
        slots: 1,
        tokens_per_second: None,
    }
}

fn changed(mut store: Store, change: impl FnOnce(&mut Store)) -> Store {
    change(&mut store);
    store
}

#[test]
fn every_way_of_not_earning_has_its_answer() {
    let mut paid = delivered();
    let hour = paid.totals.hours.get_mut(&NOW.hour()).unwrap();
    (hour.paid, hour.revenue_msat) = (1, Msat::from_sats(42));
    let relay = |health| RelayHealth {
        health,
        ..RelayHealth::default()
    };
    let table = vec![
        (
            offline("", None),
            Mood::Quiet,
            "the shop is offline",
            "t checks it all",
        ),
        (
            changed(offline("", None), |s| s.totals.jobs = 1),
            Mood::Quiet,
            "the shop is offline",
            "go online",
        ),
        (
            offline("no endpoint has m", Some("ollama pull m")),
            Mood::Bad,
            "could not go online: no endpoint has m",
            "ollama pull m, then go online",
        ),
        (
            offline("no relay answers", None),
            Mood::Bad,
            "no relay answers",
            "vend doctor",
        ),
        (
            changed(online(), |s| s.state = ShopState::Starting),
            Mood::Quiet,
            "not selling yet",
            "",
        ),
        (
            changed(online(), |s| {
                s.state = ShopState::Paused;
                "on battery, until power returns".clone_into(&mut s.detail);
            }),
            Mood::Quiet,
            "paused: on battery, until power returns",
            "machine.*",
        ),
        (
            changed(online(), |s| s.state = ShopState::Draining),
            Mood::Quiet,
            "takes no more jobs",
            "",
        ),
        (
            changed(paid.clone(), |s| s.wallet.health = HealthLevel::Down),
            Mood::Bad,
            "the wallet is down",
            "vend doctor",
        ),
        (
            changed(online(), |s| s.wallet.can_receive_msat = Some(Msat::ZERO)),
            Mood::Bad,
            "can receive nothing",
            "liquidity",
        ),
        (
            changed(online(), |s| {
                drop(
                    s.endpoints
                        .insert("a".to_owned(), endpoint(HealthLevel::Down)),
                );
            }),
            Mood::Bad,
            "no model answers",
            "model server",
        ),
        (
            changed(online(), |s| {
                drop(s.relays.insert("a".to_owned(), relay(HealthLevel::Down)));
            }),
            Mood::Bad,
            "no relay can be reached",
            "tried again",
        ),
        (
            online(),
            Mood::Quiet,
            "no request since 09:06",
            "nostr.relays",
        ),
        (
            changed(online(), |s| s.since = NOW),
            Mood::Quiet,
            "no request since it went online at 11:06",
            "nostr.relays",
        ),
        (
            changed(online(), |s| {
                s.totals.last_request_at = Some(Time(NOW.0 - 48 * HOUR));
                s.since = Time(NOW.0 - 99 * HOUR);
            }),
            Mood::Quiet,
            "no request since 2026-11-16",
            "nostr.relays",
        ),
        (
            changed(online(), |s| s.totals.last_request_at = None),
            Mood::Quiet,
            "no request has ever come",
            "nostr.kinds",
        ),
        (
            dropped(&[("bid_too_low", 4), ("not_for_us", 9)]),
            Mood::Poll,
            "7 requests seen lately, none taken: mostly bid_too_low (4)",
            "lower price.min_price_sats",
        ),
        (
            dropped(&[("not_for_us", 9), ("duplicate", 3)]),
            Mood::Quiet,
            "addressed to other sellers",
            "",
        ),
        (dropped(&[("flood", 9)]), Mood::Poll, "mostly flood (9)", ""),
        (
            taken(Status::PendingPayment),
            Mood::Quiet,
            "at work: 1 job on the way to the buyer",
            "",
        ),
        (
            taken(Status::AwaitingPayment),
            Mood::Quiet,
            "1 job taken, to be paid before the work begins",
            "has the invoice",
        ),
        (
            taken(Status::Error),
            Mood::Poll,
            "1 job taken lately, none delivered",
            "Jobs tab",
        ),
        (
            with(HourStats {
                seen: 1,
                admitted: 1,
                ..HourStats::default()
            }),
            Mood::Poll,
            "1 job taken lately, none delivered",
            "Jobs tab",
        ),
        (
            changed(
                with(HourStats {
                    seen: 1,
                    admitted: 1,
                    ..HourStats::default()
                }),
                |s| s.queue.running = 1,
            ),
            Mood::Quiet,
            "at work: 1 running",
            "",
        ),
        (
            changed(delivered(), |s| {
                s.totals.open_credit_msat = Msat::from_sats(21);
            }),
            Mood::Quiet,
            "2 jobs delivered lately, not paid yet: 21 sats open",
            "expire",
        ),
        (
            changed(delivered(), |s| s.totals.successful = 2),
            Mood::Quiet,
            "free of charge",
            "price",
        ),
        (
            delivered(),
            Mood::Poll,
            "2 jobs delivered lately, none paid",
            "payment.mode = before",
        ),
        (paid, Mood::Good, "earning: 42 sats for 1 job", ""),
    ];
    for (store, mood, text, fix) in table {
        let verdict = store.verdict();
        assert!(verdict.text.contains(text), "{text}: {verdict:?}");
        assert_eq!(verdict.mood, mood, "{verdict:?}");
        assert_eq!(verdict.fix.is_empty(), fix.is_empty(), "{verdict:?}");
        assert!(verdict.fix.contains(fix), "{fix}: {verdict:?}");
    }
}

#[test]
fn one_part_that_still_works_is_enough_to_sell() {
    let store = changed(online(), |s| {
        s.endpoints
            .insert("a".to_owned(), endpoint(HealthLevel::Down));
        s.endpoints
            .insert("b".to_owned(), endpoint(HealthLevel::Ok));
    });
    assert!(store.verdict().text.starts_with("listening"));
}

#[test]
fn an_engine_that_tells_no_hours_is_judged_by_all_there_was() {
    let mut store = online();
    store.totals.last_request_at = None;
    store.totals.funnel.seen = 5;
    store.totals.drops.insert("busy".to_owned(), 5);
    let verdict = store.verdict();
    assert!(verdict.text.contains("mostly busy (5)"), "{verdict:?}");
    assert_eq!(verdict.key, Some("limits.queue"));
}
