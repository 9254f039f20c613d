//! `vend config`: the settings file.

use super::Global;
use super::exit::{Exit, Outcome, say};
use crate::config::edit::{self, EditError};
use crate::config::load;

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
    /// Change one setting; comments stay
    Set {
        /// Such as price.min_price_sats
        key: String,
        /// The value; a list as ["a", "b"] or a,b
        #[arg(allow_hyphen_values = true)]
        value: String,
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
            load(&path).map_err(|error| Exit::settings(&error))?;
            say("the settings are valid")
        }
        What::Get { key } => match edit::get(&path, &key).map_err(|error| Exit::settings(&error))? {
            Some(value) => say(&value),
            None => Err(Exit::failed(&format!("{key} is not set and has no default"))),
        },
        What::Set { key, value } => {
            edit::set(&path, &key, &value).map_err(|error| edited(&error))?;
            say(&format!("{key} is set in {}", path.display()))
        }
        What::Init => {
            edit::init(&path).map_err(|error| edited(&error))?;
            say(&format!("written to {}", path.display()))
        }
    }
}
