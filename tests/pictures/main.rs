//! The pictures of the documents: the real screens over what a real shop told through its control socket.
//!
//! `UPDATE_DOCS=1 cargo test --test pictures` draws them anew after a look at what changed; `record.rs` says how to record
//! the shop again.
#![cfg(feature = "tui")]

#[path = "../support/terminal.rs"]
mod terminal;

mod record;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use vend::control::ControlMessage;
use vend::domain::command::{Command, Reply};
use vend::domain::detail::JobDetail;
use vend::domain::event::Event;
use vend::domain::id::RequestId;
use vend::domain::screen::ThemeName;
use vend::ui::Options;
use vend::ui::app::{App, Input};
use vend::ui::{settings_form, svg};

/// The three sizes in which every tab is shown.
const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];
/// The size of the guide's pictures.
const GUIDE: (u16, u16) = (100, 30);
/// Where a job with its history is shown, or its invoice as a code.
const TALL: (u16, u16) = (120, 40);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures")
}

/// A recorded shop.
struct Tape {
    settings: PathBuf,
    banner: Option<String>,
    words: Vec<ControlMessage>,
}

impl Tape {
    fn read(name: &str, banner: Option<&str>) -> Self {
        let text = std::fs::read_to_string(folder().join(format!("{name}.jsonl"))).unwrap();
        let words = text.lines().map(|line| serde_json::from_str(line).unwrap());
        Self {
            settings: folder().join(format!("{name}.toml")),
            banner: banner.map(str::to_owned),
            words: words.collect(),
        }
    }

    fn demo() -> Self {
        Self::read("demo", Some(vend::demo::BANNER))
    }

    /// What was told up to the answer with this id; all of it where there is none.
    fn until(&self, id: u64) -> &[ControlMessage] {
        let is = |word: &ControlMessage| matches!(word, ControlMessage::Reply { id: this, .. } if *this == id);
        let end = self.words.iter().position(is);
        &self.words[..end.map_or(self.words.len(), |at| at + 1)]
    }

    /// Everything that was asked and answered about jobs.
    fn jobs(&self) -> HashMap<RequestId, JobDetail> {
        let details = self.words.iter().filter_map(|word| match word {
            ControlMessage::Reply {
                reply: Reply::Job { detail },
                ..
            } => Some((detail.job.id, (**detail).clone())),
            _ => None,
        });
        details.collect()
    }

    /// A screen at that moment, after these keys.
    fn screen(&self, id: u64, keys: &str, (width, height): (u16, u16)) -> App {
        let mut app = App::new(&Options {
            ascii: false,
            color: true,
            theme: ThemeName::Dark,
            health: false,
            config_path: self.settings.clone(),
            banner: self.banner.clone(),
            mouse: false,
            keys: std::collections::BTreeMap::new(),
            logs: PathBuf::from("logs"),
            attached: false,
        });
        app.handle(Input::Size(width, height));
        app.handle(Input::Fields(settings_form::read(&self.settings)));
        for word in self.until(id) {
            if let ControlMessage::Event { event } = word {
                app.handle(Input::Event(Box::new(event.clone())));
            }
        }
        let known = self.jobs();
        for c in keys.chars() {
            app.handle(Input::Key(KeyEvent::new(code(c), KeyModifiers::NONE)));
            while let Some(command) = app.look() {
                let Command::Job { id } = command else {
                    panic!("not on the tape: {command:?}");
                };
                // Beside a wide table stands a job that nobody had opened when the tape was recorded.
                let Some(detail) = known.get(&id) else { break };
                let detail = Box::new(detail.clone());
                app.handle(Input::Looked(Reply::Job { detail }));
            }
        }
        app
    }
}

/// Keys in a script: `\n` is Enter, `⌫` takes a character back.
fn code(c: char) -> KeyCode {
    match c {
        '\n' => KeyCode::Enter,
        '⌫' => KeyCode::Backspace,
        c => KeyCode::Char(c),
    }
}

/// Every picture by its name.
fn pictures() -> Vec<(String, String)> {
    let (demo, first) = (Tape::demo(), Tape::read("first", None));
    let mut drawn = Vec::new();
    for (keys, name) in [
        ("1", "sell"),
        ("2", "settings"),
        ("3", "jobs"),
        ("4", "telemetry"),
    ] {
        for (width, height) in SIZES {
            let app = demo.screen(0, keys, (width, height));
            let name = format!("{name}-{width}x{height}.svg");
            drawn.push((name, svg::picture(&app, width, height)));
        }
    }
    for (name, size, tape, until, keys) in [
        ("first", GUIDE, &first, 0, "1"),
        ("demo", GUIDE, &demo, 0, "1"),
        ("filter", GUIDE, &demo, 0, "3/status:paid min:10\n"),
        ("job", TALL, &demo, record::PAID, "3/status:paid\n\n"),
        (
            "invoice",
            TALL,
            &demo,
            record::OPEN,
            "3/status:pending_payment\n\n",
        ),
        ("setting", GUIDE, &first, 0, "2/price.min\n\n⌫⌫21"),
        ("telemetry", GUIDE, &demo, 0, "4/paid\n "),
        ("keys", GUIDE, &demo, 0, "3?"),
        ("quit", GUIDE, &demo, 0, "q"),
    ] {
        let app = tape.screen(until, keys, size);
        let name = format!("guide-{name}.svg");
        drawn.push((name, svg::picture(&app, size.0, size.1)));
    }
    drawn
}

#[test]
fn the_pictures_are_the_real_screens() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("screenshots");
    let update = std::env::var_os("UPDATE_DOCS").is_some();
    let mut changed = Vec::new();
    let pictures = pictures();
    for (name, drawn) in &pictures {
        let path = folder.join(name);
        if update {
            std::fs::write(&path, drawn).unwrap();
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != *drawn {
            changed.push(name.clone());
        }
    }
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !pictures.iter().any(|(known, _)| *known == name) {
            changed.push(format!("{name}, which nothing draws"));
        }
    }
    assert!(
        changed.is_empty(),
        "look at what changed, then run this with UPDATE_DOCS=1: {changed:?}"
    );
}

#[test]
fn every_picture_is_shown_in_a_document_and_every_tab_in_the_guide() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = std::fs::read_to_string(root.join("README.md")).unwrap();
    for entry in std::fs::read_dir(root.join("docs")).unwrap() {
        text.push_str(&std::fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    for (name, _) in pictures() {
        assert!(
            text.contains(&format!("screenshots/{name}")),
            "{name} is shown nowhere"
        );
    }
}

/// What is told in a recording is what is on the screens, and nothing of the machine it was made on.
#[test]
fn the_recordings_say_nothing_of_the_machine_they_were_made_on() {
    for name in ["demo.jsonl", "demo.toml", "first.jsonl", "first.toml"] {
        let text = std::fs::read_to_string(folder().join(name)).unwrap();
        assert!(text.len() < 300_000, "{name} is {} bytes", text.len());
        for place in ["/tmp", "/home", "/root", "/work", "/var", "nsec1"] {
            assert!(!text.contains(place), "{name} says {place}");
        }
    }
    let demo = Tape::demo();
    let events = demo.words.iter().filter_map(|word| match word {
        ControlMessage::Event { event } => Some(event),
        ControlMessage::Reply { .. } => None,
    });
    let relays = events.filter_map(|Event { kind, .. }| match kind {
        vend::domain::event::EventKind::Relay { relay } => Some(relay.url.clone()),
        _ => None,
    });
    let relays: Vec<String> = relays.collect();
    assert!(!relays.is_empty());
    assert!(relays.iter().all(|url| url.starts_with("ws://127.0.0.1:")));
}
