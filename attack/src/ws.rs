//! A WebSocket client on a plain socket: hostile frames are easy.

use crate::http;
use anyhow::{Context, bail, ensure};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use prost::Message;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longest answer that is read; a join response of a full room fits.
const FRAME_MAX: usize = 64 << 20;

/// The header that asks for compression.
pub(crate) const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

#[derive(Debug)]
pub(crate) struct Ws {
    pub(crate) stream: TcpStream,
    inbox: Vec<u8>,
}

impl Ws {
    /// Upgrades. `receive_buffer`: of the socket, in bytes, for who reads slowly.
    pub(crate) fn open(
        address: SocketAddr,
        path: &str,
        headers: &str,
        receive_buffer: Option<usize>,
        patience: Duration,
    ) -> anyhow::Result<Self> {
        let mut ws = Self::ask(address, path, headers, receive_buffer, patience)?;
        let status = ws.read_head()?;
        ensure!(status == 101, "the upgrade is answered with {status}");
        Ok(ws)
    }

    /// Asks for the upgrade and reads nothing.
    pub(crate) fn ask(
        address: SocketAddr,
        path: &str,
        headers: &str,
        receive_buffer: Option<usize>,
        patience: Duration,
    ) -> anyhow::Result<Self> {
        let mut stream = http::connect(address, patience)?;
        if let Some(bytes) = receive_buffer {
            socket2::SockRef::from(&stream).set_recv_buffer_size(bytes)?;
        }
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes())?;
        Ok(Self {
            stream,
            inbox: Vec::new(),
        })
    }

    /// The status of the answer; what follows it stays in the inbox.
    pub(crate) fn read_head(&mut self) -> anyhow::Result<u16> {
        loop {
            if let Some(end) = self.inbox.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.inbox[..end]).into_owned();
                self.inbox.drain(..end + 4);
                return head
                    .split(' ')
                    .nth(1)
                    .and_then(|status| status.parse().ok())
                    .context("no status");
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> anyhow::Result<()> {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk)? {
            0 => bail!("closed by the server"),
            read => self.inbox.extend_from_slice(&chunk[..read]),
        }
        Ok(())
    }

    /// The next message.
    pub(crate) fn receive(&mut self) -> anyhow::Result<Response> {
        loop {
            let (first, payload) = self.frame()?;
            match first & 0x0F {
                1 | 2 => {
                    let payload = if first & 0x40 == 0 {
                        payload
                    } else {
                        inflate(&payload)?
                    };
                    let response = proto::SignalResponse::decode(&*payload)?;
                    return response.message.context("an empty response");
                }
                8 => bail!("closed by the server: {}", String::from_utf8_lossy(&payload)),
                _ => {}
            }
        }
    }

    fn frame(&mut self) -> anyhow::Result<(u8, Vec<u8>)> {
        loop {
            if let [first, second, rest @ ..] = &*self.inbox {
                let (len, at) = match (second & 0x7F, rest) {
                    (126, [a, b, ..]) => (Some(usize::from(u16::from_be_bytes([*a, *b]))), 4),
                    (127, [a, b, c, d, e, f, g, h, ..]) => {
                        let long = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
                        (Some(usize::try_from(long)?), 10)
                    }
                    (126 | 127, _) => (None, 0),
                    (short, _) => (Some(usize::from(short)), 2),
                };
                if let Some(len) = len {
                    ensure!(len <= FRAME_MAX, "a frame of {len} bytes");
                    if self.inbox.len() >= at + len {
                        let (first, payload) = (*first, self.inbox[at..at + len].to_vec());
                        self.inbox.drain(..at + len);
                        return Ok((first, payload));
                    }
                }
            }
            self.fill()?;
        }
    }

    /// Reads until a message fits.
    pub(crate) fn until<T>(
        &mut self,
        patience: Duration,
        mut fits: impl FnMut(Response) -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(found) = fits(self.receive()?) {
                return Ok(found);
            }
        }
        bail!("nothing that fits within {patience:?}")
    }

    /// The join response, which comes first.
    pub(crate) fn join(&mut self) -> anyhow::Result<proto::JoinResponse> {
        let first = self.receive()?;
        let Response::Join(join) = first else {
            bail!("{first:?} where a join was due");
        };
        Ok(join)
    }

    pub(crate) fn request(&mut self, message: Request) -> anyhow::Result<()> {
        Ok(self.stream.write_all(&request(message))?)
    }
}

/// A frame. Its mask is zero, which servers cannot object to.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            out.push(0x80 | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend([0; 4]);
    out.extend_from_slice(payload);
    out
}

pub(crate) fn binary(payload: &[u8]) -> Vec<u8> {
    frame(0x82, payload)
}

pub(crate) fn text(payload: &str) -> Vec<u8> {
    frame(0x81, payload.as_bytes())
}

/// A request as a binary frame.
pub(crate) fn request(message: Request) -> Vec<u8> {
    let request = proto::SignalRequest {
        message: Some(message),
    };
    binary(&request.encode_to_vec())
}

/// A frame of opcode `op` compressed as RFC 7692 §7.2.1 says.
pub(crate) fn packed(op: u8, payload: &[u8]) -> Vec<u8> {
    frame(0xC0 | op, &deflate(payload))
}

pub(crate) fn deflate(payload: &[u8]) -> Vec<u8> {
    let mut compress = Compress::new(Compression::best(), false);
    let mut out = Vec::with_capacity(payload.len() / 500 + 4096);
    let mut done = false;
    while !done {
        out.reserve(4096);
        let from = compress.total_in() as usize;
        // Memory is there, so that nothing else can fail.
        let _ = compress.compress_vec(&payload[from..], &mut out, FlushCompress::Sync);
        done = compress.total_in() as usize == payload.len() && out.len() < out.capacity();
    }
    out.truncate(out.len().saturating_sub(4));
    out
}

fn inflate(packed: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut packed = packed.to_vec();
    packed.extend([0, 0, 0xFF, 0xFF]);
    let mut inflate = Decompress::new(false);
    let mut out = Vec::with_capacity(64 * 1024);
    loop {
        let from = inflate.total_in() as usize;
        inflate.decompress_vec(&packed[from..], &mut out, FlushDecompress::Sync)?;
        if inflate.total_in() as usize == packed.len() && out.len() < out.capacity() {
            return Ok(out);
        }
        ensure!(out.len() < FRAME_MAX, "a frame of {} bytes", out.len());
        out.reserve(64 * 1024);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_again() {
        for len in [0, 10, 100_000] {
            let payload = vec![7; len];
            assert_eq!(inflate(&deflate(&payload)).expect("deflate"), payload);
        }
    }
}
