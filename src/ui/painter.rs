//! The pen: the one way by which text reaches the screen.
//!
//! Whatever is written passes through here and loses what could steer a terminal, and is cut by what it takes on the
//! screen (a Chinese character takes two columns), never by its characters.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use unicode_width::UnicodeWidthChar;

use super::theme::{Role, Theme};
use crate::domain::text::is_hostile;

/// The most marks without a width of their own (accents) on one character.
const MARKS_MAX: usize = 2;

/// Writes text in a theme.
pub struct Painter<'a> {
    /// What is drawn on.
    pub buf: &'a mut Buffer,
    /// How it looks.
    pub theme: Theme,
}

impl Painter<'_> {
    /// Writes into `width` columns from (`x`, `y`) and tells how many it took. What is outside the screen is left out.
    pub fn put(&mut self, x: u16, y: u16, width: u16, text: &str, role: Role) -> u16 {
        let area = self.buf.area;
        if y < area.y || y >= area.bottom() || x < area.x || x >= area.right() {
            return 0;
        }
        let width = width.min(area.right() - x);
        let text = fit(text, width, self.theme);
        // Whatever was there shows through no more: a title on a dim frame is no dim title.
        let style = Style::reset().patch(self.theme.style(role));
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
        self.fill(area, Role::Text);
    }

    /// Joins a box to what stands on its top line: its corners there, and at these columns the foot of a line from above.
    pub fn join(&mut self, area: Rect, feet: &[u16]) {
        let joints = self.theme.joints();
        let right = area.right().saturating_sub(1);
        self.put(area.x, area.y, 1, joints.left, Role::Line);
        self.put(right, area.y, 1, joints.right, Role::Line);
        for foot in feet {
            let x = area.x.saturating_add(*foot);
            // A title is not cut through.
            if x < right && self.buf[(x, area.y)].symbol() == self.theme.border().horizontal_top {
                self.put(x, area.y, 1, joints.foot, Role::Line);
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
        self.put(area.x, area.y, area.width, &top, Role::Line);
        self.put(area.x, area.bottom() - 1, area.width, &bottom, Role::Line);
        for y in area.y + 1..area.bottom() - 1 {
            self.put(area.x, y, 1, set.vertical_left, Role::Line);
            self.put(area.right() - 1, y, 1, set.vertical_right, Role::Line);
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
    let mut marks = 0;
    // Four times the width is more than any line can need, and bounds the work on a text without end.
    let shown = text
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !is_hostile(*c))
        .filter_map(steady)
        .map(|c| if theme.ascii { ascii(c) } else { c })
        .filter(|c| {
            marks = if columns(*c) == 0 { marks + 1 } else { 0 };
            marks <= MARKS_MAX
        })
        .take(width.saturating_mul(4) + 4);
    let (mut out, mut used) = (String::new(), 0);
    // Up to here it fits with the mark of a cut behind it.
    let mut whole = 0;
    for c in shown {
        used += columns(c);
        if used > width {
            out.truncate(whole);
            out.extend((width > 0).then(|| theme.ellipsis()));
            return out;
        }
        out.push(c);
        if used < width {
            whole = out.len();
        }
    }
    out
}

/// The columns of a character. Added up they are never less than what a cell of the screen takes for them together.
fn columns(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// What every terminal shows in the same number of columns. Signs that are put together from several (families, skin
/// tones, flags, keycaps) take two columns in one terminal and five in the next, and so would break the frame: they are
/// shown by their parts, and the parts that only join or style are left out. Nor is there room for what is wide and
/// invisible.
const fn steady(c: char) -> Option<char> {
    match c {
        '\u{fe00}'..='\u{fe0f}'          // variation selectors
        | '\u{e0100}'..='\u{e01ef}'      // more of them
        | '\u{1f3fb}'..='\u{1f3ff}'      // skin tones
        | '\u{20e3}'                     // keycap
        | '\u{34f}'                      // grapheme joiner
        | '\u{115f}'..='\u{1160}' | '\u{3164}' | '\u{ffa0}' => None, // Hangul fillers
        '\u{1f1e6}'..='\u{1f1ff}' => char::from_u32(c as u32 - 0x1_f1e6 + 'A' as u32),
        c => Some(c),
    }
}

/// The nearest ASCII character.
const fn ascii(c: char) -> char {
    match c {
        ' '..='~' => c,
        '…' => '~',
        '→' => '>',
        '·' | '─' | '–' | '—' => '-',
        '│' => '|',
        '‘' | '’' => '\'',
        '“' | '”' => '"',
        _ => '?',
    }
}

/// Breaks a sentence into at most `lines` lines of `width` columns, at blanks where it can. What is left over stays in the
/// last line, for the pen to cut.
#[must_use]
pub fn words(text: &str, width: u16, lines: usize) -> Vec<String> {
    let width = usize::from(width.max(1));
    let mut out: Vec<String> = Vec::new();
    let mut used = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let long: usize = word.chars().map(columns).sum();
        let last = out.len() >= lines;
        match out.last_mut() {
            Some(line) if last || used + 1 + long <= width => {
                line.push(' ');
                line.push_str(word);
                used += 1 + long;
            }
            _ => {
                out.push(word.to_owned());
                used = long;
            }
        }
    }
    out
}

/// The text with blanks behind it up to `width` columns, or cut to that.
#[must_use]
pub fn pad(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        if used + columns(c) > width {
            break;
        }
        out.push(c);
        used += columns(c);
    }
    out.extend(std::iter::repeat_n(' ', width - used));
    out
}

/// Breaks a text into lines of `width` columns, wherever they end: nothing is lost (invoices, events).
#[must_use]
pub fn wrap(text: &str, width: u16) -> Vec<String> {
    let width = usize::from(width.max(1));
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut taken = 0;
    for c in text.chars() {
        let wide = columns(c);
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
    use unicode_width::UnicodeWidthStr;

    use super::*;
    use crate::ui::theme::ThemeName;

    const THEME: Theme = Theme {
        name: ThemeName::Dark,
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
    fn text_looks_the_same_on_whatever_it_is_written() {
        let area = Rect::new(0, 0, 9, 1);
        let mut buf = Buffer::empty(area);
        let mut painter = Painter {
            buf: &mut buf,
            theme: THEME,
        };
        painter.put(0, 0, 9, "---------", Role::Dim);
        painter.fill(Rect::new(4, 0, 5, 1), Role::Banner);
        painter.put(2, 0, 5, "title", Role::Title);
        let polls: Vec<_> = (2..7).map(|x| buf[(x, 0)].style()).collect();
        assert!(polls.iter().all(|look| *look == polls[0]));
        assert_eq!(polls[0].fg, Some(ratatui::style::Color::Reset));
    }

    #[test]
    fn signs_put_together_are_shown_by_their_parts() {
        assert_eq!(fit("👨\u{200d}👩\u{200d}👧!", 9, THEME), "👨👩👧!");
        assert_eq!(
            fit("👍🏽 1\u{fe0f}\u{20e3} 🇩🇪 ❤\u{fe0f}", 20, THEME),
            "👍 1 DE ❤"
        );
        assert_eq!(fit("a\u{3164}\u{115f}b", 9, THEME), "ab");
        assert_eq!(
            fit("e\u{301}\u{301}\u{301}\u{301}", 9, THEME),
            "e\u{301}\u{301}"
        );
    }

    #[test]
    fn a_sentence_is_broken_at_its_blanks_and_loses_nothing() {
        let lines = words("the wallet does not answer", 10, 9);
        assert_eq!(lines, ["the wallet", "does not", "answer"]);
        let lines = words("the wallet does not answer", 10, 2);
        assert_eq!(lines, ["the wallet", "does not answer"]);
    }

    #[test]
    fn ascii_means_ascii() {
        let theme = Theme {
            ascii: true,
            ..Theme::default()
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
