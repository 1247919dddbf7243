//! Documents that are sealed before they are dropped.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use trayvault::{
    sealed,
    secret::Key,
    vault::{Keyring, Locked, UnlockKey},
};

use crate::support::{CANARY, House, OPEN};

const DOCUMENT: &str = r#"{ "version": 1, "credentials": { "token": "sk-emu-canary-5d20c7e81f6b4a93" } }"#;

/// The vault's keys, as the daemon has them.
fn keyring(house: &House) -> std::sync::Arc<Keyring> {
    let key = fs::read(house.path("vault.key")).expect("a key");
    let key = Key::try_fill(|bytes| {
        bytes.copy_from_slice(&key);
        Ok::<_, std::convert::Infallible>(())
    });
    let Ok(key) = key;
    let locked = Locked::open(&house.path("state")).expect("a vault");
    locked.unlock(&UnlockKey::Raw(key)).map_err(|error| error.to_string()).expect("the key fits").into_keyring()
}

fn opened(house: &House, sealed: &[u8]) -> String {
    let content = keyring(house).identity().map_err(|error| error.to_string()).expect("an unlocked vault");
    let content = content.open(sealed, 1 << 20).map_err(|error| error.to_string()).expect("it opens");
    String::from_utf8(content.expose_secret().to_vec()).expect("text")
}

/// A house with a drop directory, as a daemon left it, and the recipient.
fn left_behind() -> (House, String) {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    let recipient = house.succeeds(&["recipient"]).trim().to_owned();
    daemon.stop();
    (house, recipient)
}

/// What a command says on standard error, with the house's path taken out.
fn error(house: &House, output: &Output, code: i32) -> String {
    let error = String::from_utf8(output.stderr.clone()).expect("text");
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(!error.contains("canary"), "{error}");
    error.replace(house.path("").to_str().expect("text").trim_end_matches('/'), "DIR")
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect()
}

#[test]
fn the_recipient_outlives_restarts_rotations_a_lock_and_a_restore() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    let recipient = house.succeeds(&["recipient"]);
    assert!(recipient.starts_with("age1") && recipient.len() == 63, "{recipient}");
    house.succeeds(&["key", "rotate", "--wait"]);
    assert_eq!(house.succeeds(&["recipient"]), recipient);
    house.succeeds(&["lock"]);
    assert_eq!(house.succeeds(&["recipient"]), recipient);
    daemon.stop();
    let daemon = house.daemon();
    assert_eq!(house.succeeds(&["recipient"]), recipient);
    daemon.stop();
    let backup = house.path("backup");
    let backup = backup.to_str().expect("text");
    house.succeeds(&["backup", backup]);
    fs::rename(house.path("state"), house.path("lost")).expect("a rename");
    house.succeeds(&["restore", backup]);
    assert_eq!(format!("{}\n", keyring(&house).recipient()), recipient);
}

#[test]
fn what_is_dropped_lies_sealed_in_the_drop_directory_alone() {
    let (house, recipient) = left_behind();
    house.private("acme.json", DOCUMENT);
    let source = house.path("acme.json");
    let said = house.succeeds(&["drop", source.to_str().expect("text"), "--recipient", &recipient]);
    let directory = house.path("drop").display().to_string();
    insta::assert_snapshot!(said.replace(&directory, "DROP"), @r"
    dropped acme.json, sealed
    its receipt will be DROP/done/acme.json.receipt.json
    or, if it is refused, the reason DROP/rejected/acme.json.reason.json
    ");
    let path = house.path("drop/acme.json");
    let content = fs::read(&path).expect("a file");
    assert!(sealed::is_sealed(&content));
    assert_eq!(opened(&house, &content), DOCUMENT);
    assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o7777, 0o600);
    assert!(names(&house.path("drop/tmp")).is_empty());
    fs::remove_file(source).expect("a file");
    assert!(DOCUMENT.contains(CANARY));
    for file in house.files() {
        let content = fs::read(&file).expect("a file");
        assert!(!content.windows(CANARY.len()).any(|bytes| bytes == CANARY.as_bytes()), "{}", file.display());
    }
}

#[test]
fn what_is_sealed_already_is_dropped_as_it_is_and_needs_no_daemon() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    let sealed = house.run_with_input(&["seal"], DOCUMENT.as_bytes());
    assert!(sealed.status.success() && sealed::is_sealed(&sealed.stdout));
    daemon.stop();
    let dropped = house.run_with_input(&["drop", "-", "--name", "a.json", "--json"], &sealed.stdout);
    let said: serde_json::Value = serde_json::from_slice(&dropped.stdout).expect("JSON");
    assert_eq!(said["receipt"], house.path("drop/done/a.json.receipt.json").to_str().expect("text"));
    assert_eq!(fs::read(house.path("drop/a.json")).expect("a file"), sealed.stdout);
    assert_eq!(opened(&house, &sealed.stdout), DOCUMENT);
}

#[test]
fn a_sealed_file_is_private_and_new() {
    let (house, recipient) = left_behind();
    house.private("a.json", DOCUMENT);
    let (source, sealed) = (house.path("a.json"), house.path("a.age"));
    let (source, sealed) = (source.to_str().expect("text"), sealed.to_str().expect("text"));
    let seal = |file: &str| house.run(&["seal", file, "--recipient", &recipient, "--output", sealed]);
    assert!(seal(source).status.success());
    assert_eq!(fs::metadata(sealed).expect("a file").permissions().mode() & 0o7777, 0o600);
    assert_eq!(opened(&house, &fs::read(sealed).expect("a file")), DOCUMENT);
    insta::assert_snapshot!(error(&house, &seal(source), 73), @"
    error: can't create DIR/a.age: File exists (os error 17)
    hint: name one that is not there yet
    ");
    insta::assert_snapshot!(error(&house, &seal(sealed), 65), @"
    error: it is sealed already
    hint: trayvault drop takes it as it is
    ");
}

#[test]
fn a_large_file_is_sealed_in_pieces() {
    let (house, recipient) = left_behind();
    let content = "0123456789abcdef".repeat(40_000);
    let sealed = house.run_with_input(&["seal", "--recipient", &recipient], content.as_bytes());
    assert!(opened(&house, &sealed.stdout) == content);
}

#[test]
fn whatever_is_in_the_way_of_a_drop_is_told_and_leaves_nothing() {
    let (house, recipient) = left_behind();
    house.private("a.json", DOCUMENT);
    let file = house.path("a.json");
    let file = file.to_str().expect("text");
    let drop = |arguments: &[&str], code| {
        let arguments = [&["drop"], arguments].concat();
        error(&house, &house.run_with_input(&arguments, DOCUMENT.as_bytes()), code)
    };
    insta::assert_snapshot!(drop(&[file], 69), @"
    error: no daemon answers on DIR/run/api.sock: No such file or directory (os error 2)
    hint: start it with: trayvault run; or give --recipient, which trayvault recipient prints
    ");
    let to = ["--recipient", &recipient];
    insta::assert_snapshot!(drop(&[&["-"], &to[..]].concat(), 64), @"
    error: standard input has no name to deliver it under
    hint: give it one with --name, such as --name acme.json
    ");
    insta::assert_snapshot!(drop(&[&[file, "--name", "../a.json"], &to[..]].concat(), 64), @"
    error: a name is text without a slash or control characters
    hint: give it one with --name, such as --name acme.json
    ");
    insta::assert_snapshot!(drop(&[&[file, "--name", ".a.json"], &to[..]].concat(), 64), @"
    error: a name does not begin with a dot
    hint: give it one with --name, such as --name acme.json
    ");
    insta::assert_snapshot!(drop(&[file, "--recipient", "AGE-SECRET-KEY-1CANARY"], 64), @"
    error: not a recipient: one is age1 and 58 more characters
    hint: trayvault recipient prints the vault's
    ");
    insta::assert_snapshot!(drop(&[&["/nonexistent/a.json"], &to[..]].concat(), 66), @"
    error: can't read /nonexistent/a.json: No such file or directory (os error 2)
    ");
    insta::assert_snapshot!(drop(&[&[file, "--directory", "/nonexistent"], &to[..]].concat(), 73), @"
    error: can't open /nonexistent: No such file or directory (os error 2)
    hint: the daemon makes the directory, and tmp/ in it, when it starts: trayvault run
    ");
    house.private("drop/taken.json", "somebody else's");
    insta::assert_snapshot!(drop(&[&[file, "--name", "taken.json"], &to[..]].concat(), 73), @"
    error: something of that name is in the drop directory already
    hint: give it another name, with --name NAME
    ");
    assert_eq!(fs::read_to_string(house.path("drop/taken.json")).expect("a file"), "somebody else's");
    let mut left = names(&house.path("drop"));
    left.sort();
    assert_eq!(left, [".claimed", "done", "rejected", "taken.json", "tmp"]);
    assert!(names(&house.path("drop/tmp")).is_empty());
}

#[test]
fn without_a_drop_directory_nothing_is_dropped() {
    let (house, recipient) = left_behind();
    let path = house.path("trayvault.toml");
    let text = fs::read_to_string(&path).expect("a configuration");
    let text: Vec<_> = text.lines().filter(|line| !line.starts_with("ingest")).collect();
    let text = text.join("\n");
    fs::write(path, text).expect("a configuration");
    let output = house.run_with_input(&["drop", "-", "--name", "a", "--recipient", &recipient], DOCUMENT.as_bytes());
    insta::assert_snapshot!(error(&house, &output, 78), @"
    error: the configuration names no drop directory
    hint: set ingest.directory, or give --directory DIR
    ");
}

#[test]
fn the_help_of_drop_states_the_delivery_contract_on_80_columns() {
    let help = Command::new(env!("CARGO_BIN_EXE_trayvault"))
        .args(["drop", "--help"])
        .env("COLUMNS", "80")
        .env_remove("TRAYVAULT_CONFIG")
        .env_remove("TRAYVAULT_SOCKET")
        .output()
        .expect("the program runs");
    let help = String::from_utf8(help.stdout).expect("text");
    assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
    insta::assert_snapshot!(help, @"
    Drop a document, sealed, or show what it would do

    Usage: trayvault drop [OPTIONS] <FILE>

    Arguments:
      <FILE>  The document, sealed or not; - for standard input

    Options:
          --config <FILE>          The configuration file [env: TRAYVAULT_CONFIG]
                                   [default: /etc/trayvault/trayvault.toml]
          --socket <PATH>          The daemon's socket, instead of the
                                   configuration's [env: TRAYVAULT_SOCKET]
          --name <NAME>            The name to deliver it under, instead of the
                                   file's own
          --recipient <RECIPIENT>  To whom to seal (age1…), instead of asking the
                                   daemon
          --directory <DIR>        The drop directory, instead of the
                                   configuration's
          --plan                   Deliver nothing: show what would be done
          --json                   Print what was done, or would be, as JSON
      -h, --help                   Print help

    How a file is delivered:
      Write it under a name that begins with a dot, or in the drop directory's tmp/,
      then rename it into place: in one step, so that nobody sees half of it. This
      command does so, and seals the content to the vault first, so that it is never
      on the disk in the clear.
      A file that appears in place counts only when its writer has closed it, its
      size and times are at rest, and the document parses.

    What becomes of NAME, in the drop directory:
      done/NAME.receipt.json     it was done: what, and to which authentication
      rejected/NAME.reason.json  it was refused: why, without any value of it
      rejected/NAME              and the file itself, sealed to the vault
      Neither, and it waits: trayvault ingest list says for what.
      docs/drop-files.md describes the documents, and all of this.
    ");
}
