//! What an entry looks like, and what chains it to the one before.

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{
    event::{Action, Actor, Event, Outcome},
    generations::Anchored,
    tail::{LastLines, Link, last_link},
    verify::{MAC_LEN, entry_mac},
};
use crate::{
    authentication::{AuthenticationId, Owner, Principal},
    crypto::{hex, hkdf_sha256, hmac_sha256},
    secret::Key,
};

/// One line of the log, without its MAC.
#[derive(Serialize)]
struct Entry<'a> {
    v: u8,
    seq: u64,
    time: Timestamp,
    session: Uuid,
    action: Action,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authentication: Option<AuthenticationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<Principal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    intent: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u32>,
    generations: Anchored,
}

/// Writes the lines of one session.
pub(super) struct Scribe {
    session: Uuid,
    key: Key,
    fingerprint_key: Key,
}

impl Scribe {
    pub(super) fn new(key: Key) -> Self {
        let fingerprint_key = hkdf_sha256(&key, b"", "trayvault audit identifiers v1");
        Self { session: Uuid::new_v4(), key, fingerprint_key }
    }

    /// Appends the line of an entry that comes after the one of this MAC; its own.
    pub(super) fn write(
        &self,
        lines: &mut String,
        sequence: u64,
        before: &[u8; MAC_LEN],
        event: &Event,
        generations: Anchored,
    ) -> [u8; MAC_LEN] {
        let entry = self.entry(sequence, event, generations);
        let mac = entry_mac(&self.key, before, entry.as_bytes());
        lines.push_str(entry.strip_suffix('}').unwrap_or_default());
        lines.push_str(",\"mac\":\"");
        lines.push_str(&hex(&mac));
        lines.push_str("\"}\n");
        mac
    }

    /// What comes after these lines; `None` if they are not of this key.
    pub(super) fn link(&self, lines: &LastLines) -> Option<Link> {
        last_link(&self.key, lines)
    }

    fn entry(&self, sequence: u64, event: &Event, generations: Anchored) -> String {
        let owner = event.target.owner.as_ref();
        let entry = Entry {
            v: 1,
            seq: sequence,
            time: Timestamp::now(),
            session: self.session,
            action: event.action,
            outcome: event.outcome,
            reason: event.reason,
            rule: event.rule.as_deref(),
            actor: event.actor.as_ref(),
            authentication: event.target.authentication,
            principal: owner.map(Owner::principal),
            owner: owner.map(|owner| self.fingerprint(owner)),
            intent: event.target.intent,
            request: event.request,
            count: event.count,
            slot: event.slot,
            epoch: event.epoch,
            generations,
        };
        serde_json::to_string(&entry).unwrap_or_else(|_| unreachable!("an entry has string keys and plain values"))
    }

    /// Whom an entry names, without naming them: the first 8 bytes of an HMAC, in hex.
    fn fingerprint(&self, owner: &Owner) -> String {
        let kind: &[u8] = match owner {
            Owner::EndUser { .. } => b"end user\0",
            Owner::Workspace => b"workspace\0",
        };
        hex(&hmac_sha256(&self.fingerprint_key, &[kind, owner.key().as_bytes()])[..8])
    }
}
