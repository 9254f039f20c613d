//! One connection to a relay: subscribes, sends, listens, notices silence.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use nostr::{
    ClientMessage, Event, EventBuilder, EventId, Filter, JsonUtil, Kind, RelayUrl, SubscriptionId,
    Timestamp,
};
use serde_json::Value;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::heard;
use super::relay_connection::Socket;
use super::shared::{Question, Sent, Shared};
use crate::domain::text::clean;

/// How long a frame may take to leave.
const SEND: Duration = Duration::from_secs(10);

/// How long a relay may take to say that it listens, before a question is sent all the same.
const LISTENS: Duration = Duration::from_secs(3);

/// Between two pings; a relay that is silent for three is gone.
const PING: Duration = Duration::from_secs(20);

/// The longest NIP-42 challenge that is answered.
const MAX_CHALLENGE: usize = 1024;

/// Notifications of this time are asked for after a connection was lost. Clocks may differ by as much.
const LOOK_BACK: Duration = Duration::from_mins(10);

const CARD: &str = "vend-card";
const NEWS: &str = "vend-news";

/// How far a question is on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its answer was subscribed to; it is sent at this moment at the latest.
    Subscribed(Instant),
    /// It was sent.
    Sent,
    /// The relay does not take it, or wants to know who we are first.
    Waits,
}

/// One connection.
pub(super) struct Session<'a> {
    shared: &'a Shared,
    index: usize,
    url: &'a RelayUrl,
    socket: Socket,
    stages: HashMap<EventId, Stage>,
    /// The answer to the relay's challenge, while it is not accepted yet.
    auth: Option<EventId>,
    /// Is the subscription to notifications open?
    news: bool,
    heard: Instant,
}

/// Why a connection is over.
pub(super) type Over = String;

impl<'a> Session<'a> {
    pub(super) fn new(shared: &'a Shared, index: usize, url: &'a RelayUrl, socket: Socket) -> Self {
        Self {
            shared,
            index,
            url,
            socket,
            stages: HashMap::new(),
            auth: None,
            news: false,
            heard: Instant::now(),
        }
    }

    /// Works until the connection is over, and tells why.
    pub(super) async fn work(&mut self) -> Over {
        match self.talk().await {
            Ok(never) => match never {},
            Err(why) => why,
        }
    }

    async fn talk(&mut self) -> Result<std::convert::Infallible, Over> {
        let mut changed = self.shared.changed.subscribe();
        self.listen().await?;
        self.shared.way(self.index, |way| {
            way.up = true;
            way.made += 1;
            way.told_card = false;
        });
        let mut ping = tokio::time::interval(PING);
        loop {
            self.sync().await?;
            let next = self.next_deadline();
            tokio::select! {
                told = changed.changed() => told.map_err(|_| "the link has ended".to_owned())?,
                frame = self.socket.next() => self.frame(frame).await?,
                () = tokio::time::sleep_until(next) => {}
                _ = ping.tick() => self.pulse().await?,
            }
        }
    }

    async fn send(&mut self, message: ClientMessage<'_>) -> Result<(), Over> {
        self.put(Message::text(message.as_json())).await
    }

    async fn put(&mut self, message: Message) -> Result<(), Over> {
        match timeout(SEND, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(broke(&error.to_string())),
            Err(_) => Err("the connection takes nothing any more".to_owned()),
        }
    }

    /// Subscribes to the wallet's card and to its notifications.
    async fn listen(&mut self) -> Result<(), Over> {
        let wallet = self.shared.connection.wallet;
        let card = Filter::new()
            .kind(Kind::WalletConnectInfo)
            .author(wallet)
            .limit(1);
        self.subscribe(CARD, card).await?;
        let news = Filter::new()
            .kinds(heard::kinds())
            .author(wallet)
            .pubkey(self.shared.connection.keys.public_key())
            .since(Timestamp::now() - LOOK_BACK);
        self.subscribe(NEWS, news).await?;
        self.news = true;
        Ok(())
    }

    async fn subscribe(&mut self, id: &str, filter: Filter) -> Result<(), Over> {
        self.send(ClientMessage::req(SubscriptionId::new(id), vec![filter]))
            .await
    }

    /// Makes the subscriptions fit the questions, and sends those whose answers are listened for.
    async fn sync(&mut self) -> Result<(), Over> {
        let waiting: HashMap<EventId, (Event, bool, Sent)> = self.shared.questions(|questions| {
            let of = |one: &Question| (one.event.clone(), one.once, one.sent.clone());
            let waiting = questions.iter();
            waiting.map(|(id, one)| (*id, of(one))).collect()
        });
        let over: Vec<EventId> = self.stages.keys().copied().collect();
        for id in over.into_iter().filter(|id| !waiting.contains_key(id)) {
            self.stages.remove(&id);
            self.send(ClientMessage::close(name(id))).await?;
        }
        let now = Instant::now();
        for (id, (event, once, sent)) in waiting {
            match self.stages.get(&id) {
                None => {
                    let answers = Filter::new()
                        .kind(Kind::WalletConnectResponse)
                        .author(self.shared.connection.wallet)
                        .event(id);
                    self.send(ClientMessage::req(name(id), vec![answers]))
                        .await?;
                    self.stages.insert(id, Stage::Subscribed(now + LISTENS));
                }
                Some(Stage::Subscribed(latest)) if *latest <= now => {
                    if sent.fetch_add(1, Ordering::SeqCst) > 0 && once {
                        // Another relay has it. Should that one refuse it, it is this one's turn.
                        sent.fetch_sub(1, Ordering::SeqCst);
                        self.stages.insert(id, Stage::Subscribed(now + LISTENS));
                    } else {
                        self.stages.insert(id, Stage::Sent);
                        self.send(ClientMessage::event(event)).await?;
                    }
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn next_deadline(&self) -> Instant {
        let deadlines = self.stages.values().filter_map(|stage| match stage {
            Stage::Subscribed(latest) => Some(*latest),
            Stage::Sent | Stage::Waits => None,
        });
        deadlines.min().unwrap_or_else(|| Instant::now() + PING)
    }

    async fn pulse(&mut self) -> Result<(), Over> {
        if self.heard.elapsed() > PING * 3 {
            return Err("it has fallen silent".to_owned());
        }
        if !self.news && self.auth.is_none() {
            self.listen().await?;
        }
        self.put(Message::Ping(Vec::new().into())).await
    }

    async fn frame(&mut self, frame: Option<Result<Message, Error>>) -> Result<(), Over> {
        let frame = match frame {
            None => return Err("it ended the connection".to_owned()),
            Some(Err(error)) => return Err(broke(&error.to_string())),
            Some(Ok(frame)) => frame,
        };
        self.heard = Instant::now();
        match frame {
            Message::Text(text) => self.text(&text).await,
            Message::Close(_) => Err("it ended the connection".to_owned()),
            _ => Ok(()),
        }
    }

    /// One message of the relay (NIP-01, NIP-42). What makes no sense is passed over.
    async fn text(&mut self, text: &str) -> Result<(), Over> {
        let Ok(Value::Array(parts)) = serde_json::from_str(text) else {
            return Ok(());
        };
        let word = |at: usize| parts.get(at).and_then(Value::as_str).unwrap_or_default();
        match word(0) {
            "EVENT" => {
                let event = parts.into_iter().nth(2).map(serde_json::from_value);
                if let Some(Ok(event)) = event {
                    self.shared.hear(event);
                }
            }
            "EOSE" => self.listens(word(1)),
            "CLOSED" => self.closed(word(1), word(2)),
            "OK" => {
                let accepted = parts.get(2).and_then(Value::as_bool) == Some(true);
                if let Ok(id) = EventId::from_hex(word(1)) {
                    self.judged(id, accepted, word(3)).await?;
                }
            }
            "AUTH" if word(1).len() <= MAX_CHALLENGE => self.introduce(word(1)).await?,
            _ => {}
        }
        Ok(())
    }

    /// The relay listens: what it was asked to listen for may be sent.
    fn listens(&mut self, sub: &str) {
        if sub == CARD {
            self.shared.way(self.index, |way| way.told_card = true);
        }
        if let Some((_, stage)) = self.named(sub)
            && matches!(stage, Stage::Subscribed(_))
        {
            *stage = Stage::Subscribed(Instant::now());
        }
    }

    fn named(&mut self, sub: &str) -> Option<(EventId, &mut Stage)> {
        let found = self
            .stages
            .iter_mut()
            .find(|(id, _)| name_text(**id) == sub);
        found.map(|(id, stage)| (*id, stage))
    }

    fn closed(&mut self, sub: &str, words: &str) {
        match sub {
            // It tells once it knows who asks.
            CARD if wants_auth(words) => {}
            CARD => self.shared.way(self.index, |way| way.told_card = true),
            NEWS => self.news = false,
            _ => {
                let wants_auth = wants_auth(words);
                if let Some((id, stage)) = self.named(sub) {
                    *stage = Stage::Waits;
                    if !wants_auth {
                        self.shared.refuse(id, self.index, words);
                    }
                }
            }
        }
    }

    async fn judged(&mut self, id: EventId, accepted: bool, words: &str) -> Result<(), Over> {
        if self.auth == Some(id) {
            self.auth = None;
            if !accepted {
                return Err(format!("it does not let us in: {}", clean(words, 100)));
            }
            // It knows us now: what it refused before is asked again.
            self.listen().await?;
            self.stages.retain(|_, stage| *stage != Stage::Waits);
        } else if !accepted && self.stages.contains_key(&id) {
            if words.starts_with("duplicate:") {
                return Ok(());
            }
            // It has not passed it on. A refusal counts once.
            if self.stages.insert(id, Stage::Waits) == Some(Stage::Sent) {
                self.shared.questions(|questions| {
                    if let Some(question) = questions.get(&id) {
                        question.sent.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
            if !wants_auth(words) {
                self.shared.refuse(id, self.index, words);
            }
        }
        Ok(())
    }

    /// Proves who we are (NIP-42): the connection's key, which nobody else knows of.
    async fn introduce(&mut self, challenge: &str) -> Result<(), Over> {
        let keys = &self.shared.connection.keys;
        let event = EventBuilder::auth(challenge, self.url.clone())
            .sign_with_keys(keys)
            .map_err(|error| clean(&error.to_string(), 100))?;
        self.auth = Some(event.id);
        self.send(ClientMessage::auth(event)).await
    }
}

fn broke(error: &str) -> Over {
    format!("the connection broke ({})", clean(error, 80))
}

fn wants_auth(words: &str) -> bool {
    words.starts_with("auth-required")
}

/// A question's subscription; relays bound the length of its name.
fn name_text(id: EventId) -> String {
    let hex = id.to_hex();
    format!("vend-{}", hex.get(..16).unwrap_or(&hex))
}

fn name(id: EventId) -> SubscriptionId {
    SubscriptionId::new(name_text(id))
}
