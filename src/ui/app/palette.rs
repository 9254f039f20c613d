//! The command palette: every action by its name, narrowed while a name is typed.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tui_input::Input as Line;

use super::{Action, App};
use crate::ui::keymap::{Act, Bound, Keymap, Tab};
use crate::ui::line;

/// The longest text that is looked for, in characters.
const TEXT_MAX: usize = 64;

/// What is typed, and which action is chosen.
#[derive(Clone, Debug, Default)]
pub struct Palette {
    /// The text.
    pub line: Line,
    /// The chosen row.
    pub at: usize,
}

impl Palette {
    /// The actions that hold what is typed, those of this tab first.
    #[must_use]
    pub fn rows<'a>(&self, keys: &'a Keymap, tab: Tab) -> Vec<&'a Bound> {
        let text = self.line.value().to_lowercase();
        let words: Vec<&str> = text.split_whitespace().collect();
        let fits = |bound: &&Bound| {
            let name = bound.binding.act.name().replace('_', " ");
            let help = bound.binding.help.to_lowercase();
            bound.binding.act != Act::Palette
                && words
                    .iter()
                    .all(|word| name.contains(word) || help.contains(word))
        };
        let mut rows: Vec<&Bound> = keys.all().iter().filter(fits).collect();
        rows.sort_by_key(|bound| {
            let name = bound.binding.act.name().replace('_', " ");
            (
                text.is_empty() || !name.starts_with(text.trim()),
                !bound.binding.on(tab),
            )
        });
        rows
    }

    pub(super) fn paste(&mut self, text: &str) {
        line::paste(&mut self.line, text, TEXT_MAX);
        self.at = 0;
    }
}

impl App {
    pub(super) fn palette_key(&mut self, key: KeyEvent) -> Vec<Action> {
        let Some(palette) = &mut self.palette else {
            return Vec::new();
        };
        let rows = palette.rows(&self.keys, self.tab);
        let last = rows.len().saturating_sub(1);
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Esc => self.palette = None,
            KeyCode::Enter => {
                let chosen = rows.get(palette.at).map(|bound| bound.binding);
                if let Some(binding) = chosen {
                    self.palette = None;
                    return self.run_named(binding.act, binding.tabs);
                }
            }
            KeyCode::Down => palette.at = (palette.at + 1).min(last),
            KeyCode::Up => palette.at = palette.at.saturating_sub(1),
            KeyCode::Char('n') if control => palette.at = (palette.at + 1).min(last),
            KeyCode::Char('p') if control => palette.at = palette.at.saturating_sub(1),
            KeyCode::PageDown => palette.at = (palette.at + 8).min(last),
            KeyCode::PageUp => palette.at = palette.at.saturating_sub(8),
            _ => {
                line::press(&mut palette.line, &key, TEXT_MAX);
                palette.at = 0;
            }
        }
        Vec::new()
    }

    /// An action of another tab is done there.
    fn run_named(&mut self, act: Act, tabs: &[Tab]) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(tab) = tabs.first()
            && !tabs.contains(&self.tab)
        {
            actions = self.show(*tab);
            if self.tab != *tab {
                return actions;
            }
        }
        actions.extend(self.act(act));
        actions
    }
}
