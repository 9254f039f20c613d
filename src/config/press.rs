//! The names of keys, as `[keys]` of the settings writes them: `o`, `ctrl-s`, `space`, `pgdn`, `f5`.

use std::fmt;

/// What a key name may be, in words.
pub const ALLOWED: &str = "a key as `o`, `ctrl-s`, `space`, `comma`, `enter`, `esc`, `tab`, `shift-tab`, `up`, `pgdn`, `home`, `del` or `f5`";

/// A key without its modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Button {
    /// The key that writes this character.
    Char(char),
    /// Enter.
    Enter,
    /// Escape.
    Esc,
    /// Tab.
    Tab,
    /// Shift and tab.
    BackTab,
    /// Backspace.
    Backspace,
    /// Delete.
    Delete,
    /// Insert.
    Insert,
    /// Up.
    Up,
    /// Down.
    Down,
    /// Left.
    Left,
    /// Right.
    Right,
    /// Home.
    Home,
    /// End.
    End,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// F1 to F12.
    F(u8),
}

/// Names of keys: in the settings, and on the screen.
const NAMES: &[(&str, &str, Button)] = &[
    ("enter", "Enter", Button::Enter),
    ("esc", "Esc", Button::Esc),
    ("tab", "Tab", Button::Tab),
    ("shift-tab", "S-Tab", Button::BackTab),
    ("backspace", "Bksp", Button::Backspace),
    ("del", "Del", Button::Delete),
    ("insert", "Ins", Button::Insert),
    ("up", "Up", Button::Up),
    ("down", "Down", Button::Down),
    ("left", "Left", Button::Left),
    ("right", "Right", Button::Right),
    ("home", "Home", Button::Home),
    ("end", "End", Button::End),
    ("pgup", "PgUp", Button::PageUp),
    ("pgdn", "PgDn", Button::PageDown),
    ("space", "Space", Button::Char(' ')),
    ("comma", ",", Button::Char(',')),
];

/// A key on the keyboard, with control or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Press {
    /// Held with control.
    pub ctrl: bool,
    /// The key.
    pub button: Button,
}

impl Press {
    /// Reads a key's name.
    ///
    /// # Errors
    /// A hint, which may be empty: the text names no key, or one that no action may have.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let plain = |button| Self {
            ctrl: false,
            button,
        };
        let mut chars = text.chars();
        if let (Some(c), None) = (chars.next(), chars.next()) {
            let shown = !c.is_control() && !c.is_whitespace();
            return shown.then(|| plain(Button::Char(c))).ok_or("");
        }
        let lower = text.to_ascii_lowercase();
        if let Some((_, _, button)) = NAMES.iter().find(|(name, _, _)| *name == lower) {
            return Ok(plain(*button));
        }
        if let Some(letter) = lower.strip_prefix("ctrl-") {
            return ctrl(letter);
        }
        let number = lower.strip_prefix('f').and_then(|n| n.parse().ok());
        match number {
            Some(number @ 1..=12) => Ok(plain(Button::F(number))),
            _ => Err(""),
        }
    }

    /// As the hint bar writes it: `C-s`, `PgDn`, `o`.
    #[must_use]
    pub fn short(self) -> String {
        let named = NAMES.iter().find(|(_, _, button)| *button == self.button);
        let key = match (named, self.button) {
            (Some((_, short, _)), _) => (*short).to_owned(),
            (None, Button::Char(c)) => c.to_string(),
            (None, Button::F(number)) => format!("F{number}"),
            (None, _) => String::new(),
        };
        if self.ctrl { format!("C-{key}") } else { key }
    }
}

fn ctrl(letter: &str) -> Result<Press, &'static str> {
    match letter {
        "c" => Err("ctrl-c always leaves"),
        "i" => Err("terminals send the same for ctrl-i and tab"),
        "m" => Err("terminals send the same for ctrl-m and enter"),
        _ => match letter.as_bytes() {
            [byte @ b'a'..=b'z'] => Ok(Press {
                ctrl: true,
                button: Button::Char(char::from(*byte)),
            }),
            _ => Err("ctrl goes with the letters a to z"),
        },
    }
}

/// As the settings write it.
impl fmt::Display for Press {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ctrl {
            f.write_str("ctrl-")?;
        }
        let named = NAMES.iter().find(|(_, _, button)| *button == self.button);
        match (named, self.button) {
            (Some((name, _, _)), _) => f.write_str(name),
            (None, Button::Char(c)) => write!(f, "{c}"),
            (None, Button::F(number)) => write!(f, "f{number}"),
            (None, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_written_as_it_is_read() {
        for text in [
            "o",
            "G",
            "?",
            ":",
            "é",
            "ctrl-s",
            "space",
            "comma",
            "shift-tab",
            "pgdn",
            "f12",
            "del",
        ] {
            assert_eq!(Press::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Press::parse("Enter"), Press::parse("enter"));
        assert_eq!(Press::parse(","), Press::parse("comma"));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in [
            "", " ", "ctrl-", "ctrl-1", "ctrl-c", "ctrl-i", "f13", "f0", "oo", "\n",
        ] {
            assert!(Press::parse(text).is_err(), "{text:?}");
        }
    }
}
