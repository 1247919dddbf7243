//! Documents in and out of order: what is checked before anything leaves, who is created, and what changes under whom.

use std::{pin::Pin, time::Duration};

use serde_json::{Value, json};

use super::{
    super::{
        document::Document,
        plan::{Obstacle, Planner},
    },
    CANARY, Host,
};
use crate::{
    audit,
    authentication::{ExternalUserId, Owner, UserId},
    emulator::{self, Alteration, AuthenticationView, Call, Fault, FaultKind},
    principals::Session,
    secret::SecretBytes,
    status::Posted,
};

/// What the audit log has of an action and an outcome.
fn count(host: &Host, action: &str, outcome: &str) -> usize {
    let log = std::fs::read_to_string(host.dir.path().join("state").join(audit::FILE_NAME)).expect("readable");
    let entries = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    entries.filter(|entry| entry["action"] == action && entry["outcome"] == outcome).count()
}

fn secret(document: &Value) -> SecretBytes {
    SecretBytes::new(document.to_string().into_bytes())
}

/// The owner and a session for the first seeded end user.
async fn acting(host: &Host, planner: &Planner) -> (Owner, Session) {
    let id = ExternalUserId(host.user());
    let user = planner.principals.end_user_by_external_id(&id).await.expect("Tray").expect("there");
    let owner = Owner::EndUser { user_id: user.id, external_user_id: user.external_user_id };
    let session = planner.principals.session(&owner).await.expect("a session");
    (owner, session)
}

/// The notes of a document's plan, or why there is none.
async fn plan(planner: &Planner, bytes: &SecretBytes, owner: &Owner, session: &Session) -> Result<Vec<String>, String> {
    let document = Document::parse(bytes).map_err(|refusal| refusal.reason)?;
    let outcome = planner.plan(&document, owner, session).await;
    outcome.map(|plan| plan.sent.notes).map_err(told)
}

fn told(obstacle: Obstacle) -> String {
    match obstacle {
        Obstacle::Refused(refusal) => {
            let (pointer, hint) = (refusal.pointer.unwrap_or_default(), refusal.hint.unwrap_or_default());
            format!("{pointer}: {} ({hint})", refusal.reason)
        }
        Obstacle::Later(problem) => format!("later: {problem}"),
        Obstacle::TokenRejected => "token rejected".to_owned(),
    }
}

/// All of them at the same time.
async fn at_once<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<(Pin<Box<_>>, Option<T>)> = all.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|context| {
        for (one, done) in all.iter_mut().filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(output) = one.as_mut().poll(context) {
                *done = Some(output);
            }
        }
        if all.iter().all(|(_, done)| done.is_some()) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    all.into_iter().filter_map(|(_, done)| done).collect()
}

#[tokio::test]
async fn many_documents_at_once_ask_for_an_environment_once() {
    let host = Host::new().await;
    let planner = host.planner();
    let (owner, session) = acting(&host, &planner).await;
    // Late, so that all of them have asked before the first has its answer.
    host.emulator.world().add_fault(Fault::before(Call::ListEnvironments, FaultKind::DelayMs(100)));
    let documents: Vec<_> = (0..32).map(|number| secret(&host.create_document(&format!("number {number}")))).collect();
    let plans = at_once(documents.iter().map(|bytes| plan(&planner, bytes, &owner, &session))).await;
    assert!(plans.iter().all(Result::is_ok), "{plans:?}");
    assert_eq!(host.emulator.world().requests(Call::ListEnvironments), 1);
}

#[tokio::test]
async fn a_wrong_name_is_asked_for_once_by_however_many_documents() {
    let host = Host::new().await;
    let (planner, world) = (host.planner(), host.emulator.world());
    let (owner, session) = acting(&host, &planner).await;
    let refused = async |change: fn(&mut Value)| {
        let mut document = host.create_document("any");
        change(&mut document);
        let documents: Vec<_> = (0..20).map(|_| secret(&document)).collect();
        let plans = at_once(documents.iter().map(|bytes| plan(&planner, bytes, &owner, &session))).await;
        let refusals: Vec<_> = plans.into_iter().map(|plan| plan.expect_err("refused")).collect();
        assert!(refusals.iter().all(|refusal| *refusal == refusals[0]));
        assert!(!refusals[0].contains(CANARY), "{}", refusals[0]);
        refusals[0].clone()
    };
    let refusal = refused(|document| document["environment"] = json!(CANARY)).await;
    let titles = "/environment: the service has no such environment (it has \"Production\", \"Acme CRM app\")";
    assert_eq!(refusal, titles);
    let refusal = refused(|document| document["service"]["version"] = json!(9)).await;
    let version = "/service/version: Tray does not have the service in this version (Tray has it in version 3)";
    assert_eq!(refusal, version);
    let refusal = refused(|document| document["service"]["name"] = json!("Google Sheets")).await;
    assert_eq!(refusal, "/service/name: Tray has no service of this name (it has \"google-sheets\")");
    let refusal = refused(|document| document["service"]["name"] = json!(CANARY)).await;
    assert!(refusal.starts_with("/service/name: Tray has no service of this name"), "{refusal}");
    assert_eq!((world.requests(Call::ListEnvironments), world.requests(Call::ListConnectors)), (4, 1));
}

#[tokio::test]
async fn a_failed_look_up_is_told_to_those_who_wait_and_not_remembered() {
    let host = Host::new().await;
    let (planner, world) = (host.planner(), host.emulator.world());
    let (owner, session) = acting(&host, &planner).await;
    let bytes = secret(&host.create_document("Acme"));
    world.add_fault(Fault::before(Call::ListEnvironments, FaultKind::Status(503)).times(40));
    let plans = at_once((0..8).map(|_| plan(&planner, &bytes, &owner, &session))).await;
    assert!(plans.iter().all(|plan| plan.as_ref().is_err_and(|why| why.starts_with("later"))), "{plans:?}");
    let asked = world.requests(Call::ListEnvironments);
    assert!(asked < 8, "{asked}");
    world.clear_faults();
    assert!(plan(&planner, &bytes, &owner, &session).await.is_ok());
    assert_eq!(world.requests(Call::ListEnvironments), asked + 1);
}

#[tokio::test]
async fn a_scope_that_the_environment_does_not_offer_is_refused_with_those_it_does() {
    let host = Host::new().await;
    let running = host.start();
    let mut document = host.create_document("Acme");
    document["scopes"] = json!(["api", CANARY]);
    host.deliver_json("scopes.json", &document);
    let reason = host.reason("scopes.json").await;
    assert_eq!((&reason["pointer"], &reason["kind"]), (&json!("/scopes/1"), &json!("unresolved")));
    assert_eq!(reason["hint"], "it offers \"api\", \"refresh_token\"");
    // A service that lists none may take any.
    document["service"] = json!({"name": "http-client", "version": 1});
    document["scopes"] = json!(["anything"]);
    host.deliver_json("any.json", &document);
    assert_eq!(host.receipt("any.json").await["outcome"], "created");

    let made = host.create("Part").await;
    let update = json!({"version": 1, "action": "update", "authenticationId": made.id, "scopes": [CANARY]});
    host.deliver_json("update.json", &update);
    assert_eq!(host.reason("update.json").await["pointer"], "/scopes/0");
    running.stop().await;
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn a_receipt_says_what_could_not_be_checked_and_what_oauth_asks_for() {
    let host = Host::new().await;
    let running = host.start();
    let mut document = host.create_document("Sheets");
    document["service"] = json!({"name": "google-sheets", "version": 2});
    document["scopes"] = json!([]);
    host.deliver_json("sheets.json", &document);
    let receipt = host.receipt("sheets.json").await;
    let oauth = "the environment signs in by OAuth: Tray can use and refresh these credentials only if they come from \
                 its own OAuth app";
    let notes = json!([
        "the user data schema of google-sheets 2 can't be compiled: the check was Tray's",
        "the credentials schema of google-sheets 2 can't be compiled: the check was Tray's",
        oauth,
    ]);
    assert_eq!((&receipt["notes"], &receipt["schemaChecked"]), (&notes, &json!(false)));

    host.deliver_json("whole.json", &host.create_document("whole"));
    let receipt = host.receipt("whole.json").await;
    assert_eq!((&receipt["notes"], &receipt["schemaChecked"]), (&json!([oauth]), &json!(true)));

    let mut document = host.create_document("oauth");
    document["credentials"] = json!({"access_token": 7});
    host.deliver_json("oauth.json", &document);
    let reason = host.reason("oauth.json").await;
    assert_eq!(reason["pointer"], "/credentials/access_token");
    assert!(reason["hint"].as_str().is_some_and(|hint| hint.contains("OAuth")), "{reason}");

    let environment = host.emulator.world().environment("slack", "Production").expect("one");
    let mut document = host.create_document("unnamed");
    for key in ["service", "environment"] {
        document.as_object_mut().expect("an object").remove(key);
    }
    document["serviceEnvironmentId"] = json!(environment);
    document["credentials"] = json!({"accessToken": CANARY});
    host.deliver_json("unnamed.json", &document);
    let receipt = host.receipt("unnamed.json").await;
    assert_eq!(receipt["schemaChecked"], false);
    assert_eq!(receipt["notes"].as_array().map(Vec::len), Some(1), "{receipt}");
    running.stop().await;
    host.assert_nothing_leaked();
}

/// A create for an end user whom Tray does not have.
fn for_a_new_user(host: &Host, name: &str) -> Value {
    let mut document = host.create_document(name);
    document["user"] = json!({"externalUserId": "new-1", "name": "New One"});
    document["createUser"] = json!(true);
    document
}

/// The end users whom Tray has beside those from the start: external id and name.
fn new_users(host: &Host) -> Vec<(String, String)> {
    let users = host.emulator.world().users();
    users.into_iter().skip(3).map(|user| (user.external_user_id, user.name)).collect()
}

#[tokio::test]
async fn an_end_user_who_is_not_there_is_created_once_and_only_on_demand() {
    let host = Host::new().await;
    let running = host.start();
    let mut document = for_a_new_user(&host, "first");
    document["createUser"] = json!(false);
    document["user"] = json!({"externalUserId": "new-1"});
    host.deliver_json("refused.json", &document);
    let reason = host.reason("refused.json").await;
    assert_eq!(reason["pointer"], "/user");
    assert!(reason["hint"].as_str().is_some_and(|hint| hint.contains("\"createUser\": true")), "{reason}");

    // Nobody is created for a document that is wrong otherwise.
    let mut document = for_a_new_user(&host, "wrong");
    document["credentials"] = json!({"access_token": 7});
    host.deliver_json("wrong.json", &document);
    assert_eq!(host.reason("wrong.json").await["kind"], "schema");
    assert_eq!((new_users(&host), count(&host, "user.create", "begun")), (vec![], 0));

    for name in ["first", "second"] {
        host.deliver_json(name, &for_a_new_user(&host, name));
        assert_eq!(host.receipt(name).await["outcome"], "created");
    }
    assert_eq!(new_users(&host), [("new-1".to_owned(), "New One".to_owned())]);
    let id = host.emulator.world().user("new-1").expect("made");
    assert!(host.created().iter().all(|one| one.owner == emulator::Account::User(id)));
    assert_eq!(host.emulator.world().requests(Call::CreateExternalUser), 1);
    assert_eq!((count(&host, "user.create", "begun"), count(&host, "user.create", "done")), (1, 1));
    running.stop().await;
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn many_documents_for_an_end_user_who_is_not_there_ask_for_him_once() {
    let host = Host::new().await;
    let running = host.start();
    let lines: Vec<_> = (0..20)
        .map(|number| {
            let mut document = host.create_document(&format!("number {number}"));
            document["user"] = json!({ "externalUserId": "nobody" });
            document.to_string()
        })
        .collect();
    host.deliver("many.ndjson", lines.join("\n"));
    assert_eq!(host.receipt("many.ndjson").await["rejected"], 20);
    assert_eq!(host.emulator.world().requests(Call::ListUsers), 1);
    running.stop().await;
}

#[tokio::test]
async fn an_end_user_whose_creation_has_no_answer_is_found_and_not_made_twice() {
    let host = Host::new().await;
    let running = host.start();
    host.emulator.world().add_fault(Fault::after(Call::CreateExternalUser, FaultKind::DropConnection));
    host.deliver_json("lost", &for_a_new_user(&host, "lost"));
    assert_eq!(host.receipt("lost").await["outcome"], "created");
    assert_eq!((new_users(&host).len(), host.emulator.world().requests(Call::CreateExternalUser)), (1, 1));
    assert_eq!((count(&host, "user.create", "failed"), count(&host, "user.create", "done")), (1, 0));
    running.stop().await;
}

#[tokio::test]
async fn documents_for_a_new_end_user_at_the_same_time_create_one() {
    let host = Host::new().await;
    let planner = host.planner();
    host.emulator.world().add_fault(Fault::before(Call::CreateExternalUser, FaultKind::DelayMs(100)));
    let documents: Vec<_> = (0..8).map(|number| secret(&for_a_new_user(&host, &format!("{number}")))).collect();
    let owner = async |bytes: &SecretBytes| {
        let document = Document::parse(bytes).map_err(|refusal| refusal.reason)?;
        planner.owner(&document).await.map_err(told)
    };
    let owners = at_once(documents.iter().map(owner)).await;
    let id = UserId(host.emulator.world().user("new-1").expect("made").to_string());
    assert!(owners.iter().all(|owner| owner.as_ref().is_ok_and(|owner| owner.key() == id.0)), "{owners:?}");
    assert_eq!((new_users(&host).len(), host.emulator.world().requests(Call::CreateExternalUser)), (1, 1));
}

#[tokio::test]
async fn an_end_user_whom_somebody_else_creates_meanwhile_is_taken() {
    let host = Host::new().await;
    let planner = host.planner();
    let world = host.emulator.world();
    world.add_fault(Fault::before(Call::CreateExternalUser, FaultKind::DelayMs(300)));
    let bytes = secret(&for_a_new_user(&host, "any"));
    let document = Document::parse(&bytes).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    let meanwhile = async {
        host.until("the creation", || world.requests(Call::CreateExternalUser) == 1).await;
        world.add_user("new-1", "Elsewhere")
    };
    let (owner, id) = tokio::join!(planner.owner(&document), meanwhile);
    assert_eq!(owner.map_err(told).map(|owner| owner.key().to_owned()), Ok(id.to_string()));
    assert_eq!(new_users(&host).len(), 1);
}

/// An authentication with credentials of two members, and an update of one of them.
async fn with_an_update(host: &Host) -> (AuthenticationView, Value) {
    let made = host.create("Acme").await;
    let update =
        json!({"version": 1, "action": "update", "authenticationId": made.id, "credentials": {"access_token": CANARY}});
    (made, update)
}

/// Changes another member behind the client's back.
fn refresh(host: &Host, made: &AuthenticationView, token: &str) {
    let credentials = json!({"access_token": "old", "refresh_token": token});
    let alteration = Alteration { credentials: credentials.as_object().cloned(), ..Alteration::default() };
    assert!(host.emulator.world().alter_authentication(made.id, alteration));
}

/// Waits until the full read is done whose answer is held back.
async fn read(host: &Host, times: u64) {
    host.until("a full read", || host.emulator.world().requests(Call::FullRead) == times).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn an_update_in_part_of_what_changes_meanwhile_holds_both_changes() {
    let host = Host::new().await;
    let running = host.start();
    let (made, update) = with_an_update(&host).await;
    refresh(&host, &made, "first");
    host.emulator.world().add_fault(Fault::after(Call::FullRead, FaultKind::DelayMs(600)));
    host.deliver_json("update.json", &update);
    read(&host, 1).await;
    refresh(&host, &made, "second");
    assert_eq!(host.receipt("update.json").await["outcome"], "updated");
    let credentials = host.emulator.world().authentication(made.id).expect("there").credentials;
    assert_eq!(credentials, json!({"access_token": CANARY, "refresh_token": "second"}));
    let world = host.emulator.world();
    assert_eq!((world.requests(Call::FullRead), world.requests(Call::ReplaceAuthentication)), (4, 1));
    assert_eq!(count(&host, "authentication.pull", "done"), 4);
    assert_eq!((count(&host, "ingest.update", "begun"), count(&host, "ingest.settle", "failed")), (2, 1));
    running.stop().await;
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn what_changes_all_the_time_is_updated_later() {
    let host = Host::new().await;
    let running = host.start();
    let (made, update) = with_an_update(&host).await;
    host.emulator.world().add_fault(Fault::after(Call::FullRead, FaultKind::DelayMs(400)).times(6));
    host.deliver_json("update.json", &update);
    for round in 0..3 {
        read(&host, 2 * round + 1).await;
        refresh(&host, &made, &format!("round {round}"));
    }
    let is_told =
        |posted: &Posted| posted.ingest.problems.iter().any(|one| one.what == "it changes while it is updated");
    host.posted("the problem", is_told).await;
    assert_eq!(host.emulator.world().requests(Call::ReplaceAuthentication), 0);
    assert_eq!(host.receipt("update.json").await["outcome"], "updated");
    let credentials = host.emulator.world().authentication(made.id).expect("there").credentials;
    assert_eq!(credentials, json!({"access_token": CANARY, "refresh_token": "round 2"}));
    running.stop().await;
}

#[tokio::test]
async fn an_update_whose_second_read_is_refused_sends_nothing() {
    let host = Host::new().await;
    let running = host.start();
    let (_, update) = with_an_update(&host).await;
    let world = host.emulator.world();
    world.add_fault(Fault::after(Call::FullRead, FaultKind::DelayMs(600)));
    host.deliver_json("update.json", &update);
    read(&host, 1).await;
    world.set_full_read(false);
    let reason = host.reason("update.json").await;
    assert_eq!((&reason["kind"], world.requests(Call::ReplaceAuthentication)), (&json!("policy"), 0));
    running.stop().await;
    host.assert_nothing_leaked();
}
