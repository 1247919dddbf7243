//! Who calls, as the kernel says it, and looked at again while a connection lasts: what a process is may change.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
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
/// From this age on a caller waits until it is looked at again.
const LOOK_AT_ONCE: Duration = Duration::from_secs(3);

/// Identifies peers.
pub(super) struct Peers {
    policy: watch::Receiver<Arc<Policy>>,
    guarded: Mutex<Option<Guarded>>,
    is_looking: AtomicBool,
}

/// The control groups in which a process runs that the workflow guard names.
struct Guarded {
    looked_at: Instant,
    by: Arc<Policy>,
    /// `None`: they could not be seen.
    groups: Option<Arc<HashSet<String>>>,
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
        Self { policy, guarded: Mutex::default(), is_looking: AtomicBool::default() }
    }

    /// What there is to know of a peer.
    pub(super) fn look_at(self: &Arc<Self>, peer: Peer) -> Connected {
        let seen = Seen { looked_at: Instant::now(), caller: Arc::new(self.caller(&peer)) };
        Connected { peers: Arc::clone(self), peer, seen: Mutex::new(seen) }
    }

    fn caller(self: &Arc<Self>, peer: &Peer) -> Caller {
        // What a process gained since it connected, by a program that is set to another user's id, is not its caller's.
        let found = peer.process().filter(|process| process.uid == Some(peer.uid));
        let supplementary = found.as_ref().map(|process| process.gids.clone()).unwrap_or_default();
        let process = match (found, self.guarded()) {
            (Some(process), Some(guarded)) => Process::Known {
                beside_guarded: process.control_group.is_some_and(|group| guarded.contains(&group)),
                unit: process.unit,
                units: process.units,
                names: process.names,
            },
            _ if peer::has_peer_pidfd().unwrap_or(false) => Process::Vanished,
            _ => Process::Unsupported,
        };
        Caller { uid: peer.uid, gids: std::iter::once(peer.gid).chain(supplementary).collect(), process }
    }

    /// The control groups that the guard's processes run in; `None` if that can't be seen.
    fn guarded(self: &Arc<Self>) -> Option<Arc<HashSet<String>>> {
        let policy = Arc::clone(&self.policy.borrow());
        let known = self.known();
        if let Some(guarded) = known.as_ref().filter(|known| Arc::ptr_eq(&known.by, &policy)) {
            let age = guarded.looked_at.elapsed();
            if age < LOOK_AGAIN {
                return guarded.groups.clone();
            }
            if age < LOOK_AT_ONCE {
                let groups = guarded.groups.clone();
                drop(known);
                // There may be thousands of processes: callers are not kept waiting for them.
                if !self.is_looking.swap(true, Ordering::AcqRel) {
                    let peers = Arc::clone(self);
                    tokio::task::spawn_blocking(move || peers.look_around(policy));
                }
                return groups;
            }
        }
        drop(known);
        self.look_around(policy)
    }

    fn look_around(&self, policy: Arc<Policy>) -> Option<Arc<HashSet<String>>> {
        let groups = guarded_groups(&policy).map(Arc::new);
        *self.known() = Some(Guarded { looked_at: Instant::now(), by: policy, groups: groups.clone() });
        self.is_looking.store(false, Ordering::Release);
        groups
    }

    fn known(&self) -> MutexGuard<'_, Option<Guarded>> {
        // It is replaced as a whole.
        self.guarded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn guarded_groups(policy: &Policy) -> Option<HashSet<String>> {
    let guard = policy.guard();
    if !guard.looks_at_processes() {
        return Some(HashSet::new());
    }
    let all = process::all().inspect_err(|error| tracing::error!(%error, "/proc can't be read")).ok()?;
    let guarded = all.into_iter().filter(|process| guard.names_process(&process.units, &process.names));
    Some(guarded.filter_map(|process| process.control_group).collect())
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
