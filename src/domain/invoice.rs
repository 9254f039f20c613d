//! Invoices (BOLT 11): is what the wallet made what was asked for, was it paid in full, and when to look again.
//!
//! A buyer sees no invoice that has not passed [`check`]: a wallet that errs, or lies, can't make the shop send out a
//! request for another amount, on another network, or for another payment than the one that is watched.

mod schedule;
mod watched;

use std::fmt;
use std::time::Duration;

use lightning_invoice::{Currency, SignedRawBolt11Invoice, TaggedField};

use super::drift;
use super::hex32::Hex32;
use super::id::{PaymentHash, Preimage};
use super::msat::Msat;
use super::text::clean;
use super::time::Time;

pub use schedule::{LATE_LOOKS, MAY_CLOSE_AFTER, UNKNOWN_LOOKS, is_due, may_close, next_poll};
pub use watched::Watched;

/// The longest text that is taken for an invoice, bytes. Real ones are below 2,000.
pub const MAX_BOLT11_BYTES: usize = 8_192;

/// How much longer than asked an invoice may live, for wallets that round.
const EXPIRY_SLACK: Duration = Duration::from_mins(1);

/// An invoice without an expiry field lives this long (BOLT 11).
const DEFAULT_EXPIRY: Duration = Duration::from_hours(1);

/// Pico-bitcoin in one msat (BOLT 11 counts in 10^-12 bitcoin).
const PICO_PER_MSAT: u64 = 10;

/// The network that an invoice belongs to (BOLT 11, human-readable part).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// Real money, `lnbc`.
    Bitcoin,
    /// `lntb`.
    Testnet,
    /// `lntbs`.
    Signet,
    /// `lnbcrt`; the sandbox's.
    Regtest,
}

impl Network {
    /// The word in the settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bitcoin => "bitcoin",
            Self::Testnet => "testnet",
            Self::Signet => "signet",
            Self::Regtest => "regtest",
        }
    }

    /// The network of that word, as the settings write it.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Bitcoin, Self::Testnet, Self::Signet, Self::Regtest]
            .into_iter()
            .find(|network| network.as_str() == word)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the wallet was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The amount; never zero.
    pub amount: Msat,
    /// The network of the settings.
    pub network: Network,
    /// The payment hash that the wallet named, by which the payment will be found.
    pub payment_hash: PaymentHash,
    /// The expiry asked for; 60 s more are tolerated.
    pub longest_expiry: Duration,
}

/// An invoice that is what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Its payment hash.
    pub payment_hash: PaymentHash,
    /// Its amount.
    pub amount: Msat,
    /// Its own timestamp: the wallet's clock, whole seconds.
    pub made_at: Time,
    /// From this moment on it can't be paid.
    pub expires_at: Time,
    /// The public key of the node that gets the money, 66 hex digits.
    pub payee: String,
    /// How many seconds the wallet's clock is ahead of ours (below zero: behind), where that is more than 60.
    pub clock_off_secs: Option<i64>,
}

/// Why an invoice is not what was asked for. `Display` is one line for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvoiceFault {
    /// The text is no BOLT 11 invoice.
    #[error("this is not a Lightning invoice: {0}")]
    NotAnInvoice(String),
    /// The signature does not fit.
    #[error("the invoice's signature is wrong")]
    BadSignature,
    /// No payment hash, so its payment could not be found.
    #[error("the invoice has no payment hash")]
    NoHash,
    /// It is for another payment than the wallet says.
    #[error("the invoice is for another payment ({found}) than the wallet says ({asked})")]
    OtherHash {
        /// What the wallet named.
        asked: PaymentHash,
        /// What the invoice holds.
        found: PaymentHash,
    },
    /// It takes any amount.
    #[error("the invoice names no amount, so it would take any")]
    NoAmount,
    /// It asks for another amount.
    #[error("the invoice asks for {} msat instead of {} msat", .found.0, .asked.0)]
    OtherAmount {
        /// What was asked.
        asked: Msat,
        /// What the invoice holds.
        found: Msat,
    },
    /// It is for another network.
    #[error(
        "the invoice is for {found}, but the settings say {asked}: set wallet.network to {found}, or use another wallet"
    )]
    OtherNetwork {
        /// The network of the settings.
        asked: Network,
        /// The invoice's network.
        found: &'static str,
    },
    /// It can't be paid any more.
    #[error("the invoice has expired already: compare the clocks of this machine and the wallet")]
    Expired,
    /// It could be paid for longer than asked.
    #[error("the invoice can be paid for {} s instead of {} s", .found.as_secs(), .asked.as_secs())]
    ExpiryTooLong {
        /// What was asked.
        asked: Duration,
        /// What the invoice holds.
        found: Duration,
    },
}

/// An invoice's text alone, without blanks around it and without the `lightning:` that some wallets write before it: not
/// every payer takes that.
#[must_use]
pub fn bare(bolt11: &str) -> &str {
    const SCHEME: &str = "lightning:";
    let text = bolt11.trim();
    match text.get(..SCHEME.len()) {
        Some(scheme) if scheme.eq_ignore_ascii_case(SCHEME) => {
            text[SCHEME.len()..].trim_start_matches('/')
        }
        _ => text,
    }
}

/// Reads an invoice without the strictness of a payer: `LNbits`' test wallet, for one, sets no feature bits.
/// A `lightning:` prefix and upper case are fine (BOLT 11).
///
/// # Errors
/// `NotAnInvoice` and `BadSignature`.
pub fn read(bolt11: &str) -> Result<SignedRawBolt11Invoice, InvoiceFault> {
    if bolt11.len() > MAX_BOLT11_BYTES {
        return Err(InvoiceFault::NotAnInvoice("it is too long".to_owned()));
    }
    let invoice: SignedRawBolt11Invoice = bare(bolt11)
        .parse()
        .map_err(|error| InvoiceFault::NotAnInvoice(clean(&format!("{error}"), 120)))?;
    if invoice.check_signature() {
        Ok(invoice)
    } else {
        Err(InvoiceFault::BadSignature)
    }
}

/// Is this invoice exactly what the wallet was asked for? Nothing else may be shown to a buyer.
///
/// # Errors
/// The first thing that is not as asked.
pub fn check(bolt11: &str, expected: &Expected, now: Time) -> Result<Checked, InvoiceFault> {
    let invoice = read(bolt11)?;
    check_hash(&invoice, expected.payment_hash)?;
    check_amount(&invoice, expected.amount)?;
    check_network(&invoice, expected.network)?;
    let (made_at, expires_at) = check_times(&invoice, expected.longest_expiry, now)?;
    Ok(Checked {
        payment_hash: expected.payment_hash,
        amount: expected.amount,
        made_at,
        expires_at,
        payee: payee(&invoice).ok_or(InvoiceFault::BadSignature)?,
        clock_off_secs: clock_off(made_at, now),
    })
}

/// The payee's key, 66 hex digits: the one named in the invoice, else the one that the signature tells (BOLT 11 field
/// `n`). None where the signature tells none.
#[must_use]
pub fn payee(invoice: &SignedRawBolt11Invoice) -> Option<String> {
    match invoice.payee_pub_key() {
        Some(key) => Some(key.0.to_string()),
        None => Some(invoice.recover_payee_pub_key().ok()?.0.to_string()),
    }
}

/// The amount; none where the invoice takes any.
///
/// # Errors
/// `NotAnInvoice` for an amount that is not in whole msat (BOLT 11 forbids it) or more than 64 bits hold.
pub fn amount(invoice: &SignedRawBolt11Invoice) -> Result<Option<Msat>, InvoiceFault> {
    let strange = || InvoiceFault::NotAnInvoice("its amount makes no sense".to_owned());
    if invoice.hrp.raw_amount.is_none() {
        return Ok(None);
    }
    let pico = invoice.amount_pico_btc().ok_or_else(strange)?;
    if pico.is_multiple_of(PICO_PER_MSAT) {
        Ok(Some(Msat(pico / PICO_PER_MSAT)))
    } else {
        Err(strange())
    }
}

/// When it was made, by its own clock, and the first moment at which it can't be paid any more.
#[must_use]
pub fn times(invoice: &SignedRawBolt11Invoice) -> (Time, Time) {
    let made_at = Time::from_secs(invoice.data.timestamp.as_unix_timestamp());
    (made_at, made_at.plus(expiry(invoice)))
}

fn expiry(invoice: &SignedRawBolt11Invoice) -> Duration {
    invoice
        .expiry_time()
        .map_or(DEFAULT_EXPIRY, |expiry| *expiry.as_duration())
}

/// The payment that it is for; none where it names none.
#[must_use]
pub fn payment_hash(invoice: &SignedRawBolt11Invoice) -> Option<PaymentHash> {
    hashes(invoice).next()
}

fn hashes(invoice: &SignedRawBolt11Invoice) -> impl Iterator<Item = PaymentHash> {
    invoice
        .known_tagged_fields()
        .filter_map(|field| match field {
            TaggedField::PaymentHash(hash) => {
                Some(PaymentHash(Hex32(*AsRef::<[u8; 32]>::as_ref(&hash.0))))
            }
            _ => None,
        })
}

fn check_hash(invoice: &SignedRawBolt11Invoice, asked: PaymentHash) -> Result<(), InvoiceFault> {
    let mut hashes = hashes(invoice).peekable();
    if hashes.peek().is_none() {
        return Err(InvoiceFault::NoHash);
    }
    // Payers differ in which of two hashes they take, so a second one must not say anything else.
    match hashes.find(|found| *found != asked) {
        Some(found) => Err(InvoiceFault::OtherHash { asked, found }),
        None => Ok(()),
    }
}

fn check_amount(invoice: &SignedRawBolt11Invoice, asked: Msat) -> Result<(), InvoiceFault> {
    match amount(invoice)? {
        // An amount of zero takes any amount too.
        None | Some(Msat::ZERO) => Err(InvoiceFault::NoAmount),
        Some(found) if found == asked => Ok(()),
        Some(found) => Err(InvoiceFault::OtherAmount { asked, found }),
    }
}

/// The word of the network that an invoice is of.
#[must_use]
pub fn network_word(invoice: &SignedRawBolt11Invoice) -> &'static str {
    match invoice.currency() {
        Currency::Bitcoin => "bitcoin",
        Currency::BitcoinTestnet => "testnet",
        Currency::Signet => "signet",
        Currency::Regtest => "regtest",
        Currency::Simnet => "simnet",
    }
}

fn check_network(invoice: &SignedRawBolt11Invoice, asked: Network) -> Result<(), InvoiceFault> {
    let found = network_word(invoice);
    if found == asked.as_str() {
        Ok(())
    } else {
        Err(InvoiceFault::OtherNetwork { asked, found })
    }
}

fn check_times(
    invoice: &SignedRawBolt11Invoice,
    asked: Duration,
    now: Time,
) -> Result<(Time, Time), InvoiceFault> {
    let (made_at, expires_at) = times(invoice);
    if now >= expires_at {
        return Err(InvoiceFault::Expired);
    }
    // Lengths are compared, not moments, so that a wallet whose clock is ahead still works.
    let found = expiry(invoice);
    if found > asked.saturating_add(EXPIRY_SLACK) {
        return Err(InvoiceFault::ExpiryTooLong { asked, found });
    }
    Ok((made_at, expires_at))
}

fn clock_off(made_at: Time, now: Time) -> Option<i64> {
    drift::noted(made_at.0.saturating_sub(now.0) / 1_000)
}

/// What a wallet's "paid" is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Paid in full.
    Paid {
        /// What is booked: what the wallet saw, or what was asked where it names no amount.
        amount: Msat,
        /// Did the wallet name the amount?
        named: bool,
    },
    /// Needs a person, in plain words; never booked, never "unpaid".
    Attention(String),
}

/// Weighs a wallet's "paid": at least what was asked must have come (a wallet that names no amount is believed), and a
/// preimage, where one is given, must open the payment hash.
#[must_use]
pub fn judge(
    payment_hash: &PaymentHash,
    asked: Msat,
    seen: Option<Msat>,
    preimage: Option<&Preimage>,
) -> Verdict {
    if preimage.is_some_and(|preimage| !preimage.opens(payment_hash)) {
        return Verdict::Attention(
            "the wallet says paid, but its proof does not open the payment hash".to_owned(),
        );
    }
    match seen {
        Some(amount) if amount < asked => Verdict::Attention(format!(
            "the wallet says paid, but only {} of {} came",
            amount.display(),
            asked.display()
        )),
        Some(amount) => Verdict::Paid {
            amount,
            named: true,
        },
        None => Verdict::Paid {
            amount: asked,
            named: false,
        },
    }
}

#[cfg(test)]
mod tests;
