//! What the shop needs: wallet, models, relays, each with its light, its reason and its fix.

use super::{DETAIL, Line, piece};
use crate::domain::health::{
    Check, CheckKind, CheckStatus, EndpointHealth, HealthLevel, RelayHealth, ShopState,
};
use crate::domain::text::clean;
use crate::store::Store;
use crate::ui::app::App;
use crate::ui::painter::words;
use crate::ui::theme::{Role, Theme, of_health, word};

/// The longest name, in characters.
const NAME: usize = 60;
/// Columns before a name: mark, word and kind.
const BEFORE: u16 = 14;
/// The most models named of one endpoint.
const MODELS: usize = 3;

/// One light.
pub struct HealthIndicator {
    /// How it is.
    pub health: HealthLevel,
    /// The word beside its mark.
    pub word: &'static str,
    /// wallet, model, relay, clock, …
    pub kind: &'static str,
    /// Which one.
    pub name: String,
    /// What is so: facts where it works, the reason where it does not.
    pub what: String,
    /// What mends it; empty where nothing is to mend.
    pub fix: String,
}

/// All health indicators: wallet, models, relays, and whatever else a check found wanting.
pub fn indicators(app: &App) -> Vec<HealthIndicator> {
    let store = &app.store;
    let mut indicators = vec![wallet(store)];
    indicators.extend(store.endpoints.values().map(|one| endpoint(store, one)));
    indicators.extend(checks(
        store,
        "model",
        &[CheckKind::Endpoint, CheckKind::Model],
    ));
    if indicators.len() == 1 {
        indicators.push(unknown(store, "model", set(app, "text.model")));
    }
    let before = indicators.len();
    indicators.extend(store.relays.values().map(|one| relay(store, one)));
    indicators.extend(checks(store, "relay", &[CheckKind::Relay]));
    if indicators.len() == before {
        indicators.push(unknown(store, "relay", set(app, "nostr.relays")));
    }
    for (kind, check) in [
        ("clock", CheckKind::Clock),
        ("data", CheckKind::Data),
        ("key", CheckKind::Identity),
    ] {
        indicators.extend(checks(store, kind, &[check]));
    }
    indicators
}

/// The health indicators, as there is room: all of them; or those that work in one line a kind; or one line a kind with its worst.
pub fn lines(app: &App, theme: Theme, width: u16, height: u16) -> Vec<Line> {
    let height = usize::from(height);
    let mut indicators = indicators(app);
    let all = drawn(&indicators, theme, width, 2);
    if all.len() <= height {
        return all;
    }
    indicators = gathered(indicators);
    for most in [2, 1] {
        let fewer = drawn(&indicators, theme, width, most);
        if fewer.len() <= height {
            return fewer;
        }
    }
    let rows = in_rows(&indicators, theme);
    if rows.len() <= height {
        return rows;
    }
    // Still too many: a crowd of relays must not push the wallet off the screen.
    let mut lines = Vec::new();
    let kinds = kinds(app, theme);
    let room = height.saturating_sub(kinds.len());
    let fixes = kinds.iter().filter(|(_, fix)| fix.is_some()).count();
    for (line, fix) in kinds {
        lines.push(line);
        if let Some(fix) = fix.filter(|_| fixes <= room) {
            lines.push(fix);
        }
    }
    // Where there is room left, the others that are not well.
    let worst = |indicator: &HealthIndicator| lines_name(&lines, &indicator.name);
    let others: Vec<HealthIndicator> = indicators
        .into_iter()
        .filter(|indicator| badness(indicator.health) > 1 && !worst(indicator))
        .collect();
    let rows = in_rows(&others, theme);
    let left = height.saturating_sub(lines.len());
    if rows.len() <= left {
        lines.extend(rows);
    } else if left > 0 {
        let shown = left - 1;
        lines.extend(
            others
                .iter()
                .take(shown)
                .map(|indicator| row_of(indicator, theme)),
        );
        let more = format!(
            "and {} more: `vend doctor` names each",
            others.len() - shown
        );
        lines.push(vec![piece(format!("       {more}"), Role::Text)]);
    }
    lines.truncate(height);
    lines
}

/// One row for each, and of the same fix one line, behind the last that it is for.
fn in_rows(indicators: &[HealthIndicator], theme: Theme) -> Vec<Line> {
    let mut lines = Vec::new();
    for (at, indicator) in indicators.iter().enumerate() {
        lines.push(row_of(indicator, theme));
        let again = indicators[at + 1..]
            .iter()
            .any(|next| next.fix == indicator.fix);
        if !indicator.fix.is_empty() && !again {
            lines.push(fix_line(theme, &indicator.fix, true));
        }
    }
    lines
}

fn row_of(indicator: &HealthIndicator, theme: Theme) -> Line {
    front(theme, indicator, &indicator.name, &indicator.what)
}

/// Is a light of this name told of already?
fn lines_name(lines: &[Line], name: &str) -> bool {
    let mut pieces = lines.iter().flatten();
    pieces.any(|(text, _)| text.contains(name))
}

/// One line for each kind: how many of it work, and the worst of them.
pub fn kinds(app: &App, theme: Theme) -> Vec<(Line, Option<Line>)> {
    let indicators = indicators(app);
    let mut lines = Vec::new();
    let mut kinds: Vec<&str> = indicators.iter().map(|indicator| indicator.kind).collect();
    kinds.dedup();
    for kind in kinds {
        let of_kind: Vec<_> = indicators
            .iter()
            .filter(|indicator| indicator.kind == kind)
            .collect();
        // Of two as bad the first, so that the line does not jump.
        let worst = of_kind
            .iter()
            .rev()
            .max_by_key(|indicator| badness(indicator.health));
        let Some(worst) = worst else {
            continue;
        };
        let well = of_kind
            .iter()
            .filter(|indicator| indicator.health == HealthLevel::Ok)
            .count();
        let name = match of_kind.len() {
            1 => worst.name.clone(),
            all if well == all => format!("all {all}"),
            all => format!("{well} of {all}; {}", worst.name),
        };
        let what = worst.what.clone();
        let line = front(theme, worst, &name, &what);
        let fix = (!worst.fix.is_empty()).then(|| fix_line(theme, &worst.fix, true));
        lines.push((line, fix));
    }
    lines
}

/// Those of a kind that work, in one light.
fn gathered(indicators: Vec<HealthIndicator>) -> Vec<HealthIndicator> {
    let mut out: Vec<HealthIndicator> = Vec::new();
    for indicator in indicators {
        let same = |held: &&mut HealthIndicator| {
            held.health == HealthLevel::Ok && held.kind == indicator.kind
        };
        match out.iter_mut().find(same) {
            Some(held) if indicator.health == HealthLevel::Ok => {
                held.name = format!("{}, {}", held.name, indicator.name);
                held.what.clear();
            }
            _ => out.push(indicator),
        }
    }
    out
}

/// The lines of health indicators, with at most `most` lines for a reason and for a fix.
fn drawn(indicators: &[HealthIndicator], theme: Theme, width: u16, most: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    for indicator in indicators {
        let room = width.saturating_sub(BEFORE);
        let long = indicator.name.chars().count() + 1 + indicator.what.chars().count();
        let good = matches!(indicator.health, HealthLevel::Ok | HealthLevel::Unknown);
        if good || long <= usize::from(room) {
            lines.push(front(theme, indicator, &indicator.name, &indicator.what));
        } else {
            lines.push(front(theme, indicator, &indicator.name, ""));
            for text in words(&indicator.what, width.saturating_sub(7), most) {
                lines.push(vec![piece("       ", Role::Text), piece(text, Role::Text)]);
            }
        }
        for (index, text) in words(&indicator.fix, width.saturating_sub(9), most)
            .iter()
            .enumerate()
        {
            lines.push(fix_line(theme, text, index == 0));
        }
    }
    lines
}

fn front(theme: Theme, indicator: &HealthIndicator, name: &str, what: &str) -> Line {
    let state = format!("{} {:<5}", theme.mark(indicator.health), indicator.word);
    let detail = match indicator.health {
        HealthLevel::Ok | HealthLevel::Unknown => Role::Dim,
        HealthLevel::Warn | HealthLevel::Down => Role::Text,
    };
    let name = if name.is_empty() {
        String::new()
    } else {
        format!("{name} ")
    };
    vec![
        piece(state, of_health(indicator.health)),
        piece(format!("{:<7}", indicator.kind), Role::Dim),
        piece(name, Role::Text),
        piece(what, detail),
    ]
}

fn fix_line(theme: Theme, text: &str, first: bool) -> Line {
    let arrow = if first { theme.arrow() } else { " " };
    vec![
        piece(format!("       {arrow} "), Role::Key),
        piece(text, Role::Text),
    ]
}

pub const fn badness(health: HealthLevel) -> u8 {
    match health {
        HealthLevel::Ok => 0,
        HealthLevel::Unknown => 1,
        HealthLevel::Warn => 2,
        HealthLevel::Down => 3,
    }
}

pub const fn health_of(status: CheckStatus) -> HealthLevel {
    match status {
        CheckStatus::Ok => HealthLevel::Ok,
        CheckStatus::Warn => HealthLevel::Warn,
        CheckStatus::Fail => HealthLevel::Down,
    }
}

/// The fix of the check of one thing, where the check did not go well.
fn fix(store: &Store, kind: CheckKind, target: Option<&str>) -> String {
    store
        .checks
        .iter()
        .filter(|check| check.check == kind && check.status != CheckStatus::Ok)
        .find(|check| target.is_none_or(|target| check.target == target))
        .map(|check| clean(&check.fix, DETAIL))
        .unwrap_or_default()
}

fn wallet(store: &Store) -> HealthIndicator {
    let wallet = &store.wallet;
    let mut facts = Vec::new();
    if let Some(balance) = wallet.balance_msat {
        facts.push(format!("holds {}", balance.display()));
    }
    if let Some(room) = wallet.can_receive_msat {
        facts.push(format!("can receive {}", room.display()));
    }
    if !wallet.detail.is_empty() {
        // What is wrong comes first; a name comes last.
        let at = if wallet.health == HealthLevel::Ok {
            facts.len()
        } else {
            0
        };
        facts.insert(at, clean(&wallet.detail, DETAIL));
    }
    if facts.is_empty() && wallet.health == HealthLevel::Unknown {
        facts.push("not looked at yet".to_owned());
    }
    let mut mend = String::new();
    if matches!(wallet.health, HealthLevel::Warn | HealthLevel::Down) {
        mend = fix(store, CheckKind::Wallet, None);
        if mend.is_empty() && wallet.health == HealthLevel::Down {
            "vend doctor".clone_into(&mut mend);
        }
    }
    HealthIndicator {
        health: wallet.health,
        word: word(wallet.health),
        kind: "wallet",
        name: clean(&wallet.backend, NAME),
        what: facts.join(", "),
        fix: mend,
    }
}

fn endpoint(store: &Store, one: &EndpointHealth) -> HealthIndicator {
    let detail = clean(&one.detail, DETAIL);
    let what = if one.health == HealthLevel::Ok {
        let mut models: Vec<_> = one
            .models
            .iter()
            .take(MODELS)
            .map(|model| clean(model, NAME))
            .collect();
        if one.models.len() > MODELS {
            models.push(format!("and {} more", one.models.len() - MODELS));
        }
        let busy = format!("{}/{} busy", one.running, one.slots);
        let speed = one
            .tokens_per_second
            .map(|speed| format!("{speed:.0} tok/s"));
        let facts = [Some(models.join(", ")), Some(busy), speed, Some(detail)];
        let facts = facts.into_iter().flatten().filter(|fact| !fact.is_empty());
        facts.collect::<Vec<_>>().join("; ")
    } else if detail.is_empty() {
        clean(&one.state, NAME)
    } else {
        detail
    };
    let mut mend = String::new();
    if matches!(one.health, HealthLevel::Warn | HealthLevel::Down) {
        mend = fix(store, CheckKind::Endpoint, Some(&one.name.0));
        if mend.is_empty() && one.health == HealthLevel::Down {
            "vend doctor".clone_into(&mut mend);
        }
    }
    HealthIndicator {
        health: one.health,
        word: word(one.health),
        kind: "model",
        name: clean(&one.name.0, NAME),
        what,
        fix: mend,
    }
}

fn relay(store: &Store, one: &RelayHealth) -> HealthIndicator {
    let mut facts = vec![clean(&one.state, 24), clean(&one.detail, DETAIL)];
    if let Some(ms) = one.latency_ms.filter(|_| one.health == HealthLevel::Ok) {
        facts.push(format!("{ms} ms"));
    }
    if one.refused > 0 {
        let sent = one.accepted.saturating_add(one.refused);
        facts.push(format!("refused {} of {sent}", one.refused));
    }
    // The state's word says nothing beside a light of the same meaning and a reason.
    if matches!(&*one.state, "down" | "subscribed" | "closed") {
        facts.remove(0);
    }
    facts.retain(|fact| !fact.is_empty());
    let mend = match one.health {
        HealthLevel::Warn | HealthLevel::Down => fix(store, CheckKind::Relay, Some(&one.url)),
        HealthLevel::Ok | HealthLevel::Unknown => String::new(),
    };
    HealthIndicator {
        health: one.health,
        word: word(one.health),
        kind: "relay",
        name: host(&one.url),
        what: facts.join(", "),
        fix: mend,
    }
}

/// The address as people say it: `wss://` goes without saying, `ws://` does not.
fn host(url: &str) -> String {
    let url = url.strip_prefix("wss://").unwrap_or(url);
    clean(url.trim_end_matches('/'), NAME)
}

/// Checks of things that have no light of their own: what went wrong, and while it starts what went well.
fn checks(store: &Store, kind: &'static str, kinds: &[CheckKind]) -> Vec<HealthIndicator> {
    let lit = |check: &&Check| match check.check {
        CheckKind::Endpoint => store.endpoints.contains_key(&check.target),
        CheckKind::Relay => store.relays.contains_key(&check.target),
        CheckKind::Wallet => true,
        _ => false,
    };
    let starting = store.state == ShopState::Starting;
    store
        .checks
        .iter()
        .filter(|check| kinds.contains(&check.check) && !lit(check))
        .filter(|check| check.status != CheckStatus::Ok || starting)
        .map(|check| HealthIndicator {
            health: health_of(check.status),
            word: word(health_of(check.status)),
            kind,
            name: host(&check.target),
            what: clean(&check.detail, DETAIL),
            fix: clean(&check.fix, DETAIL),
        })
        .collect()
}

/// Nothing is known of a kind: it has not been looked at, or is not wanted.
fn unknown(store: &Store, kind: &'static str, name: String) -> HealthIndicator {
    let (word, what) = match store.state {
        // The name needs the room where there is one, and the word before it says enough.
        ShopState::Offline | ShopState::Stopping if !name.is_empty() => ("off", ""),
        ShopState::Offline | ShopState::Stopping => ("off", "not connected while offline"),
        _ => ("wait", "not looked at yet"),
    };
    HealthIndicator {
        health: HealthLevel::Unknown,
        word,
        kind,
        name,
        what: what.to_owned(),
        fix: String::new(),
    }
}

/// What the settings name, where their file has been read: a model, or a relay and how many more. A screen that has attached
/// may have another file than the shop.
pub fn set(app: &App, key: &str) -> String {
    let Some(value) = app.form.in_file(key).filter(|_| !app.attached) else {
        return String::new();
    };
    let mut entries = value
        .split(['[', ']', ',', '"', '\n'])
        .map(str::trim)
        .filter(|entry| !entry.is_empty());
    let first = host(entries.next().unwrap_or_default());
    match entries.count() {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
