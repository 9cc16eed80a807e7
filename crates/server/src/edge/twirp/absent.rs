//! Services that need a message bus, which there is none of: what is wrong with a request is said as
//! if there were, as LiveKit's server does, then that it is missing.

use super::{Request, no_participant, no_room};
use protocol::decoded::{Shape, Shaped};
use protocol::proto;
use protocol::twirp::{Code, Method, TwirpError};
use room::ApiCall;

impl Request<'_> {
    /// The error that ends a call of such a service.
    pub(super) async fn not_connected(&self, method: Method) -> Result<TwirpError, TwirpError> {
        match method {
            Method::Egress(name) => self.egress(name),
            Method::Ingress(_) => {
                let _: Anything = self.decode()?;
                self.require(|grant| grant.ingress_admin)?;
                Ok(not_connected("ingress"))
            }
            Method::Sip("TransferSIPParticipant") => self.transfer_sip_participant().await,
            Method::Sip(_) => {
                let _: Anything = self.decode()?;
                self.require_sip()?;
                Ok(not_connected("sip"))
            }
            Method::Dispatch(_) | Method::Room(_) => {
                // All three requests of the dispatch service name their room alike.
                let request: proto::ListAgentDispatchRequest = self.decode()?;
                self.require_admin(&request.room)?;
                let text = "agent dispatch is not built yet";
                Ok(TwirpError::new(Code::Unimplemented, text))
            }
        }
    }

    fn egress(&self, name: &str) -> Result<TwirpError, TwirpError> {
        let request: OfRoom = self.decode()?;
        self.require(|grant| grant.room_record)?;
        if !name.starts_with("Start") {
            return Ok(not_connected("egress"));
        }
        // A page is recorded without a room; its request has the address there.
        let room = &request.room_name;
        if name != "StartWebEgress" && !room.is_empty() && !self.edge.rooms.exists(room) {
            return Ok(no_room());
        }
        Ok(TwirpError::no_target())
    }

    /// Looks at the request before the token, as the reference does.
    async fn transfer_sip_participant(&self) -> Result<TwirpError, TwirpError> {
        let request: proto::TransferSipParticipantRequest = self.decode()?;
        if request.room_name.is_empty() {
            return Ok(TwirpError::new(Code::InvalidArgument, "Missing room name"));
        }
        // Who is in a room is told to those who may know it.
        self.require_sip()?;
        self.require_admin(&request.room_name)?;
        let identity = request.participant_identity;
        let call = ApiCall::GetParticipant { identity };
        self.call(&request.room_name, call, no_participant).await?;
        Ok(not_connected("sip"))
    }

    fn require_sip(&self) -> Result<(), TwirpError> {
        let sip = self.claims.and_then(|claims| claims.sip.as_ref());
        if sip.is_some_and(|sip| sip.admin || sip.call) {
            Ok(())
        } else {
            Err(TwirpError::denied())
        }
    }
}

fn not_connected(service: &str) -> TwirpError {
    TwirpError::new(
        Code::Internal,
        format!("{service} not connected (redis required)"),
    )
}

/// A request of which only the well-formedness counts.
#[derive(Clone, PartialEq, prost::Message, serde::Deserialize)]
struct Anything {}

/// What requests to record have in common.
#[derive(Clone, PartialEq, prost::Message, serde::Deserialize)]
#[serde(default)]
struct OfRoom {
    #[prost(string, tag = "1")]
    #[serde(alias = "roomName")]
    room_name: String,
}

impl Shaped for Anything {
    const SHAPE: &'static Shape = Shape::OF_SCALARS;
}

impl Shaped for OfRoom {
    const SHAPE: &'static Shape = Shape::OF_SCALARS;
}
