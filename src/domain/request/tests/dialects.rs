//! Where clients put the text, who speaks, and what is declined.

use super::*;
use DropReason::{NoInput, Undecryptable, UnsupportedInput};

/// The conversation as `role: text|…`.
fn talk(event: &Event) -> Result<String, DropReason> {
    let request = understood(event)?;
    let texts = request.prompt_parts.iter().map(|part| match part {
        Part::Text(text) => text.clone(),
        Part::Event { id, .. } => id.to_hex(),
    });
    let messages = request.messages(texts.collect()).into_iter();
    let shown = messages.map(|one| format!("{}: {}", one.role.as_str(), one.content));
    Ok(shown.collect::<Vec<_>>().join("|"))
}

#[test]
fn a_word_that_only_names_the_place_is_no_input_beside_a_content_that_speaks() {
    let cases: [(Tags, &str, &str); 8] = [
        (&[&["i", "text", "text"]], "hi", "user: hi"),
        (&[&["i", " Encrypted ", "text"]], "hi", "user: hi"),
        (
            &[&["i", "prompt"], &["i", "content", "text"]],
            "hi",
            "user: hi",
        ),
        (&[&["i", "text", "text"]], "", "user: text"),
        (
            &[&["i", "text", "text"]],
            "NIP 90 Job Request",
            "user: text",
        ),
        (&[&["i", "text"], &["i", "real"]], "hi", "user: real"),
        (&[&["i", "texts", "text"]], "hi", "user: texts"),
        (
            &[&["i", "text", "text"]],
            r#"{"messages":[{"role":"user","content":"hi"}]}"#,
            "user: hi",
        ),
    ];
    for (tags, content, expected) in cases {
        assert_eq!(
            talk(&ask(tags, content)).unwrap(),
            expected,
            "{tags:?} {content:?}"
        );
    }
}

#[test]
fn who_speaks_is_kept_and_other_roles_are_declined() {
    let cases: [(Tags, Result<&str, DropReason>); 8] = [
        (
            &[
                &["i", "a", "text", "", "developer"],
                &["i", "b", "", "", "User"],
            ],
            Ok("system: a|user: b"),
        ),
        (
            &[&["i", "a", "", "", "assistant"], &["i", "b"]],
            Ok("assistant: a|user: b"),
        ),
        (
            &[&["i", "a", "text", "", "input"], &["i", "b"]],
            Ok("user: a\n\nb"),
        ),
        (&[&["i", "a", "", "", "tool"]], Err(UnsupportedInput)),
        (
            &[&["i", "a", "", "", "user"], &["i", "b", "", "", "critic"]],
            Err(UnsupportedInput),
        ),
        (&[&["i", "a", "url", "", "user"]], Err(UnsupportedInput)),
        (
            &[&[
                "i",
                r#"{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#,
            ]],
            Err(UnsupportedInput),
        ),
        (
            &[&["i", r#"{"messages":[{"role":"user","content":" "}]}"#]],
            Err(NoInput),
        ),
    ];
    for (tags, expected) in cases {
        let got = talk(&ask(tags, ""));
        assert_eq!(got.as_deref().map_err(|e| *e), expected, "{tags:?}");
    }
}

#[test]
fn all_that_is_said_counts_for_the_limit() {
    let one = format!(r#"{{"role":"user","content":"{}"}}"#, "x".repeat(400));
    let content = format!(r#"{{"messages":[{one},{one},{one}]}}"#);
    let request = understood(&ask(&[], &content)).unwrap();
    let available = |name: &str| Some(name.to_owned());
    let agreed = agree(&request, &offer(&[], &available, &price));
    assert_eq!(agreed, Err(DropReason::PromptTooLong));
}

#[test]
fn ciphertext_without_its_tag_is_opened_and_never_taken_for_words() {
    let hex = us().to_hex();
    for scheme in [Encryption::Nip04, Encryption::Nip44] {
        let sealed = encrypt(
            scheme,
            "hi there, how are you? Tell me of ships, please, at length and in rhyme.",
        );
        let event = ask(&[&["p", &hex], &["i", "encrypted", "text"]], &sealed);
        assert_eq!(encryption(&event), scheme);
        assert!(talk(&event).unwrap().starts_with("user: hi there"));
        assert_eq!(talk(&ask(&[], &sealed)), Err(Undecryptable), "not for us");
        assert_eq!(
            talk(&ask(&[&["p", &hex], &["i", &sealed]], "")),
            Err(Undecryptable)
        );
        // Beside words of the buyer's it is somebody else's matter.
        let event = ask(&[&["p", &hex], &["i", "hi"]], &sealed);
        assert_eq!(
            (encryption(&event), talk(&event).unwrap()),
            (Encryption::Plain, "user: hi".to_owned())
        );
    }
}

#[test]
fn what_is_inside_an_encryption_is_read_as_what_it_is() {
    let hex = us().to_hex();
    let cases = [
        (
            r#"{"kind":5050,"tags":[["i","hi","text"],["param","max_tokens","9"]],"content":""}"#,
            Ok("user: hi"),
        ),
        (r#"{"content":"hi","tags":[]}"#, Ok("user: hi")),
        (
            r#"{"messages":[{"role":"system","content":"a"},{"role":"user","content":"b"}]}"#,
            Ok("system: a|user: b"),
        ),
        (r#"{"a":1}"#, Err(UnsupportedInput)),
        (r#"[["i","hi"]]"#, Ok("user: hi")),
    ];
    for (inside, expected) in cases {
        for named in [&["encrypted"][..], &["encrypted", "nip44"]] {
            let event = ask(&[&["p", &hex], named], &encrypt(Encryption::Nip44, inside));
            let got = talk(&event);
            assert_eq!(got.as_deref().map_err(|e| *e), expected, "{inside}");
        }
    }
}

#[test]
fn an_order_that_only_another_coin_pays_is_declined_unless_it_is_free() {
    let agreed = |tags: &[&[&str]], price_of: &dyn Fn(&str) -> PriceRule| {
        let available = |name: &str| Some(name.to_owned());
        let all = [&[&["i", "hi"][..]], tags].concat();
        let request = understood(&ask(&all, "")).unwrap();
        agree(&request, &offer(&[], &available, price_of)).map(drop)
    };
    let foreign = Err(DropReason::UnsupportedPayment);
    assert_eq!(agreed(&[&["t", "elisym"]], &price), foreign);
    assert_eq!(agreed(&[&["t", "USDC"], &["t", "x"]], &price), foreign);
    assert_eq!(
        agreed(&[&["t", "usdc"], &["t", "lightning"]], &price),
        Ok(())
    );
    assert_eq!(
        agreed(&[&["t", "ethereum"], &["bid", "21000"]], &price),
        Ok(())
    );
    assert_eq!(agreed(&[&["t", "bitcoin"]], &price), Ok(()));
    let free = |_: &str| PriceRule {
        min_sats: 0,
        per_1k_input: 0,
        per_1k_output: 0,
    };
    assert_eq!(agreed(&[&["t", "elisym"]], &free), Ok(()));
}

#[test]
fn parameters_come_with_the_messages_too_and_a_tag_says_more() {
    let content = r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":7,"temperature":0.5,"stream":true}"#;
    let request = understood(&ask(&[&["param", "max_tokens", "9"]], content)).unwrap();
    assert_eq!(
        (request.max_tokens, request.temperature),
        (Some(9), Some(0.5))
    );
    assert!(request.stream);
}
