//! How the client stands: what other parts show of it. Nothing in it is a secret.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    budget::Priority,
    error::Class,
    exchange::{Problem, Source},
};

/// How the client stands towards Tray.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Whether it was told not to ask Tray at all.
    pub offline: bool,
    /// Each host once: REST's, then GraphQL's where that is another.
    pub hosts: Vec<HostStanding>,
    /// The budget of requests.
    pub budget: BudgetStanding,
    /// What was sent since the start.
    pub requests: Requests,
    /// What came of it.
    pub answers: Answers,
}

/// How one host stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStanding {
    /// Its name, with its port where that is not the scheme's own.
    pub host: String,
    /// Whether it is asked.
    pub circuit: Circuit,
    /// While the circuit is open: when it is asked again, in seconds, rounded up.
    pub retry_in_seconds: Option<u64>,
    /// Requests in a row that it has not answered.
    pub failures: u32,
}

/// Whether a host is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Circuit {
    /// It is.
    Closed,
    /// It is not: it has not been answering.
    Open,
    /// One call may ask, or asks, whether it answers again.
    HalfOpen,
}

impl Circuit {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// How the budget stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetStanding {
    /// Permits that can be had at once.
    pub tokens: u32,
    /// The most that there can be of them.
    pub capacity: u32,
    /// Calls that wait for a permit.
    pub waiting: usize,
    /// The same by [`Priority`].
    pub waiting_by: Waiting,
    /// After 'over the limit': how long nobody sends yet, in seconds, rounded up.
    pub paused_for_seconds: Option<u64>,
    /// Answers of 'over the limit' since the start.
    pub limit_errors: u64,
}

/// Calls that wait for a permit, by [`Priority`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Of [`Priority::Refresh`].
    pub refresh: u64,
    /// Of [`Priority::Ingest`].
    pub ingest: u64,
    /// Of [`Priority::Expiry`].
    pub expiry: u64,
    /// Of [`Priority::Discovery`].
    pub discovery: u64,
}

impl FromIterator<Priority> for Waiting {
    fn from_iter<I: IntoIterator<Item = Priority>>(priorities: I) -> Self {
        let mut waiting = Self::default();
        for priority in priorities {
            *match priority {
                Priority::Refresh => &mut waiting.refresh,
                Priority::Ingest => &mut waiting.ingest,
                Priority::Expiry => &mut waiting.expiry,
                Priority::Discovery => &mut waiting.discovery,
            } += 1;
        }
        waiting
    }
}

/// Requests that were sent since the start, by [`Priority`]. Repeated attempts count each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// Of [`Priority::Refresh`].
    pub refresh: u64,
    /// Of [`Priority::Ingest`].
    pub ingest: u64,
    /// Of [`Priority::Expiry`].
    pub expiry: u64,
    /// Of [`Priority::Discovery`].
    pub discovery: u64,
}

impl Requests {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.refresh + self.ingest + self.expiry + self.discovery
    }
}

/// What came of the requests that were sent since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// They succeeded.
    pub success: u64,
    /// They were not answered, or by somebody else than Tray.
    pub unanswered: u64,
    /// Over the limit.
    pub over_limit: u64,
    /// Tray does not accept the token.
    pub token_rejected: u64,
    /// The token is not allowed to do this.
    pub not_permitted: u64,
    /// No such thing.
    pub not_found: u64,
    /// Tray refuses what was sent.
    pub bad_input: u64,
    /// Tray failed.
    pub failed: u64,
}

/// Counts requests, and what comes of them.
#[derive(Default)]
pub(super) struct Counters {
    refresh: AtomicU64,
    ingest: AtomicU64,
    expiry: AtomicU64,
    discovery: AtomicU64,
    answers: AnswerCounters,
}

#[derive(Default)]
struct AnswerCounters {
    success: AtomicU64,
    unanswered: AtomicU64,
    over_limit: AtomicU64,
    token_rejected: AtomicU64,
    not_permitted: AtomicU64,
    not_found: AtomicU64,
    bad_input: AtomicU64,
    failed: AtomicU64,
}

impl Counters {
    pub(super) fn count(&self, priority: Priority) {
        let counter = match priority {
            Priority::Refresh => &self.refresh,
            Priority::Ingest => &self.ingest,
            Priority::Expiry => &self.expiry,
            Priority::Discovery => &self.discovery,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what came of one.
    pub(super) fn count_answer(&self, problem: Option<&Problem>) {
        let answers = &self.answers;
        let counter = match problem.map(|problem| (problem.source, problem.class)) {
            None => &answers.success,
            Some((Source::Host, _)) => &answers.unanswered,
            Some((Source::Limit, _)) => &answers.over_limit,
            Some((Source::Tray, Class::TokenRejected)) => &answers.token_rejected,
            Some((Source::Tray, Class::NotPermitted | Class::NotEnabled)) => &answers.not_permitted,
            Some((Source::Tray, Class::Gone)) => &answers.not_found,
            Some((Source::Tray, Class::BadInput)) => &answers.bad_input,
            Some((Source::Tray, Class::RetryLater | Class::UnknownOutcome)) => &answers.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answers(&self) -> Answers {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let answers = &self.answers;
        Answers {
            success: read(&answers.success),
            unanswered: read(&answers.unanswered),
            over_limit: read(&answers.over_limit),
            token_rejected: read(&answers.token_rejected),
            not_permitted: read(&answers.not_permitted),
            not_found: read(&answers.not_found),
            bad_input: read(&answers.bad_input),
            failed: read(&answers.failed),
        }
    }

    pub(super) fn requests(&self) -> Requests {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Requests {
            refresh: read(&self.refresh),
            ingest: read(&self.ingest),
            expiry: read(&self.expiry),
            discovery: read(&self.discovery),
        }
    }
}

/// Seconds, rounded up: a wait that is not over is never shown as none.
pub(super) fn whole_seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}
