//! The pen: the one way by which text reaches the screen.
//!
//! Whatever is written passes through here and loses what could steer a terminal, and is cut by what it takes on the
//! screen (a Chinese character takes two columns), never by its characters.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::theme::{Role, Theme};
use crate::domain::text::is_hostile;

/// The most marks without a width of their own (accents) on one character.
const MARKS_MAX: usize = 2;

/// Writes text in a theme.
pub struct Pen<'a> {
    /// What is drawn on.
    pub buf: &'a mut Buffer,
    /// How it looks.
    pub theme: Theme,
}

impl Pen<'_> {
    /// Writes into `width` columns from (`x`, `y`) and tells how many it took. What is outside the screen is left out.
    pub fn put(&mut self, x: u16, y: u16, width: u16, text: &str, role: Role) -> u16 {
        let area = self.buf.area;
        if y < area.y || y >= area.bottom() || x < area.x || x >= area.right() {
            return 0;
        }
        let width = width.min(area.right() - x);
        let text = fit(text, width, self.theme);
        let style = self.theme.style(role);
        let (end, _) = self.buf.set_stringn(x, y, text, usize::from(width), style);
        end.saturating_sub(x)
    }

    /// Writes pieces one after the other into a row of an area; rows outside the area are left out.
    pub fn row(&mut self, area: Rect, row: u16, pieces: &[(&str, Role)]) {
        if row >= area.height {
            return;
        }
        let mut x = area.x;
        for (text, role) in pieces {
            let left = area.right().saturating_sub(x);
            x += self.put(x, area.y + row, left, text, *role);
        }
    }

    /// Writes cells of fixed widths, with a blank between them. Cells on the right are left out where there's no room.
    pub fn cells(&mut self, area: Rect, row: u16, cells: &[(&str, u16)], role: Role) {
        if row >= area.height {
            return;
        }
        let y = area.y + row;
        if role == Role::Selected {
            self.fill(Rect::new(area.x, y, area.width, 1), role);
        }
        let mut x = area.x;
        for (text, width) in cells {
            let left = area.right().saturating_sub(x);
            self.put(x, y, left.min(*width), text, role);
            x = x.saturating_add(width + 1);
        }
    }

    /// Gives an area the look of a role.
    pub fn fill(&mut self, area: Rect, role: Role) {
        let area = area.intersection(self.buf.area);
        self.buf.set_style(area, self.theme.style(role));
    }

    /// Blanks an area.
    pub fn blank(&mut self, area: Rect) {
        let area = area.intersection(self.buf.area);
        for y in area.top()..area.bottom() {
            for x in area.left()..area.right() {
                self.buf[(x, y)].reset();
            }
        }
    }

    /// Draws a box with a title and gives the area within.
    pub fn frame(&mut self, area: Rect, title: &str) -> Rect {
        let area = area.intersection(self.buf.area);
        if area.width < 4 || area.height < 2 {
            return Rect::new(area.x, area.y, 0, 0);
        }
        let set = self.theme.border();
        let across = set.horizontal_top.repeat(usize::from(area.width - 2));
        let top = format!("{}{across}{}", set.top_left, set.top_right);
        let bottom = format!("{}{across}{}", set.bottom_left, set.bottom_right);
        self.put(area.x, area.y, area.width, &top, Role::Dim);
        self.put(area.x, area.bottom() - 1, area.width, &bottom, Role::Dim);
        for y in area.y + 1..area.bottom() - 1 {
            self.put(area.x, y, 1, set.vertical_left, Role::Dim);
            self.put(area.right() - 1, y, 1, set.vertical_right, Role::Dim);
        }
        let room = area.width - 4;
        self.put(area.x + 2, area.y, room, &format!(" {title} "), Role::Title);
        Rect::new(area.x + 1, area.y + 1, area.width - 2, area.height - 2)
    }
}

/// The text as it may be shown in `width` columns.
#[must_use]
pub fn fit(text: &str, width: u16, theme: Theme) -> String {
    let width = usize::from(width);
    // Four times the width is more than any line can need, and bounds the work on a text without end.
    let mut marks = 0;
    let shown: String = text
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !is_hostile(*c))
        .map(|c| if theme.ascii { ascii(c) } else { c })
        .filter(|c| {
            marks = if c.width() == Some(0) { marks + 1 } else { 0 };
            marks <= MARKS_MAX
        })
        .take(width.saturating_mul(4) + 4)
        .collect();
    if shown.width() <= width {
        return shown;
    }
    let mut out = String::new();
    for c in shown.chars() {
        let mut longer = out.clone();
        longer.push(c);
        if longer.width() + 1 > width {
            break;
        }
        out = longer;
    }
    if width > 0 {
        out.push(theme.ellipsis());
    }
    out
}

/// The nearest ASCII character.
const fn ascii(c: char) -> char {
    match c {
        ' '..='~' => c,
        '…' => '~',
        '→' => '>',
        '·' | '─' => '-',
        '│' => '|',
        _ => '?',
    }
}

/// Breaks a text into lines of `width` columns, wherever they end: nothing is lost (invoices, events).
#[must_use]
pub fn wrap(text: &str, width: u16) -> Vec<String> {
    let width = usize::from(width.max(1));
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut taken = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if taken + wide > width {
            lines.push(std::mem::take(&mut line));
            taken = 0;
        }
        taken += wide;
        line.push(c);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEME: Theme = Theme {
        ascii: false,
        color: true,
    };

    #[test]
    fn text_is_cut_by_what_it_takes_on_the_screen() {
        assert_eq!(fit("日本語", 6, THEME), "日本語");
        assert_eq!(fit("日本語", 5, THEME), "日本…");
        assert_eq!(fit("abc", 0, THEME), "");
    }

    #[test]
    fn ascii_means_ascii() {
        let theme = Theme {
            ascii: true,
            color: false,
        };
        assert!(fit("a→日…", 9, theme).is_ascii());
    }

    #[test]
    fn an_invoice_is_wrapped_whole() {
        let lines = wrap("lnbc1abcdef", 4);
        assert_eq!(lines.concat(), "lnbc1abcdef");
        assert!(lines.iter().all(|line| line.width() <= 4));
    }
}
