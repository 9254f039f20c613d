//! Cells as a terminal reads them, in as few bytes as that takes: a slow line draws a first frame from them.
//!
//! The sixteen colours go out as what they are (SGR 30-37 and 90-97, ECMA-48), so a terminal that has no others shows them
//! too. Every jump is to a column or a place by its number: a terminal that thinks a stranger's character is wider than we
//! do is put right at the next one.

use std::io::Write;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};
use unicode_width::UnicodeWidthStr;

/// So many cells that have not changed are written again rather than jumped over.
const CHEAP_GAP: u16 = 4;
/// What is seen of a space too.
const SEEN_ON_SPACE: Modifier = Modifier::REVERSED
    .union(Modifier::UNDERLINED)
    .union(Modifier::CROSSED_OUT);
/// Each with its SGR parameter.
const MODIFIERS: [(Modifier, u8); 9] = [
    (Modifier::BOLD, 1),
    (Modifier::DIM, 2),
    (Modifier::ITALIC, 3),
    (Modifier::UNDERLINED, 4),
    (Modifier::SLOW_BLINK, 5),
    (Modifier::RAPID_BLINK, 6),
    (Modifier::REVERSED, 7),
    (Modifier::HIDDEN, 8),
    (Modifier::CROSSED_OUT, 9),
];

#[derive(Clone, Copy, PartialEq, Eq)]
struct Poll {
    fg: Color,
    bg: Color,
    modifier: Modifier,
}

impl Poll {
    const PLAIN: Self = Self {
        fg: Color::Reset,
        bg: Color::Reset,
        modifier: Modifier::empty(),
    };

    fn of(cell: &Cell) -> Self {
        Self {
            fg: cell.fg,
            bg: cell.bg,
            modifier: cell.modifier,
        }
    }

    /// Would this cell look the same if it were written in another look?
    fn shows(self, cell: &Cell) -> bool {
        let wanted = Self::of(cell);
        if wanted == self {
            return true;
        }
        let plain = |look: Self| (look.modifier & SEEN_ON_SPACE).is_empty();
        cell.symbol() == " " && wanted.bg == self.bg && plain(wanted) && plain(self)
    }
}

/// Where the terminal is and how it writes now.
struct Painter<'a> {
    out: &'a mut Vec<u8>,
    look: Poll,
    /// The cell that the next character falls on; none where a terminal may disagree.
    at: Option<(u16, u16)>,
}

/// Writes the cells that changed, by row and column as they come; `next` is the frame that they are of. The terminal must
/// write plainly before, and does after.
pub(super) fn write<'c>(
    out: &mut Vec<u8>,
    next: &Buffer,
    changes: impl Iterator<Item = (u16, u16, &'c Cell)>,
) {
    let mut painter = Painter {
        out,
        look: Poll::PLAIN,
        at: None,
    };
    for (x, y, cell) in changes {
        painter.go(next, x, y);
        painter.put(cell);
    }
    painter.turn(Poll::PLAIN);
}

impl Painter<'_> {
    fn print(&mut self, args: std::fmt::Arguments<'_>) {
        // A vector takes everything.
        let _ = self.out.write_fmt(args);
    }

    fn go(&mut self, next: &Buffer, x: u16, y: u16) {
        match self.at {
            Some(at) if at == (x, y) => return,
            Some((from, row)) if row == y && from < x => {
                if !self.fill(next, from, x, y) {
                    self.print(format_args!("\x1b[{}G", x + 1));
                }
            }
            Some((_, row)) if row + 1 == y => {
                self.out.extend(b"\r\n");
                if x > 0 && !self.fill(next, 0, x, y) {
                    self.print(format_args!("\x1b[{}G", x + 1));
                }
            }
            _ => self.print(format_args!("\x1b[{};{}H", y + 1, x + 1)),
        }
        self.at = Some((x, y));
    }

    /// Writes a short gap's cells again, where that needs no other look.
    fn fill(&mut self, next: &Buffer, from: u16, to: u16, y: u16) -> bool {
        let cells = || (from..to).map(|x| &next[(x, y)]);
        let same = |cell: &Cell| {
            let symbol = cell.symbol().as_bytes();
            matches!(symbol, [b' '..=b'~']) && self.look.shows(cell)
        };
        if to - from > CHEAP_GAP || !cells().all(same) {
            return false;
        }
        cells().for_each(|cell| self.out.extend(cell.symbol().as_bytes()));
        true
    }

    fn put(&mut self, cell: &Cell) {
        if !self.look.shows(cell) {
            self.turn(Poll::of(cell));
        }
        self.out.extend(cell.symbol().as_bytes());
        let narrow = cell.symbol().len() == 1 || cell.symbol().width() == 1;
        self.at = self.at.filter(|_| narrow).map(|(x, y)| (x + 1, y));
    }

    /// From here on it is written like this.
    fn turn(&mut self, look: Poll) {
        let was = std::mem::replace(&mut self.look, look);
        if was == look {
            return;
        }
        if look == Poll::PLAIN {
            self.out.extend(b"\x1b[m");
            return;
        }
        let mut codes: Vec<String> = Vec::new();
        let mut now = was;
        if !was.modifier.difference(look.modifier).is_empty() {
            // What is on can only be put off all together.
            codes.push("0".to_owned());
            now = Poll::PLAIN;
        }
        for (modifier, code) in MODIFIERS {
            if look.modifier.contains(modifier) && !now.modifier.contains(modifier) {
                codes.push(code.to_string());
            }
        }
        if look.fg != now.fg {
            codes.push(color(look.fg, 30));
        }
        if look.bg != now.bg {
            codes.push(color(look.bg, 40));
        }
        self.print(format_args!("\x1b[{}m", codes.join(";")));
    }
}

/// The SGR parameters of a colour; `base` is 30 for what is written and 40 for what is behind it.
fn color(color: Color, base: u8) -> String {
    let named = match color {
        Color::Reset => 9,
        Color::Black => 0,
        Color::Red => 1,
        Color::Green => 2,
        Color::Yellow => 3,
        Color::Blue => 4,
        Color::Magenta => 5,
        Color::Cyan => 6,
        Color::Gray => 7,
        Color::DarkGray => 60,
        Color::LightRed => 61,
        Color::LightGreen => 62,
        Color::LightYellow => 63,
        Color::LightBlue => 64,
        Color::LightMagenta => 65,
        Color::LightCyan => 66,
        Color::White => 67,
        Color::Indexed(index) => return format!("{};5;{index}", base + 8),
        Color::Rgb(red, green, blue) => return format!("{};2;{red};{green};{blue}", base + 8),
    };
    (base + named).to_string()
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use proptest::prelude::*;
    use ratatui::backend::{Backend as _, CrosstermBackend};
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    use super::*;

    const WIDTH: u16 = 24;
    const HEIGHT: u16 = 4;

    fn lines(count: u16) -> NonZero<u16> {
        NonZero::new(count).unwrap()
    }

    fn any_color() -> impl Strategy<Value = Color> {
        prop_oneof![
            Just(Color::Reset),
            (0_u8..16).prop_map(|index| [
                Color::Black,
                Color::Red,
                Color::Green,
                Color::Yellow,
                Color::Blue,
                Color::Magenta,
                Color::Cyan,
                Color::Gray,
                Color::DarkGray,
                Color::LightRed,
                Color::LightGreen,
                Color::LightYellow,
                Color::LightBlue,
                Color::LightMagenta,
                Color::LightCyan,
                Color::White,
            ][usize::from(index)]),
            any::<u8>().prop_map(Color::Indexed),
            any::<(u8, u8, u8)>().prop_map(|(r, g, b)| Color::Rgb(r, g, b)),
        ]
    }

    fn any_style() -> impl Strategy<Value = Style> {
        // What the parser of the tests knows too.
        let modifiers = [
            Modifier::BOLD,
            Modifier::ITALIC,
            Modifier::UNDERLINED,
            Modifier::REVERSED,
        ];
        let modifier = proptest::sample::subsequence(modifiers.to_vec(), 0..=2)
            .prop_map(|some| some.into_iter().collect::<Modifier>());
        (any_color(), any_color(), modifier)
            .prop_map(|(fg, bg, modifier)| Style::new().fg(fg).bg(bg).add_modifier(modifier))
    }

    /// Texts here and there on a page, some over others. Wide characters are left out: what becomes of the other half of one
    /// that is written over differs from terminal to terminal.
    fn any_page() -> impl Strategy<Value = Vec<(u16, u16, String, Style)>> {
        let text = prop_oneof!["[a-z ]{0,12}", "[a-z é─●]{0,8}"];
        prop::collection::vec((0..WIDTH, 0..HEIGHT, text, any_style()), 0..12)
    }

    fn page(texts: &[(u16, u16, String, Style)]) -> Buffer {
        let mut buffer = Buffer::empty(Rect::new(0, 0, WIDTH, HEIGHT));
        for (x, y, text, style) in texts {
            buffer.set_string(*x, *y, text, *style);
        }
        buffer
    }

    /// What is seen of a cell.
    type Seen = (String, vt100::Color, Option<vt100::Color>, bool, bool);

    fn seen(screen: &vt100::Screen) -> Vec<Seen> {
        let places = (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (y, x)));
        places
            .map(|(y, x)| {
                let cell = screen.cell(y, x).unwrap();
                let blank = !cell.has_contents() || cell.contents() == " ";
                let contents = if blank { " " } else { cell.contents() };
                let fg = (!blank || cell.inverse() || cell.underline()).then(|| cell.fgcolor());
                let drawn = cell.inverse() || cell.underline();
                let bold = !blank && (cell.bold() || cell.italic());
                (contents.to_owned(), cell.bgcolor(), fg, drawn, bold)
            })
            .collect()
    }

    /// Ours and the library's own, side by side on two terminals.
    fn compare(frames: &[&Buffer]) -> Result<(), TestCaseError> {
        let terminal = || vt100::Parser::new(lines(HEIGHT), lines(WIDTH), 0);
        let (mut ours, mut theirs) = (terminal(), terminal());
        for pair in frames.windows(2) {
            let changes = || pair[0].diff_iter(pair[1]);
            let mut out = Vec::new();
            write(&mut out, pair[1], changes());
            ours.process(&out);
            let mut out = Vec::new();
            CrosstermBackend::new(&mut out).draw(changes()).unwrap();
            theirs.process(&out);
            prop_assert_eq!(seen(ours.screen()), seen(theirs.screen()));
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn a_terminal_shows_what_it_would_of_the_library_s_own_bytes(
            first in any_page(),
            second in any_page(),
        ) {
            let (empty, first, second) = (page(&[]), page(&first), page(&second));
            compare(&[&empty, &first, &second, &empty])?;
        }

        #[test]
        fn wide_characters_are_where_they_belong(
            rows in prop::collection::vec((0..WIDTH, "[a-z 世界é─🦀]{0,12}", any_style()), 4),
        ) {
            let texts: Vec<_> = (0..HEIGHT)
                .zip(rows)
                .map(|(y, (x, text, style))| (x, y, text, style))
                .collect();
            compare(&[&page(&[]), &page(&texts)])?;
        }
    }

    #[test]
    fn the_sixteen_colours_need_no_others() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 8, 2));
        buffer.set_string(0, 0, "ab", Style::new().fg(Color::Green));
        buffer.set_string(3, 0, "c", Style::new().fg(Color::LightRed));
        buffer.set_string(0, 1, "d", Style::new().add_modifier(Modifier::BOLD));
        let mut out = Vec::new();
        let empty = Buffer::empty(buffer.area);
        write(&mut out, &buffer, empty.diff_iter(&buffer));
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "\x1b[1;1H\x1b[32mab \x1b[91mc\r\n\x1b[1;39md\x1b[m");
    }
}
