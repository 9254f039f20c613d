//! A person's evening with the shop, over a line that may be lost.

use crate::support::terminal;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::fake_ollama::{FakeOllama, Fault};
use crate::support::fake_relay::FakeRelay;
use crate::support::fake_wallet::FakeWallet;
use crate::support::shop::{Home, answers, bolt11};
use crate::support::terminal::Terminal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nostr::{Event, Keys, Kind};
use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use vend::domain::job::Encryption;

const LONGEST: Duration = Duration::from_secs(60);
const VEND: &str = env!("CARGO_BIN_EXE_vend");

struct World {
    home: Home,
    relay: FakeRelay,
    wallet: FakeWallet,
    model: FakeOllama,
}

async fn world() -> World {
    let home = Home::new();
    let relay = FakeRelay::start(None).await;
    let wallet = FakeWallet::start(&home.folder.path().join("wallet.jsonl"));
    let model = FakeOllama::start().await;
    let text = format!(
        "[nostr]\nrelays = [\"{}\"]\nkinds = [5050]\nannounce = false\n\
         [text]\nmodel = \"gemma2:latest\"\n[price]\nmin_price_sats = 10 # cheap\n\
         [payment]\nmode = \"after\"\n\
         [wallet]\nbackend = \"lnbits\"\nnetwork = \"regtest\"\nurl = \"{}\"\ninvoice_key = \"{}\"\n\
         [[endpoint]]\nname = \"local\"\nkind = \"ollama\"\nurl = \"{}\"\n\
         [limits]\nper_buyer_per_minute = 100000\nper_minute = 100000\nqueue = 1000\n",
        relay.url(),
        wallet.url(),
        wallet.invoice_key(),
        model.url()
    );
    std::fs::write(home.config(), text).unwrap();
    World {
        home,
        relay,
        wallet,
        model,
    }
}

impl World {
    fn vend(&self) -> CommandBuilder {
        let mut command = CommandBuilder::new(VEND);
        command.arg("--data-dir");
        command.arg(self.home.data());
        command.arg("--config");
        command.arg(self.home.config());
        command.env("TERM", "xterm-256color");
        command
    }

    fn say(&self, args: &[&str]) -> String {
        let out = Command::new(VEND)
            .arg("--data-dir")
            .arg(self.home.data())
            .arg("--config")
            .arg(self.home.config())
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        format!(
            "{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        )
    }

    fn ask(&self, buyer: &Keys) -> Event {
        let request = self
            .home
            .request(buyer, Encryption::Plain, "What is the capital of France?");
        self.relay.inject(&request);
        request
    }

    async fn result(&self, request: &Event) -> Event {
        let id = request.id.to_hex();
        let is = |event: &Event| {
            event.kind == Kind::from_u16(6050) && answers(event).as_deref() == Some(&id)
        };
        self.relay.wait_for(is, LONGEST).await.expect("a result")
    }

    /// Until the shop's process is gone.
    async fn closed(&self) {
        while !self.say(&["status"]).contains("no vend is running") {
            tokio::task::yield_now().await;
        }
    }
}

/// Presses `key` until the screen shows `text`.
fn walk(terminal: &mut Terminal, key: &str, text: &str) {
    for _ in 0..200 {
        if terminal.contents().contains(text) {
            return;
        }
        // The chosen row may be told by its look alone.
        let before = terminal
            .seen
            .0
            .lock()
            .unwrap()
            .screen
            .screen()
            .contents_formatted();
        terminal.press(key);
        terminal.until("a move", |seen| {
            seen.screen.screen().contents_formatted() != before
        });
    }
    panic!("{text} is not on the way:\n{}", terminal.contents());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_first_evening() {
    let world = world().await;
    let mut terminal = Terminal::start(world.vend());
    terminal.shows("OFFLINE");
    terminal.press("o");
    terminal.shows("ONLINE");

    terminal.press("2");
    terminal.shows("start_online");
    walk(&mut terminal, "j", "price.min_price_sats ─");
    terminal.press("\r");
    terminal.press("\u{15}33\r");
    terminal.shows("1 not saved");
    terminal.press("w");
    terminal.shows("in force: price.min_price_sats");
    let kept = std::fs::read_to_string(world.home.config()).unwrap();
    assert!(kept.contains("min_price_sats = 33 # cheap"), "{kept}");

    let request = world.ask(&Keys::generate());
    let result = world.result(&request).await;
    let amount = result.tags.iter().find(|tag| tag.as_slice()[0] == "amount");
    assert_eq!(amount.unwrap().as_slice()[1], "33000");
    let invoice = bolt11(&result).unwrap();

    terminal.press("3");
    let short: String = request.id.to_hex().chars().take(8).collect();
    terminal.shows(&short);
    terminal.press("/status:paid\r");
    terminal.until("no paid job", |seen| {
        !seen.screen.screen().contents().contains(&short)
    });
    terminal.press("\u{1b}");
    terminal.shows(&short);
    terminal.press("\r");
    terminal.shows("pending_payment");
    terminal.written();
    terminal.press("yv");
    let copied = format!("\u{1b}]52;c;{}", STANDARD.encode(&invoice));
    terminal.until("the invoice in the clipboard", |seen| {
        String::from_utf8_lossy(&seen.bytes).contains(&copied)
    });
    terminal.press("\u{1b}");
    world.wallet.pay(&invoice).unwrap();
    terminal.until("the payment", |seen| {
        !seen.screen.screen().contents().contains("pending")
    });
    terminal.press("1");
    terminal.shows("33 sats");

    terminal.press("4 ");
    terminal.shows("frozen");
    let size = PtySize {
        rows: 50,
        cols: 160,
        ..PtySize::default()
    };
    terminal.master.resize(size).unwrap();
    terminal
        .seen
        .0
        .lock()
        .unwrap()
        .screen
        .screen_mut()
        .set_size(terminal::lines(50), terminal::lines(160));
    terminal.press("1");
    terminal.shows("Sell Compute");
    terminal.press("q");
    assert_eq!(terminal.ends().0, 0);
    assert_eq!(world.home.jobs().await[0]["status"], "paid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn leaving_with_a_job_running_asks_and_does_what_is_answered() {
    for answer in ["f", "k", "s"] {
        let mut world = world().await;
        world.model.set(if answer == "s" {
            Fault::StallsMidStream
        } else {
            Fault::SlowLoad(Duration::from_secs(2))
        });
        let mut command = world.vend();
        command.arg("--online");
        let mut terminal = Terminal::start(command);
        terminal.shows("ONLINE");
        let request = world.ask(&Keys::generate());
        terminal.press("3");
        terminal.shows("processing");
        terminal.press("q");
        terminal.shows("Jobs are running");
        terminal.press(answer);
        match answer {
            "f" => {
                assert_eq!(terminal.ends().0, 0);
                world.result(&request).await;
                assert_eq!(world.home.jobs().await[0]["status"], "pending_payment");
            }
            "k" => {
                world.result(&request).await;
                assert!(world.say(&["status"]).contains("online"));
                world.say(&["stop"]);
                assert_eq!(terminal.ends().0, 0);
            }
            _ => {
                assert_eq!(terminal.ends().0, 0);
                let status = world.home.jobs().await[0]["status"].clone();
                assert!(status == "queued" || status == "processing", "{status}");
            }
        }
        world.closed().await;
        world.model.stop().await;
    }
}

/// Not a test by itself: run again as a process that holds a terminal, as an SSH server does, until it is killed.
#[test]
fn a_process_that_holds_a_terminal() {
    let Ok(folder) = std::env::var("VEND_TEST_HOLDS_A_TERMINAL") else {
        return;
    };
    let pair = native_pty_system().openpty(PtySize::default()).unwrap();
    let mut command = CommandBuilder::new(VEND);
    let folder = Path::new(&folder);
    command.arg("--data-dir");
    command.arg(folder.join("data"));
    command.arg("--config");
    command.arg(folder.join("config.toml"));
    command.arg("--online");
    command.env("TERM", "xterm-256color");
    let mut child = pair.slave.spawn_command(command).unwrap();
    drop(pair.slave);
    let mut output = pair.master.try_clone_reader().unwrap();
    std::io::copy(&mut output, &mut std::io::sink()).unwrap();
    child.wait().unwrap();
}

fn cpu_ticks(pid: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn open_files(pid: &str) -> usize {
    // The shop closes them to everybody but root: then there is nothing to count.
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lost_line_leaves_the_shop_selling_and_the_next_screen_shows_it() {
    let world = world().await;
    let mut line = Command::new(std::env::current_exe().unwrap())
        .args([
            "session::a_process_that_holds_a_terminal",
            "--exact",
            "--nocapture",
        ])
        .env("VEND_TEST_HOLDS_A_TERMINAL", world.home.folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert!(world.relay.wait_subscribed("vend-jobs", 1, LONGEST).await);
    let status: serde_json::Value =
        serde_json::from_str(&world.say(&["status", "--json"])).unwrap();
    let pid = status["pid"].to_string();
    line.kill().unwrap();
    line.wait().unwrap();

    let first = world.ask(&Keys::generate());
    world.result(&first).await;
    let before = cpu_ticks(&pid);
    // The one thing here that is about a span of time: what it does while nothing happens.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let spent = cpu_ticks(&pid) - before;
    assert!(spent < 10, "{spent} of 400 ticks without a terminal");

    let short: String = first.id.to_hex().chars().take(8).collect();
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut terminal = Terminal::start(world.vend());
        terminal.shows("ONLINE");
        terminal.press("3");
        terminal.shows(&short);
        terminal.press("q");
        assert_eq!(terminal.ends().0, 0);
        // Its end of the socket is closed once the shop has noticed: any later answer comes after that.
        while open_files(&pid) > *open.first().unwrap_or(&usize::MAX) {
            world.say(&["status"]);
        }
        open.push(open_files(&pid));
    }
    let second = world.ask(&Keys::generate());
    world.result(&second).await;
    assert!(open.iter().all(|count| *count <= open[0]), "{open:?}");
    world.say(&["stop"]);
    world.closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_screens_show_one_shop_and_a_viewer_that_never_reads_slows_nobody() {
    let world = world().await;
    let mut first = Terminal::start(world.vend());
    first.shows("OFFLINE");
    let mut second = Terminal::start(world.vend());
    second.shows("OFFLINE");
    second.press("o");
    first.shows("ONLINE");
    second.shows("ONLINE");

    let socket = world.home.data().join("vend.sock");
    let mut deaf = tokio::net::UnixStream::connect(&socket).await.unwrap();
    deaf.write_all(b"{\"id\":1,\"command\":\"watch\"}\n")
        .await
        .unwrap();
    let buyer = Keys::generate();
    let mut last = None;
    for _ in 0..150 {
        last = Some(world.home.request(
            &buyer,
            Encryption::Plain,
            &format!("{:?}", last.as_ref().map(|event: &Event| event.id)),
        ));
        world.relay.inject(last.as_ref().unwrap());
    }
    let last = last.unwrap();
    let request = world.ask(&Keys::generate());
    world.result(&request).await;
    let short: String = request.id.to_hex().chars().take(8).collect();
    for screen in [&mut first, &mut second] {
        screen.press("3");
        screen.press(&format!("/{short}\r"));
        screen.shows(&short);
    }
    // Read at last, it ends with the whole state and not with a gap.
    let mut lines = BufReader::new(deaf).lines();
    let id = last.id.to_hex();
    let reading = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains(&id) {
                return;
            }
        }
        panic!("cut off without the state");
    };
    tokio::time::timeout(LONGEST, reading).await.unwrap();
    second.press("q");
    assert_eq!(second.ends().0, 0);
    first.press("q");
    first.until("the question or the end", |seen| {
        seen.ended || seen.screen.screen().contents().contains("Jobs are running")
    });
    first.press("s");
    assert_eq!(first.ends().0, 0);
}
