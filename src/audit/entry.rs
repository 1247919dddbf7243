//! What an entry looks like, and what chains it to the one before.

use std::{borrow::Cow, time::Duration};

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
    crypto::{Macs, hex, hkdf_sha256, with_macs},
    secret::Key,
    system::{clock::since_boot, stack::SHALLOW},
};

/// The version of an entry's form.
const VERSION: u8 = 2;

/// One line of the log, without its MAC.
#[derive(Serialize)]
struct Entry<'a> {
    v: u8,
    seq: u64,
    time: &'a str,
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

/// What entries have in common that are written together.
struct OfAll {
    time: String,
    since_boot: Duration,
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

    /// Appends the lines of entries that come after the one of this number and MAC; those of the last.
    pub(super) fn write<'e>(
        &self,
        lines: &mut Vec<u8>,
        after: (u64, [u8; MAC_LEN]),
        events: impl IntoIterator<Item = &'e Event>,
        generations: Anchored,
    ) -> (u64, [u8; MAC_LEN]) {
        let of_all = OfAll { time: Timestamp::now().to_string(), since_boot: since_boot(), generations };
        with_macs::<SHALLOW, _, _>([&self.key, &self.fingerprint_key], |[chain, names]| {
            events.into_iter().fold(after, |(last, before), event| {
                let (sequence, start) = (last + 1, lines.len());
                self.entry(lines, names, sequence, &before, event, &of_all);
                let mac = entry_mac(chain, &before, &lines[start..]);
                // The brace at its end goes behind the MAC.
                lines.pop();
                lines.extend_from_slice(b",\"mac\":\"");
                lines.extend_from_slice(hex(&mac).as_bytes());
                lines.extend_from_slice(b"\"}\n");
                (sequence, mac)
            })
        })
    }

    /// What comes after these lines; `None` if they are not of this key.
    pub(super) fn link(&self, lines: &LastLines) -> Option<Link> {
        last_link(&self.key, lines)
    }

    fn entry(
        &self,
        lines: &mut Vec<u8>,
        names: &Macs,
        sequence: u64,
        before: &[u8; MAC_LEN],
        event: &Event,
        of_all: &OfAll,
    ) {
        let owner = event.target.owner.as_ref();
        let entry = Entry {
            v: VERSION,
            seq: sequence,
            time: &of_all.time,
            boot_ms: u64::try_from(of_all.since_boot.as_millis()).unwrap_or(u64::MAX),
            session: self.session,
            action: event.action,
            outcome: event.outcome,
            reason: event.reason,
            rule: event.rule.as_deref(),
            actor: event.actor.as_ref(),
            authentication: event.target.authentication,
            principal: owner.map(Owner::principal),
            owner: owner.map(|owner| self.owner(names, owner)),
            name: event.target.name.as_deref().map(|name| self.identifier(names, b"name\0", name)),
            intent: event.target.intent,
            request: event.request,
            count: event.count,
            slot: event.slot,
            epoch: event.epoch,
            digest: event.digest.as_ref().map(|digest| hex(digest)),
            after: event.begins_segment().then(|| hex(before)),
            generations: of_all.generations,
        };
        serde_json::to_writer(lines, &entry)
            .unwrap_or_else(|_| unreachable!("an entry has string keys and plain values, and a vector takes all"));
    }

    fn owner<'a>(&self, names: &Macs, owner: &'a Owner) -> Cow<'a, str> {
        let kind: &[u8] = match owner {
            Owner::EndUser { .. } => b"end user\0",
            Owner::Workspace => b"workspace\0",
        };
        self.identifier(names, kind, owner.key())
    }

    /// Whom or what an entry names: plainly, or as the first 8 bytes of an HMAC, in hex.
    fn identifier<'a>(&self, names: &Macs, kind: &[u8], plain: &'a str) -> Cow<'a, str> {
        match self.identifiers {
            Identifiers::Plain => Cow::Borrowed(plain),
            Identifiers::Fingerprint => Cow::Owned(hex(&names.of(&[kind, plain.as_bytes()])[..8])),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::fs::FileExt, thread};

    use sha2::block_api::compress256;

    use super::*;
    use crate::{
        audit::event::Target,
        authentication::{ExternalUserId, UserId},
        crypto::tests::key,
    };

    /// SHA-256's initial state (FIPS 180-4, section 5.3.3).
    const INITIAL: [u32; 8] =
        [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

    /// By what an HMAC key is known in memory: the key, as it is padded, and the states that it is scheduled to.
    fn traces(key: &Key) -> Vec<Vec<u8>> {
        let key = key.expose_secret();
        let padded = |pad: u8| {
            let mut block = [pad; 64];
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            block
        };
        let scheduled = |pad| {
            let mut state = INITIAL;
            compress256(&mut state, &[padded(pad)]);
            state.iter().flat_map(|word| word.to_ne_bytes()).take(16).collect()
        };
        let text = |pad| padded(pad)[..16].to_vec();
        vec![key[..16].to_vec(), text(0x36), text(0x5c), scheduled(0x36), scheduled(0x5c)]
    }

    /// How far down in the stack, from a place in it, any of these is.
    fn found_below(place: usize, traces: &[Vec<u8>]) -> Option<usize> {
        let mut stack = vec![0; 256 * 1024];
        let start = u64::try_from(place - stack.len()).expect("an address");
        File::open("/proc/self/mem").expect("a file").read_exact_at(&mut stack, start).expect("a stack");
        let at = traces.iter().filter_map(|trace| stack.windows(trace.len()).position(|bytes| bytes == trace));
        at.min().map(|at| stack.len() - at)
    }

    #[test]
    fn no_key_is_left_on_the_stack() {
        let scribe = Scribe::new(key(b"a key that is looked for here..."), Identifiers::Fingerprint);
        let traces: Vec<_> = [&scribe.key, &scribe.fingerprint_key].into_iter().flat_map(traces).collect();
        let owner = Owner::EndUser { user_id: UserId("user".into()), external_user_id: ExternalUserId("acme".into()) };
        let event = Event::new(Action::Read, Outcome::Done).on(Target::owner(&owner)).because("because");
        let write = move || {
            let place = 0_u8;
            let found = || found_below((&raw const place).addr(), &traces);
            let meanwhile = with_macs::<SHALLOW, _, _>([&scribe.key], |_| found());
            scribe.write(&mut Vec::new(), (7, [0; MAC_LEN]), [&event, &event], Anchored::default());
            (meanwhile, found())
        };
        let found = thread::Builder::new().stack_size(1024 * 1024).spawn(write).expect("a thread").join();
        let (meanwhile, left) = found.expect("it ends");
        assert!(meanwhile.is_some(), "what is looked for is there while it is used");
        assert_eq!(left, None, "so many bytes down");
    }
}
