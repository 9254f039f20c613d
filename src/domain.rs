//! What the words mean: jobs and their steps, requests, replies, prices, invoices, events, commands, errors.
//!
//! Pure: no runtime, no files, no sockets. Time and randomness come in as arguments where a rule depends on them.

pub mod accounting;
pub mod address;
pub mod admission;
pub mod advice;
pub mod announce;
pub mod balance;
pub mod buyer;
pub mod clock;
pub mod command;
pub mod credit;
pub mod desk;
pub mod detail;
pub mod dial;
pub mod drift;
pub mod energy;
pub mod error;
pub mod event;
pub mod fair;
pub mod health;
mod hex32;
pub mod hold;
pub mod hold_secret;
pub mod id;
pub mod invoice;
pub mod job;
pub mod load;
pub mod machine;
pub mod market;
pub mod message;
pub mod model_name;
pub mod msat;
pub mod offer;
pub mod payment_status;
pub mod price;
pub mod purchase;
pub mod query;
pub mod queue;
pub mod recovered;
pub mod refusal;
pub mod reply;
pub mod request;
pub mod screen;
pub mod sellers;
pub mod size;
pub mod standing;
pub mod stats;
pub mod telemetry;
pub mod text;
pub mod time;
pub mod transition;
pub mod twin;
pub mod work;
pub mod zap;

pub use hex32::Hex32;
