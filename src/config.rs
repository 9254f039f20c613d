//! The settings: schema, defaults, loading, editing that keeps comments, validation (SPEC section 3).

pub mod schema;

pub use schema::Settings;
