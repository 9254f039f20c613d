//! Tells health and cursors. It may wait for room in the channel, which nobody else here ever does.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::RelayEvent;
use super::connection::RelayConnection;
use super::timing::Timing;

/// Runs until cancelled or until nobody listens.
pub(super) async fn run(
    connections: Vec<Arc<RelayConnection>>,
    news: mpsc::Sender<RelayEvent>,
    changed: Arc<Notify>,
    timing: Timing,
    cancel: CancellationToken,
) {
    let mut beat = tokio::time::interval(timing.health_every);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut cursors: Vec<Option<(Instant, u64)>> = vec![None; connections.len()];
    loop {
        let full = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            _ = beat.tick() => true,
            () = changed.notified() => false,
        };
        for (connection, told) in connections.iter().zip(&mut cursors) {
            let health = connection.health.untold(full).map(RelayEvent::Health);
            let cursor = cursor_due(connection, told, &timing, Instant::now());
            for item in health.into_iter().chain(cursor) {
                let sent = tokio::select! {
                    () = cancel.cancelled() => break,
                    sent = news.send(item) => sent,
                };
                if sent.is_err() {
                    return;
                }
            }
        }
    }
    // What is still to tell at the end: a cursor saves a longer catch-up. Where there is no room, nothing is lost by it.
    for (connection, told) in connections.iter().zip(&cursors) {
        let at = connection.intake.cursor();
        if at > 0 && told.is_none_or(|(_, before)| before < at) {
            let relay = connection.url.clone();
            let _ = news.try_send(RelayEvent::Cursor { relay, at });
        }
    }
}

fn cursor_due(
    connection: &RelayConnection,
    told: &mut Option<(Instant, u64)>,
    timing: &Timing,
    now: Instant,
) -> Option<RelayEvent> {
    let at = connection.intake.cursor();
    let due = match told {
        None => at > 0 && connection.intake.moved(),
        Some((when, before)) => {
            at > *before && now.saturating_duration_since(*when) >= timing.cursor_every
        }
    };
    if !due {
        return None;
    }
    *told = Some((now, at));
    Some(RelayEvent::Cursor {
        relay: connection.url.clone(),
        at,
    })
}
