//! What keys and answers do on the recovery desk and in the earnings, which are shown in place of the table of jobs.

use crossterm::event::{KeyCode, KeyEvent};

use super::{Action, App, Ask};
use crate::domain::command::{Command, Reply};
use crate::domain::desk::DeskAction;
use crate::ui::case_list::Row;
use crate::ui::keymap::{Act, Tab};

/// What is said where the table of jobs is out of sight.
pub const FOR_THE_TABLE: &str = "that is for the table of jobs: Esc shows it";

impl App {
    /// Is something shown in place of the table of jobs?
    pub(super) const fn beside_jobs(&self) -> bool {
        self.cases.open || self.earnings.is_some()
    }

    /// Shows the desk, the earnings, or the jobs again.
    pub(super) fn show_beside(&mut self, act: Act) {
        self.message = None;
        self.typing = false;
        self.jobs.close();
        if act == Act::Desk {
            self.earnings = None;
            self.cases.toggle();
        } else {
            self.cases.open = false;
            self.earnings = match self.earnings {
                Some(_) => None,
                None => Some(0),
            };
        }
    }

    /// Back to the jobs.
    pub(super) const fn leave_beside(&mut self) {
        self.cases.open = false;
        self.earnings = None;
    }

    /// An action while the desk or the earnings are shown; none where it means the same as always.
    pub(super) fn act_beside(&mut self, act: Act) -> Option<Vec<Action>> {
        if self.tab != Tab::Jobs || !self.beside_jobs() {
            return None;
        }
        let action = match act {
            Act::Retry => DeskAction::Retry,
            Act::Deliver => DeskAction::Deliver,
            Act::Refunded => DeskAction::Refunded,
            Act::Waive => DeskAction::Waive,
            Act::Copy => return Some(self.copied_case()),
            Act::Open if self.cases.open => {
                self.visit_job();
                return Some(Vec::new());
            }
            Act::Open
            | Act::Filter
            | Act::Sort
            | Act::SortBy(_)
            | Act::Reverse
            | Act::Raw
            | Act::Follow
            | Act::Freeze
            | Act::Cancel
            | Act::Block
            | Act::CopyId
            | Act::CopyInvoice
            | Act::CopyJson
            | Act::CopyBuyer
            | Act::CopyEvent => {
                self.message = Some(FOR_THE_TABLE.to_owned());
                return Some(Vec::new());
            }
            _ => return None,
        };
        self.begin_decision(action);
        Some(Vec::new())
    }

    /// An action of the desk where the desk is not shown: it is shown first.
    pub(super) fn desk_first(&mut self) {
        if !self.cases.open {
            self.show_beside(Act::Desk);
            self.message = Some("choose a case, then press the key again".to_owned());
        }
    }

    fn begin_decision(&mut self, action: DeskAction) {
        if !self.cases.open {
            return self.desk_first();
        }
        if let Some(why) = self.cases.why_not(action) {
            self.message = Some(why);
            return;
        }
        if let Some(Row::Case(case)) = self.cases.chosen() {
            self.ask = Some(Ask::Decide(case.id, case.kind, action));
            self.cases.note.reset();
        }
    }

    /// Shows the job of the chosen row; Esc leads back here.
    fn visit_job(&mut self) {
        let id = match self.cases.chosen() {
            Some(Row::Case(case)) => case.id,
            Some(Row::Decision(one)) => one.id,
            None => return,
        };
        self.cases.open = false;
        self.jobs.visit(id);
    }

    /// Closes the job that is open; one of the desk leads back there.
    pub(super) fn close_job(&mut self) {
        self.cases.open = self.jobs.visited().is_some();
        self.jobs.close();
    }

    fn copied_case(&self) -> Vec<Action> {
        let json = match self.cases.chosen() {
            _ if !self.cases.open => None,
            Some(Row::Case(case)) => serde_json::to_string(case).ok(),
            Some(Row::Decision(one)) => serde_json::to_string(one).ok(),
            None => None,
        };
        json.map(Action::Copy).into_iter().collect()
    }

    /// A key while a decision that closes a case is being made: the note is typed, and Enter decides.
    pub(super) fn decide_key(&mut self, key: KeyEvent) -> Vec<Action> {
        match key.code {
            KeyCode::Esc => self.ask = None,
            KeyCode::Enter => return self.decided(),
            _ => self.cases.type_note(key),
        }
        Vec::new()
    }

    /// The question is answered with yes.
    pub(super) fn decided(&mut self) -> Vec<Action> {
        let Some(Ask::Decide(id, kind, action)) = self.ask.take() else {
            return Vec::new();
        };
        self.cases.acted();
        vec![Action::Send(Command::Recover {
            id,
            case: Some(kind),
            action,
            note: self.cases.note.value().trim().to_owned(),
        })]
    }

    /// The engine's answer, where it was asked for the desk.
    pub(super) fn looked_at_desk(&mut self, reply: Reply) -> Option<Reply> {
        match reply {
            Reply::Desk { desk } => self.cases.take(Some(desk), self.store.now),
            Reply::Refused { detail } if self.cases.waits() => {
                self.cases.take(None, self.store.now);
                self.message = Some(detail);
            }
            other => return Some(other),
        }
        None
    }
}
