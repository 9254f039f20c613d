//! A JSON array that is written while it is read: however long it is, it is never whole in memory.

use serde::Serialize;

use super::exit::{Exit, Outcome, print};
use crate::domain::text;

/// The array so far. Nothing of it is lost only where [`Array::end`] is called.
#[derive(Default)]
#[must_use]
pub struct Array {
    /// The last element, which is written once it is known whether a comma follows.
    last: Option<String>,
}

impl Array {
    /// Writes one more element.
    ///
    /// # Errors
    /// Where stdout takes nothing.
    pub fn push(&mut self, value: &impl Serialize) -> Outcome {
        let text = serde_json::to_string_pretty(value).map_err(|error| Exit::failed(&error))?;
        // A line break stands between the parts of a document only, never in a text of it.
        let text = format!("  {}", text.replace('\n', "\n  "));
        match self.last.replace(text) {
            None => put("["),
            Some(last) => put(&format!("{last},")),
        }
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// Where stdout takes nothing.
    pub fn end(self) -> Outcome {
        match self.last {
            None => put("[]"),
            Some(last) => put(&format!("{last}\n]")),
        }
    }
}

/// A line of the document, with the escapes that every JSON here has.
fn put(line: &str) -> Outcome {
    print(format!("{}\n", text::json(line)).as_bytes())
}
