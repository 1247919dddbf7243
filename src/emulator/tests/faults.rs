//! Injected faults: what the client sees, and whether the work was done.

use super::*;
use crate::emulator::{Call, Fault, FaultKind, QUOTED};

/// Sends a create that is not expected to be answered well.
async fn create(tray: &Tray, token: &str) -> reqwest::Result<Answer> {
    let body = json!({
        "name": "Faulty",
        "serviceEnvironmentId": tray.environment("slack"),
        "credentials": {"accessToken": "x"},
    });
    tray.try_call(token, Method::POST, "/core/v1/authentications", Some(&body)).await
}

#[tokio::test]
async fn a_connection_dropped_after_the_work_leaves_one_authentication_and_no_answer() {
    let tray = Tray::start().await;
    let token = tray.user_token("acme-1");
    tray.world().add_fault(Fault::after(Call::CreateAuthentication, FaultKind::DropConnection));
    let error = create(&tray, &token).await.unwrap_err();
    assert!(!error.is_connect() && !error.is_timeout() && error.status().is_none(), "{error:?}");
    assert_eq!(tray.world().creations().len(), 1);
    assert_eq!(tray.world().requests(Call::CreateAuthentication), 1);
    assert_eq!(tray.world().state().faults, 0);

    assert_eq!(create(&tray, &token).await.unwrap().status, StatusCode::OK);
    assert_eq!(tray.world().state().duplicates, 1);
}

#[tokio::test]
async fn a_dropped_connection_carries_not_one_byte_of_an_answer() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let tray = Tray::start().await;
    tray.world().add_fault(Fault::after(Call::ListWorkspaces, FaultKind::DropConnection));
    let mut stream = tokio::net::TcpStream::connect(tray.emulator.address()).await.unwrap();
    let head =
        format!("GET /core/v1/workspaces HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n", tray.master());
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // Closed in order or reset: either way nothing came.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn a_connection_dropped_before_the_work_leaves_nothing() {
    let tray = Tray::start().await;
    let token = tray.user_token("acme-1");
    tray.world().add_fault(Fault::before(Call::CreateAuthentication, FaultKind::DropConnection).times(2));
    for _ in 0..2 {
        assert!(create(&tray, &token).await.is_err());
    }
    assert!(tray.world().creations().is_empty());
    assert_eq!(create(&tray, &token).await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn each_kind_of_fault_looks_its_part() {
    let tray = Tray::start().await;
    let token = tray.user_token("acme-1");
    let world = tray.world();
    let call = Call::CreateAuthentication;

    world.add_fault(Fault::after(call, FaultKind::Status(503)));
    let answer = create(&tray, &token).await.unwrap();
    assert_eq!((answer.status, world.creations().len()), (StatusCode::SERVICE_UNAVAILABLE, 1));
    assert!(answer.json()["message"].is_string());

    world.add_fault(Fault::before(call, FaultKind::Html));
    let answer = create(&tray, &token).await.unwrap();
    assert_eq!((answer.status, world.creations().len()), (StatusCode::BAD_GATEWAY, 1));
    assert!(answer.content_type.starts_with("text/html") && answer.body.starts_with("<html>"));

    world.add_fault(Fault::after(call, FaultKind::TruncatedJson));
    let answer = create(&tray, &token).await.unwrap();
    assert_eq!((answer.status, world.creations().len()), (StatusCode::OK, 2));
    assert!(serde_json::from_str::<Value>(&answer.body).is_err_and(|error| error.is_eof()));

    world.add_fault(Fault::before(call, FaultKind::InternalError));
    let answer = create(&tray, &token).await.unwrap();
    assert_eq!((answer.status, world.creations().len()), (StatusCode::INTERNAL_SERVER_ERROR, 2));

    world.add_fault(Fault::before(call, FaultKind::DelayMs(1)));
    assert_eq!(create(&tray, &token).await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_gives_up_on_a_delay_finds_the_work_done_or_not_as_asked() {
    let tray = Tray::start().await;
    let token = tray.user_token("acme-1");
    let world = tray.world();
    for (fault, made) in [
        (Fault::before(Call::CreateAuthentication, FaultKind::DelayMs(600_000)), 0),
        (Fault::after(Call::CreateAuthentication, FaultKind::DelayMs(600_000)), 1),
    ] {
        world.add_fault(fault);
        let asked = world.requests(Call::CreateAuthentication);
        let sent = create(&tray, &token);
        let arrived = async {
            while world.requests(Call::CreateAuthentication) == asked || world.creations().len() < made {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            answer = sent => panic!("{answer:?}"),
            () = arrived => {}
        }
        assert_eq!(world.creations().len(), made);
    }
}

#[tokio::test]
async fn an_internal_error_of_graphql_comes_with_200_and_its_data() {
    let tray = Tray::start().await;
    let list = "{ viewer { authentications { edges { cursor } } } }";
    tray.world().add_fault(Fault::before(Call::ListAuthentications, FaultKind::InternalError));
    let answer = tray.graphql(&tray.api_user(), list, json!({})).await;
    assert_eq!((answer.status, answer.graphql_error().0.as_str()), (StatusCode::OK, "InternalError"));
    assert!(answer.json()["errors"][0]["extensions"]["errorId"].is_string());
    assert_eq!(answer.json()["data"], Value::Null);

    tray.world().add_fault(Fault { call: None, ..Fault::after(Call::Unknown, FaultKind::InternalError) });
    let answer = tray.graphql(&tray.api_user(), list, json!({})).await.json();
    assert!(answer["errors"].is_array() && answer["data"]["viewer"].is_object());
}

#[tokio::test]
async fn answers_that_must_not_be_trusted_are_what_they_say() {
    let tray = Tray::start().await;
    let world = tray.world();
    let get = async |kind| {
        world.add_fault(Fault::before(Call::ReadAuthentication, kind));
        let url = format!("{}/core/v1/authentications/{}", tray.emulator.api_url(), Uuid::nil());
        tray.client.get(url).bearer_auth(tray.master()).send().await.unwrap()
    };
    let wrong: Value = serde_json::from_slice(&get(FaultKind::WrongType).await.bytes().await.unwrap()).unwrap();
    assert_eq!(wrong["elements"], QUOTED);

    let packed = get(FaultKind::Gzip).await;
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    let packed = packed.bytes().await.unwrap();
    assert!(packed.starts_with(&[0x1f, 0x8b]) && packed.len() < 256 << 10);

    let huge = get(FaultKind::Huge).await;
    assert!(huge.headers().get("content-length").is_none());
    assert!(serde_json::from_slice::<Value>(&huge.bytes().await.unwrap()).is_ok());

    let begun = tokio::time::Instant::now();
    let slow = get(FaultKind::SlowBody).await.bytes().await.unwrap();
    assert!(serde_json::from_slice::<Value>(&slow).unwrap()["message"].is_string());
    assert!(begun.elapsed().as_millis() >= 20 * slow.len() as u128);
}
