//! The shop while it is open: intake, workers and outbox, with one way in and one way out.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::admission::Admission;
use super::context::{Connections, EngineContext};
use super::preflight::Opened;
use super::transition::ApplyError;
use super::{announce, ends, health, outbox, radar, worker};
use crate::domain::event::Level;
use crate::domain::health::ShopState;
use crate::domain::job::{InvoiceState, Job, State};
use crate::domain::time::Time;

/// How long signed events may take to get out when the shop closes.
const FLUSH: Duration = Duration::from_secs(30);

/// The running parts.
pub struct OnlineSession {
    connections: Connections,
    intake: (CancellationToken, JoinHandle<()>),
    work: (CancellationToken, JoinHandle<()>),
    cut: CancellationToken,
    outbox: (CancellationToken, JoinHandle<()>),
    beside: (CancellationToken, Vec<JoinHandle<()>>),
}

/// How running jobs end when the shop closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// They finish.
    Finish,
    /// They are cancelled, and their buyers told.
    Cancel,
    /// The process ends: they are left for its next run.
    Leave,
}

/// How a shop that is closing may be hurried.
#[derive(Clone, Debug, Default)]
pub struct Hurry {
    /// Running jobs are cancelled, and their buyers told.
    pub cancel: CancellationToken,
    /// The process ends: running jobs are left for its next run.
    pub leave: CancellationToken,
}

impl OnlineSession {
    /// Starts every part.
    #[must_use]
    pub fn open(shop: &Arc<EngineContext>, opened: Opened) -> Self {
        let Opened {
            connections,
            early,
            news,
        } = opened;
        shop.set_connections(Some(connections.clone()));
        let boot = shop.boot.0.to_string();
        shop.twins.begin(shop.signed_at(None), boot);
        match shop.pause() {
            Some(pause) => shop.set_state(ShopState::Paused, &pause.words),
            None => shop.set_state(ShopState::Online, ""),
        }
        let cut = CancellationToken::new();
        let work = {
            let stop = CancellationToken::new();
            let task = worker::work(shop.clone(), connections.clone(), stop.clone(), cut.clone());
            (stop, tokio::spawn(task))
        };
        let outbox = {
            let stop = CancellationToken::new();
            let task = outbox::work(shop.clone(), connections.relays.clone(), stop.clone());
            (stop, tokio::spawn(task))
        };
        let intake = {
            let stop = CancellationToken::new();
            let task =
                Admission::work(shop.clone(), connections.clone(), early, news, stop.clone());
            (stop, tokio::spawn(task))
        };
        let stop = CancellationToken::new();
        let beside = vec![
            tokio::spawn(health::watch(
                shop.clone(),
                connections.clone(),
                stop.clone(),
            )),
            tokio::spawn(announce::work(
                shop.clone(),
                connections.clone(),
                stop.clone(),
            )),
            tokio::spawn(radar::look_around(
                shop.clone(),
                connections.clone(),
                stop.clone(),
            )),
        ];
        Self {
            connections,
            intake,
            work,
            cut,
            outbox,
            beside: (stop, beside),
        }
    }

    /// Stops every part in order: no new jobs, running ones end, what is signed goes out, relays close.
    pub async fn close(self, shop: Arc<EngineContext>, closing: Closing, hurry: Hurry) {
        let Self {
            connections,
            intake,
            work,
            cut,
            outbox,
            beside,
        } = self;
        beside.0.cancel();
        for task in beside.1 {
            joined(&shop, task).await;
        }
        intake.0.cancel();
        joined(&shop, intake.1).await;
        work.0.cancel();
        let given_back = ends::give_back_waiting(&shop, false).await;
        match closing {
            Closing::Finish => {}
            Closing::Cancel => cancel_running(&shop).await,
            Closing::Leave => cut.cancel(),
        }
        let mut working = work.1;
        tokio::select! {
            done = &mut working => if done.is_err() { died(&shop) },
            () = hurry.cancel.cancelled() => {
                cancel_running(&shop).await;
                joined(&shop, working).await;
            }
            () = hurry.leave.cancelled() => {
                cut.cancel();
                joined(&shop, working).await;
            }
        }
        if closing != Closing::Leave {
            tokio::select! {
                () = flushed(&shop) => {}
                () = hurry.cancel.cancelled() => {}
                () = hurry.leave.cancelled() => {}
                () = tokio::time::sleep(FLUSH) => {}
            }
        } else if given_back {
            ends::carried_out(&shop).await;
        }
        outbox.0.cancel();
        joined(&shop, outbox.1).await;
        shop.set_connections(None);
        connections.relays.close().await;
    }
}

async fn joined(shop: &EngineContext, task: JoinHandle<()>) {
    if task.await.is_err() {
        died(shop);
    }
}

fn died(shop: &EngineContext) {
    shop.notice(
        Level::Error,
        "shop",
        "a part of the shop died; please report what the log says",
    );
}

async fn cancel_running(shop: &Arc<EngineContext>) {
    let ids: Vec<_> = shop.running(|runs| runs.keys().copied().collect());
    for id in ids {
        match shop.cancel(id, false).await {
            Ok(_) | Err(ApplyError::No(_)) => {}
            Err(error) => {
                shop.ledger_failed(&error);
                // It ends all the same, and is taken up again by the next worker.
                shop.running(|runs| runs.get(&id).map(|run| run.stop.cancel()));
            }
        }
    }
}

/// Waits until every answer has its invoice, every signed event is out, and what was decided about held payments is done.
async fn flushed(shop: &EngineContext) {
    let mut events = shop.listen();
    loop {
        let on_the_way = |job: &Job| {
            let invoice = job.invoice.as_ref().map(|invoice| invoice.state);
            let waits = matches!(job.state, State::Inferred | State::Publishing);
            let decided = [InvoiceState::Taking, InvoiceState::GivingBack];
            (waits && job.wallet_tries == 0) || invoice.is_some_and(|one| decided.contains(&one))
        };
        let on_the_way = shop.ledger.at_work().iter().any(on_the_way);
        let empty = shop.ledger.outbox_empty(Time::now()).await.unwrap_or(true);
        if empty && !on_the_way {
            return;
        }
        // Any event may be the one that ends the wait; a missed one is caught a second later.
        let _ = tokio::time::timeout(Duration::from_secs(1), events.recv()).await;
    }
}
