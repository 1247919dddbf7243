//! `GET /v1/events`: what happens, as it happens, for whoever may see it.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use trayvault::emulator::Alteration;

use crate::support::{CANARY, House, OPEN};

/// A listener, which reads the stream's lines.
struct Listener<'a>(&'a House, BufReader<UnixStream>);

impl<'a> Listener<'a> {
    fn new(house: &'a House) -> Self {
        let mut stream = UnixStream::connect(house.path("run/api.sock")).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        write!(stream, "GET /v1/events HTTP/1.1\r\nhost: trayvault\r\n\r\n").expect("a request");
        let mut listener = Self(house, BufReader::new(stream));
        assert!(listener.line().starts_with("HTTP/1.1 200"));
        while listener.line() != ": listening" {}
        listener
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.1.read_line(&mut line).expect("a line before the timeout") > 0, "the stream ended");
        self.0.answered("/v1/events", 200, line.as_bytes());
        line.trim_end().to_owned()
    }

    /// The next event of one of these names: its name and data.
    fn next(&mut self, names: &[&str]) -> (String, Value) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let line = self.line();
            assert!(Instant::now() < deadline, "waited for {names:?} in vain");
            let Some(name) = line.strip_prefix("event: ") else { continue };
            let data = self.line();
            let data = serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON");
            if names.contains(&name) {
                return (name.to_owned(), data);
            }
        }
    }
}

#[test]
fn what_is_pulled_changed_refreshed_and_removed_is_told_without_a_secret() {
    let house = House::ready(&OPEN.replace("\"sync\"", "\"sync\", \"refresh\""));
    let daemon = house.daemon();
    house.sync();
    let mut listener = Listener::new(&house);
    let slack = house.upstream("slack");
    let id: Value = slack.id.to_string().into();

    // What was fetched within this second is as good as new.
    std::thread::sleep(Duration::from_millis(1_100));
    house.ask(hyper::Method::POST, &format!("/v1/authentications/{}/refresh", slack.id));
    let (_, refreshed) = listener.next(&["refreshed"]);
    assert_eq!((&refreshed["authentication"]["id"], &refreshed["revision"]), (&id, &2.into()));

    assert!(house.world().reissue_authentication(slack.id));
    std::thread::sleep(Duration::from_millis(1_100));
    house.ask(hyper::Method::POST, &format!("/v1/authentications/{}/refresh", slack.id));
    let (_, changed) = listener.next(&["changed"]);
    assert_eq!((&changed["authentication"]["id"], &changed["revision"]), (&id, &3.into()));

    let name = Some("renamed".to_owned());
    assert!(house.world().alter_authentication(slack.id, Alteration { name, ..Default::default() }));
    house.sync();
    let (_, renamed) = listener.next(&["changed"]);
    assert_eq!((&renamed["authentication"]["name"], &renamed["revision"]), (&"renamed".into(), &Value::Null));

    assert!(house.world().remove_authentication(slack.id));
    house.sync();
    let (_, removed) = listener.next(&["removed"]);
    assert_eq!((&removed["authentication"]["id"], &removed["reason"]), (&id, &"deleted_upstream".into()));

    let secrets = house.world().secrets();
    let told = format!("{refreshed}{changed}{renamed}{removed}");
    assert!(secrets.iter().all(|secret| !told.contains(secret.as_str())), "{told}");
    daemon.stop();
}

#[test]
fn what_becomes_of_dropped_files_is_told() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.sync();
    let mut listener = Listener::new(&house);
    let create = json!({
        "version": 1, "action": "create", "user": { "externalUserId": "acme-1" }, "name": "Dropped",
        "service": { "name": "slack", "version": 2 }, "environment": "Production",
        "credentials": { "accessToken": CANARY },
    });
    house.drop_file("create.json", &create);
    let (_, created) = listener.next(&["ingest"]);
    assert_eq!(created["outcome"], "created", "{created}");
    let (_, pulled) = listener.next(&["pulled"]);
    assert_eq!(pulled["authentication"]["id"], created["id"], "and it is pulled without a cycle");
    house.drop_file("bad.json", &json!({ "version": 1, "action": CANARY, "credentials": CANARY }));
    assert_eq!(listener.next(&["ingest"]).1["outcome"], "rejected");
    daemon.stop();
}

#[test]
fn the_state_of_tray_is_told() {
    let mut house = House::ready(OPEN);
    house.stop_emulator();
    let daemon = house.daemon();
    let mut listener = Listener::new(&house);
    let (_, tray) = listener.next(&["tray"]);
    assert_ne!(tray["circuit"], "closed", "{tray}");
    assert!(tray["host"].as_str().is_some_and(|host| host.starts_with("127.0.0.1:")), "{tray}");
    daemon.stop();
}

#[test]
fn a_listener_sees_only_what_it_may_see_and_does_not_hold_up_the_stop() {
    let rules = OPEN.replace("grants = [\"metadata\", \"read\", \"sync\", \"ingest\", \"manage\"]", "grants = [\"metadata\"]\nservices = [\"slack\"]\n[[access.rules]]\nname = \"sync\"\nusers = [\"UID\"]\ngrants = [\"sync\"]");
    let house = House::ready(&rules);
    let daemon = house.daemon();
    house.sync();
    let mut listener = Listener::new(&house);
    for service in ["salesforce", "slack"] {
        assert!(house.world().remove_authentication(house.upstream(service).id));
    }
    house.sync();
    let (_, removed) = listener.next(&["removed"]);
    assert_eq!(removed["authentication"]["service"]["name"], "slack");
    let started = Instant::now();
    daemon.stop();
    assert!(started.elapsed() < Duration::from_secs(20), "it was cut off at the deadline");
    let mut rest = String::new();
    while listener.1.read_line(&mut rest).is_ok_and(|read| read > 0) {}
    assert!(!rest.contains("salesforce"), "{rest}");
}

#[test]
fn who_may_see_nothing_may_not_listen() {
    let house = House::ready(&OPEN.replace("\"metadata\", ", ""));
    let daemon = house.daemon();
    let (status, refused) = house.get("/v1/events");
    assert_eq!((status.as_u16(), &refused["code"]), (403, &"forbidden".into()));
    daemon.stop();
}
