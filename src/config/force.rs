//! When a changed setting is in force: the type of its table says it. Live tables are read at each use; those of a session are
//! taken when the shop goes online, and stay as they are until it is offline.

use std::collections::{BTreeMap, BTreeSet};

use toml_edit::TableLike;

use super::keys::{self, KEYS, Key, Section};
use super::schema::{
    Accounting, Backup, Endpoints, Gateway, KeyNames, Limits, Log, Machine, Market, Nostr, Offers,
    Payment, Price, Privacy, Screen, SecretSource, Settings, Text, Wallet,
};

/// Names that are told of those that changed; of more only the number is told.
const NAMES_TOLD: usize = 6;

/// When a changed setting takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Applies {
    /// To the next job; jobs already admitted keep what they were admitted under.
    Now,
    /// At once.
    AtOnce,
    /// The next time the shop goes online.
    NextOnline,
    /// The next time the program starts.
    NextStart,
}

impl Applies {
    /// In words, for the form and the documentation.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Now => "next job",
            Self::NextOnline => "next time online",
            Self::NextStart => "next start",
            Self::AtOnce => "at once",
        }
    }

    /// Is it in force in a shop that is online?
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Now | Self::AtOnce)
    }
}

/// A table of the settings.
pub trait Part: Clone {
    /// When a change of anything in it takes effect.
    const APPLIES: Applies;

    /// What is in force of it where the file has `new` and `held` was in force.
    #[must_use]
    fn in_force(new: Self, held: &Self, online: bool) -> Self {
        if online && !Self::APPLIES.is_live() {
            held.clone()
        } else {
            new
        }
    }
}

macro_rules! parts {
    ($($part:ty: $applies:ident,)*) => {
        $(impl Part for $part {
            const APPLIES: Applies = Applies::$applies;
        })*
    };
}

parts! {
    Nostr: NextOnline,
    Wallet: NextOnline,
    Endpoints: NextOnline,
    Offers: NextOnline,
    Text: Now,
    Price: Now,
    Payment: Now,
    Limits: Now,
    Machine: AtOnce,
    Market: AtOnce,
    Privacy: AtOnce,
    Backup: AtOnce,
    Accounting: AtOnce,
    Screen: AtOnce,
    Log: NextStart,
}

impl Part for Gateway {
    const APPLIES: Applies = Applies::NextStart;

    fn in_force(_: Self, held: &Self, _: bool) -> Self {
        held.clone()
    }
}

/// The dashboard's keys.
impl Part for BTreeMap<String, KeyNames> {
    const APPLIES: Applies = Applies::AtOnce;
}

impl Section {
    /// When a change of a key in it takes effect.
    #[must_use]
    pub const fn applies(self) -> Applies {
        match self {
            Self::Root => Applies::NextStart,
            Self::Nostr => Nostr::APPLIES,
            Self::Text => Text::APPLIES,
            Self::Price | Self::PriceModel => Price::APPLIES,
            Self::Payment => Payment::APPLIES,
            Self::Wallet => Wallet::APPLIES,
            Self::Endpoint => Endpoints::APPLIES,
            Self::Offer => Offers::APPLIES,
            Self::Limits => Limits::APPLIES,
            Self::Machine => Machine::APPLIES,
            Self::Market => Market::APPLIES,
            Self::Privacy => Privacy::APPLIES,
            Self::Backup => Backup::APPLIES,
            Self::Accounting => Accounting::APPLIES,
            Self::Gateway => Gateway::APPLIES,
            Self::Screen => Screen::APPLIES,
            Self::Log => Log::APPLIES,
            Self::Keys => <BTreeMap<String, KeyNames>>::APPLIES,
        }
    }
}

/// What is in force of `new` where `held` was until now: everything while the shop is offline, the live tables while it is
/// online.
#[must_use]
pub fn in_force(new: Settings, held: &Settings, online: bool) -> Settings {
    // Every table by name, so that a new one can't be forgotten here.
    let Settings {
        start_online,
        nostr,
        text,
        price,
        payment,
        wallet,
        endpoints,
        offers,
        limits,
        machine,
        market,
        privacy,
        backup,
        books,
        gateway,
        screen,
        log,
        keys,
    } = new;
    Settings {
        start_online,
        nostr: Part::in_force(nostr, &held.nostr, online),
        text: Part::in_force(text, &held.text, online),
        price: Part::in_force(price, &held.price, online),
        payment: Part::in_force(payment, &held.payment, online),
        wallet: Part::in_force(wallet, &held.wallet, online),
        endpoints: Part::in_force(endpoints, &held.endpoints, online),
        offers: Part::in_force(offers, &held.offers, online),
        limits: Part::in_force(limits, &held.limits, online),
        machine: Part::in_force(machine, &held.machine, online),
        market: Part::in_force(market, &held.market, online),
        privacy: Part::in_force(privacy, &held.privacy, online),
        backup: Part::in_force(backup, &held.backup, online),
        books: Part::in_force(books, &held.books, online),
        gateway: Part::in_force(gateway, &held.gateway, online),
        screen: Part::in_force(screen, &held.screen, online),
        log: Part::in_force(log, &held.log, online),
        keys: Part::in_force(keys, &held.keys, online),
    }
}

/// A setting that is another one than before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Changed {
    /// When that takes effect.
    pub applies: Applies,
    /// Its dotted name.
    pub name: String,
}

/// What differs between two settings, by name, in the order in which it takes effect.
#[must_use]
pub fn changed(before: &Settings, after: &Settings) -> Vec<Changed> {
    if before == after {
        return Vec::new();
    }
    let document = |settings| toml_edit::ser::to_document(settings).unwrap_or_default();
    let (old, new) = (document(before), document(after));
    let mut found = BTreeSet::new();
    for key in KEYS {
        for table in tables_of(key, old.as_table(), new.as_table()) {
            let table = table.as_deref();
            let text = |root: &dyn TableLike| {
                let value = key.value_in(root, table)?;
                Some(value.to_string().trim().to_owned())
            };
            let same = text(old.as_table()) == text(new.as_table());
            if !same {
                let name = key.name();
                let name = table.map_or(name.clone().into_owned(), |table| {
                    name.replacen("NAME", table, 1)
                });
                found.insert(Changed {
                    applies: key.section.applies(),
                    name,
                });
            }
        }
    }
    // Secrets are not in the documents.
    let (old, new) = (secrets(before), secrets(after));
    for (name, (section, source)) in old.iter().chain(&new) {
        let is = |all: &Secrets<'_>| all.get(name).is_some_and(|(_, other)| other == source);
        if !is(&old) || !is(&new) {
            found.insert(Changed {
                applies: section.applies(),
                name: name.clone(),
            });
        }
    }
    // What has no name of its own, as an entry of a table in a table, is told by the name of its section.
    let sections = [
        (Section::Nostr, before.nostr != after.nostr),
        (Section::Wallet, before.wallet != after.wallet),
        (Section::Endpoint, before.endpoints != after.endpoints),
    ];
    for (section, differs) in sections {
        let path = section.path().join(".");
        let named = found.iter().any(|one| one.name.starts_with(path.as_str()));
        if differs && !named {
            found.insert(Changed {
                applies: section.applies(),
                name: path,
            });
        }
    }
    found.into_iter().collect()
}

/// Secrets by their dotted names; a table of headers has several of one name.
type Secrets<'a> = BTreeMap<String, (Section, Vec<&'a SecretSource>)>;

fn secrets(settings: &Settings) -> Secrets<'_> {
    let mut all = Secrets::new();
    for held in settings.secrets() {
        let path = held.section.path().iter().copied();
        let words = path.chain(held.table).chain([held.field]);
        let name = words.collect::<Vec<_>>().join(".");
        let of_name = all.entry(name).or_insert((held.section, Vec::new()));
        of_name.1.push(held.source);
    }
    all
}

/// The tables that a key is in, in either document: one without a name, or those of a list; or the free names of a section.
fn tables_of(key: &Key, old: &dyn TableLike, new: &dyn TableLike) -> BTreeSet<Option<String>> {
    if !key.section.repeated() && !key.section.free() {
        return BTreeSet::from([None]);
    }
    let mut names = BTreeSet::new();
    for root in [old, new] {
        let mut table = Some(root);
        let path = key.section.path();
        for (depth, word) in path.iter().enumerate() {
            let item = table.and_then(|table| table.get(word));
            if key.section.repeated() && depth + 1 == path.len() {
                let all = item.map(keys::tables).unwrap_or_default();
                let named = all.iter().filter_map(|table| table.get("name")?.as_str());
                names.extend(named.map(|name| Some(name.to_owned())));
            }
            table = item.and_then(|item| item.as_table_like());
        }
        if key.section.free() {
            let own = table.map(|table| table.iter().map(|(name, _)| Some(name.to_owned())));
            names.extend(own.into_iter().flatten());
        }
    }
    names
}

/// What changed and when it is in force, as a sentence; empty where nothing did.
#[must_use]
pub fn told(changed: &[Changed], online: bool) -> String {
    let mut parts = Vec::new();
    let groups: [(&str, &dyn Fn(Applies) -> bool); 3] = [
        ("in force", &|when| {
            when.is_live() || (!online && when == Applies::NextOnline)
        }),
        ("the next time it goes online", &|when| {
            online && when == Applies::NextOnline
        }),
        ("at the next start", &|when| when == Applies::NextStart),
    ];
    for (words, belongs) in groups {
        let names: Vec<&str> = changed
            .iter()
            .filter(|one| belongs(one.applies))
            .map(|one| one.name.as_str())
            .collect();
        if names.is_empty() {
            continue;
        }
        let more = names.len().saturating_sub(NAMES_TOLD);
        let shown = names.iter().take(NAMES_TOLD).copied().collect::<Vec<_>>();
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        parts.push(format!("{words}: {}{more}", shown.join(", ")));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::ModelPrice;

    fn names(before: &Settings, after: &Settings) -> Vec<String> {
        let all = changed(before, after).into_iter();
        all.map(|one| one.name).collect()
    }

    #[test]
    fn what_changed_is_told_by_name_and_by_when() {
        let before = Settings::default();
        let mut after = before.clone();
        assert!(names(&before, &after).is_empty());
        after.price.min_price_sats = 50;
        after.nostr.relays.push("wss://relay.example".to_owned());
        after.start_online = true;
        let all = changed(&before, &after);
        assert_eq!(
            told(&all, true),
            "in force: price.min_price_sats; the next time it goes online: nostr.relays; at the next start: start_online"
        );
        assert_eq!(
            told(&all, false),
            "in force: price.min_price_sats, nostr.relays; at the next start: start_online"
        );
    }

    #[test]
    fn a_change_in_a_list_names_its_table() {
        let before = Settings::default();
        let mut after = before.clone();
        after.endpoints.0[0].slots = 4;
        after.price.models.push(ModelPrice {
            name: "m".to_owned(),
            min_price_sats: None,
            price_per_1k_input: 1,
            price_per_1k_output: 2,
        });
        let shown = KeyNames::One("x".to_owned());
        after.keys.insert("online".to_owned(), shown);
        let found = names(&before, &after);
        for name in ["endpoint.local.slots", "price.model.m.name", "keys.online"] {
            assert!(found.iter().any(|one| one == name), "{name}: {found:?}");
        }
    }

    #[test]
    fn another_secret_is_a_change_that_shows_nothing_of_it() {
        let mut before = Settings::default();
        before.endpoints.0[0].api_key = Some(SecretSource::Plain("old".to_owned()));
        let mut after = before.clone();
        after.endpoints.0[0].api_key = Some(SecretSource::Plain("new".to_owned()));
        assert_eq!(names(&before, &after), ["endpoint.local.api_key"]);
    }

    #[test]
    fn a_shop_that_is_online_keeps_its_session_and_takes_the_rest() {
        let held = Settings::default();
        let mut new = held.clone();
        new.nostr.kinds = vec![5100];
        new.limits.queue = 1;
        let online = in_force(new.clone(), &held, true);
        assert_eq!(online.nostr, held.nostr);
        assert_eq!(online.limits.queue, 1);
        assert_eq!(in_force(new.clone(), &held, false), new);
    }
}
