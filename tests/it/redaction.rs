//! Nothing that the daemon writes holds a secret in the clear: every file of its, and every log.

use std::{fs, path::PathBuf};

use serde_json::json;

use crate::support::{House, OPEN};

/// What the house holds, but for what the test itself put there.
fn written(house: &House) -> Vec<(PathBuf, Vec<u8>)> {
    let own = ["master.token", "api-user.token"];
    let files = house.files().into_iter().filter(|path| !own.iter().any(|name| path.ends_with(name)));
    files.map(|path| (path.clone(), fs::read(path).expect("a file"))).collect()
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
    // While it runs, with its write-ahead logs, and after it stopped.
    let mut files = written(&house);
    daemon.stop();
    files.extend(written(&house));

    let mut canaries = house.world().secrets();
    canaries.extend(["canary-of-an-accepted-file".to_owned(), "acme-1".to_owned()]);
    assert!(canaries.len() > 10 && files.len() > 8);
    let mut searched = 0;
    for (name, content) in &files {
        searched += content.len();
        for canary in &canaries {
            let hit = content.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!hit, "{} holds {canary}", name.display());
        }
    }
    println!("{searched} bytes in {} files searched for {} canaries", files.len(), canaries.len());
}
