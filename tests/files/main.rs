//! The ledger's file under the real binary: gone, put back, repaired; and a copy that knows less than the relays.

mod copies;
#[path = "../support/fake_cln.rs"]
mod fake_cln;
#[path = "../support/fake_lnd.rs"]
mod fake_lnd;
#[path = "../support/fake_node.rs"]
mod fake_node;
#[path = "../support/fake_phoenixd.rs"]
mod fake_phoenixd;
#[path = "../support/fake_relay.rs"]
mod fake_relay;
#[path = "../support/fake_wallet.rs"]
mod fake_wallet;
mod pages;
#[path = "../support/shop.rs"]
mod shop;
mod twins;
#[path = "../crash/wallets.rs"]
mod wallets;

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use fake_relay::FakeRelay;
use nostr::{Event, Keys};
use serde_json::Value;
use shop::{Home, Running, answers, bolt11};
use vend::domain::job::Encryption;
use wallets::{Class, WalletHandle};

const LONGEST: Duration = Duration::from_secs(60);

struct World {
    home: Home,
    relay: FakeRelay,
    wallet: WalletHandle,
}

impl World {
    async fn new(mode: &str) -> Self {
        Self::with(mode, Class::Lnbits).await
    }

    async fn with(mode: &str, class: Class) -> Self {
        let home = Home::new();
        let relay = FakeRelay::start(None).await;
        let (wallet, lines) = WalletHandle::start(class, &home);
        let builtin = "kind = \"builtin\"\n";
        home.configure_with(mode, relay.url().as_str(), &lines, "vend-tiny", builtin);
        Self {
            home,
            relay,
            wallet,
        }
    }

    /// `vend COMMAND`: did it work, and what it said. The relays and wallets that it waits for are served by the threads of this
    /// runtime, so no thread may wait for it.
    async fn vend(&self, args: &[&str]) -> (Option<i32>, String) {
        let out = self.home.command().args(args).output().await.unwrap();
        let said = [out.stdout, out.stderr].concat();
        (out.status.code(), String::from_utf8(said).unwrap())
    }

    fn ask(&self) -> Event {
        let request = self
            .home
            .request(&Keys::generate(), Encryption::Plain, "What is Nostr?");
        self.relay.inject(&request);
        request
    }

    async fn invoice(&self, request: &Event) -> String {
        let id = request.id.to_hex();
        let is = |event: &Event| answers(event).as_deref() == Some(&id) && bolt11(event).is_some();
        let event = self.relay.wait_for(is, LONGEST).await.expect("an invoice");
        bolt11(&event).unwrap()
    }

    /// Sells one job.
    async fn sell(&self, shop: &mut Running) -> Event {
        let request = self.ask();
        let invoice = self.invoice(&request).await;
        self.wallet.pay(&invoice).unwrap();
        self.settled(shop, &request).await;
        request
    }

    async fn settled(&self, shop: &mut Running, request: &Event) {
        let id = request.id.to_hex();
        let is =
            |event: &Value| event["job"]["id"] == id.as_str() && event["job"]["status"] == "paid";
        shop.until(is).await;
    }

    async fn stop(&self, mut shop: Running) {
        assert_eq!(self.vend(&["stop"]).await.0, Some(0));
        shop.child.wait().await.unwrap();
    }

    fn database(&self) -> PathBuf {
        self.home.data().join("vend.db")
    }

    fn results(&self, request: &Event) -> usize {
        let id = request.id.to_hex();
        let events = self.relay.events().into_iter();
        let of = events
            .filter(|event| event.kind.as_u16() == 6050 && answers(event).as_deref() == Some(&id));
        of.count()
    }
}

fn is_open(event: &Value) -> bool {
    event["event"] == "state" && event["state"] == "online"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_gone_is_not_taken_for_a_new_one() {
    let world = World::new("after").await;
    let mut shop = world.home.run(None);
    world.sell(&mut shop).await;
    world.stop(shop).await;
    let (_, said) = world.vend(&["doctor"]).await;
    assert!(said.contains("there is no copy of the ledger"), "{said}");
    assert!(said.contains("backup.every_hours 24"), "{said}");
    let copy = world.home.folder.path().join("copy.db");
    let (code, said) = world.vend(&["backup", copy.to_str().unwrap()]).await;
    assert!(code == Some(0) && said.contains("copied 1 jobs"), "{said}");
    let (_, said) = world.vend(&["doctor"]).await;
    assert!(said.contains("the newest copy of the ledger is"), "{said}");
    std::fs::remove_file(world.database()).unwrap();
    let (code, said) = world.vend(&["run"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("--new-ledger"), "{said}");
    assert!(
        said.contains(&format!("vend restore {}", copy.display())),
        "{said}"
    );
    // An empty file is no ledger either.
    std::fs::write(world.database(), "").unwrap();
    assert_eq!(world.vend(&["run"]).await.0, Some(1));
    let (code, said) = world.vend(&["restore", copy.to_str().unwrap()]).await;
    assert!(
        code == Some(0) && said.contains("does not know what happened after"),
        "{said}"
    );
    let mut shop = world.home.run(None);
    world.sell(&mut shop).await;
    assert_eq!(world.home.jobs().await.len(), 2);
    // Beside a running vend nothing is put back.
    assert_eq!(
        world.vend(&["restore", copy.to_str().unwrap()]).await.0,
        Some(4)
    );
    assert_eq!(world.vend(&["repair"]).await.0, Some(4));
    world.stop(shop).await;
    let (code, said) = world.vend(&["repair"]).await;
    assert!(
        code == Some(0) && said.contains("2 jobs taken over"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_deleted_under_a_selling_shop_stops_the_sale_and_is_kept() {
    let world = World::new("after").await;
    let mut shop = world.home.run(None);
    world.sell(&mut shop).await;
    let before = world.ask();
    let invoice = world.invoice(&before).await;
    std::fs::remove_file(world.database()).unwrap();
    // What is under way goes on in the ledger that is open, and nothing new is taken.
    world.wallet.pay(&invoice).unwrap();
    let id = before.id.to_hex();
    let has = |value: &Value, words: &str| value.as_str().is_some_and(|text| text.contains(words));
    // They come in any order.
    let (said, kept, paid) = (Cell::new(false), Cell::new(false), Cell::new(false));
    let all = |event: &Value| {
        let degraded = event["state"] == "degraded" && has(&event["detail"], "was deleted");
        said.set(said.get() || degraded);
        kept.set(kept.get() || has(&event["message"], "vend.rescued.db"));
        let booked = event["job"]["id"] == id.as_str() && event["job"]["status"] == "paid";
        paid.set(paid.get() || booked);
        said.get() && kept.get() && paid.get()
    };
    shop.until(all).await;
    let refused = world.ask();
    let dropped = |event: &Value| event["event"] == "dropped" && event["reason"] == "busy";
    shop.until(dropped).await;
    assert_eq!(world.results(&refused), 0);
    world.stop(shop).await;
    // What was paid meanwhile is in the copy.
    let rescued = world.home.data().join("vend.rescued.db");
    assert_eq!(
        world.vend(&["restore", rescued.to_str().unwrap()]).await.0,
        Some(0)
    );
    let jobs = world.home.jobs().await;
    assert_eq!(jobs.iter().filter(|job| job["status"] == "paid").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_asks_the_relays_what_it_does_not_know_before_it_sells() {
    for mode in ["after", "before"] {
        let world = World::new(mode).await;
        let mut shop = world.home.run(None);
        let first = world.sell(&mut shop).await;
        let copy = world.home.folder.path().join("copy.db");
        assert_eq!(
            world.vend(&["backup", copy.to_str().unwrap()]).await.0,
            Some(0)
        );
        // The copy knows nothing of these: one is paid, one has only its invoice.
        let second = world.sell(&mut shop).await;
        let third = world.ask();
        let open = world.invoice(&third).await;
        if mode == "after" {
            let id = third.id.to_hex();
            let out = |event: &Value| {
                event["job"]["id"] == id.as_str() && event["job"]["status"] == "pending_payment"
            };
            shop.until(out).await;
        }
        world.stop(shop).await;
        let made = world.wallet.books().made;
        assert_eq!(
            world.vend(&["restore", copy.to_str().unwrap()]).await.0,
            Some(0)
        );
        assert_eq!(world.home.jobs().await.len(), 1);
        // The relay gives all requests again.
        let mut shop = world.home.run(None);
        shop.until(is_open).await;
        world.wallet.pay(&open).unwrap();
        let id = third.id.to_hex();
        let ended = if mode == "after" { "paid" } else { "error" };
        let is =
            |event: &Value| event["job"]["id"] == id.as_str() && event["job"]["status"] == ended;
        shop.until(is).await;
        let fourth = world.sell(&mut shop).await;
        world.stop(shop).await;
        let jobs = world.home.jobs().await;
        assert_eq!(jobs.len(), 4, "{mode}: {jobs:?}");
        let status = |request: &Event| {
            let id = request.id.to_hex();
            let job = jobs.iter().find(|job| job["id"] == id.as_str()).unwrap();
            job["status"].as_str().unwrap().to_owned()
        };
        assert_eq!(status(&second), "paid", "{mode}");
        // Its text is lost with the ledger: what was paid for it is owed, and on the recovery desk.
        let expected = if mode == "after" { "paid" } else { "error" };
        assert_eq!(status(&third), expected, "{mode}");
        assert_eq!(
            world.wallet.books().made,
            made + 1,
            "{mode}: nobody is charged twice"
        );
        for request in [&first, &second, &fourth] {
            assert_eq!(
                world.results(request),
                1,
                "{mode}: nobody is answered twice"
            );
        }
    }
}
