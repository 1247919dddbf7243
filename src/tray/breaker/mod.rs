//! The circuit breaker of one host: after several requests in a row that it has not answered, nothing is sent for a
//! while, then one harmless call finds out whether it answers again.

#[cfg(test)]
mod tests;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{
    backoff,
    error::Repeat,
    standing::{Circuit, HostStanding, whole_seconds},
};

/// Failures in a row that open the circuit.
const FAILURES: u32 = 5;

/// How long it is open the first time; each time that a probe fails it is twice as long.
const FIRST: Duration = Duration::from_secs(5);

/// The longest that it is open.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// The state of a circuit: pure, and told the time.
#[derive(Debug)]
struct Breaker {
    state: State,
    /// Failures in a row.
    failures: u32,
    /// How long it is open the next time.
    wait: Duration,
    /// How often the state has changed. What was admitted in an earlier state says nothing of this one.
    epoch: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open {
        until: Instant,
    },
    /// INVARIANT: the one ticket of this epoch is the probe's.
    Probing,
}

/// Leave to send one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
struct Ticket {
    epoch: u64,
}

impl Breaker {
    fn new() -> Self {
        Self { state: State::Closed, failures: 0, wait: FIRST, epoch: 0 }
    }

    /// Leave to send, if the host is asked. `harmless` calls alone may be the probe: what else goes to a host that has
    /// not been answering would end in an unknown outcome.
    fn admit(&mut self, now: Instant, harmless: bool) -> Option<Ticket> {
        match self.state {
            State::Closed => {}
            State::Open { until } if until <= now && harmless => self.change(State::Probing),
            State::Open { .. } | State::Probing => return None,
        }
        Some(Ticket { epoch: self.epoch })
    }

    /// Whether nothing has changed since it was given.
    fn is_current(&self, ticket: Ticket) -> bool {
        ticket.epoch == self.epoch
    }

    /// The host answered.
    fn succeeded(&mut self, ticket: Ticket) {
        if self.is_current(ticket) {
            self.failures = 0;
            self.wait = FIRST;
            if self.state == State::Probing {
                self.change(State::Closed);
            }
        }
    }

    /// The host did not answer. `spread` is a factor from 1.
    fn failed(&mut self, ticket: Ticket, now: Instant, spread: f64) {
        if self.is_current(ticket) {
            self.failures = self.failures.saturating_add(1);
            if self.state == State::Probing || self.failures >= FAILURES {
                self.change(State::Open { until: now + self.wait.mul_f64(spread) });
                self.wait = (self.wait * 2).min(LONGEST);
            }
        }
    }

    /// The caller does not wait for the answer any more: the place of the probe is free for another.
    fn abandoned(&mut self, ticket: Ticket, now: Instant) {
        if self.is_current(ticket) && self.state == State::Probing {
            self.change(State::Open { until: now });
        }
    }

    fn circuit(&self, now: Instant) -> Circuit {
        match self.state {
            State::Closed => Circuit::Closed,
            State::Open { until } if until > now => Circuit::Open,
            State::Open { .. } | State::Probing => Circuit::HalfOpen,
        }
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
    }
}

/// A host, and whether it is asked.
pub(super) struct Host {
    /// Its name, with its port where that is not the scheme's own.
    name: String,
    breaker: Mutex<Breaker>,
    changes: watch::Sender<()>,
}

/// Leave to send one request. Dropped without a word on how it went, it was abandoned.
#[must_use]
pub(super) struct Passage<'a> {
    host: &'a Host,
    ticket: Ticket,
}

impl Host {
    /// A host that is taken to answer; `changes` is told when that changes.
    pub(super) fn new(name: String, changes: watch::Sender<()>) -> Self {
        Self { name, breaker: Mutex::new(Breaker::new()), changes }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Leave to send; `None` while the host has not been answering.
    pub(super) fn pass(&self, repeat: Repeat) -> Option<Passage<'_>> {
        let ticket = self.change(|breaker| breaker.admit(Instant::now(), repeat == Repeat::Harmless))?;
        Some(Passage { host: self, ticket })
    }

    pub(super) fn standing(&self) -> HostStanding {
        let (breaker, now) = (self.breaker(), Instant::now());
        let retry_in_seconds = match breaker.state {
            State::Open { until } => until.checked_duration_since(now).map(whole_seconds).filter(|left| *left > 0),
            State::Closed | State::Probing => None,
        };
        HostStanding {
            host: self.name.clone(),
            circuit: breaker.circuit(now),
            retry_in_seconds,
            failures: breaker.failures,
        }
    }

    /// Whatever may change the state goes through here, so that each change is told.
    fn change<T>(&self, with: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breaker = self.breaker();
        let before = breaker.epoch;
        let result = with(&mut breaker);
        let is_changed = breaker.epoch != before;
        drop(breaker);
        if is_changed {
            self.changes.send_replace(());
        }
        result
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Passage<'_> {
    /// Whether the circuit is as it was when this was given.
    pub(super) fn is_current(&self) -> bool {
        self.host.breaker().is_current(self.ticket)
    }

    /// The host answered, whatever it said.
    pub(super) fn succeeded(self) {
        self.host.change(|breaker| breaker.succeeded(self.ticket));
    }

    /// It did not, or somebody else did.
    pub(super) fn failed(self) {
        self.host.change(|breaker| breaker.failed(self.ticket, Instant::now(), backoff::spread()));
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        self.host.change(|breaker| breaker.abandoned(self.ticket, Instant::now()));
    }
}
