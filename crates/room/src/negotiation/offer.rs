//! Offers of the client and our answers (roles Single and Publisher).

use super::codecs::{self, Format};
use super::publish::{self, Use, answered_formats};
use super::sections::{RtxOrder, Slot, common_extensions, direction, kind_of, live, put_formats};
use super::transport::Transport;
use super::{AnnouncedTrack, DownRequest, NegotiationError, OfferOutcome, Role};
use media::api::{Codec, Command, DtlsRole, Kind, TrackKey};
use protocol::proto;
use wire::sdp::{Description, Direction, Media, MediaKind, Rid, Setup, Simulcast};

/// A client's offer that is applied and waits for its answer.
#[derive(Debug)]
#[must_use]
pub struct AcceptedOffer {
    /// Tracks whose section is gone, inactive, no longer sends, or sends something else.
    pub ended: Vec<TrackKey>,
    /// To the media plane, in order, before those of the answer.
    pub commands: Vec<Command>,
    description: Description,
    id: u32,
    setup: Setup,
}

impl Transport {
    /// Applies a client's offer (roles Single and Publisher). `announced` are all tracks of this
    /// participant that are pending or published. It must be answered: by
    /// [`Transport::answer_offer`], when what took the place of the tracks that ended is announced.
    ///
    /// # Errors
    /// When the SDP cannot be used; nothing was changed then.
    pub fn accept_offer(
        &mut self,
        offer: &proto::SessionDescription,
        announced: &[AnnouncedTrack],
    ) -> Result<AcceptedOffer, NegotiationError> {
        if self.config.role == Role::Subscriber {
            return Err(NegotiationError::WrongState);
        }
        let parsed = read(&offer.sdp)?;
        let remote = self.read_remote(&parsed)?;
        let mut commands = Vec::new();
        self.restart_with_client(&remote, &mut commands);
        let setup = match remote.dtls_role {
            DtlsRole::Client => Setup::Active,
            DtlsRole::Server => Setup::Passive,
        };
        self.apply_remote(remote, &parsed, &mut commands);
        let mut ended: Vec<TrackKey> = self.published().collect();
        self.update_slots(&parsed, announced, &mut commands);
        let kept: Vec<TrackKey> = self.published().collect();
        ended.retain(|track| !kept.contains(track));
        commands.extend(ended.iter().map(|track| Command::Unpublish { track: *track }));
        Ok(AcceptedOffer {
            ended,
            commands,
            description: parsed,
            id: offer.id,
            setup,
        })
    }

    /// Answers an offer. `announced` are the tracks of this participant without those that ended by
    /// it, and with those that it announced at once because of that.
    pub fn answer_offer(&mut self, offer: AcceptedOffer, announced: &[AnnouncedTrack]) -> OfferOutcome {
        let AcceptedOffer {
            description: parsed,
            id,
            setup,
            ..
        } = offer;
        let mut outcome = OfferOutcome {
            answer: proto::SessionDescription::default(),
            published: Vec::new(),
            bound: Vec::new(),
            refused: Vec::new(),
            commands: Vec::new(),
        };
        let uses = publish::assign(&self.slots, announced, &self.released);
        let answered = self.publish(announced, &uses, &mut outcome);
        self.place_downs(&mut outcome);
        let sections = parsed
            .media
            .iter()
            .zip(&self.slots)
            .zip(uses.iter().zip(&answered));
        let sections = sections
            .map(|((media, slot), (used, formats))| self.answer_section(media, slot, *used, formats, setup))
            .collect();
        outcome.answer = self.describe(sections, "answer", id, parsed.session.extmap_allow_mixed);
        for slot in &mut self.slots {
            slot.draining = false;
        }
        outcome
    }

    /// Role Single: how many (audio, video) recvonly sections the client lacks for what is
    /// subscribed. `Some((0, 0))` asks for a mere re-offer (sections suffice but tracks wait to be
    /// bound or freed); `None`: nothing to do.
    #[must_use]
    pub fn requirement(&self) -> Option<(u32, u32)> {
        // Before the first offer there is nothing to compare with; it is on its way.
        if self.config.role != Role::Single || self.slots.is_empty() {
            return None;
        }
        let mut used = vec![false; self.slots.len()];
        let mut missing = (0, 0);
        let waiting = self.waiting.iter().filter_map(|key| self.downs.get(key));
        let waiting = waiting.filter(|down| !self.is_shown_elsewhere(&down.request));
        let mut waits = false;
        for down in waiting {
            waits = true;
            let room = |(slot, used): (&Slot, &bool)| {
                !used && self.can_carry(slot) && slot.has_room(&down.request, true)
            };
            match self.slots.iter().zip(&used).position(room) {
                Some(index) => used[index] = true,
                None if down.request.kind == Kind::Audio => missing.0 += 1,
                None => missing.1 += 1,
            }
        }
        let draining = self.slots.iter().any(|slot| slot.draining);
        (draining || waits).then_some(missing)
    }

    fn published(&self) -> impl Iterator<Item = TrackKey> + '_ {
        self.slots
            .iter()
            .filter_map(|slot| Some(slot.publication.as_ref()?.track))
    }

    /// Makes the slots follow the sections of an offer. A section that changed its mid or kind is
    /// another one; what stood there has ended.
    fn update_slots(
        &mut self,
        offer: &Description,
        announced: &[AnnouncedTrack],
        commands: &mut Vec<Command>,
    ) {
        let gone = self.slots.len().min(offer.media.len());
        for slot in self.slots.drain(gone..) {
            lose_down(&slot, &mut self.waiting, commands);
        }
        for (index, media) in offer.media.iter().enumerate() {
            let mid = media.mid.as_deref().unwrap_or_default();
            let fresh = || Slot::new(mid.to_owned(), media.kind.clone());
            match self.slots.get_mut(index) {
                None => self.slots.push(fresh()),
                Some(slot) if slot.mid != mid || slot.kind != media.kind => {
                    lose_down(slot, &mut self.waiting, commands);
                    *slot = fresh();
                }
                Some(_) => {}
            }
        }
        let role = self.config.role;
        for (slot, media) in self.slots.iter_mut().zip(&offer.media) {
            let Some(kind) = kind_of(&slot.kind) else {
                continue;
            };
            let feedback = feedback(role, kind, media.direction.sends());
            slot.formats = match live(media) {
                true => codecs::common(media, &self.enabled, feedback),
                false => Vec::new(),
            };
            slot.extensions = common_extensions(role, kind, media, self.config.playout_delay.is_some());
            slot.receives = role == Role::Single && media.direction.receives() && !slot.formats.is_empty();
            slot.read_sender(media);
            slot.keep_publication(announced, &self.released);
        }
    }

    /// Puts tracks on their sections; returns the codecs that each section is answered with.
    fn publish(
        &mut self,
        announced: &[AnnouncedTrack],
        uses: &[Use],
        outcome: &mut OfferOutcome,
    ) -> Vec<Vec<Format>> {
        let only_preferred = self.config.client.ignores_answer_order;
        let mut all = Vec::with_capacity(self.slots.len());
        for (slot, used) in self.slots.iter_mut().zip(uses) {
            let track = match used {
                Use::Track(index) => announced.get(*index),
                Use::None | Use::Spare => None,
            };
            let Some(track) = track else {
                slot.publication = None;
                slot.wait(*used == Use::None);
                all.push(slot.formats.clone());
                continue;
            };
            let answered = answered_formats(&slot.formats, track, only_preferred);
            if let Some((section, command)) = slot.publish(self.config.peer, track, &answered) {
                outcome.published.push(section);
                outcome.commands.push(command);
            }
            all.push(answered);
        }
        all
    }

    /// Whether a free section may carry a down track. Safari does not get one a second time.
    fn can_carry(&self, slot: &Slot) -> bool {
        slot.receives && (self.reuses() || !slot.used)
    }

    /// Sections are used again (RFC 8829 §5.2.2).
    pub(super) const fn reuses(&self) -> bool {
        self.config.client.protocol >= 4 && !self.config.client.safari
    }

    /// Gives waiting down tracks a section, and takes those back that have lost theirs.
    fn place_downs(&mut self, outcome: &mut OfferOutcome) {
        for slot in &mut self.slots {
            let request = slot
                .down
                .and_then(|key| self.downs.get(&key))
                .map(|down| &down.request);
            if request.is_some_and(|request| !slot.receives || !slot.speaks(&request.codecs)) {
                lose_down(slot, &mut self.waiting, &mut outcome.commands);
                slot.free();
            }
        }
        for key in std::mem::take(&mut self.waiting) {
            let Some(down) = self.downs.get(&key) else {
                continue;
            };
            if self.is_shown_elsewhere(&down.request) {
                self.waiting.push(key);
                continue;
            }
            let room = |slot: &Slot| self.can_carry(slot) && slot.has_room(&down.request, false);
            match self.slots.iter().position(room) {
                Some(index) => self.slots[index].down = Some(key),
                None if self.may_speak(down.request.kind, &down.request.codecs) => self.waiting.push(key),
                None => outcome.refused.push(key),
            }
        }
        for index in 0..self.slots.len() {
            let bound = self.send_down(index, &mut outcome.commands);
            match (bound, self.slots[index].down) {
                (Some(true), Some(key)) => outcome.bound.push(key),
                // RED alone, for a client that does not take it.
                (None, Some(key)) => {
                    self.slots[index].free();
                    outcome.refused.push(key);
                }
                _ => {}
            }
        }
        for key in &outcome.refused {
            self.downs.remove(key);
        }
    }

    fn answer_section(
        &self,
        media: &Media,
        slot: &Slot,
        used: Use,
        formats: &[Format],
        setup: Setup,
    ) -> Media {
        if !live(media) {
            return rejected(media);
        }
        if media.kind == MediaKind::Application && media.protocol.ends_with("DTLS/SCTP") {
            return self.data_section(&slot.mid, &media.protocol, setup);
        }
        if formats.is_empty() {
            return self.unserved(media, &slot.mid, setup);
        }
        let mut answer = self.section(media.kind.clone(), &slot.mid, &media.protocol, setup);
        answer.rtcp_mux = true;
        answer.rtcp_rsize = true;
        let mut formats = formats.to_vec();
        let down = slot.down.and_then(|key| self.downs.get(&key));
        if !media.direction.sends() {
            let used = slot.used || down.is_some();
            sending_formats(
                &mut formats,
                down.map(|down| &down.request),
                used,
                self.takes_red(),
            );
        }
        let order = if down.is_some() {
            RtxOrder::Beside
        } else {
            RtxOrder::Last
        };
        put_formats(&mut answer, &formats, order);
        answer.extmaps.clone_from(&slot.extensions);
        let rids = publish::sent_rids(media);
        if media.simulcast.is_some() && !rids.is_empty() {
            let receive = |rid: &String| Rid {
                id: rid.clone(),
                send: false,
                restrictions: String::new(),
            };
            answer.rids = rids.iter().map(receive).collect();
            answer.simulcast = Some(Simulcast {
                send: Vec::new(),
                recv: rids,
            });
        }
        // A fresh section of a client that only receives is shown as ready before it is used.
        let ready = self.config.role == Role::Single && media.direction == Direction::RecvOnly && !slot.used;
        let sends = down.is_some() || ready;
        let receives = media.direction.sends() && used != Use::Spare;
        answer.direction = direction(sends, receives);
        self.put_down(&mut answer, slot);
        answer
    }

    /// The answer to a section none of whose codecs we have: one of them, with nothing flowing. Browsers would
    /// take port 0, but it ends their transceiver, and aiortc takes no section without transport and codec.
    fn unserved(&self, media: &Media, mid: &str, setup: Setup) -> Media {
        let named = |pt: &u8| media.rtpmap(*pt).filter(|map| !codecs::repairs(&map.encoding));
        let Some(map) = media.payload_types().find_map(|pt| named(&pt)) else {
            return rejected(media);
        };
        if kind_of(&media.kind).is_none() {
            return rejected(media);
        }
        let mut answer = self.section(media.kind.clone(), mid, &media.protocol, setup);
        answer.rtcp_mux = true;
        answer.rtcp_rsize = true;
        answer.formats = vec![map.pt.to_string()];
        answer.rtpmaps = vec![map.clone()];
        answer.fmtps = media
            .fmtps
            .iter()
            .find(|(pt, _)| *pt == map.pt)
            .cloned()
            .into_iter()
            .collect();
        answer.direction = Direction::Inactive;
        answer
    }
}

/// Reads an offer or answer and checks what all sections must have.
pub(super) fn read(sdp: &str) -> Result<Description, NegotiationError> {
    let parsed = Description::parse(sdp).map_err(|error| NegotiationError::Unusable(error.to_string()))?;
    let mut mids: Vec<&str> = Vec::with_capacity(parsed.media.len());
    for media in &parsed.media {
        match media.mid.as_deref() {
            Some(mid) if !mid.is_empty() => mids.push(mid),
            // A rejected section needs no mid (RFC 8829 §5.3.1).
            _ if media.port == 0 => {}
            _ => return Err(NegotiationError::Unusable("media section without mid".to_owned())),
        }
    }
    mids.sort_unstable();
    match mids.windows(2).any(|pair| pair[0] == pair[1]) {
        true => Err(NegotiationError::Unusable("mid used twice".to_owned())),
        false => Ok(parsed),
    }
}

/// Feedback messages for a section of a client's offer (RFC 4585 §4.2).
const fn feedback(role: Role, kind: Kind, client_sends: bool) -> &'static [&'static str] {
    match (kind, role, client_sends) {
        (Kind::Audio, ..) => &["nack"],
        (Kind::Video, Role::Single, false) => &["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"],
        (Kind::Video, Role::Single, true) => &["transport-cc", "goog-remb", "ccm fir", "nack", "nack pli"],
        (Kind::Video, Role::Publisher | Role::Subscriber, _) => {
            &["transport-cc", "ccm fir", "nack", "nack pli"]
        }
    }
}

/// What changes in the codecs of a section on which we send: our parameters for Opus, and when it
/// carries (`request`) or has carried (`used`) a down track, feedback for sending, no
/// retransmission of what RED repairs, stereo announced.
pub(super) fn sending_formats(
    formats: &mut [Format],
    request: Option<&DownRequest>,
    used: bool,
    takes_red: bool,
) {
    let wants_red = request.is_some_and(|request| request.codecs.contains(&Codec::Red));
    let red = takes_red && wants_red && formats.iter().any(|format| format.codec == Codec::Red);
    for format in formats {
        format.feedback.retain(|what| !used || *what != "transport-cc");
        if red && matches!(format.codec, Codec::Opus | Codec::Red) {
            format.feedback.retain(|what| *what != "nack");
        }
        if format.codec == Codec::Opus {
            codecs::OPUS_FMTP.clone_into(&mut format.fmtp);
            if request.is_some_and(|request| request.stereo) {
                format.fmtp.push_str(";sprop-stereo=1");
            }
        }
    }
}

/// The answer to a section that the client has rejected itself, or that is of no kind that we know (RFC 3264 §6).
fn rejected(media: &Media) -> Media {
    let mut answer = Media::new(media.kind.clone(), media.protocol.clone());
    answer.port = 0;
    answer.mid.clone_from(&media.mid);
    answer.formats = media.formats.iter().take(1).cloned().collect();
    answer.direction = Direction::Inactive;
    answer
}

/// A down track whose section is gone waits again, unless it has ended.
fn lose_down(slot: &Slot, waiting: &mut Vec<media::api::DownKey>, commands: &mut Vec<Command>) {
    let Some(down) = slot.down.filter(|_| !slot.leaving) else {
        return;
    };
    if slot.sent.is_some() {
        commands.push(Command::Unsubscribe { down });
    }
    waiting.push(down);
}
