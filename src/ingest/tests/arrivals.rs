//! How files arrive: many at once, slowly, in pieces, or many documents in one.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::Duration,
};

use serde_json::{Value, json};

use super::{CANARY, Host};
use crate::{
    emulator::{Call, Fault, FaultKind},
    requests::ingest::IngestRequest,
};

/// What is left at the top level of what was dropped.
fn left(host: &Host) -> usize {
    let entries = fs::read_dir(host.drop()).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "json")).count()
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path).expect("opened");
    file.write_all(text.as_bytes()).expect("written");
}

#[tokio::test]
async fn of_a_burst_of_files_none_is_missed_and_each_owner_has_theirs_in_order() {
    const MANY: usize = 2_000;
    let host = Host::new().await;
    // Nothing is sent, so that all of it is in the journal at the end.
    let away = Fault { call: None, times: u32::MAX, after_work: false, kind: FaultKind::Status(503) };
    host.emulator.world().add_fault(away);
    let running = host.start();
    host.until("the directory", || host.drop().join("done").exists()).await;
    let owners = [json!("acme-1"), json!("acme-2"), json!("acme-3")];
    for number in 0..MANY {
        let mut document = host.create_document(&format!("number {number}"));
        document["user"]["externalUserId"] = owners[number % owners.len()].clone();
        host.deliver_json(&format!("{number:05}-{}.json", number % owners.len()), &document);
    }
    host.until("an empty directory", || left(&host) == 0).await;
    host.posted("all of them", |posted| posted.ingest.pending == MANY).await;

    let listed = running.ask(IngestRequest::List).await.expect("a list");
    assert_eq!(listed.len(), MANY);
    for owner in 0..owners.len() {
        let files: Vec<_> = listed.iter().filter(|one| one.file.ends_with(&format!("-{owner}.json"))).collect();
        assert!(files.is_sorted_by_key(|one| &one.file));
    }
    running.crash().await;
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn a_file_is_taken_only_once_its_writer_has_closed_it() {
    let host = Host::new().await;
    let running = host.start();
    host.until("the directory", || host.drop().join("done").exists()).await;
    let path = host.drop().join("open.json");
    let mut writer = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).expect("made");
    writer.write_all(host.create_document("open").to_string().as_bytes()).expect("written");
    // It is whole, and at rest for longer than a file that is young; by now it is looked at every few seconds only.
    let is_told = |what: &str| what == "1 dropped files are held open for writing, or not whole yet";
    host.posted("the problem", |posted| posted.ingest.problems.iter().any(|problem| is_told(&problem.what))).await;
    assert!(path.exists() && host.created().is_empty());
    drop(writer);
    assert_eq!(host.receipt("open.json").await["outcome"], "created");
    running.stop().await;
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn what_a_script_appends_with_pauses_is_taken_once_and_whole() {
    let host = Host::new().await;
    let running = host.start();
    host.until("the directory", || host.drop().join("done").exists()).await;
    let text = serde_json::to_string_pretty(&host.create_document("appended")).expect("JSON");
    let path = host.drop().join("appended.json");
    for piece in [&text[..30], &text[30..90], &text[90..]] {
        append(&path, piece);
        tokio::time::sleep(Duration::from_millis(900)).await;
    }
    assert_eq!(host.receipt("appended.json").await["outcome"], "created");
    running.stop().await;
    let outcomes = |directory: &str| fs::read_dir(host.drop().join(directory)).expect("a directory").count();
    assert_eq!((host.created().len(), outcomes("done"), outcomes("rejected")), (1, 1, 0));
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn a_file_of_many_has_one_receipt_and_what_is_rejected_of_it_is_left_together() {
    let host = Host::new().await;
    let running = host.start();
    let mut breaks_its_schema = host.create_document("second");
    breaks_its_schema["credentials"] = json!({"access_token": 7, "refresh_token": CANARY});
    let mut of_the_workspace = host.create_document("third");
    of_the_workspace.as_object_mut().expect("an object").remove("user");
    let torn = format!("{{\"version\": 1, \"name\": \"{CANARY}");
    let lines = [host.create_document("first").to_string(), breaks_its_schema.to_string(), String::new(), torn.clone()];
    host.deliver("many.ndjson", format!("{}\r\n{of_the_workspace}", lines.join("\n")));

    let receipt = host.receipt("many.ndjson").await;
    assert_eq!((&receipt["accepted"], &receipt["rejected"]), (&json!(2), &json!(2)));
    let outcomes: Vec<_> = receipt["lines"].as_array().expect("lines").iter().map(told).collect();
    assert_eq!(outcomes, ["1 created", "2 rejected", "4 rejected", "5 created"]);
    let reason = host.reason("many.ndjson").await;
    assert_eq!((&reason["intent"], &reason["sealed"]), (&receipt["intent"], &json!(true)));
    let kinds: Vec<_> = reason["lines"].as_array().expect("lines").iter().map(|line| &line["kind"]).collect();
    assert_eq!(kinds, ["schema", "document"]);
    assert_eq!(reason["lines"][0]["pointer"], "/credentials/access_token");
    let kept = String::from_utf8(host.opened("many.ndjson")).expect("text");
    assert_eq!(kept, format!("{breaks_its_schema}\n{torn}\n"), "one a line, to be put right and dropped again");
    assert_eq!((host.created().len(), host.emulator.world().requests(Call::CreateAuthentication)), (2, 2));
    running.stop().await;
    host.assert_nothing_leaked();
}

fn told(line: &Value) -> String {
    format!("{} {}", line["line"], line["outcome"].as_str().expect("an outcome"))
}
