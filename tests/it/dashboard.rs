//! The dashboard on a real terminal: what a person types, and what the terminal is left like.

use std::path::Path;

use crate::support::terminal::{Terminal, lines};
use portable_pty::{CommandBuilder, PtySize};

/// A shop that is offline and moves no money.
fn settings(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("config.toml");
    let text = "# mine\n[nostr]\nrelays = [\"ws://127.0.0.1:9\"]\n[wallet]\nbackend = \"sandbox\" # play\nnetwork = \"regtest\"\n";
    std::fs::write(&path, text).unwrap();
    path
}

fn vend(program: &str, dir: &Path) -> CommandBuilder {
    let mut command = CommandBuilder::new(program);
    command.env("VEND_CONFIG", dir.join("config.toml"));
    command.env("VEND_DATA_DIR", dir.join("data"));
    command.env("TERM", "xterm-256color");
    command.cwd(dir);
    command
}

const VEND: &str = env!("CARGO_BIN_EXE_vend");

#[test]
fn a_setting_is_edited_saved_and_applied_from_the_keyboard() {
    let dir = tempfile::tempdir().unwrap();
    let path = settings(dir.path());
    let mut terminal = Terminal::start(vend(VEND, dir.path()));
    terminal.shows("OFFLINE");
    terminal.press("2");
    terminal.shows("Go online as soon as the program starts.");
    terminal.press("\r \r");
    terminal.shows("1 not saved");
    terminal.press("w");
    terminal.shows("at the next start: start_online");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("start_online = true"), "{text}");
    assert!(text.contains("# mine") && text.contains("# play"), "{text}");

    vend::config::edit::set(&path, "text.model", "somebody-elses").unwrap();
    terminal.shows("changed by somebody else");

    terminal.press(":");
    terminal.shows("What to do");
    terminal.press("\u{1b}[200~last row\u{1b}[201~");
    terminal.shows(": last row_");
    terminal.press("\r");
    terminal.shows("keys.last");
    terminal.press("q");
    let (code, written) = terminal.ends();
    assert_eq!(code, 0, "{written}");
    for given_back in ["\u{1b}[?1049l", "\u{1b}[?2004l", "\u{1b}[?25h"] {
        assert!(written.contains(given_back), "{given_back:?}");
    }
    let begun = written.matches("\u{1b}[?2026h").count();
    assert!(begun > 0, "each frame is shown at once");
    assert!(
        !written.contains("\u{1b}[?1000h"),
        "the mouse is left alone"
    );
}

#[test]
fn a_relay_is_tested_where_it_is_set() {
    let dir = tempfile::tempdir().unwrap();
    settings(dir.path());
    let mut terminal = Terminal::start(vend(VEND, dir.path()));
    terminal.shows("OFFLINE");
    terminal.press("2");
    terminal.shows("start_online");
    terminal.press("jj");
    terminal.shows("─ nostr.relays ─");
    terminal.press("t");
    terminal.shows("ws://127.0.0.1:9  fails");
    terminal.press("q");
    assert_eq!(terminal.ends().0, 0);
}

#[test]
fn the_status_of_a_shop_that_is_offline_names_what_it_would_use() {
    let dir = tempfile::tempdir().unwrap();
    settings(dir.path());
    let mut terminal = Terminal::start(vend(VEND, dir.path()));
    terminal.shows("OFFLINE");
    let out = std::process::Command::new(VEND)
        .args(["status", "--json"])
        .env("VEND_CONFIG", dir.path().join("config.toml"))
        .env("VEND_DATA_DIR", dir.path().join("data"))
        .output()
        .unwrap();
    let status: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(status["online"], false);
    assert_eq!(status["relays"][0]["url"], "ws://127.0.0.1:9");
    assert_eq!(status["relays"][0]["state"], "off");
    assert_eq!(status["endpoints"][0]["name"], "local");
    assert_eq!(status["endpoints"][0]["state"], "off");
    assert_eq!(status["wallet"]["backend"], "sandbox");
    assert_eq!(status["wallet"]["state"], "off");
    // The screen names them too, and that the money is play money, before anybody has looked at anything.
    terminal.shows("relays     ws://127.0.0.1:9, not checked yet");
    terminal.shows("play wallet     sandbox: play money");
    terminal.shows("SANDBOX: no real money moves");
    terminal.press("q");
    assert_eq!(terminal.ends().0, 0);
}

/// The steps of a first start, tried out with one key over the real engine.
#[test]
fn a_new_shop_checks_all_its_steps_with_one_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = settings(dir.path());
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str(
        "[[endpoint]]\nname = \"gpu\"\nkind = \"ollama\"\nurl = \"http://127.0.0.1:9\"\n",
    );
    std::fs::write(&path, text).unwrap();
    let mut terminal = Terminal::start(vend(VEND, dir.path()));
    terminal.shows("First start");
    terminal.press("t");
    terminal.shows("down relays");
    terminal.shows("down model");
    // The cursor went to what failed, and Enter leads to its setting.
    terminal.press("\r");
    terminal.shows("─ text.model ─");
    terminal.press("q");
    assert_eq!(terminal.ends().0, 0);
}

#[test]
fn after_a_failed_start_screen_and_status_tell_what_was_seen() {
    let dir = tempfile::tempdir().unwrap();
    let path = settings(dir.path());
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str(
        "[[endpoint]]\nname = \"gpu\"\nkind = \"ollama\"\nurl = \"http://127.0.0.1:9\"\n",
    );
    std::fs::write(&path, text).unwrap();
    let mut terminal = Terminal::start(vend(VEND, dir.path()));
    terminal.shows("not checked yet");
    terminal.press("o");
    terminal.until("the reason to stay offline", |seen| {
        let text = seen.screen.screen().contents();
        text.contains("GO ONLINE") && text.contains("down model") && text.contains("gpu")
    });
    // A screen that comes later is told the same.
    let mut second = Terminal::start(vend(VEND, dir.path()));
    second.shows("down model");
    for shown in [terminal.contents(), second.contents()] {
        assert!(shown.contains("gpu"), "{shown}");
        assert!(shown.contains("play wallet     sandbox"), "{shown}");
    }
    let out = std::process::Command::new(VEND)
        .args(["status", "--json"])
        .env("VEND_CONFIG", &path)
        .env("VEND_DATA_DIR", dir.path().join("data"))
        .output()
        .unwrap();
    let status: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(status["state"], "offline", "{status}");
    assert_eq!(status["endpoints"][0]["light"], "down", "{status}");
    assert_eq!(status["wallet"]["light"], "ok", "{status}");
    second.press("q");
    second.ends();
    terminal.press("q");
    assert_eq!(terminal.ends().0, 0);
}

#[test]
fn control_z_gives_the_terminal_back_until_it_is_called_again() {
    let dir = tempfile::tempdir().unwrap();
    settings(dir.path());
    let mut command = vend("sh", dir.path());
    command.args([
        "-c",
        &format!("set -m; {VEND}; echo was stopped; read go; fg; echo came back $?"),
    ]);
    let mut terminal = Terminal::start(command);
    terminal.shows("OFFLINE");
    terminal.written();
    terminal.press("\u{1a}");
    terminal.shows("was stopped");
    assert!(terminal.written().contains("\u{1b}[?1049l"));
    terminal.press("\n");
    terminal.shows("OFFLINE");
    terminal.press("2");
    terminal.shows("start_online");
    terminal.press("q");
    terminal.shows("came back 0");
    terminal.ends();
}

#[test]
fn a_key_that_comes_with_a_new_size_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    settings(dir.path());
    let mut terminal = Terminal::start(vend(VEND, dir.path()));
    terminal.shows("not selling");
    for turn in 0..60 {
        let (key, shown) = [("2", "start_online"), ("1", "not selling")][turn % 2];
        let size = PtySize {
            rows: [25, 24][turn % 2],
            cols: 80,
            ..PtySize::default()
        };
        terminal.master.resize(size).unwrap();
        terminal.press(key);
        terminal.shows(shown);
    }
    terminal.press("q");
    assert_eq!(terminal.ends().0, 0);
}

#[test]
fn a_storm_of_sizes_ends_in_a_whole_screen() {
    let dir = tempfile::tempdir().unwrap();
    settings(dir.path());
    let mut terminal = Terminal::start(vend(VEND, dir.path()));
    terminal.shows("OFFLINE");
    for cols in (40..120).rev() {
        let size = PtySize {
            rows: 24,
            cols,
            ..PtySize::default()
        };
        terminal.master.resize(size).unwrap();
    }
    terminal
        .seen
        .0
        .lock()
        .unwrap()
        .screen
        .screen_mut()
        .set_size(lines(24), lines(40));
    terminal.shows("terminal too small");
    let size = PtySize {
        rows: 16,
        cols: 60,
        ..PtySize::default()
    };
    terminal
        .seen
        .0
        .lock()
        .unwrap()
        .screen
        .screen_mut()
        .set_size(lines(16), lines(60));
    terminal.master.resize(size).unwrap();
    terminal.press("2");
    terminal.shows("start_online");
    terminal.press("q");
    assert_eq!(terminal.ends().0, 0);
}

#[test]
fn settings_with_a_clash_of_keys_stop_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let path = settings(dir.path());
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str("[keys]\nhelp = \"o\"\n");
    std::fs::write(&path, text).unwrap();
    let mut terminal = Terminal::start(vend(VEND, dir.path()));
    let (code, written) = terminal.ends();
    assert_eq!(code, 3, "{written}");
    assert!(
        written.contains("config.toml:8: keys.help: found a key of `online` too"),
        "{written}"
    );
}

/// A signal that says the terminal is gone, though it is not: it is given back, and the shop stays.
#[test]
fn a_hangup_gives_the_terminal_back_and_says_how_to_come_again() {
    let dir = tempfile::tempdir().unwrap();
    settings(dir.path());
    let mut terminal = Terminal::start(vend(VEND, dir.path()));
    terminal.shows("OFFLINE");
    let pid = terminal.child.process_id().unwrap().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-HUP", &pid])
        .status();
    assert!(sent.unwrap().success());
    terminal.shows("The shop sells on in this process");
    let mut second = Terminal::start(vend(VEND, dir.path()));
    second.shows("OFFLINE");
    second.press("q");
    let (code, written) = second.ends();
    assert_eq!(code, 0, "{written}");
    let told = format!("The shop runs on (process {pid})");
    assert!(written.contains(&told), "{written}");
    // The terminal's own keys work again.
    terminal.press("\u{3}");
    let (code, written) = terminal.ends();
    assert_eq!(code, 0, "{written}");
    assert!(written.contains("\u{1b}[?1049l"), "{written}");
}

#[test]
fn a_second_demo_shows_the_first_and_leaves_its_settings_alone() {
    let dir = tempfile::tempdir().unwrap();
    let demo = || {
        let mut command = vend(VEND, dir.path());
        command.arg("demo");
        command
    };
    let mut first = Terminal::start(demo());
    first.shows("● ONLINE");
    let config = dir.path().join("data/demo/config.toml");
    let before = std::fs::read_to_string(&config).unwrap();
    let mut second = Terminal::start(demo());
    second.shows("SANDBOX: no real money moves  DEMO on this machine only");
    second.shows("● ONLINE");
    assert_eq!(std::fs::read_to_string(&config).unwrap(), before);

    let out = std::process::Command::new(VEND)
        .arg("status")
        .env("VEND_CONFIG", dir.path().join("config.toml"))
        .env("VEND_DATA_DIR", dir.path().join("data"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let data = dir.path().join("data");
    assert!(
        said.contains(&format!("no vend is running on {}", data.display())),
        "{said}"
    );
    let there = format!(
        "the demo runs: `vend --data-dir {}",
        data.join("demo").display()
    );
    assert!(said.contains(&there), "{said}");

    second.press("q");
    let (code, written) = second.ends();
    assert_eq!(code, 0, "{written}");
    assert!(written.contains("The shop runs on"), "{written}");
    first.press("q");
    first.until("the question or the end", |seen| {
        seen.ended || seen.screen.screen().contents().contains("Jobs are running")
    });
    first.press("s");
    let (code, written) = first.ends();
    assert_eq!(code, 0, "{written}");
    assert!(written.contains("The shop has ended"), "{written}");
}
