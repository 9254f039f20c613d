//! What strangers do for free, beside a stream of honest buyers, over real sockets to the real binary.
//!
//! Each attack is one test. It opens a [`street::Street`], attacks, and lets honest buyers ask and pay meanwhile: every one of
//! their sales must end. Times, memory and CPU are printed (`cargo test --test hostile -- --nocapture`); `VEND_HOSTILE_STRICT=1`
//! holds each sale to three times the slowest quiet one, or 3 s, for a machine that does nothing else. A day goes by in
//! `cargo test --features crash-points --test hostile day`.

#[path = "../support/drill_ollama.rs"]
mod drill_ollama;
#[path = "../support/drill_relay.rs"]
mod drill_relay;
#[path = "../support/drill_wallet.rs"]
mod drill_wallet;
#[path = "../support/shop.rs"]
mod shop;

mod admission;
mod credit;
#[cfg(feature = "crash-points")]
mod day;
mod relays;
mod street;
