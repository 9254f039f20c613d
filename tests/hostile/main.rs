//! What strangers do for free, beside a stream of honest buyers, over real sockets to the real binary.
//!
//! Each attack is one test. It opens a [`street::Street`], attacks, and lets honest buyers ask and pay meanwhile: every one of
//! their sales must end. Times, memory and CPU are printed (`cargo test --test hostile -- --nocapture`); `VEND_HOSTILE_STRICT=1`
//! holds each sale to three times the slowest quiet one, or 3 s, for a machine that does nothing else. A day goes by in
//! `cargo test --features crash-points --test hostile day`.

#[path = "../support/fake_ollama.rs"]
mod fake_ollama;
#[path = "../support/fake_relay.rs"]
mod fake_relay;
#[path = "../support/fake_wallet.rs"]
mod fake_wallet;
#[path = "../support/shop.rs"]
mod shop;

mod admission;
mod credit;
#[cfg(feature = "crash-points")]
mod day;
mod relays;
mod street;
