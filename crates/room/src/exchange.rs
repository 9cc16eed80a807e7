//! When to negotiate: offers, answers and candidates between a client and its transports
//! (RFC 3264). What the descriptions say is the negotiation's business.

use crate::client;
use crate::negotiation::{INIT_BYTES_MAX, OfferOutcome};
use crate::participant::{Link, Participant, ParticipantId};
use crate::room::Room;
use crate::timers::Timer;
use media::api::{BLANK_END, DownKey};
use proto::request_response::{Reason, Request};
use protocol::proto;
use protocol::proto::signal_response::Message as Response;
use std::time::Duration;

/// Changes are gathered this long before an offer: briefly after a pause, longer in a burst.
const DEBOUNCE_FIRST: Duration = Duration::from_millis(10);
const DEBOUNCE_BURST: Duration = Duration::from_millis(150);

/// A client that may not be able to renegotiate while it connects gets its second offer this long
/// behind the first, as from the reference, or once it is seen to be connected. Less, and a slow one is
/// still in its handshake and never starts the new sections (aiortc); more, and its first picture is late.
const SECOND_OFFER_AFTER: Duration = Duration::from_millis(150);

/// How long a section goes on to be shown behind the end of its copy: until the last blank frame has
/// been sent, and half as long again for its way. Less, and a late frame finds its section gone: the
/// picture freezes; more, and the next copy cannot use the section as soon.
const RELEASE_AFTER: Duration = Duration::from_millis(300);
const _: () = assert!(RELEASE_AFTER.as_millis() * 2 >= BLANK_END.as_millis() * 3);

/// A client that has not answered by then is out of step.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

impl Room {
    /// A client's offer, for its publisher or only peer connection.
    pub(crate) fn handle_offer(&mut self, id: ParticipantId, offer: &proto::SessionDescription) {
        let announced = self.announced(id);
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let Ok(mut offer) = participant.publisher.transport.accept_offer(offer, &announced) else {
            self.full_reconnect(id);
            return;
        };
        self.commands(id, std::mem::take(&mut offer.commands));
        // What waited for these tracks to end may stand on another section of this very offer.
        let mut told = false;
        for track in std::mem::take(&mut offer.ended) {
            told |= self.unpublish(id, track);
        }
        let announced = self.announced(id);
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let outcome = participant.publisher.transport.answer_offer(offer, &announced);
        let OfferOutcome {
            answer,
            published,
            bound,
            refused,
            commands,
        } = outcome;
        self.commands(id, commands);
        self.sections_published(id, &published);
        self.send(id, Response::Answer(answer));
        self.trickle(id, proto::SignalTarget::Publisher);
        self.copies_bound(&bound);
        self.copies_refused(&refused);
        if told {
            self.tell_unpublished(id);
        }
        self.plan_demand_repeat(id);
        self.ask_for_sections(id);
    }

    /// A track was announced or has got another client id: its section may have been offered already.
    pub(crate) fn publish_waiting(&mut self, id: ParticipantId) {
        let announced = self.announced(id);
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let (published, commands) = participant.publisher.transport.publish_waiting(&announced);
        self.commands(id, commands);
        self.sections_published(id, &published);
    }

    /// A client's answer to the server's offer. With a single peer connection there is none.
    pub(crate) fn handle_answer(&mut self, id: ParticipantId, answer: &proto::SessionDescription) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        if participant.single {
            return;
        }
        let Some(link) = &mut participant.subscriber else {
            return;
        };
        let Ok(outcome) = link.transport.handle_answer(answer) else {
            self.full_reconnect(id);
            return;
        };
        if outcome.stale {
            return;
        }
        // Tracks wait for the answer to the first offer, and refused sections must be shown as free.
        let retry = std::mem::replace(&mut link.retry, false) || link.transport.needs_offer();
        self.timers.cancel(Timer::Answer(id));
        self.commands(id, outcome.commands);
        self.copies_bound(&outcome.bound);
        self.copies_refused(&outcome.refused);
        if retry {
            self.negotiate(id);
        }
    }

    /// A client's candidate.
    pub(crate) fn handle_trickle(&mut self, id: ParticipantId, trickle: proto::TrickleRequest) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let link = if trickle.target() == proto::SignalTarget::Subscriber && !participant.single {
            participant.subscriber.as_mut()
        } else {
            Some(&mut participant.publisher)
        };
        let Some(link) = link else {
            return;
        };
        match link.transport.handle_trickle(&trickle.candidate_init) {
            Ok(command) => self.commands(id, command.into_iter().collect()),
            Err(text) => {
                let mut trickle = trickle;
                // What was too long is not sent back.
                if trickle.candidate_init.len() > INIT_BYTES_MAX {
                    trickle.candidate_init = String::new();
                }
                self.request_failed(id, Reason::UnclassifiedError, &text, Request::Trickle(trickle));
            }
        }
    }

    /// Our candidates, once per transport, the last one marked.
    fn trickle(&mut self, id: ParticipantId, target: proto::SignalTarget) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let link = match target {
            proto::SignalTarget::Publisher => Some(&mut participant.publisher),
            proto::SignalTarget::Subscriber => participant.subscriber.as_mut(),
        };
        let Some(link) = link.filter(|link| !link.trickled) else {
            return;
        };
        link.trickled = true;
        let candidates = link.transport.trickle_candidates();
        let last = candidates.len();
        for (position, candidate_init) in candidates.into_iter().enumerate() {
            self.send(
                id,
                Response::Trickle(proto::TrickleRequest {
                    candidate_init,
                    target: target.into(),
                    r#final: position + 1 == last,
                }),
            );
        }
    }

    /// Something changed that the client's receiving peer connection must learn.
    pub(crate) fn request_negotiation(&mut self, id: ParticipantId) {
        let now = self.now.monotonic;
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let Some(link) = participant.receiving() else {
            return;
        };
        let burst = link
            .last_negotiation
            .is_some_and(|last| now.saturating_duration_since(last) <= DEBOUNCE_BURST);
        let delay = if burst { DEBOUNCE_BURST } else { DEBOUNCE_FIRST };
        self.timers.set_if_none(Timer::Negotiate(id), now + delay);
    }

    /// A copy has ended: its section is negotiated away behind its last frames.
    pub(crate) fn release_later(&mut self, id: ParticipantId, down: DownKey) {
        let at = self.now.monotonic + RELEASE_AFTER;
        let link = self.participants.get_mut(&id).and_then(Participant::receiving);
        if let Some(link) = link {
            link.leaving.push_back((at, down));
            self.timers.set_if_none(Timer::Release(id), at);
        }
    }

    /// The last frames of some copies have left: what they stood on is free.
    pub(crate) fn release_copies(&mut self, id: ParticipantId) {
        let now = self.now.monotonic;
        let link = self.participants.get_mut(&id).and_then(Participant::receiving);
        let Some(link) = link else {
            return;
        };
        while let Some((_, down)) = link.leaving.pop_front_if(|(at, _)| *at <= now) {
            link.transport.free_section(down);
        }
        if let Some((next, _)) = link.leaving.front() {
            self.timers.set(Timer::Release(id), *next);
        }
        self.request_negotiation(id);
    }

    /// Gathered changes are due: an offer in dual mode, a request for one in single mode.
    pub(crate) fn negotiate(&mut self, id: ParticipantId) {
        let now = self.now.monotonic;
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        if participant.single {
            let Some((audios, videos)) = participant.publisher.transport.requirement() else {
                return;
            };
            participant.publisher.last_negotiation = Some(now);
            self.send_requirement(id, audios, videos);
            return;
        }
        let Some(link) = &mut participant.subscriber else {
            return;
        };
        if link.transport.awaits_answer() {
            link.retry = true;
        } else if link.transport.needs_offer() {
            let first = link
                .last_negotiation
                .filter(|_| link.transport.has_offered_once());
            let connecting = !link.reliable_open && !client::renegotiates_at_any_time(&participant.client);
            let held = first.map(|first| first + SECOND_OFFER_AFTER);
            match held.filter(|until| connecting && now < *until) {
                Some(until) => self.timers.set(Timer::Negotiate(id), until),
                None => self.make_offer(id),
            }
        }
    }

    /// A client's data channel is open, so its side of the connection is up: a second offer that was
    /// held back for that can go.
    pub(crate) fn offer_held_back(&mut self, id: ParticipantId) {
        let link = self
            .participants
            .get(&id)
            .and_then(|participant| participant.subscriber.as_ref());
        if link.is_some_and(|link| link.reliable_open && link.transport.has_offered_once()) {
            self.negotiate(id);
        }
    }

    /// Offers what there is to offer.
    pub(crate) fn make_offer(&mut self, id: ParticipantId) {
        let now = self.now.monotonic;
        let Some(link) = self
            .participants
            .get_mut(&id)
            .and_then(|participant| participant.subscriber.as_mut())
        else {
            return;
        };
        link.last_negotiation = Some(now);
        let offer = link.transport.make_offer();
        self.timers.set(Timer::Answer(id), now + ANSWER_TIMEOUT);
        self.send(id, Response::Offer(offer));
        self.trickle(id, proto::SignalTarget::Subscriber);
    }

    /// After an answer sections may still be lacking.
    fn ask_for_sections(&mut self, id: ParticipantId) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        if !participant.single {
            return;
        }
        // A mere re-offer is asked for when a section was freed by this answer for a track that waits.
        if let Some((audios, videos)) = participant.publisher.transport.requirement() {
            self.send_requirement(id, audios, videos);
        }
    }

    fn send_requirement(&mut self, id: ParticipantId, num_audios: u32, num_videos: u32) {
        self.send(
            id,
            Response::MediaSectionsRequirement(proto::MediaSectionsRequirement {
                num_audios,
                num_videos,
            }),
        );
    }

    /// No answer. A client whose signal connection is gone may still resume.
    pub(crate) fn answer_timed_out(&mut self, id: ParticipantId) {
        let connected = self.participants.get(&id).is_some_and(|participant| {
            participant.connection.is_some() && participant.subscriber.as_ref().is_some_and(is_connected)
        });
        if connected {
            self.full_reconnect(id);
        }
    }
}

fn is_connected(link: &Link) -> bool {
    link.connected
}
