//! The participants of random calls: they publish, some of them video with a backup codec, and they
//! answer what they are offered, some of them without the codec of that video.

use crate::sdp::{self, Section};
use crate::world::{Client, World, camera, microphone, wish, wish_single};
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use room::{ApiCall, ApiReply, Join};
use std::collections::BTreeSet;
use testkit::rng::Rng;

pub struct Actor {
    pub client: Client,
    pub identity: String,
    lacks_vp9: bool,
    /// Client ids of what was announced.
    tracks: BTreeSet<String>,
    /// In the order of its descriptions, which never changes.
    sections: Vec<Section>,
    offers: u32,
}

/// Sections past which nobody offers more to receive on.
const SECTIONS_MAX: usize = 24;

pub struct Crowd {
    pub world: World,
    pub rng: Rng,
    pub actors: Vec<Actor>,
}

impl Crowd {
    pub fn new(seed: u64) -> Self {
        Self {
            world: World::new(),
            rng: Rng::new(seed),
            actors: Vec::new(),
        }
    }

    pub fn roll(&mut self, sides: u64) -> usize {
        usize::try_from(self.rng.below(sides)).unwrap()
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.rng.below(100) < percent
    }

    /// Somebody who is there.
    pub fn pick(&mut self) -> Option<usize> {
        let count = u64::try_from(self.actors.len()).unwrap();
        (count > 0).then(|| self.roll(count))
    }

    /// A join with one or two peer connections, which of the `names` may be there already.
    pub fn wish(&mut self, names: u64) -> Join {
        let identity = format!("p{}", self.roll(names));
        match self.chance(50) {
            true => wish_single(&identity, self.roll(4), self.roll(4)),
            false => wish(&identity),
        }
    }

    /// Joins, in place of who has the name, and connects or not.
    pub fn join(&mut self, join: Join, connects: bool) {
        let identity = join.claims.identity.clone();
        let sections = match &join.publisher_offer {
            Some(offer) => {
                let count = |kind| offer.sdp.matches(kind).count();
                sdp::receiving(count("m=audio"), count("m=video"))
            }
            None => vec![Section::data()],
        };
        self.actors.retain(|actor| actor.identity != identity);
        let client = match connects {
            true => self.world.enter(join),
            false => self.world.join(join),
        };
        let lacks_vp9 = self.chance(50);
        self.actors.push(Actor {
            sections,
            client,
            identity,
            lacks_vp9,
            tracks: BTreeSet::new(),
            offers: 1,
        });
    }

    pub fn request(&mut self, index: usize, message: Request) {
        self.world.request(&self.actors[index].client, message);
    }

    pub fn infos(&mut self) -> Vec<proto::ParticipantInfo> {
        match self.world.api(ApiCall::ListParticipants) {
            Ok(ApiReply::Participants(infos)) => infos,
            other => panic!("{other:?}"),
        }
    }

    /// Announces a track, perhaps under a client id that is taken.
    pub fn announce(&mut self, index: usize, source: proto::TrackSource) {
        use proto::TrackSource::{Camera, ScreenShare};
        let cid = format!("cid{}", self.roll(6));
        let mut request = match source {
            Camera | ScreenShare => camera(&cid),
            _ => microphone(&cid),
        };
        request.source = source.into();
        request.muted = self.chance(20);
        if request.r#type() == proto::TrackType::Video && self.chance(60) {
            let backup = request.simulcast_codecs[0].clone();
            request.simulcast_codecs[0].codec = "vp9".to_owned();
            request.simulcast_codecs.push(proto::SimulcastCodec {
                codec: "h264".to_owned(),
                cid: String::new(),
                ..backup
            });
            request.backup_codec_policy = i32::try_from(self.roll(3)).unwrap();
        }
        self.add(index, request);
    }

    fn add(&mut self, index: usize, request: proto::AddTrackRequest) {
        let actor = &mut self.actors[index];
        if actor.tracks.insert(request.cid.clone()) {
            actor.sections.push(Section::of(&request));
        }
        self.request(index, Request::AddTrack(request));
    }

    /// Offers all that somebody announced, some of it stopped.
    pub fn offer(&mut self, index: usize) {
        let actor = &mut self.actors[index];
        actor.offers += 1;
        let (id, mut sections) = (actor.offers, actor.sections.clone());
        for section in &mut sections {
            if !section.cid.is_empty() && self.chance(12) {
                section.direction = "inactive";
            }
        }
        self.request(index, Request::Offer(sdp::offer(id, &sections)));
    }

    /// Hands on what everybody was told. Clients are gone when they were told to be, answer offers,
    /// mostly, and add the backup codecs of their tracks, at times.
    pub fn listen(&mut self, mut told: impl FnMut(&Response)) {
        for index in (0..self.actors.len()).rev() {
            let client = self.actors[index].client.clone();
            let messages = self.world.take(&client);
            messages.iter().for_each(&mut told);
            if messages
                .iter()
                .any(|message| matches!(message, Response::Leave(_)))
            {
                self.actors.remove(index);
                continue;
            }
            let lacks: &[&str] = if self.actors[index].lacks_vp9 {
                &["VP9"]
            } else {
                &[]
            };
            let answer = messages.iter().rev().find_map(|message| match message {
                Response::Offer(offer) => Some(sdp::without(sdp::answer_to(offer), lacks)),
                _ => None,
            });
            if let Some(answer) = answer.filter(|_| self.chance(95)) {
                self.request(index, Request::Answer(answer));
            }
            for message in messages {
                if let Response::MediaSectionsRequirement(need) = &message
                    && self.actors[index].sections.len() < SECTIONS_MAX
                {
                    let count = |need: u32| usize::try_from(need.min(3)).unwrap();
                    let more = sdp::receiving(count(need.num_audios), count(need.num_videos));
                    self.actors[index].sections.extend(more.into_iter().skip(1));
                    self.offer(index);
                }
                if let Response::TrackPublished(published) = message
                    && let Some(track) = published.track.filter(|track| track.codecs.len() > 1)
                    && track.codecs[1].cid.is_empty()
                    && self.chance(60)
                {
                    let mut further = camera(&format!("{}-backup", published.cid));
                    further.sid = track.sid;
                    further.simulcast_codecs[0].codec = "h264".to_owned();
                    self.add(index, further);
                }
            }
        }
    }
}
