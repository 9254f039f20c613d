//! Reads a streamed answer: one way for both protocols, from lines to a whole draft or the reason why there is none.
//!
//! Whole is what the server gave a word for. What breaks after that word costs the counts at most; what breaks before it,
//! and a stream that just ends, is no answer.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value;

use super::InferenceError;
use super::draft::{Draft, FinishReason, Part};
use super::frames::{Frame, FrameError, Frames, Framing};
use super::http::Server;
use super::lines::Lines;
use super::patience::Patience;
use super::surrogates::Halves;

/// How long the counts are waited for once the answer is whole.
const TAIL: Duration = Duration::from_secs(5);

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A piece of the answer, or of what is told about it.
    Part(Part),
    /// It failed.
    Error,
    /// Nothing that concerns an answer.
    Nothing,
    /// Not of this protocol.
    Foreign,
}

/// One answer being read.
pub struct Reading<'a> {
    /// The server that gives it.
    pub server: &'a Server,
    /// The model that was asked.
    pub model: &'a str,
    /// How it is framed.
    pub framing: Framing,
    /// What a frame's JSON says in this protocol.
    pub read: fn(&Value) -> Piece,
}

enum Next {
    More,
    End,
}

impl Reading<'_> {
    /// Reads to the end.
    ///
    /// # Errors
    ///
    /// Why there is no whole answer.
    pub async fn whole(
        &self,
        mut lines: Lines,
        mut draft: Draft,
        patience: &mut Patience,
    ) -> Result<Draft, InferenceError> {
        let mut state = (Frames::new(self.framing), Halves::default());
        loop {
            let next = self
                .next(&mut lines, &mut state, &mut draft, patience)
                .await;
            if draft.is_whole() {
                if !matches!(next, Ok(Next::More)) {
                    return Ok(draft);
                }
                patience.ending(TAIL);
                continue;
            }
            match next? {
                Next::More => {}
                Next::End => return self.ended(draft, patience.started()),
            }
        }
    }

    async fn next(
        &self,
        lines: &mut Lines,
        (frames, halves): &mut (Frames, Halves),
        draft: &mut Draft,
        patience: &mut Patience,
    ) -> Result<Next, InferenceError> {
        let line = patience.wait(lines.next()).await?;
        let started = patience.started();
        let line = line.map_err(|error| self.server.unreadable(&error, started))?;
        let over = line.is_none();
        let frame = match line {
            // A cut line at the end of the body is a cut stream.
            Some(line) => match frames.push(&line) {
                Err(FrameError::NotAFrame) if lines.ended() => None,
                frame => frame.map_err(|error| self.server.protocol(&error.to_string()))?,
            },
            None => frames.finish(),
        };
        let end = if over { Next::End } else { Next::More };
        let Some(frame) = frame else {
            return Ok(end);
        };
        if frame.data.trim() == "[DONE]" {
            draft.done();
            return Ok(Next::End);
        }
        match self.take(&frame, halves) {
            Piece::Part(part) => {
                let last = part.last;
                if draft.push(part)? {
                    patience.token();
                }
                self.judge(draft, patience.started())?;
                Ok(if last { Next::End } else { end })
            }
            Piece::Error => {
                let error = self.server.stream_error(&frame.data, self.model, started);
                Err(error)
            }
            Piece::Nothing => Ok(end),
            Piece::Foreign if over || lines.ended() => Ok(Next::End),
            Piece::Foreign => Err(self.server.protocol("something that is not a chat's")),
        }
    }

    fn take(&self, frame: &Frame, halves: &mut Halves) -> Piece {
        if frame.error {
            return Piece::Error;
        }
        let text: Cow<'_, str> = halves.mend(&frame.data);
        serde_json::from_str(&text).map_or(Piece::Foreign, |value| (self.read)(&value))
    }

    /// A word that ends no answer is the end of it.
    fn judge(&self, draft: &Draft, started: bool) -> Result<(), InferenceError> {
        match draft.finish_reason() {
            Some(FinishReason::Filtered) => Err(self
                .server
                .rejected("the server's content filter stopped the answer")),
            Some(FinishReason::Unknown(word)) => Err(self
                .server
                .died(&format!("it ended the answer with {word:?}"), started)),
            _ => Ok(()),
        }
    }

    fn ended(&self, draft: Draft, started: bool) -> Result<Draft, InferenceError> {
        if draft.finish_reason().is_some() {
            // An ending without any text: an empty answer, for the draft to say so.
            return Ok(draft);
        }
        Err(self
            .server
            .died("the stream ended before the answer did", started))
    }
}
