//! Sales in which the wallet holds the payment: taken once the result is delivered, given back otherwise.

#[path = "support/drill_ollama.rs"]
mod drill_ollama;
#[path = "support/drill_relay.rs"]
mod drill_relay;
#[path = "support/drill_wallet.rs"]
mod drill_wallet;
#[path = "support/shop.rs"]
mod shop;

use std::time::Duration;

use drill_ollama::{DrillOllama, Fault};
use drill_relay::DrillRelay;
use drill_wallet::DrillWallet;
use nostr::{Event as Signed, EventBuilder, EventId, Keys, Kind};
use serde_json::Value;
use shop::{Home, answers, bolt11};
use tokio::sync::broadcast::Receiver;
use vend::config::load::load;
use vend::demo::online;
use vend::domain::command::{Command, Probe, Reply};
use vend::domain::event::{Event, News};
use vend::domain::health::CheckStatus;
use vend::domain::id::{Preimage, RequestId};
use vend::domain::invoice::{self, Network};
use vend::domain::job::{Encryption, JobView, Status};
use vend::domain::msat::Msat;
use vend::engine::{Engine, Place};
use vend::ledger::Ledger;
use vend::wallet::open::SANDBOX_FOLDER;
use vend::wallet::sandbox::{PayError, Payment, SandboxPayer, SandboxWallet};
use vend::wallet::{Issued, Seen, Wallet};

const LONGEST: Duration = Duration::from_secs(120);

/// A shop of demo parts: a relay and a model that can fail, and the sandbox.
struct World {
    home: Home,
    relay: DrillRelay,
    model: DrillOllama,
    engine: Engine,
    events: Receiver<Event>,
    /// Everything that was told, as `vend run --events` prints it.
    told: String,
}

const SANDBOX: &str = "backend = \"sandbox\"\nnetwork = \"regtest\"\n";

fn settings(relay: &str, model: &str, mode: &str, expiry: u64, wallet: &str) -> String {
    format!(
        "[nostr]\nrelays = [\"{relay}\"]\nkinds = [5050]\nannounce = false\n\
         [text]\nmodel = \"gemma2:latest\"\nmax_tokens = 16\n\
         [payment]\nmode = \"{mode}\"\ninvoice_expiry_secs = {expiry}\n\
         [wallet]\n{wallet}\
         [[endpoint]]\nname = \"local\"\nkind = \"ollama\"\nurl = \"{model}\"\n"
    )
}

async fn engine(home: &Home) -> (Engine, Receiver<Event>) {
    // An error means that one is installed already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ledger = Ledger::open(&home.data().join("vend.db")).unwrap();
    let place = Place {
        config: home.config(),
        data: home.data(),
        pace: None,
    };
    let settings = load(&home.config()).unwrap();
    let keys = home.seller.clone();
    let engine = Engine::start(ledger, keys, settings, place).await.unwrap();
    let events = engine.listen();
    (engine, events)
}

impl World {
    async fn closed(mode: &str, expiry: u64, wallet: &str) -> Self {
        let (home, relay) = (Home::new(), DrillRelay::start(None).await);
        let model = DrillOllama::start().await;
        let url = relay.url();
        let text = settings(url.as_str(), &model.url(), mode, expiry, wallet);
        std::fs::write(home.config(), text).unwrap();
        let (engine, events) = engine(&home).await;
        Self {
            home,
            relay,
            model,
            engine,
            events,
            told: String::new(),
        }
    }

    /// Selling with held payments.
    async fn open() -> Self {
        let world = Self::closed("hold", 600, SANDBOX).await;
        online(&world.engine).await.unwrap();
        world
    }

    fn ask(&self, buyer: &Keys) -> Signed {
        let request = self
            .home
            .request(buyer, Encryption::Plain, "What is the capital of France?");
        self.relay.inject(&request);
        request
    }

    /// The seller's event on this request that fits.
    async fn answer(&self, request: &Signed, fits: impl Fn(&Signed) -> bool) -> Signed {
        let id = request.id.to_hex();
        let seller = self.home.seller.public_key();
        let is = |event: &Signed| {
            event.pubkey == seller && answers(event).as_deref() == Some(&id) && fits(event)
        };
        self.relay.wait_for(is, LONGEST).await.expect("an answer")
    }

    /// The invoice that the buyer is asked to pay first.
    async fn invoice(&self, request: &Signed) -> String {
        let asked = self.answer(request, |event| bolt11(event).is_some()).await;
        assert_eq!(status_of(&asked).as_deref(), Some("payment-required"));
        bolt11(&asked).unwrap()
    }

    async fn pay(&self, bolt11: &str) -> Result<Payment, PayError> {
        let payer = SandboxPayer::open(&self.home.data().join(SANDBOX_FOLDER)).unwrap();
        let bolt11 = bolt11.to_owned();
        tokio::task::spawn_blocking(move || payer.pay(&bolt11))
            .await
            .unwrap()
    }

    /// Hears what the shop tells until a job of this request fits.
    async fn until(&mut self, request: &Signed, fits: impl Fn(&JobView, &str) -> bool) -> JobView {
        let id = RequestId(request.id);
        let heard = async {
            loop {
                let event = self.events.recv().await.unwrap();
                self.told += &serde_json::to_string(&event).unwrap();
                if let News::Job { job, what } = event.news
                    && job.id == id
                    && fits(&job, &what)
                {
                    return *job;
                }
            }
        };
        tokio::time::timeout(LONGEST, heard).await.unwrap()
    }

    /// What the wallet shows for an invoice.
    async fn seen(&self, bolt11: &str) -> Seen {
        let folder = self.home.data().join(SANDBOX_FOLDER);
        let wallet = SandboxWallet::open(&folder, Network::Regtest).unwrap();
        let read = invoice::read(bolt11).unwrap();
        let hash = read.payment_hash().unwrap().0.to_string();
        let issued = Issued {
            bolt11: bolt11.to_owned(),
            payment_hash: hash.parse().unwrap(),
            backend_ref: None,
        };
        wallet.lookup(issued).await.unwrap()
    }

    /// `vend COMMAND` beside the running shop: its standard output.
    fn say(&self, args: &[&str]) -> String {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_vend"))
            .arg("--data-dir")
            .arg(self.home.data())
            .arg("--config")
            .arg(self.home.config())
            .args(args)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{args:?}: {errors}");
        String::from_utf8(out.stdout).unwrap()
    }

    fn show(&self, request: &Signed) -> Value {
        let id = request.id.to_hex();
        serde_json::from_str(&self.say(&["jobs", "show", &id, "--json"])).unwrap()
    }

    /// The words of a job's history.
    fn history(&self, request: &Signed) -> Vec<String> {
        let shown = self.show(request);
        let lines = shown["timeline"].as_array().unwrap();
        let word = |line: &Value| line["what"].as_str().unwrap().to_owned();
        lines.iter().map(word).collect()
    }

    /// The secret of a job's invoice, as it stands in the ledger.
    fn secret(&self, request: EventId) -> Option<Preimage> {
        let connection = rusqlite::Connection::open(self.home.data().join("vend.db")).unwrap();
        let bytes: Option<Vec<u8>> = connection
            .query_row(
                "SELECT preimage FROM invoices WHERE job_id = ?1",
                [request.as_bytes().as_slice()],
                |row| row.get(0),
            )
            .unwrap();
        bytes.map(|bytes| Preimage(vend::domain::Hex32::from_slice(&bytes).unwrap()))
    }

    async fn close(self) {
        self.engine.ask(Command::Stop { now: true }).await;
        self.engine.ended().await;
    }
}

fn status_of(event: &Signed) -> Option<String> {
    event.tags.iter().find_map(|tag| {
        let parts = tag.as_slice();
        (parts.first()? == "status").then(|| parts.get(1).cloned())?
    })
}

fn is_result(event: &Signed) -> bool {
    event.kind == Kind::from_u16(6050)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_payment_is_taken_once_the_result_is_delivered() {
    let mut world = World::open().await;
    let request = world.ask(&Keys::generate());
    let invoice = world.invoice(&request).await;
    assert!(world.model.requests().is_empty(), "nothing has run");
    let payment = world.pay(&invoice).await.unwrap();
    assert_eq!(payment.preimage, None, "held, not taken");
    let result = world.answer(&request, is_result).await;
    assert_eq!(bolt11(&result), None, "it was paid for before");
    let job = world
        .until(&request, |job, _| job.status == Status::Paid)
        .await;
    assert_eq!(job.paid_msat, payment.amount);
    let Seen::Paid { preimage, .. } = world.seen(&invoice).await else {
        panic!("settled");
    };
    assert!(preimage.unwrap().opens(&payment.payment_hash));
    let history = world.history(&request).join(" ");
    assert_eq!(
        history,
        "admitted invoiced held started answered accepted paid"
    );
    let stats: Value = serde_json::from_str(&world.say(&["stats", "--json"])).unwrap();
    assert_eq!(stats["revenue_msat"], payment.amount.0);
    assert!(matches!(
        world.pay(&invoice).await,
        Err(PayError::AlreadyPaid)
    ));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_payment_goes_back_when_the_model_fails() {
    let mut world = World::open().await;
    world.model.set(Fault::Rejected);
    let request = world.ask(&Keys::generate());
    let invoice = world.invoice(&request).await;
    world.pay(&invoice).await.unwrap();
    let job = world.until(&request, |_, what| what == "given_back").await;
    assert_eq!((job.status, job.paid_msat), (Status::Error, Msat::ZERO));
    assert_eq!(job.owed_to_buyer_msat, Msat::ZERO);
    assert_eq!(world.seen(&invoice).await, Seen::Canceled);
    let error = world
        .answer(&request, |event| {
            status_of(event).as_deref() == Some("error")
        })
        .await;
    let words = error.tags.iter().map(|tag| tag.as_slice().join(" "));
    let words = words.collect::<Vec<_>>().join("; ");
    assert!(words.contains("was not taken and goes back"), "{words}");
    assert_eq!(world.secret(request.id), None, "of no use any more");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_who_never_pays_gets_no_work() {
    let mut world = World::closed("hold", 1, SANDBOX).await;
    online(&world.engine).await.unwrap();
    let request = world.ask(&Keys::generate());
    let invoice = world.invoice(&request).await;
    // A look a minute after the expiry decides.
    let job = world
        .until(&request, |job, _| job.status == Status::Unpaid)
        .await;
    assert_eq!((job.paid_msat, job.result_id), (Msat::ZERO, None));
    assert!(world.model.requests().is_empty(), "nothing has run");
    assert!(matches!(world.pay(&invoice).await, Err(PayError::Expired)));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_who_pays_and_cancels_gets_the_payment_back() {
    let mut world = World::open().await;
    world.model.set(Fault::StallsMidStream);
    let buyer = Keys::generate();
    let request = world.ask(&buyer);
    let invoice = world.invoice(&request).await;
    world.pay(&invoice).await.unwrap();
    world.model.started(1).await;
    let cancel =
        EventBuilder::delete(nostr::nips::nip09::EventDeletionRequest::new().id(request.id))
            .sign_with_keys(&buyer)
            .unwrap();
    world.relay.inject(&cancel);
    let job = world.until(&request, |_, what| what == "given_back").await;
    assert_eq!((job.status, job.paid_msat), (Status::Cancelled, Msat::ZERO));
    assert_eq!(world.seen(&invoice).await, Seen::Canceled);
    world.model.dropped(1).await;
    // An invoice that nobody has paid yet is closed too.
    let request = world.ask(&Keys::generate());
    let invoice = world.invoice(&request).await;
    let id = RequestId(request.id);
    world.engine.ask(Command::Cancel { id }).await;
    world.until(&request, |_, what| what == "given_back").await;
    assert!(matches!(world.pay(&invoice).await, Err(PayError::Canceled)));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_of_a_held_payment_is_nowhere_to_be_seen_and_survives_a_stop() {
    let mut world = World::open().await;
    world.model.set(Fault::StallsMidStream);
    let request = world.ask(&Keys::generate());
    let invoice = world.invoice(&request).await;
    world.pay(&invoice).await.unwrap();
    world.until(&request, |_, what| what == "held").await;
    world.model.started(1).await;
    let secret = world.secret(request.id).unwrap();
    let hex = secret.0.to_string();
    let copy = world.home.folder.path().join("copy.db");
    world.say(&["backup", copy.to_str().unwrap()]);
    let copy = std::fs::read(copy).unwrap();
    assert!(
        !copy.windows(32).any(|window| window == secret.0.0),
        "in the copy"
    );
    let id = RequestId(request.id);
    let Reply::Job { detail } = world.engine.ask(Command::Job { id }).await else {
        panic!("the job");
    };
    let seen = [
        world.say(&["jobs", "--json"]),
        world.show(&request).to_string(),
        serde_json::to_string(&detail).unwrap(),
        format!("{detail:?}"),
        world.told.clone(),
    ];
    for text in seen {
        assert!(!text.contains(&hex), "{text}");
    }

    // The run is cut off, and the next one does it again.
    world.engine.ask(Command::Stop { now: true }).await;
    world.engine.ended().await;
    assert_eq!(
        world
            .relay
            .events()
            .iter()
            .filter(|one| is_result(one))
            .count(),
        0
    );
    world.model.set(Fault::None);
    (world.engine, world.events) = engine(&world.home).await;
    online(&world.engine).await.unwrap();
    let job = world
        .until(&request, |job, _| job.status == Status::Paid)
        .await;
    assert!(!job.paid_msat.is_zero());
    assert!(matches!(world.seen(&invoice).await, Seen::Paid { .. }));
    assert!(!world.told.contains(&hex));
    world.engine.ask(Command::Stop { now: true }).await;
    world.engine.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_that_can_not_hold_is_told_before_anything_is_sold() {
    let folder = tempfile::tempdir().unwrap();
    let lnbits = DrillWallet::start(&folder.path().join("wallet.jsonl"));
    let wallet = format!(
        "backend = \"lnbits\"\nnetwork = \"regtest\"\nurl = \"{}\"\ninvoice_key = \"{}\"\n",
        lnbits.url(),
        lnbits.invoice_key()
    );
    let world = World::closed("hold", 600, &wallet).await;
    let error = online(&world.engine).await.unwrap_err().to_string();
    assert!(
        error.contains("lnbits wallet can't hold payments: set payment.mode to before"),
        "{error}"
    );
    let what = Probe::Wallet;
    let Reply::Tested { checks } = world.engine.ask(Command::Test { what }).await else {
        panic!("tested");
    };
    let failed = checks.iter().find(|one| one.status == CheckStatus::Fail);
    assert_eq!(failed.unwrap().fix, "vend config set payment.mode before");

    // Changed while it sells, it is refused, and the shop sells on as before.
    let config = world.home.config();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("\"hold\"", "\"before\"")).unwrap();
    online(&world.engine).await.unwrap();
    std::fs::write(&config, &text).unwrap();
    let said = world.engine.ask(Command::ApplySettings).await;
    assert!(
        matches!(&said, Reply::Refused { detail } if detail.contains("can't hold")),
        "{said:?}"
    );
    let request = world.ask(&Keys::generate());
    let invoice = world.invoice(&request).await;
    lnbits.pay(&invoice).unwrap();
    world.answer(&request, is_result).await;
    world.close().await;
}
