//! One vend for each data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Places;
use crate::config::atomic::PRIVATE_FILE;

/// The most of the lock file that is read, bytes.
const LOCK_MAX: u64 = 8_192;

/// How often a held lock is tried: [`read_lock`] holds it for a moment, which is not another vend.
const TRIES: u32 = 10;

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// The vend that runs on a data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// Its control socket.
    pub socket: PathBuf,
}

/// Why the data directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another vend has it.
    #[error("another vend{} holds {data}: `vend --data-dir {data}` shows it, `vend stop --data-dir {data}` ends it", pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Held {
        /// The data directory.
        data: String,
        /// Its process, where it has said so.
        pid: Option<u32>,
    },
    /// The lock file can't be used.
    #[error("{path} can't be used: {cause}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },
}

/// The data directory, held by this process for as long as this lives. The system lets go of it when the process ends, in
/// whatever way; the file stays.
#[derive(Debug)]
pub struct DataLock {
    file: File,
    /// The folder itself, locked too: a lock file that was deleted lets nobody in.
    _folder: File,
    holder: Holder,
}

impl DataLock {
    /// Takes the data directory and writes down who has it. [`Places::prepare`] comes first. Blocks for at most 200 ms.
    ///
    /// # Errors
    /// Another vend has it, or the system refuses.
    pub fn take(places: &Places) -> Result<Self, LockError> {
        let io = |cause| LockError::Io {
            path: places.lock().display().to_string(),
            cause,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(PRIVATE_FILE)
            .open(places.lock())
            .map_err(io)?;
        let folder = File::open(&places.data).map_err(io)?;
        if !locked(&file).map_err(io)? || !locked(&folder).map_err(io)? {
            let pid = holder(&file).map(|holder| holder.pid);
            let data = places.data.display().to_string();
            return Err(LockError::Held { data, pid });
        }
        let holder = Holder {
            pid: std::process::id(),
            socket: places.socket(),
        };
        let mut lock = Self {
            file,
            _folder: folder,
            holder,
        };
        lock.write().map_err(io)?;
        Ok(lock)
    }

    /// Where this process puts its control socket.
    #[must_use]
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    fn write(&mut self) -> std::io::Result<()> {
        let text = serde_json::to_string(&self.holder)?;
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())
    }
}

impl Drop for DataLock {
    fn drop(&mut self) {
        // Tidiness alone: what is written there counts only while the lock is held.
        let _ = self.file.set_len(0);
    }
}

/// The vend that runs on this data directory; none where none does.
#[must_use]
pub fn read_lock(places: &Places) -> Option<Holder> {
    let file = File::open(places.lock()).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => holder(&file),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

fn locked(file: &File) -> std::io::Result<bool> {
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Interrupted => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(false)
}

/// Who says to hold it. None while the holder is still writing.
fn holder(file: &File) -> Option<Holder> {
    let mut text = String::new();
    file.take(LOCK_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(dir: &tempfile::TempDir) -> Places {
        Places::new(dir.path().join("config.toml"), dir.path())
    }

    #[test]
    fn a_second_vend_is_told_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(&dir);
        let lock = DataLock::take(&places).unwrap();
        let error = DataLock::take(&places).unwrap_err();
        let pid = std::process::id();
        assert!(matches!(error, LockError::Held { pid: Some(held), .. } if held == pid));
        assert!(error.to_string().contains(&pid.to_string()));
        let holder = read_lock(&places).unwrap();
        assert_eq!(&holder, lock.holder());
        assert_eq!(holder.socket, places.socket());
    }

    #[test]
    fn a_lock_let_go_can_be_taken_again() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(&dir);
        drop(DataLock::take(&places).unwrap());
        assert_eq!(read_lock(&places), None);
        DataLock::take(&places).unwrap();
    }

    #[test]
    fn what_a_killed_vend_wrote_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(&dir);
        assert_eq!(read_lock(&places), None);
        std::fs::write(places.lock(), r#"{"pid":1,"socket":"/s"}"#).unwrap();
        assert_eq!(read_lock(&places), None);
        let lock = DataLock::take(&places).unwrap();
        assert_eq!(read_lock(&places).as_ref(), Some(lock.holder()));
    }
}
