//! What can be done with a job, and why not.

use nostr::nips::nip19::ToBech32;

use crate::domain::detail::JobDetail;
use crate::domain::id::Buyer;
use crate::domain::job::{JobView, Status};
use crate::ui::keymap::Act;

/// A buyer as people read it.
#[must_use]
pub fn npub(buyer: &Buyer) -> String {
    buyer.0.to_bech32().unwrap_or_else(|_| buyer.to_string())
}

/// Why an act makes no sense for a job; none where it does. The engine has the last word.
#[must_use]
pub fn why_not(act: Act, job: &JobView) -> Option<String> {
    let status = job.status.as_str();
    match (act, job.status) {
        (Act::Cancel, Status::Queued | Status::AwaitingPayment | Status::Processing)
        | (Act::Block, _) => None,
        (
            Act::Cancel,
            Status::PendingPayment | Status::Paid | Status::Completed | Status::Unpaid,
        ) => Some(format!(
            "the job is {status}: its result is with the buyer, so there is nothing to cancel"
        )),
        (Act::Cancel, _) => Some(format!("the job is {status}: it has ended already")),
        (Act::Retry, Status::Error) if job.result_id.is_some() => {
            Some("its one result was signed already; it is sent again by itself".to_owned())
        }
        (Act::Retry, Status::Error) if job.bolt11.is_some() && job.paid_msat.is_zero() => {
            Some("its one invoice was made already and may be known to the buyer".to_owned())
        }
        (Act::Retry, Status::Error) => None,
        (Act::Retry, _) => Some(format!(
            "the job is {status}: only one that failed can be tried again"
        )),
        _ => Some("that is nothing to do with a job".to_owned()),
    }
}

/// What an act copies of a job.
///
/// # Errors
/// Where the job has no such thing; the sentence says so.
pub fn copied(act: Act, job: &JobView) -> Result<String, String> {
    match act {
        Act::CopyInvoice => job
            .bolt11
            .clone()
            .ok_or_else(|| "the job has no invoice".to_owned()),
        Act::CopyJson => serde_json::to_string(job).map_err(|error| error.to_string()),
        Act::CopyBuyer => Ok(npub(&job.buyer)),
        _ => Ok(job.id.to_string()),
    }
}

/// The result's event, or the request's where there is no result.
pub(super) fn event(whole: &JobDetail) -> Result<String, String> {
    let cut = |what: &str| whole.cut.iter().any(|cut| cut.what == what);
    let result = whole.events.iter().find(|event| event.role == "result");
    let (what, json) = match (result, &whole.request) {
        (Some(result), _) => ("result", &result.json),
        (None, Some(request)) => ("request", request),
        (None, None) => return Err("the job's events are erased".to_owned()),
    };
    if cut(what) {
        return Err(format!(
            "the {what} is too long to be copied; see `vend jobs show`"
        ));
    }
    Ok(json.clone())
}
