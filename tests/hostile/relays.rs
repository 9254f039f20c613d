//! Attacks by way of relays: work that one wants, messages without end, results that none takes.

use nostr::{Event, JsonUtil, Keys, Kind};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use vend::domain::job::Encryption;

use crate::fake_ollama::FakeOllama;
use crate::fake_relay::Fault;
use crate::shop::answers;
use crate::street::{LONGEST, Rules, Street};

/// A street with a model that reads long prompts.
async fn street(model: &FakeOllama) -> Street {
    model.set_context(131_072);
    let url = model.url();
    let model = format!(
        "[text]\nmodel = \"gemma2:latest\"\nmax_tokens = 1\n\
         [[endpoint]]\nname = \"local\"\nkind = \"ollama\"\nurl = \"{url}\"\nnum_ctx = 131072\nslots = 2\n"
    );
    Street::open(&Rules {
        model,
        ..Rules::default()
    })
    .await
}

/// How a request ended: with its result, or with the sentence that says why not.
async fn end(street: &Street, request: &Event) -> Event {
    let id = request.id.to_hex();
    let says_error = |event: &Event| {
        let mut tags = event.tags.iter().map(nostr::Tag::as_slice);
        tags.any(|tag| tag[0] == "status" && tag.get(1).is_some_and(|word| word == "error"))
    };
    let ends = |event: &Event| {
        let ours = answers(event).as_deref() == Some(&id);
        ours && (event.kind == Kind::from_u16(6050) || says_error(event))
    };
    street.relay.wait_for(ends, LONGEST).await.expect("an end")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_asks_for_24_bits_once_holds_no_result_back() {
    let street = Street::open(&Rules::default()).await;
    street
        .mute
        .set(Fault::Refuse("pow: 24 bits needed".to_owned()));
    street.mute.cut();
    assert!(street.mute.wait_subscribed("vend-jobs", 1, LONGEST).await);
    let quiet = street.sales("quiet", 1).await;
    let wants =
        |event: &serde_json::Value| event["event"] == "relay" && event["relay"]["pow"] == 24;
    let told = street.told(wants).await;
    assert!(
        told.to_string().contains("max_pow_bits"),
        "says what mends it: {told}"
    );
    let cpu = street.cpu();
    let attacked = street.sales("24 bits wanted", 4).await;
    street.held_nobody_up(&quiet, &attacked);
    let worked = street.cpu().saturating_sub(cpu);
    assert!(worked.as_secs() < 20, "nothing is mined for it: {worked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relays_that_a_request_names_reach_no_port_of_this_machine() {
    let street = Street::open(&Rules::default()).await;
    let quiet = street.quiet(1).await;
    let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", trap.local_addr().unwrap());
    let met = tokio::spawn(async move {
        let (mut stream, _) = trap.accept().await.unwrap();
        let mut head = [0; 1024];
        let read = stream.read(&mut head).await.unwrap();
        String::from_utf8_lossy(&head[..read]).into_owned()
    });
    for n in 0..4 {
        let paths: Vec<String> = (0..16).map(|k| format!("{url}/{n}/{k}")).collect();
        let mut relays = vec!["relays"];
        relays.extend(paths.iter().map(String::as_str));
        let (text, nowhere) = (format!("question {n}"), format!("{n:064x}"));
        street.publish(&street.request(&Keys::generate(), &[&["i", &text, "text"], &relays]));
        let hint = ["i", &nowhere, "event", &url];
        street.publish(&street.request(&Keys::generate(), &[&hint, &relays]));
    }
    let attacked = street.sales("named relays", 3).await;
    street.held_nobody_up(&quiet, &attacked);
    assert!(!met.is_finished(), "nobody came to the trap");
    met.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_a_relay_can_not_take_stops_no_other_sale() {
    let model = FakeOllama::start().await;
    let street = street(&model).await;
    street.relay.set_longest(128 * 1024, false);
    let quiet = street.quiet(2).await;
    let quotes = street
        .home
        .request(&Keys::generate(), Encryption::Plain, &"\"".repeat(30_600));
    street.publish(&quotes);
    let attacked = street.sales("30,600 quotation marks", 6).await;
    let last = end(&street, &quotes).await;
    assert_eq!(last.kind, Kind::from_u16(6050), "{last:?}");
    assert!(last.as_json().len() < 128 * 1024);
    street.held_nobody_up(&quiet, &attacked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordinary_long_prompt_is_delivered_at_an_ordinary_relay() {
    let model = FakeOllama::start().await;
    let street = street(&model).await;
    street.relay.set_longest(65_536, false);
    let long = street
        .home
        .request(&Keys::generate(), Encryption::Plain, &"word ".repeat(6_540));
    street.publish(&long);
    let last = end(&street, &long).await;
    assert_eq!(last.kind, Kind::from_u16(6050), "{last:?}");
}
