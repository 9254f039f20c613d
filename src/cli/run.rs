//! `vend run`: the shop with no screen.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

use super::Global;
use super::exit::{Exit, Outcome, runtime, say};
use super::host::Host;
use crate::domain::command::{Command, Reply};
use crate::domain::event::{Event, News};
use crate::domain::health::ShopState;
use crate::engine::Order;

/// Before the second try to open the shop.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Between later tries, at most.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// `vend run`
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// Print every engine event as one JSON line on stdout
    #[arg(long)]
    events: bool,
}

/// Runs until SIGTERM, SIGINT or `vend stop`. The first signal lets running jobs finish, a second one does not wait.
pub fn main(global: &Global, args: Args) -> Outcome {
    let places = global.prepared()?;
    runtime()?.block_on(async {
        let host = Host::start(&places, &global.log, None).await?;
        let printer = args
            .events
            .then(|| tokio::spawn(print(host.engine.listen())));
        if let Reply::Refused { detail } = host.engine.ask(Command::GoOnline).await {
            host.stop(true).await;
            return Err(Exit::failed(&detail));
        }
        let keeper = tokio::spawn(keep_trying(host.engine.listen(), host.engine.orders()));
        let served = serve(host).await;
        keeper.abort();
        // Aborted: nothing to learn from it.
        let _ = keeper.await;
        served?;
        if let Some(printer) = printer {
            // It ends with the events; one that died has printed what it could.
            let _ = printer.await;
        }
        Ok(())
    })
}

/// Keeps the shop until it is told to end.
pub async fn serve(host: Host) -> Outcome {
    let failed = |error: std::io::Error| Exit::failed(&error);
    let mut term = signal(SignalKind::terminate()).map_err(failed)?;
    let mut int = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut hup = signal(SignalKind::hangup()).map_err(failed)?;
    let orders = host.engine.orders();
    let ended = host.ended();
    tokio::pin!(ended);
    let mut asked = 0_u32;
    let mut stops = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            () = &mut ended => return Ok(()),
            _ = term.recv() => asked += 1,
            _ = int.recv() => asked += 1,
            // A terminal that goes away does not end the shop.
            _ = hup.recv() => continue,
        }
        let (orders, now) = (orders.clone(), asked > 1);
        stops.spawn(async move {
            crate::engine::ask(&orders, Command::Stop { now }).await;
        });
    }
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
                Ok(Event { news: News::State { state, detail, .. }, .. }) => {
                    if state != ShopState::Offline || detail.is_empty() {
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

async fn print(mut events: broadcast::Receiver<Event>) {
    loop {
        let event = match events.recv().await {
            Ok(event) => event,
            Err(RecvError::Lagged(missed)) => Event::now(News::Resync { missed }),
            Err(RecvError::Closed) => return,
        };
        let Ok(line) = serde_json::to_string(&event) else {
            continue;
        };
        // A reader that has left does not end the shop.
        if say(&line).is_err() {
            return;
        }
    }
}
