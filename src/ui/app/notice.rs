//! What the terminal tells who does not look: its title, and a bell for what came in or needs somebody.

use super::App;
use crate::domain::event::{Event, EventKind};
use crate::domain::health::ShopState;
use crate::domain::screen::BellKind;
use crate::domain::text::clean;

/// The longest title, characters.
const TITLE: usize = 60;

/// What is to be noticed.
#[derive(Clone, Debug, Default)]
pub struct Notice {
    /// Cases of the recovery desk when they were told last; none before that.
    cases: Option<u64>,
    waiting: Option<String>,
}

impl App {
    /// The title that the terminal should have; none: its own.
    #[must_use]
    pub fn title(&self) -> Option<String> {
        if !self.screen.title {
            return None;
        }
        let mark = crate::ui::view::state_mark(self.store.state, self.theme);
        let today = self.store.today().revenue_msat.display();
        let state = match self.store.state {
            ShopState::Online => String::new(),
            other => format!("{}, ", other.as_str()),
        };
        let needs = match self.store.totals.cases {
            0 => String::new(),
            _ => ", needs you".to_owned(),
        };
        Some(clean(
            &format!("vend {mark} {state}{today} today{needs}"),
            TITLE,
        ))
    }

    /// Takes in what may be noticed.
    pub(super) fn notice(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Paid { amount_msat, .. } => {
                self.notice.waiting = Some(format!("{} came in", amount_msat.display()));
            }
            EventKind::Totals { totals } => {
                let before = self.notice.cases.replace(totals.cases);
                if before.is_some_and(|before| before < totals.cases) {
                    self.notice.waiting = Some("vend needs you: `vend recover`".to_owned());
                }
            }
            _ => {}
        }
    }

    /// What is to be told now, and how; once.
    pub fn rings(&mut self) -> Option<(BellKind, String)> {
        let words = self.notice.waiting.take()?;
        (self.screen.bell != BellKind::Off).then_some((self.screen.bell, words))
    }
}
