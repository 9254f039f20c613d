//! `vend`: a shop on Nostr for the work of a local language model, paid over Lightning.
//!
//! The rooms, and who may know whom, are drawn in docs/architecture.md.

pub mod config;
pub mod domain;
pub mod identity;
pub mod inference;
pub mod nostr;
pub mod wallet;
