//! Whatever bytes a caller sends, it is answered or its connection is closed, and no secret that it may not read leaves.

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::*;
use crate::{
    authentication::{Metadata, Owner},
    socket::{
        connection::{self, Limits},
        stream::Stream,
    },
    task::Tasks,
    vault::Write,
};

/// A caller's end, and the daemon's.
fn pair() -> (UnixStream, Stream) {
    let (near, far) = UnixStream::pair().unwrap();
    (near, Stream::new(far.into_std().unwrap()).unwrap())
}

const SECRET: &str = "a-secret-that-nobody-may-read";

/// Requests of every kind, well-formed.
fn wellformed() -> impl Strategy<Value = Vec<u8>> {
    let path = prop_oneof![
        Just("/v1/status".to_owned()),
        Just("/v1/authentications?owner=%00&service=a".to_owned()),
        Just(format!("/v1/authentications/{}/full?field=/credentials", Uuid::nil())),
        Just(format!("/v1/authentications/{}/refresh?rejected=1", Uuid::nil())),
        Just("/v1/ingest/plan".to_owned()),
        Just("/v1/ingest/rejected/a%2fb".to_owned()),
        Just("/v1/unlock?kind=passphrase".to_owned()),
        "/[ -~]{0,40}",
    ];
    let method = prop_oneof![Just("GET"), Just("POST"), Just("HEAD"), Just("OPTIONS"), Just("get")];
    let headers = prop::collection::vec("[A-Za-z-]{1,12}: [ -~]{0,20}\r\n", 0..4);
    let body = prop::option::of(prop::collection::vec(any::<u8>(), 0..200));
    (method, path, headers, body, any::<bool>()).prop_map(|(method, path, headers, body, is_chunked)| {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{}", headers.concat()).into_bytes();
        match body {
            None => request.extend_from_slice(b"\r\n"),
            Some(body) if is_chunked => {
                request.extend_from_slice(format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len()).as_bytes());
                request.extend_from_slice(&body);
                request.extend_from_slice(b"\r\n0\r\n\r\n");
            }
            Some(body) => {
                request.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
                request.extend_from_slice(&body);
            }
        }
        request
    })
}

/// The same with bytes of it changed, cut out or added; or no request at all.
fn malformed() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0..3_u8);
    let changed = (prop::collection::vec(wellformed(), 1..4), prop::collection::vec(change, 0..6));
    let changed = changed.prop_map(|(requests, changes)| {
        let mut bytes = requests.concat();
        for (at, byte, kind) in changes {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => bytes.truncate(at + 1),
            }
        }
        bytes
    });
    prop_oneof![9 => changed, 1 => prop::collection::vec(any::<u8>(), 0..500)]
}

#[test]
fn whatever_is_sent_is_answered_or_closed_and_no_secret_leaves() {
    // Where nothing happens any more, time passes at once: what waits for a caller ends all the same.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let _in_it = runtime.enter();
    // It may ask, and have everything refused.
    let host =
        Host::new("[[access.rules]]\nname = \"r\"\nusers = [\"1000\"]\ngrants = [\"metadata\", \"refresh\", \"sync\"]");
    let id = crate::authentication::AuthenticationId(Uuid::nil());
    let metadata =
        Metadata { id, name: "a".into(), owner: Owner::Workspace, service: None, environment: None, scopes: None };
    let (at, body) = (jiff::Timestamp::now(), format!("{{\"credentials\":\"{SECRET}\"}}"));
    let pulled = Write::Pulled {
        id,
        asked_in: u64::MAX,
        body: SecretBytes::new(body.into_bytes()),
        fetched_at: at,
        expires_at: None,
    };
    runtime.block_on(host.api.cache.write(vec![Write::Listed { metadata, at }, pulled])).unwrap();
    let (routes, tasks) = (Routes::new(Arc::clone(&host.api)), Tasks::default());
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&(malformed(), any::<bool>()), |(bytes, hangs_up)| {
        let answer = runtime.block_on(async {
            let (mut near, far) = pair();
            near.write_all(&bytes).await.unwrap();
            if hangs_up {
                near.shutdown().await.unwrap();
            }
            connection::serve(far, caller, routes.clone(), tasks.shutdown(), Limits::default()).await;
            let mut answer = Vec::new();
            near.read_to_end(&mut answer).await.unwrap();
            answer
        });
        let answer = String::from_utf8_lossy(&answer);
        prop_assert!(answer.is_empty() || answer.starts_with("HTTP/1."), "{answer}");
        prop_assert!(!answer.contains(SECRET));
        prop_assert!(!answer.contains(" 500 "), "{answer}");
        Ok(())
    });
    outcome.unwrap();
}

/// Connections end at once where nobody waits for their answers any more: they would take the places of those who do.
#[tokio::test(start_paused = true)]
async fn who_hangs_up_while_it_waits_is_let_go() {
    // Nobody answers what is asked of ingest.
    let host = Host::new(&ALL.replace("\"read\"", "\"metadata\""));
    let (routes, tasks) = (Routes::new(Arc::clone(&host.api)), Tasks::default());
    for (path, says_so) in
        [format!("/v1/ingest/{INTENT}"), "/v1/events".to_owned()].iter().flat_map(|path| [(path, false), (path, true)])
    {
        let (mut near, far) = pair();
        let (routes, shutdown) = (routes.clone(), tasks.shutdown());
        let serving = tokio::spawn(connection::serve(far, caller, routes, shutdown, Limits::default()));
        near.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
        if says_so {
            near.shutdown().await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!serving.is_finished(), "{path}, {says_so}: the caller waits");
        let hung_up = tokio::time::Instant::now();
        drop(near);
        serving.await.unwrap();
        assert!(hung_up.elapsed() <= Duration::from_secs(1), "{path}, {says_so}");
    }
}
