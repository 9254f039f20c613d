//! A screen as a picture: a buffer drawn as SVG, so that the pictures in the documentation are the real screens.

use std::fmt::Write as _;

use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use unicode_width::UnicodeWidthStr as _;

use super::app::App;
use super::theme::{Palette, Theme};
use super::view;

/// Pixels of a column.
const WIDE: u32 = 9;
/// Pixels of a row.
const HIGH: u32 = 19;
/// From the top of a row to the foot of its letters.
const FOOT: u32 = 14;

/// Draws the screen of an app at a size.
#[must_use]
pub fn picture(app: &App, width: u16, height: u16) -> String {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    view::draw(app, area, &mut buffer);
    svg(&buffer, app.theme)
}

/// Draws a buffer as a terminal of this theme shows it. The text is escaped; frames and blocks are drawn as shapes, so that
/// they join whatever the viewer's font.
#[must_use]
pub fn svg(buffer: &Buffer, theme: Theme) -> String {
    let area = buffer.area;
    let palette = Palette::of(theme.name);
    let width = u32::from(area.width) * WIDE;
    let height = u32::from(area.height) * HIGH;
    let mut out = String::new();
    // Writing to a String can't fail, here and below.
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"15\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"{}\"/>",
        palette.ground
    );
    for y in area.top()..area.bottom() {
        let mut x = area.left();
        while x < area.right() {
            x = run(&mut out, buffer, palette, x, y);
        }
    }
    out.push_str("</svg>\n");
    out
}

/// Draws the cells from here on that look the same, and tells where the next ones begin.
fn run(out: &mut String, buffer: &Buffer, palette: Palette, from: u16, y: u16) -> u16 {
    let area = buffer.area;
    let first = &buffer[(from, y)];
    let drawn = shape(first).is_some();
    let mut cells = vec![first];
    let mut next = from + columns(first);
    // A wide character stands alone: beside narrow ones it would be stretched to their measure.
    while next < area.right() && columns(first) == 1 {
        let cell = &buffer[(next, y)];
        if !same(first, cell) || columns(cell) != 1 || shape(cell).is_some() != drawn {
            break;
        }
        cells.push(cell);
        next += 1;
    }
    let next = next.min(area.right());
    let left = u32::from(from - area.left()) * WIDE;
    let top = u32::from(y - area.top()) * HIGH;
    let wide = u32::from(next - from) * WIDE;
    let ink = palette.paint(first.fg, palette.ink);
    let ground = palette.paint(first.bg, palette.ground);
    let reversed = first.modifier.contains(Modifier::REVERSED);
    let (ink, ground) = if reversed {
        (ground, ink)
    } else {
        (ink, ground)
    };
    if ground != palette.ground {
        let _ = writeln!(
            out,
            "<rect x=\"{left}\" y=\"{top}\" width=\"{wide}\" height=\"{HIGH}\" fill=\"{ground}\"/>"
        );
    }
    if drawn {
        shapes(out, &cells, left, top, ink);
    } else {
        letters(out, &cells, left, top, ink);
    }
    next
}

/// The columns that a cell takes.
fn columns(cell: &Cell) -> u16 {
    u16::try_from(cell.symbol().width().max(1)).unwrap_or(1)
}

fn same(left: &Cell, right: &Cell) -> bool {
    left.fg == right.fg && left.bg == right.bg && left.modifier == right.modifier
}

fn letters(out: &mut String, cells: &[&Cell], left: u32, top: u32, ink: &str) {
    let text: String = cells.iter().map(|cell| cell.symbol()).collect();
    // Not every viewer keeps blanks at the ends; they show nothing anyway.
    let before = text.chars().take_while(|c| *c == ' ').count();
    let left = left + u32::try_from(before).unwrap_or(0) * WIDE;
    let text = text.trim_matches(' ');
    let Some(first) = cells.first().filter(|_| !text.is_empty()) else {
        return;
    };
    let wide = u32::try_from(text.width()).unwrap_or(0) * WIDE;
    let mut look = String::new();
    for (modifier, attribute) in [
        (Modifier::BOLD, " font-weight=\"bold\""),
        (Modifier::DIM, " opacity=\"0.6\""),
        (Modifier::ITALIC, " font-style=\"italic\""),
        (Modifier::UNDERLINED, " text-decoration=\"underline\""),
    ] {
        if first.modifier.contains(modifier) {
            look.push_str(attribute);
        }
    }
    let _ = writeln!(
        out,
        "<text x=\"{left}\" y=\"{}\" fill=\"{ink}\" textLength=\"{wide}\" xml:space=\"preserve\"{look}>{}</text>",
        top + FOOT,
        escaped(text)
    );
}

/// Something that joins its neighbours.
#[derive(Clone, Copy)]
enum Shape {
    /// The arms of a frame: up, down, left, right.
    Frame(bool, bool, bool, bool),
    /// From so many pixels below the top of the row, so many high.
    Block(u32, u32),
    /// The whole cell, a quarter of its ink.
    Shade,
}

fn shape(cell: &Cell) -> Option<Shape> {
    let mut signs = cell.symbol().chars();
    let sign = signs.next().filter(|_| signs.next().is_none())?;
    Some(match sign {
        '─' => Shape::Frame(false, false, true, true),
        '│' => Shape::Frame(true, true, false, false),
        '┌' => Shape::Frame(false, true, false, true),
        '┐' => Shape::Frame(false, true, true, false),
        '└' => Shape::Frame(true, false, false, true),
        '┘' => Shape::Frame(true, false, true, false),
        '├' => Shape::Frame(true, true, false, true),
        '┤' => Shape::Frame(true, true, true, false),
        '┬' => Shape::Frame(false, true, true, true),
        '┴' => Shape::Frame(true, false, true, true),
        '┼' => Shape::Frame(true, true, true, true),
        '▀' => Shape::Block(0, HIGH / 2),
        '▁'..='█' => {
            let high = (u32::from(sign) - u32::from('▁') + 1) * HIGH / 8;
            Shape::Block(HIGH - high, high)
        }
        '░' => Shape::Shade,
        _ => return None,
    })
}

fn shapes(out: &mut String, cells: &[&Cell], left: u32, top: u32, ink: &str) {
    let (mut solid, mut shade) = (String::new(), String::new());
    let rect = |path: &mut String, x: u32, y: u32, wide: u32, high: u32| {
        let _ = write!(path, "M{x} {y}h{wide}v{high}h-{wide}z");
    };
    let (half, middle) = (WIDE / 2, top + HIGH / 2);
    let mut x = left;
    for shape in cells.iter().filter_map(|cell| shape(cell)) {
        match shape {
            Shape::Frame(up, down, to_left, to_right) => {
                if up || down {
                    let from = if up { top } else { middle };
                    let to = if down { top + HIGH } else { middle + 1 };
                    rect(&mut solid, x + half, from, 1, to - from);
                }
                if to_left || to_right {
                    let from = if to_left { x } else { x + half };
                    let to = if to_right { x + WIDE } else { x + half + 1 };
                    rect(&mut solid, from, middle, to - from, 1);
                }
            }
            Shape::Block(below, high) => rect(&mut solid, x, top + below, WIDE, high),
            Shape::Shade => rect(&mut shade, x, top, WIDE, HIGH),
        }
        x += WIDE;
    }
    for (path, opacity) in [(solid, ""), (shade, " opacity=\"0.25\"")] {
        if !path.is_empty() {
            let _ = writeln!(out, "<path d=\"{path}\" fill=\"{ink}\"{opacity}/>");
        }
    }
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::theme::ThemeName;
    use ratatui::style::{Color, Style};

    fn picture(text: &str, style: Style, name: ThemeName) -> String {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 12, 1));
        buffer.set_string(0, 0, text, style);
        let theme = Theme {
            name,
            ascii: false,
            color: true,
        };
        svg(&buffer, theme)
    }

    #[test]
    fn a_picture_holds_the_text_and_nothing_of_it_is_markup() {
        let drawn = picture("<b>&日本", Style::new(), ThemeName::Dark);
        assert!(drawn.contains("&lt;b&gt;&amp;</text>"));
        assert!(drawn.contains("textLength=\"18\" xml:space=\"preserve\">本<"));
        assert!(drawn.starts_with("<svg") && drawn.ends_with("</svg>\n"));
    }

    #[test]
    fn a_cell_is_drawn_with_its_weight_its_dimming_and_its_colours_turned_round() {
        let loud = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
        let drawn = picture("a", loud, ThemeName::Light);
        assert!(drawn.contains("fill=\"#cf222e\"") && drawn.contains("font-weight=\"bold\""));
        let quiet = Style::new().add_modifier(Modifier::DIM);
        assert!(picture("a", quiet, ThemeName::Dark).contains("opacity=\"0.6\""));
        let turned = Style::new().add_modifier(Modifier::REVERSED);
        let drawn = picture("a", turned, ThemeName::Dark);
        let palette = Palette::of(ThemeName::Dark);
        let ground = format!("height=\"19\" fill=\"{}\"", palette.ink);
        assert!(drawn.contains(&ground), "{drawn}");
        assert!(drawn.contains(&format!("fill=\"{}\" textLength", palette.ground)));
    }

    #[test]
    fn frames_and_blocks_are_shapes_that_join() {
        let drawn = picture("┌─┐█▁", Style::new(), ThemeName::Dark);
        assert!(!drawn.contains("<text"));
        // The line of the frame reaches both edges of its cell; the full block fills its own.
        assert!(drawn.contains("M9 9h9v1h-9z"), "{drawn}");
        assert!(drawn.contains("M27 0h9v19h-9z"));
        assert!(drawn.contains("M36 17h9v2h-9z"));
    }
}
