//! The Spark wallet against a helper that hangs, lies, dies, floods and comes late; and `vend spark` as a person meets it.

mod commands;
mod ends;
#[path = "../support/fake_node.rs"]
mod fake_node;
#[path = "../support/fake_spark.rs"]
mod fake_spark;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_spark::{FakeSpark, LONG, Wish, line};
use futures::FutureExt;
use serde_json::json;
use vend::domain::Hex32;
use vend::domain::health::{HealthLevel, WalletHealth};
use vend::domain::id::PaymentHash;
use vend::domain::invoice::{Expected, Network, check};
use vend::domain::msat::Msat;
use vend::domain::time::Time;
use vend::wallet::spark::Spark;
use vend::wallet::spark::launch::Timing;
use vend::wallet::{Issued, NewInvoice, PaymentStatus, Wallet, WalletError};

const AMOUNT: Msat = Msat(21_000);
const EXPIRY: Duration = Duration::from_mins(10);

/// So long that a test that waits for it fails; so short that nothing waits where a wait is not what is tested.
fn timing() -> Timing {
    Timing {
        hello: LONG,
        open: LONG,
        call: LONG,
        create: LONG,
        health: LONG,
        back_off: vec![Duration::from_millis(10)],
        steady: LONG,
        close: LONG,
        balance_every: LONG,
        stuck: LONG,
        hint_every: Duration::ZERO,
    }
}

fn ask() -> NewInvoice {
    NewInvoice {
        amount: AMOUNT,
        memo: "a job".to_owned(),
        expiry: EXPIRY,
        label: "vend:1".to_owned(),
        hold_hash: None,
    }
}

async fn made(wallet: &Spark) -> Issued {
    wallet.create(ask()).await.unwrap()
}

async fn pending(wallet: &Spark, issued: &Issued) {
    assert_eq!(
        wallet.lookup(issued.clone()).await,
        Ok(PaymentStatus::Pending)
    );
}

/// Until the helper is up again: calls meanwhile say that it is down, and nothing else.
async fn up_again(fake: &FakeSpark, wallet: &Spark, starts: usize) -> WalletHealth {
    fake.until("another start", move |state| state.started.len() >= starts)
        .await;
    loop {
        let health = wallet.health().await;
        if health.health != HealthLevel::Down {
            return health;
        }
        tokio::task::yield_now().await;
    }
}

fn is_unreachable<T: std::fmt::Debug>(seen: &Result<T, WalletError>) -> bool {
    matches!(seen, Err(WalletError::Unreachable(_)))
}

#[tokio::test]
async fn it_makes_invoices_and_sees_them_paid() {
    let fake = FakeSpark::start();
    let wallet = fake.wallet(timing());
    let issued = made(&wallet).await;
    let expected = Expected {
        amount: AMOUNT,
        network: Network::Regtest,
        payment_hash: issued.payment_hash,
        longest_expiry: EXPIRY,
    };
    check(&issued.bolt11, &expected, Time::now()).unwrap();
    pending(&wallet, &issued).await;
    fake.pay(&issued.bolt11, 0);
    let seen = wallet.lookup(issued.clone()).await.unwrap();
    let PaymentStatus::Paid {
        amount, preimage, ..
    } = seen
    else {
        panic!("{seen:?}");
    };
    assert_eq!(amount, Some(AMOUNT));
    assert!(preimage.unwrap().opens(&issued.payment_hash));

    let other = Issued {
        payment_hash: PaymentHash(Hex32([6; 32])),
        ..issued.clone()
    };
    let seen = wallet.lookup(other).await;
    assert!(matches!(seen, Err(WalletError::Protocol(_))), "{seen:?}");
    let nameless = Issued {
        backend_ref: None,
        ..issued
    };
    let seen = wallet.lookup(nameless).await;
    assert!(matches!(seen, Err(WalletError::Rejected(_))), "{seen:?}");

    let asked = fake.with(|state| state.asked.clone());
    assert_eq!(asked[0]["op"], "hello");
    assert_eq!(asked[1]["network"], "REGTEST");
    assert_eq!(asked[1]["account"], 1);
    let create =
        json!({"id": 3, "op": "create", "amount_sats": 21, "memo": "a job", "expiry_s": 600});
    assert_eq!(asked[2], create);
}

#[tokio::test]
async fn what_is_there_and_what_is_arriving_are_shown_apart() {
    let fake = FakeSpark::start();
    fake.with(|state| state.incoming = 21);
    let health = fake.wallet(timing()).health().await;
    assert_eq!(health.health, HealthLevel::Ok);
    assert_eq!(health.balance_msat, Some(Msat::from_sats(1_234)));
    assert_eq!(health.network.as_deref(), Some("regtest"));
    assert_eq!(health.identity, Some(format!("02{}", "ab".repeat(32))));
    assert_eq!(
        health.detail,
        "connected; 1,234 sats to spend; 21 sats arriving"
    );
}

#[tokio::test]
async fn the_words_are_in_no_argument_and_no_variable() {
    let fake = FakeSpark::start();
    let wallet = fake.wallet(timing());
    made(&wallet).await;
    let words = std::fs::read_to_string(fake.folder().join("spark.words")).unwrap();
    let words = words.trim();
    let (pid, asked) = fake.with(|state| (state.started[0], state.asked.clone()));
    assert_eq!(asked[1]["mnemonic"], words);
    let env = std::fs::read_to_string(fake.folder().join(format!("{pid}.env"))).unwrap();
    assert!(!env.contains(words));
    let names: BTreeSet<&str> = env
        .lines()
        .filter_map(|line| line.split_once('=').map(|(name, _)| name))
        // A shell's own.
        .filter(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name))
        .collect();
    assert!(
        names.is_subset(&["HOME", "PATH", "TMPDIR"].into()),
        "{names:?}"
    );
    let args: Vec<String> = fake
        .launch()
        .args
        .iter()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    assert!(!args.join(" ").contains(words));
    assert!(!format!("{wallet:?}").contains(words));
}

#[tokio::test]
async fn lines_of_nonsense_are_left_out_and_their_text_is_not_logged() {
    let log = Log::default();
    let _guard = log.follow();
    let fake = FakeSpark::start();
    let wallet = fake.wallet(timing());
    fake.wish(|ask| {
        let before =
            b"zebra-warning\n\n{\"id\":\n[1]\n\xff\xfe\n{\"id\":\"3\",\"ok\":{}}\n".to_vec();
        let too_long = [vec![b'z'; 70_000], b"\n".to_vec()].concat();
        (ask["op"] != "hello")
            .then(|| Wish::Around([before, too_long].concat(), b"zebra\n".to_vec()))
    });
    let issued = made(&wallet).await;
    pending(&wallet, &issued).await;
    assert_eq!(wallet.health().await.health, HealthLevel::Ok);
    assert_eq!(fake.with(|state| state.started.len()), 1);
    let text = log.text();
    assert!(text.contains("makes no sense"), "{text}");
    assert!(!text.contains("zebra"), "{text}");
    assert!(!text.contains("zzzz"), "{text}");
}

#[tokio::test]
async fn a_helper_that_writes_nothing_but_nonsense_is_replaced() {
    let fake = FakeSpark::start();
    let wallet = fake.wallet(timing());
    let issued = made(&wallet).await;
    fake.say(&b"x\n".repeat(200));
    up_again(&fake, &wallet, 2).await;
    pending(&wallet, &issued).await;
}

#[tokio::test]
async fn answers_that_come_late_or_twice_are_for_nobody() {
    let fake = FakeSpark::start();
    let wallet = fake.wallet(timing());
    let (one, other) = (made(&wallet).await, made(&wallet).await);
    fake.pay(&one.bolt11, 0);
    // The first look is given up before its answer comes.
    let held = Arc::new(Mutex::new(None));
    let hold = held.clone();
    fake.wish(move |ask| {
        let first = ask["op"] == "lookup" && hold.lock().unwrap().is_none();
        first.then(|| {
            *hold.lock().unwrap() = Some(ask["id"].as_u64().unwrap());
            Wish::Bytes(Vec::new())
        })
    });
    let looking = wallet.lookup(one.clone());
    let asked = fake.until("the first look", |state| state.count("lookup") == 1);
    let gave_up = futures::future::select(looking, Box::pin(asked)).await;
    assert!(matches!(gave_up, futures::future::Either::Right(_)));
    drop(gave_up);
    let id = held.lock().unwrap().unwrap();
    let late = line(
        &json!({"id": id, "ok": {"status": "TRANSFER_COMPLETED", "payment_hash": one.payment_hash}}),
    );
    fake.say(&[late.clone(), late.clone()].concat());
    pending(&wallet, &other).await;
    // The next question's answer comes twice, and one to a question that nobody has asked yet.
    let future = line(
        &json!({"id": id + 3, "ok": {"status": "TRANSFER_COMPLETED", "payment_hash": one.payment_hash}}),
    );
    fake.wish(move |_| {
        Some(Wish::Around(
            Vec::new(),
            [late.clone(), future.clone()].concat(),
        ))
    });
    pending(&wallet, &other).await;
    fake.wish(|_| None);
    pending(&wallet, &other).await;
    assert_eq!(fake.with(|state| state.started.len()), 1);
}

#[tokio::test]
async fn a_state_that_nobody_knows_is_pending_and_never_unpaid() {
    let fake = FakeSpark::start();
    let wallet = fake.wallet(timing());
    let issued = made(&wallet).await;
    let set = |word: &str| {
        fake.with(|state| {
            state
                .status
                .insert(issued.payment_hash.0.0, word.to_owned())
        });
    };
    set("FUTURE_VALUE");
    pending(&wallet, &issued).await;
    set("TRANSFER_CREATED");
    fake.with(|state| state.books.entry(&issued.bolt11).expires_at = 1);
    let seen = wallet.lookup(issued.clone()).await;
    assert!(matches!(seen, Ok(PaymentStatus::Attention(_))), "{seen:?}");
    set("INVOICE_CREATED");
    assert_eq!(
        wallet.lookup(issued.clone()).await,
        Ok(PaymentStatus::Expired)
    );
}

#[tokio::test]
async fn a_flood_of_lines_drowns_nobody() {
    let fake = FakeSpark::start();
    let wallet = fake.wallet(timing());
    let issued = made(&wallet).await;
    // The opening is a reason to look, too.
    assert_eq!(wallet.next_hint().await, None);
    let flood = line(&json!({"event": "balance"})).repeat(20_000);
    let late = line(&json!({"id": 1, "ok": {}})).repeat(20_000);
    fake.wish(move |_| {
        Some(Wish::Around(
            [flood.clone(), late.clone()].concat(),
            Vec::new(),
        ))
    });
    pending(&wallet, &issued).await;
    // Forty thousand lines are one hint.
    assert_eq!(wallet.next_hint().await, None);
    assert!(wallet.next_hint().now_or_never().is_none());
}

#[tokio::test]
async fn events_are_hints_to_look_at_all() {
    let fake = FakeSpark::start();
    let wallet = fake.wallet(timing());
    made(&wallet).await;
    wallet.next_hint().await;
    for event in ["claimed", "balance", "stream_up"] {
        assert!(wallet.next_hint().now_or_never().is_none());
        fake.say(&line(&json!({"event": event})));
        assert_eq!(wallet.next_hint().await, None);
    }
}

#[tokio::test]
async fn one_invoice_is_made_at_a_time() {
    let fake = FakeSpark::start();
    let wallet = Arc::new(fake.wallet(timing()));
    fake.wish(|ask| (ask["op"] == "create").then(|| Wish::Bytes(Vec::new())));
    let creates: Vec<_> = (0..2)
        .map(|_| {
            let wallet = wallet.clone();
            tokio::spawn(async move { wallet.create(ask()).await })
        })
        .collect();
    fake.until("the first", |state| state.count("create") == 1)
        .await;
    // The second one would have been written before this look, which is asked after both.
    let health = wallet.health().await;
    assert_eq!(health.health, HealthLevel::Ok);
    assert_eq!(fake.with(|state| state.count("create")), 1);
    let id = fake.with(|state| {
        let first = state.asked.iter().find(|ask| ask["op"] == "create");
        first.unwrap()["id"].clone()
    });
    fake.wish(|_| None);
    fake.say(&line(
        &json!({"id": id, "error": {"kind": "failed", "message": "it broke [02ab]"}}),
    ));
    let mut outcomes = Vec::new();
    for create in creates {
        outcomes.push(create.await.unwrap());
    }
    assert_eq!(fake.with(|state| state.count("create")), 2);
    let broke = Err(WalletError::Failed("it broke".to_owned()));
    assert_eq!(outcomes.iter().filter(|one| **one == broke).count(), 1);
    assert_eq!(outcomes.iter().filter(|one| one.is_ok()).count(), 1);
}

/// Everything that is logged on this thread, where these tests run as a whole.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn follow(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
