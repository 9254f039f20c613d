//! Where the settings and the data are, and that nobody else gets at them.

use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::atomic::{self, OTHERS, PRIVATE_DIR};

mod lock;

pub use lock::{DataLock, Holder, LockError, read_lock};

/// The longest path of a Unix socket that is used, bytes. The system's own limit is 104 on macOS and 108 on Linux.
const SOCKET_MAX: usize = 100;

/// What a data directory of ours holds at least one of.
const MARKS: [&str; 3] = ["vend.lock", "vend.db", "identity"];

/// Why there is no place to work in. `Display` names the fix.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// Neither a flag nor the environment says where.
    #[error("there is no home folder: set HOME, or give {flag}")]
    NoHome {
        /// The flag that says where.
        flag: &'static str,
    },
    /// The folder can't be used.
    #[error("{path} can't be used: {cause}")]
    Io {
        /// The folder.
        path: String,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },
    /// Something else is there.
    #[error("{path} is not a folder: give another one with --data-dir")]
    NotAFolder {
        /// The path.
        path: String,
    },
    /// It belongs to another user.
    #[error(
        "{path} belongs to another user: give another one with --data-dir, or run `sudo chown {uid} {path}`"
    )]
    NotOurs {
        /// The folder.
        path: String,
        /// Who we are.
        uid: u32,
    },
    /// Others may enter it, and it does not look like ours alone.
    #[error(
        "{path} is open to other users and holds other things: give a folder of its own, as --data-dir {path}/vend"
    )]
    Shared {
        /// The folder.
        path: String,
    },
}

/// The paths that everything else begins at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The settings file; it may be absent.
    pub config: PathBuf,
    /// The data directory.
    pub data: PathBuf,
    runtime: Option<PathBuf>,
    temporary: PathBuf,
}

/// A look at the environment.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl Places {
    /// From the flags `--config` and `--data-dir`, then `VEND_CONFIG` and `VEND_DATA_DIR`, then the XDG base directories.
    ///
    /// # Errors
    /// No home folder, where it is needed.
    pub fn find(config: Option<&Path>, data: Option<&Path>) -> Result<Self, PlaceError> {
        Self::find_in(config, data, &|name| std::env::var_os(name))
    }

    /// As [`Places::find`], with an environment of the caller's.
    ///
    /// # Errors
    /// As [`Places::find`].
    pub fn find_in(
        config: Option<&Path>,
        data: Option<&Path>,
        env: Env<'_>,
    ) -> Result<Self, PlaceError> {
        let config = match given(config, "VEND_CONFIG", env) {
            Some(path) => path,
            None => base("XDG_CONFIG_HOME", ".config", "--config FILE", env)?.join("config.toml"),
        };
        let data = match given(data, "VEND_DATA_DIR", env) {
            Some(path) => path,
            None => base("XDG_DATA_HOME", ".local/share", "--data-dir DIR", env)?,
        };
        let here = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        Ok(Self {
            config: here(config),
            data: here(data),
            runtime: absolute("XDG_RUNTIME_DIR", env),
            temporary: std::env::temp_dir(),
        })
    }

    /// The demo's own places: below the data directory, so that it never touches a real shop's.
    #[must_use]
    pub fn of_demo(&self) -> Self {
        let data = self.data.join("demo");
        Self::new(data.join("config.toml"), data)
    }

    /// The flags that name these places, each with a blank before it.
    #[must_use]
    pub fn flags(&self) -> String {
        format!(
            " --data-dir {} --config {}",
            self.data.display(),
            self.config.display()
        )
    }

    /// These two, and sockets in the data directory or the temporary folder.
    #[must_use]
    pub fn new(config: impl Into<PathBuf>, data: impl Into<PathBuf>) -> Self {
        Self {
            config: config.into(),
            data: data.into(),
            runtime: None,
            temporary: std::env::temp_dir(),
        }
    }

    /// The folder that relative paths of the settings begin at.
    #[must_use]
    pub fn config_dir(&self) -> &Path {
        self.config.parent().unwrap_or(Path::new("."))
    }

    /// The ledger.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.data.join("vend.db")
    }

    /// The file whose lock says that a vend is running here.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.data.join("vend.lock")
    }

    /// The seller's secret key.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.data.join("identity")
    }

    /// The folder of the logs.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.data.join("logs")
    }

    /// Where a vend that starts here puts its control socket: in the data directory, or where that path is too long for a
    /// socket, in the runtime folder, or in a private folder below the temporary one. To find a running vend's, see
    /// [`read_lock`].
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        let first = self.data.join("vend.sock");
        if first.as_os_str().len() <= SOCKET_MAX {
            return first;
        }
        let name = format!("vend-{:016x}.sock", hash(&self.data));
        self.runtime
            .iter()
            .map(|dir| dir.join(&name))
            .find(|path| path.as_os_str().len() <= SOCKET_MAX)
            .unwrap_or_else(|| self.temporary_dir().join(&name))
    }

    fn temporary_dir(&self) -> PathBuf {
        let name = format!("vend-{}", geteuid().as_raw());
        let longest = name.len() + "//vend-0123456789abcdef.sock".len();
        if self.temporary.as_os_str().len() + longest <= SOCKET_MAX {
            self.temporary.join(name)
        } else {
            Path::new("/tmp").join(name)
        }
    }

    /// Makes the data directory, the logs' folder and the socket's, private to the user. A data directory of ours that is
    /// open to others is closed.
    ///
    /// # Errors
    /// A folder of another user, one that is shared, or what the system says; each with its fix.
    pub fn prepare(&self) -> Result<(), PlaceError> {
        private(&self.data)?;
        private(&self.logs())?;
        let socket = self.socket();
        match socket.parent() {
            Some(dir) if dir == self.temporary_dir() => private(dir),
            _ => Ok(()),
        }
    }
}

/// The flag, or the variable where there is no flag. An empty one is as good as none.
fn given(flag: Option<&Path>, variable: &str, env: Env<'_>) -> Option<PathBuf> {
    flag.map(Path::to_owned)
        .or_else(|| env(variable).map(PathBuf::from))
        .filter(|path| !path.as_os_str().is_empty())
}

/// The XDG specification: a path in these variables that is not absolute is to be ignored.
fn absolute(variable: &str, env: Env<'_>) -> Option<PathBuf> {
    env(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

fn base(
    variable: &str,
    below_home: &str,
    flag: &'static str,
    env: Env<'_>,
) -> Result<PathBuf, PlaceError> {
    let base = match absolute(variable, env) {
        Some(base) => base,
        None => absolute("HOME", env)
            .ok_or(PlaceError::NoHome { flag })?
            .join(below_home),
    };
    Ok(base.join("vend"))
}

/// Two data directories have two names; the same one has the same name for as long as a vend runs there.
fn hash(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.as_os_str().as_bytes().hash(&mut hasher);
    hasher.finish()
}

/// Makes a folder that only we may enter, or closes ours to others.
fn private(dir: &Path) -> Result<(), PlaceError> {
    let path = || dir.display().to_string();
    let io = |cause| PlaceError::Io {
        path: path(),
        cause,
    };
    match atomic::create_private_dir(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(io(error)),
        _ => {}
    }
    let found = fs::metadata(dir).map_err(io)?;
    if !found.is_dir() {
        return Err(PlaceError::NotAFolder { path: path() });
    }
    let uid = geteuid().as_raw();
    if found.uid() != uid {
        return Err(PlaceError::NotOurs { path: path(), uid });
    }
    if found.mode() & OTHERS == 0 {
        return Ok(());
    }
    // Closing `/tmp` or a home folder that was given by mistake would break more than it protects.
    if !closable(dir).map_err(io)? {
        return Err(PlaceError::Shared { path: path() });
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(PRIVATE_DIR)).map_err(io)
}

/// Is it empty, or a folder that vend made?
fn closable(dir: &Path) -> std::io::Result<bool> {
    let empty = fs::read_dir(dir)?.next().is_none();
    let marked = MARKS.iter().any(|mark| dir.join(mark).exists());
    let logs = dir.file_name().is_some_and(|name| name == "logs");
    Ok(empty || marked || logs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(pairs: &[(&str, &str)], config: Option<&str>) -> Result<Places, PlaceError> {
        let env = |name: &str| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Places::find_in(config.map(Path::new), None, &env)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn open(path: &Path) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn flags_go_before_the_environment_and_that_before_the_base_directories() {
        let home = ("HOME", "/home/x");
        let plain = places(&[home], None).unwrap();
        assert_eq!(plain.config, Path::new("/home/x/.config/vend/config.toml"));
        assert_eq!(plain.data, Path::new("/home/x/.local/share/vend"));
        let xdg = [
            home,
            ("XDG_CONFIG_HOME", "/c"),
            ("XDG_DATA_HOME", "not/absolute"),
        ];
        let xdg = places(&xdg, None).unwrap();
        assert_eq!(xdg.config, Path::new("/c/vend/config.toml"));
        assert_eq!(xdg.data, Path::new("/home/x/.local/share/vend"));
        let vars = [("VEND_CONFIG", "/v.toml"), ("VEND_DATA_DIR", "/d")];
        let env = places(&vars, None).unwrap();
        assert_eq!((env.config, env.data), ("/v.toml".into(), "/d".into()));
        let flag = places(&vars, Some("/f.toml")).unwrap();
        assert_eq!(flag.config, Path::new("/f.toml"));
    }

    #[test]
    fn without_a_home_the_way_out_is_named() {
        let error = places(&[], None).unwrap_err().to_string();
        assert!(error.contains("set HOME, or give --config FILE"), "{error}");
    }

    #[test]
    fn the_data_directory_is_made_private() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::new("c", dir.path().join("a/b"));
        places.prepare().unwrap();
        places.prepare().unwrap();
        assert_eq!(mode(&places.data), 0o700);
        assert_eq!(mode(&places.logs()), 0o700);
    }

    #[test]
    fn our_own_folder_is_closed_and_a_shared_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::new("c", dir.path());
        open(dir.path());
        places.prepare().unwrap();
        assert_eq!(mode(dir.path()), 0o700);
        open(dir.path());
        let error = places.prepare().unwrap_err();
        assert!(matches!(error, PlaceError::Shared { .. }), "{error}");
        assert_eq!(mode(dir.path()), 0o755, "it is left as it was");
        fs::write(places.identity(), "").unwrap();
        places.prepare().unwrap();
        assert_eq!(mode(dir.path()), 0o700);
    }

    #[test]
    fn a_file_is_no_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let error = Places::new("c", dir.path().join("file"))
            .prepare()
            .unwrap_err();
        assert!(matches!(error, PlaceError::NotAFolder { .. }), "{error}");
    }

    #[test]
    fn a_long_path_has_its_socket_elsewhere() {
        let short = Places::new("c", "/d");
        assert_eq!(short.socket(), Path::new("/d/vend.sock"));
        let long = |runtime: Option<&str>, temporary: &str| Places {
            runtime: runtime.map(PathBuf::from),
            temporary: temporary.into(),
            ..Places::new("c", format!("/{}", "d".repeat(120)))
        };
        let far = "/r".repeat(50);
        for places in [
            long(Some("/run/user/1000"), "/tmp"),
            long(None, "/tmp"),
            long(Some(&far), &far),
        ] {
            let socket = places.socket();
            assert!(socket.as_os_str().len() <= SOCKET_MAX, "{socket:?}");
            assert_eq!(socket, places.socket());
        }
        assert!(
            long(Some("/run/user/1000"), "/tmp")
                .socket()
                .starts_with("/run/user/1000")
        );
        assert!(long(None, "/tmp").socket().starts_with("/tmp"));
    }
}
