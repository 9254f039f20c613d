//! `vend jobs`: the ledger, read while vend runs and while it does not.

use serde::Serialize;

use super::Global;
use super::exit::{Exit, Outcome, json, runtime, say};
use super::host;
use crate::domain::id::RequestId;
use crate::domain::job::{Job, JobView, Status, TimelineEntry};
use crate::domain::query::{Filter, JobsQuery, PAGE_MAX, Term, Test};
use crate::domain::text::{clean, clean_lines};
use crate::domain::time::Time;
use crate::ledger::{JobFilter, Ledger};

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
    /// At most so many, newest first
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
        /// The job's id: 64 hex digits
        id: RequestId,
        /// One JSON document on stdout
        #[arg(long)]
        json: bool,
    },
}

fn status(word: &str) -> Result<Status, String> {
    Status::from_word(word).ok_or_else(|| {
        let words: Vec<_> = Status::ALL.iter().map(|status| status.word()).collect();
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
            Some(Show::Show { id, json }) => show(ledger.as_ref(), *id, *json).await,
            None => list(ledger.as_ref(), args).await,
        }
    })
}

async fn list(ledger: Option<&Ledger>, args: &Args) -> Outcome {
    let views = match (ledger, &args.filter) {
        (None, _) => Vec::new(),
        (Some(ledger), Some(filter)) => filtered(ledger, args, filter).await?,
        (Some(ledger), None) => {
            let filter = JobFilter {
                status: args.status,
                since: args.since,
                limit: args.limit,
            };
            let jobs = ledger.jobs(filter).await.map_err(|e| Exit::failed(&e))?;
            jobs.iter().map(Job::view).collect()
        }
    };
    if args.json {
        return json(&views);
    }
    if views.is_empty() {
        return say("no jobs");
    }
    for job in &views {
        say(&line(job))?;
    }
    Ok(())
}

async fn filtered(ledger: &Ledger, args: &Args, filter: &Filter) -> Result<Vec<JobView>, Exit> {
    let mut filter = filter.clone();
    let status = args.status.map(|status| Test::Status(vec![status]));
    for test in status.into_iter().chain(args.since.map(Test::Since)) {
        filter.terms.push(Term { not: false, test });
    }
    let limit = args.limit.map_or(usize::MAX, |limit| limit as usize);
    let mut views = Vec::new();
    while views.len() < limit {
        let want = u32::try_from(limit - views.len()).unwrap_or(PAGE_MAX);
        let page = ledger.page(
            JobsQuery::default(),
            filter.clone(),
            views.len() as u64,
            want,
        );
        let jobs = page.await.map_err(|e| Exit::failed(&e))?.jobs;
        if jobs.is_empty() {
            break;
        }
        views.extend(jobs);
    }
    Ok(views)
}

fn line(job: &JobView) -> String {
    let price = job
        .price_msat
        .map_or_else(|| "-".to_owned(), |msat| msat.display().to_string());
    format!(
        "{}  {}  {:<16} {:>12}  {:<20} {}",
        job.created_at,
        job.id,
        job.status.word(),
        price,
        clean(job.model.as_deref().unwrap_or("-"), 20),
        clean(job.error.as_deref().unwrap_or(""), 80)
    )
}

async fn show(ledger: Option<&Ledger>, id: RequestId, as_json: bool) -> Outcome {
    let missing = || Exit::failed(&format!("no job has the id {id}: see `vend jobs`"));
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
    say(&format!("status  {}", job.status.word()))?;
    say(&format!("buyer   {}", crate::identity::npub(&job.buyer.0)))?;
    let price = job.price_msat.unwrap_or_default();
    say(&format!("price   {}", price.display()))?;
    say(&format!("paid    {}", job.paid_msat.display()))?;
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
