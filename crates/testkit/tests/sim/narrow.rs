//! A subscriber's link becomes narrow and wide again: what is sent stays near what the link carries,
//! sound is not harmed, and the picture comes back by itself.

use super::video::{HIGH, decoded, received, recent_layers};
use media::api::{LayerWish, TrackKey};
use peer::Kind;
use std::time::Duration;
use testkit::network::{Link, Traffic};
use testkit::rng::Rng;
use testkit::sim::{Down, Sim};

/// As many as a debug build has time for.
const SEEDS: u64 = 3;
/// Bytes sent per byte that the link carries, over the 20 s in which it is narrow.
const RATIO_MAX: f64 = 1.5;
const SECOND: Duration = Duration::from_secs(1);

/// What clients publish.
#[derive(Clone, Copy, Debug)]
struct Published {
    /// Packets of a frame, by layer. 8 make 1.8 Mbps.
    packets_per_frame: [u8; 3],
    layers: u8,
    flat: bool,
}

const SIMULCAST: Published = Published {
    packets_per_frame: [1, 3, 8],
    layers: 3,
    flat: false,
};
const SINGLE: Published = Published {
    packets_per_frame: [8, 0, 0],
    layers: 1,
    flat: false,
};
const FLAT: Published = Published { flat: true, ..SINGLE };
/// 2.9 Mbps.
const LARGE: Published = Published {
    packets_per_frame: [13, 0, 0],
    ..FLAT
};

fn link(rate: u64, latency: Duration, queue: Duration) -> Link {
    Link {
        latency,
        rate_bps: Some(rate),
        queue: Some(queue),
        ..Link::default()
    }
}

struct Call {
    sim: Sim,
    video: Down,
    audio: Down,
    subscriber: usize,
    latency: Duration,
    queue: Duration,
}

impl Call {
    /// One publisher of sound and picture, and one subscriber behind a link of 3 Mbps.
    fn new(seed: u64, published: Published) -> Self {
        let mut rng = Rng::new(seed ^ 0x5EED);
        let mut sim = Sim::new(seed, 1, 64);
        (sim.packets_per_frame, sim.flat) = (published.packets_per_frame, published.flat);
        let publisher = sim.add_client(0);
        let subscriber = sim.add_client(0);
        sim.connect();
        let sound: TrackKey = sim.publish_audio(publisher);
        let picture = sim.publish_video(publisher, published.layers);
        let audio = sim.subscribe(subscriber, sound, Kind::Audio, LayerWish::BEST);
        let video = sim.subscribe(subscriber, picture, Kind::Video, HIGH);
        let mut call = Self {
            sim,
            video,
            audio,
            subscriber,
            latency: Duration::from_millis(5 + rng.below(45)),
            queue: Duration::from_millis(100 + rng.below(400)),
        };
        call.set_rate(3_300_000);
        call.watch(5 * SECOND);
        call
    }

    fn set_rate(&mut self, rate: u64) {
        let address = self.sim.clients[self.subscriber].address;
        let up = Link {
            latency: self.latency,
            ..Link::default()
        };
        self.sim
            .network
            .set_access(address, up, link(rate, self.latency, self.queue));
    }

    /// Lets time pass for a decoder that asks for a key frame after 400 ms without a picture.
    fn watch(&mut self, time: Duration) {
        const STEP: Duration = Duration::from_millis(400);
        for _ in 0..time.as_millis() / STEP.as_millis() {
            let before = decoded(&self.sim, self.video).frames.len();
            self.sim.run_for(STEP);
            if decoded(&self.sim, self.video).frames.len() == before {
                let peer = &mut self.sim.clients[self.subscriber].peer;
                peer.request_key_frame(self.video.key.0, 0);
            }
        }
    }

    fn traffic(&self) -> Traffic {
        let address = self.sim.clients[self.subscriber].address;
        self.sim.network.traffic[&(address, true)]
    }

    fn frames(&self) -> usize {
        decoded(&self.sim, self.video).frames.len()
    }
}

#[derive(Debug)]
struct Outcome {
    sent: u64,
    carried: u64,
    frames: usize,
    after: Vec<usize>,
    audio: usize,
}

/// 5 s wide, 20 s narrow, 24 s wide again.
fn narrowed(seed: u64, published: Published) -> (Call, Outcome) {
    let mut call = Call::new(seed, published);
    let (before, frames) = (call.traffic(), call.frames());
    let sound = received(&call.sim, call.audio).len();
    call.set_rate(1_000_000);
    call.watch(20 * SECOND);
    let after = call.traffic();
    let mut outcome = Outcome {
        sent: after.sent - before.sent,
        carried: after.carried - before.carried,
        frames: call.frames() - frames,
        after: Vec::new(),
        audio: received(&call.sim, call.audio).len() - sound,
    };
    call.set_rate(3_300_000);
    for _ in 0..24 {
        let frames = call.frames();
        call.watch(SECOND);
        outcome.after.push(call.frames() - frames);
    }
    (call, outcome)
}

/// What holds for every kind of publisher and link.
fn check(seed: u64, published: Published, frames_min: usize) {
    let (call, outcome) = narrowed(seed, published);
    let shown = format!("seed {seed}, queue {:?}, {published:?}: {outcome:?}", call.queue);
    let ratio = outcome.sent as f64 / outcome.carried as f64;
    assert!(ratio <= RATIO_MAX, "{ratio:.2} {shown}");
    assert!(outcome.carried > 1_000_000, "the link stays in use: {shown}");
    assert!(outcome.frames >= frames_min, "{shown}");
    assert!(outcome.audio >= 930, "sound: {shown}");
    let back = outcome.after.last_chunk::<3>().unwrap();
    assert!(back.iter().sum::<usize>() > 65, "{shown}");
    assert_eq!(
        recent_layers(&call.sim, call.video),
        [published.layers - 1],
        "{shown}"
    );
}

#[test]
fn a_narrow_link_gets_a_lower_layer_and_then_the_best_again() {
    for seed in 0..SEEDS {
        check(seed, SIMULCAST, 300);
    }
}

#[test]
fn a_narrow_link_gets_fewer_frames_of_a_single_layer_and_then_all_again() {
    for seed in 0..SEEDS {
        check(seed, SINGLE, 60);
    }
}

#[test]
fn a_narrow_link_gets_bursts_of_a_picture_that_does_not_fit_and_then_all_again() {
    for seed in 0..SEEDS {
        check(seed, FLAT, 40);
    }
}

/// What is sent before it is noticed weighs more here: three times what the link carries.
#[test]
fn a_picture_of_three_times_the_link_is_kept_near_it() {
    for seed in 0..SEEDS {
        check(seed, LARGE, 20);
    }
}

/// A wide link that loses packets at random is no narrow one: everything is repaired, nothing is taken.
#[test]
fn random_loss_takes_no_layer_away() {
    for (seed, loss_per_mille) in [(1, 50), (2, 100), (3, 100)] {
        let mut call = Call::new(seed, SIMULCAST);
        let address = call.sim.clients[call.subscriber].address;
        let lossy = Link {
            loss_per_mille,
            ..link(20_000_000, call.latency, SECOND)
        };
        call.sim.network.set_access(address, lossy, lossy);
        let before = call.frames();
        call.watch(20 * SECOND);
        let stats = call.sim.threads[0].worker.stats();
        assert_eq!((stats.peers_limited, stats.pictures_paused), (0, 0));
        assert_eq!(stats.drops.resend_budget, 0, "{loss_per_mille}");
        assert_eq!(recent_layers(&call.sim, call.video), [2]);
        let frames = call.frames() - before;
        assert!(frames > 560, "{frames} of 606 at {loss_per_mille} per mille");
    }
}

/// As above, with more loss than a budget of retransmissions repairs.
#[test]
fn heavy_random_loss_takes_no_layer_away_either() {
    for (seed, loss_per_mille) in [(4, 200), (5, 250), (6, 300)] {
        let mut call = Call::new(seed, LARGE);
        let address = call.sim.clients[call.subscriber].address;
        let down = Link {
            loss_per_mille,
            ..link(20_000_000, call.latency, SECOND)
        };
        let up = Link {
            loss_per_mille: 50,
            latency: call.latency,
            ..Link::default()
        };
        call.sim.network.set_access(address, up, down);
        call.watch(20 * SECOND);
        let stats = call.sim.threads[0].worker.stats();
        let limited = (stats.peers_limited, stats.pictures_paused);
        assert_eq!(limited, (0, 0), "{loss_per_mille} per mille");
    }
}
