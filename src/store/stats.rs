//! The questions a screen asks of the figures.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Store;
use crate::domain::stats::{DayStats, HourStats};

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

impl Store {
    /// The figures of the UTC day of the last event.
    #[must_use]
    pub fn today(&self) -> DayStats {
        self.last_days(1)
    }

    /// The figures of the last `days` UTC days together, the day of the last event among them.
    #[must_use]
    pub fn last_days(&self, days: u64) -> DayStats {
        let mut sum = DayStats::default();
        for ago in 0..days {
            let day = self.now.minus(Duration::from_secs(ago * DAY)).day();
            if let Some(one) = self.totals.days.get(&day) {
                sum.jobs = sum.jobs.saturating_add(one.jobs);
                sum.revenue_msat += one.revenue_msat;
            }
        }
        sum
    }

    /// The figures of each of the last `hours` UTC hours, the oldest first, the hour of the last event at the end.
    #[must_use]
    pub fn last_hours(&self, hours: u64) -> Vec<HourStats> {
        let of = |ago| {
            let hour = self.now.minus(Duration::from_secs(ago * HOUR)).hour();
            self.totals.hours.get(&hour).cloned().unwrap_or_default()
        };
        (0..hours).rev().map(of).collect()
    }

    /// Why most requests were not taken: the `count` most frequent reasons since the ledger began.
    #[must_use]
    pub fn top_drops(&self, count: usize) -> Vec<(&str, u64)> {
        most(&self.totals.drops, count)
    }
}

/// The `count` most frequent reasons; of two as frequent, the first by name.
pub(super) fn most(drops: &BTreeMap<String, u64>, count: usize) -> Vec<(&str, u64)> {
    let mut drops: Vec<_> = drops
        .iter()
        .filter(|(_, times)| **times > 0)
        .map(|(reason, times)| (reason.as_str(), *times))
        .collect();
    drops.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    drops.truncate(count);
    drops
}
