//! Data packets: stamped with their sender, routed to their destinations, encoded
//! once.

use crate::participant::{Participant, ParticipantId, State};
use crate::room::Room;
use crate::waiting_data::NUMBERED_KEPT;
use media::api::{ChannelLabel, Command, PeerKey, ThreadId};
use prost::Message as _;
use proto::data_packet::{Kind, Value};
use protocol::decoded::{self, Bounds};
use protocol::proto;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// Largest message of a data channel.
const MESSAGE_BYTES_MAX: usize = 65_535;

/// How many nonces are remembered.
const NONCES_MAX: usize = 100;

/// The only size of nonce that counts.
const NONCE_BYTES: usize = 16;

impl Room {
    /// A message of a client's data channel.
    pub(crate) fn data_message(&mut self, peer: PeerKey, label: ChannelLabel, data: &[u8]) {
        let Some(&id) = self.peers.get(&peer) else {
            return;
        };
        let kind = match label {
            ChannelLabel::Lossy => Kind::Lossy,
            ChannelLabel::Reliable | ChannelLabel::Unlabelled => Kind::Reliable,
            ChannelLabel::DataTrack => return self.data_track_packet(peer, data),
        };
        let packet = if label == ChannelLabel::Unlabelled {
            wrap_raw(data)
        } else if let Ok((packet, _)) = decoded::decode::<proto::DataPacket>(data, &Bounds::CLIENT) {
            packet
        } else {
            self.stats.data_undecodable += 1;
            return;
        };
        let raw = packet.value.is_none().then_some(data);
        if !self.forward_packet(id, packet, kind, raw) {
            self.stats.data_dropped += 1;
        }
    }

    /// Checks, stamps and sends on. False when it may not pass.
    fn forward_packet(
        &mut self,
        id: ParticipantId,
        mut packet: proto::DataPacket,
        kind: Kind,
        raw: Option<&[u8]>,
    ) -> bool {
        let Some(participant) = self.participants.get_mut(&id) else {
            return false;
        };
        if !participant.permission.can_publish_data {
            return false;
        }
        if kind == Kind::Reliable && packet.sequence > 0 {
            if packet.sequence <= participant.last_sequence {
                return false;
            }
            participant.last_sequence = packet.sequence;
        }
        if !stamp(participant, &mut packet, kind) {
            return false;
        }
        if let Some(Value::User(user)) = &packet.value
            && !self.is_new_nonce(&user.nonce.clone())
        {
            return false;
        }
        if self.take_rpc_answer(id, &packet) {
            return true;
        }
        let sids = destination_sids(&packet);
        let bytes = match raw {
            // An unknown payload is passed on as it came; the stamp at its end wins over what the
            // sender wrote (protobuf: the last scalar counts).
            Some(raw) => [raw, &stamp_bytes(&packet)].concat(),
            None => packet.encode_to_vec(),
        };
        let to = Destinations::new(&packet.destination_identities, &sids);
        let until = (packet.sequence > 0).then(|| self.now.monotonic + NUMBERED_KEPT);
        self.send_data(Some(id), kind, &to, bytes, until)
    }

    /// A packet of the server API: nobody's.
    pub(crate) fn send_api_data(&mut self, request: &proto::SendDataRequest) {
        if !self.is_new_nonce(&request.nonce) {
            return;
        }
        let kind = request.kind();
        let packet = proto::DataPacket {
            kind: kind.into(),
            destination_identities: request.destination_identities.clone(),
            value: Some(Value::User(proto::UserPacket {
                payload: request.data.clone(),
                destination_sids: request.destination_sids.clone(),
                destination_identities: request.destination_identities.clone(),
                topic: request.topic.clone(),
                nonce: request.nonce.clone(),
                ..Default::default()
            })),
            ..Default::default()
        };
        let bytes = packet.encode_to_vec();
        let to = Destinations::new(&request.destination_identities, &request.destination_sids);
        self.send_data(None, kind, &to, bytes, None);
    }

    /// Sends encoded bytes to the primary peers of whom they are for, one command per thread. What
    /// is reliable is kept for those without a channel, but not beyond `until`.
    pub(crate) fn send_data(
        &mut self,
        sender: Option<ParticipantId>,
        kind: Kind,
        to: &Destinations<'_>,
        bytes: Vec<u8>,
        until: Option<Instant>,
    ) -> bool {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return false;
        }
        let now = self.now.monotonic;
        let data: Arc<[u8]> = bytes.into();
        let mut peers: BTreeMap<ThreadId, Vec<PeerKey>> = BTreeMap::new();
        for participant in self.participants.values_mut() {
            let reachable = match kind {
                Kind::Lossy => participant.state == State::Active,
                Kind::Reliable => participant.state != State::Joining,
            };
            if !reachable || !to.include(participant) || Some(participant.id) == sender {
                continue;
            }
            let link = participant.primary();
            if kind == Kind::Reliable && !link.reliable_open {
                self.stats.data_missed += participant.waiting_data.keep(now, until, &data);
                continue;
            }
            let peer = link.transport.peer();
            peers.entry(peer.thread()).or_default().push(peer);
        }
        let label = match kind {
            Kind::Lossy => ChannelLabel::Lossy,
            Kind::Reliable => ChannelLabel::Reliable,
        };
        self.stats.data_forwarded += 1;
        for (thread, peers) in peers {
            self.command(
                thread,
                Command::SendMessage {
                    peers,
                    label,
                    data: Arc::clone(&data),
                },
            );
        }
        true
    }

    /// A channel opened: what waited for it goes out.
    pub(crate) fn channel_opened(&mut self, peer: PeerKey, label: ChannelLabel) {
        if label != ChannelLabel::Reliable {
            return;
        }
        let Some(&id) = self.peers.get(&peer) else {
            return;
        };
        if let Some(link) = self
            .participants
            .get_mut(&id)
            .and_then(|participant| participant.link_mut(peer))
        {
            link.reliable_open = true;
        }
        self.offer_held_back(id);
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        if participant.primary().transport.peer() != peer {
            return;
        }
        let now = self.now.monotonic;
        let (waiting, missed) = std::mem::take(&mut participant.waiting_data).into_fresh(now);
        self.stats.data_missed += missed;
        for data in waiting {
            self.command(
                peer.thread(),
                Command::SendMessage {
                    peers: vec![peer],
                    label,
                    data,
                },
            );
        }
    }

    pub(crate) fn channel_closed(&mut self, peer: PeerKey, label: ChannelLabel) {
        if label == ChannelLabel::Reliable
            && let Some(participant) = self.peers.get(&peer).and_then(|id| self.participants.get_mut(id))
            && let Some(link) = participant.link_mut(peer)
        {
            link.reliable_open = false;
        }
    }

    /// Remembers a nonce; false when it was seen before. Anything that is no nonce is new.
    fn is_new_nonce(&mut self, nonce: &[u8]) -> bool {
        if nonce.len() != NONCE_BYTES {
            return true;
        }
        if self.nonces.iter().any(|seen| seen == nonce) {
            return false;
        }
        if self.nonces.len() >= NONCES_MAX {
            self.nonces.pop_front();
        }
        self.nonces.push_back(nonce.to_vec());
        true
    }
}

/// Whom a packet is for: everybody when it names nobody. As sets: senders choose how long the lists
/// are, and every participant is looked up in them.
pub(crate) struct Destinations<'a> {
    identities: BTreeSet<&'a str>,
    sids: BTreeSet<&'a str>,
}

impl<'a> Destinations<'a> {
    pub(crate) fn new(identities: &'a [String], sids: &'a [String]) -> Self {
        Self {
            identities: identities.iter().map(String::as_str).collect(),
            sids: sids.iter().map(String::as_str).collect(),
        }
    }

    fn include(&self, participant: &Participant) -> bool {
        self.identities.is_empty() && self.sids.is_empty()
            || self.identities.contains(participant.identity())
            || self.sids.contains(participant.sid.as_str())
    }
}

/// Raw bytes of a channel that LiveKit does not name.
fn wrap_raw(data: &[u8]) -> proto::DataPacket {
    proto::DataPacket {
        value: Some(Value::User(proto::UserPacket {
            payload: data.to_vec(),
            ..Default::default()
        })),
        ..Default::default()
    }
}

/// Writes who sent it and mirrors the destinations. False when the payload may not pass.
fn stamp(participant: &Participant, packet: &mut proto::DataPacket, kind: Kind) -> bool {
    let agent = participant.kind == proto::participant_info::Kind::Agent;
    let hidden = participant.permission.hidden;
    let claimed = std::mem::take(&mut packet.participant_identity);
    packet.kind = kind.into();
    if hidden {
        packet.participant_sid = String::new();
    } else {
        packet.participant_sid.clone_from(&participant.sid);
        packet.participant_identity = participant.identity().to_owned();
    }
    let mut impersonate = false;
    match &mut packet.value {
        Some(Value::User(user)) => {
            user.participant_sid.clone_from(&packet.participant_sid);
            user.participant_identity.clone_from(&packet.participant_identity);
            if packet.destination_identities.is_empty() {
                packet
                    .destination_identities
                    .clone_from(&user.destination_identities);
            } else {
                user.destination_identities
                    .clone_from(&packet.destination_identities);
            }
        }
        Some(Value::Transcription(_)) if !agent => return false,
        Some(Value::Metrics(_) | Value::Speaker(_)) => return false,
        Some(Value::ChatMessage(chat)) if agent && !claimed.is_empty() => {
            impersonate = claimed != participant.identity();
            chat.generated |= impersonate;
        }
        Some(Value::StreamHeader(header)) if agent && !claimed.is_empty() => {
            if let Some(proto::data_stream::header::ContentHeader::TextHeader(text)) =
                &mut header.content_header
            {
                impersonate = claimed != participant.identity();
                text.generated |= impersonate;
            }
        }
        Some(
            Value::Transcription(_)
            | Value::ChatMessage(_)
            | Value::StreamHeader(_)
            | Value::SipDtmf(_)
            | Value::RpcRequest(_)
            | Value::RpcAck(_)
            | Value::RpcResponse(_)
            | Value::StreamChunk(_)
            | Value::StreamTrailer(_)
            | Value::EncryptedPacket(_),
        )
        | None => {}
    }
    if impersonate {
        packet.participant_identity = claimed;
    }
    true
}

/// The legacy way to address a user packet.
fn destination_sids(packet: &proto::DataPacket) -> Vec<String> {
    match &packet.value {
        Some(Value::User(user)) => user.destination_sids.clone(),
        _ => Vec::new(),
    }
}

/// The stamped fields alone, empty ones spelt out, to stand after the sender's bytes.
fn stamp_bytes(packet: &proto::DataPacket) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::int32::encode(1, &packet.kind, &mut bytes);
    prost::encoding::string::encode(4, &packet.participant_identity, &mut bytes);
    prost::encoding::string::encode(17, &packet.participant_sid, &mut bytes);
    bytes
}
