//! The transport of both APIs: what every call goes through, and what is tried again.

use std::sync::Arc;

use bytes::Bytes;
use reqwest::{
    Client, Method, Request,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use tokio::sync::watch;

use super::{
    backoff,
    body::Unfit,
    breaker::Host,
    budget::{Budget, Priority},
    config::{Config, host_of},
    connection::{self, SetUpError},
    error::{Class, Repeat, TrayError},
    exchange::{Problem, Source, Timeouts, exchange},
    skew::Skew,
    standing::{Counters, Requests, Standing},
};
use crate::secret::{SecretBytes, SecretString};

/// The client of the Tray API: a handle, which asks for its permits with its priority.
#[derive(Clone)]
pub struct Tray {
    shared: Arc<Shared>,
    priority: Priority,
}

/// What all handles share.
struct Shared {
    rest: Endpoint,
    graphql: Endpoint,
    offline: bool,
    timeouts: Timeouts,
    budget: Budget,
    requests: Counters,
    skew: Skew,
    changes: watch::Sender<()>,
}

/// One of the two APIs.
struct Endpoint {
    http: Client,
    url: String,
    host: Arc<Host>,
}

/// A REST call, before it has a token.
pub(super) struct Call<'a> {
    pub(super) name: &'static str,
    pub(super) method: Method,
    /// Below the base URL, with a leading slash, already percent-encoded.
    pub(super) path: &'a str,
    pub(super) body: Option<SecretBytes>,
    pub(super) repeat: Repeat,
}

/// A call as it is sent, as often as it is.
struct Prepared<'a> {
    name: &'static str,
    to: &'a Endpoint,
    request: Request,
    repeat: Repeat,
}

/// Why an attempt failed.
enum Failure {
    /// Nothing was sent: the circuit is open.
    Unsent,
    /// It was sent.
    Sent(Problem),
}

const OFFLINE: &str = "offline: Tray is not asked";
const CIRCUIT_IS_OPEN: &str = "Tray has not been answering: it is asked again shortly";
const MALFORMED_TOKEN: &str = "the token has characters that no token has";

impl Tray {
    /// Builds the client. Nothing is sent yet.
    ///
    /// # Errors
    /// [`SetUpError`].
    pub fn new(config: &Config) -> Result<Self, SetUpError> {
        let changes = watch::Sender::new(());
        let host = |url| Arc::new(Host::new(host_of(url), changes.clone()));
        let endpoint = |url: &str, host| -> Result<_, SetUpError> {
            Ok(Endpoint { http: connection::client(config, url)?, url: url.to_owned(), host })
        };
        let (api_url, graphql_url) = (config.api_url(), config.graphql_url());
        let rest = host(api_url);
        let graphql = if host_of(graphql_url) == rest.name() { Arc::clone(&rest) } else { host(graphql_url) };
        let shared = Shared {
            rest: endpoint(api_url, rest)?,
            graphql: endpoint(graphql_url, graphql)?,
            offline: config.offline,
            timeouts: Timeouts { header: config.header_timeout, body: config.body_timeout },
            budget: Budget::new(config.burst),
            requests: Counters::default(),
            skew: Skew::default(),
            changes,
        };
        Ok(Self { shared: Arc::new(shared), priority: Priority::Discovery })
    }

    /// The same client, whose calls have this priority.
    #[must_use]
    pub fn at(&self, priority: Priority) -> Self {
        Self { shared: Arc::clone(&self.shared), priority }
    }

    /// Whether it was told not to ask Tray at all: every call fails at once.
    pub fn is_offline(&self) -> bool {
        self.shared.offline
    }

    /// The requests that were sent since the start.
    pub fn requests(&self) -> Requests {
        self.shared.requests.requests()
    }

    /// Tray's time less this host's, in whole seconds, as of the last answer; `None` before there is one.
    pub fn clock_skew(&self) -> Option<i64> {
        self.shared.skew.seconds()
    }

    /// How the client stands.
    pub fn standing(&self) -> Standing {
        let Shared { rest, graphql, offline, budget, requests, .. } = &*self.shared;
        let other = (!Arc::ptr_eq(&rest.host, &graphql.host)).then_some(&graphql.host);
        Standing {
            offline: *offline,
            hosts: std::iter::once(&rest.host).chain(other).map(|host| host.standing()).collect(),
            budget: budget.standing(),
            requests: requests.requests(),
            answers: requests.answers(),
        }
    }

    /// Whether Tray is asked and answers, as far as is known.
    pub fn is_answering(&self) -> bool {
        let standing = self.standing();
        !standing.offline && standing.hosts.iter().all(|host| host.circuit == super::Circuit::Closed)
    }

    /// Tells when the circuit of a host has changed; how it is now, [`standing`](Self::standing) says. That the time
    /// of an open one is over is told when the first call comes after it.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.shared.changes.subscribe()
    }

    /// Makes a REST call. `read` takes a success's body, which may be empty.
    pub(super) async fn rest<T>(
        &self,
        token: &SecretString,
        call: Call<'_>,
        read: impl Fn(SecretBytes) -> Result<T, Unfit>,
    ) -> Result<T, TrayError> {
        let Call { name, method, path, body, repeat } = call;
        let to = &self.shared.rest;
        let request = self.request(to, token, name, method, path, body)?;
        self.send(&Prepared { name, to, request, repeat }, read).await
    }

    /// Makes a GraphQL call. `read` takes a success's body, which may have errors.
    pub(super) async fn graphql_post<T>(
        &self,
        token: &SecretString,
        name: &'static str,
        body: SecretBytes,
        repeat: Repeat,
        read: impl Fn(SecretBytes) -> Result<T, Unfit>,
    ) -> Result<T, TrayError> {
        let to = &self.shared.graphql;
        let request = self.request(to, token, name, Method::POST, "", Some(body))?;
        self.send(&Prepared { name, to, request, repeat }, read).await
    }

    fn request(
        &self,
        to: &Endpoint,
        token: &SecretString,
        call: &'static str,
        method: Method,
        path: &str,
        body: Option<SecretBytes>,
    ) -> Result<Request, TrayError> {
        let fail = |class, reason| TrayError { class, call, reason, status: None };
        if self.shared.offline {
            return Err(fail(Class::RetryLater, OFFLINE));
        }
        let bearer = bearer(token).ok_or_else(|| fail(Class::TokenRejected, MALFORMED_TOKEN))?;
        let mut request = to
            .http
            .request(method, format!("{}{path}", to.url))
            .header(AUTHORIZATION, bearer)
            .header(ACCEPT, "application/json")
            .header(ACCEPT_ENCODING, "identity");
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(Bytes::from_owner(body));
        }
        request.build().map_err(|_| fail(Class::RetryLater, "no request can be made of it"))
    }

    /// Sends a call, and if it is harmless again when that may help.
    async fn send<T>(
        &self,
        prepared: &Prepared<'_>,
        read: impl Fn(SecretBytes) -> Result<T, Unfit>,
    ) -> Result<T, TrayError> {
        let mut failed: Option<Problem> = None;
        for attempt in 1.. {
            let problem = match (self.attempt(prepared, &read).await, failed) {
                (Ok(answer), _) => return Ok(answer),
                (Err(Failure::Sent(problem)), _) => problem,
                // What the attempt before came to says more.
                (Err(Failure::Unsent), Some(earlier)) => return Err(prepared.error(&earlier)),
                (Err(Failure::Unsent), None) => {
                    let (class, reason) = (Class::RetryLater, CIRCUIT_IS_OPEN);
                    return Err(TrayError { class, call: prepared.name, reason, status: None });
                }
            };
            let is_worth_it = prepared.repeat == Repeat::Harmless && problem.class == Class::RetryLater;
            if !is_worth_it || attempt == backoff::ATTEMPTS {
                return Err(prepared.error(&problem));
            }
            // Past the limit it is the budget that waits.
            if problem.source != Source::Limit {
                tokio::time::sleep(backoff::wait(attempt)).await;
            }
            failed = Some(problem);
        }
        unreachable!("the last attempt returns")
    }

    async fn attempt<T>(
        &self,
        prepared: &Prepared<'_>,
        read: impl Fn(SecretBytes) -> Result<T, Unfit>,
    ) -> Result<T, Failure> {
        let Shared { timeouts, budget, requests, skew, .. } = &*self.shared;
        let pass = || prepared.to.host.pass(prepared.repeat).ok_or(Failure::Unsent);
        let mut passage = pass()?;
        let permit = budget.permit(self.priority).await;
        if !passage.is_current() {
            passage = pass()?;
        }
        let request = prepared.request.try_clone();
        let request = request.unwrap_or_else(|| unreachable!("a body in memory can be sent again"));
        requests.count(self.priority);
        let outcome = exchange(&prepared.to.http, request, *timeouts, prepared.repeat, skew).await.and_then(|answer| {
            read(answer.body).map_err(|unfit| Problem::of_unfit(&unfit, answer.status, prepared.repeat))
        });
        requests.count_answer(outcome.as_ref().err());
        match &outcome {
            Err(Problem { source: Source::Host, .. }) => passage.failed(),
            Err(Problem { source: Source::Limit, .. }) => {
                passage.succeeded();
                budget.exceeded(&permit);
            }
            Ok(_) | Err(Problem { source: Source::Tray, .. }) => {
                passage.succeeded();
                budget.answered(&permit);
            }
        }
        outcome.map_err(Failure::Sent)
    }
}

impl Prepared<'_> {
    fn error(&self, problem: &Problem) -> TrayError {
        let Problem { class, reason, status, .. } = *problem;
        TrayError { class, call: self.name, reason, status }
    }
}

/// The header's value, marked so that nothing prints it; `None` if the token can't be one.
fn bearer(token: &SecretString) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret())).ok()?;
    value.set_sensitive(true);
    Some(value)
}
