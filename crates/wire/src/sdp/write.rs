//! Writing descriptions: the line order is the one LiveKit clients have always been given.

use super::{Description, Media, MediaKind, Session, Setup, Transport};
use std::fmt::{Formatter, Result};

macro_rules! line {
    ($f:expr, $($text:tt)*) => {{
        write!($f, $($text)*)?;
        $f.write_str("\r\n")?;
    }};
}

pub(super) fn description(f: &mut Formatter<'_>, value: &Description) -> Result {
    session(f, &value.session)?;
    for section in &value.media {
        media(f, section)?;
    }
    Ok(())
}

fn session(f: &mut Formatter<'_>, session: &Session) -> Result {
    line!(f, "v=0");
    line!(f, "o=- {} {} IN IP4 0.0.0.0", session.id, session.version);
    line!(f, "s=-");
    line!(f, "t=0 0");
    if let Some(semantic) = &session.msid_semantic {
        line!(f, "a=msid-semantic:{semantic}");
    }
    if let Some(fingerprint) = &session.transport.fingerprint {
        line!(f, "a=fingerprint:{fingerprint}");
    }
    if session.ice_lite {
        line!(f, "a=ice-lite");
    }
    if session.extmap_allow_mixed {
        line!(f, "a=extmap-allow-mixed");
    }
    if !session.bundle.is_empty() {
        line!(f, "a=group:BUNDLE {}", session.bundle.join(" "));
    }
    let transport = Transport {
        fingerprint: None,
        ..session.transport.clone()
    };
    connection(f, &transport)?;
    candidates(f, &transport)
}

fn media(f: &mut Formatter<'_>, media: &Media) -> Result {
    write!(f, "m={} {} {}", media.kind.as_str(), media.port, media.protocol)?;
    for format in &media.formats {
        write!(f, " {format}")?;
    }
    f.write_str("\r\n")?;
    line!(f, "c=IN IP4 0.0.0.0");
    if let Some(setup) = media.transport.setup {
        line!(f, "a=setup:{}", setup_name(setup));
    }
    if let Some(mid) = &media.mid {
        line!(f, "a=mid:{mid}");
    }
    if media.bundle_only {
        line!(f, "a=bundle-only");
    }
    let data = media.kind == MediaKind::Application;
    if data {
        line!(f, "a={}", media.direction.as_str());
        if let Some(port) = media.sctp_port {
            line!(f, "a=sctp-port:{port}");
        }
        if let Some(size) = media.max_message_size {
            line!(f, "a=max-message-size:{size}");
        }
    }
    let transport = Transport {
        setup: None,
        ..media.transport.clone()
    };
    connection(f, &transport)?;
    if !data {
        rtp(f, media)?;
        line!(f, "a={}", media.direction.as_str());
    }
    candidates(f, &media.transport)
}

fn rtp(f: &mut Formatter<'_>, media: &Media) -> Result {
    if media.rtcp_mux {
        line!(f, "a=rtcp-mux");
    }
    if media.rtcp_rsize {
        line!(f, "a=rtcp-rsize");
    }
    payloads(f, media)?;
    for map in &media.extmaps {
        line!(f, "a=extmap:{} {}", map.id, map.uri);
    }
    for rid in &media.rids {
        let direction = if rid.send { "send" } else { "recv" };
        let space = if rid.restrictions.is_empty() { "" } else { " " };
        line!(f, "a=rid:{} {direction}{space}{}", rid.id, rid.restrictions);
    }
    if let Some(simulcast) = &media.simulcast {
        let lists = [("send", &simulcast.send), ("recv", &simulcast.recv)];
        let lists = lists.iter().filter(|(_, rids)| !rids.is_empty());
        let lists: Vec<_> = lists
            .map(|(name, rids)| format!("{name} {}", rids.join(";")))
            .collect();
        line!(f, "a=simulcast:{}", lists.join(" "));
    }
    for group in &media.ssrc_groups {
        write!(f, "a=ssrc-group:{}", group.semantics)?;
        for ssrc in &group.ssrcs {
            write!(f, " {ssrc}")?;
        }
        f.write_str("\r\n")?;
    }
    for ssrc in &media.ssrcs {
        if ssrc.attributes.is_empty() {
            line!(f, "a=ssrc:{}", ssrc.ssrc);
        }
        for (name, value) in &ssrc.attributes {
            match value {
                Some(value) => line!(f, "a=ssrc:{} {name}:{value}", ssrc.ssrc),
                None => line!(f, "a=ssrc:{} {name}", ssrc.ssrc),
            }
        }
    }
    for msid in &media.msids {
        let space = if msid.track.is_some() { " " } else { "" };
        let track = msid.track.as_deref().unwrap_or_default();
        line!(f, "a=msid:{}{space}{track}", msid.stream);
    }
    Ok(())
}

/// rtpmap, fmtp and feedback of one payload type stand together; what belongs to none of the
/// listed maps follows.
fn payloads(f: &mut Formatter<'_>, media: &Media) -> Result {
    let mapped = |pt: u8| media.rtpmaps.iter().any(|map| map.pt == pt);
    for (index, map) in media.rtpmaps.iter().enumerate() {
        let encoding = &map.encoding;
        match map.channels {
            1 => line!(f, "a=rtpmap:{} {encoding}/{}", map.pt, map.clock_rate),
            n => line!(f, "a=rtpmap:{} {encoding}/{}/{n}", map.pt, map.clock_rate),
        }
        // A payload type mapped twice gets its parameters once.
        if media
            .rtpmaps
            .iter()
            .take(index)
            .any(|earlier| earlier.pt == map.pt)
        {
            continue;
        }
        for (_, parameters) in media.fmtps.iter().filter(|(pt, _)| *pt == map.pt) {
            line!(f, "a=fmtp:{} {parameters}", map.pt);
        }
        for (_, what) in media.feedback.iter().filter(|(pt, _)| *pt == Some(map.pt)) {
            line!(f, "a=rtcp-fb:{} {what}", map.pt);
        }
    }
    for (pt, parameters) in media.fmtps.iter().filter(|(pt, _)| !mapped(*pt)) {
        line!(f, "a=fmtp:{pt} {parameters}");
    }
    for (pt, what) in &media.feedback {
        match pt {
            Some(pt) if mapped(*pt) => {}
            Some(pt) => line!(f, "a=rtcp-fb:{pt} {what}"),
            None => line!(f, "a=rtcp-fb:* {what}"),
        }
    }
    Ok(())
}

fn connection(f: &mut Formatter<'_>, transport: &Transport) -> Result {
    if let Some(setup) = transport.setup {
        line!(f, "a=setup:{}", setup_name(setup));
    }
    if let Some(ufrag) = &transport.ufrag {
        line!(f, "a=ice-ufrag:{ufrag}");
    }
    if let Some(pwd) = &transport.pwd {
        line!(f, "a=ice-pwd:{pwd}");
    }
    if transport.trickle {
        line!(f, "a=ice-options:trickle");
    }
    if let Some(fingerprint) = &transport.fingerprint {
        line!(f, "a=fingerprint:{fingerprint}");
    }
    Ok(())
}

fn candidates(f: &mut Formatter<'_>, transport: &Transport) -> Result {
    for candidate in &transport.candidates {
        line!(f, "a={candidate}");
    }
    if transport.end_of_candidates {
        line!(f, "a=end-of-candidates");
    }
    Ok(())
}

const fn setup_name(setup: Setup) -> &'static str {
    match setup {
        Setup::ActPass => "actpass",
        Setup::Active => "active",
        Setup::Passive => "passive",
        Setup::HoldConn => "holdconn",
    }
}
