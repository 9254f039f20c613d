//! The recovery desk on the screen: which cases there are, which one is chosen, what is being decided.

use std::time::Duration;

use crossterm::event::KeyEvent;
use tui_input::Input as Line;

use crate::domain::command::Command;
use crate::domain::desk::{Case, Decision, Desk, DeskAction, NOTE_MAX};
use crate::domain::time::Time;
use crate::ui::line;

/// The desk is asked for again after this long at the earliest, where something has changed.
const REFRESH: Duration = Duration::from_secs(1);

/// A row of the desk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row<'a> {
    /// An open case.
    Case(&'a Case),
    /// What was decided.
    Decision(&'a Decision),
}

/// The desk's state.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // Each is a matter of its own; no two of them exclude each other.
pub struct CaseList {
    /// Is it shown?
    pub open: bool,
    /// The chosen row.
    pub at: usize,
    /// The first line of the evidence.
    pub scroll: usize,
    /// The note of the decision that is being made.
    pub note: Line,
    desk: Option<Box<Desk>>,
    told: Time,
    stale: bool,
    asked: bool,
    /// The engine could not answer: no more questions before the next key.
    resting: bool,
}

impl CaseList {
    /// Shows the desk, or no more.
    pub const fn toggle(&mut self) {
        self.open = !self.open;
        self.stale = true;
        self.scroll = 0;
    }

    /// Has the engine told?
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.desk.is_some()
    }

    /// The rows: open cases, then what was decided.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let desk = self.desk.as_deref();
        let cases = desk.into_iter().flat_map(|desk| &desk.cases);
        let history = desk.into_iter().flat_map(|desk| &desk.history);
        cases.map(Row::Case).chain(history.map(Row::Decision))
    }

    /// How many rows.
    #[must_use]
    pub fn len(&self) -> usize {
        (self.desk.as_deref()).map_or(0, |desk| desk.cases.len() + desk.history.len())
    }

    /// Cases that need somebody and are not listed.
    #[must_use]
    pub fn more(&self) -> u64 {
        self.desk.as_deref().map_or(0, |desk| desk.more)
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The chosen row's number.
    #[must_use]
    pub fn row(&self) -> usize {
        self.at.min(self.len().saturating_sub(1))
    }

    /// The chosen row.
    #[must_use]
    pub fn chosen(&self) -> Option<Row<'_>> {
        self.rows().nth(self.row())
    }

    /// Chooses another row.
    pub fn go(&mut self, to: impl FnOnce(usize, usize) -> usize) {
        self.at = to(self.row(), self.len().saturating_sub(1));
        self.scroll = 0;
    }

    /// A key was pressed: what the engine could not answer may be asked again.
    pub const fn wake(&mut self) {
        self.resting = false;
    }

    /// Something changed that may be a case.
    pub const fn changed(&mut self) {
        self.stale = true;
    }

    /// Is a question open?
    #[must_use]
    pub const fn waits(&self) -> bool {
        self.asked
    }

    /// The next question for the engine.
    pub fn question(&mut self, now: Time) -> Option<Command> {
        let due = self.desk.is_none() || (self.stale && now.since(self.told) >= REFRESH);
        if !self.open || self.asked || self.resting || !due {
            return None;
        }
        self.asked = true;
        Some(Command::Desk)
    }

    /// Takes in the engine's answer; none where it could not tell. The chosen case stays chosen.
    pub fn take(&mut self, desk: Option<Box<Desk>>, now: Time) {
        self.asked = false;
        let Some(desk) = desk else {
            self.resting = true;
            return;
        };
        let chosen = match self.chosen() {
            Some(Row::Case(case)) => Some(case.id),
            _ => None,
        };
        self.desk = Some(desk);
        (self.stale, self.told) = (false, now);
        let place = self.rows().position(|row| match row {
            Row::Case(case) => Some(case.id) == chosen,
            Row::Decision(_) => false,
        });
        self.at = place.unwrap_or_else(|| self.row());
    }

    /// What was done may have changed everything.
    pub const fn acted(&mut self) {
        self.stale = true;
        self.told = Time(0);
    }

    /// Why an action makes no sense for the chosen row; none where it does. The engine has the last word.
    #[must_use]
    pub fn why_not(&self, action: DeskAction) -> Option<String> {
        match self.chosen() {
            None => Some("there is no case".to_owned()),
            Some(Row::Decision(one)) => Some(format!(
                "that was marked {} already, which can't be undone",
                one.action.history()
            )),
            Some(Row::Case(case)) if case.actions.contains(&action) => None,
            Some(Row::Case(case)) => {
                let words: Vec<_> = case.actions.iter().map(|action| action.as_str()).collect();
                Some(format!("for this case there is: {}", words.join(", ")))
            }
        }
    }

    /// Types into the note.
    pub fn type_note(&mut self, key: KeyEvent) {
        line::press(&mut self.note, &key, NOTE_MAX);
    }

    /// A pasted text goes into the note.
    pub fn paste(&mut self, text: &str) {
        line::paste(&mut self.note, text, NOTE_MAX);
    }
}
