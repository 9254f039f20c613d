use nostr::{EventBuilder, Keys, Kind, Tag, TagKind};
use serde_json::json;

use super::*;

const SECRET: &str = "71a8c14c1407c113601079c4302dab36460f0ccd0ad506f1f2dc73b5100e4f3c";

fn connection() -> Connection {
    let key = Keys::generate().public_key().to_hex();
    let uri = format!("nostr+walletconnect://{key}?relay=wss://relay.example&secret={SECRET}");
    Connection::read(&uri.into()).unwrap()
}

fn asked() -> Issued {
    Issued {
        bolt11: String::new(),
        payment_hash: Preimage(Hex32([1; 32])).hash(),
        backend_ref: None,
    }
}

fn look(mut value: Value) -> Result<PaymentStatus, WalletError> {
    value["payment_hash"] = json!(asked().payment_hash.to_string());
    seen(&value, &asked(), Time::from_secs(1_000))
}

#[test]
fn a_state_is_read_as_it_is_meant() {
    for (value, want) in [
        (json!({"state": "pending"}), PaymentStatus::Pending),
        (
            json!({"state": "PENDING", "settled_at": 0}),
            PaymentStatus::Pending,
        ),
        (json!({"state": "expired"}), PaymentStatus::Expired),
        (json!({"state": "failed"}), PaymentStatus::Canceled),
        (
            json!({"state": "failed", "expires_at": 999}),
            PaymentStatus::Expired,
        ),
        (
            json!({"state": "accepted", "amount": 5}),
            PaymentStatus::Held {
                amount: Some(Msat(5)),
            },
        ),
        (
            json!({"state": "accepted"}),
            PaymentStatus::Held { amount: None },
        ),
    ] {
        assert_eq!(look(value.clone()), Ok(want), "{value}");
    }
    let strange = look(json!({"state": "pondering", "settled_at": 5}));
    assert!(
        matches!(strange, Ok(PaymentStatus::Attention(_))),
        "{strange:?}"
    );
}

#[test]
fn without_a_state_the_moment_of_settling_tells() {
    for (value, paid) in [
        (json!({}), false),
        (json!({"settled_at": null}), false),
        (json!({"settled_at": 0}), false),
        (json!({"settled_at": "0"}), false),
        (json!({"settled_at": -1}), false),
        (json!({"preimage": "01".repeat(32)}), false),
        (json!({"settled_at": 900}), true),
        (json!({"settled_at": 1_700_000_000_000_u64}), true),
    ] {
        let seen = look(value.clone()).unwrap();
        assert_eq!(
            matches!(seen, PaymentStatus::Paid { .. }),
            paid,
            "{value}: {seen:?}"
        );
    }
    assert_eq!(
        look(json!({"expires_at": 1_000})),
        Ok(PaymentStatus::Expired)
    );
    // What the wallet says outright weighs more than what it left in a field.
    assert_eq!(
        look(json!({"state": "pending", "settled_at": 900})),
        Ok(PaymentStatus::Pending)
    );
}

#[test]
fn a_payment_has_what_the_wallet_tells_of_it() {
    let seen = look(json!({
        "state": "settled", "amount": 21_000, "fees_paid": 100, "settled_at": 900, "preimage": "01".repeat(32),
    }));
    let want = PaymentStatus::Paid {
        amount: Some(Msat(21_000)),
        at: Some(Time::from_secs(900)),
        preimage: Some(Preimage(Hex32([1; 32]))),
        fee: Some(Msat(100)),
    };
    assert_eq!(seen, Ok(want));
    let seen = look(json!({"state": "settled", "amount": 0, "fees_paid": null, "preimage": ""}));
    let want = PaymentStatus::Paid {
        amount: None,
        at: None,
        preimage: None,
        fee: None,
    };
    assert_eq!(seen, Ok(want));
}

#[test]
fn a_preimage_of_zeros_is_no_proof_and_no_doubt() {
    let value = json!({"state": "settled", "preimage": "00".repeat(32)});
    let seen = seen(&value, &asked(), Time::from_secs(1));
    assert!(
        matches!(seen, Ok(PaymentStatus::Paid { preimage: None, .. })),
        "{seen:?}"
    );
}

#[test]
fn an_answer_about_another_payment_is_none() {
    for value in [
        json!({"payment_hash": "02".repeat(32), "state": "settled"}),
        json!({"payment_hash": asked().payment_hash.to_string(), "type": "outgoing", "state": "settled"}),
        json!(null),
        json!([]),
    ] {
        let seen = seen(&value, &asked(), Time::from_secs(1));
        assert!(
            matches!(seen, Err(WalletError::Protocol(_))),
            "{value}: {seen:?}"
        );
    }
}

#[test]
fn a_no_is_the_right_error_and_its_words_are_plain() {
    let connection = connection();
    let told = |code: &str| {
        let text = json!({
            "result_type": "make_invoice",
            "error": {"code": code, "message": format!("\u{1b}[2Jno {SECRET}")},
            "result": null,
        });
        let answer = read(&text.to_string(), "make_invoice", &connection).unwrap();
        let error = answer.unwrap_err().error();
        let line = error.to_string();
        assert!(!line.contains(SECRET) && !line.contains('\u{1b}'), "{line}");
        error
    };
    assert_eq!(told("RATE_LIMITED"), WalletError::RateLimited(None));
    for code in ["UNAUTHORIZED", "RESTRICTED"] {
        assert!(matches!(told(code), WalletError::Unauthorized(_)), "{code}");
    }
    for code in [
        "NOT_IMPLEMENTED",
        "QUOTA_EXCEEDED",
        "INSUFFICIENT_BALANCE",
        "PAYMENT_FAILED",
    ] {
        assert!(matches!(told(code), WalletError::Rejected(_)), "{code}");
    }
    for code in ["INTERNAL", "OTHER", "MERCURY_IN_RETROGRADE", ""] {
        assert!(matches!(told(code), WalletError::Failed(_)), "{code}");
    }
}

#[test]
fn what_is_no_answer_is_told_as_that() {
    let connection = connection();
    for text in [
        "",
        "<html>",
        "null",
        "[]",
        "{}",
        r#"{"result": 5}"#,
        r#"{"result_type": "get_info", "result": {}}"#,
        r#"{"result_type": "make_invoice", "result": "lnbc1"}"#,
    ] {
        let answer = read(text, "make_invoice", &connection);
        assert!(
            matches!(answer, Err(WalletError::Protocol(_))),
            "{text}: {answer:?}"
        );
    }
    let words = r#"{"error": "no such thing"}"#;
    let refusal = read(words, "make_invoice", &connection)
        .unwrap()
        .unwrap_err();
    assert_eq!(
        refusal.error(),
        WalletError::Failed("no such thing (OTHER)".to_owned())
    );
}

fn card(content: &str, encryption: &[&str]) -> Card {
    let mut builder = EventBuilder::new(Kind::WalletConnectInfo, content);
    if !encryption.is_empty() {
        builder = builder.tag(Tag::custom(
            TagKind::custom("encryption"),
            encryption.iter().copied(),
        ));
    }
    Card::read(&builder.sign_with_keys(&Keys::generate()).unwrap())
}

#[test]
fn the_card_tells_the_encryption_and_the_methods() {
    for (encryption, want) in [
        (&["nip44_v2 nip04"][..], Some(Scheme::Nip44)),
        (&["nip04 nip44_v2"], Some(Scheme::Nip44)),
        (&["nip04,nip44_v2"], Some(Scheme::Nip44)),
        (&["nip04", "nip44_v2"], Some(Scheme::Nip44)),
        (&["nip44v2"], Some(Scheme::Nip44)),
        (&["nip44-v2 nip04"], Some(Scheme::Nip44)),
        (&["NIP44_V2"], Some(Scheme::Nip44)),
        (&["nip04,NIP-44"], Some(Scheme::Nip44)),
        (&["[\"nip44_v2\",\"nip04\"]"], Some(Scheme::Nip44)),
        (&["NIP-04"], Some(Scheme::Nip04)),
        (&["nip04"], Some(Scheme::Nip04)),
        (&[""], Some(Scheme::Nip04)),
        (&["nip44_v9"], None),
        (&[], Some(Scheme::Nip04)),
        (&["nip99"], None),
    ] {
        let found = card("make_invoice", encryption).scheme();
        assert_eq!(found.ok(), want, "{encryption:?}");
    }
    let methods = card("pay_invoice make_invoice\nlookup_invoice, get_info", &[]).methods;
    assert_eq!(
        (methods.spends(), methods.lacks()),
        (Some("pay_invoice"), None)
    );
    assert!(!methods.can_hold());
    let some = card(
        "make_invoice make_hold_invoice settle_hold_invoice cancel_hold_invoice",
        &[],
    );
    assert_eq!(some.methods.lacks(), Some("lookup_invoice"));
    assert!(some.methods.can_hold());
    assert_eq!(card("", &[]).methods.lacks(), None);
}

#[test]
fn a_nodes_key_and_network_are_believed_only_where_they_are_some() {
    let connection = connection();
    let read = |value: Value| Info::read(&value, &connection);
    let key = format!("02{}", "Ab".repeat(32));
    let info = read(
        json!({"alias": "shop\u{7}", "pubkey": key, "network": "mainnet", "methods": ["get_info", 5]}),
    );
    assert_eq!(info.alias.as_deref(), Some("shop"));
    assert_eq!(info.network.as_deref(), Some("bitcoin"));
    assert_eq!(info.methods.unwrap().lacks(), Some("make_invoice"));
    for value in [
        json!({"pubkey": "", "network": "", "alias": ""}),
        json!({"pubkey": "00".repeat(33), "network": null, "methods": "all"}),
        json!({}),
    ] {
        assert_eq!(read(value.clone()), Info::default(), "{value}");
    }
}

#[test]
fn only_word_of_what_came_in_is_a_hint() {
    let hash = "03".repeat(32);
    let told = |kind: &str| {
        let text = json!({"notification_type": kind, "notification": {"payment_hash": hash}});
        notice(&text.to_string())
    };
    let named = Notice::Received(Some(PaymentHash(Hex32([3; 32]))));
    assert_eq!(told("payment_received"), named);
    assert_eq!(told("hold_invoice_accepted"), named);
    assert_eq!(told("payment_sent"), Notice::Other);
    assert_eq!(
        notice(r#"{"notification_type": "payment_received"}"#),
        Notice::Received(None)
    );
    assert_eq!(notice("paid!"), Notice::Other);
}
