//! The helper's place: `spark` in the data directory, what is put there, and whether it can run.

use std::path::{Path, PathBuf};

use nostr::hashes::{Hash, sha256};

use super::launch::{Launch, Timing};
use super::node::{self, NodeError};
use super::pipe::HelperPipe;
use super::supervise::{Spec, read_local};
use super::wire::{Account, Ask, Opening};
use super::words::{self, WordsError};
use crate::config::atomic;
use crate::config::schema::Network;

/// The official SDK, in the one version that the helper is written for and tested with.
pub const SDK_VERSION: &str = "0.8.8";

/// The helper's file.
pub const HELPER: &str = "helper.mjs";

/// The helper's folder in the data directory.
pub const FOLDER: &str = "spark";

/// The words' file in the data directory: not in the helper's folder, which may be thrown away.
pub const WORDS: &str = "spark.words";

/// A Spark of one's own on this machine, in the helper's folder; looked for on regtest alone.
pub const LOCAL: &str = "local.json";

const FILES: [(&str, &str); 3] = [
    (HELPER, include_str!("helper/helper.mjs")),
    ("package.json", include_str!("helper/package.json")),
    (LOCK, include_str!("helper/package-lock.json")),
];

const LOCK: &str = "package-lock.json";

/// Written last, so that a folder that has it is whole. `npm ci` takes it away first.
const STAMP: &str = "node_modules/.vend";

/// Why the helper can't be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Never installed, or not to its end.
    #[error("the Spark helper is not installed: run `vend spark install`")]
    NotInstalled,
    /// Installed by a vend that came with another SDK.
    #[error("the Spark helper was installed by another version of vend: run `vend spark install`")]
    Outdated,
    /// Node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The words.
    #[error(transparent)]
    Words(#[from] WordsError),
    /// npm is not there.
    #[error("there is no `npm` on the path: it comes with Node, or in a package of its own (npm)")]
    NoNpm,
    /// npm failed.
    #[error("npm could not install the helper: {0}")]
    Npm(String),
    /// The helper does not answer as it should.
    #[error("{0}")]
    Helper(String),
    /// A file or folder.
    #[error("{path} can't be used: {cause}")]
    Io {
        /// Which.
        path: String,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },
}

impl SetupError {
    /// The command that mends it.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match self {
            Self::NotInstalled | Self::Outdated => "vend spark install",
            Self::Node(_) => "install Node 18 or newer, then vend spark install",
            Self::Words(error) => error.fix(),
            Self::NoNpm => "install npm, then vend spark install",
            Self::Npm(_) | Self::Helper(_) => "vend spark install --force",
            Self::Io { .. } => "make the data directory writable",
        }
    }
}

/// One thing that the Spark wallet needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Is it there?
    pub ok: bool,
    /// What was seen.
    pub detail: String,
    /// The command that mends it; empty where nothing is to mend.
    pub fix: &'static str,
}

/// The place of Spark in a data directory.
#[derive(Clone, Debug)]
pub struct Setup {
    data: PathBuf,
}

impl Setup {
    /// In this data directory.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Self {
            data: data.to_owned(),
        }
    }

    /// The helper's folder.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.data.join(FOLDER)
    }

    /// The file of the words.
    #[must_use]
    pub fn words(&self) -> PathBuf {
        self.data.join(WORDS)
    }

    /// What runs the wallet.
    pub(super) fn spec(&self, network: Network, account: u32) -> Spec {
        let mainnet = network == Network::Bitcoin;
        Spec {
            launch: Launch::node(&self.folder()),
            words: self.words(),
            network: if mainnet { "MAINNET" } else { "REGTEST" },
            account,
            // On mainnet nothing is even looked for: there the SDK's own servers are the only ones.
            local: (!mainnet).then(|| self.folder().join(LOCAL)),
            timing: Timing::default(),
        }
    }

    /// Is everything there that needs no process to see? The helper's own file is brought up to this vend's.
    ///
    /// # Errors
    /// What is missing, with its fix.
    pub fn ready(&self) -> Result<(), SetupError> {
        self.installed()?;
        self.unpack()?;
        words::read(&self.words())?;
        Ok(())
    }

    /// Says that the folder is whole.
    pub(super) fn stamp(&self) -> Result<(), SetupError> {
        let stamp = self.folder().join(STAMP);
        atomic::replace(&stamp, mark().as_bytes()).map_err(|cause| SetupError::Io {
            path: stamp.display().to_string(),
            cause,
        })
    }

    pub(super) fn installed(&self) -> Result<(), SetupError> {
        match std::fs::read_to_string(self.folder().join(STAMP)) {
            Ok(stamp) if stamp == mark() => Ok(()),
            Ok(_) => Err(SetupError::Outdated),
            Err(_) => Err(SetupError::NotInstalled),
        }
    }

    /// Puts our files there, where they are not the same already.
    pub(super) fn unpack(&self) -> Result<(), SetupError> {
        let folder = self.folder();
        let io = |path: &Path| {
            let path = path.display().to_string();
            move |cause| SetupError::Io { path, cause }
        };
        atomic::create_private_dir(&folder).map_err(io(&folder))?;
        for (name, text) in FILES {
            let path = folder.join(name);
            if std::fs::read(&path).is_ok_and(|found| found == text.as_bytes()) {
                continue;
            }
            atomic::replace(&path, text.as_bytes()).map_err(io(&path))?;
        }
        Ok(())
    }

    /// Everything that the wallet needs, one after the other.
    pub async fn look(&self) -> Vec<Finding> {
        let mut findings = vec![found(
            node::version().await.map_err(SetupError::from),
            |version| format!("Node {version}"),
        )];
        let helper = self.installed();
        findings.push(found(helper, |()| {
            format!("the helper is installed (SDK {SDK_VERSION})")
        }));
        let words = words::read(&self.words()).map_err(SetupError::from);
        findings.push(found(words, |_| {
            "the words are there, and private".to_owned()
        }));
        findings
    }

    /// Who the wallet of the words is. Asks no server.
    ///
    /// # Errors
    /// What is missing, with its fix.
    pub async fn address(&self, network: Network, account: u32) -> Result<Account, SetupError> {
        node::version().await?;
        self.ready()?;
        let spec = self.spec(network, account);
        let words = words::read(&spec.words)?;
        let asked = async {
            let local = read_local(&spec)?;
            let mut line = HelperPipe::start(&spec.launch)?;
            line.greet(spec.timing.hello).await?;
            let ask = Ask::Address(Opening {
                mnemonic: &words,
                network: spec.network,
                account,
                local: local.as_ref(),
            });
            let account = line.answer::<Account>(&ask, spec.timing.call).await?;
            line.close(spec.timing.close).await;
            Ok::<_, String>(account)
        };
        asked.await.map_err(SetupError::Helper)
    }
}

fn found<T>(seen: Result<T, SetupError>, detail: impl FnOnce(T) -> String) -> Finding {
    match seen {
        Ok(seen) => Finding {
            ok: true,
            detail: detail(seen),
            fix: "",
        },
        Err(error) => Finding {
            ok: false,
            detail: error.to_string(),
            fix: error.fix(),
        },
    }
}

/// What the stamp holds: the SDK's version and the lock file's hash.
fn mark() -> String {
    let lock = FILES
        .iter()
        .find(|(name, _)| *name == LOCK)
        .map_or("", |(_, text)| text);
    format!("{SDK_VERSION} {}\n", sha256::Hash::hash(lock.as_bytes()))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_lock_pins_the_sdk_and_names_no_registry() {
        let package: Value = serde_json::from_str(FILES[1].1).unwrap();
        assert_eq!(
            package["dependencies"]["@buildonspark/spark-sdk"],
            SDK_VERSION
        );
        let lock: Value = serde_json::from_str(FILES[2].1).unwrap();
        let packages = lock["packages"].as_object().unwrap();
        let sdk = &packages["node_modules/@buildonspark/spark-sdk"];
        assert_eq!(sdk["version"], SDK_VERSION);
        for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
            assert!(package["integrity"].is_string(), "{name} has no checksum");
            assert!(package.get("resolved").is_none(), "{name} names a registry");
        }
    }

    #[test]
    fn the_helper_speaks_our_protocol() {
        let line = format!("const PROTOCOL = {};", super::super::wire::PROTOCOL);
        assert!(FILES[0].1.contains(&line));
        let line = format!("const OLDEST_NODE = {};", node::OLDEST);
        assert!(FILES[0].1.contains(&line));
    }

    #[test]
    fn a_folder_is_installed_only_with_this_vends_mark() {
        let dir = tempfile::tempdir().unwrap();
        let setup = Setup::new(dir.path());
        assert!(matches!(setup.ready(), Err(SetupError::NotInstalled)));
        let stamp = setup.folder().join(STAMP);
        atomic::replace(&stamp, b"0.8.7 ab\n").unwrap();
        assert!(matches!(setup.ready(), Err(SetupError::Outdated)));
        atomic::replace(&stamp, mark().as_bytes()).unwrap();
        assert!(matches!(setup.ready(), Err(SetupError::Words(_))));
        // The helper's own file follows this vend, whatever was there.
        let helper = setup.folder().join(HELPER);
        atomic::replace(&helper, b"old").unwrap();
        words::keep(&setup.words(), &words::generate().unwrap(), false).unwrap();
        setup.ready().unwrap();
        assert_eq!(std::fs::read(&helper).unwrap(), FILES[0].1.as_bytes());
    }

    #[test]
    fn mainnet_looks_for_no_other_spark() {
        let setup = Setup::new(Path::new("/data"));
        let spec = setup.spec(Network::Bitcoin, 1);
        assert_eq!((spec.network, spec.local), ("MAINNET", None));
        let spec = setup.spec(Network::Regtest, 1);
        assert_eq!(spec.network, "REGTEST");
        assert_eq!(spec.local, Some(PathBuf::from("/data/spark/local.json")));
    }
}
