//! Keeps one helper running: starts it, opens the wallet, carries questions and answers, starts it again when it dies, hangs
//! or talks nonsense. Nothing that happens to it ends more than itself.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use serde_json::Value;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::launch::{Launch, Timing};
use super::pipe::{HUNG, Heard, HelperPipe};
use super::wire::{Account, Answer, Ask, Fault, HelperMessage, Opening};
use super::words;

/// Questions at once, those included whose asker is gone. The shop asks no more than a dozen.
const PENDING_MAX: usize = 64;

/// The largest `local.json`, bytes.
const LOCAL_MAX: u64 = 16 * 1024;

/// Everything a helper needs.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) launch: Launch,
    /// The file of the words, read anew at each start and kept nowhere.
    pub(super) words: PathBuf,
    /// The SDK's word.
    pub(super) network: &'static str,
    pub(super) account: u32,
    /// Where a Spark of one's own may be described; none on mainnet.
    pub(super) local: Option<PathBuf>,
    pub(super) timing: Timing,
}

/// How the helper is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// For the first time on its way up.
    Starting,
    /// The wallet is open.
    Up {
        account: Account,
        /// A Spark of one's own on this machine.
        local: bool,
    },
    /// Not there, and why: a sentence for the operator, with the fix where there is one.
    Down(String),
}

/// A question on its way to the helper.
pub(super) struct Question {
    pub(super) ask: Ask<'static>,
    /// A helper that takes longer has hung.
    pub(super) limit: Duration,
    pub(super) back: oneshot::Sender<Answer>,
}

/// What the helper's keeper and the wallet share.
pub(super) struct Shared {
    pub(super) state: watch::Sender<State>,
    /// Something was paid, perhaps.
    pub(super) hint: Notify,
    /// The helper is to be started again, though it answers.
    pub(super) again: Notify,
    /// Money that has come and is not claimed yet.
    pub(super) incoming: Mutex<Incoming>,
}

impl Shared {
    /// Remembers what is arriving, sats. True once each `stuck` time that it does not end: start the helper again.
    pub(super) fn note_incoming(&self, sats: u64, stuck: Duration) -> bool {
        let mut held = self.since();
        if sats == 0 {
            held.since = None;
            held.acted = None;
            return false;
        }
        let now = Instant::now();
        held.since.get_or_insert(now);
        let from = *held.acted.get_or_insert(now);
        let act = now.duration_since(from) >= stuck;
        if act {
            held.acted = Some(now);
        }
        act
    }

    /// Has money been arriving for longer than this?
    pub(super) fn is_stuck(&self, longest: Duration) -> bool {
        self.since()
            .since
            .is_some_and(|since| since.elapsed() >= longest)
    }

    fn since(&self) -> MutexGuard<'_, Incoming> {
        // Whole after every statement, so a thread that died while holding it left nothing half done.
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Money that has come and is not claimed yet.
#[derive(Default)]
pub(super) struct Incoming {
    since: Option<Instant>,
    /// Since when, or since the helper was last started again for it.
    acted: Option<Instant>,
}

/// Works until `stop`.
pub(super) async fn supervise(
    spec: Spec,
    shared: Arc<Shared>,
    mut inbox: mpsc::Receiver<Question>,
    stop: CancellationToken,
) {
    let mut tries = 0;
    loop {
        let mut up_since = None;
        let why = life(&spec, &shared, &mut inbox, &stop, &mut up_since).await;
        if stop.is_cancelled() {
            return;
        }
        tracing::warn!(why, "the Spark helper is down");
        shared.state.send_replace(State::Down(why));
        if up_since.is_some_and(|since: Instant| since.elapsed() >= spec.timing.steady) {
            tries = 0;
        }
        let waits = &spec.timing.back_off;
        let wait = waits
            .get(tries)
            .or(waits.last())
            .copied()
            .unwrap_or_default();
        tries = tries.saturating_add(1);
        if !pause(wait, &mut inbox, &stop).await {
            return;
        }
    }
}

/// Waits; questions that were on their way are answered by being dropped. False: it is time to stop.
async fn pause(
    wait: Duration,
    inbox: &mut mpsc::Receiver<Question>,
    stop: &CancellationToken,
) -> bool {
    let end = Instant::now() + wait;
    loop {
        tokio::select! {
            () = stop.cancelled() => return false,
            () = tokio::time::sleep_until(end) => return true,
            question = inbox.recv() => if question.is_none() { return false },
        }
    }
}

/// One helper from its start to its end; why it ended.
async fn life(
    spec: &Spec,
    shared: &Shared,
    inbox: &mut mpsc::Receiver<Question>,
    stop: &CancellationToken,
    up_since: &mut Option<Instant>,
) -> String {
    let mut line = match HelperPipe::start(&spec.launch) {
        Ok(line) => line,
        Err(why) => return why,
    };
    let opened = tokio::select! {
        opened = open(spec, &mut line) => opened,
        () = stop.cancelled() => Err(String::new()),
    };
    let why = match opened {
        Ok(state) => {
            shared.state.send_replace(state);
            *up_since = Some(Instant::now());
            // Money may have come while it was down.
            shared.hint.notify_one();
            serve(shared, inbox, &mut line, stop).await
        }
        Err(why) => why,
    };
    if stop.is_cancelled() {
        line.close(spec.timing.close).await;
    } else {
        line.kill().await;
    }
    why
}

async fn open(spec: &Spec, line: &mut HelperPipe) -> Result<State, String> {
    line.greet(spec.timing.hello).await?;
    let local = read_local(spec)?;
    let words = words::read(&spec.words).map_err(|error| error.to_string())?;
    let ask = Ask::Open(Opening {
        mnemonic: &words,
        network: spec.network,
        account: spec.account,
        local: local.as_ref(),
    });
    let account = line.answer(&ask, spec.timing.open).await?;
    Ok(State::Up {
        account,
        local: local.is_some(),
    })
}

/// Where the Spark of one's own is, if there is one.
pub(super) fn read_local(spec: &Spec) -> Result<Option<Value>, String> {
    use std::io::Read;
    let Some(path) = &spec.local else {
        return Ok(None);
    };
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(&error)),
    };
    let mut text = String::new();
    file.take(LOCAL_MAX)
        .read_to_string(&mut text)
        .map_err(|error| wrong(&error))?;
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| wrong(&error))
}

struct Pending {
    back: oneshot::Sender<Answer>,
    due: Instant,
}

/// Carries questions and answers until something ends it; why it ended.
async fn serve(
    shared: &Shared,
    inbox: &mut mpsc::Receiver<Question>,
    line: &mut HelperPipe,
    stop: &CancellationToken,
) -> String {
    let mut pending: HashMap<u64, Pending> = HashMap::new();
    // A wish that the helper before this one has fulfilled already.
    let _ = shared.again.notified().now_or_never();
    loop {
        let due = pending.values().map(|one| one.due).min();
        tokio::select! {
            () = stop.cancelled() => return String::new(),
            heard = line.hear() => match heard {
                Heard::HelperMessage(HelperMessage::Answer { id, answer }) => {
                    if let Some(one) = pending.remove(&id) {
                        // Whoever asked may be gone.
                        drop(one.back.send(answer));
                    } else {
                        tracing::debug!(id, "an answer that came late or twice");
                    }
                }
                Heard::HelperMessage(HelperMessage::Event { event }) => {
                    if event != "stream_down" {
                        shared.hint.notify_one();
                    }
                }
                Heard::Gone(why) => return why,
            },
            question = inbox.recv(), if pending.len() < PENDING_MAX => match question {
                Some(question) => {
                    let due = Instant::now() + question.limit;
                    match line.ask(&question.ask).await {
                        Ok(id) => drop(pending.insert(id, Pending { back: question.back, due })),
                        Err(why) => return why,
                    }
                }
                None => return String::new(),
            },
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                // A helper that hangs on one question answers none: all of them have waited in vain.
                for one in pending.into_values() {
                    // Whoever asked may be gone, by a clock of its own.
                    drop(one.back.send(Answer::Error(Fault::late())));
                }
                return HUNG.to_owned();
            }
            () = shared.again.notified() => {
                return "money that has come is not claimed; the Spark helper is started again".to_owned();
            }
        }
    }
}
