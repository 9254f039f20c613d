//! Named points at which a test can kill the process, one on each side of every durable step.
//!
//! Without the feature `crash-points` a point is nothing at all. With it, `VEND_CRASH_AT=name` (or `name:3` for the third
//! time) aborts the process there, as a power cut would: no destructor runs, nothing is flushed.

/// Every point. A test walks through all of them and fails where one was never reached.
pub const POINTS: &[&str] = &[
    "admit.before",
    "admit.after",
    "started.before",
    "started.after",
    "answered.before",
    "answered.after",
    "wallet.before_create",
    "wallet.after_create",
    "invoiced.before",
    "invoiced.after",
    "publish.before_send",
    "publish.after_send",
    "publish.recorded",
    "accepted.before",
    "accepted.after",
    "held.before",
    "held.after",
    "hold.before_settle",
    "hold.after_settle",
    "hold.before_cancel",
    "hold.after_cancel",
    "given_back.before",
    "given_back.after",
    "look.paid",
    "paid.before",
    "paid.after",
];

/// Every point of a purchase (`buyer`), apart from those of a sale: a test walks through these too.
pub const BUYER_POINTS: &[&str] = &[
    "buy.begun",
    "buy.sent",
    "buy.intent.before",
    "buy.intent.after",
    "buy.paid.before",
    "buy.paid.after",
    "buy.delivered.before",
    "buy.delivered.after",
];

/// Dies here if a test asked for it.
#[cfg(feature = "crash-points")]
pub fn point(name: &str) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static HITS: AtomicU32 = AtomicU32::new(0);
    let Ok(wanted) = std::env::var("VEND_CRASH_AT") else {
        return;
    };
    let (wanted, time) = wanted
        .split_once(':')
        .map_or((wanted.as_str(), 1), |(at, n)| (at, n.parse().unwrap_or(1)));
    if wanted == name && HITS.fetch_add(1, Ordering::SeqCst) + 1 == time {
        std::process::abort();
    }
}

/// Nothing.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub const fn point(_name: &str) {}

/// The point before or after a step, if it is one of [`POINTS`].
pub fn around(what: &'static str, after: bool) {
    let name = match (what, after) {
        ("started", false) => "started.before",
        ("started", true) => "started.after",
        ("answered", false) => "answered.before",
        ("answered", true) => "answered.after",
        ("invoiced", false) => "invoiced.before",
        ("invoiced", true) => "invoiced.after",
        ("accepted", false) => "accepted.before",
        ("accepted", true) => "accepted.after",
        ("held", false) => "held.before",
        ("held", true) => "held.after",
        ("given_back", false) => "given_back.before",
        ("given_back", true) => "given_back.after",
        ("paid", false) => "paid.before",
        ("paid", true) => "paid.after",
        _ => return,
    };
    point(name);
}
