//! Redundant audio made of plain Opus, for subscribers who read it (RFC 2198).
//!
//! Owns: the choice of what is repeated. Must not know: subscribers, numbering of other tracks.

use super::history::Run;
use crate::up::layer::Layer;
use crate::up::ring::Packet;
use peer::Codec;
use wire::codec::red::{BLOCK_LEN_MAX, OFFSET_MAX, write};

/// Packets that are repeated: two lost in a row stay unheard of. More cost bandwidth for less gain.
const REPEATED: usize = 2;
/// Most bytes of a redundant payload. What is longer is repeated less, or sent as it is.
pub(crate) const PAYLOAD_MAX: usize = 1024;

/// Writes what stands in front of the primary block: headers and the latest packets of the same run,
/// oldest first. Returns its length; `None` when the packet is too long to be one of RED.
pub(crate) fn put_front(
    packet: &Packet<'_>,
    layer: &Layer,
    run: &Run,
    payload_type: u8,
    out: &mut [u8; PAYLOAD_MAX],
) -> Option<usize> {
    let mut blocks: [(u16, &[u8]); REPEATED] = [(0, &[]); REPEATED];
    let mut first = REPEATED;
    let mut len = 1 + packet.payload.len();
    if len > PAYLOAD_MAX {
        return None;
    }
    for distance in 1..=REPEATED {
        // What was said before the subscriber listened, or while muted, stays unheard. A receiver
        // counts back from the packet, so that nothing may stand in front of a hole.
        let Some(before) = packet
            .info
            .sequence
            .checked_sub(distance as u64)
            .filter(|sequence| *sequence >= run.first)
            .and_then(|sequence| layer.get(sequence))
        else {
            break;
        };
        let age = packet.info.timestamp.wrapping_sub(before.info.timestamp);
        let room = len + 4 + before.payload.len() <= PAYLOAD_MAX;
        let fits =
            room && (1..=u32::from(OFFSET_MAX)).contains(&age) && before.payload.len() <= BLOCK_LEN_MAX;
        if !fits || before.info.codec != Codec::Opus {
            break;
        }
        len += 4 + before.payload.len();
        first -= 1;
        *blocks.get_mut(first)? = (age as u16, before.payload);
    }
    write(out, payload_type, blocks.get(first..)?, &[])
}
