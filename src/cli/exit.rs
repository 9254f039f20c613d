//! How a command ends: the code, and the one line on stderr.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::domain::text;

/// Done, or how it failed.
pub type Outcome = Result<(), Exit>;

/// A command that did not do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// 1: it did not work. 2: wrong usage. 3: the settings are invalid. 4: another vend holds the data directory.
    pub code: u8,
    /// What happened and what to do; empty where everything has been printed already.
    pub line: String,
}

impl Exit {
    /// It did not work (1).
    pub fn failed(error: &dyn std::fmt::Display) -> Self {
        Self {
            code: 1,
            line: error.to_string(),
        }
    }

    /// It did not work, and what was printed says why (1).
    pub const fn silent() -> Self {
        Self {
            code: 1,
            line: String::new(),
        }
    }

    /// Standard output could not be written. Where its reader has gone away (`| head`), that is no error of ours: the code is
    /// the one that a shell gives to a program that was ended by it (128 and SIGPIPE).
    pub fn unwritten(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self {
                code: 141,
                line: String::new(),
            };
        }
        Self::failed(&format!("standard output: {error}"))
    }

    /// Wrong usage (2).
    pub fn usage(line: impl Into<String>) -> Self {
        Self {
            code: 2,
            line: line.into(),
        }
    }

    /// The settings are invalid (3).
    pub fn settings(error: &dyn std::fmt::Display) -> Self {
        Self {
            code: 3,
            line: error.to_string(),
        }
    }

    /// Another vend holds the data directory (4).
    pub fn held(error: &dyn std::fmt::Display) -> Self {
        Self {
            code: 4,
            line: error.to_string(),
        }
    }
}

/// The exit code, with the line printed.
pub fn code(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => {
            if !exit.line.is_empty() {
                // With stderr gone there is nobody to tell.
                let _ = writeln!(io::stderr(), "vend: {}", text::plain(&exit.line));
            }
            ExitCode::from(exit.code)
        }
    }
}

/// Writes a line to stdout, without what could steer a terminal. A reader who has left (`| head`) ends the command quietly.
///
/// # Errors
/// Where stdout takes nothing.
pub fn say(line: &str) -> Outcome {
    print(format!("{}\n", text::plain(line)).as_bytes())
}

/// Writes bytes that are whole and clean already.
///
/// # Errors
/// Where stdout takes nothing.
pub fn print(bytes: &[u8]) -> Outcome {
    let mut out = io::stdout();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(|error| Exit::unwritten(&error))
}

/// A word of warning on stderr; the command goes on.
pub fn warn(line: &str) {
    // With stderr gone there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "vend: {line}");
}

/// Writes one JSON document to stdout.
///
/// # Errors
/// Where stdout takes nothing.
pub fn json(value: &impl serde::Serialize) -> Outcome {
    let document = serde_json::to_string_pretty(value).map_err(|error| Exit::failed(&error))?;
    print(format!("{}\n", text::json(&document)).as_bytes())
}

/// How long work on files may go on when a command is over; a read that never ends must not keep the process.
const LEFT_OVER: std::time::Duration = std::time::Duration::from_secs(1);

/// Runs a command that hosts or shows a shop.
///
/// # Errors
/// The command's own.
pub fn block_on(work: impl Future<Output = Outcome>) -> Outcome {
    let runtime = runtime()?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_timeout(LEFT_OVER);
    outcome
}

/// A runtime for one command.
///
/// # Errors
/// Where the system gives no threads.
pub fn runtime() -> Result<tokio::runtime::Runtime, Exit> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Exit::failed(&error))
}
