//! What a whole sequence means; none where it is no key, click or change of focus.

use crossterm::event::{
    Event, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};

fn key(code: KeyCode, modifiers: KeyModifiers) -> Event {
    Event::Key(KeyEvent::new(code, modifiers))
}

/// A control character by itself.
pub fn control(byte: u8) -> KeyEvent {
    let ctrl = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
    match byte {
        b'\r' => KeyCode::Enter.into(),
        b'\t' => KeyCode::Tab.into(),
        0x7f => KeyCode::Backspace.into(),
        0x1b => KeyCode::Esc.into(),
        0 => ctrl(' '),
        1..=0x1a => ctrl(char::from(byte - 1 + b'a')),
        _ => ctrl(char::from(byte.saturating_sub(0x1c) + b'4')),
    }
}

/// After ESC O.
pub fn ss3(last: u8) -> Option<Event> {
    let code = match last {
        b'M' => KeyCode::Enter,
        b'A'..=b'D' | b'F' | b'H' | b'P'..=b'S' => letter(last)?,
        // The keypad, as digits and signs.
        b'j'..=b'y' => KeyCode::Char(char::from(last - 0x40)),
        _ => return None,
    };
    Some(key(code, KeyModifiers::NONE))
}

/// After ESC [ [.
pub fn console(last: u8) -> Option<Event> {
    matches!(last, b'A'..=b'E').then(|| key(KeyCode::F(last - b'A' + 1), KeyModifiers::NONE))
}

const fn letter(last: u8) -> Option<KeyCode> {
    Some(match last {
        b'A' => KeyCode::Up,
        b'B' => KeyCode::Down,
        b'C' => KeyCode::Right,
        b'D' => KeyCode::Left,
        b'F' => KeyCode::End,
        b'H' => KeyCode::Home,
        b'P' => KeyCode::F(1),
        b'Q' => KeyCode::F(2),
        b'R' => KeyCode::F(3),
        b'S' => KeyCode::F(4),
        _ => return None,
    })
}

fn numbered(number: u32) -> Option<KeyCode> {
    let f = |first: u32, name: u32| u8::try_from(number - first + name).ok().map(KeyCode::F);
    match number {
        1 | 7 => Some(KeyCode::Home),
        2 => Some(KeyCode::Insert),
        3 => Some(KeyCode::Delete),
        4 | 8 => Some(KeyCode::End),
        5 => Some(KeyCode::PageUp),
        6 => Some(KeyCode::PageDown),
        11..=15 => f(11, 1),
        17..=21 => f(17, 6),
        23..=26 => f(23, 11),
        28..=29 => f(28, 15),
        31..=34 => f(31, 17),
        _ => None,
    }
}

/// A key by its code point, as CSI u and xterm's `modifyOtherKeys` tell it.
fn coded(code: u32, mut modifiers: KeyModifiers) -> Option<Event> {
    let code = match code {
        8 | 127 => KeyCode::Backspace,
        9 if modifiers.contains(KeyModifiers::SHIFT) => KeyCode::BackTab,
        9 => KeyCode::Tab,
        13 => KeyCode::Enter,
        27 => KeyCode::Esc,
        // Keys of the kitty protocol, which is never asked for.
        0xe000..=0xf8ff => return None,
        code => {
            let c = char::from_u32(code).filter(|c| !c.is_control())?;
            if c.is_uppercase() {
                modifiers |= KeyModifiers::SHIFT;
            }
            KeyCode::Char(c)
        }
    };
    Some(key(code, modifiers))
}

fn modifiers(mask: u32) -> KeyModifiers {
    let bits = mask.saturating_sub(1);
    let mut all = KeyModifiers::NONE;
    for (bit, modifier) in [
        (1, KeyModifiers::SHIFT),
        (2, KeyModifiers::ALT),
        (4, KeyModifiers::CONTROL),
        (8, KeyModifiers::SUPER),
        (16, KeyModifiers::HYPER),
        (32, KeyModifiers::META),
    ] {
        if bits & bit != 0 {
            all |= modifier;
        }
    }
    all
}

/// A sequence after ESC [ with its last byte. Whatever is private, or holds a byte between parameters and the last one, is
/// an answer to a question: mode reports, attributes, colour schemes, sizes.
pub fn csi(params: &[u8], last: u8) -> Option<Event> {
    if let Some(mouse) = params.strip_prefix(b"<") {
        return sgr_mouse(mouse, last);
    }
    let plain = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b';' | b':');
    if !params.iter().all(plain) {
        return None;
    }
    let text = std::str::from_utf8(params).ok()?;
    let mut parts = text.split(';');
    let number = |part: &str| match part.split(':').next() {
        None | Some("") => Some(0),
        Some(digits) => digits.parse::<u32>().ok(),
    };
    let first = number(parts.next().unwrap_or_default())?;
    let second = parts.next().unwrap_or_default();
    let with = modifiers(number(second)?);
    let third = parts.next().map(number);
    // The third kind of a key's event is its release.
    if parts.next().is_some() || second.split(':').nth(1) == Some("3") {
        return None;
    }
    if last == b'M' {
        let (x, y) = (number(second)?, third??);
        return mouse(first.checked_sub(32)?, x, y, false);
    }
    if last == b'~' && first == 27 {
        return coded(third??, with);
    }
    if third.is_some() {
        return None;
    }
    match last {
        b'Z' => Some(key(KeyCode::BackTab, KeyModifiers::SHIFT)),
        b'I' if text.is_empty() => Some(Event::FocusGained),
        b'O' if text.is_empty() => Some(Event::FocusLost),
        // With parameters it is where the cursor is.
        b'R' if !text.is_empty() => None,
        b'A'..=b'D' | b'F' | b'H' | b'P'..=b'S' if first <= 1 => {
            letter(last).map(|code| key(code, with))
        }
        b'~' => numbered(first).map(|code| key(code, with)),
        // rxvt's way to say shift, control, and both.
        b'$' => numbered(first).map(|code| key(code, KeyModifiers::SHIFT)),
        b'^' => numbered(first).map(|code| key(code, KeyModifiers::CONTROL)),
        b'@' => numbered(first).map(|code| key(code, KeyModifiers::CONTROL | KeyModifiers::SHIFT)),
        b'u' if !text.is_empty() => coded(first, with),
        _ => None,
    }
}

/// The three bytes after ESC [ M.
pub fn old_mouse([button, x, y]: [u8; 3]) -> Option<Event> {
    let from = |byte: u8| byte.checked_sub(32).map(u32::from);
    mouse(from(button)?, from(x)?, from(y)?, false)
}

fn sgr_mouse(params: &[u8], last: u8) -> Option<Event> {
    if !matches!(last, b'M' | b'm') {
        return None;
    }
    let text = std::str::from_utf8(params).ok()?;
    let mut parts = text.split(';').map(|part| part.parse::<u32>().ok());
    let (button, x, y) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() {
        return None;
    }
    mouse(button, x, y, last == b'm')
}

/// A mouse report; columns and rows count from 1 in it.
fn mouse(button: u32, x: u32, y: u32, released: bool) -> Option<Event> {
    let number = (button & 0b11) | ((button & 0b1100_0000) >> 4);
    let dragged = button & 0b10_0000 != 0;
    let of = |number| match number {
        0 => MouseButton::Left,
        1 => MouseButton::Middle,
        _ => MouseButton::Right,
    };
    let kind = match (number, dragged) {
        (0..=2, false) if released => MouseEventKind::Up(of(number)),
        (0..=2, false) => MouseEventKind::Down(of(number)),
        (0..=2, true) => MouseEventKind::Drag(of(number)),
        (3, false) => MouseEventKind::Up(MouseButton::Left),
        (3..=5, true) => MouseEventKind::Moved,
        (4, false) => MouseEventKind::ScrollUp,
        (5, false) => MouseEventKind::ScrollDown,
        (6, false) => MouseEventKind::ScrollLeft,
        (7, false) => MouseEventKind::ScrollRight,
        _ => return None,
    };
    let mut modifiers = KeyModifiers::NONE;
    for (bit, modifier) in [
        (4, KeyModifiers::SHIFT),
        (8, KeyModifiers::ALT),
        (16, KeyModifiers::CONTROL),
    ] {
        if button & bit != 0 {
            modifiers |= modifier;
        }
    }
    Some(Event::Mouse(MouseEvent {
        kind,
        column: u16::try_from(x).ok()?.checked_sub(1)?,
        row: u16::try_from(y).ok()?.checked_sub(1)?,
        modifiers,
    }))
}
