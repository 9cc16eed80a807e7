//! The state of one peer connection's negotiation, and what offers of both sides share.

use super::candidates;
use super::codecs::{self, Format, Registered};
use super::sections::{Slot, extension_ids, live, put_stream, token};
use super::{CodecUnsupported, DownRequest, NegotiationError, Role, TransportConfig};
use crate::random::Random;
use media::api::{
    Candidate, ChannelSpec, Codec, Command, DownKey, DtlsRole, IceCredentials, Kind, LayerWish, PeerKey,
    Remote, SctpRemote, SendSpec, TrackKey,
};
use protocol::proto;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::num::NonZeroU16;
use wire::sdp::{self, Description, Fingerprint, Media, MediaKind, Session, Setup};

/// Most sections of one connection that we open ourselves: as many as descriptions may have.
pub(super) const SECTIONS_MAX: usize = sdp::SECTIONS_MAX;

/// One peer connection's negotiation state.
#[derive(Debug)]
pub struct Transport {
    pub(super) config: TransportConfig,
    pub(super) enabled: Vec<&'static Registered>,
    pub(super) random: Random,
    session_id: u64,
    session_version: u64,
    pub(super) remote: Option<Remote>,
    /// Candidates of the client's current ICE generation that the media plane has.
    pub(super) remote_addresses: Vec<SocketAddr>,
    /// Candidates, with their user name fragments, whose description has not come.
    pub(super) early_candidates: VecDeque<(Option<String>, Candidate)>,
    /// Sections in order.
    pub(super) slots: Vec<Slot>,
    pub(super) downs: BTreeMap<DownKey, Down>,
    /// Down tracks without a section, oldest first.
    pub(super) waiting: Vec<DownKey>,
    /// Client ids of tracks that were given up, oldest first: their sections carry nothing.
    pub(super) released: VecDeque<String>,
    /// Our ICE credentials are newer than the last description that we gave.
    pub(super) ice_restarted: bool,
    /// Role Subscriber.
    pub(super) subscriber: Subscriber,
}

/// State that only offers of ours need.
#[derive(Debug, Default)]
pub(super) struct Subscriber {
    /// The last mid given to a section of ours; mids are never given again.
    pub(super) last_mid: u64,
    /// Id of the last offer.
    pub(super) offer_id: u32,
    /// Offers made so far.
    pub(super) offers: u64,
    /// The last offer has not been answered.
    pub(super) unanswered: bool,
    /// Something changed since the last offer that the next one must show.
    pub(super) changed: bool,
    /// Codecs that the client accepted, per kind.
    pub(super) audio: Option<Vec<Format>>,
    pub(super) video: Option<Vec<Format>>,
}

/// A wanted copy of a track with the SSRCs that it is sent with.
#[derive(Debug)]
pub(super) struct Down {
    pub(super) request: DownRequest,
    pub(super) ssrc: u32,
    pub(super) rtx_ssrc: u32,
}

impl DownRequest {
    /// The track to send: that of the first codec that can be. And those of its codecs.
    pub(super) fn choose(&self, can_send: impl Fn(Codec) -> bool) -> (TrackKey, Vec<Codec>) {
        let track_of = |codec: Codec| {
            let backup = self.backups.iter().find(|(backup, _)| *backup == codec);
            backup.map_or(self.track, |(_, track)| *track)
        };
        let first = self.codecs.iter().copied().find(|codec| can_send(*codec));
        let source = first.map_or(self.track, track_of);
        let codecs = self
            .codecs
            .iter()
            .copied()
            .filter(|codec| track_of(*codec) == source);
        (source, codecs.collect())
    }
}

impl Transport {
    /// The transport, and the commands that create its peer and open the server's data channels
    /// (`AddPeer`, `OpenChannel`…).
    #[must_use]
    pub fn new(config: TransportConfig) -> (Self, Vec<Command>) {
        let mut random = Random::new(config.seed.clone());
        let subscriber = config.role == Role::Subscriber;
        let mut commands = vec![Command::AddPeer {
            peer: config.peer,
            ice: config.ice.clone(),
            ice_lite: config.ice_lite,
            ice_controlling: subscriber && !config.ice_lite,
            seed: random.short_seed(),
        }];
        let open = |channel| Command::OpenChannel {
            peer: config.peer,
            channel,
        };
        commands.extend(channels(&config).into_iter().map(open));
        let mut transport = Self {
            enabled: codecs::enabled(&config.codecs),
            // RFC 8829 §5.2.1: 64 bits, the highest zero.
            session_id: random.id() >> 1,
            session_version: random.id() >> 32,
            remote: None,
            remote_addresses: Vec::new(),
            early_candidates: VecDeque::new(),
            slots: Vec::new(),
            downs: BTreeMap::new(),
            waiting: Vec::new(),
            released: VecDeque::new(),
            ice_restarted: false,
            subscriber: Subscriber::default(),
            random,
            config,
        };
        if subscriber {
            // The first offer has an id of 1..=256.
            transport.subscriber.offer_id = transport.random.id() as u32 & 0xFF;
            transport
                .slots
                .push(Slot::new("0".to_owned(), MediaKind::Application));
        }
        (transport, commands)
    }

    /// Peer key.
    #[must_use]
    pub fn peer(&self) -> PeerKey {
        self.config.peer
    }

    /// Wants a copy of a track sent. It is bound by the next answer or offer that has room for it.
    ///
    /// # Errors
    /// When it is already known that the client supports none of the codecs.
    pub fn subscribe(&mut self, request: DownRequest) -> Result<(), CodecUnsupported> {
        let down = request.down;
        if self.downs.contains_key(&down) {
            return Ok(());
        }
        if !self.may_speak(request.kind, &request.codecs) {
            return Err(CodecUnsupported);
        }
        let ssrc = self.fresh_ssrc(0);
        let rtx_ssrc = self.fresh_ssrc(ssrc);
        let entry = Down {
            request,
            ssrc,
            rtx_ssrc,
        };
        self.downs.insert(down, entry);
        self.waiting.push(down);
        Ok(())
    }

    /// Ends a copy. One that was never sent is gone at once. For any other the command that ends it
    /// is returned, and descriptions go on to show it until [`Transport::free_section`]: a client shows
    /// nothing more of a section that was negotiated away, so the last frames have to come first.
    #[must_use]
    pub fn unsubscribe(&mut self, down: DownKey) -> Option<Command> {
        let carries = |slot: &&mut Slot| slot.down == Some(down) && slot.sent.is_some();
        let Some(slot) = self.slots.iter_mut().find(carries) else {
            self.free_section(down);
            return None;
        };
        let ended = std::mem::replace(&mut slot.leaving, true);
        (!ended).then_some(Command::Unsubscribe { down })
    }

    /// Forgets a copy that has ended; its section is freed for reuse.
    pub fn free_section(&mut self, down: DownKey) {
        self.downs.remove(&down);
        self.waiting.retain(|waiting| *waiting != down);
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.down == Some(down)) {
            slot.free();
            self.subscriber.changed = true;
        }
    }

    /// Whether a waiting copy has to go on waiting because descriptions still show the copy of the same
    /// track that it follows: one track stands in one section at a time (RFC 8830 §2), and some clients
    /// take a description that names it twice for a fatal error.
    pub(super) fn is_shown_elsewhere(&self, request: &DownRequest) -> bool {
        let leaving = self.slots.iter().filter(|slot| slot.leaving);
        let mut shown = leaving.filter_map(|slot| self.downs.get(&slot.down?));
        shown.any(|down| down.request.track_sid == request.track_sid)
    }

    /// Another order of preference among a down track's codecs: it may be made of another track now.
    pub fn rebind(&mut self, down: DownKey, codecs: &[Codec], wish: LayerWish) -> Vec<Command> {
        let Some(known) = self.downs.get_mut(&down) else {
            return Vec::new();
        };
        codecs.clone_into(&mut known.request.codecs);
        known.request.wish = wish;
        let mut commands = Vec::new();
        let carries = |slot: &Slot| slot.down == Some(down) && slot.sent.is_some() && !slot.leaving;
        if let Some(index) = self.slots.iter().position(carries) {
            self.send_down(index, &mut commands);
        }
        commands
    }

    /// The track of which a down track is made, once it is negotiated.
    #[must_use]
    pub fn source_of(&self, down: DownKey) -> Option<TrackKey> {
        let slot = self.slots.iter().find(|slot| slot.down == Some(down))?;
        slot.sent.as_ref().map(|(source, ..)| *source)
    }

    /// Restarts ICE with new credentials: the next offer or answer carries them.
    pub fn restart_ice(&mut self, ice: IceCredentials) -> Vec<Command> {
        self.config.ice = ice.clone();
        self.ice_restarted = true;
        self.subscriber.changed = true;
        vec![Command::RestartIce {
            peer: self.config.peer,
            ice,
        }]
    }

    /// Whether the client may support one of the codecs, as far as is known.
    pub(super) fn may_speak(&self, kind: Kind, wanted: &[Codec]) -> bool {
        let enabled = self.enabled.iter().any(|row| wanted.contains(&row.codec));
        let of = |formats: &[Format]| formats.iter().any(|format| wanted.contains(&format.codec));
        let known = match (self.config.role, kind) {
            (Role::Subscriber, Kind::Audio) => self.subscriber.audio.as_deref().map(of),
            (Role::Subscriber, Kind::Video) => self.subscriber.video.as_deref().map(of),
            (Role::Single | Role::Publisher, _) => {
                let same_kind = |slot: &&Slot| {
                    super::sections::kind_of(&slot.kind) == Some(kind)
                        && (slot.receives || slot.down.is_some())
                };
                let mut answers = self
                    .slots
                    .iter()
                    .filter(same_kind)
                    .map(|slot| slot.speaks(wanted));
                let first = answers.next();
                first.map(|first| first || answers.any(|speaks| speaks))
            }
        };
        enabled && known.unwrap_or(true)
    }

    fn fresh_ssrc(&mut self, other: u32) -> u32 {
        loop {
            let ssrc = self.random.id() as u32;
            let taken = self
                .downs
                .values()
                .any(|down| down.ssrc == ssrc || down.rtx_ssrc == ssrc);
            if ssrc != 0 && ssrc != other && !taken {
                return ssrc;
            }
        }
    }

    /// RED is sent to clients that decode it (Firefox and Safari do not).
    pub(super) const fn takes_red(&self) -> bool {
        !self.config.client.firefox && !self.config.client.safari
    }

    /// Tells the media plane about the down track of a slot, unless it knows. Returns whether the
    /// track has become bound now; `None` when none of its codecs is left.
    pub(super) fn send_down(&mut self, index: usize, commands: &mut Vec<Command>) -> Option<bool> {
        let red = self.takes_red();
        let slot = self.slots.get_mut(index)?;
        let key = slot.down?;
        if slot.leaving {
            return Some(false);
        }
        let down = self.downs.get(&key)?;
        let (source, codecs) = down
            .request
            .choose(|codec| slot.speaks(&[codec]) && (red || codec != Codec::Red));
        let payloads = codecs::to_send(&slot.formats, &codecs, red);
        if payloads.is_empty() {
            return None;
        }
        let mut extensions = extension_ids(&slot.extensions);
        // Transport-wide feedback is not negotiated for what we send.
        extensions.transport_cc = 0;
        let rtx = payloads.iter().any(|payload| payload.rtx_pt.is_some());
        let known = slot.sent.replace((source, payloads.clone(), extensions));
        if known != slot.sent {
            commands.push(Command::Subscribe {
                peer: self.config.peer,
                down: key,
                track: source,
                spec: SendSpec {
                    tag: key.0,
                    mid: slot.mid.clone(),
                    kind: down.request.kind,
                    ssrc: down.ssrc,
                    rtx_ssrc: rtx.then_some(down.rtx_ssrc),
                    payloads,
                    extensions,
                    cname: token(&down.request.stream_id),
                    playout_delay: self.config.playout_delay,
                },
                wish: down.request.wish,
            });
        }
        Some(known.is_none())
    }

    /// Writes the stream of a slot's down track into its section.
    pub(super) fn put_down(&self, media: &mut Media, slot: &Slot) {
        let Some(down) = slot.down.and_then(|key| self.downs.get(&key)) else {
            return;
        };
        let rtx = slot.formats.iter().any(|format| format.rtx_pt.is_some());
        put_stream(media, &down.request, down.ssrc, rtx.then_some(down.rtx_ssrc));
    }

    /// mid → track SID of the sections that send.
    pub(super) fn mid_to_track_id(&self) -> HashMap<String, String> {
        let pair = |slot: &Slot| {
            let down = self.downs.get(&slot.down?)?;
            Some((slot.mid.clone(), down.request.track_sid.clone()))
        };
        self.slots.iter().filter_map(pair).collect()
    }

    /// A section for data channels.
    pub(super) fn data_section(&self, mid: &str, protocol: &str, setup: Setup) -> Media {
        let mut media = self.section(MediaKind::Application, mid, protocol, setup);
        media.formats.push("webrtc-datachannel".to_owned());
        media.sctp_port = Some(5000);
        media.max_message_size = Some(65_535);
        media
    }

    /// A section with our credentials.
    pub(super) fn section(&self, kind: MediaKind, mid: &str, protocol: &str, setup: Setup) -> Media {
        let mut media = Media::new(kind, protocol.to_owned());
        media.mid = Some(mid.to_owned());
        media.transport.setup = Some(setup);
        media.transport.ufrag = Some(self.config.ice.ufrag.clone());
        media.transport.pwd = Some(self.config.ice.pwd.clone());
        media
    }

    /// The whole description of some sections; our candidates stand in the first live one. Mixed
    /// forms of header extensions are offered, and answered to those who offer them (RFC 8285 §6).
    pub(super) fn describe(
        &mut self,
        mut media: Vec<Media>,
        kind: &str,
        id: u32,
        extmap_allow_mixed: bool,
    ) -> proto::SessionDescription {
        self.session_version += 1;
        self.ice_restarted = false;
        let mids = media.iter().filter(|media| live(media));
        let bundle = mids.filter_map(|media| media.mid.clone()).collect();
        if let Some(first) = media.iter_mut().find(|media| live(media)) {
            first.transport.candidates =
                candidates::in_description(&self.config.addresses, &self.config.ice.ufrag);
            first.transport.end_of_candidates = true;
        }
        let mut session = Session {
            id: self.session_id,
            version: self.session_version,
            msid_semantic: Some("WMS *".to_owned()),
            bundle,
            extmap_allow_mixed,
            ice_lite: self.config.ice_lite,
            ..Session::default()
        };
        session.transport.fingerprint = Some(Fingerprint::Sha256(self.config.fingerprint));
        proto::SessionDescription {
            r#type: kind.to_owned(),
            sdp: Description { session, media }.to_string(),
            id,
            mid_to_track_id: self.mid_to_track_id(),
        }
    }

    /// Reads what a client's description says of its side of the transport.
    pub(super) fn read_remote(&self, description: &Description) -> Result<Remote, NegotiationError> {
        let unusable = |what: &str| NegotiationError::Unusable(what.to_owned());
        if description.media.is_empty() {
            return Err(unusable("no media section"));
        }
        let of_sections = || {
            let (used, rest): (Vec<_>, Vec<_>) = description.media.iter().partition(|media| live(media));
            let ordered = used.into_iter().chain(rest);
            ordered.map(|media| description.transport_of(media))
        };
        let ice = of_sections().find_map(|transport| {
            Some(IceCredentials {
                ufrag: transport.ufrag.filter(|ufrag| !ufrag.is_empty())?,
                pwd: transport.pwd.filter(|pwd| !pwd.is_empty())?,
            })
        });
        let ice = ice.ok_or_else(|| unusable("no ICE credentials"))?;
        check_credentials(&ice).map_err(unusable)?;
        let fingerprint = of_sections().find_map(|transport| transport.fingerprint);
        let fingerprint = fingerprint.ok_or_else(|| unusable("no fingerprint"))?;
        let setup = of_sections().find_map(|transport| transport.setup);
        let data = description
            .media
            .iter()
            .find(|media| live(media) && media.kind == MediaKind::Application);
        // RFC 8841 §6.1: without the attribute 64 KiB are meant.
        let sctp = |media: &Media| {
            let message_len_max = media.max_message_size.unwrap_or(65_536);
            SctpRemote {
                port: media
                    .sctp_port
                    .and_then(NonZeroU16::new)
                    .unwrap_or(SctpRemote::PORT),
                message_len_max: u32::try_from(message_len_max).unwrap_or(u32::MAX),
            }
        };
        Ok(Remote {
            ice,
            fingerprint,
            dtls_role: self.dtls_role(setup),
            ice_lite: description.session.ice_lite,
            sctp: data.map(sctp),
        })
    }

    /// Our role as the complement of an answer, or as our answer to an offer (RFC 8842 §5.2).
    fn dtls_role(&self, setup: Option<Setup>) -> DtlsRole {
        match (setup, self.config.role) {
            (Some(Setup::Active), _) => DtlsRole::Server,
            (Some(Setup::Passive), _) => DtlsRole::Client,
            (_, Role::Subscriber) => DtlsRole::Server,
            (_, Role::Single | Role::Publisher) if self.config.ice_lite => DtlsRole::Server,
            (_, Role::Single | Role::Publisher) => DtlsRole::Client,
        }
    }

    /// Takes over the client's side of the transport.
    pub(super) fn apply_remote(
        &mut self,
        remote: Remote,
        description: &Description,
        commands: &mut Vec<Command>,
    ) {
        let same_ice = self.remote.as_ref().is_some_and(|old| old.ice == remote.ice);
        if !same_ice {
            self.remote_addresses.clear();
        }
        if !self.remote.as_ref().is_some_and(|old| same_remote(old, &remote)) {
            commands.push(Command::SetRemote {
                peer: self.config.peer,
                remote: remote.clone(),
            });
        }
        self.remote = Some(remote);
        let sections = description.media.iter().filter(|media| live(media));
        let listed = description.session.transport.candidates.iter();
        let listed = listed.chain(sections.flat_map(|media| &media.transport.candidates));
        for candidate in listed.filter_map(candidates::usable) {
            commands.extend(self.take_candidate(candidate));
        }
        self.take_early_candidates(commands);
    }

    /// New credentials of our own, for an ICE restart that the client began (RFC 8445 §9).
    pub(super) fn restart_with_client(&mut self, remote: &Remote, commands: &mut Vec<Command>) {
        let restarts = self.remote.as_ref().is_some_and(|old| old.ice != remote.ice);
        if restarts && !self.ice_restarted {
            let ice = self.random.ice_credentials(self.config.peer.thread());
            commands.extend(self.restart_ice(ice));
        }
    }
}

/// RFC 8839 §5.4 allows fragments of 4 to 256 characters and passwords of up to 256; what is longer fits
/// in no check. More characters are taken than the RFC names, as LiveKit's server takes them: a check
/// can carry all but spaces and those that cannot be printed. Passwords below the RFC's 22 characters
/// connect, too: only their own safety is at stake.
fn check_credentials(ice: &IceCredentials) -> Result<(), &'static str> {
    let printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !(4..=256).contains(&ice.ufrag.len()) {
        return Err("ice-ufrag has not 4 to 256 characters");
    }
    if !(1..=256).contains(&ice.pwd.len()) {
        return Err("ice-pwd has more than 256 characters");
    }
    if !printable(&ice.ufrag) || !printable(&ice.pwd) {
        return Err("ice-ufrag or ice-pwd has characters that are none of ICE's");
    }
    Ok(())
}

/// [`Remote`] is compared here because only negotiation asks.
fn same_remote(a: &Remote, b: &Remote) -> bool {
    a.ice == b.ice
        && a.fingerprint == b.fingerprint
        && a.dtls_role == b.dtls_role
        && a.ice_lite == b.ice_lite
        && a.sctp == b.sctp
}

/// Data channels that the server opens: in band on the subscriber's connection,
/// pre-negotiated on a single one from protocol 18 on.
fn channels(config: &TransportConfig) -> Vec<ChannelSpec> {
    let negotiated = match config.role {
        Role::Subscriber => false,
        Role::Single if config.client.protocol >= 18 => true,
        Role::Single | Role::Publisher => return Vec::new(),
    };
    let labels = [("_reliable", true), ("_lossy", false), ("_data_track", false)];
    let count = if config.data_tracks { 3 } else { 2 };
    let spec = |(id, (label, reliable)): (u16, (&str, bool))| ChannelSpec {
        label: label.to_owned(),
        ordered: reliable,
        max_retransmits: (!reliable).then_some(0),
        negotiated: negotiated.then_some(id),
    };
    (100..).zip(labels).take(count).map(spec).collect()
}
