//! RTCP: whatever is read can be written and is then read as the same.

use wire::rtcp::{Packet, TransportCcHead, Writer, XrBlock, parse};

/// A compound or reduced-size packet.
pub(crate) fn rtcp(data: &[u8]) {
    let mut seen = 0;
    for packet in parse(data) {
        seen += 1;
        survives(&packet, data.len());
    }
    assert!(seen <= data.len() / 4, "each packet has a header");
}

fn survives(packet: &Packet<'_>, data_len: usize) {
    let mut buffer = vec![0xAA; data_len * 2 + 64];
    let mut out = Writer::new(&mut buffer);
    let written = write(packet, &mut out, data_len);
    if written {
        let mut again = parse(out.bytes());
        let read = again.next().expect("what was written is whole");
        assert!(same(packet, &read), "{packet:?} became {read:?}");
        assert!(again.next().is_none());
    }
}

/// Writes a packet as it was read; false for what cannot be written.
fn write(packet: &Packet<'_>, out: &mut Writer<'_>, data_len: usize) -> bool {
    match packet.clone() {
        Packet::SenderReport {
            ssrc,
            ntp,
            rtp,
            packets,
            octets,
            reports,
        } => {
            let reports: Vec<_> = reports.collect();
            assert!(out.sr(ssrc, ntp, rtp, packets, octets, &reports));
            true
        }
        Packet::ReceiverReport { ssrc, reports } => {
            let reports: Vec<_> = reports.collect();
            assert!(out.rr(ssrc, &reports));
            true
        }
        Packet::Sdes(items) => {
            assert!(items.count() <= data_len);
            false
        }
        Packet::Bye { ssrcs } => {
            let ssrcs: Vec<_> = ssrcs.collect();
            assert!(out.bye(&ssrcs));
            true
        }
        Packet::Nack { sender, media, lost } => {
            let lost: Vec<_> = lost.collect();
            // Entries may overlap or come unordered, then the same set is said in another way.
            lost.is_sorted_by(|a, b| (1..0x8000).contains(&b.wrapping_sub(*a)))
                && out.nack(sender, media, &lost)
        }
        Packet::Pli { sender, media } => {
            assert!(out.pli(sender, media));
            true
        }
        Packet::Fir { sender, mut entries } => match (entries.next(), entries.next()) {
            (Some((media, sequence)), None) => out.fir(sender, media, sequence),
            _ => false,
        },
        Packet::Remb {
            sender,
            bitrate_bps,
            ssrcs,
        } => {
            let ssrcs: Vec<_> = ssrcs.collect();
            assert!(out.remb(sender, bitrate_bps, &ssrcs));
            // A saturated rate has more bits than can be said.
            bitrate_bps != u64::MAX
        }
        Packet::TransportCc { statuses, .. } => {
            assert!(statuses.count() <= usize::from(u16::MAX));
            false
        }
        Packet::ExtendedReport { ssrc, blocks } => {
            for block in blocks.clone() {
                if let XrBlock::Dlrr(reports) = block {
                    assert!(reports.count() * 12 <= data_len);
                }
            }
            let mut blocks = blocks;
            match (blocks.next(), blocks.next()) {
                (Some(XrBlock::ReferenceTime { ntp }), None) => out.xr_rrtr(ssrc, ntp),
                _ => false,
            }
        }
        Packet::Unknown { .. } => false,
    }
}

/// Equal in meaning: iterators over other bytes are compared by what they yield.
fn same(a: &Packet<'_>, b: &Packet<'_>) -> bool {
    match (a.clone(), b.clone()) {
        (Packet::Nack { lost: a, .. }, Packet::Nack { lost: b, .. }) => a.eq(b),
        (Packet::Fir { entries: a, .. }, Packet::Fir { entries: b, .. }) => a.eq(b),
        (Packet::ExtendedReport { blocks: a, .. }, Packet::ExtendedReport { blocks: b, .. }) => a.eq(b),
        (a, b) => a == b,
    }
}

/// Transport-wide feedback is written from steps that the input says: two bits choose between a
/// lost packet and steps of growing size.
pub(crate) fn transport_cc(data: &[u8]) {
    let Some((&[room, count], data)) = data.split_first_chunk::<2>() else {
        return;
    };
    let mut at = 1u64 << 40;
    let mut arrivals = Vec::new();
    for pair in data.chunks_exact(2) {
        let value = u16::from_be_bytes([pair[0], pair[1]]);
        let step = i64::from(value >> 2);
        let arrival = match value & 3 {
            0 => None,
            1 => Some(step & 0xFF),
            2 => Some(step - 0x2000),
            _ => Some(step * 16),
        };
        arrivals.push(arrival.map(|step| {
            at = at.saturating_add_signed(step);
            at
        }));
    }
    let mut buffer = vec![0xAA; 20 + usize::from(room) * 8];
    let mut base_sequence = u16::from(count) << 8;
    let mut rest = &arrivals[..];
    while !rest.is_empty() {
        let mut out = Writer::new(&mut buffer);
        let head = TransportCcHead {
            sender: 1,
            media: 2,
            base_sequence,
            feedback_count: count,
        };
        let Some(said) = out.transport_cc(&head, rest) else {
            assert!(out.is_empty());
            return;
        };
        check_feedback(out.bytes(), base_sequence, &rest[..said]);
        base_sequence = base_sequence.wrapping_add(said as u16);
        rest = &rest[said..];
    }
}

fn check_feedback(bytes: &[u8], base_sequence: u16, arrivals: &[Option<u64>]) {
    let mut packets = parse(bytes);
    let Some(Packet::TransportCc { statuses, .. }) = packets.next() else {
        panic!("what was written is not feedback");
    };
    assert!(packets.next().is_none());
    let mut clock = None;
    let mut sequence = base_sequence;
    let mut seen = 0;
    for ((number, delta), arrival) in statuses.zip(arrivals) {
        assert_eq!(number, sequence);
        assert_eq!(delta.is_some(), arrival.is_some());
        if let (Some(delta), Some(arrival)) = (delta, arrival) {
            let before = clock.unwrap_or(arrival / 256 * 256);
            assert_eq!(before.wrapping_add_signed(i64::from(delta)), *arrival);
            clock = Some(*arrival);
        }
        sequence = sequence.wrapping_add(1);
        seen += 1;
    }
    assert_eq!(seen, arrivals.len(), "all statuses are there");
}
