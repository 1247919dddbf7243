//! The control endpoint.

use super::*;
use crate::emulator::Call;

#[tokio::test]
async fn a_fault_is_added_and_cleared_over_http() {
    let tray = Tray::limited(0, 1, 1800).await;
    let fault = json!({"call": "create_authentication", "times": 1, "after_work": true, "kind": "drop_connection"});
    for kind in [
        json!("drop_connection"),
        json!("html"),
        json!("truncated_json"),
        json!("wrong_type"),
        json!("gzip"),
        json!("slow_body"),
        json!("huge"),
        json!({"status": 503}),
        json!({"delay_ms": 5}),
    ] {
        let mut fault = fault.clone();
        fault["kind"] = kind;
        assert_eq!(tray.post("", "/_emulator/faults", &fault).await.status, StatusCode::NO_CONTENT);
    }
    assert_eq!(tray.get("", "/_emulator/state").await.json()["faults"], 9);
    assert_eq!(tray.call("", Method::DELETE, "/_emulator/faults", None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(tray.get("", "/_emulator/state").await.json()["faults"], 0);

    // None of the above took from the limit or was counted.
    assert_eq!(tray.get(&tray.master(), "/core/v1/workspaces").await.status, StatusCode::OK);
    let state = tray.get("", "/_emulator/state").await.json();
    assert_eq!(state["requests"], json!({"list_workspaces": 1}));
}

#[tokio::test]
async fn the_world_is_changed_over_http() {
    let tray = Tray::start().await;
    let user = tray.post("", "/_emulator/users", &json!({"externalUserId": "x-1", "name": "X"})).await.id();
    let new =
        json!({"owner": {"user": user}, "service_environment_id": tray.environment("salesforce"), "name": "Added"});
    let id = tray.post("", "/_emulator/authentications", &new).await.id();
    let token = tray.user_token("x-1");
    let before = tray.full(&token, id).await.json();
    assert!(before["credentials"]["access_token"].as_str().unwrap().starts_with("sk-emu-"));

    let path = format!("/_emulator/authentications/{id}");
    assert_eq!(tray.post("", &format!("{path}/reissue"), &json!({})).await.status, StatusCode::NO_CONTENT);
    assert_ne!(tray.full(&token, id).await.json()["credentials"], before["credentials"]);
    let altered = json!({"name": "Altered", "credentials": {"access_token": "y"}});
    assert_eq!(tray.call("", Method::PATCH, &path, Some(&altered)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(tray.full(&token, id).await.json()["credentials"], json!({"access_token": "y"}));
    assert_eq!(tray.call("", Method::DELETE, &path, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(tray.call("", Method::DELETE, &path, None).await.status, StatusCode::NOT_FOUND);

    tray.post("", "/_emulator/full-read", &json!({"enabled": false})).await;
    let other = tray.first_of(Account::User(tray.user("acme-1")));
    assert_eq!(tray.full(&tray.user_token("acme-1"), other).await.status, StatusCode::FORBIDDEN);
    tray.post("", "/_emulator/tokens/expire", &json!({})).await;
    assert_eq!(tray.get(&token, "/core/v1/workspaces").await.status, StatusCode::UNAUTHORIZED);
    tray.post("", "/_emulator/workspace-type", &json!({"form": "object"})).await;
    let own = tray.get(&tray.api_user(), "/core/v1/workspaces").await.json();
    assert_eq!(own["elements"][0]["type"]["name"], "Shared");
    assert_eq!(tray.get("", "/_emulator/tokens").await.json()["master"], tray.master());
    assert_eq!(tray.world().requests(Call::CreateAuthentication), 0);
    tray.emulator.stop().await;
}
