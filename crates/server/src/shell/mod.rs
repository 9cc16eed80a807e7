//! Event loops around the cores: the only code that waits.

pub mod media_thread;
pub(crate) mod message_budget;
pub mod outgoing;
pub mod room_task;
pub(crate) mod wake;
