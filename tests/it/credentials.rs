//! What systemd gets on `credentials.sock`, asked as systemd asks: bound to its address, connected, read to the end.

#![expect(clippy::print_stdout, reason = "that it was not tested is shown")]

use std::{
    fs,
    io::{self, Read},
    net::Shutdown,
    os::{
        fd::OwnedFd,
        unix::{
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
        },
    },
    time::Duration,
};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect, socket};
use serde_json::{Map, Value, json};
use trayvault::emulator::Alteration;
use uuid::Uuid;

use crate::support::{Daemon, House, OPEN};

const CANARY: &str = "canary";

/// A house with these rules, in which `ID` is the authentication of a service. `None` where the tests are not root's, whom
/// nothing is given.
fn house(service: &str, rules: &str) -> Option<(House, Uuid)> {
    if !rustix::process::getuid().is_root() {
        assert!(std::env::var_os("TRAYVAULT_TESTS_AS_ROOT").is_none(), "this is not root");
        println!("not tested: only root is given credentials");
        return None;
    }
    let house = House::ready(OPEN);
    let id = house.upstream(service).id;
    house.configure(&format!("{OPEN}{}", rules.replace("ID", &id.to_string())));
    Some((house, id))
}

fn started(house: &House) -> Daemon<'_> {
    let daemon = house.daemon();
    house.sync();
    daemon
}

const WHOLE: &str = r#"
    [[credential]]
    name = "billing"
    units = ["billing.service", "billing@*.service"]
    credential = "slack.json"
    authentication = "ID"
"#;

/// The end of a connection that is bound to an address and connected, as `xfopenat_unix_socket` in systemd's fileio.c does.
fn asking(house: &House, own: Option<&SocketAddrUnix>) -> io::Result<UnixStream> {
    let end: OwnedFd = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    if let Some(own) = own {
        bind(&end, own)?;
    }
    connect(&end, &SocketAddrUnix::new(house.path("run/credentials.sock"))?)?;
    let stream = UnixStream::from(end);
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.shutdown(Shutdown::Write)?;
    Ok(stream)
}

fn address_for(unit: &str, credential: &str) -> SocketAddrUnix {
    abstract_address(format!("{:x}/unit/{unit}/{credential}", Uuid::new_v4().as_u64_pair().0).as_bytes())
}

fn abstract_address(name: &[u8]) -> SocketAddrUnix {
    SocketAddrUnix::new_abstract_name(name).expect("a name")
}

fn asking_for(house: &House, unit: &str, credential: &str) -> UnixStream {
    asking(house, Some(&address_for(unit, credential))).expect("a connection")
}

fn whole(mut stream: UnixStream) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    stream.read_to_end(&mut content)?;
    Ok(content)
}

fn load(house: &House, unit: &str, credential: &str) -> Vec<u8> {
    whole(asking_for(house, unit, credential)).expect("the daemon closes")
}

/// What was recorded of loads.
fn entries(house: &House) -> Vec<Value> {
    let log = fs::read_to_string(house.path("state/audit/audit.jsonl")).expect("a log");
    let entries = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    entries.filter(|entry| entry["action"] == "credential.load").collect()
}

#[track_caller]
fn refused(house: &House, unit: &str, credential: &str, outcome: &str, reason: &str) -> Value {
    let before = entries(house).len();
    assert!(load(house, unit, credential).is_empty());
    let mut entries = entries(house);
    assert_eq!(entries.len(), before + 1, "one entry for each");
    let entry = entries.pop().expect("an entry");
    assert_eq!((&entry["outcome"], &entry["reason"]), (&json!(outcome), &json!(reason)), "{entry}");
    entry
}

#[test]
fn a_unit_that_a_rule_names_gets_the_authentication_and_the_log_says_so() {
    let Some((house, id)) = house("slack", WHOLE) else { return };
    let daemon = started(&house);
    for unit in ["billing.service", "billing@acme.service"] {
        let content: Value = serde_json::from_slice(&load(&house, unit, "slack.json")).expect("JSON");
        assert_eq!(content["credentials"], house.upstream("slack").credentials);
        let entry = entries(&house).pop().expect("an entry");
        assert_eq!(entry["outcome"], "done", "{entry}");
        assert_eq!(entry["rule"], "billing");
        assert_eq!(entry["authentication"], id.to_string());
        assert!(entry["owner"].is_string(), "{entry}");
        assert_eq!(entry["actor"], json!({ "uid": 0, "gid": 0, "unit": unit }));
    }
    daemon.stop();
}

#[test]
fn a_field_is_given_raw_and_variables_as_an_environment_file() {
    let rule = |name: &str, rest: &str| WHOLE.replace("slack.json", name) + rest;
    let rules = rule("token", "field = '/credentials/accessToken'\n")
        + &rule("user-data", "field = '/userData'\n")
        + &rule("slack.env", "env = { SLACK_TOKEN = '/credentials/accessToken', SLACK_NAME = '/name' }\n")
        + &rule("nothing", "field = '/credentials/nothing'\n");
    let Some((house, id)) = house("slack", &rules) else { return };
    let mut credentials = Map::new();
    credentials.insert("accessToken".to_owned(), json!("a\"b\\c$d`e\nf é"));
    let altered = Alteration { credentials: Some(credentials), ..Alteration::default() };
    assert!(house.world().alter_authentication(id, altered));
    let daemon = started(&house);
    let upstream = house.upstream("slack");
    let text = |name: &str| String::from_utf8(load(&house, "billing.service", name)).expect("text");
    assert_eq!(text("token"), "a\"b\\c$d`e\nf é");
    assert_eq!(serde_json::from_str::<Value>(&text("user-data")).expect("JSON"), upstream.user_data);
    let name = upstream.name;
    assert_eq!(text("slack.env"), format!("SLACK_NAME=\"{name}\"\nSLACK_TOKEN=\"a\\\"b\\\\c\\$d\\`e\nf é\"\n"));
    let entry = refused(&house, "billing.service", "nothing", "failed", "the authentication has no such field");
    assert_eq!(entry["authentication"], id.to_string());
    daemon.stop();
}

#[test]
fn what_no_rule_names_is_closed_without_a_byte() {
    let Some((house, _)) = house("slack", WHOLE) else { return };
    let mut daemon = started(&house);
    let reason = "no credential rule names the unit and the credential";
    for (unit, credential) in [("other.service", "slack.json"), ("billing.service", "other.json")] {
        let entry = refused(&house, unit, credential, "refused", reason);
        assert_eq!(entry["actor"]["unit"], unit);
        assert!(entry.get("rule").is_none_or(Value::is_null), "{entry}");
    }
    house.configure(OPEN);
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait("the new rules", || load(&house, "billing.service", "slack.json").is_empty().then_some(()));
    daemon.stop();
}

#[test]
fn an_address_that_is_not_systemds_is_closed_and_never_quoted() {
    let Some((house, _)) = house("slack", &format!("{WHOLE}\n[log]\nlevel = \"debug\"\n")) else { return };
    let daemon = started(&house);
    let path = house.path(CANARY);
    let own: Vec<Option<SocketAddrUnix>> = vec![
        None,
        Some(SocketAddrUnix::new(&path).expect("a path")),
        Some(abstract_address(CANARY.as_bytes())),
        Some(abstract_address(b"1/unit/canary")),
        Some(abstract_address(b"1/unit/billing.service/slack.json/canary")),
        Some(abstract_address(b"1/unit/canary\xff.service/slack.json")),
        Some(abstract_address(b"1/unit/canary\n.service/slack.json")),
        Some(abstract_address(b"1/unit/billing.service/slack.json\0canary")),
        Some(abstract_address(b"canary/unit/billing.service/slack.json")),
        Some(abstract_address(&[b'x'; 107])),
    ];
    for own in &own {
        assert!(whole(asking(&house, own.as_ref()).expect("a connection")).expect("the daemon closes").is_empty());
        let entry = entries(&house).pop().expect("an entry");
        assert_eq!(entry["reason"], "its peer's address is not systemd's");
        assert_eq!((&entry["outcome"], &entry["actor"]), (&json!("refused"), &json!({ "uid": 0, "gid": 0 })));
    }
    assert_eq!(entries(&house).len(), own.len());
    assert!(!load(&house, "billing.service", "slack.json").is_empty(), "the daemon goes on");
    let log = fs::read_to_string(house.path("state/audit/audit.jsonl")).expect("a log");
    assert!(!log.contains(CANARY) && !house.log().contains(CANARY));
    daemon.stop();
}

#[test]
fn nobody_but_root_is_given_anything() {
    let Some((house, _)) = house("slack", WHOLE) else { return };
    let daemon = started(&house);
    let socket = house.path("run/credentials.sock");
    for directory in ["", "run"] {
        fs::set_permissions(house.path(directory), fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    assert_eq!(fs::metadata(&socket).expect("a socket").permissions().mode() & 0o777, 0o600);
    assert_eq!(as_nobody(&house).expect_err("its mode").kind(), io::ErrorKind::PermissionDenied);
    // A mode that lets everybody in does not help.
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).expect("a mode");
    assert!(as_nobody(&house).expect("the daemon closes").is_empty());
    let entry = entries(&house).pop().expect("an entry");
    assert_eq!(
        (&entry["outcome"], &entry["reason"]),
        (&json!("refused"), &json!("only root may ask, which systemd does"))
    );
    assert_eq!(entry["actor"], json!({ "uid": NOBODY, "gid": NOBODY }), "its word for the unit is not taken");
    assert!(!load(&house, "billing.service", "slack.json").is_empty());
    daemon.stop();
}

const NOBODY: u32 = 65534;

/// Asks on a thread that is another user's.
fn as_nobody(house: &House) -> io::Result<Vec<u8>> {
    let ask = || {
        rustix::thread::set_thread_gid(rustix::process::Gid::from_raw(NOBODY))?;
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(NOBODY))?;
        whole(asking(house, Some(&address_for("billing.service", "slack.json")))?)
    };
    std::thread::scope(|scope| scope.spawn(ask).join().expect("a thread"))
}

#[test]
fn a_unit_on_the_workflow_guards_list_is_refused_whatever_a_rule_grants() {
    let guarded = format!("{WHOLE}\n[workflow_guard]\nunits = [\"billing@*\"]\n");
    let Some((house, _)) = house("slack", &guarded) else { return };
    let daemon = started(&house);
    let reason = "the unit is on the workflow guard's list";
    refused(&house, "billing@acme.service", "slack.json", "refused", reason);
    assert!(!load(&house, "billing.service", "slack.json").is_empty());
    daemon.stop();
}

#[test]
fn while_the_vault_is_locked_nothing_is_given() {
    let Some((house, id)) = house("slack", WHOLE) else { return };
    let daemon = started(&house);
    house.succeeds(&["lock"]);
    let entry = refused(&house, "billing.service", "slack.json", "refused", "the vault is locked");
    assert_eq!((&entry["rule"], &entry["authentication"]), (&json!("billing"), &json!(id)));
    house.succeeds(&["unlock"]);
    assert!(!load(&house, "billing.service", "slack.json").is_empty());
    daemon.stop();
}

#[test]
fn what_is_not_held_any_more_is_not_given() {
    let Some((house, _)) = house("slack", WHOLE) else { return };
    let mut daemon = started(&house);
    let not_held = "only its metadata is held; its state says why";
    // The rules forbid it from the moment that they are read.
    let denied = fs::read_to_string(house.path("trayvault.toml")).expect("a configuration").replace("allow", "deny");
    fs::write(house.path("trayvault.toml"), denied).expect("a configuration");
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait("the new rules", || load(&house, "billing.service", "slack.json").is_empty().then_some(()));
    refused(&house, "billing.service", "slack.json", "failed", not_held);
    daemon.stop();
}

#[test]
fn what_is_not_known_and_what_is_too_stale_are_told_apart_in_the_log() {
    let unknown = WHOLE.replace("ID", "00000000-0000-4000-8000-000000000000").replace("slack.json", "unknown.json");
    let rules = format!("{WHOLE}{unknown}\n[sync]\nserve_stale_for = \"0s\"\n");
    let Some((mut house, id)) = house("slack", &rules) else { return };
    let mut credentials = Map::new();
    credentials.insert("accessToken".to_owned(), json!("expired"));
    credentials.insert("expires_at".to_owned(), json!("2020-01-01T00:00:00Z"));
    let altered = Alteration { credentials: Some(credentials), ..Alteration::default() };
    assert!(house.world().alter_authentication(id, altered));
    let daemon = started(&house);
    let not_known = "no authentication of that id is known here";
    refused(&house, "billing.service", "unknown.json", "failed", not_known);
    daemon.stop();
    house.stop_emulator();
    let daemon = house.daemon_with(&["--offline"]);
    refused(&house, "billing.service", "slack.json", "failed", "what is held is too old to be answered");
    daemon.stop();
}

#[test]
fn more_than_systemd_takes_is_refused() {
    let Some((house, id)) = house("slack", WHOLE) else { return };
    let grow = |length: usize| {
        let mut credentials = Map::new();
        credentials.insert("accessToken".to_owned(), json!("x".repeat(length)));
        let altered = Alteration { credentials: Some(credentials), ..Alteration::default() };
        assert!(house.world().alter_authentication(id, altered));
    };
    grow(1000 * 1024);
    let daemon = started(&house);
    assert!(load(&house, "billing.service", "slack.json").len() > 1000 * 1024, "much more than the socket's buffer");
    daemon.stop();
    grow(1024 * 1024);
    fs::remove_file(house.path("state/cache.db")).expect("a cache");
    let daemon = started(&house);
    let reason = "it is larger than 1 MiB, the most that systemd takes";
    refused(&house, "billing.service", "slack.json", "failed", reason);
    daemon.stop();
}

#[test]
fn without_a_writable_log_no_credential_leaves() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let Some((house, _)) = house("slack", WHOLE) else { return };
    let daemon = started(&house);
    assert!(!load(&house, "billing.service", "slack.json").is_empty());
    // A log that can't grow: the limit of file sizes is where it is now.
    let length = fs::metadata(house.path("state/audit/audit.jsonl")).expect("a log").len();
    let limit = Rlimit { current: Some(length), maximum: None };
    prlimit(Pid::from_raw(daemon.pid()), Resource::Fsize, limit).expect("a limit");
    assert!(load(&house, "billing.service", "slack.json").is_empty());
    assert!(house.log().contains("a credential was withheld"));
}

#[test]
fn a_peer_that_never_reads_holds_up_nobody() {
    let Some((house, id)) = house("slack", WHOLE) else { return };
    let mut credentials = Map::new();
    credentials.insert("accessToken".to_owned(), json!("x".repeat(900 * 1024)));
    let altered = Alteration { credentials: Some(credentials), ..Alteration::default() };
    assert!(house.world().alter_authentication(id, altered));
    let daemon = started(&house);
    let greedy: Vec<_> = (0..20).map(|_| asking_for(&house, "billing.service", "slack.json")).collect();
    assert!(load(&house, "billing.service", "slack.json").len() > 900 * 1024);
    // Nor the stop.
    daemon.stop();
    let not_taken = entries(&house).iter().filter(|entry| entry["reason"] == "its peer did not read all of it").count();
    assert_eq!(not_taken, greedy.len());
}

#[test]
fn more_peers_than_are_served_at_once_wait_and_are_served() {
    let Some((house, _)) = house("slack", WHOLE) else { return };
    let daemon = started(&house);
    let all: Vec<_> = (0..100).map(|_| asking_for(&house, "billing.service", "slack.json")).collect();
    for stream in all {
        assert!(!whole(stream).expect("the daemon closes").is_empty());
    }
    daemon.stop();
}

#[test]
fn sockets_from_systemd_are_known_by_their_names() {
    let Some((house, _)) = house("slack", WHOLE) else { return };
    house.private_directory("run");
    let made = |name: &str| {
        let path = house.path("run").join(name);
        let _ = fs::remove_file(&path);
        OwnedFd::from(UnixListener::bind(path).expect("a socket"))
    };
    for (sockets, names) in
        [(["api.sock", "credentials.sock"], "api:credentials"), (["credentials.sock", "api.sock"], "credentials:api")]
    {
        let daemon = house.socket_activated_daemon(sockets.map(made), Some(names));
        house.sync();
        assert!(!load(&house, "billing.service", "slack.json").is_empty(), "{names}");
        daemon.stop();
    }
    // The API's alone, without a name.
    let daemon = house.socket_activated_daemon(["api.sock", "other.sock"].map(made), None);
    assert_eq!(house.get("/v1/health/live").0, 200);
    assert!(house.log().contains("there are credential rules, and no socket for them"));
    daemon.stop();

    let mut daemon = house.socket_activated_daemon(["api.sock", "other.sock"].map(made), Some("api:metrics"));
    assert_eq!(daemon.ended(), Some(78));
    let log = house.log();
    let told = "error: systemd hands over a socket named \"metrics\"\nhint: the sockets' units say which is which: \
                FileDescriptorName=api, FileDescriptorName=credentials\n";
    assert!(log.ends_with(told), "{log}");
}
