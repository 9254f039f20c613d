//! What opens above a tab: a question, the keys, the palette.

use ratatui::layout::Rect;

use crate::domain::desk::{CaseKind, DeskAction};
use crate::domain::id::RequestId;
use crate::domain::text::clean;
use crate::ui::app::{App, Ask, Palette};
use crate::ui::jobs_list::npub;
use crate::ui::keymap::Bound;
use crate::ui::line;
use crate::ui::painter::Painter;
use crate::ui::theme::Role;

/// The least columns of one column of keys.
const HELP_COLUMN: u16 = 50;
/// Columns of the keys in the help.
const HELP_KEYS: u16 = 9;
/// Rows of the palette's list.
const PALETTE_ROWS: u16 = 12;

/// Draws what is open.
pub fn draw(app: &App, painter: &mut Painter<'_>, area: Rect) {
    if let Some(ask) = app.ask {
        question(app, ask, painter, area);
    } else if let Some(palette) = &app.palette {
        named(app, palette, painter, area);
    } else if app.help {
        help(app, painter, area);
    }
}

fn question(app: &App, ask: Ask, painter: &mut Painter<'_>, area: Rect) {
    let (title, lines) = words(app, ask);
    let height = u16::try_from(lines.len()).unwrap_or(4) + 2;
    let longest = lines.iter().map(|line| line.chars().count()).max();
    let wide = longest
        .and_then(|wide| u16::try_from(wide).ok())
        .unwrap_or(0);
    let width = (wide + 4).clamp(40, area.width.saturating_sub(2).max(40));
    let inner = window(painter, area, width, height, title);
    for (row, line) in (0..).zip(&lines) {
        painter.row(inner, row, &[(" ", Role::Text), (line, Role::Text)]);
    }
}

fn words(app: &App, ask: Ask) -> (&'static str, Vec<String>) {
    let own = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
    match ask {
        Ask::Quit => (
            "Leave? Jobs are running",
            own(&[
                "f  finish them, then end the shop",
                "k  keep selling with no screen",
                "s  end now; the next start takes them up",
                "Esc  stay",
            ]),
        ),
        Ask::Offline => (
            "Go offline? Jobs are running",
            own(&[
                "f  finish them, take no more",
                "s  cancel them now; their buyers are told",
                "Esc  stay online",
                "Those that wait go on when it is online again.",
            ]),
        ),
        Ask::Suspend => (
            "The shop runs in this program",
            own(&[
                "z  stop both until fg; no buyer is heard meanwhile",
                "k  keep selling with no screen",
                "Esc  stay",
            ]),
        ),
        Ask::Cancel(id) => ("Cancel?", cancel(app, id)),
        Ask::Retry(id) => ("Try again?", vec![format!("job {}", id.short()), yes_no()]),
        Ask::Block(buyer) => {
            let short: String = npub(&buyer).chars().take(24).collect();
            (
                "Serve this buyer no more?",
                vec![
                    format!("buyer {short}"),
                    "for as long as this vend runs; limits.block is for good".to_owned(),
                    yes_no(),
                ],
            )
        }
        Ask::Decide(id, kind, action) => decide(app, id, kind, action),
        Ask::Unsaved(_) => (
            "Settings are not saved",
            own(&["s  save them", "d  drop them", "Esc  stay here"]),
        ),
        Ask::Conflict => ("Changed here and in the file", conflict(app)),
    }
}

fn decide(
    app: &App,
    id: RequestId,
    kind: CaseKind,
    action: DeskAction,
) -> (&'static str, Vec<String>) {
    let job = format!("job {}", id.short());
    let title = match (action, kind) {
        (DeskAction::Retry, CaseKind::Disputed) => "Ask the wallet again?",
        (DeskAction::Retry, _) => "Try again?",
        (DeskAction::Deliver, _) => "Send the result again?",
        (DeskAction::Redeliver, _) => "Sign the result anew?",
        (DeskAction::Refunded, _) => "Mark as refunded?",
        (DeskAction::Waive, _) => "Waive the case?",
    };
    if !action.closes() {
        return (title, vec![job, yes_no()]);
    }
    let room = usize::from(app.size.0.saturating_sub(16)).clamp(20, 60);
    let note = line::shown(&app.cases.note);
    // Of a long note the part before the cursor is what is being typed.
    let skip = (app.cases.note.cursor() + 1).saturating_sub(room);
    let note: String = note.chars().skip(skip).collect();
    let what = match action {
        DeskAction::Refunded => "You have given the money back. vend sends nothing by itself.",
        _ => "Nobody will do anything more about it.",
    };
    let lines = vec![
        job,
        what.to_owned(),
        "This can't be undone.".to_owned(),
        format!("note: {}", clean(&note, room)),
        "Enter  yes    Esc  no".to_owned(),
    ];
    (title, lines)
}

fn cancel(app: &App, id: RequestId) -> Vec<String> {
    let job = app.store.jobs.get(&id);
    let paid = job.filter(|job| !job.paid_msat.is_zero());
    let money = match paid {
        Some(job) => format!(
            "Its buyer is told, and has paid {}.",
            job.paid_msat.display()
        ),
        None => "Its buyer is told; nothing was paid for it.".to_owned(),
    };
    vec![format!("job {}", id.short()), money, yes_no()]
}

fn conflict(app: &App) -> Vec<String> {
    let Some(conflict) = app.form.conflict() else {
        return vec!["Esc  go on".to_owned()];
    };
    vec![
        clean(&conflict.name, 80),
        format!("here: {}", clean(&conflict.mine, 120)),
        format!("file: {}", clean(&conflict.theirs, 120)),
        "m  mine, to be saved".to_owned(),
        "t  theirs, as in the file".to_owned(),
        "Esc  decide later".to_owned(),
    ]
}

fn yes_no() -> String {
    "y  yes    n  no".to_owned()
}

/// How the keys are laid out: columns, rows in all, rows that have room.
fn help_shape(app: &App, area: Rect) -> (u16, usize, usize) {
    let width = area.width.saturating_sub(4);
    let columns = (width / HELP_COLUMN).clamp(1, 3);
    let rows = app.keys.on(app.tab).count().div_ceil(usize::from(columns));
    let room = usize::from(area.height.saturating_sub(4)).max(1);
    (columns, rows, room)
}

/// How far the list of keys can be scrolled, and one more.
pub fn help_rows(app: &App, area: Rect) -> usize {
    let (_, rows, room) = help_shape(app, area);
    rows.saturating_sub(room) + 1
}

fn help(app: &App, painter: &mut Painter<'_>, area: Rect) {
    let mut bindings: Vec<&Bound> = app.keys.on(app.tab).collect();
    // What only this tab has is what is looked for here.
    bindings.sort_by_key(|bound| bound.binding.tabs.is_empty());
    let (columns, rows, room) = help_shape(app, area);
    let first = app.help_at.min(rows.saturating_sub(room));
    let shown = rows.min(room);
    let title = if rows > room {
        format!("Keys {}-{} of {rows}, Esc closes", first + 1, first + shown)
    } else {
        "Keys, Esc closes".to_owned()
    };
    let tall = u16::try_from(shown).unwrap_or(u16::MAX).saturating_add(2);
    let inner = window(painter, area, area.width - 4, tall, &title);
    let wide = inner.width / columns;
    for (column, bindings) in (0..).zip(bindings.chunks(rows.max(1))) {
        let x = inner.x + column * wide;
        let here = bindings.iter().skip(first).take(shown);
        for (y, bound) in (inner.y..).zip(here) {
            let key = if bound.shown.is_empty() {
                "none"
            } else {
                &bound.shown
            };
            painter.put(x + 1, y, HELP_KEYS, key, Role::Key);
            let text = bound.binding.help;
            let at = x + 2 + HELP_KEYS;
            painter.put(at, y, wide.saturating_sub(3 + HELP_KEYS), text, Role::Text);
        }
    }
}

fn named(app: &App, palette: &Palette, painter: &mut Painter<'_>, area: Rect) {
    let rows = palette.rows(&app.keys, app.tab);
    let height = (PALETTE_ROWS + 3).min(area.height.saturating_sub(2));
    let inner = window(painter, area, 84.min(area.width - 4), height, "What to do");
    let typed = format!(": {}", line::shown(&palette.line));
    painter.row(inner, 0, &[(&typed, Role::Text)]);
    let list = Rect {
        y: inner.y + 1,
        height: inner.height.saturating_sub(1),
        ..inner
    };
    let room = usize::from(list.height);
    let at = palette.at.min(rows.len().saturating_sub(1));
    let first = super::first_row(at, rows.len(), room);
    for (row, bound) in (0..).zip(rows.iter().skip(first).take(room)) {
        let name = bound.binding.act.name().replace('_', " ");
        let elsewhere = !bound.binding.on(app.tab);
        let tab = bound.binding.tabs.first().filter(|_| elsewhere);
        let help = match tab {
            Some(tab) => format!("{} ({})", bound.binding.help, tab.title()),
            None => bound.binding.help.to_owned(),
        };
        let cells = [
            (name.as_str(), 14),
            (&*bound.shown, HELP_KEYS),
            (help.as_str(), list.width.saturating_sub(16 + HELP_KEYS)),
        ];
        let role = match (first + usize::from(row) == at, elsewhere) {
            (true, _) => Role::Selected,
            (false, true) => Role::Dim,
            (false, false) => Role::Text,
        };
        painter.cells(list, row, &cells, role);
    }
    if rows.is_empty() {
        painter.row(list, 0, &[("nothing has this name", Role::Dim)]);
    }
}

/// An empty box in the middle.
fn window(painter: &mut Painter<'_>, area: Rect, width: u16, height: u16, title: &str) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    let x = area.x + (area.width - width) / 2;
    let y = area.y + (area.height - height) / 2;
    let place = Rect::new(x, y, width, height);
    painter.blank(place);
    painter.frame(place, title)
}
