//! The shop in other weathers: well, as a demo, on its way to be open, shut out, and under strangers' worst.

use super::{NOON, busy, empty, health, job, load, tell, totals};
use crate::domain::event::EventKind;
use crate::domain::health::{
    Check, CheckKind, CheckStatus, HealthLevel, RelayHealth, ShopState, WalletHealth,
};
use crate::domain::job::Status;
use crate::domain::msat::Msat;
use crate::domain::stats::ModelStats;
use crate::domain::time::Time;
use crate::ui::app::App;

/// Nothing is down, and the money is real.
pub fn well() -> App {
    let mut app = busy();
    app.store.checks.clear();
    let online = EventKind::State {
        state: ShopState::Online,
        detail: String::new(),
        since: Time(NOON),
        npub: app.store.npub.clone(),
    };
    let wallet = EventKind::Wallet {
        wallet: WalletHealth {
            backend: "lnbits".to_owned(),
            state: "up".to_owned(),
            health: HealthLevel::Ok,
            balance_msat: Some(Msat::from_sats(1_234)),
            can_receive_msat: Some(Msat::from_sats(500_000)),
            ..WalletHealth::default()
        },
    };
    let relay = EventKind::Relay {
        relay: RelayHealth {
            url: "wss://relay.two.example".to_owned(),
            health: HealthLevel::Ok,
            state: "subscribed".to_owned(),
            latency_ms: Some(45),
            ..RelayHealth::default()
        },
    };
    for kind in [online, wallet, relay, load()] {
        tell(&mut app, kind);
    }
    app
}

/// The demo: play money, and a line that says so on every tab.
pub fn demo() -> App {
    let mut app = busy();
    app.banner = Some("DEMO on this machine only".to_owned());
    app
}

/// Going online: the wallet is there, the model is awaited.
pub fn starting() -> App {
    let mut app = empty();
    let state = |state, detail: &str| EventKind::State {
        state,
        detail: detail.to_owned(),
        since: Time(NOON),
        npub: "npub1vend".to_owned(),
    };
    tell(
        &mut app,
        state(ShopState::Starting, "waiting for the wallet"),
    );
    let wallet = health().remove(2);
    tell(&mut app, wallet);
    tell(
        &mut app,
        state(ShopState::Starting, "waiting for the model"),
    );
    app
}

/// Going online failed.
pub fn failed() -> App {
    let mut app = starting();
    let words = "no endpoint has the model gemma2:latest: run `ollama pull gemma2:latest` or set text.model";
    let check = Check {
        check: CheckKind::Model,
        target: "gemma2:latest".to_owned(),
        status: CheckStatus::Fail,
        detail: words.to_owned(),
        fix: "ollama pull gemma2:latest".to_owned(),
    };
    tell(&mut app, EventKind::Check { check });
    let offline = EventKind::State {
        state: ShopState::Offline,
        detail: words.to_owned(),
        since: Time(NOON),
        npub: "npub1vend".to_owned(),
    };
    tell(&mut app, offline);
    app
}

/// What strangers could send to break the frame: wide and joined signs, marks, right to left, control sequences.
pub const STRANGE: &str = "\u{1b}[2J日本語 👨\u{200d}👩\u{200d}👧 👍🏽 🇩🇪 e\u{301}\u{301}\u{301}\u{301} \u{202e}שלום مرحبا لا 1\u{fe0f}\u{20e3} \u{3164}\u{9b}31m नमस्ते กำ";

/// Strangers' text wherever a stranger has a say.
pub fn hostile() -> App {
    let mut app = busy();
    for number in 60..64 {
        let status = Status::ALL[usize::from(number) % Status::ALL.len()];
        let mut one = job(number, status);
        one.model = Some(STRANGE.repeat(3));
        one.error = Some(STRANGE.to_owned());
        let what = STRANGE.to_owned();
        tell(
            &mut app,
            EventKind::Job {
                job: Box::new(one),
                what,
            },
        );
    }
    let mut running = job(65, Status::Processing);
    running.model = Some(STRANGE.to_owned());
    let relay = RelayHealth {
        url: format!("wss://{STRANGE}"),
        health: HealthLevel::Down,
        state: STRANGE.to_owned(),
        detail: STRANGE.repeat(2),
        ..RelayHealth::default()
    };
    let mut totals = totals();
    totals.drops.insert(STRANGE.to_owned(), u64::MAX);
    totals
        .models
        .insert(STRANGE.to_owned(), ModelStats::default());
    totals.funnel.seen = u64::MAX;
    totals.revenue_msat = Msat(crate::domain::msat::MAX_MSAT);
    let kind = [
        EventKind::Job {
            job: Box::new(running),
            what: STRANGE.to_owned(),
        },
        EventKind::Relay { relay },
        EventKind::Totals {
            totals: Box::new(totals),
        },
        EventKind::State {
            state: ShopState::Degraded,
            detail: STRANGE.to_owned(),
            since: Time(NOON),
            npub: STRANGE.to_owned(),
        },
    ];
    for kind in kind {
        tell(&mut app, kind);
    }
    app
}
