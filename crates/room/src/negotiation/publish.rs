//! Which track of the client a section carries: as LiveKit's server matches them.

use super::codecs::{self, Format, OPUS_FMTP};
use super::sections::{Slot, extension_ids, kind_of};
use super::transport::Transport;
use super::{AnnouncedTrack, PublishedSection};
use media::api::{Codec, Command, Kind, Payload, PeerKey, ReceiveSpec, TrackKey};
use std::collections::{BTreeSet, VecDeque};
use wire::ext::ExtensionIds;
use wire::sdp::{Media, order_rids};

/// Most layers of a simulcast stream.
const LAYERS_MAX: usize = 3;

/// Most client ids that are remembered as given up. More would let a client hold memory here.
const RELEASED_MAX: usize = 64;

/// What a client sends on a section.
#[derive(Debug)]
pub(super) struct Sender {
    /// msid track id, empty when there is none.
    cid: String,
    /// From low to high, empty without simulcast.
    rids: Vec<String>,
    /// (primary, RTX) SSRCs that are announced.
    ssrcs: Vec<(u32, Option<u32>)>,
    /// A track stands or stood here under this client id. What took it back may be on its way.
    carried: bool,
    /// Was answered as something that nobody has announced yet.
    waits: bool,
}

/// A track on a section.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) track: TrackKey,
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
pub(super) fn assign(slots: &[Slot], announced: &[AnnouncedTrack], released: &VecDeque<String>) -> Vec<Use> {
    let mut uses = vec![Use::None; slots.len()];
    let mut taken = vec![false; announced.len()];
    let sections = || {
        let all = slots.iter().enumerate();
        let sending = all.filter_map(|(index, slot)| Some((index, slot, slot.sender.as_ref()?)));
        sending.filter(|(_, _, sender)| !released.contains(&sender.cid))
    };
    for (index, slot, sender) in sections() {
        if let Some(found) = named(slot, sender, announced) {
            uses[index] = if taken[found] {
                Use::Spare
            } else {
                Use::Track(found)
            };
            taken[found] = true;
        }
    }
    let placed: BTreeSet<TrackKey> = slots
        .iter()
        .filter_map(|slot| Some(slot.publication.as_ref()?.track))
        .collect();
    for (index, slot, sender) in sections() {
        if uses[index] != Use::None {
            continue;
        }
        let found = match &slot.publication {
            Some(before) => announced.iter().position(|track| track.track == before.track),
            None if sender.carried => None,
            None => {
                let free = |(track, taken): (&AnnouncedTrack, &bool)| {
                    !taken && Some(track.kind) == kind_of(&slot.kind) && !placed.contains(&track.track)
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

/// The announcement whose client id a section shows.
fn named(slot: &Slot, sender: &Sender, announced: &[AnnouncedTrack]) -> Option<usize> {
    let kind = kind_of(&slot.kind);
    let is_it = |track: &AnnouncedTrack| Some(track.kind) == kind && track.cids.contains(&sender.cid);
    let mut all = announced.iter();
    all.position(is_it).filter(|_| !sender.cid.is_empty())
}

/// Whether a track has a section.
fn placed(slots: &[Slot], track: TrackKey) -> bool {
    let mut publications = slots.iter().filter_map(|slot| slot.publication.as_ref());
    publications.any(|known| known.track == track)
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
            format.fmtp = opus_parameters(&format.fmtp, track);
        }
    }
    ordered
}

/// What a publisher of Opus is answered. Its own parameters stand first, without `stereo=1` for a track
/// that was not announced as stereo: Firefox offers it for every microphone and would send two channels
/// of the same sound. A client that offers no parameters reads none (embedded ones), and gets none.
fn opus_parameters(offered: &str, track: &AnnouncedTrack) -> String {
    let mut parameters: Vec<&str> = offered.split(';').map(str::trim).collect();
    parameters.retain(|one| !one.is_empty() && (track.stereo || *one != "stereo=1"));
    if parameters.is_empty() && offered.trim().is_empty() {
        return String::new();
    }
    if !track.no_dtx {
        parameters.push("usedtx=1");
    }
    if track.stereo {
        parameters.extend(["stereo=1", "maxaveragebitrate=510000"]);
    }
    parameters.join(";")
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

    /// Tracks may have been announced behind the offer with their sections: those that wait and show
    /// the client id of one carry it from now on. Only by name, for what else a section sends may
    /// be what its client was not allowed to publish.
    pub fn publish_waiting(&mut self, announced: &[AnnouncedTrack]) -> (Vec<PublishedSection>, Vec<Command>) {
        let mut new = (Vec::new(), Vec::new());
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            let waits = |sender: &&Sender| sender.waits && !self.released.contains(&sender.cid);
            let sender = slot.sender.as_ref().filter(waits);
            let found = sender.and_then(|sender| named(slot, sender, announced));
            let track = found.and_then(|found| announced.get(found));
            let Some(track) = track.filter(|track| !placed(&self.slots, track.track)) else {
                continue;
            };
            let slot = &mut self.slots[index];
            // As it was answered, so it is sent.
            let answered = slot.formats.clone();
            if let Some((section, command)) = slot.publish(self.config.peer, track, &answered) {
                new.0.push(section);
                new.1.push(command);
            }
        }
        new
    }
}

impl Slot {
    /// Takes from an offer what the client sends here.
    pub(super) fn read_sender(&mut self, media: &Media) {
        let before = self.sender.take();
        if !media.direction.sends() || self.formats.is_empty() {
            return;
        }
        let cid = sdp_cid(media);
        let rids = sent_rids(media);
        self.sender = Some(Sender {
            carried: before.is_some_and(|before| before.carried && before.cid == cid),
            waits: false,
            ssrcs: if rids.is_empty() { ssrcs(media) } else { Vec::new() },
            cid,
            rids,
        });
    }

    /// The track that stands here ends unless it is still what the client sends: by its client id,
    /// or under the name that it had.
    pub(super) fn keep_publication(&mut self, announced: &[AnnouncedTrack], released: &VecDeque<String>) {
        let Some((before, sender)) = self.publication.as_ref().zip(self.sender.as_ref()) else {
            self.publication = None;
            return;
        };
        let goes_on = match named(self, sender, announced) {
            Some(found) => announced[found].track == before.track,
            None => sender.carried && announced.iter().any(|track| track.track == before.track),
        };
        if !goes_on || released.contains(&sender.cid) {
            self.publication = None;
        }
    }

    /// No track stands here: a section that may wait is given to one that is announced later, if
    /// none was here before.
    pub(super) fn wait(&mut self, may_wait: bool) {
        if let Some(sender) = &mut self.sender {
            sender.waits = may_wait && !sender.carried;
        }
    }

    /// Puts a track on this section. Returns what is new: the section, and the command.
    pub(super) fn publish(
        &mut self,
        peer: PeerKey,
        track: &AnnouncedTrack,
        answered: &[Format],
    ) -> Option<(PublishedSection, Command)> {
        let codec = answered.first()?.codec;
        let sender = self.sender.as_mut()?;
        sender.carried = true;
        sender.waits = false;
        let (sdp_cid, rids, ssrcs) = (sender.cid.clone(), sender.rids.clone(), sender.ssrcs.clone());
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
            others: answered.iter().skip(1).map(|format| format.codec).collect(),
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
