//! The server API on one room. Grants and the room's name were checked by the edge.

use crate::action::{ApiCall, ReplyId};
use crate::effect::{ApiError, ApiErrorCode, ApiReply, Effect};
use crate::metadata::TooLarge;
use crate::participant::{Participant, ParticipantId};
use crate::room::Room;
use protocol::proto;
use protocol::proto::signal_response::Message as Response;

type ApiResult = Result<ApiReply, ApiError>;

impl Room {
    pub(crate) fn api(&mut self, reply: ReplyId, call: ApiCall) {
        if matches!(call, ApiCall::DeleteRoom) {
            // Who is answered finds no room any more.
            self.close(proto::DisconnectReason::RoomDeleted);
            self.reply(reply, Ok(ApiReply::Empty));
            return;
        }
        let result = match call {
            ApiCall::PerformRpc(request) => match self.target(&request.destination_identity) {
                // Answered when the client has answered.
                Ok(callee) => return self.perform_rpc(reply, callee, *request),
                Err(error) => Err(error),
            },
            ApiCall::CreateRoom | ApiCall::DeleteRoom => Ok(ApiReply::Room(Box::new(self.info()))),
            ApiCall::ListParticipants => Ok(self.list_participants()),
            ApiCall::GetParticipant { identity } => self.get_participant(&identity),
            ApiCall::RemoveParticipant { identity } => self.remove_participant(&identity),
            ApiCall::MutePublishedTrack {
                identity,
                track_sid,
                muted,
            } => self.mute_published(&identity, &track_sid, muted),
            ApiCall::UpdateParticipant(request) => self.update_participant(&request),
            ApiCall::UpdateSubscriptions(request) => self.update_subscriptions(&request),
            ApiCall::SendData(request) => self.api_send_data(&request),
            ApiCall::UpdateRoomMetadata { metadata } => self.update_room_metadata(metadata),
        };
        self.reply(reply, result);
    }

    fn reply(&mut self, reply: ReplyId, result: ApiResult) {
        self.effects.push_back(Effect::Reply { reply, result });
    }

    fn list_participants(&mut self) -> ApiReply {
        ApiReply::Participants(self.participants.values_mut().map(Participant::info).collect())
    }

    fn get_participant(&mut self, identity: &str) -> ApiResult {
        let id = self.by_identity(identity)?;
        Ok(self.participant_reply(id))
    }

    fn remove_participant(&mut self, identity: &str) -> ApiResult {
        let id = self.by_identity(identity)?;
        self.close_participant(id, proto::DisconnectReason::ParticipantRemoved);
        Ok(ApiReply::Empty)
    }

    fn mute_published(&mut self, identity: &str, track_sid: &str, muted: bool) -> ApiResult {
        let id = self.target(identity)?;
        if !muted && !self.config.remote_unmute {
            return Err(error(
                ApiErrorCode::FailedPrecondition,
                "remote unmute not enabled",
            ));
        }
        let key = self.track_sids.get(track_sid);
        if key.and_then(|key| self.tracks.get(key)) != Some(&id) {
            return Ok(ApiReply::Track(None));
        }
        self.send(
            id,
            Response::Mute(proto::MuteTrackRequest {
                sid: track_sid.to_owned(),
                muted,
            }),
        );
        Ok(ApiReply::Track(
            self.set_muted(id, track_sid, muted).map(Box::new),
        ))
    }

    fn update_participant(&mut self, request: &proto::UpdateParticipantRequest) -> ApiResult {
        let id = self.identities.get(&request.identity).copied();
        self.check_sizes(id, &request.name, &request.metadata, &request.attributes)
            .map_err(|field| self.too_large(field))?;
        let id = self.by_identity(&request.identity)?;
        self.change_fields(id, &request.name, &request.metadata, &request.attributes);
        if let Some(permission) = &request.permission {
            self.set_permission(id, permission);
        }
        Ok(self.participant_reply(id))
    }

    fn update_subscriptions(&mut self, request: &proto::UpdateSubscriptionsRequest) -> ApiResult {
        let id = self.target(&request.identity)?;
        self.subscribe_to(
            id,
            &request.track_sids,
            &request.participant_tracks,
            request.subscribe,
        );
        Ok(ApiReply::Empty)
    }

    fn api_send_data(&mut self, request: &proto::SendDataRequest) -> ApiResult {
        let length = request.nonce.len();
        if length != 0 && length != 16 {
            return Err(error(
                ApiErrorCode::InvalidArgument,
                &format!("nonce should be 16-bytes or not present, got: {length} bytes"),
            ));
        }
        self.send_api_data(request);
        Ok(ApiReply::Empty)
    }

    fn update_room_metadata(&mut self, metadata: String) -> ApiResult {
        if metadata.len() > self.config.limits.metadata_bytes_max {
            return Err(self.too_large(TooLarge::Metadata));
        }
        self.metadata = metadata;
        self.counts = self.count();
        self.broadcast_room();
        self.list();
        Ok(ApiReply::Room(Box::new(self.info())))
    }

    /// A participant that the reference looks up in its store: absence is `not_found`.
    fn by_identity(&self, identity: &str) -> Result<ParticipantId, ApiError> {
        self.identities
            .get(identity)
            .copied()
            .ok_or_else(|| error(ApiErrorCode::NotFound, "participant does not exist"))
    }

    /// A participant that the reference calls by topic: absence is silence.
    fn target(&self, identity: &str) -> Result<ParticipantId, ApiError> {
        self.identities
            .get(identity)
            .copied()
            .ok_or_else(|| error(ApiErrorCode::NoTarget, "no response from servers"))
    }

    fn participant_reply(&mut self, id: ParticipantId) -> ApiReply {
        let info = self
            .participants
            .get_mut(&id)
            .map(Participant::info)
            .unwrap_or_default();
        ApiReply::Participant(Box::new(info))
    }

    fn too_large(&self, field: TooLarge) -> ApiError {
        let limits = &self.config.limits;
        let (argument, max) = match field {
            TooLarge::Name => ("name length exceeds limits", limits.name_bytes_max),
            TooLarge::Metadata => ("metadata size exceeds limits", limits.metadata_bytes_max),
            TooLarge::Attributes => ("attribute size exceeds limits", limits.attributes_bytes_max),
            TooLarge::Room => {
                return error(
                    ApiErrorCode::ResourceExhausted,
                    "state of the room's participants exceeds limits",
                );
            }
        };
        ApiError {
            code: ApiErrorCode::InvalidArgument,
            message: format!("{argument} {max}"),
            meta: vec![("argument".to_owned(), argument.to_owned())],
        }
    }
}

fn error(code: ApiErrorCode, message: &str) -> ApiError {
    ApiError {
        code,
        message: message.to_owned(),
        meta: Vec::new(),
    }
}
