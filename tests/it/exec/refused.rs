//! What is refused, and with which words: golden.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::json;
use uuid::Uuid;

use super::{PROGRAM, alter, exec, file, options, set, text};
use crate::support::{House, OPEN};

/// The golden part of an error: what differs between runs taken out.
#[track_caller]
fn refusal(house: &House, command: &mut Command, code: i32, id: Uuid) -> String {
    let Output { status, stderr, .. } = house.output(command, true);
    let error = text(&stderr);
    assert_eq!(status.code(), Some(code), "{error}");
    let request = error.find("under request ").map(|at| error[at + 14..at + 50].to_owned());
    let error = request.map_or(error.clone(), |request| error.replace(&request, "REQUEST"));
    let directory = house.path("");
    error.replace(&id.to_string(), "ID").replace(directory.to_str().expect("text").trim_end_matches('/'), "DIR")
}

#[test]
fn what_it_takes_is_shown_by_help() {
    let house = House::new(OPEN);
    insta::assert_snapshot!(house.succeeds(&["exec", "--help"]), @"
    Run a command with secrets in its environment or in files

    Usage: trayvault exec [OPTIONS] -- <COMMAND>...

    Arguments:
      <COMMAND>...  The command and its arguments

    Options:
          --config <FILE>                  The configuration file [env: TRAYVAULT_CONFIG] [default:
                                           /etc/trayvault/trayvault.toml]
          --socket <PATH>                  The daemon's socket, instead of the configuration's [env:
                                           TRAYVAULT_SOCKET]
          --set <VAR=ID/POINTER>           Put a value into an environment variable
          --file <VAR=ID[/POINTER]>        Put a value, or all of an authentication, into a sealed file
                                           in memory that the command inherits, and its path into a
                                           variable
          --tmpfs-file <VAR=ID[/POINTER]>  As --file, in a private directory on tmpfs: for programs that
                                           close what they inherit, and for a file that is renewed
          --restart-on-change              When a value changes, end the command (SIGTERM, SIGKILL after
                                           10s) and start it anew
          --signal-on-change <SIGNAL>      When a value changes, renew each --tmpfs-file and send the
                                           command a signal, such as HUP
      -h, --help                           Print help

    Text is given as it is; numbers, objects and lists as JSON; a null is refused.
    The command has its caller's environment, without TRAYVAULT_*, and its caller's
    open files. Its exit code is the exit code; 127 says there is no such command,
    126 that it can't be run.
    ");
}

#[test]
fn a_null_and_a_nul_are_no_values_of_variables() {
    let house = House::ready(OPEN);
    let slack = house.upstream("slack").id;
    alter(&house, slack, &json!({ "nothing": null, "nul": "a\0b" }));
    let daemon = house.daemon();
    house.sync();
    let refused = |field: &str| {
        let options = options(&[&set("A", slack, &format!("/credentials/{field}"))]);
        refusal(&house, &mut exec(&house, &options, "exit 0"), 65, slack)
    };
    insta::assert_snapshot!(refused("nothing"), @"error: A can't be had: it is null");
    insta::assert_snapshot!(refused("nul"), @"
    error: A can't be had: it has a NUL byte
    hint: a variable ends at one: give it with --file
    ");
    daemon.stop();
}

#[test]
fn what_can_not_be_run_ends_with_the_codes_of_shells() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let slack = house.upstream("slack").id;
    let both = [set("TOKEN", slack, "/credentials/accessToken"), file("--tmpfs-file", "SECRET", slack, "")];
    for options in [&both[0], &both[1]] {
        let run = |program: &str, code: i32| {
            let mut command = house.command(Path::new(PROGRAM));
            refusal(&house, command.arg("exec").args(options).args(["--", program]), code, slack)
        };
        insta::allow_duplicates! {
            insta::assert_snapshot!(run("no-such-command", 127), @"error: can't run no-such-command: No such file or directory (os error 2)");
            insta::assert_snapshot!(run("/dev/null", 126), @"error: can't run /dev/null: Permission denied (os error 13)");
        }
    }
    daemon.stop();
}

#[test]
fn a_refused_or_missing_value_starts_nothing_and_says_which() {
    let rules = OPEN.replace("[[access.rules]]", "[[access.rules]]\nservices = [\"slack\"]").replace("\"sync\", ", "");
    let house = House::ready(&format!(
        "{rules}\n[[access.rules]]\nname = \"cycles\"\nusers = [\"UID\"]\ngrants = [\"sync\"]\n"
    ));
    let daemon = house.daemon();
    house.sync();
    let (slack, other) = (house.upstream("slack").id, house.upstream("salesforce").id);
    let started = house.path("started");
    let script = format!("touch {}", started.display());
    let refused = |parts: &[&[String]], code: i32, id: Uuid| {
        refusal(&house, &mut exec(&house, &options(parts), &script), code, id)
    };
    let good = set("GOOD", slack, "/credentials/accessToken");
    insta::assert_snapshot!(refused(&[&good, &set("TOKEN", other, "/credentials/access_token")], 77, other), @"
    error: TOKEN can't be had: not allowed; the audit log says why
    hint: whoever runs the daemon finds the reason under request REQUEST
    ");
    insta::assert_snapshot!(refused(&[&good, &set("TOKEN", slack, "/credentials/none")], 64, slack), @"
    error: TOKEN can't be had: the authentication has no such field
    hint: fields bear the service's own names, such as /credentials/accessToken
    ");
    let follow = ["--restart-on-change".to_owned()];
    insta::assert_snapshot!(refused(&[&follow, &set("TOKEN", other, "/credentials/access_token")], 77, other), @"
    error: changes can't be followed, which takes the grant of metadata: not allowed; the audit log says why
    hint: whoever runs the daemon finds the reason under request REQUEST
    ");
    daemon.stop();
    insta::assert_snapshot!(refused(&[&good], 69, slack), @"
    error: GOOD can't be had: no daemon answers on DIR/run/api.sock: No such file or directory (os error 2)
    hint: start it with: trayvault run
    ");
    assert!(!started.exists());
}

#[test]
fn what_makes_no_sense_is_refused_with_what_would() {
    let house = House::new(OPEN);
    let id = Uuid::from_u128(7);
    let refused = |parts: &[&[String]]| refusal(&house, &mut exec(&house, &options(parts), "exit 0"), 64, id);
    insta::assert_snapshot!(refused(&[]), @"
    error: no value is named
    hint: name one with --set VAR=ID/POINTER or --file VAR=ID
    ");
    insta::assert_snapshot!(refused(&[&set("A", id, "/x"), &file("--file", "A", id, "")]), @"
    error: A is given twice
    hint: each variable has one value
    ");
    insta::assert_snapshot!(refused(&[&set("A", id, "")]), @"
    error: invalid value '…' for '--set <VAR=ID/POINTER>': name a field too, such as ID/credentials/accessToken
    hint: --help shows what there is
    ");
    let signal = ["--signal-on-change".to_owned(), "HUP".to_owned()];
    insta::assert_snapshot!(refused(&[&signal, &set("A", id, "/x")]), @"
    error: a signal can't give the running command another A
    hint: use --tmpfs-file for it, or add --restart-on-change
    ");
    let restart = ["--restart-on-change".to_owned()];
    insta::assert_snapshot!(refused(&[&signal, &restart, &file("--file", "A", id, "")]), @"
    error: --signal-on-change renews each --tmpfs-file, and there is none
    hint: --restart-on-change alone does what this would
    ");
}
