//! A day of strangers who never pay, each with a fresh key. The hours go by while the shop is closed: it is ended, the clock is
//! moved, and it is started again.

use std::time::Duration;

use nostr::{Event, EventBuilder, Keys, Kind, Tag, Timestamp};
use serde_json::Value;

use crate::fake_relay::FakeRelay;
use crate::shop::Home;
use crate::street::LONGEST;

const HOUR: i64 = 3_600;
/// What all buyers together may owe.
const TOTAL: u64 = 400;
/// Fresh keys in each hour.
const KEYS: usize = 8;

fn ask(home: &Home, relay: &FakeRelay, hour: i64, n: usize) -> Event {
    let at = Timestamp::now().as_secs() + u64::try_from(hour * HOUR).unwrap();
    let request = EventBuilder::new(Kind::from_u16(5050), "")
        .tag(Tag::parse(["i", &format!("What is {n} plus {hour}?"), "text"]).unwrap())
        .tag(Tag::public_key(home.seller.public_key()))
        .custom_created_at(Timestamp::from_secs(at))
        .sign_with_keys(&Keys::generate())
        .unwrap();
    relay.inject(&request);
    request
}

/// Waits until the ledger's jobs are as wanted.
async fn come(home: &Home, what: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let waiting = async {
        loop {
            let jobs = home.jobs().await;
            if wanted(&jobs) {
                return jobs;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let came = tokio::time::timeout(LONGEST, waiting).await;
    came.unwrap_or_else(|_| panic!("never: {what}"))
}

fn is(job: &Value, status: &str) -> bool {
    job["status"] == status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_of_fresh_keys_that_never_pay_gets_no_more_than_the_total() {
    let (home, relay) = (Home::new(), FakeRelay::start(None).await);
    home.write_config(&format!(
        "[nostr]\nrelays = [\"{}\"]\nkinds = [5050]\nannounce = false\n[text]\nmodel = \"vend-tiny\"\nmax_tokens = 16\n\
         [price]\nmin_price_sats = 10\nprice_per_1k_tokens = 1000\n\
         [payment]\nmode = \"credit\"\ncredit_sats = 250\nunpaid_sats_total = {TOTAL}\ninvoice_expiry_secs = 60\n\
         [limits]\nper_minute = 1000\nqueue = 100\n[wallet]\nbackend = \"sandbox\"\nnetwork = \"regtest\"\n\
         [[endpoint]]\nname = \"local\"\nkind = \"builtin\"\nslots = 2\n",
        relay.url()
    ));
    let mut given = Vec::new();
    for hour in 0..27 {
        relay.set_ahead(hour * HOUR);
        home.set_clock(hour * HOUR * 1_000);
        let mut shop = home.run(None);
        shop.until(|event| {
            let state = event["state"].as_str().unwrap_or_default();
            event["event"] == "state" && ["online", "degraded"].contains(&state)
        })
        .await;
        let before = come(&home, "what is over is known to be unpaid", |jobs| {
            !jobs.iter().any(|job| is(job, "pending_payment"))
        })
        .await
        .len();
        let asked: Vec<Event> = (0..KEYS).map(|n| ask(&home, &relay, hour, n)).collect();
        let ids: Vec<String> = asked.iter().map(|event| event.id.to_hex()).collect();
        let ours = |job: &&Value| ids.iter().any(|id| job["id"] == **id);
        let jobs = come(&home, "each has its work or its invoice", |jobs| {
            let asks = |job: &Value| is(job, "pending_payment") || is(job, "awaiting_payment");
            jobs.len() == before + KEYS && jobs.iter().filter(ours).all(asks)
        })
        .await;
        let free = jobs
            .iter()
            .filter(ours)
            .filter(|job| is(job, "pending_payment"));
        let sats = free
            .map(|job| job["price_msat"].as_u64().unwrap())
            .sum::<u64>()
            / 1_000;
        given.push(sats);
        shop.child.kill().await.unwrap();
    }
    println!("sats of work on credit in each hour: {given:?}");
    assert!(given[0] > 0, "credit is given at all");
    for day in given.windows(25) {
        assert!(day.iter().sum::<u64>() <= TOTAL, "{given:?}");
    }
    assert!(given[25] > 0, "after a day it is given again: {given:?}");
}
