//! An answer while it streams: its text, its counts, and the checks before it is an [`Answer`].

use tokio::sync::watch;
use tokio::time::Instant;

use super::think::ThinkFilter;
use super::{InferenceError, Progress};
use crate::domain::job::Answer;

/// The most text of an answer with its thinking, in bytes. Far more than any token limit gives.
const MAX_TEXT: usize = 4 << 20;

/// Prompts of fewer words are not judged by [`least_tokens`]: a short one can't be cut.
const JUDGED_WORDS: usize = 64;

/// An answer in the making.
#[derive(Debug)]
pub struct Draft {
    endpoint: String,
    progress: watch::Sender<Progress>,
    text: ThinkFilter,
    bytes: usize,
    chunks: u32,
    begun: Option<Instant>,
    /// Input tokens, where the server says.
    pub prompt_tokens: Option<u32>,
    /// Output tokens, where the server says.
    pub completion_tokens: Option<u32>,
    /// How long the output took, where the server says; milliseconds.
    pub server_ms: Option<u64>,
    /// Was it cut at the token limit?
    pub cut: bool,
}

impl Draft {
    /// Nothing yet.
    #[must_use]
    pub fn new(endpoint: &str, progress: watch::Sender<Progress>) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            progress,
            text: ThinkFilter::default(),
            bytes: 0,
            chunks: 0,
            begun: None,
            prompt_tokens: None,
            completion_tokens: None,
            server_ms: None,
            cut: false,
        }
    }

    /// Adds a piece of the answer, or of thinking that the server keeps apart. Says whether it held a token.
    ///
    /// # Errors
    ///
    /// [`InferenceError::Protocol`] when the text has grown beyond all measure.
    pub fn push(&mut self, content: &str, thinking: &str) -> Result<bool, InferenceError> {
        let bytes = content.len() + thinking.len();
        if bytes == 0 {
            return Ok(false);
        }
        self.bytes += bytes;
        if self.bytes > MAX_TEXT {
            return Err(InferenceError::Protocol {
                endpoint: self.endpoint.clone(),
                detail: format!("an answer of more than {MAX_TEXT} bytes"),
            });
        }
        self.text.push(content);
        self.begun.get_or_insert_with(Instant::now);
        self.chunks = self.chunks.saturating_add(1);
        self.progress.send_replace(Progress {
            tokens: self.chunks,
        });
        Ok(true)
    }

    /// The whole answer to `prompt`, from a server with room for `context` tokens (where known).
    ///
    /// # Errors
    ///
    /// [`InferenceError::Truncated`] where the counts say that the server cut the prompt; [`InferenceError::Empty`] where
    /// nothing but thinking and white space is left.
    pub fn finish(self, prompt: &str, context: Option<u32>) -> Result<Answer, InferenceError> {
        let endpoint = self.endpoint;
        if let Some(counted) = self.prompt_tokens
            && let Some(expected) = was_cut(prompt, counted, context)
        {
            return Err(InferenceError::Truncated {
                endpoint,
                counted,
                expected,
            });
        }
        let Some(text) = self.text.finish() else {
            return Err(InferenceError::Empty { endpoint });
        };
        let wall = self.begun.map_or(0, |begun| begun.elapsed().as_millis());
        let wall = u64::try_from(wall).unwrap_or(u64::MAX).max(1);
        Ok(Answer {
            text,
            prompt_tokens: self.prompt_tokens.unwrap_or_else(|| most_tokens(prompt)),
            completion_tokens: self.completion_tokens.unwrap_or(self.chunks),
            estimated: self.prompt_tokens.is_none() || self.completion_tokens.is_none(),
            cut: self.cut,
            elapsed_ms: self.server_ms.unwrap_or(wall),
            endpoint,
        })
    }
}

/// The most tokens a text can take without its template: one for each byte, the beginning of text and a space before it.
#[must_use]
pub fn most_tokens(text: &str) -> u32 {
    u32::try_from(text.len().saturating_add(2)).unwrap_or(u32::MAX)
}

/// Fewer tokens than this a text can hardly take: half a token for each word (no common vocabulary joins words), and one
/// for each 64 bytes (the longest tokens are runs of one character).
#[must_use]
pub fn least_tokens(text: &str) -> u32 {
    let words = text.split_whitespace().count();
    let least = if words < JUDGED_WORDS { 0 } else { words / 2 };
    u32::try_from(least.max(text.len() / 64)).unwrap_or(u32::MAX)
}

/// Did the server cut the prompt? Then the tokens that it should have counted at least. Three signs, none of which a
/// whole prompt gives: the count fills the context; it is half of it and two, as Ollama from 0.30 keeps of a prompt that
/// is too long; it is below what the words need.
fn was_cut(prompt: &str, counted: u32, context: Option<u32>) -> Option<u32> {
    let likely = u32::try_from(prompt.len() / 4).unwrap_or(u32::MAX);
    let least = least_tokens(prompt);
    if counted < least {
        return Some(least);
    }
    let context = context?;
    let filled = counted >= context;
    let half = counted.abs_diff(context / 2 + 2) <= 2 && prompt.len() / 3 > context as usize;
    (filled || half).then(|| likely.max(context.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        Draft::new("local", watch::Sender::default())
    }

    #[test]
    fn missing_counts_are_estimated_and_marked() {
        let mut draft = draft();
        assert!(draft.push("Pa", "").unwrap());
        assert!(!draft.push("", "").unwrap());
        assert!(draft.push("ris", "").unwrap());
        let answer = draft.finish("Where?", None).unwrap();
        assert_eq!((answer.prompt_tokens, answer.completion_tokens), (8, 2));
        assert!(answer.estimated);
        assert_eq!(answer.text, "Paris");
    }

    #[test]
    fn thinking_alone_is_an_empty_answer() {
        let mut draft = draft();
        draft.push("<think>a</think> ", "").unwrap();
        draft.push("", "more").unwrap();
        assert!(matches!(
            draft.finish("x", None),
            Err(InferenceError::Empty { .. })
        ));
    }

    #[test]
    fn an_endless_answer_is_not_kept() {
        let mut draft = draft();
        let piece = "x".repeat(MAX_TEXT / 2);
        draft.push(&piece, "").unwrap();
        draft.push("", &piece).unwrap();
        assert!(draft.push("x", "").is_err());
    }

    #[test]
    fn a_cut_prompt_shows_in_its_count() {
        let long = "word ".repeat(4000);
        assert!(was_cut(&long, 1026, Some(2048)).is_some());
        assert!(was_cut(&long, 2048, Some(2048)).is_some());
        assert!(was_cut(&long, 900, None).is_some());
    }

    #[test]
    fn a_whole_prompt_is_never_called_cut() {
        assert_eq!(was_cut(&"word ".repeat(4000), 4010, Some(8192)), None);
        assert_eq!(was_cut(&"word ".repeat(1000), 1026, Some(2048)), None);
        assert_eq!(was_cut("hi", 1, Some(2048)), None);
        assert_eq!(was_cut(&"=".repeat(1280), 20, Some(2048)), None);
        assert_eq!(was_cut(&"長い文".repeat(700), 1900, Some(2048)), None);
    }
}
