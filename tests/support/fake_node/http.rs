//! As much HTTP/1.1 as the fake needs, with or without TLS: one request a connection.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::{Certificate, Fault, Shared};

/// The largest request that is read, bytes.
const MAX_REQUEST: usize = 64 * 1024;

pub fn tls(certificate: Certificate) -> Arc<ServerConfig> {
    // Another test was first: the same provider is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let shown = CertificateDer::from_pem_slice(certificate.pem().as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(certificate.key().as_bytes()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![shown], key);
    Arc::new(config.unwrap())
}

pub fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.held().stopped {
            break;
        }
        let Ok(stream) = stream else { continue };
        let connection = {
            let shared = Arc::clone(shared);
            // A caller that hangs up early is no fault of the server.
            std::thread::spawn(move || drop(greet(stream, &shared)))
        };
        let mut state = shared.held();
        state.connections.retain(|thread| !thread.is_finished());
        state.connections.push(connection);
    }
    let connections = std::mem::take(&mut shared.held().connections);
    for connection in connections {
        // A thread that failed has failed its test already.
        let _ = connection.join();
    }
}

fn greet(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    if shared.fault() == Fault::Down {
        return Ok(());
    }
    let Some(config) = &shared.tls else {
        return serve(&mut &stream, shared);
    };
    let session = ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(session, stream);
    let served = serve(&mut stream, shared);
    stream.conn.send_close_notify();
    stream.flush()?;
    served
}

pub struct Request {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// By lower-case name.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn url(&self) -> reqwest::Url {
        reqwest::Url::parse(&format!("http://fake{}", self.target)).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body's fields, as a form has them.
    pub fn form(&self) -> HashMap<String, String> {
        let text = String::from_utf8_lossy(&self.body).into_owned();
        let url = reqwest::Url::parse(&format!("http://fake/?{text}")).unwrap();
        url.query_pairs().into_owned().collect()
    }
}

pub struct Reply {
    pub status: u16,
    pub header: String,
    pub body: String,
}

pub fn json_reply(status: u16, body: &Value) -> Reply {
    Reply {
        status,
        header: "Content-Type: application/json\r\n".to_owned(),
        body: body.to_string(),
    }
}

pub fn text_reply(status: u16, body: &str) -> Reply {
    Reply {
        status,
        header: "Content-Type: text/plain\r\n".to_owned(),
        body: body.to_owned(),
    }
}

fn serve(stream: &mut (impl Read + Write), shared: &Shared) -> std::io::Result<()> {
    let Some(request) = read(stream)? else {
        return Ok(());
    };
    shared.held().calls += 1;
    let fault = shared.fault();
    if let Fault::Slow(longer) = fault {
        shared.hold_back(longer);
    }
    let Some(reply) = broken(&fault, &request, shared).or_else(|| (shared.api)(&request, shared))
    else {
        return Ok(());
    };
    let sent = match fault {
        Fault::Truncated => reply.body.len() / 2,
        _ => reply.body.len(),
    };
    write!(
        stream,
        "HTTP/1.1 {} Fake\r\nDate: {}\r\nContent-Length: {}\r\nConnection: close\r\n{}\r\n{}",
        reply.status,
        date(shared.books(|books| books.date_ahead)),
        reply.body.len(),
        reply.header,
        &reply.body[..sent]
    )?;
    stream.flush()
}

/// The time as HTTP writes it, so many seconds ahead.
fn date(ahead: i64) -> String {
    let secs = super::now().saturating_add_signed(ahead);
    let at = time::OffsetDateTime::from_unix_timestamp(secs.try_into().unwrap()).unwrap();
    let text = at.format(&time::format_description::well_known::Rfc2822);
    text.unwrap().replace("+0000", "GMT")
}

/// The answer where the server is broken as a whole.
fn broken(fault: &Fault, request: &Request, shared: &Shared) -> Option<Reply> {
    Some(match fault {
        Fault::ServerError => {
            let told = request
                .headers
                .get("authorization")
                .map_or(&shared.secret, |basic| basic);
            let text = format!(
                "\u{1b}[31mno funds for {} and {told}\u{202e}",
                shared.secret
            );
            json_reply(500, &json!({"code": 2, "message": text, "details": []}))
        }
        Fault::Forbidden => text_reply(403, "Forbidden"),
        Fault::Busy => Reply {
            header: "Retry-After: 7\r\n".to_owned(),
            ..json_reply(429, &json!({"message": "slow down"}))
        },
        Fault::Redirect => Reply {
            header: "Location: http://127.0.0.1:1/elsewhere\r\n".to_owned(),
            ..text_reply(302, "")
        },
        Fault::Huge => text_reply(200, &"x".repeat(8 * 1024 * 1024)),
        Fault::WebPage(status) => text_reply(*status, "<html>Welcome to nginx!</html>"),
        _ => return None,
    })
}

fn read(stream: &mut impl Read) -> std::io::Result<Option<Request>> {
    let mut reader = BufReader::new(stream.take(MAX_REQUEST as u64));
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length");
    let length = length.and_then(|text| text.parse().ok()).unwrap_or(0_usize);
    let mut body = vec![0; length.min(MAX_REQUEST)];
    reader.read_exact(&mut body)?;
    Ok(Some(Request {
        method,
        target,
        headers,
        body,
    }))
}
