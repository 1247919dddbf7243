//! Nothing that the daemon writes holds a secret in the clear: every file of its, and every log.

use std::{fs, path::Path};

use serde_json::json;

use crate::support::{House, OPEN};

/// Everything below a directory, but for what the test itself put there.
fn written(directory: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let own = ["master.token", "api-user.token"].iter().any(|name| path.ends_with(name));
        if path.is_dir() {
            written(&path, found);
        } else if path.is_file() && !own {
            found.push((path.display().to_string(), fs::read(&path).expect("a file")));
        }
    }
}

#[test]
fn no_file_and_no_log_holds_a_secret_a_token_or_a_name() {
    let house = House::ready(&format!("{OPEN}\n[log]\nlevel = \"debug\"\n"));
    let mut daemon = house.daemon();
    house.sync();
    let document = json!({
        "version": 1, "action": "create", "name": "Canary", "user": { "externalUserId": "acme-1" },
        "service": { "name": "slack", "version": 2 }, "environment": "Production",
        "credentials": { "accessToken": "canary-of-an-accepted-file" },
    });
    house.drop_file("accepted.json", &document);
    daemon.outcome("done/accepted.json.receipt.json");
    house.sync();
    house.succeeds(&["get", &house.upstream("slack").id.to_string()]);
    let mut files = Vec::new();
    // While it runs, with its write-ahead logs, and after it stopped.
    written(&house.path(""), &mut files);
    daemon.stop();
    written(&house.path(""), &mut files);

    let mut canaries = house.world().secrets();
    canaries.extend(["canary-of-an-accepted-file".to_owned(), "acme-1".to_owned()]);
    assert!(canaries.len() > 10 && files.len() > 8);
    let mut searched = 0;
    for (name, content) in &files {
        searched += content.len();
        for canary in &canaries {
            let hit = content.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!hit, "{name} holds {canary}");
        }
    }
    println!("{searched} bytes in {} files searched for {} canaries", files.len(), canaries.len());
}
