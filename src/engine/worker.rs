//! Takes queued jobs into free slots and sees each through its inference.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::context::{Connections, EngineContext, LEDGER_PAUSE, Run};
use super::transition::ApplyError;
use super::{partial, recovery};
use crate::domain::error::JobProcessingCode as Code;
use crate::domain::event::{EventKind, Level};
use crate::domain::hold;
use crate::domain::id::RequestId;
use crate::domain::job::{Answer, Job, PayOrder, State};
use crate::domain::message;
use crate::domain::reply;
use crate::domain::time::Time;
use crate::domain::transition::JobEvent;
use crate::inference::pool::Slot;
use crate::inference::{Ask, InferenceError, Pool, Progress, SoFar};
use crate::ledger::Cause;

/// Queued jobs looked at in one round.
const ROUND: usize = 64;
/// No waiting job waits for longer, whatever another clock wrote into the ledger.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A job that waits for the seller is looked at again after this.
const SELLER_PAUSE: Duration = Duration::from_mins(1);
/// A paid job that found its server busy tries again after this.
const BUSY_PAUSE: Duration = Duration::from_secs(15);
/// At most four tellings of progress a second for each job.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// Works until `stop`: starts nothing after it, and returns when the running jobs have ended. `cut` ends those too; they
/// stay in the ledger as running and are queued again by the next run of the program.
pub async fn work(
    shop: Arc<EngineContext>,
    connections: Connections,
    stop: CancellationToken,
    cut: CancellationToken,
) {
    let mut runs: JoinSet<()> = JoinSet::new();
    let mut changed = connections.pool.changed();
    let mut orphaned_runs = true;
    while !stop.is_cancelled() {
        if orphaned_runs {
            let taken = recovery::orphaned_runs(&shop).await;
            orphaned_runs = taken
                .inspect_err(|error| shop.ledger_failed(error))
                .is_err();
        }
        let filled = fill(&shop, &connections, &mut runs, &cut).await;
        emit_queue(&shop);
        let due = match filled {
            Ok(()) if !orphaned_runs => next_due(&shop),
            _ => LEDGER_PAUSE,
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = shop.wakers.queue.notified() => {}
            Ok(()) = changed.changed() => {}
            // A task that died leaves its job behind.
            Some(done) = runs.join_next(), if !runs.is_empty() => orphaned_runs |= done.is_err(),
            () = tokio::time::sleep(due) => {}
        }
    }
    while runs.join_next().await.is_some() {
        emit_queue(&shop);
    }
}

fn next_due(shop: &EngineContext) -> Duration {
    const LONG: Duration = Duration::from_secs(3_600);
    let due = shop.ledger.next_due([State::Queued; 2]);
    due.map_or(LONG, |at| {
        let wait = at.since(Time::now()).min(LONGEST_WAIT);
        wait.max(Duration::from_millis(20))
    })
}

/// An error where the ledger could not be read or written, which is told already.
async fn fill(
    shop: &Arc<EngineContext>,
    connections: &Connections,
    runs: &mut JoinSet<()>,
    cut: &CancellationToken,
) -> Result<(), ()> {
    if shop.pauses() {
        // What waits is begun when the pause ends, which wakes this.
        return Ok(());
    }
    let jobs = shop.ledger.queue(Time::now(), ROUND);
    let per_buyer = shop.settings().limits.per_buyer_running as usize;
    if shop.running(|runs| runs.values().any(|run| run.alone)) {
        return Ok(());
    }
    let mut of_buyer: HashMap<_, usize> = HashMap::new();
    shop.running(|runs| {
        for run in runs.values() {
            *of_buyer.entry(run.buyer).or_default() += 1;
        }
    });
    for job in jobs {
        if !hold::may_start(&job, Time::now()) {
            // Its payment must go back before the work could be done.
            shop.wakers.holds.notify_one();
            continue;
        }
        let mine = of_buyer.entry(job.buyer).or_default();
        if *mine >= per_buyer {
            continue;
        }
        let Some(slot) = connections.pool.reserve(&job.terms.model) else {
            continue;
        };
        if job.runs_alone() && shop.running(|runs| !runs.is_empty()) {
            // Those that run are finished first, and nothing else is begun meanwhile.
            break;
        }
        // Read first: where that fails nothing has begun.
        let prompt = shop.ledger.prompt(job.id).await;
        let prompt = prompt.map_err(|error| shop.ledger_failed(&error))?;
        match shop
            .apply(job.id, JobEvent::Start { boot: shop.boot })
            .await
        {
            Ok(job) => {
                *mine += 1;
                let alone = job.runs_alone();
                let ask = (job, prompt.unwrap_or_default());
                start(shop, connections, runs, ask, slot, cut);
                if alone {
                    break;
                }
            }
            // Cancelled in between.
            Err(ApplyError::No(_)) => {}
            Err(error) => {
                shop.ledger_failed(&error);
                return Err(());
            }
        }
    }
    Ok(())
}

fn start(
    shop: &Arc<EngineContext>,
    connections: &Connections,
    runs: &mut JoinSet<()>,
    (job, prompt): (Job, String),
    slot: Slot,
    cut: &CancellationToken,
) {
    let stop = cut.child_token();
    let (progress, seen) = watch::channel(Progress::default());
    shop.running(|runs| {
        runs.insert(
            job.id,
            Run {
                rev: job.rev,
                buyer: job.buyer,
                model: job.terms.model.clone(),
                alone: job.runs_alone(),
                stop: stop.clone(),
                progress: seen.clone(),
            },
        )
    });
    shop.wakers.load.notify_one();
    shop.wakers.runs.notify_one();
    let (shop, pool) = (shop.clone(), connections.pool.clone());
    runs.spawn(async move {
        let id = job.id;
        let _working = Working(shop.clone(), id, job.rev);
        let so_far = partial::wanted(&job).then(SoFar::default);
        let partial = so_far
            .clone()
            .map(|so_far| tokio::spawn(partial::tell(shop.clone(), job.clone(), so_far)));
        let ask = Ask {
            model: job.terms.model.clone(),
            messages: message::from_text(&prompt),
            params: job.terms.params.clone(),
            deadline: Duration::from_secs(job.terms.job_timeout_secs),
            attempt: job.attempts,
            so_far: so_far.clone(),
        };
        let of = job.terms.params.max_tokens;
        let telling = tokio::spawn(emit_progress(shop.clone(), id, of, seen, stop.clone()));
        let answer = tokio::select! {
            answer = pool.answer(slot, ask, progress) => Some(answer),
            () = stop.cancelled() => None,
        };
        if let Some(partial) = partial {
            // What it would still say, the result says.
            partial.abort();
        }
        // The sender of progress is gone, so the telling ends by itself.
        if telling.await.is_err() {
            shop.notice(Level::Error, "shop", "the telling of progress failed");
        }
        if let Some(answer) = answer {
            let input = match answer {
                Ok(answer) => fits(&shop, &job, answer),
                Err(error) if waits(&job, &error, &pool) => put_back(&error, &job, &pool),
                Err(error) => failed(&error),
            };
            finish(&shop, &job, input, &stop).await;
        }
    });
}

/// A run is among the running ones until this is dropped, however its task ends.
struct Working(Arc<EngineContext>, RequestId, u64);

impl Drop for Working {
    fn drop(&mut self) {
        let Self(shop, id, rev) = self;
        shop.running(|runs| {
            // The job's next try may be there already.
            if runs.get(id).is_some_and(|run| run.rev == *rev) {
                runs.remove(id);
            }
        });
        shop.wakers.queue.notify_one();
        shop.wakers.runs.notify_one();
    }
}

/// Writes down what came of a run. It has cost work, and may be paid for, so it is kept in memory until the ledger takes it,
/// or the run is ended from outside.
async fn finish(shop: &Arc<EngineContext>, job: &Job, input: JobEvent, stop: &CancellationToken) {
    loop {
        let cause = match &input {
            JobEvent::Answered(_) => shop.next_question().map_or(Cause::Itself, Cause::Question),
            _ => Cause::Itself,
        };
        match shop.apply_for(job.id, input.clone(), cause).await {
            // Cancelled while it ran.
            Ok(_) | Err(ApplyError::No(_)) => return,
            Err(error) => {
                shop.ledger_failed(&format!(
                    "job {}: what came of it is not kept yet: {error}",
                    job.id.short()
                ));
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LEDGER_PAUSE) => {}
        }
    }
}

/// An answer that no result can carry is a failure, not a cut text.
fn fits(shop: &EngineContext, job: &Job, answer: Answer) -> JobEvent {
    let most = reply::max_answer_bytes(job.encryption);
    let text = &answer.text;
    if text.len() <= most && shop.carries(job, text) {
        return JobEvent::Answered(answer);
    }
    JobEvent::RunFailed {
        code: Code::OutputTooLarge.as_str(),
        message: format!(
            "the answer has {} bytes, more than a result that our relays take holds",
            text.len()
        ),
        sentence: Code::OutputTooLarge.buyer_sentence(),
        again: false,
    }
}

/// Does the job go back to the queue, as it is the seller's own trouble? One that is paid for waits for the seller, or until a
/// busy server has room; any other does only where another endpoint may take it.
fn waits(job: &Job, error: &InferenceError, pool: &Pool) -> bool {
    let paid = matches!(job.terms.order, PayOrder::Before | PayOrder::Hold);
    let busy = matches!(error, InferenceError::Busy { .. }) && paid;
    busy || (error.is_the_seller_s() && (paid || pool.serves(&job.terms.model)))
}

fn put_back(error: &InferenceError, job: &Job, pool: &Pool) -> JobEvent {
    let wait = match error {
        InferenceError::Busy { .. } => BUSY_PAUSE,
        _ if pool.serves(&job.terms.model) => Duration::from_secs(1),
        // The pool's own word wakes it: nothing is reserved before.
        _ if pool.closed(&job.terms.model).is_some() => Duration::ZERO,
        _ => SELLER_PAUSE,
    };
    JobEvent::PutBack {
        message: error.to_string(),
        until: Time::now().plus(wait),
    }
}

/// What an inference error means for the job.
fn failed(error: &InferenceError) -> JobEvent {
    let (code, again) = match error {
        InferenceError::Unreachable { .. } | InferenceError::NoEndpoint { .. } => {
            (Code::Unreachable, true)
        }
        InferenceError::ModelMissing { .. } => (Code::ModelMissing, false),
        InferenceError::Busy { .. } => (Code::Busy, true),
        InferenceError::Unauthorized { .. } => (Code::Unauthorized, false),
        InferenceError::Refused { .. } => (Code::Refused, false),
        InferenceError::Rejected { .. } => (Code::Rejected, false),
        InferenceError::TooLong { .. } => (Code::TooLong, false),
        InferenceError::Died { .. } => (Code::Died, true),
        InferenceError::Stalled { .. } => (Code::Stalled, true),
        InferenceError::TimedOut { .. } => (Code::TimedOut, false),
        InferenceError::Empty { .. } => (Code::Empty, false),
        InferenceError::Truncated { .. } => (Code::Truncated, false),
        InferenceError::Protocol { .. } => (Code::Protocol, false),
    };
    JobEvent::RunFailed {
        code: code.as_str(),
        message: error.to_string(),
        sentence: code.buyer_sentence(),
        again,
    }
}

async fn emit_progress(
    shop: Arc<EngineContext>,
    id: RequestId,
    of: u32,
    mut seen: watch::Receiver<Progress>,
    stop: CancellationToken,
) {
    let began = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = seen.changed() => if changed.is_err() { return },
        }
        let tokens = seen.borrow_and_update().tokens;
        shop.emit(EventKind::Progress {
            id,
            tokens,
            of: Some(of),
            elapsed_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        tokio::select! {
            () = stop.cancelled() => return,
            () = wait_or_end(&mut seen) => {}
        }
    }
}

/// A quarter of a second, or less where the inference ends.
async fn wait_or_end(seen: &mut watch::Receiver<Progress>) {
    let wait = tokio::time::sleep(PROGRESS_EVERY);
    tokio::pin!(wait);
    loop {
        tokio::select! {
            () = &mut wait => return,
            changed = seen.changed() => if changed.is_err() { return },
        }
    }
}

fn emit_queue(shop: &EngineContext) {
    let (waiting, running) = shop.ledger.queue_counts();
    shop.emit(EventKind::Queue { waiting, running });
}
