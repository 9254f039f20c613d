//! Helpers that end, hang or are none: what the wallet says meanwhile, and that another one is started.

use std::time::Duration;

use futures::FutureExt;
use serde_json::json;
use vend::domain::health::HealthLevel;
use vend::wallet::spark::Spark;
use vend::wallet::spark::launch::{Launch, Timing};
use vend::wallet::{Wallet, WalletError};

use crate::fake_spark::{FakeSpark, Fault, Wish};
use crate::{ask, is_unreachable, made, pending, timing, up_again};

#[tokio::test]
async fn a_helper_that_hangs_is_killed_and_another_one_works() {
    let fake = FakeSpark::start();
    let call = Duration::from_millis(300);
    let wallet = fake.wallet(Timing { call, ..timing() });
    let issued = made(&wallet).await;
    fake.with(|state| state.fault = Fault::Silent);
    let seen = wallet.lookup(issued.clone()).await;
    assert_eq!(seen, Err(WalletError::TimedOut(call)));
    fake.with(|state| state.fault = Fault::None);
    fake.until("the end of the first", |state| !state.ended.is_empty())
        .await;
    fake.until("a second start", |state| state.started.len() == 2)
        .await;
    // The second one may need longer than the first test's short call to be up.
    let patient = fake.wallet(timing());
    pending(&patient, &issued).await;
}

#[tokio::test]
async fn half_a_line_and_an_end_is_an_error_at_once_and_then_all_is_well() {
    let fake = FakeSpark::start();
    let wallet = fake.wallet(timing());
    let issued = made(&wallet).await;
    for half in [&b"{\"id\":4,\"ok\":{\"sta"[..], b""] {
        let half = half.to_vec();
        fake.wish(move |ask| (ask["op"] == "lookup").then(|| Wish::Exit(half.clone())));
        let seen = wallet.lookup(issued.clone()).await;
        assert!(is_unreachable(&seen), "{seen:?}");
        fake.wish(|_| None);
        let starts = fake.with(|state| state.started.len());
        up_again(&fake, &wallet, starts.max(2)).await;
        pending(&wallet, &issued).await;
    }
}

#[tokio::test]
async fn a_helper_of_another_protocol_is_refused_with_words() {
    for (hello, words) in [
        (json!({"protocol": 2, "who": "me"}), "another protocol"),
        (
            json!({"protocol": 1, "sdk": null, "node": "v20.1.0"}),
            "vend spark install",
        ),
        (
            json!({"protocol": 1, "sdk": "0.8.8", "node": "v16.20.2"}),
            "Spark needs Node 18 or newer, and this is v16.20.2",
        ),
        (json!("<html>"), "another protocol"),
    ] {
        let fake = FakeSpark::start();
        fake.with(|state| state.hello = hello);
        let wallet = fake.wallet(timing());
        let health = wallet.health().await;
        assert_eq!(health.health, HealthLevel::Down);
        assert!(health.detail.contains(words), "{}", health.detail);
        let made = wallet.create(ask()).await;
        assert!(is_unreachable(&made), "{made:?}");
        // The words were not given to it.
        assert_eq!(fake.with(|state| state.count("open")), 0);
    }
}

#[tokio::test]
async fn without_node_there_is_one_plain_sentence() {
    let fake = FakeSpark::start();
    let launch = Launch {
        program: "/nowhere/node".into(),
        ..fake.launch()
    };
    let network = vend::config::schema::Network::Regtest;
    let wallet = Spark::with_helper(fake.folder(), network, 1, launch, timing());
    let health = wallet.health().await;
    assert_eq!(health.health, HealthLevel::Down);
    assert_eq!(
        health.detail,
        "Spark needs Node 18 or newer, and there is no `node` on the path: install it from nodejs.org or with your system's packages"
    );
}

#[tokio::test]
async fn words_that_are_gone_are_told_and_the_way_back_is_short() {
    let fake = FakeSpark::start();
    let (path, aside) = (
        fake.folder().join("spark.words"),
        fake.folder().join("aside"),
    );
    std::fs::rename(&path, &aside).unwrap();
    let wallet = fake.wallet(timing());
    let health = wallet.health().await;
    assert!(
        health.detail.contains("`vend spark create`"),
        "{}",
        health.detail
    );
    std::fs::rename(&aside, &path).unwrap();
    up_again(&fake, &wallet, 2).await;
    made(&wallet).await;
}

#[tokio::test]
async fn money_that_is_not_claimed_starts_the_helper_again() {
    let fake = FakeSpark::start();
    fake.with(|state| state.incoming = 21);
    let wallet = fake.wallet(Timing {
        stuck: Duration::from_millis(50),
        balance_every: Duration::from_millis(10),
        ..timing()
    });
    // Nobody asks but the wallet itself.
    assert!(wallet.next_hint().now_or_never().is_none());
    fake.until("a second start", |state| state.started.len() == 2)
        .await;
    fake.with(|state| state.incoming = 0);
    let health = up_again(&fake, &wallet, 2).await;
    assert_eq!(health.detail, "connected; 1,234 sats to spend");
}

#[tokio::test]
async fn a_wallet_that_is_closed_lets_its_helper_end() {
    let fake = FakeSpark::start();
    let wallet = fake.wallet(timing());
    made(&wallet).await;
    wallet.close().await;
    fake.until("its end", |state| state.ended.len() == 1).await;
    assert_eq!(fake.with(|state| state.count("close")), 1);
    let made = wallet.create(ask()).await;
    assert!(made.is_err());
    assert_eq!(fake.with(|state| state.started.len()), 1);
}

#[tokio::test]
async fn a_wallet_that_is_dropped_ends_its_helper_too() {
    let fake = FakeSpark::start();
    let wallet = fake.wallet(timing());
    made(&wallet).await;
    drop(wallet);
    fake.until("its end", |state| state.ended.len() == 1).await;
}

#[tokio::test]
async fn a_helper_that_clings_is_killed() {
    let fake = FakeSpark::start();
    fake.with(|state| state.clings = true);
    let wallet = fake.wallet(Timing {
        close: Duration::from_millis(200),
        ..timing()
    });
    made(&wallet).await;
    let pid = fake.with(|state| state.started[0]);
    wallet.close().await;
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // Reaped: the system knows it no more.
    assert!(rustix::process::test_kill_process(pid).is_err());
}
