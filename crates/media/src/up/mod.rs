//! Up tracks: what participants send.

pub(crate) mod keyframe;
pub(crate) mod layer;
pub(crate) mod level;
pub(crate) mod rates;
pub(crate) mod redundancy;
pub(crate) mod ring;
pub(crate) mod track;
