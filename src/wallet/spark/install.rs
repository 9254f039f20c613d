//! Putting the helper's packages in place, with npm.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::process::Command;

use super::launch::{Launch, Timing};
use super::node;
use super::pipe::HelperPipe;
use super::setup::{SDK_VERSION, Setup, SetupError};
use crate::domain::text::clean;

/// Parts of the SDK for telephones: 126 MB that nothing here reads.
const TELEPHONES: [&str; 2] = ["ios", "android"];

/// Lines of npm's that are repeated when it fails.
const NPM_LINES: usize = 4;

/// Between two words about npm's work.
const TICK: Duration = Duration::from_secs(5);

/// What an installed helper says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Installed {
    /// Where it is.
    pub folder: PathBuf,
    /// The SDK's version.
    pub sdk: String,
    /// Node's version.
    pub node: String,
    /// Was anything done?
    pub changed: bool,
}

impl Setup {
    /// Unpacks the helper, lets npm install what it needs (pinned by our lock file, no scripts run), and says hello to it.
    /// `tick` is called with the seconds that npm has taken, first with 0. Where it is installed already nothing is done,
    /// unless `force`.
    ///
    /// # Errors
    /// Node or npm missing, npm's failure, or a helper that does not work; each with its fix.
    pub async fn install(
        &self,
        force: bool,
        mut tick: impl FnMut(u64),
    ) -> Result<Installed, SetupError> {
        node::version().await?;
        let changed = force || self.installed().is_err();
        self.unpack()?;
        if changed {
            self.npm(&mut tick).await?;
        }
        let hello = async {
            let mut line = HelperPipe::start(&Launch::node(&self.folder()))?;
            let timing = Timing::default();
            let hello = line.greet(timing.hello).await?;
            line.close(timing.close).await;
            Ok::<_, String>(hello)
        };
        let hello = hello.await.map_err(SetupError::Helper)?;
        let sdk = hello.sdk.unwrap_or_default();
        if sdk != SDK_VERSION {
            let found = clean(&sdk, 20);
            let text = format!("npm installed the SDK {found} instead of {SDK_VERSION}");
            return Err(SetupError::Npm(text));
        }
        self.stamp()?;
        Ok(Installed {
            folder: self.folder(),
            sdk,
            node: clean(&hello.node, 20),
            changed,
        })
    }

    async fn npm(&self, tick: &mut impl FnMut(u64)) -> Result<(), SetupError> {
        let mut command = Command::new("npm");
        // npm keeps our environment: which registry is asked, and through which proxy, is the user's own choice. What comes
        // is held to the checksums of the lock file, and no script of it is run.
        command
            .args([
                "ci",
                "--omit=dev",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
            ])
            .current_dir(self.folder())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => SetupError::NoNpm,
            _ => SetupError::Npm(error.to_string()),
        })?;
        tick(0);
        let began = Instant::now();
        let mut done = std::pin::pin!(child.wait_with_output());
        let output = loop {
            match tokio::time::timeout(TICK, &mut done).await {
                Ok(output) => break output,
                Err(_) => tick(began.elapsed().as_secs()),
            }
        };
        let output = output.map_err(|error| SetupError::Npm(error.to_string()))?;
        if !output.status.success() {
            return Err(SetupError::Npm(last_lines(&output.stderr, &output.stdout)));
        }
        let sdk = self.folder().join("node_modules/@buildonspark/spark-sdk");
        for part in TELEPHONES {
            // It is only room on the disk.
            let _ = std::fs::remove_dir_all(sdk.join(part));
        }
        Ok(())
    }
}

/// npm's own last words, in one clean line.
fn last_lines(errors: &[u8], output: &[u8]) -> String {
    let text = format!(
        "{}\n{}",
        String::from_utf8_lossy(output),
        String::from_utf8_lossy(errors)
    );
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        // Where npm keeps its log says nothing of what failed.
        .filter(|line| !line.is_empty() && !line.contains("complete log"))
        .collect();
    let from = lines.len().saturating_sub(NPM_LINES);
    let text = clean(&lines[from..].join("; "), 400);
    if text.is_empty() {
        "it gave no reason".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn npm_s_last_words_are_one_clean_line() {
        let errors = b"npm warn x\nnpm error code E404\nnpm error \x1b[31m404 Not Found\nnpm error A complete log of this run can be found in: /x\n";
        assert_eq!(
            last_lines(errors, b""),
            "npm warn x; npm error code E404; npm error [31m404 Not Found"
        );
        assert_eq!(last_lines(b"", b""), "it gave no reason");
    }
}
