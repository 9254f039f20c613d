//! Commands that talk to the running vend over its control socket.

use crate::config::place::{Places, read_lock};
use crate::control::client::Client;
use crate::domain::command::{Command, Reply};
use crate::domain::health::Status;

use super::Global;
use super::exit::{Exit, Outcome, json, runtime, say};

/// `--json`
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Json {
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// `--now`
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Now {
    /// Without waiting for running jobs
    #[arg(long)]
    pub now: bool,
}

/// The running vend's socket; none where none runs.
pub async fn connect(places: &Places) -> Option<Client> {
    let holder = read_lock(places)?;
    Client::connect(&holder.socket).await.ok()
}

fn not_running() -> Exit {
    Exit::failed(&"no vend is running on this data directory: start one with `vend` or `vend run`")
}

fn asked(global: &Global, command: Command) -> Result<Reply, Exit> {
    let places = global.places()?;
    runtime()?.block_on(async {
        let mut client = connect(&places).await.ok_or_else(not_running)?;
        client
            .ask(command)
            .await
            .map_err(|error| Exit::failed(&error))
    })
}

fn told(reply: Reply) -> Outcome {
    match reply {
        Reply::Done { detail } => say(&detail),
        Reply::Refused { detail } => Err(Exit::failed(&detail)),
        Reply::Status { status } => print(&status),
        // Nothing here asks for them: `vend doctor` makes its own tests, `vend jobs` reads the ledger.
        Reply::Tested { .. } | Reply::Jobs { .. } | Reply::Job { .. } | Reply::Desk { .. } => {
            Ok(())
        }
    }
}

/// `vend online`
pub fn online(global: &Global) -> Outcome {
    told(asked(global, Command::GoOnline)?)
}

/// `vend offline [--now]`
pub fn offline(global: &Global, now: Now) -> Outcome {
    told(asked(global, Command::GoOffline { now: now.now })?)
}

/// `vend stop [--now]`: returns when the other process has closed its socket.
pub fn stop(global: &Global, now: Now) -> Outcome {
    let places = global.places()?;
    runtime()?.block_on(async {
        let mut client = connect(&places).await.ok_or_else(not_running)?;
        match client.ask(Command::Stop { now: now.now }).await {
            Ok(Reply::Refused { detail }) => return Err(Exit::failed(&detail)),
            Ok(_) => {}
            Err(error) => return Err(Exit::failed(&error)),
        }
        client.until_closed().await;
        say("stopped")
    })
}

/// `vend status [--json]`
pub fn status(global: &Global, as_json: Json) -> Outcome {
    match asked(global, Command::Status)? {
        Reply::Status { status } if as_json.json => json(&status),
        reply => told(reply),
    }
}

fn print(status: &Status) -> Outcome {
    say(&format!("{} since {}", status.state.word(), status.since))?;
    if !status.detail.is_empty() {
        say(&format!("  {}", status.detail))?;
    }
    say(&format!("seller   {}", status.npub))?;
    let wallet = &status.wallet;
    say(&format!(
        "wallet   {} {} {}",
        wallet.backend, wallet.state, wallet.detail
    ))?;
    for endpoint in &status.endpoints {
        say(&format!(
            "endpoint {} {} {}",
            endpoint.name, endpoint.state, endpoint.detail
        ))?;
    }
    for relay in &status.relays {
        say(&format!(
            "relay    {} {} {}",
            relay.url, relay.state, relay.detail
        ))?;
    }
    say(&format!(
        "queue    {} waiting, {} running",
        status.queue.waiting, status.queue.running
    ))?;
    say(&format!("vend {} (process {})", status.version, status.pid))
}
