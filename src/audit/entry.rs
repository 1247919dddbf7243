//! What an entry looks like, and what chains it to the one before.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{
    config::Identifiers,
    event::{Action, Actor, Event, Outcome},
    generations::Anchored,
    tail::{LastLines, Link, last_link},
    verify::{MAC_LEN, entry_mac},
};
use crate::{
    authentication::{AuthenticationId, Owner, Principal},
    crypto::{hex, hkdf_sha256, hmac_sha256},
    secret::Key,
    system::clock::since_boot,
};

/// The version of an entry's form.
const VERSION: u8 = 2;

/// One line of the log, without its MAC.
#[derive(Serialize)]
struct Entry<'a> {
    v: u8,
    seq: u64,
    time: Timestamp,
    /// Milliseconds since the machine was started: nobody sets that clock.
    boot_ms: u64,
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
    owner: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
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
    /// SHA-256 of the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// The MAC of the entry before, where that is in another file.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    generations: Anchored,
}

/// Writes the lines of one session.
pub(super) struct Scribe {
    session: Uuid,
    key: Key,
    fingerprint_key: Key,
    identifiers: Identifiers,
}

impl Scribe {
    pub(super) fn new(key: Key, identifiers: Identifiers) -> Self {
        let fingerprint_key = hkdf_sha256(&key, b"", "trayvault audit identifiers v1");
        Self { session: Uuid::new_v4(), key, fingerprint_key, identifiers }
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// Appends the line of an entry that comes after the one of this MAC; its own.
    pub(super) fn write(
        &self,
        lines: &mut Vec<u8>,
        sequence: u64,
        before: &[u8; MAC_LEN],
        event: &Event,
        generations: Anchored,
    ) -> [u8; MAC_LEN] {
        let start = lines.len();
        self.entry(lines, sequence, before, event, generations);
        let mac = entry_mac(&self.key, before, &lines[start..]);
        // The brace at its end goes behind the MAC.
        lines.pop();
        lines.extend_from_slice(b",\"mac\":\"");
        lines.extend_from_slice(hex(&mac).as_bytes());
        lines.extend_from_slice(b"\"}\n");
        mac
    }

    /// What comes after these lines; `None` if they are not of this key.
    pub(super) fn link(&self, lines: &LastLines) -> Option<Link> {
        last_link(&self.key, lines)
    }

    fn entry(&self, lines: &mut Vec<u8>, sequence: u64, before: &[u8; MAC_LEN], event: &Event, generations: Anchored) {
        let owner = event.target.owner.as_ref();
        let entry = Entry {
            v: VERSION,
            seq: sequence,
            time: Timestamp::now(),
            boot_ms: u64::try_from(since_boot().as_millis()).unwrap_or(u64::MAX),
            session: self.session,
            action: event.action,
            outcome: event.outcome,
            reason: event.reason,
            rule: event.rule.as_deref(),
            actor: event.actor.as_ref(),
            authentication: event.target.authentication,
            principal: owner.map(Owner::principal),
            owner: owner.map(|owner| self.owner(owner)),
            name: event.target.name.as_deref().map(|name| self.identifier(b"name\0", name)),
            intent: event.target.intent,
            request: event.request,
            count: event.count,
            slot: event.slot,
            epoch: event.epoch,
            digest: event.digest.as_ref().map(|digest| hex(digest)),
            after: event.begins_segment().then(|| hex(before)),
            generations,
        };
        serde_json::to_writer(lines, &entry)
            .unwrap_or_else(|_| unreachable!("an entry has string keys and plain values, and a vector takes all"));
    }

    fn owner<'a>(&self, owner: &'a Owner) -> Cow<'a, str> {
        let kind: &[u8] = match owner {
            Owner::EndUser { .. } => b"end user\0",
            Owner::Workspace => b"workspace\0",
        };
        self.identifier(kind, owner.key())
    }

    /// Whom or what an entry names: plainly, or as the first 8 bytes of an HMAC, in hex.
    fn identifier<'a>(&self, kind: &[u8], plain: &'a str) -> Cow<'a, str> {
        match self.identifiers {
            Identifiers::Plain => Cow::Borrowed(plain),
            Identifiers::Fingerprint => {
                let mac = hmac_sha256(&self.fingerprint_key, &[kind, plain.as_bytes()]);
                Cow::Owned(hex(&mac[..8]))
            }
        }
    }
}
