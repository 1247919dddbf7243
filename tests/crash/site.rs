//! A house that outlives its daemons, and what is dropped there.

use std::{
    fs::{self, File},
    os::unix::{fs::symlink, process::ExitStatusExt},
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant, SystemTime},
};

use hyper::Method;
use serde_json::Value;
use trayvault::{
    emulator::{self, Account, Call, Fault, FaultKind, NewAuthentication},
    sealed::Recipient,
};
use uuid::Uuid;

use crate::{
    figures::Figures,
    ledger::{Ledger, Sort, User, Wish},
    steps::Trouble,
    support::{CANARY, House, OPEN},
};

/// How long it may take until a daemon is dead, or everything is at rest. Reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(90);

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) struct Site {
    pub(crate) house: House,
    pub(crate) ledger: Ledger,
    pub(crate) figures: Figures,
    /// How this site came to be, for whoever looks into a failure.
    pub(crate) story: String,
    recipient: Recipient,
    /// The name of what has a twin upstream, which only a person can tell apart.
    pub(crate) twin: Option<String>,
}

impl Site {
    pub(crate) fn new(story: String) -> Self {
        let config = emulator::Config { users: 4, authentications_per_user: 1, limit: None, ..Default::default() };
        let house = House::with(config, OPEN);
        let path = house.path("trayvault.toml");
        let text = fs::read_to_string(&path).expect("a configuration");
        // INVARIANT: what is waited for is longer than what the emulator delays: see LATEST.
        let text = text.replace("\"1s\"", "\"1500ms\"").replace("\"5s\"", "\"500ms\"");
        fs::write(&path, text).expect("a configuration");
        house.succeeds(&["init"]);
        let daemon = house.daemon();
        let recipient = house.succeeds(&["recipient"]).trim().parse().expect("a recipient");
        daemon.stop();
        let users = house
            .world()
            .users()
            .into_iter()
            .map(|user| User { updated: add(&house, user.id, "Updated"), external: user.external_user_id });
        let ledger = Ledger::new(users.collect());
        Self { house, ledger, figures: Figures::default(), story, recipient, twin: None }
    }

    /// Drops a document of each sort, of one user after the other.
    pub(crate) fn drop_all(&mut self, sorts: &[Sort]) {
        for sort in sorts {
            let user = self.ledger.serial() as usize % self.ledger.users.len();
            self.drop_one(*sort, user);
        }
    }

    /// Drops a document as the delivery contract asks: under another name, then renamed.
    pub(crate) fn drop_one(&mut self, sort: Sort, user: usize) {
        let Self { house, ledger, .. } = self;
        let owner = house.world().user(&ledger.users[user].external).expect("a user");
        let dropped = ledger.write(sort, user, || add(house, owner, "Deletable"));
        let draft = format!("drop/.{}", dropped.file);
        let path = house.path(&draft);
        if let Wish::MovedAside = dropped.wish {
            symlink("/nowhere", &path).expect("a link");
        } else {
            let sealed = |content| self.recipient.seal(content).map_err(|error| error.to_string()).expect("sealed");
            let content = if sort == Sort::Sealed { sealed(&dropped.content) } else { dropped.content };
            house.private_bytes(&draft, &content);
            // What was written long ago is whole, whatever is in it: nothing has to wait until it is not young any more.
            let written = SystemTime::now() - Duration::from_secs(60);
            let file = File::options().write(true).open(&path).expect("a file");
            file.set_modified(written).expect("a time");
        }
        fs::rename(path, house.path("drop").join(&dropped.file)).expect("a rename");
        self.figures.dropped();
    }

    /// Has something go wrong in Tray.
    pub(crate) fn trouble(&mut self, trouble: Trouble) {
        let world = self.house.world();
        let late = FaultKind::DelayMs(super::LATEST);
        match trouble {
            Trouble::None | Trouble::DiedAt(_) => {}
            Trouble::CreateLost => {
                world.add_fault(Fault::before(Call::CreateAuthentication, FaultKind::DropConnection).times(2));
            }
            Trouble::CreateRefused => {
                world.add_fault(Fault::before(Call::CreateAuthentication, FaultKind::Status(429)));
            }
            Trouble::Twin => world.add_fault(Fault::after(Call::CreateAuthentication, late)),
        }
    }

    /// As soon as what is dropped was made, somebody makes another of that name: by hand, in Tray.
    fn make_twin(&mut self) {
        if self.twin.is_some() {
            return;
        }
        let world = self.house.world();
        let settled = &self.ledger.dropped[self.ledger.settled..];
        let is_ours =
            |name: &str| settled.iter().any(|one| matches!(&one.wish, Wish::Made { name: ours, .. } if ours == name));
        let Some(made) = world.creations().into_iter().find(|one| is_ours(&one.name)) else { return };
        let twin = NewAuthentication {
            owner: made.by,
            service_environment_id: made.service_environment_id,
            name: made.name.clone(),
            credentials: None,
            user_data: serde_json::Map::new(),
            scopes: None,
        };
        world.add_authentication(twin).expect("a twin");
        self.twin = Some(made.name);
    }

    /// Starts a daemon, to be killed at a failpoint (`NAME:COUNT`) or not.
    pub(crate) fn start(&self, failpoint: Option<&str>) -> Running {
        let log = File::options().create(true).append(true).open(self.house.path("daemon.log")).expect("a log");
        let mut command = self.house.command(Path::new(env!("CARGO_BIN_EXE_trayvault")));
        command.arg("run").stdout(Stdio::null()).stderr(log).env_remove("TRAYVAULT_FAILPOINT");
        if let Some(failpoint) = failpoint {
            command.env("TRAYVAULT_FAILPOINT", failpoint);
        }
        Running(command.spawn().expect("the program runs"))
    }

    /// Waits until the daemon was killed, or everything is at rest; whether it was killed.
    pub(crate) fn killed_before_rest(&mut self, running: &mut Running, trouble: Trouble) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if trouble == Trouble::Twin {
                self.make_twin();
            }
            // A daemon that has died is at no rest.
            let is_at_rest = self.is_at_rest();
            if running.was_killed(&self.story) {
                return true;
            }
            if is_at_rest {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        panic!("{}: no rest\n{:?}\n{}", self.story, self.unfinished(), self.log());
    }

    /// Whether all that was dropped is at its end or held. In this order: what has left one place is in the next.
    fn is_at_rest(&self) -> bool {
        let is_dropped = |name: &str| !name.starts_with('.') && !["tmp", "done", "rejected"].contains(&name);
        !self.names("drop").iter().any(|name| is_dropped(name))
            && self.names("drop/.claimed").is_empty()
            && self.unfinished().is_some_and(|all| all.iter().all(|one| one["state"] == "held"))
    }

    /// What the daemon says is not finished; `None` if it does not answer.
    pub(crate) fn unfinished(&self) -> Option<Vec<Value>> {
        let (status, answer) = self.house.try_send(Method::GET, "/v1/ingest", None).ok()?;
        (status == 200).then(|| answer["documents"].as_array().expect("a list").clone())
    }

    /// The names in a directory.
    pub(crate) fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.house.path(directory)).expect("a directory");
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect()
    }

    /// The end of the daemons' log.
    pub(crate) fn log(&self) -> String {
        let log = self.house.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(80)..].join("\n")
    }
}

fn add(house: &House, owner: Uuid, name: &str) -> Uuid {
    let environment = house.world().environment("slack", "Production").expect("an environment");
    let credentials = serde_json::json!({ "accessToken": CANARY });
    let new = NewAuthentication {
        owner: Account::User(owner),
        service_environment_id: environment,
        name: name.to_owned(),
        credentials: credentials.as_object().cloned(),
        user_data: serde_json::Map::new(),
        scopes: None,
    };
    house.world().add_authentication(new).expect("a known environment")
}

/// A daemon that may die any time.
pub(crate) struct Running(Child);

impl Running {
    /// Whether it was killed, which is the only way in which it may end.
    fn was_killed(&mut self, story: &str) -> bool {
        let Some(status) = self.0.try_wait().expect("a child") else { return false };
        assert_eq!(status.signal(), Some(9), "{story}: it ended with {status}");
        true
    }

    /// Kills it; whether it was killed already.
    pub(crate) fn kill(mut self, story: &str) -> bool {
        let was_killed = self.was_killed(story);
        self.0.kill().expect("a signal");
        let status = self.0.wait().expect("a child");
        assert_eq!(status.signal(), Some(9), "{story}: it ended with {status}");
        was_killed
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A failed test leaves no process behind.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
