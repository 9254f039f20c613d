//! The loop: waits for a key, for an event, for an answer; draws only where something changed.

use std::path::PathBuf;
use std::time::Duration;

use crossterm::event::{Event as TermEvent, EventStream};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::app::{Action, App, Input};
use super::settings_form::{self, Field};
use super::terminal::Screen;
use super::{Leave, Link, Options, UiError};
use crate::domain::command::{Command, Reply};
use crate::domain::event::Event;

/// The least time between two frames: thirty a second.
const FRAME: Duration = Duration::from_millis(33);
/// The most events taken in at once, so that a flood can't keep the keys waiting.
const BURST: usize = 512;
/// The most commands that wait for an answer.
const PENDING_MAX: usize = 64;

type Fields = Result<Vec<Field>, String>;

/// Shows the screen until it is left. The terminal is given back on every way out.
///
/// # Errors
/// There is no terminal, or signals can't be listened to.
pub async fn run(link: Link, options: Options) -> Result<Leave, UiError> {
    let hangup = signal(SignalKind::hangup()).map_err(UiError::Signal)?;
    let mut app = App::new(&options);
    let mut screen = Screen::open().map_err(UiError::Terminal)?;
    if let Ok((width, height)) = screen.size() {
        app.handle(Input::Size(width, height));
    }
    let session = Session {
        app,
        commands: link.commands,
        pending: FuturesUnordered::new(),
        looks: FuturesUnordered::new(),
        path: options.config_path,
    };
    let leave = session.watch(&mut screen, link.events, hangup).await;
    if leave == Leave::TerminalGone {
        // Without /dev/null nothing better can be done, and nobody is there to be told.
        let _ = screen.let_go();
    }
    Ok(leave)
}

struct Session {
    app: App,
    commands: mpsc::Sender<(Command, oneshot::Sender<Reply>)>,
    pending: FuturesUnordered<oneshot::Receiver<Reply>>,
    /// Questions about jobs; their answers are not shown as messages.
    looks: FuturesUnordered<oneshot::Receiver<Reply>>,
    path: PathBuf,
}

impl Session {
    async fn watch(
        mut self,
        screen: &mut Screen,
        mut events: mpsc::Receiver<Event>,
        mut hangup: Signal,
    ) -> Leave {
        // Dropped on return, before the terminal is let go: its thread would spin on a terminal that is gone.
        let mut keys = EventStream::new();
        let mut dirty = true;
        let mut next = Instant::now();
        loop {
            if dirty && Instant::now() >= next {
                if screen.draw(&self.app).is_err() {
                    return Leave::TerminalGone;
                }
                dirty = false;
                next = Instant::now() + FRAME;
                self.look();
            }
            let input = tokio::select! {
                key = keys.next() => match key {
                    Some(Ok(TermEvent::Key(key))) => Input::Key(key),
                    Some(Ok(TermEvent::Resize(width, height))) => Input::Size(width, height),
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => return Leave::TerminalGone,
                },
                _ = hangup.recv() => return Leave::TerminalGone,
                event = events.recv() => match event {
                    Some(event) => {
                        self.app.handle(Input::Event(Box::new(event)));
                        self.burst(&mut events);
                        dirty = true;
                        continue;
                    }
                    // The engine has ended; there is nothing left to show.
                    None => return self.without_engine(),
                },
                Some(reply) = self.pending.next() => Input::Reply(reply.unwrap_or_else(|_| no_answer())),
                Some(reply) = self.looks.next() => Input::Looked(reply.unwrap_or_else(|_| no_answer())),
                () = sleep_until(next), if dirty => continue,
            };
            dirty = true;
            if let Some(leave) = self.take(screen, input).await {
                return leave;
            }
        }
    }

    /// Takes in what has already arrived, so that it costs one frame.
    fn burst(&mut self, events: &mut mpsc::Receiver<Event>) {
        for _ in 0..BURST {
            let Ok(event) = events.try_recv() else { return };
            self.app.handle(Input::Event(Box::new(event)));
        }
    }

    const fn without_engine(&self) -> Leave {
        if self.app.attached {
            Leave::Detach
        } else {
            Leave::Quit { now: false }
        }
    }

    async fn take(&mut self, screen: &mut Screen, input: Input) -> Option<Leave> {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for action in self.app.handle(input) {
                match action {
                    Action::Leave(leave) => return Some(leave),
                    Action::Copy(text) => {
                        if screen.copy(&text).is_err() {
                            return Some(Leave::TerminalGone);
                        }
                        inputs.push(done("copied, where the terminal allows it"));
                    }
                    Action::Send(command) => inputs.extend(self.send(command)),
                    Action::Load => {
                        let path = self.path.clone();
                        let read = move || settings_form::read(&path);
                        inputs.push(Input::Fields(aside(read).await, false));
                    }
                    Action::Save { name, value } => {
                        let path = self.path.clone();
                        let save = move || settings_form::save(&path, &name, value.as_deref());
                        inputs.push(Input::Fields(aside(save).await, true));
                    }
                }
            }
        }
        None
    }

    /// Asks what the screen wants to know of the jobs, without waiting; it has one such question open at a time.
    fn look(&mut self) {
        let Some(command) = self.app.look() else {
            return;
        };
        let (answer, reply) = oneshot::channel();
        if self.commands.try_send((command, answer)).is_ok() {
            self.looks.push(reply);
        } else {
            // Asked again after the next key.
            self.app.handle(Input::Looked(no_answer()));
        }
    }

    /// Sends a command without waiting; the input tells why it could not be sent.
    fn send(&mut self, command: Command) -> Option<Input> {
        if self.pending.len() >= PENDING_MAX {
            return Some(Input::Reply(no_answer()));
        }
        let (answer, reply) = oneshot::channel();
        if self.commands.try_send((command, answer)).is_err() {
            return Some(Input::Reply(no_answer()));
        }
        self.pending.push(reply);
        None
    }
}

/// Work on a file, off the threads that serve sockets.
async fn aside(work: impl FnOnce() -> Fields + Send + 'static) -> Fields {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err("the settings could not be read; try again".to_owned()))
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
