//! Who clients believe is in a room: every join response and every participant update, read as clients
//! read them, must leave each with the room's own list once everything has arrived.
//!
//! Owns: each client's lists, which outlive its connections. Must not know: the room's state, which the
//! test hands in to compare, or how messages reach a client: late, replaced, or not at all.

use protocol::proto;
use protocol::proto::participant_info::State;
use protocol::proto::signal_response::Message as Response;
use room::{Action, ConnectionId, Effect};
use std::collections::{BTreeMap, BTreeSet};

/// Watches one room.
#[derive(Debug, Default)]
pub struct RosterChecker {
    /// Those who wait for their first answer.
    joining: BTreeMap<ConnectionId, Joining>,
    clients: BTreeMap<ConnectionId, Client>,
    /// Clients without a connection; the one that lost it last is the last.
    away: Vec<Client>,
    /// Those who were told something since the last look, and who was present then.
    fresh: BTreeSet<ConnectionId>,
    present: Vec<proto::ParticipantInfo>,
    checks: u64,
}

#[derive(Debug)]
struct Joining {
    identity: String,
    /// The session that it says it had.
    session: String,
    resumes: bool,
    readers: Vec<Reader>,
}

/// One client: the same messages, as each of the clients that it could be would read them.
#[derive(Debug)]
struct Client {
    identity: String,
    /// The session that it joined.
    session: String,
    lists: Vec<List>,
}

/// How a client applies what it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// As livekit-client for JavaScript does from protocol 12 on: by identity. A departure takes away
    /// whoever has the identity; an older version of the same session is passed over.
    Identity,
    /// As the Rust SDK does, which other SDKs are built on: another session of an identity takes the
    /// place of the one that is shown, a departure of an unknown session says nothing, and versions are
    /// not looked at.
    IdentityAndSession,
    /// As clients before protocol 12 do, and those that know no identities.
    Session,
}

#[derive(Debug)]
struct List {
    reader: Reader,
    own: proto::ParticipantInfo,
    /// By identity, or by session.
    others: BTreeMap<String, proto::ParticipantInfo>,
}

impl RosterChecker {
    /// An action goes into the room.
    pub fn begin(&mut self, action: &Action) {
        match action {
            Action::Join(join) => {
                let mut readers = vec![Reader::Identity, Reader::IdentityAndSession];
                let unknown = join.client.sdk() == proto::client_info::Sdk::Unknown;
                if join.client.protocol < 12 || unknown {
                    readers.push(Reader::Session);
                }
                let joining = Joining {
                    identity: join.claims.identity.clone(),
                    session: join.resume.clone().unwrap_or_default().participant_sid,
                    // Before protocol 9 clients are not told who left meanwhile, and begin anew.
                    resumes: join.resume.is_some() && join.client.protocol >= 9,
                    readers,
                };
                self.joining.insert(join.connection, joining);
            }
            Action::SignalClosed { connection } => self.closed(*connection),
            _ => {}
        }
    }

    /// An effect comes out of the room, and reaches its clients at once.
    pub fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Signal { connection, response } => {
                if let Some(message) = &response.message {
                    self.told(*connection, message);
                }
            }
            Effect::Broadcast {
                connections,
                response,
            } => {
                for connection in connections {
                    if let Some(message) = &response.message {
                        self.told(*connection, message);
                    }
                }
            }
            Effect::RefuseJoin { connection, .. } => {
                self.joining.remove(connection);
            }
            Effect::CloseSignal { connection } => self.closed(*connection),
            _ => {}
        }
    }

    /// A client reads a message.
    pub fn told(&mut self, connection: ConnectionId, message: &Response) {
        self.fresh.insert(connection);
        if let Response::Join(join) = message {
            if let Some(joining) = self.joining.remove(&connection) {
                self.clients.insert(connection, Client::new(joining, join));
            }
            return;
        }
        if let Response::Leave(leave) = message {
            self.joining.remove(&connection);
            if leave.action() != proto::leave_request::Action::Resume {
                self.clients.remove(&connection);
            }
            return;
        }
        self.resumed(connection);
        if let Response::Update(update) = message
            && let Some(client) = self.clients.get_mut(&connection)
        {
            for list in &mut client.lists {
                update.participants.iter().for_each(|info| list.take(info));
            }
        }
    }

    /// The first answer on a new connection: the client goes on with the lists that it had.
    fn resumed(&mut self, connection: ConnectionId) {
        let Some(joining) = self.joining.remove(&connection) else {
            return;
        };
        if !joining.resumes {
            return;
        }
        let same = |client: &Client| {
            client.identity == joining.identity
                && (joining.session.is_empty() || client.session == joining.session)
        };
        let open = self.clients.iter().find(|(_, client)| same(client));
        let open = open.map(|(connection, _)| *connection);
        let client = match open {
            Some(open) => self.clients.remove(&open),
            None => self
                .away
                .iter()
                .rposition(same)
                .map(|index| self.away.remove(index)),
        };
        if let Some(client) = client {
            self.clients.insert(connection, client);
        }
    }

    /// A connection ends. The client may come back.
    pub fn closed(&mut self, connection: ConnectionId) {
        self.joining.remove(&connection);
        if let Some(client) = self.clients.remove(&connection) {
            self.away.push(client);
        }
    }

    /// Lists that were compared.
    #[must_use]
    pub const fn checks(&self) -> u64 {
        self.checks
    }

    /// Holds every connected client's list against those who are `present`, hidden or not. To be called
    /// when everything was told and read. Returns what is wrong, in words.
    #[must_use]
    pub fn check(&mut self, present: &[proto::ParticipantInfo]) -> Vec<String> {
        let mut found = Vec::new();
        let all = self.present != present;
        let fresh = std::mem::take(&mut self.fresh);
        for (connection, client) in &self.clients {
            if !all && !fresh.contains(connection) {
                continue;
            }
            for list in &client.lists {
                self.checks += 1;
                list.compare(present, &mut found);
            }
        }
        if all {
            self.present = present.to_vec();
        }
        found
    }
}

impl Client {
    fn new(joining: Joining, join: &proto::JoinResponse) -> Self {
        let list = |reader| {
            let mut list = List {
                reader,
                own: join.participant.clone().unwrap_or_default(),
                others: BTreeMap::new(),
            };
            join.other_participants.iter().for_each(|info| list.take(info));
            list
        };
        Self {
            identity: joining.identity,
            session: join.participant.clone().unwrap_or_default().sid,
            lists: joining.readers.into_iter().map(list).collect(),
        }
    }
}

impl List {
    fn take(&mut self, info: &proto::ParticipantInfo) {
        let leaves = info.state() == State::Disconnected;
        let key = match self.reader {
            Reader::Session => &info.sid,
            Reader::Identity | Reader::IdentityAndSession => &info.identity,
        };
        let is_own = info.identity == self.own.identity || info.sid == self.own.sid;
        let shown = if is_own {
            Some(&self.own)
        } else {
            self.others.get(key)
        };
        let shown = shown.map(|shown| (shown.sid == info.sid, shown.version));
        let outdated = shown.is_some_and(|(same, version)| same && version > info.version);
        if outdated && self.reader == Reader::Identity && (is_own || !leaves) {
            return;
        }
        if is_own {
            self.own = info.clone();
        } else if leaves {
            self.others.remove(key);
        } else {
            self.others.insert(key.clone(), info.clone());
        }
    }

    fn compare(&self, present: &[proto::ParticipantInfo], found: &mut Vec<String>) {
        let who = format!("{} ({:?})", self.own.identity, self.reader);
        let mut shown: BTreeMap<_, _> = self.others.values().map(|info| (&info.sid, info)).collect();
        if shown.len() != self.others.len() {
            found.push(format!("{who} shows a session twice"));
        }
        let mut is_here = false;
        for info in present {
            let hidden = info
                .permission
                .as_ref()
                .is_some_and(|permission| permission.hidden);
            if info.sid == self.own.sid {
                is_here = true;
                // That they joined is not told to the hidden.
                let joining = hidden && self.own.state() == State::Joining;
                let mut own = self.own.clone();
                if joining {
                    own.state = State::Joined.into();
                }
                differ(&who, &own, info, found);
            } else if let Some(shown) = shown.remove(&info.sid) {
                if hidden {
                    found.push(format!("{who} shows {}, who is hidden", name(info)));
                } else {
                    differ(&who, shown, info, found);
                }
            } else if !hidden {
                found.push(format!("{who} does not show {}", name(info)));
            }
        }
        if !is_here {
            found.push(format!("{who} believes to be {}, who is gone", name(&self.own)));
        }
        for ghost in shown.values() {
            found.push(format!("{who} shows {}, who is gone", name(ghost)));
        }
    }
}

/// Whether a client knows somebody as it is. Versions only order what it is told; where a track stands in
/// its publisher's own descriptions, and what a further codec has there, is told with its media.
fn differ(who: &str, shown: &proto::ParticipantInfo, info: &proto::ParticipantInfo, found: &mut Vec<String>) {
    let plain = |info: &proto::ParticipantInfo| {
        let mut info = info.clone();
        info.version = 0;
        for track in &mut info.tracks {
            track.mid.clear();
            for codec in &mut track.codecs {
                codec.mid.clear();
                codec.cid.clear();
                codec.layers.clear();
            }
        }
        info
    };
    let (was, is) = (plain(shown), plain(info));
    if was != is {
        let (was, is) = (format!("{was:#?}"), format!("{is:#?}"));
        let lines = was.lines().zip(is.lines()).filter(|(was, is)| was != is);
        let lines: Vec<_> = lines.take(4).map(|(was, is)| format!("{was} /{is}")).collect();
        let lines = lines.join(",");
        found.push(format!("{who} shows {} as it is not: {lines}", name(info)));
    }
}

fn name(info: &proto::ParticipantInfo) -> String {
    format!("{} {} ({})", info.identity, info.sid, info.state().as_str_name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(sid: &str, identity: &str, version: u32, state: State) -> proto::ParticipantInfo {
        proto::ParticipantInfo {
            sid: sid.to_owned(),
            identity: identity.to_owned(),
            version,
            state: state.into(),
            ..Default::default()
        }
    }

    /// What is found when a watcher is told this and somebody is present then.
    fn found(
        readers: &[Reader],
        told: &[proto::ParticipantInfo],
        present: &[proto::ParticipantInfo],
    ) -> Vec<String> {
        let own = info("PA_w", "watcher", 1, State::Active);
        let join = proto::JoinResponse {
            participant: Some(own.clone()),
            ..Default::default()
        };
        let joining = Joining {
            identity: "watcher".to_owned(),
            session: String::new(),
            resumes: false,
            readers: readers.to_vec(),
        };
        let mut checker = RosterChecker::default();
        let connection = ConnectionId(1);
        checker.clients.insert(connection, Client::new(joining, &join));
        let update = proto::ParticipantUpdate {
            participants: told.to_vec(),
        };
        checker.told(connection, &Response::Update(update));
        let mut present = present.to_vec();
        present.push(own);
        checker.check(&present)
    }

    const ALL: [Reader; 3] = [Reader::Identity, Reader::IdentityAndSession, Reader::Session];

    #[test]
    fn whom_nobody_told_of_leaving_is_seen() {
        let here = info("PA_1", "ann", 1, State::Active);
        assert_eq!(
            found(&ALL, std::slice::from_ref(&here), std::slice::from_ref(&here)),
            [""; 0]
        );
        assert_eq!(found(&ALL, &[here], &[]).len(), 3);
    }

    #[test]
    fn whom_nobody_told_of_coming_is_seen() {
        let here = info("PA_1", "ann", 1, State::Active);
        assert_eq!(found(&ALL, &[], &[here]).len(), 3);
    }

    #[test]
    fn the_end_of_an_older_session_behind_a_newer_one_is_seen() {
        let old = info("PA_1", "ann", 3, State::Disconnected);
        let new = info("PA_2", "ann", 1, State::Active);
        let in_order = [old.clone(), new.clone()];
        assert_eq!(found(&ALL, &in_order, std::slice::from_ref(&new)), [""; 0]);
        let reversed = [new.clone(), old];
        // Clients that know sessions take it as it is meant.
        assert_eq!(found(&ALL, &reversed, &[new]).len(), 2);
    }

    #[test]
    fn a_session_that_another_one_replaced_without_a_word_is_seen_by_who_knows_sessions() {
        let old = info("PA_1", "ann", 1, State::Active);
        let new = info("PA_2", "ann", 1, State::Active);
        let wrong = found(&ALL, &[old, new.clone()], &[new]);
        assert_eq!(wrong, ["watcher (Session) shows ann PA_1 (ACTIVE), who is gone"]);
    }

    #[test]
    fn an_older_state_that_is_told_last_is_seen() {
        let mut first = info("PA_1", "ann", 1, State::Active);
        first.name = "Ann".to_owned();
        let second = info("PA_1", "ann", 2, State::Active);
        let told = [second.clone(), first];
        // Clients that look at versions pass it over.
        assert_eq!(
            found(&[Reader::Identity], &told, std::slice::from_ref(&second)),
            [""; 0]
        );
        assert_eq!(found(&ALL, &told, &[second]).len(), 2);
    }

    #[test]
    fn who_hid_and_is_still_shown_is_seen() {
        let here = info("PA_1", "ann", 1, State::Active);
        let mut hidden = here.clone();
        hidden.permission = Some(proto::ParticipantPermission {
            hidden: true,
            ..Default::default()
        });
        assert_eq!(found(&ALL, &[here], &[hidden]).len(), 3);
    }
}
