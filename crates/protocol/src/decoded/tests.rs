//! The table of fields against the generated decoder, the bounds, and what messages really hold.

use super::shapes::{ALL, Kind, Shape, Shaped};
use super::*;
use crate::proto;
use proptest::prelude::*;
use prost::Message as _;
use proto::signal_request::Message as Request;

/// Decodes and encodes again.
pub(super) type Recode = fn(&[u8]) -> Option<Vec<u8>>;

pub(super) fn recoded<T: Shaped + Default>(data: &[u8]) -> Option<Vec<u8>> {
    T::decode(data).ok().map(|message| message.encode_to_vec())
}

fn varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn piece(number: u32, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint((number as usize) << 3 | 2, &mut out);
    varint(data.len(), &mut out);
    out.extend(data);
    out
}

fn scalar(number: u32, kind: u8, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint((number as usize) << 3 | usize::from(kind), &mut out);
    out.extend(data);
    out
}

/// What stands in the last field of that number, and how many there are.
fn inside(data: &[u8], number: u32) -> (usize, Vec<u8>) {
    let mut wire = Wire { rest: data };
    let mut found = (0, Vec::new());
    while !wire.rest.is_empty() {
        let (at, kind) = wire.tag().expect("our own bytes");
        if at == number && kind == LENGTH {
            found = (found.0 + 1, wire.piece().expect("our own bytes").to_vec());
        } else {
            wire.skip(kind, 9).expect("our own bytes");
        }
    }
    found
}

/// A message somewhere in another one.
struct Place<'a> {
    recode: Recode,
    path: &'a [u32],
}

impl Place<'_> {
    /// What the generated decoder makes of these bytes at that place.
    fn ask(&self, data: &[u8]) -> Option<Vec<u8>> {
        let wrapped = self
            .path
            .iter()
            .rev()
            .fold(data.to_vec(), |data, number| piece(*number, &data));
        let out = (self.recode)(&wrapped)?;
        Some(self.path.iter().fold(out, |out, number| inside(&out, *number).1))
    }

    /// How they are on the wire.
    fn list_of_scalars(&self, number: u32) -> Option<u8> {
        [(VARINT, &[1][..]), (FIXED32, &[1; 4]), (FIXED64, &[1; 8])]
            .into_iter()
            .find(|(kind, value)| {
                let one = scalar(number, *kind, value);
                let length = |data: &[u8]| self.ask(data).map_or(0, |out| out.len());
                // Single ones come back as they are; lists packed, so three are longer than one.
                length(&one.repeat(3)) > length(&one)
            })
            .map(|(kind, _)| kind)
    }

    fn check(&self, number: u32, known: Option<&Kind>) {
        let empty = self.ask(&piece(number, b"").repeat(3));
        let text = self.ask(&piece(number, b"zz"));
        let distinct: Vec<u8> = (b'a'..=b'c')
            .flat_map(|key| piece(number, &[0x0A, 1, key]))
            .collect();
        let distinct = self.ask(&distinct).map(|out| inside(&out, number).0);
        let count = empty.as_ref().map(|out| inside(out, number).0);
        let scalars = self.list_of_scalars(number);
        let what = format!("{:?} {number}", self.path);
        match known {
            None => {
                assert!(empty.is_none_or(|out| out.is_empty()), "{what} is unknown here");
                assert!(text.is_none_or(|out| out.is_empty()), "{what} is unknown here");
                assert_eq!(scalars, None, "{what} is unknown here");
            }
            // Empty ones are written only where one of several fields is set.
            Some(Kind::Text) => {
                assert_eq!(text, Some(piece(number, b"zz")), "{what}");
                assert!(count.is_some_and(|count| count < 2), "{what}");
            }
            Some(Kind::Texts) => assert_eq!(count, Some(3), "{what}"),
            Some(Kind::Scalars(_)) => assert_eq!(scalars, Some(VARINT), "{what}"),
            Some(Kind::Map) => assert_eq!((count, distinct), (Some(1), Some(3)), "{what}"),
            Some(Kind::One(_)) => assert!(count == Some(1) && distinct.is_none_or(|n| n < 2), "{what}"),
            Some(Kind::Many(_)) => assert_eq!(count, Some(3), "{what}"),
        }
    }
}

fn check_shape(recode: Recode, path: &mut Vec<u32>, shape: &Shape, places: &mut usize) {
    *places += 1;
    for number in 1..=64 {
        let known = shape.field(number).map(|(_, field)| field.kind);
        Place { recode, path }.check(number, known.as_ref());
        if let Some(Kind::One(inner) | Kind::Many(inner)) = known {
            path.push(number);
            check_shape(recode, path, inner(), places);
            path.pop();
        }
    }
}

#[test]
fn the_table_knows_every_field_that_takes_memory() {
    let mut places = 0;
    for (_, shape, recode) in ALL {
        check_shape(*recode, &mut Vec::new(), shape(), &mut places);
    }
    assert!(places > 300, "{places} places");
}

#[test]
fn an_entry_of_a_list_in_json_counts_as_the_largest_message_there_is_in_one() {
    for (name, shape, _) in ALL {
        for field in shape().fields {
            if let Kind::Many(entry) = field.kind {
                assert!(entry().bytes <= json::MESSAGE, "{name}: {}", entry().bytes);
            }
        }
    }
}

fn subscription(sids: usize, length: usize) -> proto::SignalRequest {
    proto::SignalRequest {
        message: Some(Request::Subscription(proto::UpdateSubscription {
            track_sids: vec!["s".repeat(length); sids],
            subscribe: true,
            ..Default::default()
        })),
    }
}

fn refused(message: &proto::SignalRequest) -> bool {
    let data = message.encode_to_vec();
    let binary = measure::<proto::SignalRequest>(&data, &Bounds::CLIENT).is_err();
    let text = serde_json::to_string(message).expect("a message");
    let json = measure_json(text.as_bytes(), false, &Bounds::CLIENT).is_err();
    assert_eq!(binary, json, "both encodings alike");
    binary
}

#[test]
fn lists_are_bounded_and_what_clients_send_is_within() {
    assert!(!refused(&subscription(8_192, 15)));
    assert!(refused(&subscription(8_193, 0)));
    let sync = |tracks| proto::SignalRequest {
        message: Some(Request::SyncState(proto::SyncState {
            publish_tracks: vec![
                proto::TrackPublishedResponse {
                    cid: "0123456789abcdef0123456789abcdef0123".to_owned(),
                    track: Some(proto::TrackInfo {
                        sid: "TR_VCabcdefghijkl".to_owned(),
                        codecs: vec![proto::SimulcastCodecInfo::default(); 3],
                        ..Default::default()
                    }),
                };
                tracks
            ],
            track_sids_disabled: vec!["TR_VCabcdefghijkl".to_owned(); 2_000],
            ..Default::default()
        })),
    };
    assert!(!refused(&sync(256)));
    assert!(refused(&sync(9_000)));
    let by_participant = proto::UpdateSubscription {
        participant_tracks: vec![
            proto::ParticipantTracks {
                participant_sid: "PA_abcdefghijkl".to_owned(),
                track_sids: vec!["TR_VCabcdefghijkl".to_owned()],
            };
            8_000
        ],
        ..Default::default()
    };
    let data = proto::SignalRequest {
        message: Some(Request::Subscription(by_participant)),
    }
    .encode_to_vec();
    assert!(measure::<proto::SignalRequest>(&data, &Bounds::CLIENT).is_ok());
}

#[test]
fn a_million_empty_texts_are_refused_at_the_first_too_many() {
    let list = [0x0A, 0].repeat(1_000_000);
    let data = piece(6, &list);
    assert_eq!(
        decode::<proto::SignalRequest>(&data, &Bounds::CLIENT),
        Err(DecodeError::TooLarge)
    );
    // The same list in many pieces, which the decoder would join.
    let pieces = piece(6, &[0x0A, 0].repeat(1000)).repeat(1000);
    assert_eq!(
        decode::<proto::SignalRequest>(&pieces, &Bounds::CLIENT),
        Err(DecodeError::TooLarge)
    );
    let mut json = r#"{"subscription":{"trackSids":["#.to_owned();
    json.push_str(&"\"\",".repeat(1_000_000));
    assert_eq!(
        measure_json(json.as_bytes(), false, &Bounds::CLIENT),
        Err(DecodeError::TooLarge)
    );
}

#[test]
fn every_other_list_of_a_request_is_bounded_too() {
    let empty = |number| piece(number, b"");
    for (name, data) in [
        ("participant tracks", piece(6, &empty(3).repeat(8_193))),
        (
            "one participant's tracks",
            piece(6, &piece(3, &empty(2).repeat(8_193))),
        ),
        ("track settings", piece(7, &empty(1).repeat(8_193))),
        ("layers", piece(4, &empty(9).repeat(8_193))),
        ("codecs", piece(4, &empty(10).repeat(8_193))),
        ("features, packed", piece(17, &piece(2, &vec![1; 8_193]))),
        ("features, one by one", piece(17, &[16, 1].repeat(8_193))),
        ("permissions", piece(11, &empty(2).repeat(8_193))),
        ("attributes", piece(15, &empty(3).repeat(8_193))),
        ("mids", piece(1, &empty(4).repeat(8_193))),
        ("data channels", piece(12, &empty(4).repeat(8_193))),
        ("data subscriptions", piece(21, &empty(1).repeat(8_193))),
        ("regions", piece(8, &piece(4, &empty(1).repeat(8_193)))),
        ("unknown fields", [0xF8, 0x07, 1].repeat(200_000)),
        ("groups in groups", [0xFB, 0x07].repeat(100)),
        // Long structs in lists reach the bound of memory first.
        ("tracks", piece(12, &piece(3, &empty(2)).repeat(8_000))),
    ] {
        assert_eq!(
            measure::<proto::SignalRequest>(&data, &Bounds::CLIENT),
            Err(DecodeError::TooLarge),
            "{name}"
        );
    }
    let deep = "{\"a\":".repeat(40) + &"[".repeat(40);
    assert_eq!(
        measure_json(deep.as_bytes(), false, &Bounds::CLIENT),
        Err(DecodeError::TooLarge)
    );
}

proptest! {
    #[test]
    fn what_the_walk_calls_malformed_the_decoder_refuses(data in prop::collection::vec(any::<u8>(), 0..64)) {
        let walked = measure::<proto::SignalRequest>(&data, &Bounds::CLIENT);
        if walked == Err(DecodeError::Malformed) {
            prop_assert!(proto::SignalRequest::decode(&data[..]).is_err());
        }
    }

    #[test]
    fn json_of_any_bytes_is_walked_without_panic(data in ".{0,200}") {
        let _any = measure_json(data.as_bytes(), true, &Bounds::API);
    }
}

/// What decoded messages hold, by the capacities of their lists and texts.
trait Held {
    fn held(&self) -> usize;
}

impl Held for String {
    fn held(&self) -> usize {
        self.capacity()
    }
}

impl<T: Held> Held for Vec<T> {
    fn held(&self) -> usize {
        self.capacity() * size_of::<T>() + self.iter().map(Held::held).sum::<usize>()
    }
}

impl Held for proto::ParticipantTracks {
    fn held(&self) -> usize {
        self.participant_sid.held() + self.track_sids.held()
    }
}

impl Held for proto::VideoLayer {
    fn held(&self) -> usize {
        self.rid.held()
    }
}

impl Held for proto::SimulcastCodec {
    fn held(&self) -> usize {
        self.codec.held() + self.cid.held() + self.layers.held()
    }
}

impl Held for proto::SignalRequest {
    fn held(&self) -> usize {
        size_of::<Self>()
            + match &self.message {
                Some(Request::Subscription(update)) => {
                    update.track_sids.held() + update.participant_tracks.held()
                }
                Some(Request::AddTrack(track)) => track.cid.held() + track.simulcast_codecs.held(),
                Some(Request::UpdateMetadata(update)) => {
                    // A table of the standard library has at most 8/7 and 2 times its entries' places.
                    let place = 2 * size_of::<String>() + 1;
                    let texts = update
                        .attributes
                        .iter()
                        .map(|(name, value)| name.held() + value.held());
                    (update.attributes.capacity() * 8 / 7) * place
                        + update.metadata.held()
                        + texts.sum::<usize>()
                }
                _ => 0,
            }
    }
}

fn texts(count: usize) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[a-z]{0,40}", 0..count)
}

fn subscriptions() -> impl Strategy<Value = Request> {
    let tracks =
        ("[a-z]{0,20}", texts(6)).prop_map(|(participant_sid, track_sids)| proto::ParticipantTracks {
            participant_sid,
            track_sids,
        });
    (texts(300), prop::collection::vec(tracks, 0..60)).prop_map(|(track_sids, participant_tracks)| {
        Request::Subscription(proto::UpdateSubscription {
            track_sids,
            participant_tracks,
            ..Default::default()
        })
    })
}

fn announcements() -> impl Strategy<Value = Request> {
    let codec = ("[a-z]{0,9}", texts(9)).prop_map(|(codec, rids)| proto::SimulcastCodec {
        codec,
        layers: rids
            .into_iter()
            .map(|rid| proto::VideoLayer {
                rid,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    ("[a-z]{0,50}", prop::collection::vec(codec, 0..9)).prop_map(|(cid, simulcast_codecs)| {
        Request::AddTrack(proto::AddTrackRequest {
            cid,
            simulcast_codecs,
            ..Default::default()
        })
    })
}

fn metadata() -> impl Strategy<Value = Request> {
    let attributes = prop::collection::hash_map("[a-z]{0,9}", "[a-z]{0,30}", 0..200);
    ("[a-z]{0,500}", attributes).prop_map(|(metadata, attributes)| {
        Request::UpdateMetadata(proto::UpdateParticipantMetadata {
            metadata,
            attributes,
            ..Default::default()
        })
    })
}

proptest! {
    #[test]
    fn a_message_never_holds_more_than_was_said(message in prop_oneof![subscriptions(), announcements(), metadata()]) {
        let request = proto::SignalRequest { message: Some(message) };
        let (decoded, said) = decode::<proto::SignalRequest>(&request.encode_to_vec(), &Bounds::CLIENT)
            .expect("within bounds");
        prop_assert!(decoded.held() <= said, "{} > {said}", decoded.held());
        let text = serde_json::to_string(&request).expect("a message");
        let said = measure_json(text.as_bytes(), false, &Bounds::CLIENT).expect("within bounds");
        let decoded: proto::SignalRequest = serde_json::from_str(&text).expect("a message");
        let held = decoded.held() - size_of::<proto::SignalRequest>();
        prop_assert!(held <= said, "{held} > {said} as JSON");
    }
}
