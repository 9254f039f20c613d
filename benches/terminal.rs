//! What it costs to leave the dashboard open: bytes to the terminal and wakeups a second, beside other programs that people
//! leave open, one after the other on the same 200x60 terminal; and how soon the first frame is there.
//!
//! `cargo bench --bench terminal`; htop, btm (bottom) and trip (trippy) are measured where they are installed.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use std::io::Read;
use std::num::NonZero;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

const ROWS: u16 = 60;
const COLUMNS: u16 = 200;
/// What a program needs until it is at rest.
const SETTLE: Duration = Duration::from_secs(5);
/// How long it is watched.
const WATCH: Duration = Duration::from_secs(10);
/// First frames, of which the median is shown.
const STARTS: usize = 11;

/// What came out of a program so far.
#[derive(Default)]
struct Output {
    screen: Mutex<(usize, Option<vt100::Parser>)>,
    more: Condvar,
}

struct Session {
    child: Box<dyn Child + Send + Sync>,
    output: Arc<Output>,
    /// Held, as its end would be the terminal's.
    _master: Box<dyn MasterPty + Send>,
}

fn parser() -> vt100::Parser {
    let rows = NonZero::new(ROWS).expect("rows");
    let columns = NonZero::new(COLUMNS).expect("columns");
    vt100::Parser::new(rows, columns, 0)
}

impl Session {
    fn start(command: CommandBuilder) -> Option<Self> {
        let size = PtySize {
            rows: ROWS,
            cols: COLUMNS,
            pixel_width: 0,
            pixel_height: 0,
        };
        let pair = native_pty_system().openpty(size).expect("a terminal");
        let mut reader = pair.master.try_clone_reader().expect("its output");
        let child = pair.slave.spawn_command(command).ok()?;
        drop(pair.slave);
        let output = Arc::new(Output::default());
        let heard = Arc::clone(&output);
        std::thread::spawn(move || {
            let mut buffer = [0; 8_192];
            while let Ok(count) = reader.read(&mut buffer)
                && count > 0
            {
                let mut screen = heard.screen.lock().expect("the screen");
                screen.0 += count;
                let parser = screen.1.get_or_insert_with(parser);
                parser.process(&buffer[..count]);
                heard.more.notify_all();
            }
        });
        Some(Self {
            child,
            output,
            _master: pair.master,
        })
    }

    fn bytes(&self) -> usize {
        self.output.screen.lock().expect("the screen").0
    }

    /// Waits until these words are on the screen.
    fn shows(&self, words: &str) -> bool {
        let screen = self.output.screen.lock().expect("the screen");
        let missing = |screen: &mut (usize, Option<vt100::Parser>)| {
            !screen
                .1
                .as_ref()
                .is_some_and(|parser| parser.screen().contents().contains(words))
        };
        let waited = self
            .output
            .more
            .wait_timeout_while(screen, Duration::from_secs(20), missing);
        !waited.expect("the screen").1.timed_out()
    }

    /// How often its threads were put to sleep or aside, in all: what wakes a battery or another tenant.
    fn switches(&self) -> u64 {
        let pid = self.child.process_id().expect("a process");
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("Linux");
        tasks
            .flatten()
            .filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok())
            .flat_map(|text| {
                let counts = text.lines().filter(|line| line.contains("ctxt_switches"));
                counts
                    .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
                    .collect::<Vec<_>>()
            })
            .sum()
    }

    fn end(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }
}

/// A vend whose relays, model and wallet are all at dead addresses.
fn vend(folder: &Path, args: &[&str]) -> CommandBuilder {
    use std::os::unix::fs::PermissionsExt;
    let config = folder.join("config.toml");
    let text = "[nostr]\nrelays = [\"ws://127.0.0.1:9\", \"ws://127.0.0.1:11\"]\n\
                [wallet]\nbackend = \"lnbits\"\nurl = \"http://127.0.0.1:9\"\ninvoice_key = \"0123456789abcdef\"\n\
                [[endpoint]]\nname = \"local\"\nkind = \"ollama\"\nurl = \"http://127.0.0.1:9\"\n";
    std::fs::write(&config, text).expect("settings");
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).expect("private");
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_vend"));
    command.args(["--data-dir"]);
    command.arg(folder.join("data"));
    command.args(["--config"]);
    command.arg(config);
    command.args(args);
    command.env("TERM", "xterm-256color");
    command
}

fn other(name: &str, args: &[&str]) -> CommandBuilder {
    let mut command = CommandBuilder::new(name);
    command.args(args);
    command.env("TERM", "xterm-256color");
    command
}

fn rest(name: &str, command: CommandBuilder) {
    let Some(session) = Session::start(command) else {
        println!("{name:<28} not installed here");
        return;
    };
    std::thread::sleep(SETTLE);
    let (bytes, switches) = (session.bytes(), session.switches());
    std::thread::sleep(WATCH);
    let bytes = session.bytes() - bytes;
    let switches = session.switches().saturating_sub(switches);
    println!(
        "{name:<28} {:>9.1} bytes/s {:>9.1} wakeups/s",
        bytes as f64 / WATCH.as_secs_f64(),
        switches as f64 / WATCH.as_secs_f64()
    );
    session.end();
}

fn main() {
    let mut starts = Vec::new();
    let mut first = 0;
    for _ in 0..STARTS {
        let folder = tempfile::tempdir().expect("a folder");
        // The first start makes keys and a ledger; what a seller waits for every day is the second.
        for measured in [false, true] {
            let began = Instant::now();
            let session = Session::start(vend(folder.path(), &[])).expect("vend");
            assert!(session.shows("Sell Compute"), "a first frame");
            if measured {
                starts.push(began.elapsed());
                first = session.bytes();
            }
            session.end();
        }
    }
    starts.sort();
    println!(
        "first frame, dead addresses   {:>7.1} ms (median of {STARTS}), {first} bytes",
        starts[STARTS / 2].as_secs_f64() * 1e3
    );
    let folder = tempfile::tempdir().expect("a folder");
    rest("vend, offline", vend(folder.path(), &[]));
    let folder = tempfile::tempdir().expect("a folder");
    rest(
        "vend, trying to go online",
        vend(folder.path(), &["--online"]),
    );
    let folder = tempfile::tempdir().expect("a folder");
    rest("vend demo, selling", vend(folder.path(), &["demo"]));
    rest("htop", other("htop", &[]));
    rest("btm", other("btm", &[]));
    rest("trip 127.0.0.1", other("trip", &["127.0.0.1"]));
}
