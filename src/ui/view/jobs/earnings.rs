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
/// Columns of what a model earns, each with a blank before it.
const FIGURES: usize = 49;
/// Columns of jobs and of sats, each with a blank before it.
const NUMBERS: usize = 1 + 5 + 1 + 7;

/// The title of what the models earn.
const WORTH: &str = "What a model earns, all time";

/// A line of the narrow view.
enum Entry<'a> {
    Text(&'a str, Role),
    Row(&'a (String, u64, Msat)),
}

/// A list: its name, and its rows of name, jobs and money.
type List = (&'static str, Vec<(String, u64, Msat)>);

/// Draws the earnings from the line `from` on.
pub fn draw(app: &App, painter: &mut Painter<'_>, area: Rect, from: usize) {
    let lists = lists(&app.store);
    if area.width < BESIDE {
        return below(painter, area, &lists, &worth(&app.store, area.width), from);
    }
    let worth = worth(&app.store, area.width);
    let rows = u16::try_from(worth.len())
        .unwrap_or(u16::MAX)
        .saturating_add(2);
    // It is about models, so with many of them the lists above keep the half.
    let rows = if worth.len() > 1 {
        rows.min(area.height / 2)
    } else {
        0
    };
    let under = Rect::new(area.x, area.bottom() - rows, area.width, rows);
    let area = Rect {
        height: area.height - rows,
        ..area
    };
    if rows > 2 {
        let inner = painter.frame(under, WORTH);
        for (y, (text, role)) in (0..inner.height).zip(&worth) {
            painter.row(inner, y, &[(text, *role)]);
        }
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
fn below(
    painter: &mut Painter<'_>,
    area: Rect,
    lists: &[List],
    worth: &[(String, Role)],
    from: usize,
) {
    let inner = painter.frame(area, "Earnings (Esc: jobs)");
    let mut lines = Vec::new();
    for (name, rows) in lists {
        lines.push(Entry::Text(name, Role::Title));
        lines.extend(rows.iter().map(Entry::Row));
    }
    if worth.len() > 1 {
        lines.push(Entry::Text(WORTH, Role::Title));
        lines.extend(worth.iter().map(|(text, role)| Entry::Text(text, *role)));
    }
    let last = lines.len().saturating_sub(usize::from(inner.height));
    for (y, entry) in (0..inner.height).zip(lines.iter().skip(from.min(last))) {
        match entry {
            Entry::Text(text, role) => painter.row(inner, y, &[(text, *role)]),
            Entry::Row(row) => line(painter, inner, y, row),
        }
    }
}

/// How far it can be scrolled.
#[must_use]
pub fn last_line(app: &App) -> usize {
    let lists = lists(&app.store);
    let longest = lists.iter().map(|(_, rows)| rows.len()).max().unwrap_or(0);
    let all: usize = lists.iter().map(|(_, rows)| rows.len() + 1).sum();
    let all = all + worth(&app.store, app.size.0).len() + 1;
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

/// A head and a line for each model: how fast it is, how long the machine was busy with it, and what an hour of that brings.
/// What was not measured is a dash; nothing is guessed.
fn worth(store: &Store, width: u16) -> Vec<(String, Role)> {
    let room = usize::from(width).saturating_sub(2 + FIGURES).clamp(8, 40);
    let mut models: Vec<_> = store.totals.models.iter().collect();
    models.sort_by_key(|(_, stats)| std::cmp::Reverse((stats.revenue_msat, stats.jobs)));
    let row = |name: &str, cells: [String; 6]| {
        let [speed, busy, energy, cost, hour, kwh] = cells;
        let name = pad(name, room);
        format!("{name} {speed:>6} {busy:>7} {energy:>8} {cost:>7} {hour:>7} {kwh:>8}")
    };
    let head = ["tok/s", "busy h", "kWh", "cost", "sats/h", "sats/kWh"];
    let mut lines = vec![(row("", head.map(str::to_owned)), Role::Dim)];
    let figure = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    lines.extend(models.into_iter().map(|(model, stats)| {
        let hours = stats.busy_ms / 36_000;
        let watt_hours = stats.energy_mj / 3_600_000;
        let energy = match watt_hours {
            0 if stats.energy_mj == 0 => "-".to_owned(),
            _ => format!("{}.{:03}", watt_hours / 1_000, watt_hours % 1_000),
        };
        let cells = [
            figure(stats.tokens_per_second, 1),
            format!("{}.{:02}", hours / 100, hours % 100),
            energy,
            figure(stats.cost, 2),
            figure(stats.sats_per_hour, 0),
            figure(stats.sats_per_kwh, 0),
        ];
        (row(&clean(model, 60), cells), Role::Text)
    }));
    lines
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
