//! One setting as the file has it.

use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;

use crate::config::edit::mask_address;
use crate::config::keys::{Applies, Key, Section, Shape};

/// What stands for a secret.
pub const STARS: &str = "***";

/// One setting as the file has it.
#[derive(Clone)]
pub struct Field {
    /// The dotted name, as `endpoint.local.url`.
    pub name: String,
    /// What is known of it.
    pub key: &'static Key,
    /// The table of a list it is in, or its name in a table of free names.
    pub table: Option<String>,
    /// What it is for.
    pub help: &'static str,
    /// The effective value as `config set` takes it, `***` for a secret that is in the file; none: not set.
    pub value: Option<String>,
    /// Its default; none where it has none.
    pub default: Option<String>,
    /// Tells whether the file's value is another one, a secret's too.
    pub stamp: u64,
}

impl Field {
    /// Never shown?
    #[must_use]
    pub const fn secret(&self) -> bool {
        self.key.is_secret()
    }

    /// Does the file have this text for it? A secret is known by its stamp.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        if self.secret() {
            self.stamp == stamp(text)
        } else {
            self.value.as_deref() == Some(text)
        }
    }

    /// Is it a list whose entries have rows of their own?
    #[must_use]
    pub const fn is_list(&self) -> bool {
        matches!(self.key.shape, Shape::Texts(_) | Shape::Wholes { .. })
    }

    /// The words that it may be, where those are few.
    #[must_use]
    pub const fn choices(&self) -> Option<&'static [&'static str]> {
        match self.key.shape {
            Shape::Flag => Some(&["true", "false"]),
            Shape::Word(words) => Some(words),
            _ => None,
        }
    }

    /// What it may be.
    #[must_use]
    pub fn allowed(&self) -> Cow<'static, str> {
        match self.key.section {
            Section::Keys => Cow::Borrowed("a key, or several with commas between them"),
            _ => Cow::Owned(self.key.allowed()),
        }
    }

    /// When a change applies.
    #[must_use]
    pub const fn applies(&self) -> &'static str {
        match self.key.applies() {
            Applies::Now | Applies::AtOnce => "applies now",
            Applies::NextOnline => "applies the next time online",
            Applies::NextStart => "applies at the next start",
        }
    }
}

/// The value only as it may be shown.
impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Field")
            .field("name", &self.name)
            .field("value", &self.value.as_deref().map(masked))
            .finish_non_exhaustive()
    }
}

/// A value as it may be shown: an address without the password in it.
#[must_use]
pub fn masked(text: &str) -> String {
    if text.contains("://") && text.contains(['[', '"']) {
        let parts = text.split('"').map(mask_address);
        return parts.collect::<Vec<_>>().join("\"");
    }
    mask_address(text)
}

/// A number that is the same for the same text, and says nothing else about it: its key is made anew at each start.
pub fn stamp(text: &str) -> u64 {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    KEY.get_or_init(RandomState::new).hash_one(text)
}
