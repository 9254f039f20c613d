//! Names of things, each its own type so that one cannot stand for another.

use std::fmt;
use std::str::FromStr;

use nostr::{EventId, PublicKey};
use serde::{Deserialize, Serialize};

use super::hex32::Hex32;

mod beginning;

pub use beginning::IdBeginning;

/// How the labels of our invoices begin.
pub const LABEL: &str = "vend:";

/// A job's name: the id of the buyer's request event (NIP-01), lower-case hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub EventId);

impl RequestId {
    /// The first eight hex digits, enough for a person to tell two jobs apart.
    #[must_use]
    pub fn short(&self) -> String {
        self.0.to_hex().chars().take(8).collect()
    }

    /// The label by which a wallet that keeps labels can find the job's invoice again after a crash.
    #[must_use]
    pub fn label(&self) -> String {
        let hex: String = self.0.to_hex().chars().take(32).collect();
        format!("{LABEL}{hex}")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

impl FromStr for RequestId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        EventId::from_hex(text)
            .map(Self)
            .map_err(|_| "a job id is 64 hex digits, as `vend jobs` prints it".to_owned())
    }
}

/// The buyer's public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Buyer(pub PublicKey);

impl fmt::Display for Buyer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

/// The hash that names one Lightning payment (BOLT 11 field `p`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PaymentHash(pub Hex32);

impl fmt::Display for PaymentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PaymentHash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// The secret behind a payment hash. Its `Debug` shows nothing: it proves a payment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Preimage(pub Hex32);

impl Preimage {
    /// A preimage as a wallet tells it; none for a row of zeros, with which some wallets fill the place of one that they do
    /// not know.
    #[must_use]
    pub fn told(bytes: Hex32) -> Option<Self> {
        (bytes.0 != [0; 32]).then_some(Self(bytes))
    }

    /// The payment hash that it opens (sha256, BOLT 11).
    #[must_use]
    pub fn hash(&self) -> PaymentHash {
        use nostr::hashes::{Hash, sha256};
        PaymentHash(Hex32(sha256::Hash::hash(&self.0.0).to_byte_array()))
    }

    /// Does this open `hash`?
    #[must_use]
    pub fn opens(&self, hash: &PaymentHash) -> bool {
        self.hash() == *hash
    }
}

impl fmt::Debug for Preimage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Preimage(hidden)")
    }
}

/// One run of the program. A job that another run left in the middle is an orphan of that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(pub Hex32);

/// An inference server's name, from the settings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EndpointName(pub String);

impl fmt::Display for EndpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
