//! Joining: from a validated wish to the join response and what follows it.

use crate::action::{ConnectionId, Join, Settings};
use crate::client::{self, ClientRules};
use crate::data_track::DataTracks;
use crate::effect::Effect;
use crate::negotiation::{Role, Transport, TransportConfig};
use crate::participant::{self, Link, Missed, Participant, ParticipantId, State};
use crate::permission::SubscriptionRule;
use crate::room::Room;
use crate::simulate::Cuts;
use crate::telling::Budget;
use crate::timers::Timer;
use crate::waiting_data::WaitingData;
use media::api::{Command, PeerKey, ThreadInfo};
use protocol::proto;
use protocol::proto::signal_response::Message as Response;
use std::collections::BTreeMap;
use std::time::Duration;

/// Body of the HTTP error for every join that fails after the edge's own checks.
const REFUSED: &str = "connection closed by media";

/// Body of the HTTP error while the server has no time for anybody more, as the reference words it.
pub const NODE_FULL: &str = "node has exceeded its configured limit";

/// Seconds between the client's pings, and after how many without one it gives up.
const PING_INTERVAL_S: i32 = 5;
const PING_TIMEOUT_S: i32 = 15;

/// Most playout delay in milliseconds of a room that names only the least: the browsers' own bound.
const PLAYOUT_DELAY_MS_MAX: u32 = 10_000;

/// A participant must be ACTIVE by then.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Tokens are refreshed this often; shorter than their shortest validity.
pub(crate) const REFRESH_INTERVAL: Duration = Duration::from_secs(300);

/// Refreshed tokens are valid at least this long, seconds.
const TOKEN_VALID_S_MIN: u64 = 600;

impl Room {
    /// A wish to join or resume.
    pub(crate) fn join(&mut self, join: Join) {
        if join.resume.is_some() {
            self.resume(join);
            return;
        }
        let identity = join.claims.identity.clone();
        if join.full && !self.identities.contains_key(&identity) {
            self.effects.push_back(Effect::RefuseJoin {
                connection: join.connection,
                text: NODE_FULL.to_owned(),
            });
            return;
        }
        if self.over_limits(&join) {
            self.refuse(join.connection);
            return;
        }
        if join.sender_only && self.has_too_many_senders(&join.claims.identity) {
            self.stats.over_limit += 1;
            let max = self.config.limits.senders_max;
            self.effects.push_back(Effect::RefuseJoin {
                connection: join.connection,
                text: format!("too many sessions of one participant: at most {max} beside it"),
            });
            return;
        }
        if let Some(&old) = self.identities.get(&identity) {
            self.close_participant(old, proto::DisconnectReason::DuplicateIdentity);
        }
        if self.is_full(&join) {
            self.refuse(join.connection);
            return;
        }
        let connection = join.connection;
        let add_tracks = join.add_tracks.clone();
        let offer = join.publisher_offer.clone();
        let id = self.admit(join);
        self.respond_to_join(id, connection);
        self.start_session(id, add_tracks, offer.as_ref());
    }

    /// What arrives after the room has closed.
    pub(crate) fn refuse(&mut self, connection: ConnectionId) {
        self.effects.push_back(Effect::RefuseJoin {
            connection,
            text: REFUSED.to_owned(),
        });
    }

    /// Whether the room has all sessions of a token that it takes beside the first. All of that name
    /// count: a session is refreshed with a token of its own, which may ask for further ones.
    fn has_too_many_senders(&self, identity: &str) -> bool {
        let (name, _) = identity.split_once('#').unwrap_or((identity, ""));
        let name = format!("{name}#");
        let present = self
            .identities
            .range(name.clone()..)
            .map(|(other, _)| other.as_str())
            .take_while(|other| other.starts_with(&name))
            .filter(|other| *other != identity);
        present.count() >= self.config.limits.senders_max
    }

    fn over_limits(&mut self, join: &Join) -> bool {
        let limits = self.config.limits.clone();
        let metadata = join.metadata.as_ref().unwrap_or(&join.claims.metadata);
        let mut attributes = join.claims.attributes.clone();
        attributes.extend(
            join.attributes
                .iter()
                .filter(|(_, value)| !value.is_empty())
                .cloned(),
        );
        let size: usize = attributes
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        metadata.len() > limits.metadata_bytes_max
            || size > limits.attributes_bytes_max
            || !self.has_room_for(
                self.identities.get(&join.claims.identity).copied(),
                join.claims.name.len() + metadata.len() + size,
            )
    }

    fn is_full(&self, join: &Join) -> bool {
        let grant = join.claims.video.as_ref();
        let dependent = matches!(join.claims.kind.as_str(), "agent" | "egress")
            || grant.is_some_and(|grant| grant.recorder);
        let max = self.config.max_participants;
        let present = self
            .participants
            .values()
            .filter(|participant| !participant.is_dependent())
            .count();
        max > 0 && !dependent && present >= usize::try_from(max).unwrap_or(usize::MAX)
    }

    /// Makes the participant and its peer connections.
    fn admit(&mut self, join: Join) -> ParticipantId {
        let id = ParticipantId(self.next_serial());
        let Join {
            mut claims,
            client,
            settings,
            single_peer_connection: single,
            placement,
            ..
        } = join;
        if let Some(metadata) = join.metadata.filter(|metadata| !metadata.is_empty()) {
            claims.metadata = metadata;
        }
        claims
            .attributes
            .extend(join.attributes.into_iter().filter(|(_, value)| !value.is_empty()));
        let permission = claims.video.clone().unwrap_or_default().permission();
        let subscriber_primary = !single && client.protocol >= 3 && permission.can_subscribe;
        let rules = ClientRules::of(&client);
        let role = if single { Role::Single } else { Role::Publisher };
        let config = self.transport_config(role, &placement, &client, &settings);
        let (transport, commands) = Transport::new(config);
        let participant = Participant {
            id,
            sid: self.random.sid("PA_"),
            kind: participant::kind(&claims.kind),
            region: self.config.server_info.region.clone(),
            token_end: self.now.monotonic + Duration::from_secs(join.token_remaining_s),
            shown: false,
            permission,
            client,
            rules,
            settings,
            single,
            subscriber_primary,
            state: State::Joining,
            disconnect_reason: proto::DisconnectReason::UnknownReason,
            joined: self.now,
            version: 0,
            budget: self.budget_of(&claims.identity),
            claims,
            field_bytes: 0,
            dirty: false,
            is_publisher: false,
            connection: Some(join.connection),
            last_connection: join.connection,
            missed: Missed::default(),
            placement,
            publisher: Link::new(transport),
            subscriber: None,
            ice_once: false,
            publications: BTreeMap::new(),
            queued: Vec::new(),
            subscriptions: BTreeMap::new(),
            rule: SubscriptionRule::All,
            data_tracks: DataTracks::new(self.random.id(), self.config.limits.data_tracks_received_max),
            last_sequence: 0,
            last_seen: self.now,
            cuts: Cuts::default(),
            missing: BTreeMap::new(),
            waiting_data: WaitingData::default(),
            demand_repeat_by: None,
        };
        self.enter(participant, commands);
        if subscriber_primary {
            self.open_subscriber(id);
        }
        id
    }

    /// What an identity may cost others: what is left of it to who was here before.
    fn budget_of(&self, identity: &str) -> Budget {
        let before = self.departed.budget(identity);
        before.unwrap_or(Budget::new(self.now.monotonic))
    }

    /// A participant is here from now on.
    fn enter(&mut self, participant: Participant, commands: Vec<Command>) {
        let id = participant.id;
        self.identities.insert(participant.claims.identity.clone(), id);
        self.connections
            .extend(participant.connection.map(|connection| (connection, id)));
        self.peers.insert(participant.publisher.transport.peer(), id);
        self.participants.insert(id, participant);
        self.measure_fields(id);
        self.start_quality();
        self.commands(id, commands);
    }

    /// Makes the server's peer connection of dual mode unless it exists.
    pub(crate) fn open_subscriber(&mut self, id: ParticipantId) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        if participant.single || participant.subscriber.is_some() {
            return;
        }
        let placement = participant.placement.clone();
        let client = participant.client.clone();
        let settings = participant.settings.clone();
        let config = self.transport_config(Role::Subscriber, &placement, &client, &settings);
        let (transport, commands) = Transport::new(config);
        self.peers.insert(transport.peer(), id);
        if let Some(participant) = self.participants.get_mut(&id) {
            participant.subscriber = Some(Link::new(transport));
        }
        self.commands(id, commands);
    }

    fn transport_config(
        &mut self,
        role: Role,
        placement: &ThreadInfo,
        client: &proto::ClientInfo,
        settings: &Settings,
    ) -> TransportConfig {
        let rules = ClientRules::of(client);
        let traits = client::traits(client);
        let codecs = self
            .config
            .enabled_codecs
            .iter()
            .filter(|codec| match role {
                Role::Publisher => rules.allows_publish(&codec.mime),
                Role::Single | Role::Subscriber => rules.allows(&codec.mime),
            })
            .map(|codec| (codec.mime.clone(), codec.fmtp_line.clone()))
            .collect();
        TransportConfig {
            peer: PeerKey::new(placement.thread, self.config.key, self.next_serial()),
            role,
            ice: self.random.ice_credentials(placement.thread),
            ice_lite: self.config.ice_lite
                && client.protocol >= 6
                && !traits.firefox
                && !settings.disable_ice_lite,
            fingerprint: self.config.fingerprint,
            addresses: placement.sockets.iter().map(|socket| socket.address).collect(),
            codecs,
            client: traits,
            playout_delay: self.playout_delay(client),
            data_tracks: self.config.data_tracks,
            seed: self.random.seed(),
        }
    }

    /// Firefox delays a whole stream, which would part a participant's sound from the picture.
    fn playout_delay(&self, client: &proto::ClientInfo) -> Option<(u16, u16)> {
        let (min, max) = self.config.playout_delay?;
        let max = if max == 0 { PLAYOUT_DELAY_MS_MAX } else { max };
        let ms = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
        let parts = self.config.sync_streams && client::traits(client).firefox;
        (!parts).then(|| (ms(min), ms(max)))
    }

    fn respond_to_join(&mut self, id: ParticipantId, connection: ConnectionId) {
        let others: Vec<_> = self
            .participants
            .values_mut()
            .filter(|other| other.id != id && !other.permission.hidden)
            .map(Participant::show)
            .collect();
        let room = self.info();
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let server = &self.config.server_info;
        let response = proto::JoinResponse {
            room: Some(room),
            participant: Some(participant.info()),
            other_participants: others,
            server_version: server.version.clone(),
            ice_servers: self.config.ice_servers.clone(),
            subscriber_primary: participant.subscriber_primary,
            alternative_url: String::new(),
            client_configuration: participant.rules.configuration(),
            server_region: server.region.clone(),
            ping_timeout: PING_TIMEOUT_S,
            ping_interval: PING_INTERVAL_S,
            server_info: Some(server.clone()),
            sif_trailer: self.sif_trailer.clone(),
            enabled_publish_codecs: client::publish_codecs(&self.config.enabled_codecs, &participant.rules),
            fast_publish: participant.permission.can_publish,
        };
        participant.state = State::Joined;
        participant.dirty = true;
        self.send_on(connection, Response::Join(response));
    }

    /// Everything after the join response, in the order in which LiveKit's server does it.
    fn start_session(
        &mut self,
        id: ParticipantId,
        add_tracks: Vec<proto::AddTrackRequest>,
        offer: Option<&proto::SessionDescription>,
    ) {
        self.timers
            .set(Timer::Join(id), self.now.monotonic + JOIN_TIMEOUT);
        self.timers.cancel(Timer::Idle);
        self.watch_idle();
        let hidden = self
            .participants
            .get(&id)
            .is_some_and(|participant| participant.permission.hidden);
        // The hidden know that they joined, and nobody else may.
        if !hidden {
            self.broadcast(id, false);
        }
        self.counts_changed();
        for request in add_tracks {
            self.add_track(id, request);
        }
        self.refresh_token(id);
        let (single, protocol, primary) = match self.participants.get(&id) {
            Some(participant) => (
                participant.single,
                participant.protocol(),
                participant.subscriber_primary,
            ),
            None => return,
        };
        if primary {
            self.make_offer(id);
        }
        if single || protocol >= 8 {
            self.auto_subscribe(id);
        }
        self.reconcile_data_tracks(id);
        if let Some(offer) = offer {
            self.handle_offer(id, offer);
        }
    }

    /// Sends a fresh token and plans the next one.
    pub(crate) fn refresh_token(&mut self, id: ParticipantId) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        let left = participant
            .token_end
            .saturating_duration_since(self.now.monotonic)
            .as_secs();
        if let Some(connection) = participant.connection {
            self.effects.push_back(Effect::RefreshToken {
                connection,
                claims: Box::new(participant.claims.clone()),
                valid_s: left.max(TOKEN_VALID_S_MIN),
            });
        }
        self.timers
            .set(Timer::Refresh(id), self.now.monotonic + REFRESH_INTERVAL);
    }

    /// An ICE pair exists: the session now outlives its signal connection.
    pub(crate) fn ice_connected(&mut self, peer: PeerKey) {
        if let Some(id) = self.peers.get(&peer)
            && let Some(participant) = self.participants.get_mut(id)
        {
            participant.ice_once = true;
        }
    }

    /// Media and data can flow on a peer connection; the primary one makes the participant ACTIVE.
    pub(crate) fn peer_connected(&mut self, peer: PeerKey) {
        let Some(&id) = self.peers.get(&peer) else {
            return;
        };
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        participant.ice_once = true;
        if let Some(link) = participant.link_mut(peer) {
            link.connected = true;
            link.failed = false;
        }
        let back = self.timers.is_set(Timer::Return(id));
        if participant.publisher.transport.peer() == peer {
            participant.wait_for_media(self.now.monotonic);
        }
        if participant.state == State::Joined && participant.primary().transport.peer() == peer {
            participant.state = State::Active;
            participant.dirty = true;
            self.timers.cancel(Timer::Join(id));
            self.broadcast(id, false);
            self.auto_subscribe(id);
        }
        if back {
            self.expect_media(id);
        }
        self.await_media(id);
    }

    pub(crate) fn close_peers(&mut self, id: ParticipantId) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        let peers: Vec<_> = participant
            .subscriber
            .iter()
            .chain(std::iter::once(&participant.publisher))
            .map(|link| link.transport.peer())
            .collect();
        for peer in peers {
            self.peers.remove(&peer);
            self.command(peer.thread(), Command::ClosePeer { peer });
        }
    }
}
