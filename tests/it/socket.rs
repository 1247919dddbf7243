//! Who gets what on `api.sock`.

use std::{
    fs,
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use hyper::Method;

use crate::support::{House, OPEN};

const PULL_ALL: &str = "[[pull.rules]]\nname = \"all\"\neffect = \"allow\"\n";

fn with_access(rule: &str) -> String {
    format!("{PULL_ALL}[[access.rules]]\nname = \"rule\"\nusers = [\"UID\"]\n{rule}")
}

/// Starts a daemon that has pulled everything once.
fn pulled(house: &House) -> crate::support::Daemon<'_> {
    let mut daemon = house.daemon();
    daemon.wait("the first cycle", || house.get("/v1/status").1["sync"]["last"].is_object().then_some(()));
    daemon
}

#[test]
fn status_and_health_are_for_whoever_may_connect() {
    let house = House::ready(PULL_ALL);
    let daemon = house.daemon();
    assert_eq!(house.get("/v1/health/live").0, 200);
    assert_eq!(house.get("/v1/health/ready").0, 200);
    let (status, content) = house.get("/v1/status");
    assert_eq!((status.as_u16(), &content["vault"]), (200, &"unlocked".into()));
    daemon.stop();
}

#[test]
fn without_a_rule_a_caller_gets_nothing_and_the_audit_log_says_why() {
    let house = House::ready(PULL_ALL);
    let daemon = pulled(&house);
    let id = house.upstream("slack").id;
    for (method, path) in [
        (Method::GET, "/v1/authentications".to_owned()),
        (Method::GET, format!("/v1/authentications/{id}")),
        (Method::GET, format!("/v1/authentications/{id}/full")),
        (Method::GET, "/v1/authentications/00000000-0000-4000-8000-000000000000/full".to_owned()),
        (Method::POST, "/v1/sync".to_owned()),
    ] {
        let (status, content) = house.ask(method, &path);
        assert_eq!(status, 403, "{path}");
        assert_eq!(content["code"], "forbidden");
        let request = content["request_id"].as_str().expect("an id");
        let log = fs::read_to_string(house.path("state/audit/audit.jsonl")).expect("a log");
        let entry = log.lines().find(|line| line.contains(request)).expect("the refusal is on record");
        assert!(entry.contains("\"outcome\":\"refused\"") && entry.contains("no access rule grants it"), "{entry}");
    }
    daemon.stop();
}

#[test]
fn metadata_and_secrets_are_grants_of_their_own() {
    let house = House::ready(&with_access("grants = [\"metadata\"]"));
    let daemon = pulled(&house);
    let id = house.upstream("slack").id;
    assert_eq!(house.get(&format!("/v1/authentications/{id}")).0, 200);
    assert_eq!(house.get(&format!("/v1/authentications/{id}/full")).0, 403);
    daemon.stop();
}

#[test]
fn a_rule_for_one_service_shows_nothing_of_the_others() {
    let house = House::ready(&with_access("grants = [\"metadata\", \"read\"]\nservices = [\"slack\"]"));
    let daemon = pulled(&house);
    let (_, list) = house.get("/v1/authentications");
    let services: Vec<_> =
        list["authentications"].as_array().expect("a list").iter().map(|one| &one["service"]["name"]).collect();
    assert_eq!(services, ["slack", "slack"]);
    assert_eq!(house.get(&format!("/v1/authentications/{}/full", house.upstream("slack").id)).0, 200);
    assert_eq!(house.get(&format!("/v1/authentications/{}/full", house.upstream("salesforce").id)).0, 403);
    daemon.stop();
}

#[test]
fn a_rule_may_name_a_group() {
    let gid = rustix::process::getgid().as_raw();
    let rule = |gid: u32| {
        format!("{PULL_ALL}[[access.rules]]\nname = \"rule\"\ngroups = [\"{gid}\"]\ngrants = [\"metadata\"]\n")
    };
    let house = House::ready(&rule(gid));
    let mut daemon = house.daemon();
    assert_eq!(house.get("/v1/authentications").0, 200);
    house.configure(&rule(gid + 1));
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait("the new rules", || (house.get("/v1/authentications").0 == 403).then_some(()));
    daemon.stop();
}

#[test]
fn with_a_group_only_its_members_may_connect() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let house = House::ready(OPEN);
    let gid = rustix::process::getgid().as_raw();
    let mode = || fs::metadata(house.path("run/api.sock")).expect("a socket").permissions().mode() & 0o777;
    let daemon = house.daemon();
    assert_eq!(mode(), 0o666);
    daemon.stop();
    let configuration = fs::read_to_string(house.path("trayvault.toml")).expect("a configuration");
    fs::write(house.path("trayvault.toml"), format!("socket.group = \"{gid}\"\n{configuration}")).expect("written");
    let daemon = house.daemon();
    assert_eq!(mode(), 0o660);
    assert_eq!(fs::metadata(house.path("run/api.sock")).expect("a socket").gid(), gid);
    daemon.stop();
}

#[test]
fn a_process_on_the_workflow_guards_list_is_refused_whatever_a_rule_grants() {
    let house = House::ready(&format!("{OPEN}\n[workflow_guard]\nprocesses = [\"agent-of-another\"]\n"));
    if !trayvault::system::peer::has_peer_pidfd().expect("sockets") {
        // Before Linux 6.5 processes have no names here, and that must be said.
        assert!(house.succeeds(&["check"]).contains("can't name the unit or process of a caller"));
        return;
    }
    let daemon = pulled(&house);
    let agent = house.path("agent-of-another");
    fs::copy(env!("CARGO_BIN_EXE_trayvault"), &agent).expect("a copy");
    let id = house.upstream("slack").id.to_string();
    let refused = house.run_program(&agent, &["get", &id]);
    assert_eq!(refused.status.code(), Some(77));
    assert!(refused.stdout.is_empty());
    let log = fs::read_to_string(house.path("state/audit/audit.jsonl")).expect("a log");
    assert!(log.contains("the caller is on the workflow guard's list"));
    // The same caller may see that it is there.
    assert!(house.run_program(&agent, &["list"]).status.success());
    daemon.stop();
}

/// A process that connects, asks and ends is gone before its name can be looked at; another one keeps its socket open.
#[test]
fn a_caller_that_ended_before_it_was_looked_at_gets_no_secret() {
    use rustix::process::Signal;
    if !trayvault::system::peer::has_peer_pidfd().expect("sockets") {
        let house = House::new(OPEN);
        assert!(house.succeeds(&["check"]).contains("can't name the unit or process of a caller"));
        return;
    }
    let house = House::ready(OPEN);
    let mut daemon = pulled(&house);
    let pid = daemon.pid();
    let signal = |signal| {
        let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
        rustix::process::kill_process(pid, signal).expect("a signal");
    };
    signal(Signal::STOP);
    let asked = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "socket::asks_and_leaves_its_socket_to_another", "--ignored"])
        .env(SOCKET, house.path("run/api.sock"))
        .env(PATH, format!("/v1/authentications/{}/full", house.upstream("slack").id))
        .stdout(Stdio::piped())
        .spawn()
        .and_then(Child::wait_with_output)
        .expect("it runs");
    assert!(asked.status.success());
    signal(Signal::CONT);
    daemon.wait("the answer", || fs::metadata(house.path("answer")).is_ok_and(|answer| answer.len() > 0).then_some(()));
    let answer = fs::read_to_string(house.path("answer")).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    let log = fs::read_to_string(house.path("state/audit/audit.jsonl")).expect("a log");
    assert!(log.contains("the workflow guard can't look at the caller: it ended, or /proc hides it"));
    daemon.stop();
}

const SOCKET: &str = "TRAYVAULT_TEST_SOCKET";
const PATH: &str = "TRAYVAULT_TEST_PATH";

#[test]
#[ignore = "the process that ends, of the test above"]
#[expect(clippy::zombie_processes, reason = "this process ends first")]
fn asks_and_leaves_its_socket_to_another() {
    let (socket, path) = (std::env::var(SOCKET).expect("a socket"), std::env::var(PATH).expect("a path"));
    let mut stream = UnixStream::connect(&socket).expect("a connection");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: trayvault\r\nConnection: close\r\n\r\n").expect("a request");
    let answer = Path::new(&socket).with_file_name("../answer");
    Command::new("cat")
        .stdin(OwnedFd::from(stream))
        .stdout(fs::File::create(answer).expect("a file"))
        .spawn()
        .expect("another process");
}

#[test]
fn an_id_that_is_not_there_and_one_that_is_not_granted_look_the_same() {
    let house = House::ready(&with_access("grants = [\"metadata\", \"read\"]\nservices = [\"slack\"]"));
    let daemon = pulled(&house);
    let others = house.upstream("salesforce").id.to_string();
    for id in [others.as_str(), "00000000-0000-4000-8000-000000000000"] {
        assert_eq!(house.get(&format!("/v1/authentications/{id}")).0, 403);
        assert_eq!(house.get(&format!("/v1/authentications/{id}/full")).0, 403);
    }
    daemon.stop();
}

#[test]
fn a_caller_that_reads_nothing_does_not_hold_up_the_stop() {
    let house = House::ready(OPEN);
    let daemon = pulled(&house);
    let mut greedy = UnixStream::connect(house.path("run/api.sock")).expect("a connection");
    greedy.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    // More answers than the socket's buffer holds.
    let request = "GET /v1/status HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2_000);
    let _ = greedy.write_all(request.as_bytes());
    let mut half = UnixStream::connect(house.path("run/api.sock")).expect("a connection");
    half.write_all(b"GET /v1/status HT").expect("written");
    daemon.stop();
}

#[test]
fn a_user_on_the_workflow_guards_list_is_refused_whatever_a_rule_grants() {
    let house = House::ready(&format!("{OPEN}\n[workflow_guard]\nusers = [\"UID\"]\n"));
    let daemon = pulled(&house);
    assert_eq!(house.get(&format!("/v1/authentications/{}/full", house.upstream("slack").id)).0, 403);
    daemon.stop();
}

#[test]
fn a_full_answer_says_how_old_it_is_and_has_what_tray_sent() {
    let house = House::ready(OPEN);
    let daemon = pulled(&house);
    let upstream = house.upstream("slack");
    let (status, answer) = house.get(&format!("/v1/authentications/{}/full", upstream.id));
    assert_eq!(status, 200);
    assert_eq!(answer["authentication"]["credentials"], upstream.credentials);
    assert_eq!(answer["authentication"]["userData"], upstream.user_data);
    assert_eq!((&answer["source"], &answer["revision"], &answer["stale"]), (&"cache".into(), &1.into(), &false.into()));
    assert!(answer["age_seconds"].is_i64() && answer["fetched_at"].is_string());
    daemon.stop();
}

#[test]
fn requests_that_make_no_sense_get_a_code_and_never_an_echo() {
    let house = House::ready(OPEN);
    let daemon = pulled(&house);
    let id = house.upstream("slack").id;
    for (method, path, status, code) in [
        (Method::GET, "/v1/nothing-canary".to_owned(), 404, "no_route"),
        (Method::DELETE, "/v1/status".to_owned(), 405, "method_not_allowed"),
        (Method::GET, "/v1/authentications/canary".to_owned(), 400, "bad_request"),
        (Method::GET, "/v1/authentications?canary=1".to_owned(), 400, "bad_request"),
        (Method::GET, format!("/v1/authentications/{id}/full?field=canary"), 400, "bad_request"),
        (Method::GET, format!("/v1/authentications/{id}/full?field=/canary"), 400, "bad_request"),
        (Method::GET, "/v1/authentications/00000000-0000-4000-8000-000000000000".to_owned(), 404, "not_found"),
    ] {
        let (found, content) = house.ask(method, &path);
        assert_eq!((found.as_u16(), content["code"].as_str()), (status, Some(code)), "{path}");
        assert!(!content.to_string().contains("canary"), "{content}");
    }
    daemon.stop();
}

#[test]
fn a_head_that_is_too_large_closes_its_own_connection_only() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    let mut stream = UnixStream::connect(house.path("run/api.sock")).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let head = format!("GET /v1/status HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "a".repeat(64 * 1024));
    // The daemon may close before all of it is written.
    let _ = stream.write_all(head.as_bytes());
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(house.get("/v1/health/live").0, 200);
    daemon.stop();
}

#[test]
fn a_dead_daemons_socket_is_replaced_and_a_live_ones_is_not() {
    let house = House::ready(OPEN);
    let mut daemon = house.daemon();
    let error = house.fails(&["run"], 69);
    assert!(error.contains("another daemon works in"), "{error}");

    // The same socket, by another state directory.
    let original = fs::read_to_string(house.path("trayvault.toml")).expect("a configuration");
    fs::write(house.path("trayvault.toml"), original.replace("/state\"", "/other\"")).expect("a configuration");
    house.succeeds(&["init"]);
    let error = house.fails(&["run"], 69);
    assert!(error.contains("another daemon listens on"), "{error}");
    fs::write(house.path("trayvault.toml"), original).expect("a configuration");

    daemon.signal(rustix::process::Signal::KILL);
    daemon.ended();
    assert!(house.path("run/api.sock").exists(), "the dead daemon's socket is still there");
    house.daemon().stop();
}

#[test]
fn callers_who_connect_and_leave_at_once_leave_nothing_behind() {
    const CALLERS: usize = 20_000;
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let held = || {
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("a process");
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("a size").to_owned();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("a number")
    };
    let come_and_go = |callers: usize| {
        for number in 0..callers {
            drop(UnixStream::connect(house.path("run/api.sock")).expect("a connection"));
            // Not so fast that they are too many at once.
            if number % 50 == 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        // Whoever is answered now comes after all of them.
        house.get("/v1/health/live");
    };
    come_and_go(2_000);
    let before = held();
    come_and_go(CALLERS);
    let grown = held().saturating_sub(before);
    assert!(grown * 1024 < CALLERS * 200, "{grown} KiB for {CALLERS} callers");
    daemon.stop();
}
