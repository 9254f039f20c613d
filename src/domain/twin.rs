//! Two machines that sell with one key: each answers and charges every request once more. Whoever sees a result of this key that
//! it has not signed says since when it sells; of the two, the later one goes offline.

use nostr::{Event, EventId, Kind, PublicKey, Tag, Timestamp, UnsignedEvent};

use super::time::Time;

/// The kind of such a word. No relay keeps it.
pub const CLAIM: u16 = 21_990;

/// A word that is older, seconds, says nothing of now.
const FRESH_SECS: u64 = 120;

/// What the one that goes offline says, and what a start that nobody watches looks for: it does not try again by itself.
pub const AWAY: &str = "another machine sells with this identity";

/// Since when one machine sells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Machine {
    /// When it went online, Unix seconds, by its own clock.
    pub since: u64,
    /// The run of its program: decides where both began in the same second.
    pub boot: String,
}

/// What a machine says of itself, and what it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who.
    pub machine: Machine,
    /// The event of the other machine by which it was noticed. It makes an old word that is shown again worthless.
    pub about: EventId,
}

/// The words of one machine.
#[must_use]
pub fn claim(us: &PublicKey, claim: &Claim, now: Time) -> UnsignedEvent {
    let (since, about) = (claim.machine.since.to_string(), claim.about.to_hex());
    let until = (now.secs() + FRESH_SECS).to_string();
    let tags = [
        ["e", about.as_str()],
        ["boot", claim.machine.boot.as_str()],
        ["since", since.as_str()],
        ["expiration", until.as_str()],
    ];
    // None of these is refused: each has a name and a value.
    let tags = tags.into_iter().filter_map(|tag| Tag::parse(tag).ok());
    UnsignedEvent::new(
        *us,
        Timestamp::from_secs(now.secs()),
        Kind::from_u16(CLAIM),
        tags.collect::<Vec<_>>(),
        "",
    )
}

/// Reads one; none where it is none, or old.
#[must_use]
pub fn read(event: &Event, now: Time) -> Option<Claim> {
    if event.kind.as_u16() != CLAIM || event.created_at.as_secs().abs_diff(now.secs()) > FRESH_SECS
    {
        return None;
    }
    let value = |name: &str| {
        event.tags.iter().find_map(|tag| {
            let parts = tag.as_slice();
            (parts.first()? == name).then(|| parts.get(1).cloned())?
        })
    };
    let boot = value("boot").filter(|boot| !boot.is_empty() && boot.len() <= 64)?;
    Some(Claim {
        machine: Machine {
            since: value("since")?.parse().ok()?,
            boot,
        },
        about: EventId::from_hex(&value("e")?).ok()?,
    })
}

/// Is it for us to go?
#[must_use]
pub fn goes(us: &Machine, other: &Machine) -> bool {
    us > other
}

#[cfg(test)]
mod tests {
    use nostr::Keys;

    use super::*;

    fn machine(since: u64, boot: &str) -> Machine {
        Machine {
            since,
            boot: boot.to_owned(),
        }
    }

    #[test]
    fn of_two_machines_exactly_one_goes_and_it_is_the_later() {
        let (early, late) = (machine(100, "ff"), machine(101, "00"));
        assert!(goes(&late, &early) && !goes(&early, &late));
        let (one, two) = (machine(100, "00"), machine(100, "ff"));
        assert!(goes(&two, &one) && !goes(&one, &two));
    }

    #[test]
    fn a_claim_is_read_back_and_an_old_one_is_none() {
        let keys = Keys::generate();
        let now = Time::from_secs(1_795_000_000);
        let said = Claim {
            machine: machine(1_794_000_000, "ab"),
            about: EventId::from_byte_array([7; 32]),
        };
        let event = claim(&keys.public_key(), &said, now)
            .sign_with_keys(&keys)
            .unwrap();
        assert_eq!(read(&event, now), Some(said));
        let later = Time::from_secs(now.secs() + FRESH_SECS + 1);
        assert_eq!(read(&event, later), None);
    }
}
