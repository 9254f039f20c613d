//! Writing a private file so that a crash leaves the old one or the new one, never a half.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Who may read a new private file: its owner alone.
pub const PRIVATE_FILE: u32 = 0o600;

/// Who may enter a new private folder: its owner alone.
pub const PRIVATE_DIR: u32 = 0o700;

/// What the group and the world may do.
pub const OTHERS: u32 = 0o077;

/// As many links as Linux follows in one path.
const LINKS_MAX: usize = 40;

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

/// A file beside the one that is to be; it is removed again unless it was renamed.
struct Temporary(PathBuf);

impl Temporary {
    fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<Self> {
        create_private_dir(folder(path))?;
        let mut name = OsString::from(".");
        name.push(path.file_name().ok_or(ErrorKind::InvalidInput)?);
        name.push(format!(".{:016x}.tmp", rand::random::<u64>()));
        let temporary = Self(folder(path).join(name));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(PRIVATE_FILE)
            .open(&temporary.0)?;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
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
}
