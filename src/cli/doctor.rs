//! `vend doctor`: looks at everything the shop needs, and names the command that mends what is wrong.

use std::time::Duration;

use nostr::Keys;
use serde::Serialize;

use super::Global;
use super::ask::Json;
use super::exit::{Exit, Outcome, json, runtime, say};
use super::{prompt, settings};
use crate::config::place::{Places, read_lock};
use crate::config::{Settings, load, note, secret};
use crate::domain::health::{Check, CheckKind, CheckStatus};
use crate::domain::machine::Cause;
use crate::engine::probe::{self, check};
use crate::engine::{Place, disk, machine};
use crate::identity;
use crate::ledger::Ledger;

#[derive(Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Check>,
}

/// Looks, prints, and fails where something failed.
pub fn main(global: &Global, as_json: Json) -> Outcome {
    let places = global.places()?;
    let settings = match settings::load(&places.config) {
        Ok(settings) => settings,
        Err(exit) => return invalid(&places, as_json, exit),
    };
    let checks = runtime()?.block_on(look(&places, &settings));
    let ok = checks.iter().all(|check| check.status != CheckStatus::Fail);
    show(&Report { ok, checks }, as_json)?;
    if ok { Ok(()) } else { Err(Exit::silent()) }
}

fn show(report: &Report, as_json: Json) -> Outcome {
    if as_json.json {
        return json(report);
    }
    print(report.checks.iter().collect())?;
    say(&summary(&report.checks))
}

/// Without settings nothing else can be looked at: each fault of the file is a row.
fn invalid(places: &Places, as_json: Json, exit: Exit) -> Outcome {
    if !as_json.json {
        return Err(exit);
    }
    let path = places.config.display().to_string();
    let row = |detail: &str| {
        let fix =
            format!("correct it with an editor: {path}; `vend config check` says what is left");
        check(CheckKind::Data, &path, CheckStatus::Fail, detail, &fix)
    };
    let wrong = load::problems(&places.config);
    let checks = if wrong.is_empty() {
        vec![row(&exit.line)]
    } else {
        wrong.iter().map(|error| row(&error.to_string())).collect()
    };
    json(&Report { ok: false, checks })?;
    Err(exit)
}

/// One row for each check; those of a kind with the same fix stand together, and the fix behind the last of them: thirty dead
/// servers are thirty rows and one fix.
fn print(mut checks: Vec<&Check>) -> Outcome {
    let kinds: Vec<String> = checks.iter().map(|check| kind(check)).collect();
    let place = |check: &Check| kinds.iter().position(|own| *own == kind(check));
    checks.sort_by_cached_key(|check| (place(check), check.status, check.fix.clone()));
    for (at, check) in checks.iter().enumerate() {
        say(&format!(
            "{:<4}  {:<8} {}  {}",
            check.status.as_str(),
            kind(check),
            check.target,
            check.detail
        ))?;
        let same = |next: &&Check| next.check == check.check && next.fix == check.fix;
        if !check.fix.is_empty() && !checks.get(at + 1).is_some_and(same) {
            say(&format!("                fix: {}", check.fix))?;
        }
    }
    Ok(())
}

fn kind(check: &Check) -> String {
    let value = serde_json::to_value(check.check).ok();
    let word = value.as_ref().and_then(serde_json::Value::as_str);
    word.unwrap_or_default().to_owned()
}

/// What it comes to, and where to begin.
fn summary(checks: &[Check]) -> String {
    let failed = |check: &&Check| check.status == CheckStatus::Fail;
    let warned = checks
        .iter()
        .filter(|check| check.status == CheckStatus::Warn);
    let (fails, warns) = (checks.iter().filter(failed).count(), warned.count());
    let Some(first) = checks.iter().find(failed) else {
        return match warns {
            0 => "all is well".to_owned(),
            1 => "nothing failed; 1 warning".to_owned(),
            _ => format!("nothing failed; {warns} warnings"),
        };
    };
    let begin = if first.fix.is_empty() {
        first.detail.as_str()
    } else {
        first.fix.as_str()
    };
    format!("{fails} failed; start with {}: {begin}", first.target)
}

async fn look(places: &Places, settings: &Settings) -> Vec<Check> {
    let mut checks = vec![data(places)];
    if checks[0].status == CheckStatus::Fail {
        return checks;
    }
    checks.extend(copies(places, settings));
    let (row, keys) = who(places);
    checks.push(row);
    if !places.config.exists() {
        checks.push(check(
            CheckKind::Data,
            &places.config.display().to_string(),
            CheckStatus::Warn,
            "no settings file yet: every setting has its default",
            "vend config init",
        ));
    }
    for (file, warning) in secret::warnings(settings, &places.config) {
        let path = file.display().to_string();
        let fix = format!("chmod 600 {path}");
        checks.push(check(
            CheckKind::Data,
            &path,
            CheckStatus::Warn,
            &warning,
            &fix,
        ));
    }
    checks.extend(machine_rows(places, settings).await);
    // A doctor without a key still looks at relays; whoever needs AUTH is told so.
    let keys = keys.unwrap_or_else(Keys::generate);
    let relays = settings.nostr.relays.iter();
    let most_pow = settings.nostr.max_pow_bits;
    let relays = relays.map(|url| probe::relay(url, &keys, most_pow));
    let place = Place {
        config: places.config.clone(),
        data: places.data.clone(),
        pace: None,
        timing: crate::nostr::Timing::default(),
    };
    let (relays, endpoints, wallet) = tokio::join!(
        futures::future::join_all(relays),
        probe::endpoints(settings, &place),
        probe::wallet(settings, &place)
    );
    checks.extend(relays);
    checks.extend(endpoints);
    checks.extend(wallet);
    checks
}

/// What puts selling off now, and rules of `[machine]` that can't be kept to.
async fn machine_rows(places: &Places, settings: &Settings) -> Vec<Check> {
    let file = places.database();
    let snoozed = match Ledger::look(&file) {
        Ok(ledger) if file.exists() => ledger.snoozed().await.unwrap_or_default(),
        // The row of the data directory says what is wrong with it.
        _ => None,
    };
    let verdict = machine::survey(settings, snoozed).await;
    let row = |detail: &str, fix: &str| {
        check(
            CheckKind::Data,
            "this machine",
            CheckStatus::Warn,
            detail,
            fix,
        )
    };
    let mut rows = Vec::new();
    if let Some(pause) = &verdict.pause {
        let fix = if pause.causes.contains(&Cause::Snoozed) {
            "vend resume"
        } else {
            ""
        };
        rows.push(row(&format!("paused: {}", pause.words), fix));
    }
    rows.extend(verdict.blind.iter().map(|setting| {
        let detail = format!("{setting} is not kept to: this machine does not tell what it needs");
        row(
            &detail,
            &format!("vend config set {setting} …, or set it back to its default"),
        )
    }));
    rows
}

fn data(places: &Places) -> Check {
    let path = places.data.display().to_string();
    let fail =
        |detail: &str, fix: &str| check(CheckKind::Data, &path, CheckStatus::Fail, detail, fix);
    if let Err(error) = places.prepare() {
        return fail(&error.to_string(), "vend --data-dir DIR");
    }
    let free = disk::free_mb(&places.data);
    if let Some(words) = free.and_then(disk::cramped) {
        return fail(&words, "df -h");
    }
    let free = free.map_or_else(String::new, |mb| format!("; {mb} MB free"));
    let ok = |detail: &str| {
        let detail = format!("{detail}{free}");
        check(CheckKind::Data, &path, CheckStatus::Ok, &detail, "")
    };
    if let Some(holder) = read_lock(places) {
        let detail = format!("a vend is running on it (process {})", holder.pid);
        return ok(&detail);
    }
    let file = places.database();
    if !file.exists() {
        return ok("private; no ledger yet");
    }
    match Ledger::look(&file) {
        Ok(_) => ok("private; the ledger opens"),
        Err(error) => fail(&error.to_string(), "put back a copy made by `vend backup`"),
    }
}

/// A newest copy that is older than this is as good as none: what it does not know is weeks of sales.
const OLD_COPY: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Is there a copy of the ledger? Nothing is said where nothing was sold yet.
fn copies(places: &Places, settings: &Settings) -> Option<Check> {
    let note = note::read(&places.data)?;
    let row = |status, detail: &str, fix: &str| {
        Some(check(CheckKind::Data, "backups", status, detail, fix))
    };
    let copy = note
        .last_copy
        .as_deref()
        .and_then(|path| Some((path, note::age(path)?)));
    let by_itself = settings.backup.every_hours > 0;
    let fix = if by_itself {
        "vend backup FILE"
    } else {
        "vend config set backup.every_hours 24"
    };
    match copy {
        Some((path, age)) if age < OLD_COPY => {
            let detail = format!("the newest copy of the ledger is {}", path.display());
            row(CheckStatus::Ok, &detail, "")
        }
        Some((path, age)) => {
            let days = age.as_secs() / 86_400;
            let detail = format!(
                "the newest copy of the ledger, {}, is {days} days old",
                path.display()
            );
            row(CheckStatus::Warn, &detail, fix)
        }
        None if by_itself => row(CheckStatus::Ok, "vend makes copies by itself; none yet", ""),
        None => row(
            CheckStatus::Warn,
            "there is no copy of the ledger: with its disk go all open invoices, and what is owed to buyers",
            fix,
        ),
    }
}

fn who(places: &Places) -> (Check, Option<Keys>) {
    let path = places.identity();
    let target = path.display().to_string();
    let kind = CheckKind::Identity;
    if !path.exists() {
        let detail = "none yet; one is made at the first start";
        return (
            check(
                kind,
                &target,
                CheckStatus::Warn,
                detail,
                "vend keys generate",
            ),
            None,
        );
    }
    let ask: identity::AskPassphrase<'_> = &mut prompt::passphrase;
    match identity::load(&path, Some(ask)) {
        Ok(identity) => (
            check(kind, &target, CheckStatus::Ok, &identity.npub(), ""),
            Some(identity.keys().clone()),
        ),
        Err(error) => (
            check(
                kind,
                &target,
                CheckStatus::Fail,
                &error.to_string(),
                "vend keys import",
            ),
            None,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_says_how_many_failed_and_where_to_begin() {
        let row = |status, target: &str, fix: &str| {
            check(CheckKind::Relay, target, status, "detail", fix)
        };
        let ok = row(CheckStatus::Ok, "a", "");
        let warn = row(CheckStatus::Warn, "b", "");
        let (first, second) = (
            row(CheckStatus::Fail, "c", "mend c"),
            row(CheckStatus::Fail, "d", ""),
        );
        assert_eq!(summary(std::slice::from_ref(&ok)), "all is well");
        assert_eq!(summary(&[ok.clone(), warn]), "nothing failed; 1 warning");
        assert_eq!(
            summary(&[ok, first, second.clone()]),
            "2 failed; start with c: mend c"
        );
        assert_eq!(summary(&[second]), "1 failed; start with d: detail");
    }
}
