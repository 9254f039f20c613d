//! Characters that a server cut into two escaped halves (`\ud83d` in one frame, `\ude00` in the next). JSON has no half
//! characters, so a parser refuses such a frame.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Puts the halves together over the frames of one stream.
#[derive(Debug, Default)]
pub struct Halves {
    first: Option<u16>,
}

impl Halves {
    /// The frame's text with whole characters only: a first half is kept back until its second comes. A half that never
    /// finds the other is left out.
    pub fn mend<'a>(&mut self, json: &'a str) -> Cow<'a, str> {
        if !json.contains("\\ud") && !json.contains("\\uD") {
            return Cow::Borrowed(json);
        }
        let mut out = String::with_capacity(json.len() + 6);
        let mut rest = json;
        while let Some(at) = rest.find('\\') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let length = match half(rest) {
                Some(unit) if is_first(unit) => {
                    if half(&rest[6..]).is_some_and(|next| !is_first(next)) {
                        out.push_str(&rest[..12]);
                        12
                    } else {
                        self.first = Some(unit);
                        6
                    }
                }
                Some(_) => {
                    if let Some(first) = self.first.take() {
                        // Writing to a text can't fail.
                        let _ = write!(out, "\\u{first:04x}{}", &rest[..6]);
                    }
                    6
                }
                // Another escape: its second character may be a backslash itself.
                None => {
                    let length = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
                    out.push_str(&rest[..length]);
                    length
                }
            };
            rest = &rest[length..];
        }
        out.push_str(rest);
        Cow::Owned(out)
    }
}

/// The half character that is escaped at the start of the text.
fn half(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let unit = u16::from_str_radix(digits, 16).ok()?;
    (0xd800..=0xdfff).contains(&unit).then_some(unit)
}

fn is_first(unit: u16) -> bool {
    unit < 0xdc00
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(frames: &[&str]) -> String {
        let mut halves = Halves::default();
        let texts = frames.iter().map(|frame| {
            let json = format!("\"{frame}\"");
            serde_json::from_str::<String>(&halves.mend(&json)).unwrap()
        });
        texts.collect()
    }

    #[test]
    fn a_character_cut_over_two_frames_becomes_whole() {
        assert_eq!(mended(&[r"a \ud83d", r"\uDE00!"]), "a 😀!");
        assert_eq!(mended(&[r"\ud83d", "", r"\ude00\ud83d\ude00"]), "😀😀");
    }

    #[test]
    fn a_half_without_its_other_is_left_out_and_all_else_stays() {
        assert_eq!(mended(&[r"a\ud83d", "b"]), "ab");
        assert_eq!(mended(&[r"\ude00b"]), "b");
        assert_eq!(
            mended(&[r"\\ud83d \u00e9 \ud7ff \n"]),
            "\\ud83d é \u{d7ff} \n"
        );
    }
}
