//! Settings: every field with its value, and what the chosen one is for.

use ratatui::layout::Rect;

use super::first_row;
use crate::domain::text::clean;
use crate::ui::app::App;
use crate::ui::pen::{Pen, wrap};
use crate::ui::settings_form::{Edit, Field, Form};
use crate::ui::theme::Role;

/// Rows of the help below the list.
const HELP: u16 = 5;
/// Columns of a field's name.
const NAME: u16 = 34;

/// Draws the tab.
pub fn draw(app: &App, pen: &mut Pen<'_>, area: Rect) {
    let form = &app.form;
    let list = Rect {
        height: area.height - HELP,
        ..area
    };
    let below = Rect::new(area.x, list.bottom(), area.width, HELP);
    let group = form.chosen().map_or("Settings", |field| field.group);
    let inner = pen.frame(list, group);
    let height = usize::from(inner.height);
    let first = first_row(form.at, form.fields.len(), height);
    for (row, field) in (0..).zip(form.fields.iter().skip(first).take(height)) {
        let chosen = first + usize::from(row) == form.at;
        line(form, field, pen, inner, row, chosen);
    }
    if form.fields.is_empty() && form.error.is_none() {
        pen.row(inner, 0, &[("the settings are being read", Role::Dim)]);
    }
    help(form, pen, below);
}

fn line(form: &Form, field: &Field, pen: &mut Pen<'_>, area: Rect, row: u16, chosen: bool) {
    let edit = form.edit.as_ref().filter(|edit| edit.name == field.name);
    let mark = if edit.is_some_and(Edit::changed) {
        "*"
    } else {
        " "
    };
    let value = match edit {
        Some(edit) => typed(edit, field.secret, area.width.saturating_sub(NAME + 4)),
        None => shown(field),
    };
    let name = clean(&field.name, 80);
    let cells = [
        (mark, 1),
        (name.as_str(), NAME),
        (value.as_str(), area.width.saturating_sub(NAME + 3)),
    ];
    let role = match (chosen, field.default) {
        (true, _) => Role::Selected,
        (false, true) => Role::Dim,
        (false, false) => Role::Text,
    };
    pen.cells(area, row, &cells, role);
}

fn shown(field: &Field) -> String {
    match &field.value {
        Some(_) if field.secret => "***".to_owned(),
        Some(value) if value.is_empty() => "(empty)".to_owned(),
        Some(value) => clean(value, 300),
        None => "(not set)".to_owned(),
    }
}

/// What is typed, with the place of the cursor; the end of it where it is longer than its room.
fn typed(edit: &Edit, secret: bool, width: u16) -> String {
    let mut text: Vec<char> = edit.line.value().chars().collect();
    if secret {
        text.fill('*');
    }
    let at = edit.line.cursor().min(text.len());
    let mut shown: Vec<char> = text[..at].to_vec();
    shown.push('_');
    shown.extend(&text[at..]);
    let over = (at + 1).saturating_sub(usize::from(width));
    shown.into_iter().skip(over).collect()
}

fn help(form: &Form, pen: &mut Pen<'_>, area: Rect) {
    let inner = pen.frame(area, "What it is for");
    if let Some(field) = form.chosen() {
        pen.row(inner, 0, &[(field.help, Role::Text)]);
        let applies = format!("applies: {}   may be: {}", field.applies, field.allowed);
        pen.row(inner, 1, &[(&applies, Role::Dim)]);
    }
    let error = form.edit.as_ref().and_then(|edit| edit.error.as_ref());
    if let Some(error) = error.or(form.error.as_ref()) {
        let lines = wrap(&clean(error, 400), inner.width);
        for (row, line) in (2..).zip(&lines) {
            pen.row(inner, row, &[(line, Role::Bad)]);
        }
    }
}
