//! A running shop takes a change of its settings at once, whoever makes it, and says what is in force and what waits.

use std::path::PathBuf;

use crate::support::fake_wallet::FakeWallet;
use crate::support::inside::{Inside, LONGEST};
use nostr::Keys;
use nostr::nips::nip19::ToBech32;
use vend::config::edit::{self, Change};
use vend::config::keys::{Applies, KEYS, Key, Rule, Section, Shape};
use vend::config::load::load;
use vend::config::place::{DataLock, Places};
use vend::control::client::Client;
use vend::control::server::Server;
use vend::demo::online;
use vend::domain::command::{Command, Reply};
use vend::domain::event::EventKind;
use vend::domain::health::ShopState;
use vend::domain::job::{Encryption, Status};

/// A shop that is online, with its control socket.
struct World {
    inside: Inside,
    wallet: FakeWallet,
    server: Server,
    lock: DataLock,
    asked: u32,
    _folder: tempfile::TempDir,
}

/// A request that is like no other.
fn ask(inside: &Inside, buyer: &Keys, number: u32) -> nostr::Event {
    let words = format!("What is {number} and {number}?");
    let request = inside.home.request(buyer, Encryption::Plain, &words);
    inside.relay.inject(&request);
    request
}

impl World {
    async fn online() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let wallet = FakeWallet::start(&folder.path().join("wallet.jsonl"));
        let (url, key) = (wallet.url(), wallet.invoice_key());
        let inside = Inside::start(|relay| {
            format!(
                "[nostr]\nrelays = [\"{relay}\"]\nkinds = [5050]\nannounce = false\n\
                 [text]\nmodel = \"vend-tiny\"\nmax_tokens = 16\n\
                 [price]\nprice_per_1k_tokens = 0\n\
                 [[price.model]]\nname = \"m0\"\nprice_per_1k_input = 1\nprice_per_1k_output = 1\n\
                 [payment]\nmode = \"after\"\n\
                 [wallet]\nbackend = \"lnbits\"\nnetwork = \"regtest\"\nurl = \"{url}\"\ninvoice_key = \"{key}\"\n\
                 [[endpoint]]\nname = \"e0\"\nkind = \"builtin\"\n\
                 [[offer]]\nname = \"o0\"\nkind = 5002\n"
            )
        })
        .await;
        online(&inside.engine).await.unwrap();
        let places = Places::new(inside.home.config(), inside.home.data());
        let lock = DataLock::take(&places).unwrap();
        let server = Server::listen(&inside.engine, &lock.holder().socket).unwrap();
        Self {
            inside,
            wallet,
            server,
            lock,
            asked: 0,
            _folder: folder,
        }
    }

    fn ask(&mut self, buyer: &Keys) -> nostr::Event {
        self.asked += 1;
        ask(&self.inside, buyer, self.asked)
    }

    fn config(&self) -> PathBuf {
        self.inside.home.config()
    }

    /// As the Settings tab saves.
    async fn save(&self, pairs: &[(String, String)]) -> String {
        edit::apply(&self.config(), &changes(pairs), &|_| Ok(())).unwrap();
        Self::done(self.inside.engine.ask(Command::ApplySettings).await)
    }

    /// As an editor that writes the file in place, and nobody says anything.
    async fn write(&mut self, pairs: &[(String, String)]) -> String {
        let text = std::fs::read_to_string(self.config()).unwrap();
        let other = self.inside.home.folder.path().join("other.toml");
        std::fs::write(&other, text).unwrap();
        edit::apply(&other, &changes(pairs), &|_| Ok(())).unwrap();
        std::fs::write(self.config(), std::fs::read(&other).unwrap()).unwrap();
        self.told().await
    }

    async fn told(&mut self) -> String {
        let heard = |kind| match kind {
            EventKind::Settings { detail } => Some(detail),
            _ => None,
        };
        self.inside.hear(heard).await
    }

    fn done(reply: Reply) -> String {
        match reply {
            Reply::Done { detail } => detail,
            other => panic!("{other:?}"),
        }
    }

    /// A key's value in force, as `config set` takes it.
    fn in_force(&self, key: &Key, table: Option<&str>) -> Option<String> {
        key.text_in(&self.inside.engine.shop().settings(), table)
    }

    async fn close(self) {
        self.server.close().await;
        drop(self.lock);
        self.inside.close().await;
    }
}

fn changes(pairs: &[(String, String)]) -> Vec<Change<'_>> {
    pairs
        .iter()
        .map(|(key, text)| Change::Set {
            key,
            text: Some(text),
        })
        .collect()
}

/// Another value that this key takes; each turn gives another one.
fn other(key: &Key, turn: usize) -> String {
    let n = i64::try_from(turn).unwrap();
    match (key.field, key.shape) {
        // It is not below the other one.
        ("max_tokens_limit", _) => (5_000 + n).to_string(),
        // The buyer's text must be somewhere in it.
        ("template", _) => format!("words {turn}: {{input}}"),
        // The wallet of this test can't hold payments.
        ("mode", Shape::Word(_)) => ["before", "credit", "after"][turn % 3].to_owned(),
        (_, Shape::Flag) => turn.is_multiple_of(2).to_string(),
        (_, Shape::Word(words)) => words[turn % words.len()].to_owned(),
        (_, Shape::Whole { min, max, .. }) => (min + (7 + n) % (max - min + 1)).to_string(),
        (_, Shape::Number { min, max, .. }) => {
            #[expect(clippy::cast_precision_loss, reason = "a few turns")]
            let part = (turn as f64 + 1.0) / 20.0;
            format!("{:.3}", min + (max - min) * part)
        }
        (_, Shape::Text(rule)) => text(rule, turn),
        (_, Shape::Texts(rule)) => format!("[\"{}\"]", text(rule, turn)),
        (_, Shape::Secret) => format!("{{ env = \"VEND_TEST_{turn}\" }}"),
        (_, Shape::Secrets) => format!("{{ X-Key = {{ env = \"VEND_TEST_{turn}\" }} }}"),
        (_, Shape::Table) => format!("{{ min_p = {turn} }}"),
        (_, Shape::Wholes { min, .. }) => format!("[{}]", min + n),
        (_, Shape::Presses) => format!("f{}", 5 + turn),
    }
}

fn text(rule: Rule, turn: usize) -> String {
    match rule {
        Rule::Line | Rule::Prose | Rule::Stop | Rule::Name => format!("words {turn}"),
        Rule::Relay => format!("ws://127.0.0.1:{}", 9_100 + turn),
        Rule::Server | Rule::Http => format!("http://127.0.0.1:{}", 9_200 + turn),
        Rule::LightningAddress => format!("me{turn}@shop.example"),
        Rule::Path => format!("/tmp/{turn}"),
        Rule::Listen => format!("127.0.0.1:{}", 9_300 + turn),
        Rule::Hours => format!("mon-sun 00:00-{:02}:59", 20 + turn % 3),
        Rule::Currency => ["EUR", "USD", "CHF", "GBP", "SEK"][turn % 5].to_owned(),
        Rule::Person => Keys::generate().public_key().to_bech32().unwrap(),
    }
}

/// Is it kept as it was while the shop is online? `start_online` belongs to no table and decides nothing before the next start.
fn waits(key: &Key) -> bool {
    !key.applies().is_live() && key.field != "start_online"
}

/// Keys of other wallets than this shop's, and names of tables: those are tried by themselves.
fn is_walked(key: &Key) -> bool {
    let of_others = key.section == Section::Wallet && !["url", "invoice_key"].contains(&key.field);
    let names_a_table = key.section.repeated() && matches!(key.field, "name" | "kind");
    !(of_others || names_a_table)
}

fn table(key: &Key) -> Option<&'static str> {
    match key.section {
        Section::Endpoint => Some("e0"),
        Section::PriceModel => Some("m0"),
        Section::Offer => Some("o0"),
        Section::Keys => Some("online"),
        _ => None,
    }
}

fn name(key: &Key) -> String {
    key.name().replace("NAME", table(key).unwrap_or_default())
}

fn sentence(key: &Key, name: &str) -> String {
    match key.applies() {
        Applies::Now | Applies::AtOnce => format!("in force: {name}"),
        Applies::NextOnline => format!("the next time it goes online: {name}"),
        Applies::NextStart => format!("at the next start: {name}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_key_is_in_force_when_the_running_shop_says_so() {
    let world = World::online().await;
    for key in KEYS.iter().filter(|key| is_walked(key)) {
        let (name, table) = (name(key), table(key));
        let before = world.in_force(key, table);
        let mut turn = 0;
        let wanted = loop {
            let wanted = other(key, turn);
            let same = before.as_deref().is_some_and(|now| {
                key.shape.parse(now).unwrap().to_string().trim()
                    == key.shape.parse(&wanted).unwrap().to_string().trim()
            });
            if !same {
                break wanted;
            }
            turn += 1;
        };
        let said = world.save(&[(name.clone(), wanted.clone())]).await;
        assert_eq!(said, sentence(key, &name));
        let file = key.text_in(&load(&world.config()).unwrap(), table);
        let now = world.in_force(key, table);
        let expected = if waits(key) { before } else { file };
        assert_eq!(now, expected, "{name}");
    }
    // What waited is in force once the session is over.
    world
        .inside
        .engine
        .ask(Command::GoOffline { now: true })
        .await;
    let mut state = world.inside.engine.shop().now.subscribe();
    let offline = state.wait_for(|now| now.state == ShopState::Offline);
    tokio::time::timeout(LONGEST, offline)
        .await
        .unwrap()
        .unwrap();
    let file = load(&world.config()).unwrap();
    let shop = world.inside.engine.shop().clone();
    let mut changes = shop.settings_changes();
    let all = changes.wait_for(|now| **now == file);
    tokio::time::timeout(LONGEST, all).await.unwrap().unwrap();
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_them_by_the_command_by_an_editor_and_over_the_socket() {
    let mut world = World::online().await;
    for way in ["command", "editor", "socket"] {
        let turn = match way {
            "command" => 0,
            "editor" => 1,
            _ => 2,
        };
        let pairs: Vec<(String, String)> = KEYS
            .iter()
            .filter(|key| is_walked(key))
            .map(|key| (name(key), other(key, turn)))
            .collect();
        let before = (*world.inside.engine.shop().settings()).clone();
        let said = match way {
            "command" => {
                let mut args = vec!["config", "set"];
                args.extend(pairs.iter().flat_map(|(key, text)| [&**key, &**text]));
                let said = world.inside.say(&args);
                assert!(said.contains(&world.told().await), "{said}");
                said
            }
            "editor" => world.write(&pairs).await,
            _ => {
                edit::apply(&world.config(), &changes(&pairs), &|_| Ok(())).unwrap();
                let mut client = Client::connect(&world.lock.holder().socket).await.unwrap();
                let reply = client.ask(Command::ApplySettings).await.unwrap();
                let said = World::done(reply);
                assert_eq!(said, world.told().await);
                said
            }
        };
        for part in ["in force: ", "the next time it goes online: ", " more"] {
            assert!(said.contains(part), "{way}: {said}");
        }
        let file = load(&world.config()).unwrap();
        let now = world.inside.engine.shop().settings();
        for key in KEYS.iter().filter(|key| is_walked(key)) {
            let name = name(key);
            let of = |settings| key.text_in(settings, table(key));
            let expected = of(if waits(key) { &before } else { &file });
            assert_eq!(of(&now), expected, "{way}: {name}");
        }
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_wallet_waits_for_the_next_time_online_with_all_its_keys() {
    let mut world = World::online().await;
    let text = std::fs::read_to_string(world.config()).unwrap();
    let start = text.find("[wallet]").unwrap();
    let end = text.find("[[endpoint]]").unwrap();
    let (url, secret) = ("https://127.0.0.1:1", "{ env = \"VEND_TEST\" }");
    for (table, names) in [
        (
            "backend = \"spark\"\naccount = 7\n".to_owned(),
            &["account"][..],
        ),
        (format!("backend = \"nwc\"\nuri = {secret}\n"), &["uri"]),
        (
            format!(
                "backend = \"lnd\"\nurl = \"{url}\"\nmacaroon = {secret}\ncertificate = \"a\"\n"
            ),
            &["macaroon", "certificate"],
        ),
        (
            format!("backend = \"cln\"\nurl = \"{url}\"\nrune = {secret}\n"),
            &["rune"],
        ),
        (
            format!("backend = \"phoenixd\"\nurl = \"{url}\"\npassword = {secret}\n"),
            &["password"],
        ),
    ] {
        let changed = format!(
            "{}[wallet]\nnetwork = \"bitcoin\"\n{table}{}",
            &text[..start],
            &text[end..]
        );
        std::fs::write(world.config(), changed).unwrap();
        let said = World::done(world.inside.engine.ask(Command::ApplySettings).await);
        assert!(said.starts_with("the next time it goes online: "), "{said}");
        for name in names.iter().chain(&["backend"]) {
            assert!(said.contains(&format!("wallet.{name}")), "{said}");
        }
        let wallet = &world.inside.engine.shop().settings().wallet;
        assert_eq!(wallet.backend.as_str(), "lnbits", "the session's");
    }
    // It sells on with the wallet that it went online with.
    let request = world.ask(&Keys::generate());
    let invoice = world.inside.invoice(&request).await;
    world.wallet.pay(&invoice).unwrap();
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_a_list_and_a_limit_count_from_the_next_request_on() {
    let mut world = World::online().await;
    let buyer = Keys::generate();
    let npub = buyer.public_key().to_bech32().unwrap();
    world
        .inside
        .say(&["config", "set", "price.min_price_sats", "21"]);
    let request = world.ask(&buyer);
    let job = world
        .inside
        .until(&request, |job, _| job.status == Status::PendingPayment)
        .await;
    assert_eq!(job.price_msat.map(|price| price.0), Some(21_000));

    world.inside.say(&["config", "set", "limits.block", &npub]);
    world.ask(&buyer);
    assert_eq!(world.dropped().await, "blocked");
    world.inside.say(&[
        "config",
        "set",
        "limits.block",
        "",
        "limits.per_minute",
        "1",
    ]);
    world.ask(&Keys::generate());
    world.ask(&Keys::generate());
    assert_eq!(world.dropped().await, "rate_limited");
    world.close().await;
}

impl World {
    /// The reason of the next drop.
    async fn dropped(&mut self) -> String {
        let heard = |kind| match kind {
            EventKind::Dropped { reason, .. } => Some(reason),
            _ => None,
        };
        self.inside.hear(heard).await
    }

    /// Is this buyer served?
    async fn serves(&mut self, buyer: &Keys) -> bool {
        let request = self.ask(buyer);
        let hex = buyer.public_key().to_hex();
        self.inside
            .hear(|kind| match kind {
                EventKind::Job { job, .. } if job.id.0 == request.id => Some(true),
                EventKind::Dropped { reason, buyer, .. } if buyer == hex => {
                    assert_eq!(reason, "blocked");
                    Some(false)
                }
                _ => None,
            })
            .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_on_a_buyer_outlasts_saves_and_restarts() {
    let mut world = World::online().await;
    let buyer = Keys::generate();
    let npub = buyer.public_key().to_bech32().unwrap();
    assert!(world.serves(&buyer).await);
    // As `b` on the Jobs tab does.
    let command = Command::Block {
        buyer: npub.clone(),
    };
    World::done(world.inside.engine.ask(command).await);
    assert!(!world.serves(&buyer).await);
    world
        .inside
        .say(&["config", "set", "price.min_price_sats", "11"]);
    assert!(!world.serves(&buyer).await);
    let row = &world.inside.json(&["buyers"])[0];
    assert_eq!(row["blocked"], true);
    assert_eq!(row["npub"], npub);
    assert_eq!(row["credit_limit_sats"], 0);

    let World {
        inside,
        server,
        lock,
        wallet,
        ..
    } = world;
    server.close().await;
    drop(lock);
    let mut inside = inside.restart().await;
    online(&inside.engine).await.unwrap();
    let request = ask(&inside, &buyer, 1_000);
    // The relay shows the request that was served once more.
    let dropped = |kind| match kind {
        EventKind::Dropped { reason, .. } if reason != "duplicate" => Some(reason),
        _ => None,
    };
    assert_eq!(inside.hear(dropped).await, "blocked", "{}", request.id);
    inside.close().await;
    drop(wallet);
}

#[tokio::test(flavor = "multi_thread")]
async fn buyers_are_decided_on_with_a_shop_that_runs_and_without() {
    let mut world = World::online().await;
    let buyer = Keys::generate();
    let npub = buyer.public_key().to_bech32().unwrap();
    let said = world.inside.say(&["buyers", "block", &npub]);
    assert!(said.contains("is blocked"), "{said}");
    assert!(!world.serves(&buyer).await);
    let said = world
        .inside
        .say(&["buyers", "trust", &npub, "--credit", "777"]);
    assert!(said.contains("may owe 777 sats"), "{said}");
    assert!(world.serves(&buyer).await);
    let World {
        inside,
        server,
        lock,
        ..
    } = world;
    server.close().await;
    drop(lock);
    inside.engine.ask(Command::Stop { now: true }).await;
    let home = inside.home;
    inside.engine.ended().await;
    let vend = |args: &[&str]| {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_vend"))
            .arg("--data-dir")
            .arg(home.data())
            .arg("--config")
            .arg(home.config())
            .args(args)
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8(out.stdout).unwrap()
    };
    let row = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()[0].clone();
    let found = row(&vend(&["buyers", "--json"]));
    assert_eq!(found["credit_limit_sats"], 777);
    assert_eq!(found["trusted"], true);
    assert_eq!(found["blocked"], false);
    for key in [
        "buyer",
        "npub",
        "asked",
        "delivered",
        "paid",
        "paid_msat",
        "owed_msat",
        "balance_msat",
        "credit_limit_sats",
        "blocked",
        "trusted",
        "first_seen",
        "last_seen",
    ] {
        assert!(found.get(key).is_some(), "{key}");
    }
    assert!(vend(&["buyers", "block", &npub]).contains("is blocked"));
    assert_eq!(row(&vend(&["buyers", "--json"]))["blocked"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_breaks_or_goes_changes_nothing_and_is_told() {
    let mut world = World::online().await;
    let good = std::fs::read_to_string(world.config()).unwrap();
    let before = world.inside.engine.shop().settings();
    let complaint = |kind| match kind {
        EventKind::Notice {
            category, message, ..
        } if category == "settings" => Some(message),
        _ => None,
    };
    for (broken, words) in [
        (
            Some("[price]\nmin_price_sats = \"ten\"\n"),
            "config.toml:2: price.min_price_sats",
        ),
        (Some(""), "an empty file"),
        (None, "is gone"),
    ] {
        match broken {
            Some(text) => std::fs::write(world.config(), text).unwrap(),
            None => std::fs::remove_file(world.config()).unwrap(),
        }
        let told = world.inside.hear(complaint).await;
        assert!(told.contains(words), "{told}");
        let refused = world.inside.engine.ask(Command::ApplySettings).await;
        assert!(
            matches!(&refused, Reply::Refused { detail } if detail.contains(words)),
            "{refused:?}"
        );
        assert_eq!(*world.inside.engine.shop().settings(), *before);
    }
    std::fs::write(
        world.config(),
        good.replace("max_tokens = 16", "max_tokens = 17"),
    )
    .unwrap();
    assert_eq!(world.told().await, "in force: text.max_tokens");
    world.close().await;
}
