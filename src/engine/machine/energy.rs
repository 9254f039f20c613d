//! Counts what the machine spends on each model: looks at the meter whenever a run begins or ends, and every few seconds while
//! one lasts, or while something is to be written down. At rest nothing wakes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Meter;
use crate::domain::energy::{Spent, drawn, share};
use crate::engine::context::EngineContext;

/// Between two looks while a job runs; what was counted is written down as often.
const EVERY: Duration = Duration::from_secs(5);

/// What ran from one look to the next.
struct Mark {
    at: Duration,
    /// By the meter, thousandths of a joule.
    drawn: Option<u64>,
    models: Vec<(String, u64)>,
}

/// Works until `stop`.
pub async fn work<M: Meter>(shop: Arc<EngineContext>, mut meter: M, stop: CancellationToken) {
    let mut last: Option<Mark> = None;
    let mut waiting: BTreeMap<String, Spent> = BTreeMap::new();
    let mut written = Duration::ZERO;
    loop {
        let models = running(&shop);
        let now = Mark {
            drawn: if models.is_empty() && last.is_none() {
                None
            } else {
                meter.drawn().await
            },
            at: meter.steady(),
            models,
        };
        if let Some(before) = last.take() {
            add(&mut waiting, &shop, &before, &now);
        }
        let works = !now.models.is_empty();
        let ends = stop.is_cancelled();
        // Not after each run: short ones are counted together.
        if !waiting.is_empty() && (ends || now.at.saturating_sub(written) >= EVERY) {
            written = now.at;
            write(&shop, &mut waiting).await;
        }
        if ends {
            return;
        }
        last = works.then_some(now);
        tokio::select! {
            () = stop.cancelled() => {}
            () = shop.wakers.runs.notified() => {}
            () = meter.wait(EVERY), if works || !waiting.is_empty() => {}
        }
    }
}

/// The models that run now, each with the number of its runs.
fn running(shop: &EngineContext) -> Vec<(String, u64)> {
    let mut models: BTreeMap<String, u64> = BTreeMap::new();
    shop.running(|runs| {
        for run in runs.values() {
            *models.entry(run.model.clone()).or_default() += 1;
        }
    });
    models.into_iter().collect()
}

fn add(waiting: &mut BTreeMap<String, Spent>, shop: &EngineContext, before: &Mark, now: &Mark) {
    let busy = now.at.saturating_sub(before.at);
    let measured = match (before.drawn, now.drawn) {
        // A counter that began anew tells nothing of this time.
        (Some(before), Some(now)) => now.checked_sub(before),
        _ => None,
    };
    let watts = shop.settings().machine.watts;
    for spent in share(&before.models, busy, drawn(measured, watts, busy)) {
        let sum = waiting.entry(spent.model.clone()).or_insert_with(|| Spent {
            model: spent.model.clone(),
            ..Spent::default()
        });
        sum.busy += spent.busy;
        sum.millijoules = sum.millijoules.saturating_add(spent.millijoules);
    }
}

/// Writes down what was counted; what the ledger does not take is offered again with the next.
async fn write(shop: &EngineContext, waiting: &mut BTreeMap<String, Spent>) {
    let spent: Vec<Spent> = waiting.values().cloned().collect();
    match shop.ledger.spent(spent).await {
        Ok(()) => {
            waiting.clear();
            shop.wakers.stats.notify_one();
        }
        Err(error) => shop.ledger_failed(&error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::sync::watch;

    use super::super::Wanted;
    use super::*;
    use crate::config::Settings;
    use crate::domain::Hex32;
    use crate::domain::id::{BootId, Buyer, RequestId};
    use crate::domain::machine::Readings;
    use crate::engine::context::Run;
    use crate::inference::Progress;
    use crate::ledger::Ledger;

    /// Draws 40 W at rest and 60 W more for each run, in a time of its own; begins and ends runs by its script.
    struct Drawing {
        shop: Arc<EngineContext>,
        now: Duration,
        drawn: u64,
        measures: bool,
        /// At which second which number of runs of each model begins.
        script: Vec<(u64, [u8; 2])>,
        /// What was drawn while anything ran.
        at_work: Arc<Mutex<u64>>,
        ended: CancellationToken,
    }

    impl Drawing {
        fn runs(&self) -> u64 {
            self.shop.running(|runs| runs.len() as u64)
        }

        fn set(&self, counts: [u8; 2]) {
            self.shop.running(|runs| {
                runs.clear();
                for (model, count) in counts.iter().enumerate() {
                    for number in 0..*count {
                        let id = [u8::try_from(model).unwrap() + 1, number + 1].repeat(16);
                        let id = nostr::EventId::from_slice(&id).unwrap();
                        let run = Run {
                            rev: 0,
                            buyer: Buyer(self.shop.keys.public_key()),
                            model: format!("m{model}"),
                            alone: false,
                            stop: CancellationToken::new(),
                            progress: watch::channel(Progress::default()).1,
                        };
                        runs.insert(RequestId(id), run);
                    }
                }
            });
        }
    }

    impl Meter for Drawing {
        async fn read(&mut self, _: &Wanted) -> Readings {
            Readings::default()
        }

        async fn drawn(&mut self) -> Option<u64> {
            self.measures.then_some(self.drawn)
        }

        async fn wait(&mut self, wait: Duration) {
            let until = self.now + wait;
            while self.now < until {
                let step = Duration::from_millis(100);
                let runs = self.runs();
                let by = (40 + 60 * runs) * 100;
                self.drawn += by;
                if runs > 0 {
                    *self.at_work.lock().unwrap() += by;
                }
                self.now += step;
                let at = self.now.as_secs();
                if self.now.subsec_millis() == 0
                    && let Some((_, counts)) = self.script.iter().find(|(second, _)| *second == at)
                {
                    self.set(*counts);
                    if *counts == [0, 0] {
                        self.ended.cancel();
                    }
                    return;
                }
            }
        }

        fn steady(&self) -> Duration {
            self.now
        }
    }

    async fn played(measures: bool, watts: Option<u32>) -> (u64, crate::domain::stats::Totals) {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("vend.db")).unwrap();
        let mut settings = Settings::default();
        settings.machine.watts = watts;
        let shop = EngineContext::new(
            ledger,
            nostr::Keys::generate(),
            settings,
            BootId(Hex32([1; 32])),
        );
        let at_work = Arc::new(Mutex::new(0));
        let meter = Drawing {
            shop: shop.clone(),
            now: Duration::ZERO,
            drawn: 7,
            measures,
            script: vec![(13, [1, 1]), (31, [2, 1]), (47, [0, 1]), (61, [0, 0])],
            at_work: at_work.clone(),
            ended: CancellationToken::new(),
        };
        meter.set([1, 0]);
        let (ended, stop) = (meter.ended.clone(), CancellationToken::new());
        let task = tokio::spawn(work(shop.clone(), meter, stop.clone()));
        ended.cancelled().await;
        stop.cancel();
        task.await.unwrap();
        let drawn = *at_work.lock().unwrap();
        (drawn, shop.ledger.totals().await.unwrap())
    }

    #[tokio::test]
    async fn the_models_sums_are_what_the_meter_drew_to_one_percent() {
        let (drawn, totals) = played(true, Some(9_999)).await;
        let sum: u64 = totals.models.values().map(|model| model.energy_mj).sum();
        assert!(sum.abs_diff(drawn) * 100 <= drawn, "{sum} of {drawn}");
        assert_eq!(totals.models["m0"].busy_ms, 47_000);
        assert_eq!(totals.models["m1"].busy_ms, 61_000 - 13_000);
    }

    #[tokio::test]
    async fn a_machine_that_does_not_measure_goes_by_its_watts() {
        let (_, totals) = played(false, Some(250)).await;
        let sum: u64 = totals.models.values().map(|model| model.energy_mj).sum();
        assert_eq!(sum, 250 * 61_000);
        let (_, totals) = played(false, None).await;
        assert!(totals.models.values().all(|model| model.energy_mj == 0));
        assert!(
            totals
                .models
                .values()
                .all(|model| model.sats_per_kwh.is_none())
        );
    }
}
