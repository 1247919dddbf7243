//! What systemd hears while the daemon runs (sd_notify(3)): how it stands, and that it goes on. A daemon whose writer, accept
//! loops or audit log are stuck tells nothing, and is started anew (`WatchdogSec=`).

use std::{fmt::Write, pin::Pin, time::Duration};

use sd_notify::NotifyState;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::notify;
use crate::{
    audit::AuditLog,
    pulse::Pulse,
    status::{Board, Posted},
    task::{Shutdown, TaskError},
    tray::Circuit,
    vault::{Cache, Counts},
};

/// The time from one look at how the daemon stands to the next.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The task.
pub(super) struct Heartbeat {
    /// How long systemd waits for a beat, if it does.
    watchdog: Option<Duration>,
    cache: Cache,
    board: Board,
    parts: Vec<(&'static str, Alive)>,
    told: String,
}

/// Resolves once a part has shown that it goes on; never, or with `false`, where it does not.
type Alive = Box<dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

impl Heartbeat {
    /// Puts the task together, for the accept loops that answer to these.
    pub(super) fn new(cache: Cache, audit: AuditLog, board: Board, loops: [(&'static str, Pulse); 2]) -> Self {
        let writer = {
            let cache = cache.clone();
            alive(move || {
                let cache = cache.clone();
                async move { cache.goes_on().await }
            })
        };
        let audit = alive(move || {
            let audit = audit.clone();
            async move { tokio::task::spawn_blocking(move || audit.go_on()).await.is_ok() }
        });
        let mut parts = vec![("cache writer", writer), ("audit log", audit)];
        parts.extend(loops.map(|(name, pulse)| {
            let ask = move || {
                let pulse = pulse.clone();
                async move { pulse.beats().await }
            };
            (name, alive(ask))
        }));
        Self { watchdog: sd_notify::watchdog_enabled(), cache, board, parts, told: String::new() }
    }

    /// Tells until the shutdown.
    ///
    /// # Errors
    /// None.
    pub(super) async fn run(mut self, mut shutdown: Shutdown) -> Result<(), TaskError> {
        // A beat may take as long again as twice the pause before it, and there is time left.
        let mut ticks = interval(self.watchdog.map_or(LOOK_AGAIN, |limit| (limit / 4).min(LOOK_AGAIN)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.requested() => return Ok(()),
            }
            self.tell_standing();
            let Some(limit) = self.watchdog else { continue };
            tokio::select! {
                stuck = stuck(&self.parts, Instant::now() + limit / 2) => match stuck {
                    None => notify(&[NotifyState::Watchdog]),
                    Some(part) => tracing::error!(part, "does not go on: systemd is not told that all is well"),
                },
                () = shutdown.requested() => return Ok(()),
            }
        }
    }

    fn tell_standing(&mut self) {
        let standing = standing(self.cache.counts().ok().as_ref(), &self.board.read());
        if standing != self.told {
            notify(&[NotifyState::Status(&standing)]);
            self.told = standing;
        }
    }
}

fn alive<F: Future<Output = bool> + Send + 'static>(ask: impl Fn() -> F + Send + Sync + 'static) -> Alive {
    Box::new(move || Box::pin(ask()))
}

/// The first part that does not show in time that it goes on.
async fn stuck(parts: &[(&'static str, Alive)], deadline: Instant) -> Option<&'static str> {
    for (name, alive) in parts {
        if !matches!(timeout_at(deadline, alive()).await, Ok(true)) {
            return Some(name);
        }
    }
    None
}

/// One line of counts: no ids, no names.
fn standing(counts: Option<&Counts>, posted: &Posted) -> String {
    let Some(counts) = counts else { return "the cache can't be read".to_owned() };
    let Counts { full, pending, not_permitted, not_enabled, gone: _, damaged, refused, users: _ } = counts;
    let listed = full + pending + not_permitted + not_enabled + damaged + refused;
    let mut line = format!("{full} of {listed} authentications held in full");
    let tray = &posted.tray;
    line += match (tray.offline, tray.hosts.iter().all(|host| host.circuit == Circuit::Closed)) {
        (true, _) => "; offline",
        (false, true) => "",
        (false, false) => "; Tray does not answer",
    };
    let reported = posted.sync.last.iter().flat_map(|last| &last.problems);
    let problems = reported.chain(&posted.ingest.problems).chain(&posted.problems).count();
    for (count, what) in
        [(posted.ingest.pending, "documents pending"), (posted.ingest.held, "documents held"), (problems, "problems")]
    {
        if count > 0 {
            let _ = write!(line, "; {what}: {count}");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        pulse,
        status::Problem,
        tray::{self, Tray},
    };

    #[tokio::test(start_paused = true)]
    async fn a_part_that_is_stuck_or_has_ended_is_named() {
        let (pulse, mut beats) = pulse::pulse();
        let going = tokio::spawn(async move {
            loop {
                let _ = beats.asked().await.send(());
            }
        });
        let asks = move || {
            let pulse = pulse.clone();
            async move { pulse.beats().await }
        };
        let parts = [("loop", alive(asks))];
        let deadline = || Instant::now() + Duration::from_secs(1);
        assert_eq!(stuck(&parts, deadline()).await, None);
        let stopped = alive(std::future::pending);
        let [part] = parts;
        let parts = [part, ("other", stopped)];
        assert_eq!(stuck(&parts, deadline()).await, Some("other"));
        going.abort();
        assert_eq!(stuck(&parts, deadline()).await, Some("loop"));
    }

    #[test]
    fn one_line_says_how_it_stands() {
        let board = Board::new(jiff::Timestamp::UNIX_EPOCH, || tray(false));
        let counts = Counts { full: 7, pending: 2, gone: 5, users: 3, ..Counts::default() };
        assert_eq!(standing(Some(&counts), &board.read()), "7 of 9 authentications held in full");
        board.post(|posted| {
            posted.ingest.pending = 2;
            posted.ingest.held = 1;
            posted.problems.push(Problem { what: String::new(), hint: None });
        });
        let line = standing(Some(&counts), &Posted { tray: tray(true), ..board.read() });
        let said = "7 of 9 authentications held in full; offline; documents pending: 2; documents held: 1; problems: 1";
        assert_eq!(line, said);
        assert_eq!(standing(None, &board.read()), "the cache can't be read");
    }

    fn tray(offline: bool) -> tray::Standing {
        Tray::new(&tray::Config { offline, ..tray::Config::default() }).expect("a client").standing()
    }
}
