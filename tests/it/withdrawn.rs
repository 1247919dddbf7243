//! What is withdrawn while something is under way, or while Tray is down: a rule, a permission, an authentication.

use std::{io::Write, os::unix::net::UnixStream, time::Duration};

use hyper::Method;
use serde_json::json;
use trayvault::emulator::{Account, Alteration, Call, Fault, FaultKind, NewAuthentication};
use uuid::Uuid;

use crate::support::{CANARY, House, OPEN};

/// Everybody may have everything refreshed too.
fn open() -> String {
    OPEN.replace("\"sync\"", "\"sync\", \"refresh\"")
}

fn hasty(interval: &str) -> String {
    format!("{}\n[sync]\nrefresh_after = \"1s\"\ninterval = \"{interval}\"\n", open())
}

fn answer(house: &House, id: Uuid) -> u16 {
    house.get(&format!("/v1/authentications/{id}/full")).0.as_u16()
}

fn refresh(house: &House, id: Uuid, query: &str) -> serde_json::Value {
    house.ask(Method::POST, &format!("/v1/authentications/{id}/refresh?{query}")).1
}

fn rename(house: &House, id: Uuid) {
    let name = Some(format!("renamed {}", Uuid::new_v4()));
    assert!(house.world().alter_authentication(id, Alteration { name, ..Default::default() }));
}

/// Every full read ends like this, from now on.
fn full_reads_end_with(house: &House, status: u16) {
    house.world().clear_faults();
    house.world().add_fault(Fault::before(Call::FullRead, FaultKind::Status(status)).times(100_000));
}

fn of(house: &House, user: &str) -> Vec<Uuid> {
    let owner = Account::User(house.world().user(user).expect("a user"));
    house.world().authentications().into_iter().filter(|one| one.owner == owner).map(|one| one.id).collect()
}

fn later() {
    std::thread::sleep(Duration::from_millis(1_100));
}

#[test]
fn what_tray_refused_is_not_answered_for_having_changed_since() {
    for refusal in [404, 403] {
        let house = House::ready(&hasty("1h"));
        let daemon = house.daemon();
        house.sync();
        // 403 where metadata are answered: full reads are not enabled.
        full_reads_end_with(&house, refusal);
        later();
        house.sync();
        let refused = if refusal == 404 { "refused" } else { "not_enabled" };
        let id = house.in_state(refused)[0];
        rename(&house, id);
        full_reads_end_with(&house, 503);
        house.sync();
        assert_eq!(answer(&house, id), 409, "{refusal}: it changed, and Tray does not say what it is now");
        assert_eq!(house.get(&format!("/v1/authentications/{id}")).1["state"], refused);
        daemon.stop();
    }
}

#[test]
fn what_tray_refused_is_not_answered_for_having_been_updated() {
    let house = House::ready(&hasty("1h"));
    let mut daemon = house.daemon();
    house.sync();
    full_reads_end_with(&house, 404);
    later();
    house.sync();
    let id = house.in_state("refused")[0];
    full_reads_end_with(&house, 503);
    let credentials = house.world().authentication(id).expect("it is there").credentials;
    let update = json!({
        "version": 1, "action": "update", "authenticationId": id, "name": "Updated",
        "userData": {}, "credentials": credentials, "scopes": [],
    });
    house.drop_file("update.json", &update);
    daemon.wait("an outcome", || (house.get("/v1/status").1["ingest"]["pending"] == 0).then_some(()));
    assert_eq!(answer(&house, id), 409);
    daemon.stop();
}

#[test]
fn what_rules_permit_no_more_is_neither_answered_nor_held_though_tray_is_down() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    house.sync();
    let id = house.upstream("slack").id;
    house.configure(&OPEN.replace("\"allow\"", "\"deny\""));
    house.world().add_fault(Fault { call: None, times: 1_000_000, after_work: false, kind: FaultKind::DropConnection });
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait("it to be destroyed", || (house.states() == json!({ "not_permitted": 8, "users": 3 })).then_some(()));
    assert_eq!(answer(&house, id), 409);
    daemon.stop();
}

#[test]
fn rules_that_changed_while_there_was_no_daemon_hold_offline_too() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    daemon.stop();
    house.configure(&OPEN.replace("\"allow\"", "\"deny\""));
    let daemon = house.daemon_with(&["--offline"]);
    assert_eq!(answer(&house, house.upstream("slack").id), 409);
    house.sync();
    assert_eq!(house.states(), json!({ "not_permitted": 8, "users": 3 }));
    daemon.stop();
}

#[test]
fn no_full_read_is_sent_and_nothing_sealed_once_its_rule_is_withdrawn() {
    let house = House::ready(&open());
    let daemon = house.daemon();
    house.sync();
    daemon.stop();
    let mut daemon = house.daemon();
    daemon.wait("the first cycle", || house.get("/v1/status").1["sync"]["last"].is_object().then_some(()));
    later();
    house.world().forget_requests();
    let [first, second] = of(&house, "acme-1")[..] else { panic!("two of them") };
    // The first finds out whether full reads are enabled, slowly; the second waits for it, decided on by the old rules.
    house.world().add_fault(Fault::before(Call::FullRead, FaultKind::DelayMs(3_000)));
    std::thread::scope(|scope| {
        scope.spawn(|| refresh(&house, first, ""));
        daemon.wait("the first", || (house.world().requests(Call::FullRead) == 1).then_some(()));
        scope.spawn(|| refresh(&house, second, ""));
        std::thread::sleep(Duration::from_millis(300));
        house.configure(&open().replace("\"allow\"", "\"deny\""));
        daemon.signal(rustix::process::Signal::HUP);
        daemon
            .wait("the rules to hold", || (house.states() == json!({ "not_permitted": 8, "users": 3 })).then_some(()));
    });
    assert_eq!(house.world().requests(Call::FullRead), 1);
    assert_eq!(house.states(), json!({ "not_permitted": 8, "users": 3 }), "what was read meanwhile is not sealed");
    daemon.stop();
}

#[test]
fn a_grant_that_is_withdrawn_while_its_caller_waits_for_tray_is_withdrawn() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let id = house.upstream("slack").id;
    later();
    house.world().add_fault(Fault::before(Call::FullRead, FaultKind::DelayMs(2_000)));
    let status = std::thread::scope(|scope| {
        let asking = scope.spawn(|| house.get(&format!("/v1/authentications/{id}/full?max_age=0")).0.as_u16());
        std::thread::sleep(Duration::from_millis(500));
        house.configure(&OPEN.replace("\"read\", ", ""));
        daemon.signal(rustix::process::Signal::HUP);
        asking.join().expect("an answer")
    });
    assert_eq!(status, 403);
    daemon.stop();
}

#[test]
fn a_question_for_scopes_that_finds_nothing_says_nothing_of_the_others() {
    let rules = "[[pull.rules]]\nname = \"none\"\neffect = \"deny\"\nscopes = [\"admin*\"]\nservices = [\"slack\"]\n";
    let house = House::ready(&format!("{rules}{}", open()));
    let daemon = house.daemon();
    house.sync();
    let owner = Account::User(house.world().user("acme-1").expect("a user"));
    let environment = house.world().environment("slack", "Production").expect("an environment");
    let new = NewAuthentication {
        owner,
        service_environment_id: environment,
        name: "new".to_owned(),
        credentials: None,
        user_data: serde_json::Map::new(),
        scopes: None,
    };
    let others = of(&house, "acme-1");
    house.world().add_authentication(new).expect("an authentication");
    // It is deleted between the list and the question: that takes no mistake of Tray's.
    house.world().add_fault(Fault::before(Call::ReadAuthentication, FaultKind::Status(404)));
    assert_eq!(house.sync()["failed"], 0);
    assert!(others.iter().all(|id| answer(&house, *id) == 200));
    daemon.stop();
}

#[test]
fn a_pull_in_flight_brings_no_tombstone_back() {
    let rules = "[[pull.rules]]\nname = \"none\"\neffect = \"deny\"\nscopes = [\"admin*\"]\n";
    let house = House::ready(&format!("{rules}{}", open()));
    let mut daemon = house.daemon();
    house.sync();
    later();
    let id = house.upstream("slack").id;
    let scopes = Some(vec!["read".to_owned()]);
    assert!(house.world().alter_authentication(id, Alteration { scopes, ..Default::default() }));
    house.world().forget_requests();
    house.world().add_fault(Fault::after(Call::FullRead, FaultKind::DelayMs(2_000)));
    std::thread::scope(|scope| {
        scope.spawn(|| refresh(&house, id, ""));
        daemon.wait("the pull", || (house.world().requests(Call::FullRead) == 1).then_some(()));
        assert!(house.world().remove_authentication(id));
        house.sync();
    });
    assert_eq!(house.get(&format!("/v1/authentications/{id}")).1["state"], "gone");
    daemon.stop();
}

#[test]
fn what_is_held_back_ends_when_it_is_removed_or_there_again() {
    let house = House::ready(&hasty("1h"));
    let daemon = house.daemon();
    house.sync();
    full_reads_end_with(&house, 404);
    later();
    assert_eq!(house.sync()["held_back"], 8);
    for id in house.in_state("refused").into_iter().take(4) {
        assert!(house.world().remove_authentication(id));
    }
    house.world().clear_faults();
    assert_eq!(house.sync()["held_back"], 0);
    daemon.stop();
}

#[test]
fn what_is_held_back_is_held_back_over_a_restart() {
    let house = House::ready(&hasty("1h"));
    let daemon = house.daemon();
    house.sync();
    full_reads_end_with(&house, 404);
    later();
    house.sync();
    daemon.stop();
    let daemon = house.daemon();
    house.sync();
    assert_eq!(house.states(), json!({ "refused": 8, "users": 3 }));
    daemon.stop();
}

#[test]
fn one_that_went_before_the_first_cycle_is_a_tombstone_and_not_held_back() {
    let house = House::ready(&open());
    let daemon = house.daemon();
    house.sync();
    daemon.stop();
    let id = house.upstream("salesforce").id;
    assert!(house.world().remove_authentication(id));
    house.world().add_fault(Fault::before(Call::ListUsers, FaultKind::DelayMs(1_500)));
    later();
    let daemon = house.daemon();
    refresh(&house, id, "");
    assert_eq!(answer(&house, id), 409);
    assert_eq!(house.sync()["held_back"], 0);
    assert_eq!(house.get(&format!("/v1/authentications/{id}")).1["state"], "gone");
    daemon.stop();
}

#[test]
fn a_confirmation_is_for_its_cycle_only() {
    let house = House::ready(&hasty("1h"));
    let daemon = house.daemon();
    house.sync();
    house.ask(Method::POST, "/v1/sync?confirm_removals=true");
    full_reads_end_with(&house, 404);
    later();
    for id in house.in_state("full") {
        refresh(&house, id, "");
    }
    assert_eq!(house.sync()["held_back"], 8);
    assert_eq!(house.states(), json!({ "refused": 8, "users": 3 }));
    daemon.stop();
}

#[test]
fn a_forced_refresh_that_failed_is_tried_again_and_one_for_what_is_not_held_is_not_forced() {
    let house = House::ready(&open());
    let daemon = house.daemon();
    house.sync();
    let before = house.upstream("salesforce");
    house.world().add_fault(Fault::before(Call::FullRead, FaultKind::Status(503)));
    assert_eq!(refresh(&house, before.id, "rejected=1")["code"], "upstream_unavailable");
    assert_eq!(refresh(&house, before.id, "rejected=999")["outcome"], "current");
    assert_eq!(house.world().authentication(before.id).expect("it is there").credentials, before.credentials);
    assert_eq!(refresh(&house, before.id, "rejected=1")["outcome"], "pulled");
    assert_ne!(house.world().authentication(before.id).expect("it is there").credentials, before.credentials);
    daemon.stop();
}

#[test]
fn a_rejected_one_is_refreshed_by_force_also_where_that_finds_out_that_full_reads_are_enabled_again() {
    let house = House::ready(&hasty("1h"));
    let daemon = house.daemon();
    house.sync();
    house.world().set_full_read(false);
    later();
    house.sync();
    house.world().set_full_read(true);
    let before = house.upstream("salesforce");
    let revision = house.get(&format!("/v1/authentications/{}", before.id)).1["revision"].clone();
    daemon.stop();
    house.world().add_fault(Fault::before(Call::ListUsers, FaultKind::DelayMs(2_000)));
    let daemon = house.daemon();
    assert_eq!(refresh(&house, before.id, &format!("rejected={revision}"))["outcome"], "pulled");
    assert_ne!(house.world().authentication(before.id).expect("it is there").credentials, before.credentials);
    daemon.stop();
}

#[test]
fn who_asked_for_a_forced_refresh_and_hung_up_is_on_record() {
    let house = House::ready(&open());
    let mut daemon = house.daemon();
    house.sync();
    let before = house.upstream("salesforce");
    house.world().add_fault(Fault::before(Call::FullRead, FaultKind::DelayMs(1_000)));
    let mut stream = UnixStream::connect(house.path("run/api.sock")).expect("a connection");
    let path = format!("/v1/authentications/{}/refresh?rejected=1", before.id);
    write!(stream, "POST {path} HTTP/1.1\r\nhost: trayvault\r\ncontent-length: 0\r\n\r\n").expect("a request");
    daemon.wait("the entry", || {
        let log = std::fs::read_to_string(house.path("state/audit/audit.jsonl")).expect("a log");
        log.lines().any(|line| line.contains("authentication.refresh") && line.contains("\"begun\"")).then_some(())
    });
    drop(stream);
    daemon.wait("it to be carried out", || {
        let now = house.world().authentication(before.id).expect("it is there").credentials;
        (now != before.credentials).then_some(())
    });
    daemon.stop();
}

#[test]
fn a_refusal_that_comes_while_the_vault_is_locked_is_not_forgotten() {
    let house = House::ready(&open());
    let mut daemon = house.daemon();
    house.sync();
    later();
    let id = house.upstream("salesforce").id;
    house.world().forget_requests();
    house.world().add_fault(Fault::before(Call::FullRead, FaultKind::DelayMs(1_500)));
    std::thread::scope(|scope| {
        scope.spawn(|| refresh(&house, id, ""));
        daemon.wait("the pull", || (house.world().requests(Call::FullRead) == 1).then_some(()));
        assert!(house.world().remove_authentication(id));
        house.succeeds(&["lock"]);
    });
    house.world().add_fault(Fault { call: None, times: 1_000_000, after_work: false, kind: FaultKind::DropConnection });
    house.succeeds(&["unlock"]);
    daemon.wait("it not to be answered", || (answer(&house, id) == 409).then_some(()));
    daemon.stop();
}

#[test]
fn what_is_listed_and_not_to_be_read_is_not_asked_for_in_every_cycle() {
    for status in [404, 401] {
        let house = House::ready(&format!("{}\n[sync]\ninterval = \"1s\"\n", open()));
        let mut daemon = house.daemon();
        house.sync();
        full_reads_end_with(&house, status);
        rename(&house, house.upstream("slack").id);
        let state = if status == 404 { "gone" } else { "refused" };
        daemon.wait("the refusal", || house.states()[state].is_u64().then_some(()));
        house.world().forget_requests();
        daemon.wait("more cycles", || (house.world().requests(Call::ListUsers) >= 4).then_some(()));
        assert_eq!(house.world().requests(Call::FullRead), 0, "{status}");
        daemon.stop();
    }
}

#[test]
fn an_end_user_who_is_gone_does_not_count_as_one_for_whom_full_reads_are_not_enabled() {
    let house = House::ready(OPEN);
    house.world().set_full_read(false);
    let daemon = house.daemon();
    house.sync();
    assert!(house.world().remove_user(house.world().user("acme-2").expect("a user")));
    house.sync();
    assert_eq!(house.sync()["not_enabled"], 3);
    daemon.stop();
}

#[test]
fn one_that_tray_fails_on_does_not_close_the_circuit_to_the_others() {
    let house = House::ready(&open());
    let daemon = house.daemon();
    house.sync();
    later();
    let [first, second] = of(&house, "acme-1")[..] else { panic!("two of them") };
    house.world().add_fault(Fault::before(Call::FullRead, FaultKind::Status(500)).times(6));
    for _ in 0..2 {
        assert_eq!(refresh(&house, first, "")["code"], "upstream_failed");
    }
    assert_eq!(refresh(&house, second, "")["outcome"], "pulled");
    daemon.stop();
}

#[test]
fn a_caller_who_asks_again_and_again_does_not_keep_a_cycle_from_its_end() {
    let house = House::ready(&open());
    let daemon = house.daemon();
    house.sync();
    let ids: Vec<_> = house.world().authentications().iter().map(|one| one.id).collect();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (house, stop) = (&house, &stop);
        for id in ids {
            scope.spawn(move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    refresh(house, id, "");
                }
            });
        }
        std::thread::sleep(Duration::from_secs(2));
        let report = house.sync();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(report["failed"], 0);
    });
    daemon.stop();
}

#[test]
fn the_list_of_one_owner_is_not_read_for_each_of_many_files() {
    const FILES: usize = 20;
    let house = House::ready(OPEN);
    house.world().set_limit(None);
    let mut daemon = house.daemon();
    house.sync();
    house.world().forget_requests();
    house.world().add_fault(Fault::after(Call::FullRead, FaultKind::DelayMs(1_500)));
    for number in 0..FILES {
        let create = json!({
            "version": 1, "action": "create", "user": { "externalUserId": "acme-1" }, "name": format!("Number {number}"),
            "service": { "name": "slack", "version": 2 }, "environment": "Production", "credentials": { "accessToken": CANARY },
        });
        house.drop_file(&format!("{number}.json"), &create);
    }
    daemon.wait("all of them to be pulled", || (house.in_state("full").len() == 8 + FILES).then_some(()));
    // One before each create, by the contract of the drop directory; the others are synchronisation's.
    let lists = house.world().requests(Call::ListAuthentications);
    assert!(lists < u64::try_from(2 * FILES).expect("few"), "{lists} lists for {FILES} files");
    daemon.stop();
}
