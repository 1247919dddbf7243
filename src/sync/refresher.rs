//! What does not wait for a cycle: refreshes that callers ask for, principals that the drop directory changed, and what is
//! about to expire.

use std::{sync::Arc, time::Duration};

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
    feed::Happening,
    requests::{PartRequest, RefreshRequest, Refreshed},
    status::Problem,
    system::clock,
    task::{Shutdown, TaskError},
    tray::{HostStanding, Priority},
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
}

impl Refresher {
    pub(super) fn new(worker: Arc<Worker>, requests: mpsc::Receiver<PartRequest>) -> Self {
        Self { worker, requests, places: Arc::new(Semaphore::new(EXPIRING_AT_ONCE)) }
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
                running.spawn(async move {
                    let config = worker.config();
                    Cycles(worker).run_for(&owner, &config).await;
                });
            }
            PartRequest::Authentication(RefreshRequest { id, rejected, answer }) => {
                running.spawn(async move {
                    let want = rejected.map_or(Want::AsItIs, Want::OtherThan);
                    let pulled = worker.pull(id, want, Priority::Refresh).await;
                    // Whoever asked may have gone.
                    let _ = answer.send(refreshed(pulled));
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
        for one in expiring.into_iter().filter(|one| expires(one, now, margin)) {
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

fn refreshed(pulled: Pulled) -> Refreshed {
    match pulled {
        Pulled::Sealed => Refreshed::Pulled,
        Pulled::Current => Refreshed::Current,
        Pulled::Overtaken => Refreshed::Failed(Problem { what: "it changes all the time".to_owned(), hint: None }),
        Pulled::Withheld | Pulled::Gone | Pulled::Refused(_) | Pulled::NotEnabled(_) => Refreshed::Refused,
        Pulled::Failed(problem) => Refreshed::Failed(problem),
    }
}
