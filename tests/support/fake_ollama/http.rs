//! As much of HTTP/1.1 as the fake needs.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// One request as the server saw it.
#[derive(Clone, Debug)]
pub struct PaymentStatus {
    /// Its path.
    pub path: String,
    /// Its `Authorization` header.
    pub authorization: Option<String>,
    /// Its body; null where it had none.
    pub body: Value,
}

/// Reads a request: its path, its key and its body.
pub async fn request(socket: &mut BufReader<TcpStream>) -> std::io::Result<PaymentStatus> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if socket.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    let header = |name: &str| {
        let mut lines = head.iter().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned())
    };
    let length = header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await?;
    let path = head[0].split(' ').nth(1).unwrap().to_owned();
    Ok(PaymentStatus {
        path,
        authorization: header("authorization"),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    })
}

/// The answering half of a connection.
pub struct Reply {
    /// The connection.
    pub socket: BufReader<TcpStream>,
    /// How many seconds the server's clock is ahead of ours.
    pub date_ahead: i64,
}

impl Reply {
    /// Waits for the client to leave.
    pub async fn hang(&mut self) -> std::io::Result<()> {
        self.socket.read_u8().await?;
        Ok(())
    }

    /// The head; without a length the body comes in chunks.
    pub async fn head(
        &mut self,
        status: u16,
        kind: &str,
        length: Option<usize>,
    ) -> std::io::Result<()> {
        let length = match length {
            Some(length) => format!("content-length: {length}"),
            None => "transfer-encoding: chunked".to_owned(),
        };
        let head = format!(
            "HTTP/1.1 {status} Fake\r\ndate: {}\r\ncontent-type: {kind}\r\n{length}\r\nconnection: close\r\n\r\n",
            self.date()
        );
        self.socket.write_all(head.as_bytes()).await?;
        self.socket.flush().await
    }

    /// The server's time as HTTP writes it.
    fn date(&self) -> String {
        let at = time::OffsetDateTime::now_utc() + time::Duration::seconds(self.date_ahead);
        let text = at.format(&time::format_description::well_known::Rfc2822);
        text.unwrap().replace("+0000", "GMT")
    }

    /// A whole reply.
    pub async fn whole(&mut self, status: u16, kind: &str, body: &str) -> std::io::Result<()> {
        self.head(status, kind, Some(body.len())).await?;
        self.socket.write_all(body.as_bytes()).await?;
        self.socket.shutdown().await
    }

    /// A whole reply of JSON.
    pub async fn json(&mut self, status: u16, body: &Value) -> std::io::Result<()> {
        self.whole(status, "application/json", &body.to_string())
            .await
    }

    /// An error as Ollama words it.
    pub async fn error(&mut self, status: u16, text: &str) -> std::io::Result<()> {
        self.json(status, &json!({ "error": text })).await
    }

    /// One line of a stream, in a chunk of its own.
    pub async fn line(&mut self, line: &Value) -> std::io::Result<()> {
        self.chunk(format!("{line}\n").as_bytes()).await
    }

    /// One chunk.
    pub async fn chunk(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let size = format!("{:x}\r\n", bytes.len());
        self.socket.write_all(size.as_bytes()).await?;
        self.socket.write_all(bytes).await?;
        self.socket.write_all(b"\r\n").await?;
        self.socket.flush().await
    }

    /// A chunk that promises more than comes, then the end of the connection.
    pub async fn torn(&mut self, text: &str) -> std::io::Result<()> {
        self.socket
            .write_all(format!("fff\r\n{text}").as_bytes())
            .await?;
        self.socket.shutdown().await
    }

    /// The end in good form.
    pub async fn end(&mut self) -> std::io::Result<()> {
        self.socket.write_all(b"0\r\n\r\n").await?;
        self.socket.shutdown().await
    }
}
