//! A point read of a secret: from plain SQLite, from trayvault's cache, and from SQLCipher.
//!
//! Each reads 1 KB by an integer key through a prepared and cached statement on a connection with the same settings.
//! The cache derives the value's own key (XAES-256-GCM), opens it and wipes it again.
//!
//! SQLCipher decrypts a page when it is read into the page cache, and never again while it stays there. So there are
//! two cases: *hot* reads few ids, whose pages stay in every page cache, and SQLCipher then reads plaintext; *all*
//! reads from the whole file, which is hundreds of times the page cache, and SQLCipher decrypts for nearly every read. The
//! file itself is in the kernel's memory in both.

use std::{hint::black_box, path::Path, time::Duration};

use criterion::{Criterion, Throughput};
use rusqlite::{Connection, OpenFlags, config::DbConfig, params};
use trayvault::{
    authentication::AuthenticationId,
    crypto::random_key,
    vault::{self, NewSlot},
};
use trayvault_benches::{BODY_LEN, Corpus, compare, file_len, open, ratio};

const RECORDS: usize = 1_000_000;
const OWNERS: usize = 2_000;
/// How many ids are hot: in every database their pages fit in the page cache.
const HOT: usize = 100;

/// Trayvault's answer takes at most so many times plain SQLite's.
const MOST_OF_PLAIN: f64 = 2.0;
/// SQLCipher's takes at least so many times trayvault's.
const LEAST_OF_SQLCIPHER: f64 = 3.0;

const ROUNDS: usize = 40;
const READS_A_ROUND: usize = 5_000;

/// Any raw key: it spares SQLCipher its key derivation, which is not what is measured.
const RAW_KEY: &str = "x'2DD29CA851E7B56E4697B0E1F08507293D761A05CE4D1B628663F411A8086D99'";

/// A table of one value a row, in plain or under SQLCipher.
struct Table(Connection);

impl Table {
    /// Filled in the order in which the cache is.
    fn fill(path: &Path, key: Option<&str>, page_size: i64, corpus: &Corpus) -> Self {
        let mut db = Connection::open(path).expect("a database");
        if let Some(key) = key {
            db.pragma_update(None, "key", key).expect("a key");
        } else {
            db.pragma_update(None, "page_size", page_size).expect("a page size");
        }
        db.pragma_update(None, "journal_mode", "WAL").expect("a write-ahead log");
        db.execute_batch("CREATE TABLE secrets (key INTEGER PRIMARY KEY, secret BLOB NOT NULL) STRICT")
            .expect("a table");
        let transaction = db.transaction().expect("a transaction");
        for (number, id) in corpus.ids().iter().enumerate() {
            let sql = "INSERT INTO secrets (key, secret) VALUES (?1, ?2)";
            let mut insert = transaction.prepare_cached(sql).expect("a statement");
            insert.execute(params![row_key(*id), corpus.body(number)]).expect("a row");
        }
        transaction.commit().expect("a commit");
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("the log is checked in");
        drop(db);
        Self(reader(path, key))
    }

    fn secret(&self, id: AuthenticationId) -> Vec<u8> {
        let sql = "SELECT secret FROM secrets WHERE key = ?1";
        let mut select = self.0.prepare_cached(sql).expect("a statement");
        select.query_row([row_key(id)], |row| row.get(0)).expect("a row")
    }
}

/// A connection as the cache's readers are set up.
fn reader(path: &Path, key: Option<&str>) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).expect("a database");
    if let Some(key) = key {
        db.pragma_update(None, "key", key).expect("a key");
    }
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).expect("a setting");
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).expect("a setting");
    db.pragma_update(None, "cell_size_check", true).expect("a setting");
    db
}

/// As the cache makes an integer key of an id.
fn row_key(id: AuthenticationId) -> i64 {
    let (high, low) = id.0.as_u64_pair();
    (high ^ low).cast_signed()
}

fn main() {
    let corpus = Corpus::new(RECORDS, OWNERS);
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);

    let key = random_key().expect("a key");
    let unlocked = vault::create(directory.path(), &[NewSlot::Raw { key: &key }]).expect("a vault");
    let keyring = unlocked.into_keyring();
    let cache = open(&path("cache.db"), &keyring);
    corpus.fill(&cache, 1_000);
    // Whatever is in the write-ahead log is checked in, as it is for the other two.
    drop(cache);
    let page_size = Connection::open(path("cache.db"))
        .and_then(|db| db.pragma_query_value(None, "page_size", |row| row.get(0)))
        .expect("a page size");
    let cache = open(&path("cache.db"), &keyring);

    let plain = Table::fill(&path("plain.db"), None, page_size, &corpus);
    let sqlcipher = Table::fill(&path("sqlcipher.db"), Some(RAW_KEY), page_size, &corpus);
    let cipher: String = sqlcipher.0.query_row("PRAGMA cipher_version", [], |row| row.get(0)).expect("SQLCipher");
    println!("SQLite {}, SQLCipher {cipher}; {RECORDS} records of {BODY_LEN} bytes", rusqlite::version());
    for name in ["plain.db", "cache.db", "sqlcipher.db"] {
        println!("{name}: {} KiB", file_len(&path(name)) / 1024);
    }
    for (number, id) in corpus.ids().iter().enumerate().take(HOT) {
        let body = corpus.body(number);
        assert_eq!(plain.secret(*id), body);
        assert_eq!(sqlcipher.secret(*id), body);
        assert_eq!(cache.secret(*id).expect("a read").expect("a record").body.expose_secret(), body);
    }

    let mut criterion = Criterion::default().measurement_time(Duration::from_secs(3)).configure_from_args();
    for (case, ids) in [("hot", &corpus.ids()[..HOT]), ("all", corpus.ids())] {
        let mut group = criterion.benchmark_group(case);
        group.throughput(Throughput::Elements(1));
        let mut random = fastrand::Rng::with_seed(2);
        let mut any = || ids[random.usize(..ids.len())];
        group.bench_function("plain", |bencher| bencher.iter(|| plain.secret(any())));
        group.bench_function("trayvault", |bencher| bencher.iter(|| cache.secret(any())));
        group.bench_function("sqlcipher", |bencher| bencher.iter(|| sqlcipher.secret(any())));
        group.finish();
    }

    println!("The fastest of {ROUNDS} rounds of {READS_A_ROUND} reads, in turns:");
    for (case, ids) in [("hot", &corpus.ids()[..HOT]), ("all", corpus.ids())] {
        let mut random = fastrand::Rng::with_seed(3);
        let reads: Vec<_> = (0..READS_A_ROUND).map(|_| ids[random.usize(..ids.len())]).collect();
        let each = |read: &dyn Fn(AuthenticationId)| reads.iter().copied().for_each(read);
        let [plain, trayvault, sqlcipher] = compare(
            ROUNDS,
            [
                &mut || each(&|id| drop(black_box(plain.secret(id)))),
                &mut || each(&|id| drop(black_box(cache.secret(id)))),
                &mut || each(&|id| drop(black_box(sqlcipher.secret(id)))),
            ],
        );
        let a_read = |round: Duration| round / u32::try_from(READS_A_ROUND).expect("a small number");
        println!(
            "{case}: plain {:?}, trayvault {:?}, sqlcipher {:?}",
            a_read(plain),
            a_read(trayvault),
            a_read(sqlcipher)
        );
        println!("{case}: trayvault / plain = {:.2} (target: at most {MOST_OF_PLAIN})", ratio(trayvault, plain));
        println!(
            "{case}: sqlcipher / trayvault = {:.2} (target: at least {LEAST_OF_SQLCIPHER})",
            ratio(sqlcipher, trayvault)
        );
    }
    criterion.final_summary();
}
