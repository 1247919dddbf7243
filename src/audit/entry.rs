//! What an entry looks like, and what chains it to the one before.

use jiff::Timestamp;
use uuid::Uuid;

use super::{
    config::Identifiers,
    event::{Actor, Event, Target},
    generations::Anchored,
    tail::{LastLines, Link, last_link},
    verify::{MAC_LEN, entry_mac},
};
use crate::{
    authentication::{AuthenticationId, Owner},
    crypto::{Macs, hkdf_sha256, with_macs},
    members::Members,
    secret::Key,
    system::{clock::since_boot, stack::SHALLOW},
};

/// A line of the log begins so: with the version of its form.
const BEGINS: &[u8] = b"{\"v\":2";

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
                self.say_one(names, event, &mut Members(&mut said.text));
                said.events.push((said.text.len(), event.begins_segment()));
                said
            })
        })
    }

    fn say_one(&self, names: &Macs, event: &Event, members: &mut Members<'_>) {
        let Event { action, outcome, target, actor, reason, rule, request, count, slot, epoch, digest } = event;
        let Target { authentication, owner, name, intent } = target;
        members.id("session", self.session);
        members.word("action", action.as_str());
        members.word("outcome", outcome.as_str());
        if let Some(reason) = reason {
            members.value("reason", reason);
        }
        if let Some(rule) = rule {
            members.value("rule", &**rule);
        }
        if let Some(Actor { uid, gid, unit }) = actor {
            members.object("actor", |members| {
                members.value("uid", uid);
                members.value("gid", gid);
                if let Some(unit) = unit {
                    members.value("unit", unit);
                }
            });
        }
        if let Some(AuthenticationId(id)) = authentication {
            members.id("authentication", *id);
        }
        if let Some(owner) = owner {
            let kind: &[u8] = match owner {
                Owner::EndUser { .. } => b"end user\0",
                Owner::Workspace => b"workspace\0",
            };
            members.value("principal", &owner.principal());
            self.identify(names, members, "owner", kind, owner.key());
        }
        if let Some(name) = name {
            self.identify(names, members, "name", b"name\0", name);
        }
        if let Some(intent) = intent {
            members.id("intent", *intent);
        }
        if let Some(request) = request {
            members.id("request", *request);
        }
        if let Some(count) = count {
            members.value("count", count);
        }
        if let Some(slot) = slot {
            members.id("slot", *slot);
        }
        if let Some(epoch) = epoch {
            members.value("epoch", epoch);
        }
        if let Some(digest) = digest {
            members.hex("digest", digest);
        }
    }

    /// Whom or what an entry names: plainly, or as the first 8 bytes of an HMAC, in hex.
    fn identify(&self, names: &Macs, members: &mut Members<'_>, member: &'static str, kind: &[u8], plain: &str) {
        match self.identifiers {
            Identifiers::Plain => members.value(member, plain),
            Identifiers::Fingerprint => members.hex(member, &names.of(&[kind, plain.as_bytes()])[..8]),
        }
    }

    /// Appends the lines that say so and come after the one of this number and MAC; those of the last.
    pub(super) fn write(
        &self,
        lines: &mut Vec<u8>,
        after: (u64, [u8; MAC_LEN]),
        said: &Said,
        Anchored { cache, journal, epoch }: Anchored,
    ) -> (u64, [u8; MAC_LEN]) {
        let time = Timestamp::now().to_string();
        // Nobody sets that clock.
        let boot_ms = u64::try_from(since_boot().as_millis()).unwrap_or(u64::MAX);
        let mut text = 0;
        with_macs::<SHALLOW, _, _>([&self.key], |[chain]| {
            said.events.iter().fold(after, |(last, before), &(end, begins_segment)| {
                let (sequence, start) = (last + 1, lines.len());
                lines.extend_from_slice(BEGINS);
                let mut members = Members(lines);
                members.value("seq", &sequence);
                members.value("time", &time);
                members.value("boot_ms", &boot_ms);
                members.0.extend_from_slice(&said.text[text..end]);
                text = end;
                if begins_segment {
                    members.hex("after", &before);
                }
                members.object("generations", |members| {
                    members.value("cache", &cache);
                    members.value("journal", &journal);
                    members.value("epoch", &epoch);
                });
                // What is authenticated is the object without its MAC, which takes the place of the brace at its end.
                members.0.push(b'}');
                let mac = entry_mac(chain, &before, &members.0[start..]);
                members.0.pop();
                members.hex("mac", &mac);
                members.0.extend_from_slice(b"}\n");
                (sequence, mac)
            })
        })
    }

    /// What comes after these lines; `None` if they are not of this key.
    pub(super) fn link(&self, lines: &LastLines) -> Option<Link> {
        last_link(&self.key, lines)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::fs::FileExt, thread};

    use serde_json::{Value, json};
    use sha2::block_api::compress256;

    use super::*;
    use crate::{
        audit::{Action, Outcome},
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
    fn a_line_says_so_and_escapes_what_does_not_come_from_here() {
        let text = "\"a\\b\"\n\u{7f}ä";
        let owner = Owner::EndUser { user_id: UserId(text.into()), external_user_id: ExternalUserId("x".into()) };
        let target = Target {
            authentication: Some(AuthenticationId(Uuid::nil())),
            owner: Some(owner),
            name: Some(text.into()),
            intent: Some(Uuid::max()),
        };
        let actor = Actor { uid: 1, gid: u32::MAX, unit: Some(text.into()) };
        let event = Event::new(Action::BeginSegment, Outcome::Done).on(target).by(actor).because("it's so");
        let event = event.under(Some(text)).request(Uuid::max()).count(3).slot(Uuid::nil()).epoch(4).digest([0xab; 32]);
        let mut scribe = Scribe::new(key(b"a key"), Identifiers::Plain);
        let session = scribe.session.to_string();
        let mut line = |identifiers, events: &[Event], nth| {
            scribe.identifiers = identifiers;
            let (mut lines, said) = (Vec::new(), scribe.say(events));
            scribe.write(
                &mut lines,
                (u64::MAX - 2, [0xcd; MAC_LEN]),
                &said,
                Anchored { cache: 5, journal: 6, epoch: 7 },
            );
            let line = std::str::from_utf8(&lines).unwrap().lines().nth(nth).unwrap();
            serde_json::from_str::<Value>(line).unwrap()
        };
        let mut whole = line(Identifiers::Plain, std::slice::from_ref(&event), 0);
        let varying = ["time", "boot_ms", "mac"].map(|member| whole[member].take());
        assert!(varying[0].is_string() && varying[1].is_u64() && varying[2].is_string());
        let (nil, max) = (Uuid::nil().to_string(), Uuid::max().to_string());
        let expected = json!({
            "v": 2, "seq": u64::MAX - 1, "time": null, "boot_ms": null, "session": session,
            "action": "audit.segment", "outcome": "done", "reason": "it's so", "rule": text,
            "actor": { "uid": 1, "gid": u32::MAX, "unit": text }, "authentication": nil, "principal": "embedded",
            "owner": text, "name": text, "intent": max, "request": max, "count": 3, "slot": nil, "epoch": 4,
            "digest": "ab".repeat(32), "after": "cd".repeat(32),
            "generations": { "cache": 5, "journal": 6, "epoch": 7 }, "mac": null,
        });
        assert_eq!(whole, expected);
        let bare = Event::new(Action::Read, Outcome::Refused);
        let second = line(Identifiers::Fingerprint, &[event, bare], 1);
        assert_eq!((&second["seq"], &second["outcome"]), (&json!(u64::MAX), &json!("refused")));
        assert_eq!(second.as_object().unwrap().len(), 9, "nothing of the one before: {second}");
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
