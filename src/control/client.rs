//! A client's side of the socket.

use std::io;
use std::path::Path;

use futures::{SinkExt, StreamExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::codec::{Framed, LinesCodec};

use super::{Call, ControlMessage, MAX_LINE, Watch, What};
use crate::domain::command::{Command, Reply};
use crate::domain::event::Event;

/// A connection to a running vend.
#[derive(Debug)]
pub struct Client {
    line: Framed<UnixStream, LinesCodec>,
    calls: u64,
}

/// A viewer's two ends: commands go in, events come out; both end when the engine or the viewer does.
#[derive(Debug)]
pub struct Viewer {
    /// Commands with the way back for their answers.
    pub commands: mpsc::Sender<(Command, oneshot::Sender<Reply>)>,
    /// Everything that happens.
    pub events: mpsc::Receiver<Event>,
}

fn strange(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

impl Client {
    /// Connects to the socket of a running vend.
    ///
    /// # Errors
    /// Where nobody listens there.
    pub async fn connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path).await?;
        Ok(Self {
            line: Framed::new(stream, LinesCodec::new_with_max_length(MAX_LINE)),
            calls: 0,
        })
    }

    async fn send(&mut self, what: What) -> io::Result<u64> {
        self.calls += 1;
        let call = Call {
            id: self.calls,
            what,
        };
        let text = serde_json::to_string(&call).map_err(strange)?;
        self.line.send(text).await.map_err(strange)?;
        Ok(self.calls)
    }

    async fn hear(&mut self) -> io::Result<Option<ControlMessage>> {
        match self.line.next().await {
            None => Ok(None),
            Some(Err(error)) => Err(strange(error)),
            Some(Ok(text)) => serde_json::from_str(&text).map(Some).map_err(strange),
        }
    }

    /// Gives a command and waits for its answer.
    ///
    /// # Errors
    /// Where the connection ends before the answer.
    pub async fn ask(&mut self, command: Command) -> io::Result<Reply> {
        let call = self.send(What::Command(command)).await?;
        loop {
            match self.hear().await? {
                Some(ControlMessage::Reply { id, reply }) if id == call => return Ok(reply),
                Some(_) => {}
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// Waits until the other side has ended.
    pub async fn until_closed(&mut self) {
        while let Ok(Some(_)) = self.hear().await {}
    }

    /// Becomes a viewer: every event, starting with the whole state.
    ///
    /// # Errors
    /// Where the connection ends, or as many are attached as there is room for.
    pub async fn watch(mut self) -> io::Result<Viewer> {
        let call = self
            .send(What::Watch {
                command: Watch::Watch,
            })
            .await?;
        let (commands, orders) = mpsc::channel(64);
        let (tell, events) = mpsc::channel(4_096);
        loop {
            match self.hear().await? {
                Some(ControlMessage::Reply {
                    id,
                    reply: Reply::Refused { detail },
                }) if id == call => return Err(io::Error::other(detail)),
                Some(ControlMessage::Reply { id, .. }) if id == call => break,
                Some(ControlMessage::Reply { .. }) => {}
                Some(ControlMessage::Event { event }) => {
                    // Nobody reads yet: what has no room follows with the state that a viewer asks for.
                    let _ = tell.try_send(event);
                }
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        tokio::spawn(self.relay(orders, tell));
        Ok(Viewer { commands, events })
    }

    /// Ends when either end is gone, so nobody has to end it.
    async fn relay(
        mut self,
        mut orders: mpsc::Receiver<(Command, oneshot::Sender<Reply>)>,
        tell: mpsc::Sender<Event>,
    ) {
        let mut waiting = std::collections::HashMap::new();
        loop {
            tokio::select! {
                order = orders.recv() => {
                    let Some((command, back)) = order else { return };
                    match self.send(What::Command(command)).await {
                        Ok(id) => { waiting.insert(id, back); }
                        Err(_) => return,
                    }
                }
                word = self.hear() => match word {
                    Ok(Some(ControlMessage::Event { event })) => if tell.send(event).await.is_err() { return },
                    Ok(Some(ControlMessage::Reply { id, reply })) => if let Some(back) = waiting.remove(&id) {
                        // Whoever asked may be gone.
                        let _ = back.send(reply);
                    },
                    Ok(None) | Err(_) => return,
                }
            }
        }
    }
}
