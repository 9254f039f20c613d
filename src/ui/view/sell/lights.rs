//! What the shop needs: wallet, models, relays, each with its light, its reason and its fix.

use super::{DETAIL, Line, piece};
use crate::domain::health::{
    Check, CheckKind, CheckStatus, EndpointHealth, Light, RelayHealth, ShopState,
};
use crate::domain::text::clean;
use crate::store::Store;
use crate::ui::app::App;
use crate::ui::pen::words;
use crate::ui::theme::{Role, Theme, of_light, word};

/// The longest name, in characters.
const NAME: usize = 60;
/// Columns before a name: mark, word and kind.
const BEFORE: u16 = 14;
/// The most models named of one endpoint.
const MODELS: usize = 3;

/// One light.
pub struct Lamp {
    /// How it is.
    pub light: Light,
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

/// All lights: wallet, models, relays, and whatever else a check found wanting.
pub fn lamps(app: &App) -> Vec<Lamp> {
    let store = &app.store;
    let mut lamps = vec![wallet(store)];
    lamps.extend(store.endpoints.values().map(|one| endpoint(store, one)));
    lamps.extend(checks(
        store,
        "model",
        &[CheckKind::Endpoint, CheckKind::Model],
    ));
    if lamps.len() == 1 {
        lamps.push(unknown(store, "model", set(app, "text.model")));
    }
    let before = lamps.len();
    lamps.extend(store.relays.values().map(|one| relay(store, one)));
    lamps.extend(checks(store, "relay", &[CheckKind::Relay]));
    if lamps.len() == before {
        lamps.push(unknown(store, "relay", set(app, "nostr.relays")));
    }
    for (kind, check) in [
        ("clock", CheckKind::Clock),
        ("data", CheckKind::Data),
        ("key", CheckKind::Identity),
    ] {
        lamps.extend(checks(store, kind, &[check]));
    }
    lamps
}

/// The lights, as there is room: all of them; or those that work in one line a kind; or one line a kind with its worst.
pub fn lines(app: &App, theme: Theme, width: u16, height: u16) -> Vec<Line> {
    let height = usize::from(height);
    let mut lamps = lamps(app);
    let all = drawn(&lamps, theme, width, 2);
    if all.len() <= height {
        return all;
    }
    lamps = gathered(lamps);
    for most in [2, 1] {
        let fewer = drawn(&lamps, theme, width, most);
        if fewer.len() <= height {
            return fewer;
        }
    }
    let rows = in_rows(&lamps, theme);
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
    let worst = |lamp: &Lamp| lines_name(&lines, &lamp.name);
    let others: Vec<Lamp> = lamps
        .into_iter()
        .filter(|lamp| badness(lamp.light) > 1 && !worst(lamp))
        .collect();
    let rows = in_rows(&others, theme);
    let left = height.saturating_sub(lines.len());
    if rows.len() <= left {
        lines.extend(rows);
    } else if left > 0 {
        let shown = left - 1;
        lines.extend(others.iter().take(shown).map(|lamp| row_of(lamp, theme)));
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
fn in_rows(lamps: &[Lamp], theme: Theme) -> Vec<Line> {
    let mut lines = Vec::new();
    for (at, lamp) in lamps.iter().enumerate() {
        lines.push(row_of(lamp, theme));
        let again = lamps[at + 1..].iter().any(|next| next.fix == lamp.fix);
        if !lamp.fix.is_empty() && !again {
            lines.push(fix_line(theme, &lamp.fix, true));
        }
    }
    lines
}

fn row_of(lamp: &Lamp, theme: Theme) -> Line {
    front(theme, lamp, &lamp.name, &lamp.what)
}

/// Is a light of this name told of already?
fn lines_name(lines: &[Line], name: &str) -> bool {
    let mut pieces = lines.iter().flatten();
    pieces.any(|(text, _)| text.contains(name))
}

/// One line for each kind: how many of it work, and the worst of them.
pub fn kinds(app: &App, theme: Theme) -> Vec<(Line, Option<Line>)> {
    let lamps = lamps(app);
    let mut lines = Vec::new();
    let mut kinds: Vec<&str> = lamps.iter().map(|lamp| lamp.kind).collect();
    kinds.dedup();
    for kind in kinds {
        let of_kind: Vec<_> = lamps.iter().filter(|lamp| lamp.kind == kind).collect();
        // Of two as bad the first, so that the line does not jump.
        let worst = of_kind.iter().rev().max_by_key(|lamp| badness(lamp.light));
        let Some(worst) = worst else {
            continue;
        };
        let well = of_kind
            .iter()
            .filter(|lamp| lamp.light == Light::Ok)
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
fn gathered(lamps: Vec<Lamp>) -> Vec<Lamp> {
    let mut out: Vec<Lamp> = Vec::new();
    for lamp in lamps {
        let same = |held: &&mut Lamp| held.light == Light::Ok && held.kind == lamp.kind;
        match out.iter_mut().find(same) {
            Some(held) if lamp.light == Light::Ok => {
                held.name = format!("{}, {}", held.name, lamp.name);
                held.what.clear();
            }
            _ => out.push(lamp),
        }
    }
    out
}

/// The lines of lights, with at most `most` lines for a reason and for a fix.
fn drawn(lamps: &[Lamp], theme: Theme, width: u16, most: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    for lamp in lamps {
        let room = width.saturating_sub(BEFORE);
        let long = lamp.name.chars().count() + 1 + lamp.what.chars().count();
        let good = matches!(lamp.light, Light::Ok | Light::Unknown);
        if good || long <= usize::from(room) {
            lines.push(front(theme, lamp, &lamp.name, &lamp.what));
        } else {
            lines.push(front(theme, lamp, &lamp.name, ""));
            for text in words(&lamp.what, width.saturating_sub(7), most) {
                lines.push(vec![piece("       ", Role::Text), piece(text, Role::Text)]);
            }
        }
        for (index, text) in words(&lamp.fix, width.saturating_sub(9), most)
            .iter()
            .enumerate()
        {
            lines.push(fix_line(theme, text, index == 0));
        }
    }
    lines
}

fn front(theme: Theme, lamp: &Lamp, name: &str, what: &str) -> Line {
    let state = format!("{} {:<5}", theme.mark(lamp.light), lamp.word);
    let detail = match lamp.light {
        Light::Ok | Light::Unknown => Role::Dim,
        Light::Warn | Light::Down => Role::Text,
    };
    let name = if name.is_empty() {
        String::new()
    } else {
        format!("{name} ")
    };
    vec![
        piece(state, of_light(lamp.light)),
        piece(format!("{:<7}", lamp.kind), Role::Dim),
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

const fn badness(light: Light) -> u8 {
    match light {
        Light::Ok => 0,
        Light::Unknown => 1,
        Light::Warn => 2,
        Light::Down => 3,
    }
}

const fn light_of(status: CheckStatus) -> Light {
    match status {
        CheckStatus::Ok => Light::Ok,
        CheckStatus::Warn => Light::Warn,
        CheckStatus::Fail => Light::Down,
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

fn wallet(store: &Store) -> Lamp {
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
        let at = if wallet.light == Light::Ok {
            facts.len()
        } else {
            0
        };
        facts.insert(at, clean(&wallet.detail, DETAIL));
    }
    if facts.is_empty() && wallet.light == Light::Unknown {
        facts.push("not looked at yet".to_owned());
    }
    let mut mend = String::new();
    if matches!(wallet.light, Light::Warn | Light::Down) {
        mend = fix(store, CheckKind::Wallet, None);
        if mend.is_empty() && wallet.light == Light::Down {
            "vend doctor".clone_into(&mut mend);
        }
    }
    Lamp {
        light: wallet.light,
        word: word(wallet.light),
        kind: "wallet",
        name: clean(&wallet.backend, NAME),
        what: facts.join(", "),
        fix: mend,
    }
}

fn endpoint(store: &Store, one: &EndpointHealth) -> Lamp {
    let detail = clean(&one.detail, DETAIL);
    let what = if one.light == Light::Ok {
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
    if matches!(one.light, Light::Warn | Light::Down) {
        mend = fix(store, CheckKind::Endpoint, Some(&one.name.0));
        if mend.is_empty() && one.light == Light::Down {
            "vend doctor".clone_into(&mut mend);
        }
    }
    Lamp {
        light: one.light,
        word: word(one.light),
        kind: "model",
        name: clean(&one.name.0, NAME),
        what,
        fix: mend,
    }
}

fn relay(store: &Store, one: &RelayHealth) -> Lamp {
    let mut facts = vec![clean(&one.state, 24), clean(&one.detail, DETAIL)];
    if let Some(ms) = one.latency_ms.filter(|_| one.light == Light::Ok) {
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
    let mend = match one.light {
        Light::Warn | Light::Down => fix(store, CheckKind::Relay, Some(&one.url)),
        Light::Ok | Light::Unknown => String::new(),
    };
    Lamp {
        light: one.light,
        word: word(one.light),
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
fn checks(store: &Store, kind: &'static str, kinds: &[CheckKind]) -> Vec<Lamp> {
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
        .map(|check| Lamp {
            light: light_of(check.status),
            word: word(light_of(check.status)),
            kind,
            name: host(&check.target),
            what: clean(&check.detail, DETAIL),
            fix: clean(&check.fix, DETAIL),
        })
        .collect()
}

/// Nothing is known of a kind: it has not been looked at, or is not wanted.
fn unknown(store: &Store, kind: &'static str, name: String) -> Lamp {
    let (word, what) = match store.state {
        // The name needs the room where there is one, and the word before it says enough.
        ShopState::Offline | ShopState::Stopping if !name.is_empty() => ("off", ""),
        ShopState::Offline | ShopState::Stopping => ("off", "not connected while offline"),
        _ => ("wait", "not looked at yet"),
    };
    Lamp {
        light: Light::Unknown,
        word,
        kind,
        name,
        what: what.to_owned(),
        fix: String::new(),
    }
}

/// What the settings name, where their file has been read: a model, or a relay and how many more. A screen that has attached
/// may have another file than the shop.
fn set(app: &App, key: &str) -> String {
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
