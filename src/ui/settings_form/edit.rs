//! What is being typed into one field, and how it gets into the form.

use tui_input::{Input as Line, InputRequest};

use super::draft::table_name;
use super::field::masked;
use super::{Cell, Form, Row, Typed};
use crate::config::keys::Section;

/// Where a typed text goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Into a field.
    Field(String),
    /// Into an entry of a list.
    Entry(String, usize),
    /// Behind the last entry of a list.
    NewEntry(String),
    /// It names a new table of a list.
    NewTable(Section),
}

/// A field being edited.
#[derive(Clone)]
pub struct Edit {
    /// What.
    pub target: Target,
    /// What is typed.
    pub line: Line,
    /// What it was when the editing began.
    pub before: String,
    /// The words to choose from, where nothing is typed.
    pub choices: Option<&'static [&'static str]>,
    /// Never shown?
    pub secret: bool,
    /// Why it can't be kept as it is.
    pub error: Option<String>,
}

/// Without what is typed: it may be a secret.
impl std::fmt::Debug for Edit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edit")
            .field("target", &self.target)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl Edit {
    /// Is it other than when the editing began?
    #[must_use]
    pub fn changed(&self) -> bool {
        self.line.value() != self.before
    }

    /// The word `steps` further, round and round.
    fn cycle(&mut self, forward: bool) {
        let Some(words) = self.choices.filter(|words| !words.is_empty()) else {
            return;
        };
        let here = words.iter().position(|word| *word == self.line.value());
        let steps = if forward { 1 } else { words.len() - 1 };
        let next = here.map_or(0, |here| (here + steps) % words.len());
        self.line = Line::new(words[next].to_owned());
    }
}

impl Form {
    /// Begins to edit the chosen row. A value that is masked begins empty: stars must never be saved.
    pub fn begin(&mut self) {
        self.error = None;
        self.note = None;
        if self.busy() {
            return;
        }
        match self.row().cloned() {
            Some(Row::Field(at)) => {
                let Some(cell) = self.cells.get(at) else {
                    return;
                };
                if cell.field.is_list() {
                    let name = cell.field.name.clone();
                    self.open(Target::NewEntry(name), String::new(), None, false);
                    return;
                }
                let shown = cell.value().unwrap_or_default();
                let hidden = cell.field.secret() && cell.shown().as_deref() == Some("***");
                let before = if hidden || masked(&shown) != shown {
                    String::new()
                } else {
                    shown
                };
                let (choices, secret) = (cell.field.choices(), cell.field.secret());
                let name = cell.field.name.clone();
                self.open(Target::Field(name), before, choices, secret);
            }
            Some(Row::Entry(at, entry)) => {
                let Some(cell) = self.cells.get(at) else {
                    return;
                };
                let shown = cell.entries().get(entry).cloned().unwrap_or_default();
                let before = if masked(&shown) == shown {
                    shown
                } else {
                    String::new()
                };
                let name = cell.field.name.clone();
                self.open(Target::Entry(name, entry), before, None, false);
            }
            Some(Row::Table(section, name)) => {
                // The row of a table stands for its name.
                let field = format!("{}.name", table_name(section, &name));
                let found = self.choose(&field);
                if found {
                    self.begin();
                }
            }
            Some(Row::More(section)) => {
                self.open(Target::NewTable(section), String::new(), None, false);
            }
            None => {}
        }
    }

    /// Begins a new entry of the chosen list, or a new table.
    pub fn add(&mut self) {
        self.error = None;
        self.note = None;
        if self.busy() {
            return;
        }
        let target = match self.row() {
            Some(Row::Field(at) | Row::Entry(at, _)) => match self.cells.get(*at) {
                Some(cell) if cell.field.is_list() => Target::NewEntry(cell.field.name.clone()),
                Some(cell) if cell.field.key.section.repeated() => {
                    Target::NewTable(cell.field.key.section)
                }
                // Beside the general prices is where a model's own price is looked for.
                Some(cell) if cell.field.key.section == Section::Price => {
                    Target::NewTable(Section::PriceModel)
                }
                _ => {
                    self.note = Some("nothing can be added here".to_owned());
                    return;
                }
            },
            Some(Row::Table(section, _) | Row::More(section)) => Target::NewTable(*section),
            None => return,
        };
        if let Target::NewTable(section) = target {
            self.choose(&section.header());
        }
        self.open(target, String::new(), None, false);
    }

    /// Takes the chosen entry or table out.
    pub fn remove(&mut self) {
        self.error = None;
        self.note = None;
        if self.busy() {
            return;
        }
        match self.row().cloned() {
            Some(Row::Entry(at, entry)) => {
                let Some(cell) = self.cells.get(at) else {
                    return;
                };
                let mut entries = cell.entries().to_vec();
                if entry < entries.len() {
                    entries.remove(entry);
                }
                let (name, list) = (cell.field.name.clone(), cell.field.key.shape.join(&entries));
                self.set(&name, Some(list));
            }
            Some(Row::Table(section, name)) => self.remove_table(section, &name),
            Some(Row::Field(at)) => {
                let field = self.cells.get(at).map(|cell| &cell.field);
                let Some(field) = field else { return };
                let section = field.key.section;
                match &field.table {
                    Some(name) if section.repeated() => {
                        let name = name.clone();
                        self.remove_table(section, &name);
                    }
                    _ => self.note = Some("d sets this field back to its default".to_owned()),
                }
            }
            Some(Row::More(_)) | None => self.note = Some("nothing can be removed here".to_owned()),
        }
    }

    fn remove_table(&mut self, section: Section, name: &str) {
        let tables = |row: &&Row| matches!(row, Row::Table(own, _) if *own == section);
        if section == Section::Endpoint && self.rows.iter().filter(tables).count() == 1 {
            self.error =
                Some("a shop needs one inference server; change this one instead".to_owned());
            return;
        }
        self.draft.push(super::Change::Remove {
            section,
            name: name.to_owned(),
        });
        self.recompute();
        self.note = Some(format!("{name} goes when you save; u takes it back"));
    }

    fn open(
        &mut self,
        target: Target,
        before: String,
        choices: Option<&'static [&'static str]>,
        secret: bool,
    ) {
        self.revealed = None;
        self.edit = Some(Edit {
            target,
            line: Line::new(before.clone()),
            before,
            choices,
            secret,
            error: None,
        });
    }

    /// Puts a pasted text where the cursor is.
    pub fn paste(&mut self, text: &str) {
        let Some(edit) = self.edit.as_mut().filter(|edit| edit.choices.is_none()) else {
            return;
        };
        for c in text.chars() {
            edit.line.handle(InputRequest::InsertChar(c));
        }
        self.check();
    }

    /// Is the name of a key being typed?
    #[must_use]
    pub fn edits_keys(&self) -> bool {
        let name = self.edit.as_ref().and_then(name_of);
        name.is_some_and(|name| name.starts_with("keys."))
    }

    /// Puts the name of a key behind those that are typed.
    pub fn put_key(&mut self, key: &str) {
        let Some(edit) = &mut self.edit else { return };
        let typed = edit.line.value().trim().trim_end_matches(',');
        let all = if typed.is_empty() {
            key.to_owned()
        } else {
            format!("{typed}, {key}")
        };
        edit.line = Line::new(all);
        self.check();
    }

    /// The next or the previous of the words to choose from.
    pub fn cycle(&mut self, forward: bool) {
        if let Some(edit) = &mut self.edit {
            edit.cycle(forward);
        }
        self.check();
    }

    /// Looks at what is typed.
    pub fn check(&mut self) {
        let error = self.edit.as_ref().and_then(|edit| self.fault(edit));
        if let Some(edit) = &mut self.edit {
            edit.error = error;
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.field.name == name)
    }

    /// Takes what is typed into the form. False: it can't be, and the edit says why.
    pub fn keep(&mut self) -> bool {
        self.check();
        let Some(edit) = &self.edit else { return true };
        if edit.error.is_some() {
            // A text that nobody touched is no wish.
            if !edit.changed() {
                self.edit = None;
            }
            return self.edit.is_none();
        }
        let Some(edit) = self.edit.take() else {
            return true;
        };
        let text = edit.line.value().to_owned();
        match &edit.target {
            Target::Field(_) | Target::Entry(..) if !edit.changed() => {}
            Target::Field(name) => self.keep_field(name, &text),
            Target::Entry(name, at) => {
                let Some(cell) = self.find(name) else {
                    return true;
                };
                let mut entries = cell.entries().to_vec();
                if let Some(entry) = entries.get_mut(*at) {
                    *entry = text;
                }
                let list = cell.field.key.shape.join(&entries);
                self.set(name, Some(list));
            }
            Target::NewEntry(name) => {
                let Some(cell) = self.find(name) else {
                    return true;
                };
                let mut entries = cell.entries().to_vec();
                entries.push(text);
                let list = cell.field.key.shape.join(&entries);
                self.set(name, Some(list));
                let last = entries.len() - 1;
                let at = self
                    .rows
                    .iter()
                    .position(|row| self.is_entry(row, name, last));
                self.at = at.unwrap_or(self.at);
            }
            Target::NewTable(section) => self.keep_table(*section, &text),
        }
        true
    }

    fn is_entry(&self, row: &Row, name: &str, entry: usize) -> bool {
        matches!(row, Row::Entry(cell, at)
            if *at == entry && self.cells.get(*cell).is_some_and(|cell| cell.field.name == name))
    }

    fn keep_field(&mut self, name: &str, text: &str) {
        let Some(cell) = self.find(name) else { return };
        let field = &cell.field;
        let gone = field.key.optional && text.trim().is_empty();
        // A number or a list is kept as it will be read back, so that the same value is no change.
        let value = match field.key.shape.parse(text) {
            Ok(value) if !field.secret() && field.key.section != Section::Keys => {
                field.key.shape.text(&value)
            }
            _ => text.trim().to_owned(),
        };
        self.set(name, (!gone).then_some(value));
    }

    fn keep_table(&mut self, section: Section, name: &str) {
        let mut with = Vec::new();
        if section == Section::PriceModel {
            // Never free by an oversight: it begins with the general price.
            let general = self.find("price.price_per_1k_tokens").and_then(Cell::value);
            let price = general.unwrap_or_else(|| "0".to_owned());
            for field in ["price_per_1k_input", "price_per_1k_output"] {
                with.push((field.to_owned(), Typed(price.clone())));
            }
        }
        if section == Section::Offer {
            // Of the kinds that are sold this way the one with the most requests; the field is there to be changed.
            with.push(("kind".to_owned(), Typed("5002".to_owned())));
        }
        self.draft.push(super::Change::Add {
            section,
            name: name.to_owned(),
            with,
        });
        self.recompute();
        self.choose(&table_name(section, name));
    }
}

/// The field that is being edited, where it is in the file.
pub fn name_of(edit: &Edit) -> Option<&str> {
    match &edit.target {
        Target::Field(name) | Target::Entry(name, _) | Target::NewEntry(name) => Some(name),
        Target::NewTable(_) => None,
    }
}

/// Is it this field that is being edited?
pub fn is_about(edit: &Edit, name: &str) -> bool {
    name_of(edit) == Some(name)
}
