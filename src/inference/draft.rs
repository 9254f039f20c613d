//! An answer while it streams: its text, its counts, and whether it is whole.

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Ask, InferenceError, Progress, SoFar, counts, think};
use crate::domain::job::Answer;

/// The most text of an answer with its reasoning, in bytes. Far more than any token limit gives.
const MAX_TEXT: usize = 4 << 20;

/// A piece of a streamed answer, whatever the protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Text of the answer.
    pub content: String,
    /// Reasoning that the server keeps apart.
    pub thinking: String,
    /// The server's word for why the answer ended, once it has.
    pub finish_reason: Option<FinishReason>,
    /// Tokens of the prompt, where it says.
    pub prompt_tokens: Option<u32>,
    /// Tokens of the answer and its reasoning, where it says.
    pub completion_tokens: Option<u32>,
    /// How long the output took, where it says; milliseconds.
    pub output_ms: Option<u64>,
    /// Is it the closing count of an answer, with nothing else in it?
    pub closing: bool,
    /// Does nothing come after it?
    pub last: bool,
}

/// Why an answer ended, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// It was complete.
    Stop,
    /// At the token limit or the end of the context.
    Length,
    /// A content filter took it.
    Filtered,
    /// Anything else: no answer.
    Unknown(String),
}

impl FinishReason {
    /// Reads the word; none where the server says nothing. An empty string says nothing.
    #[must_use]
    pub fn read(word: &str) -> Option<Self> {
        let word = word.trim();
        Some(match word.to_ascii_lowercase().as_str() {
            "" => return None,
            "stop" | "eos" | "eos_token" | "end_turn" | "stop_sequence" | "complete" => Self::Stop,
            "length" | "max_tokens" | "model_length" | "max_output_tokens" => Self::Length,
            "content_filter" | "safety" | "refusal" | "recitation" => Self::Filtered,
            _ => Self::Unknown(word.to_owned()),
        })
    }
}

/// An answer in the making.
#[derive(Debug)]
pub struct Draft {
    endpoint: String,
    progress: watch::Sender<Progress>,
    so_far: Option<SoFar>,
    max_tokens: u32,
    text: String,
    thinking: usize,
    chunks: u32,
    begun: Option<Instant>,
    /// The server's last word, with no text after it.
    finish_reason: Option<FinishReason>,
    /// Did it ever give a word? Then it is one of those that do.
    speaks: bool,
    closed: bool,
    prompt_tokens: Option<u32>,
    completion_tokens: Option<u32>,
    server_ms: Option<u64>,
}

impl Draft {
    /// Nothing yet of the answer to `ask`.
    #[must_use]
    pub fn new(endpoint: &str, ask: &Ask, progress: watch::Sender<Progress>) -> Self {
        if let Some(so_far) = &ask.so_far {
            so_far.begin();
        }
        Self {
            endpoint: endpoint.to_owned(),
            progress,
            so_far: ask.so_far.clone(),
            max_tokens: ask.params.max_tokens,
            text: String::new(),
            thinking: 0,
            chunks: 0,
            begun: None,
            finish_reason: None,
            speaks: false,
            closed: false,
            prompt_tokens: None,
            completion_tokens: None,
            server_ms: None,
        }
    }

    /// Adds a piece. Says whether it held a token.
    ///
    /// # Errors
    ///
    /// [`InferenceError::Protocol`] when the text has grown beyond all measure.
    pub fn push(&mut self, part: Part) -> Result<bool, InferenceError> {
        let bytes = part.content.len() + part.thinking.len();
        if bytes > 0 {
            if self.text.len() + self.thinking + bytes > MAX_TEXT {
                return Err(InferenceError::Protocol {
                    endpoint: self.endpoint.clone(),
                    detail: format!("an answer of more than {MAX_TEXT} bytes"),
                });
            }
            // Text after a word takes it back: the answer had not ended.
            self.finish_reason = None;
            self.closed = false;
            self.text.push_str(&part.content);
            self.thinking += part.thinking.len();
            if let Some(so_far) = &self.so_far {
                so_far.push(&part.content, &part.thinking);
            }
            self.begun.get_or_insert_with(Instant::now);
            self.chunks = self.chunks.saturating_add(1);
            self.progress.send_replace(Progress {
                tokens: self.chunks,
            });
        }
        if part.finish_reason.is_some() {
            self.finish_reason = part.finish_reason;
            self.speaks = true;
        }
        self.closed |= part.closing;
        // The last that says something: a server may count as it goes.
        self.prompt_tokens = part.prompt_tokens.or(self.prompt_tokens);
        self.completion_tokens = part.completion_tokens.or(self.completion_tokens);
        self.server_ms = part.output_ms.or(self.server_ms);
        Ok(bytes > 0)
    }

    /// Did the server say that the answer ended, and how?
    #[must_use]
    pub const fn finish_reason(&self) -> Option<&FinishReason> {
        self.finish_reason.as_ref()
    }

    /// Is what came the whole answer, even if nothing more comes?
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        matches!(
            self.finish_reason,
            Some(FinishReason::Stop | FinishReason::Length)
        ) && !self.text.is_empty()
    }

    /// The stream says `[DONE]`. A server that never gives a word closes its answer with its counts.
    pub fn done(&mut self) {
        if self.closed && !self.speaks {
            self.finish_reason = Some(FinishReason::Stop);
        }
    }

    /// The server is known to miscount prompts.
    pub fn doubt_prompt(&mut self) {
        self.prompt_tokens = None;
    }

    /// The whole answer to `prompt`, from a server with room for `context` tokens (where known).
    ///
    /// # Errors
    ///
    /// [`InferenceError::Truncated`] where the counts say that the server cut the prompt; [`InferenceError::Empty`] where
    /// nothing but reasoning and white space is left.
    pub fn finish(self, prompt: &str, context: Option<u32>) -> Result<Answer, InferenceError> {
        let endpoint = self.endpoint;
        let counted = self.prompt_tokens.filter(|count| *count > 0);
        if let Some((counted, room)) = counted.zip(context)
            && let Some(expected) = counts::cut(prompt, counted, room)
        {
            return Err(InferenceError::Truncated {
                endpoint,
                counted,
                expected,
            });
        }
        let Some(text) = think::answer(&self.text, self.thinking > 0) else {
            return Err(InferenceError::Empty { endpoint });
        };
        let prompt_tokens = counted.and_then(|counted| counts::believed(prompt, counted));
        let completion_tokens = self.completion_tokens.filter(|count| *count > 0);
        let wall = self.begun.map_or(0, |begun| begun.elapsed().as_millis());
        let wall = u64::try_from(wall).unwrap_or(u64::MAX).max(1);
        let written = || {
            let thought = u32::try_from(self.thinking / 8).unwrap_or(u32::MAX);
            counts::about(&self.text).saturating_add(thought).max(1)
        };
        Ok(Answer {
            text: text.to_owned(),
            prompt_tokens: prompt_tokens.unwrap_or_else(|| counts::about(prompt)),
            // Never more than was asked for: that is what a buyer was told it may cost.
            completion_tokens: completion_tokens
                .unwrap_or_else(written)
                .min(self.max_tokens.max(1)),
            estimated: prompt_tokens.is_none() || completion_tokens.is_none(),
            cut: self.finish_reason == Some(FinishReason::Length),
            elapsed_ms: self.server_ms.unwrap_or(wall),
            endpoint,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        let ask = Ask {
            model: "m".into(),
            messages: Vec::new(),
            params: crate::domain::job::TextParams {
                max_tokens: 64,
                temperature: 0.0,
                top_k: 0,
                top_p: 1.0,
                frequency_penalty: 0.0,
                seed: None,
            },
            deadline: std::time::Duration::from_secs(1),
            attempt: 1,
            so_far: None,
        };
        Draft::new("local", &ask, watch::Sender::default())
    }

    fn text(content: &str) -> Part {
        Part {
            content: content.to_owned(),
            ..Part::default()
        }
    }

    fn word(word: &str) -> Part {
        Part {
            finish_reason: FinishReason::read(word),
            ..Part::default()
        }
    }

    fn after(parts: impl IntoIterator<Item = Part>) -> Draft {
        let mut draft = draft();
        for part in parts {
            draft.push(part).unwrap();
        }
        draft
    }

    #[test]
    fn missing_counts_are_estimated_and_marked() {
        let answer = after([text("Pa"), text(""), text("ris")])
            .finish("Where?", None)
            .unwrap();
        assert_eq!((answer.prompt_tokens, answer.completion_tokens), (1, 1));
        assert!(answer.estimated);
        assert_eq!(answer.text, "Paris");
    }

    #[test]
    fn a_server_can_not_bill_more_than_was_asked_for() {
        let counts = Part {
            prompt_tokens: Some(u32::MAX),
            completion_tokens: Some(9_000),
            ..text("Paris")
        };
        let answer = after([counts]).finish("Where?", None).unwrap();
        assert_eq!((answer.prompt_tokens, answer.completion_tokens), (1, 64));
    }

    #[test]
    fn reasoning_alone_is_an_empty_answer() {
        let apart = Part {
            thinking: "more".to_owned(),
            ..Part::default()
        };
        let draft = after([text("<think>a</think> "), apart]);
        assert!(matches!(
            draft.finish("x", None),
            Err(InferenceError::Empty { .. })
        ));
    }

    #[test]
    fn an_endless_answer_is_not_kept() {
        let piece = "x".repeat(MAX_TEXT / 2);
        let mut draft = after([text(&piece), text(&piece)]);
        assert!(draft.push(text("x")).is_err());
    }

    #[test]
    fn only_a_known_word_with_no_text_after_it_ends_an_answer() {
        for known in ["stop", "length", "eos", "end_turn", "STOP", "MAX_TOKENS"] {
            assert!(after([text("a"), word(known)]).is_whole(), "{known}");
        }
        for unknown in [
            "",
            " ",
            "insufficient_system_resource",
            "tool_calls",
            "error",
        ] {
            assert!(!after([text("a"), word(unknown)]).is_whole(), "{unknown}");
        }
        assert!(!after([text("a"), word("stop"), text("b")]).is_whole());
        assert!(after([text("a"), word("stop"), text("b"), word("length")]).is_whole());
        assert!(!after([word("stop")]).is_whole());
    }

    #[test]
    fn a_server_that_never_gives_a_word_closes_with_its_counts() {
        let closing = || Part {
            completion_tokens: Some(1),
            closing: true,
            ..Part::default()
        };
        let whole = |parts: Vec<Part>| {
            let mut draft = after(parts);
            draft.done();
            draft.is_whole()
        };
        assert!(whole(vec![text("a"), closing()]));
        assert!(!whole(vec![text("a")]));
        assert!(!whole(vec![text("a"), closing(), text("b")]));
        assert!(!whole(vec![text("a"), word("stop"), text("b"), closing()]));
    }
}
