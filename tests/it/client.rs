//! The typed client against the emulator: every call of the contract, and every class of error.

mod answers;
mod circuit;
mod tls;

use serde_json::{Value, json, value::RawValue};
use trayvault::{
    authentication::{AuthenticationId, ExternalUserId, ServiceEnvironmentId, UserId},
    emulator::{self, Call, Emulator, Fault, FaultKind, World},
    secret::SecretString,
    tray::{
        Acting, ApiUserToken, Class, Config, MasterToken, NewAuthentication, NewEndUser, NewUserAuthentication,
        Refresh, Replacement, SharedWorkspace, Tray, TrayError, UserCriteria, UserToken,
    },
};

struct Client {
    emulator: Emulator,
    tray: Tray,
    master: MasterToken,
}

fn secret(text: &str) -> SecretString {
    SecretString::new(text.to_owned())
}

fn raw(json: &str) -> &RawValue {
    serde_json::from_str(json).expect("JSON")
}

fn config_for(emulator: &Emulator) -> Config {
    Config {
        api_url: Some(emulator.api_url()),
        graphql_url: Some(emulator.graphql_url()),
        header_timeout: std::time::Duration::from_secs(1),
        ..Config::default()
    }
}

impl Client {
    async fn new() -> Self {
        Self::with(emulator::Config::default()).await
    }

    async fn with(config: emulator::Config) -> Self {
        let emulator = Emulator::start(config).await.expect("an emulator");
        let tray = Tray::new(&config_for(&emulator)).expect("a client");
        let master = MasterToken::new(secret(&emulator.tokens().master));
        Self { emulator, tray, master }
    }

    fn config(&self) -> Config {
        config_for(&self.emulator)
    }

    fn world(&self) -> World {
        self.emulator.world()
    }

    /// A token of acme-1's.
    async fn user(&self) -> UserToken {
        let user = self.world().user("acme-1").expect("a user");
        self.tray.authorize(&self.master, &UserId(user.to_string())).await.expect("a token")
    }

    async fn workspace(&self) -> SharedWorkspace {
        let token = std::sync::Arc::new(ApiUserToken::new(secret(&self.emulator.tokens().api_user)));
        token.verify(&self.tray).await.expect("a shared workspace")
    }

    fn environment(&self, service: &str) -> ServiceEnvironmentId {
        ServiceEnvironmentId(self.world().environment(service, "Production").expect("an environment").to_string())
    }

    /// Creates a Slack authentication.
    async fn create(&self, acting: Acting<'_>) -> Result<AuthenticationId, TrayError> {
        let environment = self.environment("slack");
        let new = NewAuthentication {
            name: "Made",
            service_environment_id: &environment,
            user_data: raw("{}"),
            credentials: raw(r#"{"accessToken":"one"}"#),
            scopes: &[],
            on_prem_agent_group_id: None,
        };
        self.tray.create(acting, &new).await
    }
}

#[tokio::test]
async fn end_users_are_listed_found_created_and_acted_for() {
    let client = Client::new().await;
    let all = client.tray.end_users(&client.master, None).await.expect("a list");
    assert_eq!(all.len(), 3);
    let external = ExternalUserId("acme-2".to_owned());
    let criteria = UserCriteria { external_user_id: Some(&external), ..UserCriteria::default() };
    let found = client.tray.end_users(&client.master, Some(criteria)).await.expect("a list");
    assert_eq!(found, [all[1].clone()]);
    let criteria = UserCriteria { user_id: Some(&all[2].id), ..UserCriteria::default() };
    let found = client.tray.end_users(&client.master, Some(criteria)).await.expect("a list");
    assert_eq!(found, [all[2].clone()]);

    let external = ExternalUserId("new-1".to_owned());
    let new = NewEndUser { name: "New", external_user_id: &external, is_test_user: true };
    let id = client.tray.create_end_user(&client.master, new).await.expect("a user");
    let token = client.tray.authorize(&client.master, &id).await.expect("a token");
    assert!(client.tray.authentications(Acting::EndUser(&token)).await.expect("a list").is_empty());
    let again = client.tray.create_end_user(&client.master, new).await.expect_err("it exists");
    assert_eq!(again.class, Class::BadInput);
}

#[tokio::test]
async fn an_authentication_is_created_read_replaced_read_in_full_and_deleted() {
    let client = Client::new().await;
    let user = client.user().await;
    let acting = Acting::EndUser(&user);
    let id = client.create(acting).await.expect("created");
    let summary = client.tray.authentication(acting, id).await.expect("there");
    assert_eq!((summary.name.as_str(), summary.service_environment_id), ("Made", Some(client.environment("slack"))));

    let replacement = Replacement {
        name: "Renamed",
        user_data: raw("{}"),
        credentials: raw(r#"{"accessToken":"two"}"#),
        scopes: None,
        on_prem_agent_group_id: None,
    };
    client.tray.replace(acting, id, &replacement).await.expect("replaced");
    let full = client.tray.full(acting.permit(), id, Refresh::AsItIs).await.expect("in full");
    let body: Value = serde_json::from_slice(full.body().expose_secret()).expect("JSON");
    assert_eq!((&body["name"], &body["credentials"]["accessToken"]), (&"Renamed".into(), &"two".into()));

    client.tray.delete(acting, id).await.expect("deleted");
    assert_eq!(client.tray.delete(acting, id).await.expect_err("gone").class, Class::Gone);
    let gone = client.tray.full(acting.permit(), id, Refresh::AsItIs).await.err().expect("gone");
    assert_eq!(gone.class, Class::Gone);
}

#[tokio::test]
async fn the_older_way_creates_and_removes_too() {
    let client = Client::new().await;
    let user = client.user().await;
    let connectors = client.tray.connectors(Acting::EndUser(&user)).await.expect("a list");
    let service = connectors.iter().filter_map(|one| one.service.as_ref()).find(|one| one.name == "slack");
    let environment = client.environment("slack");
    let new = NewUserAuthentication {
        name: "Older",
        service_id: &service.expect("slack").id,
        service_environment_id: &environment,
        data: raw(r#"{"accessToken":"one"}"#),
        scopes: &[],
        hidden: false,
    };
    let id = client.tray.create_user_authentication(&user, &new).await.expect("created");
    let listed = client.tray.authentications(Acting::EndUser(&user)).await.expect("a list");
    assert!(listed.iter().any(|one| one.id == id && one.name == "Older"));
    client.tray.remove_authentication(&user, id).await.expect("removed");
    let again = client.tray.remove_authentication(&user, id).await.expect_err("gone");
    assert_eq!(again.class, Class::Gone);
}

#[tokio::test]
async fn service_environments_come_with_their_schemas_and_scopes_in_both_forms() {
    let client = Client::new().await;
    let user = client.user().await;
    let acting = Acting::EndUser(&user);
    for connector in client.tray.connectors(acting).await.expect("a list") {
        let Some(service) = connector.service else { continue };
        let environments =
            client.tray.service_environments(acting, &service.name, service.version).await.expect("a list");
        assert!(environments.iter().any(|one| one.title == "Production"), "{}", service.name);
        let by_master = client
            .tray
            .service_environments_of_organisation(&client.master, &service.name, service.version)
            .await
            .expect("a list");
        assert_eq!(by_master.len(), environments.len());
    }
    let none = client.tray.service_environments(acting, "no-such/service", 1).await.expect_err("gone");
    assert_eq!(none.class, Class::Gone);
}

#[tokio::test]
async fn a_shared_workspace_is_verified_and_acts_on_its_own() {
    let client = Client::new().await;
    let workspace = client.workspace().await;
    let acting = Acting::Workspace(&workspace);
    let listed = client.tray.authentications(acting).await.expect("a list");
    assert_eq!(listed.len(), 2);
    assert!(client.tray.full(acting.permit(), listed[0].id, Refresh::AsItIs).await.is_ok());
    let other = AuthenticationId(client.world().authentications()[0].id);
    assert_eq!(client.tray.authentication(acting, other).await.expect_err("not its own").class, Class::Gone);
    let tokens = client.emulator.tokens();
    for (wrong, what) in [(&tokens.personal_api_user, "is not a shared one"), (&tokens.master, "the organisation's")] {
        let token = std::sync::Arc::new(ApiUserToken::new(secret(wrong)));
        let error = token.verify(&client.tray).await.err().expect("the wrong token");
        let text = error.to_string();
        assert!(text.contains(what) && text.contains("an API user of a shared workspace is needed"), "{text}");
        assert!(error.hint().is_some_and(|hint| hint.contains("in a shared workspace")));
    }
}

#[tokio::test]
async fn a_forced_refresh_brings_new_credentials() {
    let client = Client::new().await;
    let user = client.user().await;
    let acting = Acting::EndUser(&user);
    let listed = client.tray.authentications(acting).await.expect("a list");
    let salesforce = listed.iter().find(|one| one.service.as_ref().is_some_and(|one| one.name == "salesforce"));
    let id = salesforce.expect("acme-1 has one").id;
    let before = client.tray.full(acting.permit(), id, Refresh::AsItIs).await.expect("in full");
    let after = client.tray.full(acting.permit(), id, Refresh::Force).await.expect("in full");
    assert!(!before.body().equals(after.body()));
}

#[tokio::test]
async fn each_refusal_has_its_class() {
    let client = Client::new().await;
    let user = client.user().await;
    let acting = Acting::EndUser(&user);
    let id = client.create(acting).await.expect("created");

    client.world().set_full_read(false);
    let error = client.tray.full(acting.permit(), id, Refresh::AsItIs).await.err().expect("off");
    assert_eq!(error.class, Class::NotEnabled);
    // Where the metadata read is refused as well, it is the permission that is missing.
    client.world().add_fault(Fault::before(Call::ReadAuthentication, FaultKind::Status(403)));
    let error = client.tray.full(acting.permit(), id, Refresh::AsItIs).await.err().expect("off");
    assert_eq!(error.class, Class::NotPermitted);

    client.world().expire_user_tokens();
    assert_eq!(client.tray.authentications(acting).await.expect_err("expired").class, Class::TokenRejected);
    let impostor = MasterToken::new(secret(&client.emulator.tokens().api_user));
    assert_eq!(client.tray.end_users(&impostor, None).await.expect_err("not a master").class, Class::NotPermitted);
    let nonsense = MasterToken::new(secret("line\nend"));
    assert_eq!(client.tray.end_users(&nonsense, None).await.expect_err("no token").class, Class::TokenRejected);
    let unknown = UserId("00000000-0000-4000-8000-000000000000".to_owned());
    assert_eq!(client.tray.authorize(&client.master, &unknown).await.err().expect("gone").class, Class::Gone);
}

#[tokio::test]
async fn an_answer_that_is_lost_is_unknown_for_a_create_and_worth_a_retry_for_the_rest() {
    for kind in [
        FaultKind::DropConnection,
        FaultKind::DelayMs(10_000),
        FaultKind::Status(500),
        FaultKind::Html,
        FaultKind::TruncatedJson,
    ] {
        let client = Client::new().await;
        let user = client.user().await;
        let acting = Acting::EndUser(&user);
        let before = client.world().authentications().len();
        client.world().add_fault(Fault::after(Call::CreateAuthentication, kind));
        let error = client.create(acting).await.expect_err("lost");
        assert_eq!(error.class, Class::UnknownOutcome, "{kind:?}: {error}");
        assert_eq!(client.world().authentications().len(), before + 1, "{kind:?}: it was created");
        assert_eq!(client.world().requests(Call::CreateAuthentication), 1, "{kind:?}: it was sent once");
        client.world().add_fault(Fault::before(Call::ListAuthentications, kind).times(3));
        let error = client.tray.authentications(acting).await.expect_err("lost");
        assert_eq!(error.class, Class::RetryLater, "{kind:?}: {error}");
        assert_eq!(client.world().requests(Call::ListAuthentications), 3, "{kind:?}: it was tried again");
    }
}

#[tokio::test]
async fn both_forms_of_over_the_limit_mean_retry_later() {
    let limit = emulator::Limit { per_second: 1, burst: 1, per_minute: 1 };
    let client = Client::new().await;
    let user = client.user().await;
    let acting = Acting::EndUser(&user);
    client.world().set_limit(Some(limit));
    // The first takes the one request of this minute.
    let _ = client.tray.authentications(acting).await;
    let graphql = client.tray.authentications(acting).await.expect_err("over the limit");
    assert_eq!((graphql.class, graphql.status), (Class::RetryLater, Some(200)));
    assert!(graphql.to_string().contains("over Tray's request limit"), "{graphql}");
    let rest = client.create(acting).await.expect_err("over the limit");
    assert_eq!((rest.class, rest.status), (Class::RetryLater, Some(429)), "a create that was not done");
}

/// Secrets are destroyed on a refusal of Tray's. A proxy in between refuses in HTML.
#[tokio::test]
async fn a_refusal_that_is_not_in_trays_form_is_only_worth_a_retry() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let user = Client::new().await.user().await;
    for (status, body, class) in [
        (401, "<html>Sign in to the network</html>", Class::RetryLater),
        (403, "<html>Blocked</html>", Class::RetryLater),
        (404, "", Class::RetryLater),
        (404, r#"{"message":"Not found","code":null}"#, Class::Gone),
        (401, r#"{"message":"Unauthorized"}"#, Class::TokenRejected),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let answer =
            format!("HTTP/1.1 {status} Refused\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        let proxy = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let _ = stream.read(&mut [0; 4096]).await.expect("a request");
            stream.write_all(answer.as_bytes()).await.expect("an answer");
        });
        let config = Config { api_url: Some(url.clone()), graphql_url: Some(url), ..Config::default() };
        let tray = Tray::new(&config).expect("a client");
        let id = AuthenticationId(uuid::Uuid::from_u128(1));
        let error = tray.authentication(Acting::EndUser(&user), id).await.expect_err("refused");
        assert_eq!(error.class, class, "{status} {body}");
        proxy.await.expect("a task");
    }
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_done() {
    let client = Client::new().await;
    let user = client.user().await;
    let Client { emulator, tray, .. } = client;
    emulator.stop().await;
    let environment = ServiceEnvironmentId("any".to_owned());
    let new = NewAuthentication {
        name: "Made",
        service_environment_id: &environment,
        user_data: raw("{}"),
        credentials: raw("{}"),
        scopes: &[],
        on_prem_agent_group_id: None,
    };
    let error = tray.create(Acting::EndUser(&user), &new).await.expect_err("nobody listens");
    assert_eq!(error.class, Class::RetryLater, "{error}");
}

#[tokio::test]
async fn an_error_never_quotes_what_was_sent_or_answered() {
    let client = Client::new().await;
    let user = client.user().await;
    let environment = client.environment("netsuite");
    let new = NewAuthentication {
        name: "canary-name",
        service_environment_id: &environment,
        user_data: raw("{}"),
        credentials: raw(r#"{"token_id":"canary-value"}"#),
        scopes: &[],
        on_prem_agent_group_id: None,
    };
    let error = client.tray.create(Acting::EndUser(&user), &new).await.expect_err("refused");
    assert_eq!(error.class, Class::BadInput);
    assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
}
