//! What the relay can be told to do wrong.

use std::time::Duration;

/// What the relay does wrong, from [`FakeRelay::set`] to [`FakeRelay::heal`].
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Every EVENT gets `OK false` with these words (`blocked: no`, `pow: 10`, …) and is not kept.
    Refuse(String),
    /// EVENT is neither kept nor answered.
    NoOk,
    /// EVENT is kept, its OK is lost.
    LoseOk,
    /// EVENT is kept, then the socket is cut before the OK.
    CutBeforeOk,
    /// Open subscriptions and every REQ are answered by CLOSED with these words.
    Close(String),
    /// The same, with a CLOSED that has no words at all.
    CloseBare,
    /// The next REQ alone is answered by CLOSED with these words; then it heals by itself.
    CloseOnce(String),
    /// Every socket is cut, and every new one right after its handshake.
    Drop,
    /// Open sockets fall silent for ever (no pong either); new ones are accepted and never answered.
    HalfOpen,
    /// Answers pings and forgets every subscription; REQ gets no answer.
    Deaf,
    /// REQ gets what is stored and what comes, and never an EOSE.
    NoEose,
    /// Every event is sent three times.
    Duplicate,
    /// Stored events come oldest first, live ones in swapped pairs.
    Reorder,
    /// Everything it says comes this much later.
    Delay(Duration),
    /// `since` is ignored: everything ever stored comes again, now and with every REQ.
    Replay,
    /// NIP-42 first.
    Auth,
    /// NIP-13: an event with fewer bits is refused with `pow:`.
    Pow(u8),
    /// Every event comes with a forgery under its id (before it and after it), and REQ brings forgeries under made-up ids.
    Forge,
    /// Now and with every REQ come well-signed events that nobody asked for: wrong kind, years old.
    Unasked,
    /// Now and with every REQ comes a frame of 20 MB.
    Huge,
    /// Now and with every REQ come things that are not Nostr.
    Garbage,
    /// The handshake is answered with this HTTP status.
    Http(u16),
}
