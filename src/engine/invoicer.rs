//! Gets each job that wants one its invoice: look for it by label first, make it, check it, write it down. Only then
//! may a buyer see it. An invoice that was made by a run that died is found again, or never seen by anybody.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::crash;
use super::desk::StepError;
use super::shop::Shop;
use crate::domain::error::PaymentCode;
use crate::domain::event::Level;
use crate::domain::id::RequestId;
use crate::domain::invoice::{self, Expected, Network};
use crate::domain::job::Job;
use crate::domain::step::Input;
use crate::domain::text::clean;
use crate::domain::time::Time;
use crate::ledger::Unheard;
use crate::wallet::{Issued, NewInvoice, Wallet, WalletError};

/// Wallet calls at once.
const AT_ONCE: usize = 4;
/// Bad invoices in a row before the job is given up.
const BAD_INVOICES: u32 = 3;
/// The payer reads this; never the prompt.
const MEMO: &str = "Text generation";

/// Works until `stop`; calls under way are finished, as each ends within 30 s.
pub async fn work(shop: Arc<Shop>, stop: CancellationToken) {
    let mut asking: JoinSet<RequestId> = JoinSet::new();
    let mut busy = std::collections::HashSet::new();
    while !stop.is_cancelled() {
        let now = Time::now();
        match shop.ledger.wanting_invoice(now).await {
            Ok(jobs) => {
                for job in jobs {
                    if asking.len() < AT_ONCE && busy.insert(job.id) {
                        let shop = shop.clone();
                        asking.spawn(async move {
                            let id = job.id;
                            ask(&shop, job).await;
                            id
                        });
                    }
                }
            }
            Err(error) => shop.notice(Level::Error, "ledger", &error.to_string()),
        }
        let due = next_due(&shop).await;
        tokio::select! {
            () = stop.cancelled() => {}
            () = shop.bells.invoices.notified() => {}
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

async fn next_due(shop: &Shop) -> Duration {
    match shop.ledger.next_due(["inferred", "quoting"]).await {
        Ok(Some(at)) => at.since(Time::now()).max(Duration::from_millis(50)),
        Ok(None) => Duration::from_secs(3_600),
        Err(_) => Duration::from_secs(5),
    }
}

async fn ask(shop: &Arc<Shop>, job: Job) {
    let input = match shop.wallet() {
        Some(wallet) => invoice_for(shop, &job, &*wallet).await,
        None => delayed(&job, "no wallet is open".to_owned()),
    };
    let made = match &input {
        Input::InvoiceMade { payment_hash, .. } => Some(*payment_hash),
        _ => None,
    };
    match shop.apply(job.id, input).await {
        Ok(_) => {}
        // Cancelled while the wallet was asked: nobody has seen the invoice.
        Err(StepError::No(_)) => {
            if let Some(hash) = made {
                unheard(shop, job.id, Unheard::Late(hash)).await;
            }
        }
        Err(error) => shop.notice(Level::Error, "ledger", &error.to_string()),
    }
}

async fn invoice_for(shop: &Shop, job: &Job, wallet: &dyn Wallet) -> Input {
    let Some(intent) = &job.invoice else {
        return delayed(job, "the job has no invoice to make".to_owned());
    };
    let new = NewInvoice {
        amount: intent.amount,
        memo: MEMO.to_owned(),
        expiry: Duration::from_secs(job.terms.invoice_expiry_secs),
        label: intent.label.clone(),
        hold_hash: None,
    };
    let issued = match made_before(wallet, &new.label).await {
        Ok(Some(issued)) if still_good(shop, job, &issued) => Ok(issued),
        Ok(_) => {
            let sure = wallet.caps().label_lookup;
            // Written down first: an answer that never comes leaves an invoice that nobody knows of.
            if let Err(error) = shop.ledger.asking(job.id, wallet.backend(), sure).await {
                return delayed(job, format!("the wallet was not asked: {error}"));
            }
            crash::point("wallet.before_create");
            let made = wallet.create(new).await;
            crash::point("wallet.after_create");
            if let Err(error) = &made {
                unheard(shop, job.id, after(error)).await;
            }
            made
        }
        Err(error) => Err(error),
    };
    let issued = match issued {
        Ok(issued) => issued,
        Err(error) => return refused(shop, job, &error),
    };
    let hash = issued.payment_hash;
    let input = checked(shop, job, wallet, issued);
    if !matches!(input, Input::InvoiceMade { .. }) {
        unheard(shop, job.id, Unheard::Late(hash)).await;
    }
    input
}

/// What is known of an invoice after this error.
fn after(error: &WalletError) -> Unheard {
    if error.may_have_done() {
        Unheard::Perhaps(clean(&error.to_string(), 300))
    } else {
        Unheard::None
    }
}

async fn unheard(shop: &Shop, id: RequestId, what: Unheard) {
    if let Err(error) = shop.ledger.unheard(id, what).await {
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
fn still_good(shop: &Shop, job: &Job, issued: &Issued) -> bool {
    check(shop, job, issued).is_ok()
}

fn check(
    shop: &Shop,
    job: &Job,
    issued: &Issued,
) -> Result<invoice::Checked, invoice::InvoiceFault> {
    let network = shop.settings().wallet.network.word();
    let expected = Expected {
        amount: job
            .invoice
            .as_ref()
            .map_or_else(Default::default, |i| i.amount),
        network: Network::from_word(network).unwrap_or(Network::Bitcoin),
        payment_hash: issued.payment_hash,
        longest_expiry: Duration::from_secs(job.terms.invoice_expiry_secs),
    };
    invoice::check(&issued.bolt11, &expected, Time::now())
}

fn checked(shop: &Shop, job: &Job, wallet: &dyn Wallet, issued: Issued) -> Input {
    match check(shop, job, &issued) {
        Ok(checked) => {
            if let Some(secs) = checked.clock_off_secs {
                shop.notice(
                    Level::Warn,
                    "wallet",
                    &format!("the wallet's clock differs from ours by {secs} s"),
                );
            }
            Input::InvoiceMade {
                bolt11: issued.bolt11,
                payment_hash: issued.payment_hash,
                backend_ref: issued.backend_ref,
                made_at: checked.made_at,
                expires_at: checked.expires_at,
                wallet: wallet.backend().to_owned(),
                identity: shop.wallet_health.borrow().identity.clone(),
            }
        }
        Err(fault) => {
            let message =
                format!("the wallet made an invoice that is not shown to anybody: {fault}");
            shop.notice(Level::Error, "wallet", &message);
            if job.wallet_tries + 1 >= BAD_INVOICES {
                return give_up(PaymentCode::BadInvoice, message);
            }
            delayed(job, message)
        }
    }
}

fn refused(shop: &Shop, job: &Job, error: &WalletError) -> Input {
    let message = clean(&error.to_string(), 300);
    shop.notice(Level::Error, "wallet", &message);
    match error {
        WalletError::Rejected(_) if job.wallet_tries + 1 >= BAD_INVOICES => {
            give_up(PaymentCode::Rejected, message)
        }
        _ => delayed(job, message),
    }
}

fn give_up(code: PaymentCode, message: String) -> Input {
    Input::InvoiceRefused {
        code: code.word(),
        message,
        sentence: code.buyer_sentence(),
    }
}

fn delayed(job: &Job, message: String) -> Input {
    let secs = 1_u64 << job.wallet_tries.min(6);
    Input::InvoiceDelayed {
        message,
        until: Time::now().plus(Duration::from_secs(secs.min(60))),
    }
}
