//! Model names: when two of them mean the same model.
//!
//! Ollama compares names without regard to case, and a name without a tag means `:latest`. Buyers and settings write
//! either form, so every comparison of names goes through here.

/// The one form of a name: trimmed, lower case, with its tag (`Llama3.2` is `llama3.2:latest`).
///
/// For comparing only: a server is asked by the name it gave itself, as some servers regard case.
#[must_use]
pub fn canonical(name: &str) -> String {
    let mut name = name
        .trim_start()
        .trim_end_matches(|c: char| c == ':' || c.is_whitespace())
        .to_lowercase();
    if !has_tag(&name) {
        name.push_str(":latest");
    }
    name
}

/// Do both names mean the same model?
#[must_use]
pub fn same_model(a: &str, b: &str) -> bool {
    a == b || canonical(a) == canonical(b)
}

/// A colon after the last slash starts a tag; one before it is a registry's port (`host:5000/name`).
fn has_tag(name: &str) -> bool {
    name.rsplit('/')
        .next()
        .is_some_and(|last| last.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_without_a_tag_means_latest() {
        assert!(same_model("llama3.2", "llama3.2:latest"));
        assert!(same_model("Gemma2", " gemma2:LATEST "));
        assert!(!same_model("llama3.2", "llama3.2:1b"));
        assert!(!same_model("llama3", "llama3.2"));
    }

    #[test]
    fn a_registry_port_is_not_a_tag() {
        assert_eq!(canonical("host:5000/a/B"), "host:5000/a/b:latest");
        assert_eq!(canonical("hf.co/a/b:Q4_K_M"), "hf.co/a/b:q4_k_m");
    }

    proptest! {
        #[test]
        fn the_one_form_is_stable(name in "[A-Za-z0-9:/. -]{0,24}") {
            let once = canonical(&name);
            prop_assert!(same_model(&name, &once));
            prop_assert_eq!(canonical(&once), once);
        }
    }
}
