//! The questions about jobs, and the one way to change them.

use nostr::EventId;
use rusqlite::{Connection, OptionalExtension, params};

use super::live::Shared;
use super::outbox;
use super::waiting::{Put, Settled, SignedDraft};
use super::{Ledger, LedgerError, Proof, Question, balances, desk, questions, rows, stats, write};
use crate::domain::admission::{self, FreeTier, Record};
use crate::domain::credit;
use crate::domain::id::{Buyer, IdBeginning, PaymentHash, RequestId};
use crate::domain::job::{InvoiceState, Job, PayOrder, State, Status, Texts, TimelineEntry};
use crate::domain::msat::Msat;
use crate::domain::refusal::DropReason;
use crate::domain::text::clean;
use crate::domain::time::Time;

mod due;

pub(super) use due::WATCH_AFTER_EXPIRY;

/// Characters of a line of history.
const LONGEST_DETAIL: usize = 400;

const ANSWERED_BY: &str = "WHERE j.result_id = ?1";

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Only in this status.
    pub status: Option<Status>,
    /// Only admitted at or after this.
    pub since: Option<Time>,
    /// At most so many, newest first.
    pub limit: Option<u32>,
}

/// A job to be admitted, and what must hold for it when it is written.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// The job; where it is to be paid after its work, its buyer's credit may turn it into one that is paid first.
    pub job: Job,
    /// Its texts.
    pub texts: Texts,
    /// The relay that brought it.
    pub from: String,
    /// What was passed over or changed, for the timeline.
    pub notes: String,
    /// Its first events; they are not sent where it is paid first.
    pub drafts: Vec<SignedDraft>,
    /// As many jobs may wait, this one included.
    pub most_waiting: u32,
    /// What may be owed; none where nobody counts it.
    pub credit: Option<credit::Limits>,
    /// The wallet that is asked for an invoice, where it wants one.
    pub question: Option<Question>,
    /// What is free; none where nothing is. With whether the request itself said how long its answer may be.
    pub free: Option<(FreeTier, bool)>,
}

#[cfg(test)]
impl NewJob {
    /// With no limit at all.
    #[must_use]
    pub fn plain(job: Job) -> Self {
        Self {
            job,
            texts: Texts::default(),
            from: String::new(),
            notes: String::new(),
            drafts: Vec::new(),
            most_waiting: u32::MAX,
            credit: None,
            question: None,
            free: None,
        }
    }
}

/// A step of a job, as it is written.
#[derive(Clone, Debug)]
pub struct Change {
    /// The job that the step was made from.
    pub before: Job,
    /// The job after it.
    pub job: Job,
    /// The timeline's word.
    pub what: &'static str,
    /// More, in plain words.
    pub detail: String,
    /// The answer's text, where it comes with this step.
    pub answer: Option<String>,
    /// Events to send.
    pub drafts: Vec<SignedDraft>,
    /// The job's earlier events are sent no more.
    pub withdraw: bool,
    /// What made the step, written with it.
    pub cause: Cause,
}

/// What made a step, where that is to be written too.
#[derive(Clone, Debug, Default)]
pub enum Cause {
    /// Nothing more.
    #[default]
    Itself,
    /// A payment, and what came with it.
    Payment(Proof),
    /// The wallet is asked for the invoice next that the job wants by this step.
    Question(Question),
    /// A relay accepted this entry of the outbox.
    Relay {
        /// The entry.
        out_id: i64,
        /// The relay.
        relay: String,
    },
}

#[cfg(test)]
impl Change {
    /// One that brings nothing but the job.
    pub(super) fn bare(before: &Job, job: &Job, what: &'static str) -> Self {
        Self {
            before: before.clone(),
            job: job.clone(),
            what,
            detail: String::new(),
            answer: None,
            drafts: Vec::new(),
            withdraw: false,
            cause: Cause::Itself,
        }
    }
}

impl Ledger {
    /// Writes a new job with its first events, as it stands after what all buyers owe was counted in the same transaction: so
    /// many that come at once can't owe more together than one after the other. Where it says a drop reason nothing is
    /// changed: the request was known, or as many jobs as may wait do so already.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn admit(&self, new: NewJob) -> Result<Result<Job, DropReason>, LedgerError> {
        let (live, question) = (self.live.clone(), new.question);
        let entered = self.writer.call_then(
            move |connection| enter(connection, new),
            move |entered| {
                if let Ok((job, put)) = entered {
                    live.with(|live| {
                        live.put(job);
                        let question = question.filter(|_| wants_invoice(job));
                        live.questions
                            .extend(question.map(|question| (job.id, question)));
                        live.outbox.put_all(put);
                    });
                }
            },
        );
        Ok(entered.await?.map(|(job, _)| job))
    }

    /// Writes a step: the job as it is after it, its history, its events; all or nothing.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] where another change came first.
    pub async fn commit(&self, change: Change) -> Result<(), LedgerError> {
        let (live, from) = (self.live.clone(), self.live.clone());
        let written = self.writer.call_then(
            move |connection| write_step(connection, change, &from),
            move |written| {
                live.with(|live| {
                    live.put(&written.job);
                    live.outbox.withdraw(&written.withdrawn);
                    live.outbox.put_all(&written.put);
                    match &written.cause {
                        Cause::Itself | Cause::Payment(_) => {}
                        Cause::Relay { out_id, relay } => {
                            live.outbox.settle(*out_id, relay, Settled::Ok);
                        }
                        Cause::Question(question) => {
                            if wants_invoice(&written.job) {
                                live.questions.insert(written.job.id, *question);
                            }
                        }
                    }
                });
            },
        );
        written.await.map(drop)
    }

    /// A line of history that changes nothing else.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn note(
        &self,
        id: RequestId,
        what: &'static str,
        detail: String,
    ) -> Result<(), LedgerError> {
        self.writer
            .call(move |connection| rows::note(connection, &id, Time::now(), what, &detail))
            .await
    }

    /// A line of history that a job has once, however often it comes: strangers can ask for it.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn note_once(
        &self,
        id: RequestId,
        what: &'static str,
        detail: String,
    ) -> Result<(), LedgerError> {
        self.writer
            .call(move |connection| {
                let known = connection
                    .prepare_cached("SELECT 1 FROM timeline WHERE job_id = ?1 AND what = ?2")?
                    .exists(params![id.0.as_bytes().as_slice(), what])?;
                if known {
                    return Ok(());
                }
                rows::note(connection, &id, Time::now(), what, &detail)
            })
            .await
    }

    /// The state of a job's invoice; none where it has none.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn invoice_state(&self, id: RequestId) -> Result<Option<InvoiceState>, LedgerError> {
        self.reader
            .call(move |connection| {
                let word: Option<String> = connection
                    .prepare_cached("SELECT state FROM invoices WHERE job_id = ?1")?
                    .query_row([id.0.as_bytes().as_slice()], |row| row.get(0))
                    .optional()?;
                word.map(|word| rows::unword(&word, "an invoice's state"))
                    .transpose()
            })
            .await
    }

    /// The job with this id.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn job(&self, id: RequestId) -> Result<Option<Job>, LedgerError> {
        if let Some(job) = self.live.with(|live| live.get(&id)) {
            return Ok(Some(Job::clone(&job)));
        }
        self.reader
            .call(move |connection| rows::find(connection, &id))
            .await
    }

    /// The ids that begin so, two at most: one is an answer, two are none.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn ids(&self, beginning: IdBeginning) -> Result<Vec<RequestId>, LedgerError> {
        self.reader
            .call(move |connection| {
                let (first, last) = beginning.range();
                let mut statement = connection
                    .prepare_cached("SELECT id FROM jobs WHERE id BETWEEN ?1 AND ?2 LIMIT 2")?;
                let ids = statement
                    .query_map(params![first.0, last.0], |row| row.get::<_, [u8; 32]>(0))?;
                ids.map(|id| Ok(RequestId(EventId::from_byte_array(id?))))
                    .collect()
            })
            .await
    }

    /// Jobs, newest first.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn jobs(&self, filter: JobFilter) -> Result<Vec<Job>, LedgerError> {
        self.reader
            .call(move |connection| {
                let limit = filter.limit.map_or(-1, i64::from);
                let since = filter.since.map_or(i64::MIN, |at| at.0);
                let status = filter.status.map(Status::as_str);
                rows::all(
                    connection,
                    "WHERE j.created_at >= ?1 AND (?2 IS NULL OR j.status = ?2)
                     ORDER BY j.created_at DESC, j.id LIMIT ?3",
                    params![since, status, limit],
                )
            })
            .await
    }

    /// A job's history.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn timeline(&self, id: RequestId) -> Result<Vec<TimelineEntry>, LedgerError> {
        self.reader
            .call(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT at, what, detail FROM timeline WHERE job_id = ?1 ORDER BY seq",
                )?;
                let rows = statement.query_map([id.0.as_bytes().as_slice()], |row| {
                    Ok(TimelineEntry {
                        at: Time(row.get(0)?),
                        what: row.get(1)?,
                        detail: row.get(2)?,
                    })
                })?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// The job whose invoice has this hash.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn by_hash(&self, hash: PaymentHash) -> Result<Option<RequestId>, LedgerError> {
        self.reader
            .call(move |connection| {
                let id: Option<Vec<u8>> = connection
                    .prepare_cached("SELECT job_id FROM invoices WHERE payment_hash = ?1")?
                    .query_row([hash.0.0.as_slice()], |row| row.get(0))
                    .optional()?;
                Ok(id
                    .and_then(|id| EventId::from_slice(&id).ok())
                    .map(RequestId))
            })
            .await
    }

    /// What admission must know of a request and its buyer.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn record(&self, id: EventId, buyer: Buyer) -> Result<Record, LedgerError> {
        self.reader
            .call(move |connection| {
                if is_seen(connection, &id)? || is_job(connection, &id)? {
                    return Ok(Record {
                        known: true,
                        ..Record::default()
                    });
                }
                let of_buyers = due::waiting_of(connection, buyer)?;
                let (paid_before, anybody_paid) = stats::paid_before(connection, buyer)?;
                Ok(Record {
                    paid_before,
                    anybody_paid,
                    ..of_buyers
                })
            })
            .await
    }

    /// Remembers a decision that made no job, with the answer that was given, if any. False where the event was known.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn refuse(
        &self,
        id: EventId,
        verdict: &'static str,
        now: Time,
        answer: Option<SignedDraft>,
    ) -> Result<bool, LedgerError> {
        let live = self.live.clone();
        self.writer
            .call_then(move |connection| {
                if is_job(connection, &id)? {
                    return Ok((false, None));
                }
                let new = connection
                    .prepare_cached(
                        "INSERT INTO seen (event_id, at, verdict) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                    )?
                    .execute(params![id.as_bytes().as_slice(), now.0, verdict])?
                    == 1;
                let put = match answer.filter(|_| new) {
                    Some(answer) => outbox::put(connection, None, answer)?,
                    None => None,
                };
                Ok((new, put))
            }, move |(_, put)| live.with(|live| live.outbox.put_all(put)))
            .await
            .map(|(new, _)| new)
    }

    /// What one buyer owes now, and what all buyers do (SPEC section 5).
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn owed(&self, buyer: Buyer, now: Time) -> Result<(Msat, Msat), LedgerError> {
        self.reader
            .call(move |connection| owed(connection, buyer, now))
            .await
    }

    /// Writes a zap to one of our results into its job's history, once for each receipt. None where the receipt is known, or
    /// the event is no result of ours.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn zap(
        &self,
        receipt: EventId,
        result: EventId,
        detail: String,
        now: Time,
    ) -> Result<Option<Job>, LedgerError> {
        self.writer
            .call(move |connection| {
                let job = rows::all(connection, ANSWERED_BY, params![result.as_bytes().as_slice()])?;
                let Some(job) = job.into_iter().next() else {
                    return Ok(None);
                };
                let new = connection
                    .prepare_cached(
                        "INSERT INTO seen (event_id, at, verdict) VALUES (?1, ?2, 'zap') ON CONFLICT DO NOTHING",
                    )?
                    .execute(params![receipt.as_bytes().as_slice(), now.0])?
                    == 1;
                if !new {
                    return Ok(None);
                }
                rows::note(connection, &job.id, now, "zapped", &detail)?;
                Ok(Some(job))
            })
            .await
    }
}

/// What a step has written.
struct Written {
    job: Job,
    cause: Cause,
    put: Vec<Put>,
    withdrawn: Vec<i64>,
}

/// Is the wallet asked for its invoice next?
fn wants_invoice(job: &Job) -> bool {
    matches!(job.state, State::Inferred | State::Quoting)
}

fn write_step(
    connection: &Connection,
    change: Change,
    live: &Shared,
) -> Result<Written, LedgerError> {
    let Change {
        before,
        job,
        what,
        detail,
        answer,
        drafts,
        withdraw,
        cause,
    } = change;
    write::update(connection, &before, &job, answer.as_deref())?;
    rows::note(connection, &job.id, job.updated_at, what, &detail)?;
    let withdrawn = if withdraw {
        outbox::withdraw(connection, &job.id)?
    } else {
        Vec::new()
    };
    let mut put = Vec::with_capacity(drafts.len());
    for draft in drafts {
        put.extend(outbox::put(connection, Some(job.id), draft)?);
    }
    match &cause {
        Cause::Itself | Cause::Question(_) => {}
        Cause::Payment(proof) => desk::prove(connection, &job.id, proof)?,
        Cause::Relay { out_id, relay } => outbox::accepted(connection, *out_id, relay)?,
    }
    if let Cause::Question(question) = &cause
        && wants_invoice(&job)
    {
        questions::ask(connection, &job.id, *question)?;
    }
    // Whoever takes a question asks it; this one is not asked any more.
    if !wants_invoice(&job) && live.with(|live| live.questions.remove(&job.id)).is_some() {
        questions::answered(connection, &job.id)?;
    }
    stats::tally(connection, Some(&before), &job)?;
    Ok(Written {
        job,
        cause,
        put,
        withdrawn,
    })
}

type Entered = Result<(Job, Vec<Put>), DropReason>;

fn enter(connection: &Connection, new: NewJob) -> Result<Entered, LedgerError> {
    let NewJob {
        mut job,
        texts,
        from,
        notes,
        mut drafts,
        most_waiting,
        credit,
        question,
        free,
    } = new;
    if is_seen(connection, &job.id.0)? || is_job(connection, &job.id.0)? {
        return Ok(Err(DropReason::Duplicate));
    }
    if due::waiting(connection)? >= most_waiting {
        return Ok(Err(DropReason::Busy));
    }
    let balance = balances::of(connection, job.buyer)?;
    if !free_today(connection, &mut job, free)? {
        admission::use_balance(&mut job, balance);
    }
    if let Some(limits) = credit.filter(|_| job.terms.order == PayOrder::After) {
        let (mine, all) = owed(connection, job.buyer, job.created_at)?;
        if !limits.allow(mine, all, credit::reserved(&job)) {
            admission::pay_first(&mut job, balance);
            drafts.clear();
        }
    }
    if !write::insert(connection, &job, &texts)? {
        return Ok(Err(DropReason::Duplicate));
    }
    let used = match job.balance_used {
        Msat::ZERO => String::new(),
        used => format!(", {} set apart of its balance", used.display()),
    };
    let order = job.terms.order.told();
    let detail = format!("from {from}, pays {order}{used}. {notes}");
    let detail = clean(&detail, LONGEST_DETAIL);
    rows::note(connection, &job.id, job.created_at, "admitted", &detail)?;
    let mut put = Vec::with_capacity(drafts.len());
    for draft in drafts {
        put.extend(outbox::put(connection, Some(job.id), draft)?);
    }
    if let Some(question) = question.filter(|_| wants_invoice(&job)) {
        questions::ask(connection, &job.id, question)?;
    }
    stats::tally(connection, None, &job)?;
    Ok(Ok((job, put)))
}

/// The newest days that were counted are kept: a clock that runs ahead for a while must not make today's count forgotten.
const FORGET_FREE: &str = "DELETE FROM free_jobs WHERE day <
  (SELECT min(day) FROM (SELECT DISTINCT day FROM free_jobs ORDER BY day DESC LIMIT 8))";

/// Makes the job free where the seller gives some away, and counts it: in the transaction that writes the job, so that many that
/// come at once get no more than one after the other.
fn free_today(
    connection: &Connection,
    job: &mut Job,
    free: Option<(FreeTier, bool)>,
) -> Result<bool, LedgerError> {
    let Some((tier, names_length)) = free.filter(|_| job.terms.order != PayOrder::Free) else {
        return Ok(false);
    };
    let (day, buyer) = (job.created_at.day(), job.buyer.0.as_bytes().to_vec());
    let (mine, all): (u32, u32) = connection
        .prepare_cached(
            "SELECT coalesce(sum(jobs) FILTER (WHERE buyer = ?2), 0), coalesce(sum(jobs), 0) FROM free_jobs WHERE day = ?1",
        )?
        .query_row(params![day, buyer], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if !tier.takes(job, names_length, mine, all) {
        return Ok(false);
    }
    tier.give(job);
    connection
        .prepare_cached(
            "INSERT INTO free_jobs VALUES (?1, ?2, 1) ON CONFLICT (day, buyer) DO UPDATE SET jobs = jobs + 1",
        )?
        .execute(params![day, buyer])?;
    connection.prepare_cached(FORGET_FREE)?.execute([])?;
    Ok(true)
}

const OWED_BY_ONE: &str = "SELECT coalesce(sum(debt_msat), 0) FROM jobs
  WHERE debt_msat > 0 AND buyer = ?1 AND debt_until > ?2";
const OWED_BY_ALL: &str =
    "SELECT coalesce(sum(debt_msat), 0) FROM jobs WHERE debt_msat > 0 AND debt_until > ?1";

fn owed(connection: &Connection, buyer: Buyer, now: Time) -> Result<(Msat, Msat), LedgerError> {
    let mine: i64 = connection
        .prepare_cached(OWED_BY_ONE)?
        .query_row(params![buyer.0.as_bytes().as_slice(), now.0], |row| {
            row.get(0)
        })?;
    let all: i64 = connection
        .prepare_cached(OWED_BY_ALL)?
        .query_row([now.0], |row| row.get(0))?;
    Ok((rows::msat(mine), rows::msat(all)))
}

fn is_seen(connection: &rusqlite::Connection, id: &EventId) -> Result<bool, LedgerError> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM seen WHERE event_id = ?1")?
        .exists([id.as_bytes().as_slice()])?)
}

fn is_job(connection: &rusqlite::Connection, id: &EventId) -> Result<bool, LedgerError> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM jobs WHERE id = ?1")?
        .exists([id.as_bytes().as_slice()])?)
}

#[cfg(test)]
mod tests;
