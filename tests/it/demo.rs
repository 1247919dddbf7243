//! The first command of the README.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
};

use trayvault::emulator::{Config, Emulator};

use crate::support::search::Search;

/// Runs the demo with a temporary directory of its own; what it left there is counted.
fn demo(arguments: &[&str]) -> (Output, usize) {
    let temporary = tempfile::tempdir().expect("a directory");
    let output = Command::new(env!("CARGO_BIN_EXE_trayvault"))
        .arg("demo")
        .args(arguments)
        .env("TMPDIR", temporary.path())
        .output()
        .expect("the program runs");
    (output, std::fs::read_dir(temporary.path()).expect("a directory").count())
}

/// The secrets of the emulator that the demo starts: the same seed gives the same.
fn secrets() -> Vec<String> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async { Emulator::start(Config::default()).await.expect("an emulator").world().secrets() })
}

#[test]
fn the_demo_tells_the_whole_story_and_leaves_nothing_behind() {
    let (output, left) = demo(&[]);
    let (story, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{story}\n{errors}");
    assert_eq!(left, 0, "it leaves nothing behind");
    for part in [
        "made the vault",
        "8 listed (owners: 4), 6 pulled",
        "receipt: created",
        "receipt: updated",
        "rejected: ",
        "the file is kept in rejected/",
        "--reveal shows them",
        "error: not allowed; the audit log says why",
        "the audit log is intact",
    ] {
        assert!(story.contains(part), "{part:?} is missing from:\n{story}");
    }
    let said = [("its story", &output.stdout), ("its errors", &output.stderr)];
    let said = said.map(|(name, said)| (name.to_owned(), said.clone()));
    Search::new(&secrets(), Vec::new()).finds_nothing_in(said.into_iter());
}

#[test]
fn kept_it_runs_until_it_is_interrupted_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().expect("a directory");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_trayvault"))
        .args(["demo", "--keep"])
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let lines = BufReader::new(demo.stdout.take().expect("a pipe")).lines();
    let mut lines = lines.map(|line| line.expect("text"));
    let invitation = lines.find(|line| line.contains("curl") && line.ends_with("/v1/status")).expect("an invitation");
    let socket = invitation.split_whitespace().find(|word| word.ends_with("api.sock")).expect("a socket");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let answer = runtime
        .block_on(trayvault::socket::request(Path::new(socket), hyper::Method::GET, "/v1/status", None))
        .expect("the daemon is kept");
    assert_eq!(answer.status, 200);
    let pid = rustix::process::Pid::from_child(&demo);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("a signal");
    assert!(demo.wait().expect("a child").success());
    assert!(!Path::new(socket).exists());
    assert_eq!(std::fs::read_dir(temporary.path()).expect("a directory").count(), 0);
}

#[test]
fn a_secret_is_printed_on_request_only() {
    let (output, _) = demo(&["--reveal"]);
    let story = String::from_utf8_lossy(&output.stdout);
    assert_eq!(secrets().iter().filter(|secret| story.contains(secret.as_str())).count(), 1, "{story}");
}
