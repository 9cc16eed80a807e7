//! What a publisher sends through a worker.

use super::{STRUCTURE, Seeds, av1, h264, h265, opus, redundant, vp8, vp9};
use crate::targets::join;

/// See the target: stream, steps, codec, flags, descriptor and payload.
fn packet(stream: u8, steps: u8, codec: u8, flags: u8, descriptor: &[u8], payload: &[u8]) -> Vec<u8> {
    let head = [stream, steps, codec, flags, descriptor.len() as u8];
    [&head, descriptor, payload].concat()
}

pub(super) fn forward() -> Seeds {
    let payloads = |seeds: Seeds| -> Vec<Vec<u8>> { seeds.into_iter().map(|(_, bytes)| bytes).collect() };
    let mut all = Vec::new();
    let video = [vp8(), vp9(), av1(), h264(), h265()].map(payloads);
    for (codec, name) in ["vp8", "vp9", "av1", "h264", "h265"].into_iter().enumerate() {
        let mut steps = Vec::new();
        for round in 0..3u8 {
            for (at, payload) in video[codec].iter().enumerate() {
                for stream in 0..3 {
                    let marker = u8::from(at % 2 == 1);
                    steps.push(packet(stream, 0x10 | round, codec as u8, marker, &[], payload));
                }
            }
            steps.push(vec![8, 40]);
            // Other layers, a key frame wanted.
            steps.push(vec![10, [0b0100, 0b1110, 0b0001][usize::from(round)]]);
            steps.push(vec![11]);
        }
        all.push((name.to_owned(), join(&steps)));
    }
    let frames: [&[u8]; 4] = [
        STRUCTURE,
        &[0x86, 0x01, 0x73, 0x40, 0xfc],
        &[0xc3, 0x01, 0x75, 0x40, 0xfc],
        &[0x88, 0x01, 0x76],
    ];
    let mut layered: Vec<_> = frames
        .iter()
        .map(|descriptor| packet(0, 0x10, 2, 1, descriptor, &[0x18, 0x0A, 0, 0]))
        .collect();
    layered.insert(1, vec![10, 0b0101]);
    all.push(("layered".to_owned(), join(&layered)));
    let audio: Vec<_> = payloads(opus())
        .iter()
        .map(|payload| packet(3, 0x08, 0, 0, &[], payload))
        .chain(
            payloads(redundant())
                .iter()
                .map(|payload| packet(3, 0x09, 1, 2, &[], payload)),
        )
        .chain([vec![0x1E], packet(3, 8, 0, 0, &[], &[0xF8]), vec![0x1F]])
        .collect();
    all.push(("audio".to_owned(), join(&audio)));
    let muted = [
        packet(0, 8, 0, 0, &[], &video[0][0]),
        vec![13, 1],
        packet(0, 8, 0, 0, &[], &video[0][1]),
        vec![13, 0],
        packet(0, 0x0F, 0, 7, &[], &video[0][0]),
        vec![0x0C, 0x80, 96, 0, 1],
        vec![9, 255],
    ];
    all.push(("muted".to_owned(), join(&muted)));
    all
}
