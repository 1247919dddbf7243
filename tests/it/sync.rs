//! What is pulled, and what never is.

use serde_json::Value;
use trayvault::emulator::{Call, Fault, FaultKind};

use crate::support::{House, OPEN};

const ONLY_SALESFORCE_OF_END_USERS: &str = r#"
[[pull.rules]]
name = "salesforce"
effect = "allow"
principals = ["embedded"]
services = ["salesforce"]

[[access.rules]]
name = "the test"
users = ["UID"]
grants = ["metadata", "read", "sync"]
"#;

/// The ids of what is in a state.
fn in_state(house: &House, state: &str) -> Vec<String> {
    let (_, list) = house.get("/v1/authentications");
    let all = list["authentications"].as_array().expect("a list").iter();
    all.filter(|one| one["state"] == state).map(|one| one["id"].as_str().expect("an id").to_owned()).collect()
}

fn problems(report: &Value) -> String {
    report["problems"].to_string()
}

#[test]
fn only_what_a_rule_permits_is_pulled_in_full() {
    let house = House::ready(ONLY_SALESFORCE_OF_END_USERS);
    let daemon = house.daemon();
    let report = house.sync();
    assert_eq!(report["listed"], 8);
    assert_eq!(in_state(&house, "full").len(), 1, "acme-1 has the one that is permitted");
    assert_eq!(in_state(&house, "not_permitted").len(), 7);
    assert_eq!(house.world().requests(Call::FullRead), 1);
    daemon.stop();
}

#[test]
fn without_rules_everything_is_metadata_only() {
    let house = House::ready("[[access.rules]]\nname = \"t\"\nusers = [\"UID\"]\ngrants = [\"sync\", \"metadata\"]\n");
    let daemon = house.daemon();
    house.sync();
    assert_eq!(house.world().requests(Call::FullRead), 0);
    assert_eq!(in_state(&house, "not_permitted").len(), 8);
    daemon.stop();
}

#[test]
fn an_unchanged_world_costs_one_list_for_each_principal_and_one_of_users() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    house.world().forget_requests();
    house.sync();
    let requests = house.world().state().requests;
    let spent: Vec<_> = requests.into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(spent, [(Call::ListUsers, 1), (Call::ListAuthentications, 4)]);
    daemon.stop();
}

#[test]
fn a_changed_name_is_recorded_and_a_removed_one_is_destroyed() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let (slack, salesforce) = (house.upstream("slack"), house.upstream("salesforce"));
    let renamed = trayvault::emulator::Alteration { name: Some("Renamed".to_owned()), ..Default::default() };
    assert!(house.world().alter_authentication(slack.id, renamed));
    assert!(house.world().remove_authentication(salesforce.id));
    house.sync();
    let (_, shown) = house.get(&format!("/v1/authentications/{}", slack.id));
    assert_eq!((&shown["name"], &shown["revision"]), (&"Renamed".into(), &2.into()));
    let (_, shown) = house.get(&format!("/v1/authentications/{}", salesforce.id));
    assert_eq!((&shown["state"], &shown["gone"]), (&"gone".into(), &"deleted_upstream".into()));
    let (status, _) = house.get(&format!("/v1/authentications/{}/full", salesforce.id));
    assert_eq!(status, 409);
    daemon.stop();
}

#[test]
fn where_the_full_read_is_not_enabled_status_says_so_until_it_is() {
    let house = House::ready(OPEN);
    house.world().set_full_read(false);
    let mut daemon = house.daemon();
    daemon.wait("the first cycle", || house.get("/v1/status").1["sync"]["last"].is_object().then_some(()));
    // One question for each principal, and none for what is refused alike.
    assert_eq!(house.world().requests(Call::FullRead), 4);
    assert_eq!(in_state(&house, "not_enabled").len(), 8);
    house.sync();
    let (_, status) = house.get("/v1/status");
    let problem = &status["sync"]["last"]["problems"][0];
    assert!(problem["what"].as_str().expect("text").contains("the full read is not enabled"), "{status}");
    assert!(problem["hint"].as_str().expect("text").contains("asks Tray's support to enable"), "{status}");
    house.world().set_full_read(true);
    // Who asks does not wait for the slow timer.
    house.sync();
    assert_eq!(in_state(&house, "full").len(), 8);
    daemon.stop();
}

#[test]
fn a_question_that_is_not_answered_refuses_nothing() {
    let house = House::ready(&format!("{OPEN}\n[sync]\nrefresh_after = \"1s\"\n"));
    let daemon = house.daemon();
    house.sync();
    house.world().set_full_read(false);
    house.world().add_fault(Fault::before(Call::ReadAuthentication, FaultKind::Status(500)).times(50));
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    house.sync();
    assert_eq!(house.get("/v1/status").1["authentications"]["gone"], 0);
    let id = house.upstream("slack").id;
    assert_eq!(house.get(&format!("/v1/authentications/{id}/full")).0, 200);
    daemon.stop();
}

#[test]
fn a_damaged_secret_is_not_answered_and_the_next_pull_mends_it() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    daemon.stop();
    let slack = house.upstream("slack");
    let cache = rusqlite::Connection::open(house.path("state/cache.db")).expect("a database");
    let damage = "UPDATE authentications SET secret = zeroblob(length(secret)) WHERE id = ?1";
    assert_eq!(cache.execute(damage, [slack.id.as_bytes()]).expect("an update"), 1);
    drop(cache);
    let daemon = house.daemon();
    house.sync();
    let path = format!("/v1/authentications/{}/full", slack.id);
    assert_eq!(house.get(&path).0, 503);
    let renamed = trayvault::emulator::Alteration { name: Some("Renamed".to_owned()), ..Default::default() };
    assert!(house.world().alter_authentication(slack.id, renamed));
    assert_eq!(house.sync()["failed"], 0);
    let (status, answer) = house.get(&path);
    assert_eq!((status.as_u16(), &answer["authentication"]["credentials"]), (200, &slack.credentials));
    daemon.stop();
}

#[test]
fn what_a_principal_had_that_is_not_configured_any_more_is_destroyed() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    daemon.stop();
    let configuration = std::fs::read_to_string(house.path("trayvault.toml")).expect("a configuration");
    let api_user = format!(", api_user = {{ file = \"{}\" }}", house.path("api-user.token").display());
    assert!(configuration.contains(&api_user));
    std::fs::write(house.path("trayvault.toml"), configuration.replace(&api_user, "")).expect("written");
    let daemon = house.daemon();
    house.sync();
    assert_eq!((in_state(&house, "gone").len(), in_state(&house, "full").len()), (2, 6));
    daemon.stop();
}

#[test]
fn by_the_timer_it_is_not_asked_again_and_still_said() {
    let house = House::ready(&format!("{OPEN}\n[sync]\ninterval = \"1s\"\n"));
    house.world().set_full_read(false);
    let mut daemon = house.daemon();
    daemon.wait("two cycles", || (house.world().requests(Call::ListUsers) >= 3).then_some(()));
    assert_eq!(house.world().requests(Call::FullRead), 4);
    let (_, status) = house.get("/v1/status");
    assert!(problems(&status["sync"]["last"]).contains("the full read is not enabled"), "{status}");
    daemon.stop();
}

#[test]
fn cycles_repeat_on_the_interval() {
    let house = House::ready(&format!("{OPEN}\n[sync]\ninterval = \"1s\"\n"));
    let mut daemon = house.daemon();
    daemon.wait("three cycles", || (house.world().requests(Call::ListUsers) >= 3).then_some(()));
    let slack = house.upstream("slack");
    assert!(house.world().remove_authentication(slack.id));
    daemon.wait("it to be gone", || (in_state(&house, "gone").len() == 1).then_some(()));
    daemon.stop();
}

#[test]
fn only_expired_credentials_are_refreshed_by_force() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let salesforce = house.upstream("salesforce");
    let mut expired = salesforce.credentials.clone();
    expired["expires_at"] = 1_000_000_000.into();
    let alteration = |credentials: &Value| trayvault::emulator::Alteration {
        name: Some("Altered".to_owned()),
        credentials: credentials.as_object().cloned(),
        ..Default::default()
    };
    assert!(house.world().alter_authentication(salesforce.id, alteration(&expired)));
    // The change is seen by its name, and pulled as it is; the next cycle finds it expired.
    house.sync();
    house.sync();
    let now = house.world().authentication(salesforce.id).expect("it is there").credentials;
    assert_ne!(now["access_token"], salesforce.credentials["access_token"], "Tray refreshed it");
    let (_, held) = house.get(&format!("/v1/authentications/{}/full", salesforce.id));
    assert_eq!(held["authentication"]["credentials"], now);
    assert_eq!(held["stale"], false);
    daemon.stop();
}

#[test]
fn a_token_of_a_personal_workspace_is_never_used_to_pull() {
    let house = House::ready(OPEN);
    house.private("api-user.token", &house.emulator().tokens().personal_api_user.clone());
    let daemon = house.daemon();
    let report = house.sync();
    assert!(problems(&report).contains("the API user's workspace is not a shared one"), "{report}");
    assert_eq!((&report["listed"], &report["failed"]), (&6.into(), &1.into()), "the end users' are there all the same");
    daemon.stop();
}

#[test]
fn every_wire_form_of_a_shared_workspace_is_understood() {
    use trayvault::emulator::WorkspaceTypeForm;
    for form in [WorkspaceTypeForm::Title, WorkspaceTypeForm::Upper, WorkspaceTypeForm::Object] {
        let house = House::ready(OPEN);
        house.world().set_workspace_type_form(form);
        let daemon = house.daemon();
        assert_eq!(house.sync()["listed"], 8, "{form:?}");
        daemon.stop();
    }
}

#[test]
fn a_rejected_user_token_is_renewed_once() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    house.world().expire_user_tokens();
    house.world().forget_requests();
    let report = house.sync();
    assert_eq!((&report["listed"], &report["failed"]), (&8.into(), &0.into()));
    assert_eq!(house.world().requests(Call::Authorize), 3);
    daemon.stop();
}

#[test]
fn a_fault_of_one_read_does_not_stop_the_others() {
    for kind in [FaultKind::Status(503), FaultKind::Html, FaultKind::TruncatedJson] {
        let house = House::ready(OPEN);
        house.world().add_fault(Fault::before(Call::FullRead, kind));
        let daemon = house.daemon();
        daemon_settles(&house);
        assert_eq!(in_state(&house, "full").len(), 8, "{kind:?}: the next cycle pulled what the first could not");
        daemon.stop();
    }
}

/// Two cycles: the first one may have met the fault.
fn daemon_settles(house: &House) {
    house.sync();
    house.sync();
}

#[test]
fn a_listing_that_breaks_off_removes_nothing() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    house.world().add_fault(Fault::before(Call::ListAuthentications, FaultKind::TruncatedJson).times(1_000));
    let report = house.sync();
    assert_eq!((&report["gone"], &report["failed"]), (&0.into(), &4.into()));
    assert_eq!(in_state(&house, "full").len(), 8);
    daemon.stop();
}

#[test]
fn lists_of_several_pages_are_read_to_their_end() {
    let config =
        trayvault::emulator::Config { users: 7, authentications_per_user: 5, ..trayvault::emulator::Config::default() };
    let house = House::with(config, OPEN);
    house.succeeds(&["init"]);
    house.world().cap_pages(2);
    let daemon = house.daemon();
    assert_eq!(house.sync()["listed"], 37);
    daemon.stop();
}
#[test]
fn a_pull_that_fails_after_the_metadata_changed_stays_due() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let id = house.upstream("slack").id;
    let name = Some("renamed".to_owned());
    assert!(house.world().alter_authentication(id, trayvault::emulator::Alteration { name, ..Default::default() }));
    house.world().add_fault(Fault::before(Call::FullRead, FaultKind::Status(503)).times(3));
    assert_eq!(house.sync()["failed"], 1);
    assert_eq!(house.sync()["pulled"], 1);
    daemon.stop();
}
