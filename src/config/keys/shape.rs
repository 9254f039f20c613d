//! The type and range of a setting: in words, as a check of a value, and as a way to read one from a line of text.

use toml_edit::{Array, InlineTable, Value};

use super::did_you_mean;
use super::rule::Rule;
use crate::config::press;
use crate::config::problem::{quoted, shown};

/// The most entries of a list.
const LIST_MAX: usize = 10_000;

/// The type and range of a setting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// true or false.
    Flag,
    /// One of some words.
    Word(&'static [&'static str]),
    /// A whole number, both ends included.
    Whole {
        /// The least.
        min: i64,
        /// The most.
        max: i64,
        /// What it counts, as `sats`; empty: nothing.
        unit: &'static str,
    },
    /// A number.
    Number {
        /// The least, or what it must be above.
        min: f64,
        /// The most.
        max: f64,
        /// Must it be above `min`?
        above: bool,
    },
    /// A line of text.
    Text(Rule),
    /// A secret: its text, `{ env = "NAME" }` or `{ file = "PATH" }`.
    Secret,
    /// A list of texts.
    Texts(Rule),
    /// A list of whole numbers, both ends included.
    Wholes {
        /// The least.
        min: i64,
        /// The most.
        max: i64,
    },
    /// A key of the keyboard, or a list of them.
    Presses,
    /// A table of names, each with a secret.
    Secrets,
    /// A table of names, each with any value but a date.
    Table,
}

/// Why a value is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What is there, fit to be shown.
    pub found: String,
    /// What may be there.
    pub allowed: String,
    /// What to do; may be empty.
    pub hint: String,
    /// Which entry of a list, from 0.
    pub entry: Option<usize>,
}

impl Shape {
    /// The type and range in words.
    #[must_use]
    pub fn allowed(&self) -> String {
        match self {
            Self::Flag => "true or false".to_owned(),
            Self::Word(words) => words.join(", "),
            Self::Whole { min, max, unit: "" } => {
                format!("a whole number from {min} to {max}")
            }
            Self::Whole { min, max, unit } => {
                format!("a whole number of {unit} from {min} to {max}")
            }
            Self::Number { min, max, above } => {
                if *above {
                    format!("a number above {min}, up to {max}")
                } else {
                    format!("a number from {min} to {max}")
                }
            }
            Self::Text(rule) => rule.words().to_owned(),
            Self::Secret => {
                "a text that is not empty, { env = \"NAME\" } or { file = \"PATH\" }".to_owned()
            }
            Self::Texts(rule) => format!("a list, each entry {}", rule.words()),
            Self::Wholes { min, max } => {
                format!("a list of whole numbers from {min} to {max}")
            }
            Self::Presses => format!("{}, or a list of such", press::ALLOWED),
            Self::Secrets => "a table of names, each with a secret".to_owned(),
            Self::Table => "a table of names and values".to_owned(),
        }
    }

    /// Is it a value of this shape?
    ///
    /// # Errors
    /// What was found and what is allowed. A secret's value is in neither.
    pub fn check(&self, value: &Value) -> Result<(), Wrong> {
        match self {
            Self::Flag => value.as_bool().map(drop).ok_or_else(|| self.wrong(value)),
            Self::Word(words) => check_word(words, value).map_err(|hint| Wrong {
                hint,
                ..self.wrong(value)
            }),
            Self::Whole { min, max, .. } => {
                check_whole(*min, *max, value).map_err(|()| self.wrong(value))
            }
            Self::Number { min, max, above } => {
                check_number(*min, *max, *above, value).map_err(|()| self.wrong(value))
            }
            Self::Text(rule) => check_text(*rule, value).map_err(|hint| Wrong {
                hint: hint.to_owned(),
                ..self.wrong(value)
            }),
            Self::Secret => check_secret(value).map_err(|found| Wrong {
                found: found.to_owned(),
                ..self.wrong(value)
            }),
            Self::Texts(rule) => self.check_list(value, |entry| check_text(*rule, entry)),
            Self::Wholes { min, max } => self.check_list(value, |entry| {
                check_whole(*min, *max, entry).map_err(|()| "")
            }),
            Self::Presses if value.is_str() => check_press(value).map_err(|hint| Wrong {
                hint: hint.to_owned(),
                ..self.wrong(value)
            }),
            Self::Presses => self.check_list(value, check_press),
            Self::Secrets => self.check_table(value, |name, value| {
                header(name)?;
                check_secret(value)
            }),
            Self::Table => self.check_table(value, |_, value| check_free(value)),
        }
    }

    /// Reads a value from a line of text, as `config set` and the form take it: lists as TOML or separated by commas,
    /// texts as they are or as a TOML string.
    ///
    /// # Errors
    /// As [`Shape::check`].
    pub fn parse(&self, text: &str) -> Result<Value, Wrong> {
        let text = text.trim();
        let value = match self {
            Self::Flag => text
                .parse::<bool>()
                .map_or_else(|_| text.into(), Value::from),
            Self::Presses if text.len() > 1 && (text.starts_with('[') || text.contains(',')) => {
                list(text, |entry| entry.into())
            }
            // The quotation marks are keys too.
            Self::Presses if text.len() == 1 => text.into(),
            Self::Word(_) | Self::Text(_) | Self::Presses => unquoted(text).into(),
            Self::Whole { .. } => whole(text),
            Self::Number { .. } => text
                .parse::<Value>()
                .ok()
                .filter(|value| value.is_integer() || value.is_float())
                .unwrap_or_else(|| text.into()),
            Self::Secret => secret(text),
            Self::Secrets | Self::Table => match text.parse::<Value>() {
                Ok(Value::InlineTable(table)) => Value::InlineTable(source_only(&table)),
                _ => text.into(),
            },
            Self::Texts(_) => list(text, |entry| entry.into()),
            Self::Wholes { .. } => list(text, whole),
        };
        self.check(&value)?;
        Ok(value)
    }

    /// A value as [`Shape::parse`] reads it back. A secret that is in the value itself reads `***`.
    #[must_use]
    pub fn text(&self, value: &Value) -> String {
        match (self, value) {
            (Self::Secret, Value::String(_)) => "***".to_owned(),
            (Self::Secrets, Value::InlineTable(table)) => {
                let hidden = |(name, value): (&str, &Value)| {
                    let value = match value {
                        Value::String(_) => "***".into(),
                        other => bare(other),
                    };
                    (name.to_owned(), value)
                };
                plain(&Value::InlineTable(table.iter().map(hidden).collect()))
            }
            (Self::Secret, Value::InlineTable(table)) => {
                let pairs = table.iter().map(|(key, value)| {
                    let text = value.as_str().unwrap_or_default();
                    format!("{key} = {}", plain(&text.into()))
                });
                format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
            }
            // On one line, whatever it was written on.
            (Self::Text(_), Value::String(text)) if text.value().contains('\n') => {
                serde_json::Value::from(text.value().as_str()).to_string()
            }
            (_, Value::String(text)) if !text.value().starts_with(['"', '\'']) => {
                text.value().clone()
            }
            (_, Value::Array(entries)) => {
                let entries = entries.iter().map(plain);
                format!("[{}]", entries.collect::<Vec<_>>().join(", "))
            }
            _ => plain(value),
        }
    }

    /// The entries of a list that [`Shape::text`] wrote; of anything else none.
    #[must_use]
    pub fn entries(&self, text: &str) -> Vec<String> {
        let value = match self {
            Self::Texts(_) => list(text.trim(), |entry| entry.into()),
            Self::Wholes { .. } => list(text.trim(), whole),
            _ => return Vec::new(),
        };
        let entries = value.as_array().into_iter().flatten();
        entries
            .map(|entry| entry.as_str().map_or_else(|| plain(entry), str::to_owned))
            .collect()
    }

    /// A list of these entries, as [`Shape::parse`] reads it.
    #[must_use]
    pub fn join(&self, entries: &[String]) -> String {
        let number = matches!(self, Self::Wholes { .. });
        let value = |entry: &String| {
            if number {
                whole(entry.trim())
            } else {
                entry.as_str().into()
            }
        };
        let entries: Vec<String> = entries.iter().map(|entry| plain(&value(entry))).collect();
        format!("[{}]", entries.join(", "))
    }

    fn check_table(
        &self,
        value: &Value,
        check: impl Fn(&str, &Value) -> Result<(), &'static str>,
    ) -> Result<(), Wrong> {
        let Some(table) = value.as_inline_table() else {
            let hint = "write it in braces: { NAME = VALUE }".to_owned();
            let found = match (self, value) {
                (Self::Secrets, Value::String(_)) => "a text".to_owned(),
                _ => shown(value),
            };
            return Err(Wrong {
                found,
                allowed: self.allowed(),
                hint,
                entry: None,
            });
        };
        for (name, value) in table {
            check(name, value).map_err(|found| Wrong {
                found: format!("{} with {found}", quoted(name)),
                allowed: self.allowed(),
                hint: String::new(),
                entry: None,
            })?;
        }
        Ok(())
    }

    fn wrong(&self, value: &Value) -> Wrong {
        let number = matches!(self, Self::Whole { .. } | Self::Number { .. });
        let quoted = number || *self == Self::Flag;
        let unquote = quoted
            && value
                .as_str()
                .and_then(|text| text.parse::<Value>().ok())
                .is_some_and(|inner| self.check(&inner).is_ok());
        Wrong {
            found: shown(value),
            allowed: self.allowed(),
            hint: if unquote {
                "write it without quotes".to_owned()
            } else {
                String::new()
            },
            entry: None,
        }
    }

    fn check_list(
        &self,
        value: &Value,
        check: impl Fn(&Value) -> Result<(), &'static str>,
    ) -> Result<(), Wrong> {
        let Some(entries) = value.as_array() else {
            return Err(Wrong {
                hint: "write it in brackets: [ … ]".to_owned(),
                ..self.wrong(value)
            });
        };
        if entries.len() > LIST_MAX {
            return Err(Wrong {
                found: format!("{} entries", entries.len()),
                allowed: format!("at most {LIST_MAX} entries"),
                hint: String::new(),
                entry: None,
            });
        }
        for (index, entry) in entries.iter().enumerate() {
            check(entry).map_err(|hint| Wrong {
                found: shown(entry),
                allowed: self.allowed(),
                hint: hint.to_owned(),
                entry: Some(index),
            })?;
        }
        Ok(())
    }
}

fn check_word(words: &[&'static str], value: &Value) -> Result<(), String> {
    let Some(text) = value.as_str() else {
        return Err(String::new());
    };
    if words.contains(&text) {
        return Ok(());
    }
    let meant = did_you_mean(text, words.iter().copied());
    Err(meant.map_or_else(String::new, |word| format!("did you mean `{word}`?")))
}

fn check_whole(min: i64, max: i64, value: &Value) -> Result<(), ()> {
    match value.as_integer() {
        Some(number) if (min..=max).contains(&number) => Ok(()),
        _ => Err(()),
    }
}

fn check_number(min: f64, max: f64, above: bool, value: &Value) -> Result<(), ()> {
    // A whole number is a number too. Those that an f64 can't hold exactly are far out of any range here.
    #[allow(clippy::cast_precision_loss)]
    let whole = value.as_integer().map(|number| number as f64);
    match value.as_float().or(whole) {
        Some(number) if number <= max && (number > min || (!above && number >= min)) => Ok(()),
        _ => Err(()),
    }
}

fn check_text(rule: Rule, value: &Value) -> Result<(), &'static str> {
    value.as_str().ok_or("").and_then(|text| rule.check(text))
}

fn check_press(value: &Value) -> Result<(), &'static str> {
    let text = value.as_str().ok_or("")?;
    press::Press::parse(text).map(drop)
}

/// A header's name (RFC 9110: a token).
fn header(name: &str) -> Result<(), &'static str> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err("a name that no header has");
    }
    Ok(())
}

/// JSON has no dates.
fn check_free(value: &Value) -> Result<(), &'static str> {
    match value {
        Value::Datetime(_) => Err("a date or time"),
        Value::Float(number) if !number.value().is_finite() => {
            Err("a number that JSON does not have")
        }
        Value::Array(entries) => entries.iter().try_for_each(check_free),
        Value::InlineTable(table) => table.iter().try_for_each(|(_, value)| check_free(value)),
        _ => Ok(()),
    }
}

/// What was found where it is not a secret's shape; never the value.
fn check_secret(value: &Value) -> Result<(), &'static str> {
    match value {
        Value::String(text) if text.value().trim().is_empty() => Err("an empty text"),
        Value::String(text) if text.value().chars().any(char::is_control) => {
            Err("a text of several lines")
        }
        Value::String(_) => Ok(()),
        Value::InlineTable(table) => {
            let source = ["env", "file"].iter().find_map(|key| table.get(key));
            match source.and_then(Value::as_str) {
                Some(text) if table.len() == 1 && !text.is_empty() => Ok(()),
                _ => Err("a table that is neither"),
            }
        }
        Value::Array(_) => Err("a list"),
        Value::Integer(_) | Value::Float(_) => Err("a number"),
        Value::Boolean(_) => Err("true or false"),
        Value::Datetime(_) => Err("a date or time"),
    }
}

/// The text inside a TOML string, or the text itself.
fn unquoted(text: &str) -> String {
    if !text.starts_with(['"', '\'']) {
        return text.to_owned();
    }
    let parsed = text.parse::<Value>().ok();
    let inner = parsed.as_ref().and_then(Value::as_str);
    inner.unwrap_or(text).to_owned()
}

/// A whole number, or the text for the error.
fn whole(text: &str) -> Value {
    let number = text.replace('_', "").parse::<i64>();
    number.map_or_else(|_| text.into(), Value::from)
}

fn secret(text: &str) -> Value {
    if let Ok(Value::InlineTable(table)) = text.parse::<Value>() {
        return Value::InlineTable(source_only(&table));
    }
    unquoted(text).into()
}

/// The table with nothing but its keys and values: what stood around them on a command line is not kept.
fn source_only(table: &InlineTable) -> InlineTable {
    let mut clean: InlineTable = table
        .iter()
        .map(|(key, value)| (key, bare(value)))
        .collect();
    clean.fmt();
    clean
}

fn bare(value: &Value) -> Value {
    let mut value = value.clone();
    value.decor_mut().clear();
    value
}

fn list(text: &str, entry: impl Fn(&str) -> Value) -> Value {
    if text.starts_with('[') {
        return match text.parse::<Value>() {
            Ok(Value::Array(entries)) => Value::Array(entries.iter().map(bare).collect::<Array>()),
            _ => text.into(),
        };
    }
    let entries = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    Value::Array(entries.map(entry).collect::<Array>())
}

fn plain(value: &Value) -> String {
    bare(value).to_string()
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "found {}; allowed: {}", self.found, self.allowed)?;
        if self.hint.is_empty() {
            return Ok(());
        }
        write!(f, "; {}", self.hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SATS: Shape = Shape::Whole {
        min: 0,
        max: 100,
        unit: "sats",
    };

    #[test]
    fn a_number_in_quotes_is_told_to_lose_them() {
        let wrong = SATS.check(&"10".into()).unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "found \"10\"; allowed: a whole number of sats from 0 to 100; write it without quotes"
        );
        assert_eq!(SATS.check(&"ten".into()).unwrap_err().hint, "");
    }

    #[test]
    fn no_number_is_taken_that_is_none() {
        let shape = Shape::Number {
            min: 0.0,
            max: 1.0,
            above: true,
        };
        for bad in ["nan", "inf", "-inf", "0", "0.0", "1.1", "ten", ""] {
            assert!(shape.parse(bad).is_err(), "{bad}");
        }
        for good in ["1", "0.5", "1e-3"] {
            assert!(shape.parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn lists_are_taken_as_toml_or_between_commas() {
        let shape = Shape::Wholes {
            min: 5000,
            max: 5999,
        };
        for text in ["5050, 5100", "[5050,5100]", "[ 5050, 5100, ]"] {
            assert_eq!(shape.text(&shape.parse(text).unwrap()), "[5050, 5100]");
        }
        assert_eq!(shape.text(&shape.parse("").unwrap()), "[]");
        let wrong = shape.parse("5050, 6000").unwrap_err();
        assert_eq!((wrong.found.as_str(), wrong.entry), ("6000", Some(1)));
    }

    #[test]
    fn a_secret_is_never_in_an_error_nor_in_the_text() {
        for bad in ["{ env = \"\" }", "{ env = \"A\", file = \"B\" }", ""] {
            let wrong = Shape::Secret.parse(bad).unwrap_err();
            assert!(!wrong.to_string().contains('B'), "{wrong}");
        }
        let value = Shape::Secret.parse("hunter2").unwrap();
        assert_eq!(Shape::Secret.text(&value), "***");
        let value = Shape::Secret.parse("{env='KEY'}").unwrap();
        assert_eq!(Shape::Secret.text(&value), "{ env = \"KEY\" }");
    }

    #[test]
    fn a_table_of_secrets_is_read_and_shown_without_them() {
        let text = "{ X-Key = \"hush\", Other = { env = \"B\" } }";
        let value = Shape::Secrets.parse(text).unwrap();
        let shown = Shape::Secrets.text(&value);
        assert_eq!(shown, "{ X-Key = \"***\", Other = { env = \"B\" } }");
        for bad in ["hush", "{ \"a b\" = \"hush\" }", "{ a = 7 }"] {
            let wrong = Shape::Secrets.parse(bad).unwrap_err().to_string();
            assert!(!wrong.contains("hush"), "{wrong}");
        }
    }

    #[test]
    fn a_free_table_takes_what_json_can_say() {
        let text = "{ a = 1, b = [true, 0.5], c = { d = \"x\" } }";
        let value = Shape::Table.parse(text).unwrap();
        assert_eq!(Shape::Table.text(&value), text);
        assert!(Shape::Table.parse("{ a = 1979-05-27 }").is_err());
        assert!(Shape::Table.parse("[1]").is_err());
    }

    #[test]
    fn a_text_of_lines_is_shown_on_one_and_read_back() {
        let shape = Shape::Text(Rule::Prose);
        let value: Value = "\"\"\"a\n\"b\" é\"\"\"".parse().unwrap();
        let text = shape.text(&value);
        assert!(!text.contains('\n'));
        assert_eq!(shape.parse(&text).unwrap().as_str(), Some("a\n\"b\" é"));
    }

    #[test]
    fn a_slip_in_a_word_is_answered_with_the_word() {
        let shape = Shape::Word(&["after", "before", "credit"]);
        let wrong = shape.parse("befor").unwrap_err();
        assert_eq!(wrong.hint, "did you mean `before`?");
    }
}
