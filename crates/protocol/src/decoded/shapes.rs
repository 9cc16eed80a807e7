//! Which fields of the LiveKit messages take memory of their own: one row per message.
//!
//! A number that is not here is a single scalar, which is part of its message's struct, or unknown.
//! The tests ask the generated decoder about every number, so a row that a newer version of the
//! messages makes incomplete fails there.

use crate::proto;
use core::fmt;

/// Most rows of one message.
pub(super) const FIELDS_MAX: usize = 40;

/// A message that the walks know.
pub trait Shaped: prost::Message {
    /// Its fields.
    const SHAPE: &'static Shape;
}

/// What a message is made of, as far as that takes memory.
pub struct Shape {
    /// Of its struct.
    pub(super) bytes: usize,
    pub(super) fields: &'static [Field],
    /// Where the fields of low numbers stand in it, counted from one.
    index: [u8; INDEXED],
}

/// Numbers with an index of their own: nearly all.
const INDEXED: usize = 32;

impl Shape {
    /// Of a message without lists, maps and other messages: its texts are as long as on the wire.
    pub const OF_SCALARS: &'static Self = &Self::new(0, &[]);

    const fn new(bytes: usize, fields: &'static [Field]) -> Self {
        assert!(fields.len() <= FIELDS_MAX);
        let mut index = [0; INDEXED];
        let mut at = 0;
        while at < fields.len() {
            let number = fields[at].number as usize;
            assert!(number < INDEXED);
            index[number] = at as u8 + 1;
            at += 1;
        }
        Self { bytes, fields, index }
    }

    /// A field and where it stands.
    pub(super) fn field(&self, number: u32) -> Option<(usize, &Field)> {
        let at = usize::from(*self.index.get(number as usize)?).checked_sub(1)?;
        Some((at, self.fields.get(at)?))
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shape")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// One field.
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) kind: Kind,
}

/// What a field takes.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A string or bytes.
    Text,
    /// A list of them.
    Texts,
    /// A list of numbers of so many bytes, of variable length on the wire.
    Scalars(usize),
    /// A map from string to string.
    Map,
    /// A message.
    One(fn() -> &'static Shape),
    /// A list of messages.
    Many(fn() -> &'static Shape),
}

/// A point in time or a duration: two numbers, part of the struct that it is in.
static EMPTY: Shape = Shape::new(0, &[]);

macro_rules! kind {
    ([text]) => {
        Kind::Text
    };
    ([texts]) => {
        Kind::Texts
    };
    ([scalars4]) => {
        Kind::Scalars(4)
    };
    ([map]) => {
        Kind::Map
    };
    ([one $shape:ident]) => {
        Kind::One(|| &$shape)
    };
    ([many $shape:ident]) => {
        Kind::Many(|| &$shape)
    };
}

macro_rules! shapes {
    ($($name:ident = $message:ty { $($kind:tt: $($number:literal)+;)* })*) => {
        $(
            static $name: Shape = Shape::new(
                size_of::<$message>(),
                &[$($(Field { number: $number, kind: kind!($kind) },)+)*],
            );
            impl Shaped for $message {
                const SHAPE: &'static Shape = &$name;
            }
        )*
        /// Every row, with the decoder to check it against.
        #[cfg(test)]
        pub(super) const ALL: &[(&str, fn() -> &'static Shape, super::tests::Recode)] =
            &[$((stringify!($name), || &$name, super::tests::recoded::<$message>),)*];
    };
}

shapes! {
    SIGNAL_REQUEST = proto::SignalRequest {
        [one SESSION_DESCRIPTION]: 1 2; [one TRICKLE_REQUEST]: 3; [one ADD_TRACK_REQUEST]: 4;
        [one MUTE_TRACK_REQUEST]: 5; [one UPDATE_SUBSCRIPTION]: 6; [one UPDATE_TRACK_SETTINGS]: 7;
        [one LEAVE_REQUEST]: 8; [one UPDATE_VIDEO_LAYERS]: 10; [one SUBSCRIPTION_PERMISSION]: 11;
        [one SYNC_STATE]: 12; [one SIMULATE_SCENARIO]: 13; [one UPDATE_PARTICIPANT_METADATA]: 15; [one PING]: 16;
        [one UPDATE_LOCAL_AUDIO_TRACK]: 17; [one UPDATE_LOCAL_VIDEO_TRACK]: 18;
        [one PUBLISH_DATA_TRACK_REQUEST]: 19; [one UNPUBLISH_DATA_TRACK_REQUEST]: 20;
        [one UPDATE_DATA_SUBSCRIPTION]: 21; [one STORE_DATA_BLOB_REQUEST]: 22; [one GET_DATA_BLOB_REQUEST]: 23;
    }
    WRAPPED_JOIN_REQUEST = proto::WrappedJoinRequest { [text]: 2; }
    JOIN_REQUEST = proto::JoinRequest {
        [one CLIENT_INFO]: 1; [one CONNECTION_SETTINGS]: 2; [text]: 3 9; [map]: 4;
        [many ADD_TRACK_REQUEST]: 5; [one SESSION_DESCRIPTION]: 6; [one SYNC_STATE]: 10;
    }
    DATA_PACKET = proto::DataPacket {
        [text]: 4 17; [texts]: 5; [one USER_PACKET]: 2; [one ACTIVE_SPEAKER_UPDATE]: 3; [one SIP_DTMF]: 6;
        [one TRANSCRIPTION]: 7; [one METRICS_BATCH]: 8; [one CHAT_MESSAGE]: 9; [one RPC_REQUEST]: 10;
        [one RPC_ACK]: 11; [one RPC_RESPONSE]: 12; [one DATA_STREAM_HEADER]: 13; [one DATA_STREAM_CHUNK]: 14;
        [one DATA_STREAM_TRAILER]: 15; [one ENCRYPTED_PACKET]: 18;
    }
    CREATE_ROOM_REQUEST = proto::CreateRoomRequest {
        [text]: 1 4 5 12; [map]: 15; [one ROOM_EGRESS]: 6; [many ROOM_AGENT_DISPATCH]: 14;
    }
    LIST_ROOMS_REQUEST = proto::ListRoomsRequest { [texts]: 1; }
    DELETE_ROOM_REQUEST = proto::DeleteRoomRequest { [text]: 1; }
    LIST_PARTICIPANTS_REQUEST = proto::ListParticipantsRequest { [text]: 1; }
    ROOM_PARTICIPANT_IDENTITY = proto::RoomParticipantIdentity { [text]: 1 2; }
    MUTE_ROOM_TRACK_REQUEST = proto::MuteRoomTrackRequest { [text]: 1 2 3; }
    UPDATE_PARTICIPANT_REQUEST = proto::UpdateParticipantRequest {
        [text]: 1 2 3 5; [one PARTICIPANT_PERMISSION]: 4; [map]: 6;
    }
    UPDATE_SUBSCRIPTIONS_REQUEST = proto::UpdateSubscriptionsRequest {
        [text]: 1 2; [texts]: 3; [many PARTICIPANT_TRACKS]: 5;
    }
    SEND_DATA_REQUEST = proto::SendDataRequest { [text]: 1 2 5 7; [texts]: 4 6; }
    UPDATE_ROOM_METADATA_REQUEST = proto::UpdateRoomMetadataRequest { [text]: 1 2; }
    FORWARD_PARTICIPANT_REQUEST = proto::ForwardParticipantRequest { [text]: 1 2 3; }
    MOVE_PARTICIPANT_REQUEST = proto::MoveParticipantRequest { [text]: 1 2 3; }
    PERFORM_RPC_REQUEST = proto::PerformRpcRequest { [text]: 1 2 3 4; }
    LIST_AGENT_DISPATCH_REQUEST = proto::ListAgentDispatchRequest { [text]: 1 2; }
    TRANSFER_SIP_PARTICIPANT_REQUEST = proto::TransferSipParticipantRequest {
        [text]: 1 2 3; [map]: 5; [one EMPTY]: 6;
    }
    SESSION_DESCRIPTION = proto::SessionDescription { [text]: 1 2; [map]: 4; }
    TRICKLE_REQUEST = proto::TrickleRequest { [text]: 1; }
    ADD_TRACK_REQUEST = proto::AddTrackRequest {
        [text]: 1 2 11 15; [many VIDEO_LAYER]: 9; [many SIMULCAST_CODEC]: 10; [scalars4]: 17 18;
    }
    MUTE_TRACK_REQUEST = proto::MuteTrackRequest { [text]: 1; }
    UPDATE_SUBSCRIPTION = proto::UpdateSubscription { [texts]: 1; [many PARTICIPANT_TRACKS]: 3; }
    UPDATE_TRACK_SETTINGS = proto::UpdateTrackSettings { [texts]: 1; }
    LEAVE_REQUEST = proto::LeaveRequest { [one REGION_SETTINGS]: 4; }
    UPDATE_VIDEO_LAYERS = proto::UpdateVideoLayers { [text]: 1; [many VIDEO_LAYER]: 2; }
    SUBSCRIPTION_PERMISSION = proto::SubscriptionPermission { [many TRACK_PERMISSION]: 2; }
    SYNC_STATE = proto::SyncState {
        [one SESSION_DESCRIPTION]: 1 5; [one UPDATE_SUBSCRIPTION]: 2; [many TRACK_PUBLISHED_RESPONSE]: 3;
        [many DATA_CHANNEL_INFO]: 4; [texts]: 6; [many DATA_CHANNEL_RECEIVE_STATE]: 7;
        [many PUBLISH_DATA_TRACK_RESPONSE]: 8; [one UPDATE_DATA_SUBSCRIPTION]: 9;
    }
    SIMULATE_SCENARIO = proto::SimulateScenario {}
    UPDATE_PARTICIPANT_METADATA = proto::UpdateParticipantMetadata { [text]: 1 2; [map]: 3; }
    PING = proto::Ping {}
    UPDATE_LOCAL_AUDIO_TRACK = proto::UpdateLocalAudioTrack { [text]: 1; [scalars4]: 2; }
    UPDATE_LOCAL_VIDEO_TRACK = proto::UpdateLocalVideoTrack { [text]: 1; }
    PUBLISH_DATA_TRACK_REQUEST = proto::PublishDataTrackRequest {
        [text]: 2; [one DATA_TRACK_FRAME_ENCODING]: 4; [one DATA_TRACK_SCHEMA_ID]: 5;
    }
    UNPUBLISH_DATA_TRACK_REQUEST = proto::UnpublishDataTrackRequest {}
    UPDATE_DATA_SUBSCRIPTION = proto::UpdateDataSubscription { [many UPDATE_DATA_SUBSCRIPTION_UPDATE]: 1; }
    STORE_DATA_BLOB_REQUEST = proto::StoreDataBlobRequest { [one DATA_BLOB]: 2; }
    GET_DATA_BLOB_REQUEST = proto::GetDataBlobRequest { [text]: 2; [one DATA_BLOB_KEY]: 3; }
    CLIENT_INFO = proto::ClientInfo { [text]: 2 4 5 6 7 8 9 10 11; [scalars4]: 13; }
    CONNECTION_SETTINGS = proto::ConnectionSettings {}
    USER_PACKET = proto::UserPacket { [text]: 1 2 4 5 8 11; [texts]: 3 6; }
    ACTIVE_SPEAKER_UPDATE = proto::ActiveSpeakerUpdate { [many SPEAKER_INFO]: 1; }
    SIP_DTMF = proto::SipDtmf { [text]: 4; }
    TRANSCRIPTION = proto::Transcription { [text]: 2 3; [many TRANSCRIPTION_SEGMENT]: 4; }
    METRICS_BATCH = proto::MetricsBatch {
        [one EMPTY]: 2; [texts]: 3; [many TIME_SERIES_METRIC]: 4; [many EVENT_METRIC]: 5;
    }
    CHAT_MESSAGE = proto::ChatMessage { [text]: 1 4; }
    RPC_REQUEST = proto::RpcRequest { [text]: 1 2 3 6; }
    RPC_ACK = proto::RpcAck { [text]: 1; }
    RPC_RESPONSE = proto::RpcResponse { [text]: 1 2 4; [one RPC_ERROR]: 3; }
    DATA_STREAM_HEADER = proto::data_stream::Header {
        [text]: 1 3 4 11; [map]: 8; [one DATA_STREAM_TEXT_HEADER]: 9;
        [one DATA_STREAM_BYTE_HEADER]: 10;
    }
    DATA_STREAM_CHUNK = proto::data_stream::Chunk { [text]: 1 3 5; }
    DATA_STREAM_TRAILER = proto::data_stream::Trailer { [text]: 1 2; [map]: 3; }
    ENCRYPTED_PACKET = proto::EncryptedPacket { [text]: 2 4; }
    ROOM_EGRESS = proto::RoomEgress {
        [one ROOM_COMPOSITE_EGRESS_REQUEST]: 1; [one AUTO_PARTICIPANT_EGRESS]: 3; [one AUTO_TRACK_EGRESS]: 2;
    }
    ROOM_AGENT_DISPATCH = proto::RoomAgentDispatch { [text]: 1 2 4; [map]: 5; }
    PARTICIPANT_PERMISSION = proto::ParticipantPermission { [scalars4]: 9; }
    PARTICIPANT_TRACKS = proto::ParticipantTracks { [text]: 1; [texts]: 2; }
    VIDEO_LAYER = proto::VideoLayer { [text]: 7; }
    SIMULCAST_CODEC = proto::SimulcastCodec { [text]: 1 2; [many VIDEO_LAYER]: 4; }
    REGION_SETTINGS = proto::RegionSettings { [many REGION_INFO]: 1; }
    TRACK_PERMISSION = proto::TrackPermission { [text]: 1 4; [texts]: 3; }
    TRACK_PUBLISHED_RESPONSE = proto::TrackPublishedResponse { [text]: 1; [one TRACK_INFO]: 2; }
    DATA_CHANNEL_INFO = proto::DataChannelInfo { [text]: 1; }
    DATA_CHANNEL_RECEIVE_STATE = proto::DataChannelReceiveState { [text]: 1; }
    PUBLISH_DATA_TRACK_RESPONSE = proto::PublishDataTrackResponse { [one DATA_TRACK_INFO]: 1; }
    DATA_TRACK_FRAME_ENCODING = proto::DataTrackFrameEncoding { [text]: 2; }
    DATA_TRACK_SCHEMA_ID = proto::DataTrackSchemaId { [text]: 1; [one DATA_TRACK_SCHEMA_ENCODING]: 2; }
    UPDATE_DATA_SUBSCRIPTION_UPDATE = proto::update_data_subscription::Update {
        [text]: 1; [one DATA_TRACK_SUBSCRIPTION_OPTIONS]: 3;
    }
    DATA_BLOB = proto::DataBlob { [one DATA_BLOB_KEY]: 1; [text]: 2; }
    DATA_BLOB_KEY = proto::DataBlobKey { [text]: 1; [one DATA_TRACK_SCHEMA_ID]: 2; }
    SPEAKER_INFO = proto::SpeakerInfo { [text]: 1; }
    TRANSCRIPTION_SEGMENT = proto::TranscriptionSegment { [text]: 1 2 6; }
    TIME_SERIES_METRIC = proto::TimeSeriesMetric { [many METRIC_SAMPLE]: 4; }
    EVENT_METRIC = proto::EventMetric { [one EMPTY]: 6 7; [text]: 8; }
    RPC_ERROR = proto::RpcError { [text]: 2 3; }
    DATA_STREAM_TEXT_HEADER = proto::data_stream::TextHeader { [text]: 3; [texts]: 4; }
    DATA_STREAM_BYTE_HEADER = proto::data_stream::ByteHeader { [text]: 1; }
    ROOM_COMPOSITE_EGRESS_REQUEST = proto::RoomCompositeEgressRequest {
        [text]: 1 2 5; [many ENCODED_FILE_OUTPUT]: 11; [many STREAM_OUTPUT]: 12; [many SEGMENTED_FILE_OUTPUT]: 13;
        [many IMAGE_OUTPUT]: 14; [many WEBHOOK_CONFIG]: 16; [one ENCODED_FILE_OUTPUT]: 6; [one STREAM_OUTPUT]: 7;
        [one SEGMENTED_FILE_OUTPUT]: 10; [one ENCODING_OPTIONS]: 9;
    }
    AUTO_PARTICIPANT_EGRESS = proto::AutoParticipantEgress {
        [many ENCODED_FILE_OUTPUT]: 3; [many SEGMENTED_FILE_OUTPUT]: 4; [one ENCODING_OPTIONS]: 2;
    }
    AUTO_TRACK_EGRESS = proto::AutoTrackEgress {
        [text]: 1; [one S3_UPLOAD]: 2; [one GCP_UPLOAD]: 3; [one AZURE_BLOB_UPLOAD]: 4; [one ALI_OSS_UPLOAD]: 6;
    }
    REGION_INFO = proto::RegionInfo { [text]: 1 2; }
    TRACK_INFO = proto::TrackInfo {
        [text]: 1 3 11 12 17; [many VIDEO_LAYER]: 10; [many SIMULCAST_CODEC_INFO]: 13; [one TIMED_VERSION]: 18;
        [scalars4]: 19 21;
    }
    DATA_TRACK_INFO = proto::DataTrackInfo {
        [text]: 2 3; [one DATA_TRACK_FRAME_ENCODING]: 5; [one DATA_TRACK_SCHEMA_ID]: 6;
    }
    DATA_TRACK_SCHEMA_ENCODING = proto::DataTrackSchemaEncoding { [text]: 2; }
    DATA_TRACK_SUBSCRIPTION_OPTIONS = proto::DataTrackSubscriptionOptions {}
    METRIC_SAMPLE = proto::MetricSample { [one EMPTY]: 2; }
    ENCODED_FILE_OUTPUT = proto::EncodedFileOutput {
        [text]: 2; [one S3_UPLOAD]: 3; [one GCP_UPLOAD]: 4; [one AZURE_BLOB_UPLOAD]: 5; [one ALI_OSS_UPLOAD]: 7;
    }
    STREAM_OUTPUT = proto::StreamOutput { [texts]: 2; }
    SEGMENTED_FILE_OUTPUT = proto::SegmentedFileOutput {
        [text]: 2 3 11; [one S3_UPLOAD]: 5; [one GCP_UPLOAD]: 6; [one AZURE_BLOB_UPLOAD]: 7; [one ALI_OSS_UPLOAD]: 9;
    }
    IMAGE_OUTPUT = proto::ImageOutput {
        [text]: 4; [one S3_UPLOAD]: 8; [one GCP_UPLOAD]: 9; [one AZURE_BLOB_UPLOAD]: 10; [one ALI_OSS_UPLOAD]: 11;
    }
    WEBHOOK_CONFIG = proto::WebhookConfig { [text]: 1 2; [one FILTER_PARAMS]: 3; }
    ENCODING_OPTIONS = proto::EncodingOptions {}
    S3_UPLOAD = proto::S3Upload {
        [text]: 1 2 3 4 5 8 9 11 12 13; [map]: 7; [one PROXY_CONFIG]: 10;
    }
    GCP_UPLOAD = proto::GcpUpload { [text]: 1 2; [one PROXY_CONFIG]: 3; }
    AZURE_BLOB_UPLOAD = proto::AzureBlobUpload { [text]: 1 2 3; }
    ALI_OSS_UPLOAD = proto::AliOssUpload { [text]: 1 2 3 4 5; }
    SIMULCAST_CODEC_INFO = proto::SimulcastCodecInfo { [text]: 1 2 3 6; [many VIDEO_LAYER]: 4; }
    TIMED_VERSION = proto::TimedVersion {}
    FILTER_PARAMS = proto::FilterParams { [texts]: 1 2; }
    PROXY_CONFIG = proto::ProxyConfig { [text]: 1 2 3; }
}
