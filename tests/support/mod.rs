//! What stands in for the world around a shop: relays, wallets, model servers and a terminal that can go wrong.

pub mod fake_cln;
pub mod fake_lnd;
pub mod fake_node;
pub mod fake_nwc;
pub mod fake_ollama;
pub mod fake_phoenixd;
pub mod fake_relay;
pub mod fake_spark;
pub mod fake_wallet;
pub mod inside;
pub mod server_faults;
pub mod shop;
#[cfg(feature = "tui")]
pub mod terminal;
