//! Text from strangers, made safe to show and to log.
//!
//! Whatever came over the network (prompts, model names, NOTICEs, a wallet's error) passes through [`clean`] before it
//! reaches a terminal, a log line or an error. It takes away what could move a cursor, colour a screen, reorder a line or
//! hide in it; it never changes what is stored or sent on. What goes to standard output passes through [`plain`] or
//! [`json`] as well, whoever wrote it.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar as _;

/// The most marks (accents) that stand on one character; more would reach over the lines above and below.
const MARKS_MAX: usize = 8;

/// Characters that steer a terminal or a line of text instead of showing something.
#[must_use]
pub fn is_hostile(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}'          // C0, DEL, C1 (ESC and CSI among them)
        | '\u{200b}'..='\u{200f}'                          // zero width, direction marks
        | '\u{2028}'..='\u{202e}'                          // line and paragraph separators, bidi overrides
        | '\u{2060}'..='\u{206f}'                          // invisible operators, bidi isolates
        | '\u{feff}' | '\u{fff0}'..='\u{fffb}'             // byte order mark, annotations
        | '\u{61c}' | '\u{ad}' | '\u{34f}'                 // Arabic letter mark, soft hyphen, grapheme joiner
        | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' // Hangul fillers
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' // Khmer vowels without a shape, Mongolian selectors
        | '\u{2800}'                                       // the braille pattern without a dot
        | '\u{fe00}'..='\u{fe0f}'                          // variation selectors
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' // shorthand and musical format controls
        | '\u{e0000}'..='\u{e0fff}') // tags, more selectors
}

/// Counts the marks on a character as a text goes by.
#[derive(Default)]
struct Marks(usize);

impl Marks {
    /// Is it one mark too many?
    fn too_many(&mut self, c: char) -> bool {
        // What is dropped or escaped stands between no two marks.
        if !is_hostile(c) {
            self.0 = if c.width() == Some(0) { self.0 + 1 } else { 0 };
        }
        self.0 > MARKS_MAX
    }
}

/// A text for standard output or standard error: its lines are kept, hostile characters and heaps of marks are not.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut marks = Marks::default();
    let shown = |c: &char| *c == '\n' || !is_hostile(*c);
    let kept = text.chars().filter(shown);
    kept.filter(|c| !marks.too_many(*c)).collect()
}

/// A JSON document in which every hostile character, and each mark of a heap, is written as an escape. They can only stand
/// in its texts, so it says the same as before.
#[must_use]
pub fn json(document: &str) -> String {
    let mut marks = Marks::default();
    let mut out = String::with_capacity(document.len());
    let mut units = [0; 2];
    for c in document.chars() {
        if c == '\n' || !(is_hostile(c) || marks.too_many(c)) {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut units) {
            // Writing to a text never fails.
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out
}

/// One line of at most `max` characters: hostile characters are dropped, white space becomes single blanks, and what was
/// cut off is marked by an ellipsis.
#[must_use]
pub fn clean(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max.saturating_mul(4)));
    let mut count = 0;
    let mut blank = false;
    let mut marks = Marks::default();
    for c in text.chars() {
        if c.is_whitespace() {
            blank = count > 0;
            continue;
        }
        if is_hostile(c) || marks.too_many(c) {
            continue;
        }
        let room = usize::from(blank) + 1;
        if count + room > max {
            // The mark takes the last place, so that the promise of `max` holds.
            if count == max {
                out.pop();
            }
            if max > 0 {
                out.push('…');
            }
            break;
        }
        if std::mem::take(&mut blank) {
            out.push(' ');
        }
        out.push(c);
        count += room;
    }
    out
}

/// The same text with its lines kept: for a detail view. Hostile characters other than the line feed are dropped.
#[must_use]
pub fn clean_lines(text: &str, max: usize) -> String {
    let mut marks = Marks::default();
    text.replace("\r\n", "\n")
        .replace('\t', "    ")
        .chars()
        .filter(|c| *c == '\n' || !is_hostile(*c))
        .filter(|c| !marks.too_many(*c))
        .take(max)
        .collect()
}

/// Cuts at a character boundary so that at most `bytes` bytes are left.
#[must_use]
pub fn cut_bytes(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escape_sequences_lose_their_teeth() {
        assert_eq!(clean("a\u{1b}[31mred\u{1b}[0m", 80), "a[31mred[0m");
        assert_eq!(clean("x\u{202e}evil\u{2066}", 80), "xevil");
        assert_eq!(clean("  two\r\n\tlines ", 80), "two lines");
    }

    #[test]
    fn long_text_is_cut_with_a_mark() {
        assert_eq!(clean("abcdef", 4), "abc…");
        assert_eq!(clean("ab", 2), "ab");
    }

    #[test]
    fn a_heap_of_marks_is_cut_and_an_accent_is_not() {
        let heap = format!("a{}b", "\u{300}".repeat(40));
        assert_eq!(clean(&heap, 80), format!("a{}b", "\u{300}".repeat(8)));
        assert_eq!(plain(&heap), clean(&heap, 80));
        assert_eq!(clean("e\u{301}te\u{301}", 80), "e\u{301}te\u{301}");
        // Hostile characters between the marks don't begin a new heap.
        let split = format!("a{}", "\u{300}\u{301}\u{302}\u{303}\u{200b}".repeat(10));
        assert!(plain(&split).chars().count() <= 9, "{:?}", plain(&split));
    }

    proptest! {
        #[test]
        fn json_says_the_same_and_holds_nothing_hostile(text in any::<String>()) {
            let document = serde_json::to_string_pretty(&[&text, "\u{9b}\u{202e}\u{3164}\u{e0041}"]).unwrap();
            let escaped = json(&document);
            prop_assert!(escaped.chars().all(|c| c == '\n' || !is_hostile(c)));
            let (before, after): (Vec<String>, Vec<String>) =
                (serde_json::from_str(&document).unwrap(), serde_json::from_str(&escaped).unwrap());
            prop_assert_eq!(before, after);
        }

        #[test]
        fn nothing_hostile_is_left(text in any::<String>(), max in 0_usize..64) {
            let cleaned = clean(&text, max);
            prop_assert!(cleaned.chars().all(|c| !is_hostile(c)));
            prop_assert!(cleaned.chars().count() <= max);
        }

        #[test]
        fn a_cut_never_splits_a_character(text in any::<String>(), bytes in 0_usize..64) {
            prop_assert!(cut_bytes(&text, bytes).len() <= bytes);
        }
    }
}
