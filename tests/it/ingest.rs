//! The drop directory, from outside.

use serde_json::{Value, json};
use trayvault::emulator::{Account, AuthenticationView, Call, Fault, FaultKind};

use crate::support::{CANARY, House, OPEN};

fn slack(name: &str, token: &str) -> Value {
    json!({
        "version": 1, "action": "create", "name": name, "user": { "externalUserId": "acme-1" },
        "service": { "name": "slack", "version": 2 }, "environment": "Production",
        "credentials": { "accessToken": format!("{CANARY}-{token}") },
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
    assert_eq!(made[0].credentials, json!({ "accessToken": format!("{CANARY}-t-1") }));
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
fn every_step_of_a_document_is_on_record() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    house.drop_file("a.json", &slack("Dropped", "t-1"));
    daemon.outcome("done/a.json.receipt.json");
    daemon.stop();
    let log = std::fs::read_to_string(house.path("state/audit/audit.jsonl")).expect("a log");
    let entries = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("an entry"));
    let steps: Vec<_> = entries
        .filter(|entry| entry["intent"].is_string())
        .map(|entry| format!("{} {}", entry["action"], entry["outcome"]).replace('"', ""))
        .collect();
    let expected = ["ingest.claim done", "ingest.journal done", "ingest.create begun", "ingest.settle done"];
    assert_eq!(steps, expected);
}

/// The watch follows the directory's inode, and a parent that is renamed tells it nothing.
#[test]
fn what_the_watch_does_not_see_the_timer_finds() {
    let house = House::new(OPEN);
    let configuration = std::fs::read_to_string(house.path("trayvault.toml")).expect("a configuration");
    std::fs::create_dir(house.path("spool")).expect("a directory");
    let configuration = configuration.replace("/drop\"", "/spool/drop\"").replace("\"1h\"", "\"300ms\"");
    std::fs::write(house.path("trayvault.toml"), configuration).expect("a configuration");
    house.succeeds(&["init"]);
    let mut daemon = house.daemon();
    std::fs::rename(house.path("spool"), house.path("old")).expect("a rename");
    house.private_directory("new/drop");
    house.private("new/drop/a.json", &slack("Dropped", "t-1").to_string());
    std::fs::rename(house.path("new"), house.path("spool")).expect("a rename");
    daemon.wait("the receipt", || house.path("spool/drop/done/a.json.receipt.json").exists().then_some(()));
    assert_eq!(named(&house, "Dropped").len(), 1);
    daemon.stop();
}

#[test]
fn an_owner_may_be_named_by_either_id_or_be_the_workspace() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    let user = house.world().user("acme-2").expect("a user");
    let mut by_id = slack("By id", "t-1");
    by_id["user"] = json!({ "userId": user });
    house.drop_file("by-id.json", &by_id);
    daemon.outcome("done/by-id.json.receipt.json");
    assert_eq!(named(&house, "By id")[0].owner, Account::User(user));
    let mut of_workspace = slack("Of the workspace", "t-1");
    of_workspace.as_object_mut().expect("an object").remove("user");
    house.drop_file("workspace.json", &of_workspace);
    daemon.outcome("done/workspace.json.receipt.json");
    let workspace = Account::Workspace(house.world().shared_workspace());
    assert_eq!(named(&house, "Of the workspace")[0].owner, workspace);
    let mut by_environment = slack("By environment", "t-1");
    let object = by_environment.as_object_mut().expect("an object");
    object.remove("service");
    object.remove("environment");
    let environment = house.world().environment("slack", "Production").expect("an environment");
    object.insert("serviceEnvironmentId".to_owned(), json!(environment));
    house.drop_file("by-environment.json", &by_environment);
    daemon.outcome("done/by-environment.json.receipt.json");
    assert_eq!(named(&house, "By environment").len(), 1);
    daemon.stop();
}

#[test]
fn a_pull_that_an_update_has_overtaken_does_not_bring_the_old_secret_back() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    house.sync();
    let before = house.upstream("slack");
    // A pull that reads the old secret, and whose answer comes after the update.
    let renamed = trayvault::emulator::Alteration { name: Some("Renamed".to_owned()), ..Default::default() };
    assert!(house.world().alter_authentication(before.id, renamed));
    house.world().forget_requests();
    house.world().add_fault(Fault::after(Call::FullRead, FaultKind::DelayMs(2_500)));
    std::thread::scope(|scope| {
        scope.spawn(|| house.sync());
        daemon.wait("the pull", || (house.world().requests(Call::FullRead) == 1).then_some(()));
        let whole = json!({
            "version": 1, "action": "update", "authenticationId": before.id, "name": "Updated",
            "userData": {}, "credentials": { "accessToken": CANARY }, "scopes": [],
        });
        house.drop_file("update.json", &whole);
        daemon.outcome("done/update.json.receipt.json");
    });
    let full = daemon.wait("the pull after the update", || {
        let (status, answer) = house.get(&format!("/v1/authentications/{}/full", before.id));
        let fresh = status == 200 && answer["stale"] == false;
        fresh.then_some(answer)
    });
    assert_eq!(full["authentication"]["credentials"]["accessToken"], CANARY);
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
        "credentials": { "access_token": CANARY },
    });
    house.drop_file("part.json", &part);
    assert_eq!(daemon.outcome("done/part.json.receipt.json")["outcome"], "updated");
    let after = house.world().authentication(before.id).expect("it is there");
    let mut expected = before.credentials.clone();
    expected["access_token"] = CANARY.into();
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
        "credentials": { "access_token": CANARY },
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
    document["credentials"]["accessToken"] = CANARY.into();
    house.drop_file("two.json", &document);
    assert_eq!(daemon.outcome("done/two.json.receipt.json")["outcome"], "updated");
    let made = named(&house, "Upserted");
    assert_eq!((made.len(), &made[0].credentials["accessToken"]), (1, &CANARY.into()));
    daemon.stop();
}

#[test]
fn a_delete_removes_it_upstream_and_here() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    house.sync();
    let id = house.upstream("slack").id;
    house.drop_file("gone.json", &json!({ "version": 1, "action": "delete", "authenticationId": id, "confirm": true }));
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
        "credentials": { "tokenId": CANARY },
    });
    house.drop_file("half.json", &document);
    let reason = daemon.outcome("rejected/half.json.reason.json");
    assert!(reason.to_string().contains("/credentials"), "{reason}");
    assert!(!reason.to_string().contains("canary"), "{reason}");
    let kept = house.succeeds(&["ingest", "show", "half.json"]);
    assert_eq!(serde_json::from_str::<Value>(&kept).expect("JSON"), document, "the file is kept");
    assert_eq!(named(&house, "Half").len(), 0);
    assert_eq!(house.world().requests(Call::CreateAuthentication), 0, "nothing left the host");
    daemon.stop();
}

#[test]
fn an_unknown_key_is_named_and_no_value_is() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    let mut document = slack("Dropped", "canary");
    document["credentialz"] = CANARY.into();
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
    house.world().add_fault(Fault::before(Call::ListEnvironments, FaultKind::Status(503)).times(1_000));
    house.drop_file("a.json", &slack("Later", "canary-that-waits"));
    daemon.wait("it to be pending", || (house.get("/v1/status").1["ingest"]["pending"] == 1).then_some(()));
    let canary = b"canary-that-waits";
    for file in house.files() {
        let content = std::fs::read(&file).expect("a file");
        assert!(!content.windows(canary.len()).any(|window| window == canary), "{}", file.display());
    }
    daemon.stop();
    house.world().clear_faults();
    // What waited is not lost with the process.
    let mut daemon = house.daemon();
    daemon.outcome("done/a.json.receipt.json");
    assert_eq!(named(&house, "Later").len(), 1);
    daemon.stop();
}
