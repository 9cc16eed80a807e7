//! One media thread: the event loop around one `media::Worker`.
//!
//! Owns: the thread's sockets, buffers, command queue and clock. Every turn runs in the same order:
//! commands → datagrams → crossings → timers → handshakes → transmit → wakes → events → wait. Each step has a
//! budget, so none can starve another; what is left over is taken up in the next turn, which then
//! does not wait. Nothing ever waits for a batch to fill: batches grow by themselves when turns do.
//! Must not know: what a packet means, rooms.
//!
//! A panic below is caught at the call into the worker that raised it, counted and logged, and the
//! loop goes on. Lost are: the command or the datagram in question, or what the interrupted timer
//! or transmit step had left to do, with datagrams written but not sent. The worker itself is kept,
//! so peers touched by the interrupted call may be inconsistent until they close.

mod receive;

use crate::shell::command_budget::{Budget, Lost, Ticket};
use crate::shell::load::{Load, Pressure, TURN_MAX};
use crate::shell::vitals::Ending;
use crate::shell::wake::Wake;
use media::Worker;
use media::api::{Command, Event};
use media::command_queue::{CommandQueue, cost};
use peer::Outbox;
use receive::Receiving;
pub use receive::Shed;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use udp::{Outgoing, PollSet, RecvBatch, RecvStats, SendStats, Sender, Socket, ThreadClock};

/// Commands executed in one turn, a message counting once for each peer that it is for. More would
/// let a storm of joins or of messages delay packets; fewer would let the queue fill while packets
/// keep the thread busy.
const COMMANDS_PER_TURN: usize = 256;

/// How long a turn works on commands. A storm of joins with long descriptions costs more per command
/// than any number says; longer delays packets.
const COMMANDS_TIME: Duration = Duration::from_millis(2);

/// Messages of one `recvmmsg`. The buffers of 32 joined messages fit the second-level cache as far
/// as they are used.
const RECV_MESSAGES: usize = 32;

/// Calls of `recvmmsg` per socket and turn: bounds the age of the first packet of a turn when it
/// leaves, while longer turns make longer trains.
const RECV_CALLS_PER_TURN: usize = 4;

/// Events handed over in one turn.
const EVENTS_PER_TURN: usize = 1024;

/// Datagrams and bytes of the outbox: a few sends' worth, small enough to stay in the second-level
/// cache between sealing and the kernel's copy.
const OUTBOX_DATAGRAMS: usize = 512;
const OUTBOX_BYTES: usize = 320 * 1024;

/// Counters are published this often while they change.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(100);

/// After a panic the loop waits at least this long, so that a fault that returns every turn does
/// not eat the core.
const WAIT_AFTER_PANIC: Duration = Duration::from_millis(1);

/// How long to wait when the worker has no deadline: a bound on how late a lost wake-up is noticed.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// All of a thread's time, in the unit of [`Shared::load`].
pub(crate) const LOAD_FULL: u32 = 1000;

/// Counters of the loop itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ShellCounters {
    pub(crate) turns: u64,
    pub(crate) commands: u64,
    pub(crate) events_delayed: u64,
    pub(crate) panics: u64,
    pub(crate) recv_errors: u64,
    /// Datagrams for which a socket had no room.
    pub(crate) overflows: u64,
    /// Turns in which not everything could be handled as it came.
    pub(crate) turns_overloaded: u64,
    /// Datagrams read and dropped, because there was no time for them.
    pub(crate) shed: Shed,
}

/// All counters of one thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) shell: ShellCounters,
    pub(crate) recv: RecvStats,
    pub(crate) send: SendStats,
    pub(crate) media: media::stats::Stats,
}

/// What a media thread shares with its pool.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) wake: Wake,
    pub(crate) stop: AtomicBool,
    /// Written by the thread now and then, never waited for by it.
    pub(crate) counters: Mutex<Counters>,
    /// Peers added and not yet closed, as the pool's commands say.
    pub(crate) peers: AtomicU64,
    pub(crate) commands_refused: AtomicU64,
    /// How much of its time the thread worked lately, in thousandths; 1,000 while it is overloaded.
    pub(crate) load: AtomicU32,
    /// Commands that wait.
    pub(crate) waiting: Arc<Budget>,
    /// Messages that could not.
    pub(crate) lost: Lost,
    /// Turns, written in each one: a sign of life.
    pub(crate) beat: AtomicU64,
    /// The thread ended without being told to.
    pub(crate) ended: AtomicBool,
    /// No turn for seconds.
    pub(crate) hung: AtomicBool,
    /// What a test makes of the next turn.
    #[cfg(test)]
    pub(crate) fault: Mutex<Option<Fault>>,
    /// The thread's CPU clock, once it runs.
    pub(crate) clock: std::sync::OnceLock<ThreadClock>,
}

impl Shared {
    /// `commands_max` of one room may wait for the thread.
    pub(crate) fn new(commands_max: usize) -> std::io::Result<Self> {
        Ok(Self {
            wake: Wake::new()?,
            stop: AtomicBool::new(false),
            counters: Mutex::default(),
            peers: AtomicU64::new(0),
            commands_refused: AtomicU64::new(0),
            load: AtomicU32::new(0),
            waiting: Arc::new(Budget::of_thread(commands_max)),
            lost: Lost::default(),
            beat: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            hung: AtomicBool::new(false),
            #[cfg(test)]
            fault: Mutex::default(),
            clock: std::sync::OnceLock::new(),
        })
    }
}

/// What tests make a thread do.
#[cfg(test)]
#[derive(Debug)]
pub(crate) enum Fault {
    /// A panic where none is caught.
    Panic,
    /// No turn until the other side is dropped.
    Hang(Receiver<()>),
}

#[cfg(test)]
impl Shared {
    fn take_fault(&self) {
        let fault = self.fault.lock().map(|mut fault| fault.take());
        match fault {
            Ok(Some(Fault::Panic)) => std::panic::resume_unwind(Box::new("as the test wants")),
            Ok(Some(Fault::Hang(until))) => drop(until.recv()),
            Ok(None) | Err(_) => {}
        }
    }
}

/// A command on its way to a media thread.
pub(crate) type Queued = (Box<Command>, Ticket);

/// What a media thread is made of.
pub(crate) struct Parts {
    /// Dropped before the rest: who misses the thread's events is to know why.
    #[expect(dead_code, reason = "it acts when it is dropped")]
    pub(crate) ending: Ending,
    pub(crate) worker: Worker,
    pub(crate) sockets: Vec<Socket>,
    pub(crate) commands: Receiver<Queued>,
    pub(crate) events: mpsc::Sender<Event>,
    /// All threads, by number, to ring their bells.
    pub(crate) threads: Arc<[Arc<Shared>]>,
    /// Which of them this is.
    pub(crate) index: usize,
}

/// Runs until [`Shared::stop`] is set.
pub(crate) fn run(parts: Parts) {
    let Some(shared) = parts.threads.get(parts.index).cloned() else {
        return;
    };
    if let Ok(clock) = ThreadClock::current() {
        // Set once per thread; a second set cannot happen.
        let _already = shared.clock.set(clock);
    }
    let receiving = Receiving::new(parts.sockets.len());
    let poll = PollSet::new(shared.wake.event(), &parts.sockets);
    let thread = MediaThread {
        poll,
        recv: RecvBatch::new(RECV_MESSAGES, RecvBatch::GRO_BUFFER),
        sender: Sender::new(true),
        outbox: Outbox::new(OUTBOX_DATAGRAMS, OUTBOX_BYTES),
        counters: ShellCounters::default(),
        receiving,
        waiting: CommandQueue::default(),
        load: Load::new(Instant::now(), Duration::ZERO),
        pressure: Pressure::Calm { behind: None },
        published: Instant::now(),
        dirty: true,
        shared,
        parts,
    };
    thread.run();
}

struct MediaThread {
    parts: Parts,
    shared: Arc<Shared>,
    poll: PollSet,
    recv: RecvBatch,
    sender: Sender,
    outbox: Outbox,
    counters: ShellCounters,
    receiving: Receiving,
    /// Commands by room, so that none waits for what another room has too much of.
    waiting: CommandQueue<Ticket>,
    load: Load,
    pressure: Pressure,
    published: Instant,
    /// Something was counted since `published`.
    dirty: bool,
}

impl MediaThread {
    fn run(mut self) {
        loop {
            let stopping = self.shared.stop.load(Ordering::Acquire);
            let panics = self.counters.panics;
            let more = self.turn();
            if stopping && !more {
                break;
            }
            self.publish(Instant::now(), stopping);
            if more {
                continue;
            }
            let least = if self.counters.panics > panics {
                WAIT_AFTER_PANIC
            } else {
                Duration::ZERO
            };
            self.wait(least);
        }
        self.publish(Instant::now(), true);
    }

    /// One turn; true when a budget ended before its work did.
    fn turn(&mut self) -> bool {
        self.shared.wake.begin_turn();
        self.counters.turns += 1;
        self.shared.beat.store(self.counters.turns, Ordering::Relaxed);
        #[cfg(test)]
        self.shared.take_fault();
        self.receiving.begin_turn();
        let begin = Instant::now();
        let mut now = begin;
        let mut more = self.take_commands(now);
        more |= if self.pressure.is_overloaded() {
            self.take_what_matters(now)
        } else {
            self.take_datagrams(now)
        };
        guard(&mut self.counters.panics, "crossings", || {
            self.parts.worker.handle_crossings(now);
        });
        now = Instant::now();
        guard(&mut self.counters.panics, "timers", || {
            if self.parts.worker.poll_timeout().is_some_and(|at| at <= now) {
                self.parts.worker.handle_timeout(now);
            }
        });
        more |= self.take_joining(now);
        self.transmit(now);
        while let Some(thread) = self.parts.worker.poll_wake() {
            if let Some(other) = self.parts.threads.get(usize::from(thread.0)) {
                other.wake.ring();
            }
        }
        more |= self.hand_over_events();
        self.end_turn(begin);
        more
    }

    /// Measures what the turn took.
    fn end_turn(&mut self, begin: Instant) {
        let now = Instant::now();
        let late = self.receiving.late || now - begin > TURN_MAX;
        self.pressure.update(now, late, self.receiving.lost);
        let clock = || self.shared.clock.get().and_then(ThreadClock::read);
        if let Some(load) = self.load.update(now, clock) {
            let overloaded = self.pressure.is_overloaded();
            let load = if overloaded { LOAD_FULL } else { load };
            self.shared.load.store(load, Ordering::Relaxed);
            self.parts.worker.set_load(load);
        }
    }

    fn take_commands(&mut self, now: Instant) -> bool {
        // No more than there are places for.
        while let Ok((command, ticket)) = self.parts.commands.try_recv() {
            self.waiting.push(*command, ticket);
        }
        let mut executed = 0;
        while executed < COMMANDS_PER_TURN && (executed == 0 || now.elapsed() < COMMANDS_TIME) {
            let Some((command, ticket)) = self.waiting.pop() else {
                return false;
            };
            self.counters.commands += u64::from(ticket.is_some());
            executed += cost(&command);
            self.dirty = true;
            guard(&mut self.counters.panics, "command", || {
                self.parts.worker.handle_command(now, command);
            });
        }
        true
    }

    /// Sends all that this turn's input led to, which bounds it.
    fn transmit(&mut self, now: Instant) {
        loop {
            let mut again = false;
            guard(&mut self.counters.panics, "transmit", || {
                again = self.parts.worker.poll_transmit(now, &mut self.outbox);
            });
            if self.outbox.is_empty() {
                return;
            }
            self.dirty = true;
            for (local, socket) in self.parts.sockets.iter().enumerate() {
                let datagrams = self.outbox.datagrams().iter();
                let ours = datagrams.filter(|datagram| usize::from(datagram.local) == local);
                self.sender.send(
                    socket,
                    self.outbox.bytes(),
                    ours.map(|datagram| Outgoing {
                        to: datagram.to,
                        start: datagram.start as usize,
                        len: usize::from(datagram.len),
                        trainable: datagram.trainable,
                    }),
                );
            }
            self.outbox.clear();
            if !again {
                return;
            }
        }
    }

    /// The worker keeps what does not fit. Events that had to wait are tried again next turn; the
    /// loop does not spin for them.
    fn hand_over_events(&mut self) -> bool {
        for _ in 0..EVENTS_PER_TURN {
            let Ok(place) = self.parts.events.try_reserve() else {
                // Full, or nobody listens any more, which only happens while the process ends.
                self.counters.events_delayed += 1;
                return false;
            };
            let mut event = None;
            guard(&mut self.counters.panics, "events", || {
                event = self.parts.worker.poll_event();
            });
            match event {
                Some(event) => place.send(event),
                None => return false,
            }
        }
        true
    }

    fn wait(&mut self, least: Duration) {
        if !self.shared.wake.begin_wait() {
            return;
        }
        let now = Instant::now();
        let until = |at: Instant| at.saturating_duration_since(now);
        let mut timeout = WAIT_MAX;
        if let Some(at) = self.parts.worker.poll_timeout() {
            timeout = timeout.min(until(at));
        }
        if self.dirty {
            timeout = timeout.min(until(self.published + PUBLISH_INTERVAL));
        }
        // An error here would be a closed descriptor, which cannot be: this thread owns them.
        let _ready = self.poll.wait(Some(timeout.max(least)));
        if self.poll.is_woken() {
            self.shared.wake.event().drain();
        }
    }

    fn publish(&mut self, now: Instant, last: bool) {
        if !last && (!self.dirty || now < self.published + PUBLISH_INTERVAL) {
            return;
        }
        // A reader may hold it now: next time.
        if let Ok(mut published) = self.shared.counters.try_lock() {
            let Counters {
                shell,
                recv,
                send,
                media,
            } = &mut *published;
            *shell = self.counters;
            *recv = self.recv.stats();
            *send = self.sender.stats();
            self.parts.worker.stats_into(media);
            self.published = now;
            self.dirty = false;
        }
    }
}

/// Calls into the worker; a panic is counted and logged, and ends here.
fn guard(panics: &mut u64, step: &'static str, call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_ok() {
        return;
    }
    *panics += 1;
    // The same fault may return with every packet: say it at 1, 2, 4, 8, …
    if panics.is_power_of_two() {
        tracing::error!(
            step,
            panics = *panics,
            "a media thread caught a panic and goes on"
        );
    }
    // Tests run so: none of them passes over it, whatever it looks at.
    if cfg!(debug_assertions) {
        std::process::abort();
    }
}
