//! `vend queue`: the waiting jobs, each with why it stands where it stands; moves one, or cancels it.

use super::Global;
use super::ask::{connect, not_running};
use super::exit::{Exit, Outcome, json, runtime, say};
use super::{host, jobs, settings};
use crate::config::place::Places;
use crate::domain::command::{Command, Reply};
use crate::domain::id::IdBeginning;
use crate::domain::queue::Queue;
use crate::domain::text::clean;
use crate::domain::time::Time;

/// `vend queue`
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// One JSON document on stdout
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    /// One place nearer to its turn
    Up {
        /// A job's id, or its first eight digits or more
        id: IdBeginning,
    },
    /// One place further back
    Down {
        /// A job's id, or its first eight digits or more
        id: IdBeginning,
    },
    /// Cancel it; its buyer is told, and what was paid is owed back
    Cancel {
        /// A job's id, or its first eight digits or more
        id: IdBeginning,
    },
}

/// Shows the queue, after what is asked of it was done.
pub fn main(global: &Global, args: Args) -> Outcome {
    let places = global.places()?;
    let queue = runtime()?.block_on(async {
        if let Some(what) = args.what {
            let done = act(&places, what).await?;
            if !args.json {
                return say(&done).map(|()| None);
            }
        }
        queue(&places).await.map(Some)
    })?;
    match queue {
        Some(queue) if args.json => json(&queue),
        Some(queue) => print(&queue),
        None => Ok(()),
    }
}

/// Only a running shop can change its queue.
async fn act(places: &Places, what: What) -> Result<String, Exit> {
    let (id, up) = match what {
        What::Up { id } => (id, Some(true)),
        What::Down { id } => (id, Some(false)),
        What::Cancel { id } => (id, None),
    };
    let ledger = host::look(&places.database())?;
    let id = jobs::named(ledger.as_ref(), &id).await?;
    let mut client = connect(places).await.ok_or_else(|| not_running(places))?;
    let command = up.map_or(Command::Cancel { id }, |up| Command::Move { id, up });
    let reply = client.ask(command).await;
    match reply.map_err(|error| Exit::failed(&error))? {
        Reply::Done { detail } => Ok(detail),
        Reply::Refused { detail } => Err(Exit::failed(&detail)),
        _ => Ok(String::new()),
    }
}

/// As the running shop has it, or as the ledger has it where none runs.
async fn queue(places: &Places) -> Result<Queue, Exit> {
    if let Some(mut client) = connect(places).await {
        let reply = client.ask(Command::Queue).await;
        return match reply.map_err(|error| Exit::failed(&error))? {
            Reply::Queue { queue } => Ok(*queue),
            Reply::Refused { detail } => Err(Exit::failed(&detail)),
            _ => Ok(Queue::default()),
        };
    }
    let settings = settings::load(&places.config)?;
    let Some(ledger) = host::look(&places.database())? else {
        return Ok(Queue::default());
    };
    let line = ledger.line().await.map_err(|error| Exit::failed(&error))?;
    let most = settings.limits.per_buyer_running;
    Ok(Queue::of(
        &line.running,
        &line.waiting,
        &line.moves,
        most,
        Time::now(),
    ))
}

fn print(queue: &Queue) -> Outcome {
    if queue.running.is_empty() && queue.waiting.is_empty() {
        return say("nothing waits and nothing runs");
    }
    for job in &queue.running {
        say(&format!(
            "runs  {}  {:<20} since {}",
            job.id,
            clean(&job.model, 20),
            job.since
        ))?;
    }
    for one in &queue.waiting {
        say(&format!(
            "{:>4}  {}  {:<20} {}",
            one.position,
            one.job.id,
            clean(&one.job.model, 20),
            clean(&one.why, 120)
        ))?;
    }
    Ok(())
}
