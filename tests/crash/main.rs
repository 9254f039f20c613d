//! The process dies at every named point, in every mode and encryption, and is started again: one published invoice, one
//! result, no payment lost, none invented.

#[path = "../support/drill_relay.rs"]
mod drill_relay;
#[path = "../support/drill_wallet.rs"]
mod drill_wallet;
#[path = "../support/shop.rs"]
mod shop;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::Duration;

use drill_relay::DrillRelay;
use drill_wallet::DrillWallet;
use futures::StreamExt;
use nostr::Keys;
use shop::{Home, Running, answers, bolt11, record};
use vend::domain::job::Encryption;
use vend::engine::crash::POINTS;

/// A bound for what should take a second or two, on a machine that does other things as well.
const LONGEST: Duration = Duration::from_secs(60);
/// Shops at once.
const AT_ONCE: usize = 6;
const SIGABRT: i32 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_point_loses_nothing_and_doubles_nothing() {
    let mut cases = Vec::new();
    for point in POINTS {
        for mode in ["after", "before", "credit"] {
            for scheme in [Encryption::Plain, Encryption::Nip04, Encryption::Nip44] {
                cases.push((*point, mode, scheme));
            }
        }
    }
    let all = cases.len();
    let outcomes: Vec<_> = futures::stream::iter(cases)
        .map(|(point, mode, scheme)| async move {
            let outcome = tokio::spawn(case(point, mode, scheme)).await;
            let outcome = outcome.unwrap_or_else(|error| Err(error.to_string()));
            (point, mode, scheme, outcome)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut reached: BTreeMap<&str, u32> = POINTS.iter().map(|point| (*point, 0)).collect();
    let mut wrong = Vec::new();
    for (point, mode, scheme, outcome) in outcomes {
        match outcome {
            Ok(()) => *reached.entry(point).or_default() += 1,
            Err(why) => wrong.push(format!("{point} × {mode} × {scheme:?}: {why}")),
        }
    }
    println!(
        "{} of {all} crashes resumed; reached: {reached:?}",
        all - wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(reached.values().all(|count| *count > 0), "{reached:?}");
}

async fn case(point: &'static str, mode: &'static str, scheme: Encryption) -> Result<(), String> {
    let home = Home::new();
    let wallet_record = home.folder.path().join("wallet.jsonl");
    let relay = DrillRelay::start(None).await;
    let wallet = Arc::new(DrillWallet::start(&wallet_record));
    home.configure(
        mode,
        relay.url().as_str(),
        &wallet.url(),
        &wallet.invoice_key(),
    );
    let request = home.request(&Keys::generate(), scheme, "What is Nostr?");
    relay.inject(&request);

    let first = home.run(Some(point));
    let died = async {
        let Running {
            mut child,
            mut lines,
        } = first;
        // Read to the end, so that a full pipe never holds the shop up.
        while let Ok(Some(_)) = lines.next_line().await {}
        child.wait().await
    };
    let paying = pay_when_asked(&relay, &wallet);
    tokio::pin!(paying);
    let mut paid = None;
    // A buyer who pays at once makes the relay's yes old news: the payment shows already that the result has arrived.
    let waits = point.starts_with("accepted") && mode != "before";
    let bound = tokio::time::sleep(LONGEST);
    tokio::pin!(died, bound);
    let status = loop {
        tokio::select! {
            status = &mut died => break status.map_err(|e| e.to_string())?,
            outcome = &mut paying, if paid.is_none() && !waits => paid = Some(outcome?),
            () = &mut bound => return Err("the point was never reached".to_owned()),
        }
    };
    if status.signal() != Some(SIGABRT) {
        return Err(format!(
            "it ended by {status} instead of dying at the point"
        ));
    }

    let mut second = home.run(None);
    let settled = async {
        if paid.is_none() {
            paying.await?;
        }
        until_paid(&home, &mut second).await
    };
    tokio::time::timeout(LONGEST, settled)
        .await
        .map_err(|_| "the second run did not settle the job".to_owned())??;
    second.child.kill().await.map_err(|e| e.to_string())?;

    audit(&home, &relay, &wallet_record, &request.id.to_hex()).await
}

/// The buyer: pays the first invoice that reaches the relay, once.
async fn pay_when_asked(relay: &DrillRelay, wallet: &DrillWallet) -> Result<(), String> {
    let event = relay
        .wait_for(|event| bolt11(event).is_some(), LONGEST * 2)
        .await
        .ok_or("no invoice reached the relay")?;
    let invoice = bolt11(&event).ok_or("the invoice is gone")?;
    wallet.pay(&invoice).map(drop)
}

/// Looks at the ledger at the start and whenever the shop tells something.
async fn until_paid(home: &Home, running: &mut Running) -> Result<(), String> {
    loop {
        let jobs = home.jobs().await;
        if jobs.iter().any(|job| job["status"] == "paid") {
            return Ok(());
        }
        match running.lines.next_line().await {
            Ok(Some(_)) => {}
            _ => return Err("the second run ended".to_owned()),
        }
    }
}

async fn audit(
    home: &Home,
    relay: &DrillRelay,
    wallet_record: &std::path::Path,
    request: &str,
) -> Result<(), String> {
    let seller = home.seller.public_key();
    let of_ours: Vec<_> = relay
        .events()
        .into_iter()
        .filter(|event| event.pubkey == seller && answers(event).as_deref() == Some(request))
        .collect();
    let results: BTreeSet<_> = of_ours
        .iter()
        .filter(|event| event.kind.as_u16() == 6050)
        .map(|event| event.id)
        .collect();
    let invoices: BTreeSet<_> = of_ours.iter().filter_map(bolt11).collect();
    let payments: Vec<u64> = record(wallet_record)
        .iter()
        .filter(|line| line["what"] == "paid")
        .filter_map(|line| line["amount_msat"].as_u64())
        .collect();
    let jobs = home.jobs().await;
    let said: Vec<_> = jobs
        .iter()
        .filter_map(|job| job["paid_msat"].as_u64())
        .collect();
    if jobs.len() != 1 || results.len() != 1 || invoices.len() != 1 || payments != said {
        return Err(format!(
            "{} jobs, {} results, {} published invoices; the wallet saw {payments:?}, the ledger says {said:?}",
            jobs.len(),
            results.len(),
            invoices.len()
        ));
    }
    Ok(())
}
