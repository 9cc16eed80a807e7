//! The client side of checks: ours leave, and their answers say which pairs work (RFC 8445 §7.2).
//!
//! Owns: what is sent when, nomination by us, and what follows from an answer.

use super::integrity::{is_authentic, sign};
use super::pair::{Attempt, Path};
use super::{Ice, PEER_REFLEXIVE};
use crate::received::{Received, Refusal};
use std::time::Instant;
use wire::stun::{Class, Message, Role, Writer};

/// RFC 8445 §16.2
const ROLE_CONFLICT: u16 = 487;

impl Ice {
    /// Every check that is due leaves.
    pub(super) fn send_checks(&mut self, now: Instant) {
        let Some(remote) = self.remote.as_ref() else {
            return;
        };
        let role = if self.controlling {
            Role::Controlling(self.tie_breaker)
        } else {
            Role::Controlled(self.tie_breaker)
        };
        let mut ready = Vec::new();
        while let Some(pair) = self.checklist.next_to_send(now, self.controlling) {
            let attempt = Attempt {
                id: self.transactions.draw(&self.local.pwd),
                at: now,
                controlling: self.controlling,
                nominates: self.controlling && pair.nominated,
            };
            pair.sent(attempt);
            // The priority that a candidate learned from this check would have (RFC 8445 §7.1.1).
            let priority = PEER_REFLEXIVE | (pair.priorities.local & 0x00FF_FFFF);
            let mut check = Writer::new(Class::Request, attempt.id)
                .username(&remote.ufrag, &self.local.ufrag)
                .priority(priority)
                .role(role);
            if attempt.nominates {
                check = check.use_candidate();
            }
            ready.push((pair.path, sign(check, &remote.pwd)));
        }
        for (path, data) in ready {
            self.send(path, data);
        }
    }

    /// Pairs that answered nothing for too long are forgotten; the selected one is asked on.
    pub(super) fn give_up(&mut self, now: Instant) {
        let selected = self.selected.map(|selected| selected.path);
        let mut any = false;
        for pair in self.checklist.iter_mut().filter(|pair| pair.is_given_up(now)) {
            if Some(pair.path) == selected {
                pair.keep_alive(now);
            } else {
                any = true;
            }
        }
        if any {
            self.checklist.retain(|pair| !pair.is_given_up(now));
        }
    }

    pub(super) fn take_response(&mut self, now: Instant, path: Path, message: &Message<'_>) -> Received {
        const UNAUTHENTICATED: Received = Received::Refused(Refusal::Unauthenticated);
        let Some(remote) = self.remote.as_ref() else {
            return UNAUTHENTICATED;
        };
        let Some(pair) = self.checklist.of_transaction(message.transaction) else {
            return UNAUTHENTICATED;
        };
        let Some(attempt) = pair.attempt(message.transaction) else {
            return UNAUTHENTICATED;
        };
        // An answer comes from where the check went to (RFC 8445 §7.2.5.2.1).
        if pair.path != path || !is_authentic(message, &remote.pwd) {
            return UNAUTHENTICATED;
        }
        // An answer that has to be understood and is not is none (RFC 8489 §6.3.3).
        let is_readable = message.unknown.types().is_empty() && !message.malformed;
        match (message.class, message.error) {
            (Class::Success, _) if is_readable => self.succeed(now, path, attempt),
            // What else may be wrong is wrong for the moment: the remote side may not know us yet.
            (Class::Error, Some(ROLE_CONFLICT)) => self.change_role(now, path, attempt),
            _ => {}
        }
        Received::Check
    }

    /// The pair works.
    fn succeed(&mut self, now: Instant, path: Path, attempt: Attempt) {
        self.heard(now, path);
        let takes_over = self.selected.is_some_and(|selected| selected.is_silent(now));
        let selected = self.selected.filter(|selected| !selected.tentative);
        let is_selected = selected.is_some_and(|selected| selected.path == path);
        let Some(pair) = self.checklist.get_mut(path) else {
            return;
        };
        pair.answered(attempt.id);
        let priorities = pair.priorities;
        if is_selected || selected.is_none() {
            self.rtt = Some(now.saturating_duration_since(attempt.at));
        }
        if is_selected {
            if self.controlling && !attempt.nominates {
                // It has not been told that it is the one.
                pair.nominated = true;
                pair.trigger(now);
            } else {
                pair.keep_alive(now);
            }
        }
        if self.controlling || pair.nominated || takes_over {
            self.consider(now, path, priorities);
        }
    }

    /// The remote side has the role that this check claimed, and keeps it (RFC 8445 §7.2.5.1).
    fn change_role(&mut self, now: Instant, path: Path, attempt: Attempt) {
        self.heard(now, path);
        if self.controlling == attempt.controlling && !self.lite {
            self.controlling = !attempt.controlling;
            // Another number from now on, as good as the one before (RFC 8445 §16.1).
            let [a, b, c, d, e, f, g, h, ..] = self.transactions.draw(&self.local.pwd);
            self.tie_breaker = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            for pair in self.checklist.iter_mut() {
                // Who nominated was somebody in the other role.
                pair.nominated = false;
            }
        }
        if let Some(pair) = self.checklist.get_mut(path) {
            pair.trigger(now);
        }
    }

    /// From now on this pair is asked for ever, and others only if they would be better.
    pub(super) fn keep_selected(&mut self, now: Instant, path: Path) {
        let Some(selected) = self.selected else { return };
        let controlling = self.controlling;
        let least = selected.priorities.of_pair(controlling);
        self.checklist.retain(|pair| {
            let may_be_better = !pair.valid && pair.priorities.of_pair(controlling) > least;
            pair.path == path || may_be_better
        });
        let Some(pair) = self.checklist.get_mut(path) else {
            return;
        };
        if controlling {
            // The remote side is told at once, and until it answers.
            pair.nominated = true;
            pair.trigger(now);
        } else {
            pair.keep_alive(now);
        }
    }
}
