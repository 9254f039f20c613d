//! The recovery desk, the books and the audit, with the real binary: what a seller sees and does when money and work have
//! come apart.

use crate::support::fake_lnd;
use crate::support::fake_node;
use crate::support::fake_ollama;
use crate::support::fake_wallet;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::support::fake_ollama::FakeOllama;
use crate::support::fake_relay::{FakeRelay, Fault};
use crate::support::fake_wallet::FakeWallet;
use crate::support::shop::{Home, Running, answers, bolt11};
use nostr::{Event, Keys, Kind};
use serde_json::Value;
use tokio::process::Command;
use vend::domain::job::Encryption;

const LONGEST: Duration = Duration::from_secs(60);

struct World {
    home: Home,
    relay: FakeRelay,
    wallet: FakeWallet,
    model: FakeOllama,
    buyer: Keys,
    asked: AtomicU32,
}

async fn world(mode: &str) -> World {
    let home = Home::new();
    let relay = FakeRelay::start(None).await;
    let wallet = FakeWallet::start(&home.folder.path().join("wallet.jsonl"));
    let model = FakeOllama::start().await;
    let world = World {
        home,
        relay,
        wallet,
        model,
        buyer: Keys::generate(),
        asked: AtomicU32::new(0),
    };
    world.configure(mode, &world.wallet);
    world
}

impl World {
    fn configure(&self, mode: &str, wallet: &FakeWallet) {
        let lines = format!(
            "backend = \"lnbits\"\nurl = \"{}\"\ninvoice_key = \"{}\"",
            wallet.url(),
            wallet.invoice_key()
        );
        self.configure_with(mode, &lines);
    }

    fn configure_with(&self, mode: &str, wallet: &str) {
        let text = format!(
            "[nostr]\nrelays = [\"{}\"]\nkinds = [5050]\nannounce = false\n\
             [text]\nmodel = \"gemma2:latest\"\n[price]\nmin_price_sats = 10\n\
             [payment]\nmode = \"{mode}\"\n\
             [wallet]\nnetwork = \"regtest\"\n{wallet}\n\
             [[endpoint]]\nname = \"local\"\nkind = \"ollama\"\nurl = \"{}\"\n\
             [limits]\nper_buyer_per_minute = 100000\nper_minute = 100000\nqueue = 1000\n",
            self.relay.url(),
            self.model.url()
        );
        std::fs::write(self.home.config(), text).unwrap();
    }

    async fn open(&self) -> Running {
        let mut running = self.home.run(None);
        running
            .until(|event| event["event"] == "state" && event["state"] == "online")
            .await;
        running
    }

    async fn vend(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vend"));
        command.arg("--data-dir").arg(self.home.data());
        command.arg("--config").arg(self.home.config());
        command.args(args).stdin(Stdio::null()).kill_on_drop(true);
        command.output().await.unwrap()
    }

    async fn json(&self, args: &[&str]) -> Value {
        let out = self.vend(args).await;
        serde_json::from_slice(&out.stdout)
            .unwrap_or_else(|error| panic!("{args:?}: {error}: {}", said(&out)))
    }

    async fn desk(&self) -> Value {
        self.json(&["recover", "--json"]).await
    }

    fn ask(&self) -> String {
        // Two requests with one text in one second would be one event.
        let prompt = format!("hello {}", self.asked.fetch_add(1, Ordering::Relaxed));
        let request = self.home.request(&self.buyer, Encryption::Plain, &prompt);
        self.relay.inject(&request);
        request.id.to_hex()
    }

    /// An event of the seller about a job.
    async fn told(&self, kind: u16, id: &str, fits: impl Fn(&Event) -> bool) -> Event {
        let is = |event: &Event| {
            event.kind == Kind::from_u16(kind)
                && answers(event).as_deref() == Some(id)
                && fits(event)
        };
        self.relay.wait_for(is, LONGEST).await.expect("an event")
    }
}

fn said(out: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&out.stdout) + &text(&out.stderr)
}

fn is_job(event: &Value, id: &str, status: &str) -> bool {
    event["event"] == "job" && event["job"]["id"] == id && event["job"]["status"] == status
}

/// A job that was paid for first and then failed.
async fn paid_and_failed(world: &World, running: &mut Running) -> String {
    world.model.set(fake_ollama::Fault::TooLong);
    let id = world.ask();
    let asked = world.told(7000, &id, |event| bolt11(event).is_some()).await;
    world.wallet.pay(&bolt11(&asked).unwrap()).unwrap();
    running.until(|event| is_job(event, &id, "error")).await;
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paid_job_that_failed_is_tried_again_from_the_desk_and_then_it_is_no_case() {
    let world = world("before").await;
    let mut running = world.open().await;
    let id = paid_and_failed(&world, &mut running).await;
    let desk = world.desk().await;
    let case = &desk["cases"][0];
    assert_eq!(case["id"], id.as_str(), "{desk}");
    assert_eq!(case["kind"], "undelivered");
    assert_eq!(case["needs_you"], true);
    assert_eq!(case["owed_to_buyer_msat"], 10_000);
    assert_eq!(
        case["actions"],
        serde_json::json!(["retry", "refunded", "waive"])
    );
    assert_eq!(world.json(&["stats", "--json"]).await["cases"], 1);

    world.model.set(fake_ollama::Fault::None);
    let out = world.vend(&["recover", &id[..8], "retry"]).await;
    assert!(out.status.success(), "{}", said(&out));
    running.until(|event| is_job(event, &id, "paid")).await;
    let desk = world.desk().await;
    assert_eq!(desk["cases"], serde_json::json!([]), "{desk}");
    let again = world.vend(&["recover", &id, "retry"]).await;
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
    assert!(said(&again).contains("no open case"), "{}", said(&again));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_relays_refuse_for_its_date_is_signed_anew_from_the_desk() {
    let world = world("before").await;
    let mut running = world.open().await;
    let id = world.ask();
    let asked = world.told(7000, &id, |event| bolt11(event).is_some()).await;
    let words = "invalid: created_at is too far in the future";
    world.relay.set(Fault::Refuse(words.to_owned()));
    world.wallet.pay(&bolt11(&asked).unwrap()).unwrap();
    running.until(|event| is_job(event, &id, "error")).await;
    let first = world.json(&["jobs", "show", &id, "--json"]).await["result_id"].clone();
    let desk = world.desk().await;
    let case = &desk["cases"][0];
    assert_eq!(case["id"], id.as_str(), "{case}");
    let actions = case["actions"].as_array().unwrap();
    assert!(actions.contains(&"redeliver".into()), "{case}");

    // Signed under a right clock it is taken.
    world.relay.heal();
    let out = world.vend(&["recover", &id, "redeliver"]).await;
    assert!(out.status.success(), "{}", said(&out));
    assert!(said(&out).contains("may see two"), "{}", said(&out));
    let result = world.told(6050, &id, |_| true).await;
    assert_ne!(first, result.id.to_hex().as_str(), "another event");
    running.until(|event| is_job(event, &id, "paid")).await;
    let job = world.json(&["jobs", "show", &id, "--json"]).await;
    assert_eq!(job["result_id"], result.id.to_hex().as_str(), "{job}");
    assert_eq!(job["owed_to_buyer_msat"], 0, "{job}");
    let desk = world.desk().await;
    assert_eq!(desk["cases"], serde_json::json!([]), "{desk}");
    let again = world.vend(&["recover", &id, "redeliver"]).await;
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_that_was_given_back_leaves_the_desk_stays_in_the_history_and_is_marked_once() {
    let world = world("before").await;
    let mut running = world.open().await;
    let id = paid_and_failed(&world, &mut running).await;
    let refunded = ["recover", &id, "refunded", "--note", "by zap"];
    let unasked = world.vend(&refunded).await;
    assert_eq!(unasked.status.code(), Some(2), "{}", said(&unasked));
    assert!(said(&unasked).contains("--yes"), "{}", said(&unasked));
    assert_eq!(world.desk().await["cases"][0]["id"], id.as_str());

    let yes = [&refunded[..], &["--yes"]].concat();
    for _ in 0..2 {
        let out = world.vend(&yes).await;
        assert!(out.status.success(), "{}", said(&out));
        assert!(said(&out).contains("marked refunded"), "{}", said(&out));
    }
    let desk = world.desk().await;
    assert_eq!(desk["cases"], serde_json::json!([]), "{desk}");
    assert_eq!(desk["history"].as_array().unwrap().len(), 1, "{desk}");
    assert_eq!(desk["history"][0]["note"], "by zap");
    assert_eq!(desk["history"][0]["amount_msat"], 10_000);
    let other = world.vend(&["recover", &id, "waive", "--yes"]).await;
    assert_eq!(other.status.code(), Some(1), "{}", said(&other));
    let job = world.json(&["jobs", "show", &id, "--json"]).await;
    assert_eq!(job["owed_to_buyer_msat"], 0, "{job}");
    assert_eq!(job["paid_msat"], 10_000, "what came is not forgotten");
    let last = job["timeline"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&last["what"], &last["detail"]),
        (&"refunded".into(), &"by zap".into())
    );
    let receipts = world.json(&["receipts", "--format", "json"]).await;
    assert_eq!(receipts[0]["refunded_msat"], 10_000, "{receipts}");
    assert_eq!(receipts[0]["amount_sat"], "10");
    drop(running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_running_shop_the_desk_works_on_the_ledger_alone() {
    let world = world("before").await;
    let mut running = world.open().await;
    let id = paid_and_failed(&world, &mut running).await;
    let second = paid_and_failed(&world, &mut running).await;
    assert!(world.vend(&["stop", "--now"]).await.status.success());
    running.child.wait().await.unwrap();

    for turn in 0..2 {
        let out = world.vend(&["recover", &id, "retry"]).await;
        assert!(out.status.success(), "{}", said(&out));
        let word = if turn == 0 {
            "queued"
        } else {
            "under way already"
        };
        assert!(said(&out).contains(word), "{}", said(&out));
    }
    let out = world.vend(&["recover", &second, "waive", "--yes"]).await;
    assert!(out.status.success(), "{}", said(&out));
    world.model.set(fake_ollama::Fault::None);
    let mut running = world.open().await;
    running.until(|event| is_job(event, &id, "paid")).await;
    let desk = world.desk().await;
    assert_eq!(desk["cases"], serde_json::json!([]), "{desk}");
    assert_eq!(desk["history"][0]["action"], "waive");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_wallet_disputes_is_a_case_and_its_result_is_sent_again_as_it_was() {
    let world = world("after").await;
    let mut running = world.open().await;
    world.wallet.set_fault(fake_wallet::Fault::PaidLess);
    let id = world.ask();
    let result = world.told(6050, &id, |_| true).await;
    world.wallet.pay(&bolt11(&result).unwrap()).unwrap();
    running
        .until(|event| event["event"] == "totals" && event["totals"]["cases"] == 1)
        .await;
    let desk = world.desk().await;
    let case = &desk["cases"][0];
    assert_eq!(
        (&case["kind"], &case["id"]),
        (&"disputed".into(), &id.clone().into()),
        "{desk}"
    );
    let words = case["wallet_said"]["words"].as_str().unwrap();
    assert!(words.contains("only"), "{words}");
    assert_eq!(case["actions"][0], "retry");
    assert_eq!(case["result_id"], result.id.to_hex());

    let sent = world.vend(&["recover", &id, "deliver"]).await;
    assert!(sent.status.success(), "{}", said(&sent));
    running
        .until(|event| {
            event["event"] == "published" && event["role"] == "result" && event["id"] == id.as_str()
        })
        .await;
    let results: Vec<Event> = (world.relay.events().into_iter())
        .filter(|event| event.kind == Kind::from_u16(6050))
        .collect();
    assert!(
        results.iter().all(|event| event.id == result.id),
        "the same bytes"
    );

    let looked = world.vend(&["recover", &id, "retry"]).await;
    assert!(
        said(&looked).contains("the wallet says: paid"),
        "{}",
        said(&looked)
    );
    assert_eq!(
        world.desk().await["cases"][0]["kind"],
        "disputed",
        "less came than was asked"
    );
    world.wallet.set_fault(fake_wallet::Fault::None);
    // The shop's own look may have been first: then it is no case any more.
    let looked = world.vend(&["recover", &id, "retry"]).await;
    let first = said(&looked).contains("the wallet says: paid");
    assert!(
        first || said(&looked).contains("no open case"),
        "{}",
        said(&looked)
    );
    running.until(|event| is_job(event, &id, "paid")).await;
    let desk = world.desk().await;
    assert_eq!(desk["cases"], serde_json::json!([]), "{desk}");
    let job = world.json(&["jobs", "show", &id, "--json"]).await;
    assert_eq!(job["status"], "paid", "{job}");
}

/// LND keeps no label of ours: an answer that is lost leaves an invoice behind that nobody has seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invoice_whose_answer_was_lost_is_told_and_asks_for_nothing() {
    let world = world("after").await;
    let node = fake_lnd::start(None);
    world.configure_with(
        "after",
        &format!(
            "backend = \"lnd\"\nurl = \"{}\"\nmacaroon = \"{}\"",
            node.url(),
            node.secret()
        ),
    );
    let running = world.open().await;
    node.set_fault(fake_node::Fault::Truncated);
    let id = world.ask();
    // The second is only asked for when the answer about the first is lost.
    assert!(node.wait_for_created(2, LONGEST));
    node.set_fault(fake_node::Fault::None);
    let result = world.told(6050, &id, |_| true).await;
    let lost = node.books(|books| books.all()[0].bolt11.clone());
    assert_ne!(bolt11(&result).unwrap(), lost, "nobody has seen the first");

    let desk = world.desk().await;
    let case = &desk["cases"][0];
    assert_eq!(
        (&case["kind"], &case["id"]),
        (&"orphan".into(), &id.clone().into()),
        "{desk}"
    );
    assert_eq!(case["needs_you"], false);
    let unseen = node.books(|books| books.all().len()) - 1;
    assert_eq!(case["lost_invoices"], unseen, "{desk}");
    assert_eq!(case["actions"], serde_json::json!(["waive"]));
    assert_eq!(
        world.json(&["stats", "--json"]).await["cases"],
        0,
        "nobody has to do anything"
    );
    let out = world.vend(&["recover", &id, "waive", "--yes"]).await;
    assert!(out.status.success(), "{}", said(&out));
    assert_eq!(world.desk().await["cases"], serde_json::json!([]));
    drop(running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_finds_every_difference_and_nothing_where_there_is_none() {
    let world = world("after").await;
    let mut running = world.open().await;
    let mut invoices = Vec::new();
    for _ in 0..3 {
        let id = world.ask();
        let result = world.told(6050, &id, |_| true).await;
        invoices.push((id, bolt11(&result).unwrap()));
    }
    world.wallet.pay(&invoices[0].1).unwrap();
    running
        .until(|event| is_job(event, &invoices[0].0, "paid"))
        .await;
    let out = world.vend(&["audit"]).await;
    assert!(out.status.success(), "{}", said(&out));
    assert!(said(&out).contains("3 invoices: 3 agree"), "{}", said(&out));
    let sheet = world
        .json(&["audit", "--json", "--since", "2100-01-01"])
        .await;
    assert_eq!(
        (&sheet["ok"], &sheet["invoices"]),
        (&true.into(), &0.into()),
        "{sheet}"
    );

    assert!(world.vend(&["stop", "--now"]).await.status.success());
    running.child.wait().await.unwrap();
    world.wallet.pay(&invoices[1].1).unwrap();
    let sheet = world.json(&["audit", "--json"]).await;
    assert_eq!(sheet["ok"], false, "{sheet}");
    assert_eq!(sheet["differences"][0]["differs"], "wallet_paid", "{sheet}");
    assert_eq!(sheet["differences"][0]["job"], invoices[1].0.as_str());
    assert_eq!(world.vend(&["audit"]).await.status.code(), Some(1));

    world.wallet.set_fault(fake_wallet::Fault::UnknownOnLookup);
    let sheet = world.json(&["audit", "--json"]).await;
    let all = sheet["differences"].as_array().unwrap();
    assert_eq!(all.len(), 3, "{sheet}");
    assert!(all.iter().all(|one| one["differs"] == "unknown"), "{sheet}");
    world.wallet.set_fault(fake_wallet::Fault::ServerError);
    let sheet = world.json(&["audit", "--json"]).await;
    assert_eq!(sheet["errors"].as_array().unwrap().len(), 3, "{sheet}");
    assert_eq!((&sheet["ok"], &sheet["agree"]), (&false.into(), &0.into()));

    let other = FakeWallet::start(&world.home.folder.path().join("other.jsonl"));
    world.configure("after", &other);
    let sheet = world.json(&["audit", "--json"]).await;
    let all = sheet["differences"].as_array().unwrap();
    assert!(
        all.iter().all(|one| one["differs"] == "other_wallet"),
        "{sheet}"
    );
    assert_eq!(sheet["asked"], 0, "{sheet}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_have_the_value_of_their_day() {
    let world = world("after").await;
    let mut running = world.open().await;
    let id = world.ask();
    let result = world.told(6050, &id, |_| true).await;
    world.wallet.pay(&bolt11(&result).unwrap()).unwrap();
    running.until(|event| is_job(event, &id, "paid")).await;
    let rates = world.home.folder.path().join("rates.csv");
    let set = async |key: &str, value: &str| {
        let out = world.vend(&["config", "set", key, value]).await;
        assert!(out.status.success(), "{}", said(&out));
    };
    set("books.rates", "rates.csv").await;
    set("books.currency", "CHF").await;

    let missing = world.vend(&["receipts", "--format", "csv"]).await;
    assert_eq!(missing.status.code(), Some(1), "{}", said(&missing));
    assert!(said(&missing).contains("rates.csv"), "{}", said(&missing));
    std::fs::write(&rates, "date,rate\n2020-01-01,ten\n").unwrap();
    let wrong = world.vend(&["receipts", "--format", "csv"]).await;
    assert!(
        said(&wrong).contains("line 2") && said(&wrong).contains("ten"),
        "{}",
        said(&wrong)
    );
    std::fs::write(&rates, "date,rate\n2100-01-01,90000\n").unwrap();
    let none = world.vend(&["receipts", "--format", "csv"]).await;
    assert!(none.status.success(), "{}", said(&none));
    assert!(
        said(&none).contains("1 of 1 payments have no value"),
        "{}",
        said(&none)
    );

    std::fs::write(&rates, "date,rate\n2020-01-01,100000\n").unwrap();
    let out = world.vend(&["receipts", "--format", "csv"]).await;
    assert!(
        out.status.success() && out.stderr.is_empty(),
        "{}",
        said(&out)
    );
    let text = said(&out);
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 2, "{text}");
    let cell = |name: &str| rows[1][rows[0].iter().position(|column| *column == name).unwrap()];
    assert_eq!(
        (cell("job"), cell("amount_msat"), cell("amount_sat")),
        (&*id, "10000", "10")
    );
    assert_eq!((cell("value"), cell("currency")), ("0.010000", "CHF"));
    assert_eq!(
        (cell("rate"), cell("rate_date")),
        ("100000.000000", "2020-01-01")
    );
    assert_eq!(
        cell("preimage").len(),
        64,
        "the wallet gave the proof: {text}"
    );
    let receipts = world
        .json(&["receipts", "--format", "json", "--until", "2020-01-01"])
        .await;
    assert_eq!(receipts, serde_json::json!([]));
}
