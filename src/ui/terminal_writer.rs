//! What the terminal shows: whole frames in, only the cells that differ out, each frame in one write.
//!
//! A frame that looks like the one before costs the line nothing, and a terminal that can shows all of a frame at once.

mod ansi_encoder;

use std::io::{self, Write};

use crossterm::queue;
use crossterm::terminal::{BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::app::App;
use super::view;

/// A page that is written to a terminal.
pub struct TerminalWriter<W: Write> {
    out: W,
    /// What the terminal shows; nothing is known of it while this has no size.
    shown: Buffer,
    next: Buffer,
    /// A frame's bytes until they go out.
    draft: Vec<u8>,
}

impl<W: Write> TerminalWriter<W> {
    /// A page of which nothing is known: the first frame clears it and draws everything.
    #[must_use]
    pub fn new(out: W) -> Self {
        Self {
            out,
            shown: Buffer::default(),
            next: Buffer::default(),
            draft: Vec::new(),
        }
    }

    /// Draws the screen of an app, as wide and high as the terminal is now.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn draw(&mut self, app: &App, width: u16, height: u16) -> io::Result<()> {
        let area = Rect::new(0, 0, width, height);
        self.draft.clear();
        queue!(self.draft, BeginSynchronizedUpdate)?;
        let anew = self.shown.area != area;
        if anew {
            self.shown = Buffer::empty(area);
            self.next = Buffer::empty(area);
            queue!(self.draft, Clear(ClearType::All))?;
        }
        view::draw(app, area, &mut self.next);
        let mut changes = self.shown.diff_iter(&self.next).peekable();
        if changes.peek().is_some() || anew {
            ansi_encoder::write(&mut self.draft, &self.next, changes);
            queue!(self.draft, EndSynchronizedUpdate)?;
            self.out.write_all(&self.draft)?;
            self.out.flush()?;
        }
        std::mem::swap(&mut self.shown, &mut self.next);
        self.next.reset();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

    use super::*;
    use crate::domain::event::EventKind;
    use crate::domain::job::Status;
    use crate::ui::app::Input;
    use crate::ui::sample::{busy, empty, job, tell};

    const WIDE: (u16, u16) = (200, 60);

    fn drawn(
        page: &mut TerminalWriter<Vec<u8>>,
        app: &App,
        (width, height): (u16, u16),
    ) -> Vec<u8> {
        page.out.clear();
        page.draw(app, width, height).unwrap();
        page.out.clone()
    }

    fn press(app: &mut App, code: KeyCode) {
        app.handle(Input::Key(KeyEvent::new(code, KeyModifiers::NONE)));
    }

    /// The figures of docs/performance.md, which no change may spoil unnoticed.
    #[test]
    fn a_frame_costs_the_line_no_more_than_what_changed() {
        for tab in ['1', '2', '3', '4'] {
            let (mut app, mut page) = (busy(), TerminalWriter::new(Vec::new()));
            app.handle(Input::Size(WIDE.0, WIDE.1));
            press(&mut app, KeyCode::Char(tab));
            let first = drawn(&mut page, &app, WIDE).len();
            assert!(first <= 12_000, "first frame of {tab}: {first}");
            assert_eq!(drawn(&mut page, &app, WIDE).len(), 0, "idle on {tab}");
        }
        let (mut app, mut page) = (busy(), TerminalWriter::new(Vec::new()));
        app.handle(Input::Size(WIDE.0, WIDE.1));
        for number in 12..72 {
            let what = "known".to_owned();
            let job = Box::new(job(number, Status::PendingPayment));
            tell(&mut app, EventKind::Job { job, what });
        }
        press(&mut app, KeyCode::Char('3'));
        drawn(&mut page, &app, WIDE);
        let mut paid = job(60, Status::Paid);
        paid.updated_at.0 += 1;
        let (job, what) = (Box::new(paid), "paid".to_owned());
        tell(&mut app, EventKind::Job { job, what });
        let row = drawn(&mut page, &app, WIDE).len();
        assert!((1..=100).contains(&row), "a row's change: {row}");
        press(&mut app, KeyCode::Char('j'));
        drawn(&mut page, &app, WIDE);
        press(&mut app, KeyCode::Char('j'));
        let moved = drawn(&mut page, &app, WIDE).len();
        assert!((1..=600).contains(&moved), "a move: {moved}");
    }

    /// Frame by frame, the terminal shows what was drawn, whatever was on it before and however its size changes.
    #[test]
    fn the_terminal_shows_what_was_drawn() {
        let sizes = [(80, 24), (200, 60), (60, 16), (80, 24), (40, 10), (120, 40)];
        let lines = |count: u16| NonZero::new(count).unwrap();
        let mut screen = vt100::Parser::new(lines(24), lines(80), 0);
        screen.process(b"\x1b[31mwhat was here before\x1b[H");
        let mut page = TerminalWriter::new(Vec::new());
        let mut app = empty();
        for (at, (width, height)) in sizes.into_iter().enumerate() {
            if at == 2 {
                app = busy();
            }
            screen.screen_mut().set_size(lines(height), lines(width));
            app.handle(Input::Size(width, height));
            for tab in ['1', '2', '3', '4'] {
                press(&mut app, KeyCode::Char(tab));
                screen.process(&drawn(&mut page, &app, (width, height)));
                let mut wanted = Buffer::empty(Rect::new(0, 0, width, height));
                view::draw(&app, wanted.area, &mut wanted);
                for y in 0..height {
                    let row: String = (0..width).map(|x| wanted[(x, y)].symbol()).collect();
                    let shown = screen.screen().rows(0, width).nth(y.into()).unwrap();
                    assert_eq!(
                        shown.trim_end(),
                        row.trim_end(),
                        "row {y} of {width}x{height}"
                    );
                }
            }
        }
    }
}
