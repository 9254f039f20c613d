use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use proptest::prelude::*;

use super::*;

mod first_start;
mod glance;
mod matrix;
mod sell;
mod strangers;

use crate::domain::event::{EventKind, Level};
use crate::domain::job::Status;
use crate::ui::app::Input;
use crate::ui::sample::{busy, empty, tell};

fn buffer(app: &App, width: u16, height: u16) -> Buffer {
    let area = Rect::new(0, 0, width, height);
    let mut buf = Buffer::empty(area);
    draw(app, area, &mut buf);
    buf
}

fn text(app: &App, width: u16, height: u16) -> String {
    let buf = buffer(app, width, height);
    let row = |y| -> String { (0..width).map(|x| buf[(x, y)].symbol()).collect() };
    let rows: Vec<String> = (0..height).map(|y| row(y).trim_end().to_owned()).collect();
    rows.join("\n")
}

fn press(app: &mut App, keys: &str) {
    for c in keys.chars() {
        let key = KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE);
        app.handle(Input::Key(key));
    }
}

#[test]
fn what_opens_above_a_tab() {
    let mut app = busy();
    press(&mut app, "q");
    insta::assert_snapshot!("ask_quit", text(&app, 80, 24));
    app.ask = None;
    press(&mut app, "3?");
    insta::assert_snapshot!("help", text(&app, 80, 24));
    app.help = false;
    app.handle(Input::Key(KeyEvent::new(
        KeyCode::Enter,
        KeyModifiers::NONE,
    )));
    insta::assert_snapshot!("job_detail", text(&app, 80, 24));
}

#[test]
fn a_small_terminal_is_told_so() {
    let shown = text(&busy(), 59, 16);
    assert!(shown.contains("terminal too small") && shown.contains("60x16"));
    assert!(!text(&busy(), 60, 16).contains("too small"));
}

#[test]
fn the_sandbox_is_named_on_every_tab() {
    let mut app = busy();
    for key in ["1", "2", "3", "4"] {
        press(&mut app, key);
        assert!(text(&app, 80, 24).contains("SANDBOX: no real money moves"));
    }
}

/// While a question is open no other key does anything, and the last row says so.
#[test]
fn the_hints_are_those_of_what_is_open() {
    let last = |app: &App| text(app, 80, 24).lines().last().unwrap().trim().to_owned();
    let mut app = busy();
    assert!(last(&app).contains("o on/off"));
    press(&mut app, "o");
    let shown = text(&app, 80, 24);
    assert!(shown.contains("Go offline? Jobs are running"), "{shown}");
    assert_eq!(last(&app), "f finish  s cancel them  Esc stay online");
    app.ask = None;
    press(&mut app, "q");
    let keys = "f finish  k keep selling  s stop  Esc stay";
    assert_eq!(last(&app), keys);
    app.ask = None;
    press(&mut app, "?");
    assert_eq!(last(&app), "Up Down scroll  PgDn PgUp more  Esc close");
    app.help = false;
    press(&mut app, "3Gc");
    let shown = text(&app, 80, 24);
    assert!(shown.contains("Its buyer is told"), "{shown}");
    assert_eq!(last(&app), "y yes  n Esc no");
}

/// The ways to the desk and to the earnings are found without the list of keys.
#[test]
fn the_jobs_name_their_desk_and_their_earnings() {
    let mut app = busy();
    press(&mut app, "3");
    for width in [80, 120, 200] {
        let shown = text(&app, width, 24);
        let hints = shown.lines().last().unwrap();
        assert!(hints.contains("d desk  i earnings"), "{hints}");
    }
}
