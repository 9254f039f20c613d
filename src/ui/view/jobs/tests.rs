use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use proptest::prelude::*;
use ratatui::buffer::Buffer;
use ratatui::style::Color;

use super::columns::{Column, places};
use super::*;
use crate::domain::command::Reply;
use crate::domain::event::EventKind;
use crate::domain::id::RequestId;
use crate::domain::job::JobView;
use crate::ui::app::Input;
use crate::ui::sample::{busy, detail as whole, job, tell};
use crate::ui::view::draw as draw_screen;

/// The first example invoice of BOLT 11 that asks for an amount.
const INVOICE: &str = "lnbc2500u1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpu9qrsgquk0rl77nj30yxdy8j9vdx85fkpmdla2087ne0xh8nhedh8w27kyke0lp53ut353s06fv3qfegext0eh0ymjpf39tuven09sam30g4vgpfna3rh";

pub(super) const SIZES: [(u16, u16); 3] = [(60, 16), (80, 24), (200, 60)];

fn buffer(app: &App, (width, height): (u16, u16)) -> Buffer {
    let area = Rect::new(0, 0, width, height);
    let mut buf = Buffer::empty(area);
    draw_screen(app, area, &mut buf);
    buf
}

pub(super) fn text(app: &mut App, size: (u16, u16)) -> String {
    app.handle(Input::Size(size.0, size.1));
    let buf = buffer(app, size);
    let row = |y| -> String { (0..size.0).map(|x| buf[(x, y)].symbol()).collect() };
    let rows: Vec<String> = (0..size.1).map(|y| row(y).trim_end().to_owned()).collect();
    rows.join("\n")
}

pub(super) fn press(app: &mut App, code: KeyCode) {
    app.handle(Input::Key(KeyEvent::new(code, KeyModifiers::NONE)));
}

pub(super) fn keys(app: &mut App, keys: &str) {
    keys.chars().for_each(|c| press(app, KeyCode::Char(c)));
}

/// The Jobs tab with this job open and the engine's answer there.
fn opened(mut job: JobView) -> App {
    let mut app = busy();
    job.bolt11 = Some(INVOICE.to_owned());
    let id = job.id;
    let kind = EventKind::Job {
        job: Box::new(job.clone()),
        what: "accepted".to_owned(),
    };
    tell(&mut app, kind);
    keys(&mut app, "3");
    app.jobs.chosen = Some(id);
    press(&mut app, KeyCode::Enter);
    assert!(app.look().is_some());
    let detail = Box::new(whole(job));
    app.handle(Input::Looked(Reply::Job { detail }));
    app
}

fn payable() -> App {
    opened(job(6, Status::PendingPayment))
}

/// Where there is room, the chosen job stands beside the table; the prompt and the answer come before the invoice.
#[test]
fn the_chosen_job_stands_beside_a_wide_table() {
    let mut app = busy();
    app.handle(Input::Size(160, 50));
    keys(&mut app, "3");
    let asked = app.look();
    let Some(crate::domain::command::Command::Job { id }) = asked else {
        panic!("{asked:?}");
    };
    let chosen = app.jobs.chosen(&app.store).unwrap().clone();
    assert_eq!(chosen.id, id);
    let detail = Box::new(whole(chosen));
    app.handle(Input::Looked(Reply::Job { detail }));
    let shown = text(&mut app, (160, 50));
    let at = |words: &str| {
        shown
            .find(words)
            .unwrap_or_else(|| panic!("{words}:\n{shown}"))
    };
    assert!(at("Enter: alone") > 0 && at("time") > 0);
    assert!(
        at("the lighthouse") < at("ships come home") && at("ships come home") < at("payment hash")
    );
    // Below that width the table has the room.
    assert!(!text(&mut app, (159, 50)).contains("Enter: alone"));
}

/// Each order has a key, which turns it round when it is pressed again; the head marks the column.
#[test]
fn a_digit_orders_the_table_and_its_head_says_so() {
    let mut app = busy();
    keys(&mut app, "3");
    assert!(text(&mut app, (80, 24)).contains("time▼"));
    keys(&mut app, "6");
    assert!(text(&mut app, (80, 24)).contains("▼amount"));
    keys(&mut app, "6");
    assert!(text(&mut app, (80, 24)).contains("▲amount"));
    keys(&mut app, "7");
    assert!(text(&mut app, (80, 24)).contains("status▼"));
    keys(&mut app, "8");
    assert!(text(&mut app, (80, 24)).contains("▼tokens"));
    app.theme.ascii = true;
    assert!(text(&mut app, (80, 24)).contains("vtokens"));
    // The tabs keep theirs.
    keys(&mut app, "4");
    assert_eq!(app.tab, crate::ui::keymap::Tab::Telemetry);
}

/// What a filter can say is shown while it is typed, and Tab takes the first that fits.
#[test]
fn a_filter_is_completed_while_it_is_typed() {
    let mut app = busy();
    keys(&mut app, "3/sta");
    assert!(text(&mut app, (80, 24)).contains("Tab: status:"));
    press(&mut app, KeyCode::Tab);
    assert_eq!(app.line.value(), "status:");
    keys(&mut app, "unp");
    press(&mut app, KeyCode::Tab);
    assert_eq!(app.line.value(), "status:unpaid");
    press(&mut app, KeyCode::Enter);
    assert_eq!(app.jobs.query().filter, "status:unpaid");
}

#[test]
fn the_table_and_a_job_at_every_size() {
    let mut app = busy();
    let mut old = job(0, Status::Paid);
    old.created_at.0 -= 3 * 86_400_000;
    old.owed_to_buyer_msat = crate::domain::msat::Msat(1_500);
    old.model = Some("日本語-モデル:70b-instruct-q4_K_M".to_owned());
    tell(
        &mut app,
        EventKind::Job {
            job: Box::new(old),
            what: "paid".to_owned(),
        },
    );
    keys(&mut app, "3j");
    for size in SIZES {
        let name = format!("table_{}x{}", size.0, size.1);
        insta::assert_snapshot!(name, text(&mut app, size));
    }
    for size in SIZES {
        let mut app = payable();
        let name = format!("job_{}x{}", size.0, size.1);
        insta::assert_snapshot!(name, text(&mut app, size));
    }
}

#[test]
fn the_events_of_a_job_and_what_can_be_copied() {
    let mut app = payable();
    keys(&mut app, "e");
    insta::assert_snapshot!("events_80x24", text(&mut app, (80, 24)));
    keys(&mut app, "ey");
    insta::assert_snapshot!("copy_60x16", text(&mut app, (60, 16)));
}

#[test]
fn a_click_chooses_the_row_it_is_on() {
    use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
    let mut app = busy();
    app.screen.mouse = true;
    keys(&mut app, "3");
    let shown = text(&mut app, (80, 24));
    let row = shown
        .lines()
        .position(|line| line.contains("pending_payment"));
    let click = |row| {
        Input::Mouse(MouseEvent {
            kind: MouseEventKind::Down(MouseButton::Left),
            column: 5,
            row,
            modifiers: KeyModifiers::NONE,
        })
    };
    app.handle(click(u16::try_from(row.unwrap()).unwrap()));
    let chosen = |app: &App| app.jobs.chosen(&app.store).unwrap().status;
    assert_eq!(chosen(&app), Status::PendingPayment);
    // Neither the cards nor the empty rows below are one.
    app.handle(click(3));
    app.handle(click(20));
    assert_eq!(chosen(&app), Status::PendingPayment);
}

#[test]
fn a_filter_that_can_not_be_read_says_so_above_the_table() {
    let mut app = busy();
    keys(&mut app, "3/status:paid siz:3");
    let shown = text(&mut app, (80, 24));
    assert!(
        shown.contains("'siz' is no key: use status, model, buyer"),
        "{shown}"
    );
    // The word was looked for until the colon made it a key.
    let kept = "0 jobs by time, newest first, following, only status:paid siz ";
    assert!(shown.contains(kept), "{shown}");
}

#[test]
fn every_line_of_a_job_is_reached_and_no_further() {
    for size in SIZES {
        let mut app = payable();
        text(&mut app, size);
        let mut seen = text(&mut app, size);
        for _ in 0..200 {
            press(&mut app, KeyCode::Down);
            seen.push_str(&text(&mut app, size));
        }
        for part in ["11:06:46", "payable", "lighthouse", "ships come home"] {
            assert!(seen.contains(part), "{part} at {size:?}");
        }
        let end = text(&mut app, size);
        press(&mut app, KeyCode::End);
        assert_eq!(text(&mut app, size), end);
        // One key up is one line up: nothing was counted beyond the end.
        press(&mut app, KeyCode::Up);
        let moved = size.1 < 60;
        assert_eq!(text(&mut app, size) != end, moved, "{size:?}");
    }
}

/// What a camera would see: each cell as two by two pixels of a module, from what the cell shows and in which colours.
fn picture(buf: &Buffer) -> (usize, usize, Vec<bool>) {
    let (width, height) = (usize::from(buf.area.width), usize::from(buf.area.height));
    let mut dark = vec![true; width * 2 * height];
    for (index, cell) in buf.content.iter().enumerate() {
        let (x, y) = (index % width, index / width);
        let is_dark = |color| color != Color::White;
        let (ink, ground) = (is_dark(cell.fg), is_dark(cell.bg));
        let halves = match cell.symbol() {
            "█" => (ink, ink),
            "▀" => (ink, ground),
            "▄" => (ground, ink),
            _ => (ground, ground),
        };
        dark[2 * y * width + x] = halves.0;
        dark[(2 * y + 1) * width + x] = halves.1;
    }
    (width, 2 * height, dark)
}

/// Reads the code with `wide` by `high` pixels for each half of a cell.
fn scan(buf: &Buffer, wide: usize, high: usize) -> Option<String> {
    let (width, height, dark) = picture(buf);
    let fill = |x: usize, y: usize| {
        if dark[(y / high) * width + x / wide] {
            0
        } else {
            255
        }
    };
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(width * wide, height * high, fill);
    let grids = image.detect_grids();
    grids.first()?.decode().ok().map(|(_, text)| text)
}

#[test]
fn a_phone_reads_the_invoice_from_the_screen() {
    for color in [true, false] {
        // Beside the facts, and among them where the screen is narrow but high.
        for size in [(200, 60), (80, 60)] {
            let mut app = payable();
            app.theme.color = color;
            let mut seen = None;
            for _ in 0..60 {
                text(&mut app, size);
                seen = scan(&buffer(&app, size), 4, 4);
                if seen.is_some() {
                    break;
                }
                press(&mut app, KeyCode::Down);
            }
            assert_eq!(
                seen.as_deref(),
                Some(INVOICE.to_uppercase().as_str()),
                "{size:?}"
            );
        }
    }
}

#[test]
fn a_phone_reads_the_invoice_in_ascii_too() {
    let mut app = payable();
    app.theme.ascii = true;
    let size = (220, 90);
    assert!(text(&mut app, size).is_ascii());
    assert_eq!(
        scan(&buffer(&app, size), 2, 2).unwrap(),
        INVOICE.to_uppercase()
    );
}

#[test]
fn where_the_code_does_not_fit_the_size_it_needs_is_told_and_holds() {
    let mut app = payable();
    let shown = text(&mut app, (60, 16));
    press(&mut app, KeyCode::End);
    let mut shown = shown + &text(&mut app, (60, 16));
    for _ in 0..30 {
        press(&mut app, KeyCode::Up);
        shown.push_str(&text(&mut app, (60, 16)));
    }
    let (_, after) = shown.split_once("a QR code needs a terminal of ").unwrap();
    let (size, _) = after
        .split_once(|c: char| !c.is_ascii_digit() && c != 'x')
        .unwrap();
    let (width, height) = size.split_once('x').unwrap();
    let (width, height) = (width.parse().unwrap(), height.parse().unwrap());
    let has_code = |size| {
        let mut app = payable();
        (0..60).any(|_| {
            let shown = text(&mut app, size);
            let rows = shown.lines().filter(|line| line.contains(['▀', '▄']));
            let read = rows.count() > 20 && scan(&buffer(&app, size), 2, 2).is_some();
            press(&mut app, KeyCode::Down);
            read
        })
    };
    assert!(has_code((width, height)), "{width}x{height}");
    assert!(!has_code((width - 1, height)) && !has_code((width, height - 1)));
}

#[test]
fn an_invoice_that_nobody_should_pay_has_no_code() {
    for status in [
        Status::Paid,
        Status::Unpaid,
        Status::Cancelled,
        Status::Error,
    ] {
        let mut app = opened(job(6, status));
        assert!(!text(&mut app, (200, 60)).contains('▀'), "{status:?}");
    }
    let mut late = job(6, Status::PendingPayment);
    late.invoice_expires_at = Some(crate::domain::time::Time(0));
    let shown = text(&mut opened(late), (200, 60));
    assert!(!shown.contains('▀') && shown.contains("(expired)"));
}

/// A screen with one job whose model is this, and the row it is in.
fn with_model(model: &str, size: (u16, u16)) -> (Buffer, u16) {
    let mut app = busy();
    let mut strange = job(40, Status::Paid);
    strange.model = Some(model.to_owned());
    tell(
        &mut app,
        EventKind::Job {
            job: Box::new(strange),
            what: "paid".to_owned(),
        },
    );
    app.store.notice = None;
    keys(&mut app, "3j");
    (buffer(&app, size), 7)
}

fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[\u{1b}\u{7}\u{202e}\u{2066}\u{200d}\u{9b}\u{fe0f}\u{1f1e9}\u{1f468}\u{1f3fd}a日ｱe\u{301}\u{1100}\u{1161}#*1\u{20e3}]{0,90}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn a_strangers_text_stays_in_its_cell(model in hostile(), width in 60_u16..220, height in 16_u16..40) {
        let (plain, row) = with_model("m", (width, height));
        let (strange, _) = with_model(&model, (width, height));
        let table = beside(Rect::new(0, 0, width, height)).0.width;
        let cell = places(table - 2).into_iter().find(|place| place.column == Column::Model);
        for y in 0..height {
            // What stands beside a wide table is about the same job.
            for x in 0..table {
                let inside = cell.is_some_and(|cell| {
                    y == row && x > cell.x && x <= cell.x + cell.width
                });
                prop_assert!(inside || plain[(x, y)] == strange[(x, y)], "{x},{y} of {width}x{height}: {:?}", strange[(x, y)]);
            }
        }
    }

    #[test]
    fn a_strangers_text_can_not_leave_the_job_view(text_of in hostile(), width in 60_u16..220, height in 16_u16..60, raw in any::<bool>(), down in 0_usize..40) {
        let mut app = payable();
        let id = app.jobs.chosen.unwrap();
        let mut strange = whole(app.store.jobs.get(&id).unwrap().clone());
        strange.prompt = Some(text_of.clone());
        strange.answer = Some(text_of.clone());
        strange.request = Some(text_of.clone());
        strange.timeline[0].what.clone_from(&text_of);
        strange.timeline[1].detail.clone_from(&text_of);
        strange.seen_on.clone_from(&text_of);
        strange.endpoint = Some(text_of.clone());
        strange.events[0].json.clone_from(&text_of);
        strange.events[1].role.clone_from(&text_of);
        app.handle(Input::Size(width, height));
        // A newer word on the job makes the screen ask again.
        let mut newer = strange.job.clone();
        newer.updated_at.0 += 1;
        strange.job = newer.clone();
        tell(&mut app, EventKind::Job { job: Box::new(newer), what: "paid".to_owned() });
        prop_assert!(app.look().is_some());
        app.handle(Input::Looked(Reply::Job { detail: Box::new(strange) }));
        app.jobs.raw = raw;
        (0..down).for_each(|_| press(&mut app, KeyCode::Down));
        let buf = buffer(&app, (width, height));
        let edge = |x: u16, y: u16| buf[(x, y)].symbol().to_owned();
        let (top, bottom) = (2, height - 3);
        for y in top + 1..bottom {
            prop_assert_eq!(edge(0, y), "│");
            prop_assert_eq!(edge(width - 1, y), "│");
        }
        for cell in &buf.content {
            prop_assert!(cell.symbol().chars().all(|c| !crate::domain::text::is_hostile(c)));
        }
    }
}

#[test]
fn a_job_that_is_not_in_the_ledger_any_more_shows_what_is_known() {
    let mut app = busy();
    keys(&mut app, "3");
    press(&mut app, KeyCode::Enter);
    assert!(app.look().is_some());
    let detail = "no job has this id".to_owned();
    app.handle(Input::Looked(Reply::Refused { detail }));
    let shown = text(&mut app, (80, 40));
    assert!(shown.contains("no job has this id") && shown.contains("asking for its history"));
    assert_eq!(app.look(), None);
    assert_ne!(app.jobs.chosen, None::<RequestId>);
}
