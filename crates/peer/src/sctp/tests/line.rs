//! How associations begin over a line that loses, overtakes and repeats, with sides that begin or do not.

use super::*;
use crate::sctp::packet::{COOKIE_ACK, COOKIE_ECHO, INIT, INIT_ACK};

/// Two sides and what is between them.
struct Line {
    a: Sctp,
    b: Sctp,
    start: Instant,
    now: Instant,
    latency: u64,
    /// Milliseconds that a packet may take longer, so that others overtake it.
    jitter: u64,
    /// Percent of packets lost, and of those that come twice.
    loss: u64,
    twice: u64,
    /// Whether no packet with such a first chunk gets to B (true) or A.
    eats: Eats,
    flying: BTreeMap<(Instant, u64), (bool, Bytes)>,
    /// When whose packets were sent (true: to B), with their first chunks.
    sent: Vec<(Duration, bool, u8)>,
    rng: u64,
}

impl Line {
    fn new(seed: u64) -> Self {
        let now = crate::test_epoch();
        let mut line = Self {
            a: Sctp::default(),
            b: Sctp::default(),
            start: now,
            now,
            latency: 20,
            jitter: 0,
            loss: 0,
            twice: 0,
            eats: |_, _| false,
            flying: BTreeMap::new(),
            sent: Vec::new(),
            rng: 0x9e37_79b9_7f4a_7c15 ^ (seed << 20),
        };
        line.a.open(negotiated());
        line.b.open(negotiated());
        line
    }

    fn begin(&mut self) {
        self.a.start(self.now, DtlsRole::Client, REMOTE);
        self.b.start(self.now, DtlsRole::Server, REMOTE);
    }

    fn chance(&mut self, below: u64) -> u64 {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        (self.rng >> 8) % below.max(1)
    }

    fn launch(&mut self) {
        for to_b in [true, false] {
            loop {
                let from = if to_b { &mut self.a } else { &mut self.b };
                let Some(packet) = from.poll_packet(self.now) else {
                    break;
                };
                self.sent.push((self.now - self.start, to_b, packet[12]));
                if (self.eats)(to_b, packet[12]) {
                    continue;
                }
                let copies = 1 + u64::from(self.chance(100) < self.twice);
                for copy in 0..copies {
                    if self.chance(100) >= self.loss {
                        let takes = self.latency + self.chance(self.jitter + 1);
                        let at = self.now + Duration::from_millis(takes);
                        let order = 2 * self.sent.len() as u64 + copy;
                        self.flying.insert((at, order), (to_b, packet.clone()));
                    }
                }
            }
        }
    }

    fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let deadline = self.now + limit;
        loop {
            self.launch();
            if done(self) {
                return true;
            }
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let timeouts = [self.a.poll_timeout(), self.b.poll_timeout()];
            let next = timeouts.into_iter().flatten().chain(arrival).min();
            let Some(next) = next.filter(|next| *next <= deadline) else {
                self.now = deadline;
                return false;
            };
            self.now = self.now.max(next);
            while let Some(entry) = self.flying.first_entry().filter(|e| e.key().0 <= self.now) {
                let (to_b, packet) = entry.remove();
                let to = if to_b { &mut self.b } else { &mut self.a };
                to.handle_packet(self.now, &packet);
                self.launch();
            }
            self.a.handle_timeout(self.now);
            self.b.handle_timeout(self.now);
        }
    }

    fn is_open(&self) -> bool {
        let open = |sctp: &Sctp| sctp.channels.get(&0).is_some_and(|c| c.state == State::Open);
        open(&self.a) && open(&self.b)
    }

    /// How long it takes until both are up and a message each way has come.
    fn talk(&mut self, limit: Duration) -> Option<Duration> {
        if !self.run_until(limit, Self::is_open) {
            return None;
        }
        let took = self.now - self.start;
        assert!(self.a.send(0, true, b"up") && self.b.send(0, true, b"down"));
        let all = |line: &Self| waiting(&line.a) == 4 && waiting(&line.b) == 2;
        self.run_until(limit, all).then_some(took)
    }

    fn sent(&self, to_b: bool, kind: u8) -> Vec<u64> {
        let of_kind = self.sent.iter().filter(|(_, to, k)| (*to, *k) == (to_b, kind));
        of_kind
            .map(|(at, ..)| u64::try_from(at.as_millis()).expect("short"))
            .collect()
    }
}

/// Whether a packet gets lost: on its way to B, of this chunk type.
type Eats = fn(bool, u8) -> bool;

/// Who begins, as what does not get through.
const WHO: [(&str, Eats); 5] = [
    ("both", |_, _| false),
    ("only A", |to_b, kind| !to_b && kind == INIT),
    ("only B", |to_b, kind| to_b && kind == INIT),
    ("A hears no INIT of B, and drops its INIT ACK", |to_b, kind| {
        (!to_b && kind == INIT) || (to_b && kind == INIT_ACK)
    }),
    ("B answers no INIT", |to_b, kind| !to_b && kind == INIT_ACK),
];

#[test]
fn whoever_begins_it_is_up_within_two_round_trips() {
    for (who, eats) in WHO {
        let mut line = Line::new(1);
        line.eats = eats;
        line.begin();
        let took = line.talk(Duration::from_secs(5));
        assert!(
            took.is_some_and(|took| took <= Duration::from_millis(80)),
            "{who}: {took:?}"
        );
    }
}

#[test]
fn whoever_begins_it_comes_up_over_a_bad_line() {
    let mut times = Vec::new();
    for (who, eats) in WHO {
        for seed in 0..200 {
            let mut line = Line::new(seed);
            line.eats = eats;
            (line.loss, line.jitter, line.twice) = (20, 60 * (seed % 2), 30 * (seed % 3));
            line.begin();
            let took = line.talk(Duration::from_secs(60));
            times.push(took.unwrap_or_else(|| panic!("{who}, seed {seed}: {:?}", line.sent)));
        }
    }
    times.sort();
    let (median, p95) = (times[times.len() / 2], times[times.len() * 95 / 100]);
    assert!(median <= Duration::from_millis(200), "{median:?}");
    assert!(p95 <= Duration::from_millis(1500), "{p95:?}");
}

#[test]
fn duplicates_and_those_that_come_late_do_no_harm() {
    for seed in 0..100 {
        let mut line = Line::new(seed);
        (line.jitter, line.twice) = (500, 100);
        line.begin();
        assert!(line.talk(Duration::from_secs(20)).is_some(), "seed {seed}");
        // All that is still on its way comes.
        line.run_until(Duration::from_secs(5), |_| false);
        assert!(line.is_open(), "seed {seed}");
        assert!(line.a.send(0, true, b"more"));
        assert!(line.run_until(Duration::from_secs(5), |line| waiting(&line.b) == 6));
    }
}

#[test]
fn an_init_is_sent_again_ever_more_slowly() {
    let mut line = Line::new(1);
    line.eats = |_, _| true;
    line.begin();
    line.run_until(Duration::from_secs(13), |_| false);
    let times = [0, 100, 300, 700, 1500, 3100, 6100, 9100, 12_100];
    assert_eq!(line.sent(true, INIT), times);
    assert_eq!(line.sent(false, INIT), times);
    // Who was away is heard at the next.
    line.eats = |_, _| false;
    assert!(line.talk(Duration::from_secs(4)).is_some());
}

#[test]
fn a_cookie_that_is_never_answered_is_given_up_for_a_new_beginning() {
    let mut line = Line::new(1);
    line.eats = |to_b, kind| !to_b && (kind == INIT || kind == COOKIE_ACK);
    line.begin();
    line.run_until(Duration::from_secs(4), |_| false);
    assert_eq!(line.sent(true, COOKIE_ECHO)[..5], [40, 140, 340, 740, 1540]);
    assert!(line.sent(true, INIT)[1..].iter().all(|at| *at >= 3140));
    line.eats = |_, _| false;
    assert!(line.talk(Duration::from_secs(5)).is_some());
}
