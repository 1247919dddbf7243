//! Damage, rollback, older and newer files, and disks that are full.

use std::{fs, io::Write, os::unix::fs::FileExt, path::Path, sync::Arc};

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::Value;
use trayvault::{
    config::Unlock,
    emulator::{Alteration, Call, Fault, FaultKind},
    unlock,
    vault::{Cache, Continuity, Locked},
};

use crate::support::{CANARY, Daemon, House, OPEN};

fn entries(house: &House, action: &str) -> Vec<Value> {
    let log = fs::read_to_string(house.path("state/audit/audit.jsonl")).expect("a log");
    let entries = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("an entry"));
    entries.filter(|entry| entry["action"] == action).collect()
}

fn full(house: &House, service: &str) -> (u16, Value) {
    let (status, answer) = house.get(&format!("/v1/authentications/{}/full", house.upstream(service).id));
    (status.as_u16(), answer)
}

fn problems(house: &House) -> String {
    house.get("/v1/status").1["problems"].to_string()
}

/// A house whose cache holds everything, and no daemon.
fn filled() -> House {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    daemon.stop();
    house
}

fn held(house: &House) -> Value {
    house.get("/v1/status").1["authentications"]["full"].clone()
}

fn wait_until_held(house: &House, daemon: &mut Daemon<'_>, count: u64) {
    daemon.wait("the cache to be filled", || (held(house) == count).then_some(()));
}

#[test]
fn a_damaged_record_is_quarantined_reported_and_pulled_again_and_stops_no_other() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    house.sync();
    let db = rusqlite::Connection::open(house.path("state/cache.db")).expect("a database");
    let id = house.upstream("slack").id;
    for column in ["secret", "metadata"] {
        house.world().add_fault(fault_of_every_full_read());
        let flip = format!("UPDATE authentications SET {column} = zeroblob(length({column})) WHERE id = ?1");
        assert_eq!(db.execute(&flip, [id.as_bytes()]).expect("tampered"), 1);
        let answer = daemon.wait("the damage to be seen", || {
            let (status, answer) = full(&house, "slack");
            (status != 200).then_some((status, answer["code"].clone()))
        });
        assert_eq!(answer, (503, "cache_unavailable".into()), "{column}");
        daemon.wait("the quarantine", || {
            let status = house.get("/v1/status").1;
            (status["authentications"]["damaged"] == 1).then_some(())
        });
        assert!(problems(&house).contains("1 records were damaged and are quarantined"), "{}", problems(&house));
        assert_eq!(full(&house, "salesforce").0, 200, "the others are read");
        assert_ne!(full(&house, "slack").0, 200);
        house.world().clear_faults();
        house.sync();
        assert_eq!(full(&house, "slack").0, 200, "{column}");
        assert_eq!(house.get("/v1/status").1["authentications"]["damaged"], 0);
    }
    daemon.stop();
}

fn fault_of_every_full_read() -> Fault {
    Fault::before(Call::FullRead, FaultKind::Status(503)).times(1_000)
}

#[test]
fn a_cache_that_can_not_be_opened_is_set_aside_with_its_reason_and_rebuilt() {
    let ways: [fn(&Path); 3] = [
        |path| fs::write(path, vec![b'x'; 8192]).expect("garbage"),
        // Cut off in the middle, and the schema's page overwritten.
        |path| fs::write(path, &fs::read(path).expect("a file")[..5_000]).expect("a cut file"),
        |path| {
            let file = fs::File::options().write(true).open(path).expect("a file");
            file.write_all_at(&[0x55; 8_000], 100).expect("overwritten");
        },
    ];
    for (number, damage) in ways.into_iter().enumerate() {
        let house = filled();
        let path = house.path("state/cache.db");
        damage(&path);
        let damaged = fs::read(&path).expect("a file");
        let mut daemon = house.daemon();
        wait_until_held(&house, &mut daemon, 8);
        assert_eq!(full(&house, "slack").0, 200);
        assert!(problems(&house).contains("is rebuilt from Tray"), "{number}: {}", problems(&house));
        daemon.stop();
        if house.path("state/damaged/cache.db").exists() {
            assert_eq!(fs::read(house.path("state/damaged/cache.db")).expect("set aside"), damaged, "{number}");
        }
        let reason = fs::read_to_string(house.path("state/damaged/cache.db.reason.txt")).expect("a reason");
        assert!(reason.contains("damaged") || reason.contains("failed"), "{number}: {reason}");
        assert!(!entries(&house, "cache.rebuild").is_empty(), "{number}");
        // And it goes on as if nothing had been.
        let daemon = house.daemon();
        assert_eq!(full(&house, "slack").0, 200);
        daemon.stop();
        house.succeeds(&["audit", "verify"]);
    }
}

#[test]
fn a_cache_that_is_damaged_under_a_running_daemon_is_rebuilt_under_it() {
    let house = filled();
    let mut daemon = house.daemon();
    wait_until_held(&house, &mut daemon, 8);
    house.sync();
    let path = house.path("state/cache.db");
    let file = fs::File::options().read(true).write(true).open(&path).expect("a file");
    let length = file.metadata().expect("metadata").len();
    // Every page but the first two: what the daemon has in its own memory goes when it looks for changes.
    file.write_all_at(&vec![0x55; usize::try_from(length).expect("small") - 16384], 16384).expect("overwritten");
    rusqlite::Connection::open(&path)
        .expect("a database")
        .execute("UPDATE cache SET generation = generation + 1", [])
        .expect("a change");
    let _ = full(&house, "slack");
    daemon.wait("the rebuild", || (!entries(&house, "cache.rebuild").is_empty()).then_some(()));
    wait_until_held(&house, &mut daemon, 8);
    assert_eq!(full(&house, "slack").0, 200);
    assert!(problems(&house).contains("is rebuilt from Tray"), "{}", problems(&house));
    daemon.stop();
    house.succeeds(&["audit", "verify"]);
}

#[test]
fn a_cache_that_is_not_there_any_more_is_rebuilt() {
    let house = filled();
    fs::remove_file(house.path("state/cache.db")).expect("a file");
    let mut daemon = house.daemon();
    wait_until_held(&house, &mut daemon, 8);
    daemon.stop();
    assert_eq!(entries(&house, "cache.rebuild")[0]["reason"], "the cache was not there");
    house.daemon().stop();
}

#[test]
fn a_journal_that_can_not_be_opened_stops_the_daemon_and_is_left_as_it_is() {
    let house = filled();
    let path = house.path("state/journal.db");
    fs::write(&path, vec![b'x'; 8192]).expect("garbage");
    let error = house.fails(&["run"], 65);
    assert!(error.contains("error: the journal can't be opened: "), "{error}");
    assert!(error.contains("hint: it holds dropped documents that are not settled yet, so it is left"), "{error}");
    assert_eq!(fs::read(&path).expect("a file"), vec![b'x'; 8192]);
    // As the hint says.
    fs::rename(&path, house.path("aside.db")).expect("a rename");
    house.daemon().stop();
}

/// Drops a file and waits until it is settled: the journal has moved on then.
fn ingest(house: &House, daemon: &mut Daemon<'_>, name: &str) {
    let document = serde_json::json!({
        "version": 1, "action": "create", "name": name, "user": { "externalUserId": "acme-1" },
        "service": { "name": "slack", "version": 2 }, "environment": "Production",
        "credentials": { "accessToken": format!("{CANARY}-{name}") },
    });
    house.drop_file(&format!("{name}.json"), &document);
    daemon.outcome(&format!("done/{name}.json.receipt.json"));
}

#[test]
fn an_older_cache_or_journal_is_refused_unless_it_is_accepted_and_that_is_on_record() {
    for name in ["cache.db", "journal.db"] {
        let house = filled();
        let path = house.path(&format!("state/{name}"));
        let older = fs::read(&path).expect("a file");
        let mut daemon = house.daemon();
        ingest(&house, &mut daemon, "one");
        house.sync();
        daemon.stop();
        let newer = fs::read(&path).expect("a file");
        assert_ne!(older, newer);

        fs::write(&path, &older).expect("an older file");
        for _ in 0..2 {
            let error = house.fails(&["run"], 65);
            assert!(error.contains("was rolled back: it is in generation "), "{name}: {error}");
            assert!(error.contains("hint: put the newest file back"), "{name}: {error}");
        }
        fs::write(&path, &newer).expect("the newest file");
        house.daemon().stop();
        assert!(entries(&house, "vault.accept_rollback").is_empty());

        fs::write(&path, &older).expect("an older file");
        let mut daemon = house.daemon_with(&["--accept-rollback"]);
        house.sync();
        ingest(&house, &mut daemon, "two");
        daemon.stop();
        assert_eq!(entries(&house, "vault.accept_rollback").len(), 1, "{name}");
        house.daemon().stop();
        house.succeeds(&["audit", "verify"]);
    }
}

#[test]
fn a_journal_that_is_not_there_any_more_is_a_rollback() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    ingest(&house, &mut daemon, "one");
    daemon.stop();
    fs::remove_file(house.path("state/journal.db")).expect("a file");
    assert!(house.fails(&["run"], 65).contains("the journal was rolled back"));
    house.daemon_with(&["--accept-rollback"]).stop();
    house.daemon().stop();
}

#[test]
fn an_older_file_is_told_after_a_crash_too() {
    let house = filled();
    let path = house.path("state/cache.db");
    let older = fs::read(&path).expect("a file");
    let mut daemon = house.daemon();
    house.sync();
    let changed = house.upstream("slack").id;
    assert!(house.world().remove_authentication(changed));
    house.sync();
    daemon.signal(Signal::KILL);
    daemon.ended();
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(house.path(&format!("state/cache.db{suffix}")));
    }
    fs::write(&path, older).expect("an older file");
    assert!(house.fails(&["run"], 65).contains("the cache was rolled back"));
}

#[test]
fn a_crash_is_no_rollback() {
    let house = House::ready(OPEN);
    for _ in 0..3 {
        let mut daemon = house.daemon();
        ingest(&house, &mut daemon, &uuid::Uuid::new_v4().to_string());
        house.sync();
        daemon.signal(Signal::KILL);
        daemon.ended();
    }
    house.daemon().stop();
}

/// Makes the state directory that of an earlier version's, and the configuration fit.
fn golden(house: &House, version: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(version);
    house.private_directory("state/audit");
    let place = |name: &str, to: &str| {
        let content = fs::read(golden.join(name)).expect("a golden file");
        let _ = fs::remove_file(house.path(to));
        house.private_bytes(to, &content);
    };
    place("vault.key", "vault.key");
    for name in ["vault.json", "cache.db", "journal.db"] {
        place(name, &format!("state/{name}"));
    }
    place("audit.jsonl", "state/audit/audit.jsonl");
}

#[test]
fn what_each_earlier_version_left_is_read_by_this_one() {
    for version in ["schema-1", "schema-2", "schema-3"] {
        let mut house = House::new(OPEN);
        golden(&house, version);
        house.stop_emulator();
        let mut daemon = house.daemon();
        let status = house.get("/v1/status").1;
        assert_eq!((&status["authentications"]["full"], &status["authentications"]["users"]), (&6.into(), &3.into()));
        daemon.wait("the intent", || (house.get("/v1/status").1["ingest"]["pending"] == 1).then_some(()));
        daemon.stop();
        house.succeeds(&["audit", "verify"]);
        // It is too old to be answered by now.
        let key = unlock::key(&Unlock::KeyFile(house.path("vault.key"))).expect("a key");
        let keyring =
            Locked::open(&house.path("state")).and_then(|locked| locked.unlock(&key)).expect("fits").into_keyring();
        let path = house.path("state/cache.db");
        let cache = Cache::open(&path, keyring, Continuity::default(), Arc::default()).expect("a cache");
        let id = "35f093e7-c6b9-419d-aa95-cf0c7e3747de".parse().expect("an id");
        let secret = cache.secret(id).expect("it opens").expect("it is there");
        let body: Value = serde_json::from_slice(secret.body.expose_secret()).expect("JSON");
        assert_eq!(body["credentials"]["accessToken"], "sk-emu-access-363e979b7e3f478ebbf9955ba3e8a97a");
    }
}

#[test]
fn what_a_later_version_wrote_is_refused_and_left_as_it_is() {
    let house = filled();
    for name in ["cache.db", "journal.db"] {
        let path = house.path(&format!("state/{name}"));
        let db = rusqlite::Connection::open(&path).expect("a database");
        let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a version");
        db.pragma_update(None, "user_version", 99).expect("a later version");
        db.pragma_update(None, "journal_mode", "DELETE").expect("one file");
        let before = fs::read(&path).expect("a file");
        let error = house.fails(&["run"], 65);
        assert!(error.contains(&format!("{name} has schema 99, and this program knows up to {version}")), "{error}");
        assert!(error.contains("hint: a later version wrote it"), "{error}");
        assert!(fs::read(&path).expect("a file") == before);
        db.pragma_update(None, "user_version", version).expect("this version");
    }
    house.daemon().stop();
}

#[test]
fn with_a_full_disk_reads_go_on_writes_fail_with_the_reason_and_nothing_half_written_counts() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    house.sync();
    // No file may grow beyond what the largest of the databases has now; the audit log is smaller, and has room.
    let limit = |bytes: Option<u64>| {
        let pid = Pid::from_raw(daemon.pid()).expect("a pid");
        prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: None }).expect("a limit");
    };
    let size = |name: &str| fs::metadata(house.path(&format!("state/{name}"))).map_or(0, |found| found.len());
    let audit = size("audit/audit.jsonl");
    limit(Some(audit + 64 * 1024));
    // What was written before was checked in; what comes now has to grow the write-ahead log.
    let secret_before = full(&house, "slack").1["authentication"].clone();
    for round in 0.. {
        let id = house.upstream("slack").id;
        let name = Some(format!("renamed {round} {}", "x".repeat(4_000)));
        assert!(house.world().alter_authentication(id, Alteration { name, ..Alteration::default() }));
        let report = house.sync();
        if report["failed"] != 0 {
            assert!(report["problems"].to_string().contains("the cache's database failed"), "{report}");
            break;
        }
        assert!(round < 100, "the disk never was full");
    }
    let status = house.get("/v1/status").1;
    assert!(problems(&house).contains("the cache can't be written, what it holds is read"), "{status}");
    assert!(problems(&house).contains("is the disk full, or read-only?"), "{status}");
    let (code, answer) = full(&house, "slack");
    assert_eq!(code, 200, "reads go on");
    assert_eq!(answer["authentication"]["credentials"], secret_before["credentials"]);
    assert_eq!(full(&house, "salesforce").0, 200);

    limit(None);
    let report = house.sync();
    assert_eq!(report["failed"], 0, "{report}");
    assert!(!problems(&house).contains("can't be written"), "{} {report}", problems(&house));
    daemon.signal(Signal::KILL);
    daemon.ended();
    let daemon = house.daemon();
    assert_eq!(full(&house, "slack").0, 200);
    assert_eq!(held(&house), 8);
    daemon.stop();
    house.succeeds(&["audit", "verify"]);
}

#[test]
fn an_audit_log_that_was_cut_under_a_running_daemon_stops_answers() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let path = house.path("state/audit/audit.jsonl");
    let log = fs::read_to_string(&path).expect("a log");
    let cut: String = log.lines().take(3).flat_map(|line| [line, "\n"]).collect();
    let mut file = fs::File::options().write(true).truncate(true).open(&path).expect("a log");
    file.write_all(cut.as_bytes()).expect("cut");
    assert_eq!(full(&house, "slack").1["code"], "audit_unavailable");
    let problems = problems(&house);
    assert!(problems.contains("was cut off") && problems.contains("trayvault audit verify says where"), "{problems}");
    drop(daemon);
}

#[test]
fn an_absurd_generation_is_damage_and_never_believed() {
    let house = filled();
    // Each daemon has a budget of its own, and they come in quick succession.
    house.world().set_limit(None);
    let set = |name: &str, table: &str, generation: i64| {
        let db = rusqlite::Connection::open(house.path(&format!("state/{name}"))).expect("a database");
        db.execute(&format!("UPDATE {table} SET generation = ?1"), [generation]).expect("tampered");
    };
    for absurd in [i64::MAX, -1, 1 << 48] {
        set("cache.db", "cache", absurd);
        let mut daemon = house.daemon();
        wait_until_held(&house, &mut daemon, 8);
        daemon.stop();
    }
    set("journal.db", "journal", i64::MAX);
    assert!(house.fails(&["run"], 65).contains("its generation is none"));
    set("journal.db", "journal", 1 << 40);
    house.daemon().stop();
}

#[test]
fn a_row_of_another_type_stops_no_other() {
    let house = filled();
    let mut daemon = house.daemon();
    let down = Fault { call: None, times: 100_000, after_work: false, kind: FaultKind::Status(503) };
    house.world().add_fault(down);
    for name in ["one", "two"] {
        let document = serde_json::json!({
            "version": 1, "action": "create", "name": name, "user": { "externalUserId": "acme-1" },
            "service": { "name": "slack", "version": 2 }, "environment": "Production",
            "credentials": { "accessToken": format!("{CANARY}-{name}") },
        });
        house.drop_file(&format!("{name}.json"), &document);
        let pending = if name == "one" { 1 } else { 2 };
        daemon.wait("the journal", || (house.get("/v1/status").1["ingest"]["pending"] == pending).then_some(()));
    }
    daemon.stop();
    let journal = rusqlite::Connection::open(house.path("state/journal.db")).expect("a database");
    let damage = "PRAGMA writable_schema = ON; \
                  UPDATE sqlite_schema SET sql = replace(replace(sql, ' NOT NULL', ''), 'STRICT', '') WHERE name = 'intent'";
    let original: String = journal
        .query_row("SELECT sql FROM sqlite_schema WHERE name = 'intent'", [], |row| row.get(0))
        .expect("a table");
    journal.execute_batch(damage).expect("tampered");
    drop(journal);
    let journal = rusqlite::Connection::open(house.path("state/journal.db")).expect("a database");
    journal.execute("UPDATE intent SET received_at = 'no time' WHERE arrival = 1", []).expect("tampered");
    journal.execute_batch("PRAGMA writable_schema = ON").expect("tampered");
    journal.execute("UPDATE sqlite_schema SET sql = ?1 WHERE name = 'intent'", [original]).expect("as it was");
    drop(journal);
    house.world().clear_faults();
    let mut daemon = house.daemon();
    daemon.outcome("done/two.json.receipt.json");
    daemon.wait("the report", || {
        let ingest = house.get("/v1/status").1["ingest"].to_string();
        ingest.contains("1 intents in the journal are damaged").then_some(())
    });
    daemon.stop();
}
