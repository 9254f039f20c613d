//! Wallet settings that are kept for as long as invoices made under them may bring money, whatever the settings file says by
//! then. Each is a private file (0600) in the data directory; a secret stays where it was: what named a file or a variable
//! still does.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::atomic;
use super::schema::{SecretSource, Wallet};
use super::secret;

/// Their folder in the data directory.
pub const FOLDER: &str = "wallets";

const ENDING: &str = "toml";
const HEAD: &str = "# Kept by vend for as long as invoices made with this wallet may bring money; then it is removed.\n\n";

/// A wallet's settings under the name that its invoices know.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchivedWallet {
    /// The name.
    pub key: String,
    /// The settings; paths in them are absolute.
    pub wallet: Wallet,
}

#[derive(Serialize, Deserialize)]
struct Page {
    wallet: Wallet,
}

/// Keeps these settings, unless they are kept already: the name they are kept under. `config` is the settings file, at whose
/// folder relative paths begin.
///
/// # Errors
/// What the system says; then nothing was kept.
pub fn keep(data: &Path, config: &Path, wallet: &Wallet) -> io::Result<String> {
    let wallet = absolute(wallet, config);
    let (kept, _) = all(data)?;
    if let Some(same) = kept.into_iter().find(|kept| kept.wallet == wallet) {
        return Ok(same.key);
    }
    let key = format!("{}-{:08x}", wallet.backend.as_str(), rand::random::<u32>());
    let text = written(&wallet).map_err(io::Error::other)?;
    atomic::create(&path(data, &key), format!("{HEAD}{text}").as_bytes())?;
    Ok(key)
}

/// The settings as they are, with the secrets that are in them: this file is private, and they are nowhere else any more.
fn written(wallet: &Wallet) -> Result<String, toml_edit::ser::Error> {
    let page = Page {
        wallet: wallet.clone(),
    };
    let mut document = toml_edit::ser::to_document(&page)?;
    for (key, secret) in wallet.secrets() {
        if let Some(SecretSource::Plain(text)) = secret {
            document["wallet"][key] = toml_edit::value(text);
        }
    }
    Ok(document.to_string())
}

/// Everything that is kept, by name; and a line for each file that can't be read, which is left as it is.
///
/// # Errors
/// Where the folder can't be read.
pub fn all(data: &Path) -> io::Result<(Vec<ArchivedWallet>, Vec<String>)> {
    let (mut kept, mut wrong) = (Vec::new(), Vec::new());
    let folder = data.join(FOLDER);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((kept, wrong)),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let file = entry?.path();
        let key = file.file_stem().and_then(|stem| stem.to_str());
        let (Some(key), true) = (key, file.extension().is_some_and(|it| it == ENDING)) else {
            continue;
        };
        match read(&file) {
            Ok(wallet) => kept.push(ArchivedWallet {
                key: key.to_owned(),
                wallet,
            }),
            Err(why) => wrong.push(format!("{}: {why}", file.display())),
        }
    }
    kept.sort_by(|a, b| a.key.cmp(&b.key));
    Ok((kept, wrong))
}

/// The parser's own words would repeat the line, and with it a secret.
fn read(file: &Path) -> Result<Wallet, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let page: Page = toml_edit::de::from_str(&text)
        .map_err(|_| "it does not hold a wallet's settings as vend writes them".to_owned())?;
    Ok(page.wallet)
}

/// Keeps them no longer.
///
/// # Errors
/// What the system says.
pub fn forget(data: &Path, key: &str) -> io::Result<()> {
    match std::fs::remove_file(path(data, key)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn path(data: &Path, key: &str) -> PathBuf {
    data.join(FOLDER).join(format!("{key}.{ENDING}"))
}

/// The same settings wherever the settings file is.
fn absolute(wallet: &Wallet, config: &Path) -> Wallet {
    let folder = config.parent().unwrap_or(Path::new("."));
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let env = |name: &str| -> Option<OsString> { std::env::var_os(name) };
    let place = |path: &str| {
        let place = secret::place(path, &folder, &env);
        place.to_string_lossy().into_owned()
    };
    let mut wallet = wallet.clone();
    let secrets = wallet.secrets_mut().into_iter();
    for source in secrets.filter_map(|(_, secret)| secret.as_mut()) {
        if let SecretSource::File { file } = source {
            *file = place(file);
        }
    }
    if let Some(certificate) = &mut wallet.certificate {
        *certificate = place(certificate);
    }
    wallet
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::schema::Backend;

    fn lnbits(key: SecretSource) -> Wallet {
        Wallet {
            backend: Backend::Lnbits,
            url: Some("https://lnbits.example".to_owned()),
            invoice_key: Some(key),
            ..Wallet::default()
        }
    }

    fn file(name: &str) -> SecretSource {
        SecretSource::File {
            file: name.to_owned(),
        }
    }

    #[test]
    fn settings_are_kept_once_privately_and_with_their_secrets_where_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        let keep = |wallet: &Wallet| keep(dir.path(), &config, wallet).unwrap();
        let key = keep(&lnbits(file("lnbits.key")));
        assert_eq!(keep(&lnbits(file("lnbits.key"))), key, "kept already");
        let env = SecretSource::Env {
            env: "KEY".to_owned(),
        };
        let other = keep(&lnbits(env.clone()));
        assert_ne!(other, key);
        let (kept, wrong) = all(dir.path()).unwrap();
        assert_eq!((kept.len(), wrong), (2, Vec::new()));
        let of = |key: &str| kept.iter().find(|one| one.key == key).unwrap();
        assert_eq!(of(&other).wallet.invoice_key, Some(env));
        let plain = keep(&lnbits(SecretSource::Plain("hunter2".to_owned())));
        let (all_kept, _) = all(dir.path()).unwrap();
        let plain = all_kept.iter().find(|one| one.key == plain).unwrap();
        let own = SecretSource::Plain("hunter2".to_owned());
        assert_eq!(plain.wallet.invoice_key, Some(own), "it is nowhere else");
        forget(dir.path(), &plain.key).unwrap();
        let named = dir.path().join("lnbits.key");
        let named = file(&named.to_string_lossy());
        assert_eq!(of(&key).wallet.invoice_key, Some(named));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path(dir.path(), &key)), 0o600);
        assert_eq!(mode(&dir.path().join(FOLDER)), 0o700);
        forget(dir.path(), &key).unwrap();
        forget(dir.path(), &key).unwrap();
        assert_eq!(all(dir.path()).unwrap().0.len(), 1);
    }

    #[test]
    fn a_file_that_can_not_be_read_is_told_without_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(all(dir.path()).unwrap(), (Vec::new(), Vec::new()));
        std::fs::create_dir(dir.path().join(FOLDER)).unwrap();
        std::fs::write(path(dir.path(), "x"), "wallet = \"secret-word\"").unwrap();
        let (kept, wrong) = all(dir.path()).unwrap();
        assert!(kept.is_empty() && wrong.len() == 1);
        assert!(!wrong[0].contains("secret-word"), "{wrong:?}");
    }
}
