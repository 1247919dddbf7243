//! What a person reads when something is wrong: golden.

use std::{fs, path::Path, process::Command};

use crate::support::{House, OPEN};

/// The error of a command, with what differs between runs taken out.
fn golden(house: &House, arguments: &[&str], code: i32) -> String {
    let error = house.fails(arguments, code);
    let directory = house.path("");
    let text = error.replace(directory.to_str().expect("text").trim_end_matches('/'), "DIR");
    let id = text.find("under request ").map(|at| text[at + 14..at + 50].to_owned());
    id.map_or(text.clone(), |id| text.replace(&id, "REQUEST"))
}

#[test]
fn errors_are_one_clause_and_a_hint() {
    let house = House::new(OPEN);
    insta::assert_snapshot!(golden(&house, &["run"], 65), @"
    error: no vault in DIR/state
    hint: make it with: trayvault init
    ");
    insta::assert_snapshot!(golden(&house, &["status"], 69), @"
    error: no daemon answers on DIR/run/api.sock: No such file or directory (os error 2)
    hint: start it with: trayvault run
    ");
    insta::assert_snapshot!(golden(&house, &["audit", "verify"], 65), @"
    error: no vault in DIR/state
    hint: make it with: trayvault init
    ");
    house.succeeds(&["init"]);
    insta::assert_snapshot!(golden(&house, &["init"], 65), @"
    error: there is a vault in DIR/state already
    hint: it is left as it is: go on with trayvault check, then trayvault run
    ");
    fs::remove_file(house.path("master.token")).expect("a file");
    insta::assert_snapshot!(golden(&house, &["run"], 78), @"
    error: the master token can't be read: can't open DIR/master.token: No such file or directory (os error 2)
    hint: put it there, readable by the daemon's user alone (mode 600)
    ");
}

#[test]
fn an_open_key_file_is_refused_with_the_command_that_mends_it() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::ready(OPEN);
    fs::set_permissions(house.path("vault.key"), fs::Permissions::from_mode(0o644)).expect("a mode");
    insta::assert_snapshot!(golden(&house, &["run"], 78), @"
    error: DIR/vault.key has mode 0644, which lets others in
    hint: chmod 600 DIR/vault.key
    ");
}

#[test]
fn a_refused_caller_gets_its_request_id_and_no_reason() {
    let house = House::ready("[[pull.rules]]\nname = \"all\"\neffect = \"allow\"\n");
    let daemon = house.daemon();
    insta::assert_snapshot!(golden(&house, &["list"], 77), @"
    error: not allowed; the audit log says why
    hint: whoever runs the daemon finds the reason under request REQUEST
    ");
    daemon.stop();
}

#[test]
fn a_mistyped_configuration_is_told_by_line_and_key() {
    let house = House::new("[sync]\nintervall = \"5m\"\n");
    insta::assert_snapshot!(golden(&house, &["check"], 78), @"
    error: the configuration DIR/trayvault.toml, line 9, sync.intervall is wrong: unknown key intervall, expected one of `interval`, `refresh_after`, `expiry_margin`, `expires_at`, `expires_in`, `serve_stale_for`, `max_removed_percent`, `keep_tombstones`
    hint: config/trayvault.toml shows every key with its default
    ");
}

#[test]
fn a_missing_configuration_is_told_with_how_to_name_it() {
    let house = House::new(OPEN);
    fs::remove_file(house.path("trayvault.toml")).expect("a file");
    insta::assert_snapshot!(golden(&house, &["run"], 78), @"
    error: the configuration DIR/trayvault.toml can't be read: No such file or directory (os error 2)
    hint: name it with --config FILE or TRAYVAULT_CONFIG
    ");
}

#[test]
fn wrong_arguments_exit_with_usage_and_help_with_success() {
    let house = House::new(OPEN);
    house.fails(&["no-such-command"], 64);
    house.fails(&["get"], 64);
    insta::assert_snapshot!(house.succeeds(&["--help"]), @"
    Keeps Tray authentications in an encrypted local cache, for the services on this host

    Usage: trayvault <COMMAND>

    Commands:
      init       Make the vault: its key file if there is none, its header, its audit log
      check      Check the configuration, and what it names on this host
      doctor     Check the host as a whole: kernel, limits, Tray, tokens, the daemon
      run        Run the daemon
      status     Show how the daemon stands
      top        Watch how the daemon stands, live
      list       List authentications, without secrets
      get        Read one authentication
      exec       Run a command with secrets in its environment or in files
      sync       Synchronise with Tray now
      drop       Drop a document, sealed, or show what it would do
      ingest     Documents that are not finished, and rejected ones
      seal       Seal a document to the vault, to drop it from anywhere
      recipient  Print the recipient that documents are sealed to
      why        Explain a decision by the rule that made it
      who-can    List who may do what with an authentication, by which rules
      lock       Wipe the daemon's keys and tokens: it answers no secret until it is unlocked
      unlock     Unlock the daemon's vault again
      key        The vault's key slots, and the rotation of its keys
      backup     Write a sealed copy of everything to a file; the daemon may run meanwhile
      restore    Put a backup back into an empty state directory
      audit      Look into the audit log
      openapi    Print the description of api.sock, as OpenAPI
      emulator   Run an emulator of the Tray API on loopback, to try things out
      demo       Show the whole way once: emulator, daemon, and what they do
      help       Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version
    ");
}

#[test]
fn every_shipped_configuration_passes_check() {
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("config")).expect("a directory") {
        let path = entry.expect("an entry").path();
        let checked = Command::new(env!("CARGO_BIN_EXE_trayvault"))
            .args(["check", "--config"])
            .arg(&path)
            .env_remove("CREDENTIALS_DIRECTORY")
            .output()
            .expect("the program runs");
        assert!(checked.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&checked.stderr));
    }
}
