//! The file was changed by somebody else while there are changes here.

use super::draft::table_name;
use super::field::{STARS, masked};
use super::{Change, Field, Form, Read, Typed};
use crate::config::keys::Section;

/// A field, or a whole table, that was changed here and in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The dotted name of the field or the table.
    pub name: String,
    /// What it is here, as it may be shown.
    pub mine: String,
    /// What it is in the file now, as it may be shown.
    pub theirs: String,
    /// The table of a list, where all of it is the matter.
    table: Option<(Section, String)>,
    /// What the table held here, where it is gone there.
    held: Vec<(String, Typed)>,
}

impl Form {
    /// The first thing that somebody has to decide.
    #[must_use]
    pub fn conflict(&self) -> Option<&Conflict> {
        self.conflicts.first()
    }

    /// Takes in the fields as the file now has them. What is not edited here is as in the file at once; where the same field
    /// was changed on both sides, a conflict is noted.
    pub fn loaded(&mut self, read: &Read) {
        let old = std::mem::replace(&mut self.base, read.fields.clone());
        if !old.is_empty() {
            let same =
                |(one, two): (&Field, &Field)| one.name == two.name && one.stamp == two.stamp;
            if old.len() != self.base.len() || !old.iter().zip(&self.base).all(same) {
                self.note = Some(
                    "the file was changed by somebody else, and the shop has taken it".to_owned(),
                );
            }
            self.compare(&old);
        }
        self.error = None;
        self.recompute();
    }

    /// The file can't be read; what is here stays.
    pub fn unreadable(&mut self, error: String) {
        self.error = Some(error);
    }

    /// The changes have been saved.
    pub fn saved(&mut self, read: &Read) {
        self.saving = false;
        self.draft.clear();
        self.conflicts.clear();
        self.base.clone_from(&read.fields);
        self.error = None;
        self.recompute();
    }

    /// The changes could not be saved: all of them are still here, and the field that is named is chosen.
    pub fn not_saved(&mut self, key: Option<&str>, error: String) {
        self.saving = false;
        self.then = None;
        if let Some(key) = key
            && !self.choose(key)
        {
            self.choose(key.rsplit_once('.').map_or(key, |(table, _)| table));
        }
        self.error = Some(error);
    }

    /// Settles the first conflict: mine, or theirs.
    pub fn settle(&mut self, mine: bool) {
        if self.conflicts.is_empty() {
            return;
        }
        let conflict = self.conflicts.remove(0);
        match (&conflict.table, mine) {
            (None, true) => {}
            (None, false) => {
                let about = |change: &Change| matches!(change, Change::Set { name, .. } if *name == conflict.name);
                self.draft.retain(|change| !about(change));
                if let Some(edit) = &self.edit
                    && super::edit::is_about(edit, &conflict.name)
                {
                    self.edit = None;
                }
            }
            (Some((section, name)), mine) => {
                let (section, name) = (*section, name.clone());
                if mine && !self.base.iter().any(|field| is_in(field, section, &name)) {
                    self.add_again(section, &name, conflict.held.clone());
                } else if mine {
                    self.merge_into_theirs(section, &name);
                } else {
                    self.draft.retain(|change| !change.is_of(section, &name));
                }
            }
        }
        self.recompute();
        self.choose(&conflict.name);
    }

    /// Forgets conflicts about what is no longer changed here.
    pub(super) fn forget_settled(&mut self) {
        let draft = &self.draft;
        self.conflicts.retain(|conflict| {
            draft.iter().any(|change| match (&conflict.table, change) {
                (Some((section, name)), change) => change.is_of(*section, name),
                (None, Change::Set { name, .. }) => *name == conflict.name,
                (None, _) => false,
            })
        });
    }

    fn compare(&mut self, old: &[Field]) {
        let mut found: Vec<Conflict> = Vec::new();
        for change in self.draft.clone() {
            let conflict = match &change {
                Change::Set { name, value } => self.compare_field(old, name, value.as_ref()),
                Change::Add { section, name, .. } => self.compare_added(*section, name),
                Change::Remove { .. } => None,
            };
            if let Some(conflict) = conflict {
                found.retain(|one| one.name != conflict.name);
                found.push(conflict);
            }
        }
        if let Some(conflict) = self.compare_open(old) {
            found.retain(|one| one.name != conflict.name);
            found.push(conflict);
        }
        // A table that is gone there has nothing left to be taken out here.
        let base = &self.base;
        self.draft.retain(|change| match change {
            Change::Remove { section, name } => {
                base.iter().any(|field| is_in(field, *section, name))
            }
            _ => true,
        });
        for conflict in found {
            self.conflicts.retain(|one| one.name != conflict.name);
            self.conflicts.push(conflict);
        }
    }

    fn compare_field(&self, old: &[Field], name: &str, value: Option<&Typed>) -> Option<Conflict> {
        let before = old.iter().find(|field| field.name == name)?;
        let mine = match value {
            Some(_) if before.secret() => STARS.to_owned(),
            Some(value) => masked(&value.0),
            None => "the default".to_owned(),
        };
        let Some(now) = self.base.iter().find(|field| field.name == name) else {
            let (section, table) = (before.key.section, before.table.clone()?);
            return Some(Conflict {
                name: table_name(section, &table),
                mine: "changed".to_owned(),
                theirs: "removed".to_owned(),
                held: self.held(section, &table),
                table: Some((section, table)),
            });
        };
        let same = match value {
            Some(value) => now.is(&value.0),
            None => now.value == now.default,
        };
        (now.stamp != before.stamp && !same).then(|| Conflict {
            name: name.to_owned(),
            mine,
            theirs: shown(now),
            table: None,
            held: Vec::new(),
        })
    }

    fn compare_added(&self, section: Section, name: &str) -> Option<Conflict> {
        let there = self.base.iter().any(|field| is_in(field, section, name));
        there.then(|| Conflict {
            name: table_name(section, name),
            mine: "added".to_owned(),
            theirs: "added too".to_owned(),
            held: Vec::new(),
            table: Some((section, name.to_owned())),
        })
    }

    /// The field that is being typed into is one that is changed here.
    fn compare_open(&self, old: &[Field]) -> Option<Conflict> {
        let edit = self.edit.as_ref().filter(|edit| edit.changed())?;
        let name = super::edit::name_of(edit)?;
        let before = old.iter().find(|field| field.name == name)?;
        let now = self.base.iter().find(|field| field.name == name)?;
        (now.stamp != before.stamp).then(|| Conflict {
            name: name.to_owned(),
            mine: if before.secret() {
                STARS.to_owned()
            } else {
                masked(edit.line.value())
            },
            theirs: shown(now),
            table: None,
            held: Vec::new(),
        })
    }

    /// What a table holds here, but for the secrets that were in the file alone.
    fn held(&self, section: Section, name: &str) -> Vec<(String, Typed)> {
        let own = self.cells.iter().filter(|cell| {
            cell.field.key.section == section && cell.field.table.as_deref() == Some(name)
        });
        own.filter(|cell| cell.field.key.field != "name")
            .filter_map(|cell| {
                let value = cell.value().filter(|value| value != STARS)?;
                Some((cell.field.key.field.to_owned(), Typed(value)))
            })
            .collect()
    }

    /// A table that was removed there is made again, as it was here.
    fn add_again(&mut self, section: Section, name: &str, with: Vec<(String, Typed)>) {
        self.draft.retain(|change| !change.is_of(section, name));
        self.draft.push(Change::Add {
            section,
            name: name.to_owned(),
            with,
        });
    }

    /// A table that was added there too: what was set here is set in theirs.
    fn merge_into_theirs(&mut self, section: Section, name: &str) {
        let mut draft = Vec::new();
        for change in std::mem::take(&mut self.draft) {
            match change {
                Change::Add {
                    section: own,
                    name: added,
                    with,
                } if own == section && added == name => {
                    draft.extend(with.into_iter().map(|(field, value)| Change::Set {
                        name: format!("{}.{field}", table_name(section, name)),
                        value: Some(value),
                    }));
                }
                other => draft.push(other),
            }
        }
        self.draft = draft;
    }
}

fn is_in(field: &Field, section: Section, table: &str) -> bool {
    field.key.section == section && field.table.as_deref() == Some(table)
}

fn shown(field: &Field) -> String {
    match &field.value {
        Some(value) => masked(value),
        None => "not set".to_owned(),
    }
}
