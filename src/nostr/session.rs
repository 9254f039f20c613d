//! One connection to one own relay: subscriptions, silence, gaps.

mod catch_up;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::FusedFuture;
use nostr::{ClientMessage, EventId, Filter, Kind, SubscriptionId};
use nostr_sdk::Relay;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::ask::{Ask, Tick};
use super::connection::{Auth, Control, RelayConnection, SharedContext, Sub};
use super::health::State;
use super::listener::{Noted, Notes, note, seconds};
use super::relay_information::{self, RelayInfo};
use catch_up::{FULL_PAGE, More};

use super::words::{Closed, UNNAMED, WORDS, closed};
use crate::domain::text::clean;

/// Of a relay that answers our subscription without an end.
const NO_EOSE: &str = "listening; it does not say where its stored events end (no EOSE), so it can't be told whether it hears us";

/// How long sending our goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// We were told to end.
    Cancelled,
    /// The socket is gone.
    Lost,
    /// It does not answer.
    Deaf,
}

/// One connection.
#[allow(clippy::struct_excessive_bools)] // Each is a fact of its own; no two of them exclude each other.
pub(super) struct Session<'a> {
    connection: &'a Arc<RelayConnection>,
    relay: Relay,
    notes: Notes,
    shared: &'a SharedContext,
    cancels: watch::Receiver<Vec<EventId>>,
    jobs: Ask,
    cancel: Ask,
    more: Option<More>,
    /// `since` of the last ask; none before the first.
    since: Option<u64>,
    /// So many events fill an answer.
    full_page: usize,
    live: bool,
    /// The relay has sent an `EOSE`, on this connection or before.
    eosed: bool,
    info_read: bool,
    /// When the changed cancel list is sent.
    settle: Option<Instant>,
    /// When the window is asked for again because something was dropped.
    refetch: Option<Instant>,
    /// Refetches in a row.
    refetches: u32,
    /// The next ask is for the whole window.
    whole: bool,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        connection: &'a Arc<RelayConnection>,
        relay: Relay,
        notes: Notes,
        shared: &'a SharedContext,
        (info_read, eosed): (bool, bool),
    ) -> Self {
        let mut cancels = shared.cancels.clone();
        let wanted = !cancels.borrow_and_update().is_empty();
        // Whatever was dropped before is in the window of the first ask, or older than we may ask for.
        let whole = connection.intake.take_gap();
        let mut jobs = Ask::new(true);
        jobs.be_patient(!eosed);
        Self {
            connection,
            relay,
            notes,
            shared,
            cancels,
            jobs,
            cancel: Ask::new(wanted),
            more: None,
            since: None,
            full_page: FULL_PAGE,
            live: false,
            eosed,
            info_read,
            settle: None,
            refetch: None,
            refetches: 0,
            whole,
        }
    }

    /// Did the relay ever answer our subscription?
    pub(super) const fn was_live(&self) -> bool {
        self.live
    }

    /// Has it ever said where its stored events end?
    pub(super) const fn has_eosed(&self) -> bool {
        self.eosed
    }

    /// Was its NIP-11 document read?
    pub(super) const fn has_read_info(&self) -> bool {
        self.info_read
    }

    /// Listens until the connection ends.
    pub(super) async fn run(
        &mut self,
        controls: &mut mpsc::Receiver<Control>,
        cancel: &CancellationToken,
    ) -> Ended {
        let connection = self.connection.clone();
        let mut info =
            std::pin::pin!(relay_information::read(&connection.url, &connection.clock).fuse());
        loop {
            if self.on_time(Instant::now()) == Tick::Deaf {
                return Ended::Deaf;
            }
            let next = tokio::time::Instant::from_std(self.next(Instant::now()));
            tokio::select! {
                biased;
                () = cancel.cancelled() => {
                    self.part().await;
                    return Ended::Cancelled;
                }
                noted = self.notes.recv() => match note(&connection, &self.relay, &noted) {
                    Noted::Lost => return Ended::Lost,
                    Noted::Authenticated => {
                        self.jobs.authenticated();
                        self.cancel.authenticated();
                    }
                    // One that lets us listen all the same is not in need of it.
                    Noted::AuthFailed if self.jobs.is_live() => {}
                    Noted::AuthFailed => connection.health.show(State::NeedsAuth, "it did not accept our AUTH (NIP-42)"),
                    Noted::Nothing => {}
                },
                control = controls.recv() => match control {
                    Some(Control::Eose(sub)) => self.eose(sub),
                    Some(Control::Closed(sub, words)) => self.closed(sub, &words),
                    None => return Ended::Lost,
                },
                changed = self.cancels.changed() => {
                    if changed.is_err() {
                        return Ended::Cancelled;
                    }
                    self.settle.get_or_insert(Instant::now() + self.shared.timing.cancel_settle);
                }
                () = connection.intake.gapped.notified() => self.plan_refetch(),
                found = &mut info, if !self.info_read && !info.is_terminated() => self.learn(found),
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// The next moment at which something is due.
    fn next(&self, now: Instant) -> Instant {
        let timing = &self.shared.timing;
        let heard = self.connection.intake.page().last;
        let silence = self.jobs.is_live().then(|| self.silence());
        let dues = [
            self.jobs.deadline(now, heard, timing),
            self.cancel.deadline(now, None, timing),
            self.settle,
            self.refetch,
            silence,
        ];
        // With none of them, a look now and then does no harm.
        dues.into_iter()
            .flatten()
            .min()
            .unwrap_or(now + timing.refresh_every)
    }

    /// When the relay has been silent for so long that it is asked again.
    fn silence(&self) -> Instant {
        let timing = &self.shared.timing;
        let quiet = self.connection.heard() + timing.quiet;
        self.jobs
            .live_since()
            .map_or(quiet, |since| quiet.min(since + timing.refresh_every))
    }

    /// Does what is due.
    fn on_time(&mut self, now: Instant) -> Tick {
        let timing = &self.shared.timing;
        if self.connection.missed.swap(false, Ordering::SeqCst) {
            // Which of its words were lost is unknown: ask for everything again, but not at a flood's pace.
            self.refetch.get_or_insert(now + timing.closed_first);
        }
        if self.jobs.is_live() && self.silence() <= now {
            self.jobs.want();
        }
        self.on_refetch(now);
        if self.settle.is_some_and(|at| at <= now) {
            self.settle = None;
            self.change_cancels();
        }
        let heard = self.connection.intake.page().last;
        match self.jobs.tick(now, heard, timing) {
            Tick::Ask => self.ask_jobs(now),
            Tick::Deaf => return Tick::Deaf,
            Tick::GoOn => {
                if self.connection.heard() + timing.quiet + timing.eose_wait <= now {
                    // Not a word of any sort, no pong either: nobody is there.
                    return Tick::Deaf;
                }
                self.go_on();
            }
            Tick::Nothing => {}
        }
        if self.cancel.tick(now, None, timing) == Tick::Ask {
            self.ask_cancels(now);
        }
        Tick::Nothing
    }

    fn change_cancels(&mut self) {
        if self.cancels.borrow().is_empty() {
            if self.cancel.is_open() {
                self.send(ClientMessage::close(SubscriptionId::new(Sub::Cancel.id())));
            }
            self.cancel.unwant();
        } else {
            self.cancel.want();
        }
    }

    fn ask_cancels(&mut self, now: Instant) {
        let jobs = self.cancels.borrow_and_update().clone();
        if jobs.is_empty() {
            self.cancel.unwant();
            return;
        }
        let filter = Filter::new().kind(Kind::EventDeletion).events(jobs);
        self.request(Sub::Cancel, vec![filter]);
        self.cancel.sent_unwatched(now);
    }

    /// The relay does not say where its stored events end: what it sends from now on is heard all the same.
    fn go_on(&mut self) {
        self.live = true;
        self.connection.health.show(State::Unsure, NO_EOSE);
        self.caught_up();
    }

    fn eose(&mut self, sub: Sub) {
        match sub {
            Sub::Cancel => {}
            Sub::Jobs => {
                let Some(took) = self.jobs.eose(Instant::now()) else {
                    return;
                };
                self.live = true;
                self.eosed = true;
                let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                self.connection
                    .health
                    .count(|health| health.latency_ms = Some(took));
                self.connection.health.show(State::Subscribed, "");
                self.turn_page(None);
            }
            Sub::More => {
                if let Some(more) = self.more.take() {
                    self.turn_page(Some(more));
                }
            }
        }
    }

    fn closed(&mut self, sub: Sub, words: &str) {
        let why = closed(words);
        let authed = *self.connection.auth.borrow() == Auth::Done;
        let now = Instant::now();
        let timing = &self.shared.timing;
        match sub {
            // Without the older part the gap stays, and the window is asked for again.
            Sub::More => {
                if self.more.take().is_some() {
                    self.plan_refetch();
                }
            }
            Sub::Cancel => {
                self.cancel.closed(why, authed, now, timing);
            }
            Sub::Jobs => {
                let wait = self.jobs.closed(why, authed, now, timing);
                self.show_closed(why, authed, words, wait);
            }
        }
    }

    fn show_closed(&self, why: Closed, authed: bool, words: &str, wait: Duration) {
        let words = clean(words, WORDS / 2);
        let words = if words.is_empty() { UNNAMED } else { &words };
        let again = seconds(wait);
        if why == Closed::Auth && !authed {
            let detail = format!("needs AUTH before it lets us listen: {words}");
            self.connection.health.show(State::NeedsAuth, &detail);
        } else {
            let detail = format!("ended our subscription: {words}; next try in {again} s");
            self.connection.health.show(State::Closed, &detail);
        }
    }

    fn learn(&mut self, found: Option<RelayInfo>) {
        let Some(found) = found else {
            return;
        };
        self.info_read = true;
        let limit = found
            .max_limit
            .and_then(|limit| usize::try_from(limit).ok());
        self.full_page = limit
            .filter(|limit| *limit > 0)
            .unwrap_or(FULL_PAGE)
            .min(FULL_PAGE);
        self.connection.asks(|asks| asks.described(&found));
        self.connection.judge_pow(self.shared.max_pow);
    }

    fn request(&self, sub: Sub, filters: Vec<Filter>) {
        self.send(ClientMessage::req(SubscriptionId::new(sub.id()), filters));
    }

    fn send(&self, message: ClientMessage<'_>) {
        // It fails where the queue is full or the connection is gone. Either way no EOSE comes, and that is noticed.
        if let Err(error) = self.relay.send_msg(message) {
            tracing::debug!(relay = %self.connection.url, %error, "not sent");
        }
    }

    /// Ends our subscriptions in good order.
    async fn part(&mut self) {
        // A goodbye of an earlier fetch is not the one that is waited for.
        let _ = self.connection.parted.notified().now_or_never();
        let open = [
            (Sub::Jobs, self.jobs.is_open()),
            (Sub::More, self.more.is_some()),
            (Sub::Cancel, self.cancel.is_open()),
        ];
        let messages: Vec<_> = open
            .into_iter()
            .filter(|(_, open)| *open)
            .map(|(sub, _)| ClientMessage::close(SubscriptionId::new(sub.id())))
            .collect();
        if messages.is_empty() || self.relay.batch_msg(messages).is_err() {
            return;
        }
        // Ending the connection ends the subscriptions too; a relay that does not take the goodbye loses nothing by it.
        let _ = tokio::time::timeout(GOODBYE, self.connection.parted.notified()).await;
    }
}
