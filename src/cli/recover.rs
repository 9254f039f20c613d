//! `vend recover`: jobs that need a person about money, and what is decided about them.

use std::io::{IsTerminal, Write};

use super::exit::{Exit, Outcome, json, runtime, say};
use super::{Global, ask, host, settings};
use crate::config::place::{DataLock, LockError, Places};
use crate::domain::command::{Command, Reply};
use crate::domain::desk::{Case, CaseKind, Decision, Desk, DeskAction};
use crate::domain::id::IdBeginning;
use crate::domain::text::clean;
use crate::domain::time::Time;
use crate::engine::recovery_desk::{self, Order};
use crate::ledger::Ledger;

/// Decisions that a person is shown; JSON has all that are told.
const SHOWN: usize = 10;

/// `vend recover`
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The job: 64 hex digits, or the first eight or more of one that is listed
    #[arg(value_name = "ID")]
    id: Option<IdBeginning>,
    /// What to do; without it the case is shown with all that is known
    #[arg(value_name = "ACTION", requires = "id", value_parser = action)]
    action: Option<DeskAction>,
    /// Why, for the history
    #[arg(
        long,
        value_name = "TEXT",
        requires = "action",
        default_value = "",
        hide_default_value = true
    )]
    note: String,
    /// Don't ask back: refunded and waive can't be undone
    #[arg(long, requires = "action")]
    yes: bool,
    /// One JSON document on stdout
    #[arg(long, conflicts_with = "action")]
    json: bool,
}

fn action(word: &str) -> Result<DeskAction, String> {
    DeskAction::parse(word).ok_or_else(|| {
        let words: Vec<_> = DeskAction::ALL
            .iter()
            .map(|action| action.as_str())
            .collect();
        format!("one of {}", words.join(", "))
    })
}

/// Lists the cases, shows one, or does something about one.
pub fn main(global: &Global, args: &Args) -> Outcome {
    let places = global.places()?;
    let runtime = runtime()?;
    let desk = runtime.block_on(look(&places))?;
    let Some(id) = &args.id else {
        return if args.json { json(&desk) } else { print(&desk) };
    };
    let Some(action) = args.action else {
        let case = found(&desk, id)?.ok_or_else(|| no_case(id))?;
        return if args.json { json(case) } else { show(case) };
    };
    let order = order(&desk, id, action, &args.note)?;
    if action.closes() && !args.yes {
        let case = desk.cases.iter().find(|case| case.id == order.id);
        if !confirmed(&order, case)? {
            return say("nothing was done");
        }
    }
    runtime.block_on(act(global, &places, order))
}

async fn look(places: &Places) -> Result<Desk, Exit> {
    match host::look(&places.database())? {
        Some(ledger) => recovery_desk::of(&ledger, Time::now())
            .await
            .map_err(|error| Exit::failed(&error)),
        None => Ok(Desk::default()),
    }
}

fn no_case(id: &IdBeginning) -> Exit {
    Exit::failed(&format!("no open case has the id {id}: see `vend recover`"))
}

/// The case whose id begins like this.
fn found<'a>(desk: &'a Desk, id: &IdBeginning) -> Result<Option<&'a Case>, Exit> {
    let mut like = desk.cases.iter().filter(|case| id.fits(&case.id));
    let first = like.next();
    if like.next().is_some() {
        return Err(Exit::usage(format!("{id} is the beginning of several ids")));
    }
    Ok(first)
}

fn order(desk: &Desk, id: &IdBeginning, action: DeskAction, note: &str) -> Result<Order, Exit> {
    let case = found(desk, id)?;
    let decided = || desk.history.iter().find(|one| id.fits(&one.id));
    let job = match (case, id.to_string().parse()) {
        (Some(case), _) => case.id,
        // A job that is no case any more may have been decided: the answer says so.
        (None, Ok(job)) => job,
        (None, Err(_)) => decided().map(|one| one.id).ok_or_else(|| no_case(id))?,
    };
    Ok(Order {
        id: job,
        case: case.map(|case| case.kind),
        action,
        note: note.to_owned(),
    })
}

fn confirmed(order: &Order, case: Option<&Case>) -> Result<bool, Exit> {
    if !std::io::stdin().is_terminal() {
        let line = format!(
            "{} can't be undone: add --yes where nobody can be asked",
            order.action.as_str()
        );
        return Err(Exit::usage(line));
    }
    let what = case.map_or_else(String::new, |case| format!("{}\n", case.text));
    let question = format!(
        "{what}Mark job {} {}? This can't be undone. [y/N] ",
        order.id.short(),
        order.action.history()
    );
    let mut out = std::io::stderr();
    let asked = out
        .write_all(question.as_bytes())
        .and_then(|()| out.flush());
    asked.map_err(|error| Exit::failed(&error))?;
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    read.map_err(|error| Exit::failed(&error))?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

async fn act(global: &Global, places: &Places, order: Order) -> Outcome {
    if let Some(mut client) = ask::connect(places).await {
        let command = Command::Recover {
            id: order.id,
            case: order.case,
            action: order.action,
            note: order.note,
        };
        return match client.ask(command).await {
            Ok(Reply::Done { detail }) => say(&detail),
            Ok(Reply::Refused { detail }) => Err(Exit::failed(&detail)),
            Ok(_) => Err(Exit::failed(&"the running vend gave another answer")),
            Err(error) => Err(Exit::failed(&error)),
        };
    }
    alone(global, places, &order).await
}

/// On a ledger that nobody else has open.
async fn alone(global: &Global, places: &Places, order: &Order) -> Outcome {
    if !places.database().exists() {
        let line = format!("no open case has the id {}: see `vend recover`", order.id);
        return Err(Exit::failed(&line));
    }
    let settings = settings::load(&global.places()?.config)?;
    let _lock = DataLock::take(places).map_err(|error| match error {
        LockError::Held { .. } => Exit::held(&error),
        LockError::Io { .. } => Exit::failed(&error),
    })?;
    let ledger = Ledger::open(&places.database()).map_err(|error| Exit::failed(&error))?;
    let done = recovery_desk::act_without_shop(&ledger, &settings, order).await;
    ledger.close().await;
    say(&done.map_err(|error| Exit::failed(&error))?)
}

fn print(desk: &Desk) -> Outcome {
    let needing = desk.cases.iter().filter(|case| case.needs_you).count();
    match (needing, desk.cases.len()) {
        (_, 0) => say("no open cases")?,
        (needing, all) => say(&format!("{all} open cases, {needing} of them need you"))?,
    }
    if desk.more > 0 {
        say(&format!(
            "{} more need you and are not listed: they follow when these are decided",
            desk.more
        ))?;
    }
    for case in &desk.cases {
        let words: Vec<_> = case.actions.iter().map(|action| action.as_str()).collect();
        say(&format!(
            "{}  {:<11} {}  {}",
            case.id.short(),
            case.kind.as_str(),
            case.since,
            clean(&case.text, 300)
        ))?;
        say(&format!("          can be done: {}", words.join(", ")))?;
    }
    for one in desk.history.iter().take(SHOWN) {
        say(&line(one))?;
    }
    Ok(())
}

fn line(one: &Decision) -> String {
    let note = if one.note.is_empty() {
        String::new()
    } else {
        format!(": {}", clean(&one.note, 400))
    };
    format!(
        "{}  {} on {}, {}{note}",
        one.id.short(),
        one.action.history(),
        one.at,
        one.amount_msat.display()
    )
}

fn show(case: &Case) -> Outcome {
    let known = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let time = |at: Option<Time>| known(at.map(|at| at.to_string()));
    let mut rows = vec![
        ("case", case.kind.as_str().to_owned()),
        ("what", clean(&case.text, 400)),
        ("since", case.since.to_string()),
        ("job", case.id.to_string()),
        ("status", case.status.as_str().to_owned()),
        ("buyer", crate::identity::npub(&case.buyer.0)),
        ("model", clean(&case.model, 100)),
        (
            "asked",
            known(case.amount_msat.map(|amount| amount.display().to_string())),
        ),
        ("paid", case.paid_msat.display().to_string()),
        ("owed", case.owed_to_buyer_msat.display().to_string()),
        (
            "hash",
            known(case.payment_hash.map(|hash| hash.to_string())),
        ),
        ("made", time(case.invoice_made_at)),
        ("expires", time(case.invoice_expires_at)),
        ("paid at", time(case.paid_at)),
        ("wallet", known(case.wallet.clone())),
        ("name", known(case.wallet_identity.clone())),
        ("result", known(case.result_id.clone())),
        ("relays", case.accepted_by.join(" ")),
        ("error", known(case.error.clone())),
    ];
    if let Some(said) = &case.wallet_said {
        rows.push((
            "said",
            format!(
                "{} ({} times from {} to {})",
                clean(&said.words, 300),
                said.times,
                said.first_at,
                said.last_at
            ),
        ));
    }
    if case.kind == CaseKind::Orphan {
        rows.push(("lost", format!("{} invoices", case.lost_invoices)));
    }
    for (name, value) in rows {
        say(&format!("{name:<8} {value}"))?;
    }
    let words: Vec<_> = case.actions.iter().map(|action| action.as_str()).collect();
    say(&format!("can be done: {}", words.join(", ")))
}
