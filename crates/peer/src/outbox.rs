//! The arena in which outgoing datagrams are written side by side, encrypted in place, and from
//! which the shell sends them in one batch. Allocated once; full means "flush, then go on".

use std::net::SocketAddr;

/// One datagram waiting in an [`Outbox`].
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    /// Destination.
    pub to: SocketAddr,
    /// Index of the local socket to send from (see `media::api::LocalSocket`).
    pub local: u8,
    /// Offset of the first byte within [`Outbox::bytes`].
    pub start: u32,
    /// Length in bytes.
    pub len: u16,
    /// Datagrams of one train (same destination, consecutive, equal length but for the last)
    /// may leave as one `UDP_SEGMENT` message. Retransmissions set this to false.
    pub trainable: bool,
}

/// A bounded arena of outgoing datagrams.
#[derive(Debug)]
pub struct Outbox {
    bytes: Box<[u8]>,
    used: usize,
    datagrams: Vec<Datagram>,
    datagrams_max: usize,
}

impl Outbox {
    /// The largest datagram that [`Outbox::slot`] hands out, in bytes.
    pub const DATAGRAM_MAX: usize = 1500;

    /// An arena for `datagrams_max` datagrams and `bytes_max` bytes.
    #[must_use]
    pub fn new(datagrams_max: usize, bytes_max: usize) -> Self {
        Self {
            bytes: vec![0; bytes_max].into_boxed_slice(),
            used: 0,
            datagrams: Vec::with_capacity(datagrams_max),
            datagrams_max,
        }
    }

    /// Space for one more datagram of up to [`Self::DATAGRAM_MAX`] bytes; `None` when the arena is
    /// full and must be sent first. Nothing is queued until [`Self::commit`].
    pub fn slot(&mut self) -> Option<&mut [u8]> {
        if self.datagrams.len() == self.datagrams_max {
            return None;
        }
        self.bytes.get_mut(self.used..self.used + Self::DATAGRAM_MAX)
    }

    /// Queues the first `len` bytes of the slot handed out last.
    ///
    /// # Panics
    /// When `len` is larger than the slot, or no slot was free.
    pub fn commit(&mut self, to: SocketAddr, local: u8, len: usize, trainable: bool) {
        assert!(len <= Self::DATAGRAM_MAX && self.datagrams.len() < self.datagrams_max);
        let start = u32::try_from(self.used).expect("arena is smaller than 4 GiB");
        let len16 = u16::try_from(len).expect("checked above");
        self.datagrams.push(Datagram {
            to,
            local,
            start,
            len: len16,
            trainable,
        });
        self.used += len;
    }

    /// Queues a copy of `data`; false when the arena is full or `data` too long.
    pub fn push(&mut self, to: SocketAddr, local: u8, data: &[u8]) -> bool {
        let Some(target) = self.slot().and_then(|slot| slot.get_mut(..data.len())) else {
            return false;
        };
        target.copy_from_slice(data);
        self.commit(to, local, data.len(), false);
        true
    }

    /// All datagrams in the order they were queued.
    #[must_use]
    pub fn datagrams(&self) -> &[Datagram] {
        &self.datagrams
    }

    /// The bytes that [`Datagram::start`] indexes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// One datagram's bytes.
    #[must_use]
    pub fn datagram_bytes(&self, datagram: &Datagram) -> &[u8] {
        let start = datagram.start as usize;
        &self.bytes[start..start + usize::from(datagram.len)]
    }

    /// Whether nothing is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Forgets everything that was queued; keeps the memory.
    pub fn clear(&mut self) {
        self.used = 0;
        self.datagrams.clear();
    }
}
