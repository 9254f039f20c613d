//! A fake Lightning node: a real HTTP(S) server on loopback with real signed invoices, a payer, and faults on demand. What
//! it speaks (LND's, Core Lightning's or phoenixd's interface) is in a file of its own beside this one.
//!
//! It runs on threads of its own, so it serves any test, async or not.

#![allow(dead_code, reason = "each test file uses its own part of the fake")]

#[path = "fake_node/books.rs"]
mod books;
#[path = "fake_node/http.rs"]
mod http;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nostr::secp256k1::SecretKey;
use rustls::ServerConfig;

pub use books::{Accounting, Invoice, Life, NewEntry, public_key};
#[allow(unused_imports, reason = "not every interface answers in plain text")]
pub use http::{Reply, Request, json_reply, text_reply};

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
    /// Every answer is a 500 that repeats the caller's secret and paints the terminal.
    ServerError,
    /// Every answer is a 403 in a proxy's words.
    Forbidden,
    /// Every answer is a 429, "come back in 7 s".
    Busy,
    /// Every answer sends the caller elsewhere.
    Redirect,
    /// Every answer is larger than any that makes sense.
    Huge,
    /// Every answer ends in the middle.
    Truncated,
    /// Every answer is a web page with this status.
    WebPage(u16),
    /// The secret is not known any more.
    KeyRevoked,
    /// An invoice is made, but the answer never comes.
    HangAfterCreate,
    /// Invoices are in a state that nobody has heard of.
    StrangeState,
    /// An answer is about another payment than was asked for.
    OtherPayment,
    /// What is paid comes with a preimage that does not open the hash.
    WrongPreimage,
    /// Nothing is settled, and the refusal repeats what was sent.
    SettleRepeats,
}

/// What a node speaks: none closes the connection without an answer.
pub type Api = fn(&Request, &Shared) -> Option<Reply>;

struct State {
    fault: Fault,
    books: Accounting,
    calls: usize,
    connections: Vec<JoinHandle<()>>,
    stopped: bool,
}

/// What the server's threads share.
pub struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    api: Api,
    tls: Option<Arc<ServerConfig>>,
    /// The node's key.
    pub node: SecretKey,
    /// The macaroon, the rune, the password.
    pub secret: String,
}

/// Which of the fake's certificates; both are marked as authorities, as LND's own is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    One,
    Two,
}

impl Certificate {
    /// Its text.
    pub const fn pem(self) -> &'static str {
        match self {
            Self::One => include_str!("fake_node/one.cert.pem"),
            Self::Two => include_str!("fake_node/two.cert.pem"),
        }
    }

    const fn key(self) -> &'static str {
        match self {
            Self::One => include_str!("fake_node/one.key.pem"),
            Self::Two => include_str!("fake_node/two.key.pem"),
        }
    }
}

/// The server. It ends when dropped.
pub struct FakeNode {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepts: Option<JoinHandle<()>>,
}

impl FakeNode {
    /// Starts it, with plain http where there is no certificate.
    pub fn start(api: Api, secret: &str, certificate: Option<Certificate>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                fault: Fault::None,
                books: Accounting::default(),
                calls: 0,
                connections: Vec::new(),
                stopped: false,
            }),
            changed: Condvar::new(),
            api,
            tls: certificate.map(http::tls),
            node: SecretKey::from_slice(&rand::random::<[u8; 32]>()).unwrap(),
            secret: secret.to_owned(),
        });
        let accepts = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || http::accept(&listener, &shared))
        };
        Self {
            shared,
            address,
            accepts: Some(accepts),
        }
    }

    /// What `wallet.url` is set to.
    pub fn url(&self) -> String {
        let scheme = self.shared.tls.as_ref().map_or("http", |_| "https");
        format!("{scheme}://{}", self.address)
    }

    /// The macaroon, the rune, the password.
    pub fn secret(&self) -> String {
        self.shared.secret.clone()
    }

    /// The node's public key.
    pub fn id(&self) -> String {
        self.shared.id()
    }

    /// From now on this goes wrong. Answers that hang are given up.
    pub fn set_fault(&self, fault: Fault) {
        self.shared.held().fault = fault;
        self.shared.changed.notify_all();
    }

    /// Looks into the books, or changes them behind everybody's back.
    pub fn books<T>(&self, work: impl FnOnce(&mut Accounting) -> T) -> T {
        work(&mut self.shared.held().books)
    }

    /// Pays an invoice in full, as a payer that finds a way to the node: the amount in msat, or why not. A hold invoice is
    /// then held.
    pub fn pay(&self, bolt11: &str) -> Result<u64, String> {
        self.pay_more(bolt11, 0)
    }

    /// Pays so much more than is asked for.
    pub fn pay_more(&self, bolt11: &str, more_msat: u64) -> Result<u64, String> {
        self.books(|books| books.pay(bolt11, more_msat, now()))
    }

    /// Pays with a payment that was on its way when the invoice expired, and is settled now.
    pub fn pay_late(&self, bolt11: &str) {
        self.books(|books| books.entry(bolt11).settle_now(0));
    }

    /// Makes an invoice's time be over.
    pub fn expire(&self, bolt11: &str) {
        self.books(|books| books.entry(bolt11).expires_at = now());
    }

    /// How often something was asked.
    pub fn calls(&self) -> usize {
        self.shared.held().calls
    }

    /// Waits until so many invoices were made; false where that takes longer than `longest`.
    pub fn wait_for_created(&self, count: usize, longest: Duration) -> bool {
        self.shared
            .wait(longest, |state| state.books.all().len() >= count)
    }
}

impl Drop for FakeNode {
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

impl Shared {
    fn held(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What goes wrong now.
    pub fn fault(&self) -> Fault {
        self.held().fault.clone()
    }

    /// The node's public key.
    pub fn id(&self) -> String {
        public_key(&self.node).to_string()
    }

    /// Works on the books.
    pub fn books<T>(&self, work: impl FnOnce(&mut Accounting) -> T) -> T {
        let done = work(&mut self.held().books);
        self.changed.notify_all();
        done
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

    /// Holds an answer back for so long, or until another fault is set, or it is all over.
    fn hold_back(&self, longest: Duration) {
        let fault = self.fault();
        self.wait(longest, |state| state.stopped || state.fault != fault);
    }

    /// After an invoice was made: holds the answer back where it must never come.
    pub fn after_create(&self, reply: Reply) -> Option<Reply> {
        if self.fault() == Fault::HangAfterCreate {
            self.hold_back(Duration::from_mins(10));
            return None;
        }
        Some(reply)
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
