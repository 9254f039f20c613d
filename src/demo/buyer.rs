//! The demo's buyer.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nostr::{Keys, PublicKey, RelayUrl};
use tokio_util::sync::CancellationToken;

use super::{DemoError, failed};
use crate::buyer::Buyer;
use crate::domain::buyer::{Answer, Order, Status};
use crate::domain::id::RequestId;
use crate::domain::job::Encryption;
use crate::domain::msat::Msat;
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
    }
}

async fn come_in(relay: &str) -> Result<Buyer, DemoError> {
    let url = RelayUrl::parse(relay).map_err(failed)?;
    Buyer::connect(Keys::generate(), vec![url], KIND)
        .await
        .map_err(failed)
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
    let mut buyer = come_in(relay).await?;
    let payer = SandboxPayer::open(sandbox).map_err(failed)?;
    let mut bought = Bought::default();
    let mut open: HashMap<RequestId, bool> = HashMap::new();
    let mut number = 0;
    let patience = tokio::time::sleep(PATIENCE);
    tokio::pin!(patience);
    while number < jobs as usize || !open.is_empty() {
        if number < jobs as usize && open.len() < AT_ONCE {
            let request = buyer.write(&order(number, relay, seller)).map_err(failed)?;
            let id = buyer.send(&request).await.map_err(failed)?;
            open.insert(id, false);
            bought.requests.push(id);
            number += 1;
            continue;
        }
        tokio::select! {
            () = &mut patience => break,
            heard = buyer.hear() => {
                let Some(heard) = heard else { break };
                if heard.seller != seller || !open.contains_key(&heard.request) {
                    continue;
                }
                let paid = pay(&payer, &heard.answer).await?;
                bought.paid += paid;
                if is_last(&heard.answer) {
                    bought.delivered += u64::from(matches!(heard.answer, Answer::Result { .. }));
                    open.remove(&heard.request);
                }
            }
        }
    }
    buyer.leave().await;
    Ok(bought)
}

/// A result, or the word that there will be none.
fn is_last(answer: &Answer) -> bool {
    matches!(
        answer,
        Answer::Result { .. }
            | Answer::Feedback {
                status: Status::Error,
                ..
            }
    )
}

/// The invoice that came, if one came.
const fn invoice(answer: &Answer) -> Option<&String> {
    let (Answer::Feedback { bolt11, .. } | Answer::Result { bolt11, .. }) = answer;
    bolt11.as_ref()
}

/// Pays the invoice that came, if one came.
async fn pay(payer: &SandboxPayer, answer: &Answer) -> Result<Msat, DemoError> {
    let Some(bolt11) = invoice(answer).cloned() else {
        return Ok(Msat::ZERO);
    };
    let payer = payer.clone();
    let paid = tokio::task::spawn_blocking(move || payer.pay(&bolt11))
        .await
        .map_err(failed)?
        .map_err(failed)?;
    Ok(paid.amount)
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
    let mut buyer = come_in(relay).await?;
    let payer = SandboxPayer::open(sandbox).map_err(failed)?;
    let mut number = usize::from(rand::random::<u8>());
    let mut next = tokio::time::Instant::now() + Duration::from_secs(2);
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(next) => {
                let request = buyer.write(&order(number, relay, seller)).map_err(failed)?;
                if let Err(error) = buyer.send(&request).await {
                    tracing::warn!(%error, "the demo's buyer");
                }
                number += 1;
                let pause = 3 + u64::from(rand::random::<u8>() % 5);
                next = tokio::time::Instant::now() + Duration::from_secs(pause);
            }
            heard = buyer.hear() => {
                let Some(heard) = heard else { return Ok(()) };
                if heard.seller == seller && invoice(&heard.answer).is_some() {
                    // A person takes a moment to pay.
                    tokio::time::sleep(Duration::from_millis(1_500)).await;
                    if let Err(error) = pay(&payer, &heard.answer).await {
                        tracing::warn!(%error, "the demo's buyer could not pay");
                    }
                }
            }
        }
    }
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
