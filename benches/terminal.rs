//! What it costs to leave the dashboard open: bytes to the terminal and wakeups a second, beside other programs that people
//! leave open, one after the other on the same 200x60 terminal; how soon the first frame is there; and how soon a key is
//! answered while a flood of events comes in.
//!
//! `cargo bench --bench terminal`; htop, btop, btm (bottom) and trip (trippy) are measured where they are installed.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

#[path = "support/crowd.rs"]
mod crowd;
#[path = "../tests/support/terminal.rs"]
mod terminal;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use portable_pty::CommandBuilder;
use terminal::Terminal;

const ROWS: u16 = 60;
const COLUMNS: u16 = 200;
/// What a program needs until it is at rest.
const SETTLE: Duration = Duration::from_secs(5);
/// How long it is watched.
const WATCH: Duration = Duration::from_secs(10);
/// First frames, of which the median is shown.
const STARTS: usize = 11;
/// Milliseconds to the first frame, at most.
const MOST_FIRST: f64 = 30.0;
/// Milliseconds from a key to the screen that it calls for, at most.
const MOST_KEY: f64 = 50.0;
/// Keys pressed under load.
const PRESSES: usize = 300;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(70);
/// The keys of the tabs, and what each shows.
const TABS: [(&str, &str); 4] = [
    ("3", " by time, "),
    ("4", "Feed, following"),
    ("2", "start_online"),
    ("1", "What it needs"),
];

/// A program on a terminal of the size that all are compared in; none where it is not installed.
fn open(command: CommandBuilder) -> Option<Terminal> {
    Terminal::sized(command, COLUMNS, ROWS)
}

/// Bytes to the terminal since the last time.
fn bytes(terminal: &Terminal) -> usize {
    terminal.written().len()
}

/// How often each of a program's threads was put to sleep or aside: what wakes a battery or another tenant.
fn switches(terminal: &Terminal) -> BTreeMap<OsString, u64> {
    let pid = terminal.child.process_id().expect("a process");
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("Linux");
    tasks
        .flatten()
        .filter_map(|task| {
            let text = std::fs::read_to_string(task.path().join("status")).ok()?;
            let counts = text.lines().filter(|line| line.contains("ctxt_switches"));
            let sum = counts
                .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
                .sum();
            Some((task.file_name(), sum))
        })
        .collect()
}

/// The switches since `before`: of threads that began meanwhile, all; of those that ended, none that are known.
fn since(before: &BTreeMap<OsString, u64>, now: &BTreeMap<OsString, u64>) -> u64 {
    now.iter()
        .map(|(thread, count)| count - before.get(thread).copied().unwrap_or(0))
        .sum()
}

fn end(mut terminal: Terminal) {
    terminal.child.kill().expect("killed");
    terminal.child.wait().expect("ended");
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
    let Some(session) = open(command) else {
        println!("{name:<28} not installed here");
        return;
    };
    std::thread::sleep(SETTLE);
    bytes(&session);
    let before = switches(&session);
    std::thread::sleep(WATCH);
    let (bytes, switches) = (bytes(&session), since(&before, &switches(&session)));
    println!(
        "{name:<28} {:>9.1} bytes/s {:>9.1} wakeups/s",
        bytes as f64 / WATCH.as_secs_f64(),
        switches as f64 / WATCH.as_secs_f64()
    );
    end(session);
}

fn word(held: bool) -> &'static str {
    if held { "" } else { "MISSED" }
}

/// A key's way to the screen while the shop tells ten thousand things a second.
fn keys_under_load() {
    let crowd = crowd::Crowd::start();
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_vend"));
    command.arg("--data-dir");
    command.arg(crowd.data());
    command.arg("--config");
    command.arg(crowd.config());
    command.env("TERM", "xterm-256color");
    let mut session = open(command).expect("vend");
    for (key, shown) in TABS {
        session.press(key);
        session.shows(shown);
    }
    crowd.begin();
    std::thread::sleep(SETTLE);
    bytes(&session);
    let (told, began) = (crowd.told(), Instant::now());
    let mut times: Vec<f64> = (0..PRESSES)
        .map(|turn| {
            let (key, shown) = TABS[turn % TABS.len()];
            std::thread::sleep(PAUSE);
            let began = Instant::now();
            session.press(key);
            session.shows(shown);
            began.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    let seconds = began.elapsed().as_secs_f64();
    let rate = (crowd.told() - told) as f64 / seconds;
    let bytes = bytes(&session) as f64 / seconds;
    times.sort_by(f64::total_cmp);
    let (half, most) = (times[PRESSES / 2], times[PRESSES * 99 / 100]);
    println!(
        "a key, {rate:.0} events/s            p50 {half:.1} ms, p99 {most:.1} ms, {bytes:.0} bytes/s (at most {MOST_KEY} ms) {}",
        word(most <= MOST_KEY)
    );
    end(session);
    crowd.end();
}

fn main() {
    let mut starts = Vec::new();
    let mut first = 0;
    for _ in 0..STARTS {
        let folder = tempfile::tempdir().expect("a folder");
        // The first start makes keys and a ledger; what a seller waits for every day is the second.
        for measured in [false, true] {
            let began = Instant::now();
            let session = open(vend(folder.path(), &[])).expect("vend");
            session.shows("Sell Compute");
            if measured {
                starts.push(began.elapsed());
                first = bytes(&session);
            }
            end(session);
        }
    }
    starts.sort();
    let half = starts[STARTS / 2].as_secs_f64() * 1e3;
    println!(
        "first frame, dead addresses   {half:.1} ms (median of {STARTS}; at most {MOST_FIRST}), {first} bytes {}",
        word(half <= MOST_FIRST)
    );
    keys_under_load();
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
    rest("btop", other("btop", &[]));
    rest("btm", other("btm", &[]));
    rest("trip 127.0.0.1", other("trip", &["127.0.0.1"]));
}
