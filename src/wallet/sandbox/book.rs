//! The sandbox's books: one file for each invoice, one for each payment, one for each label.
//!
//! | file | what it means |
//! | --- | --- |
//! | `<payment hash>.json` | the invoice; written whole before anything points to it |
//! | `<payment hash>.paid` | it is paid: that the file exists is the fact, so that it happens once or not at all |
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

/// One invoice as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) payment_hash: PaymentHash,
    pub(super) bolt11: String,
    pub(super) label: String,
    pub(super) amount_msat: Msat,
    pub(super) expires_at: Time,
    preimage: Secret,
}

impl Record {
    pub(super) const fn preimage(&self) -> Preimage {
        Preimage(self.preimage.0)
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
    Expired,
    Paid { record: Record, at: Option<Time> },
}

/// Why an invoice was not made.
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
            return Ok(record);
        }
        let preimage = Hex32(rand::random());
        let (payment_hash, bolt11) = self
            .node
            .sign(new, &preimage, now)
            .map_err(IssueError::Refused)?;
        let record = Record {
            payment_hash,
            bolt11,
            label: new.label.clone(),
            amount_msat: new.amount,
            expires_at: Time::from_secs(now.secs()).plus(Duration::from_secs(new.expiry.as_secs())),
            preimage: Secret(preimage),
        };
        self.keep(&record)?;
        Ok(record)
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
            Entry::Unknown | Entry::Expired => None,
            Entry::Open(record) | Entry::Paid { record, .. } => Some(record),
        })
    }

    /// What is known of a payment hash.
    pub(super) fn look(&self, hash: &PaymentHash, now: Time) -> Result<Entry, SandboxError> {
        let Some(record) = self.record(hash)? else {
            return Ok(Entry::Unknown);
        };
        let path = self.paid_path(hash);
        let paid = read(&path).map_err(|source| SandboxError::files(&path, source))?;
        Ok(match paid {
            Some(text) => Entry::Paid {
                record,
                at: Time::parse(text.trim()).ok(),
            },
            None if now >= record.expires_at => Entry::Expired,
            None => Entry::Open(record),
        })
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
        let record = match self.look(&hash, now)? {
            Entry::Open(record) => record,
            Entry::Unknown => return Err(not_ours()),
            Entry::Expired => return Err(PayError::Expired),
            Entry::Paid { .. } => return Err(PayError::AlreadyPaid),
        };
        self.mark_paid(&hash, now)?;
        Ok(Payment {
            payment_hash: hash,
            amount: record.amount_msat,
            preimage: record.preimage(),
        })
    }

    fn mark_paid(&self, hash: &PaymentHash, now: Time) -> Result<(), PayError> {
        let path = self.paid_path(hash);
        match write_new(&path, now.to_string().as_bytes()).and_then(|()| sync_dir(&self.dir)) {
            Ok(()) => Ok(()),
            Err(source) if source.kind() == ErrorKind::AlreadyExists => Err(PayError::AlreadyPaid),
            Err(source) => Err(SandboxError::files(&path, source).into()),
        }
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

    fn paid_path(&self, hash: &PaymentHash) -> PathBuf {
        self.dir.join(format!("{hash}.paid"))
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
