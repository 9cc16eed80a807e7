//! HTTP exactly as written, over sockets that may be treated badly.

use anyhow::{Context, bail};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Connects; neither reading nor writing waits longer than `patience`.
pub(crate) fn connect(address: SocketAddr, patience: Duration) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, patience).context("connect")?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The head of a request with a token, if there is one, and a body to come.
pub(crate) fn head(method: &str, path: &str, token: Option<&str>, kind: &str, length: usize) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
    if let Some(token) = token {
        head += &format!("Authorization: Bearer {token}\r\n");
    }
    if method == "POST" {
        head += &format!("Content-Type: {kind}\r\nContent-Length: {length}\r\n");
    }
    head + "\r\n"
}

/// Reads one answer.
pub(crate) fn answer(stream: &mut TcpStream) -> anyhow::Result<Answer> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .and_then(|length| length.trim().parse().ok())
                .unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                return Ok(Answer {
                    status: status.context("no status")?,
                    body: bytes[end + 4..end + 4 + length].to_vec(),
                });
            }
        }
        match stream.read(&mut chunk)? {
            0 => bail!("the answer ends early"),
            read => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

/// `GET` on a connection of its own.
pub(crate) fn get(address: SocketAddr, path: &str, patience: Duration) -> anyhow::Result<Answer> {
    let mut stream = connect(address, patience)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    answer(&mut stream)
}

/// A call of the API.
pub(crate) fn post(
    stream: &mut TcpStream,
    method: &str,
    token: Option<&str>,
    kind: &str,
    body: &[u8],
) -> anyhow::Result<Answer> {
    let path = format!("/twirp/livekit.RoomService/{method}");
    stream.write_all(head("POST", &path, token, kind, body.len()).as_bytes())?;
    // Who is refused early may be cut while still sending: the answer counts.
    let _ = stream.write_all(body);
    answer(stream)
}

pub(crate) const JSON: &str = "application/json";
pub(crate) const PROTOBUF: &str = "application/protobuf";
