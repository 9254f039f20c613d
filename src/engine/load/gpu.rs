//! Graphics processors, where their drivers tell: AMD in files of the kernel, NVIDIA through its own program.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::Instant;

use crate::domain::load::GpuLoad;
use crate::domain::text::clean;

/// Between two runs of NVIDIA's program: each costs some tenths of a second.
const NVIDIA_EVERY: Duration = Duration::from_secs(10);
/// How long it may take.
const NVIDIA_TIME: Duration = Duration::from_secs(2);
/// The most processors told of.
const MOST: usize = 16;
/// The longest name, in characters.
const NAME: usize = 40;
/// NVIDIA's program counts memory in MiB.
const MIB: u64 = 1024 * 1024;

/// The cards that tell how busy they are (amdgpu).
pub fn cards(root: &Path) -> Vec<GpuLoad> {
    // No such folder: no such cards.
    let Ok(folder) = fs::read_dir(root) else {
        return Vec::new();
    };
    let mut cards: Vec<GpuLoad> = folder
        .flatten()
        .filter(|entry| is_card(&entry.file_name()))
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            card(&name, &entry.path().join("device"))
        })
        .take(MOST)
        .collect();
    cards.sort_by(|left, right| left.name.cmp(&right.name));
    cards
}

/// `card0`, but not `card0-HDMI-A-1`, which is a socket of it.
fn is_card(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.strip_prefix("card")
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
}

fn card(name: &str, device: &Path) -> Option<GpuLoad> {
    let number = |file: &str| -> Option<u64> {
        fs::read_to_string(device.join(file))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    let load = GpuLoad {
        name: name.to_owned(),
        busy_percent: number("gpu_busy_percent").map(percent),
        memory_used: number("mem_info_vram_used"),
        memory_total: number("mem_info_vram_total"),
    };
    (load.busy_percent.is_some() || load.memory_total.is_some()).then_some(load)
}

fn percent(share: u64) -> u8 {
    u8::try_from(share.min(100)).unwrap_or(100)
}

/// NVIDIA's cards as its program last told of them.
#[derive(Default)]
pub struct Nvidia {
    /// It is not there, so it is not tried again.
    absent: bool,
    looked: Option<Instant>,
    seen: Vec<GpuLoad>,
}

impl Nvidia {
    /// The cards now, or as they were at the last run where that is not long ago.
    pub async fn look(&mut self) -> Vec<GpuLoad> {
        let fresh = self.looked.is_some_and(|at| at.elapsed() < NVIDIA_EVERY);
        if !self.absent && !fresh {
            self.looked = Some(Instant::now());
            self.seen = self.ask().await;
        }
        self.seen.clone()
    }

    async fn ask(&mut self) -> Vec<GpuLoad> {
        let asked = Command::new("nvidia-smi")
            .arg("--query-gpu=name,utilization.gpu,memory.used,memory.total")
            .arg("--format=csv,noheader,nounits")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        match tokio::time::timeout(NVIDIA_TIME, asked).await {
            Ok(Ok(told)) if told.status.success() => read(&String::from_utf8_lossy(&told.stdout)),
            Ok(Err(_)) => {
                self.absent = true;
                Vec::new()
            }
            // It hangs or finds no card now: nothing is shown, and it is asked again later.
            Ok(Ok(_)) | Err(_) => Vec::new(),
        }
    }
}

/// Reads lines like `NVIDIA GeForce RTX 3090, 35, 5120, 24576`; what it can't tell is `[N/A]`.
fn read(text: &str) -> Vec<GpuLoad> {
    text.lines().take(MOST).filter_map(line).collect()
}

fn line(line: &str) -> Option<GpuLoad> {
    let mut fields = line.rsplitn(4, ',').map(str::trim);
    let mut number = || fields.next()?.parse::<u64>().ok();
    let (total, used, busy) = (number(), number(), number());
    let load = GpuLoad {
        name: clean(fields.next()?, NAME),
        busy_percent: busy.map(percent),
        memory_used: used.map(|mib| mib.saturating_mul(MIB)),
        memory_total: total.map(|mib| mib.saturating_mul(MIB)),
    };
    (load.busy_percent.is_some() || load.memory_total.is_some()).then_some(load)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_tells_in_its_files_and_its_sockets_are_no_cards() {
        let root = tempfile::tempdir().unwrap();
        for (folder, files) in [
            (
                "card1/device",
                &[
                    ("gpu_busy_percent", "97\n"),
                    ("mem_info_vram_used", "5"),
                    ("mem_info_vram_total", "8"),
                ][..],
            ),
            ("card1-HDMI-A-1/device", &[("gpu_busy_percent", "1")]),
            ("card0/device", &[]),
            ("renderD128/device", &[("gpu_busy_percent", "1")]),
        ] {
            let folder = root.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            for (file, text) in files {
                fs::write(folder.join(file), text).unwrap();
            }
        }
        let told = GpuLoad {
            name: "card1".to_owned(),
            busy_percent: Some(97),
            memory_used: Some(5),
            memory_total: Some(8),
        };
        assert_eq!(cards(root.path()), [told]);
        assert!(cards(&root.path().join("none")).is_empty());
    }

    #[test]
    fn what_the_program_does_not_know_is_not_made_up() {
        let told = read(
            "NVIDIA GeForce RTX 3090, 35, 5120, 24576\nTesla, K80\u{1b}, [N/A], 1, 2\nbroken\n, [N/A], [N/A], [N/A]\n",
        );
        assert_eq!(told.len(), 2);
        assert_eq!(told[0].busy_percent, Some(35));
        assert_eq!(told[0].memory_total, Some(24_576 * MIB));
        assert_eq!(
            (told[1].name.as_str(), told[1].busy_percent),
            ("Tesla, K80", None)
        );
    }
}
