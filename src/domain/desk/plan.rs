//! What an action at the desk comes to, or why it is not possible.

use super::{Case, CaseKind, Decision, DeskAction, Facts, NOTE_MAX, case};
use crate::domain::job::Job;
use crate::domain::msat::Msat;
use crate::domain::text::clean;
use crate::domain::time::Time;

/// What is to be written and done for an action.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// The job takes the step [`JobEvent::Retry`].
    Retry,
    /// The wallet is asked again.
    Poll,
    /// The result is due at every relay again.
    Send,
    /// The result is signed anew, where no relay has the first one.
    SendAnew,
    /// The job as it is then, and the decision; nothing of it that nobody has is sent any more where `withdraw`.
    Mark {
        /// The job after it; its `rev` is one higher.
        job: Box<Job>,
        /// What is kept in the history.
        decision: Decision,
        /// What is on its way is sent no more.
        withdraw: bool,
    },
    /// It has been done; says so.
    Already(String),
}

/// Why an action is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlan {
    /// The job is no case.
    #[error("job {0} is no open case: `vend recover` lists them")]
    NoCase(String),
    /// It has been decided otherwise.
    #[error("job {id} was marked {was} on {at}; that can't be undone")]
    Decided {
        /// The job.
        id: String,
        /// What was decided.
        was: &'static str,
        /// When.
        at: Time,
    },
    /// The case is another one than was looked at.
    #[error("the case has changed meanwhile: it is {0} now; look at it again")]
    Changed(&'static str),
    /// Not for this case.
    #[error("{what} is not possible for job {id}: {why}")]
    NotOffered {
        /// The job.
        id: String,
        /// What was asked.
        what: &'static str,
        /// Why, and what is possible.
        why: String,
    },
    /// The note is too long.
    #[error("the note has {0} characters; at most {NOTE_MAX} are kept")]
    NoteTooLong(usize),
}

/// What an action comes to. `seen` is the kind of the case that the person looked at, where known. Asked for twice, it is
/// done once.
///
/// # Errors
/// [`NoPlan`], with what is possible instead; nothing is to be written then.
pub fn plan(
    facts: &Facts,
    seen: Option<CaseKind>,
    action: DeskAction,
    note: &str,
    now: Time,
) -> Result<Plan, NoPlan> {
    let job = &facts.job;
    let long = note.chars().count();
    if long > NOTE_MAX {
        return Err(NoPlan::NoteTooLong(long));
    }
    if action == DeskAction::Deliver && facts.due_at > 0 {
        let words = format!(
            "its result is on its way to {} relays already",
            facts.due_at
        );
        return Ok(Plan::Already(words));
    }
    let runs = !job.state.is_final() && !job.paid.is_zero();
    if action == DeskAction::Retry && runs && !job.delivered {
        let status = job.state.status().as_str();
        return Ok(Plan::Already(format!("it is under way already: {status}")));
    }
    let Some(case) = case(facts, now) else {
        return without_case(facts, action);
    };
    if seen.is_some_and(|seen| seen != case.kind) {
        // What was asked for twice has changed the case by its first time.
        return match without_case(facts, action) {
            Ok(already) => Ok(already),
            Err(_) => Err(NoPlan::Changed(case.kind.as_str())),
        };
    }
    if !case.actions.contains(&action) {
        return Err(not_offered(&case, action));
    }
    match action {
        DeskAction::Deliver => Ok(Plan::Send),
        DeskAction::Redeliver => Ok(Plan::SendAnew),
        DeskAction::Retry if case.kind == CaseKind::Disputed => Ok(Plan::Poll),
        DeskAction::Retry => Ok(Plan::Retry),
        DeskAction::Refunded | DeskAction::Waive => Ok(mark(job, &case, action, note, now)),
    }
}

fn mark(job: &Job, case: &Case, action: DeskAction, note: &str, now: Time) -> Plan {
    let mut after = job.clone();
    after.rev += 1;
    after.updated_at = now;
    let settles = matches!(case.kind, CaseKind::Undelivered | CaseKind::Owed);
    let amount = match case.kind {
        CaseKind::Undelivered | CaseKind::Owed => job.owed,
        CaseKind::Late => job.paid,
        CaseKind::Disputed | CaseKind::Orphan => case.amount_msat.unwrap_or_default(),
    };
    if settles {
        after.owed = Msat::ZERO;
    }
    Plan::Mark {
        job: Box::new(after),
        decision: Decision {
            id: job.id,
            kind: case.kind,
            action,
            note: clean(note, NOTE_MAX),
            amount_msat: amount,
            at: now,
        },
        // A buyer who has the money back gets no result on top.
        withdraw: settles,
    }
}

fn without_case(facts: &Facts, action: DeskAction) -> Result<Plan, NoPlan> {
    let id = facts.job.id.short();
    match facts.decisions.last() {
        Some(last) if last.action == action => Ok(Plan::Already(format!(
            "it was marked {} on {} already",
            action.history(),
            last.at
        ))),
        Some(last) => Err(NoPlan::Decided {
            id,
            was: last.action.history(),
            at: last.at,
        }),
        None => Err(NoPlan::NoCase(id)),
    }
}

fn not_offered(case: &Case, action: DeskAction) -> NoPlan {
    let why = match (action, case.kind) {
        (_, CaseKind::Orphan) => "nobody has seen the invoice",
        (DeskAction::Deliver, _) if case.result_id.is_some() => "the result's text was erased",
        (DeskAction::Deliver, _) => "there is no result",
        (DeskAction::Redeliver, _) => "only a result that no relay has is signed anew",
        (DeskAction::Retry, CaseKind::Undelivered) if case.result_id.is_some() => {
            "its one result was signed already"
        }
        (DeskAction::Retry, _) => "the request's text was erased, or the work was done",
        (DeskAction::Refunded | DeskAction::Waive, _) => {
            "the job still runs; cancel it first, then what was paid is owed back"
        }
    };
    let words: Vec<&str> = case.actions.iter().map(|action| action.as_str()).collect();
    let possible = if words.is_empty() {
        String::new()
    } else {
        format!("; possible: {}", words.join(", "))
    };
    NoPlan::NotOffered {
        id: case.id.short(),
        what: action.as_str(),
        why: format!("{why}{possible}"),
    }
}
