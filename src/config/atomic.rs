//! Writing a private file so that a crash leaves the old one or the new one, never a half.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

/// Who may read a new private file: its owner alone.
pub const PRIVATE_FILE: u32 = 0o600;

/// Who may enter a new private folder: its owner alone.
pub const PRIVATE_DIR: u32 = 0o700;

/// What the group and the world may do.
pub const OTHERS: u32 = 0o077;

/// As many links as Linux follows in one path.
const LINKS_MAX: usize = 40;

/// How long a writer waits for its turn. Each takes milliseconds.
const TURN: Duration = Duration::from_secs(60);

/// Between two looks whether it is one's turn.
const LOOK: Duration = Duration::from_millis(10);

/// The end of a temporary file's name.
const TEMPORARY: &str = ".tmp";

/// The right to write a file: one writer at a time, in whatever process. It ends when dropped, and with its process.
#[derive(Debug)]
pub struct Turn {
    _folder: File,
}

impl Turn {
    /// Waits for it. Temporary files that a writer left behind when it was killed are removed.
    ///
    /// # Errors
    /// `WouldBlock` where others write for a minute on end; else what the system says.
    pub fn wait(path: &Path) -> io::Result<Self> {
        let path = follow(path)?;
        create_private_dir(folder(&path))?;
        let turn = Self {
            _folder: locked(&path)?,
        };
        sweep(&path);
        Ok(turn)
    }
}

/// The locked folder of the file; where a file system locks no folders, a file in it.
fn locked(path: &Path) -> io::Result<File> {
    let shut = File::open(folder(path))?;
    let began = Instant::now();
    loop {
        match rustix::fs::flock(&shut, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(shut),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
        if began.elapsed() > TURN {
            return Err(ErrorKind::WouldBlock.into());
        }
        std::thread::sleep(LOOK);
    }
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE_FILE)
        .open(beside(path, ".lock")?)?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// Removes what writers of this file left behind when they were killed. Nobody may be writing it.
fn sweep(path: &Path) {
    let Some(name) = path.file_name() else { return };
    let mut start = OsString::from(".");
    start.push(name);
    start.push(".");
    let start = start.to_string_lossy().into_owned();
    let entries = fs::read_dir(folder(path)).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name
            .strip_prefix(start.as_str())
            .and_then(|rest| rest.strip_suffix(TEMPORARY));
        if number.is_some_and(|hex| hex.len() == 16 && hex.bytes().all(|b| b.is_ascii_hexdigit())) {
            // One that stays is private, and is tried again by the next writer.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes what killed writers of these files left behind, where nobody is writing them now. For the program's start.
pub fn tidy(paths: &[&Path]) {
    for path in paths {
        // What can't be looked at is the business of whoever reads it.
        let Ok(path) = follow(path) else { continue };
        let Ok(shut) = File::open(folder(&path)) else {
            continue;
        };
        if rustix::fs::flock(&shut, FlockOperation::NonBlockingLockExclusive).is_ok() {
            sweep(&path);
        }
    }
}

/// Replaces the file, or makes it and its folder. A file that is there keeps its mode; a new one is 0600, a new folder 0700.
/// Where `path` is a link, the file it leads to is replaced and the link stays.
///
/// # Errors
/// What the system says; the old file is then as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = follow(path)?;
    let mode = match fs::metadata(&path) {
        Ok(old) => old.permissions().mode() & 0o7777,
        Err(error) if error.kind() == ErrorKind::NotFound => PRIVATE_FILE,
        Err(error) => return Err(error),
    };
    let temporary = Temporary::write(&path, bytes, mode)?;
    fs::rename(&temporary.0, &path)?;
    sync_folder(&path)
}

/// Makes a file that is not there yet, 0600.
///
/// # Errors
/// `AlreadyExists` where there is one, and it stays as it is; else what the system says.
pub fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    create_private_dir(folder(path))?;
    if unnamed(path, bytes, PRIVATE_FILE, path)? {
        return sync_folder(path);
    }
    let temporary = Temporary::write(path, bytes, PRIVATE_FILE)?;
    match fs::hard_link(&temporary.0, path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(error),
        // Some file systems have no hard links. Then the look above is what keeps an old file.
        Err(_) => fs::rename(&temporary.0, path)?,
    }
    sync_folder(path)
}

/// Makes the folder and those above it, 0700. One that is there stays as it is.
///
/// # Errors
/// What the system says.
pub fn create_private_dir(dir: &Path) -> io::Result<()> {
    if dir.as_os_str().is_empty() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_DIR)
        .create(dir)
}

/// May anyone but the owner read or write it?
///
/// # Errors
/// What the system says.
pub fn open_to_others(path: &Path) -> io::Result<bool> {
    Ok(fs::metadata(path)?.mode() & OTHERS != 0)
}

/// Where a path leads when it is a link, also to a file that is not there yet.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&path) {
            Ok(target) => path = folder(&path).join(target),
            // InvalidInput: it is there and is no link.
            Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound) => {
                return Ok(path);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many links, one to the other"))
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A rename is durable only once its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

/// Writes a file that has no name until it is whole, and then has the name `to`: a writer that is killed leaves nothing.
/// False where the system has no such files; `AlreadyExists` where the name is taken.
#[cfg(target_os = "linux")]
fn unnamed(path: &Path, bytes: &[u8], mode: u32, to: &Path) -> io::Result<bool> {
    use std::os::fd::AsRawFd;

    use rustix::fs::{AtFlags, CWD, Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(folder(path), flags, Mode::RUSR | Mode::WUSR) else {
        return Ok(false);
    };
    let mut file = File::from(file);
    fill(&mut file, bytes, mode)?;
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    match rustix::fs::linkat(CWD, own.as_str(), CWD, to, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::EXIST) => Err(ErrorKind::AlreadyExists.into()),
        // Without /proc, say.
        Err(_) => Ok(false),
    }
}

/// There are none elsewhere.
#[cfg(not(target_os = "linux"))]
fn unnamed(_: &Path, _: &[u8], _: u32, _: &Path) -> io::Result<bool> {
    Ok(false)
}

fn fill(file: &mut File, bytes: &[u8], mode: u32) -> io::Result<()> {
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

/// A private name in the folder of a file.
fn beside(path: &Path, ending: &str) -> io::Result<PathBuf> {
    let mut name = OsString::from(".");
    name.push(path.file_name().ok_or(ErrorKind::InvalidInput)?);
    name.push(ending);
    Ok(folder(path).join(name))
}

/// A whole file beside the one that is to be; it is removed again unless it was renamed. It is never there half written, where
/// the system has files without a name.
struct Temporary(PathBuf);

impl Temporary {
    fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<Self> {
        create_private_dir(folder(path))?;
        let name = format!(".{:016x}{TEMPORARY}", rand::random::<u64>());
        let temporary = Self(beside(path, &name)?);
        if unnamed(path, bytes, mode, &temporary.0)? {
            return Ok(temporary);
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(PRIVATE_FILE)
            .open(&temporary.0)?;
        fill(&mut file, bytes, mode)?;
        Ok(temporary)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename it is gone, which is as it should be; and nothing more can be done about one that stays.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_new_file_and_its_folder_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/file");
        replace(&path, b"x").unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_keeps_its_mode_and_a_link_its_target() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::write(&real, "old").unwrap();
        fs::set_permissions(&real, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        replace(&link, b"new").unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(mode(&real), 0o640);
    }

    #[test]
    fn a_link_to_nothing_gets_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("later"), &link).unwrap();
        replace(&link, b"new").unwrap();
        assert_eq!(fs::read(dir.path().join("later")).unwrap(), b"new");
    }

    #[test]
    fn links_in_a_circle_end() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("link", &link).unwrap();
        assert!(replace(&link, b"new").is_err());
    }

    #[test]
    fn what_is_there_is_never_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        create(&path, b"first").unwrap();
        let error = create(&path, b"second").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_writer_left_is_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        let left = dir.path().join(".config.toml.0123456789abcdef.tmp");
        let others = [
            ".config.toml.backup.tmp",
            ".other.0123456789abcdef.tmp",
            "config.toml.tmp",
        ];
        for name in others {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let waited = || drop(Turn::wait(&path).unwrap());
        let started = || tidy(&[path.as_path()]);
        let ways: [&dyn Fn(); 2] = [&waited, &started];
        for sweep in ways {
            fs::write(&left, "secret").unwrap();
            sweep();
            assert!(!left.exists());
            assert!(others.iter().all(|name| dir.path().join(name).exists()));
        }
        let turn = Turn::wait(&path).unwrap();
        fs::write(&left, "being written").unwrap();
        tidy(&[path.as_path()]);
        assert!(left.exists(), "somebody is writing it");
        drop(turn);
    }

    #[test]
    fn writers_take_turns() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("count");
        fs::write(&path, "0").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    let _turn = Turn::wait(&path).unwrap();
                    let count: u32 = fs::read_to_string(&path).unwrap().parse().unwrap();
                    replace(&path, (count + 1).to_string().as_bytes()).unwrap();
                });
            }
        });
        assert_eq!(fs::read_to_string(&path).unwrap(), "20");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
