//! Name, metadata and attributes of participants: by themselves (`signal.md` §7 row 15) and by the
//! API. Every changed field is one update and one fresh token.

use crate::participant::ParticipantId;
use crate::room::Room;
use proto::request_response::{Reason, Request};
use protocol::proto;
use std::collections::HashMap;

/// A field that is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TooLarge {
    Name,
    Metadata,
    Attributes,
}

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

    /// Whether the fields fit. Attributes are measured as they would be after merging.
    pub(crate) fn check_sizes(
        &self,
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
        Ok(())
    }

    /// Empty name or metadata: unchanged. Attributes are merged, an empty value deletes.
    pub(crate) fn change_fields(
        &mut self,
        id: ParticipantId,
        name: &str,
        metadata: &str,
        attributes: &HashMap<String, String>,
    ) {
        if !name.is_empty() {
            self.change_claims(id, |claims| name.clone_into(&mut claims.name));
        }
        if !metadata.is_empty() {
            self.change_claims(id, |claims| metadata.clone_into(&mut claims.metadata));
        }
        if !attributes.is_empty() {
            self.change_claims(id, |claims| {
                for (key, value) in attributes {
                    if value.is_empty() {
                        claims.attributes.remove(key);
                    } else {
                        claims.attributes.insert(key.clone(), value.clone());
                    }
                }
            });
        }
    }

    fn change_claims(&mut self, id: ParticipantId, change: impl FnOnce(&mut protocol::grants::Claims)) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let before = participant.claims.clone();
        change(&mut participant.claims);
        if participant.claims != before {
            participant.dirty = true;
            self.broadcast(id, true);
            self.refresh_token(id);
        }
    }
}
