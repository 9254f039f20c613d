//! Tells a model's reasoning from its answer, where the server does not keep them apart.
//!
//! Reasoning stands in a block at the very start of the text. What an answer says about such tags later on is answer. Some
//! templates write the opening tag themselves, so that a lone closing one ends the reasoning; that is taken for one only
//! where no reasoning came in a field of its own, and where it does not look like a word that the answer speaks of.

/// The tags around a block of reasoning, as models write them.
const BLOCKS: [(&str, &str); 10] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel>thought", "<channel|>"),
];

/// The channels of "harmony", the format of gpt-oss: only `final` is answer.
const CHANNEL: &str = "<|channel|>";
const START: &str = "<|start|>";
const FINAL: &str = "<|channel|>final<|message|>";
const ENDS: [&str; 3] = ["<|return|>", "<|end|>", "<|call|>"];

/// The answer in a text, without white space around it; none where there is none: nothing but reasoning, or a block that
/// was never closed. `apart`: reasoning came in a field of its own.
#[must_use]
pub fn answer(text: &str, apart: bool) -> Option<&str> {
    let text = text.trim();
    let rest = if text.starts_with(CHANNEL) || text.starts_with(START) {
        harmony(text)?
    } else {
        let rest = after_blocks(text)?;
        let untouched = rest.len() == text.len();
        let lone = (untouched && !apart).then(|| after_lone_close(rest));
        lone.flatten().unwrap_or(rest)
    };
    let rest = rest.trim();
    (!rest.is_empty()).then_some(rest)
}

/// What follows the blocks at the start; none where one is not closed.
fn after_blocks(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        let Some((inside, close)) = BLOCKS
            .iter()
            .find_map(|(open, close)| Some((rest.strip_prefix(open)?, close)))
        else {
            return Some(rest);
        };
        rest = inside.split_once(close)?.1.trim_start();
    }
}

/// What follows the first closing tag that no opening one stands before.
fn after_lone_close(text: &str) -> Option<&str> {
    let (open, close, at) = BLOCKS
        .iter()
        .filter_map(|(open, close)| Some((*open, *close, text.find(close)?)))
        .min_by_key(|(_, _, at)| *at)?;
    let (before, after) = (&text[..at], &text[at + close.len()..]);
    let in_code = before.matches("```").count() % 2 == 1;
    (!before.contains(open) && !in_code && !is_spoken_of(before, after)).then_some(after)
}

/// Is the tag between these a word that the text speaks of? A model's own tag follows its reasoning directly or on a new
/// line; one that is spoken of stands after a space or in quotes.
fn is_spoken_of(before: &str, after: &str) -> bool {
    let quote = |c: char| "`'\"“”‘’«»()[]{}*_".contains(c);
    let follows = before.chars().next_back();
    let leads = after.chars().next();
    follows.is_some_and(|c| c == ' ' || c == '\t')
        || (follows.is_some_and(quote) && leads.is_some_and(quote))
        || leads.is_some_and(|c| ",;:".contains(c))
}

fn harmony(text: &str) -> Option<&str> {
    let (_, said) = text.rsplit_once(FINAL)?;
    let end = ENDS.iter().filter_map(|end| said.find(end)).min();
    Some(&said[..end.unwrap_or(said.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<&str> {
        answer(text, false)
    }

    #[test]
    fn reasoning_at_the_start_is_not_part_of_the_answer() {
        for (open, close) in BLOCKS {
            assert_eq!(of(&format!("\n{open}hm{close}\n\nParis.")), Some("Paris."));
            assert_eq!(of(&format!("{open}a {open} b{close}c")), Some("c"));
            assert_eq!(of(&format!("{open}a{close} {open}b{close} c")), Some("c"));
            assert_eq!(of(&format!("{open}never closed")), None);
            assert_eq!(of(&format!("{open}hm{close} \n")), None);
        }
        assert_eq!(of(" \n"), None);
    }

    #[test]
    fn an_answer_may_speak_of_the_tags() {
        for text in [
            "The tag `<think>` begins the reasoning.",
            "Paris. End your notes with `</think>` and go on.",
            "Close it with </think> at the end.",
            "Use \"</think>\".",
            "a <think>x</think>b<think>y</think> c",
            "Like this:\n```\nnotes\n</think>\n```\nthen go on",
            "Write <think>\nnotes\n</think>\nand then the answer.",
            "The tags are:\n- **</think>**: the end",
        ] {
            assert_eq!(of(text), Some(text));
        }
    }

    #[test]
    fn text_before_a_lone_closing_tag_is_reasoning() {
        assert_eq!(of("hm, let me see</think>Paris."), Some("Paris."));
        assert_eq!(of("So 2+2=4.\n</think>\n\nFour."), Some("Four."));
        assert_eq!(of("hm [x]\n[/THINK]Four."), Some("Four."));
        assert_eq!(of("It is **4**</think>Four."), Some("Four."));
        assert_eq!(of("hm\n</think>\n"), None);
    }

    #[test]
    fn a_lone_closing_tag_is_text_where_reasoning_came_apart() {
        let text = "hm\n</think>\nParis.";
        assert_eq!(answer(text, true), Some(text));
        assert_eq!(answer("<think>x</think>Paris.", true), Some("Paris."));
    }

    #[test]
    fn only_the_final_channel_of_harmony_is_answer() {
        let analysis = "<|channel|>analysis<|message|>Where is it?<|end|><|start|>assistant";
        let text = format!("{analysis}<|channel|>final<|message|>Paris.<|return|>");
        assert_eq!(of(&text), Some("Paris."));
        assert_eq!(of(analysis), None);
    }
}
