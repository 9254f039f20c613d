//! Compares the ledger with the wallet, invoice by invoice. Reads, and changes nothing.

use std::time::Duration;

use serde::Serialize;
use tokio::time::MissedTickBehavior;

use super::invoicer::MEMO;
use super::payments::issued;
use crate::domain::id::{LABEL, PaymentHash, RequestId};
use crate::domain::invoice::{self, Verdict};
use crate::domain::job::{Invoice, InvoiceState, Job};
use crate::domain::msat::Msat;
use crate::domain::text::clean;
use crate::domain::time::Time;
use crate::ledger::{Ledger, LedgerError};
use crate::wallet::{Issued, Listed, PaymentStatus, Wallet, WalletError};

/// Between two questions: at most five a second.
const GAP: Duration = Duration::from_millis(200);
/// Tries of one question.
const TRIES: u32 = 3;
/// The longest wait for a wallet that asks to slow down.
const PATIENCE: Duration = Duration::from_secs(60);
/// So many questions in a row without an answer end the audit.
const ERRORS_MAX: u32 = 10;
/// Invoices read at once.
const PAGE: u32 = 100;

/// How ledger and wallet differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Differs {
    /// The ledger says paid, the wallet does not.
    LedgerPaid,
    /// The wallet says paid, the ledger does not.
    WalletPaid,
    /// Both say paid, of different amounts; or less than asked came.
    Amount,
    /// The wallet does not know an invoice that is open or paid.
    Unknown,
    /// It was made by another wallet, so nothing was asked.
    OtherWallet,
    /// The wallet was paid for an invoice of vend's that the ledger does not have.
    Missing,
    /// The wallet says something that needs a person.
    Attention,
}

impl Differs {
    /// The word in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LedgerPaid => "ledger_paid",
            Self::WalletPaid => "wallet_paid",
            Self::Amount => "amount",
            Self::Unknown => "unknown",
            Self::OtherWallet => "other_wallet",
            Self::Missing => "missing",
            Self::Attention => "attention",
        }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// How.
    pub differs: Differs,
    /// The job; none where the ledger has none for it.
    pub job: Option<RequestId>,
    /// The invoice.
    pub payment_hash: Option<PaymentHash>,
    /// When it was made.
    pub made_at: Option<Time>,
    /// What it asks for.
    pub amount_msat: Msat,
    /// What the ledger says: open, paid or expired; none where it has nothing.
    pub ledger: Option<InvoiceState>,
    /// What the ledger has as paid.
    pub ledger_msat: Msat,
    /// What the wallet says, in words.
    pub wallet: String,
    /// What the wallet has as paid, where it says.
    pub wallet_msat: Option<Msat>,
}

/// A question without an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unanswered {
    /// The job.
    pub job: RequestId,
    /// The invoice.
    pub payment_hash: Option<PaymentHash>,
    /// Why.
    pub error: String,
}

/// The audit's result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Every invoice was looked at, and none differs.
    pub ok: bool,
    /// The wallet's backend.
    pub wallet: String,
    /// The wallet's own name for itself.
    pub identity: Option<String>,
    /// Invoices of the time.
    pub invoices: u64,
    /// Of those, how many were asked for.
    pub asked: u64,
    /// How many agree.
    pub agree: u64,
    /// How many expired unpaid and are forgotten by the wallet; they agree too.
    pub forgotten: u64,
    /// Could the wallet list its invoices, so that those are found which the ledger does not have?
    pub listed: bool,
    /// Every difference.
    pub differences: Vec<Difference>,
    /// Every question without an answer.
    pub errors: Vec<Unanswered>,
    /// Why it ended before its end; empty where it did not.
    pub cut: String,
}

/// Looks up every invoice made from `since` on and before `until`. `told` hears how many are done.
///
/// # Errors
/// Where the ledger can't be read.
pub async fn audit(
    ledger: &Ledger,
    wallet: &dyn Wallet,
    since: Time,
    until: Time,
    mut told: impl FnMut(u64, u64),
) -> Result<Report, LedgerError> {
    let health = wallet.health().await;
    let who = health.identity;
    let mut report = Report {
        ok: false,
        wallet: wallet.backend().to_owned(),
        identity: who.clone(),
        invoices: ledger.made_count(since, until).await?,
        asked: 0,
        agree: 0,
        forgotten: 0,
        listed: false,
        differences: Vec::new(),
        errors: Vec::new(),
        cut: String::new(),
    };
    let mut pace = tokio::time::interval(GAP);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut after, mut in_a_row, mut done) = (None, 0, 0);
    'pages: loop {
        let page = ledger.made_after(since, until, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = made_at(last).map(|at| (at, last.id));
        for job in page {
            if !is_its_own(&job, wallet, who.as_deref()) {
                report.note(
                    &job,
                    Differs::OtherWallet,
                    "made by another wallet".to_owned(),
                    None,
                );
            } else if let Some(issued) = issued(&job) {
                report.asked += 1;
                match ask(wallet, issued, &mut pace).await {
                    Ok(seen) => {
                        in_a_row = 0;
                        // Read again: the shop may have booked the payment meanwhile.
                        let now = ledger.job(job.id).await?.unwrap_or(job);
                        report.compare(&now, &seen);
                    }
                    Err(error) => {
                        in_a_row += 1;
                        report.unanswered(&job, &error);
                    }
                }
            }
            done += 1;
            told(done, report.invoices);
            if in_a_row >= ERRORS_MAX {
                report.cut = format!("{ERRORS_MAX} questions in a row had no answer");
                break 'pages;
            }
        }
        if after.is_none() {
            break;
        }
    }
    if report.cut.is_empty() {
        report
            .unknown(ledger, wallet, since, until, &mut pace)
            .await?;
    }
    if wallet.health().await.identity != who {
        "another wallet answered at the end than at the beginning".clone_into(&mut report.cut);
    }
    report.ok = report.differences.is_empty() && report.errors.is_empty() && report.cut.is_empty();
    Ok(report)
}

fn made_at(job: &Job) -> Option<Time> {
    job.invoice.as_ref()?.made_at
}

async fn ask(
    wallet: &dyn Wallet,
    issued: Issued,
    pace: &mut tokio::time::Interval,
) -> Result<PaymentStatus, WalletError> {
    let mut tries = 0;
    loop {
        pace.tick().await;
        tries += 1;
        match wallet.lookup(issued.clone()).await {
            Err(WalletError::RateLimited(after)) if tries < TRIES => {
                let wait = after.unwrap_or(Duration::from_secs(5)).min(PATIENCE);
                tokio::time::sleep(wait).await;
            }
            Err(WalletError::TimedOut(_)) if tries < TRIES => {}
            answer => return answer,
        }
    }
}

/// Is it an invoice of vend's, by its label; where the wallet keeps none, by what its payer reads?
pub(super) fn is_vends(one: &Listed) -> bool {
    match &one.label {
        Some(label) => label.starts_with(LABEL),
        None => one.memo.as_deref() == Some(MEMO),
    }
}

impl Report {
    /// What the wallet was paid for and the ledger does not have.
    async fn unknown(
        &mut self,
        ledger: &Ledger,
        wallet: &dyn Wallet,
        since: Time,
        until: Time,
        pace: &mut tokio::time::Interval,
    ) -> Result<(), LedgerError> {
        let listed = match wallet.made_since(Time(since.0.max(0))).await {
            Ok(listed) => listed,
            Err(WalletError::Unsupported) => return Ok(()),
            Err(error) => {
                self.cut = format!("the wallet did not list its invoices: {error}");
                return Ok(());
            }
        };
        self.listed = true;
        for one in listed.iter().filter(|one| is_vends(one)) {
            let made_at = one.made_at();
            let within = made_at.is_none_or(|at| since <= at && at < until);
            let hash = one.issued.payment_hash;
            if !within || ledger.has_invoice(hash).await? {
                continue;
            }
            let (wallet, wallet_msat) = match ask(wallet, one.issued.clone(), pace).await {
                Ok(PaymentStatus::Paid { amount, .. }) => ("paid".to_owned(), amount),
                // Nobody has paid it: it is one whose answer was lost, and harms nobody.
                Ok(_) => continue,
                Err(error) => (clean(&error.to_string(), 300), None),
            };
            let read = invoice::read(&one.issued.bolt11).ok();
            let amount = read.and_then(|read| invoice::amount(&read).ok().flatten());
            self.differences.push(Difference {
                differs: Differs::Missing,
                job: None,
                payment_hash: Some(hash),
                made_at,
                amount_msat: amount.unwrap_or_default(),
                ledger: None,
                ledger_msat: Msat::ZERO,
                wallet,
                wallet_msat,
            });
        }
        Ok(())
    }

    fn compare(&mut self, job: &Job, seen: &PaymentStatus) {
        let Some(invoice) = &job.invoice else { return };
        let amount = match seen {
            PaymentStatus::Paid { amount, .. } => *amount,
            _ => None,
        };
        match compare(invoice, seen) {
            Found::Agrees => self.agree += 1,
            Found::Forgotten => self.forgotten += 1,
            Found::Differs(how, words) => self.note(job, how, words, amount),
        }
    }

    fn note(&mut self, job: &Job, differs: Differs, wallet: String, wallet_msat: Option<Msat>) {
        let Some(invoice) = &job.invoice else { return };
        self.differences.push(Difference {
            differs,
            job: Some(job.id),
            payment_hash: invoice.payment_hash,
            made_at: invoice.made_at,
            amount_msat: invoice.amount,
            ledger: Some(invoice.state),
            ledger_msat: invoice.paid,
            wallet,
            wallet_msat,
        });
    }

    fn unanswered(&mut self, job: &Job, error: &WalletError) {
        self.errors.push(Unanswered {
            job: job.id,
            payment_hash: job.invoice.as_ref().and_then(|i| i.payment_hash),
            error: clean(&error.to_string(), 300),
        });
    }
}

/// Was the invoice made by this wallet? One that does not say who it is, is taken at its word.
fn is_its_own(job: &Job, wallet: &dyn Wallet, who: Option<&str>) -> bool {
    job.invoice.as_ref().is_some_and(|invoice| {
        let named = invoice.wallet_identity.as_deref().zip(who);
        invoice.wallet == wallet.backend() && named.is_none_or(|(made_by, now)| made_by == now)
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Agrees,
    Forgotten,
    Differs(Differs, String),
}

/// Do ledger and wallet say the same of an invoice?
fn compare(invoice: &Invoice, seen: &PaymentStatus) -> Found {
    let paid = invoice.state == InvoiceState::Paid;
    let gone = matches!(
        invoice.state,
        InvoiceState::Expired | InvoiceState::GivenBack
    );
    let differs = |how, words: &str| Found::Differs(how, clean(words, 300));
    match seen {
        PaymentStatus::Paid {
            amount, preimage, ..
        } => {
            let Some(hash) = &invoice.payment_hash else {
                return Found::Agrees;
            };
            match invoice::judge(hash, invoice.amount, *amount, preimage.as_ref()) {
                Verdict::Attention(words) if amount.is_some_and(|came| came < invoice.amount) => {
                    differs(Differs::Amount, &words)
                }
                Verdict::Attention(words) => differs(Differs::Attention, &words),
                Verdict::Paid { .. } if !paid => differs(Differs::WalletPaid, "paid"),
                Verdict::Paid { amount, named } if named && amount != invoice.paid => {
                    differs(Differs::Amount, &format!("paid {}", amount.display()))
                }
                Verdict::Paid { .. } => Found::Agrees,
            }
        }
        PaymentStatus::Attention(words) => differs(Differs::Attention, words),
        PaymentStatus::Unknown if gone => Found::Forgotten,
        PaymentStatus::Unknown => differs(Differs::Unknown, "the wallet does not know the invoice"),
        PaymentStatus::Pending if paid => differs(Differs::LedgerPaid, "not paid"),
        PaymentStatus::Held { .. } if paid => differs(Differs::LedgerPaid, "held, not taken"),
        PaymentStatus::Expired if paid => differs(Differs::LedgerPaid, "expired, not paid"),
        PaymentStatus::Canceled if paid => differs(Differs::LedgerPaid, "canceled"),
        PaymentStatus::Held { .. } if invoice.state == InvoiceState::GivenBack => differs(
            Differs::Attention,
            "held, and the ledger says that it went back",
        ),
        PaymentStatus::Pending
        | PaymentStatus::Held { .. }
        | PaymentStatus::Expired
        | PaymentStatus::Canceled => Found::Agrees,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Hex32;
    use crate::domain::id::Preimage;

    fn invoice(state: InvoiceState) -> Invoice {
        let paid = state == InvoiceState::Paid;
        Invoice {
            label: String::new(),
            state,
            amount: Msat(10_000),
            wallet: "lnd".to_owned(),
            wallet_key: None,
            wallet_identity: None,
            network: None,
            preimage: None,
            hold_until: None,
            payment_hash: Some(PaymentHash(Hex32([7; 32]))),
            bolt11: Some(String::new()),
            backend_ref: None,
            made_at: None,
            expires_at: None,
            paid: if paid { Msat(10_000) } else { Msat::ZERO },
            paid_at: None,
            polls: 0,
            late_polls: 0,
            next_poll_at: None,
        }
    }

    fn paid(msat: Option<u64>, preimage: Option<Preimage>) -> PaymentStatus {
        PaymentStatus::Paid {
            amount: msat.map(Msat),
            at: None,
            preimage,
            fee: None,
        }
    }

    #[test]
    fn every_pair_of_words_is_judged() {
        use Differs::{Amount, Attention, LedgerPaid, Unknown, WalletPaid};
        use InvoiceState::{Expired, GivenBack, Held, Open, Paid};
        let wrong = Some(Preimage(Hex32([1; 32])));
        for (ledger, wallet, differs) in [
            (Paid, paid(Some(10_000), None), None),
            (Paid, paid(None, None), None),
            (Paid, paid(Some(11_000), None), Some(Amount)),
            (Paid, paid(Some(9_000), None), Some(Amount)),
            (Paid, paid(None, wrong), Some(Attention)),
            (Paid, PaymentStatus::Pending, Some(LedgerPaid)),
            (Paid, PaymentStatus::Held { amount: None }, Some(LedgerPaid)),
            (Paid, PaymentStatus::Expired, Some(LedgerPaid)),
            (Paid, PaymentStatus::Canceled, Some(LedgerPaid)),
            (Paid, PaymentStatus::Unknown, Some(Unknown)),
            (Open, PaymentStatus::Pending, None),
            (Open, PaymentStatus::Held { amount: None }, None),
            (Open, PaymentStatus::Expired, None),
            (Held, PaymentStatus::Held { amount: None }, None),
            (
                GivenBack,
                PaymentStatus::Held { amount: None },
                Some(Attention),
            ),
            (GivenBack, PaymentStatus::Canceled, None),
            (Open, PaymentStatus::Unknown, Some(Unknown)),
            (Open, paid(None, None), Some(WalletPaid)),
            (Open, paid(Some(9_000), None), Some(Amount)),
            (Expired, paid(Some(12_000), None), Some(WalletPaid)),
            (Expired, PaymentStatus::Canceled, None),
            (
                Expired,
                PaymentStatus::Attention("FAILED".to_owned()),
                Some(Attention),
            ),
        ] {
            let found = match compare(&invoice(ledger), &wallet) {
                Found::Differs(how, _) => Some(how),
                _ => None,
            };
            assert_eq!(found, differs, "{ledger:?} {wallet:?}");
        }
        let forgotten = compare(&invoice(Expired), &PaymentStatus::Unknown);
        assert_eq!(forgotten, Found::Forgotten);
    }
}
