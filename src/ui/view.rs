//! Drawing: the app's state onto a buffer. Nothing here changes anything.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::app::App;
use super::keymap::Tab;
use super::painter::Painter;
use super::theme::Role;

mod above;
mod chrome;
mod jobs;
mod sell;
mod settings;
mod telemetry;

pub use chrome::state_mark;
pub use jobs::{last_line as last_line_of_job, last_line_of_case, last_line_of_earnings};
pub use sell::first_steps;

/// The least columns and rows.
pub const LEAST: (u16, u16) = (60, 16);

/// From so many columns on, the chosen job stands beside the table of jobs.
pub const JOB_BESIDE: u16 = 160;

/// Draws the whole screen.
pub fn draw(app: &App, area: Rect, buf: &mut Buffer) {
    let mut painter = Painter {
        buf,
        theme: app.theme,
    };
    // A theme with a ground of its own covers the terminal's.
    painter.fill(area, Role::Text);
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let size = format!("{}x{}", area.width, area.height);
        let least = format!("needs {}x{}, is {size}", LEAST.0, LEAST.1);
        painter.row(area, 0, &[("terminal too small", Role::Title)]);
        painter.row(area, 1, &[(&least, Role::Text)]);
        return;
    }
    let body = chrome::draw(app, &mut painter, area);
    match app.tab {
        Tab::Sell => sell::draw(app, &mut painter, body),
        Tab::Settings => settings::draw(app, &mut painter, body),
        Tab::Jobs => jobs::draw(app, &mut painter, body),
        Tab::Telemetry => telemetry::draw(app, &mut painter, body),
    }
    above::draw(app, &mut painter, area);
}

/// What is at a place of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// A tab of the hotbar.
    Tab(Tab),
    /// A row of the tab's list, counted from its first.
    Row(usize),
}

/// What a click at (`x`, `y`) means.
#[must_use]
pub fn hit(app: &App, x: u16, y: u16) -> Option<Hit> {
    let area = Rect::new(0, 0, app.size.0, app.size.1);
    if area.width < LEAST.0 || area.height < LEAST.1 {
        return None;
    }
    if y == 0 {
        return chrome::tab_at(area, x).map(Hit::Tab);
    }
    let body = chrome::body(app, area);
    let row = match app.tab {
        Tab::Settings => settings::row_at(app, body, x, y),
        Tab::Telemetry => telemetry::row_at(app, body, x, y),
        Tab::Jobs => jobs::row_at(app, body, x, y),
        Tab::Sell => None,
    };
    row.map(Hit::Row)
}

/// How many rows the list of keys has at the present size.
#[must_use]
pub fn help_rows(app: &App) -> usize {
    above::help_rows(app, Rect::new(0, 0, app.size.0, app.size.1))
}

/// The first row of a list that shows the chosen one in the middle, as far as the ends allow.
fn first_row(at: usize, rows: usize, height: usize) -> usize {
    at.saturating_sub(height / 2)
        .min(rows.saturating_sub(height))
}

/// The time of day, as `11:06:40`, of a moment that is the screen's.
fn clock(at: crate::domain::time::Time) -> String {
    at.to_string().chars().skip(11).take(8).collect()
}

#[cfg(test)]
mod form_tests;
#[cfg(test)]
mod tests;
