//! Settings: every field with its value, and what the chosen one is for.

use ratatui::layout::Rect;
use secrecy::ExposeSecret as _;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::first_row;
use crate::config::check::wallet_needs;
use crate::config::keys::Section;
use crate::config::schema::Backend;
use crate::domain::health::CheckStatus;
use crate::domain::text::clean;
use crate::ui::app::App;
use crate::ui::painter::Painter;
use crate::ui::settings_form::{Cell, Edit, Form, Row, Target, TestState};
use crate::ui::theme::Role;

/// From this width on the groups stand beside the list.
const WITH_GROUPS: u16 = 110;
/// Columns of the groups.
const GROUPS: u16 = 22;

/// The parts of the tab: the groups where there is room, the list, and what it is for.
fn parts(area: Rect) -> (Option<Rect>, Rect, Rect) {
    let tall = match area.height {
        0..=14 => 5,
        15..=30 => 7,
        _ => 10,
    };
    let list = Rect {
        height: area.height.saturating_sub(tall),
        ..area
    };
    let below = Rect::new(area.x, list.bottom(), area.width, tall.min(area.height));
    if area.width < WITH_GROUPS {
        return (None, list, below);
    }
    let groups = Rect {
        width: GROUPS,
        ..list
    };
    let list = Rect {
        x: list.x + GROUPS,
        width: list.width - GROUPS,
        ..list
    };
    (Some(groups), list, below)
}

/// The row of the list at a place of the screen.
pub fn row_at(app: &App, area: Rect, x: u16, y: u16) -> Option<usize> {
    let (_, list, _) = parts(area);
    let inside = (list.left() + 1..list.right() - 1).contains(&x)
        && (list.top() + 1..list.bottom() - 1).contains(&y);
    let height = usize::from(list.height.saturating_sub(2));
    let first = first_row(app.form.at, app.form.rows.len(), height);
    let row = first + usize::from(y.checked_sub(list.top() + 1)?);
    (inside && row < app.form.rows.len()).then_some(row)
}

/// Draws the tab.
pub fn draw(app: &App, painter: &mut Painter<'_>, area: Rect) {
    let form = &app.form;
    let (beside, list, below) = parts(area);
    if let Some(beside) = beside {
        groups(form, painter, beside);
    }
    let inner = painter.frame(list, &title(form));
    let height = usize::from(inner.height);
    let first = first_row(form.at, form.rows.len(), height);
    for (row, line) in (0..).zip(form.rows.iter().skip(first).take(height)) {
        let chosen = first + usize::from(row) == form.at;
        draw_row(form, line, painter, inner, row, chosen);
    }
    if form.rows.is_empty() && form.error.is_none() {
        painter.row(inner, 0, &[("the settings are being read", Role::Dim)]);
    }
    help(form, painter, below);
}

fn title(form: &Form) -> String {
    let group = form.section().map_or("Settings", Section::title);
    let save = match (form.saving, form.waiting()) {
        (true, _) => ", saving".to_owned(),
        (false, 0) => String::new(),
        (false, count) => format!(", {count} not saved"),
    };
    format!("{group}{save}")
}

fn groups(form: &Form, painter: &mut Painter<'_>, area: Rect) {
    let inner = painter.frame(area, "Groups");
    let here = form.section();
    for (row, section) in (0..).zip(Section::ALL) {
        let of = |cell: &&Cell| cell.field.key.section == section;
        let changed = form.cells.iter().filter(of).any(Cell::changed);
        let mark = if changed { "*" } else { " " };
        let role = if here == Some(section) {
            Role::Selected
        } else {
            Role::Text
        };
        let cells = [(mark, 1), (section.title(), inner.width.saturating_sub(2))];
        painter.cells(inner, row, &cells, role);
    }
}

fn draw_row(form: &Form, row: &Row, painter: &mut Painter<'_>, area: Rect, at: u16, chosen: bool) {
    let wide = (area.width * 2 / 5).clamp(20, 36);
    let room = area.width.saturating_sub(wide + 3);
    let (mark, mut name, value, dim) = texts(form, row, room);
    if let Row::Field(at) = row
        && let Some(cell) = form.cells.get(*at)
    {
        name = narrow(name, cell, usize::from(wide));
    }
    let cells = [(mark, 1), (name.as_str(), wide), (value.as_str(), room)];
    let role = match (chosen, dim, row) {
        (true, ..) => Role::Selected,
        (false, _, Row::Table(..)) => Role::Title,
        (false, true, _) => Role::Dim,
        (false, false, _) => Role::Text,
    };
    painter.cells(area, at, &cells, role);
}

/// A name that does not fit is cut where two settings don't differ: of a price, not its last word and not its model's name.
fn narrow(name: String, cell: &Cell, wide: usize) -> String {
    let Some(table) = &cell.field.table else {
        return name;
    };
    if name.width() <= wide {
        return name;
    }
    let field = cell.field.key.field;
    let table = clean(table, 60);
    let room = wide.saturating_sub(field.len() + 1);
    if table.width() <= room {
        return format!("{table}.{field}");
    }
    let mut kept = String::new();
    for c in table.chars() {
        if kept.width() + c.width().unwrap_or(0) + 1 > room {
            break;
        }
        kept.push(c);
    }
    format!("{kept}….{field}")
}

/// The mark, the name and the value of a row, and whether it matters less.
fn texts(form: &Form, row: &Row, room: u16) -> (&'static str, String, String, bool) {
    let edit = form.edit.as_ref().filter(|edit| is_of(form, edit, row));
    let typing = edit.map(|edit| typed(edit, room));
    match row {
        Row::Field(at) => {
            let Some(cell) = form.cells.get(*at) else {
                return (" ", String::new(), String::new(), true);
            };
            let changed = cell.changed() || edit.is_some_and(Edit::changed);
            let mark = if changed { "*" } else { " " };
            let name = clean(&cell.field.name, 80);
            let value = typing.unwrap_or_else(|| shown(form, cell));
            (mark, name, value, cell.is_default())
        }
        Row::Entry(at, entry) => {
            let shown = form.cells.get(*at).and_then(|cell| {
                let entries = cell.entries();
                entries.get(*entry).map(|entry| masked(entry))
            });
            let value = typing.or(shown).unwrap_or_default();
            let tested = tested(form, *at, *entry);
            (
                " ",
                String::new(),
                format!("- {}{tested}", clean(&value, 400)),
                false,
            )
        }
        Row::Table(section, name) => {
            let text = format!("{} {}", section.header(), clean(name, 60));
            (" ", text, String::new(), false)
        }
        Row::More(section) => {
            let what = match section {
                Section::Endpoint => "another inference server",
                _ => "the price of a model",
            };
            let value = typing.map_or_else(String::new, |typed| format!("name: {typed}"));
            ("+", what.to_owned(), value, true)
        }
    }
}

/// A relay's last test, behind it.
fn tested(form: &Form, cell: usize, entry: usize) -> &'static str {
    let is_relays = |cell: &&Cell| cell.field.name == "nostr.relays";
    let Some(cell) = form.cells.get(cell).filter(is_relays) else {
        return "";
    };
    let url = cell.entries().get(entry).cloned().unwrap_or_default();
    match form
        .tests
        .get(&crate::domain::command::Probe::Relay { url })
    {
        None => "",
        Some(TestState::Running) => "  testing",
        Some(TestState::Refused(_)) => "  not tested",
        Some(TestState::Done(checks)) => {
            let failed = checks.iter().any(|check| check.status == CheckStatus::Fail);
            if failed { "  fails" } else { "  works" }
        }
    }
}

fn is_of(form: &Form, edit: &Edit, row: &Row) -> bool {
    let named = |at: &usize| form.cells.get(*at).map(|cell| cell.field.name.as_str());
    match (&edit.target, row) {
        (Target::Field(name) | Target::NewEntry(name), Row::Field(at)) => {
            named(at) == Some(name.as_str())
        }
        (Target::Entry(name, entry), Row::Entry(at, place)) => {
            entry == place && named(at) == Some(name.as_str())
        }
        (Target::NewTable(section), Row::More(own)) => section == own,
        _ => false,
    }
}

fn masked(text: &str) -> String {
    crate::config::edit::mask_address(text)
}

fn shown(form: &Form, cell: &Cell) -> String {
    let revealed = form.revealed.as_ref();
    if let Some(revealed) = revealed.filter(|one| one.name == cell.field.name) {
        return clean(revealed.secret.expose_secret(), 2_000);
    }
    if cell.field.is_list() {
        return match cell.entries().len() {
            0 => "(empty)".to_owned(),
            1 => "1 entry".to_owned(),
            count => format!("{count} entries"),
        };
    }
    match cell.shown() {
        Some(value) if value.is_empty() => "(empty)".to_owned(),
        Some(value) => clean(&value, 300),
        None if is_needed(form, cell) => "(needed)".to_owned(),
        None => "(not set)".to_owned(),
    }
}

/// Can the chosen wallet not do without it?
fn is_needed(form: &Form, cell: &Cell) -> bool {
    let key = cell.field.key;
    let backend = form
        .cells
        .iter()
        .find(|cell| cell.field.name == "wallet.backend");
    let word = backend.and_then(Cell::value).unwrap_or_default();
    let backend = Backend::ALL.into_iter().find(|one| one.as_str() == word);
    key.required()
        || (key.section == Section::Wallet
            && backend.is_some_and(|backend| wallet_needs(backend, key.field)))
}

/// What is typed, with the place of the cursor; the end of it where it is longer than its room.
fn typed(edit: &Edit, width: u16) -> String {
    if edit.choices.is_some() {
        return format!("< {} >", edit.line.value());
    }
    let mut text: Vec<char> = edit.line.value().chars().collect();
    if edit.secret {
        text.fill('*');
    }
    let at = edit.line.cursor().min(text.len());
    let mut shown: Vec<char> = text[..at].to_vec();
    shown.push('_');
    shown.extend(&text[at..]);
    let room = usize::from(width.saturating_sub(8)).max(8);
    let before = match edit.target {
        Target::NewEntry(_) => "new: ",
        _ => "",
    };
    let wide = |chars: &[char]| chars.iter().filter_map(|c| c.width()).sum::<usize>();
    let mut from = 0;
    while from < at && wide(&shown[from..=at]) > room {
        from += 1;
    }
    before.chars().chain(shown.into_iter().skip(from)).collect()
}

fn help(form: &Form, painter: &mut Painter<'_>, area: Rect) {
    let title = form
        .cell()
        .map_or("What it is for", |cell| &cell.field.name);
    let inner = painter.frame(area, &clean(title, 80));
    let mut lines: Vec<(String, Role)> = Vec::new();
    if let Some(cell) = form.cell() {
        let field = &cell.field;
        lines.push((field.help.to_owned(), Role::Text));
        let applies = format!("{}; may be: {}", field.applies(), field.allowed());
        lines.push((applies, Role::Dim));
    } else if let Some(section) = form.section() {
        lines.push((section.about().to_owned(), Role::Text));
    }
    let error = form.edit.as_ref().and_then(|edit| edit.error.as_ref());
    if let Some(error) = error.or(form.error.as_ref()) {
        lines.insert(lines.len().min(1), (clean(error, 600), Role::Bad));
    } else if let Some(note) = &form.note {
        lines.insert(lines.len().min(1), (clean(note, 300), Role::Warn));
    }
    let test = form.probe().and_then(|probe| form.tests.get(&probe));
    if let Some(test) = test {
        let place = lines.len().min(1);
        lines.splice(place..place, test_lines(test));
    }
    let wrapped = lines.iter().flat_map(|(text, role)| {
        let parts = words(text, inner.width);
        parts.into_iter().map(|part| (part, *role))
    });
    for (row, (line, role)) in (0..inner.height).zip(wrapped) {
        painter.row(inner, row, &[(&line, role)]);
    }
}

fn test_lines(test: &TestState) -> Vec<(String, Role)> {
    match test {
        TestState::Running => vec![(
            "testing; this may take half a minute".to_owned(),
            Role::Warn,
        )],
        TestState::Refused(why) => vec![(format!("not tested: {}", clean(why, 300)), Role::Bad)],
        TestState::Done(checks) => {
            let line = |check: &crate::domain::health::Check| {
                let role = match check.status {
                    CheckStatus::Ok => Role::Good,
                    CheckStatus::Warn => Role::Warn,
                    CheckStatus::Fail => Role::Bad,
                };
                let fix = if check.fix.is_empty() {
                    String::new()
                } else {
                    format!("; fix: {}", check.fix)
                };
                let kind = format!("{:?}", check.check).to_lowercase();
                let word = check.status.as_str();
                let text = format!("test: {kind} {word}: {}{fix}", check.detail);
                (clean(&text, 400), role)
            };
            checks.iter().map(line).collect()
        }
    }
}

/// Breaks a text between its words; a word that is longer than a line is cut off there.
fn words(text: &str, width: u16) -> Vec<String> {
    let width = usize::from(width.max(1));
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            line.push_str(word);
        } else if line.width() + 1 + word.width() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
