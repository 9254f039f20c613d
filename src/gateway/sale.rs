//! One sale: the own endpoints first, then one seller after the other until something was paid.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use nostr::{Event, PublicKey, ToBech32};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::joins::{JOIN, Progress, Sold};
use super::openai::{ApiError, Usage, Wanted};
use super::{KIND, Shared};
use crate::buyer::{BuyerError, Record, Trip, buy};
use crate::domain::Hex32;
use crate::domain::buyer::Order;
use crate::domain::id::RequestId;
use crate::domain::job::Encryption;
use crate::domain::msat::Msat;
use crate::domain::purchase::{Act, Delivery, End, PurchaseStatus, Terms};
use crate::domain::sellers::{JobSize, Ranked, SellerRecord, rank};
use crate::domain::time::Time;
use crate::ledger::{Bought, NewPurchase, Progress as Written, Via};

/// Sellers that one request tries.
const TRIES: usize = 4;
/// How long announcements are waited for after a start.
const LOAD: Duration = Duration::from_secs(5);
/// How long a seller may say nothing at all.
const FIRST_WORD: Duration = Duration::from_secs(20);
/// How long one request may take.
const LONGEST: Duration = Duration::from_secs(300);
/// Tokens of an answer where the request does not say.
const TOKENS: u64 = 1_024;
/// What NIP-44 carries and every client reads, bytes; the tags around the prompt included.
const NIP44_PROMPT: usize = 60_000;
/// The longest prompt that relays carry in clear, bytes.
const PLAIN_PROMPT: usize = 60_000;

/// The model that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Choice {
    name: Option<String>,
    seller: Option<PublicKey>,
}

/// `auto`, `NAME` or `NAME@NPUB`.
fn choice(model: &str) -> Result<Choice, ApiError> {
    let (name, seller) = match model.rsplit_once('@') {
        Some((name, key)) => match PublicKey::parse(key) {
            Ok(key) => (name, Some(key)),
            Err(_) => return Err(no_model(model, "what stands after @ is no npub")),
        },
        None => (model, None),
    };
    let name = (!name.is_empty() && name != "auto").then(|| name.to_owned());
    Ok(Choice { name, seller })
}

fn no_model(model: &str, why: &str) -> ApiError {
    let message = format!("The model '{model}' can't be bought: {why}");
    let mut error = ApiError::new(404, "invalid_request_error", message).code("model_not_found");
    error.param = Some("model".to_owned());
    error
}

fn broke(message: impl Into<String>) -> ApiError {
    ApiError::new(402, "insufficient_quota", message).code("insufficient_quota")
}

fn nobody(message: impl Into<String>) -> ApiError {
    ApiError::new(503, "server_error", message).code("no_seller")
}

/// Sells, and tells how far it is; the last thing told is the end. Ends early where nobody listens and nothing is paid.
pub(super) async fn run(
    shared: Arc<Shared>,
    wanted: Wanted,
    body: Hex32,
    tell: Arc<watch::Sender<Progress>>,
) {
    let cancel = shared.cancel.child_token();
    let end = {
        let selling = sell(&shared, &wanted, body, &tell, &cancel);
        tokio::pin!(selling);
        loop {
            tokio::select! {
                end = &mut selling => break end,
                () = tell.closed(), if !cancel.is_cancelled() => cancel.cancel(),
            }
        }
    };
    tell.send_modify(|progress| progress.end = Some(end));
}

async fn sell(
    shared: &Shared,
    wanted: &Wanted,
    body: Hex32,
    tell: &watch::Sender<Progress>,
    cancel: &CancellationToken,
) -> Result<Sold, ApiError> {
    let choice = choice(&wanted.model)?;
    if let (Some(own), None) = (&shared.own, choice.seller) {
        let answering = own.answer(choice.name.as_deref(), wanted);
        let answer = tokio::select! {
            answer = answering => answer,
            () = cancel.cancelled() => return Err(nobody("nobody waits for the answer any more")),
        };
        if let Some((model, answer)) = answer {
            return Ok(Sold {
                text: wanted.cut(&answer.text).to_owned(),
                usage: Usage {
                    prompt: u64::from(answer.prompt_tokens),
                    completion: u64::from(answer.completion_tokens),
                },
                seller: None,
                paid: Msat::ZERO,
                job: None,
                model: Some(model),
            });
        }
    }
    let sellers = candidates(shared, wanted, &choice).await?;
    let until = Instant::now() + LONGEST;
    let mut last = None;
    for ranked in sellers.into_iter().take(TRIES) {
        if cancel.is_cancelled() || Instant::now() >= until {
            break;
        }
        let attempt = Attempt {
            shared,
            wanted,
            ranked: &ranked,
            body,
            tell,
            cancel,
            until,
        };
        match attempt.run().await {
            Tried::Sold(sold) => return Ok(*sold),
            Tried::Over(error) => return Err(error),
            Tried::Next(words) => last = Some(words),
        }
    }
    if Instant::now() >= until {
        let words = format!("no seller answered within {} s", LONGEST.as_secs());
        return Err(ApiError::new(408, "timeout", words).code("timeout"));
    }
    let words = last.unwrap_or_else(|| "nobody waits for the answer any more".to_owned());
    Err(nobody(format!(
        "no seller could be bought from; the last one: {words}"
    )))
}

/// The sellers that can be asked, best first.
async fn candidates(
    shared: &Shared,
    wanted: &Wanted,
    choice: &Choice,
) -> Result<Vec<Ranked>, ApiError> {
    shared.directory.loaded(LOAD).await;
    let failed = |error: crate::ledger::LedgerError| {
        ApiError::new(
            503,
            "server_error",
            format!("the ledger can't be read: {error}"),
        )
    };
    let records = shared
        .ledger
        .seller_records(Time::now())
        .await
        .map_err(failed)?;
    let size = JobSize {
        prompt_tokens: wanted.prompt_tokens(),
        max_tokens: wanted.max_tokens.map_or(TOKENS, u64::from),
    };
    let ranked = |records: &HashMap<PublicKey, SellerRecord>| {
        let known = shared.directory.known(records, &shared.buyer);
        let mut all = rank(&known, choice.name.as_deref(), size, Time::now());
        all.retain(|one| match choice.seller {
            Some(seller) => one.seller.key == seller,
            None => Some(one.seller.key) != shared.us,
        });
        all
    };
    let mut all = ranked(&records);
    if all.is_empty() {
        return Err(no_model(
            &wanted.model,
            "no seller announces it on your relays; see `vend gateway sellers`",
        ));
    }
    if !all[0].alive {
        shared
            .directory
            .ping_silent(&shared.buyer, Duration::from_secs(3))
            .await;
        all = ranked(&records);
    }
    // A seller that was named is asked all the same.
    if choice.seller.is_none() {
        all.retain(|one| one.alive);
    }
    if all.is_empty() {
        return Err(nobody(format!(
            "no seller of '{}' shows a sign of life",
            wanted.model
        )));
    }
    let spent = shared
        .ledger
        .spent_today(Time::now())
        .await
        .map_err(failed)?;
    affordable(shared, all, spent)
}

/// Those within the caps.
fn affordable(shared: &Shared, mut all: Vec<Ranked>, spent: Msat) -> Result<Vec<Ranked>, ApiError> {
    if shared.payer.is_none() {
        all.retain(|one| one.most == Some(Msat::ZERO));
        if all.is_empty() {
            return Err(broke(
                "no wallet pays: set gateway.nwc to a connection that can spend",
            ));
        }
        return Ok(all);
    }
    let least = |one: &Ranked| one.most.unwrap_or(Msat(1));
    all.retain(|one| least(one) <= shared.caps.request);
    if all.is_empty() {
        return Err(broke(
            "each seller asks for more than gateway.max_sats_per_request; ask for fewer tokens, or raise it",
        ));
    }
    let left = shared.caps.day.saturating_sub(spent);
    all.retain(|one| least(one) <= left);
    if all.is_empty() {
        return Err(broke(format!(
            "{} were spent in the last 24 hours, and the cheapest seller would go beyond gateway.max_sats_per_day",
            spent.display()
        )));
    }
    Ok(all)
}

enum Tried {
    Sold(Box<Sold>),
    /// Another seller may do better.
    Next(String),
    Over(ApiError),
}

/// One seller.
struct Attempt<'a> {
    shared: &'a Shared,
    wanted: &'a Wanted,
    ranked: &'a Ranked,
    body: Hex32,
    tell: &'a watch::Sender<Progress>,
    cancel: &'a CancellationToken,
    until: Instant,
}

impl Attempt<'_> {
    async fn run(&self) -> Tried {
        let order = match self.order() {
            Ok(order) => order,
            Err(error) => return Tried::Over(error),
        };
        let request = match self.shared.buyer.write(&order) {
            Ok(request) => request,
            Err(error) => return Tried::Next(error.to_string()),
        };
        let record = self.record(&request, &order);
        let bid = order.bid.unwrap_or_default();
        let trip = Trip {
            request: &request,
            terms: Terms {
                kind: KIND,
                to: order.to,
                pays: self.shared.payer.is_some(),
                most: bid,
                network: self.shared.network,
            },
            payer: self.shared.payer.as_ref(),
            record: Some(&record),
            until: self.until,
            wait_for_invoice: false,
            first_word: Some(FIRST_WORD),
            cancel: self.cancel.clone(),
        };
        let mut asked_to_pay = false;
        let mut hear = |act: &Act| {
            asked_to_pay |= matches!(act, Act::Pay { .. });
            self.hear(act, &request);
        };
        let end = buy(&self.shared.buyer, trip, &mut hear).await;
        self.ended(end, &request, &record, asked_to_pay).await
    }

    fn order(&self) -> Result<Order, ApiError> {
        let seller = &self.ranked.seller;
        let prompt = if seller.messages {
            self.wanted.chat()
        } else {
            self.wanted.flat()
        };
        let longest = if seller.encrypts {
            NIP44_PROMPT
        } else {
            PLAIN_PROMPT
        };
        if prompt.len() > longest {
            let words = format!(
                "the conversation has {} bytes, and relays carry {longest}",
                prompt.len()
            );
            return Err(ApiError::bad(
                "messages",
                Some("context_length_exceeded"),
                words,
            ));
        }
        let mut params = self.wanted.params.clone();
        for stop in &self.wanted.stop {
            params.push(("stop".to_owned(), stop.clone()));
        }
        if self.wanted.stream && seller.streams {
            params.push(("stream".to_owned(), "true".to_owned()));
        }
        let bid = self.ranked.most.unwrap_or(self.shared.caps.request);
        Ok(Order {
            kind: KIND,
            prompt,
            model: self.ranked.model.clone(),
            max_tokens: self.wanted.max_tokens,
            bid: Some(bid.min(self.shared.caps.request)),
            output: Some("text/plain".to_owned()),
            relays: self.shared.relays.clone(),
            to: Some(seller.key),
            encrypt: if seller.encrypts {
                Encryption::Nip44
            } else {
                Encryption::Plain
            },
            params,
        })
    }

    fn record(&self, request: &Event, order: &Order) -> Record {
        Record {
            ledger: self.shared.ledger.clone(),
            new: NewPurchase {
                id: Hex32(rand::random()),
                request_id: RequestId(request.id),
                via: Via::Gateway,
                kind: KIND,
                encryption: order.encrypt,
                seller: order.to,
                model: order.model.clone(),
                bid: order.bid,
                body: Some(self.body),
                at: Time::now(),
            },
            caps: Some(self.shared.caps),
        }
    }

    fn hear(&self, act: &Act, request: &Event) {
        match act {
            Act::Partial { text, .. } => {
                let sure = self.wanted.sure(text);
                self.tell.send_if_modified(|progress| {
                    // What is out can't be taken back: a text that does not go on from it waits for the result.
                    if sure.len() <= progress.text.len()
                        || !sure.starts_with(progress.text.as_str())
                    {
                        return false;
                    }
                    sure.clone_into(&mut progress.text);
                    let npub = npub(&self.ranked.seller.key);
                    progress.seller = Some((npub, request.id.to_hex()));
                    true
                });
            }
            Act::Pay { .. } => self.tell.send_modify(|progress| progress.paid = true),
            _ => {}
        }
    }

    async fn ended(
        &self,
        end: Result<End, BuyerError>,
        request: &Event,
        record: &Record,
        asked_to_pay: bool,
    ) -> Tried {
        match end {
            Err(BuyerError::Ledger(error)) => {
                let words = format!("the ledger took nothing, so nothing was bought: {error}");
                Tried::Over(ApiError::new(503, "server_error", words))
            }
            Err(error) => Tried::Next(error.to_string()),
            Ok(End::Delivered {
                delivery,
                paid,
                unsure,
            }) => {
                let paid = match (paid, unsure) {
                    (Some(paid), _) => paid.amount,
                    (None, Some(_)) => delivery.amount.unwrap_or_default(),
                    (None, None) => Msat::ZERO,
                };
                self.delivered(delivery, paid, record).await
            }
            Ok(End::Failed { words, .. }) => {
                self.tell.send_modify(|progress| progress.paid = false);
                if !asked_to_pay {
                    self.shared.buyer.withdraw(request);
                }
                self.failed(words, asked_to_pay)
            }
            Ok(End::Lost { words, .. } | End::Unsure { words, .. }) => {
                let words = format!("{}: {words}", npub(&self.ranked.seller.key));
                let error = ApiError::new(503, "server_error", words).code("paid_and_lost");
                Tried::Over(error.after_payment())
            }
        }
    }

    fn failed(&self, words: String, asked_to_pay: bool) -> Tried {
        let out = !self.tell.borrow().text.is_empty();
        if words.contains("gateway.max_sats_per_") {
            return Tried::Over(broke(words));
        }
        if asked_to_pay {
            // The wallet said no, and would say so to the next seller's invoice too.
            return Tried::Over(broke(words));
        }
        if out {
            let words = format!("the seller stopped in the middle of its answer: {words}");
            return Tried::Over(nobody(words));
        }
        Tried::Next(words)
    }

    async fn delivered(&self, delivery: Delivery, paid: Msat, record: &Record) -> Tried {
        let text = self.wanted.cut(&delivery.content).to_owned();
        let usage = delivery.usage.map_or_else(
            || Usage {
                prompt: estimate(&self.wanted.flat()),
                completion: estimate(&text),
            },
            |(prompt, completion)| Usage { prompt, completion },
        );
        let written = Written {
            prompt_tokens: Some(usage.prompt),
            completion_tokens: Some(usage.completion),
            ..Written::default()
        };
        let noted = self.shared.ledger.purchase_goes_on(
            record.new.id,
            PurchaseStatus::Delivered,
            written,
            Time::now(),
        );
        if let Err(error) = noted.await {
            tracing::warn!(%error, "the tokens of a purchase were not written down");
        }
        if !text.starts_with(self.tell.borrow().text.as_str()) {
            let words = "the seller's answer is another one than it had streamed";
            let error = ApiError::new(503, "server_error", words).code("answer_differs");
            let error = if paid.is_zero() {
                error
            } else {
                error.after_payment()
            };
            return Tried::Over(error);
        }
        Tried::Sold(Box::new(Sold {
            text,
            usage,
            seller: Some(npub(&delivery.seller)),
            paid,
            job: Some(record.new.request_id.to_string()),
            model: delivery.model.or_else(|| self.ranked.model.clone()),
        }))
    }
}

/// An answer that came for a purchase of an earlier run.
pub(super) fn sold_late(bought: &Bought, delivery: Delivery) -> Sold {
    let completion = estimate(&delivery.content);
    let (prompt, completion) = delivery.usage.unwrap_or((0, completion));
    Sold {
        usage: Usage { prompt, completion },
        text: delivery.content,
        seller: Some(npub(&delivery.seller)),
        paid: bought.view.paid_msat,
        job: Some(bought.view.request_id.to_string()),
        model: delivery.model,
    }
}

/// A sale of an earlier run that may have been paid: nothing is bought, and its answer is waited for.
pub(super) async fn resume(bought: Bought, tell: Arc<watch::Sender<Progress>>) {
    tell.send_modify(|progress| progress.paid = true);
    let mut told = tell.subscribe();
    let came = told.wait_for(|progress| progress.end.is_some());
    if tokio::time::timeout(JOIN.min(Duration::from_secs(60)), came)
        .await
        .is_ok()
    {
        return;
    }
    let words = format!(
        "this was bought already (request {}), and its answer has not come; see `vend purchases`",
        bought.view.request_id
    );
    let error = ApiError::new(503, "server_error", words).code("paid_and_lost");
    tell.send_modify(|progress| {
        progress.end.get_or_insert(Err(error.after_payment()));
    });
}

/// Tokens of a text where nobody counted them.
fn estimate(text: &str) -> u64 {
    u64::try_from(text.chars().count())
        .unwrap_or(u64::MAX)
        .div_ceil(4)
}

fn npub(key: &PublicKey) -> String {
    key.to_bech32().unwrap_or_else(|_| key.to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_read_with_its_seller() {
        let key = nostr::Keys::generate().public_key();
        let named = choice(&format!("llama3:8b@{}", npub(&key))).unwrap();
        assert_eq!(
            (named.name.as_deref(), named.seller),
            (Some("llama3:8b"), Some(key))
        );
        let any = choice("auto").unwrap();
        assert_eq!((any.name, any.seller), (None, None));
        let auto = choice(&format!("auto@{}", npub(&key))).unwrap();
        assert_eq!((auto.name, auto.seller), (None, Some(key)));
        assert_eq!(choice("llama3@nobody").unwrap_err().status, 404);
    }
}
