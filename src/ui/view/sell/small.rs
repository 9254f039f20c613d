//! The tab on a small terminal: one line for each thing, and where lines are short, the more important ones.

use ratatui::layout::Rect;

use super::{Line, count, earnings, first_start, head, health, jobs, piece, requests, work, write};
use crate::store::Store;
use crate::ui::app::App;
use crate::ui::painter::Painter;
use crate::ui::theme::{Role, Theme};

/// Draws the tab.
pub fn draw(app: &App, painter: &mut Painter<'_>, area: Rect) {
    let lines = fitting(
        ranked(app, painter.theme, area.width),
        usize::from(area.height),
    );
    write(painter, area, &lines);
}

/// The lines in their order, each with its rank: 0 is always shown, the highest goes first.
fn ranked(app: &App, theme: Theme, width: u16) -> Vec<(u8, Line)> {
    let store = &app.store;
    let mut lines: Vec<(u8, Line)> = head(app, theme, width)
        .into_iter()
        .map(|line| (0, line))
        .collect();
    let sold = if app.is_first_start() { 4 } else { 1 };
    lines.push((sold, money(store)));
    lines.push((owed_rank(store), owed(store)));
    if app.is_first_start() {
        let steps = first_start::lines(app, theme, width, 7);
        lines.extend(steps.into_iter().map(|line| (1, line)));
    } else {
        for (line, fix) in health::kinds(app, theme) {
            lines.push((1, line));
            lines.extend(fix.map(|fix| (6, fix)));
        }
    }
    lines.push((2, vec![piece(work::title(store), Role::Title)]));
    for (index, job) in (0_u8..6).zip(store.running()) {
        let rank = if index == 0 { 2 } else { 7 };
        lines.push((rank, work::running(store, job, theme, width)));
    }
    let funnel = requests::funnel(app, theme, width);
    lines.extend(funnel.into_iter().map(|line| (3, line)));
    for (reason, times) in store.top_drops(1) {
        let told = requests::drop_lines(app, theme, width, reason, &count(times));
        lines.extend(told.into_iter().map(|line| (5, line)));
    }
    let sparks = earnings::sparks(store, theme, width);
    lines.extend((7_u8..).zip(sparks));
    lines.extend(store.load.as_ref().map(|load| (8, work::machine(load))));
    lines
}

fn money(store: &Store) -> Line {
    let (today, week) = (store.today(), store.last_days(7));
    let all = store.totals.revenue_msat;
    vec![
        piece("today ", Role::Dim),
        piece(today.revenue_msat.display().to_string(), Role::Title),
        piece(format!(" {}  7 days ", jobs(today.jobs)), Role::Dim),
        piece(week.revenue_msat.display().to_string(), Role::Text),
        piece("  all ", Role::Dim),
        piece(all.display().to_string(), Role::Text),
    ]
}

fn owed(store: &Store) -> Line {
    let totals = &store.totals;
    let back = if totals.owed_msat.is_zero() {
        Role::Text
    } else {
        Role::Warn
    };
    vec![
        piece("owed to you ", Role::Dim),
        piece(totals.open_credit_msat.display().to_string(), Role::Text),
        piece("  owed back to buyers ", Role::Dim),
        piece(totals.owed_msat.display().to_string(), back),
    ]
}

/// Nothing owed on either side is no news.
fn owed_rank(store: &Store) -> u8 {
    let totals = &store.totals;
    if totals.open_credit_msat.is_zero() && totals.owed_msat.is_zero() {
        9
    } else {
        4
    }
}

/// As many lines as there is room for, in their order.
fn fitting(lines: Vec<(u8, Line)>, height: usize) -> Vec<Line> {
    let mut order: Vec<_> = lines.iter().map(|(rank, _)| *rank).enumerate().collect();
    order.sort_by_key(|(_, rank)| *rank);
    let mut kept: Vec<usize> = order.iter().take(height).map(|(index, _)| *index).collect();
    kept.sort_unstable();
    let mut lines: Vec<Option<Line>> = lines.into_iter().map(|(_, line)| Some(line)).collect();
    kept.iter()
        .filter_map(|index| lines.get_mut(*index).and_then(Option::take))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_less_important_lines_go_first_and_the_order_stays() {
        let line = |text: &str| vec![piece(text, Role::Text)];
        let lines = vec![
            (0, line("a")),
            (9, line("b")),
            (1, line("c")),
            (1, line("d")),
        ];
        let kept: Vec<_> = fitting(lines, 3)
            .into_iter()
            .map(|line| line[0].0.clone())
            .collect();
        assert_eq!(kept, ["a", "c", "d"]);
    }
}
