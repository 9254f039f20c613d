//! The ways on which news leaves this room, one for each kind: a flood of requests holds up no cancel and no health.

use nostr::Kind;
use tokio::sync::mpsc;

use super::RelayEvent;
use crate::domain::announce::{FLEETING_PING, PING};

/// Requests that may wait. Each may have as many bytes as an event may; beyond it they are asked for again later.
const REQUESTS: usize = 512;
/// Cancels that may wait.
const CANCELS: usize = 256;
/// Zap receipts that may wait; more are passed over until they are asked for again.
const ZAPS: usize = 64;
/// Health, cursors and the like, which are small.
const SIGNS: usize = 1_024;

/// The sending ends.
#[derive(Clone, Debug)]
pub struct Outlets {
    /// Requests.
    pub requests: mpsc::Sender<RelayEvent>,
    /// Cancels (kind 5, NIP-09).
    pub cancels: mpsc::Sender<RelayEvent>,
    /// Zap receipts (kind 9735, NIP-57).
    pub zaps: mpsc::Sender<RelayEvent>,
    /// Health, cursors, notices, forged events, pings.
    pub signs: mpsc::Sender<RelayEvent>,
}

/// The receiving ends.
#[derive(Debug)]
pub struct Inlets {
    /// Requests.
    pub requests: mpsc::Receiver<RelayEvent>,
    /// Cancels.
    pub cancels: mpsc::Receiver<RelayEvent>,
    /// Zap receipts.
    pub zaps: mpsc::Receiver<RelayEvent>,
    /// Health, cursors, notices, forged events.
    pub signs: mpsc::Receiver<RelayEvent>,
}

/// Both ends, each way with its own bound.
#[must_use]
pub fn outlets() -> (Outlets, Inlets) {
    let (requests, from_requests) = mpsc::channel(REQUESTS);
    let (cancels, from_cancels) = mpsc::channel(CANCELS);
    let (zaps, from_zaps) = mpsc::channel(ZAPS);
    let (signs, from_signs) = mpsc::channel(SIGNS);
    (
        Outlets {
            requests,
            cancels,
            zaps,
            signs,
        },
        Inlets {
            requests: from_requests,
            cancels: from_cancels,
            zaps: from_zaps,
            signs: from_signs,
        },
    )
}

impl Outlets {
    /// The way of an event.
    pub(super) fn of(&self, kind: Kind) -> &mpsc::Sender<RelayEvent> {
        match kind {
            Kind::EventDeletion => &self.cancels,
            Kind::ZapReceipt => &self.zaps,
            kind if [PING, FLEETING_PING].contains(&kind.as_u16()) => &self.signs,
            _ => &self.requests,
        }
    }
}

/// All on one way, for whoever needs no more.
impl From<mpsc::Sender<RelayEvent>> for Outlets {
    fn from(all: mpsc::Sender<RelayEvent>) -> Self {
        Self {
            requests: all.clone(),
            cancels: all.clone(),
            zaps: all.clone(),
            signs: all,
        }
    }
}
