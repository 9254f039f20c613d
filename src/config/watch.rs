//! Notices that somebody else changed the settings file.
//!
//! The folder is watched, not the file: editors and `vend config set` put a new file in the place of the old one. Where the
//! file is a link, the folder that it leads to is watched too. Nothing is polled.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// A watched settings file.
pub struct Watch {
    path: PathBuf,
    inner: Option<RecommendedWatcher>,
    watched: Vec<PathBuf>,
    told: mpsc::Receiver<()>,
}

impl Watch {
    /// Begins to watch. Where the system can't, nothing is ever noticed, and the tab still reads the file when it is opened.
    #[must_use]
    pub fn begin(path: &Path) -> Self {
        // One word is enough, however often it happened meanwhile.
        let (tell, told) = mpsc::channel(1);
        let names = names(path);
        let inner = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let ours = event.is_ok_and(|event| {
                is_change(event.kind)
                    && event.paths.iter().any(|path| {
                        path.file_name()
                            .is_some_and(|name| names.iter().any(|own| own == name))
                    })
            });
            if ours {
                // Full: it is told already. Closed: nobody listens any more.
                let _ = tell.try_send(());
            }
        });
        let inner = match inner {
            Ok(inner) => Some(inner),
            Err(error) => {
                tracing::warn!(%error, "changes of the settings file can't be noticed");
                None
            }
        };
        let mut watch = Self {
            path: path.to_owned(),
            inner,
            watched: Vec::new(),
            told,
        };
        watch.look();
        watch
    }

    /// Watches folders that were not there before.
    pub fn look(&mut self) {
        let Some(inner) = &mut self.inner else { return };
        let target = self.path.canonicalize().ok();
        for path in std::iter::once(self.path.clone()).chain(target) {
            let folder = match path.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
                _ => PathBuf::from("."),
            };
            if self.watched.contains(&folder) {
                continue;
            }
            // A folder that is not there yet is tried again after the next save.
            if inner.watch(&folder, RecursiveMode::NonRecursive).is_ok() {
                self.watched.push(folder);
            }
        }
    }

    /// Waits until the file has changed. May be dropped and called again; nothing is lost.
    pub async fn changed(&mut self) {
        if self.told.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Forgets what was told so far, as the file is about to be read.
    pub fn forget(&mut self) {
        while self.told.try_recv().is_ok() {}
    }
}

/// The names of the file and of what it leads to.
fn names(path: &Path) -> Vec<OsString> {
    let target = path.canonicalize().ok();
    let all = [Some(path.to_owned()), target];
    all.iter()
        .flatten()
        .filter_map(|path| path.file_name().map(ToOwned::to_owned))
        .collect()
}

/// Reading the file is no change of it.
const fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_by_anybody_is_noticed_a_look_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, "a").unwrap();
        let mut watch = Watch::begin(&path);
        std::fs::read(&path).unwrap();
        std::fs::write(dir.path().join("other"), "b").unwrap();
        crate::config::atomic::replace(&path, b"new").unwrap();
        watch.changed().await;
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        // Whatever else the system had to say of that one change.
        let other = dir.path().join("second");
        std::fs::write(&other, "newer").unwrap();
        std::fs::rename(&other, &path).unwrap();
        watch.changed().await;
    }
}
