//! Which track of the client a section carries (`media.md` §3, `signal.md` §8.9).

use super::codecs::{self, Format, OPUS_FMTP};
use super::sections::{Slot, extension_ids, kind_of, live};
use super::transport::Transport;
use super::{AnnouncedTrack, PublishedSection};
use media::api::{Codec, Command, Kind, Payload, PeerKey, ReceiveSpec, TrackKey};
use std::collections::VecDeque;
use wire::ext::ExtensionIds;
use wire::sdp::{Description, Media, order_rids};

/// Most layers of a simulcast stream.
const LAYERS_MAX: usize = 3;

/// Most client ids that are remembered as given up. More would let a client hold memory here.
const RELEASED_MAX: usize = 64;

/// A track on a section.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) track: TrackKey,
    /// msid track id of the section.
    pub(super) sdp_cid: String,
    /// What the media plane knows.
    sent: Option<Sent>,
}

/// Everything of a [`ReceiveSpec`] that can change, and whether levels are wanted.
type Sent = (
    Vec<Payload>,
    ExtensionIds,
    Vec<String>,
    Vec<(u32, Option<u32>)>,
    bool,
    bool,
);

/// What a section of an offer is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Nothing is sent on it, or nobody knows what.
    None,
    /// Carries `announced[n]`.
    Track(usize),
    /// Another codec of a track that already has a section: kept silent.
    Spare,
}

/// Decides what every section carries: by msid track id, else what it carried before, else the
/// first announced track of its kind that has no section. What was `released` is nobody's.
pub(super) fn assign(
    offer: &Description,
    slots: &[Slot],
    announced: &[AnnouncedTrack],
    released: &VecDeque<String>,
) -> Vec<Use> {
    let mut uses = vec![Use::None; offer.media.len()];
    let mut taken = vec![false; announced.len()];
    let sending =
        |media: &Media| live(media) && media.direction.sends() && !released.contains(&sdp_cid(media));
    let sections = || offer.media.iter().enumerate().filter(|(_, media)| sending(media));
    for (index, media) in sections() {
        let (cid, kind) = (sdp_cid(media), kind_of(&media.kind));
        let named = |track: &AnnouncedTrack| Some(track.kind) == kind && track.cids.contains(&cid);
        let found = announced.iter().position(|track| !cid.is_empty() && named(track));
        if let (Some(found), Some(slot)) = (found, uses.get_mut(index)) {
            *slot = if taken[found] {
                Use::Spare
            } else {
                Use::Track(found)
            };
            taken[found] = true;
        }
    }
    for (index, media) in sections() {
        if uses[index] != Use::None {
            continue;
        }
        let before = slots.get(index).and_then(|slot| slot.publication.as_ref());
        let before = before.filter(|before| before.sdp_cid == sdp_cid(media));
        let found = match before {
            Some(before) => announced.iter().position(|track| track.track == before.track),
            None => {
                let placed = |track: TrackKey| {
                    let mut publications = slots.iter().filter_map(|slot| slot.publication.as_ref());
                    publications.any(|known| known.track == track)
                };
                let kind = kind_of(&media.kind);
                let free = |(track, taken): (&AnnouncedTrack, &bool)| {
                    !taken && Some(track.kind) == kind && !placed(track.track)
                };
                announced.iter().zip(&taken).position(free)
            }
        };
        if let Some(found) = found.filter(|found| !taken[*found]) {
            uses[index] = Use::Track(found);
            taken[found] = true;
        }
    }
    uses
}

/// msid track id, empty when there is none.
fn sdp_cid(media: &Media) -> String {
    media.msid().and_then(|msid| msid.track).unwrap_or_default()
}

/// RIDs that the client sends, from low to high.
pub(super) fn sent_rids(media: &Media) -> Vec<String> {
    let mut rids = match &media.simulcast {
        Some(simulcast) => simulcast.send.clone(),
        None => {
            let sent = media.rids.iter().filter(|rid| rid.send);
            sent.map(|rid| rid.id.clone()).collect()
        }
    };
    rids.truncate(LAYERS_MAX);
    order_rids(&mut rids);
    rids
}

/// (primary, RTX) SSRCs that the client announces; in the order of a SIM group, if there is one.
fn ssrcs(media: &Media) -> Vec<(u32, Option<u32>)> {
    let group = |semantics: &'static str| {
        let groups = media.ssrc_groups.iter();
        groups.filter(move |group| group.semantics == semantics)
    };
    let repairs = |ssrc: &u32| {
        let mut repair = group("FID").chain(group("FEC-FR"));
        repair.any(|group| group.ssrcs.iter().skip(1).any(|of| of == ssrc))
    };
    let primaries: Vec<u32> = match group("SIM").next() {
        Some(group) => group.ssrcs.clone(),
        None => {
            let all = media.ssrcs.iter().map(|ssrc| ssrc.ssrc);
            all.filter(|ssrc| !repairs(ssrc)).collect()
        }
    };
    let pair = |primary: u32| {
        let rtx = group("FID").find(|group| group.ssrcs.first() == Some(&primary));
        (primary, rtx.and_then(|group| group.ssrcs.get(1).copied()))
    };
    primaries.into_iter().take(LAYERS_MAX).map(pair).collect()
}

/// Codecs in the order and with the parameters in which a published track is answered.
pub(super) fn answered_formats(
    formats: &[Format],
    track: &AnnouncedTrack,
    only_preferred: bool,
) -> Vec<Format> {
    let named = codecs::by_mime(&track.mime);
    let has = |codec: Codec| formats.iter().any(|format| format.codec == codec);
    let red = track.kind == Kind::Audio
        && !track.disable_red
        && matches!(named, None | Some(Codec::Opus | Codec::Red))
        && has(Codec::Red);
    let first = if red { Some(Codec::Red) } else { named };
    let mut ordered = formats.to_vec();
    if let Some(first) = first.filter(|first| has(*first)) {
        ordered.sort_by_key(|format| format.codec != first);
        if only_preferred && track.kind == Kind::Video {
            ordered.retain(|format| format.codec == first);
        }
    }
    for format in &mut ordered {
        if format.codec == Codec::Opus {
            if red {
                OPUS_FMTP.clone_into(&mut format.fmtp);
            }
            if !track.no_dtx {
                format.fmtp.push_str(";usedtx=1");
            }
            if track.stereo {
                format.fmtp.push_str(";stereo=1;maxaveragebitrate=510000");
            }
        }
    }
    ordered
}

impl Transport {
    /// Tracks with these client ids were given up: sections that still send them carry nothing
    /// until they are announced anew.
    pub fn release(&mut self, cids: &[String]) {
        for cid in cids {
            if !cid.is_empty() && !self.released.contains(cid) {
                self.released.push_back(cid.clone());
            }
        }
        while self.released.len() > RELEASED_MAX {
            self.released.pop_front();
        }
    }

    /// A track with this client id was announced anew.
    pub fn readmit(&mut self, cid: &str) {
        self.released.retain(|released| released != cid);
    }
}

impl Slot {
    /// Puts a track on this section. Returns what is new: the section, and the command.
    pub(super) fn publish(
        &mut self,
        peer: PeerKey,
        media: &Media,
        track: &AnnouncedTrack,
        answered: &[Format],
    ) -> Option<(PublishedSection, Command)> {
        let codec = answered.first()?.codec;
        let sdp_cid = sdp_cid(media);
        let rids = sent_rids(media);
        let ssrcs = if rids.is_empty() { ssrcs(media) } else { Vec::new() };
        let payloads: Vec<Payload> = answered.iter().map(Format::payload).collect();
        let extensions = extension_ids(&self.extensions);
        let feedback = answered
            .iter()
            .any(|format| format.feedback.contains(&"transport-cc"));
        let transport_cc = feedback && extensions.transport_cc != 0;
        let sent = Some((
            payloads.clone(),
            extensions,
            rids.clone(),
            ssrcs.clone(),
            transport_cc,
            track.microphone,
        ));
        let before = self
            .publication
            .take()
            .filter(|before| before.track == track.track);
        let known = before.is_some_and(|before| before.sent == sent);
        self.publication = Some(Publication {
            track: track.track,
            sdp_cid: sdp_cid.clone(),
            sent,
        });
        if known {
            return None;
        }
        let spec = ReceiveSpec {
            tag: track.track.0,
            mid: self.mid.clone(),
            kind: track.kind,
            payloads,
            extensions,
            rids: rids.clone(),
            ssrcs: ssrcs.clone(),
            transport_cc,
        };
        let section = PublishedSection {
            track: track.track,
            mid: self.mid.clone(),
            sdp_cid,
            rids,
            ssrcs,
            codec,
        };
        let command = Command::Publish {
            peer,
            track: track.track,
            spec,
            audio_level: track.microphone,
        };
        Some((section, command))
    }
}
