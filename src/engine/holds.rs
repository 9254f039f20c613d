//! Looks after held payments: takes each once its result is delivered, gives it back where it will not be, and lets none
//! wait for longer than it may.
//!
//! What is to be done stands in the ledger before it is done, so a settle or a cancel that a crash cut off is done again,
//! until a look at the wallet shows it done. Works offline too: it is somebody's money.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::context::{EngineContext, LEDGER_PAUSE};
use super::crash;
use super::payments::{Came, Told, issued, learned};
use super::transition::ApplyError;
use crate::domain::event::Level;
use crate::domain::health::ShopState;
use crate::domain::hold::{self, Duty};
use crate::domain::id::RequestId;
use crate::domain::job::{InvoiceState, Job, State};
use crate::domain::payment_status::Poll;
use crate::domain::time::Time;
use crate::domain::transition::JobEvent;
use crate::wallet::{Wallet, WalletError};

/// Payments looked after at once.
const AT_ONCE: usize = 8;
/// Between two looks whether a payment is still held.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// After a settle or a cancel that the wallet does not show yet; doubled each time.
const AGAIN: Duration = Duration::from_millis(500);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long a shop may be closed before what is held for waiting jobs goes back: it may be on its way to be opened.
const CLOSED_FOR: Duration = Duration::from_secs(60);

/// One payment that is looked after.
#[derive(Default)]
struct Care {
    state: Option<InvoiceState>,
    next: Time,
    fails: u32,
    told: Told,
}

/// Works until `stop`.
pub async fn work(shop: Arc<EngineContext>, stop: CancellationToken) {
    let mut cares: HashMap<RequestId, Care> = HashMap::new();
    let mut acting: JoinSet<(RequestId, Care)> = JoinSet::new();
    let mut busy: HashSet<RequestId> = HashSet::new();
    let mut steps = shop.clock.steps();
    let mut closed: Option<Instant> = None;
    while !stop.is_cancelled() {
        closed = closed_since(&shop, closed);
        let stepped = shop.clock.steps();
        if stepped != steps {
            steps = stepped;
            for care in cares.values_mut() {
                care.next = Time(0);
            }
        }
        let wait = launch(&shop, &mut cares, &mut acting, &mut busy, closed);
        tokio::select! {
            () = stop.cancelled() => {}
            () = shop.wakers.holds.notified() => {}
            Some(done) = acting.join_next(), if !acting.is_empty() => match done {
                Ok((id, care)) => {
                    busy.remove(&id);
                    cares.insert(id, care);
                }
                Err(_) => busy.clear(),
            },
            () = tokio::time::sleep(wait) => {}
        }
    }
    // What is cut off is done again by the next run of the program.
    acting.shutdown().await;
}

/// Since when nobody works for what is held. A shop that drains has begun to close a while ago.
fn closed_since(shop: &EngineContext, before: Option<Instant>) -> Option<Instant> {
    match shop.now.borrow().state {
        ShopState::Offline => before.or_else(|| Some(Instant::now())),
        ShopState::Draining | ShopState::Stopping => {
            let long_ago = Instant::now().checked_sub(CLOSED_FOR);
            long_ago.or(before).or_else(|| Some(Instant::now()))
        }
        // A pause ends by itself; a payment whose time would run out meanwhile goes back all the same.
        ShopState::Starting | ShopState::Online | ShopState::Degraded | ShopState::Paused => None,
    }
}

/// Starts what is due; tells how long nothing is.
fn launch(
    shop: &Arc<EngineContext>,
    cares: &mut HashMap<RequestId, Care>,
    acting: &mut JoinSet<(RequestId, Care)>,
    busy: &mut HashSet<RequestId>,
    closed: Option<Instant>,
) -> Duration {
    const LONG: Duration = Duration::from_secs(3_600);
    let jobs = shop.ledger.holds();
    cares.retain(|id, _| jobs.iter().any(|job| job.id == *id));
    let now = Time::now();
    let mut wait = LONG;
    for job in jobs {
        if busy.contains(&job.id) {
            continue;
        }
        let mut care = cares.remove(&job.id).unwrap_or_default();
        let state = job.invoice.as_ref().map(|invoice| invoice.state);
        if care.state != state {
            // Something was decided: that is carried out now.
            care = Care {
                state,
                ..Care::default()
            };
        }
        let due = care.next.min(ends(&job));
        if due > now || acting.len() >= AT_ONCE {
            wait = wait.min(due.since(now));
            cares.insert(job.id, care);
            continue;
        }
        busy.insert(job.id);
        let shop = shop.clone();
        acting.spawn(async move {
            let id = job.id;
            (id, tend(&shop, job, care, closed).await)
        });
    }
    wait.max(Duration::from_millis(20))
}

/// When a held payment's time is over, whatever the wallet says.
fn ends(job: &Job) -> Time {
    match hold::duty(job, Time::now()) {
        Some(Duty::Poll { until }) => until,
        Some(Duty::Ends) => Time(0),
        _ => Time(i64::MAX),
    }
}

/// Does what one payment asks for now.
async fn tend(
    shop: &Arc<EngineContext>,
    job: Job,
    mut care: Care,
    closed: Option<Instant>,
) -> Care {
    let now = Time::now();
    let Some(duty) = hold::duty(&job, now) else {
        care.next = now.plus(LOOK_EVERY);
        return care;
    };
    let nobody_works = closed.is_some_and(|since| since.elapsed() >= CLOSED_FOR);
    if nobody_works && matches!(duty, Duty::Poll { .. }) && job.state == State::Queued {
        match shop.apply(job.id, JobEvent::ShopCloses).await {
            Ok(_) | Err(ApplyError::No(_)) => {}
            Err(error) => shop.ledger_failed(&error),
        }
        care.next = now.plus(LEDGER_PAUSE);
        return care;
    }
    let asked = ask(shop, &job, duty, &mut care.told).await;
    if duty == Duty::Ends && !matches!(asked, Ok(true)) {
        // Not even an answer is waited for any longer.
        match shop.apply(job.id, JobEvent::HoldEnds).await {
            Ok(_) | Err(ApplyError::No(_)) => {}
            Err(error) => {
                shop.ledger_failed(&error);
                // Its time is over, so it is due at once.
                tokio::time::sleep(LEDGER_PAUSE).await;
            }
        }
        care.next = now.plus(AGAIN);
        return care;
    }
    match asked {
        Ok(true) => care.fails = 0,
        Ok(false) if matches!(duty, Duty::Poll { .. }) => {
            care.fails = 0;
            care.next = Time::now().plus(LOOK_EVERY);
            return care;
        }
        Ok(false) => care.fails += 1,
        Err(error) => {
            care.fails += 1;
            care.told
                .emit(shop, Level::Warn, job.id, &error.to_string());
        }
    }
    let pause = AGAIN * (1 << care.fails.min(8));
    care.next = Time::now().plus(pause.min(LONGEST_PAUSE));
    care
}

/// Tells the wallet what was decided, and looks at what it shows then. True where the job changed.
async fn ask(
    shop: &Arc<EngineContext>,
    job: &Job,
    duty: Duty,
    told: &mut Told,
) -> Result<bool, WalletError> {
    let (Some(invoice), Some(issued)) = (&job.invoice, issued(job)) else {
        return Err(WalletError::Protocol("the invoice is gone".to_owned()));
    };
    let handle = shop.wallet_handle_of(&invoice.made_by()).await;
    let handle = handle.map_err(WalletError::Unreachable)?;
    let wallet = &handle.wallet;
    let said = match duty {
        Duty::Take => take(job, &**wallet).await,
        Duty::GiveBack => {
            crash::point("hold.before_cancel");
            let said = wallet.cancel(issued.clone()).await;
            crash::point("hold.after_cancel");
            said
        }
        Duty::Poll { .. } | Duty::Ends => Ok(()),
    };
    let look = Poll {
        canceled: duty == Duty::GiveBack && said.is_ok(),
        ..Poll::at(Time::now())
    };
    // Whatever it answered: what counts is what it shows.
    let seen = wallet.lookup(issued).await;
    handle.heard(&seen);
    match learned(shop, job, seen, &look, told).await {
        Ok(Came::Transition(_)) => Ok(true),
        // Nothing has come of it: then what it answered before tells why.
        Ok(Came::Nothing) => said.map(|()| false),
        // Told already; it is tried again.
        Ok(Came::Words) | Err(()) => Ok(false),
    }
}

async fn take(job: &Job, wallet: &dyn Wallet) -> Result<(), WalletError> {
    let Some(preimage) = job.invoice.as_ref().and_then(|invoice| invoice.preimage) else {
        let text = "the secret that takes the payment is not in the ledger".to_owned();
        return Err(WalletError::Rejected(text));
    };
    crash::point("hold.before_settle");
    let said = wallet.settle(preimage).await;
    crash::point("hold.after_settle");
    // A server may repeat what it was sent.
    said.map_err(|error| error.without(&preimage))
}
