//! What people ask about documents that are not finished, and have done with them.

use serde_json::json;
use uuid::Uuid;

use super::{CANARY, Host, Running};
use crate::{
    authentication::AuthenticationId,
    emulator::{Call, Fault, FaultKind},
    requests::ingest::{IngestRefusal, IngestRequest, IntentState, Order, Settled, SettledAs, Unfinished},
};

async fn the_one(running: &Running) -> Unfinished {
    let listed = running.ask(IngestRequest::List).await.expect("a list");
    let [one] = <[Unfinished; 1]>::try_from(listed).expect("one");
    one
}

async fn order(running: &Running, intent: Uuid, order: Order) -> Result<SettledAs, IngestRefusal> {
    let settled = running.ask(|answer| IngestRequest::Settle(intent, order, answer)).await;
    settled.map(|Settled { intent: about, outcome }| {
        assert_eq!(about, intent);
        outcome
    })
}

#[tokio::test]
async fn what_is_held_is_listed_with_what_it_could_be_and_one_of_those_is_adopted() {
    let host = Host::new().await;
    let running = host.start();
    let (made, twin) = host.hold("held.json", "Acme").await;
    let held = the_one(&running).await;
    assert_eq!((&held.file[..], held.state, &held.action[..]), ("held.json", IntentState::Held, "create"));
    assert_eq!((held.owner.as_deref(), held.attempts), (Some(&host.user()[..]), 1));
    assert_eq!(held.candidates, [AuthenticationId(made), AuthenticationId(twin)]);
    assert_eq!(running.ask(|answer| IngestRequest::Show(held.intent, answer)).await, Ok(held.clone()));
    let other = Uuid::new_v4();
    assert_eq!(running.ask(|answer| IngestRequest::Show(other, answer)).await, Err(IngestRefusal::NotFound));
    assert_eq!(order(&running, other, Order::Retry).await, Err(IngestRefusal::NotFound));

    // What another owner has, and what nobody has.
    let world = host.emulator.world();
    let is_others = |one: &&crate::emulator::AuthenticationView| one.id != made && one.id != twin;
    let owner = world.authentication(made).expect("there").owner;
    let all = world.authentications();
    let foreign = all.iter().filter(is_others).find(|one| one.owner != owner).expect("of another").id;
    for foreign in [foreign, other] {
        let refused = order(&running, held.intent, Order::Adopt(AuthenticationId(foreign))).await;
        assert_eq!(refused, Err(IngestRefusal::Bad("the document's owner has no such authentication")));
    }
    assert_eq!(the_one(&running).await.state, IntentState::Held, "it is held as before");

    assert_eq!(order(&running, held.intent, Order::Adopt(AuthenticationId(twin))).await, Ok(SettledAs::Adopted));
    let receipt = host.receipt("held.json").await;
    assert_eq!((&receipt["outcome"], &receipt["authenticationId"]), (&json!("adopted"), &json!(twin)));
    assert_eq!(running.ask(IngestRequest::List).await, Ok(vec![]));
    assert_eq!(order(&running, held.intent, Order::Retry).await, Err(IngestRefusal::NotFound));
    host.posted("nothing held", |posted| posted.ingest.held == 0).await;
    assert_eq!(world.requests(Call::CreateAuthentication), 1);
    running.stop().await;
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn what_is_held_is_sent_again_after_a_restart_too_if_a_person_says_so() {
    let host = Host::new().await;
    let running = host.start();
    host.hold("held.json", "Acme").await;
    running.stop().await;
    let running = host.start();
    host.posted("a held document", |posted| posted.ingest.held == 1).await;
    let held = the_one(&running).await;
    assert_eq!(order(&running, held.intent, Order::Retry).await, Ok(SettledAs::Queued));
    assert_eq!(host.receipt("held.json").await["outcome"], "created");
    assert_eq!((host.created().len(), host.emulator.world().requests(Call::CreateAuthentication)), (2, 2));
    running.stop().await;
}

#[tokio::test]
async fn what_is_held_and_not_wanted_comes_back_sealed_and_is_opened_on_demand() {
    let host = Host::new().await;
    let running = host.start();
    host.hold("held.json", "Acme").await;
    let held = the_one(&running).await;
    assert_eq!(order(&running, held.intent, Order::Discard).await, Ok(SettledAs::Discarded));
    let reason = host.reason("held.json").await;
    assert_eq!(reason["kind"], "discarded");
    assert_eq!(reason["reason"], "it was discarded, and may have been sent");
    let open = async |name: &str| {
        let opened = running.ask(|answer| IngestRequest::Open(name.to_owned(), answer)).await;
        opened.map(|opened| String::from_utf8(opened.expose_secret().to_vec()).expect("text"))
    };
    assert_eq!(open("held.json").await, Ok(host.create_document("Acme").to_string()));
    assert_eq!(open("other.json").await, Err(IngestRefusal::NotFound));
    // Only what is in `rejected/` itself.
    std::fs::write(host.dir.path().join("outside"), "outside").expect("written");
    for name in ["../../outside", "/etc/hostname"] {
        assert!(open(name).await.is_err(), "{name}");
    }
    running.stop().await;
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn what_only_waits_is_not_adopted_and_may_be_discarded() {
    let host = Host::new().await;
    let world = host.emulator.world();
    world.add_fault(Fault::before(Call::ListAuthentications, FaultKind::Status(503)).times(u32::MAX));
    let running = host.start();
    host.deliver_json("waits.json", &host.create_document("Acme"));
    host.posted("the first", |posted| posted.ingest.pending == 1).await;
    host.deliver_json("behind.json", &host.create_document("Globex"));
    host.posted("both", |posted| posted.ingest.pending == 2 && !posted.ingest.problems.is_empty()).await;
    let listed = running.ask(IngestRequest::List).await.expect("a list");
    let [waits, behind] = &listed[..] else { panic!("two") };
    assert_eq!((waits.state, waits.problem.is_some()), (IntentState::Journaled, true));
    let is_busy = IngestRefusal::Conflict("it is being worked on, or waits for an earlier one of its owner");
    assert_eq!(order(&running, behind.intent, Order::Discard).await, Err(is_busy.clone()));
    // It may be tried just now.
    let patiently = async |wanted: Order| loop {
        match order(&running, waits.intent, wanted).await {
            Err(refusal) if refusal == is_busy => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            answer => return answer,
        }
    };
    let refused = patiently(Order::Adopt(AuthenticationId(Uuid::new_v4()))).await;
    assert_eq!(refused, Err(IngestRefusal::Conflict("nothing was sent: there is nothing to adopt")));
    assert_eq!(patiently(Order::Discard).await, Ok(SettledAs::Discarded));
    assert_eq!(host.reason("waits.json").await["reason"], "it was discarded before it was sent");
    world.clear_faults();
    assert_eq!(host.receipt("behind.json").await["outcome"], "created");
    let [one] = &host.created()[..] else { panic!("one") };
    assert_eq!((&one.name[..], &one.credentials["access_token"]), ("Globex", &json!(CANARY)));
    running.stop().await;
    host.assert_nothing_leaked();
}
