//! One media thread: the event loop around one `media::Worker`.
