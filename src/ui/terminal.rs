//! The terminal itself: taken, given back on every way out, and let go of when it is no longer there.

use std::fs::File;
use std::io::{self, Stdout, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crossterm::event::{
    DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture,
};
use crossterm::terminal::{
    EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode,
};
use crossterm::{cursor, execute};
use rustix::process::Signal;

use super::app::App;
use super::terminal_writer::TerminalWriter;
use crate::domain::screen::BellKind;
use crate::domain::text::clean;

/// The most bytes handed to the terminal's clipboard; terminals drop more.
const COPY_MAX: usize = 64 * 1024;

/// The longest notice, characters.
const NOTICE: usize = 100;
/// Keeps the terminal's own title, and gives it back (XTWINOPS).
const KEEP_TITLE: &[u8] = b"\x1b[22;2t";
const TITLE_BACK: &[u8] = b"\x1b[23;2t";
/// The title is ours. Not in the screen, as a crash gives the terminal back without it.
static TITLED: AtomicBool = AtomicBool::new(false);

/// The screen, in raw mode and on its own page, until it is dropped.
pub struct Screen {
    page: TerminalWriter<Stdout>,
    mouse: bool,
    /// The title that it has from us.
    title: Option<String>,
    gone: bool,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// There is no terminal.
    pub fn open(mouse: bool) -> io::Result<Self> {
        take(mouse)?;
        Ok(Self {
            page: TerminalWriter::new(io::stdout()),
            mouse,
            title: None,
            gone: false,
        })
    }

    /// Columns and rows.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn size() -> io::Result<(u16, u16)> {
        crossterm::terminal::size()
    }

    /// Is there still a terminal? One that has hung up answers nothing any more.
    #[must_use]
    pub fn is_there() -> bool {
        rustix::termios::tcgetattr(io::stdout()).is_ok()
    }

    /// Draws; only what differs from the last frame goes out.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn draw(&mut self, app: &App) -> io::Result<()> {
        let (width, height) = Self::size()?;
        self.page.draw(app, width, height)
    }

    /// Knows no more of what the terminal shows: the next frame draws everything.
    pub fn forget(&mut self) {
        self.page = TerminalWriter::new(io::stdout());
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

    /// Gives the terminal this title, or its own back. Where it is the same already nothing goes out.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn set_title(&mut self, title: Option<String>) -> io::Result<()> {
        if title == self.title {
            return Ok(());
        }
        let mut out = io::stdout();
        match &title {
            // The terminal keeps its own title meanwhile, where it can (XTWINOPS).
            Some(words) => {
                if !TITLED.swap(true, Ordering::Relaxed) {
                    out.write_all(KEEP_TITLE)?;
                }
                write!(out, "\u{1b}]2;{words}\u{7}")?;
            }
            None => give_title_back(&mut out)?,
        }
        self.title = title;
        out.flush()
    }

    /// Rings the terminal's bell, or asks it for a notice on the desktop.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn notify(&mut self, kind: BellKind, words: &str) -> io::Result<()> {
        let mut out = io::stdout();
        match kind {
            BellKind::Off => {}
            BellKind::Bell => out.write_all(b"\x07")?,
            BellKind::Notify => write!(out, "\u{1b}]9;{}\u{7}", clean(words, NOTICE))?,
        }
        out.flush()
    }

    /// Has the mouse reported, or no more.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn set_mouse(&mut self, mouse: bool) -> io::Result<()> {
        self.mouse = mouse;
        if mouse {
            execute!(io::stdout(), EnableMouseCapture)
        } else {
            execute!(io::stdout(), DisableMouseCapture)
        }
    }

    /// Gives the terminal back and stops the program, with all of its process group, as control and z do elsewhere. Returns
    /// once it goes on, or at once where there is no shell that could call it back.
    ///
    /// # Errors
    /// The signal can't be raised.
    pub fn suspend(&mut self) -> io::Result<()> {
        give_back();
        rustix::process::kill_current_process_group(Signal::TSTP)?;
        Ok(())
    }

    /// Takes the terminal again, after the program was stopped; the next frame draws everything.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn resume(&mut self) -> io::Result<()> {
        take(self.mouse)?;
        self.title = None;
        self.page = TerminalWriter::new(io::stdout());
        Ok(())
    }

    /// The terminal has gone away: nothing may be read from it or written to it any more, as both would fail for ever.
    ///
    /// # Errors
    /// No pipe can be made, or `/dev/null` can't be opened.
    pub fn let_go(&mut self) -> io::Result<()> {
        self.gone = true;
        // Whoever reads from a pipe that stays open and empty waits without a cost; an end of file would be read for ever.
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
        // After a crash it has been given back before it was reported.
        if !self.gone && !std::thread::panicking() {
            give_back();
        }
    }
}

fn give_title_back(out: &mut impl Write) -> io::Result<()> {
    if TITLED.swap(false, Ordering::Relaxed) {
        out.write_all(TITLE_BACK)?;
    }
    Ok(())
}

fn take(mouse: bool) -> io::Result<()> {
    enable_raw_mode()?;
    let mut out = io::stdout();
    let taken = execute!(
        out,
        EnterAlternateScreen,
        EnableBracketedPaste,
        cursor::Hide
    );
    let taken = if mouse {
        taken.and_then(|()| execute!(out, EnableMouseCapture))
    } else {
        taken
    };
    if taken.is_err() {
        give_back();
    }
    taken
}

/// Leaves the terminal as a shell wants it, whatever was switched on. Done twice it does no harm.
pub fn give_back() {
    // As below.
    let _ = give_title_back(&mut io::stdout());
    // A terminal that is gone needs nothing back.
    let _ = execute!(
        io::stdout(),
        EndSynchronizedUpdate,
        DisableMouseCapture,
        DisableBracketedPaste,
        LeaveAlternateScreen,
        cursor::Show
    );
    let _ = disable_raw_mode();
}
