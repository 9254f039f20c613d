//! What the recovery desk needs to know, and the decisions made at it.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::waiting::SignedDraft;
use super::{Ledger, LedgerError, outbox, rows, write};
use crate::domain::desk::{
    Asked, CaseKind, Decision, DeskAction, Dispute, DisputeKind, Facts, LATE_TOLD, STUCK_AFTER,
    TOLD_MAX,
};
use crate::domain::id::{PaymentHash, Preimage, RequestId};
use crate::domain::job::Job;
use crate::domain::msat::Msat;
use crate::domain::reply::Role;
use crate::domain::time::Time;

// What may be a case, each along an index that holds little else; the conditions are the index's own to the letter.
const OWED: &str = "SELECT id FROM jobs WHERE owed_msat > 0 ORDER BY updated_at DESC LIMIT ?1";
const STUCK: &str = "SELECT id FROM jobs WHERE paid_msat > 0 AND delivered = 0 AND updated_at <= ?2
  AND state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled') LIMIT ?1";
const DOUBTED: &str = "SELECT job_id FROM doubts WHERE decided = 0 ORDER BY first_at DESC LIMIT ?1";
/// Those with a preimage are hold invoices: they came in time.
const LATE: &str = "SELECT job_id FROM invoices WHERE state = 'paid' AND paid_at > expires_at + 60000 AND paid_at > ?2
  AND preimage IS NULL
  AND NOT EXISTS (SELECT 1 FROM decisions d WHERE d.job_id = invoices.job_id AND d.kind = 'late')
  ORDER BY paid_at DESC LIMIT ?1";
/// Delivered and held, without the secret: in a copy that was put back.
const SECRETLESS: &str = "SELECT job_id FROM invoices WHERE state <> 'paid' AND state = 'taking' AND preimage IS NULL
  AND NOT EXISTS (SELECT 1 FROM decisions d WHERE d.job_id = invoices.job_id AND d.kind = 'disputed') LIMIT ?1";
const ASKED: &str = "SELECT job_id FROM asks WHERE decided = 0 ORDER BY at DESC LIMIT ?1";
/// What came with a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The proof that it was paid.
    pub preimage: Option<Preimage>,
    /// What the wallet kept of it.
    pub fee: Option<Msat>,
}

/// Kept with the payment itself.
pub(super) fn prove(
    connection: &Connection,
    id: &RequestId,
    proof: &Proof,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO proofs VALUES (?1, ?2, ?3) ON CONFLICT (job_id) DO UPDATE SET
               preimage = coalesce(?2, preimage), fee_msat = coalesce(?3, fee_msat)",
        )?
        .execute(params![
            id.0.as_bytes().as_slice(),
            proof.preimage.map(|preimage| preimage.0.0.to_vec()),
            proof.fee.map(rows::int)
        ])?;
    Ok(())
}

impl Ledger {
    /// What is known of every job that may be a case now, at most some hundreds.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn desk(&self, now: Time) -> Result<Vec<Facts>, LedgerError> {
        self.lister
            .call(move |connection| {
                if !connection.table_exists(None, "decisions")? {
                    return Ok(Vec::new());
                }
                let mut ids: Vec<Vec<u8>> = Vec::new();
                for (sql, since) in [
                    (OWED, None),
                    (STUCK, Some(now.minus(STUCK_AFTER))),
                    (DOUBTED, None),
                    (SECRETLESS, None),
                    (LATE, Some(now.minus(LATE_TOLD))),
                    (ASKED, None),
                ] {
                    let mut statement = connection.prepare_cached(sql)?;
                    let read = |row: &Row<'_>| row.get::<_, Vec<u8>>(0);
                    let found = match since {
                        None => statement.query_map([TOLD_MAX], read)?,
                        Some(since) => statement.query_map(params![TOLD_MAX, since.0], read)?,
                    };
                    for id in found {
                        let id = id?;
                        if !ids.contains(&id) {
                            ids.push(id);
                        }
                    }
                }
                let mut all = Vec::with_capacity(ids.len());
                for id in ids {
                    all.extend(facts(connection, &RequestId(rows::event_id(&id)?))?);
                }
                Ok(all)
            })
            .await
    }

    /// What is known of one job; none where there is no such job.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn desk_of(&self, id: RequestId) -> Result<Option<Facts>, LedgerError> {
        self.reader
            .call(move |connection| facts(connection, &id))
            .await
    }

    /// The last decisions, the latest first.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn decisions(&self) -> Result<Vec<Decision>, LedgerError> {
        self.lister
            .call(|connection| {
                if !connection.table_exists(None, "decisions")? {
                    return Ok(Vec::new());
                }
                decided(connection, "ORDER BY seq DESC LIMIT ?1", params![TOLD_MAX])
            })
            .await
    }

    /// Writes a decision down, with the job as it is after it; all or nothing.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] where another change came first.
    pub async fn decide(
        &self,
        job: Job,
        decision: Decision,
        withdraw: bool,
    ) -> Result<(), LedgerError> {
        let live = self.live.clone();
        let written = self.writer.call_then(
            move |connection| {
                let before = rows::find(connection, &job.id)?.ok_or(LedgerError::NoSuchJob)?;
                write::update(connection, &before, &job, None)?;
                let word = decision.action.history();
                rows::note(connection, &job.id, decision.at, word, &decision.note)?;
                let withdrawn = if withdraw {
                    outbox::withdraw(connection, &job.id)?
                } else {
                    Vec::new()
                };
                write_decision(connection, &decision)?;
                super::stats::tally(connection, Some(&before), &job)?;
                Ok((job, withdrawn))
            },
            move |(job, withdrawn)| {
                live.with(|live| {
                    live.put(job);
                    live.outbox.withdraw(withdrawn);
                });
            },
        );
        written.await.map(drop)
    }

    /// The result's bytes are due at these relays and at all that it went to before, until `until`. False where the bytes
    /// are not kept any more: then nothing is changed.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn send_again(
        &self,
        id: RequestId,
        relays: Vec<String>,
        until: Time,
        note: String,
    ) -> Result<bool, LedgerError> {
        let changed = self.outbox_changed();
        self.writer
            .call_then(
                move |connection| {
                    let word = Role::Result.as_str();
                    if !outbox::again(connection, &id, word, &relays, until)? {
                        return Ok(false);
                    }
                    let what = DeskAction::Deliver.history();
                    rows::note(connection, &id, Time::now(), what, &note)?;
                    Ok(true)
                },
                move |_| changed(),
            )
            .await
    }

    /// Another result takes the place of one that no relay has.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] where the job has changed meanwhile.
    pub async fn sign_again(
        &self,
        before: Job,
        draft: SignedDraft,
        note: String,
    ) -> Result<(), LedgerError> {
        let live = self.live.clone();
        let written = self.writer.call_then(
            move |connection| {
                let mut job = before.clone();
                job.rev += 1;
                job.updated_at = Time::now();
                job.result_id = Some(draft.event_id);
                write::update(connection, &before, &job, None)?;
                let what = DeskAction::Redeliver.history();
                rows::note(connection, &job.id, job.updated_at, what, &note)?;
                outbox::replace(connection, &job.id, draft)?;
                Ok(job)
            },
            move |job| {
                live.with(|live| {
                    live.put(job);
                    live.outbox.forget();
                });
            },
        );
        written.await.map(drop)
    }

    /// Writes down what the wallet says of an invoice where that settles nothing. Other words than before open a case that
    /// was decided.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn dispute(&self, id: RequestId, dispute: Dispute) -> Result<(), LedgerError> {
        self.writer
            .call(move |connection| {
                connection
                    .prepare_cached(
                        "INSERT INTO doubts VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0) ON CONFLICT (job_id) DO UPDATE SET
                           decided = decided AND kind = ?2 AND words = ?3, kind = ?2, words = ?3, first_at = ?4,
                           last_at = ?5, times = ?6",
                    )?
                    .execute(params![
                        id.0.as_bytes().as_slice(),
                        dispute.kind.as_str(),
                        dispute.words,
                        dispute.first_at.0,
                        dispute.last_at.0,
                        dispute.times
                    ])?;
                Ok(())
            })
            .await
    }

    /// The wallet's word on an invoice is an ordinary one again.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn no_doubt(&self, id: RequestId) -> Result<(), LedgerError> {
        self.writer
            .call(move |connection| {
                connection
                    .prepare_cached("DELETE FROM doubts WHERE job_id = ?1")?
                    .execute([id.0.as_bytes().as_slice()])?;
                Ok(())
            })
            .await
    }

    /// Every invoice that the wallet's word leaves in doubt.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn disputes(&self) -> Result<Vec<(RequestId, Dispute)>, LedgerError> {
        self.reader
            .call(|connection| {
                let mut statement =
                    connection.prepare_cached(&format!("{DOUBT} ORDER BY job_id"))?;
                let found =
                    statement.query_map([], |row| Ok((row.get::<_, Vec<u8>>(6)?, dispute(row))))?;
                let mut all = Vec::new();
                for row in found {
                    let (id, dispute) = row?;
                    all.push((RequestId(rows::event_id(&id)?), dispute?));
                }
                Ok(all)
            })
            .await
    }
}

fn write_decision(connection: &Connection, decision: &Decision) -> Result<(), LedgerError> {
    let id = decision.id.0.as_bytes().as_slice();
    connection
        .prepare_cached(
            "INSERT INTO decisions (job_id, kind, action, note, amount_msat, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            id,
            decision.kind.as_str(),
            decision.action.as_str(),
            decision.note,
            rows::int(decision.amount_msat),
            decision.at.0
        ])?;
    let closed = match decision.kind {
        CaseKind::Disputed => "UPDATE doubts SET decided = 1 WHERE job_id = ?1",
        CaseKind::Orphan => "UPDATE asks SET decided = 1 WHERE job_id = ?1",
        CaseKind::Undelivered | CaseKind::Owed | CaseKind::Late => return Ok(()),
    };
    connection.prepare_cached(closed)?.execute([id])?;
    Ok(())
}

const DOUBT: &str = "SELECT kind, words, first_at, last_at, times, decided, job_id FROM doubts";

fn dispute(row: &Row<'_>) -> Result<Dispute, LedgerError> {
    Ok(Dispute {
        kind: DisputeKind::parse(&row.get::<_, String>(0)?)
            .ok_or(LedgerError::Unreadable("a doubt"))?,
        words: row.get(1)?,
        first_at: Time(row.get(2)?),
        last_at: Time(row.get(3)?),
        times: row.get(4)?,
        decided: row.get(5)?,
    })
}

fn asked(row: &Row<'_>) -> Result<Asked, LedgerError> {
    let hash: Option<Vec<u8>> = row.get(4)?;
    Ok(Asked {
        wallet: row.get(0)?,
        lost: row.get(1)?,
        open: row.get(2)?,
        words: row.get(3)?,
        payment_hash: hash
            .map(|bytes| rows::id32(&bytes, "a payment hash").map(PaymentHash))
            .transpose()?,
        at: Time(row.get(5)?),
        decided: row.get(6)?,
    })
}

fn decided(
    connection: &Connection,
    rest: &str,
    params: impl rusqlite::Params,
) -> Result<Vec<Decision>, LedgerError> {
    let sql = format!("SELECT job_id, kind, action, note, amount_msat, at FROM decisions {rest}");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = statement.query(params)?;
    let mut all = Vec::new();
    while let Some(row) = found.next()? {
        let unreadable = || LedgerError::Unreadable("a decision");
        all.push(Decision {
            id: RequestId(rows::event_id(&row.get::<_, Vec<u8>>(0)?)?),
            kind: CaseKind::parse(&row.get::<_, String>(1)?).ok_or_else(unreadable)?,
            action: DeskAction::parse(&row.get::<_, String>(2)?).ok_or_else(unreadable)?,
            note: row.get(3)?,
            amount_msat: rows::msat(row.get(4)?),
            at: Time(row.get(5)?),
        });
    }
    Ok(all)
}

fn facts(connection: &Connection, id: &RequestId) -> Result<Option<Facts>, LedgerError> {
    let Some(job) = rows::find(connection, id)? else {
        return Ok(None);
    };
    let key = id.0.as_bytes().as_slice();
    let out_id: Option<i64> = connection
        .prepare_cached("SELECT out_id FROM outbox WHERE job_id = ?1 AND role = ?2")?
        .query_row(params![key, Role::Result.as_str()], |row| row.get(0))
        .optional()?;
    let mut accepted_by = Vec::new();
    let mut due_at = 0;
    if let Some(out_id) = out_id {
        let mut statement = connection
            .prepare_cached("SELECT relay, state FROM delivery WHERE out_id = ?1 ORDER BY relay")?;
        let mut found = statement.query([out_id])?;
        while let Some(row) = found.next()? {
            match row.get::<_, String>(1)?.as_str() {
                "ok" => accepted_by.push(row.get(0)?),
                "due" => due_at += 1,
                _ => {}
            }
        }
    }
    Ok(Some(Facts {
        dispute: connection
            .prepare_cached(&format!("{DOUBT} WHERE job_id = ?1"))?
            .query_row([key], |row| Ok(dispute(row)))
            .optional()?
            .transpose()?,
        asked: connection
            .prepare_cached(
                "SELECT wallet, lost, open, words, payment_hash, at, decided FROM asks WHERE job_id = ?1",
            )?
            .query_row([key], |row| Ok(asked(row)))
            .optional()?
            .transpose()?,
        result_kept: out_id.is_some(),
        accepted_by,
        due_at,
        decisions: decided(connection, "WHERE job_id = ?1 ORDER BY seq", params![key])?,
        job,
    }))
}

#[cfg(test)]
mod tests;
