//! Reads the recorded calls: `%text n` blocks hold pieces of SDP, the other lines tell what
//! happened in order.

/// One thing in a recorded call.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A new participant of a new or the same call.
    Peer(String),
    /// A signal connection began.
    Session,
    /// AddTrack: kind, codec, flags.
    Track {
        video: bool,
        mime: String,
        flags: String,
    },
    /// A description.
    Sdp(Sdp),
}

#[derive(Clone, Debug)]
pub(super) struct Sdp {
    pub(super) from_client: bool,
    pub(super) offer: bool,
    pub(super) id: u32,
    /// (mid, track SID), ordered by mid.
    pub(super) mid_to_track: Vec<(String, String)>,
    pub(super) text: String,
}

pub(super) fn steps() -> Vec<Step> {
    let file = include_str!("../../../../wire/tests/vectors/calls.txt");
    let mut texts: Vec<String> = Vec::new();
    let mut steps = Vec::new();
    for line in file.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[0] {
            "%text" => texts.push(String::new()),
            "%peer" => steps.push(Step::Peer(line.to_owned())),
            "%session" => steps.push(Step::Session),
            "%track" => steps.push(Step::Track {
                video: words[1] == "video",
                mime: words[2].replace('-', ""),
                flags: words[4].to_owned(),
            }),
            "%sdp" => steps.push(Step::Sdp(sdp(&words, &texts))),
            word if word.starts_with('%') => {}
            _ => {
                let text = texts.last_mut().unwrap();
                text.push_str(line);
                text.push_str("\r\n");
            }
        }
    }
    steps
}

fn sdp(words: &[&str], texts: &[String]) -> Sdp {
    let pairs = words[4].split(',').filter_map(|pair| pair.split_once('='));
    let mut mid_to_track: Vec<_> = pairs.map(|(mid, sid)| (mid.to_owned(), sid.to_owned())).collect();
    mid_to_track.sort_by_key(|(mid, _)| mid.parse::<u32>().unwrap());
    let text: String = words[5..]
        .iter()
        .map(|piece| texts[piece[1..].parse::<usize>().unwrap()].as_str())
        .collect();
    // Intended difference: once the reference named a track whose section did not show it yet.
    let parsed = wire::sdp::Description::parse(&text).unwrap();
    mid_to_track.retain(|(mid, _)| {
        let mut sections = parsed.media.iter();
        sections.any(|media| media.mid.as_ref() == Some(mid) && media.msid().is_some())
    });
    Sdp {
        from_client: words[1] == "c",
        offer: words[2] == "offer",
        id: words[3].parse().unwrap(),
        mid_to_track,
        text,
    }
}
