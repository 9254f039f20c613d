//! What came in: by day, by model, by buyer.

use ratatui::layout::Rect;

use crate::domain::id::Buyer;
use crate::domain::msat::Msat;
use crate::domain::text::clean;
use crate::store::Store;
use crate::ui::app::App;
use crate::ui::jobs_list::npub;
use crate::ui::painter::{Painter, pad};
use crate::ui::theme::Role;

/// From so many columns on the three lists stand side by side.
const BESIDE: u16 = 78;
/// Columns of jobs and of sats, each with a blank before it.
const NUMBERS: usize = 1 + 5 + 1 + 7;

/// A list: its name, and its rows of name, jobs and money.
type List = (&'static str, Vec<(String, u64, Msat)>);

/// Draws the earnings from the line `from` on.
pub fn draw(app: &App, painter: &mut Painter<'_>, area: Rect, from: usize) {
    let lists = lists(&app.store);
    if area.width < BESIDE {
        return below(painter, area, &lists, from);
    }
    let third = area.width / 3;
    let mut x = area.x;
    for (index, (name, rows)) in lists.iter().enumerate() {
        let width = if index == 2 { area.right() - x } else { third };
        let inner = painter.frame(Rect { x, width, ..area }, name);
        head(painter, inner, 0);
        let last = rows
            .len()
            .saturating_sub(usize::from(inner.height.saturating_sub(1)));
        for (y, row) in (1..inner.height).zip(rows.iter().skip(from.min(last))) {
            line(painter, inner, y, row);
        }
        x += width;
    }
}

/// One list after the other, for a narrow screen.
fn below(painter: &mut Painter<'_>, area: Rect, lists: &[List], from: usize) {
    let inner = painter.frame(area, "Earnings (Esc: jobs)");
    let mut lines = Vec::new();
    for (name, rows) in lists {
        lines.push(Err(*name));
        lines.extend(rows.iter().map(Ok));
    }
    let last = lines.len().saturating_sub(usize::from(inner.height));
    for (y, entry) in (0..inner.height).zip(lines.iter().skip(from.min(last))) {
        match entry {
            Err(name) => painter.row(inner, y, &[(name, Role::Title)]),
            Ok(row) => line(painter, inner, y, row),
        }
    }
}

/// How far it can be scrolled.
#[must_use]
pub fn last_line(app: &App) -> usize {
    let lists = lists(&app.store);
    let longest = lists.iter().map(|(_, rows)| rows.len()).max().unwrap_or(0);
    let all: usize = lists.iter().map(|(_, rows)| rows.len() + 1).sum();
    let rows = if app.size.0 < BESIDE { all } else { longest };
    rows.saturating_sub(1)
}

fn lists(store: &Store) -> [List; 3] {
    let totals = &store.totals;
    let days = (totals.days.iter().rev())
        .map(|(day, stats)| (clean(day, 10), stats.jobs, stats.revenue_msat));
    let mut models: Vec<_> = (totals.models.iter())
        .map(|(model, stats)| (clean(model, 60), stats.jobs, stats.revenue_msat))
        .collect();
    let mut buyers: Vec<_> = (totals.buyers.iter())
        .map(|(buyer, stats)| {
            let name = nostr::PublicKey::parse(buyer).map(|key| npub(&Buyer(key)));
            let name = name.unwrap_or_else(|_| clean(buyer, 64));
            (name, stats.jobs, stats.revenue_msat)
        })
        .collect();
    for list in [&mut models, &mut buyers] {
        list.sort_by_key(|(_, jobs, money)| std::cmp::Reverse((*money, *jobs)));
    }
    [
        ("By day, UTC", days.collect()),
        ("By model", models),
        ("Best 20 buyers", buyers),
    ]
}

fn head(painter: &mut Painter<'_>, area: Rect, y: u16) {
    let name = usize::from(area.width).saturating_sub(NUMBERS);
    let text = format!("{:<name$} {:>5} {:>7}", "", "jobs", "sats");
    painter.row(area, y, &[(&text, Role::Dim)]);
}

fn line(painter: &mut Painter<'_>, area: Rect, y: u16, (name, jobs, money): &(String, u64, Msat)) {
    let room = usize::from(area.width).saturating_sub(NUMBERS);
    let numbers = format!(" {:>5} {:>7}", short(*jobs, 5), short(money.0 / 1_000, 7));
    let name = pad(name, room);
    painter.row(area, y, &[(&name, Role::Text), (&numbers, Role::Text)]);
}

/// A number in at most so many columns (three or more), in thousands or millions where it is larger.
fn short(number: u64, columns: usize) -> String {
    let units = ["", "k", "M", "G", "T", "P", "E"];
    let mut number = number;
    for unit in units {
        let text = format!("{number}{unit}");
        if text.len() <= columns {
            return text;
        }
        number /= 1_000;
    }
    String::new()
}
