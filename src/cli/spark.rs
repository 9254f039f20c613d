//! `vend spark`: the Spark wallet's helper and its words. Words come from a prompt or stdin, never from an argument, and are
//! shown once.

use std::io::{IsTerminal, Write};

use secrecy::ExposeSecret;
use serde::Serialize;
use zeroize::Zeroizing;

use super::Global;
use super::ask::Json;
use super::exit::{Exit, Outcome, json, runtime, say};
use super::{prompt, settings};
use crate::config::place::{Places, read_lock};
use crate::config::schema::{Backend, Wallet};
use crate::wallet::spark::setup::{SDK_VERSION, Setup};
use crate::wallet::spark::{DEFAULT_ACCOUNT, words};

/// `vend spark`
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Copy, Debug, clap::Subcommand)]
enum What {
    /// Install the helper into the data directory: npm fetches the official Spark SDK (about 180 MB; 300 MB while it installs)
    Install(Install),
    /// Make a new wallet, and show its twelve words once
    Create(Keep),
    /// Take in a wallet by its words, from a prompt or stdin
    Restore(Keep),
    /// The wallet's Spark address; asks no server
    Address(Json),
}

#[derive(Clone, Copy, Debug, clap::Args)]
struct Install {
    /// Install again, though it is installed
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    json: Json,
}

#[derive(Clone, Copy, Debug, clap::Args)]
struct Keep {
    /// Though there is a wallet already; its words are put aside, not erased
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Shown<'a> {
    spark_address: String,
    identity: String,
    network: &'a str,
    account: u32,
}

/// Installs, makes, takes in or shows.
pub fn main(global: &Global, args: Args) -> Outcome {
    let places = global.prepared()?;
    let setup = Setup::new(&places.data);
    match args.what {
        What::Install(args) => install(&setup, args),
        What::Create(keep) => create(&places, &setup, keep),
        What::Restore(keep) => restore(&places, &setup, keep),
        What::Address(as_json) => address(&settings::load(&places.config)?.wallet, &setup, as_json),
    }
}

/// To stderr, so that a pipe never mixes it with what was asked for. With stderr gone there is nobody to tell.
fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn install(setup: &Setup, args: Install) -> Outcome {
    let tick = |secs| {
        if secs == 0 {
            let folder = setup.folder();
            note(&format!(
                "npm installs the Spark SDK {SDK_VERSION} into {}; this may take minutes",
                folder.display()
            ));
        } else {
            note(&format!("  npm is at work, {secs} s"));
        }
    };
    let installed = runtime()?
        .block_on(setup.install(args.force, tick))
        .map_err(|error| Exit::failed(&error))?;
    if args.json.json {
        return json(&installed);
    }
    let (sdk, node) = (&installed.sdk, &installed.node);
    if installed.changed {
        say(&format!("installed: SDK {sdk} on Node {node}"))
    } else {
        say(&format!("installed already: SDK {sdk} on Node {node}"))
    }
}

fn create(places: &Places, setup: &Setup, keep: Keep) -> Outcome {
    vacant(places, setup, keep)?;
    let words = words::generate().map_err(|error| Exit::failed(&error))?;
    keep_words(setup, &words, keep)?;
    note(
        "These words are the wallet. Write them down now, on paper: they are not shown again, and whoever has them has",
    );
    note("the money. `vend backup` does not hold them.");
    say(&words)
}

fn restore(places: &Places, setup: &Setup, keep: Keep) -> Outcome {
    // Before a person types twelve words for nothing.
    vacant(places, setup, keep)?;
    let typed = prompt::secret("the wallet's words").map_err(|error| Exit::failed(&error))?;
    let words = words::parse(typed.expose_secret()).map_err(|error| Exit::failed(&error))?;
    keep_words(setup, &words, keep)
}

fn vacant(places: &Places, setup: &Setup, keep: Keep) -> Outcome {
    let path = setup.words();
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    if !keep.force {
        let path = path.display().to_string();
        return Err(Exit::failed(&words::WordsError::Exists { path }));
    }
    // It would go on with the old words until its helper is started again, and with the new ones from then on.
    if read_lock(places).is_some() {
        return Err(Exit::held(
            &"a vend is running on this data directory: stop it with `vend stop` first",
        ));
    }
    Ok(())
}

fn keep_words(setup: &Setup, words: &Zeroizing<String>, keep: Keep) -> Outcome {
    let path = setup.words();
    let aside = words::keep(&path, words, keep.force).map_err(|error| Exit::failed(&error))?;
    if let Some(aside) = aside {
        note(&format!(
            "the old wallet's words are in {}",
            aside.display()
        ));
    }
    note(&format!(
        "kept in {}, readable by you alone",
        path.display()
    ));
    Ok(())
}

fn address(wallet: &Wallet, setup: &Setup, as_json: Json) -> Outcome {
    if wallet.backend != Backend::Spark {
        note(&format!(
            "the shop sells with {}; this is the Spark wallet of the data directory",
            wallet.backend.as_str()
        ));
    }
    let account = wallet.account.unwrap_or(DEFAULT_ACCOUNT);
    let found = runtime()?
        .block_on(setup.address(wallet.network, account))
        .map_err(|error| Exit::failed(&error))?;
    if as_json.json {
        return json(&Shown {
            spark_address: found.spark_address,
            identity: found.identity,
            network: wallet.network.as_str(),
            account,
        });
    }
    if std::io::stdout().is_terminal() {
        note(
            "For payments from Spark to Spark. Buyers pay the invoices that vend makes, not this address.",
        );
    }
    say(&found.spark_address)
}
