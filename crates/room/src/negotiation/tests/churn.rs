//! Any sequence of subscriptions, offers and answers keeps mids where they are, shows every wanted
//! track once, and does not grow the number of sections with time; mutated offers never panic.

use super::client::{self, audio, data, describe, parsed, video};
use super::recorded::{Step, steps};
use super::{announced, config, down};
use crate::negotiation::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug)]
enum Op {
    Subscribe(u32, bool),
    Unsubscribe(u32),
    /// The offer/answer exchange begins.
    Offer,
    /// It ends (role Subscriber).
    Answer,
}

fn kind(video: bool) -> Kind {
    if video { Kind::Video } else { Kind::Audio }
}

fn operations() -> impl Strategy<Value = Vec<Op>> {
    let one = prop_oneof![
        3 => (0_u32..6, any::<bool>()).prop_map(|(serial, video)| Op::Subscribe(serial * 2 + u32::from(video), video)),
        3 => (0_u32..12).prop_map(Op::Unsubscribe),
        2 => Just(Op::Offer),
        2 => Just(Op::Answer),
    ];
    prop::collection::vec(one, 0..120)
}

/// Wanted tracks with the keys of their present copies.
#[derive(Default)]
struct Wanted {
    keys: std::collections::BTreeMap<u32, DownRequest>,
    next: u32,
}

impl Wanted {
    fn apply(&mut self, transport: &mut Transport, step: Op) {
        match step {
            Op::Subscribe(serial, video) if !self.keys.contains_key(&serial) => {
                self.next += 1;
                let mut request = down(self.next, kind(video));
                request.track_sid = format!("TR_{serial}");
                self.keys.insert(serial, request.clone());
                transport.subscribe(request).unwrap();
            }
            Op::Unsubscribe(serial) => {
                if let Some(request) = self.keys.remove(&serial) {
                    let _ = transport.unsubscribe(request.down);
                    transport.free_section(request.down);
                }
            }
            Op::Subscribe(..) | Op::Offer | Op::Answer => {}
        }
    }

    fn sids(&self) -> BTreeSet<String> {
        self.keys
            .values()
            .map(|request| request.track_sid.clone())
            .collect()
    }
}

fn shown(description: &proto::SessionDescription) -> BTreeSet<String> {
    let sids: BTreeSet<_> = description.mid_to_track_id.values().cloned().collect();
    assert_eq!(
        sids.len(),
        description.mid_to_track_id.len(),
        "a track stands on one section"
    );
    sids
}

/// Mids of a description; those known before must be unchanged.
fn check_mids(mids: &mut Vec<String>, description: &proto::SessionDescription) {
    let now: Vec<String> = parsed(description)
        .media
        .into_iter()
        .map(|media| media.mid.unwrap())
        .collect();
    assert!(now.starts_with(mids), "{mids:?} became {now:?}");
    *mids = now;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn subscriber_offers_stay_stable_and_bounded(steps in operations()) {
        let mut transport = Transport::new(config(Role::Subscriber)).0;
        let mut wanted = Wanted::default();
        let mut mids = Vec::new();
        let mut open: Option<proto::SessionDescription> = None;
        for step in steps {
            wanted.apply(&mut transport, step);
            match (step, open.take()) {
                (Op::Offer, None) if transport.needs_offer() => {
                    let offer = transport.make_offer();
                    check_mids(&mut mids, &offer);
                    open = Some(offer);
                }
                (Op::Answer, Some(offer)) => {
                    let outcome = transport.handle_answer(&client::answer_all(&offer.sdp)).unwrap();
                    prop_assert_eq!(outcome.refused, []);
                }
                (_, offer) => open = offer,
            }
        }
        if let Some(offer) = open {
            transport.handle_answer(&client::answer_all(&offer.sdp)).unwrap();
        }
        let mut last = BTreeSet::new();
        for _ in 0..4 {
            if !transport.needs_offer() {
                break;
            }
            let offer = transport.make_offer();
            check_mids(&mut mids, &offer);
            last = shown(&offer);
            transport.handle_answer(&client::answer_all(&offer.sdp)).unwrap();
        }
        prop_assert!(!transport.needs_offer());
        prop_assert!(last.is_empty() || last == wanted.sids());
        // At most 12 tracks at once, and as many sections draining.
        prop_assert!(mids.len() <= 1 + 24, "{} sections", mids.len());
    }

    #[test]
    fn single_pc_sections_stay_stable_and_bounded(steps in operations()) {
        let mut transport = Transport::new(config(Role::Single)).0;
        let mut wanted = Wanted::default();
        let mut sections = vec![data(0)];
        let mut mids = Vec::new();
        let mut exchange = |transport: &mut Transport| {
            if let Some((audios, videos)) = transport.requirement() {
                for _ in 0..audios {
                    sections.push(audio(sections.len() as u32, "recvonly"));
                }
                for _ in 0..videos {
                    sections.push(video(sections.len() as u32, "recvonly"));
                }
            }
            let answer = transport.handle_offer(&client::offer(&sections), &[]).unwrap().answer;
            check_mids(&mut mids, &answer);
            (shown(&answer), sections.len())
        };
        exchange(&mut transport);
        for step in steps {
            wanted.apply(&mut transport, step);
            if matches!(step, Op::Offer) {
                exchange(&mut transport);
            }
        }
        let mut last = (BTreeSet::new(), 0);
        for _ in 0..3 {
            last = exchange(&mut transport);
        }
        prop_assert_eq!(transport.requirement(), None);
        prop_assert_eq!(last.0, wanted.sids());
        prop_assert!(last.1 <= 1 + 12, "{} sections", last.1);
    }

    #[test]
    fn mutated_offers_are_applied_or_refused(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0x20_u8..0x7F, 0_usize..30), 0..10),
        single in any::<bool>(),
    ) {
        let offers = offers();
        let mut bytes = which.get(offers).clone().into_bytes();
        for (at, byte, remove) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let end = (at + remove).min(bytes.len() - 1);
            bytes.drain(at..end);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let role = if single { Role::Single } else { Role::Publisher };
        let mut transport = Transport::new(config(role)).0;
        let tracks = [announced(1, Kind::Audio, "a"), announced(2, Kind::Video, "b")];
        for serial in 3..5 {
            let _ = transport.subscribe(down(serial, kind(serial == 3)));
        }
        for text in [which.get(offers), &text] {
            if let Ok(outcome) = transport.handle_offer(&describe("offer", text.clone()), &tracks) {
                prop_assert!(wire::sdp::Description::parse(&outcome.answer.sdp).is_ok());
            }
        }
    }
}

fn offers() -> &'static Vec<String> {
    static OFFERS: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    OFFERS.get_or_init(|| {
        let offer = |step| match step {
            Step::Sdp(sdp) if sdp.from_client && sdp.offer && sdp.text.len() < 30_000 => Some(sdp.text),
            _ => None,
        };
        steps().into_iter().filter_map(offer).step_by(3).collect()
    })
}
