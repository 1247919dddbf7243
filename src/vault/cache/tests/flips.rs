//! Every byte of a small cache flipped, every pair of rows swapped, every length cut: what is answered is what was put
//! there, or nothing.

use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering as Order};

use super::*;

/// How many authentications the small cache has, each with a secret of its own.
const COUNT: u128 = 6;

fn key(number: u128) -> i64 {
    schema::row_key(id(number))
}

fn secret_of(number: u128) -> String {
    format!("canary-secret-{number}")
}

/// A small cache in one file, as a daemon that has stopped leaves it.
async fn small() -> TempDir {
    let Fixture { dir, cache } = Fixture::new();
    for number in 1..=COUNT {
        let service = if number % 2 == 0 { "slack" } else { "salesforce" };
        let batch = vec![listed(metadata(number, "alice", service)), pulled(number, &secret_of(number))];
        cache.write(batch).await.unwrap();
    }
    let token = SecretString::new("canary-token".into());
    let token = Write::UserToken { user: user("alice").id, token, expires_at: at(172_800) };
    cache.write(vec![Write::User(user("alice")), token]).await.unwrap();
    drop(cache);
    // Small pages: little of the file is empty, and the sealed values overflow theirs.
    let db = Connection::open(dir.path().join("cache.db")).unwrap();
    db.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA page_size = 512; VACUUM").unwrap();
    dir
}

/// What a cache in an unknown state answers.
#[derive(Default)]
struct Answers {
    /// Secrets that are as they were put there.
    right: usize,
    /// Those that are refused, or not there.
    missing: usize,
}

/// Asks for everything there is; panics if anything is answered that was not put there.
fn ask_for_everything(cache: &Cache, what: &str) -> Answers {
    let mut answers = Answers::default();
    for number in 1..=COUNT {
        match cache.secret(id(number)) {
            Ok(Some(secret)) => {
                assert_eq!(secret.body.expose_secret(), secret_of(number).as_bytes(), "{what}");
                assert_eq!((secret.fetched_at, secret.expires_at), (at(2_000), Some(at(9_000))), "{what}");
                answers.right += 1;
            }
            Ok(None) | Err(_) => answers.missing += 1,
        }
        if let Ok(Some(record)) = cache.record(id(number)) {
            assert_eq!(record.metadata.name, format!("canary-name-{number}"), "{what}");
        }
    }
    if let Ok(Some((token, expires_at))) = cache.user_token(&user("alice").id) {
        assert_eq!((token.expose_secret(), expires_at), ("canary-token", at(172_800)), "{what}");
    }
    if let Ok(Some(found)) = cache.user(&user("alice").id) {
        assert_eq!(found, user("alice"), "{what}");
    }
    if let Ok(listing) = cache.list(&Filter { owner_key: Some("tray-alice".into()), ..Filter::default() }) {
        for record in listing.records {
            assert_eq!(record.metadata.owner, owner("alice"), "{what}");
        }
    }
    answers
}

/// How one damage went.
#[derive(Default)]
struct Tally {
    refused: AtomicUsize,
    opened: AtomicUsize,
    missing: AtomicUsize,
}

impl Tally {
    /// Opens a damaged cache in `dir` and asks for everything.
    fn take(&self, dir: &TempDir, what: &str) {
        match reopen(dir) {
            Ok(cache) => {
                self.opened.fetch_add(1, Order::Relaxed);
                let answers = ask_for_everything(&cache, what);
                assert_eq!(answers.right + answers.missing, 6, "{what}");
                self.missing.fetch_add(answers.missing, Order::Relaxed);
            }
            Err(error) => {
                // All of these are told as what they are; the last two can't be told from what they look like.
                let newer = matches!(error, CacheError::Database(DatabaseError::Newer { .. }));
                let known = error.is_file_damaged() || newer || matches!(error, CacheError::ForeignVault);
                assert!(known, "{what}: {error:?}");
                self.refused.fetch_add(1, Order::Relaxed);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_flipped_byte_is_ever_answered_as_a_secret() {
    let dir = small().await;
    let pristine = fs::read(dir.path().join("cache.db")).unwrap();
    assert_eq!(ask_for_everything(&reopen(&dir).unwrap(), "as it was").right, 6);
    let next = Mutex::new(0..pristine.len());
    let tally = Tally::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                // In memory where there is such a place: each of the many is opened as a daemon would, with syncs.
                let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
                let path = dir.path().join("cache.db");
                crate::system::files::private_file(&path).unwrap();
                while let Some(at) = { next.lock().unwrap().next() } {
                    for suffix in ["-wal", "-shm"] {
                        let _ = fs::remove_file(dir.path().join(format!("cache.db{suffix}")));
                    }
                    fs::write(&path, &pristine).unwrap();
                    let file = fs::File::options().write(true).open(&path).unwrap();
                    // Another bit of each byte than of its neighbours, so that every bit of a field is flipped somewhere.
                    file.write_all_at(&[pristine[at] ^ (1 << (at % 8))], at as u64).unwrap();
                    tally.take(&dir, &format!("byte {at}"));
                }
            });
        }
    });
    let Tally { refused, opened, missing } = tally;
    let (refused, opened, missing) = (refused.into_inner(), opened.into_inner(), missing.into_inner());
    println!("{} bytes flipped: {refused} files refused, {opened} opened, {missing} records missed", pristine.len());
    assert!(refused > 1_000 && missing > 500, "flips were noticed: {refused}, {missing}");
}

#[tokio::test]
async fn no_cut_off_file_is_ever_answered_as_a_secret() {
    let dir = small().await;
    let path = dir.path().join("cache.db");
    let pristine = fs::read(&path).unwrap();
    let tally = Tally::default();
    for length in (0..pristine.len()).step_by(509) {
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(dir.path().join(format!("cache.db{suffix}")));
        }
        fs::write(&path, &pristine[..length]).unwrap();
        tally.take(&dir, &format!("cut at {length}"));
    }
}

/// Every column that is sealed, swapped between every pair of rows, and each value between the columns of a row.
#[tokio::test]
async fn no_pair_of_rows_or_columns_can_be_swapped() {
    let swaps = |column: &'static str| {
        let pairs = (1..=COUNT).flat_map(|one| (one + 1..=COUNT).map(move |two| (one, two)));
        pairs.map(move |(one, two)| (column, one, two))
    };
    let whole = "key";
    for (column, one, two) in ["secret", "metadata", "revision, secret", whole].into_iter().flat_map(swaps) {
        let dir = small().await;
        let what = format!("{column} of {one} and {two}");
        let db = Connection::open(dir.path().join("cache.db")).unwrap();
        if column == whole {
            // The rows change places, ids and all the rest stay.
            db.execute("UPDATE authentications SET key = -1 WHERE key = ?1", [key(one)]).unwrap();
            db.execute("UPDATE authentications SET key = ?1 WHERE key = ?2", [key(one), key(two)]).unwrap();
            db.execute("UPDATE authentications SET key = ?1 WHERE key = -1", [key(two)]).unwrap();
        } else {
            let others = column.split(", ").map(|column| format!("{column} = other.{column}"));
            let sql = format!(
                "UPDATE authentications SET {} FROM (SELECT key, {column} FROM authentications) AS other \
                 WHERE other.key = ?1 + ?2 - authentications.key AND authentications.key IN (?1, ?2)",
                others.collect::<Vec<_>>().join(", ")
            );
            assert_eq!(db.execute(&sql, [key(one), key(two)]).unwrap(), 2);
        }
        drop(db);
        let cache = reopen(&dir).unwrap();
        if column == "metadata" {
            assert!(damaged(&cache.record(id(one)), one) && damaged(&cache.record(id(two)), two), "{what}");
        } else {
            let answers = ask_for_everything(&cache, &what);
            assert_eq!((answers.right, answers.missing), (4, 2), "{what}");
        }
    }
    let dir = small().await;
    let db = Connection::open(dir.path().join("cache.db")).unwrap();
    db.execute("UPDATE authentications SET metadata = secret, secret = metadata", []).unwrap();
    drop(db);
    let answers = ask_for_everything(&reopen(&dir).unwrap(), "columns");
    assert_eq!((answers.right, answers.missing), (0, 6));
}
