//! Which codecs Plenum speaks, with the payload types of its own offers, and how they are found in
//! what a client writes.

use super::sections::kind_of;
use media::api::{Codec, Kind, Payload};
use wire::sdp::{Direction, Media, RtpMap};

/// One row of the table of codecs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Registered {
    pub(super) codec: Codec,
    /// Name in `a=rtpmap`.
    pub(super) encoding: &'static str,
    pub(super) channels: u8,
    /// Payload type when we offer; RTX, where there is any, has the next one.
    pub(super) pt: u8,
    pub(super) fmtp: &'static str,
    /// Stands in offers to subscribers.
    offered: bool,
    /// Only enabled by an entry that lists exactly this fmtp.
    exact: bool,
}

/// Whether an encoding only repairs what another one carries.
pub(super) fn repairs(encoding: &str) -> bool {
    ["rtx", "red", "ulpfec", "flexfec-03"]
        .iter()
        .any(|name| encoding.eq_ignore_ascii_case(name))
}

impl Registered {
    const fn audio(codec: Codec, encoding: &'static str, channels: u8, pt: u8, fmtp: &'static str) -> Self {
        Self {
            codec,
            encoding,
            channels,
            pt,
            fmtp,
            offered: true,
            exact: false,
        }
    }

    const fn video(codec: Codec, encoding: &'static str, pt: u8, fmtp: &'static str) -> Self {
        Self::audio(codec, encoding, 1, pt, fmtp)
    }

    const fn exact(mut self) -> Self {
        self.exact = true;
        self
    }

    const fn not_offered(mut self) -> Self {
        self.offered = false;
        self
    }

    fn mime(&self) -> String {
        let kind = match self.codec.kind() {
            Kind::Audio => "audio",
            Kind::Video => "video",
        };
        format!("{kind}/{}", self.encoding)
    }
}

macro_rules! h264 {
    ($profile:literal, $mode:literal) => {
        concat!(
            "level-asymmetry-allowed=1;packetization-mode=",
            $mode,
            ";profile-level-id=",
            $profile
        )
    };
}

/// The table, in the order of offers.
static REGISTRY: [Registered; 16] = [
    Registered::audio(Codec::Opus, "opus", 2, 111, "minptime=10;useinbandfec=1"),
    Registered::audio(Codec::Red, "red", 2, 63, "111/111"),
    Registered::audio(Codec::Pcmu, "PCMU", 1, 0, ""),
    Registered::audio(Codec::Pcma, "PCMA", 1, 8, ""),
    Registered::video(Codec::Vp8, "VP8", 96, ""),
    Registered::video(Codec::Vp9, "VP9", 98, "profile-id=0"),
    Registered::video(Codec::Vp9, "VP9", 100, "profile-id=1"),
    Registered::video(Codec::H264, "H264", 125, h264!("42e01f", "0")),
    Registered::video(Codec::H264, "H264", 108, h264!("42e01f", "1")),
    Registered::video(Codec::H264, "H264", 123, h264!("640032", "1")).not_offered(),
    Registered::video(Codec::Av1, "AV1", 35, ""),
    Registered::video(Codec::H265, "H265", 116, ""),
    Registered::video(Codec::H264, "H264", 104, h264!("42001f", "0")).exact(),
    Registered::video(Codec::H264, "H264", 102, h264!("42001f", "1")).exact(),
    Registered::video(Codec::H264, "H264", 39, h264!("4d001f", "0")).exact(),
    Registered::video(Codec::H264, "H264", 106, h264!("4d001f", "1")).exact(),
];

/// What libwebrtc's encoder is to begin with, in kbit/s.
const START_BITRATE: &str = "x-google-start-bitrate";

/// Parameters of Opus that we ask for.
pub(super) const OPUS_FMTP: &str = REGISTRY[0].fmtp;

/// A codec as it stands in one section, ours or the client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) codec: Codec,
    pub(super) encoding: String,
    pub(super) channels: u8,
    pub(super) pt: u8,
    pub(super) rtx_pt: Option<u8>,
    pub(super) fmtp: String,
    /// Feedback messages, in the order to write them.
    pub(super) feedback: Vec<&'static str>,
}

impl Format {
    pub(super) fn payload(&self) -> Payload {
        Payload {
            codec: self.codec,
            pt: self.pt,
            rtx_pt: self.rtx_pt,
            nack: self.feedback.contains(&"nack"),
        }
    }
}

/// The table without what the room or the client has switched off. An entry names a mime type and,
/// when its fmtp is not empty, one exact variant.
pub(super) fn enabled(codecs: &[(String, String)]) -> Vec<&'static Registered> {
    let has = |row: &Registered| {
        let mime = row.mime();
        codecs.iter().any(|(name, fmtp)| {
            name.eq_ignore_ascii_case(&mime) && (fmtp == row.fmtp || (fmtp.is_empty() && !row.exact))
        })
    };
    let opus = REGISTRY.iter().any(|row| row.codec == Codec::Opus && has(row));
    let usable = |row: &&Registered| has(row) && (row.codec != Codec::Red || opus);
    REGISTRY.iter().filter(usable).collect()
}

/// Codecs of one kind for an offer to a subscriber.
pub(super) fn to_offer(enabled: &[&'static Registered], kind: Kind) -> Vec<Format> {
    let rows = enabled
        .iter()
        .filter(|row| row.codec.kind() == kind && row.offered);
    let feedback: &[_] = match kind {
        Kind::Audio => &["nack"],
        Kind::Video => &["ccm fir", "nack", "nack pli", "goog-remb"],
    };
    let format = |row: &&'static Registered| Format {
        codec: row.codec,
        encoding: row.encoding.to_owned(),
        channels: row.channels,
        pt: row.pt,
        rtx_pt: (kind == Kind::Video).then_some(row.pt + 1),
        fmtp: row.fmtp.to_owned(),
        feedback: used_feedback(row.codec, feedback).to_vec(),
    };
    rows.map(format).collect()
}

/// Codecs of a client's section that we speak too, in the client's order and with its payload
/// types and parameters. `feedback` are the messages that we would use.
///
/// Variants that differ in profile or packetization mode count only when nothing in the section
/// matches exactly: some stacks offer a single H.264 variant of their own.
pub(super) fn common(
    media: &Media,
    enabled: &[&'static Registered],
    feedback: &[&'static str],
) -> Vec<Format> {
    let table = Table::new(media, feedback);
    let candidates: Vec<Format> = media
        .payload_types()
        .filter_map(|pt| table.read(pt, enabled, feedback))
        .collect();
    let exact: Vec<Format> = candidates
        .iter()
        .filter(|format| enabled.iter().any(|row| matches(row, format)))
        .cloned()
        .collect();
    let mut found = if exact.is_empty() { candidates } else { exact };
    let opus = found
        .iter()
        .find(|format| format.codec == Codec::Opus)
        .map(|format| format.pt.to_string());
    // RED without the Opus that it carries is of no use (RFC 2198 §5).
    found.retain(|format| {
        let carried = format.fmtp.split('/').next().unwrap_or_default();
        format.codec != Codec::Red
            || opus.is_some() && (carried.is_empty() || Some(carried) == opus.as_deref())
    });
    found
}

/// What a section says of each payload type, gathered in one pass: looking for each of them anew would
/// take a second for one description with as many as there may be.
struct Table<'a> {
    media: &'a Media,
    rows: Vec<Row<'a>>,
    /// Feedback messages for all of them, as in [`Row::feedback`].
    feedback: u32,
}

#[derive(Clone, Copy, Default)]
struct Row<'a> {
    map: Option<&'a RtpMap>,
    fmtp: Option<&'a str>,
    /// The first payload type that retransmits it.
    rtx: Option<u8>,
    /// Which of our feedback messages it has, a bit for each.
    feedback: u32,
}

impl<'a> Table<'a> {
    fn new(media: &'a Media, feedback: &[&'static str]) -> Self {
        let mut table = Self {
            media,
            rows: vec![Row::default(); 128],
            feedback: 0,
        };
        for map in &media.rtpmaps {
            if let Some(row) = table.row_mut(map.pt) {
                row.map.get_or_insert(map);
            }
        }
        for (pt, parameters) in &media.fmtps {
            if let Some(row) = table.row_mut(*pt) {
                row.fmtp.get_or_insert(parameters);
            }
        }
        for (pt, name) in &media.feedback {
            let Some(bit) = feedback.iter().position(|what| what == name) else {
                continue;
            };
            match pt {
                None => table.feedback |= 1 << bit,
                Some(pt) => {
                    if let Some(row) = table.row_mut(*pt) {
                        row.feedback |= 1 << bit;
                    }
                }
            }
        }
        for rtx in media.payload_types() {
            let row = table.row(rtx);
            let is_rtx = row
                .map
                .is_some_and(|map| map.encoding.eq_ignore_ascii_case("rtx"));
            let of = parameter(row.fmtp.unwrap_or_default(), "apt").filter(|_| is_rtx);
            let of = of.and_then(|apt| apt.parse().ok());
            if let Some(row) = of.and_then(|of| table.row_mut(of)) {
                row.rtx.get_or_insert(rtx);
            }
        }
        table
    }

    fn row(&self, pt: u8) -> Row<'a> {
        self.rows.get(usize::from(pt)).copied().unwrap_or_default()
    }

    fn row_mut(&mut self, pt: u8) -> Option<&mut Row<'a>> {
        self.rows.get_mut(usize::from(pt))
    }

    fn read(&self, pt: u8, enabled: &[&'static Registered], feedback: &[&'static str]) -> Option<Format> {
        let of = self.row(pt);
        let map = of.map.cloned().or_else(|| RtpMap::assigned(pt))?;
        let kind = kind_of(&self.media.kind)?;
        let row = enabled.iter().find(|row| {
            row.codec.kind() == kind
                && row.codec.clock_rate() == map.clock_rate
                && row.encoding.eq_ignore_ascii_case(&map.encoding)
        })?;
        let has = self.feedback | of.feedback;
        let used = used_feedback(row.codec, feedback);
        let bits = feedback.iter().enumerate();
        let offered = bits.filter(|(bit, what)| has & (1 << bit) != 0 && used.contains(what));
        Some(Format {
            codec: row.codec,
            encoding: map.encoding,
            channels: map.channels,
            pt,
            rtx_pt: of.rtx,
            fmtp: of_the_receiver(self.media.direction, of.fmtp.unwrap_or_default()),
            feedback: offered.map(|(_, what)| *what).collect(),
        })
    }
}

/// Parameters of a format, without the bitrate that a sender is to begin with where the client
/// sends nothing: it is about its own encoder. Empty ones (`minptime=10;`) are not echoed: RFC 8866 §6.15
/// knows none.
fn of_the_receiver(direction: Direction, fmtp: &str) -> String {
    let receives = direction == Direction::RecvOnly;
    let is_left_out = |one: &str| one.is_empty() || receives && one.starts_with(START_BITRATE);
    let parameters: Vec<&str> = fmtp.split(';').filter(|one| !is_left_out(one.trim())).collect();
    parameters.join(";")
}

/// RED repairs itself: it is not retransmitted.
const fn used_feedback<'a>(codec: Codec, feedback: &'a [&'static str]) -> &'a [&'static str] {
    match codec {
        Codec::Red => &[],
        Codec::Opus
        | Codec::Pcmu
        | Codec::Pcma
        | Codec::Vp8
        | Codec::Vp9
        | Codec::H264
        | Codec::H265
        | Codec::Av1 => feedback,
    }
}

/// Same variant of the same codec.
fn matches(row: &Registered, format: &Format) -> bool {
    let same = |name: &str, default: &str| {
        let ours = parameter(row.fmtp, name).unwrap_or(default);
        ours == parameter(&format.fmtp, name).unwrap_or(default)
    };
    row.codec == format.codec
        && match row.codec {
            Codec::Vp9 => same("profile-id", "0"),
            Codec::Av1 => same("profile", "0"),
            Codec::H264 => same("packetization-mode", "0") && same_h264_profile(row.fmtp, &format.fmtp),
            // Any level: it may differ between the directions (RFC 7798 §7.2.2).
            Codec::H265 => {
                let txs = [row.fmtp, &format.fmtp].map(|fmtp| parameter(fmtp, "tx-mode").unwrap_or("SRST"));
                same("profile-id", "1") && same("tier-flag", "0") && txs[0].eq_ignore_ascii_case(txs[1])
            }
            Codec::Opus | Codec::Red | Codec::Pcmu | Codec::Pcma | Codec::Vp8 => true,
        }
}

/// Profile and constraint bytes; the level may differ (RFC 6184 §8.2.2).
fn same_h264_profile(ours: &str, theirs: &str) -> bool {
    let profile = |fmtp: &str| {
        let id = parameter(fmtp, "profile-level-id")?;
        id.get(..4).map(str::to_ascii_lowercase)
    };
    let theirs = profile(theirs);
    theirs.is_some() && profile(ours) == theirs
}

/// A parameter of an `a=fmtp` value.
fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// The codec that `video/vp8`, `vp8` or `audio/opus` names.
pub(super) fn by_mime(mime: &str) -> Option<Codec> {
    let name = mime.rsplit('/').next().filter(|name| !name.is_empty())?;
    let row = REGISTRY
        .iter()
        .find(|row| row.encoding.eq_ignore_ascii_case(name));
    row.map(|row| row.codec)
}

/// Payload types for sending one of `wanted`. An H.264 stream is nearly always of packetization
/// mode 1, so such payload types come before those of mode 0.
pub(super) fn to_send(formats: &[Format], wanted: &[Codec], red: bool) -> Vec<Payload> {
    let usable = |format: &&Format| wanted.contains(&format.codec) && (red || format.codec != Codec::Red);
    let single_nal = |format: &&Format| {
        format.codec == Codec::H264 && parameter(&format.fmtp, "packetization-mode").unwrap_or("0") == "0"
    };
    let mut usable: Vec<&Format> = formats.iter().filter(usable).collect();
    usable.sort_by_key(single_nal);
    usable.into_iter().map(Format::payload).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::sdp::Description;

    fn section(lines: &str) -> Media {
        let mut parsed = Description::parse(&format!("v=0\n{lines}")).unwrap();
        parsed.media.remove(0)
    }

    fn all() -> Vec<&'static Registered> {
        let codecs: Vec<_> = crate::config::default_codecs()
            .into_iter()
            .map(|codec| (codec.mime, codec.fmtp_line))
            .collect();
        enabled(&codecs)
    }

    fn pts(formats: &[Format]) -> Vec<(u8, Option<u8>)> {
        formats.iter().map(|format| (format.pt, format.rtx_pt)).collect()
    }

    #[test]
    fn offers_list_the_codecs_and_payload_types_of_the_reference() {
        let video = to_offer(&all(), Kind::Video);
        let primaries: Vec<u8> = video.iter().map(|format| format.pt).collect();
        assert_eq!(primaries, [96, 98, 100, 125, 108, 35, 116]);
        let audio = to_offer(&all(), Kind::Audio);
        assert_eq!(pts(&audio), [(111, None), (63, None), (0, None), (8, None)]);
    }

    #[test]
    fn a_codec_is_enabled_by_mime_or_exact_variant() {
        let entry = |mime: &str, fmtp: &str| (mime.to_owned(), fmtp.to_owned());
        assert!(enabled(&[entry("audio/red", "")]).is_empty(), "RED needs Opus");
        let rows = enabled(&[entry("video/h264", h264!("42001f", "1"))]);
        assert_eq!(rows.iter().map(|row| row.pt).collect::<Vec<_>>(), [102]);
        assert!(all().iter().all(|row| row.pt != 102));
    }

    #[test]
    fn profiles_and_modes_must_match() {
        let media = section(
            "m=video 9 X 96 97 98 99 102 103 120 121 45 46\na=rtpmap:96 H264/90000\n\
             a=fmtp:96 packetization-mode=1;profile-level-id=42E029\na=rtpmap:97 rtx/90000\na=fmtp:97 apt=96\n\
             a=rtpmap:98 H264/90000\na=fmtp:98 packetization-mode=1;profile-level-id=42001f\n\
             a=rtpmap:99 H264/90000\na=fmtp:99 profile-level-id=42e01f\n\
             a=rtpmap:102 VP9/90000\na=fmtp:102 profile-id=2\na=rtpmap:103 VP9/90000\n\
             a=rtpmap:45 AV1/90000\na=fmtp:45 profile=1\na=rtpmap:46 AV1/90000\n\
             a=rtcp-fb:96 nack\na=rtcp-fb:96 nack pli\na=rtcp-fb:96 goog-remb\n",
        );
        let found = common(&media, &all(), &["nack", "ccm fir"]);
        assert_eq!(pts(&found), [(96, Some(97)), (99, None), (103, None), (46, None)]);
        assert_eq!(found[0].feedback, ["nack"]);
        assert!(found[0].payload().nack && !found[1].payload().nack);
    }

    #[test]
    fn profile_tier_and_transmission_of_h265_must_match_and_its_level_need_not() {
        let found = |fmtp: &str| {
            let fmtp = if fmtp.is_empty() {
                String::new()
            } else {
                format!("a=fmtp:49 {fmtp}\n")
            };
            let media = section(&format!(
                "m=video 9 X 96 49 50\na=rtpmap:96 VP8/90000\na=rtpmap:49 H265/90000\n{fmtp}\
                 a=rtpmap:50 rtx/90000\na=fmtp:50 apt=49\n"
            ));
            pts(&common(&media, &all(), &[])).contains(&(49, Some(50)))
        };
        for taken in [
            "",
            "level-id=93",
            "level-id=180;profile-id=1;tier-flag=0;tx-mode=SRST",
            "profile-id=1; tx-mode=srst",
        ] {
            assert!(found(taken), "{taken}");
        }
        for other in ["profile-id=2", "tier-flag=1;level-id=120", "tx-mode=MRST"] {
            assert!(!found(other), "{other}");
        }
    }

    #[test]
    fn of_two_profiles_of_h265_the_main_one_is_taken() {
        let media = section(
            "m=video 9 X 51 49\na=rtpmap:51 H265/90000\na=fmtp:51 level-id=153;profile-id=2\n\
             a=rtpmap:49 H265/90000\na=fmtp:49 level-id=153;profile-id=1;tier-flag=0;tx-mode=SRST\n",
        );
        let found = common(&media, &all(), &[]);
        assert_eq!(pts(&found), [(49, None)]);
        assert_eq!(
            found[0].fmtp,
            "level-id=153;profile-id=1;tier-flag=0;tx-mode=SRST"
        );
    }

    #[test]
    fn a_lone_unknown_variant_is_taken() {
        let media = section("m=video 9 X 96\na=rtpmap:96 H264/90000\na=fmtp:96 profile-level-id=4d0028\n");
        assert_eq!(pts(&common(&media, &all(), &[])), [(96, None)]);
    }

    #[test]
    fn red_must_carry_the_offered_opus() {
        let lines = "a=rtpmap:109 opus/48000/2\na=rtpmap:63 red/48000/2\n";
        let media = |fmtp: &str| section(&format!("m=audio 9 X 109 63 0\n{lines}{fmtp}"));
        let found = |fmtp: &str| pts(&common(&media(fmtp), &all(), &[])).len();
        assert_eq!(found("a=fmtp:63 109/109\n"), 3);
        assert_eq!(found("a=fmtp:63 111/111\n"), 2);
        let lone = section("m=audio 9 X 63\na=rtpmap:63 red/48000/2\na=fmtp:63 111/111\n");
        assert_eq!(common(&lone, &all(), &[]), []);
    }

    #[test]
    fn h264_is_sent_with_packetization_mode_1_first() {
        let formats = to_offer(&all(), Kind::Video);
        let payloads = to_send(&formats, &[Codec::H264], true);
        assert_eq!(payloads.iter().map(|p| p.pt).collect::<Vec<_>>(), [108, 125]);
    }

    #[test]
    fn mime_types_are_read_in_every_spelling() {
        assert_eq!(by_mime("video/vp8"), Some(Codec::Vp8));
        assert_eq!(by_mime("VP9"), Some(Codec::Vp9));
        assert_eq!(by_mime("audio/opus"), Some(Codec::Opus));
        assert_eq!(by_mime(""), None);
        assert_eq!(by_mime("video/rtx"), None);
    }
}
