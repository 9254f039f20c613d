//! Secrets of the settings: read from where they are, and a word when others can read them too.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::atomic;
use super::schema::{SecretSource, Settings};
use crate::domain::text::clean;

/// The largest secret, bytes. A macaroon is a few hundred.
const SECRET_MAX: u64 = 65_536;

/// Reads a secret. A relative path begins at `config_dir`, and `~/` at the home folder.
///
/// # Errors
/// One line that says where it was looked for and why it is not there; never any of the secret.
pub fn resolve(source: &SecretSource, config_dir: &Path) -> Result<SecretString, String> {
    resolve_with(source, config_dir, &|name| std::env::var_os(name))
}

/// As [`resolve`], with an environment of the caller's.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_with(
    source: &SecretSource,
    config_dir: &Path,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Result<SecretString, String> {
    match source {
        SecretSource::Plain(text) if text.trim().is_empty() => {
            Err("the secret is empty".to_owned())
        }
        SecretSource::Plain(text) => Ok(text.as_str().into()),
        SecretSource::Env { env: name } => from_env(name, env),
        SecretSource::File { file } => from_file(&place(file, config_dir, env)),
    }
}

fn from_env(name: &str, env: &dyn Fn(&str) -> Option<OsString>) -> Result<SecretString, String> {
    let shown = clean(name, 100);
    let value = env(name).ok_or_else(|| {
        format!("the environment variable {shown} is not set; set it where vend is started")
    })?;
    let value = value
        .into_string()
        .map_err(|_| format!("the environment variable {shown} is not text"))?;
    if value.trim().is_empty() {
        return Err(format!("the environment variable {shown} is empty"));
    }
    Ok(value.into())
}

fn from_file(path: &Path) -> Result<SecretString, String> {
    let shown = clean(&path.to_string_lossy(), 4_096);
    let mut bytes = Zeroizing::new(Vec::new());
    let read = File::open(path).and_then(|file| file.take(SECRET_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("the file {shown} can't be read: {error}"))?;
    if bytes.len() as u64 > SECRET_MAX {
        return Err(format!(
            "the file {shown} is larger than {SECRET_MAX} bytes"
        ));
    }
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return macaroon(&bytes).ok_or_else(|| {
            format!("the file {shown} is not text; write a binary secret as hex: xxd -p -c 0 FILE")
        });
    };
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(format!("the file {shown} is empty"));
    }
    Ok(text.into())
}

/// The hex digits of a binary macaroon (its second format: the first byte is its number), which is how LND keeps its own.
fn macaroon(bytes: &[u8]) -> Option<SecretString> {
    use std::fmt::Write as _;
    if bytes.first() != Some(&2) {
        return None;
    }
    let mut hex = Zeroizing::new(String::with_capacity(bytes.len() * 2));
    for byte in bytes {
        // Writing to a text can't fail.
        let _ = write!(hex, "{byte:02x}");
    }
    Some(hex.as_str().into())
}

/// Where a path of the settings leads: a relative one begins at `config_dir`, and `~/` at the home folder.
#[must_use]
pub fn place(path: &str, config_dir: &Path, env: &dyn Fn(&str) -> Option<OsString>) -> PathBuf {
    match (path.strip_prefix("~/"), env("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => config_dir.join(path),
    }
}

/// A warning for each file that holds a secret and that others than its owner may read or write, with the file.
#[must_use]
pub fn warnings(settings: &Settings, config: &Path) -> Vec<(PathBuf, String)> {
    let dir = config.parent().unwrap_or(Path::new("."));
    let mut files: Vec<PathBuf> = Vec::new();
    for held in settings.secrets() {
        let file = match held.source {
            SecretSource::Plain(_) => config.to_owned(),
            SecretSource::File { file } => place(file, dir, &|name| std::env::var_os(name)),
            SecretSource::Env { .. } => continue,
        };
        if !files.contains(&file) {
            files.push(file);
        }
    }
    files
        .into_iter()
        .filter_map(|file| exposed(&file).map(|words| (file, words)))
        .collect()
}

/// A warning, with its fix, where others than its owner may read or write the file. An absent file has none.
#[must_use]
pub fn exposed(path: &Path) -> Option<String> {
    // A file that can't be looked at is the business of whoever reads it.
    let open = atomic::open_to_others(path).unwrap_or(false);
    open.then(|| {
        let shown = clean(&path.to_string_lossy(), 4_096);
        format!("{shown} holds a secret and other users can get at it: run `chmod 600 {shown}`")
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use secrecy::ExposeSecret;

    use super::*;

    fn file(name: &str) -> SecretSource {
        SecretSource::File {
            file: name.to_owned(),
        }
    }

    fn read(source: &SecretSource, dir: &Path) -> Result<String, String> {
        let home = dir.to_owned();
        let env = move |name: &str| match name {
            "KEY" => Some(OsString::from("from env")),
            "EMPTY" => Some(OsString::new()),
            "HOME" => Some(home.clone().into()),
            _ => None,
        };
        resolve_with(source, dir, &env).map(|secret| secret.expose_secret().to_owned())
    }

    #[test]
    fn a_secret_comes_from_where_the_settings_say() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("key"), "two\nlines\n").unwrap();
        fs::write(dir.path().join("dos"), "one\r\n").unwrap();
        let env = |name: &str| SecretSource::Env {
            env: name.to_owned(),
        };
        let dir = dir.path();
        assert_eq!(read(&env("KEY"), dir).unwrap(), "from env");
        assert_eq!(read(&file("key"), dir).unwrap(), "two\nlines");
        assert_eq!(read(&file("~/dos"), dir).unwrap(), "one");
        assert_eq!(read(&SecretSource::Plain("x".into()), dir).unwrap(), "x");
        assert_eq!(
            read(&env("EMPTY"), dir).unwrap_err(),
            "the environment variable EMPTY is empty"
        );
        assert!(
            read(&env("NONE"), dir)
                .unwrap_err()
                .contains("NONE is not set")
        );
        assert!(
            read(&file("none"), dir)
                .unwrap_err()
                .contains("none can't be read")
        );
    }

    #[test]
    fn a_secret_that_is_no_text_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("binary"), [0xff, 0xfe]).unwrap();
        fs::write(dir.path().join("empty"), "\n").unwrap();
        fs::write(dir.path().join("large"), vec![b'x'; 70_000]).unwrap();
        for name in ["binary", "empty", "large"] {
            assert!(read(&file(name), dir.path()).is_err(), "{name}");
        }
    }

    #[test]
    fn a_macaroon_file_is_read_as_the_hex_that_a_header_holds() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join("invoice.macaroon"),
            b"\x02\x01\x03lnd\xff\x0a",
        )
        .unwrap();
        assert_eq!(
            read(&file("invoice.macaroon"), dir.path()).unwrap(),
            "0201036c6e64ff0a"
        );
    }

    #[test]
    fn a_readable_secret_is_warned_about_with_the_fix() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        fs::write(&config, "").unwrap();
        fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
        let mut settings = Settings::default();
        assert!(warnings(&settings, &config).is_empty(), "no secret in it");
        settings.endpoints.0[0].api_key = Some(SecretSource::Plain("hunter2".to_owned()));
        let told = warnings(&settings, &config);
        assert_eq!(told[0].0, config);
        assert!(
            told[0]
                .1
                .ends_with(&format!("run `chmod 600 {}`", config.display()))
        );
        assert!(!told[0].1.contains("hunter2"));
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(warnings(&settings, &config).is_empty());
        settings.endpoints.0[0].api_key = Some(file("absent"));
        assert!(warnings(&settings, &config).is_empty());
    }
}
