//! Reading descriptions, line by line.

use super::{
    ATTRIBUTE_BYTES_MAX, BYTES_MAX, Candidate, Description, Direction, ExtMap, Fingerprint, ITEMS_MAX,
    LINE_BYTES_MAX, Media, MediaKind, Msid, Rid, RtpMap, SECTIONS_MAX, SSRCS_MAX, Setup, Simulcast, Ssrc,
    SsrcGroup, Transport, order_rids,
};

/// Why a text is not taken for a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// It does not begin with `v=0`.
    NotSdp,
    /// An `m=` line that cannot be read; the number counts sections from 0.
    BadMediaLine(usize),
    /// More than [`BYTES_MAX`] bytes or [`SECTIONS_MAX`] sections, or a line of more than
    /// [`LINE_BYTES_MAX`].
    TooLarge,
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotSdp => f.write_str("not a session description"),
            Self::BadMediaLine(index) => write!(f, "media line {index} cannot be read"),
            Self::TooLarge => f.write_str("session description too large"),
        }
    }
}

impl std::error::Error for ParseError {}

pub(super) fn description(text: &str) -> Result<Description, ParseError> {
    if text.len() > BYTES_MAX {
        return Err(ParseError::TooLarge);
    }
    let mut lines = text.split(['\n', '\r']).filter(|line| !line.is_empty());
    if lines.next().is_none_or(|line| line.trim_ascii_end() != "v=0") {
        return Err(ParseError::NotSdp);
    }
    let mut result = Description::default();
    // Session-level default for sections without a direction (RFC 8866 §6.7).
    let mut default_direction = Direction::SendRecv;
    for line in lines {
        if line.len() > LINE_BYTES_MAX {
            return Err(ParseError::TooLarge);
        }
        let Some((kind, value)) = line.split_once('=') else {
            continue;
        };
        match (kind, result.media.last_mut()) {
            ("m", _) => {
                let index = result.media.len();
                if index == SECTIONS_MAX {
                    return Err(ParseError::TooLarge);
                }
                let mut media = media_line(value).ok_or(ParseError::BadMediaLine(index))?;
                media.direction = default_direction;
                result.media.push(media);
            }
            ("a", Some(media)) => media_attribute(media, value.trim_ascii_end()),
            ("a", None) => match direction(value.trim_ascii_end()) {
                Some(found) => default_direction = found,
                None => session_attribute(&mut result, value.trim_ascii_end()),
            },
            ("o", None) => {
                let mut words = value.split_ascii_whitespace().skip(1);
                let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
                result.session.id = number();
                result.session.version = number();
            }
            _ => {}
        }
    }
    Ok(result)
}

fn media_line(value: &str) -> Option<Media> {
    let mut words = value.split_ascii_whitespace();
    let kind = match words.next()? {
        "audio" => MediaKind::Audio,
        "video" => MediaKind::Video,
        "application" => MediaKind::Application,
        other => MediaKind::Other(other.to_owned()),
    };
    // `port/number of ports` is legal (RFC 8866 §5.14).
    let port = words.next()?.split('/').next()?.parse().ok()?;
    let mut media = Media::new(kind, words.next()?.to_owned());
    media.port = port;
    media.formats = words.take(ITEMS_MAX).map(str::to_owned).collect();
    Some(media)
}

fn direction(attribute: &str) -> Option<Direction> {
    match attribute {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::SendOnly),
        "recvonly" => Some(Direction::RecvOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    }
}

fn session_attribute(result: &mut Description, attribute: &str) {
    let session = &mut result.session;
    let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
    match name {
        "msid-semantic" => session.msid_semantic = Some(value.trim_ascii().to_owned()),
        "extmap-allow-mixed" => session.extmap_allow_mixed = true,
        "ice-lite" => session.ice_lite = true,
        "group" => {
            let mut words = value.split_ascii_whitespace();
            if words.next() == Some("BUNDLE") && session.bundle.is_empty() {
                session.bundle = words.take(SECTIONS_MAX).map(str::to_owned).collect();
            }
        }
        _ => transport_attribute(&mut session.transport, name, value),
    }
}

fn transport_attribute(transport: &mut Transport, name: &str, value: &str) {
    match name {
        "ice-ufrag" => transport.ufrag = Some(value.trim_ascii().to_owned()),
        "ice-pwd" => transport.pwd = Some(value.trim_ascii().to_owned()),
        "ice-options" => {
            transport.trickle |= value.split_ascii_whitespace().any(|option| option == "trickle");
        }
        "fingerprint" => {
            let better =
                |new: &Fingerprint| transport.fingerprint.is_none_or(|old| new.is_stronger_than(&old));
            if let Some(new) = Fingerprint::parse(value).filter(better) {
                transport.fingerprint = Some(new);
            }
        }
        "setup" => {
            transport.setup = match value.trim_ascii() {
                "actpass" => Some(Setup::ActPass),
                "active" => Some(Setup::Active),
                "passive" => Some(Setup::Passive),
                "holdconn" => Some(Setup::HoldConn),
                _ => transport.setup,
            };
        }
        "candidate" => keep(&mut transport.candidates, Candidate::parse(value)),
        "end-of-candidates" => transport.end_of_candidates = true,
        _ => {}
    }
}

fn media_attribute(media: &mut Media, attribute: &str) {
    if attribute.len() > ATTRIBUTE_BYTES_MAX {
        return;
    }
    if let Some(found) = direction(attribute) {
        media.direction = found;
        return;
    }
    let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
    match name {
        "mid" => media.mid = Some(value.trim_ascii().to_owned()),
        "bundle-only" => media.bundle_only = true,
        "rtcp-mux" => media.rtcp_mux = true,
        "rtcp-rsize" => media.rtcp_rsize = true,
        "rtpmap" => keep(&mut media.rtpmaps, rtpmap(value)),
        "fmtp" => keep(&mut media.fmtps, fmtp(value)),
        "rtcp-fb" => keep(&mut media.feedback, feedback(value)),
        "extmap" => keep(&mut media.extmaps, extmap(value)),
        "ssrc" => ssrc(media, value),
        "ssrc-group" if media.ssrc_groups.len() < SSRCS_MAX => {
            keep(&mut media.ssrc_groups, ssrc_group(value));
        }
        "rid" => keep(&mut media.rids, rid(value)),
        "simulcast" => media.simulcast = simulcast(value),
        "msid" => keep(&mut media.msids, Some(Msid::parse(value))),
        "sctp-port" => media.sctp_port = value.trim_ascii().parse().ok(),
        "sctpmap" => {
            let port = value
                .split_ascii_whitespace()
                .next()
                .and_then(|word| word.parse().ok());
            media.sctp_port = media.sctp_port.or(port);
        }
        "max-message-size" => media.max_message_size = value.trim_ascii().parse().ok(),
        _ => transport_attribute(&mut media.transport, name, value),
    }
}

fn keep<T>(list: &mut Vec<T>, item: Option<T>) {
    if list.len() < ITEMS_MAX {
        list.extend(item);
    }
}

fn payload_type(word: &str) -> Option<u8> {
    word.parse().ok().filter(|pt| *pt < 128)
}

fn rtpmap(value: &str) -> Option<RtpMap> {
    let (pt, format) = value.trim_ascii().split_once(' ')?;
    let mut parts = format.trim_ascii().split('/');
    Some(RtpMap {
        pt: payload_type(pt)?,
        encoding: parts.next()?.to_owned(),
        clock_rate: parts.next()?.parse().ok()?,
        channels: parts.next().and_then(|count| count.parse().ok()).unwrap_or(1),
    })
}

fn fmtp(value: &str) -> Option<(u8, String)> {
    let (pt, parameters) = value.trim_ascii().split_once(' ')?;
    Some((payload_type(pt)?, parameters.trim_ascii().to_owned()))
}

fn feedback(value: &str) -> Option<(Option<u8>, String)> {
    let (pt, what) = value.trim_ascii().split_once(' ')?;
    let pt = match pt {
        "*" => None,
        number => Some(payload_type(number)?),
    };
    Some((pt, what.trim_ascii().to_owned()))
}

fn extmap(value: &str) -> Option<ExtMap> {
    let mut words = value.split_ascii_whitespace();
    let id = words.next()?.split('/').next()?.parse().ok()?;
    let uri = words.next()?.to_owned();
    (id != 0).then_some(ExtMap { id, uri })
}

fn ssrc(media: &mut Media, value: &str) {
    let (number, attribute) = value
        .trim_ascii()
        .split_once(' ')
        .unwrap_or((value.trim_ascii(), ""));
    let Ok(number) = number.parse::<u32>() else {
        return;
    };
    let index = match media.ssrcs.iter().position(|known| known.ssrc == number) {
        Some(index) => index,
        None if media.ssrcs.len() == SSRCS_MAX => return,
        None => {
            media.ssrcs.push(Ssrc {
                ssrc: number,
                attributes: Vec::new(),
            });
            media.ssrcs.len() - 1
        }
    };
    let (name, value) = match attribute.split_once(':') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (attribute, None),
    };
    if let Some(known) = media.ssrcs.get_mut(index)
        && !name.is_empty()
    {
        keep(&mut known.attributes, Some((name.to_owned(), value)));
    }
}

fn ssrc_group(value: &str) -> Option<SsrcGroup> {
    let mut words = value.split_ascii_whitespace();
    let semantics = words.next()?.to_owned();
    let ssrcs = words
        .take(SSRCS_MAX)
        .map(|word| word.parse().ok())
        .collect::<Option<Vec<u32>>>()?;
    Some(SsrcGroup { semantics, ssrcs })
}

fn rid(value: &str) -> Option<Rid> {
    let mut words = value.trim_ascii().splitn(3, ' ');
    let id = words.next().filter(|id| !id.is_empty())?.to_owned();
    let send = match words.next()? {
        "send" => true,
        "recv" => false,
        _ => return None,
    };
    let restrictions = words.next().unwrap_or_default().trim_ascii().to_owned();
    Some(Rid {
        id,
        send,
        restrictions,
    })
}

fn simulcast(value: &str) -> Option<Simulcast> {
    let mut words = value.split_ascii_whitespace();
    let mut result = Simulcast::default();
    while let Some(direction) = words.next() {
        let list = words.next()?;
        // Chrome up to 73 wrote `rid=` before the list (draft-ietf-mmusic-sdp-simulcast-03).
        let list = list.strip_prefix("rid=").unwrap_or(list);
        let mut rids: Vec<String> = list
            .split(';')
            .filter_map(|stream| stream.split(',').next())
            .map(|rid| rid.strip_prefix('~').unwrap_or(rid))
            .filter(|rid| !rid.is_empty())
            .take(ITEMS_MAX)
            .map(str::to_owned)
            .collect();
        order_rids(&mut rids);
        match direction {
            "send" => result.send = rids,
            "recv" => result.recv = rids,
            _ => return None,
        }
    }
    Some(result)
}
