//! `vend`: a shop on Nostr for the work of a local language model, paid over Lightning.
//!
//! The modules, and who may know whom, are drawn in docs/architecture.md.

pub mod buyer;
pub mod cli;
pub mod config;
pub mod control;
pub mod crash;
pub mod demo;
pub mod domain;
pub mod engine;
pub mod gateway;
pub mod identity;
pub mod inference;
pub mod ledger;
pub mod nostr;
pub mod store;
#[cfg(feature = "tui")]
pub mod ui;
pub mod wallet;
