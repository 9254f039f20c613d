//! `vend doctor` on each wallet: a row for what is wrong, and in it what mends it.

use crate::support::fake_cln;
use crate::support::fake_lnd;
use crate::support::fake_phoenixd;
use crate::support::fake_wallet;
use std::process::Stdio;

use crate::support::fake_node::{Certificate, FakeNode, Fault};
use crate::support::fake_ollama::FakeOllama;
use crate::support::fake_relay::FakeRelay;
use crate::support::fake_wallet::FakeWallet;
use crate::support::shop::Home;
use serde_json::Value;
use tokio::process::Command;

/// A shop with a relay and the built-in model; its wallet is told each time.
struct World {
    home: Home,
    relay: FakeRelay,
}

async fn world() -> World {
    World {
        home: Home::new(),
        relay: FakeRelay::start(None).await,
    }
}

impl World {
    /// The wallet's rows, and the clocks'.
    async fn rows(&self, wallet: &str) -> Vec<Value> {
        let tiny = "name = \"tiny\"\nkind = \"builtin\"";
        self.rows_with(wallet, "vend-tiny", tiny).await
    }

    async fn rows_with(&self, wallet: &str, model: &str, endpoint: &str) -> Vec<Value> {
        let text = format!(
            "[nostr]\nrelays = [\"{}\"]\n[text]\nmodel = \"{model}\"\n[price]\nmin_price_sats = 10\n\
             [wallet]\n{wallet}\n[[endpoint]]\n{endpoint}\n",
            self.relay.url()
        );
        std::fs::write(self.home.config(), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_vend"));
        command.arg("--data-dir").arg(self.home.data());
        command.arg("--config").arg(self.home.config());
        command.args(["doctor", "--json"]).stdin(Stdio::null());
        let out = command.kill_on_drop(true).output().await.unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        let sheet: Value = serde_json::from_slice(&out.stdout).expect(&said);
        let rows = sheet["checks"].as_array().unwrap().iter();
        let rows: Vec<Value> = rows
            .filter(|row| row["check"] == "wallet" || row["check"] == "clock")
            .cloned()
            .collect();
        let failed = rows.iter().any(|row| row["status"] == "fail");
        assert_eq!(sheet["ok"], !failed, "{sheet}");
        assert_eq!(out.status.code(), Some(i32::from(failed)), "{said}");
        rows
    }

    /// There is such a row, with these words in it and in its fix.
    async fn expects(&self, wallet: &str, status: &str, detail: &str, fix: &str) {
        let rows = self.rows(wallet).await;
        let holds = |row: &Value, field: &str, words: &str| {
            row[field].as_str().is_some_and(|text| text.contains(words))
        };
        let found = rows.iter().any(|row| {
            row["status"] == status && holds(row, "detail", detail) && holds(row, "fix", fix)
        });
        assert!(found, "{status}, {detail}, {fix}: {rows:#?}");
    }
}

fn lnbits(wallet: &FakeWallet, network: &str) -> String {
    format!(
        "backend = \"lnbits\"\nnetwork = \"{network}\"\nurl = \"{}\"\ninvoice_key = \"{}\"",
        wallet.url(),
        wallet.invoice_key()
    )
}

fn node(backend: &str, key: &str, node: &FakeNode, network: &str) -> String {
    format!(
        "backend = \"{backend}\"\nnetwork = \"{network}\"\nurl = \"{}\"\n{key} = \"{}\"",
        node.url(),
        node.secret()
    )
}

/// The wallets that are nodes: the backend, the key's name, and how one is started.
type Start = fn() -> FakeNode;
const NODES: [(&str, &str, Start); 3] = [
    ("lnd", "macaroon", || fake_lnd::start(None)),
    ("cln", "rune", || fake_cln::start(None)),
    ("phoenixd", "password", fake_phoenixd::start),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wallet_that_is_well_has_no_fix() {
    let world = world().await;
    let wallet = FakeWallet::start(&world.home.folder.path().join("wallet.jsonl"));
    let mut all = vec![lnbits(&wallet, "regtest")];
    let nodes: Vec<_> = NODES.iter().map(|(_, _, start)| start()).collect();
    for ((backend, key, _), one) in NODES.iter().zip(&nodes) {
        all.push(node(backend, key, one, "regtest"));
    }
    all.push("backend = \"sandbox\"\nnetwork = \"regtest\"".to_owned());
    for settings in all {
        let rows = world.rows(&settings).await;
        assert_eq!(rows.len(), 2, "{rows:#?}");
        for row in rows {
            assert_eq!(
                (&row["status"], &row["fix"]),
                (&"ok".into(), &"".into()),
                "{row}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_key_names_the_setting_to_put_right() {
    let world = world().await;
    let wallet = FakeWallet::start(&world.home.folder.path().join("wallet.jsonl"));
    wallet.set_fault(fake_wallet::Fault::KeyRevoked);
    let settings = lnbits(&wallet, "regtest");
    world
        .expects(
            &settings,
            "fail",
            "refuses the key",
            "vend config set wallet.invoice_key",
        )
        .await;
    for (backend, key, start) in NODES {
        let one = start();
        one.set_fault(Fault::KeyRevoked);
        let settings = node(backend, key, &one, "regtest");
        let fix = format!("vend config set wallet.{key}");
        world
            .expects(&settings, "fail", "refuses the key", &fix)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wallet_that_can_t_receive_says_how_to_get_room() {
    let world = world().await;
    for (backend, key, start) in NODES {
        let one = start();
        let settings = node(backend, key, &one, "regtest");
        one.books(|books| books.inbound_msat = 0);
        let fix = match backend {
            "phoenixd" => "first invoice",
            _ => "open a channel towards this node",
        };
        world
            .expects(&settings, "warn", "room to receive", fix)
            .await;
        one.books(|books| books.inbound_msat = 5_000);
        world
            .expects(&settings, "warn", "can receive 5 sats", fix)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wallet_on_another_network_names_the_setting() {
    let world = world().await;
    let wallet = FakeWallet::start(&world.home.folder.path().join("wallet.jsonl"));
    let fix = "vend config set wallet.network regtest";
    // LNbits does not say its network: its invoice does.
    let settings = lnbits(&wallet, "bitcoin");
    world
        .expects(&settings, "fail", "the invoice is for regtest", fix)
        .await;
    for (backend, key, start) in NODES {
        let one = start();
        let settings = node(backend, key, &one, "bitcoin");
        world
            .expects(&settings, "fail", "the wallet is on regtest", fix)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_differs_is_told_with_its_seconds() {
    let world = world().await;
    let fix = "timedatectl set-ntp true";
    for (backend, key, start) in NODES {
        let one = start();
        let settings = node(backend, key, &one, "regtest");
        for (ahead, status, words) in [
            (3_600, "warn", "s ahead of"),
            // A minute's invoice is over before it is read.
            (-3_600, "fail", "s behind"),
        ] {
            one.books(|books| books.clock_ahead = ahead);
            world.expects(&settings, status, words, fix).await;
            world
                .expects(&settings, status, "the wallet's clock is 3", fix)
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_answers_have_another_time_is_told_by_its_name() {
    let world = world().await;
    // The invoice's own time is right: it is the machine in front that is not.
    for (backend, key, start) in NODES {
        let one = start();
        let settings = node(backend, key, &one, "regtest");
        for (ahead, words) in [(3_600, "s ahead of"), (-3_600, "s behind")] {
            one.books(|books| books.date_ahead = ahead);
            let rows = world.rows(&settings).await;
            let clocks: Vec<_> = rows.iter().filter(|row| row["check"] == "clock").collect();
            assert_eq!(clocks.len(), 1, "{rows:#?}");
            assert_eq!(
                (&clocks[0]["target"], &clocks[0]["status"]),
                (&"wallet".into(), &"warn".into())
            );
            assert!(
                clocks[0]["detail"].as_str().unwrap().contains(words),
                "{rows:#?}"
            );
        }
        one.books(|books| books.date_ahead = 30);
        let rows = world.rows(&settings).await;
        assert!(rows.iter().all(|row| row["check"] != "clock"), "{rows:#?}");
    }
    let model = FakeOllama::start().await;
    model.set_date_ahead(-7_200);
    let sandbox = "backend = \"sandbox\"\nnetwork = \"regtest\"";
    let endpoint = format!(
        "name = \"gpu\"\nkind = \"ollama\"\nurl = \"{}\"",
        model.url()
    );
    let rows = world.rows_with(sandbox, "gemma2:latest", &endpoint).await;
    let clock = rows.iter().find(|row| row["check"] == "clock").unwrap();
    assert_eq!(
        (&clock["target"], &clock["status"]),
        (&"gpu".into(), &"warn".into())
    );
    let words = clock["detail"].as_str().unwrap();
    assert!(
        words.starts_with("the clock of gpu is 7") && words.ends_with("s behind this machine's"),
        "{words}"
    );
    assert!(
        clock["fix"].as_str().unwrap().contains("timedatectl"),
        "{clock}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_certificate_is_told_from_a_missing_one_and_from_a_server_that_is_down() {
    let world = world().await;
    let folder = world.home.folder.path();
    std::fs::write(folder.join("tls.cert"), Certificate::Two.pem()).unwrap();
    let start = [
        ("lnd", "macaroon", fake_lnd::start as fn(_) -> FakeNode),
        ("cln", "rune", fake_cln::start),
    ];
    for (backend, key, start) in start {
        let one = start(Some(Certificate::One));
        let settings = node(backend, key, &one, "regtest");
        let pinned = format!("{settings}\ncertificate = \"tls.cert\"");
        world
            .expects(
                &pinned,
                "fail",
                "another certificate",
                "copy the server's own anew to tls.cert",
            )
            .await;
        let fix = "vend config set wallet.certificate tls.cert";
        world
            .expects(&settings, "fail", "can't be trusted", fix)
            .await;
        drop(one);
        world
            .expects(
                &settings,
                "fail",
                "can't be reached",
                "start the wallet's server",
            )
            .await;
    }
}
