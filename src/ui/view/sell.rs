//! Sell Compute: is the shop selling, what does it lean on, what does it earn.

use ratatui::layout::Rect;

use super::chrome::state_role;
use crate::domain::health::{CheckStatus, Light, ShopState};
use crate::domain::text::clean;
use crate::store::Store;
use crate::ui::app::App;
use crate::ui::pen::Pen;
use crate::ui::theme::{Role, of_light, word};

/// The longest text of a light.
const DETAIL: usize = 200;

/// Draws the tab.
pub fn draw(app: &App, pen: &mut Pen<'_>, area: Rect) {
    button(app, pen, Rect { height: 2, ..area });
    let rest = Rect::new(area.x, area.y + 2, area.width, area.height - 2);
    let upper = (rest.height * 3 / 5)
        .clamp(11, 14)
        .min(rest.height.saturating_sub(4));
    let left = rest.width * 3 / 5;
    let lights_box = Rect::new(rest.x, rest.y, left, upper);
    let figures_box = Rect::new(rest.x + left, rest.y, rest.width - left, upper);
    let work_box = Rect::new(rest.x, rest.y + upper, rest.width, rest.height - upper);
    let inner = pen.frame(lights_box, "Lights");
    lights(&app.store, pen, inner);
    let inner = pen.frame(figures_box, "Earnings");
    figures(&app.store, pen, inner);
    work(&app.store, pen, work_box);
}

fn button(app: &App, pen: &mut Pen<'_>, area: Rect) {
    let store = &app.store;
    let label = match store.state {
        ShopState::Offline => "[ GO ONLINE ]",
        _ => "[ GO OFFLINE ]",
    };
    let detail = clean(&store.detail, DETAIL);
    let pieces = [
        (" ", Role::Text),
        (label, Role::Selected),
        (" o  ", Role::Key),
        (store.state.word(), state_role(store.state)),
        ("  ", Role::Text),
        (&detail, Role::Text),
    ];
    pen.row(area, 0, &pieces);
    let npub = clean(&store.npub, 80);
    pen.row(area, 1, &[(" ", Role::Dim), (&npub, Role::Dim)]);
}

/// One line of the lights.
struct Line {
    light: Light,
    name: String,
    detail: String,
}

fn lights(store: &Store, pen: &mut Pen<'_>, area: Rect) {
    let lines = lines(store);
    let height = usize::from(area.height);
    let more = lines.len().saturating_sub(height);
    let shown = if more > 0 {
        height.saturating_sub(1)
    } else {
        height
    };
    for (row, line) in (0..).zip(lines.iter().take(shown)) {
        let role = of_light(line.light);
        let state = format!("{} {:<5}", pen.theme.mark(line.light), word(line.light));
        let pieces = [
            (state.as_str(), role),
            (line.name.as_str(), Role::Text),
            (" ", Role::Text),
            (line.detail.as_str(), Role::Dim),
        ];
        pen.row(area, row, &pieces);
    }
    if more > 0 {
        let text = format!("and {} more", lines.len() - shown);
        pen.row(area, area.height.saturating_sub(1), &[(&text, Role::Dim)]);
    }
}

/// What failed with its fix first, then wallet, models, relays.
fn lines(store: &Store) -> Vec<Line> {
    let mut lines = Vec::new();
    for check in &store.checks {
        let light = match check.status {
            CheckStatus::Ok => continue,
            CheckStatus::Warn => Light::Warn,
            CheckStatus::Fail => Light::Down,
        };
        let kind = format!("{:?}", check.check).to_lowercase();
        lines.push(Line {
            light,
            name: clean(&format!("{kind} {}", check.target), 60),
            detail: clean(&check.detail, DETAIL),
        });
        if !check.fix.is_empty() {
            lines.push(Line {
                light,
                name: "fix:".to_owned(),
                detail: clean(&check.fix, DETAIL),
            });
        }
    }
    let wallet = &store.wallet;
    let balance = match wallet.balance_msat {
        Some(balance) => format!("{} ", balance.display()),
        None => String::new(),
    };
    lines.push(Line {
        light: wallet.light,
        name: clean(&format!("wallet {}", wallet.backend), 40),
        detail: clean(&format!("{balance}{}", wallet.detail), DETAIL),
    });
    for endpoint in store.endpoints.values() {
        let models: Vec<_> = endpoint.models.iter().take(3).map(String::as_str).collect();
        let detail = format!("{} {}", models.join(", "), endpoint.detail);
        lines.push(Line {
            light: endpoint.light,
            name: clean(&format!("model {}", endpoint.name), 40),
            detail: clean(&detail, DETAIL),
        });
    }
    for relay in store.relays.values() {
        let url = relay.url.trim_start_matches("wss://");
        let detail = format!("{} {}", relay.state, relay.detail);
        lines.push(Line {
            light: relay.light,
            name: clean(&format!("relay {url}"), 40),
            detail: clean(&detail, DETAIL),
        });
    }
    lines
}

fn figures(store: &Store, pen: &mut Pen<'_>, area: Rect) {
    let today = store.today();
    let totals = &store.totals;
    let funnel = &totals.funnel;
    let drops: Vec<String> = store
        .top_drops(3)
        .iter()
        .map(|(reason, times)| format!("{} {times}", clean(reason, 24)))
        .collect();
    let owed = if totals.owed_msat.is_zero() {
        Role::Text
    } else {
        Role::Warn
    };
    let rows = [
        (
            "today",
            format!("{} ({} jobs)", today.revenue_msat.display(), today.jobs),
            Role::Title,
        ),
        (
            "all time",
            totals.revenue_msat.display().to_string(),
            Role::Text,
        ),
        ("owed", totals.owed_msat.display().to_string(), owed),
        (
            "seen",
            format!("{} → understood {}", funnel.seen, funnel.understood),
            Role::Text,
        ),
        (
            "admitted",
            format!("{} → delivered {}", funnel.admitted, funnel.delivered),
            Role::Text,
        ),
        ("paid", funnel.paid.to_string(), Role::Text),
    ];
    let mut row = 0;
    for (name, value, role) in &rows {
        let name = format!("{name:<9}");
        pen.row(area, row, &[(&name, Role::Dim), (value, *role)]);
        row += 1;
    }
    for drop in drops {
        pen.row(area, row, &[("dropped  ", Role::Dim), (&drop, Role::Text)]);
        row += 1;
    }
}

fn work(store: &Store, pen: &mut Pen<'_>, area: Rect) {
    let title = format!(
        "Now: {} running, {} waiting",
        store.queue.running, store.queue.waiting
    );
    let inner = pen.frame(area, &title);
    let mut empty = true;
    for (row, job) in (0..inner.height).zip(store.running()) {
        empty = false;
        let progress = store.jobs.progress_of(&job.id).unwrap_or_default();
        let model = clean(job.model.as_deref().unwrap_or("-"), 60);
        let tokens = format!("{} tokens", progress.tokens);
        let speed = format!("{:.1} tok/s", progress.speed());
        let seconds = format!("{} s", progress.elapsed_ms / 1_000);
        let id = job.id.short();
        let cells = [
            (id.as_str(), 8),
            (tokens.as_str(), 13),
            (speed.as_str(), 13),
            (seconds.as_str(), 8),
            (model.as_str(), inner.width.saturating_sub(46)),
        ];
        pen.cells(inner, row, &cells, Role::Text);
    }
    if empty {
        pen.row(inner, 0, &[("nothing is running", Role::Dim)]);
    }
}
