//! Answers that are not what the contract says: each call takes them for an error of a class, and quotes none.

use std::{sync::Arc, time::Duration};

use axum::{Router, http::header::CONTENT_TYPE};
use tokio::task::JoinSet;
use trayvault::tray::WorkspaceError;

use super::*;

/// A server that gives every request the same answer; its URL.
async fn always(body: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let router = Router::new().fallback(move || async move { ([(CONTENT_TYPE, "application/json")], body) });
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

const ID: &str = "0191d1a0-0000-7000-8000-000000000001";

/// Makes one of the contract's calls, by its name.
async fn call(name: &str, tray: &Tray) -> Result<(), TrayError> {
    let master = MasterToken::new(secret("m"));
    let (user_id, external) = (UserId("u".to_owned()), ExternalUserId("x".to_owned()));
    let user = UserToken::new(user_id.clone(), secret("u"));
    let (acting, id) = (Acting::EndUser(&user), AuthenticationId(ID.parse().expect("an id")));
    let environment = ServiceEnvironmentId("e".to_owned());
    match name {
        "list end users" => tray.end_users(&master, None).await.map(drop),
        "create end user" => {
            let new = NewEndUser { name: "n", external_user_id: &external, is_test_user: true };
            tray.create_end_user(&master, new).await.map(drop)
        }
        "mint user token" => tray.authorize(&master, &user_id).await.map(drop),
        "list authentications" => tray.authentications(acting).await.map(drop),
        "create user authentication" => {
            let new = NewUserAuthentication {
                name: "n",
                service_id: "s",
                service_environment_id: &environment,
                data: raw("{}"),
                scopes: &[],
                hidden: false,
            };
            tray.create_user_authentication(&user, &new).await.map(drop)
        }
        "remove authentication" => tray.remove_authentication(&user, id).await,
        "list connectors" => tray.connectors(acting).await.map(drop),
        "list service environments" => tray.service_environments(acting, "slack", 1).await.map(drop),
        "list workspaces" => match Arc::new(ApiUserToken::new(secret("a"))).verify(tray).await {
            Err(WorkspaceError::Unverified(error)) => Err(error),
            other => panic!("{:?}", other.err()),
        },
        "create authentication" => {
            let new = NewAuthentication {
                name: "n",
                service_environment_id: &environment,
                user_data: raw("{}"),
                credentials: raw("{}"),
                scopes: &[],
                on_prem_agent_group_id: None,
            };
            tray.create(acting, &new).await.map(drop)
        }
        "read authentication" => tray.authentication(acting, id).await.map(drop),
        "replace authentication" => {
            let replacement = Replacement {
                name: "n",
                user_data: raw("{}"),
                credentials: raw("{}"),
                scopes: None,
                on_prem_agent_group_id: None,
            };
            tray.replace(acting, id, &replacement).await
        }
        "delete authentication" => tray.delete(acting, id).await,
        "read authentication in full" => tray.full(acting.permit(), id, Refresh::AsItIs).await.map(drop),
        other => panic!("{other} is no call"),
    }
}

const CALLS: [&str; 14] = [
    "list end users",
    "create end user",
    "mint user token",
    "list authentications",
    "create user authentication",
    "remove authentication",
    "list connectors",
    "list service environments",
    "list workspaces",
    "create authentication",
    "read authentication",
    "replace authentication",
    "delete authentication",
    "read authentication in full",
];

/// What none of the calls may take for an answer.
const OF_NO_CALL: [&str; 4] = [
    "<html><body>canary</body></html>",
    r#"{"id":"0191d1a0-0000-7000-8000-000000000001","data":{"canary"#,
    r#""canary""#,
    "null",
];

/// What a call may not take for an answer.
const OF_CALLS: [(&str, &[&str]); 12] = [
    (
        "list end users",
        &[
            "",
            r#"{"canary":1}"#,
            r#"{"data":{"users":"canary"}}"#,
            r#"{"data":{"users":{"edges":null,"pageInfo":{"hasNextPage":false,"endCursor":"canary"}}}}"#,
            r#"{"data":{"users":{"edges":[{"node":{"id":5,"externalUserId":"canary"}}],"pageInfo":{"hasNextPage":false}}}}"#,
        ],
    ),
    (
        "list authentications",
        &[
            "",
            r#"{"data":"canary"}"#,
            r#"{"data":{"viewer":{"authentications":{"edges":null,"pageInfo":{"hasNextPage":false,"endCursor":"canary"}}}}}"#,
            r#"{"data":{"viewer":{"authentications":{"edges":[],"canary":1}}}}"#,
            r#"{"data":{"viewer":{"authentications":{"edges":[],"pageInfo":{"hasNextPage":true},"canary":1}}}}"#,
            r#"{"data":{"viewer":{"authentications":{"edges":[],"pageInfo":{"hasNextPage":true,"endCursor":"canary"}}}}}"#,
            r#"{"data":{"viewer":{"authentications":{"edges":[{"node":{"id":"canary"}}],"pageInfo":{"hasNextPage":false}}}}}"#,
        ],
    ),
    ("create end user", &["", r#"{"data":{"createExternalUser":{"userId":5,"canary":1}}}"#]),
    ("mint user token", &["", r#"{"data":{"authorize":{"accessToken":5,"canary":1}}}"#]),
    ("create user authentication", &["", r#"{"data":{"createUserAuthentication":{"authenticationId":"canary"}}}"#]),
    ("remove authentication", &["", r#"{"data":{"removeAuthentication":"canary"}}"#, r#"{"data":"canary"}"#]),
    ("list connectors", &["", r#"{"elements":5,"canary":1}"#, r#"{"elements":[{"name":5,"title":"canary"}]}"#]),
    ("list service environments", &["", r#"{"elements":[{"id":5,"title":"canary"}]}"#, r#"{"canary":1}"#]),
    ("list workspaces", &["", r#"{"elements":"canary"}"#, r#"{"elements":[{"id":"canary"}]}"#]),
    ("create authentication", &["", r#"{"id":"canary"}"#, r#"{"canary":1}"#]),
    (
        "read authentication",
        &["", r#"{"id":"canary","name":"n"}"#, r#"{"id":"0191d1a0-0000-7000-8000-000000000001","name":5,"canary":1}"#],
    ),
    (
        "read authentication in full",
        &[
            "",
            r#"{"id":"canary","name":"n","userData":{},"credentials":{}}"#,
            r#"{"id":"0191d1a0-0000-7000-8000-000000000001","name":"n","userData":{},"credentials":"canary"}"#,
            r#"{"id":"0191d1a0-0000-7000-8000-000000000001","name":"n","userData":["canary"],"credentials":{}}"#,
            r#"{"id":"0191d1a0-0000-7000-8000-000000000001","name":"n","userData":{"canary":1}}"#,
            r#"{"id":"0191d1a0-0000-7000-8000-000000000002","name":"n","userData":{},"credentials":{"canary":1}}"#,
        ],
    ),
];

#[tokio::test]
async fn a_malformed_answer_is_an_error_of_a_class_and_is_not_quoted() {
    let of_no_call = CALLS.iter().flat_map(|call| OF_NO_CALL.map(|body| (*call, body)));
    let of_calls = OF_CALLS.iter().flat_map(|(call, bodies)| bodies.iter().map(|body| (*call, *body)));
    let mut running = JoinSet::new();
    for (name, body) in of_no_call.chain(of_calls) {
        running.spawn(async move {
            let url = always(body).await;
            let tray = Tray::new(&Config { api_url: Some(url.clone()), graphql_url: Some(url), ..Config::default() });
            let error = call(name, &tray.expect("a client")).await.expect_err(body);
            let leaves_something = ["create", "replace", "delete"].iter().any(|verb| name.starts_with(verb));
            let class = if leaves_something { Class::UnknownOutcome } else { Class::RetryLater };
            assert_eq!((error.class, error.call), (class, name), "{body}");
            assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
        });
    }
    while let Some(done) = running.join_next().await {
        done.expect("the error that it should be");
    }
}

/// The kinds are unstated in their form, and clear in what they mean.
#[tokio::test]
async fn what_a_token_sees_tells_which_it_is() {
    for (elements, more, what) in [
        (r#"[{"type":"ORGANIZATION"}]"#, false, "the organisation's master token"),
        (r#"[{"type":{"name":"organization"}}]"#, false, "the organisation's master token"),
        (r#"[{"type":"Shared"},{"type":"Shared"}]"#, false, "the organisation's master token"),
        (r#"[{"type":"Shared"}]"#, true, "the organisation's master token"),
        (r#"[{"type":"Embedded"}]"#, false, "is not a shared one"),
        ("[]", false, "belongs to no workspace"),
    ] {
        let body: &str = format!(r#"{{"elements":{elements},"pageInfo":{{"hasNextPage":{more}}}}}"#).leak();
        let url = always(body).await;
        let config = Config { api_url: Some(url.clone()), graphql_url: Some(url), ..Config::default() };
        let tray = Tray::new(&config).expect("a client");
        let error = Arc::new(ApiUserToken::new(secret("a"))).verify(&tray).await.err().expect(body);
        assert!(error.to_string().contains(what), "{body}: {error}");
    }
}

#[tokio::test]
async fn an_answer_that_is_compressed_endless_slow_or_of_another_shape_is_not_waited_for() {
    for kind in [FaultKind::WrongType, FaultKind::Gzip, FaultKind::SlowBody, FaultKind::Huge] {
        let client = Client::new().await;
        let user = client.user().await;
        let config = Config { body_timeout: Duration::from_millis(300), ..client.config() };
        let client = Client { tray: Tray::new(&config).expect("a client"), ..client };
        let acting = Acting::EndUser(&user);
        client.world().add_fault(Fault::after(Call::CreateAuthentication, kind));
        let error = client.create(acting).await.expect_err("spoilt");
        assert_eq!(error.class, Class::UnknownOutcome, "{kind:?}: {error}");
        client.world().add_fault(Fault::before(Call::ListAuthentications, kind).times(3));
        let error = client.tray.authentications(acting).await.expect_err("spoilt");
        assert_eq!(error.class, Class::RetryLater, "{kind:?}: {error}");
        client.tray.authentications(acting).await.expect("nothing of it stays");
    }
}

/// Tray is told not to compress; whoever does so anyway is not unpacked.
#[tokio::test]
async fn no_encoding_is_asked_for() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (sender, mut seen) = tokio::sync::mpsc::channel(4);
    let router = Router::new().fallback(move |headers: axum::http::HeaderMap| async move {
        sender.send(headers["accept-encoding"].clone()).await.expect("a receiver");
        r#"{"elements":[]}"#
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = Config { api_url: Some(url.clone()), graphql_url: Some(url), ..Config::default() };
    call("list connectors", &Tray::new(&config).expect("a client")).await.expect("a list");
    assert_eq!(seen.recv().await.expect("a request"), "identity");
}

/// A server of pages of end users: each is (the number on its one user, its cursor), and the last one goes on for ever.
async fn pages(pages: &'static [(u32, &'static str)]) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let router = Router::new().fallback(move || {
        let number = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (user, cursor) = pages[number.min(pages.len() - 1)];
        // An ever new one, where it is given as none.
        let cursor = if cursor.is_empty() { format!("c{number}") } else { cursor.to_owned() };
        let body = json!({ "data": { "users": {
            "edges": [{ "node": { "id": format!("u{user}"), "name": "n", "externalUserId": format!("x{user}") } }],
            "pageInfo": { "hasNextPage": cursor != "end", "endCursor": cursor },
        } } });
        async move { ([(CONTENT_TYPE, "application/json")], body.to_string()) }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test]
async fn a_list_that_does_not_hang_together_is_an_error_and_one_that_does_is_read_to_its_end() {
    let listed = async |shown: &'static [(u32, &'static str)]| {
        let url = pages(shown).await;
        let config = Config { api_url: Some(url.clone()), graphql_url: Some(url), ..Config::default() };
        Tray::new(&config).expect("a client").end_users(&MasterToken::new(secret("m")), None).await
    };
    let whole = listed(&[(1, ""), (2, ""), (3, "end")]).await.expect("a list");
    assert_eq!(whole.len(), 3);
    for (shown, what) in [
        (&[(1, ""), (1, "")][..], "the same page for ever, under ever new cursors"),
        (&[(1, ""), (1, "end")], "the first page once more, in the place of the last one"),
        (&[(1, "c"), (2, "c"), (3, "c")], "a cursor that comes twice"),
    ] {
        let error = listed(shown).await.expect_err(what);
        assert_eq!(error.class, Class::RetryLater, "{what}");
    }
}
