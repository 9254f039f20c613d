//! What `vend service` prints, as systemd judges it.

use std::process::Command;

/// The most that `systemd-analyze security` may find exposed, of ten.
const EXPOSED_MOST: f64 = 3.0;

#[test]
fn systemd_finds_little_exposed_and_nothing_to_complain_of() {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("skipped: no systemd-analyze");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let vend = |args: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_vend"))
            .args(args)
            .env("VEND_CONFIG", dir.path().join("my config.toml"))
            .env("VEND_DATA_DIR", dir.path().join("data"))
            .env("XDG_CONFIG_HOME", dir.path().join("xdg"))
            .output()
            .unwrap();
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    let printed = vend(&["service"]);
    vend(&["service", "install"]);
    // Twice is as once.
    vend(&["service", "install"]);
    let file = dir.path().join("xdg/systemd/user/vend.service");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), printed);
    let analyze = |args: &[&str]| {
        let out = Command::new("systemd-analyze")
            .args(args)
            .arg(&file)
            .env("XDG_RUNTIME_DIR", dir.path())
            .output()
            .unwrap();
        let text = [out.stdout, out.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    };
    let security = analyze(&["security", "--offline=true", "--user"]);
    let overall = security
        .lines()
        .find(|line| line.contains("Overall exposure"));
    let overall = overall.unwrap_or_else(|| panic!("{security}"));
    let exposed: f64 = overall
        .split_whitespace()
        .find_map(|word| word.parse().ok())
        .unwrap();
    println!("{overall}");
    assert!(exposed <= EXPOSED_MOST, "{security}");
    let faults = analyze(&["verify", "--user", "--recursive-errors=no"]);
    assert_eq!(faults.trim(), "", "systemd complains");
}
