//! The server side of checks: what the remote side asks is answered (RFC 8445 §7.3).
//!
//! Owns: which requests are believed, role conflicts, what a request makes of its path. Whoever cannot
//! prove to know our password gets no answer at all.

use super::integrity::{is_authentic, sign};
use super::pair::Path;
use super::{Ice, SOURCES_MAX};
use crate::received::{Received, Refusal};
use std::time::Instant;
use wire::stun::{Class, Message, Role, Writer};

/// What a request is refused with, once it was believed (RFC 8489 §14.8, RFC 8445 §16.2).
const BAD_REQUEST: (u16, &str) = (400, "Bad Request");
const UNKNOWN_ATTRIBUTE: (u16, &str) = (420, "Unknown Attribute");
const ROLE_CONFLICT: (u16, &str) = (487, "Role Conflict");

impl Ice {
    pub(super) fn take_request(
        &mut self,
        now: Instant,
        path: Path,
        data: &[u8],
        message: &Message<'_>,
    ) -> Received {
        const UNAUTHENTICATED: Received = Received::Refused(Refusal::Unauthenticated);
        if self.seen.elsewhere(data, path.remote) {
            return UNAUTHENTICATED;
        }
        let Some((ours, theirs)) = message.fragments() else {
            return UNAUTHENTICATED;
        };
        let remote = self.remote.as_ref();
        let is_ours = ours == self.local.ufrag.as_bytes();
        if !is_ours || remote.is_some_and(|remote| theirs != remote.ufrag.as_bytes()) {
            return UNAUTHENTICATED;
        }
        if remote.is_some() && self.sources.len() >= SOURCES_MAX && !self.is_source(path.remote) {
            return Received::Refused(Refusal::TooMany);
        }
        if !is_authentic(message, &self.local.pwd) {
            return UNAUTHENTICATED;
        }
        self.seen.note(data, path.remote);
        if self.remote.is_none() {
            return if self.early.push(now, path.remote, path.local, data) {
                Received::Check
            } else {
                Received::Refused(Refusal::TooMany)
            };
        }
        if !message.unknown.types().is_empty() {
            let answer = refusal(message, UNKNOWN_ATTRIBUTE);
            self.answer(path, answer.unknown_attributes(message.unknown.types()));
            return Received::Taken;
        }
        if message.malformed {
            let answer = refusal(message, BAD_REQUEST);
            self.answer(path, answer);
            return Received::Taken;
        }
        self.heard(now, path);
        if self.is_conflict(message) {
            let answer = refusal(message, ROLE_CONFLICT);
            self.answer(path, answer);
        } else {
            let answer = Writer::new(Class::Success, message.transaction).mapped(path.remote);
            self.answer(path, answer);
            self.follow_request(now, path, message);
        }
        Received::Check
    }

    fn answer(&mut self, path: Path, answer: Writer) {
        let data = sign(answer, &self.local.pwd);
        self.send(path, data);
    }

    /// Both sides claim one role: the tie-breakers say who is right (RFC 8445 §7.3.1.1). True: the
    /// other side has to change. A lite agent never controls a full one, and only full ones send checks.
    fn is_conflict(&mut self, message: &Message<'_>) -> bool {
        match message.role {
            Some(Role::Controlling(theirs)) if self.controlling => {
                if self.tie_breaker >= theirs {
                    return true;
                }
                self.controlling = false;
            }
            Some(Role::Controlled(theirs)) if !self.controlling => {
                if self.lite || self.tie_breaker < theirs {
                    return true;
                }
                self.controlling = true;
            }
            Some(Role::Controlling(_) | Role::Controlled(_)) | None => {}
        }
        false
    }

    fn follow_request(&mut self, now: Instant, path: Path, message: &Message<'_>) {
        let priorities = self.priorities(path, message.priority);
        let nominates = message.use_candidate && !self.controlling;
        let takes_over = self
            .selected
            .is_some_and(|selected| selected.path != path && !selected.tentative && selected.is_silent(now));
        if self.lite {
            if nominates || takes_over {
                self.consider(now, path, priorities);
            }
            return;
        }
        if self.checklist.get(path).is_none() {
            if !self.is_worth_checking(now, priorities) {
                return;
            }
            self.form_pair(now, path, priorities);
        }
        let Some(pair) = self.checklist.get_mut(path) else {
            return;
        };
        pair.asked = true;
        pair.nominated |= nominates;
        if !pair.valid {
            pair.trigger(now);
        } else if pair.nominated || takes_over {
            self.consider(now, path, priorities);
        }
    }
}

fn refusal(message: &Message<'_>, (code, reason): (u16, &str)) -> Writer {
    Writer::new(Class::Error, message.transaction).error(code, reason)
}
