//! A fake Spark helper: a real child process to whoever starts it, a scripted partner to the test. The process is a few
//! lines of POSIX shell that join its input and output to two named pipes; the test's own threads sit at their other ends,
//! answer with real signed invoices, and do wrong what they are told to.

#![allow(dead_code, reason = "each test file uses its own part of the fake")]

use std::collections::HashMap;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nostr::secp256k1::SecretKey;
use serde_json::{Value, json};
use tempfile::TempDir;
use vend::config::schema::Network;
use vend::domain::time::Time;
use vend::wallet::spark::launch::{Launch, Timing};
use vend::wallet::spark::{Spark, words};

use super::fake_node::{Accounting, Invoice, Life, NewEntry, hex, now};

/// Ends a test that would otherwise wait for ever; never reached where things work.
pub const LONG: Duration = Duration::from_mins(1);

/// `$1`: the folder. The process is the reader of `PID.out`, so it ends when the test closes that pipe.
const SCRIPT: &str = r#"
env > "$1/$$.env"
mkfifo "$1/$$.in" "$1/$$.out" && echo $$ > "$1/started" || exit 1
exec 3<&0
cat <&3 > "$1/$$.in" &
exec 3<&-
exec cat "$1/$$.out"
"#;

/// What the helper does wrong, until told otherwise. Its hello, its opening and its end are well in all of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// It answers nothing.
    Silent,
    /// Spark's servers can't be reached.
    Unreachable,
    /// Its answers hold something else.
    Strange,
    /// An invoice is made, but the answer never comes.
    HangAfterCreate,
}

/// A wish of the test for one question: what is written instead of the answer.
pub enum Wish {
    /// These bytes as they are, and nothing else.
    Bytes(Vec<u8>),
    /// These bytes, then the end of the process.
    Exit(Vec<u8>),
    /// What the fake would have said, with these bytes before and after it.
    Around(Vec<u8>, Vec<u8>),
}

type Wishes = dyn FnMut(&Value) -> Option<Wish> + Send;

pub struct State {
    pub books: Accounting,
    pub fault: Fault,
    /// What `hello` says.
    pub hello: Value,
    /// What `balance` says, sats.
    pub available: u64,
    pub incoming: u64,
    /// Another word than the state's own, by payment hash.
    pub status: HashMap<[u8; 32], String>,
    /// The process ids of all that were started.
    pub started: Vec<u32>,
    /// Those whose input is at its end.
    pub ended: Vec<u32>,
    /// Every question, in order.
    pub asked: Vec<Value>,
    /// A helper that ends only when it is killed.
    pub clings: bool,
    wishes: Option<Box<Wishes>>,
    outs: HashMap<u32, File>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    node: SecretKey,
    folder: PathBuf,
}

/// The fake.
pub struct FakeSpark {
    shared: Arc<Shared>,
    folder: TempDir,
}

/// One line.
pub fn line(value: &Value) -> Vec<u8> {
    format!("{value}\n").into_bytes()
}

impl FakeSpark {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("helper.sh"), SCRIPT).unwrap();
        let words = words::generate().unwrap();
        words::keep(&folder.path().join("spark.words"), &words, false).unwrap();
        let started = folder.path().join("started");
        let made = std::process::Command::new("mkfifo").arg(&started).status();
        assert!(made.unwrap().success());
        // Read and write, so that it never ends.
        let calls = OpenOptions::new().read(true).write(true).open(&started);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                books: Accounting::default(),
                fault: Fault::None,
                hello: json!({"protocol": 1, "sdk": "0.8.8", "node": "v20.20.2"}),
                available: 1_234,
                incoming: 0,
                status: HashMap::new(),
                started: Vec::new(),
                ended: Vec::new(),
                asked: Vec::new(),
                clings: false,
                wishes: None,
                outs: HashMap::new(),
            }),
            changed: Condvar::new(),
            node: SecretKey::from_slice(&[5; 32]).unwrap(),
            folder: folder.path().to_owned(),
        });
        let (threads, calls) = (shared.clone(), BufReader::new(calls.unwrap()));
        std::thread::spawn(move || {
            for pid in calls.lines() {
                let (shared, pid) = (threads.clone(), pid.unwrap().parse().unwrap());
                shared.with(|state| state.started.push(pid));
                std::thread::spawn(move || shared.attend(pid));
            }
        });
        Self { shared, folder }
    }

    pub fn launch(&self) -> Launch {
        let folder = self.folder.path().to_owned();
        Launch {
            program: "sh".into(),
            args: vec![folder.join("helper.sh").into(), folder.clone().into()],
            folder,
        }
    }

    /// Puts a `node` and an `npm` into a folder: a vend that has it first on its path installs nothing and has this fake as
    /// its helper.
    pub fn programs(&self, bin: &Path) {
        let node = format!(
            "[ \"$1\" = --version ] && echo v20.20.2 && exit 0\nset -- '{}'\n{SCRIPT}",
            self.folder.path().display()
        );
        std::fs::create_dir_all(bin).unwrap();
        for (name, script) in [("node", node.as_str()), ("npm", "exit 0")] {
            let path = bin.join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The wallet with this fake as its helper.
    pub fn wallet(&self, timing: Timing) -> Spark {
        Spark::with_helper(
            self.folder.path(),
            Network::Regtest,
            1,
            self.launch(),
            timing,
        )
    }

    /// Looks at the state, or changes it.
    pub fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        self.shared.with(work)
    }

    /// From now on each question is shown to the test first.
    pub fn wish(&self, wishes: impl FnMut(&Value) -> Option<Wish> + Send + 'static) {
        self.with(|state| state.wishes = Some(Box::new(wishes)));
    }

    /// The running helper says something unasked.
    pub fn say(&self, bytes: &[u8]) {
        let mut out = self.with(|state| {
            let pid = state.started.last().unwrap();
            state.outs[pid].try_clone().unwrap()
        });
        out.write_all(bytes).unwrap();
    }

    /// Waits until it is so.
    pub fn wait_for(&self, what: &str, is_so: impl Fn(&State) -> bool) {
        self.shared.wait_for(what, is_so);
    }

    /// The same, in a test that must not hold its thread up.
    pub async fn until(&self, what: &'static str, is_so: impl Fn(&State) -> bool + Send + 'static) {
        let shared = self.shared.clone();
        let waiting = tokio::task::spawn_blocking(move || shared.wait_for(what, is_so));
        waiting.await.unwrap();
    }

    /// A payer pays, and so much more than is asked for.
    pub fn pay(&self, bolt11: &str, more_msat: u64) {
        self.with(|state| state.books.pay(bolt11, more_msat, now()).unwrap());
    }
}

impl State {
    /// How often this was asked.
    pub fn count(&self, op: &str) -> usize {
        self.asked.iter().filter(|ask| ask["op"] == op).count()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let done = work(&mut self.lock());
        self.changed.notify_all();
        done
    }

    fn wait_for(&self, what: &str, is_so: impl Fn(&State) -> bool) {
        let end = Instant::now() + LONG;
        let mut state = self.lock();
        while !is_so(&state) {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited for {what}");
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Serves one process until its input ends.
    fn attend(&self, pid: u32) {
        let pipe = |end: &str| self.folder.join(format!("{pid}.{end}"));
        // Both opens meet the shell's own. A process that was killed before that leaves this thread waiting, and nobody
        // waits for it.
        let Ok(asks) = File::open(pipe("in")) else {
            return;
        };
        let Ok(out) = OpenOptions::new().write(true).open(pipe("out")) else {
            return;
        };
        self.with(|state| state.outs.insert(pid, out));
        for line in BufReader::new(asks).lines() {
            let Ok(line) = line else { break };
            let ask: Value = serde_json::from_str(&line).unwrap();
            if !self.answer(pid, &ask) {
                break;
            }
        }
        self.with(|state| {
            state.ended.push(pid);
            if !state.clings {
                state.outs.remove(&pid);
            }
        });
    }

    /// False: the process ends.
    fn answer(&self, pid: u32, ask: &Value) -> bool {
        let (bytes, lives, out) = self.with(|state| {
            state.asked.push(ask.clone());
            let mut wishes = state.wishes.take();
            let wish = wishes.as_mut().and_then(|wishes| wishes(ask));
            state.wishes = wishes;
            let usual = |state: &mut State| usual(state, ask, &self.node).map(|value| line(&value));
            let (bytes, lives) = match wish {
                None => (
                    usual(state).unwrap_or_default(),
                    ask["op"] != "close" || state.clings,
                ),
                Some(Wish::Bytes(bytes)) => (bytes, true),
                Some(Wish::Exit(bytes)) => (bytes, false),
                Some(Wish::Around(before, after)) => {
                    let middle = usual(state).unwrap_or_default();
                    ([before, middle, after].concat(), true)
                }
            };
            (
                bytes,
                lives,
                state.outs.get(&pid).map(|out| out.try_clone().unwrap()),
            )
        });
        // A process that was killed reads no more.
        let _ = out.map(|mut out| out.write_all(&bytes));
        lives
    }
}

fn usual(state: &mut State, ask: &Value, node: &SecretKey) -> Option<Value> {
    let ok = |value: Value| Some(json!({"id": ask["id"], "ok": value}));
    match ask["op"].as_str().unwrap() {
        "hello" => return ok(state.hello.clone()),
        "open" | "address" => {
            return ok(
                json!({"identity": format!("02{}", "ab".repeat(32)), "spark_address": "sparkrt1fake"}),
            );
        }
        "close" => return ok(json!({})),
        _ => {}
    }
    match state.fault {
        Fault::None | Fault::HangAfterCreate => {}
        Fault::Silent => return None,
        Fault::Unreachable => {
            let words = state.asked.iter().find_map(|ask| ask["mnemonic"].as_str());
            let message = format!("spark.invalid: no connection [words: {}]", words.unwrap());
            let error = json!({"kind": "unreachable", "message": message});
            return Some(json!({"id": ask["id"], "error": error}));
        }
        Fault::Strange => return ok(json!("<html>a page</html>")),
    }
    match ask["op"].as_str().unwrap() {
        "create" => {
            let made = state.books.make(
                NewEntry {
                    memo: ask["memo"].as_str().unwrap().to_owned(),
                    amount_msat: ask["amount_sats"].as_u64().unwrap() * 1_000,
                    expiry: ask["expiry_s"].as_u64().unwrap(),
                    ..NewEntry::default()
                },
                node,
            );
            if state.fault == Fault::HangAfterCreate {
                return None;
            }
            ok(shown(state, &made))
        }
        "lookup" => {
            let id = ask["request_id"].as_str().unwrap();
            let found = state.books.all().iter().find(|one| request_id(one) == id);
            match found.cloned() {
                Some(one) => ok(shown(state, &one)),
                None => ok(json!({"status": null})),
            }
        }
        "balance" => ok(json!({
            "available": state.available.to_string(),
            "owned": state.available.to_string(),
            "incoming": state.incoming.to_string(),
        })),
        other => panic!("no such op: {other}"),
    }
}

fn request_id(invoice: &Invoice) -> String {
    format!("SparkLightningReceiveRequest:{}", &hex(&invoice.hash)[..16])
}

fn shown(state: &State, invoice: &Invoice) -> Value {
    let paid = match invoice.life {
        Life::Paid { amount_msat, .. } => Some(amount_msat),
        _ => None,
    };
    let usual = if paid.is_some() {
        "TRANSFER_COMPLETED"
    } else {
        "INVOICE_CREATED"
    };
    let status = state
        .status
        .get(&invoice.hash)
        .map_or(usual, String::as_str);
    json!({
        "request_id": request_id(invoice),
        "status": status,
        "bolt11": invoice.bolt11,
        "payment_hash": hex(&invoice.hash),
        "amount_msat": invoice.amount_msat,
        "expires_at": Time::from_secs(invoice.expires_at).to_string(),
        "received_msat": paid,
        "preimage": paid.map(|_| hex(&invoice.preimage.unwrap())),
    })
}
