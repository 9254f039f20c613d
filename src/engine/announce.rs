//! Lets buyers find the shop: handler info (NIP-89), profile, relay list. Not part of any sale: an announcement that a
//! relay refuses is told and left.

use std::sync::Arc;

use nostr::UnsignedEvent;
use tokio_util::sync::CancellationToken;

use super::admission::price_rule;
use super::desk;
use super::shop::{Market, Shop};
use crate::domain::announce::{self, Handler};
use crate::domain::event::{Level, News};
use crate::nostr::Verdict;

/// The `d` tag: one shop, one announcement, replaced each time.
const IDENTIFIER: &str = "vend";

/// Publishes what the settings want published, to each of our relays.
pub async fn announce(shop: Arc<Shop>, market: Market, stop: CancellationToken) {
    if !shop.settings().nostr.announce {
        return;
    }
    let sending = async {
        for unsigned in events(&shop) {
            send(&shop, &market, unsigned).await;
        }
    };
    tokio::select! {
        () = sending => {}
        () = stop.cancelled() => {}
    }
}

fn events(shop: &Shop) -> Vec<UnsignedEvent> {
    let settings = shop.settings();
    let (us, now) = (shop.keys.public_key(), shop.signed_at(None));
    let mut models = vec![settings.text.model.clone()];
    models.extend(settings.text.allow_models.iter().cloned());
    let name = match settings.nostr.name.as_str() {
        "" => "vend",
        name => name,
    };
    let handler = Handler {
        identifier: IDENTIFIER,
        name,
        about: "Text generation by a local language model, paid over Lightning",
        picture: None,
        kinds: &settings.nostr.kinds,
        models: &models,
        token_ceiling: settings.text.token_ceiling(),
        price: price_rule(&settings, &settings.text.model),
    };
    let mut events = vec![announce::handler(&us, &handler, now)];
    let about = "";
    let address = &settings.nostr.lightning_address;
    events.extend(announce::profile(
        &us,
        &settings.nostr.name,
        about,
        address,
        now,
    ));
    events.push(announce::relay_list(&us, &settings.nostr.relays, now));
    events
}

async fn send(shop: &Shop, market: &Market, unsigned: UnsignedEvent) {
    let kind = unsigned.kind.as_u16();
    let signed = desk::sign(shop.keys.clone(), unsigned, market.relays.wants_pow()).await;
    let event = match signed {
        Ok(event) => event,
        Err(error) => return shop.notice(Level::Error, "shop", &error.to_string()),
    };
    let sent = market.relays.own().into_iter().map(|relay| {
        let event = event.clone();
        async move {
            let (outcome, detail) = match market.relays.publish(&relay, &event).await {
                Verdict::Accepted => ("accepted", String::new()),
                Verdict::Refused(words) | Verdict::NeedsAuth(words) => ("refused", words),
                Verdict::NeedsPow(bits) => ("refused", format!("wants proof of work of {bits}")),
                Verdict::Retry(words) => ("retry", words),
            };
            shop.tell(News::Published {
                id: None,
                role: format!("kind {kind}"),
                relay: relay.to_string(),
                outcome: outcome.to_owned(),
                detail,
            });
        }
    });
    futures::future::join_all(sent).await;
}
