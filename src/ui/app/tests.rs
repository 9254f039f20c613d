use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::*;
use crate::domain::event::News;
use crate::ui::sample::{busy, empty, options, tell};

fn press(app: &mut App, code: KeyCode) -> Vec<Action> {
    app.handle(Input::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

fn text(app: &mut App, keys: &str) -> Vec<Action> {
    keys.chars()
        .flat_map(|c| press(app, KeyCode::Char(c)))
        .collect()
}

#[test]
fn numbers_and_tab_show_the_tabs() {
    let mut app = empty();
    text(&mut app, "3");
    assert_eq!(app.tab, Tab::Jobs);
    press(&mut app, KeyCode::Tab);
    press(&mut app, KeyCode::Tab);
    assert_eq!(app.tab, Tab::Sell);
    press(&mut app, KeyCode::BackTab);
    assert_eq!(app.tab, Tab::Telemetry);
    assert_eq!(text(&mut app, "2"), [Action::Load]);
}

#[test]
fn o_goes_online_from_any_tab_and_says_so_only_once_the_engine_does() {
    let mut app = empty();
    text(&mut app, "4");
    assert_eq!(text(&mut app, "o"), [Action::Send(Command::GoOnline)]);
    assert_eq!(app.store.state, ShopState::Offline);
}

#[test]
fn leaving_with_jobs_running_asks() {
    let mut app = busy();
    assert!(text(&mut app, "q").is_empty());
    assert_eq!(app.ask, Some(Ask::Quit));
    press(&mut app, KeyCode::Esc);
    assert_eq!(app.ask, None);
    let left = |now| [Action::Leave(Leave::Quit { now })];
    assert_eq!(text(&mut app, "qf"), left(false));
    assert_eq!(text(&mut app, "qs"), left(true));
    assert_eq!(text(&mut app, "qk"), [Action::Leave(Leave::Detach)]);
    assert!(text(&mut app, "o").is_empty());
    let offline = Command::GoOffline { now: true };
    assert_eq!(text(&mut app, "s"), [Action::Send(offline)]);
}

#[test]
fn leaving_an_idle_shop_or_another_process_does_not_ask() {
    let quit = Action::Leave(Leave::Quit { now: false });
    assert_eq!(text(&mut empty(), "q"), [quit]);
    let mut attached = App::new(&Options {
        attached: true,
        ..options()
    });
    let running = News::Queue {
        waiting: 0,
        running: 1,
    };
    tell(&mut attached, running);
    assert_eq!(text(&mut attached, "q"), [Action::Leave(Leave::Detach)]);
}

#[test]
fn a_field_is_checked_while_typing_and_saved_by_enter() {
    let mut app = empty();
    text(&mut app, "2");
    let name = "price.min_price_sats";
    app.form.at = app.form.fields.iter().position(|f| f.name == name).unwrap();
    press(&mut app, KeyCode::Enter);
    text(&mut app, "x");
    let edit = app.form.edit.as_ref().unwrap();
    assert!(edit.error.is_some() && edit.changed());
    assert!(press(&mut app, KeyCode::Enter).is_empty());
    press(&mut app, KeyCode::Backspace);
    let saved = text(&mut app, "7");
    assert!(saved.is_empty());
    let saved = press(&mut app, KeyCode::Enter);
    assert!(matches!(&saved[..], [Action::Save { name: saved, value: Some(_) }] if saved == name));
    let fields = app.form.fields.clone();
    let sent = app.handle(Input::Fields(Ok(fields), true));
    assert_eq!(sent, [Action::Send(Command::ApplySettings)]);
    assert!(app.form.edit.is_none());
}

#[test]
fn keys_typed_into_a_field_do_nothing_else_and_esc_undoes() {
    let mut app = empty();
    text(&mut app, "2");
    press(&mut app, KeyCode::Enter);
    assert!(text(&mut app, "qo1").is_empty());
    press(&mut app, KeyCode::Esc);
    assert!(app.form.edit.is_none());
    assert_eq!(app.tab, Tab::Settings);
}

#[test]
fn a_job_is_cancelled_only_after_a_yes() {
    let mut app = busy();
    text(&mut app, "3");
    assert!(text(&mut app, "cn").is_empty());
    let id = app.jobs.chosen(&app.store).unwrap().id;
    assert_eq!(text(&mut app, "cy"), [Action::Send(Command::Cancel { id })]);
    assert_eq!(text(&mut app, "ry"), [Action::Send(Command::Retry { id })]);
}

#[test]
fn a_filter_narrows_the_jobs_and_esc_opens_it_again() {
    let mut app = busy();
    let all = app.store.jobs.len();
    text(&mut app, "3/unpaid");
    assert_eq!(app.jobs.rows(&app.store).len(), 1);
    press(&mut app, KeyCode::Esc);
    assert_eq!(app.jobs.rows(&app.store).len(), all);
}

#[test]
fn a_frozen_feed_stays_as_it_is() {
    let mut app = busy();
    text(&mut app, "4 ");
    let before = app.feed.lines(&app.store).len();
    tell(&mut app, News::Resync { missed: 1 });
    assert_eq!(app.feed.lines(&app.store).len(), before);
    text(&mut app, " ");
    assert_eq!(app.feed.lines(&app.store).len(), before + 1);
    press(&mut app, KeyCode::Up);
    assert_eq!(app.feed.lines(&app.store).len(), before);
    text(&mut app, "f");
    assert_eq!(app.feed.lines(&app.store).len(), before + 1);
}

#[test]
fn a_chosen_job_stays_chosen_while_others_come_in() {
    let mut app = busy();
    text(&mut app, "3j");
    let chosen = app.jobs.chosen;
    let news = News::Job {
        job: Box::new(crate::ui::sample::job(
            60,
            crate::domain::job::Status::Queued,
        )),
        what: "admitted".to_owned(),
    };
    tell(&mut app, news);
    let rows = app.jobs.rows(&app.store);
    assert_eq!(app.jobs.at(&rows), 2);
    assert_eq!(Some(rows[2].id), chosen);
}
