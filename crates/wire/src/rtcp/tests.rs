//! Known bytes, round trips and hostile bytes.

use super::*;
use proptest::prelude::*;

fn one(data: &[u8]) -> Packet<'_> {
    let mut packets = parse(data);
    let packet = packets.next().expect("a packet");
    assert_eq!(packets.next(), None, "only one");
    packet
}

fn written(write: impl FnOnce(&mut Writer<'_>) -> bool) -> Vec<u8> {
    let mut buffer = [0xEE; 2048];
    let mut writer = Writer::new(&mut buffer);
    assert!(write(&mut writer));
    writer.bytes().to_vec()
}

const BLOCK: ReportBlock = ReportBlock {
    ssrc: 0xBC5E_9A40,
    fraction_lost: 3,
    cumulative_lost: -2,
    highest_sequence: 0x46E1,
    jitter: 273,
    last_sr: 0x09F3_6432,
    delay_since_sr: 0x0002_4A79,
};

#[test]
fn reads_a_receiver_report_of_the_wire() {
    let data = [
        0x81, 0xC9, 0x00, 0x07, 0x90, 0x2F, 0x9E, 0x2E, 0xBC, 0x5E, 0x9A, 0x40, 0x03, 0xFF, 0xFF, 0xFE, 0x00,
        0x00, 0x46, 0xE1, 0x00, 0x00, 0x01, 0x11, 0x09, 0xF3, 0x64, 0x32, 0x00, 0x02, 0x4A, 0x79,
    ];
    let Packet::ReceiverReport { ssrc, reports } = one(&data) else {
        panic!("a receiver report");
    };
    assert_eq!(ssrc, 0x902F_9E2E);
    assert_eq!(reports.collect::<Vec<_>>(), [BLOCK]);
    assert_eq!(written(|out| out.rr(0x902F_9E2E, &[BLOCK])), data);
}

#[test]
fn sender_report_is_read_back() {
    let data = written(|out| out.sr(7, 0x0123_4567_89AB_CDEF, 90_000, 11, 12_345, &[BLOCK, BLOCK]));
    let Packet::SenderReport {
        ssrc,
        ntp,
        rtp,
        packets,
        octets,
        reports,
    } = one(&data)
    else {
        panic!("a sender report");
    };
    assert_eq!((ssrc, ntp, rtp), (7, 0x0123_4567_89AB_CDEF, 90_000));
    assert_eq!((packets, octets), (11, 12_345));
    assert_eq!(reports.collect::<Vec<_>>(), [BLOCK, BLOCK]);
}

#[test]
fn cumulative_loss_is_clamped_to_24_bits() {
    for (lost, said) in [(i32::MAX, 0x7F_FFFF), (i32::MIN, -0x80_0000), (-1, -1)] {
        let block = ReportBlock {
            cumulative_lost: lost,
            ..BLOCK
        };
        let data = written(|out| out.rr(1, &[block]));
        let Packet::ReceiverReport { mut reports, .. } = one(&data) else {
            panic!("a receiver report");
        };
        assert_eq!(reports.next().map(|read| read.cumulative_lost), Some(said));
    }
}

#[test]
fn sdes_is_padded_and_read_back_for_every_length() {
    for len in 0..=255 {
        let cname = vec![b'c'; len];
        let data = written(|out| out.sdes_items(5, &[(SDES_CNAME, &cname), (SDES_MID, b"0")]));
        assert_eq!(data.len() % 4, 0);
        let Packet::Sdes(items) = one(&data) else {
            panic!("a source description");
        };
        let items: Vec<_> = items.map(|item| (item.ssrc, item.kind, item.text)).collect();
        assert_eq!(items, [(5, SDES_CNAME, &cname[..]), (5, SDES_MID, b"0")]);
    }
}

#[test]
fn sdes_of_two_sources() {
    let data = [
        0x82, 0xCA, 0, 6, 0, 0, 0, 1, 1, 2, b'h', b'i', 0, 0, 0, 0, 0, 0, 0, 2, 1, 1, b'x', 0, 0, 0, 0, 0,
    ];
    let Packet::Sdes(items) = one(&data) else {
        panic!("a source description");
    };
    let items: Vec<_> = items.map(|item| (item.ssrc, item.text)).collect();
    assert_eq!(items, [(1, &b"hi"[..]), (2, b"x")]);
}

#[test]
fn nack_packs_sixteen_followers_into_the_mask() {
    // 15 is 17 behind 65,534: it begins a new entry, into which 40 does not fit either.
    let data = written(|out| out.nack(1, 2, &[0xFFFE, 0xFFFF, 0, 14, 15, 40]));
    assert_eq!(
        data,
        [
            0x81, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0xFF, 0xFE, 0x80, 0x03, 0, 15, 0, 0, 0, 40, 0, 0
        ]
    );
}

#[test]
fn pli_and_fir_have_their_known_bytes() {
    assert_eq!(
        written(|out| out.pli(0x902F_9E2E, 0x4BC4_FCB4)),
        [0x81, 0xCE, 0, 2, 0x90, 0x2F, 0x9E, 0x2E, 0x4B, 0xC4, 0xFC, 0xB4]
    );
    let fir = written(|out| out.fir(1, 0x1234_5678, 0x42));
    assert_eq!(
        fir,
        [
            0x84, 0xCE, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0x12, 0x34, 0x56, 0x78, 0x42, 0, 0, 0
        ]
    );
    let Packet::Fir { sender: 1, entries } = one(&fir) else {
        panic!("a full intra request");
    };
    assert_eq!(entries.collect::<Vec<_>>(), [(0x1234_5678, 0x42)]);
}

#[test]
fn remb_of_chromium_is_read() {
    // 2^6 * 139,487 bit/s for one source.
    let data = [
        0x8F, 0xCE, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, 0x1A, 0x20, 0xDF, 0x48, 0x74,
        0x41, 0xB8,
    ];
    let Packet::Remb {
        sender,
        bitrate_bps,
        ssrcs,
    } = one(&data)
    else {
        panic!("a REMB");
    };
    assert_eq!((sender, bitrate_bps), (1, 8_927_168));
    assert_eq!(ssrcs.collect::<Vec<_>>(), [0x4874_41B8]);
    assert_eq!(written(|out| out.remb(1, 8_927_168, &[0x4874_41B8])), data);
}

#[test]
fn remb_keeps_18_significant_bits_and_saturates() {
    for bitrate in [0, 1, 0x3_FFFF, 0x4_0000, 0x4_0001, 5_000_000, u64::MAX] {
        let data = written(|out| out.remb(1, bitrate, &[]));
        let Packet::Remb { bitrate_bps, .. } = one(&data) else {
            panic!("a REMB");
        };
        assert!(bitrate_bps <= bitrate && bitrate - bitrate_bps <= bitrate >> 17);
    }
    let mut huge = written(|out| out.remb(1, 1, &[]));
    huge[17] = 0xFF;
    huge[18] = 0xFF;
    huge[19] = 0xFF;
    assert!(matches!(
        one(&huge),
        Packet::Remb {
            bitrate_bps: u64::MAX,
            ..
        }
    ));
}

#[test]
fn extended_reports_are_read_back() {
    let data = written(|out| {
        let report = DlrrReport {
            ssrc: 3,
            last_rr: 4,
            delay: 5,
        };
        out.xr_rrtr(1, 0xAABB_CCDD_EEFF_0011) && out.xr_dlrr(2, &[report])
    });
    let read: Vec<_> = parse(&data)
        .map(|packet| {
            let Packet::ExtendedReport { ssrc, mut blocks } = packet else {
                panic!("{packet:?}");
            };
            (ssrc, blocks.next())
        })
        .collect();
    assert_eq!(
        read[0],
        (
            1,
            Some(XrBlock::ReferenceTime {
                ntp: 0xAABB_CCDD_EEFF_0011
            })
        )
    );
    let (2, Some(XrBlock::Dlrr(mut reports))) = read[1].clone() else {
        panic!("a DLRR block");
    };
    assert_eq!(
        reports.next(),
        Some(DlrrReport {
            ssrc: 3,
            last_rr: 4,
            delay: 5
        })
    );
}

#[test]
fn a_compound_is_read_in_order_and_ends_at_the_first_broken_packet() {
    let mut data = written(|out| out.rr(1, &[]) && out.sdes(1, b"me") && out.pli(1, 2) && out.bye(&[1, 9]));
    let kinds = |data: &[u8]| -> String {
        let kind = |packet| {
            [
                (matches!(packet, Packet::ReceiverReport { .. }), "rr "),
                (matches!(packet, Packet::Sdes(_)), "sdes "),
                (matches!(packet, Packet::Pli { .. }), "pli "),
                (matches!(packet, Packet::Bye { .. }), "bye "),
            ]
            .into_iter()
            .find_map(|(is, name)| is.then_some(name))
        };
        parse(data)
            .map(|packet| kind(packet).expect("one of these"))
            .collect()
    };
    assert_eq!(kinds(&data), "rr sdes pli bye ");
    assert_eq!(kinds(&data[..data.len() - 1]), "rr sdes pli ");
    let pli = 8 + 16;
    data[pli + 3] = 1;
    assert_eq!(kinds(&data), "rr sdes ");
}

#[test]
fn counts_beyond_the_packet_are_refused() {
    for data in [
        &[0x81, 201, 0, 1, 0, 0, 0, 1][..],
        &[0x82, 203, 0, 1, 0, 0, 0, 1],
        &[0x81, 202, 0, 1, 0, 0, 0, 1],
        &[0x80, 200, 0, 1, 0, 0, 0, 1],
        &[0xA1, 203, 0, 1, 0, 0, 0, 9],
        &[0xA1, 203, 0, 1, 0, 0, 0, 0],
        &[0x41, 203, 0, 1, 0, 0, 0, 1],
    ] {
        assert_eq!(parse(data).next(), None, "{data:02x?}");
    }
}

#[test]
fn padding_is_taken_off() {
    let data = [0xA1, 203, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4];
    let Packet::Bye { ssrcs } = one(&data) else {
        panic!("a goodbye");
    };
    assert_eq!(ssrcs.collect::<Vec<_>>(), [1]);
}

#[test]
fn a_full_writer_writes_nothing_and_keeps_what_it_has() {
    let mut buffer = [0; 20];
    let mut writer = Writer::new(&mut buffer);
    assert!(writer.pli(1, 2));
    assert!(!writer.pli(1, 3));
    assert!(!writer.nack(1, 2, &[]));
    assert!(!writer.rr(1, &[BLOCK; 32]));
    assert!(writer.rr(1, &[]));
    assert_eq!(writer.len(), 20);
    assert_eq!(parse(writer.bytes()).count(), 2);
}

fn statuses(data: &[u8]) -> (u32, Vec<(u16, Option<i16>)>) {
    let Packet::TransportCc {
        reference_time,
        statuses,
        ..
    } = one(data)
    else {
        panic!("transport feedback");
    };
    (reference_time, statuses.collect())
}

const HEAD: TransportCcHead = TransportCcHead {
    sender: 1,
    media: 2,
    base_sequence: 0xFFFF,
    feedback_count: 9,
};

#[test]
fn transport_feedback_reads_runs_and_vectors() {
    // A run of two small deltas, a two-bit vector (small, missing, large, missing x4), a one-bit
    // vector of which only two symbols count.
    let data = [
        0x8F, 205, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2, 0, 10, 0, 11, 0x00, 0x00, 0x05, 0x07, 0x20, 0x02, 0xD2,
        0x00, 0xA0, 0x00, 4, 8, 12, 0xFF, 0xFE, 16,
    ];
    let (reference_time, read) = statuses(&data);
    assert_eq!(reference_time, 5);
    let deltas: Vec<_> = read.iter().map(|&(_, delta)| delta).collect();
    let (run, rest) = deltas.split_at(2);
    let (two_bit, one_bit) = rest.split_at(7);
    assert_eq!(run, [Some(4), Some(8)]);
    assert_eq!(two_bit, [Some(12), None, Some(-2), None, None, None, None]);
    assert_eq!(one_bit, [Some(16), None]);
    assert_eq!(read[10].0, 20);
}

#[test]
fn transport_feedback_wraps_sequence_and_pads() {
    let mut buffer = [0; 64];
    let mut writer = Writer::new(&mut buffer);
    let arrivals = [Some(1000), None, Some(1004), Some(900)];
    assert_eq!(writer.transport_cc(&HEAD, &arrivals), Some(4));
    assert!(writer.pli(1, 2), "more may follow the padding");
    let data = writer.bytes();
    assert_eq!(data[0] & 0x20, 0x20);
    let (reference, read) = statuses(&data[..data.len() - 12]);
    assert_eq!(reference, 3);
    assert_eq!(
        read,
        [(0xFFFF, Some(232)), (0, None), (1, Some(4)), (2, Some(-104))]
    );
    assert_eq!(parse(data).count(), 2);
}

#[test]
fn transport_feedback_ends_before_a_gap_that_a_delta_cannot_say() {
    let mut buffer = [0; 256];
    let arrivals = [Some(10), Some(20), None, Some(20 + 32_768), Some(20 + 32_769)];
    let said = Writer::new(&mut buffer)
        .transport_cc(&HEAD, &arrivals)
        .expect("fits");
    assert_eq!(said, 3);
    let mut writer = Writer::new(&mut buffer);
    let said = writer.transport_cc(&HEAD, &arrivals[said..]).expect("fits");
    assert_eq!(said, 2);
    let (reference, read) = statuses(writer.bytes());
    assert_eq!(reference, 128);
    assert_eq!(read, [(0xFFFF, Some(20)), (0, Some(1))]);
}

#[test]
fn long_runs_take_one_chunk() {
    let mut buffer = [0; 8400];
    let mut arrivals = vec![Some(7); 8000];
    arrivals.extend([None; 100]);
    let mut writer = Writer::new(&mut buffer);
    assert_eq!(writer.transport_cc(&HEAD, &arrivals), Some(8100));
    assert_eq!(writer.len(), 20 + 2 * 2 + 8000);
}

#[test]
fn transport_feedback_without_all_deltas_is_refused() {
    let mut data = [
        0x8F, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 10, 0, 2, 0, 0, 5, 7, 0x20, 0x02, 4, 8,
    ];
    assert_eq!(parse(&data).count(), 1);
    data[21] = 1;
    assert_eq!(parse(&data).count(), 0, "chunks end before the count");
    data[20] = 0x40;
    data[21] = 2;
    assert_eq!(parse(&data).count(), 0, "large deltas need more bytes");
}

/// Statuses as a stream produces them: mostly small steps, some losses, some reorderings and gaps.
fn arrivals() -> impl Strategy<Value = Vec<Option<u64>>> {
    let step = prop_oneof![
        8 => (0i64..300).prop_map(Some),
        3 => Just(None),
        1 => (-1000i64..40_000).prop_map(Some),
    ];
    (
        100_000u64..1 << 40,
        prop::collection::vec((step, 1usize..20), 1..60),
    )
        .prop_map(|(start, steps)| {
            let mut at = start;
            let mut all = Vec::new();
            for (step, repeat) in steps {
                for _ in 0..repeat {
                    all.push(step.map(|step| {
                        at = at.saturating_add_signed(step);
                        at
                    }));
                }
            }
            all
        })
}

proptest! {
    #[test]
    fn nack_is_read_back(mut lost in prop::collection::btree_set(0u16..600, 1..100), base: u16) {
        let sorted: Vec<u16> = std::mem::take(&mut lost).into_iter().map(|at| base.wrapping_add(at)).collect();
        let data = written(|out| out.nack(1, 2, &sorted));
        let Packet::Nack { sender: 1, media: 2, lost } = one(&data) else {
            panic!("a NACK");
        };
        prop_assert_eq!(lost.collect::<Vec<_>>(), sorted);
    }

    #[test]
    fn unsorted_nack_says_the_same_set(lost in prop::collection::vec(any::<u16>(), 1..100)) {
        let data = written(|out| out.nack(1, 2, &lost));
        let Packet::Nack { lost: read, .. } = one(&data) else {
            panic!("a NACK");
        };
        let set = |all: Vec<u16>| all.into_iter().collect::<std::collections::BTreeSet<_>>();
        prop_assert_eq!(set(read.collect()), set(lost));
    }

    #[test]
    fn transport_feedback_says_every_arrival(arrivals in arrivals(), room in 24usize..1200) {
        let mut at = 0;
        let mut sequence = 0u16;
        while at < arrivals.len() {
            let mut buffer = vec![0xEE; room];
            let mut writer = Writer::new(&mut buffer);
            let head = TransportCcHead { base_sequence: sequence, ..HEAD };
            let left = &arrivals[at..];
            let Some(said) = writer.transport_cc(&head, left) else {
                // Only a tiny buffer can refuse: one chunk of up to 14 statuses must fit.
                prop_assert!(room < 20 + 2 + 8191 * 2);
                break;
            };
            let (reference, read) = statuses(writer.bytes());
            prop_assert_eq!(read.len(), said);
            let mut clock: Option<u64> = None;
            for (index, (number, delta)) in read.into_iter().enumerate() {
                prop_assert_eq!(number, sequence.wrapping_add(index as u16));
                prop_assert_eq!(delta.is_some(), left[index].is_some());
                if let (Some(delta), Some(arrival)) = (delta, left[index]) {
                    let base = clock.unwrap_or_else(|| {
                        // 24 bits of the reference are said; the rest is taken from the truth.
                        let whole = arrival / 256;
                        assert_eq!(whole as u32 & 0xFF_FFFF, reference);
                        whole * 256
                    });
                    clock = Some(base.wrapping_add_signed(i64::from(delta)));
                    prop_assert_eq!(clock, Some(arrival));
                }
            }
            at += said;
            sequence = sequence.wrapping_add(said as u16);
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(mut data in prop::collection::vec(any::<u8>(), 0..200), kind in 200u8..208) {
        drain(&data);
        if let [first, second, ..] = &mut data[..] {
            *first = 0x80 | (*first & 0x3F);
            *second = kind;
        }
        drain(&data);
    }
}

/// Reads everything; every list ends by itself.
fn drain(data: &[u8]) {
    for packet in parse(data) {
        match packet {
            Packet::SenderReport { reports, .. } | Packet::ReceiverReport { reports, .. } => {
                assert!(reports.count() <= 31);
            }
            Packet::Sdes(items) => assert!(items.count() <= data.len()),
            Packet::Bye { ssrcs } | Packet::Remb { ssrcs, .. } => assert!(ssrcs.count() <= 255),
            Packet::Nack { lost, .. } => assert!(lost.count() <= data.len() * 17),
            Packet::Fir { entries, .. } => assert!(entries.count() <= data.len()),
            Packet::TransportCc { statuses, .. } => assert!(statuses.count() <= 65_535),
            Packet::ExtendedReport { blocks, .. } => {
                for block in blocks {
                    if let XrBlock::Dlrr(reports) = block {
                        assert!(reports.count() <= data.len());
                    }
                }
            }
            Packet::Pli { .. } | Packet::Unknown { .. } => {}
        }
    }
}
