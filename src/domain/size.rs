//! How long a result will be, known before the work: a result that no relay can carry is work for nothing.
//!
//! Lengths are those of the message that a relay reads, `["EVENT",{…}]`, in bytes. What is quoted in JSON grows: a quotation
//! mark takes two bytes, and in a request that is quoted in the result's `request` tag it takes four.

use nostr::{Event, JsonUtil, Tag};

use super::job::Encryption;
use super::reply::max_answer_bytes;
use super::request::tags;

/// What a relay takes that does not say: a common limit.
pub const COMMON_LONGEST: usize = 65_536;

/// An answer's token takes at most so many bytes in JSON, on average over a whole answer. Words have four or five; text that
/// is all quotation marks or emoji comes near this.
const TOKEN_BYTES: usize = 8;

/// Fewer tokens than these are no answer; a request that leaves no room for them is too long.
const FEWEST_TOKENS: u32 = 32;

/// Around the event: `["EVENT",` and `]`; the event's own punctuation, id, key, time, kind and signature.
const AROUND: usize = 10 + 420;

/// The tags that each result has, without their texts: `e` with the request's id, `p`, `amount` with its number, `alt`,
/// `encrypted`, `usage`, `expiration`, `nonce`.
const SMALL_TAGS: usize = 90 + 80 + 50 + 60 + 20 + 40 + 40 + 50;

/// The longest invoice that we have seen has half of it.
const INVOICE: usize = 1_024;

/// A copied input's longest text: a common relay takes no longer value in a tag of one letter.
pub const LONGEST_INPUT: usize = 1_024;

/// What stands in a result beside the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shell {
    /// What can't be left out.
    bare: usize,
    /// The `request` tag.
    request: usize,
    /// The copies of the request's inputs.
    inputs: usize,
    encryption: Encryption,
}

/// What of a result is left out so that relays take it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    /// The request is quoted.
    pub request: bool,
    /// Its inputs are copied.
    pub inputs: bool,
}

/// A text's length within a JSON string.
#[must_use]
pub fn escaped(text: &str) -> usize {
    let of = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 2,
        0..=31 => 6,
        _ => 1,
    };
    text.bytes().map(of).sum()
}

/// The length of the message that brings this event.
#[must_use]
pub fn message(event: &Event) -> usize {
    event.as_json().len() + "[\"EVENT\",]".len()
}

/// A tag's length, with a comma.
fn tag(parts: &[String]) -> usize {
    3 + parts.iter().map(|part| escaped(part) + 3).sum::<usize>()
}

/// The tags that a result copies from a request in clear.
pub fn copied_inputs(request: &Event) -> impl Iterator<Item = &Tag> {
    request
        .tags
        .iter()
        .filter(|tag| tags::name(tag.as_slice()) == "i")
}

/// The longest event, bytes of JSON, that may hold a prompt of so many bytes: quoted twice where it is encrypted, padded, in
/// base64, with other tags beside it.
#[must_use]
pub fn longest_request(prompt_bytes: usize) -> usize {
    prompt_bytes.saturating_mul(4).saturating_add(16 * 1024)
}

impl Shell {
    /// Of the results for this request. `hint` is the relay that its `e` tag names.
    #[must_use]
    pub fn new(request: &Event, encryption: Encryption, model: &str, hint: &str) -> Self {
        let clear = encryption == Encryption::Plain;
        let short = copied_inputs(request).all(|tag| {
            let texts = tag.as_slice().iter();
            texts.map(String::len).max() <= Some(LONGEST_INPUT)
        });
        let inputs = if clear && short {
            copied_inputs(request)
                .map(|copy| tag(copy.as_slice()))
                .sum()
        } else {
            0
        };
        Self {
            request: escaped(&request.as_json()) + 20,
            inputs,
            ..Self::bare(encryption, model, hint)
        }
    }

    /// Of a result that leaves out all that it can.
    #[must_use]
    pub fn bare(encryption: Encryption, model: &str, hint: &str) -> Self {
        Self {
            bare: AROUND + SMALL_TAGS + INVOICE + escaped(model) + 20 + hint.len(),
            request: 0,
            inputs: 0,
            encryption,
        }
    }

    /// The length of a content of so many bytes, `escaped` of them in JSON.
    fn content(self, bytes: usize, escaped: usize) -> usize {
        let base64 = |bytes: usize| bytes.div_ceil(3) * 4;
        match self.encryption {
            Encryption::Plain => escaped,
            // Blocks of 16, and the vector behind it.
            Encryption::Nip04 => base64((bytes / 16 + 1) * 16) + 28,
            // Version, nonce, length, padded text, code.
            Encryption::Nip44 => base64(1 + 32 + 2 + padded(bytes) + 32),
        }
    }

    /// What a result with this answer holds, by what our relays take: as much as all of them take, else what one takes; none
    /// where the bare result is too long for each.
    #[must_use]
    pub fn fit(self, answer: &str, longest: &[usize]) -> Option<Fit> {
        let bare = self.bare + self.content(answer.len(), escaped(answer));
        let level = levels(longest).into_iter().find(|level| bare <= *level)?;
        let request = bare + self.request <= level;
        let inputs = self.inputs > 0 && request && bare + self.request + self.inputs <= level;
        Some(Fit { request, inputs })
    }

    /// How many tokens an answer may have so that at least one relay takes its result; none where it leaves no room for one.
    #[must_use]
    pub fn tokens(self, wanted: u32, longest: &[usize]) -> Option<u32> {
        let most = levels(longest).pop()?;
        let fits = |tokens: u32| {
            let bytes = usize::try_from(tokens).unwrap_or(usize::MAX);
            let bytes = bytes.saturating_mul(TOKEN_BYTES);
            // An encrypted text is not escaped; this much of it is all bytes then.
            bytes <= max_answer_bytes(self.encryption)
                && self.bare + self.content(bytes, bytes) <= most
        };
        if fits(wanted) {
            return Some(wanted);
        }
        let (mut least, mut over) = (0, wanted);
        while over - least > 1 {
            let middle = least + (over - least) / 2;
            if fits(middle) {
                least = middle;
            } else {
                over = middle;
            }
        }
        (least >= FEWEST_TOKENS.min(wanted)).then_some(least)
    }
}

/// The lengths to fit, shortest first. A description (NIP-11) above the common limit is often that of the socket alone, so the
/// common limit is kept where it can be.
fn levels(longest: &[usize]) -> Vec<usize> {
    let common = longest.iter().map(|bytes| (*bytes).min(COMMON_LONGEST));
    let mut levels: Vec<usize> = common.chain(longest.iter().copied()).collect();
    levels.sort_unstable();
    levels.dedup();
    levels
}

/// A text's padded length (NIP-44).
fn padded(bytes: usize) -> usize {
    if bytes <= 32 {
        return 32;
    }
    let power = bytes.next_power_of_two();
    let chunk = if power <= 256 { 32 } else { power / 8 };
    bytes.div_ceil(chunk) * chunk
}

#[cfg(test)]
mod tests {
    use nostr::nips::{nip04, nip44};
    use nostr::{EventBuilder, Keys, Kind};

    use super::*;
    use crate::domain::msat::Msat;
    use crate::domain::reply::{self, Reply, Way};
    use crate::domain::time::Time;

    fn request(prompt: &str) -> Event {
        EventBuilder::new(Kind::from_u16(5050), "")
            .tag(Tag::parse(["i", prompt, "text"]).unwrap())
            .tag(Tag::parse(["param", "max_tokens", "1"]).unwrap())
            .sign_with_keys(&Keys::generate())
            .unwrap()
    }

    /// The length of the message with the result as it is written.
    fn written(request: &Event, encryption: Encryption, answer: &str, longest: &[usize]) -> usize {
        let keys = Keys::generate();
        let reply = Reply::Result {
            content: answer.to_owned(),
            amount: Some((Msat(123_456), "l".repeat(900))),
            model: "gemma2:latest".to_owned(),
            usage: Some((u32::MAX, u32::MAX)),
            expiration: Some(1_800_000_000),
        };
        let seal = |scheme, to: &_, text: &str| match scheme {
            Encryption::Plain => Ok(text.to_owned()),
            Encryption::Nip04 => {
                nip04::encrypt(keys.secret_key(), to, text).map_err(|e| e.to_string())
            }
            Encryption::Nip44 => {
                nip44::encrypt(keys.secret_key(), to, text, nip44::Version::default())
                    .map_err(|e| e.to_string())
            }
        };
        let hint = "wss://relay.example.com";
        let us = keys.public_key();
        let event = reply::compose(
            request,
            encryption,
            &us,
            &reply,
            Way { hint, longest },
            Time::now(),
            &seal,
        );
        let event = event.unwrap().sign_with_keys(&keys).unwrap();
        format!("[\"EVENT\",{}]", event.as_json()).len()
    }

    const SCHEMES: [Encryption; 3] = [Encryption::Plain, Encryption::Nip04, Encryption::Nip44];

    #[test]
    fn no_result_is_longer_than_was_said_and_none_says_much_more() {
        let prompts = [
            "hi".to_owned(),
            "\"".repeat(900),
            "\u{1}\n\\é😀".repeat(90),
            "x".repeat(9_000),
        ];
        let answers = [
            "a".to_owned(),
            "\"\n".repeat(3_000),
            "é😀".repeat(2_000),
            "\u{2}".repeat(5_000),
        ];
        for prompt in &prompts {
            let request = request(prompt);
            for answer in &answers {
                for scheme in SCHEMES {
                    let shell =
                        Shell::new(&request, scheme, "gemma2:latest", "wss://relay.example.com");
                    let all = [usize::MAX];
                    let said = shell.bare
                        + shell.content(answer.len(), escaped(answer))
                        + shell.request
                        + shell.inputs;
                    let is = written(&request, scheme, answer, &all);
                    assert!(is <= said && said < is + 900, "{scheme:?}: {is} and {said}");
                }
            }
        }
    }

    #[test]
    fn inputs_are_left_out_first_and_then_the_request() {
        let asked = request(&"x".repeat(1_000));
        let shell = Shell::new(&asked, Encryption::Plain, "m", "");
        let fit = |longest: usize| shell.fit("answer", &[longest]);
        let (all, no_inputs) = (
            Fit {
                request: true,
                inputs: true,
            },
            Fit {
                request: true,
                inputs: false,
            },
        );
        let bare = Fit {
            request: false,
            inputs: false,
        };
        let known: Vec<_> = [8_000, 4_000, 2_500, 1_000].map(fit).to_vec();
        assert_eq!(known, [Some(all), Some(no_inputs), Some(bare), None]);
        // As much as all relays take; what one alone takes is better than nothing.
        assert_eq!(shell.fit("answer", &[8_000, 2_500]), Some(bare));
        assert_eq!(shell.fit("answer", &[8_000, 1_000]), Some(all));
        let long = Shell::new(&request(&"x".repeat(1_025)), Encryption::Plain, "m", "");
        assert_eq!(
            long.fit("answer", &[80_000]),
            Some(no_inputs),
            "too long a value for a common relay"
        );
    }

    #[test]
    fn an_answer_of_all_its_tokens_fits() {
        for scheme in SCHEMES {
            let asked = request("hello");
            let shell = Shell::new(&asked, scheme, "gemma2:latest", "");
            for longest in [8 * 1024, 16 * 1024, COMMON_LONGEST, 256 * 1024, 1024 * 1024] {
                let tokens = shell.tokens(1_000_000, &[longest]).unwrap();
                let answer = "x".repeat(tokens as usize * TOKEN_BYTES);
                assert!(
                    shell.fit(&answer, &[longest]).is_some(),
                    "{scheme:?} {longest}"
                );
                assert!(written(&asked, scheme, &answer, &[longest]) <= longest);
                assert_eq!(shell.tokens(16, &[longest]), Some(16));
            }
            assert_eq!(shell.tokens(512, &[2_000]), None);
            assert_eq!(shell.tokens(16, &[]), None);
        }
    }
}
