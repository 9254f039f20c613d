//! The demo's buyer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use nostr::{Event, Keys, PublicKey, RelayUrl};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{DemoError, failed};
use crate::buyer::{Buyer, Payer, Trip, buy as purchase};
use crate::domain::buyer::{Due, Order};
use crate::domain::id::RequestId;
use crate::domain::invoice::Network;
use crate::domain::job::Encryption;
use crate::domain::msat::{MAX_MSAT, Msat};
use crate::domain::purchase::{Act, End, Terms};
use crate::wallet::sandbox::SandboxPayer;

/// How long the buyer waits for its last answer.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Requests under way at once.
const AT_ONCE: usize = 8;
/// Prompts that suit the built-in model.
const PROMPTS: &str = include_str!("../inference/builtin/PROMPTS.txt");
const KIND: u16 = 5050;

/// What was bought.
#[derive(Debug, Default)]
pub struct Bought {
    /// Every request, in order.
    pub requests: Vec<RequestId>,
    /// Results received.
    pub delivered: u64,
    /// Paid for them.
    pub paid: Msat,
}

fn prompts() -> Vec<&'static str> {
    let lines = PROMPTS.lines();
    lines.filter(|line| !line.trim().is_empty()).collect()
}

fn prompt(number: usize) -> String {
    let lines = prompts();
    lines
        .get(number % lines.len().max(1))
        .map_or_else(|| "Hello.".to_owned(), |line| (*line).to_owned())
}

/// Some orders carry a bid. A prompt that comes round again carries a higher one: within one second the same words would be
/// the same event, and no shop works twice for one event.
fn bid(number: usize) -> Option<Msat> {
    let round = number / prompts().len().max(1);
    (round > 0 || number % 5 == 3).then(|| Msat::from_sats(100 + round as u64))
}

/// The first three orders of every four go in clear and in both encryptions, so that each is seen at work.
fn order(number: usize, relay: &str, seller: PublicKey) -> Order {
    let encrypt = match number % 4 {
        1 => Encryption::Nip44,
        2 => Encryption::Nip04,
        _ => Encryption::Plain,
    };
    Order {
        kind: KIND,
        prompt: prompt(number),
        model: None,
        max_tokens: None,
        bid: bid(number),
        output: Some("text/plain".to_owned()),
        relays: vec![relay.to_owned()],
        to: (encrypt != Encryption::Plain || number.is_multiple_of(2)).then_some(seller),
        encrypt,
        ..Order::default()
    }
}

fn come_in(relay: &str) -> Result<Buyer, DemoError> {
    let url = RelayUrl::parse(relay).map_err(failed)?;
    Ok(Buyer::connect(Keys::generate(), vec![url], &[KIND], None))
}

/// One request to this seller.
fn trip<'a>(
    request: &'a Event,
    seller: PublicKey,
    payer: Option<&'a Payer>,
    until: Instant,
) -> Trip<'a> {
    Trip {
        request,
        terms: Terms {
            kind: KIND,
            to: Some(seller),
            pays: payer.is_some(),
            most: Msat(MAX_MSAT),
            network: Some(Network::Regtest),
        },
        payer,
        record: None,
        until,
        wait_for_invoice: false,
        first_word: None,
        cancel: CancellationToken::new(),
    }
}

/// Buys `jobs` answers and pays for each.
///
/// # Errors
/// Where the relay or the sandbox can't be used; an answer that does not come is counted by its absence.
pub async fn buy(
    relay: &str,
    sandbox: &Path,
    seller: PublicKey,
    jobs: u32,
) -> Result<Bought, DemoError> {
    let buyer = come_in(relay)?;
    let payer = Payer::Sandbox(SandboxPayer::open(sandbox).map_err(failed)?);
    let until = Instant::now() + PATIENCE;
    let mut bought = Bought::default();
    let mut requests = Vec::with_capacity(jobs as usize);
    for number in 0..jobs as usize {
        requests.push(buyer.write(&order(number, relay, seller)).map_err(failed)?);
    }
    bought.requests = requests
        .iter()
        .map(|request| RequestId(request.id))
        .collect();
    let ends = futures::stream::iter(&requests).map(|request| {
        let (buyer, trip) = (buyer.clone(), trip(request, seller, Some(&payer), until));
        async move { purchase(&buyer, trip, &mut |_| {}).await }
    });
    let ends: Vec<_> = ends.buffer_unordered(AT_ONCE).collect().await;
    for end in ends {
        match end.map_err(failed)? {
            End::Delivered { paid, .. } => {
                bought.delivered += 1;
                bought.paid += paid.map_or(Msat::ZERO, |paid| paid.amount);
            }
            End::Lost { paid, .. } => bought.paid += paid.amount,
            End::Failed { words, .. } | End::Unsure { words, .. } => {
                tracing::warn!(%words, "the demo's buyer");
            }
        }
    }
    buyer.leave().await;
    Ok(bought)
}

/// Asks every few seconds and pays after a moment, until stopped.
pub async fn regular(relay: String, sandbox: PathBuf, seller: PublicKey, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        ended = ask_and_pay(&relay, &sandbox, seller) => if let Err(error) = ended {
            tracing::warn!(%error, "the demo's buyer left");
        }
    }
}

async fn ask_and_pay(relay: &str, sandbox: &Path, seller: PublicKey) -> Result<(), DemoError> {
    let buyer = come_in(relay)?;
    let payer = SandboxPayer::open(sandbox).map_err(failed)?;
    let mut number = usize::from(rand::random::<u8>());
    let mut next = Instant::now() + Duration::from_secs(2);
    let mut open = JoinSet::new();
    loop {
        tokio::time::sleep_until(next).await;
        // Those that have ended.
        while open.try_join_next().is_some() {}
        let request = buyer.write(&order(number, relay, seller)).map_err(failed)?;
        open.spawn(ask_and_pay_one(
            buyer.clone(),
            request,
            seller,
            payer.clone(),
        ));
        number += 1;
        next = Instant::now() + Duration::from_secs(3 + u64::from(rand::random::<u8>() % 5));
    }
}

/// An answer that waits for its payment is to be seen for a moment.
async fn ask_and_pay_one(buyer: Buyer, request: Event, seller: PublicKey, payer: SandboxPayer) {
    let (tell, mut bills) = mpsc::channel::<Due>(4);
    let paying = async {
        while let Some(due) = bills.recv().await {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            let payer = payer.clone();
            let paid = tokio::task::spawn_blocking(move || payer.pay(&due.bolt11)).await;
            if let Ok(Err(error)) = paid {
                tracing::warn!(%error, "the demo's buyer did not pay");
            }
        }
    };
    let buying = async {
        let trip = trip(&request, seller, None, Instant::now() + PATIENCE);
        let mut tell = Some(tell);
        let end = purchase(&buyer, trip, &mut |act| {
            if let (Act::Invoice { due, .. }, Some(tell)) = (act, &tell) {
                // Four bills for one request are three too many.
                let _ = tell.try_send(due.clone());
            }
        })
        .await;
        tell.take();
        if let Err(error) = end {
            tracing::warn!(%error, "the demo's buyer");
        }
    };
    tokio::join!(paying, buying);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_orders_are_the_same_event() {
        let seller = Keys::generate().public_key();
        let orders: HashSet<String> = (0..2_000)
            .map(|number| format!("{:?}", order(number, "ws://127.0.0.1", seller)))
            .collect();
        assert_eq!(orders.len(), 2_000);
    }
}
