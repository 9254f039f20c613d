//! The link to the wallet: questions that wait for their answers, and what is known of the wallet and of the way to it.
//!
//! Each relay of the connection has a line of its own ([`super::relay_connection`]). A line looks at the questions here and makes its
//! relay's subscriptions fit; so a new connection asks again by itself whatever still waits for an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nostr::{Event, EventBuilder, Kind, Tag, TagKind, Timestamp};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::answers::{self, Card, Refusal};
use super::cipher::{self, Scheme};
use super::connection::Connection;
use super::relay_connection;
use super::shared::{Sent, Shared, lock};
use crate::wallet::{BROKE_OFF, WalletError};

/// Questions at once: relays bound how many subscriptions one client has.
const AT_ONCE: usize = 8;

/// How long the wallet's card is waited for; some relays keep none.
const CARD_WAIT: Duration = Duration::from_secs(5);

/// Clocks differ: the wallet must not take a fresh question for one that is over.
const EXPIRATION_SLACK: Duration = Duration::from_mins(1);

/// The link. Its lines start with the first question and end when it is dropped.
pub(super) struct NwcClient {
    pub(super) shared: Arc<Shared>,
    started: AtomicBool,
    stop: CancellationToken,
    tasks: TaskTracker,
    turns: Semaphore,
    _end: DropGuard,
}

/// What came of a question: the result, or the wallet's no.
pub(super) type Answered = Result<Result<Value, Refusal>, WalletError>;

impl NwcClient {
    pub(super) fn new(connection: Connection) -> Self {
        let stop = CancellationToken::new();
        Self {
            shared: Arc::new(Shared::new(connection)),
            started: AtomicBool::new(false),
            tasks: TaskTracker::new(),
            turns: Semaphore::new(AT_ONCE),
            _end: stop.clone().drop_guard(),
            stop,
        }
    }

    /// Begins to listen, once. Needs a tokio runtime.
    pub(super) fn start(&self) {
        if self.started.swap(true, Ordering::SeqCst) {
            return;
        }
        for index in 0..self.shared.kicks.len() {
            let stop = self.stop.child_token();
            self.tasks
                .spawn(relay_connection::run(self.shared.clone(), index, stop));
        }
    }

    /// Ends the lines, and returns when they have ended.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Asks the wallet, and waits for its answer: at most `wait`, the way to it included. Where `once` is given, the question
    /// is sent once, and that it was is told there.
    ///
    /// # Errors
    /// `Unreachable` where no relay can be used, `TimedOut` where nobody answers, `Protocol` for an answer that is none.
    pub(super) async fn ask(
        &self,
        method: &str,
        params: Value,
        wait: Duration,
        once: Option<&Sent>,
    ) -> Answered {
        let asking = async {
            let _turn = self.turns.acquire().await;
            let scheme = self.scheme().await?;
            let first = self.exchange(scheme, method, &params, wait, once).await?;
            // An older or newer wallet than its card tells: it has done nothing yet, so it is asked in the other one.
            let Err(refusal) = &first else {
                return Ok(first);
            };
            if !refusal.is("UNSUPPORTED_ENCRYPTION") {
                return Ok(first);
            }
            let scheme = scheme.other();
            if let Some(sent) = once {
                sent.store(0, Ordering::SeqCst);
            }
            let second = self.exchange(scheme, method, &params, wait, once).await?;
            *lock(&self.shared.learned) = Some(scheme);
            Ok(second)
        };
        match tokio::time::timeout(wait, asking).await {
            Ok(answered) => answered,
            Err(_) => Err(self.silence(wait)),
        }
    }

    /// Nobody answered in this time: on the way, or at its end.
    pub(super) fn silence(&self, wait: Duration) -> WalletError {
        self.shared.silence(wait)
    }

    /// What the wallet's card says, waited for where it is on its way.
    pub(super) async fn card(&self) -> Result<Option<Card>, WalletError> {
        self.ready().await?;
        let mut changed = self.shared.changed.subscribe();
        let told = async {
            while lock(&self.shared.card).is_none() && !self.shared.all_told() {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(CARD_WAIT, told).await.is_err() {
            // Without a card the oldest way of talking is tried, from now on at once.
            self.shared.give_up_card();
        }
        Ok(lock(&self.shared.card).clone())
    }

    /// The card as far as it is known now.
    pub(super) fn known_card(&self) -> Option<Card> {
        lock(&self.shared.card).clone()
    }

    async fn scheme(&self) -> Result<Scheme, WalletError> {
        let card = self.card().await?;
        if let Some(learned) = *lock(&self.shared.learned) {
            return Ok(learned);
        }
        card.map_or(Ok(Scheme::Nip04), |card| card.scheme())
    }

    /// Waits until a relay listens, or every one has failed since.
    async fn ready(&self) -> Result<(), WalletError> {
        self.start();
        let mut changed = self.shared.changed.subscribe();
        let before = self.shared.failures();
        if !self.shared.is_up() {
            for kick in &self.shared.kicks {
                kick.notify_one();
            }
        }
        loop {
            if self.shared.is_up() {
                return Ok(());
            }
            if let Some(why) = self.shared.all_down(&before) {
                return Err(why);
            }
            if changed.changed().await.is_err() {
                return Err(WalletError::Unreachable("the link has ended".to_owned()));
            }
        }
    }

    async fn exchange(
        &self,
        scheme: Scheme,
        method: &str,
        params: &Value,
        wait: Duration,
        once: Option<&Sent>,
    ) -> Answered {
        let shared = &self.shared;
        let before = shared.failures();
        let sent = once.cloned().unwrap_or_default();
        let answer = loop {
            let connections = shared.connections();
            let event = request(&shared.connection, scheme, method, params, wait)?;
            let (answer, answered) = oneshot::channel();
            let asked = shared.put(event, once.is_some(), sent.clone(), answer);
            tokio::select! {
                Ok(answer) = answered => break answer,
                error = shared.given_up(asked.id, &before) => return Err(given_up(error, &sent)),
                // Asked anew, under another id: a wallet does not answer the same one twice.
                () = shared.made_anew(&connections), if once.is_none() => {}
            }
        };
        let text = cipher::open(&shared.connection, &answer.content)?;
        answers::read(&text, method, &shared.connection)
    }
}

/// Where a relay has the question, the wallet may have it too.
fn given_up(error: WalletError, sent: &Sent) -> WalletError {
    match error {
        WalletError::Unreachable(words) if sent.load(Ordering::SeqCst) > 0 => {
            WalletError::Unreachable(format!("it {BROKE_OFF}: {words}"))
        }
        error => error,
    }
}

/// The signed request (NIP-47, kind 23194).
fn request(
    connection: &Connection,
    scheme: Scheme,
    method: &str,
    params: &Value,
    wait: Duration,
) -> Result<Event, WalletError> {
    let text = json!({"method": method, "params": params}).to_string();
    let until = Timestamp::now() + (wait + EXPIRATION_SLACK).as_secs();
    EventBuilder::new(
        Kind::WalletConnectRequest,
        cipher::seal(scheme, connection, &text)?,
    )
    .tags([
        Tag::public_key(connection.wallet),
        Tag::custom(TagKind::custom("encryption"), [scheme.as_str()]),
        Tag::expiration(until),
    ])
    .sign_with_keys(&connection.keys)
    .map_err(|error| WalletError::Rejected(connection.plain(&error.to_string())))
}
