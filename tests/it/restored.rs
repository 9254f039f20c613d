//! A copy of the ledger that is put back where payments are held: it lacks the secrets that take them, which are computed anew
//! from the seller's key, so each sale goes on as it would have.

use crate::support::fake_lnd;
use std::path::PathBuf;

use crate::support::fake_node::{FakeNode, Fault, Life};
use crate::support::fake_ollama::{FakeOllama, Fault as Failure};
use crate::support::fake_relay::Fault as Relay;
use crate::support::inside::{Inside, is_result, status_of};
use nostr::{Event as Signed, Keys};
use serde_json::Value;
use vend::demo::online;
use vend::domain::job::Status;
use vend::wallet::open::SANDBOX_FOLDER;
use vend::wallet::sandbox::SandboxPayer;

const SANDBOX: &str = "backend = \"sandbox\"\nnetwork = \"regtest\"\n";

fn lnd(node: &FakeNode) -> String {
    format!(
        "backend = \"lnd\"\nnetwork = \"regtest\"\nurl = \"{}\"\nmacaroon = \"{}\"\n",
        node.url(),
        node.secret()
    )
}

struct World {
    inside: Inside,
    model: FakeOllama,
}

impl World {
    async fn open(wallet: &str) -> Self {
        let model = FakeOllama::start().await;
        let url = model.url();
        let settings = |relay: &str| {
            format!(
                "[nostr]\nrelays = [\"{relay}\"]\nkinds = [5050]\nannounce = false\n\
                 [text]\nmodel = \"gemma2:latest\"\nmax_tokens = 16\n[payment]\nmode = \"hold\"\n\
                 [wallet]\n{wallet}\
                 [[endpoint]]\nname = \"local\"\nkind = \"ollama\"\nurl = \"{url}\"\n"
            )
        };
        let inside = Inside::start(settings).await;
        online(&inside.engine).await.unwrap();
        Self { inside, model }
    }

    fn copy(&self) -> PathBuf {
        self.inside.home.folder.path().join("copy.db")
    }

    fn back_up(&self) {
        self.inside.say(&["backup", self.copy().to_str().unwrap()]);
    }

    /// The ledger is lost, and the copy takes its place.
    async fn put_back(self) -> Self {
        let copy = self.copy();
        let inside = self
            .inside
            .restart_after(|home| {
                for ending in ["db", "db-wal", "db-shm"] {
                    // Two of them may have gone when the ledger was closed.
                    let _ = std::fs::remove_file(home.data().join(format!("vend.{ending}")));
                }
                std::fs::rename(copy, home.data().join("vend.db")).unwrap();
            })
            .await;
        Self { inside, ..self }
    }

    async fn asked(&self) -> (Signed, String) {
        let request = self.inside.ask(&Keys::generate());
        let invoice = self.inside.invoice(&request).await;
        (request, invoice)
    }

    async fn pay(&self, bolt11: &str) {
        let payer = SandboxPayer::open(&self.inside.home.data().join(SANDBOX_FOLDER)).unwrap();
        let bolt11 = bolt11.to_owned();
        let paid = tokio::task::spawn_blocking(move || payer.pay(&bolt11)).await;
        paid.unwrap().unwrap();
    }

    fn show(&self, request: &Signed) -> Value {
        self.inside.json(&["jobs", "show", &request.id.to_hex()])
    }

    /// Waits for a step of a job that may have been taken before anybody could hear of it.
    async fn came_to(&mut self, request: &Signed, what: &str) -> Value {
        let told = self.show(request)["timeline"].to_string();
        if !told.contains(&format!("\"{what}\"")) {
            self.inside.until(request, |_, word| word == what).await;
        }
        self.show(request)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_invoice_that_is_paid_then_is_sold() {
    let mut world = World::open(SANDBOX).await;
    let (request, invoice) = world.asked().await;
    world.back_up();
    world = world.put_back().await;
    online(&world.inside.engine).await.unwrap();
    world.pay(&invoice).await;
    let paid = |job: &vend::domain::job::JobView, _: &str| job.status == Status::Paid;
    let job = world.inside.until(&request, paid).await;
    assert!(!job.paid_msat.is_zero());
    let results = world.inside.relay.events();
    assert_eq!(results.iter().filter(|event| is_result(event)).count(), 1);
    world.inside.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_that_was_still_to_be_made_is_a_hold_invoice_all_the_same() {
    let node = fake_lnd::start(None);
    let mut world = World::open(&lnd(&node)).await;
    node.set_fault(Fault::Down);
    let request = world.inside.ask(&Keys::generate());
    let delayed = |_: &vend::domain::job::JobView, what: &str| what == "invoice_delayed";
    world.inside.until(&request, delayed).await;
    world.back_up();
    world = world.put_back().await;
    node.set_fault(Fault::None);
    online(&world.inside.engine).await.unwrap();
    let invoice = world.inside.invoice(&request).await;
    let secret = node.books(|books| books.entry(&invoice).preimage);
    assert_eq!(secret, None, "a payment is not taken at once");
    node.pay(&invoice).unwrap();
    let job = world
        .inside
        .until(&request, |job, _| job.status == Status::Paid)
        .await;
    assert!(!job.paid_msat.is_zero());
    world.inside.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_was_taken_after_the_copy_is_found_and_nobody_is_told_that_it_goes_back() {
    let mut world = World::open(SANDBOX).await;
    world.model.set(Failure::StallsMidStream);
    let (request, invoice) = world.asked().await;
    world.pay(&invoice).await;
    world.inside.until(&request, |_, what| what == "held").await;
    world.model.started(1).await;
    world.back_up();
    // The shop goes on and sells it.
    world.model.set(Failure::None);
    world.inside = world.inside.restart().await;
    online(&world.inside.engine).await.unwrap();
    let paid = |job: &vend::domain::job::JobView, _: &str| job.status == Status::Paid;
    let sold = world.inside.until(&request, paid).await;

    world = world.put_back().await;
    online(&world.inside.engine).await.unwrap();
    let again = world.inside.until(&request, paid).await;
    assert_eq!(again.paid_msat, sold.paid_msat);
    let errors = world.inside.relay.events();
    let errors = errors
        .iter()
        .filter(|event| status_of(event).as_deref() == Some("error"));
    assert_eq!(errors.count(), 0);
    let stats = world.inside.json(&["stats"]);
    assert_eq!(stats["revenue_msat"], sold.paid_msat.0);
    world.inside.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_before_the_copy_is_taken_after_it() {
    let node = fake_lnd::start(None);
    let mut world = World::open(&lnd(&node)).await;
    let (request, invoice) = world.asked().await;
    world.inside.relay.set(Relay::Refuse("error: later".into()));
    node.pay(&invoice).unwrap();
    world.came_to(&request, "answered").await;
    // The node goes away between the result and the relay's yes to it.
    let relay = &world.inside.relay;
    relay.set(Relay::Delay(std::time::Duration::from_secs(3)));
    world.inside.answer(&request, is_result).await;
    node.set_fault(Fault::Down);
    world.came_to(&request, "accepted").await;
    world.inside.relay.heal();
    world.back_up();
    world = world.put_back().await;
    node.set_fault(Fault::None);
    let paid = |job: &vend::domain::job::JobView, _: &str| job.status == Status::Paid;
    let job = world.inside.until(&request, paid).await;
    assert!(!job.paid_msat.is_zero());
    let life = node.books(|books| books.entry(&invoice).life);
    assert!(matches!(life, Life::Paid { .. }), "{life:?}");
    let desk = world.inside.json(&["recover"]);
    assert_eq!(desk["cases"], Value::Array(Vec::new()));
    world.inside.close().await;
}
