//! Recorded calls of a stock browser client replayed: its offers and answers go in, and our
//! answers and offers must state the same facts as the reference's.

use super::facts::facts;
use super::recorded::{Sdp, Step, steps};
use super::{announced, config, down};
use crate::negotiation::*;
use std::collections::BTreeMap;

/// One recorded participant.
struct Replay {
    name: String,
    client_offers: Option<Transport>,
    server_offers: Option<Transport>,
    announced: Vec<AnnouncedTrack>,
    /// `announced` before this position belong to an earlier signal connection.
    fresh: usize,
    serial: u32,
    /// Track SID → down track, of the connection that carries them.
    downs: BTreeMap<String, DownKey>,
    offer: Option<Sdp>,
    compared: usize,
}

impl Replay {
    fn new(name: String) -> Self {
        Self {
            name,
            client_offers: None,
            server_offers: None,
            announced: Vec::new(),
            fresh: 0,
            serial: 0,
            downs: BTreeMap::new(),
            offer: None,
            compared: 0,
        }
    }

    fn single(&self) -> bool {
        self.name.contains("_single ")
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Peer(_) => unreachable!("starts another replay"),
            Step::Session => self.fresh = self.announced.len(),
            Step::Track { video, mime, flags } => {
                self.serial += 1;
                let kind = if video { Kind::Video } else { Kind::Audio };
                self.announced.push(AnnouncedTrack {
                    mime,
                    stereo: flags.contains("stereo"),
                    no_dtx: flags.contains("no_dtx"),
                    disable_red: flags.contains("no_red"),
                    ..announced(self.serial, kind, "not the one in the offer")
                });
            }
            Step::Sdp(sdp) => match (sdp.from_client, sdp.offer) {
                (true, true) => self.offer = Some(sdp),
                (false, false) => self.answer_recorded(&sdp),
                (false, true) => self.offer_recorded(&sdp),
                (true, false) => self.client_answers(&sdp),
            },
        }
    }

    /// The reference's answer to `self.offer`: ours must state the same.
    fn answer_recorded(&mut self, recorded: &Sdp) {
        let offer = self.offer.take().unwrap();
        if offer.id == 1 {
            let role = if self.single() {
                Role::Single
            } else {
                Role::Publisher
            };
            self.client_offers = Some(Transport::new(config(role)).0);
            self.announced.drain(..self.fresh);
            self.fresh = 0;
            if role == Role::Single {
                self.downs.clear();
            }
        }
        let mut transport = self.client_offers.take().unwrap();
        if self.single() {
            self.follow(&mut transport, recorded);
        }
        let outcome = transport
            .handle_offer(&description(&offer), &self.announced)
            .unwrap();
        self.announced
            .retain(|track| !outcome.ended.contains(&track.track));
        assert_eq!(outcome.answer.id, offer.id);
        assert_eq!(outcome.answer.r#type, "answer");
        self.compare(&outcome.answer, recorded, Some(&offer.text));
        assert_eq!(transport.requirement(), None, "{}", self.name);
        self.client_offers = Some(transport);
    }

    /// The reference's own offer: ours must state the same.
    fn offer_recorded(&mut self, recorded: &Sdp) {
        if recorded.text.matches("m=").count() == 1 {
            self.server_offers = Some(Transport::new(config(Role::Subscriber)).0);
            self.downs.clear();
        }
        let mut transport = self.server_offers.take().unwrap();
        self.follow(&mut transport, recorded);
        assert!(
            transport.needs_offer() || self.name.contains("call_dual alice"),
            "{}",
            self.name
        );
        let offer = transport.make_offer();
        self.compare(&offer, recorded, None);
        self.server_offers = Some(transport);
    }

    fn client_answers(&mut self, recorded: &Sdp) {
        let transport = self.server_offers.as_mut().unwrap();
        let outcome = transport.handle_answer(&description(recorded)).unwrap();
        assert_eq!(outcome.refused, []);
        assert!(!transport.awaits_answer() && !transport.needs_offer());
    }

    /// Subscribes and unsubscribes what the recorded description shows as sent or gone.
    fn follow(&mut self, transport: &mut Transport, recorded: &Sdp) {
        let kept = |sid: &String| recorded.mid_to_track.iter().any(|(_, of)| of == sid);
        self.downs.retain(|sid, key| {
            let keep = kept(sid);
            if !keep {
                let _ = transport.unsubscribe(*key);
                transport.free_section(*key);
            }
            keep
        });
        for (mid, sid) in &recorded.mid_to_track {
            if self.downs.contains_key(sid) {
                continue;
            }
            let parsed = wire::sdp::Description::parse(&recorded.text).unwrap();
            let section = parsed
                .media
                .iter()
                .find(|media| media.mid.as_ref() == Some(mid))
                .unwrap();
            let kind = sections::kind_of(&section.kind).unwrap();
            self.serial += 1;
            let mut request = down(self.serial, kind);
            request.stream_id = section.msid().unwrap().stream;
            request.track_sid.clone_from(sid);
            request.stereo = section.fmtp(111).contains("sprop-stereo");
            if request.stereo {
                request.codecs = vec![Codec::Opus];
            }
            self.downs.insert(sid.clone(), request.down);
            transport.subscribe(request).unwrap();
        }
    }

    fn compare(&mut self, ours: &proto::SessionDescription, recorded: &Sdp, offer: Option<&str>) {
        let (ours_facts, recorded_facts) = (facts(&ours.sdp, offer), facts(&recorded.text, offer));
        for (ours, recorded) in ours_facts.lines().zip(recorded_facts.lines()) {
            assert_eq!(ours, recorded, "{} description {}", self.name, recorded);
        }
        assert_eq!(ours_facts.lines().count(), recorded_facts.lines().count());
        let mut mids: Vec<_> = ours.mid_to_track_id.clone().into_iter().collect();
        mids.sort_by_key(|(mid, _)| mid.parse::<u32>().unwrap());
        assert_eq!(mids, recorded.mid_to_track, "{}", self.name);
        self.compared += 1;
    }
}

fn description(sdp: &Sdp) -> proto::SessionDescription {
    proto::SessionDescription {
        r#type: if sdp.offer { "offer" } else { "answer" }.to_owned(),
        sdp: sdp.text.clone(),
        id: sdp.id,
        ..proto::SessionDescription::default()
    }
}

fn replay(only: &str) -> usize {
    let mut compared = 0;
    let mut current: Option<Replay> = None;
    for step in steps() {
        if let Step::Peer(name) = step {
            compared += current.take().map_or(0, |done| done.compared);
            current = name.contains(only).then(|| Replay::new(name));
        } else if let Some(replay) = &mut current {
            replay.step(step);
        }
    }
    compared + current.map_or(0, |done| done.compared)
}

#[test]
fn single_pc_answers_state_what_the_reference_states() {
    assert!(replay("_single ") > 60);
}

#[test]
fn dual_pc_answers_and_offers_state_what_the_reference_states() {
    assert!(replay("_dual ") > 60);
}
