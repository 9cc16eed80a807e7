//! A subscriber's link becomes narrow and wide again: what is sent stays near what the link carries,
//! sound is not harmed, and the picture comes back by itself.

use super::video::{HIGH, decoded, received, recent_layers};
use media::api::{LayerWish, TrackKey};
use peer::Kind;
use peer::fuzzing::seal_rtcp;
use std::time::Duration;
use testkit::network::{Link, Traffic};
use testkit::rng::Rng;
use testkit::sim::{Down, Sim};
use wire::rtcp::Writer;

/// As many as a debug build has time for.
const SEEDS: u64 = 3;
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

/// 5 s wide, 20 s narrow, 20 s wide again.
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
    for _ in 0..20 {
        let frames = call.frames();
        call.watch(SECOND);
        outcome.after.push(call.frames() - frames);
    }
    (call, outcome)
}

/// What holds for every kind of publisher and link.
fn check(seed: u64, published: Published, ratio_max: f64, frames_min: usize) {
    let (call, outcome) = narrowed(seed, published);
    let shown = format!("seed {seed}, queue {:?}, {published:?}: {outcome:?}", call.queue);
    let ratio = outcome.sent as f64 / outcome.carried as f64;
    assert!(ratio <= ratio_max, "{ratio:.2} {shown}");
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
        check(seed, SIMULCAST, 1.5, 300);
    }
}

#[test]
fn a_narrow_link_gets_fewer_frames_of_a_single_layer_and_then_all_again() {
    for seed in 0..SEEDS {
        check(seed, SINGLE, 1.5, 60);
    }
}

#[test]
fn a_narrow_link_gets_bursts_of_a_picture_that_does_not_fit_and_then_all_again() {
    for seed in 0..SEEDS {
        check(seed, FLAT, 1.5, 40);
    }
}

/// What is sent before anything is reported weighs more here: two seconds of three times the link.
#[test]
fn a_picture_of_three_times_the_link_is_kept_near_it() {
    for seed in 0..SEEDS {
        check(seed, LARGE, 1.7, 20);
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

/// Asks for packets, sent or not, of a stream: whole lists of them, as no browser does.
fn ask_for_everything(sim: &mut Sim, client: usize, ssrc: u32, from: u16) {
    let mut plain = [0; 1100];
    let mut writer = Writer::new(&mut plain);
    let lost: Vec<u16> = (0..4000).map(|n| from.wrapping_add(n)).collect();
    assert!(writer.nack(1, ssrc, &lost));
    let len = writer.len();
    let sealed = seal_rtcp(&mut sim.clients[client].peer, &plain[..len]).unwrap();
    let (from, to) = (sim.clients[client].address, sim.threads[0].address);
    sim.network.send(sim.now, from, to, &sealed);
}

#[test]
fn who_asks_for_everything_again_and_again_gets_a_bounded_answer() {
    let mut sim = Sim::new(5, 1, 64);
    sim.packets_per_frame = [8, 0, 0];
    let publisher = sim.add_client(0);
    let (hostile, clean) = (sim.add_client(0), sim.add_client(0));
    sim.connect();
    let track = sim.publish_video(publisher, 1);
    let asked = sim.subscribe(hostile, track, Kind::Video, HIGH);
    let other = sim.subscribe(clean, track, Kind::Video, HIGH);
    let address = sim.clients[clean].address;
    let lossy = Link {
        loss_per_mille: 20,
        ..Link::default()
    };
    sim.network.set_access(address, Link::default(), lossy);
    sim.run_for(SECOND);
    let traffic = |sim: &Sim, client: usize, down| {
        let address = sim.clients[client].address;
        sim.network.traffic[&(address, down)].sent
    };
    let before = (traffic(&sim, hostile, true), traffic(&sim, clean, true));
    for n in 0..5000 {
        ask_for_everything(&mut sim, hostile, asked.ssrc, (n * 4111) as u16);
        sim.run_for(Duration::from_millis(1));
    }
    let sent = traffic(&sim, hostile, true) - before.0;
    let media = traffic(&sim, clean, true) - before.1;
    assert!(sent < media * 5 / 4, "{sent} where others get {media}");
    let stats = sim.threads[0].worker.stats();
    assert!(stats.drops.resend_budget > 100, "{:?}", stats.drops);
    // The other one got everything, at once or in one round trip more.
    let packets = received(&sim, other);
    let late = packets.iter().filter(|packet| packet.retransmitted).count();
    assert!(late > 5, "{late}");
    let decoded = decoded(&sim, other);
    assert!(decoded.broken <= 1 && decoded.frames.len() > 175, "{decoded:?}");
}
