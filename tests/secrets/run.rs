//! The real binary, and everything that it says while it runs.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::fake_relay::FakeRelay;
use crate::said::Said;
use crate::shop::Home;
use crate::wallets::{Fake, path};

/// A bound for what should take seconds.
pub const LONGEST: Duration = Duration::from_secs(60);

/// Writes the settings.
pub fn configure(
    home: &Home,
    relay: &FakeRelay,
    mode: &str,
    wallet: &dyn Fake,
    model: &str,
    endpoint: &str,
) {
    let text = format!(
        "[nostr]\nrelays = [\"{}\"]\nkinds = [5050]\nannounce = false\n\
         [text]\nmodel = \"{model}\"\nmax_tokens = 16\n[payment]\nmode = \"{mode}\"\n\
         [wallet]\n{}\n[[endpoint]]\n{endpoint}\nslots = 2\n",
        relay.url(),
        wallet.settings()
    );
    std::fs::write(home.config(), text).unwrap();
    std::fs::set_permissions(home.config(), std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn command(home: &Home) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vend"));
    command.arg("--data-dir").arg(home.data());
    command.arg("--config").arg(home.config());
    command.env("PATH", path(home));
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// `vend run --events`, with all that is logged.
pub struct Run {
    pub home: Home,
    child: Child,
    events: Lines<BufReader<ChildStdout>>,
    told: String,
    said: Said,
}

impl Run {
    pub fn start(home: Home) -> Self {
        let mut child = command(&home)
            .args(["--log", "trace", "run", "--events"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let events = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            home,
            child,
            events,
            told: String::new(),
            said: Said::default(),
        }
    }

    /// Hears what the shop tells until something fits.
    pub async fn until(&mut self, what: &str, fits: impl Fn(&Value) -> bool) {
        let heard = async {
            while let Some(line) = self.events.next_line().await.unwrap() {
                self.told += &line;
                self.told.push('\n');
                if fits(&serde_json::from_str(&line).unwrap()) {
                    return;
                }
            }
            panic!("the shop ended before: {what}");
        };
        let heard = tokio::time::timeout(LONGEST, heard).await;
        assert!(heard.is_ok(), "never: {what}: {}", self.told);
    }

    /// Calls every command that tells something, and looks at what the system shows of the process.
    pub async fn ask_everything(&mut self, jobs: &[String]) {
        let backup = self.home.folder.path().join("copy.db");
        let backup = backup.to_str().unwrap();
        let mut all = vec![
            vec!["status", "--json"],
            vec!["status"],
            vec!["doctor", "--json"],
            vec!["doctor"],
            vec!["jobs", "--json"],
            vec!["jobs"],
            vec!["stats", "--json"],
            vec!["stats"],
            vec!["receipts", "--format", "csv"],
            vec!["receipts", "--format", "json"],
            vec!["recover", "--json"],
            vec!["recover"],
            vec!["audit", "--json"],
            vec!["audit"],
            vec!["config", "show"],
            vec!["config", "check"],
            vec!["keys", "show"],
            vec!["spark", "address"],
            vec!["backup", backup],
        ];
        for id in jobs {
            all.push(vec!["jobs", "show", id, "--json"]);
            all.push(vec!["jobs", "show", id]);
        }
        for args in all {
            let out = command(&self.home).args(&args).output().await.unwrap();
            assert_ne!(out.status.code(), Some(2), "{args:?} is no command");
            self.said
                .add(&format!("the output of {args:?}"), &out.stdout);
            self.said
                .add(&format!("the errors of {args:?}"), &out.stderr);
        }
        self.said.add("the backup", &std::fs::read(backup).unwrap());
        let pid = self.child.id().unwrap();
        for file in ["cmdline", "environ"] {
            // Closed to everybody but root, which is better still.
            let Ok(bytes) = std::fs::read(format!("/proc/{pid}/{file}")) else {
                assert_eq!(file, "environ");
                continue;
            };
            assert!(!bytes.is_empty());
            self.said.add(file, &bytes);
        }
    }

    /// Ends it without waiting for the jobs, and gives all that was said and logged, and the ledger as "the ledger".
    pub async fn end(mut self) -> (Home, Said) {
        let stopped = command(&self.home).args(["stop", "--now"]).output();
        assert!(stopped.await.unwrap().status.success());
        while let Ok(Some(line)) = self.events.next_line().await {
            self.told += &line;
            self.told.push('\n');
        }
        let mut errors = Vec::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_end(&mut errors).await.unwrap();
        self.child.wait().await.unwrap();
        let mut said = self.said;
        said.add("the events", self.told.as_bytes());
        said.add("the shop's errors", &errors);
        said.add_files(&self.home.data().join("logs"));
        for file in ["vend.db", "vend.db-wal"] {
            if let Ok(bytes) = std::fs::read(self.home.data().join(file)) {
                said.add("the ledger", &bytes);
            }
        }
        (self.home, said)
    }
}
