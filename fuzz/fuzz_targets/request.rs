//! Whatever a caller sends to `api.sock`.

#![no_main]

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::{fs::MetadataExt, net::UnixStream},
    path::PathBuf,
    sync::{Arc, LazyLock},
    time::Duration,
};

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use tokio::{
    runtime::Runtime,
    sync::{Mutex, Notify, mpsc, watch},
};
use trayvault::{
    audit::AuditLog,
    authentication::{AuthenticationId, Metadata, Owner},
    config,
    crypto::random_key,
    custody::Custody,
    feed::Feed,
    freshness::Freshness,
    metrics::Metrics,
    policy::{self, Policy},
    principals::{Principals, Tokens},
    requests::Requests,
    secret::SecretBytes,
    socket::{Access, Api, Endpoint, Refusals, Server},
    status::Board,
    stores::{self, Stores},
    task::Tasks,
    tray::{self, Tray},
    vault::{self, NewSlot, Write as Change},
};

const SECRET: &str = "a-secret-that-nobody-may-read";

/// A server that runs as long as the fuzzer does.
static SOCKET: LazyLock<(PathBuf, Runtime, Tasks, TempDir)> = LazyLock::new(start);

fn start() -> (PathBuf, Runtime, Tasks, TempDir) {
    let runtime = Runtime::new().expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("api.sock");
    let uid = directory.path().metadata().expect("a directory").uid();
    let mut tasks = Tasks::default();
    let entered = runtime.enter();
    let endpoint = Endpoint::bind(&socket, Access::OwnUser).expect("a socket");
    let server = Server::new(endpoint, Arc::new(api(&directory, uid, &runtime)));
    let shutdown = tasks.shutdown();
    tasks.spawn("socket", server.run(shutdown));
    drop(entered);
    (socket, runtime, tasks, directory)
}

fn api(directory: &TempDir, uid: u32, runtime: &Runtime) -> Api {
    let key = random_key().expect("a key");
    let unlocked = vault::create(directory.path(), &[NewSlot::Raw { key: &key }]).expect("a vault");
    let audit = AuditLog::create(directory.path(), unlocked.audit_key()).expect("a log");
    let keyring = unlocked.into_keyring();
    let tray = Tray::new(&tray::Config { offline: true, ..tray::Config::default() }).expect("a client");
    let board = Board::new(jiff::Timestamp::now(), {
        let tray = tray.clone();
        move || tray.standing()
    });
    let Stores { cache, journal } = stores::open(directory.path(), &keyring, &audit, &board, false).expect("databases");
    let id = AuthenticationId(uuid::Uuid::from_u128(7));
    let metadata = Metadata {
        id,
        name: "any".to_owned(),
        owner: Owner::Workspace,
        service: None,
        environment: None,
        scopes: None,
    };
    let at = jiff::Timestamp::now();
    let body = SecretBytes::new(format!("{{\"credentials\":\"{SECRET}\"}}").into_bytes());
    let pulled = Change::Pulled { id, asked_in: u64::MAX, body, fetched_at: at, expires_at: None };
    let changes = vec![Change::Listed { metadata, at }, pulled];
    runtime.block_on(cache.write(changes)).expect("a change");
    let rules = format!(
        "[[pull.rules]]\nname = \"all\"\neffect = \"allow\"\n[[access.rules]]\nname = \"some\"\nusers = [\"{uid}\"]\n\
         grants = [\"metadata\", \"refresh\", \"sync\"]"
    );
    let rules: policy::Config = toml::from_str(&rules).expect("rules");
    let policy = Policy::new(&rules, |name| name.parse().ok(), |name| name.parse().ok(), uid).expect("a policy");
    let custody = Custody {
        state_directory: directory.path().to_owned(),
        unlock: config::Unlock::Prompt,
        tokens: config::Tokens::default(),
        keyring,
        principals: Principals::new(tray, cache.clone(), audit.clone(), Tokens::new(None, None)),
        cache: cache.clone(),
        journal,
        audit: audit.clone(),
        board: board.clone(),
        turn: Mutex::default(),
        rotated: Notify::default(),
    };
    let hour = Duration::from_secs(3_600);
    Api {
        cache,
        custody: Arc::new(custody),
        audit,
        policy: watch::channel(Arc::new(policy)).1,
        board,
        requests: Requests { cycles: mpsc::channel(1).0, parts: mpsc::channel(1).0, ingest: mpsc::channel(1).0 },
        freshness: watch::channel(Freshness { stale_after: hour, serve_stale_for: hour }).1,
        feed: Feed::default(),
        metrics: Metrics::default(),
        refusals: Refusals::default(),
        runtime: tokio::runtime::Handle::current(),
    }
}

/// Sends it, says that there is no more unless the caller waits for its answer, and reads to the end.
fn send(bytes: &[u8], waits: bool) -> Vec<u8> {
    let mut stream = UnixStream::connect(&SOCKET.0).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    // The server may close before all of it is written.
    let _ = stream.write_all(bytes);
    if !waits {
        // To the server that is a caller who may have gone.
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

fuzz_target!(|bytes: &[u8]| {
    // Who listens to events is answered for as long as it likes.
    if bytes.windows(6).any(|window| window == b"events") {
        return;
    }
    let answer = send(bytes, false);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "it is an answer");
    assert!(!answer.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()), "it holds no secret");
    let next = send(b"GET /v1/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", true);
    assert!(next.starts_with(b"HTTP/1.1 200 "), "the next caller is answered");
});
