//! Random participants do random things: nothing panics, nothing leaks, and nobody is sent what it
//! may not have.

use crate::crowd::Crowd;
use crate::world::{World, grant, wish};
use media::api::{ChannelLabel, Codec, Command, DownKey, EventKind, PeerKey, TrackKey};
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use std::collections::{BTreeMap, BTreeSet};

/// What the media plane would know, kept from the commands.
#[derive(Default)]
struct Plane {
    peers: BTreeSet<PeerKey>,
    tracks: BTreeSet<TrackKey>,
    downs: BTreeMap<DownKey, (PeerKey, TrackKey)>,
    seen: usize,
    /// How often a copy was made: the test must reach its subject.
    copies: usize,
    /// Copies of backup codecs among them.
    backups: usize,
}

impl Plane {
    fn follow(&mut self, world: &World) {
        for (thread, command) in &world.commands[self.seen..] {
            match command {
                Command::AddPeer { peer, .. } => {
                    assert_eq!(peer.thread(), *thread);
                    assert!(self.peers.insert(*peer), "a peer is added once");
                }
                Command::ClosePeer { peer } => {
                    assert!(self.peers.remove(peer), "a known peer is closed");
                    self.downs.retain(|_, (owner, _)| owner != peer);
                }
                Command::Publish { peer, track, .. } => {
                    assert!(self.peers.contains(peer));
                    self.tracks.insert(*track);
                }
                Command::Unpublish { track } => {
                    self.tracks.remove(track);
                }
                Command::Subscribe {
                    peer,
                    down,
                    track,
                    spec,
                    ..
                } => {
                    assert!(self.peers.contains(peer), "the subscriber is there");
                    let backup = spec.payloads[0].codec == Codec::H264;
                    self.backups += usize::from(backup);
                    assert!(
                        backup || self.tracks.contains(track),
                        "the track is there, or a backup that may come"
                    );
                    self.downs.insert(*down, (*peer, *track));
                    self.copies += 1;
                }
                Command::Unsubscribe { down } => {
                    self.downs.remove(down);
                }
                Command::MuteTrack { track, .. } => assert!(self.tracks.contains(track), "a known track"),
                Command::SetWish { down, .. } => assert!(self.downs.contains_key(down), "a known copy"),
                Command::SendMessage { peers, .. } => {
                    assert!(peers.iter().all(|peer| self.peers.contains(peer)));
                }
                Command::SendDataTrackPacket { receivers, .. } => {
                    assert!(receivers.iter().all(|(peer, _)| self.peers.contains(peer)));
                }
                _ => {}
            }
        }
        self.seen = world.commands.len();
    }
}

struct Churn {
    crowd: Crowd,
    plane: Plane,
}

impl Churn {
    fn step(&mut self) {
        match self.crowd.roll(16) {
            0 | 1 if self.crowd.actors.len() < 8 => self.join(),
            2 => self.leave(),
            3..=5 => self.announce(),
            6..=8 => self.offer(),
            9 => self.start_tracks(),
            10 | 11 => self.subscribe(),
            12 => self.permit(),
            13 => self.data(),
            14 => self.mute_or_settings(),
            _ => {
                let ms = u64::try_from(self.crowd.roll(400)).unwrap();
                self.crowd.world.pass_ms(ms);
            }
        }
        self.crowd.listen(|_| ());
        self.plane.follow(&self.crowd.world);
        self.check();
    }

    fn join(&mut self) {
        let crowd = &mut self.crowd;
        let mut join = crowd.wish(10);
        join.settings.auto_subscribe = crowd.chance(75);
        join.settings.auto_subscribe_data_track = crowd.chance(50);
        grant(&mut join).hidden = crowd.chance(20);
        join.placement.thread = media::api::ThreadId(u8::try_from(crowd.roll(2)).unwrap());
        let connects = crowd.chance(88);
        crowd.join(join, connects);
    }

    fn leave(&mut self) {
        let Some(index) = self.crowd.pick() else { return };
        let actor = self.crowd.actors.remove(index);
        match self.crowd.roll(3) {
            0 => self
                .crowd
                .world
                .request(&actor.client, Request::Leave(proto::LeaveRequest::default())),
            1 => self.crowd.world.apply(room::Action::SignalClosed {
                connection: actor.client.connection,
            }),
            _ => self.crowd.world.media(EventKind::PeerFailed {
                peer: actor.client.primary(),
            }),
        }
    }

    fn announce(&mut self) {
        let Some(index) = self.crowd.pick() else { return };
        let source = [proto::TrackSource::Microphone, proto::TrackSource::Camera][self.crowd.roll(2)];
        self.crowd.announce(index, source);
    }

    fn offer(&mut self) {
        if let Some(index) = self.crowd.pick() {
            self.crowd.offer(index);
        }
    }

    fn start_tracks(&mut self) {
        self.plane.follow(&self.crowd.world);
        let tracks: Vec<_> = self.plane.tracks.iter().copied().collect();
        for track in tracks {
            if self.crowd.roll(2) == 0 {
                self.crowd.world.start_layer(track, 0);
            }
        }
    }

    fn some_sid(&mut self) -> String {
        let infos = self.crowd.infos();
        let mut sids: Vec<_> = infos
            .iter()
            .flat_map(|info| &info.tracks)
            .map(|track| track.sid.clone())
            .collect();
        sids.push("TR_none".to_owned());
        let count = u64::try_from(sids.len()).unwrap();
        sids.swap_remove(self.crowd.roll(count))
    }

    fn subscribe(&mut self) {
        let Some(index) = self.crowd.pick() else { return };
        let update = proto::UpdateSubscription {
            track_sids: vec![self.some_sid()],
            subscribe: self.crowd.roll(2) == 0,
            ..Default::default()
        };
        self.crowd.request(index, Request::Subscription(update));
    }

    fn permit(&mut self) {
        let Some(index) = self.crowd.pick() else { return };
        let request = proto::UpdateParticipantRequest {
            identity: self.crowd.actors[index].identity.clone(),
            permission: Some(proto::ParticipantPermission {
                can_subscribe: self.crowd.roll(4) > 0,
                can_publish: self.crowd.roll(4) > 0,
                can_publish_data: self.crowd.roll(4) > 0,
                hidden: self.crowd.roll(4) == 0,
                ..Default::default()
            }),
            ..Default::default()
        };
        let _ = self
            .crowd
            .world
            .api(room::ApiCall::UpdateParticipant(Box::new(request)));
        let rule = proto::SubscriptionPermission {
            all_participants: self.crowd.roll(3) > 0,
            track_permissions: vec![proto::TrackPermission {
                participant_identity: format!("p{}", self.crowd.roll(10)),
                all_tracks: true,
                ..Default::default()
            }],
        };
        self.crowd.request(index, Request::SubscriptionPermission(rule));
    }

    fn data(&mut self) {
        let Some(index) = self.crowd.pick() else { return };
        let client = self.crowd.actors[index].client.clone();
        let handle = u32::try_from(self.crowd.roll(4)).unwrap();
        let request = proto::PublishDataTrackRequest {
            pub_handle: handle,
            name: format!("d{handle}"),
            ..Default::default()
        };
        self.crowd
            .world
            .request(&client, Request::PublishDataTrackRequest(request));
        let label = [
            ChannelLabel::Reliable,
            ChannelLabel::Lossy,
            ChannelLabel::DataTrack,
            ChannelLabel::Unlabelled,
        ][self.crowd.roll(4)];
        let data = (0..self.crowd.roll(40))
            .map(|_| u8::try_from(self.crowd.roll(256)).unwrap())
            .collect();
        self.crowd.world.media(EventKind::Message {
            peer: client.publisher,
            label,
            data,
        });
    }

    fn mute_or_settings(&mut self) {
        let Some(index) = self.crowd.pick() else { return };
        let sid = self.some_sid();
        let muted = self.crowd.chance(50);
        let mute = proto::MuteTrackRequest {
            sid: sid.clone(),
            muted,
        };
        self.crowd.request(index, Request::Mute(mute));
        let settings = proto::UpdateTrackSettings {
            track_sids: vec![sid],
            disabled: muted,
            width: u32::try_from(self.crowd.roll(2_000)).unwrap(),
            height: u32::try_from(self.crowd.roll(2_000)).unwrap(),
            ..Default::default()
        };
        self.crowd.request(index, Request::TrackSetting(settings));
    }

    /// Every copy on the media plane has a subscriber that may have it now.
    fn check(&mut self) {
        let infos = self.crowd.infos();
        let may_subscribe: BTreeMap<_, _> = infos
            .iter()
            .map(|info| {
                let permission = info.permission.as_ref().expect("a permission");
                (info.identity.as_str(), permission.can_subscribe)
            })
            .collect();
        for (peer, _) in self.plane.downs.values() {
            for actor in &self.crowd.actors {
                if actor.client.primary() == *peer || actor.client.publisher == *peer {
                    assert_eq!(may_subscribe.get(actor.identity.as_str()), Some(&true));
                }
            }
        }
        let gauges = self.crowd.world.room.gauges();
        assert_eq!(gauges.participants, infos.len());
        assert_eq!(gauges.peers, self.plane.peers.len());
        assert!(gauges.downs >= self.plane.downs.len(), "no forgotten copies");
    }
}

#[test]
fn random_sessions_break_and_leak_nothing() {
    let (mut copies, mut backups) = (0, 0);
    for seed in 0..20 {
        let mut churn = Churn {
            crowd: Crowd::new(seed),
            plane: Plane::default(),
        };
        churn.join();
        for _ in 0..300 {
            churn.step();
            if churn.crowd.world.over {
                break;
            }
        }
        if churn.crowd.world.over {
            continue;
        }
        let stay = churn.crowd.world.join(wish("stays"));
        churn.crowd.world.connect(&stay);
        churn.crowd.world.pass_ms(70_000);
        for number in 0..10 {
            let _ = churn.crowd.world.api(room::ApiCall::RemoveParticipant {
                identity: format!("p{number}"),
            });
        }
        churn.plane.follow(&churn.crowd.world);
        let gauges = churn.crowd.world.room.gauges();
        assert!(gauges.participants <= 1, "{gauges:?}");
        assert_eq!(
            (gauges.tracks, gauges.downs, gauges.data_tracks),
            (0, 0, 0),
            "seed {seed}"
        );
        assert!(gauges.timers <= 8, "{gauges:?}");
        assert!(churn.plane.downs.is_empty() && churn.plane.tracks.is_empty());
        copies += churn.plane.copies;
        backups += churn.plane.backups;
    }
    assert!(copies > 100, "only {copies} copies");
    assert!(backups > 10, "only {backups} copies of backups");
}
