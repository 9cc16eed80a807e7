//! Two sessions and the datagrams between them, in virtual time.

use dtls::{Context, Failure, Identity, Received, Role, Session, SrtpProfile};
use std::cell::OnceCell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use wire::sdp::Fingerprint;

/// Some instant to count from.
pub(crate) fn epoch() -> Instant {
    thread_local! {
        static EPOCH: OnceCell<Instant> = const { OnceCell::new() };
    }
    EPOCH.with(|epoch| *epoch.get_or_init(Instant::now))
}

/// One session.
pub(crate) struct End {
    pub(crate) session: Session,
    pub(crate) failure: Option<Failure>,
    pub(crate) received: Vec<Vec<u8>>,
}

impl End {
    pub(crate) fn new(identity: &Identity, role: Role, expected: Fingerprint) -> Self {
        let context = Context::new(identity, epoch()).unwrap();
        Self {
            session: Session::new(&context, role, expected, epoch()).unwrap(),
            failure: None,
            received: Vec::new(),
        }
    }

    pub(crate) fn take(&mut self, now: Instant, datagram: &[u8]) {
        if self.failure.is_some() {
            return;
        }
        if let Err(failure) = self.session.handle_packet(now, datagram) {
            self.failure = Some(failure);
            return;
        }
        let mut buffer = vec![0; 16_384];
        loop {
            match self.session.receive(now, &mut buffer) {
                Ok(Received::Data(len)) => self.received.push(buffer[..len].to_vec()),
                Ok(Received::Closed | Received::Nothing) => return,
                Err(failure) => {
                    self.failure = Some(failure);
                    return;
                }
            }
        }
    }
}

/// Client and server and what is on its way.
pub(crate) struct Link {
    pub(crate) client: End,
    pub(crate) server: End,
    pub(crate) now: Instant,
    pub(crate) sent: usize,
    pub(crate) longest: usize,
    /// This datagram, counted from the first, is lost.
    pub(crate) lose: Option<usize>,
    /// One byte of one datagram is changed, as this seed says.
    pub(crate) mangle: Option<u64>,
}

impl Link {
    pub(crate) fn new(client: &Identity, server: &Identity) -> Self {
        Self {
            client: End::new(client, Role::Client, server.fingerprint().into()),
            server: End::new(server, Role::Server, client.fingerprint().into()),
            now: epoch(),
            sent: 0,
            longest: 0,
            lose: None,
            mangle: None,
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - epoch()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.client.session.is_established() && self.server.session.is_established()
    }

    /// Until both are up or nothing happens any more, at most so long.
    pub(crate) fn run(&mut self, limit: Duration) {
        let end = self.now + limit;
        loop {
            while self.deliver() {}
            let over = self.is_up() || self.client.failure.is_some() || self.server.failure.is_some();
            let next = [&self.client, &self.server]
                .into_iter()
                .filter_map(|end| end.session.poll_timeout())
                .min();
            let Some(next) = next.filter(|next| !over && *next < end) else {
                return;
            };
            self.now = next;
            for end in [&mut self.client, &mut self.server] {
                end.session.handle_timeout(next).unwrap();
            }
        }
    }

    fn deliver(&mut self) -> bool {
        let mut moved = false;
        for from_client in [true, false] {
            let (from, to) = if from_client {
                (&mut self.client, &mut self.server)
            } else {
                (&mut self.server, &mut self.client)
            };
            let datagrams: VecDeque<Vec<u8>> = std::iter::from_fn(|| from.session.poll_packet()).collect();
            for mut datagram in datagrams {
                moved = true;
                let number = self.sent;
                self.sent += 1;
                self.longest = self.longest.max(datagram.len());
                if self.lose == Some(number) {
                    continue;
                }
                if let Some(seed) = self.mangle
                    && seed % 6 == number as u64
                {
                    let at = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) as usize % datagram.len();
                    datagram[at] ^= 1 << (seed % 8);
                }
                to.take(self.now, &datagram);
            }
        }
        moved
    }

    /// Keys are the same on both sides.
    pub(crate) fn agreed(&self) -> SrtpProfile {
        let (profile, client) = self.client.session.srtp().expect("SRTP");
        let (same, server) = self.server.session.srtp().expect("SRTP");
        assert_eq!(profile, same);
        assert_eq!(client[..], server[..]);
        assert_eq!(client.len(), profile.keying_material_len());
        profile
    }

    /// Data goes both ways, in small and in the longest records.
    pub(crate) fn exchange(&mut self) {
        for data in [vec![1], vec![2; 1200], vec![3; 16_384]] {
            self.client.session.send(&data).unwrap();
            self.server.session.send(&data).unwrap();
            while self.deliver() {}
            assert_eq!(self.client.received.pop(), Some(data.clone()));
            assert_eq!(self.server.received.pop(), Some(data));
        }
    }
}
