//! The traps of nostr-sdk 0.44 that lose jobs or money: what the plain use of it does, and what this shop does.
//!
//! Two are shown on our side alone. A half-open socket is noticed by nostr-sdk after 55 to 110 seconds, which no test should
//! wait for. `verify_subscriptions` loses an event only in a race between two threads, which can't be staged.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::fake_relay::{FakeRelay, Fault, forged};
use nostr::{
    Event, EventBuilder, Filter, Keys, Kind, PublicKey, RelayMessage, RelayUrl, SubscriptionId,
    Tag, Timestamp,
};
use nostr_sdk::pool::RelayNotification;
use nostr_sdk::{
    Client, ClientOptions, Relay, RelayOptions, RelayPoolNotification, RelayPoolOptions,
    RelayStatus,
};
use tokio::sync::{broadcast, mpsc};
use vend::nostr::{RelayEvent, Relays, RelaysConfig, Timing, Verdict};

/// Far more than any of these tests needs.
const LONG: Duration = Duration::from_secs(30);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn job(text: &str) -> Event {
    job_of(&Keys::generate(), text)
}

fn job_of(keys: &Keys, text: &str) -> Event {
    EventBuilder::new(Kind::from_u16(5050), text)
        .sign_with_keys(keys)
        .unwrap()
}

/// An event that nobody asks for.
fn note(text: &str) -> Event {
    EventBuilder::text_note(text)
        .sign_with_keys(&Keys::generate())
        .unwrap()
}

// Ours.

fn config(urls: Vec<RelayUrl>) -> RelaysConfig {
    RelaysConfig {
        urls,
        keys: Keys::generate(),
        kinds: vec![5050],
        since: HashMap::new(),
        max_age: Duration::from_mins(10),
        zaps: false,
        only_ours: false,
        longest_request: 64 * 1024,
        max_pow: 20,
        reach: vend::nostr::Reach::default(),
        timing: Timing {
            retry_first: ms(50),
            retry_cap: ms(400),
            closed_first: ms(50),
            closed_cap: ms(400),
            restricted_wait: ms(300),
            eose_wait: ms(500),
            quiet: ms(1_000),
            refresh_every: ms(2_000),
            ok_wait: ms(1_000),
            health_every: ms(50),
            refetch_wait: ms(20),
            rate: 100_000,
            burst: 100_000,
            ..Timing::default()
        },
    }
}

fn ours(relay: &FakeRelay) -> (Relays, mpsc::Receiver<RelayEvent>) {
    let (sender, kind) = mpsc::channel(1_024);
    (Relays::start(config(vec![relay.url()]), sender), kind)
}

async fn next<T>(
    kind: &mut mpsc::Receiver<RelayEvent>,
    mut pick: impl FnMut(RelayEvent) -> Option<T>,
) -> T {
    let wait = async {
        loop {
            if let Some(found) = pick(kind.recv().await.unwrap()) {
                return found;
            }
        }
    };
    tokio::time::timeout(LONG, wait)
        .await
        .expect("the news come in time")
}

async fn event(kind: &mut mpsc::Receiver<RelayEvent>) -> Event {
    next(kind, |kind| match kind {
        RelayEvent::Event { event, .. } => Some(event.into_event()),
        _ => None,
    })
    .await
}

async fn state(kind: &mut mpsc::Receiver<RelayEvent>, word: &str) {
    next(kind, |kind| {
        matches!(kind, RelayEvent::Health(health) if health.state == word).then_some(())
    })
    .await;
}

async fn sees(kind: &mut mpsc::Receiver<RelayEvent>, job: &Event) {
    assert_eq!(event(kind).await.id, job.id);
}

// nostr-sdk as its examples use it.

struct Naive {
    client: Client,
    relay: Relay,
    sub: SubscriptionId,
}

impl Naive {
    async fn add(url: RelayUrl, options: RelayOptions, room: usize) -> Self {
        let pool = RelayPoolOptions::new().notification_channel_size(room);
        let client = Client::builder()
            .signer(Keys::generate())
            .opts(ClientOptions::new().pool(pool))
            .build();
        let options = options
            .retry_interval(ms(1_500))
            .adjust_retry_interval(false);
        client.pool().add_relay(&url, options).await.unwrap();
        let relay = client.pool().relay(&url).await.unwrap();
        let sub = SubscriptionId::new("naive");
        Self { client, relay, sub }
    }

    async fn at(relay: &FakeRelay) -> Self {
        let naive = Self::add(relay.url(), RelayOptions::new(), 4_096).await;
        naive.client.connect().await;
        naive.relay.wait_for_connection(LONG).await;
        naive.subscribe().await;
        assert!(relay.wait_subscribed("naive", 1, LONG).await);
        naive
    }

    async fn subscribe(&self) -> bool {
        let filter = Filter::new()
            .kind(Kind::from_u16(5050))
            .since(Timestamp::now() - Duration::from_mins(10));
        let output = self
            .client
            .subscribe_with_id(self.sub.clone(), filter, None)
            .await;
        output.is_ok_and(|output| output.failed.is_empty())
    }

    /// Everything the relay said before has been read, and everything we said has been heard.
    async fn settle(&self) {
        self.client.send_event(&note("settle")).await.unwrap();
    }

    async fn close(self) {
        self.client.shutdown().await;
    }
}

async fn status(notes: &mut broadcast::Receiver<RelayNotification>, wanted: RelayStatus) {
    let wait = async {
        while !matches!(notes.recv().await, Ok(RelayNotification::RelayStatus { status }) if status == wanted)
        {
        }
    };
    tokio::time::timeout(LONG, wait).await.unwrap();
}

async fn message<T>(
    notes: &mut broadcast::Receiver<RelayPoolNotification>,
    mut pick: impl FnMut(RelayMessage<'static>) -> Option<T>,
) -> T {
    let wait = async {
        loop {
            if let RelayPoolNotification::Message { message, .. } = notes.recv().await.unwrap()
                && let Some(found) = pick(message)
            {
                return found;
            }
        }
    };
    tokio::time::timeout(LONG, wait).await.unwrap()
}

async fn naive_event(
    notes: &mut broadcast::Receiver<RelayPoolNotification>,
    wanted: impl Fn(&Event) -> bool,
) -> Event {
    message(notes, |message| match message {
        RelayMessage::Event { event, .. } if wanted(&event) => Some(event.into_owned()),
        _ => None,
    })
    .await
}

// 1

#[tokio::test]
async fn closed_is_not_the_end_of_listening() {
    let relay = FakeRelay::start(None).await;
    let naive = Naive::at(&relay).await;
    let mut notes = naive.client.notifications();
    relay.set(Fault::Close("error: shutting down".into()));
    message(&mut notes, |message| {
        matches!(message, RelayMessage::Closed { .. }).then_some(())
    })
    .await;
    relay.heal();
    let mut statuses = naive.relay.notifications();
    relay.cut();
    status(&mut statuses, RelayStatus::Connected).await;
    naive.settle().await;
    assert_eq!(
        relay.requests(),
        1,
        "nostr-sdk forgot the subscription, even for the next connection"
    );
    assert!(relay.subscriptions().is_empty());
    naive.close().await;

    let (relays, mut kind) = ours(&relay);
    assert!(relay.wait_subscribed("vend-jobs", 1, LONG).await);
    relay.set(Fault::Close("error: shutting down".into()));
    state(&mut kind, "closed").await;
    relay.heal();
    assert!(relay.wait_subscribed("vend-jobs", 1, LONG).await);
    relays.close().await;
}

// 2

#[tokio::test]
async fn a_relay_that_is_down_at_first_is_listened_to_later() {
    let relay = FakeRelay::start(None).await;
    relay.stop().await;
    let naive = Naive::add(relay.url(), RelayOptions::new(), 4_096).await;
    let mut statuses = naive.relay.notifications();
    naive.client.connect().await;
    while naive.relay.stats().attempts() < 2 {
        status(&mut statuses, RelayStatus::Disconnected).await;
    }
    assert!(!naive.subscribe().await, "relay not connected");
    relay.restart().await;
    naive.relay.wait_for_connection(LONG).await;
    naive.settle().await;
    assert_eq!(
        relay.requests(),
        0,
        "nostr-sdk is connected and asks for nothing"
    );
    naive.close().await;

    relay.stop().await;
    let (relays, mut kind) = ours(&relay);
    state(&mut kind, "down").await;
    relay.restart().await;
    let job = job("later");
    relay.inject(&job);
    sees(&mut kind, &job).await;
    relays.close().await;
}

// 3

#[tokio::test]
async fn a_slow_reader_loses_nothing() {
    let relay = FakeRelay::start(None).await;
    let jobs: Vec<Event> = (0..1_000).map(|n| job(&n.to_string())).collect();
    relay.store(jobs.clone());

    let naive = Naive::add(relay.url(), RelayOptions::new(), 64).await;
    let mut slow = naive.client.notifications();
    naive.client.connect().await;
    naive.relay.wait_for_connection(LONG).await;
    naive.subscribe().await;
    naive.settle().await;
    let mut got = 0;
    let mut lagged = false;
    loop {
        match slow.try_recv() {
            Ok(RelayPoolNotification::Event { .. }) => got += 1,
            Ok(_) => {}
            Err(broadcast::error::TryRecvError::Lagged(_)) => lagged = true,
            Err(_) => break,
        }
    }
    assert!(
        lagged && got < jobs.len(),
        "nostr-sdk drops what a slow reader has not read: {got}"
    );
    naive.close().await;

    let (sender, mut kind) = mpsc::channel(16);
    let relays = Relays::start(config(vec![relay.url()]), sender);
    assert!(relay.wait_until(|relay| relay.requests() >= 2, LONG).await);
    let mut seen = HashSet::new();
    while seen.len() < jobs.len() {
        assert!(seen.insert(event(&mut kind).await.id), "each once");
    }
    relays.close().await;
}

#[tokio::test]
async fn more_stored_jobs_than_a_relay_sends_at_once_are_all_seen() {
    let relay = FakeRelay::start(None).await;
    let keys = Keys::generate();
    let jobs: Vec<Event> = (0..350)
        .map(|n: u64| {
            let at = Timestamp::now() - Duration::from_secs(n);
            EventBuilder::new(Kind::from_u16(5050), n.to_string())
                .custom_created_at(at)
                .sign_with_keys(&keys)
                .unwrap()
        })
        .collect();
    relay.store(jobs.clone());
    relay.set_cap(Some(120));
    let (relays, mut kind) = ours(&relay);
    let mut seen = HashSet::new();
    while seen.len() < jobs.len() {
        assert!(seen.insert(event(&mut kind).await.id), "each once");
    }
    relays.close().await;
}

// 4

#[tokio::test]
async fn a_known_id_does_not_make_a_forgery_genuine() {
    let relay = FakeRelay::start(None).await;
    let naive = Naive::at(&relay).await;
    let mut notes = naive.client.notifications();
    let real = job("real");
    relay.inject(&real);
    naive_event(&mut notes, |event| event.id == real.id).await;
    relay.send_on("naive", &forged(&real));
    let passed = naive_event(&mut notes, |event| event.id == real.id).await;
    assert!(
        passed.verify().is_err() && passed.pubkey != real.pubkey,
        "nostr-sdk hands on a forgery"
    );
    naive.close().await;

    let (relays, mut kind) = ours(&relay);
    sees(&mut kind, &real).await;
    assert!(relay.wait_subscribed("vend-jobs", 1, LONG).await);
    relay.send_on("vend-jobs", &forged(&real));
    let blamed = next(&mut kind, |kind| match kind {
        RelayEvent::Unverified { id, .. } => Some(id),
        RelayEvent::Event { event, .. } => panic!("{event:?}"),
        _ => None,
    })
    .await;
    assert_eq!(blamed, real.id);
    relays.close().await;
}

// 5

#[tokio::test]
async fn what_we_did_not_ask_for_is_not_taken() {
    let relay = FakeRelay::start(None).await;
    let naive = Naive::at(&relay).await;
    let mut notes = naive.client.notifications();
    relay.set(Fault::Unasked);
    naive_event(&mut notes, |event| event.kind == Kind::TextNote).await;
    naive_event(&mut notes, |event| {
        event.created_at.as_secs() == 1_600_000_000
    })
    .await;
    naive.close().await;

    let (relays, mut kind) = ours(&relay);
    let faults = next(&mut kind, |kind| match kind {
        RelayEvent::Health(health) if health.faults >= 2 => Some(health.faults),
        RelayEvent::Event { event, .. } => panic!("{event:?}"),
        _ => None,
    })
    .await;
    assert_eq!(faults % 2, 0, "both, each time we asked");
    relays.close().await;
}

/// `verify_subscriptions`: the answer that comes at once is not lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_at_once_is_seen() {
    let relay = FakeRelay::start(None).await;
    for n in 0..20 {
        let job = job(&n.to_string());
        let mut settings = config(vec![relay.url()]);
        settings
            .since
            .insert(relay.url(), Timestamp::now().as_secs());
        relay.store([job.clone()]);
        let (sender, mut kind) = mpsc::channel(1_024);
        let relays = Relays::start(settings, sender);
        while event(&mut kind).await.id != job.id {}
        relays.close().await;
    }
}

// 6

#[tokio::test]
async fn what_was_called_undelivered_is_not_delivered_behind_our_back() {
    let relay = FakeRelay::start(None).await;
    let naive = Naive::at(&relay).await;
    let mut statuses = naive.relay.notifications();
    relay.stop().await;
    status(&mut statuses, RelayStatus::Disconnected).await;
    let lost = job("lost?");
    let output = naive.client.send_event(&lost).await;
    assert!(
        output.is_err() || output.is_ok_and(|output| output.success.is_empty()),
        "nostr-sdk calls it failed"
    );
    relay.restart().await;
    assert!(
        relay
            .wait_for(|event| event.id == lost.id, LONG)
            .await
            .is_some(),
        "and delivers it later"
    );
    naive.close().await;

    let (relays, mut kind) = ours(&relay);
    state(&mut kind, "subscribed").await;
    relay.stop().await;
    state(&mut kind, "down").await;
    let kept = job("kept");
    let said = relays.publish(&relay.url(), &kept).await;
    assert!(matches!(said, Verdict::Down(_)), "{said:?}");
    relay.restart().await;
    state(&mut kind, "subscribed").await;
    let other = job("other");
    assert_eq!(
        relays.publish(&relay.url(), &other).await,
        Verdict::Accepted
    );
    assert!(
        relay.events().iter().all(|event| event.id != kept.id),
        "only what we send again is sent"
    );
    // The same bytes, twice: the second is a duplicate, and that is success.
    assert_eq!(relays.publish(&relay.url(), &kept).await, Verdict::Accepted);
    assert_eq!(relays.publish(&relay.url(), &kept).await, Verdict::Accepted);
    relays.close().await;
}

// 7

#[tokio::test]
async fn a_relay_that_does_not_answer_delays_no_other() {
    let (good, bad) = (FakeRelay::start(None).await, FakeRelay::start(None).await);
    bad.set(Fault::NoOk);
    let naive = Naive::at(&good).await;
    naive
        .client
        .pool()
        .add_relay(bad.url(), RelayOptions::new())
        .await
        .unwrap();
    naive.client.connect().await;
    naive
        .client
        .pool()
        .relay(bad.url())
        .await
        .unwrap()
        .wait_for_connection(LONG)
        .await;
    let event = job("slow");
    let sending = tokio::spawn({
        let (client, event) = (naive.client.clone(), event.clone());
        async move { client.send_event(&event).await }
    });
    assert!(
        good.wait_for(|seen| seen.id == event.id, LONG)
            .await
            .is_some()
    );
    naive.settle_at(&good).await;
    assert!(!sending.is_finished(), "nostr-sdk waits for the bad one");
    sending.abort();
    naive.close().await;

    let (sender, _news) = mpsc::channel(1_024);
    let mut settings = config(vec![good.url(), bad.url()]);
    settings.timing.ok_wait = LONG;
    let relays = Relays::start(settings, sender);
    let event = job("fast");
    let stuck = tokio::spawn({
        let (relays, event, url) = (relays.clone(), event.clone(), bad.url());
        async move { relays.publish(&url, &event).await }
    });
    assert_eq!(relays.publish(&good.url(), &event).await, Verdict::Accepted);
    assert!(!stuck.is_finished());
    relays.close().await;
    assert!(
        stuck.await.unwrap().may_come_later(),
        "told when the connection ends"
    );
}

impl Naive {
    /// One more exchange with this relay alone.
    async fn settle_at(&self, relay: &FakeRelay) {
        self.client
            .send_event_to([relay.url()], &note("settle"))
            .await
            .unwrap();
    }
}

// 8

#[tokio::test]
async fn a_failed_first_try_is_not_the_last() {
    let relay = FakeRelay::start(None).await;
    relay.stop().await;
    let naive = Naive::add(relay.url(), RelayOptions::new(), 4_096).await;
    naive.client.try_connect(LONG).await;
    assert_eq!(
        naive.relay.status(),
        RelayStatus::Terminated,
        "nostr-sdk never tries it again"
    );
    naive.close().await;

    let (relays, mut kind) = ours(&relay);
    state(&mut kind, "down").await;
    state(&mut kind, "connecting").await;
    relay.restart().await;
    state(&mut kind, "subscribed").await;
    relays.close().await;
}

// 9

#[tokio::test]
async fn a_half_open_socket_is_noticed_by_its_silence() {
    let relay = FakeRelay::start(None).await;
    let (relays, mut kind) = ours(&relay);
    state(&mut kind, "subscribed").await;
    relay.set(Fault::HalfOpen);
    assert!(
        relays
            .publish(&relay.url(), &job("into the void"))
            .await
            .may_come_later()
    );
    state(&mut kind, "deaf").await;
    relay.heal();
    state(&mut kind, "subscribed").await;
    let job = job("after");
    relay.inject(&job);
    sees(&mut kind, &job).await;
    relays.close().await;
}

// 10

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_strangers_message_does_not_reach_the_log() {
    let log = Log::default();
    let sink = log.clone();
    // At warn, as NOISY_TARGETS are to be capped. The runtime of this test has one thread, so its tasks log here too.
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_writer(move || sink.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let secret = "a stranger's words";
    let relay = FakeRelay::start(None).await;
    let naive = Naive::at(&relay).await;
    relay.inject_raw(secret);
    relay.send_on("naive", &forged(&job(secret)));
    naive.settle().await;
    assert!(
        log.text().contains(secret),
        "nostr-sdk logs whole messages as errors"
    );
    naive.close().await;

    log.0.lock().unwrap().clear();
    let (relays, mut kind) = ours(&relay);
    state(&mut kind, "subscribed").await;
    relay.inject_raw(secret);
    relay.inject_raw(&format!("[\"NOTICE\",\"{secret}\"]"));
    relay.inject_raw(&format!("[\"AUTH\",\"x\",\"{secret}\"]"));
    relay.send_on("vend-jobs", &forged(&job(secret)));
    assert_eq!(
        relays.publish(&relay.url(), &job("settle")).await,
        Verdict::Accepted
    );
    relays.close().await;
    assert!(!log.text().contains(secret), "{}", log.text());
}

// 11

#[tokio::test]
async fn a_frame_of_twenty_megabytes_is_survived() {
    let relay = FakeRelay::start(None).await;
    let (relays, mut kind) = ours(&relay);
    state(&mut kind, "subscribed").await;
    relay.set(Fault::Huge);
    next(&mut kind, |kind| {
        matches!(kind, RelayEvent::Health(health) if health.faults > 0 && health.state == "subscribed")
            .then_some(())
    })
    .await;
    relay.heal();
    let job = job("after");
    relay.inject(&job);
    sees(&mut kind, &job).await;
    relays.close().await;
}

// Our own key.

#[tokio::test]
async fn a_job_of_our_own_key_keeps_its_p_tag_and_is_seen() {
    let relay = FakeRelay::start(None).await;
    let mut settings = config(vec![relay.url()]);
    let keys = settings.keys.clone();
    let build =
        || EventBuilder::new(Kind::from_u16(5050), "test").tag(Tag::public_key(keys.public_key()));
    let named = |event: &Event| {
        event
            .tags
            .public_keys()
            .copied()
            .collect::<Vec<PublicKey>>()
    };
    let naive = build().sign_with_keys(&keys).unwrap();
    assert!(named(&naive).is_empty(), "nostr-sdk takes the tag away");

    let ours = build().allow_self_tagging().sign_with_keys(&keys).unwrap();
    settings.since.clear();
    let (sender, mut kind) = mpsc::channel(1_024);
    let relays = Relays::start(settings, sender);
    assert!(relay.wait_subscribed("vend-jobs", 1, LONG).await);
    assert_eq!(relays.publish(&relay.url(), &ours).await, Verdict::Accepted);
    let seen = event(&mut kind).await;
    assert_eq!((seen.id, named(&seen)), (ours.id, vec![keys.public_key()]));
    relays.close().await;
}

// A flood.

#[tokio::test]
async fn a_flood_of_unwanted_and_forged_events_leaves_room_for_a_job() {
    let relay = FakeRelay::start(None).await;
    let mut settings = config(vec![relay.url()]);
    (settings.timing.rate, settings.timing.burst) = (200, 200);
    let (sender, mut kind) = mpsc::channel(64);
    let relays = Relays::start(settings, sender);
    state(&mut kind, "subscribed").await;
    let unwanted = EventBuilder::text_note("spam")
        .sign_with_keys(&Keys::generate())
        .unwrap();
    let bad: Vec<Event> = (0..1_000).map(|n| forged(&job(&n.to_string()))).collect();
    for _ in 0..10 {
        for event in &bad {
            relay.send_on("vend-jobs", &unwanted);
            relay.send_on("vend-jobs", event);
        }
    }
    // The bucket is empty now: the job is dropped at first, and asked for again.
    let job = job("wanted");
    relay.inject(&job);
    sees(&mut kind, &job).await;
    relays.close().await;
}
