//! What the seller decided about a buyer. Kept in the ledger, so that it outlasts restarts and every save of the settings.

use serde::{Deserialize, Serialize};

use super::id::Buyer;
use super::msat::Msat;
use super::time::Time;

/// A decision about a buyer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Decision {
    /// It is served no more.
    Block,
    /// It is served again.
    Unblock,
    /// It may owe more than others.
    Trust {
        /// How much, sats; none: as much as all buyers together may.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        credit_sats: Option<u64>,
    },
}

/// How a buyer stands with the shop; the default is that of a stranger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Never served.
    pub blocked: bool,
    /// May owe more than others.
    pub trusted: bool,
    /// What it may owe, where that was said.
    pub credit_sats: Option<u64>,
}

impl Standing {
    /// How it stands after a decision. A buyer that is blocked is no longer trusted, and one that is trusted is not blocked.
    #[must_use]
    pub const fn after(self, decision: Decision) -> Self {
        match decision {
            Decision::Block => Self {
                blocked: true,
                trusted: false,
                credit_sats: None,
            },
            Decision::Unblock => Self {
                blocked: false,
                ..self
            },
            Decision::Trust { credit_sats } => Self {
                blocked: false,
                trusted: true,
                credit_sats,
            },
        }
    }

    /// What it may owe, sats: by the decision, or else as everybody (`of_one`). The limit of all together (`of_all`) holds too.
    #[must_use]
    pub const fn credit_limit(self, of_one: u64, of_all: u64) -> u64 {
        match (self.blocked, self.trusted, self.credit_sats) {
            (true, ..) => 0,
            (_, _, Some(sats)) => sats,
            (_, true, None) => of_all,
            (_, false, None) => of_one,
        }
    }
}

/// A buyer in `vend buyers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuyerRow {
    /// Hex.
    pub buyer: Buyer,
    /// As people read it.
    pub npub: String,
    /// Jobs that were admitted.
    pub asked: u64,
    /// Of those, delivered.
    pub delivered: u64,
    /// Of those, paid.
    pub paid: u64,
    /// What was paid.
    pub paid_msat: Msat,
    /// What it owes us: delivered and not paid.
    pub owed_msat: Msat,
    /// What it has left with us.
    pub balance_msat: Msat,
    /// What it may owe before payment is asked first.
    pub credit_limit_sats: u64,
    /// Never served.
    pub blocked: bool,
    /// May owe more than others.
    pub trusted: bool,
    /// Its first job; none where it is known by a decision alone.
    pub first_seen: Option<Time>,
    /// Its last job.
    pub last_seen: Option<Time>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_replaces_what_it_contradicts() {
        let trusted = Standing::default().after(Decision::Trust {
            credit_sats: Some(7),
        });
        assert_eq!(trusted.credit_limit(100, 5_000), 7);
        let blocked = trusted.after(Decision::Block);
        assert_eq!(
            (
                blocked.blocked,
                blocked.trusted,
                blocked.credit_limit(100, 5_000)
            ),
            (true, false, 0)
        );
        let again = blocked.after(Decision::Unblock);
        assert_eq!(again, Standing::default());
        assert_eq!(again.credit_limit(100, 5_000), 100);
        let open = again.after(Decision::Trust { credit_sats: None });
        assert_eq!(open.credit_limit(100, 5_000), 5_000);
    }
}
