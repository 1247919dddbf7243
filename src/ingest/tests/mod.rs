//! Ingest against the emulator: real files, a real journal, a real client over loopback.

mod arrivals;
mod copies;
mod directory;
mod documents;
mod exactly_once;
mod files;
mod orders;
mod outcomes;
mod permissions;
mod previews;
mod review;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use uuid::Uuid;

use super::{Config, Dependencies, Ingest, IngestError, environments::Environments, plan::Planner};
use crate::{
    audit::{self, AuditLog},
    emulator::{self, AuthenticationView, Call, Emulator, Fault, FaultKind, Origin},
    feed::Feed,
    policy::{self, Policy},
    principals::{Principals, Tokens},
    requests::ingest::{Answer, IngestRefusal, IngestRequest},
    secret::{Key, SecretString},
    status::{Board, Posted},
    stores,
    task::{Drained, Tasks},
    tray::{self, ApiUserToken, MasterToken, Tray},
    vault::{self, Cache, NewSlot},
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
    requests: mpsc::Sender<IngestRequest>,
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
        let audit = AuditLog::create(&state_dir, audit_key).expect("a log");
        let config = tray::Config {
            api_url: Some(emulator.api_url()),
            graphql_url: Some(emulator.graphql_url()),
            header_timeout: Duration::from_secs(5),
            ..tray::Config::default()
        };
        let tray = Tray::new(&config).expect("a client");
        let board = Board::new(jiff::Timestamp::now(), {
            let tray = tray.clone();
            move || tray.standing()
        });
        let stores::Stores { cache, journal } =
            stores::open(&state_dir, &keyring, &audit, &board, false).expect("a cache and a journal");
        let token = |text: &str| SecretString::new(text.to_owned());
        let principals = Principals::new(
            tray.clone(),
            cache.clone(),
            audit.clone(),
            Tokens::new(
                Some(MasterToken::new(token(&emulator.tokens().master))),
                Some(ApiUserToken::new(token(&emulator.tokens().api_user))),
            ),
        );
        let policy: policy::Config = toml::from_str(policy).expect("a policy");
        let policy = Policy::new(&policy, |_| None, |_| None, 0).expect("a policy");
        let (_, policy) = watch::channel(Arc::new(policy));
        let dependencies = {
            let (board, cache) = (board.clone(), cache.clone());
            move || Dependencies {
                journal: journal.clone(),
                tray: tray.clone(),
                principals: principals.clone(),
                cache: cache.clone(),
                sync: mpsc::channel(1).0,
                requests: mpsc::channel(1).1,
                audit: audit.clone(),
                policy: policy.clone(),
                board: board.clone(),
                feed: Feed::default(),
            }
        };
        let settle = Duration::from_secs(60);
        Self { emulator, dir, settle, board, cache, audit_key: again, dependencies: Box::new(dependencies) }
    }

    fn config(&self) -> Config {
        Config { directory: Some(self.drop()), settle: self.settle, ..Config::default() }
    }

    fn start(&self) -> Running {
        self.start_with(self.config()).expect("an ingest")
    }

    fn start_with(&self, config: Config) -> Result<Running, IngestError> {
        let (requests, received) = mpsc::channel(1);
        let ingest = Ingest::open(config, Dependencies { requests: received, ..(self.dependencies)() })?;
        let mut tasks = Tasks::default();
        let shutdown = tasks.shutdown();
        tasks.spawn("ingest", ingest.run(shutdown));
        Ok(Running { tasks, requests })
    }

    /// What plans, without the task around it.
    fn planner(&self) -> Planner {
        let Dependencies { tray, principals, cache, audit, policy, .. } = (self.dependencies)();
        let environments = Environments::new(principals.clone());
        Planner { tray, principals, cache, audit, policy, environments }
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

    /// Has a create held: its answer is lost, and somebody makes another authentication of its name before it is looked
    /// for. The ids of both.
    async fn hold(&self, file: &str, name: &str) -> (Uuid, Uuid) {
        let world = self.emulator.world();
        world.add_fault(Fault::after(Call::CreateAuthentication, FaultKind::DropConnection));
        world.add_fault(Fault::before(Call::ListAuthentications, FaultKind::DelayMs(1)));
        world.add_fault(Fault::before(Call::ListAuthentications, FaultKind::Status(503)).times(3));
        let before = self.created().len();
        self.deliver_json(file, &self.create_document(name));
        self.until("the work", || self.created().len() == before + 1).await;
        let made = self.created().remove(before);
        let twin = emulator::NewAuthentication {
            owner: made.owner,
            service_environment_id: made.service_environment_id,
            name: made.name,
            credentials: None,
            user_data: serde_json::Map::new(),
            scopes: None,
        };
        let twin = world.add_authentication(twin).expect("a twin");
        self.posted("a held document", |posted| posted.ingest.held == 1 && !posted.ingest.problems.is_empty()).await;
        (made.id, twin)
    }

    /// A rejected document, opened.
    fn opened(&self, name: &str) -> Vec<u8> {
        let sealed = fs::read(self.drop().join("rejected").join(name)).expect("readable");
        let identity = self.cache.keyring().identity().expect("unlocked");
        identity.open(&sealed, 1 << 20).expect("sealed to the vault").expose_secret().to_vec()
    }

    /// What must be true after everything: nothing of a document lies about in the clear, and the log is whole.
    fn assert_nothing_leaked(&self) {
        for path in files(self.dir.path()) {
            let content = fs::read(&path).unwrap_or_default();
            let leaked = content.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
            assert!(!leaked, "{} has the canary", path.display());
        }
        assert_eq!(fs::read_dir(self.drop().join(".claimed")).expect("a directory").count(), 0);
        let state = self.dir.path().join("state");
        let verdict = audit::verify(&self.audit_key, &state, &[], &|_, _| {}).expect("readable");
        assert!(matches!(verdict, audit::Verdict::Intact { .. }), "{verdict:?}");
    }
}

impl Running {
    async fn stop(self) {
        assert_eq!(self.tasks.drain(Duration::from_secs(5)).await, Drained::Whole);
    }

    /// What a person asks, and the answer.
    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> IngestRequest) -> Result<T, IngestRefusal> {
        let (answer, answered) = oneshot::channel();
        assert!(self.requests.send(request(answer)).await.is_ok(), "it listens");
        answered.await.expect("an answer")
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
