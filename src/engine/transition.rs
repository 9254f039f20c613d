//! The one place where a job changes: step, sign, commit, and only then act.

use std::sync::Arc;
use std::time::Duration;

use nostr::{Event as Signed, JsonUtil, Keys};

use super::context::EngineContext;
use super::crash;
use super::mint;
use crate::domain::balance;
use crate::domain::error::{DvmError, InvocationCode, InvocationError};
use crate::domain::event::EventKind;
use crate::domain::hold;
use crate::domain::id::RequestId;
use crate::domain::job::{Encryption, InvoiceState, Job, PayOrder, State};
use crate::domain::reply::{self, Draft, Reply, Role, Way};
use crate::domain::text::clean;
use crate::domain::time::Time;
use crate::domain::transition::{self, JobEvent, Transition, TransitionError};
use crate::ledger::{Cause, Change, LedgerError, SignedDraft};

/// Tries against other changes of the same job before giving up; each loses only to one that won.
const TRIES: u32 = 16;

/// How long a progress feedback is of use.
const PROGRESS_OF_USE: Duration = Duration::from_secs(600);
/// How long a result without an invoice, a success or an error is of use.
const WORD_OF_USE: Duration = Duration::from_secs(24 * 3600);

/// Why a step did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The job's state does not allow it, or it has happened.
    #[error(transparent)]
    No(#[from] TransitionError),
    /// The ledger did not take it.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// An event could not be written or signed.
    #[error("{0}")]
    Signing(String),
}

impl From<ApplyError> for DvmError {
    fn from(error: ApplyError) -> Self {
        let code = match &error {
            ApplyError::No(_) => InvocationCode::IllegalStep,
            ApplyError::Ledger(error) if error.is_disk_full() => InvocationCode::DiskFull,
            ApplyError::Ledger(_) => InvocationCode::Ledger,
            ApplyError::Signing(_) => InvocationCode::Signing,
        };
        InvocationError::new(code, error.to_string()).into()
    }
}

impl EngineContext {
    /// Something happened to a job: writes what follows from it, then wakes whoever acts on it.
    ///
    /// # Errors
    /// [`ApplyError::No`] where it follows nothing; otherwise nothing was written either.
    pub async fn apply(
        self: &Arc<Self>,
        id: RequestId,
        input: JobEvent,
    ) -> Result<Job, ApplyError> {
        self.apply_for(id, input, Cause::Itself).await
    }

    /// The same, with what made the step, which is written in the same commit.
    ///
    /// # Errors
    /// As [`EngineContext::apply`].
    pub async fn apply_for(
        self: &Arc<Self>,
        id: RequestId,
        input: JobEvent,
        cause: Cause,
    ) -> Result<Job, ApplyError> {
        let what = input.as_str();
        let mut conflict = LedgerError::Conflict;
        for _ in 0..TRIES {
            let job = self.ledger.job(id).await?.ok_or(LedgerError::NoSuchJob)?;
            let mut step = transition::transition(&job, input.clone(), Time::now())?;
            self.tell_balance(&job, &mut step).await?;
            let drafts = self
                .sign(&step.job, &step.drafts, step.answer.as_deref())
                .await?;
            if let Some(result) = drafts.iter().find(|draft| draft.role == Role::Result) {
                step.job.result_id = Some(result.event_id);
            }
            crash::around(what, false);
            let has_drafts = !drafts.is_empty();
            let change = Change {
                before: job,
                job: step.job.clone(),
                what,
                detail: clean(&step.detail, 400),
                answer: step.answer,
                drafts,
                withdraw: step.withdraw,
                cause: cause.clone(),
            };
            match self.ledger.commit(change).await {
                Ok(()) => self.ledger_works(),
                Err(LedgerError::Conflict) => {
                    conflict = LedgerError::Conflict;
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            crash::around(what, true);
            if step.stop_run
                && let Some(run) = self.running(|runs| runs.remove(&id))
            {
                run.stop.cancel();
            }
            self.told(&step.job, what, step.late);
            self.wake_for(&step.job, has_drafts);
            return Ok(step.job);
        }
        Err(conflict.into())
    }

    /// Says in the job's last word what its buyer has left with us then.
    async fn tell_balance(&self, before: &Job, step: &mut Transition) -> Result<(), LedgerError> {
        for draft in &mut step.drafts {
            let Reply::Success {
                balance: Some(spent),
                ..
            } = &mut draft.reply
            else {
                continue;
            };
            let now = self.ledger.balance(step.job.buyer).await?;
            spent.rest = Some(balance::then(now, before, &step.job, spent.left));
        }
        Ok(())
    }

    fn told(&self, job: &Job, what: &str, late: bool) {
        self.emit(EventKind::Job {
            job: Box::new(job.view()),
            what: what.to_owned(),
        });
        if what == "paid" {
            self.emit(EventKind::Paid {
                id: job.id,
                amount_msat: job.paid,
                late,
            });
        }
    }

    /// Wakes those who act on a job in this state.
    pub fn wake_for(&self, job: &Job, has_drafts: bool) {
        match job.state {
            State::Queued => self.wakers.queue.notify_one(),
            State::Inferred | State::Quoting => {
                self.wakers.invoices.notify_one();
                self.wakers.queue.notify_one();
            }
            _ => {}
        }
        self.watch(job);
        let invoice = job.invoice.as_ref().map(|invoice| invoice.state);
        if let Some(InvoiceState::Held | InvoiceState::Taking | InvoiceState::GivingBack) = invoice
        {
            self.wakers.holds.notify_one();
        }
        if has_drafts {
            self.wakers.outbox.notify_one();
        }
        self.wakers.stats.notify_one();
    }

    /// Signs drafts for a job that the ledger has. Each is signed once: the bytes go into the ledger with the step that
    /// decided them. `answer` is the answer's text where it comes with this step.
    ///
    /// # Errors
    /// Where the texts can't be read, or an event can't be written, encrypted or signed.
    async fn sign(
        &self,
        job: &Job,
        drafts: &[Draft],
        answer: Option<&str>,
    ) -> Result<Vec<SignedDraft>, ApplyError> {
        if drafts.is_empty() {
            return Ok(Vec::new());
        }
        let texts = self.ledger.texts(job.id).await?;
        let request = texts
            .as_ref()
            .and_then(|texts| Signed::from_json(&texts.request_json).ok());
        let Some(request) = request else {
            // A payment that comes after the request was erased must still be written down; only a result is owed to
            // anybody, and a job that owes one is not erased.
            if drafts.iter().all(|draft| draft.role != Role::Result) {
                return Ok(Vec::new());
            }
            return Err(ApplyError::Signing(
                "the request's text was erased".to_owned(),
            ));
        };
        let kept = texts.as_ref().and_then(|texts| texts.answer.as_deref());
        let answer = answer.or(kept).unwrap_or_default();
        self.sign_for(&request, job, drafts, answer).await
    }

    /// Signs drafts for a job whose request is at hand. A result says `answer`.
    ///
    /// # Errors
    /// Where an event can't be written, encrypted or signed.
    pub async fn sign_for(
        &self,
        request: &Signed,
        job: &Job,
        drafts: &[Draft],
        answer: &str,
    ) -> Result<Vec<SignedDraft>, ApplyError> {
        let mut signed = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let mut draft = draft.clone();
            if let Reply::Result { content, .. } = &mut draft.reply {
                answer.clone_into(content);
            }
            let event = self
                .write(request, job.encryption, &draft, &job.terms.seen_on)
                .await?;
            signed.push(SignedDraft {
                role: draft.role,
                event_id: event.id,
                json: event.as_json(),
                not_after: of_use(draft.role, job, Time::now()),
                relays: self.targets_of(&event, &job.terms.relays),
            });
        }
        Ok(signed)
    }

    /// Writes and signs one reply to a request.
    ///
    /// # Errors
    /// Where it can't be written, encrypted or signed.
    pub async fn write(
        &self,
        request: &Signed,
        encryption: Encryption,
        draft: &Draft,
        hint: &str,
    ) -> Result<Signed, ApplyError> {
        let keys = self.keys.clone();
        let unsigned = reply::compose(
            request,
            encryption,
            &keys.public_key(),
            &draft.reply,
            Way {
                hint,
                longest: &self.longest(),
            },
            self.signed_at(Some(Time::from_secs(request.created_at.as_secs()))),
            &|scheme, to, text| encrypt(&keys, scheme, to, text),
        )
        .map_err(ApplyError::Signing)?;
        mint::sign(keys, unsigned, self.work_wanted()).await
    }
}

/// Until when an event is of use to its reader.
fn of_use(role: Role, job: &Job, now: Time) -> Time {
    let expires = job.invoice.as_ref().and_then(|invoice| invoice.expires_at);
    let rides_on_invoice = job.terms.order == PayOrder::After;
    match role {
        Role::Queued | Role::Processing => now.plus(PROGRESS_OF_USE),
        // Paid before, perhaps late: the invoice's time says nothing about the result.
        Role::Result if !rides_on_invoice => {
            hold::deliver_by(job).unwrap_or_else(|| now.plus(WORD_OF_USE))
        }
        Role::PaymentRequired | Role::Result => expires.unwrap_or_else(|| now.plus(WORD_OF_USE)),
        Role::Success | Role::Error => now.plus(WORD_OF_USE),
    }
}

/// Encrypts text for one reader, in the scheme that the reader used.
fn encrypt(
    keys: &Keys,
    scheme: Encryption,
    to: &nostr::PublicKey,
    text: &str,
) -> Result<String, String> {
    use nostr::nips::{nip04, nip44};
    match scheme {
        Encryption::Plain => Ok(text.to_owned()),
        Encryption::Nip04 => nip04::encrypt(keys.secret_key(), to, text).map_err(|e| e.to_string()),
        Encryption::Nip44 => nip44::encrypt(keys.secret_key(), to, text, nip44::Version::default())
            .map_err(|e| e.to_string()),
    }
}
