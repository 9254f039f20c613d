//! One list in the place of many looks, where the wallet shows which of its invoices are open. A list decides nothing: an
//! invoice that it does not show as open is looked at alone, and so is each from time to time, and before it expires.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::id::{PaymentHash, RequestId};
use crate::domain::job::MadeBy;
use crate::domain::time::Time;
use crate::engine::context::EngineContext;

/// As many looks at once are worth a list.
const LEAST: usize = 8;
/// Invoices of one page, as far as it matters for what is cheaper.
const PAGE: usize = 50;
/// A list that takes longer is given up.
const LONGEST: Duration = Duration::from_secs(20);
/// After a wallet gave no list, none is asked for.
const PAUSE: Duration = Duration::from_secs(60);
/// The same of one that has none to give.
const NEVER: Duration = Duration::from_secs(3_600);
/// The list begins this much before the first invoice.
const MARGIN: Duration = Duration::from_secs(2);
/// Wallets that are remembered.
const WALLETS: usize = 64;

/// When a list is worth it, by wallet.
#[derive(Debug, Default)]
pub struct Lists(HashMap<Arc<MadeBy>, Of>);

#[derive(Debug)]
struct Of {
    least: usize,
    busy: bool,
    until: Option<Instant>,
}

/// What came of one.
#[derive(Debug)]
pub struct Listing {
    made_by: Arc<MadeBy>,
    /// Whose looks it answers.
    pub ids: Vec<RequestId>,
    /// Those that are open; none where there was no list.
    pub open: HashSet<PaymentHash>,
    /// How many invoices it has; none where there was no list.
    length: Option<usize>,
    /// After one that did not come.
    pause: Duration,
}

impl Lists {
    /// As many looks of this wallet are worth a list; none where no list is to be asked for now.
    pub fn least(&self, made_by: &MadeBy) -> Option<usize> {
        match self.0.get(made_by) {
            None => Some(LEAST),
            Some(of) if of.busy || of.until.is_some_and(|until| until > Instant::now()) => None,
            Some(of) => Some(of.least),
        }
    }

    /// Is any wallet asked for lists, as far as is known?
    pub fn any(&self) -> bool {
        let mut known = self.0.values();
        self.0.is_empty() || known.any(|of| of.until.is_none_or(|until| until <= Instant::now()))
    }

    /// One is asked for.
    pub fn began(&mut self, made_by: &Arc<MadeBy>) {
        if self.0.len() >= WALLETS {
            self.0.retain(|_, of| of.busy);
        }
        let of = self.0.entry(made_by.clone()).or_insert(Of {
            least: LEAST,
            busy: false,
            until: None,
        });
        of.busy = true;
    }

    /// It came, or did not.
    pub fn ended(&mut self, listing: &Listing) {
        let Some(of) = self.0.get_mut(&listing.made_by) else {
            return;
        };
        of.busy = false;
        match listing.length {
            // A wallet with many others has long lists, which cost more calls than a few looks.
            Some(length) => of.least = LEAST.max(2 * length.div_ceil(PAGE)),
            None => of.until = Some(Instant::now() + listing.pause),
        }
    }

    /// One was asked for, and its task died.
    pub fn died(&mut self) {
        self.0.clear();
    }
}

/// Asks the wallet for the invoices since the first of these.
pub async fn list(
    shop: Arc<EngineContext>,
    made_by: Arc<MadeBy>,
    ids: Vec<RequestId>,
    first: Time,
) -> Listing {
    let mut pause = PAUSE;
    let found = match shop.wallet_handle_of(&made_by).await {
        Ok(handle) if handle.wallet.lists_open() => {
            let listed = handle.wallet.made_since(first.minus(MARGIN));
            let listed = tokio::time::timeout(LONGEST, listed).await;
            listed.ok().and_then(Result::ok)
        }
        Ok(_) => {
            pause = NEVER;
            None
        }
        Err(_) => None,
    };
    let length = found.as_ref().map(Vec::len);
    let open = found.into_iter().flatten().filter(|one| one.open);
    Listing {
        made_by,
        ids,
        open: open.map(|one| one.issued.payment_hash).collect(),
        length,
        pause,
    }
}
