//! The pool: shares work among endpoints, lets a failing one rest, and repeats a job elsewhere where that is safe.

mod member;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::{Ask, Endpoint, InferenceError, Progress};
use crate::domain::health::{EndpointHealth, HealthLevel};
use crate::domain::job::Answer;
use crate::domain::model_name::{canonical, same_model};
use member::Member;

/// The longest look at one endpoint.
const LOOK: Duration = Duration::from_secs(5);

/// All endpoints of the settings. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    endpoints: Vec<Arc<dyn Endpoint>>,
    /// In the order of `endpoints`. Never held over an await.
    members: Mutex<Vec<Member>>,
    /// Counts changes.
    changed: watch::Sender<u64>,
}

/// The right to run one job on one endpoint. Dropping it gives the place back.
#[derive(Debug)]
pub struct Slot {
    shared: Arc<Shared>,
    index: usize,
    model: String,
}

impl Slot {
    /// The endpoint's name.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.shared.endpoints[self.index].name()
    }

    /// The model, as that endpoint names it.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let index = self.index;
        self.shared.change(|members| members[index].leave());
    }
}

impl Pool {
    /// A pool of these endpoints. It knows nothing of them before the first [`Pool::refresh`].
    #[must_use]
    pub fn new(endpoints: Vec<Arc<dyn Endpoint>>) -> Self {
        let members = endpoints.iter().map(|e| Member::new(e.name(), e.slots()));
        let members = Mutex::new(members.collect());
        let changed = watch::Sender::new(0);
        Self {
            shared: Arc::new(Shared {
                endpoints,
                members,
                changed,
            }),
        }
    }

    /// Looks at all endpoints at once, at each for at most five seconds, and gives their health in the settings' order.
    /// What is found counts as soon as it is found, so a dead endpoint delays no other. One that rests is left alone
    /// until its rest is over.
    pub async fn refresh(&self) -> Vec<EndpointHealth> {
        self.look(false).await
    }

    /// The same, at resting endpoints too, and those that refused to work may work again: for when a person asks, who may
    /// have mended something just now.
    pub async fn refresh_all(&self) -> Vec<EndpointHealth> {
        self.shared.change(|members| {
            for member in members {
                member.reopen();
            }
        });
        self.look(true).await
    }

    async fn look(&self, resting_too: bool) -> Vec<EndpointHealth> {
        let began = Instant::now();
        let wanted = self.shared.look(|members| {
            let all = members.iter().enumerate();
            all.filter(|(_, member)| resting_too || !member.rests(began))
                .map(|(index, _)| index)
                .collect::<Vec<_>>()
        });
        join_all(wanted.into_iter().map(|index| self.look_at(index, began))).await;
        self.health()
    }

    async fn look_at(&self, index: usize, began: Instant) {
        let found = timeout(LOOK, self.shared.endpoints[index].health()).await;
        let now = Instant::now();
        self.shared.change(|members| {
            let member = &mut members[index];
            let health = found.unwrap_or_else(|_| silent(member.shown()));
            member.looked(health, began, now);
        });
    }

    /// How many seconds each server's clock is ahead of ours, by its name, for those that say.
    #[must_use]
    pub fn clocks(&self) -> Vec<(String, i64)> {
        let all = self.shared.endpoints.iter();
        all.filter_map(|one| Some((one.name().to_owned(), one.clock_off_secs()?)))
            .collect()
    }

    /// What is known of all endpoints, in the settings' order, without looking.
    #[must_use]
    pub fn health(&self) -> Vec<EndpointHealth> {
        self.shared
            .look(|members| members.iter().map(Member::shown).collect())
    }

    /// Asks each endpoint to unload what it has answered with, and tells what came of it, by the endpoint's name.
    pub async fn unload(&self) -> Vec<(String, Result<Vec<String>, String>)> {
        let all = self.shared.endpoints.iter();
        let asked = all
            .map(|endpoint| async move { (endpoint.name().to_owned(), endpoint.unload().await) });
        join_all(asked).await
    }

    /// How long until an endpoint's rest is over and a [`Pool::refresh`] would look at it; none where none rests.
    #[must_use]
    pub fn next_poll(&self) -> Option<Duration> {
        let now = Instant::now();
        self.shared
            .look(|members| members.iter().filter_map(|m| m.rest_left(now)).min())
    }

    /// Did an endpoint have the model at the last look, busy and resting ones included?
    #[must_use]
    pub fn has_model(&self, model: &str) -> bool {
        self.shared
            .look(|members| members.iter().any(|member| member.offers(model).is_some()))
    }

    /// Somebody has tested this endpoint and found it well: it takes jobs again.
    pub fn reopen(&self, endpoint: &str) {
        let at = |one: &Arc<dyn Endpoint>| one.name() == endpoint;
        if let Some(index) = self.shared.endpoints.iter().position(at) {
            self.shared.change(|members| members[index].reopen());
        }
    }

    /// Why no job on the model can be done until the seller has looked: each endpoint that has it refuses to work. None where
    /// one does not, or none has it.
    #[must_use]
    pub fn closed(&self, model: &str) -> Option<String> {
        self.shared.look(|members| {
            let mut why = None;
            for member in members
                .iter()
                .filter(|member| member.offers(model).is_some())
            {
                why = Some(member.closed()?.to_owned());
            }
            why
        })
    }

    /// Could an endpoint take a job on the model, now or when it is free again?
    #[must_use]
    pub fn serves(&self, model: &str) -> bool {
        self.shared.look(|members| {
            let open = |one: &Member| one.closed().is_none() && one.offers(model).is_some();
            members.iter().any(open)
        })
    }

    /// What the seller does where this endpoint lacks a model.
    #[must_use]
    pub fn missing_fix(&self, endpoint: &str, model: &str) -> String {
        let all = &self.shared.endpoints;
        let found = all
            .iter()
            .find(|one| one.name() == endpoint)
            .or(all.first());
        found.map_or_else(String::new, |one| one.missing_fix(model))
    }

    /// The models of all endpoints at the last look, each once, sorted.
    #[must_use]
    pub fn models(&self) -> Vec<String> {
        let mut models: Vec<String> = self
            .shared
            .look(|members| members.iter().flat_map(Member::models).collect());
        models.sort_by_cached_key(|name| canonical(name));
        models.dedup_by(|a, b| same_model(a, b));
        models
    }

    /// How many jobs on the model could start now.
    #[must_use]
    pub fn free_slots(&self, model: &str) -> u32 {
        self.shared.look(|members| {
            let able = members.iter().filter(|m| m.can_run(model).is_some());
            able.map(Member::free).sum()
        })
    }

    /// A place for one job on the model: on the least loaded healthy endpoint that has it, and of equally loaded ones on
    /// the one unused for longest. None where all are busy, resting or without the model.
    #[must_use]
    pub fn reserve(&self, model: &str) -> Option<Slot> {
        self.reserve_but(model, None)
    }

    fn reserve_but(&self, model: &str, not: Option<usize>) -> Option<Slot> {
        let (index, model) = self.shared.change(|members| {
            let turn = members.iter().map(Member::last_turn).max().unwrap_or(0) + 1;
            let (index, model) = members
                .iter()
                .enumerate()
                .filter(|(index, _)| Some(*index) != not)
                .filter_map(|(index, member)| Some((index, member, member.can_run(model)?)))
                .min_by(|(_, a, _), (_, b, _)| a.compare_load(b))
                .map(|(index, _, name)| (index, name.to_owned()))?;
            members[index].enter(turn);
            Some((index, model))
        })?;
        Some(Slot {
            shared: Arc::clone(&self.shared),
            index,
            model,
        })
    }

    /// Answers on the slot's endpoint. When that fails before the first token for a reason that another endpoint need not
    /// share, once more on another one with a free slot, within what is left of the job's time. Dropping the future
    /// cancels the work and frees the slot.
    ///
    /// # Errors
    ///
    /// The last endpoint's [`InferenceError`].
    pub async fn answer(
        &self,
        slot: Slot,
        mut ask: Ask,
        progress: watch::Sender<Progress>,
    ) -> Result<Answer, InferenceError> {
        let ends = Instant::now().checked_add(ask.deadline);
        let error = match self.run(&slot, ask.clone(), progress.clone()).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if let Some(ends) = ends {
            ask.deadline = ends.saturating_duration_since(Instant::now());
        }
        if !is_safe_to_repeat(&error) || ask.deadline.is_zero() {
            return Err(error);
        }
        let Some(other) = self.reserve_but(slot.model(), Some(slot.index)) else {
            return Err(error);
        };
        drop(slot);
        tracing::warn!(
            endpoint = other.endpoint(),
            "{error}; trying another endpoint"
        );
        self.run(&other, ask, progress).await
    }

    async fn run(
        &self,
        slot: &Slot,
        mut ask: Ask,
        progress: watch::Sender<Progress>,
    ) -> Result<Answer, InferenceError> {
        ask.model.clone_from(&slot.model);
        let result = self.shared.endpoints[slot.index]
            .answer(ask, progress)
            .await;
        let now = Instant::now();
        self.shared.change(|members| match &result {
            Ok(answer) => members[slot.index].succeeded(answer),
            Err(error) => members[slot.index].failed(error, now),
        });
        result
    }

    /// Wakes when a slot may have become free or an endpoint's health changed. The number only counts the changes.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }
}

impl Shared {
    fn look<T>(&self, look: impl FnOnce(&[Member]) -> T) -> T {
        look(&self.members.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes members, and wakes whoever waits when what is shown of them has changed.
    fn change<T>(&self, change: impl FnOnce(&mut [Member]) -> T) -> T {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let before: Vec<_> = members.iter().map(Member::shown).collect();
        let result = change(&mut members);
        let same = members.iter().map(Member::shown).eq(before);
        drop(members);
        if !same {
            self.changed
                .send_modify(|count| *count = count.wrapping_add(1));
        }
        result
    }
}

/// Answers are delivered whole, so work that gave no token yet can be done again without anybody seeing it twice.
fn is_safe_to_repeat(error: &InferenceError) -> bool {
    matches!(
        error,
        InferenceError::Unreachable { .. }
            | InferenceError::Busy { .. }
            | InferenceError::Died { started: false, .. }
            | InferenceError::Stalled { started: false, .. }
    ) || error.is_the_seller_s()
}

/// The health of an endpoint that did not answer the look at all.
fn silent(last: EndpointHealth) -> EndpointHealth {
    EndpointHealth {
        state: "down".to_owned(),
        health: HealthLevel::Down,
        detail: format!("no answer within {} s", LOOK.as_secs()),
        models: Vec::new(),
        ..last
    }
}

#[cfg(test)]
mod tests;
