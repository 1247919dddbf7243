//! docs/openapi.json: well formed, and every answer of a real daemon as it says.

mod witness;

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};
use trayvault::emulator::{Account, Call, Fault, FaultKind, NewAuthentication};

use self::witness::{Witness, document};
use crate::support::{CANARY, Daemon, House, OPEN};

fn rules() -> String {
    OPEN.replace("\"sync\"", "\"status\", \"sync\", \"refresh\"")
}

fn create(name: &str) -> Value {
    json!({
        "version": 1, "action": "create", "name": name, "user": { "externalUserId": "acme-1" },
        "service": { "name": "slack", "version": 2 }, "environment": "Production",
        "credentials": { "accessToken": CANARY },
    })
}

#[test]
fn the_command_prints_the_document() {
    let printed = House::new(OPEN).succeeds(&["openapi"]);
    assert_eq!(serde_json::from_str::<Value>(&printed).expect("JSON"), document());
    assert_eq!(document()["info"]["version"], env!("CARGO_PKG_VERSION"));
}

/// Every value of an object's member, wherever in the document.
fn members<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get(name));
            object.values().for_each(|value| members(value, name, found));
        }
        Value::Array(array) => array.iter().for_each(|value| members(value, name, found)),
        _ => {}
    }
}

#[test]
fn the_document_is_whole() {
    let document = document();
    let mut references = Vec::new();
    members(&document, "$ref", &mut references);
    for reference in references {
        let pointer =
            reference.as_str().and_then(|text| text.strip_prefix('#')).expect("a reference into the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let tags = document["tags"].as_array().expect("tags").iter();
    let tags: BTreeSet<_> = tags.filter_map(|tag| tag["name"].as_str()).collect();
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let named: BTreeSet<_> = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        let parameters = item["parameters"].as_array().into_iter().flatten();
        let declared = parameters.filter_map(|one| one["$ref"].as_str()?.rsplit('/').next()).collect();
        assert_eq!(named, declared, "{path}");
        for (method, operation) in item.as_object().expect("an item").iter().filter(|(key, _)| *key != "parameters") {
            let text = |key: &str| operation[key].as_str().unwrap_or_default();
            assert!(ids.insert(text("operationId")) && !text("operationId").is_empty(), "{method} {path}");
            assert!(!text("summary").is_empty() && text("description").starts_with("Grant"), "{method} {path}");
            for grant in operation["x-grants"].as_array().expect("grants") {
                let grant = format!("`{}`", grant.as_str().expect("text"));
                assert!(text("description").contains(&grant), "{method} {path}: {grant}");
            }
            assert!(operation["responses"]["200"].is_object(), "{method} {path}");
            let own = operation["tags"].as_array().expect("tags").iter().filter_map(Value::as_str);
            assert!(own.clone().count() == 1 && own.into_iter().all(|tag| tags.contains(tag)), "{method} {path}");
        }
    }
}

#[test]
fn every_example_is_as_its_schema_says() {
    let (house, document) = (House::new(OPEN), document());
    let witness = Witness::new(&house);
    let mut parameters = Vec::new();
    members(&document, "parameters", &mut parameters);
    let all = parameters.into_iter().flat_map(|some| some.as_array().cloned().unwrap_or_default());
    for parameter in all.filter(|one| one["$ref"].is_null()) {
        witness.fits(&parameter["schema"], &parameter["example"], &parameter.to_string());
    }
    let (mut media, mut count) = (Vec::new(), 0);
    members(&document, "application/json", &mut media);
    for one in media.into_iter().filter(|one| !one["example"].is_null()) {
        witness.fits(&one["schema"], &one["example"], &one["example"].to_string());
        count += 1;
    }
    assert!(count > 10, "{count}");
}

/// What is held, read, refreshed and explained.
fn reads(witness: &mut Witness<'_>, id: &str) {
    let one = format!("/v1/authentications/{id}");
    for target in ["/v1/status", "/metrics", "/v1/refusals", "/v1/health/live", "/v1/health/ready", "/v1/recipient"] {
        assert_eq!(witness.get(target).status, 200, "{target}");
    }
    witness.ask("GET", "/metrics", "Accept: text/plain\r\n", b"");
    witness.get("/v1/authentications");
    witness.get("/v1/authentications?owner=acme-1&service=slack&environment=Production&state=full&limit=1");
    witness.get(&one);
    for query in
        ["", "?field=/credentials/accessToken", "?field=/credentials", "?field=", "?max_age=0", "?require_fresh=true"]
    {
        assert_eq!(witness.get(&format!("{one}/full{query}")).status, 200, "{query}");
    }
    let known = witness.get(&format!("{one}/full")).headers["etag"].clone();
    let again = witness.ask("GET", &format!("{one}/full"), &format!("If-None-Match: {known}\r\n"), b"");
    assert_eq!(again.status, 304);
    for target in
        ["pull", "who-can", "access", "access?uid=990&gids=990,50&unit=a.service&process=a&field=/credentials"]
    {
        assert_eq!(witness.get(&format!("{one}/{target}")).status, 200, "{target}");
    }
    assert_eq!(witness.post(&format!("{one}/refresh?rejected=1")).status, 200);
    assert_eq!(witness.post(&format!("{one}/refresh")).status, 200);
    assert_eq!(witness.post("/v1/sync?confirm_removals=true").status, 200);

    let nothing = "/v1/authentications/00000000-0000-4000-8000-000000000000";
    for target in ["", "/full", "/pull", "/access", "/who-can"] {
        assert_eq!(witness.get(&format!("{nothing}{target}")).status, 404, "{target}");
        assert_eq!(witness.get(&format!("/v1/authentications/x{target}")).status, 400, "{target}");
    }
    assert_eq!(witness.post(&format!("{nothing}/refresh")).status, 404);
    witness.get("/v1/authentications?limit=0");
    witness.get(&format!("{one}/full?field=/nothing"));
}

/// What Tray does to those who ask for what is fresh.
fn troubles(witness: &mut Witness<'_>, house: &House) {
    let one = format!("/v1/authentications/{}", house.upstream("salesforce").id);
    // What was fetched within this second is as good as new.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    let mut against = |kind, method: &str, path: &str| {
        house.world().add_fault(Fault::before(Call::FullRead, kind).times(1_000));
        let reply = witness.ask(method, &format!("{one}/{path}"), "", b"");
        house.world().clear_faults();
        (reply.status, reply.json()["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(against(FaultKind::WrongType, "POST", "refresh?rejected=1"), (502, "upstream_failed".to_owned()));
    assert_eq!(against(FaultKind::Status(503), "GET", "full?max_age=0"), (503, "stale".to_owned()));
    assert_eq!(against(FaultKind::Status(503), "POST", "refresh?rejected=1"), (503, "upstream_unavailable".to_owned()));
}

/// Dropped documents that wait, one that is held for a person, and a rejected one.
fn documents<'a>(witness: &mut Witness<'_>, house: &'a House, mut daemon: Daemon<'a>) -> Daemon<'a> {
    let plan = |witness: &mut Witness<'_>, document: &Value| {
        let reply = witness.ask("POST", "/v1/ingest/plan", "", document.to_string().as_bytes());
        (reply.status, reply.json()["outcome"].as_str().unwrap_or_default().to_owned())
    };
    house.drop_file("bad.json", &json!({ "version": 1, "action": "nothing" }));
    daemon.outcome("rejected/bad.json.reason.json");
    assert_eq!(witness.get("/v1/ingest/rejected/bad.json").status, 200);
    assert_eq!(witness.get("/v1/ingest/rejected/nothing.json").status, 404);

    house.world().add_fault(Fault::before(Call::ListEnvironments, FaultKind::Status(503)).times(10_000));
    for name in ["one.json", "two.json"] {
        house.drop_file(name, &create(name));
    }
    let intents = daemon.wait("both to wait", || {
        let list = witness.get("/v1/ingest").json();
        let all = list["documents"].as_array()?.iter().map(|one| one["intent"].as_str().map(str::to_owned));
        all.collect::<Option<Vec<_>>>().filter(|all| all.len() == 2)
    });
    let [one, two] = [0, 1].map(|at| format!("/v1/ingest/{}", intents[at]));
    assert_eq!(plan(witness, &create("Planned")).0, 503);
    assert_eq!(witness.get(&one).status, 200);
    let adopt = format!("/adopt?authentication={}", house.upstream("slack").id);
    let nothing = daemon.wait("it to be free", || {
        let reply = witness.post(&format!("{one}{adopt}"));
        reply.json()["message"].as_str().is_some_and(|said| said.contains("nothing was sent")).then_some(reply.status)
    });
    assert_eq!(nothing, 409);
    for target in [&one, &two] {
        daemon.wait("it to be tried", || (witness.post(&format!("{target}/retry")).status == 200).then_some(()));
        daemon.wait("it to be discarded", || (witness.post(&format!("{target}/discard")).status == 200).then_some(()));
    }
    for order in ["retry", "discard", &adopt[1..]] {
        assert_eq!(witness.post(&format!("{one}/{order}")).status, 404, "{order}");
        assert_eq!(witness.post(&format!("/v1/ingest/x/{order}")).status, 400, "{order}");
    }
    assert_eq!((witness.get(&one).status, witness.get("/v1/ingest/x").status), (404, 400));
    house.world().clear_faults();

    let accepted = (200, "accepted".to_owned());
    daemon.wait("Tray to be asked again", || (plan(witness, &create("Planned")) == accepted).then_some(()));
    let change = json!({ "version": 1, "action": "update", "authenticationId": house.upstream("slack").id, "credentials": { "accessToken": format!("{CANARY} new") } });
    assert_eq!(plan(witness, &change), accepted);
    assert_eq!(plan(witness, &json!({ "version": 1 })), (200, "rejected".to_owned()));
    assert_eq!(witness.ask("POST", "/v1/ingest/plan", "", &vec![b' '; 65_537]).status, 413);

    // The answer is lost with the daemon, and there are two that it could be.
    house.world().add_fault(Fault::after(Call::CreateAuthentication, FaultKind::DelayMs(60_000)));
    house.drop_file("held.json", &create("Held"));
    let named = || house.world().authentications().into_iter().filter(|one| one.name == "Held").collect::<Vec<_>>();
    daemon.wait("the create to arrive", || (!named().is_empty()).then_some(()));
    daemon.signal(rustix::process::Signal::KILL);
    daemon.ended();
    house.world().clear_faults();
    let owner = Account::User(house.world().user("acme-1").expect("a user"));
    let service_environment_id = house.world().environment("slack", "Production").expect("an environment");
    let twin = NewAuthentication {
        owner,
        service_environment_id,
        name: "Held".to_owned(),
        credentials: None,
        user_data: serde_json::Map::new(),
        scopes: None,
    };
    house.world().add_authentication(twin).expect("a twin");
    let mut daemon = house.daemon();
    let held = daemon.wait("it to be held", || {
        let list = witness.get("/v1/ingest").json();
        list["documents"].as_array()?.iter().find(|one| one["state"] == "held").cloned()
    });
    let target = format!("/v1/ingest/{}", held["intent"].as_str().expect("an id"));
    assert_eq!(held["candidates"].as_array().map(Vec::len), Some(2), "{held}");
    let of_another = witness.post(&format!("{target}/adopt?authentication=00000000-0000-4000-8000-000000000000"));
    assert_eq!(of_another.status, 400);
    let candidate = held["candidates"][0].as_str().expect("an id");
    assert_eq!(witness.post(&format!("{target}/adopt?authentication={candidate}")).status, 200);
    daemon
}

/// The vault is rotated, locked and unlocked.
fn vault(witness: &mut Witness<'_>, house: &House, daemon: &mut Daemon<'_>, id: &str) {
    assert_eq!(witness.post("/v1/unlock").status, 409);
    daemon.wait("a rotation", || (witness.post("/v1/keys/rotate").status == 200).then_some(()));
    daemon.wait("its end", || (witness.get("/v1/status").json()["resealing"] == Value::Null).then_some(()));
    assert_eq!(witness.post("/v1/lock").status, 200);
    for target in ["/v1/health/ready", "/v1/authentications", "/v1/events", "/v1/ingest"] {
        assert_eq!(witness.get(target).json()["code"], "locked", "{target}");
    }
    for target in ["/v1/lock", "/v1/sync", "/v1/keys/rotate"] {
        assert_eq!(witness.post(target).json()["code"], "locked", "{target}");
    }
    assert_eq!(witness.get(&format!("/v1/authentications/{id}/full")).json()["code"], "locked");
    assert_eq!(witness.get("/v1/status").status, 200);
    assert_eq!(witness.ask("POST", "/v1/unlock", "", b"x").status, 400);
    assert_eq!(witness.ask("POST", "/v1/unlock?kind=raw-key", "", &[7; 32]).json()["code"], "wrong_key");
    fs::rename(house.path("vault.key"), house.path("elsewhere")).expect("a rename");
    assert_eq!(witness.post("/v1/unlock").json()["code"], "vault_unavailable");
    fs::rename(house.path("elsewhere"), house.path("vault.key")).expect("a rename");
    assert_eq!(witness.post("/v1/unlock").status, 200);
}

#[test]
fn every_operation_answers_as_the_document_says() {
    let house = House::ready(&rules());
    let mut daemon = house.daemon();
    house.sync();
    let mut witness = Witness::new(&house);
    let id = house.upstream("slack").id.to_string();
    reads(&mut witness, &id);
    troubles(&mut witness, &house);
    daemon = documents(&mut witness, &house, daemon);
    vault(&mut witness, &house, &mut daemon, &id);
    let log = house.path("state/audit/audit.jsonl");
    fs::rename(&log, house.path("log")).expect("a rename");
    assert_eq!(witness.get("/v1/authentications").json()["code"], "audit_unavailable");
    fs::rename(house.path("log"), &log).expect("a rename");
    let removed = house.upstream("salesforce").id;
    witness.listen(&["removed"], || {
        assert!(house.world().remove_authentication(removed));
        house.sync();
    });
    assert_eq!(witness.get(&format!("/v1/authentications/{removed}/full")).json()["code"], "not_held");
    daemon.stop();

    let succeeded: BTreeSet<_> =
        witness.seen.iter().filter(|(_, status, _)| *status == 200).map(|(id, ..)| id.as_str()).collect();
    let document = document();
    let mut ids = Vec::new();
    members(&document, "operationId", &mut ids);
    assert_eq!(succeeded, ids.into_iter().filter_map(Value::as_str).collect());
}

#[test]
fn every_event_is_as_the_document_says() {
    let mut house = House::ready(&rules());
    let mut daemon = house.daemon();
    house.sync();
    let slack = house.upstream("slack").id;
    let mut witness = Witness::new(&house);
    witness.listen(&["pulled", "refreshed", "changed", "removed", "ingest"], || {
        house.drop_file("a.json", &create("Dropped"));
        daemon.outcome("done/a.json.receipt.json");
        house.drop_file("b.json", &json!({ "version": 1 }));
        daemon.outcome("rejected/b.json.reason.json");
        // What was fetched within this second is as good as new.
        std::thread::sleep(std::time::Duration::from_millis(1_100));
        house.ask(hyper::Method::POST, &format!("/v1/authentications/{slack}/refresh"));
        assert!(house.world().reissue_authentication(slack));
        std::thread::sleep(std::time::Duration::from_millis(1_100));
        house.ask(hyper::Method::POST, &format!("/v1/authentications/{slack}/refresh"));
        let renamed = trayvault::emulator::Alteration { name: Some("Renamed".to_owned()), ..Default::default() };
        assert!(house.world().alter_authentication(slack, renamed));
        house.sync();
        assert!(house.world().remove_authentication(slack));
        house.sync();
    });
    daemon.stop();
    house.stop_emulator();
    let daemon = house.daemon();
    let mut witness = Witness::new(&house);
    witness.listen(&["tray"], || {});
    daemon.stop();
}

#[test]
fn who_is_granted_nothing_or_not_so_often_is_refused_as_the_document_says() {
    let house = House::ready("[[pull.rules]]\nname = \"all\"\neffect = \"allow\"\n");
    let daemon = house.daemon();
    let mut witness = Witness::new(&house);
    let document = document();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let path = path.replace("{id}", "0191d1a0-0000-7000-8000-000000000000");
        let path = path.replace("{intent}", "0191d1a0-0000-7000-8000-000000000000").replace("{name}", "a.json");
        let path = path.replace("/adopt", "/adopt?authentication=0191d1a0-0000-7000-8000-000000000000");
        for method in ["get", "post"].into_iter().filter(|method| item[method].is_object()) {
            let always = ["/v1/status", "/metrics"].contains(&path.as_str()) || item[method]["x-grants"] == json!([]);
            let reply = witness.ask(&method.to_uppercase(), &path, "", b"");
            assert_eq!(reply.status == 403, !always, "{method} {path}");
        }
    }
    assert!(witness.seen.iter().any(|(_, _, code)| code == "forbidden"));
    daemon.stop();

    house.configure(&rules().replace("users = [\"UID\"]", "users = [\"UID\"]\nrate = \"1/h\""));
    let daemon = house.daemon();
    let mut witness = Witness::new(&house);
    witness.get("/v1/authentications");
    for target in ["/v1/authentications", "/v1/events", "/v1/ingest", "/v1/refusals"] {
        assert_eq!(witness.get(target).json()["code"], "rate_limited", "{target}");
    }
    for target in ["/v1/sync", "/v1/lock", "/v1/unlock", "/v1/keys/rotate", "/v1/ingest/plan"] {
        assert_eq!(witness.post(target).json()["code"], "rate_limited", "{target}");
    }
    daemon.stop();
}

#[test]
fn without_a_drop_directory_ingest_says_so() {
    let house = House::ready(&rules());
    let configuration = fs::read_to_string(house.path("trayvault.toml")).expect("a configuration");
    let without: Vec<_> = configuration.lines().filter(|line| !line.starts_with("ingest = ")).collect();
    fs::write(house.path("trayvault.toml"), without.join("\n")).expect("a configuration");
    let daemon = house.daemon();
    let mut witness = Witness::new(&house);
    assert_eq!(witness.get("/v1/ingest").json()["code"], "no_drop_directory");
    assert_eq!(witness.ask("POST", "/v1/ingest/plan", "", b"{}").json()["code"], "no_drop_directory");
    daemon.stop();
}
