//! Every key once: what it does, and what the hint bar and the help say of it.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// The tabs of the hotbar, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tab {
    /// The shop's state, lights and earnings.
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
const JOBS: &[Tab] = &[Tab::Jobs];

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
    bind(&[ch('?')], "?", Act::Help, &[], "help", "this list"),
    bind(&[ch('q'), Press::Ctrl('c')], "q", Act::Quit, &[], "quit", "leave; asks where jobs are running"),
    bind(&[Press::Plain(KeyCode::Enter)], "Enter", Act::Open, &[], "open", "press, edit or open what is chosen"),
    bind(&[Press::Plain(KeyCode::Esc)], "Esc", Act::Back, &[], "", "back; undo; close"),
    bind(&[ch('/')], "/", Act::Filter, LISTS, "filter", "show only what holds these words"),
    bind(&[ch('s')], "s", Act::Sort, JOBS, "sort", "by time, amount, status, tokens or seconds"),
    bind(&[ch('S')], "S", Act::Reverse, JOBS, "", "the order the other way round"),
    bind(&[ch('f')], "f", Act::Follow, LISTS, "follow", "stay with what is new"),
    bind(&[ch(' ')], "Space", Act::Freeze, LISTS, "freeze", "hold the list still; again to let it go on"),
    bind(&[ch('c')], "c", Act::Cancel, JOBS, "cancel", "cancel the job"),
    bind(&[ch('r')], "r", Act::Retry, JOBS, "retry", "try a failed job again"),
    bind(&[ch('b')], "b", Act::Block, JOBS, "block", "serve this buyer no more"),
    bind(&[ch('e')], "e", Act::Raw, JOBS, "", "in a job: its events as they were signed"),
    bind(&[ch('d')], "d", Act::Reset, &[Tab::Settings], "default", "set the field back to its default"),
    bind(&[ch('y')], "y", Act::Copy, &[], "copy", "copy what is chosen (also over SSH)"),
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
    /// Does it hold on this tab?
    #[must_use]
    pub fn on(&self, tab: Tab) -> bool {
        self.tabs.is_empty() || self.tabs.contains(&tab)
    }
}

/// What a key does on a tab.
#[must_use]
pub fn act(tab: Tab, key: &KeyEvent) -> Option<Act> {
    let press = pressed(key)?;
    KEYS.iter()
        .find(|binding| binding.on(tab) && binding.keys.contains(&press))
        .map(|binding| binding.act)
}

fn pressed(key: &KeyEvent) -> Option<Press> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things_on_one_tab() {
        for tab in Tab::ALL {
            let mut seen = Vec::new();
            for binding in KEYS.iter().filter(|binding| binding.on(tab)) {
                for key in binding.keys {
                    assert!(!seen.contains(key), "{key:?} on {tab:?}");
                    seen.push(*key);
                }
            }
        }
    }

    #[test]
    fn every_key_has_a_line_of_help() {
        let all = || KEYS.iter().chain(COPIES);
        assert!(all().all(|binding| !binding.help.is_empty()));
        assert!(all().all(|binding| !binding.keys.is_empty()));
    }

    #[test]
    fn control_c_leaves_and_cancels_nothing() {
        let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(act(Tab::Jobs, &key), Some(Act::Quit));
    }
}
