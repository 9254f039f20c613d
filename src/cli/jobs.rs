//! `vend jobs`: the ledger, read while vend runs and while it does not.

use std::collections::HashSet;
use std::io::Write;

use serde::Serialize;

use super::Global;
use super::exit::{Exit, Outcome, json, runtime, say};
use super::host;
use super::rows::Array;
use crate::domain::id::{IdBeginning, RequestId};
use crate::domain::job::{JobView, Status, TimelineEntry};
use crate::domain::query::{Filter, JobsQuery, PAGE_MAX, Term, Test};
use crate::domain::text::{clean, clean_lines};
use crate::domain::time::Time;
use crate::ledger::Ledger;

/// Jobs that are shown unless told otherwise.
const SHOWN: u64 = 1_000;

/// `vend jobs`
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    show: Option<Show>,
    /// Only jobs in this status
    #[arg(long, value_name = "S", value_parser = status)]
    status: Option<Status>,
    /// Only jobs admitted since then: 2026-11-21 or 2026-11-21T08:30:00Z
    #[arg(long, value_name = "T", value_parser = Time::parse)]
    since: Option<Time>,
    /// Only jobs like this, as on the Jobs tab: 'model:gemma min:10 -status:paid'
    #[arg(long, value_name = "FILTER", value_parser = Filter::parse)]
    filter: Option<Filter>,
    /// At most so many, newest first; 1000 unless this or --since is given
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// One JSON array on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Show {
    /// One job with its history
    Show {
        /// The job's id, or its first eight digits or more
        id: IdBeginning,
        /// One JSON document on stdout
        #[arg(long)]
        json: bool,
    },
}

fn status(word: &str) -> Result<Status, String> {
    Status::parse(word).ok_or_else(|| {
        let words: Vec<_> = Status::ALL.iter().map(|status| status.as_str()).collect();
        format!("one of {}", words.join(", "))
    })
}

#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    job: JobView,
    timeline: Vec<TimelineEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
}

/// Lists jobs, or shows one.
pub fn main(global: &Global, args: &Args) -> Outcome {
    let path = global.places()?.database();
    let ledger = host::look(&path)?;
    runtime()?.block_on(async {
        match &args.show {
            Some(Show::Show { id, json }) => show(ledger.as_ref(), id, *json).await,
            None => list(ledger.as_ref(), args).await,
        }
    })
}

async fn list(ledger: Option<&Ledger>, args: &Args) -> Outcome {
    let mut array = args.json.then(Array::default);
    let mut shown = 0;
    if let Some(ledger) = ledger {
        let mut tell = |job: &JobView| match &mut array {
            Some(array) => array.push(job),
            None => say(&line(job)),
        };
        shown = walk(ledger, args, &mut tell).await?;
    }
    match array {
        Some(array) => array.end(),
        None if shown == 0 => say("no jobs"),
        None => Ok(()),
    }
}

/// Tells the jobs that are asked for, a page at a time. How many they were.
async fn walk(
    ledger: &Ledger,
    args: &Args,
    tell: &mut dyn FnMut(&JobView) -> Outcome,
) -> Result<u64, Exit> {
    let mut filter = args.filter.clone().unwrap_or_default();
    let status = args.status.map(|status| Test::Status(vec![status]));
    for test in status.into_iter().chain(args.since.map(Test::Since)) {
        filter.terms.push(Term { not: false, test });
    }
    let most = match (args.limit, args.since) {
        (Some(limit), _) => u64::from(limit),
        (None, Some(_)) => u64::MAX,
        (None, None) => SHOWN,
    };
    let (mut shown, mut offset) = (0, 0);
    // New jobs may come meanwhile, which moves the others: a job of the last page is not told twice.
    let mut last: HashSet<RequestId> = HashSet::new();
    while shown < most {
        let page = ledger.page(JobsQuery::default(), filter.clone(), offset, PAGE_MAX);
        let page = page.await.map_err(|error| Exit::failed(&error))?;
        if page.jobs.is_empty() {
            break;
        }
        offset += page.jobs.len() as u64;
        for job in page.jobs.iter().filter(|job| !last.contains(&job.id)) {
            if shown == most {
                break;
            }
            tell(job)?;
            shown += 1;
        }
        if shown == most && args.limit.is_none() && offset < page.total {
            // With stderr gone there is nobody to tell.
            let _ = writeln!(
                std::io::stderr(),
                "vend: the newest {shown} of {} jobs: --limit or --since shows more",
                page.total
            );
        }
        last = page.jobs.iter().map(|job| job.id).collect();
    }
    Ok(shown)
}

fn line(job: &JobView) -> String {
    let price = job
        .price_msat
        .map_or_else(|| "-".to_owned(), |msat| msat.display().to_string());
    format!(
        "{}  {}  {:<16} {:>12}  {:<20} {}",
        job.created_at,
        job.id,
        job.status.as_str(),
        price,
        clean(job.model.as_deref().unwrap_or("-"), 20),
        clean(job.error.as_deref().unwrap_or(""), 80)
    )
}

/// The one job whose id begins so.
///
/// # Errors
/// 2 where several do, 1 where none does.
pub async fn named(ledger: Option<&Ledger>, id: &IdBeginning) -> Result<RequestId, Exit> {
    let ids = match ledger {
        Some(ledger) => ledger.ids(id.clone()).await.map_err(|e| Exit::failed(&e))?,
        None => Vec::new(),
    };
    match ids.as_slice() {
        [] => Err(Exit::failed(&format!(
            "no job has the id {id}: see `vend jobs`"
        ))),
        [one] => Ok(*one),
        _ => Err(Exit::usage(format!("{id} is the beginning of several ids"))),
    }
}

async fn show(ledger: Option<&Ledger>, id: &IdBeginning, as_json: bool) -> Outcome {
    let missing = || Exit::failed(&format!("no job has the id {id}: see `vend jobs`"));
    let id = named(ledger, id).await?;
    let ledger = ledger.ok_or_else(missing)?;
    let failed = |error| Exit::failed(&error);
    let job = ledger.job(id).await.map_err(failed)?.ok_or_else(missing)?;
    let timeline = ledger.timeline(id).await.map_err(failed)?;
    let texts = ledger.texts(id).await.map_err(failed)?;
    let (prompt, answer) = texts.map_or((None, None), |texts| (Some(texts.prompt), texts.answer));
    let whole = Whole {
        job: job.view(),
        timeline,
        prompt,
        answer,
    };
    if as_json {
        return json(&whole);
    }
    print(&whole)
}

fn print(whole: &Whole) -> Outcome {
    let job = &whole.job;
    say(&format!("job     {}", job.id))?;
    say(&format!("status  {}", job.status.as_str()))?;
    say(&format!("buyer   {}", crate::identity::npub(&job.buyer.0)))?;
    let price = job.price_msat.unwrap_or_default();
    say(&format!("price   {}", price.display()))?;
    say(&format!("paid    {}", job.paid_msat.display()))?;
    if !job.balance_used_msat.is_zero() {
        say(&format!(
            "balance {} of the buyer's used",
            job.balance_used_msat.display()
        ))?;
    }
    if !job.owed_to_buyer_msat.is_zero() {
        say(&format!(
            "owed    {} to the buyer",
            job.owed_to_buyer_msat.display()
        ))?;
    }
    if let Some(bolt11) = &job.bolt11 {
        say(&format!("invoice {bolt11}"))?;
    }
    for entry in &whole.timeline {
        say(&format!(
            "{}  {:<16} {}",
            entry.at,
            clean(&entry.what, 16),
            clean(&entry.detail, 200)
        ))?;
    }
    for (name, text) in [("prompt", &whole.prompt), ("answer", &whole.answer)] {
        if let Some(text) = text {
            say(&format!("{name}:\n{}", clean_lines(text, 20_000)))?;
        }
    }
    Ok(())
}
