//! A million authentications: how large the file is, how soon the daemon is ready on it and in how much memory, and
//! whether a listing pays for what it doesn't return.
//!
//! `TRAYVAULT` names the release binary. `RECORDS` sets another number of authentications, for a quick look.

use std::{
    env, fs,
    os::unix::net::UnixDatagram,
    thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use trayvault::vault::{Cache, Filter};
use trayvault_benches::{
    BODY_LEN, Corpus, file_len,
    house::{Daemon, House},
    open_vault,
};

const RECORDS: usize = 1_000_000;
const OWNERS: usize = 2_000;
const BATCH: usize = 10_000;

const MOST_OF_PLAINTEXT: f64 = 1.3;
const SOONEST: Duration = Duration::from_millis(500);
const MOST_MEMORY_MIB: f64 = 64.0;

const STARTS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let records = env::var("RECORDS").map_or(RECORDS, |number| number.parse().expect("RECORDS is a number"));
    let house = House::new(None, "");

    let corpus = Corpus::new(records, OWNERS);
    let cache = open_vault(&house);
    let start = Instant::now();
    corpus.fill(&cache, BATCH);
    println!("{records} authentications written in {:.1?}", start.elapsed());
    // The last one to go checks the write-ahead log in.
    drop(cache);
    report_size(&house, &corpus);
    for number in 0..STARTS {
        report_start(&house, number == 0);
    }
    report_listing(&open_vault(&house), &corpus);
}

#[expect(clippy::cast_precision_loss, reason = "sizes for people to read")]
fn report_size(house: &House, corpus: &Corpus) {
    let metadata = |number| serde_json::to_vec(&corpus.metadata(number)).expect("JSON").len();
    let metadata: usize = (0..corpus.ids().len()).map(metadata).sum();
    let bodies = corpus.ids().len() * BODY_LEN;
    let path = house.path("state/cache.db");
    assert!(!house.path("state/cache.db-wal").exists(), "the log was checked in");
    let file = file_len(&path) as f64;
    let mib = |bytes: f64| bytes / (1024.0 * 1024.0);
    let (plaintext, bodies) = ((metadata + bodies) as f64, bodies as f64);
    println!("plaintext: {:.0} MiB, of which bodies {:.0} MiB", mib(plaintext), mib(bodies));
    println!("cache.db: {:.0} MiB", mib(file));
    println!("file / plaintext = {:.3} (target: at most {MOST_OF_PLAINTEXT})", file / plaintext);
    println!("file / bodies = {:.3}", file / bodies);
    let db = Connection::open(path).expect("a database");
    let sql = "SELECT name, sum(pgsize), sum(payload), sum(unused) FROM dbstat GROUP BY name HAVING sum(pgsize) > 1e6";
    let mut statement = db.prepare(sql).expect("a statement");
    let mut rows = statement.query([]).expect("a query");
    while let Some(row) = rows.next().expect("a row") {
        let size = |column| mib(row.get::<_, i64>(column).expect("a size") as f64);
        let name: String = row.get(0).expect("a name");
        println!("  {name}: {:.0} MiB, payload {:.0} MiB, unused {:.0} MiB", size(1), size(2), size(3));
    }
}

/// Time from the daemon's start to its word to systemd, and its memory then and after a while.
fn report_start(house: &House, with_memory: bool) {
    let notify = house.path("notify");
    let _ = fs::remove_file(&notify);
    let systemd = UnixDatagram::bind(&notify).expect("a socket");
    systemd.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let start = Instant::now();
    let daemon = Daemon::new(house.command("run").env("NOTIFY_SOCKET", &notify).spawn().expect("the daemon starts"));
    let mut message = [0; 1024];
    loop {
        let len = systemd.recv(&mut message).expect("the daemon becomes ready");
        if message[..len].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
            break;
        }
    }
    let ready = start.elapsed();
    let memory = daemon.resident_mib();
    println!("ready after {ready:.1?} (target: under {SOONEST:?}), {memory:.1} MiB resident");
    if with_memory {
        thread::sleep(Duration::from_secs(5));
        println!("5 s later {:.1} MiB resident (target: under {MOST_MEMORY_MIB} MiB)", daemon.resident_mib());
    }
}

#[expect(clippy::cast_precision_loss, reason = "a time a record")]
fn report_listing(cache: &Cache, corpus: &Corpus) {
    let owner = corpus.owner(0).key().to_owned();
    let service = corpus.service(0).to_owned();
    let filters = [
        ("one owner", Filter { owner_key: Some(owner.clone()), ..Filter::default() }),
        (
            "an owner's of one service",
            Filter { owner_key: Some(owner), service: Some(service.clone()), ..Filter::default() },
        ),
        ("one service", Filter { service: Some(service), ..Filter::default() }),
        ("everything", Filter::default()),
    ];
    let start = Instant::now();
    let counts = cache.counts().expect("counts");
    println!("counts in {:.1?}: {counts:?}", start.elapsed());
    for (name, filter) in filters {
        let list = || {
            let start = Instant::now();
            let listing = cache.list(&filter).expect("a listing");
            assert_eq!(listing.damaged, []);
            (start.elapsed(), listing.records.len())
        };
        let (first, count) = list();
        let again = list().0.min(list().0);
        println!(
            "list of {name}: {count} records in {first:.1?}, then {again:.1?}, {:.2} µs a record",
            again.as_secs_f64() * 1e6 / count as f64
        );
    }
}
