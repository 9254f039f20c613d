//! The recovery desk: the cases above, the evidence of the chosen one below, with what can be done.

use ratatui::layout::Rect;

use super::super::{clock, first_row};
use crate::domain::desk::{Case, CaseKind, Decision, DeskAction};
use crate::domain::text::clean;
use crate::domain::time::Time;
use crate::ui::app::App;
use crate::ui::case_list::Row;
use crate::ui::jobs_list::npub;
use crate::ui::keymap::Act;
use crate::ui::painter::{Painter, words, wrap};
use crate::ui::theme::Role;

/// Columns of a fact's name.
const NAMES: u16 = 9;

/// Draws the desk.
pub fn draw(app: &App, painter: &mut Painter<'_>, area: Rect) {
    let rows = u16::try_from(app.cases.len()).unwrap_or(u16::MAX);
    let most = area.height * 2 / 5;
    let upper = rows.saturating_add(3).clamp(4, most.max(4));
    list(
        app,
        painter,
        Rect {
            height: upper,
            ..area
        },
    );
    let below = Rect::new(area.x, area.y + upper, area.width, area.height - upper);
    payment_status(app, painter, below);
}

fn list(app: &App, painter: &mut Painter<'_>, area: Rect) {
    let cases = app.cases.rows().filter(|row| matches!(row, Row::Case(_)));
    let needing = app
        .cases
        .rows()
        .filter(|row| matches!(row, Row::Case(case) if case.needs_you));
    let title = match (cases.count(), needing.count()) {
        (0, _) => "Recovery desk (Esc: jobs)".to_owned(),
        (all, needing) => {
            let more = match app.cases.more() {
                0 => String::new(),
                more => format!(", {more} more follow"),
            };
            format!("Recovery desk: {all} open, {needing} need you{more} (Esc: jobs)")
        }
    };
    let inner = painter.frame(area, &title);
    if app.cases.is_empty() {
        let text = if app.cases.is_known() {
            "no cases: every payment is delivered and in order"
        } else {
            "asking the ledger"
        };
        return painter.row(inner, 0, &[(text, Role::Dim)]);
    }
    let height = usize::from(inner.height);
    let at = app.cases.row();
    let first = first_row(at, app.cases.len(), height);
    let shown = app.cases.rows().enumerate().skip(first).take(height);
    for (y, (number, row)) in (0..).zip(shown) {
        let (cells, role) = match row {
            Row::Case(case) => open(app, case),
            Row::Decision(one) => closed(app, one),
        };
        let role = if number == at { Role::Selected } else { role };
        let used = 1 + 1 + 11 + 1 + 11 + 1;
        let widths = [1, 11, 11, inner.width.saturating_sub(used)];
        let cells: Vec<_> = cells.iter().map(String::as_str).zip(widths).collect();
        painter.cells(inner, y, &cells, role);
    }
}

fn open(app: &App, case: &Case) -> ([String; 4], Role) {
    let (mark, role) = if case.needs_you {
        ("!", Role::Warn)
    } else {
        (" ", Role::Text)
    };
    let cells = [
        mark.to_owned(),
        case.kind.as_str().to_owned(),
        short(app.here(case.since)),
        clean(&case.text, 300),
    ];
    (cells, role)
}

fn closed(app: &App, one: &Decision) -> ([String; 4], Role) {
    let note = if one.note.is_empty() { "" } else { ": " };
    let text = format!(
        "{} {}{note}{}",
        one.id.short(),
        one.amount_msat.display(),
        clean(&one.note, 300)
    );
    let word = one.action.history().to_owned();
    (
        [" ".to_owned(), word, short(app.here(one.at)), text],
        Role::Dim,
    )
}

/// `11-18 11:06`
fn short(at: Time) -> String {
    let day: String = at.day().chars().skip(5).collect();
    format!("{day} {}", at.clock())
}

fn payment_status(app: &App, painter: &mut Painter<'_>, area: Rect) {
    let (title, lines) = match app.cases.chosen() {
        None => return,
        Some(Row::Case(case)) => (
            format!("job {}", case.id.short()),
            case_lines(app, case, area.width.saturating_sub(2)),
        ),
        Some(Row::Decision(one)) => (
            format!("job {}, decided", one.id.short()),
            decision_lines(one, area.width.saturating_sub(2)),
        ),
    };
    let inner = painter.frame(area, &title);
    let last = lines.len().saturating_sub(usize::from(inner.height));
    let first = app.cases.scroll.min(last);
    for (row, (name, text, role)) in (0..inner.height).zip(lines.iter().skip(first)) {
        let name = format!("{name:<width$}", width = usize::from(NAMES));
        painter.row(inner, row, &[(&name, Role::Dim), (text, *role)]);
    }
}

type Line = (&'static str, String, Role);

fn case_lines(app: &App, case: &Case, width: u16) -> Vec<Line> {
    let mut lines = Vec::new();
    add(&mut lines, width, "can do", &todo(app, case), Role::Key);
    add(&mut lines, width, "what", &case.text, Role::Text);
    if let Some(said) = &case.wallet_said {
        let (first, last) = (app.here(said.first_at), app.here(said.last_at));
        let text = format!(
            "{} ({} times, {} {} to {} {})",
            said.words,
            said.times,
            first.day(),
            clock(first),
            last.day(),
            clock(last)
        );
        add(&mut lines, width, "said", &text, Role::Text);
    }
    let asked = case
        .amount_msat
        .map_or_else(|| "-".to_owned(), |msat| msat.display().to_string());
    let money = format!(
        "asked {asked}, paid {}, owed back {}",
        case.paid_msat.display(),
        case.owed_to_buyer_msat.display()
    );
    add(&mut lines, width, "money", &money, Role::Text);
    add(&mut lines, width, "job", &case.id.to_string(), Role::Text);
    let status = format!("{}, {}", case.status.as_str(), case.model);
    add(&mut lines, width, "status", &status, Role::Text);
    let some = |name, text: &Option<String>, lines: &mut Vec<Line>| {
        if let Some(text) = text {
            add(lines, width, name, text, Role::Text);
        }
    };
    some("error", &case.error, &mut lines);
    let time = |at: Option<Time>| at.map(|at| at.to_string());
    some(
        "hash",
        &case.payment_hash.map(|hash| hash.to_string()),
        &mut lines,
    );
    some("made", &time(case.invoice_made_at), &mut lines);
    some("expires", &time(case.invoice_expires_at), &mut lines);
    some("paid at", &time(case.paid_at), &mut lines);
    let name = case
        .wallet_identity
        .as_deref()
        .map_or_else(String::new, |name| format!(" {name}"));
    some(
        "wallet",
        &case.wallet.as_ref().map(|wallet| format!("{wallet}{name}")),
        &mut lines,
    );
    some("its id", &case.wallet_ref, &mut lines);
    let kept = if case.result_kept { "kept" } else { "erased" };
    let result = case.result_id.as_ref().map(|id| format!("{id} ({kept})"));
    some("result", &result, &mut lines);
    if !case.accepted_by.is_empty() {
        add(
            &mut lines,
            width,
            "relays",
            &case.accepted_by.join(" "),
            Role::Text,
        );
    }
    add(&mut lines, width, "buyer", &npub(&case.buyer), Role::Text);
    lines
}

fn decision_lines(one: &Decision, width: u16) -> Vec<Line> {
    let mut lines = Vec::new();
    let what = format!("{} ({})", one.action.history(), one.kind.as_str());
    add(&mut lines, width, "decided", &what, Role::Text);
    add(&mut lines, width, "when", &one.at.to_string(), Role::Text);
    add(
        &mut lines,
        width,
        "money",
        &one.amount_msat.display().to_string(),
        Role::Text,
    );
    add(&mut lines, width, "note", &one.note, Role::Text);
    add(&mut lines, width, "job", &one.id.to_string(), Role::Text);
    lines
}

/// A sentence is broken at its blanks; what has none, such as an id, wherever the line ends.
fn add(lines: &mut Vec<Line>, width: u16, name: &'static str, text: &str, role: Role) {
    let room = width.saturating_sub(NAMES).max(8);
    let names = std::iter::once(name).chain(std::iter::repeat(""));
    let broken = words(&clean(text, 2_000), room, usize::MAX);
    let broken = broken.iter().flat_map(|line| wrap(line, room));
    lines.extend(names.zip(broken).map(|(name, text)| (name, text, role)));
}

fn key(app: &App, act: Act) -> &str {
    let bound = app.keys.all().iter().find(|one| one.binding.act == act);
    bound.map_or("", |one| &one.shown)
}

/// The case's actions, each with its key.
fn todo(app: &App, case: &Case) -> String {
    let named = |action: &DeskAction| {
        let (act, word) = match action {
            // Rare and with a warning: on the command line alone.
            DeskAction::Redeliver => return "vend recover ID redeliver: sign it anew".to_owned(),
            DeskAction::Retry if case.kind == CaseKind::Disputed => (Act::Retry, "ask the wallet"),
            DeskAction::Retry => (Act::Retry, "try again"),
            DeskAction::Deliver => (Act::Deliver, "send the result again"),
            DeskAction::Refunded => (Act::Refunded, "mark refunded"),
            DeskAction::Waive => (Act::Waive, "waive"),
        };
        format!("{} {word}", key(app, act))
    };
    let mut all: Vec<_> = case.actions.iter().map(named).collect();
    if all.is_empty() {
        all.push("nothing but to wait, or to cancel the job".to_owned());
    }
    all.push(format!("{} see the job", key(app, Act::Open)));
    all.join(", ")
}

/// How far the evidence of the chosen row can be scrolled, and one more.
#[must_use]
pub fn last_line(app: &App) -> usize {
    let width = app.size.0.saturating_sub(2);
    match app.cases.chosen() {
        None => 0,
        Some(Row::Case(case)) => case_lines(app, case, width).len(),
        Some(Row::Decision(one)) => decision_lines(one, width).len(),
    }
}

#[cfg(test)]
mod tests;
