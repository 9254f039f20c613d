//! A ledger of many jobs beside one of a thousand: opening it, and the questions that the shop asks all day.
//!
//! `cargo bench --bench ledger`; `VEND_BENCH_JOBS` says how many (1,000,000 unless told).

#[path = "support/fill.rs"]
mod fill;

use std::path::Path;
use std::time::{Duration, Instant};

use fill::{fill, median, runtime};
use vend::domain::query::{Filter, JobsQuery, Sort};
use vend::domain::time::Time;
use vend::ledger::{JobFilter, Ledger};

/// Runs of each question; the median is shown.
const RUNS: usize = 21;

fn measure(path: &Path, jobs: u64) -> Vec<(&'static str, Duration)> {
    let runtime = runtime();
    let mut rows = Vec::new();
    let opened = (0..RUNS)
        .map(|_| {
            let began = Instant::now();
            let ledger = Ledger::open(path).expect("a ledger");
            let took = began.elapsed();
            runtime.block_on(ledger.close());
            took
        })
        .collect();
    rows.push(("open", median(opened)));
    let ledger = Ledger::open(path).expect("a ledger");
    let mut ask = |name, question: &dyn Fn(&Ledger)| {
        let times = (0..RUNS)
            .map(|_| {
                let began = Instant::now();
                question(&ledger);
                began.elapsed()
            })
            .collect();
        rows.push((name, median(times)));
    };
    let now = Time(1_900_000_000_000);
    ask("queue", &|ledger| {
        let _ = ledger.queue(now, 64);
    });
    ask("watched invoices", &|ledger| {
        runtime.block_on(ledger.watched(now)).expect("watched");
    });
    ask("totals", &|ledger| {
        runtime.block_on(ledger.totals()).expect("totals");
    });
    ask("recovery desk", &|ledger| {
        runtime.block_on(ledger.desk(now)).expect("desk");
    });
    ask("newest 50", &|ledger| {
        let filter = JobFilter {
            limit: Some(50),
            ..JobFilter::default()
        };
        runtime.block_on(ledger.jobs(filter)).expect("jobs");
    });
    for (name, filter, sort, part) in [
        ("page at the top", "", Sort::Time, 0),
        ("page in the middle", "", Sort::Time, 5),
        ("page by amount", "", Sort::Amount, 5),
        ("page of one status", "status:paid", Sort::Time, 5),
        ("page of a filter", "model:m min:5", Sort::Tokens, 5),
    ] {
        let query = JobsQuery {
            filter: filter.to_owned(),
            sort,
            ascending: false,
        };
        ask(name, &|ledger| {
            let filter = Filter::parse(filter).expect("a filter");
            let page = ledger.page(query.clone(), filter, jobs * part / 10, 200);
            runtime.block_on(page).expect("a page");
        });
    }
    ask("given up events", &|ledger| {
        runtime
            .block_on(ledger.give_up(now, false))
            .expect("give up");
    });
    rows
}

fn main() {
    let jobs = std::env::var("VEND_BENCH_JOBS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_000_000);
    let folder = tempfile::tempdir().expect("a folder");
    let (small, large) = (
        folder.path().join("small.db"),
        folder.path().join("large.db"),
    );
    fill(&small, 1_000);
    fill(&large, jobs);
    println!(
        "{:<20} {:>12} {:>12} {:>8}",
        "question",
        "1000 jobs",
        format!("{jobs} jobs"),
        "ratio"
    );
    for ((name, a), (_, b)) in measure(&small, 1_000)
        .into_iter()
        .zip(measure(&large, jobs))
    {
        println!(
            "{name:<20} {:>9.3} ms {:>9.3} ms {:>8.2}",
            a.as_secs_f64() * 1e3,
            b.as_secs_f64() * 1e3,
            b.as_secs_f64() / a.as_secs_f64()
        );
    }
}
