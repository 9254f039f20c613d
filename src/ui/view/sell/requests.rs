//! From every request seen to every job paid, and what the seller could do about those that were not taken.

use super::{Line, count, piece, with_value};
use crate::domain::advice;
use crate::domain::text::clean;
use crate::ui::app::App;
use crate::ui::painter::words;
use crate::ui::theme::{Role, Theme};

/// Rows of the funnel where it is drawn with bars.
const STEPS: usize = 5;
/// The most columns of a bar of the funnel.
const BAR: u16 = 40;

/// How many rows it could use.
pub fn rows(app: &App, theme: Theme, width: u16) -> u16 {
    let lines = lines(app, theme, width, 30);
    u16::try_from(lines.len()).unwrap_or(4)
}

/// The funnel in one line or with bars, then the reasons with their advice.
pub fn lines(app: &App, theme: Theme, width: u16, height: u16) -> Vec<Line> {
    let height = usize::from(height);
    let drops = drops(app, theme, width);
    let tall = height > STEPS + 2 + drops.len().min(8) && width < 100;
    let mut lines = if tall {
        bars(app, theme, width)
    } else {
        funnel(app, theme, width)
    };
    lines.extend(drops);
    lines.truncate(height.max(1));
    lines
}

fn steps(app: &App) -> [(&'static str, u64); STEPS] {
    let funnel = &app.store.totals.funnel;
    [
        ("seen", funnel.seen),
        ("understood", funnel.understood),
        ("admitted", funnel.admitted),
        ("delivered", funnel.delivered),
        ("paid", funnel.paid),
    ]
}

/// In one line, or in two where that is too long.
pub fn funnel(app: &App, theme: Theme, width: u16) -> Vec<Line> {
    let steps = steps(app);
    let arrow = format!(" {} ", theme.arrow());
    for between in [&*arrow, " "] {
        let line = joined(&steps, between);
        let long: usize = line.iter().map(|(text, _)| text.chars().count()).sum();
        if long <= usize::from(width) {
            return vec![line];
        }
    }
    vec![joined(&steps[..3], &arrow), joined(&steps[3..], &arrow)]
}

fn joined(steps: &[(&str, u64)], between: &str) -> Line {
    let mut line = Line::new();
    for (name, number) in steps {
        if !line.is_empty() {
            line.push(piece(between, Role::Dim));
        }
        line.push(piece(format!("{name} "), Role::Dim));
        line.push(piece(count(*number), Role::Title));
    }
    line
}

/// A row for each step, with its share of all that was seen.
fn bars(app: &App, theme: Theme, width: u16) -> Vec<Line> {
    let steps = steps(app);
    let all = steps.iter().map(|(_, number)| *number).max().unwrap_or(0);
    let room = u64::from(width.saturating_sub(19).min(BAR));
    let (full, _) = theme.bar();
    let row = |(name, number): &(&str, u64)| {
        // At most forty columns; a share of nothing is nothing.
        let share = u128::from(*number) * u128::from(room) / u128::from(all.max(1));
        let columns = usize::try_from(share).unwrap_or(0);
        let columns = columns.max(usize::from(*number > 0));
        vec![
            piece(format!("{name:<11}"), Role::Dim),
            piece(format!("{:>6} ", count(*number)), Role::Title),
            piece(full.repeat(columns), Role::Chart),
        ]
    };
    let mut lines: Vec<Line> = steps.iter().map(row).collect();
    lines.push(Line::new());
    lines
}

/// Why requests were not taken, the most frequent reason first, each with what could be done.
fn drops(app: &App, theme: Theme, width: u16) -> Vec<Line> {
    let reasons = app.store.top_drops(16);
    if reasons.is_empty() {
        let text = if app.store.totals.funnel.seen == 0 {
            "no request has come yet"
        } else {
            "none was turned away"
        };
        return vec![vec![piece(text, Role::Dim)]];
    }
    let long = |(_, times): &(&str, u64)| count(*times).len();
    let pad = reasons.iter().map(long).max().unwrap_or(0);
    let mut lines = Vec::new();
    for (reason, times) in reasons {
        let times = format!("{:>pad$}", count(times));
        lines.extend(drop_lines(app, theme, width, reason, &times));
    }
    lines
}

/// One reason: `7 bid_too_low → lower price.min_price_sats (now 10), or leave it`.
pub fn drop_lines(app: &App, theme: Theme, width: u16, reason: &str, times: &str) -> Vec<Line> {
    let mut line = vec![
        piece(format!("{times} "), Role::Title),
        piece(clean(reason, 24), Role::Text),
    ];
    let taken: usize = line.iter().map(|(text, _)| text.chars().count()).sum();
    let Some(advice) = advice::of_word(reason) else {
        return vec![line];
    };
    let todo = with_value(app, advice.todo, advice.key);
    let arrow = format!(" {} ", theme.arrow());
    let room = usize::from(width).saturating_sub(taken + 3);
    if todo.chars().count() <= room {
        line.push(piece(arrow, Role::Key));
        line.push(piece(todo, Role::Dim));
        return vec![line];
    }
    let mut lines = vec![line];
    for (index, text) in words(&todo, width.saturating_sub(9), 2)
        .into_iter()
        .enumerate()
    {
        let lead = if index == 0 {
            format!("      {arrow}")
        } else {
            " ".repeat(9)
        };
        lines.push(vec![piece(lead, Role::Key), piece(text, Role::Dim)]);
    }
    lines
}
