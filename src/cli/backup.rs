//! `vend backup FILE`: a consistent copy of the ledger while it is in use.

use std::path::PathBuf;

use super::Global;
use super::exit::{Exit, Outcome, runtime, say};
use super::host;

/// `vend backup`
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The copy; it must not exist yet
    file: PathBuf,
}

/// Copies the ledger.
pub fn main(global: &Global, args: &Args) -> Outcome {
    let path = global.places()?.database();
    let Some(ledger) = host::look(&path)? else {
        return Err(Exit::failed(&format!(
            "there is no ledger at {}",
            path.display()
        )));
    };
    let to = args.file.clone();
    runtime()?
        .block_on(async { ledger.backup(&to).await })
        .map_err(|error| Exit::failed(&error))?;
    say(&format!("copied to {}", args.file.display()))
}
