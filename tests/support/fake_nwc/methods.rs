//! What the fake wallet service does when it is asked.

use nostr::hashes::{Hash, sha256};
use serde_json::{Value, json};

use super::super::fake_node::{Invoice, Life, NewEntry, hex, now};
use super::{Fault, Shared};

/// The result, or a code and words.
pub type Answer = Result<Value, (&'static str, &'static str)>;

/// The connection that may spend.
const SPENDER: usize = 1;

pub fn answer(
    shared: &Shared,
    client: usize,
    method: &str,
    params: &Value,
    fault: &Fault,
) -> Answer {
    let setup = shared.held().setup.clone();
    let spends = client == SPENDER && method == "pay_invoice";
    if !spends && !setup.methods.contains(&method) {
        return Err(("RESTRICTED", "this connection may not do that"));
    }
    match method {
        "get_info" => {
            let mut methods = setup.methods.clone();
            if client == SPENDER {
                methods.push("pay_invoice");
            }
            let mut info = json!({"pubkey": shared.id(), "methods": methods, "block_height": 1});
            for (name, value) in setup.info.as_object().unwrap() {
                info[name] = value.clone();
            }
            Ok(info)
        }
        "get_balance" => Ok(json!({"balance": shared.books(|books| books.balance_msat)})),
        "make_invoice" => make(shared, params, None),
        "make_hold_invoice" => make(shared, params, Some(bytes(&params["payment_hash"])?)),
        "lookup_invoice" => look(shared, params, fault),
        "list_transactions" => Ok(list(shared, params)),
        "settle_hold_invoice" => settle(shared, params),
        "cancel_hold_invoice" => cancel(shared, params),
        "pay_invoice" => pay(shared, params),
        _ => Err(("NOT_IMPLEMENTED", "what is that?")),
    }
}

fn bytes(value: &Value) -> Result<[u8; 32], (&'static str, &'static str)> {
    let wrong = ("OTHER", "that is no 32 bytes in hex");
    let text = value
        .as_str()
        .filter(|text| text.len() == 64)
        .ok_or(wrong)?;
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| wrong)?;
    }
    Ok(bytes)
}

fn make(shared: &Shared, params: &Value, hold_hash: Option<[u8; 32]>) -> Answer {
    let amount_msat = params["amount"].as_u64().filter(|msat| *msat > 0);
    let amount_msat = amount_msat.ok_or(("OTHER", "the amount is none"))?;
    let known = hold_hash.is_some_and(|hash| shared.books(|books| books.by_hash(&hash).is_some()));
    if known {
        return Err(("OTHER", "there is one for this payment hash"));
    }
    let made = shared.books(|books| {
        let new = NewEntry {
            memo: params["description"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            amount_msat,
            expiry: params["expiry"].as_u64().unwrap_or(86_400),
            hold_hash,
            ..NewEntry::default()
        };
        books.make(new, &shared.node)
    });
    Ok(show(&made, &Fault::None))
}

fn look(shared: &Shared, params: &Value, fault: &Fault) -> Answer {
    let hash = bytes(&params["payment_hash"])?;
    let found = shared.books(|books| books.by_hash(&hash).cloned());
    let found = found.ok_or(("NOT_FOUND", "there is no such invoice"))?;
    Ok(show(&found, fault))
}

/// Newest first, as NIP-47 has it.
fn list(shared: &Shared, params: &Value) -> Value {
    let from = params["from"].as_u64().unwrap_or(0);
    let number = |name: &str, otherwise: u64| {
        usize::try_from(params[name].as_u64().unwrap_or(otherwise)).unwrap()
    };
    let unpaid = params["unpaid"] == true;
    let shown = shared.books(|books| {
        let all = books.all().iter().rev().filter(|one| one.made_at >= from);
        let all = all.filter(|one| unpaid || matches!(one.life, Life::Paid { .. }));
        let page = all.skip(number("offset", 0)).take(number("limit", 10));
        page.map(|one| show(one, &Fault::None)).collect::<Vec<_>>()
    });
    json!({"transactions": shown})
}

fn show(invoice: &Invoice, fault: &Fault) -> Value {
    let (state, amount) = match invoice.life {
        Life::Open if invoice.is_expired() => ("expired", invoice.amount_msat),
        Life::Open => ("pending", invoice.amount_msat),
        Life::Held { amount_msat } => ("accepted", amount_msat),
        Life::Paid { amount_msat, .. } => ("settled", amount_msat),
        Life::Canceled => ("failed", invoice.amount_msat),
    };
    let mut shown = json!({
        "type": "incoming",
        "state": state,
        "invoice": invoice.bolt11,
        "description": invoice.memo,
        "payment_hash": hex(&invoice.hash),
        "amount": amount,
        "fees_paid": 0,
        "created_at": invoice.made_at,
        "expires_at": invoice.expires_at,
        "metadata": {},
    });
    if let Life::Paid { at, .. } = invoice.life {
        shown["settled_at"] = json!(at);
        shown["preimage"] = json!(invoice.preimage.map(|bytes| hex(&bytes)));
    }
    match fault {
        Fault::StrangeState => shown["state"] = json!("pondering"),
        Fault::NoState => {
            shown.as_object_mut().unwrap().remove("state");
        }
        Fault::OtherPayment => shown["payment_hash"] = json!("04".repeat(32)),
        Fault::WrongPreimage => shown["preimage"] = json!("03".repeat(32)),
        _ => {}
    }
    shown
}

fn settle(shared: &Shared, params: &Value) -> Answer {
    let preimage = bytes(&params["preimage"])?;
    let hash = sha256::Hash::hash(&preimage).to_byte_array();
    shared.books(|books| {
        let invoice = books
            .by_hash(&hash)
            .ok_or(("NOT_FOUND", "there is no such invoice"))?;
        if !matches!(invoice.life, Life::Held { .. }) {
            return Err(("INTERNAL", "nothing is held for it"));
        }
        invoice.preimage = Some(preimage);
        invoice.settle_now(0);
        Ok(json!({}))
    })
}

fn cancel(shared: &Shared, params: &Value) -> Answer {
    let hash = bytes(&params["payment_hash"])?;
    shared.books(|books| {
        let invoice = books
            .by_hash(&hash)
            .ok_or(("NOT_FOUND", "there is no such invoice"))?;
        if matches!(invoice.life, Life::Paid { .. } | Life::Canceled) {
            return Err(("INTERNAL", "it is over"));
        }
        invoice.life = Life::Canceled;
        Ok(json!({}))
    })
}

fn pay(shared: &Shared, params: &Value) -> Answer {
    let bolt11 = params["invoice"].as_str().unwrap_or_default();
    shared.books(|books| {
        books
            .pay(bolt11, 0, now())
            .map_err(|_| ("PAYMENT_FAILED", "no route"))?;
        let preimage = books.entry(bolt11).preimage.map(|bytes| hex(&bytes));
        Ok(json!({"preimage": preimage, "fees_paid": 3_000}))
    })
}
