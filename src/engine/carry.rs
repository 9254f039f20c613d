//! What our relays take, and so where each event goes and how long an answer may be.

use nostr::{Event as Signed, RelayUrl};

use super::context::{Connections, EngineContext};
use crate::domain::job::Job;
use crate::domain::refusal::DropReason;
use crate::domain::request::{self, Agreed};
use crate::domain::size::{self, COMMON_LONGEST, Shell};
use crate::domain::work::work_of;

impl EngineContext {
    /// The work that relays want and the settings allow, each once.
    #[must_use]
    pub fn work_wanted(&self) -> Vec<u8> {
        let wants = self
            .connections()
            .map(|connections| connections.relays.wants());
        let kept = wants.into_iter().flatten().filter(|relay| !relay.left_out);
        kept.map(|relay| relay.pow).collect()
    }

    /// The longest message that each of our relays takes, bytes.
    #[must_use]
    pub fn longest(&self) -> Vec<usize> {
        let wants = self
            .connections()
            .map(|connections| connections.relays.wants());
        let kept = wants.into_iter().flatten().filter(|relay| !relay.left_out);
        let longest: Vec<usize> = kept.map(|relay| relay.longest).collect();
        if longest.is_empty() {
            return vec![COMMON_LONGEST];
        }
        longest
    }

    /// Cuts the answer of a request to what its result can carry.
    ///
    /// # Errors
    /// [`DropReason::PromptTooLong`] where no relay of ours would take a result.
    pub fn carry(&self, event: &Signed, hint: &str, agreed: &mut Agreed) -> Result<(), DropReason> {
        let wants = self
            .connections()
            .map(|connections| connections.relays.wants());
        if wants.is_some_and(|wants| wants.iter().all(|relay| relay.left_out)) {
            // Each of our relays wants more work for an event than the settings allow.
            return Err(DropReason::Offline);
        }
        let scheme = request::encryption(event);
        let shell = Shell::new(event, scheme, &agreed.model, hint);
        let wanted = agreed.params.max_tokens;
        let tokens = shell.tokens(wanted, &self.longest());
        let tokens = tokens.ok_or(DropReason::PromptTooLong)?;
        if tokens < wanted {
            let note = format!(
                "max_tokens is {tokens}, not {wanted}: a longer result is more than our relays take"
            );
            agreed.notes.push(note);
            agreed.params.max_tokens = tokens;
        }
        Ok(())
    }

    /// Does at least one of our relays take the result with this answer?
    #[must_use]
    pub fn carries(&self, job: &Job, answer: &str) -> bool {
        let shell = Shell::bare(job.encryption, &job.terms.model, &job.terms.seen_on);
        shell.fit(answer, &self.longest()).is_some()
    }

    /// Where this very event goes: our relays that take it, and the request's own.
    #[must_use]
    pub fn targets_of(&self, event: &Signed, more: &[String]) -> Vec<String> {
        let wants = self
            .connections()
            .map(|connections| connections.relays.wants());
        let work = work_of(event);
        let bytes = size::message(event);
        let out: Vec<_> = wants
            .into_iter()
            .flatten()
            .filter(|relay| relay.pow > work || relay.longest < bytes)
            .map(|relay| relay.relay.to_string())
            .collect();
        let all = self.targets(more);
        let taking = all.iter().filter(|relay| !out.contains(relay));
        let taking: Vec<String> = taking.cloned().collect();
        // Nobody takes it: each of them is heard on it, so that it is known why.
        if taking.is_empty() { all } else { taking }
    }

    /// Publishes an event once to those of our relays that take it. Nothing is kept to be sent again.
    pub(super) async fn publish_once(&self, connections: &Connections, event: &Signed) {
        let relays: Vec<RelayUrl> = self
            .targets_of(event, &[])
            .iter()
            .filter_map(|url| RelayUrl::parse(url).ok())
            .collect();
        let sent = relays
            .iter()
            .map(|relay| connections.relays.publish(relay, event));
        futures::future::join_all(sent).await;
    }

    /// Our relays and the request's own, each once.
    #[must_use]
    pub fn targets(&self, more: &[String]) -> Vec<String> {
        let mut relays: Vec<String> = match self.connections() {
            Some(connections) => connections
                .relays
                .own()
                .iter()
                .map(ToString::to_string)
                .collect(),
            None => self.settings().nostr.relays.clone(),
        };
        let used = self.settings().nostr.buyers_relays;
        let more = if used { more } else { &[] };
        for relay in more {
            let same = |own: &String| own.trim_end_matches('/') == relay.trim_end_matches('/');
            if !relays.iter().any(same) {
                relays.push(relay.clone());
            }
        }
        relays
    }
}
