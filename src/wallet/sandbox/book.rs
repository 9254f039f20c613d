//! The sandbox's books: one file for each invoice, one for each payment, one for each label.
//!
//! | file | what it means |
//! | --- | --- |
//! | `<payment hash>.json` | the invoice; written whole before anything points to it |
//! | `<payment hash>.paid` | it is paid: that the file exists is the fact, so that it happens once or not at all; it holds the time, and the preimage that settled a hold invoice |
//! | `<payment hash>.held` | the payment of a hold invoice has come and waits |
//! | `<payment hash>.canceled` | nobody can pay it any more, and what was held went back |
//! | `label-<sha256 of the label>` | the payment hash of the invoice made under that label |
//!
//! Each is on the disk before the call that made it returns, and another process reads the same books.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nostr::hashes::{Hash, sha256};
use serde::{Deserialize, Serialize};

use super::node::{Node, lock, sync_dir};
use super::{PayError, Payment, SandboxError};
use crate::domain::Hex32;
use crate::domain::id::{PaymentHash, Preimage};
use crate::domain::invoice;
use crate::domain::msat::{MAX_MSAT, Msat};
use crate::domain::text::clean;
use crate::domain::time::Time;
use crate::wallet::NewInvoice;

/// No file of ours is larger, bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Endings of the files that mark what became of an invoice.
const PAID: &str = "paid";
const HELD: &str = "held";
const CANCELED: &str = "canceled";

/// One invoice as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) payment_hash: PaymentHash,
    pub(super) bolt11: String,
    pub(super) label: String,
    pub(super) amount_msat: Msat,
    pub(super) expires_at: Time,
    /// None: a hold invoice, whose preimage the seller keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    preimage: Option<Secret>,
}

impl Record {
    pub(super) fn preimage(&self) -> Option<Preimage> {
        self.preimage.as_ref().map(|secret| Preimage(secret.0))
    }
}

/// A preimage on its way to a file; its `Debug` shows nothing.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
struct Secret(Hex32);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// What the books said of an invoice.
#[derive(Debug)]
pub(super) enum Entry {
    Unknown,
    Open(Record),
    Held(Record),
    Expired,
    Canceled,
    Paid {
        record: Record,
        at: Option<Time>,
        preimage: Option<Preimage>,
    },
}

/// Why an invoice was not made, settled or canceled.
#[derive(Debug)]
pub(super) enum IssueError {
    Refused(String),
    Files(SandboxError),
}

impl From<SandboxError> for IssueError {
    fn from(error: SandboxError) -> Self {
        Self::Files(error)
    }
}

/// The folder and the node whose books it holds. Every method reads or writes files.
#[derive(Clone, Debug)]
pub(super) struct Book {
    pub(super) dir: PathBuf,
    pub(super) node: Node,
}

impl Book {
    /// Opens the books, or starts them. The folder is private to the user (0700).
    pub(super) fn open(dir: &Path) -> Result<Self, SandboxError> {
        let failed = |source| SandboxError::files(dir, source);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        let dir = dir.canonicalize().map_err(failed)?;
        let node = Node::open(&dir)?;
        Ok(Self { dir, node })
    }

    /// Makes an invoice; under a label that has one already, the same, unless that one expired unpaid.
    pub(super) fn issue(&self, new: &NewInvoice, now: Time) -> Result<Record, IssueError> {
        if new.amount.is_zero() || new.amount.0 > MAX_MSAT {
            let text = format!(
                "{} msat is not an amount that can be asked for",
                new.amount.0
            );
            return Err(IssueError::Refused(text));
        }
        if new.expiry < Duration::from_secs(1) {
            let text = "an invoice must live for at least a second".to_owned();
            return Err(IssueError::Refused(text));
        }
        // Held to the end of the call: two calls under one label make one invoice.
        let _lock = lock(&self.dir).map_err(|source| self.failed(source))?;
        if let Some(record) = self.find(&new.label, now)? {
            return match new.hold_hash {
                Some(hash) if hash != record.payment_hash => {
                    Err(refused("there is another invoice under this label already"))
                }
                _ => Ok(record),
            };
        }
        let (preimage, payment_hash) = self.payment_of(new)?;
        let bolt11 = self
            .node
            .sign(new, &payment_hash, now)
            .map_err(IssueError::Refused)?;
        let record = Record {
            payment_hash,
            bolt11,
            label: new.label.clone(),
            amount_msat: new.amount,
            expires_at: Time::from_secs(now.secs()).plus(Duration::from_secs(new.expiry.as_secs())),
            preimage: preimage.map(Secret),
        };
        self.keep(&record)?;
        Ok(record)
    }

    /// A new preimage and its hash; or the hash that the seller holds the preimage of.
    fn payment_of(&self, new: &NewInvoice) -> Result<(Option<Hex32>, PaymentHash), IssueError> {
        let Some(hash) = new.hold_hash else {
            let preimage = Hex32(rand::random());
            return Ok((Some(preimage), Preimage(preimage).hash()));
        };
        if self.record(&hash)?.is_some() {
            let text = "there is an invoice for this payment hash already".to_owned();
            return Err(IssueError::Refused(text));
        }
        Ok((None, hash))
    }

    /// The invoice made under this label; none where it expired unpaid, as nobody can pay it.
    pub(super) fn find(&self, label: &str, now: Time) -> Result<Option<Record>, SandboxError> {
        let path = self.label_path(label);
        let Some(text) = read(&path).map_err(|source| SandboxError::files(&path, source))? else {
            return Ok(None);
        };
        let hash: PaymentHash = text
            .trim()
            .parse()
            .map_err(|_| SandboxError::Damaged(path.display().to_string()))?;
        Ok(match self.look(&hash, now)? {
            Entry::Unknown | Entry::Expired | Entry::Canceled => None,
            Entry::Open(record) | Entry::Held(record) | Entry::Paid { record, .. } => Some(record),
        })
    }

    /// What is known of a payment hash.
    pub(super) fn look(&self, hash: &PaymentHash, now: Time) -> Result<Entry, SandboxError> {
        let Some(record) = self.record(hash)? else {
            return Ok(Entry::Unknown);
        };
        if let Some(text) = self.mark(hash, PAID)? {
            let mut words = text.split_whitespace();
            let at = words.next().and_then(|time| Time::parse(time).ok());
            let settled_by = words.next().and_then(|hex| hex.parse().ok()).map(Preimage);
            let preimage = record.preimage().or(settled_by);
            return Ok(Entry::Paid {
                record,
                at,
                preimage,
            });
        }
        if self.mark(hash, CANCELED)?.is_some() {
            return Ok(Entry::Canceled);
        }
        if self.mark(hash, HELD)?.is_some() {
            return Ok(Entry::Held(record));
        }
        Ok(if now >= record.expires_at {
            Entry::Expired
        } else {
            Entry::Open(record)
        })
    }

    fn mark(&self, hash: &PaymentHash, mark: &str) -> Result<Option<String>, SandboxError> {
        let path = self.mark_path(hash, mark);
        read(&path).map_err(|source| SandboxError::files(&path, source))
    }

    /// Pays an invoice of this node, once.
    pub(super) fn pay(&self, bolt11: &str, now: Time) -> Result<Payment, PayError> {
        let read = invoice::read(bolt11)?;
        let not_ours = || PayError::NotOurs(self.dir.display().to_string());
        if invoice::payee(&read) != Some(self.node.id()) {
            return Err(not_ours());
        }
        let hash = read.payment_hash().ok_or_else(not_ours)?;
        let hash = PaymentHash(Hex32(*AsRef::<[u8; 32]>::as_ref(&hash.0)));
        // Held to the end of the call: no invoice is paid while it is canceled.
        let _lock = lock(&self.dir).map_err(|source| self.failed(source))?;
        let record = match self.look(&hash, now)? {
            Entry::Open(record) => record,
            Entry::Unknown => return Err(not_ours()),
            Entry::Expired => return Err(PayError::Expired),
            Entry::Canceled => return Err(PayError::Canceled),
            Entry::Held(_) | Entry::Paid { .. } => return Err(PayError::AlreadyPaid),
        };
        let mark = if record.preimage.is_some() {
            PAID
        } else {
            HELD
        };
        if !self.set_mark(&hash, mark, &now.to_string())? {
            return Err(PayError::AlreadyPaid);
        }
        Ok(Payment {
            payment_hash: hash,
            amount: record.amount_msat,
            preimage: record.preimage(),
        })
    }

    /// Takes the payment that is held for this preimage; again: nothing.
    pub(super) fn settle(&self, preimage: &Preimage, now: Time) -> Result<(), IssueError> {
        let _lock = lock(&self.dir).map_err(|source| self.failed(source))?;
        let hash = preimage.hash();
        match self.look(&hash, now)? {
            Entry::Paid { .. } => Ok(()),
            Entry::Held(_) => {
                let words = format!("{now} {}", preimage.0);
                self.set_mark(&hash, PAID, &words)?;
                Ok(())
            }
            Entry::Unknown => Err(refused("there is no invoice for this preimage")),
            Entry::Open(_) | Entry::Expired => Err(refused("nothing is held for this invoice")),
            Entry::Canceled => Err(refused("the invoice was canceled")),
        }
    }

    /// Closes an invoice that is not settled; again: nothing.
    pub(super) fn cancel(&self, hash: &PaymentHash, now: Time) -> Result<(), IssueError> {
        let _lock = lock(&self.dir).map_err(|source| self.failed(source))?;
        match self.look(hash, now)? {
            Entry::Canceled => Ok(()),
            Entry::Open(_) | Entry::Held(_) | Entry::Expired => {
                self.set_mark(hash, CANCELED, &now.to_string())?;
                Ok(())
            }
            Entry::Unknown => Err(refused("there is no such invoice")),
            Entry::Paid { .. } => Err(refused("the invoice is settled")),
        }
    }

    /// False where the mark is there already.
    fn set_mark(&self, hash: &PaymentHash, mark: &str, text: &str) -> Result<bool, SandboxError> {
        let path = self.mark_path(hash, mark);
        match write_new(&path, text.as_bytes()).and_then(|()| sync_dir(&self.dir)) {
            Ok(()) => Ok(true),
            Err(source) if source.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(source) => Err(SandboxError::files(&path, source)),
        }
    }

    /// Every invoice.
    pub(super) fn all(&self) -> Result<Vec<Record>, SandboxError> {
        let failed = |source| SandboxError::files(&self.dir, source);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let hash = name
                .to_str()
                .and_then(|name| name.strip_suffix(".json"))
                .and_then(|hex| hex.parse::<PaymentHash>().ok());
            if let Some(hash) = hash {
                found.extend(self.record(&hash)?);
            }
        }
        Ok(found)
    }

    fn record(&self, hash: &PaymentHash) -> Result<Option<Record>, SandboxError> {
        let path = self.dir.join(format!("{hash}.json"));
        let text = read(&path).map_err(|source| SandboxError::files(&path, source))?;
        text.map(|text| {
            serde_json::from_str(&text)
                .map_err(|_| SandboxError::Damaged(path.display().to_string()))
        })
        .transpose()
    }

    /// The invoice first, then the name that leads to it: a crash between them leaves an invoice that nobody knows.
    fn keep(&self, record: &Record) -> Result<(), SandboxError> {
        let path = self.dir.join(format!("{}.json", record.payment_hash));
        let json = serde_json::to_vec_pretty(record)
            .map_err(|error| SandboxError::files(&path, error.into()))?;
        self.replace(&path, &json)?;
        self.replace(
            &self.label_path(&record.label),
            record.payment_hash.to_string().as_bytes(),
        )
    }

    /// Writes a file whole or not at all.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), SandboxError> {
        let random: [u8; 8] = rand::random();
        let temporary = self
            .dir
            .join(format!("tmp-{:016x}", u64::from_be_bytes(random)));
        let written = write_new(&temporary, bytes)
            .and_then(|()| fs::rename(&temporary, path))
            .and_then(|()| sync_dir(&self.dir));
        written.map_err(|source| {
            // It failed already; a leftover file harms nobody.
            let _ = fs::remove_file(&temporary);
            SandboxError::files(path, source)
        })
    }

    fn mark_path(&self, hash: &PaymentHash, mark: &str) -> PathBuf {
        self.dir.join(format!("{hash}.{mark}"))
    }

    fn label_path(&self, label: &str) -> PathBuf {
        let name = sha256::Hash::hash(label.as_bytes()).to_byte_array();
        self.dir.join(format!("label-{}", Hex32(name)))
    }

    fn failed(&self, source: io::Error) -> SandboxError {
        SandboxError::files(&self.dir, source)
    }
}

impl SandboxError {
    pub(super) fn files(path: &Path, source: io::Error) -> Self {
        Self::Files {
            path: clean(&path.display().to_string(), 300),
            source,
        }
    }
}

fn refused(why: &str) -> IssueError {
    IssueError::Refused(why.to_owned())
}

/// Writes a file that must not exist yet, to the disk.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    Ok(Some(text))
}
