//! Proof of work on events (NIP-13).

use nostr::{Event, Tag};

/// The work that an event commits to (NIP-13), bits; 0 where it has less.
#[must_use]
pub fn work_of(event: &Event) -> u8 {
    let nonce = event.tags.iter().map(Tag::as_slice);
    let mut nonce = nonce.filter(|tag| tag.first().is_some_and(|name| name == "nonce"));
    let bits = nonce.next().and_then(|tag| tag.get(2)?.parse().ok());
    bits.filter(|bits| event.id.check_pow(*bits)).unwrap_or(0)
}
