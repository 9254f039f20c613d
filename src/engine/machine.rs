//! The computer is somebody's: looks at it every two seconds where the settings have a rule for it, and puts selling off while a
//! rule says so. The rules themselves are `domain::machine`'s.

pub mod energy;
mod meter;
mod power;
mod presence;
mod processes;
mod unload;

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::unload::Unload;
use super::context::EngineContext;
use crate::config::Settings;
use crate::config::schema::{Machine, OnBattery};
use crate::domain::command::Reply;
use crate::domain::event::Level;
use crate::domain::machine::hours::{self, Hours};
use crate::domain::machine::{
    EVERY, LONGEST_SNOOZE, Moment, PAUSED, Pause, RESUMED, Readings, Rules, Verdict, Watch,
};
use crate::domain::time::Time;
use crate::inference::address;
use crate::ledger::LedgerError;

use self::meter::Wanted;
pub use self::meter::{Meter, SystemMeter};

/// The port of an endpoint whose address names none.
const OLLAMA_PORT: u16 = 11_434;

/// Why nothing is sold now, and what the seller has put off.
#[derive(Debug, Default)]
pub struct MachineState {
    pause: watch::Sender<Option<Pause>>,
    snoozed: watch::Sender<Option<Time>>,
}

impl EngineContext {
    /// Why no new work is taken; none: it is.
    #[must_use]
    pub fn pause(&self) -> Option<Pause> {
        self.machine.pause.borrow().clone()
    }

    /// Is no new work taken?
    #[must_use]
    pub fn pauses(&self) -> bool {
        self.machine.pause.borrow().is_some()
    }

    /// Reads until when the seller had put it off in an earlier run.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub async fn read_snooze(&self) -> Result<(), LedgerError> {
        let until = self.ledger.snoozed().await?;
        self.machine.snoozed.send_replace(until);
        // Nothing is sold before the first look where that is known to be wrong.
        let plain = Rules {
            hours: rules(&self.settings().machine).hours,
            ..Rules::default()
        };
        let zone = TimeZone::system();
        let at = moment(Duration::ZERO, &zone);
        let verdict = Watch::default().look(&plain, &Readings::default(), until, at);
        self.put_pause(verdict.pause.as_ref());
        Ok(())
    }

    /// Wakes whoever goes by it, where it is another pause.
    fn put_pause(&self, pause: Option<&Pause>) {
        let before = self.pause();
        let changed = self.machine.pause.send_if_modified(|held| {
            let other = held.as_ref() != pause;
            if other {
                *held = pause.cloned();
            }
            other
        });
        if !changed {
            return;
        }
        match (&before, pause) {
            (None, Some(pause)) => {
                self.notice(Level::Info, "shop", &format!("{PAUSED}{}", pause.words));
            }
            (Some(_), None) => self.notice(Level::Info, "shop", RESUMED),
            _ => {}
        }
        self.wakers.health.notify_one();
        self.wakers.queue.notify_one();
    }
}

fn moment(steady: Duration, zone: &TimeZone) -> Moment<'_> {
    Moment {
        wall: Time::now(),
        steady,
        zone,
    }
}

/// The rules of the settings. What does not parse was refused with the file.
#[must_use]
pub fn rules(settings: &Machine) -> Rules {
    let hours = settings
        .hours
        .iter()
        .filter_map(|text| Hours::parse(text).ok());
    Rules {
        hours: hours.collect(),
        on_battery: settings.on_battery == OnBattery::Pause,
        idle: Duration::from_secs(u64::from(settings.idle_minutes) * 60),
        programs: settings.pause_while.clone(),
        max_cpu: settings.max_cpu_percent,
        max_gpu: settings.max_gpu_percent,
        max_celsius: settings.max_gpu_celsius,
        min_vram_mb: u64::from(settings.min_free_vram_mb),
    }
}

fn wanted(settings: &Settings, works: bool) -> Wanted {
    let machine = &settings.machine;
    let local = settings.endpoints.0.iter().filter_map(|endpoint| {
        let base = address::parse(&endpoint.url, OLLAMA_PORT).ok()?;
        address::is_loopback(&base).then(|| base.port_or_known_default())?
    });
    let graphics = [
        u64::from(machine.max_gpu_percent),
        u64::from(machine.max_gpu_celsius),
        u64::from(machine.min_free_vram_mb),
    ];
    Wanted {
        battery: machine.on_battery == OnBattery::Pause,
        idle: machine.idle_minutes > 0,
        programs: machine.pause_while.clone(),
        cpu: machine.max_cpu_percent > 0,
        gpu: graphics.iter().any(|limit| *limit > 0),
        ports: local.collect(),
        works,
    }
}

/// Works until `stop`.
pub async fn work<M: Meter>(shop: Arc<EngineContext>, mut meter: M, stop: CancellationToken) {
    let mut settings = shop.settings_changes();
    let mut snoozed = shop.machine.snoozed.subscribe();
    let mut watch = Watch::default();
    let (mut blind, mut unload) = (Vec::new(), Unload::default());
    loop {
        let now = settings.borrow_and_update().clone();
        let until = *snoozed.borrow_and_update();
        let rules = rules(&now.machine);
        let readings = if rules.reads() {
            let works = shop.running(|runs| !runs.is_empty());
            let wanted = wanted(&now, works);
            tokio::select! {
                () = stop.cancelled() => return,
                readings = meter.read(&wanted) => readings,
            }
        } else {
            Readings::default()
        };
        let zone = TimeZone::system();
        let at = moment(meter.steady(), &zone);
        let verdict = watch.look(&rules, &readings, until, at);
        tell_blind(&shop, &mut blind, &verdict);
        shop.put_pause(verdict.pause.as_ref());
        let minutes = now.machine.unload_after_minutes;
        unload.look(&shop, minutes, at.steady).await;
        let idle =
            rules == Rules::default() && until.is_none_or(|until| until <= at.wall) && minutes == 0;
        tokio::select! {
            () = stop.cancelled() => return,
            // Both senders are the shop's, which lives as long as this.
            _ = settings.changed() => {}
            _ = snoozed.changed() => {}
            () = meter.wait(EVERY), if !idle => {}
        }
    }
}

/// A rule that can't be kept to is said once.
fn tell_blind(shop: &EngineContext, told: &mut Vec<&'static str>, verdict: &Verdict) {
    for setting in verdict.blind.iter().filter(|one| !told.contains(one)) {
        let words = format!("{setting} is not kept to: this machine does not tell what it needs");
        shop.notice(Level::Warn, "shop", &words);
    }
    told.clone_from(&verdict.blind);
}

/// One look for `vend doctor`: what pauses it at once, and the rules that this machine tells nothing for.
pub async fn survey(settings: &Settings, snoozed: Option<Time>) -> Verdict {
    let rules = rules(&settings.machine);
    let readings = if rules.reads() {
        SystemMeter::default().read(&wanted(settings, false)).await
    } else {
        Readings::default()
    };
    let zone = TimeZone::system();
    let at = moment(Duration::ZERO, &zone);
    Watch::default().look(&rules, &readings, snoozed, at)
}

/// The seller puts selling off.
pub async fn snooze(shop: Arc<EngineContext>, secs: u64) -> Reply {
    let wait = Duration::from_secs(secs);
    if secs == 0 || wait > LONGEST_SNOOZE {
        return refused("a snooze is from one second to 30 days");
    }
    let until = Time::now().plus(wait);
    if let Err(error) = shop.ledger.set_snoozed(Some(until)).await {
        shop.ledger_failed(&error);
        return refused(&error.to_string());
    }
    shop.machine.snoozed.send_replace(Some(until));
    let when = hours::words(&TimeZone::system(), Time::now(), until);
    Reply::Done {
        detail: format!(
            "no new work until {when}; running work is finished; `vend resume` ends it"
        ),
    }
}

/// The seller takes a snooze back.
pub async fn resume(shop: Arc<EngineContext>) -> Reply {
    if let Err(error) = shop.ledger.set_snoozed(None).await {
        shop.ledger_failed(&error);
        return refused(&error.to_string());
    }
    let was = shop.machine.snoozed.send_replace(None);
    let was = was.is_some_and(|until| until > Time::now());
    let others = shop.pause().and_then(|pause| pause.without_snooze());
    let detail = match (was, others) {
        (true, None) => "takes new work again".to_owned(),
        (false, None) => "it was not snoozed".to_owned(),
        (true, Some(words)) => format!("no longer snoozed; still paused: {words}"),
        (false, Some(words)) => format!("it was not snoozed; paused: {words}"),
    };
    Reply::Done { detail }
}

fn refused(detail: &str) -> Reply {
    Reply::Refused {
        detail: detail.to_owned(),
    }
}

#[cfg(test)]
mod tests;
