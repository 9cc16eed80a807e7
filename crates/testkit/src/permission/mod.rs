//! Permission on every step of a room (I12): nothing reaches a participant, and nothing is known of
//! one, without permission at that moment.
//!
//! Owns: a reference model, fed by the actions that go into a room and the effects that come out.
//! Must not know: the room's state. What it finds are [`PermissionChecker::violations`].

mod model;
mod step;

use media::api::{ChannelLabel, Command, DownKey, EventKind, PeerKey, TrackKey};
use model::{Person, Rule, granted, read_rule};
use protocol::grants::Claims;
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use room::{Action, ApiCall, ConnectionId, Effect};
use std::collections::{BTreeMap, BTreeSet};

/// Watches one room.
#[derive(Debug, Default)]
pub struct PermissionChecker {
    /// By SID.
    people: BTreeMap<String, Person>,
    connections: BTreeMap<ConnectionId, String>,
    /// Peers with their owners' SIDs.
    peers: BTreeMap<PeerKey, String>,
    /// Peers that nobody has been told of, by ICE user name fragment.
    fresh_peers: BTreeMap<String, PeerKey>,
    /// Tracks on the media plane.
    tracks: BTreeMap<TrackKey, Track>,
    /// Whose tracks were announced, and their sources, by track SID.
    announced: BTreeMap<String, (String, i32)>,
    /// Data tracks by SID: owner and the owner's handle.
    data_tracks: BTreeMap<String, (String, u32)>,
    /// Copies on the media plane.
    downs: BTreeMap<DownKey, (PeerKey, TrackKey)>,
    /// Tracks that the last offer, or answer, showed a participant: SID and type of description. They
    /// may be shown on until the frames that end their copies have left; nobody learns of them by that.
    shown: BTreeMap<(String, String), BTreeSet<String>>,
    step: Step,
    violations: Vec<String>,
    steps: u64,
    checks: u64,
}

/// A track on the media plane.
#[derive(Clone, Debug)]
struct Track {
    owner: String,
    mid: String,
    /// In which step its first packet came.
    started: Option<u64>,
    /// In which step it got its section.
    placed: u64,
    /// SIDs that its owner was told to have before that: not its own.
    others: Vec<String>,
    /// Known since its owner was told of after that.
    sid: Option<String>,
}

/// What the action of this step is about.
#[derive(Debug, Default)]
struct Step {
    /// Who asks to join.
    joining: Option<Claims>,
    /// Peers that were made while somebody joins.
    made: Vec<PeerKey>,
    /// Whose permission changed, and the one before.
    changed: Option<(String, proto::ParticipantPermission)>,
    /// Fields change in the same step: what is told of them first is of before.
    mixed: bool,
    /// Who wanted to change itself and may not.
    denied: Option<String>,
    /// A message of a participant.
    speech: Option<Speech>,
    /// Whom the API addresses.
    addressed: Option<(Vec<String>, Vec<String>)>,
}

/// A message that a participant sent.
#[derive(Debug)]
struct Speech {
    from: String,
    label: ChannelLabel,
    data: Vec<u8>,
}

impl PermissionChecker {
    /// What was found, in words.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// How many copies, messages and infos were looked at.
    #[must_use]
    pub const fn checks(&self) -> u64 {
        self.checks
    }

    /// An action goes into the room.
    pub fn begin(&mut self, action: &Action) {
        self.step = Step::default();
        match action {
            Action::Join(join) => {
                self.step.joining = Some(join.claims.clone());
            }
            Action::Signal { connection, request } => self.requested(*connection, request),
            Action::SignalClosed { connection } => {
                self.connections.remove(connection);
            }
            Action::Media(event) => self.happened(&event.kind),
            Action::Api { call, .. } => self.called(call),
            Action::PeerOverran { .. } | Action::Timeout | Action::Shutdown => {}
        }
    }

    fn requested(&mut self, connection: ConnectionId, request: &proto::SignalRequest) {
        let Some(sid) = self.connections.get(&connection).cloned() else {
            return;
        };
        match &request.message {
            Some(Request::SubscriptionPermission(message)) => {
                if let Some(rule) = read_rule(message, &self.people)
                    && let Some(person) = self.people.get_mut(&sid)
                {
                    person.rule = rule;
                }
            }
            Some(Request::UpdateMetadata(_)) => {
                let may = self
                    .people
                    .get(&sid)
                    .is_some_and(|person| person.permission.can_update_metadata);
                self.step.denied = (!may).then_some(sid);
            }
            _ => {}
        }
    }

    fn happened(&mut self, event: &EventKind) {
        match event {
            EventKind::Message { peer, label, data } => {
                let from = self.peers.get(peer).cloned();
                self.step.speech = from.map(|from| Speech {
                    from,
                    label: *label,
                    data: data.clone(),
                });
            }
            EventKind::LayerStarted { track, .. } => {
                if let Some(track) = self.tracks.get_mut(track) {
                    track.started.get_or_insert(self.steps);
                }
            }
            _ => {}
        }
    }

    fn called(&mut self, call: &ApiCall) {
        match call {
            ApiCall::UpdateParticipant(request) => {
                let Some(permission) = &request.permission else {
                    return;
                };
                if let Some(sid) = self.present(&request.identity)
                    && let Some(person) = self.people.get_mut(&sid)
                {
                    let before = std::mem::replace(&mut person.permission, permission.clone());
                    self.step.changed = Some((sid, before));
                    self.step.mixed = !request.name.is_empty()
                        || !request.metadata.is_empty()
                        || !request.attributes.is_empty();
                }
            }
            ApiCall::SendData(request) => {
                self.step.addressed = Some((
                    request.destination_identities.clone(),
                    request.destination_sids.clone(),
                ));
            }
            _ => {}
        }
    }

    fn present(&self, identity: &str) -> Option<String> {
        let mut people = self.people.iter();
        let found = people.find(|(_, person)| !person.gone && person.identity == identity);
        found.map(|(sid, _)| sid.clone())
    }

    /// An effect comes out of the room.
    pub fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Signal { connection, response } => {
                if let Some(message) = &response.message {
                    self.told(*connection, message);
                }
            }
            Effect::Broadcast {
                connections,
                response,
            } => {
                for connection in connections {
                    if let Some(message) = &response.message {
                        self.told(*connection, message);
                    }
                }
            }
            Effect::RefreshToken {
                connection, claims, ..
            } => self.token(*connection, claims),
            Effect::CloseSignal { connection } => {
                self.connections.remove(connection);
            }
            Effect::Media { command, .. } => self.commanded(command),
            Effect::Reply { result: Err(_), .. } => {
                // The request failed as a whole.
                if let Some((sid, before)) = self.step.changed.take()
                    && let Some(person) = self.people.get_mut(&sid)
                {
                    person.permission = before;
                }
            }
            _ => {}
        }
    }

    fn commanded(&mut self, command: &Command) {
        match command {
            Command::AddPeer { peer, ice, .. } => {
                if self.step.joining.is_some() {
                    self.step.made.push(*peer);
                } else {
                    self.fresh_peers.insert(ice.ufrag.clone(), *peer);
                }
            }
            Command::RestartIce { peer, ice } if !self.peers.contains_key(peer) => {
                self.fresh_peers.insert(ice.ufrag.clone(), *peer);
            }
            Command::ClosePeer { peer } => {
                if let Some(person) = self.peers.remove(peer).and_then(|sid| self.people.get_mut(&sid)) {
                    person.gone = true;
                }
                self.downs.retain(|_, (of, _)| of != peer);
            }
            Command::Publish {
                peer, track, spec, ..
            } => self.published(*peer, *track, &spec.mid),
            Command::Unpublish { track } => {
                self.tracks.remove(track);
            }
            Command::Subscribe {
                peer, down, track, ..
            } => {
                self.downs.insert(*down, (*peer, *track));
            }
            Command::Unsubscribe { down } => {
                self.downs.remove(down);
            }
            Command::SendMessage { peers, label, data } => self.message(peers, *label, data),
            Command::SendDataTrackPacket { receivers, data } => {
                for (peer, handle) in receivers {
                    let mut packet = data.to_vec();
                    wire::data_track::set_handle(&mut packet, *handle);
                    self.message(&[*peer], ChannelLabel::DataTrack, &packet);
                }
            }
            _ => {}
        }
    }

    fn published(&mut self, peer: PeerKey, track: TrackKey, mid: &str) {
        let Some(owner) = self.peers.get(&peer).cloned() else {
            self.violate(format!("{track:?} is published on {peer:?}, which nobody has"));
            return;
        };
        let told = self.people.get(&owner).and_then(|owner| owner.told.as_ref());
        let others = told.map(|(_, info)| info.tracks.iter().map(|track| track.sid.clone()).collect());
        let fresh = Track {
            others: others.unwrap_or_default(),
            owner,
            mid: mid.to_owned(),
            started: None,
            placed: self.steps,
            sid: None,
        };
        mid.clone_into(&mut self.tracks.entry(track).or_insert(fresh).mid);
    }

    /// All effects of the step are out: what stands must be permitted.
    pub fn settle(&mut self) {
        self.steps += 1;
        self.name_tracks();
        let mut found = Vec::new();
        for (down, (peer, track)) in &self.downs {
            self.checks += 1;
            found.extend(
                self.copy_problem(*peer, *track)
                    .map(|problem| format!("{down:?}: {problem}")),
            );
        }
        for (key, track) in &self.tracks {
            let source = track.sid.as_ref().and_then(|sid| self.announced.get(sid));
            if let (Some(owner), Some((_, source))) = (self.people.get(&track.owner), source)
                && !owner.may_publish(*source)
            {
                found.push(format!("{} goes on publishing {key:?}", owner.identity));
            }
        }
        // Those without a signal connection are told when they come back.
        let connected = self.connections.values().filter_map(|sid| self.people.get(sid));
        for receiver in connected.filter(|person| !person.gone) {
            for sid in receiver.handles.values() {
                self.checks += 1;
                if !self.may_have_data_track(receiver, sid) {
                    found.push(format!("{} keeps a handle of {sid}", receiver.identity));
                }
            }
        }
        self.violations.extend(found);
        self.step = Step::default();
    }

    /// Tracks get their SIDs from what is told of their owners after their first packet, or before
    /// when none comes.
    fn name_tracks(&mut self) {
        for track in self.tracks.values_mut().filter(|track| track.sid.is_none()) {
            let Some((at, told)) = self
                .people
                .get(&track.owner)
                .and_then(|owner| owner.told.as_ref())
            else {
                continue;
            };
            let tracks = &told.tracks;
            let info = if track.started.is_some_and(|started| started <= *at) {
                let further =
                    |info: &&proto::TrackInfo| info.codecs.iter().any(|codec| codec.mid == track.mid);
                let first = tracks.iter().find(|info| info.mid == track.mid);
                first.or_else(|| tracks.iter().find(further))
            } else if track.placed <= *at {
                // Nothing need be told again when its first packet comes.
                let silent =
                    |info: &&proto::TrackInfo| info.mid == track.mid && !track.others.contains(&info.sid);
                tracks.iter().find(silent)
            } else {
                None
            };
            track.sid = info.map(|info| info.sid.clone());
        }
    }

    /// What is wrong with a copy that media flows to.
    fn copy_problem(&self, peer: PeerKey, key: TrackKey) -> Option<String> {
        // The copy of a track that has ended gets nothing.
        let track = self.tracks.get(&key)?;
        let Some(receiver) = self.peers.get(&peer).and_then(|sid| self.people.get(sid)) else {
            return Some(format!("a copy for {peer:?}, which nobody has"));
        };
        let publisher = self.people.get(&track.owner)?;
        // The copy of a backup codec may wait for its first packet.
        track.started?;
        // Before it is told of there is no SID to permit.
        let sid = track.sid.as_deref().unwrap_or_default();
        (!publisher.lets(receiver, sid)).then(|| {
            format!(
                "{} receives {sid} of {} without permission",
                receiver.identity, publisher.identity
            )
        })
    }

    fn may_have_data_track(&self, receiver: &Person, sid: &str) -> bool {
        let owner = self.data_tracks.get(sid);
        owner
            .and_then(|(owner, _)| self.people.get(owner))
            .is_some_and(|owner| owner.permission.can_publish_data && owner.lets(receiver, sid))
    }

    fn joined(&mut self, connection: ConnectionId, sid: &str) {
        let Some(claims) = &self.step.joining else {
            return;
        };
        let person = Person {
            identity: claims.identity.clone(),
            permission: granted(claims),
            kind: match claims.kind.as_str() {
                "egress" => proto::participant_info::Kind::Egress,
                "agent" => proto::participant_info::Kind::Agent,
                _ => proto::participant_info::Kind::Standard,
            },
            rule: Rule::Everybody,
            gone: false,
            known: false,
            told: None,
            handles: BTreeMap::new(),
        };
        self.people.insert(sid.to_owned(), person);
        self.connections.insert(connection, sid.to_owned());
        for peer in std::mem::take(&mut self.step.made) {
            self.peers.insert(peer, sid.to_owned());
        }
    }

    /// A description tells whose peer it is.
    fn described(&mut self, sid: &str, description: &proto::SessionDescription) {
        for ufrag in values(&description.sdp, "a=ice-ufrag:") {
            if let Some(peer) = self.fresh_peers.remove(ufrag) {
                self.peers.insert(peer, sid.to_owned());
            }
        }
    }

    fn violate(&mut self, what: String) {
        self.violations.push(what);
    }
}

fn values<'a>(sdp: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    sdp.lines().filter_map(move |line| line.strip_prefix(prefix))
}

/// Track SIDs of the sections that a description sends on.
fn sent_tracks(sdp: &str) -> BTreeSet<&str> {
    let sections = sdp.split("\r\nm=").skip(1);
    sections
        .filter(|section| {
            section
                .lines()
                .any(|line| matches!(line, "a=sendonly" | "a=sendrecv"))
        })
        .flat_map(|section| values(section, "a=msid:"))
        .filter_map(|msid| msid.split_whitespace().nth(1))
        .filter(|track| track.starts_with("TR_"))
        .collect()
}
