//! Supervised tasks and the one signal that ends them all. A task that ends before it was asked to is never
//! ignored: it stops the daemon.

use std::time::Duration;

use tokio::{sync::watch, task::JoinSet};

/// Why a task ended early.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

/// The shutdown signal as a task sees it.
#[derive(Clone)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Resolves once the daemon drains; at once if it does already.
    pub async fn requested(&mut self) {
        // An error means that the sender is gone, which is a shutdown as well.
        let _ = self.0.wait_for(|draining| *draining).await;
    }

    /// Whether the daemon drains.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }
}

/// How the drain went.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Drained {
    /// Every task ended by itself.
    Whole,
    /// These tasks were still busy at the deadline and were cut off.
    CutOff(Vec<&'static str>),
}

/// The daemon's tasks, each with a name.
pub struct Tasks {
    set: JoinSet<()>,
    running: Vec<(tokio::task::Id, &'static str)>,
    failure: watch::Sender<Option<(&'static str, String)>>,
    shutdown: watch::Sender<bool>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            set: JoinSet::new(),
            running: Vec::new(),
            failure: watch::Sender::new(None),
            shutdown: watch::Sender::new(false),
        }
    }
}

impl Tasks {
    /// The signal to hand to a task.
    pub fn shutdown(&self) -> Shutdown {
        Shutdown(self.shutdown.subscribe())
    }

    /// Starts a task. If it returns an error, or returns at all before the shutdown, the daemon stops.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = Result<(), TaskError>> + Send + 'static) {
        let (failure, shutdown) = (self.failure.clone(), self.shutdown());
        let handle = self.set.spawn(async move {
            let guard = Died { name, failure: &failure };
            let outcome = task.await;
            std::mem::forget(guard);
            match outcome {
                Err(error) => report(&failure, name, error.to_string()),
                Ok(()) if !shutdown.is_requested() => report(&failure, name, "ended by itself".to_owned()),
                Ok(()) => {}
            }
        });
        self.running.push((handle.id(), name));
    }

    /// Resolves with the name and the reason of the first task that died.
    pub fn first_death(&self) -> impl Future<Output = (&'static str, String)> + use<> {
        let mut failure = self.failure.subscribe();
        async move {
            match failure.wait_for(Option::is_some).await {
                Ok(death) => death.clone().unwrap_or(("unknown", String::new())),
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// Sends the shutdown signal and waits for every task, at most for `deadline`.
    pub async fn drain(mut self, deadline: Duration) -> Drained {
        self.shutdown.send_replace(true);
        let running = &mut self.running;
        let set = &mut self.set;
        let all = async {
            while let Some(ended) = set.join_next_with_id().await {
                let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                running.retain(|(other, _)| *other != id);
            }
        };
        match tokio::time::timeout(deadline, all).await {
            Ok(()) => Drained::Whole,
            Err(_) => Drained::CutOff(running.iter().map(|(_, name)| *name).collect()),
        }
    }
}

/// Reports a task that panics: its unwinding drops this guard, an ordinary end forgets it.
struct Died<'a> {
    name: &'static str,
    failure: &'a watch::Sender<Option<(&'static str, String)>>,
}

impl Drop for Died<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            report(self.failure, self.name, "panicked".to_owned());
        }
    }
}

fn report(failure: &watch::Sender<Option<(&'static str, String)>>, name: &'static str, reason: String) {
    failure.send_if_modified(|first| {
        let is_first = first.is_none();
        if is_first {
            *first = Some((name, reason));
        }
        is_first
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_dies_is_reported_by_name() {
        let mut tasks = Tasks::default();
        tasks.spawn("fails", async { Err("no reason".into()) });
        assert_eq!(tasks.first_death().await, ("fails", "no reason".to_owned()));
    }

    #[tokio::test]
    async fn a_task_that_panics_is_reported_by_name() {
        let mut tasks = Tasks::default();
        tasks.spawn("panics", async { panic!("boom") });
        assert_eq!(tasks.first_death().await, ("panics", "panicked".to_owned()));
    }

    #[tokio::test]
    async fn a_drain_waits_for_those_that_listen_and_names_those_that_do_not() {
        let mut tasks = Tasks::default();
        let mut shutdown = tasks.shutdown();
        tasks.spawn("listens", async move {
            shutdown.requested().await;
            Ok(())
        });
        tasks.spawn("stuck", std::future::pending());
        let drained = tasks.drain(Duration::from_millis(50)).await;
        assert_eq!(drained, Drained::CutOff(vec!["stuck"]));
    }
}
