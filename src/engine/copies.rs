//! A ledger that is a copy asks, before it sells again, what it does not know: the relays for our own answers and invoices since
//! its last moment, and the wallet for what it was paid. What they have is taken in as `recovered`.

use std::sync::Arc;
use std::time::Duration;

use nostr::{Kind, RelayUrl};

use super::audit::is_vends;
use super::context::EngineContext;
use super::offers::price_rule;
use super::preflight::Place;
use super::wallets::WalletHandle;
use crate::config::schema::PayMode;
use crate::config::{Settings, restored};
use crate::domain::event::{EventKind, Level};
use crate::domain::id::{IdBeginning, LABEL, RequestId};
use crate::domain::invoice;
use crate::domain::job::{Job, MadeBy, PayOrder, Terms, TextParams, Texts};
use crate::domain::recovered::{self, Found};
use crate::domain::time::Time;
use crate::ledger::{Cause, Change, LedgerError, NewJob};
use crate::nostr::own_events;
use crate::wallet::{PaymentStatus, WalletError};

/// Clocks differ, and the copy was made while something was on its way.
const OVERLAP: Duration = Duration::from_secs(600);

/// How a job came to be taken in.
const SHOWN_SINCE: &str = "by our own events on the relays, after a copy was put back";
const PAID_SINCE: &str = "by the wallet's own list, after a copy was put back";

/// Asks where there is something to ask.
///
/// # Errors
/// Why it could not; nothing is to be sold then.
pub async fn ask(shop: &Arc<EngineContext>, place: &Place) -> Result<(), String> {
    let Some(since) = restored::read(&place.data) else {
        return Ok(());
    };
    let settings = shop.settings();
    let urls = settings.nostr.relays.iter();
    let relays: Vec<RelayUrl> = urls.filter_map(|url| RelayUrl::parse(url).ok()).collect();
    let mut kinds = vec![Kind::JobFeedback];
    kinds.extend(
        settings
            .nostr
            .kinds
            .iter()
            .map(|kind| Kind::from_u16(kind + 1_000)),
    );
    let from = since.minus(OVERLAP).secs();
    let own = own_events(&relays, &shop.keys, &kinds, from).await;
    if own.answered == 0 {
        return Err(
            "this ledger is a copy that was put back, and no relay could be asked what it does not know: vend sells again when one answers".to_owned(),
        );
    }
    let made_by = match shop.wallet_of() {
        Some(handle) => handle.made_by().await,
        None => MadeBy::default(),
    };
    let mut taken = 0_u32;
    let secrets = shop.hold_secrets();
    for (id, mut found) in recovered::by_request(&own.events) {
        found.find_secret(&id, &secrets);
        let known = shop
            .ledger
            .job(id)
            .await
            .map_err(|error| error.to_string())?;
        if !recovered::is_news(known.as_ref(), &found) {
            continue;
        }
        let took = take_in(shop, &settings, id, known, &found, made_by.clone()).await;
        if took.map_err(|error| error.to_string())? {
            taken += 1;
        }
    }
    let paid = match shop.wallet_of() {
        Some(handle) => paid_since(shop, &handle, since.minus(OVERLAP)).await?,
        None => Paid::Unsaid,
    };
    restored::clear(&place.data).map_err(|error| format!("restored.json: {error}"))?;
    let words = format!(
        "this ledger is a copy that was put back: {} of {} relays were asked, and {taken} jobs taken in that it did not know; {}",
        own.answered,
        relays.len(),
        paid.words()
    );
    shop.notice(Level::Warn, "ledger", &words);
    shop.wakers.polls.notify_one();
    shop.wakers.stats.notify_one();
    Ok(())
}

/// What the wallet was paid for since the copy's last moment.
enum Paid {
    /// It lists no invoices.
    Unsaid,
    /// Invoices taken in, and those of jobs that nobody knows any more.
    Told { taken: u32, unknown: u32 },
}

impl Paid {
    fn words(&self) -> String {
        match self {
            Self::Unsaid => "the wallet lists no invoices".to_owned(),
            Self::Told { taken, unknown: 0 } => {
                format!("the wallet was asked, and {taken} payments taken in")
            }
            Self::Told { taken, unknown } => format!(
                "the wallet was asked, and {taken} payments taken in; {unknown} are for jobs that neither this ledger nor a relay knows: `vend audit` lists them"
            ),
        }
    }
}

/// Asks the wallet for what was paid. An invoice that nobody has paid needs nothing: its buyer knows it from our own events, and
/// the next question for its label finds it.
async fn paid_since(
    shop: &EngineContext,
    handle: &WalletHandle,
    since: Time,
) -> Result<Paid, String> {
    let wallet = &*handle.wallet;
    let listed = match wallet.made_since(since).await {
        Ok(listed) => listed,
        Err(WalletError::Unsupported) => return Ok(Paid::Unsaid),
        Err(error) => {
            return Err(format!(
                "this ledger is a copy that was put back, and the wallet could not be asked what it does not know: {error}"
            ));
        }
    };
    let failed = |error: LedgerError| error.to_string();
    let (mut taken, mut unknown) = (0, 0);
    for one in listed.into_iter().filter(is_vends) {
        let hash = one.issued.payment_hash;
        if shop.ledger.has_invoice(hash).await.map_err(failed)? {
            continue;
        }
        let seen = wallet.lookup(one.issued.clone()).await;
        let seen = seen.map_err(|error| format!("the wallet could not be asked: {error}"))?;
        if !matches!(seen, PaymentStatus::Paid { .. }) {
            continue;
        }
        match job_of(shop, one.label.as_deref()).await.map_err(failed)? {
            Some(job) if job.paid.is_zero() => {
                let found = Found {
                    bolt11: Some(invoice::bare(&one.issued.bolt11).to_owned()),
                    ..Found::default()
                };
                let made_by = handle.made_by().await;
                bring_up(shop, job, &found, made_by, PAID_SINCE)
                    .await
                    .map_err(failed)?;
                taken += 1;
            }
            _ => unknown += 1,
        }
    }
    Ok(Paid::Told { taken, unknown })
}

/// The job whose invoices have this label.
async fn job_of(shop: &EngineContext, label: Option<&str>) -> Result<Option<Job>, LedgerError> {
    let hex = label.and_then(|label| label.strip_prefix(LABEL));
    // Core Lightning numbers those that follow one which expired.
    let hex = hex.map(|hex| hex.split('#').next().unwrap_or(hex));
    let Some(beginning) = hex.and_then(|hex| hex.parse::<IdBeginning>().ok()) else {
        return Ok(None);
    };
    match shop.ledger.ids(beginning).await?.as_slice() {
        [id] => shop.ledger.job(*id).await,
        _ => Ok(None),
    }
}

async fn take_in(
    shop: &EngineContext,
    settings: &Settings,
    id: RequestId,
    known: Option<Job>,
    found: &Found,
    made_by: MadeBy,
) -> Result<bool, LedgerError> {
    let before = if let Some(job) = known {
        job
    } else {
        let Some(job) = recovered::unknown(id, found, terms(settings)) else {
            return Ok(false);
        };
        let new = NewJob {
            job,
            texts: Texts::default(),
            from: "our own events".to_owned(),
            notes: String::new(),
            drafts: Vec::new(),
            most_waiting: u32::MAX,
            question: None,
            credit: None,
            free: None,
        };
        // Refused once, and answered so.
        let Ok(job) = shop.ledger.admit(new).await? else {
            return Ok(false);
        };
        job
    };
    bring_up(shop, before, found, made_by, SHOWN_SINCE).await?;
    Ok(true)
}

async fn bring_up(
    shop: &EngineContext,
    before: Job,
    found: &Found,
    made_by: MadeBy,
    why: &str,
) -> Result<(), LedgerError> {
    let job = recovered::brought_up(before.clone(), found, made_by, Time::now());
    let change = Change {
        before,
        job: job.clone(),
        what: "recovered",
        detail: why.to_owned(),
        answer: None,
        drafts: Vec::new(),
        withdraw: true,
        cause: Cause::Itself,
    };
    shop.ledger.commit(change).await?;
    shop.emit(EventKind::Job {
        job: Box::new(job.view()),
        what: "recovered".to_owned(),
    });
    // Its invoice is watched from now on.
    shop.wake_for(&job, false);
    Ok(())
}

/// What it was admitted under is not known: what would be now.
fn terms(settings: &Settings) -> Terms {
    let model = settings.text.model.clone();
    Terms {
        price: price_rule(settings, &model),
        priority_percent: 0,
        offer: None,
        model,
        substituted: None,
        params: TextParams {
            max_tokens: settings.text.max_tokens,
            temperature: settings.text.temperature,
            top_k: settings.text.top_k,
            top_p: settings.text.top_p,
            frequency_penalty: settings.text.frequency_penalty,
            seed: None,
        },
        stream: false,
        // A payment that is held for it goes back, as nobody has the text of the request.
        order: if settings.payment.mode == PayMode::Hold {
            PayOrder::Hold
        } else {
            PayOrder::Before
        },
        bid_msat: None,
        input_tokens_most: 0,
        input_tokens_likely: 0,
        invoice_expiry_secs: settings.payment.invoice_expiry_secs,
        job_timeout_secs: settings.limits.job_timeout_secs,
        check_every_secs: settings.payment.check_every_secs,
        relays: Vec::new(),
        seen_on: String::new(),
    }
}
