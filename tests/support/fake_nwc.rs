//! A fake wallet service that speaks Nostr Wallet Connect (NIP-47) over a fake relay: real signed and encrypted events, the
//! fake node's books, a payer, and faults on demand.
//!
//! It runs on a thread with a runtime of its own, so it serves any test, async or not.

#![allow(dead_code, reason = "each test file uses its own part of the fake")]

#[path = "fake_nwc/methods.rs"]
mod methods;
#[path = "fake_nwc/serve.rs"]
mod serve;
#[path = "fake_nwc/setup.rs"]
mod setup;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nostr::nips::{nip04, nip44};
use nostr::secp256k1::SecretKey;
use nostr::{Event, EventBuilder, Keys, Kind, PublicKey, Tag, TagKind, Timestamp};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::fake_node::{Accounting, now, public_key};
use super::fake_relay::FakeRelay;

#[allow(
    unused_imports,
    reason = "each test file uses its own part of the fake"
)]
pub use setup::{Fault, HOLDING, RECEIVING, Setup};

/// Ends a test that would otherwise wait for ever; never reached where things work.
pub const LONG: Duration = Duration::from_mins(1);

/// A request as it was heard.
#[derive(Clone, Debug)]
pub struct Heard {
    pub event: Event,
    pub method: String,
    /// `nip44_v2` or `nip04`.
    pub scheme: &'static str,
}

struct State {
    books: Accounting,
    setup: Setup,
    heard: Vec<Heard>,
}

/// What the service's tasks and the test share.
pub struct Shared {
    state: Mutex<State>,
    fault: watch::Sender<Fault>,
    /// Bumped after each change of the books.
    worked: watch::Sender<u64>,
    relay: FakeRelay,
    service: Keys,
    /// The seller's end and the spender's.
    clients: [Keys; 2],
    node: SecretKey,
}

/// The service. It ends when dropped.
pub struct FakeNwc {
    shared: Arc<Shared>,
    handle: Handle,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl FakeNwc {
    pub fn start() -> Self {
        Self::start_as(Setup::default())
    }

    pub fn start_as(setup: Setup) -> Self {
        let stop = CancellationToken::new();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut builder = tokio::runtime::Builder::new_current_thread();
                builder.enable_all().build().unwrap().block_on(async {
                    let shared = Arc::new(Shared::new(setup, FakeRelay::start(None).await));
                    shared.show_card();
                    tell.send((shared.clone(), Handle::current())).unwrap();
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = serve::serve(shared) => {}
                    }
                });
            })
        };
        let (shared, handle) = told.recv().unwrap();
        Self {
            shared,
            handle,
            stop,
            thread: Some(thread),
        }
    }

    /// The seller's connection string.
    pub fn uri(&self) -> String {
        self.uri_of(0)
    }

    /// A connection string that may spend.
    pub fn spending_uri(&self) -> String {
        self.uri_of(1)
    }

    fn uri_of(&self, client: usize) -> String {
        let Shared {
            service,
            clients,
            relay,
            ..
        } = &*self.shared;
        let secret = clients[client].secret_key().to_secret_hex();
        format!(
            "nostr+walletconnect://{}?relay={}&secret={secret}",
            service.public_key().to_hex(),
            relay.url()
        )
    }

    /// The secret in the seller's connection string.
    pub fn secret(&self) -> String {
        self.shared.clients[0].secret_key().to_secret_hex()
    }

    /// The node's public key.
    pub fn id(&self) -> String {
        self.shared.id()
    }

    /// The relay. What is async of it runs in [`FakeNwc::on`].
    pub fn relay(&self) -> &FakeRelay {
        &self.shared.relay
    }

    /// Runs something of the relay's on its own runtime, and waits for it.
    pub fn on<T: Send>(&self, work: impl Future<Output = T> + Send) -> T {
        std::thread::scope(|scope| {
            let running = scope.spawn(|| self.handle.block_on(work));
            running.join().unwrap()
        })
    }

    /// The relay goes down, or is there again.
    pub fn set_down(&self, down: bool) {
        let relay = self.relay().clone();
        self.on(async move {
            if down {
                relay.stop().await;
            } else {
                relay.restart().await;
            }
        });
    }

    /// From now on this goes wrong. Answers that are late are given at once.
    pub fn set_fault(&self, fault: Fault) {
        self.shared.fault.send_replace(fault);
    }

    /// Changes what the service is.
    pub fn set_up(&self, change: impl FnOnce(&mut Setup)) {
        change(&mut self.shared.held().setup);
        self.shared.show_card();
    }

    /// Looks into the books, or changes them behind everybody's back.
    pub fn books<T>(&self, work: impl FnOnce(&mut Accounting) -> T) -> T {
        self.shared.books(work)
    }

    /// Pays an invoice in full: the amount in msat, or why not. A hold invoice is then held.
    pub fn pay(&self, bolt11: &str) -> Result<u64, String> {
        self.pay_more(bolt11, 0)
    }

    /// Pays so much more than is asked for.
    pub fn pay_more(&self, bolt11: &str, more_msat: u64) -> Result<u64, String> {
        self.books(|books| books.pay(bolt11, more_msat, now()))
    }

    /// A payment that was on its way when the invoice expired is settled now.
    pub fn pay_late(&self, bolt11: &str) {
        self.books(|books| books.entry(bolt11).settle_now(0));
    }

    /// Makes an invoice's time be over.
    pub fn expire(&self, bolt11: &str) {
        self.books(|books| books.entry(bolt11).expires_at = now());
    }

    /// Requests as they were heard.
    pub fn heard(&self) -> Vec<Heard> {
        self.shared.held().heard.clone()
    }

    /// Waits until so many invoices were made.
    pub fn wait_for_created(&self, count: usize) -> bool {
        self.wait(|state| state.books.all().len() >= count)
    }

    /// Waits until so many requests of this method were heard.
    pub fn wait_for_heard(&self, method: &str, count: usize) -> bool {
        self.wait(|state| {
            state
                .heard
                .iter()
                .filter(|one| one.method == method)
                .count()
                >= count
        })
    }

    fn wait(&self, holds: impl Fn(&State) -> bool + Send + Sync) -> bool {
        let shared = self.shared.clone();
        self.on(async move {
            let mut worked = shared.worked.subscribe();
            let waiting = async {
                while !holds(&shared.held()) {
                    worked.changed().await.unwrap();
                }
            };
            tokio::time::timeout(LONG, waiting).await.is_ok()
        })
    }

    /// The service tells of a payment, in the scheme of this kind: 23197 (NIP-44) or 23196 (NIP-04).
    pub fn notify(&self, kind: u16, hash: &str) {
        let event = self.shared.notification(&self.shared.service, kind, hash);
        self.shared.relay.inject(&event);
    }

    /// Somebody else tells of a payment: under a name of their own, under the service's with a signature that is none, and
    /// (once it has told something) under an id that was seen.
    pub fn notify_forged(&self, hash: &str) {
        let stranger = Keys::generate();
        let event = self.shared.notification(&stranger, 23_197, hash);
        let mut forged = event.clone();
        forged.pubkey = self.shared.service.public_key();
        for event in [event, forged] {
            self.shared.relay.send_on("vend-news", &event);
        }
    }
}

impl Drop for FakeNwc {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A thread that failed has failed its test already.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn new(setup: Setup, relay: FakeRelay) -> Self {
        Self {
            state: Mutex::new(State {
                books: Accounting::default(),
                setup,
                heard: Vec::new(),
            }),
            fault: watch::Sender::default(),
            worked: watch::Sender::default(),
            relay,
            service: Keys::generate(),
            clients: [Keys::generate(), Keys::generate()],
            node: SecretKey::from_slice(&rand::random::<[u8; 32]>()).unwrap(),
        }
    }

    fn held(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn books<T>(&self, work: impl FnOnce(&mut Accounting) -> T) -> T {
        let done = work(&mut self.held().books);
        self.worked.send_modify(|count| *count += 1);
        done
    }

    fn id(&self) -> String {
        public_key(&self.node).to_string()
    }

    fn show_card(&self) {
        let setup = self.held().setup.clone();
        if !setup.card {
            return;
        }
        let mut builder = EventBuilder::new(Kind::WalletConnectInfo, setup.methods.join(" "));
        if let Some(offers) = setup.offers {
            builder = builder.tag(Tag::custom(TagKind::custom("encryption"), [offers]));
        }
        // Replaceable: a newer one takes its place.
        let at = Timestamp::now() + u64::try_from(self.relay.events().len()).unwrap();
        let card = builder.custom_created_at(at).sign_with_keys(&self.service);
        self.relay.inject(&card.unwrap());
    }

    fn notification(&self, author: &Keys, kind: u16, hash: &str) -> Event {
        let text = json!({
            "notification_type": "payment_received",
            "notification": {"type": "incoming", "state": "settled", "payment_hash": hash},
        });
        let scheme = if kind == 23_197 { "nip44_v2" } else { "nip04" };
        let reader = self.clients[0].public_key();
        EventBuilder::new(
            Kind::from_u16(kind),
            seal(scheme, author, &reader, &text.to_string()),
        )
        .tag(Tag::public_key(reader))
        .sign_with_keys(author)
        .unwrap()
    }

    fn sealed(&self, scheme: &str, reader: &PublicKey, text: &str) -> String {
        seal(scheme, &self.service, reader, text)
    }
}

fn reply(author: &Keys, request: &Event, content: String) -> Event {
    EventBuilder::new(Kind::WalletConnectResponse, content)
        .tags([Tag::public_key(request.pubkey), Tag::event(request.id)])
        .sign_with_keys(author)
        .unwrap()
}

fn seal(scheme: &str, author: &Keys, reader: &PublicKey, text: &str) -> String {
    let key = author.secret_key();
    if scheme == "nip04" {
        nip04::encrypt(key, reader, text).unwrap()
    } else {
        nip44::encrypt(key, reader, text, nip44::Version::V2).unwrap()
    }
}
