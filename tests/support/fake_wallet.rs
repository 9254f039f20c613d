//! A fake `LNbits`: a real HTTP server on loopback with real signed invoices, faults on demand, and a record of all it did.
//!
//! It runs on threads of its own, so it serves any test (async or not) and lives on while the program under test is killed.
//! The record is a file of JSON lines that only grows: `{"what":"create","label","payment_hash","bolt11","amount_msat"}`,
//! written before the answer leaves, and `{"what":"paid","payment_hash","amount_msat"}`.

#![allow(dead_code, reason = "each test file uses its own part of the fake")]

#[path = "fake_wallet/api.rs"]
mod api;
#[path = "fake_wallet/draft.rs"]
mod draft;
#[path = "fake_wallet/http.rs"]
mod http;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lightning_invoice::Currency;
use nostr::secp256k1::SecretKey;
use serde_json::{Value, json};

use http::accept;

/// What the server does wrong, until told otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Every answer comes this much later.
    Slow(Duration),
    /// Every connection is dropped before its request is read.
    Down,
    /// Every answer is a 500 that repeats the caller's key and paints the terminal.
    ServerError,
    /// Every answer is a 429, "come back in 7 s".
    Busy,
    /// Every answer sends the caller elsewhere.
    Redirect,
    /// Every answer is larger than any that makes sense.
    Huge,
    /// Every answer is a web page with this status.
    WebPage(u16),
    /// The key is not known any more.
    KeyRevoked,
    /// An invoice is made (and recorded), but the answer never comes.
    HangAfterCreate,
    /// Invoices ask for 1 sat more.
    WrongAmount,
    /// Invoices name no amount.
    NoAmount,
    /// Invoices are for another network.
    WrongNetwork,
    /// The answer names another payment hash than the invoice.
    WrongHash,
    /// Invoices have no payment hash.
    NoHash,
    /// Invoices are as old as they can get.
    Expired,
    /// Invoices can be paid for a day.
    ExpiryTooLong,
    /// Invoices name a payee who has not signed them.
    BadSignature,
    /// What is made is not an invoice.
    NotAnInvoice,
    /// No payment is known when it is looked up.
    UnknownOnLookup,
    /// What is paid is shown with 1 sat less.
    PaidLess,
    /// Nothing is found by its label.
    ForgetLabels,
}

/// An invoice that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    pub label: String,
    pub payment_hash: String,
    pub bolt11: String,
    pub amount_msat: u64,
}

struct Invoice {
    created: Created,
    memo: String,
    preimage: [u8; 32],
    expires_at: u64,
    paid: bool,
    /// Paid beyond what was asked for.
    more_msat: u64,
}

struct State {
    fault: Fault,
    name: String,
    key: String,
    invoices: Vec<Invoice>,
    lookups: usize,
    lists: usize,
    record: File,
    connections: Vec<JoinHandle<()>>,
    stopped: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    currency: Currency,
    node: SecretKey,
}

/// The server. It ends when dropped.
pub struct FakeWallet {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepts: Option<JoinHandle<()>>,
}

impl FakeWallet {
    /// Starts it with regtest invoices. The record is made if it is not there, else continued.
    pub fn start(record_path: &Path) -> Self {
        Self::start_on(record_path, Currency::Regtest)
    }

    /// Starts it with invoices of another network. `Currency::Bitcoin` makes what `LNbits`' own test wallet makes: `lnbc`,
    /// and no node behind it.
    pub fn start_on(record_path: &Path, currency: Currency) -> Self {
        let record = OpenOptions::new()
            .create(true)
            .append(true)
            .open(record_path)
            .unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                fault: Fault::None,
                name: "fake".to_owned(),
                key: hex(&rand::random::<[u8; 16]>()),
                invoices: Vec::new(),
                lookups: 0,
                lists: 0,
                record,
                connections: Vec::new(),
                stopped: false,
            }),
            changed: Condvar::new(),
            currency,
            node: SecretKey::from_slice(&rand::random::<[u8; 32]>()).unwrap(),
        });
        let accepts = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || accept(&listener, &shared))
        };
        Self {
            shared,
            address,
            accepts: Some(accepts),
        }
    }

    /// What `wallet.url` is set to.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What `wallet.invoice_key` is set to.
    pub fn invoice_key(&self) -> String {
        self.shared.held().key.clone()
    }

    /// Its owner has the key renewed: the old one is not known any more.
    pub fn renew_key(&self) {
        self.shared.held().key = hex(&rand::random::<[u8; 16]>());
    }

    /// Its owner gives the wallet another name.
    pub fn rename(&self, name: &str) {
        name.clone_into(&mut self.shared.held().name);
    }

    /// From now on this goes wrong. Answers that hang are given up.
    pub fn set_fault(&self, fault: Fault) {
        self.shared.held().fault = fault;
        self.shared.changed.notify_all();
    }

    /// Pays an invoice as the test's buyer; the amount in msat, or why not.
    pub fn pay(&self, bolt11: &str) -> Result<u64, String> {
        let mut state = self.shared.held();
        let invoice = state
            .invoices
            .iter_mut()
            .find(|invoice| invoice.created.bolt11 == bolt11)
            .ok_or("no such invoice")?;
        if invoice.paid {
            return Err("already paid".to_owned());
        }
        if invoice.expires_at <= now() {
            return Err("expired".to_owned());
        }
        invoice.paid = true;
        let (hash, amount) = (
            invoice.created.payment_hash.clone(),
            invoice.created.amount_msat,
        );
        state.note(&json!({"what": "paid", "payment_hash": hash, "amount_msat": amount}));
        Ok(amount)
    }

    /// Pays so much more than is asked for.
    pub fn pay_more(&self, bolt11: &str, more_msat: u64) -> Result<u64, String> {
        self.change(bolt11, |invoice| invoice.more_msat = more_msat);
        self.pay(bolt11)
    }

    /// Pays with a payment that was on its way when the invoice expired, and is settled now.
    pub fn pay_late(&self, bolt11: &str) {
        self.change(bolt11, |invoice| invoice.paid = true);
    }

    /// Makes an invoice's time be over.
    pub fn expire(&self, bolt11: &str) {
        self.change(bolt11, |invoice| invoice.expires_at = now());
    }

    fn change(&self, bolt11: &str, work: impl FnOnce(&mut Invoice)) {
        let mut state = self.shared.held();
        let mut found = state.invoices.iter_mut();
        work(found.find(|one| one.created.bolt11 == bolt11).unwrap());
    }

    /// Every invoice ever made.
    pub fn created(&self) -> Vec<Created> {
        let state = self.shared.held();
        state
            .invoices
            .iter()
            .map(|invoice| invoice.created.clone())
            .collect()
    }

    /// The secret behind an invoice, hex: what its payer gets for the payment.
    pub fn preimage(&self, bolt11: &str) -> String {
        let state = self.shared.held();
        let mut found = state.invoices.iter();
        let one = found.find(|one| one.created.bolt11 == bolt11).unwrap();
        hex(&one.preimage)
    }

    /// Every invoice ever made under this label.
    pub fn created_for(&self, label: &str) -> Vec<Created> {
        self.created()
            .into_iter()
            .filter(|created| created.label == label)
            .collect()
    }

    /// How often a payment was looked up.
    pub fn lookups(&self) -> usize {
        self.shared.held().lookups
    }

    /// Waits until so many invoices were made; false where that takes longer than `longest`.
    pub fn wait_for_created(&self, count: usize, longest: Duration) -> bool {
        self.shared
            .wait(longest, |state| state.invoices.len() >= count)
    }

    /// How often all payments were listed.
    pub fn lists(&self) -> usize {
        self.shared.held().lists
    }

    /// Waits until all payments were listed so often, not counting the pages after the first; false where that takes longer.
    pub fn wait_for_lists(&self, count: usize, longest: Duration) -> bool {
        self.shared.wait(longest, |state| state.lists >= count)
    }

    /// Waits until payments were looked up so often; false where that takes longer than `longest`.
    pub fn wait_for_lookups(&self, count: usize, longest: Duration) -> bool {
        self.shared.wait(longest, |state| state.lookups >= count)
    }
}

impl Drop for FakeWallet {
    fn drop(&mut self) {
        self.shared.held().stopped = true;
        self.shared.changed.notify_all();
        // Wakes the listener, which then sees that it is over.
        drop(TcpStream::connect(self.address));
        if let Some(accepts) = self.accepts.take() {
            // A thread that failed has failed its test already.
            let _ = accepts.join();
        }
    }
}

impl State {
    fn note(&mut self, line: &Value) {
        writeln!(self.record, "{line}").unwrap();
        self.record.sync_data().unwrap();
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, longest: Duration, done: impl Fn(&State) -> bool) -> bool {
        let until = Instant::now() + longest;
        let mut state = self.held();
        while !done(&state) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || state.stopped {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
        true
    }

    /// Holds an answer back until another fault is set or it is all over.
    fn hang(&self) {
        let fault = self.held().fault.clone();
        self.wait(Duration::from_mins(10), |state| {
            state.stopped || state.fault != fault
        });
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
