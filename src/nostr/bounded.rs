//! A bound for what a relay may send, below the WebSocket's own reading of it.
//!
//! The library ends a connection over a message that is too long. At a relay of ours one long event of a stranger, stored
//! there, would then end each connection at each try. So the payload of what is too long is skipped here, unread, and what
//! arrives above is an empty or a cut message, which is a fault of the relay. A relay of others is ended instead.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is read at once.
const CHUNK: usize = 8 * 1024;

/// The longest header of a frame (RFC 6455).
const LONGEST_HEADER: usize = 14;

/// The bits of a frame's first byte, and of its second.
const FIN: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;

/// The opcodes that matter here; from 8 on they are control frames.
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const FIRST_CONTROL: u8 = 8;

/// How much may be sent to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// The most bytes of one message.
    pub(super) message: u64,
    /// A longer one is skipped, or ends the connection.
    pub(super) skip: bool,
    /// The most bytes of all messages of a connection; none: no bound.
    pub(super) all: Option<u64>,
}

/// Where in the stream of bytes we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In the answer to our handshake: so many bytes of its empty line are seen.
    Handshake(usize),
    /// In a frame's header.
    Header,
    /// So many bytes of a frame's payload are passed on.
    Payload(u64),
    /// So many are not.
    Excess(u64),
}

/// A connection whose incoming messages are bounded. The handshake's own bytes are bounded by the library.
pub(super) struct Bounded<S> {
    inner: S,
    bounds: Bounds,
    at: At,
    /// Bytes of the message that is under way.
    message: u64,
    /// Bytes of all messages.
    all: u64,
    header: Vec<u8>,
    /// A header to be passed on.
    pending: Vec<u8>,
    chunk: Box<[u8]>,
    from: usize,
    to: usize,
}

impl<S> Bounded<S> {
    pub(super) fn new(inner: S, bounds: Bounds) -> Self {
        Self {
            inner,
            bounds,
            at: At::Handshake(0),
            message: 0,
            all: 0,
            header: Vec::with_capacity(LONGEST_HEADER),
            pending: Vec::new(),
            chunk: vec![0; CHUNK].into_boxed_slice(),
            from: 0,
            to: 0,
        }
    }

    /// Moves what has arrived on to the reader, as far as there is room for it.
    fn pass(&mut self, out: &mut ReadBuf<'_>) -> io::Result<()> {
        while out.remaining() > 0 {
            if !self.pending.is_empty() {
                let part = self.pending.len().min(out.remaining());
                out.put_slice(&self.pending[..part]);
                self.pending.drain(..part);
                continue;
            }
            let arrived = &self.chunk[self.from..self.to];
            if arrived.is_empty() {
                return Ok(());
            }
            match self.at {
                At::Handshake(seen) => {
                    let byte = arrived[0];
                    out.put_slice(&[byte]);
                    self.from += 1;
                    self.at = after_handshake_byte(seen, byte);
                }
                At::Header => {
                    self.header.push(arrived[0]);
                    self.from += 1;
                    if self.header.len() >= header_length(&self.header) {
                        self.begin_frame()?;
                    }
                }
                At::Payload(left) => {
                    let part = whole(left).min(arrived.len()).min(out.remaining());
                    out.put_slice(&arrived[..part]);
                    self.from += part;
                    self.at = rest(At::Payload, left, part);
                }
                At::Excess(left) => {
                    let part = whole(left).min(arrived.len());
                    self.from += part;
                    self.at = rest(At::Excess, left, part);
                }
            }
        }
        Ok(())
    }

    /// A header is whole: what becomes of its frame.
    fn begin_frame(&mut self) -> io::Result<()> {
        let mut header = std::mem::take(&mut self.header);
        let length = payload_length(&header);
        let opcode = header[0] & OPCODE;
        self.at = match length {
            0 => At::Header,
            length => At::Payload(length),
        };
        if opcode < FIRST_CONTROL {
            if opcode != CONTINUATION {
                self.message = 0;
            }
            self.message = self.message.saturating_add(length);
            if self.message > self.bounds.message {
                self.exceeded()?;
                header = vec![header[0], 0];
                self.at = At::Excess(length);
            }
            if opcode == TEXT && header[0] & FIN == 0 {
                // Cut in the middle of a letter it would be no text, which ends a connection; whoever reads it looks.
                header[0] = (header[0] & !OPCODE) | BINARY;
            }
        }
        self.all = self.all.saturating_add(length);
        if self.bounds.all.is_some_and(|most| self.all > most) {
            return Err(io::Error::other("it sent more than we take from it"));
        }
        self.pending = header;
        Ok(())
    }

    fn exceeded(&self) -> io::Result<()> {
        if self.bounds.skip {
            return Ok(());
        }
        let most = self.bounds.message / 1024;
        let words = format!("it sent a message of more than {most} KiB");
        Err(io::Error::other(words))
    }
}

/// The next place after a byte of the handshake, of whose last line end `seen` bytes are in.
fn after_handshake_byte(seen: usize, byte: u8) -> At {
    const END: &[u8; 4] = b"\r\n\r\n";
    let seen = if byte == END[seen] {
        seen + 1
    } else {
        usize::from(byte == END[0])
    };
    if seen == END.len() {
        At::Header
    } else {
        At::Handshake(seen)
    }
}

/// How long a header will be, as far as its first bytes tell.
fn header_length(header: &[u8]) -> usize {
    let Some(second) = header.get(1) else {
        return 2;
    };
    let extended = match second & LENGTH {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + extended + if second & MASKED == 0 { 0 } else { 4 }
}

/// The payload's length in a whole header.
fn payload_length(header: &[u8]) -> u64 {
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    };
    match header[1] & LENGTH {
        126 => number(&header[2..4]),
        127 => number(&header[2..10]),
        short => u64::from(short),
    }
}

fn whole(left: u64) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX)
}

/// What is left of a frame after `part` bytes of it.
fn rest(at: fn(u64) -> At, left: u64, part: usize) -> At {
    match left - part as u64 {
        0 => At::Header,
        left => at(left),
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = out.filled().len();
        loop {
            this.pass(out)?;
            if out.filled().len() > before || out.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let mut chunk = ReadBuf::new(&mut this.chunk);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut chunk))?;
            (this.from, this.to) = (0, chunk.filled().len());
            if this.to == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    const PONG: u8 = 10;

    const HEAD: &[u8] = b"HTTP/1.1 101 Switching\r\nA: b\r\n\r\n";
    const OWN: Bounds = Bounds {
        message: 300,
        skip: true,
        all: None,
    };
    const OTHER: Bounds = Bounds {
        message: 300,
        skip: false,
        all: Some(500),
    };

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match u16::try_from(payload.len()).unwrap() {
            short if short < 126 => frame.push(u8::try_from(short).unwrap()),
            long => {
                frame.push(126);
                frame.extend_from_slice(&long.to_be_bytes());
            }
        }
        frame.extend_from_slice(payload);
        frame
    }

    async fn read(bytes: &[u8], bounds: Bounds) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        // A few bytes at a time, so that headers come in parts.
        let (mut relay, slow) = tokio::io::duplex(7);
        let bytes = bytes.to_vec();
        tokio::spawn(async move { relay.write_all(&bytes).await });
        Bounded::new(slow, bounds).read_to_end(&mut out).await?;
        Ok(out)
    }

    #[tokio::test]
    async fn what_is_within_bounds_passes_as_it_is() {
        let mut bytes = HEAD.to_vec();
        bytes.extend(frame(FIN | TEXT, b"hello"));
        bytes.extend(frame(FIN | 9, b"ping"));
        bytes.extend(frame(FIN | TEXT, &[b'x'; 300]));
        bytes.extend(frame(FIN | TEXT, b""));
        assert_eq!(read(&bytes, OWN).await.unwrap(), bytes);
        let under = Bounds { all: None, ..OTHER };
        assert_eq!(read(&bytes, under).await.unwrap(), bytes);
    }

    #[tokio::test]
    async fn too_long_a_message_is_skipped_and_the_next_is_read() {
        let mut bytes = HEAD.to_vec();
        bytes.extend(frame(FIN | TEXT, &[b'x'; 301]));
        bytes.extend(frame(FIN | TEXT, b"next"));
        let mut expected = HEAD.to_vec();
        expected.extend(frame(FIN | TEXT, b""));
        expected.extend(frame(FIN | TEXT, b"next"));
        assert_eq!(read(&bytes, OWN).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn a_message_in_parts_is_bounded_as_a_whole() {
        let mut bytes = HEAD.to_vec();
        bytes.extend(frame(TEXT, &[b'x'; 200]));
        bytes.extend(frame(FIN | PONG, b"pong"));
        bytes.extend(frame(CONTINUATION, &[b'y'; 200]));
        bytes.extend(frame(FIN | CONTINUATION, &[b'z'; 2]));
        bytes.extend(frame(FIN | TEXT, b"next"));
        let mut expected = HEAD.to_vec();
        expected.extend(frame(BINARY, &[b'x'; 200]));
        expected.extend(frame(FIN | PONG, b"pong"));
        expected.extend(frame(CONTINUATION, b""));
        expected.extend(frame(FIN | CONTINUATION, b""));
        expected.extend(frame(FIN | TEXT, b"next"));
        assert_eq!(read(&bytes, OWN).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn a_relay_of_others_is_ended_by_one_message_or_by_many() {
        let mut long = HEAD.to_vec();
        long.extend(frame(FIN | TEXT, &[b'x'; 301]));
        let error = read(&long, OTHER).await.unwrap_err().to_string();
        assert!(error.contains("a message of more than"), "{error}");
        let mut many = HEAD.to_vec();
        for _ in 0..3 {
            many.extend(frame(FIN | TEXT, &[b'x'; 200]));
        }
        let error = read(&many, OTHER).await.unwrap_err().to_string();
        assert!(error.contains("more than we take"), "{error}");
    }
}
