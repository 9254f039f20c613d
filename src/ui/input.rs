//! Keys, pastes and clicks of the terminal, read by a thread of its own.
//!
//! The bytes are read here and not by crossterm: its parser waits for ever in a private answer of the terminal that it does
//! not know, and takes the inside of others for keys. Nothing else may read standard input while this lives.

use std::io::{self, PipeReader, PipeWriter};
use std::thread::JoinHandle;
use std::time::Instant;

use crossterm::event::Event;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc;

mod decode;
mod parser;
#[cfg(test)]
mod tests;

pub use parser::Parser;

/// Events that may wait. While more do, the terminal itself holds what is typed.
const WAITING: usize = 256;

/// The reader. Dropped, it reads no more.
pub struct Keys {
    events: mpsc::Receiver<Event>,
    /// Its other end is watched together with the terminal.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Keys {
    /// Reads the terminal from now on.
    ///
    /// # Errors
    /// Where the system gives no pipe or no thread.
    pub fn begin() -> io::Result<Self> {
        let (stopped, stop) = io::pipe()?;
        let (tell, events) = mpsc::channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || read(&stopped, &tell))?;
        Ok(Self {
            events,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The next event; none once the terminal is gone. May be dropped and called again; nothing is lost.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.events.close();
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // One that died has stopped reading too.
            let _ = thread.join();
        }
    }
}

/// Reads until it is stopped, or the terminal is gone.
fn read(stopped: &PipeReader, tell: &mpsc::Sender<Event>) {
    let input = io::stdin();
    let mut parser = Parser::new(Instant::now());
    let mut buffer = [0; 4096];
    loop {
        let wait = parser.due().map(|due| {
            let left = due.saturating_duration_since(Instant::now());
            // The bounds of the parser are a few seconds: this never fails.
            Timespec::try_from(left).unwrap_or(Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            })
        });
        let mut both = [
            PollFd::new(&input, PollFlags::IN),
            PollFd::new(stopped, PollFlags::IN),
        ];
        match poll(&mut both, wait.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        if !both[1].revents().is_empty() {
            return;
        }
        if both[0].revents().is_empty() {
            parser.lapse(Instant::now());
        } else {
            match rustix::io::read(&input, &mut buffer) {
                Ok(0) => return,
                Ok(count) => parser.advance(&buffer[..count], Instant::now()),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                Err(_) => return,
            }
        }
        while let Some(event) = parser.pop() {
            if tell.blocking_send(event).is_err() {
                return;
            }
        }
    }
}
