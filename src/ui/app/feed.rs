//! Which lines of the feed are shown, which one is chosen, and what is looked for in them.
//!
//! What fits the filter is kept as a list of line numbers that grows and shrinks with the feed. So a new line costs one
//! look, a frame costs the rows that it shows, and only another filter looks at the whole feed again.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::domain::event::Level;
use crate::domain::telemetry::Telemetry;
use crate::store::Store;

/// The most categories that can be chosen from.
const CATEGORIES_MAX: usize = 32;

/// The feed's state. A line is known by its number since the screen began, so that it stays put while others come.
#[derive(Clone, Debug, Default)]
pub struct Feed {
    /// The words that are looked for.
    pub search: String,
    /// Only this level and what is more serious.
    pub level: Option<Level>,
    /// Only this category.
    pub category: Option<String>,
    /// The chosen line; none: follow what is new.
    pub chosen: Option<u64>,
    /// The line that is shown with everything it has.
    pub detail: Option<Arc<Telemetry>>,
    /// The first row of it.
    pub scroll: usize,
    /// Lines that fit the filter and came since the feed was frozen.
    pub since: u64,
    held: Option<Held>,
    /// Numbers of the lines that fit the filter.
    fitting: VecDeque<u64>,
    /// Those of them that hold what is looked for.
    matching: VecDeque<u64>,
    seen: BTreeSet<String>,
    /// Lines up to this number have been looked at.
    upto: u64,
}

/// The feed as it was when it was frozen.
#[derive(Clone, Debug)]
struct Held {
    lines: VecDeque<Arc<Telemetry>>,
    first: u64,
}

/// The lines to choose from, with the number of the first.
fn source<'a>(held: Option<&'a Held>, store: &'a Store) -> (u64, &'a VecDeque<Arc<Telemetry>>) {
    match held {
        Some(held) => (held.first, &held.lines),
        None => (store.first_fed(), store.feed()),
    }
}

impl Feed {
    /// Takes in what the store was told since the last time.
    pub fn sync(&mut self, store: &Store) {
        let first = store.first_fed();
        let from = self.upto.max(first);
        // Taken by their place from the end: nothing that was looked at before is looked at again.
        let skip = usize::try_from(from - first).unwrap_or(usize::MAX);
        for (number, line) in (from..).zip(store.feed().iter().skip(skip)) {
            self.take_in(number, line);
        }
        self.upto = store.fed();
        if self.held.is_none() {
            for list in [&mut self.fitting, &mut self.matching] {
                while list.front().is_some_and(|number| *number < first) {
                    list.pop_front();
                }
            }
        }
    }

    fn take_in(&mut self, number: u64, line: &Telemetry) {
        if self.seen.len() < CATEGORIES_MAX && !self.seen.contains(&line.category) {
            self.seen.insert(line.category.clone());
        }
        if !self.fits(line) {
            return;
        }
        if self.held.is_some() {
            self.since += 1;
            return;
        }
        self.fitting.push_back(number);
        if holds(line, &self.search.to_lowercase()) {
            self.matching.push_back(number);
        }
    }

    fn fits(&self, line: &Telemetry) -> bool {
        self.level.is_none_or(|least| line.level >= least)
            && (self.category.as_ref()).is_none_or(|category| *category == line.category)
    }

    /// Looks at every line again, as the filter is another one.
    fn look_again(&mut self, store: &Store) {
        let words = self.search.to_lowercase();
        let (first, lines) = source(self.held.as_ref(), store);
        let mut fitting = VecDeque::new();
        let mut matching = VecDeque::new();
        for (number, line) in (first..).zip(lines) {
            if !self.fits(line) {
                continue;
            }
            fitting.push_back(number);
            if holds(line, &words) {
                matching.push_back(number);
            }
        }
        (self.fitting, self.matching) = (fitting, matching);
    }

    /// How many lines fit the filter.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fitting.len()
    }

    /// Does none fit?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fitting.is_empty()
    }

    /// How many lines hold what is looked for.
    #[must_use]
    pub fn matches(&self) -> usize {
        self.matching.len()
    }

    /// The chosen row; the last one while the feed is followed.
    #[must_use]
    pub fn at(&self) -> usize {
        let last = self.fitting.len().saturating_sub(1);
        self.chosen.map_or(last, |chosen| {
            let after = self.fitting.partition_point(|number| *number < chosen);
            after.min(last)
        })
    }

    /// At most `count` lines from the row `from` on, each with: does it hold what is looked for?
    pub fn window<'a>(
        &'a self,
        store: &'a Store,
        from: usize,
        count: usize,
    ) -> impl Iterator<Item = (&'a Arc<Telemetry>, bool)> {
        let (first, lines) = source(self.held.as_ref(), store);
        let numbers = self.fitting.iter().skip(from).take(count);
        numbers.filter_map(move |number| {
            let place = usize::try_from(number.checked_sub(first)?).ok()?;
            let line = lines.get(place)?;
            let found = !self.search.is_empty() && self.matching.binary_search(number).is_ok();
            Some((line, found))
        })
    }

    /// The chosen line.
    #[must_use]
    pub fn chosen_line<'a>(&'a self, store: &'a Store) -> Option<&'a Arc<Telemetry>> {
        self.window(store, self.at(), 1)
            .next()
            .map(|(line, _)| line)
    }

    /// Chooses the row that `to` makes of the present one; in the detail it scrolls.
    pub fn go(&mut self, store: &Store, to: impl FnOnce(usize, usize) -> usize) {
        if let Some(line) = &self.detail {
            // The view stops at the end of the text, however it is wrapped.
            self.scroll = to(self.scroll, line.context.len() * 8 + 16);
            return;
        }
        self.sync(store);
        let last = self.fitting.len().saturating_sub(1);
        let at = to(self.at(), last).min(last);
        self.chosen = self.fitting.get(at).copied();
    }

    /// Follows what is new, or stays here.
    pub fn toggle_follow(&mut self, store: &Store) {
        if self.chosen.is_some() || self.held.is_some() {
            self.thaw(store);
        } else {
            self.go(store, |at, _| at);
        }
    }

    /// Holds the feed still, or lets it go on.
    pub fn toggle_freeze(&mut self, store: &Store) {
        if self.held.is_some() {
            self.thaw(store);
            return;
        }
        self.sync(store);
        self.held = Some(Held {
            lines: store.feed().clone(),
            first: store.first_fed(),
        });
        self.since = 0;
    }

    fn thaw(&mut self, store: &Store) {
        self.held = None;
        self.chosen = None;
        self.since = 0;
        self.look_again(store);
    }

    /// Is it held still?
    #[must_use]
    pub const fn frozen(&self) -> bool {
        self.held.is_some()
    }

    /// debug, info, warn, error, and everything again.
    pub fn next_level(&mut self, store: &Store) {
        self.level = match self.level {
            None => Some(Level::Info),
            Some(Level::Debug | Level::Info) => Some(Level::Warn),
            Some(Level::Warn) => Some(Level::Error),
            Some(Level::Error) => None,
        };
        self.look_again(store);
    }

    /// Each category that was seen, and all again.
    pub fn next_category(&mut self, store: &Store) {
        let next = match &self.category {
            None => self.seen.first(),
            Some(here) => self.seen.iter().find(|one| *one > here),
        };
        self.category = next.cloned();
        self.look_again(store);
    }

    /// Other words are looked for: goes to the latest line that holds them.
    pub fn searched(&mut self, store: &Store) {
        self.look_again(store);
        if self.search.is_empty() {
            return;
        }
        if let Some(last) = self.matching.back() {
            self.chosen = Some(*last);
        }
    }

    /// Is there a line that holds what is looked for, or nothing to look for?
    #[must_use]
    pub fn found(&self) -> bool {
        self.search.is_empty() || !self.matching.is_empty()
    }

    /// The next line that holds what is looked for, or the one before; round and round.
    pub fn go_to_match(&mut self, store: &Store, down: bool) {
        if self.search.is_empty() || self.matching.is_empty() {
            return;
        }
        self.sync(store);
        let here = self.fitting.get(self.at()).copied().unwrap_or_default();
        let after = self.matching.partition_point(|number| *number <= here);
        let before = self.matching.partition_point(|number| *number < here);
        let found = if down {
            self.matching.get(after).or(self.matching.front())
        } else {
            let earlier = before.checked_sub(1).and_then(|at| self.matching.get(at));
            earlier.or(self.matching.back())
        };
        self.chosen = found.copied();
    }

    /// Opens the chosen line with everything it has.
    pub fn open(&mut self, store: &Store) {
        self.detail = self.chosen_line(store).cloned();
        self.scroll = 0;
    }

    /// Closes the detail, else forgets what was looked for, else the filters.
    pub fn back(&mut self, store: &Store) {
        if self.detail.take().is_some() {
            return;
        }
        if self.search.is_empty() {
            self.level = None;
            self.category = None;
        }
        self.search.clear();
        self.look_again(store);
    }

    /// The open or chosen line as JSON.
    #[must_use]
    pub fn copied(&self, store: &Store) -> Option<String> {
        let line = self.detail.as_ref().or_else(|| self.chosen_line(store))?;
        serde_json::to_string(&**line).ok()
    }
}

/// Are the words (in lower case) in what the line shows?
fn holds(line: &Telemetry, words: &str) -> bool {
    !words.is_empty()
        && (line.category.to_lowercase().contains(words)
            || line.action.to_lowercase().contains(words)
            || line.label.to_lowercase().contains(words)
            || line
                .context
                .values()
                .any(|value| value.to_lowercase().contains(words)))
}
