//! Tests that somebody asks for: one relay, one inference server, or the wallet, as the settings file now has it. They run
//! beside the shop, so that no command waits for them.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::context::EngineContext;
use super::preflight::Place;
use super::probe;
use crate::config;
use crate::domain::command::{Probe, Reply};
use crate::domain::health::CheckStatus;

/// The most tests at once.
const TRIALS_MAX: usize = 16;

/// The tests that run. Dropped, they are broken off.
#[derive(Debug, Default)]
pub struct OnDemandChecks {
    tasks: JoinSet<()>,
    running: Vec<(tokio::task::Id, Probe)>,
}

impl OnDemandChecks {
    /// Begins a test; the answer comes when it ends. One of the same thing at a time.
    pub fn begin(
        &mut self,
        shop: &Arc<EngineContext>,
        place: &Place,
        what: Probe,
        back: oneshot::Sender<Reply>,
    ) {
        self.tidy();
        let refusal = if self.running.iter().any(|(_, running)| *running == what) {
            Some("a test of it is running already")
        } else if self.running.len() >= TRIALS_MAX {
            Some("too many tests are running; try again when one has ended")
        } else {
            None
        };
        if let Some(detail) = refusal {
            // Whoever asked may be gone.
            let _ = back.send(Reply::Refused {
                detail: detail.to_owned(),
            });
            return;
        }
        let (shop, place, asked) = (shop.clone(), place.clone(), what.clone());
        let task = self.tasks.spawn(async move {
            // Whoever asked may be gone.
            let _ = back.send(look(&shop, &place, &asked).await);
        });
        self.running.push((task.id(), what));
    }

    /// Forgets those that have ended.
    fn tidy(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            let id = match ended {
                Ok((id, ())) => id,
                Err(error) => error.id(),
            };
            self.running.retain(|(running, _)| *running != id);
        }
    }

    /// Breaks off what still runs.
    pub async fn end(&mut self) {
        self.tasks.shutdown().await;
    }
}

async fn look(shop: &Arc<EngineContext>, place: &Place, what: &Probe) -> Reply {
    let mut settings = match config::load::load(&place.config) {
        Ok(settings) => settings,
        Err(error) => {
            return Reply::Refused {
                detail: error.to_string(),
            };
        }
    };
    let checks = match what {
        Probe::Relay { url } => {
            vec![probe::relay(url, &shop.keys, shop.settings().nostr.max_pow_bits).await]
        }
        Probe::Endpoint { name } => {
            settings.endpoints.0.retain(|one| one.name == *name);
            if settings.endpoints.0.is_empty() {
                return Reply::Refused {
                    detail: "the settings file has no inference server of this name; save first"
                        .to_owned(),
                };
            }
            let checks = probe::endpoints(&settings, place).await;
            // It was closed until somebody looks, and somebody has.
            if let Some(connections) = shop.connections()
                && checks.iter().all(|row| row.status != CheckStatus::Fail)
            {
                connections.pool.reopen(name);
            }
            checks
        }
        Probe::Wallet => {
            // While the shop is open its own wallet is used where the file still means it: a second one beside it would be
            // another client.
            let open = shop.wallet().filter(|_| shop.connections().is_some());
            match open.filter(|_| shop.settings().wallet == settings.wallet) {
                Some(wallet) => probe::opened(&settings, &*wallet).await,
                None => probe::wallet(&settings, place).await,
            }
        }
    };
    Reply::Tested { checks }
}
