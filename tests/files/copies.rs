//! A copy is put back: every wallet class × mode × moment of the copy × replay, and nobody is answered or charged twice, and
//! nothing that was paid is forgotten.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;
use nostr::Event;
use serde_json::Value;

use super::fake_relay::Fault;
use super::shop::{Running, answers, bolt11};
use super::wallets::Class;
use super::{World, is_open};

/// Runs at once.
const AT_ONCE: usize = 4;

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

impl Case {
    /// The buyer pays after the copy is put back.
    fn is_late(&self) -> bool {
        matches!(self.moment, Moment::BeforeOpen | Moment::OpenOpen)
    }

    /// The machine that is lost was stopped in order before, which closes hold invoices that nobody has paid. Another one is
    /// killed.
    fn closes(&self) -> bool {
        self.mode == "hold" && self.is_late() && self.replay
    }

    /// What the job comes to. Only where the request's text is lost before it was answered is the work not done: then what was
    /// paid is owed, or goes back to its payer.
    fn end(&self) -> &'static str {
        match (self.mode, self.moment) {
            _ if self.closes() => "unpaid",
            ("before" | "hold", Moment::BeforeOpen) => "error",
            _ => "paid",
        }
    }

    fn new(class: Class, mode: &'static str, moment: Moment, replay: bool) -> Self {
        Self {
            class,
            mode,
            moment,
            replay,
        }
    }
}

/// Without `VEND_COPIES_ALL`: each class, mode, moment and end once.
fn sample() -> Vec<Case> {
    use Moment::{BeforeOpen, BeforePaid, OpenOpen, OpenPaid, Paid};
    vec![
        Case::new(Class::Lnbits, "after", BeforeOpen, true),
        Case::new(Class::Lnbits, "before", BeforeOpen, false),
        Case::new(Class::Phoenixd, "before", OpenOpen, false),
        Case::new(Class::Cln, "after", OpenPaid, true),
        Case::new(Class::Sandbox, "before", BeforePaid, true),
        Case::new(Class::Sandbox, "hold", OpenOpen, false),
        Case::new(Class::Lnd, "hold", OpenOpen, true),
        Case::new(Class::Lnd, "hold", Paid, false),
    ]
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
                    all.push(Case::new(class, mode, moment, replay));
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
        cases = sample();
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
    let mut shop = world.home.run(None);
    shop.until(is_open).await;
    world.sell(&mut shop).await;
    let before = matches!(case.moment, Moment::BeforePaid | Moment::BeforeOpen);
    if before {
        back_up(&world, &copy).await?;
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
        back_up(&world, &copy).await?;
    }
    if !case.is_late() {
        world.wallet.pay(&invoice)?;
        world.settled(&mut shop, &request).await;
    }
    if case.moment == Moment::Paid {
        back_up(&world, &copy).await?;
    }
    if case.mode == "hold" && case.is_late() && !case.closes() {
        shop.child.kill().await.map_err(|error| error.to_string())?;
    } else {
        world.stop(shop).await;
    }
    let (code, said) = world.vend(&["restore", copy.to_str().unwrap()]).await;
    if code != Some(0) {
        return Err(said);
    }
    if case.moment == Moment::BeforePaid {
        // Before anybody was asked, the audit finds what is missing.
        let (code, said) = world.vend(&["audit"]).await;
        if code == Some(0) || !said.contains("missing") {
            return Err(format!("the audit found nothing: {said}"));
        }
    }
    if case.replay {
        world.relay.set(Fault::Replay);
    }
    let mut shop = world.home.run(None);
    shop.until(is_open).await;
    if case.is_late() && world.wallet.pay(&invoice).is_ok() == case.closes() {
        return Err("the invoice is not open, or still is".to_owned());
    }
    let ended = ended(&world, &mut shop, &request).await;
    // Once more, and what is asked now is sold after all that.
    world.relay.set(Fault::None);
    world.relay.set(Fault::Replay);
    world.sell(&mut shop).await;
    world.stop(shop).await;
    judge(&world, case, &request, &ended)?;
    let (code, said) = world.vend(&["audit"]).await;
    (code == Some(0)).then_some(()).ok_or(said)
}

async fn back_up(world: &World, copy: &Path) -> Result<(), String> {
    let (code, said) = world.vend(&["backup", copy.to_str().unwrap()]).await;
    (code == Some(0)).then_some(()).ok_or(said)
}

/// The job once nothing more will happen to it.
async fn ended(world: &World, shop: &mut Running, request: &Event) -> Value {
    let id = request.id.to_hex();
    // Some of it may have happened before anybody listened.
    let known = world.home.show(&id).await.unwrap_or_default();
    let timeline = known["timeline"].to_string();
    let is_over = |job: &Value, gone_back: bool| match job["status"].as_str() {
        Some("paid" | "unpaid" | "cancelled") => true,
        Some("error") => gone_back || job["owed_to_buyer_msat"] != 0,
        _ => false,
    };
    let gone_back = AtomicBool::new(timeline.contains("\"given_back\""));
    if is_over(&known, gone_back.load(Ordering::Relaxed)) {
        return known;
    }
    let fits = |event: &Value| {
        let ours = event["event"] == "job" && event["job"]["id"] == id.as_str();
        gone_back.fetch_or(ours && event["what"] == "given_back", Ordering::Relaxed);
        ours && is_over(&event["job"], gone_back.load(Ordering::Relaxed))
    };
    shop.until(fits).await["job"].clone()
}

fn judge(world: &World, case: Case, request: &Event, job: &Value) -> Result<(), String> {
    let id = request.id.to_hex();
    if job["status"] != case.end() {
        return Err(format!("it should be {}: {job}", case.end()));
    }
    let of = |event: &Event| answers(event).as_deref() == Some(&id);
    let events = world.relay.events();
    let invoices: HashSet<String> = events.iter().filter(|e| of(e)).filter_map(bolt11).collect();
    let results = world.results(request);
    // Who pays after the work has the answer in any case.
    let answered = job["status"] == "paid" || case.mode == "after";
    if results != usize::from(answered) || invoices.len() != 1 {
        return Err(format!(
            "{results} results, {} invoices: {job}",
            invoices.len()
        ));
    }
    let owed = job["owed_to_buyer_msat"].as_u64().unwrap_or(0);
    let paid = job["paid_msat"].as_u64().unwrap_or(0);
    if job["status"] == "error" && owed != paid {
        return Err(format!("paid, and not owed: {job}"));
    }
    let books = world.wallet.books();
    // Two beside this one were sold; what went back was not taken.
    let expected = if paid > 0 { 3 } else { 2 };
    let takes = case.end() == "paid" || (case.end() == "error" && case.mode == "before");
    if books.taken.len() != expected || books.held != 0 || takes != (paid > 0) {
        return Err(format!("{books:?}: {job}"));
    }
    Ok(())
}
