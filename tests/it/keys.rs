//! Key slots, lock and unlock, rotation.

use std::{
    fs,
    io::Write,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;
use trayvault::{
    secret::{Key, SecretBytes},
    vault::{Locked, UnlockKey},
};

use crate::support::{CANARY, House, OPEN};

fn entries(house: &House, action: &str) -> Vec<Value> {
    let log = fs::read_to_string(house.path("state/audit/audit.jsonl")).expect("a log");
    let entries = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("an entry"));
    entries.filter(|entry| entry["action"] == action).collect()
}

fn slots(house: &House) -> Vec<Value> {
    serde_json::from_str(&house.succeeds(&["key", "list", "--json"])).expect("JSON")
}

/// Has the configuration name another key.
fn unlock_by(house: &House, kind: &str, name: &str) {
    let path = house.path("trayvault.toml");
    let text = fs::read_to_string(&path).expect("a configuration");
    let line = format!("vault.unlock = {{ {kind} = \"{}\" }}", house.path(name).display());
    let lines = text.lines().map(|old| if old.starts_with("vault.unlock") { line.as_str() } else { old });
    fs::write(&path, lines.collect::<Vec<_>>().join("\n")).expect("a configuration");
}

fn key_of(house: &House) -> UnlockKey {
    let bytes = fs::read(house.path("vault.key")).expect("a key");
    let key = Key::try_fill(|key| {
        key.copy_from_slice(&bytes);
        Ok::<_, ()>(())
    });
    UnlockKey::Raw(key.expect("a key"))
}

fn secret(house: &House, service: &str) -> (u16, Value) {
    let (status, answer) = house.get(&format!("/v1/authentications/{}/full", house.upstream(service).id));
    (status.as_u16(), answer)
}

#[test]
fn slots_are_listed_added_and_removed_and_each_unlocks() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let [first] = slots(&house).try_into().expect("one slot");
    let first = first["id"].as_str().expect("an id");

    let second = house.path("second.key");
    let added = house.succeeds(&["key", "add", "--key-file", &second.display().to_string()]);
    assert!(added.contains("made the key"), "{added}");
    house.private("passphrase", "correct horse battery staple\n");
    house.succeeds(&["key", "add", "--passphrase-file", &house.path("passphrase").display().to_string()]);
    let kinds: Vec<_> = slots(&house).iter().map(|slot| slot["kind"].clone()).collect();
    assert_eq!(kinds, ["raw-key", "raw-key", "passphrase"]);
    let table = house.succeeds(&["key", "list"]);
    assert!(table.contains("a passphrase (Argon2id, 64 MiB, t=3, p=4)"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    daemon.stop();

    for (kind, name) in [("key_file", "second.key"), ("passphrase_file", "passphrase")] {
        unlock_by(&house, kind, name);
        assert!(house.succeeds(&["check"]).contains("its key fits"), "{name}");
        let daemon = house.daemon();
        assert_eq!(secret(&house, "slack").0, 200, "{name}");
        daemon.stop();
    }

    house.succeeds(&["key", "remove", first]);
    assert_eq!(slots(&house).len(), 2);
    unlock_by(&house, "key_file", "vault.key");
    assert!(house.fails(&["run"], 65).contains("no key slot opens with this key"));
    unlock_by(&house, "key_file", "second.key");
    let daemon = house.daemon();
    assert_eq!((entries(&house, "key.add").len(), entries(&house, "key.remove").len()), (4, 2), "begun and done");
    daemon.stop();
    house.succeeds(&["audit", "verify"]);
}

#[test]
fn the_last_slot_and_the_one_in_use_stay_and_a_new_one_needs_an_old_one() {
    let house = House::ready(OPEN);
    let before = fs::read(house.path("state/vault.json")).expect("a header");
    let id = slots(&house)[0]["id"].as_str().expect("an id").to_owned();
    let error = house.fails(&["key", "remove", &id], 65);
    assert!(error.contains("error: it is the last key slot\nhint: add another first"), "{error}");
    let error = house.fails(&["key", "remove", "01234567-89ab-4def-8123-456789abcdef"], 65);
    assert!(error.contains("hint: trayvault key list shows which there are"), "{error}");
    assert_eq!(fs::read(house.path("state/vault.json")).expect("a header"), before);

    let second = house.path("second.key").display().to_string();
    house.succeeds(&["key", "add", "--key-file", &second]);
    let error = house.fails(&["key", "remove", &id], 65);
    assert!(error.contains("is the one that this key opens"), "{error}");

    // A key where its name should be is not shown.
    let misplaced = "sk-what-should-be-in-a-file, and is longer than any name";
    let error = house.fails(&["key", "add", "--key-credential", misplaced], 64);
    assert!(error.contains("does not name a file or a credential") && !error.contains("sk-what"), "{error}");

    house.private("vault.key", &"k".repeat(32));
    let before = fs::read(house.path("state/vault.json")).expect("a header");
    let third = house.path("third.key").display().to_string();
    assert!(house.fails(&["key", "add", "--key-file", &third], 65).contains("no key slot opens with this key"));
    assert!(!house.path("third.key").exists(), "no key is made that opens nothing");
    assert_eq!(fs::read(house.path("state/vault.json")).expect("a header"), before);
}

#[test]
fn a_slot_change_that_is_killed_at_any_point_leaves_a_header_from_before_or_after() {
    let house = House::ready(OPEN);
    let (mut before, mut after) = (0, 0);
    for try_after in 0..60_u64 {
        let name = house.path(&format!("{try_after}.key")).display().to_string();
        let slots_before = slots(&house).len();
        let mut child = house.spawn(&["key", "add", "--key-file", &name]);
        std::thread::sleep(Duration::from_micros(try_after * 500));
        let _ = child.kill();
        child.wait().expect("a child");
        let locked = Locked::open(&house.path("state")).expect("a whole header");
        let now = locked.slots();
        locked.unlock(&key_of(&house)).expect("the old key fits");
        match now.len() - slots_before {
            0 => before += 1,
            1 => after += 1,
            more => panic!("{more} slots at once"),
        }
        if now.len() == 16 {
            break;
        }
    }
    println!("killed: {before} times before the change, {after} times after it");
    assert!(before > 0, "some were killed before");
    // What was left behind is in nobody's way.
    house.daemon().stop();
    house.succeeds(&["audit", "verify"]);
}

#[test]
fn a_wrong_key_says_the_same_for_every_kind_leaves_every_byte_and_is_counted() {
    let house = House::ready(OPEN);
    house.private("passphrase", "correct horse battery staple");
    house.succeeds(&["key", "add", "--passphrase-file", &house.path("passphrase").display().to_string()]);
    house.daemon().stop();
    let files = ["vault.json", "cache.db", "journal.db", "audit/audit.jsonl"];
    let read = || files.map(|name| fs::read(house.path(&format!("state/{name}"))).expect("a file"));
    let before = read();
    house.private("wrong.key", &"k".repeat(32));
    house.private("wrong.passphrase", "correct horse battery stable");
    let wrong = [("key_file", "wrong.key"), ("passphrase_file", "wrong.passphrase")];
    let said = wrong.map(|(kind, name)| {
        unlock_by(&house, kind, name);
        house.fails(&["run"], 65)
    });
    assert_eq!(said[0], said[1]);
    assert!(said[0].starts_with("error: no key slot opens with this key\nhint: "), "{}", said[0]);
    house.fails(&["audit", "verify"], 65);
    assert!(read() == before, "every byte is as it was");

    unlock_by(&house, "passphrase_file", "passphrase");
    house.daemon().stop();
    let failed: Vec<_> = entries(&house, "vault.unlock").into_iter().filter(|one| one["outcome"] == "failed").collect();
    assert_eq!((failed.len(), &failed[0]["count"]), (1, &3.into()), "{failed:?}");
    house.daemon().stop();
    let failed = entries(&house, "vault.unlock").into_iter().filter(|one| one["outcome"] == "failed").count();
    assert_eq!(failed, 1, "counted once");
}

#[test]
fn locked_the_daemon_answers_status_and_refuses_secrets_until_it_is_unlocked() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    house.sync();
    assert_eq!(secret(&house, "slack").0, 200);
    assert!(house.succeeds(&["lock"]).contains("the vault is locked"));

    let (status, answer) = house.get("/v1/status");
    assert_eq!((status.as_u16(), &answer["vault"], &answer["epoch"]), (200, &"locked".into(), &Value::Null));
    assert_eq!(answer["authentications"]["full"], 8, "what needs no keys is still told");
    assert_eq!(house.get("/v1/health/live").0, 200);
    assert_eq!(house.get("/v1/health/ready").0, 503);
    let (status, answer) = secret(&house, "slack");
    assert_eq!((status, &answer["code"]), (503, &"locked".into()));
    for path in ["/v1/authentications", "/v1/authentications?service=slack"] {
        assert_eq!(house.get(path).1["code"], "locked", "{path}");
    }
    assert!(house.fails(&["sync"], 69).contains("hint: unlock it with: trayvault unlock"));
    house.fails(&["lock"], 69);
    house.fails(&["key", "rotate"], 69);
    // A file that is dropped meanwhile waits, untouched.
    let document = serde_json::json!({
        "version": 1, "action": "create", "name": "Later", "user": { "externalUserId": "acme-1" },
        "service": { "name": "slack", "version": 2 }, "environment": "Production",
        "credentials": { "accessToken": CANARY },
    });
    house.drop_file("later.json", &document);
    std::thread::sleep(Duration::from_millis(300));
    assert!(house.path("drop/later.json").exists());

    assert!(house.succeeds(&["unlock"]).contains("unlocked"));
    assert_eq!(secret(&house, "slack").0, 200);
    assert_eq!(daemon.outcome("done/later.json.receipt.json")["outcome"], "created");
    house.sync();
    assert!(house.fails(&["unlock"], 69).contains("unlocked already"));
    daemon.stop();
    let outcomes = |action| entries(&house, action).iter().map(|entry| entry["outcome"].clone()).collect::<Vec<_>>();
    assert_eq!(outcomes("vault.lock"), ["done"]);
    assert_eq!(outcomes("vault.unlock"), ["done", "done"]);
    let read = entries(&house, "authentication.read");
    assert_eq!((&read[1]["outcome"], &read[1]["reason"]), (&"refused".into(), &"the vault is locked".into()));
    house.succeeds(&["audit", "verify"]);
}

#[test]
fn only_who_may_manage_locks_unlocks_and_rotates() {
    let house = House::ready(&OPEN.replace(", \"manage\"", ""));
    let daemon = house.daemon();
    for command in [&["lock"][..], &["unlock"], &["key", "rotate"]] {
        assert!(house.fails(command, 77).contains("error: not allowed"), "{command:?}");
    }
    assert_eq!(house.get("/v1/status").1["vault"], "unlocked");
    daemon.stop();
    assert_eq!(entries(&house, "vault.lock")[0]["outcome"], "refused");
    assert_eq!(entries(&house, "key.rotate")[0]["outcome"], "refused");
}

#[test]
fn a_wrong_passphrase_does_not_unlock_a_running_daemon_and_is_on_record() {
    let house = House::ready(OPEN);
    house.private("passphrase", "correct horse battery staple");
    house.succeeds(&["key", "add", "--passphrase-file", &house.path("passphrase").display().to_string()]);
    let daemon = house.daemon();
    house.succeeds(&["lock"]);
    let unlock = |key: &str| {
        let body = SecretBytes::new(key.as_bytes().to_vec());
        house.send(hyper::Method::POST, "/v1/unlock?kind=passphrase", Some(body))
    };
    let (status, answer) = unlock("correct horse battery stable");
    assert_eq!((status.as_u16(), &answer["code"]), (403, &"wrong_key".into()));
    let short = SecretBytes::new(b"short".to_vec());
    assert_eq!(house.send(hyper::Method::POST, "/v1/unlock?kind=raw-key", Some(short)).0, 400);
    assert_eq!(house.get("/v1/status").1["vault"], "locked");
    assert_eq!(unlock("correct horse battery staple").0, 200);
    daemon.stop();
    let outcomes: Vec<_> = entries(&house, "vault.unlock").iter().map(|entry| entry["outcome"].clone()).collect();
    assert_eq!(outcomes, ["done", "failed", "done"]);
}

#[test]
fn a_rotation_re_seals_everything_while_reads_go_on_and_destroys_the_old_epoch() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    house.sync();
    let header = || serde_json::from_slice::<Value>(&fs::read(house.path("state/vault.json")).expect("a header"));
    let salt_before = header().expect("JSON")["epochs"][0]["salt"].clone();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) || reads == 0 {
                assert_eq!(secret(&house, "slack").0, 200);
                reads += 1;
            }
            reads
        });
        for epoch in 2..=4 {
            let said = house.succeeds(&["key", "rotate", "--wait"]);
            assert!(said.contains(&format!("epoch {epoch} has begun")), "{said}");
            assert!(said.contains("the earlier one is destroyed"), "{said}");
        }
        done.store(true, Ordering::Relaxed);
        assert!(reading.join().expect("reads") > 0);
    });
    let header = header().expect("JSON");
    assert_eq!(header["epochs"].as_array().expect("epochs").len(), 1);
    assert_eq!(header["epochs"][0]["number"], 4);
    assert_ne!(header["epochs"][0]["salt"], salt_before);
    let status = house.get("/v1/status").1;
    assert_eq!((&status["epoch"], &status["resealing"]), (&4.into(), &Value::Null));
    assert_eq!(epochs_on_disk(&house), [4]);
    let report = house.sync();
    assert_eq!(report["pulled"], 0, "nothing had to be pulled again: {report}");
    daemon.signal(Signal::KILL);
    daemon.ended();
    let daemon = house.daemon();
    assert_eq!(secret(&house, "slack").0, 200);
    daemon.stop();
    assert_eq!(entries(&house, "key.retire").len(), 6, "begun and done");
    house.succeeds(&["audit", "verify"]);
}

/// The epochs in which what is in the cache is sealed.
fn epochs_on_disk(house: &House) -> Vec<u32> {
    let db = rusqlite::Connection::open(house.path("state/cache.db")).expect("a database");
    let sealed = "SELECT metadata FROM authentications UNION SELECT secret FROM authentications \
                  UNION SELECT profile FROM users UNION SELECT token FROM users";
    let mut select = db.prepare(sealed).expect("a statement");
    let values = select.query_map([], |row| row.get::<_, Option<Vec<u8>>>(0)).expect("rows");
    let epoch = |value: Vec<u8>| u32::from_be_bytes(value[1..5].try_into().expect("four bytes"));
    let mut epochs: Vec<_> = values.filter_map(|value| value.expect("a row").map(epoch)).collect();
    epochs.sort_unstable();
    epochs.dedup();
    epochs
}

#[test]
fn a_rotation_that_is_cut_off_right_after_it_began_goes_on_at_the_next_start() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    daemon.stop();
    // What a daemon does first, and then it dies.
    let unlocked = Locked::open(&house.path("state")).expect("a vault").unlock(&key_of(&house)).expect("its key");
    assert_eq!(unlocked.into_keyring().rotate(&house.path("state")).expect("rotated"), 2);
    assert_eq!(epochs_on_disk(&house), [1]);
    let mut daemon = house.daemon();
    daemon.wait("the old epoch to be destroyed", || (!entries(&house, "key.retire").is_empty()).then_some(()));
    daemon.wait("the status", || (house.get("/v1/status").1["resealing"] == Value::Null).then_some(()));
    assert_eq!(secret(&house, "slack").0, 200);
    daemon.stop();
    assert_eq!(epochs_on_disk(&house), [2]);
}

#[test]
fn killed_again_and_again_a_rotation_loses_nothing() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    house.sync();
    for round in 0..8_u64 {
        let rotated = house.ask(hyper::Method::POST, "/v1/keys/rotate");
        assert!(rotated.0 == 200 || rotated.1["code"] == "rotating", "{rotated:?}");
        std::thread::sleep(Duration::from_micros(round * 700));
        daemon.signal(Signal::KILL);
        daemon.ended();
        daemon = house.daemon();
        for service in ["slack", "salesforce"] {
            assert_eq!(secret(&house, service).0, 200, "round {round}");
        }
    }
    daemon.wait("the rotation", || (house.get("/v1/status").1["resealing"] == Value::Null).then_some(()));
    assert_eq!(house.sync()["pulled"], 0, "nothing had to be pulled again");
    daemon.stop();
    assert_eq!(epochs_on_disk(&house).len(), 1);
    house.succeeds(&["audit", "verify"]);
}

#[test]
fn an_interactive_start_asks_on_the_terminal_without_echo() {
    let house = House::new(OPEN);
    let path = house.path("trayvault.toml");
    let text = fs::read_to_string(&path).expect("a configuration");
    let lines =
        text.lines().map(|line| if line.starts_with("vault.unlock") { "vault.unlock = \"prompt\"" } else { line });
    fs::write(&path, lines.collect::<Vec<_>>().join("\n")).expect("a configuration");
    assert!(house.fails(&["init"], 78).contains("hint: set vault.unlock to a file or a credential"));
    let (code, said) = house.at_a_terminal("init", &format!("{CANARY}\n{CANARY}\n"));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("New passphrase:") && said.contains("made the vault"), "{said}");
    assert!(!said.contains(CANARY), "{said}");

    let (code, said) = house.at_a_terminal("run", &format!("{CANARY} not\n"));
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains("Passphrase of the vault:") && said.contains("no key slot opens"), "{said}");
    assert!(!said.contains(CANARY), "{said}");
    let (code, said) = house.at_a_terminal("audit verify", &format!("{CANARY}\n"));
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_rotation_whose_caller_hangs_up_comes_to_its_end() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    house.sync();
    // Until one was begun before its caller was gone.
    while entries(&house, "key.rotate").is_empty() {
        let mut caller = std::os::unix::net::UnixStream::connect(house.path("run/api.sock")).expect("a connection");
        let request = b"POST /v1/keys/rotate HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n";
        caller.write_all(request).expect("a request");
        std::thread::sleep(Duration::from_millis(1));
        drop(caller);
    }
    daemon.wait("the epoch", || (house.get("/v1/status").1["epoch"] == 2).then_some(()));
    daemon.wait("its end", || (!entries(&house, "key.retire").is_empty()).then_some(()));
    daemon.wait("the status", || (house.get("/v1/status").1["resealing"] == Value::Null).then_some(()));
    daemon.stop();
    let count =
        |outcome: &str| entries(&house, "key.rotate").iter().filter(|entry| entry["outcome"] == outcome).count();
    assert_eq!((count("begun"), count("done")), (count("done") + count("failed"), 1), "each has its outcome");
}

#[test]
fn a_header_from_before_a_rotation_is_refused_unless_it_is_accepted() {
    let house = House::ready(OPEN);
    let older = fs::read(house.path("state/vault.json")).expect("a header");
    let daemon = house.daemon();
    house.sync();
    house.succeeds(&["key", "rotate", "--wait"]);
    daemon.stop();
    let newer = fs::read(house.path("state/vault.json")).expect("a header");
    house.private_bytes("state/vault.json", &older);
    for _ in 0..2 {
        let error = house.fails(&["run"], 65);
        assert!(
            error.contains("vault.json was rolled back: it is in epoch 1, and the audit log knows of 2"),
            "{error}"
        );
    }
    house.private_bytes("state/vault.json", &newer);
    house.daemon().stop();
    house.private_bytes("state/vault.json", &older);
    let mut daemon = house.daemon_with(&["--accept-rollback"]);
    daemon.wait("all to be pulled again", || (house.get("/v1/status").1["authentications"]["full"] == 8).then_some(()));
    assert_eq!(secret(&house, "slack").0, 200);
    daemon.stop();
    house.daemon().stop();
}
