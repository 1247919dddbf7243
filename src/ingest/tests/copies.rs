//! A document that is dropped again: done once, unless it is meant.

use std::time::Duration;

use serde_json::{Value, json};

use super::{super::Config, Host};
use crate::{emulator::Call, requests::ingest::IngestRequest};

#[tokio::test]
async fn a_copy_within_the_window_is_a_duplicate_and_nothing_is_sent() {
    let host = Host::new().await;
    let running = host.start();
    let document = host.create_document("Acme");
    host.deliver_json("first.json", &document);
    let first = host.receipt("first.json").await;
    // Sealed, or with space around it, it is the same.
    let sealed = host.cache.keyring().recipient().seal(document.to_string().as_bytes()).expect("sealed");
    host.deliver("sealed.json", sealed);
    host.deliver("spaced.json", format!("\n{document}\n"));
    host.deliver("line.ndjson", document.to_string());
    for name in ["sealed.json", "spaced.json"] {
        let copy = host.receipt(name).await;
        assert_eq!((&copy["outcome"], &copy["duplicateOf"]), (&json!("duplicate"), &first["intent"]), "{name}");
        assert_eq!(copy["authenticationId"], first["authenticationId"], "{name}");
    }
    assert_eq!(host.receipt("line.ndjson").await["lines"][0]["outcome"], "duplicate");
    assert_eq!((host.created().len(), host.emulator.world().requests(Call::CreateAuthentication)), (1, 1));
    // Who deletes it and drops it again wants another.
    let id = first["authenticationId"].clone();
    host.deliver_json(
        "delete.json",
        &json!({"version": 1, "action": "delete", "authenticationId": id, "confirm": true}),
    );
    assert_eq!(host.receipt("delete.json").await["outcome"], "deleted");
    host.deliver_json("again.json", &document);
    assert_eq!(host.receipt("again.json").await["outcome"], "created");
    running.stop().await;
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn a_copy_after_the_window_is_done_again() {
    let host = Host::new().await;
    let duplicate_window = Duration::from_millis(1_500);
    let running = host.start_with(Config { duplicate_window, ..host.config() }).expect("an ingest");
    let document = host.create_document("Acme");
    host.deliver_json("first.json", &document);
    assert_eq!(host.receipt("first.json").await["outcome"], "created");
    tokio::time::sleep(duplicate_window).await;
    host.deliver_json("later.json", &document);
    assert_eq!(host.receipt("later.json").await["outcome"], "created");
    assert_eq!(host.created().len(), 2);
    running.stop().await;
}

#[tokio::test]
async fn a_copy_of_what_is_held_is_not_sent_beside_it() {
    let host = Host::new().await;
    let running = host.start();
    host.hold("held.json", "Acme").await;
    let [held] = &running.ask(IngestRequest::List).await.expect("a list")[..] else { panic!("one") };
    host.deliver_json("copy.json", &host.create_document("Acme"));
    let copy = host.receipt("copy.json").await;
    assert_eq!((&copy["outcome"], &copy["duplicateOf"]), (&json!("duplicate"), &json!(held.intent)));
    assert_eq!((&copy["authenticationId"], host.created().len()), (&Value::Null, 1));
    running.stop().await;
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn an_update_that_was_overtaken_is_done_again_when_it_is_dropped_again() {
    let host = Host::new().await;
    let running = host.start();
    let made = host.create("Acme").await;
    let update = |token: &str| json!({"version": 1, "action": "update", "authenticationId": made.id, "credentials": {"access_token": token}});
    let steps = [("1", "a", "updated"), ("2", "b", "updated"), ("3", "a", "updated"), ("4", "a", "duplicate")];
    for (name, token, outcome) in steps {
        host.deliver_json(name, &update(token));
        assert_eq!(host.receipt(name).await["outcome"], outcome, "{name}");
    }
    let credentials = host.emulator.world().authentication(made.id).expect("there").credentials;
    assert_eq!(credentials, json!({"access_token": "a"}));
    assert_eq!(host.emulator.world().requests(Call::ReplaceAuthentication), 3);
    running.stop().await;
}
