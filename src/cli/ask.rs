//! Commands that talk to the running vend over its control socket.

use crate::config::place::{Places, read_lock};
use crate::control::client::Client;
use crate::domain::command::{Command, Reply};
use crate::domain::health::{ShopState, Status};
use crate::domain::machine;

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

/// Says where nothing runs, and what to do: the demo has a data directory of its own.
pub fn not_running(places: &Places) -> Exit {
    if let Some(holder) = read_lock(places) {
        return Exit::failed(&format!(
            "vend (process {}) has {} and does not answer yet: it is starting or ending; ask again in a moment",
            holder.pid,
            places.data.display()
        ));
    }
    let mut line = format!(
        "no vend is running on {}: start one with `vend` or `vend run`",
        places.data.display()
    );
    let demo = places.of_demo();
    if read_lock(&demo).is_some() {
        line = format!("{line}; the demo runs: `vend{}`", demo.flags());
    }
    Exit::failed(&line)
}

fn asked(global: &Global, command: Command) -> Result<Reply, Exit> {
    let places = global.places()?;
    runtime()?.block_on(async {
        let mut client = connect(&places).await.ok_or_else(|| not_running(&places))?;
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
        Reply::Tested { .. }
        | Reply::Jobs { .. }
        | Reply::Job { .. }
        | Reply::Desk { .. }
        | Reply::Queue { .. } => Ok(()),
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

/// `vend snooze DURATION`
#[derive(Clone, Debug, clap::Args)]
pub struct Snooze {
    /// For how long, as 45m, 3h, 1h30m or 2d
    pub duration: String,
}

/// `vend snooze DURATION`
pub fn snooze(global: &Global, args: &Snooze) -> Outcome {
    let wait = machine::duration(&args.duration).map_err(Exit::usage)?;
    told(asked(
        global,
        Command::Snooze {
            secs: wait.as_secs(),
        },
    )?)
}

/// `vend resume`
pub fn resume(global: &Global) -> Outcome {
    told(asked(global, Command::Resume)?)
}

/// `vend stop [--now]`: returns when the other process has closed its socket.
pub fn stop(global: &Global, now: Now) -> Outcome {
    let places = global.places()?;
    runtime()?.block_on(async {
        let mut client = connect(&places).await.ok_or_else(|| not_running(&places))?;
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
    if status.state == ShopState::Paused {
        say(&format!("paused: {}", status.detail))?;
        say(&format!("  since {}", status.since))?;
    } else {
        say(&format!("{} since {}", status.state.as_str(), status.since))?;
        if !status.detail.is_empty() {
            say(&format!("  {}", status.detail))?;
        }
    }
    say(&format!("seller   {}", status.npub))?;
    let wallet = &status.wallet;
    row("wallet", &wallet.backend, &wallet.state, &wallet.detail)?;
    for endpoint in &status.endpoints {
        let name = endpoint.name.to_string();
        row("endpoint", &name, &endpoint.state, &endpoint.detail)?;
    }
    for relay in &status.relays {
        row("relay", &relay.url, &relay.state, &relay.detail)?;
    }
    say(&format!(
        "queue    {} waiting, {} running",
        status.queue.waiting, status.queue.running
    ))?;
    for line in money(status) {
        say(&line)?;
    }
    say(&format!("vend {} (process {})", status.version, status.pid))
}

/// What came in, and what the shop waits for.
fn money(status: &Status) -> [String; 2] {
    let money = &status.money;
    let jobs = match money.today_jobs {
        1 => "1 job".to_owned(),
        many => format!("{many} jobs"),
    };
    let last = match (money.last_paid_at, money.last_paid_msat) {
        (Some(at), Some(amount)) => format!("the last payment was {} at {at}", amount.display()),
        _ => "nothing was ever paid".to_owned(),
    };
    let today = money.today_msat.display();
    [
        format!("money    {today} today for {jobs}; {last}"),
        format!("waits    {}", waits_for(status)),
    ]
}

fn waits_for(status: &Status) -> String {
    let mut waits = Vec::new();
    match status.state {
        ShopState::Offline => waits.push("`vend online`".to_owned()),
        ShopState::Starting => waits.push(status.detail.clone()),
        ShopState::Paused => waits.push(format!("the end of its pause: {}", status.detail)),
        ShopState::Draining | ShopState::Stopping => waits.push("running jobs to end".to_owned()),
        ShopState::Online | ShopState::Degraded if status.queue.running > 0 => {
            waits.push("the model's answers".to_owned());
        }
        ShopState::Online | ShopState::Degraded => waits.push(match status.money.last_request_at {
            None => "a first request".to_owned(),
            Some(at) => format!("a request; the last came at {at}"),
        }),
    }
    match status.money.open_invoices {
        0 => {}
        1 => waits.push("1 invoice to be paid".to_owned()),
        many => waits.push(format!("{many} invoices to be paid")),
    }
    waits.join("; ")
}

fn row(kind: &str, name: &str, state: &str, detail: &str) -> Outcome {
    let line = format!("{kind:<8} {name} {state} {detail}");
    say(line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::health::MoneyNow;
    use crate::domain::msat::Msat;
    use crate::domain::time::Time;

    #[test]
    fn the_status_says_what_came_in_and_what_it_waits_for() {
        let mut status = Status {
            state: ShopState::Online,
            money: MoneyNow {
                today_msat: Msat(120_000),
                today_jobs: 9,
                open_invoices: 2,
                last_paid_at: Some(Time(1_795_000_000_000)),
                last_paid_msat: Some(Msat(10_000)),
                last_request_at: Some(Time(1_795_000_000_000)),
            },
            ..Status::default()
        };
        assert_eq!(
            money(&status),
            [
                "money    120 sats today for 9 jobs; the last payment was 10 sats at 2026-11-18T11:06:40Z",
                "waits    a request; the last came at 2026-11-18T11:06:40Z; 2 invoices to be paid",
            ]
        );
        status.state = ShopState::Paused;
        status.detail = "on battery, until power returns".to_owned();
        status.money = MoneyNow::default();
        assert_eq!(
            money(&status),
            [
                "money    0 sats today for 0 jobs; nothing was ever paid",
                "waits    the end of its pause: on battery, until power returns",
            ]
        );
    }
}
