//! How it is going, as `vend status` asks for it and as a viewer that has just come is told it.

use std::sync::Arc;

use super::context::{EngineContext, StartReport};
use super::stats;
use crate::config::Settings;
use crate::config::edit::mask_address;
use crate::config::schema::Backend;
use crate::domain::command::Reply;
use crate::domain::event::EventKind;
use crate::domain::health::{
    EndpointHealth, HealthLevel, MoneyNow, QueueHealth, RelayHealth, ShopState, Status,
    WalletHealth,
};
use crate::domain::id::EndpointName;
use crate::domain::time::Time;
use crate::ledger::JobFilter;

/// Jobs told in a snapshot.
const SNAPSHOT_JOBS: u32 = 500;

/// The status. While offline it names the relays and servers of the settings, none of them looked at.
pub fn status(shop: &EngineContext) -> Status {
    let now = shop.now.borrow().clone();
    let (relays, endpoints) = if let Some(connections) = shop.connections() {
        (connections.relays.health(), connections.pool.health())
    } else {
        let configured = configured(&shop.settings(), now.state, now.since);
        as_seen(configured, &shop.seen())
    };
    let (waiting, running) = shop.ledger.queue_counts();
    Status {
        online: now.state.sells(),
        state: now.state,
        detail: now.detail,
        since: now.since,
        relays,
        endpoints,
        wallet: wallet(shop),
        queue: QueueHealth { waiting, running },
        money: MoneyNow::default(),
        npub: shop.npub(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
    }
}

/// The status with what the ledger knows of the money.
pub async fn answer(shop: Arc<EngineContext>) -> Reply {
    let mut status = status(&shop);
    match shop.ledger.money(Time::now()).await {
        Ok(money) => status.money = money,
        // The state is told all the same; what is wrong with the ledger is in it from now on.
        Err(error) => shop.ledger_failed(&error),
    }
    Reply::Status {
        status: Box::new(status),
    }
}

/// The relays and servers of the settings, in their order, before anybody has looked at them.
fn configured(
    settings: &Settings,
    state: ShopState,
    since: Time,
) -> (Vec<RelayHealth>, Vec<EndpointHealth>) {
    let detail = match state {
        ShopState::Offline | ShopState::Stopping => "not connected while offline",
        _ => "not connected yet",
    };
    let relay = |url: &String| RelayHealth {
        url: mask_address(url),
        state: "off".to_owned(),
        detail: detail.to_owned(),
        since,
        ..RelayHealth::default()
    };
    let endpoint = |one: &crate::config::schema::Endpoint| EndpointHealth {
        name: EndpointName(one.name.clone()),
        kind: one.kind.as_str().to_owned(),
        url: mask_address(&one.url),
        state: "off".to_owned(),
        health: HealthLevel::Unknown,
        detail: detail.to_owned(),
        models: one.models.clone(),
        running: 0,
        slots: one.slots,
        tokens_per_second: None,
    };
    (
        settings.nostr.relays.iter().map(relay).collect(),
        settings.endpoints.0.iter().map(endpoint).collect(),
    )
}

/// What a start that failed has seen takes the place of what is not known.
fn as_seen(
    (mut relays, mut endpoints): (Vec<RelayHealth>, Vec<EndpointHealth>),
    seen: &StartReport,
) -> (Vec<RelayHealth>, Vec<EndpointHealth>) {
    for relay in &mut relays {
        if let Some(seen) = seen.relays.iter().find(|seen| seen.url == relay.url) {
            relay.clone_from(seen);
        }
    }
    for endpoint in &mut endpoints {
        if let Some(seen) = seen
            .endpoints
            .iter()
            .find(|seen| seen.name == endpoint.name)
        {
            endpoint.clone_from(seen);
        }
    }
    (relays, endpoints)
}

/// Tells what a start that failed has seen: being offline has taken it off the screens.
pub fn tell_seen(shop: &EngineContext) {
    let seen = shop.seen();
    for relay in seen.relays {
        shop.emit(EventKind::Relay { relay });
    }
    for endpoint in seen.endpoints {
        shop.emit(EventKind::Endpoint { endpoint });
    }
}

/// The wallet's health; before anybody has looked at it, which one the settings name, and whether its money is real.
fn wallet(shop: &EngineContext) -> WalletHealth {
    let health = shop.wallet_health.borrow().clone();
    let backend = shop.settings().wallet.backend;
    if health.backend == backend.as_str() || shop.connections().is_some() {
        return health;
    }
    WalletHealth {
        backend: backend.as_str().to_owned(),
        state: "off".to_owned(),
        detail: "not looked at yet".to_owned(),
        sandbox: backend == Backend::Sandbox,
        ..WalletHealth::default()
    }
}

/// Tells of the wallet, as it is or as the settings name it.
pub fn emit_wallet(shop: &EngineContext) {
    shop.emit(EventKind::Wallet {
        wallet: wallet(shop),
    });
}

/// Tells everything as it is, so that a viewer that has just come knows all.
pub async fn snapshot(shop: &EngineContext) -> Reply {
    let status = status(shop);
    shop.emit_state();
    // What is not connected has no light: its place on the screen says so for all of it.
    if shop.connections().is_some() {
        for relay in status.relays {
            shop.emit(EventKind::Relay { relay });
        }
        for endpoint in status.endpoints {
            shop.emit(EventKind::Endpoint { endpoint });
        }
    } else {
        tell_seen(shop);
    }
    emit_wallet(shop);
    shop.emit(EventKind::Queue {
        waiting: status.queue.waiting,
        running: status.queue.running,
    });
    stats::tell(shop).await;
    shop.wakers.load.notify_one();
    let filter = JobFilter {
        limit: Some(SNAPSHOT_JOBS),
        ..JobFilter::default()
    };
    match shop.ledger.jobs(filter).await {
        Ok(jobs) => {
            for job in jobs.into_iter().rev() {
                shop.emit(EventKind::Job {
                    job: Box::new(job.view()),
                    what: "known".to_owned(),
                });
            }
            Reply::Done {
                detail: "told".to_owned(),
            }
        }
        Err(error) => Reply::Refused {
            detail: error.to_string(),
        },
    }
}
