//! Looks at open invoices until each is final. A push is only a hint to look now; an error changes no invoice; one bad
//! invoice never delays another's look.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::crash;
use super::desk::StepError;
use super::shop::Shop;
use crate::domain::desk::DoubtKind;
use crate::domain::event::Level;
use crate::domain::evidence::{self, Finding, Look, Seen};
use crate::domain::id::{PaymentHash, RequestId};
use crate::domain::invoice;
use crate::domain::job::{InvoiceState, Job};
use crate::domain::step::Input;
use crate::domain::text::clean;
use crate::domain::time::Time;
use crate::wallet::{Issued, Wallet, WalletError};

/// Looks at once.
const AT_ONCE: usize = 8;
/// Between two tries to find the wallet of an invoice.
const OTHER_WALLET: Duration = Duration::from_secs(600);
/// After a look that the wallet did not answer.
const AFTER_ERROR: Duration = Duration::from_secs(5);

struct Watch {
    job: Job,
    /// When its invoice was made, where this run of the program saw it made.
    made: Option<Instant>,
    next: Time,
    fails: u32,
    /// When the last look began that showed nothing paid or held.
    unheld_at: Option<Time>,
    /// Was there no wallet to ask?
    nobody: bool,
    told: Told,
}

/// What was said of a job last: the same is not said again.
#[derive(Debug, Default)]
pub struct Told(String);

impl Told {
    /// Tells the operator, unless that was the last thing said.
    pub fn tell(&mut self, shop: &Shop, level: Level, job: &Job, words: &str) {
        if self.0 != words {
            words.clone_into(&mut self.0);
            let words = format!("job {}: {}", job.id.short(), clean(words, 300));
            shop.notice(level, "wallet", &words);
        }
    }

    /// Something else happened: what was said may be said again.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}

/// Works until `stop`, offline too: money may come at any time.
pub async fn work(shop: Arc<Shop>, stop: CancellationToken) {
    let mut watches: HashMap<RequestId, Watch> = HashMap::new();
    let mut looking: JoinSet<(RequestId, Looked)> = JoinSet::new();
    let mut busy: HashSet<RequestId> = HashSet::new();
    // The first look at everything is now: money may have come while nobody was here.
    reload(&shop, &mut watches, true).await;
    let mut steps = shop.clock.steps();
    while !stop.is_cancelled() {
        let stepped = shop.clock.steps();
        if stepped != steps {
            steps = stepped;
            for watch in watches.values_mut() {
                watch.unheld_at = None;
            }
            hurry(&mut watches, None);
        }
        let open = shop.has_wallets();
        if open {
            launch(&shop, &watches, &mut looking, &mut busy);
        }
        let wait = earliest(&watches, &busy, open, looking.len());
        tokio::select! {
            () = stop.cancelled() => {}
            () = shop.bells.looks.notified() => reload(&shop, &mut watches, false).await,
            hint = hinted(shop.wallet()) => hurry(&mut watches, hint),
            Some(done) = looking.join_next(), if !looking.is_empty() => match done {
                Ok((id, looked)) => {
                    busy.remove(&id);
                    learn(&shop, &mut watches, id, looked).await;
                    shop.tell_wallet().await;
                }
                Err(_) => busy.clear(),
            },
            () = tokio::time::sleep(wait) => {}
        }
    }
    looking.shutdown().await;
}

/// What came of a look.
enum Looked {
    /// The look, and what it saw.
    At(Look, Result<Seen, WalletError>),
    /// There is no wallet to ask, and why.
    Nobody(String),
}

async fn hinted(wallet: Option<Arc<dyn Wallet>>) -> Option<PaymentHash> {
    match wallet {
        Some(wallet) => wallet.next_hint().await,
        None => std::future::pending().await,
    }
}

/// A hint makes the look happen now; none means "look at all".
fn hurry(watches: &mut HashMap<RequestId, Watch>, hint: Option<PaymentHash>) {
    for watch in watches.values_mut() {
        let hash = watch.job.invoice.as_ref().and_then(|i| i.payment_hash);
        if hint.is_none() || hash == hint {
            watch.next = Time(0);
        }
    }
}

async fn reload(shop: &Shop, watches: &mut HashMap<RequestId, Watch>, first: bool) {
    let jobs = match shop.ledger.watched(Time::now()).await {
        Ok(jobs) => jobs,
        Err(error) => return shop.ledger_failed(&error),
    };
    let known: HashSet<RequestId> = jobs.iter().map(|job| job.id).collect();
    watches.retain(|id, _| known.contains(id));
    for job in jobs {
        watches
            .entry(job.id)
            .and_modify(|watch| {
                watch.job = job.clone();
                if std::mem::take(&mut watch.nobody) {
                    // There may be another wallet now.
                    watch.next = Time(0);
                }
            })
            .or_insert_with(|| Watch {
                made: is_new(&job, first).then(Instant::now),
                job,
                next: Time(0),
                fails: 0,
                unheld_at: None,
                nobody: false,
                told: Told::default(),
            });
    }
}

/// Was the invoice made just now? Else its age is known by its own date alone.
fn is_new(job: &Job, first: bool) -> bool {
    let invoice = job.invoice.as_ref();
    let open = invoice.is_some_and(|invoice| {
        invoice.state == InvoiceState::Open && invoice.looks == 0 && invoice.late_looks == 0
    });
    !first && open
}

/// What the clock of the invoice's maker shows: from its making on by monotonic time, where that was seen, so that no wrong
/// clock of ours makes it look expired.
fn invoice_time(watch: &Watch) -> Time {
    let made_at = watch
        .job
        .invoice
        .as_ref()
        .and_then(|invoice| invoice.made_at);
    match (watch.made, made_at) {
        (Some(made), Some(made_at)) => made_at.plus(made.elapsed()),
        _ => Time::now(),
    }
}

fn launch(
    shop: &Arc<Shop>,
    watches: &HashMap<RequestId, Watch>,
    looking: &mut JoinSet<(RequestId, Looked)>,
    busy: &mut HashSet<RequestId>,
) {
    let now = Time::now();
    let mut due: Vec<&Watch> = watches
        .values()
        .filter(|watch| watch.next <= now && !busy.contains(&watch.job.id))
        .collect();
    due.sort_by_key(|watch| watch.next);
    for watch in due {
        if looking.len() >= AT_ONCE {
            return;
        }
        let (Some(invoice), Some(issued)) = (&watch.job.invoice, issued(&watch.job)) else {
            continue;
        };
        let (id, shop, made_by) = (watch.job.id, shop.clone(), invoice.made_by());
        let look = Look {
            invoice_time: invoice_time(watch),
            unheld_at: watch.unheld_at,
            ..Look::at(now)
        };
        busy.insert(id);
        looking.spawn(async move {
            match shop.look(&made_by, &issued).await {
                Ok(seen) => (id, Looked::At(look, seen)),
                Err(words) => (id, Looked::Nobody(words)),
            }
        });
    }
}

/// Looks at one invoice now, whether it is due or not. Tells in words what was seen.
///
/// # Errors
/// Where the wallet or the ledger could not be asked; the sentence says why.
pub async fn look_now(shop: &Arc<Shop>, job: &Job) -> Result<String, String> {
    let nothing = "the job has no invoice to look at";
    let invoice = job.invoice.as_ref().ok_or(nothing)?;
    let issued = issued(job).ok_or(nothing)?;
    let look = Look::at(Time::now());
    let seen = shop.look(&invoice.made_by(), &issued).await?;
    let seen = seen.map_err(|error| clean(&error.to_string(), 200))?;
    let told = in_words(&seen);
    let came = learned(shop, job, Ok(seen), &look, &mut Told::default()).await;
    came.map_err(|()| "the ledger did not take it; the log says why".to_owned())?;
    shop.bells.looks.notify_one();
    Ok(told)
}

fn in_words(seen: &Seen) -> String {
    match seen {
        Seen::Pending => "the wallet says: not paid yet".to_owned(),
        Seen::Held { .. } => "the wallet says: the payment is held".to_owned(),
        Seen::Paid { .. } => "the wallet says: paid".to_owned(),
        Seen::Expired => "the wallet says: expired, not paid".to_owned(),
        Seen::Canceled => "the wallet says: canceled".to_owned(),
        Seen::Unknown => "the wallet does not know the invoice".to_owned(),
        Seen::Attention(words) => format!("the wallet says: {}", clean(words, 200)),
    }
}

/// A job's invoice as the wallet that made it knows it.
pub(super) fn issued(job: &Job) -> Option<Issued> {
    let invoice = job.invoice.as_ref()?;
    Some(Issued {
        bolt11: invoice.bolt11.clone()?,
        payment_hash: invoice.payment_hash?,
        backend_ref: invoice.backend_ref.clone(),
    })
}

fn earliest(
    watches: &HashMap<RequestId, Watch>,
    busy: &HashSet<RequestId>,
    wallet: bool,
    looking: usize,
) -> Duration {
    const LONG: Duration = Duration::from_secs(3_600);
    if !wallet {
        return Duration::from_secs(2);
    }
    if looking >= AT_ONCE {
        return LONG;
    }
    let now = Time::now();
    watches
        .values()
        .filter(|watch| !busy.contains(&watch.job.id))
        .map(|watch| watch.next.since(now))
        .min()
        .unwrap_or(LONG)
        .max(Duration::from_millis(20))
}

async fn learn(
    shop: &Arc<Shop>,
    watches: &mut HashMap<RequestId, Watch>,
    id: RequestId,
    looked: Looked,
) {
    let Some(watch) = watches.get_mut(&id) else {
        return;
    };
    let now = Time::now();
    let (look, seen) = match looked {
        Looked::At(look, seen) => (look, seen),
        Looked::Nobody(words) => {
            watch.nobody = true;
            watch.next = now.plus(OTHER_WALLET);
            watch.told.tell(shop, Level::Warn, &watch.job, &words);
            return shop.doubt(id, DoubtKind::OtherWallet, &words).await;
        }
    };
    watch.fails = if seen.is_err() { watch.fails + 1 } else { 0 };
    if seen == Ok(Seen::Pending) {
        watch.unheld_at = Some(look.began);
    }
    match learned(shop, &watch.job, seen, &look, &mut watch.told).await {
        // Nothing is judged while the wallet can't be asked, and it is asked until it answers.
        Ok(_) if watch.fails > 0 => watch.next = now.plus(AFTER_ERROR * watch.fails.min(12)),
        Ok(came) => {
            if let Came::Step(after) = came {
                watch.job = *after;
            }
            // By the invoice's time, told in ours.
            let there = invoice_time(watch);
            let again = again_at(&watch.job, there);
            watch.next = again.map_or(Time(i64::MAX), |again| now.plus(again.since(there)));
        }
        // What the wallet said is asked for again: the ledger must have it.
        Err(()) => watch.next = now.plus(AFTER_ERROR),
    }
    if watch.next == Time(i64::MAX) {
        watches.remove(&id);
    }
}

/// What followed from a look.
pub enum Came {
    /// Nothing new.
    Nothing,
    /// A word to the operator.
    Words,
    /// The job after its step.
    Step(Box<Job>),
}

/// Weighs what a look saw, and does what it calls for. An error where the ledger did not take it, which is told already.
pub async fn learned(
    shop: &Arc<Shop>,
    job: &Job,
    seen: Result<Seen, WalletError>,
    look: &Look,
    told: &mut Told,
) -> Result<Came, ()> {
    // The proof of a payment is kept before the payment is booked.
    if let Ok(seen) = &seen
        && let Err(error) = shop.weigh(job, seen).await
    {
        shop.ledger_failed(&error);
        return Err(());
    }
    let input = match evidence::weigh(job, seen, look) {
        Finding::Nothing => {
            told.forget();
            return Ok(Came::Nothing);
        }
        Finding::Note(words) => {
            told.tell(shop, Level::Warn, job, &words);
            return Ok(Came::Words);
        }
        Finding::Alarm(words) => {
            told.tell(shop, Level::Error, job, &words);
            return Ok(Came::Words);
        }
        Finding::Step(input) => input,
    };
    told.forget();
    if matches!(input, Input::Paid { .. }) {
        crash::point("look.paid");
    }
    match shop.apply(job.id, input).await {
        Ok(after) => Ok(Came::Step(Box::new(after))),
        Err(StepError::No(_)) => Ok(Came::Nothing),
        Err(error) => {
            shop.ledger_failed(&error);
            Err(())
        }
    }
}

/// When to look next; none where the invoice is final.
fn again_at(job: &Job, now: Time) -> Option<Time> {
    job.invoice.as_ref().and_then(|invoice| {
        // What is held is looked after elsewhere.
        if !matches!(
            invoice.state,
            InvoiceState::Open | InvoiceState::Expired | InvoiceState::GivenBack
        ) {
            return None;
        }
        invoice::next_look(
            invoice.made_at?,
            invoice.expires_at?,
            now,
            invoice.late_looks,
            Duration::from_secs(job.terms.check_every_secs),
        )
    })
}
