//! Every setting with its default. docs/configuration.md says what each is for.

mod secrets;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::screen::{BellKind, ThemeName, TimeKind};

pub use self::secrets::{Held, MASK};

/// All settings: the defaults, overlaid by the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Go online at start.
    pub start_online: bool,
    /// Relays, kinds and the profile.
    pub nostr: Nostr,
    /// How text is generated where a request does not say.
    pub text: Text,
    /// What a job costs.
    pub price: Price,
    /// When the buyer pays.
    pub payment: Payment,
    /// The Lightning wallet.
    pub wallet: Wallet,
    /// Inference servers, in the file `[[endpoint]]`.
    #[serde(rename = "endpoint")]
    pub endpoints: Endpoints,
    /// What is sold beside plain text, in the file `[[offer]]`.
    #[serde(rename = "offer", skip_serializing_if = "Offers::is_empty")]
    pub offers: Offers,
    /// What is taken and what is not.
    pub limits: Limits,
    /// When the machine may be used.
    pub machine: Machine,
    /// What is counted on the relays.
    pub market: Market,
    /// What is kept.
    pub privacy: Privacy,
    /// Copies of the ledger that are made by themselves.
    pub backup: Backup,
    /// What payments are worth in the seller's money.
    pub books: Accounting,
    /// Buying with any program that speaks to OpenAI.
    pub gateway: Gateway,
    /// How the dashboard looks.
    pub screen: Screen,
    /// The log folder.
    pub log: Log,
    /// The dashboard's keys, in the file `[keys]`: the action and its key or keys. What is left out keeps its default.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<String, KeyNames>,
}

/// `[nostr]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nostr {
    /// Relay urls, ws or wss.
    pub relays: Vec<String>,
    /// Job kinds, 5000 to 5999.
    pub kinds: Vec<u16>,
    /// Publish NIP-89 handler info and a profile when online.
    pub announce: bool,
    /// Profile name; empty: none.
    pub name: String,
    /// lud16 for the profile; empty: none.
    pub lightning_address: String,
    /// Publish also to relays that an admitted request names.
    pub buyers_relays: bool,
    /// The most proof of work for one event, bits.
    pub max_pow_bits: u8,
    /// Publish a heartbeat (kind 11998) while online.
    pub heartbeat: bool,
}

impl Default for Nostr {
    fn default() -> Self {
        Self {
            relays: [
                "wss://nostr.mom",
                "wss://relay.primal.net",
                "wss://relay.damus.io",
                "wss://nos.lol",
            ]
            .map(String::from)
            .to_vec(),
            kinds: vec![5050, 5100],
            announce: true,
            name: String::new(),
            lightning_address: String::new(),
            buyers_relays: true,
            max_pow_bits: 20,
            heartbeat: true,
        }
    }
}

/// `[text]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Text {
    /// The model sold.
    pub model: String,
    /// Instructions that stand before every conversation; empty: none.
    pub system: String,
    /// Tokens of an answer where the request does not say.
    pub max_tokens: u32,
    /// The most a buyer may ask for; none: `max_tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens_limit: Option<u32>,
    /// 0 to 2.
    pub temperature: f64,
    /// 0 to 1000.
    pub top_k: u32,
    /// Above 0, up to 1.
    pub top_p: f64,
    /// -2 to 2.
    pub frequency_penalty: f64,
    /// Models a buyer may name; empty: only `model`.
    pub allow_models: Vec<String>,
    /// What happens with a model that we do not have.
    pub other_model: OtherModel,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            model: "gemma2:latest".to_owned(),
            system: String::new(),
            max_tokens: 512,
            max_tokens_limit: None,
            temperature: 0.7,
            top_k: 40,
            top_p: 0.9,
            frequency_penalty: 0.5,
            allow_models: Vec::new(),
            other_model: OtherModel::Decline,
        }
    }
}

impl Text {
    /// The most output tokens a buyer may ask for.
    #[must_use]
    pub fn token_ceiling(&self) -> u32 {
        self.max_tokens_limit.unwrap_or(self.max_tokens)
    }
}

/// `text.other_model`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OtherModel {
    /// Not admitted.
    Decline,
    /// Ours answers, and says so.
    Substitute,
}

/// `[price]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Price {
    /// The least a job costs, sats.
    pub min_price_sats: u64,
    /// Sats for 1000 tokens, input and output.
    pub price_per_1k_tokens: u64,
    /// What is added for a request that wants to go first, percent; 0: not offered.
    pub priority_percent: u32,
    /// Prices of single models, in the file `[[price.model]]`.
    #[serde(rename = "model", skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelPrice>,
}

impl Default for Price {
    fn default() -> Self {
        Self {
            min_price_sats: 10,
            price_per_1k_tokens: 2,
            priority_percent: 0,
            models: Vec::new(),
        }
    }
}

/// `[[price.model]]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelPrice {
    /// The model.
    pub name: String,
    /// The least a job on it costs, sats; none: the general one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_price_sats: Option<u64>,
    /// Sats for 1000 input tokens.
    pub price_per_1k_input: u64,
    /// Sats for 1000 output tokens.
    pub price_per_1k_output: u64,
}

/// `[payment]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Payment {
    /// When the buyer pays.
    pub mode: PayMode,
    /// What one buyer may owe before payment is asked first, sats.
    pub credit_sats: u64,
    /// What all buyers together may owe before payment is asked first, sats.
    pub unpaid_sats_total: u64,
    /// Jobs that one buyer gets free in a day; 0: none.
    pub free_per_buyer_per_day: u32,
    /// Jobs that all buyers together get free in a day.
    pub free_per_day: u32,
    /// The longest free answer, tokens.
    pub free_max_tokens: u32,
    /// How long an invoice can be paid.
    pub invoice_expiry_secs: u64,
    /// The longest gap between two looks at an open invoice.
    pub check_every_secs: u64,
}

impl Default for Payment {
    fn default() -> Self {
        Self {
            mode: PayMode::Credit,
            credit_sats: 100,
            unpaid_sats_total: 5000,
            free_per_buyer_per_day: 0,
            free_per_day: 100,
            free_max_tokens: 128,
            invoice_expiry_secs: 3600,
            check_every_secs: 120,
        }
    }
}

/// `payment.mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PayMode {
    /// Result first; the invoice rides on it.
    After,
    /// Pay first.
    Before,
    /// After, while a buyer owes little.
    Credit,
    /// Pay first, but the payment is held, and taken only once the result is delivered.
    Hold,
}

/// `[wallet]`: which keys belong to which backend is checked after reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wallet {
    /// Which wallet.
    pub backend: Backend,
    /// An invoice of another network is refused.
    pub network: Network,
    /// spark: the account number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<u32>,
    /// nwc: the connection string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<SecretSource>,
    /// lnbits, lnd, cln, phoenixd: the server's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// lnbits: the invoice key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invoice_key: Option<SecretSource>,
    /// lnd: the macaroon; a file of LND's, or hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub macaroon: Option<SecretSource>,
    /// cln: the rune.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rune: Option<SecretSource>,
    /// phoenixd: the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretSource>,
    /// lnd, cln: path of the server's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

impl Default for Wallet {
    fn default() -> Self {
        Self {
            backend: Backend::Spark,
            network: Network::Bitcoin,
            account: None,
            uri: None,
            url: None,
            invoice_key: None,
            macaroon: None,
            rune: None,
            password: None,
            certificate: None,
        }
    }
}

/// `wallet.backend`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Spark through its helper.
    Spark,
    /// Nostr Wallet Connect (NIP-47).
    Nwc,
    /// An LNbits server.
    Lnbits,
    /// LND's REST interface.
    Lnd,
    /// Core Lightning's clnrest.
    Cln,
    /// phoenixd.
    Phoenixd,
    /// Play money on this machine.
    Sandbox,
}

impl Backend {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Spark,
        Self::Nwc,
        Self::Lnbits,
        Self::Lnd,
        Self::Cln,
        Self::Phoenixd,
        Self::Sandbox,
    ];

    /// The word in the settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spark => "spark",
            Self::Nwc => "nwc",
            Self::Lnbits => "lnbits",
            Self::Lnd => "lnd",
            Self::Cln => "cln",
            Self::Phoenixd => "phoenixd",
            Self::Sandbox => "sandbox",
        }
    }
}

/// `wallet.network`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Real money.
    Bitcoin,
    /// testnet.
    Testnet,
    /// signet.
    Signet,
    /// regtest; the sandbox's.
    Regtest,
}

impl Network {
    /// The word in the settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bitcoin => "bitcoin",
            Self::Testnet => "testnet",
            Self::Signet => "signet",
            Self::Regtest => "regtest",
        }
    }
}

/// Where a secret is: in the file itself, in an environment variable, or in a file of its own.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum SecretSource {
    /// The secret itself.
    Plain(String),
    /// `{ env = "NAME" }`
    Env {
        /// The variable.
        env: String,
    },
    /// `{ file = "PATH" }`
    File {
        /// The file.
        file: String,
    },
}

impl std::fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(_) => f.write_str("\"***\""),
            Self::Env { env } => write!(f, "{{ env = {env:?} }}"),
            Self::File { file } => write!(f, "{{ file = {file:?} }}"),
        }
    }
}

/// `[[endpoint]]`, all of them; absent: one local Ollama.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Endpoints(pub Vec<Endpoint>);

impl Default for Endpoints {
    fn default() -> Self {
        Self(vec![Endpoint::default()])
    }
}

/// `[[endpoint]]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Endpoint {
    /// Its name here; unique.
    pub name: String,
    /// Which protocol it speaks.
    pub kind: EndpointKind,
    /// Its address, as `OLLAMA_HOST` writes it too.
    pub url: String,
    /// Jobs at once.
    pub slots: u32,
    /// For servers that ask for a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<SecretSource>,
    /// ollama: the context size, one for all jobs, as changing it reloads the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_ctx: Option<u32>,
    /// Models to use on it, trusted as they stand; empty: all it lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Path of a certificate (PEM) that is trusted beside the machine's own: the server's, or its authority's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Headers of every request, for servers that want their key elsewhere.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, SecretSource>,
    /// ollama: how long the model stays loaded after a job; empty: the server's own time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<String>,
    /// May the model reason, where the server can switch it; none: no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think: Option<bool>,
    /// Texts that end an answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// openai: fields of every request, sent as they are; ollama: options.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, serde_json::Value>,
    /// The wait for the first token of a short prompt; a longer one gets more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_secs: Option<u64>,
    /// The wait from one token to the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub between_tokens_secs: Option<u64>,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            name: "local".to_owned(),
            kind: EndpointKind::Ollama,
            url: "http://127.0.0.1:11434".to_owned(),
            slots: 1,
            api_key: None,
            num_ctx: None,
            models: Vec::new(),
            certificate: None,
            headers: BTreeMap::new(),
            keep_alive: None,
            think: None,
            stop: Vec::new(),
            extra: BTreeMap::new(),
            first_token_secs: None,
            between_tokens_secs: None,
        }
    }
}

/// `[[offer]]`, all of them; absent: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offers(pub Vec<Offer>);

impl Offers {
    /// Are there none?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `[[offer]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// Its name; unique, and not "text".
    pub name: String,
    /// The kind of its requests.
    pub kind: u16,
    /// The model that answers; none: `text.model`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Instructions that stand before the conversation; none: `text.system`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// What becomes of the buyer's text; none: what is usual for the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The least a job costs, sats; none: the model's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_price_sats: Option<u64>,
    /// Sats for 1000 input tokens; none: the model's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_1k_input: Option<u64>,
    /// Sats for 1000 output tokens; none: the model's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_1k_output: Option<u64>,
    /// Tokens of an answer, and the most a buyer may ask for; none: as for plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// A sentence for the announcement; none: what is usual for the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
}

/// `endpoint.kind`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointKind {
    /// Ollama's native interface.
    Ollama,
    /// An OpenAI-compatible server.
    Openai,
    /// The tiny model inside vend.
    Builtin,
}

impl EndpointKind {
    /// The word in the settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::Openai => "openai",
            Self::Builtin => "builtin",
        }
    }
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Waiting jobs; one more is answered "busy".
    pub queue: u32,
    /// Jobs of one buyer in inference at once.
    pub per_buyer_running: u32,
    /// Admissions of one buyer in a minute.
    pub per_buyer_per_minute: u32,
    /// Admissions of all buyers in a minute.
    pub per_minute: u32,
    /// The longest prompt, bytes.
    pub prompt_bytes: u32,
    /// How long one job's inference may take.
    pub job_timeout_secs: u64,
    /// The oldest request taken.
    pub max_request_age_secs: u64,
    /// npubs; when not empty only these are served.
    pub allow: Vec<String>,
    /// npubs that are never served.
    pub block: Vec<String>,
    /// What texts of unpaid jobs may take, 2^20 bytes each.
    pub unpaid_text_mb: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue: 32,
            per_buyer_running: 2,
            per_buyer_per_minute: 6,
            per_minute: 60,
            prompt_bytes: 32_768,
            job_timeout_secs: 300,
            max_request_age_secs: 600,
            allow: Vec::new(),
            block: Vec::new(),
            unpaid_text_mb: 256,
        }
    }
}

/// `[machine]`: the computer is somebody's. A number of zero is no limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Machine {
    /// When it sells, local time; empty: always.
    pub hours: Vec<String>,
    /// What happens on battery.
    pub on_battery: OnBattery,
    /// Sell only when nobody has used keyboard, mouse or terminal for so long.
    pub idle_minutes: u32,
    /// Programs while which it pauses.
    pub pause_while: Vec<String>,
    /// The processor's use by others than vend and its endpoints.
    pub max_cpu_percent: u8,
    /// The graphics cards' use by others.
    pub max_gpu_percent: u8,
    /// The hottest graphics card.
    pub max_gpu_celsius: u8,
    /// The least free graphics memory, millions of bytes.
    pub min_free_vram_mb: u32,
    /// Ask Ollama to unload its model when nothing is queued for so long.
    pub unload_after_minutes: u32,
    /// What the machine draws while it works, where it does not measure that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watts: Option<u32>,
    /// What a kilowatt hour costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_per_kwh: Option<f64>,
    /// The money of that price; none: that of the books.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            hours: Vec::new(),
            on_battery: OnBattery::Sell,
            idle_minutes: 0,
            pause_while: Vec::new(),
            max_cpu_percent: 0,
            max_gpu_percent: 0,
            max_gpu_celsius: 0,
            min_free_vram_mb: 0,
            unload_after_minutes: 0,
            watts: None,
            price_per_kwh: None,
            currency: None,
        }
    }
}

/// `machine.on_battery`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBattery {
    /// It sells on.
    Sell,
    /// It takes no new work.
    Pause,
}

/// `[market]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Market {
    /// Count what is asked and announced on our relays.
    pub watch: bool,
}

impl Default for Market {
    fn default() -> Self {
        Self { watch: true }
    }
}

/// `[privacy]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Privacy {
    /// Prompts and answers of finished jobs are erased after this.
    pub keep_content_hours: u64,
}

impl Default for Privacy {
    fn default() -> Self {
        Self {
            keep_content_hours: 24,
        }
    }
}

/// `[backup]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backup {
    /// A copy is made this often; 0: none.
    pub every_hours: u64,
    /// So many are kept, the newest.
    pub keep: u32,
    /// Where they go; empty: `backups` in the data directory.
    pub folder: String,
}

impl Default for Backup {
    fn default() -> Self {
        Self {
            every_hours: 0,
            keep: 7,
            folder: String::new(),
        }
    }
}

/// `[books]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Accounting {
    /// Path of a CSV file with the price of one bitcoin by day; none: receipts have no value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rates: Option<String>,
    /// The money of those prices.
    pub currency: String,
}

impl Default for Accounting {
    fn default() -> Self {
        Self {
            rates: None,
            currency: "EUR".to_owned(),
        }
    }
}

/// `[gateway]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gateway {
    /// Where it listens with the shop; empty: it does not.
    pub listen: String,
    /// The connection string of the wallet that pays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nwc: Option<SecretSource>,
    /// The most that one request may cost.
    pub max_sats_per_request: u64,
    /// The most that is spent in 24 hours.
    pub max_sats_per_day: u64,
    /// This machine's own endpoints answer where they have the model.
    pub own_first: bool,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            listen: String::new(),
            nwc: None,
            max_sats_per_request: 100,
            max_sats_per_day: 2_000,
            own_first: true,
        }
    }
}

/// `[screen]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Screen {
    /// Clicks and the wheel go to the dashboard; selecting text with the mouse then needs shift.
    pub mouse: bool,
    /// The colours.
    pub theme: ThemeName,
    /// The terminal's title tells the state and today's sats.
    pub title: bool,
    /// How a payment, and what needs somebody, is noticed.
    pub bell: BellKind,
    /// The times that it shows.
    pub time: TimeKind,
}

impl Default for Screen {
    fn default() -> Self {
        Self {
            mouse: false,
            theme: ThemeName::default(),
            title: true,
            bell: BellKind::default(),
            time: TimeKind::default(),
        }
    }
}

/// `[log]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The most that one day's file may take, in millions of bytes; what does not fit is left out.
    pub max_mb: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self { max_mb: 256 }
    }
}

/// The keys of one action in `[keys]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum KeyNames {
    /// `online = "o"`
    One(String),
    /// `copy = ["y", "ctrl-y"]`
    Many(Vec<String>),
}

impl KeyNames {
    /// All of them.
    #[must_use]
    pub const fn all(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names.as_slice(),
        }
    }
}
