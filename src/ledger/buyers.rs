//! What the seller decided about buyers, and how each stands.

use std::collections::HashMap;

use nostr::PublicKey;
use rusqlite::{Connection, Row, params};

use super::rows::msat;
use super::{Ledger, LedgerError};
use crate::domain::id::Buyer;
use crate::domain::msat::Msat;
use crate::domain::standing::{Decision, Standing};
use crate::domain::time::Time;

const ALL: &str = "SELECT buyer, blocked, trusted, credit_sats FROM standings";
const ONE: &str = "SELECT blocked, trusted, credit_sats FROM standings WHERE buyer = ?1";

/// A buyer's jobs, as counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dealings {
    /// Jobs that were admitted.
    pub asked: u64,
    /// Of those, delivered.
    pub delivered: u64,
    /// Of those, paid.
    pub paid: u64,
    /// What was paid.
    pub paid_msat: Msat,
    /// Delivered and not paid.
    pub owed_msat: Msat,
    /// What it has left with us.
    pub balance_msat: Msat,
    /// The first job.
    pub first: Option<Time>,
    /// The last one.
    pub last: Option<Time>,
}

impl Ledger {
    /// Every buyer about whom something was decided.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn standings(&self) -> Result<HashMap<PublicKey, Standing>, LedgerError> {
        self.reader
            .call(|connection| {
                if !exists(connection)? {
                    return Ok(HashMap::new());
                }
                let mut statement = connection.prepare_cached(ALL)?;
                let rows = statement.query_map([], |row| {
                    let buyer: Vec<u8> = row.get(0)?;
                    Ok((buyer, standing(row, 1)?))
                })?;
                let mut all = HashMap::new();
                for row in rows {
                    let (buyer, standing) = row?;
                    all.insert(key(&buyer)?, standing);
                }
                Ok(all)
            })
            .await
    }

    /// Writes a decision down; how the buyer stands then.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn decide_on(
        &self,
        buyer: Buyer,
        decision: Decision,
    ) -> Result<Standing, LedgerError> {
        self.writer
            .call(move |connection| {
                let bytes = buyer.0.as_bytes().as_slice();
                let before = connection
                    .prepare_cached(ONE)?
                    .query_row([bytes], |row| standing(row, 0));
                let before = match before {
                    Ok(standing) => standing,
                    Err(rusqlite::Error::QueryReturnedNoRows) => Standing::default(),
                    Err(error) => return Err(error.into()),
                };
                let after = before.after(decision);
                let credit = after.credit_sats.and_then(|sats| i64::try_from(sats).ok());
                connection
                    .prepare_cached(
                        "INSERT INTO standings (buyer, blocked, trusted, credit_sats, at) VALUES (?1, ?2, ?3, ?4, ?5)
                         ON CONFLICT (buyer) DO UPDATE SET blocked = ?2, trusted = ?3, credit_sats = ?4, at = ?5",
                    )?
                    .execute(params![
                        bytes,
                        after.blocked,
                        after.trusted,
                        credit,
                        Time::now().0
                    ])?;
                Ok(after)
            })
            .await
    }

    /// Every buyer with its jobs, the one who came last first.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn dealings(&self) -> Result<Vec<(Buyer, Dealings)>, LedgerError> {
        self.reader
            .call(|connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT buyer, count(*), sum(delivered), sum(paid_msat > 0), sum(paid_msat),
                       sum(CASE WHEN debt_until > ?1 THEN debt_msat ELSE 0 END),
                       min(created_at), max(created_at),
                       (SELECT msat FROM balances WHERE balances.buyer = jobs.buyer)
                     FROM jobs GROUP BY buyer ORDER BY 8 DESC",
                )?;
                let rows = statement.query_map([Time::now().0], |row| {
                    let buyer: Vec<u8> = row.get(0)?;
                    let count = |at: usize| {
                        let count: i64 = row.get(at)?;
                        Ok::<_, rusqlite::Error>(u64::try_from(count).unwrap_or(0))
                    };
                    let dealings = Dealings {
                        asked: count(1)?,
                        delivered: count(2)?,
                        paid: count(3)?,
                        paid_msat: msat(row.get(4)?),
                        owed_msat: msat(row.get(5)?),
                        balance_msat: msat(row.get::<_, Option<i64>>(8)?.unwrap_or(0)),
                        first: row.get::<_, Option<i64>>(6)?.map(Time),
                        last: row.get::<_, Option<i64>>(7)?.map(Time),
                    };
                    Ok((buyer, dealings))
                })?;
                let mut all = Vec::new();
                for row in rows {
                    let (buyer, dealings) = row?;
                    all.push((Buyer(key(&buyer)?), dealings));
                }
                Ok(all)
            })
            .await
    }
}

/// A ledger that no vend of this version has opened for writing yet has no decisions.
fn exists(connection: &Connection) -> rusqlite::Result<bool> {
    let has = "SELECT count(*) FROM sqlite_master WHERE name = 'standings'";
    Ok(connection.query_row(has, [], |row| row.get::<_, i64>(0))? == 1)
}

fn standing(row: &Row<'_>, at: usize) -> rusqlite::Result<Standing> {
    Ok(Standing {
        blocked: row.get(at)?,
        trusted: row.get(at + 1)?,
        credit_sats: row
            .get::<_, Option<i64>>(at + 2)?
            .and_then(|sats| u64::try_from(sats).ok()),
    })
}

fn key(bytes: &[u8]) -> Result<PublicKey, LedgerError> {
    PublicKey::from_slice(bytes).map_err(|_| LedgerError::Unreadable("a buyer's key"))
}

#[cfg(test)]
mod tests {
    use nostr::Keys;

    use super::*;

    #[tokio::test]
    async fn a_decision_outlasts_the_program() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vend.db");
        let [blocked, trusted] = [(); 2].map(|()| Buyer(Keys::generate().public_key()));
        let ledger = Ledger::open(&path).unwrap();
        ledger.decide_on(blocked, Decision::Block).await.unwrap();
        let credit = Decision::Trust {
            credit_sats: Some(900),
        };
        ledger.decide_on(trusted, credit).await.unwrap();
        ledger.close().await;
        let ledger = Ledger::open(&path).unwrap();
        let all = ledger.standings().await.unwrap();
        assert!(all[&blocked.0].blocked);
        assert_eq!(all[&trusted.0].credit_sats, Some(900));
        let after = ledger.decide_on(blocked, Decision::Unblock).await.unwrap();
        assert_eq!(after, Standing::default());
        assert!(ledger.dealings().await.unwrap().is_empty());
        ledger.close().await;
    }
}
