//! What the watching of an invoice needs to know of it: nothing that a stranger could make long.

use std::time::Duration;

use super::next_poll;
use crate::domain::id::{PaymentHash, RequestId};
use crate::domain::job::{InvoiceState, Job, MadeBy, PayOrder};
use crate::domain::time::Time;

/// An invoice that may still bring money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Its job.
    pub id: RequestId,
    /// Its payment hash.
    pub hash: PaymentHash,
    /// The wallet that made it.
    pub made_by: MadeBy,
    /// Its own timestamp.
    pub made_at: Time,
    /// When it expires.
    pub expires_at: Time,
    /// Looks after expiry that the wallet answered.
    pub late_polls: u32,
    /// The longest gap between two looks.
    pub check_every: Duration,
    /// Its payment would be held, and counts from a look at this invoice alone.
    pub holds: bool,
}

impl Watched {
    /// The invoice of a job, where it is to be watched. What is held is looked after elsewhere.
    #[must_use]
    pub fn of(job: &Job) -> Option<Self> {
        let invoice = job.invoice.as_ref()?;
        let watched = matches!(
            invoice.state,
            InvoiceState::Open | InvoiceState::Expired | InvoiceState::GivenBack
        );
        if !watched {
            return None;
        }
        Some(Self {
            id: job.id,
            hash: invoice.payment_hash?,
            made_by: invoice.made_by(),
            made_at: invoice.made_at?,
            expires_at: invoice.expires_at?,
            late_polls: invoice.late_polls,
            check_every: Duration::from_secs(job.terms.check_every_secs),
            holds: job.terms.order == PayOrder::Hold,
        })
    }

    /// When to look next, where a look ended at `now`; none where all looks were answered.
    #[must_use]
    pub fn next_poll(&self, now: Time) -> Option<Time> {
        next_poll(
            self.made_at,
            self.expires_at,
            now,
            self.late_polls,
            self.check_every,
        )
    }
}
