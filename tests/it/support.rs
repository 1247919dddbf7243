//! A house for each test: the emulator, a temporary directory with a configuration, and daemons on it. When it is left,
//! all that came out of the program is searched for secrets.

// For the crash tests this file is in another directory.
#[path = "support/captures.rs"]
mod captures;
#[path = "support/search.rs"]
pub(crate) mod search;

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{DirBuilderExt, OpenOptionsExt},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use hyper::{Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use trayvault::{
    emulator::{self, AuthenticationView, Emulator, World},
    secret::SecretBytes,
    socket::{self, ClientError},
};

use self::captures::Captures;
pub(crate) use self::search::CANARY;

/// How long anything may take that is waited for. Reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// What most tests start from: everything may be pulled, and the test's user may do everything.
pub(crate) const OPEN: &str = r#"
[[pull.rules]]
name = "all"
effect = "allow"

[[access.rules]]
name = "the test"
users = ["UID"]
grants = ["metadata", "read", "sync", "ingest", "manage"]
"#;

pub(crate) struct House {
    runtime: Runtime,
    emulator: Option<Emulator>,
    /// What it holds, also when it is stopped.
    world: World,
    directory: TempDir,
    captures: Captures,
}

impl House {
    /// The emulator as it is by default, and these rules.
    pub(crate) fn new(rules: &str) -> Self {
        Self::with(emulator::Config::default(), rules)
    }

    pub(crate) fn with(config: emulator::Config, rules: &str) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let emulator = runtime.block_on(Emulator::start(config)).expect("an emulator");
        let house = Self {
            runtime,
            world: emulator.world(),
            emulator: Some(emulator),
            directory: tempfile::tempdir().expect("a directory"),
            captures: Captures::default(),
        };
        let tokens = house.emulator().tokens();
        house.private("master.token", &tokens.master);
        house.private("api-user.token", &tokens.api_user);
        house.configure(rules);
        house
    }

    /// As `new`, with the vault made.
    pub(crate) fn ready(rules: &str) -> Self {
        let house = Self::new(rules);
        house.succeeds(&["init"]);
        house
    }

    /// Writes the configuration: what every test needs, then `rest`, in which `UID` is the test's user.
    pub(crate) fn configure(&self, rest: &str) {
        let directory = self.directory.path().display();
        let (api, graphql) = (self.emulator().api_url(), self.emulator().graphql_url());
        let uid = rustix::process::getuid().as_raw().to_string();
        // Tests run in one control group: what one calls an agent is not to keep the others' callers from their secrets.
        let guard =
            if rest.contains("[workflow_guard]") { "" } else { "workflow_guard.processes = [\"agent-of-no-test\"]\n" };
        let text = format!(
            "state_directory = \"{directory}/state\"\n\
             vault.unlock = {{ key_file = \"{directory}/vault.key\" }}\n\
             tokens = {{ master = {{ file = \"{directory}/master.token\" }}, \
             api_user = {{ file = \"{directory}/api-user.token\" }} }}\n\
             tray = {{ api_url = \"{api}\", graphql_url = \"{graphql}\", header_timeout = \"5s\" }}\n\
             socket.directory = \"{directory}/run\"\n\
             ingest = {{ directory = \"{directory}/drop\", scan_interval = \"1h\", settle = \"1s\" }}\n\
             {guard}{}",
            rest.replace("UID", &uid)
        );
        fs::write(self.path("trayvault.toml"), text).expect("a configuration");
    }

    pub(crate) fn emulator(&self) -> &Emulator {
        self.emulator.as_ref().expect("the emulator runs")
    }

    /// Takes Tray away for good.
    pub(crate) fn stop_emulator(&mut self) {
        let emulator = self.emulator.take().expect("the emulator runs");
        self.runtime.block_on(emulator.stop());
    }

    pub(crate) fn world(&self) -> World {
        self.world.clone()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a file that nobody else may read.
    pub(crate) fn private(&self, name: &str, content: &str) {
        // What a test puts into the state directory is a copy of what was there.
        let path = if name.starts_with("state/") { self.path(name) } else { self.given(name) };
        // Anew, so that a test may change it.
        let _ = fs::remove_file(&path);
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(path).expect("a file");
        file.write_all(content.as_bytes()).expect("content");
    }

    /// The same with bytes.
    pub(crate) fn private_bytes(&self, name: &str, content: &[u8]) {
        self.private(name, "");
        fs::write(self.path(name), content).expect("content");
    }

    /// Makes a directory, with its parents, that nobody else may enter.
    pub(crate) fn private_directory(&self, name: &str) {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(self.path(name)).expect("a directory");
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.run_program(Path::new(env!("CARGO_BIN_EXE_trayvault")), arguments)
    }

    pub(crate) fn run_program(&self, program: &Path, arguments: &[&str]) -> Output {
        self.output(self.command(program).args(arguments), search::tells_secrets(arguments))
    }

    /// Runs a command to its end, with something on its standard input.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_trayvault")));
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        std::thread::scope(|scope| {
            // It may fail before it reads, or write before it has read all.
            scope.spawn(move || drop(stdin.write_all(input)));
            let output = child.wait_with_output().expect("the program ends");
            self.said(arguments[0], search::tells_secrets(arguments), &output);
            output
        })
    }

    /// Starts a command and does not wait for it.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_trayvault")));
        command.args(arguments).stdout(Stdio::null()).stderr(self.append("spawned.err"));
        command.spawn().expect("the program runs")
    }

    /// A program as it is run here.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("TRAYVAULT_CONFIG", self.path("trayvault.toml"))
            .env_remove("TRAYVAULT_SOCKET")
            .env_remove("CREDENTIALS_DIRECTORY")
            .env_remove("JOURNAL_STREAM")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .env_remove("LISTEN_FDS")
            // On loopback no root certificates are needed.
            .env("SSL_CERT_FILE", "/nonexistent")
            .env("SSL_CERT_DIR", "/nonexistent")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command that must succeed; its standard output.
    #[track_caller]
    pub(crate) fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs a command that must fail with an exit code; its standard error.
    #[track_caller]
    pub(crate) fn fails(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        error
    }

    /// Starts a daemon and waits until it answers.
    pub(crate) fn daemon(&self) -> Daemon<'_> {
        self.daemon_with(&[])
    }

    /// The same, with more arguments.
    pub(crate) fn daemon_with(&self, arguments: &[&str]) -> Daemon<'_> {
        let mut daemon = self.starting_daemon(arguments);
        let socket = self.path("run/api.sock");
        daemon.wait("the socket", || UnixStream::connect(&socket).is_ok().then_some(()));
        daemon
    }

    /// Starts a daemon that may well not get far.
    pub(crate) fn starting_daemon(&self, arguments: &[&str]) -> Daemon<'_> {
        self.daemon_in(&[], arguments)
    }

    /// The same, with more in its environment.
    pub(crate) fn daemon_in(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Daemon<'_> {
        let child = self
            .command(Path::new(env!("CARGO_BIN_EXE_trayvault")))
            .envs(environment.iter().copied())
            .arg("run")
            .args(arguments)
            .stdout(self.append("daemon.out"))
            .stderr(self.append("daemon.log"))
            .spawn()
            .expect("the program runs");
        Daemon { house: self, child }
    }

    fn append(&self, name: &str) -> File {
        File::options().create(true).append(true).open(self.path(name)).expect("a log")
    }

    /// Starts a daemon as systemd does with sockets that it has made: handed over by these names, or without any.
    pub(crate) fn socket_activated_daemon(&self, sockets: [OwnedFd; 2], names: Option<&str>) -> Daemon<'_> {
        let log = self.append("daemon.log");
        let [third, fourth] = sockets;
        let mut command = self.command(Path::new("/bin/sh"));
        command.args(["-c", "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ exec \"$0\" run"]);
        command.arg(env!("CARGO_BIN_EXE_trayvault")).env("LISTEN_FDS", if names.is_some() { "2" } else { "1" });
        if let Some(names) = names {
            command.env("LISTEN_FDNAMES", names);
        }
        let child = command.stdin(third).stdout(fourth).stderr(log).spawn().expect("the program runs");
        Daemon { house: self, child }
    }

    /// Every regular file in the house.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let (mut files, mut directories) = (Vec::new(), vec![self.path("")]);
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    directories.push(path);
                } else if path.is_file() {
                    files.push(path);
                }
            }
        }
        files
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("daemon.log")).unwrap_or_default()
    }

    /// Asks the daemon over its socket.
    pub(crate) fn ask(&self, method: Method, path: &str) -> (StatusCode, Value) {
        self.send(method, path, None)
    }

    /// The same, with a body.
    pub(crate) fn send(&self, method: Method, path: &str, body: Option<SecretBytes>) -> (StatusCode, Value) {
        self.try_send(method, path, body).expect("an answer")
    }

    /// The same of a daemon that may not be there.
    pub(crate) fn try_send(
        &self,
        method: Method,
        path: &str,
        body: Option<SecretBytes>,
    ) -> Result<(StatusCode, Value), ClientError> {
        let socket = self.path("run/api.sock");
        let answer = self.runtime.block_on(socket::request(&socket, method, path, body))?;
        self.keep(path, &answer);
        Ok((answer.status, serde_json::from_slice(answer.body.expose_secret()).expect("JSON")))
    }

    /// What a GET answers, which must be text and a success.
    #[track_caller]
    pub(crate) fn text(&self, path: &str) -> String {
        let answer = self.runtime.block_on(socket::request(&self.path("run/api.sock"), Method::GET, path, None));
        let answer = answer.expect("an answer");
        self.keep(path, &answer);
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        String::from_utf8(answer.body.expose_secret().to_vec()).expect("text")
    }

    /// Sends a request as it is written, which closes its connection; the answer's head and body.
    pub(crate) fn exchange(&self, request: &str) -> (String, String) {
        let mut stream = UnixStream::connect(self.path("run/api.sock")).expect("a connection");
        stream.write_all(request.as_bytes()).expect("it is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let word = |text: &str| text.split(' ').nth(1).unwrap_or_default().to_owned();
        self.answered(&word(request), word(head).parse().expect("a status"), answer.as_bytes());
        (head.to_owned(), body.to_owned())
    }

    pub(crate) fn get(&self, path: &str) -> (StatusCode, Value) {
        self.ask(Method::GET, path)
    }

    /// How many authentications are in each state, and how many end users there are, but for zeros.
    pub(crate) fn states(&self) -> Value {
        let (_, shown) = self.get("/v1/status");
        let mut states = shown["authentications"].clone();
        states.as_object_mut().expect("counts").retain(|_, count| *count != 0);
        states
    }

    /// The ids of what is in a state.
    pub(crate) fn in_state(&self, state: &str) -> Vec<uuid::Uuid> {
        let (_, list) = self.get("/v1/authentications");
        let all = list["authentications"].as_array().expect("a list").iter();
        all.filter(|one| one["state"] == state)
            .map(|one| one["id"].as_str().expect("an id").parse().expect("a UUID"))
            .collect()
    }

    /// Asks for a synchronisation and waits for its report.
    #[track_caller]
    pub(crate) fn sync(&self) -> Value {
        let (status, report) = self.ask(Method::POST, "/v1/sync");
        assert_eq!(status, StatusCode::OK, "{report}");
        report
    }

    /// An authentication of a service in Tray; the first there is.
    #[track_caller]
    pub(crate) fn upstream(&self, service: &str) -> AuthenticationView {
        let all = self.world().authentications();
        all.into_iter().find(|one| one.service == service).expect("the emulator has one")
    }

    /// Drops a file as the delivery contract asks: under another name, then renamed.
    pub(crate) fn drop_file(&self, name: &str, document: &Value) {
        let draft = format!("drop/.{name}");
        self.private(&draft, &document.to_string());
        self.given(&format!("drop/{name}"));
        fs::rename(self.path(&draft), self.path(&format!("drop/{name}"))).expect("a rename");
    }
}

pub(crate) struct Daemon<'a> {
    house: &'a House,
    child: Child,
}

impl Daemon<'_> {
    /// Looks again and again until there is something.
    #[track_caller]
    pub(crate) fn wait<T>(&mut self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("waited for {what}: the daemon ended with {status}:\n{}", self.house.log());
            }
            assert!(Instant::now() < deadline, "waited for {what} in vain:\n{}", self.house.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for a file below the drop directory and reads it as JSON.
    #[track_caller]
    pub(crate) fn outcome(&mut self, name: &str) -> Value {
        let path = self.house.path(&format!("drop/{name}"));
        let content = self.wait(name, || fs::read(&path).ok());
        serde_json::from_slice(&content).expect("JSON")
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("a signal");
    }

    /// Waits for the daemon to end by itself; its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the daemon did not end:\n{}", self.house.log());
    }

    /// Stops it as systemd does; its exit code must be 0.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.signal(rustix::process::Signal::TERM);
        assert_eq!(self.ended(), Some(0), "{}", self.house.log());
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // Gone already after `stop`; a failed test leaves no process behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
