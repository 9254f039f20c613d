//! Takes requests in, or says why not, in the order of SPEC section 4. An admitted one is in the ledger before anybody
//! hears of it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use nostr::{Event as Signed, EventId, JsonUtil, Kind, PublicKey, RelayUrl};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::crash;
use super::desk::StepError;
use super::held_back::HeldBack;
use super::shop::{Market, Shop};
use super::zaps::Zaps;
use crate::config::Settings;
use crate::config::schema::{OtherModel, PayMode};
use crate::domain::Hex32;
use crate::domain::event::{Level, News};
use crate::domain::health::Light;
use crate::domain::id::{Buyer, Preimage};
use crate::domain::job::{Encryption, Invoice, Job, PayOrder, State, Terms, TextParams};
use crate::domain::model_name::same_model;
use crate::domain::msat::Msat;
use crate::domain::price::PriceRule;
use crate::domain::refusal::DropReason;
use crate::domain::reply::{Draft, Reply, Role};
use crate::domain::request::{self, Agreed, Offer, Part, Request};
use crate::domain::step;
use crate::domain::text::clean;
use crate::domain::time::Time;
use crate::ledger::{Counted, LedgerError, SignedDraft, Verdict};
use crate::nostr::RelayNews;

/// Refusals answered to one buyer in ten minutes.
const ERRORS_PER_BUYER: u32 = 3;
/// Refusals answered to all buyers in a minute.
const ERRORS_PER_MINUTE: u32 = 30;
/// Requests whose input events are being fetched.
const FETCHING: usize = 16;
/// How long relays have to give an input event.
const FETCH_TIME: Duration = Duration::from_secs(5);
/// How often counted drops are told and written down.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// Deletions that came before their request.
const EARLY_CANCELS: usize = 1_024;
/// Tokens that a model's template may add to a prompt.
const TEMPLATE_TOKENS: u32 = 64;

/// Counts and limits; lives as long as the shop is online.
pub struct Admission {
    shop: Arc<Shop>,
    market: Market,
    counted: Mutex<(Counted, BTreeMap<DropReason, Buyer>)>,
    per_buyer: DefaultKeyedRateLimiter<PublicKey>,
    all: DefaultDirectRateLimiter,
    errors_per_buyer: DefaultKeyedRateLimiter<PublicKey>,
    errors: DefaultDirectRateLimiter,
    early: Mutex<Vec<(EventId, PublicKey)>>,
    fetching: Semaphore,
    held_back: HeldBack,
    zaps: Zaps,
}

fn per_minute(n: u32) -> Quota {
    Quota::per_minute(NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN))
}

impl Admission {
    /// Limits as the settings say now.
    #[must_use]
    pub fn new(shop: Arc<Shop>, market: Market) -> Arc<Self> {
        let limits = shop.settings().limits.clone();
        let ten_minutes =
            Quota::with_period(Duration::from_secs(600 / u64::from(ERRORS_PER_BUYER)))
                .unwrap_or_else(|| per_minute(1))
                .allow_burst(NonZeroU32::new(ERRORS_PER_BUYER).unwrap_or(NonZeroU32::MIN));
        Arc::new(Self {
            zaps: Zaps::new(shop.clone()),
            shop,
            market,
            counted: Mutex::default(),
            per_buyer: RateLimiter::keyed(per_minute(limits.per_buyer_per_minute)),
            all: RateLimiter::direct(per_minute(limits.per_minute)),
            errors_per_buyer: RateLimiter::keyed(ten_minutes),
            errors: RateLimiter::direct(per_minute(ERRORS_PER_MINUTE)),
            early: Mutex::default(),
            fetching: Semaphore::new(FETCHING),
            held_back: HeldBack::default(),
        })
    }

    /// Takes events until `stop`; `early` are those that came while the shop was still starting.
    pub async fn work(
        self: Arc<Self>,
        early: Vec<RelayNews>,
        mut news: mpsc::Receiver<RelayNews>,
        stop: CancellationToken,
    ) {
        let mut slow: JoinSet<()> = JoinSet::new();
        for news in early {
            self.hear(news, &mut slow).await;
        }
        let mut tidy = tokio::time::interval(Duration::from_secs(60));
        let flush = tokio::time::sleep(TELL_EVERY);
        tokio::pin!(flush);
        let mut untold = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                news = news.recv() => match news {
                    Some(news) => {
                        untold |= self.hear(news, &mut slow).await;
                    }
                    None => break,
                },
                () = &mut flush, if untold => {
                    self.flush().await;
                    untold = false;
                    flush.as_mut().reset(tokio::time::Instant::now() + TELL_EVERY);
                }
                Some(_) = slow.join_next(), if !slow.is_empty() => untold = true,
                () = self.shop.clock.changed.notified() => {
                    for (relay, event) in self.held_back.take() {
                        let event = Box::new(event);
                        untold |= self.hear(RelayNews::Event { relay, event }, &mut slow).await;
                    }
                }
                _ = tidy.tick() => {
                    // Keyed limiters grow with every key they meet.
                    self.per_buyer.retain_recent();
                    self.errors_per_buyer.retain_recent();
                }
            }
        }
        slow.shutdown().await;
        self.flush().await;
    }

    /// True where there is something new to count.
    async fn hear(self: &Arc<Self>, news: RelayNews, slow: &mut JoinSet<()>) -> bool {
        match news {
            RelayNews::Event { relay, event } if event.kind == Kind::EventDeletion => {
                self.cancel(&event, &relay).await;
                false
            }
            RelayNews::Event { event, .. } if event.kind == Kind::ZapReceipt => {
                let this = self.clone();
                slow.spawn(async move { this.zaps.take(&event).await });
                false
            }
            RelayNews::Event { relay, event } => {
                if needs_fetching(&event) && self.fetching.available_permits() > 0 {
                    let this = self.clone();
                    slow.spawn(async move {
                        let _held = this.fetching.acquire().await;
                        this.take(&relay, &event).await;
                    });
                } else {
                    self.take(&relay, &event).await;
                }
                true
            }
            RelayNews::Unverified { pubkey, .. } => {
                self.count(DropReason::BadSignature, Buyer(pubkey));
                true
            }
            RelayNews::Said { relay, words } => {
                let message = format!("{relay} says: {words}");
                self.shop.notice(Level::Info, "relay", &message);
                false
            }
            RelayNews::Cursor { relay, at } => {
                if let Err(error) = self.shop.ledger.set_cursor(relay.to_string(), at).await {
                    self.shop.ledger_failed(&error);
                }
                false
            }
            RelayNews::Health(relay) => {
                if relay.light == Light::Ok
                    && let Err(error) = self.shop.ledger.hurry(relay.url.clone()).await
                {
                    self.shop.ledger_failed(&error);
                }
                self.shop.bells.outbox.notify_one();
                self.shop.bells.lights.notify_one();
                self.shop.tell(News::Relay { relay });
                false
            }
        }
    }

    /// A buyer takes requests back (NIP-09). Only the author of a request can.
    async fn cancel(&self, event: &Signed, relay: &RelayUrl) {
        for id in request::read_cancel(event) {
            match self.shop.ledger.job(id).await {
                Ok(Some(job)) if job.buyer.0 == event.pubkey => {
                    match self.shop.cancel(id, true).await {
                        Ok(_) | Err(StepError::No(_)) => {}
                        Err(error) => self.shop.notice(Level::Error, "job", &error.to_string()),
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => self.remember_cancel(id.0, event.pubkey),
                Err(error) => self.shop.notice(
                    Level::Error,
                    "ledger",
                    &format!("a cancel from {relay}: {error}"),
                ),
            }
        }
    }

    fn remember_cancel(&self, id: EventId, by: PublicKey) {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        if early.len() >= EARLY_CANCELS {
            early.remove(0);
        }
        early.push((id, by));
    }

    fn cancelled_early(&self, event: &Signed) -> bool {
        let early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        early.contains(&(event.id, event.pubkey))
    }

    fn count(&self, reason: DropReason, buyer: Buyer) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        *counted.0.drops.entry(reason.word()).or_default() += 1;
        counted.1.insert(reason, buyer);
    }

    fn counting(&self, change: impl FnOnce(&mut Counted)) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut counted.0);
    }

    async fn flush(&self) {
        let (counted, examples) =
            std::mem::take(&mut *self.counted.lock().unwrap_or_else(PoisonError::into_inner));
        if counted == Counted::default() {
            return;
        }
        for (reason, buyer) in examples {
            self.shop.tell(News::Dropped {
                reason: reason.word().to_owned(),
                count: counted.drops.get(reason.word()).copied().unwrap_or(0),
                buyer: buyer.to_string(),
            });
        }
        if let Err(error) = self.shop.ledger.count(counted.clone()).await {
            self.shop.ledger_failed(&error);
            // Written down with the next ones.
            self.counting(|now| now.add(counted));
        }
        self.shop.bells.figures.notify_one();
    }

    async fn take(&self, relay: &RelayUrl, event: &Signed) {
        match self.judge(relay, event).await {
            Ok(()) => {}
            Err(Failure::Dropped(reason)) => self.drop_it(event, relay, reason).await,
            Err(Failure::Ledger(error)) => {
                // Not recorded, so the overlap after the next reconnect brings it again.
                self.shop.ledger_failed(&error);
            }
        }
    }

    async fn judge(&self, relay: &RelayUrl, event: &Signed) -> Result<(), Failure> {
        let known = self.shop.ledger.verdict(event.id).await?;
        if known == Verdict::Known || self.cancelled_early(event) {
            return Err(DropReason::Duplicate.into());
        }
        self.counting(|counted| counted.seen += 1);
        let settings = self.shop.settings();
        let us = self.shop.keys.public_key();
        let now = Time::now();
        if let Err(reason) = request::screen(event, &us, now, settings.limits.max_request_age_secs)
        {
            if reason == DropReason::Stale {
                self.held_back.keep(relay, event);
                if !self.shop.clock.is_right() {
                    return Ok(());
                }
            }
            return Err(reason.into());
        }
        if is_blocked(&settings, &event.pubkey) {
            return Err(DropReason::Blocked.into());
        }
        let request = request::read(event, &us, &|scheme, from, text| {
            decrypt(&self.shop, scheme, from, text)
        })?;
        self.counting(|counted| counted.understood += 1);
        if request.expired(now) {
            return Err(DropReason::Stale.into());
        }
        let agreed = self.agree(&request, &settings)?;
        let prompt = self.prompt(&request, relay).await?;
        if prompt.len() > settings.limits.prompt_bytes as usize {
            return Err(DropReason::PromptTooLong.into());
        }
        self.room(&request, &settings, &agreed.price).await?;
        let order = self.order(&request, &settings, &agreed.price).await?;
        self.admit(relay, event, request, agreed, prompt, order, &settings)
            .await
    }

    fn agree(&self, request: &Request, settings: &Settings) -> Result<Agreed, DropReason> {
        let available = |model: &str| {
            let mut names = self.market.pool.models().into_iter();
            names.find(|name| same_model(name, model))
        };
        let price_of = |model: &str| price_rule(settings, model);
        request::agree(
            request,
            &Offer {
                model: &settings.text.model,
                allow_models: &settings.text.allow_models,
                available: &available,
                substitute: settings.text.other_model == OtherModel::Substitute,
                defaults: defaults(settings),
                token_ceiling: settings.text.token_ceiling(),
                prompt_bytes: settings.limits.prompt_bytes as usize,
                price_of: &price_of,
            },
        )
    }

    /// The text to answer, with inputs that are events fetched from relays by id.
    async fn prompt(&self, request: &Request, relay: &RelayUrl) -> Result<String, DropReason> {
        let mut texts = Vec::with_capacity(request.prompt_parts.len());
        for part in &request.prompt_parts {
            match part {
                Part::Text(text) => texts.push(text.clone()),
                Part::Event {
                    id, relay: hint, ..
                } => {
                    let hint = hint.as_deref().and_then(|url| RelayUrl::parse(url).ok());
                    let hint = hint.or_else(|| Some(relay.clone()));
                    let found = self.market.relays.fetch(vec![*id], hint, FETCH_TIME).await;
                    let event = found.into_iter().find(|event| event.id == *id);
                    texts.push(event.ok_or(DropReason::NoInput)?.content);
                }
            }
        }
        let prompt = request::prompt(&texts);
        if prompt.trim().is_empty() {
            return Err(DropReason::NoInput);
        }
        Ok(prompt)
    }

    async fn room(
        &self,
        request: &Request,
        settings: &Settings,
        price: &PriceRule,
    ) -> Result<(), Failure> {
        if self.per_buyer.check_key(&request.buyer.0).is_err() || self.all.check().is_err() {
            return Err(DropReason::RateLimited.into());
        }
        let (waiting, _) = self.shop.ledger.queue_counts().await?;
        if waiting >= settings.limits.queue || self.shop.cramped().is_some() {
            return Err(DropReason::Busy.into());
        }
        let wallet_down = self.shop.wallet_health.borrow().light == Light::Down;
        if !self.shop.sells() || (wallet_down && !price.is_free()) {
            return Err(DropReason::Offline.into());
        }
        Ok(())
    }

    /// When this buyer pays: by the settings, and by what is owed already.
    async fn order(
        &self,
        request: &Request,
        settings: &Settings,
        price: &PriceRule,
    ) -> Result<PayOrder, Failure> {
        if price.is_free() {
            return Ok(PayOrder::Free);
        }
        Ok(match settings.payment.mode {
            PayMode::After => PayOrder::After,
            PayMode::Before => PayOrder::Before,
            PayMode::Hold => PayOrder::Hold,
            PayMode::Credit => {
                let (mine, all) = self.shop.ledger.open_credit(request.buyer).await?;
                let least = price.minimum();
                let within =
                    |owed: Msat, sats: u64| owed.saturating_add(least) <= Msat::from_sats(sats);
                if within(mine, settings.payment.credit_sats)
                    && within(all, settings.payment.unpaid_sats_total)
                {
                    PayOrder::After
                } else {
                    PayOrder::Before
                }
            }
        })
    }

    #[allow(clippy::too_many_arguments)] // the whole of what admission has learnt, used once
    async fn admit(
        &self,
        relay: &RelayUrl,
        event: &Signed,
        request: Request,
        agreed: Agreed,
        prompt: String,
        order: PayOrder,
        settings: &Settings,
    ) -> Result<(), Failure> {
        let now = Time::now();
        let notes = agreed
            .notes
            .iter()
            .chain(&request.notes)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("; ");
        let mut job = Job {
            id: request.id,
            buyer: request.buyer,
            kind: request.kind,
            state: State::Queued,
            rev: 0,
            encryption: request.encryption,
            addressed: request.addressed,
            terms: Terms {
                model: agreed.model,
                substituted: agreed.substituted,
                params: agreed.params,
                price: agreed.price,
                order,
                bid_msat: request.bid,
                invoice_expiry_secs: settings.payment.invoice_expiry_secs,
                job_timeout_secs: settings.limits.job_timeout_secs,
                check_every_secs: settings.payment.check_every_secs,
                relays: request.relays,
                seen_on: relay.to_string(),
            },
            request_json: Some(event.as_json()),
            prompt: Some(prompt),
            answer: None,
            price: None,
            paid: Msat::ZERO,
            owed: Msat::ZERO,
            attempts: 0,
            wallet_tries: 0,
            next_at: None,
            boot: None,
            error_code: None,
            error: None,
            invoice: None,
            result_id: None,
            delivered: false,
            created_at: now,
            updated_at: now,
        };
        quote(&mut job);
        let drafts = self.first_words(&job).await?;
        let detail = clean(
            &format!("from {relay}, pays {}. {notes}", word_of(order)),
            400,
        );
        crash::point("admit.before");
        let new = self
            .shop
            .ledger
            .admit(job.clone(), detail, drafts.clone())
            .await?;
        crash::point("admit.after");
        self.shop.ledger_works();
        if !new {
            return Err(DropReason::Duplicate.into());
        }
        self.shop.tell(News::Job {
            job: Box::new(job.view()),
            what: "admitted".to_owned(),
        });
        self.shop.wake_for(&job, !drafts.is_empty());
        Ok(())
    }

    /// A job that must wait hears so at once; one that runs at once hears that it runs.
    async fn first_words(&self, job: &Job) -> Result<Vec<SignedDraft>, Failure> {
        if job.state != State::Queued {
            return Ok(Vec::new());
        }
        let (waiting, _) = self.shop.ledger.queue_counts().await?;
        if waiting == 0 && self.market.pool.free_slots(&job.terms.model) > 0 {
            return Ok(Vec::new());
        }
        let draft = Draft {
            role: Role::Queued,
            reply: Reply::Processing {
                position: Some(waiting + 1),
                substituted: None,
            },
        };
        self.shop.sign(job, &[draft]).await.map_err(Failure::from)
    }

    async fn drop_it(&self, event: &Signed, relay: &RelayUrl, reason: DropReason) {
        let buyer = Buyer(event.pubkey);
        self.count(reason, buyer);
        let Some(sentence) = reason.sentence() else {
            return;
        };
        if !request::addressed(event, &self.shop.keys.public_key())
            || self.errors_per_buyer.check_key(&event.pubkey).is_err()
            || self.errors.check().is_err()
        {
            return;
        }
        let draft = Draft {
            role: Role::Error,
            reply: Reply::Error { sentence },
        };
        let written = self
            .shop
            .write(event, request::encryption(event), &draft, relay.as_str())
            .await;
        let answer = match written {
            Ok(signed) => SignedDraft {
                role: Role::Error,
                event_id: signed.id,
                json: signed.as_json(),
                not_after: Time::now().plus(Duration::from_secs(600)),
                relays: self.shop.targets(&[]),
            },
            Err(error) => return self.shop.notice(Level::Error, "job", &error.to_string()),
        };
        let word = reason.word();
        match self
            .shop
            .ledger
            .refuse(event.id, word, Time::now(), Some(answer))
            .await
        {
            Ok(_) => self.shop.bells.outbox.notify_one(),
            Err(error) => self.shop.ledger_failed(&error),
        }
    }
}

enum Failure {
    Dropped(DropReason),
    Ledger(StepError),
}

impl From<DropReason> for Failure {
    fn from(reason: DropReason) -> Self {
        Self::Dropped(reason)
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error.into())
    }
}

impl From<StepError> for Failure {
    fn from(error: StepError) -> Self {
        Self::Ledger(error)
    }
}

/// Pay first: the price of the most that the job may use is asked before it runs.
fn quote(job: &mut Job) {
    if !matches!(job.terms.order, PayOrder::Before | PayOrder::Hold) {
        return;
    }
    let bytes = job.prompt.as_ref().map_or(0, String::len);
    // One token is at least one byte, so this is the most that the prompt can be.
    let input = u32::try_from(bytes)
        .unwrap_or(u32::MAX)
        .saturating_add(TEMPLATE_TOKENS);
    let amount =
        job.terms
            .price
            .price_under(input, job.terms.params.max_tokens, job.terms.bid_msat);
    job.price = Some(amount);
    if amount.is_zero() {
        job.terms.order = PayOrder::Free;
    } else {
        job.state = State::Quoting;
        // Of a hold invoice we keep the secret, and it is in the ledger before the wallet hears of its hash.
        let holds = job.terms.order == PayOrder::Hold;
        job.invoice = Some(Invoice {
            preimage: holds.then(|| Preimage(Hex32(rand::random()))),
            ..step::intent(job, amount)
        });
    }
}

const fn word_of(order: PayOrder) -> &'static str {
    match order {
        PayOrder::After => "after",
        PayOrder::Before => "first",
        PayOrder::Hold => "first, held until delivery",
        PayOrder::Free => "nothing",
    }
}

fn defaults(settings: &Settings) -> TextParams {
    TextParams {
        max_tokens: settings.text.max_tokens,
        temperature: settings.text.temperature,
        top_k: settings.text.top_k,
        top_p: settings.text.top_p,
        frequency_penalty: settings.text.frequency_penalty,
        seed: None,
    }
}

/// The price of a model: its own, or the general one.
#[must_use]
pub fn price_rule(settings: &Settings, model: &str) -> PriceRule {
    let general = &settings.price;
    general
        .models
        .iter()
        .find(|price| same_model(&price.name, model))
        .map_or(
            PriceRule {
                min_sats: general.min_price_sats,
                per_1k_input: general.price_per_1k_tokens,
                per_1k_output: general.price_per_1k_tokens,
            },
            |own| PriceRule {
                min_sats: own.min_price_sats.unwrap_or(general.min_price_sats),
                per_1k_input: own.price_per_1k_input,
                per_1k_output: own.price_per_1k_output,
            },
        )
}

fn is_blocked(settings: &Settings, buyer: &PublicKey) -> bool {
    let named = |list: &[String]| {
        list.iter()
            .any(|key| PublicKey::parse(key).is_ok_and(|key| key == *buyer))
    };
    named(&settings.limits.block)
        || (!settings.limits.allow.is_empty() && !named(&settings.limits.allow))
}

/// Does it have inputs that must be fetched from relays? Encrypted ones are found out later, and waited for.
fn needs_fetching(event: &Signed) -> bool {
    event.tags.iter().any(|tag| {
        let parts = tag.as_slice();
        parts.first().is_some_and(|name| name == "i")
            && parts
                .get(2)
                .is_some_and(|kind| kind == "event" || kind == "job")
    })
}

fn decrypt(shop: &Shop, scheme: Encryption, from: &PublicKey, text: &str) -> Result<String, ()> {
    use nostr::nips::{nip04, nip44};
    let key = shop.keys.secret_key();
    match scheme {
        Encryption::Plain => Ok(text.to_owned()),
        Encryption::Nip04 => nip04::decrypt(key, from, text).map_err(drop),
        Encryption::Nip44 => nip44::decrypt(key, from, text).map_err(drop),
    }
}

/// Does the id of an event name a job that is watched for cancels?
#[must_use]
pub fn ids(jobs: &[Job]) -> Vec<EventId> {
    jobs.iter().map(|job| job.id.0).collect()
}
