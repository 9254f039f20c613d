//! The terminal itself: taken, given back on every way out, and let go of when it is no longer there.

use std::fs::File;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ratatui::DefaultTerminal;

use super::app::App;
use super::view;

/// The most bytes handed to the terminal's clipboard; terminals drop more.
const COPY_MAX: usize = 64 * 1024;

/// The screen, in raw mode and on its own page, until it is dropped.
pub struct Screen {
    inner: DefaultTerminal,
    gone: bool,
}

impl Screen {
    /// Takes the terminal. A panic gives it back before it is reported (ratatui's own hook).
    ///
    /// # Errors
    /// There is no terminal.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            inner: ratatui::try_init()?,
            gone: false,
        })
    }

    /// Columns and rows.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn size(&self) -> io::Result<(u16, u16)> {
        let size = self.inner.size()?;
        Ok((size.width, size.height))
    }

    /// Draws; only what differs from the last frame goes out.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn draw(&mut self, app: &App) -> io::Result<()> {
        self.inner
            .draw(|frame| view::draw(app, frame.area(), frame.buffer_mut()))?;
        Ok(())
    }

    /// Hands a text to the clipboard of whoever sits at the terminal (OSC 52), over SSH too.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        let text = crate::domain::text::cut_bytes(text, COPY_MAX);
        let mut out = io::stdout();
        write!(out, "\u{1b}]52;c;{}\u{7}", STANDARD.encode(text))?;
        out.flush()
    }

    /// The terminal has gone away: nothing may be read from it or written to it any more, as both would fail for ever.
    ///
    /// # Errors
    /// No pipe can be made, or `/dev/null` can't be opened.
    pub fn let_go(&mut self) -> io::Result<()> {
        self.gone = true;
        // An end of file would be read again and again by the key reader's thread, which can't be stopped; from a pipe that
        // stays open and empty it waits without a cost.
        let (input, open) = io::pipe()?;
        let output = File::options().write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&input)?;
        std::mem::forget(open);
        rustix::stdio::dup2_stdout(&output)?;
        rustix::stdio::dup2_stderr(&output)?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if !self.gone {
            ratatui::restore();
        }
    }
}
