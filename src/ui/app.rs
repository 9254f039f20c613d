//! The screen's own state: which tab, which row, what is asked. Pure: inputs in, actions out.

use crossterm::event::{Event as TermEvent, KeyCode, KeyEvent};
use tui_input::backend::crossterm::EventHandler as _;

use super::jobs_list::JobsList;
use super::keymap::{self, Act, Tab};
use super::settings_form::{Field, Form};
use super::theme::Theme;
use super::{Leave, Options};
use crate::domain::command::{Command, Reply};
use crate::domain::event::{Event, News};
use crate::domain::health::ShopState;
use crate::domain::id::{Buyer, RequestId};
use crate::store::Store;

mod feed;
mod on_jobs;

pub use feed::Feed;

/// The longest filter, in characters.
const FILTER_MAX: usize = crate::domain::query::FILTER_MAX;

/// What comes in.
#[derive(Clone, Debug)]
pub enum Input {
    /// A key was pressed.
    Key(KeyEvent),
    /// The terminal has so many columns and rows.
    Size(u16, u16),
    /// The engine tells something.
    Event(Box<Event>),
    /// The engine answers, or why it can't.
    Reply(Reply),
    /// The engine answers a question about jobs, or why it can't.
    Looked(Reply),
    /// The settings file was read (true: after a save), or why not.
    Fields(Result<Vec<Field>, String>, bool),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a command to the engine.
    Send(Command),
    /// Read the settings file.
    Load,
    /// Save a field; no value: back to its default.
    Save {
        /// Its dotted name.
        name: String,
        /// What was typed.
        value: Option<String>,
    },
    /// Hand a text to the clipboard.
    Copy(String),
    /// Leave the screen.
    Leave(Leave),
}

/// A question that waits for one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Jobs are running: how to leave?
    Quit,
    /// Jobs are running: how to go offline?
    Offline,
    /// Cancel this job?
    Cancel(RequestId),
    /// Try this job again?
    Retry(RequestId),
    /// Serve this buyer no more?
    Block(Buyer),
}

/// The state of the screen.
pub struct App {
    /// What the engine told.
    pub store: Store,
    /// The tab that is shown.
    pub tab: Tab,
    /// How it looks.
    pub theme: Theme,
    /// A line across every tab.
    pub banner: Option<String>,
    /// The engine is in another process.
    pub attached: bool,
    /// Columns and rows.
    pub size: (u16, u16),
    /// Is the list of keys open?
    pub help: bool,
    /// What is asked.
    pub ask: Option<Ask>,
    /// Is a filter being typed?
    pub typing: bool,
    /// The last answer to a command.
    pub message: Option<String>,
    /// The table of jobs.
    pub jobs: JobsList,
    /// The feed.
    pub feed: Feed,
    /// The settings.
    pub form: Form,
}

impl App {
    /// A screen that knows nothing yet.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        Self {
            store: Store::new(),
            tab: Tab::default(),
            theme: Theme {
                name: options.theme,
                ascii: options.ascii,
                color: options.color,
            },
            banner: options.banner.clone(),
            attached: options.attached,
            size: (80, 24),
            help: false,
            ask: None,
            typing: false,
            message: None,
            jobs: JobsList::default(),
            feed: Feed::default(),
            form: Form::default(),
        }
    }

    /// Takes in one input and says what is to be done.
    pub fn handle(&mut self, input: Input) -> Vec<Action> {
        match input {
            Input::Key(key) => return self.key(key),
            Input::Size(width, height) => self.size = (width, height),
            Input::Event(event) => {
                if let News::Job { job, .. } = &event.news {
                    self.jobs.changed(job);
                }
                self.store.apply(&event);
            }
            Input::Looked(reply) => return self.looked(reply),
            Input::Reply(Reply::Done { detail } | Reply::Refused { detail }) => {
                self.message = Some(detail);
            }
            Input::Reply(_) => {}
            Input::Fields(fields, saved) => {
                let good = fields.is_ok();
                self.form.loaded(fields);
                if saved && good {
                    self.form.edit = None;
                    return vec![Action::Send(Command::ApplySettings)];
                }
            }
        }
        Vec::new()
    }

    fn key(&mut self, key: KeyEvent) -> Vec<Action> {
        if key.is_release() {
            return Vec::new();
        }
        self.jobs.wake();
        let leave = keymap::act(self.tab, &key) == Some(Act::Quit);
        let control = leave && key.code == KeyCode::Char('c');
        if let Some(ask) = self.ask {
            return self.answer(ask, key.code);
        }
        if self.help {
            self.help = false;
            return Vec::new();
        }
        if !control && self.form.edit.is_some() && self.tab == Tab::Settings {
            return self.edit(key);
        }
        if !control && self.typing {
            self.type_filter(key.code);
            return Vec::new();
        }
        if std::mem::take(&mut self.jobs.copying) && !control {
            return keymap::copy_act(&key).map_or_else(Vec::new, |act| self.act(act));
        }
        match keymap::act(self.tab, &key) {
            Some(act) => self.act(act),
            None => Vec::new(),
        }
    }

    fn act(&mut self, act: Act) -> Vec<Action> {
        match act {
            Act::Show(tab) => return self.show(tab),
            Act::NextTab => return self.show(self.tab.further(1)),
            Act::PrevTab => return self.show(self.tab.further(Tab::ALL.len() - 1)),
            Act::Toggle => return self.toggle(),
            Act::Quit => return self.quit(),
            Act::Copy if self.tab == Tab::Jobs => self.begin_copy(),
            Act::CopyId | Act::CopyInvoice | Act::CopyJson | Act::CopyBuyer | Act::CopyEvent => {
                return self.copy_of_job(act);
            }
            Act::Copy => return self.copied().map(Action::Copy).into_iter().collect(),
            Act::Open => return self.open(),
            Act::Reset => return self.reset(),
            Act::Help => self.help = true,
            Act::Filter => self.typing = true,
            Act::Sort => self.jobs.sort(),
            Act::Reverse => self.jobs.reverse(),
            Act::Raw => self.toggle_raw(),
            Act::Follow if self.tab == Tab::Jobs => self.jobs.toggle_follow(&self.store),
            Act::Follow => self.feed.toggle_follow(&self.store),
            Act::Freeze if self.tab == Tab::Jobs => self.jobs.toggle_freeze(&self.store),
            Act::Freeze => self.feed.toggle_freeze(&self.store),
            Act::Back => self.back(),
            Act::Cancel | Act::Retry | Act::Block => self.ask_about_job(act),
            Act::Down => self.go(1, true),
            Act::Up => self.go(1, false),
            Act::PageDown => self.go(self.page(), true),
            Act::PageUp => self.go(self.page(), false),
            Act::First => self.go(usize::MAX, false),
            Act::Last => self.go(usize::MAX, true),
        }
        Vec::new()
    }

    fn show(&mut self, tab: Tab) -> Vec<Action> {
        self.tab = tab;
        self.typing = false;
        self.message = None;
        if tab == Tab::Settings {
            vec![Action::Load]
        } else {
            Vec::new()
        }
    }

    fn toggle(&mut self) -> Vec<Action> {
        if self.store.state == ShopState::Offline {
            return vec![Action::Send(Command::GoOnline)];
        }
        if self.at_work() {
            self.ask = Some(Ask::Offline);
            return Vec::new();
        }
        vec![Action::Send(Command::GoOffline { now: false })]
    }

    fn quit(&mut self) -> Vec<Action> {
        if self.attached {
            return vec![Action::Leave(Leave::Detach)];
        }
        if self.at_work() {
            self.ask = Some(Ask::Quit);
            return Vec::new();
        }
        vec![Action::Leave(Leave::Quit { now: false })]
    }

    /// Is a job running?
    fn at_work(&self) -> bool {
        self.store.queue.running > 0 || self.store.running().next().is_some()
    }

    fn answer(&mut self, ask: Ask, key: KeyCode) -> Vec<Action> {
        let KeyCode::Char(letter) = key else {
            if key == KeyCode::Esc {
                self.ask = None;
            }
            return Vec::new();
        };
        let action = match (ask, letter.to_ascii_lowercase()) {
            (Ask::Quit, 'f') => Action::Leave(Leave::Quit { now: false }),
            (Ask::Quit, 'k') => Action::Leave(Leave::Detach),
            (Ask::Quit, 's') => Action::Leave(Leave::Quit { now: true }),
            (Ask::Offline, 'f') => Action::Send(Command::GoOffline { now: false }),
            (Ask::Offline, 's') => Action::Send(Command::GoOffline { now: true }),
            (Ask::Cancel(id), 'y') => Action::Send(Command::Cancel { id }),
            (Ask::Retry(id), 'y') => Action::Send(Command::Retry { id }),
            (Ask::Block(buyer), 'y') => Action::Send(Command::Block {
                buyer: buyer.to_string(),
            }),
            (Ask::Cancel(_) | Ask::Retry(_) | Ask::Block(_), 'n') => {
                self.ask = None;
                return Vec::new();
            }
            _ => return Vec::new(),
        };
        self.ask = None;
        vec![action]
    }

    fn open(&mut self) -> Vec<Action> {
        match self.tab {
            Tab::Sell => return self.toggle(),
            Tab::Settings => self.form.begin(),
            Tab::Jobs => self.jobs.open(&self.store),
            Tab::Telemetry => {}
        }
        Vec::new()
    }

    fn back(&mut self) {
        self.message = None;
        match self.tab {
            Tab::Jobs if self.jobs.detail => self.jobs.close(),
            Tab::Jobs => self.jobs.unfilter(),
            Tab::Telemetry => self.feed.filter.clear(),
            Tab::Sell | Tab::Settings => {}
        }
    }

    fn reset(&mut self) -> Vec<Action> {
        let name = self.form.chosen().map(|field| field.name.clone());
        let save = name.map(|name| Action::Save { name, value: None });
        save.into_iter().collect()
    }

    fn edit(&mut self, key: KeyEvent) -> Vec<Action> {
        let Some(edit) = &mut self.form.edit else {
            return Vec::new();
        };
        match key.code {
            KeyCode::Esc => {
                self.form.edit = None;
                self.form.error = None;
            }
            KeyCode::Enter if edit.error.is_some() => {}
            KeyCode::Enter if !edit.changed() => self.form.edit = None,
            KeyCode::Enter => {
                return vec![Action::Save {
                    name: edit.name.clone(),
                    value: Some(edit.line.value().to_owned()),
                }];
            }
            _ => {
                edit.line.handle_event(&TermEvent::Key(key));
                edit.check();
            }
        }
        Vec::new()
    }

    fn type_filter(&mut self, key: KeyCode) {
        let filter = match self.tab {
            Tab::Jobs => &mut self.jobs.filter,
            _ => &mut self.feed.filter,
        };
        match key {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                filter.clear();
                self.typing = false;
            }
            KeyCode::Backspace => drop(filter.pop()),
            KeyCode::Char(c) if filter.chars().count() < FILTER_MAX => filter.push(c),
            _ => {}
        }
        if self.tab == Tab::Jobs {
            self.jobs.refilter();
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
            Tab::Sell => {}
            Tab::Settings => {
                let last = self.form.fields.len().saturating_sub(1);
                self.form.at = moved(self.form.at, last);
            }
            Tab::Jobs if self.jobs.detail => {
                let last = super::view::last_line_of_job(self);
                self.jobs.scroll = moved(self.jobs.scroll.min(last), last);
            }
            Tab::Jobs => self.jobs.go(&self.store, moved),
            Tab::Telemetry => self.feed.go(&self.store, rows, down),
        }
    }

    /// Rows of a page.
    fn page(&self) -> usize {
        usize::from(self.size.1.saturating_sub(8)).max(1)
    }

    fn copied(&self) -> Option<String> {
        match self.tab {
            Tab::Sell => Some(self.store.npub.clone()).filter(|npub| !npub.is_empty()),
            Tab::Settings => self.form.chosen().and_then(|field| field.value.clone()),
            // A job has several things to copy: see `copy_of_job`.
            Tab::Jobs => None,
            Tab::Telemetry => {
                let lines = self.feed.lines(&self.store);
                lines
                    .last()
                    .and_then(|(_, line)| serde_json::to_string(line).ok())
            }
        }
    }
}

#[cfg(test)]
mod tests;
