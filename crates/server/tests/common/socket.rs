//! A signal client: connects, sends requests, waits for messages.

use super::{KEY, http};
use futures_util::{SinkExt, StreamExt};
use prost::Message as _;
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// Nothing in these tests takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Socket(pub(crate) WebSocketStream<TcpStream>);

/// What a server sent.
#[derive(Debug)]
pub(crate) enum Got {
    Binary(Response),
    Text(String),
    Close(Option<CloseFrame>),
    End,
}

impl Socket {
    /// Connects; `path` carries the query without the token.
    pub(crate) async fn connect(address: SocketAddr, path: &str, token: &str) -> Self {
        Self::try_connect(address, path, token).await.expect("upgrades")
    }

    /// The same where the server may refuse: its status then.
    pub(crate) async fn try_connect(address: SocketAddr, path: &str, token: &str) -> Result<Self, u16> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let url = format!("ws://{address}{path}{joint}access_token={token}");
        let stream = TcpStream::connect(address).await.expect("connects");
        let request = url.into_client_request().expect("a request");
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("neither upgraded nor refused: {error}"),
        }
    }

    pub(crate) async fn next(&mut self) -> Got {
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.expect("in time");
            match message {
                Some(Ok(Message::Binary(data))) => {
                    let response = proto::SignalResponse::decode(data).expect("a response");
                    return Got::Binary(response.message.expect("a message"));
                }
                Some(Ok(Message::Text(text))) => return Got::Text(text.to_string()),
                Some(Ok(Message::Close(frame))) => return Got::Close(frame),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Got::End,
            }
        }
    }

    /// Skips messages until one fits.
    pub(crate) async fn wait<T>(&mut self, fits: impl Fn(&Response) -> Option<T>) -> T {
        loop {
            match self.next().await {
                Got::Binary(response) => {
                    if let Some(found) = fits(&response) {
                        return found;
                    }
                }
                other => panic!("no such message before {other:?}"),
            }
        }
    }

    pub(crate) async fn join(&mut self) -> proto::JoinResponse {
        match self.next().await {
            Got::Binary(Response::Join(join)) => join,
            other => panic!("the first message is {other:?}"),
        }
    }

    pub(crate) async fn leave(&mut self) -> proto::LeaveRequest {
        self.wait(|response| match response {
            Response::Leave(leave) => Some(leave.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn closed(&mut self) -> Option<CloseFrame> {
        loop {
            match self.next().await {
                Got::Close(frame) => return frame,
                Got::End => panic!("the connection ended without a close frame"),
                Got::Binary(_) | Got::Text(_) => {}
            }
        }
    }

    pub(crate) async fn send(&mut self, request: Request) {
        let request = proto::SignalRequest {
            message: Some(request),
        };
        self.raw(Message::Binary(request.encode_to_vec().into())).await;
    }

    pub(crate) async fn raw(&mut self, message: Message) {
        self.0.send(message).await.expect("sends");
    }
}

/// An upgrade that is refused: status and body.
pub(crate) async fn refused(address: SocketAddr, path: &str, token: &str) -> (u16, String) {
    let headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let joint = if path.contains('?') { '&' } else { '?' };
    let path = format!("{path}{joint}access_token={token}");
    let reply = http(address, "GET", &path, &headers, None).await;
    (reply.status, reply.text())
}

/// The key that signed a token of the server.
pub(crate) fn issuer(token: &str) -> bool {
    use base64::Engine;
    let payload = token.split('.').nth(1).unwrap_or_default();
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload)
        .expect("base64");
    String::from_utf8_lossy(&text).contains(KEY)
}
