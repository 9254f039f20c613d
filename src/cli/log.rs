//! The log folder: JSON lines, a file a day, old ones removed. Prompts, answers and secrets never reach it: what is
//! written are the engine's events as telemetry, and the program's own diagnostics.

use std::path::Path;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::EnvFilter;

use super::exit::Exit;
use crate::domain::event::{Event, Level};
use crate::domain::telemetry::telemetry;
use crate::nostr::NOISY_TARGETS;

/// Days that are kept.
const DAYS: usize = 14;

/// The running log.
pub struct Log {
    guard: WorkerGuard,
    follower: std::sync::Mutex<Option<JoinHandle<()>>>,
}

/// Starts logging into a folder.
///
/// # Errors
/// Where the folder can't be written or the filter is none.
pub fn start(folder: &Path, filter: &str) -> Result<Log, Exit> {
    std::fs::create_dir_all(folder).map_err(|error| Exit::failed(&error))?;
    let appender = RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix("vend")
        .filename_suffix("jsonl")
        .max_log_files(DAYS)
        .build(folder)
        .map_err(|error| Exit::failed(&format!("the log folder: {error}")))?;
    let (writer, guard) = tracing_appender::non_blocking(appender);
    let mut wanted = EnvFilter::try_new(filter)
        .map_err(|error| Exit::usage(format!("--log {filter}: {error}")))?;
    for target in NOISY_TARGETS {
        // Below an error nostr-sdk and its sockets write whole messages, prompts among them.
        if let Ok(directive) = format!("{target}=off").parse() {
            wanted = wanted.add_directive(directive);
        }
    }
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_env_filter(wanted)
        .with_writer(writer)
        .finish();
    // A second one in the same process (tests) keeps the first.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(Log {
        guard,
        follower: std::sync::Mutex::new(None),
    })
}

impl Log {
    /// Writes every event of the engine as telemetry from now on.
    pub fn follow(&self, events: broadcast::Receiver<Event>) {
        let task = tokio::spawn(write(events));
        if let Ok(mut follower) = self.follower.lock() {
            *follower = Some(task);
        }
    }

    /// Writes what is left and closes. The engine has ended, so the follower ends by itself.
    pub async fn close(self) {
        let task = self.follower.lock().ok().and_then(|mut held| held.take());
        if let Some(task) = task {
            // A follower that died has nothing left to write.
            let _ = tokio::time::timeout(std::time::Duration::from_secs(2), task).await;
        }
        drop(self.guard);
    }
}

async fn write(mut events: broadcast::Receiver<Event>) {
    loop {
        let event = match events.recv().await {
            Ok(event) => event,
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "telemetry lines were skipped");
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        let line = telemetry(&event);
        let text = match serde_json::to_string(&line) {
            Ok(text) => text,
            Err(error) => {
                tracing::error!(%error, "a telemetry line that can't be written");
                continue;
            }
        };
        match line.level {
            Level::Debug => tracing::debug!(target: "telemetry", telemetry = %text),
            Level::Info => tracing::info!(target: "telemetry", telemetry = %text),
            Level::Warn => tracing::warn!(target: "telemetry", telemetry = %text),
            Level::Error => tracing::error!(target: "telemetry", telemetry = %text),
        }
    }
}
