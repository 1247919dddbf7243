//! What becomes of a command when a value changes.

use std::{fs, os::unix::process::ExitStatusExt, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use uuid::Uuid;

use super::{Running, credential, exec, file, options, set, written};
use crate::{
    memory::process::Process,
    support::{House, OPEN},
};

/// Gives an authentication other credentials, and has them pulled.
fn reissue(house: &House, id: Uuid) {
    assert!(house.world().reissue_authentication(id));
    // What was fetched within this second is as good as new.
    std::thread::sleep(Duration::from_millis(1_100));
    let (status, answer) = house.get(&format!("/v1/authentications/{id}/full?max_age=0&field=/name"));
    assert_eq!(status, 200, "{answer}");
}

#[test]
fn a_changed_value_restarts_the_command_with_it_and_its_own_end_is_the_end() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let slack = house.upstream("slack").id;
    let other = house.upstream("salesforce").id;
    let before = credential(&house, slack, "accessToken");
    let options = options(&[
        &["--restart-on-change".to_owned()],
        &set("TOKEN", slack, "/credentials/accessToken"),
        &file("--file", "SECRET", slack, "/credentials/accessToken"),
        &file("--tmpfs-file", "ON_DISK", slack, "/credentials/accessToken"),
    ]);
    let (log, go) = (house.given("log"), house.path("go"));
    let script = format!(
        r#"echo "$TOKEN $(cat "$SECRET") $(cat "$ON_DISK") $$" >> {log}; trap 'echo ended >> {log}; exit 1' TERM
        while ! [ -e {go} ]; do sleep 0.05; done; exit 4"#,
        log = log.display(),
        go = go.display()
    );
    let mut running = Running::new(&house, exec(&house, &options, &script));
    let first = written(&log, |log| log.ends_with('\n'));
    assert!(first.starts_with(&format!("{before} {before} {before} ")), "{first}");
    nothing_of_it_in(&running, &before);
    // What is not among the values, and a field that stays, restart nothing.
    reissue(&house, other);
    reissue(&house, slack);
    let after = credential(&house, slack, "accessToken");
    assert_ne!(before, after);
    let log_now = written(&log, |log| log.lines().count() == 3 && log.ends_with('\n'));
    let lines: Vec<&str> = log_now.lines().collect();
    assert_eq!(lines[1], "ended");
    assert!(lines[2].starts_with(&format!("{after} {after} {after} ")), "{log_now}");
    running.says("trayvault: changed: TOKEN, SECRET, ON_DISK; the command is restarted");
    nothing_of_it_in(&running, &after);
    fs::write(&go, "").expect("a file");
    assert_eq!(running.ended().code(), Some(4));
    assert_eq!(fs::read_to_string(&log).expect("a log").lines().count(), 3);
    daemon.stop();
}

/// Neither in the arguments and the environment of what supervises, nor in those of others, nor, where this is root, anywhere
/// in its memory.
#[track_caller]
fn nothing_of_it_in(running: &Running, secret: &str) {
    let (ours, its) = (running.child.id(), running.command());
    let has = |path: String| fs::read(path).is_ok_and(|content| contains(&content, secret.as_bytes()));
    assert!(!has(format!("/proc/{ours}/cmdline")) && !has(format!("/proc/{its}/cmdline")));
    assert!(has(format!("/proc/{its}/environ")), "what is there is found");
    match Process::open(ours.cast_signed()) {
        Ok(process) => {
            let control = b"restart-on-change";
            let mut is_searched = false;
            for mapping in process.mappings() {
                let content = process.read(&mapping);
                is_searched |= contains(&content.bytes, control);
                for half in [&secret[..secret.len() / 2], &secret[secret.len() / 2..]] {
                    let place = || mapping.place(mapping.range.start, &process.threads());
                    assert!(!contains(&content.bytes, half.as_bytes()), "half of it is in {}", place());
                }
            }
            assert!(is_searched, "what is there is not found");
            assert!(!has(format!("/proc/{ours}/environ")));
        }
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
            assert!(std::env::var_os("TRAYVAULT_TESTS_AS_ROOT").is_none(), "this is not root: {error}");
        }
    }
}

fn contains(content: &[u8], part: &[u8]) -> bool {
    aho_corasick::AhoCorasick::new([part]).expect("a needle").is_match(content)
}

#[test]
fn a_file_on_tmpfs_is_replaced_and_the_command_told() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let slack = house.upstream("slack").id;
    let before = credential(&house, slack, "accessToken");
    let options = options(&[
        &["--signal-on-change".to_owned(), "HUP".to_owned()],
        &file("--tmpfs-file", "SECRET", slack, "/credentials/accessToken"),
    ]);
    let log = house.given("log");
    let script = format!(
        r#"show() {{ echo "$(cat "$SECRET") $$" >> {log}; }}; trap show HUP; show; while :; do sleep 0.05; done"#,
        log = log.display()
    );
    let mut running = Running::new(&house, exec(&house, &options, &script));
    let pid = written(&log, |log| log.ends_with('\n')).trim().rsplit(' ').next().expect("a pid").to_owned();
    reissue(&house, slack);
    let after = credential(&house, slack, "accessToken");
    let shown = written(&log, |log| log.lines().count() == 2 && log.ends_with('\n'));
    assert_eq!(shown, format!("{before} {pid}\n{after} {pid}\n"));
    running.says("trayvault: changed: SECRET; the command gets SIGHUP");
    running.signal(Signal::TERM);
    assert_eq!(running.ended().signal(), Some(15));
    daemon.stop();
}

#[test]
fn without_the_daemon_the_command_goes_on_and_is_restarted_once_the_change_is_known() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let slack = house.upstream("slack").id;
    let before = credential(&house, slack, "accessToken");
    let options = options(&[&["--restart-on-change".to_owned()], &set("TOKEN", slack, "/credentials/accessToken")]);
    let log = house.given("log");
    let script = format!("echo $TOKEN >> {}; while :; do sleep 0.05; done", log.display());
    let mut running = Running::new(&house, exec(&house, &options, &script));
    written(&log, |log| log.ends_with('\n'));
    daemon.stop();
    running.says("trayvault: the command goes on with what it has: no daemon answers on");
    assert!(running.child.try_wait().expect("a child").is_none());
    // It changes while nobody tells of it.
    assert!(house.world().reissue_authentication(slack));
    // What was fetched within this second is as good as new.
    std::thread::sleep(Duration::from_millis(1_100));
    let daemon = house.daemon();
    house.sync();
    let (status, _) = house.get(&format!("/v1/authentications/{slack}/full?max_age=0&field=/name"));
    assert_eq!(status, 200);
    running.says("the daemon answers again");
    let after = credential(&house, slack, "accessToken");
    assert_eq!(written(&log, |log| log.lines().count() == 2 && log.ends_with('\n')), format!("{before}\n{after}\n"));

    // What can't be had any more is no reason to end either.
    assert!(house.world().remove_authentication(slack));
    house.sync();
    running.says("the command goes on with what it has: TOKEN can't be had");
    assert!(running.child.try_wait().expect("a child").is_none());
    daemon.stop();
}

#[test]
fn a_command_that_does_not_end_when_told_is_killed() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let slack = house.upstream("slack").id;
    let options = options(&[&["--restart-on-change".to_owned()], &set("TOKEN", slack, "/credentials/accessToken")]);
    let log = house.given("log");
    let script = format!("trap '' TERM; echo $TOKEN >> {}; while :; do sleep 0.05; done", log.display());
    let running = Running::new(&house, exec(&house, &options, &script));
    written(&log, |log| log.ends_with('\n'));
    reissue(&house, slack);
    written(&log, |log| log.lines().count() == 2);
    // The next one does not end when told, either.
    let command = Pid::from_raw(running.command().cast_signed()).expect("a pid");
    drop(running);
    kill_process(command, Signal::KILL).expect("it is there");
    daemon.stop();
}
