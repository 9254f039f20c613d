//! The keys in force: the table of defaults, overlaid by `[keys]` of the settings.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{Act, Binding, KEYS, Press, Tab, pressed};
use crate::config::keys::did_you_mean;
use crate::config::press::{self, Button};
use crate::config::schema::KeyNames;
use crate::config::{Settings, SettingsError, load};

/// A binding with the keys that it has now.
#[derive(Clone, Debug)]
pub struct Bound {
    /// What is done, where, and what is said of it.
    pub binding: &'static Binding,
    /// The keys.
    pub keys: Vec<Press>,
    /// How they are written; empty where there are none.
    pub shown: Cow<'static, str>,
}

/// The keys in force.
#[derive(Clone, Debug)]
pub struct Keymap {
    bound: Vec<Bound>,
}

/// Why `[keys]` can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("keys.{action}: found {found}; allowed: {allowed}")]
pub struct KeymapError {
    /// The action as it is written.
    pub action: String,
    /// What is there.
    pub found: String,
    /// What may be there.
    pub allowed: String,
    /// What to do; may be empty.
    pub hint: String,
}

impl Default for Keymap {
    fn default() -> Self {
        let bound = KEYS.iter().map(|binding| Bound {
            binding,
            keys: binding.keys.to_vec(),
            shown: Cow::Borrowed(binding.shown),
        });
        Self {
            bound: bound.collect(),
        }
    }
}

impl Keymap {
    /// The table with the settings' own keys in it.
    ///
    /// # Errors
    /// An action that is none, a key that is none, or a key that would mean two things on one tab.
    pub fn new(own: &BTreeMap<String, KeyNames>) -> Result<Self, KeymapError> {
        let mut map = Self::default();
        for (action, names) in own {
            if !KEYS.iter().any(|binding| binding.act.name() == action) {
                return Err(unknown(action));
            }
            let presses = presses(action, names)?;
            let shown: Vec<String> = presses.iter().map(|press| press.short()).collect();
            let keys: Vec<Press> = presses.into_iter().map(Press::from).collect();
            for bound in map.of(action) {
                bound.keys.clone_from(&keys);
                bound.shown = Cow::Owned(shown.join(" "));
            }
        }
        map.clash(own).map_or(Ok(map), Err)
    }

    fn of<'a>(&'a mut self, action: &'a str) -> impl Iterator<Item = &'a mut Bound> {
        let all = self.bound.iter_mut();
        all.filter(move |bound| bound.binding.act.name() == action)
    }

    /// All of them, in the order of the table.
    #[must_use]
    pub fn all(&self) -> &[Bound] {
        &self.bound
    }

    /// Those that hold on a tab.
    pub fn on(&self, tab: Tab) -> impl Iterator<Item = &Bound> {
        self.bound.iter().filter(move |one| one.binding.on(tab))
    }

    /// What a key does on a tab. Control and c always leaves.
    #[must_use]
    pub fn act(&self, tab: Tab, key: &KeyEvent) -> Option<Act> {
        if is_interrupt(key) {
            return Some(Act::Quit);
        }
        let press = pressed(key)?;
        let mut here = self.on(tab);
        let found = here.find(|bound| bound.keys.contains(&press));
        found.map(|bound| bound.binding.act)
    }

    /// The first key that means two things on one tab, told of an action that the settings name.
    fn clash(&self, own: &BTreeMap<String, KeyNames>) -> Option<KeymapError> {
        for tab in Tab::ALL {
            let here: Vec<&Bound> = self.on(tab).collect();
            for (at, one) in here.iter().enumerate() {
                let twin = here[..at].iter().find(|other| {
                    other.binding.act != one.binding.act
                        && other.keys.iter().any(|key| one.keys.contains(key))
                });
                let Some(twin) = twin else { continue };
                let (mine, other) = if own.contains_key(one.binding.act.name()) {
                    (*one, *twin)
                } else {
                    (*twin, *one)
                };
                return Some(KeymapError {
                    action: mine.binding.act.name().to_owned(),
                    found: format!(
                        "a key of `{}` too, on the tab {}",
                        other.binding.act.name(),
                        tab.title()
                    ),
                    allowed: "keys that nothing else has there".to_owned(),
                    hint: format!("`{}` has {}", other.binding.act.name(), other.shown),
                });
            }
        }
        None
    }
}

/// Can the settings' keys be used? The settings' own room knows the names of keys, and only this one what they are for.
///
/// # Errors
/// The file, the line, the key, what was found and what is allowed.
pub fn check(path: &Path, settings: &Settings) -> Result<(), SettingsError> {
    Keymap::new(&settings.keys)
        .map(drop)
        .map_err(|error| SettingsError {
            file: path.into(),
            line: load::line_of_key(path, &["keys", &error.action]),
            key: Some(format!("keys.{}", error.action)),
            found: error.found,
            allowed: error.allowed,
            hint: error.hint.into(),
        })
}

/// Control and c: leaves whatever is bound.
#[must_use]
pub fn is_interrupt(key: &KeyEvent) -> bool {
    key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c')
}

fn presses(action: &str, names: &KeyNames) -> Result<Vec<press::Press>, KeymapError> {
    let read = |name: &String| {
        press::Press::parse(name).map_err(|hint| KeymapError {
            action: action.to_owned(),
            found: format!("\"{}\"", crate::domain::text::clean(name, 30)),
            allowed: press::ALLOWED.to_owned(),
            hint: hint.to_owned(),
        })
    };
    names.all().iter().map(read).collect()
}

fn unknown(action: &str) -> KeymapError {
    let names = || KEYS.iter().map(|binding| binding.act.name());
    let meant = did_you_mean(action, names());
    let mut all: Vec<&str> = names().collect();
    all.dedup();
    KeymapError {
        action: crate::domain::text::clean(action, 60),
        found: "an unknown action".to_owned(),
        allowed: all.join(", "),
        hint: meant.map_or_else(String::new, |meant| format!("did you mean `{meant}`?")),
    }
}

impl Press {
    /// As `[keys]` of the settings writes it; none for a key that has no name there.
    #[must_use]
    pub fn name(self) -> Option<String> {
        let (ctrl, button) = match self {
            Self::Ctrl(c) => (true, Button::Char(c)),
            Self::Plain(code) => (false, button(code)?),
        };
        Some(press::Press { ctrl, button }.to_string())
    }
}

const fn button(code: KeyCode) -> Option<Button> {
    Some(match code {
        KeyCode::Char(c) => Button::Char(c),
        KeyCode::Enter => Button::Enter,
        KeyCode::Esc => Button::Esc,
        KeyCode::Tab => Button::Tab,
        KeyCode::BackTab => Button::BackTab,
        KeyCode::Backspace => Button::Backspace,
        KeyCode::Delete => Button::Delete,
        KeyCode::Insert => Button::Insert,
        KeyCode::Up => Button::Up,
        KeyCode::Down => Button::Down,
        KeyCode::Left => Button::Left,
        KeyCode::Right => Button::Right,
        KeyCode::Home => Button::Home,
        KeyCode::End => Button::End,
        KeyCode::PageUp => Button::PageUp,
        KeyCode::PageDown => Button::PageDown,
        KeyCode::F(number) => Button::F(number),
        _ => return None,
    })
}

impl From<press::Press> for Press {
    fn from(press: press::Press) -> Self {
        let code = match press.button {
            Button::Char(c) if press.ctrl => return Self::Ctrl(c),
            Button::Char(c) => KeyCode::Char(c),
            Button::Enter => KeyCode::Enter,
            Button::Esc => KeyCode::Esc,
            Button::Tab => KeyCode::Tab,
            Button::BackTab => KeyCode::BackTab,
            Button::Backspace => KeyCode::Backspace,
            Button::Delete => KeyCode::Delete,
            Button::Insert => KeyCode::Insert,
            Button::Up => KeyCode::Up,
            Button::Down => KeyCode::Down,
            Button::Left => KeyCode::Left,
            Button::Right => KeyCode::Right,
            Button::Home => KeyCode::Home,
            Button::End => KeyCode::End,
            Button::PageUp => KeyCode::PageUp,
            Button::PageDown => KeyCode::PageDown,
            Button::F(number) => KeyCode::F(number),
        };
        Self::Plain(code)
    }
}
