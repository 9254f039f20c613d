//! The node's invoices and what became of them.

use std::time::Duration;

use lightning_invoice::{Currency, InvoiceBuilder, PaymentSecret};
use nostr::hashes::{Hash, sha256};
use nostr::secp256k1::{PublicKey, Secp256k1, SecretKey};

use super::now;

pub fn public_key(key: &SecretKey) -> PublicKey {
    PublicKey::from_secret_key(&Secp256k1::new(), key)
}

/// An invoice to be made.
#[derive(Default)]
pub struct NewEntry {
    pub label: String,
    pub memo: String,
    pub amount_msat: u64,
    pub expiry: u64,
    /// The caller's own; else a new one is made.
    pub preimage: Option<[u8; 32]>,
    /// A hold invoice: the caller keeps the preimage.
    pub hold_hash: Option<[u8; 32]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Open,
    Held { amount_msat: u64 },
    Paid { amount_msat: u64, at: u64 },
    Canceled,
}

#[derive(Clone, Debug)]
pub struct Invoice {
    pub label: String,
    pub memo: String,
    pub hash: [u8; 32],
    pub preimage: Option<[u8; 32]>,
    pub bolt11: String,
    pub amount_msat: u64,
    pub made_at: u64,
    pub expires_at: u64,
    pub life: Life,
    /// Of what was paid, what the node took as its fee, msat (phoenixd).
    pub fee_msat: u64,
    /// Of what was paid, what became fee credit, msat (phoenixd).
    pub credit_msat: u64,
}

impl Invoice {
    pub fn is_expired(&self) -> bool {
        self.life == Life::Open && self.expires_at <= now()
    }

    /// The payment is here, whatever the clock says.
    pub fn settle_now(&mut self, more_msat: u64) {
        self.life = Life::Paid {
            amount_msat: self.amount_msat + more_msat,
            at: now(),
        };
    }
}

/// The node's books.
pub struct Accounting {
    invoices: Vec<Invoice>,
    /// May the caller only make invoices and look at them?
    pub limited: bool,
    /// Has the node caught up with the chain?
    pub synced: bool,
    /// What its channels can still receive.
    pub inbound_msat: u64,
    /// What they hold.
    pub balance_msat: u64,
    /// What turned into fee credit (phoenixd).
    pub fee_credit_sat: u64,
    /// How many seconds the node's clock is ahead of ours.
    pub clock_ahead: i64,
    /// How many seconds the clock of the machine that answers for it is ahead of ours.
    pub date_ahead: i64,
}

impl Default for Accounting {
    fn default() -> Self {
        Self {
            invoices: Vec::new(),
            limited: false,
            synced: true,
            inbound_msat: 500_000_000,
            balance_msat: 7_000_000,
            fee_credit_sat: 0,
            clock_ahead: 0,
            date_ahead: 0,
        }
    }
}

impl Accounting {
    pub fn all(&self) -> &[Invoice] {
        &self.invoices
    }

    pub fn by_hash(&mut self, hash: &[u8]) -> Option<&mut Invoice> {
        self.invoices.iter_mut().find(|one| one.hash == hash)
    }

    pub fn by_label(&self, label: &str) -> Vec<&Invoice> {
        let found = self.invoices.iter().filter(|one| one.label == label);
        found.collect()
    }

    pub fn entry(&mut self, bolt11: &str) -> &mut Invoice {
        let found = self.invoices.iter_mut().find(|one| one.bolt11 == bolt11);
        found.unwrap()
    }

    /// Makes an invoice and signs it.
    pub fn make(&mut self, new: NewEntry, node: &SecretKey) -> Invoice {
        let preimage = match new.hold_hash {
            Some(_) => None,
            None => Some(new.preimage.unwrap_or_else(rand::random)),
        };
        let hash = new
            .hold_hash
            .or_else(|| preimage.map(|bytes| sha256::Hash::hash(&bytes).to_byte_array()))
            .unwrap();
        let made_at = now().saturating_add_signed(self.clock_ahead);
        let secp = Secp256k1::new();
        let signed = InvoiceBuilder::new(Currency::Regtest)
            .description(new.memo.clone())
            .payment_hash(sha256::Hash::from_byte_array(hash))
            .payment_secret(PaymentSecret(rand::random()))
            .duration_since_epoch(Duration::from_secs(made_at))
            .min_final_cltv_expiry_delta(18)
            .expiry_time(Duration::from_secs(new.expiry))
            .amount_milli_satoshis(new.amount_msat)
            .basic_mpp()
            .build_signed(|message| secp.sign_ecdsa_recoverable(message, node))
            .unwrap();
        let invoice = Invoice {
            label: new.label,
            memo: new.memo,
            hash,
            preimage,
            bolt11: signed.to_string(),
            amount_msat: new.amount_msat,
            made_at,
            expires_at: made_at + new.expiry,
            life: Life::Open,
            fee_msat: 0,
            credit_msat: 0,
        };
        self.invoices.push(invoice.clone());
        invoice
    }

    pub fn pay(&mut self, bolt11: &str, more_msat: u64, now: u64) -> Result<u64, String> {
        let found = self.invoices.iter_mut().find(|one| one.bolt11 == bolt11);
        let invoice = found.ok_or("no such invoice")?;
        if invoice.life != Life::Open {
            return Err(format!("the invoice is {:?}", invoice.life));
        }
        if invoice.expires_at <= now {
            return Err("expired".to_owned());
        }
        let amount_msat = invoice.amount_msat + more_msat;
        invoice.life = match invoice.preimage {
            Some(_) => Life::Paid {
                amount_msat,
                at: now,
            },
            None => Life::Held { amount_msat },
        };
        Ok(amount_msat)
    }
}
