//! The fields with their changes, and the rows that the list shows of them.

use super::draft::table_name;
use super::field::{STARS, masked, stamp};
use super::{Change, Field, Form, Typed};
use crate::config::check::wallet_uses;
use crate::config::keys::{self, Section};
use crate::config::schema::Backend;

/// A field with what was changed in it.
#[derive(Clone)]
pub struct Cell {
    /// As the file has it.
    pub field: Field,
    /// What was made of it; the inner none: its default.
    pub typed: Option<Option<Typed>>,
    /// Its table is not in the file yet.
    pub fresh: bool,
    /// The entries of a list, read once: a list may have thousands.
    entries: Vec<String>,
}

/// The value only as it may be shown.
impl std::fmt::Debug for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cell")
            .field("field", &self.field)
            .field("typed", &self.typed)
            .finish_non_exhaustive()
    }
}

impl Cell {
    /// The value as it would be saved; `***` for a secret that stays as it is.
    #[must_use]
    pub fn value(&self) -> Option<String> {
        match &self.typed {
            Some(Some(typed)) => Some(typed.0.clone()),
            Some(None) => self.field.default.clone(),
            None => self.field.value.clone(),
        }
    }

    /// The value as it may be shown.
    #[must_use]
    pub fn shown(&self) -> Option<String> {
        let value = self.value()?;
        let source = value.trim_start().starts_with('{');
        if self.field.secret() && !source {
            return Some(STARS.to_owned());
        }
        Some(masked(&value))
    }

    /// Is it other than in the file?
    #[must_use]
    pub fn changed(&self) -> bool {
        match &self.typed {
            None => self.fresh,
            Some(_) if self.fresh => true,
            Some(None) => self.field.value != self.field.default,
            Some(Some(typed)) => !self.field.is(&typed.0),
        }
    }

    /// Is it the default?
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.value() == self.field.default
    }

    /// The entries of a list.
    #[must_use]
    pub fn entries(&self) -> &[String] {
        &self.entries
    }
}

/// One row of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A field, by its place in [`Form::cells`]; for a list the row above its entries.
    Field(usize),
    /// An entry of a list: the field's place, and the entry's.
    Entry(usize, usize),
    /// The row above the fields of a table of a list, by the table's name in the file.
    Table(Section, String),
    /// The row that stands for a table that could be added.
    More(Section),
}

impl Form {
    /// Works out cells and rows anew; the chosen row stays chosen as far as it is still there.
    pub(super) fn recompute(&mut self) {
        let held = self.row().cloned().and_then(|row| self.key_of(&row));
        let mut cells: Vec<Cell> = self.base.iter().cloned().map(plain).collect();
        for change in &self.draft {
            overlay(&mut cells, change);
        }
        for cell in cells.iter_mut().filter(|cell| cell.field.is_list()) {
            let value = cell.value().unwrap_or_default();
            cell.entries = cell.field.key.shape.entries(&value);
        }
        self.rows = rows(&cells);
        self.cells = cells;
        let same = held.and_then(|held| {
            let mut all = self.rows.iter();
            all.position(|row| self.key_of(row).as_ref() == Some(&held))
        });
        self.at = same
            .unwrap_or(self.at)
            .min(self.rows.len().saturating_sub(1));
    }

    /// What makes a row the same one after a change.
    fn key_of(&self, row: &Row) -> Option<(String, Option<usize>)> {
        match row {
            Row::Field(at) => Some((self.cells.get(*at)?.field.name.clone(), None)),
            Row::Entry(at, entry) => Some((self.cells.get(*at)?.field.name.clone(), Some(*entry))),
            Row::Table(section, name) => Some((table_name(*section, name), None)),
            Row::More(section) => Some((section.header(), None)),
        }
    }

    /// Goes to the first field or table whose name holds what is looked for, else to the first of which it is said.
    pub(in crate::ui) fn searched(&mut self) {
        let words = self.search.trim().to_lowercase();
        self.found = true;
        if words.is_empty() {
            return;
        }
        let named = |row: &Row| {
            let name = self.key_of(row).map(|(name, _)| name.to_lowercase());
            name.is_some_and(|name| name.contains(&words))
        };
        let said = |row: &Row| match row {
            Row::Field(at) => (self.cells.get(*at))
                .is_some_and(|cell| cell.field.help.to_lowercase().contains(&words)),
            _ => false,
        };
        let rows = || self.rows.iter();
        if let Some(at) = rows().position(named).or_else(|| rows().position(said)) {
            self.go(|_, _| at);
        } else {
            self.found = false;
        }
    }

    /// The rows that hold what is looked for, in their name or in what is said of them.
    #[must_use]
    pub fn matches(&self) -> Vec<usize> {
        let words = self.search.trim().to_lowercase();
        if words.is_empty() {
            return Vec::new();
        }
        let holds = |row: &Row| {
            let named = self.key_of(row);
            let said = match row {
                Row::Field(at) => self.cells.get(*at).map(|cell| &cell.field.help),
                _ => None,
            };
            named.is_some_and(|(name, _)| name.to_lowercase().contains(&words))
                || said.is_some_and(|said| said.to_lowercase().contains(&words))
        };
        let rows = self.rows.iter().enumerate();
        rows.filter(|(_, row)| holds(row))
            .map(|(at, _)| at)
            .collect()
    }

    /// The next row that holds what is looked for, or the one before; round and round.
    pub fn go_to_match(&mut self, down: bool) {
        let matches = self.matches();
        let here = self.at;
        let found = if down {
            (matches.iter().find(|at| **at > here)).or(matches.first())
        } else {
            (matches.iter().rev().find(|at| **at < here)).or(matches.last())
        };
        let found = found.copied();
        self.note = Some(match found {
            Some(at) => {
                let nth = matches.iter().position(|one| *one == at).unwrap_or(0) + 1;
                format!("{nth} of {} with \"{}\"", matches.len(), self.search.trim())
            }
            None => "nothing is looked for: / finds a setting".to_owned(),
        });
        if let Some(at) = found {
            self.go(|_, _| at);
        }
    }

    /// Chooses the row of a field or a table by its dotted name. False: there is none.
    pub fn choose(&mut self, name: &str) -> bool {
        let named = |row: &Row| self.key_of(row).is_some_and(|(own, _)| own == name);
        let found = self.rows.iter().position(named);
        if let Some(at) = found {
            self.at = at;
        }
        found.is_some()
    }
}

fn plain(field: Field) -> Cell {
    Cell {
        field,
        typed: None,
        fresh: false,
        entries: Vec::new(),
    }
}

fn overlay(cells: &mut Vec<Cell>, change: &Change) {
    match change {
        Change::Set { name, value } => {
            if let Some(cell) = cells.iter_mut().find(|cell| cell.field.name == *name) {
                cell.typed = Some(value.clone());
            }
        }
        Change::Add {
            section,
            name,
            with,
        } => {
            let place = order(*section);
            let after = cells
                .iter()
                .position(|cell| order(cell.field.key.section) > place)
                .unwrap_or(cells.len());
            let mut new: Vec<Cell> = keys::of(*section).map(|key| fresh(key, name)).collect();
            for (field, value) in with {
                let mut named = new.iter_mut().filter(|cell| cell.field.key.field == field);
                if let Some(cell) = named.next() {
                    cell.typed = Some(Some(value.clone()));
                }
            }
            cells.splice(after..after, new);
        }
        Change::Remove { section, name } => cells.retain(|cell| {
            cell.field.key.section != *section || cell.field.table.as_ref() != Some(name)
        }),
    }
}

fn order(section: Section) -> usize {
    let all = Section::ALL;
    all.iter()
        .position(|one| *one == section)
        .unwrap_or(all.len())
}

/// A field of a table that is not in the file yet.
fn fresh(key: &'static keys::Key, table: &str) -> Cell {
    let default = key.default_text();
    let value = if key.field == "name" {
        Some(table.to_owned())
    } else {
        default.clone()
    };
    let field = Field {
        name: key.name().replacen("NAME", table, 1),
        key,
        table: Some(table.to_owned()),
        help: key.help,
        value,
        default,
        stamp: stamp(""),
    };
    Cell {
        field,
        typed: None,
        fresh: true,
        entries: Vec::new(),
    }
}

fn rows(cells: &[Cell]) -> Vec<Row> {
    let mut rows = Vec::new();
    let backend = backend(cells);
    for section in Section::ALL {
        let mut table: Option<&str> = None;
        let here = (0..)
            .zip(cells)
            .filter(|(_, cell)| cell.field.key.section == section);
        for (at, cell) in here {
            if section.repeated() && cell.field.table.as_deref() != table {
                table = cell.field.table.as_deref();
                rows.push(Row::Table(section, table.unwrap_or_default().to_owned()));
            }
            if is_shown(cell, backend) {
                rows.push(Row::Field(at));
                if cell.field.is_list() {
                    rows.extend((0..cell.entries().len()).map(|entry| Row::Entry(at, entry)));
                }
            }
        }
        if section.repeated() {
            rows.push(Row::More(section));
        }
    }
    rows
}

/// The wallet that would be used after a save.
fn backend(cells: &[Cell]) -> Option<Backend> {
    let cell = cells
        .iter()
        .find(|cell| cell.field.name == "wallet.backend")?;
    let word = cell.value()?;
    Backend::ALL
        .into_iter()
        .find(|backend| backend.as_str() == word)
}

/// A key of another wallet is shown only where it is set, as it must then be taken out.
fn is_shown(cell: &Cell, backend: Option<Backend>) -> bool {
    let Some(backend) = backend.filter(|_| cell.field.key.section == Section::Wallet) else {
        return true;
    };
    wallet_uses(backend, cell.field.key.field) || cell.value().is_some() || cell.changed()
}
