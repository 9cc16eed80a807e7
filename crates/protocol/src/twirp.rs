//! The Twirp conventions: services and methods, error codes and their statuses.
//!
//! Must not know: HTTP types, handlers.

use serde_json::{Map, Value, json};
use std::fmt;

/// Twirp error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Twirp's")]
pub enum Code {
    Canceled,
    Unknown,
    InvalidArgument,
    Malformed,
    DeadlineExceeded,
    NotFound,
    BadRoute,
    AlreadyExists,
    PermissionDenied,
    Unauthenticated,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
}

impl Code {
    /// Name on the wire and HTTP status: the one table.
    #[must_use]
    pub const fn wire(self) -> (&'static str, u16) {
        match self {
            Self::Canceled => ("canceled", 408),
            Self::Unknown => ("unknown", 500),
            Self::InvalidArgument => ("invalid_argument", 400),
            Self::Malformed => ("malformed", 400),
            Self::DeadlineExceeded => ("deadline_exceeded", 408),
            Self::NotFound => ("not_found", 404),
            Self::BadRoute => ("bad_route", 404),
            Self::AlreadyExists => ("already_exists", 409),
            Self::PermissionDenied => ("permission_denied", 403),
            Self::Unauthenticated => ("unauthenticated", 401),
            Self::ResourceExhausted => ("resource_exhausted", 429),
            Self::FailedPrecondition => ("failed_precondition", 412),
            Self::Aborted => ("aborted", 409),
            Self::OutOfRange => ("out_of_range", 400),
            Self::Unimplemented => ("unimplemented", 501),
            Self::Internal => ("internal", 500),
            Self::Unavailable => ("unavailable", 503),
            Self::DataLoss => ("data_loss", 500),
        }
    }
}

/// A Twirp error. Always JSON, whatever the request was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwirpError {
    /// Code.
    pub code: Code,
    /// Text.
    pub message: String,
    /// `meta` pairs.
    pub meta: Vec<(String, String)>,
}

impl TwirpError {
    /// Without meta.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            meta: Vec::new(),
        }
    }

    /// Missing or insufficient grants: never `permission_denied`.
    #[must_use]
    pub fn denied() -> Self {
        Self::new(Code::Unauthenticated, "permissions denied")
    }

    /// Nobody serves the room or participant.
    #[must_use]
    pub fn no_target() -> Self {
        Self::new(Code::Unavailable, "no response from servers")
    }

    /// An argument is over its limit; the message repeats the limit, `meta` does not.
    #[must_use]
    pub fn over_limit(what: &str, limit: usize) -> Self {
        Self {
            code: Code::InvalidArgument,
            message: format!("{what} {limit}"),
            meta: vec![("argument".to_owned(), what.to_owned())],
        }
    }

    /// The body could not be decoded.
    #[must_use]
    pub fn malformed(encoding: Encoding) -> Self {
        let name = match encoding {
            Encoding::Json => "json",
            Encoding::Protobuf => "protobuf",
        };
        Self::new(
            Code::Malformed,
            format!("the {name} request could not be decoded"),
        )
    }

    /// Not a route of this service.
    #[must_use]
    pub fn bad_route(message: String, method: &str, path: &str) -> Self {
        Self {
            code: Code::BadRoute,
            message,
            meta: vec![("twirp_invalid_route".to_owned(), format!("{method} {path}"))],
        }
    }

    /// Body as the reference writes it.
    #[must_use]
    pub fn body(&self) -> String {
        let meta: Map<String, Value> = self
            .meta
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        let mut body = format!(
            "{{\"code\":{},\"msg\":{}",
            json!(self.code.wire().0),
            json!(self.message)
        );
        if !meta.is_empty() {
            body.push_str(&format!(",\"meta\":{}", Value::Object(meta)));
        }
        body.push('}');
        body
    }
}

impl fmt::Display for TwirpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.wire().0, self.message)
    }
}

impl std::error::Error for TwirpError {}

/// How request and response are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`
    Json,
    /// `application/protobuf`
    Protobuf,
}

impl Encoding {
    /// From a Content-Type: up to `;`, trimmed, case ignored.
    #[must_use]
    pub fn of_content_type(content_type: &str) -> Option<Self> {
        let name = content_type.split(';').next().unwrap_or_default().trim();
        if name.eq_ignore_ascii_case("application/json") {
            Some(Self::Json)
        } else if name.eq_ignore_ascii_case("application/protobuf") {
            Some(Self::Protobuf)
        } else {
            None
        }
    }

    /// Content-Type of the response.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/protobuf",
        }
    }
}

/// Methods of RoomService.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the service's")]
pub enum RoomMethod {
    CreateRoom,
    ListRooms,
    DeleteRoom,
    ListParticipants,
    GetParticipant,
    RemoveParticipant,
    MutePublishedTrack,
    UpdateParticipant,
    UpdateSubscriptions,
    SendData,
    UpdateRoomMetadata,
    ForwardParticipant,
    MoveParticipant,
    PerformRpc,
}

/// A method of any service that the reference registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// RoomService.
    Room(RoomMethod),
    /// AgentDispatchService.
    Dispatch(&'static str),
    /// Egress.
    Egress(&'static str),
    /// Ingress.
    Ingress(&'static str),
    /// SIP.
    Sip(&'static str),
}

/// What a path below `/twirp/` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Not a service: plain 404.
    Unknown,
    /// A service without trailing slash: redirected.
    ServiceRoot,
    /// A service, but not one of its methods.
    NoHandler,
    /// A method.
    Method(Method),
}

const ROOM: [(&str, RoomMethod); 14] = [
    ("CreateRoom", RoomMethod::CreateRoom),
    ("ListRooms", RoomMethod::ListRooms),
    ("DeleteRoom", RoomMethod::DeleteRoom),
    ("ListParticipants", RoomMethod::ListParticipants),
    ("GetParticipant", RoomMethod::GetParticipant),
    ("RemoveParticipant", RoomMethod::RemoveParticipant),
    ("MutePublishedTrack", RoomMethod::MutePublishedTrack),
    ("UpdateParticipant", RoomMethod::UpdateParticipant),
    ("UpdateSubscriptions", RoomMethod::UpdateSubscriptions),
    ("SendData", RoomMethod::SendData),
    ("UpdateRoomMetadata", RoomMethod::UpdateRoomMetadata),
    ("ForwardParticipant", RoomMethod::ForwardParticipant),
    ("MoveParticipant", RoomMethod::MoveParticipant),
    ("PerformRpc", RoomMethod::PerformRpc),
];
const DISPATCH: [&str; 3] = ["CreateDispatch", "DeleteDispatch", "ListDispatch"];
const EGRESS: [&str; 10] = [
    "StartEgress",
    "StartRoomCompositeEgress",
    "StartWebEgress",
    "StartParticipantEgress",
    "StartTrackCompositeEgress",
    "StartTrackEgress",
    "UpdateLayout",
    "UpdateStream",
    "ListEgress",
    "StopEgress",
];
const INGRESS: [&str; 4] = ["CreateIngress", "UpdateIngress", "ListIngress", "DeleteIngress"];
const SIP: [&str; 17] = [
    "ListSIPTrunk",
    "CreateSIPTrunk",
    "CreateSIPInboundTrunk",
    "CreateSIPOutboundTrunk",
    "UpdateSIPInboundTrunk",
    "UpdateSIPOutboundTrunk",
    "GetSIPInboundTrunk",
    "GetSIPOutboundTrunk",
    "ListSIPInboundTrunk",
    "ListSIPOutboundTrunk",
    "DeleteSIPTrunk",
    "CreateSIPDispatchRule",
    "UpdateSIPDispatchRule",
    "ListSIPDispatchRule",
    "DeleteSIPDispatchRule",
    "CreateSIPParticipant",
    "TransferSIPParticipant",
];

/// Finds the route of a clean path that begins with `/twirp/`.
#[must_use]
pub fn route(path: &str) -> Route {
    let Some(rest) = path.strip_prefix("/twirp/livekit.") else {
        return Route::Unknown;
    };
    let (service, method) = match rest.split_once('/') {
        Some((service, method)) => (service, Some(method)),
        None => (rest, None),
    };
    let find = |names: &'static [&'static str], make: fn(&'static str) -> Method| {
        let name = names.iter().find(|name| Some(**name) == method)?;
        Some(make(name))
    };
    let found = match service {
        "RoomService" => ROOM
            .iter()
            .find(|(name, _)| Some(*name) == method)
            .map(|(_, method)| Method::Room(*method)),
        "AgentDispatchService" => find(&DISPATCH, Method::Dispatch),
        "Egress" => find(&EGRESS, Method::Egress),
        "Ingress" => find(&INGRESS, Method::Ingress),
        "SIP" => find(&SIP, Method::Sip),
        _ => return Route::Unknown,
    };
    match (found, method) {
        (Some(method), _) => Route::Method(method),
        (None, Some(_)) => Route::NoHandler,
        (None, None) => Route::ServiceRoot,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_exact() {
        let list = Route::Method(Method::Room(RoomMethod::ListRooms));
        assert_eq!(route("/twirp/livekit.RoomService/ListRooms"), list);
        for path in ["listRooms", "ListRooms/", "ListRooms/x", "Nope", ""] {
            assert_eq!(
                route(&format!("/twirp/livekit.RoomService/{path}")),
                Route::NoHandler,
                "{path}"
            );
        }
        assert_eq!(route("/twirp/livekit.RoomService"), Route::ServiceRoot);
        for path in [
            "/twirp/livekit.Nope/ListRooms",
            "/twirp/RoomService/ListRooms",
            "/twirp/",
        ] {
            assert_eq!(route(path), Route::Unknown, "{path}");
        }
    }

    #[test]
    fn content_types_ignore_case_and_parameters() {
        let json = Some(Encoding::Json);
        assert_eq!(Encoding::of_content_type("APPLICATION/JSON"), json);
        assert_eq!(
            Encoding::of_content_type(" application/json ;charset=UTF-8"),
            json
        );
        assert_eq!(
            Encoding::of_content_type("application/protobuf; x=y"),
            Some(Encoding::Protobuf)
        );
        for other in ["", "application/jsonx", "application/x-protobuf"] {
            assert_eq!(Encoding::of_content_type(other), None, "{other}");
        }
    }

    #[test]
    fn errors_are_written_like_the_reference() {
        let path = "/twirp/livekit.RoomService/Nope";
        let error = TwirpError::bad_route(format!("no handler for path \"{path}\""), "POST", path);
        assert_eq!(
            error.body(),
            "{\"code\":\"bad_route\",\"msg\":\"no handler for path \\\"/twirp/livekit.RoomService/Nope\\\"\",\
             \"meta\":{\"twirp_invalid_route\":\"POST /twirp/livekit.RoomService/Nope\"}}"
        );
        assert_eq!(
            TwirpError::denied().body(),
            "{\"code\":\"unauthenticated\",\"msg\":\"permissions denied\"}"
        );
        assert_eq!(Code::FailedPrecondition.wire().1, 412);
    }
}
