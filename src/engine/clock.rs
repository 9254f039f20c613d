//! The process's clock. [`Time::now`] goes on by monotonic time; a step of the wall clock is noticed here, the due times in the
//! ledger are moved with it, whoever waits is woken, and only then the process's time follows. So nothing is early or late
//! because somebody corrected the time. What relays, wallet and model servers say about it is judged here too.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::context::EngineContext;
use crate::domain::clock::{self, Fault, Witnesses};
use crate::domain::event::{EventKind, Level};
use crate::domain::health::{Check, CheckKind, CheckStatus, HealthLevel};
use crate::domain::time::{Anchor, Time};
use crate::domain::transition::JobEvent;

/// Between two looks at the wall clock.
const EVERY: Duration = Duration::from_secs(1);
/// Looks between two judgements of what others say.
const JUDGED_EVERY: u32 = 5;
/// So many looks after the shop has opened nobody will say anything of the time any more.
const SURE_AFTER: u32 = 30;
/// How long a relay's refusal for an event's date is held against our clock.
const REFUSED_FOR: Duration = Duration::from_secs(600);

/// What is known of the clock.
#[derive(Debug, Default)]
pub struct ClockState {
    steps: AtomicU64,
    fault: Mutex<Option<Fault>>,
    refused: Mutex<Option<(Instant, String)>>,
    /// Was anybody asked, or is there nobody who says?
    sure: AtomicBool,
    /// The clock was set, or what is known of it changed: what was held back can be judged again.
    pub changed: Notify,
}

impl ClockState {
    /// How often the wall clock was set since the program started: whoever keeps moments in memory computes them anew.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::SeqCst)
    }

    /// What is wrong with the clock, where others say so.
    pub fn fault(&self) -> Option<Fault> {
        held(&self.fault).clone()
    }

    /// Is it known to be right, so that the age of a request can be judged?
    pub fn is_right(&self) -> bool {
        self.sure.load(Ordering::SeqCst) && self.fault().is_none_or(|fault| fault.off_secs == 0)
    }

    /// Was anybody asked about it, so that [`EngineContext::signed_at`] is right?
    pub fn is_sure(&self) -> bool {
        self.sure.load(Ordering::SeqCst)
    }

    /// A relay refused one of our events.
    pub fn refused(&self, words: &str) {
        if clock::blames_the_date(words) {
            *held(&self.refused) = Some((Instant::now(), words.to_owned()));
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EngineContext {
    /// The date for an event that is signed now; `request`: the date of what it answers.
    pub fn signed_at(&self, request: Option<Time>) -> Time {
        clock::signed_at(Time::now(), self.clock.fault().as_ref(), request)
    }
}

/// Begins to go by monotonic time.
pub fn start() {
    Anchor {
        wall: Time::wall(),
        steady: Instant::now(),
    }
    .put();
}

/// Watches until `stop`.
pub async fn work(shop: Arc<EngineContext>, stop: CancellationToken) {
    let mut polls = 0_u32;
    let mut open = 0_u32;
    let mut slept = Slept::start();
    loop {
        let step = clock::step(Time::now(), Time::wall());
        match step {
            Some(ms) => stepped(&shop, ms, slept.since_last()).await,
            // Small differences are followed without a word.
            None => start(),
        }
        slept = Slept::start();
        let sure = shop.clock.sure.load(Ordering::SeqCst);
        if step.is_some() || !sure || polls.is_multiple_of(JUDGED_EVERY) {
            open = if shop.connections().is_some() {
                open + 1
            } else {
                0
            };
            judge(&shop, open > SURE_AFTER);
        }
        polls = polls.wrapping_add(1);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// A machine that was asleep has a wall clock that went on and a monotonic one that did not: real time went by.
struct Slept {
    asleep: Option<Duration>,
    steady: Instant,
}

impl Slept {
    fn start() -> Self {
        Self {
            asleep: awake_and_asleep(),
            steady: Instant::now(),
        }
    }

    /// For how long it slept since then.
    fn since_last(&self) -> Duration {
        let gone = awake_and_asleep()
            .zip(self.asleep)
            .map(|(now, then)| now.saturating_sub(then));
        gone.unwrap_or_default()
            .saturating_sub(self.steady.elapsed())
    }
}

/// Since the machine was started, sleep included; none where the system does not say.
fn awake_and_asleep() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    {
        let text = std::fs::read_to_string("/proc/uptime").ok()?;
        let secs: f64 = text.split_whitespace().next()?.parse().ok()?;
        Duration::try_from_secs_f64(secs).ok()
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// The wall clock was set by `ms`, of which the machine slept a part.
async fn stepped(shop: &Arc<EngineContext>, ms: i64, slept: Duration) {
    let slept = i64::try_from(slept.as_millis()).unwrap_or(i64::MAX);
    // What is due after a sleep is due: only what the clock was set by moves.
    let set = if ms > 0 { (ms - slept).max(0) } else { ms };
    let set = if clock::step(Time(0), Time(set)).is_some() {
        set
    } else {
        0
    };
    // Never in between is anything due too early: forwards the due times go first, backwards the clock.
    if set < 0 {
        start();
    }
    if set != 0
        && let Err(error) = shop.ledger.shift_due(set, Time::wall()).await
    {
        shop.ledger_failed(&error);
        if set > 0 {
            // The old time goes on until the ledger takes it.
            return;
        }
    }
    start();
    shop.clock.steps.fetch_add(1, Ordering::SeqCst);
    if set < 0 {
        reopen(shop).await;
    }
    if let Some(connections) = shop.connections() {
        connections.relays.clock_stepped(ms);
    }
    let words = if set == 0 {
        format!("this machine slept for {} s", ms / 1_000)
    } else {
        format!(
            "this machine's clock was set {} by {} s: due times, subscriptions and payments are looked at anew",
            if set > 0 { "forward" } else { "back" },
            set.unsigned_abs() / 1_000
        )
    };
    shop.notice(Level::Warn, "clock", &words);
    let wakers = &shop.wakers;
    for bell in [
        &wakers.queue,
        &wakers.invoices,
        &wakers.outbox,
        &wakers.polls,
        &wakers.holds,
        &wakers.health,
        &shop.clock.changed,
    ] {
        bell.notify_one();
    }
}

/// Invoices that were called unpaid while the clock was ahead can be paid still.
async fn reopen(shop: &Arc<EngineContext>) {
    let ids = match shop.ledger.closed_too_early(Time::now()).await {
        Ok(ids) => ids,
        Err(error) => return shop.ledger_failed(&error),
    };
    for id in ids {
        match shop.apply(id, JobEvent::NotExpired).await {
            Ok(_) | Err(super::transition::ApplyError::No(_)) => {}
            Err(error) => shop.ledger_failed(&error),
        }
    }
}

/// Weighs what others say about the clock, and tells where it changed.
fn judge(shop: &EngineContext, long_open: bool) {
    let connections = shop.connections();
    let lately = |said: &(Instant, String)| said.0.elapsed() < REFUSED_FOR;
    let said = Witnesses {
        relays: connections
            .as_ref()
            .map(|connections| connections.relays.clocks())
            .unwrap_or_default(),
        wallet: shop.wallet().and_then(|wallet| wallet.clock_off_secs()),
        endpoints: connections
            .map(|connections| {
                connections
                    .pool
                    .clocks()
                    .into_iter()
                    .map(|(_, secs)| secs)
                    .collect()
            })
            .unwrap_or_default(),
        refused: held(&shop.clock.refused)
            .clone()
            .filter(lately)
            .map(|(_, words)| words),
    };
    let fault = clock::judge(&said, shop.settings().limits.max_request_age_secs);
    let before = std::mem::replace(&mut *held(&shop.clock.fault), fault.clone());
    let heard = !said.relays.is_empty() || said.wallet.is_some();
    if (heard || long_open) && !shop.clock.sure.swap(true, Ordering::SeqCst) {
        shop.clock.changed.notify_one();
    }
    let sight = |fault: &Option<Fault>| fault.as_ref().map(|fault| fault.health);
    if sight(&before) == sight(&fault) {
        return;
    }
    shop.emit(EventKind::Check {
        check: check(fault.as_ref()),
    });
    if let Some(fault) = &fault {
        shop.notice(Level::Warn, "clock", &fault.words);
    }
    shop.wakers.health.notify_one();
    shop.clock.changed.notify_one();
}

fn check(fault: Option<&Fault>) -> Check {
    let (status, detail, fix) = match fault {
        None => (CheckStatus::Ok, "as others have it", ""),
        Some(fault) if fault.health == HealthLevel::Down => {
            (CheckStatus::Fail, fault.words.as_str(), clock::FIX)
        }
        Some(fault) => (CheckStatus::Warn, fault.words.as_str(), clock::FIX),
    };
    Check {
        check: CheckKind::Clock,
        target: "this machine".to_owned(),
        status,
        detail: detail.to_owned(),
        fix: fix.to_owned(),
    }
}
