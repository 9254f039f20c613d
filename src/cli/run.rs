//! `vend run`: the shop with no screen.

use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

use super::Global;
use super::exit::{self, Exit, Outcome, block_on};
use super::host::{self, Host};
use crate::domain::command::{Command, Reply};
use crate::domain::event::{Event, EventKind};
use crate::domain::health::ShopState;
use crate::domain::text;
use crate::domain::twin::AWAY;
use crate::engine::Order;

/// Before the second try to open the shop.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Between later tries, at most.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Lines that may wait for a reader.
const LINES: usize = 1_024;
/// How long the last lines may take at the end.
const LAST_LINES: Duration = Duration::from_secs(3);
/// The longest that the end may take once it was asked for twice. What is cut off is taken up by the next start.
const AT_ONCE: Duration = Duration::from_secs(5);

/// `vend run`
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// Print every engine event as one JSON line on stdout
    #[arg(long)]
    events: bool,
}

/// Runs until SIGTERM, SIGINT, SIGQUIT or `vend stop`. The first signal lets running jobs finish, a second one does not wait.
pub fn main(global: &Global, args: Args) -> Outcome {
    let places = global.prepared()?;
    block_on(async {
        host::expect_ledger(&places, global.new_ledger)?;
        let host = Host::start(&places, &global.log, None).await?;
        let printer = args
            .events
            .then(|| tokio::spawn(print(host.engine.listen())));
        if let Reply::Refused { detail } = host.engine.ask(Command::GoOnline).await {
            host.stop(true).await;
            return Err(Exit::failed(&detail));
        }
        let keeper = tokio::spawn(keep_trying(host.engine.listen(), host.engine.orders()));
        let served = serve(host, None).await;
        keeper.abort();
        // Aborted: nothing to learn from it.
        let _ = keeper.await;
        served?;
        if let Some(printer) = printer {
            // It ends with the events, unless a part of the shop was cut off; one that died has printed what it could.
            let _ = tokio::time::timeout(AT_ONCE, printer).await;
        }
        Ok(())
    })
}

/// Keeps the shop until it is told to end; `told` where it was already, and whether it was not to wait for running jobs.
pub async fn serve(host: Host, told: Option<bool>) -> Outcome {
    let orders = host.engine.orders();
    let (ended, mut signals) = host.ending();
    tokio::pin!(ended);
    let mut stops = tokio::task::JoinSet::new();
    let mut stop = |now| {
        let orders = orders.clone();
        stops.spawn(async move {
            crate::engine::ask(&orders, Command::Stop { now }).await;
        });
    };
    if let Some(now) = told {
        stop(now);
    }
    loop {
        let times = tokio::select! {
            () = &mut ended => return Ok(()),
            times = signals.next() => times.saturating_add(u32::from(told.is_some())),
        };
        stop(times > 1);
        if times > 1 {
            break;
        }
    }
    if tokio::time::timeout(AT_ONCE, ended).await.is_err() {
        tracing::warn!("not everything had ended when the process was told twice to end");
    }
    Ok(())
}

/// Goes online again where that failed: nobody watches, and after a reboot the model server, the wallet or the network may
/// come up later than vend. A shop that was sent offline stays so: that state has no reason beside it.
async fn keep_trying(mut events: broadcast::Receiver<Event>, orders: mpsc::Sender<Order>) {
    let mut pause = FIRST_PAUSE;
    let mut due: Option<Instant> = None;
    loop {
        let again = async {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = events.recv() => match event {
                Ok(Event { kind: EventKind::State { state, detail, .. }, .. }) => {
                    if state != ShopState::Offline || detail.is_empty() || detail.contains(AWAY) {
                        due = None;
                    } else if due.is_none() {
                        due = Some(Instant::now() + pause);
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                    if state.sells() {
                        pause = FIRST_PAUSE;
                    }
                }
                // Of what was missed, the state is told again at its next change.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            () = again => {
                // A refusal (settings that are wrong by now) may change no state, so it is heard here.
                let reply = crate::engine::ask(&orders, Command::GoOnline).await;
                due = matches!(reply, Reply::Refused { .. }).then(|| Instant::now() + LONGEST_PAUSE);
            }
        }
    }
}

/// Prints every event, on a thread of its own: a reader that has left does not end the shop, and one that does not read holds
/// nobody up. It loses events, and is told how many.
async fn print(mut events: broadcast::Receiver<Event>) {
    let (lines, to_print) = std::sync::mpsc::sync_channel::<String>(LINES);
    let (ended, printed) = tokio::sync::oneshot::channel();
    let printer = std::thread::Builder::new().name("events".to_owned());
    let printer = printer.spawn(move || {
        for line in to_print {
            if exit::print(line.as_bytes()).is_err() {
                break;
            }
        }
        // Whoever waits may have given up.
        let _ = ended.send(());
    });
    if let Err(error) = printer {
        tracing::error!(%error, "no thread for --events");
        return;
    }
    let mut missed = 0;
    loop {
        let event = match events.recv().await {
            Ok(event) => event,
            Err(RecvError::Lagged(count)) => {
                missed += count;
                continue;
            }
            Err(RecvError::Closed) => break,
        };
        if missed > 0 && put(&lines, &Event::now(EventKind::Resync { missed })) == Some(true) {
            missed = 0;
        }
        match put(&lines, &event) {
            Some(true) => {}
            Some(false) => missed += 1,
            None => return,
        }
    }
    drop(lines);
    // A printer that is stuck ends with the process.
    let _ = tokio::time::timeout(LAST_LINES, printed).await;
}

/// Puts an event before the printer; false where there is no room, none where it has ended.
fn put(lines: &std::sync::mpsc::SyncSender<String>, event: &Event) -> Option<bool> {
    let Ok(line) = serde_json::to_string(event) else {
        return Some(true);
    };
    match lines.try_send(format!("{}\n", text::json(&line))) {
        Ok(()) => Some(true),
        Err(std::sync::mpsc::TrySendError::Full(_)) => Some(false),
        Err(std::sync::mpsc::TrySendError::Disconnected(_)) => None,
    }
}
