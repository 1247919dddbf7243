//! What each kind of token may do.

use super::*;

#[tokio::test]
async fn a_missing_malformed_or_unknown_token_is_401() {
    let tray = Tray::start().await;
    for token in ["", "nonsense", "Bearer x", &format!("{}x", tray.master())] {
        assert_eq!(tray.get(token, "/core/v1/workspaces").await.status, StatusCode::UNAUTHORIZED);
        let answer = tray.graphql(token, "{ viewer { authentications { edges { cursor } } } }", json!({})).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    let answer = tray.get("", "/core/v1/workspaces").await.json();
    assert!(answer["message"].is_string());
}

#[tokio::test]
async fn a_full_read_is_for_the_owner_and_the_shared_workspace_only() {
    let tray = Tray::start().await;
    let of_user = tray.first_of(Account::User(tray.user("acme-1")));
    let shared = tray.first_of(Account::Workspace(tray.world().shared_workspace()));
    let owner = tray.user_token("acme-1");
    let stranger = tray.user_token("acme-2");
    let personal = tray.emulator.tokens().personal_api_user.clone();
    for (token, id, expected) in [
        (&owner, of_user, StatusCode::OK),
        (&stranger, of_user, StatusCode::NOT_FOUND),
        (&owner, shared, StatusCode::NOT_FOUND),
        (&tray.api_user(), shared, StatusCode::OK),
        (&tray.api_user(), of_user, StatusCode::NOT_FOUND),
        (&tray.master(), of_user, StatusCode::FORBIDDEN),
        (&tray.master(), shared, StatusCode::FORBIDDEN),
        (&personal, shared, StatusCode::FORBIDDEN),
        (&personal, of_user, StatusCode::FORBIDDEN),
    ] {
        assert_eq!(tray.full(token, id).await.status, expected);
    }
    let full = tray.full(&owner, of_user).await.json();
    assert_eq!(full["id"], json!(of_user));
    assert!(full["userData"].is_object());
    assert_eq!(full["credentials"], tray.world().authentication(of_user).unwrap().credentials);
}

#[tokio::test]
async fn a_full_read_is_403_until_it_is_switched_on() {
    let tray = Tray::with(Config { full_read_enabled: false, limit: None, ..Config::default() }).await;
    let id = tray.first_of(Account::User(tray.user("acme-1")));
    let token = tray.user_token("acme-1");
    assert_eq!(tray.full(&token, id).await.status, StatusCode::FORBIDDEN);
    tray.world().set_full_read(true);
    assert_eq!(tray.full(&token, id).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_token_changes_only_what_it_reaches() {
    let tray = Tray::start().await;
    let id = tray.first_of(Account::User(tray.user("acme-1")));
    let path = format!("/core/v1/authentications/{id}");
    let replacement = json!({"name": "Renamed", "credentials": {"access_token": "x"}});
    let personal = tray.emulator.tokens().personal_api_user.clone();
    for token in [&tray.user_token("acme-2"), &tray.api_user(), &personal] {
        assert_eq!(tray.get(token, &path).await.status, StatusCode::NOT_FOUND);
        assert_eq!(tray.call(token, Method::PUT, &path, Some(&replacement)).await.status, StatusCode::NOT_FOUND);
        assert_eq!(tray.call(token, Method::DELETE, &path, None).await.status, StatusCode::NOT_FOUND);
    }
    for token in [&tray.user_token("acme-1"), &tray.master()] {
        assert_eq!(tray.get(token, &path).await.status, StatusCode::OK);
        assert_eq!(tray.call(token, Method::PUT, &path, Some(&replacement)).await.status, StatusCode::OK);
    }
    assert_eq!(tray.call(&tray.master(), Method::DELETE, &path, None).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn what_a_token_creates_belongs_to_its_account() {
    let tray = Tray::start().await;
    let shared = tray.world().shared_workspace();
    for (token, owner) in [
        (tray.user_token("acme-2"), Account::User(tray.user("acme-2"))),
        (tray.api_user(), Account::Workspace(shared)),
        (tray.master(), Account::Organisation),
    ] {
        let created = tray.create_slack(&token, "Mine").await;
        assert_eq!(created.status, StatusCode::OK);
        assert_eq!(tray.world().authentication(created.id()).unwrap().owner, owner);
    }
}

#[tokio::test]
async fn the_catalogue_is_for_master_and_user_tokens() {
    let tray = Tray::start().await;
    for path in ["/core/v1/connectors", "/core/v1/services/slack/versions/2/environments"] {
        assert_eq!(tray.get(&tray.master(), path).await.status, StatusCode::OK);
        assert_eq!(tray.get(&tray.user_token("acme-1"), path).await.status, StatusCode::OK);
        assert_eq!(tray.get(&tray.api_user(), path).await.status, StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn a_user_token_expires() {
    let tray =
        Tray::with(Config { user_token_lifetime: std::time::Duration::ZERO, limit: None, ..Config::default() }).await;
    let token = tray.user_token("acme-1");
    assert_eq!(tray.get(&token, "/core/v1/workspaces").await.status, StatusCode::UNAUTHORIZED);

    let tray = Tray::start().await;
    let token = tray.user_token("acme-1");
    assert_eq!(tray.get(&token, "/core/v1/workspaces").await.status, StatusCode::OK);
    tray.world().expire_user_tokens();
    assert_eq!(tray.get(&token, "/core/v1/workspaces").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(tray.get(&tray.api_user(), "/core/v1/workspaces").await.status, StatusCode::OK);
}
