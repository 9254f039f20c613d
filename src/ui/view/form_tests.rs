//! Settings, Telemetry, help and palette at every size.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::*;
use crate::config::schema::KeyNames;
use crate::domain::command::{Probe, Reply};
use crate::domain::event::{EventKind, Level};
use crate::domain::health::{Check, CheckKind, CheckStatus};
use crate::ui::app::Input;
use crate::ui::sample::{busy, empty, tell};

const SIZES: [(u16, u16); 3] = [(60, 16), (80, 24), (200, 60)];

fn text(app: &mut App, (width, height): (u16, u16)) -> String {
    app.handle(Input::Size(width, height));
    let area = Rect::new(0, 0, width, height);
    let mut buf = Buffer::empty(area);
    draw(app, area, &mut buf);
    let row = |y| -> String { (0..width).map(|x| buf[(x, y)].symbol()).collect() };
    let rows: Vec<String> = (0..height).map(|y| row(y).trim_end().to_owned()).collect();
    rows.join("\n")
}

fn key(app: &mut App, code: KeyCode) {
    app.handle(Input::Key(KeyEvent::new(code, KeyModifiers::NONE)));
}

fn press(app: &mut App, keys: &str) {
    for c in keys.chars() {
        key(app, KeyCode::Char(c));
    }
}

fn at_every_size(name: &str, app: &mut App) {
    for (width, height) in SIZES {
        let shown = text(app, (width, height));
        insta::assert_snapshot!(format!("{name}_{width}x{height}"), shown);
    }
}

#[test]
fn settings_with_changes_a_test_and_an_error() {
    let mut app = empty();
    press(&mut app, "2");
    app.form.choose("price.min_price_sats");
    key(&mut app, KeyCode::Enter);
    press(&mut app, "5");
    key(&mut app, KeyCode::Enter);
    app.form.choose("nostr.relays");
    press(&mut app, "j");
    let what = Probe::Relay {
        url: "wss://nostr.mom".to_owned(),
    };
    let check = Check {
        check: CheckKind::Relay,
        target: "wss://nostr.mom".to_owned(),
        status: CheckStatus::Fail,
        detail: "connection refused".to_owned(),
        fix: "vend config set nostr.relays".to_owned(),
    };
    let checks = vec![check];
    app.handle(Input::Tested(what, Reply::Tested { checks }));
    at_every_size("form_tested", &mut app);
    app.form.choose("limits.queue");
    key(&mut app, KeyCode::Enter);
    press(&mut app, "x");
    at_every_size("form_wrong", &mut app);
    key(&mut app, KeyCode::Esc);
    app.form.choose("wallet.backend");
    key(&mut app, KeyCode::Enter);
    press(&mut app, " ");
    at_every_size("form_choice", &mut app);
    key(&mut app, KeyCode::Enter);
    app.form.choose("[[endpoint]]");
    press(&mut app, "a");
    press(&mut app, "gpu");
    at_every_size("form_new_server", &mut app);
    key(&mut app, KeyCode::Enter);
    press(&mut app, "q");
    at_every_size("form_unsaved", &mut app);
}

#[test]
fn telemetry_filtered_searched_frozen_and_in_detail() {
    let mut app = busy();
    press(&mut app, "4 l/relay");
    key(&mut app, KeyCode::Enter);
    let kind = EventKind::Notice {
        level: Level::Error,
        category: "relay".to_owned(),
        message: "gone".to_owned(),
    };
    tell(&mut app, kind);
    at_every_size("feed_searched", &mut app);
    key(&mut app, KeyCode::Enter);
    at_every_size("feed_detail", &mut app);
}

#[test]
fn the_help_scrolls_where_it_does_not_fit() {
    let mut app = empty();
    press(&mut app, "2?");
    at_every_size("form_help", &mut app);
    text(&mut app, SIZES[0]);
    press(&mut app, "G");
    let end = text(&mut app, SIZES[0]);
    assert!(end.contains("the last row"), "{end}");
    press(&mut app, "k");
    assert_ne!(
        text(&mut app, SIZES[0]),
        end,
        "one key back is one row back"
    );
    press(&mut app, "g");
    assert!(text(&mut app, SIZES[0]).contains("Sell Compute"));
}

#[test]
fn the_palette_shows_names_and_keys_as_they_are_bound() {
    let mut app = empty();
    press(&mut app, ":");
    at_every_size("palette", &mut app);
    press(&mut app, "o");
    let own = [("online".to_owned(), KeyNames::One("f9".to_owned()))];
    app.keys = crate::ui::keymap::Keymap::new(&own.into()).unwrap();
    at_every_size("palette_typed", &mut app);
}

#[test]
fn a_search_marks_every_place_that_it_found() {
    let mut app = busy();
    press(&mut app, "4/refused");
    key(&mut app, KeyCode::Enter);
    let area = Rect::new(0, 0, 80, 24);
    let mut buf = Buffer::empty(area);
    draw(&app, area, &mut buf);
    let banner = app.theme.style(crate::ui::theme::Role::Banner);
    let marked = (2..23).flat_map(|y| (0..80).map(move |x| (x, y)));
    let marked: String = marked
        .filter(|place| {
            let style = buf[*place].style();
            banner
                .add_modifier
                .difference(style.add_modifier)
                .is_empty()
                && buf[*place].fg != ratatui::style::Color::Reset
        })
        .map(|place| buf[place].symbol())
        .collect();
    assert!(marked.ends_with("refusedrefused"), "{marked}");
}

#[test]
fn a_click_means_what_is_drawn_there() {
    let mut app = empty();
    press(&mut app, "2");
    for size in SIZES {
        app.form.choose("nostr.kinds");
        let shown = text(&mut app, size);
        // The list comes first; its frame below names the chosen field again.
        for (y, line) in (0_u16..).zip(shown.lines()) {
            let Some(at) = line
                .find("nostr.kinds")
                .filter(|_| line.contains("entries"))
            else {
                continue;
            };
            let x = u16::try_from(line[..at].chars().count()).unwrap();
            let Some(Hit::Row(row)) = hit(&app, x, y) else {
                panic!("nothing at {x} {y}")
            };
            app.form.at = row;
            assert_eq!(app.form.cell().unwrap().field.name, "nostr.kinds");
        }
    }
}

#[test]
fn two_prices_of_one_model_are_told_apart_at_eighty_columns() {
    let mut app = empty();
    press(&mut app, "2");
    for name in ["llama3:70b", "llama3.3:70b-instruct-q8_0"] {
        app.form.choose("[[price.model]]");
        key(&mut app, KeyCode::Enter);
        press(&mut app, name);
        key(&mut app, KeyCode::Enter);
        app.form
            .choose(&format!("price.model.{name}.price_per_1k_output"));
        let shown = text(&mut app, (80, 24));
        for field in ["price_per_1k_input", "price_per_1k_output"] {
            let told = |line: &&str| line.starts_with('│') && line.contains(field);
            let rows: Vec<&str> = shown.lines().filter(told).collect();
            assert!(
                rows.iter().any(|row| row.contains("llama3")),
                "{field}:\n{shown}"
            );
        }
    }
}

/// What is looked for in the settings is counted, and n and N go through it.
#[test]
fn the_next_setting_that_was_looked_for_is_a_key_away() {
    let mut app = empty();
    press(&mut app, "2/relay");
    assert!(text(&mut app, (80, 24)).contains("found; n and N go to them"));
    app.handle(Input::Key(KeyCode::Enter.into()));
    let matches = app.form.matches();
    assert!(matches.len() > 2);
    let first = app.form.at;
    press(&mut app, "n");
    let second = app.form.at;
    assert_ne!(first, second);
    assert!(matches.contains(&second));
    assert!(text(&mut app, (80, 24)).contains(&format!("of {} with", matches.len())));
    press(&mut app, "N");
    assert_eq!(app.form.at, first);
}
