//! The signals that end a shop: SIGTERM, SIGINT and SIGQUIT. The first one ends it in order, a second one at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::exit::Exit;

/// Counts the signals from its making on, also while nobody waits for one.
pub struct Signals {
    times: watch::Receiver<u32>,
    task: JoinHandle<()>,
}

impl Signals {
    /// Takes the signals from now on; until then the system's own rule holds, which ends the process.
    ///
    /// # Errors
    /// Where the system gives no handler.
    pub fn listen() -> Result<Self, Exit> {
        let open = |kind| signal(kind).map_err(|error| Exit::failed(&format!("signals: {error}")));
        let mut term = open(SignalKind::terminate())?;
        let mut int = open(SignalKind::interrupt())?;
        let mut quit = open(SignalKind::quit())?;
        // A terminal that goes away does not end the shop.
        let mut hangup = open(SignalKind::hangup())?;
        let (count, times) = watch::channel(0);
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = term.recv() => {}
                    _ = int.recv() => {}
                    _ = quit.recv() => {}
                    _ = hangup.recv() => continue,
                }
                count.send_modify(|count: &mut u32| *count = count.saturating_add(1));
            }
        });
        Ok(Self { times, task })
    }

    /// How often it was told to end, for others to watch.
    pub fn times(&self) -> watch::Receiver<u32> {
        self.times.clone()
    }

    /// Waits for a signal that was not told here yet; gives how many there were in all.
    pub async fn next(&mut self) -> u32 {
        if self.times.changed().await.is_err() {
            // The counting task lives as long as this does.
            std::future::pending::<()>().await;
        }
        *self.times.borrow_and_update()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.task.abort();
    }
}
