//! What a frame of the dashboard costs: milliseconds for every tab with few and with very many jobs behind it, and bytes to
//! the terminal. The ledger, the engine, the store and the screen are the real ones; the terminal only counts.
//!
//! `cargo bench --bench frames`; `VEND_BENCH_JOBS` says how many jobs the largest ledger has (1,000,000 unless told).

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

#[path = "support/fill.rs"]
mod fill;

use std::cell::Cell;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use fill::{fill, median, runtime};
use nostr::Keys;
use tokio::sync::broadcast::error::TryRecvError;
use vend::domain::command::Command;
use vend::domain::event::{Event, EventKind, Level};
use vend::domain::job::{JobView, Status};
use vend::domain::screen::ThemeName;
use vend::engine::{Engine, Place};
use vend::ledger::Ledger;
use vend::store::FEED_MAX;
use vend::ui::Options;
use vend::ui::app::{App, Input};
use vend::ui::settings_form;
use vend::ui::terminal_writer::TerminalWriter;

/// Frames of each screen; the median is shown.
const FRAMES: usize = 301;
const SIZES: [(u16, u16); 2] = [(80, 24), (200, 60)];
/// What is looked at, and the keys that lead there (`\n` is Enter).
const SCREENS: [(&str, &str); 6] = [
    ("Sell Compute", "1"),
    ("Settings", "2"),
    ("Jobs, the newest", "3"),
    ("Jobs, the oldest", "3G"),
    ("Jobs, filtered", "3/status:paid\n"),
    ("Telemetry", "4"),
];
/// Milliseconds of a frame at 200x60.
const MOST_MS: f64 = 0.8;
/// A frame over a million jobs beside one over a thousand.
const MOST_RATIO: f64 = 1.2;

/// A terminal that counts.
#[derive(Clone, Default)]
struct Counter(Rc<Cell<usize>>);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.set(self.0.get() + bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A shop over a ledger, and whoever looks at it.
struct Shop {
    runtime: tokio::runtime::Runtime,
    engine: Engine,
    config: PathBuf,
    _folder: tempfile::TempDir,
}

impl Shop {
    fn open(jobs: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("vend.db");
        fill(&path, jobs);
        let config = folder.path().join("config.toml");
        vend::demo::settings(&config, "ws://127.0.0.1:9", true).expect("settings");
        let runtime = runtime();
        let engine = runtime.block_on(start(&path, &config, folder.path()));
        Self {
            runtime,
            engine,
            config,
            _folder: folder,
        }
    }

    /// A screen that has been led somewhere and has everything that it asked for.
    fn screen(&self, keys: &str, (width, height): (u16, u16)) -> App {
        let mut app = App::new(&Options {
            ascii: false,
            color: true,
            theme: ThemeName::Dark,
            health: false,
            config_path: self.config.clone(),
            banner: None,
            mouse: false,
            keys: std::collections::BTreeMap::new(),
            logs: PathBuf::from("logs"),
            attached: true,
        });
        app.handle(Input::Size(width, height));
        app.handle(Input::Fields(settings_form::read(&self.config)));
        let mut events = self.engine.listen();
        self.runtime.block_on(self.engine.ask(Command::Snapshot));
        loop {
            match events.try_recv() {
                Ok(event) => app.handle(Input::Event(Box::new(event))),
                Err(TryRecvError::Lagged(missed)) => panic!("{missed} events missed"),
                Err(_) => break,
            };
        }
        for number in 0..FEED_MAX {
            tell(&mut app, notice(number));
        }
        for c in keys.chars() {
            let code = match c {
                '\n' => KeyCode::Enter,
                c => KeyCode::Char(c),
            };
            app.handle(Input::Key(KeyEvent::new(code, KeyModifiers::NONE)));
            self.settle(&mut app);
        }
        app
    }

    /// Answers until nothing more is asked.
    fn settle(&self, app: &mut App) {
        while let Some(command) = app.look() {
            let reply = self.runtime.block_on(self.engine.ask(command));
            app.handle(Input::Looked(reply));
        }
    }

    fn close(self) {
        self.runtime.block_on(async {
            self.engine.ask(Command::Stop { now: true }).await;
            self.engine.ended().await;
        });
    }
}

async fn start(path: &Path, config: &Path, data: &Path) -> Engine {
    let ledger = Ledger::open(path).expect("a ledger");
    let settings = vend::config::load::load(config).expect("settings");
    let place = Place {
        config: config.to_owned(),
        data: data.to_owned(),
        pace: None,
        timing: vend::nostr::Timing::default(),
    };
    let engine = Engine::start(ledger, Keys::generate(), settings, place);
    engine.await.expect("an engine")
}

fn tell(app: &mut App, kind: EventKind) {
    app.handle(Input::Event(Box::new(Event::now(kind))));
}

fn notice(number: usize) -> EventKind {
    EventKind::Notice {
        level: if number.is_multiple_of(9) {
            Level::Warn
        } else {
            Level::Info
        },
        category: "relay".to_owned(),
        message: format!("wss://relay.example: notice {number} of a long afternoon"),
    }
}

/// The newest job, with another status each time.
fn other(app: &App, turn: usize) -> Option<JobView> {
    let mut job = app.store.jobs.newest_first().next()?.clone();
    job.status = if turn.is_multiple_of(2) {
        Status::PendingPayment
    } else {
        Status::Paid
    };
    job.updated_at.0 += 1;
    Some(job)
}

fn change(app: &mut App, turn: usize) {
    if let Some(job) = other(app, turn) {
        let what = job.status.as_str().to_owned();
        tell(
            app,
            EventKind::Job {
                job: Box::new(job),
                what,
            },
        );
    }
}

/// Milliseconds of a frame over each ledger, with the change that calls for it. The frames take turns, so that a processor
/// that is slower for a while is so for all of them.
fn frames(shops: &[Shop], keys: &str, size: (u16, u16)) -> Vec<f64> {
    let (width, height) = size;
    let mut screens: Vec<_> = shops
        .iter()
        .map(|shop| {
            (
                shop.screen(keys, size),
                TerminalWriter::new(Counter::default()),
            )
        })
        .collect();
    let mut times = vec![Vec::with_capacity(FRAMES); shops.len()];
    for turn in 0..FRAMES {
        for ((app, page), times) in screens.iter_mut().zip(&mut times) {
            let began = Instant::now();
            change(app, turn);
            page.draw(app, width, height).expect("drawn");
            times.push(began.elapsed());
        }
    }
    let medians = times.into_iter().map(median);
    medians.map(|time| time.as_secs_f64() * 1e3).collect()
}

fn word(held: bool) -> &'static str {
    if held { "" } else { "MISSED" }
}

/// Bytes of the first frame, of one that looks the same, of a change in one row, and of a move of the selection.
fn bytes(size: (u16, u16)) {
    let shop = Shop::open(1_000);
    let (width, height) = size;
    let line = |what: &str, count: usize, most: usize| {
        println!(
            "{width}x{height} {what:<34} {count:>7} bytes  (at most {most}) {}",
            word(count <= most)
        );
    };
    for (name, keys) in SCREENS {
        let app = shop.screen(keys, size);
        let counter = Counter::default();
        let mut page = TerminalWriter::new(counter.clone());
        let mut draw = |app: &App| {
            page.draw(app, width, height).expect("drawn");
            counter.0.take()
        };
        line(&format!("first frame, {name}"), draw(&app), 12_000);
        line(&format!("nothing new, {name}"), draw(&app), 0);
    }
    let mut app = shop.screen("3", size);
    let counter = Counter::default();
    let mut page = TerminalWriter::new(counter.clone());
    let mut draw = |app: &App| {
        page.draw(app, width, height).expect("drawn");
        counter.0.take()
    };
    draw(&app);
    change(&mut app, 0);
    line("a job's change", draw(&app), 100);
    let mut down = |app: &mut App| {
        let key = KeyEvent::new(KeyCode::Char('j'), KeyModifiers::NONE);
        app.handle(Input::Key(key));
        shop.settle(app);
        draw(app)
    };
    down(&mut app);
    line("a move of the selection", down(&mut app), 600);
    shop.close();
}

fn main() {
    let most = std::env::var("VEND_BENCH_JOBS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_000_000);
    let ledgers = [1_000, most / 10, most];
    let shops = ledgers.map(Shop::open);
    println!(
        "{:<18} {:>7} {:>10} {:>10} {:>10} {:>6}",
        "ms a frame", "size", ledgers[0], ledgers[1], ledgers[2], "ratio"
    );
    for (name, keys) in SCREENS {
        for (width, height) in SIZES {
            let times = frames(&shops, keys, (width, height));
            let [few, some, many] = times[..] else {
                unreachable!("three ledgers")
            };
            let ratio = many / few;
            println!(
                "{name:<18} {:>7} {few:>10.3} {some:>10.3} {many:>10.3} {ratio:>6.2} {}",
                format!("{width}x{height}"),
                word(many <= MOST_MS && ratio <= MOST_RATIO)
            );
        }
    }
    shops.into_iter().for_each(Shop::close);
    for size in SIZES {
        bytes(size);
    }
}
