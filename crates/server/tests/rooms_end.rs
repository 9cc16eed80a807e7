//! Rooms that end while others ask for them.
#![allow(missing_docs, reason = "tests")]

mod common;

use common::socket::Socket;
use common::{Server, admin_token, config, join_token, twirp};
use serde_json::json;

const V0: &str = "/rtc?protocol=16&auto_subscribe=1";
const MEMBERS: usize = 100;
const ROUNDS: usize = 25;

async fn rooms(server: &Server) -> usize {
    let reply = twirp(server.address, "ListRooms", &admin_token("r"), &json!({})).await;
    assert_eq!(reply.status, 200);
    reply.json()["rooms"].as_array().map_or(0, Vec::len)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_is_gone_when_its_deletion_is_answered() {
    let server = Server::start(config());
    let (token, room) = (admin_token("r"), json!({"room": "r"}));
    for round in 0..ROUNDS {
        // Many members make the end long.
        let mut members = Vec::new();
        for number in 0..if round == 0 { MEMBERS } else { 1 } {
            let name = join_token(&format!("member{number}"), "r");
            members.push(Socket::connect(server.address, V0, &name).await);
        }
        assert_eq!(rooms(&server).await, 1);
        let reply = twirp(server.address, "DeleteRoom", &token, &room).await;
        assert_eq!(reply.status, 200);
        assert_eq!(rooms(&server).await, 0);
        let reply = twirp(server.address, "CreateRoom", &token, &json!({"name": "r"})).await;
        let members = reply.json()["numParticipants"].as_u64().unwrap_or(0);
        assert_eq!((reply.status, members), (200, 0), "a new one");
        let reply = twirp(server.address, "DeleteRoom", &token, &room).await;
        assert_eq!(reply.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_make_rooms_brings_none_back_that_is_deleted_at_that_moment() {
    let mut config = config();
    config.room.auto_create = false;
    let server = Server::start(config);
    let (token, room) = (admin_token("r"), json!({"room": "r"}));
    for round in 0..ROUNDS {
        let reply = twirp(server.address, "CreateRoom", &token, &json!({"name": "r"})).await;
        assert_eq!(reply.status, 200);
        let joins = (0..8).map(|number| {
            let (address, name) = (server.address, join_token(&format!("p{number}"), "r"));
            tokio::spawn(async move { Socket::try_connect(address, V0, &name).await.map(drop) })
        });
        let joins: Vec<_> = joins.collect();
        let deleted = twirp(server.address, "DeleteRoom", &token, &room).await;
        assert_eq!(deleted.status, 200, "round {round}: {}", deleted.text());
        for join in joins {
            // In time, too late, or in the middle of the end.
            let status = join.await.expect("no panic").err();
            assert!(matches!(status, None | Some(404 | 500)), "{status:?}");
        }
        assert_eq!(rooms(&server).await, 0, "round {round}");
    }
}
