//! A house for the benches that run the daemon itself: a directory with a configuration, and the release binary on it.
//! Tray is the emulator in the measuring process, or can't be reached.

use std::{
    env,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Map, Value};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use trayvault::{
    emulator::{self, Account, Emulator, NewAuthentication, World},
    system::files,
};

/// How long the daemon may take to listen.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the emulator's threads are called: what they cost is told apart by it.
pub const EMULATOR_THREADS: &str = "emulator";

/// The emulator with its default limits, and no authentication yet.
pub struct Tray {
    // Before the runtime that it runs on.
    emulator: Emulator,
    _runtime: Runtime,
}

impl Tray {
    /// With so many end users, each of whom has so many authentications, whose credentials are one access token of
    /// [`BODY_LEN`](crate::BODY_LEN) bytes each and do not expire.
    pub fn start(users: usize, authentications_each: usize) -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name(EMULATOR_THREADS).enable_all().build().expect("a runtime");
        let config = emulator::Config {
            users,
            authentications_per_user: 0,
            workspace_authentications: 0,
            ..emulator::Config::default()
        };
        let tray =
            Self { emulator: runtime.block_on(Emulator::start(config)).expect("an emulator"), _runtime: runtime };
        let world = tray.world();
        let environment = world.environment("slack", "Production").expect("an environment");
        let mut random = fastrand::Rng::with_seed(1);
        for user in world.users() {
            for number in 0..authentications_each {
                let token: String = (0..crate::BODY_LEN).map(|_| random.alphanumeric()).collect();
                let new = NewAuthentication {
                    owner: Account::User(user.id),
                    service_environment_id: environment,
                    name: format!("slack of {} #{number}", user.external_user_id),
                    credentials: Some(Map::from_iter([("access_token".to_owned(), Value::from(token))])),
                    user_data: Map::new(),
                    scopes: None,
                };
                world.add_authentication(new).expect("the environment is known");
            }
        }
        tray
    }

    /// What is behind its API.
    pub fn world(&self) -> World {
        self.emulator.world()
    }
}

/// A directory with a configuration and a vault.
pub struct House {
    directory: TempDir,
    binary: PathBuf,
}

impl House {
    /// With this Tray, or one that can't be reached. `sync` is what `[sync]` says.
    ///
    /// `TRAYVAULT` names the release binary, if it is not where cargo puts it.
    pub fn new(tray: Option<&Tray>, sync: &str) -> Self {
        let binary =
            env::var_os("TRAYVAULT").map_or_else(|| PathBuf::from("../target/release/trayvault"), PathBuf::from);
        let binary = fs::canonicalize(binary).expect("the release binary, or TRAYVAULT names it");
        let house = Self { directory: tempfile::tempdir().expect("a directory"), binary };
        let directory = house.directory.path().display();
        // Nothing listens on the discard port.
        let nobody = || ("http://127.0.0.1:9".to_owned(), "http://127.0.0.1:9/graphql".to_owned());
        let urls = |tray: &Tray| (tray.emulator.api_url(), tray.emulator.graphql_url());
        let (api, graphql) = tray.map_or_else(nobody, urls);
        // Whoever owns what was just made.
        let uid = fs::metadata(house.directory.path()).map(|made| std::os::unix::fs::MetadataExt::uid(&made));
        let uid = uid.expect("a directory");
        let config = format!(
            "state_directory = \"{directory}/state\"\n\
             vault.unlock = {{ key_file = \"{directory}/vault.key\" }}\n\
             tokens.master = {{ file = \"{directory}/master.token\" }}\n\
             tray = {{ api_url = \"{api}\", graphql_url = \"{graphql}\" }}\n\
             socket.directory = \"{directory}/run\"\n\
             sync = {{ {sync} }}\n\
             [[pull.rules]]\n\
             name = \"all\"\n\
             effect = \"allow\"\n\
             [[access.rules]]\n\
             name = \"the bench\"\n\
             users = [\"{uid}\"]\n\
             grants = [\"metadata\", \"read\", \"sync\"]\n"
        );
        fs::write(house.path("trayvault.toml"), config).expect("a configuration");
        let token = tray.map_or("a-master-token", |tray| tray.emulator.tokens().master.as_str());
        files::create_new(&house.path("master.token"), token.as_bytes(), 0o600).expect("a token");
        assert!(house.command("init").status().expect("the binary runs").success());
        house
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A command of the binary's on this house.
    pub fn command(&self, command: &str) -> Command {
        let mut process = Command::new(&self.binary);
        process
            .arg(command)
            .env("TRAYVAULT_CONFIG", self.path("trayvault.toml"))
            .env_remove("NOTIFY_SOCKET")
            .env_remove("LISTEN_FDS")
            .env_remove("CREDENTIALS_DIRECTORY")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        process
    }

    /// Gives it a drop directory; what its daemon takes in from there is sent when it is started otherwise than offline.
    pub fn drop_directory(&self) -> PathBuf {
        let drop = self.path("drop");
        self.configure(&format!("ingest.directory = \"{}\"", drop.display()));
        for directory in [&drop, &drop.join("tmp")] {
            files::private_directory(directory).expect("a directory");
        }
        drop
    }

    /// Gives it the token of an API user, whose workspace is then a principal beside the end users.
    pub fn api_user(&self, tray: &Tray) {
        let token = self.path("api-user.token");
        files::create_new(&token, tray.emulator.tokens().api_user.as_bytes(), 0o600).expect("a token");
        self.configure(&format!("tokens.api_user = {{ file = \"{}\" }}", token.display()));
    }

    fn configure(&self, line: &str) {
        let config = self.path("trayvault.toml");
        let text = fs::read_to_string(&config).expect("a configuration");
        // Before the first table.
        fs::write(&config, format!("{line}\n{text}")).expect("a configuration");
    }

    /// Starts the daemon and waits until it answers.
    pub fn daemon(&self) -> Daemon {
        self.start(&mut self.command("run"))
    }

    /// Likewise, and it never asks Tray.
    pub fn daemon_offline(&self) -> Daemon {
        self.start(self.command("run").arg("--offline"))
    }

    fn start(&self, command: &mut Command) -> Daemon {
        let log = File::create(self.path("daemon.log")).expect("a log");
        let mut daemon = Daemon(command.stderr(log).spawn().expect("the daemon starts"));
        let start = Instant::now();
        while UnixStream::connect(self.socket()).is_err() {
            assert!(daemon.0.try_wait().expect("a child").is_none(), "the daemon ended");
            assert!(start.elapsed() < PATIENCE, "the daemon does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        daemon
    }

    /// Where its daemon answers.
    pub fn socket(&self) -> PathBuf {
        self.path("run/api.sock")
    }

    /// A connection to its daemon.
    pub fn connect(&self) -> Connection {
        Connection(BufReader::new(UnixStream::connect(self.socket()).expect("the daemon listens")))
    }

    /// What its daemon answers, which is JSON.
    pub fn ask(&self, method: &str, path: &str) -> Value {
        let body = self.connect().ask(method, path).expect("an answer");
        serde_json::from_slice(&body).expect("JSON")
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the daemon's log:\n{}", fs::read_to_string(self.path("daemon.log")).unwrap_or_default());
        }
    }
}

/// A running daemon; it ends when this is dropped.
pub struct Daemon(Child);

impl Daemon {
    /// Has it drain, and waits for its end.
    pub fn stop(mut self) {
        let told = Command::new("kill").arg(self.id().to_string()).status();
        assert!(told.is_ok_and(|told| told.success()), "the daemon runs");
        assert!(self.0.wait().expect("a child").success(), "the daemon ended well");
    }

    /// Takes over a process.
    pub fn new(process: Child) -> Self {
        Self(process)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Its memory now.
    pub fn resident_mib(&self) -> f64 {
        self.status_mib("VmRSS:")
    }

    /// The most memory that it had at any time.
    pub fn peak_mib(&self) -> f64 {
        self.status_mib("VmHWM:")
    }

    #[expect(clippy::cast_precision_loss, reason = "a size for people to read")]
    fn status_mib(&self, field: &str) -> f64 {
        let status = fs::read_to_string(Path::new("/proc").join(self.id().to_string()).join("status"));
        let status = status.expect("the daemon runs");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("its memory");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib as f64 / 1024.0
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A connection to the daemon's socket that stays open from one request to the next: a client that costs as little as
/// it can.
pub struct Connection(BufReader<UnixStream>);

impl Connection {
    /// Sends a request and reads the whole answer; its body.
    ///
    /// # Errors
    /// The connection broke, or the answer is not a 200.
    pub fn ask(&mut self, method: &str, path: &str) -> io::Result<Vec<u8>> {
        write!(self.0.get_mut(), "{method} {path} HTTP/1.1\r\nHost: trayvault\r\nContent-Length: 0\r\n\r\n")?;
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        if !line.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(format!("{path}: {}", line.trim_end())));
        }
        let mut len = 0;
        while line != "\r\n" {
            line.clear();
            if self.0.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                len = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; len];
        self.0.read_exact(&mut body)?;
        Ok(body)
    }
}
