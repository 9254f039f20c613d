//! The settings as a form: every field of the table of keys, what was changed in it and not saved yet, and what is being
//! typed.
//!
//! Pure: reading and writing the file are [`read`] and [`save`], which the loop calls off its own thread.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::app::Then;
use crate::config::keys::Section;
use crate::domain::command::{Probe, Reply};
use crate::domain::health::Check;

mod draft;
mod edit;
mod fault;
mod field;
mod file;
mod merge;
mod rows;
#[cfg(test)]
mod tests;

pub use draft::{Change, Typed};
pub use edit::{Edit, Target};
pub use field::Field;
pub use file::{Read, SaveError, read, save};
pub use merge::Conflict;
pub use rows::{Cell, Row};

/// The most results of tests that are kept.
const TESTS_MAX: usize = 64;

/// How a test stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestState {
    /// It was asked for and has not ended.
    Running,
    /// It showed this.
    Done(Vec<Check>),
    /// It could not be made.
    Refused(String),
}

/// A secret that is shown for a moment.
#[derive(Clone, Debug)]
pub struct Revealed {
    /// Of which field.
    pub name: String,
    /// It.
    pub secret: SecretString,
    /// Which showing it is.
    pub number: u64,
}

/// The form.
#[derive(Clone, Debug, Default)]
pub struct Form {
    /// Every field, with what was changed in it.
    pub cells: Vec<Cell>,
    /// What the list shows, from the top.
    pub rows: Vec<Row>,
    /// Which row is chosen.
    pub at: usize,
    /// What is being typed.
    pub edit: Option<Edit>,
    /// What is looked for in the names of the fields.
    pub search: String,
    /// It was found, or there is nothing to look for.
    pub found: bool,
    /// Why the file can't be read, was not written, or a wish can't be met.
    pub error: Option<String>,
    /// What happened that is no error.
    pub note: Option<String>,
    /// The secret that is shown now.
    pub revealed: Option<Revealed>,
    /// Tests, as far as they are.
    pub tests: BTreeMap<Probe, TestState>,
    /// A save is under way.
    pub saving: bool,
    /// What is to be done once the save has worked.
    pub then: Option<Then>,
    /// The fields as the file has them.
    base: Vec<Field>,
    /// What was changed since, in order.
    draft: Vec<Change>,
    /// Fields that were changed here and in the file.
    conflicts: Vec<Conflict>,
    reveals: u64,
}

impl Form {
    /// Is there anything that leaving would lose?
    #[must_use]
    pub fn unsaved(&self) -> bool {
        self.edit.as_ref().is_some_and(Edit::changed) || !self.changes().is_empty()
    }

    /// The value that a field has in the file, as it may be shown; none where it is not set or not read yet.
    #[must_use]
    pub fn in_file(&self, name: &str) -> Option<String> {
        let field = self.base.iter().find(|field| field.name == name)?;
        field.value.as_deref().map(field::masked)
    }

    /// How many changes wait to be saved.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.changes().len()
    }

    /// The chosen row.
    #[must_use]
    pub fn row(&self) -> Option<&Row> {
        self.rows.get(self.at)
    }

    /// The chosen field; none where the row is none.
    #[must_use]
    pub fn cell(&self) -> Option<&Cell> {
        match self.row()? {
            Row::Field(cell) | Row::Entry(cell, _) => self.cells.get(*cell),
            Row::Table(..) | Row::More(_) => None,
        }
    }

    /// The group of the chosen row.
    #[must_use]
    pub fn section(&self) -> Option<Section> {
        match self.row()? {
            Row::Field(cell) | Row::Entry(cell, _) => {
                self.cells.get(*cell).map(|cell| cell.field.key.section)
            }
            Row::Table(section, _) | Row::More(section) => Some(*section),
        }
    }

    /// Chooses the row that `to` makes of the present one. A secret does not stay on the screen.
    pub fn go(&mut self, to: impl FnOnce(usize, usize) -> usize) {
        let last = self.rows.len().saturating_sub(1);
        let at = to(self.at, last).min(last);
        if at != self.at {
            self.revealed = None;
        }
        self.at = at;
    }

    /// The tab is left: nothing stays open or in sight.
    pub fn leave(&mut self) {
        self.revealed = None;
        self.edit = None;
        self.error = None;
        self.note = None;
    }

    /// Puts away what is said.
    pub fn back(&mut self) {
        self.revealed = None;
        self.error = None;
        self.note = None;
    }

    /// The chosen value as it is shown.
    #[must_use]
    pub fn copied(&self) -> Option<String> {
        match self.row()? {
            Row::Field(cell) => self.cells.get(*cell)?.shown(),
            Row::Entry(cell, entry) => {
                let entries = self.cells.get(*cell)?.entries();
                Some(field::masked(entries.get(*entry)?))
            }
            Row::Table(_, name) => Some(name.clone()),
            Row::More(_) => None,
        }
    }

    /// What a test of the chosen row would look at.
    #[must_use]
    pub fn probe(&self) -> Option<Probe> {
        match self.row()? {
            Row::Table(Section::Endpoint, name) => Some(Probe::Endpoint { name: name.clone() }),
            Row::Entry(cell, entry) => {
                let cell = self.cells.get(*cell)?;
                if cell.field.name == "nostr.relays" {
                    let url = cell.entries().get(*entry)?.clone();
                    return Some(Probe::Relay { url });
                }
                probe_of(cell)
            }
            Row::Field(cell) => probe_of(self.cells.get(*cell)?),
            Row::Table(..) | Row::More(_) => None,
        }
    }

    /// Is anything changed that a test would not see, as it looks at the file?
    #[must_use]
    pub fn blind(&self, probe: &Probe) -> bool {
        let about = |cell: &&Cell| match probe {
            Probe::Relay { .. } => false,
            Probe::Wallet => cell.field.key.section == Section::Wallet,
            Probe::Endpoint { name } => {
                cell.field.key.section == Section::Endpoint
                    && cell.field.table.as_ref() == Some(name)
            }
        };
        self.cells.iter().filter(about).any(Cell::changed)
    }

    /// A test begins; false: it is running already.
    pub fn testing(&mut self, probe: &Probe) -> bool {
        if self.tests.get(probe) == Some(&TestState::Running) {
            return false;
        }
        if self.tests.len() >= TESTS_MAX {
            self.tests.retain(|_, state| *state == TestState::Running);
        }
        self.tests.insert(probe.clone(), TestState::Running);
        true
    }

    /// A test has ended.
    pub fn tested(&mut self, probe: &Probe, reply: Reply) {
        let state = match reply {
            Reply::Tested { checks } => TestState::Done(checks),
            Reply::Refused { detail } | Reply::Done { detail } => TestState::Refused(detail),
            Reply::Status { .. }
            | Reply::Jobs { .. }
            | Reply::Job { .. }
            | Reply::Desk { .. }
            | Reply::Queue { .. } => {
                return;
            }
        };
        self.tests.insert(probe.clone(), state);
    }

    /// Shows a secret until [`Form::hide`] is called with the number that this gives.
    pub fn show(&mut self, name: String, secret: SecretString) -> u64 {
        self.reveals += 1;
        self.revealed = Some(Revealed {
            name,
            secret,
            number: self.reveals,
        });
        self.reveals
    }

    /// Hides the secret that was shown with this number.
    pub fn hide(&mut self, number: u64) {
        if (self.revealed.as_ref()).is_some_and(|shown| shown.number == number) {
            self.revealed = None;
        }
    }
}

fn probe_of(cell: &Cell) -> Option<Probe> {
    match cell.field.key.section {
        Section::Wallet => Some(Probe::Wallet),
        Section::Endpoint => Some(Probe::Endpoint {
            name: cell.field.table.clone()?,
        }),
        _ => None,
    }
}
