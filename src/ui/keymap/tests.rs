use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::*;
use crate::config::schema::KeyNames;

fn own(pairs: &[(&str, &[&str])]) -> BTreeMap<String, KeyNames> {
    let names = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
    let pairs = pairs.iter();
    pairs
        .map(|(action, keys)| ((*action).to_owned(), KeyNames::Many(names(keys))))
        .collect()
}

fn plain(c: char) -> KeyEvent {
    KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE)
}

#[test]
fn no_key_means_two_things_on_one_tab() {
    for tab in Tab::ALL {
        let mut seen = Vec::new();
        for binding in KEYS.iter().filter(|binding| binding.on(tab)) {
            for key in binding.keys {
                assert!(!seen.contains(key), "{key:?} on {tab:?}");
                seen.push(*key);
            }
        }
    }
}

#[test]
fn every_key_has_a_line_of_help_and_every_action_one_name() {
    let mut names: BTreeMap<&str, Act> = BTreeMap::new();
    for binding in KEYS {
        assert!(!binding.help.is_empty() && !binding.shown.is_empty());
        assert_eq!(binding.names().len(), binding.keys.len());
        // Without a key of its own it is called by two: the table of copies has the second.
        let second = COPIES.iter().any(|copy| copy.act == binding.act);
        assert!(!binding.keys.is_empty() || second);
        let name = binding.act.name();
        assert_eq!(
            *names.entry(name).or_insert(binding.act),
            binding.act,
            "{name}"
        );
    }
}

#[test]
fn control_c_leaves_and_cancels_nothing() {
    let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    let map = Keymap::new(&own(&[("quit", &[])])).unwrap();
    assert_eq!(map.act(Tab::Jobs, &key), Some(Act::Quit));
    assert_eq!(map.act(Tab::Jobs, &plain('q')), None);
}

#[test]
fn an_action_has_the_keys_that_the_settings_give_it() {
    let map = Keymap::new(&own(&[("online", &["O"]), ("copy", &["y", "ctrl-y"])])).unwrap();
    assert_eq!(map.act(Tab::Jobs, &plain('O')), Some(Act::Toggle));
    assert_eq!(map.act(Tab::Jobs, &plain('o')), None);
    let ctrl = KeyEvent::new(KeyCode::Char('y'), KeyModifiers::CONTROL);
    assert_eq!(map.act(Tab::Sell, &ctrl), Some(Act::Copy));
    let mut all = map.all().iter();
    let copy = all.find(|bound| bound.binding.act == Act::Copy).unwrap();
    assert_eq!(copy.shown, "y C-y");
}

#[test]
fn what_can_t_be_bound_names_file_line_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    for (text, wanted) in [
        (
            "[keys]\n# mine\ngo_online = \"o\"\n",
            "config.toml:3: keys.go_online: found an unknown action",
        ),
        (
            "\n[keys]\nhelp = \"o\"\n",
            "config.toml:3: keys.help: found a key of `online` too, on the tab Sell Compute",
        ),
        (
            "[keys]\nhelp = \"oo\"\n",
            "config.toml:2: keys.help: found \"oo\"",
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = match crate::config::load(&path) {
            Ok(settings) => check(&path, &settings).unwrap_err(),
            Err(error) => error,
        };
        assert!(error.to_string().contains(wanted), "{error}");
    }
    std::fs::write(&path, "[keys]\nhelp = \"o\"\nonline = [\"O\", \"f9\"]\n").unwrap();
    let settings = crate::config::load(&path).unwrap();
    assert_eq!(check(&path, &settings), Ok(()));
}

fn page() -> String {
    let mut out = String::from(
        "# Keys\n\nThis page is made from the program's own table: UPDATE_DOCS=1 cargo test --lib keymap\n\n\
         `?` shows the keys of a tab, `:` every action by its name. Ctrl-C always leaves, as `q` does.\n\n\
         An action gets other keys in the settings, by one name or a list of names:\n\n\
         ```toml\n[keys]\nonline = \"o\"\ncopy = [\"y\", \"ctrl-y\"]\n```\n\n\
         A key is the character that it writes (`o`, `G`, `?`), `ctrl-` and a letter, or one of `space`, `comma`, `enter`, `esc`,\n\
         `tab`, `shift-tab`, `backspace`, `del`, `insert`, `up`, `down`, `left`, `right`, `home`, `end`, `pgup`, `pgdn`, `f1` to\n\
         `f12`. An empty list takes an action's keys away. A key that would mean two things on one tab is an error.\n",
    );
    let groups = [
        ("Everywhere", &[][..]),
        ("Settings", FORM),
        ("Settings and Sell Compute", TESTED),
        ("Settings and Telemetry", FOUND),
        ("Settings, Jobs and Telemetry", SEARCHED),
        ("Jobs and Telemetry", LISTS),
        ("Jobs", JOBS),
        ("Telemetry", FEED),
    ];
    let mut told = 0;
    for (title, tabs) in groups {
        write!(
            out,
            "\n## {title}\n\n| action | keys | what it does |\n| --- | --- | --- |\n"
        )
        .unwrap();
        for binding in KEYS.iter().filter(|binding| binding.tabs == tabs) {
            told += 1;
            let keys: Vec<String> = binding
                .names()
                .iter()
                .map(|key| format!("`{key}`"))
                .collect();
            writeln!(
                out,
                "| `{}` | {} | {} |",
                binding.act.name(),
                keys.join(", "),
                binding.help
            )
            .unwrap();
        }
    }
    assert_eq!(told, KEYS.len(), "every binding is in a group");
    out += "\n## After the key of `copy`, on Jobs\n\n| keys | what they do |\n| --- | --- |\n";
    for copy in COPIES {
        let keys = copy.names().join(", ");
        writeln!(out, "| `{keys}` | {} |", copy.help).unwrap();
    }
    out += "\n## While a field is edited\n\n| keys | what they do |\n| --- | --- |\n\
            | `enter` | keep what is typed in the form |\n| `ctrl-s` | keep it and save every changed field |\n\
            | `esc` | leave the field as it was |\n| `space`, arrows | the next of the words to choose from |\n";
    out
}

#[test]
fn the_page_of_keys_is_the_table() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/keys.md");
    let wanted = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == wanted,
        "docs/keys.md is behind the table: run UPDATE_DOCS=1 cargo test --lib keymap"
    );
}
