//! Where a stranger's word may lead us: no request makes the shop connect to anything but a public relay.

#[path = "support/fake_relay.rs"]
mod fake_relay;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fake_relay::FakeRelay;
use nostr::{Event, EventBuilder, Keys, Kind, RelayUrl, Tag};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use vend::domain::address::is_public;
use vend::domain::request;
use vend::nostr::{Reach, Relays, RelaysConfig, Resolve, Resolved, Timing, Verdict};

/// Far more than any of these tests needs.
const LONG: Duration = Duration::from_secs(60);

/// Gives these addresses one after the other, the last one for ever, and counts how often it is asked.
struct Book {
    answers: Vec<IpAddr>,
    asked: AtomicUsize,
}

impl Book {
    fn of(answers: &[&str]) -> Arc<Self> {
        Arc::new(Self {
            answers: answers.iter().map(|ip| ip.parse().unwrap()).collect(),
            asked: AtomicUsize::new(0),
        })
    }
}

impl Resolve for Book {
    fn resolve<'a>(&'a self, _: &'a str, port: u16) -> Resolved<'a> {
        let n = self.asked.fetch_add(1, Ordering::SeqCst);
        let ip = self.answers[n.min(self.answers.len() - 1)];
        Box::pin(async move { Ok(vec![SocketAddr::new(ip, port)]) })
    }
}

fn shop(own: &[RelayUrl], reach: Reach) -> Relays {
    let (kind, _) = mpsc::channel(1_024);
    let config = RelaysConfig {
        urls: own.to_vec(),
        keys: Keys::generate(),
        kinds: vec![5050],
        since: HashMap::new(),
        max_age: Duration::from_mins(10),
        zaps: false,
        only_ours: false,
        longest_request: 64 * 1024,
        max_pow: 20,
        reach,
        timing: Timing {
            connect_wait: Duration::from_secs(5),
            guest_idle: Duration::from_millis(100),
            ..Timing::default()
        },
    };
    Relays::start(config, kind)
}

fn event() -> Event {
    EventBuilder::new(Kind::from_u16(7000), "")
        .sign_with_keys(&Keys::generate())
        .unwrap()
}

/// What of a request's relays is kept, by the shop's own reading of the request.
fn named(url: &str) -> Vec<String> {
    let keys = Keys::generate();
    let event = EventBuilder::new(Kind::from_u16(5050), "")
        .tag(Tag::parse(["i", "hello"]).unwrap())
        .tag(Tag::parse(["relays", url]).unwrap())
        .sign_with_keys(&keys)
        .unwrap();
    request::read(&event, &keys.public_key(), &|_, _, _| Err(()))
        .unwrap()
        .relays
}

/// `{p}` stands for the port of a trap that listens on every address of this machine.
const TRICKY: &[&str] = &[
    "ws://127.0.0.1:{p}",
    "ws://127.0.0.1:{p}/",
    "ws://127.0.0.1:{p}/other/path",
    "wss://127.0.0.1:{p}",
    "ws://127.1:{p}",
    "ws://127.0.1:{p}",
    "ws://2130706433:{p}",
    "ws://0x7f000001:{p}",
    "ws://0x7f.0.0.1:{p}",
    "ws://0x7F.1:{p}",
    "ws://0177.0.0.1:{p}",
    "ws://017700000001:{p}",
    "ws://127.0.0.1.:{p}",
    "ws://0:{p}",
    "ws://0.0.0.0:{p}",
    "ws://127.255.255.254:{p}",
    "ws://10.0.0.1:{p}",
    "ws://172.16.0.1:{p}",
    "ws://192.168.0.1:{p}",
    "ws://169.254.169.254:{p}",
    "ws://169.254.169.254/latest/meta-data",
    "ws://100.64.0.1:{p}",
    "ws://100.100.100.200:{p}",
    "ws://168.63.129.16:{p}",
    "ws://192.0.0.192:{p}",
    "ws://192.0.2.1:{p}",
    "ws://198.18.0.1:{p}",
    "ws://203.0.113.1:{p}",
    "ws://224.0.0.1:{p}",
    "ws://255.255.255.255:{p}",
    "ws://[::1]:{p}",
    "ws://[::]:{p}",
    "ws://[0:0:0:0:0:0:0:1]:{p}",
    "ws://[::ffff:127.0.0.1]:{p}",
    "ws://[::ffff:7f00:1]:{p}",
    "ws://[::127.0.0.1]:{p}",
    "ws://[64:ff9b::7f00:1]:{p}",
    "ws://[64:ff9b::127.0.0.1]:{p}",
    "ws://[64:ff9b:1::7f00:1]:{p}",
    "ws://[2002:7f00:1::]:{p}",
    "ws://[2001:0:7f00:1::1]:{p}",
    "ws://[2001:db8::1]:{p}",
    "ws://[3fff::1]:{p}",
    "ws://[fe80::1]:{p}",
    "ws://[fe80::1%25lo]:{p}",
    "ws://[fc00::1]:{p}",
    "ws://[fd00:ec2::254]:{p}",
    "ws://[ff02::1]:{p}",
    "ws://localhost:{p}",
    "ws://LOCALHOST:{p}",
    "ws://localhost.:{p}",
    "ws://a.localhost:{p}",
    "ws://localhost.localdomain:{p}",
    "ws://printer:{p}",
    "ws://router.lan:{p}",
    "ws://nas.local:{p}",
    "ws://metadata.google.internal:{p}",
    "ws://hidden.onion:{p}",
    "ws://127\u{3002}0\u{3002}0\u{3002}1:{p}",
    "ws://127\u{ff0e}0\u{ff0e}0\u{ff0e}1:{p}",
    "ws://\u{ff11}27.0.0.1:{p}",
    "ws://\u{2460}27.0.0.1:{p}",
    "ws://loc%61lhost:{p}",
    "ws://%31%32%37.0.0.1:{p}",
    "ws://user@127.0.0.1:{p}",
    "ws://user:word@relay.example.com:{p}",
    "ws://relay.example.com@127.0.0.1:{p}",
    "ws://127.0.0.1:{p}@relay.example.com",
    "ws://127.0.0.1:{p}?a=b",
    "ws://relay.example.com:{p}?a=b",
    "ws://relay.example.com:{p}#a",
    "ws://relay.example.com:{p}\\@a.example",
    "ws://relay.example.com:0",
    "ws://127.0.0.1:0",
    "http://127.0.0.1:{p}",
    "https://127.0.0.1:{p}",
    "wss:127.0.0.1:{p}",
    "ws:///127.0.0.1:{p}",
    "gopher://127.0.0.1:{p}",
    "file:///etc/passwd",
    // A name of the public internet that leads into the seller's own network.
    "ws://relay.example.com:{p}",
];

#[tokio::test]
async fn no_url_of_a_stranger_reaches_a_private_address() {
    let trap = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let port = trap.local_addr().unwrap().port().to_string();
    let book = Book::of(&["127.0.0.1"]);
    let own = RelayUrl::parse("ws://127.0.0.1:9").unwrap();
    let shop = shop(&[own], Reach::with(book.clone(), is_public));
    assert!(TRICKY.len() >= 60);
    let mut tried = 0;
    for url in TRICKY {
        for url in named(&url.replace("{p}", &port)) {
            let url = RelayUrl::parse(&url).unwrap();
            let said = shop.publish(&url, &event()).await;
            assert!(matches!(said, Verdict::Refused(_)), "{url}: {said:?}");
            assert!(
                shop.fetch(vec![event().id], vec![url], LONG)
                    .await
                    .is_empty()
            );
            tried += 1;
        }
    }
    assert!(
        tried > 20,
        "some are spelled plainly, and judged by their address"
    );
    assert!(
        book.asked.load(Ordering::SeqCst) > 0,
        "the last one is looked up"
    );
    let met = tokio::time::timeout(Duration::from_millis(1), trap.accept()).await;
    assert!(met.is_err(), "nobody came to the trap");
    shop.close().await;
}

#[tokio::test]
async fn a_second_answer_of_dns_changes_nothing() {
    let trap = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = trap.local_addr().unwrap().port();
    // The first address is public in this test, and nothing listens there.
    let public: fn(IpAddr) -> bool = |ip| ip == IpAddr::V4(Ipv4Addr::new(127, 9, 9, 9));
    let book = Book::of(&["127.9.9.9", "127.0.0.1"]);
    let shop = shop(&[], Reach::with(book.clone(), public));
    let url = RelayUrl::parse(&format!("ws://relay.example.com:{port}")).unwrap();
    let first = shop.publish(&url, &event()).await;
    assert!(matches!(first, Verdict::Down(_)), "{first:?}");
    assert_eq!(
        book.asked.load(Ordering::SeqCst),
        1,
        "asked once, and that answer is used"
    );
    let mut second = first;
    while second.may_come_later() {
        second = shop.publish(&url, &event()).await;
    }
    assert!(matches!(second, Verdict::Refused(_)), "{second:?}");
    let met = tokio::time::timeout(Duration::from_millis(1), trap.accept()).await;
    assert!(met.is_err(), "nobody came to the trap");
    shop.close().await;
}

#[tokio::test]
async fn our_own_relay_is_excepted_by_its_exact_url_alone() {
    let (own, beside) = (FakeRelay::start(None).await, FakeRelay::start(None).await);
    let shop = shop(&[own.url()], Reach::default());
    assert_eq!(shop.publish(&own.url(), &event()).await, Verdict::Accepted);
    let other_path = RelayUrl::parse(&format!("{}/admin", own.url())).unwrap();
    for url in [beside.url(), other_path] {
        let said = shop.publish(&url, &event()).await;
        assert!(matches!(said, Verdict::Refused(_)), "{url}: {said:?}");
    }
    assert_eq!((own.connections(), beside.connections()), (1, 0));
    shop.close().await;
}

#[tokio::test]
async fn buyers_relays_can_be_turned_off() {
    let shop = shop(&[], Reach::public(false));
    let url = RelayUrl::parse("wss://1.1.1.1").unwrap();
    let said = shop.publish(&url, &event()).await;
    assert!(matches!(said, Verdict::Refused(_)), "{said:?}");
    shop.close().await;
}

/// The memory of this process that is in use, kB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1))
        .map_or(0, |kb| kb.parse().unwrap())
}

/// A relay that answers the handshake, begins a message of 60 MiB, and never ends it.
async fn endless(listener: TcpListener, sent: mpsc::Sender<()>) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            return;
        };
        let sent = sent.clone();
        tokio::spawn(async move {
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await.unwrap();
            let text = String::from_utf8_lossy(&head[..read]).into_owned();
            let key = text
                .lines()
                .find_map(|line| {
                    line.to_lowercase()
                        .starts_with("sec-websocket-key:")
                        .then(|| line[18..].trim())
                })
                .unwrap();
            let accept =
                tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            // The parts of one message, each within the bound of a frame, and no last one.
            let mut part = vec![0x01, 127];
            part.extend_from_slice(&(64 * 1024_u64).to_be_bytes());
            part.resize(part.len() + 64 * 1024, b'x');
            for _ in 0..(60 * 16) {
                if stream.write_all(&part).await.is_err() {
                    break;
                }
                part[0] = 0x00;
            }
            // Whoever waits for it may have seen enough.
            let _ = sent.send(()).await;
            let mut rest = [0; 1024];
            while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
        });
    }
}

/// Held by a test that measures this process, and by one that needs much of its memory.
static MEMORY: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn unfinished_messages_of_many_relays_cost_no_memory() {
    let _alone = MEMORY.lock().await;
    let (sent, mut done) = mpsc::channel(64);
    let mut urls = Vec::new();
    for _ in 0..40 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        urls.push(RelayUrl::parse(&format!("ws://{}", listener.local_addr().unwrap())).unwrap());
        tokio::spawn(endless(listener, sent.clone()));
    }
    let shop = shop(&[], Reach::with(Book::of(&["127.0.0.1"]), |_| true));
    let before = resident();
    let event = event();
    let said = futures::future::join_all(urls.iter().map(|url| shop.publish(url, &event))).await;
    let crowded = |said: &&Verdict| matches!(said, Verdict::Retry(words) if words.contains("too many other relays"));
    assert_eq!(
        said.iter().filter(crowded).count(),
        8,
        "32 at once: {said:?}"
    );
    let ended = said.iter().filter(|said| !crowded(said)).count();
    for _ in 0..ended {
        tokio::time::timeout(LONG, done.recv())
            .await
            .unwrap()
            .unwrap();
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 40 * 1024, "{grown} kB more");
    shop.close().await;
}

#[tokio::test]
async fn our_own_relays_long_message_is_skipped_and_we_listen_on() {
    let _alone = MEMORY.lock().await;
    let relay = FakeRelay::start(None).await;
    let shop = shop(&[relay.url()], Reach::default());
    assert!(relay.wait_subscribed("vend-jobs", 1, LONG).await);
    for _ in 0..4 {
        relay.inject_raw(&"x".repeat(16 * 1024 * 1024));
    }
    assert_eq!(
        shop.publish(&relay.url(), &event()).await,
        Verdict::Accepted
    );
    let now = shop.health().remove(0);
    assert_eq!((now.faults, relay.connections()), (4, 1));
    shop.close().await;
}
