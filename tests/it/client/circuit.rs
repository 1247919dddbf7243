//! What is sent, how often, and when nothing is.

use std::time::Duration;

use trayvault::tray::{Circuit, Priority, Requests};

use super::*;

const CIRCUIT_IS_OPEN: &str = "Tray has not been answering: it is asked again shortly";

#[tokio::test]
async fn a_harmless_call_is_tried_three_times_and_one_that_changes_something_once() {
    let client = Client::new().await;
    let user = client.user().await;
    let acting = Acting::EndUser(&user);
    let id = client.create(acting).await.expect("created");
    let world = client.world();
    world.add_fault(Fault::before(Call::ListAuthentications, FaultKind::Status(503)).times(2));
    client.tray.authentications(acting).await.expect("the third attempt");
    assert_eq!(world.requests(Call::ListAuthentications), 3);

    let down = FaultKind::Status(503);
    let replacement = Replacement {
        name: "Renamed",
        user_data: raw("{}"),
        credentials: raw("{}"),
        scopes: None,
        on_prem_agent_group_id: None,
    };
    world.forget_requests();
    for call in [Call::ReplaceAuthentication, Call::DeleteAuthentication, Call::FullRead] {
        world.add_fault(Fault::before(call, down));
    }
    let errors = [
        client.tray.replace(acting, id, &replacement).await.expect_err("down"),
        client.tray.delete(acting, id).await.expect_err("down"),
        client.tray.full(acting.permit(), id, Refresh::Force).await.err().expect("down"),
    ];
    let classes = errors.each_ref().map(|error| error.class);
    assert_eq!(classes, [Class::UnknownOutcome, Class::UnknownOutcome, Class::RetryLater], "{errors:?}");
    for call in [Call::ReplaceAuthentication, Call::DeleteAuthentication, Call::FullRead] {
        assert_eq!(world.requests(call), 1, "{call:?}");
    }
}

#[tokio::test]
async fn a_limit_error_is_waited_out_by_the_budget() {
    let client = Client::new().await;
    let user = client.user().await;
    client.world().add_fault(Fault::before(Call::ReadAuthentication, FaultKind::Status(429)));
    let id = client.create(Acting::EndUser(&user)).await.expect("created");
    let begun = tokio::time::Instant::now();
    client.tray.authentication(Acting::EndUser(&user), id).await.expect("the second attempt");
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let budget = client.tray.standing().budget;
    assert_eq!((budget.waiting, budget.limit_errors), (0, 1));
}

#[tokio::test]
async fn requests_are_counted_by_priority() {
    let client = Client::new().await;
    assert_eq!(client.tray.standing().requests, Requests::default());
    let user = client.user().await;
    let acting = Acting::EndUser(&user);
    for (priority, times) in [(Priority::Refresh, 1), (Priority::Ingest, 2), (Priority::Expiry, 3)] {
        for _ in 0..times {
            client.tray.at(priority).authentications(acting).await.expect("a list");
        }
    }
    let requests = client.tray.requests();
    assert_eq!(requests, Requests { refresh: 1, ingest: 2, expiry: 3, discovery: 1 });
    assert_eq!(requests.total(), 7);
    assert_eq!(client.world().requests(Call::ListAuthentications), 6);
}

#[tokio::test]
async fn offline_nothing_is_sent() {
    let client = Client::new().await;
    let user = client.user().await;
    let tray = Tray::new(&Config { offline: true, ..client.config() }).expect("a client");
    client.world().forget_requests();
    let error = tray.at(Priority::Refresh).authentications(Acting::EndUser(&user)).await.expect_err("offline");
    assert_eq!((error.class, error.reason), (Class::RetryLater, "offline: Tray is not asked"));
    assert!(tray.is_offline() && !client.tray.is_offline());
    let standing = tray.standing();
    assert!(standing.offline && standing.hosts.iter().all(|host| host.circuit == Circuit::Closed), "{standing:?}");
    assert_eq!((standing.requests.total(), client.world().requests(Call::ListAuthentications)), (0, 0));
}

#[tokio::test]
async fn refusals_are_answers() {
    let client = Client::new().await;
    let user = client.user().await;
    let acting = Acting::EndUser(&user);
    for _ in 0..2 {
        for status in [400, 401, 403, 404, 409, 413] {
            client.world().add_fault(Fault::before(Call::DeleteAuthentication, FaultKind::Status(status)));
            let id = AuthenticationId(uuid::Uuid::from_u128(1));
            client.tray.delete(acting, id).await.expect_err("refused");
        }
        client.world().add_fault(Fault::before(Call::ListAuthentications, FaultKind::InternalError).times(3));
        client.tray.authentications(acting).await.expect_err("an error in a 200");
    }
    let host = &client.tray.standing().hosts[0];
    assert_eq!((host.circuit, host.failures), (Circuit::Closed, 0));
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_left_alone_until_one_harmless_call_finds_it_back() {
    let client = Client::new().await;
    let user = client.user().await;
    let acting = Acting::EndUser(&user);
    let (tray, world) = (&client.tray, client.world());
    let mut changes = tray.changes();
    // REST's host is GraphQL's.
    assert_eq!(tray.standing().hosts.len(), 1);
    assert_eq!(format!("http://{}", tray.standing().hosts[0].host), client.emulator.api_url());

    world.add_fault(Fault::before(Call::ListAuthentications, FaultKind::Html).times(5));
    for reason in ["Tray failed", "Tray failed", CIRCUIT_IS_OPEN] {
        let error = tray.authentications(acting).await.expect_err("down");
        assert_eq!((error.class, error.reason), (Class::RetryLater, reason));
    }
    assert_eq!(world.requests(Call::ListAuthentications), 5, "the fifth opened it");
    assert!(changes.has_changed().expect("a client"));
    changes.mark_unchanged();
    let standing = &tray.standing().hosts[0];
    assert_eq!((standing.circuit, standing.failures), (Circuit::Open, 5));
    let requests = tray.requests();
    let error = client.create(acting).await.expect_err("nothing is sent");
    assert_eq!((error.class, error.reason, error.status), (Class::RetryLater, CIRCUIT_IS_OPEN, None));
    assert_eq!(tray.requests(), requests);

    tokio::time::sleep(Duration::from_secs(standing.retry_in_seconds.expect("a time"))).await;
    assert_eq!(tray.standing().hosts[0].circuit, Circuit::HalfOpen);
    let error = client.create(acting).await.expect_err("it might end in an unknown outcome");
    assert_eq!((error.class, error.reason), (Class::RetryLater, CIRCUIT_IS_OPEN));
    // A probe that nobody waits for any more frees its place.
    world.add_fault(Fault::before(Call::ListAuthentications, FaultKind::DelayMs(10_000)));
    let given_up = tokio::time::timeout(Duration::from_millis(100), tray.authentications(acting)).await;
    given_up.expect_err("it takes longer");
    tray.authentications(acting).await.expect("it answers again");
    assert!(changes.has_changed().expect("a client"));
    let standing = &tray.standing().hosts[0];
    assert_eq!((standing.circuit, standing.failures), (Circuit::Closed, 0));
    client.create(acting).await.expect("created");
}
