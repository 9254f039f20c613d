//! A line of text that is typed: the keys of readline, in every field alike.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tui_input::{Input as Line, InputRequest};

/// What a key does to a line of at most `max` characters. False: it means nothing to a line.
pub fn press(line: &mut Line, key: &KeyEvent, max: usize) -> bool {
    let request = match (key.code, key.modifiers) {
        (KeyCode::Char(c), KeyModifiers::NONE | KeyModifiers::SHIFT) => {
            if line.value().chars().count() >= max {
                return true;
            }
            InputRequest::InsertChar(c)
        }
        (KeyCode::Char(c), KeyModifiers::CONTROL) => match c {
            'a' => InputRequest::GoToStart,
            'e' => InputRequest::GoToEnd,
            'b' => InputRequest::GoToPrevChar,
            'f' => InputRequest::GoToNextChar,
            'd' => InputRequest::DeleteNextChar,
            'h' => InputRequest::DeletePrevChar,
            'k' => InputRequest::DeleteTillEnd,
            'u' => InputRequest::DeleteFromStart,
            'w' => {
                rub_out_word(line);
                return true;
            }
            _ => return false,
        },
        (KeyCode::Backspace, KeyModifiers::NONE | KeyModifiers::SHIFT) => {
            InputRequest::DeletePrevChar
        }
        (KeyCode::Backspace, KeyModifiers::ALT | KeyModifiers::CONTROL) => {
            InputRequest::DeletePrevWord
        }
        (KeyCode::Delete, KeyModifiers::NONE) => InputRequest::DeleteNextChar,
        (KeyCode::Delete, KeyModifiers::CONTROL) => InputRequest::DeleteNextWord,
        (KeyCode::Left, KeyModifiers::NONE) => InputRequest::GoToPrevChar,
        (KeyCode::Right, KeyModifiers::NONE) => InputRequest::GoToNextChar,
        (KeyCode::Left, KeyModifiers::CONTROL | KeyModifiers::ALT) => InputRequest::GoToPrevWord,
        (KeyCode::Right, KeyModifiers::CONTROL | KeyModifiers::ALT) => InputRequest::GoToNextWord,
        (KeyCode::Home, KeyModifiers::NONE) => InputRequest::GoToStart,
        (KeyCode::End, KeyModifiers::NONE) => InputRequest::GoToEnd,
        _ => return false,
    };
    line.handle(request);
    true
}

/// Ctrl-W: back to the blank before the word, as readline does it, whatever signs the word holds.
fn rub_out_word(line: &mut Line) {
    let before = |line: &Line| line.value().chars().take(line.cursor()).last();
    for blank in [true, false] {
        while before(line).is_some_and(|c| c.is_whitespace() == blank) {
            line.handle(InputRequest::DeletePrevChar);
        }
    }
}

/// Puts a text where the cursor is, as far as there is room.
pub fn paste(line: &mut Line, text: &str, max: usize) {
    let room = max.saturating_sub(line.value().chars().count());
    for c in text.chars().take(room) {
        line.handle(InputRequest::InsertChar(c));
    }
}

/// The text with a mark where the cursor is.
#[must_use]
pub fn shown(line: &Line) -> String {
    let (mut text, at) = (String::new(), line.cursor());
    text.extend(line.value().chars().take(at));
    text.push('_');
    text.extend(line.value().chars().skip(at));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str, keys: &[(char, KeyModifiers)]) -> String {
        let mut line = Line::new(text.to_owned());
        for (c, with) in keys {
            press(&mut line, &KeyEvent::new(KeyCode::Char(*c), *with), 40);
        }
        shown(&line)
    }

    #[test]
    fn a_line_does_what_readline_does() {
        const C: KeyModifiers = KeyModifiers::CONTROL;
        const N: KeyModifiers = KeyModifiers::NONE;
        let text = "ws://one.example two-three";
        for (keys, wanted) in [
            (&[('w', C)][..], "ws://one.example _"),
            (&[('w', C), ('w', C)], "_"),
            (&[('u', C)], "_"),
            (&[('a', C), ('k', C)], "_"),
            (&[('a', C), ('x', N)], "x_ws://one.example two-three"),
            (&[('b', C), ('b', C), ('k', C)], "ws://one.example two-thr_"),
            (&[('b', C), ('b', C), ('u', C)], "_ee"),
            (
                &[('a', C), ('d', C), ('e', C)],
                "s://one.example two-three_",
            ),
            (&[('h', C)], "ws://one.example two-thre_"),
            // With control or alt a letter is no letter.
            (
                &[('o', C), ('j', KeyModifiers::ALT)],
                "ws://one.example two-three_",
            ),
        ] {
            assert_eq!(after(text, keys), wanted, "{keys:?}");
        }
    }

    #[test]
    fn a_full_line_takes_no_more() {
        let mut line = Line::new("abc".to_owned());
        press(&mut line, &KeyCode::Char('d').into(), 3);
        paste(&mut line, "efg", 5);
        assert_eq!(line.value(), "abcef");
    }
}
