//! Whatever a relay does, a new job is seen once it has healed, and nothing is believed that is not so.

use std::collections::HashMap;
use std::time::Duration;

use crate::support::fake_relay::{FakeRelay, Fault, forged};
use nostr::{Event, EventBuilder, Keys, Kind, RelayUrl, Tag, Timestamp};
use tokio::sync::mpsc;
use vend::domain::health::RelayHealth;
use vend::nostr::{
    AuthSeen, Reach, RelayEvent, Relays, RelaysConfig, Resolve, Resolved, Timing, Verdict, probe,
};

/// Far more than any of these tests needs.
const LONG: Duration = Duration::from_secs(30);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn quick() -> Timing {
    Timing {
        connect_wait: ms(1_000),
        retry_first: ms(50),
        retry_cap: ms(400),
        closed_first: ms(50),
        closed_cap: ms(400),
        restricted_wait: ms(300),
        eose_wait: ms(500),
        quiet: ms(1_000),
        refresh_every: ms(2_000),
        ok_wait: ms(1_000),
        auth_wait: ms(1_000),
        cursor_every: ms(100),
        health_every: ms(50),
        refetch_wait: ms(50),
        cancel_settle: ms(20),
        guest_idle: ms(300),
        close_wait: ms(2_000),
        ..Timing::default()
    }
}

fn config(urls: &[RelayUrl]) -> RelaysConfig {
    RelaysConfig {
        urls: urls.to_vec(),
        keys: Keys::generate(),
        kinds: vec![5050, 5100],
        since: HashMap::new(),
        max_age: Duration::from_mins(10),
        zaps: false,
        only_ours: false,
        longest_request: 64 * 1024,
        max_pow: 20,
        reach: Reach::default(),
        timing: quick(),
    }
}

/// No name is known.
struct Nobody;

impl Resolve for Nobody {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> Resolved<'a> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// As [`config`], where relays of others on loopback count as public ones.
fn among_others(urls: &[RelayUrl]) -> RelaysConfig {
    RelaysConfig {
        reach: Reach::with(std::sync::Arc::new(Nobody), |_| true),
        ..config(urls)
    }
}

struct Shop {
    relays: Relays,
    kind: mpsc::Receiver<RelayEvent>,
}

impl Shop {
    fn open(config: RelaysConfig) -> Self {
        Self::with_room(config, 4_096)
    }

    fn with_room(config: RelaysConfig, room: usize) -> Self {
        let (sender, kind) = mpsc::channel(room);
        Self {
            relays: Relays::start(config, sender),
            kind,
        }
    }

    async fn at(relay: &FakeRelay) -> Self {
        let shop = Self::open(config(&[relay.url()]));
        assert!(relay.wait_subscribed("vend-jobs", 1, LONG).await);
        shop
    }

    /// The next piece of news that `pick` picks; others are dropped.
    async fn next<T>(&mut self, mut pick: impl FnMut(RelayEvent) -> Option<T>) -> T {
        let wait = async {
            loop {
                if let Some(found) = pick(self.kind.recv().await.expect("news go on")) {
                    return found;
                }
            }
        };
        tokio::time::timeout(LONG, wait)
            .await
            .expect("the news come in time")
    }

    async fn event(&mut self) -> Event {
        self.next(|kind| match kind {
            RelayEvent::Event { event, .. } => Some(event.into_event()),
            _ => None,
        })
        .await
    }

    async fn sees(&mut self, job: &Event) {
        let seen = self.event().await;
        assert_eq!(seen.id, job.id, "no other event comes: {seen:?}");
        seen.verify().unwrap();
    }

    async fn health(&mut self, holds: impl Fn(&RelayHealth) -> bool) -> RelayHealth {
        self.next(|kind| match kind {
            RelayEvent::Health(health) if holds(&health) => Some(health),
            _ => None,
        })
        .await
    }

    async fn state(&mut self, word: &str) -> RelayHealth {
        self.health(|health| health.state == word).await
    }

    /// Everything told so far is an event of these, each once.
    fn nothing_more(&mut self) {
        while let Ok(kind) = self.kind.try_recv() {
            assert!(!matches!(kind, RelayEvent::Event { .. }), "{kind:?}");
        }
    }
}

fn job(text: &str) -> Event {
    EventBuilder::new(Kind::from_u16(5050), text)
        .sign_with_keys(&Keys::generate())
        .unwrap()
}

fn job_at(text: &str, secs_ago: u64) -> Event {
    let at = Timestamp::now() - Duration::from_secs(secs_ago);
    EventBuilder::new(Kind::from_u16(5050), text)
        .custom_created_at(at)
        .sign_with_keys(&Keys::generate())
        .unwrap()
}

/// Sets the fault, waits until it has bitten, heals, and expects to see a new job.
async fn survives(fault: Fault, bitten: impl Fn(&RelayHealth) -> bool) {
    let relay = FakeRelay::start(None).await;
    let mut shop = Shop::at(&relay).await;
    let before = job("before");
    relay.inject(&before);
    shop.sees(&before).await;

    relay.set(fault);
    shop.health(bitten).await;
    relay.heal();
    let after = job("after");
    relay.inject(&after);
    shop.sees(&after).await;
    shop.relays.close().await;
    relay.stop().await;
}

#[tokio::test]
async fn a_job_is_seen_after_every_closed() {
    for prefix in [
        "error: x",
        "rate-limited: x",
        "restricted: x",
        "blocked: x",
        "invalid: x",
        "pow: 10",
        "duplicate: x",
        "bye",
        "",
    ] {
        survives(Fault::Close(prefix.to_owned()), |health| {
            health.state == "closed"
        })
        .await;
    }
    survives(Fault::Close("auth-required: x".to_owned()), |health| {
        health.state == "needs_auth"
    })
    .await;
    survives(Fault::CloseBare, |health| health.state == "closed").await;
}

#[tokio::test]
async fn a_job_is_seen_after_the_socket_was_dropped() {
    survives(Fault::Drop, |health| {
        health.state == "down" && health.detail.contains("next try in")
    })
    .await;
}

#[tokio::test]
async fn a_job_is_seen_after_the_socket_was_half_open() {
    survives(Fault::HalfOpen, |health| health.state == "deaf").await;
}

#[tokio::test]
async fn a_job_is_seen_after_the_relay_was_deaf() {
    survives(Fault::Deaf, |health| health.state == "deaf").await;
}

#[tokio::test]
async fn a_job_is_seen_after_the_handshake_was_refused() {
    let relay = FakeRelay::start(None).await;
    relay.set(Fault::Http(403));
    let mut shop = Shop::open(config(&[relay.url()]));
    let health = shop.state("down").await;
    assert!(health.detail.contains("HTTP 403"), "{}", health.detail);
    relay.heal();
    let after = job("after");
    relay.inject(&after);
    shop.sees(&after).await;
    shop.relays.close().await;
}

#[tokio::test]
async fn a_job_is_seen_after_the_relay_was_gone_and_came_back_on_its_port() {
    let relay = FakeRelay::start(None).await;
    let mut shop = Shop::at(&relay).await;
    for round in 0..5 {
        relay.stop().await;
        let health = shop.state("down").await;
        assert!(health.detail.contains("next try in"), "{}", health.detail);
        relay.restart().await;
        let job = job(&format!("round {round}"));
        relay.inject(&job);
        shop.sees(&job).await;
    }
    shop.relays.close().await;
}

#[tokio::test]
async fn a_relay_where_nothing_listens_is_told_in_plain_words() {
    let relay = FakeRelay::start(None).await;
    relay.stop().await;
    let mut shop = Shop::open(config(&[relay.url()]));
    let health = shop.state("down").await;
    assert!(
        health
            .detail
            .starts_with("nothing listens there; next try in"),
        "{}",
        health.detail
    );
    shop.relays.close().await;
}

#[tokio::test]
async fn what_was_published_while_we_were_away_is_seen_once() {
    let relay = FakeRelay::start(None).await;
    let early = job_at("early", 300);
    relay.inject(&early);
    let mut shop = Shop::at(&relay).await;
    shop.sees(&early).await;
    relay.stop().await;
    shop.state("down").await;
    let missed = job("missed");
    relay.inject(&missed);
    relay.restart().await;
    shop.sees(&missed).await;
    let last = job("last");
    relay.inject(&last);
    shop.sees(&last).await;
    shop.relays.close().await;
}

#[tokio::test]
async fn garbage_and_unasked_and_huge_frames_cost_a_fault_and_nothing_else() {
    for fault in [Fault::Garbage, Fault::Unasked, Fault::Huge] {
        survives(fault, |health| health.faults > 0 || health.state == "down").await;
    }
}

#[tokio::test]
async fn copies_and_disorder_and_delay_and_replays_bring_each_job_once() {
    for fault in [
        Fault::Duplicate,
        Fault::Reorder,
        Fault::Delay(ms(50)),
        Fault::Replay,
    ] {
        let relay = FakeRelay::start(None).await;
        let mut shop = Shop::at(&relay).await;
        relay.set(fault);
        let jobs: Vec<Event> = (0..6).map(|n| job(&format!("job {n}"))).collect();
        for job in &jobs {
            relay.inject(job);
        }
        let mut ids = Vec::new();
        for _ in &jobs {
            ids.push(shop.event().await.id);
        }
        ids.sort();
        let mut wanted: Vec<_> = jobs.iter().map(|job| job.id).collect();
        wanted.sort();
        assert_eq!(ids, wanted);
        relay.heal();
        let last = job("last");
        relay.inject(&last);
        shop.sees(&last).await;
        shop.nothing_more();
        shop.relays.close().await;
    }
}

#[tokio::test]
async fn a_notice_is_told_once_and_cleaned() {
    let relay = FakeRelay::start(None).await;
    let mut shop = Shop::at(&relay).await;
    for _ in 0..50 {
        relay.inject_raw(r#"["NOTICE","slow\u001b[31m down\u202e"]"#);
    }
    relay.inject_raw(r#"["NOTICE","and another"]"#);
    let last = job("after");
    relay.inject(&last);
    let mut said = Vec::new();
    shop.next(|kind| match kind {
        RelayEvent::Notice { words, .. } => {
            said.push(words);
            None
        }
        RelayEvent::Event { event, .. } => (event.id == last.id).then_some(()),
        _ => None,
    })
    .await;
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("slow") && !said[0].contains(['\u{1b}', '\u{202e}']));
    shop.relays.close().await;
}

#[tokio::test]
async fn a_forgery_is_never_passed_on_and_its_victim_still_is() {
    let relay = FakeRelay::start(None).await;
    let mut shop = Shop::at(&relay).await;
    relay.set(Fault::Forge);
    let real = job("real");
    relay.inject(&real);
    let mut unverified = 0;
    let seen = shop
        .next(|kind| match kind {
            RelayEvent::Unverified { .. } => {
                unverified += 1;
                None
            }
            RelayEvent::Event { event, .. } => Some(event.into_event()),
            _ => None,
        })
        .await;
    assert_eq!((seen.id, seen.content.as_str()), (real.id, "real"));
    assert!(unverified >= 2, "the made-up one and the borrowed id");
    // And the one that came after the id was known.
    let late = shop
        .next(|kind| match kind {
            RelayEvent::Unverified { id, pubkey, .. } => Some((id, pubkey)),
            RelayEvent::Event { event, .. } => panic!("{event:?}"),
            _ => None,
        })
        .await;
    assert_eq!(late.0, real.id);
    assert_ne!(late.1, real.pubkey);
    assert!(shop.health(|health| health.faults >= 3).await.faults >= 3);
    relay.heal();
    let after = job("after");
    relay.inject(&after);
    shop.sees(&after).await;
    shop.relays.close().await;
}

#[tokio::test]
async fn two_relays_with_the_same_job_tell_it_once() {
    let (one, two) = (FakeRelay::start(None).await, FakeRelay::start(None).await);
    let mut shop = Shop::open(config(&[one.url(), two.url()]));
    assert!(
        one.wait_subscribed("vend-jobs", 1, LONG).await
            && two.wait_subscribed("vend-jobs", 1, LONG).await
    );
    for n in 0..20 {
        let job = job(&format!("{n}"));
        one.inject(&job);
        two.inject(&job);
        shop.sees(&job).await;
    }
    shop.relays.close().await;
}

#[tokio::test]
async fn authentication_is_done_and_then_both_ways_are_open() {
    let relay = FakeRelay::start(None).await;
    relay.set(Fault::Auth);
    let mut shop = Shop::open(config(&[relay.url()]));
    assert!(relay.wait_subscribed("vend-jobs", 1, LONG).await);
    let job = job("behind the door");
    relay.inject(&job);
    shop.sees(&job).await;
    let own = self::job("ours");
    assert_eq!(
        shop.relays.publish(&relay.url(), &own).await,
        Verdict::Accepted
    );
    assert!(
        relay
            .wait_for(|event| event.id == own.id, LONG)
            .await
            .is_some()
    );
    shop.relays.close().await;
}

#[tokio::test]
async fn authentication_asked_for_in_the_middle_is_done_too() {
    let relay = FakeRelay::start(None).await;
    let mut shop = Shop::at(&relay).await;
    shop.state("subscribed").await;
    let asked = relay.requests();
    relay.set(Fault::Auth);
    assert!(
        relay
            .wait_until(
                |relay| relay.requests() > asked && !relay.subscriptions().is_empty(),
                LONG
            )
            .await
    );
    let job = job("behind the door");
    relay.inject(&job);
    shop.sees(&job).await;
    shop.relays.close().await;
}

#[tokio::test]
async fn every_ok_has_its_verdict() {
    let relay = FakeRelay::start(None).await;
    let shop = Shop::at(&relay).await;
    let url = relay.url();
    let said = async |fault: Fault| {
        relay.set(fault);
        shop.relays.publish(&url, &job("x")).await
    };
    let refuse = |words: &str| Fault::Refuse(words.to_owned());
    assert_eq!(said(Fault::None).await, Verdict::Accepted);
    assert_eq!(said(refuse("duplicate: have it")).await, Verdict::Accepted);
    assert_eq!(
        said(refuse("blocked: no\u{1b}[2J")).await,
        Verdict::Refused("blocked: no[2J".into())
    );
    assert_eq!(
        said(refuse("restricted: members")).await,
        Verdict::Refused("restricted: members".into())
    );
    assert_eq!(
        said(refuse("invalid: kind")).await,
        Verdict::Refused("invalid: kind".into())
    );
    assert_eq!(
        said(refuse("rate-limited: slow")).await,
        Verdict::Slow("rate-limited: slow".into())
    );
    assert_eq!(
        said(refuse("error: disk")).await,
        Verdict::Retry("error: disk".into())
    );
    assert_eq!(said(refuse("pow: 10")).await, Verdict::NeedsPow(10));
    assert_eq!(shop.relays.wants()[0].pow, 10);
    assert_eq!(said(Fault::Pow(30)).await, Verdict::NeedsPow(30));
    let wants = &shop.relays.wants()[0];
    assert!(
        wants.left_out,
        "more than max_pow is never offered: {wants:?}"
    );
    assert!(matches!(
        said(refuse("auth-required: who?")).await,
        Verdict::NeedsAuth(_)
    ));
    assert_eq!(shop.relays.health()[0].state, "refusing");
    assert!(matches!(said(Fault::NoOk).await, Verdict::Retry(_)));
    assert_eq!(said(Fault::None).await, Verdict::Accepted);
    assert_eq!(shop.relays.health()[0].state, "subscribed");
    shop.relays.close().await;
}

#[tokio::test]
async fn a_lost_ok_is_retried_with_the_same_bytes_and_accepted_as_a_duplicate() {
    let relay = FakeRelay::start(None).await;
    let mut shop = Shop::at(&relay).await;
    for fault in [Fault::LoseOk, Fault::CutBeforeOk] {
        relay.set(fault.clone());
        let ours = job("ours");
        let said = shop.relays.publish(&relay.url(), &ours).await;
        let ended = matches!(said, Verdict::Ended(_));
        assert!(
            said.may_come_later() && ended == (fault == Fault::CutBeforeOk),
            "{said:?}"
        );
        relay.heal();
        assert!(relay.wait_subscribed("vend-jobs", 1, LONG).await);
        // A connection that was cut is noticed a moment later.
        while shop.relays.publish(&relay.url(), &ours).await != Verdict::Accepted {
            shop.next(|_| Some(())).await;
        }
        assert_eq!(
            relay
                .events()
                .iter()
                .filter(|event| event.id == ours.id)
                .count(),
            1
        );
    }
    shop.relays.close().await;
}

#[tokio::test]
async fn proof_of_work_is_read_from_the_relays_own_description() {
    let relay = FakeRelay::start(None).await;
    relay.set(Fault::Pow(12));
    let mut shop = Shop::open(config(&[relay.url()]));
    shop.health(|health| health.pow == 12).await;
    let wants = &shop.relays.wants()[0];
    assert_eq!((wants.pow, wants.left_out), (12, false));
    shop.relays.close().await;
}

#[tokio::test]
async fn a_cancellation_is_heard_only_for_live_jobs() {
    let relay = FakeRelay::start(None).await;
    let mut shop = Shop::at(&relay).await;
    let (live, other) = (job("live"), job("other"));
    let cancel = |job: &Event| {
        let builder = EventBuilder::new(Kind::EventDeletion, "").tag(Tag::event(job.id));
        builder.sign_with_keys(&Keys::generate()).unwrap()
    };
    assert!(
        relay
            .subscriptions()
            .iter()
            .all(|open| open.id == "vend-jobs")
    );
    shop.relays.watch_cancels(vec![live.id]);
    assert!(relay.wait_subscribed("vend-cancel", 1, LONG).await);
    relay.send_on("vend-cancel", &cancel(&other));
    let wanted = cancel(&live);
    relay.inject(&wanted);
    shop.sees(&wanted).await;

    // It is asked for again after a reconnect, and ends with the last job.
    relay.cut();
    let later = cancel(&live);
    relay.inject(&later);
    shop.sees(&later).await;
    shop.relays.watch_cancels(Vec::new());
    assert!(relay.wait_subscribed("vend-cancel", 0, LONG).await);
    shop.relays.close().await;
}

#[tokio::test]
async fn events_are_fetched_by_id_and_only_genuine_ones() {
    let (one, two) = (FakeRelay::start(None).await, FakeRelay::start(None).await);
    let shop = Shop::open(among_others(&[one.url()]));
    assert!(one.wait_subscribed("vend-jobs", 1, LONG).await);
    let (a, b, fake) = (job("a"), job("b"), job("fake"));
    one.store([a.clone(), forged(&fake)]);
    two.store([b.clone()]);
    let ids = vec![a.id, b.id, fake.id];
    let mut found = shop.relays.fetch(ids.clone(), vec![two.url()], LONG).await;
    found.sort_by_key(|event| event.content.clone());
    assert_eq!(found, [a.clone(), b]);
    // Every relay has answered: nothing is waited for in vain.
    assert_eq!(shop.relays.fetch(ids, Vec::new(), LONG).await, [a]);
    assert!(
        one.wait_until(
            |relay| relay
                .subscriptions()
                .iter()
                .all(|open| open.id == "vend-jobs"),
            LONG
        )
        .await
    );
    shop.relays.close().await;
}

#[tokio::test]
async fn a_relay_of_the_buyer_is_connected_to_for_as_long_as_it_is_used() {
    let (own, guest) = (FakeRelay::start(None).await, FakeRelay::start(None).await);
    let shop = Shop::open(among_others(&[own.url()]));
    assert!(own.wait_subscribed("vend-jobs", 1, LONG).await);
    let ours = job("ours");
    assert_eq!(
        shop.relays.publish(&guest.url(), &ours).await,
        Verdict::Accepted
    );
    assert!(guest.subscriptions().is_empty());
    assert!(
        guest
            .wait_until(|relay| relay.connections() == 0, LONG)
            .await,
        "left after a while"
    );
    assert_eq!(
        shop.relays.publish(&guest.url(), &ours).await,
        Verdict::Accepted
    );
    guest.stop().await;
    let said = shop.relays.publish(&guest.url(), &ours).await;
    assert!(said.may_come_later(), "{said:?}");
    assert_eq!(shop.relays.own(), [own.url()]);
    shop.relays.close().await;
}

#[tokio::test]
async fn closing_leaves_no_subscription_and_no_connection() {
    let (one, two) = (FakeRelay::start(None).await, FakeRelay::start(None).await);
    for _ in 0..5 {
        let shop = Shop::open(config(&[one.url(), two.url()]));
        shop.relays.watch_cancels(vec![job("live").id]);
        for relay in [&one, &two] {
            assert!(relay.wait_subscribed("vend-jobs", 1, LONG).await);
            assert!(relay.wait_subscribed("vend-cancel", 1, LONG).await);
            assert_eq!(relay.subscriptions().len(), 2, "never two listeners");
        }
        shop.relays.close().await;
        for relay in [&one, &two] {
            assert!(
                relay
                    .wait_until(
                        |relay| relay.connections() == 0 && relay.subscriptions().is_empty(),
                        LONG
                    )
                    .await
            );
        }
    }
}

#[tokio::test]
async fn closing_says_goodbye() {
    let relay = FakeRelay::start(None).await;
    let mut shop = Shop::at(&relay).await;
    // Everything the relay said is read: otherwise TCP may drop our last words with its unread ones.
    shop.state("subscribed").await;
    shop.relays.close().await;
    assert!(relay.wait_until(|relay| relay.closes() == 1, LONG).await);
}

#[tokio::test]
async fn closing_works_while_a_relay_does_not_answer() {
    let relay = FakeRelay::start(None).await;
    relay.set(Fault::HalfOpen);
    let shop = Shop::open(config(&[relay.url()]));
    assert!(
        relay
            .wait_until(|relay| relay.connections() > 0, LONG)
            .await
    );
    tokio::time::timeout(LONG, shop.relays.close())
        .await
        .unwrap();
    assert!(
        relay
            .wait_until(|relay| relay.connections() == 0, LONG)
            .await
    );
}

#[tokio::test]
async fn dropping_the_last_handle_ends_everything_too() {
    let relay = FakeRelay::start(None).await;
    let shop = Shop::at(&relay).await;
    drop(shop.relays);
    assert!(
        relay
            .wait_until(|relay| relay.connections() == 0, LONG)
            .await
    );
}

#[tokio::test]
async fn the_cursor_moves_when_caught_up_and_later_starts_there() {
    let relay = FakeRelay::start(None).await;
    let start = Timestamp::now().as_secs();
    let mut shop = Shop::at(&relay).await;
    let at = shop
        .next(|kind| match kind {
            RelayEvent::Cursor { at, .. } => Some(at),
            _ => None,
        })
        .await;
    assert!(at >= start);
    shop.relays.close().await;

    let mut config = config(&[relay.url()]);
    config.since.insert(relay.url(), at);
    config.max_age = Duration::from_hours(24);
    let shop = Shop::open(config);
    assert!(relay.wait_subscribed("vend-jobs", 1, LONG).await);
    let since = relay.subscriptions()[0].filters[0].since.unwrap().as_secs();
    assert_eq!(since, at - 600, "the last healthy moment less the overlap");
    shop.relays.close().await;
}

#[tokio::test]
async fn a_relay_can_be_probed() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let relay = FakeRelay::start(None).await;
    let keys = Keys::generate();
    let seen = probe(&relay.url(), &keys, LONG).await;
    assert_eq!((seen.connected, seen.auth), (Ok(()), AuthSeen::NotAsked));
    assert!(seen.subscribed.is_ok());
    assert_eq!(seen.info.unwrap().software, "fake-relay 1");
    relay.set(Fault::Auth);
    let seen = probe(&relay.url(), &keys, LONG).await;
    assert_eq!(seen.auth, AuthSeen::Accepted);
    assert!(seen.subscribed.is_ok(), "{seen:?}");
    relay.set(Fault::Close("restricted: members".into()));
    let seen = probe(&relay.url(), &keys, LONG).await;
    assert!(seen.subscribed.unwrap_err().contains("restricted: members"));
    relay.stop().await;
    let seen = probe(&relay.url(), &keys, LONG).await;
    assert_eq!(seen.connected, Err("nothing listens there".to_owned()));
    assert!(
        relay
            .wait_until(|relay| relay.connections() == 0, LONG)
            .await
    );
}

#[tokio::test]
async fn accepted_events_are_recorded_for_the_auditor() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record.jsonl");
    let relay = FakeRelay::start(Some(path.clone())).await;
    let shop = Shop::at(&relay).await;
    let ours = job("ours");
    assert_eq!(
        shop.relays.publish(&relay.url(), &ours).await,
        Verdict::Accepted
    );
    assert_eq!(
        shop.relays.publish(&relay.url(), &ours).await,
        Verdict::Accepted
    );
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), ours);
    shop.relays.close().await;
}

#[tokio::test]
async fn hundreds_of_reconnects_on_two_relays_leave_one_listener_each() {
    let (one, two) = (FakeRelay::start(None).await, FakeRelay::start(None).await);
    let mut settings = config(&[one.url(), two.url()]);
    settings.timing.retry_first = ms(1);
    settings.timing.retry_cap = ms(5);
    let mut shop = Shop::open(settings);
    for round in 0..100 {
        for relay in [&one, &two] {
            assert!(relay.wait_subscribed("vend-jobs", 1, LONG).await);
            relay.cut();
        }
        let job = job(&format!("{round}"));
        one.inject(&job);
        two.inject(&job);
        shop.sees(&job).await;
    }
    for relay in [&one, &two] {
        assert!(relay.wait_subscribed("vend-jobs", 1, LONG).await);
    }
    shop.nothing_more();
    shop.relays.close().await;
}
