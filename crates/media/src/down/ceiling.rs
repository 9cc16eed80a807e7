//! How much may be sent to one peer, where evidently more is sent than its link carries.
//!
//! Owns: one peer's ceiling, judged by what the peer reports as received. Must not know: packets,
//! layers, how what is sent is kept below it. Pure. To be replaced by bandwidth estimation, which
//! finds out before packets are lost; this only ends what would otherwise never end.
//!
//! Reports are gathered for a second, then judged. When less than two thirds of what is sent
//! arrives, the ceiling goes to what arrived; what the peer asks for again tells it sooner
//! ([`Shortage`]). Below it, loss takes it further down, and a while without loss takes it up: slowly
//! near the rate that was too much, quickly above it. A peer whose packets get lost at random,
//! whatever is sent, loses less than a third, and never has a ceiling.

use super::shortage::{CHANCE, Shortage};
use peer::{Delivery, MediaSent};
use std::time::{Duration, Instant};

/// Reports of less time say little: one frame more or less on its way would count as loss. Longer
/// sends too much for longer.
const WINDOW: Duration = Duration::from_secs(1);
/// Fewer packets say nothing.
const PACKETS_MIN: u64 = 20;
/// Sent at less than this many bytes per second, there is nothing to take away but sound.
const RATE_CONSIDERED: u64 = 20_000;
/// No ceiling is lower, in bytes per second: sound and a first picture now and then.
const RATE_MIN: u64 = 12_500;
/// Below this part of what is sent arriving, the link is too narrow.
const ARRIVES_MIN: f64 = 2.0 / 3.0;
/// Windows in a row in which as little arrives, though by less than what chance explains.
const SHORT_MAX: u8 = 4;
/// The same below a ceiling, which is there because the link is narrow: its queue fills first.
const ARRIVES_BELOW: f64 = 0.8;
/// Loss above what is usual for this peer, at which a ceiling goes down, and below which up.
const LOSS_DOWN: f64 = 0.10;
const LOSS_UP: f64 = 0.03;
/// Loss beyond this is not taken for usual.
const LOSS_USUAL_MAX: f64 = 0.15;
/// So much of a ceiling has to be used before what arrives is taken for all that could.
const USED: f64 = 0.8;
/// How much of its loss a ceiling loses otherwise: lower takes longer to reach what the link carries,
/// higher overshoots it.
const LOSS_WEIGHT: f64 = 0.7;
/// Windows after a ceiling went down in which loss is still that of before: reports are up to a second
/// old, and so is what the link's queue holds.
const SETTLES: u8 = 2;
/// Part of what arrived that a ceiling begins at: the link's queue has to drain.
const BEGINS_AT: f64 = 0.9;
/// How much a ceiling rises per window, below, near, and above the rate at which it last went down.
const RISE_BELOW: f64 = 1.25;
const RISE_NEAR: f64 = 1.1;
const RISE_ABOVE: f64 = 1.5;
/// So much of a ceiling has to be used before it rises. Layers come in steps, and the next one is only
/// tried when the ceiling has room for it; bursts use what there is, or do not.
const RISE_USED: f64 = 0.25;
const RISE_USED_BURSTS: f64 = 0.7;
/// Bounds of "near".
const NEAR: (f64, f64) = (0.8, 1.2);
/// A ceiling that went down stays for so long; twice as long each time it does again, up to the
/// longest. Shorter comes back sooner when the link is wide again, and sends too much more often
/// when it is not.
const PATIENCE_MIN: Duration = Duration::from_secs(2);
const PATIENCE_MAX: Duration = Duration::from_secs(6);
/// Windows in which nothing was held back, after which there is no ceiling.
const FREE_AFTER: u8 = 3;
/// Without reports for so long nothing is known, and the next one begins anew.
const WINDOW_MAX: Duration = Duration::from_secs(8);

/// What the reports of one window say.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    /// Bytes sent, and those of them that arrived.
    sent: f64,
    arrived: f64,
    /// Packets sent, or expected when those are more.
    packets: u64,
    /// Bytes that should have arrived, and those that did not: by bytes, as reports about sound would
    /// hide what happens to the picture.
    expected: f64,
    lost: f64,
}

/// One peer's ceiling.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ceiling {
    began_at: Option<Instant>,
    /// Bytes sent when the window began.
    sent_before: u64,
    heard: Heard,
    shortage: Shortage,
    /// Loss while there is no ceiling, smoothed.
    usual_loss: f64,
    /// Windows in a row in which too little arrived.
    short: u8,
    /// Windows in a row in which nothing was held back.
    free: u8,
    /// Bytes per second.
    rate: Option<u64>,
    /// Where it last went down to.
    rose_from: Option<u64>,
    /// Pictures are sent in bursts.
    pub(crate) in_bursts: bool,
    /// What was too much, in bytes per second.
    too_much: f64,
    holds_until: Option<Instant>,
    patience: Duration,
    /// Windows that tell of what was sent before it went down.
    settles: u8,
}

impl Default for Ceiling {
    fn default() -> Self {
        Self {
            began_at: None,
            sent_before: 0,
            heard: Heard::default(),
            shortage: Shortage::default(),
            usual_loss: 0.0,
            short: 0,
            free: 0,
            rate: None,
            rose_from: None,
            in_bursts: false,
            too_much: 0.0,
            holds_until: None,
            patience: PATIENCE_MIN,
            settles: 0,
        }
    }
}

impl Ceiling {
    /// Bytes per second that may be sent; `None` without limit.
    pub(crate) fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// Takes a report. True when the ceiling was judged anew. `sent` are all bytes sent to the peer
    /// so far, `holds_back` whether the ceiling keeps anything from it.
    pub(crate) fn report(&mut self, now: Instant, delivery: &Delivery, sent: u64, holds_back: bool) -> bool {
        self.heard.add(delivery);
        let Some(began_at) = self.began_at else {
            self.begin(now, sent);
            return false;
        };
        let passed = now.saturating_duration_since(began_at);
        let few = self.heard.packets < PACKETS_MIN;
        if passed < WINDOW || (few && passed <= WINDOW_MAX) {
            return false;
        }
        let (heard, rate) = (self.heard, self.sent_rate(passed, sent));
        self.begin(now, sent);
        if passed > WINDOW_MAX {
            return false;
        }
        match self.rate {
            None => self.judge(now, &heard, rate),
            Some(ceiling) => self.adjust(now, &heard, (rate, ceiling as f64), holds_back),
        }
        true
    }

    /// Learns that the peer asked for packets; true when it has a ceiling from now on. `pictures` are those
    /// sent to it so far, `sent` all bytes.
    pub(crate) fn asked(&mut self, now: Instant, pictures: MediaSent, sent: u64) -> bool {
        if self.rate.is_some() {
            return false;
        }
        let short = self.shortage.asked(now, pictures, sent);
        let Some((rate, part)) = short.filter(|(rate, _)| *rate >= RATE_CONSIDERED as f64) else {
            return false;
        };
        self.begin(now, sent);
        self.patience = PATIENCE_MIN;
        self.lower(now, part * rate);
        true
    }

    fn begin(&mut self, now: Instant, sent: u64) {
        self.began_at = Some(now);
        self.sent_before = sent;
        self.heard = Heard::default();
    }

    fn sent_rate(&self, passed: Duration, sent: u64) -> f64 {
        sent.saturating_sub(self.sent_before) as f64 / passed.as_secs_f64()
    }

    /// Whether there has to be a ceiling.
    fn judge(&mut self, now: Instant, heard: &Heard, sent: f64) {
        let loss = heard.loss();
        if heard.arrives() >= ARRIVES_MIN {
            self.short = 0;
            self.usual_loss += (loss.min(LOSS_USUAL_MAX) - self.usual_loss) / 4.0;
            return;
        }
        self.short = self.short.saturating_add(1);
        // What is only on its way longer arrives in the next window.
        let lost = loss - self.usual_loss > LOSS_DOWN;
        let chance = CHANCE / (heard.packets as f64).sqrt();
        let evident = heard.arrives() < ARRIVES_MIN - chance && (lost || self.short > 1);
        if sent >= RATE_CONSIDERED as f64 && (evident || self.short >= SHORT_MAX) {
            self.patience = PATIENCE_MIN;
            self.lower(now, heard.arrives() * sent);
        }
    }

    /// Goes down to what arrived.
    fn lower(&mut self, now: Instant, arrived: f64) {
        self.too_much = arrived * 1.1;
        self.set(arrived * BEGINS_AT);
        self.rose_from = self.rate;
        self.holds_until = Some(now + self.patience);
        self.patience = (self.patience * 2).min(PATIENCE_MAX);
        self.short = 0;
        self.free = 0;
        self.settles = SETTLES;
        self.shortage = Shortage::default();
    }

    fn adjust(&mut self, now: Instant, heard: &Heard, (sent, ceiling): (f64, f64), holds_back: bool) {
        if let Some(left) = self.settles.checked_sub(1) {
            // What was sent above the ceiling is still told of.
            self.settles = left;
            return;
        }
        let loss = heard.loss() - self.usual_loss;
        let short = heard.arrives() < ARRIVES_BELOW;
        self.short = if short { self.short.saturating_add(1) } else { 0 };
        if loss > LOSS_DOWN || (short && (loss > LOSS_UP || self.short > 1)) {
            self.too_high(now, heard, loss, (sent, ceiling));
            return;
        }
        if loss > LOSS_UP || short {
            self.free = 0;
            return;
        }
        self.free = if !holds_back { self.free + 1 } else { 0 };
        if self.free >= FREE_AFTER {
            *self = Self {
                began_at: self.began_at,
                sent_before: self.sent_before,
                usual_loss: self.usual_loss,
                ..Self::default()
            };
            return;
        }
        // Nothing is learnt from what was not sent, and no more is needed than is used.
        let used_min = if self.in_bursts {
            RISE_USED_BURSTS
        } else {
            RISE_USED
        };
        if holds_back && self.holds_until.is_none_or(|until| until <= now) && sent > ceiling * used_min {
            let rise = if ceiling < self.too_much * NEAR.0 {
                RISE_BELOW
            } else if ceiling <= self.too_much * NEAR.1 {
                RISE_NEAR
            } else {
                RISE_ABOVE
            };
            self.set(ceiling * rise);
        }
    }

    /// Too much is lost below the ceiling.
    fn too_high(&mut self, now: Instant, heard: &Heard, loss: f64, (sent, ceiling): (f64, f64)) {
        let arrived = heard.arrives().min(1.0 - heard.loss()) * sent;
        let used = sent / ceiling;
        // Where less is sent than allowed, what arrives says little about what could, unless it is
        // evidently too much.
        let says_all = used > USED || heard.arrives() < ARRIVES_MIN;
        let by_loss = ceiling * (1.0 - LOSS_WEIGHT * loss.clamp(0.0, 1.0));
        let mut carried = if says_all { arrived } else { arrived.max(by_loss) };
        if heard.arrives() >= ARRIVES_MIN {
            // It rose a little too far. The link's queue has taken what it does not carry, so that more
            // arrived than will: where the rise began is nearer the truth.
            let rose_from = self.rose_from.map_or(carried, |rate| rate as f64 / BEGINS_AT);
            carried = carried.min(rose_from.max(carried * 0.5));
        }
        self.lower(now, carried);
    }

    fn set(&mut self, rate: f64) {
        self.rate = Some((rate as u64).max(RATE_MIN));
    }
}

impl Heard {
    fn add(&mut self, delivery: &Delivery) {
        let Delivery {
            sent,
            octets,
            expected,
            lost,
        } = *delivery;
        self.packets += u64::from(sent.max(expected));
        self.sent += f64::from(octets);
        if sent > 0 {
            let mean = f64::from(octets) / f64::from(sent);
            self.expected += mean * f64::from(expected);
            self.lost += mean * f64::from(lost);
            self.arrived += mean * f64::from(expected.saturating_sub(lost));
        }
    }

    /// Part of what was sent that arrived.
    fn arrives(&self) -> f64 {
        if self.sent > 0.0 {
            (self.arrived / self.sent).min(1.0)
        } else {
            1.0
        }
    }

    /// Part of what should have arrived that did not.
    fn loss(&self) -> f64 {
        if self.expected > 0.0 {
            self.lost / self.expected
        } else {
            0.0
        }
    }
}

/// What may be sent at this moment below a ceiling: a token bucket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Allowance {
    tokens: i64,
    sent: u64,
    at: Option<Instant>,
}

/// What is not used is saved up for so long: enough for the ticks in which what waits leaves. More would
/// overflow a short queue in front of the link.
const SAVED_MAX: Duration = Duration::from_millis(50);
/// No debt is larger than what this earns: what passes in any case may exceed the ceiling.
const DEBT_MAX: Duration = Duration::from_secs(1);

impl Allowance {
    /// Bytes that may be sent now, below zero when too many were. `sent` are all bytes sent so far.
    pub(crate) fn left(&mut self, now: Instant, sent: u64, rate: u64) -> i64 {
        let earns = |time: Duration| {
            let bytes = u128::from(rate) * time.as_micros() / 1_000_000;
            i64::try_from(bytes).unwrap_or(i64::MAX)
        };
        let before = self.at.replace(now).unwrap_or(now);
        let passed = now.saturating_duration_since(before).min(2 * DEBT_MAX);
        let used = i64::try_from(sent.saturating_sub(self.sent)).unwrap_or(i64::MAX);
        self.sent = sent;
        self.tokens = self
            .tokens
            .saturating_add(earns(passed))
            .saturating_sub(used)
            .clamp(-earns(DEBT_MAX), earns(SAVED_MAX));
        self.tokens
    }
}

#[cfg(test)]
#[path = "ceiling/tests.rs"]
mod tests;
