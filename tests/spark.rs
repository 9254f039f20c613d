//! The Spark wallet against a helper that hangs, lies, dies, floods and comes late; and `vend spark` as a person meets it.

#[path = "support/drill_spark.rs"]
mod drill_spark;

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use drill_spark::{DrillSpark, Fault, LONG, Wish, line};
use futures::FutureExt;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use vend::domain::Hex32;
use vend::domain::health::{Light, WalletHealth};
use vend::domain::id::PaymentHash;
use vend::domain::invoice::{Expected, Network, check};
use vend::domain::msat::Msat;
use vend::domain::time::Time;
use vend::wallet::spark::Spark;
use vend::wallet::spark::launch::{Launch, Timing};
use vend::wallet::{Issued, NewInvoice, Seen, Wallet, WalletError};

const AMOUNT: Msat = Msat(21_000);
const EXPIRY: Duration = Duration::from_mins(10);

/// So long that a test that waits for it fails; so short that nothing waits where a wait is not what is tested.
fn timing() -> Timing {
    Timing {
        hello: LONG,
        open: LONG,
        call: LONG,
        create: LONG,
        health: LONG,
        back_off: vec![Duration::from_millis(10)],
        steady: LONG,
        close: LONG,
        balance_every: LONG,
        stuck: LONG,
        hint_every: Duration::ZERO,
    }
}

fn ask() -> NewInvoice {
    NewInvoice {
        amount: AMOUNT,
        memo: "a job".to_owned(),
        expiry: EXPIRY,
        label: "vend:1".to_owned(),
        hold_hash: None,
    }
}

async fn made(wallet: &Spark) -> Issued {
    wallet.create(ask()).await.unwrap()
}

async fn pending(wallet: &Spark, issued: &Issued) {
    assert_eq!(wallet.lookup(issued.clone()).await, Ok(Seen::Pending));
}

/// Until the helper is up again: calls meanwhile say that it is down, and nothing else.
async fn up_again(drill: &DrillSpark, wallet: &Spark, starts: usize) -> WalletHealth {
    drill
        .until("another start", move |state| state.started.len() >= starts)
        .await;
    loop {
        let health = wallet.health().await;
        if health.light != Light::Down {
            return health;
        }
        tokio::task::yield_now().await;
    }
}

fn is_unreachable<T: std::fmt::Debug>(seen: &Result<T, WalletError>) -> bool {
    matches!(seen, Err(WalletError::Unreachable(_)))
}

#[tokio::test]
async fn it_makes_invoices_and_sees_them_paid() {
    let drill = DrillSpark::start();
    let wallet = drill.wallet(timing());
    let issued = made(&wallet).await;
    let expected = Expected {
        amount: AMOUNT,
        network: Network::Regtest,
        payment_hash: issued.payment_hash,
        longest_expiry: EXPIRY,
    };
    check(&issued.bolt11, &expected, Time::now()).unwrap();
    pending(&wallet, &issued).await;
    drill.pay(&issued.bolt11, 0);
    let seen = wallet.lookup(issued.clone()).await.unwrap();
    let Seen::Paid {
        amount, preimage, ..
    } = seen
    else {
        panic!("{seen:?}");
    };
    assert_eq!(amount, Some(AMOUNT));
    assert!(preimage.unwrap().opens(&issued.payment_hash));

    let other = Issued {
        payment_hash: PaymentHash(Hex32([6; 32])),
        ..issued.clone()
    };
    let seen = wallet.lookup(other).await;
    assert!(matches!(seen, Err(WalletError::Protocol(_))), "{seen:?}");
    let nameless = Issued {
        backend_ref: None,
        ..issued
    };
    let seen = wallet.lookup(nameless).await;
    assert!(matches!(seen, Err(WalletError::Rejected(_))), "{seen:?}");

    let asked = drill.with(|state| state.asked.clone());
    assert_eq!(asked[0]["op"], "hello");
    assert_eq!(asked[1]["network"], "REGTEST");
    assert_eq!(asked[1]["account"], 1);
    let create =
        json!({"id": 3, "op": "create", "amount_sats": 21, "memo": "a job", "expiry_s": 600});
    assert_eq!(asked[2], create);
}

#[tokio::test]
async fn what_is_there_and_what_is_arriving_are_shown_apart() {
    let drill = DrillSpark::start();
    drill.with(|state| state.incoming = 21);
    let health = drill.wallet(timing()).health().await;
    assert_eq!(health.light, Light::Ok);
    assert_eq!(health.balance_msat, Some(Msat::from_sats(1_234)));
    assert_eq!(health.network.as_deref(), Some("regtest"));
    assert_eq!(health.identity, Some(format!("02{}", "ab".repeat(32))));
    assert_eq!(
        health.detail,
        "connected; 1,234 sats to spend; 21 sats arriving"
    );
}

#[tokio::test]
async fn the_words_are_in_no_argument_and_no_variable() {
    let drill = DrillSpark::start();
    let wallet = drill.wallet(timing());
    made(&wallet).await;
    let words = std::fs::read_to_string(drill.folder().join("spark.words")).unwrap();
    let words = words.trim();
    let (pid, asked) = drill.with(|state| (state.started[0], state.asked.clone()));
    assert_eq!(asked[1]["mnemonic"], words);
    let env = std::fs::read_to_string(drill.folder().join(format!("{pid}.env"))).unwrap();
    assert!(!env.contains(words));
    let names: BTreeSet<&str> = env
        .lines()
        .filter_map(|line| line.split_once('=').map(|(name, _)| name))
        // A shell's own.
        .filter(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name))
        .collect();
    assert!(
        names.is_subset(&["HOME", "PATH", "TMPDIR"].into()),
        "{names:?}"
    );
    let args: Vec<String> = drill
        .launch()
        .args
        .iter()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    assert!(!args.join(" ").contains(words));
    assert!(!format!("{wallet:?}").contains(words));
}

#[tokio::test]
async fn a_helper_that_hangs_is_killed_and_another_one_works() {
    let drill = DrillSpark::start();
    let call = Duration::from_millis(300);
    let wallet = drill.wallet(Timing { call, ..timing() });
    let issued = made(&wallet).await;
    drill.with(|state| state.fault = Fault::Silent);
    let seen = wallet.lookup(issued.clone()).await;
    assert_eq!(seen, Err(WalletError::TimedOut(call)));
    drill.with(|state| state.fault = Fault::None);
    drill
        .until("the end of the first", |state| !state.ended.is_empty())
        .await;
    drill
        .until("a second start", |state| state.started.len() == 2)
        .await;
    // The second one may need longer than the first test's short call to be up.
    let patient = drill.wallet(timing());
    pending(&patient, &issued).await;
}

#[tokio::test]
async fn lines_of_nonsense_are_left_out_and_their_text_is_not_logged() {
    let log = Log::default();
    let _guard = log.follow();
    let drill = DrillSpark::start();
    let wallet = drill.wallet(timing());
    drill.wish(|ask| {
        let before =
            b"zebra-warning\n\n{\"id\":\n[1]\n\xff\xfe\n{\"id\":\"3\",\"ok\":{}}\n".to_vec();
        let too_long = [vec![b'z'; 70_000], b"\n".to_vec()].concat();
        (ask["op"] != "hello")
            .then(|| Wish::Around([before, too_long].concat(), b"zebra\n".to_vec()))
    });
    let issued = made(&wallet).await;
    pending(&wallet, &issued).await;
    assert_eq!(wallet.health().await.light, Light::Ok);
    assert_eq!(drill.with(|state| state.started.len()), 1);
    let text = log.text();
    assert!(text.contains("makes no sense"), "{text}");
    assert!(!text.contains("zebra"), "{text}");
    assert!(!text.contains("zzzz"), "{text}");
}

#[tokio::test]
async fn a_helper_that_writes_nothing_but_nonsense_is_replaced() {
    let drill = DrillSpark::start();
    let wallet = drill.wallet(timing());
    let issued = made(&wallet).await;
    drill.say(&b"x\n".repeat(200));
    up_again(&drill, &wallet, 2).await;
    pending(&wallet, &issued).await;
}

#[tokio::test]
async fn half_a_line_and_an_end_is_an_error_at_once_and_then_all_is_well() {
    let drill = DrillSpark::start();
    let wallet = drill.wallet(timing());
    let issued = made(&wallet).await;
    for half in [&b"{\"id\":4,\"ok\":{\"sta"[..], b""] {
        let half = half.to_vec();
        drill.wish(move |ask| (ask["op"] == "lookup").then(|| Wish::Exit(half.clone())));
        let seen = wallet.lookup(issued.clone()).await;
        assert!(is_unreachable(&seen), "{seen:?}");
        drill.wish(|_| None);
        let starts = drill.with(|state| state.started.len());
        up_again(&drill, &wallet, starts.max(2)).await;
        pending(&wallet, &issued).await;
    }
}

#[tokio::test]
async fn answers_that_come_late_or_twice_are_for_nobody() {
    let drill = DrillSpark::start();
    let wallet = drill.wallet(timing());
    let (one, other) = (made(&wallet).await, made(&wallet).await);
    drill.pay(&one.bolt11, 0);
    // The first look is given up before its answer comes.
    let held = Arc::new(Mutex::new(None));
    let hold = held.clone();
    drill.wish(move |ask| {
        let first = ask["op"] == "lookup" && hold.lock().unwrap().is_none();
        first.then(|| {
            *hold.lock().unwrap() = Some(ask["id"].as_u64().unwrap());
            Wish::Bytes(Vec::new())
        })
    });
    let looking = wallet.lookup(one.clone());
    let asked = drill.until("the first look", |state| state.count("lookup") == 1);
    let gave_up = futures::future::select(looking, Box::pin(asked)).await;
    assert!(matches!(gave_up, futures::future::Either::Right(_)));
    drop(gave_up);
    let id = held.lock().unwrap().unwrap();
    let late = line(
        &json!({"id": id, "ok": {"status": "TRANSFER_COMPLETED", "payment_hash": one.payment_hash}}),
    );
    drill.say(&[late.clone(), late.clone()].concat());
    pending(&wallet, &other).await;
    // The next question's answer comes twice, and one to a question that nobody has asked yet.
    let future = line(
        &json!({"id": id + 3, "ok": {"status": "TRANSFER_COMPLETED", "payment_hash": one.payment_hash}}),
    );
    drill.wish(move |_| {
        Some(Wish::Around(
            Vec::new(),
            [late.clone(), future.clone()].concat(),
        ))
    });
    pending(&wallet, &other).await;
    drill.wish(|_| None);
    pending(&wallet, &other).await;
    assert_eq!(drill.with(|state| state.started.len()), 1);
}

#[tokio::test]
async fn a_state_that_nobody_knows_is_pending_and_never_unpaid() {
    let drill = DrillSpark::start();
    let wallet = drill.wallet(timing());
    let issued = made(&wallet).await;
    let set = |word: &str| {
        drill.with(|state| {
            state
                .status
                .insert(issued.payment_hash.0.0, word.to_owned())
        });
    };
    set("FUTURE_VALUE");
    pending(&wallet, &issued).await;
    set("TRANSFER_CREATED");
    drill.with(|state| state.books.entry(&issued.bolt11).expires_at = 1);
    let seen = wallet.lookup(issued.clone()).await;
    assert!(matches!(seen, Ok(Seen::Attention(_))), "{seen:?}");
    set("INVOICE_CREATED");
    assert_eq!(wallet.lookup(issued.clone()).await, Ok(Seen::Expired));
}

#[tokio::test]
async fn a_helper_of_another_protocol_is_refused_with_words() {
    for (hello, words) in [
        (json!({"protocol": 2, "who": "me"}), "another protocol"),
        (
            json!({"protocol": 1, "sdk": null, "node": "v20.1.0"}),
            "vend spark install",
        ),
        (
            json!({"protocol": 1, "sdk": "0.8.8", "node": "v16.20.2"}),
            "Spark needs Node 18 or newer, and this is v16.20.2",
        ),
        (json!("<html>"), "another protocol"),
    ] {
        let drill = DrillSpark::start();
        drill.with(|state| state.hello = hello);
        let wallet = drill.wallet(timing());
        let health = wallet.health().await;
        assert_eq!(health.light, Light::Down);
        assert!(health.detail.contains(words), "{}", health.detail);
        let made = wallet.create(ask()).await;
        assert!(is_unreachable(&made), "{made:?}");
        // The words were not given to it.
        assert_eq!(drill.with(|state| state.count("open")), 0);
    }
}

#[tokio::test]
async fn without_node_there_is_one_plain_sentence() {
    let drill = DrillSpark::start();
    let launch = Launch {
        program: "/nowhere/node".into(),
        ..drill.launch()
    };
    let network = vend::config::schema::Network::Regtest;
    let wallet = Spark::with_helper(drill.folder(), network, 1, launch, timing());
    let health = wallet.health().await;
    assert_eq!(health.light, Light::Down);
    assert_eq!(
        health.detail,
        "Spark needs Node 18 or newer, and there is no `node` on the path: install it from nodejs.org or with your system's packages"
    );
}

#[tokio::test]
async fn words_that_are_gone_are_told_and_the_way_back_is_short() {
    let drill = DrillSpark::start();
    let (path, aside) = (
        drill.folder().join("spark.words"),
        drill.folder().join("aside"),
    );
    std::fs::rename(&path, &aside).unwrap();
    let wallet = drill.wallet(timing());
    let health = wallet.health().await;
    assert!(
        health.detail.contains("`vend spark create`"),
        "{}",
        health.detail
    );
    std::fs::rename(&aside, &path).unwrap();
    up_again(&drill, &wallet, 2).await;
    made(&wallet).await;
}

#[tokio::test]
async fn a_flood_of_lines_drowns_nobody() {
    let drill = DrillSpark::start();
    let wallet = drill.wallet(timing());
    let issued = made(&wallet).await;
    // The opening is a reason to look, too.
    assert_eq!(wallet.next_hint().await, None);
    let flood = line(&json!({"event": "balance"})).repeat(20_000);
    let late = line(&json!({"id": 1, "ok": {}})).repeat(20_000);
    drill.wish(move |_| {
        Some(Wish::Around(
            [flood.clone(), late.clone()].concat(),
            Vec::new(),
        ))
    });
    pending(&wallet, &issued).await;
    // Forty thousand lines are one hint.
    assert_eq!(wallet.next_hint().await, None);
    assert!(wallet.next_hint().now_or_never().is_none());
}

#[tokio::test]
async fn events_are_hints_to_look_at_all() {
    let drill = DrillSpark::start();
    let wallet = drill.wallet(timing());
    made(&wallet).await;
    wallet.next_hint().await;
    for event in ["claimed", "balance", "stream_up"] {
        assert!(wallet.next_hint().now_or_never().is_none());
        drill.say(&line(&json!({"event": event})));
        assert_eq!(wallet.next_hint().await, None);
    }
}

#[tokio::test]
async fn one_invoice_is_made_at_a_time() {
    let drill = DrillSpark::start();
    let wallet = Arc::new(drill.wallet(timing()));
    drill.wish(|ask| (ask["op"] == "create").then(|| Wish::Bytes(Vec::new())));
    let creates: Vec<_> = (0..2)
        .map(|_| {
            let wallet = wallet.clone();
            tokio::spawn(async move { wallet.create(ask()).await })
        })
        .collect();
    drill
        .until("the first", |state| state.count("create") == 1)
        .await;
    // The second one would have been written before this look, which is asked after both.
    let health = wallet.health().await;
    assert_eq!(health.light, Light::Ok);
    assert_eq!(drill.with(|state| state.count("create")), 1);
    let id = drill.with(|state| {
        let first = state.asked.iter().find(|ask| ask["op"] == "create");
        first.unwrap()["id"].clone()
    });
    drill.wish(|_| None);
    drill.say(&line(
        &json!({"id": id, "error": {"kind": "failed", "message": "it broke [02ab]"}}),
    ));
    let mut outcomes = Vec::new();
    for create in creates {
        outcomes.push(create.await.unwrap());
    }
    assert_eq!(drill.with(|state| state.count("create")), 2);
    let broke = Err(WalletError::Failed("it broke".to_owned()));
    assert_eq!(outcomes.iter().filter(|one| **one == broke).count(), 1);
    assert_eq!(outcomes.iter().filter(|one| one.is_ok()).count(), 1);
}

#[tokio::test]
async fn money_that_is_not_claimed_starts_the_helper_again() {
    let drill = DrillSpark::start();
    drill.with(|state| state.incoming = 21);
    let wallet = drill.wallet(Timing {
        stuck: Duration::from_millis(50),
        balance_every: Duration::from_millis(10),
        ..timing()
    });
    // Nobody asks but the wallet itself.
    assert!(wallet.next_hint().now_or_never().is_none());
    drill
        .until("a second start", |state| state.started.len() == 2)
        .await;
    drill.with(|state| state.incoming = 0);
    let health = up_again(&drill, &wallet, 2).await;
    assert_eq!(health.detail, "connected; 1,234 sats to spend");
}

#[tokio::test]
async fn a_wallet_that_is_closed_lets_its_helper_end() {
    let drill = DrillSpark::start();
    let wallet = drill.wallet(timing());
    made(&wallet).await;
    wallet.close().await;
    drill.until("its end", |state| state.ended.len() == 1).await;
    assert_eq!(drill.with(|state| state.count("close")), 1);
    let made = wallet.create(ask()).await;
    assert!(made.is_err());
    assert_eq!(drill.with(|state| state.started.len()), 1);
}

#[tokio::test]
async fn a_wallet_that_is_dropped_ends_its_helper_too() {
    let drill = DrillSpark::start();
    let wallet = drill.wallet(timing());
    made(&wallet).await;
    drop(wallet);
    drill.until("its end", |state| state.ended.len() == 1).await;
}

#[tokio::test]
async fn a_helper_that_clings_is_killed() {
    let drill = DrillSpark::start();
    drill.with(|state| state.clings = true);
    let wallet = drill.wallet(Timing {
        close: Duration::from_millis(200),
        ..timing()
    });
    made(&wallet).await;
    let pid = drill.with(|state| state.started[0]);
    wallet.close().await;
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // Reaped: the system knows it no more.
    assert!(rustix::process::test_kill_process(pid).is_err());
}

/// Everything that is logged on this thread, where these tests run as a whole.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn follow(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// ---- the commands ----

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn data(&self) -> std::path::PathBuf {
        self.0.path().join("data")
    }

    fn words(&self) -> String {
        std::fs::read_to_string(self.data().join("spark.words")).unwrap()
    }

    /// `vend` with nothing on the path but what is in this folder.
    fn vend(&self, path: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vend"));
        command
            .arg("--data-dir")
            .arg(self.data())
            .arg("--config")
            .arg(self.0.path().join("config.toml"))
            .env("PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn ran(&self, path: &Path, args: &[&str], input: &str) -> Output {
        let mut child = self.vend(path).args(args).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // One that reads nothing may have ended already.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        child.wait_with_output().await.unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const ABOUT: &str =
    "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

#[tokio::test]
async fn words_are_shown_once_kept_privately_and_never_lost() {
    let home = Home::new();
    let nowhere = home.0.path().join("nothing");
    let made = home.ran(&nowhere, &["spark", "create"], "").await;
    assert!(made.status.success(), "{}", text(&made.stderr));
    let words = text(&made.stdout);
    assert_eq!(words.split_whitespace().count(), 12);
    assert_eq!(home.words(), words);
    assert!(text(&made.stderr).contains("Write them down"));
    assert!(!text(&made.stderr).contains(words.trim()));
    let mode = |name: &str| std::fs::metadata(home.data().join(name)).unwrap().mode() & 0o777;
    assert_eq!(mode("spark.words"), 0o600);

    for args in [["spark", "create"], ["spark", "restore"]] {
        let again = home.ran(&nowhere, &args, ABOUT).await;
        assert_eq!(again.status.code(), Some(1));
        assert!(
            text(&again.stderr).contains("--force"),
            "{}",
            text(&again.stderr)
        );
        assert_eq!(home.words(), words);
    }

    let restored = home
        .ran(
            &nowhere,
            &["spark", "restore", "--force"],
            &format!(" {}\n", ABOUT.to_uppercase()),
        )
        .await;
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    assert!(restored.stdout.is_empty());
    assert_eq!(home.words().trim(), ABOUT);
    let aside = std::fs::read_to_string(home.data().join("spark.words.1")).unwrap();
    assert_eq!(aside, words);
    assert_eq!(mode("spark.words.1"), 0o600);
}

#[tokio::test]
async fn words_that_do_not_fit_are_refused() {
    let home = Home::new();
    let nowhere = home.0.path().join("nothing");
    for (input, why) in [
        (ABOUT.replace("about", "zoo"), "don't fit together"),
        ("abandon about".to_owned(), "12, 15, 18, 21 or 24"),
        (String::new(), "nothing was given"),
    ] {
        let refused = home.ran(&nowhere, &["spark", "restore"], &input).await;
        assert_eq!(refused.status.code(), Some(1));
        let said = text(&refused.stderr);
        assert!(said.contains(why), "{said}");
        assert!(!said.contains("zoo") && !said.contains("abandon"), "{said}");
        assert!(!home.data().join("spark.words").exists());
    }
    let argument = home
        .ran(&nowhere, &["spark", "restore", "abandon"], "")
        .await;
    assert_eq!(argument.status.code(), Some(2));
}

/// A program of this name that does this.
fn program(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn install_says_in_one_line_what_is_missing() {
    let home = Home::new();
    let path = tempfile::tempdir().unwrap();
    let install = async || {
        let out = home.ran(path.path(), &["spark", "install"], "").await;
        assert_eq!(out.status.code(), Some(1));
        let said = text(&out.stderr);
        said.lines().last().unwrap().to_owned()
    };
    assert!(
        install()
            .await
            .contains("Spark needs Node 18 or newer, and there is no `node`")
    );
    program(path.path(), "node", "echo v16.20.2");
    assert!(install().await.contains("this is v16.20.2"));
    program(path.path(), "node", "echo v20.20.2");
    assert!(install().await.contains("there is no `npm` on the path"));
    program(
        path.path(),
        "npm",
        "echo \"npm error code E404\" >&2; exit 1",
    );
    assert_eq!(
        install().await,
        "vend: npm could not install the helper: npm error code E404"
    );
    // npm is content, and the helper says nothing.
    program(path.path(), "npm", "exit 0");
    assert!(install().await.contains("the Spark helper ended"));
    let address = home.ran(path.path(), &["spark", "address"], "").await;
    assert_eq!(
        text(&address.stderr),
        "vend: the Spark helper is not installed: run `vend spark install`\n"
    );
}

#[tokio::test]
async fn the_doctor_names_each_thing_that_spark_needs_and_asks_nobody_meanwhile() {
    let home = Home::new();
    let path = tempfile::tempdir().unwrap();
    std::fs::write(
        home.0.path().join("config.toml"),
        "[nostr]\nrelays = [\"ws://127.0.0.1:1\"]\n[[endpoint]]\nname = \"tiny\"\nkind = \"builtin\"\n",
    )
    .unwrap();
    let rows = async || {
        let out = home.ran(path.path(), &["doctor", "--json"], "").await;
        let sheet: Value = serde_json::from_slice(&out.stdout).unwrap();
        let checks = sheet["checks"].as_array().unwrap().clone();
        let wallet = checks
            .into_iter()
            .filter(|check| check["check"] == "wallet");
        wallet
            .map(|check| {
                assert_eq!(check["target"], "spark");
                let word = |name: &str| check[name].as_str().unwrap().to_owned();
                (word("status"), word("fix"))
            })
            .collect::<Vec<_>>()
    };
    let fail = |fix: &str| ("fail".to_owned(), fix.to_owned());
    let ok = || ("ok".to_owned(), String::new());
    assert_eq!(
        rows().await,
        [
            fail("install Node 18 or newer, then vend spark install"),
            fail("vend spark install"),
            fail("vend spark create"),
        ]
    );
    program(path.path(), "node", "echo v20.20.2");
    home.ran(path.path(), &["spark", "create"], "").await;
    assert_eq!(rows().await, [ok(), fail("vend spark install"), ok()]);
}
