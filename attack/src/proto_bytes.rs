//! Protobuf by hand: what no encoder would write, and large repetitions without large values.

/// A base-128 number.
pub(crate) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A field of wire type 2.
pub(crate) fn field(number: u64, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 12);
    varint(&mut out, number << 3 | 2);
    varint(&mut out, content.len() as u64);
    out.extend_from_slice(content);
    out
}

/// The same field again and again, up to so many bytes.
pub(crate) fn repeated(number: u64, content: &[u8], bytes_max: usize) -> Vec<u8> {
    let one = field(number, content);
    one.repeat(bytes_max / one.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use livekit_protocol as proto;
    use prost::Message;

    #[test]
    fn a_list_of_empty_sids_is_what_a_server_reads() {
        let sids = repeated(1, b"", 2000);
        let request = proto::SignalRequest::decode(&*field(6, &sids)).expect("protobuf");
        let Some(proto::signal_request::Message::Subscription(update)) = request.message else {
            panic!("a subscription");
        };
        assert_eq!(update.track_sids.len(), 1000);
    }
}
