//! Screens and readers that do not read take no room from the owner's commands, and hold up no end.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::shop::Home;
use rustix::process::{Pid, Signal, kill_process};

const WATCH: &[u8] = b"{\"id\":1,\"command\":\"watch\"}\n";
const SNAPSHOT: &[u8] = b"{\"id\":1,\"command\":\"snapshot\"}\n";
const LONGEST: Duration = Duration::from_secs(60);

fn vend(home: &Home, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vend"));
    command.arg("--data-dir").arg(home.data());
    command.arg("--config").arg(home.config());
    command.args(args).stdin(Stdio::null());
    command
}

fn started(args: &[&str], stdout: Stdio) -> (Home, Child) {
    let home = Home::new();
    let text = "[nostr]\nrelays = [\"ws://127.0.0.1:9\"]\n[wallet]\nbackend = \"sandbox\"\nnetwork = \"regtest\"\n";
    std::fs::write(home.config(), text).unwrap();
    let child = vend(&home, args).stdout(stdout).spawn().unwrap();
    let end = Instant::now() + LONGEST;
    while !vend(&home, &["status"]).output().unwrap().status.success() {
        assert!(Instant::now() < end, "no shop");
        std::thread::sleep(Duration::from_millis(50));
    }
    (home, child)
}

fn says(home: &Home, args: &[&str]) -> (bool, String) {
    let out = vend(home, args).output().unwrap();
    let said = [out.stdout, out.stderr].concat();
    (
        out.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn line(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    let mut one = [0];
    while stream.read(&mut one).unwrap() == 1 && one[0] != b'\n' {
        bytes.push(one[0]);
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_owner_is_heard_whatever_screens_hold() {
    let (home, mut shop) = started(&["run"], Stdio::null());
    let socket = home.data().join("vend.sock");
    // Each has its place before the next one asks for one.
    let mut held = Vec::new();
    for number in 0..32 {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(WATCH).unwrap();
        let answer = line(&mut stream);
        assert!(answer.contains("\"reply\""), "{number}: {answer}");
        held.push(stream);
    }
    for _ in 0..32 {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(WATCH).unwrap();
        let answer = line(&mut stream);
        assert!(answer.contains("32 others are attached"), "{answer}");
        held.push(stream);
    }
    // Some say nothing at all.
    held.extend((0..32).map(|_| UnixStream::connect(&socket).unwrap()));
    assert!(says(&home, &["status"]).0);
    assert!(says(&home, &["offline"]).0);
    // One leaves, and there is room for one again.
    drop(held.remove(0));
    let end = Instant::now() + LONGEST;
    loop {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(WATCH).unwrap();
        if !line(&mut stream).contains("others are attached") {
            break;
        }
        assert!(Instant::now() < end, "no room again");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(says(&home, &["stop"]), (true, "stopped\n".to_owned()));
    assert_eq!(shop.wait().unwrap().code(), Some(0));
}

#[test]
fn a_reader_of_events_that_stops_holds_up_nobody_and_is_told_what_it_lost() {
    for reads_again in [false, true] {
        let (home, mut shop) = started(&["run", "--events"], Stdio::piped());
        // More than its pipe and what may wait before it take.
        let mut stream = UnixStream::connect(home.data().join("vend.sock")).unwrap();
        for _ in 0..600 {
            stream.write_all(SNAPSHOT).unwrap();
            assert!(line(&mut stream).contains("\"reply\""));
        }
        assert!(says(&home, &["status"]).0);
        let mut events = shop.stdout.take().unwrap();
        if reads_again {
            // Enough for what waits to move on.
            let mut some = vec![0; 128 * 1024];
            events.read_exact(&mut some).unwrap();
        }
        let pid = Pid::from_raw(i32::try_from(shop.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        if reads_again {
            let mut rest = String::new();
            events.read_to_string(&mut rest).unwrap();
            assert!(
                rest.contains("\"event\":\"resync\""),
                "{} bytes",
                rest.len()
            );
        }
        assert_eq!(shop.wait().unwrap().code(), Some(0));
    }
}
