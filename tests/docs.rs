//! Every command line in the documents is one that works: `vend` takes it, or the gate runs it.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use vend::cli::Cli;

/// Lines for other programs, or that need more than this machine has.
const OTHERS: &[&str] = &[
    "cargo install --path .",
    "ollama pull gemma2",
    "tmux new -s shop vend",
];

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md"), root.join("tests/live/README.md")];
    for entry in fs::read_dir(root.join("docs")).unwrap() {
        pages.push(entry.unwrap().path());
    }
    pages
}

/// The lines of every fence marked `sh`.
fn lines(page: &Path) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in fs::read_to_string(page).unwrap().lines() {
        let line = line.trim();
        if line.starts_with("```") {
            inside = line == "```sh" && !inside;
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            found.push(line.to_owned());
        }
    }
    found
}

/// Words as a shell splits them, with single quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[test]
fn every_command_line_is_one_that_works() {
    let gate = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/run")).unwrap();
    let mut seen = 0;
    let mut wrong = Vec::new();
    for page in pages() {
        for line in lines(&page) {
            seen += 1;
            let known = if line.starts_with("vend") {
                Cli::try_parse_from(words(&line))
                    .map(drop)
                    .map_err(|error| error.to_string())
            } else if OTHERS.contains(&line.as_str())
                || gate.contains(&line)
                || is_target(&line)
                || line.starts_with("tests/live/")
            {
                Ok(())
            } else {
                Err("neither vend nor the gate knows it".to_owned())
            };
            if let Err(why) = known {
                wrong.push(format!("{}: {line}: {why}", page.display()));
            }
        }
    }
    assert!(seen > 10, "{seen} lines");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `cargo test --test NAME`, `cargo bench --bench NAME`, `cargo build --example NAME`: the target must exist.
fn is_target(line: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let words = words(line);
    if !words.iter().any(|word| word == "cargo") {
        return false;
    }
    ["--test", "--bench", "--example"].iter().any(|flag| {
        let place = words.iter().position(|word| word == flag);
        place.and_then(|at| words.get(at + 1)).is_some_and(|name| {
            manifest.contains(&format!("name = \"{name}\""))
                || root.join(format!("tests/{name}.rs")).exists()
                || root.join(format!("tests/{name}/main.rs")).exists()
        })
    })
}

#[test]
fn every_link_to_a_page_leads_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap_or("");
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let path = page.parent().unwrap().join(target);
            assert!(path.exists(), "{}: {target}", page.display());
        }
    }
}
