//! The byte stream of a WebSocket whose client compresses its messages: what is read from it has
//! the compressed messages expanded, as plain frames (RFC 7692 §7.2.2).
//!
//! It stands under the WebSocket library, which knows no extensions. It looks at frame headers only;
//! every frame that is not part of a compressed message goes through untouched, valid or not, and a
//! message that is too long is announced with its length, so that the library refuses it as it
//! refuses others. What is written passes through.

use super::deflate::{InflateError, inflate};
use super::pace::Pace;
use bytes::{Buf, BufMut, BytesMut};
use futures_util::future::BoxFuture;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const OPCODE: u8 = 0x0F;
const CONTROL: u8 = 0x08;
const MASKED: u8 = 0x80;

/// Read at a time.
const CHUNK: usize = 4096;

/// A message that is longer than this when expanded, in bytes, waits for its turn: it takes a
/// processor for a millisecond or two, and 2 KiB of the client's.
const LARGE: usize = 64 << 10;

/// Turns to expand large messages, of all connections: as many as leave other work a processor.
pub(super) type Turns = Arc<Semaphore>;

/// A turn that is waited for.
type Turn = BoxFuture<'static, Result<OwnedSemaphorePermit, AcquireError>>;

/// Half of the processors expand large messages at most.
pub(super) fn turns() -> Turns {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Arc::new(Semaphore::new((cores / 2).max(1)))
}

/// See the head of this file.
pub(super) struct Inflating<S> {
    inner: S,
    pace: Pace,
    turns: Turns,
    turn: Option<Turn>,
    /// Read and not looked at yet: what came behind a message that waits for its turn.
    unread: BytesMut,
    reader: Reader,
    /// Was the extension agreed on? If not, everything passes.
    active: bool,
}

impl<S> Inflating<S> {
    /// `limit` bounds a message, compressed and expanded.
    pub(super) fn new(inner: S, active: bool, limit: usize, turns: Turns) -> Self {
        Self {
            inner,
            pace: Pace::new(Instant::now()),
            turns,
            turn: None,
            unread: BytesMut::new(),
            reader: Reader::new(limit),
            active,
        }
    }

    /// From here on compressed messages are passed over: who has been told that the connection ends
    /// must not have us expand what else it sent.
    pub(super) fn expand_no_more(&mut self) {
        self.reader.expands = false;
        self.reader.packed = Vec::new();
        if self.reader.large.take().is_some() {
            self.reader.collecting = None;
        }
        self.turn = None;
    }

    /// Expands the large message that waits, once it is its turn.
    fn poll_large(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let turns = &self.turns;
        let turn = self
            .turn
            .get_or_insert_with(|| Box::pin(Arc::clone(turns).acquire_owned()));
        // They are never closed.
        let permit = ready!(turn.as_mut().poll(cx));
        self.turn = None;
        let expanded = self.reader.expand_large();
        drop(permit);
        Poll::Ready(expanded)
    }

    /// Ready when more may be read. A connection that ends is read to its end at once.
    fn poll_pace(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reader.expands {
            self.pace.poll_ready(cx)
        } else {
            Poll::Ready(Ok(()))
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Inflating<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.active {
            ready!(this.poll_pace(cx))?;
            let before = out.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(cx, out))?;
            this.pace.charge(out.filled().len().saturating_sub(before));
            return Poll::Ready(Ok(()));
        }
        while this.reader.ready.is_empty() {
            if this.reader.large.is_some() {
                ready!(this.poll_large(cx))?;
                continue;
            }
            ready!(this.poll_pace(cx))?;
            if !this.unread.is_empty() {
                let left = this.reader.take(&this.unread)?.len();
                this.unread.advance(this.unread.len() - left);
                continue;
            }
            let mut chunk = [0; CHUNK];
            let mut read = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            let left = this.reader.take(read.filled())?;
            this.unread = BytesMut::from(left);
        }
        let count = out.remaining().min(this.reader.ready.len());
        out.put_slice(&this.reader.ready.split_to(count));
        this.pace.charge(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Inflating<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// What the bytes to come belong to.
#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    /// Of a frame that passes.
    Passing {
        left: u64,
    },
    /// Of a compressed message.
    Collecting {
        left: u64,
        mask: [u8; 4],
        /// Position in the mask.
        at: usize,
        fin: bool,
    },
}

/// Bytes in, bytes out; knows no socket.
#[derive(Debug)]
struct Reader {
    limit: usize,
    /// If not, compressed messages are dropped.
    expands: bool,
    state: State,
    /// A frame header that is not complete: at most 14 bytes.
    header: BytesMut,
    /// The opcode of the compressed message that is being collected.
    collecting: Option<u8>,
    /// It, as far as it came: at most `limit`.
    packed: Vec<u8>,
    /// A compressed message that is large when expanded. Nothing is read before it is.
    large: Option<Vec<u8>>,
    /// For the library.
    ready: BytesMut,
}

impl Reader {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            expands: true,
            state: State::Header,
            header: BytesMut::new(),
            collecting: None,
            packed: Vec::new(),
            large: None,
            ready: BytesMut::new(),
        }
    }

    /// What it leaves comes behind a large message.
    fn take<'a>(&mut self, mut data: &'a [u8]) -> io::Result<&'a [u8]> {
        while !data.is_empty() && self.large.is_none() {
            match &mut self.state {
                State::Header => {
                    self.header.put_u8(data.get_u8());
                    self.open_frame()?;
                }
                State::Passing { left } => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(data.len());
                    let (now, rest) = data.split_at(count);
                    self.ready.extend_from_slice(now);
                    *left -= count as u64;
                    data = rest;
                    if *left == 0 {
                        self.state = State::Header;
                    }
                }
                State::Collecting { left, mask, at, fin } => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(data.len());
                    let (now, rest) = data.split_at(count);
                    if self.expands {
                        for byte in now {
                            self.packed.push(byte ^ mask[*at % 4]);
                            *at += 1;
                        }
                    }
                    *left -= count as u64;
                    data = rest;
                    if *left == 0 {
                        let fin = *fin;
                        self.state = State::Header;
                        if fin {
                            self.finish()?;
                        }
                    }
                }
            }
        }
        Ok(data)
    }

    /// Decides what happens to a frame once its header is complete.
    fn open_frame(&mut self) -> io::Result<()> {
        let Some(header) = Header::parse(&self.header) else {
            return Ok(());
        };
        let begins = header.rsv1 && matches!(header.opcode, 1 | 2) && self.collecting.is_none();
        let goes_on = !header.rsv1 && header.opcode == 0 && self.collecting.is_some();
        // Without a mask it is refused for that.
        if let Some(mask) = header.mask
            && (begins || goes_on)
        {
            self.header.clear();
            if begins {
                self.collecting = Some(header.opcode);
                self.packed.clear();
            }
            if header.length > (self.limit - self.packed.len()) as u64 {
                self.announce(header.length.max((self.limit as u64).saturating_add(1)));
                return Ok(());
            }
            self.state = State::Collecting {
                left: header.length,
                mask,
                at: 0,
                fin: header.fin,
            };
            if header.length == 0 {
                self.state = State::Header;
                if header.fin {
                    return self.finish();
                }
            }
            return Ok(());
        }
        self.ready.extend_from_slice(&self.header);
        self.header.clear();
        if header.length > 0 {
            self.state = State::Passing { left: header.length };
        }
        Ok(())
    }

    /// The compressed message is complete.
    fn finish(&mut self) -> io::Result<()> {
        let packed = std::mem::take(&mut self.packed);
        if !self.expands {
            self.collecting = None;
            return Ok(());
        }
        match inflate(&packed, self.limit.min(LARGE)) {
            Err(InflateError::TooLong) if self.limit > LARGE => {
                self.large = Some(packed);
                Ok(())
            }
            expanded => self.hand_over(expanded),
        }
    }

    fn expand_large(&mut self) -> io::Result<()> {
        let Some(packed) = self.large.take() else {
            return Ok(());
        };
        self.hand_over(inflate(&packed, self.limit))
    }

    fn hand_over(&mut self, expanded: Result<Vec<u8>, InflateError>) -> io::Result<()> {
        match expanded {
            Ok(data) => {
                self.announce(data.len() as u64);
                self.ready.extend_from_slice(&data);
                Ok(())
            }
            Err(InflateError::TooLong) => {
                self.announce((self.limit as u64).saturating_add(1));
                Ok(())
            }
            Err(InflateError::Broken) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a compressed message is broken",
            )),
        }
    }

    /// Writes the header of a whole plain message, masked with zeros.
    fn announce(&mut self, length: u64) {
        let opcode = self.collecting.take().unwrap_or(2);
        self.ready.put_u8(FIN | opcode);
        match length {
            0..=125 => self.ready.put_u8(MASKED | length as u8),
            126..=0xFFFF => {
                self.ready.put_u8(MASKED | 126);
                self.ready.put_u16(length as u16);
            }
            _ => {
                self.ready.put_u8(MASKED | 127);
                self.ready.put_u64(length);
            }
        }
        self.ready.put_u32(0);
    }
}

/// A frame header (RFC 6455 §5.2).
struct Header {
    fin: bool,
    rsv1: bool,
    opcode: u8,
    mask: Option<[u8; 4]>,
    length: u64,
}

impl Header {
    /// `None` while bytes are missing.
    fn parse(mut data: &[u8]) -> Option<Self> {
        let first = data.try_get_u8().ok()?;
        let second = data.try_get_u8().ok()?;
        let length = match second & !MASKED {
            126 => u64::from(data.try_get_u16().ok()?),
            127 => data.try_get_u64().ok()?,
            short => u64::from(short),
        };
        let mask = if second & MASKED == 0 {
            None
        } else {
            Some(data.try_get_u32().ok()?.to_be_bytes())
        };
        Some(Self {
            fin: first & FIN != 0,
            rsv1: first & RSV1 != 0 && first & CONTROL == 0,
            opcode: first & OPCODE,
            mask,
            length,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::deflate::deflate;
    use super::*;
    use tokio::io::AsyncReadExt as _;

    const KEY: [u8; 4] = [1, 2, 3, 4];

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        match payload.len() {
            length @ 0..=125 => out.push(MASKED | length as u8),
            length => {
                out.push(MASKED | 126);
                out.put_u16(u16::try_from(length).expect("short"));
            }
        }
        out.extend(KEY);
        out.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ KEY[at % 4]));
        out
    }

    /// What comes out, whatever the cuts of the input.
    fn read(input: &[u8], limit: usize) -> Vec<u8> {
        let mut whole = Reader::new(limit);
        whole.take(input).expect("reads");
        let mut bytewise = Reader::new(limit);
        for byte in input {
            bytewise.take(&[*byte]).expect("reads");
        }
        assert_eq!(whole.ready, bytewise.ready);
        whole.ready.to_vec()
    }

    fn plain(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![FIN | opcode, MASKED | u8::try_from(payload.len()).expect("short")];
        out.extend([0; 4]);
        out.extend(payload);
        out
    }

    #[test]
    fn compressed_messages_are_expanded_and_others_pass() {
        let input = [
            frame(FIN | 1, b"plain"),
            frame(FIN | RSV1 | 2, &deflate(b"packed")),
            frame(FIN | 9, b"ping"),
            frame(FIN | RSV1 | 1, &deflate(b"")),
        ];
        let expected = [
            frame(FIN | 1, b"plain"),
            plain(2, b"packed"),
            frame(FIN | 9, b"ping"),
            plain(1, b""),
        ];
        assert_eq!(read(&input.concat(), 100), expected.concat());
    }

    #[test]
    fn fragments_are_joined_around_control_frames() {
        let packed = deflate(b"a message in three fragments");
        let (head, rest) = packed.split_at(5);
        let input = [
            frame(RSV1 | 1, head),
            frame(FIN | 9, b"ping"),
            frame(0, &rest[..3]),
            frame(FIN, &rest[3..]),
        ];
        let expected = [frame(FIN | 9, b"ping"), plain(1, b"a message in three fragments")];
        assert_eq!(read(&input.concat(), 100), expected.concat());
    }

    #[test]
    fn messages_that_are_too_long_are_announced_so() {
        let long = [FIN | 2, MASKED | 101, 0, 0, 0, 0];
        assert_eq!(read(&frame(FIN | RSV1 | 2, &deflate(&[0; 5000])), 100), long);
        // Compressed already too long: nothing of it is kept.
        let mut reader = Reader::new(100);
        reader
            .take(&frame(FIN | RSV1 | 2, &[0; 120])[..8])
            .expect("reads");
        assert_eq!(&reader.ready[..2], [FIN | 2, MASKED | 120]);
        assert_eq!(reader.packed.capacity(), 0);
    }

    #[tokio::test]
    async fn large_messages_wait_for_their_turn_and_what_follows_waits_behind_them() {
        let large = deflate(&[7; LARGE + 1]);
        let input = [
            frame(FIN | RSV1 | 2, &deflate(b"first")),
            frame(FIN | RSV1 | 2, &large),
            frame(FIN | RSV1 | 1, &deflate(b"last")),
        ]
        .concat();
        let turns: Turns = Arc::new(Semaphore::new(0));
        let mut stream = Inflating::new(&input[..], true, 1 << 20, Arc::clone(&turns));
        let mut first = [0; 11];
        stream.read_exact(&mut first).await.expect("reads");
        assert_eq!(first[..], plain(2, b"first"));
        let mut rest = Vec::new();
        let mut reading = Box::pin(stream.read_to_end(&mut rest));
        let waits = std::future::poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx).is_pending())).await;
        assert!(waits);
        turns.add_permits(1);
        reading.await.expect("reads");
        let (head, body) = rest.split_at(14);
        assert_eq!(
            head[..10],
            [&[FIN | 2, MASKED | 127][..], &(LARGE as u64 + 1).to_be_bytes()].concat()
        );
        let (body, last) = body.split_at(LARGE + 1);
        assert!(body.iter().all(|byte| *byte == 7));
        assert_eq!(last, plain(1, b"last"));
        assert_eq!(turns.available_permits(), 1);
    }

    #[test]
    fn nothing_is_expanded_once_the_connection_ends() {
        let packed = deflate(&[0; 5000]);
        let (head, rest) = packed.split_at(5);
        let mut stream = Inflating::new((), true, 1 << 20, turns());
        stream.reader.take(&frame(RSV1 | 2, head)).expect("reads");
        stream.expand_no_more();
        let input = [
            frame(FIN, rest),
            frame(FIN | RSV1 | 2, &packed),
            frame(FIN | RSV1 | 2, &[0xFF; 9]),
            frame(FIN | 8, b""),
        ];
        stream.reader.take(&input.concat()).expect("reads");
        assert_eq!(stream.reader.ready, frame(FIN | 8, b""));
        assert_eq!(stream.reader.packed.capacity(), 0);
    }

    #[test]
    fn broken_messages_end_the_stream_and_invalid_frames_are_left_to_the_library() {
        let mut reader = Reader::new(100);
        let input = frame(FIN | RSV1 | 2, &[0xFF; 9]);
        let broken = reader.take(&input);
        assert_eq!(
            broken.map_err(|error| error.kind()),
            Err(io::ErrorKind::InvalidData)
        );
        let unmasked = [FIN | RSV1 | 2, 1, b'x'];
        assert_eq!(read(&unmasked, 100), unmasked);
        let control = frame(FIN | RSV1 | 9, b"ping");
        assert_eq!(read(&control, 100), control);
    }
}
