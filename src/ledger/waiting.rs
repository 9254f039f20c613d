//! What is due at the relays, in memory, so that no send asks SQLite what there is to do; and what relays said that is not
//! written yet. A relay's word on an event decides nothing but whether it is sent there again, and a relay takes the same event
//! twice, so most words may wait for the next commit of something else.
//!
//! Bounded: of each relay the first that are due are here, and the others are read from the ledger as these go.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use nostr::EventId;
use rusqlite::{Connection, params};

use super::LedgerError;
use super::shift::LONGEST_WAIT_MS;
use crate::domain::id::RequestId;
use crate::domain::reply::Role;
use crate::domain::time::Time;

/// A signed event, ready for the outbox.
#[derive(Clone, Debug)]
pub struct SignedDraft {
    /// What it is for its job.
    pub role: Role,
    /// Its id.
    pub event_id: EventId,
    /// Its bytes.
    pub json: String,
    /// Of no use after this.
    pub not_after: Time,
    /// Where it goes.
    pub relays: Vec<String>,
}

/// One event due at one relay.
#[derive(Clone, Debug)]
pub struct Due {
    /// The outbox entry.
    pub out_id: i64,
    /// Its job; none for a refusal.
    pub job: Option<RequestId>,
    /// What it is for its job.
    pub role: Role,
    /// Its bytes.
    pub json: String,
    /// The relay.
    pub relay: String,
    /// Tries so far.
    pub attempts: u32,
    /// Connections that ended while it waited for its `OK`.
    pub ends: u32,
}

/// A relay's word, as the ledger keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Accepted.
    Ok,
    /// Refused for good.
    Refused,
    /// To be tried again at this moment.
    Again(Time),
    /// There was no connection: tried again at this moment, or when there is one.
    Offline(Time),
    /// The connection ended while it waited: tried again at this moment, which a new connection does not bring nearer.
    Ended(Time),
    /// Not sent to this relay any more.
    GaveUp,
}

/// An event that was put in, and its number.
#[derive(Debug)]
pub(super) struct Put {
    pub out_id: i64,
    pub job: Option<RequestId>,
    pub draft: SignedDraft,
}

/// Events of one relay that are here.
const OF_A_RELAY: u32 = 256;
/// Relays that are here.
const RELAYS: usize = 1_000;
/// Bytes of events that are here; the others are read when they are sent.
const BYTES: usize = 8 * 1024 * 1024;
/// Words that may wait.
const WORDS: usize = 1_024;
/// Between two readings of what found no room here.
const READ_EVERY: Duration = Duration::from_secs(1);

/// From relay to relay: a grouping would read everything that is due.
pub(super) const DUE_RELAYS: &str = "WITH RECURSIVE at(relay) AS (
    SELECT min(relay) FROM delivery WHERE state = 'due'
    UNION ALL SELECT (SELECT min(relay) FROM delivery WHERE state = 'due' AND relay > at.relay) FROM at
      WHERE at.relay IS NOT NULL)
  SELECT relay, (SELECT min(next_at) FROM delivery WHERE state = 'due' AND relay = at.relay) FROM at
  WHERE relay IS NOT NULL";
pub(super) const FIRST: &str =
    "SELECT d.out_id, o.job_id, o.role, o.not_after, d.attempts, d.next_at, d.ends
  FROM delivery d JOIN outbox o ON o.out_id = d.out_id
  WHERE d.state = 'due' AND d.relay = ?1 ORDER BY d.next_at LIMIT ?2";

/// A relay's word on an event.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub out_id: i64,
    pub relay: String,
    pub settled: Settled,
    pub words: String,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    events: HashMap<i64, Sent>,
    relays: HashMap<String, AtRelay>,
    /// Not written yet, in their order.
    words: VecDeque<Outcome>,
    /// The events by their last moment.
    ends: BTreeSet<(Time, i64)>,
    /// How many words were written of all that came.
    written: u64,
    bytes: usize,
    /// Is this what the ledger holds? Else it is read first.
    read: bool,
    /// There was no room for the events of some relays.
    others: bool,
    read_at: Time,
}

#[derive(Debug)]
struct Sent {
    job: Option<RequestId>,
    role: Role,
    not_after: Time,
    json: Option<Arc<str>>,
    /// At how many relays it is due.
    relays: usize,
}

#[derive(Debug, Default)]
struct AtRelay {
    order: BTreeSet<(Time, i64)>,
    tries: HashMap<i64, Tries>,
    /// The ledger holds more than these.
    more: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tries {
    next_at: Time,
    attempts: u32,
    ends: u32,
}

impl AtRelay {
    fn put(&mut self, out_id: i64, tries: Tries) {
        self.remove(out_id);
        self.order.insert((tries.next_at, out_id));
        self.tries.insert(out_id, tries);
    }

    fn remove(&mut self, out_id: i64) -> Option<Tries> {
        let tries = self.tries.remove(&out_id)?;
        self.order.remove(&(tries.next_at, out_id));
        Some(tries)
    }
}

/// What the ledger says is due.
#[derive(Debug, Default)]
pub(super) struct Read {
    relays: Vec<(String, Vec<Row>)>,
    others: bool,
}

type Row = (i64, Option<RequestId>, Role, Time, Tries);

/// The first that are due at each relay.
pub(super) fn read(connection: &Connection) -> Result<Read, LedgerError> {
    let mut relays: Vec<(String, Time)> = connection
        .prepare_cached(DUE_RELAYS)?
        .query_map([], |row| Ok((row.get(0)?, Time(row.get(1)?))))?
        .collect::<Result<_, _>>()?;
    relays.sort_by_key(|(_, at)| *at);
    let mut read = Read {
        others: relays.len() > RELAYS,
        ..Read::default()
    };
    relays.truncate(RELAYS);
    let mut statement = connection.prepare_cached(FIRST)?;
    for (relay, _) in relays {
        let mut rows = statement.query(params![relay, OF_A_RELAY + 1])?;
        let mut due = Vec::new();
        while let Some(row) = rows.next()? {
            let job = row.get::<_, Option<Vec<u8>>>(1)?;
            let role = Role::parse(&row.get::<_, String>(2)?);
            let tries = Tries {
                attempts: row.get(4)?,
                next_at: Time(row.get(5)?),
                ends: row.get(6)?,
            };
            due.push((
                row.get(0)?,
                job.and_then(|id| EventId::from_slice(&id).ok())
                    .map(RequestId),
                role.ok_or(LedgerError::Unreadable("an outbox role"))?,
                Time(row.get(3)?),
                tries,
            ));
        }
        read.relays.push((relay, due));
    }
    Ok(read)
}

impl Waiting {
    /// Is this what the ledger holds? Where it had no room for all, it is read again now and then.
    pub fn is_read(&self, now: Time) -> bool {
        let spare = |at: &AtRelay| at.more && at.order.first().is_none_or(|(at, _)| *at > now);
        let wants = self.others || self.relays.values().any(spare);
        self.read && !(wants && now.since(self.read_at) >= READ_EVERY)
    }

    /// Something changed that only the ledger knows.
    pub fn forget(&mut self) {
        self.read = false;
    }

    /// What the ledger says, with the words on top of it that it does not have yet.
    pub fn fill(&mut self, read: &Read, now: Time) {
        let texts: HashMap<i64, Arc<str>> = self
            .events
            .drain()
            .filter_map(|(out_id, sent)| Some((out_id, sent.json?)))
            .collect();
        self.relays.clear();
        self.ends.clear();
        self.bytes = 0;
        (self.read, self.others, self.read_at) = (true, read.others, now);
        for (relay, rows) in &read.relays {
            let at = self.relays.entry(relay.clone()).or_default();
            at.more = rows.len() > OF_A_RELAY as usize;
            for (out_id, job, role, not_after, tries) in rows.iter().take(OF_A_RELAY as usize) {
                at.put(*out_id, *tries);
                self.ends.insert((*not_after, *out_id));
                let bytes = &mut self.bytes;
                let sent = self.events.entry(*out_id).or_insert_with(|| {
                    let json = texts.get(out_id).cloned();
                    *bytes += json.as_ref().map_or(0, |json| json.len());
                    Sent {
                        job: *job,
                        role: *role,
                        not_after: *not_after,
                        json,
                        relays: 0,
                    }
                });
                sent.relays += 1;
            }
        }
        for word in std::mem::take(&mut self.words) {
            self.settle(word.out_id, &word.relay, word.settled);
            self.words.push_back(word);
        }
    }

    /// Events that were just written into the outbox.
    pub fn put_all<'a>(&mut self, all: impl IntoIterator<Item = &'a Put>) {
        for put in all {
            self.put(put);
        }
    }

    fn put(&mut self, put: &Put) {
        let draft = &put.draft;
        let mut relays = 0;
        for relay in &draft.relays {
            if !self.relays.contains_key(relay) && self.relays.len() >= RELAYS {
                self.others = true;
                continue;
            }
            let at = self.relays.entry(relay.clone()).or_default();
            if at.tries.len() >= OF_A_RELAY as usize {
                at.more = true;
                continue;
            }
            at.put(put.out_id, Tries::default());
            relays += 1;
        }
        if relays == 0 {
            return;
        }
        let json = (self.bytes + draft.json.len() <= BYTES).then(|| Arc::from(&*draft.json));
        self.bytes += json.as_ref().map_or(0, |json: &Arc<str>| json.len());
        let sent = Sent {
            job: put.job,
            role: draft.role,
            not_after: draft.not_after,
            json,
            relays,
        };
        self.events.insert(put.out_id, sent);
        self.ends.insert((draft.not_after, put.out_id));
    }

    /// These are sent no more.
    pub fn withdraw(&mut self, out_ids: &[i64]) {
        for out_id in out_ids {
            self.forget_event(*out_id);
            for at in self.relays.values_mut() {
                at.remove(*out_id);
            }
        }
        self.relays.retain(|_, at| !at.order.is_empty() || at.more);
    }

    fn forget_event(&mut self, out_id: i64) {
        if let Some(sent) = self.events.remove(&out_id) {
            self.bytes -= sent.json.map_or(0, |json| json.len());
            self.ends.remove(&(sent.not_after, out_id));
        }
    }

    /// A relay's word is known.
    pub fn settle(&mut self, out_id: i64, relay: &str, settled: Settled) {
        let Some(at) = self.relays.get_mut(relay) else {
            return;
        };
        let Some(tries) = at.remove(out_id) else {
            return;
        };
        if let Settled::Again(next_at) | Settled::Offline(next_at) | Settled::Ended(next_at) =
            settled
        {
            let ended = u32::from(matches!(settled, Settled::Ended(_)));
            at.put(
                out_id,
                Tries {
                    next_at,
                    attempts: tries.attempts + 1,
                    ends: tries.ends + ended,
                },
            );
            return;
        }
        if at.order.is_empty() && !at.more {
            self.relays.remove(relay);
        }
        if let Some(sent) = self.events.get_mut(&out_id) {
            sent.relays = sent.relays.saturating_sub(1);
            if sent.relays == 0 {
                self.forget_event(out_id);
            }
        }
    }

    /// A word that may wait.
    ///
    /// # Errors
    /// The word, where too many wait: it is to be written now.
    pub fn say(&mut self, word: Outcome) -> Result<(), Outcome> {
        if self.words.len() >= WORDS {
            return Err(word);
        }
        self.settle(word.out_id, &word.relay, word.settled);
        self.words.push_back(word);
        Ok(())
    }

    /// The words that wait, and the number of the one after the last.
    pub fn words(&self) -> (Vec<Outcome>, u64) {
        let words: Vec<Outcome> = self.words.iter().cloned().collect();
        let upto = self.written + words.len() as u64;
        (words, upto)
    }

    /// Does any word wait?
    pub fn has_words(&self) -> bool {
        !self.words.is_empty()
    }

    /// All words before this number are written.
    pub fn wrote(&mut self, upto: u64) {
        while self.written < upto && self.words.pop_front().is_some() {
            self.written += 1;
        }
    }

    /// Relays at which something is due, now or later, with the moment of the first.
    pub fn due_relays(&self, now: Time) -> Vec<(String, Time)> {
        let first = |(relay, at): (&String, &AtRelay)| {
            let of_use = |out_id| {
                let sent = self.events.get(out_id);
                sent.is_some_and(|sent| sent.not_after > now)
            };
            let mut next = at.order.iter().filter(|(_, out_id)| of_use(out_id));
            let next = next.next().map(|(next, _)| *next);
            let more = at.more.then(|| self.read_at.plus(READ_EVERY));
            Some((relay.clone(), next.into_iter().chain(more).min()?))
        };
        self.relays.iter().filter_map(first).collect()
    }

    /// Is an event here of no use any more?
    pub fn has_past(&self, now: Time) -> bool {
        self.ends.first().is_some_and(|(at, _)| *at <= now)
    }

    /// What is due at this relay now, the longest due first, with the bytes where they are here.
    pub fn due_at(&self, relay: &str, now: Time, limit: usize) -> Vec<(Due, bool)> {
        let Some(at) = self.relays.get(relay) else {
            return Vec::new();
        };
        // One that is further ahead than any wait was written under another clock.
        let ahead = Time(now.0.saturating_add(LONGEST_WAIT_MS));
        let is_due = |(next, _): &&(Time, i64)| *next <= now || *next > ahead;
        let due = |(_, out_id): &(Time, i64)| {
            let sent = self.events.get(out_id)?;
            let tries = at.tries.get(out_id)?;
            let due = Due {
                out_id: *out_id,
                job: sent.job,
                role: sent.role,
                json: sent.json.as_deref().unwrap_or_default().to_owned(),
                relay: relay.to_owned(),
                attempts: tries.attempts,
                ends: tries.ends,
            };
            (sent.not_after > now).then_some((due, sent.json.is_some()))
        };
        let all = at.order.iter().filter(is_due).filter_map(due);
        all.take(limit).collect()
    }
}

#[cfg(test)]
mod tests;
