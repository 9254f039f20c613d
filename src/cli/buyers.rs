//! `vend buyers`: who asked, paid and owes, and what the seller decided about them.

use std::collections::HashMap;

use nostr::PublicKey;
use nostr::nips::nip19::ToBech32;

use super::Global;
use super::ask::connect;
use super::exit::{Exit, Outcome, json, runtime, say};
use super::host;
use super::settings;
use crate::config::Settings;
use crate::config::place::{DataLock, LockError, Places};
use crate::domain::command::{Command, Reply};
use crate::domain::id::Buyer;
use crate::domain::standing::{BuyerRow, Decision, Standing};
use crate::ledger::Ledger;
use crate::ledger::buyers::Dealings;

/// `vend buyers`
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    /// Serve this buyer no more
    Block {
        /// npub or 64 hex digits
        npub: String,
    },
    /// Serve it again
    Unblock {
        /// npub or 64 hex digits
        npub: String,
    },
    /// Let it owe more than others do
    Trust {
        /// npub or 64 hex digits
        npub: String,
        /// How much, sats; left out: as much as all buyers together may (payment.unpaid_sats_total)
        #[arg(long, value_name = "SATS", value_parser = clap::value_parser!(u64).range(..=100_000_000))]
        credit: Option<u64>,
    },
}

/// Lists, or decides.
pub fn main(global: &Global, args: Args) -> Outcome {
    let (npub, decision) = match args.what {
        None => return list(global, args.json),
        Some(What::Block { npub }) => (npub, Decision::Block),
        Some(What::Unblock { npub }) => (npub, Decision::Unblock),
        Some(What::Trust { npub, credit }) => (
            npub,
            Decision::Trust {
                credit_sats: credit,
            },
        ),
    };
    let Ok(key) = PublicKey::parse(&npub) else {
        return Err(Exit::usage("a buyer is an npub or 64 hex digits"));
    };
    let places = global.prepared()?;
    let settings = settings::load(&places.config)?;
    runtime()?.block_on(decide(&places, &settings, key, decision))
}

/// A running shop must know at once; where none runs the ledger is written here.
async fn decide(
    places: &Places,
    settings: &Settings,
    key: PublicKey,
    decision: Decision,
) -> Outcome {
    if let Some(mut client) = connect(places).await {
        let command = Command::Decide {
            buyer: key.to_hex(),
            decision,
        };
        let reply = client.ask(command).await;
        return match reply.map_err(|error| Exit::failed(&error))? {
            Reply::Done { detail } => say(&detail),
            Reply::Refused { detail } => Err(Exit::failed(&detail)),
            _ => Ok(()),
        };
    }
    let _lock = DataLock::take(places).map_err(|error| match error {
        LockError::Held { .. } => Exit::held(&error),
        LockError::Io { .. } => Exit::failed(&error),
    })?;
    let ledger = Ledger::open(&places.database()).map_err(|error| Exit::failed(&error))?;
    let decided = ledger.decide_on(Buyer(key), decision).await;
    ledger.close().await;
    let standing = decided.map_err(|error| Exit::failed(&error))?;
    say(&crate::engine::buyers::told(&key, standing, settings))
}

fn list(global: &Global, as_json: bool) -> Outcome {
    let places = global.places()?;
    let settings = settings::load(&places.config)?;
    let ledger = host::look(&places.database())?;
    let rows = match &ledger {
        Some(ledger) => runtime()?
            .block_on(rows(ledger, &settings))
            .map_err(|error| Exit::failed(&error))?,
        None => Vec::new(),
    };
    if as_json {
        return json(&rows);
    }
    if rows.is_empty() {
        return say("no buyers yet");
    }
    for row in &rows {
        say(&line(row))?;
    }
    Ok(())
}

async fn rows(
    ledger: &Ledger,
    settings: &Settings,
) -> Result<Vec<BuyerRow>, crate::ledger::LedgerError> {
    let mut standings = ledger.standings().await?;
    let mut rows = Vec::new();
    for (buyer, dealings) in ledger.dealings().await? {
        let standing = standings.remove(&buyer.0).unwrap_or_default();
        rows.push(row(buyer, standing, &dealings, settings));
    }
    let mut unknown: HashMap<PublicKey, Standing> = standings;
    let mut rest: Vec<_> = unknown.drain().collect();
    rest.sort_by_key(|(key, _)| key.to_hex());
    let nothing = Dealings::default();
    rows.extend(
        rest.into_iter()
            .map(|(key, standing)| row(Buyer(key), standing, &nothing, settings)),
    );
    Ok(rows)
}

fn row(buyer: Buyer, standing: Standing, dealings: &Dealings, settings: &Settings) -> BuyerRow {
    let payment = &settings.payment;
    let listed = crate::engine::buyers::is_listed(&settings.limits.block, &buyer.0);
    BuyerRow {
        buyer,
        npub: buyer.0.to_bech32().unwrap_or_default(),
        asked: dealings.asked,
        delivered: dealings.delivered,
        paid: dealings.paid,
        paid_msat: dealings.paid_msat,
        owed_msat: dealings.owed_msat,
        balance_msat: dealings.balance_msat,
        credit_limit_sats: standing.credit_limit(payment.credit_sats, payment.unpaid_sats_total),
        blocked: standing.blocked || listed,
        trusted: standing.trusted,
        first_seen: dealings.first,
        last_seen: dealings.last,
    }
}

fn line(row: &BuyerRow) -> String {
    let mut words = vec![format!(
        "{}  {} asked, {} delivered, {} paid ({}), owes {}",
        row.npub,
        row.asked,
        row.delivered,
        row.paid,
        row.paid_msat.display(),
        row.owed_msat.display()
    )];
    if !row.balance_msat.is_zero() {
        words.push(format!("{} left with us", row.balance_msat.display()));
    }
    words.push(format!("may owe {} sats", row.credit_limit_sats));
    if row.blocked {
        words.push("blocked".to_owned());
    }
    if row.trusted {
        words.push("trusted".to_owned());
    }
    if let Some(at) = row.last_seen {
        words.push(format!("last {at}"));
    }
    words.join(", ")
}
