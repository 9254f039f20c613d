use super::*;

#[test]
fn parameters_are_read_leniently() {
    let read = |name: &str, value: &str| {
        understood(&ask(&[&["i", "hi"], &["param", name, value]], "")).unwrap()
    };
    for (name, value) in [
        ("top-k", "40"),
        ("top_k", " 40 "),
        ("Top-K", "4e1"),
        ("top_k", "40.9"),
    ] {
        assert_eq!(read(name, value).top_k, Some(40), "{name} {value}");
    }
    for (name, value) in [
        ("max_tokens", "512"),
        ("max-tokens", " 512 "),
        ("max_tokens", "5.12e2"),
    ] {
        assert_eq!(read(name, value).max_tokens, Some(512), "{name} {value}");
    }
    assert_eq!(read("max_tokens", "1e0").max_tokens, Some(1));
    assert_eq!(read("max_tokens", "1e999").max_tokens, Some(u32::MAX));
    assert_eq!(read("max_tokens", "99999999999").max_tokens, Some(u32::MAX));
    assert_eq!(read("max_tokens", "0").max_tokens, None);
    assert_eq!(read("max_tokens", "-1").max_tokens, None);
    assert!(read("max_tokens", "-1").notes[0].contains("max_tokens -1"));
    assert_eq!(read("top_k", "-1").top_k, Some(0));
    assert_eq!(read("temperature", "0.70").temperature, Some(0.7));
    assert_eq!(read("top-p", "0.9").top_p, Some(0.9));
    assert_eq!(
        read("frequency-penalty", "-2").frequency_penalty,
        Some(-2.0)
    );
    assert_eq!(read("seed", "18446744073709551615").seed, Some(u64::MAX));
    assert_eq!(read("seed", "-1").seed, None);
    assert_eq!(read("temperature", "").temperature, None);
    assert_eq!(
        read("mystery", "of life").raw_params,
        [("mystery".into(), "of life".into())]
    );
    assert_eq!(read("model", " LLaMA-2 ").model.as_deref(), Some("LLaMA-2"));
    assert_eq!(read("model", "").model, None);
}

#[test]
fn a_value_that_is_no_number_is_a_bad_param() {
    for name in [
        "max_tokens",
        "temperature",
        "top-k",
        "top_p",
        "frequency_penalty",
        "seed",
    ] {
        for value in [
            "many",
            "NaN",
            "inf",
            "-infinity",
            "1_000",
            "0x10",
            "12 apples",
            "0,7",
            "null",
        ] {
            let event = ask(&[&["i", "hi"], &["param", name, value]], "");
            assert!(understood(&event).unwrap().bad_param, "{name} {value}");
        }
    }
}

#[test]
fn a_bid_is_msat_and_garbage_is_ignored() {
    let bid = |tags: &[&[&str]]| {
        let all = [&[&["i", "hi"] as &[&str]], tags].concat();
        understood(&ask(&all, "")).unwrap().bid
    };
    assert_eq!(bid(&[]), None);
    assert_eq!(bid(&[&["bid", "21000"]]), Some(Msat(21_000)));
    assert_eq!(bid(&[&["bid", " 21000 ", "99"]]), Some(Msat(21_000)));
    assert_eq!(bid(&[&["bid", "2.1e4"]]), Some(Msat(21_000)));
    assert_eq!(
        bid(&[&["bid", "99999999999999999999999"]]),
        Some(Msat(MAX_MSAT))
    );
    for garbage in ["", "-5", "all I have", "NaN"] {
        assert_eq!(bid(&[&["bid", garbage]]), None, "{garbage}");
    }
    assert_eq!(bid(&[&["bid"], &["bid", "7"]]), Some(Msat(7)));
}

#[test]
fn at_most_five_valid_relays_are_used() {
    let event = ask(
        &[
            &["i", "hi"],
            &[
                "relays",
                "wss://a.example",
                "WSS://A.example/",
                "https://b.example",
                "ws://127.0.0.1:7777",
            ],
            &[
                "relays",
                "wss://c.example/path",
                "wss://",
                "wss://user@d.example",
                "wss://[::1]:80",
            ],
            &[
                "relays",
                "wss://e.example",
                "wss://f.example",
                "wss://g.example",
            ],
        ],
        "",
    );
    let request = understood(&event).unwrap();
    let expected = [
        "wss://a.example",
        "ws://127.0.0.1:7777",
        "wss://c.example/path",
        "wss://[::1]:80",
        "wss://e.example",
    ];
    assert_eq!(request.relays, expected);
    assert!(request.notes[0].starts_with("5 of its relays"));
}

#[test]
fn a_relay_in_a_request_is_named_plainly_or_not_at_all() {
    for good in [
        "wss://Relay.Example",
        "ws://127.0.0.1:7777",
        "wss://[::1]:80",
        "wss://a.example/path",
    ] {
        assert!(named_relay(good).is_some(), "{good}");
    }
    for bad in [
        "ws://a.example/?x=1",
        "ws://a.example?x",
        "ws://2130706433",
        "ws://0x7f.1",
        "ws://0177.0.0.1",
        "ws://127.1",
        "ws://127.0.0.1.",
        "ws://a.example.",
        "ws://a\u{3002}example",
        "ws://\u{ff41}.example",
        "ws://%61.example",
        "ws://[fe80::1%25eth0]",
        "ws://user@a.example",
    ] {
        assert_eq!(named_relay(bad), None, "{bad}");
    }
}

#[test]
fn urls_that_are_no_relays_are_told_apart() {
    for good in [
        "wss://relay.example.com",
        "ws://localhost:7000",
        "wss://[2001:db8::1]",
        " wss://x_y.example ",
    ] {
        assert!(relay_url(good).is_some(), "{good}");
    }
    let long = format!("wss://{}.example", "a".repeat(64));
    for bad in [
        "",
        "nos.lol",
        "http://nos.lol",
        "wss:///x",
        "wss://a..b",
        "wss://-a.example",
        "wss://nos.lol#x",
        "wss://u:p@nos.lol",
        "wss://nos.lol\n.evil",
        "wss://nos\u{1b}.lol",
        "wss://nos.lol:0",
        "wss://nos.lol:99999",
        "wss:\\\\nos.lol",
        "javascript:wss://x",
        "wss:nos.lol",
        long.as_str(),
    ] {
        assert_eq!(relay_url(bad), None, "{bad:?}");
    }
}
