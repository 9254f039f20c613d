//! Signals and `vend stop` end every kind of host in order, and leave the terminal as it was.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::terminal::Terminal;
use portable_pty::CommandBuilder;
use rustix::process::{Pid, Signal, kill_process};

const VEND: &str = env!("CARGO_BIN_EXE_vend");
/// What switches each thing off that the screen switches on: its page, pastes, the hidden cursor, the mouse.
const GIVEN_BACK: [&str; 4] = [
    "\u{1b}[?1049l",
    "\u{1b}[?2004l",
    "\u{1b}[?25h",
    "\u{1b}[?1006l",
];

fn home() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let text = "[nostr]\nrelays = [\"ws://127.0.0.1:9\"]\n[wallet]\nbackend = \"sandbox\"\nnetwork = \"regtest\"\n[screen]\nmouse = true\n";
    std::fs::write(dir.path().join("config.toml"), text).unwrap();
    dir
}

fn with_places(command: &mut CommandBuilder, dir: &Path) {
    command.env("VEND_CONFIG", dir.join("config.toml"));
    command.env("VEND_DATA_DIR", dir.join("data"));
    command.env("TERM", "xterm-256color");
    command.cwd(dir);
}

/// The program between two looks at the terminal's settings, as a shell would have it.
fn between_looks(dir: &Path, args: &str) -> Terminal {
    let mut command = CommandBuilder::new("sh");
    let script = format!("stty -g > before; {VEND} {args}; echo ended $?; stty -g > after");
    command.args(["-c", &script]);
    with_places(&mut command, dir);
    Terminal::start(command)
}

fn vend(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(VEND);
    command.args(args).stdin(Stdio::null());
    command.env("VEND_CONFIG", dir.join("config.toml"));
    command.env("VEND_DATA_DIR", dir.join("data"));
    command
}

/// The process that holds the data directory.
fn host(data: &Path) -> Pid {
    let lock = std::fs::read_to_string(data.join("vend.lock")).unwrap();
    let pid = lock
        .split(|c: char| !c.is_ascii_digit())
        .find(|word| !word.is_empty());
    Pid::from_raw(pid.unwrap().parse().unwrap()).unwrap()
}

fn is_as_before(dir: &Path, terminal: &mut Terminal) {
    let (_, written) = terminal.ends();
    assert!(written.contains("ended 0"), "{written}");
    for word in GIVEN_BACK {
        assert!(written.contains(word), "{word:?} in {written:?}");
    }
    let stty = |name| std::fs::read_to_string(dir.join(name)).unwrap();
    assert_eq!(stty("before"), stty("after"));
}

#[test]
fn each_signal_to_end_gives_the_terminal_back_and_ends_in_order() {
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let dir = home();
        let mut terminal = between_looks(dir.path(), "");
        terminal.shows("OFFLINE");
        kill_process(host(&dir.path().join("data")), signal).unwrap();
        is_as_before(dir.path(), &mut terminal);
        assert!(!dir.path().join("data/vend.sock").exists(), "{signal:?}");
    }
}

#[test]
fn a_hangup_gives_the_terminal_back_and_a_second_word_ends() {
    let dir = home();
    let mut terminal = between_looks(dir.path(), "");
    terminal.shows("OFFLINE");
    let pid = host(&dir.path().join("data"));
    kill_process(pid, Signal::HUP).unwrap();
    terminal.shows("The shop sells on in this process");
    kill_process(pid, Signal::TERM).unwrap();
    is_as_before(dir.path(), &mut terminal);
}

/// While a secret is asked for the terminal shows nothing of what is typed; it must not stay so.
#[test]
fn a_signal_at_a_hidden_prompt_gives_the_terminal_back() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let dir = home();
        let untouched = {
            let pair = portable_pty::native_pty_system()
                .openpty(portable_pty::PtySize::default())
                .unwrap();
            format!("{:?}", pair.master.get_termios().unwrap())
        };
        let mut command = CommandBuilder::new(VEND);
        command.args(["keys", "import"]);
        with_places(&mut command, dir.path());
        let mut terminal = Terminal::start(command);
        terminal.shows("secret key");
        let pid = i32::try_from(terminal.child.process_id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
        let ended = terminal.child.wait().unwrap();
        assert_eq!(ended.exit_code(), code, "{signal:?}");
        let after = format!("{:?}", terminal.master.get_termios().unwrap());
        assert_eq!(after, untouched, "{signal:?}");
    }
}

#[test]
fn stop_ends_a_shop_inside_a_dashboard_and_every_screen_of_it() {
    let dir = home();
    let mut first = between_looks(dir.path(), "");
    first.shows("OFFLINE");
    let mut command = CommandBuilder::new(VEND);
    with_places(&mut command, dir.path());
    let mut second = Terminal::start(command);
    second.shows("OFFLINE");
    let out = vend(dir.path(), &["stop"]).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    assert_eq!(String::from_utf8_lossy(&out.stdout), "stopped\n");
    is_as_before(dir.path(), &mut first);
    let (code, written) = second.ends();
    assert_eq!(code, 0, "{written}");
    assert!(written.contains("The shop has ended."), "{written}");
}

#[test]
fn a_signal_ends_a_viewer_alone_and_stop_ends_the_demo() {
    let dir = home();
    let mut demo = between_looks(dir.path(), "demo");
    demo.shows("● ONLINE");
    let data = dir.path().join("data/demo");
    let mut command = CommandBuilder::new(VEND);
    command.arg("demo");
    with_places(&mut command, dir.path());
    let mut viewer = Terminal::start(command);
    viewer.shows("● ONLINE");
    let pid = i32::try_from(viewer.child.process_id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    let (code, written) = viewer.ends();
    assert_eq!(code, 0, "{written}");
    assert!(written.contains("The shop runs on"), "{written}");
    let places = |args: &[&str]| {
        let mut command = vend(dir.path(), args);
        command.env("VEND_DATA_DIR", &data);
        command.env("VEND_CONFIG", data.join("config.toml"));
        command.output().unwrap()
    };
    assert!(places(&["status"]).status.success());
    let out = places(&["stop"]);
    assert!(out.status.success(), "{out:?}");
    is_as_before(dir.path(), &mut demo);
}

#[test]
fn a_headless_demo_and_a_run_end_by_signal_and_by_stop() {
    let dir = home();
    let demo = vend(dir.path(), &["demo", "--headless", "--jobs", "100000"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let sock = dir.path().join("data/demo/vend.sock");
    wait_for(&sock);
    let pid = Pid::from_raw(i32::try_from(demo.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let out = demo.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("told to end before"), "{said}");

    for signal in [Some(Signal::QUIT), None] {
        let mut run = vend(dir.path(), &["run"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_for(&dir.path().join("data/vend.sock"));
        if let Some(signal) = signal {
            // The socket is there a moment before the signals are taken.
            assert!(
                vend(dir.path(), &["status"])
                    .output()
                    .unwrap()
                    .status
                    .success()
            );
            let pid = Pid::from_raw(i32::try_from(run.id()).unwrap()).unwrap();
            kill_process(pid, signal).unwrap();
        } else {
            let out = vend(dir.path(), &["stop"]).output().unwrap();
            assert!(out.status.success(), "{out:?}");
        }
        assert_eq!(run.wait().unwrap().code(), Some(0), "{signal:?}");
    }
}

fn wait_for(path: &Path) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !path.exists() {
        assert!(std::time::Instant::now() < end, "{}", path.display());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
