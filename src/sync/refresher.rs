//! What does not wait for a cycle: refreshes that callers ask for, principals that the drop directory changed, and what is
//! about to expire.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

use super::{
    cycle::Cycles,
    flights::Want,
    plan::{expires, longest_lead},
    pull::Pulled,
    worker::{Dependencies, Worker},
};
use crate::{
    authentication::Owner,
    feed::Happening,
    requests::{PartRequest, RefreshRequest, Refreshed, Trouble},
    status::Problem,
    system::clock,
    task::{Shutdown, TaskError},
    tray::{HostStanding, Priority},
    vault::Scheduled,
};

/// Pulls ahead of an expiry that are under way at once.
const EXPIRING_AT_ONCE: usize = 16;

/// The shortest and the longest time from one look at what expires to the next.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The task that pulls parts, while cycles run.
pub struct Refresher {
    worker: Arc<Worker>,
    requests: mpsc::Receiver<PartRequest>,
    /// Places for pulls ahead of an expiry.
    places: Arc<Semaphore>,
    /// Principals whose lists are being read on request, and whether something of theirs changed since.
    listing: Arc<Mutex<HashMap<Owner, bool>>>,
}

impl Refresher {
    pub(super) fn new(worker: Arc<Worker>, requests: mpsc::Receiver<PartRequest>) -> Self {
        Self { worker, requests, places: Arc::new(Semaphore::new(EXPIRING_AT_ONCE)), listing: Arc::default() }
    }

    /// Answers requests and looks at what expires, until the shutdown.
    ///
    /// # Errors
    /// None: what goes wrong is answered, or logged and tried again.
    pub async fn run(mut self, mut shutdown: Shutdown) -> Result<(), TaskError> {
        let mut running = JoinSet::new();
        let mut look_at = clock::since_boot();
        let mut circuits = self.worker.dependencies.tray.changes();
        loop {
            // Each time: those that end faster than they are looked at one by one would be kept for ever.
            while running.try_join_next().is_some() {}
            tokio::select! {
                () = shutdown.requested() => return Ok(()),
                Some(request) = self.requests.recv() => self.begin(request, &mut running),
                // One that dies has been answered by its absence.
                Some(_) = running.join_next() => {}
                Ok(()) = circuits.changed() => self.tell(),
                () = clock::sleep_until(look_at) => {
                    let margin = self.worker.dependencies.config.borrow().expiry_margin;
                    look_at = clock::since_boot() + (margin / 20).clamp(LOOK.0, LOOK.1);
                    self.look(margin, &mut running);
                }
            }
        }
    }

    fn begin(&self, request: PartRequest, running: &mut JoinSet<()>) {
        let worker = Arc::clone(&self.worker);
        match request {
            PartRequest::Owner(owner) => {
                let listing = Arc::clone(&self.listing);
                if let Some(changed) = of(&listing).get_mut(&owner) {
                    *changed = true;
                    return;
                }
                of(&listing).insert(owner.clone(), true);
                running.spawn(async move {
                    let cycles = Cycles(worker);
                    while take_change(&listing, &owner) {
                        cycles.run_for(&owner, &cycles.0.config()).await;
                    }
                });
            }
            PartRequest::Authentication(RefreshRequest { id, rejected, mut answer }) => {
                running.spawn(async move {
                    let want = rejected.map_or(Want::AsItIs, Want::OtherThan);
                    // Whoever asked may have gone. The pull goes on without anybody waiting for it.
                    tokio::select! {
                        pulled = worker.pull(id, want, Priority::Refresh) => drop(answer.send(refreshed(pulled))),
                        () = answer.closed() => {}
                    }
                });
            }
        }
    }

    /// Pulls what expires soon, what expires first in front. What finds no place is looked at again.
    fn look(&self, margin: Duration, running: &mut JoinSet<()>) {
        if !self.worker.is_answered() {
            return;
        }
        let now = Timestamp::now();
        let Ok(before) = now.checked_add(longest_lead(margin)) else { return };
        // A cache that can't be read is reported by who reads it for a caller; a locked one has nothing to say.
        let expiring = self.worker.dependencies.cache.expiring(before).unwrap_or_default();
        let is_due = |one: &Scheduled| expires(one, now, margin) && !self.worker.flights.has(one.id);
        for one in expiring.into_iter().filter(is_due) {
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
            let worker = Arc::clone(&self.worker);
            running.spawn(async move {
                // What fails is logged, and still due.
                let _ = worker.pull(one.id, Want::AsItIs, Priority::Expiry).await;
                drop(place);
            });
        }
    }

    fn tell(&self) {
        let Dependencies { tray, feed, .. } = &self.worker.dependencies;
        for HostStanding { host, circuit, .. } in tray.standing().hosts {
            feed.tell(None, Happening::Tray { host, circuit });
        }
    }
}

fn of(listing: &Mutex<HashMap<Owner, bool>>) -> MutexGuard<'_, HashMap<Owner, bool>> {
    listing.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether something of a principal's changed since its list was read last; if not, it is not being read any more.
fn take_change(listing: &Mutex<HashMap<Owner, bool>>, owner: &Owner) -> bool {
    let mut listing = of(listing);
    let changed = listing.get_mut(owner).is_some_and(std::mem::take);
    if !changed {
        listing.remove(owner);
    }
    changed
}

fn refreshed(pulled: Pulled) -> Refreshed {
    match pulled {
        Pulled::Sealed => Refreshed::Pulled,
        Pulled::Current => Refreshed::Current,
        Pulled::Overtaken => {
            let problem = Problem { what: "it changes all the time".to_owned(), hint: None };
            Refreshed::Failed(problem, Trouble::Unavailable)
        }
        Pulled::Withheld | Pulled::Gone | Pulled::Refused(_) | Pulled::NotEnabled(_) => Refreshed::Refused,
        Pulled::Failed(problem, trouble) => Refreshed::Failed(problem, trouble),
    }
}
