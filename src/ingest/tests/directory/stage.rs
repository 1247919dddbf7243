//! Where it happens: a host, an ingest that comes and goes, and what was delivered so far.

mod deliveries;
mod verdict;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

use super::{
    super::{Host, Running},
    model::{End, Model},
    operations::{OWNERS, Operation, Sealing},
};
use crate::{
    emulator::{Account, NewAuthentication},
    secret::Key,
    task::Drained,
    vault::{Locked, UnlockKey},
};

/// What a crash cut off after it was committed as sent, and before it was, is sent again after this time: well within the
/// patience with which one waits for it.
const SETTLE: Duration = Duration::from_secs(2);

pub(super) struct Stage {
    host: Host,
    run: Option<Run>,
    model: Model,
    writers: Vec<Writer>,
    /// An authentication of each owner, which updates are about.
    updated: [Uuid; OWNERS],
    /// Those that deletes are about.
    deleted: Vec<Uuid>,
    /// Outcomes that went with a directory.
    gone: Vec<(String, End)>,
    names: usize,
    seeded: usize,
    /// What Tray runs on; the last, so that it ends after what asks it.
    runtime: Runtime,
}

/// An ingest on a runtime of its own: when that is shut down, nothing of it goes on.
struct Run {
    running: Running,
    runtime: Runtime,
}

/// A file that is written in place.
struct Writer {
    file: File,
    rest: String,
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

impl Stage {
    pub(super) fn new() -> Self {
        let runtime = runtime();
        let host = Host { settle: SETTLE, ..runtime.block_on(Host::new()) };
        let seeded = host.emulator.world().authentications().len();
        let mut stage = Self {
            host,
            run: None,
            model: Model::default(),
            writers: Vec::new(),
            updated: [Uuid::nil(); OWNERS],
            deleted: Vec::new(),
            gone: Vec::new(),
            names: 0,
            seeded: seeded + OWNERS,
            runtime,
        };
        for owner in 0..OWNERS {
            stage.updated[owner] = stage.in_tray(owner);
        }
        stage.start();
        stage
    }

    pub(super) fn play(&mut self, operation: Operation) {
        match operation {
            Operation::Deliver(delivery) => self.deliver(delivery, None),
            Operation::DeliverUnderAnEarlierName(delivery, pick) => self.deliver(delivery, Some(pick)),
            Operation::Copy(pick, sealing) if !self.model.delivered.is_empty() => {
                let delivered = pick.get(&self.model.delivered).clone();
                let name = self.name("json");
                self.put(&name, &delivered.text, sealing);
                self.model.again(&name, delivered);
            }
            Operation::BeginInPlace => self.begin_in_place(),
            Operation::EndInPlace(pick) if !self.writers.is_empty() => {
                self.end_in_place(pick.index(self.writers.len()));
            }
            Operation::Copy(..) | Operation::EndInPlace(_) => {}
            Operation::TakeBack { after_ms } => {
                let (name, delivered, created) = self.create(0);
                self.put(&name, &delivered.text, Sealing::Clear);
                pause(after_ms);
                if fs::remove_file(self.host.drop().join(&name)).is_err() {
                    self.model.first(&name, delivered);
                    self.model.created[0].push(created);
                }
            }
            Operation::Hostile(hostile) => self.drop_hostile(hostile),
            Operation::MakeAgain => self.make_again(),
            Operation::Wait { ms } => pause(ms),
            Operation::Stop => self.stop(),
            Operation::Crash => {
                if let Some(Run { running, runtime }) = self.run.take() {
                    drop(running);
                    runtime.shutdown_timeout(Duration::from_secs(20));
                }
            }
            Operation::Start => self.start(),
            Operation::Lock { ms } => self.lock(ms),
        }
    }

    fn start(&mut self) {
        if self.run.is_none() {
            let runtime = runtime();
            let running = {
                let _within = runtime.enter();
                self.host.start()
            };
            self.run = Some(Run { running, runtime });
        }
    }

    fn stop(&mut self) {
        if let Some(Run { running, runtime }) = self.run.take() {
            assert_eq!(runtime.block_on(running.tasks.drain(Duration::from_secs(20))), Drained::Whole);
        }
    }

    fn lock(&self, ms: u64) {
        let keyring = self.host.cache.keyring();
        keyring.lock().expect("it is unlocked");
        pause(ms);
        let Ok(key) = Key::try_fill(|key| {
            key.fill(7);
            Ok::<_, std::convert::Infallible>(())
        });
        let state = self.host.dir.path().join("state");
        let unlocked = Locked::open(&state).and_then(|locked| locked.unlock(&UnlockKey::Raw(key))).expect("unlocked");
        keyring.unlock(&state, unlocked).expect("unlocked");
    }

    /// Only what became of files is in it then; that is remembered.
    fn make_again(&mut self) {
        let is_dropped = |path: &Path| !["tmp", "done", "rejected", ".claimed"].iter().any(|ours| path.ends_with(ours));
        let top = fs::read_dir(self.place()).expect("a directory").map(|entry| entry.expect("an entry").path());
        let is_empty = top.filter(|path| is_dropped(path)).count() == 0 && self.claimed() == 0;
        let is_time =
            if self.run.is_some() { self.writers.is_empty() && self.settled() && self.idle() } else { is_empty };
        if !is_time {
            return;
        }
        self.gone.extend(self.left());
        // An ingest that looks makes it as well.
        while fs::remove_dir_all(self.host.drop()).is_err() {
            pause(1);
        }
        self.place();
    }

    /// Waits until nothing is under way: an outcome that is being written is written again where its directory went.
    fn idle(&self) -> bool {
        let begun = Instant::now();
        while self.host.board.read().ingest.pending > 0 && begun.elapsed() < Duration::from_secs(20) {
            pause(5);
        }
        self.host.board.read().ingest.pending == 0
    }

    fn claimed(&self) -> usize {
        fs::read_dir(self.host.drop().join(".claimed")).map_or(0, Iterator::count)
    }

    /// The directory, made if nobody has made it yet.
    fn place(&self) -> PathBuf {
        crate::system::files::private_directory(&self.host.drop()).expect("a directory");
        self.host.drop()
    }

    /// An authentication of an owner's, made in Tray.
    fn in_tray(&self, owner: usize) -> Uuid {
        let world = self.host.emulator.world();
        let new = NewAuthentication {
            owner: Account::User(world.users()[owner].id),
            service_environment_id: world.environment("salesforce", "Production").expect("an environment"),
            name: "made in Tray".to_owned(),
            credentials: json!({"access_token": "old"}).as_object().cloned(),
            user_data: serde_json::Map::new(),
            scopes: None,
        };
        world.add_authentication(new).expect("the environment is known")
    }
}

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}
