//! Lost answers, crashes and delays: one authentication for one document.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use serde_json::json;
use tokio::time::Instant;

use super::Host;
use crate::emulator::{Call, Fault, FaultKind};

#[tokio::test]
async fn a_create_whose_answer_is_lost_is_found_and_not_made_twice() {
    let host = Host::new().await;
    let kinds = [FaultKind::DropConnection, FaultKind::TruncatedJson, FaultKind::Html, FaultKind::Status(500)];
    let running = host.start();
    for (number, kind) in kinds.into_iter().enumerate() {
        host.emulator.world().add_fault(Fault::after(Call::CreateAuthentication, kind));
        let name = format!("lost-{number}");
        host.deliver_json(&name, &host.create_document(&name));
        assert_eq!(host.receipt(&name).await["outcome"], "adopted", "{kind:?}");
        assert_eq!(host.created().len(), number + 1, "{kind:?}");
    }
    running.stop().await;
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn a_delete_whose_answer_is_lost_is_found_to_be_done() {
    let host = Host::new().await;
    let running = host.start();
    let made = host.create("Acme").await;
    host.emulator.world().add_fault(Fault::after(Call::DeleteAuthentication, FaultKind::DropConnection));
    host.deliver_json("gone", &json!({"version": 1, "action": "delete", "authenticationId": made.id, "confirm": true}));
    assert_eq!(host.receipt("gone").await["outcome"], "deleted");
    assert_eq!((host.created().len(), host.emulator.world().requests(Call::DeleteAuthentication)), (0, 1));
    running.stop().await;
}

#[tokio::test]
async fn an_update_that_is_late_does_not_undo_what_came_after_it() {
    let host = Host { settle: Duration::from_secs(2), ..Host::new().await };
    let world = host.emulator.world();
    let running = host.start();
    let made = host.create("Acme").await;
    let update = |token: &str| json!({"version": 1, "action": "update", "authenticationId": made.id, "credentials": {"access_token": token}});
    world.add_fault(Fault::before(Call::ReplaceAuthentication, FaultKind::DelayMs(1500)));
    host.deliver_json("a", &update("first"));
    host.until("the update", || world.requests(Call::ReplaceAuthentication) == 1).await;
    let sent = Instant::now();
    running.crash().await;
    let running = host.start();
    host.deliver_json("b", &update("second"));
    host.receipt("b").await;
    tokio::time::sleep(Duration::from_millis(1700).saturating_sub(sent.elapsed())).await;
    let credentials = world.authentication(made.id).expect("there").credentials;
    assert_eq!(credentials["access_token"], "second");
    assert_eq!(host.receipt("a").await["outcome"], "updated");
    running.stop().await;
}

#[tokio::test]
async fn a_create_that_never_happened_is_sent_again_after_the_settling_time() {
    let host = Host { settle: Duration::from_millis(600), ..Host::new().await };
    host.emulator.world().add_fault(Fault::before(Call::CreateAuthentication, FaultKind::DropConnection));
    let running = host.start();
    let begun = Instant::now();
    host.create("Acme").await;
    assert!(begun.elapsed() >= host.settle);
    assert_eq!((host.created().len(), host.emulator.world().requests(Call::CreateAuthentication)), (1, 2));
    running.stop().await;
}

#[tokio::test]
async fn what_tray_puts_off_is_sent_later() {
    let host = Host::new().await;
    let world = host.emulator.world();
    world.add_fault(Fault::before(Call::CreateAuthentication, FaultKind::Status(429)));
    world.add_fault(Fault::before(Call::ListAuthentications, FaultKind::Status(503)));
    world.add_fault(Fault::before(Call::ListEnvironments, FaultKind::Html));
    let running = host.start();
    host.create("Acme").await;
    world.expire_user_tokens();
    host.create("Globex").await;
    assert_eq!(host.created().len(), 2);
    running.stop().await;
}

#[tokio::test]
async fn an_intent_outlives_a_crash_at_any_step() {
    let host = Host::new().await;
    let world = host.emulator.world();
    // While it is planned: it is journaled, and nothing was sent.
    world.add_fault(Fault::before(Call::ListAuthentications, FaultKind::DelayMs(3000)));
    let running = host.start();
    host.deliver_json("first", &host.create_document("first"));
    host.until("the plan", || world.requests(Call::ListAuthentications) == 1).await;
    running.crash().await;
    assert_eq!(host.created().len(), 0);
    world.clear_faults();

    let running = host.start();
    assert_eq!(host.receipt("first").await["outcome"], "created");
    // While it is sent: the work is done and nobody hears of it.
    world.add_fault(Fault::after(Call::CreateAuthentication, FaultKind::DelayMs(3000)));
    host.deliver_json("second", &host.create_document("second"));
    host.until("the work", || host.created().len() == 2).await;
    running.crash().await;
    world.clear_faults();

    let running = host.start();
    assert_eq!(host.receipt("second").await["outcome"], "adopted");
    assert_eq!((host.created().len(), world.requests(Call::CreateAuthentication)), (2, 2));
    host.posted("an empty journal", |posted| posted.ingest.pending == 0).await;
    running.stop().await;
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn several_that_could_be_it_are_held_and_others_go_on() {
    let host = Host::new().await;
    let world = host.emulator.world();
    let running = host.start();
    host.hold("held", "Acme").await;
    assert!(!host.board.read().ingest.problems.is_empty());
    host.create("Globex").await;
    running.stop().await;
    assert_eq!(world.requests(Call::CreateAuthentication), 2);
}

#[tokio::test]
async fn what_is_claimed_goes_on_after_a_crash_and_what_is_journaled_too_is_only_removed() {
    let host = Host::new().await;
    host.start().stop().await;
    // Claimed and not read: it is journaled under the id that it has.
    let id = uuid::Uuid::new_v4();
    let claimed = host.drop().join(format!(".claimed/{id}.first"));
    fs::write(&claimed, host.create_document("first").to_string()).expect("written");
    fs::set_permissions(&claimed, fs::Permissions::from_mode(0o600)).expect("narrowed");
    host.emulator.world().add_fault(Fault::before(Call::ListAuthentications, FaultKind::DelayMs(3000)));
    let running = host.start();
    host.until("the plan", || host.emulator.world().requests(Call::ListAuthentications) == 1).await;
    running.crash().await;
    host.emulator.world().clear_faults();
    // Journaled, and the plaintext came back.
    fs::write(&claimed, host.create_document("first").to_string()).expect("written");
    let running = host.start();
    assert_eq!(host.receipt("first").await["intent"], id.to_string());
    running.stop().await;
    assert_eq!(host.created().len(), 1);
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn documents_of_one_owner_are_carried_out_in_the_order_they_came() {
    let host = Host::new().await;
    let running = host.start();
    let made = host.create("Acme").await;
    let update = |token: &str| json!({"version": 1, "action": "update", "authenticationId": made.id, "credentials": {"access_token": token}});
    host.emulator.world().add_fault(Fault::before(Call::ReplaceAuthentication, FaultKind::Status(429)).times(2));
    host.deliver_json("a", &update("first"));
    host.posted("the first to wait", |posted| posted.ingest.pending == 1 && !posted.ingest.problems.is_empty()).await;
    host.deliver_json("b", &update("second"));
    host.receipt("b").await;
    assert!(host.drop().join("done/a.receipt.json").exists());
    let credentials = host.emulator.world().authentication(made.id).expect("there").credentials;
    assert_eq!(credentials, json!({"access_token": "second"}));
    host.posted("no more problems", |posted| posted.ingest.problems.is_empty() && posted.ingest.pending == 0).await;
    running.stop().await;
}
