//! What the story plays on: the emulator, a temporary directory, and a daemon process.

use std::{
    fs::{self, File},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use std::io::Write;

use rustix::process::{Pid, Signal, getuid, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{
    cli::{Code, Failure, trial::Trial},
    emulator::{Config, Emulator},
};

/// How long anything on the stage may take.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// The stage. Dropped, it takes its processes and files with it.
pub(super) struct Stage {
    pub(super) emulator: Emulator,
    directory: TempDir,
    daemon: Option<Child>,
}

/// What a command said, and how it ended.
pub(super) struct Said {
    pub(super) output: Vec<u8>,
    pub(super) error: String,
    pub(super) code: i32,
}

impl Stage {
    pub(super) async fn set_up() -> Result<Self, Failure> {
        let emulator =
            Emulator::start(Config::default()).await.map_err(|error| Failure::of(Code::Unavailable, &error))?;
        let stage =
            Self { emulator, directory: tempfile::Builder::new().prefix("trayvault-demo-").tempdir()?, daemon: None };
        let tokens = stage.emulator.tokens();
        write_private(&stage.path("master.token"), tokens.master.as_bytes())?;
        write_private(&stage.path("api-user.token"), tokens.api_user.as_bytes())?;
        let trial = Trial {
            directory: &stage.directory.path().display().to_string(),
            api_url: &stage.emulator.api_url(),
            graphql_url: &stage.emulator.graphql_url(),
            user: &getuid().as_raw().to_string(),
        };
        write_private(&stage.path("trayvault.toml"), trial.config().as_bytes())?;
        Ok(stage)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs a command of this program to its end.
    pub(super) async fn command(&self, arguments: &[&str]) -> Result<Said, Failure> {
        self.run(&std::env::current_exe()?, arguments).await
    }

    /// The same command, by a program that bears the name of Tray's on-prem agent.
    pub(super) async fn command_as_agent(&self, arguments: &[&str]) -> Result<Said, Failure> {
        let agent = self.path("agent-linux-amd64");
        if !agent.exists() {
            fs::copy(std::env::current_exe()?, &agent)?;
        }
        self.run(&agent, arguments).await
    }

    async fn run(&self, program: &Path, arguments: &[&str]) -> Result<Said, Failure> {
        let mut command = Command::new(program);
        command.args(arguments).env("TRAYVAULT_CONFIG", self.path("trayvault.toml")).env_remove("TRAYVAULT_SOCKET");
        let ended = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
        Ok(Said {
            output: ended.stdout,
            error: String::from_utf8_lossy(&ended.stderr).into_owned(),
            code: ended.status.code().unwrap_or(-1),
        })
    }

    /// Starts the daemon and waits until it answers.
    pub(super) async fn start_daemon(&mut self) -> Result<u32, Failure> {
        let log = File::create(self.path("daemon.log"))?;
        let child = Command::new(std::env::current_exe()?)
            .arg("run")
            .env("TRAYVAULT_CONFIG", self.path("trayvault.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C reaches the demo, which stops the daemon in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().unwrap_or_default();
        self.daemon = Some(child);
        let socket = self.path("run/api.sock");
        self.wait("the daemon to be ready", || socket.exists().then_some(())).await?;
        Ok(pid)
    }

    /// Looks again and again until there is something; an error if the daemon died or nothing came.
    pub(super) async fn wait<T>(&mut self, what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T, Failure> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            let died = self.daemon.as_mut().is_some_and(|daemon| !matches!(daemon.try_wait(), Ok(None)));
            if died || tokio::time::Instant::now() > deadline {
                let why = if died { "the daemon died" } else { "nothing happened" };
                let log = fs::read_to_string(self.path("daemon.log")).unwrap_or_default();
                let last = log.lines().last().map(|line| format!("the daemon's last words: {line}"));
                return Err(Failure::new(Code::Software, format!("waited for {what}: {why}")).hint(last));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Stops the daemon as systemd does, and waits for it.
    pub(super) async fn stop_daemon(&mut self) -> Result<(), Failure> {
        let Some(mut daemon) = self.daemon.take() else { return Ok(()) };
        if let Some(pid) = daemon.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            kill_process(pid, Signal::TERM).map_err(std::io::Error::from)?;
        }
        match tokio::time::timeout(PATIENCE, daemon.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(Failure::new(Code::Software, format!("the daemon ended with {status}"))),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Failure::new(Code::Software, "the daemon did not stop")),
        }
    }

    pub(super) async fn take_down(mut self) {
        // The story has its own error, if any; what is left here is killed and removed.
        let _ = self.stop_daemon().await;
        self.emulator.stop().await;
    }

    /// Requests to try while the daemon is kept.
    pub(super) fn invitation(&self, id: &str) -> String {
        let socket = self.path("run/api.sock");
        let curl = format!("curl --silent --unix-socket {}", socket.display());
        format!(
            "
The daemon runs until Ctrl-C. In another terminal:
  {curl} http://trayvault/v1/status
  {curl} http://trayvault/v1/authentications
  {curl} http://trayvault/v1/authentications/{id}
  {curl} 'http://trayvault/v1/authentications/{id}/full?field=/credentials'
  {curl} --request POST http://trayvault/v1/sync
  curl --silent {}/_emulator/state
Drop files into {} (write elsewhere, then mv).",
            self.emulator.api_url(),
            self.path("drop").display(),
        )
    }
}

/// Makes a file that nobody else may read.
pub(super) fn write_private(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(content)?)
}
