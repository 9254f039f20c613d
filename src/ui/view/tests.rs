use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use proptest::prelude::*;

use super::*;

mod sell;
use crate::domain::event::{Level, News};
use crate::domain::job::Status;
use crate::domain::text::is_hostile;
use crate::ui::app::Input;
use crate::ui::sample::{busy, empty, job, tell};

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
fn the_four_tabs_of_an_empty_shop() {
    for (key, name) in [
        ("1", "sell"),
        ("2", "settings"),
        ("3", "jobs"),
        ("4", "telemetry"),
    ] {
        let mut app = empty();
        press(&mut app, key);
        insta::assert_snapshot!(format!("empty_{name}"), text(&app, 80, 24));
    }
}

#[test]
fn the_four_tabs_of_a_busy_shop() {
    for (key, name) in [
        ("1", "sell"),
        ("2", "settings"),
        ("3", "jobs"),
        ("4", "telemetry"),
    ] {
        let mut app = busy();
        press(&mut app, key);
        insta::assert_snapshot!(format!("busy_{name}"), text(&app, 80, 24));
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

#[test]
fn ascii_means_ascii_and_no_color_means_none() {
    let mut app = busy();
    app.theme.ascii = true;
    app.theme.color = false;
    for key in ["1", "2", "3", "4", "q"] {
        press(&mut app, key);
        assert!(text(&app, 80, 24).is_ascii());
        let buf = buffer(&app, 80, 24);
        assert!(
            buf.content
                .iter()
                .all(|cell| cell.fg == ratatui::style::Color::Reset)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn nothing_hostile_reaches_the_screen(
        hostile in prop_oneof![any::<String>(), "[\u{1b}\u{7}\u{202e}\u{2066}\u{200d}\u{9b}a日e\u{301}]{0,90}"],
        width in 0_u16..130,
        height in 0_u16..50,
    ) {
        let mut app = busy();
        app.banner = Some(hostile.clone());
        app.message = None;
        app.jobs.filter.clear();
        let mut strange = job(70, Status::Processing);
        strange.model = Some(hostile.clone());
        strange.error = Some(hostile.clone());
        strange.bolt11 = Some(hostile.clone());
        tell(&mut app, News::Job { job: Box::new(strange), what: hostile.clone() });
        tell(&mut app, News::Dropped { reason: hostile.clone(), count: 1, buyer: hostile.clone() });
        tell(&mut app, News::Notice { level: Level::Warn, category: hostile.clone(), message: hostile });
        for tab in crate::ui::keymap::Tab::ALL {
            app.tab = tab;
            for detail in [false, true] {
                app.jobs.detail = detail;
                let buf = buffer(&app, width, height);
                for cell in &buf.content {
                    prop_assert!(cell.symbol().chars().all(|c| !is_hostile(c)), "{:?}", cell.symbol());
                }
            }
        }
    }
}

/// The pictures in the README and the docs are the real screens. `UPDATE_DOCS=1` draws them anew.
#[test]
fn the_pictures_are_the_real_screens() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("screenshots");
    let mut changed = Vec::new();
    for (key, name) in [
        ("1", "sell"),
        ("2", "settings"),
        ("3", "jobs"),
        ("4", "telemetry"),
    ] {
        let mut app = busy();
        press(&mut app, key);
        for (width, height) in [(60, 16), (80, 24), (200, 60)] {
            let drawn = crate::ui::svg::picture(&app, width, height);
            let path = folder.join(format!("{name}-{width}x{height}.svg"));
            if std::env::var_os("UPDATE_DOCS").is_some() {
                std::fs::write(&path, &drawn).unwrap();
            }
            if std::fs::read_to_string(&path).unwrap_or_default() != drawn {
                changed.push(path);
            }
        }
    }
    assert!(
        changed.is_empty(),
        "look at what changed, then run the tests with UPDATE_DOCS=1: {changed:?}"
    );
}
