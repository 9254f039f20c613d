//! One running helper: its process, and lines in and out of it.

use std::io::ErrorKind;
use std::time::Duration;

use futures::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio_util::bytes::BytesMut;
use tokio_util::codec::{Decoder, FramedRead, LinesCodec, LinesCodecError};

use super::launch::Launch;
use super::node::{self, NodeError};
use super::wire::{self, Answer, Ask, Hello, HelperMessage, MAX_LINE, PROTOCOL};

/// A helper that has forgotten how to read.
const WRITE: Duration = Duration::from_secs(5);

/// Lines of nonsense, after which a helper is given up.
const BAD_LINES_MAX: u32 = 100;

/// Of these, how many are worth a word in the log.
const BAD_LINES_TOLD: u32 = 3;

/// Lines; none for one that is too long or no text. For `FramedRead` an error is an end, after which it waits for more before
/// it looks at what it has.
struct Lines(LinesCodec);

impl Decoder for Lines {
    type Item = Option<String>;
    type Error = std::io::Error;

    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Self::Item>, Self::Error> {
        match self.0.decode(bytes) {
            Ok(line) => Ok(line.map(Some)),
            Err(LinesCodecError::MaxLineLengthExceeded) => Ok(Some(None)),
            Err(LinesCodecError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                Ok(Some(None))
            }
            Err(LinesCodecError::Io(error)) => Err(error),
        }
    }

    fn decode_eof(&mut self, bytes: &mut BytesMut) -> Result<Option<Self::Item>, Self::Error> {
        // Half a line is none: whoever wrote it ended in the middle.
        self.decode(bytes)
    }
}

/// What can be heard from a helper.
pub(super) enum Heard {
    HelperMessage(HelperMessage),
    /// It ended, or it is of no use any more: the sentence for the operator.
    Gone(String),
}

/// A running helper. Dropped, it is killed.
pub(super) struct HelperPipe {
    child: Child,
    asks: Option<ChildStdin>,
    says: FramedRead<ChildStdout, Lines>,
    bad_lines: u32,
    last_id: u64,
}

impl HelperPipe {
    /// Starts a helper. The error is a sentence with its fix.
    pub(super) fn start(launch: &Launch) -> Result<Self, String> {
        let mut child = launch.spawn()?;
        let (Some(asks), Some(says)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the Spark helper has no input or output".to_owned());
        };
        Ok(Self {
            child,
            asks: Some(asks),
            says: FramedRead::new(says, Lines(LinesCodec::new_with_max_length(MAX_LINE))),
            bad_lines: 0,
            last_id: 0,
        })
    }

    /// Asks, and returns the question's number.
    pub(super) async fn ask(&mut self, ask: &Ask<'_>) -> Result<u64, String> {
        self.last_id += 1;
        let line = wire::line(self.last_id, ask).map_err(|error| error.to_string())?;
        let Some(asks) = &mut self.asks else {
            return Err(ENDED.to_owned());
        };
        let written = async {
            asks.write_all(&line).await?;
            asks.flush().await
        };
        match tokio::time::timeout(WRITE, written).await {
            Ok(Ok(())) => Ok(self.last_id),
            Ok(Err(_)) => Err(ENDED.to_owned()),
            Err(_) => Err(HUNG.to_owned()),
        }
    }

    /// What it says next. Lines that are none are left out. Cancelled, it loses nothing.
    pub(super) async fn hear(&mut self) -> Heard {
        loop {
            let bytes = tokio::select! {
                // What it said last is read before its end is noticed.
                biased;
                line = self.says.next() => match line {
                    Some(Ok(Some(line))) => match serde_json::from_str(&line) {
                        Ok(said) => return Heard::HelperMessage(said),
                        Err(_) => line.len(),
                    },
                    Some(Ok(None)) => MAX_LINE,
                    Some(Err(_)) | None => return Heard::Gone(ENDED.to_owned()),
                },
                _ = self.child.wait() => return Heard::Gone(ENDED.to_owned()),
            };
            self.bad_lines += 1;
            if self.bad_lines <= BAD_LINES_TOLD {
                tracing::warn!(bytes, "the Spark helper wrote a line that makes no sense");
            }
            if self.bad_lines >= BAD_LINES_MAX {
                return Heard::Gone("the Spark helper writes nonsense".to_owned());
            }
        }
    }

    /// Asks one thing and waits for its answer; what else is said meanwhile is left out.
    pub(super) async fn answer<T: DeserializeOwned>(
        &mut self,
        ask: &Ask<'_>,
        limit: Duration,
    ) -> Result<T, String> {
        let asked = self.ask(ask).await?;
        let answer = async {
            loop {
                match self.hear().await {
                    Heard::HelperMessage(HelperMessage::Answer { id, answer }) if id == asked => {
                        return Ok(answer);
                    }
                    Heard::HelperMessage(_) => {}
                    Heard::Gone(why) => return Err(why),
                }
            }
        };
        let answer = tokio::time::timeout(limit, answer).await;
        match answer.map_err(|_| HUNG.to_owned())?? {
            Answer::Ok(value) => wire::read::<T>(value).map_err(|error| error.to_string()),
            Answer::Error(fault) if fault.kind == "sdk_missing" => Err(NOT_INSTALLED.to_owned()),
            Answer::Error(fault) => Err(format!("Spark can't be reached: {}", fault.text())),
        }
    }

    /// Is this a helper that we can talk to? The error is a sentence with its fix.
    pub(super) async fn greet(&mut self, limit: Duration) -> Result<Hello, String> {
        let value: Value = self.answer(&Ask::Hello, limit).await?;
        // Before the rest is read: another protocol may say the rest in other words.
        if value["protocol"].as_u64() != Some(PROTOCOL) {
            return Err(format!(
                "the Spark helper speaks another protocol than {PROTOCOL}: run `vend spark install`"
            ));
        }
        let hello: Hello = wire::read(value).map_err(|error| error.to_string())?;
        match node::major(&hello.node) {
            Some(found) if found >= node::OLDEST => {}
            _ => return Err(NodeError::TooOld(hello.node).to_string()),
        }
        if hello.sdk.is_none() {
            return Err(NOT_INSTALLED.to_owned());
        }
        Ok(hello)
    }

    /// Lets it clean up and end; one that does not is killed.
    pub(super) async fn close(mut self, limit: Duration) {
        let ending = async {
            // A helper that can't be asked any more is ended by the end of its input, or below.
            let _ = self.ask(&Ask::Close).await;
            self.asks = None;
            while let Heard::HelperMessage(_) = self.hear().await {}
            self.child.wait().await
        };
        if tokio::time::timeout(limit, ending).await.is_err() {
            self.kill().await;
        }
    }

    /// Ends it at once.
    pub(super) async fn kill(mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill().await;
    }
}

/// It is there no more.
pub(super) const ENDED: &str = "the Spark helper ended";

/// It does not answer.
pub(super) const HUNG: &str = "the Spark helper did not answer";

const NOT_INSTALLED: &str =
    "the Spark SDK is missing or does not load: run `vend spark install --force`";
