use std::sync::Mutex;

use super::*;
use crate::domain::Hex32;
use crate::domain::event::EventKind;
use crate::domain::id::BootId;
use crate::domain::machine::{Cause, Reading};
use crate::ledger::Ledger;

const DAY: u64 = 86_400;

/// A machine by a script, in a time of its own: each wait is over at once, and after the script's end none is.
struct Scripted {
    shop: Arc<EngineContext>,
    script: Box<dyn Fn(u64) -> Readings + Send>,
    now: u64,
    end: u64,
    /// Seconds of each day outside of which nothing changes: they are passed over.
    busy: std::ops::Range<u64>,
    /// At which seconds it began or ceased to pause.
    changes: Arc<Mutex<Vec<(u64, bool)>>>,
    ended: CancellationToken,
}

impl Scripted {
    fn new(
        shop: &Arc<EngineContext>,
        end: u64,
        script: impl Fn(u64) -> Readings + Send + 'static,
    ) -> Self {
        Self {
            shop: shop.clone(),
            script: Box::new(script),
            now: 0,
            end,
            busy: 0..DAY,
            changes: Arc::default(),
            ended: CancellationToken::new(),
        }
    }

    /// Runs the worker to the script's end.
    async fn play(self) -> Vec<(u64, bool)> {
        let (shop, changes, ended) = (self.shop.clone(), self.changes.clone(), self.ended.clone());
        let stop = CancellationToken::new();
        let task = tokio::spawn(work(shop, self, stop.clone()));
        ended.cancelled().await;
        stop.cancel();
        task.await.unwrap();
        let changes = changes.lock().unwrap();
        changes.clone()
    }
}

impl Meter for Scripted {
    async fn read(&mut self, _: &Wanted) -> Readings {
        (self.script)(self.now)
    }

    async fn drawn(&mut self) -> Option<u64> {
        None
    }

    async fn wait(&mut self, wait: Duration) {
        let pauses = self.shop.pauses();
        {
            let mut changes = self.changes.lock().unwrap();
            if changes
                .last()
                .map_or(pauses, |(_, last): &(u64, bool)| *last != pauses)
            {
                changes.push((self.now, pauses));
            }
        }
        self.now += wait.as_secs();
        let second = self.now % DAY;
        if !self.busy.contains(&second) {
            self.now += (DAY + self.busy.start - second) % DAY;
        }
        if self.now >= self.end {
            self.ended.cancel();
            std::future::pending::<()>().await;
        }
        tokio::task::yield_now().await;
    }

    fn steady(&self) -> Duration {
        Duration::from_secs(self.now)
    }
}

fn power(on_battery: bool) -> Readings {
    Readings {
        on_battery: Reading::Is(on_battery),
        ..Readings::default()
    }
}

fn shop(folder: &tempfile::TempDir, change: impl FnOnce(&mut Machine)) -> Arc<EngineContext> {
    let ledger = Ledger::open(&folder.path().join("vend.db")).unwrap();
    let boot = BootId(Hex32([1; 32]));
    let mut settings = Settings::default();
    change(&mut settings.machine);
    EngineContext::new(ledger, nostr::Keys::generate(), settings, boot)
}

/// Waits for a pause, or for its end.
async fn until(shop: &EngineContext, wanted: impl Fn(Option<&Pause>) -> bool) -> Option<Pause> {
    let mut pauses = shop.machine.pause.subscribe();
    let found = pauses
        .wait_for(|pause| wanted(pause.as_ref()))
        .await
        .unwrap();
    found.clone()
}

#[tokio::test]
async fn a_month_of_power_that_goes_pauses_within_ten_seconds_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let shop = shop(&folder, |machine| machine.on_battery = OnBattery::Pause);
    // Each day it goes at noon, flaps for ten minutes, and is back for good at one.
    let gone = |at: u64| match at % DAY {
        43_200..43_800 => (at / 5).is_multiple_of(2),
        43_800..46_800 => true,
        _ => false,
    };
    let mut month = Scripted::new(&shop, 30 * DAY, move |at| power(gone(at)));
    month.busy = 43_000..47_000;
    let changes = month.play().await;
    assert_eq!(changes.len(), 60, "one pause a day, and its end");
    for pair in changes.chunks(2) {
        let [(began, true), (ended, false)] = *pair else {
            panic!("{pair:?}");
        };
        assert!((43_200..=43_210).contains(&(began % DAY)), "{began}");
        assert!((46_830..=46_840).contains(&(ended % DAY)), "{ended}");
    }
}

#[tokio::test]
async fn a_rule_is_in_force_as_soon_as_it_is_set_and_gone_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let shop = shop(&folder, |_| {});
    let stop = CancellationToken::new();
    let meter = Scripted::new(&shop, u64::MAX, |_| power(true));
    let task = tokio::spawn(work(shop.clone(), meter, stop.clone()));
    let mut settings = (*shop.settings()).clone();
    settings.machine.on_battery = OnBattery::Pause;
    shop.set_settings(settings.clone());
    let pause = until(&shop, |pause| pause.is_some()).await.unwrap();
    assert_eq!(pause.words, "on battery, until power returns");
    settings.machine.on_battery = OnBattery::Sell;
    shop.set_settings(settings);
    until(&shop, |pause| pause.is_none()).await;
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_rule_that_can_not_be_kept_to_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let shop = shop(&folder, |machine| machine.max_gpu_celsius = 80);
    let mut events = shop.listen();
    let changes = Scripted::new(&shop, 600, |_| Readings::default())
        .play()
        .await;
    assert!(changes.is_empty(), "{changes:?}");
    let mut said = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let EventKind::Notice { message, .. } = event.kind {
            said.push(message);
        }
    }
    assert_eq!(
        said,
        ["machine.max_gpu_celsius is not kept to: this machine does not tell what it needs"]
    );
}

#[tokio::test]
async fn a_snooze_outlasts_a_restart_and_resume_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = shop(&folder, |_| {});
    let told = snooze(first.clone(), 3 * 3_600).await;
    assert!(matches!(told, Reply::Done { detail } if detail.contains("vend resume")));
    Arc::into_inner(first).unwrap().ledger.close().await;

    let second = shop(&folder, |_| {});
    second.read_snooze().await.unwrap();
    let pause = second.pause().unwrap();
    assert_eq!(pause.causes, [Cause::Snoozed]);
    assert!(pause.until.is_some_and(|until| until > Time::now()));
    let stop = CancellationToken::new();
    let meter = Scripted::new(&second, u64::MAX, |_| Readings::default());
    let task = tokio::spawn(work(second.clone(), meter, stop.clone()));
    let told = resume(second.clone()).await;
    assert_eq!(
        told,
        Reply::Done {
            detail: "takes new work again".to_owned()
        }
    );
    until(&second, |pause| pause.is_none()).await;
    stop.cancel();
    task.await.unwrap();
    assert_eq!(second.ledger.snoozed().await.unwrap(), None);
    assert!(matches!(
        snooze(second.clone(), 0).await,
        Reply::Refused { .. }
    ));
}

#[tokio::test]
async fn hours_hold_from_the_first_moment() {
    let folder = tempfile::tempdir().unwrap();
    // A minute of one day in the week: whatever now is, it is hardly ever that.
    let shop = shop(&folder, |machine| {
        machine.hours = vec!["sun 03:17-03:18".to_owned()];
    });
    shop.read_snooze().await.unwrap();
    let pause = shop.pause().unwrap();
    assert_eq!(pause.causes, [Cause::Hours]);
    assert!(
        pause.sentence().starts_with("Busy until 2"),
        "{}",
        pause.sentence()
    );
}
