//! Looks at one thing that the shop needs, for `vend doctor` and for the tests that a screen asks for.

mod endpoint;
mod wallet;

use std::time::Duration;

use nostr::{Keys, RelayUrl};

use crate::domain::health::{Check, CheckKind, CheckStatus};
use crate::domain::text::clean;
use crate::domain::{clock, drift};
use crate::nostr::AuthSeen;

pub use endpoint::endpoints;
pub use wallet::{opened, wallet};

/// How long one relay may take.
const RELAY_TIME: Duration = Duration::from_secs(15);

/// One row of what was seen; strangers' text in `detail` is cleaned here.
#[must_use]
pub fn check(
    check: CheckKind,
    target: &str,
    status: CheckStatus,
    detail: &str,
    fix: &str,
) -> Check {
    Check {
        check,
        target: target.to_owned(),
        status,
        detail: clean(detail, 300),
        fix: fix.to_owned(),
    }
}

/// Does a relay listen for us, and take our events with at most so many bits of proof of work? Takes at most about fifteen
/// seconds.
pub async fn relay(url: &str, keys: &Keys, most_pow: u8) -> Check {
    let fix = "is the network up? else name other relays: vend config set nostr.relays \"wss://…, wss://…\"";
    let row = |status, detail: &str| {
        let fix = if status == CheckStatus::Ok { "" } else { fix };
        check(CheckKind::Relay, url, status, detail, fix)
    };
    let Ok(parsed) = RelayUrl::parse(url) else {
        return row(CheckStatus::Fail, "not a relay's address");
    };
    let seen = crate::nostr::probe(&parsed, keys, RELAY_TIME).await;
    if let Err(why) = seen.connected {
        return row(CheckStatus::Fail, &why);
    }
    let auth = match seen.auth {
        AuthSeen::NotAsked => String::new(),
        other => format!(", AUTH {other:?}"),
    };
    let bits = seen.info.as_ref().map_or(0, |info| info.min_pow);
    let pow = match bits {
        0 => String::new(),
        bits => format!(", wants {bits} bits of proof of work"),
    };
    let off = seen.clock_off_secs.and_then(drift::noted);
    match seen.subscribed {
        Ok(_) if bits > most_pow => {
            let detail = format!(
                "listens for our kinds{auth}{pow}, more than nostr.max_pow_bits ({most_pow}): it gets no events of ours"
            );
            let fix =
                format!("vend config set nostr.max_pow_bits {bits}, or take it off nostr.relays");
            check(CheckKind::Relay, url, CheckStatus::Warn, &detail, &fix)
        }
        Ok(ms) if off.is_some() => {
            let apart = clock::apart(off.unwrap_or_default());
            let detail = format!(
                "listens for our kinds in {ms} ms{auth}{pow}, but its clock is {apart} of this machine's, and it may refuse our events"
            );
            check(
                CheckKind::Relay,
                url,
                CheckStatus::Warn,
                &detail,
                clock::FIX,
            )
        }
        Ok(ms) => row(
            CheckStatus::Ok,
            &format!("listens for our kinds in {ms} ms{auth}{pow}"),
        ),
        Err(why) if seen.unsure => row(CheckStatus::Warn, &format!("{why}{auth}{pow}")),
        Err(why) => row(CheckStatus::Fail, &format!("{why}{auth}{pow}")),
    }
}

/// How far a clock is from ours, in words.
fn apart(secs: i64) -> String {
    let way = if secs > 0 { "ahead of" } else { "behind" };
    format!("{} s {way} this machine's", secs.unsigned_abs())
}
