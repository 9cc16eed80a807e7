//! Section slots: what each `m=` line of a connection is used for. A slot keeps its position and
//! its mid for the connection's lifetime.

use super::codecs::Format;
use super::publish::{Publication, Sender};
use super::{DownRequest, Role};
use media::api::{Codec, DownKey, Kind, Payload, TrackKey};
use wire::ext::ExtensionIds;
use wire::sdp::{Direction, ExtMap, Media, MediaKind, Msid, RtpMap, Ssrc, SsrcGroup};

/// What was told to the media plane about a down track, to tell it again only when it changes.
pub(super) type Sent = (TrackKey, Vec<Payload>, ExtensionIds);

/// One `m=` line.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) mid: String,
    pub(super) kind: MediaKind,
    /// Codecs of both sides, in the order of the last description of the client.
    pub(super) formats: Vec<Format>,
    /// Header extensions of both sides.
    pub(super) extensions: Vec<ExtMap>,
    /// The client is ready to receive here.
    pub(super) receives: bool,
    /// The client has rejected it; it is never used again.
    pub(super) dead: bool,
    /// The down track that stands here.
    pub(super) down: Option<DownKey>,
    /// The down track that our last offer showed here.
    pub(super) offered: Option<DownKey>,
    /// What the media plane knows of `down`; `None` until the section is negotiated.
    pub(super) sent: Option<Sent>,
    /// `down` has ended, and its last frames are on their way: it is shown until it is released.
    pub(super) leaving: bool,
    /// Has ever carried a down track: shown as inactive when free, where a fresh one is sendonly.
    pub(super) used: bool,
    /// Was freed, and the client has not been told yet. A section must be seen without a track
    /// before it carries the next one, or browsers do not fire their `track` event.
    pub(super) draining: bool,
    /// What the client sends here, by its last offer.
    pub(super) sender: Option<Sender>,
    /// The track that this is.
    pub(super) publication: Option<Publication>,
}

impl Slot {
    pub(super) const fn new(mid: String, kind: MediaKind) -> Self {
        Self {
            mid,
            kind,
            formats: Vec::new(),
            extensions: Vec::new(),
            receives: false,
            dead: false,
            down: None,
            offered: None,
            sent: None,
            leaving: false,
            used: false,
            draining: false,
            sender: None,
            publication: None,
        }
    }

    /// Takes the down track away.
    pub(super) fn free(&mut self) {
        self.down = None;
        self.sent = None;
        self.leaving = false;
        self.used = true;
        self.draining = true;
    }

    /// Whether a down track could stand here, now or, when `soon`, after the client has been told
    /// that the former one is gone.
    pub(super) fn has_room(&self, request: &DownRequest, soon: bool) -> bool {
        kind_of(&self.kind) == Some(request.kind)
            && self.down.is_none()
            && !self.dead
            && !(request.synchronized && self.used)
            && (soon || !self.draining)
            && self.speaks(&request.codecs)
    }

    pub(super) fn speaks(&self, codecs: &[Codec]) -> bool {
        self.formats.iter().any(|format| codecs.contains(&format.codec))
    }
}

/// The kind of a section that carries RTP.
pub(super) const fn kind_of(kind: &MediaKind) -> Option<Kind> {
    match kind {
        MediaKind::Audio => Some(Kind::Audio),
        MediaKind::Video => Some(Kind::Video),
        MediaKind::Application | MediaKind::Other(_) => None,
    }
}

/// The media type of a kind.
pub(super) const fn media_kind(kind: Kind) -> MediaKind {
    match kind {
        Kind::Audio => MediaKind::Audio,
        Kind::Video => MediaKind::Video,
    }
}

/// A section that takes part in the session.
pub(super) fn live(media: &Media) -> bool {
    media.port != 0 || media.bundle_only
}

const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
const ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
const TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
const ABS_CAPTURE_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";
const DEPENDENCY_DESCRIPTOR: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";
const FRAME_MARKING: &str = "urn:ietf:params:rtp-hdrext:framemarking";

/// Extensions that we use on a section of a connection (RFC 8285).
const fn supported(role: Role, kind: Kind) -> &'static [&'static str] {
    match (role, kind) {
        (Role::Subscriber, Kind::Audio) => &[ABS_CAPTURE_TIME],
        (Role::Subscriber, Kind::Video) => &[
            DEPENDENCY_DESCRIPTOR,
            ABS_CAPTURE_TIME,
            ABS_SEND_TIME,
            PLAYOUT_DELAY,
        ],
        (Role::Single | Role::Publisher, Kind::Audio) => &[MID, RID, AUDIO_LEVEL, ABS_CAPTURE_TIME],
        (Role::Publisher, Kind::Video) => &[
            MID,
            RID,
            TRANSPORT_CC,
            FRAME_MARKING,
            DEPENDENCY_DESCRIPTOR,
            REPAIRED_RID,
            ABS_CAPTURE_TIME,
        ],
        (Role::Single, Kind::Video) => &[
            MID,
            RID,
            TRANSPORT_CC,
            ABS_SEND_TIME,
            FRAME_MARKING,
            DEPENDENCY_DESCRIPTOR,
            REPAIRED_RID,
            ABS_CAPTURE_TIME,
            PLAYOUT_DELAY,
        ],
    }
}

/// Extensions that we use on a section; `delays`: on those on which we send, playout is delayed.
fn used_extensions(role: Role, kind: Kind, delays: bool) -> impl Iterator<Item = &'static str> {
    let ours = supported(role, kind).iter().copied();
    ours.filter(move |uri| delays || *uri != PLAYOUT_DELAY)
}

/// The extensions of a client's section that we use too, with the client's ids.
pub(super) fn common_extensions(role: Role, kind: Kind, media: &Media, delays: bool) -> Vec<ExtMap> {
    let delays = delays && (role == Role::Subscriber || !media.direction.sends());
    let ours = || used_extensions(role, kind, delays);
    let mut found: Vec<ExtMap> = Vec::new();
    for map in &media.extmaps {
        let fresh = found
            .iter()
            .all(|known| known.uri != map.uri && known.id != map.id);
        if fresh && ours().any(|uri| uri == map.uri) {
            found.push(map.clone());
        }
    }
    found
}

/// The extensions of our offers. One URI has one id in all sections of a bundle (RFC 8843 §9.2).
pub(super) fn offered_extensions(kind: Kind, delays: bool) -> Vec<ExtMap> {
    let all = supported(Role::Subscriber, Kind::Video);
    let ids = (1..).zip(all);
    let used = || used_extensions(Role::Subscriber, kind, delays);
    ids.filter(|(_, uri)| used().any(|other| other == **uri))
        .map(|(id, uri)| ExtMap {
            id,
            uri: (*uri).to_owned(),
        })
        .collect()
}

/// Extension ids as the media plane takes them.
pub(super) fn extension_ids(maps: &[ExtMap]) -> ExtensionIds {
    let id = |uri: &str| maps.iter().find(|map| map.uri == uri).map_or(0, |map| map.id);
    ExtensionIds {
        mid: id(MID),
        rid: id(RID),
        repaired_rid: id(REPAIRED_RID),
        audio_level: id(AUDIO_LEVEL),
        abs_send_time: id(ABS_SEND_TIME),
        transport_cc: id(TRANSPORT_CC),
        abs_capture_time: id(ABS_CAPTURE_TIME),
        dependency_descriptor: id(DEPENDENCY_DESCRIPTOR),
        playout_delay: id(PLAYOUT_DELAY),
        frame_marking: id(FRAME_MARKING),
    }
}

/// How the RTX payload types stand in the `m=` line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum RtxOrder {
    /// Each behind its codec.
    Beside,
    /// All behind all codecs.
    Last,
}

/// Writes codecs into a section.
pub(super) fn put_formats(media: &mut Media, formats: &[Format], order: RtxOrder) {
    let rtx = |format: &Format| {
        let pt = format.rtx_pt?;
        let map = RtpMap {
            pt,
            encoding: "rtx".to_owned(),
            clock_rate: format.codec.clock_rate(),
            channels: 1,
        };
        Some((map, format!("apt={}", format.pt)))
    };
    let mut put = |map: RtpMap, fmtp: &str| {
        media.formats.push(map.pt.to_string());
        if !fmtp.is_empty() {
            media.fmtps.push((map.pt, fmtp.to_owned()));
        }
        media.rtpmaps.push(map);
    };
    for format in formats {
        let map = RtpMap {
            pt: format.pt,
            encoding: format.encoding.clone(),
            clock_rate: format.codec.clock_rate(),
            channels: format.channels,
        };
        put(map, &format.fmtp);
        if let (RtxOrder::Beside, Some((map, fmtp))) = (order, rtx(format)) {
            put(map, &fmtp);
        }
    }
    if order == RtxOrder::Last {
        for (map, fmtp) in formats.iter().filter_map(rtx) {
            put(map, &fmtp);
        }
    }
    let feedback = |format: &Format| {
        let pt = format.pt;
        let lines = format.feedback.iter().map(|what| (*what).to_owned());
        lines.map(move |what| (Some(pt), what)).collect::<Vec<_>>()
    };
    media.feedback.extend(formats.iter().flat_map(feedback));
}

/// Writes the stream that we send into a section (RFC 8830).
pub(super) fn put_stream(media: &mut Media, request: &DownRequest, ssrc: u32, rtx_ssrc: Option<u32>) {
    let (stream, track) = (token(&request.stream_id), token(&request.track_sid));
    if let Some(rtx_ssrc) = rtx_ssrc {
        media.ssrc_groups.push(SsrcGroup {
            semantics: "FID".to_owned(),
            ssrcs: vec![ssrc, rtx_ssrc],
        });
    }
    for ssrc in [Some(ssrc), rtx_ssrc].into_iter().flatten() {
        let attribute = |name: &str, value: String| (name.to_owned(), Some(value));
        media.ssrcs.push(Ssrc {
            ssrc,
            attributes: vec![
                attribute("cname", stream.clone()),
                attribute("msid", format!("{stream} {track}")),
                attribute("mslabel", stream.clone()),
                attribute("label", track.clone()),
            ],
        });
    }
    media.msids.push(Msid {
        stream,
        track: Some(track),
    });
}

/// A name that publishers choose must not break out of its line or word.
pub(super) fn token(name: &str) -> String {
    let safe = |c: char| {
        if c.is_control() || c.is_whitespace() {
            '_'
        } else {
            c
        }
    };
    name.chars().map(safe).collect()
}

/// The direction of two independent halves.
pub(super) const fn direction(sends: bool, receives: bool) -> Direction {
    match (sends, receives) {
        (true, true) => Direction::SendRecv,
        (true, false) => Direction::SendOnly,
        (false, true) => Direction::RecvOnly,
        (false, false) => Direction::Inactive,
    }
}
