//! Writes the log's head where whoever can cut the log off can't reach: journald, a file, a program.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{anchor::Anchor, config::AnchorConfig, log::AuditLog};
use crate::{
    system::clock::{since_boot, sleep_until},
    task::{Shutdown, TaskError},
};

/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// The task that writes anchors: as it begins, whenever there are new entries after an interval, and as it ends.
pub struct Anchors {
    log: AuditLog,
    config: AnchorConfig,
    written: Option<Anchor>,
}

impl Anchors {
    /// Puts the task together.
    pub fn new(log: AuditLog, config: AnchorConfig) -> Self {
        Self { log, config, written: None }
    }

    /// Runs until the shutdown. What can't be written is tried again after the interval.
    ///
    /// # Errors
    /// None: an anchor is not in the way of anything.
    pub async fn run(mut self, mut shutdown: Shutdown) -> Result<(), TaskError> {
        loop {
            self.write().await;
            tokio::select! {
                () = sleep_until(since_boot() + self.config.interval) => {}
                () = shutdown.requested() => break,
            }
        }
        self.write().await;
        Ok(())
    }

    async fn write(&mut self) {
        let head = self.log.head();
        if self.written == Some(head) {
            return;
        }
        self.log.tell_anchor(head);
        let (config, line) = (self.config.clone(), head.line(Timestamp::now()));
        let written = tokio::task::spawn_blocking(move || write(&config, &line)).await;
        if matches!(written, Ok(true)) {
            self.written = Some(head);
        }
    }
}

/// Whether it is wherever it is to be.
fn write(config: &AnchorConfig, line: &str) -> bool {
    let file = config.file.as_deref().map_or(Ok(()), |file| append(file, line));
    let program = config.command.split_first().map_or(Ok(()), |(program, arguments)| give(program, arguments, line));
    for (what, written) in [("file", &file), ("command", &program)] {
        if let Err(error) = written {
            tracing::warn!(%error, what, "an anchor of the audit log could not be written");
        }
    }
    file.is_ok() && program.is_ok()
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    let no_link = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let mut file =
        OpenOptions::new().read(true).append(true).create(true).mode(0o600).custom_flags(no_link).open(path)?;
    let mut last = [b'\n'];
    if let Some(at) = file.metadata()?.len().checked_sub(1) {
        file.read_exact_at(&mut last, at)?;
    }
    // A line that was cut off stays one of its own.
    let begin = if last == *b"\n" { "" } else { "\n" };
    file.write_all(format!("{begin}{line}").as_bytes())?;
    file.sync_data()
}

fn give(program: &str, arguments: &[String], line: &str) -> io::Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A line fits into the pipe; whether the program reads it shows in how it ends.
        let _ = input.write_all(line.as_bytes());
    }
    let begun = Instant::now();
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(io::Error::other(format!("the program ended with {status}"))),
            None if begun.elapsed() > PATIENCE => {
                child.kill()?;
                child.wait()?;
                return Err(io::ErrorKind::TimedOut.into());
            }
            None => std::thread::sleep(PAUSE),
        }
    }
}
