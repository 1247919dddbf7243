//! What came out of a house's programs: kept while it is used, and searched for secrets when it is left.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Mutex,
    time::Duration,
};

use trayvault::socket::Answer;

use super::{
    House,
    search::{self, Search},
};

#[derive(Default)]
pub(super) struct Captures {
    /// What was said, under a name for each.
    said: Mutex<Vec<(String, Vec<u8>)>>,
    /// Files that a test wrote.
    given: Mutex<BTreeSet<PathBuf>>,
}

impl House {
    /// Keeps what was said, to be searched in the end.
    pub(crate) fn capture(&self, name: impl Into<String>, said: &[u8]) {
        self.captures.said.lock().expect("no test panics in it").push((name.into(), said.to_vec()));
    }

    /// The same with an answer, but for one that is of secrets by design.
    pub(crate) fn answered(&self, path: &str, status: u16, answer: &[u8]) {
        if status >= 300 || !search::answers_secrets(path) {
            self.capture(format!("the answer {status} to {path}"), answer);
        }
    }

    /// Runs a command that is ready to its end, and keeps what it says; `telling` says that its standard output is of
    /// secrets by design.
    pub(crate) fn output(&self, command: &mut Command, telling: bool) -> Output {
        let output = command.output().expect("the program runs");
        // Its first argument only: the others may be secret.
        let first = command.get_args().next().unwrap_or_default();
        self.said(&format!("{} {}", command.get_program().display(), first.display()), telling, &output);
        output
    }

    /// As at a terminal: script(1) gives the program one of its own, and types what it is told to. Its exit code, and what
    /// is seen.
    pub(crate) fn at_a_terminal(&self, command: &str, typed: &str) -> (Option<i32>, String) {
        let program = env!("CARGO_BIN_EXE_trayvault");
        let mut script = self.command(Path::new("script"));
        script.args(["--quiet", "--return", "--command", &format!("stty rows 40 columns 120; {program} {command}")]);
        script.arg("/dev/null");
        script.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = script.spawn().expect("script, of util-linux");
        let mut stdin = child.stdin.take().expect("a pipe");
        for line in typed.lines() {
            // It reads what is typed before it asks too, but then the terminal has echoed it already.
            std::thread::sleep(Duration::from_millis(700));
            stdin.write_all(format!("{line}\n").as_bytes()).expect("typed");
        }
        let output = child.wait_with_output().expect("it ends");
        self.capture(format!("the terminal of {command}"), &output.stdout);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Keeps what a command said.
    pub(super) fn said(&self, command: &str, telling: bool, output: &Output) {
        self.capture(format!("standard error of {command}"), &output.stderr);
        if !telling {
            self.capture(format!("standard output of {command}"), &output.stdout);
        }
    }

    /// A file in which a test keeps what may be secret.
    pub(crate) fn given(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        self.captures.given.lock().expect("no test panics in it").insert(path.clone());
        path
    }

    /// Keeps an answer.
    pub(super) fn keep(&self, path: &str, answer: &Answer) {
        self.answered(path, answer.status.as_u16(), answer.body.expose_secret());
    }
}

/// INVARIANT: no secret has come out of the program. Every file is searched, but for those of tests', and what was captured.
impl Drop for House {
    fn drop(&mut self) {
        // Of a test that fails the reason is known.
        if std::thread::panicking() {
            return;
        }
        let (holders, files): (Vec<_>, Vec<_>) =
            self.files().into_iter().partition(|path| search::holds_a_secret(path));
        let secret = |path: PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            search::content(&path).map(|content| (name, content.trim_ascii_end().to_vec()))
        };
        let search = Search::new(&self.world.secrets(), holders.into_iter().filter_map(secret).collect());
        let given = self.captures.given.get_mut().expect("no test panics in it");
        // Copies of the program, which names what its emulator quotes.
        let is_program = |path: &PathBuf| fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o111 != 0);
        let written = files.into_iter().filter(|path| !given.contains(path) && !is_program(path));
        let written = written.filter_map(|path| Some((path.display().to_string(), search::content(&path)?)));
        let captured = std::mem::take(self.captures.said.get_mut().expect("no test panics in it"));
        search.finds_nothing_in(written.chain(captured));
    }
}
