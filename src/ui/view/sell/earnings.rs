//! What came in, what is owed, and how the last day went.

use super::{Line, count, jobs, piece};
use crate::domain::msat::Msat;
use crate::store::Store;
use crate::ui::theme::{Role, Theme};

/// Hours of a chart.
const HOURS: u16 = 24;
/// Columns of a label.
const LABEL: usize = 12;
/// Rows of the figures.
const FIGURES: u16 = 5;

/// The figures, and charts in the room that is left: a line each, or columns.
pub fn lines(store: &Store, theme: Theme, width: u16, height: u16) -> Vec<Line> {
    let mut lines = figures(store);
    let left = height.saturating_sub(FIGURES);
    if left >= 8 {
        // Two charts, each with a blank line before it.
        let high = (left - 2) / 2;
        for (name, values, most) in series(store) {
            lines.push(Line::new());
            lines.extend(chart(&name, &values, &most, theme, width, high));
        }
    } else {
        lines.extend(sparks(store, theme, width));
    }
    lines
}

/// Today, seven days, all time, and what is owed on both sides.
fn figures(store: &Store) -> Vec<Line> {
    let totals = &store.totals;
    let (today, week) = (store.today(), store.last_days(7));
    let row = |name: &str, amount: Msat, role, rest: String| {
        vec![
            piece(format!("{name:<LABEL$}"), Role::Dim),
            piece(amount.display().to_string(), role),
            piece(format!("  {rest}"), Role::Dim),
        ]
    };
    let back = if totals.owed_msat.is_zero() {
        Role::Text
    } else {
        Role::Warn
    };
    vec![
        row("today", today.revenue_msat, Role::Title, jobs(today.jobs)),
        row("7 days", week.revenue_msat, Role::Text, jobs(week.jobs)),
        row(
            "all time",
            totals.revenue_msat,
            Role::Text,
            jobs(totals.funnel.delivered),
        ),
        row(
            "owed to you",
            totals.open_credit_msat,
            Role::Text,
            "by buyers".to_owned(),
        ),
        row("owed back", totals.owed_msat, back, "to buyers".to_owned()),
    ]
}

/// Sats and jobs by the hour, the oldest first, with the most in one hour in words.
fn series(store: &Store) -> [(String, Vec<u64>, String); 2] {
    let hours = store.last_hours(u64::from(HOURS));
    let sats: Vec<u64> = hours.iter().map(|hour| hour.revenue_msat.0).collect();
    let done: Vec<u64> = hours.iter().map(|hour| hour.jobs).collect();
    let most = |values: &[u64]| values.iter().copied().max().unwrap_or(0);
    let best = Msat(most(&sats)).display().to_string();
    let busiest = count(most(&done));
    [
        ("sats".to_owned(), sats, best),
        ("jobs".to_owned(), done, busiest),
    ]
}

/// A line of small steps for each series.
pub fn sparks(store: &Store, theme: Theme, width: u16) -> Vec<Line> {
    let room = usize::from(width.saturating_sub(9).min(HOURS));
    series(store)
        .iter()
        .map(|(name, values, _)| {
            let most = values.iter().copied().max().unwrap_or(0);
            let steps: String = values[values.len() - room.min(values.len())..]
                .iter()
                .map(|value| theme.step(eighths(*value, most, 8)))
                .collect();
            let label = format!("{name} {room}h");
            vec![
                piece(format!("{label:<9}"), Role::Dim),
                piece(steps, Role::Chart),
            ]
        })
        .collect()
}

/// A caption and columns, `high` rows in all.
fn chart(name: &str, values: &[u64], most: &str, theme: Theme, width: u16, high: u16) -> Vec<Line> {
    let wide = usize::from((width / HOURS).clamp(1, 4));
    let caption = format!("{name} by the hour, 24 h; the best hour {most}");
    let mut lines = vec![vec![piece(caption, Role::Dim)]];
    let rows = usize::from(high.saturating_sub(1));
    let best = values.iter().copied().max().unwrap_or(0);
    let heights: Vec<usize> = values
        .iter()
        .map(|value| eighths(*value, best, rows * 8))
        .collect();
    for row in (0..rows).rev() {
        let text: String = heights
            .iter()
            .map(|height| {
                let here = height.saturating_sub(row * 8).min(8);
                // An hour without anything still has its place on the ground.
                let sign = if row == 0 && here == 0 {
                    theme.step(0)
                } else {
                    theme.block(here)
                };
                sign.repeat(wide.saturating_sub(1).max(1)) + if wide > 1 { " " } else { "" }
            })
            .collect();
        lines.push(vec![piece(text, Role::Chart)]);
    }
    lines
}

/// How many of `full` steps a value is; at least one where it is anything.
fn eighths(value: u64, most: u64, full: usize) -> usize {
    if value == 0 || most == 0 {
        return 0;
    }
    let full = u128::try_from(full).unwrap_or(8);
    let steps = u128::from(value) * full / u128::from(most);
    usize::try_from(steps).unwrap_or(0).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_is_never_drawn_as_nothing_and_the_most_fills_the_chart() {
        assert_eq!(eighths(0, 100, 8), 0);
        assert_eq!(eighths(1, 1_000_000, 8), 1);
        assert_eq!(eighths(u64::MAX, u64::MAX, 40), 40);
        assert_eq!(eighths(0, 0, 8), 0);
    }

    #[test]
    fn a_chart_keeps_to_its_height_and_its_width() {
        let values: Vec<u64> = (0..24).collect();
        for width in [20_u16, 30, 66, 120] {
            let lines = chart("jobs", &values, "23", Theme::default(), width, 7);
            assert_eq!(lines.len(), 7);
            for line in &lines[1..] {
                let long: usize = line.iter().map(|(text, _)| text.chars().count()).sum();
                assert!(long <= usize::from(width.max(24)));
            }
        }
    }
}
