use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::*;
use crate::domain::event::News;
use crate::domain::job::{JobView, Status};
use crate::ui::sample::{busy, empty, job, options, tell};

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

/// Chooses the first job in this status.
fn choose(app: &mut App, status: Status) -> RequestId {
    text(app, "3");
    let job = app
        .store
        .jobs
        .newest_first()
        .find(|job| job.status == status);
    let id = job.unwrap().id;
    app.jobs.chosen = Some(id);
    id
}

#[test]
fn a_job_is_cancelled_only_after_a_yes() {
    let mut app = busy();
    let id = choose(&mut app, Status::Queued);
    assert!(text(&mut app, "cn").is_empty());
    assert_eq!(text(&mut app, "cy"), [Action::Send(Command::Cancel { id })]);
}

#[test]
fn what_makes_no_sense_for_a_job_is_not_offered_but_explained() {
    let mut app = busy();
    for (status, key) in [
        (Status::Paid, "c"),
        (Status::PendingPayment, "c"),
        (Status::Cancelled, "c"),
        (Status::Paid, "r"),
        (Status::Queued, "r"),
        // It has an invoice that the buyer may know.
        (Status::Error, "r"),
    ] {
        choose(&mut app, status);
        assert!(text(&mut app, key).is_empty());
        assert_eq!(app.ask, None, "{status:?} {key}");
        assert!(app.message.take().is_some_and(|why| why.len() > 20));
    }
    let mut failed = job(30, Status::Error);
    failed.bolt11 = None;
    let id = failed.id;
    let news = News::Job {
        job: Box::new(failed),
        what: "run_failed".to_owned(),
    };
    tell(&mut app, news);
    app.jobs.chosen = Some(id);
    assert_eq!(text(&mut app, "ry"), [Action::Send(Command::Retry { id })]);
    assert!(text(&mut app, "b").is_empty());
    assert!(matches!(app.ask, Some(Ask::Block(_))));
}

#[test]
fn y_and_one_key_copies_one_thing_of_a_job() {
    let mut app = busy();
    let id = choose(&mut app, Status::Paid);
    let job = app.store.jobs.get(&id).unwrap().clone();
    let mut copied = |keys: &str| match text(&mut app, keys).as_slice() {
        [Action::Copy(text)] => text.clone(),
        other => panic!("{keys}: {other:?}"),
    };
    assert_eq!(copied("yi"), id.to_string());
    assert_eq!(copied("yv"), job.bolt11.clone().unwrap());
    assert_eq!(serde_json::from_str::<JobView>(&copied("yj")).unwrap(), job);
    assert!(copied("yb").starts_with("npub1"));
    // The event is not here yet: it is asked for, and copied when it comes.
    assert!(text(&mut app, "ye").is_empty());
    assert_eq!(app.look(), Some(Command::Job { id }));
    assert_eq!(app.look(), None);
    let detail = Box::new(crate::ui::sample::detail(job));
    let reply = Reply::Job { detail };
    let copied = app.handle(Input::Looked(reply));
    assert!(matches!(&copied[..], [Action::Copy(json)] if json.contains("\"kind\":6050")));
    // Nothing is copied by a key that is no thing, and Esc closes the menu alone.
    text(&mut app, "y");
    press(&mut app, KeyCode::Esc);
    assert!(!app.jobs.copying);
    assert!(text(&mut app, "yq").is_empty());
}

#[test]
fn a_filter_narrows_the_jobs_and_esc_opens_it_again() {
    let mut app = busy();
    let all = app.store.jobs.len();
    text(&mut app, "3/unpaid");
    assert_eq!(app.jobs.sheet(&app.store).total, 1);
    press(&mut app, KeyCode::Esc);
    assert_eq!(app.jobs.sheet(&app.store).total, all as u64);
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
    let sheet = app.jobs.sheet(&app.store);
    assert_eq!(app.jobs.at(&sheet), 2);
    assert_eq!(sheet.get(2).map(|job| job.id), chosen);
}
