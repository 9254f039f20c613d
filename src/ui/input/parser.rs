//! What a terminal sends, as keys, pastes and clicks. Answers to questions that another program asked are none of these.
//!
//! Pure: bytes and the time go in, events come out. Whatever arrives, in whatever pieces, the next key after a short silence
//! is heard.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};

use super::decode;

/// An escape byte that nothing follows for so long is the key Esc. A sequence that comes over a slow line may be cut here.
const ESCAPE: Duration = Duration::from_millis(100);
/// A sequence that nothing continues for so long is dropped.
const SEQUENCE: Duration = Duration::from_secs(1);
/// A string (DCS, OSC, APC, PM, SOS) that goes on for longer than this, or is longer than this, may end after a shorter silence.
const STRING_TIME: Duration = Duration::from_secs(5);
const STRING_MAX: usize = 1 << 20;
/// That silence: less than between the keys that a person presses.
const STRING_REST: Duration = Duration::from_millis(150);
/// A paste ends with its end mark and this silence: what follows the mark at once may belong to a text that holds the mark.
const PASTE_END: Duration = Duration::from_millis(80);
/// Where something followed the mark, the terminal's own mark is waited for so long.
const PASTE_TAIL: Duration = Duration::from_millis(500);
/// A paste without an end mark ends after this silence.
const PASTE_LOST: Duration = Duration::from_secs(2);
/// The most of a paste that is kept, bytes.
const PASTE_MAX: usize = 64 * 1024;
/// The longest parameters that mean anything, bytes; more are swallowed.
const PARAMS_MAX: usize = 64;

const PASTE_MARK: &[u8] = b"\x1b[201~";

/// Where in a sequence the input is.
#[derive(Debug)]
enum State {
    /// Between two of them.
    Ground,
    /// After ESC.
    Escape,
    /// Esc was told already, as what follows took too long. The rest of a sequence is still no row of keys.
    Told,
    /// After ESC O.
    Ss3,
    /// After ESC [: parameters so far.
    Csi(Vec<u8>),
    /// After ESC [ [: a function key of the Linux console.
    Console,
    /// After ESC [ M: three bytes of an old mouse report.
    Mouse(Vec<u8>),
    /// In a string, up to ST or BEL.
    String(Str),
    /// In a character of several bytes.
    Utf8 {
        bytes: Vec<u8>,
        length: usize,
        alt: bool,
    },
    /// In a paste.
    Paste(Paste),
}

#[derive(Debug)]
struct Str {
    began: Instant,
    bytes: usize,
    /// The last byte was ESC.
    escape: bool,
    /// It began with a byte above 0x7f, so it may end with one. In another string that byte may be a part of a character.
    eight_bit: bool,
}

#[derive(Debug, Default)]
struct Paste {
    text: Vec<u8>,
    /// What came after the last end mark; none before the first.
    tail: Option<Vec<u8>>,
    /// So many bytes of an end mark are there.
    matched: usize,
}

impl Paste {
    fn push(&mut self, byte: u8) {
        if byte == PASTE_MARK[self.matched] {
            self.matched += 1;
        } else {
            self.keep(self.matched);
            if byte == PASTE_MARK[0] {
                self.matched = 1;
            } else {
                let place = self.tail.as_mut().unwrap_or(&mut self.text);
                add(place, &[byte]);
            }
        }
        if self.matched == PASTE_MARK.len() {
            self.matched = 0;
            // The mark before was a part of the text.
            if let Some(tail) = self.tail.replace(Vec::new()) {
                add(&mut self.text, PASTE_MARK);
                add(&mut self.text, &tail);
            }
        }
    }

    /// The beginning of an end mark was text.
    fn keep(&mut self, count: usize) {
        let place = self.tail.as_mut().unwrap_or(&mut self.text);
        add(place, &PASTE_MARK[..count]);
        self.matched = 0;
    }
}

fn add(place: &mut Vec<u8>, bytes: &[u8]) {
    let room = PASTE_MAX.saturating_sub(place.len());
    place.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// The parser.
#[derive(Debug)]
pub struct Parser {
    state: State,
    /// When the last byte came.
    last: Instant,
    events: VecDeque<Event>,
}

impl Parser {
    /// One that has seen nothing.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            state: State::Ground,
            last: now,
            events: VecDeque::new(),
        }
    }

    /// The next event.
    pub fn pop(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Takes in what has been read.
    pub fn advance(&mut self, bytes: &[u8], now: Instant) {
        for byte in bytes {
            self.byte(*byte, now);
        }
        self.last = now;
    }

    /// When the silence itself means something; none where it does not.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let silence = match &self.state {
            State::Ground => return None,
            State::Escape => ESCAPE,
            State::String(string) => {
                let long = self.last.duration_since(string.began) > STRING_TIME;
                if long || string.bytes > STRING_MAX {
                    STRING_REST
                } else {
                    SEQUENCE
                }
            }
            State::Paste(paste) => match &paste.tail {
                None => PASTE_LOST,
                Some(tail) if tail.is_empty() && paste.matched == 0 => PASTE_END,
                Some(_) => PASTE_TAIL,
            },
            _ => SEQUENCE,
        };
        Some(self.last + silence)
    }

    /// Nothing came up to now.
    pub fn lapse(&mut self, now: Instant) {
        if self.due().is_none_or(|due| now < due) {
            return;
        }
        match std::mem::replace(&mut self.state, State::Ground) {
            State::Escape => {
                self.key(KeyCode::Esc, KeyModifiers::NONE);
                self.state = State::Told;
                // Its own time begins now.
                self.last = now;
            }
            State::Ss3 => self.key(KeyCode::Char('O'), KeyModifiers::ALT | KeyModifiers::SHIFT),
            State::Paste(mut paste) => {
                paste.keep(paste.matched);
                let text = String::from_utf8_lossy(&paste.text).into_owned();
                self.events.push_back(Event::Paste(text));
                // No other mark came, so these were keys.
                self.advance(&paste.tail.unwrap_or_default(), now);
            }
            _ => {}
        }
    }

    fn key(&mut self, code: KeyCode, modifiers: KeyModifiers) {
        self.events
            .push_back(Event::Key(KeyEvent::new(code, modifiers)));
    }

    fn byte(&mut self, byte: u8, now: Instant) {
        match std::mem::replace(&mut self.state, State::Ground) {
            State::Escape => self.escape(byte, now),
            State::Told if matches!(byte, b'[' | b']' | b'P' | b'_' | b'^') => {
                self.escape(byte, now);
            }
            State::Ground | State::Told => self.ground(byte, false, now),
            State::Ss3 => match byte {
                b'0'..=b'9' | b';' => self.state = State::Ss3,
                0x20..=0x7e => self.events.extend(decode::ss3(byte)),
                _ => self.ground(byte, false, now),
            },
            State::Csi(params) => self.csi(params, byte, now),
            State::Console => match byte {
                0x20..=0x7e => self.events.extend(decode::console(byte)),
                _ => self.ground(byte, false, now),
            },
            State::Mouse(mut bytes) => {
                bytes.push(byte);
                match <[u8; 3]>::try_from(bytes.as_slice()) {
                    Ok(three) => self.events.extend(decode::old_mouse(three)),
                    Err(_) => self.state = State::Mouse(bytes),
                }
            }
            State::String(string) => self.string(string, byte, now),
            State::Utf8 { bytes, length, alt } => self.utf8(bytes, length, alt, byte, now),
            State::Paste(mut paste) => {
                paste.push(byte);
                self.state = State::Paste(paste);
            }
        }
    }

    fn ground(&mut self, byte: u8, alt: bool, now: Instant) {
        let with = if alt {
            KeyModifiers::ALT
        } else {
            KeyModifiers::NONE
        };
        match byte {
            0x1b => self.state = State::Escape,
            0x20..=0x7e => self.character(char::from(byte), with),
            0..=0x1f | 0x7f => {
                let key = decode::control(byte);
                self.key(key.code, key.modifiers | with);
            }
            // Controls of one byte above 0x7f: no character begins with them.
            0x8f => self.state = State::Ss3,
            0x9b => self.state = State::Csi(Vec::new()),
            0x90 | 0x98 | 0x9d..=0x9f => self.begin_string(true, now),
            0x80..=0xbf | 0xf8.. => {}
            0xc0..=0xf7 => {
                let length = match byte {
                    0xc0..=0xdf => 2,
                    0xe0..=0xef => 3,
                    _ => 4,
                };
                self.state = State::Utf8 {
                    bytes: vec![byte],
                    length,
                    alt,
                };
            }
        }
    }

    fn character(&mut self, c: char, with: KeyModifiers) {
        if c.is_control() {
            return;
        }
        let shift = if c.is_uppercase() {
            KeyModifiers::SHIFT
        } else {
            KeyModifiers::NONE
        };
        self.key(KeyCode::Char(c), with | shift);
    }

    fn escape(&mut self, byte: u8, now: Instant) {
        match byte {
            b'[' => self.state = State::Csi(Vec::new()),
            b'O' => self.state = State::Ss3,
            b'P' | b']' | b'_' | b'^' | b'X' => self.begin_string(false, now),
            // The end of a string whose beginning somebody else has read.
            b'\\' => {}
            0x1b => {
                self.key(KeyCode::Esc, KeyModifiers::NONE);
                self.state = State::Escape;
            }
            _ => self.ground(byte, true, now),
        }
    }

    fn begin_string(&mut self, eight_bit: bool, now: Instant) {
        self.state = State::String(Str {
            began: now,
            bytes: 0,
            escape: false,
            eight_bit,
        });
    }

    fn string(&mut self, mut string: Str, byte: u8, now: Instant) {
        if string.escape && byte != b'\\' {
            // A new sequence: the string has lost its end.
            return self.escape(byte, now);
        }
        match byte {
            b'\\' if string.escape => {}
            // BEL ends it; CAN and SUB break it off.
            0x07 | 0x18 | 0x1a => {}
            0x9c if string.eight_bit => {}
            _ => {
                string.escape = byte == 0x1b;
                string.bytes = string.bytes.saturating_add(1);
                self.state = State::String(string);
            }
        }
    }

    fn csi(&mut self, mut params: Vec<u8>, byte: u8, now: Instant) {
        match byte {
            // rxvt's shifted keys end with what is elsewhere in the middle of a report.
            b'$' if !params.is_empty() && params.iter().all(u8::is_ascii_digit) => {
                self.events.extend(decode::csi(&params, b'$'));
            }
            0x20..=0x3f => {
                if params.len() < PARAMS_MAX {
                    params.push(byte);
                }
                self.state = State::Csi(params);
            }
            b'[' if params.is_empty() => self.state = State::Console,
            b'M' if params.is_empty() => self.state = State::Mouse(Vec::new()),
            b'~' if params == b"200" => self.state = State::Paste(Paste::default()),
            // Cut off, so it is none that means anything.
            0x40..=0x7e if params.len() >= PARAMS_MAX => {}
            0x40..=0x7e => self.events.extend(decode::csi(&params, byte)),
            // Not a part of a sequence: it was broken off.
            _ => self.ground(byte, false, now),
        }
    }

    fn utf8(&mut self, mut bytes: Vec<u8>, length: usize, alt: bool, byte: u8, now: Instant) {
        if !matches!(byte, 0x80..=0xbf) {
            return self.ground(byte, false, now);
        }
        bytes.push(byte);
        if bytes.len() < length {
            self.state = State::Utf8 { bytes, length, alt };
            return;
        }
        let with = if alt {
            KeyModifiers::ALT
        } else {
            KeyModifiers::NONE
        };
        if let Some(c) = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.chars().next())
        {
            self.character(c, with);
        }
    }
}
