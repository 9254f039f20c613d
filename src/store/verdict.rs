//! One line that answers "why am I not earning?": a pure function of what the screen knows.

use super::Store;
use super::stats::most;
use crate::domain::advice;
use crate::domain::health::{CheckStatus, HealthLevel, ShopState};
use crate::domain::job::Status;
use crate::domain::msat::Msat;
use crate::domain::stats::HourStats;
use crate::domain::text::clean;

/// The longest reason in it, in characters.
const REASON: usize = 160;
/// Drop reasons that say nothing about this shop: a repeat, and what was meant for somebody else.
const NOT_OURS: [&str; 2] = ["duplicate", "not_for_us"];

/// How the engine tells of a disk without room; it stands before whatever else is down.
const DISK: &str = "disk: ";

/// How it goes, for the light before the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Money comes in.
    Good,
    /// Nothing is wrong, and nothing comes in.
    Quiet,
    /// Something keeps money away that the seller can look at.
    Poll,
    /// Nothing can be sold.
    Bad,
}

/// The answer, in plain words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How it goes.
    pub mood: Mood,
    /// What is so.
    pub text: String,
    /// What the seller can do about it; empty where that is nothing.
    pub fix: String,
    /// The setting in the fix, whose value now is worth a look.
    pub key: Option<&'static str>,
}

impl Verdict {
    fn new(mood: Mood, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            mood,
            text: text.into(),
            fix: fix.into(),
            key: None,
        }
    }
}

impl Store {
    /// Why nothing is earned, or what is. "Lately" is this hour and the one before it, by the last event's clock; times in
    /// the text are UTC, so that it stays true while nothing happens.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        closed(self)
            .or_else(|| cut_off(self))
            .unwrap_or_else(|| open(self))
    }

    /// Has nothing ever been asked of the shop?
    fn is_new(&self) -> bool {
        let totals = &self.totals;
        totals.jobs == 0 && totals.funnel.seen == 0 && totals.last_request_at.is_none()
    }

    /// What the last start failed at: its sentence and its fix.
    fn failed_check(&self) -> Option<(&str, &str)> {
        let failed = |one: &&crate::domain::health::Check| one.status == CheckStatus::Fail;
        let check = self.checks.iter().rev().find(failed)?;
        Some((&check.detail, &check.fix))
    }
}

/// Not selling: because nobody wants it to, or because it could not be opened.
fn closed(store: &Store) -> Option<Verdict> {
    let detail = clean(&store.detail, REASON);
    let verdict = match store.state {
        ShopState::Online | ShopState::Degraded => return None,
        ShopState::Starting => {
            Verdict::new(Mood::Quiet, "not selling yet: the shop is being opened", "")
        }
        ShopState::Paused => {
            let text = format!("paused: {detail}");
            Verdict::new(
                Mood::Quiet,
                text,
                "it goes on by itself; z ends a snooze, machine.* sets the rest",
            )
        }
        ShopState::Draining => Verdict::new(
            Mood::Quiet,
            "takes no more jobs: finishing the running ones, watching open invoices",
            "",
        ),
        ShopState::Stopping => Verdict::new(Mood::Quiet, "takes no more jobs: ending", ""),
        ShopState::Offline if detail.is_empty() => {
            let fix = if store.is_new() {
                "t checks it all, `vend demo` sells for play money; then go online"
            } else {
                "go online"
            };
            let text = "not selling: the shop is offline, so no buyer is heard";
            Verdict::new(Mood::Quiet, text, fix)
        }
        ShopState::Offline => {
            let fix = match store.failed_check() {
                Some((_, fix)) if !fix.is_empty() => {
                    let more = if store.is_new() {
                        "; `vend doctor` lists all that is missing"
                    } else {
                        ""
                    };
                    format!("{}, then go online{more}", clean(fix, REASON))
                }
                _ => "run `vend doctor`, mend it, then go online".to_owned(),
            };
            Verdict::new(Mood::Bad, format!("could not go online: {detail}"), fix)
        }
    };
    Some(verdict)
}

/// Open, but without something that no sale can do without.
fn cut_off(store: &Store) -> Option<Verdict> {
    if store.detail.starts_with(DISK) {
        let words = store.detail.split(',').next().unwrap_or_default();
        let text = format!("no job is taken: {}", clean(words, REASON));
        let fix = "free some space; it goes on by itself";
        return Some(Verdict::new(Mood::Bad, text, fix));
    }
    let wallet = &store.wallet;
    if wallet.health == HealthLevel::Down {
        let text = format!(
            "no sales: the wallet is down: {}",
            clean(&wallet.detail, REASON)
        );
        return Some(Verdict::new(Mood::Bad, text, "run `vend doctor`"));
    }
    if wallet.can_receive_msat == Some(Msat::ZERO) {
        return Some(Verdict::new(
            Mood::Bad,
            "no sales: the wallet can receive nothing now",
            "open a channel or buy inbound liquidity for the wallet",
        ));
    }
    let mut endpoints = store.endpoints.values();
    if !store.endpoints.is_empty() && endpoints.all(|one| one.health == HealthLevel::Down) {
        return Some(Verdict::new(
            Mood::Bad,
            "no sales: no model answers",
            "start the model server, or run `vend doctor`",
        ));
    }
    let mut relays = store.relays.values();
    if !store.relays.is_empty() && relays.all(|one| one.health == HealthLevel::Down) {
        return Some(Verdict::new(
            Mood::Bad,
            "no sales: no relay can be reached",
            "is this machine on the net? They are tried again by themselves",
        ));
    }
    None
}

/// Open and well: what becomes of the requests.
fn open(store: &Store) -> Verdict {
    let lately = lately(store);
    if !lately.revenue_msat.is_zero() {
        let text = format!(
            "earning: {} for {} in the last two hours",
            lately.revenue_msat.display(),
            jobs(lately.paid)
        );
        return Verdict::new(Mood::Good, text, "");
    }
    if lately.seen == 0 && lately.admitted == 0 && store.queue.running == 0 {
        return unasked(store);
    }
    if lately.admitted == 0 && lately.jobs == 0 && store.queue.running == 0 {
        return refused(&lately);
    }
    if lately.jobs == 0 {
        return undelivered(store, &lately);
    }
    unpaid(store, &lately)
}

/// This hour and the one before. An older engine tells no hours: then all there ever was.
fn lately(store: &Store) -> HourStats {
    if store.totals.hours.is_empty() && store.totals.last_request_at.is_none() {
        let totals = &store.totals;
        return HourStats {
            seen: totals.funnel.seen,
            admitted: totals.funnel.admitted,
            jobs: totals.funnel.delivered,
            paid: totals.funnel.paid,
            revenue_msat: totals.revenue_msat,
            drops: totals.drops.clone(),
        };
    }
    let hours = store.last_hours(2);
    hours.iter().fold(HourStats::default(), HourStats::and)
}

fn unasked(store: &Store) -> Verdict {
    let fix = "more relays (nostr.relays) or kinds (nostr.kinds) bring more buyers";
    let text = match store.totals.last_request_at {
        None => "listening: no request has ever come".to_owned(),
        Some(at) if at < store.since => format!(
            "listening: no request since it went online at {} UTC",
            store.since.clock()
        ),
        Some(at) if at.day() == store.now.day() => {
            format!("listening: no request since {} UTC", at.clock())
        }
        Some(at) => format!("listening: no request since {}", at.day()),
    };
    Verdict::new(Mood::Quiet, text, fix)
}

fn refused(lately: &HourStats) -> Verdict {
    let seen = format!("{} seen lately, none taken", requests(lately.seen));
    let reasons = most(&lately.drops, usize::MAX);
    let ours = reasons.iter().find(|(word, _)| !NOT_OURS.contains(word));
    let Some((word, times)) = ours else {
        let text = format!("{seen}: all were addressed to other sellers");
        return Verdict::new(Mood::Quiet, text, "");
    };
    let text = format!("{seen}: mostly {} ({times})", clean(word, 24));
    let advice = advice::of_word(word);
    Verdict {
        key: advice.and_then(|advice| advice.key),
        ..Verdict::new(Mood::Poll, text, advice.map_or("", |advice| advice.todo))
    }
}

fn undelivered(store: &Store, lately: &HourStats) -> Verdict {
    if store.queue.running > 0 || store.queue.waiting > 0 {
        let text = format!(
            "at work: {} running, {} waiting; nothing delivered yet",
            store.queue.running, store.queue.waiting
        );
        return Verdict::new(Mood::Quiet, text, "");
    }
    let in_state = |status| {
        let all = store.jobs.newest_first();
        all.filter(|job| job.status == status).count() as u64
    };
    let unpaid = in_state(Status::AwaitingPayment);
    if unpaid > 0 {
        let text = format!("{} taken, to be paid before the work begins", jobs(unpaid));
        return Verdict::new(Mood::Quiet, text, "the buyer has the invoice");
    }
    // The figures come a moment after the jobs.
    let on_the_way = in_state(Status::Processing) + in_state(Status::PendingPayment);
    if on_the_way > 0 {
        let text = format!("at work: {} on the way to the buyer", jobs(on_the_way));
        return Verdict::new(Mood::Quiet, text, "");
    }
    let text = format!("{} taken lately, none delivered", jobs(lately.admitted));
    Verdict::new(Mood::Poll, text, "the Jobs tab says why")
}

fn unpaid(store: &Store, lately: &HourStats) -> Verdict {
    let done = format!("{} delivered lately", jobs(lately.jobs));
    let open = store.totals.open_credit_msat;
    if !open.is_zero() {
        let text = format!("{done}, not paid yet: {} open", open.display());
        return Verdict::new(Mood::Quiet, text, "buyers pay until their invoices expire");
    }
    if store.totals.successful > store.totals.funnel.paid {
        let text = format!("{done}, free of charge");
        return Verdict::new(Mood::Quiet, text, "price.* sets what an answer costs");
    }
    Verdict::new(
        Mood::Poll,
        format!("{done}, none paid"),
        "payment.mode = before asks for the money first",
    )
}

fn jobs(count: u64) -> String {
    match count {
        1 => "1 job".to_owned(),
        _ => format!("{count} jobs"),
    }
}

fn requests(count: u64) -> String {
    match count {
        1 => "1 request".to_owned(),
        _ => format!("{count} requests"),
    }
}

#[cfg(test)]
mod tests;
