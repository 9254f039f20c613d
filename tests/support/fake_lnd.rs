//! A fake LND: the REST interface as LND 0.21 speaks it, as far as a seller uses it.

#![allow(dead_code, reason = "each test file uses its own part of the fake")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::fake_node::{
    Certificate, FakeNode, Fault, Invoice, Life, NewEntry, Reply, Request, Shared, hex, json_reply,
};

/// Starts it with a macaroon of its own.
pub fn start(certificate: Option<Certificate>) -> FakeNode {
    FakeNode::start(
        api,
        &format!("0201036c6e64{}", hex(&rand::random::<[u8; 16]>())),
        certificate,
    )
}

/// Starts it with this macaroon.
pub fn start_with(macaroon: &str, certificate: Option<Certificate>) -> FakeNode {
    FakeNode::start(api, macaroon, certificate)
}

/// gRPC's errors, as the gateway writes them.
fn no(status: u16, code: i32, message: &str) -> Reply {
    let body = json!({"code": code, "message": message, "details": []});
    json_reply(status, &body)
}

fn yes(body: &Value) -> Reply {
    json_reply(200, body)
}

fn api(request: &Request, shared: &Shared) -> Option<Reply> {
    let macaroon = request.header("grpc-metadata-macaroon");
    if macaroon.is_empty() {
        return Some(no(500, 2, "expected 1 macaroon, got 0"));
    }
    if macaroon != shared.secret || shared.fault() == Fault::KeyRevoked {
        let text = "verification failed: signature mismatch after caveat verification";
        return Some(no(500, 2, text));
    }
    let limited = shared.books(|books| books.limited);
    let url = request.url();
    Some(match (request.method.as_str(), url.path()) {
        ("GET", "/v1/getinfo" | "/v1/balance/channels") if limited => {
            no(500, 2, "permission denied")
        }
        ("GET", "/v1/getinfo") => yes(&json!({
            "alias": "fake",
            "identity_pubkey": shared.id(),
            "synced_to_chain": shared.books(|books| books.synced),
            "chains": [{"chain": "bitcoin", "network": "regtest"}],
            "block_height": 1,
            "version": "0.21.2-beta",
        })),
        ("GET", "/v1/balance/channels") => {
            let (ours, theirs) = shared.books(|books| (books.balance_msat, books.inbound_msat));
            let amount =
                |msat: u64| json!({"sat": (msat / 1_000).to_string(), "msat": msat.to_string()});
            yes(&json!({
                "balance": (ours / 1_000).to_string(),
                "local_balance": amount(ours),
                "remote_balance": amount(theirs),
            }))
        }
        ("POST", "/v1/invoices") => return make(&request.json(), shared, None),
        ("POST", "/v2/invoices/hodl") => {
            let body = request.json();
            let Some(hash) = bytes(&body["hash"]) else {
                return Some(no(400, 3, "the hash is not 32 bytes"));
            };
            if shared.books(|books| books.by_hash(&hash).is_some()) {
                return Some(no(500, 2, "invoice with payment hash already exists"));
            }
            return make(&body, shared, Some(hash));
        }
        ("GET", "/v1/invoices") => {
            let asked = |name: &str| url.query_pairs().find(|(key, _)| key == name);
            let asked = |name: &str| asked(name).and_then(|(_, text)| text.parse::<usize>().ok());
            let most = asked("num_max_invoices").unwrap_or(100);
            let before = asked("index_offset").filter(|index| *index > 0);
            let (found, first): (Vec<Invoice>, usize) = shared.books(|books| {
                let end = before.map_or(books.all().len(), |index| index - 1);
                let start = end.saturating_sub(most);
                (books.all()[start..end].to_vec(), start + 1)
            });
            let shown: Vec<Value> = found.iter().map(|one| show(one, shared)).collect();
            let last = first + shown.len();
            yes(
                &json!({"invoices": shown, "first_index_offset": first.to_string(), "last_index_offset": last.to_string()}),
            )
        }
        ("POST", "/v2/invoices/settle") => settle(&request.json(), shared),
        ("POST", "/v2/invoices/cancel") => cancel(&request.json(), shared),
        ("GET", path) => {
            let hash = path.strip_prefix("/v1/invoice/")?;
            look(hash, shared)
        }
        _ => no(404, 5, "Not Found"),
    })
}

fn bytes(value: &Value) -> Option<[u8; 32]> {
    STANDARD.decode(value.as_str()?).ok()?.try_into().ok()
}

/// 64-bit numbers come as numbers or as text.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    }
}

fn make(body: &Value, shared: &Shared, hold_hash: Option<[u8; 32]>) -> Option<Reply> {
    let sats = number(&body["value"]).map(|sats| sats * 1_000);
    let amount_msat = number(&body["value_msat"]).or(sats).unwrap_or(0);
    let memo = body["memo"].as_str().unwrap_or_default();
    if memo.len() > 639 {
        return Some(no(500, 2, "memo too large"));
    }
    let made = shared.books(|books| {
        let new = NewEntry {
            memo: memo.to_owned(),
            amount_msat,
            expiry: number(&body["expiry"]).unwrap_or(86_400),
            preimage: bytes(&body["r_preimage"]),
            hold_hash,
            ..NewEntry::default()
        };
        books.make(new, &shared.node)
    });
    let mut answer = json!({
        "payment_request": made.bolt11,
        "add_index": "1",
        "payment_addr": STANDARD.encode([9; 32]),
    });
    if hold_hash.is_none() {
        answer["r_hash"] = json!(STANDARD.encode(made.hash));
    }
    shared.after_create(json_reply(200, &answer))
}

fn look(hash: &str, shared: &Shared) -> Reply {
    let found = shared.books(|books| {
        let found = books.all().iter().find(|one| hex(&one.hash) == hash);
        found.cloned()
    });
    match found {
        Some(invoice) => json_reply(200, &show(&invoice, shared)),
        None => no(404, 5, "unable to locate invoice"),
    }
}

fn show(invoice: &Invoice, shared: &Shared) -> Value {
    let fault = shared.fault();
    let (mut state, paid, at) = match invoice.life {
        Life::Open if invoice.is_expired() => ("CANCELED", 0, 0),
        Life::Open => ("OPEN", 0, 0),
        Life::Held { .. } => ("ACCEPTED", 0, 0),
        Life::Paid { amount_msat, at } => ("SETTLED", amount_msat, at),
        Life::Canceled => ("CANCELED", 0, 0),
    };
    if fault == Fault::StrangeState {
        state = "PONDERING";
    }
    let htlcs = match invoice.life {
        Life::Held { amount_msat } => json!([
            {"state": "ACCEPTED", "amt_msat": (amount_msat / 2).to_string()},
            {"state": "CANCELED", "amt_msat": "5"},
            {"state": "ACCEPTED", "amt_msat": (amount_msat - amount_msat / 2).to_string()},
        ]),
        _ => json!([]),
    };
    let preimage = match fault {
        Fault::WrongPreimage => Some([3; 32]),
        _ => invoice.preimage,
    };
    let hash = match fault {
        Fault::OtherPayment => [4; 32],
        _ => invoice.hash,
    };
    json!({
        "memo": invoice.memo,
        "r_preimage": preimage.map_or_else(String::new, |bytes| STANDARD.encode(bytes)),
        "r_hash": STANDARD.encode(hash),
        "value": (invoice.amount_msat / 1_000).to_string(),
        "value_msat": invoice.amount_msat.to_string(),
        "settled": state == "SETTLED",
        "creation_date": invoice.made_at.to_string(),
        "settle_date": at.to_string(),
        "payment_request": invoice.bolt11,
        "expiry": invoice.expires_at.saturating_sub(invoice.made_at).to_string(),
        "amt_paid_sat": (paid / 1_000).to_string(),
        "amt_paid_msat": paid.to_string(),
        "state": state,
        "htlcs": htlcs,
        "is_keysend": false,
    })
}

fn settle(body: &Value, shared: &Shared) -> Reply {
    use nostr::hashes::{Hash, sha256};
    let Some(preimage) = bytes(&body["preimage"]) else {
        return no(400, 3, "the preimage is not 32 bytes");
    };
    let hash = sha256::Hash::hash(&preimage).to_byte_array();
    if shared.fault() == Fault::SettleRepeats {
        let text = format!("can't settle with {body} ({})", hex(&preimage));
        return no(500, 2, &text);
    }
    shared.books(|books| {
        let Some(invoice) = books.by_hash(&hash) else {
            return no(500, 2, "unable to locate invoice");
        };
        match invoice.life {
            Life::Open => no(500, 2, "invoice still open"),
            Life::Paid { .. } => no(500, 2, "invoice already settled"),
            Life::Canceled => no(500, 2, "invoice already canceled"),
            Life::Held { .. } => {
                invoice.preimage = Some(preimage);
                invoice.settle_now(0);
                json_reply(200, &json!({}))
            }
        }
    })
}

fn cancel(body: &Value, shared: &Shared) -> Reply {
    let Some(hash) = bytes(&body["payment_hash"]) else {
        return no(400, 3, "the hash is not 32 bytes");
    };
    shared.books(|books| {
        let Some(invoice) = books.by_hash(&hash) else {
            return no(500, 2, "unable to locate invoice");
        };
        if matches!(invoice.life, Life::Paid { .. }) {
            return no(500, 2, "invoice already settled");
        }
        invoice.life = Life::Canceled;
        json_reply(200, &json!({}))
    })
}
