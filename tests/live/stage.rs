//! Real servers, a real `vend run` and a buyer on another library, all on loopback and all ended with their test.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The longest wait for anything: generous, as other work may share the machine. Nothing is judged by its speed.
pub const PATIENCE: Duration = Duration::from_secs(300);
/// Between two tries of what can only be asked for.
const AGAIN: Duration = Duration::from_millis(50);

/// This folder.
pub fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live")
}

/// The model that the servers serve: vend's own.
pub fn gguf() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/inference/builtin/vend-tiny.gguf")
}

/// Where setup.sh has put the programs.
pub fn tools() -> PathBuf {
    std::env::var_os("VEND_LIVE_TOOLS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/live-tools"),
        PathBuf::from,
    )
}

/// Are these tools there? If not, says on stderr which one is missing and what installs it: the test is then skipped.
pub fn ready(test: &str, names: &[&str]) -> bool {
    let missing = names.iter().find(|name| {
        let proof = match **name {
            "relay" => "bin/nostr-rs-relay",
            "ollama" => "bin/ollama",
            "lnbits" => "lnbits/bin/python",
            "llama" => "llama/bin/python",
            "node" => "node/node_modules/@getalby/sdk/package.json",
            "spark" => "spark/node_modules/@buildonspark/spark-sdk/package.json",
            "lnd" => "bin/lnd",
            "khatru" => "bin/khatru",
            "litellm" => "litellm.stamp",
            "llm" => "llm/bin/llm",
            "nostrdvm" => "nostrdvm.stamp",
            "openai" => "openai/node_modules/openai/index.mjs",
            other => panic!("no tool is called {other}"),
        };
        !tools().join(proof).exists()
    });
    let Some(missing) = missing else { return true };
    // Past the test harness, which shows nothing that a passing test prints.
    let line = format!("skipped {test}: {missing} is missing: run tests/live/setup.sh {missing}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    false
}

/// A port that nothing listens on now, never the same one twice in this process.
pub fn free_port() -> u16 {
    static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    loop {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        if GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}

/// A child in a process group of its own, so that what it starts ends with it.
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    pub fn start(name: &str, command: &mut Command) -> Self {
        let child = command.process_group(0).spawn();
        let child = child.unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self {
            child,
            name: name.to_owned(),
        }
    }

    /// Its input, where that was piped.
    pub fn input(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// kill -9, to it and to what it started; returns when it is gone.
    pub fn kill(&mut self) {
        let group = rustix::process::Pid::from_child(&self.child);
        // An error means that the group has ended already.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }

    fn wait(&mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "{} does not end", self.name);
            std::thread::sleep(AGAIN);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One of run.sh's servers.
pub struct Server {
    process: Process,
    name: &'static str,
    port: u16,
    more: Vec<String>,
    dir: TempDir,
}

impl Server {
    /// Starts it with an empty folder on a port of its own. `more` goes to run.sh after the folder.
    pub fn start(name: &'static str, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let more: Vec<String> = more.iter().map(|word| (*word).to_owned()).collect();
        let process = Self::launch(name, port, dir.path(), &more);
        Self {
            process,
            name,
            port,
            more,
            dir,
        }
    }

    fn launch(name: &str, port: u16, dir: &Path, more: &[String]) -> Process {
        let log = File::options()
            .create(true)
            .append(true)
            .open(dir.join("stage.log"))
            .unwrap();
        Process::start(
            name,
            Command::new(here().join("run.sh"))
                .arg(name)
                .arg(port.to_string())
                .arg(dir)
                .args(more)
                .env("VEND_LIVE_TOOLS", tools())
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log),
        )
    }

    /// Returns when it serves.
    pub fn up(mut self) -> Self {
        self.wait();
        self
    }

    fn wait(&mut self) {
        let end = Instant::now() + PATIENCE;
        while !self.serves() {
            let ended = self.process.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < end,
                "{} is not up: {}",
                self.name,
                tail(&self.dir.path().join("stage.log"))
            );
            std::thread::sleep(AGAIN);
        }
    }

    /// Does it take connections? llama.cpp's does before its model is loaded, so that one is asked.
    fn serves(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        if self.name != "llama" {
            return true;
        }
        let mut answer = String::new();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // A server that hangs up is not ready.
        let _ = stream
            .write_all(b"GET /health HTTP/1.0\r\n\r\n")
            .and_then(|()| stream.read_to_string(&mut answer));
        answer.split(' ').nth(1) == Some("200")
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// The same server again: same port, same folder.
    pub fn restart(&mut self) {
        self.process = Self::launch(self.name, self.port, self.dir.path(), &self.more);
        self.wait();
    }

    /// The same with other words after the folder.
    pub fn restart_with(&mut self, more: &[&str]) {
        self.more = more.iter().map(|word| (*word).to_owned()).collect();
        self.restart();
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What it is and how it was started.
    pub fn label(&self) -> String {
        format!("{} {}", self.name, self.more.join(" "))
    }

    /// Where it keeps everything.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn http(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn ws(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// Gives vend's own model to this Ollama.
    pub fn teach(&self) {
        script(
            "ollama_model.py",
            &["--url", &self.http(), "--gguf", gguf().to_str().unwrap()],
        );
    }
}

fn tail(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let from = bytes.len().saturating_sub(2_000);
    String::from_utf8_lossy(&bytes[from..]).into_owned()
}

/// Runs one of the Python helpers of this folder and reads its one JSON line.
pub fn script(name: &str, arguments: &[&str]) -> Value {
    try_script(name, arguments).unwrap()
}

/// The same where the helper may refuse: its line on stderr.
pub fn try_script(name: &str, arguments: &[&str]) -> Result<Value, String> {
    let output = Command::new("python3")
        .arg(here().join(name))
        .args(arguments)
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout).unwrap());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name}: {words}"))
}

/// A real `LNbits` with a seller's wallet and a funded buyer's.
pub struct Lnbits {
    server: Server,
    books: Value,
}

impl Lnbits {
    pub fn open(server: Server) -> Self {
        let server = server.up();
        let books = script("lnbits.py", &["setup", "--url", &server.http()]);
        Self { server, books }
    }

    /// How often it was asked about this payment with a key, or without one.
    pub fn polls(&self, payment_hash: &str) -> usize {
        let log = fs::read_to_string(self.server.dir().join("stage.log")).unwrap();
        let asked = format!("\"GET /api/v1/payments/{payment_hash} HTTP");
        log.matches(&asked).count()
    }

    /// Waits until it was asked so many times more.
    pub fn looked_at(&self, payment_hash: &str, more: usize) {
        let (end, wanted) = (Instant::now() + PATIENCE, self.polls(payment_hash) + more);
        while self.polls(payment_hash) < wanted {
            assert!(Instant::now() < end, "nobody asks about {payment_hash}");
            std::thread::sleep(AGAIN);
        }
    }

    pub fn as_str(&self, key: &str) -> &str {
        self.books[key].as_str().unwrap()
    }

    /// The second wallet pays; returns what it says that it paid.
    pub fn pay(&self, bolt11: &str) -> u64 {
        let (url, key) = (self.as_str("url"), self.as_str("buyer_adminkey"));
        let paid = script("lnbits.py", &["pay", "--url", url, "--key", key, bolt11]);
        assert_eq!(paid["status"], "success", "{paid}");
        paid["amount_msat"].as_u64().unwrap()
    }
}

/// What `vend COMMAND` came to.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.out, self.err))
    }
}

/// A shop's folder: its settings and its data directory.
pub struct Place {
    dir: TempDir,
}

impl Place {
    /// `settings` is what is special; the rest makes answers that can be compared, and keeps quiet.
    pub fn new(relay: &str, mode: &str, settings: &str) -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        place.settle(relay, mode, settings);
        place
    }

    /// Writes the settings again, for the next start.
    pub fn settle(&self, relay: &str, mode: &str, settings: &str) {
        let text = format!(
            "[nostr]\nrelays = [\"{relay}\"]\nannounce = false\n\n\
             [text]\nmodel = \"vend-tiny\"\nmax_tokens = 64\ntemperature = 0.0\nfrequency_penalty = 0.0\n\n\
             [payment]\nmode = \"{mode}\"\n\n{settings}"
        );
        fs::write(self.dir.path().join("config.toml"), text).unwrap();
    }

    /// Announces itself from the next start on.
    pub fn announce(&self) {
        let path = self.dir.path().join("config.toml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(
            path,
            text.replacen("announce = false", "announce = true", 1),
        )
        .unwrap();
    }

    /// Puts a secret beside the settings, for its owner alone.
    pub fn secret(&self, name: &str, text: &str) {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.dir.path().join(name);
        let mut options = File::options();
        let file = options.write(true).create_new(true).mode(0o600).open(path);
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// `vend` on this folder.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vend"));
        command
            .arg("--config")
            .arg(self.dir.path().join("config.toml"))
            .arg("--data-dir")
            .arg(self.data())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command of vend to its end.
    pub fn vend(&self, arguments: &[&str]) -> Said {
        let output = self.command().args(arguments).output().unwrap();
        Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The job as `vend jobs --json` lists it.
    pub fn job(&self, id: &str) -> Value {
        let jobs = self.vend(&["jobs", "--json"]).json();
        let found = jobs.as_array().unwrap().iter().find(|job| job["id"] == id);
        found
            .unwrap_or_else(|| panic!("no job {id} in {jobs}"))
            .clone()
    }

    /// The seller's public key.
    pub fn npub(&self) -> String {
        let status = self.vend(&["status", "--json"]).json();
        status["npub"].as_str().unwrap().to_owned()
    }

    /// The row that `vend doctor --json` has for this check and that is no "ok", else its last one.
    pub fn doctor(&self, check: &str) -> Value {
        let sheet = self.vend(&["doctor", "--json"]).json();
        let rows = sheet["checks"].as_array().unwrap().iter();
        let mut rows = rows.filter(|row| row["check"] == check);
        let bad = rows.clone().find(|row| row["status"] != "ok");
        bad.or_else(|| rows.next_back()).unwrap().clone()
    }

    /// Starts `vend run`; returns when it sells.
    pub fn open(&self) -> Shop {
        let shop = self.start();
        shop.state("online");
        shop
    }

    /// Starts `vend run`.
    pub fn start(&self) -> Shop {
        let errors = self.dir.path().join("stderr.log");
        let mut process = Process::start(
            "vend run",
            self.command()
                .args(["run", "--events"])
                .stdout(Stdio::piped())
                .stderr(File::create(&errors).unwrap()),
        );
        let events = lines(&mut process);
        Shop {
            process,
            events,
            errors,
        }
    }
}

/// The lines of its output, which must be JSON.
pub fn lines(process: &mut Process) -> Receiver<Value> {
    let (tell, told) = channel();
    let out = BufReader::new(process.child.stdout.take().unwrap());
    // Ends with the process's output; a receiver that is gone needs no more lines.
    std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            if tell.send(serde_json::from_str(&line).unwrap()).is_err() {
                return;
            }
        }
    });
    told
}

/// Reads lines until one is the one; those before it are gone.
pub fn until(lines: &Receiver<Value>, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + PATIENCE;
    let mut last = Value::Null;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) if fits(&line) => return line,
            Ok(line) => last = line,
            Err(RecvTimeoutError::Timeout) => panic!("waited for {what}; the last line: {last}"),
            Err(RecvTimeoutError::Disconnected) => {
                panic!("it ended before {what}; the last line: {last}")
            }
        }
    }
}

/// A running `vend run`.
pub struct Shop {
    process: Process,
    events: Receiver<Value>,
    errors: PathBuf,
}

impl Shop {
    /// Waits for an event.
    pub fn event(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        until(
            &self.events,
            &format!("{what} ({})", tail(&self.errors)),
            fits,
        )
    }

    /// Waits until the shop says that it is in this state.
    pub fn state(&self, word: &str) -> Value {
        self.event(word, |event| {
            event["event"] == "state" && event["state"] == word
        })
    }

    /// Waits until the wallet has confirmed this job's payment.
    pub fn paid(&self, id: &str) -> Value {
        self.event("the payment", |event| {
            event["event"] == "paid" && event["id"] == id
        })
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// `vend stop`, and the exit code of `vend run`.
    pub fn stop(mut self, place: &Place) {
        let said = place.vend(&["stop"]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert_eq!(self.process.wait(), Some(0), "{}", tail(&self.errors));
    }
}

/// One request of the buyer on nostr-tools.
pub struct Buyer {
    _process: Process,
    lines: Receiver<Value>,
}

impl Buyer {
    pub fn ask(relay: &str, seller: &str, prompt: &str, encryption: &str) -> Self {
        let mut process = Process::start(
            "the buyer",
            Command::new("node")
                .arg(here().join("buyer.mjs"))
                .args(["--relay", relay, "--seller", seller, "--prompt", prompt])
                .args(["--encryption", encryption, "--timeout", "80"])
                .env("VEND_LIVE_TOOLS", tools())
                .stdin(Stdio::null())
                .stdout(Stdio::piped()),
        );
        let lines = lines(&mut process);
        Self {
            _process: process,
            lines,
        }
    }

    /// The feedback with this status. An answer that nostr-tools finds forged, or an error, ends the test.
    pub fn feedback(&self, status: &str) -> Value {
        self.next(&format!("feedback {status}"), |line| {
            line["type"] == "feedback" && line["status"] == status
        })
    }

    /// The result, with every check of the buyer's held.
    pub fn result(&self) -> Value {
        let result = self.next("the result", |line| line["type"] == "result");
        let checks = result["checks"].as_object().unwrap();
        assert!(
            !checks.is_empty() && checks.values().all(|held| held == true),
            "{result}"
        );
        result
    }

    /// Everything that it heard until the end: its last line is the result, an error, or the last before the relay left it.
    pub fn to_the_end(&self) -> Vec<Value> {
        let mut heard = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    assert_ne!(line["type"], "rejected", "{line}");
                    let ends = line["type"] == "result" || line["status"] == "error";
                    heard.push(line);
                    if ends {
                        return heard;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return heard,
                Err(RecvTimeoutError::Timeout) => panic!("the buyer hangs: {heard:?}"),
            }
        }
    }

    fn next(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        until(&self.lines, what, |line| {
            assert_ne!(line["type"], "rejected", "{line}");
            assert_ne!(line["status"], "error", "{line}");
            fits(line)
        })
    }
}

/// The id of the request that this answer names.
pub fn request_of(answer: &Value) -> String {
    let tags = answer["tags"].as_array().unwrap();
    let tag = tags.iter().find(|tag| tag[0] == "e").unwrap();
    tag[1].as_str().unwrap().to_owned()
}
