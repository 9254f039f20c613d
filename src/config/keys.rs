//! Every setting described once: its type, its range, what it is for and when it applies.
//!
//! Reading, `config get` and `config set`, the Settings form, `config init` and docs/configuration.md are all driven by this
//! table. The defaults are not in it: they are those of [`Settings`], so that there is one place for them.

use std::borrow::Cow;

use toml_edit::{Item, TableLike, Value};

use super::schema::Settings;

pub use super::force::Applies;

mod rule;
mod shape;
mod table;

pub use rule::Rule;
pub use shape::{Shape, Wrong};
pub use table::KEYS;

/// A table of the file, and a group of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Section {
    /// What stands before the first table.
    Root,
    /// `[nostr]`
    Nostr,
    /// `[text]`
    Text,
    /// `[price]`
    Price,
    /// `[[price.model]]`
    PriceModel,
    /// `[payment]`
    Payment,
    /// `[wallet]`
    Wallet,
    /// `[[endpoint]]`
    Endpoint,
    /// `[[offer]]`
    Offer,
    /// `[limits]`
    Limits,
    /// `[machine]`
    Machine,
    /// `[market]`
    Market,
    /// `[privacy]`
    Privacy,
    /// `[backup]`
    Backup,
    /// `[books]`
    Accounting,
    /// `[gateway]`
    Gateway,
    /// `[screen]`
    Screen,
    /// `[log]`
    Log,
    /// `[keys]`
    Keys,
}

impl Section {
    /// Every section, in the order of the file.
    pub const ALL: [Self; 19] = [
        Self::Root,
        Self::Nostr,
        Self::Text,
        Self::Price,
        Self::PriceModel,
        Self::Payment,
        Self::Wallet,
        Self::Endpoint,
        Self::Offer,
        Self::Limits,
        Self::Machine,
        Self::Market,
        Self::Privacy,
        Self::Backup,
        Self::Accounting,
        Self::Gateway,
        Self::Screen,
        Self::Log,
        Self::Keys,
    ];

    /// The way to it from the top of the file.
    #[must_use]
    pub const fn path(self) -> &'static [&'static str] {
        match self {
            Self::Root => &[],
            Self::Nostr => &["nostr"],
            Self::Text => &["text"],
            Self::Price => &["price"],
            Self::PriceModel => &["price", "model"],
            Self::Payment => &["payment"],
            Self::Wallet => &["wallet"],
            Self::Endpoint => &["endpoint"],
            Self::Offer => &["offer"],
            Self::Limits => &["limits"],
            Self::Machine => &["machine"],
            Self::Market => &["market"],
            Self::Privacy => &["privacy"],
            Self::Backup => &["backup"],
            Self::Accounting => &["books"],
            Self::Gateway => &["gateway"],
            Self::Screen => &["screen"],
            Self::Log => &["log"],
            Self::Keys => &["keys"],
        }
    }

    /// Is it a list of tables, each with a name?
    #[must_use]
    pub const fn repeated(self) -> bool {
        matches!(self, Self::PriceModel | Self::Endpoint | Self::Offer)
    }

    /// May its keys have any name? The dashboard knows which of them are actions.
    #[must_use]
    pub const fn free(self) -> bool {
        matches!(self, Self::Keys)
    }

    /// Its header in the file; empty for the top.
    #[must_use]
    pub fn header(self) -> String {
        let path = self.path().join(".");
        match (path.is_empty(), self.repeated()) {
            (true, _) => path,
            (false, true) => format!("[[{path}]]"),
            (false, false) => format!("[{path}]"),
        }
    }

    /// What the form calls it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Root => "Start",
            Self::Nostr => "Nostr",
            Self::Text => "Text generation",
            Self::Price => "Price",
            Self::PriceModel => "Price of one model",
            Self::Payment => "Payment",
            Self::Wallet => "Wallet",
            Self::Endpoint => "Inference server",
            Self::Offer => "Offer",
            Self::Limits => "Limits",
            Self::Machine => "Machine",
            Self::Market => "Market",
            Self::Privacy => "Privacy",
            Self::Backup => "Backup",
            Self::Accounting => "Books",
            Self::Gateway => "Gateway",
            Self::Screen => "Screen",
            Self::Log => "Log",
            Self::Keys => "Keys",
        }
    }

    /// What it is about, in a sentence.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::Root => "What happens when the program starts.",
            Self::Nostr => "Where the shop listens, and how it presents itself.",
            Self::Text => "How text is generated where a request does not say.",
            Self::Price => {
                "What a job costs: the tokens at their price, but never less than the minimum."
            }
            Self::PriceModel => {
                "Prices of a single model, in place of the general ones. One table for each model."
            }
            Self::Payment => "When the buyer pays, and how far a buyer is trusted.",
            Self::Wallet => {
                "The Lightning wallet. A key that belongs to another backend is an error."
            }
            Self::Endpoint => {
                "Where the model runs. One table for each server; without any, a local Ollama is used."
            }
            Self::Offer => {
                "What is sold beside plain text: a summary, a translation, a model under a price of its own. One table for each; each is announced by itself."
            }
            Self::Limits => "What is taken and what is not.",
            Self::Machine => {
                "When the machine may be used for selling; running work is always finished. A number of 0 is no limit."
            }
            Self::Market => "What `vend market` tells of the relays.",
            Self::Privacy => "What is kept.",
            Self::Backup => "Copies of the ledger that vend makes by itself.",
            Self::Accounting => {
                "What payments are worth in the seller's own money (docs/operations.md)."
            }
            Self::Gateway => {
                "Buying answers with any program that speaks to OpenAI (docs/gateway.md)."
            }
            Self::Screen => "How the dashboard looks.",
            Self::Log => "The log folder in the data directory: a file a day, fourteen of them.",
            Self::Keys => {
                "The dashboard's keys: an action's name and its key or keys (docs/keys.md lists both)."
            }
        }
    }
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The table it is in.
    pub section: Section,
    /// Its name in that table.
    pub field: &'static str,
    /// Its type and range.
    pub shape: Shape,
    /// What it is for, in one line.
    pub help: &'static str,
    /// Whether it may be left out and then means "none". Others have a default, or are [`Key::required`].
    pub optional: bool,
    /// What it could look like, as TOML: for keys without a default.
    pub example: &'static str,
}

impl Key {
    /// The dotted name. In a list of tables the word `NAME` stands for the table's `name`, in a table of free names for the
    /// key itself.
    #[must_use]
    pub fn name(&self) -> Cow<'static, str> {
        if self.section == Section::Root {
            return Cow::Borrowed(self.field);
        }
        let name = if self.section.repeated() { ".NAME" } else { "" };
        Cow::Owned(format!(
            "{}{name}.{}",
            self.section.path().join("."),
            self.field
        ))
    }

    /// When a change takes effect: as its table's type says.
    #[must_use]
    pub const fn applies(&self) -> Applies {
        self.section.applies()
    }

    /// Is its value never shown?
    #[must_use]
    pub const fn is_secret(&self) -> bool {
        matches!(self.shape, Shape::Secret)
    }

    /// Must each table of its list have it?
    #[must_use]
    pub fn required(&self) -> bool {
        matches!(self.section, Section::PriceModel | Section::Offer) && !self.optional
    }

    /// Its name in a table; `name` is what [`find`] gave.
    #[must_use]
    pub fn field_of<'a>(&self, name: Option<&'a str>) -> &'a str
    where
        Self: 'a,
    {
        match name {
            Some(name) if self.section.free() => name,
            _ => self.field,
        }
    }

    /// The type and range in words, as errors say it.
    #[must_use]
    pub fn allowed(&self) -> String {
        self.shape.allowed()
    }

    /// The default as `config set` takes it; none where there is none.
    #[must_use]
    pub fn default_text(&self) -> Option<String> {
        let name = self.section.repeated().then_some("local");
        self.text_in(&Settings::default(), name)
    }

    /// The value in `settings` as `config set` takes it; none where it is not set. `name` says which table of a list.
    /// A secret that is in the settings themselves reads `***`.
    #[must_use]
    pub fn text_in(&self, settings: &Settings, name: Option<&str>) -> Option<String> {
        // Only a number above TOML's range can't be written, and none of those passes the checks.
        let document = toml_edit::ser::to_document(settings).ok()?;
        let value = self.value_in(document.as_table(), name)?;
        Some(self.shape.text(value))
    }

    /// The value in a document.
    pub(super) fn value_in<'a>(
        &self,
        root: &'a dyn TableLike,
        name: Option<&str>,
    ) -> Option<&'a Value> {
        let mut table = root;
        let path = self.section.path();
        for (depth, word) in path.iter().enumerate() {
            let item = table.get(word)?;
            table = if self.section.repeated() && depth + 1 == path.len() {
                tables(item)
                    .into_iter()
                    .find(|table| is_named(*table, name))?
            } else {
                item.as_table_like()?
            };
        }
        table.get(self.field_of(name))?.as_value()
    }
}

/// The tables of a list of tables, however it is written.
pub(super) fn tables(item: &Item) -> Vec<&dyn TableLike> {
    if let Some(list) = item.as_array_of_tables() {
        return list.iter().map(|table| table as &dyn TableLike).collect();
    }
    item.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_inline_table)
        .map(|table| table as &dyn TableLike)
        .collect()
}

/// Is this the table called `name`? An endpoint without a name has the default's.
pub(super) fn is_named(table: &dyn TableLike, name: Option<&str>) -> bool {
    let own = table.get("name").map_or(Some("local"), Item::as_str);
    own.is_some() && own == name
}

/// The keys of one section, in the order of the file.
pub fn of(section: Section) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.section == section)
}

/// The key with this dotted name, and for a list of tables the name of the table: `endpoint.local.url` is the key
/// `endpoint.NAME.url` and `local`. A name may hold dots, as models' do.
#[must_use]
pub fn find(dotted: &str) -> Option<(&'static Key, Option<&str>)> {
    for key in KEYS {
        if key.section.free() {
            let own = dotted.strip_prefix(key.section.path().join(".").as_str());
            let own = own.and_then(|rest| rest.strip_prefix('.'));
            let is_word = |name: &&str| !name.is_empty() && name.bytes().all(is_free);
            if let Some(name) = own.filter(is_word) {
                return Some((key, Some(name)));
            }
            continue;
        }
        if !key.section.repeated() {
            if key.name() == dotted {
                return Some((key, None));
            }
            continue;
        }
        let name = dotted
            .strip_prefix(&key.section.path().join("."))
            .and_then(|rest| rest.strip_prefix('.'))
            .and_then(|rest| rest.strip_suffix(key.field))
            .and_then(|rest| rest.strip_suffix('.'))
            .filter(|name| !name.is_empty());
        if name.is_some() {
            return Some((key, name));
        }
    }
    None
}

/// A byte of a free name.
const fn is_free(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// The one of `known` that was probably meant.
#[must_use]
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of all values in a serialised table, below `path`.
    fn names(table: &dyn TableLike, path: &str, out: &mut Vec<String>) {
        for (word, item) in table.iter() {
            let name = format!("{path}{word}");
            let free = |key: &&Key| {
                key.name() == name && matches!(key.shape, Shape::Secrets | Shape::Table)
            };
            if KEYS.iter().any(|key| free(&key)) {
                out.push(name);
            } else if let Some(table) = item.as_table_like() {
                names(table, &format!("{name}."), out);
            } else if !tables(item).is_empty() {
                for table in tables(item) {
                    names(table, &format!("{name}.NAME."), out);
                }
            } else {
                out.push(name);
            }
        }
    }

    #[test]
    fn every_setting_of_the_schema_is_described() {
        use crate::config::schema::{ModelPrice, Offer, SecretSource};
        let mut full = Settings::default();
        let secret = || Some(SecretSource::Plain("x".to_owned()));
        full.text.max_tokens_limit = Some(600);
        full.price.models = vec![ModelPrice {
            name: "m".to_owned(),
            min_price_sats: Some(1),
            price_per_1k_input: 1,
            price_per_1k_output: 1,
        }];
        let some = || Some("x".to_owned());
        full.offers.0 = vec![Offer {
            name: "o".to_owned(),
            kind: 5002,
            model: some(),
            system: some(),
            template: some(),
            min_price_sats: Some(1),
            price_per_1k_input: Some(1),
            price_per_1k_output: Some(1),
            max_tokens: Some(1),
            about: some(),
        }];
        full.wallet.account = Some(1);
        full.wallet.uri = secret();
        full.wallet.url = Some("http://x".to_owned());
        full.wallet.invoice_key = secret();
        full.wallet.macaroon = secret();
        full.wallet.rune = secret();
        full.wallet.password = secret();
        full.wallet.certificate = Some("x".to_owned());
        full.books.rates = Some("x".to_owned());
        full.machine.watts = Some(250);
        full.machine.price_per_kwh = Some(0.3);
        full.machine.currency = Some("EUR".to_owned());
        full.gateway.nwc = secret();
        full.endpoints.0[0].api_key = secret();
        full.endpoints.0[0].num_ctx = Some(8192);
        full.endpoints.0[0].models = vec!["m".to_owned()];
        let endpoint = &mut full.endpoints.0[0];
        endpoint.certificate = Some("x".to_owned());
        endpoint
            .headers
            .insert("x".to_owned(), SecretSource::Plain("x".to_owned()));
        endpoint.keep_alive = Some("10m".to_owned());
        endpoint.think = Some(false);
        endpoint.stop = vec!["x".to_owned()];
        endpoint.extra.insert("x".to_owned(), 1.into());
        endpoint.first_token_secs = Some(1);
        endpoint.between_tokens_secs = Some(1);
        let names_of = crate::config::schema::KeyNames::One("o".to_owned());
        full.keys.insert("NAME".to_owned(), names_of);
        let mut in_schema = Vec::new();
        let document = toml_edit::ser::to_document(&full).unwrap();
        names(document.as_table(), "", &mut in_schema);
        let mut described: Vec<String> = KEYS.iter().map(|key| key.name().into_owned()).collect();
        in_schema.sort();
        described.sort();
        assert_eq!(in_schema, described);
    }

    #[test]
    fn every_default_is_a_value_the_key_takes() {
        for key in KEYS {
            let default = key.default_text();
            assert_eq!(
                default.is_none(),
                key.optional || key.required(),
                "{}",
                key.name()
            );
            if let Some(text) = default {
                key.shape.parse(&text).unwrap_or_else(|wrong| {
                    panic!("{}: {text}: {wrong:?}", key.name());
                });
            }
        }
    }

    #[test]
    fn every_example_is_a_value_the_key_takes() {
        for key in KEYS.iter().filter(|key| !key.example.is_empty()) {
            let value: Value = key.example.parse().unwrap();
            key.shape.check(&value).unwrap();
        }
    }

    #[test]
    fn a_table_in_a_list_is_found_by_its_name() {
        let (key, name) = find("endpoint.local.url").unwrap();
        assert_eq!(
            (key.name().as_ref(), name),
            ("endpoint.NAME.url", Some("local"))
        );
        let (key, name) = find("price.model.llama3.1:70b.price_per_1k_input").unwrap();
        assert_eq!(
            (key.field, name),
            ("price_per_1k_input", Some("llama3.1:70b"))
        );
        assert!(find("endpoint.url").is_none());
        assert!(find("price.model").is_none());
    }

    #[test]
    fn a_slip_finds_the_word_that_was_meant() {
        let known = ["min_price_sats", "price_per_1k_tokens"];
        assert_eq!(did_you_mean("min_price_sat", known), Some("min_price_sats"));
        assert_eq!(did_you_mean("zebra", known), None);
    }
}
