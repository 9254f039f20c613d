//! The settings as a form: every field of the table of keys, with what is being typed into one of them.

use std::path::Path;

use tui_input::Input as Line;

use crate::config::edit;
use crate::config::keys::{self, Key, Section};
use crate::config::{Settings, load};

/// One field of the form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The dotted name, as `endpoint.local.url`.
    pub name: String,
    /// The group it is in.
    pub group: &'static str,
    /// What it is for.
    pub help: &'static str,
    /// What it may be.
    pub allowed: String,
    /// When a change applies.
    pub applies: &'static str,
    /// Never shown?
    pub secret: bool,
    /// The value, masked where it holds a secret; none: not set.
    pub value: Option<String>,
    /// Is it the default?
    pub default: bool,
}

/// A field being edited.
#[derive(Clone, Debug)]
pub struct Edit {
    /// Which, by its name.
    pub name: String,
    /// What is typed.
    pub line: Line,
    /// What it was when the editing began.
    pub before: String,
    /// Why it can't be saved as it is.
    pub error: Option<String>,
}

impl Edit {
    /// Looks at what is typed.
    pub fn check(&mut self) {
        let checked = edit::check_value(&self.name, self.line.value());
        self.error = checked.err().map(|error| {
            let hint = if error.hint.is_empty() { "" } else { "; " };
            format!("must be {}{hint}{}", error.allowed, error.hint)
        });
    }

    /// Is it other than what is saved?
    #[must_use]
    pub fn changed(&self) -> bool {
        self.line.value() != self.before
    }
}

/// The form.
#[derive(Clone, Debug, Default)]
pub struct Form {
    /// The fields, in the order of the file.
    pub fields: Vec<Field>,
    /// Which is chosen.
    pub at: usize,
    /// The one being edited.
    pub edit: Option<Edit>,
    /// Why the file can't be read or was not written.
    pub error: Option<String>,
}

impl Form {
    /// The chosen field.
    #[must_use]
    pub fn chosen(&self) -> Option<&Field> {
        self.fields.get(self.at)
    }

    /// Takes in the fields as the file now has them, or why it can't be read.
    pub fn loaded(&mut self, fields: Result<Vec<Field>, String>) {
        match fields {
            Ok(fields) => {
                self.at = self.at.min(fields.len().saturating_sub(1));
                self.fields = fields;
                self.error = None;
            }
            Err(error) => self.error = Some(error),
        }
    }

    /// Begins to edit the chosen field. A value that is masked begins empty: stars must never be saved.
    pub fn begin(&mut self) {
        let Some(field) = self.chosen() else { return };
        let shown = field.value.clone().unwrap_or_default();
        let before = if field.secret || shown.contains("***") {
            String::new()
        } else {
            shown
        };
        let mut edit = Edit {
            name: field.name.clone(),
            line: Line::new(before.clone()),
            before,
            error: None,
        };
        edit.check();
        self.edit = Some(edit);
    }
}

/// Reads the fields from the file.
///
/// # Errors
/// The file is not valid: the sentence says where and why.
pub fn read(path: &Path) -> Result<Vec<Field>, String> {
    let mut settings = load(path).map_err(|error| error.to_string())?;
    edit::mask(&mut settings);
    let mut fields = Vec::new();
    for section in Section::ALL {
        for name in tables(&settings, section) {
            let here = keys::of(section).map(|key| field(key, &settings, name.as_deref()));
            fields.extend(here);
        }
    }
    Ok(fields)
}

/// Saves one field (none: back to its default), and reads the file again.
///
/// # Errors
/// The value isn't taken or the file can't be written; the file is then as it was.
pub fn save(path: &Path, name: &str, value: Option<&str>) -> Result<Vec<Field>, String> {
    match value {
        Some(value) => edit::set(path, name, value),
        None => edit::unset(path, name),
    }
    .map_err(|error| error.to_string())?;
    read(path)
}

/// The tables of a section: one without a name, or those of a list.
fn tables(settings: &Settings, section: Section) -> Vec<Option<String>> {
    match section {
        Section::Endpoint => {
            let all = settings.endpoints.0.iter();
            all.map(|one| Some(one.name.clone())).collect()
        }
        Section::PriceModel => {
            let all = settings.price.models.iter();
            all.map(|one| Some(one.name.clone())).collect()
        }
        _ => vec![None],
    }
}

fn field(key: &Key, settings: &Settings, table: Option<&str>) -> Field {
    let name = key.name();
    let name = match table {
        Some(table) => name.replacen("NAME", table, 1),
        None => name.into_owned(),
    };
    let value = key.text_in(settings, table);
    Field {
        default: value == key.default_text(),
        name,
        group: key.section.title(),
        help: key.help,
        allowed: key.allowed(),
        applies: key.applies.words(),
        secret: key.is_secret(),
        value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_shows_saves_and_resets_a_field_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vend.toml");
        edit::init(&path).unwrap();
        let value = |fields: &[Field]| {
            let field = fields.iter().find(|f| f.name == "price.min_price_sats");
            field.unwrap().value.clone()
        };
        let first = value(&read(&path).unwrap());
        let saved = save(&path, "price.min_price_sats", Some("77")).unwrap();
        assert_eq!(value(&saved).as_deref(), Some("77"));
        let reset = save(&path, "price.min_price_sats", None).unwrap();
        assert_eq!(value(&reset), first);
        assert!(save(&path, "price.min_price_sats", Some("many")).is_err());
    }

    #[test]
    fn a_masked_value_is_never_the_start_of_an_edit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vend.toml");
        let text = "[wallet]\nbackend = \"nwc\"\nuri = \"nostr+walletconnect://abc?secret=hush\"\n";
        std::fs::write(&path, text).unwrap();
        let mut form = Form::default();
        form.loaded(read(&path));
        if let Some(at) = form.fields.iter().position(|f| f.name == "wallet.uri") {
            form.at = at;
            assert_eq!(form.fields[at].value.as_deref(), Some("***"));
            form.begin();
            assert_eq!(form.edit.unwrap().line.value(), "");
        }
    }
}
