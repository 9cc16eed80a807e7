//! The directory: name → room. Makes rooms, finds their mailboxes, hands media events to them.
//!
//! Callers do not know where a room is. Must not know: what happens inside a room.

use crate::clock;
use crate::config::Config;
use crate::counters::Counters;
use crate::media_pool::MediaPool;
use crate::shell::event_queue::{EventSender, Fate, event_queue};
use crate::shell::mailbox::Mailbox;
use crate::shell::room_task::{self, Input, RoomTask};
use media::api::{Event, RoomKey, ThreadId, ThreadInfo};
use protocol::proto;
use room::{Action, ApiCall, ApiError, ApiErrorCode, ApiReply, RoomConfig};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Told to clients when no STUN server is configured, as the reference does.
const PUBLIC_STUN: [&str; 3] = [
    "global.stun.twilio.com:3478",
    "stun.l.google.com:19302",
    "stun1.l.google.com:19302",
];

/// What a new room is told besides the defaults.
#[derive(Clone, Debug, Default)]
pub struct RoomWish {
    /// Settings of CreateRoom or of the token's `roomConfig`; zero fields keep the default.
    pub settings: proto::RoomConfiguration,
    /// Name of a preset.
    pub preset: String,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The preset that the wish names is not configured.
    UnknownPreset,
    /// There is none, and who asks may not make it.
    NotFound,
    /// The server stops.
    Stopping,
    /// There are as many rooms as may be, or their metadata takes all the memory that it may.
    Full,
}

/// Metadata of all rooms together. With up to 512 KiB each, whoever may make rooms could otherwise
/// fill the memory; more serves more rooms of long metadata.
const METADATA_BYTES_MAX: usize = 64 << 20;

/// All rooms of this process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rooms {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Where events go. Under a lock of its own: nothing that looks at all rooms delays an event.
    events: Mutex<HashMap<RoomKey, EventSender>>,
    pool: Arc<MediaPool>,
    config: Arc<Config>,
    counters: Arc<Counters>,
    server_info: proto::ServerInfo,
    /// Newcomers were refused at the last look.
    full: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    by_name: BTreeMap<String, Entry>,
    by_key: HashMap<RoomKey, Mailbox>,
    next_key: u32,
    stopping: bool,
    /// Metadata of all rooms.
    metadata_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    key: RoomKey,
    mailbox: Mailbox,
    /// Thread of the room's peers.
    home: Option<ThreadId>,
    /// What others are told of it; whoever lists rooms copies it when the directory is free again.
    listed: Option<Arc<proto::Room>>,
    metadata_bytes: usize,
}

impl Rooms {
    /// An empty directory.
    #[must_use]
    pub fn new(
        config: Arc<Config>,
        pool: Arc<MediaPool>,
        counters: Arc<Counters>,
        server_info: proto::ServerInfo,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                events: Mutex::default(),
                pool,
                config,
                counters,
                server_info,
                full: AtomicBool::new(false),
            }),
        }
    }

    /// Why no media can be served.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.shared.pool.vitals().problem()
    }

    /// Whether a room of that name is live.
    #[must_use]
    pub fn exists(&self, name: &str) -> bool {
        self.shared.lock().by_name.contains_key(name)
    }

    /// Whether there may be no room more.
    #[must_use]
    pub fn has_all_rooms(&self) -> bool {
        let most = self.shared.config.plenum.rooms_max;
        most > 0 && self.shared.lock().by_key.len() >= most
    }

    /// The mailbox of a room. If it does not exist yet it is made, with `may_create`.
    ///
    /// # Errors
    /// When there is no room and none may be made.
    pub fn open(&self, name: &str, wish: &RoomWish, may_create: bool) -> Result<Mailbox, OpenError> {
        let mut state = self.shared.lock();
        if state.stopping {
            return Err(OpenError::Stopping);
        }
        if let Some(entry) = state.by_name.get(name).filter(|entry| !entry.mailbox.is_closed()) {
            return Ok(entry.mailbox.clone());
        }
        if !may_create {
            return Err(OpenError::NotFound);
        }
        let most = self.shared.config.plenum.rooms_max;
        if most > 0 && state.by_key.len() >= most {
            return Err(OpenError::Full);
        }
        let key = RoomKey(state.next_key);
        let config = self.shared.room_config(key, name, wish)?;
        let metadata_bytes = config.metadata.len();
        if state.metadata_bytes + metadata_bytes > METADATA_BYTES_MAX {
            return Err(OpenError::Full);
        }
        state.metadata_bytes += metadata_bytes;
        state.next_key = state.next_key.wrapping_add(1);
        let (events, arrived) = event_queue();
        let (mailbox, inbox) = Mailbox::new(arrived);
        self.shared.events().insert(key, events);
        state.by_key.insert(key, mailbox.clone());
        let entry = Entry {
            key,
            mailbox: mailbox.clone(),
            home: None,
            listed: None,
            metadata_bytes,
        };
        // One that has ended and was not forgotten yet.
        let before = state.by_name.insert(name.to_owned(), entry);
        state.metadata_bytes -= before.map_or(0, |before| before.metadata_bytes);
        drop(state);
        tracing::info!(room = name, "room opened");
        let task = RoomTask {
            room: room::Room::new(config, clock::now(), clock::random_seed()),
            inbox,
            pool: Arc::clone(&self.shared.pool),
            keys: self.shared.config.keys.clone(),
            counters: Arc::clone(&self.shared.counters),
            exit: RoomExit {
                rooms: self.clone(),
                name: name.to_owned(),
                key,
                orderly: false,
            },
        };
        tokio::spawn(room_task::run(task));
        Ok(mailbox)
    }

    /// The media thread for a new participant of a room.
    #[must_use]
    pub fn place(&self, name: &str) -> ThreadInfo {
        let home = self.shared.lock().by_name.get(name).and_then(|entry| entry.home);
        let thread = self.shared.pool.place(home);
        if let Some(entry) = self.shared.lock().by_name.get_mut(name) {
            entry.home.get_or_insert(thread.thread);
        }
        thread
    }

    /// Whether the media threads have no time for anybody more. Said once each time that it begins.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let full = self.shared.pool.is_full();
        if full != self.shared.full.swap(full, Ordering::Relaxed) && full {
            tracing::warn!("all media threads are busy: newcomers are refused until they are not");
        }
        full
    }

    /// The rooms of these names, or all, in order of their names.
    #[must_use]
    pub fn list(&self, names: &BTreeSet<String>) -> Vec<Arc<proto::Room>> {
        let state = self.shared.lock();
        let listed = |entry: &Entry| entry.listed.clone();
        if names.is_empty() {
            return state.by_name.values().filter_map(listed).collect();
        }
        let found = names.iter().filter_map(|name| state.by_name.get(name));
        found.filter_map(listed).collect()
    }

    /// Rooms and their participants.
    #[must_use]
    pub fn count(&self) -> (u64, u64) {
        let rooms = self.list(&BTreeSet::new());
        let participants = rooms.iter().map(|room| u64::from(room.num_participants)).sum();
        (rooms.len() as u64, participants)
    }

    /// Whether a room's metadata may become this long.
    #[must_use]
    pub fn has_memory_for_metadata(&self, name: &str, bytes: usize) -> bool {
        let state = self.shared.lock();
        let own = state.by_name.get(name).map_or(0, |entry| entry.metadata_bytes);
        state.metadata_bytes - own + bytes <= METADATA_BYTES_MAX
    }

    /// Asks a live room.
    ///
    /// # Errors
    /// What the room answers; `NoTarget` when there is none.
    pub async fn call(&self, name: &str, call: ApiCall) -> Result<ApiReply, ApiError> {
        let mailbox = self
            .shared
            .lock()
            .by_name
            .get(name)
            .map(|entry| entry.mailbox.clone());
        match mailbox {
            Some(mailbox) => ask(&mailbox, call).await,
            None => Err(no_target()),
        }
    }

    /// CreateRoom: makes the room or finds it, and answers with it.
    ///
    /// # Errors
    /// When it can't be made, or ends at that moment.
    pub async fn create(&self, name: &str, wish: &RoomWish) -> Result<Result<ApiReply, ApiError>, OpenError> {
        let mailbox = self.open(name, wish, true)?;
        let answer = ask(&mailbox, ApiCall::CreateRoom).await;
        if answer
            .as_ref()
            .is_err_and(|error| error.code == ApiErrorCode::NoTarget)
        {
            // The room was just closing; its successor is another one.
            let mailbox = self.open(name, wish, true)?;
            return Ok(ask(&mailbox, ApiCall::CreateRoom).await);
        }
        Ok(answer)
    }

    /// Hands an event of a media thread to its room. Never waits: a room that lags behind keeps no
    /// other one's events.
    pub fn deliver(&self, event: Event) {
        let counters = &self.shared.counters;
        let queue = self.shared.events().get(&event.room).cloned();
        match queue.map_or(Fate::Stray, |queue| queue.push(event)) {
            Fate::Queued => {}
            Fate::Dropped => counters.media_events_dropped.add(),
            Fate::PeerCut => counters.media_peers_cut.add(),
            Fate::Stray => counters.media_events_stray.add(),
        }
    }

    /// Tells every room to end and waits until they have, at most `patience`.
    pub async fn shutdown(&self, patience: Duration) {
        let mailboxes: Vec<_> = {
            let mut state = self.shared.lock();
            state.stopping = true;
            state.by_key.values().cloned().collect()
        };
        let all_closed = async {
            for mailbox in &mailboxes {
                // A room that is already gone needs no telling; one that is busy is told when it
                // can take it, and keeps no other one waiting.
                mailbox.tell(Input::Action(Action::Shutdown));
            }
            for mailbox in &mailboxes {
                mailbox.closed().await;
            }
        };
        if tokio::time::timeout(patience, all_closed).await.is_err() {
            tracing::warn!("some rooms did not end in time");
        }
    }
}

async fn ask(mailbox: &Mailbox, call: ApiCall) -> Result<ApiReply, ApiError> {
    let (reply, answer) = oneshot::channel();
    if mailbox.call(Input::Api { call, reply }).await.is_err() {
        return Err(no_target());
    }
    answer.await.unwrap_or_else(|_| Err(no_target()))
}

fn no_target() -> ApiError {
    ApiError {
        code: ApiErrorCode::NoTarget,
        message: "no response from servers".to_owned(),
        meta: Vec::new(),
    }
}

impl Shared {
    /// The directory stays consistent whatever panics: every change is one map operation.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One map operation each, as above.
    fn events(&self) -> MutexGuard<'_, HashMap<RoomKey, EventSender>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn room_config(&self, key: RoomKey, name: &str, wish: &RoomWish) -> Result<RoomConfig, OpenError> {
        let defaults = &self.config.room;
        let limit = &self.config.limit;
        let mut room = RoomConfig::new(key, name);
        room.empty_timeout_s = defaults.empty_timeout_s;
        room.departure_timeout_s = defaults.departure_timeout_s;
        room.max_participants = defaults.max_participants;
        room.enabled_codecs.clone_from(&defaults.enabled_codecs);
        room.remote_unmute = defaults.enable_remote_unmute;
        room.codec_regression_threshold = defaults.codec_regression_threshold;
        room.update_batch_bytes = defaults.update_batch_bytes;
        room.active_red = defaults.active_red_encoding;
        room.playout_delay = defaults.playout_delay;
        room.sync_streams = defaults.sync_streams;
        room.limits.metadata_bytes_max = unlimited_if_zero(limit.max_metadata_size);
        room.limits.attributes_bytes_max = unlimited_if_zero(limit.max_attributes_size);
        room.limits.name_bytes_max = unlimited_if_zero(limit.max_participant_name_length);
        room.limits.subscription_video_max = limit.subscription_limit_video;
        room.limits.subscription_audio_max = limit.subscription_limit_audio;
        room.server_info = self.server_info.clone();
        room.ice_servers = self.ice_servers();
        room.fingerprint = self.pool.fingerprint();
        room.ice_lite = self.config.rtc.use_ice_lite;
        room.data_tracks = self.config.data_tracks;
        if !wish.preset.is_empty() {
            let preset = defaults
                .presets
                .get(&wish.preset)
                .ok_or(OpenError::UnknownPreset)?;
            apply_settings(&mut room, preset);
        }
        apply_settings(&mut room, &wish.settings);
        Ok(room)
    }

    fn ice_servers(&self) -> Vec<proto::IceServer> {
        let configured = &self.config.rtc.stun_servers;
        let urls: Vec<_> = if configured.is_empty() {
            PUBLIC_STUN
                .iter()
                .map(|server| format!("stun:{server}"))
                .collect()
        } else {
            configured.iter().map(|server| format!("stun:{server}")).collect()
        };
        vec![proto::IceServer {
            urls,
            ..Default::default()
        }]
    }
}

fn unlimited_if_zero(limit: usize) -> usize {
    if limit == 0 { usize::MAX } else { limit }
}

fn apply_settings(room: &mut RoomConfig, settings: &proto::RoomConfiguration) {
    let set = |target: &mut u32, value: u32| {
        if value > 0 {
            *target = value;
        }
    };
    set(&mut room.empty_timeout_s, settings.empty_timeout);
    set(&mut room.departure_timeout_s, settings.departure_timeout);
    set(&mut room.max_participants, settings.max_participants);
    if settings.min_playout_delay > 0 || settings.max_playout_delay > 0 {
        room.playout_delay = Some((settings.min_playout_delay, settings.max_playout_delay));
    }
    room.sync_streams |= settings.sync_streams;
    if !settings.metadata.is_empty() {
        room.metadata.clone_from(&settings.metadata);
    }
}

/// A room's hold on its place in the directory: dropping it frees the place.
#[derive(Debug)]
pub(crate) struct RoomExit {
    rooms: Rooms,
    name: String,
    key: RoomKey,
    orderly: bool,
}

impl RoomExit {
    /// The room's listing changed.
    pub(crate) fn list(&self, listed: proto::Room) {
        let mut state = self.rooms.shared.lock();
        let State {
            by_name,
            metadata_bytes,
            ..
        } = &mut *state;
        if let Some(entry) = by_name.get_mut(&self.name).filter(|entry| entry.key == self.key) {
            *metadata_bytes = *metadata_bytes - entry.metadata_bytes + listed.metadata.len();
            entry.metadata_bytes = listed.metadata.len();
            entry.listed = Some(Arc::new(listed));
        }
    }

    /// The room ended as it should: from now on its name stands for no room, or another one.
    pub(crate) fn closed(&mut self) {
        self.orderly = true;
        self.forget();
    }

    fn forget(&self) {
        self.rooms.shared.events().remove(&self.key);
        let mut state = self.rooms.shared.lock();
        state.by_key.remove(&self.key);
        if state
            .by_name
            .get(&self.name)
            .is_some_and(|entry| entry.key == self.key)
        {
            let entry = state.by_name.remove(&self.name);
            state.metadata_bytes -= entry.map_or(0, |entry| entry.metadata_bytes);
        }
    }
}

impl Drop for RoomExit {
    fn drop(&mut self) {
        self.forget();
        if self.orderly {
            tracing::info!(room = self.name, "room closed");
        } else {
            self.rooms.shared.counters.rooms_failed.add();
            tracing::error!(room = self.name, "room ended by a fault");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_a_call_come_over_those_before_where_they_say_something() {
        let mut room = RoomConfig::new(RoomKey(1), "r");
        let preset = proto::RoomConfiguration {
            empty_timeout: 11,
            departure_timeout: 12,
            max_participants: 13,
            min_playout_delay: 100,
            max_playout_delay: 2_000,
            metadata: "preset".to_owned(),
            sync_streams: true,
            ..Default::default()
        };
        apply_settings(&mut room, &preset);
        apply_settings(&mut room, &proto::RoomConfiguration::default());
        let times = |room: &RoomConfig| (room.empty_timeout_s, room.departure_timeout_s);
        assert_eq!((times(&room), room.max_participants), ((11, 12), 13));
        assert_eq!(room.playout_delay, Some((100, 2_000)));
        assert_eq!((room.metadata.as_str(), room.sync_streams), ("preset", true));
        let call = proto::RoomConfiguration {
            departure_timeout: 22,
            max_playout_delay: 500,
            ..Default::default()
        };
        apply_settings(&mut room, &call);
        assert_eq!((times(&room), room.max_participants), ((11, 22), 13));
        assert_eq!(room.playout_delay, Some((0, 500)));
    }
}
