//! The drop directory, from outside.

use serde_json::{Value, json};
use trayvault::emulator::{AuthenticationView, Call, Fault, FaultKind};

use crate::support::{House, OPEN};

fn slack(name: &str, token: &str) -> Value {
    json!({
        "version": 1, "action": "create", "name": name, "user": { "externalUserId": "acme-1" },
        "service": { "name": "slack", "version": 2 }, "environment": "Production",
        "credentials": { "accessToken": token },
    })
}

/// What is in Tray under a name.
fn named(house: &House, name: &str) -> Vec<AuthenticationView> {
    house.world().authentications().into_iter().filter(|one| one.name == name).collect()
}

#[test]
fn a_create_goes_upstream_once_and_leaves_a_receipt() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    house.drop_file("a.json", &slack("Dropped", "t-1"));
    let receipt = daemon.outcome("done/a.json.receipt.json");
    let made = named(&house, "Dropped");
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].credentials, json!({ "accessToken": "t-1" }));
    assert_eq!(
        (&receipt["outcome"], &receipt["authenticationId"]),
        (&"created".into(), &made[0].id.to_string().into())
    );
    assert!(!house.path("drop/a.json").exists());
    daemon.stop();
}

#[test]
fn a_file_that_was_dropped_while_the_daemon_was_down_is_picked_up() {
    let house = House::ready(OPEN);
    house.daemon().stop();
    house.drop_file("a.json", &slack("Dropped", "t-1"));
    let mut daemon = house.daemon();
    daemon.outcome("done/a.json.receipt.json");
    assert_eq!(named(&house, "Dropped").len(), 1);
    daemon.stop();
}

#[test]
fn a_part_is_merged_with_what_tray_has() {
    let house = House::ready(OPEN);
    let before = house.upstream("salesforce");
    let mut daemon = house.daemon();
    house.sync();
    let part = json!({
        "version": 1, "action": "update", "authenticationId": before.id,
        "credentials": { "access_token": "replaced" },
    });
    house.drop_file("part.json", &part);
    assert_eq!(daemon.outcome("done/part.json.receipt.json")["outcome"], "updated");
    let after = house.world().authentication(before.id).expect("it is there");
    let mut expected = before.credentials.clone();
    expected["access_token"] = "replaced".into();
    assert_eq!((after.credentials, after.name, after.user_data), (expected, before.name, before.user_data));
    daemon.stop();
}

#[test]
fn a_part_is_refused_where_no_rule_permits_a_full_read() {
    let house = House::ready("[[access.rules]]\nname = \"t\"\nusers = [\"UID\"]\ngrants = [\"sync\"]\n");
    let before = house.upstream("salesforce");
    let mut daemon = house.daemon();
    house.sync();
    let part = json!({
        "version": 1, "action": "update", "authenticationId": before.id,
        "credentials": { "access_token": "replaced" },
    });
    house.drop_file("part.json", &part);
    let reason = daemon.outcome("rejected/part.json.reason.json");
    assert!(reason["reason"].as_str().expect("a reason").contains("full read"), "{reason}");
    assert_eq!(house.world().requests(Call::FullRead), 0);
    daemon.stop();
}

#[test]
fn an_upsert_creates_then_updates() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    let mut document = slack("Upserted", "first");
    document["action"] = "upsert".into();
    house.drop_file("one.json", &document);
    assert_eq!(daemon.outcome("done/one.json.receipt.json")["outcome"], "created");
    document["credentials"]["accessToken"] = "second".into();
    house.drop_file("two.json", &document);
    assert_eq!(daemon.outcome("done/two.json.receipt.json")["outcome"], "updated");
    let made = named(&house, "Upserted");
    assert_eq!((made.len(), &made[0].credentials["accessToken"]), (1, &"second".into()));
    daemon.stop();
}

#[test]
fn a_delete_removes_it_upstream_and_here() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    house.sync();
    let id = house.upstream("slack").id;
    house.drop_file("gone.json", &json!({ "version": 1, "action": "delete", "authenticationId": id }));
    assert_eq!(daemon.outcome("done/gone.json.receipt.json")["outcome"], "deleted");
    assert!(house.world().authentication(id).is_none());
    assert_eq!(house.get(&format!("/v1/authentications/{id}/full")).0, 409);
    daemon.stop();
}

#[test]
fn what_breaks_the_services_schema_is_rejected_by_pointer_and_kept() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    let document = json!({
        "version": 1, "action": "create", "name": "Half", "user": { "externalUserId": "acme-1" },
        "service": { "name": "netsuite", "version": 1 }, "environment": "Production",
        "credentials": { "tokenId": "canary" },
    });
    house.drop_file("half.json", &document);
    let reason = daemon.outcome("rejected/half.json.reason.json");
    assert!(reason.to_string().contains("/credentials"), "{reason}");
    assert!(!reason.to_string().contains("canary"), "{reason}");
    assert_eq!(daemon.outcome("rejected/half.json"), document, "the file is kept");
    assert_eq!(named(&house, "Half").len(), 0);
    assert_eq!(house.world().requests(Call::CreateAuthentication), 0, "nothing left the host");
    daemon.stop();
}

#[test]
fn an_unknown_key_is_named_and_no_value_is() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    let mut document = slack("Dropped", "canary");
    document["credentialz"] = "canary".into();
    house.drop_file("typo.json", &document);
    let reason = daemon.outcome("rejected/typo.json.reason.json").to_string();
    assert!(reason.contains("credentialz") && !reason.contains("canary"), "{reason}");
    daemon.stop();
}

#[test]
fn an_answer_that_is_lost_after_the_work_makes_no_second_one() {
    for kind in [FaultKind::DropConnection, FaultKind::Status(502), FaultKind::TruncatedJson, FaultKind::Html] {
        let house = House::ready(OPEN);
        house.world().add_fault(Fault::after(Call::CreateAuthentication, kind));
        let mut daemon = house.daemon();
        house.drop_file("a.json", &slack("Once", "t-1"));
        let receipt = daemon.outcome("done/a.json.receipt.json");
        let made = named(&house, "Once");
        assert_eq!(made.len(), 1, "{kind:?}");
        assert_eq!(receipt["authenticationId"], made[0].id.to_string(), "{kind:?}: it was found and adopted");
        assert_eq!(house.world().requests(Call::CreateAuthentication), 1, "{kind:?}: it was sent once");
        daemon.stop();
    }
}

#[test]
fn a_create_that_never_arrived_is_sent_again_after_the_settling_time() {
    let house = House::ready(OPEN);
    house.world().add_fault(Fault::before(Call::CreateAuthentication, FaultKind::DropConnection));
    let mut daemon = house.daemon();
    house.drop_file("a.json", &slack("Again", "t-1"));
    daemon.outcome("done/a.json.receipt.json");
    assert_eq!(named(&house, "Again").len(), 1);
    assert_eq!(house.world().requests(Call::CreateAuthentication), 2);
    daemon.stop();
}

#[test]
fn a_daemon_that_is_killed_before_the_answer_finds_what_it_created() {
    let house = House::ready(OPEN);
    house.world().add_fault(Fault::after(Call::CreateAuthentication, FaultKind::DelayMs(60_000)));
    let mut daemon = house.daemon();
    house.drop_file("a.json", &slack("Once", "t-1"));
    daemon.wait("the create to arrive", || (!named(&house, "Once").is_empty()).then_some(()));
    daemon.signal(rustix::process::Signal::KILL);
    daemon.ended();
    house.world().clear_faults();
    let mut daemon = house.daemon();
    daemon.outcome("done/a.json.receipt.json");
    assert_eq!(named(&house, "Once").len(), 1);
    assert_eq!(house.world().requests(Call::CreateAuthentication), 1);
    daemon.stop();
}

#[test]
fn while_tray_is_down_a_document_waits_sealed() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    house.sync();
    house.world().add_fault(Fault::before(Call::ListConnectors, FaultKind::Status(503)).times(2));
    house.drop_file("a.json", &slack("Later", "canary-that-waits"));
    daemon.wait("the journal", || (!house.path("drop/a.json").exists()).then_some(()));
    daemon.outcome("done/a.json.receipt.json");
    assert_eq!(named(&house, "Later").len(), 1);
    daemon.stop();
}
