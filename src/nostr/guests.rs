//! Relays that are not our own: a request's `relays` tag, a hint. Connected to when needed, for a short while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nostr::{Event, RelayUrl};
use nostr_sdk::RelayPool;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Verdict;
use super::connect::{NOT_PUBLIC, may_try};
use super::line::{Common, Line, Link};
use super::listener::{Dialled, dial, hang_up};
use super::lock;
use super::publish::publish;
use super::reach::Reach;
use super::transport::Directory;

/// The most of them at once: a stranger names them.
const MAX_GUESTS: usize = 32;

/// Why there is no line to a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoLine {
    /// Its address is not public, or does not resolve.
    NotAllowed,
    /// Too many at once.
    TooMany,
}

/// The relays that are not our own.
pub(super) struct Guests {
    pool: RelayPool,
    common: Arc<Common>,
    directory: Directory,
    reach: Reach,
    tasks: TaskTracker,
    cancel: CancellationToken,
    lines: Arc<Mutex<HashMap<RelayUrl, Arc<Line>>>>,
}

impl Guests {
    pub(super) fn new(
        pool: RelayPool,
        common: Arc<Common>,
        directory: Directory,
        reach: Reach,
        tasks: TaskTracker,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            pool,
            common,
            directory,
            reach,
            tasks,
            cancel,
            lines: Arc::default(),
        }
    }

    /// Publishes to a relay that is not our own.
    pub(super) async fn publish(&self, url: &RelayUrl, event: &Event) -> Verdict {
        let line = match self.line(url) {
            Ok(line) => line,
            Err(NoLine::NotAllowed) => return Verdict::Refused(NOT_PUBLIC.to_owned()),
            Err(NoLine::TooMany) => {
                return Verdict::Retry("too many other relays at once".to_owned());
            }
        };
        let _use = Use::of(&line);
        let said = publish(&line, event, &self.common).await;
        if line.is_forbidden() {
            return Verdict::Refused(NOT_PUBLIC.to_owned());
        }
        said
    }

    /// The line to a relay that is not our own; made where there is none.
    pub(super) fn line(&self, url: &RelayUrl) -> Result<Arc<Line>, NoLine> {
        if let Some(line) = self.existing(url) {
            return Ok(line);
        }
        if self.cancel.is_cancelled() || !may_try(url.into(), &self.reach) {
            return Err(NoLine::NotAllowed);
        }
        let mut lines = lock(&self.lines);
        if let Some(line) = lines.get(url) {
            return Ok(line.clone());
        }
        if lines.len() >= MAX_GUESTS {
            return Err(NoLine::TooMany);
        }
        // A guest has no subscription: what it says of one is of no interest.
        let (line, _) = Line::new(url.clone(), false, 0, self.common.clone());
        self.directory.enter(&line);
        lines.insert(url.clone(), line.clone());
        drop(lines);
        self.tasks.spawn(stay(
            line.clone(),
            self.pool.clone(),
            self.lines.clone(),
            self.common.clone(),
            self.cancel.child_token(),
        ));
        Ok(line)
    }

    fn existing(&self, url: &RelayUrl) -> Option<Arc<Line>> {
        lock(&self.lines).get(url).cloned()
    }
}

/// Somebody uses a line: it stays.
struct Use<'a>(&'a Line);

impl<'a> Use<'a> {
    fn of(line: &'a Line) -> Self {
        line.users.send_modify(|users| *users += 1);
        Self(line)
    }
}

impl Drop for Use<'_> {
    fn drop(&mut self) {
        self.0.users.send_modify(|users| *users -= 1);
    }
}

/// One guest's life: one connection, until it is lost or nobody has used it for a while.
async fn stay(
    line: Arc<Line>,
    pool: RelayPool,
    lines: Arc<Mutex<HashMap<RelayUrl, Arc<Line>>>>,
    common: Arc<Common>,
    cancel: CancellationToken,
) {
    let why = match dial(&line, &pool, &common.timing, &cancel).await {
        Dialled::Up(relay, mut notes) => {
            line.link.send_replace(Link::Up(relay.clone()));
            tokio::select! {
                () = cancel.cancelled() => {}
                () = unused(&line, common.timing.guest_idle) => {}
                () = super::listener::lost(&line, &relay, &mut notes) => {}
            }
            "the connection ended".to_owned()
        }
        Dialled::Failed(why) => why,
        Dialled::Cancelled => "closed".to_owned(),
    };
    // From here on a new publish makes a new line; those that wait on this one are told.
    lock(&lines).remove(&line.url);
    line.end(Link::Down(why));
    hang_up(&line, &pool, &common.timing).await;
}

/// Ends when nobody has used the line for `idle`.
async fn unused(line: &Line, idle: Duration) {
    let mut users = line.users.subscribe();
    loop {
        if users.wait_for(|users| *users == 0).await.is_err() {
            return;
        }
        if timeout(idle, users.wait_for(|users| *users > 0))
            .await
            .is_err()
        {
            return;
        }
    }
}
