//! Tells health and cursors. It may wait for room in the channel, which nobody else here ever does.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::RelayNews;
use super::line::Line;
use super::timing::Timing;

/// Runs until cancelled or until nobody listens.
pub(super) async fn run(
    lines: Vec<Arc<Line>>,
    news: mpsc::Sender<RelayNews>,
    changed: Arc<Notify>,
    timing: Timing,
    cancel: CancellationToken,
) {
    let mut beat = tokio::time::interval(timing.health_every);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut cursors: Vec<Option<(Instant, u64)>> = vec![None; lines.len()];
    loop {
        let full = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            _ = beat.tick() => true,
            () = changed.notified() => false,
        };
        for (line, told) in lines.iter().zip(&mut cursors) {
            let health = line.lamp.untold(full).map(RelayNews::Health);
            let cursor = cursor_due(line, told, &timing, Instant::now());
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
    for (line, told) in lines.iter().zip(&cursors) {
        let at = line.intake.cursor();
        if at > 0 && told.is_none_or(|(_, before)| before < at) {
            let relay = line.url.clone();
            let _ = news.try_send(RelayNews::Cursor { relay, at });
        }
    }
}

fn cursor_due(
    line: &Line,
    told: &mut Option<(Instant, u64)>,
    timing: &Timing,
    now: Instant,
) -> Option<RelayNews> {
    let at = line.intake.cursor();
    let due = match told {
        None => at > 0 && line.intake.moved(),
        Some((when, before)) => {
            at > *before && now.saturating_duration_since(*when) >= timing.cursor_every
        }
    };
    if !due {
        return None;
    }
    *told = Some((now, at));
    Some(RelayNews::Cursor {
        relay: line.url.clone(),
        at,
    })
}
