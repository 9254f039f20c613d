//! A drill LNbits: a real HTTP server on loopback with real signed invoices, faults on demand, and a record of all it did.
//!
//! It runs on threads of its own, so it serves any test (async or not) and lives on while the program under test is killed.
//! The record is a file of JSON lines that only grows: `{"what":"create","label","payment_hash","bolt11","amount_msat"}`,
//! written before the answer leaves, and `{"what":"paid","payment_hash","amount_msat"}`.

#![allow(dead_code, reason = "each test file uses its own part of the drill")]

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lightning_invoice::{
    Currency, Description, ExpiryTime, PayeePubKey, PaymentSecret, PositiveTimestamp,
    RawBolt11Invoice, RawDataPart, RawHrp, RawTaggedField, Sha256, SiPrefix, TaggedField,
};
use nostr::hashes::{Hash, sha256};
use nostr::secp256k1::{PublicKey, Secp256k1, SecretKey};
use serde_json::{Value, json};

/// The largest request that is read, bytes.
const MAX_REQUEST: usize = 64 * 1024;

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
}

struct State {
    fault: Fault,
    invoices: Vec<Invoice>,
    lookups: usize,
    record: File,
    connections: Vec<JoinHandle<()>>,
    stopped: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    currency: Currency,
    node: SecretKey,
    key: String,
}

/// The server. It ends when dropped.
pub struct DrillWallet {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepts: Option<JoinHandle<()>>,
}

impl DrillWallet {
    /// Starts it with regtest invoices. The record is made if it is not there, else continued.
    pub fn start(record_path: &Path) -> Self {
        Self::start_on(record_path, Currency::Regtest)
    }

    /// Starts it with invoices of another network. `Currency::Bitcoin` makes what LNbits' own test wallet makes: `lnbc`,
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
                invoices: Vec::new(),
                lookups: 0,
                record,
                connections: Vec::new(),
                stopped: false,
            }),
            changed: Condvar::new(),
            currency,
            node: SecretKey::from_slice(&rand::random::<[u8; 32]>()).unwrap(),
            key: hex(&rand::random::<[u8; 16]>()),
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
        self.shared.key.clone()
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

    /// Every invoice ever made.
    pub fn created(&self) -> Vec<Created> {
        let state = self.shared.held();
        state
            .invoices
            .iter()
            .map(|invoice| invoice.created.clone())
            .collect()
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

    /// Waits until payments were looked up so often; false where that takes longer than `longest`.
    pub fn wait_for_lookups(&self, count: usize, longest: Duration) -> bool {
        self.shared.wait(longest, |state| state.lookups >= count)
    }
}

impl Drop for DrillWallet {
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
        self.wait(Duration::from_secs(600), |state| {
            state.stopped || state.fault != fault
        });
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.held().stopped {
            break;
        }
        let Ok(stream) = stream else { continue };
        let connection = {
            let shared = Arc::clone(shared);
            // A caller that hangs up early is no fault of the server.
            std::thread::spawn(move || drop(serve(&stream, &shared)))
        };
        let mut state = shared.held();
        state.connections.retain(|thread| !thread.is_finished());
        state.connections.push(connection);
    }
    let connections = std::mem::take(&mut shared.held().connections);
    for connection in connections {
        // As in `drop`.
        let _ = connection.join();
    }
}

struct Request {
    method: String,
    target: String,
    key: String,
    body: Value,
}

struct Reply {
    status: u16,
    header: String,
    body: String,
}

fn reply(status: u16, body: &Value) -> Reply {
    Reply {
        status,
        header: String::new(),
        body: body.to_string(),
    }
}

fn serve(mut stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    if shared.held().fault == Fault::Down {
        return Ok(());
    }
    let Some(request) = read(stream)? else {
        return Ok(());
    };
    let Some(reply) = answer(&request, shared) else {
        return Ok(());
    };
    write!(
        stream,
        "HTTP/1.1 {} Drill\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n{}\r\n{}",
        reply.status,
        reply.body.len(),
        reply.header,
        reply.body
    )?;
    stream.flush()
}

fn read(stream: &TcpStream) -> std::io::Result<Option<Request>> {
    let mut reader = BufReader::new(stream.take(MAX_REQUEST as u64));
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let (mut key, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "x-api-key" => value.trim().clone_into(&mut key),
            "content-length" => length = value.trim().parse().unwrap_or(0),
            _ => {}
        }
    }
    let mut body = vec![0; length.min(MAX_REQUEST)];
    reader.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(Some(Request {
        method,
        target,
        key,
        body,
    }))
}

/// None: the connection is closed without an answer.
fn answer(request: &Request, shared: &Shared) -> Option<Reply> {
    let fault = shared.held().fault.clone();
    let page = |status, header: &str, body: String| {
        Some(Reply {
            status,
            header: header.to_owned(),
            body,
        })
    };
    match &fault {
        Fault::Slow(longer) => {
            shared.wait(*longer, |state| state.stopped || state.fault != fault);
        }
        Fault::ServerError => {
            let text = format!("\u{1b}[31mno funding source for {}\u{202e}", request.key);
            return Some(reply(500, &json!({"detail": text})));
        }
        Fault::Busy => {
            return page(
                429,
                "Retry-After: 7\r\n",
                json!({"detail": "slow down"}).to_string(),
            );
        }
        Fault::Redirect => {
            return page(
                302,
                "Location: http://127.0.0.1:1/elsewhere\r\n",
                String::new(),
            );
        }
        Fault::Huge => return page(200, "", "x".repeat(1024 * 1024)),
        Fault::WebPage(status) => {
            return page(*status, "", "<html>Welcome to nginx!</html>".to_owned());
        }
        _ => {}
    }
    let url = reqwest::Url::parse(&format!("http://drill{}", request.target)).ok()?;
    let (_, path) = url.path().split_once("/api/v1/")?;
    let known = request.key == shared.key && fault != Fault::KeyRevoked;
    let stranger = || Some(reply(404, &json!({"detail": "Wallet not found."})));
    match (request.method.as_str(), path) {
        ("GET", "wallet") if known => Some(reply(200, &json!({"name": "drill", "balance": 0}))),
        ("POST", "payments") if known => create(&request.body, shared, &fault),
        ("GET", "payments") if known => {
            let label = url.query_pairs().find(|(name, _)| name == "external_id");
            Some(list(
                shared,
                &fault,
                label.map(|(_, label)| label.into_owned()).as_deref(),
            ))
        }
        ("GET" | "POST", "wallet" | "payments") => stranger(),
        ("GET", path) => {
            let Some(hash) = path.strip_prefix("payments/") else {
                return stranger();
            };
            Some(lookup(shared, &fault, hash, known))
        }
        _ => Some(reply(405, &json!({"detail": "Method Not Allowed"}))),
    }
}

fn create(body: &Value, shared: &Shared, fault: &Fault) -> Option<Reply> {
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let (Some(sats), Some(expiry)) = (body["amount"].as_u64(), body["expiry"].as_u64()) else {
        return Some(reply(
            400,
            &json!({"detail": "amount and expiry are whole numbers"}),
        ));
    };
    let preimage: [u8; 32] = rand::random();
    let hash = sha256::Hash::hash(&preimage);
    let draft = draft(shared, fault, sats * 1_000, expiry, hash);
    let mut created = Created {
        label: text("external_id"),
        payment_hash: hash.to_string(),
        bolt11: sign(&draft, &shared.node),
        amount_msat: sats * 1_000,
    };
    if *fault == Fault::NotAnInvoice {
        "lnbc1nothing".clone_into(&mut created.bolt11);
    }
    let invoice = Invoice {
        created: created.clone(),
        memo: text("memo"),
        preimage,
        expires_at: draft.made_at + draft.expiry,
        paid: false,
    };
    let mut answer = payment(&invoice, fault);
    if *fault == Fault::WrongHash {
        answer["payment_hash"] = json!("ab".repeat(32));
    }
    let mut state = shared.held();
    state.invoices.push(invoice);
    state.note(&json!({
        "what": "create",
        "label": created.label,
        "payment_hash": created.payment_hash,
        "bolt11": created.bolt11,
        "amount_msat": created.amount_msat,
    }));
    drop(state);
    shared.changed.notify_all();
    if *fault == Fault::HangAfterCreate {
        shared.hang();
        return None;
    }
    Some(reply(201, &answer))
}

fn list(shared: &Shared, fault: &Fault, label: Option<&str>) -> Reply {
    let state = shared.held();
    let found: Vec<Value> = state
        .invoices
        .iter()
        .rev()
        .filter(|invoice| label.is_none_or(|label| invoice.created.label == label))
        .filter(|_| *fault != Fault::ForgetLabels)
        .map(|invoice| payment(invoice, fault))
        .collect();
    reply(200, &Value::from(found))
}

fn lookup(shared: &Shared, fault: &Fault, hash: &str, known: bool) -> Reply {
    let mut state = shared.held();
    state.lookups += 1;
    shared.changed.notify_all();
    let found = state
        .invoices
        .iter()
        .find(|invoice| invoice.created.payment_hash == hash);
    let Some(invoice) = found.filter(|_| *fault != Fault::UnknownOnLookup) else {
        return reply(404, &json!({"detail": "Payment does not exist."}));
    };
    let details = payment(invoice, fault);
    // As LNbits before 1.6 did, the preimage is there from the start: it proves nothing.
    let mut answer = json!({"paid": invoice.paid, "preimage": hex(&invoice.preimage)});
    if !invoice.paid {
        answer["status"] = details["status"].clone();
    }
    if known {
        answer["details"] = details;
    }
    reply(200, &answer)
}

fn payment(invoice: &Invoice, fault: &Fault) -> Value {
    let status = match invoice {
        Invoice { paid: true, .. } => "success",
        Invoice { expires_at, .. } if *expires_at <= now() => "failed",
        Invoice { .. } => "pending",
    };
    let less = if *fault == Fault::PaidLess { 1_000 } else { 0 };
    json!({
        "checking_id": format!("internal_{}", invoice.created.payment_hash),
        "payment_hash": invoice.created.payment_hash,
        "wallet_id": "drill",
        "amount": invoice.created.amount_msat - less,
        "fee": 0,
        "bolt11": invoice.created.bolt11,
        "status": status,
        "memo": invoice.memo,
        "preimage": hex(&invoice.preimage),
        "external_id": invoice.created.label,
        "extra": {},
    })
}

/// An invoice before it is signed.
struct Draft {
    currency: Currency,
    amount_msat: Option<u64>,
    hash: Option<sha256::Hash>,
    made_at: u64,
    expiry: u64,
    payee: Option<PublicKey>,
}

fn draft(
    shared: &Shared,
    fault: &Fault,
    amount_msat: u64,
    expiry: u64,
    hash: sha256::Hash,
) -> Draft {
    let mut draft = Draft {
        currency: shared.currency.clone(),
        amount_msat: Some(amount_msat),
        hash: Some(hash),
        made_at: now(),
        expiry,
        payee: None,
    };
    match fault {
        Fault::WrongAmount => draft.amount_msat = Some(amount_msat + 1_000),
        Fault::NoAmount => draft.amount_msat = None,
        Fault::WrongNetwork if draft.currency == Currency::Signet => {
            draft.currency = Currency::Bitcoin
        }
        Fault::WrongNetwork => draft.currency = Currency::Signet,
        Fault::NoHash => draft.hash = None,
        Fault::Expired => draft.made_at -= expiry,
        Fault::ExpiryTooLong => draft.expiry = 86_400,
        Fault::BadSignature => {
            let other = SecretKey::from_slice(&[1; 32]).unwrap();
            draft.payee = Some(PublicKey::from_secret_key(&Secp256k1::new(), &other));
        }
        _ => {}
    }
    draft
}

/// Like LNbits' test wallet: signed, with a payment secret, but without feature bits.
fn sign(draft: &Draft, node: &SecretKey) -> String {
    let mut fields = vec![
        TaggedField::Description(Description::new("drill".to_owned()).unwrap()),
        TaggedField::PaymentSecret(PaymentSecret(rand::random())),
        TaggedField::ExpiryTime(ExpiryTime::from_seconds(draft.expiry)),
    ];
    fields.extend(
        draft
            .hash
            .map(|hash| TaggedField::PaymentHash(Sha256(hash))),
    );
    fields.extend(
        draft
            .payee
            .map(|payee| TaggedField::PayeePubKey(PayeePubKey(payee))),
    );
    let raw = RawBolt11Invoice {
        hrp: RawHrp {
            currency: draft.currency.clone(),
            raw_amount: draft.amount_msat.map(|msat| msat * 10),
            si_prefix: draft.amount_msat.map(|_| SiPrefix::Pico),
        },
        data: RawDataPart {
            timestamp: PositiveTimestamp::from_unix_timestamp(draft.made_at).unwrap(),
            tagged_fields: fields
                .into_iter()
                .map(RawTaggedField::KnownSemantics)
                .collect(),
        },
    };
    raw.sign(|message| Ok::<_, ()>(Secp256k1::new().sign_ecdsa_recoverable(message, node)))
        .unwrap()
        .to_string()
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
