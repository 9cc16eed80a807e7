//! A room with participants of every kind of connection, given requests, descriptions, events and
//! time in any order. It must refuse or ignore, and keep the order of its effects.

use super::chunks;
use ::room::action::{Resume, Settings};
use ::room::{Action, ApiCall, ConnectionId, Effect, Join, Now, ReplyId, Room, RoomConfig};
use media::api::{
    ChannelLabel, Codec, Command, Event, EventKind, LocalSocket, PeerKey, RoomKey, ThreadId, ThreadInfo,
    TrackKey,
};
use protocol::grants::{Claims, VideoGrant};
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use protocol::signal::{self, Received};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

const KEY: RoomKey = RoomKey(7);
const SOCKET: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7882);
/// One action on a room of three has no business to do more.
const EFFECTS_MAX: usize = 4096;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What came of an input, so that a test can tell whether it reaches anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoomCounts {
    /// Responses to clients.
    pub(crate) responses: usize,
    /// Commands to the media plane.
    pub(crate) commands: usize,
    /// Tracks published to the media plane.
    pub(crate) published: usize,
    /// Copies subscribed on the media plane.
    pub(crate) subscribed: usize,
}

/// The target.
pub(crate) fn room(data: &[u8]) {
    room_counts(data);
}

pub(crate) fn room_counts(data: &[u8]) -> RoomCounts {
    let mut world = World::new();
    for who in 0..3 {
        world.join(who, false);
    }
    for chunk in chunks(data) {
        if let Some(([operation, who], bytes)) = chunk.split_first_chunk::<2>() {
            world.operate(*operation, usize::from(*who) % 3, bytes);
        }
    }
    world.counts
}

#[derive(Default)]
struct Client {
    connection: u64,
    peers: Vec<PeerKey>,
    /// The last offer of the server.
    offer: String,
    offer_id: u32,
}

struct World {
    room: Room,
    now: Now,
    clients: [Client; 3],
    serial: u64,
    /// Tracks of which no packet has come yet.
    tracks: Vec<(TrackKey, Codec)>,
    closed: BTreeSet<ConnectionId>,
    over: bool,
    counts: RoomCounts,
}

impl World {
    fn new() -> Self {
        let now = Now {
            monotonic: *START,
            unix: Duration::from_secs(1_700_000_000),
        };
        Self {
            room: Room::new(RoomConfig::new(KEY, "test"), now, room::Seed::new([42; 32])),
            now,
            clients: Default::default(),
            serial: 0,
            tracks: Vec::new(),
            closed: BTreeSet::new(),
            over: false,
            counts: RoomCounts::default(),
        }
    }

    /// Each input operation; see the corpus for examples.
    fn operate(&mut self, operation: u8, who: usize, bytes: &[u8]) {
        let text = || String::from_utf8_lossy(bytes).into_owned();
        match operation & 15 {
            0 => {
                if let Ok(Received { request, .. }) = signal::decode_binary(bytes) {
                    self.request(who, request);
                }
            }
            1 => {
                if let Ok(Received { request, .. }) = signal::decode_text(&text()) {
                    self.request(who, request);
                }
            }
            // Descriptions as they are, so that edits fall into the SDP.
            2 => self.message(who, Request::Offer(description("offer", text()))),
            3 => self.answer(who, bytes),
            4 => {
                let candidate = proto::TrickleRequest {
                    candidate_init: text(),
                    target: i32::from(operation >> 4 & 1),
                    r#final: false,
                };
                self.message(who, Request::Trickle(candidate));
            }
            5 => self.pass(bytes.first().copied().unwrap_or(10)),
            6 => self.join(who, true),
            7 => self.join(who, false),
            8 => self.apply(Action::SignalClosed {
                connection: ConnectionId(self.clients[who].connection),
            }),
            9 => self.connect(who),
            10 => {
                let label = [
                    ChannelLabel::Reliable,
                    ChannelLabel::Lossy,
                    ChannelLabel::DataTrack,
                ]
                .get(usize::from(operation >> 4))
                .copied()
                .unwrap_or(ChannelLabel::Unlabelled);
                if let Some(&peer) = self.clients[who].peers.first() {
                    let data = bytes.to_vec();
                    self.event(EventKind::Message { peer, label, data });
                }
            }
            11 => self.fail(who, operation),
            operation => self.call(operation, bytes),
        }
    }

    fn request(&mut self, who: usize, request: proto::SignalRequest) {
        let connection = ConnectionId(self.clients[who].connection);
        self.apply(Action::Signal { connection, request });
    }

    fn message(&mut self, who: usize, message: Request) {
        let message = Some(message);
        self.request(who, proto::SignalRequest { message });
    }

    /// Answers the last offer, with a byte replaced for each three of `edits`: place and value.
    fn answer(&mut self, who: usize, edits: &[u8]) {
        let mut sdp = answer_to(&self.clients[who].offer).into_bytes();
        for edit in edits.chunks_exact(3) {
            let place = usize::from(u16::from_be_bytes([edit[0], edit[1]])) % sdp.len().max(1);
            if let Some(byte) = sdp.get_mut(place) {
                *byte = edit[2];
            }
        }
        let sdp = String::from_utf8_lossy(&sdp).into_owned();
        let mut answer = description("answer", sdp);
        answer.id = self.clients[who].offer_id;
        self.message(who, Request::Answer(answer));
    }

    fn event(&mut self, kind: EventKind) {
        self.apply(Action::Media(Event { room: KEY, kind }));
    }

    /// The peers of one connect, and first packets of all tracks arrive.
    fn connect(&mut self, who: usize) {
        for peer in self.clients[who].peers.clone() {
            self.event(EventKind::IceConnected { peer });
            self.event(EventKind::PeerConnected { peer });
            for label in [ChannelLabel::Reliable, ChannelLabel::Lossy] {
                self.event(EventKind::ChannelOpen { peer, label });
            }
        }
        for (track, codec) in std::mem::take(&mut self.tracks) {
            self.event(EventKind::LayerStarted {
                track,
                layer: 0,
                ssrc: 1,
                rtx_ssrc: None,
                codec,
            });
        }
    }

    fn fail(&mut self, who: usize, operation: u8) {
        if let Some(&peer) = self.clients[who].peers.last() {
            self.event(match operation >> 4 & 1 {
                0 => EventKind::IceDisconnected { peer },
                _ => EventKind::PeerFailed { peer },
            });
        }
    }

    fn call(&mut self, operation: u8, bytes: &[u8]) {
        use prost::Message as _;
        let identity = String::from("p1");
        let call = match operation {
            12 => proto::UpdateParticipantRequest::decode(bytes)
                .map(|mut request| {
                    request.identity = identity;
                    ApiCall::UpdateParticipant(Box::new(request))
                })
                .ok(),
            13 => proto::SendDataRequest::decode(bytes)
                .map(|request| ApiCall::SendData(Box::new(request)))
                .ok(),
            14 => proto::UpdateSubscriptionsRequest::decode(bytes)
                .map(|mut request| {
                    request.identity = identity;
                    ApiCall::UpdateSubscriptions(Box::new(request))
                })
                .ok(),
            _ => Some(match bytes.first().map(|byte| byte & 3) {
                Some(0) => ApiCall::RemoveParticipant { identity },
                Some(1) => ApiCall::ListParticipants,
                Some(2) => ApiCall::UpdateRoomMetadata {
                    metadata: String::from_utf8_lossy(bytes).into_owned(),
                },
                _ => ApiCall::GetParticipant { identity },
            }),
        };
        if let Some(call) = call {
            self.serial += 1;
            let reply = ReplyId(self.serial);
            self.apply(Action::Api { reply, call });
        }
    }

    /// Dual connections of an old and a new protocol, and a single one.
    fn join(&mut self, who: usize, resume: bool) {
        self.serial += 1;
        let connection = ConnectionId(self.serial);
        let join = Join {
            sender_only: false,
            connection,
            claims: Claims {
                api_key: "key".to_owned(),
                identity: format!("p{who}"),
                video: Some(VideoGrant {
                    room_join: true,
                    room: "test".to_owned(),
                    can_update_own_metadata: Some(who != 2),
                    ..Default::default()
                }),
                ..Default::default()
            },
            client: proto::ClientInfo {
                sdk: proto::client_info::Sdk::Js.into(),
                protocol: [9, 18, 17][who],
                ..Default::default()
            },
            settings: Settings {
                auto_subscribe: true,
                auto_subscribe_data_track: who != 2,
                adaptive_stream: who == 1,
                ..Default::default()
            },
            single_peer_connection: who == 1,
            metadata: None,
            attributes: Vec::new(),
            add_tracks: Vec::new(),
            publisher_offer: None,
            resume: resume.then(Resume::default),
            placement: ThreadInfo {
                thread: ThreadId(who as u8 & 1),
                sockets: vec![LocalSocket { address: SOCKET }],
            },
            token_remaining_s: 3_600,
            full: false,
        };
        self.clients[who].connection = connection.0;
        if !resume {
            self.clients[who].peers.clear();
        }
        let peers = self.apply_and_collect(Action::Join(Box::new(join)));
        self.clients[who].peers.extend(peers);
    }

    /// Up to 5 s pass, the room is woken whenever it asked for it.
    fn pass(&mut self, ticks: u8) {
        let end = self.now.monotonic + Duration::from_millis(u64::from(ticks) * 20);
        for _ in 0..10_000 {
            let Some(due) = self.room.poll_timeout().filter(|due| *due <= end) else {
                break;
            };
            self.advance(due);
            self.apply(Action::Timeout);
            assert!(
                self.over || self.room.poll_timeout().is_none_or(|next| next > due),
                "a passed deadline must not stay"
            );
            if self.over {
                break;
            }
        }
        self.advance(end);
    }

    fn advance(&mut self, to: Instant) {
        let step = to.saturating_duration_since(self.now.monotonic);
        self.now.monotonic += step;
        self.now.unix += step;
    }

    fn apply(&mut self, action: Action) {
        self.apply_and_collect(action);
    }

    /// Applies, drains, and returns the peers that were made.
    fn apply_and_collect(&mut self, action: Action) -> Vec<PeerKey> {
        self.room.apply(self.now, action);
        let mut peers = Vec::new();
        let mut effects = 0;
        while let Some(effect) = self.room.poll_effect() {
            effects += 1;
            self.effect(effect, &mut peers);
        }
        assert!(effects <= EFFECTS_MAX, "{effects} effects of one action");
        peers
    }

    fn effect(&mut self, effect: Effect, peers: &mut Vec<PeerKey>) {
        if let Effect::Signal { connection, response } = effect {
            assert!(!self.closed.contains(&connection), "nothing follows a close");
            assert!(response.message.is_some(), "responses have a message");
            let _ = signal::encode_text(&response);
            self.counts.responses += 1;
            if let Some(Response::Offer(offer)) = response.message
                && let Some(client) = self.clients.iter_mut().find(|c| c.connection == connection.0)
            {
                client.offer = offer.sdp;
                client.offer_id = offer.id;
            }
        } else if let Effect::CloseSignal { connection } = effect {
            assert!(self.closed.insert(connection), "closed once");
        } else if let Effect::Media { command, .. } = effect {
            self.counts.commands += 1;
            self.counts.subscribed += usize::from(matches!(command, Command::Subscribe { .. }));
            if let Command::AddPeer { peer, .. } = command {
                peers.push(peer);
            } else if let Command::Publish { track, spec, .. } = command {
                let codec = spec.payloads.first().map_or(Codec::Vp8, |payload| payload.codec);
                self.tracks.push((track, codec));
                self.counts.published += 1;
            }
        } else if matches!(effect, Effect::Closed) {
            self.over = true;
        }
    }
}

fn description(kind: &str, sdp: String) -> proto::SessionDescription {
    proto::SessionDescription {
        r#type: kind.to_owned(),
        sdp,
        id: 1,
        ..Default::default()
    }
}

/// The answer of a client that accepts everything.
fn answer_to(offer: &str) -> String {
    let mut answer = String::new();
    let mut application = false;
    for line in offer.lines() {
        let dropped = ["a=ssrc", "a=msid:", "a=candidate", "a=end-of", "a=ice-lite"];
        if dropped.iter().any(|prefix| line.starts_with(prefix)) {
            continue;
        }
        if line.starts_with("m=") {
            application = line.starts_with("m=application");
        }
        answer.push_str(match line {
            "a=setup:actpass" => "a=setup:active",
            "a=sendrecv" if !application => "a=recvonly",
            line => line,
        });
        answer.push_str("\r\n");
    }
    answer
}
