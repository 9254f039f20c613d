//! Lines out of a byte stream (NDJSON and the lines of SSE): bounded, and never cut inside a character. A line ends with LF,
//! CR or CRLF, as the specification of server-sent events has it; JSON holds neither of them raw.

use super::http::cause;

/// The longest line, in bytes. No token comes near it; more is not a language model's stream.
pub const MAX_LINE: usize = 1 << 20;

/// Why there is no next line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// A line is longer than [`MAX_LINE`].
    #[error("a line is longer than {MAX_LINE} bytes")]
    TooLong,
    /// A line is not UTF-8.
    #[error("a line is not UTF-8 text")]
    NotText,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
}

/// Puts chunks together and takes lines out, whatever the chunks' borders.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Where the next line starts.
    start: usize,
    /// Up to where no line end was found.
    seen: usize,
    /// The last line ended with CR: an LF that comes next belongs to it.
    after_cr: bool,
}

impl Framer {
    /// Adds a chunk. Take all lines out before the next, so that the memory stays bounded.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.drain(..self.start);
        self.seen -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole line without its end; none until more bytes come.
    ///
    /// # Errors
    ///
    /// [`LineError::TooLong`] or [`LineError::NotText`]; the stream is of no use after either.
    pub fn next_line(&mut self) -> Result<Option<String>, LineError> {
        if self.after_cr && self.start < self.buffer.len() {
            self.start += usize::from(self.buffer[self.start] == b'\n');
            self.after_cr = false;
        }
        self.seen = self.seen.max(self.start);
        let mut unseen = self.buffer[self.seen..].iter();
        let end = unseen.position(|byte| matches!(byte, b'\n' | b'\r'));
        let Some(end) = end.map(|at| self.seen + at) else {
            self.seen = self.buffer.len();
            return if self.seen - self.start > MAX_LINE {
                Err(LineError::TooLong)
            } else {
                Ok(None)
            };
        };
        let line = text(&self.buffer[self.start..end]);
        self.after_cr = self.buffer[end] == b'\r';
        self.start = end + 1;
        self.seen = self.start;
        line.map(Some)
    }

    /// What is left when the stream is over: a last line that has no end. None after that.
    ///
    /// # Errors
    ///
    /// As [`Framer::next_line`].
    pub fn finish(&mut self) -> Result<Option<String>, LineError> {
        let rest = std::mem::take(&mut self.buffer);
        let rest = &rest[std::mem::take(&mut self.start)..];
        self.seen = 0;
        let rest = if std::mem::take(&mut self.after_cr) {
            rest.strip_prefix(b"\n").unwrap_or(rest)
        } else {
            rest
        };
        if rest.is_empty() {
            return Ok(None);
        }
        text(rest).map(Some)
    }
}

fn text(line: &[u8]) -> Result<String, LineError> {
    if line.len() > MAX_LINE {
        return Err(LineError::TooLong);
    }
    std::str::from_utf8(line)
        .map(str::to_owned)
        .map_err(|_| LineError::NotText)
}

/// The lines of a response's body as they arrive. Dropping it closes the connection.
#[derive(Debug)]
pub struct Lines {
    response: reqwest::Response,
    framer: Framer,
    ended: bool,
}

impl Lines {
    /// The lines of this body.
    #[must_use]
    pub fn new(response: reqwest::Response) -> Self {
        Self {
            response,
            framer: Framer::default(),
            ended: false,
        }
    }

    /// Is the body over? A line that can't be read then is a cut one.
    #[must_use]
    pub const fn ended(&self) -> bool {
        self.ended
    }

    /// The next line; none at the end of the body.
    ///
    /// # Errors
    ///
    /// [`LineError`]; the stream is of no use after one.
    pub async fn next(&mut self) -> Result<Option<String>, LineError> {
        loop {
            if let Some(line) = self.framer.next_line()? {
                return Ok(Some(line));
            }
            if self.ended {
                return self.framer.finish();
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.framer.push(&chunk),
                Ok(None) => self.ended = true,
                Err(error) => return Err(LineError::Broken(cause(&error))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(chunks: &[&[u8]]) -> Result<Vec<String>, LineError> {
        let mut framer = Framer::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            framer.push(chunk);
            while let Some(line) = framer.next_line()? {
                lines.push(line);
            }
        }
        lines.extend(framer.finish()?);
        Ok(lines)
    }

    #[test]
    fn a_character_split_over_chunks_stays_whole() {
        let euro = "€".as_bytes();
        assert_eq!(
            lines(&[b"a", &euro[..1], &euro[1..], b"\r\nb"]).unwrap(),
            ["a€", "b"]
        );
    }

    #[test]
    fn a_line_ends_with_lf_cr_or_both_even_over_two_chunks() {
        assert_eq!(
            lines(&[b"a\rb\r", b"\nc\n", b"\r\n\rd"]).unwrap(),
            ["a", "b", "c", "", "", "d"]
        );
        assert_eq!(lines(&[b"a\r", b"\n"]).unwrap(), ["a"]);
    }

    #[test]
    fn a_line_without_an_end_is_bounded() {
        let chunk = vec![b'x'; MAX_LINE];
        assert_eq!(lines(&[&chunk, b"\n"]).unwrap()[0].len(), MAX_LINE);
        assert_eq!(lines(&[&chunk, b"x"]), Err(LineError::TooLong));
        assert_eq!(lines(&[&chunk, b"x\n"]), Err(LineError::TooLong));
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error() {
        assert_eq!(lines(&[b"\xff\n"]), Err(LineError::NotText));
    }

    proptest! {
        #[test]
        fn chunk_borders_do_not_matter(text in "[a-z€\u{1f600}\n]{0,60}", size in 1_usize..9) {
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let expected: Vec<String> = text.lines().map(str::to_owned).collect();
            prop_assert_eq!(lines(&chunks).unwrap(), expected);
        }
    }
}
