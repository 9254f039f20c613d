//! Who may know whom: fails on an import against the arrows of docs/architecture.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Modules that each module may use, beside itself.
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
            let module = name.split(['/', '.']).next().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            (module, name, text)
        })
        .collect()
}

#[test]
fn no_module_imports_one_that_it_may_not() {
    let mut wrong = Vec::new();
    for (module, name, text) in sources() {
        let Some((_, may)) = MAY.iter().find(|(known, _)| *known == module) else {
            assert!(
                ["cli", "lib", "main"].contains(&module.as_str()),
                "which module is {name}?"
            );
            continue;
        };
        for part in text.split("crate::").skip(1) {
            let used: String = part
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            let is_module = MAY.iter().any(|(known, _)| *known == used) || used == "cli";
            if is_module && used != module && !may.contains(&used.as_str()) {
                wrong.push(format!("{name} uses {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_its_own_module_uses_a_crate() {
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
    for (module, name, text) in sources() {
        for (thing, modules) in owners {
            let uses = text.contains(&format!("{thing}::"));
            if uses && !modules.contains(&module.as_str()) {
                wrong.push(format!("{name} uses {thing}"));
            }
        }
        if module == "domain" && text.contains("tokio::") {
            wrong.push(format!("{name} uses a runtime"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Circles of parts inside a module that are still there; a part is a file with its folder. No other may come, and one that is
/// opened is taken out here.
const CIRCLES: &[(&str, &[&str])] = &[
    ("cli", &["gateway host"]),
    ("config", &["check load", "force keys schema"]),
    ("domain", &["credit job", "reply size"]),
    (
        "engine",
        &[
            "admission signs",
            "announce audit buyers clock context copies invoicer last_look machine mint payments preflight recovery_desk redeliver \
             transition twins wallets",
        ],
    ),
    ("inference", &["http lines"]),
    ("nostr", &["connection intake", "listener session"]),
    ("ui", &["app settings_form view"]),
];

/// The parts of its own module that this file names in paths: `super::` as often as it lies deep, or from the crate on.
fn used(module: &str, name: &str, text: &str) -> BTreeSet<String> {
    let depth = name.matches('/').count();
    let mut used = BTreeSet::new();
    let whole = format!("crate::{module}::");
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let beginnings = [whole, "super::".repeat(depth)];
    for beginning in beginnings {
        for (at, _) in text.match_indices(&beginning) {
            // `super::super::` is no `super::`.
            if beginning.starts_with("super") && text[..at].ends_with("super::") {
                continue;
            }
            let rest = &text[at + beginning.len()..];
            let list = rest
                .strip_prefix('{')
                .map(|list| list.split(';').next().unwrap());
            let parts: Vec<&str> = match list {
                Some(list) => top_level(list),
                None => vec![rest],
            };
            for part in parts {
                let word = part.trim_start();
                let end = word.find(|c: char| !c.is_alphanumeric() && c != '_');
                used.insert(word[..end.unwrap_or(word.len())].to_owned());
            }
        }
    }
    used
}

/// What stands between the commas of a list, not those inside of braces.
fn top_level(list: &str) -> Vec<&str> {
    let (mut parts, mut open, mut from) = (Vec::new(), 0_usize, 0);
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => open += 1,
            '}' if open == 0 => {
                parts.push(&list[from..at]);
                break;
            }
            '}' => open -= 1,
            ',' if open == 0 => {
                parts.push(&list[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts
}

/// Each set of parts that lead to one another.
fn circles(uses: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let reached = |from: &String| {
        let mut all: BTreeSet<&String> = BTreeSet::new();
        let mut next: Vec<&String> = uses[from].iter().collect();
        while let Some(part) = next.pop() {
            if all.insert(part) {
                next.extend(&uses[part]);
            }
        }
        all
    };
    let reach: BTreeMap<&String, _> = uses.keys().map(|part| (part, reached(part))).collect();
    let circle = |part: &String| -> Vec<String> {
        let back = |other: &&&String| reach[**other].contains(part);
        reach[part]
            .iter()
            .filter(back)
            .map(|&one| one.clone())
            .collect()
    };
    let all = uses.keys().map(circle).filter(|circle| circle.len() > 1);
    all.map(|circle| circle.join(" ")).collect()
}

#[test]
fn no_parts_of_a_module_lead_in_a_circle() {
    let mut modules: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (module, name, text) in sources() {
        let Some((_, inside)) = name.split_once('/') else {
            continue;
        };
        let is_test = inside.ends_with("tests.rs") || inside.contains("/tests/");
        if is_test {
            continue;
        }
        let part = inside.split(['/', '.']).next().unwrap().to_owned();
        let uses = modules.entry(module.clone()).or_default();
        uses.entry(part)
            .or_default()
            .extend(used(&module, &name, &text));
    }
    for (module, mut uses) in modules {
        let parts: BTreeSet<String> = uses.keys().cloned().collect();
        for (part, uses) in &mut uses {
            uses.retain(|used| used != part && parts.contains(used));
        }
        let known = CIRCLES.iter().find(|(of, _)| *of == module);
        let known: BTreeSet<String> = known
            .map(|(_, circles)| circles.iter().map(|&one| one.to_owned()).collect())
            .unwrap_or_default();
        assert_eq!(circles(&uses), known, "circles in {module}");
    }
}

/// Words that mean nothing to an engineer of this field, and what is said instead (docs/architecture.md).
const WORDS: &[(&str, &str)] = &[
    ("Shop", "EngineContext"),
    ("Trade", "OnlineSession"),
    ("Trials", "OnDemandChecks"),
    ("Purse", "WalletHandle"),
    ("Purses", "Wallets"),
    ("Bells", "Wakers"),
    ("Lamp", "HealthIndicator"),
    ("Guests", "TransientRelays"),
    ("Link", "ConnectionState"),
    ("Common", "SharedContext"),
    ("News", "EventKind"),
    ("Said", "Notice"),
    ("Word", "ControlMessage"),
    ("Step", "Transition"),
    ("NoStep", "TransitionError"),
    ("Pen", "Painter"),
    ("Sheet", "Report"),
    ("Books", "Accounting"),
    ("Figures", "Stats"),
    ("weigh", "assess"),
    ("herald", "health_reporter"),
    ("guests", "transient"),
    ("strays", "orphaned_runs"),
    ("doubts", "disputes"),
    ("unheard", "lost_invoice"),
    ("bells", "wakers"),
    ("ring", "wake"),
    ("trade", "online_session"),
    ("trials", "on_demand_checks"),
    ("purse", "wallets"),
    ("lights", "health"),
    ("books", "accounting"),
    ("sheet", "report"),
    ("pen", "painter"),
];

#[test]
fn no_definition_has_a_word_of_our_own() {
    let kinds = ["struct", "enum", "trait", "type", "fn", "mod"];
    let mut wrong = Vec::new();
    for (_, name, text) in sources() {
        for (at, line) in text.lines().enumerate() {
            let mut parts = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            let Some(_) = parts.by_ref().find(|part| kinds.contains(part)) else {
                continue;
            };
            let defined = parts.next().unwrap_or("");
            if let Some((_, instead)) = WORDS.iter().find(|(word, _)| *word == defined) {
                wrong.push(format!("{name}:{}: {defined}, not {instead}", at + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
