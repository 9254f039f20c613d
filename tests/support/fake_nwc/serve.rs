//! How the fake wallet service hears and answers.

use std::collections::HashSet;
use std::sync::Arc;

use nostr::nips::{nip04, nip44};
use nostr::{Event, Keys, Kind};
use serde_json::{Value, json};

use super::super::fake_node::now;
use super::super::fake_relay::FakeRelay;
use super::{Fault, Heard, LONG, Shared, methods, reply, seal};

/// Answers every request that the relay accepts, each in a task of its own.
pub async fn serve(shared: Arc<Shared>) {
    let mut done = HashSet::new();
    loop {
        let mut fresh = Vec::new();
        let look = |relay: &FakeRelay| {
            fresh = relay.events();
            fresh.retain(|event| {
                event.kind == Kind::WalletConnectRequest && !done.contains(&event.id)
            });
            !fresh.is_empty()
        };
        let relay = shared.relay.clone();
        relay.wait_until(look, LONG).await;
        for event in fresh {
            done.insert(event.id);
            tokio::spawn(hear(shared.clone(), event));
        }
    }
}

async fn hear(shared: Arc<Shared>, request: Event) {
    let Some(client) = shared
        .clients
        .iter()
        .position(|one| one.public_key() == request.pubkey)
    else {
        return;
    };
    let scheme = if request.content.contains("?iv=") {
        "nip04"
    } else {
        "nip44_v2"
    };
    let (nip44, nip04) = shared.held().setup.speaks;
    let speaks = if scheme == "nip04" { nip04 } else { nip44 };
    if !speaks {
        let text =
            json!({"error": {"code": "UNSUPPORTED_ENCRYPTION", "message": "speak otherwise"}});
        let scheme = if nip44 { "nip44_v2" } else { "nip04" };
        let content = shared.sealed(scheme, &request.pubkey, &text.to_string());
        return shared
            .relay
            .inject(&reply(&shared.service, &request, content));
    }
    let key = shared.service.secret_key();
    let text = if scheme == "nip04" {
        nip04::decrypt(key, &request.pubkey, &request.content).unwrap()
    } else {
        nip44::decrypt(key, &request.pubkey, &request.content).unwrap()
    };
    let asked: Value = serde_json::from_str(&text).unwrap();
    let method = asked["method"].as_str().unwrap().to_owned();
    shared.held().heard.push(Heard {
        event: request.clone(),
        method: method.clone(),
        scheme,
    });
    let fault = shared.fault.borrow().clone();
    let answer = match fault {
        Fault::Silent => None,
        Fault::Code(code) => Some(Err((code, "no"))),
        _ => Some(methods::answer(
            &shared,
            client,
            &method,
            &asked["params"],
            &fault,
        )),
    };
    shared.worked.send_modify(|count| *count += 1);
    let hangs = match fault {
        Fault::HangAfterCreate => method.starts_with("make_"),
        Fault::HangAfterPay => method == "pay_invoice",
        _ => false,
    };
    let Some(answer) = answer.filter(|_| !hangs) else {
        return;
    };
    if let Fault::Slow(longest) = fault {
        let mut changed = shared.fault.subscribe();
        changed.mark_unchanged();
        let other = changed.wait_for(|now| *now != fault);
        // Over either way.
        drop(tokio::time::timeout(longest, other).await);
    }
    send(&shared, &request, &method, scheme, answer, &fault);
}

fn send(
    shared: &Shared,
    request: &Event,
    method: &str,
    scheme: &str,
    answer: methods::Answer,
    fault: &Fault,
) {
    let text = match answer {
        Ok(result) => json!({"result_type": method, "error": null, "result": result}),
        Err((code, message)) => json!({
            "result_type": method,
            "error": {"code": code, "message": format!("{message} \u{1b}[2J{}", shared.clients[0].secret_key().to_secret_hex())},
            "result": null,
        }),
    };
    let text = match fault {
        Fault::Garbage => "<html>no</html>".to_owned(),
        _ => text.to_string(),
    };
    let reader = match fault {
        Fault::OtherReader => Keys::generate().public_key(),
        _ => request.pubkey,
    };
    let scheme = match (fault, scheme) {
        (Fault::OtherScheme, "nip04") => "nip44_v2",
        (Fault::OtherScheme, _) => "nip04",
        (_, scheme) => scheme,
    };
    let content = match fault {
        Fault::Huge => "A".repeat(200 * 1024),
        _ => shared.sealed(scheme, &reader, &text),
    };
    if *fault == Fault::Forged {
        forge(shared, request, method);
    }
    shared
        .relay
        .inject(&reply(&shared.service, request, content));
}

/// "It is settled", by those who are not the wallet, straight into the open subscription.
fn forge(shared: &Shared, request: &Event, method: &str) {
    let stranger = Keys::generate();
    let text = json!({"result_type": method, "result": {"state": "settled", "settled_at": now()}});
    let content = seal("nip44_v2", &stranger, &request.pubkey, &text.to_string());
    let theirs = reply(&stranger, request, content);
    let mut unsigned = theirs.clone();
    unsigned.pubkey = shared.service.public_key();
    for open in shared.relay.subscriptions() {
        for event in [&theirs, &unsigned] {
            shared.relay.send_on(&open.id, event);
        }
    }
}
