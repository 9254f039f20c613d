//! What is wrong with the settings, said in one line.

use std::fmt;
use std::path::Path;

use toml_edit::{Item, TableLike, Value};

use crate::domain::error::{ConfigCode, ConfigError};
use crate::domain::text::clean;

/// The longest piece of the user's own text that an error repeats, characters.
const SHOWN: usize = 60;

/// One thing wrong with the settings. `Display` is one line: file, line, key, what was found, what is allowed.
///
/// It never holds a secret's value, so it may go to a log or to a screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    /// The file; empty where the settings did not come from one.
    pub file: Box<Path>,
    /// The line in it, from 1.
    pub line: Option<usize>,
    /// The dotted key, as `config set` takes it.
    pub key: Option<String>,
    /// What is there.
    pub found: String,
    /// What may be there.
    pub allowed: String,
    /// What to do, where there is something to say; else empty.
    pub hint: Box<str>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.as_os_str().is_empty() {
            f.write_str(&clean(&self.file.to_string_lossy(), 4_096))?;
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
            }
            f.write_str(": ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        write!(f, "found {}; allowed: {}", self.found, self.allowed)?;
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}

impl From<SettingsError> for ConfigError {
    fn from(error: SettingsError) -> Self {
        Self::new(ConfigCode::Settings, error.to_string()).caused_by(error)
    }
}

impl SettingsError {
    /// A failure of the file itself, not of a key in it.
    pub(super) fn of_file(file: &Path, found: impl Into<String>, allowed: &str) -> Self {
        Self {
            file: file.into(),
            line: None,
            key: None,
            found: found.into(),
            allowed: allowed.to_owned(),
            hint: Box::default(),
        }
    }
}

/// One step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PathPart {
    /// Into a table.
    Key(String),
    /// Into a list, from 0.
    Index(usize),
}

/// Where a value is in the document.
pub(super) type Spot = Vec<PathPart>;

/// Makes a spot of keys alone.
pub(super) fn spot(keys: &[&str]) -> Spot {
    keys.iter()
        .map(|key| PathPart::Key((*key).to_owned()))
        .collect()
}

/// A problem before it is known which line it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) spot: Spot,
    pub(super) found: String,
    pub(super) allowed: String,
    pub(super) hint: String,
}

impl Problem {
    pub(super) fn new(
        spot: Spot,
        found: impl Into<String>,
        allowed: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            spot,
            found: found.into(),
            allowed: allowed.into(),
            hint: hint.into(),
        }
    }

    /// The same with its file, line and key. `text` is what `root` was parsed from; empty: there are no lines.
    pub(super) fn placed(self, file: &Path, text: &str, root: &dyn TableLike) -> SettingsError {
        let (key, at) = locate(root, &self.spot);
        SettingsError {
            file: file.into(),
            line: at.filter(|_| !text.is_empty()).map(|at| line_of(text, at)),
            key: Some(key),
            found: self.found,
            allowed: self.allowed,
            hint: self.hint.into(),
        }
    }
}

/// The line, from 1, of a byte.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    1 + text.get(..at).unwrap_or(text).matches('\n').count()
}

/// The dotted key of a spot, and the byte at which the deepest part of it that exists begins.
///
/// A table in a list is called by its `name`, as `config set` does; where it has none, by its number from 1.
fn locate(root: &dyn TableLike, spot: &[PathPart]) -> (String, Option<usize>) {
    let mut words: Vec<String> = Vec::new();
    let mut at = None;
    let mut here = Some(Place::Table(root));
    for step in spot {
        let next = here.as_ref().and_then(|place| place.step(step));
        let entry = next.as_ref().map(|(place, _)| place);
        match step {
            PathPart::Key(key) => words.push(clean(key, SHOWN)),
            PathPart::Index(index) => words.extend(table_word(entry, *index)),
        }
        at = next.as_ref().and_then(|(_, start)| *start).or(at);
        here = next.map(|(place, _)| place);
    }
    (words.join("."), at)
}

/// What a table in a list is called; none for a plain value, as the list's own name says enough.
fn table_word(entry: Option<&Place<'_>>, index: usize) -> Option<String> {
    let table = match entry {
        Some(Place::Table(table)) => *table,
        Some(Place::Value(value)) => value.as_inline_table()? as &dyn TableLike,
        _ => return None,
    };
    let name = table.get("name").and_then(Item::as_str).unwrap_or_default();
    Some(if name.is_empty() {
        (index + 1).to_string()
    } else {
        clean(name, SHOWN)
    })
}

enum Place<'a> {
    Table(&'a dyn TableLike),
    Item(&'a Item),
    Value(&'a Value),
}

impl<'a> Place<'a> {
    fn step(&self, step: &PathPart) -> Option<(Place<'a>, Option<usize>)> {
        match step {
            PathPart::Key(key) => {
                let table = match self {
                    Place::Table(table) => *table,
                    Place::Item(item) => item.as_table_like()?,
                    Place::Value(value) => value.as_inline_table()? as &dyn TableLike,
                };
                let (name, item) = table.get_key_value(key)?;
                let start = name.span().or_else(|| item.span()).map(|span| span.start);
                Some((Place::Item(item), start))
            }
            PathPart::Index(index) => {
                let Place::Item(item) = self else { return None };
                if let Some(tables) = item.as_array_of_tables() {
                    let table = tables.get(*index)?;
                    return Some((Place::Table(table), table.span().map(|span| span.start)));
                }
                let value = item.as_array()?.get(*index)?;
                Some((Place::Value(value), value.span().map(|span| span.start)))
            }
        }
    }
}

/// A value as an error may show it: short, clean, and without a secret.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text.value()),
        Value::Integer(number) => number.value().to_string(),
        Value::Float(number) => number.value().to_string(),
        Value::Boolean(flag) => flag.value().to_string(),
        Value::Datetime(_) => "a date or time".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::InlineTable(_) => "a table".to_owned(),
    }
}

/// A text as an error may show it.
pub(super) fn quoted(text: &str) -> String {
    if text.is_empty() {
        "an empty text".to_owned()
    } else {
        format!("\"{}\"", clean(&masked(text), SHOWN))
    }
}

/// The same text without what looks like a secret in the wrong place: a Nostr secret key, a wallet's connection string, a
/// long run of hex, a password in an address.
pub(super) fn masked(text: &str) -> String {
    const SECRETS: [&str; 3] = ["nsec1", "ncryptsec1", "nostr+walletconnect:"];
    let lower = text.to_ascii_lowercase();
    if SECRETS.iter().any(|secret| lower.contains(secret)) {
        return "***".to_owned();
    }
    if text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return format!("{}…", &text[..8]);
    }
    mask_address(text)
}

/// `https://user:password@host` as `https://***@host`.
#[must_use]
pub fn mask_address(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let host_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..host_end].rfind('@') {
        Some(at) => format!("{scheme}://***{}", &rest[at..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_everything() {
        let error = SettingsError {
            file: Path::new("config.toml").into(),
            line: Some(12),
            key: Some("price.min_price_sats".to_owned()),
            found: "\"ten\"".to_owned(),
            allowed: "a whole number of sats from 0 to 100000000".to_owned(),
            hint: Box::default(),
        };
        assert_eq!(
            error.to_string(),
            "config.toml:12: price.min_price_sats: found \"ten\"; allowed: a whole number of sats from 0 to 100000000"
        );
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_not_repeated() {
        for secret in [
            "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5",
            "nostr+walletconnect://abc?secret=def",
        ] {
            assert_eq!(masked(secret), "***");
        }
        assert_eq!(masked(&"ab".repeat(32)), "abababab…");
        assert_eq!(
            masked("https://me:pass@host:1/x@y"),
            "https://***@host:1/x@y"
        );
        assert_eq!(masked("https://host/x@y"), "https://host/x@y");
    }

    #[test]
    fn an_error_stays_on_one_line_whatever_the_file_holds() {
        assert_eq!(
            quoted("a\nb\u{1b}[31m").lines().count(),
            1,
            "no line feed passes"
        );
        assert!(quoted(&"x".repeat(500)).chars().count() <= SHOWN + 2);
    }
}
