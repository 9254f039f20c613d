//! What is around every tab: the hotbar, the banner, the hint bar, and what opens above the tab.

use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr as _;

use crate::domain::event::Level;
use crate::domain::health::{HealthLevel, ShopState};
use crate::domain::machine;
use crate::domain::text::clean;
use crate::ui::app::{App, Ask};
use crate::ui::jobs_list::completions;
use crate::ui::keymap::{Act, Binding, Tab};
use crate::ui::line;
use crate::ui::painter::Painter;
use crate::ui::theme::{Role, Theme, of_level};

/// Said on every tab where no real money moves.
const SANDBOX: &str = "SANDBOX: no real money moves";

/// Draws the frame of the screen and gives the area of the tab.
pub fn draw(app: &App, painter: &mut Painter<'_>, area: Rect) -> Rect {
    hotbar(app, painter, area);
    if banner_rows(app) > 0 {
        painter.fill(Rect::new(area.x, area.y + 1, area.width, 1), Role::Banner);
        let mut pieces = vec![(" ", Role::Banner)];
        pieces.extend(banners(app).map(|text| (text, Role::Banner)));
        if pieces.len() > 2 {
            pieces.insert(2, ("  ", Role::Banner));
        }
        painter.row(area, 1, &pieces);
    }
    message(app, painter, area);
    hints(app, painter, area);
    body(app, area)
}

/// The area of the tab: what the hotbar, the banners, the message and the hints leave.
pub fn body(app: &App, area: Rect) -> Rect {
    let top = 1 + banner_rows(app);
    Rect::new(area.x, area.y + top, area.width, area.height - top - 2)
}

/// The tabs of the hotbar: each with its first column and its text.
fn tabs(area: Rect) -> impl Iterator<Item = (Tab, u16, String)> {
    let mut x = area.x;
    (1..).zip(Tab::ALL).map(move |(slot, tab)| {
        let text = format!(" {slot} {} ", tab.title());
        let at = x;
        // The titles are ASCII.
        x += u16::try_from(text.len()).unwrap_or(0) + 1;
        (tab, at, text)
    })
}

/// The tab in the hotbar's column `x`.
pub fn tab_at(area: Rect, x: u16) -> Option<Tab> {
    let mut all = tabs(area);
    let under = |(_, at, text): &(Tab, u16, String)| {
        let width = u16::try_from(text.len()).unwrap_or(0);
        (*at..at + width).contains(&x)
    };
    all.find(under).map(|(tab, _, _)| tab)
}

/// Rows of the banners: they share one.
pub fn banner_rows(app: &App) -> u16 {
    u16::from(banners(app).next().is_some())
}

fn banners(app: &App) -> impl Iterator<Item = &str> {
    let sandbox = app.store.wallet.sandbox.then_some(SANDBOX);
    sandbox.into_iter().chain(app.banner.as_deref())
}

fn hotbar(app: &App, painter: &mut Painter<'_>, area: Rect) {
    let mut x = area.x;
    for (tab, at, text) in tabs(area) {
        let role = if tab == app.tab {
            Role::Selected
        } else {
            Role::Text
        };
        let width = area.right().saturating_sub(at);
        x = at + painter.put(at, area.y, width, &text, role) + 1;
    }
    let state = app.store.state;
    let role = state_role(state);
    let word = state.as_str().to_uppercase();
    let width = u16::try_from(word.len()).unwrap_or(0);
    let right = area.right().saturating_sub(width + 1);
    if right >= x {
        painter.put(right, area.y, width, &word, role);
    } else {
        // Where there is no room for the word, its mark still tells.
        let mark = state_mark(state, painter.theme);
        painter.put(area.right().saturating_sub(2), area.y, 1, mark, role);
    }
}

/// The look of a state's word.
pub const fn state_role(state: ShopState) -> Role {
    match state {
        ShopState::Online => Role::Good,
        ShopState::Degraded | ShopState::Paused | ShopState::Starting | ShopState::Draining => {
            Role::Warn
        }
        ShopState::Offline | ShopState::Stopping => Role::Title,
    }
}

/// The mark of a state, as before its word on the first tab.
#[must_use]
pub const fn state_mark(state: ShopState, theme: Theme) -> &'static str {
    match state {
        ShopState::Offline => theme.calm(),
        ShopState::Online => theme.mark(HealthLevel::Ok),
        _ => theme.mark(HealthLevel::Warn),
    }
}

/// What is being typed, the last answer, or the last notice.
fn message(app: &App, painter: &mut Painter<'_>, area: Rect) {
    let row = area.height - 2;
    if app.typing {
        let (word, found) = match app.tab {
            Tab::Telemetry => (" find: ", app.feed.found()),
            Tab::Settings => (" go to: ", app.form.found),
            _ => (" filter: ", true),
        };
        let typed = line::shown(&app.line);
        let nothing = if found { "" } else { "  nothing is called so" };
        let more = typing_help(app);
        let pieces = [
            (word, Role::Key),
            (typed.as_str(), Role::Text),
            (nothing, Role::Warn),
            (more.as_str(), Role::Dim),
        ];
        painter.row(area, row, &pieces);
    } else if let Some(message) = &app.message {
        painter.row(
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
        painter.row(area, row, &[(&text, role)]);
    }
}

/// Beside what is being typed: how many hold it, or how it can go on.
fn typing_help(app: &App) -> String {
    match app.tab {
        Tab::Settings if app.form.found => match app.form.matches().len() {
            0 => String::new(),
            many => format!("  {many} found; n and N go to them"),
        },
        Tab::Jobs => {
            let models = app.store.totals.models.keys().map(String::as_str);
            let words = completions(app.line.value(), models);
            if words.is_empty() {
                String::new()
            } else {
                clean(&format!("  Tab: {}", words.join(" ")), 300)
            }
        }
        _ => String::new(),
    }
}

fn hints(app: &App, painter: &mut Painter<'_>, area: Rect) {
    let mut pieces = vec![(" ", Role::Text)];
    let fixed = fixed_hints(app);
    for (key, hint) in &fixed {
        pieces.extend([(*key, Role::Key), (" ", Role::Dim)]);
        pieces.extend([(*hint, Role::Dim), ("  ", Role::Dim)]);
    }
    if fixed.is_empty() {
        let mut room = usize::from(area.width).saturating_sub(1);
        for bound in app.keys.on(app.tab) {
            let hint = hint(app, bound.binding);
            // The first key says enough here; the help has them all.
            let key = bound.shown.split(' ').next().unwrap_or_default();
            if hint.is_empty() || key.is_empty() {
                continue;
            }
            // A key is shown whole or not at all.
            let width = key.width() + hint.len() + 3;
            let Some(left) = room.checked_sub(width) else {
                break;
            };
            room = left;
            pieces.extend([(key, Role::Key), (" ", Role::Dim)]);
            pieces.extend([(hint, Role::Dim), ("  ", Role::Dim)]);
        }
    }
    painter.row(area, area.height - 1, &pieces);
}

/// The word for a key where the screen is now; empty: it is not worth its room.
fn hint(app: &App, binding: &Binding) -> &'static str {
    let on_feed = app.tab == Tab::Telemetry && app.feed.detail.is_some();
    let on_job = app.tab == Tab::Jobs && app.jobs.detail;
    match (binding.act, app.tab) {
        (act, _) if !app.applies(act) => "",
        (Act::Test, Tab::Sell) if app.is_first_start() => "check all",
        (Act::Test, Tab::Sell) => "",
        (Act::Snooze, _) => snooze_hint(app),
        (Act::Open, Tab::Sell) if app.is_first_start() => "do it",
        (Act::Open, Tab::Sell) if app.store.state == ShopState::Offline => "go online",
        (Act::Open, Tab::Sell) => "go offline",
        (Act::Copy, Tab::Sell) => "copy npub",
        (Act::Open, Tab::Settings) => "edit",
        (Act::Open, _) if on_feed => "",
        (Act::Back, _) if on_feed || on_job => "back",
        (Act::Desk | Act::Earnings, _) if on_job => "",
        (Act::Raw, _) if app.jobs.raw => "job",
        (Act::Raw, _) => "events",
        _ => binding.hint,
    }
}

/// Snoozing is worth its room where there is work to put off, or where it is put off.
fn snooze_hint(app: &App) -> &'static str {
    match app.store.state {
        ShopState::Paused if machine::is_snoozed(&app.store.detail) => "resume",
        ShopState::Online | ShopState::Degraded if app.tab == Tab::Sell => "snooze",
        _ => "",
    }
}

/// The keys of what is being typed: those can't be bound to anything else.
fn fixed_hints(app: &App) -> Vec<(&'static str, &'static str)> {
    if let Some(ask) = app.ask {
        return asked(ask);
    }
    if app.palette.is_some() {
        return vec![("Enter", "do it"), ("Up Down", "choose"), ("Esc", "close")];
    }
    if app.help {
        return vec![
            ("Up Down", "scroll"),
            ("PgDn PgUp", "more"),
            ("Esc", "close"),
        ];
    }
    if app.tab == Tab::Jobs && app.jobs.copying {
        return vec![("i v j b e", "copy this"), ("Esc", "nothing")];
    }
    if app.tab == Tab::Jobs && app.cases.open {
        return vec![
            ("Up Down", "choose"),
            ("PgDn PgUp", "more"),
            ("Enter", "job"),
            ("Esc", "jobs"),
        ];
    }
    if app.tab == Tab::Jobs && app.earnings.is_some() {
        return vec![("Up Down", "scroll"), ("Esc", "jobs")];
    }
    let edit = app.form.edit.as_ref().filter(|_| app.tab == Tab::Settings);
    match edit {
        Some(edit) if edit.choices.is_some() => {
            vec![("Space", "next"), ("Enter", "keep"), ("Esc", "leave")]
        }
        Some(_) => vec![("Enter", "keep"), ("C-s", "save"), ("Esc", "leave")],
        None if app.typing => vec![("Enter", "keep"), ("Esc", "clear")],
        None => Vec::new(),
    }
}

/// The answers to a question: no other key does anything while it is open.
fn asked(ask: Ask) -> Vec<(&'static str, &'static str)> {
    match ask {
        Ask::Quit => vec![
            ("f", "finish"),
            ("k", "keep selling"),
            ("s", "stop"),
            ("Esc", "stay"),
        ],
        Ask::Offline => vec![
            ("f", "finish"),
            ("s", "cancel them"),
            ("Esc", "stay online"),
        ],
        Ask::Suspend => vec![("z", "stop both"), ("k", "keep selling"), ("Esc", "stay")],
        Ask::Decide(_, _, action) if action.closes() => vec![("Enter", "yes"), ("Esc", "no")],
        Ask::Cancel(_) | Ask::Retry(_) | Ask::Block(_) | Ask::Decide(..) => {
            vec![("y", "yes"), ("n Esc", "no")]
        }
        Ask::Unsaved(_) => vec![("s", "save"), ("d", "drop"), ("Esc", "stay")],
        Ask::Conflict => vec![("m", "mine"), ("t", "theirs"), ("Esc", "later")],
    }
}
