//! The order in which a new user does things, from the README.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::support::{CANARY, House, OPEN};

#[test]
fn a_new_user_gets_from_init_to_a_verified_audit_log() {
    let house = House::new(OPEN);
    assert!(house.succeeds(&["init"]).contains("made the vault"));
    assert!(house.succeeds(&["check"]).contains("its key fits"));
    let mut daemon = house.daemon();
    assert!(house.succeeds(&["sync"]).starts_with("synchronised: 8 listed (owners: 4)"));
    assert!(house.succeeds(&["status"]).contains("8 held in full"));

    let salesforce = house.upstream("salesforce");
    let id = salesforce.id.to_string();
    assert!(house.succeeds(&["list"]).contains(&id));
    let read = house.succeeds(&["get", &id, "--field", "/credentials/access_token"]);
    assert_eq!(read.trim_end(), salesforce.credentials["access_token"]);

    let document = json!({
        "version": 1, "action": "create", "name": "Acme Slack", "user": { "externalUserId": "acme-1" },
        "service": { "name": "slack", "version": 2 }, "environment": "Production",
        "credentials": { "accessToken": CANARY },
    });
    house.drop_file("slack.json", &document);
    let created =
        daemon.outcome("done/slack.json.receipt.json")["authenticationId"].as_str().expect("an id").to_owned();
    // What was dropped is pulled at once, without waiting for the interval.
    let full = daemon.wait("the pull", || {
        let (status, answer) = house.get(&format!("/v1/authentications/{created}/full"));
        (status == 200).then_some(answer)
    });
    assert_eq!(full["authentication"]["credentials"]["accessToken"], CANARY);

    assert!(house.succeeds(&["audit", "verify"]).starts_with("the audit log is intact: "));
    daemon.stop();
    assert!(house.succeeds(&["audit", "verify"]).starts_with("the audit log is intact: "));
}

#[test]
fn what_is_sealed_is_answered_while_tray_is_down() {
    let mut house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    daemon.stop();
    let slack = house.upstream("slack");
    house.stop_emulator();
    let daemon = house.daemon();
    let read = house.succeeds(&["get", &slack.id.to_string(), "--field", "/credentials/accessToken"]);
    assert_eq!(read.trim_end(), slack.credentials["accessToken"]);
    let report = house.run(&["sync"]);
    assert_eq!(report.status.code(), Some(69));
    let error = String::from_utf8_lossy(&report.stderr);
    // The daemon has tried by itself since it started, and may have found out before.
    assert!(error.contains("Tray can't be reached") || error.contains("Tray has not been answering"), "{error}");
    daemon.stop();
}

#[test]
fn every_command_that_prints_data_prints_json_too() {
    let house = House::new(OPEN);
    let json = |arguments: &[&str]| -> Value { serde_json::from_str(&house.succeeds(arguments)).expect("JSON") };
    assert!(json(&["init", "--json"])["vault_id"].is_string());
    assert_eq!(json(&["check", "--json"])[0]["standing"], "good");
    let daemon = house.daemon();
    assert_eq!(json(&["sync", "--json"])["listed"], 8);
    assert_eq!(json(&["status", "--json"])["authentications"]["full"], 8);
    assert_eq!(json(&["list", "--json"])["authentications"].as_array().map(Vec::len), Some(8));
    let id = house.upstream("slack").id.to_string();
    assert_eq!(json(&["get", &id, "--json"])["authentication"]["id"], id);
    assert_eq!(json(&["audit", "verify", "--json"])["intact"], true);
    daemon.stop();
}

#[test]
fn the_emulator_tells_a_program_what_it_accepts_in_json() {
    let mut emulator = Command::new(env!("CARGO_BIN_EXE_trayvault"))
        .args(["emulator", "--listen", "127.0.0.1:0", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut documents = serde_json::Deserializer::from_reader(emulator.stdout.take().expect("a pipe")).into_iter();
    let told: Value = documents.next().expect("a document").expect("JSON");
    emulator.kill().expect("a child");
    emulator.wait().expect("a child");
    assert!(told["api_url"].as_str().expect("text").starts_with("http://127.0.0.1:"));
    assert!(told["tokens"]["master"].is_string() && told["tokens"]["api_user"].is_string());
    assert!(told["config"].as_str().expect("text").contains("[tokens]"));
}

/// What the emulator prints, pasted into a shell, is a configuration that passes `check` after `init`.
#[test]
fn the_emulators_ready_made_configuration_works_as_pasted() {
    let program = env!("CARGO_BIN_EXE_trayvault");
    let mut emulator = Command::new(program)
        .args(["emulator", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let lines = BufReader::new(emulator.stdout.take().expect("a pipe")).lines();
    let mut pasted = String::new();
    for line in lines {
        let line = line.expect("text");
        let last = line.starts_with("# then:");
        pasted.push_str(&line);
        pasted.push('\n');
        if last {
            break;
        }
    }
    let directory = tempfile::tempdir().expect("a directory");
    let shell = Command::new("sh")
        .arg("-ec")
        .arg(format!("{pasted}{program} init && {program} check"))
        .current_dir(&directory)
        .output()
        .expect("a shell");
    emulator.kill().expect("a child");
    emulator.wait().expect("a child");
    assert!(shell.status.success(), "{}", String::from_utf8_lossy(&shell.stderr));
    assert!(String::from_utf8_lossy(&shell.stdout).contains("its key fits"));
}
