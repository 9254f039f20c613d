//! The mouse, where the settings ask for it: clicks on tabs and rows, and the wheel.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};

use super::{Action, App};
use crate::ui::keymap::Tab;
use crate::ui::view::{self, Hit};

/// Rows of one turn of the wheel.
const WHEEL: usize = 3;

impl App {
    pub(super) fn mouse(&mut self, mouse: MouseEvent) -> Vec<Action> {
        if !self.screen.mouse || self.ask.is_some() || self.palette.is_some() {
            return Vec::new();
        }
        match mouse.kind {
            MouseEventKind::ScrollDown => self.wheel(true),
            MouseEventKind::ScrollUp => self.wheel(false),
            MouseEventKind::Down(MouseButton::Left) => {
                return self.click(mouse.column, mouse.row);
            }
            _ => {}
        }
        Vec::new()
    }

    fn wheel(&mut self, down: bool) {
        if self.help {
            let end = self.help_end();
            self.help_at = if down {
                (self.help_at + WHEEL).min(end)
            } else {
                self.help_at.saturating_sub(WHEEL)
            };
        } else if self.form.edit.is_none() {
            self.go(WHEEL, down);
        }
    }

    fn click(&mut self, x: u16, y: u16) -> Vec<Action> {
        if self.help {
            self.help = false;
            return Vec::new();
        }
        if self.form.edit.is_some() {
            return Vec::new();
        }
        match view::hit(self, x, y) {
            Some(Hit::Tab(tab)) => return self.show(tab),
            Some(Hit::Row(row)) => match self.tab {
                Tab::Settings => self.form.go(|_, last| row.min(last)),
                Tab::Jobs => self.jobs.go(&self.store, |_, last| row.min(last)),
                Tab::Telemetry => self.feed.go(&self.store, |_, last| row.min(last)),
                Tab::Sell => {}
            },
            None => {}
        }
        Vec::new()
    }
}
