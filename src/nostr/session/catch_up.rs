//! The window of requests that a connection asks for: from the cursor on, page by page, and again after a gap.

use std::time::Instant;

use nostr::{ClientMessage, Filter, Kind, PublicKey, SubscriptionId, Timestamp};

use super::super::ZAP_WINDOW;
use super::super::connection::Sub;
use super::super::timing::doubled;
use super::Session;
use crate::domain::announce::{self, FLEETING_PING, PING};
use crate::domain::time::Time;
use crate::domain::twin;

/// An answer with this many events may have been cut off by the relay: the older part is asked for too.
pub(super) const FULL_PAGE: usize = 100;

/// The most older parts of one catch-up.
const MAX_PAGES: u32 = 100;

/// The older part of a long catch-up.
#[derive(Clone, Copy, Debug)]
pub(super) struct More {
    until: u64,
    pages: u32,
}

/// The zap receipts of the last day that name us. Which of them are known, the ledger tells.
fn zap_filter(us: PublicKey, clock: u64) -> Filter {
    let since = clock.saturating_sub(ZAP_WINDOW.as_secs());
    Filter::new()
        .kind(Kind::ZapReceipt)
        .pubkey(us)
        .since(Timestamp::from_secs(since))
}

/// Pings of us from now on, and of the last minute.
fn ping_filter(us: PublicKey, clock: u64) -> Filter {
    Filter::new()
        .kinds([PING, FLEETING_PING].map(Kind::from_u16))
        .pubkey(us)
        .since(Timestamp::from_secs(clock.saturating_sub(60)))
}

/// Events of our own key. Results from now on, and of the last minute: one that we have not signed is another machine's. What it
/// and we announce: a newer one than ours hides ours.
fn own_filters(us: PublicKey, requests: &[u16], clock: u64) -> [Filter; 2] {
    let results = requests.iter().map(|kind| kind.saturating_add(1_000));
    let kinds = results.chain([twin::CLAIM]).map(Kind::from_u16);
    [
        Filter::new()
            .author(us)
            .kinds(kinds)
            .since(Timestamp::from_secs(clock.saturating_sub(60))),
        Filter::new()
            .author(us)
            .kinds(announce::KINDS.map(Kind::from_u16)),
    ]
}

impl Session<'_> {
    /// Asks for the requests from the cursor on, less the overlap; from as far back as allowed after a gap.
    pub(super) fn ask_jobs(&mut self, now: Instant) {
        let clock = Time::now().secs();
        let oldest = clock.saturating_sub(self.shared.max_age());
        let overlap = self.shared.timing.overlap.as_secs();
        // A clock that ran ahead for a while must not make us deaf.
        let cursor = self
            .connection
            .intake
            .cursor()
            .min(clock)
            .saturating_sub(overlap);
        let since = if self.whole {
            oldest
        } else {
            oldest.max(cursor)
        };
        self.whole = false;
        self.more = None;
        let first = self.since.replace(since).is_none();
        self.connection.intake.begin(since, first);
        let mut filters = vec![self.filter(since)];
        // In the same subscription: a relay that takes only a few of them stays of use.
        filters.extend(self.shared.zaps.map(|us| zap_filter(us, clock)));
        if self.shared.named.is_none() {
            filters.push(ping_filter(self.shared.us, clock));
            filters.extend(own_filters(self.shared.us, &self.shared.kinds, clock));
        }
        self.request(Sub::Jobs, filters);
        self.jobs.sent(now);
    }

    fn filter(&self, since: u64) -> Filter {
        let kinds = self.shared.kinds.iter().copied().map(Kind::from_u16);
        let filter = Filter::new()
            .kinds(kinds)
            .since(Timestamp::from_secs(since));
        match self.shared.named {
            Some(us) => filter.pubkey(us),
            None => filter,
        }
    }

    /// An answer is whole: was it cut off?
    pub(super) fn turn_page(&mut self, before: Option<More>) {
        let page = self.connection.intake.page();
        let pages = before.map_or(0, |more| more.pages);
        let until = page.oldest.map(|oldest| match before {
            // A second that fills a page by itself: nothing more can be had of it.
            Some(more) if oldest >= more.until => more.until.saturating_sub(1),
            _ => oldest,
        });
        match (until, self.since) {
            (Some(until), Some(since))
                if page.count >= self.full_page && pages < MAX_PAGES && until >= since =>
            {
                let pages = pages + 1;
                self.more = Some(More { until, pages });
                self.connection.intake.begin(since, false);
                let older = self.filter(since).until(Timestamp::from_secs(until));
                self.request(Sub::More, vec![older]);
            }
            _ => {
                if before.is_some() {
                    self.send(ClientMessage::close(SubscriptionId::new(Sub::More.id())));
                }
                self.caught_up();
            }
        }
    }

    pub(super) fn caught_up(&mut self) {
        self.more = None;
        self.connection.intake.caught_up();
        if self.refetch.is_none() {
            self.refetches = 0;
        }
    }

    /// Something was dropped: the window is asked for again, the more often the later.
    pub(super) fn plan_refetch(&mut self) {
        let timing = &self.shared.timing;
        let wait = doubled(timing.refetch_wait, self.refetches, timing.retry_cap);
        self.refetch.get_or_insert(Instant::now() + wait);
    }

    pub(super) fn on_refetch(&mut self, now: Instant) {
        if self.refetch.is_none_or(|at| at > now) {
            return;
        }
        let news = &self.shared.news.requests;
        if !self.jobs.is_live() || self.more.is_some() || news.capacity() * 2 < news.max_capacity()
        {
            // Not while an answer is on its way, nor before the shop has worked off half of what it has.
            self.refetch = Some(now + self.shared.timing.refetch_wait);
            return;
        }
        self.refetch = None;
        self.refetches = self.refetches.saturating_add(1);
        self.connection.intake.take_gap();
        self.whole = true;
        self.jobs.want();
        if !self.cancels.borrow().is_empty() {
            self.cancel.want();
        }
    }
}
