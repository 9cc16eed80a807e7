//! Offers of ours and the client's answers (role Subscriber).

use super::codecs;
use super::offer::{read, sending_formats};
use super::sections::{
    RtxOrder, Slot, common_extensions, kind_of, live, media_kind, offered_extensions, put_formats,
};
use super::transport::{SECTIONS_MAX, Transport};
use super::{AnswerOutcome, NegotiationError, Role};
use media::api::{Command, DownKey, Kind};
use protocol::proto;
use wire::sdp::{Direction, Media, MediaKind, Setup};

const DATA_PROTOCOL: &str = "UDP/DTLS/SCTP";
const RTP_PROTOCOL: &str = "UDP/TLS/RTP/SAVPF";

impl Transport {
    /// Role Subscriber: whether something waits to be offered.
    #[must_use]
    pub fn needs_offer(&self) -> bool {
        let state = &self.subscriber;
        let place = |key: &DownKey| {
            let down = self.downs.get(key);
            if down.is_some_and(|down| self.is_shown_elsewhere(&down.request)) {
                return false;
            }
            let room = self.slots.len() < SECTIONS_MAX || self.slots.iter().any(|slot| slot.dead);
            room || self.free_slot(*key).is_some()
        };
        self.config.role == Role::Subscriber
            && (state.offers == 0 || state.changed || self.waiting.iter().any(place))
    }

    /// Role Subscriber: whether an offer is unanswered.
    #[must_use]
    pub fn awaits_answer(&self) -> bool {
        self.subscriber.unanswered
    }

    /// Role Subscriber: whether the first offer is the only one so far.
    #[must_use]
    pub fn has_offered_once(&self) -> bool {
        self.subscriber.offers == 1
    }

    /// Role Subscriber: whether the client has ever answered.
    #[must_use]
    pub fn was_answered(&self) -> bool {
        self.remote.is_some()
    }

    /// Role Subscriber: the next offer (id incremented), with mid_to_track_id.
    ///
    /// The first one carries the data channels only; tracks follow when it is answered.
    pub fn make_offer(&mut self) -> proto::SessionDescription {
        debug_assert_eq!(
            self.config.role,
            Role::Subscriber,
            "the client offers on this connection"
        );
        if self.subscriber.offers > 0 {
            self.place();
        }
        let sections = self.slots.iter().map(|slot| self.offer_section(slot)).collect();
        for slot in &mut self.slots {
            slot.offered = slot.down;
        }
        let state = &mut self.subscriber;
        state.offers += 1;
        state.offer_id = state.offer_id.wrapping_add(1);
        state.unanswered = true;
        state.changed = false;
        let id = state.offer_id;
        self.describe(sections, "offer", id, true)
    }

    /// Role Subscriber: applies the client's answer.
    ///
    /// # Errors
    /// When the SDP cannot be used.
    pub fn handle_answer(
        &mut self,
        answer: &proto::SessionDescription,
    ) -> Result<AnswerOutcome, NegotiationError> {
        if self.config.role == Role::Subscriber && self.is_replaced(answer.id) {
            return Ok(AnswerOutcome {
                stale: true,
                ..AnswerOutcome::default()
            });
        }
        if self.config.role != Role::Subscriber || !self.subscriber.unanswered {
            return Err(NegotiationError::WrongState);
        }
        let parsed = read(&answer.sdp)?;
        let remote = self.read_remote(&parsed)?;
        let mut outcome = AnswerOutcome::default();
        self.subscriber.unanswered = false;
        self.apply_remote(remote, &parsed, &mut outcome.commands);
        for index in 0..self.slots.len() {
            self.answered(index, parsed.media.get(index), &mut outcome);
        }
        Ok(outcome)
    }

    /// Whether an answer is to an offer that another one has replaced. Clients that name none answer
    /// the last one.
    fn is_replaced(&self, answer: u32) -> bool {
        let state = &self.subscriber;
        let age = state.offer_id.wrapping_sub(answer);
        answer != 0 && age > 0 && u64::from(age) < state.offers
    }

    /// Gives every waiting down track a section.
    fn place(&mut self) {
        for key in std::mem::take(&mut self.waiting) {
            let Some(down) = self.downs.get(&key) else {
                continue;
            };
            if self.is_shown_elsewhere(&down.request) {
                self.waiting.push(key);
                continue;
            }
            let kind = down.request.kind;
            if let Some(index) = self.free_slot(key) {
                self.slots[index].down = Some(key);
                continue;
            }
            // The place of a rejected section is taken by one with another mid (RFC 8829 §5.2.2).
            let place = self.slots.iter().position(|slot| slot.dead);
            if place.is_none() && self.slots.len() >= SECTIONS_MAX {
                self.waiting.push(key);
                continue;
            }
            self.subscriber.last_mid += 1;
            let mut slot = Slot::new(self.subscriber.last_mid.to_string(), media_kind(kind));
            let known = match kind {
                Kind::Audio => self.subscriber.audio.clone(),
                Kind::Video => self.subscriber.video.clone(),
            };
            slot.formats = known.unwrap_or_else(|| codecs::to_offer(&self.enabled, kind));
            slot.down = Some(key);
            match place {
                Some(place) => self.slots[place] = slot,
                None => self.slots.push(slot),
            }
        }
    }

    /// A section that was freed, and that the client knows to be free.
    fn free_slot(&self, key: DownKey) -> Option<usize> {
        let down = self.downs.get(&key).filter(|_| self.reuses())?;
        self.slots
            .iter()
            .position(|slot| slot.has_room(&down.request, false))
    }

    fn offer_section(&self, slot: &Slot) -> Media {
        let Some(kind) = kind_of(&slot.kind) else {
            return self.data_section(&slot.mid, DATA_PROTOCOL, Setup::ActPass);
        };
        let mut media = self.section(slot.kind.clone(), &slot.mid, RTP_PROTOCOL, Setup::ActPass);
        let mut formats = slot.formats.clone();
        let down = slot.down.and_then(|key| self.downs.get(&key));
        sending_formats(
            &mut formats,
            down.map(|down| &down.request),
            true,
            self.takes_red(),
        );
        put_formats(&mut media, &formats, RtxOrder::Beside);
        if slot.dead {
            media.port = 0;
            media.direction = Direction::Inactive;
            return media;
        }
        media.rtcp_mux = true;
        media.rtcp_rsize = true;
        media.extmaps = offered_extensions(kind, self.config.playout_delay.is_some());
        media.direction = if down.is_some() {
            Direction::SendRecv
        } else {
            Direction::RecvOnly
        };
        self.put_down(&mut media, slot);
        media
    }

    /// Applies the answer to one section of our last offer. Sections without an answer, and those
    /// that the client does not receive, lose their track.
    fn answered(&mut self, index: usize, media: Option<&Media>, outcome: &mut AnswerOutcome) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let Some(kind) = kind_of(&slot.kind) else {
            debug_assert_eq!(slot.kind, MediaKind::Application, "we offer nothing else");
            return;
        };
        let media = media.filter(|media| media.kind == slot.kind && live(media));
        if let Some(media) = media {
            let feedback: &[_] = match kind {
                Kind::Audio => &["nack"],
                Kind::Video => &["ccm fir", "nack", "nack pli", "goog-remb"],
            };
            let formats = codecs::common(media, &self.enabled, feedback);
            let known = match kind {
                Kind::Audio => &mut self.subscriber.audio,
                Kind::Video => &mut self.subscriber.video,
            };
            if known.is_none() && !formats.is_empty() {
                *known = Some(formats.clone());
            }
            if !formats.is_empty() {
                slot.formats = formats;
            }
            slot.extensions =
                common_extensions(Role::Subscriber, kind, media, self.config.playout_delay.is_some());
        } else if !slot.dead {
            slot.dead = true;
            self.subscriber.changed |= slot.down.is_some();
        }
        slot.receives = media.is_some_and(|media| media.direction.receives());
        let (shown, down, receives) = (slot.offered, slot.down, slot.receives);
        if shown.is_none() && down.is_none() {
            slot.draining = false;
        }
        // What was unsubscribed after the offer is shown as free by the next one.
        let Some(key) = down.filter(|_| shown == down) else {
            return;
        };
        let bound = match receives {
            true => self.send_down(index, &mut outcome.commands),
            false => None,
        };
        match bound {
            Some(true) => outcome.bound.push(key),
            Some(false) => {}
            None => self.refuse(index, key, outcome),
        }
    }

    fn refuse(&mut self, index: usize, key: DownKey, outcome: &mut AnswerOutcome) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        if slot.sent.is_some() && !slot.leaving {
            outcome.commands.push(Command::Unsubscribe { down: key });
        }
        slot.free();
        self.downs.remove(&key);
        self.subscriber.changed = true;
        outcome.refused.push(key);
    }
}
