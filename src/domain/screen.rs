//! How the screen looks, as the settings say it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The themes. Each keeps to sixteen colours, so that the terminal's own palette holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThemeName {
    /// For a terminal with a dark ground.
    #[default]
    Dark,
    /// For a terminal with a light ground.
    Light,
    /// White on black, nothing dimmed.
    Contrast,
}

impl ThemeName {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Dark, Self::Light, Self::Contrast];

    /// The theme on the ground that the terminal tells of itself: letters for a dark ground are not drawn on a light one.
    #[must_use]
    pub const fn on(self, health: bool) -> Self {
        match self {
            Self::Dark if health => Self::Light,
            other => other,
        }
    }

    /// The word in the settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dark => "dark",
            Self::Light => "light",
            Self::Contrast => "contrast",
        }
    }

    /// The word read back.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.as_str() == word)
    }
}

/// The times that the screen shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeKind {
    /// Of the machine's own zone.
    #[default]
    Local,
    /// UTC.
    Utc,
}

/// How a payment, and what needs somebody, is noticed by who does not look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BellKind {
    /// Not at all.
    #[default]
    Off,
    /// By the terminal's bell.
    Bell,
    /// By the desktop, where the terminal passes it on (OSC 9).
    Notify,
}

impl fmt::Display for ThemeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
