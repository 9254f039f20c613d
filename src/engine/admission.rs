//! Takes requests in, or says why not. The rules are `domain::admission`'s; here their facts are fetched, and what they say is
//! done. An admitted request is in the ledger before anybody hears of it.
//!
//! Nothing here waits for the network but the fetching of an admitted request's inputs, which has tasks of its own. Cancels,
//! zaps, refusals and what the relays say of themselves have ways of their own too.

mod cancels;
mod counts;
mod fetching;
mod refuse;
mod terms;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nostr::{Event as Signed, EventId, JsonUtil, RelayUrl};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::cancels::Cancels;
pub(super) use self::counts::Counts;
use self::fetching::Slots;
use self::refuse::{Refusals, Refuser, refusals};
use super::context::{Connections, EngineContext};
use super::crash;
use super::held_back::HeldBack;
use super::offers::{price_rule, specials};
use super::radar::Radar;
use super::signs;
use super::transition::ApplyError;
use super::zaps::Zaps;
use crate::config::Settings;
use crate::domain::admission::{self, Admit, Facts, Open};
use crate::domain::event::EventKind;
use crate::domain::fair::Gate;
use crate::domain::health::HealthLevel;
use crate::domain::id::Buyer;
use crate::domain::job::{Job, State, Texts};
use crate::domain::message;
use crate::domain::model_name::same_model;
use crate::domain::refusal::DropReason;
use crate::domain::reply::{Draft, Reply, Role};
use crate::domain::request;
use crate::domain::time::Time;
use crate::ledger::{LedgerError, NewJob, SignedDraft};
use crate::nostr::{Inlets, RelayEvent};

/// How long relays have to give the inputs of one request, all together.
const FETCH_TIME: Duration = Duration::from_secs(5);
/// Requests that are written down at once, where their first feedback must be mined.
const AT_ONCE: usize = 8;

/// Counts and limits; lives as long as the shop is online.
pub struct Admission {
    shop: Arc<EngineContext>,
    connections: Connections,
    gate: Mutex<Gate>,
    began: Instant,
    counts: Counts,
    radar: Radar,
    cancels: Cancels,
    slots: Slots,
    refusals: Refusals,
    held_back: HeldBack,
}

/// What is judged, and where it came from.
struct Arrived {
    relay: RelayUrl,
    event: Box<Signed>,
}

impl Admission {
    /// Takes what the relays bring until `stop`; `early` came while the shop was still starting.
    pub async fn work(
        shop: Arc<EngineContext>,
        connections: Connections,
        early: Vec<RelayEvent>,
        news: Inlets,
        stop: CancellationToken,
    ) {
        let (refusals, refuser) = refusals(shop.clone());
        let zaps = Zaps::new(shop.clone());
        let admission = Arc::new(Self {
            connections,
            gate: Mutex::default(),
            began: Instant::now(),
            counts: Counts::new(shop.clone()),
            radar: Radar::new(shop.clone()),
            cancels: Cancels::new(shop.clone()),
            slots: Slots::default(),
            refusals,
            held_back: HeldBack::default(),
            shop,
        });
        let stop = &stop;
        tokio::join!(
            admission.take_requests(news.requests, stop),
            admission.cancels.work(news.cancels, stop),
            zaps.work(news.zaps, stop),
            signs::work(&admission.shop, &admission.counts, early, news.signs, stop),
            admission.counts.work(stop),
            admission.radar.work(stop),
            Refuser::work(refuser, stop),
        );
        admission.counts.flush().await;
    }

    async fn take_requests(
        self: &Arc<Self>,
        mut news: mpsc::Receiver<RelayEvent>,
        stop: &CancellationToken,
    ) {
        let mut beside: JoinSet<()> = JoinSet::new();
        loop {
            let item = tokio::select! {
                () = stop.cancelled() => break,
                item = news.recv() => item,
                Some(_) = beside.join_next(), if !beside.is_empty() => continue,
                () = self.shop.clock.changed.notified() => {
                    for (relay, event) in self.held_back.take() {
                        let event = Box::new(event);
                        Box::pin(self.take(Arrived { relay, event }, &mut beside)).await;
                    }
                    continue;
                }
            };
            match item {
                Some(RelayEvent::Event { relay, event }) => {
                    let event = Box::new(event.into_event());
                    Box::pin(self.take(Arrived { relay, event }, &mut beside)).await;
                }
                Some(RelayEvent::TooLong { relay, event }) => {
                    let event = Box::new(event.into_event());
                    self.too_long(Arrived { relay, event }).await;
                }
                Some(_) => {}
                None => break,
            }
        }
        beside.shutdown().await;
    }

    async fn take(self: &Arc<Self>, arrived: Arrived, beside: &mut JoinSet<()>) {
        let settings = self.shop.settings();
        let admit = match self.judge(&arrived, &settings).await {
            Ok(admit) => admit,
            Err(failure) => return self.failed(arrived, failure),
        };
        let (ids, hints) = admission::wanted(&admit.request);
        if !ids.is_empty() {
            let slot = self.slots.take(admit.request.buyer);
            let this = self.clone();
            beside.spawn(async move {
                let found = this.fetch(ids, hints).await;
                Box::pin(this.finish(arrived, admit, &found, &settings)).await;
                drop(slot);
            });
            return;
        }
        if self.shop.work_wanted().iter().all(|bits| *bits == 0) {
            return Box::pin(self.finish(arrived, admit, &BTreeMap::new(), &settings)).await;
        }
        // Mining takes a while, and must not hold up the next request.
        while beside.len() >= AT_ONCE + admission::FETCHED_OF_ALL as usize {
            // A task that died has written nothing, and is told by the panic hook.
            let _ = beside.join_next().await;
        }
        let this = self.clone();
        beside.spawn(async move {
            Box::pin(this.finish(arrived, admit, &BTreeMap::new(), &settings)).await;
        });
    }

    /// A request that is longer than any that could be admitted. What is left of it is enough to refuse it.
    async fn too_long(&self, arrived: Arrived) {
        let (event, settings) = (&*arrived.event, self.shop.settings());
        let record = match self.shop.ledger.record(event.id, Buyer(event.pubkey)).await {
            Ok(record) => record,
            Err(error) => return self.shop.ledger_failed(&error),
        };
        let us = self.shop.keys.public_key();
        let most_age = settings.limits.max_request_age_secs;
        let screened = request::screen(event, &us, Time::now(), most_age);
        let reason = match screened {
            _ if record.known => DropReason::Duplicate,
            Err(reason) => reason,
            Ok(()) if terms::is_blocked(&settings, &event.pubkey) => DropReason::Blocked,
            Ok(()) => DropReason::PromptTooLong,
        };
        if reason != DropReason::Duplicate {
            self.counts.seen();
        }
        self.radar.saw(event, Some(reason));
        self.failed(arrived, Failure::Dropped(reason));
    }

    async fn judge(&self, arrived: &Arrived, settings: &Settings) -> Result<Admit, Failure> {
        let event = &*arrived.event;
        let buyer = Buyer(event.pubkey);
        let mut record = self.shop.ledger.record(event.id, buyer).await?;
        record.known |= self.cancels.has(event.id, event.pubkey);
        let us = self.shop.keys.public_key();
        let available = |model: &str| {
            let mut names = self.connections.pool.models().into_iter();
            names.find(|name| same_model(name, model))
        };
        let price_of = |model: &str| price_rule(settings, model);
        let specials = specials(settings);
        let facts = Facts {
            us: &us,
            decrypt: &|scheme, from, text| terms::decrypt(&self.shop, scheme, from, text),
            is_blocked: &|buyer| {
                self.shop.standing(buyer).blocked || terms::is_blocked(settings, buyer)
            },
            offer: terms::offer(settings, &available, &price_of),
            kinds: &settings.nostr.kinds,
            specials: &specials,
            carry: &|agreed| self.shop.carry(event, arrived.relay.as_str(), agreed),
            limits: terms::limits(settings),
            record,
            fetching: self.slots.now(buyer),
            open: Open {
                sells: self.shop.sells(),
                wallet_down: self.shop.wallet_health.borrow().health == HealthLevel::Down,
                cramped: self.shop.cramped().is_some(),
                paused: self.shop.pauses(),
            },
            closed: &|model| self.connections.pool.closed(model).is_some(),
        };
        let judged = {
            let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
            admission::admit(event, &facts, &mut gate, Time::now(), self.began.elapsed())
        };
        let reason = judged.as_ref().err().copied();
        if reason == Some(DropReason::Stale) {
            self.held_back.keep(&arrived.relay, event);
            if !self.shop.clock.is_right() {
                return Err(Failure::HeldBack);
            }
        }
        if reason != Some(DropReason::Duplicate) {
            self.counts.seen();
        }
        if reason.is_none_or(DropReason::is_understood) {
            self.counts.understood();
        }
        self.radar.saw(event, reason);
        judged.map_err(Failure::Dropped)
    }

    /// The texts of the inputs that were found in time.
    async fn fetch(&self, ids: Vec<EventId>, hints: Vec<String>) -> BTreeMap<EventId, String> {
        let hints = hints
            .iter()
            .filter_map(|url| RelayUrl::parse(url).ok())
            .collect();
        let found = self.connections.relays.fetch(ids, hints, FETCH_TIME).await;
        found
            .into_iter()
            .map(|event| (event.id, event.content))
            .collect()
    }

    async fn finish(
        &self,
        arrived: Arrived,
        admit: Admit,
        found: &BTreeMap<EventId, String>,
        settings: &Settings,
    ) {
        if let Err(failure) = self.enter(&arrived, admit, found, settings).await {
            self.failed(arrived, failure);
        }
    }

    /// Writes the job down, and wakes whoever works on it.
    async fn enter(
        &self,
        arrived: &Arrived,
        mut admit: Admit,
        found: &BTreeMap<EventId, String>,
        settings: &Settings,
    ) -> Result<(), Failure> {
        let (relay, event) = (&arrived.relay, &*arrived.event);
        let prompt_bytes = settings.limits.prompt_bytes as usize;
        let system = &settings.text.system;
        let messages = admission::complete(&mut admit, found, prompt_bytes, system)?;
        if self.cancels.has(event.id, event.pubkey) {
            return Err(DropReason::Duplicate.into());
        }
        let notes: Vec<&str> = admit
            .agreed
            .notes
            .iter()
            .chain(&admit.request.notes)
            .map(String::as_str)
            .collect();
        let notes = notes.join("; ");
        let most_waiting = admit.most_waiting;
        let names_length = admit.agreed.names_length;
        let job = terms::job(admit, relay, &messages, settings, &self.shop.hold_secrets());
        let free = terms::free(settings).map(|tier| (tier, names_length));
        let credit = terms::credit(settings, self.shop.standing(&job.buyer.0));
        let drafts = self.first_words(event, &job).await?;
        let texts = Texts {
            request_json: event.as_json(),
            prompt: message::to_text(messages),
            answer: None,
        };
        crash::point("admit.before");
        let new = NewJob {
            job,
            texts,
            from: relay.to_string(),
            notes,
            drafts,
            most_waiting,
            credit,
            question: self.shop.next_question(),
            free,
        };
        let entered = self.shop.ledger.admit(new).await?;
        crash::point("admit.after");
        self.shop.ledger_works();
        let job = entered?;
        self.shop.emit(EventKind::Job {
            job: Box::new(job.view()),
            what: "admitted".to_owned(),
        });
        self.shop.wake_for(&job, true);
        if self.cancels.has(event.id, event.pubkey) {
            self.cancels.cancel(job.id).await;
        }
        Ok(())
    }

    /// A job that must wait hears so at once; one that runs at once hears that it runs.
    async fn first_words(&self, request: &Signed, job: &Job) -> Result<Vec<SignedDraft>, Failure> {
        if job.state != State::Queued {
            return Ok(Vec::new());
        }
        let (waiting, _) = self.shop.ledger.queue_counts();
        if waiting == 0 && self.connections.pool.free_slots(&job.terms.model) > 0 {
            return Ok(Vec::new());
        }
        let draft = Draft {
            role: Role::Queued,
            reply: Reply::Processing {
                position: Some(waiting + 1),
                substituted: None,
                priority_percent: job.terms.surcharge_to_tell(),
            },
        };
        let signed = self.shop.sign_for(request, job, &[draft], "").await;
        signed.map_err(Failure::from)
    }

    fn failed(&self, arrived: Arrived, failure: Failure) {
        let reason = match failure {
            Failure::Dropped(reason) => reason,
            // Not recorded, so the overlap after the next reconnect brings it again.
            Failure::Ledger(error) => return self.shop.ledger_failed(&error),
            Failure::HeldBack => return,
        };
        let Arrived { relay, event } = arrived;
        self.counts.drop(reason, Buyer(event.pubkey));
        let ours = request::addressed(&event, &self.shop.keys.public_key());
        if ours && reason.sentence().is_some() {
            self.refusals.put(event, relay, reason);
        }
    }
}

enum Failure {
    Dropped(DropReason),
    /// It may not be too old at all: it is judged again when the clock is right.
    HeldBack,
    Ledger(ApplyError),
}

impl From<DropReason> for Failure {
    fn from(reason: DropReason) -> Self {
        Self::Dropped(reason)
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error.into())
    }
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        Self::Ledger(error)
    }
}
