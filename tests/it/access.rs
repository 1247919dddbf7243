//! What access rules say, and how decisions are explained.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream, process::CommandExt},
    path::Path,
};

use serde_json::Value;
use trayvault::emulator::{Call, Fault, FaultKind};

use crate::support::{House, OPEN};

const RULES: &str = r#"
[[pull.rules]]
name = "all"
effect = "allow"

[[access.rules]]
name = "operator"
users = ["UID"]
grants = ["metadata", "sync", "manage"]

[[access.rules]]
name = "slack tokens"
users = ["UID"]
grants = ["read"]
services = ["slack"]
fields = ["/credentials/accessToken"]

[[access.rules]]
name = "salesforce, rarely"
users = ["UID"]
grants = ["read"]
services = ["salesforce"]
rate = "2/h"

[[access.rules]]
name = "night shift"
groups = ["4242"]
units = ["night*.service"]
grants = ["read"]
"#;

fn audit_log(house: &House) -> String {
    fs::read_to_string(house.path("state/audit/audit.jsonl")).expect("a log")
}

#[test]
fn a_rule_with_fields_gives_those_alone_and_one_with_a_rate_so_often() {
    let house = House::ready(RULES);
    let daemon = house.daemon();
    house.sync();
    let slack = format!("/v1/authentications/{}/full", house.upstream("slack").id);
    let (status, answer) = house.get(&format!("{slack}?field=/credentials/accessToken"));
    assert_eq!((status.as_u16(), &answer["value"]), (200, &house.upstream("slack").credentials["accessToken"]));
    for other in ["", "?field=", "?field=/credentials", "?field=/userData"] {
        let (status, answer) = house.get(&format!("{slack}{other}"));
        assert_eq!((status.as_u16(), answer["code"].as_str()), (403, Some("forbidden")), "{other}");
        assert!(!answer.to_string().contains("field"), "only the audit log says why: {answer}");
    }
    assert!(audit_log(&house).contains("the access rules that grant it name other fields"));

    let salesforce = format!("/v1/authentications/{}/full", house.upstream("salesforce").id);
    let read = || house.get(&salesforce);
    assert_eq!([read().0.as_u16(), read().0.as_u16()], [200, 200]);
    let (status, answer) = read();
    assert_eq!((status.as_u16(), answer["code"].as_str()), (429, Some("rate_limited")));
    assert!(audit_log(&house).contains("the rate of the access rule is used up"));
    daemon.stop();
}

#[test]
fn decisions_on_reads_are_explained_by_the_rules_that_make_them() {
    let house = House::ready(RULES);
    let daemon = house.daemon();
    house.sync();
    let id = house.upstream("slack").id.to_string();
    let uid = rustix::process::getuid().as_raw().to_string();
    let token = ["--field", "/credentials/accessToken"];
    insta::assert_snapshot!(house.succeeds(&["why", "read", &uid, &id, token[0], token[1]]), @r#"
    granted: by rule "slack tokens"; its state is full

    rule                outcome
    --------------------------------------------
    operator            does not match: grants
    slack tokens        grants it
    salesforce, rarely  does not match: services
    night shift         does not match: groups
    "#);
    insta::assert_snapshot!(house.succeeds(&["why", "read", "4000000000:night-1.service", &id]), @r#"
    refused: no access rule grants it; its state is full

    rule                outcome
    ------------------------------------------
    operator            does not match: users
    slack tokens        does not match: users
    salesforce, rarely  does not match: users
    night shift         does not match: groups
    "#);
    let agent = house.succeeds(&["why", "read", &uid, &id, "--process", "agent-of-no-test"]);
    assert!(agent.starts_with("refused: the caller is on the workflow guard's list; "), "{agent}");
    let who = house.succeeds(&["who-can", &id]).replace(&format!("user {uid:<11}"), "user UID        ");
    insta::assert_snapshot!(who, @r"
    rule          who             may              fields                    rate
    -----------------------------------------------------------------------------
    operator      user UID        metadata, sync,  all                       -
                                  manage
    slack tokens  user UID        read             /credentials/accessToken  -
    night shift   group 4242, in  read             all                       -
                  unit
                  night*.service

    never a secret, whatever a rule says: processes agent-of-no-test
    ");
    let error = house.fails(&["why", "read", "no-such-user", &id], 65);
    assert!(error.contains("this system does not know the user\nhint: a caller is a user, a unit"), "{error}");
    assert!(audit_log(&house).contains("access.explain"));
    daemon.stop();
}

#[test]
fn explaining_is_for_whoever_manages() {
    let house = House::ready(&OPEN.replace(", \"manage\"", ""));
    let daemon = house.daemon();
    house.sync();
    let id = house.upstream("slack").id.to_string();
    house.fails(&["why", "read", "root", &id], 77);
    house.fails(&["who-can", &id], 77);
    daemon.stop();
}

#[test]
fn status_is_for_whom_a_rule_names_and_health_for_everybody() {
    const NOBODY: u32 = 65_534;
    if !rustix::process::getuid().is_root() {
        assert!(std::env::var_os("TRAYVAULT_TESTS_AS_ROOT").is_none(), "this is not root");
        return;
    }
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    fs::set_permissions(house.path(""), fs::Permissions::from_mode(0o755)).expect("a mode");
    let program = house.path("trayvault");
    fs::copy(env!("CARGO_BIN_EXE_trayvault"), &program).expect("a copy");
    let socket = house.path("run/api.sock").display().to_string();
    let status =
        || house.output(house.command(Path::new(&program)).uid(NOBODY).args(["status", "--socket", &socket]), false);
    let refused = status();
    assert_eq!(refused.status.code(), Some(77), "{}", String::from_utf8_lossy(&refused.stderr));
    assert!(audit_log(&house).contains("\"status.read\",\"outcome\":\"refused\""));
    house.configure(&format!(
        "{OPEN}[[access.rules]]\nname = \"monitor\"\nusers = [\"{NOBODY}\"]\ngrants = [\"status\"]\n"
    ));
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait("the new rule", || status().status.success().then_some(()));
    daemon.stop();
}

#[test]
fn pages_hold_each_authentication_once_and_filters_choose() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let page = |query: &str| {
        let (status, page) = house.get(&format!("/v1/authentications?{query}"));
        assert_eq!(status, 200, "{query}: {page}");
        page
    };
    let ids = |page: &Value| {
        let all = page["authentications"].as_array().expect("a list").iter();
        all.map(|one| one["id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    let all = ids(&page("limit=1000"));
    assert!(all.len() > 4, "{all:?}");
    assert_eq!(all.len(), house.world().authentications().len());
    for limit in 1..=all.len() {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page = page(&format!("limit={limit}{after}"));
            assert!(ids(&page).len() <= limit);
            seen.extend(ids(&page));
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        assert_eq!(seen, all, "in pages of {limit}");
    }
    let counted = |query: &str| ids(&page(query)).len();
    assert_eq!(counted("state=full"), all.len());
    assert_eq!(counted("state=pending"), 0);
    let production = house.world().authentications();
    let of_slack = production.iter().filter(|one| one.service == "slack").count();
    assert_eq!(counted("service=slack"), of_slack);
    assert_eq!(counted("service=slack&environment=Production&limit=1"), 1);
    assert_eq!(counted("environment=nowhere"), 0);
    assert_eq!(counted("owner=nobody"), 0);
    for wrong in ["limit=0", "limit=1001", "limit=x", "state=x", "after=x", "owner=a&canary=1"] {
        let (status, answer) = house.get(&format!("/v1/authentications?{wrong}"));
        assert_eq!((status.as_u16(), answer["code"].as_str()), (400, Some("bad_request")), "{wrong}");
    }
    let listed = house.succeeds(&["list", "--service", "slack", "--environment", "Production", "--state", "full"]);
    assert_eq!(listed.lines().count(), of_slack + 2, "{listed}");
    daemon.stop();
}

#[test]
fn what_a_caller_may_not_see_makes_its_pages_no_shorter() {
    let rules = OPEN.replace("grants = [\"metadata\", \"read\",", "grants = [")
        + "[[access.rules]]\nname = \"slack\"\nusers = [\"UID\"]\ngrants = [\"metadata\"]\nservices = [\"slack\"]\n";
    let house = House::ready(&rules);
    let daemon = house.daemon();
    house.sync();
    let (_, first) = house.get("/v1/authentications?limit=1");
    let next = first["next"].as_str().expect("a second one");
    assert_eq!(next, first["authentications"][0]["id"], "nothing that it may not see is named");
    let (_, second) = house.get(&format!("/v1/authentications?limit=1&after={next}"));
    assert_eq!((second["authentications"].as_array().map(Vec::len), &second["next"]), (Some(1), &Value::Null));
    daemon.stop();
}

/// Sends a request, with headers, and reads the whole answer.
fn raw(house: &House, path: &str, headers: &str) -> String {
    let mut stream = UnixStream::connect(house.path("run/api.sock")).expect("a connection");
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn a_revision_that_the_caller_holds_is_not_sent_again() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let path = format!("/v1/authentications/{}/full", house.upstream("slack").id);
    let whole = raw(&house, &path, "");
    assert!(whole.contains("etag: \"1\"\r\n"), "{whole}");
    for known in ["\"1\"", "W/\"1\"", "\"7\", \"1\"", "*"] {
        let answer = raw(&house, &path, &format!("If-None-Match: {known}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 304 "), "{known}: {answer}");
        assert!(answer.contains("etag: \"1\"") && answer.contains("cache-control: no-store"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "there is no body: {answer}");
    }
    for other in ["\"2\"", "1", "\"11\""] {
        assert!(raw(&house, &path, &format!("If-None-Match: {other}\r\n")).starts_with("HTTP/1.1 200 "), "{other}");
    }
    daemon.stop();
}

#[test]
fn trouble_with_tray_is_never_the_callers_fault() {
    let house = House::ready(&OPEN.replace("\"sync\"", "\"sync\", \"refresh\""));
    let daemon = house.daemon();
    house.sync();
    let id = house.upstream("slack").id;
    // As often as a read is tried again.
    for (kind, status, code) in [
        (FaultKind::WrongType, 502, "upstream_failed"),
        (FaultKind::Status(500), 502, "upstream_failed"),
        (FaultKind::DropConnection, 503, "upstream_unavailable"),
        (FaultKind::Status(503), 503, "upstream_unavailable"),
    ] {
        house.world().add_fault(Fault::before(Call::FullRead, kind).times(1));
        let (found, answer) = house.ask(hyper::Method::POST, &format!("/v1/authentications/{id}/refresh?rejected=1"));
        assert_eq!((found.as_u16(), answer["code"].as_str()), (status, Some(code)), "{kind:?}");
    }
    daemon.stop();
}
