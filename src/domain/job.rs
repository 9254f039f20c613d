//! A job: one admitted request, from the queue to the money.

use nostr::EventId;
use serde::{Deserialize, Serialize};

use super::credit::Debt;
use super::id::{BootId, Buyer, PaymentHash, Preimage, RequestId};
use super::msat::Msat;
use super::price::PriceRule;
use super::text::clean;
use super::time::Time;

/// From so many interruptions on a job runs alone, so that it takes no other job with it.
const ALONE_FROM: u32 = 3;

/// Where a job is in its life. Finer than [`Status`], which is what people see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Durable; waits for a slot.
    Queued,
    /// Pay first: the wallet is asked for the invoice.
    Quoting,
    /// Pay first: the invoice is with the buyer; nothing has run.
    AwaitingPayment,
    /// Inference runs.
    Running,
    /// Pay after: the answer is kept; the wallet is asked for the invoice.
    Inferred,
    /// The result is signed and on its way to the relays.
    Publishing,
    /// A relay accepted the result; the invoice is open.
    PendingPayment,
    /// Paid and delivered.
    Paid,
    /// Delivered free of charge.
    Completed,
    /// The invoice expired and a look after that found nothing.
    Unpaid,
    /// It failed.
    Error,
    /// Cancelled by the buyer or the seller.
    Cancelled,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Queued,
        Self::Quoting,
        Self::AwaitingPayment,
        Self::Running,
        Self::Inferred,
        Self::Publishing,
        Self::PendingPayment,
        Self::Paid,
        Self::Completed,
        Self::Unpaid,
        Self::Error,
        Self::Cancelled,
    ];

    /// The word in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Quoting => "quoting",
            Self::AwaitingPayment => "awaiting_payment",
            Self::Running => "running",
            Self::Inferred => "inferred",
            Self::Publishing => "publishing",
            Self::PendingPayment => "pending_payment",
            Self::Paid => "paid",
            Self::Completed => "completed",
            Self::Unpaid => "unpaid",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
        }
    }

    /// The word read back.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// What people see.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::Queued | Self::Quoting => Status::Queued,
            Self::AwaitingPayment => Status::AwaitingPayment,
            Self::Running | Self::Inferred | Self::Publishing => Status::Processing,
            Self::PendingPayment => Status::PendingPayment,
            Self::Paid => Status::Paid,
            Self::Completed => Status::Completed,
            Self::Unpaid => Status::Unpaid,
            Self::Error => Status::Error,
            Self::Cancelled => Status::Cancelled,
        }
    }

    /// Nothing more is done for it, unless money turns up.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Paid | Self::Completed | Self::Unpaid | Self::Error | Self::Cancelled
        )
    }
}

/// A job's status in JSON and on the screen (SPEC section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Admitted and durable; waits for a slot.
    Queued,
    /// Invoice sent; nothing has run.
    AwaitingPayment,
    /// At work.
    Processing,
    /// Result delivered with its invoice; not yet paid.
    PendingPayment,
    /// The wallet confirmed it, result delivered.
    Paid,
    /// Delivered free of charge.
    Completed,
    /// The invoice expired and a last look found nothing.
    Unpaid,
    /// It failed; the buyer was told.
    Error,
    /// By the buyer (kind 5) or the seller.
    Cancelled,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::AwaitingPayment,
        Self::Processing,
        Self::PendingPayment,
        Self::Paid,
        Self::Completed,
        Self::Unpaid,
        Self::Error,
        Self::Cancelled,
    ];

    /// The word in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::AwaitingPayment => "awaiting_payment",
            Self::Processing => "processing",
            Self::PendingPayment => "pending_payment",
            Self::Paid => "paid",
            Self::Completed => "completed",
            Self::Unpaid => "unpaid",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
        }
    }

    /// The word read back.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// When the buyer pays. Fixed at admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayOrder {
    /// The invoice rides on the result.
    After,
    /// The invoice comes first; nothing runs before it is paid.
    Before,
    /// As before, but the wallet holds the payment: it is taken once the result is delivered, and goes back otherwise.
    Hold,
    /// Nothing to pay.
    Free,
}

impl PayOrder {
    /// As the timeline says it, after "pays".
    #[must_use]
    pub const fn told(self) -> &'static str {
        match self {
            Self::After => "after",
            Self::Before => "first",
            Self::Hold => "first, held until delivery",
            Self::Free => "nothing",
        }
    }
}

/// How the request came, and so how the answers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encryption {
    /// In clear.
    Plain,
    /// NIP-04.
    Nip04,
    /// NIP-44 v2.
    Nip44,
}

/// How text is generated; already within the seller's limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextParams {
    /// The most tokens of the answer.
    pub max_tokens: u32,
    /// 0 to 2.
    pub temperature: f64,
    /// 0 to 1000; 0: off.
    pub top_k: u32,
    /// Above 0, up to 1.
    pub top_p: f64,
    /// -2 to 2.
    pub frequency_penalty: f64,
    /// Fixed randomness, where the buyer asked for it.
    pub seed: Option<u64>,
}

/// What a job was admitted under. Later settings do not change it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// The offer that it was for; none in jobs of an older vend.
    #[serde(default)]
    pub offer: Option<String>,
    /// The model that answers.
    pub model: String,
    /// The model the buyer asked for, where ours stands in for it.
    pub substituted: Option<String>,
    /// How text is generated.
    pub params: TextParams,
    /// What it costs.
    pub price: PriceRule,
    /// What is added to it, as the job goes first; percent.
    #[serde(default)]
    pub priority_percent: u32,
    /// When the buyer pays.
    pub order: PayOrder,
    /// The buyer's ceiling.
    pub bid_msat: Option<Msat>,
    /// The most input tokens that its prompt can be.
    #[serde(default)]
    pub input_tokens_most: u32,
    /// The input tokens that its prompt is likely to have at the most; 0 in jobs of an older vend.
    #[serde(default)]
    pub input_tokens_likely: u32,
    /// How long the invoice can be paid.
    pub invoice_expiry_secs: u64,
    /// How long the work may take.
    pub job_timeout_secs: u64,
    /// The longest gap between two looks at an open invoice.
    pub check_every_secs: u64,
    /// Relays of the request to which answers go beside our own.
    pub relays: Vec<String>,
    /// The relay the request came from.
    pub seen_on: String,
    /// Is the text so far wanted while it is written?
    #[serde(default)]
    pub stream: bool,
}

impl Terms {
    /// The surcharge that is told with the first word of the work; who pays first has read it with the invoice.
    #[must_use]
    pub fn surcharge_to_tell(&self) -> u32 {
        match self.order {
            PayOrder::After => self.priority_percent,
            PayOrder::Before | PayOrder::Hold | PayOrder::Free => 0,
        }
    }

    /// What so many tokens cost under these terms.
    #[must_use]
    pub fn price_of(&self, input_tokens: u32, output_tokens: u32) -> Msat {
        let percent = self.priority_percent;
        self.price
            .surcharged(input_tokens, output_tokens, percent, self.bid_msat)
    }
}

/// Where an invoice is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceState {
    /// To be made; perhaps made already by a run that died.
    Intent,
    /// Made, checked and stored; can be published.
    Open,
    /// The wallet confirmed it.
    Paid,
    /// A look after its expiry found it unpaid. A late payment can still turn it to paid.
    Expired,
    /// Hold: the payment has come and waits in the wallet.
    Held,
    /// Hold: it was decided to take the payment; the wallet has not confirmed it yet.
    Taking,
    /// Hold: it was decided to give the payment back, or to let none come; the wallet has not confirmed it yet.
    GivingBack,
    /// Hold: the wallet confirmed that nothing is held any more.
    GivenBack,
}

/// The one invoice of a job. It can't be serialized, as it may hold the secret of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoice {
    /// The label it can be found by in wallets that keep labels.
    pub label: String,
    /// Where it is in its life.
    pub state: InvoiceState,
    /// What is asked.
    pub amount: Msat,
    /// The backend that made it.
    pub wallet: String,
    /// The name under which that wallet's settings are kept.
    pub wallet_key: Option<String>,
    /// That wallet's own name for itself.
    pub wallet_identity: Option<String>,
    /// The network of its money.
    pub network: Option<String>,
    /// Hold: the secret that takes the payment, made by us; none once it went back.
    pub preimage: Option<Preimage>,
    /// Hold: when a held payment must be taken or given back.
    pub hold_until: Option<Time>,
    /// Its payment hash; none before it is made.
    pub payment_hash: Option<PaymentHash>,
    /// Its text.
    pub bolt11: Option<String>,
    /// What the wallet calls it.
    pub backend_ref: Option<String>,
    /// When it was made (its own timestamp).
    pub made_at: Option<Time>,
    /// When it expires (its own words).
    pub expires_at: Option<Time>,
    /// What arrived.
    pub paid: Msat,
    /// When that was confirmed.
    pub paid_at: Option<Time>,
    /// Looks at the wallet so far.
    pub polls: u32,
    /// Looks after expiry that the wallet answered.
    pub late_polls: u32,
    /// The next look.
    pub next_poll_at: Option<Time>,
}

/// The wallet that made an invoice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MadeBy {
    /// Its backend.
    pub backend: String,
    /// The name under which its settings are kept.
    pub key: Option<String>,
    /// Its own name for itself.
    pub identity: Option<String>,
    /// The network of its money.
    pub network: Option<String>,
}

impl MadeBy {
    /// What a person tells it by: its backend, with the beginning of the name of its kept settings (`wallets/` in the data
    /// directory), as there may be several of one backend.
    #[must_use]
    pub fn told(&self) -> String {
        let mark = self.key.as_ref().or(self.identity.as_ref());
        let mark: String = mark
            .into_iter()
            .flat_map(|mark| mark.chars().take(8))
            .collect();
        clean(&format!("{} {mark}", self.backend), 60)
    }
}

impl Invoice {
    /// The wallet that made it.
    #[must_use]
    pub fn made_by(&self) -> MadeBy {
        MadeBy {
            backend: self.wallet.clone(),
            key: self.wallet_key.clone(),
            identity: self.wallet_identity.clone(),
            network: self.network.clone(),
        }
    }
}

/// An answer as the inference gave it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The text, without any thinking.
    pub text: String,
    /// Input tokens as the server counted them.
    pub prompt_tokens: u32,
    /// Output tokens as the server counted them.
    pub completion_tokens: u32,
    /// Were the counts estimated, as the server gave none?
    pub estimated: bool,
    /// Was it cut at `max_tokens`?
    pub cut: bool,
    /// How long the server took for the output, in milliseconds.
    pub elapsed_ms: u64,
    /// Which endpoint.
    pub endpoint: String,
}

/// What an answer took: all that is known of it but its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Input tokens as the server counted them.
    pub prompt_tokens: u32,
    /// Output tokens as the server counted them.
    pub completion_tokens: u32,
    /// Were the counts estimated, as the server gave none?
    pub estimated: bool,
    /// Was it cut at `max_tokens`?
    pub cut: bool,
    /// How long the server took for the output, in milliseconds.
    pub elapsed_ms: u64,
    /// Which endpoint.
    pub endpoint: String,
}

impl From<&Answer> for Usage {
    fn from(answer: &Answer) -> Self {
        Self {
            prompt_tokens: answer.prompt_tokens,
            completion_tokens: answer.completion_tokens,
            estimated: answer.estimated,
            cut: answer.cut,
            elapsed_ms: answer.elapsed_ms,
            endpoint: answer.endpoint.clone(),
        }
    }
}

/// A job's texts. They can be long, and a stranger chose them, so they are no part of a [`Job`]: the step that needs them
/// reads them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// The request event as it came.
    pub request_json: String,
    /// What is asked.
    pub prompt: String,
    /// What was answered.
    pub answer: Option<String>,
}

impl Texts {
    /// Bytes of all of them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.request_json.len() + self.prompt.len() + self.answer.as_ref().map_or(0, String::len)
    }
}

/// A job as the ledger keeps it, without its texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The request's event id.
    pub id: RequestId,
    /// Who asked.
    pub buyer: Buyer,
    /// The request's kind.
    pub kind: u16,
    /// Where it is.
    pub state: State,
    /// Counts every change; a change made on an older count is refused.
    pub rev: u64,
    /// How it came.
    pub encryption: Encryption,
    /// Were we named alone?
    pub addressed: bool,
    /// What it was admitted under.
    pub terms: Terms,
    /// Are its [`Texts`] kept? They are erased in time.
    pub has_texts: bool,
    /// What its answer took.
    pub answer: Option<Usage>,
    /// What it costs, once known.
    pub price: Option<Msat>,
    /// What the wallet confirmed.
    pub paid: Msat,
    /// Paid, but without its work.
    pub owed: Msat,
    /// What it has set apart of its buyer's balance; once it has ended, what it used.
    pub balance_used: Msat,
    /// What was left of its payment, and is its buyer's balance.
    pub left: Msat,
    /// What it adds to its buyer's debt.
    pub debt: Debt,
    /// Runs of inference so far, without those that were interrupted.
    pub attempts: u32,
    /// Runs that ended because the program did.
    pub interrupts: u32,
    /// Tries to get an invoice so far.
    pub wallet_tries: u32,
    /// Not before this.
    pub next_at: Option<Time>,
    /// The run of the program that works on it.
    pub boot: Option<BootId>,
    /// The word of the error.
    pub error_code: Option<String>,
    /// The operator's sentence.
    pub error: Option<String>,
    /// Its invoice, from the intent on.
    pub invoice: Option<Invoice>,
    /// The result event's id, once signed.
    pub result_id: Option<EventId>,
    /// Did a relay accept the result?
    pub delivered: bool,
    /// When it was admitted.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
}

/// A job as other programs see it (SPEC section 2). No prompt, no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobView {
    /// The request's event id, hex.
    pub id: RequestId,
    /// Who asked, hex.
    pub buyer: Buyer,
    /// The request's kind.
    pub kind: u16,
    /// Its status.
    pub status: Status,
    /// The model that answers.
    pub model: Option<String>,
    /// Input tokens.
    pub prompt_tokens: Option<u32>,
    /// Output tokens.
    pub completion_tokens: Option<u32>,
    /// How long the output took, milliseconds.
    #[serde(default)]
    pub elapsed_ms: Option<u64>,
    /// What it costs.
    pub price_msat: Option<Msat>,
    /// What the wallet confirmed.
    pub paid_msat: Msat,
    /// The invoice, once it may be seen.
    pub bolt11: Option<String>,
    /// Its payment hash.
    pub payment_hash: Option<PaymentHash>,
    /// When it expires.
    pub invoice_expires_at: Option<Time>,
    /// The result event's id.
    pub result_id: Option<EventId>,
    /// Paid, but without its work.
    pub owed_to_buyer_msat: Msat,
    /// What it has set apart of its buyer's balance; once it has ended, what it used.
    #[serde(default)]
    pub balance_used_msat: Msat,
    /// The offer that it was for.
    #[serde(default)]
    pub offer: Option<String>,
    /// Did it come encrypted?
    pub encrypted: bool,
    /// The operator's sentence, where it failed.
    pub error: Option<String>,
    /// When it was admitted.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
}

impl Job {
    /// Must it run alone? Its runs may be what ended the program.
    #[must_use]
    pub const fn runs_alone(&self) -> bool {
        self.interrupts >= ALONE_FROM
    }

    /// What other programs see.
    #[must_use]
    pub fn view(&self) -> JobView {
        let invoice = self.invoice.as_ref();
        JobView {
            id: self.id,
            buyer: self.buyer,
            kind: self.kind,
            status: self.state.status(),
            model: Some(self.terms.model.clone()),
            prompt_tokens: self.answer.as_ref().map(|a| a.prompt_tokens),
            completion_tokens: self.answer.as_ref().map(|a| a.completion_tokens),
            elapsed_ms: self.answer.as_ref().map(|a| a.elapsed_ms),
            price_msat: self.price,
            paid_msat: self.paid,
            bolt11: invoice.and_then(|i| i.bolt11.clone()),
            payment_hash: invoice.and_then(|i| i.payment_hash),
            invoice_expires_at: invoice.and_then(|i| i.expires_at),
            result_id: self.result_id,
            owed_to_buyer_msat: self.owed,
            balance_used_msat: self.balance_used,
            offer: self.terms.offer.clone(),
            encrypted: self.encryption != Encryption::Plain,
            error: self.error.clone(),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

/// One line of a job's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When.
    pub at: Time,
    /// What, one word.
    pub what: String,
    /// More, in plain words; strangers' text in it is clean.
    pub detail: String,
}
