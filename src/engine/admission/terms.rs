//! What the settings say of a request, and the job that comes of an admitted one.

use nostr::{PublicKey, RelayUrl};

use crate::config::Settings;
use crate::config::schema::{OtherModel, PayMode};
use crate::domain::admission::{self, Admit, FreeTier, Limits};
use crate::domain::credit::{self, Debt};
use crate::domain::fair::Rates;
use crate::domain::hold_secret::HoldSecrets;
use crate::domain::job::{Encryption, Job, PayOrder, State, Terms, TextParams};
use crate::domain::message::{self, Message};
use crate::domain::msat::Msat;
use crate::domain::price::{PriceRule, most_input_tokens};
use crate::domain::request::Offer;
use crate::domain::standing::Standing;
use crate::domain::time::Time;
use crate::engine::context::EngineContext;
use crate::nostr::long44;

/// What is sold under these settings.
pub(super) fn offer<'a>(
    settings: &'a Settings,
    available: &'a dyn Fn(&str) -> Option<String>,
    price_of: &'a dyn Fn(&str) -> PriceRule,
) -> Offer<'a> {
    Offer {
        model: &settings.text.model,
        allow_models: &settings.text.allow_models,
        available,
        substitute: settings.text.other_model == OtherModel::Substitute,
        defaults: defaults(settings),
        token_ceiling: settings.text.token_ceiling(),
        prompt_bytes: settings.limits.prompt_bytes as usize,
        price_of,
        priority_percent: settings.price.priority_percent,
    }
}

pub(super) fn limits(settings: &Settings) -> Limits {
    let limits = &settings.limits;
    Limits {
        max_request_age_secs: limits.max_request_age_secs,
        queue: limits.queue,
        rates: Rates {
            all: limits.per_minute,
            each: limits.per_buyer_per_minute,
        },
    }
}

/// The job of an admitted request with this conversation.
pub(super) fn job(
    admit: Admit,
    relay: &RelayUrl,
    messages: &[Message],
    settings: &Settings,
    secrets: &HoldSecrets,
) -> Job {
    let now = Time::now();
    let order = order(settings.payment.mode, &admit.agreed.price);
    let Admit {
        request, agreed, ..
    } = admit;
    let mut job = Job {
        id: request.id,
        buyer: request.buyer,
        kind: request.kind,
        state: State::Queued,
        rev: 0,
        encryption: request.encryption,
        addressed: request.addressed,
        terms: Terms {
            offer: Some(agreed.offer),
            model: agreed.model,
            substituted: agreed.substituted,
            params: agreed.params,
            price: agreed.price,
            priority_percent: agreed.priority_percent,
            order,
            bid_msat: request.bid,
            input_tokens_most: most_input_tokens(message::most_bytes(messages)),
            input_tokens_likely: message::likely_tokens(messages),
            invoice_expiry_secs: settings.payment.invoice_expiry_secs,
            job_timeout_secs: settings.limits.job_timeout_secs,
            check_every_secs: settings.payment.check_every_secs,
            relays: request.relays,
            seen_on: relay.to_string(),
            stream: request.stream,
        },
        has_texts: true,
        answer: None,
        price: None,
        paid: Msat::ZERO,
        owed: Msat::ZERO,
        balance_used: Msat::ZERO,
        left: Msat::ZERO,
        debt: Debt::NONE,
        attempts: 0,
        interrupts: 0,
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
    match order {
        PayOrder::Before => admission::quote(&mut job, None),
        // Of a hold invoice we keep the secret, and it is in the ledger before the wallet hears of its hash.
        PayOrder::Hold => {
            let secret = secrets.secret(&job.id, 0);
            admission::quote(&mut job, Some(secret));
        }
        PayOrder::After | PayOrder::Free => {}
    }
    job.debt = credit::of_new(&job);
    job
}

/// When a buyer pays by the settings alone.
fn order(mode: PayMode, price: &PriceRule) -> PayOrder {
    match mode {
        _ if price.is_free() => PayOrder::Free,
        PayMode::After | PayMode::Credit => PayOrder::After,
        PayMode::Before => PayOrder::Before,
        PayMode::Hold => PayOrder::Hold,
    }
}

/// What this buyer and all together may owe, where the settings say that anything may.
pub(super) fn credit(settings: &Settings, buyer: Standing) -> Option<credit::Limits> {
    let payment = &settings.payment;
    let each = buyer.credit_limit(payment.credit_sats, payment.unpaid_sats_total);
    (payment.mode == PayMode::Credit).then(|| credit::Limits {
        each: Msat::from_sats(each),
        all: Msat::from_sats(payment.unpaid_sats_total),
    })
}

/// What is given away in a day, where the settings say that anything is.
pub(super) fn free(settings: &Settings) -> Option<FreeTier> {
    let payment = &settings.payment;
    (payment.free_per_buyer_per_day > 0).then_some(FreeTier {
        each: payment.free_per_buyer_per_day,
        all: payment.free_per_day,
        max_tokens: payment.free_max_tokens,
    })
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

pub(super) fn is_blocked(settings: &Settings, buyer: &PublicKey) -> bool {
    let named = |list: &[String]| {
        list.iter()
            .any(|key| PublicKey::parse(key).is_ok_and(|key| key == *buyer))
    };
    named(&settings.limits.block)
        || (!settings.limits.allow.is_empty() && !named(&settings.limits.allow))
}

pub(super) fn decrypt(
    shop: &EngineContext,
    scheme: Encryption,
    from: &PublicKey,
    text: &str,
) -> Result<String, ()> {
    use nostr::nips::{nip04, nip44};
    let key = shop.keys.secret_key();
    match scheme {
        Encryption::Plain => Ok(text.to_owned()),
        Encryption::Nip04 => nip04::decrypt(key, from, text).map_err(drop),
        Encryption::Nip44 => nip44::decrypt(key, from, text)
            .map_err(drop)
            .or_else(|()| long44::decrypt(key, from, text).ok_or(())),
    }
}
