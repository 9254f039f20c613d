//! What is typed and pasted, and the keys of the list of keys.

use crossterm::event::{KeyCode, KeyEvent};

use super::{App, Ask};
use crate::ui::keymap::{Act, Tab};
use crate::ui::view;

/// The longest filter, in characters.
const FILTER_MAX: usize = crate::domain::query::FILTER_MAX;
impl App {
    pub(super) fn type_filter(&mut self, key: KeyCode) {
        let text = match self.tab {
            Tab::Telemetry => &mut self.feed.search,
            Tab::Settings => &mut self.form.search,
            _ => &mut self.jobs.filter,
        };
        match key {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                text.clear();
                self.typing = false;
            }
            KeyCode::Backspace => drop(text.pop()),
            KeyCode::Char(c) if text.chars().count() < FILTER_MAX => text.push(c),
            _ => {}
        }
        match self.tab {
            Tab::Telemetry => self.feed.searched(&self.store),
            Tab::Settings => self.form.searched(),
            _ => self.jobs.refilter(),
        }
    }

    /// A pasted text goes where a typed one would.
    pub(super) fn paste(&mut self, text: &str) {
        if matches!(self.ask, Some(Ask::Decide(..))) {
            self.cases.paste(text);
        } else if self.ask.is_some() {
        } else if let Some(palette) = &mut self.palette {
            palette.paste(text);
        } else if self.help {
        } else if self.form.edit.is_some() && self.tab == Tab::Settings {
            self.form.paste(text);
        } else if self.typing {
            for c in text.chars() {
                self.type_filter(KeyCode::Char(c));
            }
        }
    }

    pub(super) fn help_key(&mut self, key: &KeyEvent) {
        let page = self.page();
        let at = self.help_at;
        match (key.code, self.keys.act(self.tab, key)) {
            (KeyCode::Esc | KeyCode::Enter, _) | (_, Some(Act::Help | Act::Quit | Act::Back)) => {
                self.help = false;
            }
            // The view knows how long the list is and shows its end where this is too far.
            (_, Some(Act::Down)) => self.help_at = at.saturating_add(1).min(self.help_end()),
            (_, Some(Act::Up)) => self.help_at = at.saturating_sub(1),
            (_, Some(Act::PageDown)) => self.help_at = (at + page).min(self.help_end()),
            (_, Some(Act::PageUp)) => self.help_at = at.saturating_sub(page),
            (_, Some(Act::First)) => self.help_at = 0,
            (_, Some(Act::Last)) => self.help_at = self.help_end(),
            _ => {}
        }
    }

    pub(super) fn help_end(&self) -> usize {
        view::help_rows(self).saturating_sub(1)
    }
}
