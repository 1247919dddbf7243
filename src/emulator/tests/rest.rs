//! Creating, replacing, deleting and reading over REST.

use super::*;
use crate::emulator::{Call, Origin};

const AUTHENTICATIONS: &str = "/core/v1/authentications";

#[tokio::test]
async fn a_create_sent_twice_makes_two() {
    let tray = Tray::start().await;
    let token = tray.user_token("acme-1");
    let first = tray.create_slack(&token, "Twice").await.id();
    let second = tray.create_slack(&token, "Twice").await.id();
    assert_ne!(first, second);
    let creations = tray.world().creations();
    assert_eq!(creations.iter().map(|made| made.earlier_equals).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(creations[0].origin, Origin::Rest);
    assert_eq!(tray.world().state().duplicates, 1);
    assert_eq!(tray.world().requests(Call::CreateAuthentication), 2);
}

#[tokio::test]
async fn a_create_out_of_form_is_400_and_quotes_what_was_sent() {
    let tray = Tray::start().await;
    let token = tray.user_token("acme-1");
    let environment = tray.environment("slack");
    let netsuite = tray.environment("netsuite");
    let credentials = json!({"accessToken": "canary-7f3a"});
    for body in [
        json!({"serviceEnvironmentId": environment, "credentials": credentials}),
        json!({"name": "", "serviceEnvironmentId": environment, "credentials": credentials, "userData": {"canary-7f3a": 1}, "scopes": "x"}),
        json!({"name": "n", "credentials": credentials}),
        json!({"name": "n", "serviceEnvironmentId": environment, "credentials": "canary-7f3a"}),
        json!({"name": "n", "serviceEnvironmentId": environment, "credentials": {"team": "canary-7f3a"}}),
        json!({"name": "n", "serviceEnvironmentId": environment, "credentials": credentials, "onPremAgentGroupId": "x"}),
        json!({"name": "n", "serviceEnvironmentId": environment, "credentials": credentials, "onPremAgentGroupId": null}),
        json!({"name": "n", "serviceEnvironmentId": environment, "credentials": credentials, "surprise": 1}),
        json!({"name": "n", "serviceEnvironmentId": netsuite, "credentials": credentials}),
    ] {
        let answer = tray.post(&token, AUTHENTICATIONS, &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(answer.json()["message"].as_str().unwrap().contains("canary-7f3a"), "{}", answer.body);
    }
    let twice =
        json!({"name": "n", "serviceEnvironmentId": environment, "credentials": credentials, "scopes": ["a", "a"]});
    assert_eq!(tray.post(&token, AUTHENTICATIONS, &twice).await.status, StatusCode::BAD_REQUEST);
    let elsewhere = json!({"name": "n", "serviceEnvironmentId": Uuid::nil(), "credentials": credentials});
    assert_eq!(tray.post(&token, AUTHENTICATIONS, &elsewhere).await.status, StatusCode::NOT_FOUND);
    assert!(tray.world().creations().is_empty());
}

#[tokio::test]
async fn a_wrong_key_and_any_content_under_a_sloppy_schema_are_accepted() {
    let tray = Tray::start().await;
    let token = tray.user_token("acme-1");
    for service in ["http-client", "google-sheets", "hubspot"] {
        let body = json!({
            "name": service,
            "serviceEnvironmentId": tray.environment(service),
            "userData": {"anything": [1]},
            "credentials": {"anything": {"at": "all"}},
            "scopes": ["a", "b"],
            "onPremAgentGroupId": Uuid::nil(),
        });
        let created = tray.post(&token, AUTHENTICATIONS, &body).await;
        assert_eq!(created.status, StatusCode::OK, "{service}");
        let full = tray.full(&token, created.id()).await.json();
        for field in ["name", "userData", "credentials", "scopes", "onPremAgentGroupId", "serviceEnvironmentId"] {
            assert_eq!(full[field], body[field]);
        }
    }
}

#[tokio::test]
async fn a_replacement_is_whole() {
    let tray = Tray::start().await;
    let token = tray.user_token("acme-1");
    let environment = tray.environment("slack");
    let body = json!({
        "name": "Before",
        "serviceEnvironmentId": environment,
        "userData": {"team": "T1"},
        "credentials": {"accessToken": "old", "team": "T1"},
        "scopes": ["chat:write"],
    });
    let id = tray.post(&token, AUTHENTICATIONS, &body).await.id();
    let path = format!("{AUTHENTICATIONS}/{id}");

    for partial in [json!({"name": "After"}), json!({"credentials": {"accessToken": "new"}})] {
        assert_eq!(tray.call(&token, Method::PUT, &path, Some(&partial)).await.status, StatusCode::BAD_REQUEST);
    }
    let unfit = json!({"name": "After", "credentials": {"team": "T2"}});
    assert_eq!(tray.call(&token, Method::PUT, &path, Some(&unfit)).await.status, StatusCode::BAD_REQUEST);

    let replacement = json!({"name": "After", "credentials": {"accessToken": "new"}});
    let replaced = tray.call(&token, Method::PUT, &path, Some(&replacement)).await;
    assert_eq!(replaced.status, StatusCode::OK);
    assert_eq!(replaced.json(), json!({"id": id, "name": "After", "serviceEnvironmentId": environment}));
    let full = tray.full(&token, id).await.json();
    assert_eq!(full["credentials"], json!({"accessToken": "new"}));
    assert_eq!(full["userData"], json!({}));
    assert!(full.get("scopes").is_none());
    assert_eq!(tray.get(&token, &path).await.json(), replaced.json());
}

#[tokio::test]
async fn a_delete_is_204_of_type_html_and_then_404() {
    let tray = Tray::start().await;
    let token = tray.user_token("acme-1");
    let id = tray.first_of(Account::User(tray.user("acme-1")));
    let path = format!("{AUTHENTICATIONS}/{id}");
    let deleted = tray.call(&token, Method::DELETE, &path, None).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    assert_eq!((deleted.content_type.as_str(), deleted.body.as_str()), ("text/html", ""));
    assert_eq!(tray.call(&token, Method::DELETE, &path, None).await.status, StatusCode::NOT_FOUND);
    assert_eq!(tray.full(&token, id).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_forced_refresh_rotates_oauth_2_and_nothing_else() {
    let tray = Tray::with(Config { authentications_per_user: 7, limit: None, ..Config::default() }).await;
    let token = tray.user_token("acme-1");
    for found in tray.world().authentications().iter().filter(|found| found.owner == Account::User(tray.user("acme-1")))
    {
        let plain = tray.full(&token, found.id).await.json();
        assert_eq!(plain["credentials"], found.credentials);
        let path = format!("{AUTHENTICATIONS}/{}/full?forceRefresh=true", found.id);
        let refreshed = tray.get(&token, &path).await.json();
        let is_oauth_2 = ["salesforce", "google-sheets", "hubspot", "dynamics-365"].contains(&found.service.as_str());
        assert_eq!(refreshed["credentials"] != found.credentials, is_oauth_2, "{}", found.service);
        assert_eq!(refreshed["credentials"]["refresh_token"], found.credentials["refresh_token"]);
        assert_eq!(tray.full(&token, found.id).await.json(), refreshed);
    }
    let path = format!("{AUTHENTICATIONS}/{}/full?forceRefresh=perhaps", Uuid::nil());
    assert_eq!(tray.get(&token, &path).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_body_over_a_mebibyte_is_413() {
    let tray = Tray::start().await;
    let token = tray.user_token("acme-1");
    let body = json!({"name": "x".repeat(3 << 20)});
    assert_eq!(tray.post(&token, AUTHENTICATIONS, &body).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(tray.post(&token, "/graphql", &body).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn what_the_contract_does_not_know_is_404() {
    let tray = Tray::start().await;
    for path in ["/core/v1/authentications", "/core/v1/authentications/x", "/core/v2/workspaces", "/core/v1/users"] {
        assert_eq!(tray.get(&tray.master(), path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert!(tray.world().requests(Call::Unknown) > 0);
}
