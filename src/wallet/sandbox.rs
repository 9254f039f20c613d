//! The sandbox wallet: real signed invoices on regtest, play money, no network.
//!
//! For `vend demo`, for tests and for a first look. Nothing it shows is worth anything, and it refuses every network but
//! regtest, so that it can't stand in for a wallet by accident. Its books are files (see `book`), so what was promised
//! survives a crash, and a buyer in another process can pay.

mod book;
mod hints;
mod node;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use self::book::{Book, Entry, IssueError, Record};
use super::inbox::Inbox;
use super::{Caps, Issued, Listed, NewInvoice, PaymentStatus, Wallet, WalletError};
use crate::domain::health::{HealthLevel, WalletHealth};
use crate::domain::id::{PaymentHash, Preimage};
use crate::domain::invoice::{InvoiceFault, Network};
use crate::domain::msat::Msat;
use crate::domain::purchase::Trace;
use crate::domain::time::Time;

const BACKEND: &str = "sandbox";

/// No call takes longer, even where the disk hangs.
const CALL: Duration = Duration::from_secs(20);

/// Why the sandbox can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Play money on a network of real money.
    #[error(
        "the sandbox wallet moves play money only and can't stand for {0}: set wallet.network to regtest, or wallet.backend to a real wallet"
    )]
    Network(Network),
    /// A file or the folder can't be used.
    #[error("the sandbox wallet can't use {path}")]
    Files {
        /// Which.
        path: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// The node's key is no key.
    #[error(
        "the sandbox wallet's key {0} is damaged: remove its folder to start with an empty one"
    )]
    DamagedKey(String),
    /// A file of the books can't be read.
    #[error(
        "the sandbox wallet's file {0} is damaged: remove the folder to start with an empty one"
    )]
    Damaged(String),
}

/// The sandbox wallet.
#[derive(Debug)]
pub struct SandboxWallet {
    book: Arc<Book>,
    inbox: Arc<Inbox>,
}

impl SandboxWallet {
    /// Opens the wallet in this folder, or makes it (0700, the node's key 0600).
    ///
    /// # Errors
    /// Any network but regtest, and a folder that can't be used.
    pub fn open(dir: &Path, network: Network) -> Result<Self, SandboxError> {
        if network != Network::Regtest {
            return Err(SandboxError::Network(network));
        }
        let book = Book::open(dir)?;
        let inbox = hints::open(&book.dir);
        Ok(Self {
            book: Arc::new(book),
            inbox,
        })
    }

    /// Works on the books, off the async threads.
    async fn with_book<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Book) -> Result<T, WalletError> + Send + 'static,
    ) -> Result<T, WalletError> {
        let book = Arc::clone(&self.book);
        let work = tokio::task::spawn_blocking(move || work(&book));
        match tokio::time::timeout(CALL, work).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(WalletError::Failed("its work was cut off".to_owned())),
            Err(_) => Err(WalletError::TimedOut(CALL)),
        }
    }
}

impl Wallet for SandboxWallet {
    fn backend(&self) -> &'static str {
        BACKEND
    }

    fn caps(&self) -> Caps {
        Caps {
            msat: true,
            max_memo_bytes: node::MAX_MEMO_BYTES,
            label_lookup: true,
            push: true,
            hold: true,
        }
    }

    fn health(&self) -> BoxFuture<'_, WalletHealth> {
        async {
            let there = self
                .with_book(|book| {
                    std::fs::read_dir(&book.dir).map(drop).map_err(|source| {
                        WalletError::Failed(line(&SandboxError::files(&book.dir, source)))
                    })
                })
                .await;
            let (state, health, detail) = match there {
                Ok(()) => (
                    "up",
                    HealthLevel::Ok,
                    "play money: no real sats move".to_owned(),
                ),
                Err(error) => ("down", HealthLevel::Down, error.to_string()),
            };
            WalletHealth {
                backend: BACKEND.to_owned(),
                state: state.to_owned(),
                health,
                detail,
                network: Some(Network::Regtest.as_str().to_owned()),
                identity: Some(self.book.node.id()),
                balance_msat: None,
                can_receive_msat: None,
                sandbox: true,
            }
        }
        .boxed()
    }

    fn create(&self, new: NewInvoice) -> BoxFuture<'_, Result<Issued, WalletError>> {
        self.with_book(move |book| match book.issue(&new, Time::now()) {
            Ok(record) => Ok(issued(record)),
            Err(error) => Err(refused(error)),
        })
        .boxed()
    }

    fn lookup(&self, issued: Issued) -> BoxFuture<'_, Result<PaymentStatus, WalletError>> {
        self.with_book(move |book| {
            let entry = book.look(&issued.payment_hash, Time::now());
            entry.map(seen).map_err(|error| failed(&error))
        })
        .boxed()
    }

    fn find_by_label(&self, label: String) -> BoxFuture<'_, Result<Option<Issued>, WalletError>> {
        self.with_book(move |book| {
            let found = book
                .find(&label, Time::now())
                .map_err(|error| failed(&error))?;
            Ok(found.map(issued))
        })
        .boxed()
    }

    fn made_since(&self, since: Time) -> BoxFuture<'_, Result<Vec<Listed>, WalletError>> {
        self.with_book(move |book| {
            let records = book.all().map_err(|error| failed(&error))?;
            let listed = records.into_iter().map(|record| Listed {
                label: Some(record.label.clone()),
                memo: None,
                // Its file says what is paid, which is read for each.
                open: false,
                issued: issued(record),
            });
            let is_new = |one: &Listed| one.made_at().is_none_or(|at| at >= since);
            Ok(listed.filter(is_new).collect())
        })
        .boxed()
    }

    fn next_hint(&self) -> BoxFuture<'_, Option<PaymentHash>> {
        self.inbox.next().boxed()
    }

    fn settle(&self, preimage: Preimage) -> BoxFuture<'_, Result<(), WalletError>> {
        self.with_book(move |book| book.settle(&preimage, Time::now()).map_err(refused))
            .boxed()
    }

    fn cancel(&self, issued: Issued) -> BoxFuture<'_, Result<(), WalletError>> {
        self.with_book(move |book| {
            book.cancel(&issued.payment_hash, Time::now())
                .map_err(refused)
        })
        .boxed()
    }
}

fn issued(record: Record) -> Issued {
    Issued {
        bolt11: record.bolt11,
        payment_hash: record.payment_hash,
        backend_ref: None,
    }
}

fn seen(entry: Entry) -> PaymentStatus {
    match entry {
        Entry::Unknown => PaymentStatus::Unknown,
        Entry::Open(_) => PaymentStatus::Pending,
        Entry::Held(record) => PaymentStatus::Held {
            amount: Some(record.amount_msat),
        },
        Entry::Expired => PaymentStatus::Expired,
        Entry::Canceled => PaymentStatus::Canceled,
        Entry::Paid {
            record,
            at,
            preimage,
        } => PaymentStatus::Paid {
            amount: Some(record.amount_msat),
            at,
            preimage,
            fee: None,
        },
    }
}

fn refused(error: IssueError) -> WalletError {
    match error {
        IssueError::Refused(why) => WalletError::Rejected(why),
        IssueError::Files(error) => failed(&error),
    }
}

fn failed(error: &SandboxError) -> WalletError {
    WalletError::Failed(line(error))
}

fn line(error: &SandboxError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// A payment that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// What was paid.
    pub payment_hash: PaymentHash,
    /// How much; the invoice's amount.
    pub amount: Msat,
    /// The payer's proof; none yet where the seller holds the payment.
    pub preimage: Option<Preimage>,
}

/// Why a payment was not made.
#[derive(Debug, thiserror::Error)]
pub enum PayError {
    /// The text is no invoice, or its signature is wrong.
    #[error(transparent)]
    BadInvoice(#[from] InvoiceFault),
    /// Another node's invoice: the sandbox pays its own only.
    #[error(
        "this invoice was not made by the sandbox wallet in {0}: pay it with a real wallet, or name the seller's data directory"
    )]
    NotOurs(String),
    /// Too late.
    #[error("this invoice has expired")]
    Expired,
    /// The seller closed it.
    #[error("this invoice was canceled by the seller")]
    Canceled,
    /// Paid before, or held.
    #[error("this invoice is paid already")]
    AlreadyPaid,
    /// The books can't be used. Whether it was paid is seen by paying again.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

/// Pays invoices of the sandbox wallet in the same folder, from this process or another.
#[derive(Clone, Debug)]
pub struct SandboxPayer {
    book: Book,
}

impl SandboxPayer {
    /// Opens the seller's sandbox folder, or makes it, so that it does not matter who comes first.
    ///
    /// # Errors
    /// A folder that can't be used.
    pub fn open(dir: &Path) -> Result<Self, SandboxError> {
        Book::open(dir).map(|book| Self { book })
    }

    /// Pays an invoice in full, once. When it returns, the payment is on the disk. Blocks on files, for milliseconds. What a
    /// hold invoice is paid with waits for the seller.
    ///
    /// # Errors
    /// An invoice that is not this sandbox's, has expired, was canceled, or is paid already; books that can't be used.
    pub fn pay(&self, bolt11: &str) -> Result<Payment, PayError> {
        let payment = self.book.pay(bolt11, Time::now())?;
        hints::tell(&self.book.dir, payment.payment_hash);
        Ok(payment)
    }

    /// What became of a payment. Blocks on files, for milliseconds.
    ///
    /// # Errors
    /// Books that can't be used.
    pub fn trace(&self, hash: &PaymentHash) -> Result<Trace, SandboxError> {
        Ok(match self.book.look(hash, Time::now())? {
            Entry::Paid { .. } | Entry::Held(_) => Trace::Made { fee: None },
            Entry::Canceled => Trace::Failed,
            Entry::Unknown | Entry::Open(_) | Entry::Expired => Trace::Unknown,
        })
    }
}
