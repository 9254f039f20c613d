//! What feeds the machine, and what it has drawn, from `/sys`.

use std::fs;
use std::path::{Path, PathBuf};

fn word(folder: &Path, file: &str) -> Option<String> {
    let text = fs::read_to_string(folder.join(file)).ok()?;
    Some(text.trim().to_owned())
}

/// Does it run on battery (`/sys/class/power_supply`)? A machine without one never does; none where the system does not tell.
pub fn on_battery(supplies: &Path) -> Option<bool> {
    let (mut plugs, mut plugged, mut drains, mut batteries) = (0, false, false, 0);
    for entry in fs::read_dir(supplies).ok()?.flatten() {
        let supply = entry.path();
        // A mouse's battery says that it is a device's.
        if word(&supply, "scope").as_deref() == Some("Device") {
            continue;
        }
        match word(&supply, "type").as_deref() {
            Some("Battery" | "UPS") => {
                batteries += 1;
                drains |= word(&supply, "status").as_deref() == Some("Discharging");
            }
            Some(_) => {
                plugs += 1;
                plugged |= word(&supply, "online").is_some_and(|online| online != "0");
            }
            None => {}
        }
    }
    if batteries == 0 {
        return Some(false);
    }
    Some(if plugs > 0 { !plugged } else { drains })
}

/// The counters of what the processors have drawn (RAPL): one for each package, in millionths of a joule, and where each begins
/// anew. Most systems let only root read them.
pub fn counters(powercap: &Path) -> Vec<(PathBuf, u64, u64)> {
    let Ok(folder) = fs::read_dir(powercap) else {
        return Vec::new();
    };
    let mut found: Vec<_> = folder
        .flatten()
        .filter_map(|entry| {
            let zone = entry.path();
            // Parts of a package, as its cores, are in it already.
            if !word(&zone, "name")?.starts_with("package") {
                return None;
            }
            let number = |file: &str| word(&zone, file)?.parse().ok();
            let (energy, most) = (number("energy_uj")?, number("max_energy_range_uj")?);
            Some((zone, energy, most))
        })
        .collect();
    found.sort();
    found
}
