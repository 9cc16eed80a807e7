//! The walk over JSON: it knows no fields, so every object counts as the largest message that is an
//! entry of a list.

use super::{ALLOCATION, DecodeError, Tally};

/// An entry of a list of messages, bytes.
pub(super) const MESSAGE: usize = 512;
/// What a scalar takes, at most.
const SCALAR: usize = 8;
/// A node of the tree's maps: it holds up to 11 names and values, and is at least half full.
const NODE: usize = 11 * (size_of::<String>() + size_of::<serde_json::Value>()) + 16;
/// Deepest nesting that is followed; the bounds say what is allowed.
const DEPTH_MAX: usize = 64;

pub(super) fn measure(text: &[u8], tree: bool, mut tally: Tally<'_>) -> Result<usize, DecodeError> {
    let bounds = tally.bounds;
    let depth_max = (bounds.depth_max * 2).min(DEPTH_MAX);
    let mut counts = [0_usize; DEPTH_MAX + 1];
    let mut depth = 0;
    let mut rest = text;
    // Whether the value that comes is the first of a list, for which a list takes four places.
    let mut places = 2;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let value = match byte {
            b'{' => {
                let node = if tree && !begins(rest, b'}') { NODE } else { 0 };
                places * MESSAGE + node
            }
            b'[' => ALLOCATION,
            b'"' => {
                let length = string(&mut rest);
                tally.text += length;
                places * size_of::<String>() + ALLOCATION * 2 + if tree { NODE / 5 } else { 0 }
            }
            b'}' | b']' => {
                depth -= usize::from(depth > 0);
                places = 2;
                continue;
            }
            b',' | b':' => {
                places = 2;
                if byte == b',' {
                    counts[depth] += 1;
                    tally.entries += 1;
                    if counts[depth] >= bounds.list_max || tally.entries > bounds.entries_max {
                        return Err(DecodeError::TooLarge);
                    }
                }
                continue;
            }
            _ if byte.is_ascii_whitespace() => continue,
            _ => {
                let end = rest.iter().position(|byte| b",:]}{[\" \n\r\t".contains(byte));
                rest = rest.get(end.unwrap_or(rest.len())..).unwrap_or_default();
                places * SCALAR
            }
        };
        tally.grow(
            value
                + if tree {
                    2 * size_of::<serde_json::Value>()
                } else {
                    0
                },
        )?;
        places = 2;
        if matches!(byte, b'{' | b'[') {
            depth += 1;
            if depth > depth_max {
                return Err(DecodeError::TooLarge);
            }
            counts[depth] = 0;
            if byte == b'[' {
                places = 4;
            }
        }
    }
    Ok(tally.size())
}

fn begins(text: &[u8], with: u8) -> bool {
    text.trim_ascii_start().first() == Some(&with)
}

/// Passes over a string behind its first quote; returns how long it is.
fn string(rest: &mut &[u8]) -> usize {
    let mut escaped = false;
    let end = rest.iter().position(|&byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    let length = end.unwrap_or(rest.len());
    *rest = rest.get(length + 1..).unwrap_or_default();
    length
}
