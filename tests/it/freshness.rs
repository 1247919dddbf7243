//! How fresh an answer is, and what is done about it.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use trayvault::emulator::{Alteration, AuthenticationView, Call, Fault, FaultKind};

use crate::support::{House, OPEN};

fn full(id: uuid::Uuid, query: &str) -> String {
    format!("/v1/authentications/{id}/full?{query}")
}

/// Gives an authentication other credentials, unseen by any list.
fn reissue(house: &House, service: &str) -> AuthenticationView {
    let id = house.upstream(service).id;
    assert!(house.world().reissue_authentication(id));
    house.world().authentication(id).expect("it is there")
}

/// Gives an authentication credentials that expire in so many seconds.
fn expire_in(house: &House, id: uuid::Uuid, seconds: i64) {
    let mut credentials = house.world().authentication(id).expect("it is there").credentials;
    credentials["expires_at"] = (jiff::Timestamp::now().as_second() + seconds).into();
    // Under a new name, so that the next list shows that something changed.
    let name = Some(format!("expires in {seconds}"));
    let credentials = credentials.as_object().cloned();
    assert!(house.world().alter_authentication(id, Alteration { name, credentials, ..Default::default() }));
}

#[test]
fn an_answer_says_where_it_is_from_how_old_it_is_and_when_it_ends() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let id = house.upstream("salesforce").id;
    let (_, answer) = house.get(&full(id, ""));
    assert_eq!((&answer["source"], &answer["stale"], &answer["revision"]), (&"cache".into(), &false.into(), &1.into()));
    assert!(answer["age_seconds"].as_i64().is_some_and(|age| (0..60).contains(&age)), "{}", answer["age_seconds"]);
    assert!(answer["fetched_at"].is_string() && answer["expires_at"].is_string(), "it has both");
    daemon.stop();
}

#[test]
fn who_asks_for_a_younger_one_gets_it_from_tray_and_who_does_not_costs_nothing() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let changed = reissue(&house, "slack");
    house.world().forget_requests();
    let (_, old) = house.get(&full(changed.id, "max_age=3600"));
    assert_eq!(old["source"], "cache");
    assert_ne!(old["authentication"]["credentials"], changed.credentials);
    let (_, fresh) = house.get(&full(changed.id, "require_fresh=true"));
    assert_eq!(fresh["source"], "cache", "what is not known to be stale is fresh");
    assert_eq!(house.world().requests(Call::FullRead), 0);
    std::thread::sleep(Duration::from_millis(1_100));
    let (_, new) = house.get(&full(changed.id, "max_age=0"));
    assert_eq!((&new["source"], &new["revision"]), (&"tray".into(), &2.into()));
    assert_eq!(new["authentication"]["credentials"], changed.credentials);
    assert_eq!(house.world().requests(Call::FullRead), 1);
    daemon.stop();
}

#[test]
fn when_tray_is_down_a_stale_value_is_answered_as_stale_and_not_to_who_wants_a_fresh_one() {
    let mut house = House::ready(OPEN);
    let id = house.upstream("salesforce").id;
    expire_in(&house, id, 3);
    {
        let daemon = house.daemon();
        house.sync();
        daemon.stop();
    }
    house.stop_emulator();
    let mut daemon = house.daemon();
    let stale = daemon.wait("it to expire", || {
        let (status, answer) = house.get(&full(id, ""));
        assert_eq!(status, 200);
        (answer["stale"] == true).then_some(answer)
    });
    assert_eq!(stale["source"], "cache");
    for query in ["require_fresh=true", "max_age=0"] {
        let (status, refused) = house.get(&full(id, query));
        assert_eq!((status.as_u16(), &refused["code"]), (503, &"stale".into()), "{query}");
    }
    let error = house.fails(&["get", &id.to_string(), "--require-fresh"], 69);
    assert!(error.contains("only an older value is held"), "{error}");
    daemon.stop();
}

#[test]
fn what_has_been_stale_for_too_long_is_asked_for_first_and_never_answered_when_tray_is_down() {
    let mut house = House::ready(&format!("{OPEN}\n[sync]\nserve_stale_for = \"1s\"\nexpiry_margin = \"0s\"\n"));
    let id = house.upstream("salesforce").id;
    expire_in(&house, id, 2);
    {
        let mut daemon = house.daemon();
        house.sync();
        // It is pulled ahead of its end, or by force after it; or else by this very question.
        daemon.wait("a fresh one", || {
            let (status, answer) = house.get(&full(id, ""));
            assert_eq!(status, 200);
            (answer["revision"].as_u64() > Some(1)).then_some(())
        });
        expire_in(&house, id, 2);
        house.sync();
        daemon.stop();
    }
    house.stop_emulator();
    let mut daemon = house.daemon();
    let refused = daemon.wait("it to be too stale", || {
        let (status, answer) = house.get(&full(id, ""));
        (status == 503).then_some(answer)
    });
    assert_eq!(refused["code"], "stale");
    daemon.stop();
}

#[test]
fn what_expires_is_pulled_ahead_of_its_end_without_a_cycle() {
    let house = House::ready(&format!("{OPEN}\n[sync]\ninterval = \"1h\"\nexpiry_margin = \"20s\"\n"));
    let id = house.upstream("salesforce").id;
    expire_in(&house, id, 40);
    let mut daemon = house.daemon();
    house.sync();
    house.world().forget_requests();
    // Its lead is between 20 and 30 s, and it has 40 s: half of that is over in 20.
    let revision = daemon.wait("the next one", || {
        let (_, shown) = house.get(&format!("/v1/authentications/{id}"));
        shown["revision"].as_u64().filter(|revision| *revision > 1)
    });
    assert_eq!(revision, 2);
    assert_eq!(house.world().requests(Call::ListUsers), 0, "no cycle was needed");
    let (_, answer) = house.get(&full(id, ""));
    assert_eq!(answer["stale"], false);
    daemon.stop();
}

#[test]
fn many_who_want_the_same_share_one_request() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let id = house.upstream("slack").id;
    house.world().forget_requests();
    house.world().add_fault(Fault::before(Call::FullRead, FaultKind::DelayMs(1_500)));
    std::thread::sleep(Duration::from_millis(1_100));
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..20).map(|_| scope.spawn(|| house.get(&full(id, "max_age=0")))).collect();
        for answer in asking {
            let (status, answer) = answer.join().expect("an answer");
            assert_eq!((status.as_u16(), &answer["revision"]), (200, &2.into()));
        }
    });
    assert_eq!(house.world().requests(Call::FullRead), 1);
    daemon.stop();
}

#[test]
fn a_rejected_credential_is_refreshed_by_force_once_however_many_report_it() {
    let house = House::ready(&OPEN.replace("\"sync\"", "\"sync\", \"refresh\""));
    let daemon = house.daemon();
    house.sync();
    let before = house.upstream("salesforce");
    house.world().forget_requests();
    let report = |revision: u64| {
        let path = format!("/v1/authentications/{}/refresh?rejected={revision}", before.id);
        let (status, answer) = house.ask(Method::POST, &path);
        assert_eq!(status, 200, "{answer}");
        answer["outcome"].as_str().expect("an outcome").to_owned()
    };
    std::thread::scope(|scope| {
        for reporter in (0..8).map(|_| scope.spawn(|| report(1))).collect::<Vec<_>>() {
            assert!(["pulled", "current"].contains(&reporter.join().expect("an answer").as_str()));
        }
    });
    let after = house.world().authentication(before.id).expect("it is there");
    assert_ne!(after.credentials["access_token"], before.credentials["access_token"], "Tray refreshed it");
    assert_eq!(report(1), "current", "a late report of what is replaced already");
    assert_eq!(report(2), "current", "Tray refreshed it a moment ago");
    assert_eq!(house.world().requests(Call::FullRead), 1);
    let (_, held) = house.get(&full(before.id, ""));
    assert_eq!(held["authentication"]["credentials"], after.credentials);
    daemon.stop();
}

#[test]
fn who_is_not_granted_a_refresh_gets_none() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    house.world().forget_requests();
    let id = house.upstream("slack").id;
    let (status, refused) = house.ask(Method::POST, &format!("/v1/authentications/{id}/refresh"));
    assert_eq!((status.as_u16(), &refused["code"]), (403, &"forbidden".into()));
    assert_eq!(house.world().requests(Call::FullRead), 0);
    let (status, _) = house.get(&full(id, "max_age=soon"));
    assert_eq!(status, 400);
    daemon.stop();
}

#[test]
fn offline_tray_is_never_asked_and_what_is_sealed_is_answered() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    daemon.stop();
    house.world().forget_requests();
    let mut daemon = house.daemon_with(&["--offline"]);
    let id = house.upstream("slack").id;
    assert_eq!(house.get(&full(id, "")).0, 200);
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(house.get(&full(id, "max_age=0")).0, 503);
    let create = json!({
        "version": 1, "action": "create", "user": { "externalUserId": "acme-1" }, "name": "Dropped",
        "service": { "name": "slack", "version": 2 }, "environment": "Production", "credentials": {},
    });
    house.drop_file("one.json", &create);
    let report = house.sync();
    assert_eq!(report["problems"][0]["what"], "offline: Tray is not asked");
    let status = daemon.wait("the file to wait", || {
        let (_, status) = house.get("/v1/status");
        (status["ingest"]["pending"] == 1).then_some(status)
    });
    assert_eq!((&status["tray"]["offline"], &status["authentications"]["full"]), (&true.into(), &8.into()));
    assert!(house.succeeds(&["status"]).contains("offline: it is not asked"));
    let requests: u64 = house.world().state().requests.values().sum();
    assert_eq!(requests, 0);
    daemon.stop();
}

#[test]
fn a_host_that_does_not_answer_is_left_alone_and_status_says_so() {
    let mut house = House::ready(OPEN);
    {
        let daemon = house.daemon();
        house.sync();
        daemon.stop();
    }
    house.stop_emulator();
    let mut daemon = house.daemon();
    let host = daemon.wait("the circuit to open", || {
        let (_, status) = house.get("/v1/status");
        let host = status["tray"]["hosts"][0].clone();
        (host["circuit"] == "open").then_some(host)
    });
    assert!(host["failures"].as_u64() >= Some(5) && host["retry_in_seconds"].is_u64(), "{host}");
    assert!(house.succeeds(&["status"]).contains("does not answer, asked again in"));
    daemon.stop();
}

#[test]
fn the_requests_of_a_cycle_are_counted_as_tray_counts_them() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    house.world().forget_requests();
    let report = house.sync();
    let counted: u64 = house.world().state().requests.values().sum();
    assert_eq!((&report["requests"], counted), (&5.into(), 5), "one for each principal, and one for the users");
    let (_, status) = house.get("/v1/status");
    assert_eq!(status["sync"]["last"]["requests"], 5);
    assert!(house.succeeds(&["status"]).contains("with 5 requests"));
    daemon.stop();
    // User tokens are kept sealed over a restart; the API user's workspace is verified anew.
    house.world().forget_requests();
    let mut daemon = house.daemon();
    let report = daemon.wait("the first cycle", || {
        let (_, status) = house.get("/v1/status");
        status["sync"]["last"].is_object().then(|| status["sync"]["last"].clone())
    });
    assert_eq!((house.world().requests(Call::Authorize), &report["requests"]), (0, &6.into()));
    daemon.stop();
}

#[test]
fn the_first_cycle_shows_how_far_it_is() {
    let house = House::ready(OPEN);
    house.world().add_fault(Fault::before(Call::FullRead, FaultKind::DelayMs(1_000)).times(8));
    let mut daemon = house.daemon();
    let progress = daemon.wait("progress", || {
        let (_, status) = house.get("/v1/status");
        let progress = status["sync"]["progress"].clone();
        (progress["phase"] == "pulling").then_some(progress)
    });
    assert_eq!(progress["total"], 8);
    assert!(progress["done"].as_u64() < Some(8) && progress["since"].is_string(), "{progress}");
    daemon.wait("its end", || (house.get("/v1/status").1["sync"]["progress"] == Value::Null).then_some(()));
    daemon.stop();
}
