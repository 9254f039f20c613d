use super::*;
use DropReason::{NoInput, NotForUs, Stale, Undecryptable, UnsupportedInput, UnsupportedKind};

const ID: &str = "ab00000000000000000000000000000000000000000000000000000000000001";

#[test]
fn what_is_old_ahead_or_past_its_expiration_is_stale() {
    let now = NOW.secs();
    let screened =
        |created, tags: &[&[&str]]| screen(&at(5050, created, tags, "hi"), &us(), NOW, MAX_AGE);
    assert_eq!(screened(now - 600, &[]), Ok(()));
    assert_eq!(screened(now - 601, &[]), Err(Stale));
    assert_eq!(screened(now + 900, &[]), Ok(()));
    assert_eq!(screened(now + 901, &[]), Err(Stale));
    assert_eq!(screened(0, &[]), Err(Stale));
    assert_eq!(screened(u64::MAX, &[]), Err(Stale));
    let over = now.to_string();
    let later = (now + 1).to_string();
    assert_eq!(screened(now, &[&["expiration", &over]]), Err(Stale));
    assert_eq!(screened(now, &[&["expiration", &later]]), Ok(()));
    assert_eq!(screened(now, &[&["expiration", "soon"]]), Ok(()));
}

#[test]
fn served_if_nobody_is_named_or_we_are() {
    let (hex, npub) = (us().to_hex(), us().to_bech32().unwrap());
    let other = buyer().public_key().to_hex();
    let upper = hex.to_uppercase();
    let cases: [(Tags, Result<(), DropReason>, bool); 9] = [
        (&[], Ok(()), false),
        (&[&["p", &hex]], Ok(()), true),
        (&[&["p", &upper]], Ok(()), true),
        (&[&["p", &npub]], Ok(()), true),
        (&[&["p", &hex, "wss://nos.lol"]], Ok(()), true),
        (&[&["p", &other], &["p", &hex]], Ok(()), false),
        (&[&["p", &other]], Err(NotForUs), false),
        (&[&["p", "someone"]], Err(NotForUs), false),
        (&[&["p"], &["p", " "]], Ok(()), false),
    ];
    for (tags, screened, alone) in cases {
        let event = ask(tags, "hi");
        assert_eq!(screen(&event, &us(), NOW, MAX_AGE), screened, "{tags:?}");
        assert_eq!(addressed(&event, &us()), alone, "{tags:?}");
    }
}

#[test]
fn stale_comes_before_not_for_us() {
    let other = buyer().public_key().to_hex();
    let event = at(5050, 0, &[&["p", &other]], "hi");
    assert_eq!(screen(&event, &us(), NOW, MAX_AGE), Err(Stale));
}

#[test]
fn inputs_are_found_wherever_buyers_put_them() {
    let hint = "wss://nos.lol/";
    let cases: [(Tags, &str, Result<&str, DropReason>); 27] = [
        // i tags and their types
        (&[&["i", "hi", "text"]], "", Ok("hi")),
        (&[&["i", "hi", "prompt"]], "", Ok("hi")),
        (&[&["i", "hi", ""]], "", Ok("hi")),
        (&[&["i", "hi"]], "", Ok("hi")),
        (&[&["i", "hi", " Text "]], "", Ok("hi")),
        (&[&["i", "hi", "text", "", "input"]], "", Ok("hi")),
        (&[&["i", " one "], &["i", "two"]], "", Ok(" one |two")),
        (
            &[&["i", ID, "event", hint]],
            "",
            Ok("event:ab00@wss://nos.lol"),
        ),
        (&[&["i", ID, "job"]], "", Ok("job:ab00@")),
        (
            &[&["i", ID, "job", "file:///etc/passwd"]],
            "",
            Ok("job:ab00@"),
        ),
        (&[&["i", "no id", "event"]], "", Err(UnsupportedInput)),
        (
            &[&["i", "http://10.0.0.1/", "url"]],
            "",
            Err(UnsupportedInput),
        ),
        (
            &[&["i", "hi"], &["i", "x", "url"]],
            "",
            Err(UnsupportedInput),
        ),
        (&[&["i", "hi", "hologram"]], "", Err(UnsupportedInput)),
        // the content
        (&[], "tell me a joke", Ok("tell me a joke")),
        (&[], "NIP 90 Text Generation Request", Err(NoInput)),
        (&[], "nip-90 text generation request.", Err(NoInput)),
        (&[&["i", "hi"]], "NIP 90 Text Generation Request", Ok("hi")),
        (&[&["i", "hi"]], "something else", Ok("hi")),
        (&[&["i", " "]], "tell me", Ok("tell me")),
        (&[], r#"[["i","hi","text"]]"#, Ok("hi")),
        (&[&["i", "out"]], r#"[["i","in"]]"#, Ok("in")),
        (&[], r#"[["param","max_tokens","5"]]"#, Err(NoInput)),
        (&[], "[1, 2] is what?", Ok("[1, 2] is what?")),
        // nothing at all
        (&[], "", Err(NoInput)),
        (
            &[&["i"], &["i", ""], &["i", "\u{200b}\u{feff}"]],
            " \n",
            Err(NoInput),
        ),
        (&[&["i", "", "url"]], "", Err(NoInput)),
    ];
    for (tags, content, expected) in cases {
        let found = inputs(&ask(tags, content));
        assert_eq!(
            found.as_deref().map_err(|e| *e),
            expected,
            "{tags:?} {content:?}"
        );
    }
}

#[test]
fn image_requests_are_refused_and_plain_prompts_on_their_kind_are_served() {
    let on = |kind, tags: &[&[&str]]| inputs(&at(kind, NOW.secs(), tags, ""));
    let prompt: &[&str] = &["i", "hi", "text"];
    assert_eq!(on(5100, &[prompt]), Ok("hi".to_owned()));
    for name in [
        "size",
        "ratio",
        "width",
        "height",
        "lora",
        "style",
        "negative_prompt",
        "negative-prompt",
        "steps",
        "guidance_scale",
        "Guidance-Scale",
    ] {
        let tags = [prompt, &["param", name, "1"]];
        assert_eq!(on(5100, &tags), Err(UnsupportedKind), "{name}");
        assert_eq!(on(5050, &tags), Ok("hi".to_owned()), "{name}");
    }
    let url = [prompt, &["i", "https://example.com/cat.png", "url"]];
    assert_eq!(on(5100, &url), Err(UnsupportedKind));
    assert_eq!(on(5050, &url), Err(UnsupportedInput));
}

#[test]
fn kinds_of_other_services_are_not_served() {
    for kind in [
        5000,
        5001,
        5002,
        5200,
        5250,
        5300,
        5400,
        5905,
        1,
        6050,
        7000,
        0,
        u16::MAX,
    ] {
        let event = at(kind, NOW.secs(), &[&["i", "hi"]], "");
        assert_eq!(understood(&event), Err(UnsupportedKind), "{kind}");
    }
    // A kind that the registry leaves open is served only where the seller listens for it.
    assert!(understood(&at(5999, NOW.secs(), &[&["i", "hi"]], "")).is_ok());
}

#[test]
fn reasons_come_in_the_order_of_admission() {
    let bad: &[&str] = &["param", "temperature", "hot"];
    let url: &[&str] = &["i", "x", "url"];
    let size: &[&str] = &["param", "size", "1x1"];
    let on = |kind, tags: &[&[&str]]| understood(&at(kind, NOW.secs(), tags, "")).unwrap_err();
    assert_eq!(on(5100, &[&["encrypted"], size, bad]), Undecryptable);
    assert_eq!(on(5100, &[size, bad]), NoInput);
    assert_eq!(on(5100, &[url, size, bad]), UnsupportedKind);
    assert_eq!(on(5050, &[url, size, bad]), UnsupportedInput);
    assert!(
        understood(&ask(&[&["i", "hi"], bad], ""))
            .unwrap()
            .bad_param
    );
}

#[test]
fn other_outputs_parents_and_unknown_tags_are_ignored() {
    let event = ask(
        &[
            &["i", "hi"],
            &["output", "image/png"],
            &["output", "text/markdown"],
            &["output"],
            &["e", ID],
            &["t", "bitcoin"],
            &["alt", "x"],
            &["client", "y"],
            &["-"],
            &[""],
        ],
        "",
    );
    let request = understood(&event).unwrap();
    assert_eq!(
        request.notes,
        ["output image/png is ignored: the answer is text"]
    );
    assert_eq!(request.id.0, event.id);
    assert_eq!(request.buyer.0, buyer().public_key());
    assert_eq!(request.created_at, NOW.secs());
}

#[test]
fn encrypted_requests_are_read_in_both_schemes() {
    let hex = us().to_hex();
    let inside = r#"[["i","hi","text"],["param","max_tokens","99"],["param","top_k",7],["bid","21000"],
        ["output","text/plain"],["relays","wss://nos.lol"],["expiration","1795000001"]]"#;
    for scheme in [Encryption::Nip04, Encryption::Nip44] {
        let sealed = encrypt(scheme, inside);
        let event = ask(&[&["p", &hex], &["encrypted"]], &sealed);
        let request = understood(&event).unwrap();
        assert_eq!(request.encryption, scheme);
        assert_eq!(request.prompt_parts, [Part::Text("hi".to_owned())]);
        assert_eq!(request.max_tokens, Some(99));
        assert_eq!(request.top_k, Some(7));
        assert_eq!(request.bid, Some(Msat(21_000)));
        assert_eq!(request.relays, ["wss://nos.lol"]);
        assert!(!request.expired(NOW) && request.expired(Time::from_secs(1_795_000_001)));

        let prompt = ask(
            &[&["p", &hex], &["encrypted"]],
            &encrypt(scheme, "just a prompt"),
        );
        assert_eq!(inputs(&prompt).unwrap(), "just a prompt");
        let outside = ask(&[&["encrypted"]], &sealed);
        assert_eq!(understood(&outside), Err(Undecryptable));
        let broken = ask(&[&["p", &hex], &["encrypted"]], &sealed[..sealed.len() / 2]);
        assert_eq!(understood(&broken), Err(Undecryptable));
    }
    assert_eq!(
        understood(&ask(&[&["p", &hex], &["encrypted"]], "")),
        Err(Undecryptable)
    );
}

#[test]
fn the_bounds_hold_and_say_so() {
    let many: Vec<&[&str]> = vec![&["i", "x"]; 80];
    let request = understood(&ask(&many, "")).unwrap();
    assert_eq!(request.prompt_parts.len(), 8);
    assert_eq!(request.inputs_left_out, 72);
    let mut noise: Vec<&[&str]> = vec![&["t", "x"]; 200];
    noise.push(&["i", "hi"]);
    assert_eq!(inputs(&ask(&noise, "")).unwrap(), "hi");
    let name = "m".repeat(10_000);
    let request = understood(&ask(&[&["i", "hi"], &["param", "model", &name]], "")).unwrap();
    assert!(request.model.unwrap().chars().count() <= 128);
}

#[test]
fn a_cancel_names_the_jobs_it_takes_back() {
    let other = ID.replace("ab", "cd");
    let tags: &[&[&str]] = &[
        &["e", ID],
        &["e", ID],
        &["e", "x"],
        &["e"],
        &["k", "5050"],
        &["e", &other],
    ];
    let ids = read_cancel(&at(5, NOW.secs(), tags, "changed my mind"));
    assert_eq!(ids, [ID.parse().unwrap(), other.parse().unwrap()]);
    assert!(read_cancel(&at(7, NOW.secs(), tags, "")).is_empty());
}
