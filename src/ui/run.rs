//! The loop: waits for a key, for an event, for an answer; draws only where something changed.

use std::path::PathBuf;
use std::time::Duration;

use crossterm::event::Event as TermEvent;
use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::FuturesUnordered;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::app::{Action, App, Input};
use super::input::Keys;
use super::settings_form::{self, SaveError};
use super::terminal::Screen;
use super::{EngineLink, Leave, Options, UiError, crash};
use crate::config::edit;
use crate::config::watch::Watch;
use crate::domain::command::{Command, Reply};
use crate::domain::event::Event;

/// The least time between two frames: thirty a second.
const FRAME: Duration = Duration::from_millis(33);
/// The least time between two frames that keys call for: a key must not wait while a flood has just been drawn.
const KEY_FRAME: Duration = Duration::from_millis(8);
/// The most events taken in at once, so that a flood can't keep the keys waiting.
const BURST: usize = 512;
/// The longest that events are taken in without a look at the keys.
const BURST_TIME: Duration = Duration::from_millis(5);
/// The most commands that wait for an answer.
const PENDING_MAX: usize = 64;
/// How long the settings file must be quiet before it is read again.
const QUIET: Duration = Duration::from_millis(150);
/// How long a secret is shown.
const SHOWN: Duration = Duration::from_secs(10);
/// How long a stop may take to begin; where there is no shell to call the program back, it never does.
const STOP: Duration = Duration::from_millis(200);

/// Shows the screen until it is left. The terminal is given back on every way out.
///
/// # Errors
/// There is no terminal, or signals can't be listened to.
pub async fn run(link: EngineLink, options: Options) -> Result<Leave, UiError> {
    let hangup = signal(SignalKind::hangup()).map_err(UiError::Signal)?;
    let called_back = signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()))
        .map_err(UiError::Signal)?;
    let resized = signal(SignalKind::window_change()).map_err(UiError::Signal)?;
    let mut app = App::new(&options);
    let _crash = crash::Watch::begin(options.logs.clone());
    let mut screen = Screen::open(options.mouse).map_err(UiError::Terminal)?;
    if let Ok((width, height)) = Screen::size() {
        app.handle(Input::Size(width, height));
    }
    let session = Session {
        app,
        commands: link.commands,
        work: FuturesUnordered::new(),
        asked: 0,
        watch: Watch::begin(&options.config_path),
        path: options.config_path,
        called_back,
        resized,
    };
    // Dropped on return, before the terminal is given back or let go: nobody else's words may be read.
    let keys = Keys::begin().map_err(UiError::Terminal)?;
    let leave = session
        .watch(&mut screen, keys, link.events, hangup, link.told_to_end)
        .await;
    if leave == Leave::TerminalGone {
        // Without /dev/null nothing better can be done, and nobody is there to be told.
        let _ = screen.let_go();
    }
    Ok(leave)
}

/// What comes back from work that was begun.
enum Done {
    /// An answer of the engine.
    Answer(Input),
    /// Anything else.
    Other(Input),
    /// The settings file has been quiet.
    Quiet,
}

struct Session {
    app: App,
    commands: mpsc::Sender<(Command, oneshot::Sender<Reply>)>,
    /// Answers, files and alarms that are waited for; all of them end.
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Commands that wait for an answer.
    asked: usize,
    watch: Watch,
    path: PathBuf,
    called_back: Signal,
    resized: Signal,
}

impl Session {
    async fn watch(
        mut self,
        screen: &mut Screen,
        mut keys: Keys,
        mut events: mpsc::Receiver<Event>,
        mut hangup: Signal,
        mut told_to_end: watch::Receiver<u32>,
    ) -> Leave {
        // What they say of the model, the relays and the prices stands on the first tab.
        self.load();
        let mut dirty = true;
        let mut settling = false;
        let mut drawn = Instant::now();
        let mut next = drawn;
        loop {
            if dirty && Instant::now() >= next {
                if self.show(screen).is_err() {
                    return Leave::TerminalGone;
                }
                dirty = false;
                drawn = Instant::now();
                next = drawn + FRAME;
                self.look();
            }
            // In this order: whatever else happens, a key comes first.
            let input = tokio::select! {
                biased;
                key = keys.next() => match key {
                    Some(event) => match of_terminal(event) {
                        Some(input) => input,
                        None => continue,
                    },
                    None => return Leave::TerminalGone,
                },
                _ = self.resized.recv() => match Screen::size() {
                    Ok((width, height)) => Input::Size(width, height),
                    Err(_) => return Leave::TerminalGone,
                },
                Ok(()) = told_to_end.changed() => return Leave::Told,
                // A terminal that is still there gets itself back, and is told how the shop goes on.
                _ = hangup.recv() => return if Screen::is_there() {
                    Leave::Detach
                } else {
                    Leave::TerminalGone
                },
                _ = self.called_back.recv() => match again(screen) {
                    Ok(size) => size,
                    Err(_) => return Leave::TerminalGone,
                },
                Some(done) = self.work.next() => match done {
                    Done::Other(input) => input,
                    Done::Answer(input) => {
                        self.asked = self.asked.saturating_sub(1);
                        input
                    }
                    Done::Quiet => {
                        settling = false;
                        self.load();
                        continue;
                    }
                },
                () = sleep_until(next), if dirty => continue,
                () = self.watch.changed(), if !settling => {
                    settling = true;
                    self.work.push(async { sleep(QUIET).await; Done::Quiet }.boxed());
                    continue;
                }
                event = events.recv() => match event {
                    Some(event) => {
                        self.app.handle(Input::Event(Box::new(event)));
                        self.burst(&mut events);
                        dirty = true;
                        continue;
                    }
                    // The engine has ended; there is nothing left to show.
                    None => return Leave::EngineEnded,
                },
            };
            dirty = true;
            if matches!(input, Input::Key(_)) {
                next = drawn + KEY_FRAME;
            }
            if let Some(leave) = self.take(screen, input).await {
                return leave;
            }
        }
    }

    /// Draws, and tells what is to be told beside the picture.
    fn show(&mut self, screen: &mut Screen) -> std::io::Result<()> {
        screen.draw(&self.app)?;
        screen.set_title(self.app.title())?;
        match self.app.rings() {
            Some((kind, words)) => screen.notify(kind, &words),
            None => Ok(()),
        }
    }

    /// Takes in what has already arrived, so that it costs one frame.
    fn burst(&mut self, events: &mut mpsc::Receiver<Event>) {
        let until = Instant::now() + BURST_TIME;
        for _ in 0..BURST {
            let Ok(event) = events.try_recv() else { return };
            self.app.handle(Input::Event(Box::new(event)));
            if Instant::now() >= until {
                return;
            }
        }
    }

    async fn take(&mut self, screen: &mut Screen, input: Input) -> Option<Leave> {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for action in self.app.handle(input) {
                let did = match action {
                    Action::Leave(leave) => return Some(leave),
                    Action::Copy(text) => {
                        inputs.push(done(copied()));
                        screen.copy(&text)
                    }
                    Action::Redraw => {
                        screen.forget();
                        Ok(())
                    }
                    Action::Mouse(on) => screen.set_mouse(on),
                    Action::Suspend => {
                        let stopped = screen.suspend();
                        // The signal that calls the program back is waited for, as the stop itself may come a moment after
                        // it was asked for.
                        let _ = tokio::time::timeout(STOP, self.called_back.recv()).await;
                        stopped
                            .and_then(|()| again(screen))
                            .map(|size| inputs.push(size))
                    }
                    Action::Send(command) => {
                        inputs.extend(self.send(command));
                        Ok(())
                    }
                    other => {
                        self.begin(other);
                        Ok(())
                    }
                };
                if did.is_err() {
                    return Some(Leave::TerminalGone);
                }
            }
        }
        None
    }

    /// Begins work on a file, or an alarm.
    fn begin(&mut self, action: Action) {
        let path = self.path.clone();
        match action {
            Action::Load => self.load(),
            Action::Save(changes) => {
                let lost = || {
                    Err(SaveError {
                        key: None,
                        text: "not saved: the work was broken off; try again".to_owned(),
                    })
                };
                self.aside(
                    move || Input::Saved(settings_form::save(&path, &changes)),
                    move || Input::Saved(lost()),
                );
            }
            Action::Reveal(name) => {
                let again = name.clone();
                self.aside(
                    move || {
                        let secret = edit::reveal(&path, &name);
                        Input::Revealed(name, secret)
                    },
                    move || {
                        Input::Revealed(again, Err("it could not be read; try again".to_owned()))
                    },
                );
            }
            Action::HideLater(number) => self.work.push(
                async move {
                    sleep(SHOWN).await;
                    Done::Other(Input::Hide(number))
                }
                .boxed(),
            ),
            // Done where the terminal is at hand.
            Action::Send(_)
            | Action::Copy(_)
            | Action::Redraw
            | Action::Mouse(_)
            | Action::Suspend
            | Action::Leave(_) => {}
        }
    }

    fn load(&mut self) {
        self.watch.look();
        self.watch.forget();
        let path = self.path.clone();
        self.aside(
            move || Input::Fields(settings_form::read(&path)),
            || Input::Fields(Err("the settings could not be read; try again".to_owned())),
        );
    }

    /// Work on a file, off the threads that serve keys and sockets.
    fn aside(
        &mut self,
        work: impl FnOnce() -> Input + Send + 'static,
        lost: impl FnOnce() -> Input + Send + 'static,
    ) {
        let task = tokio::task::spawn_blocking(work);
        let ended = async move { Done::Other(task.await.unwrap_or_else(|_| lost())) };
        self.work.push(ended.boxed());
    }

    /// Asks what the screen wants to know of the jobs, without waiting; it has one such question open at a time.
    fn look(&mut self) {
        let Some(command) = self.app.look() else {
            return;
        };
        let (answer, reply) = oneshot::channel();
        if self.commands.try_send((command, answer)).is_ok() {
            let told = async move {
                Done::Other(Input::Looked(reply.await.unwrap_or_else(|_| no_answer())))
            };
            self.work.push(told.boxed());
        } else {
            // Asked again after the next key.
            self.app.handle(Input::Looked(no_answer()));
        }
    }

    /// Sends a command without waiting; the input tells why it could not be sent.
    fn send(&mut self, command: Command) -> Option<Input> {
        let probe = match &command {
            Command::Test { what } => Some(what.clone()),
            _ => None,
        };
        let told = move |reply| match probe.clone() {
            Some(probe) => Input::Tested(probe, reply),
            None => Input::Reply(reply),
        };
        if self.asked >= PENDING_MAX {
            return Some(told(no_answer()));
        }
        let (answer, reply) = oneshot::channel();
        if self.commands.try_send((command, answer)).is_err() {
            return Some(told(no_answer()));
        }
        self.asked += 1;
        let ended = async move { Done::Answer(told(reply.await.unwrap_or_else(|_| no_answer()))) };
        self.work.push(ended.boxed());
        None
    }
}

/// What the terminal tells, where it matters here.
fn of_terminal(event: TermEvent) -> Option<Input> {
    match event {
        TermEvent::Key(key) => Some(Input::Key(key)),
        TermEvent::Resize(width, height) => Some(Input::Size(width, height)),
        TermEvent::Paste(text) => Some(Input::Paste(text)),
        TermEvent::Mouse(mouse) => Some(Input::Mouse(mouse)),
        TermEvent::FocusGained | TermEvent::FocusLost => None,
    }
}

/// Takes the terminal again after a stop; its size may be another one by now.
fn again(screen: &mut Screen) -> std::io::Result<Input> {
    screen.resume()?;
    let (width, height) = Screen::size()?;
    Ok(Input::Size(width, height))
}

/// What is said of a copy: whether it arrives, nobody tells.
fn copied() -> &'static str {
    if std::env::var_os("TMUX").is_some_and(|value| !value.is_empty()) {
        "copied, if tmux lets it: `set -g set-clipboard on` in ~/.tmux.conf"
    } else {
        "copied, where the terminal allows it"
    }
}

fn done(detail: &str) -> Input {
    Input::Reply(Reply::Done {
        detail: detail.to_owned(),
    })
}

fn no_answer() -> Reply {
    Reply::Refused {
        detail: "the engine is busy or has ended; try again".to_owned(),
    }
}
