//! A WebSocket client (RFC 6455) that sends frames exactly as told, broken ones as well.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The opcode of a recorded frame's name.
pub fn opcode(frame: &str) -> u8 {
    match frame {
        "cont" => CONTINUATION,
        "text" => TEXT,
        "bin" => BINARY,
        "close" => CLOSE,
        "ping" => PING,
        "pong" => PONG,
        number => number.parse().expect("an opcode"),
    }
}

#[derive(Clone, Debug)]
pub enum Frame {
    Binary(Vec<u8>),
    Text(String),
    Ping,
    Pong(Vec<u8>),
    Close(u16, String),
    Eof,
}

pub struct Socket {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    buffer: VecDeque<u8>,
    /// Headers of the switch, lower case.
    pub headers: Vec<(String, String)>,
}

impl Socket {
    /// Connects; an upgrade that is refused gives status line and body.
    pub async fn connect(
        address: SocketAddr,
        path: &str,
        headers: &[(String, String)],
    ) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.expect("connects");
        let (mut reader, mut writer) = stream.into_split();
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        writer.write_all(request.as_bytes()).await.expect("writes");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            let read = reader.read(&mut byte).await.expect("reads");
            assert!(
                read > 0,
                "the answer ends early: {}",
                String::from_utf8_lossy(&head)
            );
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("ASCII");
        if !head.starts_with("HTTP/1.1 101") {
            let mut body = vec![0; 4096];
            let read = timeout(Duration::from_secs(1), reader.read(&mut body)).await;
            let read = read.map_or(0, |read| read.unwrap_or(0));
            let line = head.lines().next().unwrap_or_default();
            return Err(format!("{line}: {}", String::from_utf8_lossy(&body[..read])));
        }
        let headers = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        Ok(Self {
            reader,
            writer,
            buffer: VecDeque::new(),
            headers,
        })
    }

    /// Sends one frame. The other end may be gone already: recorded clients did not care either.
    pub async fn send(&mut self, opcode: u8, payload: &[u8], masked: bool) {
        let mut frame = vec![0x80 | opcode];
        let mask = if masked { 0x80 } else { 0 };
        match payload.len() {
            short @ 0..126 => frame.push(mask | u8::try_from(short).expect("short")),
            middle @ 126..=0xFFFF => {
                frame.push(mask | 126);
                frame.extend_from_slice(&u16::try_from(middle).expect("16 bits").to_be_bytes());
            }
            long => {
                frame.push(mask | 127);
                frame.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        if masked {
            // Zeros are a valid key and leave the payload as it is.
            frame.extend_from_slice(&[0; 4]);
        }
        frame.extend_from_slice(payload);
        let _ = self.writer.write_all(&frame).await;
    }

    pub async fn send_close(&mut self, code: u16) {
        self.send(CLOSE, &code.to_be_bytes(), true).await;
    }

    /// Goes away without a word, and waits until the server has noticed.
    pub async fn cut(&mut self) {
        let _ = self.writer.shutdown().await;
        while !matches!(self.next().await, Frame::Eof) {}
    }

    /// The next frame, however long it takes. Cancelling loses nothing.
    pub async fn next(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.parse() {
                return frame;
            }
            let mut chunk = vec![0; 64 * 1024];
            match self.reader.read(&mut chunk).await {
                Ok(read) if read > 0 => self.buffer.extend(&chunk[..read]),
                _ => return Frame::Eof,
            }
        }
    }

    fn parse(&mut self) -> Option<Frame> {
        let byte = |index: usize| self.buffer.get(index).copied().map(usize::from);
        let first = byte(0)?;
        let (start, length) = match byte(1)? {
            126 => (4, byte(2)? << 8 | byte(3)?),
            127 => (
                10,
                (2..10).try_fold(0, |length, at| Some(length << 8 | byte(at)?))?,
            ),
            short => (2, short),
        };
        if self.buffer.len() < start + length {
            return None;
        }
        let payload: Vec<u8> = self.buffer.drain(..start + length).skip(start).collect();
        assert!(first & 0x80 != 0, "the server does not fragment");
        assert!(first & 0x40 == 0, "the server does not compress");
        let opcode = u8::try_from(first & 0x0F).expect("4 bits");
        Some(match opcode {
            TEXT => Frame::Text(String::from_utf8(payload).expect("UTF-8")),
            BINARY => Frame::Binary(payload),
            PING => Frame::Ping,
            PONG => Frame::Pong(payload),
            CLOSE => {
                let code = payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code));
                let reason = payload.get(2..).unwrap_or_default();
                Frame::Close(code, String::from_utf8_lossy(reason).into_owned())
            }
            other => panic!("opcode {other} from the server"),
        })
    }
}
