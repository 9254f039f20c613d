//! The seller takes another wallet: what was asked for with the old one is looked at with the old one, until it is final.

use crate::support::fake_node;
use crate::support::fake_phoenixd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::support::fake_ollama::FakeOllama;
use crate::support::fake_wallet::{FakeWallet, Fault};
use crate::support::inside::Inside;
use nostr::{Event as Signed, Keys};
use vend::demo::online;
use vend::domain::command::Command;
use vend::domain::event::EventKind;
use vend::domain::health::{HealthLevel, ShopState, WalletHealth};
use vend::domain::job::Status;
use vend::domain::msat::Msat;

const PRICE: Msat = Msat(10_000);

struct World {
    inside: Inside,
    model: FakeOllama,
    lnbits: FakeWallet,
    folder: tempfile::TempDir,
}

fn settings(relay: &str, model: &str, wallet: &str) -> String {
    format!(
        "[nostr]\nrelays = [\"{relay}\"]\nkinds = [5050]\nannounce = false\n\
         [text]\nmodel = \"gemma2:latest\"\nmax_tokens = 16\n\
         [price]\nprice_per_1k_tokens = 0\n\
         [payment]\nmode = \"after\"\n\
         [wallet]\nnetwork = \"regtest\"\n{wallet}\
         [[endpoint]]\nname = \"local\"\nkind = \"ollama\"\nurl = \"{model}\"\n"
    )
}

/// The key stands in a file beside the settings.
fn lnbits(wallet: &FakeWallet) -> String {
    format!(
        "backend = \"lnbits\"\nurl = \"{}\"\ninvoice_key = {{ file = \"lnbits.key\" }}\n",
        wallet.url()
    )
}

impl World {
    /// Sells with the wallet lnbits; two results are delivered and not paid yet.
    async fn with_two_open() -> (Self, [(Signed, String); 2]) {
        let folder = tempfile::tempdir().unwrap();
        let lnbits_fake = FakeWallet::start(&folder.path().join("lnbits.jsonl"));
        let model = FakeOllama::start().await;
        let (url, wallet) = (model.url(), lnbits(&lnbits_fake));
        let inside = Inside::start(|relay| settings(relay, &url, &wallet)).await;
        let mut world = Self {
            inside,
            model,
            lnbits: lnbits_fake,
            folder,
        };
        world.write_key();
        online(&world.inside.engine).await.unwrap();
        let first = world.deliver().await;
        let second = world.deliver().await;
        (world, [first, second])
    }

    fn write_key(&self) {
        let key = self.inside.home.folder.path().join("lnbits.key");
        std::fs::write(&key, self.lnbits.invoice_key()).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    async fn deliver(&mut self) -> (Signed, String) {
        let request = self.inside.ask(&Keys::generate());
        let invoice = self.inside.invoice(&request).await;
        self.inside
            .until(&request, |job, _| job.status == Status::PendingPayment)
            .await;
        (request, invoice)
    }

    fn set_wallet(&self, wallet: &str) {
        let text = settings(self.inside.relay.url().as_str(), &self.model.url(), wallet);
        std::fs::write(self.inside.home.config(), text).unwrap();
    }

    async fn offline(&mut self) {
        self.inside
            .engine
            .ask(Command::GoOffline { now: false })
            .await;
        self.inside
            .hear(|kind| match kind {
                EventKind::State {
                    state: ShopState::Offline,
                    ..
                } => Some(()),
                _ => None,
            })
            .await;
    }

    /// Until the wallet's light says this.
    async fn health(&mut self, fits: impl Fn(&WalletHealth) -> bool) -> WalletHealth {
        let shop = self.inside.engine.shop().clone();
        let now = shop.emit_wallet().await;
        if fits(&now) {
            return now;
        }
        self.inside
            .hear(|kind| match kind {
                EventKind::Wallet { wallet } if fits(&wallet) => Some(wallet),
                _ => None,
            })
            .await
    }

    async fn paid(&mut self, request: &Signed) {
        let shop = self.inside.engine.shop().clone();
        let id = vend::domain::id::RequestId(request.id);
        if shop.ledger.job(id).await.unwrap().unwrap().paid == PRICE {
            return;
        }
        let job = self
            .inside
            .until(request, |job, _| job.status == Status::Paid)
            .await;
        assert_eq!(job.paid_msat, PRICE);
    }

    fn kept(&self) -> Vec<PathBuf> {
        let folder = self.inside.home.data().join("wallets");
        let files = std::fs::read_dir(folder).unwrap();
        files.map(|file| file.unwrap().path()).collect()
    }

    fn revenue(&self) -> u64 {
        self.inside.json(&["stats"])["revenue_msat"]
            .as_u64()
            .unwrap()
    }
}

fn phoenixd(node: &fake_node::FakeNode) -> String {
    format!(
        "backend = \"phoenixd\"\nurl = \"{}\"\npassword = \"{}\"\n",
        node.url(),
        node.secret()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn invoices_of_the_old_wallet_are_paid_and_counted_while_the_new_one_sells() {
    let (mut world, [first, second]) = World::with_two_open().await;
    world.offline().await;
    let node = fake_phoenixd::start();
    world.set_wallet(&phoenixd(&node));
    online(&world.inside.engine).await.unwrap();
    let health = world.health(|wallet| wallet.detail.contains("old")).await;
    assert!(
        health.detail.ends_with(" are still watched"),
        "{}",
        health.detail
    );
    assert_eq!(
        (health.backend.as_str(), health.health),
        ("phoenixd", HealthLevel::Ok)
    );

    // One is paid before the new wallet sells, the other one after.
    world.lnbits.pay(&first.1).unwrap();
    world.paid(&first.0).await;
    world
        .health(|wallet| {
            wallet
                .detail
                .contains("1 invoice of the old wallet lnbits ")
        })
        .await;
    let third = world.deliver().await;
    node.pay(&third.1).unwrap();
    world.paid(&third.0).await;
    world.lnbits.pay(&second.1).unwrap();
    world.paid(&second.0).await;
    world.health(|wallet| !wallet.detail.contains("old")).await;
    assert_eq!(world.revenue(), 3 * PRICE.0);
    world.inside.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_wallet_is_found_again_after_a_restart_and_forgotten_when_it_is_done() {
    let (mut world, [first, second]) = World::with_two_open().await;
    let kept = world.kept();
    let text = std::fs::read_to_string(&kept[0]).unwrap();
    assert!(!text.contains(&world.lnbits.invoice_key()), "{text}");
    assert!(text.contains("lnbits.key") && kept.len() == 1, "{text}");
    let mode = std::fs::metadata(&kept[0]).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let other = FakeWallet::start(&world.folder.path().join("other.jsonl"));
    let inline = format!(
        "backend = \"lnbits\"\nurl = \"{}\"\ninvoice_key = \"{}\"\n",
        other.url(),
        other.invoice_key()
    );
    world.set_wallet(&inline);
    world.inside = world.inside.restart().await;
    // Not even online.
    world.lnbits.pay(&first.1).unwrap();
    world.paid(&first.0).await;
    online(&world.inside.engine).await.unwrap();
    world.inside = world.inside.restart().await;
    world.lnbits.pay(&second.1).unwrap();
    world.paid(&second.0).await;
    assert_eq!(world.revenue(), 2 * PRICE.0);
    assert_eq!(world.kept().len(), 2);
    // Nothing of it is open any more.
    world.inside = world.inside.restart().await;
    // It answers once it has opened what is still needed.
    online(&world.inside.engine).await.unwrap();
    assert_eq!(world.kept().len(), 1);
    assert!(!world.kept().contains(&kept[0]));
    world.inside.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_wallet_that_is_gone_for_ever_holds_nothing_up_and_is_never_judged() {
    let (mut world, [first, _]) = World::with_two_open().await;
    world.lnbits.set_fault(Fault::Down);
    let node = fake_phoenixd::start();
    world.set_wallet(&phoenixd(&node));
    world.inside = world.inside.restart().await;
    online(&world.inside.engine).await.unwrap();
    let third = world.deliver().await;
    node.pay(&third.1).unwrap();
    world.paid(&third.0).await;
    let health = world
        .health(|wallet| wallet.detail.contains("does not answer"))
        .await;
    assert!(
        health
            .detail
            .contains("2 invoices of the old wallet lnbits"),
        "{}",
        health.detail
    );
    assert_eq!(health.health, HealthLevel::Warn);

    // Its key is gone as well: it can't even be opened.
    std::fs::remove_file(world.inside.home.folder.path().join("lnbits.key")).unwrap();
    world.inside = world.inside.restart().await;
    online(&world.inside.engine).await.unwrap();
    let health = world
        .health(|wallet| wallet.detail.contains("can't be looked at"))
        .await;
    assert_eq!(health.health, HealthLevel::Warn);
    let shown = world.inside.json(&["jobs", "show", &first.0.id.to_hex()]);
    assert_eq!(shown["status"], "pending_payment");
    assert_eq!(world.revenue(), PRICE.0);

    // Found again: nothing was lost.
    world.write_key();
    world.lnbits.set_fault(Fault::None);
    world.lnbits.pay(&first.1).unwrap();
    world.inside = world.inside.restart().await;
    world.paid(&first.0).await;
    world.inside.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_of_another_wallet_says_so_and_is_never_judged_by_this_one() {
    let (mut world, [first, _]) = World::with_two_open().await;
    let kept = world.kept().remove(0);
    let other = FakeWallet::start(&world.folder.path().join("other.jsonl"));
    world.set_wallet(&format!(
        "backend = \"lnbits\"\nurl = \"{}\"\ninvoice_key = \"{}\"\n",
        other.url(),
        other.invoice_key()
    ));
    // As where the data directory was put back from an older copy.
    world.inside = world.inside.restart().await;
    std::fs::remove_file(&kept).unwrap();
    world.inside = world.inside.restart().await;
    online(&world.inside.engine).await.unwrap();
    let health = world
        .health(|wallet| wallet.detail.contains("of another wallet (lnbits "))
        .await;
    assert_eq!(health.health, HealthLevel::Warn);
    // That the one which is open now does not know them says nothing of them.
    let third = world.deliver().await;
    other.pay(&third.1).unwrap();
    world.paid(&third.0).await;
    let shown = world.inside.json(&["jobs", "show", &first.0.id.to_hex()]);
    assert_eq!(shown["status"], "pending_payment");
    assert_eq!(world.revenue(), PRICE.0);
    let told = world.inside.told.clone();
    assert!(!told.contains("does not know"), "{told}");
    world.inside.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_that_is_renamed_while_an_invoice_is_open_is_the_same_wallet() {
    let (mut world, [first, second]) = World::with_two_open().await;
    world.lnbits.rename("Bob's till");
    world.lnbits.pay(&first.1).unwrap();
    world.paid(&first.0).await;
    world.inside = world.inside.restart().await;
    online(&world.inside.engine).await.unwrap();
    world.lnbits.pay(&second.1).unwrap();
    world.paid(&second.0).await;
    let health = world.health(|wallet| wallet.detail.contains("Bob's")).await;
    assert_eq!(
        (health.detail.as_str(), health.health),
        ("Bob's till", HealthLevel::Ok)
    );
    assert_eq!(world.kept().len(), 1);
    assert_eq!(world.revenue(), 2 * PRICE.0);
    world.inside.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_with_a_renewed_key_still_finds_what_it_made_with_the_old_one() {
    let (mut world, [first, second]) = World::with_two_open().await;
    world.lnbits.renew_key();
    world.lnbits.pay(&first.1).unwrap();
    let renewed = format!(
        "backend = \"lnbits\"\nurl = \"{}\"\ninvoice_key = \"{}\"\n",
        world.lnbits.url(),
        world.lnbits.invoice_key()
    );
    world.set_wallet(&renewed);
    std::fs::remove_file(world.inside.home.folder.path().join("lnbits.key")).unwrap();
    world.inside = world.inside.restart().await;
    online(&world.inside.engine).await.unwrap();
    world.paid(&first.0).await;
    // Nothing is said of an old wallet: it is this one.
    world.health(|wallet| wallet.detail == "fake").await;
    world.lnbits.pay(&second.1).unwrap();
    world.paid(&second.0).await;
    assert_eq!(world.revenue(), 2 * PRICE.0);
    world.inside.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_that_states_another_network_sells_nothing() {
    let (mut world, _) = World::with_two_open().await;
    world.offline().await;
    let node = fake_phoenixd::start();
    world.set_wallet(&phoenixd(&node).replace("backend", "network = \"signet\"\nbackend"));
    let text = std::fs::read_to_string(world.inside.home.config()).unwrap();
    let text = text.replacen("network = \"regtest\"\n", "", 1);
    std::fs::write(world.inside.home.config(), text).unwrap();
    let refused = online(&world.inside.engine).await.unwrap_err().to_string();
    assert!(
        refused.contains("the wallet is on regtest, and the settings say signet"),
        "{refused}"
    );
    assert!(
        refused.contains("vend config set wallet.network regtest"),
        "{refused}"
    );
    world.inside.close().await;
}
