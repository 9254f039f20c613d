//! The screen's own state: which tab, which row, what is asked. Pure: inputs in, actions out.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseEvent};
use secrecy::SecretString;
use tui_input::Input as Line;

use super::case_list::CaseList;
use super::clock;
use super::jobs_list::JobsList;
use super::keymap::{self, Act, Keymap, Tab, is_interrupt};
use super::settings_form::{Change, Form, Read, SaveError, TestState};
use super::theme::Theme;
use super::{Leave, Options};
use crate::config::schema::Screen;
use crate::domain::command::{Command, Probe, Reply};
use crate::domain::event::{Event, EventKind};
use crate::domain::health::ShopState;
use crate::domain::text::clean;
use crate::domain::time::Time;
use crate::store::Store;

mod ask;
mod feed;
mod first_start;
mod form;
mod mouse;
mod notice;
mod on_desk;
mod on_jobs;
mod palette;
mod typing;

pub use ask::{Ask, Then};
pub use feed::Feed;
pub use first_start::FirstStep;
pub use notice::Notice;
pub use palette::Palette;

/// The longest text that is pasted into a field, in characters.
const PASTE_MAX: usize = 4_096;

/// What comes in.
#[derive(Clone, Debug)]
pub enum Input {
    /// A key was pressed.
    Key(KeyEvent),
    /// A text was pasted.
    Paste(String),
    /// The mouse did something (only where the settings ask for it).
    Mouse(MouseEvent),
    /// The terminal has so many columns and rows.
    Size(u16, u16),
    /// The engine tells something.
    Event(Box<Event>),
    /// The engine answers, or why it can't.
    Reply(Reply),
    /// The engine answers a question about jobs, or why it can't.
    Looked(Reply),
    /// The engine answers a test.
    Tested(Probe, Reply),
    /// The settings file was read, or why not.
    Fields(Result<Box<Read>, String>),
    /// The changes were saved and the file read again, or why not.
    Saved(Result<Box<Read>, SaveError>),
    /// A secret was read, or why not.
    Revealed(String, Result<SecretString, String>),
    /// The secret that was shown with this number has been shown long enough.
    Hide(u64),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a command to the engine.
    Send(Command),
    /// Read the settings file.
    Load,
    /// Save these changes in one write.
    Save(Vec<Change>),
    /// Read the secret of this field.
    Reveal(String),
    /// Call [`Input::Hide`] with this number in ten seconds.
    HideLater(u64),
    /// Hand a text to the clipboard.
    Copy(String),
    /// Draw everything anew.
    Redraw,
    /// Let the mouse be reported, or no more.
    Mouse(bool),
    /// Stop the program until it is called back.
    Suspend,
    /// Leave the screen.
    Leave(Leave),
}

/// The state of the screen.
#[allow(clippy::struct_excessive_bools)] // Each is a matter of its own; no two of them exclude each other.
pub struct App {
    /// What the engine told.
    pub store: Store,
    /// The tab that is shown.
    pub tab: Tab,
    /// How it looks.
    pub theme: Theme,
    /// What the settings say of the screen.
    pub screen: Screen,
    /// The keys in force.
    pub keys: Keymap,
    /// The terminal says that its ground is light.
    pub health: bool,
    /// A line across every tab.
    pub banner: Option<String>,
    /// The engine is in another process.
    pub attached: bool,
    /// Columns and rows.
    pub size: (u16, u16),
    /// Is the list of keys open?
    pub help: bool,
    /// Its first row.
    pub help_at: usize,
    /// Every action by its name, while it is open.
    pub palette: Option<Palette>,
    /// What is asked.
    pub ask: Option<Ask>,
    /// Is a filter being typed?
    pub typing: bool,
    /// What is typed of it.
    pub line: Line,
    /// What is to be noticed, until it has been told.
    pub notice: Notice,
    /// The last answer to a command.
    pub message: Option<String>,
    /// The table of jobs.
    pub jobs: JobsList,
    /// The recovery desk.
    pub cases: CaseList,
    /// The first line of the earnings, while they are shown.
    pub earnings: Option<usize>,
    /// The feed.
    pub feed: Feed,
    /// The settings.
    pub form: Form,
    /// The step of the first start that the keys have chosen.
    pub step: Option<FirstStep>,
}

impl App {
    /// A screen that knows nothing yet.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        Self {
            store: Store::new(),
            tab: Tab::default(),
            theme: Theme {
                name: options.theme.on(options.health),
                ascii: options.ascii,
                color: options.color,
            },
            screen: Screen {
                mouse: options.mouse,
                theme: options.theme,
                ..Screen::default()
            },
            keys: Keymap::new(&options.keys).unwrap_or_default(),
            health: options.health,
            banner: options.banner.clone(),
            attached: options.attached,
            size: (80, 24),
            help: false,
            help_at: 0,
            palette: None,
            ask: None,
            typing: false,
            line: Line::default(),
            notice: Notice::default(),
            message: None,
            jobs: JobsList::default(),
            cases: CaseList::default(),
            earnings: None,
            feed: Feed::default(),
            form: Form::default(),
            step: None,
        }
    }

    /// A moment as the screen's zone has it, to be read as UTC is.
    #[must_use]
    pub fn here(&self, at: Time) -> Time {
        clock::here(self.screen.time, at)
    }

    /// What the screen's zone is called at a moment.
    #[must_use]
    pub fn zone(&self, at: Time) -> String {
        clock::name(self.screen.time, at)
    }

    /// Takes in one input and says what is to be done.
    pub fn handle(&mut self, input: Input) -> Vec<Action> {
        match input {
            Input::Key(key) => return self.key(key),
            Input::Paste(text) => self.paste(&clean(&text, PASTE_MAX)),
            Input::Mouse(mouse) => return self.mouse(mouse),
            Input::Size(width, height) => {
                self.size = (width, height);
                self.jobs.beside = width >= super::view::JOB_BESIDE;
            }
            Input::Event(event) => {
                if let EventKind::Job { job, .. } = &event.kind {
                    self.jobs.changed(job);
                }
                if matches!(event.kind, EventKind::Job { .. } | EventKind::Totals { .. }) {
                    self.cases.changed();
                }
                if let EventKind::State { state, .. } = event.kind
                    && state != self.store.state
                {
                    self.state_changed(state);
                }
                self.notice(&event);
                self.store.apply(&event);
                self.feed.sync(&self.store);
            }
            Input::Looked(reply) => return self.looked(reply),
            Input::Reply(Reply::Done { detail } | Reply::Refused { detail }) => {
                self.message = Some(detail);
                self.cases.changed();
            }
            Input::Reply(_) => {}
            Input::Tested(what, reply) => self.form.tested(&what, reply),
            Input::Fields(read) => return self.fields(read),
            Input::Saved(read) => return self.saved(read),
            Input::Revealed(name, secret) => return self.revealed(name, secret),
            Input::Hide(number) => self.form.hide(number),
        }
        Vec::new()
    }

    /// The shop goes over into another state: what was said of the one before is so no more.
    fn state_changed(&mut self, to: ShopState) {
        // "Going online" is said no longer than it is so.
        self.message = None;
        if to == ShopState::Starting {
            // A start looks at everything itself.
            (self.form.tests).retain(|_, test| *test == TestState::Running);
            self.step = None;
        }
    }

    fn key(&mut self, key: KeyEvent) -> Vec<Action> {
        if key.is_release() {
            return Vec::new();
        }
        if matches!(self.keys.act(self.tab, &key), Some(Act::Redraw)) {
            return vec![Action::Redraw];
        }
        if let Some(second) = self.after_escape(&key) {
            let mut actions = self.key(KeyCode::Esc.into());
            actions.extend(self.key(second));
            return actions;
        }
        self.jobs.wake();
        // What the last key led to has been read.
        self.message = None;
        self.cases.wake();
        if matches!(self.ask, Some(Ask::Decide(_, _, action)) if action.closes()) {
            return self.decide_key(key);
        }
        if let Some(ask) = self.ask {
            if !key.modifiers.difference(KeyModifiers::SHIFT).is_empty() {
                return Vec::new();
            }
            return self.answer(ask, key.code);
        }
        if is_interrupt(&key) {
            return self.act(Act::Quit);
        }
        if self.palette.is_some() {
            return self.palette_key(key);
        }
        if self.help {
            self.help_key(&key);
            return Vec::new();
        }
        if self.form.edit.is_some() && self.tab == Tab::Settings {
            return self.edit(key);
        }
        if self.typing {
            self.type_filter(&key);
            return Vec::new();
        }
        if self.feed.detail.is_some() && self.tab == Tab::Telemetry && key.code == KeyCode::Enter {
            self.feed.detail = None;
            return Vec::new();
        }
        if std::mem::take(&mut self.jobs.copying) {
            return keymap::copy_act(&key).map_or_else(Vec::new, |act| self.act(act));
        }
        match self.keys.act(self.tab, &key) {
            Some(act) => self.act(act),
            None => Vec::new(),
        }
    }

    /// Does what an action says, whichever key or name it was called by.
    pub(super) fn act(&mut self, act: Act) -> Vec<Action> {
        if let Some(actions) = self.act_beside(act) {
            return actions;
        }
        if !self.applies(act) {
            self.message = Some(match act {
                Act::Raw => "that is for a job: Enter opens one".to_owned(),
                _ => on_desk::FOR_THE_TABLE.to_owned(),
            });
            return Vec::new();
        }
        match act {
            Act::Show(tab) => return self.show(tab),
            Act::NextTab => return self.show(self.tab.further(1)),
            Act::PrevTab => return self.show(self.tab.further(Tab::ALL.len() - 1)),
            Act::Toggle => return self.toggle(),
            Act::Snooze => return self.snooze(),
            Act::Quit => return self.quit(),
            Act::Suspend => return self.suspend(),
            Act::Redraw => return vec![Action::Redraw],
            Act::Copy if self.tab == Tab::Jobs => self.begin_copy(),
            Act::CopyId | Act::CopyInvoice | Act::CopyJson | Act::CopyBuyer | Act::CopyEvent => {
                return self.copy_of_job(act);
            }
            Act::Copy => return self.copied().map(Action::Copy).into_iter().collect(),
            Act::Open => return self.open(),
            Act::Save => return self.save(),
            Act::Reveal => return self.reveal(),
            Act::Test if self.tab == Tab::Sell => return self.check_all(),
            Act::Test => return self.test(),
            Act::Reset => self.form.reset(),
            Act::Undo => self.form.undo(),
            Act::Add => self.form.add(),
            Act::Remove => self.form.remove(),
            Act::Palette => self.palette = Some(Palette::default()),
            Act::Help => (self.help, self.help_at) = (true, 0),
            Act::Filter => self.begin_filter(),
            Act::Sort => self.jobs.sort(),
            Act::SortBy(sort) => self.jobs.sort_by(sort),
            Act::Reverse => self.jobs.reverse(),
            Act::Raw => self.toggle_raw(),
            Act::Follow if self.tab == Tab::Jobs => self.jobs.toggle_follow(&self.store),
            Act::Follow => self.feed.toggle_follow(&self.store),
            Act::Freeze if self.tab == Tab::Jobs => self.jobs.toggle_freeze(&self.store),
            Act::Freeze => self.feed.toggle_freeze(&self.store),
            Act::Level => self.feed.next_level(&self.store),
            Act::Category => self.feed.next_category(&self.store),
            Act::NextMatch if self.tab == Tab::Settings => self.form.go_to_match(true),
            Act::PrevMatch if self.tab == Tab::Settings => self.form.go_to_match(false),
            Act::NextMatch => self.feed.go_to_match(&self.store, true),
            Act::PrevMatch => self.feed.go_to_match(&self.store, false),
            Act::Back => self.back(),
            Act::Cancel | Act::Retry | Act::Block => self.ask_about_job(act),
            Act::Desk | Act::Earnings => self.show_beside(act),
            Act::Deliver | Act::Refunded | Act::Waive => self.desk_first(),
            Act::PageDown if self.cases.open && self.tab == Tab::Jobs => {
                self.cases.scroll =
                    (self.cases.scroll + 4).min(super::view::last_line_of_case(self));
            }
            Act::PageUp if self.cases.open && self.tab == Tab::Jobs => {
                self.cases.scroll = self.cases.scroll.saturating_sub(4);
            }
            Act::Down => self.go(1, true),
            Act::Up => self.go(1, false),
            Act::PageDown => self.go(self.page(), true),
            Act::PageUp => self.go(self.page(), false),
            Act::First => self.go(usize::MAX, false),
            Act::Last => self.go(usize::MAX, true),
        }
        Vec::new()
    }

    /// Does an action mean anything where the screen is now? With a job open its table is out of sight, and stays as it is.
    #[must_use]
    pub fn applies(&self, act: Act) -> bool {
        let table = matches!(
            act,
            Act::Filter
                | Act::Sort
                | Act::SortBy(_)
                | Act::Reverse
                | Act::Follow
                | Act::Freeze
                | Act::Open
        );
        match act {
            Act::Raw => self.jobs.detail,
            _ => !(table && self.tab == Tab::Jobs && self.jobs.detail),
        }
    }

    /// Shows a tab; where that would lose unsaved changes it asks first.
    fn show(&mut self, tab: Tab) -> Vec<Action> {
        if self.tab == Tab::Settings && tab != Tab::Settings && self.form.unsaved() {
            self.ask = Some(Ask::Unsaved(Then::Show(tab)));
            return Vec::new();
        }
        self.tab = tab;
        self.typing = false;
        self.message = None;
        self.form.leave();
        if tab == Tab::Settings {
            vec![Action::Load]
        } else {
            Vec::new()
        }
    }

    fn open(&mut self) -> Vec<Action> {
        match self.tab {
            Tab::Sell if self.is_first_start() => return self.do_step(),
            Tab::Sell => return self.toggle(),
            Tab::Settings => self.form.begin(),
            Tab::Jobs => self.jobs.open(&self.store),
            Tab::Telemetry => self.feed.open(&self.store),
        }
        Vec::new()
    }

    fn back(&mut self) {
        self.message = None;
        match self.tab {
            Tab::Jobs if self.beside_jobs() => self.leave_beside(),
            Tab::Jobs if self.jobs.detail => self.close_job(),
            Tab::Jobs => self.jobs.unfilter(),
            Tab::Telemetry => self.feed.back(&self.store),
            Tab::Settings => self.form.back(),
            Tab::Sell => {}
        }
    }

    fn go(&mut self, rows: usize, down: bool) {
        let moved = |at: usize, last: usize| {
            if down {
                at.saturating_add(rows).min(last)
            } else {
                at.saturating_sub(rows)
            }
        };
        match self.tab {
            Tab::Sell => self.go_step(moved),
            Tab::Settings => self.form.go(moved),
            Tab::Jobs if self.cases.open => self.cases.go(moved),
            Tab::Jobs if self.earnings.is_some() => {
                let last = super::view::last_line_of_earnings(self);
                self.earnings = self.earnings.map(|from| moved(from.min(last), last));
            }
            Tab::Jobs if self.jobs.detail => {
                let last = super::view::last_line_of_job(self);
                self.jobs.scroll = moved(self.jobs.scroll.min(last), last);
            }
            Tab::Jobs => self.jobs.go(&self.store, moved),
            Tab::Telemetry => self.feed.go(&self.store, moved),
        }
    }

    /// Rows of a page.
    fn page(&self) -> usize {
        usize::from(self.size.1.saturating_sub(8)).max(1)
    }

    fn copied(&self) -> Option<String> {
        match self.tab {
            Tab::Sell => Some(self.store.npub.clone()).filter(|npub| !npub.is_empty()),
            Tab::Settings => self.form.copied(),
            // A job has several things to copy: see `copy_of_job`.
            Tab::Jobs => None,
            Tab::Telemetry => self.feed.copied(&self.store),
        }
    }
}

#[cfg(test)]
mod tests;
