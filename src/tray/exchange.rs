//! One request and its answer, each part of it within its time.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, Request};
use tokio::time::timeout;

use super::{
    body::{self, MALFORMED, Unfit, Unread},
    error::{Class, Repeat, of_status},
    skew::Skew,
};
use crate::secret::SecretBytes;

/// How long the parts of an exchange may take.
#[derive(Clone, Copy)]
pub(super) struct Timeouts {
    /// From sending, which may take a connection first, to the answer's head.
    pub(super) header: Duration,
    /// From there to the body's end.
    pub(super) body: Duration,
}

/// Why an exchange came to nothing.
pub(super) struct Problem {
    pub(super) class: Class,
    pub(super) reason: &'static str,
    pub(super) status: Option<u16>,
    pub(super) source: Source,
}

/// Where a problem comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Tray did not answer: nobody did, or it broke down, or somebody in between answered in its place. A 500 in Tray's own
    /// form is an answer: it failed at this call, which says nothing of the others.
    Host,
    /// Tray answered: over the limit.
    Limit,
    /// Tray answered.
    Tray,
}

/// A success, whose body may be empty.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: SecretBytes,
}

/// Sends a request once and reads its answer. When it was made is noted in `skew`.
pub(super) async fn exchange(
    http: &Client,
    request: Request,
    timeouts: Timeouts,
    repeat: Repeat,
    skew: &Skew,
) -> Result<Answer, Problem> {
    let unanswered = |reason, status| Problem { class: repeat.unanswered(), reason, status, source: Source::Host };
    // The error's text has the URL and may have more: only its kind is used.
    let response = match timeout(timeouts.header, http.execute(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) if error.is_connect() || error.is_builder() => {
            let class = Class::RetryLater;
            return Err(Problem { class, reason: "Tray can't be reached", status: None, source: Source::Host });
        }
        Ok(Err(_)) => return Err(unanswered("the connection to Tray broke", None)),
        Err(_) => return Err(unanswered("Tray did not answer in time", None)),
    };
    skew.note(response.headers(), Timestamp::now());
    let status = response.status().as_u16();
    let read = async { timeout(timeouts.body, body::read(response)).await };
    let Some((class, reason)) = of_status(status, repeat) else {
        let (reason, source) = match read.await {
            Ok(Ok(body)) => return Ok(Answer { status, body }),
            Ok(Err(Unread::Broken)) => ("the answer broke off", Source::Host),
            Ok(Err(Unread::TooLarge)) => ("the answer is too large", Source::Tray),
            Ok(Err(Unread::Encoded)) => (MALFORMED, Source::Tray),
            Err(_) => ("the answer did not end in time", Source::Host),
        };
        return Err(Problem { source, ..unanswered(reason, Some(status)) });
    };
    let problem = |class, reason, source| Problem { class, reason, status: Some(status), source };
    match status {
        429 => return Err(problem(class, reason, Source::Limit)),
        501..=599 => return Err(problem(class, reason, Source::Host)),
        _ => {}
    }
    Err(if matches!(read.await, Ok(Ok(body)) if body::is_trays_error(&body)) {
        problem(class, reason, Source::Tray)
    } else if matches!(class, Class::TokenRejected | Class::NotPermitted | Class::Gone) {
        // Secrets are destroyed on these: not on the word of a proxy in between, which may answer HTML.
        problem(Class::RetryLater, "a refusal that is not in Tray's form", Source::Host)
    } else {
        problem(class, reason, Source::Host)
    })
}

impl Problem {
    /// What is wrong with a success that was read.
    pub(super) fn of_unfit(unfit: &Unfit, status: u16, repeat: Repeat) -> Self {
        let (class, reason, source) = match *unfit {
            Unfit::NotJson => (repeat.unanswered(), MALFORMED, Source::Host),
            Unfit::Misshapen => (repeat.unanswered(), MALFORMED, Source::Tray),
            Unfit::OverLimit => (Class::RetryLater, "over Tray's request limit", Source::Limit),
            Unfit::Refused(class, reason) => (class, reason, Source::Tray),
        };
        Self { class, reason, status: Some(status), source }
    }
}
