//! The files of the log: one a day, private, of at most so many bytes, and the old ones removed.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::config::atomic::PRIVATE_FILE;
use crate::domain::time::Time;

/// The length of a day as it is written: 2026-11-21.
const DAY: usize = 10;

/// Writes whole lines; a day's lines beyond its bound are left out, and their number is told.
pub struct Daily {
    folder: PathBuf,
    most: u64,
    /// Days that are kept.
    days: usize,
    today: String,
    file: File,
    written: u64,
    left_out: u64,
    now: fn() -> Time,
}

impl Daily {
    /// Opens today's file, at its end.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn open(folder: &Path, most: u64, days: usize, now: fn() -> Time) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let today = day(now());
        let (file, written) = file_of(folder, &today)?;
        let daily = Self {
            folder: folder.to_owned(),
            most,
            days,
            today,
            file,
            written,
            left_out: 0,
            now,
        };
        daily.prune();
        Ok(daily)
    }

    /// A new day: its own file, and one old one less.
    fn turn(&mut self, today: String) -> io::Result<()> {
        (self.file, self.written) = file_of(&self.folder, &today)?;
        self.today = today;
        self.prune();
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            let line = notice(&format!("{left_out} lines of the day before were left out"));
            self.put(line.as_bytes())?;
        }
        Ok(())
    }

    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        self.file.write_all(line)?;
        self.written = self.written.saturating_add(line.len() as u64);
        Ok(())
    }

    /// Removes the oldest files. Only what has exactly such a name was written here.
    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut ours: Vec<String> = names.filter(|name| day_of(name).is_some()).collect();
        ours.sort_unstable();
        for name in &ours {
            let path = self.folder.join(name);
            // An older version left them readable for others.
            let _ = fs::set_permissions(&path, Permissions::from_mode(PRIVATE_FILE));
        }
        let old = ours.len().saturating_sub(self.days);
        for name in &ours[..old] {
            // One that can't be removed is tried again tomorrow.
            let _ = fs::remove_file(self.folder.join(name));
        }
    }
}

impl Write for Daily {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let today = day((self.now)());
        if today != self.today {
            self.turn(today)?;
        }
        if self.written.saturating_add(line.len() as u64) <= self.most {
            self.put(line)?;
        } else {
            if self.left_out == 0 {
                let line = notice("the log of this day is full (log.max_mb): no more lines today");
                self.put(line.as_bytes())?;
            }
            self.left_out = self.left_out.saturating_add(1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn day(now: Time) -> String {
    now.to_string().chars().take(DAY).collect()
}

fn file_of(folder: &Path, day: &str) -> io::Result<(File, u64)> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(PRIVATE_FILE)
        .open(folder.join(format!("vend.{day}.jsonl")))?;
    let written = file.metadata()?.len();
    Ok((file, written))
}

/// The day of a file of the log; none for any other name.
fn day_of(name: &str) -> Option<&str> {
    let day = name.strip_prefix("vend.")?.strip_suffix(".jsonl")?;
    let shape = |(at, c): (usize, char)| match at {
        4 | 7 => c == '-',
        _ => c.is_ascii_digit(),
    };
    (day.len() == DAY && day.chars().enumerate().all(shape)).then_some(day)
}

/// A line of the log's own, in the shape of the others.
fn notice(words: &str) -> String {
    let line = super::diagnostic(crate::domain::event::Level::Warn, "log", words);
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    /// 2026-11-21.
    static NOW: AtomicI64 = AtomicI64::new(1_795_219_200_000);

    fn clock() -> Time {
        Time(NOW.load(Ordering::Relaxed))
    }

    #[test]
    fn a_day_is_bounded_private_and_leaves_other_files_alone() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("logs");
        fs::create_dir(&logs).unwrap();
        for name in [
            "vend.2026-11-01.jsonl",
            "vend.2026-11-02.jsonl",
            "vend.mine.jsonl",
            "vend.2026-11-0x.jsonl",
            "notes.txt",
        ] {
            fs::write(logs.join(name), "x").unwrap();
        }
        let mut log = Daily::open(&logs, 1_000, 2, clock).unwrap();
        let line = format!("{}\n", "a".repeat(99));
        for _ in 0..50 {
            log.write_all(line.as_bytes()).unwrap();
        }
        let text = fs::read_to_string(logs.join("vend.2026-11-21.jsonl")).unwrap();
        assert_eq!(text.matches("aaa\n").count(), 10);
        assert_eq!(text.matches("log.max_mb").count(), 1);
        assert!(text.len() < 1_500, "{}", text.len());
        NOW.fetch_add(86_400_000, Ordering::Relaxed);
        log.write_all(line.as_bytes()).unwrap();
        let text = fs::read_to_string(logs.join("vend.2026-11-22.jsonl")).unwrap();
        assert!(text.contains("40 lines of the day before"), "{text}");
        let mut left: Vec<_> = fs::read_dir(&logs)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(
            left,
            [
                "notes.txt",
                "vend.2026-11-0x.jsonl",
                "vend.2026-11-21.jsonl",
                "vend.2026-11-22.jsonl",
                "vend.mine.jsonl"
            ]
        );
        let mode = |name| fs::metadata(logs.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("vend.2026-11-22.jsonl"), 0o600);
        assert_eq!(mode("vend.2026-11-21.jsonl"), 0o600);
    }
}
