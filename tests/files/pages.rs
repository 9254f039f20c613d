//! Each page of a small ledger, flipped: it sells right, or says what is wrong before anything is charged.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use futures::StreamExt;
use nostr::{Event, Keys};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use vend::domain::job::Encryption;

use super::fake_relay::FakeRelay;
use super::shop::{Home, answers, bolt11};
use super::{LONGEST, World};

const PAGE: usize = 4_096;
/// Ledgers at once.
const AT_ONCE: usize = 4;
/// So many pages are flipped without `VEND_PAGES_ALL`.
const SAMPLE: usize = 6;

#[derive(Debug, PartialEq)]
enum End {
    Sold,
    Said,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_page_takes_no_payment_for_nothing() {
    let every = std::env::var_os("VEND_PAGES_ALL").is_some();
    let only: Option<usize> = std::env::var("VEND_PAGE").ok().map(|n| n.parse().unwrap());
    let world = World::new("before").await;
    let mut shop = world.home.run(None);
    for _ in 0..3 {
        world.sell(&mut shop).await;
    }
    world.stop(shop).await;
    let whole = std::fs::read(world.database()).unwrap();
    let pages = whole.len() / PAGE;
    // The second page of each part of the file: the first one of all is no table's.
    let is_sample = |page: usize| page % pages.div_ceil(SAMPLE) == 1;
    let chosen: Vec<usize> = (0..pages)
        .filter(|page| only.map_or(every || is_sample(*page), |only| *page == only))
        .collect();
    let count = chosen.len();
    let (world, whole) = (&world, &whole);
    let outcomes: Vec<_> = futures::stream::iter(chosen)
        .map(|page| async move { (page + 1, flipped(world, whole, page).await) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let sold = outcomes
        .iter()
        .filter(|(_, end)| end == &Ok(End::Sold))
        .count();
    let wrong: Vec<_> = outcomes.iter().filter(|(_, end)| end.is_err()).collect();
    println!(
        "{count} of {pages} pages flipped: {sold} sold right, {} said what is wrong, {} wrong",
        count - sold - wrong.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// The same seller with a ledger of which one page is damaged.
async fn flipped(world: &World, whole: &[u8], page: usize) -> Result<End, String> {
    let mut home = Home::new();
    copy_into(&world.home.data(), &home.data());
    home.seller = world.home.seller.clone();
    let mut bytes = whole.to_vec();
    for byte in &mut bytes[page * PAGE..(page + 1) * PAGE] {
        *byte = !*byte;
    }
    std::fs::write(home.data().join("vend.db"), bytes).unwrap();
    let relay = FakeRelay::start(None).await;
    let config = std::fs::read_to_string(world.home.config()).unwrap();
    let (old, new) = (world.relay.url().to_string(), relay.url().to_string());
    home.write_config(&config.replace(&old, &new));
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_vend"))
        .arg("--data-dir")
        .arg(home.data())
        .arg("--config")
        .arg(home.config())
        .args(["run", "--events"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut errors = child.stderr.take().unwrap();
    let request = home.request(&Keys::generate(), Encryption::Plain, "What is Nostr?");
    let id = request.id.to_hex();
    let (mut asked, mut charged) = (false, None);
    let selling = async {
        loop {
            let is_ours = |event: &Event| answers(event).as_deref() == Some(&id);
            let found = relay.events().into_iter().filter(|event| is_ours(event));
            for event in found {
                if event.kind.as_u16() == 6_050 {
                    return Ok(End::Sold);
                }
                if let (None, Some(invoice)) = (&charged, bolt11(&event)) {
                    world.wallet.pay(&invoice)?;
                    charged = Some(invoice);
                }
            }
            let line = tokio::time::timeout(Duration::from_millis(300), lines.next_line()).await;
            let Ok(line) = line else { continue };
            let Some(line) = line.map_err(|error| error.to_string())? else {
                let mut said = String::new();
                errors.read_to_string(&mut said).await.unwrap();
                return if charged.is_none() && !said.trim().is_empty() {
                    Ok(End::Said)
                } else {
                    Err(format!("it ended: {said:?}, charged: {charged:?}"))
                };
            };
            let event: Value = serde_json::from_str(&line).map_err(|error| error.to_string())?;
            let sells = event["state"] == "online" || event["state"] == "degraded";
            if event["event"] == "state" && sells && !asked {
                asked = true;
                relay.inject(&request);
            }
            let words = event["detail"].as_str().unwrap_or_default();
            let blames = event["event"] == "state" && words.contains("ledger");
            if blames && charged.is_none() && event["state"] != "online" {
                return Ok(End::Said);
            }
        }
    };
    let ended = tokio::time::timeout(LONGEST, selling).await;
    let charged = charged.is_some();
    ended.unwrap_or_else(|_| Err(format!("no end; asked: {asked}, charged: {charged}")))
}

fn copy_into(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, name) = (entry.file_type().unwrap(), entry.file_name());
        let is_ledger = name.to_string_lossy().starts_with("vend.");
        if kind.is_dir() {
            let _ = std::fs::create_dir(to.join(&name));
            copy_into(&entry.path(), &to.join(&name));
        } else if kind.is_file() && !is_ledger {
            std::fs::copy(entry.path(), to.join(&name)).unwrap();
        }
    }
}
