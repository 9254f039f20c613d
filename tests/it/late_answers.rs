//! What arrives at the dashboard's terminal and is no key, and keys that must be heard whatever came before.

use std::path::Path;
use std::time::Duration;

use crate::support::terminal::Terminal;
use portable_pty::CommandBuilder;
use serde_json::Value;

fn home() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let text = "[nostr]\nrelays = [\"ws://127.0.0.1:9\"]\n[wallet]\nbackend = \"sandbox\"\nnetwork = \"regtest\"\n";
    std::fs::write(dir.path().join("config.toml"), text).unwrap();
    dir
}

fn command(dir: &Path) -> CommandBuilder {
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_vend"));
    command.env("VEND_CONFIG", dir.join("config.toml"));
    command.env("VEND_DATA_DIR", dir.join("data"));
    command.env("TERM", "xterm-256color");
    command.env_remove("COLORFGBG");
    command.env_remove("TMUX");
    command.cwd(dir);
    command
}

/// Blanks at the end of a row are no text.
fn trimmed(contents: &str) -> String {
    let rows: Vec<&str> = contents.lines().map(str::trim_end).collect();
    rows.join("\n").trim_end().to_owned()
}

fn cases(kind: &str) -> Vec<String> {
    let all: Value = serde_json::from_str(include_str!("../cases/terminal.json")).unwrap();
    let all = all.as_object().unwrap();
    let found = all.iter().find(|(name, _)| name.contains(kind)).unwrap();
    let texts = found.1.as_array().unwrap().iter();
    texts
        .map(|text| text.as_str().unwrap().to_owned())
        .collect()
}

/// Answers of the field, and others of their kind.
fn answers() -> Vec<String> {
    let mut all = cases("late answers");
    for more in [
        "\u{1b}[?997;1n",
        "\u{1b}[?62;22c",
        "\u{1b}[24;80R",
        "\u{1b}P1$r0m\u{1b}\\",
    ] {
        all.push(more.to_owned());
    }
    all
}

#[test]
fn late_answers_change_nothing_and_deafen_nobody() {
    let dir = home();
    let mut terminal = Terminal::start(command(dir.path()));
    terminal.shows("not selling");
    // Here nothing moves by itself.
    terminal.press("2");
    terminal.shows("─ start_online ─");
    for answer in answers() {
        let before = trimmed(&terminal.contents());
        for cut in [answer.len(), 2, answer.len() - 1] {
            terminal.press(&answer[..cut]);
            std::thread::sleep(Duration::from_millis(5));
            terminal.press(&answer[cut..]);
        }
        // The list of keys opens and closes as always: what came before it has been read by then.
        terminal.press("?");
        terminal.shows("this list");
        terminal.press("?");
        terminal.until("the screen as before", |seen| {
            trimmed(&seen.screen.screen().contents()) == before
        });
    }
    // One that never ends.
    terminal.press("\u{1b}]52;c;aGVsbG8");
    std::thread::sleep(Duration::from_millis(1_300));
    terminal.press("1");
    terminal.shows("not selling");
    terminal.press("q");
    assert_eq!(terminal.ends().0, 0);
}

#[test]
fn esc_with_a_key_in_one_read_leaves_the_filter_and_acts() {
    let dir = home();
    let mut terminal = Terminal::start(command(dir.path()));
    terminal.shows("not selling");
    terminal.press("2");
    terminal.shows("─ start_online ─");
    for keys in cases("Esc and a key") {
        terminal.press("/");
        terminal.shows("go to: _");
        terminal.press("limits.queue");
        terminal.shows("─ limits.queue ─");
        terminal.press(&keys);
        terminal.until("the row below", |seen| {
            let text = seen.screen.screen().contents();
            !text.contains("go to:") && text.contains("─ limits.per_buyer_running ─")
        });
    }
    terminal.press("/nothing-of-the-kind");
    terminal.shows("nothing is called so");
    terminal.press("\r");
    terminal.shows("no setting is called nothing-of-the-kind");
    terminal.press("q");
    assert_eq!(terminal.ends().0, 0);
}

#[test]
fn every_text_field_has_the_keys_of_readline() {
    let dir = home();
    let mut terminal = Terminal::start(command(dir.path()));
    terminal.shows("not selling");
    // How each field is opened, and how it shows a text and the cursor.
    for (open, before, close) in [
        ("3/", "filter: ", "\u{1b}"),
        ("4/", "find: ", "\u{1b}"),
        ("2/", "go to: ", "\u{1b}"),
        (":", ": ", "\u{1b}"),
    ] {
        terminal.press(open);
        terminal.shows(&format!("{before}_"));
        for (keys, shown) in [
            ("one two-b", "one two-b_"),
            ("\u{17}", "one _"),
            ("\u{1}", "_one"),
            ("\u{5}x\u{1}\u{b}", "_"),
            ("abc\u{2}\u{15}", "_c"),
            ("\u{5}\u{7f}", "_"),
            // With control it is no letter.
            ("\u{f}y", "y_"),
            ("\u{15}", "_"),
        ] {
            terminal.press(keys);
            terminal.shows(&format!("{before}{shown}"));
        }
        terminal.press(close);
        terminal.until("the field closed", |seen| {
            !seen
                .screen
                .screen()
                .contents()
                .contains(&format!("{before}_"))
        });
    }
    let all: String = cases("Ctrl-U").concat();
    assert_eq!(all, "\u{15}\u{17}\u{b}\u{1}\u{5}");
    terminal.press("q");
    assert_eq!(terminal.ends().0, 0);
}

#[test]
fn control_l_draws_everything_anew() {
    let dir = home();
    let mut terminal = Terminal::start(command(dir.path()));
    terminal.shows("not selling");
    terminal.press("2");
    terminal.shows("─ start_online ─");
    let before = trimmed(&terminal.contents());
    // Somebody else writes on the screen.
    terminal
        .seen
        .0
        .lock()
        .unwrap()
        .screen
        .process(b"\x1b[2J\x1b[Hrubbish");
    terminal.shows("rubbish");
    terminal.written();
    for key in cases("Ctrl-L") {
        terminal.press(&key);
    }
    terminal.until("the screen as before", |seen| {
        trimmed(&seen.screen.screen().contents()) == before
    });
    assert!(terminal.written().contains("\u{1b}[2J"));
    terminal.press("q");
    assert_eq!(terminal.ends().0, 0);
}

#[test]
fn a_paste_that_holds_its_end_mark_presses_no_key() {
    let dir = home();
    let mut terminal = Terminal::start(command(dir.path()));
    terminal.shows("not selling");
    terminal.press("\u{1b}[200~x\u{1b}[201~qo4\u{1b}[201~");
    terminal.press("3/");
    terminal.shows("filter: ");
    terminal.press("\u{1b}[200~x\u{1b}[201~\u{1b}q\u{1b}[201~");
    terminal.shows("filter: x[201~q_");
    terminal.press("\u{1b}");
    terminal.until("the filter closed", |seen| {
        !seen.screen.screen().contents().contains("filter:")
    });
    terminal.press("q");
    assert_eq!(terminal.ends().0, 0);
}

#[test]
fn a_terminal_that_draws_nothing_is_refused_with_a_word() {
    let dir = home();
    for term in ["dumb", ""] {
        let mut command = command(dir.path());
        command.env("TERM", term);
        let mut terminal = Terminal::start(command);
        let (code, written) = terminal.ends();
        assert_eq!(code, 2, "{written}");
        assert!(
            written.contains("TERM=xterm-256color") && written.contains("vend run"),
            "{written}"
        );
        assert!(!written.contains('\u{1b}'), "{written:?}");
    }
}

#[test]
fn without_a_locale_of_utf_8_only_ascii_is_drawn() {
    let dir = home();
    let mut command = command(dir.path());
    command.env("LC_ALL", "C");
    let mut terminal = Terminal::start(command);
    terminal.shows("not selling");
    terminal.press("q");
    let (code, written) = terminal.ends();
    assert_eq!(code, 0);
    assert!(written.is_ascii(), "{written}");
}

#[test]
fn a_copy_says_what_tmux_needs() {
    let dir = home();
    let mut command = command(dir.path());
    command.env("TMUX", "/tmp/tmux-0/default,1,0");
    let mut terminal = Terminal::start(command);
    terminal.shows("SANDBOX: no real money moves");
    terminal.press("y");
    terminal.shows("set-clipboard on");
    terminal.press("q");
    assert_eq!(terminal.ends().0, 0);
}
