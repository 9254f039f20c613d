//! What is typed and pasted, and the keys of the list of keys.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tui_input::Input as Line;

use super::{App, Ask};
use crate::ui::jobs_list::completed;
use crate::ui::keymap::{Act, Tab};
use crate::ui::line;
use crate::ui::view;

/// The longest filter, in characters.
const FILTER_MAX: usize = crate::domain::query::FILTER_MAX;

impl App {
    /// Esc and the next key reach a program in one read where they are pressed fast or the line is slow, and then look like
    /// the key with alt. Where Esc leaves something, they are taken for what they are; no key means anything with alt.
    pub(super) fn after_escape(&self, key: &KeyEvent) -> Option<KeyEvent> {
        let two = key.modifiers.contains(KeyModifiers::ALT)
            && matches!(key.code, KeyCode::Char(_) | KeyCode::Enter | KeyCode::Tab);
        let leaves = match self.ask {
            Some(Ask::Decide(_, _, action)) => action.closes(),
            Some(_) => false,
            None => {
                self.palette.is_some()
                    || self.help
                    || self.typing
                    || match self.tab {
                        Tab::Settings => self.form.edit.is_some(),
                        Tab::Jobs => self.jobs.detail || self.beside_jobs(),
                        Tab::Telemetry => self.feed.detail.is_some(),
                        Tab::Sell => false,
                    }
            }
        };
        let modifiers = key.modifiers.difference(KeyModifiers::ALT);
        (two && leaves).then_some(KeyEvent { modifiers, ..*key })
    }

    /// Begins to type a filter, or what is looked for.
    pub(super) fn begin_filter(&mut self) {
        self.typing = true;
        self.feed.detail = None;
        self.form.search.clear();
        self.form.found = true;
        self.line = Line::new(self.filter_text().clone());
    }

    const fn filter_text(&mut self) -> &mut String {
        match self.tab {
            Tab::Telemetry => &mut self.feed.search,
            Tab::Settings => &mut self.form.search,
            _ => &mut self.jobs.filter,
        }
    }

    pub(super) fn type_filter(&mut self, key: &KeyEvent) {
        match (key.code, key.modifiers) {
            (KeyCode::Enter, KeyModifiers::NONE) => {
                self.typing = false;
                if self.tab == Tab::Settings && !self.form.found {
                    self.message = Some(format!("no setting is called {}", self.line.value()));
                }
            }
            (KeyCode::Esc, KeyModifiers::NONE) => {
                self.line.reset();
                self.typing = false;
            }
            (KeyCode::Tab, KeyModifiers::NONE) if self.tab == Tab::Jobs => {
                let models = self.store.totals.models.keys().map(String::as_str);
                if let Some(text) = completed(self.line.value(), models) {
                    self.line = Line::new(text);
                }
            }
            _ => {
                line::press(&mut self.line, key, FILTER_MAX);
            }
        }
        self.typed();
    }

    /// What is typed is looked for.
    fn typed(&mut self) {
        let text = self.line.value().to_owned();
        *self.filter_text() = text;
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
            line::paste(&mut self.line, text, FILTER_MAX);
            self.typed();
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
