//! What is asked and offered on the relays, as bounded counts by day; all of it is made of strangers' events.

use std::collections::BTreeMap;
use std::time::Duration;

use nostr::PublicKey;
use rusqlite::{Connection, params};

use super::{Ledger, LedgerError, rows};
use crate::domain::market::{
    Announced, Asked, BIDS_MAX, Charge, DAYS_KEPT, MODELS_MAX, Missed, OTHERS, Other, Report,
    Requests, SELLERS_MAX, median,
};
use crate::domain::msat::Msat;
use crate::domain::time::Time;

const DAY: u64 = 86_400;

/// What was counted since the last time it was written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Requests as they were asked.
    pub asked: BTreeMap<Asked, u64>,
    /// Requests that were not taken: how many, and what they were worth, by reason.
    pub missed: BTreeMap<&'static str, (u64, Msat)>,
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The first of the last `days` days.
fn since(now: Time, days: u64) -> String {
    now.minus(Duration::from_secs(
        days.saturating_sub(1).saturating_mul(DAY),
    ))
    .day()
}

impl Ledger {
    /// Adds what was heard, and lets go of what is too old.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn heard(&self, heard: Heard, now: Time) -> Result<(), LedgerError> {
        self.writer
            .call(move |connection| {
                let day = now.day();
                for (asked, count) in &heard.asked {
                    count_request(connection, &day, asked, *count)?;
                }
                for (reason, (count, worth)) in &heard.missed {
                    connection
                        .prepare_cached(
                            "INSERT INTO market_missed VALUES (?1, ?2, ?3, ?4) ON CONFLICT (day, reason) DO UPDATE SET
                               count = count + ?3, worth_msat = worth_msat + ?4",
                        )?
                        .execute(params![day, reason, signed(*count), rows::int(*worth)])?;
                }
                let oldest = since(now, DAYS_KEPT);
                for table in ["market_requests", "market_bids", "market_missed"] {
                    connection
                        .prepare_cached(&format!("DELETE FROM {table} WHERE day < ?1"))?
                        .execute([&oldest])?;
                }
                Ok(())
            })
            .await
    }

    /// Keeps what others announce; `alive`: who gave a sign of life.
    ///
    /// # Errors
    /// Where the ledger does not commit.
    pub async fn sellers_seen(
        &self,
        sellers: Vec<(Announced, bool)>,
        now: Time,
    ) -> Result<(), LedgerError> {
        self.writer
            .call(move |connection| {
                for (seller, alive) in &sellers {
                    connection
                        .prepare_cached(
                            "INSERT OR REPLACE INTO market_sellers VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                        )?
                        .execute(params![
                            seller.key.as_bytes().as_slice(),
                            seller.name,
                            serde_json::json!(seller.kinds).to_string(),
                            serde_json::json!(seller.models).to_string(),
                            alive,
                            now.0
                        ])?;
                }
                let oldest = now.minus(Duration::from_secs(DAYS_KEPT * DAY));
                connection
                    .prepare_cached("DELETE FROM market_sellers WHERE seen_at < ?1")?
                    .execute([oldest.0])?;
                connection
                    .prepare_cached(
                        "DELETE FROM market_sellers WHERE seller NOT IN
                           (SELECT seller FROM market_sellers ORDER BY seen_at DESC LIMIT ?1)",
                    )?
                    .execute([SELLERS_MAX])?;
                Ok(())
            })
            .await
    }

    /// The last `days` days, today among them. Nothing in a ledger that an older vend made and that has only been looked at since.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn market(&self, days: u64, now: Time) -> Result<Report, LedgerError> {
        let days = days.clamp(1, DAYS_KEPT);
        self.reader
            .call(move |connection| {
                let mut report = Report {
                    days,
                    ..Report::default()
                };
                if !connection.table_exists(None, "market_requests")? {
                    return Ok(report);
                }
                let first = since(now, days);
                report.requests = requests(connection, &first)?;
                report.missed = missed(connection, &first)?;
                let oldest = now.minus(Duration::from_secs(days * DAY));
                report.sellers = sellers(connection, oldest)?;
                Ok(report)
            })
            .await
    }
}

fn count_request(
    connection: &Connection,
    day: &str,
    asked: &Asked,
    count: u64,
) -> Result<(), LedgerError> {
    let known: bool = connection
        .prepare_cached(
            "SELECT 1 FROM market_requests WHERE day = ?1 AND kind = ?2 AND model = ?3",
        )?
        .exists(params![day, asked.kind, asked.model])?;
    let rows_of = |table: &str| -> Result<u32, LedgerError> {
        let sql = format!("SELECT count(*) FROM {table} WHERE day = ?1 AND kind = ?2");
        Ok(connection
            .prepare_cached(&sql)?
            .query_row(params![day, asked.kind], |row| row.get(0))?)
    };
    let model = if known || asked.model.is_empty() || rows_of("market_requests")? < MODELS_MAX {
        asked.model.as_str()
    } else {
        OTHERS
    };
    connection
        .prepare_cached(
            "INSERT INTO market_requests VALUES (?1, ?2, ?3, ?4) ON CONFLICT (day, kind, model) DO UPDATE SET
               count = count + ?4",
        )?
        .execute(params![day, asked.kind, model, signed(count)])?;
    let Some(bid) = asked.bid else { return Ok(()) };
    let changed = connection
        .prepare_cached(
            "UPDATE market_bids SET count = count + ?4 WHERE day = ?1 AND kind = ?2 AND bid_msat = ?3",
        )?
        .execute(params![day, asked.kind, rows::int(bid), signed(count)])?;
    if changed == 0 && rows_of("market_bids")? < BIDS_MAX {
        connection
            .prepare_cached("INSERT INTO market_bids VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![day, asked.kind, rows::int(bid), signed(count)])?;
    }
    Ok(())
}

fn requests(connection: &Connection, first: &str) -> Result<Vec<Requests>, LedgerError> {
    let mut found: Vec<Requests> = Vec::new();
    let mut statement = connection.prepare_cached(
        "SELECT day, kind, model, count FROM market_requests WHERE day >= ?1 ORDER BY day, kind",
    )?;
    let mut all = statement.query([first])?;
    while let Some(row) = all.next()? {
        let (day, kind, model): (String, u16, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let count = u64::try_from(row.get::<_, i64>(3)?).unwrap_or(0);
        if found
            .last()
            .is_none_or(|last| last.day != day || last.kind != kind)
        {
            found.push(Requests {
                day,
                kind,
                count: 0,
                models: BTreeMap::new(),
                bid_msat_median: None,
            });
        }
        if let Some(last) = found.last_mut() {
            last.count += count;
            if !model.is_empty() {
                last.models.insert(model, count);
            }
        }
    }
    for one in &mut found {
        one.bid_msat_median = median(&bids(connection, &one.day, one.kind)?);
    }
    Ok(found)
}

fn bids(connection: &Connection, day: &str, kind: u16) -> Result<Vec<(Msat, u64)>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT bid_msat, count FROM market_bids WHERE day = ?1 AND kind = ?2 ORDER BY bid_msat",
    )?;
    let rows = statement.query_map(params![day, kind], |row| {
        let count = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
        Ok((rows::msat(row.get(0)?), count))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn missed(connection: &Connection, first: &str) -> Result<Vec<Missed>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT reason, sum(count), sum(worth_msat) FROM market_missed WHERE day >= ?1
           GROUP BY reason ORDER BY sum(count) DESC, reason",
    )?;
    let rows = statement.query_map([first], |row| {
        Ok(Missed {
            reason: row.get(0)?,
            count: u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0),
            worth_msat: rows::msat(row.get(2)?),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn sellers(connection: &Connection, oldest: Time) -> Result<Vec<Other>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT seller, name, kinds, models, alive FROM market_sellers WHERE seen_at >= ?1
           ORDER BY alive DESC, seen_at DESC, name LIMIT ?2",
    )?;
    let mut all = statement.query(params![oldest.0, SELLERS_MAX])?;
    let mut found = Vec::new();
    while let Some(row) = all.next()? {
        let key = PublicKey::from_slice(&row.get::<_, Vec<u8>>(0)?)
            .map_err(|_| LedgerError::Unreadable("a seller's key"))?;
        let unreadable = |_| LedgerError::Unreadable("a seller's announcement");
        let models: BTreeMap<String, Charge> =
            serde_json::from_str(&row.get::<_, String>(3)?).map_err(unreadable)?;
        let announced = Announced {
            key,
            name: row.get(1)?,
            kinds: serde_json::from_str(&row.get::<_, String>(2)?).map_err(unreadable)?,
            models,
        };
        found.push(announced.told(row.get(4)?));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use nostr::Keys;

    use super::*;

    const NOW: Time = Time(1_795_000_000_000);

    fn asked(kind: u16, model: &str, bid: Option<u64>) -> Asked {
        Asked {
            kind,
            model: model.to_owned(),
            bid: bid.map(Msat),
        }
    }

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("vend.db")).unwrap();
        (folder, ledger)
    }

    #[tokio::test]
    async fn counts_add_up_by_day_kind_model_and_reason() {
        let (_folder, ledger) = ledger();
        for _ in 0..2 {
            let heard = Heard {
                asked: BTreeMap::from([
                    (asked(5050, "llama3", Some(5_000)), 2),
                    (asked(5050, "", Some(9_000)), 1),
                    (asked(5100, "", None), 1),
                ]),
                missed: BTreeMap::from([
                    ("busy", (1, Msat(10_000))),
                    ("no_input", (3, Msat::ZERO)),
                ]),
            };
            ledger.heard(heard, NOW).await.unwrap();
        }
        let told = ledger.market(7, NOW).await.unwrap();
        assert_eq!(told.count(), 8);
        let text = &told.requests[0];
        assert_eq!((text.kind, text.count, text.models["llama3"]), (5050, 6, 4));
        assert_eq!(text.bid_msat_median, Some(Msat(5_000)));
        assert_eq!(told.requests[1].bid_msat_median, None);
        let missed: Vec<_> = told
            .missed
            .iter()
            .map(|m| (m.reason.as_str(), m.count, m.worth_msat.0))
            .collect();
        assert_eq!(missed, [("no_input", 6, 0), ("busy", 2, 20_000)]);
        assert_eq!(told.named(&["llama3:latest".to_owned()]), 4);
        let later = NOW.plus(Duration::from_secs(8 * DAY));
        assert_eq!(ledger.market(7, later).await.unwrap().count(), 0);
        assert_eq!(ledger.market(30, later).await.unwrap().count(), 8);
    }

    #[tokio::test]
    async fn what_strangers_make_up_stays_within_its_bounds() {
        let (_folder, ledger) = ledger();
        for round in 0..5_u64 {
            let heard = Heard {
                asked: (0..400)
                    .map(|n| {
                        (
                            asked(
                                5050,
                                &format!("model {round} {n}"),
                                Some(1 + round * 400 + n),
                            ),
                            1,
                        )
                    })
                    .collect(),
                ..Heard::default()
            };
            ledger.heard(heard, NOW).await.unwrap();
            let sellers = (0..200).map(|_| {
                let seller = Announced {
                    key: Keys::generate().public_key(),
                    name: "x".to_owned(),
                    kinds: vec![5050],
                    models: BTreeMap::new(),
                };
                (seller, true)
            });
            let at = NOW.plus(Duration::from_secs(round));
            ledger.sellers_seen(sellers.collect(), at).await.unwrap();
        }
        let told = ledger
            .market(1, NOW.plus(Duration::from_secs(9)))
            .await
            .unwrap();
        assert_eq!(told.count(), 2_000, "each is counted");
        assert!(told.requests[0].models.len() <= MODELS_MAX as usize + 1);
        assert!(told.requests[0].models[OTHERS] >= 1_800);
        assert_eq!(told.sellers.len(), SELLERS_MAX as usize);
        // Ninety days later all of it is gone.
        let later = NOW.plus(Duration::from_secs(91 * DAY));
        ledger.heard(Heard::default(), later).await.unwrap();
        ledger.sellers_seen(Vec::new(), later).await.unwrap();
        let told = ledger.market(DAYS_KEPT, NOW).await.unwrap();
        assert_eq!((told.requests.len(), told.sellers.len()), (0, 0));
    }
}
