//! One participant's state. Fields only and what follows from them alone; what happens to it is in
//! the files of `impl Room`.

use crate::action::{ConnectionId, Settings};
use crate::client::{ClientRules, version_from};
use crate::config::Now;
use crate::data_track::DataTracks;
use crate::negotiation::Transport;
use crate::permission::SubscriptionRule;
use crate::publication::Publication;
use crate::simulate::Cuts;
use crate::subscription::Subscription;
use crate::telling::Budget;
use crate::waiting_data::WaitingData;
use media::api::{DownKey, PeerKey, ThreadInfo, TrackKey};
use protocol::grants::Claims;
use protocol::proto;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

pub(crate) use proto::participant_info::State;

/// A participant within its room, never reused. A SID is its public name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ParticipantId(pub(crate) u32);

/// One peer connection of a participant and when to negotiate it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) transport: Transport,
    /// Our candidates have been trickled.
    pub(crate) trickled: bool,
    /// Media and data can flow.
    pub(crate) connected: bool,
    /// It was lost, and is not back.
    pub(crate) failed: bool,
    /// When the last offer (or request for one) went out.
    pub(crate) last_negotiation: Option<Instant>,
    /// Copies whose last frames are on their way, and when their sections are given up.
    pub(crate) leaving: VecDeque<(Instant, DownKey)>,
    /// Something changed while an offer was unanswered.
    pub(crate) retry: bool,
    /// A channel for reliable data is open.
    pub(crate) reliable_open: bool,
}

impl Link {
    pub(crate) fn new(transport: Transport) -> Self {
        Self {
            transport,
            trickled: false,
            connected: false,
            failed: false,
            last_negotiation: None,
            leaving: VecDeque::new(),
            retry: false,
            reliable_open: false,
        }
    }
}

/// One participant.
#[derive(Debug)]
pub(crate) struct Participant {
    pub(crate) id: ParticipantId,
    pub(crate) sid: String,
    /// Kept current: refreshed tokens are made of them.
    pub(crate) claims: Claims,
    pub(crate) permission: proto::ParticipantPermission,
    /// Others may show it: they were told of it, and not that it hid.
    pub(crate) shown: bool,
    pub(crate) kind: proto::participant_info::Kind,
    /// Of the server that it is connected to.
    pub(crate) region: String,
    pub(crate) client: proto::ClientInfo,
    pub(crate) rules: ClientRules,
    pub(crate) settings: Settings,
    pub(crate) single: bool,
    pub(crate) subscriber_primary: bool,
    pub(crate) state: State,
    pub(crate) disconnect_reason: proto::DisconnectReason,
    pub(crate) joined: Now,
    /// When the client's own token ends.
    pub(crate) token_end: Instant,
    pub(crate) version: u32,
    /// What of it may be told now.
    pub(crate) budget: Budget,
    /// Bytes of its name, metadata, attributes and announced data tracks.
    pub(crate) field_bytes: usize,
    /// The next snapshot gets a new version.
    pub(crate) dirty: bool,
    pub(crate) is_publisher: bool,
    pub(crate) connection: Option<ConnectionId>,
    /// The one that it has, or had last.
    pub(crate) last_connection: ConnectionId,
    pub(crate) missed: Missed,
    pub(crate) placement: ThreadInfo,
    /// The client's publisher peer connection, or the only one.
    pub(crate) publisher: Link,
    /// The server's peer connection of dual mode, made when first needed.
    pub(crate) subscriber: Option<Link>,
    /// ICE once had a pair on any peer connection: the session outlives its signal connection.
    pub(crate) ice_once: bool,
    pub(crate) publications: BTreeMap<TrackKey, Publication>,
    /// AddTrack requests that wait for an earlier track of the same cid to end.
    pub(crate) queued: Vec<proto::AddTrackRequest>,
    pub(crate) subscriptions: BTreeMap<String, Subscription>,
    pub(crate) rule: SubscriptionRule,
    pub(crate) data_tracks: DataTracks,
    /// Highest sequence of a reliable packet received.
    pub(crate) last_sequence: u32,
    pub(crate) last_seen: Now,
    pub(crate) cuts: Cuts,
    /// Wanted tracks that do not exist, and until when they may appear.
    pub(crate) missing: BTreeMap<String, Instant>,
    /// Reliable data for a client that has no channel yet.
    pub(crate) waiting_data: WaitingData,
    /// Demand is told again by then, however many answers follow.
    pub(crate) demand_repeat_by: Option<Instant>,
}

/// What a client that comes back may not have been told.
#[derive(Debug, Default)]
pub(crate) struct Missed {
    /// Since when its client may not have got what it was sent on its last connection.
    pub(crate) unread_since: Option<Instant>,
    /// When the client last came back, and since when it was told of departures then: again, if it did not
    /// get that either.
    pub(crate) replayed: Option<(Instant, Instant)>,
    /// The session by which its client knows itself, if it took this one over from a newer client. At most
    /// 64 bytes.
    pub(crate) taken_over_by: Option<Box<str>>,
}

impl Participant {
    pub(crate) fn identity(&self) -> &str {
        &self.claims.identity
    }

    pub(crate) fn protocol(&self) -> i32 {
        self.client.protocol
    }

    /// Whether its client may know the others by session. From protocol 12 on clients know them by
    /// identity, so LiveKit's server does not tell them that a newer session took an older one's place.
    /// Of a client that names no SDK the number alone says little: one that does know sessions would
    /// show both for ever, and to the others it is no more than a departure and a return.
    pub(crate) fn knows_sessions(&self) -> bool {
        self.protocol() < 12 || self.client.sdk() == proto::client_info::Sdk::Unknown
    }

    /// Neither counted nor limited, and does not keep a room open.
    pub(crate) fn is_dependent(&self) -> bool {
        use proto::participant_info::Kind;
        matches!(self.kind, Kind::Agent | Kind::Egress) || self.permission.recorder
    }

    /// Sees every track whatever its publisher permits.
    pub(crate) fn bypasses_rules(&self) -> bool {
        self.kind == proto::participant_info::Kind::Egress || self.permission.recorder
    }

    /// The link on which ACTIVE and data depend.
    pub(crate) fn primary(&self) -> &Link {
        match &self.subscriber {
            Some(link) if self.subscriber_primary => link,
            _ => &self.publisher,
        }
    }

    /// The link on which this participant receives media.
    pub(crate) fn receiving(&mut self) -> Option<&mut Link> {
        if self.single {
            Some(&mut self.publisher)
        } else {
            self.subscriber.as_mut()
        }
    }

    pub(crate) fn link_mut(&mut self, peer: PeerKey) -> Option<&mut Link> {
        if self.publisher.transport.peer() == peer {
            return Some(&mut self.publisher);
        }
        self.subscriber
            .as_mut()
            .filter(|link| link.transport.peer() == peer)
    }

    /// Whether this client is told of request outcomes (old Rust SDKs cannot parse them).
    pub(crate) fn understands_request_response(&self) -> bool {
        self.client.sdk != i32::from(proto::client_info::Sdk::Rust) || self.protocol() >= 10
    }

    /// Older JavaScript clients fail at a message that they do not know.
    pub(crate) fn understands_reconnect(&self) -> bool {
        self.client.sdk() != proto::client_info::Sdk::Js || version_from(&self.client.version, [1, 6, 3])
    }

    /// May publish a track of this source.
    pub(crate) fn may_publish(&self, source: i32) -> bool {
        self.permission.can_publish
            && (self.permission.can_publish_sources.is_empty()
                || self.permission.can_publish_sources.contains(&source))
    }

    /// The participant as others see it. Takes the next version when something changed since the
    /// last time.
    pub(crate) fn info(&mut self) -> proto::ParticipantInfo {
        if self.dirty {
            self.version += 1;
            self.dirty = false;
        }
        self.peek()
    }

    /// As [`Self::info`], to be told to others.
    pub(crate) fn show(&mut self) -> proto::ParticipantInfo {
        self.shown = true;
        self.info()
    }

    /// As [`Self::info`], but takes no version.
    pub(crate) fn peek(&self) -> proto::ParticipantInfo {
        proto::ParticipantInfo {
            sid: self.sid.clone(),
            identity: self.claims.identity.clone(),
            state: self.state.into(),
            tracks: self
                .publications
                .values()
                .filter(|publication| publication.published)
                .map(|publication| publication.info.clone())
                .collect(),
            metadata: self.claims.metadata.clone(),
            joined_at: self.joined.unix_s(),
            joined_at_ms: self.joined.unix_ms(),
            name: self.claims.name.clone(),
            version: self.version,
            permission: Some(self.permission.clone()),
            region: self.region.clone(),
            is_publisher: self.is_publisher,
            kind: self.kind.into(),
            attributes: self
                .claims
                .attributes
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            disconnect_reason: self.disconnect_reason.into(),
            kind_details: kind_details(&self.claims.kind_details),
            data_tracks: self.data_tracks.published.values().cloned().collect(),
            client_protocol: self.client.client_protocol,
            capabilities: self.client.capabilities.clone(),
        }
    }
}

/// The `kind` claim.
pub(crate) fn kind(text: &str) -> proto::participant_info::Kind {
    use proto::participant_info::Kind;
    match text {
        "ingress" => Kind::Ingress,
        "egress" => Kind::Egress,
        "sip" => Kind::Sip,
        "agent" => Kind::Agent,
        "connector" => Kind::Connector,
        "bridge" => Kind::Bridge,
        _ => Kind::Standard,
    }
}

fn kind_details(texts: &[String]) -> Vec<i32> {
    use proto::participant_info::KindDetail;
    texts
        .iter()
        .filter_map(|text| KindDetail::from_str_name(&text.to_uppercase()))
        .map(i32::from)
        .collect()
}
