//! What people see of dropped documents, and settle: who may, from outside; and how it looks, against a stand-in for the
//! daemon.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixListener,
    thread::JoinHandle,
};

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{CANARY, House, OPEN};

const INTENT: &str = "0191d1a0-0000-4000-8000-000000000007";
const AUTHENTICATION: &str = "0191d1a0-0000-4000-8000-000000000009";

/// What was recorded of an action, last.
fn recorded(house: &House, action: &str) -> Value {
    let log = fs::read_to_string(house.path("state/audit/audit.jsonl")).expect("a log");
    let mut entries = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    entries.rfind(|entry| entry["action"] == action).expect("an entry")
}

fn routes() -> [(Method, String, &'static str); 7] {
    [
        (Method::GET, "/v1/ingest".to_owned(), "ingest.list"),
        (Method::GET, format!("/v1/ingest/{INTENT}"), "ingest.list"),
        (Method::POST, format!("/v1/ingest/{INTENT}/retry"), "ingest.retry"),
        (Method::POST, format!("/v1/ingest/{INTENT}/adopt?authentication={AUTHENTICATION}"), "ingest.adopt"),
        (Method::POST, format!("/v1/ingest/{INTENT}/discard"), "ingest.discard"),
        (Method::POST, "/v1/ingest/plan".to_owned(), "ingest.plan"),
        (Method::GET, "/v1/ingest/rejected/acme.json".to_owned(), "ingest.open"),
    ]
}

#[test]
fn whoever_is_not_granted_ingest_is_refused_and_it_is_recorded() {
    let house = House::ready(&OPEN.replace("\"ingest\", ", ""));
    let daemon = house.daemon();
    for (method, path, action) in routes() {
        let (status, answer) = house.ask(method, &path);
        assert_eq!((status, &answer["code"]), (StatusCode::FORBIDDEN, &json!("forbidden")), "{path}");
        let entry = recorded(&house, action);
        assert_eq!((&entry["outcome"], &entry["request"]), (&json!("refused"), &answer["request_id"]));
    }
    let (status, told) = house.get("/v1/recipient");
    assert_eq!((status, told["recipient"].is_string()), (StatusCode::OK, true));
    daemon.stop();
}

#[test]
fn a_rejected_document_takes_the_right_to_read_everything_which_the_guard_denies() {
    let part = OPEN.replace("\"read\", ", "")
        + "[[access.rules]]\nname = \"slack\"\nusers = [\"UID\"]\ngrants = [\"read\"]\nservices = [\"slack\"]\n";
    let guarded = format!("{OPEN}[workflow_guard]\nusers = [\"UID\"]\n");
    for rules in [part, guarded] {
        let house = House::ready(&rules);
        let daemon = house.daemon();
        house.private("drop/rejected/acme.json", CANARY);
        let error = house.fails(&["ingest", "show", "acme.json"], 77);
        assert!(error.starts_with("error: not allowed; the audit log says why"), "{error}");
        assert_eq!(recorded(&house, "ingest.open")["outcome"], "refused");
        daemon.stop();
    }
}

#[test]
fn while_the_vault_is_locked_nothing_is_seen_or_settled() {
    let house = House::ready(OPEN);
    let daemon = house.daemon();
    house.succeeds(&["lock"]);
    for (method, path, action) in routes() {
        let (status, answer) = house.ask(method, &path);
        assert_eq!((status, &answer["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("locked")), "{path}");
        assert_eq!(recorded(&house, action)["reason"], "the vault is locked");
    }
    daemon.stop();
}

/// A daemon's stand-in: answers one request after the other, and gives what it was asked.
fn stand_in(house: &House, answers: Vec<(u16, Value)>) -> JoinHandle<Vec<(String, Vec<u8>)>> {
    let listener = UnixListener::bind(house.path("stand-in.sock")).expect("a socket");
    std::thread::spawn(move || {
        let answer = |(status, answer): (u16, Value)| {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
            let (mut first, mut length) = (String::new(), 0);
            reader.read_line(&mut first).expect("a request");
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).expect("a header");
                if line == "\r\n" {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            let text = answer.as_str().map_or_else(|| answer.to_string(), str::to_owned);
            write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{text}", text.len()).expect("an answer");
            (first.trim_end().trim_end_matches(" HTTP/1.1").to_owned(), body)
        };
        answers.into_iter().map(answer).collect()
    })
}

/// What a command prints when the daemon answers so, and what the daemon was asked.
fn against(house: &House, arguments: &[&str], answers: Vec<(u16, Value)>) -> (String, Vec<(String, Vec<u8>)>) {
    let daemon = stand_in(house, answers);
    let socket = house.path("stand-in.sock");
    let arguments = [arguments, &["--socket", socket.to_str().expect("text")]].concat();
    let output = house.run(&arguments);
    fs::remove_file(socket).expect("a socket");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let said = format!("{}{}[{}]", text(&output.stdout), text(&output.stderr), output.status.code().expect("a code"));
    let is_sentence = |line: &str| line.contains(": ") || line.contains("would ");
    assert!(said.lines().all(|line| is_sentence(line) || line.chars().count() <= 80), "{said}");
    (said, daemon.join().expect("the stand-in ends"))
}

fn document(file: &str, state: &str) -> Value {
    json!({
        "intent": INTENT, "file": file, "action": "create", "state": state, "received_at": null, "sent_at": null,
        "attempts": 1, "owner": "acme-1", "authentication_id": null, "candidates": [AUTHENTICATION],
        "problem": { "what": "several new ones could be it", "hint": "look which one it is in Tray" },
    })
}

#[test]
fn documents_that_are_not_finished_are_a_table() {
    let house = House::new(OPEN);
    let mut line = document("an-export-with-a-rather-long-name-2026-11-24.ndjson", "held");
    line["line"] = json!(12);
    let list = json!({ "documents": [document("acme.json", "journaled"), line] });
    let (said, asked) = against(&house, &["ingest", "list"], vec![(200, list)]);
    insta::assert_snapshot!(said, @"
    id                                    file                action  state      age
    --------------------------------------------------------------------------------
    0191d1a0-0000-4000-8000-000000000007  acme.json           create  journaled  -
    0191d1a0-0000-4000-8000-000000000007  an-export-with-a-r  create  held       -
                                          ather-long-name-20
                                          26-11-24.ndjson:12

    a held one waits for you: it may have been done, and Tray's list can't tell.
    trayvault ingest show ID says more; then adopt, retry or discard it
    [0]
    ");
    assert_eq!(asked[0].0, "GET /v1/ingest");
    let (said, _) = against(&house, &["ingest", "list"], vec![(200, json!({ "documents": [] }))]);
    insta::assert_snapshot!(said, @"
    nothing is waiting
    what was done has its receipt in done/, what was refused its reason in rejected/
    [0]
    ");
    let (said, asked) = against(&house, &["ingest", "show", INTENT], vec![(200, document("acme.json", "held"))]);
    insta::assert_snapshot!(said, @"
    what      how it stands
    ----------------------------------------------
    id        0191d1a0-0000-4000-8000-000000000007
    file      acme.json
    action    create
    state     held
    owner     acme-1
    received  -
    sent      -, attempts: 1
    could be  0191d1a0-0000-4000-8000-000000000009
    problem   several new ones could be it
              hint: look which one it is in Tray
    [0]
    ");
    assert_eq!(asked[0].0, format!("GET /v1/ingest/{INTENT}"));
}

#[test]
fn an_order_says_what_was_done_or_what_to_do() {
    let house = House::new(OPEN);
    let settled = |outcome: &str| vec![(200, json!({ "intent": INTENT, "outcome": outcome }))];
    let (said, asked) = against(&house, &["ingest", "retry", INTENT], settled("queued"));
    assert_eq!((&said[..], &asked[0].0), ("it is on its way again\n[0]", &format!("POST /v1/ingest/{INTENT}/retry")));
    let adopt = ["ingest", "adopt", INTENT, "--authentication", AUTHENTICATION];
    let (said, asked) = against(&house, &adopt, settled("adopted"));
    let path = format!("POST /v1/ingest/{INTENT}/adopt?authentication={AUTHENTICATION}");
    assert_eq!((&said[..], &asked[0].0), ("adopted: it has its receipt\n[0]", &path));
    let (said, asked) = against(&house, &["ingest", "discard", INTENT], settled("discarded"));
    assert_eq!((&said[..], &asked[0].0), ("discarded\n[0]", &format!("POST /v1/ingest/{INTENT}/discard")));
    let refused = |code: &str, message: &str| json!({ "code": code, "message": message, "request_id": "x" });
    let answers = vec![(404, refused("not_found", "no such document is waiting"))];
    let (said, _) = against(&house, &["ingest", "retry", INTENT], answers);
    insta::assert_snapshot!(said, @"
    error: no such document is waiting
    hint: trayvault ingest list shows what is waiting
    [65]
    ");
    let answers = vec![(409, refused("conflict", "it is done, and its receipt is being written"))];
    let (said, _) = against(&house, &["ingest", "discard", INTENT], answers);
    insta::assert_snapshot!(said, @"
    error: it is done, and its receipt is being written
    hint: trayvault ingest show ID says how it stands
    [69]
    ");
}

#[test]
fn a_rejected_document_is_printed_or_written_to_a_private_file() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::new(OPEN);
    let (said, asked) = against(&house, &["ingest", "show", "a b.json"], vec![(200, json!("content\n"))]);
    assert_eq!((&said[..], &asked[0].0[..]), ("content\n[0]", "GET /v1/ingest/rejected/a%20b.json"));
    let file = house.path("a.json");
    let arguments = ["ingest", "show", "a.json", "--output", file.to_str().expect("text")];
    let daemon = stand_in(&house, vec![(200, json!("content\n"))]);
    let socket = house.path("stand-in.sock");
    house.succeeds(&[&arguments[..], &["--socket", socket.to_str().expect("text")]].concat());
    daemon.join().expect("the stand-in ends");
    assert_eq!(fs::read_to_string(&file).expect("a file"), "content\n");
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o7777, 0o600);
}

fn accepted() -> Value {
    json!({
        "outcome": "accepted", "does": "replace", "owner": "acme-1", "creates_user": false,
        "authentication_id": AUTHENTICATION, "name": "Acme Slack",
        "fields": [
            { "pointer": "/name", "change": "same", "before": "00112233445566", "after": "00112233445566" },
            { "pointer": "/credentials/accessToken", "change": "changed", "before": "aabbccddeeff", "after": "0123456789ab" },
            { "pointer": "/credentials/refreshToken", "change": "added", "before": null, "after": "fedcba987654" },
        ],
        "notes": ["the scopes stay as they are"],
    })
}

fn rejected() -> Value {
    json!({
        "outcome": "rejected", "kind": "schema", "reason": "it must be text", "hint": "put it in quotes",
        "pointer": "/credentials/accessToken", "line": 1, "column": 42,
    })
}

#[test]
fn a_plan_shows_what_would_be_done_field_by_field_without_values() {
    let house = House::new(OPEN);
    house.private("acme.json", "{}");
    let file = house.path("acme.json");
    let plan = ["drop", "--plan", file.to_str().expect("text")];
    let (said, asked) = against(&house, &plan, vec![(200, accepted())]);
    insta::assert_snapshot!(said, @r#"
    would replace 0191d1a0-0000-4000-8000-000000000009 "Acme Slack" of "acme-1"
    field                      change   before    after
    ------------------------------------------------------
    /name                      same     00112233  00112233
    /credentials/accessToken   changed  aabbccdd  01234567
    /credentials/refreshToken  added    -         fedcba98
    note: the scopes stay as they are
    [0]
    "#);
    assert_eq!(asked, [("POST /v1/ingest/plan".to_owned(), b"{}".to_vec())]);
    let (said, _) = against(&house, &plan, vec![(200, rejected())]);
    insta::assert_snapshot!(said, @"
    error: line 1, column 42, at /credentials/accessToken: it must be text
    hint: put it in quotes
    [65]
    ");
    assert!(!house.path("drop").exists());
}

#[test]
fn a_file_of_many_documents_is_planned_line_by_line() {
    let house = House::new(OPEN);
    house.private("many.ndjson", "{\"a\":1}\n\n{\"b\":2}\n");
    let file = house.path("many.ndjson");
    let file = file.to_str().expect("text");
    let answers = || vec![(200, accepted()), (200, rejected())];
    let (said, asked) = against(&house, &["drop", "--plan", file], answers());
    insta::assert_snapshot!(said, @r#"
    line 1: would replace 0191d1a0-0000-4000-8000-000000000009 "Acme Slack" of "acme-1"
    field                      change   before    after
    ------------------------------------------------------
    /name                      same     00112233  00112233
    /credentials/accessToken   changed  aabbccdd  01234567
    /credentials/refreshToken  added    -         fedcba98
    note: the scopes stay as they are
    would be rejected: line 3, column 42, at /credentials/accessToken: it must be text
    hint: put it in quotes
    error: 1 of 2 documents would be rejected
    [65]
    "#);
    let bodies: Vec<_> = asked.iter().map(|(_, body)| &body[..]).collect();
    assert_eq!(bodies, [b"{\"a\":1}", b"{\"b\":2}"]);
    let daemon = stand_in(&house, answers());
    let socket = house.path("stand-in.sock");
    let output = house.run(&["drop", "--plan", file, "--json", "--socket", socket.to_str().expect("text")]);
    daemon.join().expect("the stand-in ends");
    let planned: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&planned[0]["line"], &planned[1]["preview"]["line"]), (&json!(1), &json!(3)));
    assert_eq!(output.status.code(), Some(65));
}
