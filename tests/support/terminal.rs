//! A program on a terminal of its own, as a person sees it.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{Read, Write};
use std::num::NonZero;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// The longest that anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct PaymentStatus {
    pub screen: vt100::Parser,
    pub bytes: Vec<u8>,
    pub ended: bool,
}

/// A terminal with a program in it.
pub struct Terminal {
    pub seen: Arc<(Mutex<PaymentStatus>, Condvar)>,
    keys: Box<dyn Write + Send>,
    pub child: Box<dyn Child + Send + Sync>,
    pub master: Box<dyn MasterPty + Send>,
}

impl Terminal {
    pub fn start(command: CommandBuilder) -> Self {
        Self::sized(command, 80, 24).expect("a program")
    }

    /// None where there is no such program.
    pub fn sized(mut command: CommandBuilder, cols: u16, rows: u16) -> Option<Self> {
        // What the machine that tests has for a locale must not decide what is drawn.
        if command.get_env("LC_ALL").is_none() {
            command.env("LC_ALL", "C.UTF-8");
        }
        let size = PtySize {
            rows,
            cols,
            ..PtySize::default()
        };
        let pair = native_pty_system().openpty(size).unwrap();
        let child = pair.slave.spawn_command(command).ok()?;
        drop(pair.slave);
        let mut output = pair.master.try_clone_reader().unwrap();
        let seen = PaymentStatus {
            screen: vt100::Parser::new(lines(rows), lines(cols), 0),
            bytes: Vec::new(),
            ended: false,
        };
        let seen = Arc::new((Mutex::new(seen), Condvar::new()));
        let theirs = seen.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            let mut waiting = Vec::new();
            loop {
                let count = output.read(&mut buffer).unwrap_or(0);
                waiting.extend(&buffer[..count]);
                let whole = whole_frames(&waiting, count == 0);
                let mut seen = theirs.0.lock().unwrap();
                seen.screen.process(&waiting[..whole]);
                waiting.drain(..whole);
                seen.bytes.extend(&buffer[..count]);
                seen.ended = count == 0;
                theirs.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        Some(Self {
            seen,
            keys: pair.master.take_writer().unwrap(),
            child,
            master: pair.master,
        })
    }

    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    pub fn until(&self, what: &str, holds: impl Fn(&PaymentStatus) -> bool) {
        let mut seen = self.seen.0.lock().unwrap();
        let end = Instant::now() + PATIENCE;
        while !holds(&seen) {
            let left = end.saturating_duration_since(Instant::now());
            let shown = seen.screen.screen().contents();
            assert!(!left.is_zero(), "waited for {what} in vain:\n{shown}");
            seen = self.seen.1.wait_timeout(seen, left).unwrap().0;
        }
    }

    /// What is on the screen now.
    pub fn contents(&self) -> String {
        self.seen.0.lock().unwrap().screen.screen().contents()
    }

    pub fn shows(&self, text: &str) {
        self.until(text, |seen| seen.screen.screen().contents().contains(text));
    }

    /// What has been written since the last time.
    pub fn written(&self) -> String {
        let bytes = std::mem::take(&mut self.seen.0.lock().unwrap().bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn ends(&mut self) -> (u32, String) {
        self.until("the end", |seen| seen.ended);
        let code = self.child.wait().unwrap().exit_code();
        (code, self.written())
    }
}

/// How many of these bytes may be shown. A frame that is not whole (DEC mode 2026) is not: a test that keeps a picture of the
/// screen must not keep half of one.
fn whole_frames(bytes: &[u8], ended: bool) -> usize {
    const BEGIN: &[u8] = b"\x1b[?2026h";
    const END: &[u8] = b"\x1b[?2026l";
    let last = |mark: &[u8]| bytes.windows(mark.len()).rposition(|part| part == mark);
    if ended {
        return bytes.len();
    }
    if let Some(begin) = last(BEGIN)
        && last(END).is_none_or(|end| end < begin)
    {
        return begin;
    }
    // A mark whose rest has not come yet.
    let cut = (1..BEGIN.len())
        .rev()
        .find(|cut| bytes.ends_with(&BEGIN[..*cut]));
    bytes.len() - cut.unwrap_or(0)
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.child.kill();
    }
}

pub fn lines(count: u16) -> NonZero<u16> {
    NonZero::new(count).unwrap()
}
