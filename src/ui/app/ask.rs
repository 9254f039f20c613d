//! Questions that wait for one key, and what their answers do.

use crossterm::event::KeyCode;

use super::{Action, App};
use crate::domain::command::Command;
use crate::domain::desk::{CaseKind, DeskAction};
use crate::domain::health::ShopState;
use crate::domain::id::{Buyer, RequestId};
use crate::domain::machine;
use crate::ui::Leave;
use crate::ui::keymap::Tab;

/// A question that waits for one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Jobs are running: how to leave?
    Quit,
    /// Jobs are running: how to go offline?
    Offline,
    /// Cancel this job?
    Cancel(RequestId),
    /// Try this job again?
    Retry(RequestId),
    /// Serve this buyer no more?
    Block(Buyer),
    /// The shop would be stopped with the program: is that wanted?
    Suspend,
    /// Do this about a case?
    Decide(RequestId, CaseKind, DeskAction),
    /// Settings are changed and not saved: what becomes of them?
    Unsaved(Then),
    /// A field was changed here and in the file: which value holds?
    Conflict,
}

/// How long one press of the key puts it off.
const SNOOZE_SECS: u64 = 3_600;

/// What was wanted when the unsaved changes came in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Another tab.
    Show(Tab),
    /// To leave.
    Quit,
}

impl App {
    pub(super) fn toggle(&mut self) -> Vec<Action> {
        if self.store.state == ShopState::Offline {
            return vec![Action::Send(Command::GoOnline)];
        }
        if self.at_work() {
            self.ask = Some(Ask::Offline);
            return Vec::new();
        }
        vec![Action::Send(Command::GoOffline { now: false })]
    }

    /// No new work for an hour; where that is so already, it is taken again.
    pub(super) fn snooze(&mut self) -> Vec<Action> {
        match self.store.state {
            ShopState::Paused if machine::is_snoozed(&self.store.detail) => {
                vec![Action::Send(Command::Resume)]
            }
            state if state.is_open() => vec![Action::Send(Command::Snooze { secs: SNOOZE_SECS })],
            _ => {
                self.message = Some("no work is taken while it is not online".to_owned());
                Vec::new()
            }
        }
    }

    pub(super) fn quit(&mut self) -> Vec<Action> {
        if self.form.unsaved() {
            self.ask = Some(Ask::Unsaved(Then::Quit));
            return Vec::new();
        }
        if self.attached {
            return vec![Action::Leave(Leave::Detach)];
        }
        if self.at_work() {
            self.ask = Some(Ask::Quit);
            return Vec::new();
        }
        vec![Action::Leave(Leave::Quit { now: false })]
    }

    /// Stops the program until the shell calls it back. A shop inside it stands still meanwhile: then it asks.
    pub(super) fn suspend(&mut self) -> Vec<Action> {
        if self.attached || self.store.state == ShopState::Offline {
            return vec![Action::Suspend];
        }
        self.ask = Some(Ask::Suspend);
        Vec::new()
    }

    /// Is a job running?
    fn at_work(&self) -> bool {
        self.store.queue.running > 0 || self.store.running().next().is_some()
    }

    pub(super) fn answer(&mut self, ask: Ask, key: KeyCode) -> Vec<Action> {
        let KeyCode::Char(letter) = key else {
            if key == KeyCode::Esc {
                self.ask = None;
            }
            return Vec::new();
        };
        let letter = letter.to_ascii_lowercase();
        match ask {
            Ask::Unsaved(then) => return self.answer_unsaved(then, letter),
            Ask::Conflict => return self.answer_conflict(letter),
            Ask::Decide(..) if letter == 'y' => return self.decided(),
            _ => {}
        }
        let action = match (ask, letter) {
            (Ask::Quit, 'f') => Action::Leave(Leave::Quit { now: false }),
            (Ask::Quit | Ask::Suspend, 'k') => Action::Leave(Leave::Detach),
            (Ask::Quit, 's') => Action::Leave(Leave::Quit { now: true }),
            (Ask::Suspend, 'z') => Action::Suspend,
            (Ask::Offline, 'f') => Action::Send(Command::GoOffline { now: false }),
            (Ask::Offline, 's') => Action::Send(Command::GoOffline { now: true }),
            (Ask::Cancel(id), 'y') => Action::Send(Command::Cancel { id }),
            (Ask::Retry(id), 'y') => Action::Send(Command::Retry { id }),
            (Ask::Block(buyer), 'y') => Action::Send(Command::Block {
                buyer: buyer.to_string(),
            }),
            (Ask::Cancel(_) | Ask::Retry(_) | Ask::Block(_) | Ask::Decide(..), 'n') => {
                self.ask = None;
                return Vec::new();
            }
            _ => return Vec::new(),
        };
        self.ask = None;
        vec![action]
    }

    fn answer_unsaved(&mut self, then: Then, letter: char) -> Vec<Action> {
        match letter {
            's' => {
                self.ask = None;
                self.form.then = Some(then);
                self.save()
            }
            'd' => {
                self.ask = None;
                self.form.drop_changes();
                self.go_on(then)
            }
            _ => Vec::new(),
        }
    }

    /// What was wanted before the unsaved changes came in the way.
    pub(super) fn go_on(&mut self, then: Then) -> Vec<Action> {
        match then {
            Then::Show(tab) => self.show(tab),
            Then::Quit => self.quit(),
        }
    }

    fn answer_conflict(&mut self, letter: char) -> Vec<Action> {
        match letter {
            'm' => self.form.settle(true),
            't' => self.form.settle(false),
            _ => return Vec::new(),
        }
        self.ask = self.form.conflict().map(|_| Ask::Conflict);
        Vec::new()
    }
}
