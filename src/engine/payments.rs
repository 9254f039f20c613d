//! Looks at open invoices until each is final. A push is only a hint to look now; an error changes no invoice; one bad
//! invoice never delays another's look.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::crash;
use super::desk::StepError;
use super::shop::Shop;
use crate::domain::desk::DoubtKind;
use crate::domain::event::Level;
use crate::domain::id::{PaymentHash, RequestId};
use crate::domain::invoice;
use crate::domain::job::Job;
use crate::domain::step::Input;
use crate::domain::text::clean;
use crate::domain::time::Time;
use crate::wallet::{Issued, Seen, Wallet};

/// Looks at once.
const AT_ONCE: usize = 8;
/// Between two words about an invoice of another wallet.
const OTHER_WALLET: Duration = Duration::from_secs(600);
/// After a look that the wallet did not answer.
const AFTER_ERROR: Duration = Duration::from_secs(5);

/// Said of an invoice that the open wallet did not make.
const OTHERS: &str = "the invoice was made by another wallet and can't be looked at with this one";

struct Watch {
    job: Job,
    next: Time,
    fails: u32,
}

/// Works until `stop`, offline too: money may come at any time.
pub async fn work(shop: Arc<Shop>, stop: CancellationToken) {
    let mut watches: HashMap<RequestId, Watch> = HashMap::new();
    let mut looking: JoinSet<(RequestId, Outcome)> = JoinSet::new();
    let mut busy: HashSet<RequestId> = HashSet::new();
    // The first look at everything is now: money may have come while nobody was here.
    reload(&shop, &mut watches).await;
    while !stop.is_cancelled() {
        let wallet = shop.wallet();
        let now = Time::now();
        let due = watches
            .values()
            .any(|watch| watch.next <= now && !busy.contains(&watch.job.id));
        if let (Some(wallet), true) = (&wallet, due) {
            let who = identity(&shop).await;
            let strangers = launch(
                &shop,
                wallet,
                who.as_deref(),
                &mut watches,
                &mut looking,
                &mut busy,
            );
            for id in strangers {
                shop.doubt(id, DoubtKind::OtherWallet, OTHERS).await;
            }
        }
        let wait = earliest(&watches, &busy, wallet.is_some(), looking.len());
        tokio::select! {
            () = stop.cancelled() => {}
            () = shop.bells.looks.notified() => reload(&shop, &mut watches).await,
            hint = hinted(wallet) => hurry(&mut watches, hint),
            Some(done) = looking.join_next(), if !looking.is_empty() => match done {
                Ok((id, outcome)) => {
                    busy.remove(&id);
                    learn(&shop, &mut watches, id, outcome).await;
                }
                Err(_) => busy.clear(),
            },
            () = tokio::time::sleep(wait) => {}
        }
    }
    looking.shutdown().await;
}

type Outcome = Result<Seen, crate::wallet::WalletError>;

async fn hinted(wallet: Option<Arc<dyn Wallet>>) -> Option<PaymentHash> {
    match wallet {
        Some(wallet) => wallet.next_hint().await,
        None => std::future::pending().await,
    }
}

/// A hint makes the look happen now; none means "look at all".
fn hurry(watches: &mut HashMap<RequestId, Watch>, hint: Option<PaymentHash>) {
    for watch in watches.values_mut() {
        let hash = watch.job.invoice.as_ref().and_then(|i| i.payment_hash);
        if hint.is_none() || hash == hint {
            watch.next = Time(0);
        }
    }
}

async fn reload(shop: &Shop, watches: &mut HashMap<RequestId, Watch>) {
    let jobs = match shop.ledger.watched(Time::now()).await {
        Ok(jobs) => jobs,
        Err(error) => return shop.notice(Level::Error, "ledger", &error.to_string()),
    };
    let known: HashSet<RequestId> = jobs.iter().map(|job| job.id).collect();
    watches.retain(|id, _| known.contains(id));
    for job in jobs {
        watches
            .entry(job.id)
            .and_modify(|watch| watch.job = job.clone())
            .or_insert(Watch {
                job,
                next: Time(0),
                fails: 0,
            });
    }
}

/// The wallet's own name for itself; asked for once, as another wallet's "unknown" says nothing about our invoices.
async fn identity(shop: &Shop) -> Option<String> {
    let known = shop.wallet_health.borrow().identity.clone();
    match known {
        Some(identity) => Some(identity),
        None => shop.look_at_wallet().await.identity,
    }
}

/// Was the invoice made by the wallet that is open now? One that does not say who it is, is taken at its word.
pub(super) fn is_its_own(job: &Job, wallet: &dyn Wallet, who: Option<&str>) -> bool {
    job.invoice.as_ref().is_some_and(|invoice| {
        let named = invoice.wallet_identity.as_deref().zip(who);
        invoice.wallet == wallet.backend() && named.is_none_or(|(made_by, now)| made_by == now)
    })
}

fn launch(
    shop: &Shop,
    wallet: &Arc<dyn Wallet>,
    who: Option<&str>,
    watches: &mut HashMap<RequestId, Watch>,
    looking: &mut JoinSet<(RequestId, Outcome)>,
    busy: &mut HashSet<RequestId>,
) -> Vec<RequestId> {
    let now = Time::now();
    let mut strangers = Vec::new();
    for watch in watches.values_mut() {
        if watch.next <= now && !is_its_own(&watch.job, &**wallet, who) {
            watch.next = now.plus(OTHER_WALLET);
            strangers.push(watch.job.id);
            let words = format!(
                "job {}: its invoice was made by another wallet and can't be looked at with this one",
                watch.job.id.short()
            );
            shop.notice(Level::Warn, "wallet", &words);
        }
    }
    let mut due: Vec<&Watch> = watches
        .values()
        .filter(|watch| watch.next <= now && !busy.contains(&watch.job.id))
        .collect();
    due.sort_by_key(|watch| watch.next);
    for watch in due {
        if looking.len() >= AT_ONCE {
            return strangers;
        }
        let Some(issued) = issued(&watch.job) else {
            continue;
        };
        let (id, wallet) = (watch.job.id, wallet.clone());
        busy.insert(id);
        looking.spawn(async move { (id, wallet.lookup(issued).await) });
    }
    strangers
}

/// Looks at one invoice now, whether it is due or not. Tells in words what was seen.
///
/// # Errors
/// Where the wallet or the ledger could not be asked; the sentence says why.
pub async fn look_now(shop: &Arc<Shop>, job: &Job) -> Result<String, String> {
    let wallet = shop
        .wallet()
        .ok_or("no wallet is open: see `vend doctor`")?;
    let who = identity(shop).await;
    if !is_its_own(job, &*wallet, who.as_deref()) {
        return Err(OTHERS.to_owned());
    }
    let issued = issued(job).ok_or("the job has no invoice to look at")?;
    let seen = wallet.lookup(issued).await;
    let seen = seen.map_err(|error| clean(&error.to_string(), 200))?;
    let told = told(&seen);
    let weighed = shop.weigh(job, &seen).await;
    weighed.map_err(|error| error.to_string())?;
    if let Some(input) = judged(shop, job, seen, Time::now()) {
        match shop.apply(job.id, input).await {
            Ok(_) | Err(StepError::No(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    shop.bells.looks.notify_one();
    Ok(told)
}

fn told(seen: &Seen) -> String {
    match seen {
        Seen::Pending => "the wallet says: not paid yet".to_owned(),
        Seen::Held { .. } => "the wallet says: the payment is held".to_owned(),
        Seen::Paid { .. } => "the wallet says: paid".to_owned(),
        Seen::Expired => "the wallet says: expired, not paid".to_owned(),
        Seen::Canceled => "the wallet says: canceled".to_owned(),
        Seen::Unknown => "the wallet does not know the invoice".to_owned(),
        Seen::Attention(words) => format!("the wallet says: {}", clean(words, 200)),
    }
}

pub(super) fn issued(job: &Job) -> Option<Issued> {
    let invoice = job.invoice.as_ref()?;
    Some(Issued {
        bolt11: invoice.bolt11.clone()?,
        payment_hash: invoice.payment_hash?,
        backend_ref: invoice.backend_ref.clone(),
    })
}

fn earliest(
    watches: &HashMap<RequestId, Watch>,
    busy: &HashSet<RequestId>,
    wallet: bool,
    looking: usize,
) -> Duration {
    const LONG: Duration = Duration::from_secs(3_600);
    if !wallet {
        return Duration::from_secs(2);
    }
    if looking >= AT_ONCE {
        return LONG;
    }
    let now = Time::now();
    watches
        .values()
        .filter(|watch| !busy.contains(&watch.job.id))
        .map(|watch| watch.next.since(now))
        .min()
        .unwrap_or(LONG)
        .max(Duration::from_millis(20))
}

async fn learn(
    shop: &Arc<Shop>,
    watches: &mut HashMap<RequestId, Watch>,
    id: RequestId,
    outcome: Outcome,
) {
    let Some(watch) = watches.get_mut(&id) else {
        return;
    };
    let now = Time::now();
    let seen = match outcome {
        Ok(seen) => seen,
        Err(error) => {
            watch.fails += 1;
            // Never a verdict: an invoice is not called unpaid while the wallet can't be asked.
            watch.next = now.plus(AFTER_ERROR * watch.fails.min(12));
            let words = clean(&error.to_string(), 200);
            return shop.notice(
                Level::Warn,
                "wallet",
                &format!("job {}: {words}", id.short()),
            );
        }
    };
    watch.fails = 0;
    if let Err(error) = shop.weigh(&watch.job, &seen).await {
        watch.next = now.plus(AFTER_ERROR);
        return shop.ledger_failed(&error);
    }
    let Some(input) = judged(shop, &watch.job, seen, now) else {
        watch.next = again_at(&watch.job, now);
        return;
    };
    match shop.apply(id, input).await {
        Ok(job) => {
            watch.job = job;
            watch.next = again_at(&watch.job, now);
        }
        Err(StepError::No(_)) => watch.next = again_at(&watch.job, now),
        Err(error) => {
            // What the wallet said is asked for again: the ledger must have it.
            watch.next = now.plus(AFTER_ERROR);
            return shop.notice(Level::Error, "ledger", &error.to_string());
        }
    }
    if watch.next == Time(i64::MAX) {
        watches.remove(&id);
    }
}

/// When to look next; the end of time where the invoice is final.
fn again_at(job: &Job, now: Time) -> Time {
    use crate::domain::job::InvoiceState;
    let next = job.invoice.as_ref().and_then(|invoice| {
        if invoice.state == InvoiceState::Paid {
            return None;
        }
        invoice::next_look(
            invoice.made_at?,
            invoice.expires_at?,
            now,
            invoice.late_looks,
            Duration::from_secs(job.terms.check_every_secs),
        )
    });
    next.unwrap_or(Time(i64::MAX))
}

fn judged(shop: &Shop, job: &Job, seen: Seen, now: Time) -> Option<Input> {
    let invoice = job.invoice.as_ref()?;
    let over = invoice.expires_at.is_some_and(|at| now > at);
    match seen {
        Seen::Paid {
            amount,
            at,
            preimage,
            ..
        } => {
            let short = amount.is_some_and(|amount| amount < invoice.amount);
            let wrong = preimage
                .zip(invoice.payment_hash)
                .is_some_and(|(preimage, hash)| !preimage.opens(&hash));
            if short || wrong {
                let what = if short {
                    "the wallet says paid, but less than asked"
                } else {
                    "the wallet says paid, but its proof does not fit the invoice"
                };
                shop.notice(
                    Level::Error,
                    "wallet",
                    &format!("job {}: {what}", job.id.short()),
                );
                return None;
            }
            crash::point("look.paid");
            Some(Input::Paid {
                amount: amount.unwrap_or(invoice.amount),
                at: at.unwrap_or(now),
            })
        }
        // No hold invoice is asked for, so a held payment is no more than one on its way, and a canceled one is over.
        Seen::Pending | Seen::Held { .. } | Seen::Expired | Seen::Canceled if over => {
            Some(Input::NotPaid { unknown: false })
        }
        Seen::Unknown if over => Some(Input::NotPaid { unknown: true }),
        Seen::Unknown => {
            let words = format!(
                "job {}: the wallet does not know its invoice",
                job.id.short()
            );
            shop.notice(Level::Warn, "wallet", &words);
            None
        }
        Seen::Attention(words) => {
            let words = format!("job {}: {}", job.id.short(), clean(&words, 200));
            shop.notice(Level::Error, "wallet", &words);
            None
        }
        Seen::Pending | Seen::Held { .. } | Seen::Expired | Seen::Canceled => None,
    }
}
