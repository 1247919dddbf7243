//! `trayvault doctor`: the host as a whole.

use serde_json::Value;

use crate::support::{CANARY, House, OPEN};

/// What it found, and its exit code.
fn doctor(house: &House) -> (Vec<Value>, Option<i32>) {
    let output = house.run(&["doctor", "--json"]);
    let findings = serde_json::from_slice(&output.stdout).expect("JSON");
    (findings, output.status.code())
}

fn found(findings: &[Value], subject: &str) -> (String, String) {
    let finding = findings.iter().find(|finding| finding["subject"] == subject);
    let finding = finding.unwrap_or_else(|| panic!("nothing of {subject}: {findings:?}"));
    let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    (text("standing"), text("detail") + "|" + &text("hint"))
}

#[test]
fn of_a_host_on_which_all_is_well_it_says_so() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let (findings, code) = doctor(&house);
    assert_eq!(code, Some(0), "{findings:?}");
    for subject in
        ["vault", "master token", "API user's token", "clock", "daemon", "full read", "api.sock", "drop directory"]
    {
        assert_eq!(found(&findings, subject).0, "good", "{subject}: {findings:?}");
    }
    for subject in ["kernel", "memory", "Landlock", "locked memory", "open files", "inotify watches", "inotify queue"] {
        found(&findings, subject);
    }
    assert!(found(&findings, "full read").1.starts_with("8 authentications"), "{findings:?}");
    // What a person reads fits a terminal.
    let table = house.succeeds(&["doctor"]);
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    daemon.stop();
}

/// Of all things a doctor is not held up by what is ill.
#[test]
fn a_daemon_that_does_not_answer_is_told() {
    let house = House::ready(OPEN);
    std::fs::create_dir(house.path("run")).expect("a directory");
    let mute = std::os::unix::net::UnixListener::bind(house.path("run/api.sock")).expect("a socket");
    let (findings, code) = doctor(&house);
    assert_eq!((found(&findings, "daemon").0.as_str(), code), ("bad", Some(78)), "{findings:?}");
    drop(mute);
}

#[test]
fn what_falls_short_is_told_with_what_to_do_and_never_a_token() {
    let mut house = House::ready(OPEN);
    let (findings, code) = doctor(&house);
    assert_eq!(code, Some(0));
    let (standing, daemon) = found(&findings, "daemon");
    assert!(standing == "note" && daemon.contains("systemctl start trayvault"), "{daemon}");
    house.private("master.token", CANARY);
    house.private("api-user.token", &format!("{CANARY}2"));
    let (findings, code) = doctor(&house);
    assert_eq!(code, Some(78));
    let master: Vec<_> = findings.iter().filter(|finding| finding["subject"] == "master token").collect();
    assert!(master.iter().any(|finding| finding["standing"] == "bad"), "{master:?}");
    assert!(findings.iter().any(|finding| finding["hint"].as_str().is_some_and(|hint| hint.contains("master token"))));
    assert!(!findings.iter().any(|finding| finding.to_string().contains(CANARY)));
    let error = house.fails(&["doctor"], 78);
    assert!(error.contains("hint: each that is WRONG has its own hint"), "{error}");
    // That Tray can't be reached is nothing that is wrong here.
    house.stop_emulator();
    let (findings, code) = doctor(&house);
    assert_eq!(code, Some(0), "{findings:?}");
}
