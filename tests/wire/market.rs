//! A seller, a buyer and their words.

use nostr::nips::{nip04, nip44};
use nostr::{Event, Keys, PublicKey, UnsignedEvent};
use vend::domain::buyer::{self, Answer, Order};
use vend::domain::job::Encryption;
use vend::domain::msat::Msat;
use vend::domain::reply::{Reply, Way, compose};
use vend::domain::request::{self};
use vend::domain::time::Time;

pub const NOW: Time = Time(1_795_000_000_000);
pub const HINT: &str = "wss://nos.lol";
pub const PROMPT: &str = "Why is the sky blue? Keep this question secret.";
pub const ANSWER: &str = "Because of Rayleigh scattering. Keep this answer secret.";
pub const INVOICE: &str = "lnbcrt210n1pjexample";
pub const SCHEMES: [Encryption; 3] = [Encryption::Plain, Encryption::Nip04, Encryption::Nip44];

pub fn seal(keys: &Keys, scheme: Encryption, to: &PublicKey, text: &str) -> Result<String, String> {
    let secret = keys.secret_key();
    match scheme {
        Encryption::Plain => Err("a plain text was to be encrypted".to_owned()),
        Encryption::Nip04 => nip04::encrypt(secret, to, text).map_err(|e| e.to_string()),
        Encryption::Nip44 => {
            nip44::encrypt(secret, to, text, nip44::Version::V2).map_err(|e| e.to_string())
        }
    }
}

pub fn unseal(keys: &Keys, scheme: Encryption, from: &PublicKey, text: &str) -> Result<String, ()> {
    let secret = keys.secret_key();
    match scheme {
        Encryption::Plain => Err(()),
        Encryption::Nip04 => nip04::decrypt(secret, from, text).map_err(|_| ()),
        Encryption::Nip44 => nip44::decrypt(secret, from, text).map_err(|_| ()),
    }
}

pub struct Market {
    pub seller: Keys,
    pub buyer: Keys,
}

impl Market {
    pub fn new() -> Self {
        Self {
            seller: Keys::generate(),
            buyer: Keys::generate(),
        }
    }

    pub fn us(&self) -> PublicKey {
        self.seller.public_key()
    }

    pub fn ask(&self, scheme: Encryption) -> Event {
        let order = order(Some(self.us()), scheme);
        buyer::order(&order, &self.buyer.public_key(), NOW, &|s, to, t| {
            seal(&self.buyer, s, to, t)
        })
        .unwrap()
        .sign_with_keys(&self.buyer)
        .unwrap()
    }

    pub fn compose(&self, request: &Event, reply: &Reply) -> Result<UnsignedEvent, String> {
        let scheme = request::encryption(request);
        compose(
            request,
            scheme,
            &self.us(),
            reply,
            Way {
                hint: HINT,
                longest: &[1_000_000],
            },
            NOW,
            &|s, to, t| seal(&self.seller, s, to, t),
        )
    }

    pub fn reply(&self, request: &Event, reply: &Reply) -> Event {
        let unsigned = self.compose(request, reply).unwrap();
        let event = unsigned.sign_with_keys(&self.seller).unwrap();
        event.verify().unwrap();
        event
    }

    pub fn hear(&self, event: &Event) -> Answer {
        let (id, answer) =
            buyer::read_answer(event, &|s, from, t| unseal(&self.buyer, s, from, t)).unwrap();
        assert_eq!(id.0.to_hex(), values(event, "e")[0][0]);
        answer
    }
}

pub fn order(to: Option<PublicKey>, encrypt: Encryption) -> Order {
    Order {
        kind: 5050,
        prompt: PROMPT.to_owned(),
        model: Some("gemma2".to_owned()),
        max_tokens: Some(99),
        bid: Some(Msat(21_000)),
        output: Some("text/plain".to_owned()),
        relays: vec![HINT.to_owned()],
        to,
        encrypt,
        ..Order::default()
    }
}

pub fn result(content: &str) -> Reply {
    Reply::Result {
        content: content.to_owned(),
        amount: Some((Msat(21_000), INVOICE.to_owned())),
        model: "gemma2:latest".to_owned(),
        usage: None,
        expiration: Some(1_795_003_600),
    }
}

/// The values of all tags of a name.
pub fn values(event: &Event, name: &str) -> Vec<Vec<String>> {
    let all = event.tags.iter().map(nostr::Tag::as_slice);
    all.filter(|tag| tag[0] == name)
        .map(|tag| tag[1..].to_vec())
        .collect()
}

pub fn names(event: &Event) -> Vec<&str> {
    let all = event.tags.iter().map(nostr::Tag::as_slice);
    all.map(|tag| tag[0].as_str()).collect()
}
