//! The byte stream of a WebSocket as its library reads it: compressed messages expanded (RFC 7692
//! §7.2.2), long frames in pieces, and no faster than [`Pace`] lets it come.
//!
//! It stands under the WebSocket library, which knows no extensions, and which reserves a frame's whole
//! length for as long as the connection lives: with pieces it holds the message while it is one. It
//! looks at frame headers only; what is invalid goes through untouched, so that the library refuses it
//! as it refuses others. What is written passes through.

use super::expansion::{Expansion, PIECE, in_one_step};
use super::pace::Pace;
use bytes::{Buf, BufMut, BytesMut};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const OPCODE: u8 = 0x0F;
const CONTROL: u8 = 0x08;
const MASKED: u8 = 0x80;

/// Read at a time.
const CHUNK: usize = 4096;

/// What a frame costs besides its bytes, in bytes: 8,192 frames a second are read.
const FRAME_COST: usize = 512;

/// What a microsecond of work costs, in bytes: a connection has a twentieth of a processor. Bytes say
/// too little: a compressed message may have more tables than text.
const MICROSECOND_COST: u128 = 84;

/// See the head of this file.
pub(super) struct Inflating<S> {
    inner: S,
    pace: Pace,
    /// Read and not looked at yet: what came behind a message that is being expanded.
    unread: BytesMut,
    reader: Reader,
    /// Others had their turn since the last step.
    rested: bool,
}

impl<S> Inflating<S> {
    /// `deflate`: the client may compress. `limit` bounds a message, compressed and expanded.
    pub(super) fn new(inner: S, deflate: bool, limit: usize) -> Self {
        Self {
            inner,
            pace: Pace::new(Instant::now()),
            unread: BytesMut::new(),
            reader: Reader::new(deflate, limit),
            rested: false,
        }
    }

    /// From here on compressed messages are passed over: who has been told that the connection ends
    /// must not have us expand what else it sent.
    pub(super) fn expand_no_more(&mut self) {
        self.reader.expands = false;
        self.reader.packed = Vec::new();
        if self.reader.expansion.take().is_some() {
            self.reader.collecting = None;
        }
    }

    /// Ready when more may be read. A connection that ends is read to its end at once.
    fn poll_pace(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pace.charge(std::mem::take(&mut self.reader.cost));
        if self.reader.expands {
            self.pace.poll_ready(cx)
        } else {
            Poll::Ready(Ok(()))
        }
    }

    fn charge_since(&mut self, begun: std::time::Instant) {
        let cost = begun.elapsed().as_micros() * MICROSECOND_COST;
        self.pace.charge(usize::try_from(cost).unwrap_or(usize::MAX));
    }

    /// Ready every other time: a message of many steps lets others have their turn.
    fn poll_rest(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.rested = !self.rested;
        if self.rested {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Inflating<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.reader.ready.is_empty() {
            ready!(this.poll_pace(cx))?;
            if this.reader.expansion.is_some() {
                ready!(this.poll_rest(cx));
                let begun = std::time::Instant::now();
                this.reader.step()?;
                this.charge_since(begun);
                continue;
            }
            if !this.unread.is_empty() {
                let begun = std::time::Instant::now();
                let left = this.reader.take(&this.unread)?.len();
                this.unread.advance(this.unread.len() - left);
                this.charge_since(begun);
                continue;
            }
            let mut chunk = [0; CHUNK];
            let mut read = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            let begun = std::time::Instant::now();
            let left = this.reader.take(read.filled())?;
            this.unread = BytesMut::from(left);
            this.charge_since(begun);
        }
        let count = out.remaining().min(this.reader.ready.len());
        out.put_slice(&this.reader.ready.split_to(count));
        if this.reader.ready.is_empty() {
            this.reader.ready = BytesMut::new();
        }
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
    /// Of a long frame that passes in pieces.
    Splitting {
        left: u64,
        /// Of the present piece.
        piece: u64,
        mask: [u8; 4],
        fin: bool,
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
struct Reader {
    deflate: bool,
    limit: usize,
    /// If not, compressed messages are dropped.
    expands: bool,
    state: State,
    /// A frame header that is not complete: at most 14 bytes.
    header: BytesMut,
    /// A plain message of several frames is not complete.
    open: bool,
    /// The opcode of the compressed message that is being collected or expanded; 0 once its first piece
    /// is out.
    collecting: Option<u8>,
    /// It, as far as it came: at most `limit`.
    packed: Vec<u8>,
    /// It, complete, when it takes more than one step. Nothing is read before it is through.
    expansion: Option<Expansion>,
    /// For the library.
    ready: BytesMut,
    /// What was read costs so much, in bytes.
    cost: usize,
}

impl Reader {
    fn new(deflate: bool, limit: usize) -> Self {
        Self {
            deflate,
            limit,
            expands: true,
            state: State::Header,
            header: BytesMut::new(),
            open: false,
            collecting: None,
            packed: Vec::new(),
            expansion: None,
            ready: BytesMut::new(),
            cost: 0,
        }
    }

    /// What it leaves comes behind a message that takes more steps.
    fn take<'a>(&mut self, mut data: &'a [u8]) -> io::Result<&'a [u8]> {
        while !data.is_empty() && self.expansion.is_none() {
            match &mut self.state {
                State::Header => {
                    self.header.put_u8(data.get_u8());
                    self.open_frame()?;
                }
                State::Passing { left } => {
                    let now = take_up_to(&mut data, *left);
                    self.ready.extend_from_slice(now);
                    self.cost += now.len();
                    *left -= now.len() as u64;
                    if *left == 0 {
                        self.state = State::Header;
                    }
                }
                State::Splitting {
                    left,
                    piece,
                    mask,
                    fin,
                } => {
                    let now = take_up_to(&mut data, *piece);
                    self.ready.extend_from_slice(now);
                    self.cost += now.len();
                    *left -= now.len() as u64;
                    *piece -= now.len() as u64;
                    if *left == 0 {
                        self.state = State::Header;
                    } else if *piece == 0 {
                        // A piece is a multiple of the mask.
                        *piece = (*left).min(PIECE as u64);
                        let last = *piece == *left;
                        let first = if *fin && last { FIN } else { 0 };
                        put_header(&mut self.ready, first, *piece, *mask);
                    }
                }
                State::Collecting { left, mask, at, fin } => {
                    let now = take_up_to(&mut data, *left);
                    if self.expands {
                        for byte in now {
                            self.packed.push(byte ^ mask[*at % 4]);
                            *at += 1;
                        }
                        self.cost += now.len();
                    }
                    *left -= now.len() as u64;
                    if *left == 0 {
                        let fin = *fin;
                        self.state = State::Header;
                        if fin {
                            self.finish();
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
        self.cost += FRAME_COST;
        if self.collecting.is_some() && header.opcode & CONTROL == 0 && header.opcode != 0 {
            return Err(broken("a message begins within a compressed one"));
        }
        let begins = self.deflate
            && header.rsv1
            && matches!(header.opcode, 1 | 2)
            && self.collecting.is_none()
            && !self.open;
        let goes_on = !header.rsv1 && header.opcode == 0 && self.collecting.is_some();
        // Without a mask it is refused for that.
        if let Some(mask) = header.mask
            && (begins || goes_on)
        {
            self.header.clear();
            self.collect(&header, mask, begins);
            return Ok(());
        }
        if header.opcode & CONTROL == 0 {
            self.open = !header.fin;
        }
        // What is longer than the limit is refused for what its header says.
        if let Some(mask) = header.mask
            && header.opcode & CONTROL == 0
            && header.length > PIECE as u64
            && header.length <= self.limit as u64
        {
            let first = self.header.first().copied().unwrap_or_default();
            self.header.clear();
            put_header(&mut self.ready, first & !FIN, PIECE as u64, mask);
            self.state = State::Splitting {
                left: header.length,
                piece: PIECE as u64,
                mask,
                fin: header.fin,
            };
            return Ok(());
        }
        self.ready.extend_from_slice(&self.header);
        self.header.clear();
        if header.length > 0 {
            self.state = State::Passing { left: header.length };
        }
        Ok(())
    }

    /// A frame of a compressed message comes.
    fn collect(&mut self, header: &Header, mask: [u8; 4], begins: bool) {
        if begins {
            self.collecting = Some(header.opcode);
            self.packed.clear();
        }
        if header.length > (self.limit - self.packed.len()) as u64 {
            // Announced with its length, so that the library refuses it as it refuses others.
            let length = header.length.max((self.limit as u64).saturating_add(1));
            let opcode = self.collecting.take().unwrap_or(2);
            put_header(&mut self.ready, FIN | opcode, length, [0; 4]);
            return;
        }
        if header.length > 0 {
            self.state = State::Collecting {
                left: header.length,
                mask,
                at: 0,
                fin: header.fin,
            };
        } else if header.fin {
            self.finish();
        }
    }

    /// The compressed message is complete.
    fn finish(&mut self) {
        let packed = std::mem::take(&mut self.packed);
        if !self.expands {
            self.collecting = None;
            return;
        }
        let mut piece = [0; PIECE];
        match in_one_step(&packed, &mut piece) {
            Some(length) => self.hand_over(piece.get(..length).unwrap_or_default(), true),
            None => self.expansion = Some(Expansion::new(packed)),
        }
    }

    /// Goes on with a message of several steps.
    fn step(&mut self) -> io::Result<()> {
        let Some(expansion) = &mut self.expansion else {
            return Ok(());
        };
        let mut piece = [0; PIECE];
        let step = expansion.step(&mut piece);
        let step = step.map_err(|_| broken("a compressed message is broken"))?;
        if step.is_last {
            self.expansion = None;
        }
        if step.is_last || step.written > 0 {
            self.hand_over(piece.get(..step.written).unwrap_or_default(), step.is_last);
        }
        Ok(())
    }

    /// A piece of the compressed message, as a plain frame, masked with zeros.
    fn hand_over(&mut self, piece: &[u8], is_last: bool) {
        let opcode = self.collecting.take().unwrap_or_default();
        if !is_last {
            self.collecting = Some(0);
        }
        let first = if is_last { FIN | opcode } else { opcode };
        put_header(&mut self.ready, first, piece.len() as u64, [0; 4]);
        self.ready.extend_from_slice(piece);
        self.cost += piece.len();
    }
}

fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Takes the beginning of `data`.
fn take_up_to<'a>(data: &mut &'a [u8], count: u64) -> &'a [u8] {
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(data.len());
    let (now, rest) = data.split_at(count);
    *data = rest;
    now
}

/// Writes a frame header with a mask; `first` is its first byte.
fn put_header(out: &mut BytesMut, first: u8, length: u64, mask: [u8; 4]) {
    out.put_u8(first);
    match length {
        0..=125 => out.put_u8(MASKED | length as u8),
        126..=0xFFFF => {
            out.put_u8(MASKED | 126);
            out.put_u16(length as u16);
        }
        _ => {
            out.put_u8(MASKED | 127);
            out.put_u64(length);
        }
    }
    out.put_slice(&mask);
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
    use super::super::expansion::tests::says_nothing;
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

    fn drive(reader: &mut Reader, mut input: &[u8]) -> io::Result<()> {
        while !input.is_empty() {
            input = reader.take(input)?;
            while reader.expansion.is_some() {
                reader.step()?;
            }
        }
        Ok(())
    }

    /// What comes out, whatever the cuts of the input.
    fn read(input: &[u8], limit: usize) -> Vec<u8> {
        let mut whole = Reader::new(true, limit);
        drive(&mut whole, input).expect("reads");
        let mut bytewise = Reader::new(true, limit);
        for byte in input {
            drive(&mut bytewise, &[*byte]).expect("reads");
        }
        assert_eq!(whole.ready, bytewise.ready);
        whole.ready.to_vec()
    }

    /// The messages in frames none of which is long.
    fn messages(mut frames: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut messages: Vec<(u8, Vec<u8>)> = Vec::new();
        let mut complete = true;
        while !frames.is_empty() {
            let header = Header::parse(frames).expect("a header");
            let length = usize::try_from(header.length).expect("fits");
            assert!(length <= PIECE);
            let head = if length > 125 { 8 } else { 6 };
            let mask = header.mask.expect("a mask");
            let payload = frames[head..head + length].iter().enumerate();
            let payload = payload.map(|(at, byte)| byte ^ mask[at % 4]);
            if complete {
                messages.push((header.opcode, payload.collect()));
            } else {
                assert_eq!(header.opcode, 0);
                messages.last_mut().expect("begun").1.extend(payload);
            }
            complete = header.fin;
            frames = &frames[head + length..];
        }
        assert!(complete);
        messages
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
        let long = read(&frame(FIN | RSV1 | 2, &deflate(&[0; 5000])), 100);
        assert_eq!(long[..4], [FIN | 2, MASKED | 126, 0x13, 0x88]);
        // Compressed already too long: nothing of it is kept.
        let mut reader = Reader::new(true, 100);
        drive(&mut reader, &frame(FIN | RSV1 | 2, &[0; 120])[..8]).expect("reads");
        assert_eq!(&reader.ready[..2], [FIN | 2, MASKED | 120]);
        assert_eq!(reader.packed.capacity(), 0);
    }

    #[test]
    fn long_messages_come_in_pieces() {
        let text: Vec<u8> = (0..300_000_u32)
            .map(|at| (at.wrapping_mul(at) >> 7) as u8)
            .collect();
        for length in [PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 60_000] {
            let data = &text[..length];
            let (head, rest) = data.split_at(length / 3);
            let input = [
                frame(FIN | 2, data),
                frame(FIN | RSV1 | 1, &deflate(data)),
                frame(2, head),
                frame(FIN, rest),
            ];
            let expected = [(2, data.to_vec()), (1, data.to_vec()), (2, data.to_vec())];
            assert_eq!(messages(&read(&input.concat(), 60_000)), expected);
        }
    }

    #[test]
    fn what_is_longer_than_the_limit_passes_as_it_is() {
        let long = frame(FIN | 2, &[7; 20_000]);
        assert_eq!(read(&long, 10_000), long);
    }

    #[test]
    fn no_message_begins_within_another_one() {
        let packed = deflate(b"packed");
        let mut reader = Reader::new(true, 100);
        drive(&mut reader, &frame(RSV1 | 2, &packed[..3])).expect("reads");
        assert!(drive(&mut reader, &frame(FIN | 2, b"plain")).is_err());
        // The library refuses the bit.
        let within = [frame(2, b"plain"), frame(FIN | RSV1 | 2, &packed)].concat();
        assert_eq!(read(&within, 100), within);
    }

    #[tokio::test]
    async fn others_have_their_turn_between_two_pieces_and_nothing_long_is_held() {
        let data = vec![7; 50 * PIECE];
        let input = [
            frame(FIN | RSV1 | 2, &deflate(b"first")),
            frame(FIN | RSV1 | 2, &deflate(&data)),
            frame(FIN | RSV1 | 1, &deflate(b"last")),
        ]
        .concat();
        let mut stream = Inflating::new(&input[..], true, 1 << 20);
        let (mut all, mut turns) = (Vec::new(), 0);
        loop {
            let mut chunk = [0; CHUNK];
            let mut read = ReadBuf::new(&mut chunk);
            let step = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut stream).poll_read(cx, &mut read)));
            match step.await {
                Poll::Pending => turns += 1,
                Poll::Ready(Ok(())) if read.filled().is_empty() => break,
                Poll::Ready(result) => result.expect("reads"),
            }
            all.extend_from_slice(read.filled());
            assert!(stream.reader.ready.capacity() <= 2 * PIECE);
        }
        let expected = [(2, b"first".to_vec()), (2, data), (1, b"last".to_vec())];
        assert_eq!(messages(&all), expected);
        assert!(turns >= 50, "{turns} turns");
        assert_eq!(stream.reader.ready.capacity(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_says_little_and_takes_long_is_read_slowly() {
        let input = frame(FIN | RSV1 | 2, &says_nothing(60_000)).repeat(30);
        let begun = Instant::now();
        let mut stream = Inflating::new(&input[..], true, 1 << 20);
        // It is cut where that takes long.
        let _ = stream.read_to_end(&mut Vec::new()).await;
        let took = begun.elapsed();
        assert!(took > std::time::Duration::from_millis(500), "{took:?}");
    }

    #[test]
    fn nothing_is_expanded_once_the_connection_ends() {
        let packed = deflate(&[0; 5000]);
        let (head, rest) = packed.split_at(5);
        let mut stream = Inflating::new((), true, 1 << 20);
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
        let mut reader = Reader::new(true, 100);
        let broken = drive(&mut reader, &frame(FIN | RSV1 | 2, &[0xFF; 9]));
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
