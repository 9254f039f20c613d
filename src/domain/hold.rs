//! Hold invoices: how long a buyer's payment may be held, and what is to be done about one that is.
//!
//! A held payment is a chain of promises along the route (HTLCs), each with a block height at which it falls back. The last
//! one lasts for at least the invoice's final CLTV delta (BOLT 11 field `c`), counted from the block in which it was
//! promised. LND gives a held payment back by itself 12 blocks before that end (its `invoices.holdexpirydelta`), so those
//! do not count. Blocks come at random, every ten minutes on average; here a block is taken for four minutes. Of 6 blocks
//! (delta 18, BOLT 11's least) the time so reckoned runs out too early 1 time in 28, of 68 (delta 80, LND's) practically
//! never.

use std::time::Duration;

use super::invoice;
use super::job::{InvoiceState, Job, PayOrder, State};
use super::time::Time;

/// Blocks at the end of a promise in which a wallet gives back by itself.
const RESERVE_BLOCKS: u64 = 12;
/// What one block counts for.
const BLOCK: Duration = Duration::from_secs(240);
/// Kept free at the end, to take the payment or to give it back in good order.
pub const TO_SETTLE: Duration = Duration::from_secs(120);
/// No payment is held for longer than this and the work's own time, whatever the invoice allows: it is the buyer's money,
/// and it holds up others' channels.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
/// A promise without a delta has this many blocks (BOLT 11).
const LEAST_DELTA: u64 = 18;

/// How long the payment of an invoice with this final CLTV delta (blocks) lasts; zero where it is not sure to last at all.
#[must_use]
pub fn lasts(delta: u64) -> Duration {
    let blocks = delta.saturating_sub(RESERVE_BLOCKS).min(100_000);
    BLOCK * u32::try_from(blocks).unwrap_or(u32::MAX)
}

/// The final CLTV delta of an invoice, blocks (BOLT 11 field `c`); BOLT 11's own where it names none.
///
/// # Errors
/// A text that is no invoice.
pub fn delta(bolt11: &str) -> Result<u64, invoice::InvoiceFault> {
    let invoice = invoice::read(bolt11)?;
    Ok(invoice
        .min_final_cltv_expiry_delta()
        .map_or(LEAST_DELTA, |delta| delta.0))
}

/// What a run of this job and the delivery after it need.
fn needs(job: &Job) -> Duration {
    Duration::from_secs(job.terms.job_timeout_secs) + TO_SETTLE
}

/// Can the payment of an invoice with this delta be held for as long as the job may run?
#[must_use]
pub fn is_long_enough(delta: u64, job: &Job) -> bool {
    lasts(delta) > needs(job)
}

/// When the payment must be taken or given back, where it can't have come before `since`.
#[must_use]
pub fn until(delta: u64, job: &Job, since: Time) -> Time {
    since.plus(lasts(delta).min(LONGEST_WAIT + needs(job)))
}

/// The last moment at which what the job does next may begin; none where nothing is held for it.
fn last_chance(job: &Job) -> Option<Time> {
    let invoice = job.invoice.as_ref()?;
    if invoice.state != InvoiceState::Held {
        return None;
    }
    // Without its secret it can't be taken, so it is not worth working for.
    let (Some(until), Some(_)) = (invoice.hold_until, &invoice.preimage) else {
        return Some(Time(0));
    };
    Some(match job.state {
        State::Queued => until.minus(needs(job)),
        State::Running | State::Publishing => until.minus(TO_SETTLE),
        _ => Time(0),
    })
}

/// May the work begin? Never where it might end after the payment must go back; always where nothing is held.
#[must_use]
pub fn may_start(job: &Job, now: Time) -> bool {
    if job.terms.order != PayOrder::Hold || !job.paid.is_zero() {
        return true;
    }
    last_chance(job).is_some_and(|last| now < last)
}

/// As [`may_start`], of a job whose payment has just come and that is queued next.
#[must_use]
pub(super) fn may_wait(job: &Job, now: Time) -> bool {
    let mut queued = job.clone();
    queued.state = State::Queued;
    may_start(&queued, now)
}

/// The last moment at which a result is of use: after it there is no time left to take the payment.
#[must_use]
pub fn deliver_by(job: &Job) -> Option<Time> {
    let invoice = job.invoice.as_ref()?;
    (invoice.state == InvoiceState::Held)
        .then(|| invoice.hold_until.map(|until| until.minus(TO_SETTLE)))?
}

/// What a held payment asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// A look whether it is still held, until this moment.
    Poll {
        /// Then it [`Duty::Ends`].
        until: Time,
    },
    /// Its time is over.
    Ends,
    /// Settle, and look.
    Take,
    /// Cancel, and look.
    GiveBack,
}

/// What is to be done now; none where nothing is held and nothing was decided.
#[must_use]
pub fn duty(job: &Job, now: Time) -> Option<Duty> {
    match job.invoice.as_ref()?.state {
        InvoiceState::Held => {
            let until = last_chance(job)?;
            Some(if now < until {
                Duty::Poll { until }
            } else {
                Duty::Ends
            })
        }
        InvoiceState::Taking => Some(Duty::Take),
        InvoiceState::GivingBack => Some(Duty::GiveBack),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wallets_reserve_does_not_count() {
        assert_eq!(lasts(12), Duration::ZERO);
        assert_eq!(lasts(0), Duration::ZERO);
        assert_eq!(lasts(18), Duration::from_secs(6 * 240));
        assert_eq!(lasts(80), Duration::from_secs(68 * 240));
        assert!(lasts(u64::MAX) > Duration::from_secs(86_400));
    }
}
