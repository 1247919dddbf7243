//! Ingest against the emulator: real files, a real journal, a real client over loopback.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use super::{Config, Dependencies, Ingest};
use crate::{
    audit::{self, AuditLog},
    authentication::AuthenticationId,
    emulator::{self, Alteration, AuthenticationView, Call, Emulator, Fault, FaultKind, Origin},
    policy::{self, Policy},
    principals::Principals,
    secret::{Key, SecretString},
    status::{Board, Posted},
    task::{Drained, Tasks},
    tray::{self, ApiUserToken, MasterToken, Tray},
    vault::{self, Cache, NewSlot, State},
};

const CANARY: &str = "s3cr3t-canary";

/// A host with a vault, an emulated Tray, and an ingest that can be stopped and started.
struct Host {
    emulator: Emulator,
    dir: tempfile::TempDir,
    settle: Duration,
    board: Board,
    cache: Cache,
    audit_key: Key,
    dependencies: Box<dyn Fn() -> Dependencies>,
}

struct Running {
    tasks: Tasks,
}

impl Host {
    async fn new() -> Self {
        Self::with_policy("[[pull.rules]]\nname = \"all\"\neffect = \"allow\"").await
    }

    async fn with_policy(policy: &str) -> Self {
        let emulator = Emulator::start(emulator::Config::default()).await.expect("an emulator");
        let dir = tempfile::tempdir().expect("a directory");
        let state_dir = dir.path().join("state");
        crate::system::files::private_directory(&state_dir).expect("a directory");
        let Ok(key) = Key::try_fill(|key| {
            key.fill(7);
            Ok::<_, std::convert::Infallible>(())
        });
        let unlocked = vault::create(&state_dir, &[NewSlot::Raw { key: &key }]).expect("a vault");
        let (audit_key, again) = (unlocked.audit_key(), unlocked.audit_key());
        let keyring = unlocked.into_keyring();
        let cache = Cache::open(&state_dir.join("cache.db"), Arc::clone(&keyring)).expect("a cache");
        let audit = AuditLog::open(&state_dir, audit_key).expect("a log");
        let config = tray::Config {
            api_url: Some(emulator.api_url()),
            graphql_url: Some(emulator.graphql_url()),
            timeout: Duration::from_secs(5),
            ..tray::Config::default()
        };
        let tray = Arc::new(Tray::new(&config).expect("a client"));
        let token = |text: &str| SecretString::new(text.to_owned());
        let principals = Arc::new(Principals::new(
            Arc::clone(&tray),
            cache.clone(),
            audit.clone(),
            Some(MasterToken::new(token(&emulator.tokens().master))),
            Some(ApiUserToken::new(token(&emulator.tokens().api_user))),
        ));
        let policy: policy::Config = toml::from_str(policy).expect("a policy");
        let policy = Policy::new(&policy, |_| None, |_| None).expect("a policy");
        let (_, policy) = watch::channel(Arc::new(policy));
        let board = Board::new(jiff::Timestamp::now());
        let dependencies = {
            let (board, cache) = (board.clone(), cache.clone());
            move || Dependencies {
                state_dir: state_dir.clone(),
                keyring: Arc::clone(&keyring),
                tray: Arc::clone(&tray),
                principals: Arc::clone(&principals),
                cache: cache.clone(),
                audit: audit.clone(),
                policy: policy.clone(),
                board: board.clone(),
            }
        };
        let settle = Duration::from_secs(60);
        Self { emulator, dir, settle, board, cache, audit_key: again, dependencies: Box::new(dependencies) }
    }

    fn start(&self) -> Running {
        let config = Config { directory: Some(self.drop()), settle: self.settle, ..Config::default() };
        let ingest = Ingest::open(config, (self.dependencies)()).expect("an ingest");
        let mut tasks = Tasks::default();
        let shutdown = tasks.shutdown();
        tasks.spawn("ingest", ingest.run(shutdown));
        Running { tasks }
    }

    fn drop(&self) -> PathBuf {
        self.dir.path().join("drop")
    }

    /// Delivers as the contract asks: under another name first.
    fn deliver(&self, name: &str, content: impl AsRef<[u8]>) {
        let hidden = self.drop().join(format!(".{name}"));
        fs::write(&hidden, content).expect("written");
        fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600)).expect("narrowed");
        fs::rename(hidden, self.drop().join(name)).expect("delivered");
    }

    fn deliver_json(&self, name: &str, document: &Value) {
        self.deliver(name, document.to_string());
    }

    async fn receipt(&self, name: &str) -> Value {
        let path = self.drop().join("done").join(format!("{name}.receipt.json"));
        self.until(&format!("a receipt for {name}"), || path.exists()).await;
        let receipt: Value = serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON");
        assert_eq!(mode(&path), 0o600);
        assert!(!receipt.to_string().contains(CANARY));
        receipt
    }

    async fn reason(&self, name: &str) -> Value {
        let path = self.drop().join("rejected").join(format!("{name}.reason.json"));
        self.until(&format!("a reason for {name}"), || path.exists()).await;
        self.until("the file", || fs::symlink_metadata(self.drop().join("rejected").join(name)).is_ok()).await;
        let reason: Value = serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON");
        assert_eq!(mode(&path), 0o600);
        assert!(!reason.to_string().contains(CANARY), "{reason}");
        reason
    }

    async fn posted(&self, what: &str, is: impl Fn(&Posted) -> bool) {
        self.until(what, || is(&self.board.read())).await;
    }

    async fn until(&self, what: &str, is: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is() {
            assert!(Instant::now() < deadline, "waited in vain for {what}; {:?}", self.board.read().ingest);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The first seeded end user's external id.
    fn user(&self) -> String {
        self.emulator.world().users()[0].external_user_id.clone()
    }

    fn created(&self) -> Vec<AuthenticationView> {
        self.emulator.world().authentications().into_iter().filter(|one| one.origin == Origin::Rest).collect()
    }

    fn create_document(&self, name: &str) -> Value {
        json!({
            "version": 1, "action": "create", "name": name, "user": {"externalUserId": self.user()},
            "service": {"name": "salesforce", "version": 3}, "environment": "Production",
            "userData": {"subdomain": "acme"}, "credentials": {"access_token": CANARY}, "scopes": ["api"],
        })
    }

    /// Creates an authentication through ingest; what Tray has of it.
    async fn create(&self, name: &str) -> AuthenticationView {
        self.deliver_json(&format!("{name}.json"), &self.create_document(name));
        let receipt = self.receipt(&format!("{name}.json")).await;
        assert_eq!(receipt["outcome"], "created");
        let id = receipt["authenticationId"].as_str().expect("an id").parse().expect("a UUID");
        self.emulator.world().authentication(id).expect("created")
    }

    /// What must be true after everything: nothing of a document lies about in the clear, and the log is whole.
    fn assert_nothing_leaked(&self) {
        for path in files(self.dir.path()) {
            let kept =
                path.starts_with(self.drop().join("rejected")) && !path.to_string_lossy().ends_with(".reason.json");
            let content = fs::read(&path).unwrap_or_default();
            let leaked = content.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
            assert!(kept || !leaked, "{} has the canary", path.display());
        }
        assert_eq!(fs::read_dir(self.drop().join(".claimed")).expect("a directory").count(), 0);
        let log = fs::read(self.dir.path().join("state").join(audit::FILE_NAME)).expect("readable");
        let verdict = audit::verify(&self.audit_key, &mut log.as_slice()).expect("readable");
        assert!(matches!(verdict, audit::Verdict::Intact { .. }), "{verdict:?}");
    }
}

impl Running {
    async fn stop(self) {
        assert_eq!(self.tasks.drain(Duration::from_secs(5)).await, Drained::Whole);
    }

    /// Ends it where it is, as a crash does.
    async fn crash(self) {
        drop(self.tasks);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("there").permissions().mode() & 0o777
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let status = fs::symlink_metadata(&path).expect("there");
        if status.is_dir() {
            all.extend(files(&path));
        } else if status.is_file() {
            all.push(path);
        }
    }
    all
}

#[tokio::test]
async fn a_dropped_document_becomes_one_authentication_and_leaves_a_receipt() {
    let host = Host::new().await;
    let running = host.start();
    let made = host.create("Acme Salesforce").await;
    assert_eq!(made.credentials, json!({"access_token": CANARY}));
    assert_eq!(made.user_data, json!({"subdomain": "acme"}));
    assert_eq!(made.scopes, Some(vec!["api".to_owned()]));
    assert_eq!(host.created().len(), 1);
    assert!(!host.drop().join("Acme Salesforce.json").exists());

    let record = host.cache.record(AuthenticationId(made.id)).expect("readable").expect("known at once");
    assert_eq!((record.state, record.metadata.name.as_str()), (State::Pending, "Acme Salesforce"));
    host.posted("an empty journal", |posted| posted.ingest.accepted == 1 && posted.ingest.pending == 0).await;
    running.stop().await;
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn the_workspace_is_whose_it_is_when_no_user_is_named() {
    let host = Host::new().await;
    let running = host.start();
    let mut document = host.create_document("Shared");
    document.as_object_mut().expect("an object").remove("user");
    host.deliver_json("shared.json", &document);
    assert_eq!(host.receipt("shared.json").await["schemaChecked"], true);
    let workspace = emulator::Account::Workspace(host.emulator.world().shared_workspace());
    assert_eq!(host.created()[0].owner, workspace);
    running.stop().await;
}

#[tokio::test]
async fn a_document_that_breaks_its_schema_is_left_with_the_place_and_never_sent() {
    let host = Host::new().await;
    let running = host.start();
    let mut document = host.create_document("NetSuite");
    document["service"] = json!({"name": "netsuite", "version": 1});
    document["credentials"] = json!({"account_id": "x", "consumer_key": CANARY, "consumer_secret": 7, "token_id": "t"});
    document["userData"] = json!({});
    host.deliver_json("netsuite.json", &document);
    let reason = host.reason("netsuite.json").await;
    assert_eq!(reason["kind"], "schema");
    let text = reason["reason"].as_str().expect("text");
    assert!(text.contains("/credentials/token_secret: required"), "{text}");
    assert!(text.contains("/credentials/consumer_secret: type"), "{text}");
    let kept = host.drop().join("rejected/netsuite.json");
    assert_eq!(mode(&kept), 0o600);
    assert_eq!(serde_json::from_slice::<Value>(&fs::read(kept).expect("kept")).expect("JSON"), document);
    assert_eq!(host.emulator.world().requests(Call::CreateAuthentication), 0);
    running.stop().await;
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn what_is_named_and_not_there_is_explained() {
    let host = Host::new().await;
    let running = host.start();
    let with = |change: fn(&mut Value)| {
        let mut document = host.create_document("any");
        change(&mut document);
        document
    };
    host.deliver_json("environment", &with(|document| document["environment"] = json!(CANARY)));
    host.deliver_json("service", &with(|document| document["service"]["name"] = json!(CANARY)));
    host.deliver_json("user", &with(|document| document["user"]["externalUserId"] = json!(CANARY)));
    let reason = host.reason("environment").await;
    assert_eq!(
        (reason["pointer"].as_str(), reason["hint"].as_str()),
        (Some("/environment"), Some("it has \"Production\", \"Acme CRM app\""))
    );
    assert_eq!(host.reason("service").await["pointer"], "/service");
    assert_eq!(host.reason("user").await["pointer"], "/user");
    running.stop().await;
}

#[tokio::test]
async fn an_update_in_part_keeps_the_rest() {
    let host = Host::new().await;
    let running = host.start();
    let made = host.create("Acme").await;
    let held = json!({"access_token": "old", "refresh_token": "kept"});
    let alteration = Alteration { credentials: held.as_object().cloned(), ..Alteration::default() };
    assert!(host.emulator.world().alter_authentication(made.id, alteration));
    let update =
        json!({"version": 1, "action": "update", "authenticationId": made.id, "credentials": {"access_token": CANARY}});
    host.deliver_json("update.json", &update);
    assert_eq!(host.receipt("update.json").await["outcome"], "updated");
    let updated = host.emulator.world().authentication(made.id).expect("there");
    assert_eq!(updated.credentials, json!({"access_token": CANARY, "refresh_token": "kept"}));
    assert_eq!((updated.name, updated.user_data, updated.scopes), (made.name, made.user_data, made.scopes));
    running.stop().await;
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn an_update_needs_the_policys_permit_only_where_it_is_in_part() {
    let host = Host::with_policy("").await;
    let running = host.start();
    let made = host.create("Acme").await;
    let mut update = json!({"version": 1, "action": "update", "authenticationId": made.id, "user": {"externalUserId": host.user()},
        "credentials": {"access_token": "new"}});
    host.deliver_json("part.json", &update);
    let reason = host.reason("part.json").await;
    assert_eq!(reason["kind"], "policy");
    assert!(reason["hint"].as_str().is_some_and(|hint| hint.contains("\"userData\"")), "{reason}");
    for (key, value) in [("name", json!("Renamed")), ("userData", json!({})), ("scopes", json!([]))] {
        update[key] = value;
    }
    host.deliver_json("whole.json", &update);
    assert_eq!(host.receipt("whole.json").await["outcome"], "updated");
    let updated = host.emulator.world().authentication(made.id).expect("there");
    assert_eq!((updated.name.as_str(), updated.credentials), ("Renamed", json!({"access_token": "new"})));
    assert_eq!(host.emulator.world().requests(Call::FullRead), 0);
    running.stop().await;
}

#[tokio::test]
async fn an_upsert_creates_and_then_updates() {
    let host = Host::new().await;
    let running = host.start();
    let mut upsert = host.create_document("Acme");
    upsert["action"] = json!("upsert");
    host.deliver_json("first.json", &upsert);
    let first = host.receipt("first.json").await;
    assert_eq!(first["outcome"], "created");
    upsert["credentials"]["access_token"] = json!("second");
    host.deliver_json("second.json", &upsert);
    let second = host.receipt("second.json").await;
    assert_eq!((&second["outcome"], &second["authenticationId"]), (&json!("updated"), &first["authenticationId"]));
    let [one] = &host.created()[..] else { panic!("one") };
    assert_eq!(one.credentials, json!({"access_token": "second"}));

    host.create("Acme").await;
    host.deliver_json("third.json", &upsert);
    assert_eq!(host.reason("third.json").await["reason"], "2 authentications have that owner, environment and name");
    running.stop().await;
}

#[tokio::test]
async fn a_delete_deletes() {
    let host = Host::new().await;
    let running = host.start();
    let made = host.create("Acme").await;
    let delete = json!({"version": 1, "action": "delete", "authenticationId": made.id});
    host.deliver_json("delete.json", &delete);
    assert_eq!(host.receipt("delete.json").await["outcome"], "deleted");
    assert!(host.emulator.world().authentication(made.id).is_none());
    host.deliver_json("again.json", &delete);
    assert_eq!(host.reason("again.json").await["pointer"], "/authenticationId");
    running.stop().await;
}

#[tokio::test]
async fn a_create_whose_answer_is_lost_is_found_and_not_made_twice() {
    let host = Host::new().await;
    let kinds = [FaultKind::DropConnection, FaultKind::TruncatedJson, FaultKind::Html, FaultKind::Status(500)];
    let running = host.start();
    for (number, kind) in kinds.into_iter().enumerate() {
        host.emulator.world().add_fault(Fault::after(Call::CreateAuthentication, kind));
        let name = format!("lost-{number}");
        host.deliver_json(&name, &host.create_document(&name));
        assert_eq!(host.receipt(&name).await["outcome"], "adopted", "{kind:?}");
        assert_eq!(host.created().len(), number + 1, "{kind:?}");
    }
    running.stop().await;
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn a_create_that_never_happened_is_sent_again_after_the_settling_time() {
    let host = Host { settle: Duration::from_millis(600), ..Host::new().await };
    host.emulator.world().add_fault(Fault::before(Call::CreateAuthentication, FaultKind::DropConnection));
    let running = host.start();
    let begun = Instant::now();
    host.create("Acme").await;
    assert!(begun.elapsed() >= host.settle);
    assert_eq!((host.created().len(), host.emulator.world().requests(Call::CreateAuthentication)), (1, 2));
    running.stop().await;
}

#[tokio::test]
async fn what_tray_puts_off_is_sent_later() {
    let host = Host::new().await;
    let world = host.emulator.world();
    world.add_fault(Fault::before(Call::CreateAuthentication, FaultKind::Status(429)));
    world.add_fault(Fault::before(Call::ListAuthentications, FaultKind::Status(503)));
    world.add_fault(Fault::before(Call::ListEnvironments, FaultKind::Html));
    let running = host.start();
    host.create("Acme").await;
    world.expire_user_tokens();
    host.create("Globex").await;
    assert_eq!(host.created().len(), 2);
    running.stop().await;
}

#[tokio::test]
async fn an_intent_outlives_a_crash_at_any_step() {
    let host = Host::new().await;
    let world = host.emulator.world();
    // While it is planned: it is journaled, and nothing was sent.
    world.add_fault(Fault::before(Call::ListAuthentications, FaultKind::DelayMs(3000)));
    let running = host.start();
    host.deliver_json("first", &host.create_document("first"));
    host.until("the plan", || world.requests(Call::ListAuthentications) == 1).await;
    running.crash().await;
    assert_eq!(host.created().len(), 0);
    world.clear_faults();

    let running = host.start();
    assert_eq!(host.receipt("first").await["outcome"], "created");
    // While it is sent: the work is done and nobody hears of it.
    world.add_fault(Fault::after(Call::CreateAuthentication, FaultKind::DelayMs(3000)));
    host.deliver_json("second", &host.create_document("second"));
    host.until("the work", || host.created().len() == 2).await;
    running.crash().await;
    world.clear_faults();

    let running = host.start();
    assert_eq!(host.receipt("second").await["outcome"], "adopted");
    assert_eq!((host.created().len(), world.requests(Call::CreateAuthentication)), (2, 2));
    host.posted("an empty journal", |posted| posted.ingest.pending == 0).await;
    running.stop().await;
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn several_that_could_be_it_are_held_and_others_go_on() {
    let host = Host::new().await;
    let world = host.emulator.world();
    let running = host.start();
    world.add_fault(Fault::after(Call::CreateAuthentication, FaultKind::DropConnection));
    world.add_fault(Fault::before(Call::ListAuthentications, FaultKind::DelayMs(1)));
    world.add_fault(Fault::before(Call::ListAuthentications, FaultKind::Status(503)));
    host.deliver_json("held", &host.create_document("Acme"));
    host.until("the work", || host.created().len() == 1).await;
    let made = host.created().remove(0);
    let twin = emulator::NewAuthentication {
        owner: made.owner,
        service_environment_id: made.service_environment_id,
        name: made.name,
        credentials: None,
        user_data: serde_json::Map::new(),
        scopes: None,
    };
    world.add_authentication(twin).expect("a twin");
    host.posted("a held document", |posted| posted.ingest.held == 1 && !posted.ingest.problems.is_empty()).await;
    host.create("Globex").await;
    running.stop().await;
    assert_eq!(world.requests(Call::CreateAuthentication), 2);
}

#[tokio::test]
async fn hostile_files_are_refused_without_being_read() {
    let host = Host::new().await;
    let running = host.start();
    let drop = host.drop();
    let secret = host.dir.path().join("outside");
    fs::write(&secret, host.create_document("stolen").to_string()).expect("written");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).expect("set");
    symlink(&secret, drop.join("link")).expect("linked");
    fs::hard_link(&secret, drop.join("hard")).expect("linked");
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, drop.join("fifo"), fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
        .expect("made");
    let _socket = std::os::unix::net::UnixListener::bind(drop.join("socket")).expect("bound");
    host.deliver("large", vec![b' '; 1024 * 1024 + 1]);
    host.deliver_json("open", &host.create_document("open"));
    fs::create_dir(drop.join("directory")).expect("made");
    host.deliver("\u{1b}[2J\n", "{}");
    // Delivered narrow, opened afterwards: it may have been claimed by then, so it is made wide before.
    let wide = drop.join(".wide");
    fs::write(&wide, host.create_document("wide").to_string()).expect("written");
    fs::set_permissions(&wide, fs::Permissions::from_mode(0o620)).expect("widened");
    fs::rename(wide, drop.join("wide")).expect("delivered");

    for (name, says) in [
        ("link", "it is a symbolic link"),
        ("hard", "the file has other names (hard links)"),
        ("fifo", "it is a FIFO"),
        ("socket", "it is a socket"),
        ("large", "the file is larger than 1048576 bytes"),
        ("wide", "others may write to the file"),
    ] {
        let reason = host.reason(name).await;
        assert_eq!((reason["reason"].as_str(), reason["kind"].as_str()), (Some(says), Some("file")), "{name}");
    }
    assert_eq!(host.reason("\u{1b}[2J\n").await["kind"], "document");
    assert_eq!(host.receipt("open").await["outcome"], "created");
    assert!(drop.join("directory").is_dir());
    assert_eq!(mode(&drop.join("rejected/wide")), 0o600);
    assert_eq!(mode(&secret), 0o640, "the mode of a file with other names stays");
    assert_eq!(host.created().len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_file_that_is_written_in_place_counts_only_when_it_is_whole() {
    use std::io::Write as _;
    let host = Host::new().await;
    let running = host.start();
    let text = host.create_document("slow").to_string();
    let (head, tail) = text.split_at(40);
    let mut file = fs::File::create(host.drop().join("slow")).expect("made");
    file.write_all(head.as_bytes()).expect("written");
    tokio::time::sleep(Duration::from_millis(900)).await;
    file.write_all(tail.as_bytes()).expect("written");
    drop(file);
    assert_eq!(host.receipt("slow").await["outcome"], "created");
    host.deliver("torn", head);
    assert_eq!(host.reason("torn").await["reason"], "the document ends early");
    running.stop().await;
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn a_directory_that_was_made_again_is_looked_at_and_what_came_while_nobody_looked() {
    let host = Host::new().await;
    let running = host.start();
    host.create("before").await;
    host.posted("rest", |posted| posted.ingest.pending == 0 && posted.ingest.accepted == 1).await;
    fs::remove_dir_all(host.drop()).expect("removed");
    host.until("the directory", || host.drop().join("done").exists()).await;
    host.create("again").await;
    running.stop().await;
    host.deliver_json("meanwhile", &host.create_document("meanwhile"));
    let running = host.start();
    assert_eq!(host.receipt("meanwhile").await["outcome"], "created");
    running.stop().await;
}

#[tokio::test]
async fn one_name_dropped_twice_leaves_two_receipts() {
    let host = Host::new().await;
    let running = host.start();
    for number in 0..2 {
        host.deliver_json("same", &host.create_document(&format!("number {number}")));
        host.until("it", || host.created().len() == number + 1).await;
    }
    let done = host.drop().join("done");
    host.until("two receipts", || fs::read_dir(&done).expect("a directory").count() == 2).await;
    running.stop().await;
}

#[tokio::test]
async fn what_is_claimed_goes_on_after_a_crash_and_what_is_journaled_too_is_only_removed() {
    let host = Host::new().await;
    host.start().stop().await;
    // Claimed and not read: it is journaled under the id that it has.
    let id = uuid::Uuid::new_v4();
    let claimed = host.drop().join(format!(".claimed/{id}.first"));
    fs::write(&claimed, host.create_document("first").to_string()).expect("written");
    fs::set_permissions(&claimed, fs::Permissions::from_mode(0o600)).expect("narrowed");
    host.emulator.world().add_fault(Fault::before(Call::ListAuthentications, FaultKind::DelayMs(3000)));
    let running = host.start();
    host.until("the plan", || host.emulator.world().requests(Call::ListAuthentications) == 1).await;
    running.crash().await;
    host.emulator.world().clear_faults();
    // Journaled, and the plaintext came back.
    fs::write(&claimed, host.create_document("first").to_string()).expect("written");
    let running = host.start();
    assert_eq!(host.receipt("first").await["intent"], id.to_string());
    running.stop().await;
    assert_eq!(host.created().len(), 1);
    host.assert_nothing_leaked();
}

#[tokio::test]
async fn documents_of_one_owner_are_carried_out_in_the_order_they_came() {
    let host = Host::new().await;
    let running = host.start();
    let made = host.create("Acme").await;
    let update = |token: &str| json!({"version": 1, "action": "update", "authenticationId": made.id, "credentials": {"access_token": token}});
    host.emulator.world().add_fault(Fault::before(Call::ReplaceAuthentication, FaultKind::Status(503)).times(2));
    host.deliver_json("a", &update("first"));
    host.posted("the first to wait", |posted| posted.ingest.pending == 1 && !posted.ingest.problems.is_empty()).await;
    host.deliver_json("b", &update("second"));
    host.receipt("b").await;
    assert!(host.drop().join("done/a.receipt.json").exists());
    let credentials = host.emulator.world().authentication(made.id).expect("there").credentials;
    assert_eq!(credentials, json!({"access_token": "second"}));
    host.posted("no more problems", |posted| posted.ingest.problems.is_empty() && posted.ingest.pending == 0).await;
    running.stop().await;
}

#[test]
fn the_defaults_are_valid_and_nonsense_is_not() {
    use super::ConfigError;
    let config: Config = toml::from_str("directory = \"/drop\"\nsettle = \"90s\"").expect("valid");
    assert_eq!((config.validate(), config.settle), (Ok(()), Duration::from_secs(90)));
    let invalid = |config: Config| config.validate().expect_err("invalid");
    assert_eq!(invalid(Config { directory: Some("drop".into()), ..Config::default() }), ConfigError::Relative);
    let zero = ConfigError::Zero("ingest.scan_interval");
    assert_eq!(invalid(Config { scan_interval: Duration::ZERO, ..Config::default() }), zero);
    assert_eq!(invalid(Config { max_size: 0, ..Config::default() }), ConfigError::MaxSize);
}
