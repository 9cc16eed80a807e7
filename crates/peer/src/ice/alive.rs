//! Whether the remote side is still heard: connected, disconnected after 10 s of silence, failed
//! after 5 s more (the timeouts of LiveKit; consent in the sense of RFC 7675).

use crate::peer::PeerEvent;
use std::time::{Duration, Instant};

/// Silence after which the path counts as interrupted.
const DISCONNECTED_AFTER: Duration = Duration::from_secs(10);
/// Silence after which it counts as lost; also the time that the first checks have.
const FAILED_AFTER: Duration = Duration::from_secs(15);

/// State of the path. `heard` is the arrival of the last valid STUN message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alive {
    /// Nothing is known of the remote side.
    Idle,
    /// Checks run since then, no pair is nominated.
    Checking { since: Instant },
    /// A pair is in use. `restarting`: it belongs to the previous ICE generation.
    Connected { heard: Instant, restarting: bool },
    /// Silence; may come back.
    Disconnected { heard: Instant, restarting: bool },
    /// Too long a silence.
    Failed,
}

impl Alive {
    pub(super) fn is_failed(self) -> bool {
        matches!(self, Self::Failed)
    }

    pub(super) fn is_connected(self) -> bool {
        matches!(self, Self::Connected { .. })
    }

    /// Whether the pair in use is the one of before the restart.
    pub(super) fn is_restarting(self) -> bool {
        match self {
            Self::Connected { restarting, .. } | Self::Disconnected { restarting, .. } => restarting,
            Self::Idle | Self::Checking { .. } | Self::Failed => false,
        }
    }

    /// Remote credentials are known: checks begin.
    pub(super) fn start(&mut self, now: Instant) {
        if matches!(self, Self::Idle | Self::Failed) {
            *self = Self::Checking { since: now };
        }
    }

    /// A pair was nominated.
    pub(super) fn connect(&mut self, now: Instant) {
        *self = Self::Connected {
            heard: now,
            restarting: false,
        };
    }

    /// ICE starts over; the pair in use has as long as a new one.
    pub(super) fn restart(&mut self, now: Instant) {
        *self = match *self {
            Self::Connected { .. } => Self::Connected {
                heard: now,
                restarting: true,
            },
            Self::Disconnected { .. } => Self::Disconnected {
                heard: now,
                restarting: true,
            },
            Self::Checking { .. } => Self::Checking { since: now },
            Self::Idle | Self::Failed => Self::Idle,
        };
    }

    /// A valid STUN message arrived. True when the path came back by it.
    pub(super) fn heard(&mut self, now: Instant) -> bool {
        match *self {
            Self::Connected { restarting, .. } => {
                *self = Self::Connected {
                    heard: now,
                    restarting,
                };
                false
            }
            Self::Disconnected { restarting, .. } => {
                *self = Self::Connected {
                    heard: now,
                    restarting,
                };
                true
            }
            Self::Idle | Self::Checking { .. } | Self::Failed => false,
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<PeerEvent> {
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return None;
        }
        match *self {
            Self::Connected { heard, restarting } => {
                *self = Self::Disconnected { heard, restarting };
                Some(PeerEvent::IceDisconnected)
            }
            Self::Checking { .. } | Self::Disconnected { .. } => {
                *self = Self::Failed;
                Some(PeerEvent::IceFailed)
            }
            Self::Idle | Self::Failed => None,
        }
    }

    pub(super) fn poll_timeout(self) -> Option<Instant> {
        match self {
            Self::Connected { heard, .. } => Some(heard + DISCONNECTED_AFTER),
            Self::Checking { since } => Some(since + FAILED_AFTER),
            Self::Disconnected { heard, .. } => Some(heard + FAILED_AFTER),
            Self::Idle | Self::Failed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_disconnects_after_10_s_and_fails_after_15_s() {
        let start = crate::test_epoch();
        let mut alive = Alive::Idle;
        alive.start(start);
        alive.connect(start);
        assert_eq!(alive.handle_timeout(start + Duration::from_millis(9_999)), None);
        let lost = alive.handle_timeout(start + Duration::from_secs(10));
        assert_eq!(lost, Some(PeerEvent::IceDisconnected));
        assert_eq!(alive.handle_timeout(start + Duration::from_millis(14_999)), None);
        let failed = alive.handle_timeout(start + Duration::from_secs(15));
        assert_eq!(failed, Some(PeerEvent::IceFailed));
        assert_eq!(alive.poll_timeout(), None);
    }

    #[test]
    fn a_check_that_arrives_brings_a_disconnected_path_back() {
        let start = crate::test_epoch();
        let mut alive = Alive::Idle;
        alive.connect(start);
        assert!(alive.handle_timeout(start + DISCONNECTED_AFTER).is_some());
        assert!(alive.heard(start + Duration::from_secs(12)));
        assert!(alive.is_connected());
        assert!(!alive.heard(start + Duration::from_secs(13)));
    }
}
