//! Signs events, with proof of work (NIP-13) where a relay wants it: within the seller's bound of bits and two seconds, off the
//! async threads. A relay whose wish can't be met in that is left out for this event; no other waits longer for it.

use std::time::{Duration, Instant};

use nostr::hashes::{Hash, HashEngine, sha256};
use nostr::{Event as Signed, EventId, Keys, Tag, UnsignedEvent};
use tokio::sync::Semaphore;

use super::transition::ApplyError;

/// The longest the mining of one event may take, the wait for other events' mining included.
const MINING: Duration = Duration::from_secs(2);

/// Nonces tried between two looks at the clock.
const TRIES: u64 = 64;

/// The first nonce: all have as many digits, so that only these bytes change.
const FIRST_NONCE: u64 = 1_000_000_000_000_000;

/// Events that are mined at once: the machine is there for the model.
static MINERS: Semaphore = Semaphore::const_new(1);

/// Signs an event. `levels`: the bits of work that relays want, each of them within the seller's bound. The event has the
/// highest level that could be reached in time.
///
/// # Errors
/// Where it can't be signed.
pub async fn sign(
    keys: Keys,
    unsigned: UnsignedEvent,
    mut levels: Vec<u8>,
) -> Result<Signed, ApplyError> {
    levels.retain(|bits| *bits > 0);
    levels.sort_unstable();
    levels.dedup();
    if levels.is_empty() {
        return put_name(&keys, unsigned);
    }
    let until = Instant::now() + MINING;
    let turn = tokio::time::timeout_at(until.into(), MINERS.acquire()).await;
    let Ok(Ok(_turn)) = turn else {
        return put_name(&keys, unsigned);
    };
    let work = move || put_name(&keys, mined(unsigned, &levels, until));
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ApplyError::Signing(error.to_string()))?
}

fn put_name(keys: &Keys, unsigned: UnsignedEvent) -> Result<Signed, ApplyError> {
    unsigned
        .sign_with_keys(keys)
        .map_err(|error| ApplyError::Signing(error.to_string()))
}

/// The lowest level costs least, so each is mined in turn, for as long as there is time.
fn mined(plain: UnsignedEvent, levels: &[u8], until: Instant) -> UnsignedEvent {
    let mut best = None;
    for bits in levels {
        match mine(&plain, *bits, until) {
            Some(event) => best = Some(event),
            None => break,
        }
    }
    best.unwrap_or(plain)
}

fn mine(plain: &UnsignedEvent, bits: u8, until: Instant) -> Option<UnsignedEvent> {
    let with = |nonce: u64| {
        let mut tags = vec![Tag::parse(["nonce", &nonce.to_string(), &bits.to_string()]).ok()?];
        tags.extend(plain.tags.iter().cloned());
        let (key, at) = (plain.pubkey, plain.created_at);
        let content = plain.content.clone();
        Some(UnsignedEvent::new(key, at, plain.kind, tags, content))
    };
    let first = with(FIRST_NONCE)?;
    // What an id is the hash of (NIP-01); the nonce comes first of the tags, and nothing before it can look like one.
    let bytes = serde_json::json!([
        0,
        first.pubkey,
        first.created_at,
        first.kind,
        first.tags,
        first.content
    ])
    .to_string();
    let digits = FIRST_NONCE.to_string();
    let at = bytes.find(&format!("[[\"nonce\",\"{digits}\""))? + "[[\"nonce\",\"".len();
    let (before, rest) = bytes.split_at(at);
    let after = &rest.as_bytes()[digits.len()..];
    let mut head = sha256::Hash::engine();
    head.input(before.as_bytes());
    for nonce in FIRST_NONCE.. {
        if nonce.is_multiple_of(TRIES) && Instant::now() >= until {
            return None;
        }
        let mut engine = head.clone();
        engine.input(nonce.to_string().as_bytes());
        engine.input(after);
        let hash = sha256::Hash::from_engine(engine).to_byte_array();
        if EventId::from_byte_array(hash).check_pow(bits) {
            return with(nonce);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use nostr::{Kind, Timestamp};

    use super::*;
    use crate::domain::work::work_of;

    fn plain(keys: &Keys, content: &str) -> UnsignedEvent {
        let tags = vec![Tag::parse(["p", &keys.public_key().to_hex()]).unwrap()];
        let (at, kind) = (Timestamp::from_secs(1_795_000_000), Kind::from_u16(6050));
        UnsignedEvent::new(keys.public_key(), at, kind, tags, content)
    }

    #[tokio::test]
    async fn an_event_has_the_work_that_relays_want_and_is_genuine() {
        let keys = Keys::generate();
        for content in ["answer", "[[\"nonce\",\"1000000000000000\"", "\"\n\u{1}é"] {
            let event = sign(keys.clone(), plain(&keys, content), vec![8, 0, 4]).await;
            let event = event.unwrap();
            event.verify().unwrap();
            assert_eq!(work_of(&event), 8, "{content}");
        }
        let event = sign(keys.clone(), plain(&keys, "x"), Vec::new())
            .await
            .unwrap();
        assert_eq!((work_of(&event), event.tags.len()), (0, 1));
    }

    #[test]
    fn what_can_not_be_reached_in_time_leaves_what_was_reached() {
        let keys = Keys::generate();
        let until = Instant::now() + Duration::from_millis(200);
        let event = mined(plain(&keys, "x"), &[4, 60], until);
        assert_eq!(work_of(&event.sign_with_keys(&keys).unwrap()), 4);
    }
}
