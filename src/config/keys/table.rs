//! The table of all settings, in the order of the file.

use super::{Key, Rule, Section, Shape};

const SATS_MAX: i64 = 100_000_000;
const DAY_SECS: i64 = 86_400;
const YEAR_SECS: i64 = 365 * DAY_SECS;

const fn sats(max: i64) -> Shape {
    Shape::Whole {
        min: 0,
        max,
        unit: "sats",
    }
}

const fn seconds(max: i64) -> Shape {
    Shape::Whole {
        min: 1,
        max,
        unit: "seconds",
    }
}

const fn count(min: i64, max: i64, unit: &'static str) -> Shape {
    Shape::Whole { min, max, unit }
}

const fn number(min: f64, max: f64) -> Shape {
    Shape::Number {
        min,
        max,
        above: false,
    }
}

const fn key(section: Section, field: &'static str, shape: Shape, help: &'static str) -> Key {
    Key {
        section,
        field,
        shape,
        help,
        optional: false,
        example: "",
    }
}

impl Key {
    const fn optional(mut self, example: &'static str) -> Self {
        self.optional = true;
        self.example = example;
        self
    }

    const fn example(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }
}

use Section::{
    Accounting, Backup, Endpoint, Gateway, Keys, Limits, Log, Machine, Market, Nostr, Offer,
    Payment, Price, PriceModel, Privacy, Root, Screen, Text, Wallet,
};

/// Every setting, in the order of the file.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key(Root, "start_online", Shape::Flag,
        "Go online as soon as the program starts."),

    key(Nostr, "relays", Shape::Texts(Rule::Relay),
        "Relays to listen on and to answer to."),
    key(Nostr, "kinds", Shape::Wholes { min: 5_000, max: 5_999 },
        "Job kinds that are served (NIP-90); text generation is what is served."),
    key(Nostr, "announce", Shape::Flag,
        "Publish the shop's handler information (NIP-89) and its profile when online."),
    key(Nostr, "name", Shape::Text(Rule::Line),
        "The profile's name; empty: none."),
    key(Nostr, "lightning_address", Shape::Text(Rule::LightningAddress),
        "The profile's lightning address (lud16), for zaps; empty: none."),
    key(Nostr, "buyers_relays", Shape::Flag,
        "Answer also on public relays that an admitted request names, which then learn this machine's address."),
    key(Nostr, "max_pow_bits", count(0, 30, "bits"),
        "The most proof of work for one event, two seconds at most; a relay that wants more is left out, and says so."),
    key(Nostr, "heartbeat", Shape::Flag,
        "Tell clients every five minutes that the shop is there (kind 11998), where it is announced; many hide sellers that do not."),

    key(Text, "model", Shape::Text(Rule::Name),
        "The model that is sold, as the inference server names it."),
    key(Text, "system", Shape::Text(Rule::Prose),
        "Instructions that stand before every conversation; their tokens are billed; empty: none."),
    key(Text, "max_tokens", count(1, 1_000_000, "tokens"),
        "The length of an answer; also the most a buyer may ask for, unless max_tokens_limit is set."),
    key(Text, "max_tokens_limit", count(1, 1_000_000, "tokens"),
        "The most a buyer may ask for; not below max_tokens.").optional("2048"),
    key(Text, "temperature", number(0.0, 2.0),
        "How freely words are chosen: 0 takes the likeliest."),
    key(Text, "top_k", count(0, 1_000, ""),
        "Choose among this many of the likeliest tokens; 0: among all."),
    key(Text, "top_p", Shape::Number { min: 0.0, max: 1.0, above: true },
        "Choose among the likeliest tokens that together have this probability."),
    key(Text, "frequency_penalty", number(-2.0, 2.0),
        "How much a token that came often is held back."),
    key(Text, "allow_models", Shape::Texts(Rule::Name),
        "Models a buyer may name; empty: only model."),
    key(Text, "other_model", Shape::Word(&["decline", "substitute"]),
        "A model we do not have: decline the job, or substitute our own and say so in feedback and result."),

    key(Price, "min_price_sats", sats(SATS_MAX),
        "The least a job costs."),
    key(Price, "price_per_1k_tokens", sats(SATS_MAX),
        "The price of 1000 tokens, input and output together."),
    key(Price, "priority_percent", count(0, 10_000, "percent"),
        "What is added to the price of a request that wants to go first (the parameter priority, high); 0: not offered."),

    key(PriceModel, "name", Shape::Text(Rule::Name),
        "The model these prices are for.").example("\"llama3:70b\""),
    key(PriceModel, "min_price_sats", sats(SATS_MAX),
        "The least a job on it costs; left out: the general minimum.").optional("50"),
    key(PriceModel, "price_per_1k_input", sats(SATS_MAX),
        "The price of 1000 input tokens.").example("4"),
    key(PriceModel, "price_per_1k_output", sats(SATS_MAX),
        "The price of 1000 output tokens.").example("12"),

    key(Payment, "mode", Shape::Word(&["after", "before", "credit", "hold"]),
        "after: the result first, with its invoice on it; before: pay first; credit: after, while a buyer owes little; hold: pay first, taken on delivery."),
    key(Payment, "credit_sats", sats(SATS_MAX),
        "What one buyer may owe before payment is asked first."),
    key(Payment, "unpaid_sats_total", sats(SATS_MAX),
        "What all buyers together may owe, and have left unpaid in the last 24 hours, before payment is asked first."),
    key(Payment, "free_per_buyer_per_day", count(0, 100_000, "jobs"),
        "Jobs that one buyer gets free in a day (UTC); 0: none."),
    key(Payment, "free_per_day", count(0, 1_000_000, "jobs"),
        "Jobs that all buyers together get free in a day, however many keys they have."),
    key(Payment, "free_max_tokens", count(1, 1_000_000, "tokens"),
        "The longest free answer; a request that asks for a longer one is not free."),
    key(Payment, "invoice_expiry_secs", seconds(YEAR_SECS),
        "How long an invoice can be paid."),
    key(Payment, "check_every_secs", seconds(DAY_SECS),
        "The longest gap between two looks at an open invoice; a fresh one is looked at every few seconds."),

    key(Wallet, "backend", Shape::Word(&["spark", "nwc", "lnbits", "lnd", "cln", "phoenixd", "sandbox"]),
        "Which wallet takes the money; sandbox is play money on this machine."),
    key(Wallet, "network", Shape::Word(&["bitcoin", "testnet", "signet", "regtest"]),
        "The network the money is on; an invoice of another one is refused."),
    key(Wallet, "account", count(0, 2_147_483_647, ""),
        "spark: the account number; left out: 1.").optional("1"),
    key(Wallet, "uri", Shape::Secret,
        "nwc: the connection string, best one that can only receive.").optional("{ env = \"VEND_NWC\" }"),
    key(Wallet, "url", Shape::Text(Rule::Http),
        "lnbits, lnd, cln, phoenixd: the server's address.").optional("\"https://lnbits.example\""),
    key(Wallet, "invoice_key", Shape::Secret,
        "lnbits: the wallet's invoice key; the admin key is not needed.").optional("{ file = \"lnbits.key\" }"),
    key(Wallet, "macaroon", Shape::Secret,
        "lnd: the invoice macaroon, its file as it is or its hex digits.").optional("{ file = \"invoice.macaroon\" }"),
    key(Wallet, "rune", Shape::Secret,
        "cln: a rune for the calls that make and look up invoices.").optional("{ file = \"cln.rune\" }"),
    key(Wallet, "password", Shape::Secret,
        "phoenixd: the http password; the limited-access one suffices.").optional("{ env = \"PHOENIXD_PASSWORD\" }"),
    key(Wallet, "certificate", Shape::Text(Rule::Path),
        "lnd, cln: the server's certificate (PEM), when it signed its own.").optional("\"tls.cert\""),

    key(Endpoint, "name", Shape::Text(Rule::Name),
        "What it is called here; each has its own name."),
    key(Endpoint, "kind", Shape::Word(&["ollama", "openai", "builtin"]),
        "ollama: Ollama's own interface; openai: a compatible server; builtin: the tiny model inside vend."),
    key(Endpoint, "url", Shape::Text(Rule::Server),
        "Its address, as the server's documentation prints it. For ollama anything OLLAMA_HOST may hold; builtin needs none."),
    key(Endpoint, "slots", count(1, 64, "jobs"),
        "Jobs at once on it."),
    key(Endpoint, "api_key", Shape::Secret,
        "For a server that asks for a key.").optional("{ env = \"OPENAI_API_KEY\" }"),
    key(Endpoint, "num_ctx", count(1, 10_000_000, "tokens"),
        "ollama: the context size, the same for all jobs, as a change reloads the model.").optional("8192"),
    key(Endpoint, "models", Shape::Texts(Rule::Name),
        "Models to use on it, trusted as they stand, whatever it lists; left out: all it lists.").optional("[\"gemma2:latest\"]"),
    key(Endpoint, "certificate", Shape::Text(Rule::Path),
        "A certificate to trust (PEM): the server's own, when it signed itself, or its authority's.").optional("\"ca.pem\""),
    key(Endpoint, "headers", Shape::Secrets,
        "Headers of every request, for a server that wants its key in another place than api_key puts it.").optional("{ X-Api-Key = { file = \"key\" } }"),
    key(Endpoint, "keep_alive", Shape::Text(Rule::Line),
        "ollama: how long the model stays loaded after a job, as 10m (which is used where this is left out); empty: the server's own time.").optional("\"10m\""),
    key(Endpoint, "think", Shape::Flag,
        "May the model reason before it answers, where the server can switch that; its tokens are billed. Left out: no for ollama, the server's own way for openai.").optional("false"),
    key(Endpoint, "stop", Shape::Texts(Rule::Stop),
        "Texts that end an answer.").optional("[\"</s>\"]"),
    key(Endpoint, "extra", Shape::Table,
        "openai: fields of every request, sent as they are; ollama: options.").optional("{ min_p = 0.05 }"),
    key(Endpoint, "first_token_secs", seconds(DAY_SECS),
        "How long the first token of a short prompt is waited for; a longer prompt gets more, and so does a second try. Left out: 120.").optional("120"),
    key(Endpoint, "between_tokens_secs", seconds(DAY_SECS),
        "How long the next token is waited for. Left out: 30.").optional("30"),

    key(Offer, "name", Shape::Text(Rule::Name),
        "What it is called, in announcements, jobs and figures; each has its own name, and \"text\" is the plain one's.").example("\"translate\""),
    key(Offer, "kind", count(5_000, 5_999, ""),
        "The kind of its requests: 5001 is a summary, 5002 a translation, 5050 plain text; any other text service has its own.").example("5002"),
    key(Offer, "model", Shape::Text(Rule::Name),
        "The model that answers, a fine-tuned one too, as the server names it; left out: text.model.").optional("\"gemma2:latest\""),
    key(Offer, "system", Shape::Text(Rule::Prose),
        "Instructions that stand before the conversation; their tokens are billed; left out: text.system.").optional("\"Keep names as they are.\""),
    key(Offer, "template", Shape::Text(Rule::Prose),
        "What the model is told: {input} is the buyer's text, {language} and {length} what it asked for; left out: what is usual for the kind.").optional("\"Translate into {language}: {input}\""),
    key(Offer, "min_price_sats", sats(SATS_MAX),
        "The least a job costs; left out: the model's.").optional("5"),
    key(Offer, "price_per_1k_input", sats(SATS_MAX),
        "The price of 1000 input tokens; left out: the model's.").optional("1"),
    key(Offer, "price_per_1k_output", sats(SATS_MAX),
        "The price of 1000 output tokens; left out: the model's.").optional("2"),
    key(Offer, "max_tokens", count(1, 1_000_000, "tokens"),
        "The length of an answer, and the most a buyer may ask for; left out: as for plain text.").optional("1024"),
    key(Offer, "about", Shape::Text(Rule::Line),
        "A sentence for its announcement; left out: what is usual for the kind.").optional("\"Translations by a local model\""),

    key(Limits, "queue", count(1, 100_000, "jobs"),
        "Waiting jobs; one more is answered \"busy\"."),
    key(Limits, "per_buyer_running", count(1, 1_000, "jobs"),
        "Jobs of one buyer that run at once."),
    key(Limits, "per_buyer_per_minute", count(1, 100_000, "jobs"),
        "Jobs taken from one buyer in a minute."),
    key(Limits, "per_minute", count(1, 100_000, "jobs"),
        "Jobs taken from all buyers together in a minute."),
    key(Limits, "prompt_bytes", count(1, 1_048_576, "bytes"),
        "The longest prompt."),
    key(Limits, "job_timeout_secs", seconds(DAY_SECS),
        "How long one job's inference may take."),
    key(Limits, "max_request_age_secs", seconds(YEAR_SECS),
        "The oldest request that is taken."),
    key(Limits, "allow", Shape::Texts(Rule::Person),
        "npubs; when not empty only these are served."),
    key(Limits, "block", Shape::Texts(Rule::Person),
        "npubs that are never served."),
    key(Limits, "unpaid_text_mb", count(1, 1_048_576, "megabytes"),
        "What requests and answers that nobody has paid for may take in the ledger; beyond it the oldest are erased."),

    key(Machine, "hours", Shape::Texts(Rule::Hours),
        "When it sells, in local time, as mon-fri 22:00-07:00 or sat,sun 00:00-24:00; empty: always."),
    key(Machine, "on_battery", Shape::Word(&["sell", "pause"]),
        "What happens while the machine runs on battery."),
    key(Machine, "idle_minutes", count(0, 10_080, "minutes"),
        "Sell only when nobody has used keyboard, mouse or terminal for so long."),
    key(Machine, "pause_while", Shape::Texts(Rule::Name),
        "Names of programs; while one of them runs, no new work is taken."),
    key(Machine, "max_cpu_percent", count(0, 100, "percent"),
        "The most that others than vend and its inference servers may use of all processors."),
    key(Machine, "max_gpu_percent", count(0, 100, "percent"),
        "The most that others may use of a graphics card."),
    key(Machine, "max_gpu_celsius", count(0, 150, "degrees"),
        "The hottest that a graphics card may be."),
    key(Machine, "min_free_vram_mb", count(0, 10_000_000, "megabytes"),
        "The least graphics memory that others must leave."),
    key(Machine, "unload_after_minutes", count(0, 10_080, "minutes"),
        "Ask Ollama to unload the model when nothing has been queued for so long."),
    key(Machine, "watts", count(1, 100_000, "watts"),
        "What the machine draws while it works, where it does not measure that itself.").optional("250"),
    key(Machine, "price_per_kwh", number(0.0, 1_000_000.0),
        "What a kilowatt hour costs, for what a model earns in `vend stats`.").optional("0.30"),
    key(Machine, "currency", Shape::Text(Rule::Currency),
        "The money of that price; left out: books.currency.").optional("\"EUR\""),

    key(Market, "watch", Shape::Flag,
        "Count what is asked and announced on the shop's relays, for `vend market`; 90 days are kept."),

    key(Privacy, "keep_content_hours", count(0, 87_600, "hours"),
        "Prompts and answers of finished jobs are erased from the ledger after this; 0: at once."),

    key(Backup, "every_hours", count(0, 8_760, "hours"),
        "A verified copy of the ledger is made this often; 0: none."),
    key(Backup, "keep", count(1, 10_000, "copies"),
        "So many copies are kept, the newest."),
    key(Backup, "folder", Shape::Text(Rule::Line),
        "Where they go, best another disk; empty: `backups` in the data directory."),

    key(Accounting, "rates", Shape::Text(Rule::Path),
        "CSV with date and the price of one bitcoin on that day, for the value of receipts.").optional("\"rates.csv\""),
    key(Accounting, "currency", Shape::Text(Rule::Currency),
        "The money of those prices."),

    key(Gateway, "listen", Shape::Text(Rule::Listen),
        "Where the gateway listens with the shop, as 127.0.0.1:8450; empty: it does not run with it."),
    key(Gateway, "nwc", Shape::Secret,
        "The connection string of the wallet that pays: one that can spend, best with a budget.").optional("{ file = \"spending.nwc\" }"),
    key(Gateway, "max_sats_per_request", sats(SATS_MAX),
        "The most that one request may cost."),
    key(Gateway, "max_sats_per_day", sats(SATS_MAX),
        "The most that is spent in 24 hours."),
    key(Gateway, "own_first", Shape::Flag,
        "Where this machine's own endpoints have the model they answer, and nothing is bought."),

    key(Screen, "mouse", Shape::Flag,
        "Clicks and the wheel work; selecting text with the mouse then needs shift."),
    key(Screen, "theme", Shape::Word(&["dark", "light", "contrast"]),
        "The dashboard's colours, for a dark or a light terminal, or with the most contrast; dark turns to light where COLORFGBG says so."),

    key(Screen, "title", Shape::Flag,
        "The terminal's title tells the state and today's sats."),
    key(Screen, "bell", Shape::Word(&["off", "bell", "notify"]),
        "How a payment, and what needs you, is noticed: the terminal's bell, or a notice of the desktop where the terminal passes it on (OSC 9)."),
    key(Screen, "time", Shape::Word(&["local", "utc"]),
        "The times that the dashboard shows; JSON is always UTC."),

    key(Log, "max_mb", count(1, 1_000_000, "MB"),
        "The most that one day's log may take; what does not fit is left out and counted."),

    key(Keys, "NAME", Shape::Presses,
        "The key of an action, or a list of keys; left out: its own.").optional("\"o\""),
];
