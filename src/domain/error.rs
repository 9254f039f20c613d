//! Typed errors: one class for each part of a sale that can fail.
//!
//! Each carries a message for the operator, the cause beneath it, and where it happened. What a buyer is told is a fixed
//! sentence chosen by the code alone, so that no host, path or cause can leak through it.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

/// Where it happened. Every field is optional; strangers' text in it is clean already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The job's id, hex.
    pub job: Option<String>,
    /// The relay's url.
    pub relay: Option<String>,
    /// The endpoint's name.
    pub endpoint: Option<String>,
    /// The wallet's backend.
    pub wallet: Option<String>,
    /// The model's name.
    pub model: Option<String>,
}

impl Context {
    /// The context as ` (job 1234, relay wss://…)`, or nothing.
    #[must_use]
    pub fn suffix(&self) -> String {
        let parts: Vec<String> = [
            ("job", self.job.as_deref()),
            ("relay", self.relay.as_deref()),
            ("endpoint", self.endpoint.as_deref()),
            ("wallet", self.wallet.as_deref()),
            ("model", self.model.as_deref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| format!("{name} {value}")))
        .collect();
        if parts.is_empty() {
            String::new()
        } else {
            format!(" ({})", parts.join(", "))
        }
    }
}

/// The cause beneath an error.
pub type Cause = Box<dyn Error + Send + Sync>;

macro_rules! class {
    ($(#[$doc:meta])* $name:ident, $code:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal, $buyer:expr;)+ }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            /// Which failure it is.
            pub code: $code,
            /// For the operator: what failed and what to do.
            pub message: Cow<'static, str>,
            /// What was beneath it.
            pub cause: Option<Cause>,
            /// Where it happened.
            pub context: Context,
        }

        /// The failures of this class.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $code { $($(#[$vdoc])* $variant,)+ }

        impl $code {
            /// Every failure of this class.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable word for ledgers and logs.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The fixed sentence for the buyer, where one is owed.
            #[must_use]
            pub const fn buyer_sentence(self) -> Option<&'static str> {
                match self { $(Self::$variant => $buyer,)+ }
            }
        }

        impl $name {
            /// A failure with its message for the operator.
            #[must_use]
            pub fn new(code: $code, message: impl Into<Cow<'static, str>>) -> Self {
                Self { code, message: message.into(), cause: None, context: Context::default() }
            }

            /// The same, with what was beneath it.
            #[must_use]
            pub fn caused_by(mut self, cause: impl Into<Cause>) -> Self {
                self.cause = Some(cause.into());
                self
            }

            /// The same, with where it happened.
            #[must_use]
            pub fn at(mut self, context: Context) -> Self {
                self.context = context;
                self
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", self.message, self.context.suffix())
            }
        }

        impl Error for $name {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                self.cause.as_ref().map(|cause| &**cause as &(dyn Error + 'static))
            }
        }
    };
}

const NOT_CHARGED: Option<&str> = Some("The work could not be completed. You were not charged.");
const PAYMENT: Option<&str> =
    Some("Payment is temporarily unavailable here. You were not charged.");

class! {
    /// The settings, the data directory or the identity are not usable.
    ConfigError, ConfigCode {
        /// The settings file is wrong.
        Settings = "config.settings", None;
        /// A file or folder can't be used.
        Files = "config.files", None;
        /// The ledger was made by a newer vend.
        NewerLedger = "config.newer_ledger", None;
        /// The ledger is damaged.
        DamagedLedger = "config.damaged_ledger", None;
        /// Another vend holds the data directory.
        Locked = "config.locked", None;
        /// The identity can't be read.
        Identity = "config.identity", None;
    }
}

class! {
    /// A relay or a server can't be reached.
    ConnectionError, ConnectionCode {
        /// The name does not resolve.
        Dns = "connection.dns", None;
        /// The secure connection failed.
        Tls = "connection.tls", None;
        /// Nothing answers there.
        Refused = "connection.refused", None;
        /// It wants a login.
        Auth = "connection.auth", None;
        /// It ended the connection or the subscription.
        Closed = "connection.closed", None;
        /// Connected, but it delivers nothing.
        Deaf = "connection.deaf", None;
        /// No answer in time.
        TimedOut = "connection.timed_out", None;
        /// Every relay refused an event.
        AllRefused = "connection.all_refused", None;
    }
}

class! {
    /// A request that can't be taken.
    JobRequestError, JobRequestCode {
        /// Nothing to answer.
        NoInput = "request.no_input", Some("This request holds no text to answer.");
        /// An input that is not fetched.
        UnsupportedInput = "request.unsupported_input", Some("This type of input is not supported; send text.");
        /// Too much text for the model.
        TooLong = "request.too_long", Some("This request is too long.");
        /// An input event could not be found on any relay.
        InputNotFound = "request.input_not_found", Some("An input of this request was not found on the relays.");
    }
}

class! {
    /// The work failed.
    JobProcessingError, JobProcessingCode {
        /// The inference server does not answer.
        Unreachable = "processing.unreachable", NOT_CHARGED;
        /// The server does not have the model.
        ModelMissing = "processing.model_missing", NOT_CHARGED;
        /// The server has no room now.
        Busy = "processing.busy", NOT_CHARGED;
        /// The server refused our login.
        Unauthorized = "processing.unauthorized", NOT_CHARGED;
        /// The server refuses to work for the seller, as its account there is empty.
        Refused = "processing.refused", NOT_CHARGED;
        /// The server refused the request itself.
        Rejected = "processing.rejected", NOT_CHARGED;
        /// More text than the model's context holds.
        TooLong = "processing.too_long", Some("This request is too long.");
        /// The stream ended before the answer did.
        Died = "processing.died", NOT_CHARGED;
        /// No token for too long.
        Stalled = "processing.stalled", NOT_CHARGED;
        /// The job's time ran out.
        TimedOut = "processing.timed_out", NOT_CHARGED;
        /// An answer without any text.
        Empty = "processing.empty", NOT_CHARGED;
        /// An answer too large to be sent (NIP-44 holds 65,535 bytes).
        OutputTooLarge = "processing.output_too_large", NOT_CHARGED;
        /// The server cut the prompt without saying so.
        Truncated = "processing.truncated", NOT_CHARGED;
        /// What the server sent is not its protocol.
        Protocol = "processing.protocol", NOT_CHARGED;
        /// The process ended in the middle, too often.
        Interrupted = "processing.interrupted", NOT_CHARGED;
    }
}

class! {
    /// Money could not be asked for or found.
    PaymentError, PaymentCode {
        /// The wallet does not answer.
        WalletUnreachable = "payment.wallet_unreachable", PAYMENT;
        /// The wallet refused our key.
        Unauthorized = "payment.unauthorized", PAYMENT;
        /// The wallet refused to make the invoice.
        Rejected = "payment.rejected", PAYMENT;
        /// The wallet returned an invoice that is not what was asked.
        BadInvoice = "payment.bad_invoice", PAYMENT;
        /// The invoice expired before the result reached a relay.
        Undelivered = "payment.undelivered", None;
        /// The buyer did not pay in time.
        Expired = "payment.expired", None;
        /// The work could not be delivered before the held payment had to go back.
        HoldEnded = "payment.hold_ended", None;
        /// The wallet held the payment no more before it was taken.
        HoldLost = "payment.hold_lost", None;
        /// The wallet says something that needs a person.
        Attention = "payment.attention", None;
        /// The wallet does not know the invoice.
        Unknown = "payment.unknown", None;
        /// The invoice was made by another wallet than the one configured.
        OtherWallet = "payment.other_wallet", None;
    }
}

class! {
    /// The program itself failed.
    InvocationError, InvocationCode {
        /// The ledger could not be written.
        Ledger = "invocation.ledger", NOT_CHARGED;
        /// The disk is full.
        DiskFull = "invocation.disk_full", NOT_CHARGED;
        /// A task ended that must not end.
        TaskDied = "invocation.task_died", NOT_CHARGED;
        /// A step was asked for that the job's state does not allow.
        IllegalStep = "invocation.illegal_step", None;
        /// The command can't be done now.
        Refused = "invocation.refused", None;
        /// An event could not be signed or encrypted.
        Signing = "invocation.signing", NOT_CHARGED;
    }
}

/// Anything that can go wrong in the shop.
#[derive(Debug, thiserror::Error)]
pub enum DvmError {
    /// Settings, data directory, identity.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Relays and servers.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// A request that can't be taken.
    #[error(transparent)]
    JobRequest(#[from] JobRequestError),
    /// The work.
    #[error(transparent)]
    JobProcessing(#[from] JobProcessingError),
    /// Money.
    #[error(transparent)]
    Payment(#[from] PaymentError),
    /// The program itself.
    #[error(transparent)]
    Invocation(#[from] InvocationError),
}

impl DvmError {
    /// The stable word for ledgers and logs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Config(e) => e.code.as_str(),
            Self::Connection(e) => e.code.as_str(),
            Self::JobRequest(e) => e.code.as_str(),
            Self::JobProcessing(e) => e.code.as_str(),
            Self::Payment(e) => e.code.as_str(),
            Self::Invocation(e) => e.code.as_str(),
        }
    }

    /// The fixed sentence for the buyer, where one is owed.
    #[must_use]
    pub const fn buyer_sentence(&self) -> Option<&'static str> {
        match self {
            Self::Config(e) => e.code.buyer_sentence(),
            Self::Connection(e) => e.code.buyer_sentence(),
            Self::JobRequest(e) => e.code.buyer_sentence(),
            Self::JobProcessing(e) => e.code.buyer_sentence(),
            Self::Payment(e) => e.code.buyer_sentence(),
            Self::Invocation(e) => e.code.buyer_sentence(),
        }
    }

    /// The message and every cause beneath it, on one line, for a log or a terminal.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = super::text::clean(&self.to_string(), 400);
        let mut cause = self.source_of_class();
        while let Some(error) = cause {
            let next = super::text::clean(&error.to_string(), 200);
            if !text.contains(&next) {
                text.push_str(": ");
                text.push_str(&next);
            }
            cause = error.source();
        }
        text
    }

    fn source_of_class(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Config(e) => e.source(),
            Self::Connection(e) => e.source(),
            Self::JobRequest(e) => e.source(),
            Self::JobProcessing(e) => e.source(),
            Self::Payment(e) => e.source(),
            Self::Invocation(e) => e.source(),
        }
    }
}
