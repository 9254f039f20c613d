//! From the file to the settings, or to what is wrong with it: file, line, key, what was found, what is allowed.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use toml_edit::{Document, DocumentMut, Item, TableLike, Value};

use super::check;
use super::keys::{self, Key, Section, Wrong, did_you_mean};
use super::problem::{PathPart, Problem, SettingsError, Spot, line_of, shown, spot};
use super::schema::Settings;

/// The largest settings file, bytes.
const FILE_MAX: u64 = 1_048_576;

/// The effective settings: the defaults, overlaid by the file. An absent file means the defaults.
///
/// # Errors
/// The first thing wrong in the file, top to bottom.
pub fn load(path: &Path) -> Result<Settings, SettingsError> {
    usable(path)?;
    match read(path)? {
        Some(text) => parse(&text, path),
        None => Ok(Settings::default()),
    }
}

/// Is it a file with something in it, or none at all? An empty one is what a full disk or a slip leaves, and a link that leads
/// nowhere is a file that is not mounted: to sell under the defaults instead would be wrong.
///
/// # Errors
/// What is there instead, with what mends it.
pub fn usable(path: &Path) -> Result<(), SettingsError> {
    let wrong = |found: &str, hint: &str| {
        Err(SettingsError {
            hint: hint.into(),
            ..SettingsError::of_file(
                path,
                found,
                "a file with settings, or none for the defaults",
            )
        })
    };
    let Ok(link) = std::fs::symlink_metadata(path) else {
        // Absent; or the folder can't be entered, which reading will tell.
        return Ok(());
    };
    let Ok(file) = std::fs::metadata(path) else {
        return if link.is_symlink() {
            let hint =
                "put back the file that it leads to, or remove the link to sell with the defaults";
            wrong("a link that leads nowhere", hint)
        } else {
            Ok(())
        };
    };
    if file.is_dir() {
        let hint = "name the file itself: vend --config FILE";
        return wrong("a folder", hint);
    }
    let blank = file.len() == 0
        || (file.len() < 64 && read(path)?.is_some_and(|text| text.trim().is_empty()));
    if file.is_file() && blank {
        let hint = "put back your settings; or remove the file, and `vend config init` writes one with every default";
        return wrong("an empty file", hint);
    }
    Ok(())
}

/// Everything that is wrong with the file, top to bottom; nothing where it can be used.
#[must_use]
pub fn problems(path: &Path) -> Vec<SettingsError> {
    match usable(path).and_then(|()| read(path)) {
        Ok(Some(text)) => parse_all(&text, path).err().unwrap_or_default(),
        Ok(None) => Vec::new(),
        Err(error) => vec![error],
    }
}

/// The settings in a text; `path` is only what errors call it.
///
/// # Errors
/// The first thing wrong, top to bottom.
pub fn parse(text: &str, path: &Path) -> Result<Settings, SettingsError> {
    parse_all(text, path).map_err(|mut errors| errors.swap_remove(0))
}

/// The line, from 1, of the deepest part of the way to a key that is in the file. For checks that know more than this room.
#[must_use]
pub fn line_of_key(path: &Path, keys: &[&str]) -> Option<usize> {
    let text = read(path).ok()??;
    let document = Document::parse(text.as_str()).ok()?;
    let problem = Problem::new(spot(keys), "", "", "");
    problem.placed(path, &text, document.as_table()).line
}

/// The text of the file; none where there is no file.
pub(super) fn read(path: &Path) -> Result<Option<String>, SettingsError> {
    let failed = |error: &std::io::Error| {
        SettingsError::of_file(path, error.to_string(), "a file that can be read")
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&error)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(&error))?;
    if bytes.len() as u64 > FILE_MAX {
        let allowed = format!("at most {FILE_MAX} bytes");
        return Err(SettingsError::of_file(path, "more", &allowed));
    }
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes());
        SettingsError {
            line: Some(line_of(&text, at)),
            ..SettingsError::of_file(path, "bytes that are no text", "UTF-8")
        }
    })
}

/// The settings, or at least one error, in the order of the file.
pub(super) fn parse_all(text: &str, path: &Path) -> Result<Settings, Vec<SettingsError>> {
    let document = Document::parse(text).map_err(|error| vec![syntax(text, path, &error)])?;
    let root = document.as_table();
    let place = |problems: Vec<Problem>| {
        let mut errors: Vec<SettingsError> = problems
            .into_iter()
            .map(|problem| problem.placed(path, text, root))
            .collect();
        errors.sort_by_key(|error| error.line);
        errors
    };
    let mut problems = walk(root);
    if !problems.is_empty() {
        problems.extend(beside(text, &problems));
        return Err(place(problems));
    }
    let settings: Settings =
        toml_edit::de::from_str(text).map_err(|error| vec![leftover(text, path, &error)])?;
    let problems = check::across(&settings);
    if problems.is_empty() {
        Ok(settings)
    } else {
        Err(place(problems))
    }
}

/// What does not go together in the rest of a file in which some values are wrong: everything is told at once. What follows from
/// a wrong value alone is not told a second time.
fn beside(text: &str, wrong: &[Problem]) -> Vec<Problem> {
    let Ok(mut document) = text.parse::<DocumentMut>() else {
        return Vec::new();
    };
    for problem in wrong {
        cut(document.as_item_mut(), &problem.spot);
    }
    let Ok(settings) = toml_edit::de::from_document::<Settings>(document) else {
        return Vec::new();
    };
    let about = |problem: &Problem| {
        wrong
            .iter()
            .any(|one| problem.spot.starts_with(&one.spot) || one.spot.starts_with(&problem.spot))
    };
    let mut rest = check::across(&settings);
    rest.retain(|problem| !about(problem));
    rest
}

/// Takes the value at a spot out.
fn cut(item: &mut Item, spot: &[PathPart]) {
    match spot {
        // Of a list with a wrong entry all of it goes: what is left of it would not be what was meant.
        [PathPart::Key(last)] | [PathPart::Key(last), PathPart::Index(_)] => {
            if let Some(table) = item.as_table_like_mut() {
                table.remove(last);
            }
        }
        [PathPart::Key(word), PathPart::Index(index), rest @ ..] => {
            let inner = item.get_mut(word.as_str());
            if let Some(inner) = inner.and_then(|list| list.get_mut(*index)) {
                cut(inner, rest);
            }
        }
        [PathPart::Key(word), rest @ ..] => {
            if let Some(inner) = item.get_mut(word.as_str()) {
                cut(inner, rest);
            }
        }
        [] | [PathPart::Index(_), ..] => {}
    }
}

/// Text that is no TOML. Only the parser's own words are used: the line itself may hold a secret.
fn syntax(text: &str, path: &Path, error: &toml_edit::TomlError) -> SettingsError {
    SettingsError {
        line: error.span().map(|span| line_of(text, span.start)),
        ..SettingsError::of_file(path, error.message().to_owned(), "TOML")
    }
}

/// What the key table let through and the schema did not: a gap between the two, which a test looks for.
fn leftover(text: &str, path: &Path, error: &toml_edit::de::Error) -> SettingsError {
    SettingsError {
        line: error.span().map(|span| line_of(text, span.start)),
        ..SettingsError::of_file(path, "a value that does not fit", "docs/configuration.md")
    }
}

/// Every value against its key's shape, and every name against the known ones.
pub(super) fn walk(root: &dyn TableLike) -> Vec<Problem> {
    let mut problems = Vec::new();
    table(Section::Root, root, &Vec::new(), &mut problems);
    problems
}

fn table(section: Section, table: &dyn TableLike, at: &Spot, problems: &mut Vec<Problem>) {
    for (word, item) in table.iter() {
        let mut spot = at.clone();
        spot.push(PathPart::Key(word.to_owned()));
        let named = |key: &&keys::Key| section.free() || key.field == word;
        if let Some(key) = keys::of(section).find(named) {
            problems.extend(value(key, item, spot));
        } else if let Some(child) = child(section, word) {
            subtable(child, item, spot, problems);
        } else {
            problems.push(unknown(section, word, spot));
        }
    }
    for key in keys::of(section).filter(|key| key.required()) {
        if !table.contains_key(key.field) {
            let mut spot = at.clone();
            spot.push(PathPart::Key(key.field.to_owned()));
            problems.push(Problem::new(spot, "nothing", key.allowed(), ""));
        }
    }
    if section == Section::Endpoint {
        problems.extend(address_missing(table, at));
    }
}

/// The default address is Ollama's; another kind of server is never looked for there.
fn address_missing(table: &dyn TableLike, at: &Spot) -> Option<Problem> {
    let kind = table.get("kind").and_then(Item::as_str)?;
    if kind != "openai" || table.contains_key("url") {
        return None;
    }
    let mut spot = at.clone();
    spot.push(PathPart::Key("url".to_owned()));
    let allowed = "the server's address as http://127.0.0.1:8080";
    Some(Problem::new(spot, "nothing", allowed, ""))
}

fn child(section: Section, word: &str) -> Option<Section> {
    let parent = section.path();
    Section::ALL.into_iter().find(|child| {
        child
            .path()
            .split_last()
            .is_some_and(|(last, rest)| rest == parent && *last == word)
    })
}

fn subtable(section: Section, item: &Item, spot: Spot, problems: &mut Vec<Problem>) {
    if !section.repeated() {
        match item.as_table_like() {
            Some(inner) => table(section, inner, &spot, problems),
            None => problems.push(misplaced(section, item, spot)),
        }
        return;
    }
    let all = keys::tables(item);
    let entries = item.as_array().map_or(all.len(), toml_edit::Array::len);
    if all.len() != entries || (item.as_array().is_none() && !item.is_array_of_tables()) {
        problems.push(misplaced(section, item, spot));
        return;
    }
    for (index, inner) in all.into_iter().enumerate() {
        let mut spot = spot.clone();
        spot.push(PathPart::Index(index));
        table(section, inner, &spot, problems);
    }
}

/// Something else where a table must be.
fn misplaced(section: Section, item: &Item, spot: Spot) -> Problem {
    Problem::new(spot, kind_of(item), section.header(), "")
}

fn kind_of(item: &Item) -> String {
    match item {
        Item::None => "nothing".to_owned(),
        Item::Value(value) => shown(value),
        Item::Table(_) => "a table".to_owned(),
        Item::ArrayOfTables(_) => "a list of tables".to_owned(),
    }
}

fn value(key: &Key, item: &Item, mut spot: Spot) -> Option<Problem> {
    let wrong = match item {
        Item::Value(value) => key.shape.check(value).err()?,
        // `[wallet.uri]` with `env` below it says the same as an inline table.
        Item::Table(inner) => {
            let inline = Value::InlineTable(inner.clone().into_inline_table());
            key.shape.check(&inline).err()?
        }
        Item::None | Item::ArrayOfTables(_) => Wrong {
            found: kind_of(item),
            allowed: key.allowed(),
            hint: String::new(),
            entry: None,
        },
    };
    spot.extend(wrong.entry.map(PathPart::Index));
    Some(Problem::new(spot, wrong.found, wrong.allowed, wrong.hint))
}

fn unknown(section: Section, word: &str, spot: Spot) -> Problem {
    let known = known(section);
    let hint = did_you_mean(word, known.iter().copied())
        .map(|meant| format!("did you mean `{meant}`?"))
        .or_else(|| elsewhere(word))
        .unwrap_or_default();
    Problem::new(spot, "an unknown key", known.join(", "), hint)
}

/// The names that may stand in a table.
pub(super) fn known(section: Section) -> Vec<&'static str> {
    let parent = section.path();
    let children = Section::ALL.into_iter().filter_map(|child| {
        let (last, rest) = child.path().split_last()?;
        (rest == parent).then_some(*last)
    });
    keys::of(section)
        .map(|key| key.field)
        .chain(children)
        .collect()
}

/// A right name in the wrong table.
fn elsewhere(word: &str) -> Option<String> {
    let key = keys::KEYS.iter().find(|key| key.field == word)?;
    Some(match key.section {
        Section::Root => format!("`{word}` stands before the first table"),
        section => format!("`{word}` belongs in {}", section.header()),
    })
}
