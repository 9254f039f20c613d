//! The steps of a first start, from a new shop to its first sale.

use super::*;
use crate::domain::command::{Command, Probe, Reply};
use crate::domain::health::{Check, CheckKind, CheckStatus, ShopState};
use crate::domain::time::Time;
use crate::ui::app::{Action, FirstStep};
use crate::ui::keymap::Tab;
use crate::ui::sample::NOON;

fn new() -> App {
    let mut app = empty();
    let told = EventKind::State {
        state: ShopState::Offline,
        detail: String::new(),
        since: Time(NOON),
        npub: "npub1vend0000000000000000000000000000000000000000000000000000000".to_owned(),
    };
    tell(&mut app, told);
    app
}

fn key(app: &mut App, code: KeyCode) -> Vec<Action> {
    app.handle(Input::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

fn tested(app: &mut App, what: Probe, check: CheckKind, status: CheckStatus, words: [&str; 2]) {
    let check = Check {
        check,
        target: "it".to_owned(),
        status,
        detail: words[0].to_owned(),
        fix: words[1].to_owned(),
    };
    let checks = vec![check];
    app.handle(Input::Tested(what, Reply::Tested { checks }));
}

#[test]
fn a_new_shop_shows_its_steps_in_every_size() {
    for (width, height) in [(60, 16), (80, 24), (200, 60)] {
        let shown = text(&new(), width, height);
        insta::assert_snapshot!(format!("first_start_{width}x{height}"), shown);
    }
}

#[test]
fn enter_on_the_last_step_goes_online_and_on_another_to_its_setting() {
    let mut app = new();
    assert_eq!(app.first_step(), FirstStep::Sale);
    assert_eq!(
        key(&mut app, KeyCode::Enter),
        [Action::Send(Command::GoOnline)]
    );
    for (step, name) in [
        (FirstStep::Relays, "nostr.relays"),
        (FirstStep::Model, "text.model"),
        (FirstStep::Wallet, "wallet.backend"),
    ] {
        let mut app = new();
        while app.first_step() != step {
            key(&mut app, KeyCode::Up);
        }
        assert_eq!(key(&mut app, KeyCode::Enter), [Action::Load]);
        assert_eq!(app.tab, Tab::Settings);
        assert_eq!(app.form.cell().map(|cell| &*cell.field.name), Some(name));
    }
}

#[test]
fn everything_is_checked_at_once_and_the_cursor_goes_to_what_failed() {
    let mut app = new();
    let sent = key(&mut app, KeyCode::Char('t'));
    let of = |probe: &Probe| {
        Action::Send(Command::Test {
            what: probe.clone(),
        })
    };
    assert!(sent.contains(&of(&Probe::Wallet)), "{sent:?}");
    let relays = |action: &&Action| {
        matches!(
            action,
            Action::Send(Command::Test {
                what: Probe::Relay { .. }
            })
        )
    };
    assert!(sent.iter().any(|one| relays(&one)), "{sent:?}");
    assert!(text(&app, 80, 24).contains("is being checked"));
    // Asked again while it runs, nothing is sent twice.
    assert!(key(&mut app, KeyCode::Char('t')).is_empty());
    for action in &sent {
        let Action::Send(Command::Test { what }) = action else {
            panic!("{action:?}");
        };
        match what {
            Probe::Wallet => tested(
                &mut app,
                what.clone(),
                CheckKind::Wallet,
                CheckStatus::Fail,
                ["refused the key", "vend config set wallet.api_key"],
            ),
            Probe::Relay { .. } => tested(
                &mut app,
                what.clone(),
                CheckKind::Relay,
                CheckStatus::Ok,
                ["listens", ""],
            ),
            Probe::Endpoint { .. } => tested(
                &mut app,
                what.clone(),
                CheckKind::Model,
                CheckStatus::Ok,
                ["31 tok/s", ""],
            ),
        }
    }
    let shown = text(&app, 80, 24);
    assert!(shown.contains("refused the key"), "{shown}");
    assert!(shown.contains("vend config set wallet.api_key"), "{shown}");
    assert!(shown.contains("31 tok/s"), "{shown}");
    assert_eq!(app.first_step(), FirstStep::Wallet);
}

#[test]
fn the_steps_are_gone_with_the_first_sale() {
    let mut app = new();
    assert!(text(&app, 80, 24).contains("first sale"));
    let mut totals = app.store.totals.clone();
    (totals.jobs, totals.successful, totals.funnel.paid) = (1, 1, 1);
    tell(
        &mut app,
        EventKind::Totals {
            totals: Box::new(totals),
        },
    );
    assert!(!text(&app, 80, 24).contains("first sale"));
    // Enter is the button again, and nothing is checked from here.
    assert_eq!(
        key(&mut app, KeyCode::Enter),
        [Action::Send(Command::GoOnline)]
    );
    assert!(key(&mut app, KeyCode::Char('t')).is_empty());
}
