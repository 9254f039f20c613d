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
    "systemctl --user daemon-reload",
    "systemctl --user enable --now vend",
    "loginctl enable-linger",
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

/// The cells of every row of every table on a page, without the heads.
fn rows(page: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(page);
    let text = fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut rows = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let head = lines
            .get(at + 1)
            .is_some_and(|next| next.starts_with("| ---"));
        if line.starts_with("| ") && !line.starts_with("| ---") && !head {
            let cells = line.trim_matches('|').split('|');
            rows.push(cells.map(|cell| cell.trim().to_owned()).collect());
        }
    }
    rows
}

/// What stands between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            all.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn each_guard_names_settings_and_tests_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    sources(&root.join("src"), &mut code);
    sources(&root.join("tests"), &mut code);
    let settings: Vec<String> = vend::config::keys::KEYS
        .iter()
        .map(|key| key.name().replace(".NAME", ""))
        .collect();
    let rows = rows("security.md");
    assert!(rows.len() > 20, "{} rows", rows.len());
    for row in rows {
        let [.., setting, test] = row.as_slice() else {
            panic!("{row:?}");
        };
        let tests = quoted(test);
        assert!(!tests.is_empty(), "no test: {row:?}");
        for name in tests {
            assert!(code.contains(&format!("fn {name}(")), "no test {name}");
        }
        for name in quoted(setting) {
            let known = settings.iter().any(|own| own == name)
                || ["[", "--", "vend "]
                    .iter()
                    .any(|start| name.starts_with(start));
            assert!(known, "no setting {name}");
        }
    }
}

#[test]
fn the_manual_and_the_page_know_the_same_exit_codes() {
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_vend"))
        .arg("man")
        .output()
        .unwrap();
    let man = String::from_utf8(out.stdout).unwrap();
    let (_, man) = man.split_once("EXIT STATUS").expect("a section");
    let codes = |row: &Vec<String>| row.first()?.parse::<u8>().ok();
    let page: Vec<u8> = rows("operations.md").iter().filter_map(codes).collect();
    assert_eq!(page, [0, 1, 2, 3, 4, 141]);
    for code in page {
        assert!(man.contains(&format!("\\fB{code}\\fR")), "{code}: {man}");
    }
}

#[test]
fn every_command_stands_on_a_page() {
    use clap::CommandFactory as _;
    let pages: String = pages()
        .iter()
        .map(|page| fs::read_to_string(page).unwrap())
        .collect();
    for command in Cli::command().get_subcommands() {
        let name = format!("vend {}", command.get_name());
        assert!(pages.contains(&name), "no page tells of `{name}`");
    }
}
