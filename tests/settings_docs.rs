//! docs/configuration.md says what the program does.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use vend::config::check::{wallet_needs, wallet_uses};
use vend::config::keys::{self, Key, Section, Shape};
use vend::config::load::parse;
use vend::config::schema::Backend;
use vend::config::{Settings, edit};

/// What follows this line is made by [`tables`].
const MARK: &str = "UPDATE_DOCS=1 cargo test --test settings_docs -->\n";

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")
}

fn read() -> String {
    fs::read_to_string(page()).unwrap()
}

fn tables() -> String {
    let mut out = String::new();
    for section in Section::ALL {
        let header = match section.header() {
            header if header.is_empty() => section.title().to_owned(),
            header => format!("{}: `{header}`", section.title()),
        };
        write!(out, "\n### {header}\n\n{}\n\n", section.about()).unwrap();
        out += "| key | what it is for | allowed | default | applies |\n| --- | --- | --- | --- | --- |\n";
        for key in keys::of(section) {
            out += &row(key);
        }
    }
    out
}

fn row(key: &Key) -> String {
    let default = match key.default_text() {
        Some(text) if text.is_empty() => "empty".to_owned(),
        Some(text) => format!("`{text}`"),
        None if key.required() => "required".to_owned(),
        None => "none".to_owned(),
    };
    let allowed = match key.shape {
        Shape::Word(words) => words
            .iter()
            .map(|word| format!("`{word}`"))
            .collect::<Vec<_>>()
            .join(", "),
        Shape::Secret => "a secret".to_owned(),
        _ => key.allowed(),
    };
    format!(
        "| `{}` | {} | {} | {default} | {} |\n",
        key.field,
        key.help,
        allowed,
        key.applies().words()
    )
}

#[test]
fn the_page_lists_every_setting_as_it_is() {
    let text = read();
    let (head, _) = text.split_once(MARK).unwrap();
    let wanted = format!("{head}{MARK}{}", tables());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(page(), wanted).unwrap();
        return;
    }
    assert!(
        text == wanted,
        "docs/configuration.md is behind the key table: run UPDATE_DOCS=1 cargo test --test settings_docs"
    );
}

#[test]
fn the_sample_on_the_page_is_the_defaults() {
    let text = read();
    let sample = text.split("```toml\n").nth(1).unwrap();
    let sample = sample.split("```").next().unwrap();
    assert_eq!(
        parse(sample, Path::new("sample")).unwrap(),
        Settings::default()
    );
    for key in keys::KEYS.iter().filter(|key| !key.section.free()) {
        assert!(
            sample.contains(key.field),
            "{} is in the sample",
            key.name()
        );
    }
}

#[test]
fn the_page_says_which_wallet_has_which_keys() {
    let text = read();
    for backend in [
        Backend::Spark,
        Backend::Nwc,
        Backend::Lnbits,
        Backend::Lnd,
        Backend::Cln,
        Backend::Phoenixd,
    ] {
        let row = |pick: &dyn Fn(&str) -> bool| -> String {
            let fields = keys::of(Section::Wallet).map(|key| key.field);
            let picked: Vec<String> = fields
                .filter(|field| !["backend", "network"].contains(field) && pick(field))
                .map(|field| format!("`{field}`"))
                .collect();
            picked.join(", ")
        };
        let needs = row(&|field| wallet_needs(backend, field));
        let may = row(&|field| wallet_uses(backend, field) && !wallet_needs(backend, field));
        let line = format!("| `{}` | {needs} | {may} |", backend.as_str()).replace("|  |", "| |");
        assert!(text.contains(&line), "{line}");
    }
}

#[test]
fn the_errors_on_the_page_are_the_program_s() {
    let text = read();
    let sample = format!(
        "{}[price]\nmin_price_sats = \"ten\"\nprice_per_1k_token = 2\n",
        "\n".repeat(10)
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    fs::write(&path, sample).unwrap();
    for error in vend::config::load::problems(&path) {
        let line = error.to_string();
        let line = &line[line.find("config.toml").unwrap()..];
        assert!(text.contains(line), "{line}");
    }
}

#[test]
fn the_commands_on_the_page_are_taken() {
    let text = read();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let mut taken = 0;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("vend config set ") {
            let pairs: Vec<(&str, &str)> = if rest.contains('"') {
                let (key, value) = rest.split_once(' ').unwrap();
                vec![(key, value.trim_matches('"'))]
            } else {
                let words: Vec<&str> = rest.split_whitespace().collect();
                words.chunks(2).map(|pair| (pair[0], pair[1])).collect()
            };
            // What is asked for is typed.
            let typed = |value| if value == "-" { "hush" } else { value };
            let pairs: Vec<_> = pairs
                .into_iter()
                .map(|(key, value)| (key, Some(typed(value))))
                .collect();
            edit::set_all(&path, &pairs).unwrap();
            taken += 1;
        } else if let Some(key) = line.strip_prefix("vend config get ") {
            edit::get(&path, key).unwrap().unwrap();
        }
    }
    assert!(taken >= 3);
}
