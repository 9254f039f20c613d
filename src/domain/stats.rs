//! The shop's figures.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::msat::Msat;

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
}

/// One day's figures (UTC).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayStats {
    /// Jobs delivered.
    pub jobs: u64,
    /// What the wallet confirmed.
    pub revenue_msat: Msat,
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
    /// From seen to paid.
    pub funnel: Funnel,
    /// Why requests were not admitted.
    pub drops: BTreeMap<String, u64>,
    /// Per model.
    pub models: BTreeMap<String, ModelStats>,
    /// Per day, `2026-11-21`.
    pub days: BTreeMap<String, DayStats>,
}
