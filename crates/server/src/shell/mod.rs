//! Event loops around the cores: the only code that waits.

mod guarded;
pub(crate) mod http_server;
pub(crate) mod load;
pub mod media_thread;
pub(crate) mod message_budget;
pub mod outgoing;
pub mod places;
pub mod room_task;
pub mod vitals;
pub(crate) mod waiting;
pub(crate) mod wake;
