//! The colours of the pictures in the documents, where there is no terminal with a palette of its own.

use ratatui::style::Color;

use super::ThemeName;

/// The colours of a picture: ground, plain letters, and the sixteen by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Palette {
    /// Behind everything.
    pub ground: &'static str,
    /// Letters without a colour of their own.
    pub ink: &'static str,
    red: &'static str,
    green: &'static str,
    yellow: &'static str,
    blue: &'static str,
    magenta: &'static str,
    cyan: &'static str,
    gray: &'static str,
}

const ON_DARK: Palette = Palette {
    ground: "#101418",
    ink: "#d8dee4",
    red: "#ff6b6b",
    green: "#7bd88f",
    yellow: "#f2c55c",
    blue: "#6cb6ff",
    magenta: "#d2a8ff",
    cyan: "#76d9e6",
    gray: "#8b949e",
};
const ON_LIGHT: Palette = Palette {
    ground: "#ffffff",
    ink: "#1f2328",
    red: "#cf222e",
    green: "#1a7f37",
    yellow: "#9a6700",
    blue: "#0969da",
    magenta: "#8250df",
    cyan: "#1b7c83",
    gray: "#656d76",
};

impl Palette {
    /// What a terminal of a theme shows.
    #[must_use]
    pub const fn of(name: ThemeName) -> Self {
        match name {
            ThemeName::Dark | ThemeName::Contrast => ON_DARK,
            ThemeName::Light => ON_LIGHT,
        }
    }

    /// A colour as a picture shows it; `plain` where the terminal's own is meant.
    #[must_use]
    pub const fn paint(self, color: Color, plain: &'static str) -> &'static str {
        match color {
            Color::Red | Color::LightRed => self.red,
            Color::Green | Color::LightGreen => self.green,
            Color::Yellow | Color::LightYellow => self.yellow,
            Color::Blue | Color::LightBlue => self.blue,
            Color::Magenta | Color::LightMagenta => self.magenta,
            Color::Cyan | Color::LightCyan => self.cyan,
            Color::DarkGray | Color::Gray => self.gray,
            Color::Black => "#000000",
            Color::White => "#ffffff",
            _ => plain,
        }
    }
}
