//! `vend config`: the settings file.

use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;

use super::Global;
use super::ask::connect;
use super::exit::{Exit, Outcome, runtime, say, warn};
use super::{prompt, settings};
use crate::config::edit::{self, Change, EditError};
use crate::config::place::Places;
use crate::config::schema::SecretSource;
use crate::config::{Settings, keys, load, secret};
use crate::domain::command::{Command, Reply};

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
        /// KEY VALUE, and more such pairs; a list as ["a", "b"] or a,b. A secret is asked for where its VALUE is - or left out
        #[arg(required = true, value_name = "KEY VALUE", allow_hyphen_values = true)]
        pairs: Vec<String>,
    },
    /// Write a file with every default and what it is for
    Init,
}

/// In the place of a secret: it is asked for.
const ASK: &str = "-";

fn edited(error: &EditError) -> Exit {
    match error {
        EditError::Settings(error) => Exit::settings(error),
        other => Exit::failed(other),
    }
}

/// Pairs as given; a secret comes from a prompt or stdin, as arguments can be seen by every user of the machine.
fn changes(pairs: &[String], path: &Path) -> Result<Vec<(String, String)>, Exit> {
    let is_secret = |key: &str| keys::find(key).is_some_and(|(key, _)| key.is_secret());
    let asked = |key: &str| -> Result<String, Exit> {
        let secret = prompt::secret(key).map_err(|error| Exit::failed(&error))?;
        Ok(secret.expose_secret().to_owned())
    };
    let mut changes = Vec::new();
    for pair in pairs.chunks(2) {
        let (key, value) = match pair {
            [key, value] => (key, value.as_str()),
            [key] if is_secret(key) => (key, ASK),
            _ => return Err(Exit::usage("config set wants KEY VALUE, in pairs")),
        };
        let value = match value {
            ASK if is_secret(key) => asked(key)?,
            value if is_secret(key) && !value.trim_start().starts_with('{') => {
                return Err(Exit::usage(format!(
                    "{key} is a secret, and arguments can be seen by others: `vend config set {key} -` asks for it, \
                     or give {{ env = \"NAME\" }} or {{ file = \"PATH\" }}"
                )));
            }
            value if is_secret(key) => from_here(value, path),
            value => value.to_owned(),
        };
        changes.push((key.clone(), value));
    }
    Ok(changes)
}

/// A file is looked for beside the settings. One that is not there, but where the command was given, is named by its whole path.
fn from_here(value: &str, path: &Path) -> String {
    let named = value
        .parse::<toml_edit::Value>()
        .ok()
        .and_then(|value| Some(value.as_inline_table()?.get("file")?.as_str()?.to_owned()));
    let whole = named.and_then(|file| {
        if place_of(&file, path).exists() {
            return None;
        }
        let here = std::path::absolute(&file).ok()?;
        here.is_file().then(|| here.to_string_lossy().into_owned())
    });
    match whole {
        Some(whole) => format!("{{ file = {} }}", toml_edit::Value::from(whole)),
        None => value.to_owned(),
    }
}

/// Where a file of the settings is looked for.
fn place_of(file: &str, path: &Path) -> PathBuf {
    let folder = path.parent().unwrap_or(Path::new("."));
    secret::place(file, folder, &|name| std::env::var_os(name))
}

/// What the settings name and what is not there: a line for each.
fn missing(settings: &Settings, path: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut look = |keys: &[&str], name: String, file: &str| {
        let place = place_of(file, path);
        if let Err(error) = std::fs::File::open(&place) {
            let line = load::line_of_key(path, keys);
            let line = line.map_or_else(String::new, |line| format!(":{line}"));
            let shown = place.display();
            lines.push(format!(
                "{}{line}: {name}: the file {shown} can't be read ({error}): put it there, for you alone (chmod 600 {shown}); or `vend config set {name} -` asks for the secret itself",
                path.display()
            ));
        }
    };
    for held in settings.secrets() {
        if let SecretSource::File { file } = held.source {
            let section = held.section.path().join(".");
            let table = held
                .table
                .map_or_else(String::new, |name| format!("{name}."));
            look(
                &[section.as_str(), held.field],
                format!("{section}.{table}{}", held.field),
                file,
            );
        }
    }
    lines
}

fn check(path: &Path) -> Outcome {
    let wrong = load::problems(path);
    let mut lines: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    if lines.is_empty() {
        lines = missing(&settings::load(path)?, path);
    }
    if lines.is_empty() {
        return say("the settings are valid");
    }
    Err(Exit::settings(&lines.join("\nvend: ")))
}

/// A shop that runs takes the change at once, and says what is in force and what waits. Where none runs there is nothing to say.
fn tell_the_running(places: &Places) -> Outcome {
    runtime()?.block_on(async {
        let Some(mut client) = connect(places).await else {
            return Ok(());
        };
        match client.ask(Command::ApplySettings).await {
            Ok(Reply::Done { detail }) => say(&format!("the running vend: {detail}")),
            Ok(Reply::Refused { detail }) => Err(Exit::failed(&format!(
                "it is written, and the running vend does not take it: {detail}"
            ))),
            Ok(_) => Ok(()),
            Err(error) => Err(Exit::failed(&format!(
                "it is written, and the running vend could not be told: {error}"
            ))),
        }
    })
}

/// Shows or changes the settings file.
pub fn main(global: &Global, args: Args) -> Outcome {
    let places = global.places()?;
    let path = places.config.clone();
    match args.what {
        What::Path => say(&path.display().to_string()),
        What::Show => {
            let text = edit::show(&path).map_err(|error| Exit::settings(&error))?;
            say(text.trim_end())
        }
        What::Check => check(&path),
        What::Get { key } => {
            match edit::get(&path, &key).map_err(|error| Exit::settings(&error))? {
                Some(value) => say(&value),
                None => Err(Exit::failed(&format!(
                    "{key} is not set and has no default"
                ))),
            }
        }
        What::Set { pairs } => {
            let changes = changes(&pairs, &path)?;
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
            if let Ok(settings) = settings::load(&path) {
                for line in missing(&settings, &path) {
                    warn(&line);
                }
                for (_, words) in secret::warnings(&settings, &path) {
                    warn(&words);
                }
            }
            tell_the_running(&places)
        }
        What::Init => {
            edit::init(&path).map_err(|error| edited(&error))?;
            say(&format!("written to {}", path.display()))
        }
    }
}
