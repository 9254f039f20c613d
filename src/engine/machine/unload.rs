//! Asks endpoints to unload their models when nothing has been queued for a while (`machine.unload_after_minutes`).

use std::time::Duration;

use crate::domain::event::Level;
use crate::engine::context::EngineContext;

/// Since when nothing is at work.
#[derive(Debug, Default)]
pub struct Unload {
    quiet: Option<Duration>,
    /// It was asked since.
    done: bool,
}

impl Unload {
    /// One look; `minutes` of zero: the models stay.
    pub async fn look(&mut self, shop: &EngineContext, minutes: u32, now: Duration) {
        let (waiting, running) = shop.ledger.queue_counts();
        // What waits for the end of a pause needs no model until then.
        let works = running > 0 || (waiting > 0 && !shop.pauses());
        let Some(connections) = shop.connections() else {
            return;
        };
        if !self.is_due(works, minutes, now) {
            return;
        }
        for (endpoint, unloaded) in connections.pool.unload().await {
            match unloaded {
                Ok(models) if models.is_empty() => {}
                Ok(models) => {
                    let words = format!("{endpoint} unloaded {}", models.join(", "));
                    shop.notice(Level::Info, "model", &words);
                }
                Err(words) => {
                    let words = format!("{endpoint} did not unload its model: {words}");
                    shop.notice(Level::Warn, "model", &words);
                }
            }
        }
    }

    /// Has nothing been at work for so long? Once for each time that something was.
    fn is_due(&mut self, works: bool, minutes: u32, now: Duration) -> bool {
        if minutes == 0 || works {
            *self = Self::default();
            return false;
        }
        let quiet = now.saturating_sub(*self.quiet.get_or_insert(now));
        let due = quiet >= Duration::from_secs(u64::from(minutes) * 60);
        due && !std::mem::replace(&mut self.done, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_goes_once_when_nothing_was_queued_for_so_long() {
        let (mut unload, mut due) = (Unload::default(), Vec::new());
        for second in 0..1_000 {
            // Work until 100, and again at 400.
            let now = Duration::from_secs(second);
            if unload.is_due(second < 100 || second == 400, 5, now) {
                due.push(second);
            }
        }
        assert_eq!(due, [701], "300 seconds after the last work, not before");
        assert!(
            !unload.is_due(false, 0, Duration::from_secs(9_000)),
            "switched off"
        );
    }
}
