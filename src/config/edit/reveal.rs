//! Showing one secret to the person who asks for it.

use std::path::Path;

use secrecy::SecretString;

use crate::config::keys::{self, Section};
use crate::config::load;
use crate::config::schema::{SecretSource, Settings};
use crate::config::secret;

/// The value of a key as it is, a secret's too, read from where the settings say. For a screen that shows it for a moment.
///
/// # Errors
/// One line that says why it can't be read; never any of the secret.
pub fn reveal(path: &Path, dotted: &str) -> Result<SecretString, String> {
    let settings = load::load(path).map_err(|error| error.to_string())?;
    let (key, name) = keys::find(dotted).ok_or("there is no such setting")?;
    if key.is_secret() {
        let source = source(&settings, key.section, key.field, name).ok_or("it is not set")?;
        return secret::resolve(source, path.parent().unwrap_or(Path::new(".")));
    }
    let text = key.text_in(&settings, name).ok_or("it is not set")?;
    Ok(text.into())
}

/// Where a key's secret comes from; none where it is not set, or no secret.
#[must_use]
pub fn source<'a>(
    settings: &'a Settings,
    section: Section,
    field: &str,
    name: Option<&str>,
) -> Option<&'a SecretSource> {
    let all = settings.secrets().into_iter();
    let mut found = all.filter(|held| held.section == section && held.field == field);
    found
        .find(|held| held.table.is_none() || held.table == name)
        .map(|held| held.source)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn every_secret_of_the_settings_can_be_revealed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        for key in keys::KEYS.iter().filter(|key| key.is_secret()) {
            let backend = match key.field {
                "uri" => "nwc",
                "invoice_key" => "lnbits",
                "macaroon" => "lnd",
                "rune" => "cln",
                _ => "phoenixd",
            };
            let text = if key.section == Section::Gateway {
                "[gateway]\nnwc = { file = \"hush\" }\n".to_owned()
            } else if key.section == Section::Endpoint {
                format!("[[endpoint]]\n{} = \"hush\"\n", key.field)
            } else if backend == "nwc" {
                "[wallet]\nbackend = \"nwc\"\nuri = { file = \"hush\" }\n".to_owned()
            } else {
                format!(
                    "[wallet]\nbackend = \"{backend}\"\nurl = \"http://x\"\n{} = \"hush\"\n",
                    key.field
                )
            };
            std::fs::write(&path, text).unwrap();
            std::fs::write(dir.path().join("hush"), "hush\n").unwrap();
            let name = key.name().replace("NAME", "local");
            assert_eq!(
                reveal(&path, &name).unwrap().expose_secret(),
                "hush",
                "{name}"
            );
        }
        assert!(reveal(&path, "wallet.uri").is_err());
        assert!(reveal(&path, "nothing").is_err());
    }
}
