//! The auditor: reads what a relay and a wallet recorded and what `vend jobs --json` says, and names every difference.
//!
//! Its own program, which knows nothing of vend's insides: `audit RELAY.jsonl WALLET.jsonl JOBS.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use serde_json::{Value, json};

fn lines(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{path}: {error}")))
        .collect()
}

fn tag<'a>(event: &'a Value, name: &str, place: usize) -> Option<&'a str> {
    event["tags"].as_array()?.iter().find_map(|tag| {
        let tag = tag.as_array()?;
        (tag.first()?.as_str()? == name)
            .then(|| tag.get(place)?.as_str())
            .flatten()
    })
}

fn main() -> ExitCode {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    let [relay, wallet, jobs] = paths.as_slice() else {
        eprintln!("audit RELAY.jsonl WALLET.jsonl JOBS.json");
        return ExitCode::from(2);
    };
    let jobs: Vec<Value> = serde_json::from_str(
        &std::fs::read_to_string(jobs).unwrap_or_else(|error| panic!("{jobs}: {error}")),
    )
    .unwrap_or_else(|error| panic!("{jobs}: {error}"));
    let report = audit(&lines(relay), &lines(wallet), &jobs);
    let clean = report["differences"].as_array().is_some_and(Vec::is_empty);
    println!("{report}");
    if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Published per request: results and invoices.
#[derive(Default)]
struct Published {
    results: BTreeSet<String>,
    invoices: BTreeSet<String>,
}

fn audit(relay: &[Value], wallet: &[Value], jobs: &[Value]) -> Value {
    let mut wrong = Vec::new();
    let mut published: BTreeMap<String, Published> = BTreeMap::new();
    for event in relay {
        let kind = event["kind"].as_u64().unwrap_or(0);
        let Some(request) =
            tag(event, "e", 1).filter(|_| kind == 7000 || (6000..7000).contains(&kind))
        else {
            continue;
        };
        let of = published.entry(request.to_owned()).or_default();
        if kind != 7000 {
            of.results
                .insert(event["id"].as_str().unwrap_or("").to_owned());
        }
        if let Some(bolt11) = tag(event, "amount", 2) {
            of.invoices.insert(bolt11.to_owned());
        }
    }
    let mut made: BTreeMap<&str, (&str, u64)> = BTreeMap::new();
    let mut paid: BTreeMap<&str, u64> = BTreeMap::new();
    for line in wallet {
        let hash = line["payment_hash"].as_str().unwrap_or("");
        let amount = line["amount_msat"].as_u64().unwrap_or(0);
        if line["what"] == "create" {
            made.insert(line["bolt11"].as_str().unwrap_or(""), (hash, amount));
        } else if line["what"] == "paid" {
            *paid.entry(hash).or_default() += amount;
        }
    }
    for (request, of) in &published {
        if of.results.len() > 1 {
            wrong.push(format!("{request}: {} results", of.results.len()));
        }
        if of.invoices.len() > 1 {
            wrong.push(format!(
                "{request}: {} published invoices",
                of.invoices.len()
            ));
        }
        for invoice in &of.invoices {
            if !made.contains_key(invoice.as_str()) {
                wrong.push(format!("{request}: an invoice that the wallet never made"));
            }
        }
        if !jobs.iter().any(|job| job["id"] == request.as_str()) {
            wrong.push(format!("{request}: answered, but in no ledger"));
        }
    }
    let mut ids = BTreeSet::new();
    let mut known = BTreeSet::new();
    for job in jobs {
        let id = job["id"].as_str().unwrap_or("");
        if !ids.insert(id) {
            wrong.push(format!("{id}: twice in the ledger"));
        }
        let said = job["paid_msat"].as_u64().unwrap_or(0);
        let hash = job["payment_hash"].as_str().unwrap_or("");
        known.insert(hash);
        let seen = paid.get(hash).copied().unwrap_or(0);
        if said != seen {
            wrong.push(format!(
                "{id}: the ledger says {said} msat, the wallet saw {seen}"
            ));
        }
        if job["status"] == "paid" && seen == 0 {
            wrong.push(format!("{id}: paid, but the wallet saw nothing"));
        }
        let out = published.get(id);
        let delivered = matches!(
            job["status"].as_str(),
            Some("paid" | "pending_payment" | "completed")
        );
        let result = job["result_id"].as_str().unwrap_or("");
        if delivered && !out.is_some_and(|out| out.results.contains(result)) {
            wrong.push(format!("{id}: delivered, but its result is on no relay"));
        }
        let price = job["price_msat"].as_u64();
        let asked = job["bolt11"].as_str().and_then(|bolt11| made.get(bolt11));
        if asked.is_some_and(|(_, amount)| Some(*amount) != price) {
            wrong.push(format!(
                "{id}: the invoice asks for another amount than the price"
            ));
        }
    }
    for (hash, amount) in &paid {
        if !known.contains(hash) {
            wrong.push(format!("{amount} msat for {hash} belong to no job"));
        }
    }
    json!({
        "jobs": jobs.len(),
        "results": published.values().map(|of| of.results.len()).sum::<usize>(),
        "published_invoices": published.values().map(|of| of.invoices.len()).sum::<usize>(),
        "wallet_invoices": made.len(),
        "payments": paid.len(),
        "differences": wrong,
    })
}
