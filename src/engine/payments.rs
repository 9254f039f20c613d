//! Looks at open invoices until each is final. A push is only a hint to look now; an error changes no invoice; one bad
//! invoice never delays another's look.

mod lists;
mod watches;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::context::{EngineContext, LEDGER_PAUSE};
use super::crash;
use super::transition::ApplyError;
use crate::domain::desk::DisputeKind;
use crate::domain::event::Level;
use crate::domain::id::{PaymentHash, RequestId};
use crate::domain::invoice::Watched;
use crate::domain::job::{InvoiceState, Job, MadeBy};
use crate::domain::payment_status::{self, Finding, PaymentStatus, Poll};
use crate::domain::text::clean;
use crate::domain::time::Time;
use crate::domain::transition::JobEvent;
use crate::ledger::{Cause, LedgerError};
use crate::wallet::{Issued, Wallet, WalletError};

/// Looks at once.
const AT_ONCE: usize = 8;
/// Between two tries to find the wallet of an invoice.
const OTHER_WALLET: Duration = Duration::from_secs(600);
/// Between two tellings of the wallet's state.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// After a look that the wallet did not answer.
const AFTER_ERROR: Duration = Duration::from_secs(5);

use lists::{Listing, Lists, list};
use watches::Watches;

/// What was said of a job last: the same is not said again.
#[derive(Debug, Default)]
pub struct Told(String);

impl Told {
    /// Tells the operator, unless that was the last thing said.
    pub fn emit(&mut self, shop: &EngineContext, level: Level, id: RequestId, words: &str) {
        if self.0 != words {
            words.clone_into(&mut self.0);
            let words = format!("job {}: {}", id.short(), clean(words, 300));
            shop.notice(level, "wallet", &words);
        }
    }

    /// Something else happened: what was said may be said again.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}

/// Invoices that were made since the watching looked last, and whether there may be another wallet to ask. As large as what
/// is open, and no larger.
#[derive(Debug, Default)]
pub struct Arrived {
    /// With the moment at which it was seen to be made, where it was.
    new: HashMap<RequestId, (Watched, Option<Instant>)>,
    wallets: bool,
}

impl EngineContext {
    /// A job's invoice is watched from now on, where it is one to be watched.
    pub fn watch(&self, job: &Job) {
        let watched = Watched::of(job);
        if let Some(watched) = watched.filter(|one| one.next_poll(Time::now()).is_some()) {
            // Else its age is known by its own date alone.
            let made = is_new(job).then(Instant::now);
            self.arrived(|arrived| {
                arrived.new.entry(watched.id).or_insert((watched, made));
            });
            self.wakers.polls.notify_one();
        }
    }

    /// There may be a wallet now for invoices that had none to be asked.
    pub fn wallets_changed(&self) {
        self.arrived(|arrived| arrived.wallets = true);
        self.wakers.polls.notify_one();
    }
}

/// Was the invoice made just now?
fn is_new(job: &Job) -> bool {
    job.invoice.as_ref().is_some_and(|invoice| {
        invoice.state == InvoiceState::Open && invoice.polls == 0 && invoice.late_polls == 0
    })
}

/// Works until `stop`, offline too: money may come at any time.
pub async fn work(shop: Arc<EngineContext>, stop: CancellationToken) {
    let mut watches = Watches::default();
    let mut lists = Lists::default();
    let mut looking: JoinSet<Ended> = JoinSet::new();
    let mut loaded = false;
    // When the wallet's state is told next, which counts what is open: so not after every look.
    let mut tell_at: Option<Instant> = None;
    let mut rest = TELL_EVERY;
    let mut steps = shop.clock.steps();
    while !stop.is_cancelled() {
        if !loaded {
            loaded = load(&shop, &mut watches).await;
        }
        let stepped = shop.clock.steps();
        if stepped != steps {
            steps = stepped;
            watches.clock_stepped();
        }
        let open = shop.has_wallets();
        if open {
            watches.together = lists.any();
            launch(&shop, &mut watches, &mut lists, &mut looking);
        }
        let wait = if loaded {
            until_due(&watches, open, looking.len())
        } else {
            LEDGER_PAUSE
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = shop.wakers.polls.notified() => arrivals(&shop, &mut watches),
            hint = hinted(shop.wallet()) => watches.hurry(hint),
            Some(done) = looking.join_next(), if !looking.is_empty() => match done {
                Ok(Ended::List(listing)) => {
                    lists.ended(&listing);
                    watches.listed(&listing.ids, &listing.open);
                }
                Ok(Ended::Look(id, looked)) => {
                    learn(&shop, &mut watches, id, looked).await;
                    tell_at.get_or_insert_with(|| Instant::now() + rest);
                }
                Err(_) => {
                    lists.died();
                    watches.lost_looks(Time::now().plus(AFTER_ERROR));
                }
            },
            () = at(tell_at) => {
                let began = Instant::now();
                shop.emit_wallet().await;
                // However much is open, counting it stays a small part of the time.
                rest = (began.elapsed() * 50).max(TELL_EVERY);
                tell_at = None;
            }
            () = tokio::time::sleep(wait) => {}
        }
    }
    looking.shutdown().await;
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// A task of the watching that has ended.
enum Ended {
    Look(RequestId, Looked),
    List(Listing),
}

/// What came of a look.
enum Looked {
    /// The job as it was, the look, and what it saw.
    At(Box<Job>, Poll, Result<PaymentStatus, WalletError>),
    /// There is nothing to look at any more.
    Ended,
    /// The ledger could not be read.
    Unread(LedgerError),
    /// There is no wallet to ask, and why.
    Nobody(String),
}

async fn hinted(wallet: Option<Arc<dyn Wallet>>) -> Option<PaymentHash> {
    match wallet {
        Some(wallet) => wallet.next_hint().await,
        None => std::future::pending().await,
    }
}

/// Every invoice that is open. The first look at each is now: money may have come while nobody was here. False where the
/// ledger could not be read, which is told.
async fn load(shop: &EngineContext, watches: &mut Watches) -> bool {
    match shop.ledger.watched(Time::now()).await {
        Ok(open) => {
            for watched in open {
                watches.add(watched, Time(0), None);
            }
            true
        }
        Err(error) => {
            shop.ledger_failed(&error);
            false
        }
    }
}

fn arrivals(shop: &EngineContext, watches: &mut Watches) {
    let Arrived { new, wallets } = shop.arrived(std::mem::take);
    for (watched, made) in new.into_values() {
        watches.add(watched, Time(0), made);
    }
    if wallets {
        watches.wallets_changed();
    }
}

fn launch(
    shop: &Arc<EngineContext>,
    watches: &mut Watches,
    lists: &mut Lists,
    looking: &mut JoinSet<Ended>,
) {
    while looking.len() < AT_ONCE {
        let now = Time::now();
        if let Some((made_by, ids)) = watches.take_listed(now, |made_by| lists.least(made_by)) {
            lists.began(&made_by);
            let first = watches.first_made(&ids).unwrap_or(now);
            looking.spawn(list(shop.clone(), made_by, ids, first).map(Ended::List));
            continue;
        }
        let Some((id, watch)) = watches.take_due(now) else {
            return;
        };
        let made_by = watch.made_by.clone();
        let at = Poll {
            invoice_time: watch.invoice_time(),
            unheld_at: watch.unheld_at,
            ..Poll::at(now)
        };
        let shop = shop.clone();
        looking.spawn(async move { Ended::Look(id, look(&shop, id, &made_by, at).await) });
    }
}

async fn look(shop: &EngineContext, id: RequestId, made_by: &MadeBy, at: Poll) -> Looked {
    let job = match shop.ledger.job(id).await {
        Ok(Some(job)) => job,
        Ok(None) => return Looked::Ended,
        Err(error) => return Looked::Unread(error),
    };
    let Some(issued) = Watched::of(&job).and_then(|_| issued(&job)) else {
        return Looked::Ended;
    };
    match shop.look(made_by, &issued).await {
        Ok(seen) => Looked::At(Box::new(job), at, seen),
        Err(words) => Looked::Nobody(words),
    }
}

/// Looks at one invoice now, whether it is due or not. Tells in words what was seen.
///
/// # Errors
/// Where the wallet or the ledger could not be asked; the sentence says why.
pub async fn look_now(shop: &Arc<EngineContext>, job: &Job) -> Result<String, String> {
    let nothing = "the job has no invoice to look at";
    let invoice = job.invoice.as_ref().ok_or(nothing)?;
    let issued = issued(job).ok_or(nothing)?;
    let look = Poll::at(Time::now());
    let seen = shop.look(&invoice.made_by(), &issued).await?;
    let seen = seen.map_err(|error| clean(&error.to_string(), 200))?;
    let told = in_words(&seen);
    let came = learned(shop, job, Ok(seen), &look, &mut Told::default()).await;
    came.map_err(|()| "the ledger did not take it; the log says why".to_owned())?;
    Ok(told)
}

fn in_words(seen: &PaymentStatus) -> String {
    match seen {
        PaymentStatus::Pending => "the wallet says: not paid yet".to_owned(),
        PaymentStatus::Held { .. } => "the wallet says: the payment is held".to_owned(),
        PaymentStatus::Paid { .. } => "the wallet says: paid".to_owned(),
        PaymentStatus::Expired => "the wallet says: expired, not paid".to_owned(),
        PaymentStatus::Canceled => "the wallet says: canceled".to_owned(),
        PaymentStatus::Unknown => "the wallet does not know the invoice".to_owned(),
        PaymentStatus::Attention(words) => format!("the wallet says: {}", clean(words, 200)),
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

fn until_due(watches: &Watches, wallet: bool, looking: usize) -> Duration {
    const LONG: Duration = Duration::from_secs(3_600);
    if !wallet {
        return Duration::from_secs(2);
    }
    if looking >= AT_ONCE {
        return LONG;
    }
    let wait = watches.earliest().map(|at| at.since(Time::now()));
    wait.unwrap_or(LONG).max(Duration::from_millis(20))
}

async fn learn(shop: &Arc<EngineContext>, watches: &mut Watches, id: RequestId, looked: Looked) {
    let now = Time::now();
    let Some(watch) = watches.get(&id) else {
        return;
    };
    let (job, look, seen) = match looked {
        Looked::At(job, look, seen) => (job, look, seen),
        Looked::Ended => return watches.forget(&id),
        Looked::Unread(error) => {
            shop.ledger_failed(&error);
            return watches.again(&id, now.plus(AFTER_ERROR), false);
        }
        Looked::Nobody(words) => {
            watch.told.emit(shop, Level::Warn, id, &words);
            watches.again(&id, now.plus(OTHER_WALLET), true);
            return shop.dispute(id, DisputeKind::OtherWallet, &words).await;
        }
    };
    watch.fails = if seen.is_err() { watch.fails + 1 } else { 0 };
    let fails = watch.fails;
    if seen == Ok(PaymentStatus::Pending) {
        watch.unheld_at = Some(look.began);
    }
    // By the invoice's time, told in ours.
    let there = watch.invoice_time();
    match learned(shop, &job, seen, &look, &mut watch.told).await {
        // Nothing is judged while the wallet can't be asked, and it is asked until it answers.
        Ok(_) if fails > 0 => watches.again(&id, now.plus(AFTER_ERROR * fails.min(12)), false),
        Ok(came) => {
            let job = match came {
                Came::Transition(after) => after,
                _ => job,
            };
            match Watched::of(&job).and_then(|watched| watched.next_poll(there)) {
                Some(at) => watches.again(&id, now.plus(at.since(there)), false),
                None => watches.forget(&id),
            }
        }
        // What the wallet said is asked for again: the ledger must have it.
        Err(()) => watches.again(&id, now.plus(AFTER_ERROR), false),
    }
}

/// What followed from a look.
pub enum Came {
    /// Nothing new.
    Nothing,
    /// A word to the operator.
    Words,
    /// The job after its step.
    Transition(Box<Job>),
}

/// Weighs what a look saw, and does what it calls for. An error where the ledger did not take it, which is told already.
pub async fn learned(
    shop: &Arc<EngineContext>,
    job: &Job,
    seen: Result<PaymentStatus, WalletError>,
    look: &Poll,
    told: &mut Told,
) -> Result<Came, ()> {
    let weighed = match &seen {
        Ok(seen) => shop.assess(job, seen).await,
        Err(_) => Ok(None),
    };
    let proof = weighed.map_err(|error| shop.ledger_failed(&error))?;
    let cause = proof.map_or(Cause::Itself, Cause::Payment);
    let input = match payment_status::assess(job, seen, look) {
        Finding::Nothing => {
            told.forget();
            return Ok(Came::Nothing);
        }
        Finding::Note(words) => {
            told.emit(shop, Level::Warn, job.id, &words);
            return Ok(Came::Words);
        }
        Finding::Alarm(words) => {
            told.emit(shop, Level::Error, job.id, &words);
            return Ok(Came::Words);
        }
        Finding::Transition(input) => input,
    };
    told.forget();
    if matches!(input, JobEvent::Paid { .. }) {
        crash::point("look.paid");
    }
    match shop.apply_for(job.id, input, cause).await {
        Ok(after) => Ok(Came::Transition(Box::new(after))),
        Err(ApplyError::No(_)) => Ok(Came::Nothing),
        Err(error) => {
            shop.ledger_failed(&error);
            Err(())
        }
    }
}
