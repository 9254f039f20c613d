//! `vend config`: the settings file.

use secrecy::ExposeSecret;

use super::Global;
use super::exit::{Exit, Outcome, say};
use super::{prompt, settings};
use crate::config::edit::{self, Change, EditError};
use crate::config::keys;

/// `vend config`
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    /// Where the file is
    Path,
    /// The settings in force, secrets masked
    Show,
    /// Is the file valid?
    Check,
    /// One setting
    Get {
        /// Such as price.min_price_sats
        key: String,
    },
    /// Change settings; comments stay. Several at once where only all of them together are valid
    Set {
        /// KEY VALUE, and more such pairs; a list as ["a", "b"] or a,b. A secret without a VALUE is asked for
        #[arg(required = true, value_name = "KEY VALUE", allow_hyphen_values = true)]
        pairs: Vec<String>,
    },
    /// Write a file with every default and what it is for
    Init,
}

fn edited(error: &EditError) -> Exit {
    match error {
        EditError::Settings(error) => Exit::settings(error),
        other => Exit::failed(other),
    }
}

/// Pairs as given; a secret comes from a prompt or stdin, as arguments can be seen by every user of the machine.
fn changes(pairs: &[String]) -> Result<Vec<(String, String)>, Exit> {
    let is_secret = |key: &str| keys::find(key).is_some_and(|(key, _)| key.is_secret());
    if let [key] = pairs
        && is_secret(key)
    {
        let secret = prompt::secret(key).map_err(|error| Exit::failed(&error))?;
        return Ok(vec![(key.clone(), secret.expose_secret().to_owned())]);
    }
    let mut changes = Vec::new();
    for pair in pairs.chunks(2) {
        let [key, value] = pair else {
            return Err(Exit::usage("config set wants KEY VALUE, in pairs"));
        };
        if is_secret(key) && !value.trim_start().starts_with('{') {
            return Err(Exit::usage(format!(
                "{key} is a secret, and arguments can be seen by others: `vend config set {key}` asks for it, \
                 or give {{ env = \"NAME\" }} or {{ file = \"PATH\" }}"
            )));
        }
        changes.push((key.clone(), value.clone()));
    }
    Ok(changes)
}

/// Shows or changes the settings file.
pub fn main(global: &Global, args: Args) -> Outcome {
    let path = global.places()?.config;
    match args.what {
        What::Path => say(&path.display().to_string()),
        What::Show => {
            let text = edit::show(&path).map_err(|error| Exit::settings(&error))?;
            say(text.trim_end())
        }
        What::Check => {
            settings::load(&path)?;
            say("the settings are valid")
        }
        What::Get { key } => {
            match edit::get(&path, &key).map_err(|error| Exit::settings(&error))? {
                Some(value) => say(&value),
                None => Err(Exit::failed(&format!(
                    "{key} is not set and has no default"
                ))),
            }
        }
        What::Set { pairs } => {
            let changes = changes(&pairs)?;
            let edits: Vec<Change<'_>> = changes
                .iter()
                .map(|(key, text)| Change::Set {
                    key,
                    text: Some(text),
                })
                .collect();
            edit::apply(&path, &edits, &|new| settings::fits(&path, new))
                .map_err(|error| edited(&error))?;
            for (key, _) in &changes {
                say(&format!("{key} is set in {}", path.display()))?;
            }
            Ok(())
        }
        What::Init => {
            edit::init(&path).map_err(|error| edited(&error))?;
            say(&format!("written to {}", path.display()))
        }
    }
}
