//! Server-sent events, as far as chat completions use them (HTML standard, section "Interpreting an event stream").

use super::lines::{LineError, MAX_LINE};

/// Puts an event's data together from lines.
#[derive(Debug, Default)]
pub struct Events {
    data: Option<String>,
}

impl Events {
    /// Takes the next line; gives the data of the event that it ends. Comments (`: ping`) and other fields give nothing.
    ///
    /// A line that starts with `{` is taken as data: some servers send an error as bare JSON in the middle of a stream.
    ///
    /// # Errors
    ///
    /// [`LineError::TooLong`] when an event's lines come to more than a line may have.
    pub fn push(&mut self, line: &str) -> Result<Option<String>, LineError> {
        if line.is_empty() {
            return Ok(self.data.take());
        }
        let line = line.strip_prefix('\u{feff}').unwrap_or(line);
        let bare = line.starts_with('{').then_some(line);
        let Some(part) = bare.or_else(|| line.strip_prefix("data:")) else {
            return Ok(None);
        };
        let part = part.strip_prefix(' ').unwrap_or(part);
        match &mut self.data {
            None => self.data = Some(part.to_owned()),
            Some(data) if data.len() + part.len() > MAX_LINE => return Err(LineError::TooLong),
            Some(data) => {
                data.push('\n');
                data.push_str(part);
            }
        }
        Ok(None)
    }

    /// What is left when the stream is over without the empty line that ends an event.
    pub fn finish(&mut self) -> Option<String> {
        self.data.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(lines: &[&str]) -> Vec<String> {
        let mut events = Events::default();
        let mut out: Vec<String> = lines
            .iter()
            .filter_map(|line| events.push(line).unwrap())
            .collect();
        out.extend(events.finish());
        out
    }

    #[test]
    fn an_event_ends_at_the_empty_line() {
        let lines = [
            "data: a", "", ": ping", "", "event: x", "data:b", "data: c", "",
        ];
        assert_eq!(events(&lines), ["a", "b\nc"]);
    }

    #[test]
    fn the_last_event_needs_no_empty_line() {
        assert_eq!(events(&["data: [DONE]"]), ["[DONE]"]);
    }

    #[test]
    fn an_error_as_bare_json_is_seen() {
        assert_eq!(events(&[r#"{"error":"x"}"#]), [r#"{"error":"x"}"#]);
    }

    #[test]
    fn an_event_of_many_lines_is_bounded() {
        let mut events = Events::default();
        let line = format!("data: {}", "x".repeat(MAX_LINE / 2 + 1));
        assert_eq!(events.push(&line), Ok(None));
        assert_eq!(events.push(&line), Err(LineError::TooLong));
    }
}
