//! Changing the settings file as a person would: one value, with every comment and the order kept.

use std::path::Path;

use toml_edit::{ArrayOfTables, Document, DocumentMut, Item, Table, TableLike, Value};

use super::keys::{self, Key, Section, Wrong, did_you_mean};
use super::load;
use super::problem::{SettingsError, line_of};
use super::schema::Settings;
use super::{atomic, init};

mod put;
mod reveal;
mod tables;

pub use super::problem::mask_address;
pub use reveal::{reveal, source};

/// How often a change is made anew because another program changed the file meanwhile.
const ATTEMPTS: usize = 5;

/// What a file without any setting holds.
const EMPTY: &str = "# Every setting has its default.\n";

/// Why the settings were not changed. The file is then as it was.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The key, the value, or the file as it would be.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The file can't be written.
    #[error("{path} can't be written: {cause}")]
    Write {
        /// The file.
        path: String,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },
    /// There is a file already.
    #[error("{path} is there already; move it away first, or change it with `vend config set`")]
    Exists {
        /// The file.
        path: String,
    },
    /// Another program kept on changing the file.
    #[error("{path} is being changed by another program; try again")]
    Contended {
        /// The file.
        path: String,
    },
}

/// Sets one key and gives the settings as they then are. An empty text takes an optional key out.
///
/// `text` is read by the key's type: a list as TOML or separated by commas, a secret as `{ env = "NAME" }`,
/// `{ file = "PATH" }` or itself. `key` is a dotted name; a table of a list is called by its name: `endpoint.local.url`.
///
/// # Errors
/// A key or value that is not taken, a file that would not be valid with it, or one that can't be written.
pub fn set(path: &Path, key: &str, text: &str) -> Result<Settings, EditError> {
    set_all(path, &[(key, Some(text))])
}

/// Takes a key out of the file, so that its default holds again.
///
/// # Errors
/// As [`set`].
pub fn unset(path: &Path, key: &str) -> Result<Settings, EditError> {
    set_all(path, &[(key, None)])
}

/// One change of the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// A key gets a value; no text: it is taken out, so that its default holds.
    Set {
        /// The dotted name.
        key: &'a str,
        /// The text, as [`set`] takes it.
        text: Option<&'a str>,
    },
    /// A new table in a list, with its name alone.
    Add {
        /// Which list.
        section: Section,
        /// The table's name.
        name: &'a str,
    },
    /// A table of a list goes.
    Remove {
        /// Which list.
        section: Section,
        /// The table's name.
        name: &'a str,
    },
}

/// Makes several changes at once, for keys that only together make sense, as a wallet's backend and its address do.
/// No text: the key is taken out. All are made or none.
///
/// # Errors
/// As [`set`].
pub fn set_all(path: &Path, changes: &[(&str, Option<&str>)]) -> Result<Settings, EditError> {
    let changes: Vec<Change<'_>> = changes
        .iter()
        .map(|(key, text)| Change::Set { key, text: *text })
        .collect();
    apply(path, &changes, &|_| Ok(()))
}

/// Makes changes of every sort in one write. `fits` may refuse what the settings would then be, for what only the caller
/// can judge.
///
/// # Errors
/// As [`set`], and what `fits` says.
pub fn apply(
    path: &Path,
    changes: &[Change<'_>],
    fits: &dyn Fn(&Settings) -> Result<(), SettingsError>,
) -> Result<Settings, EditError> {
    let failed = |cause: std::io::Error| match cause.kind() {
        std::io::ErrorKind::WouldBlock => EditError::Contended {
            path: path.display().to_string(),
        },
        _ => EditError::Write {
            path: path.display().to_string(),
            cause,
        },
    };
    load::usable(path)?;
    let _turn = atomic::Turn::wait(path).map_err(failed)?;
    for _ in 0..ATTEMPTS {
        let old = load::read(path)?;
        let (mut new, settings) = edited(old.as_deref().unwrap_or_default(), path, changes)?;
        fits(&settings)?;
        if new.trim().is_empty() {
            // An empty file would be taken for one that was lost.
            EMPTY.clone_into(&mut new);
        }
        if old.as_deref() == Some(new.as_str()) {
            return Ok(settings);
        }
        // An editor takes no turn.
        if load::read(path)? != old {
            continue;
        }
        atomic::replace(path, new.as_bytes()).map_err(failed)?;
        return Ok(settings);
    }
    Err(EditError::Contended {
        path: path.display().to_string(),
    })
}

/// Would [`set`] take this text for this key? Looks at the value alone, for a form while it is typed in.
///
/// # Errors
/// What was found and what is allowed.
pub fn check_value(key: &str, text: &str) -> Result<(), SettingsError> {
    let (known, _) = keys::find(key).ok_or_else(|| unknown_key(Path::new(""), key))?;
    if known.optional && text.trim().is_empty() {
        return Ok(());
    }
    let wrong = |wrong| refused(Path::new(""), key, wrong);
    known.shape.parse(text).map(drop).map_err(wrong)
}

/// The effective value of a key as [`set`] takes it; none where an optional key is not set. A secret reads `***`.
///
/// # Errors
/// An invalid file, or a key that is not there.
pub fn get(path: &Path, key: &str) -> Result<Option<String>, SettingsError> {
    let settings = load::load(path)?;
    let (known, name) = keys::find(key).ok_or_else(|| unknown_key(path, key))?;
    if let Some(name) = name
        && known.section.repeated()
        && !names(&settings, known.section).any(|there| there == name)
    {
        return Err(unknown_table(path, known.section, key, &settings));
    }
    let text = known.text_in(&settings, name);
    Ok(text.map(|text| {
        if known.field == "url" {
            mask_address(&text)
        } else {
            text
        }
    }))
}

/// The effective settings as TOML: defaults and file together. Secrets in them read `***`.
///
/// # Errors
/// An invalid file.
pub fn show(path: &Path) -> Result<String, SettingsError> {
    let mut settings = load::load(path)?;
    mask(&mut settings);
    toml_edit::ser::to_string_pretty(&settings)
        .map_err(|_| SettingsError::of_file(path, "a value that can't be written", "TOML"))
}

/// Makes a file that holds every setting with its default and says what it is for.
///
/// # Errors
/// There is a file already, or it can't be written.
pub fn init(path: &Path) -> Result<(), EditError> {
    let shown = || path.display().to_string();
    atomic::create(path, init::text().as_bytes()).map_err(|cause| {
        if cause.kind() == std::io::ErrorKind::AlreadyExists {
            EditError::Exists { path: shown() }
        } else {
            EditError::Write {
                path: shown(),
                cause,
            }
        }
    })
}

/// Hides what addresses hold of secrets. Secrets themselves are never written: see `schema::secrets`.
fn mask(settings: &mut Settings) {
    let relays = settings.nostr.relays.iter_mut();
    let urls = settings.endpoints.0.iter_mut().map(|one| &mut one.url);
    for url in relays.chain(settings.wallet.url.as_mut()).chain(urls) {
        *url = mask_address(url);
    }
}

/// The text with the changes made, and the settings it then stands for.
fn edited(
    old: &str,
    path: &Path,
    changes: &[Change<'_>],
) -> Result<(String, Settings), SettingsError> {
    let mut document = match Document::parse(old) {
        Ok(document) => document.into_mut(),
        // Says the same as `load` would, with the line.
        Err(_) => {
            return Err(load::parse(old, path)
                .err()
                .unwrap_or_else(|| not_toml(path)));
        }
    };
    for one in changes {
        match one {
            Change::Set { key, text } => change(&mut document, path, key, *text)?,
            Change::Add { section, name } => tables::add(&mut document, path, *section, name)?,
            Change::Remove { section, name } => {
                tables::remove(&mut document, path, *section, name)?;
            }
        }
    }
    let new = document.to_string();
    match load::parse(&new, path) {
        Ok(settings) => Ok((new, settings)),
        Err(mut error) => {
            // The line is that of a file that was never written: say it only where the old one has the same.
            let line = |text: &str| {
                error
                    .line
                    .and_then(|line| text.lines().nth(line - 1).map(str::to_owned))
            };
            if line(old) != line(&new) {
                error.line = None;
            }
            Err(error)
        }
    }
}

fn not_toml(path: &Path) -> SettingsError {
    SettingsError::of_file(path, "text that can't be read", "TOML")
}

fn change(
    document: &mut DocumentMut,
    path: &Path,
    dotted: &str,
    text: Option<&str>,
) -> Result<(), SettingsError> {
    let (key, name) = keys::find(dotted).ok_or_else(|| unknown_key(path, dotted))?;
    let text = text.filter(|text| !(key.optional && text.trim().is_empty()));
    let value = text
        .map(|text| key.shape.parse(text))
        .transpose()
        .map_err(|wrong| refused(path, dotted, wrong))?;
    let before = document.to_string();
    let table = match name.filter(|_| key.section.repeated()) {
        Some(name) => named_table(document, key, name).ok_or_else(|| {
            let settings = load::parse(&before, path).unwrap_or_default();
            unknown_table(path, key.section, dotted, &settings)
        })?,
        None => match plain_table(document, key.section, value.is_some()) {
            Ok(Some(table)) => table,
            // Nothing to take out.
            Ok(None) => return Ok(()),
            Err(found) => return Err(no_table(&before, path, key.section, found)),
        },
    };
    match value {
        Some(value) => put::put(table, key.field_of(name), value),
        None => drop(table.remove(key.field_of(name))),
    }
    Ok(())
}

/// The table a key is in; made where it is absent and `make` says so. The error is what is there instead.
fn plain_table(
    document: &mut DocumentMut,
    section: Section,
    make: bool,
) -> Result<Option<&mut dyn TableLike>, &'static str> {
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for word in section.path() {
        if !table.contains_key(word) {
            if !make {
                return Ok(None);
            }
            table.insert(word, Item::Table(Table::new()));
        }
        let item = table.get_mut(word).ok_or("nothing")?;
        table = item
            .as_table_like_mut()
            .ok_or("something else than a table")?;
    }
    Ok(Some(table))
}

/// The table of a list that has this name. The one endpoint that is there by default is written down when it is changed.
fn named_table<'a>(
    document: &'a mut DocumentMut,
    key: &Key,
    name: &str,
) -> Option<&'a mut dyn TableLike> {
    let (last, parents) = key.section.path().split_last()?;
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for word in parents {
        table = table.get_mut(word)?.as_table_like_mut()?;
    }
    if key.section == Section::Endpoint && name == "local" && !table.contains_key(last) {
        let mut first = Table::new();
        first.insert("name", toml_edit::value(name));
        let mut endpoints = ArrayOfTables::new();
        endpoints.push(first);
        table.insert(last, Item::ArrayOfTables(endpoints));
    }
    match table.get_mut(last)? {
        Item::ArrayOfTables(tables) => tables
            .iter_mut()
            .map(|table| table as &mut dyn TableLike)
            .find(|table| keys::is_named(*table, Some(name))),
        item => item
            .as_array_mut()?
            .iter_mut()
            .filter_map(Value::as_inline_table_mut)
            .map(|table| table as &mut dyn TableLike)
            .find(|table| keys::is_named(*table, Some(name))),
    }
}

fn names(settings: &Settings, section: Section) -> Box<dyn Iterator<Item = &str> + '_> {
    match section {
        Section::Endpoint => Box::new(settings.endpoints.0.iter().map(|one| one.name.as_str())),
        Section::Offer => Box::new(settings.offers.0.iter().map(|one| one.name.as_str())),
        Section::PriceModel => Box::new(settings.price.models.iter().map(|one| one.name.as_str())),
        _ => Box::new(std::iter::empty()),
    }
}

fn refused(path: &Path, key: &str, wrong: Wrong) -> SettingsError {
    SettingsError {
        key: Some(key.to_owned()),
        hint: wrong.hint.into(),
        ..SettingsError::of_file(path, wrong.found, &wrong.allowed)
    }
}

fn no_table(text: &str, path: &Path, section: Section, found: &str) -> SettingsError {
    let word = section.path().first().copied().unwrap_or_default();
    let at = Document::parse(text)
        .ok()
        .and_then(|parsed| parsed.key(word).and_then(toml_edit::Key::span));
    SettingsError {
        line: at.map(|span| line_of(text, span.start)),
        key: Some(word.to_owned()),
        ..SettingsError::of_file(path, found, &section.header())
    }
}

fn unknown_key(path: &Path, dotted: &str) -> SettingsError {
    let names: Vec<_> = keys::KEYS.iter().map(Key::name).collect();
    let meant = did_you_mean(dotted, names.iter().map(AsRef::as_ref));
    SettingsError {
        key: Some(super::problem::masked(dotted)),
        hint: meant
            .map_or_else(String::new, |meant| format!("did you mean `{meant}`?"))
            .into(),
        ..SettingsError::of_file(
            path,
            "an unknown key",
            "the keys that `vend config show` lists, as price.min_price_sats or endpoint.NAME.url",
        )
    }
}

fn unknown_table(
    path: &Path,
    section: Section,
    dotted: &str,
    settings: &Settings,
) -> SettingsError {
    let header = section.header();
    let there: Vec<&str> = names(settings, section).collect();
    let allowed = if there.is_empty() {
        format!("no {header} is in the file")
    } else {
        format!("the names that are there: {}", there.join(", "))
    };
    SettingsError {
        key: Some(dotted.to_owned()),
        hint: format!("add a {header} table to the file by hand").into(),
        ..SettingsError::of_file(path, format!("no {header} of this name"), &allowed)
    }
}
