//! A disk that takes nothing any more: the shop says so, repeats nothing in a loop, and goes on by itself when there is room
//! again, without a restart. The refusals are SQLite's own, by triggers that another connection puts into the ledger.

use std::time::Duration;

use crate::support::fake_relay::FakeRelay;
use crate::support::fake_wallet::FakeWallet;
use crate::support::shop::{Home, Running, answers, bolt11};
use nostr::{Event, Keys, Kind};
use rusqlite::Connection;
use serde_json::Value;
use vend::domain::job::Encryption;

const LONGEST: Duration = Duration::from_secs(60);

struct Shop {
    home: Home,
    relay: FakeRelay,
    wallet: FakeWallet,
    running: Running,
}

impl Shop {
    async fn open() -> Self {
        let home = Home::new();
        let relay = FakeRelay::start(None).await;
        let wallet = FakeWallet::start(&home.folder.path().join("wallet.jsonl"));
        let url = relay.url();
        home.configure("after", url.as_str(), &wallet.url(), &wallet.invoice_key());
        let running = home.run(None);
        let mut shop = Self {
            home,
            relay,
            wallet,
            running,
        };
        shop.until(|event| event["event"] == "state" && event["state"] == "online")
            .await;
        shop
    }

    async fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        self.running.until(fits).await
    }

    /// Until the shop has said `times` times that the ledger takes nothing.
    async fn refused(&mut self, times: usize) {
        for _ in 0..times {
            self.until(|event| event["event"] == "notice" && event["category"] == "ledger")
                .await;
        }
    }

    /// From now on the ledger refuses what `when` says.
    fn refuse(&self, when: &str) {
        let sql = format!("CREATE TRIGGER full {when} BEGIN SELECT RAISE(ABORT, 'no room'); END");
        self.ledger().execute_batch(&sql).unwrap();
    }

    fn heal(&self) {
        self.ledger().execute_batch("DROP TRIGGER full").unwrap();
    }

    fn ledger(&self) -> Connection {
        let connection = Connection::open(self.home.data().join("vend.db")).unwrap();
        connection.busy_timeout(LONGEST).unwrap();
        connection
    }

    fn ask(&self, prompt: &str) -> String {
        let request = self
            .home
            .request(&Keys::generate(), Encryption::Plain, prompt);
        self.relay.inject(&request);
        request.id.to_hex()
    }

    fn results(&self, id: &str) -> Vec<Event> {
        let mut events = self.relay.events();
        events.retain(|event| is_result(event, id));
        events
    }

    /// The result comes, its invoice is paid, and the job is.
    async fn is_sold(&mut self, id: &str) {
        let result = self.relay.wait_for(|event| is_result(event, id), LONGEST);
        let invoice = bolt11(&result.await.expect("a result")).expect("an invoice");
        self.wallet.pay(&invoice).unwrap();
        self.until(|event| event["event"] == "paid" && event["id"] == id)
            .await;
        assert_eq!(self.wallet.created().len(), 1);
        let ids: std::collections::HashSet<_> =
            self.results(id).iter().map(|event| event.id).collect();
        assert_eq!(ids.len(), 1, "one result, whatever happened");
    }

    /// How often the job's history tells this.
    async fn told(&self, id: &str, what: &str) -> usize {
        let job = self.home.show(id).await.unwrap();
        let told = job["timeline"].as_array().unwrap().clone();
        told.iter().filter(|line| line["what"] == what).count()
    }
}

fn is_result(event: &Event, id: &str) -> bool {
    event.kind == Kind::from_u16(6050) && answers(event).as_deref() == Some(id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_kept_in_memory_until_the_ledger_takes_it() {
    let mut shop = Shop::open().await;
    shop.refuse("BEFORE UPDATE ON jobs WHEN NEW.state = 'inferred'");
    let id = shop.ask("an answer without room");
    let degraded = shop
        .until(|event| event["event"] == "state" && event["state"] == "degraded")
        .await;
    let detail = degraded["detail"].as_str().unwrap();
    assert!(
        detail.contains("ledger") && detail.contains("no room"),
        "{detail}"
    );
    shop.refused(1).await;
    assert_eq!(shop.wallet.created().len(), 0);
    shop.heal();
    shop.until(|event| event["event"] == "state" && event["state"] == "online")
        .await;
    shop.is_sold(&id).await;
    assert_eq!(shop.told(&id, "started").await, 1, "it ran once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_is_not_told_in_a_loop_what_cannot_be_written_down() {
    let mut shop = Shop::open().await;
    shop.refuse("BEFORE UPDATE ON delivery");
    let id = shop.ask("a result without room");
    // Two pauses of the outbox.
    shop.refused(3).await;
    assert!(
        shop.relay.events().len() <= 12,
        "{} events for one job",
        shop.relay.events().len()
    );
    shop.heal();
    shop.is_sold(&id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_its_job_could_not_be_told_of_is_made_good() {
    let mut shop = Shop::open().await;
    shop.refuse("BEFORE UPDATE ON jobs WHEN NEW.state = 'pending_payment'");
    let id = shop.ask("a delivery without room");
    shop.refused(1).await;
    shop.heal();
    let told = shop
        .until(|event| event["event"] == "job" && event["job"]["status"] == "pending_payment")
        .await;
    assert_eq!(told["job"]["id"], id.as_str());
    shop.is_sold(&id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wallet_is_not_asked_in_a_loop_for_what_cannot_be_written_down() {
    let mut shop = Shop::open().await;
    shop.refuse("BEFORE UPDATE ON invoices WHEN NEW.state = 'open'");
    let id = shop.ask("an invoice without room");
    shop.refused(2).await;
    // LNbits tells what it has made under a label, so it is asked to make one only once.
    assert_eq!(shop.wallet.created().len(), 1);
    shop.heal();
    shop.is_sold(&id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_could_not_be_written_down_is_booked_later() {
    let mut shop = Shop::open().await;
    let id = shop.ask("a payment without room");
    let result = shop.relay.wait_for(|event| is_result(event, &id), LONGEST);
    let invoice = bolt11(&result.await.expect("a result")).expect("an invoice");
    shop.refuse("BEFORE UPDATE ON jobs WHEN NEW.state = 'paid'");
    shop.wallet.pay(&invoice).unwrap();
    shop.refused(1).await;
    shop.heal();
    let paid = shop.until(|event| event["event"] == "paid").await;
    assert_eq!(paid["id"], id.as_str());
    assert_eq!(shop.told(&id, "paid").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_waits_in_the_queue_while_its_start_cannot_be_written_down() {
    let mut shop = Shop::open().await;
    shop.refuse("BEFORE UPDATE ON jobs WHEN NEW.state = 'running'");
    let id = shop.ask("a start without room");
    shop.refused(2).await;
    shop.heal();
    shop.is_sold(&id).await;
    assert_eq!(shop.told(&id, "started").await, 1, "it ran once");
}
