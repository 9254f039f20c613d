//! Every key once: what it does, and what the hint bar, the help, the palette and docs/keys.md say of it.
//!
//! The table here is the default; `[keys]` of the settings binds an action to other keys.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::domain::query::Sort;

mod bound;
#[cfg(test)]
mod tests;

pub use bound::{Bound, Keymap, KeymapError, check, is_interrupt};

/// The tabs of the hotbar, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tab {
    /// The shop's state, health indicators and earnings.
    #[default]
    Sell,
    /// The settings.
    Settings,
    /// The jobs.
    Jobs,
    /// The feed.
    Telemetry,
}

impl Tab {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sell, Self::Settings, Self::Jobs, Self::Telemetry];

    /// What the hotbar calls it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Sell => "Sell Compute",
            Self::Settings => "Settings",
            Self::Jobs => "Jobs",
            Self::Telemetry => "Telemetry",
        }
    }

    /// The tab `steps` further, round and round.
    #[must_use]
    pub fn further(self, steps: usize) -> Self {
        let here = Self::ALL.iter().position(|tab| *tab == self).unwrap_or(0);
        Self::ALL[(here + steps) % Self::ALL.len()]
    }
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Show a tab.
    Show(Tab),
    /// The next tab.
    NextTab,
    /// The tab before.
    PrevTab,
    /// Online, or offline.
    Toggle,
    /// Take no new work for an hour, or take it again.
    Snooze,
    /// The list of keys.
    Help,
    /// One row down.
    Down,
    /// One row up.
    Up,
    /// A page down.
    PageDown,
    /// A page up.
    PageUp,
    /// The first row.
    First,
    /// The last row.
    Last,
    /// Type a filter.
    Filter,
    /// The next order.
    Sort,
    /// This order.
    SortBy(Sort),
    /// The order the other way round.
    Reverse,
    /// The events as they were signed.
    Raw,
    /// Follow what is new.
    Follow,
    /// Hold the feed.
    Freeze,
    /// Open, edit or press what is chosen.
    Open,
    /// Back, undo, close.
    Back,
    /// Copy what is chosen.
    Copy,
    /// Leave.
    Quit,
    /// Back to the default.
    Reset,
    /// Cancel the job.
    Cancel,
    /// Try the job again.
    Retry,
    /// Serve the buyer no more.
    Block,
    /// Copy the job's id.
    CopyId,
    /// Copy the invoice.
    CopyInvoice,
    /// Copy the job as JSON.
    CopyJson,
    /// Copy the buyer's npub.
    CopyBuyer,
    /// Copy the result's event, or the request's where there is no result.
    CopyEvent,
    /// The recovery desk.
    Desk,
    /// What came in by day, model and buyer.
    Earnings,
    /// Send the case's result again.
    Deliver,
    /// Mark the case as refunded.
    Refunded,
    /// Waive the case.
    Waive,
    /// Every action by its name.
    Palette,
    /// Stop the program until it is called back.
    Suspend,
    /// Draw everything anew.
    Redraw,
    /// Save what was changed.
    Save,
    /// Take back the last change.
    Undo,
    /// Show a secret for a moment.
    Reveal,
    /// Try out what is chosen.
    Test,
    /// A new entry.
    Add,
    /// Take the entry out.
    Remove,
    /// The next level of the feed.
    Level,
    /// The next category of the feed.
    Category,
    /// The next line that holds what is looked for.
    NextMatch,
    /// The one before.
    PrevMatch,
}

impl Act {
    /// Its name in `[keys]` and in the palette.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Show(Tab::Sell) => "sell",
            Self::Show(Tab::Settings) => "settings",
            Self::Show(Tab::Jobs) => "jobs",
            Self::Show(Tab::Telemetry) => "telemetry",
            Self::NextTab => "next_tab",
            Self::PrevTab => "previous_tab",
            Self::Toggle => "online",
            Self::Snooze => "snooze",
            Self::Help => "help",
            Self::Down => "down",
            Self::Up => "up",
            Self::PageDown => "page_down",
            Self::PageUp => "page_up",
            Self::First => "first",
            Self::Last => "last",
            Self::Filter => "filter",
            Self::Sort => "sort",
            Self::SortBy(Sort::Time) => "sort_time",
            Self::SortBy(Sort::Amount) => "sort_amount",
            Self::SortBy(Sort::Status) => "sort_status",
            Self::SortBy(Sort::Tokens) => "sort_tokens",
            Self::SortBy(Sort::Seconds) => "sort_seconds",
            Self::Follow => "follow",
            Self::Freeze => "freeze",
            Self::Open => "open",
            Self::Back => "back",
            Self::Copy => "copy",
            Self::Quit => "quit",
            Self::Reset => "default",
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::Block => "block",
            Self::Desk => "desk",
            Self::Earnings => "earnings",
            Self::Deliver => "deliver",
            Self::Refunded => "refunded",
            Self::Waive => "waive",
            Self::Palette => "palette",
            Self::Suspend => "suspend",
            Self::Redraw => "redraw",
            Self::Save => "save",
            Self::Undo => "undo",
            Self::Reveal => "reveal",
            Self::Test => "test",
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Level => "level",
            Self::Category => "category",
            Self::NextMatch => "next_match",
            Self::PrevMatch => "previous_match",
            Self::Reverse => "reverse",
            Self::Raw => "events",
            Self::CopyId => "copy_id",
            Self::CopyInvoice => "copy_invoice",
            Self::CopyJson => "copy_json",
            Self::CopyBuyer => "copy_buyer",
            Self::CopyEvent => "copy_event",
        }
    }
}

/// A key on the keyboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Press {
    /// By itself, or with shift as far as that makes another character.
    Plain(KeyCode),
    /// With control.
    Ctrl(char),
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// The keys that do it.
    pub keys: &'static [Press],
    /// How the keys are written.
    pub shown: &'static str,
    /// What they do.
    pub act: Act,
    /// On which tabs; none: everywhere.
    pub tabs: &'static [Tab],
    /// One word for the hint bar; empty: not in the bar.
    pub hint: &'static str,
    /// The line of the help.
    pub help: &'static str,
}

const fn ch(c: char) -> Press {
    Press::Plain(KeyCode::Char(c))
}

const fn bind(
    keys: &'static [Press],
    shown: &'static str,
    act: Act,
    tabs: &'static [Tab],
    hint: &'static str,
    help: &'static str,
) -> Binding {
    Binding {
        keys,
        shown,
        act,
        tabs,
        hint,
        help,
    }
}

const LISTS: &[Tab] = &[Tab::Jobs, Tab::Telemetry];
const SEARCHED: &[Tab] = &[Tab::Jobs, Tab::Settings, Tab::Telemetry];
const FOUND: &[Tab] = &[Tab::Telemetry, Tab::Settings];
const TESTED: &[Tab] = &[Tab::Settings, Tab::Sell];
const JOBS: &[Tab] = &[Tab::Jobs];
const FORM: &[Tab] = &[Tab::Settings];
const FEED: &[Tab] = &[Tab::Telemetry];

/// Every key there is. The hint bar shows as many of them, from the first, as it has room for.
#[rustfmt::skip]
pub const KEYS: &[Binding] = &[
    bind(&[ch('1')], "1", Act::Show(Tab::Sell), &[], "", "Sell Compute"),
    bind(&[ch('2')], "2", Act::Show(Tab::Settings), &[], "", "Settings"),
    bind(&[ch('3')], "3", Act::Show(Tab::Jobs), &[], "", "Jobs"),
    bind(&[ch('4')], "4", Act::Show(Tab::Telemetry), &[], "", "Telemetry"),
    bind(&[Press::Plain(KeyCode::Tab)], "Tab", Act::NextTab, &[], "", "the next tab"),
    bind(&[Press::Plain(KeyCode::BackTab)], "S-Tab", Act::PrevTab, &[], "", "the tab before"),
    bind(&[ch('o')], "o", Act::Toggle, &[], "on/off", "go online or offline, from anywhere"),
    bind(&[ch('z')], "z", Act::Snooze, &[], "snooze", "take no new work for an hour; again: take it again"),
    bind(&[ch('?')], "?", Act::Help, &[], "help", "this list"),
    bind(&[ch('q')], "q", Act::Quit, &[], "quit", "leave; asks first where jobs run"),
    bind(&[ch(':')], ":", Act::Palette, &[], "", "every action by its name"),
    bind(&[Press::Ctrl('z')], "C-z", Act::Suspend, &[], "", "stop the program until the shell's fg"),
    bind(&[Press::Ctrl('l')], "C-l", Act::Redraw, &[], "", "draw everything anew"),
    bind(&[Press::Plain(KeyCode::Enter)], "Enter", Act::Open, &[], "open", "press, edit or open what is chosen"),
    bind(&[Press::Plain(KeyCode::Esc)], "Esc", Act::Back, &[], "", "back; undo; close"),
    bind(&[ch('w'), Press::Ctrl('s')], "w C-s", Act::Save, FORM, "save", "save every changed field"),
    bind(&[ch('u')], "u", Act::Undo, FORM, "undo", "take back the last change"),
    bind(&[ch('/')], "/", Act::Filter, SEARCHED, "find", "Jobs: only what holds these words; else: go to them"),
    bind(&[ch('d')], "d", Act::Reset, FORM, "default", "set the field back to its default"),
    bind(&[ch('t')], "t", Act::Test, TESTED, "test", "try out this relay, server or wallet, as saved; at the first start: all"),
    bind(&[ch('a')], "a", Act::Add, FORM, "add", "a new entry, server or price"),
    bind(&[ch('x'), Press::Plain(KeyCode::Delete)], "x Del", Act::Remove, FORM, "remove", "take the entry, server or price out"),
    bind(&[ch('r')], "r", Act::Reveal, FORM, "reveal", "show this secret for ten seconds"),
    bind(&[ch('l')], "l", Act::Level, FEED, "level", "only debug, info, warn or error and above"),
    bind(&[ch('c')], "c", Act::Category, FEED, "category", "only one category"),
    bind(&[ch('n')], "n", Act::NextMatch, FOUND, "", "the next one that was looked for"),
    bind(&[ch('N')], "N", Act::PrevMatch, FOUND, "", "the one before"),
    bind(&[ch('d')], "d", Act::Desk, JOBS, "desk", "the recovery desk: money that needs you; Enter there opens the job"),
    bind(&[ch('i')], "i", Act::Earnings, JOBS, "earnings", "what came in by day, model and buyer"),
    bind(&[ch('s')], "s", Act::Sort, JOBS, "sort", "by time, amount, status, tokens or seconds"),
    bind(&[ch('5')], "5", Act::SortBy(Sort::Time), JOBS, "", "by time; again: the other way round"),
    bind(&[ch('6')], "6", Act::SortBy(Sort::Amount), JOBS, "", "by amount; again: the other way round"),
    bind(&[ch('7')], "7", Act::SortBy(Sort::Status), JOBS, "", "by status; again: the other way round"),
    bind(&[ch('8')], "8", Act::SortBy(Sort::Tokens), JOBS, "", "by tokens; again: the other way round"),
    bind(&[ch('9')], "9", Act::SortBy(Sort::Seconds), JOBS, "", "by seconds; again: the other way round"),
    bind(&[ch('S')], "S", Act::Reverse, JOBS, "", "the order the other way round"),
    bind(&[ch('f')], "f", Act::Follow, LISTS, "follow", "stay with what is new"),
    bind(&[ch(' ')], "Space", Act::Freeze, LISTS, "freeze", "hold the list still; again to let it go on"),
    bind(&[ch('c')], "c", Act::Cancel, JOBS, "cancel", "cancel the job"),
    bind(&[ch('r')], "r", Act::Retry, JOBS, "retry", "try a failed job again"),
    bind(&[ch('b')], "b", Act::Block, JOBS, "block", "serve this buyer no more"),
    bind(&[ch('a')], "a", Act::Deliver, JOBS, "", "on the desk: send the result again"),
    bind(&[ch('m')], "m", Act::Refunded, JOBS, "", "on the desk: mark as refunded"),
    bind(&[ch('w')], "w", Act::Waive, JOBS, "", "on the desk: nothing more is done about it"),
    bind(&[ch('e')], "e", Act::Raw, JOBS, "", "in a job: its events as they were signed"),
    bind(&[ch('y')], "y", Act::Copy, &[], "copy", "copy what is chosen (also over SSH)"),
    bind(&[], "y i", Act::CopyId, JOBS, "", "copy the job's id"),
    bind(&[], "y v", Act::CopyInvoice, JOBS, "", "copy the invoice"),
    bind(&[], "y j", Act::CopyJson, JOBS, "", "copy the job as JSON"),
    bind(&[], "y b", Act::CopyBuyer, JOBS, "", "copy the buyer's npub"),
    bind(&[], "y e", Act::CopyEvent, JOBS, "", "copy the result's event, or the request's"),
    bind(&[ch('j'), Press::Plain(KeyCode::Down)], "j Down", Act::Down, &[], "", "one row down"),
    bind(&[ch('k'), Press::Plain(KeyCode::Up)], "k Up", Act::Up, &[], "", "one row up"),
    bind(&[Press::Plain(KeyCode::PageDown)], "PgDn", Act::PageDown, &[], "", "a page down"),
    bind(&[Press::Plain(KeyCode::PageUp)], "PgUp", Act::PageUp, &[], "", "a page up"),
    bind(&[ch('g'), Press::Plain(KeyCode::Home)], "g Home", Act::First, &[], "", "the first row"),
    bind(&[ch('G'), Press::Plain(KeyCode::End)], "G End", Act::Last, &[], "", "the last row"),
];

/// The keys after `y` on a job. The help lists them beside the others.
#[rustfmt::skip]
pub const COPIES: &[Binding] = &[
    bind(&[ch('i')], "y i", Act::CopyId, JOBS, "", "copy the job's id"),
    bind(&[ch('v')], "y v", Act::CopyInvoice, JOBS, "", "copy the invoice"),
    bind(&[ch('j')], "y j", Act::CopyJson, JOBS, "", "copy the job as JSON"),
    bind(&[ch('b')], "y b", Act::CopyBuyer, JOBS, "", "copy the buyer's npub"),
    bind(&[ch('e')], "y e", Act::CopyEvent, JOBS, "", "copy the result's event, or the request's"),
];

/// What a key does after `y`.
#[must_use]
pub fn copy_act(key: &KeyEvent) -> Option<Act> {
    let press = pressed(key)?;
    COPIES
        .iter()
        .find(|binding| binding.keys.contains(&press))
        .map(|binding| binding.act)
}

impl Binding {
    /// The keys as `[keys]` of the settings writes them.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let keys = self.keys.iter().filter_map(|press| press.name());
        keys.collect()
    }

    /// Does it hold on this tab?
    #[must_use]
    pub fn on(&self, tab: Tab) -> bool {
        self.tabs.is_empty() || self.tabs.contains(&tab)
    }
}

/// The key of a key event; none for what no action can be bound to.
#[must_use]
pub fn pressed(key: &KeyEvent) -> Option<Press> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char(c) => Some(Press::Ctrl(c.to_ascii_lowercase())),
            _ => None,
        };
    }
    if key.modifiers.contains(KeyModifiers::ALT) {
        return None;
    }
    Some(Press::Plain(key.code))
}
