//! The Twirp API: route, content type, decoding, grants, the call, the answer.

mod absent;

use super::Edge;
use super::body::{BodyError, Held, STRANGERS_BYTES};
use super::http::{Call, header, not_found, redirect, respond, status};
use crate::rooms::{OpenError, RoomWish};
use crate::shell::http_server::Permit;
use axum::body::Body;
use axum::extract::Request as HttpRequest;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method as HttpMethod, Response, StatusCode};
use protocol::decoded::{self, Bounds, Shaped};
use protocol::grants::{Claims, VideoGrant};
use protocol::proto;
use protocol::twirp::{Code, Encoding, Method, RoomMethod, Route, TwirpError, route};
use protocol::twirp_json::{self, Schema};
use room::{ApiCall, ApiError, ApiErrorCode, ApiReply};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Without a target the reference waits this long for one before it says so.
const NO_TARGET_DELAY: Duration = Duration::from_secs(3);

/// How long the caller waits for the answer, in milliseconds.
const TIMEOUT_HEADER: &str = "x-twirp-timeout-ms";

/// Handles a path below `/twirp/`.
pub async fn handle(edge: &Edge, call: Call) -> Response<Body> {
    let method = match route(&call.path) {
        Route::Unknown => return not_found(),
        Route::ServiceRoot => {
            let target = format!("{}/", call.path);
            return redirect(call.request.method(), &target, call.request.uri().query());
        }
        Route::NoHandler => None,
        Route::Method(method) => Some(method),
    };
    let patience = patience(call.request.headers());
    match answer(edge, call, method, patience).await {
        Ok((encoding, body)) => respond(StatusCode::OK, encoding.content_type(), body),
        Err(error) => {
            edge.counters.api_errors.add();
            if error == TwirpError::no_target() {
                tokio::time::sleep(
                    patience.map_or(NO_TARGET_DELAY, |patience| patience.min(NO_TARGET_DELAY)),
                )
                .await;
            }
            respond(status(error.code.wire().1), "application/json", error.body())
        }
    }
}

/// What [`TIMEOUT_HEADER`] says. Anything that is no number is passed over.
fn patience(headers: &HeaderMap) -> Option<Duration> {
    let ms: i64 = header(headers, TIMEOUT_HEADER)?.parse().ok()?;
    Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}

/// In the reference's order: HTTP method, content type, route, body, grants, call. But a call that its
/// token allows for no body at all is refused before there is one.
async fn answer(
    edge: &Edge,
    call: Call,
    method: Option<Method>,
    patience: Option<Duration>,
) -> Result<(Encoding, Vec<u8>), TwirpError> {
    let http_method = call.request.method().clone();
    let bad_route = |message: String| TwirpError::bad_route(message, http_method.as_str(), &call.path);
    if http_method != HttpMethod::POST {
        return Err(bad_route(format!(
            "unsupported method \"{http_method}\" (only POST is allowed)"
        )));
    }
    let Some(method) = method else {
        return Err(bad_route(format!("no handler for path \"{}\"", call.path)));
    };
    let content_type = header(call.request.headers(), CONTENT_TYPE.as_str()).unwrap_or_default();
    let Some(encoding) = Encoding::of_content_type(content_type) else {
        return Err(bad_route(format!("unexpected Content-Type: \"{content_type}\"")));
    };
    let limit = edge.config.limit.api_body_bytes();
    let allowed = allowed(method, call.claims.as_ref());
    if !allowed && !told_before_grants(method, call.claims.is_some()) {
        return Err(TwirpError::denied());
    }
    let limit = if allowed {
        limit
    } else {
        limit.min(STRANGERS_BYTES)
    };
    let body = read(edge, call.request, limit, encoding).await;
    let body = body.map_err(|error| if allowed { error } else { TwirpError::denied() })?;
    let request = Request {
        edge,
        claims: call.claims.as_ref(),
        encoding,
        body: &body.bytes,
    };
    let body = match method {
        Method::Room(method) => request.in_time(method, patience).await?,
        Method::Egress(_) | Method::Ingress(_) | Method::Sip(_) | Method::Dispatch(_) => {
            return Err(request.not_connected(method).await?);
        }
    };
    Ok((encoding, body))
}

/// Whether there is a body with which this token allows the call.
fn allowed(method: Method, claims: Option<&Claims>) -> bool {
    let video = claims.and_then(|claims| claims.video.as_ref());
    let video = |allows: fn(&VideoGrant) -> bool| video.is_some_and(allows);
    match method {
        Method::Room(RoomMethod::CreateRoom | RoomMethod::DeleteRoom) => video(|grant| grant.room_create),
        Method::Room(RoomMethod::ListRooms) => video(|grant| grant.room_list),
        Method::Room(_) | Method::Dispatch(_) => video(|grant| grant.room_admin),
        Method::Egress(_) => video(|grant| grant.room_record),
        Method::Ingress(_) => video(|grant| grant.ingress_admin),
        Method::Sip(_) => claims
            .and_then(|claims| claims.sip.as_ref())
            .is_some_and(|sip| sip.admin || sip.call),
    }
}

/// Whether something about a short body is told first, though no body makes the call allowed: that a
/// room's name is missing, or to those who have a token of some kind, that a text is too long.
fn told_before_grants(method: Method, has_token: bool) -> bool {
    match method {
        Method::Sip(name) => name == "TransferSIPParticipant",
        Method::Room(RoomMethod::UpdateParticipant | RoomMethod::UpdateRoomMetadata) => has_token,
        Method::Room(_) | Method::Egress(_) | Method::Ingress(_) | Method::Dispatch(_) => false,
    }
}

async fn read(
    edge: &Edge,
    request: HttpRequest,
    limit: usize,
    encoding: Encoding,
) -> Result<Held, TwirpError> {
    let permit = request.extensions().get::<Permit>().cloned();
    // A body that does not come keeps no place from others.
    if let Some(permit) = &permit {
        permit.wait();
    }
    let held = edge.bodies.read(request.into_body(), limit).await;
    if let Some(permit) = &permit {
        permit.work();
    }
    held.map_err(|error| match error {
        BodyError::Broken => TwirpError::malformed(encoding),
        BodyError::Late => {
            edge.counters.http_late.add();
            TwirpError::malformed(encoding)
        }
        BodyError::Full => {
            edge.counters.http_refused.add();
            TwirpError::new(Code::Unavailable, "too many request bodies at once")
        }
    })
}

/// A call whose route is known.
struct Request<'a> {
    edge: &'a Edge,
    claims: Option<&'a Claims>,
    encoding: Encoding,
    body: &'a [u8],
}

impl Request<'_> {
    /// The answer, unless it takes longer than the caller waits.
    async fn in_time(&self, method: RoomMethod, patience: Option<Duration>) -> Result<Vec<u8>, TwirpError> {
        let answer = self.room_service(method);
        let Some(patience) = patience else {
            return answer.await;
        };
        let late = || TwirpError::new(Code::DeadlineExceeded, "request timed out");
        timeout(patience, answer).await.unwrap_or_else(|_| Err(late()))
    }

    async fn room_service(&self, method: RoomMethod) -> Result<Vec<u8>, TwirpError> {
        match method {
            RoomMethod::CreateRoom => self.create_room().await,
            RoomMethod::ListRooms => self.list_rooms().await,
            RoomMethod::DeleteRoom => self.delete_room().await,
            RoomMethod::ListParticipants => self.list_participants().await,
            RoomMethod::GetParticipant => self.get_participant().await,
            RoomMethod::RemoveParticipant => self.remove_participant().await,
            RoomMethod::MutePublishedTrack => self.mute_published_track().await,
            RoomMethod::UpdateParticipant => self.update_participant().await,
            RoomMethod::UpdateSubscriptions => self.update_subscriptions().await,
            RoomMethod::SendData => self.send_data().await,
            RoomMethod::UpdateRoomMetadata => self.update_room_metadata().await,
            RoomMethod::ForwardParticipant => self.forward_participant().await,
            RoomMethod::MoveParticipant => self.move_participant().await,
            RoomMethod::PerformRpc => self.perform_rpc().await,
        }
    }

    async fn create_room(&self) -> Result<Vec<u8>, TwirpError> {
        let request: proto::CreateRoomRequest = self.decode()?;
        self.require(|grant| grant.room_create)?;
        let limit = &self.edge.config.limit;
        if over(&request.name, limit.max_room_name_length) {
            return Err(TwirpError::new(
                Code::InvalidArgument,
                format!(
                    "room name length exceeds limits: max length {}",
                    limit.max_room_name_length
                ),
            ));
        }
        self.check_metadata(&request.metadata)?;
        for agent in &request.agents {
            self.check_metadata(&agent.metadata)?;
            self.check_attributes(&agent.attributes)?;
        }
        let wish = RoomWish {
            settings: proto::RoomConfiguration {
                empty_timeout: request.empty_timeout,
                departure_timeout: request.departure_timeout,
                max_participants: request.max_participants,
                metadata: request.metadata,
                min_playout_delay: request.min_playout_delay,
                max_playout_delay: request.max_playout_delay,
                sync_streams: request.sync_streams,
                ..Default::default()
            },
            preset: request.room_preset,
        };
        let records = request.egress.is_some_and(|egress| egress.room.is_some());
        let created = self.edge.rooms.create(&request.name, &wish).await;
        let answer = created.map_err(|error| match error {
            OpenError::UnknownPreset => TwirpError::new(
                Code::InvalidArgument,
                "unknown room configuration in create room request",
            ),
            OpenError::Full => full(),
            OpenError::Stopping | OpenError::NotFound => {
                TwirpError::new(Code::Unavailable, "the server is stopping")
            }
        })?;
        let room = room_of(answer.map_err(twirp_error)?)?;
        if records {
            // The room is there; nobody answers the request to record it.
            return Err(TwirpError::new(Code::Canceled, "request canceled"));
        }
        self.encode(&room, &twirp_json::ROOM)
    }

    async fn list_rooms(&self) -> Result<Vec<u8>, TwirpError> {
        let request: proto::ListRoomsRequest = self.decode()?;
        self.require(|grant| grant.room_list)?;
        let listed = self.edge.rooms.list(&request.names.into_iter().collect());
        self.encode_list(&twirp_json::LIST_ROOMS, move || proto::ListRoomsResponse {
            rooms: listed.iter().map(|room| proto::Room::clone(room)).collect(),
        })
        .await
    }

    async fn delete_room(&self) -> Result<Vec<u8>, TwirpError> {
        let request: proto::DeleteRoomRequest = self.decode()?;
        self.require(|grant| grant.room_create)?;
        self.call(&request.room, ApiCall::DeleteRoom, no_room).await?;
        self.encode(&proto::DeleteRoomResponse {}, &twirp_json::EMPTY)
    }

    async fn list_participants(&self) -> Result<Vec<u8>, TwirpError> {
        let request: proto::ListParticipantsRequest = self.decode()?;
        self.require_admin(&request.room)?;
        let participants = match self
            .edge
            .rooms
            .call(&request.room, ApiCall::ListParticipants)
            .await
        {
            Ok(ApiReply::Participants(participants)) => participants,
            Ok(_) => return Err(unfitting()),
            Err(error) if error.code == ApiErrorCode::NoTarget => Vec::new(),
            Err(error) => return Err(twirp_error(error)),
        };
        self.encode_list(&twirp_json::LIST_PARTICIPANTS, move || {
            proto::ListParticipantsResponse { participants }
        })
        .await
    }

    async fn get_participant(&self) -> Result<Vec<u8>, TwirpError> {
        let request: proto::RoomParticipantIdentity = self.decode()?;
        self.require_admin(&request.room)?;
        let call = ApiCall::GetParticipant {
            identity: request.identity,
        };
        let reply = self.call(&request.room, call, no_participant).await?;
        self.encode(&participant_of(reply)?, &twirp_json::PARTICIPANT)
    }

    async fn remove_participant(&self) -> Result<Vec<u8>, TwirpError> {
        let request: proto::RoomParticipantIdentity = self.decode()?;
        self.require_admin(&request.room)?;
        let call = ApiCall::RemoveParticipant {
            identity: request.identity,
        };
        self.call(&request.room, call, no_participant).await?;
        self.encode(&proto::RemoveParticipantResponse {}, &twirp_json::EMPTY)
    }

    async fn mute_published_track(&self) -> Result<Vec<u8>, TwirpError> {
        let request: proto::MuteRoomTrackRequest = self.decode()?;
        self.require_admin(&request.room)?;
        let call = ApiCall::MutePublishedTrack {
            identity: request.identity,
            track_sid: request.track_sid,
            muted: request.muted,
        };
        match self.call(&request.room, call, TwirpError::no_target).await? {
            ApiReply::Track(track) => {
                let response = proto::MuteRoomTrackResponse {
                    track: track.map(|track| *track),
                };
                self.encode(&response, &twirp_json::MUTE_TRACK)
            }
            ApiReply::Room(_)
            | ApiReply::Participants(_)
            | ApiReply::Participant(_)
            | ApiReply::Rpc(_)
            | ApiReply::Empty => Err(unfitting()),
        }
    }

    async fn update_participant(&self) -> Result<Vec<u8>, TwirpError> {
        let request: proto::UpdateParticipantRequest = self.decode()?;
        let limit = &self.edge.config.limit;
        if over(&request.name, limit.max_participant_name_length) {
            let max = limit.max_participant_name_length;
            return Err(TwirpError::over_limit("name length exceeds limits", max));
        }
        self.check_metadata(&request.metadata)?;
        self.check_attributes(&request.attributes)?;
        self.require_admin(&request.room)?;
        let room = request.room.clone();
        let call = ApiCall::UpdateParticipant(Box::new(request));
        let reply = self.call(&room, call, no_participant).await?;
        self.encode(&participant_of(reply)?, &twirp_json::PARTICIPANT)
    }

    async fn update_subscriptions(&self) -> Result<Vec<u8>, TwirpError> {
        let request: proto::UpdateSubscriptionsRequest = self.decode()?;
        self.require_admin(&request.room)?;
        let room = request.room.clone();
        let call = ApiCall::UpdateSubscriptions(Box::new(request));
        self.call(&room, call, TwirpError::no_target).await?;
        self.encode(&proto::UpdateSubscriptionsResponse {}, &twirp_json::EMPTY)
    }

    async fn send_data(&self) -> Result<Vec<u8>, TwirpError> {
        let request: proto::SendDataRequest = self.decode()?;
        self.require_admin(&request.room)?;
        let nonce = request.nonce.len();
        if nonce != 0 && nonce != 16 {
            return Err(TwirpError::new(
                Code::InvalidArgument,
                format!("nonce should be 16-bytes or not present, got: {nonce} bytes"),
            ));
        }
        let room = request.room.clone();
        let call = ApiCall::SendData(Box::new(request));
        self.call(&room, call, TwirpError::no_target).await?;
        self.encode(&proto::SendDataResponse {}, &twirp_json::EMPTY)
    }

    async fn update_room_metadata(&self) -> Result<Vec<u8>, TwirpError> {
        let request: proto::UpdateRoomMetadataRequest = self.decode()?;
        self.check_metadata(&request.metadata)?;
        self.require_admin(&request.room)?;
        let rooms = &self.edge.rooms;
        if !rooms.has_memory_for_metadata(&request.room, request.metadata.len()) {
            return Err(full());
        }
        let call = ApiCall::UpdateRoomMetadata {
            metadata: request.metadata,
        };
        let reply = self.call(&request.room, call, no_room).await?;
        self.encode(&room_of(reply)?, &twirp_json::ROOM)
    }

    async fn forward_participant(&self) -> Result<Vec<u8>, TwirpError> {
        let request: proto::ForwardParticipantRequest = self.decode()?;
        self.transfer(&request.room, request.identity, &request.destination_room)
            .await
    }

    async fn move_participant(&self) -> Result<Vec<u8>, TwirpError> {
        let request: proto::MoveParticipantRequest = self.decode()?;
        self.transfer(&request.room, request.identity, &request.destination_room)
            .await
    }

    /// Forwarding and moving are not part of the open server: known participants get its answer.
    async fn transfer(&self, room: &str, identity: String, destination: &str) -> Result<Vec<u8>, TwirpError> {
        self.require_admin(room)?;
        self.require(|grant| grant.destination_room == destination)?;
        if room == destination {
            let what = "destination room cannot be the same as source room";
            return Err(TwirpError {
                code: Code::InvalidArgument,
                message: format!("{what} "),
                meta: vec![("argument".to_owned(), what.to_owned())],
            });
        }
        self.require_live(room, identity).await?;
        Err(TwirpError::new(Code::Unknown, "not implemented"))
    }

    async fn perform_rpc(&self) -> Result<Vec<u8>, TwirpError> {
        let request: proto::PerformRpcRequest = self.decode()?;
        self.require_admin(&request.room)?;
        if request.destination_identity.is_empty() {
            return Err(TwirpError::new(
                Code::InvalidArgument,
                "destination identity is required",
            ));
        }
        let room = request.room.clone();
        let call = ApiCall::PerformRpc(Box::new(request));
        match self.call(&room, call, TwirpError::no_target).await? {
            ApiReply::Rpc(payload) => {
                let response = proto::PerformRpcResponse { payload };
                self.encode(&response, &twirp_json::PERFORM_RPC)
            }
            ApiReply::Room(_)
            | ApiReply::Participants(_)
            | ApiReply::Participant(_)
            | ApiReply::Track(_)
            | ApiReply::Empty => Err(unfitting()),
        }
    }

    /// 503 unless that participant is in that room.
    async fn require_live(&self, room: &str, identity: String) -> Result<(), TwirpError> {
        let call = ApiCall::GetParticipant { identity };
        let found = self.edge.rooms.call(room, call).await;
        found.map(|_| ()).map_err(|_| TwirpError::no_target())
    }

    /// What a body decodes to is bounded before it is decoded.
    fn decode<T: DeserializeOwned + Shaped + Default>(&self) -> Result<T, TwirpError> {
        let message = match self.encoding {
            Encoding::Json => twirp_json::decode(self.body),
            Encoding::Protobuf => decoded::decode(self.body, &Bounds::API)
                .ok()
                .map(|(message, _)| message),
        };
        message.ok_or_else(|| TwirpError::malformed(self.encoding))
    }

    fn encode<T: Serialize + prost::Message>(
        &self,
        message: &T,
        schema: &Schema,
    ) -> Result<Vec<u8>, TwirpError> {
        Ok(encode(self.encoding, message, schema))
    }

    /// A long list takes its time: not that of the threads that serve everybody, and few at once.
    async fn encode_list<T: Serialize + prost::Message>(
        &self,
        schema: &'static Schema,
        message: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Vec<u8>, TwirpError> {
        let encoding = self.encoding;
        let turn = Arc::clone(&self.edge.lists).acquire_owned().await;
        let encoded = tokio::task::spawn_blocking(move || {
            let encoded = encode(encoding, &message(), schema);
            drop(turn);
            encoded
        });
        let failed = |_| TwirpError::new(Code::Internal, "the answer could not be written");
        encoded.await.map_err(failed)
    }

    fn require(&self, allows: impl Fn(&VideoGrant) -> bool) -> Result<(), TwirpError> {
        let grant = self.claims.and_then(|claims| claims.video.as_ref());
        match grant {
            Some(grant) if allows(grant) => Ok(()),
            _ => Err(TwirpError::denied()),
        }
    }

    fn require_admin(&self, room: &str) -> Result<(), TwirpError> {
        self.require(|grant| grant.room_admin && grant.room == room)
    }

    fn check_metadata(&self, metadata: &str) -> Result<(), TwirpError> {
        let max = self.edge.config.limit.max_metadata_size;
        if over(metadata, max) {
            return Err(TwirpError::over_limit("metadata size exceeds limits", max));
        }
        Ok(())
    }

    fn check_attributes(&self, attributes: &HashMap<String, String>) -> Result<(), TwirpError> {
        let max = self.edge.config.limit.max_attributes_size;
        let bytes = attributes.iter().map(|(name, value)| name.len() + value.len());
        if max > 0 && bytes.sum::<usize>() > max {
            return Err(TwirpError::over_limit("attribute size exceeds limits", max));
        }
        Ok(())
    }

    /// Calls a room; `absent` is the answer when there is none.
    async fn call(
        &self,
        room: &str,
        call: ApiCall,
        absent: fn() -> TwirpError,
    ) -> Result<ApiReply, TwirpError> {
        if !self.edge.rooms.exists(room) {
            return Err(absent());
        }
        self.edge.rooms.call(room, call).await.map_err(twirp_error)
    }
}

fn encode<T: Serialize + prost::Message>(encoding: Encoding, message: &T, schema: &Schema) -> Vec<u8> {
    match encoding {
        Encoding::Json => twirp_json::encode(message, schema).into_bytes(),
        Encoding::Protobuf => message.encode_to_vec(),
    }
}

fn over(text: &str, max: usize) -> bool {
    max > 0 && text.len() > max
}

/// Rooms take all that they may.
fn full() -> TwirpError {
    TwirpError::new(
        Code::ResourceExhausted,
        "too many rooms, or too much metadata of rooms",
    )
}

fn no_room() -> TwirpError {
    TwirpError::new(Code::NotFound, "requested room does not exist")
}

fn no_participant() -> TwirpError {
    TwirpError::new(Code::NotFound, "participant does not exist")
}

fn unfitting() -> TwirpError {
    TwirpError::new(Code::Internal, "the room gave an unfitting answer")
}

fn room_of(reply: ApiReply) -> Result<proto::Room, TwirpError> {
    if let ApiReply::Room(room) = reply {
        Ok(*room)
    } else {
        Err(unfitting())
    }
}

fn participant_of(reply: ApiReply) -> Result<proto::ParticipantInfo, TwirpError> {
    if let ApiReply::Participant(participant) = reply {
        Ok(*participant)
    } else {
        Err(unfitting())
    }
}

fn twirp_error(error: ApiError) -> TwirpError {
    let code = match error.code {
        ApiErrorCode::Canceled => Code::Canceled,
        ApiErrorCode::Malformed => Code::Malformed,
        ApiErrorCode::Unavailable => Code::Unavailable,
        ApiErrorCode::NotFound => Code::NotFound,
        ApiErrorCode::InvalidArgument => Code::InvalidArgument,
        ApiErrorCode::FailedPrecondition => Code::FailedPrecondition,
        ApiErrorCode::Internal => Code::Internal,
        ApiErrorCode::Unknown => Code::Unknown,
        ApiErrorCode::Unimplemented => Code::Unimplemented,
        ApiErrorCode::ResourceExhausted => Code::ResourceExhausted,
        ApiErrorCode::NoTarget => return TwirpError::no_target(),
    };
    TwirpError {
        code,
        message: error.message,
        meta: error.meta,
    }
}
