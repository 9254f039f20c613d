//! A shop in this process: lock, ledger, identity, engine, control socket, log.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::config::place::{DataLock, LockError, Places};
use crate::config::{atomic, note};
use crate::control::server::Server;
use crate::domain::command::Command;
#[cfg(feature = "tui")]
use crate::domain::command::Reply;
use crate::engine::{Engine, Place};
use crate::gateway::Gateway;
use crate::identity;
use crate::ledger::Ledger;

use super::exit::Exit;
use super::log::{self, Log};
use super::signals::Signals;
use super::{prompt, settings};

/// The shop and what it holds. Dropped out of order nothing is lost: the ledger has it.
pub struct Host {
    /// The engine.
    pub engine: Engine,
    /// Told to end, from before others can see that there is a shop.
    pub signals: Signals,
    server: Server,
    /// Where `gateway.listen` says so.
    gateway: Option<Gateway>,
    log: Log,
    lock: DataLock,
}

impl Host {
    /// Takes the data directory and starts the engine, offline.
    ///
    /// # Errors
    /// 3 where the settings are invalid, 4 where another vend holds the data directory, 1 for anything else.
    pub async fn start(places: &Places, filter: &str, pace: Option<u32>) -> Result<Self, Exit> {
        let settings = settings::load(&places.config)?;
        let lock = DataLock::take(places).map_err(|error| match error {
            LockError::Held { .. } => Exit::held(&error),
            LockError::Io { .. } => Exit::failed(&error),
        })?;
        atomic::tidy(&[&places.config, &places.identity()].map(PathBuf::as_path));
        let log = log::start(&places.logs(), filter, settings.log.max_mb)?;
        let identity = identity::load_or_create(&places.identity(), Some(&mut prompt::passphrase))
            .map_err(|error| Exit::failed(&error))?;
        let ledger = Ledger::open_telling(&places.database(), &mut |words| {
            // With stderr gone there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "vend: {words}");
        });
        let ledger = ledger.map_err(|error| Exit::failed(&error))?;
        let place = Place {
            config: places.config.clone(),
            data: places.data.clone(),
            pace,
            timing: crate::nostr::Timing::default(),
        };
        // From here on a signal ends in order; whatever takes long before this, a signal breaks off.
        let signals = Signals::listen()?;
        let (buys, books) = (settings.clone(), ledger.clone());
        let engine = Engine::start(ledger, identity.keys().clone(), settings, place)
            .await
            .map_err(|error| Exit::failed(&error))?;
        log.follow(engine.listen());
        let server = Server::listen(&engine, &lock.holder().socket)
            .map_err(|error| Exit::failed(&format!("the control socket: {error}")))?;
        let gateway = match buys.gateway.listen.as_str() {
            "" => None,
            listen => Some(super::gateway::start(places, &buys, books, listen).await?),
        };
        Ok(Self {
            engine,
            signals,
            server,
            gateway,
            log,
            lock,
        })
    }

    /// Is a job at work?
    #[cfg(feature = "tui")]
    pub async fn at_work(&self) -> bool {
        match self.engine.ask(Command::Status).await {
            Reply::Status { status } => status.queue.running > 0,
            _ => false,
        }
    }

    /// Ends the shop: `now` leaves running jobs for the next run, otherwise they finish first.
    pub async fn stop(self, now: bool) {
        self.engine.ask(Command::Stop { now }).await;
        let (ended, _signals) = self.ending();
        ended.await;
    }

    /// Waits until somebody has ended the shop and tidies up, with the signals apart.
    pub fn ending(self) -> (impl Future<Output = ()>, Signals) {
        let Self {
            engine,
            signals,
            server,
            gateway,
            log,
            lock,
        } = self;
        let ended = async move {
            engine.ended().await;
            if let Some(gateway) = gateway {
                gateway.stop().await;
            }
            server.close().await;
            log.close().await;
            drop(lock);
        };
        (ended, signals)
    }
}

/// Is there a ledger where one should be? A new one beside an identity that has sold would answer the last requests again, and
/// know of no open invoice.
///
/// # Errors
/// Where it is gone and no new one is wanted (`--new-ledger`).
pub fn expect_ledger(places: &Places, new: bool) -> Result<(), Exit> {
    let path = places.database();
    let there = std::fs::metadata(&path).is_ok_and(|found| found.len() > 0);
    let Some(note) = note::read(&places.data).filter(|_| !there) else {
        return Ok(());
    };
    if new {
        for end in ["-wal", "-shm"] {
            let mut beside = path.clone().into_os_string();
            beside.push(end);
            // Of a ledger that is gone; most often there is none.
            let _ = std::fs::remove_file(beside);
        }
        return Ok(());
    }
    let copy = note
        .last_copy
        .filter(|copy| copy.exists())
        .map_or_else(|| "FILE".to_owned(), |copy| copy.display().to_string());
    Err(Exit::failed(&format!(
        "{} is gone, and this identity has sold with it: `vend restore {copy}` puts a copy back; `--new-ledger` begins an empty one, which knows of no sale and no open invoice",
        path.display()
    )))
}

/// Opens the ledger for looking, whether a vend runs on it or not; none where there is none yet.
///
/// # Errors
/// Where it can't be read.
pub fn look(path: &Path) -> Result<Option<Ledger>, Exit> {
    match std::fs::metadata(path) {
        Ok(found) if found.len() > 0 => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let words = format!(
                "{} can't be read: {error}: is it another user's? give your own with --data-dir",
                path.display()
            );
            return Err(Exit::failed(&words));
        }
    }
    Ledger::look(path)
        .map(Some)
        .map_err(|error| Exit::failed(&error))
}
