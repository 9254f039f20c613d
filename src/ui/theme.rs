//! The only place that knows a colour or a mark.
//!
//! Sixteen colours at most, so that the terminal's own palette holds. Nothing is told by colour alone: every light has a
//! mark and a word, the selected row is reversed, and so the screen reads the same with `NO_COLOR` and in ASCII.

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::border;

use crate::domain::event::Level;
use crate::domain::health::HealthLevel;
pub use crate::domain::screen::ThemeName;

#[cfg(test)]
mod contrast;
mod palette;

pub use palette::Palette;

/// What a piece of text is, which decides how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Plain text.
    Text,
    /// Less important. It has no look of its own: every grey, and dimmed letters too, vanish on some common ground.
    Dim,
    /// The line of a box.
    Line,
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
    /// A column of a chart.
    Chart,
    /// A warning across the whole screen.
    Banner,
    /// Dark on light whatever the theme, without colours too: a camera reads it.
    Code,
    /// A dark square of what a camera reads, where it is drawn with two letters.
    CodeDark,
}

/// How the screen looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Theme {
    /// Which colours.
    pub name: ThemeName,
    /// Only ASCII characters.
    pub ascii: bool,
    /// With colours.
    pub color: bool,
}

/// The signs where the lines of boxes meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joints {
    /// At the left side.
    pub left: &'static str,
    /// At the right side.
    pub right: &'static str,
    /// Where a line from above ends.
    pub foot: &'static str,
}

impl Role {
    /// All of them that a theme decides on.
    pub const ALL: [Self; 11] = [
        Self::Text,
        Self::Dim,
        Self::Line,
        Self::Title,
        Self::Good,
        Self::Warn,
        Self::Bad,
        Self::Selected,
        Self::Key,
        Self::Chart,
        Self::Banner,
    ];
}

impl Theme {
    /// The look of a piece of text.
    #[must_use]
    pub fn style(self, role: Role) -> Style {
        match role {
            Role::Code => return Style::new().fg(Color::Black).bg(Color::White),
            Role::CodeDark => return Style::new().fg(Color::Black).bg(Color::Black),
            _ => {}
        }
        if !self.color {
            return plain(role);
        }
        match self.name {
            ThemeName::Dark => dark(role),
            ThemeName::Light => light(role),
            ThemeName::Contrast => contrast(role),
        }
    }

    /// A light's mark.
    #[must_use]
    pub const fn mark(self, light: HealthLevel) -> &'static str {
        match (light, self.ascii) {
            (HealthLevel::Unknown, true) => "-",
            (HealthLevel::Unknown, false) => "○",
            (HealthLevel::Ok, true) => "+",
            (HealthLevel::Ok, false) => "●",
            (HealthLevel::Warn, _) => "!",
            (HealthLevel::Down, true) => "x",
            (HealthLevel::Down, false) => "✗",
        }
    }

    /// The step of a small chart, from 0 (nothing) over 1 (a little) to 8 (the most).
    #[must_use]
    pub fn step(self, height: usize) -> &'static str {
        const DRAWN: [&str; 9] = ["▁", "▂", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
        const TYPED: [&str; 9] = ["_", ".", ".", ":", "-", "=", "+", "*", "#"];
        let steps = if self.ascii { TYPED } else { DRAWN };
        steps[height.min(8)]
    }

    /// A piece of a column of a tall chart, by eighths: 0 is blank, 8 is full.
    #[must_use]
    pub fn block(self, eighths: usize) -> &'static str {
        const DRAWN: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
        const TYPED: [&str; 9] = [" ", ".", ".", ".", ":", ":", ":", "#", "#"];
        let blocks = if self.ascii { TYPED } else { DRAWN };
        blocks[eighths.min(8)]
    }

    /// The done and the open part of a bar.
    #[must_use]
    pub const fn bar(self) -> (&'static str, &'static str) {
        if self.ascii {
            ("#", ".")
        } else {
            ("█", "░")
        }
    }

    /// Stands before what can be done.
    #[must_use]
    pub const fn arrow(self) -> &'static str {
        if self.ascii { ">" } else { "→" }
    }

    /// The mark of what is neither well nor wrong.
    #[must_use]
    pub const fn calm(self) -> &'static str {
        if self.ascii { "-" } else { "○" }
    }

    /// Stands at the column that a table is ordered by.
    #[must_use]
    pub const fn order(self, ascending: bool) -> &'static str {
        match (ascending, self.ascii) {
            (true, true) => "^",
            (true, false) => "▲",
            (false, true) => "v",
            (false, false) => "▼",
        }
    }

    /// What stands for text that was cut off.
    #[must_use]
    pub const fn ellipsis(self) -> char {
        if self.ascii { '~' } else { '…' }
    }

    /// Where a box stands on another.
    #[must_use]
    pub const fn joints(self) -> Joints {
        if self.ascii {
            Joints {
                left: "+",
                right: "+",
                foot: "+",
            }
        } else {
            Joints {
                left: "├",
                right: "┤",
                foot: "┴",
            }
        }
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

/// Without colour: weight, dimming and reversal.
fn plain(role: Role) -> Style {
    let style = Style::new();
    match role {
        Role::Text
        | Role::Dim
        | Role::Good
        | Role::Warn
        | Role::Chart
        | Role::Code
        | Role::CodeDark => style,
        Role::Line => style.add_modifier(Modifier::DIM),
        Role::Title | Role::Bad | Role::Key => style.add_modifier(Modifier::BOLD),
        Role::Selected => style.add_modifier(Modifier::REVERSED),
        Role::Banner => style.add_modifier(Modifier::REVERSED | Modifier::BOLD),
    }
}

/// On the terminal's own dark ground.
fn dark(role: Role) -> Style {
    let style = plain(role);
    match role {
        Role::Text
        | Role::Dim
        | Role::Line
        | Role::Title
        | Role::Selected
        | Role::Code
        | Role::CodeDark => style,
        Role::Good => style.fg(Color::Green),
        Role::Warn | Role::Banner => style.fg(Color::Yellow),
        Role::Bad => style.fg(Color::Red),
        Role::Key | Role::Chart => style.fg(Color::Cyan),
    }
}

/// On the terminal's own light ground. No yellow, cyan or green: on white they can hardly be read.
fn light(role: Role) -> Style {
    let style = plain(role);
    match role {
        Role::Text
        | Role::Dim
        | Role::Line
        | Role::Title
        | Role::Selected
        | Role::Code
        | Role::CodeDark => style,
        Role::Warn | Role::Banner => style.fg(Color::Magenta),
        Role::Bad => style.fg(Color::Red),
        Role::Good | Role::Key | Role::Chart => style.fg(Color::Blue),
    }
}

/// White on black whatever the terminal's ground, with the bright colours, and nothing dimmed.
fn contrast(role: Role) -> Style {
    let style = match role {
        Role::Line => Style::new(),
        _ => plain(role),
    };
    let ink = match role {
        Role::Text
        | Role::Dim
        | Role::Line
        | Role::Title
        | Role::Selected
        | Role::Code
        | Role::CodeDark => Color::White,
        Role::Good => Color::LightGreen,
        Role::Warn | Role::Banner => Color::LightYellow,
        Role::Bad => Color::LightRed,
        Role::Key | Role::Chart => Color::LightCyan,
    };
    style.fg(ink).bg(Color::Black)
}

/// The role of a light.
#[must_use]
pub const fn of_health(light: HealthLevel) -> Role {
    match light {
        HealthLevel::Unknown => Role::Dim,
        HealthLevel::Ok => Role::Good,
        HealthLevel::Warn => Role::Warn,
        HealthLevel::Down => Role::Bad,
    }
}

/// The word of a light.
#[must_use]
pub const fn word(light: HealthLevel) -> &'static str {
    match light {
        HealthLevel::Unknown => "off",
        HealthLevel::Ok => "ok",
        HealthLevel::Warn => "warn",
        HealthLevel::Down => "down",
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

#[cfg(test)]
mod tests {
    use super::*;

    fn themes(color: bool) -> [Theme; 3] {
        ThemeName::ALL.map(|name| Theme {
            name,
            ascii: false,
            color,
        })
    }

    #[test]
    fn every_theme_keeps_to_the_sixteen_colours() {
        for theme in themes(true) {
            for role in Role::ALL {
                let style = theme.style(role);
                for color in [style.fg, style.bg].into_iter().flatten() {
                    assert!(!matches!(color, Color::Rgb(..) | Color::Indexed(_)));
                }
            }
        }
    }

    #[test]
    fn without_colour_every_theme_is_the_same_and_has_none() {
        for theme in themes(false) {
            for role in Role::ALL {
                let style = theme.style(role);
                assert_eq!((style.fg, style.bg), (None, None));
                assert_eq!(style, themes(false)[0].style(role));
            }
        }
    }

    #[test]
    fn what_must_stand_out_does_so_without_colour() {
        let theme = themes(false)[0];
        for role in [
            Role::Bad,
            Role::Selected,
            Role::Key,
            Role::Banner,
            Role::Title,
        ] {
            assert_ne!(theme.style(role), theme.style(Role::Text), "{role:?}");
        }
        let marks = [
            HealthLevel::Unknown,
            HealthLevel::Ok,
            HealthLevel::Warn,
            HealthLevel::Down,
        ];
        for ascii in [false, true] {
            let theme = Theme { ascii, ..theme };
            let mut seen = marks.map(|light| theme.mark(light)).to_vec();
            seen.dedup();
            assert_eq!(seen.len(), marks.len());
        }
    }

    #[test]
    fn contrast_dims_nothing_and_sets_its_own_ground() {
        let theme = themes(true)[2];
        for role in Role::ALL {
            let style = theme.style(role);
            assert_eq!(style.bg, Some(Color::Black));
            assert!(!style.add_modifier.contains(Modifier::DIM));
            assert_ne!(style.fg, Some(Color::DarkGray));
        }
    }

    #[test]
    fn the_light_theme_has_no_colour_that_white_swallows() {
        let theme = themes(true)[1];
        for role in Role::ALL {
            let ink = theme.style(role).fg;
            assert!(!matches!(
                ink,
                Some(Color::Yellow | Color::Cyan | Color::Green | Color::White)
            ));
        }
    }

    #[test]
    fn a_chart_in_ascii_is_ascii_and_its_steps_never_fall() {
        let theme = Theme {
            ascii: true,
            ..Theme::default()
        };
        for height in 0..=9 {
            assert!(theme.step(height).is_ascii() && theme.block(height).is_ascii());
        }
        assert!(theme.bar().0.is_ascii() && theme.arrow().is_ascii());
        assert_ne!(theme.step(0), theme.step(1));
    }

    #[test]
    fn a_theme_is_known_by_its_word() {
        for name in ThemeName::ALL {
            assert_eq!(ThemeName::parse(name.as_str()), Some(name));
        }
        assert_eq!(ThemeName::parse("pink"), None);
    }
}
