//! The text of an answer while it is written, for whoever shows it.

use std::sync::{Arc, Mutex, PoisonError};

use super::think;

/// Shared by the endpoint that writes and by who reads. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct SoFar(Arc<Mutex<Written>>);

#[derive(Debug, Default)]
struct Written {
    text: String,
    /// Did reasoning come in a field of its own?
    apart: bool,
}

impl SoFar {
    /// A new run begins: what another one wrote is no part of its answer.
    pub fn begin(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Written::default();
    }

    /// A piece of the answer came, or one of reasoning.
    pub fn push(&self, content: &str, thinking: &str) {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.text.push_str(content);
        written.apart |= !thinking.is_empty();
    }

    /// The answer so far, without reasoning; none while there is none.
    #[must_use]
    pub fn answer(&self) -> Option<String> {
        let written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        think::answer(&written.text, written.apart).map(str::to_owned)
    }
}

/// The same one, not the same text.
impl PartialEq for SoFar {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_is_not_shown_and_a_new_run_begins_anew() {
        let so_far = SoFar::default();
        so_far.push("<think>hm", "");
        assert_eq!(so_far.answer(), None);
        so_far.push("</think>Par", "");
        assert_eq!(so_far.answer().as_deref(), Some("Par"));
        so_far.begin();
        so_far.push("Is", "");
        assert_eq!(so_far.answer().as_deref(), Some("Is"));
    }
}
