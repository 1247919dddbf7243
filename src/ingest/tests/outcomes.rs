//! What documents ask for, done or refused.

use std::fs;

use serde_json::{Value, json};

use super::{CANARY, Host, mode};
use crate::{
    authentication::AuthenticationId,
    emulator::{self, Alteration, Call},
    vault::State,
};

#[tokio::test]
async fn a_dropped_document_becomes_one_authentication_and_leaves_a_receipt() {
    let host = Host::new().await;
    let running = host.start();
    let made = host.create("Acme Salesforce").await;
    assert_eq!(made.credentials, json!({"access_token": CANARY}));
    assert_eq!(made.user_data, json!({"subdomain": "acme"}));
    assert_eq!(made.scopes, Some(vec!["api".to_owned()]));
    assert_eq!(host.created().len(), 1);
    assert!(!host.drop().join("Acme Salesforce.json").exists());

    let record = host.cache.record(AuthenticationId(made.id)).expect("readable").expect("known at once");
    assert_eq!((record.state, record.metadata.name.as_str()), (State::Pending, "Acme Salesforce"));
    host.posted("an empty journal", |posted| posted.ingest.accepted == 1 && posted.ingest.pending == 0).await;
    running.stop().await;
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn the_workspace_is_whose_it_is_when_no_user_is_named() {
    let host = Host::new().await;
    let running = host.start();
    let mut document = host.create_document("Shared");
    document.as_object_mut().expect("an object").remove("user");
    host.deliver_json("shared.json", &document);
    assert_eq!(host.receipt("shared.json").await["schemaChecked"], true);
    let workspace = emulator::Account::Workspace(host.emulator.world().shared_workspace());
    assert_eq!(host.created()[0].owner, workspace);
    running.stop().await;
}

#[tokio::test]
async fn a_document_that_breaks_its_schema_is_left_with_the_place_and_never_sent() {
    let host = Host::new().await;
    let running = host.start();
    let mut document = host.create_document("NetSuite");
    document["service"] = json!({"name": "netsuite", "version": 1});
    document["credentials"] = json!({"account_id": "x", "consumer_key": CANARY, "consumer_secret": 7, "token_id": "t"});
    document["userData"] = json!({});
    host.deliver_json("netsuite.json", &document);
    let reason = host.reason("netsuite.json").await;
    assert_eq!(reason["kind"], "schema");
    let text = reason["reason"].as_str().expect("text");
    assert!(text.contains("/credentials/token_secret: required"), "{text}");
    assert!(text.contains("/credentials/consumer_secret: type"), "{text}");
    let kept = host.drop().join("rejected/netsuite.json");
    assert_eq!(mode(&kept), 0o600);
    assert!(crate::sealed::is_sealed(&fs::read(kept).expect("kept")) && reason["sealed"] == true);
    assert_eq!(serde_json::from_slice::<Value>(&host.opened("netsuite.json")).expect("JSON"), document);
    assert_eq!(host.emulator.world().requests(Call::CreateAuthentication), 0);
    running.stop().await;
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn what_is_named_and_not_there_is_explained() {
    let host = Host::new().await;
    let running = host.start();
    let with = |change: fn(&mut Value)| {
        let mut document = host.create_document("any");
        change(&mut document);
        document
    };
    host.deliver_json("environment", &with(|document| document["environment"] = json!(CANARY)));
    host.deliver_json("service", &with(|document| document["service"]["name"] = json!(CANARY)));
    host.deliver_json("user", &with(|document| document["user"]["externalUserId"] = json!(CANARY)));
    let reason = host.reason("environment").await;
    assert_eq!(
        (reason["pointer"].as_str(), reason["hint"].as_str()),
        (Some("/environment"), Some("it has \"Production\", \"Acme CRM app\""))
    );
    assert_eq!(host.reason("service").await["pointer"], "/service/name");
    assert_eq!(host.reason("user").await["pointer"], "/user");
    running.stop().await;
}

#[tokio::test]
async fn an_update_in_part_keeps_the_rest() {
    let host = Host::new().await;
    let running = host.start();
    let made = host.create("Acme").await;
    let held = json!({"access_token": "old", "refresh_token": "kept"});
    let alteration = Alteration { credentials: held.as_object().cloned(), ..Alteration::default() };
    assert!(host.emulator.world().alter_authentication(made.id, alteration));
    let update =
        json!({"version": 1, "action": "update", "authenticationId": made.id, "credentials": {"access_token": CANARY}});
    host.deliver_json("update.json", &update);
    assert_eq!(host.receipt("update.json").await["outcome"], "updated");
    let updated = host.emulator.world().authentication(made.id).expect("there");
    assert_eq!(updated.credentials, json!({"access_token": CANARY, "refresh_token": "kept"}));
    assert_eq!((updated.name, updated.user_data, updated.scopes), (made.name, made.user_data, made.scopes));
    running.stop().await;
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn an_update_needs_the_policys_permit_only_where_it_is_in_part() {
    let host = Host::with_policy("").await;
    let running = host.start();
    let made = host.create("Acme").await;
    let mut update = json!({"version": 1, "action": "update", "authenticationId": made.id, "user": {"externalUserId": host.user()},
        "credentials": {"access_token": "new"}});
    host.deliver_json("part.json", &update);
    let reason = host.reason("part.json").await;
    assert_eq!(reason["kind"], "policy");
    assert!(reason["hint"].as_str().is_some_and(|hint| hint.contains("\"userData\"")), "{reason}");
    for (key, value) in [("name", json!("Renamed")), ("userData", json!({})), ("scopes", json!([]))] {
        update[key] = value;
    }
    host.deliver_json("whole.json", &update);
    assert_eq!(host.receipt("whole.json").await["outcome"], "updated");
    let updated = host.emulator.world().authentication(made.id).expect("there");
    assert_eq!((updated.name.as_str(), updated.credentials), ("Renamed", json!({"access_token": "new"})));
    assert_eq!(host.emulator.world().requests(Call::FullRead), 0);
    running.stop().await;
}

#[tokio::test]
async fn an_upsert_creates_and_then_updates() {
    let host = Host::new().await;
    let running = host.start();
    let mut upsert = host.create_document("Acme");
    upsert["action"] = json!("upsert");
    host.deliver_json("first.json", &upsert);
    let first = host.receipt("first.json").await;
    assert_eq!(first["outcome"], "created");
    upsert["credentials"]["access_token"] = json!("second");
    host.deliver_json("second.json", &upsert);
    let second = host.receipt("second.json").await;
    assert_eq!((&second["outcome"], &second["authenticationId"]), (&json!("updated"), &first["authenticationId"]));
    let [one] = &host.created()[..] else { panic!("one") };
    assert_eq!(one.credentials, json!({"access_token": "second"}));

    host.create("Acme").await;
    upsert["credentials"]["access_token"] = json!("third");
    host.deliver_json("third.json", &upsert);
    assert_eq!(host.reason("third.json").await["reason"], "2 authentications have that owner, environment and name");
    running.stop().await;
}

#[tokio::test]
async fn a_delete_deletes() {
    let host = Host::new().await;
    let running = host.start();
    let made = host.create("Acme").await;
    let delete = json!({"version": 1, "action": "delete", "authenticationId": made.id, "confirm": true});
    host.deliver_json("delete.json", &delete);
    assert_eq!(host.receipt("delete.json").await["outcome"], "deleted");
    assert!(host.emulator.world().authentication(made.id).is_none());
    host.deliver_json("again.json", &delete);
    assert_eq!(host.receipt("again.json").await["outcome"], "duplicate");
    let other = json!({"version": 1, "action": "delete", "confirm": true, "authenticationId": uuid::Uuid::new_v4()});
    host.deliver_json("other.json", &other);
    assert_eq!(host.reason("other.json").await["pointer"], "/authenticationId");
    running.stop().await;
}
