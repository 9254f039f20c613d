//! What was changed in the form and is not saved yet.

use std::fmt;

use super::{Cell, Form, Row};
use crate::config::edit;
use crate::config::keys::Section;

/// A text that somebody typed, perhaps a secret: never in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Typed(pub String);

impl fmt::Debug for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Typed(***)")
    }
}

/// One change, in the words of the form: a table goes by the name that it has in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A field gets a value; none: its default.
    Set {
        /// The dotted name.
        name: String,
        /// What was typed.
        value: Option<Typed>,
    },
    /// A new table in a list.
    Add {
        /// Which list.
        section: Section,
        /// The table's name.
        name: String,
        /// Keys that it begins with.
        with: Vec<(String, Typed)>,
    },
    /// A table of a list goes.
    Remove {
        /// Which list.
        section: Section,
        /// The table's name.
        name: String,
    },
}

/// The dotted name of a table of a list.
pub fn table_name(section: Section, name: &str) -> String {
    format!("{}.{name}", section.path().join("."))
}

impl Change {
    /// Is it about this table of a list, or a field in it?
    pub(super) fn is_of(&self, section: Section, table: &str) -> bool {
        match self {
            Self::Set { name, .. } => name
                .strip_prefix(&table_name(section, table))
                .and_then(|rest| rest.strip_prefix('.'))
                .is_some_and(|field| !field.contains('.')),
            Self::Add {
                section: own, name, ..
            }
            | Self::Remove { section: own, name } => *own == section && name == table,
        }
    }

    /// As the settings' own room takes it.
    #[must_use]
    pub fn edits(&self) -> Vec<edit::Change<'_>> {
        match self {
            Self::Set { name, value } => vec![edit::Change::Set {
                key: name,
                text: value.as_ref().map(|value| value.0.as_str()),
            }],
            Self::Add { section, name, .. } => vec![edit::Change::Add {
                section: *section,
                name,
            }],
            Self::Remove { section, name } => vec![edit::Change::Remove {
                section: *section,
                name,
            }],
        }
    }
}

impl Form {
    /// What a save would change, in the order in which it must happen: each field once, nothing that is as it was, and new
    /// names last, as until then the old ones are what the tables are called by.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        let mut out: Vec<Change> = Vec::new();
        for change in &self.draft {
            match change {
                Change::Add {
                    section,
                    name,
                    with,
                } => {
                    out.push(change.clone());
                    out.extend(with.iter().map(|(field, value)| Change::Set {
                        name: format!("{}.{field}", table_name(*section, name)),
                        value: Some(value.clone()),
                    }));
                }
                Change::Remove { section, name } => {
                    let added = out
                        .iter()
                        .any(|one| matches!(one, Change::Add { .. }) && one.is_of(*section, name));
                    out.retain(|one| !one.is_of(*section, name));
                    if !added {
                        out.push(change.clone());
                    }
                }
                Change::Set { name, .. } => {
                    out.retain(|one| !matches!(one, Change::Set { name: old, .. } if old == name));
                    if self.differs(change) {
                        out.push(change.clone());
                    }
                }
            }
        }
        // Stable: all else keeps its order.
        out.sort_by_key(is_rename);
        out
    }

    /// Is a field other than in the file?
    fn differs(&self, change: &Change) -> bool {
        let Change::Set { name, value } = change else {
            return true;
        };
        match (self.base.iter().find(|field| field.name == *name), value) {
            (None, value) => value.is_some(),
            (Some(field), None) => field.value != field.default,
            (Some(field), Some(value)) => !field.is(&value.0),
        }
    }

    /// Changes a field.
    pub(super) fn set(&mut self, name: &str, value: Option<String>) {
        self.draft.push(Change::Set {
            name: name.to_owned(),
            value: value.map(Typed),
        });
        self.recompute();
    }

    /// Takes back the last change.
    pub fn undo(&mut self) {
        self.error = None;
        self.note = None;
        if self.busy() {
            return;
        }
        match self.draft.pop() {
            Some(change) => {
                self.forget_settled();
                self.recompute();
                let name = match change {
                    Change::Set { name, .. } => name,
                    Change::Add { section, name, .. } | Change::Remove { section, name } => {
                        table_name(section, &name)
                    }
                };
                self.choose(&name);
                self.note = Some(format!("taken back: {name}"));
            }
            None => self.note = Some("nothing is changed".to_owned()),
        }
    }

    /// Sets the chosen field back to its default.
    pub fn reset(&mut self) {
        self.error = None;
        if self.busy() {
            return;
        }
        if let Some(Row::Field(at) | Row::Entry(at, _)) = self.row().cloned()
            && let Some(cell) = self.cells.get(at)
        {
            if cell.field.key.required() || cell.field.key.field == "name" {
                self.note = Some("this field has no default".to_owned());
                return;
            }
            let name = cell.field.name.clone();
            if cell.value() != cell.field.default {
                self.set(&name, None);
            }
        }
    }

    /// Forgets every change.
    pub fn drop_changes(&mut self) {
        self.draft.clear();
        self.conflicts.clear();
        self.edit = None;
        self.error = None;
        self.recompute();
    }

    /// A save is under way: nothing may change meanwhile.
    pub(super) fn busy(&mut self) -> bool {
        if self.saving {
            self.note = Some("saving…".to_owned());
        }
        self.saving
    }

    /// The names that the tables of a list have or had: none of them can be given again before a save.
    pub(super) fn taken(&self, section: Section, name: &str) -> bool {
        let is = |cell: &Cell| {
            cell.field.key.section == section
                && (cell.field.table.as_deref() == Some(name)
                    || (cell.field.key.field == "name" && cell.value().as_deref() == Some(name)))
        };
        let in_file = |field: &super::Field| {
            field.key.section == section && field.table.as_deref() == Some(name)
        };
        self.cells.iter().any(is) || self.base.iter().any(in_file)
    }
}

fn is_rename(change: &Change) -> bool {
    let Change::Set { name, .. } = change else {
        return false;
    };
    crate::config::keys::find(name)
        .is_some_and(|(key, _)| key.section.repeated() && key.field == "name")
}
