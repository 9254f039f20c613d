//! Every wait and rate of this room in one place, so that a test can shorten them.

use std::time::Duration;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Waits and rates. [`Timing::default`] holds what the shop runs with.
#[derive(Clone, Debug)]
pub struct Timing {
    /// The longest a connection may take: TCP, TLS and the WebSocket handshake together.
    pub connect_wait: Duration,
    /// The first pause before a lost or failed connection is tried again; it doubles each time.
    pub retry_first: Duration,
    /// The longest pause between two tries to connect.
    pub retry_cap: Duration,
    /// The first pause after a relay ended our subscription (NIP-01 `CLOSED`); it doubles each time.
    pub closed_first: Duration,
    /// The longest pause after `CLOSED`.
    pub closed_cap: Duration,
    /// The pause after `CLOSED restricted:`, where asking again soon is of no use.
    pub restricted_wait: Duration,
    /// How long a relay may take from `REQ` to `EOSE`. Missed twice, it is deaf and is connected to anew.
    pub eose_wait: Duration,
    /// After this long without a single frame (pongs count) the relay is asked again. More than the 55 s between two pings.
    pub quiet: Duration,
    /// The subscription is asked for anew this often in any case: it shows that the relay still hears, and brings what was missed.
    pub refresh_every: Duration,
    /// How long to wait for a relay's `OK`.
    pub ok_wait: Duration,
    /// How long to wait for NIP-42 authentication before an event is given up for now.
    pub auth_wait: Duration,
    /// How far before the last healthy moment a subscription starts.
    pub overlap: Duration,
    /// The shortest time between two cursors told for one relay.
    pub cursor_every: Duration,
    /// How often changed counters are told; a changed state is told at once.
    pub health_every: Duration,
    /// The first pause before a window in which events were dropped is asked for again; it doubles up to [`Timing::retry_cap`].
    pub refetch_wait: Duration,
    /// How long changes of the cancel list are gathered before the subscription is changed.
    pub cancel_settle: Duration,
    /// After this long without use the connection to a relay that is not our own is ended.
    pub guest_idle: Duration,
    /// How long closing waits for a socket to end in good order.
    pub close_wait: Duration,
    /// Events a second and relay that are verified at most, sustained.
    pub rate: u32,
    /// Events that may come at once above that rate: a catch-up after a pause.
    pub burst: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect_wait: secs(15),
            retry_first: secs(5),
            retry_cap: secs(60),
            closed_first: secs(5),
            closed_cap: secs(300),
            restricted_wait: secs(3600),
            eose_wait: secs(20),
            quiet: secs(65),
            refresh_every: secs(300),
            ok_wait: secs(10),
            auth_wait: secs(7),
            overlap: secs(600),
            cursor_every: secs(30),
            health_every: secs(1),
            refetch_wait: secs(2),
            cancel_settle: Duration::from_millis(250),
            guest_idle: secs(30),
            close_wait: secs(5),
            rate: 200,
            burst: 1_000,
        }
    }
}

/// `first` doubled `times` times, at most `cap`.
pub(super) fn doubled(first: Duration, times: u32, cap: Duration) -> Duration {
    first.saturating_mul(1_u32 << times.min(20)).min(cap)
}

/// `wait` give or take a fifth, so that many clients don't come back in step.
pub(super) fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::random_range(0.8..1.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_up_to_its_cap() {
        assert_eq!(doubled(secs(5), 0, secs(300)), secs(5));
        assert_eq!(doubled(secs(5), 3, secs(300)), secs(40));
        assert_eq!(doubled(secs(5), 90, secs(300)), secs(300));
    }

    #[test]
    fn a_half_open_socket_is_given_up_within_two_minutes() {
        let timing = Timing::default();
        assert!(timing.quiet + timing.eose_wait * 2 < secs(120));
    }
}
