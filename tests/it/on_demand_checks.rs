//! What a screen asks to be tested is looked at beside everything else, over the control socket too.

use std::path::PathBuf;

use tokio::net::TcpListener;
use vend::config::load::load;
use vend::control::client::Client;
use vend::control::server::Server;
use vend::domain::command::{Command, Probe, Reply};
use vend::domain::health::{CheckKind, CheckStatus};
use vend::engine::{Engine, Place};
use vend::ledger::Ledger;

struct Shop {
    dir: tempfile::TempDir,
    engine: Engine,
    server: Server,
}

impl Shop {
    async fn open() -> Self {
        // An error means that one is installed already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        let text = "[nostr]\nrelays = [\"ws://127.0.0.1:9\"]\n[text]\nmodel = \"vend-tiny\"\n\
                    [wallet]\nbackend = \"sandbox\"\nnetwork = \"regtest\"\n\
                    [[endpoint]]\nname = \"tiny\"\nkind = \"builtin\"\n";
        std::fs::write(&config, text).unwrap();
        let ledger = Ledger::open(&dir.path().join("vend.db")).unwrap();
        let place = Place {
            config: config.clone(),
            data: dir.path().to_owned(),
            pace: None,
            timing: vend::nostr::Timing::default(),
        };
        let settings = load(&config).unwrap();
        let keys = nostr::Keys::generate();
        let engine = Engine::start(ledger, keys, settings, place).await.unwrap();
        let server = Server::listen(&engine, &dir.path().join("s")).unwrap();
        Self {
            dir,
            engine,
            server,
        }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    async fn test(&self, what: Probe) -> Reply {
        let mut client = Client::connect(&self.socket()).await.unwrap();
        client.ask(Command::Test { what }).await.unwrap()
    }

    async fn close(self) {
        self.engine.ask(Command::Stop { now: true }).await;
        self.engine.ended().await;
        self.server.close().await;
    }
}

fn endpoint(name: &str) -> Probe {
    Probe::Endpoint {
        name: name.to_owned(),
    }
}

fn kinds(reply: &Reply) -> Vec<(CheckKind, CheckStatus)> {
    match reply {
        Reply::Tested { checks } => checks.iter().map(|one| (one.check, one.status)).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wallet_server_and_relay_say_how_they_are() {
    let shop = Shop::open().await;
    let wallet = kinds(&shop.test(Probe::Wallet).await);
    assert_eq!(wallet, [(CheckKind::Wallet, CheckStatus::Ok); 2]);
    let server = kinds(&shop.test(endpoint("tiny")).await);
    let well = [CheckKind::Endpoint, CheckKind::Model].map(|kind| (kind, CheckStatus::Ok));
    assert_eq!(server, well);
    let url = "ws://127.0.0.1:9".to_owned();
    let relay = kinds(&shop.test(Probe::Relay { url }).await);
    assert_eq!(relay, [(CheckKind::Relay, CheckStatus::Fail)]);
    let nobody = shop.test(endpoint("other")).await;
    assert!(matches!(nobody, Reply::Refused { detail } if detail.contains("save first")));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_test_holds_up_nothing_and_runs_once_at_a_time() {
    let shop = Shop::open().await;
    // Takes the connection and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", silent.local_addr().unwrap());
    let what = Probe::Relay { url };
    let client = Client::connect(&shop.socket()).await.unwrap();
    let mut viewer = client.watch().await.unwrap();
    let commands = viewer.commands.clone();
    let ask = |what: Probe| {
        let (back, answer) = tokio::sync::oneshot::channel();
        commands.try_send((Command::Test { what }, back)).unwrap();
        answer
    };
    let first = ask(what.clone());
    let (_held, _) = silent.accept().await.unwrap();
    let twin = ask(what.clone()).await.unwrap();
    assert!(matches!(twin, Reply::Refused { detail } if detail.contains("already")));
    let other = ask(Probe::Wallet).await.unwrap();
    assert_eq!(kinds(&other).len(), 2);
    assert!(viewer.events.recv().await.is_some(), "events go on");
    // The shop ends without waiting for it.
    shop.close().await;
    let ended = matches!(first.await, Err(_) | Ok(Reply::Refused { .. }));
    assert!(ended, "it is broken off");
}
