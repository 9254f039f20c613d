//! Takes `<think>…</think>` out of an answer while it streams.
//!
//! Models that reason write their reasoning into the text where the server does not keep it apart. It is not part of the
//! answer. Some templates write the opening tag themselves, so a lone `</think>` makes everything before it thinking.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// Collects the answer's text from chunks. How the text is cut into chunks makes no difference.
#[derive(Debug, Default)]
pub struct ThinkFilter {
    answer: String,
    /// The end of the text so far, where it may be the beginning of a tag.
    held: String,
    inside: bool,
}

impl ThinkFilter {
    /// Adds a chunk.
    pub fn push(&mut self, chunk: &str) {
        let mut text = std::mem::take(&mut self.held);
        text.push_str(chunk);
        let mut rest = text.as_str();
        while let Some((before, after)) = self.next_tag(rest) {
            if self.inside {
                self.inside = false;
            } else if rest[before.len()..].starts_with(OPEN) {
                self.answer.push_str(before);
                self.inside = true;
            } else {
                self.answer.clear();
            }
            rest = after;
        }
        let (ready, held) = rest.split_at(rest.len() - unsure(rest));
        if !self.inside {
            self.answer.push_str(ready);
        }
        self.held.push_str(held);
    }

    /// The text before and after the next tag that counts: inside a block only the closing one does.
    fn next_tag<'a>(&self, text: &'a str) -> Option<(&'a str, &'a str)> {
        let close = text.split_once(CLOSE);
        if self.inside {
            return close;
        }
        let open = text.split_once(OPEN);
        [open, close]
            .into_iter()
            .flatten()
            .min_by_key(|(before, _)| before.len())
    }

    /// The answer, without white space around it; none where there is none: nothing but thinking, or a block that was
    /// never closed.
    #[must_use]
    pub fn finish(mut self) -> Option<String> {
        if self.inside {
            return None;
        }
        self.answer.push_str(&self.held);
        let answer = self.answer.trim();
        (!answer.is_empty()).then(|| answer.to_owned())
    }
}

/// Bytes at the end of `text` that may be the beginning of a tag.
fn unsure(text: &str) -> usize {
    text.rfind('<')
        .map(|at| &text[at..])
        .filter(|end| OPEN.starts_with(end) || CLOSE.starts_with(end))
        .map_or(0, str::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filtered<'a>(chunks: impl IntoIterator<Item = &'a str>) -> Option<String> {
        let mut filter = ThinkFilter::default();
        for chunk in chunks {
            filter.push(chunk);
        }
        filter.finish()
    }

    fn whole(text: &str) -> Option<String> {
        filtered([text])
    }

    #[test]
    fn thinking_is_not_part_of_the_answer() {
        assert_eq!(whole("<think>hm</think>\n\nParis.").unwrap(), "Paris.");
        assert_eq!(
            whole("a <think>x</think>b<think>y</think> c").unwrap(),
            "a b c"
        );
        assert_eq!(
            filtered(["<th", "ink>x</", "think", ">yes"]).unwrap(),
            "yes"
        );
    }

    #[test]
    fn text_before_a_lone_closing_tag_is_thinking() {
        assert_eq!(whole("hm, let me see</think>Paris.").unwrap(), "Paris.");
    }

    #[test]
    fn a_block_that_is_never_closed_is_no_answer() {
        assert_eq!(whole("Paris <think>or is it"), None);
        assert_eq!(whole("<think>hm</think>  \n"), None);
        assert_eq!(whole(""), None);
    }

    #[test]
    fn an_opening_tag_inside_a_block_is_just_text() {
        assert_eq!(whole("<think>a <think> b</think>c").unwrap(), "c");
    }

    #[test]
    fn what_only_looks_like_a_tag_stays() {
        assert_eq!(
            whole("a <b> </thin> <think").unwrap(),
            "a <b> </thin> <think"
        );
        assert_eq!(filtered(["1 <", " 2", "<", "/p>"]).unwrap(), "1 < 2</p>");
    }

    proptest! {
        #[test]
        fn chunk_borders_do_not_matter(
            parts in prop::collection::vec(
                prop::sample::select(vec!["<think>", "</think>", "<", "</", "think>", "a", " ", "é", "<th", "\n"]),
                0..14,
            ),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let text = parts.concat();
            let letters: Vec<char> = text.chars().collect();
            let mut borders: Vec<usize> = cuts.iter().map(|cut| cut.index(letters.len() + 1)).collect();
            borders.extend([0, letters.len()]);
            borders.sort_unstable();
            let chunks: Vec<String> =
                borders.windows(2).map(|pair| letters[pair[0]..pair[1]].iter().collect()).collect();
            prop_assert_eq!(filtered(chunks.iter().map(String::as_str)), whole(&text));
        }
    }
}
