//! Documents for a drop directory, and how their delivery goes.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    BODY_LEN,
    house::{Daemon, House},
};

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The document that creates an authentication of an owner's, or of the workspace's, with [`BODY_LEN`] bytes of
/// credentials.
pub fn create(number: usize, owner: Option<&str>) -> Value {
    let mut random = fastrand::Rng::with_seed(number as u64);
    let token: String = (0..BODY_LEN).map(|_| random.alphanumeric()).collect();
    let mut document = json!({
        "version": 1, "action": "create", "name": format!("dropped #{number}"),
        "service": { "name": "slack", "version": 2 }, "environment": "Production",
        "credentials": { "accessToken": token },
    });
    if let Some(owner) = owner {
        document["user"] = json!({ "externalUserId": owner });
    }
    document
}

/// Writes a document for nobody else to read. It is not synced: see [`sync`].
pub fn write(path: &Path, document: &Value) {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(document.to_string().as_bytes())).expect("a document is written");
}

/// Brings to the disk what was written, so that nobody else is charged for it.
pub fn sync() {
    let synced = std::process::Command::new("sync").status();
    assert!(synced.is_ok_and(|synced| synced.success()), "the disk has it");
}

/// How many documents lie at the top level of a drop directory.
pub fn left(drop: &Path) -> usize {
    let entries = fs::read_dir(drop).expect("a drop directory").filter_map(Result::ok);
    entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "json")).count()
}

/// Waits until so many documents are in a daemon's journal, their plaintext removed: a document counts as pending only
/// then.
pub fn until_pending(house: &House, wanted: usize, patience: Duration) {
    let (begun, mut print_at) = (Instant::now(), Duration::from_secs(30));
    loop {
        let pending = house.ask("GET", "/v1/status")["ingest"]["pending"].as_u64();
        let pending = pending.and_then(|pending| usize::try_from(pending).ok()).expect("a number");
        if pending == wanted {
            return;
        }
        assert!(pending < wanted && begun.elapsed() < patience, "{pending} of {wanted} are pending");
        if begun.elapsed() >= print_at {
            print_at += Duration::from_secs(30);
            println!("{:4.0} s: {pending} of {wanted}", begun.elapsed().as_secs_f64());
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// A daemon's memory, for people.
pub fn memory(daemon: &Daemon) -> String {
    format!("{:.1} MiB resident, {:.1} MiB at most", daemon.resident_mib(), daemon.peak_mib())
}
