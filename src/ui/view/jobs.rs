//! Jobs: figures, the table, and one job in detail.

use ratatui::layout::Rect;

use crate::domain::health::ShopState;
use crate::domain::job::Status;
use crate::domain::text::clean;
use crate::ui::app::App;
use crate::ui::painter::Painter;
use crate::ui::theme::Role;

use super::JOB_BESIDE;

mod columns;
mod desk;
mod detail;
mod earnings;
mod qr;

pub use desk::last_line as last_line_of_case;
pub use detail::last_line;
pub use earnings::last_line as last_line_of_earnings;

/// Rows of the cards.
const CARDS: u16 = 3;

/// Draws the tab.
pub fn draw(app: &App, painter: &mut Painter<'_>, area: Rect) {
    if app.cases.open {
        return desk::draw(app, painter, area);
    }
    if let Some(from) = app.earnings {
        return earnings::draw(app, painter, area, from);
    }
    if app.jobs.detail
        && let Some(job) = app.jobs.chosen(&app.store)
    {
        detail::draw(app, painter, area, job);
    } else if let Some(id) = app.jobs.visited() {
        let inner = painter.frame(area, &format!("job {} (Esc: back)", id.short()));
        painter.row(inner, 0, &[("asking the ledger", Role::Dim)]);
    } else {
        let cards_area = Rect {
            height: CARDS,
            ..area
        };
        cards(app, painter, cards_area);
        let below = Rect::new(area.x, area.y + CARDS, area.width, area.height - CARDS);
        let (left, right) = beside(below);
        table(app, painter, left);
        if let (Some(right), Some(job)) = (right, app.jobs.chosen(&app.store)) {
            detail::draw(app, painter, right, job);
        }
    }
    if app.jobs.copying {
        copies(painter, area);
    }
}

/// The table's area, and that of the chosen job where there is room for it.
fn beside(area: Rect) -> (Rect, Option<Rect>) {
    if area.width < JOB_BESIDE {
        return (area, None);
    }
    let width = (area.width * 2 / 5).clamp(70, 90);
    let left = Rect {
        width: area.width - width,
        ..area
    };
    let right = Rect {
        x: left.right(),
        width,
        ..area
    };
    (left, Some(right))
}

fn cards(app: &App, painter: &mut Painter<'_>, area: Rect) {
    let totals = &app.store.totals;
    let cards = [
        ("jobs", "jobs", totals.jobs.to_string(), Role::Text),
        (
            "successful",
            "done",
            totals.successful.to_string(),
            Role::Good,
        ),
        (
            "revenue",
            "earned",
            totals.revenue_msat.display().to_string(),
            Role::Title,
        ),
        ("failed", "failed", totals.failed.to_string(), Role::Text),
        (
            "owed back",
            "owed",
            totals.owed_msat.display().to_string(),
            Role::Text,
        ),
    ];
    let width = area.width / 5;
    let narrow = width < 16;
    let mut x = area.x;
    for (title, short, value, role) in cards {
        let title = if narrow { short } else { title };
        let inner = painter.frame(Rect { x, width, ..area }, title);
        // A figure is whole before it is spaced.
        let blank = if value.len() < usize::from(inner.width) {
            " "
        } else {
            ""
        };
        painter.row(inner, 0, &[(blank, Role::Text), (&value, role)]);
        x += width;
    }
}

fn title(app: &App, total: u64) -> String {
    let list = &app.jobs;
    let held = match (list.is_frozen(), list.follow) {
        (true, _) => ", frozen",
        (false, true) => ", following",
        (false, false) => "",
    };
    let filter = match list.query().filter.as_str() {
        "" => String::new(),
        text => format!(", only {}", clean(text, 60)),
    };
    let jobs = if total == 1 { "job" } else { "jobs" };
    format!("{total} {jobs} by {}{held}{filter}", list.order())
}

/// The row of the table at this place of the tab.
pub fn row_at(app: &App, area: Rect, x: u16, y: u16) -> Option<usize> {
    // Frame and titles are above the rows, and a filter that can't be read.
    let above = CARDS + 2 + u16::from(app.jobs.trouble.is_some());
    let top = area.y + above;
    let height = area.height.checked_sub(above + 1)?;
    let right = beside(area).0.right();
    let within = x > area.x && x + 1 < right && y >= top && y < top + height;
    if app.jobs.detail || app.cases.open || app.earnings.is_some() || !within {
        return None;
    }
    let listing = app.jobs.listing(&app.store);
    let first = listing.first_row(app.jobs.at(&listing), height.into());
    let row = first + u64::from(y - top);
    usize::try_from(row).ok().filter(|_| row < listing.total)
}

fn table(app: &App, painter: &mut Painter<'_>, area: Rect) {
    let list = &app.jobs;
    let listing = list.listing(&app.store);
    let mut inner = painter.frame(area, &title(app, listing.total));
    if let Some(trouble) = &list.trouble {
        painter.row(inner, 0, &[(&clean(trouble, 300), Role::Bad)]);
        inner.y += 1;
        inner.height = inner.height.saturating_sub(1);
    }
    let places = columns::places(inner.width);
    columns::head(painter, inner, &places, list.query());
    let height = inner.height.saturating_sub(1);
    let at = list.at(&listing);
    let first = listing.first_row(at, height.into());
    for (row, number) in (1..=height).zip(first..listing.total) {
        let Some(job) = listing.get(number) else {
            let mark = painter.theme.ellipsis().to_string();
            let look = if number == at {
                Role::Selected
            } else {
                Role::Dim
            };
            painter.cells(inner, row, &[(&mark, inner.width)], look);
            continue;
        };
        let look = if number == at {
            Role::Selected
        } else {
            role(job.status)
        };
        columns::row(app, painter, inner, row, &places, job, look);
    }
    let text = match (
        listing.total,
        listing.searching,
        list.query().filter.is_empty(),
    ) {
        (0, true, _) => "looking through the ledger",
        (0, false, true) if app.store.state == ShopState::Offline => {
            "no jobs yet; none can come while the shop is offline"
        }
        (0, false, true) => "no jobs yet",
        (0, false, false) => "no job is like this; Esc shows all",
        _ => return,
    };
    painter.row(inner, 1, &[(text, Role::Dim)]);
}

/// The look of a status.
const fn role(status: Status) -> Role {
    match status {
        Status::Paid | Status::Completed => Role::Good,
        Status::Error => Role::Bad,
        Status::Unpaid => Role::Warn,
        Status::Cancelled => Role::Dim,
        _ => Role::Text,
    }
}

/// What can be copied, above the tab's last rows.
fn copies(painter: &mut Painter<'_>, area: Rect) {
    let bindings = crate::ui::keymap::COPIES;
    let height = u16::try_from(bindings.len()).unwrap_or(5) + 2;
    let width = area.width.min(48);
    let place = Rect::new(
        area.x + (area.width - width) / 2,
        area.bottom().saturating_sub(height).max(area.y),
        width,
        height.min(area.height),
    );
    painter.blank(place);
    let inner = painter.frame(place, "Copy what? (Esc: nothing)");
    for (row, binding) in (0..).zip(bindings) {
        let key: String = binding.shown.chars().skip(2).collect();
        let pieces = [
            (" ", Role::Text),
            (key.as_str(), Role::Key),
            ("  ", Role::Text),
            (binding.help, Role::Text),
        ];
        painter.row(inner, row, &pieces);
    }
}

#[cfg(test)]
mod tests;
