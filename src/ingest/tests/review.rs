//! What a hostile review found: each of these once failed.

use std::{
    fs,
    io::Read as _,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::{sync::oneshot, time::Instant};
use uuid::Uuid;

use super::{
    super::{
        Config, Ingest, Task,
        attend::Attended,
        document::Action,
        intent::{Creation, Held, Journaled, Operation, Sent, Slip, Unfinished},
        intent::{Intent, Line as Place},
        journal::{Admission, Journal, now},
        lane::Lane,
        line::Line,
        refusal::{Kind, Refusal},
    },
    Host,
};
use crate::{
    audit,
    authentication::{AuthenticationId, Owner, ServiceEnvironmentId},
    emulator::{Call, Fault, FaultKind},
    requests::ingest::Order,
    secret::SecretBytes,
    vault::{GoneReason, Write},
};

impl Host {
    /// The line, that does not run.
    fn line(&self) -> Box<Line> {
        let config = Config { directory: Some(self.drop()), settle: self.settle, ..Config::default() };
        let Ok(Ingest(Task::Line(line))) = Ingest::open(config, (self.dependencies)()) else { panic!("no line") };
        line
    }

    /// Puts a file where the claimed are.
    fn claimed(&self, id: Uuid, name: &str, content: &str) {
        let path = self.drop().join(format!(".claimed/{id}.{name}"));
        fs::write(&path, content).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("narrowed");
    }

    fn environment(&self) -> ServiceEnvironmentId {
        let id = self.emulator.world().environment("salesforce", "Production").expect("an environment");
        ServiceEnvironmentId(id.to_string())
    }

    fn owner(&self) -> Owner {
        let user = self.emulator.world().users().remove(0);
        Owner::EndUser {
            user_id: crate::authentication::UserId(user.id.to_string()),
            external_user_id: crate::authentication::ExternalUserId(user.external_user_id),
        }
    }

    /// A create of a document as it is when it was sent and its answer is not known.
    async fn sent(&self, journal: &Journal, name: &str, sent_at: Timestamp) -> Intent<Sent> {
        self.cache_users().await;
        let document = SecretBytes::new(self.create_document(name).to_string().into_bytes());
        let intent = journaled(journal, slip(Uuid::now_v7(), name), document);
        let creation = Creation {
            name: name.to_owned(),
            service: None,
            environment: self.environment(),
            title: None,
            before: Vec::new(),
        };
        let sent = Sent {
            owner: self.owner(),
            operation: Operation::Create(creation),
            schema_checked: false,
            notes: Vec::new(),
            sent_at,
            attempt: 1,
        };
        journal.advance(intent, sent).await.expect("committed")
    }

    /// The cache knows whose tokens there are.
    async fn cache_users(&self) {
        let Owner::EndUser { user_id, external_user_id } = self.owner() else { unreachable!("an end user") };
        let user = crate::authentication::EndUser { id: user_id, external_user_id, name: "a user".to_owned() };
        self.cache.write(vec![Write::User(user)]).await.expect("written");
    }

    fn away(&self, name: &str) -> Away {
        let (there, away) = (self.drop().join(name), self.drop().join(format!(".{name}")));
        fs::rename(&there, &away).expect("moved away");
        fs::write(&there, "").expect("in the way");
        Away { there, away }
    }
}

/// A directory that can't be used.
struct Away {
    there: PathBuf,
    away: PathBuf,
}

impl Away {
    fn back(self) {
        fs::remove_file(&self.there).expect("removed");
        fs::rename(self.away, self.there).expect("moved back");
    }
}

fn slip(id: Uuid, file: &str) -> Slip {
    Slip {
        id,
        file: file.to_owned(),
        line: None,
        action: Some(Action::Create),
        received_at: now(),
        lane: Lane::default(),
        fingerprint: None,
        sealed: false,
    }
}

fn journaled(journal: &Journal, slip: Slip, document: SecretBytes) -> Intent<Journaled> {
    journal.admit(&[Admission { slip: slip.clone(), document, refusal: None }]).expect("journaled");
    Intent { slip, state: Journaled {}, revision: 0 }
}

#[tokio::test]
async fn what_was_journaled_while_the_audit_log_could_not_be_written_goes_on_once_it_can() {
    let host = Host::new().await;
    let mut line = host.line();
    let id = Uuid::now_v7();
    let text = host.create_document("Acme").to_string();
    host.claimed(id, "acme.json", &text);
    let document = SecretBytes::new(text.into_bytes());
    let log = host.dir.path().join("state").join(audit::FILE_NAME);
    let away = log.with_extension("away");
    fs::rename(&log, &away).expect("moved away");
    let admission = Admission { slip: slip(id, "acme.json"), document, refusal: None };
    line.intake.admit(&[admission]).expect_err("the log is gone");
    fs::rename(&away, &log).expect("moved back");
    line.intake.resume().expect("resumed");
    assert!(line.intake.journal.holds(id).expect("readable"), "it is the journal's to bring to an end");
    assert_eq!(line.admitted.try_recv().expect("handed over").id, id);
}

#[tokio::test]
async fn the_receipt_of_a_file_of_many_is_written_once_it_can_be() {
    let host = Host::new().await;
    let running = host.start();
    host.until("the directory", || host.drop().join("done").exists()).await;
    let world = host.emulator.world();
    world.add_fault(Fault::after(Call::CreateAuthentication, FaultKind::DelayMs(1_500)));
    host.deliver("many.ndjson", format!("{}\n", host.create_document("one")));
    host.until("the work", || host.created().len() == 1).await;
    let done = host.away("done");
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    done.back();
    assert_eq!(host.receipt("many.ndjson").await["accepted"], 1);
    running.stop().await;
}

#[tokio::test]
async fn a_held_document_that_was_settled_and_has_no_outcome_yet_goes_on() {
    let host = Host::new().await;
    let line = host.line();
    let journal = &line.intake.journal;
    let sent = host.sent(journal, "held", now()).await;
    let (id, state) = (sent.slip.id, sent.state.clone());
    journal.advance(sent, Held { sent: state, candidates: Vec::new() }).await.expect("held");
    let rejected = host.away("rejected");
    let (answer, answered) = oneshot::channel();
    let stands = line.attendant.settle(id, Order::Discard, Attended::Held(id), answer).await;
    assert!(answered.await.expect("an answer").is_err(), "its outcome is not written");
    rejected.back();
    assert!(matches!(journal.intent(id).await, Ok(Some(Unfinished::Rejected(_)))), "it is decided");
    assert!(matches!(stands, Attended::GoesOn(..)), "nobody goes on with it: {stands:?}");
}

#[tokio::test]
async fn a_file_of_many_has_its_receipt_though_its_last_line_was_damaged_and_discarded() {
    let host = Host::new().await;
    let line = host.line();
    let journal = &line.intake.journal;
    let (bulk, damaged) = (Uuid::now_v7(), Uuid::now_v7());
    let lined = |id, number| Slip { line: Some(Place { bulk, number }), ..slip(id, "many.ndjson") };
    let document = || SecretBytes::new(b"{}".to_vec());
    let one = journaled(journal, lined(Uuid::now_v7(), 1), document());
    journaled(journal, lined(damaged, 2), document());
    line.upstream.refuse(one, None, Refusal::new(Kind::Schema, "no")).await.expect("rejected");
    let (answer, answered) = oneshot::channel();
    line.attendant.settle(damaged, Order::Discard, Attended::Damaged(damaged), answer).await;
    assert!(answered.await.expect("an answer").is_ok());
    assert!(host.drop().join("done/many.ndjson.receipt.json").exists());
    assert_eq!(journal.unfinished().expect("readable"), 0);
}

#[tokio::test]
async fn plaintext_that_is_a_little_too_large_is_overwritten_too() {
    let host = Host::new().await;
    let running = host.start();
    host.until("the directory", || host.drop().join("done").exists()).await;
    let hidden = host.drop().join(".large");
    fs::write(&hidden, vec![b'x'; 1024 * 1024 + 1]).expect("written");
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600)).expect("narrowed");
    let mut file = fs::File::open(&hidden).expect("opened");
    fs::rename(hidden, host.drop().join("large")).expect("delivered");
    host.reason("large").await;
    host.until("no claim", || fs::read_dir(host.drop().join(".claimed")).expect("a directory").count() == 0).await;
    let mut left = Vec::new();
    file.read_to_end(&mut left).expect("readable");
    assert!(left.iter().all(|byte| *byte == 0), "the plaintext is on the disk");
    running.stop().await;
}

#[tokio::test]
async fn an_upsert_finds_one_that_is_listed_without_its_environment() {
    let host = Host::new().await;
    let world = host.emulator.world();
    let one = world.authentications().into_iter().find(|one| one.name.starts_with("Shared http-client"));
    let one = one.expect("the emulator lists it with nulls");
    let upsert = json!({
        "version": 1, "action": "upsert", "name": one.name,
        "service": {"name": one.service, "version": one.service_version},
        "serviceEnvironmentId": one.service_environment_id, "credentials": {"new": "value"},
    });
    let running = host.start();
    host.deliver_json("upsert.json", &upsert);
    let receipt = host.receipt("upsert.json").await;
    assert_eq!((&receipt["outcome"], host.created().len()), (&json!("updated"), 0), "{receipt}");
    running.stop().await;
}

/// A list that lags behind has a synchronisation take a new authentication for gone.
#[tokio::test]
async fn a_copy_is_told_though_the_cache_believes_the_authentication_gone() {
    let host = Host::new().await;
    let running = host.start();
    let made = host.create("Acme").await;
    let (id, reason) = (AuthenticationId(made.id), GoneReason::DeletedUpstream);
    host.cache.write(vec![Write::Gone { id, reason, at: Timestamp::now() }]).await.expect("written");
    host.deliver_json("copy.json", &host.create_document("Acme"));
    assert_eq!(host.receipt("copy.json").await["outcome"], "duplicate");
    assert_eq!(host.created().len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_create_is_done_again_once_tray_has_it_no_more_whatever_the_cache_believes() {
    let host = Host::new().await;
    let running = host.start();
    let made = host.create("Acme").await;
    assert!(host.emulator.world().remove_authentication(made.id));
    host.deliver_json("again.json", &host.create_document("Acme"));
    assert_eq!(host.receipt("again.json").await["outcome"], "created");
    running.stop().await;
}

#[tokio::test]
async fn what_another_document_is_known_to_have_made_is_not_adopted() {
    let host = Host { settle: Duration::from_millis(300), ..Host::new().await };
    let running = host.start();
    let made = host.create("Acme").await;
    running.stop().await;
    let line = host.line();
    // The list did not have the first one yet when this one was planned, and it was never done.
    let sent = host.sent(&line.intake.journal, "Acme", now()).await;
    let (name, id) = (format!("{}.receipt.json", sent.slip.file), sent.slip.id);
    drop(line);
    let running = host.start();
    let path = host.drop().join("done").join(name);
    host.until("a receipt", || path.exists()).await;
    let receipt: serde_json::Value = serde_json::from_slice(&fs::read(path).expect("read")).expect("JSON");
    assert_eq!(receipt["intent"], id.to_string());
    assert_ne!(receipt["authenticationId"], made.id.to_string(), "two documents are one authentication");
    assert_eq!(host.created().len(), 2);
    running.stop().await;
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_stop_what_waits_for_the_settling_time() {
    let host = Host { settle: Duration::from_millis(300), ..Host::new().await };
    let line = host.line();
    host.sent(&line.intake.journal, "Acme", now() + SignedDuration::from_hours(24 * 365)).await;
    drop(line);
    let running = host.start();
    assert_eq!(host.receipt("Acme").await["outcome"], "created");
    running.stop().await;
}

#[tokio::test]
async fn a_clock_that_was_set_forth_sends_nothing_again_before_the_settling_time() {
    let host = Host { settle: Duration::from_millis(1_500), ..Host::new().await };
    let line = host.line();
    host.sent(&line.intake.journal, "Acme", now() - SignedDuration::from_hours(24 * 365)).await;
    drop(line);
    let begun = Instant::now();
    let running = host.start();
    assert_eq!(host.receipt("Acme").await["outcome"], "created");
    assert!(begun.elapsed() >= host.settle);
    running.stop().await;
}

/// Its owner may take from us the right to move a directory while we have it.
#[tokio::test]
async fn one_that_can_not_be_moved_aside_is_in_nobodys_way() {
    let host = Host::new().await;
    drop(host.line());
    let id = Uuid::now_v7();
    symlink("/nowhere", host.drop().join(format!(".claimed/{id}.stuck"))).expect("linked");
    for name in ["stuck.reason.json".to_owned(), format!("stuck.{id}.reason.json")] {
        fs::write(host.drop().join("rejected").join(name), "in the way").expect("written");
    }
    let running = host.start();
    host.deliver_json("other", &host.create_document("other"));
    assert_eq!(host.receipt("other").await["outcome"], "created");
    running.stop().await;
}

#[tokio::test]
async fn a_file_of_many_is_one_though_its_name_is_long() {
    let host = Host::new().await;
    let running = host.start();
    host.until("the directory", || host.drop().join("done").exists()).await;
    let name = format!("{}.ndjson", "x".repeat(200));
    let lines = ["one", "two"].map(|name| host.create_document(name).to_string()).join("\n");
    host.deliver(&name, lines);
    host.until("both", || host.created().len() == 2).await;
    running.stop().await;
}

/// One user under two ids, whom the cache does not know yet.
#[tokio::test]
async fn documents_of_one_owner_keep_their_order_under_whichever_id() {
    let host = Host::new().await;
    let world = host.emulator.world();
    let user = world.users().remove(0);
    let made = world.authentications().into_iter().find(|one| one.owner == crate::emulator::Account::User(user.id));
    let made = made.expect("a seeded one");
    let update = |user: serde_json::Value, name: &str| {
        json!({"version": 1, "action": "update", "authenticationId": made.id, "user": user, "name": name,
            "userData": {}, "credentials": made.credentials, "scopes": []})
    };
    host.line();
    host.deliver_json("a", &update(json!({"userId": user.id}), "first"));
    host.deliver_json("b", &update(json!({"externalUserId": user.external_user_id}), "second"));
    world.add_fault(Fault::before(Call::ListUsers, FaultKind::DelayMs(1_000)));
    let running = host.start();
    host.receipt("a").await;
    host.receipt("b").await;
    assert_eq!(world.authentication(made.id).expect("there").name, "second", "the one that came last wins");
    running.stop().await;
}

#[tokio::test]
async fn what_was_dropped_sealed_is_never_written_in_the_clear() {
    let host = Host::new().await;
    let mut line = host.line();
    line.intake.outcomes.seal_rejected = false;
    let text = format!("{{\"version\": 1, \"action\": \"none\", \"credentials\": {{\"key\": \"{}\"}}}}", super::CANARY);
    let sealed = host.cache.keyring().recipient().seal(text.as_bytes()).expect("sealed");
    let path = host.drop().join(format!(".claimed/{}.sealed.age", Uuid::now_v7()));
    fs::write(&path, sealed).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("narrowed");
    line.intake.resume().expect("resumed");
    host.reason("sealed.age").await;
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn a_file_of_more_documents_than_may_be_is_refused_as_a_whole() {
    let host = Host::new().await;
    let running = host.start();
    host.deliver("many.ndjson", "1\n".repeat(10_001));
    let reason = host.reason("many.ndjson").await;
    assert_eq!(
        (&reason["reason"], &reason["hint"]),
        (&json!("the file holds more than 10000 documents"), &json!("split it"))
    );
    running.stop().await;
}
