//! `trayvault exec`: what the command gets, what it does not, and how it ends.

mod changes;
mod refused;

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use trayvault::emulator::Alteration;
use uuid::Uuid;

use crate::{
    support::{House, OPEN},
    terminal::terminal,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_trayvault");

/// How long anything may take that is waited for. Reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// `trayvault exec` with options and, after `--`, a script for sh(1).
fn exec(house: &House, options: &[String], script: &str) -> Command {
    let mut command = house.command(Path::new(PROGRAM));
    command.arg("exec").args(options).args(["--", "sh", "-c", script]);
    command
}

fn set(name: &str, id: Uuid, pointer: &str) -> [String; 2] {
    ["--set".to_owned(), format!("{name}={id}{pointer}")]
}

fn file(option: &str, name: &str, id: Uuid, pointer: &str) -> [String; 2] {
    [option.to_owned(), format!("{name}={id}{pointer}")]
}

fn options(parts: &[&[String]]) -> Vec<String> {
    parts.concat()
}

/// A field of what Tray holds.
fn credential(house: &House, id: Uuid, name: &str) -> String {
    let one = house.world().authentication(id).expect("it is there");
    one.credentials[name].as_str().expect("text").to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn succeeds(house: &House, mut command: Command) -> String {
    let Output { status, stdout, stderr } = house.output(&mut command, true);
    assert!(status.success(), "{status}: {}", text(&stderr));
    text(&stdout)
}

/// Looks again and again until there is something.
#[track_caller]
fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited for {what} in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// One that runs; killed if the test fails.
struct Running {
    child: Child,
    errors: PathBuf,
}

impl Running {
    fn new(house: &House, mut command: Command) -> Self {
        let errors = house.path("exec.err");
        let log = fs::File::create(&errors).expect("a log");
        Self { child: command.stdout(Stdio::null()).stderr(log).spawn().expect("the program runs"), errors }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a signal");
    }

    /// What it wrote to standard error, once that has a text in it.
    #[track_caller]
    fn says(&self, what: &str) {
        wait(what, || fs::read_to_string(&self.errors).is_ok_and(|said| said.contains(what)).then_some(()));
    }

    fn ended(&mut self) -> std::process::ExitStatus {
        wait("its end", || self.child.try_wait().expect("a child"))
    }

    /// The command's process.
    fn command(&self) -> u32 {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("children");
        children.trim().parse().expect("one child")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The command goes with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file that a script writes, once it has what is looked for.
#[track_caller]
fn written(path: &Path, what: impl Fn(&str) -> bool) -> String {
    wait(&path.display().to_string(), || fs::read_to_string(path).ok().filter(|content| what(content)))
}

/// Gives an authentication these credentials, before the first pull.
fn alter(house: &House, id: Uuid, credentials: &Value) {
    let credentials = credentials.as_object().cloned();
    assert!(house.world().alter_authentication(id, Alteration { credentials, ..Default::default() }));
}

#[test]
fn the_command_has_what_was_named_in_variables_and_files_and_no_more() {
    let house = House::ready(OPEN);
    let slack = house.upstream("slack").id;
    let token = credential(&house, slack, "accessToken");
    let credentials = json!({ "accessToken": token, "number": 7, "object": { "a": [1, "b"] }, "nul": "a\0b" });
    alter(&house, slack, &credentials);
    let daemon = house.daemon();
    house.sync();
    let options = options(&[
        &set("TOKEN", slack, "/credentials/accessToken"),
        &set("NUMBER", slack, "/credentials/number"),
        &set("OBJECT", slack, "/credentials/object"),
        &file("--file", "SECRET", slack, "/credentials/accessToken"),
        &file("--file", "ALL", slack, ""),
        &file("--file", "NUL", slack, "/credentials/nul"),
    ]);
    let script = r#"cat "$SECRET"; echo; cat "$SECRET"; echo; cat "$ALL"; echo; echo "$TOKEN $NUMBER $OBJECT"
        env | cut -d= -f1 | tr '\n' ' '; echo
        sh -c 'exec cat "$SECRET"'; echo; echo "$OTHER"; (echo x > "$SECRET") 2>/dev/null || echo sealed
        tr '\0' ' ' < /proc/$$/cmdline | tr '\n' ' '; echo; od -An -c "$NUL"; ls -l /proc/$$/fd"#;
    let mut command = exec(&house, &options, script);
    command.env("OTHER", "from the caller").env("TRAYVAULT_OTHER", "ours");
    let shown = succeeds(&house, command);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[..2], [token.as_str(), token.as_str()], "each reader begins at the beginning");
    let all: Value = serde_json::from_str(lines[2]).expect("JSON");
    assert_eq!(all["credentials"]["accessToken"], token.as_str());
    assert_eq!(lines[3], format!(r#"{token} 7 {{"a":[1,"b"]}}"#));
    let names: Vec<&str> = lines[4].split(' ').collect();
    assert!(["ALL", "NUMBER", "OBJECT", "OTHER", "SECRET", "TOKEN"].iter().all(|name| names.contains(name)));
    assert!(!names.iter().any(|name| name.starts_with("TRAYVAULT")), "{names:?}");
    assert_eq!(lines[5..8], [token.as_str(), "from the caller", "sealed"]);
    assert!(lines[8].starts_with("sh -c ") && !lines[8].contains(&token), "not in its arguments");
    assert_eq!(lines[9].split_whitespace().collect::<Vec<_>>(), ["a", "\\0", "b"]);
    // What the test itself was started with is not ours to take away.
    let open = |lines: &[&str]| lines.iter().filter(|line| line.contains("->")).count();
    let without = succeeds(&house, {
        let mut command = house.command(Path::new("sh"));
        command.args(["-c", "true; ls -l /proc/$$/fd"]);
        command
    });
    assert_eq!(open(&lines), open(&without.lines().collect::<Vec<_>>()) + 3, "{shown}");
    assert_eq!(lines.iter().filter(|line| line.contains("/memfd:")).count(), 3, "{shown}");
    daemon.stop();
}

#[test]
fn it_takes_our_place_so_that_signals_and_codes_are_its_own() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let slack = house.upstream("slack").id;
    let options = options(&[&set("TOKEN", slack, "/credentials/accessToken")]);
    let pid_file = house.path("pid");
    let script = format!("echo $$ > {}; exit 7", pid_file.display());
    let mut running = Running::new(&house, exec(&house, &options, &script));
    assert_eq!(running.ended().code(), Some(7));
    assert_eq!(fs::read_to_string(&pid_file).expect("a pid").trim(), running.child.id().to_string());
    let status = exec(&house, &options, "kill -9 $$").status().expect("it runs");
    assert_eq!(status.signal(), Some(9));
    daemon.stop();
}

#[test]
fn a_file_on_tmpfs_is_private_and_goes_with_the_command_whose_end_is_ours() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let slack = house.upstream("slack").id;
    let options = options(&[&file("--tmpfs-file", "SECRET", slack, "/credentials/accessToken")]);
    let place = tempfile::tempdir_in("/dev/shm").expect("a directory on tmpfs");
    let start = |script: &str| {
        let mut command = exec(&house, &options, script);
        command.env("XDG_RUNTIME_DIR", place.path());
        command
    };
    let left = || fs::read_dir(place.path()).expect("a directory").count();
    let shown = succeeds(
        &house,
        start(r#"cat "$SECRET"; echo; stat -c %a "$SECRET" "$(dirname "$SECRET")"; echo "$SECRET"; ls -l /proc/$$/fd"#),
    );
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[..3], [credential(&house, slack, "accessToken").as_str(), "400", "700"]);
    assert!(Path::new(lines[3]).starts_with(place.path()), "{}", lines[3]);
    assert!(!shown.contains("memfd") && !shown.contains("signalfd") && !shown.contains("eventpoll"), "{shown}");
    assert!(lines[4..].iter().all(|line| !line.contains(place.path().to_str().expect("text"))), "{shown}");
    assert_eq!(left(), 0);

    assert_eq!(start("exit 9").status().expect("it runs").code(), Some(9));
    assert_eq!(
        start("kill -INT $$").status().expect("it runs").signal(),
        Some(2),
        "whoever waits sees what it died of"
    );
    // Killed, it takes the command with it, and the next one removes what it left.
    let pid_file = house.path("pid");
    let mut running = Running::new(&house, start(&format!("echo $$ > {}; exec sleep 600", pid_file.display())));
    let pid = written(&pid_file, |pid| pid.ends_with('\n')).trim().to_owned();
    running.signal(Signal::KILL);
    assert_eq!(running.ended().signal(), Some(9));
    let is_gone = || !fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sleep");
    wait("the command to end too", || is_gone().then_some(()));
    assert_eq!(left(), 1);
    succeeds(&house, start("true"));
    assert_eq!(left(), 0);
    daemon.stop();
}

#[test]
fn signals_are_passed_on_and_those_that_were_ignored_stay_so() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let slack = house.upstream("slack").id;
    let options = options(&[&file("--tmpfs-file", "SECRET", slack, "")]);
    let got = house.path("got");
    let log = got.display();
    let traps =
        ["HUP", "INT", "QUIT", "USR1", "USR2", "WINCH"].map(|name| format!("trap 'echo {name} >> {log}' {name}; "));
    let traps = traps.concat();
    let script = format!("{traps} trap 'exit 5' TERM; echo ready > {log}; while :; do sleep 0.05; done");
    let mut running = Running::new(&house, exec(&house, &options, &script));
    written(&got, |got| got.contains("ready"));
    for (signal, name) in [
        (Signal::HUP, "HUP"),
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::WINCH, "WINCH"),
    ] {
        running.signal(signal);
        written(&got, |got| got.contains(name));
    }
    // Stopped by job control, both stand still and go on.
    let (ours, its) = (running.child.id(), running.command());
    let state = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/stat")).expect("status");
        status.rsplit(") ").next().and_then(|rest| rest.chars().next()).expect("a state")
    };
    running.signal(Signal::TSTP);
    wait("both to stop", || (state(ours) == 'T' && state(its) == 'T').then_some(()));
    running.signal(Signal::CONT);
    wait("both to go on", || (state(ours) != 'T' && state(its) != 'T').then_some(()));
    running.signal(Signal::TERM);
    assert_eq!(running.ended().code(), Some(5));
    let all = fs::read_to_string(&got).expect("what it got");
    assert_eq!(all, "ready\nHUP\nINT\nQUIT\nUSR1\nUSR2\nWINCH\n", "each once");

    // nohup(1), and SIGCHLD ignored by whoever starts us.
    let script = r#"trap '' HUP CHLD; exec "$0" "$@""#;
    let mut command = house.command(Path::new("sh"));
    command.args(["-c", script, PROGRAM, "exec"]).args(&options);
    let checked = command.args(["--", "sh", "-c", "kill -HUP $$; kill -HUP $PPID; sleep 0.2; exit 6"]).status();
    assert_eq!(checked.expect("it runs").code(), Some(6));
    daemon.stop();
}

#[test]
fn a_key_of_the_terminal_reaches_the_command_once() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let slack = house.upstream("slack").id;
    let options = options(&[&file("--tmpfs-file", "SECRET", slack, "")]);
    let got = house.path("got");
    let script = format!(
        "trap 'echo INT >> {log}' INT; trap 'exit 5' TERM; echo ready > {log}; while :; do sleep 0.05; done",
        log = got.display()
    );
    let (terminal, side) = terminal();
    let mut command = house.command(Path::new("setsid"));
    command.args(["--ctty", "--wait", PROGRAM, "exec"]).args(&options).args(["--", "sh", "-c", &script]);
    command.stdin(side);
    let mut running = Running::new(&house, command);
    written(&got, |got| got.contains("ready"));
    // Ctrl-C.
    rustix::io::write(&terminal, b"\x03").expect("a key");
    written(&got, |got| got.contains("INT"));
    let ours = Pid::from_raw(running.command().cast_signed()).expect("a pid");
    kill_process(ours, Signal::TERM).expect("a signal");
    running.ended();
    assert_eq!(fs::read_to_string(&got).expect("what it got"), "ready\nINT\n");
    daemon.stop();
}
