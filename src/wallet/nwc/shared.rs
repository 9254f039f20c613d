//! What the link and its lines share: the questions that wait, how each relay is, and what the wallet told.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nostr::{Event, EventId, Kind};
use tokio::sync::{Notify, oneshot, watch};

use super::answers::{self, Card, Notice};
use super::cipher::{self, Scheme};
use super::connection::{Connection, host};
use super::heard::{self, Heard};
use crate::wallet::WalletError;
use crate::wallet::inbox::Inbox;

/// How a line is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Way {
    /// Is its relay listening for us?
    pub(super) up: bool,
    /// Has its relay told the wallet's card, or that it has none?
    pub(super) told_card: bool,
    /// Connections that were made so far.
    pub(super) made: u64,
    /// Dials that failed so far.
    pub(super) failed: u64,
    /// Why the last one did, in plain words.
    pub(super) why: String,
}

/// The relays that were given a question and have not refused it; counted before it leaves.
pub(super) type Sent = Arc<AtomicUsize>;

/// A question that waits.
pub(super) struct Question {
    /// The signed request; only these bytes are ever sent.
    pub(super) event: Event,
    /// A payment: it is sent once, over one relay. What became of it is asked, never tried again.
    pub(super) once: bool,
    /// Who has it.
    pub(super) sent: Sent,
    answer: Option<oneshot::Sender<Event>>,
    /// The relays that do not take it, with their words.
    refused: HashMap<usize, String>,
}

/// What the link and its lines share.
pub(super) struct Shared {
    pub(super) connection: Connection,
    pub(super) inbox: Inbox,
    pending: Mutex<HashMap<EventId, Question>>,
    /// Told whenever a question comes or goes, or a line changes.
    pub(super) changed: watch::Sender<u64>,
    ways: Mutex<Vec<Way>>,
    /// Wakes a line that rests.
    pub(super) kicks: Vec<Notify>,
    pub(super) card: Mutex<Option<Card>>,
    /// What the wallet's own answers taught, where they differ from its card.
    pub(super) learned: Mutex<Option<Scheme>>,
    heard: Mutex<Heard>,
}

/// Locks, also where another holder panicked: nothing here is left half changed under a lock.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A question that is asked for as long as this lives.
pub(super) struct Asked<'a> {
    pub(super) id: EventId,
    shared: &'a Shared,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        lock(&self.shared.pending).remove(&self.id);
        self.shared.bump();
    }
}

impl Shared {
    pub(super) fn new(connection: Connection) -> Self {
        let count = connection.relays.len();
        Self {
            connection,
            inbox: Inbox::default(),
            pending: Mutex::default(),
            changed: watch::Sender::new(0),
            ways: Mutex::new(vec![Way::default(); count]),
            kicks: (0..count).map(|_| Notify::new()).collect(),
            card: Mutex::default(),
            learned: Mutex::default(),
            heard: Mutex::default(),
        }
    }

    pub(super) fn bump(&self) {
        self.changed
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(super) fn put(
        &self,
        event: Event,
        once: bool,
        sent: Sent,
        answer: oneshot::Sender<Event>,
    ) -> Asked<'_> {
        let id = event.id;
        let question = Question {
            event,
            once,
            sent,
            answer: Some(answer),
            refused: HashMap::new(),
        };
        lock(&self.pending).insert(id, question);
        self.bump();
        Asked { id, shared: self }
    }

    /// Works on the questions that wait.
    pub(super) fn questions<T>(
        &self,
        work: impl FnOnce(&mut HashMap<EventId, Question>) -> T,
    ) -> T {
        work(&mut lock(&self.pending))
    }

    /// Changes a line's state.
    pub(super) fn way(&self, index: usize, change: impl FnOnce(&mut Way)) {
        if let Some(way) = lock(&self.ways).get_mut(index) {
            change(way);
        }
        self.bump();
    }

    pub(super) fn is_up(&self) -> bool {
        lock(&self.ways).iter().any(|way| way.up)
    }

    pub(super) fn failures(&self) -> Vec<u64> {
        lock(&self.ways).iter().map(|way| way.failed).collect()
    }

    pub(super) fn give_up_card(&self) {
        for way in lock(&self.ways).iter_mut() {
            way.told_card = true;
        }
    }

    pub(super) fn all_told(&self) -> bool {
        let ways = lock(&self.ways);
        ways.iter().filter(|way| way.up).all(|way| way.told_card)
    }

    /// Why no relay can be reached, where each of them failed since.
    pub(super) fn all_down(&self, before: &[u64]) -> Option<WalletError> {
        let ways = lock(&self.ways);
        let down = |(way, before): (&Way, &u64)| !way.up && way.failed > *before;
        ways.iter().zip(before).all(down).then(|| self.told(&ways))
    }

    fn told(&self, ways: &[Way]) -> WalletError {
        let relays = self.connection.relays.iter().zip(ways);
        let words: Vec<String> = relays
            .map(|(relay, way)| format!("its relay {}: {}", host(relay), way.why))
            .collect();
        WalletError::Unreachable(words.join("; "))
    }

    /// Resolves when no relay is left that could bring an answer.
    pub(super) async fn given_up(&self, id: EventId, before: &[u64]) -> WalletError {
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(error) = self.hopeless(id, before) {
                return error;
            }
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The connections that are there, each with its number.
    pub(super) fn connections(&self) -> Vec<Option<u64>> {
        let ways = lock(&self.ways);
        ways.iter().map(|way| way.up.then_some(way.made)).collect()
    }

    /// Resolves when every connection that was there is gone and another one is: an answer that came in between is lost,
    /// as relays keep none.
    pub(super) async fn made_anew(&self, before: &[Option<u64>]) {
        let mut changed = self.changed.subscribe();
        loop {
            let now = self.connections();
            let kept = now
                .iter()
                .zip(before)
                .any(|(now, then)| now.is_some() && now == then);
            if !kept && now.iter().any(Option::is_some) {
                return;
            }
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn hopeless(&self, id: EventId, before: &[u64]) -> Option<WalletError> {
        if let Some(error) = self.all_down(before) {
            return Some(error);
        }
        let questions = lock(&self.pending);
        let refused = &questions.get(&id)?.refused;
        let ways = lock(&self.ways);
        let no_hope = |(index, (way, before)): (usize, (&Way, &u64))| {
            refused.contains_key(&index) || (!way.up && way.failed > *before)
        };
        if !ways.iter().zip(before).enumerate().all(no_hope) {
            return None;
        }
        let (index, words) = refused.iter().next()?;
        let relay = host(self.connection.relays.get(*index)?);
        let text = format!("its relay {relay} does not take the question: {words}");
        Some(WalletError::Unreachable(text))
    }

    pub(super) fn silence(&self, wait: Duration) -> WalletError {
        let ways = lock(&self.ways);
        if ways.iter().any(|way| way.up) || ways.iter().all(|way| way.why.is_empty()) {
            return WalletError::TimedOut(wait);
        }
        self.told(&ways)
    }

    /// A relay does not take this question.
    pub(super) fn refuse(&self, id: EventId, index: usize, words: &str) {
        let words = self.connection.plain(words);
        if let Some(question) = lock(&self.pending).get_mut(&id) {
            question.refused.insert(index, words);
        }
        self.bump();
    }

    /// An event from a relay. Only what the wallet signed counts; everything else is as if it had not come.
    pub(super) fn hear(&self, event: Event) {
        if event.pubkey != self.connection.wallet {
            return;
        }
        match event.kind {
            Kind::WalletConnectInfo => self.learn(&event),
            Kind::WalletConnectResponse => self.answer(event),
            kind if heard::is_notification(kind) => self.hint(&event),
            _ => {}
        }
    }

    fn learn(&self, event: &Event) {
        let newer = |known: &Card| known.at < event.created_at.as_secs();
        let wanted = lock(&self.card).as_ref().is_none_or(newer);
        if !wanted || event.verify().is_err() {
            return;
        }
        *lock(&self.card) = Some(Card::read(event));
        *lock(&self.learned) = None;
        self.bump();
    }

    fn answer(&self, event: Event) {
        let is_asked = |id: &&EventId| lock(&self.pending).contains_key(*id);
        let Some(id) = event.tags.event_ids().find(is_asked).copied() else {
            return;
        };
        if event.verify().is_err() {
            return;
        }
        if let Some(question) = lock(&self.pending).get_mut(&id)
            && let Some(answer) = question.answer.take()
        {
            // Whoever asked may have given up in this very moment.
            let _ = answer.send(event);
        }
    }

    /// A push: a hint to look, never a proof.
    fn hint(&self, event: &Event) {
        if lock(&self.heard).knows(event.id) || event.verify().is_err() {
            return;
        }
        if !lock(&self.heard).enter(event.id) {
            return;
        }
        let Ok(text) = cipher::open(&self.connection, &event.content) else {
            return;
        };
        if let Notice::Received(hash) = answers::notice(&text) {
            self.inbox.put(hash);
        }
    }
}
