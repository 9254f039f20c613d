//! A fake Core Lightning: clnrest as far as a seller uses it. A label is unique for ever, and a parameter that a method
//! does not know is refused.

#![allow(dead_code, reason = "each test file uses its own part of the fake")]

use serde_json::{Value, json};

use super::fake_node::{
    Certificate, FakeNode, Fault, Invoice, Life, NewEntry, Reply, Request, Shared, hex, json_reply,
};

/// Starts it with a rune of its own.
pub fn start(certificate: Option<Certificate>) -> FakeNode {
    FakeNode::start(
        api,
        &rune("=3&method=invoice|method=listinvoices"),
        certificate,
    )
}

/// Starts it with this rune.
pub fn start_with(rune: &str) -> FakeNode {
    FakeNode::start(api, rune, None)
}

/// A rune with these restrictions.
pub fn rune(restrictions: &str) -> String {
    use base64::Engine;
    let mut bytes = rand::random::<[u8; 32]>().to_vec();
    bytes.extend_from_slice(restrictions.as_bytes());
    base64::engine::general_purpose::URL_SAFE.encode(bytes)
}

fn no(status: u16, code: i64, message: &str) -> Reply {
    json_reply(status, &json!({"code": code, "message": message}))
}

fn yes(body: &Value) -> Reply {
    json_reply(201, body)
}

fn api(request: &Request, shared: &Shared) -> Option<Reply> {
    let rune = request.header("rune");
    let url = request.url();
    let Some(method) = url.path().strip_prefix("/v1/") else {
        return Some(no(404, -32601, "Path not registered"));
    };
    if request.method != "POST" {
        return Some(json_reply(405, &json!({"message": "Method Not Allowed"})));
    }
    if rune.is_empty() {
        return Some(no(403, 1501, "Not authorized: Missing rune"));
    }
    if rune != shared.secret || shared.fault() == Fault::KeyRevoked {
        return Some(no(401, 1501, "Not authorized: Invalid rune"));
    }
    let limited = shared.books(|books| books.limited);
    if limited && !matches!(method, "invoice" | "listinvoices") {
        return Some(no(
            401,
            1502,
            "Not permitted: method is not equal to invoice",
        ));
    }
    let body = request.json();
    Some(match method {
        "getinfo" => {
            let mut info = json!({
                "id": shared.id(),
                "alias": "fake",
                "network": "regtest",
                "blockheight": 1,
                "num_active_channels": 1,
            });
            if !shared.books(|books| books.synced) {
                info["warning_lightningd_sync"] =
                    json!("Still loading latest blocks from bitcoind.");
            }
            yes(&info)
        }
        "listfunds" => {
            let (ours, theirs) = shared.books(|books| (books.balance_msat, books.inbound_msat));
            yes(&json!({"outputs": [], "channels": [
                {"state": "CHANNELD_NORMAL", "connected": true, "our_amount_msat": ours, "amount_msat": ours + theirs},
                {"state": "ONCHAIN", "connected": false, "our_amount_msat": 0, "amount_msat": 9_000_000},
            ]}))
        }
        "invoice" => return make(&body, shared),
        "listinvoices" => list(&body, shared),
        _ => no(404, -32601, "Unknown command"),
    })
}

fn make(body: &Value, shared: &Shared) -> Option<Reply> {
    const KNOWN: &[&str] = &["amount_msat", "label", "description", "expiry", "preimage"];
    let fields = body.as_object().cloned().unwrap_or_default();
    if let Some(other) = fields.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Some(no(500, -32602, &format!("unknown parameter: {other}")));
    }
    let (Some(amount_msat), Some(label), Some(memo)) = (
        body["amount_msat"].as_u64(),
        body["label"].as_str(),
        body["description"].as_str(),
    ) else {
        return Some(no(500, -32602, "missing required parameter"));
    };
    let preimage = body["preimage"].as_str().map(|text| {
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..text.len()).step_by(2).map(byte).collect();
        bytes.try_into().unwrap()
    });
    let made = shared.books(|books| {
        if !books.by_label(label).is_empty() {
            return None;
        }
        let new = NewEntry {
            label: label.to_owned(),
            memo: memo.to_owned(),
            amount_msat,
            expiry: body["expiry"].as_u64().unwrap_or(604_800),
            preimage,
            hold_hash: None,
        };
        Some((books.make(new, &shared.node), books.inbound_msat))
    });
    let Some((made, inbound)) = made else {
        return Some(no(500, 900, &format!("Duplicate label '{label}'")));
    };
    let mut answer = json!({
        "payment_hash": hex(&made.hash),
        "expires_at": made.expires_at,
        "bolt11": made.bolt11,
        "payment_secret": "09".repeat(32),
        "created_index": 1,
    });
    if inbound < amount_msat {
        answer["warning_capacity"] = json!("Insufficient incoming channel capacity to pay invoice");
    }
    shared.after_create(yes(&answer))
}

fn list(body: &Value, shared: &Shared) -> Reply {
    let fits = |one: &Invoice| {
        let hash = body["payment_hash"].as_str();
        let label = body["label"].as_str();
        hash.is_none_or(|hash| hex(&one.hash) == hash) && label.is_none_or(|it| one.label == it)
    };
    let limit = body["limit"].as_u64().unwrap_or(u64::MAX);
    let start = body["start"].as_u64().unwrap_or(0);
    let found: Vec<(u64, Invoice)> = shared.books(|books| {
        let found = (1..).zip(books.all()).filter(|(_, one)| fits(one));
        found
            .filter(|(index, _)| *index >= start)
            .take(usize::try_from(limit).unwrap())
            .map(|(index, one)| (index, one.clone()))
            .collect()
    });
    let shown = found.iter().map(|(index, one)| {
        let mut shown = show(one, shared);
        shown["created_index"] = json!(index);
        shown
    });
    let shown: Vec<Value> = shown.collect();
    yes(&json!({"invoices": shown}))
}

fn show(invoice: &Invoice, shared: &Shared) -> Value {
    let fault = shared.fault();
    let hash = match fault {
        Fault::OtherPayment => "04".repeat(32),
        _ => hex(&invoice.hash),
    };
    let mut shown = json!({
        "label": invoice.label,
        "description": invoice.memo,
        "bolt11": invoice.bolt11,
        "payment_hash": hash,
        "amount_msat": invoice.amount_msat,
        "status": "unpaid",
        "expires_at": invoice.expires_at,
        "created_index": 1,
    });
    match invoice.life {
        // A node that deletes what was canceled, as an operator may, does not show it at all; what is left has expired.
        Life::Canceled => shown["status"] = json!("expired"),
        Life::Paid { amount_msat, at } => {
            shown["status"] = json!("paid");
            shown["pay_index"] = json!(1);
            shown["amount_received_msat"] = json!(amount_msat);
            shown["paid_at"] = json!(at);
            let preimage = match fault {
                Fault::WrongPreimage => [3; 32],
                _ => invoice.preimage.unwrap(),
            };
            shown["payment_preimage"] = json!(hex(&preimage));
        }
        _ if invoice.is_expired() => shown["status"] = json!("expired"),
        _ => {}
    }
    if fault == Fault::StrangeState {
        shown["status"] = json!("pondering");
    }
    shown
}
