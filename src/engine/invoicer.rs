//! Gets each job that wants one its invoice: look for it by label first, make it, check it, write it down. Only then
//! may a buyer see it. An invoice that was made by a run that died is found again, or never seen by anybody.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::context::{EngineContext, LEDGER_PAUSE};
use super::crash;
use super::transition::ApplyError;
use super::wallets::WalletHandle;
use crate::domain::error::PaymentCode;
use crate::domain::event::Level;
use crate::domain::hold;
use crate::domain::id::{PaymentHash, Preimage, RequestId};
use crate::domain::invoice::{self, Expected};
use crate::domain::job::{Job, MadeBy, PayOrder, State};
use crate::domain::text::clean;
use crate::domain::time::Time;
use crate::domain::transition::JobEvent;
use crate::ledger::{LostInvoice, Question};
use crate::wallet::{Issued, NewInvoice, Wallet, WalletError};

/// Wallet calls at once.
const AT_ONCE: usize = 4;
/// No job waits for its next try for longer, whatever another clock wrote into the ledger.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Bad invoices in a row before the job is given up.
const BAD_INVOICES: u32 = 3;
/// The payer reads this; never the prompt.
pub(super) const MEMO: &str = "Text generation";

/// Works until `stop`; calls under way are finished, as each ends within 30 s.
pub async fn work(shop: Arc<EngineContext>, stop: CancellationToken) {
    let mut asking: JoinSet<RequestId> = JoinSet::new();
    let mut busy = std::collections::HashSet::new();
    while !stop.is_cancelled() {
        let now = Time::now();
        for job in shop.ledger.wanting_invoice(now) {
            if asking.len() < AT_ONCE && busy.insert(job.id) {
                let shop = shop.clone();
                asking.spawn(async move {
                    let id = job.id;
                    ask(&shop, job).await;
                    id
                });
            }
        }
        let due = next_due(&shop);
        tokio::select! {
            () = stop.cancelled() => {}
            () = shop.wakers.invoices.notified() => {}
            Some(done) = asking.join_next(), if !asking.is_empty() => match done {
                Ok(id) => { busy.remove(&id); }
                // A call that panicked: forget which are busy, so that its job is asked for again.
                Err(_) => busy.clear(),
            },
            () = tokio::time::sleep(due) => {}
        }
    }
    while asking.join_next().await.is_some() {}
}

fn next_due(shop: &EngineContext) -> Duration {
    let due = shop.ledger.next_due([State::Inferred, State::Quoting]);
    due.map_or(Duration::from_secs(3_600), |at| {
        let wait = at.since(Time::now()).min(LONGEST_WAIT);
        wait.max(Duration::from_millis(50))
    })
}

impl EngineContext {
    /// The question that a job which wants an invoice now is asked for with. None while no wallet is open.
    pub(super) fn next_question(&self) -> Option<Question> {
        self.wallet_of().map(|handle| question(&*handle.wallet))
    }
}

fn question(wallet: &dyn Wallet) -> Question {
    Question {
        wallet: wallet.backend(),
        sure: wallet.caps().label_lookup,
    }
}

async fn ask(shop: &Arc<EngineContext>, job: Job) {
    // Written with the step before; of no use where it was for another wallet.
    let mut written = shop.ledger.take_question(job.id);
    let wallet_handle = shop.wallet_of();
    if written.is_some() && written != wallet_handle.as_ref().map(|one| question(&*one.wallet)) {
        lost_invoice(shop, job.id, LostInvoice::None).await;
        written = None;
    }
    let input = match wallet_handle {
        Some(wallet_handle) => invoice_for(shop, &job, &wallet_handle, &mut written).await,
        None => delayed(&job, "no wallet is open".to_owned()),
    };
    if written.is_some() && !matches!(input, JobEvent::InvoiceMade { .. }) {
        // The wallet was not asked in the end.
        lost_invoice(shop, job.id, LostInvoice::None).await;
    }
    let made = match &input {
        JobEvent::InvoiceMade { payment_hash, .. } => Some(*payment_hash),
        _ => None,
    };
    match shop.apply(job.id, input).await {
        Ok(_) => {}
        // Cancelled while the wallet was asked: nobody has seen the invoice.
        Err(ApplyError::No(_)) => {
            if let Some(hash) = made {
                lost_invoice(shop, job.id, LostInvoice::Late(hash)).await;
            }
        }
        Err(error) => {
            shop.ledger_failed(&error);
            // It is due at once, and the wallet is not to be asked in a loop.
            tokio::time::sleep(LEDGER_PAUSE).await;
        }
    }
}

/// `written`: the question that is in the ledger already; taken where it is asked.
async fn invoice_for(
    shop: &EngineContext,
    job: &Job,
    wallet_handle: &WalletHandle,
    written: &mut Option<Question>,
) -> JobEvent {
    let wallet = &*wallet_handle.wallet;
    let Some(intent) = &job.invoice else {
        return delayed(job, "the job has no invoice to make".to_owned());
    };
    if job.terms.order == PayOrder::Hold && intent.preimage.is_none() {
        // Without one it would be an ordinary invoice, and its payment would be taken at once.
        let message =
            "this ledger is a copy, which lacks the secret of the invoice: another one is made";
        return delayed_for(job, message.to_owned(), Some(next_secret(shop, job)));
    }
    let new = NewInvoice {
        amount: intent.amount,
        memo: MEMO.to_owned(),
        expiry: Duration::from_secs(job.terms.invoice_expiry_secs),
        label: intent.label.clone(),
        hold_hash: intent.preimage.map(|secret| secret.hash()),
    };
    let issued = match made_before(wallet, &new.label).await {
        Ok(Some(issued)) if still_good(wallet_handle, job, &issued) => Ok(issued),
        Ok(_) => {
            // Written down first: an answer that never comes leaves an invoice that nobody knows of.
            if written.take().is_none()
                && let Err(error) = shop.ledger.asking(job.id, question(wallet)).await
            {
                return delayed(job, format!("the wallet was not asked: {error}"));
            }
            crash::point("wallet.before_create");
            let made = wallet.create(new).await;
            crash::point("wallet.after_create");
            if let Err(error) = &made {
                lost_invoice(shop, job.id, after(error)).await;
            }
            made
        }
        Err(error) => Err(error),
    };
    let issued = match issued {
        Ok(issued) => Issued {
            bolt11: invoice::bare(&issued.bolt11).to_owned(),
            ..issued
        },
        Err(error) => return refused(shop, job, wallet, &error),
    };
    let hash = issued.payment_hash;
    let made_by = wallet_handle.made_by().await;
    let input = checked(shop, job, wallet_handle, issued, made_by);
    if !matches!(input, JobEvent::InvoiceMade { .. }) {
        lost_invoice(shop, job.id, LostInvoice::Late(hash)).await;
    }
    input
}

/// What is known of an invoice after this error.
fn after(error: &WalletError) -> LostInvoice {
    if error.may_have_done() {
        LostInvoice::Perhaps(clean(&error.to_string(), 300))
    } else {
        LostInvoice::None
    }
}

async fn lost_invoice(shop: &EngineContext, id: RequestId, what: LostInvoice) {
    if let Err(error) = shop.ledger.lost_invoice(id, what).await {
        shop.ledger_failed(&error);
    }
}

async fn made_before(wallet: &dyn Wallet, label: &str) -> Result<Option<Issued>, WalletError> {
    if !wallet.caps().label_lookup {
        return Ok(None);
    }
    match wallet.find_by_label(label.to_owned()).await {
        Err(WalletError::Unsupported) => Ok(None),
        found => found,
    }
}

/// An invoice of a run that died long ago may have expired unseen: then another one is made.
fn still_good(wallet_handle: &WalletHandle, job: &Job, issued: &Issued) -> bool {
    check(wallet_handle, job, issued).is_ok()
}

fn check(
    wallet_handle: &WalletHandle,
    job: &Job,
    issued: &Issued,
) -> Result<invoice::Checked, invoice::InvoiceFault> {
    let expected = Expected {
        amount: job
            .invoice
            .as_ref()
            .map_or_else(Default::default, |i| i.amount),
        network: wallet_handle.network(),
        // Of a hold invoice the hash is ours: another one could never be taken.
        payment_hash: hold_hash(job).unwrap_or(issued.payment_hash),
        longest_expiry: Duration::from_secs(job.terms.invoice_expiry_secs),
    };
    invoice::check(&issued.bolt11, &expected, Time::now())
}

fn hold_hash(job: &Job) -> Option<PaymentHash> {
    let secret = job.invoice.as_ref()?.preimage?;
    Some(secret.hash())
}

/// Why the payment of this invoice can't be held for as long as the work may take.
fn too_short(job: &Job, bolt11: &str) -> Option<String> {
    if job.terms.order != PayOrder::Hold {
        return None;
    }
    // It was read just before.
    let delta = hold::delta(bolt11).unwrap_or(0);
    (!hold::is_long_enough(delta, job)).then(|| {
        format!(
            "the wallet's hold invoices last for {delta} blocks, reckoned as {} s, and a job may take {} s: lower limits.job_timeout_secs, or set payment.mode to before",
            hold::lasts(delta).as_secs(),
            job.terms.job_timeout_secs
        )
    })
}

fn checked(
    shop: &EngineContext,
    job: &Job,
    wallet_handle: &WalletHandle,
    issued: Issued,
    made_by: MadeBy,
) -> JobEvent {
    match check(wallet_handle, job, &issued) {
        Ok(checked) => {
            if let Some(why) = too_short(job, &issued.bolt11) {
                shop.notice(Level::Error, "wallet", &why);
                return give_up(PaymentCode::BadInvoice, why);
            }
            if let Some(secs) = checked.clock_off_secs {
                shop.notice(
                    Level::Warn,
                    "wallet",
                    &format!("the wallet's clock differs from ours by {secs} s"),
                );
            }
            JobEvent::InvoiceMade {
                bolt11: issued.bolt11,
                payment_hash: checked.payment_hash,
                backend_ref: issued.backend_ref,
                made_at: checked.made_at,
                expires_at: checked.expires_at,
                made_by,
            }
        }
        Err(fault) => {
            let message =
                format!("the wallet made an invoice that is not shown to anybody: {fault}");
            shop.notice(Level::Error, "wallet", &message);
            if job.wallet_tries + 1 >= BAD_INVOICES {
                return give_up(PaymentCode::BadInvoice, message);
            }
            // The wallet may insist on an invoice that is of no use, such as one that expired unseen.
            delayed_for(job, message, hold_hash(job).map(|_| next_secret(shop, job)))
        }
    }
}

fn refused(shop: &EngineContext, job: &Job, wallet: &dyn Wallet, error: &WalletError) -> JobEvent {
    let message = clean(&error.to_string(), 300);
    shop.notice(Level::Error, "wallet", &message);
    match error {
        WalletError::Rejected(_) if job.wallet_tries + 1 >= BAD_INVOICES => {
            give_up(PaymentCode::Rejected, message)
        }
        // Perhaps it made an invoice for this hash whose answer was lost, and can't tell it again. Under a label it could.
        WalletError::Rejected(_) if !wallet.caps().label_lookup => {
            delayed_for(job, message, hold_hash(job).map(|_| next_secret(shop, job)))
        }
        // Asked to hold a payment, which it could when the shop went online.
        WalletError::Unsupported => give_up(PaymentCode::Rejected, message),
        _ => delayed(job, message),
    }
}

fn give_up(code: PaymentCode, message: String) -> JobEvent {
    JobEvent::InvoiceRefused {
        code: code.as_str(),
        message,
        sentence: code.buyer_sentence(),
    }
}

/// Another secret: an invoice with the last one can't be had, and nobody has seen one.
fn next_secret(shop: &EngineContext, job: &Job) -> Preimage {
    let secrets = shop.hold_secrets();
    let last = job.invoice.as_ref().and_then(|invoice| invoice.preimage);
    last.map_or_else(
        || secrets.secret(&job.id, 0),
        |last| secrets.after(&job.id, &last),
    )
}

fn delayed(job: &Job, message: String) -> JobEvent {
    delayed_for(job, message, None)
}

fn delayed_for(job: &Job, message: String, fresh: Option<Preimage>) -> JobEvent {
    let secs = 1_u64 << job.wallet_tries.min(6);
    JobEvent::InvoiceDelayed {
        message,
        until: Time::now().plus(Duration::from_secs(secs.min(60))),
        fresh,
    }
}
