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
    crypto::{Macs, hex, hkdf_sha256, with_macs},
    secret::Key,
    system::{clock::since_boot, stack::SHALLOW},
};

/// The version of an entry's form.
const VERSION: u8 = 2;

/// A line of the log begins so.
#[derive(Serialize)]
struct Start<'a> {
    v: u8,
    seq: u64,
    time: &'a str,
    /// Milliseconds since the machine was started: nobody sets that clock.
    boot_ms: u64,
}

/// What it says of an event.
#[derive(Serialize)]
struct Entry<'a> {
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
}

/// And so it ends, but for its MAC.
#[derive(Serialize)]
struct End {
    /// The MAC of the entry before, where that is in another file.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    generations: Anchored,
}

/// What lines say of events: all that does not depend on the lines before them.
#[derive(Default)]
pub(super) struct Said {
    text: Vec<u8>,
    /// Where each ends in the text, and whether it begins a segment.
    events: Vec<(usize, bool)>,
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

    /// What lines say of these events.
    pub(super) fn say<'e>(&self, events: impl IntoIterator<Item = &'e Event>) -> Said {
        with_macs::<SHALLOW, _, _>([&self.fingerprint_key], |[names]| {
            events.into_iter().fold(Said::default(), |mut said, event| {
                append(&mut said.text, &self.entry(names, event));
                said.events.push((said.text.len(), event.begins_segment()));
                said
            })
        })
    }

    /// Appends the lines that say so and come after the one of this number and MAC; those of the last.
    pub(super) fn write(
        &self,
        lines: &mut Vec<u8>,
        after: (u64, [u8; MAC_LEN]),
        said: &Said,
        generations: Anchored,
    ) -> (u64, [u8; MAC_LEN]) {
        let (time, boot_ms) =
            (Timestamp::now().to_string(), u64::try_from(since_boot().as_millis()).unwrap_or(u64::MAX));
        let mut text = 0;
        with_macs::<SHALLOW, _, _>([&self.key], |[chain]| {
            said.events.iter().fold(after, |(last, before), &(end, begins_segment)| {
                let (seq, start) = (last + 1, lines.len());
                append(lines, &Start { v: VERSION, seq, time: &time, boot_ms });
                join(lines, |lines| lines.extend_from_slice(&said.text[text..end]));
                text = end;
                let after = begins_segment.then(|| hex(&before));
                join(lines, |lines| append(lines, &End { after, generations }));
                let mac = entry_mac(chain, &before, &lines[start..]);
                // The brace at its end goes behind the MAC.
                lines.pop();
                lines.extend_from_slice(b",\"mac\":\"");
                lines.extend_from_slice(hex(&mac).as_bytes());
                lines.extend_from_slice(b"\"}\n");
                (seq, mac)
            })
        })
    }

    /// What comes after these lines; `None` if they are not of this key.
    pub(super) fn link(&self, lines: &LastLines) -> Option<Link> {
        last_link(&self.key, lines)
    }

    fn entry<'a>(&self, names: &Macs, event: &'a Event) -> Entry<'a> {
        let owner = event.target.owner.as_ref();
        Entry {
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
        }
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

fn append(lines: &mut Vec<u8>, part: &impl Serialize) {
    serde_json::to_writer(lines, part)
        .unwrap_or_else(|_| unreachable!("each part has string keys and plain values, and a vector takes all"));
}

/// Makes one object of the one at the end of the lines and the one that is appended.
fn join(lines: &mut Vec<u8>, append: impl FnOnce(&mut Vec<u8>)) {
    // INVARIANT: neither is empty, so that a comma stands for the one's last brace and the other's first.
    lines.pop();
    let begin = lines.len();
    append(lines);
    lines[begin] = b',';
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
            scribe.write(&mut Vec::new(), (7, [0; MAC_LEN]), &scribe.say([&event, &event]), Anchored::default());
            (meanwhile, found())
        };
        let found = thread::Builder::new().stack_size(1024 * 1024).spawn(write).expect("a thread").join();
        let (meanwhile, left) = found.expect("it ends");
        assert!(meanwhile.is_some(), "what is looked for is there while it is used");
        assert_eq!(left, None, "so many bytes down");
    }
}
