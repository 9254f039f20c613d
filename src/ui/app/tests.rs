use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::*;
use crate::domain::event::{EventKind, Level};
use crate::domain::health::ShopState;
use crate::domain::id::RequestId;
use crate::domain::job::{JobView, Status};
use crate::domain::screen::{BellKind, ThemeName};
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
    let running = EventKind::Queue {
        waiting: 0,
        running: 1,
    };
    tell(&mut attached, running);
    assert_eq!(text(&mut attached, "q"), [Action::Leave(Leave::Detach)]);
}

fn choose(app: &mut App, name: &str) {
    text(app, "2");
    assert!(app.form.choose(name), "{name}");
}

/// Types a value into a field and keeps it.
fn put(app: &mut App, name: &str, value: &str) {
    choose(app, name);
    press(app, KeyCode::Enter);
    for _ in 0..80 {
        press(app, KeyCode::Backspace);
    }
    text(app, value);
    press(app, KeyCode::Enter);
    assert!(app.form.edit.is_none(), "{:?}", app.form.edit);
}

#[test]
fn a_field_is_checked_while_typing_and_kept_by_enter() {
    let mut app = empty();
    choose(&mut app, "price.min_price_sats");
    press(&mut app, KeyCode::Enter);
    text(&mut app, "x");
    let edit = app.form.edit.as_ref().unwrap();
    assert!(edit.error.is_some() && edit.changed());
    assert!(press(&mut app, KeyCode::Enter).is_empty());
    assert!(app.form.edit.is_some());
    press(&mut app, KeyCode::Backspace);
    text(&mut app, "7");
    assert!(press(&mut app, KeyCode::Enter).is_empty());
    assert!(app.form.edit.is_none() && app.form.waiting() == 1);
    let saved = text(&mut app, "w");
    let [Action::Save(changes)] = &saved[..] else {
        panic!("{saved:?}")
    };
    assert_eq!(changes.len(), 1);
}

#[test]
fn a_save_goes_into_the_file_and_to_the_engine() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    std::fs::write(
        &path,
        "# mine\n[price] # sats\nmin_price_sats = 5 # cheap\n",
    )
    .unwrap();
    let mut app = empty();
    app.handle(Input::Fields(crate::ui::settings_form::read(&path)));
    put(&mut app, "price.min_price_sats", "77");
    put(&mut app, "screen.mouse", "");
    choose(&mut app, "screen.mouse");
    press(&mut app, KeyCode::Enter);
    text(&mut app, " ");
    press(&mut app, KeyCode::Enter);
    let Some(Action::Save(changes)) = text(&mut app, "w").pop() else {
        panic!("nothing is saved")
    };
    let saved = crate::ui::settings_form::save(&path, &changes);
    let done = app.handle(Input::Saved(saved));
    let apply = Action::Send(Command::ApplySettings);
    assert_eq!(done, [Action::Mouse(true), apply]);
    assert!(app.screen.mouse && !app.form.unsaved());
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("# mine\n[price] # sats\nmin_price_sats = 77 # cheap\n"),
        "{text}"
    );
    assert!(text.contains("mouse = true"), "{text}");
}

#[test]
fn leaving_with_unsaved_changes_asks() {
    let quit = [Action::Leave(Leave::Quit { now: false })];
    let mut app = empty();
    put(&mut app, "limits.queue", "9");
    assert!(text(&mut app, "1").is_empty());
    assert_eq!(app.ask, Some(Ask::Unsaved(Then::Show(Tab::Sell))));
    press(&mut app, KeyCode::Esc);
    assert_eq!((app.tab, app.ask), (Tab::Settings, None));
    assert!(text(&mut app, "q").is_empty());
    assert_eq!(text(&mut app, "d"), quit);
    assert!(!app.form.unsaved());

    put(&mut app, "limits.queue", "9");
    text(&mut app, "q");
    assert!(matches!(&text(&mut app, "s")[..], [Action::Save(_)]));
    let refused = crate::ui::settings_form::SaveError {
        key: Some("limits.queue".to_owned()),
        text: "limits.queue: no".to_owned(),
    };
    assert!(app.handle(Input::Saved(Err(refused))).is_empty());
    assert!(app.form.unsaved() && app.form.error.is_some());
    assert_eq!(app.form.cell().unwrap().field.name, "limits.queue");
}

#[test]
fn a_save_that_was_asked_for_on_the_way_out_leaves_once_it_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let mut app = empty();
    put(&mut app, "limits.queue", "9");
    text(&mut app, "4");
    let Some(Action::Save(changes)) = text(&mut app, "s").pop() else {
        panic!("nothing is saved")
    };
    app.handle(Input::Saved(crate::ui::settings_form::save(
        &path, &changes,
    )));
    assert_eq!(app.tab, Tab::Telemetry);
}

#[test]
fn a_secret_is_shown_for_a_moment_and_only_on_its_own_row() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    std::fs::write(
        &path,
        "[[endpoint]]\nname = \"local\"\napi_key = \"hush\"\n",
    )
    .unwrap();
    let mut app = empty();
    app.handle(Input::Fields(crate::ui::settings_form::read(&path)));
    choose(&mut app, "endpoint.local.api_key");
    let name = "endpoint.local.api_key".to_owned();
    assert_eq!(text(&mut app, "r"), [Action::Reveal(name.clone())]);
    let secret = || crate::config::edit::reveal(&path, "endpoint.local.api_key");
    let shown = app.handle(Input::Revealed(name.clone(), secret()));
    let [Action::HideLater(number)] = shown[..] else {
        panic!("{shown:?}")
    };
    assert!(app.form.revealed.is_some());
    app.handle(Input::Hide(number + 1));
    assert!(app.form.revealed.is_some(), "another one's alarm");
    app.handle(Input::Hide(number));
    assert!(app.form.revealed.is_none());
    app.handle(Input::Revealed(name.clone(), secret()));
    text(&mut app, "j");
    assert!(app.form.revealed.is_none(), "another row");
    app.handle(Input::Revealed(name.clone(), secret()));
    assert!(app.form.revealed.is_none(), "too late");
    text(&mut app, "k");
    app.handle(Input::Revealed(name, secret()));
    assert!(!format!("{:?}", app.form.revealed).contains("hush"));
    text(&mut app, "1");
    assert!(app.form.revealed.is_none(), "another tab");
}

#[test]
fn a_test_is_asked_for_once_and_looks_at_the_file() {
    let mut app = empty();
    choose(&mut app, "nostr.relays");
    text(&mut app, "j");
    let url = "wss://nostr.mom".to_owned();
    let what = Probe::Relay { url };
    let command = Command::Test { what: what.clone() };
    assert_eq!(text(&mut app, "t"), [Action::Send(command)]);
    assert!(text(&mut app, "t").is_empty(), "it runs already");
    app.handle(Input::Tested(what, Reply::Tested { checks: Vec::new() }));
    assert!(!text(&mut app, "t").is_empty());
    put(&mut app, "endpoint.local.slots", "3");
    assert!(text(&mut app, "t").is_empty(), "not saved yet");
    choose(&mut app, "limits.queue");
    assert!(text(&mut app, "t").is_empty(), "nothing to test");
}

#[test]
fn a_pasted_text_is_cleaned_and_goes_where_one_types() {
    let mut app = empty();
    choose(&mut app, "nostr.name");
    press(&mut app, KeyCode::Enter);
    app.handle(Input::Paste("a\u{1b}[2J\nb".to_owned()));
    assert_eq!(app.form.edit.as_ref().unwrap().line.value(), "a[2J b");
    press(&mut app, KeyCode::Esc);
    app.handle(Input::Paste("q1o".to_owned()));
    assert_eq!(app.tab, Tab::Settings);
    text(&mut app, "4/");
    app.handle(Input::Paste("wallet".to_owned()));
    assert_eq!(app.feed.search, "wallet");
}

#[test]
fn the_palette_runs_what_is_named_on_its_own_tab() {
    let mut app = empty();
    text(&mut app, ":go online");
    let Some(Action::Send(Command::GoOnline)) = press(&mut app, KeyCode::Enter).pop() else {
        panic!("not sent")
    };
    assert!(app.palette.is_none());
    text(&mut app, ":next match");
    press(&mut app, KeyCode::Enter);
    assert_eq!(app.tab, Tab::Telemetry);
    text(&mut app, ":zzz");
    assert!(press(&mut app, KeyCode::Enter).is_empty() && app.palette.is_some());
    press(&mut app, KeyCode::Esc);
    assert!(app.palette.is_none());
}

#[test]
fn the_mouse_works_only_where_it_is_asked_for() {
    use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
    let click = |column, row| {
        Input::Mouse(MouseEvent {
            kind: MouseEventKind::Down(MouseButton::Left),
            column,
            row,
            modifiers: KeyModifiers::NONE,
        })
    };
    let mut app = busy();
    app.handle(click(20, 0));
    assert_eq!(app.tab, Tab::Sell);
    app.screen.mouse = true;
    app.handle(click(20, 0));
    assert_eq!(app.tab, Tab::Settings);
    app.handle(click(5, 6));
    let at = app.form.at;
    assert!(at > 0);
    app.handle(Input::Mouse(MouseEvent {
        kind: MouseEventKind::ScrollDown,
        column: 5,
        row: 6,
        modifiers: KeyModifiers::NONE,
    }));
    assert_eq!(app.form.at, at + 3);
    app.handle(click(200, 200));
    app.handle(click(79, 23));
}

#[test]
fn control_z_stops_and_control_c_leaves_wherever_one_types() {
    let control = |c| Input::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL));
    let mut app = empty();
    assert_eq!(app.handle(control('z')), [Action::Suspend]);
    text(&mut app, "4/abc");
    let quit = [Action::Leave(Leave::Quit { now: false })];
    assert_eq!(app.handle(control('c')), quit);
}

#[test]
fn a_setting_is_gone_to_by_its_name_or_by_what_is_said_of_it() {
    let mut app = empty();
    text(&mut app, "2/price.min");
    let name = |app: &App| app.form.cell().map(|cell| cell.field.name.clone());
    assert_eq!(name(&app).as_deref(), Some("price.min_price_sats"));
    press(&mut app, KeyCode::Enter);
    assert!(!app.typing && app.form.edit.is_none());
    text(&mut app, "/as soon as the program");
    assert_eq!(name(&app).as_deref(), Some("start_online"));
    // What is nowhere leaves the row as it is.
    text(&mut app, " qqq");
    press(&mut app, KeyCode::Esc);
    assert_eq!(name(&app).as_deref(), Some("start_online"));
}

#[test]
fn with_a_job_open_its_table_stays_as_it_is() {
    let mut app = busy();
    choose_job(&mut app, Status::Paid);
    press(&mut app, KeyCode::Enter);
    let (order, frozen) = (app.jobs.order(), app.jobs.is_frozen());
    text(&mut app, "sS f/");
    assert!(!app.typing && app.jobs.detail);
    assert_eq!((app.jobs.order(), app.jobs.is_frozen()), (order, frozen));
    text(&mut app, "e");
    assert!(app.jobs.raw);
}

#[test]
fn what_a_key_led_to_is_said_until_the_next_key() {
    let mut app = busy();
    choose_job(&mut app, Status::Paid);
    text(&mut app, "c");
    assert!(app.message.is_some());
    text(&mut app, "b");
    assert!(app.message.is_none() && app.ask.is_some());
}

#[test]
fn another_theme_holds_at_once_whoever_changed_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vend.toml");
    crate::config::edit::init(&path).unwrap();
    let mut app = empty();
    for (name, saved) in [(ThemeName::Light, true), (ThemeName::Contrast, false)] {
        crate::config::edit::set(&path, "screen.theme", name.as_str()).unwrap();
        let read = crate::ui::settings_form::read(&path).unwrap();
        let input = if saved {
            Input::Saved(Ok(read))
        } else {
            Input::Fields(Ok(read))
        };
        app.handle(input);
        assert_eq!(app.theme.name, name);
    }
}

#[test]
fn control_z_asks_where_the_shop_would_stop_with_the_program() {
    let control_z = || {
        let key = KeyEvent::new(KeyCode::Char('z'), KeyModifiers::CONTROL);
        Input::Key(key)
    };
    let mut app = busy();
    assert!(app.handle(control_z()).is_empty());
    assert_eq!(app.ask, Some(Ask::Suspend));
    assert_eq!(text(&mut app, "z"), [Action::Suspend]);
    app.handle(control_z());
    assert_eq!(text(&mut app, "k"), [Action::Leave(Leave::Detach)]);
    app.handle(control_z());
    press(&mut app, KeyCode::Esc);
    assert_eq!(app.ask, None);
    // Only a viewer: the shop is another process, and sells on.
    app.attached = true;
    assert_eq!(app.handle(control_z()), [Action::Suspend]);
}

#[test]
fn keys_typed_into_a_field_do_nothing_else_and_esc_undoes() {
    let mut app = empty();
    choose(&mut app, "nostr.name");
    press(&mut app, KeyCode::Enter);
    assert!(text(&mut app, "qo1").is_empty());
    press(&mut app, KeyCode::Esc);
    assert!(app.form.edit.is_none());
    assert_eq!(app.tab, Tab::Settings);
}

/// Chooses the first job in this status.
fn choose_job(app: &mut App, status: Status) -> RequestId {
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
    let id = choose_job(&mut app, Status::Queued);
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
        choose_job(&mut app, status);
        assert!(text(&mut app, key).is_empty());
        assert_eq!(app.ask, None, "{status:?} {key}");
        assert!(app.message.take().is_some_and(|why| why.len() > 20));
    }
    let mut failed = job(30, Status::Error);
    failed.bolt11 = None;
    let id = failed.id;
    let kind = EventKind::Job {
        job: Box::new(failed),
        what: "run_failed".to_owned(),
    };
    tell(&mut app, kind);
    app.jobs.chosen = Some(id);
    assert_eq!(text(&mut app, "ry"), [Action::Send(Command::Retry { id })]);
    assert!(text(&mut app, "b").is_empty());
    assert!(matches!(app.ask, Some(Ask::Block(_))));
}

#[test]
fn y_and_one_key_copies_one_thing_of_a_job() {
    let mut app = busy();
    let id = choose_job(&mut app, Status::Paid);
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
    assert_eq!(app.jobs.listing(&app.store).total, 1);
    press(&mut app, KeyCode::Esc);
    assert_eq!(app.jobs.listing(&app.store).total, all as u64);
}

#[test]
fn a_frozen_feed_stays_as_it_is_and_counts_what_comes() {
    let mut app = busy();
    text(&mut app, "4 ");
    let before = app.feed.len();
    for _ in 0..crate::store::FEED_MAX + 10 {
        tell(&mut app, EventKind::Resync { missed: 1 });
    }
    assert_eq!(app.feed.len(), before);
    assert_eq!(app.feed.since, crate::store::FEED_MAX as u64 + 10);
    assert_eq!(app.feed.window(&app.store, 0, 100).count(), before);
    text(&mut app, " ");
    assert_eq!(app.feed.len(), crate::store::FEED_MAX);
    press(&mut app, KeyCode::Up);
    assert_eq!(app.feed.at(), app.feed.len() - 2);
    text(&mut app, "f");
    assert!(app.feed.chosen.is_none());
}

#[test]
fn the_feed_shows_only_a_level_and_a_category() {
    let mut app = busy();
    let all = app.feed.len();
    text(&mut app, "4ll");
    assert_eq!(app.feed.level, Some(crate::domain::event::Level::Warn));
    let serious = app.feed.len();
    assert!(serious > 0 && serious < all);
    tell(&mut app, EventKind::Resync { missed: 1 });
    assert_eq!(app.feed.len(), serious + 1, "a warning comes in");
    text(&mut app, "ll");
    assert_eq!((app.feed.level, app.feed.len()), (None, all + 1));
    text(&mut app, "c");
    let first = app.feed.category.clone().unwrap();
    let lines = app.feed.window(&app.store, 0, 1_000);
    assert!(
        lines
            .map(|(line, _)| &line.category)
            .all(|one| *one == first)
    );
    press(&mut app, KeyCode::Esc);
    assert_eq!((app.feed.category.clone(), app.feed.len()), (None, all + 1));
}

#[test]
fn the_feed_finds_words_and_goes_round_them() {
    let mut app = busy();
    text(&mut app, "4/relay.two");
    press(&mut app, KeyCode::Enter);
    assert!(app.feed.matches() >= 2);
    let last = app.feed.chosen;
    text(&mut app, "n");
    let first = app.feed.chosen;
    assert!(first < last, "round to the first");
    text(&mut app, "N");
    assert_eq!(app.feed.chosen, last);
    press(&mut app, KeyCode::Enter);
    assert!(app.feed.detail.is_some());
    let [Action::Copy(json)] = &text(&mut app, "y")[..] else {
        panic!("nothing copied")
    };
    assert!(json.contains("relay.two") && json.starts_with('{'));
    press(&mut app, KeyCode::Esc);
    assert!(app.feed.detail.is_none());
}

#[test]
fn the_index_of_the_feed_says_what_a_look_at_every_line_would() {
    let mut app = busy();
    text(&mut app, "4l/notice");
    press(&mut app, KeyCode::Enter);
    for number in 0..6_000_u32 {
        let level = if number % 3 == 0 {
            Level::Debug
        } else {
            Level::Warn
        };
        let kind = EventKind::Notice {
            level,
            category: "wallet".to_owned(),
            message: format!("{number}"),
        };
        tell(&mut app, kind);
    }
    let wanted: Vec<_> = app
        .store
        .feed()
        .iter()
        .filter(|line| line.level >= Level::Info)
        .collect();
    let shown: Vec<_> = app.feed.window(&app.store, 0, usize::MAX).collect();
    assert_eq!(shown.len(), wanted.len());
    assert!(
        shown
            .iter()
            .zip(&wanted)
            .all(|((shown, found), wanted)| shown == wanted && *found)
    );
}

#[test]
fn a_chosen_job_stays_chosen_while_others_come_in() {
    let mut app = busy();
    text(&mut app, "3j");
    let chosen = app.jobs.chosen;
    let kind = EventKind::Job {
        job: Box::new(crate::ui::sample::job(
            60,
            crate::domain::job::Status::Queued,
        )),
        what: "admitted".to_owned(),
    };
    tell(&mut app, kind);
    let listing = app.jobs.listing(&app.store);
    assert_eq!(app.jobs.at(&listing), 2);
    assert_eq!(listing.get(2).map(|job| job.id), chosen);
}

/// "Going offline" is no news once it is offline.
#[test]
fn an_answer_about_the_state_goes_with_the_state() {
    let mut app = busy();
    let state = |state| EventKind::State {
        state,
        detail: String::new(),
        since: crate::domain::time::Time(0),
        npub: String::new(),
    };
    tell(&mut app, state(ShopState::Draining));
    let detail = "going offline when the running jobs are done".to_owned();
    app.handle(Input::Reply(Reply::Done { detail }));
    tell(&mut app, state(ShopState::Draining));
    assert!(app.message.is_some());
    tell(&mut app, state(ShopState::Offline));
    assert_eq!(app.message, None);
}

/// Whoever is asked for a key presses it.
#[test]
fn a_key_that_is_pressed_where_a_key_is_asked_for_names_itself() {
    let mut app = busy();
    app.tab = Tab::Settings;
    choose(&mut app, "keys.online");
    press(&mut app, KeyCode::Enter);
    for _ in 0..9 {
        press(&mut app, KeyCode::Backspace);
    }
    let error = |app: &App| app.form.edit.as_ref().unwrap().error.clone();
    assert!(error(&app).unwrap().contains("type a key's name"));
    press(&mut app, KeyCode::F(8));
    press(&mut app, KeyCode::PageUp);
    let edit = app.form.edit.as_ref().unwrap();
    assert_eq!(edit.line.value(), "f8, pgup");
    assert!(error(&app).unwrap().contains("`page_up` too"));
    choose(&mut app, "text.model");
    app.form.edit = None;
    press(&mut app, KeyCode::Enter);
    let before = app.form.edit.as_ref().unwrap().line.value().to_owned();
    press(&mut app, KeyCode::F(8));
    assert_eq!(app.form.edit.as_ref().unwrap().line.value(), before);
}

#[test]
fn the_title_says_the_state_and_what_came_in_today() {
    let mut app = empty();
    let said = app.title().unwrap();
    assert!(
        said.starts_with("vend ") && said.ends_with("offline, 0 sats today"),
        "{said}"
    );
    app.screen.title = false;
    assert_eq!(app.title(), None);
}

#[test]
fn a_payment_rings_once_and_only_where_it_is_wanted() {
    let mut app = empty();
    let paid = || EventKind::Paid {
        id: RequestId(nostr::EventId::from_byte_array([1; 32])),
        amount_msat: crate::domain::msat::Msat(10_000),
        late: false,
    };
    tell(&mut app, paid());
    assert_eq!(app.rings(), None);
    app.screen.bell = BellKind::Notify;
    tell(&mut app, paid());
    let told = app.rings();
    assert_eq!(told, Some((BellKind::Notify, "10 sats came in".to_owned())));
    assert_eq!(app.rings(), None);
    // Cases that were there before it was opened ring nothing; one more does.
    for (cases, rings) in [(2, false), (2, false), (3, true), (1, false)] {
        let totals = crate::domain::stats::Totals {
            cases,
            ..crate::domain::stats::Totals::default()
        };
        let totals = Box::new(totals);
        tell(&mut app, EventKind::Totals { totals });
        assert_eq!(app.rings().is_some(), rings, "{cases}");
    }
}

#[test]
fn z_puts_selling_off_for_an_hour_and_takes_it_up_again() {
    let mut app = empty();
    assert!(
        text(&mut app, "z").is_empty(),
        "offline no work is taken anyway"
    );
    app.store.state = ShopState::Online;
    assert_eq!(
        text(&mut app, "z"),
        [Action::Send(Command::Snooze { secs: 3_600 })]
    );
    app.store.state = ShopState::Paused;
    app.store.detail = "on battery, until power returns".to_owned();
    assert_eq!(
        text(&mut app, "z"),
        [Action::Send(Command::Snooze { secs: 3_600 })]
    );
    app.store.detail = "snoozed, until 18:30 CET; on battery, until power returns".to_owned();
    assert_eq!(text(&mut app, "z"), [Action::Send(Command::Resume)]);
}
