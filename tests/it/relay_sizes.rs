//! No work is done for a result that no relay takes: each request ends delivered, or is refused before the work. And what one
//! relay wants holds up no other.

use crate::support::inside;
use crate::support::shop;
use std::time::Duration;

use crate::support::fake_ollama::FakeOllama;
use crate::support::fake_relay::{FakeRelay, Fault};
use crate::support::inside::{Inside, is_result, status_of};
use nostr::{Event, JsonUtil, Keys};
use vend::domain::command::Command;
use vend::domain::event::EventKind;
use vend::domain::job::Encryption;
use vend::nostr::Timing;

const SCHEMES: [Encryption; 3] = [Encryption::Plain, Encryption::Nip04, Encryption::Nip44];

/// A model that reads long prompts, for as long as the test runs.
async fn model() -> String {
    let model = FakeOllama::start().await;
    model.set_context(131_072);
    let url = model.url();
    std::mem::forget(model);
    url
}

fn settings(relay: &str, model: &str) -> String {
    format!(
        "[nostr]\nrelays = [\"{relay}\"]\nkinds = [5050]\nannounce = false\n\
         [text]\nmodel = \"gemma2:latest\"\nmax_tokens = 48\n\
         [payment]\nmode = \"after\"\n[wallet]\nbackend = \"sandbox\"\nnetwork = \"regtest\"\n\
         [[endpoint]]\nname = \"local\"\nkind = \"ollama\"\nurl = \"{model}\"\nnum_ctx = 131072\nslots = 4\n\
         [limits]\nper_minute = 100000\nqueue = 1000\n"
    )
}

/// A shop that is online at a relay that takes messages of so many bytes.
async fn shop(longest: usize, told: bool) -> Inside {
    let model = model().await;
    let timing = Timing {
        retry_first: Duration::from_millis(200),
        ..Timing::default()
    };
    let mut inside = Inside::with_timing(timing, |relay| settings(relay, &model)).await;
    inside.relay.set_longest(longest, told);
    inside.engine.ask(Command::GoOnline).await;
    let (mut sells, mut read) = (false, !told);
    inside
        .hear(|kind| {
            sells |= matches!(&kind, EventKind::State { state, .. } if state.sells());
            read |= matches!(&kind, EventKind::Relay { relay } if relay.longest.is_some());
            (sells && read).then_some(())
        })
        .await;
    inside
}

/// How a request ended: its result, or the word that refused it.
async fn end(inside: &Inside, request: &Event) -> Event {
    let refused = |event: &Event| status_of(event).as_deref() == Some("error");
    let end = |event: &Event| is_result(event) || refused(event);
    inside.answer(request, end).await
}

fn message(event: &Event) -> usize {
    event.as_json().len() + 10
}

#[tokio::test]
async fn every_request_is_delivered_or_told_before_the_work() {
    let prompts = [
        "hi".to_owned(),
        "x".repeat(1_200),
        "x".repeat(32_700),
        "\"".repeat(30_600),
        "\u{1}\n\\".repeat(4_000),
    ];
    let (mut delivered, mut refused) = (0, 0);
    for longest in [8 * 1024, 32 * 1024, 64 * 1024, 128 * 1024, 1024 * 1024] {
        let inside = shop(longest, true).await;
        let asked = prompts.iter().flat_map(|prompt| {
            // Each by a buyer of its own: refusals to one are bounded.
            SCHEMES.map(|scheme| inside.home.request(&Keys::generate(), scheme, prompt))
        });
        let asked: Vec<Event> = asked.collect();
        for request in &asked {
            inside.relay.inject(request);
        }
        for request in &asked {
            let last = end(&inside, request).await;
            let worked = inside.relay.events().into_iter().any(|event| {
                shop::answers(&event) == Some(request.id.to_hex())
                    && status_of(&event).as_deref() == Some("processing")
            });
            if is_result(&last) {
                assert!(message(&last) <= longest);
                delivered += 1;
            } else {
                assert!(!worked, "told before the work: {last:?}");
                refused += 1;
            }
        }
        assert_eq!(inside.relay.connections(), 1, "never closed over a size");
        inside.close().await;
    }
    assert_eq!(delivered + refused, 75);
    assert!(delivered >= 60, "{delivered} delivered, {refused} refused");
}

#[tokio::test]
async fn a_limit_that_nobody_told_costs_one_result_and_no_other_sale() {
    let inside = shop(20 * 1024, false).await;
    let long = inside
        .home
        .request(&Keys::generate(), Encryption::Plain, &"x".repeat(30_000));
    inside.relay.inject(&long);
    let mut others = Vec::new();
    for _ in 0..6 {
        others.push(inside.ask(&Keys::generate()));
    }
    for request in &others {
        assert!(is_result(&end(&inside, request).await));
    }
    // It was worked for, and its buyer is told that it could not be delivered.
    let told = inside
        .answer(&long, |event| status_of(event).as_deref() == Some("error"))
        .await;
    assert!(!is_result(&told));
    // From now on the limit is known, and the result leaves out what is too long.
    let again = inside
        .home
        .request(&Keys::generate(), Encryption::Plain, &"x".repeat(30_000));
    inside.relay.inject(&again);
    let result = end(&inside, &again).await;
    assert!(is_result(&result), "{result:?}");
    assert!(message(&result) <= 20 * 1024, "{} bytes", message(&result));
    inside.close().await;
}

#[tokio::test]
async fn a_request_above_64_kib_is_counted_or_served() {
    let inside = shop(1024 * 1024, true).await;
    // Encrypted, quotation marks are four times as long; the prompt itself is within bounds.
    let within = inside
        .home
        .request(&Keys::generate(), Encryption::Nip04, &"\"".repeat(30_600));
    assert!(message(&within) > 64 * 1024);
    let beyond = inside
        .home
        .request(&Keys::generate(), Encryption::Plain, &"x".repeat(300_000));
    for request in [&within, &beyond] {
        inside.relay.inject(request);
    }
    assert!(is_result(&end(&inside, &within).await));
    assert!(!is_result(&end(&inside, &beyond).await));
    let wait = async {
        while inside.json(&["stats"])["drops"]["prompt_too_long"] != 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(inside::LONGEST, wait).await.unwrap();
    inside.close().await;
}

#[tokio::test]
async fn a_relay_that_wants_too_much_work_is_left_out_and_delays_no_other() {
    let (greedy, model) = (FakeRelay::start(None).await, model().await);
    greedy.set(Fault::Refuse("pow: 28 bits needed".to_owned()));
    let url = greedy.url();
    let mut shop = Inside::start(|relay| settings(&format!("{relay}\", \"{url}"), &model)).await;
    shop.engine.ask(Command::GoOnline).await;
    shop.hear(|kind| matches!(kind, EventKind::State { state, .. } if state.sells()).then_some(()))
        .await;
    assert!(
        greedy
            .wait_subscribed("vend-jobs", 1, inside::LONGEST)
            .await
    );
    // The first event tells what it wants.
    let first = shop.ask(&Keys::generate());
    assert!(is_result(&end(&shop, &first).await));
    let (mut words, url) = (String::new(), url.to_string());
    shop.hear(|kind| match kind {
        EventKind::Relay { relay } if relay.url == url && relay.pow == 28 => {
            words = relay.detail;
            Some(())
        }
        _ => None,
    })
    .await;
    assert!(
        words.contains("nostr.max_pow_bits"),
        "says what mends it: {words}"
    );
    // From now on it gets nothing, and nothing is mined for it.
    let second = shop.ask(&Keys::generate());
    let result = end(&shop, &second).await;
    assert!(is_result(&result));
    assert!(result.tags.iter().all(|tag| tag.as_slice()[0] != "nonce"));
    let shown = shop.json(&["jobs", "show", &second.id.to_hex()]);
    assert!(!shown.to_string().contains("28 bits"), "{shown}");
    shop.close().await;
}

#[tokio::test]
async fn a_relay_that_wants_some_work_gets_it() {
    let model = model().await;
    let mut shop = Inside::start(|relay| settings(relay, &model)).await;
    shop.relay.set(Fault::Pow(8));
    shop.engine.ask(Command::GoOnline).await;
    let (mut sells, mut read) = (false, false);
    shop.hear(|kind| {
        sells |= matches!(&kind, EventKind::State { state, .. } if state.sells());
        read |= matches!(&kind, EventKind::Relay { relay } if relay.pow == 8);
        (sells && read).then_some(())
    })
    .await;
    let asked = shop.ask(&Keys::generate());
    let result = end(&shop, &asked).await;
    assert!(is_result(&result) && result.id.check_pow(8));
    shop.close().await;
}

#[tokio::test]
async fn a_relay_that_sends_no_eose_is_sold_through() {
    let model = model().await;
    let timing = Timing {
        eose_wait: Duration::from_secs(1),
        ..Timing::default()
    };
    let mut shop = Inside::with_timing(timing, |relay| settings(relay, &model)).await;
    shop.relay.set(Fault::NoEose);
    shop.engine.ask(Command::GoOnline).await;
    let mut detail = String::new();
    shop.hear(|kind| {
        if let EventKind::Relay { relay } = &kind {
            detail.clone_from(&relay.detail);
        }
        matches!(kind, EventKind::State { state, .. } if state.sells()).then_some(())
    })
    .await;
    assert!(detail.contains("no EOSE"), "{detail}");
    let asked = shop.ask(&Keys::generate());
    assert!(is_result(&end(&shop, &asked).await));
    shop.close().await;
}
