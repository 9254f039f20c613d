//! What is around every tab: the hotbar, the banner, the hint bar, and what opens above the tab.

use ratatui::layout::Rect;

use crate::domain::event::Level;
use crate::domain::health::ShopState;
use crate::domain::text::clean;
use crate::ui::app::{App, Ask};
use crate::ui::keymap::{COPIES, KEYS, Tab};
use crate::ui::pen::Pen;
use crate::ui::theme::{Role, of_level};

/// Said on every tab where no real money moves.
const SANDBOX: &str = "SANDBOX: no real money moves";

/// Draws the frame of the screen and gives the area of the tab.
pub fn draw(app: &App, pen: &mut Pen<'_>, area: Rect) -> Rect {
    hotbar(app, pen, area);
    let mut top = 1;
    for line in banners(app) {
        pen.fill(Rect::new(area.x, area.y + top, area.width, 1), Role::Banner);
        pen.row(
            area,
            top,
            &[(" ", Role::Banner), (&clean(line, 200), Role::Banner)],
        );
        top += 1;
    }
    message(app, pen, area);
    hints(app, pen, area);
    Rect::new(area.x, area.y + top, area.width, area.height - top - 2)
}

fn banners(app: &App) -> impl Iterator<Item = &str> {
    let sandbox = app.store.wallet.sandbox.then_some(SANDBOX);
    sandbox.into_iter().chain(app.banner.as_deref())
}

fn hotbar(app: &App, pen: &mut Pen<'_>, area: Rect) {
    let mut x = area.x;
    for (slot, tab) in Tab::ALL.into_iter().enumerate() {
        let role = if tab == app.tab {
            Role::Selected
        } else {
            Role::Text
        };
        let text = format!(" {} {} ", slot + 1, tab.title());
        x += pen.put(x, area.y, area.right() - x, &text, role);
        x += 1;
    }
    let word = app.store.state.word().to_uppercase();
    let width = u16::try_from(word.len()).unwrap_or(0);
    let right = area.right().saturating_sub(width + 1);
    if right > x {
        pen.put(right, area.y, width, &word, state_role(app.store.state));
    }
}

/// The look of a state's word.
pub const fn state_role(state: ShopState) -> Role {
    match state {
        ShopState::Online => Role::Good,
        ShopState::Degraded | ShopState::Starting | ShopState::Draining => Role::Warn,
        ShopState::Offline | ShopState::Stopping => Role::Title,
    }
}

/// What is being typed, the last answer, or the last notice.
fn message(app: &App, pen: &mut Pen<'_>, area: Rect) {
    let row = area.height - 2;
    if app.typing {
        let filter = match app.tab {
            Tab::Jobs => &app.jobs.filter,
            _ => &app.feed.filter,
        };
        let typed = format!("{}_", clean(filter, 200));
        pen.row(area, row, &[(" filter: ", Role::Key), (&typed, Role::Text)]);
    } else if let Some(message) = &app.message {
        pen.row(
            area,
            row,
            &[(" ", Role::Text), (&clean(message, 300), Role::Text)],
        );
    } else if let Some(notice) = &app.store.notice {
        let text = format!(
            " {}: {}",
            clean(&notice.category, 32),
            clean(&notice.message, 300)
        );
        let role = match notice.level {
            Level::Debug => Role::Dim,
            level => of_level(level),
        };
        pen.row(area, row, &[(&text, role)]);
    }
}

fn hints(app: &App, pen: &mut Pen<'_>, area: Rect) {
    let mut pieces = vec![(" ", Role::Text)];
    if app.tab == Tab::Settings && app.form.edit.is_some() {
        pieces.extend([("Enter", Role::Key), (" save  ", Role::Dim)]);
        pieces.extend([("Esc", Role::Key), (" undo", Role::Dim)]);
    } else {
        let shown = KEYS
            .iter()
            .filter(|one| one.on(app.tab) && !one.hint.is_empty());
        let mut room = usize::from(area.width).saturating_sub(1);
        for binding in shown {
            // A key is shown whole or not at all; the help has them all.
            let width = binding.shown.len() + binding.hint.len() + 3;
            let Some(left) = room.checked_sub(width) else {
                break;
            };
            room = left;
            pieces.extend([(binding.shown, Role::Key), (" ", Role::Dim)]);
            pieces.extend([(binding.hint, Role::Dim), ("  ", Role::Dim)]);
        }
    }
    pen.row(area, area.height - 1, &pieces);
}

/// Draws what opens above the tab: the question, or the keys.
pub fn draw_above(app: &App, pen: &mut Pen<'_>, area: Rect) {
    if let Some(ask) = app.ask {
        question(ask, pen, area);
    } else if app.help {
        help(app, pen, area);
    }
}

fn question(ask: Ask, pen: &mut Pen<'_>, area: Rect) {
    let (title, lines): (&str, Vec<String>) = match ask {
        Ask::Quit => (
            "Jobs are running",
            vec![
                "f  finish them, then stop".to_owned(),
                "k  keep selling with no screen".to_owned(),
                "s  stop now".to_owned(),
                "Esc  stay".to_owned(),
            ],
        ),
        Ask::Offline => (
            "Jobs are running",
            vec![
                "f  finish them, take no more".to_owned(),
                "s  stop them now".to_owned(),
                "Esc  stay online".to_owned(),
            ],
        ),
        Ask::Cancel(id) => ("Cancel?", vec![format!("job {}", id.short()), yes_no()]),
        Ask::Retry(id) => ("Try again?", vec![format!("job {}", id.short()), yes_no()]),
        Ask::Block(buyer) => {
            let short: String = buyer.to_string().chars().take(16).collect();
            ("Serve this buyer no more?", vec![short, yes_no()])
        }
    };
    let height = u16::try_from(lines.len()).unwrap_or(4) + 2;
    let inner = window(pen, area, 40, height, title);
    for (row, line) in (0..).zip(&lines) {
        pen.row(inner, row, &[(" ", Role::Text), (line, Role::Text)]);
    }
}

fn yes_no() -> String {
    "y  yes    n  no".to_owned()
}

fn help(app: &App, pen: &mut Pen<'_>, area: Rect) {
    let keys = KEYS.iter().chain(COPIES);
    let bindings: Vec<_> = keys.filter(|one| one.on(app.tab)).collect();
    let rows = area.height.saturating_sub(4).max(1);
    let columns = bindings.len().div_ceil(usize::from(rows)).max(1);
    let height = bindings.len().div_ceil(columns);
    let tall = u16::try_from(height).unwrap_or(rows) + 2;
    let inner = window(pen, area, area.width - 4, tall, "Keys (any key closes)");
    let wide = inner.width / u16::try_from(columns).unwrap_or(1).max(1);
    for (index, binding) in bindings.iter().enumerate() {
        let column = u16::try_from(index / height).unwrap_or(0);
        let row = u16::try_from(index % height).unwrap_or(0);
        let x = inner.x + column * wide;
        let y = inner.y + row;
        pen.put(x + 1, y, 7, binding.shown, Role::Key);
        pen.put(x + 9, y, wide.saturating_sub(10), binding.help, Role::Text);
    }
}

/// An empty box in the middle.
fn window(pen: &mut Pen<'_>, area: Rect, width: u16, height: u16, title: &str) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    let x = area.x + (area.width - width) / 2;
    let y = area.y + (area.height - height) / 2;
    let place = Rect::new(x, y, width, height);
    pen.blank(place);
    pen.frame(place, title)
}
