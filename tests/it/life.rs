//! Signals, reloads and restarts.

use std::fs;

use rustix::process::Signal;

use crate::support::{House, OPEN};

#[test]
fn sigterm_and_sigint_drain_and_remove_the_socket() {
    let house = House::ready(OPEN);
    for signal in [Signal::TERM, Signal::INT] {
        let mut daemon = house.daemon();
        daemon.signal(signal);
        assert_eq!(daemon.ended(), Some(0));
        assert!(!house.path("run/api.sock").exists());
    }
}

#[test]
fn sighup_puts_new_rules_in_force() {
    let house = House::ready("");
    let mut daemon = house.daemon();
    assert_eq!(house.get("/v1/authentications").0, 403);
    house.configure(OPEN);
    daemon.signal(Signal::HUP);
    daemon.wait("the new rules", || (house.get("/v1/authentications").0 == 200).then_some(()));
    daemon.stop();
}

#[test]
fn what_new_rules_forbid_is_destroyed_at_once() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    house.sync();
    let path = format!("/v1/authentications/{}/full", house.upstream("slack").id);
    assert_eq!(house.get(&path).0, 200);
    house.configure(&OPEN.replace("\"allow\"", "\"deny\""));
    daemon.signal(Signal::HUP);
    let held = || house.get("/v1/status").1["authentications"]["full"].clone();
    daemon.wait("the secrets to be gone", || (held() == 0).then_some(()));
    assert_eq!(house.get(&path).0, 409);
    daemon.stop();
}

#[test]
fn a_bad_configuration_is_not_reloaded_and_the_old_one_stays_in_force() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    let original = fs::read_to_string(house.path("trayvault.toml")).expect("a configuration");
    fs::write(house.path("trayvault.toml"), format!("{original}\n[unknown]\n")).expect("a configuration");
    daemon.signal(Signal::HUP);
    daemon.wait("the refusal", || house.log().contains("kept the old configuration").then_some(()));
    assert_eq!(house.get("/v1/authentications").0, 200);
    let log = fs::read_to_string(house.path("state/audit/audit.jsonl")).expect("a log");
    assert!(log.contains(r#""action":"daemon.reload","outcome":"failed""#));
    fs::write(house.path("trayvault.toml"), original).expect("a configuration");
    daemon.stop();
}

#[test]
fn a_change_that_needs_a_restart_is_named() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    house.configure(&format!("{OPEN}\n[log]\nlevel = \"debug\"\n"));
    daemon.signal(Signal::HUP);
    daemon.wait("the warning", || {
        let log = house.log();
        (log.contains("a change takes effect at the next start only") && log.contains("\"section\":\"log\""))
            .then_some(())
    });
    daemon.stop();
}

#[test]
fn sigusr1_logs_counts_and_no_names() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    house.sync();
    daemon.signal(Signal::USR1);
    let state = daemon.wait("the dump", || {
        house.log().lines().find(|line| line.contains("\"message\":\"state\"")).map(str::to_owned)
    });
    assert!(state.contains("\\\"full\\\":8"), "{state}");
    assert!(!state.contains("acme-"), "{state}");
    for secret in house.world().secrets() {
        assert!(!state.contains(&secret));
    }
    daemon.stop();
}

#[test]
fn a_wrong_key_changes_nothing_and_says_what_to_do() {
    let house = House::ready(OPEN);
    let before = fs::read(house.path("state/vault.json")).expect("a header");
    house.private("vault.key", &"k".repeat(32));
    let error = house.fails(&["run"], 65);
    assert!(error.contains("hint: vault.unlock must name the key"), "{error}");
    assert_eq!(fs::read(house.path("state/vault.json")).expect("a header"), before);
}

#[test]
fn a_passphrase_unlocks_the_vault_too() {
    let house = House::new(OPEN);
    house.private("passphrase", "correct horse battery staple\n");
    let original = fs::read_to_string(house.path("trayvault.toml")).expect("a configuration");
    let unlock = original.replace("key_file", "passphrase_file").replace("vault.key", "passphrase");
    fs::write(house.path("trayvault.toml"), unlock).expect("a configuration");
    house.succeeds(&["init"]);
    assert!(house.succeeds(&["check"]).contains("its key fits"));
    house.daemon().stop();
    house.private("passphrase", "correct horse battery stable\n");
    house.fails(&["run"], 65);
}

#[test]
fn init_never_touches_an_existing_vault_or_key() {
    let house = House::ready(OPEN);
    let read = |name: &str| fs::read(house.path(name)).expect("a file");
    let before = (read("vault.key"), read("state/vault.json"));
    let error = house.fails(&["init"], 65);
    assert!(error.contains("hint: it is left as it is"), "{error}");
    assert_eq!((read("vault.key"), read("state/vault.json")), before);
}

#[test]
fn a_new_vault_is_not_made_beside_an_earlier_ones_log_or_cache() {
    let house = House::ready(OPEN);
    house.daemon().stop();
    fs::remove_file(house.path("state/vault.json")).expect("a header");
    assert!(house.fails(&["init"], 65).contains("hint: move it aside"));
    assert!(!house.path("state/vault.json").exists());
    fs::rename(house.path("state/audit/audit.jsonl"), house.path("earlier")).expect("a rename");
    house.succeeds(&["init"]);
    assert!(house.fails(&["run"], 65).contains("hint: move cache.db aside"));
    for file in ["cache.db", "cache.db-wal", "cache.db-shm"] {
        let _ = fs::remove_file(house.path(&format!("state/{file}")));
    }
    house.daemon().stop();
}

#[test]
fn the_process_is_undumpable_and_its_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).expect("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("the core limit");
    assert_eq!(core.split_whitespace().rev().skip(1).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    let mut directories = vec![house.path("state")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let entry = entry.expect("an entry");
            let metadata = entry.metadata().expect("metadata");
            assert_eq!(metadata.permissions().mode() & 0o077, 0, "{}", entry.path().display());
            if metadata.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    daemon.stop();
}

/// Where the tests run as root it is one without capabilities, as any other user is: they are a thread's own, and what it
/// starts has none either.
#[test]
fn nobody_of_the_same_user_looks_into_the_process() {
    let house = House::ready(OPEN);
    let look = || {
        give_up_capabilities();
        let daemon = house.daemon();
        let mut other = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let look = |pid: &str| fs::File::open(format!("/proc/{pid}/mem")).map(drop).map_err(|error| error.kind());
        let seen = (look(&daemon.pid().to_string()), look(&other.id().to_string()));
        other.kill().and_then(|()| other.wait()).expect("ended");
        daemon.stop();
        seen
    };
    let seen = std::thread::scope(|scope| scope.spawn(look).join().expect("a look"));
    let denied = Err(std::io::ErrorKind::PermissionDenied);
    assert_eq!(seen, (denied, Ok(())), "the daemon's, and that of a process like any other");
}

fn give_up_capabilities() {
    use rustix::thread::{
        CapabilitySet, CapabilitySets, capability_is_in_bounding_set, remove_capability_from_bounding_set,
        set_capabilities,
    };
    for capability in CapabilitySet::all() {
        if capability_is_in_bounding_set(capability) == Ok(true) {
            // An ordinary user may not, and has none to pass on.
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, sets).expect("capabilities can be given up");
}
