//! The only place that knows a colour or a mark.
//!
//! Sixteen colours at most, so that the terminal's own palette holds. Nothing is told by colour alone: every light has a
//! mark and a word, the selected row is reversed, and so the screen reads the same with `NO_COLOR` and in ASCII.

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::border;

use crate::domain::event::Level;
use crate::domain::health::Light;

/// What a piece of text is, which decides how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Plain text.
    Text,
    /// Less important.
    Dim,
    /// A heading.
    Title,
    /// Works.
    Good,
    /// Worth a look.
    Warn,
    /// Failed.
    Bad,
    /// The row or tab that is chosen.
    Selected,
    /// A key to press.
    Key,
    /// A warning across the whole screen.
    Banner,
    /// Dark on light whatever the theme, without colours too: a camera reads it.
    Code,
    /// A dark square of what a camera reads, where it is drawn with two letters.
    CodeDark,
}

/// How the screen looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Only ASCII characters.
    pub ascii: bool,
    /// With colours.
    pub color: bool,
}

impl Theme {
    /// The look of a piece of text.
    #[must_use]
    pub fn style(self, role: Role) -> Style {
        let plain = Style::new();
        let tinted = |color| {
            if self.color { plain.fg(color) } else { plain }
        };
        match role {
            Role::Text => plain,
            Role::Dim if self.color => plain.fg(Color::DarkGray),
            Role::Dim => plain.add_modifier(Modifier::DIM),
            Role::Title => plain.add_modifier(Modifier::BOLD),
            Role::Good => tinted(Color::Green),
            Role::Warn => tinted(Color::Yellow),
            Role::Bad => tinted(Color::Red).add_modifier(Modifier::BOLD),
            Role::Selected => plain.add_modifier(Modifier::REVERSED),
            Role::Key => tinted(Color::Cyan).add_modifier(Modifier::BOLD),
            Role::Code => plain.fg(Color::Black).bg(Color::White),
            Role::CodeDark => plain.fg(Color::Black).bg(Color::Black),
            Role::Banner => tinted(Color::Yellow).add_modifier(Modifier::REVERSED | Modifier::BOLD),
        }
    }

    /// A light's mark.
    #[must_use]
    pub const fn mark(self, light: Light) -> &'static str {
        match (light, self.ascii) {
            (Light::Unknown, true) => "?",
            (Light::Unknown, false) => "○",
            (Light::Ok, true) => "+",
            (Light::Ok, false) => "●",
            (Light::Warn, _) => "!",
            (Light::Down, true) => "x",
            (Light::Down, false) => "✗",
        }
    }

    /// What stands for text that was cut off.
    #[must_use]
    pub const fn ellipsis(self) -> char {
        if self.ascii { '~' } else { '…' }
    }

    /// The lines of a box.
    #[must_use]
    pub const fn border(self) -> border::Set<'static> {
        if self.ascii {
            border::Set {
                top_left: "+",
                top_right: "+",
                bottom_left: "+",
                bottom_right: "+",
                vertical_left: "|",
                vertical_right: "|",
                horizontal_top: "-",
                horizontal_bottom: "-",
            }
        } else {
            border::PLAIN
        }
    }
}

/// The role of a light.
#[must_use]
pub const fn of_light(light: Light) -> Role {
    match light {
        Light::Unknown => Role::Dim,
        Light::Ok => Role::Good,
        Light::Warn => Role::Warn,
        Light::Down => Role::Bad,
    }
}

/// The word of a light.
#[must_use]
pub const fn word(light: Light) -> &'static str {
    match light {
        Light::Unknown => "?",
        Light::Ok => "ok",
        Light::Warn => "warn",
        Light::Down => "down",
    }
}

/// The role of a telemetry line.
#[must_use]
pub const fn of_level(level: Level) -> Role {
    match level {
        Level::Debug => Role::Dim,
        Level::Info => Role::Text,
        Level::Warn => Role::Warn,
        Level::Error => Role::Bad,
    }
}

/// The word of a level.
#[must_use]
pub const fn level_word(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}
