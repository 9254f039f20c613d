//! Many change the settings file at once, and some are killed: what was said to be set is set, and nothing is left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use vend::config::load::load;

const VEND: &str = env!("CARGO_BIN_EXE_vend");
const WRITERS: usize = 50;
const KILLED: usize = 10;

/// Makes what is there in the place of the file.
type Make = fn(&Path);

fn vend(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(VEND);
    command
        .arg("--config")
        .arg(folder.join("config.toml"))
        .arg("--data-dir")
        .arg(folder.join("data"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn sats(writer: usize) -> u64 {
    1_000 + u64::try_from(writer).unwrap()
}

#[test]
fn fifty_writers_and_ten_kills_lose_nothing_that_was_said_to_be_set() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let tables = (0..WRITERS).map(|n| {
        format!("# about m{n}\n[[price.model]]\nname = \"m{n}\"\nprice_per_1k_input = 1\nprice_per_1k_output = 1\n")
    });
    let text: String = tables.collect();
    fs::write(&path, format!("[wallet]\nbackend = \"phoenixd\"\nurl = \"http://127.0.0.1:1\"\npassword = \"hunter2\"\n{text}")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let mut children: Vec<(usize, Child)> = (0..WRITERS)
        .map(|n| {
            let key = format!("price.model.m{n}.min_price_sats");
            let mut writer = vend(dir.path(), &["config", "set", &key, &sats(n).to_string()]);
            (n, writer.spawn().unwrap())
        })
        .collect();
    // Whenever it hits them: before their turn, at the write, or when they are done.
    for (n, child) in &mut children {
        if *n % (WRITERS / KILLED) == 0 {
            child.kill().unwrap();
        }
    }
    let mut said = 0;
    for (n, child) in children {
        let out = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&out.stdout).contains("is set");
        let settings = load(&path).unwrap();
        let model = settings
            .price
            .models
            .iter()
            .find(|one| one.name == format!("m{n}"));
        if told {
            said += 1;
            assert_eq!(model.unwrap().min_price_sats, Some(sats(n)), "m{n}");
        } else {
            assert_eq!(
                n % (WRITERS / KILLED),
                0,
                "{}",
                String::from_utf8_lossy(&out.stderr)
            );
        }
    }
    assert!(said >= WRITERS - KILLED, "{said}");
    let text = fs::read_to_string(&path).unwrap();
    assert!((0..WRITERS).all(|n| text.contains(&format!("# about m{n}\n"))));
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    // The next writer removes what the killed ones left.
    let out = vend(dir.path(), &["config", "set", "text.top_k", "7"])
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "data")
        .collect();
    assert_eq!(names, ["config.toml"]);
}

#[test]
fn an_empty_or_dangling_file_is_an_error_with_its_fix_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let ran = |args: &[&str]| {
        let out = vend(dir.path(), args).output().unwrap();
        (
            out.status.code(),
            String::from_utf8_lossy(&out.stderr).into_owned(),
        )
    };
    let commands: [&[&str]; 5] = [
        &["config", "check"],
        &["config", "show"],
        &["config", "set", "text.top_k", "7"],
        &["doctor"],
        &["run"],
    ];
    let cases: [(&str, &str, Make); 3] = [
        ("an empty file", "vend config init", |path| {
            fs::write(path, "\n").unwrap();
        }),
        ("a link that leads nowhere", "remove the link", |path| {
            std::os::unix::fs::symlink("gone.toml", path).unwrap();
        }),
        ("a folder", "--config FILE", |path| {
            fs::create_dir(path).unwrap();
        }),
    ];
    for (found, fix, make) in cases {
        make(&path);
        for command in commands {
            let (code, words) = ran(command);
            assert_eq!(code, Some(3), "{found}: {command:?}: {words}");
            assert!(
                words.contains(found) && words.contains(fix),
                "{command:?}: {words}"
            );
            assert!(words.contains("config.toml"), "{words}");
        }
        let link = fs::symlink_metadata(&path).unwrap();
        if link.is_dir() {
            fs::remove_dir(&path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
    }
    assert!(!dir.path().join("gone.toml").exists());
}

#[test]
fn the_last_setting_taken_out_leaves_a_file_that_is_not_empty() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    fs::write(&path, "[text]\nmax_tokens_limit = 600\n").unwrap();
    let out = vend(dir.path(), &["config", "set", "text.max_tokens_limit", ""])
        .output()
        .unwrap();
    assert!(out.status.success());
    fs::write(&path, "").unwrap();
    fs::remove_file(&path).unwrap();
    vend::config::edit::set(&path, "text.max_tokens_limit", "600").unwrap();
    vend::config::edit::unset(&path, "text.max_tokens_limit").unwrap();
    assert!(
        load(&path).is_ok(),
        "{}",
        fs::read_to_string(&path).unwrap()
    );
}

#[test]
fn check_lists_every_error_and_names_each_line() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[price]\nmin_price_sats = \"ten\"\n[text]\nmax_tokens = 600\nmax_tokens_limit = 500\n\
                [wallet]\nbackend = \"lnbits\"\nrune = \"x\"\n[nostr]\nrelays = [\"nos.lol\"]\nkind = [5050]\n";
    fs::write(dir.path().join("config.toml"), text).unwrap();
    let out = vend(dir.path(), &["config", "check"]).output().unwrap();
    let words = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(3));
    for part in [
        "config.toml:2: price.min_price_sats",
        "config.toml:5: text.max_tokens_limit",
        "wallet.url",
        "wallet.invoice_key",
        "config.toml:8: wallet.rune",
        "config.toml:10: nostr.relays",
        "config.toml:11: nostr.kind",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert_eq!(words.lines().count(), 7, "{words}");
    assert!(
        words.lines().all(|line| line.starts_with("vend: ")),
        "{words}"
    );
}

#[test]
fn doctor_tells_bad_settings_in_json_and_ends_with_3() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("config.toml"),
        "[price]\nmin_price_sats = \"ten\"\n",
    )
    .unwrap();
    let out = vend(dir.path(), &["doctor", "--json"]).output().unwrap();
    assert_eq!(out.status.code(), Some(3));
    let sheet: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(sheet["ok"], false);
    let row = &sheet["checks"][0];
    assert_eq!(row["check"], "data");
    assert_eq!(row["status"], "fail");
    assert!(
        row["detail"]
            .as_str()
            .unwrap()
            .contains(":2: price.min_price_sats"),
        "{row}"
    );
    assert!(
        row["fix"].as_str().unwrap().contains("vend config check"),
        "{row}"
    );
}

#[test]
fn the_fix_for_an_open_secret_names_the_file_that_is_open() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("config.toml"),
        "[nostr]\nrelays = [\"ws://127.0.0.1:9\"]\n[wallet]\nbackend = \"phoenixd\"\nurl = \"http://127.0.0.1:9\"\npassword = { file = \"phoenixd.key\" }\n\
         [[endpoint]]\nname = \"tiny\"\nkind = \"builtin\"\n[text]\nmodel = \"vend-tiny\"\n",
    )
    .unwrap();
    let key = dir.path().join("phoenixd.key");
    fs::write(&key, "hunter2\n").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let out = vend(dir.path(), &["doctor", "--json"]).output().unwrap();
    let sheet: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let fixes: Vec<&str> = sheet["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|row| row["fix"].as_str())
        .collect();
    let wanted = format!("chmod 600 {}", key.display());
    assert!(fixes.contains(&wanted.as_str()), "{fixes:?}");
    assert!(!String::from_utf8_lossy(&out.stdout).contains("hunter2"));
}

#[test]
fn no_secret_of_the_settings_is_ever_printed() {
    use vend::config::edit;
    use vend::config::keys::{KEYS, Section};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    for key in KEYS.iter().filter(|key| key.is_secret()) {
        let backends = ["nwc", "lnbits", "lnd", "cln", "phoenixd"];
        let name = key.name().replace("NAME", "local");
        let secret = "nostr+walletconnect:hush-3141";
        let line = format!("{} = \"{secret}\"\n", key.field);
        let texts: Vec<String> = match key.section {
            Section::Wallet => backends
                .iter()
                .flat_map(|backend| {
                    let head = format!("[wallet]\nbackend = \"{backend}\"\n");
                    [
                        format!("{head}{line}"),
                        format!("{head}url = \"https://x\"\n{line}"),
                    ]
                })
                .collect(),
            Section::Endpoint => vec![format!("[[endpoint]]\n{line}")],
            section => vec![format!("{}\n{line}", section.header())],
        };
        let valid = texts.iter().find(|text| {
            fs::write(&path, text).unwrap();
            load(&path).is_ok()
        });
        assert!(valid.is_some(), "{name} fits no settings");
        let settings = load(&path).unwrap();
        let shown = edit::show(&path).unwrap();
        let got = edit::get(&path, &name).unwrap().unwrap();
        let debug = format!("{settings:?}");
        let written = toml_edit::ser::to_string(&settings).unwrap();
        for text in [&shown, &got, &debug, &written] {
            assert!(!text.contains("hush-3141"), "{name}: {text}");
        }
        assert!(shown.contains("***") && got == "***", "{name}");
        assert!(
            edit::source(&settings, key.section, key.field, Some("local")).is_some(),
            "{name}"
        );
    }
}
