//! The corpus is whole and every target passes on it; the runner finds what is broken.

use crate::mutate::{LEN_MAX, Rng, mutate};
use crate::run::{Budget, corpus, run};
use crate::seeds::seeds;
use crate::targets::{
    decoded_taken, forward_counts, join_wish, media_counts, room_counts, rtcp_reach, sctp_reach,
};
use crate::{TARGETS, Target};

#[test]
fn every_target_has_its_corpus_committed_and_passes() {
    for target in TARGETS {
        let entries = corpus(target).unwrap_or_default();
        let made = seeds(target.name);
        assert!(!made.is_empty(), "{} makes no corpus", target.name);
        for (name, bytes) in made {
            let found = entries.iter().find(|entry| entry.name == name);
            assert!(
                found.is_some_and(|entry| entry.bytes == bytes),
                "{}/{name} is stale: `cargo run -p fuzz -- --write-corpus`",
                target.name
            );
        }
        let outcome = run(target, &entries, 7, Budget::Count(50));
        assert!(
            outcome.failure.is_none(),
            "{}: {:?}",
            target.name,
            outcome.failure
        );
    }
}

#[test]
fn the_same_seed_makes_the_same_inputs() {
    let corpus = vec![b"hello".to_vec(), vec![0; 300], Vec::new()];
    let inputs = |seed: u64| -> Vec<Vec<u8>> {
        (0..200)
            .map(|number| mutate(&corpus, &mut Rng::new(seed, "x", number)))
            .collect()
    };
    assert_eq!(inputs(1), inputs(1));
    assert_ne!(inputs(1), inputs(2));
    assert!(inputs(3).iter().all(|input| input.len() <= LEN_MAX));
}

#[test]
fn a_panic_is_found_and_told() {
    fn broken(data: &[u8]) {
        assert!(data.first() != Some(&0xFF), "cannot stand 255");
    }
    let target = Target {
        name: "broken",
        run: broken,
    };
    let entries = vec![crate::run::Entry {
        name: "zero".to_owned(),
        bytes: vec![0; 2],
    }];
    let outcome = run(&target, &entries, 1, Budget::Count(100_000));
    let failure = outcome.failure.expect("soon found");
    assert_eq!(failure.input.first(), Some(&0xFF));
    assert!(failure.message.contains("cannot stand 255"));
    let again = run(&target, &entries, 1, Budget::Count(100_000));
    assert_eq!(again.mutated, outcome.mutated);
}

#[test]
fn media_inputs_reach_the_streams() {
    let made = seeds("peer_media");
    let counts = |name: &str| {
        let found = made.iter().find(|(other, _)| other == name);
        media_counts(&found.expect("made").1)
    };
    let simulcast = counts("simulcast");
    assert!(simulcast.received >= 15, "{simulcast:?}");
    assert!(simulcast.written >= 3, "reports, feedback: {simulcast:?}");
    let repaired = counts("repaired");
    assert_eq!(
        repaired.received, 3,
        "two packets and a retransmission: {repaired:?}"
    );
    let audio = counts("audio");
    assert!(audio.received >= 4 && audio.events >= 1, "{audio:?}");
    let sending = counts("sending");
    assert!(sending.events >= 5, "two losses, PLI, FIR, REMB: {sending:?}");
}

#[test]
fn room_inputs_reach_negotiation() {
    let made = seeds("room");
    let call = made.iter().find(|(name, _)| name == "call").expect("made");
    let counts = room_counts(&call.1);
    assert!(
        counts.published >= 3,
        "two tracks of one, one of another: {counts:?}"
    );
    assert!(counts.subscribed >= 3, "both connection kinds: {counts:?}");
}

#[test]
fn forwarded_inputs_reach_the_subscriber() {
    for (name, bytes) in seeds("forward") {
        let counts = forward_counts(&bytes);
        assert!(counts.sent > 0 && counts.received > 0, "{name}: {counts:?}");
    }
}

#[test]
fn join_requests_are_read_to_their_end() {
    for (name, bytes) in seeds("join_request") {
        let wish = join_wish(&bytes);
        assert_eq!(wish.is_none(), name.starts_with("bad"), "{name}: {wish:?}");
        let Some(wish) = wish.filter(|wish| wish.resume.is_none()) else {
            continue;
        };
        assert_eq!(wish.add_tracks.len(), 2, "{name}");
        assert!(
            wish.publisher_offer.is_some() && !wish.attributes.is_empty(),
            "{name}"
        );
        assert_eq!(wish.subscriber_allow_pause, Some(false));
    }
}

#[test]
fn hostile_sctp_inputs_reach_the_association() {
    let made = seeds("hostile_sctp");
    let reached = |name: &str| {
        let found = made.iter().find(|(other, _)| other == name);
        sctp_reach(&found.expect("made").1)
    };
    let messages = reached("messages");
    assert!(messages.events > 30_000, "{messages:?}");
    let ahead = reached("behind_a_gap");
    assert!(ahead.events == 512 && ahead.answers > 0, "{ahead:?}");
    let unfinished = reached("long_without_end");
    assert!(unfinished.held_max > 64 * 1024, "{unfinished:?}");
    let resets = reached("resets");
    assert!(resets.answers > 400, "{resets:?}");
    for begun in ["begins", "is_begun_with", "begins_again_and_again"] {
        let begun = reached(begun);
        assert!(begun.answers > 4, "{begun:?}");
    }
}

#[test]
fn hostile_rtcp_inputs_reach_the_streams() {
    let made = seeds("hostile_rtcp");
    let reached = |name: &str| {
        let found = made.iter().find(|(other, _)| other == name);
        rtcp_reach(&found.expect("made").1)
    };
    let nack = reached("nack");
    assert!(nack.resends > 300, "{nack:?}");
    let key_frames = reached("key_frames");
    assert!(key_frames.key_frames > 10_000, "{key_frames:?}");
    let answered = reached("extended_reports");
    assert!(answered.answers > 0 && answered.datagrams > 200, "{answered:?}");
    assert!(reached("holes").answers > 0);
}

#[test]
fn what_is_decoded_reaches_the_limits() {
    let made = seeds("decoded");
    let taken = |name: &str| {
        let found = made.iter().find(|(other, _)| other == name);
        decoded_taken(&found.expect("made").1)
    };
    for (name, bytes) in &made {
        let taken = decoded_taken(bytes);
        assert_eq!(taken.accepted, !name.starts_with("bad"), "{name}: {taken:?}");
    }
    let list = taken("by_participant");
    assert!(list.held > 1 << 20 && list.length < 50_000, "{list:?}");
    assert!(taken("metadata_of_join").held >= 900_000);
    let tree = taken("api_maps.json");
    assert!(tree.peak > 3 << 20, "{tree:?}");
}
