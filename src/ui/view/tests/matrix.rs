//! Every tab in every size, weather and look.
//!
//! A snapshot shows one tab in one weather: the text in three sizes, then at 80x24 the look of every cell and the text in
//! ASCII. Without colour the text is the same, so that is told by comparing and needs no snapshot.

use ratatui::buffer::Cell;
use ratatui::style::Color;

use super::*;
use crate::ui::keymap::Tab;
use crate::ui::sample::{demo, hostile, well};
use crate::ui::theme::{Role, Theme};

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

type Weather = (&'static str, fn() -> App);

const WEATHERS: [Weather; 5] = [
    ("empty", empty),
    ("busy", well),
    ("degraded", busy),
    ("demo", demo),
    ("hostile", hostile),
];

/// The roles by a letter each.
const LETTERS: [(Role, char); 10] = [
    (Role::Text, '.'),
    // Less important text looks as all text does.
    (Role::Line, '-'),
    (Role::Title, 'T'),
    (Role::Good, 'g'),
    (Role::Warn, 'w'),
    (Role::Bad, 'B'),
    (Role::Selected, 'S'),
    (Role::Key, 'k'),
    (Role::Chart, 'c'),
    (Role::Banner, 'b'),
];

const fn name(tab: Tab) -> &'static str {
    match tab {
        Tab::Sell => "sell",
        Tab::Settings => "settings",
        Tab::Jobs => "jobs",
        Tab::Telemetry => "telemetry",
    }
}

/// Every tab in every weather.
fn each(mut look: impl FnMut(&str, App)) {
    for (conditions, sample) in WEATHERS {
        for tab in Tab::ALL {
            let mut app = sample();
            app.tab = tab;
            look(&format!("{}_{conditions}", name(tab)), app);
        }
    }
}

fn at(app: &mut App, (width, height): (u16, u16)) -> Buffer {
    app.handle(Input::Size(width, height));
    buffer(app, width, height)
}

fn letter(cell: &Cell, theme: Theme) -> char {
    let same = |role: Role| {
        let mut plain = Cell::default();
        plain.set_style(theme.style(role));
        (plain.fg, plain.bg, plain.modifier) == (cell.fg, cell.bg, cell.modifier)
    };
    let found = LETTERS.iter().find(|(role, _)| same(*role));
    found
        .unwrap_or_else(|| panic!("no role looks so: {cell:?}"))
        .1
}

fn polls(app: &App, buf: &Buffer) -> String {
    let row = |y| -> String {
        (0..buf.area.width)
            .map(|x| letter(&buf[(x, y)], app.theme))
            .collect()
    };
    let rows: Vec<String> = (0..buf.area.height).map(row).collect();
    rows.join("\n")
}

#[test]
fn every_tab_in_every_weather() {
    each(|name, mut app| {
        let mut parts = Vec::new();
        for (width, height) in SIZES {
            app.handle(Input::Size(width, height));
            let text = text(&app, width, height);
            parts.push(format!("{width}x{height}\n{text}\n"));
        }
        let buf = at(&mut app, SIZES[0]);
        parts.push(format!("the looks\n{}\n", polls(&app, &buf)));
        app.theme.ascii = true;
        parts.push(format!("ASCII\n{}\n", text(&app, 80, 24)));
        let shown = parts.join("\n");
        insta::assert_snapshot!(name, shown);
    });
}

#[test]
fn without_colour_the_text_is_the_same_and_no_cell_has_a_colour() {
    each(|name, mut app| {
        for size in SIZES {
            app.theme.color = true;
            let with = at(&mut app, size);
            app.theme.color = false;
            let without = at(&mut app, size);
            for (with, without) in with.content.iter().zip(&without.content) {
                assert_eq!(with.symbol(), without.symbol(), "{name}");
                let colours = [without.fg, without.bg];
                assert_eq!(colours, [Color::Reset; 2], "{name}: {without:?}");
            }
        }
    });
}

/// Strangers' text is ASCII too: it comes from a terminal that could show nothing else.
#[test]
fn in_ascii_every_cell_is_ascii_and_nothing_moves() {
    each(|name, mut app| {
        for size in SIZES {
            app.theme.ascii = false;
            let drawn = at(&mut app, size);
            app.theme.ascii = true;
            let typed = at(&mut app, size);
            for (drawn, typed) in drawn.content.iter().zip(&typed.content) {
                assert!(typed.symbol().is_ascii(), "{name}: {typed:?}");
                // A wide character is one question mark, so that a row of strangers' text may be shorter.
                if drawn.symbol().is_ascii() && !name.ends_with("hostile") {
                    assert_eq!(drawn, typed, "{name}");
                }
            }
        }
    });
}
