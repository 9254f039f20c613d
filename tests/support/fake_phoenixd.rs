//! A fake phoenixd: the API of 0.8.0 as far as a seller uses it.

#![allow(dead_code, reason = "each test file uses its own part of the fake")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::fake_node::{
    FakeNode, Fault, Invoice, Life, NewEntry, Reply, Request, Shared, hex, json_reply, now,
    text_reply,
};

/// Starts it with a password of its own.
pub fn start() -> FakeNode {
    FakeNode::start(api, &hex(&rand::random::<[u8; 16]>()), None)
}

fn api(request: &Request, shared: &Shared) -> Option<Reply> {
    let pair = request.header("authorization").strip_prefix("Basic ");
    let pair = pair.and_then(|text| STANDARD.decode(text).ok());
    let pair = pair.and_then(|bytes| String::from_utf8(bytes).ok());
    let password = pair.as_deref().and_then(|pair| pair.split_once(':'));
    let known = password.is_some_and(|(_, password)| password == shared.secret);
    if !known || shared.fault() == Fault::KeyRevoked {
        let text =
            "Invalid authentication (use basic auth with the http password set in phoenix.conf)";
        return Some(text_reply(401, text));
    }
    let url = request.url();
    Some(match (request.method.as_str(), url.path()) {
        ("GET", "/getinfo") => {
            let (ours, theirs) = shared.books(|books| (books.balance_msat, books.inbound_msat));
            let channels = if theirs == 0 {
                json!([])
            } else {
                json!([{
                    "state": "Normal",
                    "balanceSat": ours / 1_000,
                    "inboundLiquiditySat": theirs / 1_000,
                    "capacitySat": (ours + theirs) / 1_000,
                }])
            };
            json_reply(
                200,
                &json!({
                    "nodeId": shared.id(),
                    "channels": channels,
                    "chain": "regtest",
                    "blockHeight": 1,
                    "version": "0.8.0",
                }),
            )
        }
        ("GET", "/getbalance") => {
            let (ours, credit) = shared.books(|books| (books.balance_msat, books.fee_credit_sat));
            json_reply(
                200,
                &json!({"balanceSat": ours / 1_000, "feeCreditSat": credit}),
            )
        }
        ("POST", "/createinvoice") => return make(request, shared),
        ("GET", "/payments/incoming") => list(&url, shared),
        ("GET", path) => match path.strip_prefix("/payments/incoming/") {
            Some(hash) => look(hash, shared),
            None => text_reply(404, "Unknown endpoint (check api doc)"),
        },
        _ => text_reply(404, "Unknown endpoint (check api doc)"),
    })
}

fn make(request: &Request, shared: &Shared) -> Option<Reply> {
    if request.header("content-type") != "application/x-www-form-urlencoded" {
        return Some(text_reply(415, "a form was expected"));
    }
    let form = request.form();
    let number = |name: &str| form.get(name).map(|text| text.parse::<u64>());
    let Some(Ok(sats)) = number("amountSat") else {
        return Some(text_reply(
            400,
            "Request parameter amountSat couldn't be parsed/converted to integer",
        ));
    };
    let Some(memo) = form.get("description") else {
        return Some(text_reply(
            400,
            "Must provide either a description or descriptionHash",
        ));
    };
    if memo.chars().count() > 128 {
        return Some(text_reply(
            400,
            "Request parameter description is too long (max 128 characters)",
        ));
    }
    let made = shared.books(|books| {
        let new = NewEntry {
            label: form.get("externalId").cloned().unwrap_or_default(),
            memo: memo.clone(),
            amount_msat: sats * 1_000,
            expiry: number("expirySeconds")
                .and_then(Result::ok)
                .unwrap_or(3_600),
            ..NewEntry::default()
        };
        books.make(new, &shared.node)
    });
    let answer = json!({
        "amountSat": sats,
        "paymentHash": hex(&made.hash),
        "serialized": made.bolt11,
    });
    shared.after_create(json_reply(200, &answer))
}

fn look(hash: &str, shared: &Shared) -> Reply {
    let found = shared.books(|books| {
        let found = books.all().iter().find(|one| hex(&one.hash) == hash);
        found.cloned()
    });
    match found {
        Some(invoice) => json_reply(200, &show(&invoice, shared)),
        None => text_reply(404, "Not found"),
    }
}

fn list(url: &reqwest::Url, shared: &Shared) -> Reply {
    let asked = |name: &str| {
        let found = url.query_pairs().find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned())
    };
    let number = |name: &str| asked(name).and_then(|text| text.parse::<usize>().ok());
    let all = asked("all").as_deref() == Some("true");
    let label = asked("externalId").unwrap_or_default();
    let found: Vec<Invoice> = shared.books(|books| {
        let found = books.all().iter().rev();
        found
            .filter(|one| label.is_empty() || one.label == label)
            .filter(|one| all || matches!(one.life, Life::Paid { .. }))
            .skip(number("offset").unwrap_or(0))
            .take(number("limit").unwrap_or(20))
            .cloned()
            .collect()
    });
    let shown: Vec<Value> = found.iter().map(|one| show(one, shared)).collect();
    json_reply(200, &Value::from(shown))
}

fn show(invoice: &Invoice, shared: &Shared) -> Value {
    let fault = shared.fault();
    let hash = match fault {
        Fault::OtherPayment => "04".repeat(32),
        _ => hex(&invoice.hash),
    };
    let preimage = match fault {
        Fault::WrongPreimage => [3; 32],
        _ => invoice.preimage.unwrap(),
    };
    let mut shown = json!({
        "type": "incoming_payment",
        "subType": "lightning",
        "paymentHash": hash,
        "preimage": hex(&preimage),
        "externalId": invoice.label,
        "description": invoice.memo,
        "invoice": invoice.bolt11,
        "isPaid": false,
        // By the clock alone: true of a paid one too.
        "isExpired": invoice.expires_at <= now(),
        "requestedSat": invoice.amount_msat / 1_000,
        "receivedSat": 0,
        "fees": 0,
        "createdAt": invoice.made_at * 1_000,
        "expiresAt": invoice.expires_at * 1_000,
    });
    if let Life::Paid { amount_msat, at } = invoice.life {
        shown["isPaid"] = json!(true);
        shown["receivedSat"] =
            json!((amount_msat - invoice.fee_msat - invoice.credit_msat) / 1_000);
        shown["fees"] = json!(invoice.fee_msat);
        shown["completedAt"] = json!(at * 1_000);
    }
    shown
}
