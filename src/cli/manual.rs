//! `vend completions` and `vend man`, both made of the commands as they are declared.

use std::fmt::Write as _;

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command, CommandFactory, ValueHint};
use clap_mangen::Man;

use super::Cli;
use super::exit::{Exit, Outcome, print};
use crate::config::keys::KEYS;
use crate::domain::desk::DeskAction;
use crate::domain::job::Status;

/// What each exit code means; docs/operations.md says the same.
const CODES: [(&str, &str); 6] = [
    ("0", "done"),
    (
        "1",
        "it did not work; one line on standard error says what, and what to do",
    ),
    ("2", "wrong usage"),
    (
        "3",
        "the settings are invalid; the line names file, line and key",
    ),
    (
        "4",
        "another vend holds the data directory, and the command can't share it",
    ),
    ("141", "whoever read the output has gone away"),
];

const PLACES: [(&str, &str); 4] = [
    (
        "$XDG_CONFIG_HOME/vend/config.toml",
        "the settings (VEND_CONFIG, --config)",
    ),
    (
        "$XDG_DATA_HOME/vend",
        "ledger, identity, control socket and logs (VEND_DATA_DIR, --data-dir)",
    ),
    (
        "VEND_PASSPHRASE, VEND_PASSPHRASE_FILE",
        "the identity's passphrase, or a file with it",
    ),
    ("NO_COLOR", "draw without colours"),
];

/// `vend completions SHELL`
pub fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut worded(Cli::command()), "vend", &mut bytes);
    print(&bytes)
}

/// The commands with the words that each argument may be. Where there are none and no file is meant, a shell offers nothing.
fn worded(command: Command) -> Command {
    command.mut_args(words).mut_subcommands(worded)
}

fn words(arg: Arg) -> Arg {
    let values: Vec<&'static str> = match arg.get_id().as_str() {
        "status" => Status::ALL.iter().map(|status| status.as_str()).collect(),
        "action" => DeskAction::ALL
            .iter()
            .map(|action| action.as_str())
            .collect(),
        "log" => vec!["error", "warn", "info", "debug"],
        "key" | "pairs" => return arg.value_parser(PossibleValuesParser::new(settings())),
        _ => Vec::new(),
    };
    if !values.is_empty() {
        arg.value_parser(PossibleValuesParser::new(values))
    } else if arg.get_value_hint() == ValueHint::Unknown && arg.get_action().takes_values() {
        arg.value_hint(ValueHint::Other)
    } else {
        arg
    }
}

/// The names of the settings that `vend config get` and `set` take without a table's own name in them.
fn settings() -> Vec<&'static str> {
    let plain = KEYS
        .iter()
        .filter(|key| !key.section.repeated() && !key.section.free());
    // clap keeps only texts that live for ever; the process ends when these have been written.
    plain
        .map(|key| -> &'static str { key.name().into_owned().leak() })
        .collect()
}

/// `vend man [COMMAND]`
pub fn page(name: Option<&str>) -> Outcome {
    let mut all = Cli::command();
    all.build();
    let command = match name {
        None => all,
        Some(name) => all
            .get_subcommands()
            .find(|command| command.get_name() == name)
            .cloned()
            .ok_or_else(|| {
                Exit::usage(format!("no command is called {name}: see `vend --help`"))
            })?,
    };
    let bytes = render(&command).map_err(|error| Exit::failed(&error))?;
    print(&bytes)
}

fn render(command: &Command) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let name = command.get_display_name().unwrap_or(command.get_name());
    let man = Man::new(command.clone()).title(name.to_uppercase());
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    let mut rest = String::new();
    let subcommands: Vec<(String, String)> = command
        .get_subcommands()
        .filter(|command| command.get_name() != "help" && !command.is_hide_set())
        .map(|sub| {
            let called = format!("{} {}", name.replace('-', " "), sub.get_name());
            let about = sub.get_about().map(ToString::to_string);
            (called, about.unwrap_or_default())
        })
        .collect();
    if !subcommands.is_empty() {
        let rows = subcommands
            .iter()
            .map(|(name, about)| (name.as_str(), about.as_str()));
        section(&mut rest, "COMMANDS", rows);
    }
    if name == "vend" {
        rest.push_str(".PP\nThe page of a command: \\fBvend man COMMAND | man \\-l \\-\\fR.\n");
        section(&mut rest, "FILES AND ENVIRONMENT", PLACES.into_iter());
    }
    section(&mut rest, "EXIT STATUS", CODES.into_iter());
    out.extend(rest.bytes());
    Ok(out)
}

fn section<'a>(out: &mut String, title: &str, rows: impl Iterator<Item = (&'a str, &'a str)>) {
    // Writing to a text never fails.
    let _ = writeln!(out, ".SH \"{title}\"");
    for (name, text) in rows {
        let _ = writeln!(out, ".TP\n\\fB{}\\fR\n{}", roff(name), roff(text));
    }
}

/// A text of one paragraph as roff shows it as it is.
fn roff(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    // A line that begins with one of these would be a request.
    if line.starts_with(['.', '\'']) {
        format!("\\&{line}")
    } else {
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_argument_completes_words_or_paths_and_never_any_file() {
        fn walk(command: &Command) {
            for arg in command.get_arguments() {
                let free = arg.get_value_hint() == ValueHint::Unknown
                    && arg.get_action().takes_values()
                    && arg.get_possible_values().is_empty();
                assert!(!free, "{} of {}", arg.get_id(), command.get_name());
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&worded(Cli::command()));
        let words = |command: &Command, path: &[&str], arg: &str| -> usize {
            let found = path.iter().fold(command, |command, name| {
                command.find_subcommand(name).expect("a command")
            });
            let mut args = found.get_arguments();
            let arg = args.find(|own| own.get_id() == arg).expect("an argument");
            arg.get_possible_values().len()
        };
        let all = worded(Cli::command());
        assert_eq!(words(&all, &["jobs"], "status"), Status::ALL.len());
        assert_eq!(words(&all, &["recover"], "action"), DeskAction::ALL.len());
        assert!(words(&all, &["config", "set"], "pairs") > 40);
        assert!(words(&all, &["config", "get"], "key") > 40);
    }

    #[test]
    fn the_man_page_names_no_page_that_is_not_there_and_every_exit_code() {
        let mut all = Cli::command();
        all.build();
        let text = String::from_utf8(render(&all).unwrap()).unwrap();
        assert!(!text.contains("(1)"), "{text}");
        for (code, _) in CODES {
            assert!(text.contains(&format!("\\fB{code}\\fR")), "{code}");
        }
        for sub in all.get_subcommands().filter(|sub| sub.get_name() != "help") {
            assert!(
                text.contains(&format!("\\fBvend {}\\fR", sub.get_name())),
                "{}",
                sub.get_name()
            );
            let page = String::from_utf8(render(sub).unwrap()).unwrap();
            assert!(
                page.contains("EXIT STATUS") && !page.contains("(1)"),
                "{page}"
            );
        }
    }
}
