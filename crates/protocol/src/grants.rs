//! What a token allows. Field names are the JWT's.

use livekit_protocol as proto;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The `video` claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(
    missing_docs,
    reason = "the fields are the claim's, as LiveKit's tokens have them"
)]
pub struct VideoGrant {
    pub room_create: bool,
    pub room_list: bool,
    pub room_record: bool,
    pub room_admin: bool,
    pub room_join: bool,
    pub room: String,
    pub can_publish: Option<bool>,
    pub can_subscribe: Option<bool>,
    pub can_publish_data: Option<bool>,
    pub can_publish_sources: Vec<String>,
    pub can_update_own_metadata: Option<bool>,
    pub ingress_admin: bool,
    pub hidden: bool,
    pub recorder: bool,
    pub agent: bool,
    pub can_subscribe_metrics: Option<bool>,
    pub can_manage_agent_session: Option<bool>,
    pub destination_room: String,
}

/// The `sip` claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(
    missing_docs,
    reason = "the fields are the claim's, as LiveKit's tokens have them"
)]
pub struct SipGrant {
    pub admin: bool,
    pub call: bool,
}

/// The claims of a LiveKit access token that this server reads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(
    missing_docs,
    reason = "the fields are the claims', as LiveKit's tokens have them"
)]
pub struct Claims {
    /// API key that signed it.
    #[serde(rename = "iss")]
    pub api_key: String,
    /// `sub`, else `jti`.
    pub identity: String,
    pub name: String,
    pub metadata: String,
    /// `standard`, `ingress`, `egress`, `sip`, `agent`, `connector`, `bridge`.
    pub kind: String,
    pub kind_details: Vec<String>,
    pub attributes: BTreeMap<String, String>,
    pub video: Option<VideoGrant>,
    pub sip: Option<SipGrant>,
    /// Proto3-JSON `RoomConfiguration`, kept as it came.
    pub room_config: Option<serde_json::Value>,
    pub room_preset: String,
    pub sha256: String,
    /// Expiry, unix seconds.
    #[serde(rename = "exp")]
    pub expires_at_s: i64,
}

impl VideoGrant {
    /// `canPublish`, true when unset.
    #[must_use]
    pub fn may_publish(&self) -> bool {
        self.can_publish.unwrap_or(true)
    }

    /// `canSubscribe`, true when unset.
    #[must_use]
    pub fn may_subscribe(&self) -> bool {
        self.can_subscribe.unwrap_or(true)
    }

    /// `canPublishData`, as `canPublish` when unset.
    #[must_use]
    pub fn may_publish_data(&self) -> bool {
        self.can_publish_data.unwrap_or_else(|| self.may_publish())
    }

    /// The source names of `canPublishSources` as enum values. A name that is none allows tracks of
    /// an unknown source, as in the reference: passed over, it would leave a list that allows all.
    #[must_use]
    pub fn publish_sources(&self) -> Vec<proto::TrackSource> {
        self.can_publish_sources
            .iter()
            .map(|name| match name.to_lowercase().as_str() {
                "camera" => proto::TrackSource::Camera,
                "microphone" => proto::TrackSource::Microphone,
                "screen_share" => proto::TrackSource::ScreenShare,
                "screen_share_audio" => proto::TrackSource::ScreenShareAudio,
                _ => proto::TrackSource::Unknown,
            })
            .collect()
    }

    /// The permission message that mirrors this grant.
    #[must_use]
    pub fn permission(&self) -> proto::ParticipantPermission {
        #[allow(deprecated, reason = "recorder and agent flags are still on the wire")]
        proto::ParticipantPermission {
            can_subscribe: self.may_subscribe(),
            can_publish: self.may_publish(),
            can_publish_data: self.may_publish_data(),
            can_publish_sources: self.publish_sources().into_iter().map(i32::from).collect(),
            hidden: self.hidden,
            recorder: self.recorder,
            can_update_metadata: self.can_update_own_metadata.unwrap_or(false),
            agent: self.agent,
            can_subscribe_metrics: self.can_subscribe_metrics.unwrap_or(false),
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_is_none_does_not_allow_all_sources() {
        let grant = VideoGrant {
            can_publish_sources: vec!["Camera".to_owned(), "telepathy".to_owned()],
            ..VideoGrant::default()
        };
        let sources = [proto::TrackSource::Camera, proto::TrackSource::Unknown];
        assert_eq!(grant.publish_sources(), sources);
    }
}
