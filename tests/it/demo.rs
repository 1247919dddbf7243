//! The first command of the README.

use std::process::{Command, Output};

use trayvault::emulator::{Config, Emulator};

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
        "4 principals, 8 listed",
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
    for secret in secrets() {
        assert!(!story.contains(&secret) && !errors.contains(&secret), "a secret is printed");
    }
}

#[test]
fn a_secret_is_printed_on_request_only() {
    let (output, _) = demo(&["--reveal"]);
    let story = String::from_utf8_lossy(&output.stdout);
    assert_eq!(secrets().iter().filter(|secret| story.contains(secret.as_str())).count(), 1, "{story}");
}
