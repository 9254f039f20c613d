//! Text from strangers, made safe to show and to log.
//!
//! Whatever came over the network (prompts, model names, NOTICEs, a wallet's error) passes through [`clean`] before it
//! reaches a terminal, a log line or an error. It takes away what could move a cursor, colour a screen, reorder a line or
//! hide in it; it never changes what is stored or sent on.

/// Characters that steer a terminal or a line of text instead of showing something.
#[must_use]
pub fn is_hostile(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}'          // C0, DEL, C1 (ESC and CSI among them)
        | '\u{200b}'..='\u{200f}'                          // zero width, direction marks
        | '\u{2028}'..='\u{202e}'                          // line and paragraph separators, bidi overrides
        | '\u{2060}'..='\u{206f}'                          // invisible operators, bidi isolates
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}'             // byte order mark, annotations
        | '\u{61c}' | '\u{180e}' | '\u{ad}'                // Arabic letter mark, Mongolian separator, soft hyphen
        | '\u{e0000}'..='\u{e007f}') // tags
}

/// One line of at most `max` characters: hostile characters are dropped, white space becomes single blanks, and what was
/// cut off is marked by an ellipsis.
#[must_use]
pub fn clean(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max.saturating_mul(4)));
    let mut count = 0;
    let mut blank = false;
    for c in text.chars() {
        if c.is_whitespace() {
            blank = count > 0;
            continue;
        }
        if is_hostile(c) {
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
    text.replace("\r\n", "\n")
        .replace('\t', "    ")
        .chars()
        .filter(|c| *c == '\n' || !is_hostile(*c))
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

    proptest! {
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
