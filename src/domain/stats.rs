//! The shop's figures.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::energy;
use super::msat::Msat;
use super::time::Time;

/// From every request seen to every job paid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Funnel {
    /// Requests that arrived.
    pub seen: u64,
    /// Requests that could be read as a job.
    pub understood: u64,
    /// Jobs taken.
    pub admitted: u64,
    /// Jobs whose result a relay accepted.
    pub delivered: u64,
    /// Jobs whose payment the wallet confirmed.
    pub paid: u64,
}

impl Funnel {
    /// No stage has more than the one before it. Requests are counted in groups and jobs at once, so that for a moment the
    /// ledger knows of more jobs than of requests.
    #[must_use]
    pub const fn in_order(mut self) -> Self {
        if self.understood < self.admitted {
            self.understood = self.admitted;
        }
        if self.seen < self.understood {
            self.seen = self.understood;
        }
        self
    }
}

/// One model's figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelStats {
    /// Jobs delivered.
    pub jobs: u64,
    /// What the wallet confirmed.
    pub revenue_msat: Msat,
    /// Input and output tokens.
    pub tokens: u64,
    /// Output tokens per second of inference; none before the first.
    pub tokens_per_second: Option<f64>,
    /// How long the machine was busy with it, milliseconds.
    #[serde(default)]
    pub busy_ms: u64,
    /// What the machine drew meanwhile, thousandths of a joule; its share where several models ran. 0 where nothing is known.
    #[serde(default)]
    pub energy_mj: u64,
    /// What that cost at the price of the settings; none without a price.
    #[serde(default)]
    pub cost: Option<f64>,
    /// What it brought for each hour that the machine was busy with it.
    #[serde(default)]
    pub sats_per_hour: Option<f64>,
    /// What it brought for each kilowatt hour.
    #[serde(default)]
    pub sats_per_kwh: Option<f64>,
}

/// The figures of one day (UTC), or of one buyer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayStats {
    /// Jobs delivered.
    pub jobs: u64,
    /// What the wallet confirmed.
    pub revenue_msat: Msat,
}

/// One hour's figures (UTC). Kept for two days, told for the last twenty-four hours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourStats {
    /// Requests that arrived.
    pub seen: u64,
    /// Jobs taken.
    pub admitted: u64,
    /// Jobs delivered.
    pub jobs: u64,
    /// Jobs whose payment the wallet confirmed.
    pub paid: u64,
    /// What the wallet confirmed.
    pub revenue_msat: Msat,
    /// Why requests were not admitted.
    pub drops: BTreeMap<String, u64>,
}

impl HourStats {
    /// Both together.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.seen = self.seen.saturating_add(other.seen);
        self.admitted = self.admitted.saturating_add(other.admitted);
        self.jobs = self.jobs.saturating_add(other.jobs);
        self.paid = self.paid.saturating_add(other.paid);
        self.revenue_msat += other.revenue_msat;
        for (reason, times) in &other.drops {
            let sum = self.drops.entry(reason.clone()).or_default();
            *sum = sum.saturating_add(*times);
        }
        self
    }
}

/// All figures: `vend stats --json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Jobs admitted.
    pub jobs: u64,
    /// Paid or delivered free.
    pub successful: u64,
    /// Failed.
    pub failed: u64,
    /// Delivered, expired, not paid.
    pub unpaid: u64,
    /// What the wallet confirmed.
    pub revenue_msat: Msat,
    /// What buyers paid for work that they did not get.
    pub owed_msat: Msat,
    /// What buyers owe: delivered, and its invoice is still open.
    #[serde(default)]
    pub open_credit_msat: Msat,
    /// What buyers have left with us: paid, and not used yet. A part of the revenue that is owed in work.
    #[serde(default)]
    pub balances_msat: Msat,
    /// When the last request arrived; none before the first.
    #[serde(default)]
    pub last_request_at: Option<Time>,
    /// From seen to paid.
    pub funnel: Funnel,
    /// Why requests were not admitted.
    pub drops: BTreeMap<String, u64>,
    /// Per model.
    pub models: BTreeMap<String, ModelStats>,
    /// Per offer; `text` is the plain one. Jobs of an older vend are in none.
    #[serde(default)]
    pub offers: BTreeMap<String, ModelStats>,
    /// Per day, `2026-11-21`.
    pub days: BTreeMap<String, DayStats>,
    /// Per hour of the last twenty-four, `2026-11-21T08`; an hour without anything is left out.
    #[serde(default)]
    pub hours: BTreeMap<String, HourStats>,
    /// Per buyer (hex), the twenty that brought most.
    #[serde(default)]
    pub buyers: BTreeMap<String, DayStats>,
    /// Cases of the recovery desk that need somebody.
    #[serde(default)]
    pub cases: u64,
    /// The money of the models' cost; none where the settings have no price of a kilowatt hour.
    #[serde(default)]
    pub currency: Option<String>,
}

impl Totals {
    /// With what the models' energy cost at this price.
    pub fn price(&mut self, per_kwh: f64, currency: &str) {
        for model in self.models.values_mut().filter(|model| model.energy_mj > 0) {
            let cost = energy::kwh(model.energy_mj) * per_kwh;
            model.cost = Some((cost * 10_000.0).round() / 10_000.0);
        }
        self.currency = Some(currency.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_stage_of_the_funnel_has_more_than_the_one_before() {
        let counted = Funnel {
            seen: 3,
            understood: 4,
            admitted: 7,
            delivered: 6,
            paid: 2,
        };
        let told = counted.clone().in_order();
        assert_eq!((told.seen, told.understood, told.admitted), (7, 7, 7));
        assert_eq!(
            (told.delivered, told.paid),
            (counted.delivered, counted.paid)
        );
    }
}
