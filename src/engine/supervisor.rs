//! Takes commands one after the other and owns every part; so two presses can't start two listeners.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::context::{EngineContext, StartReport};
use super::in_force::InForce;
use super::on_demand_checks::OnDemandChecks;
use super::online_session::{Closing, Hurry, OnlineSession};
use super::preflight::{self, NotReady, Opened, Place};
use super::transition::ApplyError;
use super::{
    Order, buyers, clock, ends, holds, invoicer, ledger_care, load, lookup, machine, payments,
    recovery_desk, stats, status,
};
use crate::domain::command::{Command, Reply};
use crate::domain::event::Level;
use crate::domain::health::ShopState;
use crate::domain::job::Job;
use crate::domain::standing::Decision;
use crate::domain::transition::JobEvent;

/// Questions about jobs that are answered at once; one more is refused.
const LOOKUPS_MAX: usize = 32;

enum Phase {
    Offline,
    Starting(JoinHandle<Result<Opened, NotReady>>),
    Open(Box<OnlineSession>),
    Closing(JoinHandle<()>, Hurry),
}

struct Supervisor {
    shop: Arc<EngineContext>,
    place: Place,
    in_force: InForce,
    phase: Phase,
    /// Was it told to stop at once, for its next run to go on?
    left: bool,
    /// Stop is wanted; its answers are owed.
    stopping: Vec<oneshot::Sender<Reply>>,
    /// Rings when the phase's task ends.
    ended: Arc<Notify>,
    /// Tests that were asked for.
    on_demand_checks: OnDemandChecks,
    /// Questions about jobs that are being answered: a long look must not keep other commands waiting.
    lookups: JoinSet<()>,
}

/// Runs until a `stop` command is carried out, or nobody can give commands any more.
pub async fn run(shop: Arc<EngineContext>, place: Place, mut inbox: mpsc::Receiver<Order>) {
    let stop = CancellationToken::new();
    open_wallets(&shop, &place).await;
    let always = [
        tokio::spawn(payments::work(shop.clone(), stop.clone())),
        tokio::spawn(invoicer::work(shop.clone(), stop.clone())),
        tokio::spawn(holds::work(shop.clone(), stop.clone())),
        tokio::spawn(stats::work(shop.clone(), stop.clone())),
        tokio::spawn(load::work(shop.clone(), stop.clone())),
        tokio::spawn(clock::work(shop.clone(), stop.clone())),
        tokio::spawn(machine::energy::work(
            shop.clone(),
            machine::SystemMeter::default(),
            stop.clone(),
        )),
        tokio::spawn(machine::work(
            shop.clone(),
            machine::SystemMeter::default(),
            stop.clone(),
        )),
        tokio::spawn(ledger_care::work(
            shop.clone(),
            place.data.clone(),
            stop.clone(),
        )),
    ];
    let mut supervisor = Supervisor {
        in_force: InForce::begin(&place.config, (*shop.settings()).clone()),
        shop: shop.clone(),
        place,
        phase: Phase::Offline,
        left: false,
        stopping: Vec::new(),
        ended: Arc::new(Notify::new()),
        on_demand_checks: OnDemandChecks::default(),
        lookups: JoinSet::new(),
    };
    supervisor.serve(&mut inbox).await;
    supervisor.on_demand_checks.end().await;
    ends::before_exit(&shop, !supervisor.left).await;
    stop.cancel();
    supervisor.lookups.shutdown().await;
    for task in always {
        if task.await.is_err() {
            shop.notice(Level::Error, "shop", "a part of the shop died");
        }
    }
    shop.close_wallets().await;
    for answer in supervisor.stopping {
        // Whoever asked may be gone.
        let _ = answer.send(Reply::Done {
            detail: "stopped".to_owned(),
        });
    }
}

/// Offline too, open invoices are watched: that needs the wallets. One that can't be opened is told, not fatal.
async fn open_wallets(shop: &Arc<EngineContext>, place: &Place) {
    if let Err(error) = shop.open_wallet_handle(&shop.settings(), place) {
        shop.notice(Level::Warn, "wallet", &error.words);
    }
    if let Err(error) = shop.open_archived_wallets(place).await {
        shop.ledger_failed(&error);
    }
}

impl Supervisor {
    async fn serve(&mut self, inbox: &mut mpsc::Receiver<Order>) {
        let ended = self.ended.clone();
        let shop = self.shop.clone();
        loop {
            if matches!(self.phase, Phase::Offline) && !self.stopping.is_empty() {
                return;
            }
            tokio::select! {
                order = inbox.recv() => if let Some((command, back)) = order {
                    self.command(command, back).await;
                } else {
                    // Nobody can command any more: end as by `stop`.
                    let (answer, _) = oneshot::channel();
                    self.stop(true, answer);
                    self.end_phase().await;
                    return;
                },
                () = ended.notified() => self.end_phase().await,
                () = shop.twins.leave.notified() => if matches!(self.phase, Phase::Open(_)) {
                    self.go_offline(false);
                },
                () = self.in_force.changed() => {
                    let online = self.is_open();
                    self.in_force.follow(&self.shop, online);
                }
            }
        }
    }

    /// The phase's task has ended: on to the next.
    async fn end_phase(&mut self) {
        match std::mem::replace(&mut self.phase, Phase::Offline) {
            Phase::Starting(task) => match task.await {
                Ok(Ok(opened)) if self.stopping.is_empty() => {
                    self.phase = Phase::Open(Box::new(OnlineSession::open(&self.shop, opened)));
                }
                Ok(Ok(opened)) => {
                    opened.connections.relays.close().await;
                    self.shop.set_state(ShopState::Stopping, "");
                }
                Ok(Err(error)) => {
                    self.shop.notice(Level::Error, "shop", &error.0);
                    self.shop.set_state(ShopState::Offline, &error.0);
                    status::tell_seen(&self.shop);
                }
                // Sent offline meanwhile: as wanted, so there is no reason to give.
                Err(gone) if gone.is_cancelled() => {
                    self.shop.see(|seen| *seen = StartReport::default());
                    self.shop.set_state(ShopState::Offline, "");
                }
                Err(_) => self
                    .shop
                    .set_state(ShopState::Offline, "going online was broken off"),
            },
            Phase::Closing(task, _) => {
                if task.await.is_err() {
                    self.shop
                        .notice(Level::Error, "shop", "closing the shop failed");
                }
                let state = if self.stopping.is_empty() {
                    ShopState::Offline
                } else {
                    ShopState::Stopping
                };
                let why = self.shop.twins.gone().unwrap_or_default();
                self.shop.set_state(state, &why);
            }
            other => self.phase = other,
        }
        if !self.is_open() {
            self.in_force.settle(&self.shop);
        }
    }

    fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Offline)
    }

    async fn command(&mut self, command: Command, back: oneshot::Sender<Reply>) {
        let reply = match command {
            Command::GoOnline => self.go_online(),
            Command::GoOffline { now } => self.go_offline(now),
            Command::Stop { now } => return self.stop(now, back),
            Command::Test { what } => {
                return self
                    .on_demand_checks
                    .begin(&self.shop, &self.place, what, back);
            }
            Command::ApplySettings => self.apply_settings(),
            Command::Cancel { id } => stepped(self.shop.cancel(id, false).await),
            Command::Retry { id } => stepped(self.shop.apply(id, JobEvent::Retry).await),
            Command::Block { buyer } => {
                let decided = buyers::decide(self.shop.clone(), buyer, Decision::Block);
                return self.look_up(decided, back);
            }
            Command::Decide { buyer, decision } => {
                let decided = buyers::decide(self.shop.clone(), buyer, decision);
                return self.look_up(decided, back);
            }
            Command::Status => return self.look_up(status::answer(self.shop.clone()), back),
            Command::Snapshot => status::snapshot(&self.shop).await,
            Command::Jobs {
                query,
                offset,
                limit,
            } => {
                let answer = lookup::jobs(self.shop.clone(), query, offset, limit);
                return self.look_up(answer, back);
            }
            Command::Snooze { secs } => {
                return self.look_up(machine::snooze(self.shop.clone(), secs), back);
            }
            Command::Resume => return self.look_up(machine::resume(self.shop.clone()), back),
            Command::Backup { file } => {
                let copied = ledger_care::copy(self.shop.clone(), self.place.data.clone(), file);
                return self.look_up(copied, back);
            }
            Command::Queue => return self.look_up(lookup::queue(self.shop.clone()), back),
            Command::Move { id, up } => {
                return self.look_up(lookup::move_in_queue(self.shop.clone(), id, up), back);
            }
            Command::Desk => return self.look_up(recovery_desk::desk(self.shop.clone()), back),
            Command::Recover {
                id,
                case,
                action,
                note,
            } => {
                let order = recovery_desk::Order {
                    id,
                    case,
                    action,
                    note,
                };
                // Beside the other commands: the wallet may take its time.
                return self.look_up(recovery_desk::act(self.shop.clone(), order), back);
            }
            Command::Job { id } => {
                return self.look_up(lookup::job(self.shop.clone(), id), back);
            }
        };
        // Whoever asked may be gone.
        let _ = back.send(reply);
    }

    fn look_up(
        &mut self,
        answer: impl Future<Output = Reply> + Send + 'static,
        back: oneshot::Sender<Reply>,
    ) {
        while self.lookups.try_join_next().is_some() {}
        if self.lookups.len() >= LOOKUPS_MAX {
            // Whoever asked may be gone.
            let _ = back.send(refused("too many questions at once; try again"));
            return;
        }
        self.lookups.spawn(async move {
            // Whoever asked may be gone.
            let _ = back.send(answer.await);
        });
    }

    fn go_online(&mut self) -> Reply {
        match &self.phase {
            Phase::Offline => {}
            Phase::Starting(_) => return done("going online already"),
            Phase::Open(_) => return done("online already"),
            Phase::Closing(..) => {
                return refused("still finishing jobs; try again when it is offline");
            }
        }
        if let Err(words) = self.in_force.read(&self.shop) {
            self.shop.set_state(ShopState::Offline, &words);
            return refused(&words);
        }
        self.shop
            .set_state(ShopState::Starting, "reading the settings");
        let (shop, place) = (self.shop.clone(), self.place.clone());
        let ring = Ring(self.ended.clone());
        self.phase = Phase::Starting(tokio::spawn(async move {
            let _ring = ring;
            preflight::open(&shop, &place).await
        }));
        done("going online")
    }

    fn go_offline(&mut self, now: bool) -> Reply {
        match std::mem::replace(&mut self.phase, Phase::Offline) {
            Phase::Offline => {
                // Offline because it is wanted now, no longer because going online failed.
                self.shop.see(|seen| *seen = StartReport::default());
                self.shop.set_state(ShopState::Offline, "");
                done("offline already")
            }
            Phase::Starting(task) => {
                task.abort();
                // Awaited by the loop, so that nothing of it is left when the state says offline.
                self.phase = Phase::Starting(task);
                done("going offline")
            }
            Phase::Open(session) => {
                let closing = if now {
                    Closing::Cancel
                } else {
                    Closing::Finish
                };
                self.close(session, closing);
                done(if now {
                    "going offline; running jobs are cancelled"
                } else {
                    "going offline when the running jobs are done"
                })
            }
            Phase::Closing(task, hurry) => {
                if now {
                    hurry.cancel.cancel();
                }
                self.phase = Phase::Closing(task, hurry);
                done("going offline already")
            }
        }
    }

    fn close(&mut self, session: Box<OnlineSession>, closing: Closing) {
        self.shop
            .set_state(ShopState::Draining, "finishing the running jobs");
        let hurry = Hurry::default();
        let (shop, ring, hurried) = (self.shop.clone(), Ring(self.ended.clone()), hurry.clone());
        let task = tokio::spawn(async move {
            let _ring = ring;
            session.close(shop, closing, hurried).await;
        });
        self.phase = Phase::Closing(task, hurry);
    }

    fn stop(&mut self, now: bool, back: oneshot::Sender<Reply>) {
        self.stopping.push(back);
        self.left |= now;
        match std::mem::replace(&mut self.phase, Phase::Offline) {
            Phase::Offline => self.shop.set_state(ShopState::Stopping, ""),
            Phase::Starting(task) => {
                task.abort();
                self.phase = Phase::Starting(task);
            }
            Phase::Open(session) => {
                let closing = if now { Closing::Leave } else { Closing::Finish };
                self.close(session, closing);
            }
            Phase::Closing(task, hurry) => {
                if now {
                    hurry.leave.cancel();
                }
                self.phase = Phase::Closing(task, hurry);
            }
        }
    }

    fn apply_settings(&mut self) -> Reply {
        let online = self.is_open();
        self.in_force.apply(&self.shop, online)
    }
}

/// Rings when it is dropped: so a task wakes at its end, an aborted one too.
struct Ring(Arc<Notify>);

impl Drop for Ring {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

fn stepped(outcome: Result<Job, ApplyError>) -> Reply {
    match outcome {
        Ok(job) => done(&format!("the job is {}", job.state.status().as_str())),
        Err(ApplyError::No(no)) => refused(&no.to_string()),
        Err(error) => refused(&error.to_string()),
    }
}

fn done(detail: &str) -> Reply {
    Reply::Done {
        detail: detail.to_owned(),
    }
}

fn refused(detail: &str) -> Reply {
    Reply::Refused {
        detail: detail.to_owned(),
    }
}
