//! A glance: in every state and size the one line that matters is there, and what to press or to do about it.

use super::*;
use crate::domain::health::{EndpointHealth, HealthLevel, RelayHealth, ShopState, WalletHealth};
use crate::domain::id::EndpointName;
use crate::domain::msat::Msat;
use crate::domain::stats::Totals;
use crate::domain::time::Time;
use crate::ui::sample::{NOON, well};

const SIZES: [(u16, u16); 3] = [(60, 16), (80, 24), (200, 60)];

fn state(app: &mut App, state: ShopState, detail: &str) {
    let told = EventKind::State {
        state,
        detail: detail.to_owned(),
        since: Time(NOON),
        npub: "npub1vend0000000000000000000000000000000000000000000000000000000".to_owned(),
    };
    tell(app, told);
}

fn new() -> App {
    let mut app = empty();
    state(&mut app, ShopState::Offline, "");
    app
}

fn no_wallet() -> App {
    let mut app = well();
    let wallet = WalletHealth {
        backend: "lnbits".to_owned(),
        state: "down".to_owned(),
        health: HealthLevel::Down,
        detail: "connection refused".to_owned(),
        ..WalletHealth::default()
    };
    tell(&mut app, EventKind::Wallet { wallet });
    state(&mut app, ShopState::Degraded, "the wallet is down");
    app
}

fn no_model() -> App {
    let mut app = well();
    let endpoint = EndpointHealth {
        name: EndpointName("local".to_owned()),
        kind: "ollama".to_owned(),
        url: "http://127.0.0.1:11434".to_owned(),
        state: "down".to_owned(),
        health: HealthLevel::Down,
        detail: "connection refused".to_owned(),
        models: Vec::new(),
        running: 0,
        slots: 1,
        tokens_per_second: None,
    };
    tell(&mut app, EventKind::Endpoint { endpoint });
    state(&mut app, ShopState::Degraded, "local is down");
    app
}

fn offline_relay() -> App {
    let mut app = well();
    for url in ["wss://relay.one.example", "wss://relay.two.example"] {
        let relay = RelayHealth {
            url: url.to_owned(),
            health: HealthLevel::Down,
            state: "down".to_owned(),
            detail: "refused; next try in 8 s".to_owned(),
            ..RelayHealth::default()
        };
        tell(&mut app, EventKind::Relay { relay });
    }
    state(&mut app, ShopState::Degraded, "no relay is connected");
    app
}

fn paused() -> App {
    let mut app = well();
    state(
        &mut app,
        ShopState::Paused,
        "outside machine.hours, until 22:00",
    );
    app
}

fn figures(change: impl FnOnce(&mut Totals)) -> App {
    let mut app = well();
    let mut totals = app.store.totals.clone();
    change(&mut totals);
    let totals = Box::new(totals);
    tell(&mut app, EventKind::Totals { totals });
    app
}

fn unpaid() -> App {
    figures(|totals| {
        for hour in totals.hours.values_mut() {
            (hour.paid, hour.revenue_msat) = (0, Msat::ZERO);
        }
    })
}

fn full_disk() -> App {
    let mut app = well();
    let words =
        "disk: 12 MB are free for the ledger, and below 200 MB no job is taken: free some space";
    state(&mut app, ShopState::Degraded, words);
    app
}

fn draining() -> App {
    let mut app = well();
    state(&mut app, ShopState::Draining, "1 job is running");
    app
}

/// A state, and the words that must stand there: what is so, and what to press or do.
type Glance = (&'static str, fn() -> App, &'static [&'static str]);

const GLANCES: [Glance; 10] = [
    (
        "new",
        new,
        &[
            "not selling: the shop is offline",
            "GO ONLINE ] o",
            "t check all",
            "first sale",
        ],
    ),
    (
        "no wallet",
        no_wallet,
        &["no sales: the wallet is down", "run `vend doctor`"],
    ),
    (
        "no model",
        no_model,
        &["no sales: no model answers", "start the model server"],
    ),
    (
        "offline relay",
        offline_relay,
        &[
            "no sales: no relay can be reached",
            "is this machine on the net?",
        ],
    ),
    (
        "paused by hours",
        paused,
        &["outside machine.hours, until 22:00", "it goes on by itself"],
    ),
    (
        "selling",
        well,
        &["earning: ", "GO OFFLINE ] o", "z snooze"],
    ),
    (
        "unpaid",
        unpaid,
        &["not paid yet: 42 sats open", "until their invoices expire"],
    ),
    (
        "needs you",
        || figures(|totals| totals.cases = 2),
        &["2 cases need you", "d on the Jobs tab"],
    ),
    (
        "full disk",
        full_disk,
        &["no job is taken: disk: 12 MB are free", "free some space"],
    ),
    (
        "draining",
        draining,
        &["takes no more jobs: finishing the running ones", "o "],
    ),
];

#[test]
fn in_ten_states_and_three_sizes_a_glance_tells_what_matters() {
    for (name, sample, words) in GLANCES {
        for (width, height) in SIZES {
            let mut app = sample();
            app.handle(Input::Size(width, height));
            let shown = text(&app, width, height);
            // A sentence may go on in the next line.
            let joined = shown.split_whitespace().collect::<Vec<_>>().join(" ");
            for words in words {
                assert!(
                    joined.contains(words.trim()),
                    "{name} at {width}x{height}: {words:?} is missing in\n{shown}"
                );
            }
        }
    }
}

/// What was said of a pause goes with it.
#[test]
fn a_pause_that_is_over_is_not_told_of_any_more() {
    let mut app = paused();
    let say = |app: &mut App, message: &str| {
        let (level, category) = (Level::Info, "shop".to_owned());
        let message = message.to_owned();
        let notice = EventKind::Notice {
            level,
            category,
            message,
        };
        tell(app, notice);
    };
    say(&mut app, "paused: snoozed until 12:00");
    assert!(text(&app, 80, 24).contains("shop: paused: snoozed"));
    state(&mut app, ShopState::Offline, "");
    assert!(!text(&app, 80, 24).contains("snoozed until"));

    let mut app = paused();
    say(&mut app, "no longer paused");
    state(&mut app, ShopState::Online, "");
    assert!(text(&app, 80, 24).contains("shop: no longer paused"));
    state(&mut app, ShopState::Offline, "");
    assert!(!text(&app, 80, 24).contains("no longer paused"));
}
