//! A media section on which the remote side sends, and how an unknown SSRC finds its section
//! (RFC 9143 §9.2, RFC 8852).

use super::strangers::Former;
use crate::config::{Codec, ReceiveSpec};
use std::time::Instant;
use wire::ext::{Elements, Extensions};
use wire::rtp::Header;

#[derive(Debug)]
pub(super) struct Section {
    pub(super) spec: ReceiveSpec,
    /// One without simulcast, else one per RID (or per announced SSRC).
    pub(super) layers: Vec<Layer>,
}

/// Places of the streams of one layer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Layer {
    pub(super) primary: Option<u16>,
    pub(super) rtx: Option<u16>,
    /// When another SSRC took the place of the primary one.
    pub(super) replaced_at: Option<Instant>,
}

/// What a payload type means within a section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    pub(super) codec: Codec,
    pub(super) nack: bool,
}

/// Where an SSRC belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) section: usize,
    pub(super) layer: u8,
    pub(super) part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Primary,
    Rtx,
}

impl Section {
    pub(super) fn new(spec: ReceiveSpec) -> Self {
        let count = spec.rids.len().max(spec.ssrcs.len()).clamp(1, 255);
        Self {
            layers: vec![Layer::default(); count],
            spec,
        }
    }

    #[inline]
    pub(super) fn format(&self, payload_type: u8, is_rtx: bool) -> Option<Format> {
        let payload = self.spec.payloads.iter().find(|payload| {
            if is_rtx {
                payload.rtx_pt == Some(payload_type)
            } else {
                payload.pt == payload_type
            }
        })?;
        Some(Format {
            codec: payload.codec,
            nack: payload.nack,
        })
    }

    /// Place of the media stream of a layer.
    pub(super) fn primary(&self, layer: u8) -> Option<u16> {
        self.layers.get(usize::from(layer))?.primary
    }

    /// The RTX SSRC that SDP announced for a primary one.
    pub(super) fn announced_rtx(&self, ssrc: u32) -> Option<u32> {
        self.spec.ssrcs.iter().find(|(primary, _)| *primary == ssrc)?.1
    }

    fn part(&self, payload_type: u8) -> Option<Part> {
        if self.format(payload_type, false).is_some() {
            Some(Part::Primary)
        } else {
            self.format(payload_type, true).map(|_| Part::Rtx)
        }
    }

    fn rid_layer(&self, rid: &[u8]) -> Option<u8> {
        let at = self.spec.rids.iter().position(|known| known.as_bytes() == rid)?;
        u8::try_from(at).ok()
    }

    /// [`Self::within`], as a place.
    fn place(&self, at: usize, extensions: &Extensions<'_>, payload_type: u8) -> Option<Place> {
        let (layer, part) = self.within(extensions, payload_type)?;
        Some(Place {
            section: at,
            layer,
            part,
        })
    }

    /// The layer and part within this section, which is already known to be the right one.
    fn within(&self, extensions: &Extensions<'_>, payload_type: u8) -> Option<(u8, Part)> {
        if let Some(rid) = extensions.repaired_rid {
            return Some((self.rid_layer(rid)?, Part::Rtx));
        }
        if let Some(rid) = extensions.rid
            && !self.spec.rids.is_empty()
        {
            return Some((self.rid_layer(rid)?, Part::Primary));
        }
        // Without a RID only a section with one layer is clear.
        if self.layers.len() != 1 {
            return None;
        }
        Some((0, self.part(payload_type)?))
    }
}

/// Finds the place of an SSRC by one of its packets. The order is that of RFC 9143 §9.2: a MID decides,
/// and one that no section has means that the packet is nobody's. Without one: the SSRCs of the SDP, then
/// what the SSRC was named before, then a RID or a payload type that only one section has, where
/// that stream is missing.
pub(super) fn find(
    sections: &[Option<Section>],
    former: Option<&Former>,
    header: &Header,
    plain: &[u8],
) -> Option<Place> {
    let all = || {
        let present = sections.iter().enumerate();
        present.filter_map(|(at, section)| Some((at, section.as_ref()?)))
    };
    let elements = Elements::parse(header.extension_profile, header.extension_bytes(plain));
    let mut named = false;
    for (at, section) in all() {
        // Ids may differ between sections, so each asks with its own.
        if let Some(mid) = elements.names(&section.spec.extensions).mid {
            named = true;
            if mid == section.spec.mid.as_bytes() {
                return in_section(at, section, &elements, header);
            }
        }
    }
    if named {
        return None;
    }
    if let Some(place) = all().find_map(|(at, section)| announced(at, section, header.ssrc)) {
        return Some(place);
    }
    if let Some(former) = former {
        let (at, section) = all().find(|(_, section)| section.spec.mid.as_bytes() == &*former.mid)?;
        return in_section(at, section, &elements, header).or_else(|| {
            let (layer, part) = former.place?;
            let known = usize::from(layer) < section.layers.len();
            known.then_some(Place {
                section: at,
                layer,
                part,
            })
        });
    }
    let mut by_rid = None;
    for (at, section) in all() {
        let extensions = elements.names(&section.spec.extensions);
        if (extensions.rid.is_some() || extensions.repaired_rid.is_some())
            && !section.spec.rids.is_empty()
            && let Some(place) = section.place(at, &extensions, header.payload_type)
        {
            match by_rid {
                None => by_rid = Some(place),
                Some(_) => return None,
            }
        }
    }
    by_rid.or_else(|| by_payload_type(all(), header.payload_type))
}

/// The place of a packet in the section that it is known to belong to.
fn in_section(at: usize, section: &Section, elements: &Elements<'_>, header: &Header) -> Option<Place> {
    announced(at, section, header.ssrc).or_else(|| {
        let extensions = elements.names(&section.spec.extensions);
        section.place(at, &extensions, header.payload_type)
    })
}

fn announced(at: usize, section: &Section, ssrc: u32) -> Option<Place> {
    section
        .spec
        .ssrcs
        .iter()
        .zip(0u8..)
        .find_map(|(&(primary, rtx), layer)| {
            let part = if primary == ssrc {
                Part::Primary
            } else if rtx == Some(ssrc) {
                Part::Rtx
            } else {
                return None;
            };
            Some(Place {
                section: at,
                layer,
                part,
            })
        })
}

fn by_payload_type<'a>(
    sections: impl Iterator<Item = (usize, &'a Section)>,
    payload_type: u8,
) -> Option<Place> {
    let mut having = sections.filter_map(|(at, section)| Some((at, section, section.part(payload_type)?)));
    let (at, section, part) = having.next()?;
    if having.next().is_some() {
        return None;
    }
    let [layer] = section.layers[..] else {
        return None;
    };
    let free = match part {
        Part::Primary => layer.primary.is_none() && section.spec.ssrcs.is_empty(),
        Part::Rtx => layer.primary.is_some() && layer.rtx.is_none(),
    };
    free.then_some(Place {
        section: at,
        layer: 0,
        part,
    })
}
