//! Questions for an invoice: written before a wallet is asked, so that an answer which never comes is known of.

use rusqlite::{Connection, params};

use super::{Ledger, LedgerError};
use crate::domain::id::{PaymentHash, RequestId};
use crate::domain::time::Time;

/// A wallet is about to be asked for an invoice. Written before it is, so that an answer which never comes is known of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// The wallet's backend.
    pub wallet: &'static str,
    /// It keeps labels: an invoice of an earlier question was looked for, and there is none.
    pub sure: bool,
}

/// What became of a question for an invoice that no buyer will see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LostInvoice {
    /// The wallet surely made none.
    None,
    /// It may have made one; what it said.
    Perhaps(String),
    /// It made this one, too late.
    Late(PaymentHash),
}

impl Ledger {
    /// An invoice is about to be asked for. An earlier question without an answer is lost, unless the wallet is `sure` that
    /// it made none for this job.
    ///
    /// # Errors
    /// Where the ledger does not commit: then nothing is to be asked.
    pub async fn asking(&self, id: RequestId, question: Question) -> Result<(), LedgerError> {
        self.writer
            .call(move |connection| ask(connection, &id, question))
            .await
    }

    /// The question that was written with the step by which the job came to want an invoice. It is taken once: of another
    /// question nothing is written.
    #[must_use]
    pub fn take_question(&self, id: RequestId) -> Option<Question> {
        self.live.with(|live| live.questions.remove(&id))
    }

    /// No buyer will see what was asked for last.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn lost_invoice(&self, id: RequestId, what: LostInvoice) -> Result<(), LedgerError> {
        self.writer
            .call(move |connection| {
                let job = id;
                let id = id.0.as_bytes().as_slice();
                match what {
                    LostInvoice::None => answered(connection, &job)?,
                    LostInvoice::Perhaps(words) => {
                        let sql = "UPDATE asks SET words = ?2 WHERE job_id = ?1";
                        connection.execute(sql, params![id, words])?;
                    }
                    LostInvoice::Late(hash) => {
                        let sql = "UPDATE asks SET lost = lost + open, open = 0, payment_hash = ?2 WHERE job_id = ?1";
                        connection.execute(sql, params![id, hash.0.0.as_slice()])?;
                    }
                }
                Ok(())
            })
            .await
    }
}

/// The wallet is asked after this is committed.
pub(super) fn ask(
    connection: &Connection,
    id: &RequestId,
    Question { wallet, sure }: Question,
) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO asks (job_id, wallet, at) VALUES (?1, ?2, ?3) ON CONFLICT (job_id) DO UPDATE SET
               lost = CASE WHEN ?4 THEN lost ELSE lost + open END, open = 1, wallet = ?2, at = ?3",
        )?
        .execute(params![
            id.0.as_bytes().as_slice(),
            wallet,
            Time::now().0,
            sure
        ])?;
    Ok(())
}

/// The job has its invoice, or was not asked for: the last question is none any more.
pub(super) fn answered(connection: &Connection, id: &RequestId) -> Result<(), LedgerError> {
    let id = id.0.as_bytes().as_slice();
    connection
        .prepare_cached("DELETE FROM asks WHERE job_id = ?1 AND lost = 0")?
        .execute([id])?;
    connection
        .prepare_cached("UPDATE asks SET open = 0 WHERE job_id = ?1 AND open = 1")?
        .execute([id])?;
    Ok(())
}
