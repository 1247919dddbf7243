//! One pull in flight for each authentication: whoever wants the same waits for it and shares its answer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::{pull::Pulled, worker::Worker};
use crate::{authentication::AuthenticationId, tray::Priority};

/// How often a pull that something has overtaken is made again at once.
const OVERTAKEN: u32 = 3;

/// What is wanted of a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// What Tray has.
    AsItIs,
    /// Something other than this revision, whose credentials their service rejected.
    OtherThan(u64),
}

impl Want {
    /// Whether a pull for the one is as good for the other.
    fn serves(self, other: Self) -> bool {
        self == other || other == Self::AsItIs
    }
}

/// The pulls that are in flight.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<AuthenticationId, Flight>>);

struct Flight {
    want: Want,
    landed: watch::Receiver<Option<Pulled>>,
}

impl Worker {
    /// Pulls an authentication, or waits for the pull that is in flight. Once begun it is carried out, whoever hangs up.
    pub(super) async fn pull(self: &Arc<Self>, id: AuthenticationId, want: Want, priority: Priority) -> Pulled {
        let mut overtaken = 0;
        loop {
            let (serves, mut landed) = self.join(id, want, priority);
            let pulled = landed.wait_for(Option::is_some).await.ok().and_then(|pulled| pulled.clone());
            match pulled {
                _ if !serves => {}
                Some(Pulled::Overtaken) if overtaken < OVERTAKEN => overtaken += 1,
                pulled => return pulled.unwrap_or_else(Pulled::died),
            }
        }
    }

    /// The pull in flight, or one that takes off now; and whether it is what is wanted.
    fn join(
        self: &Arc<Self>,
        id: AuthenticationId,
        want: Want,
        priority: Priority,
    ) -> (bool, watch::Receiver<Option<Pulled>>) {
        let mut flights = self.flights.in_flight();
        if let Some(Flight { want: wanted, landed }) = flights.get(&id) {
            return (wanted.serves(want), landed.clone());
        }
        let (sender, landed) = watch::channel(None);
        flights.insert(id, Flight { want, landed: landed.clone() });
        let landing = Landing { worker: Arc::clone(self), id };
        tokio::spawn(async move {
            let pulled = landing.worker.pull_now(id, want, priority).await;
            // Whoever is told may want another at once.
            drop(landing);
            sender.send_replace(Some(pulled));
        });
        (true, landed)
    }
}

/// Clears the way for the next pull, however this one ended.
struct Landing {
    worker: Arc<Worker>,
    id: AuthenticationId,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.worker.flights.in_flight().remove(&self.id);
    }
}

impl Flights {
    pub(super) fn has(&self, id: AuthenticationId) -> bool {
        self.in_flight().contains_key(&id)
    }

    fn in_flight(&self) -> MutexGuard<'_, HashMap<AuthenticationId, Flight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
