//! What may come next in a filter that is being typed.

use crate::domain::job::Status;
use crate::domain::query::KEYS;

/// The words that could stand where the last one is being typed, each as the whole word would be.
#[must_use]
pub fn completions<'a>(typed: &str, models: impl Iterator<Item = &'a str>) -> Vec<String> {
    if typed.matches('"').count() % 2 == 1 {
        return Vec::new();
    }
    let word = last_word(typed).1;
    let (minus, bare) = match word.strip_prefix('-') {
        Some(bare) => ("-", bare),
        None => ("", word),
    };
    let fitting = |begin: &str, value: &str| {
        (value.starts_with(begin) && value != begin).then(|| value.to_owned())
    };
    let values: Vec<String> = match bare.split_once(':') {
        None => KEYS
            .split(", ")
            .filter_map(|key| fitting(bare, &format!("{key}:")))
            .collect(),
        Some(("status", begin)) => Status::ALL
            .iter()
            .filter_map(|status| fitting(begin, status.as_str()))
            .map(|value| format!("status:{value}"))
            .collect(),
        // A name with a blank in it would need quotes: that is left to who types.
        Some(("model", begin)) => models
            .filter(|model| !model.contains([' ', '"']))
            .filter_map(|model| fitting(begin, model))
            .map(|value| format!("model:{value}"))
            .collect(),
        Some(_) => Vec::new(),
    };
    values
        .into_iter()
        .map(|value| format!("{minus}{value}"))
        .collect()
}

/// What is typed with its last word completed by the first that fits.
#[must_use]
pub fn completed<'a>(typed: &str, models: impl Iterator<Item = &'a str>) -> Option<String> {
    let word = completions(typed, models).into_iter().next()?;
    Some(format!("{}{word}", last_word(typed).0))
}

/// What comes before the last word, and the word.
fn last_word(typed: &str) -> (&str, &str) {
    let at = typed.rfind(' ').map_or(0, |blank| blank + 1);
    typed.split_at(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(typed: &str) -> Vec<String> {
        completions(typed, ["gemma2:latest", "two words"].into_iter())
    }

    #[test]
    fn a_key_is_completed_and_then_its_values() {
        assert_eq!(of("sta"), ["status:"]);
        assert_eq!(of("paid mo"), ["model:"]);
        assert_eq!(of("-m"), ["-model:", "-min:", "-max:"]);
        assert_eq!(of("").len(), 8);
        assert_eq!(of("status:un"), ["status:unpaid"]);
        assert_eq!(of("model:"), ["model:gemma2:latest"]);
        assert!(of("\"sta").is_empty() && of("min:1").is_empty() && of("xyz").is_empty());
    }

    #[test]
    fn only_the_last_word_is_changed() {
        let models = || std::iter::empty();
        let whole = completed("model:gemma sta", models());
        assert_eq!(whole.as_deref(), Some("model:gemma status:"));
        assert_eq!(completed("nothing", models()), None);
    }
}
