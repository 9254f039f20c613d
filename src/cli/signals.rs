//! The signals that end a shop: SIGTERM, SIGINT and SIGQUIT. The first one ends it in order, a second one at once.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Once, mpsc};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::exit::Exit;

/// A shop takes the signals by itself.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// From now on a signal that ends the program gives the terminal back first. For whoever is about to ask for a secret: the
/// terminal shows nothing of what is typed then, and would show nothing ever after.
pub fn give_back_on_end() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let Ok(terminal) = File::open("/dev/tty") else {
            return;
        };
        let Ok(before) = tcgetattr(&terminal) else {
            return;
        };
        let (ready, wait) = mpsc::channel();
        let thread = std::thread::Builder::new().name("signals".to_owned());
        if let Err(error) = thread.spawn(move || give_back(&terminal, &before, &ready)) {
            tracing::debug!(%error, "no thread for signals");
        }
        // An error: it has ended without any.
        let _ = wait.recv();
    });
}

fn give_back(terminal: &File, before: &Termios, ready: &mpsc::Sender<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let (Ok(mut int), Ok(mut term), Ok(mut quit), Ok(mut hangup)) = (
            signal(SignalKind::interrupt()),
            signal(SignalKind::terminate()),
            signal(SignalKind::quit()),
            signal(SignalKind::hangup()),
        ) else {
            return;
        };
        // Whoever waits is there until then.
        let _ = ready.send(());
        let number = tokio::select! {
            _ = int.recv() => 2,
            _ = term.recv() => 15,
            _ = quit.recv() => 3,
            _ = hangup.recv() => 1,
        };
        if TAKEN.load(Ordering::Relaxed) {
            return;
        }
        // One that is gone needs nothing back.
        let _ = tcsetattr(terminal, OptionalActions::Now, before);
        // As a shell tells of a program that a signal has ended.
        std::process::exit(128 + number);
    });
}

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
        TAKEN.store(true, Ordering::Relaxed);
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
    #[cfg(feature = "tui")]
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
