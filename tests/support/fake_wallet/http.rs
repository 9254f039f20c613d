//! As much HTTP/1.1 as the fake needs: one request a connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::api::answer;
use super::{Fault, Shared};

/// The largest request that is read, bytes.
const MAX_REQUEST: usize = 64 * 1024;

pub fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.held().stopped {
            break;
        }
        let Ok(stream) = stream else { continue };
        let connection = {
            let shared = Arc::clone(shared);
            // A caller that hangs up early is no fault of the server.
            std::thread::spawn(move || drop(serve(&stream, &shared)))
        };
        let mut state = shared.held();
        state.connections.retain(|thread| !thread.is_finished());
        state.connections.push(connection);
    }
    let connections = std::mem::take(&mut shared.held().connections);
    for connection in connections {
        // As in `drop`.
        let _ = connection.join();
    }
}

pub struct Request {
    pub method: String,
    pub target: String,
    pub key: String,
    pub body: Value,
}

pub struct Reply {
    pub status: u16,
    pub header: String,
    pub body: String,
}

pub fn reply(status: u16, body: &Value) -> Reply {
    Reply {
        status,
        header: String::new(),
        body: body.to_string(),
    }
}

fn serve(mut stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    if shared.held().fault == Fault::Down {
        return Ok(());
    }
    let Some(request) = read(stream)? else {
        return Ok(());
    };
    let Some(reply) = answer(&request, shared) else {
        return Ok(());
    };
    write!(
        stream,
        "HTTP/1.1 {} Fake\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n{}\r\n{}",
        reply.status,
        reply.body.len(),
        reply.header,
        reply.body
    )?;
    stream.flush()
}

fn read(stream: &TcpStream) -> std::io::Result<Option<Request>> {
    let mut reader = BufReader::new(stream.take(MAX_REQUEST as u64));
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let (mut key, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "x-api-key" => value.trim().clone_into(&mut key),
            "content-length" => length = value.trim().parse().unwrap_or(0),
            _ => {}
        }
    }
    let mut body = vec![0; length.min(MAX_REQUEST)];
    reader.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(Some(Request {
        method,
        target,
        key,
        body,
    }))
}
