//! The Settings tab: what its keys do.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use secrecy::SecretString;

use super::{Action, App, Ask};
use crate::domain::command::Command;
use crate::ui::keymap::{self, Press, Tab};
use crate::ui::line;
use crate::ui::settings_form::{Read, SaveError, Typed};

/// The longest value that is typed, in characters.
const LINE_MAX: usize = 16 * 1024;

impl App {
    /// The settings file was read, as the tab was opened or as somebody changed it.
    pub(super) fn fields(&mut self, read: Result<Box<Read>, String>) -> Vec<Action> {
        if self.form.saving {
            // What is being saved comes back with the file as it then is.
            return Vec::new();
        }
        match read {
            Ok(read) => {
                self.form.loaded(&read);
                if self.form.conflict().is_some() && self.ask.is_none() {
                    self.ask = Some(Ask::Conflict);
                }
                self.dress(&read)
            }
            Err(error) => {
                self.form.unreadable(error);
                Vec::new()
            }
        }
    }

    /// What the settings say of the screen holds at once.
    fn dress(&mut self, read: &Read) -> Vec<Action> {
        let mouse = read.screen.mouse != self.screen.mouse;
        self.screen = read.screen;
        self.theme.name = read.screen.theme.on(self.health);
        self.keys = read.keys.clone();
        let told = mouse.then_some(Action::Mouse(self.screen.mouse));
        told.into_iter().collect()
    }

    pub(super) fn saved(&mut self, read: Result<Box<Read>, SaveError>) -> Vec<Action> {
        match read {
            Ok(read) => {
                self.form.saved(&read);
                let mut actions = self.dress(&read);
                actions.push(Action::Send(Command::ApplySettings));
                if let Some(then) = self.form.then.take() {
                    actions.extend(self.go_on(then));
                }
                actions
            }
            Err(error) => {
                self.tab = Tab::Settings;
                self.form.not_saved(error.key.as_deref(), error.text);
                Vec::new()
            }
        }
    }

    /// Saves every change in one write.
    pub(super) fn save(&mut self) -> Vec<Action> {
        if self.form.saving {
            return Vec::new();
        }
        if !self.form.keep() {
            self.form.then = None;
            return Vec::new();
        }
        if self.form.conflict().is_some() {
            self.ask = Some(Ask::Conflict);
            self.form.then = None;
            return Vec::new();
        }
        self.form.back();
        let changes = self.form.changes();
        if changes.is_empty() {
            self.form.drop_changes();
            return match self.form.then.take() {
                Some(then) => self.go_on(then),
                // The file may hold what the shop does not know yet.
                None => vec![Action::Send(Command::ApplySettings)],
            };
        }
        self.form.saving = true;
        vec![Action::Save(changes)]
    }

    pub(super) fn edit(&mut self, key: KeyEvent) -> Vec<Action> {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let plain = key.modifiers.is_empty();
        let choices = self
            .form
            .edit
            .as_ref()
            .is_some_and(|edit| edit.choices.is_some());
        match key.code {
            KeyCode::Char('s') if control => return self.save(),
            KeyCode::Esc => self.form.edit = None,
            KeyCode::Enter => drop(self.form.keep()),
            KeyCode::Char(' ' | 'l' | 'j') | KeyCode::Right | KeyCode::Down if choices && plain => {
                self.form.cycle(true);
            }
            KeyCode::Char('h' | 'k') | KeyCode::Left | KeyCode::Up if choices && plain => {
                self.form.cycle(false);
            }
            _ if choices => {}
            _ if self.form.edits_keys() && names_itself(key.code) => {
                let name = keymap::pressed(&key).and_then(Press::name);
                self.form.put_key(&name.unwrap_or_default());
            }
            _ => {
                if let Some(edit) = &mut self.form.edit {
                    line::press(&mut edit.line, &key, LINE_MAX);
                }
                self.form.check();
            }
        }
        Vec::new()
    }

    /// Shows the chosen secret, or hides it again.
    pub(super) fn reveal(&mut self) -> Vec<Action> {
        if self.form.revealed.take().is_some() {
            return Vec::new();
        }
        let Some(cell) = self.form.cell() else {
            return Vec::new();
        };
        let name = cell.field.name.clone();
        let hidden = cell.field.secret() || cell.shown() != cell.value();
        match &cell.typed {
            _ if !hidden || cell.value().is_none() => {
                self.form.note = Some("nothing is hidden here".to_owned());
                Vec::new()
            }
            Some(Some(Typed(text))) if !text.trim_start().starts_with('{') => {
                let number = self.form.show(name, text.clone().into());
                vec![Action::HideLater(number)]
            }
            _ => vec![Action::Reveal(name)],
        }
    }

    /// The secret has been read; it is shown only where its field is still the chosen one.
    pub(super) fn revealed(
        &mut self,
        name: String,
        secret: Result<SecretString, String>,
    ) -> Vec<Action> {
        let chosen = (self.form.cell()).is_some_and(|cell| cell.field.name == name);
        if self.tab != Tab::Settings || !chosen {
            return Vec::new();
        }
        match secret {
            Ok(secret) => {
                let number = self.form.show(name, secret);
                vec![Action::HideLater(number)]
            }
            Err(error) => {
                self.form.error = Some(error);
                Vec::new()
            }
        }
    }

    /// Tries out what is chosen, as the file has it.
    pub(super) fn test(&mut self) -> Vec<Action> {
        let Some(probe) = self.form.probe() else {
            let note =
                "choose one relay, an inference server or the wallet: that is what can be tested";
            self.form.note = Some(note.to_owned());
            return Vec::new();
        };
        if self.form.blind(&probe) {
            self.form.note = Some("the test looks at the file: save first".to_owned());
            return Vec::new();
        }
        if !self.form.testing(&probe) {
            return Vec::new();
        }
        self.form.back();
        vec![Action::Send(Command::Test { what: probe })]
    }
}

/// A key that means nothing in a line of text: where a key is asked for, it stands for itself.
const fn names_itself(code: KeyCode) -> bool {
    matches!(
        code,
        KeyCode::F(_)
            | KeyCode::Tab
            | KeyCode::BackTab
            | KeyCode::Insert
            | KeyCode::Up
            | KeyCode::Down
            | KeyCode::PageUp
            | KeyCode::PageDown
    )
}
