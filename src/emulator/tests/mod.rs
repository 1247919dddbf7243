//! The emulator over real HTTP, as its clients meet it.

mod catalogue;
mod control;
mod faults;
mod graphql;
mod limits;
mod rest;
mod rights;
mod world;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Account, Config, Emulator, Limit, World};

/// A running emulator and a client.
struct Tray {
    emulator: Emulator,
    client: reqwest::Client,
}

/// What came back: status, content type, body.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    content_type: String,
    headers: reqwest::header::HeaderMap,
    body: String,
}

impl Tray {
    async fn start() -> Self {
        Self::with(Config { limit: None, ..Config::default() }).await
    }

    async fn limited(per_second: u32, burst: u32, per_minute: u32) -> Self {
        let limit = Some(Limit { per_second, burst, per_minute });
        Self::with(Config { limit, ..Config::default() }).await
    }

    async fn with(config: Config) -> Self {
        // Only the first test of the process installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client =
            reqwest::Client::builder().no_proxy().tls_certs_only([]).retry(reqwest::retry::never()).build().unwrap();
        Self { emulator: Emulator::start(config).await.unwrap(), client }
    }

    fn world(&self) -> World {
        self.emulator.world()
    }

    fn master(&self) -> String {
        self.emulator.tokens().master.clone()
    }

    fn api_user(&self) -> String {
        self.emulator.tokens().api_user.clone()
    }

    fn user(&self, external_user_id: &str) -> Uuid {
        self.world().user(external_user_id).unwrap()
    }

    fn user_token(&self, external_user_id: &str) -> String {
        self.world().mint_user_token(self.user(external_user_id)).unwrap()
    }

    /// The first authentication of an owner.
    fn first_of(&self, owner: Account) -> Uuid {
        self.world().authentications().iter().find(|found| found.owner == owner).unwrap().id
    }

    fn environment(&self, service: &str) -> Uuid {
        self.world().environment(service, "Production").unwrap()
    }

    async fn try_call(&self, token: &str, method: Method, path: &str, body: Option<&Value>) -> reqwest::Result<Answer> {
        let mut request = self.client.request(method, format!("{}{path}", self.emulator.api_url()));
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await?;
        let headers = response.headers().clone();
        Ok(Answer {
            status: response.status(),
            content_type: headers.get("content-type").map_or("", |value| value.to_str().unwrap()).to_owned(),
            headers,
            body: response.text().await?,
        })
    }

    async fn call(&self, token: &str, method: Method, path: &str, body: Option<&Value>) -> Answer {
        self.try_call(token, method, path, body).await.unwrap()
    }

    async fn get(&self, token: &str, path: &str) -> Answer {
        self.call(token, Method::GET, path, None).await
    }

    async fn post(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.call(token, Method::POST, path, Some(body)).await
    }

    async fn graphql(&self, token: &str, query: &str, variables: Value) -> Answer {
        self.post(token, "/graphql", &json!({"query": query, "variables": variables})).await
    }

    async fn create_slack(&self, token: &str, name: &str) -> Answer {
        let body = json!({
            "name": name,
            "serviceEnvironmentId": self.environment("slack"),
            "credentials": {"accessToken": "xoxb-made-up"},
        });
        self.post(token, "/core/v1/authentications", &body).await
    }

    async fn full(&self, token: &str, id: Uuid) -> Answer {
        self.get(token, &format!("/core/v1/authentications/{id}/full")).await
    }
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn id(&self) -> Uuid {
        serde_json::from_value(self.json()["id"].clone()).unwrap()
    }

    /// The first GraphQL error's name and code.
    fn graphql_error(&self) -> (String, Option<String>) {
        let answer = self.json();
        let extensions = &answer["errors"][0]["extensions"];
        assert!(answer["errors"][0]["message"].is_string(), "{answer}");
        (extensions["name"].as_str().unwrap().to_owned(), extensions["code"].as_str().map(str::to_owned))
    }
}
