//! How the clients of a simulation come to their connections, and back to them.

use super::{ROOM, Sim};
use crate::client::Client;
use crate::network::Link;
use media::api::{Command, PeerKey, ThreadId, make_ufrag};
use peer::{Candidate, CandidateKind, ChannelSpec, DtlsRole, IceCredentials, Peer, PeerInit, Remote, Shared};
use std::net::SocketAddr;
use std::time::Duration;

impl Sim {
    /// A client on a thread, with both descriptions and candidates exchanged.
    pub fn add_client(&mut self, thread: u8) -> usize {
        let serial = self.serial();
        let thread = ThreadId(thread);
        let key = PeerKey::new(thread, ROOM, serial);
        let address = SocketAddr::from(([192, 0, 2, serial as u8], 5000 + serial as u16));
        let server = self.threads[usize::from(thread.0)].address;
        let server_ice = credentials(&make_ufrag(thread, &format!("srv{serial:05}")));
        let client_ice = credentials(&format!("cli{serial:05}"));
        self.network.set_access(address, Link::default(), Link::default());
        let init = PeerInit {
            ice: client_ice.clone(),
            ice_lite: false,
            ice_controlling: true,
            local: vec![(0, host(address))],
            seed: self.seed ^ u64::from(serial),
        };
        let mut peer = Peer::new(self.shared[1].clone(), init, self.now);
        let described = remote(&server_ice, &self.shared[0], DtlsRole::Client);
        peer.set_remote(self.now, described);
        peer.add_remote_candidate(host(server));
        let described = remote(&client_ice, &self.shared[1], DtlsRole::Server);
        let commands = [
            Command::AddPeer {
                peer: key,
                ice: server_ice,
                ice_lite: false,
                ice_controlling: false,
                seed: self.seed ^ u64::from(serial) << 32,
            },
            Command::SetRemote {
                peer: key,
                remote: described,
            },
            Command::AddCandidate {
                peer: key,
                candidate: host(address),
            },
        ];
        for command in commands {
            self.command(thread, command);
        }
        self.clients.push(Client::new(peer, address));
        self.keys.push(key);
        self.clients.len() - 1
    }

    /// The user name fragment on which the server listens for a client: it travels in the clear.
    #[must_use]
    pub fn server_fragment(&self, client: usize) -> String {
        let serial = self.clients[client].address.port() - 5000;
        make_ufrag(self.key(client).thread(), &format!("srv{serial:05}"))
    }

    /// Opens the channels of a client as clients do.
    pub fn open_channels(&mut self, client: usize) {
        let channel = |label: &str, ordered, max_retransmits| ChannelSpec {
            label: label.to_owned(),
            ordered,
            max_retransmits,
            negotiated: None,
        };
        let peer = &mut self.clients[client].peer;
        peer.open_channel(channel("_lossy", false, Some(0)));
        peer.open_channel(channel("_reliable", true, None));
        peer.open_channel(channel("_data_track", false, Some(0)));
    }

    /// Both sides restart ICE, with descriptions and candidates exchanged.
    pub fn restart_ice(&mut self, client: usize) {
        let (key, generation) = (self.keys[client], self.serial());
        let server = self.threads[usize::from(key.thread().0)].address;
        let server_ice = credentials(&make_ufrag(key.thread(), &format!("again{generation:03}")));
        let client_ice = credentials(&format!("again{generation:03}"));
        let address = self.clients[client].address;
        let commands = [
            Command::RestartIce {
                peer: key,
                ice: server_ice.clone(),
            },
            Command::SetRemote {
                peer: key,
                remote: remote(&client_ice, &self.shared[1], DtlsRole::Server),
            },
            Command::AddCandidate {
                peer: key,
                candidate: host(address),
            },
        ];
        for command in commands {
            self.command(key.thread(), command);
        }
        let described = remote(&server_ice, &self.shared[0], DtlsRole::Client);
        let peer = &mut self.clients[client].peer;
        peer.restart_ice(client_ice);
        peer.set_remote(self.now, described);
        peer.add_remote_candidate(host(server));
    }

    /// Runs until all clients are connected.
    ///
    /// # Panics
    /// When that takes longer than 10 s.
    pub fn connect(&mut self) {
        let deadline = self.now + Duration::from_secs(10);
        while !self.clients.iter().all(|client| client.peer.is_connected()) {
            assert!(self.now < deadline, "clients do not connect");
            self.run_for(Duration::from_millis(10));
        }
        self.run_for(Duration::from_millis(200));
    }
}

fn remote(ice: &IceCredentials, shared: &Shared, dtls_role: DtlsRole) -> Remote {
    Remote {
        ice: ice.clone(),
        fingerprint: shared.fingerprint().into(),
        dtls_role,
        ice_lite: false,
        sctp: Some(peer::SctpRemote {
            port: peer::SctpRemote::PORT,
            message_len_max: 65_535,
        }),
    }
}

fn credentials(ufrag: &str) -> IceCredentials {
    IceCredentials {
        ufrag: ufrag.to_owned(),
        pwd: format!("{ufrag}-password-of-24-chars"),
    }
}

fn host(address: SocketAddr) -> Candidate {
    Candidate {
        address,
        priority: 2_130_706_431,
        foundation: "1".to_owned(),
        kind: CandidateKind::Host,
    }
}
