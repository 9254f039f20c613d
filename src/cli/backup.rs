//! `vend backup FILE`: a consistent copy of the ledger while it is in use.

use std::path::PathBuf;

use super::Global;
use super::ask;
use super::exit::{Exit, Outcome, runtime, say};
use super::host;
use crate::config::note;
use crate::domain::command::{Command, Reply};

/// `vend backup`
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The copy; it must not exist yet
    file: PathBuf,
}

/// Copies the ledger, and reads the copy before it says so. A vend that runs copies what it holds, whatever has become of the
/// file meanwhile.
pub fn main(global: &Global, args: &Args) -> Outcome {
    let places = global.places()?;
    let path = places.database();
    let to = std::path::absolute(&args.file).unwrap_or_else(|_| args.file.clone());
    runtime()?.block_on(async {
        if let Some(mut client) = ask::connect(&places).await {
            let file = to.clone();
            let reply = client.ask(Command::Backup { file }).await;
            return match reply.map_err(|error| Exit::failed(&error))? {
                Reply::Done { detail } => say(&detail),
                Reply::Refused { detail } => Err(Exit::failed(&detail)),
                _ => Err(Exit::failed(&"the running vend gave another answer")),
            };
        }
        let Some(ledger) = host::look(&path)? else {
            let words = format!("there is no ledger at {}", path.display());
            return Err(Exit::failed(&words));
        };
        let jobs = ledger.backup(&to).await;
        let jobs = jobs.map_err(|error| Exit::failed(&error))?;
        // Without the note the copy is as good.
        let _ = note::write(&places.data, Some(&to));
        say(&format!(
            "copied {jobs} jobs to {}, and read the copy again",
            args.file.display()
        ))
    })
}
