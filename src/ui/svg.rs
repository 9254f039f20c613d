//! A screen as a picture: a buffer drawn as SVG, so that the pictures in the documentation are the real screens.

use std::fmt::Write as _;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};
use unicode_width::UnicodeWidthStr as _;

/// Pixels of a column.
const WIDE: u32 = 9;
/// Pixels of a row.
const HIGH: u32 = 19;
/// From the top of a row to the foot of its letters.
const FOOT: u32 = 14;
/// The dark ground.
const GROUND: &str = "#101418";
/// Plain letters.
const INK: &str = "#d8dee4";

/// Draws a buffer. The text is escaped; what a font can't show is left to the viewer.
#[must_use]
pub fn svg(buffer: &Buffer) -> String {
    let area = buffer.area;
    let width = u32::from(area.width) * WIDE;
    let height = u32::from(area.height) * HIGH;
    let mut out = String::new();
    // Writing to a String can't fail, here and below.
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"15\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"{GROUND}\"/>"
    );
    for y in area.top()..area.bottom() {
        let mut x = area.left();
        while x < area.right() {
            x = run(&mut out, buffer, x, y);
        }
    }
    out.push_str("</svg>\n");
    out
}

/// Draws the cells from here on that look the same, and tells where the next ones begin.
fn run(out: &mut String, buffer: &Buffer, from: u16, y: u16) -> u16 {
    let area = buffer.area;
    let first = &buffer[(from, y)];
    let mut text = String::new();
    let mut x = from;
    while x < area.right() && same(first, &buffer[(x, y)]) {
        let symbol = buffer[(x, y)].symbol();
        text.push_str(symbol);
        x += u16::try_from(symbol.width().max(1)).unwrap_or(1);
    }
    let left = u32::from(from - area.left()) * WIDE;
    let top = u32::from(y - area.top()) * HIGH;
    let wide = u32::from(x - from) * WIDE;
    let reversed = first.modifier.contains(Modifier::REVERSED);
    let (ink, ground) = (color(first.fg, INK), color(first.bg, GROUND));
    let (ink, ground) = if reversed {
        (ground, ink)
    } else {
        (ink, ground)
    };
    if ground != GROUND {
        let _ = writeln!(
            out,
            "<rect x=\"{left}\" y=\"{top}\" width=\"{wide}\" height=\"{HIGH}\" fill=\"{ground}\"/>"
        );
    }
    if !text.trim().is_empty() {
        let weight = if first.modifier.contains(Modifier::BOLD) {
            " font-weight=\"bold\""
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "<text x=\"{left}\" y=\"{}\" fill=\"{ink}\" textLength=\"{wide}\" xml:space=\"preserve\"{weight}>{}</text>",
            top + FOOT,
            escaped(&text)
        );
    }
    x
}

fn same(left: &Cell, right: &Cell) -> bool {
    left.fg == right.fg && left.bg == right.bg && left.modifier == right.modifier
}

const fn color(color: Color, plain: &'static str) -> &'static str {
    match color {
        Color::Red | Color::LightRed => "#ff6b6b",
        Color::Green | Color::LightGreen => "#7bd88f",
        Color::Yellow | Color::LightYellow => "#f2c55c",
        Color::Blue | Color::LightBlue => "#6cb6ff",
        Color::Magenta | Color::LightMagenta => "#d2a8ff",
        Color::Cyan | Color::LightCyan => "#76d9e6",
        Color::DarkGray => "#8b949e",
        Color::Gray => "#b1bac4",
        Color::Black => "#000000",
        Color::White => "#ffffff",
        _ => plain,
    }
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::layout::Rect;

    #[test]
    fn a_picture_holds_the_text_and_nothing_of_it_is_markup() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 12, 1));
        buffer.set_string(0, 0, "<b>&日本", ratatui::style::Style::new());
        let picture = svg(&buffer);
        assert!(picture.contains("&lt;b&gt;&amp;日本"));
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
    }
}
