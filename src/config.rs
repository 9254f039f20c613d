//! The settings: schema, defaults, loading, editing that keeps comments, validation.

pub mod atomic;
mod backend;
pub mod check;
pub mod edit;
pub mod force;
mod init;
pub mod keys;
pub mod load;
pub mod note;
pub mod place;
pub mod press;
mod problem;
pub mod restored;
pub mod schema;
pub mod secret;
pub mod wallet_archive;
pub mod watch;

pub use backend::{Chosen, Declared};
pub use load::load;
pub use problem::SettingsError;
pub use schema::Settings;
