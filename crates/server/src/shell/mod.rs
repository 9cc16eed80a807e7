//! Event loops around the cores: the only code that waits.

pub mod media_thread;
pub mod outgoing;
pub mod room_task;
pub(crate) mod wake;
