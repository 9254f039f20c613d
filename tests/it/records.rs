//! How often a sale is written to the disk, which is a wait for it each time, and how often the wallet is asked.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use nostr::Keys;
use vend::domain::command::Command;
use vend::domain::event::EventKind;
use vend::domain::job::Status;
use vend::wallet::open::SANDBOX_FOLDER;
use vend::wallet::sandbox::SandboxPayer;

use crate::support::fake_wallet::FakeWallet;
use crate::support::inside::{Inside, LONGEST, is_result, status_of};

/// Sales of each kind. What the shop counts by the second falls into some of them and into others not.
const SALES: usize = 12;

fn settings(relay: &str, mode: &str) -> String {
    format!(
        "[nostr]\nrelays = [\"{relay}\"]\nkinds = [5050]\nannounce = false\n\
         [text]\nmodel = \"vend-tiny\"\nmax_tokens = 8\n\
         [payment]\nmode = \"{mode}\"\n\
         [wallet]\nbackend = \"sandbox\"\nnetwork = \"regtest\"\n\
         [[endpoint]]\nname = \"local\"\nkind = \"builtin\"\n"
    )
}

/// The log's own mark, which is new when it begins from its start, and its commits: frames that tell the size of the file.
fn commits(ledger: &Path) -> ([u8; 8], usize) {
    let log = std::fs::read(ledger).unwrap();
    let word = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    let salt: [u8; 8] = log[16..24].try_into().unwrap();
    let page = word(8) as usize;
    let mut frames = (32..)
        .step_by(24 + page)
        .take_while(|at| at + 24 + page <= log.len());
    let of_this = |at: &usize| log[at + 8..at + 16] == salt;
    let count = frames
        .by_ref()
        .take_while(of_this)
        .filter(|at| word(at + 4) > 0);
    (salt, count.count())
}

/// What each sale came to, and the seconds that it took.
async fn sell(mode: &str) -> Vec<(usize, usize)> {
    let mut shop = Inside::start(|relay| settings(relay, mode)).await;
    shop.engine.ask(Command::GoOnline).await;
    shop.hear(|kind| matches!(kind, EventKind::State { state, .. } if state.sells()).then_some(()))
        .await;
    let log = shop.home.data().join("vend.db-wal");
    let payer = SandboxPayer::open(&shop.home.data().join(SANDBOX_FOLDER)).unwrap();
    let mut sales = Vec::new();
    for _ in 0..SALES {
        let buyer = Keys::generate();
        let (salt, before) = commits(&log);
        let began = Instant::now();
        let request = shop.ask(&buyer);
        let invoice = shop.invoice(&request).await;
        if mode == "after" {
            // Else the buyer pays before the relay's last word is heard.
            let is = |event: &nostr::Event| status_of(event).as_deref() == Some("success");
            shop.answer(&request, is).await;
        }
        payer.pay(&invoice).unwrap();
        shop.until(&request, |job, _| job.status == Status::Paid)
            .await;
        let (same, after) = commits(&log);
        if same == salt {
            let secs = usize::try_from(began.elapsed().as_secs()).unwrap();
            sales.push((after - before, secs));
        }
    }
    shop.close().await;
    sales
}

/// A sale among these that took no more records than this, besides what the shop writes by the second.
fn assert_records(sales: &[(usize, usize)], most: usize) {
    let fits = |(records, secs): &(usize, usize)| *records <= most + 4 * secs;
    assert!(
        sales.iter().any(fits),
        "more than {most}: (records, seconds) {sales:?}"
    );
}

#[tokio::test]
async fn a_sale_paid_after_its_work_is_written_six_times() {
    assert_records(&sell("after").await, 6);
}

#[tokio::test]
async fn a_sale_paid_before_its_work_is_written_six_times() {
    assert_records(&sell("before").await, 6);
}

#[tokio::test]
async fn a_sale_with_a_held_payment_is_written_seven_times() {
    // Held and settled are records of their own, as each protects the payment.
    assert_records(&sell("hold").await, 7);
}

/// Waits for the wallet, which is no part of the runtime.
async fn wallet_says(
    wallet: &Arc<FakeWallet>,
    is: impl FnOnce(&FakeWallet) -> bool + Send + 'static,
) {
    let wallet = wallet.clone();
    let is = tokio::task::spawn_blocking(move || is(&wallet)).await;
    assert!(is.unwrap(), "the wallet was not asked as it should be");
}

#[tokio::test]
async fn many_open_invoices_are_looked_at_in_one_list_a_second() {
    const OPEN: usize = 40;
    let record = tempfile::NamedTempFile::new().unwrap();
    let wallet = Arc::new(FakeWallet::start(record.path()));
    let mut shop = Inside::start(|relay| {
        let (url, key) = (wallet.url(), wallet.invoice_key());
        settings(relay, "before").replace(
            "backend = \"sandbox\"\nnetwork = \"regtest\"\n",
            &format!("backend = \"lnbits\"\nnetwork = \"regtest\"\nurl = \"{url}\"\ninvoice_key = \"{key}\"\n"),
        )
        .replace("[wallet]", "check_every_secs = 1\n[wallet]")
            + "[limits]\nper_minute = 100\nqueue = 64\n"
    })
    .await;
    shop.engine.ask(Command::GoOnline).await;
    shop.hear(|kind| matches!(kind, EventKind::State { state, .. } if state.sells()).then_some(()))
        .await;
    let requests: Vec<_> = (0..OPEN).map(|_| shop.ask(&Keys::generate())).collect();
    wallet_says(&wallet, |one| one.wait_for_created(OPEN, LONGEST)).await;
    wallet_says(&wallet, |one| one.wait_for_lists(1, LONGEST)).await;
    let (lists, lookups) = (wallet.lists(), wallet.lookups());
    wallet_says(&wallet, move |one| one.wait_for_lists(lists + 4, LONGEST)).await;
    // Each is looked at alone now and then too.
    let alone = wallet.lookups() - lookups;
    assert!(alone <= 2 * OPEN, "{alone} looks beside four lists");
    // What is paid is found by the look that follows the list.
    for request in &requests[..3] {
        let invoice = shop.invoice(request).await;
        wallet.pay(&invoice).unwrap();
        shop.answer(request, is_result).await;
    }
    shop.close().await;
}
