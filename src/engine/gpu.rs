//! Graphics processors, where their drivers tell: AMD in files of the kernel, NVIDIA through its driver's library.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use crate::domain::load::GpuLoad;
use crate::domain::text::clean;

/// Between two tries to load the driver's library.
const AGAIN: Duration = Duration::from_secs(60);
/// The most processors told of.
const MOST: usize = 16;
/// The longest name, in characters.
const NAME: usize = 40;

/// One card, with what only the rules of the machine ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Card {
    /// How busy it is.
    pub load: GpuLoad,
    /// What others than ours use of it, percent; none where the driver does not tell.
    pub by_others: Option<u8>,
    /// What ours hold of its memory, bytes; none where the driver does not tell.
    pub ours_memory: Option<u64>,
    /// Its temperature.
    pub celsius: Option<u8>,
    /// What it has drawn since the driver was loaded.
    pub millijoules: Option<u64>,
    /// What it draws now.
    pub watts: Option<u32>,
}

/// The cards that tell how busy they are (amdgpu).
pub fn cards(root: &Path) -> Vec<Card> {
    // No such folder: no such cards.
    let Ok(folder) = fs::read_dir(root) else {
        return Vec::new();
    };
    let mut cards: Vec<Card> = folder
        .flatten()
        .filter(|entry| is_card(&entry.file_name()))
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            card(&name, &entry.path().join("device"))
        })
        .take(MOST)
        .collect();
    cards.sort_by(|left, right| left.load.name.cmp(&right.load.name));
    cards
}

/// `card0`, but not `card0-HDMI-A-1`, which is a socket of it.
fn is_card(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.strip_prefix("card")
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
}

fn card(name: &str, device: &Path) -> Option<Card> {
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
    let tells = load.busy_percent.is_some() || load.memory_total.is_some();
    tells.then(|| Card {
        celsius: sensor(device, "temp1_input").and_then(|milli| u8::try_from(milli / 1_000).ok()),
        watts: sensor(device, "power1_average")
            .or_else(|| sensor(device, "power1_input"))
            .and_then(|micro| u32::try_from(micro / 1_000_000).ok()),
        load,
        ..Card::default()
    })
}

/// A sensor of the card (hwmon): thousandths of a degree, millionths of a watt.
fn sensor(device: &Path, file: &str) -> Option<u64> {
    let folders = fs::read_dir(device.join("hwmon")).ok()?;
    let read = |path: &Path| {
        fs::read_to_string(path.join(file))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    folders.flatten().find_map(|folder| read(&folder.path()))
}

fn percent(share: u64) -> u8 {
    u8::try_from(share.min(100)).unwrap_or(100)
}

/// NVIDIA's cards through its driver's own library (NVML), which is loaded when it is first wanted. Where there is none, there
/// are no such cards.
#[derive(Default)]
pub struct Nvidia {
    library: Option<Nvml>,
    /// The library is not on this machine, so it is not looked for again.
    absent: bool,
    tried: Option<Instant>,
    /// Until when each card's processes were told, in the driver's own time.
    told: BTreeMap<u32, u64>,
}

impl Nvidia {
    /// The cards now. `ours`: the processes that work for the shop; none: nobody asks who works.
    pub fn look(&mut self, ours: Option<&BTreeSet<u32>>) -> Vec<Card> {
        self.load();
        let Some(library) = &self.library else {
            return Vec::new();
        };
        let count = library.device_count().unwrap_or(0);
        let cards = (0..count).take(MOST).filter_map(|index| {
            let device = library.device_by_index(index).ok()?;
            let since = self.told.entry(index).or_default();
            Some(told(&device, ours, since))
        });
        cards.collect()
    }

    fn load(&mut self) {
        let lately = self.tried.is_some_and(|at| at.elapsed() < AGAIN);
        if self.library.is_some() || self.absent || lately {
            return;
        }
        self.tried = Some(Instant::now());
        match Nvml::init() {
            Ok(library) => self.library = Some(library),
            Err(NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound) => self.absent = true,
            // A driver that is just being installed or woken may come.
            Err(_) => {}
        }
    }
}

fn told(device: &Device<'_>, ours: Option<&BTreeSet<u32>>, since: &mut u64) -> Card {
    let name = device.name().unwrap_or_default();
    let busy = device.utilization_rates().ok();
    let memory = device.memory_info().ok();
    let celsius = device.temperature(TemperatureSensor::Gpu).ok();
    let load = GpuLoad {
        name: clean(&name, NAME),
        busy_percent: busy.map(|busy| percent(u64::from(busy.gpu))),
        memory_used: memory.as_ref().map(|memory| memory.used),
        memory_total: memory.as_ref().map(|memory| memory.total),
    };
    let ours_busy = ours.and_then(|ours| by_others(device, ours, since));
    Card {
        by_others: ours_busy,
        ours_memory: ours.and_then(|ours| memory_of(device, ours)),
        celsius: celsius.and_then(|celsius| u8::try_from(celsius).ok()),
        millijoules: device.total_energy_consumption().ok(),
        watts: device.power_usage().ok().map(|milli| milli / 1_000),
        load,
    }
}

/// What processes that are not ours use of a card, by the newest that the driver tells of each.
fn by_others(device: &Device<'_>, ours: &BTreeSet<u32>, since: &mut u64) -> Option<u8> {
    let samples = match device.process_utilization_stats(*since) {
        Ok(samples) => samples,
        // Nothing has worked since.
        Err(NvmlError::NotFound) => Vec::new(),
        Err(_) => return None,
    };
    let mut newest: BTreeMap<u32, (u64, u32)> = BTreeMap::new();
    for sample in samples {
        *since = (*since).max(sample.timestamp);
        let one = newest.entry(sample.pid).or_default();
        if sample.timestamp >= one.0 {
            *one = (sample.timestamp, sample.sm_util);
        }
    }
    let others = newest.iter().filter(|(pid, _)| !ours.contains(pid));
    Some(percent(
        others.map(|(_, (_, share))| u64::from(*share)).sum(),
    ))
}

/// What our processes hold of a card's memory, bytes.
fn memory_of(device: &Device<'_>, ours: &BTreeSet<u32>) -> Option<u64> {
    let compute = device.running_compute_processes().ok()?;
    let graphics = device.running_graphics_processes().unwrap_or_default();
    let mut held: BTreeMap<u32, u64> = BTreeMap::new();
    for process in compute.into_iter().chain(graphics) {
        if !ours.contains(&process.pid) {
            continue;
        }
        match process.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => held.insert(process.pid, bytes),
            UsedGpuMemory::Unavailable => return None,
        };
    }
    Some(held.values().sum())
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
            (
                "card1/device/hwmon/hwmon3",
                &[
                    ("temp1_input", "83000\n"),
                    ("power1_average", "212000000\n"),
                ],
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
        let told = Card {
            load: GpuLoad {
                name: "card1".to_owned(),
                busy_percent: Some(97),
                memory_used: Some(5),
                memory_total: Some(8),
            },
            celsius: Some(83),
            watts: Some(212),
            ..Card::default()
        };
        assert_eq!(cards(root.path()), [told]);
        assert!(cards(&root.path().join("none")).is_empty());
    }

    #[test]
    fn a_machine_without_the_library_has_no_such_cards() {
        let mut nvidia = Nvidia::default();
        if nvidia.look(None).is_empty() {
            assert!(nvidia.look(Some(&BTreeSet::new())).is_empty());
        }
    }
}
