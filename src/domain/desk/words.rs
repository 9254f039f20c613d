//! The desk's words: kinds of cases, what can be done, kinds of doubt.

use serde::{Deserialize, Serialize};

/// What a case is about, the most serious first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseKind {
    /// Paid, and the work can still be delivered.
    Undelivered,
    /// Paid, and only money can make it good.
    Owed,
    /// The wallet says something of an invoice that is neither paid nor unpaid.
    Disputed,
    /// Paid after its invoice had expired. Counted; for your information.
    Late,
    /// An invoice was asked for and never shown to anybody. Nobody can pay it; for your information.
    Orphan,
}

impl CaseKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Undelivered,
        Self::Owed,
        Self::Disputed,
        Self::Late,
        Self::Orphan,
    ];

    /// The word in JSON and in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Undelivered => "undelivered",
            Self::Owed => "owed",
            Self::Disputed => "disputed",
            Self::Late => "late",
            Self::Orphan => "orphan",
        }
    }

    /// The word read back.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Must somebody do something, or is it only told?
    #[must_use]
    pub const fn needs_you(self) -> bool {
        matches!(self, Self::Undelivered | Self::Owed | Self::Disputed)
    }
}

/// What can be done about a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeskAction {
    /// Do the work again; for a dispute: ask the wallet again, now.
    Retry,
    /// Send the same signed result to the relays again.
    Deliver,
    /// Sign the result anew, as no relay has the first one: where relays refuse it for its date.
    Redeliver,
    /// The seller has given the money back. Can't be undone.
    Refunded,
    /// Nobody will do anything about it. Can't be undone.
    Waive,
}

impl DeskAction {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Retry,
        Self::Deliver,
        Self::Redeliver,
        Self::Refunded,
        Self::Waive,
    ];

    /// The word on the command line, in JSON and in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Deliver => "deliver",
            Self::Redeliver => "redeliver",
            Self::Refunded => "refunded",
            Self::Waive => "waive",
        }
    }

    /// The word read back.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == word)
    }

    /// Does it close the case for good?
    #[must_use]
    pub const fn closes(self) -> bool {
        matches!(self, Self::Refunded | Self::Waive)
    }

    /// The word in a job's history.
    #[must_use]
    pub const fn history(self) -> &'static str {
        match self {
            Self::Retry => "retried",
            Self::Deliver => "sent_again",
            Self::Redeliver => "signed_again",
            Self::Refunded => "refunded",
            Self::Waive => "waived",
        }
    }
}

/// Why the wallet's word settles nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisputeKind {
    /// It says that something went wrong, or its "paid" does not fit the invoice.
    Attention,
    /// It does not know the invoice.
    Unknown,
    /// It is another wallet than the one that made the invoice.
    OtherWallet,
}

impl DisputeKind {
    /// The word in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Unknown => "unknown",
            Self::OtherWallet => "other_wallet",
        }
    }

    /// The word read back.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Attention, Self::Unknown, Self::OtherWallet]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}
