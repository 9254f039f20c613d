//! Who may know whom: fails on an import against the arrows of docs/architecture.md.

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms that each room may use, beside itself.
const MAY: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("crash", &[]),
    ("config", &["domain"]),
    ("identity", &["domain", "config"]),
    ("ledger", &["domain", "config"]),
    ("store", &["domain"]),
    ("nostr", &["domain", "config"]),
    ("inference", &["domain", "config"]),
    ("wallet", &["domain", "config"]),
    (
        "engine",
        &[
            "domain",
            "config",
            "ledger",
            "nostr",
            "inference",
            "wallet",
            "crash",
        ],
    ),
    ("control", &["domain", "engine"]),
    (
        "buyer",
        &["domain", "config", "ledger", "nostr", "wallet", "crash"],
    ),
    (
        "gateway",
        &[
            "domain",
            "config",
            "ledger",
            "nostr",
            "inference",
            "wallet",
            "buyer",
            "crash",
        ],
    ),
    ("demo", &["domain", "config", "wallet", "engine", "buyer"]),
    ("ui", &["domain", "config", "store"]),
];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(String, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&root, &mut found);
    found
        .into_iter()
        .map(|path| {
            let name = path
                .strip_prefix(&root)
                .unwrap()
                .to_string_lossy()
                .into_owned();
            let room = name.split(['/', '.']).next().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            (room, name, text)
        })
        .collect()
}

#[test]
fn no_room_knows_one_that_it_may_not() {
    let mut wrong = Vec::new();
    for (room, name, text) in sources() {
        let Some((_, may)) = MAY.iter().find(|(known, _)| *known == room) else {
            assert!(
                ["cli", "lib", "main"].contains(&room.as_str()),
                "which room is {name}?"
            );
            continue;
        };
        for part in text.split("crate::").skip(1) {
            let used: String = part
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            let is_room = MAY.iter().any(|(known, _)| *known == used) || used == "cli";
            if is_room && used != room && !may.contains(&used.as_str()) {
                wrong.push(format!("{name} uses {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_its_own_room_touches_a_thing() {
    let owners: &[(&str, &[&str])] = &[
        ("rusqlite", &["ledger"]),
        ("nostr_sdk", &["nostr"]),
        ("nostr_relay_builder", &["demo"]),
        ("tokio_tungstenite", &["nostr", "wallet"]),
        ("axum", &["gateway"]),
        ("reqwest", &["inference", "wallet", "nostr"]),
        ("crossterm", &["ui"]),
    ];
    let mut wrong = Vec::new();
    for (room, name, text) in sources() {
        for (thing, rooms) in owners {
            let uses = text.contains(&format!("{thing}::"));
            if uses && !rooms.contains(&room.as_str()) {
                wrong.push(format!("{name} uses {thing}"));
            }
        }
        if room == "domain" && text.contains("tokio::") {
            wrong.push(format!("{name} uses a runtime"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
