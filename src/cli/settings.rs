//! The settings with everything that is known of them: their own room's rules, and the dashboard's for its keys.

use std::path::Path;

use super::exit::Exit;
use crate::config::{self, Settings, SettingsError};

/// Reads the settings.
///
/// # Errors
/// 3: the first thing wrong, with file, line and key.
pub fn load(path: &Path) -> Result<Settings, Exit> {
    let settings = config::load(path).map_err(|error| Exit::settings(&error))?;
    fits(path, &settings).map_err(|error| Exit::settings(&error))?;
    Ok(settings)
}

/// What only other rooms can judge.
///
/// # Errors
/// An action that is none, or a key that would mean two things.
#[cfg(feature = "tui")]
pub fn fits(path: &Path, settings: &Settings) -> Result<(), SettingsError> {
    crate::ui::keymap::check(path, settings)
}

/// Without a dashboard there are no keys to clash.
///
/// # Errors
/// None.
#[cfg(not(feature = "tui"))]
pub fn fits(_: &Path, _: &Settings) -> Result<(), SettingsError> {
    Ok(())
}
