//! Random participants do random things: nothing panics, nothing leaks, and nobody is sent what it
//! may not have.

use crate::sdp::{self, Section};
use crate::world::{Client, World, camera, grant, microphone, wish, wish_single};
use media::api::{ChannelLabel, Command, DownKey, EventKind, PeerKey, TrackKey};
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use std::collections::{BTreeMap, BTreeSet};
use testkit::rng::Rng;

fn roll(rng: &mut Rng, sides: usize) -> usize {
    let sides = u64::try_from(sides).unwrap();
    usize::try_from(rng.below(sides)).unwrap()
}

struct Actor {
    client: Client,
    identity: String,
    single: bool,
    tracks: Vec<proto::AddTrackRequest>,
    offers: u32,
    announced: usize,
}

/// What the media plane would know, kept from the commands.
#[derive(Default)]
struct Plane {
    peers: BTreeSet<PeerKey>,
    tracks: BTreeSet<TrackKey>,
    downs: BTreeMap<DownKey, (PeerKey, TrackKey)>,
    seen: usize,
    /// How often a copy was made: the test must reach its subject.
    copies: usize,
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
                    peer, down, track, ..
                } => {
                    assert!(self.peers.contains(peer), "the subscriber is there");
                    assert!(self.tracks.contains(track), "the track is there");
                    self.downs.insert(*down, (*peer, *track));
                    self.copies += 1;
                }
                Command::Unsubscribe { down } => {
                    self.downs.remove(down);
                }
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
    world: World,
    plane: Plane,
    rng: Rng,
    actors: Vec<Actor>,
}

impl Churn {
    fn step(&mut self) {
        match roll(&mut self.rng, 16) {
            0 | 1 if self.actors.len() < 8 => self.join(),
            2 => self.leave(),
            3..=5 => self.announce(),
            6..=8 => self.offer(),
            9 => self.start_tracks(),
            10 | 11 => self.subscribe(),
            12 => self.permit(),
            13 => self.data(),
            14 => self.mute_or_settings(),
            _ => {
                let ms = u64::try_from(roll(&mut self.rng, 400)).unwrap();
                self.world.pass_ms(ms);
            }
        }
        self.answer_offers();
        self.plane.follow(&self.world);
        self.check();
    }

    fn join(&mut self) {
        let identity = format!("p{}", roll(&mut self.rng, 10));
        let single = roll(&mut self.rng, 2) == 0;
        let mut join = match single {
            true => wish_single(&identity, roll(&mut self.rng, 3), roll(&mut self.rng, 3)),
            false => wish(&identity),
        };
        join.settings.auto_subscribe = roll(&mut self.rng, 4) > 0;
        join.settings.auto_subscribe_data_track = roll(&mut self.rng, 2) == 0;
        grant(&mut join).hidden = roll(&mut self.rng, 5) == 0;
        join.placement.thread = media::api::ThreadId(u8::try_from(roll(&mut self.rng, 2)).unwrap());
        self.actors.retain(|actor| actor.identity != identity);
        let client = self.world.join(join);
        if roll(&mut self.rng, 8) > 0 {
            self.world.connect(&client);
        }
        self.actors.push(Actor {
            client,
            identity,
            single,
            tracks: Vec::new(),
            offers: 1,
            announced: 0,
        });
    }

    fn pick(&mut self) -> Option<usize> {
        match self.actors.len() {
            0 => None,
            count => Some(roll(&mut self.rng, count)),
        }
    }

    fn leave(&mut self) {
        let Some(index) = self.pick() else { return };
        let actor = self.actors.remove(index);
        match roll(&mut self.rng, 3) {
            0 => self
                .world
                .request(&actor.client, Request::Leave(proto::LeaveRequest::default())),
            1 => self.world.apply(room::Action::SignalClosed {
                connection: actor.client.connection,
            }),
            _ => self.world.media(EventKind::PeerFailed {
                peer: actor.client.primary(),
            }),
        }
    }

    fn announce(&mut self) {
        let Some(index) = self.pick() else { return };
        let actor = &mut self.actors[index];
        actor.announced += 1;
        let cid = format!("cid{}", roll(&mut self.rng, actor.announced + 1));
        let request = match roll(&mut self.rng, 2) {
            0 => microphone(&cid),
            _ => camera(&cid),
        };
        if actor.tracks.len() < 4 && actor.tracks.iter().all(|track| track.cid != cid) {
            actor.tracks.push(request.clone());
        }
        self.world.request(&actor.client, Request::AddTrack(request));
    }

    fn offer(&mut self) {
        let Some(index) = self.pick() else { return };
        let actor = &mut self.actors[index];
        let mut sections = match actor.single {
            true => sdp::receiving(3, 3),
            false => vec![Section::data()],
        };
        let rng = &mut self.rng;
        sections.extend(actor.tracks.iter().map(|track| match roll(rng, 6) {
            0 => Section::of(track).with_direction("inactive"),
            _ => Section::of(track),
        }));
        actor.offers += 1;
        let offer = sdp::offer(actor.offers, &sections);
        self.world.request(&actor.client, Request::Offer(offer));
    }

    fn start_tracks(&mut self) {
        self.plane.follow(&self.world);
        let tracks: Vec<_> = self.plane.tracks.iter().copied().collect();
        for track in tracks {
            if roll(&mut self.rng, 2) == 0 {
                self.world.start_layer(track, 0);
            }
        }
    }

    fn some_sid(&mut self) -> String {
        let Ok(room::ApiReply::Participants(infos)) = self.world.api(room::ApiCall::ListParticipants) else {
            panic!("participants");
        };
        let mut sids: Vec<_> = infos
            .iter()
            .flat_map(|info| &info.tracks)
            .map(|track| track.sid.clone())
            .collect();
        sids.push("TR_none".to_owned());
        sids.swap_remove(roll(&mut self.rng, sids.len()))
    }

    fn subscribe(&mut self) {
        let Some(index) = self.pick() else { return };
        let update = proto::UpdateSubscription {
            track_sids: vec![self.some_sid()],
            subscribe: roll(&mut self.rng, 2) == 0,
            ..Default::default()
        };
        self.world
            .request(&self.actors[index].client, Request::Subscription(update));
    }

    fn permit(&mut self) {
        let Some(index) = self.pick() else { return };
        let request = proto::UpdateParticipantRequest {
            identity: self.actors[index].identity.clone(),
            permission: Some(proto::ParticipantPermission {
                can_subscribe: roll(&mut self.rng, 4) > 0,
                can_publish: roll(&mut self.rng, 4) > 0,
                can_publish_data: roll(&mut self.rng, 4) > 0,
                hidden: roll(&mut self.rng, 4) == 0,
                ..Default::default()
            }),
            ..Default::default()
        };
        let _ = self
            .world
            .api(room::ApiCall::UpdateParticipant(Box::new(request)));
        let rule = proto::SubscriptionPermission {
            all_participants: roll(&mut self.rng, 3) > 0,
            track_permissions: vec![proto::TrackPermission {
                participant_identity: format!("p{}", roll(&mut self.rng, 10)),
                all_tracks: true,
                ..Default::default()
            }],
        };
        self.world
            .request(&self.actors[index].client, Request::SubscriptionPermission(rule));
    }

    fn data(&mut self) {
        let Some(index) = self.pick() else { return };
        let client = self.actors[index].client.clone();
        let handle = u32::try_from(roll(&mut self.rng, 4)).unwrap();
        let request = proto::PublishDataTrackRequest {
            pub_handle: handle,
            name: format!("d{handle}"),
            ..Default::default()
        };
        self.world
            .request(&client, Request::PublishDataTrackRequest(request));
        let label = [
            ChannelLabel::Reliable,
            ChannelLabel::Lossy,
            ChannelLabel::DataTrack,
            ChannelLabel::Unlabelled,
        ][roll(&mut self.rng, 4)];
        let data = (0..roll(&mut self.rng, 40))
            .map(|_| u8::try_from(roll(&mut self.rng, 256)).unwrap())
            .collect();
        self.world.media(EventKind::Message {
            peer: client.publisher,
            label,
            data,
        });
    }

    fn mute_or_settings(&mut self) {
        let Some(index) = self.pick() else { return };
        let sid = self.some_sid();
        let client = self.actors[index].client.clone();
        let muted = roll(&mut self.rng, 2) == 0;
        self.world.request(
            &client,
            Request::Mute(proto::MuteTrackRequest {
                sid: sid.clone(),
                muted,
            }),
        );
        self.world.request(
            &client,
            Request::TrackSetting(proto::UpdateTrackSettings {
                track_sids: vec![sid],
                disabled: muted,
                width: u32::try_from(roll(&mut self.rng, 2_000)).unwrap(),
                height: u32::try_from(roll(&mut self.rng, 2_000)).unwrap(),
                ..Default::default()
            }),
        );
    }

    /// Clients answer what they were offered, and are gone when they were told to.
    fn answer_offers(&mut self) {
        for index in (0..self.actors.len()).rev() {
            let client = self.actors[index].client.clone();
            let messages = self.world.take(&client);
            if messages
                .iter()
                .any(|message| matches!(message, Response::Leave(_)))
            {
                self.actors.remove(index);
                continue;
            }
            let offer = messages.iter().rev().find_map(|message| match message {
                Response::Offer(offer) => Some(offer),
                _ => None,
            });
            if let Some(offer) = offer
                && roll(&mut self.rng, 20) > 0
            {
                self.world
                    .request(&client, Request::Answer(sdp::answer_to(offer)));
            }
        }
    }

    /// Every copy on the media plane has a subscriber that may have it now.
    fn check(&mut self) {
        let Ok(room::ApiReply::Participants(infos)) = self.world.api(room::ApiCall::ListParticipants) else {
            panic!("participants");
        };
        let may_subscribe: BTreeMap<_, _> = infos
            .iter()
            .map(|info| {
                let permission = info.permission.as_ref().expect("a permission");
                (info.identity.as_str(), permission.can_subscribe)
            })
            .collect();
        for (peer, _) in self.plane.downs.values() {
            for actor in &self.actors {
                if actor.client.primary() == *peer || actor.client.publisher == *peer {
                    assert_eq!(may_subscribe.get(actor.identity.as_str()), Some(&true));
                }
            }
        }
        let gauges = self.world.room.gauges();
        assert_eq!(gauges.participants, infos.len());
        assert_eq!(gauges.peers, self.plane.peers.len());
        assert!(gauges.downs >= self.plane.downs.len(), "no forgotten copies");
    }
}

#[test]
fn random_sessions_break_and_leak_nothing() {
    let mut copies = 0;
    for seed in 0..20 {
        let mut churn = Churn {
            world: World::new(),
            plane: Plane::default(),
            rng: Rng::new(seed),
            actors: Vec::new(),
        };
        churn.join();
        for _ in 0..300 {
            churn.step();
            if churn.world.over {
                break;
            }
        }
        if churn.world.over {
            continue;
        }
        let stay = churn.world.join(wish("stays"));
        churn.world.connect(&stay);
        churn.world.pass_ms(70_000);
        for number in 0..10 {
            let _ = churn.world.api(room::ApiCall::RemoveParticipant {
                identity: format!("p{number}"),
            });
        }
        churn.plane.follow(&churn.world);
        let gauges = churn.world.room.gauges();
        assert!(gauges.participants <= 1, "{gauges:?}");
        assert_eq!(
            (gauges.tracks, gauges.downs, gauges.data_tracks),
            (0, 0, 0),
            "seed {seed}"
        );
        assert!(gauges.timers <= 8, "{gauges:?}");
        assert!(churn.plane.downs.is_empty() && churn.plane.tracks.is_empty());
        copies += churn.plane.copies;
    }
    assert!(copies > 100, "only {copies} copies");
}
