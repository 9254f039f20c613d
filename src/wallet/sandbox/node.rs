//! The sandbox's Lightning node: a key that signs invoices, made once.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret};
use nostr::hashes::{Hash, sha256};
use nostr::secp256k1::{PublicKey, Secp256k1, SecretKey};

use super::SandboxError;
use crate::domain::Hex32;
use crate::domain::id::PaymentHash;
use crate::domain::text::cut_bytes;
use crate::domain::time::Time;
use crate::wallet::NewInvoice;

/// The longest description that BOLT 11 holds, bytes.
pub(super) const MAX_MEMO_BYTES: usize = 639;

/// Blocks until the last hop must be settled; LND's and Core Lightning's usual value (BOLT 11 field `c`).
const FINAL_CLTV: u64 = 18;

/// The same for a payment that is held: LND's usual value.
const HELD_CLTV: u64 = 80;

const KEY_FILE: &str = "node-key";
const KEY_HEX: usize = 64;

/// The node's key pair. Its `Debug` shows the public half.
#[derive(Clone)]
pub(super) struct Node {
    secret: SecretKey,
    public: PublicKey,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.public)
    }
}

impl Node {
    /// Reads the key, or makes it (0600) where there is none. Two processes that open a new folder at once get the same
    /// key, as the first to lock the file writes it.
    pub(super) fn open(dir: &Path) -> Result<Self, SandboxError> {
        let path = dir.join(KEY_FILE);
        let failed = |source| SandboxError::files(&path, source);
        let mut file = lock(dir).map_err(failed)?;
        let mut text = String::new();
        (&mut file)
            .take(4_096)
            .read_to_string(&mut text)
            .map_err(failed)?;
        // Fewer digits: a first start was killed while it wrote, before the key had signed anything.
        if text.trim().len() < KEY_HEX {
            text = Hex32(rand::random()).to_string();
            file.set_len(0).map_err(failed)?;
            file.seek(SeekFrom::Start(0)).map_err(failed)?;
            file.write_all(text.as_bytes()).map_err(failed)?;
            file.sync_all().map_err(failed)?;
            sync_dir(dir).map_err(failed)?;
        }
        let damaged = || SandboxError::DamagedKey(path.display().to_string());
        let bytes: Hex32 = text.trim().parse().map_err(|_| damaged())?;
        let secret = SecretKey::from_slice(&bytes.0).map_err(|_| damaged())?;
        let public = PublicKey::from_secret_key(&Secp256k1::new(), &secret);
        Ok(Self { secret, public })
    }

    /// The public key, 66 hex digits.
    pub(super) fn id(&self) -> String {
        self.public.to_string()
    }

    /// A signed regtest invoice for this payment. The sentence says why there is none.
    pub(super) fn sign(
        &self,
        new: &NewInvoice,
        payment_hash: &PaymentHash,
        now: Time,
    ) -> Result<String, String> {
        let secp = Secp256k1::new();
        let hash = sha256::Hash::from_byte_array(payment_hash.0.0);
        let invoice = InvoiceBuilder::new(Currency::Regtest)
            .description(cut_bytes(&new.memo, MAX_MEMO_BYTES).to_owned())
            .payment_hash(hash)
            .payment_secret(PaymentSecret(rand::random()))
            .duration_since_epoch(std::time::Duration::from_secs(now.secs()))
            .min_final_cltv_expiry_delta(new.hold_hash.map_or(FINAL_CLTV, |_| HELD_CLTV))
            .expiry_time(new.expiry)
            .amount_milli_satoshis(new.amount.0)
            .basic_mpp()
            .build_signed(|message| secp.sign_ecdsa_recoverable(message, &self.secret))
            .map_err(|error| error.to_string())?;
        Ok(invoice.to_string())
    }
}

/// Opens the key file and holds it until dropped: what must not happen twice, in any process, happens under this lock.
pub(super) fn lock(dir: &Path) -> std::io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(dir.join(KEY_FILE))?;
    file.lock()?;
    Ok(file)
}

/// Makes a folder's new names survive a power cut.
pub(super) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    fs::File::open(dir)?.sync_all()
}
