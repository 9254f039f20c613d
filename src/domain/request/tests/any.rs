//! Whatever a stranger sends, reading it neither panics nor makes a job of nothing.

use nostr::JsonUtil;
use proptest::prelude::*;

use super::*;

/// Words that mean something, so that arbitrary events come close to real ones.
fn word() -> impl Strategy<Value = String> + Clone {
    let known = [
        "i",
        "param",
        "bid",
        "output",
        "relays",
        "expiration",
        "encrypted",
        "p",
        "e",
        "text",
        "url",
        "event",
        "job",
        "prompt",
        "model",
        "max_tokens",
        "top-k",
        "temperature",
        "1e999",
        "-1",
        "NaN",
        "0.70",
        " 512 ",
        "21000",
        "",
        "wss://nos.lol",
        "wss://a..b",
        "LLaMA-2",
        "gemma2",
        "[[\"i\",\"x\"]]",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}",
        "user",
        "encrypted",
        "?iv=",
        "\u{202e}",
        "ab00000000000000000000000000000000000000000000000000000000000001",
    ];
    prop_oneof![
        3 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned),
        1 => Just(us().to_hex()),
        1 => any::<String>(),
        1 => any::<f64>().prop_map(|number| number.to_string()),
    ]
}

fn tag_lists() -> impl Strategy<Value = Vec<Vec<String>>> {
    let tag = proptest::collection::vec(word(), 1..6);
    prop_oneof![
        proptest::collection::vec(tag.clone(), 0..12),
        proptest::collection::vec(tag, 60..80),
    ]
}

fn content() -> impl Strategy<Value = String> {
    prop_oneof![
        word(),
        any::<String>(),
        tag_lists().prop_map(|tags| serde_json::to_string(&tags).unwrap()),
        ".{0,20}\\?iv=.{0,20}",
    ]
}

fn event(kind: u16, created: u64, tags: &[Vec<String>], content: &str) -> Event {
    let json = serde_json::json!({
        "id": "00".repeat(32), "pubkey": buyer().public_key().to_hex(), "created_at": created, "kind": kind,
        "tags": tags, "content": content, "sig": "00".repeat(64),
    });
    Event::from_json(json.to_string()).unwrap()
}

/// The promises that hold for every event.
fn promises(event: &Event, opened: Option<&str>) -> Result<(), TestCaseError> {
    // What may happen here is for other tests; that it comes back is what counts.
    let _ = screen(event, &us(), NOW, MAX_AGE);
    let _ = read_cancel(event);
    let decrypt = |_: Encryption, _: &PublicKey, _: &str| opened.map(str::to_owned).ok_or(());
    let Ok(request) = read(event, &us(), &decrypt) else {
        return Ok(());
    };
    let most = if request.roles.is_some() { 128 } else { 8 };
    prop_assert!(!request.prompt_parts.is_empty() && request.prompt_parts.len() <= most);
    prop_assert!(
        request
            .roles
            .as_ref()
            .is_none_or(|roles| roles.len() == request.prompt_parts.len())
    );
    for part in &request.prompt_parts {
        if let Part::Text(text) = part {
            prop_assert!(!text.trim().is_empty());
        }
    }
    prop_assert!(request.relays.len() <= 5);
    prop_assert!(request.relays.iter().all(|url| url.starts_with("ws")));
    prop_assert!(request.max_tokens != Some(0));
    prop_assert!(request.notes.len() <= 16);
    let available = |name: &str| Some(name.to_owned());
    for substitute in [false, true] {
        let mut offer = offer(&[], &available, &price);
        offer.substitute = substitute;
        let Ok(agreed) = agree(&request, &offer) else {
            continue;
        };
        let params = &agreed.params;
        prop_assert!((1..=1_024).contains(&params.max_tokens));
        prop_assert!((0.0..=2.0).contains(&params.temperature));
        prop_assert!(params.top_k <= 1_000 && params.top_p > 0.0 && params.top_p <= 1.0);
        prop_assert!((-2.0..=2.0).contains(&params.frequency_penalty));
        prop_assert!(
            agreed
                .notes
                .iter()
                .all(|note| !note.chars().any(crate::domain::text::is_hostile))
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_event_is_read_or_refused(
        kind in prop_oneof![Just(5050_u16), Just(5100), Just(5), any::<u16>()],
        created in any::<u64>(), tags in tag_lists(), content in content(),
        opened in proptest::option::of(content()),
    ) {
        promises(&event(kind, created, &tags, &content), opened.as_deref())?;
    }

    #[test]
    fn a_mutated_real_request_is_read_or_refused(
        at in any::<proptest::sample::Index>(), element in any::<proptest::sample::Index>(),
        value in word(), cut in any::<bool>(), encrypted in any::<bool>(), opened in content(),
    ) {
        let real = [
            vec!["i", "What is Nostr?", "text", "", "input"], vec!["param", "model", "LLaMA-2"],
            vec!["param", "max_tokens", "512"], vec!["param", "temperature", "0.70"], vec!["param", "top-k", "40"],
            vec!["bid", "21000"], vec!["output", "text/plain"], vec!["relays", "wss://nos.lol", "wss://nostr.mom"],
            vec!["expiration", "1795000100"], vec!["client", "app"],
        ];
        let mut tags: Vec<Vec<String>> =
            real.iter().map(|tag| tag.iter().map(|&text| text.to_owned()).collect()).collect();
        if encrypted {
            tags.push(vec!["p".to_owned(), us().to_hex()]);
            tags.push(vec!["encrypted".to_owned()]);
        }
        let tag = at.index(tags.len());
        let spot = element.index(tags[tag].len());
        tags[tag][spot] = value;
        if cut {
            tags[tag].truncate(spot + 1);
        }
        promises(&event(5050, NOW.secs(), &tags, &opened), Some(&opened))?;
    }
}
