use super::*;

/// The process does this once; in a test, every test may be the first.
pub(super) fn provide_tls() {
    // Another test was first: the same provider is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

const LABEL: &str = "vend:1";

fn hash(byte: u8) -> PaymentHash {
    PaymentHash(Hex32([byte; 32]))
}

fn look(json: &serde_json::Value) -> Result<PaymentStatus, WalletError> {
    seen(&serde_json::from_value(json.clone()).unwrap(), &hash(1))
}

fn listed(items: serde_json::Value) -> Option<PaymentHash> {
    let found = serde_json::from_value(items).unwrap();
    pick(found, LABEL, Time::now()).map(|issued| issued.payment_hash)
}

fn paid_with(amount: Option<Msat>) -> PaymentStatus {
    PaymentStatus::Paid {
        amount,
        at: None,
        preimage: None,
        fee: None,
    }
}

#[test]
fn paid_or_success_is_paid_with_the_amount_that_came() {
    let details = json!({"amount": 21_000, "fee": 0, "payment_hash": hash(1)});
    let paid = json!({"paid": true, "details": details});
    assert_eq!(look(&paid), Ok(paid_with(Some(Msat(21_000)))));
    let success = json!({"status": "success", "details": details});
    assert_eq!(look(&success), Ok(paid_with(Some(Msat(21_000)))));
    let no_details = json!({"paid": true});
    assert_eq!(look(&no_details), Ok(paid_with(None)));
    let negative = json!({"paid": true, "details": {"amount": -21_000}});
    assert_eq!(look(&negative), Ok(paid_with(None)));
}

#[test]
fn a_preimage_alone_is_no_payment() {
    let json = json!({"paid": false, "status": "pending", "preimage": "01".repeat(32)});
    assert_eq!(look(&json), Ok(PaymentStatus::Pending));
}

#[test]
fn a_preimage_of_zeros_is_not_passed_on_as_a_proof() {
    let json = json!({"paid": true, "preimage": "00".repeat(32)});
    assert_eq!(look(&json), Ok(paid_with(None)));
}

#[test]
fn failed_means_expired_and_an_unknown_word_needs_a_person() {
    assert_eq!(
        look(&json!({"paid": false, "status": "failed"})),
        Ok(PaymentStatus::Expired)
    );
    assert_eq!(look(&json!({"paid": false})), Ok(PaymentStatus::Pending));
    let strange = look(&json!({"paid": false, "status": "held"}));
    assert!(matches!(strange, Ok(PaymentStatus::Attention(_))));
}

#[test]
fn an_answer_about_another_payment_or_about_nothing_is_no_answer() {
    let other = json!({"paid": true, "details": {"payment_hash": hash(2)}});
    assert!(matches!(look(&other), Err(WalletError::Protocol(_))));
    assert!(matches!(look(&json!({})), Err(WalletError::Protocol(_))));
}

#[test]
fn a_label_finds_our_newest_living_incoming_invoice_only() {
    let item = |byte: u8, label: &str, amount: i64, status: &str| json!({"payment_hash": hash(byte), "bolt11": "lnbc1", "external_id": label, "amount": amount, "status": status});
    assert_eq!(listed(json!([])), None);
    assert_eq!(listed(json!([item(1, "other", 1, "pending")])), None);
    assert_eq!(listed(json!([item(1, LABEL, -1, "success")])), None);
    assert_eq!(
        listed(json!([
            item(1, LABEL, 1, "failed"),
            item(2, LABEL, 1, "pending")
        ])),
        Some(hash(2))
    );
    assert_eq!(
        listed(json!([
            item(3, LABEL, 1, "success"),
            item(2, LABEL, 1, "pending")
        ])),
        Some(hash(3))
    );
}

#[test]
fn an_invoice_that_expired_while_nobody_looked_is_not_adopted_unless_it_was_paid() {
    // From BOLT 11's examples: 2017, an hour to pay.
    let old = "lnbc25m1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5vdhkven9v5sxyetpdeessp5zyg3zyg3zyg3zyg3\
               zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygs9q5sqqqqqqqqqqqqqqqpqsq67gye39hfg3zd8rgc80k32tvy9xk2xunwm5lzexnvpx6fd77en8qaq4\
               24dxgt56cag2dpt359k3ssyhetktkpqh24jqnjyw6uqd08sgptq44qu";
    let item = |status: &str| json!([{"payment_hash": hash(1), "bolt11": old, "external_id": LABEL, "amount": 1, "status": status}]);
    assert_eq!(listed(item("pending")), None);
    assert_eq!(listed(item("success")), Some(hash(1)));
}

#[test]
fn only_whole_sats_are_asked_for() {
    assert_eq!(whole_sats(Msat(21_000), "LNbits"), Ok(21));
    for amount in [0, 999, 21_500, u64::MAX] {
        assert!(
            matches!(
                whole_sats(Msat(amount), "LNbits"),
                Err(WalletError::Rejected(_))
            ),
            "{amount}"
        );
    }
}

#[test]
fn the_servers_words_never_hold_the_key_a_colour_or_too_much() {
    provide_tls();
    let key = "0123456789abcdef0123456789abcdef";
    let lnbits = Lnbits::open("http://127.0.0.1:1", &key.into()).unwrap();
    for text in [
        format!("bad key {key}!"),
        format!("{}\u{200b}{}", &key[..5], &key[5..]),
        format!("{}\u{1b}{}{}", &key[..9], &key[9..], "x".repeat(5_000)),
    ] {
        let shown = lnbits.server.plain(&text);
        assert!(
            !shown.contains(key) && shown.chars().count() <= 120,
            "{shown}"
        );
        assert!(shown.contains("***"), "{shown}");
    }
    assert!(!format!("{lnbits:?}").contains(key));
}

#[test]
fn a_key_that_no_header_can_hold_is_refused() {
    provide_tls();
    for key in ["", "  ", "a\nb", "k\u{0}y"] {
        let refused = Lnbits::open("http://127.0.0.1:1", &key.into());
        assert!(matches!(refused, Err(ServerError::Key { .. })), "{key:?}");
    }
}
