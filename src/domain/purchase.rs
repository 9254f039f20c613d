//! Buying: what becomes of one request when its sellers speak the truth, err, lie, or say nothing.
//!
//! Pure. The worker (`buyer`) hands in what was heard and what became of the payment, and does what comes out. One invoice of a
//! request is paid at most; from the moment its payment is asked for, only the seller who made it can answer.

mod record;

use std::collections::{BTreeMap, BTreeSet};

use nostr::{EventId, PublicKey};

use super::buyer::{Answer, Due, Status, due};
use super::id::{PaymentHash, Preimage};
use super::invoice::Network;
use super::msat::{MAX_MSAT, Msat};
use super::reply::RESULT_ABOVE_REQUEST;
use super::text::clean;
use super::time::Time;

pub use record::{Became, PurchaseStatus, PurchaseView, Trace, became};

/// Sellers of one request that are told apart; what further ones say is not heard.
const MAX_SELLERS: usize = 64;
/// The most of a stranger's words that is kept, characters.
const WORDS: usize = 300;
/// Sellers that a failure names.
const NAMED: usize = 4;

/// What is bought, and on which terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The request's kind.
    pub kind: u16,
    /// The one seller who was asked; none: whoever hears it.
    pub to: Option<PublicKey>,
    /// Is there a wallet that pays?
    pub pays: bool,
    /// The most that is paid.
    pub most: Msat,
    /// The network that the wallet pays on, where it is known.
    pub network: Option<Network>,
}

/// A result that was taken for the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Who gave it.
    pub seller: PublicKey,
    /// The result's event.
    pub event: EventId,
    /// The answer as it came; not made safe to show.
    pub content: String,
    /// The model that answered, as the seller says.
    pub model: Option<String>,
    /// What the seller asks for it.
    pub amount: Option<Msat>,
    /// The invoice that came with it.
    pub bolt11: Option<String>,
    /// Tokens of request and answer, as the seller says.
    pub usage: Option<(u64, u64)>,
}

/// A payment that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paid {
    /// To the seller.
    pub amount: Msat,
    /// For the way, where the wallet says.
    pub fee: Option<Msat>,
    /// The proof, where the wallet gives it; it opens the invoice's hash.
    pub preimage: Option<Preimage>,
}

/// What became of the payment that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payment {
    /// It was made.
    Paid(Paid),
    /// Nothing was paid, for sure.
    NotPaid(String),
    /// The wallet was asked, and what it did is not known.
    NotKnown(String),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Show a seller's feedback.
    Feedback {
        /// Who says it.
        seller: PublicKey,
        /// How far it is.
        status: Status,
        /// Its words, clean.
        words: Option<String>,
    },
    /// Show the answer so far; as it came.
    Partial {
        /// Who gives it.
        seller: PublicKey,
        /// All of it so far.
        text: String,
    },
    /// Say plainly what is wrong with what a seller sent.
    Fault {
        /// Whose it is.
        seller: PublicKey,
        /// What is wrong.
        words: String,
    },
    /// Show an invoice that somebody has to pay by hand.
    Invoice {
        /// Whose it is.
        seller: PublicKey,
        /// The invoice.
        due: Due,
    },
    /// Write the intent down, then pay.
    Pay {
        /// Whose it is.
        seller: PublicKey,
        /// The invoice.
        due: Due,
    },
    /// It is over.
    End(End),
}

/// How a purchase ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The answer is here. `paid` is none where nothing was asked or nobody here pays; `unsure` says why it is not known
    /// whether it was paid.
    Delivered {
        /// The answer.
        delivery: Delivery,
        /// What was paid for it.
        paid: Option<Paid>,
        /// Why that is not known.
        unsure: Option<String>,
    },
    /// Nothing was paid, and nothing came.
    Failed {
        /// The seller whose fault it was, where there is one.
        seller: Option<PublicKey>,
        /// Why.
        words: String,
    },
    /// It was paid, and nothing came.
    Lost {
        /// Who was paid.
        seller: PublicKey,
        /// How much.
        paid: Paid,
        /// Why.
        words: String,
    },
    /// It is not known whether it was paid, and nothing came.
    Unsure {
        /// Who was to be paid.
        seller: PublicKey,
        /// Why.
        words: String,
    },
}

/// Where the money is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Money {
    Untouched,
    Asked(PublicKey, Due),
    Paid(PublicKey, Paid),
    NotKnown(PublicKey, String),
}

/// One request on its way.
#[derive(Clone, Debug)]
pub struct Purchase {
    terms: Terms,
    money: Money,
    /// Sellers that gave nothing of use, and why.
    out: BTreeMap<PublicKey, String>,
    /// Sellers that were heard.
    heard: BTreeSet<PublicKey>,
    /// Invoices that could not be paid: asking once more would change nothing.
    refused: BTreeSet<PaymentHash>,
    /// An answer of the payee that waits for the payment's outcome.
    held: Option<Delivery>,
    /// The payee said that it failed.
    failed: Option<String>,
    /// Whose parts of the answer are shown.
    watched: Option<PublicKey>,
    over: bool,
}

impl Purchase {
    /// A request that was just sent.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            money: Money::Untouched,
            out: BTreeMap::new(),
            heard: BTreeSet::new(),
            refused: BTreeSet::new(),
            held: None,
            failed: None,
            watched: None,
            over: false,
        }
    }

    /// A request of an earlier run whose payment was made, or may have been.
    #[must_use]
    pub fn resumed(terms: Terms, seller: PublicKey, payment: Payment) -> Self {
        let money = match payment {
            Payment::Paid(paid) => Money::Paid(seller, paid),
            Payment::NotKnown(why) => Money::NotKnown(seller, why),
            Payment::NotPaid(_) => Money::Untouched,
        };
        Self {
            money,
            ..Self::new(terms)
        }
    }

    /// Who is paid, or is to be.
    #[must_use]
    pub const fn payee(&self) -> Option<&PublicKey> {
        match &self.money {
            Money::Untouched => None,
            Money::Asked(seller, _) | Money::Paid(seller, _) | Money::NotKnown(seller, _) => {
                Some(seller)
            }
        }
    }

    /// An event whose signature was checked and that names this request.
    pub fn heard(
        &mut self,
        seller: PublicKey,
        event: EventId,
        kind: u16,
        answer: Answer,
        now: Time,
    ) -> Vec<Act> {
        if self.over || !self.listens_to(&seller) {
            return Vec::new();
        }
        match answer {
            Answer::Sealed => self.fault(
                seller,
                "it sent a result that this key can't open".to_owned(),
            ),
            Answer::Feedback {
                status,
                extra,
                amount,
                bolt11,
            } => self.feedback(seller, status, extra, (amount, bolt11), now),
            Answer::Result {
                content,
                amount,
                bolt11,
                model,
                usage,
            } => {
                let delivery = Delivery {
                    seller,
                    event,
                    content,
                    model,
                    amount,
                    bolt11,
                    usage,
                };
                self.result(kind, delivery, now)
            }
        }
    }

    /// What became of the payment of the last [`Act::Pay`].
    pub fn payment(&mut self, payment: Payment) -> Vec<Act> {
        let Money::Asked(seller, due) = &self.money else {
            return Vec::new();
        };
        let (seller, hash) = (*seller, due.hash);
        match payment {
            Payment::Paid(paid) => {
                self.money = Money::Paid(seller, paid);
                self.settled()
            }
            Payment::NotKnown(words) => {
                self.money = Money::NotKnown(seller, clean(&words, WORDS));
                self.settled()
            }
            Payment::NotPaid(words) => {
                self.money = Money::Untouched;
                self.refused.insert(hash);
                self.held = None;
                let words = self.failed.take().unwrap_or(words);
                self.fault(seller, words)
            }
        }
    }

    /// Nothing more is waited for; `words` say why, as "no result within 120 s".
    pub fn give_up(&mut self, words: &str) -> End {
        self.over = true;
        if let Some(delivery) = self.held.take() {
            return self.delivered(delivery);
        }
        match &self.money {
            Money::Untouched => End::Failed {
                seller: self.terms.to,
                words: self.summary(words),
            },
            Money::Asked(seller, _) => End::Unsure {
                seller: *seller,
                words: format!("{words}; the wallet has not said yet whether it paid"),
            },
            Money::Paid(seller, paid) => End::Lost {
                seller: *seller,
                paid: paid.clone(),
                words: format!("it was paid, and {words}"),
            },
            Money::NotKnown(seller, why) => End::Unsure {
                seller: *seller,
                words: format!("{words}; {why}"),
            },
        }
    }

    fn listens_to(&mut self, seller: &PublicKey) -> bool {
        if self.terms.to.is_some_and(|to| to != *seller)
            || self.payee().is_some_and(|payee| payee != seller)
        {
            return false;
        }
        if self.heard.len() >= MAX_SELLERS {
            return self.heard.contains(seller);
        }
        self.heard.insert(*seller);
        true
    }

    fn feedback(
        &mut self,
        seller: PublicKey,
        status: Status,
        extra: Option<String>,
        bill: (Option<Msat>, Option<String>),
        now: Time,
    ) -> Vec<Act> {
        if status == Status::Partial {
            return self.partial(seller, extra);
        }
        let words = extra.map(|text| clean(&text, WORDS));
        let mut acts = vec![Act::Feedback {
            seller,
            status,
            words: words.clone(),
        }];
        if status == Status::Error {
            let words = words.unwrap_or_else(|| "it refused and did not say why".to_owned());
            acts.extend(self.refusal(seller, words));
            return acts;
        }
        match bill {
            (asked, Some(bolt11)) => acts.extend(self.bill(seller, &bolt11, asked, now)),
            (_, None) if status == Status::PaymentRequired && self.payee().is_none() => {
                let words = "it asks for payment and gave no invoice".to_owned();
                acts.extend(self.fault(seller, words));
            }
            (_, None) => {}
        }
        acts
    }

    /// Only one seller's parts are shown, so that two answers are never mixed into one.
    fn partial(&mut self, seller: PublicKey, text: Option<String>) -> Vec<Act> {
        let watched = *self.watched.get_or_insert(seller);
        let shown = watched == seller || self.payee() == Some(&seller);
        match text {
            Some(text) if shown => {
                self.watched = Some(seller);
                vec![Act::Partial { seller, text }]
            }
            _ => Vec::new(),
        }
    }

    fn refusal(&mut self, seller: PublicKey, words: String) -> Vec<Act> {
        match &self.money {
            Money::Untouched => self.out(seller, words),
            // The payment is on its way; what it comes to decides what this means.
            Money::Asked(..) => {
                self.failed = Some(words);
                Vec::new()
            }
            Money::Paid(..) | Money::NotKnown(..) => {
                self.failed = Some(words);
                self.settled()
            }
        }
    }

    fn result(&mut self, kind: u16, delivery: Delivery, now: Time) -> Vec<Act> {
        let wanted = self.terms.kind.saturating_add(RESULT_ABOVE_REQUEST);
        if kind != wanted {
            let words = format!("it sent a result of kind {kind}, and {wanted} was asked for");
            return self.fault(delivery.seller, words);
        }
        if delivery.content.trim().is_empty() {
            return self.fault(delivery.seller, "it sent an empty result".to_owned());
        }
        match self.money {
            Money::Paid(..) | Money::NotKnown(..) => self.end_with(delivery),
            Money::Asked(..) => {
                self.held.get_or_insert(delivery);
                Vec::new()
            }
            Money::Untouched => {
                let Some(bolt11) = delivery.bolt11.clone() else {
                    return self.end_with(delivery);
                };
                let (seller, asked) = (delivery.seller, delivery.amount);
                if self.terms.pays {
                    // Set before the bill is judged: a bad bill takes it back.
                    self.held = Some(delivery);
                    let acts = self.bill(seller, &bolt11, asked, now);
                    if self.payee().is_none() {
                        self.held = None;
                    }
                    return acts;
                }
                let mut acts = self.bill(seller, &bolt11, asked, now);
                if !self.over {
                    acts.extend(self.end_with(delivery));
                }
                acts
            }
        }
    }

    /// An invoice of a seller: paid, shown, or said to be bad.
    fn bill(
        &mut self,
        seller: PublicKey,
        bolt11: &str,
        asked: Option<Msat>,
        now: Time,
    ) -> Vec<Act> {
        if self.payee().is_some() {
            // The one that is paid already comes again with the result; another one of the same seller is not paid.
            return Vec::new();
        }
        let most = if self.terms.pays {
            self.terms.most
        } else {
            Msat(MAX_MSAT)
        };
        let network = self.terms.network.filter(|_| self.terms.pays);
        match due(bolt11, asked, most, network, now) {
            Ok(due) if self.refused.contains(&due.hash) => Vec::new(),
            Ok(due) if self.terms.pays => {
                self.money = Money::Asked(seller, due.clone());
                vec![Act::Pay { seller, due }]
            }
            Ok(due) => vec![Act::Invoice { seller, due }],
            // Who does not pay can use an answer whose invoice is bad all the same.
            Err(words) if !self.terms.pays => vec![Act::Fault { seller, words }],
            Err(words) => self.fault(seller, words),
        }
    }

    /// The payment has an outcome, or the payee has said its last word.
    fn settled(&mut self) -> Vec<Act> {
        if let Some(delivery) = self.held.take() {
            return self.end_with(delivery);
        }
        let Some(words) = self.failed.take() else {
            return Vec::new();
        };
        let end = match &self.money {
            Money::Paid(seller, paid) => End::Lost {
                seller: *seller,
                paid: paid.clone(),
                words: format!("it was paid, and then it said: {words}"),
            },
            Money::NotKnown(seller, why) => End::Unsure {
                seller: *seller,
                words: format!("it said: {words}; {why}"),
            },
            Money::Untouched | Money::Asked(..) => return Vec::new(),
        };
        self.over = true;
        vec![Act::End(end)]
    }

    fn end_with(&mut self, delivery: Delivery) -> Vec<Act> {
        self.over = true;
        vec![Act::End(self.delivered(delivery))]
    }

    fn delivered(&self, delivery: Delivery) -> End {
        let (paid, unsure) = match &self.money {
            Money::Untouched => (None, None),
            Money::Paid(_, paid) => (Some(paid.clone()), None),
            Money::NotKnown(_, why) => (None, Some(why.clone())),
            Money::Asked(..) => {
                let words = "the wallet has not said yet whether it paid";
                (None, Some(words.to_owned()))
            }
        };
        End::Delivered {
            delivery,
            paid,
            unsure,
        }
    }

    /// What a seller sent is of no use. Others may still answer; so may a payee, whose money can't be taken back.
    fn fault(&mut self, seller: PublicKey, words: String) -> Vec<Act> {
        let mut acts = vec![Act::Fault {
            seller,
            words: words.clone(),
        }];
        if self.payee().is_none() {
            acts.extend(self.out(seller, words));
        }
        acts
    }

    /// A seller gave nothing of use. Where it alone was asked, that is the end.
    fn out(&mut self, seller: PublicKey, words: String) -> Vec<Act> {
        self.out.insert(seller, words.clone());
        if self.terms.to.is_none() {
            return Vec::new();
        }
        self.over = true;
        vec![Act::End(End::Failed {
            seller: Some(seller),
            words,
        })]
    }

    fn summary(&self, words: &str) -> String {
        let mut text = words.to_owned();
        for (seller, why) in self.out.iter().take(NAMED) {
            let short: String = seller.to_hex().chars().take(8).collect();
            text = format!("{text}; {short} said: {why}");
        }
        let more = self.out.len().saturating_sub(NAMED);
        if more > 0 {
            text = format!("{text}; {more} more failed");
        }
        text
    }
}

#[cfg(test)]
mod tests;
