//! Plays a recorded call. Between two marks all clients act side by side; a mark is a barrier, as it was
//! for the recorder.
//!
//! Not compared here: when speakers and qualities are told (other replays and the room's tests do
//! that), and how many offers the server makes until everything is in one: it depends on when the
//! first packets of two tracks arrive. The last offer before a mark says it all.

use crate::client::{Client, EARLY_ANSWER};
use crate::common::{admin_token, twirp};
use crate::facts::{differences as compare_facts, facts, only_received};
use crate::replay::compare::Learnt;
use crate::replay::{Recording, connect, text_of};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;

pub(crate) struct Call<'a> {
    pub(crate) recording: &'a Recording,
    pub(crate) case: &'a Value,
    pub(crate) address: SocketAddr,
    room: String,
    pub(crate) learnt: RefCell<Learnt>,
    pub(crate) differences: RefCell<Vec<String>>,
    /// Where, what was recorded, what was found: compared when all names are known.
    pub(crate) descriptions: RefCell<Vec<(String, String, String)>>,
}

/// Replays all cases of recordings.
///
/// # Panics
/// With everything that differs.
pub(crate) async fn replay(recordings: &[Recording]) {
    let only = std::env::var("REPLAY_ONLY").unwrap_or_default();
    let mut differences = Vec::new();
    for recording in recordings {
        assert!(!recording.cases.is_empty(), "nothing recorded");
        let cases = recording.cases.iter().map(|case| async {
            if text_of(&case["name"]).contains(&only) {
                play(recording, case).await
            } else {
                Vec::new()
            }
        });
        differences.extend(join_all(cases).await.concat());
    }
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

async fn play(recording: &Recording, case: &Value) -> Vec<String> {
    let server = connect::server();
    let tokens = case["tokens"].as_object().cloned().unwrap_or_default();
    let call = Call {
        recording,
        case,
        address: server.address,
        room: text_of(&tokens["<jwt:1>"]["video"]["room"]),
        learnt: RefCell::new(Learnt::new(tokens)),
        differences: RefCell::default(),
        descriptions: RefCell::default(),
    };
    let peers = case["peers"].as_object().expect("peers");
    let mut clients: Vec<_> = peers
        .iter()
        .map(|(name, peer)| Client::new(&call, name, peer))
        .collect();
    let together = clients
        .iter()
        .all(|client| client.phases.len() == clients[0].phases.len());
    let left = clients.iter().filter_map(Client::leaves_after).min();
    for client in clients.iter_mut().filter(|_| together) {
        client.split_last_phase(left.unwrap_or(u64::MAX));
    }
    if let Err(problem) = phases(&call, &mut clients).await {
        call.differences.borrow_mut().push(problem);
    }
    drop(clients);
    server.running.shutdown().await;
    let name = text_of(&case["name"]);
    let mut differences = call.differences.take();
    let names = call.learnt.borrow().names();
    for (at, recorded, found) in call.descriptions.take() {
        let (mut recorded, mut found) = (facts(&recorded, &BTreeMap::new()), facts(&found, &names));
        if at.ends_with(EARLY_ANSWER) {
            only_received(&mut recorded, &mut found);
        }
        let lines = compare_facts(&recorded, &found);
        differences.extend(lines.into_iter().map(|line| format!("{at}: {line}")));
    }
    differences
        .into_iter()
        .map(|text| format!("{name}, {text}"))
        .collect()
}

async fn phases(call: &Call<'_>, clients: &mut [Client<'_>]) -> Result<(), String> {
    // They joined one after the other.
    for client in clients.iter_mut() {
        client.act(0).await?;
    }
    let marks = clients
        .iter()
        .map(|client| client.phases.len())
        .max()
        .unwrap_or(0);
    for phase in 1..marks {
        let named = clients.iter().find_map(|client| client.phases.get(phase));
        let mark = named.map(|phase| phase.mark.clone()).unwrap_or_default();
        let within = |problem: String| format!("{mark}: {problem}");
        if let Some(request) = mark.strip_prefix("API ")
            && !request.starts_with("answer")
        {
            let (method, body) = request.split_once(' ').ok_or("a call without a body")?;
            let body = call.learnt.borrow().fill(body);
            let mut body: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
            body["room"] = json!(call.room);
            let reply = twirp(call.address, method, &admin_token(&call.room), &body).await;
            if reply.status != 200 {
                return Err(within(format!("{} {}", reply.status, reply.text())));
            }
        }
        let results = join_all(clients.iter_mut().map(|client| client.act(phase))).await;
        for result in results {
            result.map_err(within)?;
        }
    }
    Ok(())
}
