//! `vend run`: the shop with no screen.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::Global;
use super::exit::{Exit, Outcome, runtime, say};
use super::host::Host;
use crate::domain::command::{Command, Reply};
use crate::domain::event::{Event, News};

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
        serve(host).await?;
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
