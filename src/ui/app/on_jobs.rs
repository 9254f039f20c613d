//! What keys and answers do on the Jobs tab.

use super::{Action, App, Ask};
use crate::domain::command::{Command, Reply};
use crate::ui::jobs_list::{copied, why_not};
use crate::ui::keymap::{Act, Tab};

impl App {
    /// The next question about jobs for the engine, asked after a frame; none while one is open.
    pub fn look(&mut self) -> Option<Command> {
        if self.tab != Tab::Jobs {
            return None;
        }
        // One question at a time, so that a refusal is known to be the answer to it.
        if self.cases.waits() {
            return None;
        }
        if self.cases.open && !self.jobs.waits() {
            return self.cases.question(self.store.now);
        }
        let height = self.page();
        self.jobs.question(&self.store, height)
    }

    /// The engine answers a question about jobs.
    pub(super) fn looked(&mut self, reply: Reply) -> Vec<Action> {
        let Some(reply) = self.looked_at_desk(reply) else {
            return Vec::new();
        };
        let text = self.jobs.answered(&self.store, reply);
        self.copy_or_say(text)
    }

    fn copy_or_say(&mut self, text: Result<Option<String>, String>) -> Vec<Action> {
        match text {
            Ok(text) => text.map(Action::Copy).into_iter().collect(),
            Err(why) => {
                self.message = Some(why);
                Vec::new()
            }
        }
    }

    pub(super) fn ask_about_job(&mut self, act: Act) {
        let Some(job) = self.jobs.chosen(&self.store) else {
            return;
        };
        if let Some(why) = why_not(act, job) {
            self.message = Some(why);
            return;
        }
        self.ask = match act {
            Act::Cancel => Some(Ask::Cancel(job.id)),
            Act::Retry => Some(Ask::Retry(job.id)),
            _ => Some(Ask::Block(job.buyer)),
        };
    }

    pub(super) fn begin_copy(&mut self) {
        self.jobs.copying = self.jobs.chosen(&self.store).is_some();
    }

    pub(super) fn copy_of_job(&mut self, act: Act) -> Vec<Action> {
        let Some(job) = self.jobs.chosen(&self.store) else {
            return Vec::new();
        };
        let text = if act == Act::CopyEvent {
            let id = job.id;
            self.jobs.event_of(id)
        } else {
            copied(act, job).map(Some)
        };
        self.copy_or_say(text)
    }

    pub(super) fn toggle_raw(&mut self) {
        if self.jobs.detail {
            self.jobs.raw = !self.jobs.raw;
            self.jobs.scroll = 0;
        }
    }
}
