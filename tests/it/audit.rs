//! The audit log: what is on record, and that a change shows.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    process::Stdio,
};

use serde_json::Value;

use crate::support::{House, OPEN};

fn entries(house: &House) -> Vec<Value> {
    let log = fs::read_to_string(house.path("state/audit/audit.jsonl")).expect("a log");
    log.lines().map(|line| serde_json::from_str(line).expect("an entry")).collect()
}

#[test]
fn every_pull_read_and_life_cycle_event_is_on_record() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let slack = house.upstream("slack").id.to_string();
    house.succeeds(&["get", &slack]);
    daemon.stop();
    let entries = entries(&house);
    let count = |action: &str| entries.iter().filter(|entry| entry["action"] == action).count();
    assert_eq!(count("vault.create"), 1);
    assert_eq!(count("daemon.start"), 1);
    assert_eq!(count("token.mint"), 6, "begun and done");
    assert_eq!(count("workspace.verify"), 1);
    assert_eq!(count("authentication.pull"), 8);
    assert_eq!(count("authentication.read"), 1);
    assert_eq!(count("daemon.stop"), 1);
    let read = entries.iter().find(|entry| entry["action"] == "authentication.read").expect("the read");
    assert_eq!((&read["authentication"], &read["rule"]), (&slack.into(), &"the test".into()));
    assert_eq!(read["actor"]["uid"], rustix::process::getuid().as_raw());
    let sequence: Vec<_> = entries.iter().map(|entry| entry["seq"].as_u64().expect("a number")).collect();
    assert_eq!(sequence, (1..=entries.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_change_a_gap_and_a_swap_are_found_and_named_by_line() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    daemon.stop();
    let path = house.path("state/audit/audit.jsonl");
    let original = fs::read_to_string(&path).expect("a log");
    let lines: Vec<_> = original.lines().collect();
    let broken = |lines: &[&str], line: usize| {
        fs::write(&path, lines.join("\n") + "\n").expect("a log");
        let error = house.fails(&["audit", "verify"], 65);
        assert!(
            error.contains(&format!("the audit log is broken at line {line} of audit.jsonl, entry {line}: ")),
            "{error}"
        );
    };
    let changed = lines[4].replace("\"outcome\":\"", "\"outcome\":\"not ");
    assert_ne!(changed, lines[4]);
    broken(&[&lines[..4], &[&changed], &lines[5..]].concat(), 5);
    broken(&[&lines[..4], &lines[5..]].concat(), 5);
    broken(&[&lines[..4], &[lines[5], lines[4]], &lines[6..]].concat(), 5);
    broken(&[&lines[..4], &[lines[3]], &lines[4..]].concat(), 5);
    fs::write(&path, &original).expect("a log");
    let head: Value = serde_json::from_str(lines[lines.len() - 1]).expect("an entry");
    let (count, mac) = (lines.len(), head["mac"].as_str().expect("a MAC"));
    let intact = format!("the audit log is intact: {count} entries in one file\nits last entry: {count}:{mac}\n");
    assert_eq!(house.succeeds(&["audit", "verify"]), intact);
    // Cut off, it is a shorter log by itself, and not to an anchor.
    fs::write(&path, lines[..count - 2].join("\n") + "\n").expect("a log");
    house.succeeds(&["audit", "verify"]);
    let error = house.fails(&["audit", "verify", "--anchor", &format!("{count}:{mac}")], 65);
    assert!(
        error.contains(&format!("line {} of audit.jsonl", count - 1)) && error.contains("was cut off here"),
        "{error}"
    );
}

#[test]
fn a_torn_last_line_is_cut_off_and_that_is_recorded() {
    let house = House::ready(OPEN);
    let path = house.path("state/audit/audit.jsonl");
    let mut log = fs::read(&path).expect("a log");
    log.extend_from_slice(b"{\"v\":1,\"seq\":2,\"ti");
    fs::write(&path, log).expect("a log");
    assert!(house.fails(&["audit", "verify"], 65).contains("line 2 of audit.jsonl, entry 2: the line is torn"));
    house.daemon().stop();
    house.succeeds(&["audit", "verify"]);
    assert_eq!(entries(&house)[1]["action"], "audit.repair");
}

#[test]
fn a_log_that_is_emptied_or_gone_is_no_intact_one_and_a_start_without_it_has_to_be_accepted() {
    for gone in [false, true] {
        let house = House::ready(OPEN);
        house.daemon().stop();
        let path = house.path("state/audit/audit.jsonl");
        fs::write(&path, "").expect("a log");
        assert!(house.fails(&["audit", "verify"], 65).contains("the log is empty"));
        if gone {
            fs::remove_file(&path).expect("a log");
        }
        for _ in 0..2 {
            let error = house.fails(&["run"], 74);
            assert!(error.contains("is lost: it is empty, or not there\nhint: put it back; "), "{error}");
        }
        house.daemon_with(&["--accept-rollback"]).stop();
        let first = &entries(&house)[0];
        assert_eq!((&first["action"], &first["outcome"]), (&"audit.repair".into(), &"failed".into()));
        house.daemon().stop();
    }
}

#[test]
fn a_log_that_is_taken_away_under_a_running_daemon_stops_answers() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let path = house.path("state/audit/audit.jsonl");
    fs::rename(&path, house.path("elsewhere")).expect("a rename");
    let get = || house.get(&format!("/v1/authentications/{}/full", house.upstream("slack").id));
    assert_eq!(get().1["code"], "audit_unavailable");
    fs::rename(house.path("elsewhere"), &path).expect("a rename");
    assert_eq!(get().0, 200);
    daemon.stop();
}

#[test]
fn what_a_rule_withholds_and_what_is_destroyed_is_on_record() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    house.sync();
    house.configure(&OPEN.replace("\"allow\"", "\"deny\""));
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait("the secrets to be gone", || (house.get("/v1/status").1["authentications"]["full"] == 0).then_some(()));
    daemon.stop();
    let count = |action: &str, outcome: &str| {
        let matches = |entry: &&Value| entry["action"] == action && entry["outcome"] == outcome;
        entries(&house).iter().filter(matches).count()
    };
    assert_eq!(count("authentication.pull", "refused"), 8);
    assert_eq!(count("authentication.destroy", "done"), 8);
    assert_eq!(count("daemon.reload", "done"), 1);
}

#[test]
fn a_long_torn_tail_is_cut_off_too() {
    for junk in [vec![0; 20_000], vec![0; 200_000]] {
        let house = House::ready(OPEN);
        house.daemon().stop();
        let path = house.path("state/audit/audit.jsonl");
        let mut log = fs::read(&path).expect("a log");
        log.extend_from_slice(&junk);
        fs::write(&path, log).expect("a log");
        house.daemon().stop();
        house.succeeds(&["audit", "verify"]);
    }
}

#[test]
fn a_log_is_verified_while_it_is_written() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let path = format!("/v1/authentications/{}", house.upstream("slack").id);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                assert_eq!(house.get(&path).0, 200);
            }
        });
        for _ in 0..50 {
            house.succeeds(&["audit", "verify"]);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    daemon.stop();
}

#[test]
fn a_log_that_others_could_write_is_not_trusted() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::ready(OPEN);
    let path = house.path("state/audit/audit.jsonl");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("a mode");
    assert!(house.fails(&["run"], 73).contains("chmod 600"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
    fs::rename(&path, house.path("elsewhere")).expect("a rename");
    std::os::unix::fs::symlink(house.path("elsewhere"), &path).expect("a link");
    assert!(house.fails(&["run"], 73).contains("is not a regular file"));
}

#[test]
fn another_vaults_log_does_not_verify() {
    let (house, other) = (House::ready(OPEN), House::ready(OPEN));
    fs::copy(other.path("state/audit/audit.jsonl"), house.path("state/audit/audit.jsonl")).expect("a copy");
    assert!(house.fails(&["audit", "verify"], 65).contains("written under another key"));
}

#[test]
fn without_a_writable_log_no_secret_leaves() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    house.sync();
    // A log that can't grow: the limit of file sizes is where it is now.
    let length = fs::metadata(house.path("state/audit/audit.jsonl")).expect("a log").len();
    let pid = rustix::process::Pid::from_raw(daemon.pid()).expect("a pid");
    let limit = rustix::process::Rlimit { current: Some(length), maximum: None };
    rustix::process::prlimit(Some(pid), rustix::process::Resource::Fsize, limit).expect("a limit");
    let id = house.upstream("slack").id;
    let (status, content) = house.get(&format!("/v1/authentications/{id}/full"));
    assert_eq!((status.as_u16(), content["code"].as_str()), (503, Some("audit_unavailable")), "{content}");
    assert_eq!(house.get("/v1/health/live").0, 200, "status and health go on");
    let problems = house.get("/v1/status").1["problems"].to_string();
    assert!(problems.contains("no secret leaves, and nothing is sent: the audit log"), "{problems}");
    daemon.wait("the daemon to be alive", || Some(()));
}

#[test]
fn who_read_an_authentication_is_reported_and_entries_are_filtered_and_exported() {
    let house = House::ready(&format!("{OPEN}\n[audit]\nsegment_size = 65536\n"));
    let daemon = house.daemon();
    house.sync();
    let (slack, other) = (house.upstream("slack").id.to_string(), house.upstream("salesforce").id.to_string());
    // Over the ends of segments.
    for _ in 0..120 {
        assert_eq!(house.get(&format!("/v1/authentications/{slack}/full")).0, 200);
    }
    assert_eq!(house.get(&format!("/v1/authentications/{other}/full")).0, 200);
    let verified = house.succeeds(&["audit", "verify"]);
    assert!(verified.contains(" entries in 2 files") || verified.contains(" entries in 3 files"), "{verified}");

    let report = house.succeeds(&["audit", "report", "--authentication", &slack, "--json"]);
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let uid = rustix::process::getuid().as_raw();
    assert_eq!((&report[0]["count"], &report[0]["caller"]["uid"]), (&120.into(), &uid.into()));
    assert_eq!((&report[0]["rule"], &report[1]), (&"the test".into(), &Value::Null));
    let table = house.succeeds(&["audit", "report", "--authentication", &slack, "--since", "1h"]);
    assert!(table.starts_with("CALLER") && table.contains("120") && table.contains("the test"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    let nobody = house.succeeds(&["audit", "report", "--authentication", &slack, "--since", "2999-01-01T00:00:00Z"]);
    assert_eq!(nobody, "nobody asked for it\n");

    let reads = ["--action", "authentication.read", "--outcome", "done"];
    let lines = |command: &[&str]| house.succeeds(&[command, &reads].concat()).lines().count();
    assert_eq!(lines(&["audit", "export"]), 121);
    assert_eq!(lines(&["audit", "export", "--csv", "--authentication", &other]), 2, "and the header");
    assert_eq!(lines(&["audit", "export", "--caller", &uid.to_string()]), 121);
    assert_eq!(lines(&["audit", "export", "--caller", "no-such.service"]), 0);
    assert_eq!(lines(&["audit", "export", "--until", "1h"]), 0);
    assert_eq!(lines(&["audit", "tail", "-n", "200"]), 121);
    assert_eq!(lines(&["audit", "tail", "-n", "7", "--json"]), 7);
    let tail = house.succeeds(&["audit", "tail", "-n", "1", "--action", "authentication.*"]);
    assert!(tail.contains(&format!(" authentication.read done uid={uid} ")) && tail.contains(&other), "{tail}");

    // What can't be verified is in no report.
    daemon.stop();
    let path = house.path("state/audit/audit.jsonl");
    let log = fs::read_to_string(&path).expect("a log");
    let changed = log.replacen(&other, &slack, 1);
    assert_ne!(changed, log);
    fs::write(&path, changed).expect("a log");
    house.fails(&["audit", "report", "--authentication", &slack], 65);
    house.fails(&["audit", "export"], 65);
}

#[test]
fn tail_follows_what_is_written_over_segments() {
    let house = House::ready(&format!("{OPEN}\n[audit]\nsegment_size = 65536\n"));
    let mut daemon = house.daemon();
    house.sync();
    let slack = house.upstream("slack").id.to_string();
    let mut tail = house.command(Path::new(env!("CARGO_BIN_EXE_trayvault")));
    tail.args(["audit", "tail", "--follow", "--json", "--action", "authentication.read"]).stdout(Stdio::piped());
    let mut tail = tail.spawn().expect("it runs");
    let mut output = std::io::BufReader::new(tail.stdout.take().expect("its output"));
    for number in 0..150 {
        assert_eq!(house.get(&format!("/v1/authentications/{slack}/full")).0, 200);
        if number == 0 {
            // It is up once it has this.
            let mut line = String::new();
            std::io::BufRead::read_line(&mut output, &mut line).expect("a line");
            assert!(line.contains(&slack), "{line}");
        }
    }
    for _ in 1..150 {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut output, &mut line).expect("a line");
        assert!(line.contains(&slack), "{line}");
    }
    tail.kill().and_then(|()| tail.wait()).expect("it ends");
    daemon.wait("a second segment", || {
        (fs::read_dir(house.path("state/audit")).expect("a directory").count() > 2).then_some(())
    });
    daemon.stop();
}

/// Every route: what it answers by itself, and nothing of a secret, while the log can't be written.
#[test]
fn a_log_that_fails_lets_no_secret_out_of_any_endpoint() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let slack = house.upstream("slack").id.to_string();
    let secrets = house.world().secrets();
    assert!(secrets.len() > 10);
    let document: Value = serde_json::from_str(include_str!("../../docs/openapi.json")).expect("JSON");
    let path = house.path("state/audit/audit.jsonl");
    fs::rename(&path, house.path("elsewhere")).expect("a rename");
    let mut refused = 0;
    for (route, operations) in document["paths"].as_object().expect("paths") {
        let at = route.replace("{id}", &slack).replace("{intent}", &slack).replace("{name}", "a.json");
        for method in ["GET", "POST", "DELETE"] {
            // Events have no end, and begin with an entry too.
            if operations[method.to_lowercase()].is_null() || route == "/v1/events" {
                continue;
            }
            let answer = ask_plainly(&house, method, &at);
            let hit = secrets.iter().any(|secret| answer.contains(secret.as_str()));
            assert!(!hit, "{method} {route}");
            if answer.contains("audit_unavailable") {
                refused += 1;
            }
            if route.ends_with("/full") || route.ends_with("/refresh") {
                assert!(
                    answer.starts_with("HTTP/1.1 503 ") && answer.contains("audit_unavailable"),
                    "{route}: {answer}"
                );
            }
        }
    }
    assert!(refused > 10, "{refused}");
    let get = |path: &str| house.get(path).0.as_u16();
    assert_eq!((get("/v1/status"), get("/v1/health/live"), get("/v1/health/ready")), (200, 200, 200));
    fs::rename(house.path("elsewhere"), &path).expect("a rename");
    assert_eq!(get(&format!("/v1/authentications/{slack}/full")), 200, "it heals by itself");
    daemon.stop();
}

/// All of an answer, as it comes.
fn ask_plainly(house: &House, method: &str, path: &str) -> String {
    let mut stream = UnixStream::connect(house.path("run/api.sock")).expect("a connection");
    let head = format!("{method} {path} HTTP/1.1\r\nHost: trayvault\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}
