//! Why what is typed can't be kept.

use std::collections::BTreeMap;

use super::{Edit, Form, Target};
use crate::config::edit as file;
use crate::config::keys::{Rule, Section, Shape};
use crate::config::schema::KeyNames;
use crate::ui::keymap::Keymap;

impl Form {
    /// Why what is typed can't be kept; none: it can.
    pub(super) fn fault(&self, edit: &Edit) -> Option<String> {
        let text = edit.line.value();
        match &edit.target {
            Target::Field(name) => {
                let cell = self.find(name)?;
                let key = cell.field.key;
                if key.section.repeated() && key.field == "name" && text != edit.before {
                    return self.name_fault(key.section, text);
                }
                if key.section == Section::Keys {
                    return self.keys_fault(name, text);
                }
                value_fault(name, text)
            }
            Target::Entry(name, _) | Target::NewEntry(name) => {
                let cell = self.find(name)?;
                let at = match edit.target {
                    Target::Entry(_, at) => Some(at),
                    _ => None,
                };
                let there = cell.entries();
                let twin = (0..)
                    .zip(there)
                    .any(|(place, entry)| Some(place) != at && entry == text);
                if twin {
                    return Some("it is in the list already".to_owned());
                }
                if text.trim().is_empty() {
                    return Some("must not be empty; x takes an entry out".to_owned());
                }
                value_fault(name, &cell.field.key.shape.join(&[text.to_owned()]))
            }
            Target::NewTable(section) => self.name_fault(*section, text),
        }
    }

    fn name_fault(&self, section: Section, text: &str) -> Option<String> {
        if let Err(hint) = Rule::Name.check(text) {
            return Some(format!("must be {}{}", Rule::Name.words(), after(hint)));
        }
        let taken = self.taken(section, text);
        taken.then(|| "this name is taken; each has its own".to_owned())
    }

    /// A key that would mean two things is told while it is typed.
    fn keys_fault(&self, name: &str, text: &str) -> Option<String> {
        if text.trim().is_empty() {
            return Some("type a key's name, or [] for no key at all".to_owned());
        }
        if let Some(fault) = value_fault(name, text) {
            return Some(fault);
        }
        let action = name.strip_prefix("keys.")?;
        let mut own = self.own_keys();
        own.insert(action.to_owned(), key_names(text));
        let error = Keymap::new(&own).err()?;
        Some(format!(
            "{}: found {}{}",
            error.action,
            error.found,
            after(&error.hint)
        ))
    }

    /// The keys as they would be after a save.
    pub(super) fn own_keys(&self) -> BTreeMap<String, KeyNames> {
        let own = self
            .cells
            .iter()
            .filter(|cell| cell.field.key.section == Section::Keys && !cell.is_default());
        own.filter_map(|cell| Some((cell.field.table.clone()?, key_names(&cell.value()?))))
            .collect()
    }
}

fn value_fault(name: &str, text: &str) -> Option<String> {
    let error = file::check_value(name, text).err()?;
    Some(format!("must be {}{}", error.allowed, after(&error.hint)))
}

fn after(hint: &str) -> String {
    if hint.is_empty() {
        String::new()
    } else {
        format!("; {hint}")
    }
}

/// Keys as they are typed: with commas between them, or as TOML.
pub fn key_names(text: &str) -> KeyNames {
    let value = Shape::Presses.parse(text);
    let list = value.as_ref().ok().and_then(|value| value.as_array());
    match list {
        Some(list) => KeyNames::Many(
            list.iter()
                .filter_map(|entry| entry.as_str().map(str::to_owned))
                .collect(),
        ),
        None => KeyNames::One(text.trim().to_owned()),
    }
}
