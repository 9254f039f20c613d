//! Frames of a streamed answer: lines of JSON (NDJSON) or server-sent events, and whole JSON where a stream was asked for.
//!
//! Events are read by the HTML standard, section "Interpreting an event stream": comments, ids, `retry` and unknown fields
//! are nothing, and so is an event without data. JSON without `data:` before it is taken too: some servers send an error,
//! or the whole answer, so.

use super::lines::MAX_LINE;

/// How a server frames its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One JSON object a line.
    Lines,
    /// Server-sent events.
    Events,
}

/// One frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Its text.
    pub data: String,
    /// Does the event's name say that it is an error?
    pub error: bool,
}

/// Why a line is no part of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// An event's lines come to more than one line may have.
    #[error("an event is longer than {MAX_LINE} bytes")]
    TooLong,
    /// It is a web page.
    #[error("a web page instead of an answer")]
    WebPage,
    /// It is no JSON object.
    #[error("a line that is not a chat's")]
    NotAFrame,
}

/// Puts frames together from lines.
#[derive(Debug)]
pub struct Frames {
    framing: Framing,
    data: Option<String>,
    error: bool,
    bare: Bare,
    begun: bool,
}

impl Frames {
    /// Nothing yet.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            data: None,
            error: false,
            bare: Bare::default(),
            begun: false,
        }
    }

    /// Takes the next line; gives the frame that it ends.
    ///
    /// # Errors
    ///
    /// [`FrameError`]; the stream is of no use after one.
    pub fn push(&mut self, line: &str) -> Result<Option<Frame>, FrameError> {
        let line = if self.begun {
            line
        } else {
            line.strip_prefix('\u{feff}').unwrap_or(line)
        };
        let first = !self.begun && !line.trim().is_empty();
        self.begun |= first;
        if first && line.trim_start().starts_with('<') {
            return Err(FrameError::WebPage);
        }
        if self.bare.is_open() || (self.data.is_none() && line.trim_start().starts_with('{')) {
            return self.bare(line);
        }
        if line.is_empty() {
            return Ok(self.event());
        }
        if line.trim().is_empty() {
            return Ok(None);
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => self.add(value)?,
            "event" => self.error = value.trim() == "error",
            // A comment.
            "" => {}
            // A field that we don't know; or a piece of the answer, spoilt on its way.
            _ if self.framing == Framing::Lines || line.contains("{\"") => {
                return Err(FrameError::NotAFrame);
            }
            _ => {}
        }
        Ok(None)
    }

    /// What is left when the stream is over without the line that ends it.
    pub fn finish(&mut self) -> Option<Frame> {
        let bare = self.bare.take().map(|data| Frame { data, error: false });
        bare.or_else(|| self.event())
    }

    fn event(&mut self) -> Option<Frame> {
        let error = std::mem::take(&mut self.error);
        let data = self.data.take()?;
        (!data.trim().is_empty()).then_some(Frame { data, error })
    }

    fn add(&mut self, part: &str) -> Result<(), FrameError> {
        match &mut self.data {
            None => self.data = Some(part.to_owned()),
            Some(data) if data.len() + part.len() > MAX_LINE => return Err(FrameError::TooLong),
            Some(data) => {
                data.push('\n');
                data.push_str(part);
            }
        }
        Ok(())
    }

    /// A line of JSON. In NDJSON it is a whole object; elsewhere it may be printed over many lines.
    fn bare(&mut self, line: &str) -> Result<Option<Frame>, FrameError> {
        let whole = self.bare.push(line)? || self.framing == Framing::Lines;
        let data = if whole { self.bare.take() } else { None };
        let error = std::mem::take(&mut self.error);
        Ok(data.map(|data| Frame { data, error }))
    }
}

/// A JSON object that may come over many lines: whole where its braces are.
#[derive(Debug, Default)]
struct Bare {
    text: String,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Bare {
    fn is_open(&self) -> bool {
        !self.text.is_empty()
    }

    /// Adds a line; true where the object is whole now.
    fn push(&mut self, line: &str) -> Result<bool, FrameError> {
        if self.text.len() + line.len() > MAX_LINE {
            return Err(FrameError::TooLong);
        }
        for byte in line.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'{' if !self.in_string => self.depth += 1,
                b'}' if !self.in_string => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        self.text.push_str(line);
        self.text.push('\n');
        Ok(self.depth == 0)
    }

    fn take(&mut self) -> Option<String> {
        let text = std::mem::take(self).text;
        (!text.is_empty()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(framing: Framing, lines: &[&str]) -> Result<Vec<String>, FrameError> {
        let mut frames = Frames::new(framing);
        let mut out = Vec::new();
        for line in lines {
            out.extend(frames.push(line)?);
        }
        out.extend(frames.finish());
        Ok(out
            .into_iter()
            .map(|frame| frame.data.trim_end().to_owned())
            .collect())
    }

    fn events(lines: &[&str]) -> Vec<String> {
        frames(Framing::Events, lines).unwrap()
    }

    #[test]
    fn an_event_ends_at_the_empty_line_and_all_else_is_nothing() {
        let lines = [
            "data: a",
            "",
            ": ping",
            "",
            "id: 7",
            "retry: 10",
            "event: x",
            "data:b",
            "data: c",
            "",
            "data",
            "",
            "data: ",
            "",
            "unknown",
        ];
        assert_eq!(events(&lines), ["a", "b\nc"]);
    }

    #[test]
    fn the_last_event_needs_no_empty_line() {
        assert_eq!(events(&["data: [DONE]"]), ["[DONE]"]);
    }

    #[test]
    fn bare_json_is_a_frame_on_one_line_or_many() {
        assert_eq!(events(&[r#"{"error":"x"}"#]), [r#"{"error":"x"}"#]);
        let lines = ["{", r#" "a": "}{\"""#, "", "}", "data: b", ""];
        assert_eq!(events(&lines), ["{\n \"a\": \"}{\\\"\"\n\n}", "b"]);
    }

    #[test]
    fn an_event_may_call_itself_an_error() {
        let mut frames = Frames::new(Framing::Events);
        frames.push("event: error").unwrap();
        frames.push("data: {}").unwrap();
        assert!(frames.push("").unwrap().unwrap().error);
    }

    #[test]
    fn what_is_neither_is_refused() {
        let page = frames(Framing::Events, &["", "<!doctype html>"]);
        assert_eq!(page, Err(FrameError::WebPage));
        let words = frames(Framing::Lines, &[r#"{"a":1}"#, "oops"]);
        assert_eq!(words, Err(FrameError::NotAFrame));
        let spoilt = frames(Framing::Events, &["da\0a: {\"a\":1}", ""]);
        assert_eq!(spoilt, Err(FrameError::NotAFrame));
    }

    #[test]
    fn a_frame_of_many_lines_is_bounded() {
        for start in ["data: ", "{"] {
            let mut frames = Frames::new(Framing::Events);
            let line = format!("{start}{}", "x".repeat(MAX_LINE / 2 + 1));
            assert_eq!(frames.push(&line), Ok(None));
            assert_eq!(frames.push(&line), Err(FrameError::TooLong));
        }
    }
}
