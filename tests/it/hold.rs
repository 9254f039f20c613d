//! Sales in which the wallet holds the payment: taken once the result is delivered, given back otherwise.

use crate::support::shop;
use std::time::Duration;

use crate::support::fake_ollama::{FakeOllama, Fault};
use crate::support::fake_relay::Fault as RelayFault;
use crate::support::fake_wallet::FakeWallet;
use crate::support::inside::{Inside, is_result, status_of};
use crate::support::shop::bolt11;
use nostr::{Event as Signed, EventBuilder, EventId, Keys};
use serde_json::Value;
use vend::demo::online;
use vend::domain::command::{Command, Probe, Reply};
use vend::domain::health::CheckStatus;
use vend::domain::id::{Preimage, RequestId};
use vend::domain::invoice::{self, Network};
use vend::domain::job::Status;
use vend::domain::msat::Msat;
use vend::domain::time::Time;
use vend::nostr::Timing;
use vend::wallet::open::SANDBOX_FOLDER;
use vend::wallet::sandbox::{PayError, Payment, SandboxPayer, SandboxWallet};
use vend::wallet::{Issued, PaymentStatus, Wallet};

/// A shop of demo parts: a relay and a model that can fail, and the sandbox.
struct World {
    inside: Inside,
    model: FakeOllama,
}

const SANDBOX: &str = "backend = \"sandbox\"\nnetwork = \"regtest\"\n";

impl World {
    async fn closed(mode: &str, expiry: u64, wallet: &str) -> Self {
        let model = FakeOllama::start().await;
        let url = model.url();
        let settings = |relay: &str| {
            format!(
                "[nostr]\nrelays = [\"{relay}\"]\nkinds = [5050]\nannounce = false\n\
                 [text]\nmodel = \"gemma2:latest\"\nmax_tokens = 16\n\
                 [payment]\nmode = \"{mode}\"\ninvoice_expiry_secs = {expiry}\n\
                 [wallet]\n{wallet}\
                 [[endpoint]]\nname = \"local\"\nkind = \"ollama\"\nurl = \"{url}\"\n"
            )
        };
        // A yes that is lost is not waited for as long as on the open net.
        let timing = Timing {
            ok_wait: Duration::from_secs(1),
            ..Timing::default()
        };
        Self {
            inside: Inside::with_timing(timing, settings).await,
            model,
        }
    }

    /// Selling with held payments.
    async fn open() -> Self {
        let world = Self::closed("hold", 600, SANDBOX).await;
        online(&world.inside.engine).await.unwrap();
        world
    }

    async fn pay(&self, bolt11: &str) -> Result<Payment, PayError> {
        let payer = SandboxPayer::open(&self.inside.home.data().join(SANDBOX_FOLDER)).unwrap();
        let bolt11 = bolt11.to_owned();
        tokio::task::spawn_blocking(move || payer.pay(&bolt11))
            .await
            .unwrap()
    }

    /// A request that is asked to be paid first.
    async fn asked(&self, buyer: &Keys) -> (Signed, String) {
        let request = self.inside.ask(buyer);
        let asked = self
            .inside
            .answer(&request, |event| bolt11(event).is_some())
            .await;
        assert_eq!(status_of(&asked).as_deref(), Some("payment-required"));
        (request, bolt11(&asked).unwrap())
    }

    fn wallet(&self, bolt11: &str) -> (SandboxWallet, Issued) {
        let folder = self.inside.home.data().join(SANDBOX_FOLDER);
        let wallet = SandboxWallet::open(&folder, Network::Regtest).unwrap();
        let read = invoice::read(bolt11).unwrap();
        let hash = read.payment_hash().unwrap().0.to_string();
        let issued = Issued {
            bolt11: bolt11.to_owned(),
            payment_hash: hash.parse().unwrap(),
            backend_ref: None,
        };
        (wallet, issued)
    }

    /// What the wallet shows for an invoice.
    async fn seen(&self, bolt11: &str) -> PaymentStatus {
        let (wallet, issued) = self.wallet(bolt11);
        wallet.lookup(issued).await.unwrap()
    }

    /// The node gives a held payment back by itself.
    async fn let_go(&self, bolt11: &str) {
        let (wallet, issued) = self.wallet(bolt11);
        wallet.cancel(issued).await.unwrap();
    }

    fn show(&self, request: &Signed) -> Value {
        self.inside.json(&["jobs", "show", &request.id.to_hex()])
    }

    /// The program is started again so many seconds after the invoice has expired: as if the time until then had gone by
    /// while it was off, ledger and wallet say that the invoice was made so much earlier.
    async fn wakes_after_expiry(self, request: &Signed, bolt11: &str, secs: i64) -> Self {
        let id = request.id.to_bytes();
        let hash = invoice::payment_hash(&invoice::read(bolt11).unwrap()).unwrap();
        let back = |home: &shop::Home| {
            let expires_at = Time(Time::now().0 - secs * 1_000);
            let ledger = rusqlite::Connection::open(home.data().join("vend.db")).unwrap();
            let changed = ledger.execute(
                "UPDATE invoices SET made_at = made_at + ?2 - expires_at, expires_at = ?2 WHERE job_id = ?1",
                rusqlite::params![id.as_slice(), expires_at.0],
            );
            assert_eq!(changed, Ok(1));
            let record = home.data().join(SANDBOX_FOLDER);
            let record = record.join(format!("{hash}.json"));
            let mut books: Value =
                serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
            books["expires_at"] = serde_json::to_value(expires_at).unwrap();
            std::fs::write(&record, books.to_string()).unwrap();
        };
        Self {
            inside: self.inside.restart_after(back).await,
            ..self
        }
    }

    /// The job after so many looks past its invoice's expiry. The last one may have been before anybody could hear of it.
    async fn looked_at(&mut self, request: &Signed, polls: usize) -> Value {
        if self.history(request).matches("not_paid").count() < polls {
            self.inside
                .until(request, |_, what| what == "not_paid")
                .await;
        }
        self.show(request)
    }

    /// The words of a job's history.
    fn history(&self, request: &Signed) -> String {
        let shown = self.show(request);
        let lines = shown["timeline"].as_array().unwrap();
        let words: Vec<_> = lines
            .iter()
            .filter_map(|line| line["what"].as_str())
            .collect();
        words.join(" ")
    }

    /// The secret of a job's invoice, as it stands in the ledger.
    fn secret(&self, request: EventId) -> Option<Preimage> {
        let ledger = self.inside.home.data().join("vend.db");
        let connection = rusqlite::Connection::open(ledger).unwrap();
        let bytes: Option<Vec<u8>> = connection
            .query_row(
                "SELECT preimage FROM invoices WHERE job_id = ?1",
                [request.as_bytes().as_slice()],
                |row| row.get(0),
            )
            .unwrap();
        bytes.map(|bytes| Preimage(vend::domain::Hex32::from_slice(&bytes).unwrap()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_payment_is_taken_once_the_result_is_delivered() {
    let mut world = World::open().await;
    let (request, invoice) = world.asked(&Keys::generate()).await;
    assert!(world.model.requests().is_empty(), "nothing has run");
    let payment = world.pay(&invoice).await.unwrap();
    assert_eq!(payment.preimage, None, "held, not taken");
    let result = world.inside.answer(&request, is_result).await;
    assert_eq!(bolt11(&result), None, "it was paid for before");
    let job = world
        .inside
        .until(&request, |job, _| job.status == Status::Paid)
        .await;
    assert_eq!(job.paid_msat, payment.amount);
    let PaymentStatus::Paid { preimage, .. } = world.seen(&invoice).await else {
        panic!("settled");
    };
    assert!(preimage.unwrap().opens(&payment.payment_hash));
    assert_eq!(
        world.history(&request),
        "admitted invoiced held started answered accepted paid"
    );
    let stats = world.inside.json(&["stats"]);
    assert_eq!(stats["revenue_msat"], payment.amount.0);
    assert!(matches!(
        world.pay(&invoice).await,
        Err(PayError::AlreadyPaid)
    ));
    world.inside.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_payment_goes_back_when_the_model_fails() {
    let mut world = World::open().await;
    world.model.set(Fault::TooLong);
    let (request, invoice) = world.asked(&Keys::generate()).await;
    world.pay(&invoice).await.unwrap();
    let job = world
        .inside
        .until(&request, |_, what| what == "given_back")
        .await;
    assert_eq!((job.status, job.paid_msat), (Status::Error, Msat::ZERO));
    assert_eq!(job.owed_to_buyer_msat, Msat::ZERO);
    assert_eq!(world.seen(&invoice).await, PaymentStatus::Canceled);
    let error = world
        .inside
        .answer(&request, |event| {
            status_of(event).as_deref() == Some("error")
        })
        .await;
    let words = error.tags.iter().map(|tag| tag.as_slice().join(" "));
    let words = words.collect::<Vec<_>>().join("; ");
    assert!(words.contains("was not taken and goes back"), "{words}");
    assert_eq!(world.secret(request.id), None, "of no use any more");
    world.inside.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_who_never_pays_gets_no_work() {
    let mut world = World::open().await;
    let (request, invoice) = world.asked(&Keys::generate()).await;
    // A payment may have been on its way at the end: a look at the expiry decides nothing.
    world = world.wakes_after_expiry(&request, &invoice, 0).await;
    let job = world.looked_at(&request, 1).await;
    assert_eq!(job["status"], "awaiting_payment");
    assert_eq!(world.seen(&invoice).await, PaymentStatus::Expired);
    // One a minute after it does.
    world = world.wakes_after_expiry(&request, &invoice, 60).await;
    let job = world.looked_at(&request, 2).await;
    assert_eq!(job["status"], "unpaid");
    assert_eq!(
        (&job["paid_msat"], &job["result_id"]),
        (&0.into(), &Value::Null)
    );
    assert!(world.model.requests().is_empty(), "nothing has run");
    assert!(matches!(world.pay(&invoice).await, Err(PayError::Expired)));
    world.inside.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_who_pays_and_cancels_gets_the_payment_back() {
    let mut world = World::open().await;
    world.model.set(Fault::StallsMidStream);
    let buyer = Keys::generate();
    let (request, invoice) = world.asked(&buyer).await;
    world.pay(&invoice).await.unwrap();
    world.model.started(1).await;
    let cancel =
        EventBuilder::delete(nostr::nips::nip09::EventDeletionRequest::new().id(request.id))
            .sign_with_keys(&buyer)
            .unwrap();
    world.inside.relay.inject(&cancel);
    let job = world
        .inside
        .until(&request, |_, what| what == "given_back")
        .await;
    assert_eq!((job.status, job.paid_msat), (Status::Cancelled, Msat::ZERO));
    assert_eq!(world.seen(&invoice).await, PaymentStatus::Canceled);
    world.model.dropped(1).await;
    // An invoice that nobody has paid yet is closed too.
    let (request, invoice) = world.asked(&Keys::generate()).await;
    let id = RequestId(request.id);
    world.inside.engine.ask(Command::Cancel { id }).await;
    world
        .inside
        .until(&request, |_, what| what == "given_back")
        .await;
    assert!(matches!(world.pay(&invoice).await, Err(PayError::Canceled)));
    world.inside.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_between_a_relays_show_and_its_yes_gives_nothing_away() {
    let mut world = World::open().await;
    let buyer = Keys::generate();
    let (request, invoice) = world.asked(&buyer).await;
    world.inside.relay.set(RelayFault::LoseOk);
    world.pay(&invoice).await.unwrap();
    // The buyer reads the result before the relay says yes to it.
    world.inside.answer(&request, is_result).await;
    let cancel =
        EventBuilder::delete(nostr::nips::nip09::EventDeletionRequest::new().id(request.id))
            .sign_with_keys(&buyer)
            .unwrap();
    world.inside.relay.inject(&cancel);
    let id = RequestId(request.id);
    let said = world.inside.engine.ask(Command::Cancel { id }).await;
    assert!(
        matches!(&said, Reply::Refused { detail } if detail.contains("may have left")),
        "{said:?}"
    );
    world.inside.relay.heal();
    let job = world
        .inside
        .until(&request, |job, _| job.status == Status::Paid)
        .await;
    assert!(!job.paid_msat.is_zero());
    assert!(matches!(
        world.seen(&invoice).await,
        PaymentStatus::Paid { .. }
    ));
    assert_eq!(world.history(&request).matches("cancel_late").count(), 1);
    world.inside.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_the_node_let_go_is_noticed_before_the_result_leaves() {
    let mut world = World::open().await;
    let slow = Duration::from_secs(3);
    world.model.set(Fault::SlowLoad(slow));
    let (request, invoice) = world.asked(&Keys::generate()).await;
    world.pay(&invoice).await.unwrap();
    world
        .inside
        .until(&request, |_, what| what == "started")
        .await;
    // Right after a look: the next one from time to time is half a minute away.
    world.let_go(&invoice).await;
    let job = world
        .inside
        .until(&request, |job, _| job.status == Status::Error)
        .await;
    assert_eq!(job.paid_msat, Msat::ZERO);
    let shown = world.inside.relay.events();
    assert!(!shown.iter().any(is_result), "the answer was given away");
    world.inside.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn going_offline_gives_back_what_is_held_for_waiting_jobs() {
    let mut world = World::open().await;
    world.model.set(Fault::StallsMidStream);
    let (first, paid) = world.asked(&Keys::generate()).await;
    world.pay(&paid).await.unwrap();
    world.model.started(1).await;
    let (waiting, held) = world.asked(&Keys::generate()).await;
    world.pay(&held).await.unwrap();
    world.inside.until(&waiting, |_, what| what == "held").await;
    world
        .inside
        .engine
        .ask(Command::GoOffline { now: false })
        .await;
    let job = world
        .inside
        .until(&waiting, |_, what| what == "given_back")
        .await;
    assert_eq!((job.status, job.paid_msat), (Status::Cancelled, Msat::ZERO));
    assert_eq!(world.seen(&held).await, PaymentStatus::Canceled);
    let is_error = |event: &Signed| status_of(event).as_deref() == Some("error");
    world.inside.answer(&waiting, is_error).await;
    // The one that runs is finished, not given up.
    assert!(matches!(
        world.seen(&paid).await,
        PaymentStatus::Held { .. }
    ));
    assert_eq!(world.show(&first)["status"], "processing");
    world.inside.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_of_a_held_payment_is_nowhere_to_be_seen_and_survives_a_stop() {
    let mut world = World::open().await;
    world.model.set(Fault::StallsMidStream);
    let (request, invoice) = world.asked(&Keys::generate()).await;
    world.pay(&invoice).await.unwrap();
    world.inside.until(&request, |_, what| what == "held").await;
    world.model.started(1).await;
    let secret = world.secret(request.id).unwrap();
    let hex = secret.0.to_string();
    let copy = world.inside.home.folder.path().join("copy.db");
    world.inside.say(&["backup", copy.to_str().unwrap()]);
    let copy = std::fs::read(copy).unwrap();
    assert!(
        !copy.windows(32).any(|window| window == secret.0.0),
        "in the copy"
    );
    let id = RequestId(request.id);
    let Reply::Job { detail } = world.inside.engine.ask(Command::Job { id }).await else {
        panic!("the job");
    };
    let seen = [
        world.inside.say(&["jobs", "--json"]),
        world.show(&request).to_string(),
        serde_json::to_string(&detail).unwrap(),
        format!("{detail:?}"),
        world.inside.told.clone(),
    ];
    for text in seen {
        assert!(!text.contains(&hex), "{text}");
    }

    // The run is cut off, and the next one does it again.
    let relay = world.inside.relay.events();
    assert!(!relay.iter().any(is_result), "not delivered yet");
    world.inside = world.inside.restart().await;
    world.model.set(Fault::None);
    online(&world.inside.engine).await.unwrap();
    let job = world
        .inside
        .until(&request, |job, _| job.status == Status::Paid)
        .await;
    assert!(!job.paid_msat.is_zero());
    assert!(matches!(
        world.seen(&invoice).await,
        PaymentStatus::Paid { .. }
    ));
    assert!(!world.inside.told.contains(&hex));
    world.inside.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_that_can_not_hold_is_told_before_anything_is_sold() {
    let folder = tempfile::tempdir().unwrap();
    let lnbits = FakeWallet::start(&folder.path().join("wallet.jsonl"));
    let wallet = format!(
        "backend = \"lnbits\"\nnetwork = \"regtest\"\nurl = \"{}\"\ninvoice_key = \"{}\"\n",
        lnbits.url(),
        lnbits.invoice_key()
    );
    let world = World::closed("hold", 600, &wallet).await;
    let error = online(&world.inside.engine).await.unwrap_err().to_string();
    assert!(
        error.contains("lnbits wallet can't hold payments: set payment.mode to before"),
        "{error}"
    );
    let what = Probe::Wallet;
    let Reply::Tested { checks } = world.inside.engine.ask(Command::Test { what }).await else {
        panic!("tested");
    };
    let failed = checks.iter().find(|one| one.status == CheckStatus::Fail);
    assert_eq!(failed.unwrap().fix, "vend config set payment.mode before");

    // Changed while it sells, it is refused, and the shop sells on as before.
    let config = world.inside.home.config();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("\"hold\"", "\"before\"")).unwrap();
    online(&world.inside.engine).await.unwrap();
    std::fs::write(&config, &text).unwrap();
    let said = world.inside.engine.ask(Command::ApplySettings).await;
    assert!(
        matches!(&said, Reply::Refused { detail } if detail.contains("can't hold")),
        "{said:?}"
    );
    let (request, invoice) = world.asked(&Keys::generate()).await;
    lnbits.pay(&invoice).unwrap();
    world.inside.answer(&request, is_result).await;
    world.inside.close().await;
}
