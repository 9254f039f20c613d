//! An invoice as a QR code that a phone reads from the screen.
//!
//! BOLT 11 is the same in upper case, which the code's denser alphanumeric mode takes. The margin of four modules that the
//! standard (ISO/IEC 18004) asks for is part of the picture, and it is dark on light whatever the theme.

use qrcode::{Color, EcLevel, QrCode};

use crate::ui::painter::Painter;
use crate::ui::theme::Role;

/// Modules of margin on every side.
const MARGIN: usize = 4;

/// A code, ready to be drawn.
pub struct Code {
    dark: Vec<bool>,
    side: usize,
    ascii: bool,
}

impl Code {
    /// The code of an invoice; none where it is too long for any.
    #[must_use]
    pub fn of(invoice: &str, ascii: bool) -> Option<Self> {
        let text = invoice.to_ascii_uppercase();
        let code = QrCode::with_error_correction_level(text.as_bytes(), EcLevel::L).ok()?;
        let side = code.width();
        let colors = code.into_colors();
        Some(Self {
            dark: colors.iter().map(|color| *color == Color::Dark).collect(),
            side,
            ascii,
        })
    }

    /// Columns and rows it takes.
    #[must_use]
    pub fn size(&self) -> (u16, u16) {
        let whole = u16::try_from(self.side + 2 * MARGIN).unwrap_or(u16::MAX);
        if self.ascii {
            (whole.saturating_mul(2), whole)
        } else {
            (whole, whole.div_ceil(2))
        }
    }

    /// Draws one of its rows at (`x`, `y`).
    pub fn draw(&self, painter: &mut Painter<'_>, x: u16, y: u16, row: u16) {
        let row = usize::from(row);
        for column in 0..self.side + 2 * MARGIN {
            let at = u16::try_from(column).unwrap_or(u16::MAX);
            if self.ascii {
                let (text, role) = if self.is_dark(column, row) {
                    ("##", Role::CodeDark)
                } else {
                    ("  ", Role::Code)
                };
                painter.put(x.saturating_add(at.saturating_mul(2)), y, 2, text, role);
            } else {
                let halves = (
                    self.is_dark(column, 2 * row),
                    self.is_dark(column, 2 * row + 1),
                );
                let text = match halves {
                    (true, true) => "█",
                    (true, false) => "▀",
                    (false, true) => "▄",
                    (false, false) => " ",
                };
                painter.put(x.saturating_add(at), y, 1, text, Role::Code);
            }
        }
    }

    fn is_dark(&self, column: usize, row: usize) -> bool {
        let within = |at: usize| at.checked_sub(MARGIN).filter(|at| *at < self.side);
        let (Some(column), Some(row)) = (within(column), within(row)) else {
            return false;
        };
        self.dark
            .get(row * self.side + column)
            .copied()
            .unwrap_or(false)
    }
}
