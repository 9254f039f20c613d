//! An invoice as a QR code that a phone reads from the terminal: dark on light whatever the terminal's colours.

use qrcode::{Color, EcLevel, QrCode};

/// Modules of margin on every side (ISO/IEC 18004 asks for four).
const MARGIN: usize = 4;

/// The code as lines of text; none where the invoice is too long for one.
pub fn lines(invoice: &str, ascii: bool) -> Option<Vec<String>> {
    // Upper case, which BOLT 11 allows, takes the code's denser mode.
    let text = invoice.to_ascii_uppercase();
    let code = QrCode::with_error_correction_level(text.as_bytes(), EcLevel::L).ok()?;
    let side = code.width();
    let colors = code.into_colors();
    let dark = |column: usize, row: usize| {
        let within = |at: usize| at.checked_sub(MARGIN).filter(|at| *at < side);
        let (Some(column), Some(row)) = (within(column), within(row)) else {
            return false;
        };
        colors.get(row * side + column) == Some(&Color::Dark)
    };
    let whole = side + 2 * MARGIN;
    // Most terminals are light on dark, so a light module is the one that is drawn.
    let lines = if ascii {
        (0..whole)
            .map(|row| {
                (0..whole)
                    .map(|column| if dark(column, row) { "  " } else { "##" })
                    .collect()
            })
            .collect()
    } else {
        (0..whole.div_ceil(2))
            .map(|row| {
                (0..whole)
                    .map(
                        |column| match (dark(column, 2 * row), dark(column, 2 * row + 1)) {
                            (true, true) => ' ',
                            (true, false) => '▄',
                            (false, true) => '▀',
                            (false, false) => '█',
                        },
                    )
                    .collect()
            })
            .collect()
    };
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_read_as_the_invoice() {
        let invoice = format!("lnbcrt210n1{}", "qpzry9x8gf".repeat(25));
        let lines = lines(&invoice, true).unwrap();
        let side = lines.len();
        let pixel = |x: usize, y: usize| {
            let module = lines[y / 4].as_bytes()[2 * (x / 4)];
            if module == b'#' { 255 } else { 0 }
        };
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(side * 4, side * 4, pixel);
        let (_, text) = image.detect_grids()[0].decode().unwrap();
        assert_eq!(text, invoice.to_ascii_uppercase());
        let halves = super::lines(&invoice, false).unwrap();
        assert_eq!(halves.len(), side.div_ceil(2));
        assert!(super::lines(&"A".repeat(8_000), true).is_none());
    }
}
