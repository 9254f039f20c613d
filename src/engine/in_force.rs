//! The settings in force, and the file that they come from: read when the shop goes online, when somebody asks, and whenever the
//! file changes, whoever changed it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::context::EngineContext;
use super::preflight;
use super::status;
use crate::config::force::{self, told};
use crate::config::watch::Watch;
use crate::config::{self, Settings};
use crate::domain::command::Reply;
use crate::domain::event::{EventKind, Level};
use crate::domain::size;

/// A file that changed is read once nothing has changed for so long: not every editor writes it in one step.
const QUIET: Duration = Duration::from_millis(200);

/// A file that goes on changing is read all the same.
const LONGEST_QUIET: Duration = Duration::from_secs(2);

/// Between two looks at a file whose changes the system does not tell, as on some network drives.
const LOOK: Duration = Duration::from_secs(5);

/// What was said of a change is said again to whoever asks so soon after it: a save is told by the file, and by who saved.
const JUST_NOW: Duration = Duration::from_secs(10);

/// Which file it was: another one, or other contents, differ in one of these.
type Stamp = (u64, u64, u64, i64, i64);

/// See the module.
pub struct InForce {
    path: PathBuf,
    watch: Watch,
    tick: Interval,
    /// When a change is read, and by when at the latest.
    due: Option<(Instant, Instant)>,
    seen: Option<Stamp>,
    /// What the file said last.
    file: Settings,
    /// What was said of the last change, and when.
    last: Option<(Instant, String)>,
    /// Why the file could not be used; empty where it could. Said once.
    trouble: String,
}

impl InForce {
    /// Begins to watch the file that `settings` came from.
    pub fn begin(path: &Path, settings: Settings) -> Self {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            path: path.to_owned(),
            watch: Watch::begin(path),
            tick,
            due: None,
            seen: stamp(path),
            file: settings,
            last: None,
            trouble: String::new(),
        }
    }

    /// Waits until the file has changed and is quiet. May be dropped and called again; nothing is lost.
    pub async fn changed(&mut self) {
        loop {
            let due = self.due.map(|(at, _)| at);
            let quiet = async move {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.watch.changed() => {
                    let now = Instant::now();
                    let latest = self.due.map_or(now + LONGEST_QUIET, |(_, latest)| latest);
                    self.due = Some(((now + QUIET).min(latest), latest));
                }
                _ = self.tick.tick() => {
                    self.watch.look();
                    if self.due.is_none() && stamp(&self.path) != self.seen {
                        let at = Instant::now() + QUIET;
                        self.due = Some((at, at));
                    }
                }
                () = quiet => {
                    self.due = None;
                    return;
                }
            }
        }
    }

    /// The shop goes online: all of the file comes into force.
    ///
    /// # Errors
    /// The file can't be used; the sentence says where and why.
    pub fn read(&mut self, shop: &EngineContext) -> Result<(), String> {
        let new = self.load()?;
        self.file = new.clone();
        put(shop, new);
        Ok(())
    }

    /// The shop is offline: what waited for that is in force.
    pub fn settle(&self, shop: &EngineContext) {
        put(shop, self.file.clone());
    }

    /// Brings what the file says into force, as far as that can be while the shop is online, and says which did.
    pub fn apply(&mut self, shop: &EngineContext, online: bool) -> Reply {
        match self.applied(shop, online) {
            Ok(detail) => Reply::Done { detail },
            Err(detail) => Reply::Refused { detail },
        }
    }

    /// The file has changed: the same, told as an event.
    pub fn follow(&mut self, shop: &EngineContext, online: bool) {
        if let Err(words) = self.applied(shop, online)
            && self.trouble != words
        {
            let message = format!("the settings in force stay as they are: {words}");
            shop.notice(Level::Error, "settings", &message);
            self.trouble = words;
        }
    }

    fn load(&mut self) -> Result<Settings, String> {
        let seen = stamp(&self.path);
        if seen.is_none() && self.seen.is_some() {
            return Err(format!(
                "{} is gone: put it back, or write one with `vend config init`",
                self.path.display()
            ));
        }
        let new = config::load::load(&self.path).map_err(|error| error.to_string())?;
        self.seen = seen;
        self.trouble.clear();
        Ok(new)
    }

    fn applied(&mut self, shop: &EngineContext, online: bool) -> Result<String, String> {
        let new = self.load()?;
        let wallet = shop.wallet().filter(|_| online);
        if let Some(why) = wallet.and_then(|wallet| preflight::cant_hold(&new, &*wallet)) {
            return Err(why);
        }
        let changed = force::changed(&self.file, &new);
        put(shop, force::in_force(new.clone(), &shop.settings(), online));
        self.file = new;
        if changed.is_empty() {
            return Ok(self.said_before());
        }
        if !online {
            status::emit_wallet(shop);
        }
        let detail = told(&changed, online);
        self.last = Some((Instant::now(), detail.clone()));
        shop.emit(EventKind::Settings {
            detail: detail.clone(),
        });
        Ok(detail)
    }

    fn said_before(&self) -> String {
        match &self.last {
            Some((at, detail)) if at.elapsed() < JUST_NOW => detail.clone(),
            _ => format!("nothing has changed in {}", self.path.display()),
        }
    }
}

/// Puts settings in force, and wakes whoever must do something about it rather than read them at its next step.
fn put(shop: &EngineContext, settings: Settings) {
    if shop.set_settings(settings) {
        if let Some(connections) = shop.connections() {
            let limits = &shop.settings().limits;
            connections.relays.set_limits(
                Duration::from_secs(limits.max_request_age_secs),
                size::longest_request(limits.prompt_bytes as usize),
            );
        }
        // A buyer may have more jobs at once, texts may be kept for a shorter time.
        shop.wakers.queue.notify_one();
        shop.wakers.stats.notify_one();
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = std::fs::metadata(path).ok()?;
    Some((
        file.dev(),
        file.ino(),
        file.len(),
        file.mtime(),
        file.mtime_nsec(),
    ))
}
