//! A copy is put back: every wallet class × mode × moment of the copy × replay, and nobody is answered or charged twice, and
//! nothing that was paid is forgotten.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt;
use nostr::Event;
use serde_json::Value;

use super::fake_relay::Fault;
use super::shop::{answers, bolt11};
use super::wallets::Class;
use super::{LONGEST, World, is_open};

/// Runs at once.
const AT_ONCE: usize = 4;
/// Without `VEND_COPIES_ALL` every one of so many is run.
const SAMPLE: usize = 34;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    /// The copy does not know the request, which is paid before it is put back.
    BeforePaid,
    /// The copy does not know the request, whose invoice is paid afterwards.
    BeforeOpen,
    /// The copy knows the open invoice, which is paid before it is put back.
    OpenPaid,
    /// The copy knows the open invoice, which is paid afterwards.
    OpenOpen,
    /// The copy knows that it is paid.
    Paid,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    class: Class,
    mode: &'static str,
    moment: Moment,
    /// The relay gives everything again that it has, whatever it is asked for.
    replay: bool,
}

fn cases() -> Vec<Case> {
    use Moment::{BeforeOpen, BeforePaid, OpenOpen, OpenPaid, Paid};
    let classes = [
        Class::Lnbits,
        Class::Phoenixd,
        Class::Cln,
        Class::Sandbox,
        Class::Lnd,
    ];
    let mut all = Vec::new();
    for class in classes {
        for mode in ["after", "before", "hold"] {
            if mode == "hold" && !matches!(class, Class::Sandbox | Class::Lnd) {
                continue;
            }
            for moment in [BeforePaid, BeforeOpen, OpenPaid, OpenOpen, Paid] {
                for replay in [false, true] {
                    all.push(Case {
                        class,
                        mode,
                        moment,
                        replay,
                    });
                }
            }
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_doubles_nothing_and_forgets_nothing() {
    let all = std::env::var_os("VEND_COPIES_ALL").is_some();
    let only = std::env::var("VEND_COPIES_ONLY").unwrap_or_default();
    let mut cases = cases();
    assert!(cases.len() >= 100, "{}", cases.len());
    if !only.is_empty() {
        cases.retain(|case| format!("{case:?}").contains(&only));
    } else if !all {
        cases = cases.into_iter().step_by(SAMPLE).collect();
    }
    let count = cases.len();
    let outcomes: Vec<_> = futures::stream::iter(cases)
        .map(|case| async move {
            let outcome = tokio::spawn(run(case)).await;
            (case, outcome.unwrap_or_else(|error| Err(error.to_string())))
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let wrong: Vec<String> = outcomes
        .into_iter()
        .filter_map(|(case, outcome)| Some(format!("{case:?}: {}", outcome.err()?)))
        .collect();
    println!(
        "{} of {count} runs: nothing doubled, nothing forgotten",
        count - wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn run(case: Case) -> Result<(), String> {
    let world = World::with(case.mode, case.class).await;
    let copy = world.home.folder.path().join("copy.db");
    let back_up = || {
        let (code, said) = world.vend(&["backup", copy.to_str().unwrap()]);
        (code == Some(0)).then_some(()).ok_or(said)
    };
    let mut shop = world.home.run(None);
    shop.until(is_open).await;
    world.sell(&mut shop).await;
    let before = matches!(case.moment, Moment::BeforePaid | Moment::BeforeOpen);
    if before {
        back_up()?;
    }
    let request = world.ask();
    let invoice = world.invoice(&request).await;
    if case.mode == "after" {
        let id = request.id.to_hex();
        let is = |event: &Value| {
            event["job"]["id"] == id.as_str() && event["job"]["status"] == "pending_payment"
        };
        shop.until(is).await;
    }
    if matches!(case.moment, Moment::OpenPaid | Moment::OpenOpen) {
        back_up()?;
    }
    let late = matches!(case.moment, Moment::BeforeOpen | Moment::OpenOpen);
    if !late {
        world.wallet.pay(&invoice)?;
        world.settled(&mut shop, &request).await;
    }
    if case.moment == Moment::Paid {
        back_up()?;
    }
    world.stop(shop).await;
    let (code, said) = world.vend(&["restore", copy.to_str().unwrap()]);
    if code != Some(0) {
        return Err(said);
    }
    if case.moment == Moment::BeforePaid {
        // Before anybody was asked, the audit finds what is missing.
        let (code, said) = world.vend(&["audit"]);
        if code == Some(0) || !said.contains("missing") {
            return Err(format!("the audit found nothing: {said}"));
        }
    }
    if case.replay {
        world.relay.set(Fault::Replay);
    }
    let mut shop = world.home.run(None);
    shop.until(is_open).await;
    if late {
        let paid = world.wallet.pay(&invoice);
        // The secret that would take the payment is lost with the ledger: the invoice is cancelled, or the payment goes back.
        if case.mode != "hold" {
            paid?;
        }
    }
    let ended = ended(&world, &request).await;
    // Once more, and what is asked now is sold after all that.
    world.relay.set(Fault::None);
    world.relay.set(Fault::Replay);
    world.sell(&mut shop).await;
    world.stop(shop).await;
    judge(&world, &request, &ended?)?;
    let (code, said) = world.vend(&["audit"]);
    (code == Some(0)).then_some(()).ok_or(said)
}

/// The job's end. Where its text is lost with the ledger, what was paid is owed, or went back to its payer.
async fn ended(world: &World, request: &Event) -> Result<Value, String> {
    let id = request.id.to_hex();
    let watching = async {
        loop {
            let jobs = world.home.jobs().await;
            let job = jobs.into_iter().find(|job| job["id"] == id.as_str());
            let over = |job: &Value| {
                let status = job["status"].as_str().unwrap_or_default();
                ["paid", "error", "unpaid", "cancelled"].contains(&status)
            };
            if let Some(job) = job.filter(over) {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    match tokio::time::timeout(LONGEST, watching).await {
        Ok(job) => Ok(job),
        Err(_) => Err(format!("no end: {:?}", world.home.show(&id).await)),
    }
}

fn judge(world: &World, request: &Event, job: &Value) -> Result<(), String> {
    let id = request.id.to_hex();
    let of = |event: &Event| answers(event).as_deref() == Some(&id);
    let events = world.relay.events();
    let invoices: HashSet<String> = events.iter().filter(|e| of(e)).filter_map(bolt11).collect();
    let results = world.results(request);
    if results > 1 || invoices.len() > 1 {
        return Err(format!("{results} results, {} invoices", invoices.len()));
    }
    if job["status"] == "paid" && results != 1 {
        return Err(format!("paid and not answered: {job}"));
    }
    let owed = job["owed_to_buyer_msat"].as_u64().unwrap_or(0);
    let paid = job["paid_msat"].as_u64().unwrap_or(0);
    if job["status"] == "error" && owed != paid {
        return Err(format!("paid, and not owed: {job}"));
    }
    let books = world.wallet.books();
    // Two beside this one were sold; what went back was not taken.
    let expected = if paid > 0 { 3 } else { 2 };
    if books.taken.len() != expected || books.held != 0 {
        return Err(format!("{books:?}: {job}"));
    }
    Ok(())
}
