use std::time::{Duration, Instant};

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers, MouseEventKind};
use proptest::prelude::*;

use super::Parser;

const NONE: KeyModifiers = KeyModifiers::NONE;

/// What comes of pieces, each with the silence before it, in milliseconds.
fn heard(pieces: &[(u64, &[u8])]) -> Vec<Event> {
    let mut now = Instant::now();
    let mut parser = Parser::new(now);
    let mut events = Vec::new();
    for (silence, bytes) in pieces {
        let until = now + Duration::from_millis(*silence);
        while let Some(due) = parser.due().filter(|due| *due <= until) {
            now = due;
            parser.lapse(now);
        }
        now = until;
        parser.advance(bytes, now);
        events.extend(std::iter::from_fn(|| parser.pop()));
    }
    now += Duration::from_secs(10);
    while parser.due().is_some() {
        parser.lapse(now);
        now += Duration::from_secs(10);
    }
    events.extend(std::iter::from_fn(|| parser.pop()));
    events
}

fn at_once(bytes: &[u8]) -> Vec<Event> {
    heard(&[(0, bytes)])
}

fn key(code: KeyCode, with: KeyModifiers) -> Event {
    Event::Key(KeyEvent::new(code, with))
}

fn letter(c: char) -> Event {
    key(KeyCode::Char(c), NONE)
}

/// What terminals answer to questions: of the field cases, and of the manuals.
const ANSWERS: [&[u8]; 31] = [
    b"\x1bP>|foot(1.16.2)\x1b\\",
    b"\x1b]11;rgb:1e1e/1e1e/2e2e\x1b\\",
    b"\x1b]11;rgb:1e1e/1e1e/2e2e\x07",
    b"\x1b[>41;354;0c",
    b"\x1b_Gi=31;OK\x1b\\",
    b"\x1b]52;c;aGVsbG8=\x07",
    b"\x1b[?2026;2$y",
    b"\x1b[?997;1n",
    b"\x1b[?62;4;22c",
    b"\x1b[=1;2;3c",
    b"\x1b[?1u",
    b"\x1b[?1;0;256S",
    b"\x1b[?6c",
    b"\x1b[12;40R",
    b"\x1b[?12;40;1R",
    b"\x1b[0n",
    b"\x1b[3;4$y",
    b"\x1b[8;24;80t",
    b"\x1b[4;600;800t",
    b"\x1b[48;24;80;600;800t",
    b"\x1bP1+r544e=787465726d\x1b\\",
    b"\x1bP1$r0m\x1b\\",
    b"\x1bP!|7E565445\x1b\\",
    b"\x1bXany\x1b\\",
    b"\x1b^private\x1b\\",
    b"\x1b]4;1;rgb:ffff/0000/0000\x1b\\",
    b"\x1b]lwindow title q\x1b\\",
    b"\x1b]L\x1b\\",
    b"\x1b[?31337;0;1$x",
    b"\x1b\\",
    b"\x1b[>0;95;0q",
];

#[test]
fn no_answer_of_a_terminal_is_a_key_wherever_it_is_cut() {
    for answer in ANSWERS {
        assert_eq!(at_once(answer), [], "{answer:?}");
        for cut in 1..answer.len() {
            // After the escape byte alone a longer silence is the key Esc; elsewhere the rest may take its time.
            let silence = if cut == 1 { 90 } else { 900 };
            let (one, other) = answer.split_at(cut);
            let got = heard(&[(0, one), (silence, other), (50, b"x")]);
            assert_eq!(got, [letter('x')], "{answer:?} at {cut}");
        }
        let bytes: Vec<(u64, &[u8])> = answer.chunks(1).map(|byte| (60, byte)).collect();
        assert_eq!(heard(&bytes), [], "{answer:?} byte by byte");
    }
}

#[test]
fn an_answer_that_is_late_after_its_escape_is_no_row_of_keys() {
    for answer in ANSWERS
        .iter()
        .filter(|answer| !matches!(answer[1], b'X' | b'\\'))
    {
        let got = heard(&[(0, b"\x1b"), (600, &answer[1..]), (50, b"x")]);
        assert_eq!(got, [key(KeyCode::Esc, NONE), letter('x')], "{answer:?}");
    }
}

#[test]
fn a_string_without_an_end_lets_the_next_key_through() {
    for begun in [
        &b"\x1b]52;c;aGVs"[..],
        b"\x1bP>|foot",
        b"\x1b_G",
        b"\x1b[?2026;2",
        b"\x1b[<0;1",
    ] {
        assert_eq!(heard(&[(0, begun), (1_500, b"x")]), [letter('x')]);
        // A key that begins with an escape byte ends it at once.
        let got = heard(&[(0, begun), (50, b"\x1b[Ax")]);
        assert_eq!(got, [key(KeyCode::Up, NONE), letter('x')], "{begun:?}");
    }
    // One that never rests and never ends: deaf only for as long as it goes on.
    let mut pieces: Vec<(u64, &[u8])> = vec![(0, b"\x1b]")];
    pieces.extend(std::iter::repeat_n((100, &b"rubbish"[..]), 80));
    pieces.push((200, b"x"));
    assert_eq!(heard(&pieces), [letter('x')]);
    let long = vec![b'a'; 3 << 20];
    let got = heard(&[(0, b"\x1bP"), (0, &long), (200, b"x")]);
    assert_eq!(got, [letter('x')]);
}

#[test]
fn keys_are_what_they_were() {
    let ctrl = |c| key(KeyCode::Char(c), KeyModifiers::CONTROL);
    let table: [(&[u8], Event); 40] = [
        (b"j", letter('j')),
        (b"G", key(KeyCode::Char('G'), KeyModifiers::SHIFT)),
        ("é".as_bytes(), letter('é')),
        ("漢".as_bytes(), letter('漢')),
        (b"\r", key(KeyCode::Enter, NONE)),
        (b"\n", ctrl('j')),
        (b"\t", key(KeyCode::Tab, NONE)),
        (b"\x7f", key(KeyCode::Backspace, NONE)),
        (b"\x03", ctrl('c')),
        (b"\x0c", ctrl('l')),
        (b"\x1a", ctrl('z')),
        (b"\0", ctrl(' ')),
        (b"\x1c", ctrl('4')),
        (b"\x1b", key(KeyCode::Esc, NONE)),
        (b"\x1bj", key(KeyCode::Char('j'), KeyModifiers::ALT)),
        (
            "\x1bé".as_bytes(),
            key(KeyCode::Char('é'), KeyModifiers::ALT),
        ),
        (b"\x1b\x7f", key(KeyCode::Backspace, KeyModifiers::ALT)),
        (b"\x1b[A", key(KeyCode::Up, NONE)),
        (b"\x1bOA", key(KeyCode::Up, NONE)),
        (b"\x1b[1;5C", key(KeyCode::Right, KeyModifiers::CONTROL)),
        (b"\x1b[1;3D", key(KeyCode::Left, KeyModifiers::ALT)),
        (b"\x1b[H", key(KeyCode::Home, NONE)),
        (b"\x1b[F", key(KeyCode::End, NONE)),
        (b"\x1b[5~", key(KeyCode::PageUp, NONE)),
        (b"\x1b[6~", key(KeyCode::PageDown, NONE)),
        (b"\x1b[3;5~", key(KeyCode::Delete, KeyModifiers::CONTROL)),
        (b"\x1b[Z", key(KeyCode::BackTab, KeyModifiers::SHIFT)),
        (b"\x1b[15~", key(KeyCode::F(5), NONE)),
        (b"\x1b[24~", key(KeyCode::F(12), NONE)),
        (b"\x1bOP", key(KeyCode::F(1), NONE)),
        (b"\x1b[[A", key(KeyCode::F(1), NONE)),
        (b"\x1bOM", key(KeyCode::Enter, NONE)),
        (b"\x1bOj", letter('*')),
        (b"\x1b[3$", key(KeyCode::Delete, KeyModifiers::SHIFT)),
        (b"\x1b[5^", key(KeyCode::PageUp, KeyModifiers::CONTROL)),
        (b"\x1b[106;5u", ctrl('j')),
        (b"\x1b[27;5;106~", ctrl('j')),
        (b"\x1b[27u", key(KeyCode::Esc, NONE)),
        (b"\x1b[R", key(KeyCode::F(3), NONE)),
        (b"\x9b6~", key(KeyCode::PageDown, NONE)),
    ];
    for (bytes, wanted) in table {
        assert_eq!(at_once(bytes), std::slice::from_ref(&wanted), "{bytes:?}");
        if bytes.len() > 2 {
            let pieces: Vec<(u64, &[u8])> = bytes.chunks(1).map(|byte| (40, byte)).collect();
            assert_eq!(heard(&pieces), [wanted], "{bytes:?} byte by byte");
        }
    }
    let twice = [key(KeyCode::Esc, NONE), key(KeyCode::Up, NONE)];
    assert_eq!(at_once(b"\x1b\x1b[A"), twice);
}

#[test]
fn clicks_are_heard_in_each_way_of_telling_them() {
    for (bytes, kind, place) in [
        (&b"\x1b[<0;10;5M"[..], "Down(Left)", (9, 4)),
        (b"\x1b[<0;10;5m", "Up(Left)", (9, 4)),
        (b"\x1b[<65;300;200M", "ScrollDown", (299, 199)),
        (b"\x1b[<34;2;3M", "Drag(Right)", (1, 2)),
        (b"\x1b[M !!", "Down(Left)", (0, 0)),
        (b"\x1b[32;7;8M", "Down(Left)", (6, 7)),
    ] {
        let got = at_once(bytes);
        let [Event::Mouse(mouse)] = got.as_slice() else {
            panic!("{bytes:?}: {got:?}");
        };
        assert_eq!(format!("{:?}", mouse.kind), kind);
        assert_eq!((mouse.column, mouse.row), place);
    }
    assert_eq!(at_once(b"\x1b[<0;0;0M"), []);
    assert!(
        !matches!(at_once(b"\x1b[<99;1;1M").as_slice(), [Event::Mouse(m)] if m.kind == MouseEventKind::Down(crossterm::event::MouseButton::Left))
    );
}

#[test]
fn a_paste_presses_no_key_whatever_it_holds() {
    let pasted = |text: &str| Event::Paste(text.to_owned());
    assert_eq!(at_once(b"\x1b[200~a q\r\x1b[201~"), [pasted("a q\r")]);
    // Its own end mark, and a beginning, are text.
    let got = at_once(b"\x1b[200~a\x1b[201~qo\x1b[200~b\x1b[201~");
    assert_eq!(got, [pasted("a\u{1b}[201~qo\u{1b}[200~b")]);
    // Cut anywhere, as a slow line does it.
    let all = b"\x1b[200~a\x1b[201~q\x1b[201~";
    for cut in 6..all.len() {
        let got = heard(&[(0, &all[..cut]), (70, &all[cut..])]);
        assert_eq!(got, [pasted("a\u{1b}[201~q")], "at {cut}");
    }
    // Keys after it are keys again, at once or later.
    let got = heard(&[(0, b"\x1b[200~a\x1b[201~"), (100, b"q")]);
    assert_eq!(got, [pasted("a"), letter('q')]);
    assert_eq!(
        at_once(b"\x1b[200~a\x1b[201~\r"),
        [pasted("a"), key(KeyCode::Enter, NONE)]
    );
    // Without an end it ends by itself, and a long one is cut.
    let got = heard(&[(0, b"\x1b[200~a\x1b[20"), (2_500, b"q")]);
    assert_eq!(got, [pasted("a\u{1b}[20"), letter('q')]);
    let mut long = b"\x1b[200~".to_vec();
    long.extend(vec![b'a'; 1 << 20]);
    long.extend(b"\x1b[201~");
    let got = at_once(&long);
    assert!(matches!(got.as_slice(), [Event::Paste(text)] if text.len() == 64 * 1024));
}

proptest! {
    /// Whatever arrived before, a key after a silence is heard, and as that key.
    #[test]
    fn nothing_deafens(pieces in prop::collection::vec((0_u64..3_000, prop::collection::vec(any::<u8>(), 0..12)), 0..20)) {
        let mut all: Vec<(u64, &[u8])> = pieces.iter().map(|(silence, bytes)| (*silence, bytes.as_slice())).collect();
        all.push((2_500, b"x"));
        let got = heard(&all);
        prop_assert_eq!(got.last(), Some(&letter('x')));
    }

    /// Answers in any order, cut anywhere, between keys: only the keys are heard.
    #[test]
    fn answers_between_keys_change_nothing(order in prop::collection::vec((0_usize..ANSWERS.len(), 0_usize..40, 0_u64..80), 1..12)) {
        let mut pieces: Vec<(u64, &[u8])> = Vec::new();
        for (answer, cut, silence) in &order {
            let (one, other) = ANSWERS[*answer].split_at((*cut).min(ANSWERS[*answer].len()));
            pieces.extend([(*silence, one), (*silence, other), (*silence, b"k")]);
        }
        let got = heard(&pieces);
        prop_assert_eq!(got, vec![letter('k'); order.len()]);
    }
}
