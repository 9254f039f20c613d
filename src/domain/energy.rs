//! What the machine spends on a model: time and energy, shared among the models that ran together.

use std::time::Duration;

use super::msat::Msat;

/// Thousandths of a joule in a kilowatt hour.
const MJ_PER_KWH: f64 = 3_600_000_000.0;
const MS_PER_HOUR: f64 = 3_600_000.0;
const MSAT_PER_SAT: f64 = 1_000.0;

/// What was spent on one model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// The model.
    pub model: String,
    /// How long the machine was busy with it.
    pub busy: Duration,
    /// What it drew, thousandths of a joule.
    pub millijoules: u64,
}

/// What the machine drew in a time: as it measured, or as the settings say; nothing where neither is known.
#[must_use]
pub fn drawn(measured: Option<u64>, watts: Option<u32>, busy: Duration) -> u64 {
    let said = || {
        let watts = u128::from(watts.unwrap_or(0));
        u64::try_from(watts * busy.as_millis()).unwrap_or(u64::MAX)
    };
    measured.unwrap_or_else(said)
}

/// Shares a time and what was drawn in it among the models that ran, each with the number of its runs. The shares of what was
/// drawn add up to it; the time counts for each model.
#[must_use]
pub fn share(models: &[(String, u64)], busy: Duration, millijoules: u64) -> Vec<Spent> {
    let runs: u128 = models.iter().map(|(_, runs)| u128::from(*runs)).sum();
    let (mut passed, mut given) = (0_u128, 0_u64);
    let mut all = Vec::with_capacity(models.len());
    for (model, count) in models {
        passed += u128::from(*count);
        let until = u128::from(millijoules) * passed / runs.max(1);
        let until = u64::try_from(until).unwrap_or(u64::MAX);
        all.push(Spent {
            model: model.clone(),
            busy,
            millijoules: until.saturating_sub(given),
        });
        given = until;
    }
    all
}

/// One decimal, for people.
fn rounded(value: f64) -> Option<f64> {
    value.is_finite().then(|| (value * 10.0).round() / 10.0)
}

/// Sats for each hour that the machine was busy; none before the first.
#[must_use]
#[allow(clippy::cast_precision_loss)] // rounded to tenths anyway
pub fn sats_per_hour(earned: Msat, busy_ms: u64) -> Option<f64> {
    let hours = busy_ms as f64 / MS_PER_HOUR;
    rounded(earned.0 as f64 / MSAT_PER_SAT / hours).filter(|_| busy_ms > 0)
}

/// Sats for each kilowatt hour; none where nothing was measured.
#[must_use]
#[allow(clippy::cast_precision_loss)] // rounded to tenths anyway
pub fn sats_per_kwh(earned: Msat, millijoules: u64) -> Option<f64> {
    rounded(earned.0 as f64 / MSAT_PER_SAT / kwh(millijoules)).filter(|_| millijoules > 0)
}

/// Kilowatt hours.
#[must_use]
#[allow(clippy::cast_precision_loss)] // a figure for people
pub fn kwh(millijoules: u64) -> f64 {
    millijoules as f64 / MJ_PER_KWH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_what_was_drawn() {
        let models = [
            ("a".to_owned(), 1),
            ("b".to_owned(), 2),
            ("c".to_owned(), 4),
        ];
        for millijoules in [0, 1, 6, 7, 1_000_003, u64::MAX] {
            let all = share(&models, Duration::from_secs(2), millijoules);
            let sum: u128 = all.iter().map(|one| u128::from(one.millijoules)).sum();
            assert_eq!(sum, u128::from(millijoules));
            assert!(all.iter().all(|one| one.busy == Duration::from_secs(2)));
        }
        assert_eq!(share(&[], Duration::from_secs(2), 5), []);
    }

    #[test]
    fn what_is_not_measured_is_what_the_settings_say() {
        let minute = Duration::from_secs(60);
        assert_eq!(drawn(Some(5), Some(250), minute), 5);
        assert_eq!(drawn(None, Some(250), minute), 15_000_000);
        assert_eq!(drawn(None, None, minute), 0);
    }

    #[test]
    fn an_hour_and_a_kilowatt_hour_bring_so_much() {
        assert_eq!(sats_per_hour(Msat(90_000), 1_800_000), Some(180.0));
        assert_eq!(sats_per_kwh(Msat(90_000), 1_800_000_000), Some(180.0));
        assert_eq!(sats_per_hour(Msat(90_000), 0), None);
        assert_eq!(sats_per_kwh(Msat(90_000), 0), None);
    }
}
