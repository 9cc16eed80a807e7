//! Event loops around the cores: the only code that waits.

pub mod backlog;
pub(crate) mod command_budget;
pub(crate) mod event_queue;
mod guarded;
pub(crate) mod http_server;
pub(crate) mod load;
pub mod mailbox;
pub mod media_thread;
pub mod outgoing;
pub mod places;
pub mod room_task;
#[cfg(test)]
mod rosters;
pub mod signal_message;
pub mod vitals;
pub(crate) mod waiting;
mod waiting_joins;
pub(crate) mod wake;
