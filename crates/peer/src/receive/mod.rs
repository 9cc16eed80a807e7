//! What the remote side sends: streams found by SSRC, MID, RID or payload type, retransmissions put
//! back in their place, duplicates dropped, and the feedback that goes back.
//!
//! Owns the SSRC table, rollover counters, NACK, transport-wide feedback, receiver reports and key
//! frame requests. Must not know: keys, what is done with packets.
//! RFC 3550, RFC 4585, RFC 4588, RFC 8843 §9.2, RFC 8852.

mod feedback;
mod nack;
mod report;
mod section;
mod strangers;
mod stream;
mod transport_cc;

use crate::config::{Kind, ReceiveSpec, Tag};
use crate::peer::{PeerEvent, ReceivedRtp};
use crate::streams::clock::{Clock, Echoes};
use crate::streams::{Events, StreamStats};
use crate::totals::ReceiveTotals;
use section::{Part, Place, Section};
use std::time::{Duration, Instant};
use strangers::{Former, Strangers};
use stream::{Primary, Role, Stream};
use transport_cc::Arrivals;
use wire::ext::Extensions;
use wire::rtp::{self, Header};

/// Sections of one peer.
const SECTIONS_MAX: usize = 512;
/// Streams of one peer: SSRCs that belong to a section. Three layers with RTX of forty tracks.
const STREAMS_MAX: usize = 256;
/// Key frame requests that wait to be written.
const KEY_FRAMES_MAX: usize = 64;
/// Receiver reports leave at this interval while packets arrive.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// A layer goes over to another SSRC at most this often. Everybody in the room is told each time, so
/// less lets one sender flood all; more keeps who starts over twice waiting for its second stream.
const REPLACE_INTERVAL_MIN: Duration = Duration::from_millis(500);

/// The receiving half of a peer.
#[derive(Debug, Default)]
pub(crate) struct Receiving {
    sections: Vec<Option<Section>>,
    streams: Vec<Option<Stream>>,
    /// SSRC → place in `streams`, sorted.
    by_ssrc: Vec<(u32, u16)>,
    strangers: Strangers,
    arrivals: Arrivals,
    key_frames: Vec<u32>,
    report_at: Option<Instant>,
    reference_times: Echoes,
    deadline: Option<Instant>,
    /// Something may have to be written.
    due: bool,
    /// Nothing is written before this.
    held_until: Option<Instant>,
    /// When datagrams were last dropped unread on this side.
    dropped_at: Option<Instant>,
}

/// What waits to go back to the sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldFeedback {
    /// A NACK.
    pub nack: bool,
    /// A key frame request.
    pub key_frame: bool,
    /// Transport-wide feedback.
    pub transport_cc: bool,
    /// A receiver report.
    pub report: bool,
}

/// Where a packet belongs, and the index to decrypt it with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Estimate {
    stream: Option<u16>,
    pub(crate) index: u64,
}

impl Receiving {
    /// Adds a section or updates the one with this tag. False: refused, there are too many.
    pub(crate) fn add(&mut self, spec: ReceiveSpec) -> bool {
        let known = self.sections.iter().position(|section| {
            section
                .as_ref()
                .is_some_and(|section| section.spec.tag == spec.tag)
        });
        if let Some(at) = known {
            let section = Section::new(spec);
            let old = self.sections[at].take().expect("found above");
            if section.layers.len() == old.layers.len() && section.spec.mid == old.spec.mid {
                let layers = old.layers;
                self.sections[at] = Some(Section { layers, ..section });
            } else {
                self.forget_section(at, &old.spec.mid);
                self.sections[at] = Some(section);
            }
            return true;
        }
        let section = Some(Section::new(spec));
        if let Some(free) = self.sections.iter_mut().find(|section| section.is_none()) {
            *free = section;
        } else if self.sections.len() < SECTIONS_MAX {
            self.sections.push(section);
        } else {
            return false;
        }
        true
    }

    pub(crate) fn remove(&mut self, tag: Tag) {
        let Some(at) = self.section_at(tag) else { return };
        if let Some(section) = self.sections[at].take() {
            self.forget_section(at, &section.spec.mid);
        }
    }

    /// Where a packet belongs, before it is known to be authentic. `None`: it cannot be decrypted.
    #[inline]
    pub(crate) fn estimate(&self, header: &Header) -> Option<Estimate> {
        let stream = self.find(header.ssrc);
        let index = match stream.and_then(|place| self.stream(place)) {
            Some(stream) => stream.index.estimate(header.sequence)?,
            None => self.strangers.index(header.ssrc).estimate(header.sequence)?,
        };
        Some(Estimate { stream, index })
    }

    /// Takes a decrypted, authentic packet.
    #[inline]
    pub(crate) fn packet(
        &mut self,
        now: Instant,
        clock: Clock,
        estimate: Estimate,
        header: &Header,
        plain: &[u8],
        (stats, events): (&mut StreamStats, &mut Events),
    ) -> Option<ReceivedRtp> {
        let place = match estimate.stream {
            Some(place) => place,
            None => match self.recognise(now, header, plain, stats, events) {
                Some(place) => place,
                None => {
                    stats.rtp_unknown += 1;
                    self.strangers.note(header.ssrc, estimate.index);
                    return None;
                }
            },
        };
        self.accept((now, clock), (place, estimate.index), header, plain, stats)
    }

    #[inline]
    fn accept(
        &mut self,
        (now, clock): (Instant, Clock),
        (place, index): (u16, u64),
        header: &Header,
        plain: &[u8],
        stats: &mut StreamStats,
    ) -> Option<ReceivedRtp> {
        let stream = self.streams.get_mut(usize::from(place))?.as_mut()?;
        stream.index.update(index);
        let (layer, is_rtx) = (stream.layer, matches!(stream.role, Role::Rtx));
        let section = self.sections.get(usize::from(stream.section))?.as_ref()?;

        let extensions = Extensions::parse(
            header.extension_profile,
            header.extension_bytes(plain),
            &section.spec.extensions,
        );
        // The sender moved the stream to another section (RFC 9143 §9.2).
        if let Some(mid) = extensions.mid.filter(|mid| *mid != section.spec.mid.as_bytes()) {
            stats.rtp_unknown += 1;
            self.forget(place, Former::new(mid, None));
            return None;
        }
        let since_epoch = clock.since_epoch(now);
        if self.report_at.is_none() {
            self.report_at = Some(now + REPORT_INTERVAL);
            arm(&mut self.deadline, self.report_at);
        }
        if section.spec.transport_cc
            && let Some(number) = extensions.transport_cc
        {
            let kept = self
                .arrivals
                .packet(now, since_epoch, header.ssrc, number, header.marker);
            stats.arrivals_dropped += u64::from(!kept);
            arm(&mut self.deadline, self.arrivals.due_at());
        }

        let format = section.format(header.payload_type, is_rtx);
        let Some((format, mut payload)) = format.zip(rtp::payload(header, plain)) else {
            stats.rtp_unknown += 1;
            return None;
        };
        let primary_place = if is_rtx { section.primary(layer)? } else { place };
        let primary = self.streams.get_mut(usize::from(primary_place))?.as_mut()?;
        let primary = primary.primary_mut()?;
        let sequence = if is_rtx {
            let Some(original) = plain.get(payload.clone()).and_then(<[u8]>::first_chunk) else {
                stats.rtx_useless += 1;
                return None;
            };
            payload.start += original.len();
            primary.extend(u16::from_be_bytes(*original))
        } else {
            stream::extended(index)
        };
        if !primary.accept(now, self.dropped_at, sequence, format.nack, is_rtx, stats) {
            return None;
        }
        if !is_rtx {
            primary
                .reception
                .packet(sequence, header.timestamp, since_epoch, format.codec.clock_rate());
        } else {
            primary.reception.repaired();
        }
        arm(&mut self.deadline, primary.missing.next_at());
        Some(ReceivedRtp {
            tag: section.spec.tag,
            layer,
            codec: format.codec,
            sequence,
            timestamp: header.timestamp,
            marker: header.marker,
            audio_level: extensions.audio_level,
            payload,
            dependency_descriptor: range_within(plain, extensions.dependency_descriptor),
            abs_capture_time: range_within(plain, extensions.abs_capture_time),
            retransmitted: is_rtx,
        })
    }

    /// A sender report about one of our streams.
    pub(crate) fn sender_report(&mut self, now: Instant, ssrc: u32, ntp: u64, rtp: u32, events: &mut Events) {
        let Some(place) = self.find(ssrc) else { return };
        let Some(Some(stream)) = self.streams.get_mut(usize::from(place)) else {
            return;
        };
        let layer = stream.layer;
        let section = stream.section;
        let Some(primary) = stream.primary_mut() else {
            return;
        };
        primary.reception.sender_report(now, ntp);
        if let Some(Some(section)) = self.sections.get(usize::from(section)) {
            let tag = section.spec.tag;
            events.push(PeerEvent::SenderReport {
                tag,
                layer,
                ntp,
                rtp,
                at: now,
            });
        }
    }

    /// Round trip in microseconds from the answer to our reference time (RFC 3611 §4.5).
    pub(crate) fn reference_answer(&self, now: Instant, last_rr: u32, delay: u32) -> Option<u32> {
        self.reference_times.round_trip_us(now, last_rr, delay)
    }

    /// Asks for a key frame, once the stream of that layer is known.
    pub(crate) fn request_key_frame(&mut self, tag: Tag, layer: u8) {
        let ssrc = self
            .section_at(tag)
            .and_then(|at| self.sections.get(at)?.as_ref()?.primary(layer))
            .and_then(|place| self.stream(place))
            .map(|stream| stream.ssrc);
        if let Some(ssrc) = ssrc
            && self.key_frames.len() < KEY_FRAMES_MAX
            && !self.key_frames.contains(&ssrc)
        {
            self.key_frames.push(ssrc);
            self.due = true;
        }
    }

    /// Totals of one layer; `None` before its first packet.
    pub(crate) fn totals(&self, tag: Tag, layer: u8) -> Option<ReceiveTotals> {
        let section = self.sections.get(self.section_at(tag)?)?.as_ref()?;
        let stream = self.stream(section.primary(layer)?)?;
        Some(stream.primary()?.reception.totals(stream.ssrc))
    }

    /// Loss further down the path of everything on a section, as a fraction of 256.
    pub(crate) fn proxy_loss(&mut self, now: Instant, tag: Tag, fraction: u8) {
        let Some(at) = self.section_at(tag) else { return };
        for stream in self.streams.iter_mut().flatten() {
            if usize::from(stream.section) == at
                && let Some(primary) = stream.primary_mut()
            {
                primary.reception.proxy_loss(now, fraction);
            }
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.held_until.is_some_and(|until| until > now) {
            return;
        }
        self.held_until = None;
        if self.deadline.is_some_and(|at| at <= now) {
            self.deadline = None;
            self.due = true;
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        // While held, what falls due meanwhile waits, too.
        self.deadline
            .map(|at| self.held_until.map_or(at, |until| at.max(until)))
    }

    pub(crate) const fn is_due(&self) -> bool {
        self.due && self.held_until.is_none()
    }

    /// Puts off everything that is due until a later moment, when it leaves together with what falls
    /// due by then. Returns what was put off.
    pub(crate) fn hold(&mut self, now: Instant, until: Instant) -> HeldFeedback {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let mut primaries = self.streams.iter().flatten().filter_map(Stream::primary);
        let held = HeldFeedback {
            nack: primaries.any(|primary| due(primary.missing.next_at())),
            key_frame: !self.key_frames.is_empty(),
            transport_cc: due(self.arrivals.due_at()),
            report: due(self.report_at),
        };
        self.held_until = Some(until);
        arm(&mut self.deadline, Some(until));
        held
    }

    /// Datagrams of this peer or others were dropped unread.
    pub(crate) fn note_dropped(&mut self, at: Instant) {
        self.dropped_at = Some(at);
    }

    /// What a packet is of, as far as its header says: nobody has checked that it is authentic.
    pub(crate) fn peek(&self, ssrc: u32) -> Option<(Tag, Kind)> {
        let stream = self.stream(self.find(ssrc)?)?;
        let section = self.sections.get(usize::from(stream.section))?.as_ref()?;
        Some((section.spec.tag, section.spec.kind))
    }

    // ---- tables --------------------------------------------------------------------------

    #[inline]
    fn find(&self, ssrc: u32) -> Option<u16> {
        let at = self
            .by_ssrc
            .binary_search_by_key(&ssrc, |&(known, _)| known)
            .ok()?;
        self.by_ssrc.get(at).map(|&(_, place)| place)
    }

    #[inline]
    fn stream(&self, place: u16) -> Option<&Stream> {
        self.streams.get(usize::from(place))?.as_ref()
    }

    fn section_at(&self, tag: Tag) -> Option<usize> {
        self.sections
            .iter()
            .position(|section| section.as_ref().is_some_and(|section| section.spec.tag == tag))
    }

    /// Makes a stream of an SSRC that was not seen before.
    fn recognise(
        &mut self,
        now: Instant,
        header: &Header,
        plain: &[u8],
        stats: &mut StreamStats,
        events: &mut Events,
    ) -> Option<u16> {
        let found = section::find(&self.sections, self.strangers.former(header.ssrc), header, plain)?;
        let Place { section, layer, part } = found;
        // Comfort noise or error correction that comes first tells nothing about the stream.
        let format = self
            .sections
            .get(section)?
            .as_ref()?
            .format(header.payload_type, part == Part::Rtx)?;
        let slot = *self
            .sections
            .get(section)?
            .as_ref()?
            .layers
            .get(usize::from(layer))?;
        let rtx = slot.rtx;
        let old = match part {
            Part::Primary => slot.primary,
            Part::Rtx => slot.rtx,
        };
        let mut replaced_at = slot.replaced_at;
        if let (Some(_), Part::Primary) = (old, part) {
            let recently = |at: Instant| now.saturating_duration_since(at) < REPLACE_INTERVAL_MIN;
            if replaced_at.replace(now).is_some_and(recently) {
                stats.streams_refused += 1;
                return None;
            }
        }
        if let Some(old) = old {
            // The sender started over with another SSRC.
            self.forget(old, None);
        }
        if self.by_ssrc.len() >= STREAMS_MAX {
            stats.streams_refused += 1;
            return None;
        }
        let index = self.strangers.take(header.ssrc);
        let first = index.estimate(header.sequence)?;
        let role = match part {
            Part::Primary => Role::Primary(Box::new(Primary::new(first))),
            Part::Rtx => Role::Rtx,
        };
        let stream = Stream {
            ssrc: header.ssrc,
            section: u16::try_from(section).ok()?,
            layer,
            index,
            role,
        };
        let place = self.insert(stream)?;
        let rtx_ssrc = rtx.and_then(|rtx| self.stream(rtx)).map(|stream| stream.ssrc);
        let section = self.sections.get_mut(section)?.as_mut()?;
        let announced = section.announced_rtx(header.ssrc);
        let slot = section.layers.get_mut(usize::from(layer))?;
        match part {
            Part::Rtx => slot.rtx = Some(place),
            Part::Primary => {
                slot.primary = Some(place);
                slot.replaced_at = replaced_at;
                events.push(PeerEvent::StreamStarted {
                    tag: section.spec.tag,
                    layer,
                    ssrc: header.ssrc,
                    rtx_ssrc: announced.or(rtx_ssrc),
                    codec: format.codec,
                });
            }
        }
        Some(place)
    }

    fn insert(&mut self, stream: Stream) -> Option<u16> {
        let at = self.by_ssrc.partition_point(|&(known, _)| known < stream.ssrc);
        let free = self.streams.iter().position(Option::is_none);
        let place = u16::try_from(free.unwrap_or(self.streams.len())).ok()?;
        self.by_ssrc.insert(at, (stream.ssrc, place));
        match free {
            Some(free) => self.streams[free] = Some(stream),
            None => self.streams.push(Some(stream)),
        }
        Some(place)
    }

    /// Forgets a stream, but not its rollover counter: the sender may go on with it. Nor, when it has lost
    /// its section, what it was.
    fn forget(&mut self, place: u16, former: Option<Former>) {
        let Some(stream) = self.streams.get_mut(usize::from(place)).and_then(Option::take) else {
            return;
        };
        self.by_ssrc.retain(|&(ssrc, _)| ssrc != stream.ssrc);
        self.strangers.remember(stream.ssrc, stream.index, former);
    }

    /// The streams of a section that ended, `mid`.
    fn forget_section(&mut self, section: usize, mid: &str) {
        for place in 0..self.streams.len() {
            let stream = self.streams[place].as_ref();
            let stream = stream.filter(|stream| usize::from(stream.section) == section);
            let former =
                stream.map(|stream| Former::new(mid.as_bytes(), Some((stream.layer, stream.part()))));
            if let (Some(former), Ok(place)) = (former, u16::try_from(place)) {
                self.forget(place, former);
            }
        }
    }
}

#[inline]
fn arm(deadline: &mut Option<Instant>, at: Option<Instant>) {
    if let Some(at) = at
        && deadline.is_none_or(|deadline| at < deadline)
    {
        *deadline = Some(at);
    }
}

/// The place of a part of `whole` within it; empty for `None`.
#[inline]
fn range_within(whole: &[u8], part: Option<&[u8]>) -> core::ops::Range<usize> {
    let Some(part) = part else { return 0..0 };
    let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    debug_assert!(start + part.len() <= whole.len(), "a part of the whole");
    start..start + part.len()
}
