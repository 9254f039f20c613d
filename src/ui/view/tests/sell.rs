use ratatui::style::{Color, Modifier};

use super::*;
use crate::ui::sample::{demo, failed, hostile, starting, well};
use crate::ui::theme::ThemeName;

const SIZES: [(u16, u16); 4] = [(60, 16), (80, 24), (120, 40), (200, 60)];

type Sample = (&'static str, fn() -> App);

const SAMPLES: [Sample; 2] = [("starting", starting), ("failed", failed)];

/// On its way to be open; every other weather is in the matrix.
#[test]
fn the_tab_while_it_is_opened_and_where_that_failed() {
    for (name, sample) in SAMPLES {
        for (width, height) in SIZES {
            let shown = text(&sample(), width, height);
            insta::assert_snapshot!(format!("sell_{name}_{width}x{height}"), shown);
        }
    }
}

/// The smallest screen has a layout of its own.
#[test]
fn the_tab_where_there_is_little_room() {
    for (name, sample) in [
        ("empty", empty as fn() -> App),
        ("busy", well),
        ("hostile", hostile),
    ] {
        insta::assert_snapshot!(format!("sell_{name}_60x16"), text(&sample(), 60, 16));
    }
}

#[test]
fn the_theme_changes_the_look_and_never_the_text() {
    let mut app = busy();
    let plain = text(&app, 80, 24);
    for name in ThemeName::ALL {
        for color in [true, false] {
            (app.theme.name, app.theme.color) = (name, color);
            assert_eq!(text(&app, 80, 24), plain);
            let buf = buffer(&app, 80, 24);
            let ground = match (name, color) {
                (ThemeName::Contrast, true) => Color::Black,
                _ => Color::Reset,
            };
            assert!(buf.content.iter().all(|cell| cell.bg == ground));
        }
    }
}

/// Without colour a light is still told by its mark and its word, and a banner by its reversal.
#[test]
fn nothing_is_told_by_colour_alone() {
    let mut app = demo();
    app.theme.color = false;
    let shown = text(&app, 80, 24);
    assert!(shown.contains("● ok") && shown.contains("✗ down") && shown.contains("! DEGRADED"));
    let buf = buffer(&app, 80, 24);
    let turned = |x: u16| buf[(x, 1)].modifier.contains(Modifier::REVERSED);
    assert!((0..80).all(turned));
}

/// Cuts: at 80x24 every figure, every light with its fix, and the advice are whole.
#[test]
fn at_eighty_columns_nothing_that_matters_is_cut() {
    let shown = text(&busy(), 80, 24);
    for whole in [
        "84 sats  4 jobs",
        "2,100 sats",
        "owed to you 42 sats",
        "owed back   21 sats",
        "refused; next try in 8 s",
        "vend config set nostr.relays",
        "63 of 512 tokens",
        "31.5 tok/s",
        "seen 40 → understood 31 → admitted 12 → delivered 11 → paid 10",
        "lower price.min_price_sats (now 10), or leave it",
        "processors 42 %",
    ] {
        assert!(shown.contains(whole), "{whole} is missing in\n{shown}");
    }
}

#[test]
fn the_button_names_the_key_that_presses_it_now() {
    let own = [(
        "online".to_owned(),
        crate::config::schema::KeyNames::One("f9".to_owned()),
    )];
    let mut app = empty();
    assert!(text(&app, 80, 24).contains("[ GO ONLINE ] o "));
    app.keys = crate::ui::keymap::Keymap::new(&own.into()).unwrap();
    assert!(text(&app, 80, 24).contains("[ GO ONLINE ] F9 "));
}

#[test]
fn the_demo_is_named_in_every_size() {
    for (width, height) in SIZES {
        let shown = text(&demo(), width, height);
        let banner = shown.lines().nth(1).unwrap();
        let whole = "SANDBOX: no real money moves  DEMO on this machine only";
        assert_eq!(banner.trim(), whole, "{width}x{height}");
    }
    assert!(text(&demo(), 80, 24).contains("Earnings (play money)"));
}

/// The columns of the frame in a row: where its lines stand.
fn frame_of(buf: &Buffer, y: u16) -> Vec<u16> {
    let stands = |x: &u16| matches!(buf[(*x, y)].symbol(), "│" | "┌" | "┐" | "├" | "┤" | "┴");
    (0..buf.area.width).filter(stands).collect()
}

/// Every row takes exactly its columns, and the frame stands where it stands in a tame shop.
#[test]
fn strangers_text_moves_no_frame() {
    let (strange, tame) = (hostile(), busy());
    for (width, height) in SIZES {
        let (left, right) = (
            buffer(&strange, width, height),
            buffer(&tame, width, height),
        );
        for y in 0..height {
            let mut x = 0;
            while x < width {
                let wide = unicode_width::UnicodeWidthStr::width(left[(x, y)].symbol());
                x += u16::try_from(wide.max(1)).unwrap();
            }
            assert_eq!(x, width, "row {y} at {width}x{height}");
        }
        // The lower boxes grow with what was dropped; the upper ones must not move.
        for y in 4..10 {
            assert_eq!(
                frame_of(&left, y),
                frame_of(&right, y),
                "row {y} at {width}x{height}"
            );
        }
    }
}

/// A first screen says what would be used, what comes next and with which key.
#[test]
fn a_new_shop_says_what_it_would_use_and_what_comes_next() {
    for (width, height) in SIZES {
        let shown = text(&empty(), width, height);
        for told in ["gemma2:latest", "nostr.mom and 3 more", "t checks it all"] {
            assert!(shown.contains(told), "{told} at {width}x{height}:\n{shown}");
        }
        assert!(shown.contains("go online (o)"), "{shown}");
    }
    let mut app = empty();
    app.attached = true;
    let shown = text(&app, 80, 24);
    // The file that this screen has read may not be the shop's.
    assert!(!shown.contains("gemma2:latest"), "{shown}");
    assert!(shown.contains("not connected while offline"), "{shown}");
}

#[test]
fn what_waits_while_offline_is_said_to_go_on_later() {
    let mut app = busy();
    tell(
        &mut app,
        crate::domain::event::EventKind::Queue {
            waiting: 4,
            running: 0,
        },
    );
    app.store.state = crate::domain::health::ShopState::Offline;
    app.store.jobs = crate::store::Jobs::default();
    let shown = text(&app, 120, 40);
    assert!(
        shown.contains("what waits goes on when it is online again"),
        "{shown}"
    );
}

/// Of a hundred servers each dead one is a row, or counted where there is no room, and their fix stands there once.
#[test]
fn a_crowd_of_dead_servers_takes_one_row_each() {
    use crate::domain::event::EventKind;
    use crate::domain::health::{EndpointHealth, HealthLevel};
    use crate::domain::id::EndpointName;
    for (width, height) in [(80, 24), (120, 40), (200, 60), (200, 120)] {
        let mut app = busy();
        for number in 0..100 {
            let dead = number % 3 == 1 || number == 0 || number == 99;
            let endpoint = EndpointHealth {
                name: EndpointName(format!("gpu{number:02}")),
                kind: "ollama".to_owned(),
                url: format!("http://10.0.0.{number}:11434"),
                state: if dead { "down" } else { "up" }.to_owned(),
                health: if dead {
                    HealthLevel::Down
                } else {
                    HealthLevel::Ok
                },
                detail: if dead {
                    format!("http://10.0.0.{number}:11434 does not answer: connection refused")
                } else {
                    String::new()
                },
                models: vec!["gemma2:latest".to_owned()],
                running: 0,
                slots: 1,
                tokens_per_second: None,
            };
            tell(&mut app, EventKind::Endpoint { endpoint });
        }
        let shown = text(&app, width, height);
        let rows = shown
            .lines()
            .filter(|line| line.contains("down") && line.contains("gpu"))
            .count();
        let more: usize = shown
            .split("and ")
            .filter_map(|part| {
                part.split(" more: `vend doctor`")
                    .next()?
                    .parse::<usize>()
                    .ok()
            })
            .sum();
        assert!(rows >= 1, "{width}x{height}:\n{shown}");
        if height >= 60 {
            assert_eq!(rows + more, 35, "{width}x{height}:\n{shown}");
        }
        if height == 120 {
            assert!(shown.matches("vend doctor").count() <= 2, "{shown}");
        }
    }
}
