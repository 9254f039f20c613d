//! Looks after the ledger's file: is it the one at its path, is it whole, and is there a copy?

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::context::EngineContext;
use crate::config::note;
use crate::domain::command::Reply;
use crate::domain::event::{EventKind, Level};
use crate::domain::health::{Check, CheckKind, CheckStatus};
use crate::domain::time::Time;
use crate::ledger::Trouble;

/// Between two looks whether damage was met.
const EVERY: Duration = Duration::from_secs(2);
/// Looks between two at the file itself.
const FILE_EVERY: u32 = 30;
/// After the start, before the whole file is read.
const FIRST_CHECK: Duration = Duration::from_secs(30);
/// Between two readings of the whole file.
const CHECK_EVERY: Duration = Duration::from_secs(24 * 3_600);
/// After a copy that failed.
const COPY_AGAIN: Duration = Duration::from_secs(600);
/// How the copies that are made here begin and end.
const COPY: (&str, &str) = ("vend-", ".db");
/// The copy of a ledger whose file is gone.
const RESCUED: &str = "vend.rescued.db";

/// Works until `stop`.
pub async fn work(shop: Arc<EngineContext>, data: PathBuf, stop: CancellationToken) {
    let mut care = Care {
        next_check: Instant::now() + FIRST_CHECK,
        next_copy: Instant::now(),
        told: None,
        remembered: false,
        shop,
        data,
    };
    let mut polls = 0_u32;
    loop {
        if polls.is_multiple_of(FILE_EVERY) {
            care.shop.ledger.look_at_file();
            if care.is_gone() {
                care.rescue().await;
            }
        }
        polls = polls.wrapping_add(1);
        care.remember_sales().await;
        if care.shop.ledger.met_damage() {
            care.mend().await;
        }
        if care.next_check <= Instant::now() {
            care.next_check = Instant::now() + CHECK_EVERY;
            care.check().await;
        }
        care.copy_where_due().await;
        care.emit().await;
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
    care.shop.ledger.look_at_file();
    care.remember_sales().await;
    if care.is_gone() {
        care.rescue().await;
    }
}

struct Care {
    shop: Arc<EngineContext>,
    data: PathBuf,
    next_check: Instant,
    next_copy: Instant,
    told: Option<Trouble>,
    /// It stands beside the ledger that there were sales.
    remembered: bool,
}

impl Care {
    fn is_gone(&self) -> bool {
        matches!(self.shop.ledger.trouble(), Some(Trouble::Gone(_)))
    }

    /// Says once what is wrong: on the screen, in the log, and on the button.
    async fn emit(&mut self) {
        let trouble = self.shop.ledger.trouble();
        if trouble == self.told {
            return;
        }
        let was = std::mem::replace(&mut self.told, trouble.clone());
        let (status, words) = match &trouble {
            Some(trouble) => (CheckStatus::Fail, trouble.words()),
            None => (CheckStatus::Ok, "the ledger is whole"),
        };
        self.shop.emit(EventKind::Check {
            check: Check {
                check: CheckKind::Data,
                target: "ledger".to_owned(),
                status,
                detail: words.to_owned(),
                fix: match &trouble {
                    Some(Trouble::Gone(_)) => "vend stop, then vend restore FILE".to_owned(),
                    Some(Trouble::Damaged(_)) => "vend stop, then vend repair".to_owned(),
                    None => String::new(),
                },
            },
        });
        let level = if trouble.is_some() {
            Level::Error
        } else {
            Level::Info
        };
        self.shop.notice(level, "ledger", words);
        self.shop.wakers.health.notify_one();
        if matches!(trouble, Some(Trouble::Gone(_))) && was.is_none() {
            self.rescue().await;
        }
    }

    /// What is in the open ledger goes into a private file, as long as it is open.
    async fn rescue(&self) {
        let mut folders = vec![self.data.clone()];
        folders.extend(self.data.parent().map(Path::to_owned));
        folders.push(std::env::temp_dir());
        for folder in folders.iter().filter(|folder| folder.is_dir()) {
            let to = folder.join(RESCUED);
            match self.shop.ledger.rescue(&to).await {
                Ok(()) => {
                    let words = format!(
                        "what the ledger holds is kept in {}: run `vend stop`, then `vend restore {}`",
                        to.display(),
                        to.display()
                    );
                    return self.shop.notice(Level::Warn, "ledger", &words);
                }
                Err(error) => self.shop.notice(Level::Error, "ledger", &error.to_string()),
            }
        }
    }

    /// Whoever finds no ledger here later is told that there was one.
    async fn remember_sales(&mut self) {
        if self.remembered || self.is_gone() {
            return;
        }
        self.remembered = note::read(&self.data).is_some();
        if self.remembered {
            return;
        }
        let first = crate::ledger::JobFilter {
            limit: Some(1),
            ..Default::default()
        };
        if self
            .shop
            .ledger
            .jobs(first)
            .await
            .is_ok_and(|jobs| !jobs.is_empty())
            && let Err(error) = note::write(&self.data, None)
        {
            self.shop
                .notice(Level::Warn, "ledger", &format!("sold.json: {error}"));
        }
    }

    /// A damaged page was met: what can be built anew is.
    async fn mend(&mut self) {
        let mended = self.shop.ledger.mend().await;
        let words = match &mended {
            Ok(()) => "a damaged page was met: indexes and figures were built anew".to_owned(),
            Err(error) => format!("a damaged page was met, and could not be mended: {error}"),
        };
        self.shop.notice(Level::Warn, "ledger", &words);
        self.check().await;
    }

    async fn check(&mut self) {
        let mut found = match self.shop.ledger.check().await {
            Ok(found) => found,
            Err(error) => return self.shop.ledger_failed(&error),
        };
        if !found.is_empty() && self.shop.ledger.mend().await.is_ok() {
            found = self.shop.ledger.check().await.unwrap_or(found);
        }
        if found.is_empty() {
            return;
        }
        let copy = note::read(&self.data).and_then(|note| note.last_copy);
        let copy = copy.filter(|copy| copy.exists());
        let copy = copy.map(|copy| copy.display().to_string());
        self.shop.ledger.blame_damage(&found, copy.as_deref());
    }

    /// `[backup]`
    async fn copy_where_due(&mut self) {
        let set = self.shop.settings().backup.clone();
        if set.every_hours == 0 || self.next_copy > Instant::now() || self.told.is_some() {
            return;
        }
        let folder = if set.folder.is_empty() {
            self.data.join("backups")
        } else {
            PathBuf::from(&set.folder)
        };
        let every = Duration::from_secs(set.every_hours.saturating_mul(3_600));
        let age = newest(&folder).and_then(|path| note::age(&path));
        if let Some(left) = age
            .and_then(|age| every.checked_sub(age))
            .filter(|left| !left.is_zero())
        {
            // Looked at again soon: settings may change meanwhile.
            self.next_copy = Instant::now() + left.min(COPY_AGAIN);
            return;
        }
        self.next_copy = Instant::now() + COPY_AGAIN;
        match self.copy_into(&folder, set.keep).await {
            Ok(words) => self.shop.notice(Level::Info, "ledger", &words),
            Err(why) => {
                let words = format!("no copy of the ledger was made: {why}");
                self.shop.notice(Level::Error, "ledger", &words);
            }
        }
    }

    async fn copy_into(&self, folder: &Path, keep: u32) -> Result<String, String> {
        let words = |error: &dyn std::fmt::Display| error.to_string();
        match crate::config::atomic::create_private_dir(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(format!("{}: {error}", folder.display()));
            }
            _ => {}
        }
        let stamp = Time::now().to_string().replace(':', "-");
        let stamp = stamp.split('.').next().unwrap_or_default();
        let to = folder.join(format!("{}{stamp}{}", COPY.0, COPY.1));
        let jobs = self.shop.ledger.backup_open(&to).await;
        let jobs = jobs.map_err(|error| words(&error))?;
        note::write(&self.data, Some(&to)).map_err(|error| words(&error))?;
        prune(folder, keep);
        Ok(format!("copied to {}: {jobs} jobs", to.display()))
    }
}

fn copies(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    found.retain(|path| {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        name.is_some_and(|name| name.starts_with(COPY.0) && name.ends_with(COPY.1))
    });
    found.sort();
    found
}

fn newest(folder: &Path) -> Option<PathBuf> {
    copies(folder).pop()
}

/// Takes the oldest away.
fn prune(folder: &Path, keep: u32) {
    let mut all = copies(folder);
    let most = usize::try_from(keep).unwrap_or(usize::MAX);
    let old = all.len().saturating_sub(most);
    for path in all.drain(..old) {
        // One that can't be removed is tried again after the next copy.
        let _ = std::fs::remove_file(path);
    }
}

/// A copy that a person asked for.
pub async fn copy(shop: Arc<EngineContext>, data: PathBuf, to: PathBuf) -> Reply {
    match shop.ledger.backup_open(&to).await {
        Ok(jobs) => {
            // Without the note the copy is as good.
            let _ = note::write(&data, Some(&to));
            Reply::Done {
                detail: format!(
                    "copied {jobs} jobs to {}, and read the copy again",
                    to.display()
                ),
            }
        }
        Err(error) => Reply::Refused {
            detail: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_copies_are_kept_and_nothing_else_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let name = |n: u32| folder.path().join(format!("vend-2026-11-2{n}T00-00-00.db"));
        for n in 1..=5 {
            std::fs::write(name(n), "").unwrap();
        }
        let mine = folder.path().join("mine.db");
        std::fs::write(&mine, "").unwrap();
        prune(folder.path(), 2);
        assert_eq!(copies(folder.path()), [name(4), name(5)]);
        assert!(mine.exists());
        assert_eq!(newest(folder.path()), Some(name(5)));
    }
}
