//! Whatever a stranger writes stays in its own cell, and nothing of it steers the terminal.

use super::*;
use crate::domain::event::EventKind;
use crate::domain::health::{HealthLevel, RelayHealth};
use crate::domain::text::is_hostile;
use crate::ui::keymap::Tab;
use crate::ui::painter::Painter;
use crate::ui::sample::{STRANGE, job};
use crate::ui::terminal_writer::TerminalWriter;
use crate::ui::theme::{Role, Theme};
use unicode_width::UnicodeWidthStr as _;

/// Any Unicode, and what is known to be trouble.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[\u{1b}\u{7}\r\n\t\u{202e}\u{2066}\u{200b}\u{200d}\u{9b}\u{9d}a日e\u{301}\u{fe0f}\u{20e3}\u{1f1e9}\u{1f468}\u{1f3fd}\u{3164}ﷺ]{0,90}",
        Just(STRANGE.repeat(3)),
    ]
}

/// The columns that a row takes when a terminal shows it.
fn taken(buf: &Buffer, y: u16) -> u16 {
    let mut x = 0;
    while x < buf.area.width {
        let wide = buf[(x, y)].symbol().width().max(1);
        x += u16::try_from(wide).unwrap();
    }
    x
}

/// The bytes that go to the terminal: printable text and the few sequences that a frame is made of.
fn is_tame(bytes: &[u8], height: u16) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    // From row to row, and no further.
    let rows: Vec<&str> = text.split("\r\n").collect();
    if rows.len() > usize::from(height) {
        return Err(format!("{} rows of {height}", rows.len()));
    }
    let text = rows.concat();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\u{1b}' {
            if is_hostile(c) {
                return Err(format!("{c:?} reached the terminal"));
            }
            continue;
        }
        if rest.next() != Some('[') {
            return Err("an escape that is no control sequence".to_owned());
        }
        let end = rest.find(|c| !matches!(c, '0'..='9' | ';' | '?'));
        if !matches!(end, Some('G' | 'H' | 'J' | 'm' | 'h' | 'l')) {
            return Err(format!("a control sequence that ends with {end:?}"));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn the_pen_writes_into_its_cell_alone(
        text in any_text(),
        x in 0_u16..50,
        y in 0_u16..5,
        width in 0_u16..50,
        ascii in any::<bool>(),
    ) {
        let area = Rect::new(0, 0, 40, 4);
        let mut buf = Buffer::filled(area, ratatui::buffer::Cell::new("#"));
        let theme = Theme { ascii, ..Theme::default() };
        Painter { buf: &mut buf, theme }.put(x, y, width, &text, Role::Bad);
        for row in 0..4 {
            prop_assert_eq!(taken(&buf, row), 40);
            for column in 0..40 {
                let symbol = buf[(column, row)].symbol();
                let inside = row == y && (x..x.saturating_add(width)).contains(&column);
                prop_assert!(inside || symbol == "#", "{column} {row}: {symbol:?}");
                prop_assert!(!ascii || symbol.is_ascii());
                prop_assert!(!symbol.chars().any(is_hostile));
            }
        }
    }
}

/// A shop in which strangers say `text` wherever they have a say.
fn told(text: &str) -> App {
    let mut app = busy();
    let mut strange = job(70, Status::Processing);
    strange.model = Some(text.to_owned());
    strange.error = Some(text.to_owned());
    strange.bolt11 = Some(text.to_owned());
    let relay = RelayHealth {
        url: "wss://relay.two.example".to_owned(),
        health: HealthLevel::Down,
        state: text.to_owned(),
        detail: text.to_owned(),
        ..RelayHealth::default()
    };
    for kind in [
        EventKind::Job {
            job: Box::new(strange),
            what: text.to_owned(),
        },
        EventKind::Relay { relay },
        EventKind::Dropped {
            reason: text.to_owned(),
            count: 1,
            buyer: text.to_owned(),
        },
        EventKind::Notice {
            level: Level::Warn,
            category: text.to_owned(),
            message: text.to_owned(),
        },
    ] {
        tell(&mut app, kind);
    }
    app
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Every tab and a job's detail, through everything down to the bytes.
    #[test]
    fn no_control_reaches_the_terminal_and_every_row_keeps_its_width(
        text in any_text(),
        width in 60_u16..210,
        height in 16_u16..62,
        ascii in any::<bool>(),
    ) {
        let mut app = told(&text);
        app.theme.ascii = ascii;
        app.handle(Input::Size(width, height));
        app.jobs.open(&app.store);
        for (tab, detail) in [
            (Tab::Sell, false),
            (Tab::Jobs, false),
            (Tab::Jobs, true),
            (Tab::Telemetry, false),
        ] {
            app.tab = tab;
            app.jobs.detail = detail;
            let mut bytes = Vec::new();
            TerminalWriter::new(&mut bytes).draw(&app, width, height).unwrap();
            is_tame(&bytes, height).map_err(TestCaseError::fail)?;
            let buf = buffer(&app, width, height);
            for y in 0..height {
                prop_assert_eq!(taken(&buf, y), width, "row {} of {:?}", y, tab);
            }
        }
    }

    /// In a list everything outside the row that a stranger's line takes is as it is for a tame one.
    #[test]
    fn a_strangers_row_changes_no_other(
        text in any_text(),
        width in 60_u16..210,
        height in 16_u16..62,
    ) {
        let (mut strange, mut tame) = (told(&text), told("tame"));
        for app in [&mut strange, &mut tame] {
            app.store.notice = None;
            app.handle(Input::Size(width, height));
        }
        // The feed's last four lines are the strangers'; the newest job is theirs.
        for (tab, rows) in [(Tab::Jobs, 1), (Tab::Telemetry, 4)] {
            (strange.tab, tame.tab) = (tab, tab);
            let (left, right) = (buffer(&strange, width, height), buffer(&tame, width, height));
            // Beside a wide table the same job is told at length.
            let table = match tab {
                Tab::Jobs if width >= JOB_BESIDE => width - (width * 2 / 5).clamp(70, 90),
                _ => width,
            };
            let differs = |y: &u16| (0..table).any(|x| left[(x, *y)] != right[(x, *y)]);
            let rows_that_differ: Vec<u16> = (0..height).filter(differs).collect();
            prop_assert!(rows_that_differ.len() <= rows, "{tab:?}: {rows_that_differ:?}");
            for y in rows_that_differ {
                for x in [0, width - 1] {
                    prop_assert_eq!(left[(x, y)].symbol(), right[(x, y)].symbol());
                }
            }
        }
    }
}

#[test]
fn the_test_of_bytes_sees_what_steers() {
    for bad in [
        "\u{1b}]52;c;aa\u{7}",
        "\u{7}",
        "\u{1b}[6n",
        "\u{9b}31m",
        "\u{1b}c",
        "a\u{202e}b",
        "a\rb",
        "three\r\nrows\r\nof two",
    ] {
        assert!(is_tame(bad.as_bytes(), 2).is_err(), "{bad:?}");
    }
    assert!(is_tame("\u{1b}[?2026h\u{1b}[1;1Hé日\u{1b}[0m".as_bytes(), 2).is_ok());
}
