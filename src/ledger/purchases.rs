//! What was bought: one row for each request of `vend request --pay` and of the gateway.
//!
//! The intent to pay is committed here before a wallet is asked. One payment hash stands in one row at most, so that one
//! invoice can't be sold for two requests.

use std::collections::HashMap;

use nostr::{PublicKey, ToBech32};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::{Ledger, LedgerError, rows};
use crate::domain::Hex32;
use crate::domain::buyer::Due;
use crate::domain::id::{PaymentHash, RequestId};
use crate::domain::job::Encryption;
use crate::domain::msat::Msat;
use crate::domain::purchase::{PurchaseStatus, PurchaseView};
use crate::domain::sellers::SellerRecord;
use crate::domain::time::Time;

/// How far back the cap of a day counts.
const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// How far back a seller's record goes.
const RECORD: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3600);

const COLUMNS: &str = "SELECT id, request_id, via, kind, encryption, status, seller, model, bid_msat, due_msat, paid_msat,
  fee_msat, payment_hash, bolt11, invoice_expires_at, payer, prompt_tokens, completion_tokens, elapsed_ms, error, body,
  created_at FROM purchases ";

/// Who buys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// `vend request --pay`
    Request,
    /// The gateway.
    Gateway,
}

impl Via {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Gateway => "gateway",
        }
    }
}

/// A purchase that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPurchase {
    /// Its name, at random.
    pub id: Hex32,
    /// The request's event.
    pub request_id: RequestId,
    /// Who buys.
    pub via: Via,
    /// The request's kind.
    pub kind: u16,
    /// How it is sent.
    pub encryption: Encryption,
    /// The one seller who is asked.
    pub seller: Option<PublicKey>,
    /// The model asked for.
    pub model: Option<String>,
    /// The most that is paid.
    pub bid: Option<Msat>,
    /// The hash of what a program asked for, by which it finds the purchase again.
    pub body: Option<Hex32>,
    /// Now.
    pub at: Time,
}

/// The caps of a buyer, and whose purchases count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// For one request.
    pub request: Msat,
    /// For the last 24 hours.
    pub day: Msat,
}

/// What became of an intent to pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// It is written down: the wallet may be asked, once.
    Committed,
    /// It would go beyond the cap for one request.
    OverRequest,
    /// It would go beyond the cap of a day; this much is spent or on its way.
    OverDay(Msat),
    /// This very invoice stands for another request already.
    SameInvoice,
    /// The purchase is not one that can be paid: it is paid, or being paid, or over.
    NotNow,
}

/// How a purchase ended, or went on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Who answered.
    pub seller: Option<PublicKey>,
    /// The model that answered.
    pub model: Option<String>,
    /// What was paid.
    pub paid: Option<Msat>,
    /// What the way cost.
    pub fee: Option<Msat>,
    /// Tokens of the request.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the answer.
    pub completion_tokens: Option<u64>,
    /// How long it took.
    pub elapsed_ms: Option<u64>,
    /// What went wrong; an empty one takes back what was written before.
    pub error: Option<String>,
    /// It is certain by now that nothing was paid, whatever was answered.
    pub unpaid: bool,
}

/// A purchase as it stands in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bought {
    /// As it is shown.
    pub view: PurchaseView,
    /// The request's kind.
    pub kind: u16,
    /// How it was sent.
    pub encryption: Encryption,
    /// What its invoice asks for.
    pub due: Option<Msat>,
    /// Until when its invoice can be paid.
    pub invoice_expires_at: Option<Time>,
    /// The wallet that was to pay it.
    pub payer: Option<String>,
    /// The hash of what a program asked for.
    pub body: Option<Hex32>,
}

impl Ledger {
    /// Writes down that a request is about to go out.
    ///
    /// # Errors
    /// Where the ledger does not take it.
    pub async fn purchase_begins(&self, new: NewPurchase) -> Result<(), LedgerError> {
        self.writer
            .call(move |connection| begin(connection, &new))
            .await
    }

    /// Writes down that an invoice is about to be paid, where caps allow it; all of it in one transaction, so that no two
    /// purchases see the same room below a cap.
    ///
    /// # Errors
    /// Where the ledger does not take it: then nothing may be paid.
    pub async fn purchase_intends(
        &self,
        id: Hex32,
        seller: PublicKey,
        due: Due,
        payer: String,
        caps: Option<Caps>,
        now: Time,
    ) -> Result<Intent, LedgerError> {
        self.writer
            .call(move |connection| intend(connection, id, &seller, &due, &payer, caps, now))
            .await
    }

    /// Moves a purchase on. What is none in `progress` stays.
    ///
    /// # Errors
    /// Where the ledger does not take it.
    pub async fn purchase_goes_on(
        &self,
        id: Hex32,
        status: PurchaseStatus,
        progress: Progress,
        now: Time,
    ) -> Result<(), LedgerError> {
        self.writer
            .call(move |connection| go_on(connection, id, status, &progress, now))
            .await
    }

    /// Ends the requests that were sent before this and that no run waits for any more: nothing was paid for them.
    ///
    /// # Errors
    /// Where the ledger does not take it.
    pub async fn purchases_abandon(&self, before: Time, now: Time) -> Result<usize, LedgerError> {
        self.writer
            .call(move |connection| {
                let words = "the program ended before an answer came";
                Ok(connection
                    .prepare_cached(
                        "UPDATE purchases SET status = 'failed', error = ?1, updated_at = ?2
                         WHERE status = 'asked' AND created_at < ?3",
                    )?
                    .execute(params![words, now.0, before.0])?)
            })
            .await
    }

    /// Purchases, newest first; with `open`, only those whose payment or answer is still awaited.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn purchases(&self, open: bool, limit: u32) -> Result<Vec<Bought>, LedgerError> {
        self.lister
            .call(move |connection| {
                // A ledger of an older vend that was only looked at since has none.
                if !connection.table_exists(None, "purchases")? {
                    return Ok(Vec::new());
                }
                let which = if open {
                    "WHERE status IN ('paying', 'paid', 'lost')\n                       OR (status = 'delivered' AND payment_hash IS NOT NULL AND paid_msat = 0)"
                } else {
                    ""
                };
                let sql = format!("{COLUMNS} {which} ORDER BY created_at DESC, id LIMIT ?1");
                let mut statement = connection.prepare_cached(&sql)?;
                let mut found = statement.query(params![limit])?;
                let mut all = Vec::new();
                while let Some(row) = found.next()? {
                    all.push(bought(row)?);
                }
                Ok(all)
            })
            .await
    }

    /// The newest purchase since then of what a program asked for, where one was paid, or may have been.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn purchase_by_body(
        &self,
        body: Hex32,
        since: Time,
    ) -> Result<Option<Bought>, LedgerError> {
        self.writer
            .call(move |connection| {
                let sql = format!(
                    "{COLUMNS} WHERE body = ?1 AND created_at >= ?2 AND intent_at IS NOT NULL
                     ORDER BY created_at DESC LIMIT 1"
                );
                let mut statement = connection.prepare_cached(&sql)?;
                let mut found = statement.query(params![body.0, since.0])?;
                found.next()?.map(bought).transpose()
            })
            .await
    }

    /// What the gateway spent in the last 24 hours, and what may be on its way.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn spent_today(&self, now: Time) -> Result<Msat, LedgerError> {
        self.writer
            .call(move |connection| spent_since(connection, now.minus(DAY)))
            .await
    }

    /// What each seller did for us in the last 30 days.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn seller_records(
        &self,
        now: Time,
    ) -> Result<HashMap<PublicKey, SellerRecord>, LedgerError> {
        self.lister
            .call(move |connection| records(connection, now.minus(RECORD)))
            .await
    }

    /// The purchase of a request, where there is one.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn purchase_of(&self, request: RequestId) -> Result<Option<Bought>, LedgerError> {
        self.writer
            .call(move |connection| {
                let sql = format!("{COLUMNS} WHERE request_id = ?1");
                one(connection, &sql, request.0.as_bytes())
            })
            .await
    }
}

fn one(connection: &Connection, sql: &str, key: &[u8]) -> Result<Option<Bought>, LedgerError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = statement.query(params![key])?;
    found.next()?.map(bought).transpose()
}

fn begin(connection: &Connection, new: &NewPurchase) -> Result<(), LedgerError> {
    connection
        .prepare_cached(
            "INSERT INTO purchases (id, request_id, via, kind, encryption, status, seller, model, bid_msat, body, created_at,
               updated_at)
             VALUES (:id, :request, :via, :kind, :encryption, 'asked', :seller, :model, :bid, :body, :at, :at)",
        )?
        .execute(named_params! {
            ":id": new.id.0,
            ":request": new.request_id.0.as_bytes(),
            ":via": new.via.as_str(),
            ":kind": new.kind,
            ":encryption": rows::word(&new.encryption)?,
            ":seller": new.seller.map(PublicKey::to_bytes),
            ":model": new.model,
            ":bid": new.bid.map(rows::int),
            ":body": new.body.map(|hash| hash.0),
            ":at": new.at.0,
        })?;
    Ok(())
}

#[allow(clippy::too_many_arguments)] // one row's columns
fn intend(
    connection: &Connection,
    id: Hex32,
    seller: &PublicKey,
    due: &Due,
    payer: &str,
    caps: Option<Caps>,
    now: Time,
) -> Result<Intent, LedgerError> {
    if let Some(caps) = caps {
        if due.amount > caps.request {
            return Ok(Intent::OverRequest);
        }
        let spent = spent_since(connection, now.minus(DAY))?;
        if spent.saturating_add(due.amount) > caps.day {
            return Ok(Intent::OverDay(spent));
        }
    }
    let taken: Option<i64> = connection
        .prepare_cached("SELECT 1 FROM purchases WHERE payment_hash = ?1 AND id <> ?2")?
        .query_row(params![due.hash.0.0, id.0], |row| row.get(0))
        .optional()?;
    if taken.is_some() {
        return Ok(Intent::SameInvoice);
    }
    let changed = connection
        .prepare_cached(
            "UPDATE purchases SET status = 'paying', seller = :seller, due_msat = :due, payment_hash = :hash,
               bolt11 = :bolt11, invoice_expires_at = :expires, payer = :payer, intent_at = :now, updated_at = :now
             WHERE id = :id AND status = 'asked'",
        )?
        .execute(named_params! {
            ":seller": seller.to_bytes(),
            ":due": rows::int(due.amount),
            ":hash": due.hash.0.0,
            ":bolt11": due.bolt11,
            ":expires": due.expires_at.0,
            ":payer": payer,
            ":now": now.0,
            ":id": id.0,
        })?;
    Ok(if changed == 1 {
        Intent::Committed
    } else {
        Intent::NotNow
    })
}

/// What the gateway spent since then, and what may be on its way, the fees included.
fn spent_since(connection: &Connection, since: Time) -> Result<Msat, LedgerError> {
    let spent: i64 = connection
        .prepare_cached(
            "SELECT coalesce(sum(max(paid_msat, coalesce(due_msat, 0)) + coalesce(fee_msat, 0)), 0) FROM purchases
             WHERE intent_at > ?1 AND via = 'gateway' AND status IN ('paying', 'paid', 'delivered', 'lost')",
        )?
        .query_row(params![since.0], |row| row.get(0))?;
    Ok(rows::msat(spent))
}

fn go_on(
    connection: &Connection,
    id: Hex32,
    status: PurchaseStatus,
    progress: &Progress,
    now: Time,
) -> Result<(), LedgerError> {
    // Nothing was paid: the invoice is let go, so that the row says so and another one can be paid.
    let unpaid =
        progress.unpaid || matches!(status, PurchaseStatus::Asked | PurchaseStatus::Failed);
    let changed = connection
        .prepare_cached(
            "UPDATE purchases SET status = :status,
               seller = coalesce(:seller, seller), model = coalesce(:model, model),
               paid_msat = coalesce(:paid, paid_msat), fee_msat = coalesce(:fee, fee_msat),
               prompt_tokens = coalesce(:prompt, prompt_tokens),
               completion_tokens = coalesce(:completion, completion_tokens),
               elapsed_ms = coalesce(:elapsed, elapsed_ms), error = nullif(coalesce(:error, error), ''),
               due_msat = CASE WHEN :unpaid THEN NULL ELSE due_msat END,
               payment_hash = CASE WHEN :unpaid THEN NULL ELSE payment_hash END,
               bolt11 = CASE WHEN :unpaid THEN NULL ELSE bolt11 END,
               intent_at = CASE WHEN :unpaid THEN NULL ELSE intent_at END,
               updated_at = :now
             WHERE id = :id",
        )?
        .execute(named_params! {
            ":status": status.as_str(),
            ":seller": progress.seller.map(PublicKey::to_bytes),
            ":model": progress.model,
            ":paid": progress.paid.map(rows::int),
            ":fee": progress.fee.map(rows::int),
            ":prompt": progress.prompt_tokens.map(signed),
            ":completion": progress.completion_tokens.map(signed),
            ":elapsed": progress.elapsed_ms.map(signed),
            ":error": progress.error,
            ":unpaid": unpaid,
            ":now": now.0,
            ":id": id.0,
        })?;
    if changed == 1 {
        Ok(())
    } else {
        Err(LedgerError::Unreadable("a purchase that is not there"))
    }
}

fn records(
    connection: &Connection,
    since: Time,
) -> Result<HashMap<PublicKey, SellerRecord>, LedgerError> {
    if !connection.table_exists(None, "purchases")? {
        return Ok(HashMap::new());
    }
    let mut statement = connection.prepare_cached(
        "SELECT seller, status, paid_msat, elapsed_ms, updated_at FROM purchases
         WHERE seller IS NOT NULL AND created_at >= ?1 ORDER BY seller, elapsed_ms",
    )?;
    let mut found = statement.query(params![since.0])?;
    let mut all: HashMap<PublicKey, (SellerRecord, Vec<u64>)> = HashMap::new();
    while let Some(row) = found.next()? {
        let Ok(key) = PublicKey::from_slice(&row.get::<_, Vec<u8>>("seller")?) else {
            return Err(LedgerError::Unreadable("a seller's key"));
        };
        let (record, times) = all.entry(key).or_default();
        record.asked += 1;
        record.paid_msat += rows::msat(row.get("paid_msat")?);
        let status: String = row.get("status")?;
        match PurchaseStatus::parse(&status) {
            Some(PurchaseStatus::Delivered) => {
                record.delivered += 1;
                times.extend(unsigned(row.get("elapsed_ms")?));
                let at = Time(row.get("updated_at")?);
                record.last_delivered = record.last_delivered.max(Some(at));
            }
            Some(PurchaseStatus::Failed) => record.failed += 1,
            Some(PurchaseStatus::Lost) => record.lost += 1,
            _ => {}
        }
    }
    let all = all.into_iter().map(|(key, (mut record, times))| {
        record.seconds_median = times.get(times.len() / 2).map(|ms| ms.div_ceil(1_000));
        (key, record)
    });
    Ok(all.collect())
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: Option<i64>) -> Option<u64> {
    value.and_then(|value| u64::try_from(value).ok())
}

fn bought(row: &Row<'_>) -> Result<Bought, LedgerError> {
    let hash = |bytes: Option<Vec<u8>>| bytes.map(|bytes| rows::id32(&bytes, "a hash")).transpose();
    let seller = row
        .get::<_, Option<Vec<u8>>>("seller")?
        .map(|bytes| {
            PublicKey::from_slice(&bytes).map_err(|_| LedgerError::Unreadable("a seller's key"))
        })
        .transpose()?;
    let money = |name: &str| {
        row.get::<_, Option<i64>>(name)
            .map(|msat| msat.map(rows::msat))
    };
    let status: String = row.get("status")?;
    let view = PurchaseView {
        id: rows::id32(&row.get::<_, Vec<u8>>("id")?, "a purchase's id")?,
        request_id: RequestId(rows::event_id(&row.get::<_, Vec<u8>>("request_id")?)?),
        seller,
        npub: seller.and_then(|key| key.to_bech32().ok()),
        model: row.get("model")?,
        status: PurchaseStatus::parse(&status)
            .ok_or(LedgerError::Unreadable("a purchase's status"))?,
        bid_msat: money("bid_msat")?,
        paid_msat: money("paid_msat")?.unwrap_or_default(),
        fee_msat: money("fee_msat")?,
        payment_hash: hash(row.get("payment_hash")?)?.map(PaymentHash),
        prompt_tokens: unsigned(row.get("prompt_tokens")?),
        completion_tokens: unsigned(row.get("completion_tokens")?),
        elapsed_ms: unsigned(row.get("elapsed_ms")?),
        error: row.get("error")?,
        created_at: Time(row.get("created_at")?),
    };
    let encryption: String = row.get("encryption")?;
    Ok(Bought {
        view,
        kind: row.get("kind")?,
        encryption: rows::unword(&encryption, "a purchase's encryption")?,
        due: money("due_msat")?,
        invoice_expires_at: row.get::<_, Option<i64>>("invoice_expires_at")?.map(Time),
        payer: row.get("payer")?,
        body: hash(row.get("body")?)?,
    })
}

#[cfg(test)]
mod tests {
    use nostr::{EventId, Keys};

    use super::*;

    const NOW: Time = Time(1_800_000_000_000);

    fn new(number: u8, via: Via) -> NewPurchase {
        NewPurchase {
            id: Hex32([number; 32]),
            request_id: RequestId(EventId::from_byte_array([number; 32])),
            via,
            kind: 5050,
            encryption: Encryption::Nip44,
            seller: None,
            model: None,
            bid: Some(Msat(100_000)),
            body: None,
            at: NOW,
        }
    }

    fn due(number: u8, sats: u64) -> Due {
        Due {
            bolt11: format!("lnbcrt{number}"),
            hash: PaymentHash(Hex32([number; 32])),
            amount: Msat::from_sats(sats),
            expires_at: NOW,
        }
    }

    const CAPS: Caps = Caps {
        request: Msat(100_000),
        day: Msat(200_000),
    };

    async fn intends(
        ledger: &Ledger,
        number: u8,
        due: Due,
        caps: Option<Caps>,
        now: Time,
    ) -> Intent {
        let seller = Keys::generate().public_key();
        let id = Hex32([number; 32]);
        let payer = "sandbox".to_owned();
        let intent = ledger.purchase_intends(id, seller, due, payer, caps, now);
        intent.await.unwrap()
    }

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("vend.db")).unwrap();
        (dir, ledger)
    }

    #[tokio::test]
    async fn an_intent_is_committed_once_and_one_invoice_serves_one_request() {
        let (_dir, ledger) = ledger();
        for number in [1, 2] {
            ledger
                .purchase_begins(new(number, Via::Request))
                .await
                .unwrap();
        }
        assert_eq!(
            intends(&ledger, 1, due(9, 10), None, NOW).await,
            Intent::Committed
        );
        assert_eq!(
            intends(&ledger, 1, due(8, 10), None, NOW).await,
            Intent::NotNow
        );
        assert_eq!(
            intends(&ledger, 2, due(9, 10), None, NOW).await,
            Intent::SameInvoice
        );
        // Nothing was paid after all: another invoice may be.
        let id = Hex32([1; 32]);
        let asked = PurchaseStatus::Asked;
        ledger
            .purchase_goes_on(id, asked, Progress::default(), NOW)
            .await
            .unwrap();
        assert_eq!(
            intends(&ledger, 1, due(8, 10), None, NOW).await,
            Intent::Committed
        );
    }

    #[tokio::test]
    async fn caps_hold_with_fifty_at_once_and_count_what_may_be_on_its_way() {
        let (_dir, ledger) = ledger();
        for number in 1..=50 {
            ledger
                .purchase_begins(new(number, Via::Gateway))
                .await
                .unwrap();
        }
        let all = (1..=50).map(|number| intends(&ledger, number, due(number, 30), Some(CAPS), NOW));
        let all = futures::future::join_all(all).await;
        let through = all
            .iter()
            .filter(|intent| **intent == Intent::Committed)
            .count();
        assert_eq!(through, 6, "six times 30 sats are within 200");
        let over = Intent::OverDay(Msat(180_000));
        assert!(
            all.iter()
                .all(|intent| [Intent::Committed, over].contains(intent)),
            "{all:?}"
        );
        ledger.purchase_begins(new(60, Via::Gateway)).await.unwrap();
        let dear = intends(&ledger, 60, due(60, 101), Some(CAPS), NOW).await;
        assert_eq!(dear, Intent::OverRequest);
        let next_day = NOW.plus(DAY);
        let later = intends(&ledger, 60, due(60, 30), Some(CAPS), next_day).await;
        assert_eq!(later, Intent::Committed);
    }

    #[tokio::test]
    async fn what_was_paid_and_its_answer_are_read_back() {
        let (_dir, ledger) = ledger();
        ledger.purchase_begins(new(1, Via::Request)).await.unwrap();
        intends(&ledger, 1, due(9, 10), None, NOW).await;
        assert_eq!(ledger.purchases(true, 9).await.unwrap().len(), 1);
        let progress = Progress {
            paid: Some(Msat(10_000)),
            fee: Some(Msat(3)),
            error: Some("slow".to_owned()),
            ..Progress::default()
        };
        let id = Hex32([1; 32]);
        ledger
            .purchase_goes_on(id, PurchaseStatus::Paid, progress, NOW)
            .await
            .unwrap();
        let progress = Progress {
            elapsed_ms: Some(70),
            error: Some(String::new()),
            ..Progress::default()
        };
        ledger
            .purchase_goes_on(id, PurchaseStatus::Delivered, progress, NOW)
            .await
            .unwrap();
        assert!(ledger.purchases(true, 9).await.unwrap().is_empty());
        let bought = ledger.purchases(false, 9).await.unwrap().remove(0);
        let view = bought.view;
        assert_eq!(view.status, PurchaseStatus::Delivered);
        assert_eq!(
            (view.paid_msat, view.fee_msat),
            (Msat(10_000), Some(Msat(3)))
        );
        assert_eq!((view.elapsed_ms, view.error), (Some(70), None));
        assert_eq!(bought.encryption, Encryption::Nip44);
    }
}
