//! Who is who, by real processes in real control groups: unit rules, and the workflow guard.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use trayvault::system::process;

use crate::support::{House, OPEN, search};

/// What these tests call Tray's agent: one by its real name would be every test's.
const AGENT: &str = "agent-of-one-test";

fn guarding() -> String {
    format!("{OPEN}\n[workflow_guard]\nprocesses = [\"{AGENT}\"]\n")
}

/// A control group of version 2, as systemd would make it for a unit.
struct ControlGroup(PathBuf);

impl ControlGroup {
    /// `None` where there is none to be made.
    fn new(name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?.split(' ').nth(4)?.to_owned();
        let path = Path::new(&mount).join(name);
        if fs::create_dir_all(&path).is_err() {
            assert!(std::env::var_os("TRAYVAULT_TESTS_AS_ROOT").is_none(), "no control group can be made here");
            return None;
        }
        Some(Self(path))
    }

    /// A name that no other test's group has.
    fn named(name: &str) -> String {
        format!("trayvault-test-{}.slice/{name}", std::process::id())
    }

    /// A program that is moved in before it runs.
    fn command(&self, house: &House, program: &Path) -> Command {
        let mut command = house.command(Path::new("sh"));
        let enter = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
        command.args(["-c", enter]).arg(&self.0).arg(program);
        command
    }

    fn trayvault(&self, house: &House, arguments: &[&str]) -> Output {
        let program = Path::new(env!("CARGO_BIN_EXE_trayvault"));
        house.output(self.command(house, program).args(arguments), search::tells_secrets(arguments))
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // It is empty a moment after its last process has ended.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// A running program of the agent's name.
struct Agent(Child);

impl Agent {
    fn program(house: &House) -> PathBuf {
        let program = house.path(AGENT);
        if !program.exists() {
            let sleep = ["/usr/bin/sleep", "/bin/sleep"].into_iter().find(|path| Path::new(path).exists());
            fs::copy(sleep.expect("sleep"), &program).expect("a copy");
        }
        program
    }

    fn start(mut command: Command) -> Self {
        let child = command.arg("600").stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
        Self(child)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_known_here() -> bool {
    let known = trayvault::system::peer::has_peer_pidfd().expect("sockets");
    if !known {
        // Before Linux 6.5 neither units nor names are known, and that must be said.
        let house = House::new(OPEN);
        assert!(house.succeeds(&["check"]).contains("can't name the unit or process of a caller"));
    }
    known
}

#[test]
fn a_rule_for_a_unit_is_for_what_runs_in_it() {
    let rules = OPEN.replace("\"read\", ", "")
        + "[[access.rules]]\nname = \"the unit's\"\nunits = [\"bill*.service\"]\ngrants = [\"read\"]\n";
    let groups = ["billing.service", "other.service", "user@1.service/billing.service", "custom/billing.service"];
    let groups: Vec<_> = groups.into_iter().filter_map(|name| ControlGroup::new(&ControlGroup::named(name))).collect();
    if !is_known_here() || groups.len() < 4 {
        return;
    }
    let house = House::ready(&rules);
    let daemon = house.daemon();
    house.sync();
    let id = house.upstream("slack").id.to_string();
    let codes: Vec<_> = groups.iter().map(|group| group.trayvault(&house, &["get", &id]).status.code()).collect();
    assert_eq!(codes, [Some(0), Some(77), Some(77), Some(77)]);
    let log = fs::read_to_string(house.path("state/audit/audit.jsonl")).expect("a log");
    let read = log.lines().find(|line| line.contains("the unit's")).expect("the read is on record");
    assert!(read.contains("\"unit\":\"billing.service\""), "{read}");
    daemon.stop();
}

#[test]
fn what_runs_beside_an_agent_gets_no_secret_and_what_runs_elsewhere_does() {
    let groups = ["agents.service", "agents.service/inner", "elsewhere.service"];
    let groups: Vec<_> =
        groups.into_iter().filter_map(|name| ControlGroup::new(&ControlGroup::named(name))).rev().collect();
    let [elsewhere, inner, agents] = &groups[..] else { return };
    if !is_known_here() {
        return;
    }
    let house = House::ready(&guarding());
    let mut daemon = house.daemon();
    house.sync();
    let id = house.upstream("slack").id.to_string();
    let get = |group: &ControlGroup| group.trayvault(&house, &["get", &id]).status.code();
    let agent = Agent::start(inner.command(&house, &Agent::program(&house)));
    daemon.wait("a refusal", || (get(agents) == Some(77)).then_some(()));
    assert_eq!((get(inner), get(elsewhere)), (Some(77), Some(0)));
    assert!(agents.trayvault(&house, &["list"]).status.success(), "it may see that it is there");
    let log = fs::read_to_string(house.path("state/audit/audit.jsonl")).expect("a log");
    assert!(log.contains("a process on the workflow guard's list runs in the caller's control group"));
    drop(agent);
    daemon.wait("an answer", || (get(agents) == Some(0)).then_some(()));
    daemon.stop();
}

#[test]
fn an_agent_that_comes_while_a_connection_lasts_is_seen() {
    if !is_known_here() {
        return;
    }
    let house = House::ready(&guarding());
    let mut daemon = house.daemon();
    house.sync();
    let mut stream = UnixStream::connect(house.path("run/api.sock")).expect("a connection");
    let request = format!("GET /v1/authentications/{}/full HTTP/1.1\r\nHost: a\r\n\r\n", house.upstream("slack").id);
    let mut status = move || {
        stream.write_all(request.as_bytes()).expect("written");
        let mut buffer = vec![0; 64 * 1024];
        let length = stream.read(&mut buffer).expect("an answer");
        String::from_utf8_lossy(&buffer[..length]).get(9..12).expect("a status").to_owned()
    };
    assert_eq!(status(), "200");
    let agent = Agent::start(house.command(&Agent::program(&house)));
    daemon.wait("a refusal", || (status() == "403").then_some(()));
    drop(agent);
    daemon.wait("an answer", || (status() == "200").then_some(()));
    daemon.stop();
}

/// What a process calls itself is its own word; its executable is the kernel's. A daemon that may see it goes by it.
#[test]
fn an_agent_by_another_name_is_known_by_its_executable_where_that_is_seen() {
    let house = House::ready(&guarding());
    let daemon = house.daemon();
    house.sync();
    let id = house.upstream("slack").id.to_string();
    let (agent, harmless) = (house.path(AGENT), house.path("harmless"));
    fs::copy(env!("CARGO_BIN_EXE_trayvault"), &agent).expect("a program");
    std::os::unix::fs::symlink(&agent, &harmless).expect("a link");
    let read = ["get", &id, "--field", "/credentials/accessToken"];
    assert!(house.run(&read).status.success(), "the command line by its own name");
    let code = house.run_program(&harmless, &read).status.code();
    assert_eq!(code, Some(if process::sees_executables() { 77 } else { 0 }));
    daemon.stop();
}
