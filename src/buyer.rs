//! A buyer at work: publishes requests, hears feedback and results, and pays the very invoice that came. `vend request`
//! and the demo use it; the seller's engine knows nothing of it.

mod pay;

use std::collections::HashSet;
use std::time::Duration;

use nostr::{Event, EventId, Filter, Keys, Kind, PublicKey, RelayUrl};
use nostr_sdk::{Client, RelayPoolNotification};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;

use crate::domain::buyer::{self as words, Answer, Order};
use crate::domain::id::RequestId;
use crate::domain::job::Encryption;
use crate::domain::reply::{FEEDBACK, RESULT_ABOVE_REQUEST};
use crate::domain::time::Time;

pub use pay::{Paid, Payer};

/// Answers that may wait to be read.
const ANSWERS: usize = 4_096;
/// How long a relay may take to be reached.
const CONNECT: Duration = Duration::from_secs(10);

/// Why a buyer could not buy.
#[derive(Debug, thiserror::Error)]
pub enum BuyerError {
    /// The request can't be written.
    #[error("{0}")]
    Order(String),
    /// No relay took the request.
    #[error("no relay took the request: {0}")]
    NotSent(String),
    /// The client failed.
    #[error("the relays can't be used: {0}")]
    Client(String),
}

/// One answer, with who gave it.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The request it answers.
    pub request: RequestId,
    /// The event's id.
    pub event: EventId,
    /// Who gave it.
    pub seller: PublicKey,
    /// What it says.
    pub answer: Answer,
}

/// A buyer who is connected.
pub struct Buyer {
    client: Client,
    keys: Keys,
    relays: Vec<RelayUrl>,
    listening: JoinHandle<()>,
    answers: mpsc::Receiver<Heard>,
}

impl Buyer {
    /// Connects, and listens for answers to requests of this kind from now on.
    ///
    /// # Errors
    /// Where a relay can't be added.
    pub async fn connect(keys: Keys, relays: Vec<RelayUrl>, kind: u16) -> Result<Self, BuyerError> {
        let client = Client::new(keys.clone());
        let failed = |error: &dyn std::fmt::Display| BuyerError::Client(error.to_string());
        for relay in &relays {
            client
                .add_relay(relay.clone())
                .await
                .map_err(|error| failed(&error))?;
        }
        client.connect().await;
        client.wait_for_connection(CONNECT).await;
        let notifications = client.notifications();
        let kinds = [kind + RESULT_ABOVE_REQUEST, FEEDBACK].map(Kind::from_u16);
        let filter = Filter::new().kinds(kinds).pubkey(keys.public_key()).since(
            nostr::Timestamp::from_secs(Time::now().secs().saturating_sub(5)),
        );
        client
            .subscribe(filter, None)
            .await
            .map_err(|error| failed(&error))?;
        let (tell, answers) = mpsc::channel(ANSWERS);
        let listening = tokio::spawn(listen(notifications, keys.clone(), tell));
        Ok(Self {
            client,
            keys,
            relays,
            listening,
            answers,
        })
    }

    /// Signs a request; publishing it is [`Self::send`].
    ///
    /// # Errors
    /// Where the order can't be written or encrypted.
    pub fn write(&self, order: &Order) -> Result<Event, BuyerError> {
        words::order(
            order,
            &self.keys.public_key(),
            Time::now(),
            &|scheme, to, text| encrypt(&self.keys, scheme, to, text),
        )
        .map_err(BuyerError::Order)?
        .sign_with_keys(&self.keys)
        .map_err(|error| BuyerError::Order(error.to_string()))
    }

    /// Publishes a request to every relay of this buyer.
    ///
    /// # Errors
    /// Where no relay took it.
    pub async fn send(&self, request: &Event) -> Result<RequestId, BuyerError> {
        let sent = self
            .client
            .send_event_to(self.relays.clone(), request)
            .await
            .map_err(|error| BuyerError::NotSent(error.to_string()))?;
        if sent.success.is_empty() {
            let why: Vec<String> = sent
                .failed
                .iter()
                .map(|(relay, why)| format!("{relay}: {}", crate::domain::text::clean(why, 120)))
                .collect();
            return Err(BuyerError::NotSent(why.join("; ")));
        }
        Ok(RequestId(request.id))
    }

    /// The next answer to any request of this buyer; none when the connection is gone for good.
    pub async fn hear(&mut self) -> Option<Heard> {
        self.answers.recv().await
    }

    /// The buyer's key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.keys.public_key()
    }

    /// Leaves.
    pub async fn leave(self) {
        self.client.shutdown().await;
        self.listening.abort();
        // Aborted: there is nothing to learn from how it ended.
        let _ = self.listening.await;
    }
}

async fn listen(
    mut notifications: broadcast::Receiver<RelayPoolNotification>,
    keys: Keys,
    tell: mpsc::Sender<Heard>,
) {
    let mut seen: HashSet<EventId> = HashSet::new();
    loop {
        let event = match notifications.recv().await {
            Ok(RelayPoolNotification::Event { event, .. }) => event,
            Ok(RelayPoolNotification::Shutdown) | Err(broadcast::error::RecvError::Closed) => {
                return;
            }
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => continue,
        };
        // The client's cache believes a claimed id; a buyer who pays must not.
        if seen.contains(&event.id) || event.verify().is_err() {
            continue;
        }
        seen.insert(event.id);
        let Some((request, answer)) = words::read_answer(&event, &|scheme, from, text| {
            decrypt(&keys, scheme, from, text)
        }) else {
            continue;
        };
        let heard = Heard {
            request,
            event: event.id,
            seller: event.pubkey,
            answer,
        };
        if tell.send(heard).await.is_err() {
            return;
        }
    }
}

fn encrypt(keys: &Keys, scheme: Encryption, to: &PublicKey, text: &str) -> Result<String, String> {
    use nostr::nips::{nip04, nip44};
    let key = keys.secret_key();
    match scheme {
        Encryption::Plain => Ok(text.to_owned()),
        Encryption::Nip04 => nip04::encrypt(key, to, text).map_err(|error| error.to_string()),
        Encryption::Nip44 => nip44::encrypt(key, to, text, nip44::Version::default())
            .map_err(|error| error.to_string()),
    }
}

fn decrypt(keys: &Keys, scheme: Encryption, from: &PublicKey, text: &str) -> Result<String, ()> {
    use nostr::nips::{nip04, nip44};
    let key = keys.secret_key();
    match scheme {
        Encryption::Plain => Ok(text.to_owned()),
        Encryption::Nip04 => nip04::decrypt(key, from, text).map_err(drop),
        Encryption::Nip44 => nip44::decrypt(key, from, text).map_err(drop),
    }
}
