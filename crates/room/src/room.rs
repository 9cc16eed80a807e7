//! The room's state and its dispatch: [`Room::apply`] is the only way in, effects the only way out.

use crate::action::{Action, ConnectionId};
use crate::config::{Now, RoomConfig};
use crate::departures::Departures;
use crate::effect::Effect;
use crate::participant::{Participant, ParticipantId, State};
use crate::quality::Scores;
use crate::random::{Random, Seed};
use crate::rpc::Rpcs;
use crate::speaker::Speakers;
use crate::telling::{Pressure, Untold};
use crate::timers::{Timer, Timers};
use crate::update::QueuedUpdate;
use media::api::{Command, DownKey, EventKind, PeerKey, ThreadId, TrackKey};
use proto::request_response::Reason;
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

/// One room: participants, what they publish, who receives it, and who is told what.
#[derive(Debug)]
pub struct Room {
    pub(crate) config: RoomConfig,
    /// Clocks of the action being applied.
    pub(crate) now: Now,
    pub(crate) random: Random,
    pub(crate) sid: String,
    pub(crate) created: Now,
    pub(crate) turn_password: String,
    /// Marks frames that the server injects into encrypted tracks.
    pub(crate) sif_trailer: Vec<u8>,
    pub(crate) metadata: String,
    /// As last told: they lag by up to 5 s.
    pub(crate) counts: Counts,
    pub(crate) participants: BTreeMap<ParticipantId, Participant>,
    pub(crate) identities: BTreeMap<String, ParticipantId>,
    pub(crate) connections: BTreeMap<ConnectionId, ParticipantId>,
    pub(crate) peers: BTreeMap<PeerKey, ParticipantId>,
    pub(crate) tracks: BTreeMap<TrackKey, ParticipantId>,
    pub(crate) track_sids: BTreeMap<String, TrackKey>,
    pub(crate) downs: BTreeMap<DownKey, Down>,
    /// Data tracks: whose, and under which handle.
    pub(crate) data_track_sids: BTreeMap<String, (ParticipantId, u16)>,
    pub(crate) serial: u32,
    pub(crate) timers: Timers,
    pub(crate) updates: BTreeMap<String, QueuedUpdate>,
    /// Departures that go out with the next batch, before what it tells of newer sessions.
    pub(crate) ended: Vec<QueuedUpdate>,
    /// Changes that wait for their senders' budgets.
    pub(crate) untold: Untold,
    /// How much waits to be sent.
    pub(crate) pressure: Pressure,
    pub(crate) speakers: Speakers,
    /// Calls of the API to clients.
    pub(crate) rpcs: Rpcs,
    pub(crate) scores: Scores,
    /// Of the last data packets that carried one.
    pub(crate) nonces: VecDeque<Vec<u8>>,
    /// Who left lately, for clients that resume.
    pub(crate) departed: Departures,
    pub(crate) last_left: Option<Instant>,
    pub(crate) threads: BTreeSet<ThreadId>,
    pub(crate) closed: bool,
    pub(crate) stats: RoomStats,
    pub(crate) effects: VecDeque<Effect>,
}

/// Whose copy of which track a down track is.
#[derive(Clone, Debug)]
pub(crate) struct Down {
    pub(crate) subscriber: ParticipantId,
    pub(crate) track_sid: String,
}

/// What a room's listing counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) participants: u32,
    pub(crate) publishers: u32,
    pub(crate) recording: bool,
}

/// What was dropped or refused, since the room began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomStats {
    /// Data packets forwarded.
    pub data_forwarded: u64,
    /// Data packets that could not be decoded.
    pub data_undecodable: u64,
    /// Data packets dropped for want of permission, as duplicates or as too large.
    pub data_dropped: u64,
    /// Messages that a peer's channel could not take.
    pub data_undelivered: u64,
    /// Reliable packets that a joining client missed because too much waited for its channel.
    pub data_missed: u64,
    /// Requests past a limit of what a participant may keep here.
    pub over_limit: u64,
    /// Changes that were told later, together with newer ones.
    pub changes_delayed: u64,
    /// Changes refused because the room, or what waits to be sent, is too large.
    pub changes_refused: u64,
}

impl RoomStats {
    /// What was counted after `before`.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            data_forwarded: self.data_forwarded - before.data_forwarded,
            data_undecodable: self.data_undecodable - before.data_undecodable,
            data_dropped: self.data_dropped - before.data_dropped,
            data_undelivered: self.data_undelivered - before.data_undelivered,
            data_missed: self.data_missed - before.data_missed,
            over_limit: self.over_limit - before.over_limit,
            changes_delayed: self.changes_delayed - before.changes_delayed,
            changes_refused: self.changes_refused - before.changes_refused,
        }
    }
}

/// How much a room holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomGauges {
    /// Participants.
    pub participants: usize,
    /// Peer connections.
    pub peers: usize,
    /// Announced and published tracks.
    pub tracks: usize,
    /// Copies of tracks.
    pub downs: usize,
    /// Published data tracks.
    pub data_tracks: usize,
    /// Pending deadlines.
    pub timers: usize,
    /// Participants and departures of which others have not been told the newest yet.
    pub untold: usize,
}

impl Room {
    /// A room that was just created. `seed` feeds its SIDs, SSRCs and secrets. Drain
    /// [`Self::poll_effect`] afterwards: the room is listed at once.
    #[must_use]
    pub fn new(config: RoomConfig, now: Now, seed: Seed) -> Self {
        let mut random = Random::new(seed);
        let mut room = Self {
            sid: random.sid("RM_"),
            turn_password: random.secret(43),
            sif_trailer: random.secret(43).into_bytes(),
            metadata: config.metadata.clone(),
            config,
            now,
            random,
            created: now,
            counts: Counts::default(),
            participants: BTreeMap::new(),
            identities: BTreeMap::new(),
            connections: BTreeMap::new(),
            peers: BTreeMap::new(),
            tracks: BTreeMap::new(),
            track_sids: BTreeMap::new(),
            downs: BTreeMap::new(),
            data_track_sids: BTreeMap::new(),
            serial: 0,
            timers: Timers::default(),
            updates: BTreeMap::new(),
            ended: Vec::new(),
            untold: Untold::new(now.monotonic),
            pressure: Pressure::Low,
            speakers: Speakers::default(),
            rpcs: Rpcs::default(),
            scores: Scores::default(),
            nonces: VecDeque::new(),
            departed: Departures::default(),
            last_left: None,
            threads: BTreeSet::new(),
            closed: false,
            stats: RoomStats::default(),
            effects: VecDeque::new(),
        };
        room.watch_idle();
        room.list();
        room
    }

    /// Room SID.
    #[must_use]
    pub fn sid(&self) -> &str {
        &self.sid
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> RoomStats {
        self.stats
    }

    /// Sizes.
    #[must_use]
    pub fn gauges(&self) -> RoomGauges {
        RoomGauges {
            participants: self.participants.len(),
            peers: self.peers.len(),
            tracks: self.tracks.len(),
            downs: self.downs.len(),
            data_tracks: self.data_track_sids.len(),
            timers: self.timers.len(),
            untold: self.untold_updates(),
        }
    }

    /// Everybody who is here, hidden or not, as told to who may know of them.
    #[must_use]
    pub fn participants(&self) -> Vec<proto::ParticipantInfo> {
        self.participants.values().map(Participant::peek).collect()
    }

    /// Takes one action. Drain [`Self::poll_effect`] afterwards.
    pub fn apply(&mut self, now: Now, action: Action) {
        self.now = now;
        if self.closed {
            self.apply_closed(action);
            return;
        }
        match action {
            Action::Join(join) => self.join(*join),
            Action::Signal { connection, request } => self.signal(connection, request),
            Action::SignalClosed { connection } => self.signal_closed(connection),
            Action::Media(event) => self.media_event(event.kind),
            Action::PeerOverran { peer } => self.peer_overran(peer),
            Action::Api { reply, call } => self.api(reply, call),
            Action::Timeout => {}
            Action::Shutdown => self.shutdown(),
        }
        while let Some(timer) = self.timers.pop(now.monotonic) {
            self.timer(timer);
        }
    }

    /// The next thing for the shell to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Action::Timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.closed { None } else { self.timers.next() }
    }

    fn signal(&mut self, connection: ConnectionId, request: proto::SignalRequest) {
        let Some(&id) = self.connections.get(&connection) else {
            return;
        };
        if let Some(participant) = self.participants.get_mut(&id) {
            participant.last_seen = self.now;
        }
        let Some(message) = request.message else {
            return;
        };
        match message {
            Request::Offer(offer) => self.handle_offer(id, &offer),
            Request::Answer(answer) => self.handle_answer(id, &answer),
            Request::Trickle(trickle) => self.handle_trickle(id, trickle),
            Request::AddTrack(request) => self.add_track(id, request),
            Request::Mute(request) => self.mute_own(id, request),
            Request::Subscription(update) => self.update_subscription(id, &update),
            Request::TrackSetting(settings) => self.update_track_settings(id, &settings),
            Request::Leave(leave) => self.client_leave(id, &leave),
            Request::SubscriptionPermission(rule) => self.set_rule(id, &rule),
            Request::SyncState(state) => self.sync_state(id, &state),
            Request::Simulate(request) => self.simulate(id, request),
            Request::UpdateMetadata(update) => self.update_own_metadata(id, update),
            Request::UpdateAudioTrack(update) => self.update_audio_track(id, update),
            Request::UpdateVideoTrack(update) => self.update_video_track(id, update),
            Request::PublishDataTrackRequest(request) => self.publish_data_track(id, request),
            Request::UnpublishDataTrackRequest(request) => self.unpublish_data_track(id, request),
            Request::UpdateDataSubscription(update) => self.update_data_subscription(id, &update),
            Request::StoreDataBlobRequest(request) => {
                self.respond(
                    id,
                    request.request_id,
                    Reason::NotAllowed,
                    "data blob not enabled",
                    None,
                );
            }
            Request::GetDataBlobRequest(request) => {
                self.respond(
                    id,
                    request.request_id,
                    Reason::NotFound,
                    "data blob not found",
                    None,
                );
            }
            // Answered at the edge, deprecated, or not offered by this server yet.
            Request::UpdateLayers(_) | Request::Ping(_) | Request::PingReq(_) => {}
        }
    }

    fn media_event(&mut self, event: EventKind) {
        match event {
            EventKind::IceConnected { peer } => self.ice_connected(peer),
            EventKind::PeerConnected { peer } => self.peer_connected(peer),
            EventKind::PeerFailed { peer } => self.peer_failed(peer),
            EventKind::LayerStarted {
                track,
                layer,
                ssrc,
                rtx_ssrc,
                codec,
            } => self.layer_started(track, layer, ssrc, rtx_ssrc, codec),
            EventKind::Message { peer, label, data } => self.data_message(peer, label, &data),
            EventKind::ChannelOpen { peer, label } => self.channel_opened(peer, label),
            EventKind::ChannelClosed { peer, label } => self.channel_closed(peer, label),
            EventKind::MessageDropped { count, .. } => self.stats.data_undelivered += count,
            EventKind::AudioLevels { levels } => self.audio_levels(&levels),
            EventKind::Windows { ups, downs } => self.windows(&ups, &downs),
            // ICE that comes back, layers that pause and why a peer failed change nothing here.
            EventKind::IceDisconnected { .. }
            | EventKind::HandshakeFailed { .. }
            | EventKind::LayerStopped { .. }
            | EventKind::DownStarted { .. } => {}
        }
    }

    /// What is lost of its messages was owed to others: it has to begin anew.
    fn peer_overran(&mut self, peer: PeerKey) {
        if let Some(&id) = self.peers.get(&peer) {
            self.stats.over_limit += 1;
            self.full_reconnect(id);
        }
    }

    fn timer(&mut self, timer: Timer) {
        match timer {
            Timer::Updates => self.flush_updates(),
            Timer::RoomUpdate => self.update_counts(),
            Timer::Tell => self.tell_due(),
            Timer::Idle => self.idle(),
            Timer::Join(id) => self.join_timed_out(id),
            Timer::Refresh(id) => self.refresh_token(id),
            Timer::Negotiate(id) => self.negotiate(id),
            Timer::Release(id) => self.release_copies(id),
            Timer::Answer(id) => self.answer_timed_out(id),
            Timer::Resume(id) => self.resume_timed_out(id),
            Timer::Return(id) => self.media_lost(id),
            Timer::Unbound(down) => self.copy_unbound(down),
            Timer::Silent(track) => self.track_silent(track),
            Timer::Missing(id) => self.tracks_missing(id),
            Timer::SimulatedSpeech(id) => self.simulate_speaker(id, false),
            Timer::Wish(down) => self.apply_wish(down),
            Timer::Demand(track) => self.demand_due(track),
            Timer::DemandRepeat(id) => self.demand_repeat(id),
            Timer::RpcAck(serial) => self.rpc_unacknowledged(serial),
            Timer::RpcResponse(serial) => self.rpc_unanswered(serial),
            Timer::Measure => self.measure(),
            Timer::Quality => self.quality_due(),
        }
    }

    /// A key's serial number, unique in the room.
    pub(crate) fn next_serial(&mut self) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        self.serial
    }

    /// Sends a response to a participant that has a signal connection and has got its join
    /// response. Others miss it.
    pub(crate) fn send(&mut self, id: ParticipantId, message: Response) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        if let Some(connection) = participant.connection
            && participant.state != State::Joining
        {
            self.send_on(connection, message);
        }
    }

    /// As [`Self::send`] to several: the shell encodes it once.
    pub(crate) fn send_to_all(&mut self, ids: impl IntoIterator<Item = ParticipantId>, message: Response) {
        let connections: Vec<_> = ids
            .into_iter()
            .filter_map(|id| self.participants.get(&id))
            .filter(|participant| participant.state != State::Joining)
            .filter_map(|participant| participant.connection)
            .collect();
        match connections[..] {
            [] => {}
            [connection] => self.send_on(connection, message),
            _ => self.effects.push_back(Effect::Broadcast {
                connections,
                response: Box::new(proto::SignalResponse {
                    message: Some(message),
                }),
            }),
        }
    }

    pub(crate) fn send_on(&mut self, connection: ConnectionId, message: Response) {
        self.effects.push_back(Effect::Signal {
            connection,
            response: Box::new(proto::SignalResponse {
                message: Some(message),
            }),
        });
    }

    /// To the media thread of a participant.
    pub(crate) fn command(&mut self, thread: ThreadId, command: Command) {
        self.threads.insert(thread);
        let options = if let Command::Subscribe { down, track, .. } = &command {
            self.set_down_options(*down, *track)
        } else {
            None
        };
        self.effects.push_back(Effect::Media { thread, command });
        let options = options.map(|command| Effect::Media { thread, command });
        self.effects.extend(options);
    }

    pub(crate) fn commands(&mut self, id: ParticipantId, commands: Vec<Command>) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        let thread = participant.placement.thread;
        for command in commands {
            self.command(thread, command);
        }
    }
}
