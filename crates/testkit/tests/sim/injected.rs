//! Packets that no publisher sent: silence, blank frames, announcements.

use media::api::{Command, DownOptions, LayerWish, TrackKey};
use peer::{Codec, Kind};
use std::time::Duration;
use testkit::client::Injected;
use testkit::sim::{Down, Sim};

const SILENCE: [u8; 3] = [0xF8, 0xFF, 0xFE];

/// One publisher and one listener on threads of their own.
fn call(seed: u64, kind: Kind) -> (Sim, TrackKey, Down) {
    let mut sim = Sim::new(seed, 2, 64);
    let (publisher, listener) = (sim.add_client(0), sim.add_client(1));
    sim.connect();
    let track = match kind {
        Kind::Audio => sim.publish_audio(publisher),
        Kind::Video => sim.publish_video(publisher, 1),
    };
    let down = sim.subscribe(listener, track, kind, LayerWish::BEST);
    (sim, track, down)
}

fn injected(sim: &Sim, down: Down) -> Vec<Injected> {
    let all = sim.clients[down.client].injected.iter();
    all.filter(|packet| packet.tag == down.key.0).cloned().collect()
}

fn heard(sim: &Sim, down: Down) -> usize {
    let all = sim.clients[down.client].received.iter();
    all.filter(|packet| packet.tag == down.key.0).count()
}

fn options(sim: &mut Sim, down: Down, options: DownOptions) {
    let command = Command::SetDownOptions {
        down: down.key,
        options,
    };
    sim.command(down.key.thread(), command);
}

/// They follow each other and what came before without a hole, so many ticks apart.
fn assert_in_a_row(sim: &Sim, down: Down, packets: &[Injected], ticks: u32) {
    for pair in packets.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence + 1);
        assert_eq!(pair[1].timestamp.wrapping_sub(pair[0].timestamp), ticks);
    }
    assert_eq!(sim.checker.holes(down.ssrc), 0);
}

#[test]
fn a_muted_track_ends_with_a_second_of_silence_and_goes_on_behind_it() {
    let (mut sim, track, down) = call(41, Kind::Audio);
    sim.run_for(Duration::from_secs(1));
    sim.mute(track, true);
    sim.run_for(Duration::from_secs(3));
    let silence = injected(&sim, down);
    assert_eq!(silence.len(), 50);
    assert!(silence.iter().all(|packet| packet.payload == SILENCE));
    assert_in_a_row(&sim, down, &silence, 960);
    let lasted = silence[49].at - silence[0].at;
    assert_eq!(lasted.as_millis(), 49 * 20);
    let before = heard(&sim, down);
    sim.mute(track, false);
    sim.run_for(Duration::from_secs(1));
    assert!(heard(&sim, down) > before + 45);
    assert_eq!(injected(&sim, down).len(), 50);
    assert_eq!(sim.checker.holes(down.ssrc), 0);
}

#[test]
fn every_audio_codec_has_a_silence_of_its_own() {
    let red = [&[111], &SILENCE[..]].concat();
    let red_marked = [&red[..], b"trailer"].concat();
    let cases = [
        (51, Codec::Pcmu, vec![0xFF; 160], 160, &b""[..]),
        (52, Codec::Pcma, vec![0xD5; 160], 160, b""),
        (53, Codec::Red, red, 960, b""),
        // Nobody but its listeners can unpack encrypted RED.
        (54, Codec::Red, red_marked, 960, b"trailer"),
    ];
    for (seed, codec, expected, ticks, trailer) in cases {
        let mut sim = Sim::new(seed, 2, 64);
        let (publisher, listener) = (sim.add_client(0), sim.add_client(1));
        sim.connect();
        let track = sim.publish_audio_as(publisher, codec);
        let down = sim.subscribe_as(listener, track, &[codec], LayerWish::BEST);
        let marked = DownOptions {
            injected_trailer: trailer.into(),
            ..DownOptions::default()
        };
        options(&mut sim, down, marked);
        sim.run_for(Duration::from_secs(1));
        sim.mute(track, true);
        sim.run_for(Duration::from_secs(2));
        let silence = injected(&sim, down);
        assert_eq!(silence.len(), 50, "{codec:?}");
        assert!(silence.iter().all(|packet| packet.payload == expected));
        assert_in_a_row(&sim, down, &silence, ticks);
        let before = heard(&sim, down);
        sim.mute(track, false);
        sim.run_for(Duration::from_secs(1));
        assert!(heard(&sim, down) > before + 45, "{codec:?}");
        sim.unsubscribe(down);
        sim.run_for(Duration::from_secs(1));
        assert_eq!(injected(&sim, down).len(), 60, "{codec:?}");
        assert_eq!(sim.checker.holes(down.ssrc), 0, "{codec:?}");
    }
}

#[test]
fn redundant_audio_of_which_nothing_was_heard_is_not_announced() {
    let mut sim = Sim::new(55, 1, 64);
    let (publisher, listener) = (sim.add_client(0), sim.add_client(0));
    sim.connect();
    let track = sim.publish_red(publisher);
    let down = sim.subscribe_as(listener, track, &[Codec::Red], LayerWish::BEST);
    sim.mute(track, true);
    let announce = DownOptions {
        announce: true,
        ..DownOptions::default()
    };
    options(&mut sim, down, announce);
    sim.run_for(Duration::from_secs(1));
    assert_eq!(injected(&sim, down), []);
    assert_eq!(sim.threads[0].worker.stats().packets_injected, 0);
}

#[test]
fn sound_that_comes_back_ends_the_silence() {
    let (mut sim, track, down) = call(42, Kind::Audio);
    sim.run_for(Duration::from_secs(1));
    sim.mute(track, true);
    sim.run_for(Duration::from_millis(200));
    sim.mute(track, false);
    sim.run_for(Duration::from_secs(2));
    let count = injected(&sim, down).len();
    assert!((9..=13).contains(&count), "{count}");
    assert_eq!(sim.checker.holes(down.ssrc), 0);
}

#[test]
fn a_listener_that_disables_sound_gets_silence_and_one_that_heard_none_nothing() {
    let (mut sim, track, down) = call(43, Kind::Audio);
    let off = LayerWish {
        enabled: false,
        ..LayerWish::BEST
    };
    sim.mute(track, true);
    sim.run_for(Duration::from_secs(1));
    sim.wish(down, off);
    sim.run_for(Duration::from_secs(1));
    assert_eq!(injected(&sim, down), []);
    sim.mute(track, false);
    sim.wish(down, LayerWish::BEST);
    sim.run_for(Duration::from_secs(1));
    sim.wish(down, off);
    sim.run_for(Duration::from_secs(2));
    assert_eq!(injected(&sim, down).len(), 50);
}

#[test]
fn a_picture_ends_with_blank_key_frames_and_then_the_stream_is_gone() {
    let (mut sim, _, down) = call(44, Kind::Video);
    sim.run_for(Duration::from_secs(2));
    let seen = sim.clients[down.client].received.last().unwrap().clone();
    sim.unsubscribe(down);
    sim.run_for(Duration::from_secs(1));
    let blank = injected(&sim, down);
    assert_eq!(blank.len(), 6);
    assert_in_a_row(&sim, down, &blank, 3000);
    let (picture, tl0, _) = seen.vp8.unwrap();
    for (number, packet) in (1..).zip(&blank) {
        let descriptor = wire::codec::vp8::Descriptor::parse(&packet.payload).unwrap();
        assert!(descriptor.key_frame, "a decoder can begin there");
        let found = descriptor.picture_id.map_or(0, |id| id.value);
        let ahead = found.wrapping_sub(picture) & 0x7FFF;
        // A frame or two of the publisher may have been on their way.
        assert!((number..number + 3).contains(&ahead), "{found} after {picture}");
        let ahead = descriptor.tl0_pic_idx.unwrap().wrapping_sub(tl0);
        assert!((number as u8..number as u8 + 3).contains(&ahead));
    }
    let stats = sim.threads[1].worker.stats();
    assert_eq!((stats.down_tracks, stats.packets_injected), (0, 6));
    let before = sim.checker.count(down.ssrc);
    sim.run_for(Duration::from_secs(2));
    assert_eq!(sim.checker.count(down.ssrc), before);
}

#[test]
fn a_track_that_its_publisher_ended_ends_blank_for_its_subscriber() {
    let (mut sim, track, down) = call(45, Kind::Audio);
    sim.run_for(Duration::from_secs(1));
    sim.command(track.thread(), Command::Unpublish { track });
    sim.unsubscribe(down);
    sim.run_for(Duration::from_secs(1));
    let blank = injected(&sim, down);
    assert_eq!(blank.len(), 10);
    assert_in_a_row(&sim, down, &blank, 960);
}

#[test]
fn a_peer_that_closes_gets_no_blank_frames() {
    let (mut sim, _, down) = call(46, Kind::Video);
    sim.run_for(Duration::from_secs(1));
    sim.unsubscribe(down);
    let peer = sim.key(down.client);
    sim.command(peer.thread(), Command::ClosePeer { peer });
    sim.run_for(Duration::from_secs(1));
    assert!(sim.threads[1].worker.stats().packets_injected <= 1);
}

#[test]
fn injected_frames_of_encrypted_tracks_carry_the_trailer() {
    let (mut sim, track, down) = call(47, Kind::Audio);
    options(
        &mut sim,
        down,
        DownOptions {
            injected_trailer: b"trailer".as_slice().into(),
            ..DownOptions::default()
        },
    );
    sim.run_for(Duration::from_secs(1));
    sim.mute(track, true);
    sim.run_for(Duration::from_secs(2));
    let marked = [&SILENCE[..], b"trailer"].concat();
    let silence = injected(&sim, down);
    assert_eq!(silence.len(), 50);
    assert!(silence.iter().all(|packet| packet.payload == marked));
}

#[test]
fn a_silent_stream_is_announced_to_clients_that_ask_for_it() {
    let announce = DownOptions {
        announce: true,
        ..DownOptions::default()
    };
    for (seed, kind, interval_ms) in [(48, Kind::Video, 100), (49, Kind::Audio, 20)] {
        let (mut sim, track, down) = call(seed, kind);
        sim.mute(track, true);
        sim.checker.tolerate(down.ssrc, 5000 / interval_ms);
        sim.run_for(Duration::from_secs(1));
        assert_eq!(injected(&sim, down), [], "nobody asked");
        options(&mut sim, down, announce.clone());
        sim.run_for(Duration::from_secs(2));
        let packets = injected(&sim, down);
        let expected = 1900 / interval_ms;
        assert!(packets.len().abs_diff(expected) <= 2, "{}", packets.len());
        let silence: &[u8] = if kind == Kind::Audio { &SILENCE } else { &[] };
        assert!(packets.iter().all(|packet| packet.payload == silence));
        sim.mute(track, false);
        sim.run_for(Duration::from_secs(2));
        let more = injected(&sim, down).len() - packets.len();
        assert!(more <= 2, "media takes its place: {more}");
        assert!(heard(&sim, down) > 40);
        assert_eq!(sim.checker.holes(down.ssrc), 0);
    }
}

#[test]
fn an_announcement_is_given_up_after_five_seconds() {
    let (mut sim, track, down) = call(50, Kind::Video);
    sim.mute(track, true);
    sim.checker.tolerate(down.ssrc, 50);
    options(
        &mut sim,
        down,
        DownOptions {
            announce: true,
            ..DownOptions::default()
        },
    );
    sim.run_for(Duration::from_secs(20));
    assert_eq!(injected(&sim, down).len(), 50);
}
