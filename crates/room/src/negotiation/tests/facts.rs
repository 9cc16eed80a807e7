//! What must be the same in our description and the recorded one, as text. Left out is what
//! differs from run to run: credentials, SSRC numbers, candidates, order of extension and RTX
//! lines, session ids.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use wire::sdp::{Description, Media};

/// Facts of a description. `offer` is what it answers, if it is an answer.
pub(super) fn facts(text: &str, offer: Option<&str>) -> String {
    let parsed = Description::parse(text).unwrap();
    let offer = offer.map(|offer| Description::parse(offer).unwrap());
    let mut out = String::new();
    let session = &parsed.session;
    writeln!(
        out,
        "bundle {:?} semantic {:?} mixed {} fingerprint {}",
        session.bundle,
        session.msid_semantic,
        session.extmap_allow_mixed,
        session.transport.fingerprint.is_some()
    )
    .unwrap();
    for (index, media) in parsed.media.iter().enumerate() {
        let offered = offer.as_ref().and_then(|offer| offer.media.get(index));
        section(&mut out, media, offered);
    }
    out
}

fn section(out: &mut String, media: &Media, offered: Option<&Media>) {
    let credentials = media.transport.ufrag.is_some() && media.transport.pwd.is_some();
    writeln!(
        out,
        "{:?} mid {:?} port {} {} {:?} setup {:?} mux {} rsize {} credentials {credentials}",
        media.kind,
        media.mid,
        media.port,
        media.protocol,
        media.direction,
        media.transport.setup,
        media.rtcp_mux,
        media.rtcp_rsize
    )
    .unwrap();
    writeln!(
        out,
        "  sctp {:?} size {:?}",
        media.sctp_port, media.max_message_size
    )
    .unwrap();
    // Intended difference: in single PC mode the reference also answers a payload type (VP9 profile
    // 2, number 35) that the section was not offered with; a client cannot use it.
    let known = |pt: &u8| offered.is_none_or(|offered| offered.payload_types().any(|of| of == *pt));
    let is_rtx = |pt: u8| media.rtpmap(pt).is_some_and(|map| map.encoding == "rtx");
    let about_known = |pt: &u8| {
        let apt = media
            .fmtp(*pt)
            .strip_prefix("apt=")
            .and_then(|apt| apt.parse().ok());
        known(pt) && apt.is_none_or(|apt| known(&apt))
    };
    let pts: Vec<u8> = media.payload_types().filter(about_known).collect();
    for pt in pts.iter().filter(|pt| !is_rtx(**pt)) {
        let map = media.rtpmap(*pt).unwrap();
        let feedback: BTreeSet<&str> = media
            .feedback
            .iter()
            .filter(|(of, _)| *of == Some(*pt))
            .map(|(_, what)| what.as_str())
            .collect();
        writeln!(
            out,
            "  {pt} {}/{}/{} fmtp {:?} feedback {feedback:?}",
            map.encoding,
            map.clock_rate,
            map.channels,
            without_start_bitrate(media.fmtp(*pt))
        )
        .unwrap();
    }
    let rtx: BTreeSet<_> = pts
        .iter()
        .filter(|pt| is_rtx(**pt))
        .map(|pt| (pt, media.fmtp(*pt)))
        .collect();
    writeln!(out, "  rtx {rtx:?}").unwrap();
    let extensions: BTreeSet<_> = media.extmaps.iter().map(|map| (map.id, &map.uri)).collect();
    writeln!(out, "  extensions {extensions:?}").unwrap();
    writeln!(out, "  rids {:?} simulcast {:?}", media.rids, media.simulcast).unwrap();
    let streams: Vec<_> = media.ssrcs.iter().map(|ssrc| &ssrc.attributes).collect();
    let groups: Vec<_> = media
        .ssrc_groups
        .iter()
        .map(|group| (&group.semantics, group.ssrcs.len()))
        .collect();
    writeln!(
        out,
        "  msid {:?} streams {streams:?} groups {groups:?}",
        media.msids
    )
    .unwrap();
}

/// Intended difference: we always echo the start bitrate that a client asks to be told; in single
/// PC mode the reference echoes it for VP8 only.
fn without_start_bitrate(fmtp: &str) -> String {
    let pairs = fmtp
        .split(';')
        .filter(|pair| !pair.starts_with("x-google-start-bitrate="));
    pairs.collect::<Vec<_>>().join(";")
}
