//! Which lines of the feed are shown.

use crate::domain::telemetry::Telemetry;
use crate::store::Store;
use crate::ui::theme::level_word;

/// The feed's state. A line is known by its number since the screen began, so that it stays put while others come.
#[derive(Clone, Debug, Default)]
pub struct Feed {
    /// Only lines that hold this text.
    pub filter: String,
    /// The number of the last line shown; none: follow what is new.
    pub last: Option<u64>,
    /// Held still at this line: later ones are not shown.
    pub frozen: Option<u64>,
}

impl Feed {
    /// The lines up to the last one shown, oldest first, each with its number.
    #[must_use]
    pub fn lines<'a>(&self, store: &'a Store) -> Vec<(u64, &'a Telemetry)> {
        let end = self.last.or(self.frozen).unwrap_or(u64::MAX);
        let mut lines = self.all(store);
        lines.retain(|(number, _)| *number <= end);
        lines
    }

    fn all<'a>(&self, store: &'a Store) -> Vec<(u64, &'a Telemetry)> {
        let words = self.filter.to_lowercase();
        let first = store.fed() - store.feed().len() as u64;
        let end = self.frozen.unwrap_or(u64::MAX);
        (first..)
            .zip(store.feed())
            .take_while(|(number, _)| *number <= end)
            .filter(|(_, line)| holds(line, &words))
            .collect()
    }

    /// Moves by rows.
    pub fn go(&mut self, store: &Store, rows: usize, down: bool) {
        let all = self.all(store);
        let end = all.len().saturating_sub(1);
        let at = match self.last {
            Some(last) => all
                .partition_point(|(number, _)| *number <= last)
                .saturating_sub(1),
            None => end,
        };
        let at = if down {
            at.saturating_add(rows).min(end)
        } else {
            at.saturating_sub(rows)
        };
        self.last = all.get(at).map(|(number, _)| *number);
    }

    /// Follows what is new, or stays here.
    pub fn toggle_follow(&mut self, store: &Store) {
        if self.last.is_some() || self.frozen.is_some() {
            self.last = None;
            self.frozen = None;
        } else {
            self.go(store, 0, false);
        }
    }

    /// Holds the feed still, or lets it go on.
    pub fn toggle_freeze(&mut self, store: &Store) {
        self.frozen = match self.frozen {
            Some(_) => {
                self.last = None;
                None
            }
            None => Some(store.fed().saturating_sub(1)),
        };
    }

    /// The word for the title.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match (self.frozen, self.last) {
            (Some(_), _) => "frozen",
            (None, Some(_)) => "scrolled",
            (None, None) => "following",
        }
    }
}

fn holds(line: &Telemetry, words: &str) -> bool {
    words.is_empty()
        || level_word(line.level).contains(words)
        || line.category.to_lowercase().contains(words)
        || line.action.to_lowercase().contains(words)
        || line.label.to_lowercase().contains(words)
}
