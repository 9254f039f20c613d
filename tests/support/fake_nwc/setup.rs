//! What the fake wallet service is, and what it does wrong.

use std::time::Duration;

use serde_json::{Value, json};

/// What a connection that only receives may do.
pub const RECEIVING: &[&str] = &["get_info", "get_balance", "make_invoice", "lookup_invoice"];

/// What hold invoices need beside it.
pub const HOLDING: &[&str] = &[
    "make_hold_invoice",
    "settle_hold_invoice",
    "cancel_hold_invoice",
];

/// What the service does wrong, until told otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Answers come this much later, or when another fault is set.
    Slow(Duration),
    /// Nothing is answered: the wallet is offline, or the connection was removed.
    Silent,
    /// Every answer is an error with this code.
    Code(&'static str),
    /// Answers are no JSON.
    Garbage,
    /// Answers are larger than any that makes sense.
    Huge,
    /// What is encrypted was encrypted for somebody else.
    OtherReader,
    /// Answers are encrypted in the scheme that was not asked in.
    OtherScheme,
    /// Before each answer comes a forgery of it that says "settled": by another author, and with a signature that is none.
    Forged,
    /// An invoice is made, but the answer never comes.
    HangAfterCreate,
    /// A payment is made, but the answer never comes.
    HangAfterPay,
    /// Invoices are in a state that nobody has heard of.
    StrangeState,
    /// Invoices have no state.
    NoState,
    /// An answer is about another payment than was asked for.
    OtherPayment,
    /// What is paid comes with a preimage that does not open the hash.
    WrongPreimage,
}

/// What the service is.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Has the relay its card (kind 13194)?
    pub card: bool,
    /// The card's `encryption`; none: the tag is missing, as with old services.
    pub offers: Option<&'static str>,
    /// Does it understand NIP-44, NIP-04?
    pub speaks: (bool, bool),
    /// What the seller's connection may do.
    pub methods: Vec<&'static str>,
    /// What `get_info` tells beside that.
    pub info: Value,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            card: true,
            offers: Some("nip44_v2 nip04"),
            speaks: (true, true),
            methods: [RECEIVING, HOLDING].concat(),
            info: json!({"alias": "fake", "network": "regtest"}),
        }
    }
}
