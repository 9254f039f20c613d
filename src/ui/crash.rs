//! A crash of the dashboard: the terminal is given back first, then a report is written, and a line says where it is.
//!
//! The report holds where and when, never what a value was: whatever looks like a secret, or is long enough to be one, is
//! left out of the message.

use std::backtrace::Backtrace;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::{self, PanicHookInfo};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::terminal;
use crate::config::atomic;
use crate::domain::text::clean;
use crate::domain::time::Time;

/// The most reports that one run writes.
const REPORTS_MAX: u32 = 16;
/// The longest message in a report, characters.
const MESSAGE_MAX: usize = 500;
/// Words from this length on are not repeated: a key could hide in them.
const WORD_MAX: usize = 24;

/// While it lives, a crash is reported in its folder.
#[derive(Debug)]
pub struct Watch(());

impl Watch {
    /// From now on. A crash of this thread gives the terminal back; one of another thread, which does not end the
    /// dashboard, leaves the screen as it is.
    #[must_use]
    pub fn begin(logs: PathBuf) -> Self {
        let screen = std::thread::current().id();
        let written = AtomicU32::new(0);
        panic::set_hook(Box::new(move |info| {
            let ours = std::thread::current().id() == screen;
            if ours {
                terminal::give_back();
            }
            let report = (written.fetch_add(1, Ordering::Relaxed) < REPORTS_MAX)
                .then(|| write(&logs, &text(info)))
                .flatten();
            if ours {
                tell(report.as_deref());
            }
        }));
        Self(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            drop(panic::take_hook());
        }
    }
}

fn tell(report: Option<&Path>) {
    let place = match report {
        Some(path) => format!("the report is in {}", path.display()),
        None => "no report could be written".to_owned(),
    };
    // With stderr gone there is nobody to tell.
    let _ = writeln!(
        std::io::stderr(),
        "vend: the dashboard has crashed; {place}. Jobs and payments are in the ledger: start vend again."
    );
}

fn text(info: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let place = info
        .location()
        .map_or_else(|| "unknown".to_owned(), ToString::to_string);
    format!(
        "vend {} crashed at {}\nthread: {}\nwhere: {place}\nwhat: {}\n\n{}\n",
        env!("CARGO_PKG_VERSION"),
        Time::now(),
        clean(thread.name().unwrap_or("unnamed"), 60),
        scrubbed(info.payload_as_str().unwrap_or("no message")),
        Backtrace::force_capture(),
    )
}

/// The message without what could be a secret.
fn scrubbed(message: &str) -> String {
    let hidden = |word: &str| {
        let lower = word.to_ascii_lowercase();
        word.len() >= WORD_MAX
            || ["nsec", "secret", "://", "@", "lnbc", "token", "macaroon"]
                .iter()
                .any(|sign| lower.contains(sign))
    };
    // What stands in quotes is a value.
    let parts = message.split('"').enumerate();
    let open: String = parts
        .map(|(at, part)| if at % 2 == 0 { part } else { " *** " })
        .collect();
    let words = open.split_whitespace();
    let words: Vec<&str> = words
        .map(|word| if hidden(word) { "***" } else { word })
        .collect();
    clean(&words.join(" "), MESSAGE_MAX)
}

fn write(logs: &Path, text: &str) -> Option<PathBuf> {
    atomic::create_private_dir(logs).ok()?;
    let path = logs.join(format!("crash-{}.txt", Time::now().0));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(atomic::PRIVATE_FILE)
        .open(&path)
        .ok()?;
    file.write_all(text.as_bytes()).ok()?;
    Some(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_report_is_private_and_holds_no_secret() {
        let said = scrubbed(
            "called `Result::unwrap()` on an `Err` value: Url(\"https://me:pass@host\") nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5 at 7",
        );
        assert!(said.contains("Err") && said.ends_with("at 7"), "{said}");
        assert!(!said.contains("pass") && !said.contains("nsec1"), "{said}");
        // A preimage, as hex and in base64.
        let preimage = crate::domain::Hex32([0xa7; 32]).to_string();
        let base64 = "p6enp6enp6enp6enp6enp6enp6enp6enp6enp6enp6c=";
        let said = scrubbed(&format!("settling with {preimage} {{preimage:{base64}}}"));
        assert_eq!(said, "settling with *** ***");
        let dir = tempfile::tempdir().unwrap();
        let path = write(&dir.path().join("logs"), "text").unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    /// Crashes where the test below says so, in a process of its own: a hook is there for the whole process.
    #[test]
    fn crashes_on_demand() {
        if let Some(logs) = std::env::var_os("VEND_TEST_CRASH") {
            let _watch = Watch::begin(logs.into());
            panic!("the key is {:?}", "hunter2");
        }
    }

    #[test]
    fn a_crash_gives_the_terminal_back_and_says_where_the_report_is() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("logs");
        let crashed = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "ui::crash::tests::crashes_on_demand",
                "--nocapture",
            ])
            .env("VEND_TEST_CRASH", &logs)
            .output()
            .unwrap();
        assert!(!crashed.status.success());
        let out = String::from_utf8_lossy(&crashed.stdout);
        assert!(out.contains("\u{1b}[?1049l"), "{out}");
        let told = String::from_utf8_lossy(&crashed.stderr);
        let path = std::fs::read_dir(&logs)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        assert!(told.contains(&path.display().to_string()), "{told}");
        let report = std::fs::read_to_string(path).unwrap();
        assert!(
            report.contains("the key is ***") && !report.contains("hunter2"),
            "{report}"
        );
        assert!(!told.contains("hunter2"), "{told}");
    }
}
