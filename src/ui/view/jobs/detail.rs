//! One job: its facts, its invoice with a code for a phone, its history, its texts, its events as they were signed.

use ratatui::layout::Rect;

use super::super::chrome::banner_rows;
use super::super::{LEAST, clock};
use super::columns::{seconds, speed};
use super::qr::Code;
use crate::domain::detail::JobDetail;
use crate::domain::job::{JobView, PayOrder, Status};
use crate::domain::text::{clean, clean_lines, is_hostile};
use crate::ui::app::App;
use crate::ui::jobs_list::npub;
use crate::ui::painter::{Painter, wrap};
use crate::ui::theme::Role;

/// Columns of a fact's name.
const NAMES: u16 = 14;
/// The least columns of text beside a code.
const BESIDE: u16 = 50;
/// Said of a text that the ledger keeps no more.
const GONE: &str = "erased (privacy.keep_content_hours)";
/// Rows around the tab: hotbar, message, keys.
const AROUND: u16 = 3;

/// A line of the view.
enum Line {
    Heading(&'static str),
    Fact(&'static str, String),
    Text(String, Role),
    /// A row of the code.
    Code(u16),
}

/// What a view of one job is made of, for the area within its frame.
struct Layout {
    lines: Vec<Line>,
    /// Drawn at the right, beside the lines.
    beside: Option<Code>,
    /// Drawn among the lines.
    among: Option<Code>,
}

/// Draws a job.
pub fn draw(app: &App, painter: &mut Painter<'_>, area: Rect, job: &JobView) {
    let open = app.jobs.detail;
    let what = if open && app.jobs.raw {
        "events"
    } else {
        "job"
    };
    let keys = match (open, app.jobs.raw) {
        (false, _) => "Enter: alone",
        (true, true) => "Esc: back, e: job",
        (true, false) => "Esc: back, e: events",
    };
    let inner = painter.frame(area, &format!("{what} {} ({keys})", job.id.short()));
    let layout = layout(app, job, inner.width, inner.height);
    let last = layout.lines.len().saturating_sub(usize::from(inner.height));
    let first = if open { app.jobs.scroll.min(last) } else { 0 };
    let mut text = inner;
    if let Some(code) = &layout.beside {
        let (width, height) = code.size();
        text.width -= width + 1;
        for row in 0..height.min(inner.height) {
            code.draw(painter, inner.right() - width, inner.y + row, row);
        }
    }
    for (row, line) in (0..inner.height).zip(layout.lines.iter().skip(first)) {
        match line {
            Line::Heading(name) => painter.row(text, row, &[(name, Role::Title)]),
            Line::Fact(name, value) => {
                let name = format!("{name:<width$}", width = usize::from(NAMES));
                painter.row(text, row, &[(&name, Role::Dim), (value, Role::Text)]);
            }
            Line::Text(value, role) => painter.row(text, row, &[(value, *role)]),
            Line::Code(of) => {
                if let Some(code) = &layout.among {
                    code.draw(painter, text.x, text.y + row, *of);
                }
            }
        }
    }
    if last > 0 {
        let place = format!(" {}/{} ", first + 1, last + 1);
        let width = u16::try_from(place.len()).unwrap_or(0);
        let x = area.right().saturating_sub(width + 2);
        painter.put(x, area.bottom() - 1, width, &place, Role::Dim);
    }
}

/// The last line that the view can begin with, on a screen of this size.
#[must_use]
pub fn last_line(app: &App) -> usize {
    let Some(job) = app.jobs.chosen(&app.store) else {
        return 0;
    };
    let (width, height) = app.size;
    let height = height.saturating_sub(around(app));
    let layout = layout(app, job, width.saturating_sub(2), height);
    layout.lines.len().saturating_sub(usize::from(height))
}

/// Rows of the screen that are not the view's.
fn around(app: &App) -> u16 {
    AROUND + banner_rows(app) + 2
}

fn layout(app: &App, job: &JobView, width: u16, height: u16) -> Layout {
    let whole = app.jobs.whole(job.id);
    let mut layout = Layout {
        lines: Vec::new(),
        beside: None,
        among: None,
    };
    if app.jobs.detail && app.jobs.raw {
        events(&mut layout.lines, whole, width);
        return layout;
    }
    // Beside the table there is no room for a code that a camera reads.
    let invoice = open_invoice(app, job).filter(|_| app.jobs.detail);
    let code = invoice.and_then(|text| Code::of(text, app.theme.ascii));
    let mut wanted = None;
    if let Some(code) = code {
        let (wide, high) = code.size();
        if width >= wide + 1 + BESIDE && height >= high {
            layout.beside = Some(code);
        } else if width >= wide && height >= high {
            layout.among = Some(code);
        } else {
            wanted = Some(((wide + 2).max(LEAST.0), (high + around(app)).max(LEAST.1)));
        }
    }
    let beside = layout.beside.as_ref().map_or(0, |code| code.size().0 + 1);
    let room = width.saturating_sub(beside).max(20);
    let lines = &mut layout.lines;
    facts(lines, app, job, whole, room);
    if let Some(whole) = whole {
        texts(lines, job, whole, room);
    }
    gap(lines, "Record");
    record(lines, app, job, whole, room);
    if let Some((wide, high)) = wanted {
        let text = format!("a QR code needs a terminal of {wide}x{high}");
        lines.push(Line::Fact("", text));
    }
    if let Some(code) = &layout.among {
        lines.extend((0..code.size().1).map(Line::Code));
    }
    let Some(whole) = whole else {
        lines.push(Line::Text("asking for its history".to_owned(), Role::Dim));
        return layout;
    };
    history(app, lines, whole, room);
    cuts(lines, whole);
    layout
}

/// What was asked and what was answered.
fn texts(lines: &mut Vec<Line>, job: &JobView, whole: &JobDetail, room: u16) {
    text(lines, "Prompt", whole.prompt.as_deref(), GONE, room);
    let none = match job.status {
        Status::Queued | Status::AwaitingPayment => "not begun yet",
        Status::Processing => "not there yet",
        Status::Error | Status::Cancelled => "there is none, or it is erased",
        _ => GONE,
    };
    text(lines, "Answer", whole.answer.as_deref(), none, room);
}

/// The invoice, while somebody may pay it.
fn open_invoice<'a>(app: &App, job: &'a JobView) -> Option<&'a str> {
    let open = matches!(
        job.status,
        Status::AwaitingPayment | Status::PendingPayment | Status::Processing
    );
    let runs = job.invoice_expires_at.is_none_or(|end| end > app.store.now);
    job.bolt11.as_deref().filter(|_| open && runs)
}

fn facts(lines: &mut Vec<Line>, app: &App, job: &JobView, whole: Option<&JobDetail>, width: u16) {
    let some = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let count = |value: Option<u32>| some(value.map(|tokens| tokens.to_string()));
    let progress = app.store.jobs.progress_of(&job.id);
    let speed = speed(job, progress).map(|speed| format!(", {speed:.1} a second"));
    let took = job
        .elapsed_ms
        .map(|ms| format!("{} s{}", seconds(ms), speed.unwrap_or_default()));
    let order = whole.map(|whole| match whole.order {
        PayOrder::After => ", to be paid after",
        PayOrder::Before => ", to be paid before",
        PayOrder::Hold => ", held until delivered",
        PayOrder::Free => ", free of charge",
    });
    let price = job
        .price_msat
        .map(|price| format!("{}{}", price.display(), order.unwrap_or("")));
    let mut facts = vec![
        ("job", job.id.to_string()),
        (
            "status",
            format!("{}: {}", job.status.as_str(), meaning(job.status)),
        ),
        ("buyer", npub(&job.buyer)),
        ("", job.buyer.to_string()),
        (
            "kind",
            format!(
                "{} (text){}",
                job.kind,
                if job.encrypted { ", encrypted" } else { "" }
            ),
        ),
        (
            "model",
            some(job.model.as_deref().map(|model| clean(model, 200))),
        ),
        ("price", some(price)),
        ("paid", job.paid_msat.display().to_string()),
    ];
    if !job.balance_used_msat.is_zero() {
        facts.push(("balance used", job.balance_used_msat.display().to_string()));
    }
    if !job.owed_to_buyer_msat.is_zero() {
        facts.push((
            "owed to buyer",
            job.owed_to_buyer_msat.display().to_string(),
        ));
    }
    if let Some(error) = &job.error {
        facts.push(("error", clean(error, 1_000)));
    }
    facts.push((
        "tokens",
        format!(
            "{} in, {} out",
            count(job.prompt_tokens),
            count(job.completion_tokens)
        ),
    ));
    facts.push(("inference", some(took)));
    wrapped(lines, facts, width);
}

/// Where it ran, when, and its invoice.
fn record(lines: &mut Vec<Line>, app: &App, job: &JobView, whole: Option<&JobDetail>, width: u16) {
    let some = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let mut facts = Vec::new();
    if let Some(whole) = whole {
        let endpoint = whole.endpoint.as_deref().map(|name| clean(name, 200));
        let runs = if whole.attempts == 1 { "run" } else { "runs" };
        let runs = format!("{}, {} {runs}", some(endpoint), whole.attempts);
        facts.push(("endpoint", runs));
        facts.push(("came from", clean(&whole.seen_on, 200)));
    }
    facts.push(("admitted", job.created_at.to_string()));
    facts.push(("changed", job.updated_at.to_string()));
    facts.push(("result", some(job.result_id.map(|id| id.to_hex()))));
    if let Some(invoice) = &job.bolt11 {
        facts.push((
            "payment hash",
            some(job.payment_hash.map(|hash| hash.to_string())),
        ));
        let end = job.invoice_expires_at;
        let over = end.is_some_and(|end| end <= app.store.now);
        let note = if over && job.paid_msat.is_zero() {
            " (expired)"
        } else {
            ""
        };
        facts.push((
            "invoice until",
            format!("{}{note}", some(end.map(|end| end.to_string()))),
        ));
        facts.push(("invoice", clean(invoice, 8_192)));
    }
    wrapped(lines, facts, width);
}

fn wrapped(lines: &mut Vec<Line>, facts: Vec<(&'static str, String)>, width: u16) {
    let room = width.saturating_sub(NAMES).max(8);
    for (name, value) in facts {
        let names = std::iter::once(name).chain(std::iter::repeat(""));
        let wrapped = wrap(&value, room).into_iter();
        lines.extend(
            names
                .zip(wrapped)
                .map(|(name, value)| Line::Fact(name, value)),
        );
    }
}

fn history(app: &App, lines: &mut Vec<Line>, whole: &JobDetail, width: u16) {
    gap(lines, "History");
    for entry in &whole.timeline {
        let (what, detail) = (clean(&entry.what, 16), clean(&entry.detail, 1_000));
        let at = app.here(entry.at);
        let told = format!("{} {}  {what:<16} {detail}", at.day(), clock(at));
        lines.extend(
            wrap(&told, width)
                .into_iter()
                .map(|line| Line::Text(line, Role::Text)),
        );
    }
}

/// What a status means for the work and the money, in a few words.
const fn meaning(status: Status) -> &'static str {
    match status {
        Status::Queued => "waits for its turn",
        Status::AwaitingPayment => "begins once it is paid",
        Status::Processing => "at work",
        Status::PendingPayment => "delivered, invoice open",
        Status::Paid => "delivered, and the money is there",
        Status::Completed => "delivered free of charge",
        Status::Unpaid => "delivered, and its invoice ran out",
        Status::Error => "failed, and its buyer was told",
        Status::Cancelled => "given up by its buyer or by you",
    }
}

/// `none` stands where there is no text.
fn text(
    lines: &mut Vec<Line>,
    name: &'static str,
    text: Option<&str>,
    none: &'static str,
    width: u16,
) {
    gap(lines, name);
    let Some(text) = text else {
        return lines.push(Line::Text(none.to_owned(), Role::Dim));
    };
    for line in clean_lines(text, usize::MAX).lines() {
        lines.extend(
            wrap(line, width)
                .into_iter()
                .map(|line| Line::Text(line, Role::Text)),
        );
    }
}

fn cuts(lines: &mut Vec<Line>, whole: &JobDetail) {
    for cut in &whole.cut {
        let what = clean(&cut.what, 32);
        let unit = if what == "timeline" { "lines" } else { "bytes" };
        let told = format!(
            "of the {what} {} of {} {unit} are shown",
            cut.kept, cut.whole
        );
        lines.push(Line::Text(told, Role::Warn));
    }
}

/// The events to the letter; what could steer the terminal is written as its number.
fn events(lines: &mut Vec<Line>, whole: Option<&JobDetail>, width: u16) {
    let Some(whole) = whole else {
        return lines.push(Line::Text("asking for its events".to_owned(), Role::Dim));
    };
    let request = whole.request.as_deref().map(|json| ("request", json));
    let ours = whole
        .events
        .iter()
        .map(|event| (event.role.as_str(), event.json.as_str()));
    for (name, json) in request.into_iter().chain(ours) {
        if !lines.is_empty() {
            lines.push(Line::Text(String::new(), Role::Text));
        }
        lines.push(Line::Text(clean(name, 32), Role::Title));
        let escaped = escape(json);
        lines.extend(
            wrap(&escaped, width)
                .into_iter()
                .map(|line| Line::Text(line, Role::Text)),
        );
    }
    if lines.is_empty() {
        lines.push(Line::Text("its events are erased".to_owned(), Role::Dim));
    }
    cuts(lines, whole);
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hostile(c) || (c.is_whitespace() && c != ' ') {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

fn gap(lines: &mut Vec<Line>, heading: &'static str) {
    lines.push(Line::Text(String::new(), Role::Text));
    lines.push(Line::Heading(heading));
}
