//! The part of the interface that a seller uses, and where its faults come in.

use nostr::hashes::{Hash, sha256};
use serde_json::{Value, json};

use super::draft::{draft, sign};
use super::http::{Reply, Request, reply};
use super::{Created, Fault, Invoice, Shared, hex, now};

/// None: the connection is closed without an answer.
pub fn answer(request: &Request, shared: &Shared) -> Option<Reply> {
    let fault = shared.held().fault.clone();
    let page = |status, header: &str, body: String| {
        Some(Reply {
            status,
            header: header.to_owned(),
            body,
        })
    };
    match &fault {
        Fault::Slow(longer) => {
            shared.wait(*longer, |state| state.stopped || state.fault != fault);
        }
        Fault::ServerError => {
            let text = format!("\u{1b}[31mno funding source for {}\u{202e}", request.key);
            return Some(reply(500, &json!({"detail": text})));
        }
        Fault::Busy => {
            return page(
                429,
                "Retry-After: 7\r\n",
                json!({"detail": "slow down"}).to_string(),
            );
        }
        Fault::Redirect => {
            return page(
                302,
                "Location: http://127.0.0.1:1/elsewhere\r\n",
                String::new(),
            );
        }
        Fault::Huge => return page(200, "", "x".repeat(1024 * 1024)),
        Fault::WebPage(status) => {
            return page(*status, "", "<html>Welcome to nginx!</html>".to_owned());
        }
        _ => {}
    }
    let url = reqwest::Url::parse(&format!("http://fake{}", request.target)).ok()?;
    let (_, path) = url.path().split_once("/api/v1/")?;
    let known = request.key == shared.held().key && fault != Fault::KeyRevoked;
    let stranger = || Some(reply(404, &json!({"detail": "Wallet not found."})));
    match (request.method.as_str(), path) {
        ("GET", "wallet") if known => {
            let name = shared.held().name.clone();
            Some(reply(200, &json!({"name": name, "balance": 0})))
        }
        ("POST", "payments") if known => create(&request.body, shared, &fault),
        ("GET", "payments") if known => {
            let asked = |wanted: &str| url.query_pairs().find(|(name, _)| name == wanted);
            let number = |wanted: &str| asked(wanted).and_then(|(_, text)| text.parse().ok());
            let page = (number("offset").unwrap_or(0), number("limit").unwrap_or(20));
            let label = asked("external_id");
            Some(list(
                shared,
                &fault,
                page,
                label.map(|(_, label)| label.into_owned()).as_deref(),
            ))
        }
        ("GET" | "POST", "wallet" | "payments") => stranger(),
        ("GET", path) => {
            let Some(hash) = path.strip_prefix("payments/") else {
                return stranger();
            };
            Some(lookup(shared, &fault, hash, known))
        }
        _ => Some(reply(405, &json!({"detail": "Method Not Allowed"}))),
    }
}

fn create(body: &Value, shared: &Shared, fault: &Fault) -> Option<Reply> {
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let (Some(sats), Some(expiry)) = (body["amount"].as_u64(), body["expiry"].as_u64()) else {
        return Some(reply(
            400,
            &json!({"detail": "amount and expiry are whole numbers"}),
        ));
    };
    let preimage: [u8; 32] = rand::random();
    let hash = sha256::Hash::hash(&preimage);
    let draft = draft(shared, fault, sats * 1_000, expiry, hash);
    let mut created = Created {
        label: text("external_id"),
        payment_hash: hash.to_string(),
        bolt11: sign(&draft, &shared.node),
        amount_msat: sats * 1_000,
    };
    if *fault == Fault::NotAnInvoice {
        "lnbc1nothing".clone_into(&mut created.bolt11);
    }
    let invoice = Invoice {
        created: created.clone(),
        memo: text("memo"),
        preimage,
        expires_at: draft.made_at + draft.expiry,
        paid: false,
        more_msat: 0,
    };
    let mut answer = payment(&invoice, fault);
    if *fault == Fault::WrongHash {
        answer["payment_hash"] = json!("ab".repeat(32));
    }
    let mut state = shared.held();
    state.invoices.push(invoice);
    state.note(&json!({
        "what": "create",
        "label": created.label,
        "payment_hash": created.payment_hash,
        "bolt11": created.bolt11,
        "amount_msat": created.amount_msat,
    }));
    drop(state);
    shared.changed.notify_all();
    if *fault == Fault::HangAfterCreate {
        shared.hang();
        return None;
    }
    Some(reply(201, &answer))
}

fn list(
    shared: &Shared,
    fault: &Fault,
    (offset, limit): (usize, usize),
    label: Option<&str>,
) -> Reply {
    let mut state = shared.held();
    if label.is_none() && offset == 0 {
        state.lists += 1;
        shared.changed.notify_all();
    }
    let found: Vec<Value> = state
        .invoices
        .iter()
        .rev()
        .filter(|invoice| label.is_none_or(|label| invoice.created.label == label))
        .filter(|_| *fault != Fault::ForgetLabels)
        .skip(offset)
        .take(limit)
        .map(|invoice| payment(invoice, fault))
        .collect();
    reply(200, &Value::from(found))
}

fn lookup(shared: &Shared, fault: &Fault, hash: &str, known: bool) -> Reply {
    let mut state = shared.held();
    state.lookups += 1;
    shared.changed.notify_all();
    let found = state
        .invoices
        .iter()
        .find(|invoice| invoice.created.payment_hash == hash);
    let Some(invoice) = found.filter(|_| *fault != Fault::UnknownOnLookup) else {
        return reply(404, &json!({"detail": "Payment does not exist."}));
    };
    let details = payment(invoice, fault);
    // As `LNbits` before 1.6 did, the preimage is there from the start: it proves nothing.
    let mut answer = json!({"paid": invoice.paid, "preimage": hex(&invoice.preimage)});
    if !invoice.paid {
        answer["status"] = details["status"].clone();
    }
    if known {
        answer["details"] = details;
    }
    reply(200, &answer)
}

fn payment(invoice: &Invoice, fault: &Fault) -> Value {
    let status = match invoice {
        Invoice { paid: true, .. } => "success",
        Invoice { expires_at, .. } if *expires_at <= now() => "failed",
        Invoice { .. } => "pending",
    };
    let less = if *fault == Fault::PaidLess { 1_000 } else { 0 };
    json!({
        "checking_id": format!("internal_{}", invoice.created.payment_hash),
        "payment_hash": invoice.created.payment_hash,
        "wallet_id": "fake",
        "amount": invoice.created.amount_msat + invoice.more_msat - less,
        "fee": 0,
        "bolt11": invoice.created.bolt11,
        "status": status,
        "memo": invoice.memo,
        "preimage": hex(&invoice.preimage),
        "external_id": invoice.created.label,
        "extra": {},
    })
}
