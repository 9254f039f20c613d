//! The way out for a result that relays refuse for its date: it is signed anew, once it is known that no relay has the first.

use std::sync::Arc;
use std::time::Duration;

use nostr::{Event as Signed, JsonUtil, Timestamp, UnsignedEvent};

use super::context::EngineContext;
use super::mint;
use super::recovery_desk::CaseError;
use crate::domain::job::Job;
use crate::domain::reply::Role;
use crate::domain::time::Time;
use crate::ledger::{LedgerError, SignedDraft};

/// How long the relays may take to say that they do not have it.
const ASKED_FOR: Duration = Duration::from_secs(15);
/// For how long the new one is sent.
const OF_USE: Duration = Duration::from_secs(24 * 3_600);

/// Signs it anew and puts it in the first one's place.
///
/// # Errors
/// Where the shop is offline, a relay has the first one, or it is not kept any more; nothing was changed then.
pub async fn send_anew(shop: &Arc<EngineContext>, job: &Job) -> Result<String, CaseError> {
    let connections = shop.connections().ok_or(CaseError::NeedsRelays)?;
    let kept = shop.ledger.events_of(job.id).await?;
    let role = Role::Result.as_str();
    let json = kept.into_iter().find(|(of, _)| of == role);
    let first = json.and_then(|(_, json)| Signed::from_json(json).ok());
    let first = first.ok_or(LedgerError::Unreadable("the result, which is not kept"))?;
    if !connections
        .relays
        .fetch(vec![first.id], Vec::new(), ASKED_FOR)
        .await
        .is_empty()
    {
        return Err(CaseError::IsOut);
    }
    let now = shop.signed_at(None).secs();
    // In the first one's own second it would be the same event, which was refused.
    let date = if now == first.created_at.as_secs() {
        now + 1
    } else {
        now
    };
    let unsigned = UnsignedEvent::new(
        first.pubkey,
        Timestamp::from_secs(date),
        first.kind,
        first.tags.to_vec(),
        first.content,
    );
    let signed = mint::sign(shop.keys.clone(), unsigned, Vec::new()).await?;
    let draft = SignedDraft {
        role: Role::Result,
        event_id: signed.id,
        json: signed.as_json(),
        not_after: Time::now().plus(OF_USE),
        relays: shop.targets(&job.terms.relays),
    };
    let note = format!(
        "the first one, {}, was with no relay that was asked",
        first.id.to_hex()
    );
    shop.ledger.sign_again(job.clone(), draft, note).await?;
    shop.wakers.outbox.notify_one();
    Ok("its result was signed anew and is sent; if a relay that was not asked has the first one, the buyer may see two".to_owned())
}
