//! Jobs: figures, the table, and one job in detail.

use ratatui::layout::Rect;

use super::{clock, first_row};
use crate::domain::job::{JobView, Status};
use crate::domain::text::clean;
use crate::ui::app::App;
use crate::ui::pen::{Pen, wrap};
use crate::ui::theme::Role;

/// Rows of the cards.
const CARDS: u16 = 3;
/// Columns of all cells but the model, with the blanks between them.
const FIXED: u16 = 8 + 8 + 8 + 5 + 16 + 11 + 6 + 7;

/// Draws the tab.
pub fn draw(app: &App, pen: &mut Pen<'_>, area: Rect) {
    cards(
        app,
        pen,
        Rect {
            height: CARDS,
            ..area
        },
    );
    let below = Rect::new(area.x, area.y + CARDS, area.width, area.height - CARDS);
    let chosen = app.jobs.chosen(&app.store);
    match chosen.filter(|_| app.jobs.detail) {
        Some(job) => detail(app, pen, below, job),
        None => table(app, pen, below),
    }
}

fn cards(app: &App, pen: &mut Pen<'_>, area: Rect) {
    let totals = &app.store.totals;
    let cards = [
        ("jobs", totals.jobs.to_string(), Role::Text),
        ("successful", totals.successful.to_string(), Role::Good),
        (
            "revenue",
            totals.revenue_msat.display().to_string(),
            Role::Title,
        ),
        ("failed", totals.failed.to_string(), Role::Text),
        ("owed", totals.owed_msat.display().to_string(), Role::Text),
    ];
    let width = area.width / 5;
    let mut x = area.x;
    for (title, value, role) in cards {
        let inner = pen.frame(Rect { x, width, ..area }, title);
        pen.row(inner, 0, &[(" ", Role::Text), (&value, role)]);
        x += width;
    }
}

fn table(app: &App, pen: &mut Pen<'_>, area: Rect) {
    let list = &app.jobs;
    let rows = list.rows(&app.store);
    let follow = if list.follow { ", following" } else { "" };
    let filter = if list.filter.is_empty() {
        String::new()
    } else {
        format!(", only \"{}\"", clean(&list.filter, 30))
    };
    let title = format!(
        "{} jobs by {}{follow}{filter}",
        rows.len(),
        list.order.word()
    );
    let inner = pen.frame(area, &title);
    let model = inner.width.saturating_sub(FIXED);
    let head = [
        "time", "job", "buyer", "kind", "status", "amount", "model", "tokens",
    ];
    cells(pen, inner, 0, &head.map(str::to_owned), model, Role::Dim);
    let height = usize::from(inner.height.saturating_sub(1));
    let at = list.at(&rows);
    let first = first_row(at, rows.len(), height);
    for (row, job) in (1..).zip(rows.iter().skip(first).take(height)) {
        let chosen = first + usize::from(row) - 1 == at;
        let role = if chosen {
            Role::Selected
        } else {
            role(job.status)
        };
        cells(pen, inner, row, &words(job), model, role);
    }
    if rows.is_empty() {
        let text = if list.filter.is_empty() {
            "no jobs yet"
        } else {
            "no job holds these words"
        };
        pen.row(inner, 1, &[(text, Role::Dim)]);
    }
}

fn cells(pen: &mut Pen<'_>, area: Rect, row: u16, words: &[String; 8], model: u16, role: Role) {
    let widths = [8, 8, 8, 5, 16, 11, model, 6];
    let mut cells = [("", 0); 8];
    for (cell, (word, width)) in cells.iter_mut().zip(words.iter().zip(widths)) {
        *cell = (word.as_str(), width);
    }
    pen.cells(area, row, &cells, role);
}

fn words(job: &JobView) -> [String; 8] {
    let amount = job
        .price_msat
        .map_or_else(dash, |price| price.display().to_string());
    let tokens = job
        .completion_tokens
        .map_or_else(dash, |tokens| tokens.to_string());
    [
        clock(job.created_at),
        job.id.short(),
        job.buyer.to_string().chars().take(8).collect(),
        job.kind.to_string(),
        job.status.word().to_owned(),
        amount,
        job.model
            .as_deref()
            .map_or_else(dash, |model| clean(model, 60)),
        tokens,
    ]
}

fn dash() -> String {
    "-".to_owned()
}

const fn role(status: Status) -> Role {
    match status {
        Status::Paid | Status::Completed => Role::Good,
        Status::Error => Role::Bad,
        Status::Unpaid => Role::Warn,
        Status::Cancelled => Role::Dim,
        _ => Role::Text,
    }
}

fn detail(app: &App, pen: &mut Pen<'_>, area: Rect, job: &JobView) {
    let inner = pen.frame(area, &format!("Job {} (Esc: back)", job.id.short()));
    let lines = lines(job, inner.width);
    let last = lines.len().saturating_sub(usize::from(inner.height));
    let first = app.jobs.scroll.min(last);
    for (row, (name, text)) in (0..inner.height).zip(lines.iter().skip(first)) {
        let name = format!("{name:<16}");
        pen.row(inner, row, &[(&name, Role::Dim), (text, Role::Text)]);
    }
}

/// Every field of a job, each wrapped to the width.
fn lines(job: &JobView, width: u16) -> Vec<(&'static str, String)> {
    let some = |value: Option<String>| value.unwrap_or_else(dash);
    let encrypted = if job.encrypted { "yes" } else { "no" };
    let fields = [
        ("job", job.id.to_string()),
        ("buyer", job.buyer.to_string()),
        ("kind", job.kind.to_string()),
        ("status", job.status.word().to_owned()),
        (
            "model",
            some(job.model.as_deref().map(|model| clean(model, 200))),
        ),
        (
            "price",
            some(job.price_msat.map(|price| price.display().to_string())),
        ),
        ("paid", job.paid_msat.display().to_string()),
        (
            "owed to buyer",
            job.owed_to_buyer_msat.display().to_string(),
        ),
        (
            "input tokens",
            some(job.prompt_tokens.map(|tokens| tokens.to_string())),
        ),
        (
            "output tokens",
            some(job.completion_tokens.map(|tokens| tokens.to_string())),
        ),
        ("encrypted", encrypted.to_owned()),
        (
            "error",
            some(job.error.as_deref().map(|error| clean(error, 1_000))),
        ),
        ("admitted", job.created_at.to_string()),
        ("changed", job.updated_at.to_string()),
        ("result", some(job.result_id.map(|id| id.to_hex()))),
        (
            "payment hash",
            some(job.payment_hash.map(|hash| hash.to_string())),
        ),
        (
            "invoice until",
            some(job.invoice_expires_at.map(|at| at.to_string())),
        ),
        (
            "invoice",
            some(job.bolt11.as_deref().map(|text| clean(text, 4_000))),
        ),
    ];
    let room = width.saturating_sub(16).max(8);
    let mut lines = Vec::new();
    for (name, text) in fields {
        let wrapped = wrap(&text, room).into_iter();
        let names = std::iter::once(name).chain(std::iter::repeat(""));
        lines.extend(names.zip(wrapped));
    }
    lines
}
