//! Node, which the helper runs on.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::domain::text::clean;

/// The oldest Node that the SDK takes, its major version.
pub const OLDEST: u32 = 18;

/// How long `node --version` may take.
const NODE_TIME: Duration = Duration::from_secs(10);

/// Why there is no Node to run on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// There is none.
    #[error(
        "Spark needs Node {OLDEST} or newer, and there is no `node` on the path: install it from nodejs.org or with your system's packages"
    )]
    Missing,
    /// It is too old.
    #[error(
        "Spark needs Node {OLDEST} or newer, and this is {0}: install a newer one from nodejs.org or with your system's packages"
    )]
    TooOld(String),
    /// It is broken.
    #[error("`node --version` failed: {0}")]
    Failed(String),
}

/// `v20.20.2` is 20.
pub(super) fn major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// Node's version, where it is new enough.
pub(super) async fn version() -> Result<String, NodeError> {
    let mut command = Command::new("node");
    command
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(NODE_TIME, command.output()).await;
    let output = match output {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(NodeError::Missing);
        }
        Ok(Err(error)) => return Err(NodeError::Failed(error.to_string())),
        Err(_) => return Err(NodeError::Failed("it does not answer".to_owned())),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let version = clean(&text, 40);
    match major(&version) {
        Some(major) if major >= OLDEST => Ok(version),
        Some(_) => Err(NodeError::TooOld(version)),
        None => Err(NodeError::Failed("it names no version".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_node_are_read() {
        for (text, want) in [
            ("v20.20.2", Some(20)),
            ("v18.0.0-pre", Some(18)),
            ("20.1", None),
            ("", None),
        ] {
            assert_eq!(major(text), want, "{text}");
        }
    }
}
