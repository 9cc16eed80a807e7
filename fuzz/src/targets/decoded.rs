//! What clients and API callers send, as it becomes messages: memory while and after it is decoded, and
//! the time that takes, are bounded by its length and by the limits, whatever it is.

use super::chunks;
use super::join_request::{RULES, claims};
use super::peer::used_since;
use crate::alloc::{begin_peak, live_bytes, peak_bytes};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use flate2::Compression;
use media::api::{IceCredentials, Kind, PeerKey, RoomKey, ThreadId, TrackKey};
use protocol::decoded::{self, Bounds, DecodeError, Shaped};
use protocol::join::{Endpoint, JOIN_REQUEST_BYTES_MAX, Purpose, check_join};
use protocol::query::Query;
use protocol::{proto, signal, twirp_json};
use room::negotiation::{AnnouncedTrack, ClientTraits, Role, Transport, TransportConfig};
use serde::de::DeserializeOwned;
use std::time::Duration;
use udp::ThreadClock;

/// Longest input after the repetitions of [`expanded`]: as long as the longest message of a client.
const EXPANDED_MAX: usize = JOIN_REQUEST_BYTES_MAX;
/// What decoding may take for a byte of input at once: the message holds it, and so does a buffer
/// that grew by doubling while the text was read.
const BYTES_PER_BYTE: usize = 4;
/// Copies of what structs and lists take while they are made: a list that grows has its old and its
/// new place at once.
const COPIES: usize = 2;
/// What is taken whatever the input is.
const FLAT_BYTES: usize = 4096;
/// Memory that an offer and its answer take for a byte of the offer. The shortest section, of twelve
/// bytes, becomes a struct of some hundreds.
const OFFER_BYTES_PER_BYTE: usize = 120;
const OFFER_FLAT: usize = 64 * 1024;
/// CPU time for any input, and for each of its bytes: unoptimised code takes some twenty times as long.
const FLAT_TIME: Duration = Duration::from_millis(20);
const TIME_PER_BYTE: Duration = Duration::from_nanos(if cfg!(debug_assertions) { 20_000 } else { 1_000 });

/// What came of an input, so that a test can tell whether it reaches anything.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) accepted: bool,
    pub(crate) length: usize,
    pub(crate) peak: usize,
    /// Of what was accepted, without the message's own struct.
    pub(crate) held: usize,
    /// What it was said to take, where that is said.
    pub(crate) said: usize,
}

/// A reader, and how much memory structs and lists may take in it.
struct Reader {
    name: &'static str,
    read: fn(&[u8]) -> Taken,
    /// Unless it has bounds of its own.
    bounds: Option<&'static Bounds>,
}

const fn client(name: &'static str, read: fn(&[u8]) -> Taken) -> Reader {
    Reader {
        name,
        read,
        bounds: Some(&Bounds::CLIENT),
    }
}

macro_rules! calls {
    ($($name:ident: $request:ident),* $(,)?) => {
        &[
            client("signal", |data| binary::<proto::SignalRequest>(data, &Bounds::CLIENT)),
            client("signal_json", signal_json),
            client("packet", |data| binary::<proto::DataPacket>(data, &Bounds::CLIENT)),
            client("join", |data| join(data, false)),
            client("join_gzip", |data| join(data, true)),
            client("join_wrapped", join_wrapped),
            Reader { name: "offer", read: offer, bounds: None },
            $(
                Reader {
                    name: stringify!($name),
                    read: |data| binary::<proto::$request>(data, &Bounds::API),
                    bounds: Some(&Bounds::API),
                },
                Reader {
                    name: concat!(stringify!($name), "_json"),
                    read: |data| api_json::<proto::$request>(data),
                    bounds: Some(&Bounds::API),
                },
            )*
        ]
    };
}

/// The first byte of an input says which.
const READERS: &[Reader] = calls! {
    CreateRoom: CreateRoomRequest,
    ListRooms: ListRoomsRequest,
    DeleteRoom: DeleteRoomRequest,
    ListParticipants: ListParticipantsRequest,
    GetParticipant: RoomParticipantIdentity,
    RemoveParticipant: RoomParticipantIdentity,
    MutePublishedTrack: MuteRoomTrackRequest,
    UpdateParticipant: UpdateParticipantRequest,
    UpdateSubscriptions: UpdateSubscriptionsRequest,
    SendData: SendDataRequest,
    UpdateRoomMetadata: UpdateRoomMetadataRequest,
    ForwardParticipant: ForwardParticipantRequest,
    MoveParticipant: MoveParticipantRequest,
    PerformRpc: PerformRpcRequest,
    ListDispatch: ListAgentDispatchRequest,
    TransferSIPParticipant: TransferSipParticipantRequest,
};

/// The byte for a reader.
pub(crate) fn reader(name: &str) -> Option<u8> {
    let at = READERS.iter().position(|reader| reader.name == name)?;
    u8::try_from(at).ok()
}

/// The first byte says who reads, the second whether the rest is a message or how to make one.
pub(crate) fn decoded(data: &[u8]) {
    take(data);
}

/// As the target.
pub(crate) fn take(data: &[u8]) -> Taken {
    let [kind, made, rest @ ..] = data else {
        return Taken::default();
    };
    let reader = &READERS[usize::from(*kind) % READERS.len()];
    let input = if made % 2 == 0 {
        rest.to_vec()
    } else {
        expanded(rest)
    };
    let clock = ThreadClock::current().expect("every thread has one");
    let start = clock.read();
    let taken = (reader.read)(&input);
    let took = used_since(&clock, start);
    let name = reader.name;
    let length = input.len();
    let taken = Taken { length, ..taken };
    if let Some(bounds) = reader.bounds {
        let most = bounds.overhead_max * COPIES + length * BYTES_PER_BYTE + FLAT_BYTES;
        assert!(taken.peak <= most, "{name}: {taken:?}, at most {most}");
    }
    assert!(
        !taken.accepted || taken.held <= taken.said,
        "{name}: held more than was said: {taken:?}"
    );
    let time_max = FLAT_TIME + TIME_PER_BYTE * taken.length as u32;
    assert!(took <= time_max, "{name}: {took:?} for {taken:?}");
    taken
}

/// How to make long messages of few bytes. Each chunk is a step: a number and bytes. With what there
/// is so far it appends the bytes that often, repeats all that often, makes it a field of that number,
/// or puts the bytes before and behind it.
fn expanded(steps: &[u8]) -> Vec<u8> {
    let mut made = Vec::new();
    for step in chunks(steps) {
        let [what, high, low, bytes @ ..] = step else {
            continue;
        };
        let number = usize::from(u16::from_be_bytes([*high, *low]));
        match what % 4 {
            0 => {
                let room = (EXPANDED_MAX - made.len()) / bytes.len().max(1);
                made.extend(bytes.repeat(number.min(room)));
            }
            1 => {
                let room = EXPANDED_MAX / made.len().max(1);
                made = made.repeat(number.clamp(1, room.max(1)));
            }
            2 => {
                let mut field = Vec::new();
                varint(number << 3 | 2, &mut field);
                varint(made.len(), &mut field);
                field.append(&mut made);
                made = field;
            }
            _ => {
                let (before, behind) = bytes.split_at(number.min(bytes.len()));
                made = [before, &made, behind].concat();
            }
        }
        made.truncate(EXPANDED_MAX);
    }
    made
}

fn varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads, and counts what that takes.
fn count<T, E>(read: impl FnOnce() -> Result<(T, usize), E>) -> (Taken, Option<E>) {
    let before = live_bytes();
    begin_peak();
    let result = read();
    let bytes = |count: i64| usize::try_from(count - before).unwrap_or(0);
    let (peak, held) = (bytes(peak_bytes()), bytes(live_bytes()));
    match result {
        Ok((_, said)) => {
            let taken = Taken {
                accepted: true,
                peak,
                held,
                said,
                ..Taken::default()
            };
            (taken, None)
        }
        Err(error) => (
            Taken {
                peak,
                ..Taken::default()
            },
            Some(error),
        ),
    }
}

fn binary<T: Shaped + Default>(data: &[u8], bounds: &Bounds) -> Taken {
    let (taken, error) = count(|| decoded::decode::<T>(data, bounds));
    if error == Some(DecodeError::TooLarge) {
        assert_eq!(
            taken.peak, 0,
            "what is too large is refused before memory is taken"
        );
    }
    taken
}

fn signal_json(data: &[u8]) -> Taken {
    let text = String::from_utf8_lossy(data);
    let (taken, error) =
        count(|| signal::decode_text(&text).map(|received| (received.request, received.bytes)));
    if error == Some(DecodeError::TooLarge) {
        assert_eq!(
            taken.peak, 0,
            "what is too large is refused before memory is taken"
        );
    }
    taken
}

/// The tree that it is read by is what takes most, and is what is measured.
fn api_json<T: DeserializeOwned>(data: &[u8]) -> Taken {
    let measured = decoded::measure_json(data, true, &Bounds::API);
    let (taken, _) = count(|| {
        twirp_json::decode::<T>(data)
            .map(|message| (message, 0))
            .ok_or(())
    });
    let Ok(said) = measured else {
        assert_eq!(
            taken.peak, 0,
            "what is too large is refused before memory is taken"
        );
        return taken;
    };
    // Beside the tree there is the text of one string, in a buffer that grew by doubling.
    let most = said + 2 * data.len() + FLAT_BYTES;
    assert!(taken.peak <= most, "{taken:?}, said to be {said}");
    Taken { said, ..taken }
}

fn join(request: &[u8], compressed: bool) -> Taken {
    let request = if compressed {
        super::gzip(request, Compression::fast())
    } else {
        request.to_vec()
    };
    join_wrapped(&super::wrap(compressed, request))
}

/// A wrapped join request, as the query has it.
fn join_wrapped(wrapped: &[u8]) -> Taken {
    let query = format!("join_request={}", URL_SAFE.encode(wrapped));
    let query = Query::parse(&query);
    let claims = claims();
    let check = || check_join(Endpoint::V1, Purpose::Connect, &query, Some(&claims), &RULES);
    let (taken, _) = count(|| check().map(|wish| (wish, 0)));
    // Its size is not said, for it is not queued: what it holds is within the limit itself.
    let said = Bounds::CLIENT.overhead_max + JOIN_REQUEST_BYTES_MAX;
    Taken { said, ..taken }
}

/// The text with each `#` replaced by a number, so that repeated sections have mids of their own.
fn numbered(text: &str) -> String {
    let mut parts = text.split('#');
    let mut made = parts.next().unwrap_or_default().to_owned();
    for (number, part) in parts.enumerate() {
        made += &number.to_string();
        made += part;
    }
    made
}

/// A description, as a participant with an announced track offers it. Memory is bounded by its length
/// alone: an answer repeats payload types, codecs and header extensions of each of its sections.
fn offer(data: &[u8]) -> Taken {
    let offer = proto::SessionDescription {
        r#type: "offer".to_owned(),
        sdp: numbered(&String::from_utf8_lossy(data)),
        id: 1,
        ..Default::default()
    };
    let room = RoomKey(1);
    let (mut transport, _) = Transport::new(TransportConfig {
        peer: PeerKey::new(ThreadId(0), room, 1),
        role: Role::Single,
        ice: IceCredentials {
            ufrag: "00abcdefgh".to_owned(),
            pwd: "abcdefghijklmnopqrstuvwx".to_owned(),
        },
        ice_lite: false,
        fingerprint: [7; 32],
        addresses: vec![([192, 0, 2, 1], 7882).into()],
        codecs: [
            "audio/opus",
            "audio/red",
            "video/VP8",
            "video/VP9",
            "video/H264",
            "video/AV1",
        ]
        .map(|mime| (mime.to_owned(), String::new()))
        .into(),
        client: ClientTraits {
            protocol: 17,
            ..ClientTraits::default()
        },
        playout_delay: None,
        data_tracks: true,
        seed: room::Seed::new([1; 32]),
    });
    let announced = [AnnouncedTrack {
        track: TrackKey::new(ThreadId(0), room, 1),
        cids: vec!["t".to_owned()],
        kind: Kind::Video,
        mime: "video/vp8".to_owned(),
        stereo: false,
        no_dtx: false,
        disable_red: false,
        microphone: false,
    }];
    let (taken, _) = count(|| {
        let accepted = transport.accept_offer(&offer, &announced).map_err(|_| ())?;
        Ok::<_, ()>((transport.answer_offer(accepted, &announced), 0))
    });
    let said = OFFER_FLAT + data.len() * OFFER_BYTES_PER_BYTE;
    assert!(
        taken.peak <= said,
        "{} bytes: {taken:?}, at most {said}",
        data.len()
    );
    Taken { said, ..taken }
}
