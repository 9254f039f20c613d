//! Telemetry: the feed, and one line of it with everything it has.

use ratatui::layout::Rect;
use unicode_width::UnicodeWidthChar as _;

use super::{clock, first_row};
use crate::domain::telemetry::Telemetry;
use crate::domain::text::{clean, clean_lines};
use crate::ui::app::{App, Feed};
use crate::ui::painter::{Painter, fit, wrap};
use crate::ui::theme::{Role, level_word, of_level};

/// Columns of time, level, category and action, with the blanks between them.
const LEFT: [u16; 4] = [8, 5, 8, 12];
/// The most characters of a value in the detail.
const VALUE: usize = 4_096;

/// The row of the list at a place of the screen.
pub fn row_at(app: &App, area: Rect, x: u16, y: u16) -> Option<usize> {
    if app.feed.detail.is_some() {
        return None;
    }
    let inside = (area.left() + 1..area.right() - 1).contains(&x)
        && (area.top() + 1..area.bottom() - 1).contains(&y);
    let height = usize::from(area.height.saturating_sub(2));
    let first = first_row(app.feed.at(), app.feed.len(), height);
    let row = first + usize::from(y.checked_sub(area.top() + 1)?);
    (inside && row < app.feed.len()).then_some(row)
}

/// Draws the tab.
pub fn draw(app: &App, painter: &mut Painter<'_>, area: Rect) {
    if let Some(line) = &app.feed.detail {
        detail(line, app.feed.scroll, painter, area);
        return;
    }
    let feed = &app.feed;
    let inner = painter.frame(area, &title(feed));
    let height = usize::from(inner.height);
    let at = feed.at();
    let first = first_row(at, feed.len(), height);
    let words = feed.search.to_lowercase();
    for (row, (line, found)) in (0..).zip(feed.window(&app.store, first, height)) {
        let chosen = feed.chosen.is_some() && first + usize::from(row) == at;
        let time = clock(app.here(line.at));
        draw_line(line, &time, painter, inner, row, chosen);
        if found {
            mark(line, &time, &words, painter, inner, row);
        }
    }
    if feed.is_empty() {
        let text = if app.store.fed() == 0 {
            "nothing has happened yet"
        } else {
            "nothing of this level and category; Esc shows everything"
        };
        painter.row(inner, 0, &[(text, Role::Dim)]);
    }
}

fn title(feed: &Feed) -> String {
    let state = match (feed.frozen(), feed.chosen) {
        (true, _) => format!("Feed, frozen, {} came since", feed.since),
        (false, Some(_)) => "Feed, scrolled".to_owned(),
        (false, None) => "Feed, following".to_owned(),
    };
    let level = feed.level.map(level_word);
    let level = level.map_or_else(String::new, |word| format!(", {word} and above"));
    let category = feed.category.as_ref();
    let category = category.map_or_else(String::new, |name| format!(", only {}", clean(name, 32)));
    let search = if feed.search.is_empty() {
        String::new()
    } else {
        format!(", {} with \"{}\"", feed.matches(), clean(&feed.search, 30))
    };
    format!("{state}{level}{category}{search}")
}

/// The texts of a line, each with its columns.
fn cells<'a>(line: &'a Telemetry, at: &'a str, width: u16) -> [(&'a str, u16); 5] {
    let [time, level, category, action] = LEFT;
    let taken = LEFT.iter().map(|wide| wide + 1).sum();
    [
        (at, time),
        (level_word(line.level), level),
        (&line.category, category),
        (&line.action, action),
        (&line.label, width.saturating_sub(taken)),
    ]
}

fn draw_line(
    line: &Telemetry,
    at: &str,
    painter: &mut Painter<'_>,
    area: Rect,
    row: u16,
    chosen: bool,
) {
    let role = if chosen {
        Role::Selected
    } else {
        of_level(line.level)
    };
    painter.cells(area, row, &cells(line, at, area.width), role);
}

/// Marks what is looked for in what the line shows.
fn mark(line: &Telemetry, at: &str, words: &str, painter: &mut Painter<'_>, area: Rect, row: u16) {
    let mut x = area.x;
    for (text, width) in cells(line, at, area.width) {
        let room = area.right().saturating_sub(x).min(width);
        let shown = fit(text, room, painter.theme);
        for (from, wide) in spots(&shown, words) {
            let place = Rect::new(x + from, area.y + row, wide, 1);
            painter.fill(place, Role::Banner);
        }
        x = x.saturating_add(width + 1);
    }
}

/// Where the words are in a text, in columns: the first, and how many.
fn spots(text: &str, words: &str) -> Vec<(u16, u16)> {
    // Letter by letter, so that a letter whose small form is longer does not move the rest.
    let small = |c: char| c.to_lowercase().next().unwrap_or(c);
    let text: Vec<char> = text.chars().collect();
    let words: Vec<char> = words.chars().collect();
    let wide = |chars: &[char]| -> u16 {
        let columns: usize = chars.iter().filter_map(|c| c.width()).sum();
        u16::try_from(columns).unwrap_or(u16::MAX)
    };
    let mut found = Vec::new();
    let mut at = 0;
    while !words.is_empty() && at + words.len() <= text.len() {
        let here = &text[at..at + words.len()];
        if here.iter().copied().map(small).eq(words.iter().copied()) {
            found.push((wide(&text[..at]), wide(here)));
            at += words.len();
        } else {
            at += 1;
        }
    }
    found
}

fn detail(line: &Telemetry, scroll: usize, painter: &mut Painter<'_>, area: Rect) {
    let inner = painter.frame(area, "Event, Esc closes");
    let rows = detail_rows(line, inner.width);
    let room = usize::from(inner.height);
    let first = scroll.min(rows.len().saturating_sub(room));
    for (row, (name, text)) in (0..).zip(rows.iter().skip(first).take(room)) {
        let cells = format!("{name:<10}");
        let role = match name.as_str() {
            "level" => of_level(line.level),
            _ => Role::Text,
        };
        painter.row(inner, row, &[(&cells, Role::Key), (text, role)]);
    }
}

/// Every field with its value, wrapped to the width; the name stands on a value's first row only.
fn detail_rows(line: &Telemetry, width: u16) -> Vec<(String, String)> {
    let value = line.value.map(|value| value.to_string());
    let head = [
        ("at", line.at.to_string()),
        ("level", level_word(line.level).to_owned()),
        ("category", line.category.clone()),
        ("action", line.action.clone()),
        ("label", line.label.clone()),
    ];
    let context = line
        .context
        .iter()
        .map(|(name, text)| (name.as_str(), text.clone()));
    let all = head
        .into_iter()
        .chain(value.map(|value| ("value", value)))
        .chain(context);
    let room = width.saturating_sub(11).max(1);
    let mut rows = Vec::new();
    for (name, text) in all {
        let mut name = clean(name, 9);
        for text in clean_lines(&text, VALUE).lines() {
            for part in wrap(text, room) {
                rows.push((std::mem::take(&mut name), part));
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_for_is_found_where_it_is_shown() {
        assert_eq!(spots("日本 Relay relay", "relay"), [(5, 5), (11, 5)]);
        assert_eq!(spots("aaa", "aa"), [(0, 2)]);
        assert!(spots("abc", "").is_empty());
    }
}
