//! Sell Compute: is the shop selling, is all well, what does it earn, and if nothing, why.

use ratatui::layout::Rect;

use super::chrome::state_mark;
use crate::domain::health::{HealthLevel, ShopState};
use crate::domain::text::clean;
use crate::store::Mood;
use crate::ui::app::App;
use crate::ui::keymap::Act;
use crate::ui::painter::{Painter, words};
use crate::ui::theme::{Role, Theme, of_health};

mod earnings;
mod first_start;
mod health;
mod models;
mod requests;
mod small;
mod work;

pub use first_start::steps as first_steps;

/// The longest text of a stranger or of a light, in characters.
const DETAIL: usize = 200;
/// From so many columns on, three boxes stand side by side.
const WIDE: u16 = 150;
/// Rows of the head where nothing is wrong: the button, the verdict, and what to do or the key.
const HEAD: u16 = 3;
/// The title of the steps, with their keys.
const FIRST_START: &str = "First start: Up Down, Enter does it, t checks all";

/// One line, piece by piece.
type Line = Vec<(String, Role)>;

/// A piece of a line.
fn piece(text: impl Into<String>, role: Role) -> (String, Role) {
    (text.into(), role)
}

/// Writes lines from the top of an area; what has no room is left out.
fn write(painter: &mut Painter<'_>, area: Rect, lines: &[Line]) {
    for (row, line) in (0..area.height).zip(lines) {
        let pieces: Vec<_> = line.iter().map(|(text, role)| (&**text, *role)).collect();
        painter.row(area, row, &pieces);
    }
}

/// Draws the tab.
pub fn draw(app: &App, painter: &mut Painter<'_>, area: Rect) {
    if area.width < 80 || area.height < 17 {
        return small::draw(app, painter, area);
    }
    let mut head = head(app, painter.theme, area.width);
    if head.len() < usize::from(HEAD) {
        head.push(key(app));
    }
    let high = u16::try_from(head.len()).unwrap_or(HEAD);
    write(painter, area, &head);
    let rest = Rect::new(area.x, area.y + high, area.width, area.height - high);
    if rest.width >= WIDE && rest.height >= 24 {
        wide(app, painter, rest);
    } else {
        stacked(app, painter, rest);
    }
}

/// Lights and earnings side by side; the work and the requests below them. A box stands on the last line of the one above,
/// which saves a row each time.
fn stacked(app: &App, painter: &mut Painter<'_>, area: Rect) {
    let wanted = requests::rows(app, painter.theme, area.width - 2) + 2;
    let first = app.is_first_start().then(|| {
        first_start::lines(
            app,
            painter.theme,
            area.width - 2,
            area.height.saturating_sub(8),
        )
    });
    let upper = if let Some(steps) = &first {
        let rows = u16::try_from(steps.len()).unwrap_or(area.height);
        (rows + 2).min(area.height.saturating_sub(6)).max(4)
    } else if area.height < 22 {
        9
    } else {
        area.height * 9 / 20 + 1
    };
    let below = area.height + 1 - upper;
    let asked = wanted.min(below - 3).min((below * 3 / 5).max(6));
    let at = |y, height| Rect::new(area.x, area.y + y, area.width, height);
    let left = area.width * 3 / 5 - 3;
    let feet = [left - 1, left];
    if let Some(steps) = &first {
        let inner = painter.frame(at(0, upper), FIRST_START);
        write(painter, inner, steps);
    } else {
        let [lights_at, money_at] = columns(at(0, upper), [left, area.width - left]);
        health_box(app, painter, lights_at);
        earnings_box(app, painter, money_at);
    }
    let work_at = at(upper - 1, below + 1 - asked);
    work_box(app, painter, work_at);
    painter.join(work_at, if first.is_some() { &[] } else { &feet });
    let asked_at = at(area.height - asked, asked);
    requests_box(app, painter, asked_at);
    painter.join(asked_at, &[]);
}

/// Three columns, and the work below them: health indicators and models, earnings, requests.
fn wide(app: &App, painter: &mut Painter<'_>, area: Rect) {
    let upper = area.height / 2;
    let at = |y, height| Rect::new(area.x, area.y + y, area.width, height);
    let third = area.width / 3;
    if app.is_first_start() {
        let wide = 2 * third;
        let [left, asked_at] = columns(at(0, upper), [wide, area.width - wide]);
        let steps = first_start::lines(app, painter.theme, wide - 2, upper - 6);
        let rows = u16::try_from(steps.len()).unwrap_or(upper) + 2;
        let rows = rows.min(upper - 4);
        let inner = painter.frame(
            Rect {
                height: rows,
                ..left
            },
            FIRST_START,
        );
        write(painter, inner, &steps);
        let lights_at = Rect::new(left.x, left.y + rows - 1, left.width, upper + 1 - rows);
        health_box(app, painter, lights_at);
        painter.join(lights_at, &[]);
        requests_box(app, painter, asked_at);
        work_box(app, painter, at(upper, area.height - upper));
        return;
    }
    let [left, money_at, asked_at] = columns(at(0, upper), [third, third, area.width - 2 * third]);
    let models = models::lines(&app.store, left.width - 2);
    let sold = u16::try_from(models.len()).unwrap_or(upper);
    let sold = (sold + 2).clamp(upper / 3, upper / 2);
    let lights_at = Rect {
        height: upper - sold + 1,
        ..left
    };
    let models_at = Rect::new(left.x, left.y + upper - sold, left.width, sold);
    health_box(app, painter, lights_at);
    let inner = painter.frame(models_at, "Models, all time");
    write(painter, inner, &models);
    painter.join(models_at, &[]);
    earnings_box(app, painter, money_at);
    requests_box(app, painter, asked_at);
    work_box(app, painter, at(upper, area.height - upper));
}

fn columns<const N: usize>(area: Rect, widths: [u16; N]) -> [Rect; N] {
    let mut x = area.x;
    widths.map(|width| {
        let column = Rect::new(x, area.y, width, area.height);
        x += width;
        column
    })
}

fn health_box(app: &App, painter: &mut Painter<'_>, area: Rect) {
    let inner = painter.frame(area, "What it needs");
    let lines = health::lines(app, painter.theme, inner.width, inner.height);
    write(painter, inner, &lines);
}

fn earnings_box(app: &App, painter: &mut Painter<'_>, area: Rect) {
    let title = if app.store.wallet.sandbox {
        "Earnings (play money)"
    } else {
        "Earnings"
    };
    let inner = painter.frame(area, title);
    let lines = earnings::lines(&app.store, painter.theme, inner.width, inner.height);
    write(painter, inner, &lines);
}

fn work_box(app: &App, painter: &mut Painter<'_>, area: Rect) {
    let inner = painter.frame(area, &work::title(&app.store));
    let lines = work::lines(app, painter.theme, inner.width, inner.height);
    write(painter, inner, &lines);
}

fn requests_box(app: &App, painter: &mut Painter<'_>, area: Rect) {
    let inner = painter.frame(area, "Requests, all time");
    let lines = requests::lines(app, painter.theme, inner.width, inner.height);
    write(painter, inner, &lines);
}

/// The button with the real state, then why it earns or does not, then what to do about that.
fn head(app: &App, theme: Theme, width: u16) -> Vec<Line> {
    let mut lines = vec![button(app, theme)];
    let verdict = app.store.verdict();
    let (mark, role) = match verdict.mood {
        Mood::Good => (theme.mark(HealthLevel::Ok), Role::Good),
        Mood::Quiet => (theme.calm(), Role::Title),
        Mood::Poll => (theme.mark(HealthLevel::Warn), Role::Warn),
        Mood::Bad => (theme.mark(HealthLevel::Down), Role::Bad),
    };
    for (index, text) in words(&verdict.text, width - 4, 2).into_iter().enumerate() {
        let mark = if index == 0 { mark } else { " " };
        lines.push(vec![piece(format!(" {mark} "), role), piece(text, role)]);
    }
    let fix = with_value(app, &verdict.fix, verdict.key);
    let fix = fix.replace("go online", &format!("go online ({})", toggle_key(app)));
    for (index, text) in words(&fix, width - 6, 2).into_iter().enumerate() {
        let arrow = if index == 0 { theme.arrow() } else { " " };
        lines.push(vec![
            piece(format!("   {arrow} "), Role::Key),
            piece(text, Role::Text),
        ]);
    }
    lines.extend(cases(app, theme));
    lines
}

/// What waits at the recovery desk; no line where nothing does.
fn cases(app: &App, theme: Theme) -> Option<Line> {
    let text = match app.store.totals.cases {
        0 => return None,
        1 => "1 case needs you".to_owned(),
        many => format!("{} cases need you", count(many)),
    };
    let desk = (app.keys.all().iter()).find(|one| one.binding.act == Act::Desk);
    let key = desk.map_or("", |one| &one.shown);
    let mark = theme.mark(HealthLevel::Warn);
    Some(vec![
        piece(format!(" {mark} "), Role::Warn),
        piece(text, Role::Warn),
        piece(format!(": {key} on the Jobs tab"), Role::Text),
    ])
}

fn button(app: &App, theme: Theme) -> Line {
    let store = &app.store;
    let (label, health) = match store.state {
        ShopState::Offline => ("[ GO ONLINE ]", HealthLevel::Unknown),
        ShopState::Online => ("[ GO OFFLINE ]", HealthLevel::Ok),
        _ => ("[ GO OFFLINE ]", HealthLevel::Warn),
    };
    let mark = state_mark(store.state, theme);
    let state = format!("{mark} {}", store.state.as_str().to_uppercase());
    let mut line = vec![
        piece(" ", Role::Text),
        piece(label, Role::Selected),
        piece(format!(" {}  ", toggle_key(app)), Role::Key),
        piece(state, of_health(health)),
    ];
    if store.state.sells() || store.state == ShopState::Paused {
        let zone = app.zone(store.since);
        let since = format!(" since {} {zone}", app.here(store.since).clock());
        line.push(piece(since, Role::Dim));
    }
    // Why it is offline is the verdict's to say.
    if store.state != ShopState::Offline && !store.detail.is_empty() {
        let detail = format!("  {}", clean(&store.detail, DETAIL));
        line.push(piece(detail, Role::Text));
    }
    line
}

/// The key that presses the button.
fn toggle_key(app: &App) -> &str {
    let toggle = (app.keys.all().iter()).find(|one| one.binding.act == Act::Toggle);
    toggle.map_or("", |one| &one.shown)
}

/// The seller's key, where there is a line for it.
fn key(app: &App) -> Line {
    vec![piece(
        format!("   {}", clean(&app.store.npub, 80)),
        Role::Dim,
    )]
}

/// The advice with the value of its setting now, where the form has read it.
fn with_value(app: &App, text: &str, key: Option<&str>) -> String {
    let Some(key) = key else {
        return text.to_owned();
    };
    match app.form.in_file(key) {
        Some(now) => {
            let now = match now.as_str() {
                "" | "[]" => "empty".to_owned(),
                _ => clean(&now, 24),
            };
            text.replacen(key, &format!("{key} (now {now})"), 1)
        }
        None => text.to_owned(),
    }
}

/// A count in at most six columns.
fn count(number: u64) -> String {
    let (mut number, mut unit) = (number, 0);
    while number >= 100_000 {
        number /= 1_000;
        unit += 1;
    }
    let units = ["", "k", "M", "G", "T", "P"];
    format!("{number}{}", units.get(unit).unwrap_or(&""))
}

/// `1 job`, `2 jobs`.
fn jobs(number: u64) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} job{plural}", count(number))
}
