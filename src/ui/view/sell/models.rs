//! What each model earned.

use super::{Line, count, piece};
use crate::domain::text::clean;
use crate::store::Store;
use crate::ui::theme::Role;

/// A head, and a row for each model, the one that earned most first.
pub fn lines(store: &Store, width: u16) -> Vec<Line> {
    let mut models: Vec<_> = store.totals.models.iter().collect();
    if models.is_empty() {
        return vec![vec![piece("no model has sold anything yet", Role::Dim)]];
    }
    models.sort_by_key(|(_, stats)| std::cmp::Reverse((stats.revenue_msat, stats.jobs)));
    let name = usize::from(width.saturating_sub(38)).clamp(8, 32);
    let row = |cells: [&str; 5]| {
        let [model, jobs, earned, tokens, speed] = cells;
        format!("{model} {jobs:>6} {earned:>14} {tokens:>7} {speed:>6}")
    };
    let head = format!("{:<name$}", "model");
    let head = row([&head, "jobs", "earned", "tokens", "tok/s"]);
    let mut lines = vec![vec![piece(head, Role::Dim)]];
    for (model, stats) in models {
        let speed = stats
            .tokens_per_second
            .map_or_else(|| "-".to_owned(), |speed| format!("{speed:.1}"));
        let cells = row([
            "",
            &count(stats.jobs),
            &stats.revenue_msat.display().to_string(),
            &count(stats.tokens),
            &speed,
        ]);
        let model = crate::ui::painter::pad(&clean(model, 60), name);
        lines.push(vec![piece(model, Role::Text), piece(cells, Role::Text)]);
    }
    lines
}
