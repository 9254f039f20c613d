//! The buyer against relays that misbehave and sellers that lie, on the relay layer that the shop uses.

use std::process::{Output, Stdio};
use std::time::Duration;

use crate::support::fake_relay::{FakeRelay, Fault};
use crate::support::shop::Home;
use nostr::{Event, EventBuilder, Keys, Kind, Tag, Timestamp};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use vend::buyer::{Buyer, Trip, buy};
use vend::domain::buyer::Order;
use vend::domain::msat::{MAX_MSAT, Msat};
use vend::domain::purchase::{Act, End, Terms};

/// A bound for what takes a second or two.
const LONGEST: Duration = Duration::from_secs(60);

fn tag(parts: &[&str]) -> Tag {
    Tag::parse(parts.iter().copied()).unwrap()
}

/// What a seller says of a request; `behind`: how far its clock is.
fn says(
    seller: &Keys,
    request: &Event,
    kind: u16,
    content: &str,
    behind: u64,
    more: &[&[&str]],
) -> Event {
    let (id, buyer) = (request.id.to_hex(), request.pubkey.to_hex());
    let mut tags = vec![tag(&["e", &id]), tag(&["p", &buyer])];
    tags.extend(more.iter().map(|parts| tag(parts)));
    EventBuilder::new(Kind::from_u16(kind), content)
        .tags(tags)
        .custom_created_at(Timestamp::from_secs(Timestamp::now().as_secs() - behind))
        .sign_with_keys(seller)
        .unwrap()
}

fn terms() -> Terms {
    Terms {
        kind: 5050,
        to: None,
        pays: false,
        most: Msat(MAX_MSAT),
        network: None,
    }
}

/// Asks over this relay, while `sell` plays the street.
async fn ask(relay: &FakeRelay, sell: impl AsyncFnOnce(Event)) -> (End, Vec<Act>) {
    let buyer = Buyer::connect(Keys::generate(), vec![relay.url()], &[5050], None);
    let order = Order {
        prompt: "What is the capital of France?".to_owned(),
        ..Order::default()
    };
    let request = buyer.write(&order).unwrap();
    let trip = Trip {
        request: &request,
        terms: terms(),
        payer: None,
        record: None,
        until: Instant::now() + LONGEST,
        wait_for_invoice: false,
        first_word: None,
        cancel: CancellationToken::new(),
    };
    let mut acts = Vec::new();
    let mut keep = |act: &Act| acts.push(act.clone());
    let selling = async {
        let wanted = |event: &Event| event.kind == Kind::from_u16(5050);
        let heard = relay.wait_for(wanted, LONGEST).await.expect("no request");
        sell(heard).await;
    };
    let (end, ()) = tokio::join!(buy(&buyer, trip, &mut keep), selling);
    buyer.leave().await;
    (end.unwrap(), acts)
}

fn answer(end: &End) -> &str {
    match end {
        End::Delivered { delivery, .. } => &delivery.content,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_heard_through_what_relays_do() {
    for fault in [
        Fault::None,
        Fault::CloseOnce("error: too many subscriptions".to_owned()),
        Fault::CloseOnce("rate-limited: slow down".to_owned()),
        Fault::Auth,
        Fault::LoseOk,
        Fault::Duplicate,
        Fault::Forge,
        Fault::Garbage,
    ] {
        let relay = FakeRelay::start(None).await;
        relay.set(fault.clone());
        let seller = Keys::generate();
        let (end, _) = ask(&relay, async |request| {
            // A seller whose clock is a quarter of an hour behind.
            relay.inject(&says(&seller, &request, 6050, "Paris", 900, &[]));
        })
        .await;
        assert_eq!(answer(&end), "Paris", "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_is_cut_before_the_answer_is_made_anew() {
    let relay = FakeRelay::start(None).await;
    let seller = Keys::generate();
    let (end, _) = ask(&relay, async |request| {
        relay.cut();
        relay.inject(&says(&seller, &request, 6050, "Paris", 0, &[]));
    })
    .await;
    assert_eq!(answer(&end), "Paris");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_answer_is_said_and_the_next_seller_is_heard() {
    let relay = FakeRelay::start(None).await;
    let [liar, honest] = [Keys::generate(), Keys::generate()];
    let (end, acts) = ask(&relay, async |request| {
        let error: &[&[&str]] = &[&["status", "error", "no"]];
        let sealed: &[&[&str]] = &[&["encrypted"]];
        for (kind, content, more) in [
            (7000, "", error),
            (6050, "nobody can read this", sealed),
            (6050, "", &[]),
            (6100, "a picture", &[]),
        ] {
            relay.inject(&says(&liar, &request, kind, content, 0, more));
        }
        relay.inject(&says(&honest, &request, 6050, "Paris", 0, &[]));
    })
    .await;
    assert_eq!(answer(&end), "Paris");
    let faults = acts.iter().filter_map(|act| match act {
        Act::Fault { seller, words } if *seller == liar.public_key() => Some(words.as_str()),
        _ => None,
    });
    let faults = faults.collect::<Vec<_>>().join("; ");
    for why in ["can't open", "empty", "kind 6100"] {
        assert!(faults.contains(why), "{faults}");
    }
}

async fn vend(home: &Home, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vend"));
    command.arg("--data-dir").arg(home.data());
    command.arg("--config").arg(home.config());
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    command.output().await.unwrap()
}

fn text(out: &Output) -> (String, String) {
    let read = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (read(&out.stdout), read(&out.stderr))
}

fn rows(out: &Output) -> Vec<Value> {
    serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{:?}", text(out)))
}

const SANDBOX: &str = "backend = \"sandbox\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purchase_beside_a_running_shop_is_paid_once_and_told() {
    let relay = FakeRelay::start(None).await;
    let home = Home::new();
    let url = relay.url().to_string();
    home.configure_with("before", &url, SANDBOX, "vend-tiny", "kind = \"builtin\"\n");
    let none = vend(&home, &["purchases", "--json"]).await;
    assert_eq!(rows(&none).len(), 0);
    let mut running = home.run(None);
    running
        .until(|event| event["event"] == "state" && event["state"] == "online")
        .await;
    let seller = home.seller.public_key().to_hex();
    let asked = ["request", "What is the capital of France?", "--to", &seller];
    // By hand: what it costs and what to pay, and nothing is paid.
    let mut args = asked.to_vec();
    args.extend(["--timeout", "5"]);
    let (out, err) = text(&vend(&home, &args).await);
    assert!(
        out.contains("to pay: ") && out.contains("lnbcrt"),
        "{out} {err}"
    );
    assert!(err.contains("no result within 5 s"), "{err}");
    let mut args = asked.to_vec();
    args.extend(["--pay", "sandbox", "--encrypt", "nip44", "--json"]);
    let bought = vend(&home, &args).await;
    let sheet: Value = serde_json::from_slice(&bought.stdout).unwrap();
    assert_eq!(sheet["ok"], true, "{sheet}");
    let rows = rows(&vend(&home, &["purchases", "--json"]).await);
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(
        (&row["status"], &row["request_id"]),
        (&Value::from("delivered"), &sheet["id"])
    );
    assert_eq!(
        (&row["seller"], &row["paid_msat"]),
        (&Value::from(seller), &sheet["paid_msat"])
    );
    let mut keys: Vec<&str> = row
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    let mut shape = [
        "id",
        "request_id",
        "seller",
        "npub",
        "model",
        "status",
        "bid_msat",
        "paid_msat",
        "fee_msat",
        "payment_hash",
        "prompt_tokens",
        "completion_tokens",
        "elapsed_ms",
        "error",
        "created_at",
    ];
    shape.sort_unstable();
    assert_eq!(keys, shape);
    let jobs = home.jobs().await;
    let paid: Vec<&Value> = jobs.iter().filter(|job| job["status"] == "paid").collect();
    assert_eq!(paid.len(), 1, "{jobs:?}");
    running.child.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_no_relay_takes_says_which_and_why() {
    let relay = FakeRelay::start(None).await;
    relay.set(Fault::Refuse("blocked: not you".to_owned()));
    let home = Home::new();
    let url = relay.url().to_string();
    let out = vend(
        &home,
        &["request", "hello", "--relay", &url, "--timeout", "20"],
    )
    .await;
    let (_, err) = text(&out);
    assert_eq!(out.status.code(), Some(1));
    assert!(err.contains(&url) && err.contains("not you"), "{err}");
}
