//! RTP header extensions (RFC 8285): negotiated ids, values read in place, elements written in place.

/// The extension ids negotiated for one media section; 0 means "not negotiated".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is named after its extension URI below")]
pub struct ExtensionIds {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid`
    pub mid: u8,
    /// `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id`
    pub rid: u8,
    /// `urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id`
    pub repaired_rid: u8,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level` (RFC 6464)
    pub audio_level: u8,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`
    pub abs_send_time: u8,
    /// `http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01`
    pub transport_cc: u8,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time`
    pub abs_capture_time: u8,
    /// `https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension`
    pub dependency_descriptor: u8,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/playout-delay`
    pub playout_delay: u8,
    /// `urn:ietf:params:rtp-hdrext:framemarking`
    pub frame_marking: u8,
}

/// The extension values of one received packet. Byte slices borrow from the datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions<'a> {
    /// MID, the media section's id.
    pub mid: Option<&'a [u8]>,
    /// RID of a simulcast layer.
    pub rid: Option<&'a [u8]>,
    /// RID of the stream that an RTX stream repairs.
    pub repaired_rid: Option<&'a [u8]>,
    /// Voice activity and level in −dBov, 0 (loudest) ..= 127 (silence).
    pub audio_level: Option<(bool, u8)>,
    /// 24-bit 6.18 fixed-point seconds.
    pub abs_send_time: Option<u32>,
    /// Transport-wide sequence number.
    pub transport_cc: Option<u16>,
    /// Raw value, 8 or 16 bytes.
    pub abs_capture_time: Option<&'a [u8]>,
    /// Raw dependency descriptor.
    pub dependency_descriptor: Option<&'a [u8]>,
}

impl<'a> Extensions<'a> {
    /// Reads the elements of a header extension. Unknown ids are passed over; a broken element
    /// ends the reading, what came before it stays.
    ///
    /// `profile` is [`crate::rtp::Header::extension_profile`].
    #[must_use]
    pub fn parse(profile: u16, elements: &'a [u8], ids: &ExtensionIds) -> Self {
        let mut found = Self::default();
        let mut rest = elements;
        let one_byte = profile == 0xBEDE;
        if !one_byte && profile & 0xFFF0 != 0x1000 {
            return found;
        }
        while let Some((&first, after)) = rest.split_first() {
            if first == 0 {
                rest = after;
                continue;
            }
            let (id, len, body) = if one_byte {
                if first >> 4 == 15 {
                    break;
                }
                (first >> 4, usize::from(first & 0x0F) + 1, after)
            } else {
                let Some((&len, body)) = after.split_first() else {
                    break;
                };
                (first, usize::from(len), body)
            };
            let Some((value, next)) = body.split_at_checked(len) else {
                break;
            };
            found.take(id, value, ids);
            rest = next;
        }
        found
    }

    fn take(&mut self, id: u8, value: &'a [u8], ids: &ExtensionIds) {
        if id == 0 {
            return;
        }
        if id == ids.transport_cc {
            if let [a, b] = *value {
                self.transport_cc = Some(u16::from_be_bytes([a, b]));
            }
        } else if id == ids.audio_level {
            if let [v, ..] = *value {
                self.audio_level = Some((v & 0x80 != 0, v & 0x7F));
            }
        } else if id == ids.mid {
            self.mid = Some(value);
        } else if id == ids.rid {
            self.rid = Some(value);
        } else if id == ids.repaired_rid {
            self.repaired_rid = Some(value);
        } else if id == ids.dependency_descriptor {
            self.dependency_descriptor = Some(value);
        } else if id == ids.abs_send_time {
            if let [a, b, c] = *value {
                self.abs_send_time = Some(u32::from_be_bytes([0, a, b, c]));
            }
        } else if id == ids.abs_capture_time && matches!(value.len(), 8 | 16) {
            self.abs_capture_time = Some(value);
        }
    }
}
