//! Records what the pictures are drawn from. Not part of a test run:
//!
//! `cargo test --test pictures -- --ignored` starts a real `vend demo` and a real first `vend`, each on a terminal and with a
//! data directory of its own, listens at their control sockets, and writes `demo.jsonl` and `first.jsonl` with the settings
//! beside them. It takes about two minutes; look at the pictures afterwards.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use portable_pty::CommandBuilder;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use vend::control::ControlMessage;
use vend::domain::command::Reply;
use vend::domain::event::{Event, EventKind};
use vend::domain::id::RequestId;
use vend::domain::job::Status;

use super::folder;
use super::terminal::Terminal;

/// The answer that tells of a job whose invoice is open.
pub const OPEN: u64 = 2;
/// The answer that tells of a job that was paid.
pub const PAID: u64 = 3;
/// Jobs that are sold before the open invoice is looked for.
const FIRST_SOLD: usize = 8;
/// Jobs that are sold in all.
const SOLD: usize = 14;
/// So far is the job at the end.
const TOKENS: u32 = 40;
const VEND: &str = env!("CARGO_BIN_EXE_vend");

/// The two ends of a control socket.
struct Socket {
    lines: Lines<BufReader<OwnedReadHalf>>,
    calls: OwnedWriteHalf,
}

impl Socket {
    async fn watch(path: &Path) -> Self {
        let (read, calls) = UnixStream::connect(path).await.unwrap().into_split();
        let lines = BufReader::new(read).lines();
        let mut socket = Self { lines, calls };
        socket.call(r#"{"id":1,"command":"watch"}"#).await;
        socket
    }

    async fn call(&mut self, call: &str) {
        self.calls.write_all(call.as_bytes()).await.unwrap();
        self.calls.write_all(b"\n").await.unwrap();
    }

    async fn ask_of(&mut self, number: u64, job: RequestId) {
        let call = format!(r#"{{"id":{number},"command":"job","job":"{job}"}}"#);
        self.call(&call).await;
    }

    /// A line as it came, and what it says.
    async fn hear(&mut self) -> (String, ControlMessage) {
        let line = self.lines.next_line().await.unwrap().expect("a line");
        let word = serde_json::from_str(&line).unwrap();
        (line, word)
    }
}

fn vend(data: &Path, args: &[&str]) -> CommandBuilder {
    let mut command = CommandBuilder::new(VEND);
    command.arg("--data-dir");
    command.arg(data);
    command.arg("--config");
    command.arg(data.join("config.toml"));
    command.args(args);
    command.env("TERM", "xterm-256color");
    command
}

/// Requests that the shop will not take, for the figures that say so.
fn ask_in_vain(data: &Path, relay: &str) -> Vec<Child> {
    let wishes = [
        ["--bid", "1"],
        ["--bid", "2"],
        ["--bid", "3"],
        ["--model", "llama3:70b"],
        ["--model", "qwen3:8b"],
    ];
    let ask = |args: &[&str; 2]| {
        let mut command = Command::new(VEND);
        command.arg("--data-dir").arg(data.join("buyer"));
        command.args(["request", "What is a lighthouse for?"]);
        command.args(["--relay", relay, "--timeout", "3"]);
        command.args(args).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    wishes.iter().map(ask).collect()
}

#[tokio::test]
#[ignore = "takes two minutes and changes the pictures"]
async fn record_a_demo() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("demo");
    let terminal = Terminal::sized(vend(home.path(), &["demo"]), 120, 40).unwrap();
    terminal.shows("ONLINE");
    let mut socket = Socket::watch(&data.join("vend.sock")).await;
    let (mut lines, mut paid, mut asked) = (Vec::new(), Vec::new(), 0);
    let mut in_vain = Vec::new();
    loop {
        let (line, word) = socket.hear().await;
        let event = match &word {
            ControlMessage::Event { event } => Some(event.kind.clone()),
            ControlMessage::Reply { reply, .. } => {
                assert!(!matches!(reply, Reply::Refused { .. }), "{line}");
                None
            }
        };
        lines.push((line, word));
        match event {
            Some(EventKind::Relay { relay }) if asked == 0 => {
                asked = 1;
                in_vain = ask_in_vain(home.path(), &relay.url);
            }
            Some(EventKind::Job { job, .. }) if job.status == Status::Paid => {
                if !paid.contains(&job.id) {
                    paid.push(job.id);
                }
                if asked == OPEN {
                    asked = PAID;
                    socket.ask_of(PAID, job.id).await;
                }
            }
            Some(EventKind::Job { job, .. })
                if job.status == Status::PendingPayment
                    && paid.len() >= FIRST_SOLD
                    && asked < OPEN =>
            {
                asked = OPEN;
                socket.ask_of(OPEN, job.id).await;
            }
            Some(EventKind::Progress { tokens, .. }) if tokens >= TOKENS && paid.len() >= SOLD => {
                break;
            }
            _ => {}
        }
    }
    for mut buyer in in_vain {
        // They end without an answer, as they should.
        assert!(!buyer.wait().unwrap().success());
    }
    keep("demo", &lines, &data.join("config.toml"));
    drop(terminal);
}

#[tokio::test]
#[ignore = "changes the pictures"]
async fn record_a_first_start() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).unwrap();
    let config = data.join("config.toml");
    vend::config::edit::init(&config).unwrap();
    let terminal = Terminal::sized(vend(&data, &[]), 120, 40).unwrap();
    terminal.shows("OFFLINE");
    let mut socket = Socket::watch(&data.join("vend.sock")).await;
    let mut lines = Vec::new();
    loop {
        let (line, word) = socket.hear().await;
        // The figures are the last of what a viewer is told at first, where there are no jobs.
        let told = is_totals(&word);
        lines.push((line, word));
        if told {
            break;
        }
    }
    keep("first", &lines, &config);
    drop(terminal);
}

/// Is it a figure that replaces the one told before?
const fn is_totals(word: &ControlMessage) -> bool {
    matches!(
        word,
        ControlMessage::Event {
            event: Event {
                kind: EventKind::Totals { .. },
                ..
            },
        }
    )
}

/// Writes the lines as they came, without figures that were told again before anybody looked at them.
fn keep(name: &str, lines: &[(String, ControlMessage)], settings: &Path) {
    let mut kept = Vec::new();
    let mut told_again = false;
    for (line, word) in lines.iter().rev() {
        match word {
            ControlMessage::Reply { .. } => told_again = false,
            word if is_totals(word) && std::mem::replace(&mut told_again, true) => continue,
            ControlMessage::Event { .. } => {}
        }
        kept.push(line.as_str());
    }
    kept.reverse();
    let text = kept.join("\n") + "\n";
    std::fs::write(folder().join(format!("{name}.jsonl")), text).unwrap();
    std::fs::copy(settings, folder().join(format!("{name}.toml"))).unwrap();
}
