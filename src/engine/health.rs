//! Keeps the health indicators true while the shop is open: online, or degraded with what is down.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::context::{Connections, EngineContext};
use crate::domain::event::{EventKind, Level};
use crate::domain::health::{EndpointHealth, HealthLevel, RelayHealth, ShopState};

/// Between two looks at endpoints and wallet.
const EVERY: Duration = Duration::from_secs(15);

/// Works until `stop`.
pub async fn watch(shop: Arc<EngineContext>, connections: Connections, stop: CancellationToken) {
    let mut told: Vec<EndpointHealth> = connections.pool.health();
    let mut looked = tokio::time::Instant::now();
    loop {
        judge(&shop, &connections);
        emit_endpoints(&shop, &connections, &mut told);
        tokio::select! {
            () = stop.cancelled() => return,
            () = shop.wakers.health.notified() => {}
            () = tokio::time::sleep_until(looked + EVERY) => {
                looked = tokio::time::Instant::now();
                tokio::join!(
                    connections.pool.refresh(),
                    shop.look_at_wallet(),
                    look_at_ledger(&shop)
                );
            }
        }
    }
}

/// A ledger that failed is tried again, so that it is not called broken until the next job comes.
async fn look_at_ledger(shop: &EngineContext) {
    if shop.ledger_trouble().is_some() && shop.ledger.probe().await.is_ok() {
        shop.ledger_works();
    }
}

fn emit_endpoints(shop: &EngineContext, connections: &Connections, told: &mut Vec<EndpointHealth>) {
    let now = connections.pool.health();
    for endpoint in &now {
        if !told.contains(endpoint) {
            shop.emit(EventKind::Endpoint {
                endpoint: endpoint.clone(),
            });
        }
    }
    *told = now;
}

/// One sentence for each thing that is down; none: all is well.
fn judge(shop: &EngineContext, connections: &Connections) {
    let before = shop.now.borrow().state;
    if !before.is_open() {
        return;
    }
    let mut down: Vec<String> = shop.cramped().into_iter().collect();
    down.extend(shop.ledger_trouble());
    down.extend(shop.twins.words());
    let clock = shop.clock.fault();
    down.extend(
        clock
            .filter(|fault| fault.health == HealthLevel::Down)
            .map(|fault| fault.words),
    );
    let relays = connections.relays.health();
    for relay in relays
        .iter()
        .filter(|relay| relay.health == HealthLevel::Down)
    {
        down.push(format!("relay {}: {}", relay.url, relay.detail));
    }
    let wants = connections.relays.wants();
    if !wants.is_empty() && wants.iter().all(|relay| relay.left_out) {
        down.push(
            "no relay takes our events: each wants more proof of work than nostr.max_pow_bits"
                .to_owned(),
        );
    }
    let unsure =
        |relay: &&RelayHealth| relay.state == "subscribed" && relay.health == HealthLevel::Warn;
    if !relays.iter().any(|relay| relay.health == HealthLevel::Ok) {
        // Online and green means that a request would be heard.
        let words = |relay: &RelayHealth| format!("relay {}: {}", relay.url, relay.detail);
        down.extend(relays.iter().filter(unsure).map(words));
    }
    for endpoint in connections.pool.health() {
        if endpoint.health == HealthLevel::Down {
            down.push(format!("endpoint {}: {}", endpoint.name, endpoint.detail));
        }
    }
    let wallet = shop.wallet_health.borrow().clone();
    if wallet.health == HealthLevel::Down {
        down.push(format!("wallet {}: {}", wallet.backend, wallet.detail));
    }
    let trouble = !down.is_empty();
    let state = if let Some(pause) = shop.pause() {
        down.insert(0, pause.words);
        ShopState::Paused
    } else if trouble {
        ShopState::Degraded
    } else {
        ShopState::Online
    };
    shop.set_state(state, &down.join("; "));
    if before == ShopState::Online && state == ShopState::Degraded {
        shop.notice(Level::Warn, "shop", &down.join("; "));
    }
}
