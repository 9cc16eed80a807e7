//! RTP with header extensions, STUN, and the messages that open data channels.

use wire::demux::{Class, classify};
use wire::ext::{ExtensionIds, Extensions};
use wire::{dcep, ext, rtp, stun};

/// Ids as a browser numbers them, all different.
pub(crate) const IDS: ExtensionIds = ExtensionIds {
    mid: 1,
    rid: 2,
    repaired_rid: 3,
    audio_level: 4,
    abs_send_time: 5,
    transport_cc: 6,
    abs_capture_time: 7,
    dependency_descriptor: 8,
    playout_delay: 9,
    frame_marking: 10,
};

/// The header, its extensions, and the payload behind the padding.
pub(crate) fn rtp(data: &[u8]) {
    let class = classify(data);
    let Some(header) = rtp::Header::parse(data) else {
        return;
    };
    assert!(matches!(class, Class::Rtp | Class::Rtcp), "version 2");
    assert_eq!(rtp::is_rtcp(data), class == Class::Rtcp);
    let elements = header.extension_bytes(data);
    assert_eq!(elements.len(), usize::from(header.extension_len));
    let found = Extensions::parse(header.extension_profile, elements, &IDS);
    extensions_survive(&found);
    if let Some(range) = rtp::payload(&header, data) {
        assert!(data.get(range.clone()).is_some());
        assert_eq!(range.start, usize::from(header.payload_start));
    }
}

/// What was found is found again after being written.
fn extensions_survive(found: &Extensions<'_>) {
    let sequence = found.transport_cc.map(u16::to_be_bytes);
    let level = found
        .audio_level
        .map(|(voice, level)| [u8::from(voice) << 7 | level]);
    let time = found.abs_send_time.map(|time| {
        let [_, a, b, c] = time.to_be_bytes();
        [a, b, c]
    });
    let values: [(u8, Option<&[u8]>); 8] = [
        (IDS.mid, found.mid),
        (IDS.rid, found.rid),
        (IDS.repaired_rid, found.repaired_rid),
        (IDS.audio_level, level.as_ref().map(|value| &value[..])),
        (IDS.abs_send_time, time.as_ref().map(|value| &value[..])),
        (IDS.transport_cc, sequence.as_ref().map(|value| &value[..])),
        (IDS.abs_capture_time, found.abs_capture_time),
        (IDS.dependency_descriptor, found.dependency_descriptor),
    ];
    let elements: Vec<(u8, &[u8])> = values
        .into_iter()
        .filter_map(|(id, value)| Some((id, value?)))
        .collect();
    let mut slot = [0xAA; 2200];
    let len = ext::write(&mut slot, &elements).expect("eight elements of up to 255 bytes fit");
    let Some((head, body)) = slot.get(..len).and_then(|block| block.split_first_chunk::<4>()) else {
        assert!(elements.is_empty());
        return;
    };
    let profile = u16::from_be_bytes([head[0], head[1]]);
    assert_eq!(Extensions::parse(profile, body, &IDS), *found);
}

/// Recognition and the user name.
pub(crate) fn stun(data: &[u8]) {
    if stun::is_binding_request(data) {
        assert!(stun::is_stun(data));
    }
    if stun::is_stun(data) {
        // Message types go up to 0x3FFF, those that share a port up to 0x3FF (RFC 7983).
        assert!(matches!(
            classify(data),
            Class::Stun | Class::Dtls | Class::Unknown
        ));
    }
    if let Some((local, remote)) = stun::username(data) {
        assert!(stun::is_binding_request(data));
        assert!(!local.contains(&b':'));
        assert!(local.len() + remote.len() < data.len());
    }
    stun_message(data);
    // Mutations leave no fingerprint right: the message without its last attribute, if that was one.
    if let Some(len) = data
        .len()
        .checked_sub(8)
        .filter(|len| *len >= 20 && stun::is_stun(data))
    {
        let mut bare = data.get(..len).unwrap_or_default().to_vec();
        let attributes = u16::try_from(len - 20).expect("shorter than the header says");
        if let Some(field) = bare.get_mut(2..4) {
            field.copy_from_slice(&attributes.to_be_bytes());
        }
        stun_message(&bare);
    }
}

/// A whole message: it agrees with the look at its user name, and comes back when written.
fn stun_message(data: &[u8]) {
    let Some(message) = stun::Message::parse(data) else {
        return;
    };
    assert!(stun::is_stun(data));
    if message.class == stun::Class::Request && message.username.is_some() {
        assert_eq!(stun::username(data), message.fragments());
    }
    assert!(message.unknown.types().len() <= stun::UNKNOWN_MAX);
    message.is_authentic(|parts, _| {
        let covered: usize = parts.iter().map(|part| part.len()).sum();
        assert!(covered + 24 <= data.len());
        false
    });
    let mut writer = stun::Writer::new(message.class, message.transaction);
    if let Some(priority) = message.priority {
        writer = writer.priority(priority);
    }
    if let Some(role) = message.role {
        writer = writer.role(role);
    }
    if message.use_candidate {
        writer = writer.use_candidate();
    }
    if let Some(mapped) = message.mapped {
        writer = writer.mapped(mapped);
    }
    if let Some(error) = message.error {
        writer = writer.error(error, "");
    }
    let bytes = writer.finish();
    let again = stun::Message::parse(&bytes).expect("what we write can be read");
    assert_eq!(
        (again.class, again.transaction, again.priority, again.role),
        (message.class, message.transaction, message.priority, message.role)
    );
    assert_eq!(
        (again.use_candidate, again.mapped, again.error),
        (message.use_candidate, message.mapped, message.error)
    );
}

/// Open and acknowledgement.
pub(crate) fn dcep(data: &[u8]) {
    match dcep::Message::parse(data) {
        Some(dcep::Message::Open(open)) => {
            let mut out = vec![0; open.len()];
            assert_eq!(open.write(&mut out), Some(out.len()));
            assert_eq!(
                dcep::Message::parse(&out),
                Some(dcep::Message::Open(open)),
                "written and read again"
            );
            assert_eq!(open.write(&mut out[1..]), None, "does not fit");
        }
        Some(dcep::Message::Ack) => assert_eq!(data.first(), dcep::ACK.first()),
        None => {}
    }
}
