use std::path::Path;

use nostr::EventId;

use super::*;
use crate::domain::id::RequestId;
use crate::domain::job::{Job, PayOrder, State};
use crate::domain::msat::Msat;
use crate::domain::transition::tests::job as fresh;
use crate::ledger::{Change, JobFilter, NewJob, repair};

const JOBS: u8 = 24;

fn id(number: u8) -> RequestId {
    RequestId(EventId::from_byte_array([number; 32]))
}

async fn admit(ledger: &Ledger, number: u8) -> Job {
    let mut job = fresh(PayOrder::After);
    job.id = id(number);
    let admitted = ledger.admit(NewJob::plain(job.clone())).await;
    admitted.unwrap().unwrap()
}

/// A payment is booked: the one thing that must work.
async fn book(ledger: &Ledger, number: u8) -> Result<(), LedgerError> {
    let before = ledger
        .job(id(number))
        .await?
        .ok_or(LedgerError::NoSuchJob)?;
    let mut job = before.clone();
    job.rev += 1;
    job.state = State::Paid;
    job.delivered = true;
    job.paid = Msat::from_sats(10);
    ledger.commit(Change::bare(&before, &job, "paid")).await
}

/// A small ledger that was closed in good order.
async fn small(folder: &Path) -> PathBuf {
    let path = folder.join("small.db");
    let ledger = Ledger::open(&path).unwrap();
    for number in 1..=JOBS {
        admit(&ledger, number).await;
    }
    for number in 10..=JOBS {
        book(&ledger, number).await.unwrap();
    }
    ledger.close().await;
    path
}

fn flip(path: &Path, page: u32) {
    let page = page as usize;
    let mut bytes = std::fs::read(path).unwrap();
    for byte in &mut bytes[page * 4_096..(page + 1) * 4_096] {
        *byte ^= 0x5a;
    }
    std::fs::write(path, bytes).unwrap();
}

async fn all_jobs(ledger: &Ledger) -> usize {
    ledger.jobs(JobFilter::default()).await.unwrap().len()
}

/// Either it is said what is wrong, or a payment is booked and nothing is missing.
async fn said_or_right(path: &Path, page: u32) -> &'static str {
    let Ok(ledger) = Ledger::open(path) else {
        return "refused";
    };
    if ledger.trouble().is_some() {
        ledger.close().await;
        return "said";
    }
    book(&ledger, 1).await.unwrap();
    let job = ledger.job(id(1)).await.unwrap().unwrap();
    assert_eq!(job.paid, Msat::from_sats(10), "page {page}");
    assert_eq!(all_jobs(&ledger).await, usize::from(JOBS), "page {page}");
    let totals = ledger.totals().await.unwrap();
    assert_eq!(totals.jobs, u64::from(JOBS), "page {page}");
    assert_eq!(ledger.check().await.unwrap(), Vec::<String>::new());
    ledger.close().await;
    "right"
}

/// Each page costs a copy and its fsyncs: one of four is tried, with `VEND_EVERY_PAGE` each.
fn stride() -> usize {
    if std::env::var_os("VEND_EVERY_PAGE").is_some() {
        1
    } else {
        4
    }
}

#[tokio::test]
async fn each_page_damaged_once_is_mended_or_said_before_anything_is_sold() {
    let folder = tempfile::tempdir().unwrap();
    let whole = small(folder.path()).await;
    let pages = std::fs::metadata(&whole).unwrap().len() / 4_096;
    let mut ended = std::collections::BTreeMap::new();
    for page in (0..u32::try_from(pages).unwrap()).step_by(stride()) {
        let path = folder.path().join(format!("page-{page}.db"));
        std::fs::copy(&whole, &path).unwrap();
        flip(&path, page);
        *ended.entry(said_or_right(&path, page).await).or_insert(0) += 1;
    }
    println!("{pages} pages: {ended:?}");
    // Indexes and figures are mended; pages of what happened are said.
    let least = 12 / stride();
    assert!(ended["right"] >= least && ended["said"] > 0, "{ended:?}");
}

#[tokio::test]
async fn a_page_that_is_damaged_in_use_keeps_no_payment_from_being_booked() {
    let folder = tempfile::tempdir().unwrap();
    let whole = small(folder.path()).await;
    let look = Connection::open(&whole).unwrap();
    let derived: Vec<(String, u32)> = look
        .prepare("SELECT name, rootpage FROM sqlite_schema WHERE name LIKE '%totals' OR (type = 'index' AND sql IS NOT NULL)")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    drop(look);
    assert!(derived.len() > 15);
    for (name, page) in derived.into_iter().step_by(stride()) {
        let path = folder.path().join(format!("{name}.db"));
        std::fs::copy(&whole, &path).unwrap();
        let ledger = Ledger::open(&path).unwrap();
        flip(&path, page - 1);
        for tries in 0.. {
            match book(&ledger, 2).await {
                Ok(()) => break,
                Err(error) => assert!(tries < 2, "{name}: {error}"),
            }
            // What `engine::ledger_care` does.
            assert!(ledger.met_damage(), "{name}");
            ledger.mend().await.unwrap();
        }
        let job = ledger.job(id(2)).await.unwrap().unwrap();
        assert_eq!(job.paid, Msat::from_sats(10), "{name}");
        ledger.mend().await.unwrap();
        assert_eq!(
            ledger.check().await.unwrap(),
            Vec::<String>::new(),
            "{name}"
        );
        ledger.close().await;
    }
}

#[tokio::test]
async fn repair_takes_over_what_happened_and_keeps_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = small(folder.path()).await;
    let look = Connection::open(&path).unwrap();
    let of = |name: &str| -> u32 {
        let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
        look.query_row(sql, [name], |row| row.get(0)).unwrap()
    };
    let (index, jobs) = (of("jobs_time"), of("jobs"));
    drop(look);
    flip(&path, index - 1);
    let done = repair(&path).unwrap();
    assert_eq!(done.jobs, u64::from(JOBS));
    assert!(done.kept.exists());
    assert_eq!(said_or_right(&path, 0).await, "right");
    // What happened can't be made up.
    flip(&path, jobs - 1);
    let before = std::fs::read(&path).unwrap();
    let error = repair(&path).unwrap_err().to_string();
    assert!(error.contains("is damaged"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before, "left as it was");
}

fn is_gone(ledger: &Ledger) -> bool {
    ledger.look_at_file();
    matches!(ledger.trouble(), Some(Trouble::Gone(_)))
}

#[tokio::test]
async fn a_ledger_whose_file_is_gone_says_so_and_can_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    for what in ["vend.db", "vend.db-wal"] {
        let path = folder.path().join("vend.db");
        let ledger = Ledger::open(&path).unwrap();
        admit(&ledger, 1).await;
        assert!(!is_gone(&ledger));
        std::fs::remove_file(folder.path().join(what)).unwrap();
        // The next change notices it, and is not lost.
        admit(&ledger, 2).await;
        assert!(is_gone(&ledger), "{what}");
        let kept = folder.path().join(format!("{what}.kept"));
        ledger.rescue(&kept).await.unwrap();
        assert_eq!(Ledger::read_copy(&kept).unwrap().0, 2, "{what}");
        let copy = folder.path().join(format!("{what}.copy"));
        // By its path it is another file, or less: that is no copy. By what is open it is whole.
        assert!(ledger.backup(&copy).await.is_err(), "{what}");
        assert!(!copy.exists());
        assert_eq!(ledger.backup_open(&copy).await.unwrap(), 2);
        ledger.close().await;
        for name in ["vend.db", "vend.db-wal", "vend.db-shm"] {
            // Whatever is left of it.
            let _ = std::fs::remove_file(folder.path().join(name));
        }
    }
    let path = folder.path().join("vend.db");
    let ledger = Ledger::open(&path).unwrap();
    let other = folder.path().join("other.db");
    std::fs::write(&other, "").unwrap();
    std::fs::rename(&other, &path).unwrap();
    assert!(is_gone(&ledger), "another file is there");
    ledger.close().await;
}
