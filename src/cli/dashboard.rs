//! `vend`: the dashboard, over the shop in this process or over one that runs already.

use std::io::IsTerminal;

use super::Global;
use super::ask;
use super::exit::{Exit, Outcome, block_on};
use super::host::{self, Host};
use super::settings;
use crate::config::place::Places;

/// Says what to use instead where there is no terminal.
///
/// # Errors
/// 2 where stdin or stdout is no terminal, or one that nothing can be drawn on.
pub fn must_be_terminal(instead: &str) -> Outcome {
    if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
        return Err(Exit::usage(format!(
            "the dashboard needs a terminal: use `{instead}` without one"
        )));
    }
    match super::environment::undrawable() {
        Some(why) => Err(Exit::usage(format!("{why}, or use `{instead}`"))),
        None => Ok(()),
    }
}

/// Attaches to the running vend, or starts the shop inside.
pub fn main(global: &Global, online: bool) -> Outcome {
    must_be_terminal("vend run")?;
    let places = global.prepared()?;
    block_on(async {
        if let Some(client) = ask::connect(&places).await {
            return attach(global, &places, client, None).await;
        }
        let settings = settings::load(&places.config)?;
        host::expect_ledger(&places, global.new_ledger)?;
        let host = Host::start(&places, &global.log, None).await?;
        host_it(global, &places, host, None, online || settings.start_online).await
    })
}

/// The dashboard over a shop in this process.
pub async fn host(
    global: &Global,
    places: &Places,
    host: Host,
    banner: Option<&str>,
    online: bool,
) -> Outcome {
    host_it(global, places, host, banner, online).await
}

#[cfg(feature = "tui")]
mod screen {
    use tokio::sync::broadcast::error::RecvError;
    use tokio::sync::{broadcast, mpsc};

    use super::{Exit, Global, Host, Outcome, Places};
    use crate::cli::exit::say;
    use crate::cli::signals::Signals;
    use crate::cli::{environment, run, settings};
    use crate::config::place::read_lock;
    use crate::control::client::Client;
    use crate::domain::command::Command;
    use crate::domain::event::{Event, EventKind};
    use crate::engine::{Order, ask};
    use crate::ui::{self, EngineLink, Leave, Options};

    /// How the screen is shown, as flags and settings say.
    fn options(
        global: &Global,
        places: &Places,
        banner: Option<&str>,
        attached: bool,
    ) -> Result<Options, Exit> {
        let settings = settings::load(&places.config)?;
        Ok(Options {
            ascii: global.ascii || !environment::is_utf8(),
            color: !global.no_color && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
            theme: settings.screen.theme,
            health: environment::is_light(),
            config_path: places.config.clone(),
            banner: banner.map(str::to_owned),
            mouse: settings.screen.mouse,
            keys: settings.keys,
            logs: places.logs(),
            attached,
        })
    }

    /// Over the socket: leaving never ends the shop.
    pub async fn attach(
        global: &Global,
        places: &Places,
        client: Client,
        banner: Option<&str>,
    ) -> Outcome {
        let options = options(global, places, banner, true)?;
        let signals = Signals::listen()?;
        let viewer = client.watch().await.map_err(|error| Exit::failed(&error))?;
        let link = EngineLink {
            commands: viewer.commands,
            events: viewer.events,
            told_to_end: signals.times(),
        };
        let left = ui::run(link, options)
            .await
            .map_err(|error| Exit::failed(&error))?;
        let holder = match left {
            Leave::TerminalGone => return Ok(()),
            Leave::EngineEnded => None,
            Leave::Detach | Leave::Told | Leave::Quit { .. } => read_lock(places),
        };
        let flags = flags(places, banner.is_some());
        told(&match holder {
            Some(holder) => format!(
                "The shop runs on (process {}): `vend{flags}` shows it, `vend stop{flags}` ends it.",
                holder.pid
            ),
            None => "The shop has ended.".to_owned(),
        });
        Ok(())
    }

    /// A last word for whoever sits at the terminal. One that takes no words any more is no reason to do otherwise.
    fn told(line: &str) {
        if say(line).is_err() {
            tracing::debug!("nobody reads: {line}");
        }
    }

    /// The flags that find a shop. The demo is found by its places alone.
    fn flags(places: &Places, demo: bool) -> String {
        if demo { places.flags() } else { String::new() }
    }

    /// In this process: the engine's own channels.
    pub async fn host_it(
        global: &Global,
        places: &Places,
        host: Host,
        banner: Option<&str>,
        online: bool,
    ) -> Outcome {
        let options = match options(global, places, banner, false) {
            Ok(options) => options,
            Err(error) => {
                host.stop(true).await;
                return Err(error);
            }
        };
        let (tell, events) = mpsc::channel(4_096);
        let orders = host.engine.orders();
        let forward = tokio::spawn(forward(host.engine.listen(), orders.clone(), tell));
        ask(&orders, Command::Snapshot).await;
        if online {
            ask(&orders, Command::GoOnline).await;
        }
        let link = EngineLink {
            commands: orders,
            events,
            told_to_end: host.signals.times(),
        };
        let left = ui::run(link, options).await;
        forward.abort();
        // Aborted: nothing to learn from it.
        let _ = forward.await;
        let ending = match left {
            Ok(Leave::Quit { now }) => Some(now),
            Ok(Leave::EngineEnded) => Some(false),
            // The signal is counted already: it ends the shop below.
            Ok(Leave::Told) => None,
            Ok(Leave::Detach) => {
                told(&selling_on(&flags(places, banner.is_some())));
                return run::serve(host, None).await;
            }
            // The shop sells on with no screen; `vend` attaches to it.
            Ok(Leave::TerminalGone) => return run::serve(host, None).await,
            Err(error) => {
                host.stop(true).await;
                return Err(Exit::failed(&error));
            }
        };
        if ending != Some(true) && host.at_work().await {
            told("The shop finishes its running jobs, then it ends; Ctrl-C ends it at once.");
        }
        run::serve(host, ending).await?;
        told("The shop has ended: nothing is sold until it is started again.");
        Ok(())
    }

    /// How to come back to a shop that has lost its screen.
    fn selling_on(flags: &str) -> String {
        format!(
            "The shop sells on in this process, without a screen; closing this terminal does it no harm.\n\
             In another terminal `vend{flags}` shows it and `vend stop{flags}` ends it; so does Ctrl-C here."
        )
    }

    async fn forward(
        mut events: broadcast::Receiver<Event>,
        orders: mpsc::Sender<Order>,
        tell: mpsc::Sender<Event>,
    ) {
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                // Ended from elsewhere, by `vend stop`: the screen must not wait for events that nobody sends any more.
                () = orders.closed() => return,
            };
            let event = match event {
                Ok(event) => event,
                Err(RecvError::Closed) => return,
                Err(RecvError::Lagged(missed)) => {
                    let orders = orders.clone();
                    // Not awaited here: the snapshot's own events must be read meanwhile.
                    tokio::spawn(async move { ask(&orders, Command::Snapshot).await });
                    Event::now(EventKind::Resync { missed })
                }
            };
            if tell.send(event).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(feature = "tui")]
pub use screen::attach;
#[cfg(feature = "tui")]
use screen::host_it;

/// Nothing to attach with.
#[cfg(not(feature = "tui"))]
pub async fn attach(
    _: &Global,
    _: &Places,
    _: crate::control::client::Client,
    _: Option<&str>,
) -> Outcome {
    Err(no_screen())
}

#[cfg(not(feature = "tui"))]
async fn host_it(_: &Global, _: &Places, host: Host, _: Option<&str>, _: bool) -> Outcome {
    host.stop(true).await;
    Err(no_screen())
}

#[cfg(not(feature = "tui"))]
fn no_screen() -> Exit {
    Exit::usage(
        "this vend was built without its dashboard: use `vend run`, `vend status`, `vend jobs`",
    )
}
