//! What feeds the machine, from `/sys`.

use std::fs;
use std::path::Path;

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
