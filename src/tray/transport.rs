//! One HTTP client for both APIs: budget, timeouts, caps, and errors by class.

use std::time::Duration;

use reqwest::{
    Client, Method, RequestBuilder,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};

use super::{
    body::{self, Unread},
    budget::Budget,
    config::Config,
    error::{Class, Repeat, TrayError, of_status},
};
use crate::secret::{SecretBytes, SecretString};

/// How long a connection is kept for the next call: its buffers hold the last one's head, with the token.
const IDLE_CONNECTION: Duration = Duration::from_millis(500);

/// The client of the Tray API.
pub struct Tray {
    http: Client,
    api_url: String,
    graphql_url: String,
    budget: Budget,
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

/// Why no client could be built: the system has no usable root certificates.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client can't be set up")]
pub struct SetUpError(#[source] reqwest::Error);

impl Tray {
    /// Builds the client. Nothing is sent yet.
    ///
    /// # Errors
    /// [`SetUpError`].
    pub fn new(config: &Config) -> Result<Self, SetUpError> {
        // A second daemon in one process (in tests) finds it installed, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = if config.uses_tls() {
            Client::builder()
        } else {
            // So that a host without root certificates can try things out.
            Client::builder().tls_certs_only([])
        };
        let http = builder
            .user_agent(concat!("trayvault/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(config.connect_timeout)
            .timeout(config.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .retry(reqwest::retry::never())
            .pool_idle_timeout(IDLE_CONNECTION)
            .build()
            .map_err(SetUpError)?;
        Ok(Self {
            http,
            api_url: config.api_url().to_owned(),
            graphql_url: config.graphql_url().to_owned(),
            budget: Budget::new(),
        })
    }

    /// Makes a REST call; a success's body, which may be empty.
    pub(super) async fn rest(&self, token: &SecretString, call: Call<'_>) -> Result<SecretBytes, TrayError> {
        let request = self.http.request(call.method, format!("{}{}", self.api_url, call.path));
        let answer = self.send(request, token, call.body, call.name, call.repeat).await?;
        self.budget.answered();
        Ok(answer)
    }

    /// Makes a GraphQL call; a success's body, whose `errors` are still to be looked at.
    pub(super) async fn graphql_post(
        &self,
        token: &SecretString,
        name: &'static str,
        body: SecretBytes,
        repeat: Repeat,
    ) -> Result<SecretBytes, TrayError> {
        self.send(self.http.post(&self.graphql_url), token, Some(body), name, repeat).await
    }

    /// The budget, for what only a GraphQL answer's text tells.
    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    async fn send(
        &self,
        request: RequestBuilder,
        token: &SecretString,
        body: Option<SecretBytes>,
        call: &'static str,
        repeat: Repeat,
    ) -> Result<SecretBytes, TrayError> {
        let fail = |class, reason, status| TrayError { class, call, reason, status };
        let mut request = request
            .header(AUTHORIZATION, bearer(token).ok_or_else(|| fail(Class::TokenRejected, MALFORMED_TOKEN, None))?)
            .header(ACCEPT, "application/json");
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(bytes::Bytes::from_owner(body));
        }
        self.budget.permit().await;
        // The error's text has the URL and may have more: only its kind is used.
        let response = request.send().await.map_err(|error| {
            if error.is_connect() || error.is_builder() {
                fail(Class::RetryLater, "Tray can't be reached", None)
            } else if error.is_timeout() {
                fail(repeat.unanswered(), "Tray did not answer in time", None)
            } else {
                fail(repeat.unanswered(), "the connection to Tray broke", None)
            }
        })?;
        let status = response.status().as_u16();
        if let Some((class, reason)) = of_status(status, repeat) {
            if status == 429 {
                self.budget.exceeded();
            }
            // Secrets are destroyed on these: not on the word of a proxy in between, which may answer HTML.
            let is_authoritative = matches!(class, Class::TokenRejected | Class::NotPermitted | Class::Gone);
            if is_authoritative && !body::is_trays_error(response).await {
                return Err(fail(Class::RetryLater, "a refusal that is not in Tray's form", Some(status)));
            }
            return Err(fail(class, reason, Some(status)));
        }
        body::read(response).await.map_err(|unread| {
            let reason = match unread {
                Unread::Broken => "the answer broke off",
                Unread::TooLarge => "the answer is too large",
            };
            fail(repeat.unanswered(), reason, Some(status))
        })
    }
}

const MALFORMED_TOKEN: &str = "the token has characters that no token has";

/// The header's value, marked so that nothing prints it; `None` if the token can't be one.
fn bearer(token: &SecretString) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret())).ok()?;
    value.set_sensitive(true);
    Some(value)
}
