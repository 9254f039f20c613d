//! The ledger's tables. One migration a version; a file made by a newer vend is refused untouched.

mod apart;

use rusqlite::Connection;
use rusqlite_migration::{M, Migrations};

use super::LedgerError;

const FIRST: &str = "
CREATE TABLE jobs (
  id              BLOB PRIMARY KEY CHECK (length(id) = 32),
  buyer           BLOB NOT NULL CHECK (length(buyer) = 32),
  kind            INTEGER NOT NULL,
  state           TEXT NOT NULL,
  status          TEXT NOT NULL,
  rev             INTEGER NOT NULL,
  encryption      TEXT NOT NULL,
  addressed       INTEGER NOT NULL,
  terms           TEXT NOT NULL,
  model           TEXT NOT NULL,
  bid_msat        INTEGER NOT NULL DEFAULT 0,
  request_json    TEXT,
  prompt          TEXT,
  answer          TEXT,
  price_msat      INTEGER CHECK (price_msat >= 0),
  paid_msat       INTEGER NOT NULL DEFAULT 0 CHECK (paid_msat >= 0),
  owed_msat       INTEGER NOT NULL DEFAULT 0 CHECK (owed_msat >= 0),
  attempts        INTEGER NOT NULL DEFAULT 0,
  wallet_tries    INTEGER NOT NULL DEFAULT 0,
  next_at         INTEGER,
  boot            BLOB,
  error_code      TEXT,
  error           TEXT,
  result_id       BLOB UNIQUE,
  delivered       INTEGER NOT NULL DEFAULT 0,
  created_at      INTEGER NOT NULL,
  updated_at      INTEGER NOT NULL
) STRICT;
CREATE INDEX jobs_live ON jobs (state, next_at)
  WHERE state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled');
CREATE INDEX jobs_newest ON jobs (created_at DESC);
CREATE INDEX jobs_buyer ON jobs (buyer, created_at);
CREATE INDEX jobs_content ON jobs (updated_at) WHERE request_json IS NOT NULL;

CREATE TABLE timeline (
  seq     INTEGER PRIMARY KEY,
  job_id  BLOB NOT NULL REFERENCES jobs (id),
  at      INTEGER NOT NULL,
  what    TEXT NOT NULL,
  detail  TEXT NOT NULL
) STRICT;
CREATE INDEX timeline_job ON timeline (job_id, seq);

CREATE TABLE invoices (
  job_id          BLOB PRIMARY KEY REFERENCES jobs (id),
  label           TEXT NOT NULL UNIQUE,
  state           TEXT NOT NULL,
  amount_msat     INTEGER NOT NULL CHECK (amount_msat > 0),
  wallet          TEXT NOT NULL,
  wallet_identity TEXT,
  payment_hash    BLOB UNIQUE,
  bolt11          TEXT UNIQUE,
  backend_ref     TEXT,
  made_at         INTEGER,
  expires_at      INTEGER,
  paid_msat       INTEGER NOT NULL DEFAULT 0 CHECK (paid_msat >= 0),
  paid_at         INTEGER,
  looks           INTEGER NOT NULL DEFAULT 0,
  late_looks      INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX invoices_watched ON invoices (expires_at) WHERE state IN ('open', 'expired');

CREATE TABLE outbox (
  out_id      INTEGER PRIMARY KEY,
  job_id      BLOB REFERENCES jobs (id),
  role        TEXT NOT NULL,
  event_id    BLOB NOT NULL UNIQUE,
  event_json  TEXT NOT NULL,
  not_after   INTEGER NOT NULL,
  settled     INTEGER NOT NULL DEFAULT 0,
  UNIQUE (job_id, role)
) STRICT;
CREATE TABLE delivery (
  out_id      INTEGER NOT NULL REFERENCES outbox (out_id) ON DELETE CASCADE,
  relay       TEXT NOT NULL,
  state       TEXT NOT NULL CHECK (state IN ('due', 'ok', 'refused', 'gave_up')),
  attempts    INTEGER NOT NULL DEFAULT 0,
  next_at     INTEGER NOT NULL,
  last_reply  TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (out_id, relay)
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_due ON delivery (next_at) WHERE state = 'due';

CREATE TABLE seen (
  event_id    BLOB PRIMARY KEY,
  at          INTEGER NOT NULL,
  verdict     TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX seen_at ON seen (at);

CREATE TABLE cursor (
  relay       TEXT PRIMARY KEY,
  at          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE totals (
  name        TEXT PRIMARY KEY,
  value       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE drops (
  reason      TEXT PRIMARY KEY,
  count       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE model_totals (
  model           TEXT PRIMARY KEY,
  jobs            INTEGER NOT NULL,
  revenue_msat    INTEGER NOT NULL,
  tokens          INTEGER NOT NULL,
  output_tokens   INTEGER NOT NULL,
  elapsed_ms      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE day_totals (
  day             TEXT PRIMARY KEY,
  jobs            INTEGER NOT NULL,
  revenue_msat    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Figures by the hour: one row for each figure (`seen`, `jobs`, `drop:busy`, …), kept for two days.
const HOURS: &str = "
CREATE TABLE hour_totals (
  hour            TEXT NOT NULL,
  name            TEXT NOT NULL,
  value           INTEGER NOT NULL,
  PRIMARY KEY (hour, name)
) STRICT, WITHOUT ROWID;
";

/// What the jobs are listed by, the time of admission second, so that a page is found from any job of the list.
/// `ledger::filter` has the same expressions: SQLite uses an index only where they are the same to the letter.
const LISTS: &str = "
DROP INDEX IF EXISTS jobs_newest;
CREATE INDEX IF NOT EXISTS jobs_time ON jobs (created_at);
CREATE INDEX IF NOT EXISTS jobs_amount ON jobs (coalesce(price_msat, -1), created_at);
CREATE INDEX IF NOT EXISTS jobs_status ON jobs (status, created_at);
CREATE INDEX IF NOT EXISTS jobs_tokens ON jobs (coalesce(json_extract(answer, '$.completion_tokens'), -1), created_at);
CREATE INDEX IF NOT EXISTS jobs_seconds ON jobs (coalesce(json_extract(answer, '$.elapsed_ms'), -1), created_at);
";

/// The recovery desk and the books. `disputes`: what the wallet says of an invoice where that settles nothing. `asks`: invoices
/// that were asked for and are with nobody. `decisions`: what a person decided. `proofs`: what came with a payment.
/// The indexes hold only what may be a case, so that a million ordinary jobs cost the desk nothing; the questions in
/// `ledger::desk` and `ledger::accounting` have their conditions to the letter.
const DESK: &str = "
CREATE INDEX IF NOT EXISTS jobs_owed ON jobs (updated_at) WHERE owed_msat > 0;
CREATE INDEX IF NOT EXISTS invoices_paid ON invoices (paid_at) WHERE state = 'paid';
CREATE INDEX IF NOT EXISTS invoices_late ON invoices (paid_at) WHERE state = 'paid' AND paid_at > expires_at + 60000;
CREATE INDEX IF NOT EXISTS invoices_made ON invoices (made_at);
CREATE TABLE IF NOT EXISTS doubts (
  job_id          BLOB PRIMARY KEY REFERENCES jobs (id),
  kind            TEXT NOT NULL,
  words           TEXT NOT NULL,
  first_at        INTEGER NOT NULL,
  last_at         INTEGER NOT NULL,
  times           INTEGER NOT NULL,
  decided         INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS doubts_open ON doubts (first_at) WHERE decided = 0;
CREATE TABLE IF NOT EXISTS asks (
  job_id          BLOB PRIMARY KEY REFERENCES jobs (id),
  wallet          TEXT NOT NULL,
  lost            INTEGER NOT NULL DEFAULT 0,
  open            INTEGER NOT NULL DEFAULT 1,
  words           TEXT NOT NULL DEFAULT '',
  payment_hash    BLOB,
  at              INTEGER NOT NULL,
  decided         INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS asks_open ON asks (at) WHERE decided = 0;
CREATE TABLE IF NOT EXISTS decisions (
  seq             INTEGER PRIMARY KEY,
  job_id          BLOB NOT NULL REFERENCES jobs (id),
  kind            TEXT NOT NULL,
  action          TEXT NOT NULL,
  note            TEXT NOT NULL,
  amount_msat     INTEGER NOT NULL,
  at              INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS decisions_job ON decisions (job_id, seq);
CREATE TABLE IF NOT EXISTS proofs (
  job_id          BLOB PRIMARY KEY REFERENCES jobs (id),
  preimage        BLOB,
  fee_msat        INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS buyer_totals (
  buyer           BLOB PRIMARY KEY,
  jobs            INTEGER NOT NULL,
  revenue_msat    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS buyer_totals_best ON buyer_totals (revenue_msat, jobs);
INSERT INTO buyer_totals SELECT buyer, sum(delivered), sum(paid_msat) FROM jobs
  WHERE delivered = 1 OR paid_msat > 0 GROUP BY buyer ON CONFLICT DO NOTHING;
";

/// Hold invoices: the secret and its time. The index leaves out what is most of a ledger; a question that is to use it says so,
/// `state <> 'paid'`, to the letter. Which wallet made an invoice, so that it is looked at with that one alone.
const HOLDS: &str = "
ALTER TABLE invoices ADD COLUMN wallet_key TEXT;
ALTER TABLE invoices ADD COLUMN network TEXT;
ALTER TABLE invoices ADD COLUMN preimage BLOB CHECK (length(preimage) = 32);
ALTER TABLE invoices ADD COLUMN hold_until INTEGER;
DROP INDEX invoices_watched;
CREATE INDEX invoices_state ON invoices (state, expires_at) WHERE state <> 'paid';
";

/// What these wallets called themselves could change, or be the name of several: a wallet's own label, the node behind it. An
/// invoice without it is looked at with the wallet whose settings are kept under its name.
const IDENTITIES: &str = "
UPDATE invoices SET wallet_identity = NULL WHERE wallet IN ('lnbits', 'nwc') AND wallet_identity IS NOT NULL;
";

/// What was bought. `body`: the hash of what a program asked the gateway for. A payment hash stands here once.
const PURCHASES: &str = "
CREATE TABLE purchases (
  id                  BLOB PRIMARY KEY CHECK (length(id) = 32),
  request_id          BLOB NOT NULL UNIQUE,
  via                 TEXT NOT NULL,
  kind                INTEGER NOT NULL,
  encryption          TEXT NOT NULL,
  status              TEXT NOT NULL,
  seller              BLOB,
  model               TEXT,
  bid_msat            INTEGER,
  due_msat            INTEGER CHECK (due_msat > 0),
  paid_msat           INTEGER NOT NULL DEFAULT 0 CHECK (paid_msat >= 0),
  fee_msat            INTEGER,
  payment_hash        BLOB UNIQUE,
  bolt11              TEXT,
  invoice_expires_at  INTEGER,
  payer               TEXT,
  prompt_tokens       INTEGER,
  completion_tokens   INTEGER,
  elapsed_ms          INTEGER,
  error               TEXT,
  body                BLOB,
  intent_at           INTEGER,
  created_at          INTEGER NOT NULL,
  updated_at          INTEGER NOT NULL
) STRICT;
CREATE INDEX purchases_time ON purchases (created_at);
CREATE INDEX purchases_intent ON purchases (intent_at) WHERE intent_at IS NOT NULL;
CREATE INDEX purchases_seller ON purchases (seller, created_at);
CREATE INDEX purchases_open ON purchases (status) WHERE status IN ('asked', 'paying', 'paid', 'lost');
CREATE INDEX purchases_body ON purchases (body, created_at) WHERE body IS NOT NULL;
";

/// What a job adds to its buyer's debt, and until when (the end of all time for an open one); how often its runs were
/// interrupted. An older ledger's open jobs count at their price or its minimum, as they did.
const CREDIT: &str = "
ALTER TABLE jobs ADD COLUMN debt_msat INTEGER NOT NULL DEFAULT 0 CHECK (debt_msat >= 0);
ALTER TABLE jobs ADD COLUMN debt_until INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN interrupts INTEGER NOT NULL DEFAULT 0;
UPDATE jobs SET debt_until = 9223372036854775807,
    debt_msat = coalesce(price_msat, json_extract(terms, '$.price.min_sats') * 1000)
  WHERE json_extract(terms, '$.order') = 'after'
    AND state IN ('queued', 'running', 'inferred', 'publishing', 'pending_payment')
    AND state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled');
UPDATE jobs SET debt_msat = coalesce(price_msat, 0),
    debt_until = coalesce((SELECT expires_at FROM invoices WHERE job_id = jobs.id), 0) + 86400000
  WHERE state = 'unpaid' AND delivered = 1
    AND id IN (SELECT job_id FROM invoices WHERE state <> 'paid' AND state IN ('expired', 'given_back'));
CREATE INDEX jobs_debt_of_buyer ON jobs (buyer, debt_until, debt_msat) WHERE debt_msat > 0;
CREATE INDEX jobs_debt ON jobs (debt_until, debt_msat) WHERE debt_msat > 0;
";

/// What the seller decided about buyers.
const STANDINGS: &str = "
CREATE TABLE standings (
  buyer           BLOB PRIMARY KEY CHECK (length(buyer) = 32),
  blocked         INTEGER NOT NULL,
  trusted         INTEGER NOT NULL,
  credit_sats     INTEGER CHECK (credit_sats >= 0),
  at              INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Why a delivery waits: for a connection, or because connections ended over it.
const ENDS: &str = "
ALTER TABLE delivery ADD COLUMN ends INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN offline INTEGER NOT NULL DEFAULT 1;
";

/// What buyers have left with us, and each job's part in it. Most jobs have none.
const BALANCES: &str = "
CREATE TABLE balances (
  buyer           BLOB PRIMARY KEY CHECK (length(buyer) = 32),
  msat            INTEGER NOT NULL CHECK (msat >= 0)
) STRICT, WITHOUT ROWID;
CREATE TABLE job_balances (
  job_id          BLOB PRIMARY KEY REFERENCES jobs (id),
  used_msat       INTEGER NOT NULL CHECK (used_msat >= 0),
  left_msat       INTEGER NOT NULL CHECK (left_msat >= 0)
) STRICT, WITHOUT ROWID;
";

/// What each offer brought, as the models' figures.
const OFFERS: &str = "
CREATE TABLE offer_totals (
  offer           TEXT PRIMARY KEY,
  jobs            INTEGER NOT NULL,
  revenue_msat    INTEGER NOT NULL,
  tokens          INTEGER NOT NULL,
  output_tokens   INTEGER NOT NULL,
  elapsed_ms      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Jobs that were free, by day (UTC) and buyer. Only today's are asked for.
const FREE: &str = "
CREATE TABLE free_jobs (
  day             TEXT NOT NULL,
  buyer           BLOB NOT NULL,
  jobs            INTEGER NOT NULL,
  PRIMARY KEY (day, buyer)
) STRICT, WITHOUT ROWID;
";

/// What the seller moved in the queue, in the order in which it was moved.
const MOVES: &str = "
CREATE TABLE queue_moves (
  seq             INTEGER PRIMARY KEY,
  job_id          BLOB NOT NULL,
  before_id       BLOB NOT NULL
) STRICT;
";

/// Of a ledger that no vend of this version has opened for writing.
const NO_BALANCES: &str = "
CREATE TEMP VIEW balances AS SELECT X'' AS buyer, 0 AS msat WHERE 0;
CREATE TEMP VIEW job_balances AS SELECT X'' AS job_id, 0 AS used_msat, 0 AS left_msat WHERE 0;
";

/// What is asked and offered on the relays: counts by day, and what others announce. `ledger::market` keeps the bounds.
const MARKET: &str = "
CREATE TABLE market_requests (
  day             TEXT NOT NULL,
  kind            INTEGER NOT NULL,
  model           TEXT NOT NULL,
  count           INTEGER NOT NULL,
  PRIMARY KEY (day, kind, model)
) STRICT, WITHOUT ROWID;
CREATE TABLE market_bids (
  day             TEXT NOT NULL,
  kind            INTEGER NOT NULL,
  bid_msat        INTEGER NOT NULL,
  count           INTEGER NOT NULL,
  PRIMARY KEY (day, kind, bid_msat)
) STRICT, WITHOUT ROWID;
CREATE TABLE market_missed (
  day             TEXT NOT NULL,
  reason          TEXT NOT NULL,
  count           INTEGER NOT NULL,
  worth_msat      INTEGER NOT NULL,
  PRIMARY KEY (day, reason)
) STRICT, WITHOUT ROWID;
CREATE TABLE market_sellers (
  seller          BLOB PRIMARY KEY CHECK (length(seller) = 32),
  name            TEXT NOT NULL,
  kinds           TEXT NOT NULL,
  models          TEXT NOT NULL,
  alive           INTEGER NOT NULL,
  seen_at         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX market_sellers_seen ON market_sellers (seen_at);
";

/// What the machine spent on each model since that is counted, and what the model brought since then.
const WORK: &str = "
CREATE TABLE model_work (
  model           TEXT PRIMARY KEY,
  busy_ms         INTEGER NOT NULL,
  energy_mj       INTEGER NOT NULL,
  revenue_msat    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

const VERSIONS: [&str; 20] = [
    FIRST,
    HOURS,
    LISTS,
    DESK,
    HOLDS,
    IDENTITIES,
    PURCHASES,
    CREDIT,
    STANDINGS,
    apart::TEXTS,
    apart::EVENTS,
    apart::INVOICES,
    apart::CONCERNED,
    ENDS,
    BALANCES,
    MARKET,
    WORK,
    OFFERS,
    FREE,
    MOVES,
];

/// The newest version.
pub(super) const LATEST: usize = VERSIONS.len();

/// Every version of the tables, oldest first.
pub(super) fn migrations() -> Migrations<'static> {
    VERSIONS.into_iter().map(M::up).collect()
}

/// Was this ledger made by this version? One of a newer vend can't be read right, and one of an older can't be copied row by
/// row.
pub(super) fn is_current(
    connection: &Connection,
    path: &std::path::Path,
) -> Result<(), LedgerError> {
    refuse_newer(connection, path)?;
    if version(connection)? < newest() {
        let words = "an older vend made it: start this one on it once";
        return Err(super::damaged(path, &words));
    }
    Ok(())
}

/// A ledger of a newer vend is not read as if it were ours.
pub(super) fn refuse_newer(
    connection: &Connection,
    path: &std::path::Path,
) -> Result<(), LedgerError> {
    if version(connection)? > newest() {
        return Err(LedgerError::Newer(path.to_owned()));
    }
    Ok(())
}

fn version(connection: &Connection) -> Result<i64, LedgerError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

fn newest() -> i64 {
    i64::try_from(VERSIONS.len()).unwrap_or(i64::MAX)
}

/// Makes a ledger readable that no vend of this version has opened for writing yet: what it lacks is empty. Nothing is
/// written to the file.
pub(super) fn read_as_new(connection: &Connection) -> rusqlite::Result<()> {
    let has =
        "SELECT count(*) FROM pragma_table_info('invoices') WHERE name IN ('job_id', 'wallet_key')";
    // The texts were taken apart in one version, and their events' in the next.
    let apart = "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND name IN ('texts', 'event_texts')";
    match connection.query_row(apart, [], |row| row.get::<_, i64>(0))? {
        0 if connection.table_exists(Some("main"), "jobs")? => {
            connection.execute_batch(apart::OLD_AS_NEW)?;
        }
        1 => connection.execute_batch(
            "CREATE TEMP VIEW event_texts AS SELECT out_id, event_json FROM main.outbox",
        )?,
        _ => {}
    }
    if !connection.table_exists(Some("main"), "balances")? {
        connection.execute_batch(NO_BALANCES)?;
    }
    // One of the two: the table is there, and the column is not.
    if connection.query_row(has, [], |row| row.get::<_, i64>(0))? == 1 {
        connection.execute_batch(
            "CREATE TEMP VIEW invoices AS SELECT *, NULL AS wallet_key, NULL AS network, NULL AS preimage,
               NULL AS hold_until FROM main.invoices",
        )?;
    }
    Ok(())
}

/// As an older vend would have made it.
#[cfg(test)]
pub(super) fn old(path: &std::path::Path, versions: usize) -> Connection {
    let mut old = Connection::open(path).unwrap();
    let migrations: Migrations<'_> = VERSIONS.into_iter().take(versions).map(M::up).collect();
    migrations.to_latest(&mut old).unwrap();
    old
}

#[cfg(test)]
mod tests;
