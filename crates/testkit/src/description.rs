//! A reader of session descriptions that forgives nothing: what the server offers and answers is held
//! against the rules that the strictest clients enforce.
//!
//! Owns: the history of each connection's descriptions, as far as a rule looks back. Must not know:
//! rooms, permissions, or why a description says what it says.
//!
//! Rules: RFC 8829 §5 (order and reuse of sections), RFC 8843 (bundles), RFC 8830 §2 (one msid, one
//! track), RFC 5576 (SSRCs), RFC 8866 §6.15 (`a=fmtp`), RFC 3264 §6 (answers).

use std::collections::{BTreeMap, BTreeSet};
use wire::sdp::{Description, Direction, Media, MediaKind};

/// One peer connection's descriptions of the server, in order.
#[derive(Debug, Default)]
pub struct DescriptionChecker {
    sections: Vec<Section>,
    mids: BTreeSet<String>,
    tracks: BTreeMap<u32, String>,
    formats: BTreeMap<u8, String>,
    checked: u64,
}

/// What is known of one `m=` line.
#[derive(Debug)]
struct Section {
    mid: String,
    kind: MediaKind,
    rejected: bool,
}

impl DescriptionChecker {
    /// Descriptions that were looked at.
    #[must_use]
    pub fn checked(&self) -> u64 {
        self.checked
    }

    /// Looks at an offer of the server.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn offer(&mut self, sdp: &str) -> Result<(), String> {
        let offer = self.read(sdp)?;
        if offer.media.len() < self.sections.len() {
            return Err("an offer has fewer sections than the one before".to_owned());
        }
        for (index, media) in offer.media.iter().enumerate() {
            self.follow(index, media)?;
        }
        for media in offer.media.iter().filter(|media| is_live(media)) {
            for pt in media.payload_types() {
                let Some(map) = media.rtpmap(pt) else { continue };
                let codec = format!(
                    "{}/{}/{} {}",
                    map.encoding,
                    map.clock_rate,
                    map.channels,
                    media.fmtp(pt)
                );
                // Parameters of Opus tell about one track, not about the codec.
                let codec = codec.replace(";sprop-stereo=1", "");
                let known = self.formats.entry(pt).or_insert_with(|| codec.clone());
                // The client's own parameters take the place of ours with its first answer.
                if known.split(' ').next() != codec.split(' ').next() {
                    return Err(format!("payload type {pt} is {codec} and was {known}"));
                }
            }
        }
        Ok(())
    }

    /// Looks at an answer of the server to a client's offer.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn answer(&mut self, offer: &str, sdp: &str) -> Result<(), String> {
        let answer = self.read(sdp)?;
        let offer = Description::parse(offer).map_err(|error| format!("unreadable offer: {error}"))?;
        if offer.media.len() != answer.media.len() {
            return Err(format!(
                "{} sections answer {}",
                answer.media.len(),
                offer.media.len()
            ));
        }
        for (asked, media) in offer.media.iter().zip(&answer.media) {
            let mid = media.mid.as_deref().unwrap_or_default();
            if asked.mid != media.mid || asked.kind != media.kind || asked.protocol != media.protocol {
                return Err(format!("section {mid} answers another one"));
            }
            if let Some(other) = media
                .formats
                .iter()
                .find(|format| !asked.formats.contains(format))
            {
                return Err(format!("section {mid} answers with format {other}, not offered"));
            }
            if !is_live(media) || media.kind == MediaKind::Application {
                continue;
            }
            if !is_live(asked) {
                return Err(format!("section {mid} was rejected and is answered"));
            }
            let wrong = media.direction.sends() && !asked.direction.receives()
                || media.direction.receives() && !asked.direction.sends();
            if wrong {
                return Err(format!(
                    "section {mid} answers {} with {}",
                    asked.direction.as_str(),
                    media.direction.as_str()
                ));
            }
            let unknown = |map: &&wire::sdp::ExtMap| asked.extension(&map.uri) != Some(map.id);
            if let Some(map) = media.extmaps.iter().find(unknown) {
                return Err(format!("section {mid} answers with extension {}", map.uri));
            }
        }
        Ok(())
    }

    /// What holds for every description by itself, and for its streams over time.
    fn read(&mut self, sdp: &str) -> Result<Description, String> {
        self.checked += 1;
        let description = Description::parse(sdp).map_err(|error| format!("unreadable: {error}"))?;
        lines(sdp)?;
        let live = || description.media.iter().filter(|media| is_live(media));
        let mids: Vec<_> = live()
            .map(|media| media.mid.clone().unwrap_or_default())
            .collect();
        if mids.iter().any(String::is_empty) {
            return Err("a section has no mid".to_owned());
        }
        if description.session.bundle != mids {
            return Err(format!(
                "the bundle is {:?}, the sections are {mids:?}",
                description.session.bundle
            ));
        }
        unique(
            "mid",
            description.media.iter().filter_map(|media| media.mid.as_deref()),
        )?;
        let msids: Vec<_> = description
            .media
            .iter()
            .flat_map(|media| &media.msids)
            .map(|msid| format!("{} {}", msid.stream, msid.track.as_deref().unwrap_or_default()))
            .collect();
        unique("msid", msids.iter().map(String::as_str))?;
        let ssrcs: Vec<_> = description
            .media
            .iter()
            .flat_map(|media| &media.ssrcs)
            .map(|ssrc| ssrc.ssrc.to_string())
            .collect();
        unique("SSRC", ssrcs.iter().map(String::as_str))?;
        let mut extensions = BTreeMap::new();
        for media in live() {
            section(media)?;
            self.streams(media)?;
            for map in &media.extmaps {
                if *extensions.entry(map.id).or_insert(&map.uri) != &map.uri {
                    return Err(format!("extension id {} has two meanings", map.id));
                }
            }
        }
        Ok(description)
    }

    /// An SSRC names one track for as long as the connection lasts.
    fn streams(&mut self, media: &Media) -> Result<(), String> {
        let Some(track) = media.msid().and_then(|msid| msid.track) else {
            return Ok(());
        };
        for ssrc in &media.ssrcs {
            let known = self.tracks.entry(ssrc.ssrc).or_insert_with(|| track.clone());
            if *known != track {
                return Err(format!("SSRC {} was of {known} and is of {track}", ssrc.ssrc));
            }
        }
        Ok(())
    }

    /// A section keeps its place, mid and kind until it was rejected; mids are never used again.
    fn follow(&mut self, index: usize, media: &Media) -> Result<(), String> {
        let mid = media.mid.clone().unwrap_or_default();
        let rejected = !is_live(media);
        match self.sections.get_mut(index) {
            Some(known) if known.mid == mid && known.kind == media.kind => {
                if known.rejected && !rejected {
                    return Err(format!("section {mid} was rejected and comes back"));
                }
                known.rejected = rejected;
                return Ok(());
            }
            Some(known) if !known.rejected => {
                return Err(format!("section {index} was {} and is {mid}", known.mid));
            }
            _ => {}
        }
        if !self.mids.insert(mid.clone()) {
            return Err(format!("mid {mid} is used again"));
        }
        let section = Section {
            mid,
            kind: media.kind.clone(),
            rejected,
        };
        match self.sections.get_mut(index) {
            Some(place) => *place = section,
            None => self.sections.push(section),
        }
        Ok(())
    }
}

fn is_live(media: &Media) -> bool {
    media.port != 0 || media.bundle_only
}

/// Rules about the text that a tolerant reader does not see.
fn lines(sdp: &str) -> Result<(), String> {
    if !sdp.ends_with("\r\n") {
        return Err("the last line does not end".to_owned());
    }
    for line in sdp.split_terminator("\r\n") {
        if line.contains(['\r', '\n', '\0']) {
            return Err(format!("a line ends in its middle: {line:?}"));
        }
        if line.len() < 3 || line.as_bytes().get(1) != Some(&b'=') {
            return Err(format!("not a line: {line:?}"));
        }
        if let Some(rest) = line.strip_prefix("a=fmtp:") {
            let parameters = rest.split_once(' ').map_or("", |(_, parameters)| parameters);
            if parameters.split(';').any(|one| one.trim().is_empty()) {
                return Err(format!("an empty parameter: {line:?}"));
            }
        }
    }
    Ok(())
}

/// Rules about one section.
fn section(media: &Media) -> Result<(), String> {
    let mid = media.mid.as_deref().unwrap_or_default();
    let pts: BTreeSet<u8> = media.payload_types().collect();
    if media.kind == MediaKind::Application {
        return Ok(());
    }
    if pts.is_empty() || pts.len() != media.formats.len() {
        return Err(format!("section {mid} has formats {:?}", media.formats));
    }
    if let Some(pt) = pts.iter().find(|pt| media.rtpmap(**pt).is_none()) {
        return Err(format!("section {mid} does not say what {pt} is"));
    }
    let maps = media.rtpmaps.iter().map(|map| map.pt);
    let named = maps.chain(media.fmtps.iter().map(|(pt, _)| *pt));
    let mut named = named.chain(media.feedback.iter().filter_map(|(pt, _)| *pt));
    if let Some(pt) = named.find(|pt| !pts.contains(pt)) {
        return Err(format!("section {mid} tells of {pt}, which it does not have"));
    }
    let fmtps: Vec<_> = media.fmtps.iter().map(|(pt, _)| pt.to_string()).collect();
    unique("payload type of a=fmtp", fmtps.iter().map(String::as_str))?;
    let ids: Vec<_> = media.extmaps.iter().map(|map| map.id.to_string()).collect();
    unique("extension id", ids.iter().map(String::as_str))?;
    for (pt, fmtp) in &media.fmtps {
        let apt = fmtp.strip_prefix("apt=").and_then(|apt| apt.parse().ok());
        if apt.is_some_and(|apt: u8| !pts.contains(&apt)) {
            return Err(format!("section {mid}: {pt} repairs what is not there"));
        }
    }
    if media.msids.len() > 1 {
        return Err(format!("section {mid} names {} tracks", media.msids.len()));
    }
    if !media.msids.is_empty() && !media.direction.sends() {
        return Err(format!("section {mid} names a track and does not send"));
    }
    if media.direction == Direction::Inactive && !media.ssrcs.is_empty() {
        return Err(format!("section {mid} is inactive and has SSRCs"));
    }
    let known = |ssrc: &u32| media.ssrcs.iter().any(|known| known.ssrc == *ssrc);
    if !media.ssrc_groups.iter().flat_map(|group| &group.ssrcs).all(known) {
        return Err(format!("section {mid} groups an SSRC that it does not have"));
    }
    Ok(())
}

fn unique<'a>(what: &str, values: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for value in values {
        if !seen.insert(value) {
            return Err(format!("{what} {value} occurs twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n";

    fn audio(mid: &str, more: &str) -> String {
        format!("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:{mid}\r\na=rtpmap:111 opus/48000/2\r\n{more}")
    }

    fn offer(mids: &str, sections: &[String]) -> String {
        format!("{HEAD}a=group:BUNDLE {mids}\r\n{}", sections.concat())
    }

    #[test]
    fn one_track_in_two_sections_is_seen() {
        let track = "a=sendonly\r\na=msid:PA|TR TR\r\n";
        let twice = offer("0 1", &[audio("0", track), audio("1", track)]);
        let found = DescriptionChecker::default().offer(&twice);
        assert_eq!(found, Err("msid PA|TR TR occurs twice".to_owned()));
        let once = offer("0 1", &[audio("0", track), audio("1", "a=recvonly\r\n")]);
        assert_eq!(DescriptionChecker::default().offer(&once), Ok(()));
    }

    #[test]
    fn empty_parameters_are_seen() {
        let empty = offer("0", &[audio("0", "a=fmtp:111 ;usedtx=1\r\n")]);
        let found = DescriptionChecker::default().offer(&empty);
        assert!(found.is_err_and(|why| why.starts_with("an empty parameter")));
    }

    #[test]
    fn sections_that_move_and_ssrcs_that_change_hands_are_seen() {
        let mut checker = DescriptionChecker::default();
        let first = |track: &str| format!("a=sendonly\r\na=msid:s {track}\r\na=ssrc:5 cname:x\r\n");
        assert_eq!(checker.offer(&offer("0", &[audio("0", &first("a"))])), Ok(()));
        let moved = checker.offer(&offer("1", &[audio("1", "")]));
        assert_eq!(moved, Err("section 0 was 0 and is 1".to_owned()));
        let reused = checker.offer(&offer("0", &[audio("0", &first("b"))]));
        assert_eq!(reused, Err("SSRC 5 was of a and is of b".to_owned()));
        let fewer = checker.offer(HEAD);
        assert_eq!(
            fewer,
            Err("an offer has fewer sections than the one before".to_owned())
        );
    }

    #[test]
    fn answers_stay_within_their_offer() {
        let asked = offer("0", &[audio("0", "a=sendonly\r\n")]);
        let check = |more: &str| {
            let answer = offer("0", &[audio("0", more)]);
            DescriptionChecker::default().answer(&asked, &answer)
        };
        assert_eq!(check("a=recvonly\r\n"), Ok(()));
        assert!(check("a=sendrecv\r\n").is_err());
        assert!(check("a=recvonly\r\na=extmap:4 urn:x\r\n").is_err());
    }
}
