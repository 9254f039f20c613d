//! Texts in tables of their own. Rows of jobs, invoices and events are narrow: what changes often is small, and a question
//! about many jobs reads no text.

/// Requests, prompts and answers by the job's number, and what an answer took in columns. A job's number follows from when
/// it was admitted. `text_bytes` is 0 where the texts are erased.
pub(super) const TEXTS: &str = "
CREATE TABLE texts (
  num             INTEGER PRIMARY KEY,
  request_json    TEXT NOT NULL,
  prompt          TEXT NOT NULL,
  answer          TEXT
) STRICT;
INSERT INTO texts SELECT rowid, request_json, coalesce(prompt, ''), json_extract(answer, '$.text') FROM jobs
  WHERE request_json IS NOT NULL;
CREATE TABLE narrow (
  num               INTEGER PRIMARY KEY,
  id                BLOB NOT NULL UNIQUE CHECK (length(id) = 32),
  buyer             BLOB NOT NULL CHECK (length(buyer) = 32),
  kind              INTEGER NOT NULL,
  state             TEXT NOT NULL,
  status            TEXT NOT NULL,
  rev               INTEGER NOT NULL,
  encryption        TEXT NOT NULL,
  addressed         INTEGER NOT NULL,
  terms             TEXT NOT NULL,
  model             TEXT NOT NULL,
  bid_msat          INTEGER NOT NULL DEFAULT 0,
  text_bytes        INTEGER NOT NULL DEFAULT 0,
  prompt_tokens     INTEGER,
  completion_tokens INTEGER,
  estimated         INTEGER,
  cut               INTEGER,
  elapsed_ms        INTEGER,
  endpoint          TEXT,
  price_msat        INTEGER CHECK (price_msat >= 0),
  paid_msat         INTEGER NOT NULL DEFAULT 0 CHECK (paid_msat >= 0),
  owed_msat         INTEGER NOT NULL DEFAULT 0 CHECK (owed_msat >= 0),
  attempts          INTEGER NOT NULL DEFAULT 0,
  wallet_tries      INTEGER NOT NULL DEFAULT 0,
  next_at           INTEGER,
  boot              BLOB,
  error_code        TEXT,
  error             TEXT,
  result_id         BLOB UNIQUE,
  delivered         INTEGER NOT NULL DEFAULT 0,
  debt_msat         INTEGER NOT NULL DEFAULT 0 CHECK (debt_msat >= 0),
  debt_until        INTEGER NOT NULL DEFAULT 0,
  interrupts        INTEGER NOT NULL DEFAULT 0,
  created_at        INTEGER NOT NULL,
  updated_at        INTEGER NOT NULL
) STRICT;
INSERT INTO narrow SELECT rowid, id, buyer, kind, state, status, rev, encryption, addressed, terms, model, bid_msat,
    coalesce(octet_length(request_json), 0) + coalesce(octet_length(prompt), 0)
      + coalesce(octet_length(json_extract(answer, '$.text')), 0),
    json_extract(answer, '$.prompt_tokens'), json_extract(answer, '$.completion_tokens'),
    json_extract(answer, '$.estimated'), json_extract(answer, '$.cut'), json_extract(answer, '$.elapsed_ms'),
    json_extract(answer, '$.endpoint'),
    price_msat, paid_msat, owed_msat, attempts, wallet_tries, next_at, boot, error_code, error, result_id, delivered,
    debt_msat, debt_until, interrupts, created_at, updated_at
  FROM jobs ORDER BY rowid;
UPDATE narrow SET text_bytes = 0 WHERE text_bytes > 0 AND num NOT IN (SELECT num FROM texts);
DROP TABLE jobs;
ALTER TABLE narrow RENAME TO jobs;
CREATE INDEX jobs_live ON jobs (state, next_at)
  WHERE state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled');
CREATE INDEX jobs_buyer ON jobs (buyer, created_at);
CREATE INDEX jobs_time ON jobs (created_at);
CREATE INDEX jobs_amount ON jobs (coalesce(price_msat, -1), created_at);
CREATE INDEX jobs_status ON jobs (status, created_at);
CREATE INDEX jobs_tokens ON jobs (coalesce(completion_tokens, -1), created_at);
CREATE INDEX jobs_seconds ON jobs (coalesce(elapsed_ms, -1), created_at);
CREATE INDEX jobs_owed ON jobs (updated_at) WHERE owed_msat > 0;
CREATE INDEX jobs_debt_of_buyer ON jobs (buyer, debt_until, debt_msat) WHERE debt_msat > 0;
CREATE INDEX jobs_debt ON jobs (debt_until, debt_msat) WHERE debt_msat > 0;
CREATE INDEX jobs_ended_texts ON jobs (updated_at)
  WHERE text_bytes > 0 AND state IN ('paid', 'completed', 'unpaid', 'error', 'cancelled');
CREATE INDEX jobs_unpaid_texts ON jobs (created_at, text_bytes) WHERE text_bytes > 0 AND paid_msat = 0;
";

/// Signed events' JSON apart from where they go. What waits for a relay, and what has ended at no relay, stands in indexes
/// that hold nothing else.
pub(super) const EVENTS: &str = "
CREATE TABLE event_texts (
  out_id      INTEGER PRIMARY KEY REFERENCES outbox (out_id) ON DELETE CASCADE,
  event_json  TEXT NOT NULL
) STRICT;
INSERT INTO event_texts SELECT out_id, event_json FROM outbox ORDER BY out_id;
CREATE TABLE narrow (
  out_id      INTEGER PRIMARY KEY,
  job_id      BLOB REFERENCES jobs (id),
  role        TEXT NOT NULL,
  event_id    BLOB NOT NULL UNIQUE,
  not_after   INTEGER NOT NULL,
  settled     INTEGER NOT NULL DEFAULT 0,
  UNIQUE (job_id, role)
) STRICT;
INSERT INTO narrow SELECT out_id, job_id, role, event_id, not_after, settled FROM outbox ORDER BY out_id;
DROP TABLE outbox;
ALTER TABLE narrow RENAME TO outbox;
CREATE INDEX outbox_open ON outbox (not_after) WHERE settled = 0;
CREATE INDEX outbox_refusals ON outbox (not_after) WHERE job_id IS NULL;
DROP INDEX delivery_due;
CREATE INDEX delivery_due ON delivery (relay, next_at) WHERE state = 'due';
";

/// A label follows from the job's id, and an invoice's text from its hash: the one hash is what is looked for.
pub(super) const INVOICES: &str = "
CREATE TABLE narrow (
  job_id          BLOB PRIMARY KEY REFERENCES jobs (id),
  label           TEXT NOT NULL,
  state           TEXT NOT NULL,
  amount_msat     INTEGER NOT NULL CHECK (amount_msat > 0),
  wallet          TEXT NOT NULL,
  wallet_identity TEXT,
  payment_hash    BLOB UNIQUE,
  bolt11          TEXT,
  backend_ref     TEXT,
  made_at         INTEGER,
  expires_at      INTEGER,
  paid_msat       INTEGER NOT NULL DEFAULT 0 CHECK (paid_msat >= 0),
  paid_at         INTEGER,
  looks           INTEGER NOT NULL DEFAULT 0,
  late_looks      INTEGER NOT NULL DEFAULT 0,
  wallet_key      TEXT,
  network         TEXT,
  preimage        BLOB CHECK (length(preimage) = 32),
  hold_until      INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO narrow SELECT job_id, label, state, amount_msat, wallet, wallet_identity, payment_hash, bolt11, backend_ref,
  made_at, expires_at, paid_msat, paid_at, looks, late_looks, wallet_key, network, preimage, hold_until
  FROM invoices ORDER BY job_id;
DROP TABLE invoices;
ALTER TABLE narrow RENAME TO invoices;
CREATE INDEX invoices_state ON invoices (state, expires_at) WHERE state <> 'paid';
CREATE INDEX invoices_paid ON invoices (paid_at) WHERE state = 'paid';
CREATE INDEX invoices_late ON invoices (paid_at) WHERE state = 'paid' AND paid_at > expires_at + 60000;
CREATE INDEX invoices_made ON invoices (made_at);
";

/// Questions that are asked all the time, of what they concern alone: what is paid and not delivered, and what buyers owe.
pub(super) const CONCERNED: &str = "
CREATE INDEX jobs_undelivered ON jobs (updated_at) WHERE paid_msat > 0 AND delivered = 0
  AND state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled');
INSERT INTO totals SELECT 'open_credit_msat', coalesce(sum(price_msat), 0) FROM jobs WHERE state = 'pending_payment'
  AND json_extract(terms, '$.order') = 'after' AND state NOT IN ('paid', 'completed', 'unpaid', 'error', 'cancelled')
  ON CONFLICT (name) DO UPDATE SET value = excluded.value;
";

/// What an older ledger has, as the tables above would show it. `invoices` is the view's or the table's.
pub(super) const OLD_AS_NEW: &str = "
CREATE TEMP VIEW jobs AS SELECT rowid AS num, id, buyer, kind, state, status, rev, encryption, addressed, terms, model,
    bid_msat, CASE WHEN request_json IS NULL THEN 0 ELSE 1 END AS text_bytes,
    json_extract(answer, '$.prompt_tokens') AS prompt_tokens,
    json_extract(answer, '$.completion_tokens') AS completion_tokens, json_extract(answer, '$.estimated') AS estimated,
    json_extract(answer, '$.cut') AS cut, json_extract(answer, '$.elapsed_ms') AS elapsed_ms,
    json_extract(answer, '$.endpoint') AS endpoint, price_msat, paid_msat, owed_msat, attempts, wallet_tries, next_at, boot,
    error_code, error, result_id, delivered, 0 AS debt_msat, 0 AS debt_until, 0 AS interrupts, created_at, updated_at
    FROM main.jobs;
CREATE TEMP VIEW texts AS SELECT rowid AS num, request_json, coalesce(prompt, '') AS prompt,
    json_extract(answer, '$.text') AS answer FROM main.jobs WHERE request_json IS NOT NULL;
CREATE TEMP VIEW event_texts AS SELECT out_id, event_json FROM main.outbox;
";
