//! The screen: four tabs over the store, and commands to the engine.
//!
//! It never sees the engine: events come in and commands go out, so a screen in the same process and one across the
//! socket are the same code. It draws only on a change and at most thirty times a second; between changes it sleeps.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tokio::sync::{mpsc, oneshot};

use crate::config::schema::KeyNames;
use crate::domain::command::{Command, Reply};
use crate::domain::event::Event;
use crate::domain::screen::ThemeName;

pub mod app;
pub mod case_list;
mod clock;
mod crash;
pub mod input;
mod jobs_list;
pub mod keymap;
pub mod line;
pub mod painter;
mod run;
#[cfg(test)]
mod sample;
pub mod settings_form;
pub mod svg;
pub mod terminal;
pub mod terminal_writer;
pub mod theme;
pub mod view;

pub use run::run;

/// The way to the engine and back.
pub struct EngineLink {
    /// Where commands go.
    pub commands: mpsc::Sender<(Command, oneshot::Sender<Reply>)>,
    /// Where events come from, beginning with the whole state.
    pub events: mpsc::Receiver<Event>,
    /// How often a signal told this process to end; the first one ends the screen.
    pub told_to_end: tokio::sync::watch::Receiver<u32>,
}

/// How the screen is shown.
#[derive(Clone, Debug)]
// Each is a switch of its own that is set by its name.
#[allow(clippy::struct_excessive_bools)]
pub struct Options {
    /// Only ASCII characters.
    pub ascii: bool,
    /// With colours (off for `NO_COLOR`).
    pub color: bool,
    /// Which colours.
    pub theme: ThemeName,
    /// The terminal says that its ground is light.
    pub health: bool,
    /// The settings file that the form edits.
    pub config_path: PathBuf,
    /// A line across every tab.
    pub banner: Option<String>,
    /// Clicks and the wheel work.
    pub mouse: bool,
    /// The settings' own keys, which [`keymap::check`] has found good; else the defaults hold.
    pub keys: BTreeMap<String, KeyNames>,
    /// Where a report goes if the dashboard crashes.
    pub logs: PathBuf,
    /// The engine is in another process: leaving the screen leaves the shop as it is.
    pub attached: bool,
}

/// How the screen was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// The operator wants the shop to stop.
    Quit {
        /// Without waiting for running jobs.
        now: bool,
    },
    /// The operator leaves, the shop goes on.
    Detach,
    /// A signal told this process to end.
    Told,
    /// The engine has ended; there is nothing left to show.
    EngineEnded,
    /// The terminal went away; the shop goes on. Standard input is an empty pipe now, and standard
    /// output and error are `/dev/null`.
    TerminalGone,
}

/// Why there is no screen.
#[derive(Debug, thiserror::Error)]
pub enum UiError {
    /// The terminal can't be used.
    #[error("the terminal can't be used: {0}; run `vend run` for a shop without a screen")]
    Terminal(#[source] std::io::Error),
    /// Signals can't be listened to.
    #[error("signals can't be listened to: {0}")]
    Signal(#[source] std::io::Error),
}
