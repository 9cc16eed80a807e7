//! What hostile remote sides that completed their handshakes send.

use super::{Seeds, named};
use crate::targets::join;
use wire::rtcp::{DlrrReport, ReportBlock, Writer};

/// A flood of DATA: packets, first offset, step, flags, stream, step of the SSN, length, PPID,
/// padding, first SSN.
#[derive(Clone, Copy)]
struct Flood {
    packets: u8,
    offset: u16,
    step: u8,
    flags: u8,
    ssn_step: u8,
    len: u16,
    padding: u8,
    ssn: u16,
}

const WHOLE: u8 = 3;
const UNORDERED: u8 = 4;
const FIRST: u8 = 2;

const FLOOD: Flood = Flood {
    packets: 60,
    offset: 0,
    step: 1,
    flags: WHOLE,
    ssn_step: 1,
    len: 1,
    padding: 0,
    ssn: 0,
};

impl Flood {
    fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![1, self.packets];
        bytes.extend(self.offset.to_be_bytes());
        bytes.extend([self.step, self.flags, 0, 0, self.ssn_step]);
        bytes.extend(self.len.to_be_bytes());
        bytes.extend([51, self.padding]);
        bytes.extend(self.ssn.to_be_bytes());
        bytes
    }
}

#[expect(clippy::too_many_lines, reason = "a table of inputs")]
pub(super) fn sctp() -> Seeds {
    let one = |flood: Flood| join(&[flood.bytes()]);
    let behind = Flood { offset: 1, ..FLOOD };
    let long = |flags| Flood {
        flags,
        len: 1000,
        packets: 255,
        ..FLOOD
    };
    named([
        ("messages", &one(FLOOD)[..]),
        (
            "messages_not_taken",
            &join(&[vec![8], FLOOD.bytes(), FLOOD.bytes()]),
        ),
        (
            "behind_a_gap",
            &one(Flood {
                flags: WHOLE | UNORDERED,
                ..behind
            }),
        ),
        ("gaps", &one(Flood { step: 2, ..behind })),
        (
            "gaps_in_long_datagrams",
            &one(Flood {
                step: 2,
                packets: 255,
                padding: 200,
                flags: WHOLE | UNORDERED,
                ..behind
            }),
        ),
        (
            "fragments_without_end",
            &one(Flood {
                flags: 0,
                ssn_step: 0,
                ..FLOOD
            }),
        ),
        (
            "beginnings_unordered",
            &one(Flood {
                flags: FIRST | UNORDERED,
                ..FLOOD
            }),
        ),
        (
            "endings_in_long_datagrams",
            &one(Flood {
                flags: 1 | UNORDERED,
                padding: 240,
                packets: 255,
                ..FLOOD
            }),
        ),
        ("later_messages", &one(Flood { ssn: 5, ..FLOOD })),
        ("long_beginnings", &one(long(FIRST | UNORDERED))),
        ("long_without_end", &one(long(0))),
        ("duplicates", &one(Flood { step: 0, ..FLOOD })),
        (
            "zero_window",
            &join(&[
                vec![7, 200, 4, 0],
                [
                    &[3, 200, 0, 0, 0, 0, 40][..],
                    &[0, 1, 0, 9, 0, 1, 0, 9].repeat(120),
                ]
                .concat(),
                vec![6, 100],
                vec![6, 250],
            ]),
        ),
        (
            "forward",
            &join(&[
                Flood {
                    flags: FIRST | UNORDERED,
                    packets: 2,
                    ..FLOOD
                }
                .bytes(),
                vec![4, 0, 0, 1, 0, 0, 0, 0, 5],
                vec![2, 1, 0],
                vec![4, 0x3F, 0xFF, 0, 0, 0, 0, 0, 5],
                FLOOD.bytes(),
            ]),
        ),
        (
            "resets",
            &join(&[
                FLOOD.bytes(),
                vec![2, 255, 255],
                vec![5, 200, 0, 0, 0, 0, 0, 1, 0, 2],
            ]),
        ),
        (
            "resets_not_due",
            &join(&[
                [
                    &[5, 255, 0, 200][..],
                    &(0..500u16).flat_map(u16::to_be_bytes).collect::<Vec<_>>(),
                ]
                .concat(),
                FLOOD.bytes(),
            ]),
        ),
        (
            "heartbeats",
            &join(&[vec![9], vec![11, 255, 4, 0], vec![9], vec![6, 1]]),
        ),
        (
            "starts_again",
            &join(&[
                [
                    &[0, 1, 0, 0, 20][..],
                    &[9; 4],
                    &[0, 2, 0, 0, 4, 0, 4, 0],
                    &[0, 0, 0, 7],
                ]
                .concat(),
                [&[10, 50, 10, 0, 0, 36][..], &[1; 32]].concat(),
                vec![0, 14, 0, 0, 4],
                vec![0, 7, 0, 0, 8, 0, 0, 0, 0],
                vec![0, 6, 0, 0, 4],
            ]),
        ),
        (
            "begins",
            &join(&[vec![12], init(1, 0, 0, &[]), vec![12, 3], FLOOD.bytes()]),
        ),
        (
            "is_begun_with",
            &join(&[
                vec![12],
                init(2, 0, 0, &[0, 7, 0, 8, 1, 2, 3, 4]),
                vec![12, 4],
                FLOOD.bytes(),
            ]),
        ),
        (
            "begins_again_and_again",
            &join(&[
                vec![12],
                init(1, 255, 1, &[0xC0, 0, 0, 4]),
                vec![12, 3, 255, 1],
                vec![12, 3],
                init(1, 255, 1, &[]),
                vec![12, 3, 200],
                init(2, 200, 1, &[0, 7, 0, 8, 1, 2, 3, 4]),
                FLOOD.bytes(),
            ]),
        ),
        (
            "never_ends_to_begin",
            &join(&[
                vec![12],
                init(2, 0, 0, &[&[0, 7, 5, 0][..], &[9; 1276]].concat()),
                vec![6, 250],
                vec![6, 250],
                vec![0, 9, 0, 0, 12, 0, 3, 0, 8, 0, 0, 0, 0],
                vec![6, 250],
                init(1, 100, 3, &[0x80; 1000]),
                vec![0, 6, 0, 0, 4],
                vec![9],
                init(1, 255, 0, &[]),
                vec![9],
                vec![6, 250],
            ]),
        ),
    ])
}

/// INITs (1) or INIT ACKs (2) with these parameters, and what is added to the tag of each further one.
fn init(kind: u8, times: u8, varies: u8, parameters: &[u8]) -> Vec<u8> {
    let fixed = [0, 0, 7, 7, varies, 0, 2, 0, 0, 0, 16, 0, 16, 0];
    [&[12, kind, times][..], &fixed, parameters].concat()
}

/// Room for one compound packet.
fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buffer = [0; 1400];
    let mut out = Writer::new(&mut buffer);
    write(&mut out);
    out.bytes().to_vec()
}

#[expect(clippy::too_many_lines, reason = "a table of inputs")]
pub(super) fn rtcp() -> Seeds {
    let again = |times: u8, packet: &[u8]| [&[2, times], packet].concat();
    let lost: Vec<u16> = (100..300).collect();
    let nack = written(|out| assert!(out.nack(1, 10, &lost)));
    let all_lost: Vec<u8> = (0..330u16)
        .flat_map(|i| [(i * 17).to_be_bytes(), [255; 2]].concat())
        .collect();
    let nack_of_all = [&[0x81, 205, 1, 76, 0, 0, 0, 1, 0, 0, 0, 10][..], &all_lost].concat();
    let fir = written(|out| (0..60).for_each(|i| assert!(out.fir(1, 10, i))));
    let report = ReportBlock {
        ssrc: 10,
        fraction_lost: 255,
        cumulative_lost: -1,
        highest_sequence: u32::MAX,
        jitter: u32::MAX,
        last_sr: 1,
        delay_since_sr: u32::MAX,
    };
    let rr = written(|out| assert!(out.rr(0xCAFE_BABE, &[report; 31])));
    let sr = [&[0x80, 200, 0, 6, 0xCA, 0xFE, 0xBA, 0xBE][..], &[255; 20]].concat();
    let xr = written(|out| {
        (0..40).for_each(|i| assert!(out.xr_rrtr(i, u64::MAX)));
        let reports = [DlrrReport {
            ssrc: 1,
            last_rr: 7,
            delay: u32::MAX,
        }; 40];
        assert!(out.xr_dlrr(1, &reports));
    });
    let remb = written(|out| assert!(out.remb(1, u64::MAX >> 8, &[10; 200])));
    // Runs of 8191 packets that arrived, without the deltas.
    let runs = [
        &[
            0x8F, 205, 1, 64, 0, 0, 0, 1, 0, 0, 0, 10, 0, 0, 255, 255, 0, 0, 0, 0,
        ][..],
        &[0x3F, 0xFF].repeat(600),
    ]
    .concat();
    named([
        (
            "nack",
            &join(&[
                again(50, &nack),
                vec![3, 40],
                again(50, &nack),
                vec![4, 200],
                again(200, &nack),
            ])[..],
        ),
        (
            "nack_of_all",
            &join(&[again(255, &nack_of_all), vec![3, 40], again(255, &nack_of_all)]),
        ),
        (
            "key_frames",
            &join(&[
                again(100, &written(|out| assert!(out.pli(1, 10)))),
                again(100, &fir),
            ]),
        ),
        (
            "reports",
            &join(&[again(100, &rr), again(100, &sr), vec![3, 200], again(3, &rr)]),
        ),
        (
            "extended_reports",
            &join(&[again(100, &xr), vec![3, 200], again(100, &xr)]),
        ),
        ("estimates", &join(&[again(100, &remb), again(20, &runs)])),
        (
            "holes",
            &join(&[
                [&[5][..], &[3; 64]].concat(),
                vec![3, 20],
                [&[5][..], &[200; 64]].concat(),
                vec![3, 100],
                vec![3, 255],
            ]),
        ),
        (
            "lengths_that_lie",
            &join(&[
                again(9, &[0x9F, 205, 255, 255, 0, 0, 0, 1]),
                again(9, &[0xBF, 201, 0, 1, 0, 0, 0, 1]),
                again(9, &[0x80, 207, 0, 2, 0, 0, 0, 1, 5, 0, 255, 255]),
            ]),
        ),
    ])
}
