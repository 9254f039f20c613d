//! Telemetry: the feed.

use ratatui::layout::Rect;

use super::clock;
use crate::domain::text::clean;
use crate::ui::app::App;
use crate::ui::pen::Pen;
use crate::ui::theme::{Role, level_word, of_level};

/// Draws the tab.
pub fn draw(app: &App, pen: &mut Pen<'_>, area: Rect) {
    let lines = app.feed.lines(&app.store);
    let filter = if app.feed.filter.is_empty() {
        String::new()
    } else {
        format!(", only \"{}\"", clean(&app.feed.filter, 30))
    };
    let title = format!("Feed, {}{filter}", app.feed.word());
    let inner = pen.frame(area, &title);
    let first = lines.len().saturating_sub(usize::from(inner.height));
    for (row, (_, line)) in (0..).zip(lines.iter().skip(first)) {
        let role = of_level(line.level);
        let at = clock(line.at);
        let rest = inner.width.saturating_sub(8 + 5 + 8 + 12 + 4);
        let cells = [
            (at.as_str(), 8),
            (level_word(line.level), 5),
            (line.category.as_str(), 8),
            (line.action.as_str(), 12),
            (line.label.as_str(), rest),
        ];
        pen.cells(inner, row, &cells, role);
    }
    if lines.is_empty() {
        pen.row(inner, 0, &[("nothing has happened yet", Role::Dim)]);
    }
}
