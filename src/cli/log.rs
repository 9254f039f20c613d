//! The log folder: JSON lines, a file a day, old ones removed. Prompts, answers and secrets never reach it: what is
//! written are the engine's events as telemetry, and the program's own diagnostics.

use std::collections::BTreeMap;
use std::path::Path;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tracing::field::{Field, Visit};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use super::exit::Exit;
use crate::domain::event::{Event, Level};
use crate::domain::telemetry::{Telemetry, telemetry};
use crate::domain::text::clean;
use crate::domain::time::Time;
use crate::nostr::NOISY_TARGETS;
use daily::Daily;

mod daily;

/// Days that are kept.
const DAYS: usize = 14;

/// Where the engine's events are written from; their lines are whole already.
const TELEMETRY: &str = "telemetry";
/// The longest value of a diagnostic, characters.
const VALUE: usize = 400;

/// One shape for every line, of the engine's events and of the program's diagnostics: the one of [`Telemetry`].
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> std::fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let meta = event.metadata();
        let line = match fields.line {
            Some(line) if meta.target() == TELEMETRY => line,
            _ => {
                let category = clean(meta.target(), VALUE);
                line_of(level(*meta.level()), category, fields.message, fields.rest)
                    .map_err(|_| std::fmt::Error)?
            }
        };
        // One write a line: a file is changed between lines only.
        writer.write_str(&format!("{line}\n"))
    }
}

fn line_of(
    level: Level,
    category: String,
    label: String,
    context: BTreeMap<String, String>,
) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Telemetry {
        at: Time::now(),
        level,
        category,
        action: "diagnostic".to_owned(),
        label,
        value: None,
        context,
    })
}

/// A diagnostic's line of the log, without fields of its own.
fn diagnostic(level: Level, category: &str, words: &str) -> String {
    // Texts alone are always written.
    line_of(
        level,
        category.to_owned(),
        words.to_owned(),
        BTreeMap::new(),
    )
    .unwrap_or_default()
}

const fn level(level: tracing::Level) -> Level {
    match level {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        _ => Level::Debug,
    }
}

/// The fields of a diagnostic. Some hold words of strangers, so all are cleaned.
#[derive(Default)]
struct Fields {
    line: Option<String>,
    message: String,
    rest: BTreeMap<String, String>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            TELEMETRY => self.line = Some(value.to_owned()),
            "message" => self.message = clean(value, VALUE),
            name => {
                self.rest.insert(name.to_owned(), clean(value, VALUE));
            }
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// The running log.
pub struct Log {
    guard: WorkerGuard,
    follower: std::sync::Mutex<Option<JoinHandle<()>>>,
}

/// Starts logging into a folder.
///
/// # Errors
/// Where the folder can't be written or the filter is none.
pub fn start(folder: &Path, filter: &str, max_mb: u64) -> Result<Log, Exit> {
    let files = Daily::open(folder, max_mb.saturating_mul(1_000_000), DAYS, Time::now)
        .map_err(|error| Exit::failed(&format!("the log folder: {error}")))?;
    let (writer, guard) = tracing_appender::non_blocking(files);
    let mut wanted = EnvFilter::try_new(filter)
        .map_err(|error| Exit::usage(format!("--log {filter}: {error}")))?;
    for target in NOISY_TARGETS {
        // Below an error nostr-sdk and its sockets write whole messages, prompts among them.
        if let Ok(directive) = format!("{target}=off").parse() {
            wanted = wanted.add_directive(directive);
        }
    }
    let subscriber = tracing_subscriber::fmt()
        .event_format(Lines)
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
            Level::Debug => tracing::debug!(target: TELEMETRY, telemetry = text.as_str()),
            Level::Info => tracing::info!(target: TELEMETRY, telemetry = text.as_str()),
            Level::Warn => tracing::warn!(target: TELEMETRY, telemetry = text.as_str()),
            Level::Error => tracing::error!(target: TELEMETRY, telemetry = text.as_str()),
        }
    }
}
