//! Drawing: the app's state onto a buffer. Nothing here changes anything.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::app::App;
use super::keymap::Tab;
use super::pen::Pen;
use super::theme::Role;

mod chrome;
mod jobs;
mod sell;
mod settings;
mod telemetry;

pub use jobs::last_line as last_line_of_job;

/// The least columns and rows.
pub const LEAST: (u16, u16) = (60, 16);

/// Draws the whole screen.
pub fn draw(app: &App, area: Rect, buf: &mut Buffer) {
    let mut pen = Pen {
        buf,
        theme: app.theme,
    };
    // A theme with a ground of its own covers the terminal's.
    pen.fill(area, Role::Text);
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let size = format!("{}x{}", area.width, area.height);
        let least = format!("needs {}x{}, is {size}", LEAST.0, LEAST.1);
        pen.row(area, 0, &[("terminal too small", Role::Title)]);
        pen.row(area, 1, &[(&least, Role::Text)]);
        return;
    }
    let body = chrome::draw(app, &mut pen, area);
    match app.tab {
        Tab::Sell => sell::draw(app, &mut pen, body),
        Tab::Settings => settings::draw(app, &mut pen, body),
        Tab::Jobs => jobs::draw(app, &mut pen, body),
        Tab::Telemetry => telemetry::draw(app, &mut pen, body),
    }
    chrome::draw_above(app, &mut pen, area);
}

/// The first row of a list that shows the chosen one in the middle, as far as the ends allow.
fn first_row(at: usize, rows: usize, height: usize) -> usize {
    at.saturating_sub(height / 2)
        .min(rows.saturating_sub(height))
}

/// The time of day, UTC, as `11:06:40`.
fn clock(at: crate::domain::time::Time) -> String {
    at.to_string().chars().skip(11).take(8).collect()
}

#[cfg(test)]
mod tests;
