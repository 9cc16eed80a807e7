//! One signal response on its way to any number of connections: encoded once, shared by all of them,
//! and counted as long as anybody holds it.
//!
//! Knows which responses say what *is* rather than what happened: of those only the newest about the
//! same thing counts ([`SignalMessage::pieces`]). Must not know: sockets, compression.

use super::backlog::Backlog;
use bytes::Bytes;
use prost::Message as _;
use protocol::proto;
use protocol::proto::signal_response::Message as Response;
use std::sync::{Arc, OnceLock};

/// What a message costs besides its bytes.
const OVERHEAD_BYTES: usize = 256;

/// How the bytes of a message travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Protobuf.
    Binary,
    /// JSON.
    Text,
    /// Protobuf, compressed.
    PackedBinary,
    /// JSON, compressed.
    PackedText,
}

/// A response, shared by those that are sent it.
#[derive(Debug)]
pub struct SignalMessage {
    binary: Bytes,
    /// Text, packed binary, packed text: made when somebody first needs them.
    others: [OnceLock<Bytes>; 3],
    pieces: Vec<Piece>,
    place: Place,
    backlog: Arc<Backlog>,
}

/// A part of a message that stands for itself: the state of one thing.
#[derive(Debug)]
pub(super) struct Piece {
    /// Of what.
    pub(super) subject: Subject,
    /// Where it stands in the binary form.
    start: usize,
    end: usize,
}

/// What a piece tells the state of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Subject {
    kind: Kind,
    sid: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Participant,
    Speaker,
    Quality,
    Room,
    Permission,
    WantedVideo,
    WantedAudio,
    DataHandles,
    Token,
    Sections,
}

/// Where the newest piece about a subject goes when an older one still waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: the message tells an event, and all of those are sent in their order.
    Own,
    /// To the older one's place. What was queued in between may need it there: an offer comes behind
    /// the update that announces its track, and a newer state of the same participant serves as well.
    OfOld,
    /// To the end, for it may name what was announced in between.
    Last,
}

impl SignalMessage {
    /// Encodes a response. `backlog` counts its memory.
    #[must_use]
    pub fn new(response: &proto::SignalResponse, backlog: &Arc<Backlog>) -> Arc<Self> {
        let binary = Bytes::from(response.encode_to_vec().into_boxed_slice());
        let (place, pieces) = split(response, binary.len());
        Self::made(binary, place, pieces, backlog)
    }

    fn made(binary: Bytes, place: Place, pieces: Vec<Piece>, backlog: &Arc<Backlog>) -> Arc<Self> {
        let message = Self {
            binary,
            others: Default::default(),
            pieces,
            place,
            backlog: Arc::clone(backlog),
        };
        backlog.add(message.size());
        Arc::new(message)
    }

    /// A message of pieces of several messages of one kind.
    pub(super) fn assembled(pieces: &[(Arc<Self>, usize)]) -> Option<Arc<Self>> {
        let (first, _) = pieces.first()?;
        let body: Vec<&[u8]> = pieces
            .iter()
            .filter_map(|(message, index)| {
                let piece = message.pieces.get(*index)?;
                message.binary.get(piece.start..piece.end)
            })
            .collect();
        let length: usize = body.iter().map(|piece| piece.len()).sum();
        let mut binary = Vec::with_capacity(length + 16);
        // The message's own field comes first; protobuf repeats elements by writing them in a row.
        binary.extend_from_slice(first.binary.get(..1)?);
        prost::encode_length_delimiter(length, &mut binary).ok()?;
        for piece in body {
            binary.extend_from_slice(piece);
        }
        let binary = Bytes::from(binary.into_boxed_slice());
        Some(Self::made(binary, first.place, Vec::new(), &first.backlog))
    }

    /// One of its forms; `make` is asked for a compressed one that nobody needed before.
    pub fn form(&self, form: Form, make: impl FnOnce(&[u8]) -> Vec<u8>) -> Bytes {
        let [text, packed_binary, packed_text] = &self.others;
        match form {
            Form::Binary => self.binary.clone(),
            Form::Text => self.kept(text, || self.to_text()),
            Form::PackedBinary => self.kept(packed_binary, || make(&self.binary)),
            // The text itself is not kept: who packs it needs no other.
            Form::PackedText => self.kept(packed_text, || make(&self.to_text())),
        }
    }

    fn kept(&self, cell: &OnceLock<Bytes>, make: impl FnOnce() -> Vec<u8>) -> Bytes {
        let made = cell.get_or_init(|| {
            let bytes = Bytes::from(make().into_boxed_slice());
            self.backlog.add(bytes.len());
            bytes
        });
        made.clone()
    }

    fn to_text(&self) -> Vec<u8> {
        self.response()
            .map(|response| protocol::signal::encode_text(&response).into_bytes())
            .unwrap_or_default()
    }

    /// What it says.
    #[must_use]
    pub fn response(&self) -> Option<proto::SignalResponse> {
        // It was encoded here.
        proto::SignalResponse::decode(&self.binary[..]).ok()
    }

    /// Bytes in memory.
    #[must_use]
    pub fn size(&self) -> usize {
        let others = self.others.iter().filter_map(OnceLock::get);
        OVERHEAD_BYTES
            + self.pieces.len() * size_of::<Piece>()
            + self.binary.len()
            + others.map(Bytes::len).sum::<usize>()
    }

    /// Bytes of what has to be sent, however many forms there are of it.
    pub(super) const fn length(&self) -> usize {
        OVERHEAD_BYTES + self.binary.len()
    }

    pub(super) const fn place(&self) -> Place {
        self.place
    }

    /// Its parts; none when it tells an event.
    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }
}

impl Drop for SignalMessage {
    fn drop(&mut self) {
        self.backlog.subtract(self.size());
    }
}

/// The pieces of a response of so many bytes.
fn split(response: &proto::SignalResponse, length: usize) -> (Place, Vec<Piece>) {
    let Some(message) = &response.message else {
        return (Place::Own, Vec::new());
    };
    let (place, kind, sid) = match message {
        Response::Update(update) => {
            let infos = update.participants.iter();
            let elements = infos.map(|info| (info.sid.as_str(), info.encoded_len()));
            return elements_of(Kind::Participant, elements, length);
        }
        Response::SpeakersChanged(changed) => {
            let speakers = changed.speakers.iter();
            let elements = speakers.map(|speaker| (speaker.sid.as_str(), speaker.encoded_len()));
            return elements_of(Kind::Speaker, elements, length);
        }
        Response::ConnectionQuality(update) => {
            let infos = update.updates.iter();
            let elements = infos.map(|info| (info.participant_sid.as_str(), info.encoded_len()));
            return elements_of(Kind::Quality, elements, length);
        }
        Response::RoomUpdate(_) => (Place::OfOld, Kind::Room, ""),
        Response::SubscriptionPermissionUpdate(update) => {
            (Place::OfOld, Kind::Permission, update.track_sid.as_str())
        }
        Response::SubscribedQualityUpdate(update) => {
            (Place::OfOld, Kind::WantedVideo, update.track_sid.as_str())
        }
        Response::SubscribedAudioCodecUpdate(update) => {
            (Place::OfOld, Kind::WantedAudio, update.track_sid.as_str())
        }
        Response::DataTrackSubscriberHandles(_) => (Place::Last, Kind::DataHandles, ""),
        Response::RefreshToken(_) => (Place::OfOld, Kind::Token, ""),
        // It counts the sections that all the tracks need that were announced so far.
        Response::MediaSectionsRequirement(_) => (Place::Last, Kind::Sections, ""),
        // Each of these is missed by a client that does not get it.
        Response::Join(_)
        | Response::Answer(_)
        | Response::Offer(_)
        | Response::Trickle(_)
        | Response::TrackPublished(_)
        | Response::Leave(_)
        | Response::Mute(_)
        | Response::StreamStateUpdate(_)
        | Response::TrackUnpublished(_)
        | Response::Pong(_)
        | Response::Reconnect(_)
        | Response::PongResp(_)
        | Response::SubscriptionResponse(_)
        | Response::RequestResponse(_)
        | Response::TrackSubscribed(_)
        | Response::RoomMoved(_)
        | Response::PublishDataTrackResponse(_)
        | Response::UnpublishDataTrackResponse(_)
        | Response::StoreDataBlobResponse(_)
        | Response::GetDataBlobResponse(_) => return (Place::Own, Vec::new()),
    };
    let piece = Piece {
        subject: subject(kind, sid),
        start: 0,
        end: length,
    };
    (place, vec![piece])
}

/// Elements of a message whose only field is a list: they end where the response ends.
fn elements_of<'a>(
    kind: Kind,
    elements: impl DoubleEndedIterator<Item = (&'a str, usize)>,
    length: usize,
) -> (Place, Vec<Piece>) {
    let mut end = length;
    let mut pieces = Vec::new();
    for (sid, bytes) in elements.rev() {
        // A tag of one byte and the length stand before it.
        let start = end.saturating_sub(1 + prost::length_delimiter_len(bytes) + bytes);
        pieces.push(Piece {
            subject: subject(kind, sid),
            start,
            end,
        });
        end = start;
    }
    pieces.reverse();
    let place = if pieces.is_empty() {
        Place::Own
    } else {
        Place::OfOld
    };
    (place, pieces)
}

fn subject(kind: Kind, sid: &str) -> Subject {
    Subject {
        kind,
        sid: sid.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(sids: &[(&str, &str)]) -> proto::SignalResponse {
        let participants = sids.iter().map(|(sid, metadata)| proto::ParticipantInfo {
            sid: (*sid).to_owned(),
            metadata: (*metadata).to_owned(),
            ..Default::default()
        });
        proto::SignalResponse {
            message: Some(Response::Update(proto::ParticipantUpdate {
                participants: participants.collect(),
            })),
        }
    }

    #[test]
    fn a_message_is_counted_with_all_its_forms_until_the_last_holder_drops_it() {
        let backlog = Arc::new(Backlog::default());
        let message = SignalMessage::new(&update(&[("PA_a", &"m".repeat(1000))]), &backlog);
        let plain = backlog.bytes();
        assert!((1000..2000).contains(&plain), "{plain}");
        let other = Arc::clone(&message);
        let text = message.form(Form::Text, |_| unreachable!("text is not packed"));
        let packed = message.form(Form::PackedBinary, |plain| plain[..10].to_vec());
        assert_eq!(backlog.bytes(), plain + text.len() + packed.len());
        // Made once.
        let again = other.form(Form::PackedBinary, |_| unreachable!("it is there"));
        assert_eq!(again.as_ptr(), packed.as_ptr());
        drop(message);
        assert_eq!(backlog.bytes(), plain + text.len() + packed.len());
        drop(other);
        assert_eq!(backlog.bytes(), 0);
    }

    #[test]
    fn pieces_of_several_messages_make_a_message_that_says_the_same() {
        let backlog = Arc::new(Backlog::default());
        let long = "m".repeat(300);
        let first = SignalMessage::new(
            &update(&[("PA_a", "1"), ("PA_b", &long), ("PA_c", "3")]),
            &backlog,
        );
        let second = SignalMessage::new(&update(&[("PA_d", "4")]), &backlog);
        let pieces = [(Arc::clone(&first), 2), (second, 0), (first, 1)];
        let made = SignalMessage::assembled(&pieces).expect("pieces");
        let expected = update(&[("PA_c", "3"), ("PA_d", "4"), ("PA_b", &long)]);
        assert_eq!(made.response(), Some(expected));
    }

    #[test]
    fn text_and_packed_text_say_the_same_as_the_binary_form() {
        let backlog = Arc::new(Backlog::default());
        let response = update(&[("PA_a", "x")]);
        let message = SignalMessage::new(&response, &backlog);
        let expected = protocol::signal::encode_text(&response);
        assert_eq!(message.form(Form::Text, |_| Vec::new()), expected.as_bytes());
        let packed = message.form(Form::PackedText, <[u8]>::to_vec);
        assert_eq!(packed, expected.as_bytes());
    }
}
