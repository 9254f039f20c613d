//! Reading the form's fields from the file, and saving what was changed in one write.

use std::path::Path;

use super::field::stamp;
use super::{Change, Field};
use crate::config::edit::{self, EditError};
use crate::config::keys::{self, Key, Section};
use crate::config::schema::{KeyNames, Screen, SecretSource};
use crate::config::{Settings, SettingsError, load};
use crate::ui::keymap::{KEYS, Keymap, check};

/// What the file says.
#[derive(Clone, Debug)]
pub struct Read {
    /// Every field, in the order of the file.
    pub fields: Vec<Field>,
    /// How the dashboard looks.
    pub screen: Screen,
    /// The keys in force.
    pub keys: Keymap,
}

/// Why the changes were not saved. The file is then as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaveError {
    /// The field it is about, where it is about one.
    pub key: Option<String>,
    /// A sentence that names it.
    pub text: String,
}

/// Reads the fields from the file.
///
/// # Errors
/// The file is not valid: the sentence says where and why.
pub fn read(path: &Path) -> Result<Box<Read>, String> {
    let settings = load(path).map_err(|error| error.to_string())?;
    check(path, &settings).map_err(|error| error.to_string())?;
    Ok(Box::new(of(&settings)))
}

/// Makes all changes in one write that keeps comments and order, and reads the file again.
///
/// # Errors
/// A value isn't taken, the file would not be valid, or it can't be written; the file is then as it was.
pub fn save(path: &Path, changes: &[Change]) -> Result<Box<Read>, SaveError> {
    let edits: Vec<edit::Change<'_>> = changes.iter().flat_map(Change::edits).collect();
    let settings = edit::apply(path, &edits, &|settings| check(path, settings));
    settings
        .map(|settings| Box::new(of(&settings)))
        .map_err(|error| SaveError {
            key: match &error {
                EditError::Settings(SettingsError { key, .. }) => key.clone(),
                _ => None,
            },
            text: format!("not saved: {error}"),
        })
}

fn of(settings: &Settings) -> Read {
    let mut fields = Vec::new();
    for section in Section::ALL {
        if section.free() {
            fields.extend(actions(settings));
            continue;
        }
        for name in tables(settings, section) {
            let here = keys::of(section).map(|key| field(key, settings, name.as_deref()));
            fields.extend(here);
        }
    }
    Read {
        fields,
        screen: settings.screen,
        // Checked before; the defaults hold for what can't be.
        keys: Keymap::new(&settings.keys).unwrap_or_default(),
    }
}

/// The tables of a section: one without a name, or those of a list.
fn tables(settings: &Settings, section: Section) -> Vec<Option<String>> {
    match section {
        Section::Endpoint => {
            let all = settings.endpoints.0.iter();
            all.map(|one| Some(one.name.clone())).collect()
        }
        Section::Offer => {
            let all = settings.offers.0.iter();
            all.map(|one| Some(one.name.clone())).collect()
        }
        Section::PriceModel => {
            let all = settings.price.models.iter();
            all.map(|one| Some(one.name.clone())).collect()
        }
        _ => vec![None],
    }
}

fn field(key: &'static Key, settings: &Settings, table: Option<&str>) -> Field {
    let name = key.name();
    let name = match table {
        Some(table) => name.replacen("NAME", table, 1),
        None => name.into_owned(),
    };
    let value = key.text_in(settings, table);
    let default = key.default_text();
    Field {
        stamp: raw_stamp(settings, key, table, value.as_deref()),
        name,
        key,
        table: table.map(str::to_owned),
        help: key.help,
        value,
        default,
    }
}

/// A secret that is in the file counts with its text, which the value does not have.
fn raw_stamp(settings: &Settings, key: &Key, table: Option<&str>, value: Option<&str>) -> u64 {
    if key.is_secret()
        && let Some(SecretSource::Plain(text)) =
            edit::source(settings, key.section, key.field, table)
    {
        return stamp(text);
    }
    stamp(value.unwrap_or_default())
}

/// One field for each action of the dashboard.
fn actions(settings: &Settings) -> Vec<Field> {
    let mut fields: Vec<Field> = Vec::new();
    for (key, binding) in
        keys::of(Section::Keys).flat_map(|key| KEYS.iter().map(move |one| (key, one)))
    {
        let action = binding.act.name();
        if fields
            .iter()
            .any(|field| field.table.as_deref() == Some(action))
        {
            continue;
        }
        let default = binding.names().join(", ");
        let own = settings.keys.get(action).map(KeyNames::all);
        let value = own.map_or_else(|| default.clone(), |names| names.join(", "));
        fields.push(Field {
            name: format!("keys.{action}"),
            key,
            table: Some(action.to_owned()),
            help: binding.help,
            stamp: stamp(&value),
            value: Some(value),
            default: Some(default),
        });
    }
    fields
}
