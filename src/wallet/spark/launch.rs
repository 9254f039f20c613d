//! How the helper is started, and how long things may take.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

/// Variables that the helper gets: where programs and temporary files are. All others stay away: Node and the SDK can be
/// led to other servers, and out of checking certificates, by some (`NODE_OPTIONS`, `NODE_TLS_REJECT_UNAUTHORIZED`,
/// `SPARK_…`), and secrets may be in others.
const VARIABLES: [&str; 3] = ["PATH", "HOME", "TMPDIR"];

/// The command that is the helper. vend itself knows one, `node helper.mjs` in its folder; only a caller of this library
/// can name another, no setting and no variable can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The program.
    pub program: OsString,
    /// Its arguments. Never a secret: others can read them.
    pub args: Vec<OsString>,
    /// Where it runs.
    pub folder: PathBuf,
}

impl Launch {
    /// Node with vend's helper in this folder.
    #[must_use]
    pub fn node(folder: &Path) -> Self {
        Self {
            program: "node".into(),
            args: vec![folder.join(super::setup::HELPER).into()],
            folder: folder.to_owned(),
        }
    }

    /// A command with nothing of our environment but what it needs, in a process group of its own: Ctrl-C at the terminal is
    /// for vend, which then ends the helper.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .current_dir(&self.folder)
            .env_clear()
            .envs(
                VARIABLES
                    .iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // The SDK's warnings hold keys and whole requests.
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    /// Starts it. The error is a sentence with its fix.
    pub(super) fn spawn(&self) -> Result<Child, String> {
        self.command().spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound if !self.folder.exists() => {
                "the Spark helper is not installed: run `vend spark install`".to_owned()
            }
            std::io::ErrorKind::NotFound => super::node::NodeError::Missing.to_string(),
            _ => format!("the Spark helper does not start: {error}"),
        })
    }
}

/// How long things may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Until the helper says hello; Node reads 26 MB of SDK first.
    pub hello: Duration,
    /// Until the wallet is open.
    pub open: Duration,
    /// A look, or the balance.
    pub call: Duration,
    /// A new invoice.
    pub create: Duration,
    /// Health while the helper starts.
    pub health: Duration,
    /// Waits before the helper is started again, one after the other; the last one repeats.
    pub back_off: Vec<Duration>,
    /// A helper that was up this long starts again after the first wait.
    pub steady: Duration,
    /// How long a helper may take to end by itself.
    pub close: Duration,
    /// Between two looks at the balance, so that what has come is noticed with nobody asking.
    pub balance_every: Duration,
    /// Money that has come and is not claimed for this long: the helper is started again, which claims anew.
    pub stuck: Duration,
    /// The shortest time between two hints.
    pub hint_every: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            hello: secs(20),
            // The helper gives up by itself a little earlier than each of these: so one that is late has hung.
            open: secs(30),
            call: secs(15),
            create: secs(28),
            health: secs(29),
            back_off: [1, 2, 5, 15, 60].map(secs).to_vec(),
            steady: secs(60),
            close: secs(5),
            balance_every: secs(60),
            stuck: secs(600),
            hint_every: secs(1),
        }
    }
}
