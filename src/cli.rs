//! The commands: each prints, none decides.

// The comments here are the help texts that people read in a terminal.
#![allow(clippy::doc_markdown, clippy::doc_link_with_quotes)]

mod ask;
mod audit;
mod backup;
mod buyers;
mod config;
mod dashboard;
mod demo;
mod doctor;
mod environment;
mod exit;
mod gateway;
mod guard;
mod host;
mod jobs;
mod keys;
mod log;
mod manual;
mod market;
mod price;
mod prompt;
mod purchases;
mod qr;
mod queue;
mod receipts;
mod recover;
mod request;
mod restore;
mod rows;
mod run;
mod service;
mod settings;
mod signals;
mod spark;
mod stats;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::place::Places;
use crate::domain::text::plain;
use exit::{Exit, Outcome};

/// A shop on Nostr for the work of your own language model, paid over Lightning.
///
/// Without a command: the dashboard. If a vend is running on the data directory it attaches to that one, otherwise it
/// starts the shop inside.
#[derive(Debug, Parser)]
#[command(name = "vend", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    /// Go online at once (dashboard)
    #[arg(long)]
    online: bool,
    #[command(subcommand)]
    command: Option<Sub>,
}

/// Flags of every command.
#[derive(Clone, Debug, clap::Args)]
pub struct Global {
    /// The settings file [default: $XDG_CONFIG_HOME/vend/config.toml]
    #[arg(long, global = true, value_name = "FILE", env = "VEND_CONFIG")]
    config: Option<PathBuf>,
    /// Ledger, identity, logs [default: $XDG_DATA_HOME/vend]
    #[arg(long, global = true, value_name = "DIR", env = "VEND_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// What goes to the log folder: error, warn, info, debug, or a tracing filter
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info")]
    log: String,
    /// Begin an empty ledger where the one that this identity has sold with is gone
    #[arg(long, global = true)]
    new_ledger: bool,
    /// Draw with ASCII characters only
    #[arg(long, global = true)]
    ascii: bool,
    /// Draw without colours (also NO_COLOR)
    #[arg(long, global = true)]
    no_color: bool,
}

impl Global {
    fn places(&self) -> Result<Places, Exit> {
        Places::find(self.config.as_deref(), self.data_dir.as_deref())
            .map_err(|error| Exit::failed(&error))
    }

    /// The places, with a data directory that is there and private.
    fn prepared(&self) -> Result<Places, Exit> {
        let places = self.places()?;
        places.prepare().map_err(|error| Exit::failed(&error))?;
        Ok(places)
    }
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// Run the shop with no screen, for systemd or a container; goes online at once
    Run(run::Args),
    /// The whole shop on this machine: relay, model, play money and a buyer; no real money moves
    Demo(demo::Args),
    /// Look at everything the shop needs, and say what mends what is wrong
    Doctor(ask::Json),
    /// How the running vend is doing
    Status(ask::Json),
    /// Tell the running vend to go online
    Online,
    /// Tell the running vend to go offline, when the running jobs are done
    Offline(ask::Now),
    /// Take no new work for a while; running work is finished, and it goes on by itself
    Snooze(ask::Snooze),
    /// End a snooze
    Resume,
    /// Tell the running vend to end
    Stop(ask::Now),
    /// Be a buyer: publish a request and print what comes back
    Request(request::Args),
    /// Buy with any program that speaks to OpenAI: a server on this machine that finds sellers on Nostr and pays them
    Gateway(gateway::Args),
    /// What `vend request --pay` and the gateway bought and paid
    Purchases(purchases::Args),
    /// Jobs in the ledger
    Jobs(jobs::Args),
    /// Earnings, funnel, drop reasons, per model and per day
    Stats(ask::Json),
    /// One row for each confirmed payment
    Receipts(receipts::Args),
    /// What a request would cost here, least and most
    Price(price::Args),
    /// The waiting jobs, each with why it stands where it stands; `up`, `down` and `cancel` change it
    Queue(queue::Args),
    /// Who asked, paid and owes; `block`, `unblock` and `trust` decide about one
    Buyers(buyers::Args),
    /// What is asked and charged on the shop's relays, and what was missed, as counts
    Market(market::Args),
    /// Jobs that need a person about money: paid and not delivered, in doubt, late, lost
    Recover(recover::Args),
    /// Ask the wallet about every invoice, and print what differs from the ledger; changes nothing
    Audit(audit::Args),
    /// The seller's identity
    Keys(keys::Args),
    /// The settings file
    Config(config::Args),
    /// The Spark wallet: its helper (needs Node 18 or newer) and its words
    Spark(spark::Args),
    /// A consistent copy of the ledger, while it is in use
    Backup(backup::Args),
    /// Put a copy of the ledger back
    Restore(restore::Args),
    /// Build the ledger anew where it is damaged: indexes and figures, from what happened
    Repair,
    /// The systemd user unit, hardened: print it, or install it
    Service(service::Args),
    /// Shell completions
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// The man page, or one command's, to be read with `vend man | man -l -`
    Man {
        /// The command, such as `config`
        command: Option<String>,
    },
}

/// Reads the arguments and does what they say.
#[must_use]
pub fn main() -> ExitCode {
    guard::private();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no failure; a closed pipe is nobody's loss.
            if !error.use_stderr() {
                let _ = error.print();
                return ExitCode::SUCCESS;
            }
            // It repeats the arguments, which may have been copied from anywhere.
            let _ = write!(std::io::stderr(), "{}", plain(&error.render().to_string()));
            return ExitCode::from(2);
        }
    };
    exit::code(dispatch(cli))
}

fn dispatch(cli: Cli) -> Outcome {
    let global = cli.global;
    match cli.command {
        None => dashboard::main(&global, cli.online),
        Some(Sub::Run(args)) => run::main(&global, args),
        Some(Sub::Demo(args)) => demo::main(&global, &args),
        Some(Sub::Doctor(json)) => doctor::main(&global, json),
        Some(Sub::Status(json)) => ask::status(&global, json),
        Some(Sub::Online) => ask::online(&global),
        Some(Sub::Offline(now)) => ask::offline(&global, now),
        Some(Sub::Snooze(args)) => ask::snooze(&global, &args),
        Some(Sub::Resume) => ask::resume(&global),
        Some(Sub::Stop(now)) => ask::stop(&global, now),
        Some(Sub::Request(args)) => request::main(&args, &global),
        Some(Sub::Gateway(args)) => gateway::main(&global, &args),
        Some(Sub::Purchases(args)) => purchases::main(&global, &args),
        Some(Sub::Jobs(args)) => jobs::main(&global, &args),
        Some(Sub::Stats(json)) => stats::main(&global, json),
        Some(Sub::Receipts(args)) => receipts::main(&global, &args),
        Some(Sub::Price(args)) => price::main(&global, &args),
        Some(Sub::Queue(args)) => queue::main(&global, args),
        Some(Sub::Buyers(args)) => buyers::main(&global, args),
        Some(Sub::Market(args)) => market::main(&global, args),
        Some(Sub::Recover(args)) => recover::main(&global, &args),
        Some(Sub::Audit(args)) => audit::main(&global, &args),
        Some(Sub::Keys(args)) => keys::main(&global, args),
        Some(Sub::Config(args)) => config::main(&global, args),
        Some(Sub::Spark(args)) => spark::main(&global, args),
        Some(Sub::Backup(args)) => backup::main(&global, &args),
        Some(Sub::Restore(args)) => restore::main(&global, &args),
        Some(Sub::Repair) => restore::repair(&global),
        Some(Sub::Service(args)) => service::main(&global, args),
        Some(Sub::Completions { shell }) => manual::completions(shell),
        Some(Sub::Man { command }) => manual::page(command.as_deref()),
    }
}
