//! What would become of a document: as it would, without any value, and nothing happens.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{super::plan::Planner, CANARY, Host};
use crate::{
    authentication::AuthenticationId,
    emulator::{Alteration, AuthenticationView, Call},
    secret::SecretBytes,
    vault::Write,
};

/// The preview of a document, each fingerprint of it by a letter: the same for the same.
async fn preview(planner: &Planner, document: &Value) -> Value {
    preview_text(planner, &document.to_string()).await
}

async fn preview_text(planner: &Planner, document: &str) -> Value {
    let bytes = SecretBytes::new(document.as_bytes().to_vec());
    let preview = planner.preview(&bytes).await.expect("a preview");
    let text = serde_json::to_string(&preview).expect("JSON");
    assert!(!text.contains(CANARY), "{text}");
    let mut preview: Value = serde_json::from_str(&text).expect("JSON");
    let mut letters = HashMap::new();
    let Some(fields) = preview.get_mut("fields").and_then(Value::as_array_mut) else { return preview };
    for field in fields {
        for side in ["before", "after"] {
            if let Some(fingerprint) = field[side].as_str() {
                assert_eq!(fingerprint.len(), 32);
                let next = char::from(b'a' + u8::try_from(letters.len()).expect("few"));
                field[side] = json!(*letters.entry(fingerprint.to_owned()).or_insert(next));
            }
        }
        *field = json!([field["pointer"], field["change"], field["before"], field["after"]]);
    }
    preview
}

/// An authentication with three credentials in Tray, made there.
async fn held(host: &Host) -> AuthenticationView {
    let running = host.start();
    let made = host.create("Acme").await;
    running.stop().await;
    let credentials = json!({"access_token": "old", "refresh_token": "kept", "list": [1, {}]});
    let alteration = Alteration { credentials: credentials.as_object().cloned(), ..Alteration::default() };
    assert!(host.emulator.world().alter_authentication(made.id, alteration));
    host.emulator.world().forget_requests();
    host.emulator.world().authentication(made.id).expect("there")
}

const OAUTH: &str = "the environment signs in by OAuth: Tray can use and refresh these credentials only if they come \
                     from its own OAuth app";

#[tokio::test]
async fn a_create_adds_everything_and_makes_nobody() {
    let host = Host::new().await;
    let planner = host.planner();
    let mut document = host.create_document("Acme");
    document["credentials"] = json!({"access_token": CANARY, "refresh_token": CANARY, "expires_at": 7});
    let mut expected = json!({
        "outcome": "accepted", "does": "create", "owner": host.user(), "creates_user": false,
        "authentication_id": null, "name": "Acme",
        "fields": [
            ["/credentials/access_token", "added", null, "a"],
            ["/credentials/expires_at", "added", null, "b"],
            ["/credentials/refresh_token", "added", null, "a"],
            ["/name", "added", null, "c"],
            ["/scopes/0", "added", null, "d"],
            ["/userData/subdomain", "added", null, "e"],
        ],
        "notes": [OAUTH],
    });
    assert_eq!(preview(&planner, &document).await, expected);
    for action in ["create", "upsert"] {
        document["action"] = json!(action);
        document["user"] = json!({"externalUserId": "new-1"});
        document["createUser"] = json!(true);
        expected["owner"] = json!("new-1");
        expected["creates_user"] = json!(true);
        assert_eq!(preview(&planner, &document).await, expected);
    }
    let world = host.emulator.world();
    assert_eq!(
        (world.user("new-1"), world.requests(Call::CreateExternalUser), world.requests(Call::CreateAuthentication)),
        (None, 0, 0)
    );
}

#[tokio::test]
async fn an_update_in_part_is_compared_with_what_tray_holds() {
    let host = Host::new().await;
    let made = held(&host).await;
    let planner = host.planner();
    let update = json!({"version": 1, "action": "update", "authenticationId": made.id, "name": "Renamed",
        "credentials": {"access_token": CANARY, "refresh_token": "kept", "list": [1], "a/b": "old"}});
    let expected = json!({
        "outcome": "accepted", "does": "replace", "owner": host.user(), "creates_user": false,
        "authentication_id": made.id, "name": "Renamed",
        "fields": [
            ["/credentials/access_token", "changed", "a", "b"],
            ["/credentials/a~1b", "added", null, "a"],
            ["/credentials/list/0", "same", "c", "c"],
            ["/credentials/list/1", "removed", "d", null],
            ["/credentials/refresh_token", "same", "e", "e"],
            ["/name", "changed", "f", "g"],
            ["/scopes/0", "same", "h", "h"],
            ["/userData/subdomain", "same", "i", "i"],
        ],
        "notes": [OAUTH],
    });
    assert_eq!(preview(&planner, &update).await, expected);
    let world = host.emulator.world();
    assert_eq!((world.requests(Call::FullRead), world.requests(Call::ReplaceAuthentication)), (1, 0));
    assert_eq!(world.authentication(made.id).expect("there").name, "Acme");
}

#[tokio::test]
async fn an_upsert_of_one_that_is_there_is_an_update_of_it() {
    let host = Host::new().await;
    let made = held(&host).await;
    let planner = host.planner();
    let mut upsert = host.create_document("Acme");
    upsert["action"] = json!("upsert");
    upsert["credentials"] = json!({"access_token": CANARY});
    let preview = preview(&planner, &upsert).await;
    assert_eq!((&preview["does"], &preview["authentication_id"]), (&json!("replace"), &json!(made.id)));
    // It gives all there is, so what it does not have goes.
    assert_eq!(
        preview["fields"],
        json!([
            ["/credentials/access_token", "changed", "a", "b"],
            ["/credentials/list/0", "removed", "c", null],
            ["/credentials/list/1", "removed", "d", null],
            ["/credentials/refresh_token", "removed", "e", null],
            ["/name", "same", "f", "f"],
            ["/scopes/0", "same", "g", "g"],
            ["/userData/subdomain", "same", "h", "h"],
        ])
    );
}

#[tokio::test]
async fn where_the_policy_does_not_permit_the_read_a_part_is_rejected_and_a_whole_not_compared() {
    let host = Host::with_policy("").await;
    let made = held(&host).await;
    let planner = host.planner();
    let mut update = json!({"version": 1, "action": "update", "authenticationId": made.id,
        "user": {"externalUserId": host.user()}, "credentials": {"access_token": CANARY}});
    let part = preview(&planner, &update).await;
    assert_eq!((&part["outcome"], &part["kind"]), (&json!("rejected"), &json!("policy")));
    for (key, value) in [("name", json!("Renamed")), ("userData", json!({})), ("scopes", json!([]))] {
        update[key] = value;
    }
    let whole = preview(&planner, &update).await;
    let fields = json!([["/credentials/access_token", "changed", null, "a"], ["/name", "changed", null, "b"]]);
    assert_eq!((&whole["does"], &whole["fields"]), (&json!("replace"), &fields));
    assert!(whole["notes"].to_string().contains("may not be read in full"), "{whole}");
    assert_eq!(host.emulator.world().requests(Call::FullRead), 0);
}

#[tokio::test]
async fn a_delete_names_what_it_is_and_deletes_nothing() {
    let host = Host::new().await;
    let made = held(&host).await;
    let delete = json!({"version": 1, "action": "delete", "authenticationId": made.id, "confirm": true});
    let expected = json!({
        "outcome": "accepted", "does": "delete", "owner": host.user(), "creates_user": false,
        "authentication_id": made.id, "name": null, "fields": [], "notes": [],
    });
    assert_eq!(preview(&host.planner(), &delete).await, expected);
    // What is held here is named without a request.
    let body = json!({"id": made.id, "name": "Acme", "userData": {}, "credentials": {"access_token": CANARY}});
    let pulled = Write::Pulled {
        id: AuthenticationId(made.id),
        asked_in: host.cache.generation().expect("readable"),
        body: SecretBytes::new(body.to_string().into_bytes()),
        fetched_at: jiff::Timestamp::now(),
        expires_at: None,
    };
    host.cache.write(vec![pulled]).await.expect("written");
    let fields = json!([["/credentials/access_token", "removed", "a", null], ["/name", "removed", "b", null]]);
    assert_eq!(preview(&host.planner(), &delete).await["fields"], fields);
    assert_eq!(host.emulator.world().requests(Call::FullRead), 0);
    assert_eq!(host.emulator.world().requests(Call::DeleteAuthentication), 0);
    assert!(host.emulator.world().authentication(made.id).is_some());
}

#[tokio::test]
async fn what_would_be_rejected_says_why_and_where() {
    let host = Host::new().await;
    let planner = host.planner();
    let mut document = host.create_document("Acme");
    document["credentials"] = json!({"access_token": [CANARY]});
    let rejected = json!({
        "outcome": "rejected", "kind": "schema", "line": null, "column": null,
        "reason": "the service's schema is not satisfied at /credentials/access_token: type",
        "hint": "the environment signs in by OAuth: give what a sign-in to its own OAuth app gave (access and refresh \
                 token), or have the end user sign in through Tray",
        "pointer": "/credentials/access_token",
    });
    assert_eq!(preview(&planner, &document).await, rejected);
    let rejected = json!({
        "outcome": "rejected", "kind": "document", "line": 2, "column": 1, "hint": null,
        "reason": "the key \"version\" comes twice", "pointer": "/version",
    });
    assert_eq!(preview_text(&planner, "{\"version\":1,\n\"version\":\"s3cr3t-canary\"}").await, rejected);
}

#[tokio::test]
async fn a_token_that_expired_is_renewed_for_a_preview() {
    let host = Host::new().await;
    let made = held(&host).await;
    host.emulator.world().expire_user_tokens();
    let update = json!({"version": 1, "action": "update", "authenticationId": made.id, "name": "Renamed"});
    assert_eq!(preview(&host.planner(), &update).await["outcome"], "accepted");
}
