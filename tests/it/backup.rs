//! Backup and restore.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};
use trayvault::emulator::{Fault, FaultKind};

use crate::support::{CANARY, House, OPEN};

fn document(name: &str) -> Value {
    json!({
        "version": 1, "action": "create", "name": name, "user": { "externalUserId": "acme-1" },
        "service": { "name": "slack", "version": 2 }, "environment": "Production",
        "credentials": { "accessToken": CANARY },
    })
}

/// A house on another host: the same key, and nothing else.
fn other_host(house: &House) -> House {
    let other = House::new(OPEN);
    other.private_bytes("vault.key", &fs::read(house.path("vault.key")).expect("a key"));
    fs::copy(house.path("the.backup"), other.path("the.backup")).expect("a copy");
    other
}

#[test]
fn a_backup_is_made_while_the_daemon_runs_and_restored_elsewhere() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    house.sync();
    // One that waits: Tray does not answer.
    let down = Fault { call: None, times: 100_000, after_work: false, kind: FaultKind::Status(503) };
    house.world().add_fault(down);
    house.drop_file("waiting.json", &document("waiting"));
    daemon.wait("the journal", || (house.get("/v1/status").1["ingest"]["pending"] == 1).then_some(()));
    let path = house.path("the.backup").display().to_string();
    assert!(house.succeeds(&["backup", &path]).contains("wrote "));
    assert_eq!(fs::metadata(&path).expect("a backup").permissions().mode() & 0o777, 0o600);
    let again = house.fails(&["backup", &path], 73);
    assert!(again.contains("hint: a backup is never written over"), "{again}");
    // Nothing lies about, and nothing in it is in the clear.
    assert!(!house.path("state/backup.partial").exists());
    let bytes = fs::read(&path).expect("a backup");
    let mut canaries = house.world().secrets();
    canaries.push(CANARY.to_owned());
    for canary in canaries {
        assert!(!bytes.windows(canary.len()).any(|window| window == canary.as_bytes()), "{canary}");
    }
    let id = house.upstream("slack").id;
    let secret = house.get(&format!("/v1/authentications/{id}/full")).1["authentication"].clone();
    let running = house.fails(&["restore", &path], 69);
    assert!(running.contains("hint: stop it first"), "{running}");
    daemon.stop();
    assert!(house.fails(&["restore", &path], 65).contains("hint: a backup is restored into an empty"));
    house.succeeds(&["audit", "verify"]);

    let mut other = other_host(&house);
    other.stop_emulator();
    let said = other.succeeds(&["restore", &other.path("the.backup").display().to_string()]);
    assert!(said.contains("documents that were not settled then: 1"), "{said}");
    assert!(!other.path("state/restore.partial").exists());
    let mut daemon = other.daemon();
    let (status, answer) = other.get(&format!("/v1/authentications/{id}/full"));
    assert_eq!((status.as_u16(), &answer["authentication"]), (200, &secret));
    // What was waiting may have been sent since: it is not sent again, and not lost.
    let reason = daemon.outcome("rejected/waiting.json.reason.json");
    assert_eq!(reason["kind"], "restored", "{reason}");
    let back = other.succeeds(&["ingest", "show", "waiting.json"]);
    assert_eq!(serde_json::from_str::<Value>(&back).expect("JSON"), document("waiting"));
    daemon.stop();
    other.succeeds(&["audit", "verify"]);
    let log = fs::read_to_string(other.path("state/audit/audit.jsonl")).expect("a log");
    assert!(log.contains("\"action\":\"vault.restore\""), "{log}");
}

#[test]
fn a_backup_that_was_changed_or_is_another_vaults_is_refused_and_nothing_restored() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    house.succeeds(&["backup", &house.path("the.backup").display().to_string()]);
    daemon.stop();
    let bytes = fs::read(house.path("the.backup")).expect("a backup");

    let other = other_host(&house);
    let restore = || other.run(&["restore", &other.path("the.backup").display().to_string()]);
    let refused = |bytes: &[u8], what: &str| {
        other.private_bytes("the.backup", bytes);
        let output = restore();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{what}");
        assert!(error.starts_with("error: ") && !error.contains("panicked"), "{what}: {error}");
        assert!(!other.path("state/vault.json").exists() && !other.path("state/cache.db").exists(), "{what}");
        error
    };
    // A byte of every kilobyte, so of each member's head and of its content. In a tar archive's padding, and in the
    // fields of a head that nobody reads, a changed byte says nothing.
    let mut unnoticed = 0;
    for at in (100..bytes.len()).step_by(1024) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x20;
        other.private_bytes("the.backup", &changed);
        if restore().status.success() {
            unnoticed += 1;
            assert_eq!(bytes[at], 0, "byte {at} is content");
            for name in ["vault.json", "cache.db", "journal.db", "audit"] {
                let path = other.path(&format!("state/{name}"));
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            }
        }
    }
    println!("{unnoticed} of {} changed bytes were padding", bytes.len() / 1024);
    refused(&bytes[..bytes.len() / 2], "cut off");
    refused(b"not a backup", "not an archive");
    refused(&[], "empty");
    other.private_bytes("vault.key", &[7; 32]);
    assert!(refused(&bytes, "another key").contains("no key slot opens with this key"));
}

#[test]
fn a_restore_that_was_cut_off_can_be_begun_again() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    house.succeeds(&["backup", &house.path("the.backup").display().to_string()]);
    daemon.stop();
    let other = other_host(&house);
    // What a crash may leave: a stage, and databases without a header.
    other.private_directory("state/restore.partial");
    other.private("state/restore.partial/cache.db", "half");
    other.private("state/cache.db", "half");
    other.private("state/cache.db-wal", "stale");
    other.private_directory("state/audit");
    other.private("state/audit/audit.jsonl", "half");
    other.succeeds(&["restore", &other.path("the.backup").display().to_string()]);
    let daemon = other.daemon();
    assert_eq!(other.get(&format!("/v1/authentications/{}/full", house.upstream("slack").id)).0, 200);
    daemon.stop();
}
