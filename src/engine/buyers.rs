//! What the seller decided about buyers. It is in the ledger; what admission asks at each request is held here too.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use nostr::PublicKey;
use nostr::nips::nip19::ToBech32;

use super::context::EngineContext;
use crate::config::Settings;
use crate::domain::command::Reply;
use crate::domain::event::{EventKind, Level};
use crate::domain::id::Buyer;
use crate::domain::standing::{Decision, Standing};
use crate::ledger::LedgerError;

/// How buyers stand, as the ledger has it.
#[derive(Debug, Default)]
pub struct Standings(RwLock<Arc<HashMap<PublicKey, Standing>>>);

impl Standings {
    fn all(&self) -> Arc<HashMap<PublicKey, Standing>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.clone()
    }

    fn put(&self, all: HashMap<PublicKey, Standing>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(all);
    }
}

impl EngineContext {
    /// How a buyer stands by what was decided about it; a list in the settings may block it all the same.
    #[must_use]
    pub fn standing(&self, buyer: &PublicKey) -> Standing {
        self.standings.all().get(buyer).copied().unwrap_or_default()
    }

    /// Reads what was decided.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn read_standings(&self) -> Result<(), LedgerError> {
        self.standings.put(self.ledger.standings().await?);
        Ok(())
    }
}

/// Writes a decision down, and brings it into force at once.
pub async fn decide(shop: Arc<EngineContext>, buyer: String, decision: Decision) -> Reply {
    let Ok(key) = PublicKey::parse(&buyer) else {
        return Reply::Refused {
            detail: "a buyer is an npub or 64 hex digits".to_owned(),
        };
    };
    let decided = shop.ledger.decide_on(Buyer(key), decision).await;
    let standing = match decided {
        Ok(standing) => standing,
        Err(error) => {
            shop.ledger_failed(&error);
            return Reply::Refused {
                detail: error.to_string(),
            };
        }
    };
    // Read again as a whole: two decisions at once come to the same, whichever is last.
    if let Err(error) = shop.read_standings().await {
        shop.ledger_failed(&error);
    }
    let detail = told(&key, standing, &shop.settings());
    shop.emit(EventKind::Notice {
        level: Level::Info,
        category: "shop".to_owned(),
        message: detail.clone(),
    });
    Reply::Done { detail }
}

/// How a buyer stands, as a sentence.
#[must_use]
pub fn told(key: &PublicKey, standing: Standing, settings: &Settings) -> String {
    let who = key.to_bech32().unwrap_or_else(|_| key.to_hex());
    if standing.blocked {
        return format!("{who} is blocked, until `vend buyers unblock`");
    }
    if is_listed(&settings.limits.block, key) {
        return format!(
            "{who} is no longer blocked by you, but limits.block in the settings names it still"
        );
    }
    let payment = &settings.payment;
    let limit = standing.credit_limit(payment.credit_sats, payment.unpaid_sats_total);
    if standing.trusted {
        format!("{who} is trusted, and may owe {limit} sats")
    } else {
        format!("{who} is served like everybody")
    }
}

/// Does a list of the settings name this buyer?
#[must_use]
pub fn is_listed(list: &[String], buyer: &PublicKey) -> bool {
    list.iter()
        .any(|key| PublicKey::parse(key).is_ok_and(|key| key == *buyer))
}
