//! Counts of tokens: what can be believed of a server's, and what stands in where it says none.
//!
//! Servers leave counts out, say zero, or count only what was not cached. None of that is a cut prompt, and a buyer is not
//! to pay for it either: an estimate stays below what a tokenizer would give.

use std::ops::RangeInclusive;

/// Prompts of fewer words are not judged: what a short one needs can't be told from its words.
const JUDGED_WORDS: usize = 64;
/// Bytes of a word that are one token at least; with the space before it, a good four bytes of Latin text.
const BYTES_A_TOKEN: usize = 8;
/// Tokens that a template and a system prompt of the model's own may add; a count beyond that and one a byte is no count.
const TEMPLATE: u32 = 4_096;

/// About as many tokens as a text takes, rather less: one for each word, more for long ones.
#[must_use]
pub fn about(text: &str) -> u32 {
    let words = text.split_whitespace();
    clamped(words.map(|word| word.len().div_ceil(BYTES_A_TOKEN)).sum())
}

/// The most tokens that a text can take without its template: one for each byte, the beginning of text and a space before.
#[must_use]
pub fn most(text: &str) -> u32 {
    clamped(text.len().saturating_add(2))
}

/// Fewer tokens than this a text can hardly take: half a token for each word (no common vocabulary joins words), and one
/// for each 64 bytes (the longest tokens are runs of one character).
fn least(text: &str) -> u32 {
    let words = words(text);
    let least = if words < JUDGED_WORDS { 0 } else { words / 2 };
    clamped(least.max(text.len() / 64))
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

fn clamped(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The server's count of a prompt where it can be the prompt's; none where it says too little (a part was cached) or
/// more than any tokenizer could.
#[must_use]
pub fn believed(prompt: &str, counted: u32) -> Option<u32> {
    let range: RangeInclusive<u32> = least(prompt).max(1)..=most(prompt).saturating_add(TEMPLATE);
    range.contains(&counted).then_some(counted)
}

/// Did a server with room for `context` tokens cut the prompt? Then the tokens that it should have counted at least.
///
/// Three signs, none of which a whole prompt gives: the count fills the context; it is half of it and two, as Ollama from
/// 0.30 keeps of a prompt that is too long; or it is too small for a prompt that can't have fitted.
#[must_use]
pub fn cut(prompt: &str, counted: u32, context: u32) -> Option<u32> {
    let room = context as usize;
    let half = counted.abs_diff(context / 2 + 2) <= 2 && prompt.len() / 3 > room;
    let too_small = counted < least(prompt) && words(prompt) * 3 / 4 > room;
    (counted >= context || half || too_small)
        .then(|| clamped(prompt.len() / 4).max(context.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_is_fair_to_the_buyer() {
        assert_eq!(about(&"word ".repeat(200)), 200);
        let text = "The quick brown fox jumps over the lazy dog, and internationalization follows.";
        // What GPT-4's tokenizer gives is 16.
        assert!((12..=16).contains(&about(text)), "{}", about(text));
        assert_eq!(about(""), 0);
    }

    #[test]
    fn a_count_is_believed_where_it_can_be_the_prompt_s() {
        let words = "word ".repeat(200);
        assert_eq!(believed(&words, 0), None);
        assert_eq!(believed(&words, 7), None);
        assert_eq!(believed(&words, 201), Some(201));
        assert_eq!(believed(&words, u32::MAX), None);
        assert_eq!(believed("hi", 1), Some(1));
        assert_eq!(believed("hi", 31), Some(31));
    }

    #[test]
    fn a_cut_prompt_shows_in_its_count() {
        let long = "word ".repeat(4000);
        assert!(cut(&long, 1026, 2048).is_some());
        assert!(cut(&long, 2048, 2048).is_some());
        assert!(cut(&long, 900, 2048).is_some());
    }

    #[test]
    fn a_whole_prompt_is_never_called_cut() {
        assert_eq!(cut(&"word ".repeat(4000), 4010, 8192), None);
        assert_eq!(cut(&"word ".repeat(1000), 1026, 2048), None);
        assert_eq!(cut("hi", 1, 2048), None);
        assert_eq!(cut(&"=".repeat(1280), 20, 2048), None);
        assert_eq!(cut(&"長い文".repeat(700), 1900, 2048), None);
        // The rest was cached.
        assert_eq!(cut(&"word ".repeat(1000), 1, 2048), None);
    }
}
