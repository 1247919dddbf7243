//! What is not permitted is not pulled; what Tray refuses is not answered; what is gone is destroyed, and what is many is
//! asked about first.

use serde_json::{Value, json};
use trayvault::emulator::{Account, Alteration, Call, Fault, FaultKind, NewAuthentication};

use crate::support::{House, OPEN};

fn answer(house: &House, service: &str) -> u16 {
    house.get(&format!("/v1/authentications/{}/full", house.upstream(service).id)).0.as_u16()
}

fn refuse_all(house: &House, status: u16) {
    for call in [Call::FullRead, Call::ReadAuthentication] {
        house.world().add_fault(Fault::before(call, FaultKind::Status(status)).times(10_000));
    }
}

const HASTY: &str = "\n[sync]\nrefresh_after = \"1s\"\ninterval = \"1h\"\n";

fn later() {
    std::thread::sleep(std::time::Duration::from_millis(1_100));
}

#[test]
fn one_token_given_as_two_kinds_is_a_configuration_error_that_says_where_each_is_from() {
    let house = House::ready(OPEN);
    house.private("api-user.token", &house.emulator().tokens().master.clone());
    let error = house.fails(&["run"], 78);
    assert!(error.contains("tokens.master and tokens.api_user are the same token"), "{error}");
    assert!(error.contains("API user, who is made in a shared workspace"), "{error}");
}

#[test]
fn a_token_of_the_wrong_kind_is_called_one_with_where_to_get_the_right_one() {
    let house = House::ready(OPEN);
    let tokens = house.emulator().tokens();
    house.private("api-user.token", &format!("{}\n", tokens.master));
    house.private("master.token", &tokens.api_user);
    let daemon = house.daemon();
    let problems = house.sync()["problems"].to_string();
    assert!(problems.contains("the token is the organisation's master token"), "{problems}");
    assert!(problems.contains("an API user is made in Tray's UI, in a shared workspace"), "{problems}");
    assert!(problems.contains("tokens.master takes the organisation's master token"), "{problems}");
    assert_eq!(house.world().requests(Call::FullRead), 0);
    daemon.stop();
}

const BY_SCOPES: &str = r#"
[[pull.rules]]
name = "not administrators"
effect = "deny"
scopes = ["admin*"]

[[pull.rules]]
name = "of end users"
effect = "allow"
principals = ["embedded"]

[[access.rules]]
name = "the test"
users = ["UID"]
grants = ["metadata", "read", "sync", "manage"]
"#;

#[test]
fn scopes_are_asked_for_once_and_decide() {
    let house = House::ready(BY_SCOPES);
    let owner = Account::User(house.world().user("acme-1").expect("a user"));
    let environment = house.world().environment("slack", "Production").expect("an environment");
    let add = |scopes: &[&str]| {
        let scopes = Some(scopes.iter().map(|scope| (*scope).to_owned()).collect());
        let new = NewAuthentication {
            owner,
            service_environment_id: environment,
            name: format!("with {scopes:?}"),
            credentials: None,
            user_data: serde_json::Map::new(),
            scopes,
        };
        house.world().add_authentication(new).expect("an authentication")
    };
    let (reader, administrator) = (add(&["read"]), add(&["read", "admin.users"]));
    let daemon = house.daemon();
    house.sync();
    let state = |id| house.get(&format!("/v1/authentications/{id}")).1;
    assert_eq!((&state(reader)["state"], &state(reader)["scopes"]), (&"full".into(), &json!(["read"])));
    assert_eq!(state(administrator)["state"], "not_permitted");
    let asked = house.world().requests(Call::ReadAuthentication);
    house.sync();
    assert_eq!(house.world().requests(Call::ReadAuthentication), asked, "they are known");

    let why = house.succeeds(&["why", "pull", &administrator.to_string()]);
    assert!(why.starts_with("not pulled: only its metadata is kept, by rule \"not administrators\""), "{why}");
    let why = house.succeeds(&["why", "pull", &reader.to_string()]);
    insta::assert_snapshot!(why, @r#"
    pulled in full, by rule "of end users"; its state is full

    rule                effect  outcome
    --------------------------------------------------
    not administrators  deny    does not match: scopes
    of end users        allow   decides
    "#);

    // Tray gives it another scope, which no list shows: the next pull does.
    let scopes = Some(vec!["admin.users".to_owned()]);
    assert!(house.world().alter_authentication(reader, Alteration { scopes, ..Default::default() }));
    later();
    house.get(&format!("/v1/authentications/{reader}/full?max_age=0"));
    assert_eq!(state(reader)["state"], "not_permitted");
    daemon.stop();
}

#[test]
fn where_full_reads_are_not_enabled_asking_again_is_one_request_for_each_principal() {
    let house = House::ready(OPEN);
    house.world().set_full_read(false);
    let daemon = house.daemon();
    house.sync();
    house.world().forget_requests();
    let report = house.sync();
    assert_eq!(report["not_enabled"], 4);
    assert_eq!(house.world().requests(Call::FullRead), 4);
    assert_eq!(house.world().requests(Call::ReadAuthentication), 0, "it is known what the refusal means");
    daemon.stop();
    // Nor is it forgotten over a restart.
    house.world().forget_requests();
    let daemon = house.daemon();
    house.sync();
    assert_eq!(house.world().requests(Call::ReadAuthentication), 0);
    daemon.stop();
}

#[test]
fn what_was_pulled_is_not_answered_once_full_reads_are_switched_off_and_is_again_once_they_are_on() {
    let house = House::ready(&format!("{OPEN}{HASTY}"));
    let daemon = house.daemon();
    house.sync();
    assert_eq!(answer(&house, "slack"), 200);
    house.world().set_full_read(false);
    later();
    house.sync();
    assert_eq!(house.states(), json!({ "not_enabled": 8, "users": 3 }));
    assert_eq!(answer(&house, "slack"), 409);
    house.world().set_full_read(true);
    house.sync();
    assert_eq!(answer(&house, "slack"), 200);
    daemon.stop();
}

#[test]
fn a_revoked_token_is_renewed_once_then_nothing_of_its_owner_is_answered_over_a_restart_too() {
    let mut house = House::ready(OPEN);
    {
        let daemon = house.daemon();
        house.sync();
        house.world().forget_requests();
        let rejects = |call| Fault::before(call, FaultKind::Status(401)).times(10_000);
        house.world().add_fault(rejects(Call::ListAuthentications));
        let report = house.sync();
        assert_eq!(report["failed"], 4, "{report}");
        assert_eq!(house.world().requests(Call::Authorize), 3, "one renewal for each end user");
        assert_eq!(house.states(), json!({ "refused": 8, "users": 3 }));
        assert_eq!(answer(&house, "slack"), 409);
        let log = std::fs::read_to_string(house.path("state/audit/audit.jsonl")).expect("a log");
        assert_eq!(log.matches("principal.refuse").count(), 4);
        assert_eq!(log.matches("authentication.destroy").count(), 0);
        daemon.stop();
    }
    let slack = house.upstream("slack").id;
    let path = format!("/v1/authentications/{slack}/full");
    house.stop_emulator();
    let daemon = house.daemon();
    assert_eq!(house.get(&path).0, 409, "Tray is down, and its last word was a refusal");
    daemon.stop();
}

#[test]
fn once_tray_accepts_a_principal_again_everything_of_it_is_answered_again() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    house.world().add_fault(Fault::before(Call::ListAuthentications, FaultKind::Status(401)).times(10_000));
    house.sync();
    assert_eq!(answer(&house, "slack"), 409);
    house.world().clear_faults();
    house.sync();
    assert_eq!(house.states(), json!({ "full": 8, "users": 3 }));
    assert_eq!(answer(&house, "slack"), 200);
    daemon.stop();
}

#[test]
fn a_401_costs_one_renewal_for_each_user_however_often_it_comes() {
    let house = House::ready(&format!("{OPEN}\n[sync]\ninterval = \"1s\"\n"));
    let mut daemon = house.daemon();
    house.sync();
    house.world().forget_requests();
    house.world().add_fault(Fault::before(Call::ListAuthentications, FaultKind::Status(401)).times(10_000));
    daemon.wait("three cycles", || (house.world().requests(Call::ListUsers) >= 4).then_some(()));
    assert_eq!(house.world().requests(Call::Authorize), 3);
    daemon.stop();
}

#[test]
fn what_tray_refuses_becomes_a_tombstone_that_says_so_and_is_left_alone_by_the_timer() {
    let house = House::ready(&format!("{OPEN}\n[sync]\nrefresh_after = \"1s\"\ninterval = \"1s\"\n"));
    let mut daemon = house.daemon();
    house.sync();
    // One of eight: the answers to its own reads only, so by its own 403.
    let slack = house.upstream("slack").id;
    for call in [Call::FullRead, Call::ReadAuthentication] {
        house.world().add_fault(Fault::before(call, FaultKind::Status(403)));
    }
    let gone = daemon.wait("a tombstone", || {
        let (_, list) = house.get("/v1/authentications");
        let all = list["authentications"].as_array().expect("a list");
        all.iter().find(|one| one["state"] == "gone").cloned()
    });
    assert_eq!((&gone["gone"], &gone["fetched_at"]), (&"permission_lost".into(), &Value::Null));
    let id = gone["id"].as_str().expect("an id");
    house.world().forget_requests();
    daemon.wait("two more cycles", || (house.world().requests(Call::ListUsers) >= 2).then_some(()));
    assert_eq!(house.states()["gone"], 1, "it is listed, and left alone");
    // Who asks does not wait for the slow timer.
    house.sync();
    assert_eq!(house.get(&format!("/v1/authentications/{id}")).1["state"], "full");
    let _ = slack;
    daemon.stop();
}

#[test]
fn a_cycle_that_would_remove_much_removes_nothing_and_asks() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let removed: Vec<_> = house.world().authentications().into_iter().take(5).map(|one| one.id).collect();
    for id in &removed {
        assert!(house.world().remove_authentication(*id));
    }
    for _ in 0..2 {
        let report = house.sync();
        assert_eq!((&report["gone"], &report["held_back"]), (&0.into(), &5.into()));
        let problems = report["problems"].to_string();
        assert!(problems.contains("5 removals are held back"), "{problems}");
        assert!(problems.contains("trayvault sync --confirm-removals"), "{problems}");
    }
    assert_eq!(house.states(), json!({ "full": 8, "users": 3 }));
    let said = house.succeeds(&["sync", "--confirm-removals"]);
    assert!(said.contains("5 gone"), "{said}");
    assert_eq!(house.states(), json!({ "full": 3, "gone": 5, "users": 3 }));
    let shown = house.get(&format!("/v1/authentications/{}", removed[0])).1;
    assert_eq!((&shown["gone"], &shown["fetched_at"]), (&"deleted_upstream".into(), &Value::Null));
    let log = std::fs::read_to_string(house.path("state/audit/audit.jsonl")).expect("a log");
    assert_eq!(log.matches("sync.confirm_removals").count(), 1);
    daemon.stop();
}

#[test]
fn four_are_never_much_and_the_share_is_configurable() {
    for (share, count, removed) in [(0, 4, true), (0, 5, false), (100, 8, true)] {
        let house = House::ready(&format!("{OPEN}\n[sync]\nmax_removed_percent = {share}\n"));
        let daemon = house.daemon();
        house.sync();
        for one in house.world().authentications().into_iter().take(count) {
            assert!(house.world().remove_authentication(one.id));
        }
        let report = house.sync();
        let (gone, held) = if removed { (count, 0) } else { (0, count) };
        assert_eq!((&report["gone"], &report["held_back"]), (&gone.into(), &held.into()), "{share} {count}");
        daemon.stop();
    }
}

#[test]
fn a_wave_of_refusals_is_not_answered_and_destroys_nothing() {
    for status in [404, 403] {
        let house = House::ready(&format!("{OPEN}{HASTY}"));
        let daemon = house.daemon();
        house.sync();
        refuse_all(&house, status);
        later();
        for _ in 0..2 {
            let report = house.sync();
            assert_eq!(report["held_back"], 8, "{report}");
        }
        assert_eq!(house.states(), json!({ "refused": 8, "users": 3 }), "{status}");
        let (_, list) = house.get("/v1/authentications");
        for one in list["authentications"].as_array().expect("a list") {
            let path = format!("/v1/authentications/{}/full", one["id"].as_str().expect("an id"));
            assert_eq!(house.get(&path).0, 409, "none is answered");
        }
        // It was Tray's mistake after all.
        house.world().clear_faults();
        house.sync();
        assert_eq!(house.states(), json!({ "full": 8, "users": 3 }));
        daemon.stop();
    }
}

#[test]
fn confirmed_a_wave_of_refusals_is_taken_at_its_word() {
    let house = House::ready(&format!("{OPEN}{HASTY}"));
    let daemon = house.daemon();
    house.sync();
    refuse_all(&house, 404);
    later();
    house.sync();
    // 404 for all that is listed: strange, and confirmed by a person.
    house.ask(hyper::Method::POST, "/v1/sync?confirm_removals=true");
    assert_eq!(house.states(), json!({ "gone": 8, "users": 3 }));
    daemon.stop();
}

#[test]
fn what_is_gone_is_forgotten_after_a_time() {
    let house = House::ready(&format!("{OPEN}\n[sync]\nkeep_tombstones = \"1s\"\n"));
    let daemon = house.daemon();
    house.sync();
    let id = house.upstream("slack").id;
    assert!(house.world().remove_authentication(id));
    house.sync();
    assert_eq!(house.states()["gone"], 1);
    later();
    house.sync();
    assert_eq!(house.states(), json!({ "full": 7, "users": 3 }));
    assert_eq!(house.get(&format!("/v1/authentications/{id}")).0, 404);
    daemon.stop();
}

#[test]
fn only_who_may_manage_confirms_removals() {
    let house = House::ready(&OPEN.replace(", \"manage\"", ""));
    let daemon = house.daemon();
    let error = house.fails(&["sync", "--confirm-removals"], 77);
    assert!(error.contains("not allowed"), "{error}");
    daemon.stop();
}

#[test]
fn an_end_user_who_is_gone_takes_what_they_had_along() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let user = house.world().user("acme-2").expect("a user");
    assert!(house.world().remove_user(user));
    let report = house.sync();
    assert_eq!((&report["gone"], &report["held_back"]), (&2.into(), &0.into()));
    assert_eq!(house.states(), json!({ "full": 6, "gone": 2, "users": 2 }));
    daemon.stop();
}
