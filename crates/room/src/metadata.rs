//! Name, metadata and attributes of participants: by themselves and by the
//! API. Every changed field is one update and one fresh token.

use crate::participant::ParticipantId;
use crate::room::Room;
use crate::telling::Pressure;
use proto::request_response::{Reason, Request};
use protocol::proto;
use std::collections::HashMap;

/// A field that is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TooLarge {
    Name,
    Metadata,
    Attributes,
    /// Not by itself: together with all that the room, or what waits to be sent, holds already.
    Room,
}

/// Bytes of all participants' names, metadata, attributes and data tracks together: whoever joins is
/// sent all of it. More lets larger rooms have larger states and makes each join dearer: at 16 MiB a
/// client on 10 Mbps waits 13 s.
const ROOM_BYTES_MAX: usize = 16 << 20;

/// As [`ROOM_BYTES_MAX`] for what [`LARGE_BYTES_MIN`] calls large: half, so that a few who have much
/// leave room for many who have little.
const ROOM_BYTES_LARGE: usize = ROOM_BYTES_MAX / 2;

/// From here on the fields of one participant are large.
const LARGE_BYTES_MIN: usize = 16 << 10;

/// So much everybody may have, however full the room is.
const SMALL_BYTES_MAX: usize = 1 << 10;

impl Room {
    /// A participant changes itself.
    pub(crate) fn update_own_metadata(
        &mut self,
        id: ParticipantId,
        update: proto::UpdateParticipantMetadata,
    ) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        let (reason, message) = if participant.permission.can_update_metadata {
            match self.check_sizes(Some(id), &update.name, &update.metadata, &update.attributes) {
                Ok(()) => (Reason::Ok, ""),
                Err(TooLarge::Name) => (Reason::LimitExceeded, "exceeds name length limit"),
                Err(TooLarge::Metadata) => (Reason::LimitExceeded, "exceeds metadata size limit"),
                Err(TooLarge::Attributes) => (Reason::LimitExceeded, "exceeds attributes size limit"),
                Err(TooLarge::Room) => (Reason::LimitExceeded, "exceeds size limit of the room"),
            }
        } else {
            (
                Reason::NotAllowed,
                "does not have permission to update own metadata",
            )
        };
        if reason == Reason::Ok {
            self.change_fields(id, &update.name, &update.metadata, &update.attributes);
        }
        self.respond(
            id,
            update.request_id,
            reason,
            message,
            Some(Request::UpdateMetadata(update)),
        );
    }

    /// Whether somebody may have so many bytes of fields, instead of those now, beside everybody
    /// else's. Less than now is always possible.
    pub(crate) fn has_room_for(&mut self, id: Option<ParticipantId>, bytes: usize) -> bool {
        let own = id
            .and_then(|id| self.participants.get(&id))
            .map_or(0, |participant| participant.field_bytes);
        if bytes <= SMALL_BYTES_MAX || bytes <= own {
            return true;
        }
        let all: usize = self
            .participants
            .values()
            .map(|participant| participant.field_bytes)
            .sum();
        let max = if bytes < LARGE_BYTES_MIN {
            ROOM_BYTES_MAX
        } else {
            ROOM_BYTES_LARGE
        };
        let fits = self.pressure < Pressure::Full && all - own + bytes <= max;
        self.stats.changes_refused += u64::from(!fits);
        fits
    }

    /// Takes stock of a participant's fields after a change.
    pub(crate) fn measure_fields(&mut self, id: ParticipantId) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let claims = &participant.claims;
        let attributes = claims.attributes.iter();
        let attributes: usize = attributes.map(|(key, value)| key.len() + value.len()).sum();
        participant.field_bytes = claims.name.len()
            + claims.metadata.len()
            + attributes
            + participant.data_tracks.announced_bytes();
    }

    /// Whether the fields fit. Attributes are measured as they would be after merging.
    pub(crate) fn check_sizes(
        &mut self,
        id: Option<ParticipantId>,
        name: &str,
        metadata: &str,
        attributes: &HashMap<String, String>,
    ) -> Result<(), TooLarge> {
        let limits = &self.config.limits;
        if name.len() > limits.name_bytes_max {
            return Err(TooLarge::Name);
        }
        if metadata.len() > limits.metadata_bytes_max {
            return Err(TooLarge::Metadata);
        }
        let kept: usize = id
            .and_then(|id| self.participants.get(&id))
            .map(|participant| {
                participant
                    .claims
                    .attributes
                    .iter()
                    .filter(|(key, _)| !attributes.contains_key(*key))
                    .map(|(key, value)| key.len() + value.len())
                    .sum()
            })
            .unwrap_or(0);
        let new: usize = attributes
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| key.len() + value.len())
            .sum();
        if kept + new > limits.attributes_bytes_max {
            return Err(TooLarge::Attributes);
        }
        let Some(id) = id else { return Ok(()) };
        let Some(participant) = self.participants.get(&id) else {
            return Ok(());
        };
        let or_now = |new: &str, now: &str| if new.is_empty() { now.len() } else { new.len() };
        let bytes = or_now(name, &participant.claims.name)
            + or_now(metadata, &participant.claims.metadata)
            + kept
            + new
            + participant.data_tracks.announced_bytes();
        if self.has_room_for(Some(id), bytes) {
            Ok(())
        } else {
            Err(TooLarge::Room)
        }
    }

    /// Empty name or metadata: unchanged. Attributes are merged, an empty value deletes.
    pub(crate) fn change_fields(
        &mut self,
        id: ParticipantId,
        name: &str,
        metadata: &str,
        attributes: &HashMap<String, String>,
    ) {
        self.change_claims(id, |claims| replace(&mut claims.name, name));
        self.change_claims(id, |claims| replace(&mut claims.metadata, metadata));
        self.change_claims(id, |claims| {
            let mut changed = false;
            for (key, value) in attributes {
                changed |= if value.is_empty() {
                    claims.attributes.remove(key).is_some()
                } else {
                    claims.attributes.insert(key.clone(), value.clone()).as_ref() != Some(value)
                };
            }
            changed
        });
    }

    /// `change` tells whether it changed anything.
    fn change_claims(
        &mut self,
        id: ParticipantId,
        change: impl FnOnce(&mut protocol::grants::Claims) -> bool,
    ) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        if !change(&mut participant.claims) {
            return;
        }
        participant.dirty = true;
        self.measure_fields(id);
        if self.may_tell(id) {
            self.broadcast(id, true);
            self.refresh_token(id);
        } else {
            self.delay_fields(id);
        }
    }
}

/// Empty: unchanged.
fn replace(field: &mut String, new: &str) -> bool {
    let changes = !new.is_empty() && field != new;
    if changes {
        new.clone_into(field);
    }
    changes
}
