//! Is somebody at the machine? Terminals tell when they were last typed on, and logind when a desktop was last used.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::process::Command;
use tokio::time::Instant;

/// Between two questions to logind: each is a program that runs.
const ASK_EVERY: Duration = Duration::from_secs(4);
/// How long it may take.
const ASK_TIME: Duration = Duration::from_secs(2);
/// Desktops that are asked for.
const MOST: usize = 16;

/// When the last key was pressed on any terminal: how long ago; none where there are none.
pub fn terminals(dev: &Path, now: SystemTime) -> Option<Duration> {
    let console = |name: &str| {
        let number = name.strip_prefix("tty");
        number.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    let pseudo = |name: &str| name.bytes().all(|b| b.is_ascii_digit());
    let pseudo = newest(&dev.join("pts"), &pseudo);
    let newest = newest(dev, &console).max(pseudo)?;
    // A clock that was set back: used just now, for all that is known.
    Some(now.duration_since(newest).unwrap_or_default())
}

/// Reading from a terminal moves its time of access, and nothing else does (`w` goes by it too).
fn newest(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let named = entries.filter(|entry| entry.file_name().to_str().is_some_and(wanted));
    named
        .filter_map(|entry| entry.metadata().ok()?.accessed().ok())
        .max()
}

/// The desktops that people are logged in to, as logind numbers them; none where there is no logind.
pub fn desktops(sessions: &Path) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(sessions).ok()?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // Beside each session there may be a pipe of it, `2.ref`.
        if !name.bytes().all(|b| b.is_ascii_alphanumeric()) || found.len() >= MOST {
            continue;
        }
        let Ok(text) = fs::read_to_string(entry.path()) else {
            continue;
        };
        let is = |line: &str| text.lines().any(|one| one == line);
        let graphical = is("TYPE=x11") || is("TYPE=wayland") || is("TYPE=mir");
        if graphical && is("CLASS=user") && !is("STATE=closing") {
            found.push(name);
        }
    }
    Some(found)
}

/// What logind said of the desktops.
#[derive(Debug, Default)]
pub struct Desktops {
    asked: Option<Instant>,
    /// Since when nobody has used them; the epoch's end where somebody does now. None: it could not be asked.
    since: Option<SystemTime>,
}

impl Desktops {
    /// How long nobody has used any of these desktops.
    pub async fn idle(&mut self, desktops: &[String], now: SystemTime) -> Option<Duration> {
        if self.asked.is_none_or(|at| at.elapsed() >= ASK_EVERY) {
            self.asked = Some(Instant::now());
            self.since = ask(desktops).await.and_then(|told| idle_since(&told, now));
        }
        self.since
            .map(|since| now.duration_since(since).unwrap_or_default())
    }
}

async fn ask(desktops: &[String]) -> Option<String> {
    let asked = Command::new("loginctl")
        .arg("show-session")
        .args(desktops)
        .args(["--property=IdleHint", "--property=IdleSinceHint"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let told = tokio::time::timeout(ASK_TIME, asked).await.ok()?.ok()?;
    let whole = told.status.success();
    whole.then(|| String::from_utf8_lossy(&told.stdout).into_owned())
}

/// Blocks of `IdleHint=yes` and `IdleSinceHint=MICROSECONDS`: the last moment at which one of the desktops was used.
fn idle_since(told: &str, now: SystemTime) -> Option<SystemTime> {
    let mut newest = None;
    for block in told.split("\n\n").filter(|block| !block.trim().is_empty()) {
        let value = |name: &str| {
            let mut lines = block.lines().filter_map(|line| line.split_once('='));
            lines.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let since = match value("IdleHint")? {
            "no" => now,
            _ => UNIX_EPOCH + Duration::from_micros(value("IdleSinceHint")?.parse().ok()?),
        };
        newest = newest.max(Some(since));
    }
    newest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_desktop_that_was_used_last_tells() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let idle =
            "IdleHint=yes\nIdleSinceHint=400000000\n\nIdleHint=yes\nIdleSinceHint=700000000\n";
        let used = "IdleHint=yes\nIdleSinceHint=400000000\n\nIdleHint=no\nIdleSinceHint=0\n";
        let since =
            |told| idle_since(told, now).map(|at| now.duration_since(at).unwrap().as_secs());
        assert_eq!(since(idle), Some(300));
        assert_eq!(since(used), Some(0));
        assert_eq!(since(""), None);
        assert_eq!(since("IdleHint=yes\n"), None);
    }
}
