//! The room's state and its dispatch: [`Room::apply`] is the only way in, effects the only way out.

use crate::action::Action;
use crate::config::{Now, RoomConfig};
use crate::effect::Effect;
use std::collections::VecDeque;
use std::time::Instant;

/// One room.
#[derive(Debug)]
pub struct Room {
    pub(crate) config: RoomConfig,
    pub(crate) effects: VecDeque<Effect>,
}

impl Room {
    /// A room that was just created. `seed` feeds its SIDs, keys and SSRCs.
    #[must_use]
    pub fn new(config: RoomConfig, now: Now, seed: u64) -> Self {
        let _ = (now, seed);
        Self {
            config,
            effects: VecDeque::new(),
        }
    }

    /// Takes one action. Drain [`Self::poll_effect`] afterwards.
    pub fn apply(&mut self, now: Now, action: Action) {
        let _ = (now, action, &self.config);
    }

    /// The next thing for the shell to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Action::Timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}
