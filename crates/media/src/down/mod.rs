//! Down tracks: what subscribers get.

pub(crate) mod allocate;
pub(crate) mod budget;
pub(crate) mod ceiling;
pub(crate) mod history;
pub(crate) mod inject;
pub(crate) mod munge;
pub(crate) mod red;
pub(crate) mod select;
pub(crate) mod shortage;
pub(crate) mod track;
mod trailer;
