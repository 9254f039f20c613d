//! A shop behind its control socket that tells ten thousand things a second, two hundred of them changes of jobs. Engine,
//! ledger and socket are the real ones; only what is told is made up.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nostr::{EventId, Keys, PublicKey};
use tokio::sync::oneshot;
use vend::config::place::{DataLock, Places};
use vend::control::server::Server;
use vend::domain::command::Command;
use vend::domain::event::{EventKind, Level};
use vend::domain::id::{Buyer, RequestId};
use vend::domain::job::{JobView, Status};
use vend::domain::msat::Msat;
use vend::domain::time::Time;
use vend::engine::{Engine, Place};
use vend::ledger::Ledger;

/// Portions a second.
const PORTIONS: u64 = 100;
/// Lines for the feed in each.
const LINES: u64 = 98;
/// Changes of jobs in each.
const CHANGES: u64 = 2;
/// Jobs that change, again and again.
const JOBS: u64 = 500;

/// The shop on a thread of its own.
pub struct Crowd {
    places: Places,
    told: Arc<AtomicU64>,
    loud: Arc<AtomicBool>,
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Crowd {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let places = Places::new(data.join("config.toml"), data);
        places.prepare().expect("a data directory");
        vend::demo::settings(&places.config, "ws://127.0.0.1:9", true).expect("settings");
        let told = Arc::new(AtomicU64::new(0));
        let loud = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = oneshot::channel();
        let (listens, listening) = std::sync::mpsc::channel();
        let (here, count, at) = (Arc::clone(&loud), Arc::clone(&told), places.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let lock = DataLock::take(&at).expect("the lock");
                let engine = engine(&at).await;
                let socket = &lock.holder().socket;
                let server = Server::listen(&engine, socket).expect("a socket");
                listens.send(()).expect("heard");
                tokio::select! {
                    () = tell(&engine, &here, &count) => {}
                    // A sender that is gone wants an end too.
                    _ = stopped => {}
                }
                engine.ask(Command::Stop { now: true }).await;
                engine.ended().await;
                server.close().await;
            });
        });
        listening.recv().expect("a shop");
        Self {
            places,
            told,
            loud,
            stop,
            thread,
            _folder: folder,
        }
    }

    pub fn data(&self) -> &Path {
        &self.places.data
    }

    pub fn config(&self) -> &PathBuf {
        &self.places.config
    }

    /// From now on it is loud.
    pub fn begin(&self) {
        self.loud.store(true, Ordering::Relaxed);
    }

    /// Events so far.
    pub fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    pub fn end(self) {
        // Gone already is as good.
        let _ = self.stop.send(());
        self.thread.join().expect("an end");
    }
}

async fn engine(places: &Places) -> Engine {
    let ledger = Ledger::open(&places.database()).expect("a ledger");
    let settings = vend::config::load::load(&places.config).expect("settings");
    let place = Place {
        config: places.config.clone(),
        data: places.data.clone(),
        pace: None,
        timing: vend::nostr::Timing::default(),
    };
    let engine = Engine::start(ledger, Keys::generate(), settings, place);
    engine.await.expect("an engine")
}

async fn tell(engine: &Engine, loud: &AtomicBool, told: &AtomicU64) {
    let mut tick = tokio::time::interval(Duration::from_millis(1_000 / PORTIONS));
    let shop = engine.shop();
    loop {
        tick.tick().await;
        if !loud.load(Ordering::Relaxed) {
            continue;
        }
        for _ in 0..LINES {
            let number = told.fetch_add(1, Ordering::Relaxed);
            shop.emit(line(number));
        }
        for _ in 0..CHANGES {
            let number = told.fetch_add(1, Ordering::Relaxed);
            let job = job(number);
            let what = job.status.as_str().to_owned();
            shop.emit(EventKind::Job {
                job: Box::new(job),
                what,
            });
        }
    }
}

fn line(number: u64) -> EventKind {
    EventKind::Notice {
        level: if number.is_multiple_of(50) {
            Level::Warn
        } else {
            Level::Info
        },
        category: ["relay", "wallet", "model", "shop"][(number % 4) as usize].to_owned(),
        message: format!("wss://relay.example: line {number} of a loud afternoon"),
    }
}

fn job(number: u64) -> JobView {
    let which = number % JOBS;
    let mut id = [0; 32];
    id[..8].copy_from_slice(&which.to_be_bytes());
    let now = Time::now();
    JobView {
        id: RequestId(EventId::from_byte_array(id)),
        buyer: Buyer(PublicKey::from_byte_array([7; 32])),
        kind: 5050,
        status: Status::ALL[(number / JOBS) as usize % Status::ALL.len()],
        model: Some("gemma2:latest".to_owned()),
        prompt_tokens: Some(40),
        completion_tokens: Some(160),
        elapsed_ms: Some(4_200),
        price_msat: Some(Msat::from_sats(21)),
        paid_msat: Msat::ZERO,
        bolt11: None,
        payment_hash: None,
        invoice_expires_at: None,
        result_id: None,
        owed_to_buyer_msat: Msat::ZERO,
        balance_used_msat: Msat::ZERO,
        offer: None,
        encrypted: false,
        error: None,
        created_at: Time(now.0 - 1_000_000 + i64::try_from(which).expect("small") * 1_000),
        updated_at: now,
    }
}
