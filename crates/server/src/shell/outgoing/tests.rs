//! Order, replacement and bounds of what waits for a connection.

use super::*;
use proptest::prelude::*;
use protocol::proto;
use protocol::proto::signal_response::Message as Response;
use std::collections::BTreeMap;

/// A queue and the room that it belongs to.
struct World {
    backlog: Arc<Backlog>,
    sender: OutgoingSender,
    receiver: OutgoingReceiver,
}

impl World {
    fn new() -> Self {
        let (sender, receiver) = outgoing();
        Self {
            backlog: Arc::new(Backlog::default()),
            sender,
            receiver,
        }
    }

    /// Of a client that does not keep up: of what it still has to read, the test sees what comes then.
    fn behind() -> Self {
        let world = Self::new();
        world.queue((0..FILLERS).map(|_| filler()));
        world
    }

    fn message(&self, response: Response) -> Outgoing {
        let response = proto::SignalResponse {
            message: Some(response),
        };
        Outgoing::Message(SignalMessage::new(&response, &self.backlog))
    }

    fn send(&self, response: Response) -> Result<Queued, SendError> {
        self.sender.send(self.message(response), &self.backlog)
    }

    fn queue(&self, responses: impl IntoIterator<Item = Response>) {
        for response in responses {
            self.send(response).expect("there is room");
        }
    }

    fn read(&mut self) -> Option<Response> {
        match self.receiver.try_recv()?.outgoing {
            Outgoing::Message(message) => message.response()?.message,
            other @ (Outgoing::Refuse(_) | Outgoing::Busy | Outgoing::Close) => panic!("{other:?}"),
        }
    }

    fn read_all(&mut self) -> Vec<Response> {
        std::iter::from_fn(|| self.read())
            .filter(|response| *response != filler())
            .collect()
    }
}

/// Events that a client has not read: more than one that keeps up has.
const FILLERS: usize = 64;

fn filler() -> Response {
    Response::Pong(1)
}

fn info(sid: &str, metadata: &str) -> proto::ParticipantInfo {
    proto::ParticipantInfo {
        sid: sid.to_owned(),
        metadata: metadata.to_owned(),
        ..Default::default()
    }
}

fn update(infos: &[(&str, &str)]) -> Response {
    let infos = infos.iter().map(|(sid, metadata)| info(sid, metadata));
    Response::Update(proto::ParticipantUpdate {
        participants: infos.collect(),
    })
}

fn left(sid: &str) -> Response {
    let gone = proto::ParticipantInfo {
        state: proto::participant_info::State::Disconnected.into(),
        ..info(sid, "")
    };
    Response::Update(proto::ParticipantUpdate {
        participants: vec![gone],
    })
}

fn offer(sdp: &str) -> Response {
    Response::Offer(proto::SessionDescription {
        sdp: sdp.to_owned(),
        ..Default::default()
    })
}

fn handles(handle: u32) -> Response {
    Response::DataTrackSubscriberHandles(proto::DataTrackSubscriberHandles {
        sub_handles: [(handle, Default::default())].into(),
    })
}

fn permission(track: &str, allowed: bool) -> Response {
    Response::SubscriptionPermissionUpdate(proto::SubscriptionPermissionUpdate {
        track_sid: track.to_owned(),
        allowed,
        ..Default::default()
    })
}

#[test]
fn whatever_is_read_at_once_comes_as_it_was_sent() {
    let mut world = World::new();
    let all = [
        update(&[("a", "1")]),
        update(&[("a", "2"), ("b", "1")]),
        offer("1"),
        update(&[("a", "3")]),
        update(&[("a", "4")]),
        handles(1),
        handles(2),
        Response::RefreshToken("t".to_owned()),
        Response::RefreshToken("u".to_owned()),
    ];
    for response in &all {
        assert_eq!(world.send(response.clone()), Ok(Queued::New));
        assert_eq!(world.read().as_ref(), Some(response));
    }
    assert_eq!(world.read(), None);
    // Requests in a row have their answers in a row, though nobody reads in between.
    world.queue(all.clone());
    assert_eq!(world.read_all(), all);
    assert_eq!(world.backlog.bytes(), 0);
}

#[test]
fn a_newer_state_of_a_participant_stands_where_an_offer_needs_it() {
    let mut world = World::behind();
    world.queue([
        update(&[("a", "with a track")]),
        offer("with its section"),
        update(&[("b", "1")]),
    ]);
    assert_eq!(
        world.send(update(&[("a", "with a track, and muted")])),
        Ok(Queued::Replaced)
    );
    assert_eq!(
        world.read_all(),
        [
            update(&[("a", "with a track, and muted")]),
            offer("with its section"),
            update(&[("b", "1")]),
        ]
    );
}

#[test]
fn within_a_batch_only_what_changed_is_replaced() {
    let mut world = World::behind();
    world.queue([
        update(&[("a", "1"), ("b", "1"), ("c", "1")]),
        offer("x"),
        update(&[("b", "2"), ("d", "1"), ("c", "2")]),
        update(&[("d", "2"), ("b", "3")]),
        update(&[("a", "2")]),
    ]);
    assert_eq!(
        world.read_all(),
        [
            update(&[("a", "2"), ("b", "3"), ("c", "2")]),
            offer("x"),
            update(&[("d", "2")]),
        ]
    );
    assert_eq!(world.backlog.bytes(), 0);
}

#[test]
fn an_identity_that_comes_back_is_told_behind_the_end_of_its_old_session() {
    let mut world = World::behind();
    world.queue([
        update(&[("old", "here")]),
        offer("x"),
        left("old"),
        update(&[("new", "1")]),
        update(&[("new", "2")]),
    ]);
    assert_eq!(
        world.read_all(),
        [left("old"), offer("x"), update(&[("new", "2")])]
    );
}

#[test]
fn handles_come_behind_the_announcement_of_what_they_name() {
    let mut world = World::behind();
    world.queue([handles(1), update(&[("a", "with a data track")]), handles(2)]);
    assert_eq!(
        world.read_all(),
        [update(&[("a", "with a data track")]), handles(2)]
    );
}

fn room(metadata: &str) -> Response {
    Response::RoomUpdate(proto::RoomUpdate {
        room: Some(proto::Room {
            metadata: metadata.to_owned(),
            ..Default::default()
        }),
    })
}

fn speaker(level: f32) -> Response {
    Response::SpeakersChanged(proto::SpeakersChanged {
        speakers: vec![proto::SpeakerInfo {
            sid: "a".to_owned(),
            level,
            active: true,
        }],
    })
}

fn quality(score: f32) -> Response {
    Response::ConnectionQuality(proto::ConnectionQualityUpdate {
        updates: vec![proto::ConnectionQualityInfo {
            participant_sid: "a".to_owned(),
            score,
            ..Default::default()
        }],
    })
}

fn sections(num_audios: u32) -> Response {
    Response::MediaSectionsRequirement(proto::MediaSectionsRequirement {
        num_audios,
        num_videos: 0,
    })
}

fn wanted_video(codecs: usize) -> Response {
    Response::SubscribedQualityUpdate(proto::SubscribedQualityUpdate {
        track_sid: "t".to_owned(),
        subscribed_codecs: vec![Default::default(); codecs],
        ..Default::default()
    })
}

fn wanted_audio(codecs: usize) -> Response {
    Response::SubscribedAudioCodecUpdate(proto::SubscribedAudioCodecUpdate {
        track_sid: "t".to_owned(),
        subscribed_audio_codecs: vec![Default::default(); codecs],
    })
}

/// Every kind of state but those of the tests above, the n-th time.
fn states(round: u8) -> [Response; 9] {
    [
        room(&round.to_string()),
        speaker(round.into()),
        quality(round.into()),
        permission("t", round.is_multiple_of(2)),
        permission("u", !round.is_multiple_of(2)),
        wanted_video(round.into()),
        wanted_audio(round.into()),
        Response::RefreshToken(round.to_string()),
        sections(round.into()),
    ]
}

#[test]
fn each_state_waits_once_and_events_all() {
    let mut world = World::behind();
    for round in 1..=50 {
        world.queue(states(round));
    }
    world.queue([offer("1"), offer("1")]);
    let mut expected = states(50).to_vec();
    expected.extend([offer("1"), offer("1")]);
    assert_eq!(world.read_all(), expected);
}

#[test]
fn what_another_one_changes_never_cuts_and_events_are_bounded_in_bytes_and_number() {
    let world = World::new();
    let metadata = "m".repeat(500_000);
    for round in 0..1_000 {
        let metadata = format!("{round}{metadata}");
        assert!(world.send(update(&[("a", &metadata)])).is_ok());
    }
    assert!(world.backlog.bytes() < 510_000, "{}", world.backlog.bytes());

    let world = World::new();
    for _ in 0..MESSAGES_MAX {
        assert_eq!(world.send(offer("x")), Ok(Queued::New));
    }
    assert_eq!(world.send(offer("x")), Err(SendError::Full));

    let mut world = World::new();
    let long = "x".repeat(5 << 20);
    // However long the first answer is.
    assert_eq!(world.send(offer(&"x".repeat(14 << 20))), Ok(Queued::New));
    for _ in 0..3 {
        assert_eq!(world.send(offer(&long)), Ok(Queued::New));
    }
    assert!(world.read().is_some() && world.read().is_some());
    assert_eq!(world.send(offer(&long)), Ok(Queued::New));
    assert_eq!(world.send(offer(&long)), Err(SendError::Full));
    // Nothing of it is sent any more, nor kept.
    assert_eq!((world.read(), world.backlog.bytes()), (None, 0));
    world.receiver.close();
    assert_eq!(
        world.sender.send(Outgoing::Close, &world.backlog),
        Err(SendError::Gone)
    );
}

#[test]
fn under_pressure_those_are_cut_for_whom_much_waits_by_their_own_doing() {
    let world = World::new();
    let (other, _reads_later) = outgoing();
    let half = "x".repeat(EVENT_BYTES_HIGH / 2);
    for _ in 0..4 {
        assert_eq!(world.send(offer(&half)), Ok(Queued::New));
    }
    world.backlog.add(40 << 20);
    for _ in 0..2 {
        let small = world.message(offer("small"));
        assert_eq!(other.send(small, &world.backlog), Ok(Queued::New));
    }
    assert_eq!(world.send(offer("one more")), Err(SendError::Full));
}

#[test]
fn what_was_queued_is_freed_with_its_reader() {
    let world = World::new();
    world.queue([offer("x"), update(&[("a", "1")])]);
    let World {
        receiver, backlog, ..
    } = world;
    assert!(backlog.bytes() > 0);
    drop(receiver);
    assert_eq!(backlog.bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_changed_all_the_time_is_as_old_as_its_first_state() {
    let mut world = World::behind();
    let began = Instant::now();
    world.queue([update(&[("a", "1")]), handles(1)]);
    for round in 0..10 {
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        world.queue([update(&[("a", &round.to_string())]), handles(round)]);
    }
    for _ in 0..FILLERS + 2 {
        let taken = world.receiver.recv().await.expect("it waits");
        assert_eq!(taken.since, began);
    }
    assert!(world.receiver.try_recv().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_may_not_have_arrived_is_known_from_the_last_one_taken_on() {
    let mut world = World::new();
    assert_eq!(world.sender.unread_since(), None);
    let second = std::time::Duration::from_secs(1);
    let began = Instant::now();
    for number in ["1", "2", "3"] {
        world.queue([offer(number)]);
        tokio::time::advance(second).await;
    }
    assert_eq!(world.sender.unread_since(), Some(began));
    // The one that is being written may be lost with all behind it.
    let _ = (world.read(), world.read());
    assert_eq!(world.sender.unread_since(), Some(began + second));
    drop(world.receiver);
    assert_eq!(world.sender.unread_since(), Some(began + second));
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_is_known_not_to_have_arrived() {
    let second = std::time::Duration::from_secs(1);
    let began = Instant::now();
    // Nobody reads any more.
    let gone = World::new();
    gone.queue([offer("1")]);
    // The client does not keep up.
    let cut = World::new();
    cut.queue((0..MESSAGES_MAX).map(|_| filler()));
    tokio::time::advance(second).await;
    drop(gone.receiver);
    assert_eq!(cut.send(filler()), Err(SendError::Full));
    for sender in [gone.sender, cut.sender] {
        assert_eq!(sender.unread_since(), Some(began));
    }
}

/// What a client knows after it has read something.
#[derive(Debug, Default, PartialEq)]
struct View {
    participants: BTreeMap<String, String>,
    permissions: BTreeMap<String, bool>,
    handles: Option<u32>,
    token: String,
    offers: Vec<String>,
}

impl View {
    #[expect(clippy::wildcard_enum_match_arm, reason = "what the test never sends")]
    fn take(&mut self, response: Response) {
        match response {
            Response::Update(update) => {
                for info in update.participants {
                    if info.state() == proto::participant_info::State::Disconnected {
                        self.participants.remove(&info.sid);
                    } else {
                        self.participants.insert(info.sid, info.metadata);
                    }
                }
            }
            Response::SubscriptionPermissionUpdate(update) => {
                self.permissions.insert(update.track_sid, update.allowed);
            }
            Response::DataTrackSubscriberHandles(told) => {
                self.handles = told.sub_handles.keys().next().copied();
            }
            Response::RefreshToken(token) => self.token = token,
            Response::Offer(offer) => self.offers.push(offer.sdp),
            other => panic!("{other:?}"),
        }
    }
}

fn anything() -> impl Strategy<Value = Response> {
    let sid = || prop::sample::select(vec!["a", "b", "c", "d"]);
    let infos = prop::collection::vec((sid(), "[a-z]{0,3}"), 1..4);
    prop_oneof![
        4 => infos.prop_map(|mut infos| {
            infos.sort_unstable();
            infos.dedup_by_key(|(sid, _)| *sid);
            let infos: Vec<_> = infos.iter().map(|(sid, text)| (*sid, text.as_str())).collect();
            update(&infos)
        }),
        1 => sid().prop_map(left),
        1 => (sid(), any::<bool>()).prop_map(|(sid, allowed)| permission(sid, allowed)),
        1 => (1..9_u32).prop_map(handles),
        1 => "[a-z]{1,3}".prop_map(Response::RefreshToken),
        2 => "[a-z]{1,3}".prop_map(|sdp| offer(&sdp)),
    ]
}

proptest! {
    #[test]
    fn who_reads_late_knows_in_the_end_what_prompt_readers_know(
        steps in prop::collection::vec((anything(), prop::bool::weighted(0.3)), 0..120)
    ) {
        let (mut prompt, mut late) = (World::new(), World::new());
        // Some wait as they came, some are replaced.
        late.queue((0..20).map(|_| filler()));
        let (mut known, mut known_late) = (View::default(), View::default());
        for (response, reads) in steps {
            prompt.queue([response.clone()]);
            prompt.read_all().into_iter().for_each(|response| known.take(response));
            late.queue([response]);
            if reads && let Some(response) = late.read() && response != filler() {
                known_late.take(response);
            }
        }
        late.read_all().into_iter().for_each(|response| known_late.take(response));
        prop_assert_eq!(known, known_late);
        prop_assert_eq!((prompt.backlog.bytes(), late.backlog.bytes()), (0, 0));
    }
}
