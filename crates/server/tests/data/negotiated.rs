//! Data channels that both sides make by agreement (protocol 18), and those that clients open in
//! band, on a single peer connection.

use crate::common::{Server, admin_token, config, twirp};
use crate::replay::compare::Learnt;
use crate::replay::peer::read;
use crate::replay::socket::Socket;
use crate::replay::{Recording, first_key, mint, percent, same_roles, text_of, wrapped};
use crate::rtc::Connection;
use prost::Message as _;
use protocol::proto;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::time::timeout;

const ROOM: &str = "g-dc";
const PATIENCE: Duration = Duration::from_secs(12);

const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sctp-port:5000\r\n\
    a=max-message-size:65536\r\na=ice-ufrag:x\r\na=ice-pwd:x\r\na=fingerprint:x\r\na=setup:actpass\r\n";

struct Client {
    socket: Socket,
    connection: Connection,
    learnt: Learnt,
}

#[tokio::test(flavor = "multi_thread")]
async fn negotiated_channels_carry_data_from_protocol_18_on_and_others_always() {
    let recording = Recording::new(include_str!("../vectors/data/negotiated_channels.json"));
    let mut config = config();
    // One candidate, as recorded.
    config.rtc.node_ip = vec![Ipv4Addr::LOCALHOST.into()];
    let server = Server::start(config);
    let mut clients: Vec<Client> = Vec::new();
    for (case, identity) in recording.cases.iter().zip(["raw-a", "raw-b", "raw-c", "raw-d"]) {
        let client = play(&server, &recording, case, identity, &mut clients).await;
        let client = client.unwrap_or_else(|problem| panic!("{}: {problem}", case["name"]));
        clients.push(client);
    }
    assert_eq!(clients.len(), recording.cases.len());

    // The server hears clients on either kind as well.
    let packet = |text: &str| proto::DataPacket {
        value: Some(proto::data_packet::Value::User(proto::UserPacket {
            payload: text.into(),
            ..Default::default()
        })),
        ..Default::default()
    };
    for (from, to) in [(0, 1), (1, 0), (2, 0), (0, 2)] {
        for label in ["_reliable", "_lossy"] {
            let text = format!("{from} to {to} on {label}");
            let connection = &clients[from].connection;
            connection.send(label, packet(&text).encode_to_vec()).await;
            loop {
                let message = clients[to].connection.message(label).await.expect("it arrives");
                let found = proto::DataPacket::decode(message.as_slice()).expect("a packet");
                if let Some(proto::data_packet::Value::User(user)) = found.value
                    && user.payload == text.as_bytes()
                {
                    break;
                }
            }
        }
    }
    server.running.shutdown().await;
}

async fn play(
    server: &Server,
    recording: &Recording,
    case: &Value,
    identity: &str,
    others: &mut [Client],
) -> Result<Client, String> {
    let name = text_of(&case["name"]);
    let protocol = if name.contains("protocol_18") { 18 } else { 17 };
    let connection = Connection::new(true).await;
    let request = json!({
        "clientInfo": {"protocol": protocol, "clientProtocol": 1},
        "connectionSettings": {"autoSubscribe": true},
        "publisherOffer": {"type": "offer", "sdp": connection.own(OFFER), "id": 1},
    });
    let request = serde_json::from_value(request).map_err(|error| error.to_string())?;
    let claims = json!({"sub": identity, "video": {"roomJoin": true, "room": ROOM}});
    let path = format!(
        "/rtc/v1?join_request={}&access_token={}",
        percent(&wrapped(&request, false)),
        mint(claims)
    );
    let mut client = Client {
        socket: Socket::connect(server.address, &path, &[]).await?,
        connection,
        learnt: Learnt::default(),
    };
    let signal: Vec<_> = case["signal"].as_array().into_iter().flatten().collect();
    let (updates, before): (Vec<_>, Vec<_>) = signal
        .into_iter()
        .partition(|frame| frame["msg"]["update"].is_object());
    for frame in before {
        expect(&mut client, recording, &frame["msg"]).await?;
    }
    channels((server, identity), case, &mut client.connection, others).await?;
    // That it is there is told with the next batch.
    for frame in updates {
        expect(&mut client, recording, &frame["msg"]).await?;
    }
    Ok(client)
}

/// Does what the recorded client did with its channels, and compares what arrives on them.
async fn channels(
    (server, identity): (&Server, &str),
    case: &Value,
    connection: &mut Connection,
    others: &mut [Client],
) -> Result<(), String> {
    for step in case["channels"].as_array().into_iter().flatten() {
        let label = text_of(&step["label"]);
        match step["channel"].as_str() {
            Some("created") => {
                let id = if step["negotiated"] == true {
                    step["id"].as_u64().and_then(|id| u16::try_from(id).ok())
                } else {
                    None
                };
                let reliable = step["maxRetransmits"].is_null();
                connection.create(&label, reliable, id).await;
            }
            Some("open") => {
                let id = connection.opened(&label).await?;
                if step["id"] != id {
                    return Err(format!("{label} is {id}, recorded {step}"));
                }
            }
            Some(_) => {
                let message = connection.message(&label).await?;
                same_packet(&step["packet"], &message)?;
            }
            None if step["mark"] == "pc connected" => connection.connected().await?,
            None => {
                active(server, identity).await?;
                send_data(server, others).await?;
            }
        }
    }
    // What was not recorded would have come with what everybody else got.
    match connection.unread() {
        unread if unread.is_empty() => Ok(()),
        unread => Err(format!("not recorded: {unread:?}")),
    }
}

/// Waits until the room knows that a client is connected, which it hears a moment after the client:
/// until then it gets nothing that may be lost.
async fn active(server: &Server, identity: &str) -> Result<(), String> {
    let body = json!({"room": ROOM, "identity": identity});
    let known = async {
        loop {
            let reply = twirp(server.address, "GetParticipant", &admin_token(ROOM), &body).await;
            if reply.json()["state"] == "ACTIVE" {
                return;
            }
        }
    };
    timeout(PATIENCE, known)
        .await
        .map_err(|_| format!("{identity} is never active"))
}

/// Two messages for everybody in the room; whoever was there before gets both.
async fn send_data(server: &Server, others: &mut [Client]) -> Result<(), String> {
    for (kind, label) in [("RELIABLE", "_reliable"), ("LOSSY", "_lossy")] {
        let body = json!({"room": ROOM, "data": "aGk=", "kind": kind});
        let reply = twirp(server.address, "SendData", &admin_token(ROOM), &body).await;
        if reply.status != 200 {
            return Err(format!("SendData: {} {}", reply.status, reply.text()));
        }
        let mut recorded = json!({"kind": kind, "user": {"payload": "aGk="}});
        if kind == "RELIABLE" {
            recorded.as_object_mut().ok_or("no object")?.remove("kind");
        }
        for other in others.iter_mut() {
            same_packet(&recorded, &other.connection.message(label).await?)?;
        }
    }
    Ok(())
}

fn same_packet(recorded: &Value, found: &[u8]) -> Result<(), String> {
    let packet = proto::DataPacket::decode(found).map_err(|error| error.to_string())?;
    let packet = serde_json::to_value(packet).map_err(|error| error.to_string())?;
    if packet == *recorded {
        Ok(())
    } else {
        Err(format!("found {packet}, recorded {recorded}"))
    }
}

/// Waits for a recorded message of the server, compares it and acts on it.
async fn expect(client: &mut Client, recording: &Recording, recorded: &Value) -> Result<(), String> {
    let kind = first_key(recorded);
    // Claims were not recorded here; where the others stand differs between runs.
    if matches!(kind.as_str(), "refreshToken" | "roomUpdate" | "connectionQuality") {
        return Ok(());
    }
    // ICE over TCP is not built.
    let init = text_of(&recorded["trickle"]["candidateInit"]);
    if init.contains(" tcp ") {
        return Ok(());
    }
    let found = loop {
        let frame = timeout(PATIENCE, client.socket.next()).await;
        let found = read(frame.map_err(|_| format!("no {kind}"))?)?;
        if !matches!(
            found.kind.as_str(),
            "refreshToken" | "roomUpdate" | "connectionQuality"
        ) {
            break found.message;
        }
    };
    let mut recorded = recorded.clone();
    if kind == "trickle" {
        // The port is the kernel's choice, and the only candidate is the last one.
        recorded["trickle"]["candidateInit"] = json!(init.replace(" 27882 ", " <priority> "));
        recorded["trickle"]["final"] = json!(true);
    }
    client
        .learnt
        .compare(&recorded, &found)
        .map_err(|problem| format!("{problem}\n      in {found}"))?;
    match kind.as_str() {
        "answer" => {
            let sdp = text_of(&found["answer"]["sdp"]);
            same_roles(&recording.unpacked(&recorded["answer"]["sdp"]), &sdp)?;
            client.connection.remote(&sdp, true).await;
        }
        "trickle" => {
            let init = text_of(&found["trickle"]["candidateInit"]);
            client.connection.candidate(&init).await;
        }
        _ => {}
    }
    Ok(())
}
