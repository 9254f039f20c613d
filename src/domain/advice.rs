//! What a seller can do about requests that were not taken. Honest: often that is nothing.

use super::refusal::DropReason;

/// One reason's advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What to do, in at most sixty characters.
    pub todo: &'static str,
    /// The setting in it, whose value now is worth a look.
    pub key: Option<&'static str>,
}

impl Advice {
    const fn new(todo: &'static str) -> Self {
        Self { todo, key: None }
    }

    const fn with(todo: &'static str, key: &'static str) -> Self {
        Self {
            todo,
            key: Some(key),
        }
    }

    /// The sentence, with the setting's value now where it is known: `lower price.min_price_sats (now 10), or leave it`.
    #[must_use]
    pub fn text(self, now: Option<&str>) -> String {
        match (self.key, now) {
            (Some(key), Some(now)) => self.todo.replacen(key, &format!("{key} (now {now})"), 1),
            _ => self.todo.to_owned(),
        }
    }
}

/// The advice for a reason. `Duplicate` has one too: it counts what relays repeat.
#[must_use]
pub const fn advice(reason: DropReason) -> Advice {
    match reason {
        DropReason::Duplicate => Advice::new("the same request again: nothing to do"),
        DropReason::Stale => Advice::new("late or expired: is this machine's clock right?"),
        DropReason::NotForUs => Advice::new("addressed to other sellers: nothing to do"),
        DropReason::Blocked => Advice::new("as your limits.block and limits.allow say"),
        DropReason::BadSignature => Advice::new("forged: leave out a relay that sends many"),
        DropReason::Undecryptable => Advice::new("not readable with your key: nothing to do"),
        DropReason::NoInput => Advice::new("no text in it, or not found: nothing to do"),
        DropReason::UnsupportedKind => Advice::new("other work than answering text: nothing to do"),
        DropReason::UnsupportedInput => Advice::new("wants a url or a file read: nothing to do"),
        DropReason::UnsupportedModel => Advice::with(
            "add the model to text.allow_models and pull it",
            "text.allow_models",
        ),
        DropReason::BadParam => Advice::new("the buyer's mistake: nothing to do"),
        DropReason::PromptTooLong => Advice::with(
            "raise limits.prompt_bytes if the model can",
            "limits.prompt_bytes",
        ),
        DropReason::UnsupportedPayment => {
            Advice::new("pays only in another network's coin: nothing to do")
        }
        DropReason::BidTooLow => Advice::with(
            "lower price.min_price_sats, or leave it",
            "price.min_price_sats",
        ),
        DropReason::RateLimited => {
            Advice::with("raise limits.per_minute, or leave it", "limits.per_minute")
        }
        DropReason::Busy => Advice::with(
            "add slots or an endpoint, or raise limits.queue",
            "limits.queue",
        ),
        DropReason::Offline => Advice::new("came while closed, or the wallet was down"),
    }
}

/// The advice for the word of a reason; none for a word that this vend does not know.
#[must_use]
pub fn of_word(word: &str) -> Option<Advice> {
    DropReason::parse(word).map(advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_short_advice_that_names_its_setting() {
        for reason in DropReason::ALL {
            let advice = of_word(reason.as_str()).unwrap();
            assert!(!advice.todo.is_empty(), "{reason}");
            assert!(advice.todo.chars().count() <= 60, "{reason}");
            assert!(advice.key.is_none_or(|key| advice.todo.contains(key)));
        }
        assert_eq!(of_word("flood"), None);
    }

    #[test]
    fn the_value_now_stands_beside_its_setting() {
        let advice = advice(DropReason::BidTooLow);
        let told = "lower price.min_price_sats (now 10), or leave it";
        assert_eq!(advice.text(Some("10")), told);
        assert_eq!(advice.text(None), advice.todo);
    }
}
