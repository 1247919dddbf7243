//! Who calls, as the kernel says it, and looked at again while a connection lasts: what a process is may change.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    policy::{Caller, Policy, Process},
    system::{
        peer::{self, Peer},
        process,
    },
};

/// How old what is known of a process may be: a system call for each answer would be its most expensive part.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Identifies peers.
pub(super) struct Peers {
    policy: watch::Receiver<Arc<Policy>>,
    guarded: Mutex<Option<Guarded>>,
}

/// The control groups in which a process runs that the workflow guard names.
struct Guarded {
    looked_at: Instant,
    by: Arc<Policy>,
    groups: Arc<HashSet<String>>,
}

/// The peer of a connection.
pub(super) struct Connected {
    peers: Arc<Peers>,
    peer: Peer,
    seen: Mutex<Seen>,
}

struct Seen {
    looked_at: Instant,
    caller: Arc<Caller>,
}

impl Peers {
    pub(super) fn new(policy: watch::Receiver<Arc<Policy>>) -> Self {
        Self { policy, guarded: Mutex::default() }
    }

    /// What there is to know of a peer.
    pub(super) fn look_at(self: &Arc<Self>, peer: Peer) -> Connected {
        let seen = Seen { looked_at: Instant::now(), caller: Arc::new(self.caller(&peer)) };
        Connected { peers: Arc::clone(self), peer, seen: Mutex::new(seen) }
    }

    fn caller(&self, peer: &Peer) -> Caller {
        let found = peer.process();
        let supplementary = found.as_ref().map(|process| process.gids.clone()).unwrap_or_default();
        let process = match found {
            Some(process) => Process::Known {
                beside_guarded: process.control_group.is_some_and(|group| self.guarded().contains(&group)),
                units: process.units,
                names: process.names,
            },
            None if peer::has_peer_pidfd().unwrap_or(false) => Process::Vanished,
            None => Process::Unsupported,
        };
        Caller { uid: peer.uid, gids: std::iter::once(peer.gid).chain(supplementary).collect(), process }
    }

    fn guarded(&self) -> Arc<HashSet<String>> {
        let policy = Arc::clone(&self.policy.borrow());
        let mut guarded = self.guarded.lock().unwrap_or_else(PoisonError::into_inner);
        match &*guarded {
            Some(known) if known.looked_at.elapsed() < LOOK_AGAIN && Arc::ptr_eq(&known.by, &policy) => {
                Arc::clone(&known.groups)
            }
            _ => {
                let groups = Arc::new(guarded_groups(&policy));
                *guarded = Some(Guarded { looked_at: Instant::now(), by: policy, groups: Arc::clone(&groups) });
                groups
            }
        }
    }
}

fn guarded_groups(policy: &Policy) -> HashSet<String> {
    let guard = policy.guard();
    if !guard.looks_at_processes() {
        return HashSet::new();
    }
    // A caller's process was just read there, so that this can't fail for long.
    let all = process::all().unwrap_or_default();
    all.into_iter()
        .filter(|process| guard.names_process(&process.units, &process.names))
        .filter_map(|process| process.control_group)
        .collect()
}

impl Connected {
    /// Who it is: as it was a second ago, at most.
    pub(super) fn caller(&self) -> Arc<Caller> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.looked_at.elapsed() >= LOOK_AGAIN {
            *seen = Seen { looked_at: Instant::now(), caller: Arc::new(self.peers.caller(&self.peer)) };
        }
        Arc::clone(&seen.caller)
    }
}
