//! The cache over a real file.

mod flips;
mod resealing;
mod schedule;
mod tampering;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use jiff::Timestamp;
use rusqlite::Connection;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::authentication::{Environment, Service, ServiceEnvironmentId};
use crate::secret::SecretBytes;
use crate::vault::database::DatabaseError;
use crate::vault::keyring::tests::keyring;

/// A cache in a directory of its own, with the fixtures of these tests.
struct Fixture {
    dir: TempDir,
    cache: Cache,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cache = reopen(&dir).unwrap();
        Self { dir, cache }
    }

    /// A cache with authentication 1 pulled and 2 listed, both of `alice`.
    async fn with_two() -> Self {
        let this = Self::new();
        let batch = vec![
            listed(metadata(1, "alice", "salesforce")),
            listed(metadata(2, "alice", "slack")),
            pulled(1, "canary-secret-one"),
        ];
        this.cache.write(batch).await.unwrap();
        this
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("cache.db")
    }

    /// What somebody with write access to the file does to it.
    fn tamper(&self, sql: &str) {
        assert_ne!(Connection::open(self.path()).unwrap().execute(sql, []).unwrap(), 0);
        self.look_anew();
    }

    /// Has the next reads see what another did to the file, as they do within a second.
    fn look_anew(&self) {
        drop(self.cache.0.readers.change());
    }

    fn record(&self, number: u128) -> Record {
        self.cache.record(id(number)).unwrap().unwrap()
    }

    fn secret(&self, number: u128) -> Option<String> {
        let found = self.cache.secret(id(number)).unwrap();
        found.map(|secret| String::from_utf8(secret.body.expose_secret().to_vec()).unwrap())
    }

    /// The same where it may be damaged.
    fn secret_or_none(&self, number: u128) -> Option<String> {
        let found = self.cache.secret(id(number)).ok()??;
        Some(String::from_utf8(found.body.expose_secret().to_vec()).unwrap())
    }

    /// Everything the cache has on disk, the write-ahead log included.
    fn bytes_on_disk(&self) -> Vec<u8> {
        let names = ["cache.db", "cache.db-wal", "cache.db-shm"];
        names.iter().filter_map(|name| fs::read(self.dir.path().join(name)).ok()).flatten().collect()
    }
}

/// Opens the cache in a directory, with the keys of these tests.
fn reopen(dir: &TempDir) -> Result<Cache, CacheError> {
    open_with(dir, Arc::new(keyring(&[1])))
}

fn open_with(dir: &TempDir, keyring: Arc<Keyring>) -> Result<Cache, CacheError> {
    Cache::open(&dir.path().join("cache.db"), keyring, Continuity::default(), Arc::default())
}

fn id(number: u128) -> AuthenticationId {
    AuthenticationId(Uuid::from_u128(number))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn owner(user: &str) -> Owner {
    Owner::EndUser {
        user_id: UserId(format!("tray-{user}")),
        external_user_id: ExternalUserId(format!("external-{user}")),
    }
}

fn metadata(number: u128, user: &str, service: &str) -> Metadata {
    Metadata {
        id: id(number),
        name: format!("canary-name-{number}"),
        owner: owner(user),
        service: Some(Service { name: service.into(), version: "4".into() }),
        environment: Some(Environment { id: ServiceEnvironmentId("env-1".into()), title: "Production".into() }),
        scopes: None,
    }
}

fn listed(metadata: Metadata) -> Write {
    Write::Listed { metadata, at: at(1_000) }
}

fn pulled(number: u128, body: &str) -> Write {
    let body = SecretBytes::new(body.as_bytes().to_vec());
    Write::Pulled { id: id(number), asked_in: u64::MAX, body, fetched_at: at(2_000), expires_at: Some(at(9_000)) }
}

fn gone(number: u128) -> Write {
    Write::Gone { id: id(number), reason: GoneReason::DeletedUpstream, at: at(3_000) }
}

fn user(name: &str) -> EndUser {
    EndUser {
        id: UserId(format!("tray-{name}")),
        external_user_id: ExternalUserId(format!("external-{name}")),
        name: format!("canary-user-{name}"),
    }
}

fn damaged<T>(result: &Result<T, CacheError>, number: u128) -> bool {
    matches!(result, Err(CacheError::Damaged { id: damaged }) if *damaged == id(number))
}

/// A pull that asked in a generation.
fn asked_in(generation: u64, body: &str) -> Write {
    let Write::Pulled { id, body, fetched_at, expires_at, .. } = pulled(1, body) else { unreachable!() };
    Write::Pulled { id, asked_in: generation, body, fetched_at, expires_at }
}

#[tokio::test]
async fn what_is_held_is_what_was_written_last() {
    let fixture = Fixture::with_two().await;
    let held = |number| {
        let held = fixture.cache.held(id(number)).unwrap().unwrap();
        let opened = held.sealed.map(|sealed| fixture.cache.open_secret(&sealed).unwrap().body);
        (held.record.state, opened.map(|body| String::from_utf8(body.expose_secret().to_vec()).unwrap()))
    };
    let full = |body: &str| (State::Full, Some(body.to_owned()));
    for _ in 0..2 {
        assert_eq!([held(1), held(2)], [full("canary-secret-one"), (State::Pending, None)]);
    }
    fixture.cache.write(vec![pulled(1, "another"), pulled(2, "canary-secret-two")]).await.unwrap();
    for _ in 0..2 {
        assert_eq!([held(1), held(2)], [full("another"), full("canary-secret-two")]);
    }
    fixture.cache.write(vec![gone(1)]).await.unwrap();
    assert_eq!([held(1), held(2)], [(State::Gone, None), full("canary-secret-two")]);
    fixture.cache.rebuild().await.unwrap();
    assert!(fixture.cache.held(id(2)).unwrap().is_none());
    assert!(fixture.cache.held(id(3)).unwrap().is_none());
}

#[tokio::test]
async fn what_does_not_open_is_quarantined_though_it_was_read_before() {
    let fixture = Fixture::with_two().await;
    assert!(fixture.cache.held(id(1)).unwrap().is_some());
    fixture.tamper("UPDATE authentications SET metadata = x'00' WHERE key = 1");
    assert!(matches!(fixture.cache.held(id(1)), Err(CacheError::Damaged { .. })));
    assert!(fixture.cache.goes_on().await);
    assert!(matches!(fixture.cache.held(id(1)), Err(CacheError::Damaged { .. })), "its metadata are gone");
    fixture.cache.write(vec![listed(metadata(1, "alice", "salesforce"))]).await.unwrap();
    assert!(fixture.cache.held(id(1)).unwrap().is_some_and(|held| held.sealed.is_none()));
}

#[tokio::test]
async fn a_pull_that_a_mark_has_overtaken_brings_nothing_back() {
    for state in [State::Pending, State::NotPermitted] {
        let fixture = Fixture::with_two().await;
        let asked = fixture.cache.generation().unwrap();
        fixture.cache.write(vec![Write::Mark { id: id(1), state }]).await.unwrap();
        fixture.cache.write(vec![asked_in(asked, "from before")]).await.unwrap();
        assert_eq!(fixture.record(1).state, state);
        assert_ne!(fixture.secret(1).as_deref(), Some("from before"));
        let asked = fixture.cache.generation().unwrap();
        fixture.cache.write(vec![asked_in(asked, "from after")]).await.unwrap();
        assert_eq!(fixture.record(1).state, State::Full);
        assert_eq!(fixture.secret(1).as_deref(), Some("from after"));
    }
}

#[tokio::test]
async fn what_is_listed_and_pulled_is_found_again() {
    let fixture = Fixture::with_two().await;
    let record = fixture.record(1);
    assert_eq!(record.metadata, metadata(1, "alice", "salesforce"));
    assert_eq!((record.state, record.revision, record.gone), (State::Full, 1, None));
    assert_eq!(record.listed_at, at(1_000));
    assert_eq!((record.fetched_at, record.expires_at), (Some(at(2_000)), Some(at(9_000))));
    assert_eq!(fixture.secret(1).unwrap(), "canary-secret-one");

    let pending = fixture.record(2);
    assert_eq!((pending.state, pending.fetched_at), (State::Pending, None));
    assert_eq!(fixture.secret(2), None);
    assert!(fixture.cache.record(id(3)).unwrap().is_none());
}

#[tokio::test]
async fn it_is_all_there_after_a_restart_in_one_file() {
    let Fixture { dir, cache } = Fixture::with_two().await;
    // A reader is open, and idle.
    assert_eq!(cache.generation().unwrap(), 1);
    drop(cache);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the log was checked in");
    let cache = reopen(&dir).unwrap();
    assert_eq!(cache.generation().unwrap(), 1);
    assert_eq!(cache.secret(id(1)).unwrap().unwrap().body.expose_secret(), b"canary-secret-one");
    assert_eq!(cache.record(id(1)).unwrap().unwrap().metadata, metadata(1, "alice", "salesforce"));
}

#[tokio::test]
async fn each_batch_is_one_generation_and_all_or_nothing() {
    let Fixture { dir: _dir, cache } = Fixture::new();
    assert_eq!(cache.generation().unwrap(), 0);
    let batch = vec![listed(metadata(1, "alice", "slack")), listed(metadata(2, "bob", "slack"))];
    assert_eq!(cache.write(batch).await.unwrap(), 1);
    assert_eq!(cache.write(vec![]).await.unwrap(), 2);

    let failing = vec![gone(1), pulled(7, "of nobody")];
    let error = cache.write(failing).await.unwrap_err();
    assert!(matches!(error, CacheError::Unknown { id: unknown } if unknown == id(7)));
    assert_eq!(cache.generation().unwrap(), 2);
    assert_eq!(cache.record(id(1)).unwrap().unwrap().state, State::Pending);
}

#[tokio::test]
async fn listing_again_brings_metadata_up_to_date_and_keeps_the_secret() {
    let fixture = Fixture::with_two().await;
    let renamed = Metadata { name: "renamed".into(), ..metadata(1, "bob", "slack") };
    fixture.cache.write(vec![listed(renamed.clone())]).await.unwrap();
    let record = fixture.record(1);
    assert_eq!((record.metadata, record.state), (renamed, State::Full));
    assert_eq!(fixture.secret(1).unwrap(), "canary-secret-one");
}

#[tokio::test]
async fn not_permitted_destroys_the_secret_and_the_other_marks_keep_it() {
    let fixture = Fixture::with_two().await;
    for kept in [State::Pending, State::NotEnabled, State::Refused] {
        fixture.cache.write(vec![Write::Mark { id: id(1), state: kept }]).await.unwrap();
        assert_eq!(fixture.record(1).state, kept);
        assert_eq!(fixture.secret(1).unwrap(), "canary-secret-one");
    }
    let mark = Write::Mark { id: id(1), state: State::NotPermitted };
    fixture.cache.write(vec![mark]).await.unwrap();
    let record = fixture.record(1);
    assert_eq!((record.state, record.fetched_at), (State::NotPermitted, None));
    assert_eq!(fixture.secret(1), None);
}

#[tokio::test]
async fn a_mark_never_claims_what_only_a_pull_or_a_tombstone_gives() {
    let fixture = Fixture::with_two().await;
    for state in [State::Full, State::Gone] {
        let refused = fixture.cache.write(vec![Write::Mark { id: id(2), state }]).await;
        assert!(matches!(refused, Err(CacheError::NotAMark { .. })));
    }
    let never_listed = Write::Mark { id: id(9), state: State::Pending };
    fixture.cache.write(vec![never_listed, gone(9)]).await.unwrap();
    assert!(fixture.cache.record(id(9)).unwrap().is_none());
}

#[tokio::test]
async fn a_tombstone_keeps_metadata_without_the_secret_until_it_is_listed_again() {
    let fixture = Fixture::with_two().await;
    let overtaken = pulled(1, "pulled before it was deleted");
    let mark = Write::Mark { id: id(1), state: State::Pending };
    fixture.cache.write(vec![gone(1), overtaken, mark]).await.unwrap();
    let record = fixture.record(1);
    assert_eq!((record.state, record.gone), (State::Gone, Some(GoneReason::DeletedUpstream)));
    assert_eq!(record.metadata.name, "canary-name-1");
    assert_eq!(fixture.secret(1), None);

    fixture.cache.write(vec![listed(record.metadata)]).await.unwrap();
    let revived = fixture.record(1);
    assert_eq!((revived.state, revived.gone, revived.revision), (State::Pending, None, 1));
    assert_eq!(fixture.secret(1), None);
    fixture.cache.write(vec![pulled(1, "new")]).await.unwrap();
    assert_eq!(fixture.record(1).revision, 2, "no revision is used twice");
}

#[tokio::test]
async fn a_destroyed_secret_is_not_left_in_the_file() {
    let Fixture { dir, cache } = Fixture::with_two().await;
    let path = dir.path().join("cache.db");
    let column = "SELECT secret FROM authentications WHERE secret IS NOT NULL";
    let sealed: Vec<u8> = Connection::open(&path).unwrap().query_row(column, [], |row| row.get(0)).unwrap();
    cache.write(vec![gone(1)]).await.unwrap();
    drop(cache);
    let bytes = fs::read(&path).unwrap();
    let piece = &sealed[8..24];
    assert!(!bytes.windows(piece.len()).any(|window| window == piece));
}

#[tokio::test]
async fn a_list_selects_by_owner_and_service_and_leaves_tombstones_out() {
    let fixture = Fixture::with_two().await;
    let batch = vec![
        listed(metadata(3, "bob", "slack")),
        listed(metadata(4, "bob", "slack")),
        gone(4),
        listed(Metadata { service: None, owner: Owner::Workspace, ..metadata(5, "", "") }),
    ];
    fixture.cache.write(batch).await.unwrap();
    let numbers = |owner_key: Option<&str>, service: Option<&str>, include_gone| {
        let (owner_key, service) = (owner_key.map(Into::into), service.map(Into::into));
        let listing = fixture.cache.list(&Filter { owner_key, service, include_gone, ..Filter::default() }).unwrap();
        assert_eq!(listing.damaged, []);
        let ids = listing.records.iter().map(|record| record.metadata.id.0.as_u128());
        let mut numbers: Vec<_> = ids.collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(numbers(None, None, false), [1, 2, 3, 5]);
    assert_eq!(numbers(None, None, true), [1, 2, 3, 4, 5]);
    assert_eq!(numbers(None, Some("slack"), false), [2, 3]);
    assert_eq!(numbers(Some("tray-alice"), None, false), [1, 2]);
    assert_eq!(numbers(Some("tray-bob"), Some("slack"), true), [3, 4]);
    assert_eq!(numbers(Some("workspace"), None, false), [5]);
    assert_eq!(numbers(Some("tray-bob"), Some("salesforce"), true), []);
}

#[tokio::test]
async fn counts_are_by_state() {
    let fixture = Fixture::with_two().await;
    let batch = vec![
        listed(metadata(3, "bob", "slack")),
        listed(metadata(4, "bob", "slack")),
        listed(metadata(5, "bob", "slack")),
        listed(metadata(6, "bob", "slack")),
        Write::Mark { id: id(3), state: State::NotPermitted },
        Write::Mark { id: id(4), state: State::NotEnabled },
        Write::Mark { id: id(5), state: State::NotEnabled },
        gone(6),
        Write::User(user("alice")),
    ];
    fixture.cache.write(batch).await.unwrap();
    let expected =
        Counts { full: 1, pending: 1, not_permitted: 1, not_enabled: 2, gone: 1, damaged: 0, refused: 0, users: 1 };
    assert_eq!(fixture.cache.counts().unwrap(), expected);
}

#[tokio::test]
async fn users_are_found_by_either_id_and_keep_their_token() {
    let Fixture { dir: _dir, cache } = Fixture::new();
    let token = Write::UserToken {
        user: user("alice").id,
        token: SecretString::new("canary-token".into()),
        expires_at: at(172_800),
    };
    let batch = vec![Write::User(user("alice")), Write::User(user("bob")), token];
    cache.write(batch).await.unwrap();
    assert_eq!(cache.user(&user("alice").id).unwrap(), Some(user("alice")));
    assert_eq!(cache.user(&UserId("nobody".into())).unwrap(), None);

    let moved = EndUser { external_user_id: ExternalUserId("moved".into()), ..user("alice") };
    cache.write(vec![Write::User(moved.clone())]).await.unwrap();
    assert_eq!(cache.user_by_external_id(&moved.external_user_id).unwrap(), Some(moved));
    assert_eq!(cache.user_by_external_id(&user("alice").external_user_id).unwrap(), None);
    assert_eq!(cache.users().unwrap().len(), 2);

    let held = |name| cache.user_token(&user(name).id).unwrap();
    let (token, expires_at) = held("alice").unwrap();
    assert_eq!((token.expose_secret(), expires_at), ("canary-token", at(172_800)));
    assert!(held("bob").is_none());

    cache.write(vec![Write::ForgetUserToken(user("alice").id)]).await.unwrap();
    assert!(held("alice").is_none());
    cache.write(vec![Write::RemoveUser(user("alice").id)]).await.unwrap();
    assert_eq!(cache.user(&user("alice").id).unwrap(), None);
    assert_eq!(cache.users().unwrap(), [user("bob")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_and_writers_do_not_wait_for_each_other() {
    let fixture = Fixture::with_two().await;
    let writers = (0..4).map(|number| {
        let cache = fixture.cache.clone();
        tokio::spawn(async move {
            for _ in 0..25 {
                cache.write(vec![pulled(1, &format!("secret {number}"))]).await.unwrap();
                let secret = cache.secret(id(1)).unwrap().unwrap();
                assert!(secret.body.expose_secret().starts_with(b"secret "));
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(fixture.record(1).revision, 101);
    assert_eq!(fixture.cache.generation().unwrap(), 101);
}
