//! The command as our child: for files that have to be removed after it, and values that change while it runs.

use std::{ffi::OsString, path::Path, sync::Arc, time::Duration};

use nix::sys::signal::{Signal, kill};
use rustix::process::Pid;
use tokio::{sync::mpsc, time::Instant};

use super::{
    super::{Failure, api},
    Ended,
    course::{Change, Course, Sender, Step},
    launch,
    look::{Look, at, say},
    news::{self, News},
    values::{self, Fingerprints},
    wanted::{Form, Wanted},
};
use crate::{
    secret::SecretBytes,
    socket::Listening,
    system::{
        child,
        signals::{Arrived, Signals},
        volatile::Volatile,
    },
};

/// How long the command may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// What is held back from us and passed on, and what tells of the child.
const SIGNALS: [Signal; 11] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGWINCH,
    Signal::SIGTSTP,
    Signal::SIGCONT,
    Signal::SIGCHLD,
];

/// What is run, and how.
pub(super) struct Supervisor<'a> {
    pub(super) command: &'a [OsString],
    pub(super) wanted: Arc<[Wanted]>,
    pub(super) socket: Arc<Path>,
    pub(super) restarts: bool,
    pub(super) signal: Option<Signal>,
}

/// A command that runs.
struct Supervised<'a> {
    what: Supervisor<'a>,
    course: Course,
    signals: Signals,
    directory: Option<Volatile>,
    child: Pid,
    fingerprints: Fingerprints,
    /// What it is started with next.
    next: Option<Vec<SecretBytes>>,
    /// When it is killed.
    kill_at: Option<Instant>,
    look: Look,
}

impl<'a> Supervisor<'a> {
    /// Runs the command to its end.
    pub(super) async fn run(self, is_followed: bool) -> Result<Ended, Failure> {
        // Before the values are read, so that no change is missed.
        let (sender, news) = mpsc::channel(16);
        if is_followed {
            let listening = self.listening().await?;
            let ids = self.wanted.iter().map(|one| one.id).collect();
            tokio::spawn(news::follow(Arc::clone(&self.socket), ids, listening, sender));
        }
        let values = values::read(&self.socket, &self.wanted).await?;
        let mut supervised = self.start(&values)?;
        drop(values);
        let ended = supervised.attend(news).await;
        if ended.is_err() {
            // We go; so does it.
            supervised.send(Signal::SIGTERM);
        }
        ended
    }

    /// Events come to whom metadata is granted, of each authentication by itself.
    async fn listening(&self) -> Result<Listening, Failure> {
        let unseen = |failure: Failure| Failure {
            message: format!("changes can't be followed, which takes the grant of metadata: {}", failure.message),
            ..failure
        };
        let listening = api::listen(&self.socket).await.map_err(unseen)?;
        for one in self.wanted.iter() {
            let path = format!("/v1/authentications/{}", one.id);
            api::read(&self.socket, &path).await.map_err(unseen)?;
        }
        Ok(listening)
    }

    fn start(self, values: &[SecretBytes]) -> Result<Supervised<'a>, Failure> {
        let fingerprints = Fingerprints::of(values)?;
        let has_files = self.wanted.iter().any(|one| one.form == Form::TmpfsFile);
        child::keep_ended();
        let signals = Signals::hold_back(SIGNALS)?;
        let directory = has_files.then(launch::directory).transpose()?;
        let child = spawn(&self, values, directory.as_ref(), &signals)?;
        let course = Course::new(self.restarts, self.signal.is_some());
        let look = Look::default();
        Ok(Supervised { what: self, course, signals, directory, child, fingerprints, next: None, kill_at: None, look })
    }
}

fn spawn(
    what: &Supervisor<'_>,
    values: &[SecretBytes],
    directory: Option<&Volatile>,
    signals: &Signals,
) -> Result<Pid, Failure> {
    let mut command = launch::prepare(what.command, &what.wanted, values, directory)?;
    child::bind_to_us(&mut command, signals.before());
    let child = command.spawn().map_err(|error| launch::cannot_run(&error, what.command))?;
    Ok(Pid::from_child(&child))
}

impl Supervised<'_> {
    async fn attend(&mut self, mut news: mpsc::Receiver<News>) -> Result<Ended, Failure> {
        loop {
            let step = tokio::select! {
                arrived = self.signals.next() => match arrived? {
                    Arrived { signal: Signal::SIGCHLD, .. } => self.children()?,
                    arrived => self.signalled(arrived),
                },
                Some(news) = news.recv() => {
                    self.look.hear(news);
                    Step::Nothing
                }
                () = at(self.look.due()), if self.course.takes_changes() => {
                    self.look.begin(&self.what.socket, &self.what.wanted);
                    Step::Nothing
                }
                values = self.look.end() => self.looked(values),
                () = at(self.kill_at) => {
                    self.kill_at = None;
                    self.course.too_long()
                }
            };
            if let Some(ended) = self.take(step)? {
                return Ok(ended);
            }
        }
    }

    fn take(&mut self, step: Step) -> Result<Option<Ended>, Failure> {
        match step {
            Step::Nothing | Step::PassOn | Step::Renew => {}
            Step::Stop => {
                self.send(Signal::SIGTERM);
                self.kill_at = Some(Instant::now() + GRACE);
            }
            Step::Kill => self.send(Signal::SIGKILL),
            Step::Start => {
                self.kill_at = None;
                let values = self.next.take().unwrap_or_default();
                self.child = spawn(&self.what, &values, self.directory.as_ref(), &self.signals)?;
            }
            Step::StandStill => {
                // What comes next is SIGCONT, which is passed on.
                let us = nix::unistd::Pid::this();
                let _ = kill(us, Signal::SIGSTOP);
            }
            Step::End(ended) => return Ok(Some(ended)),
        }
        Ok(None)
    }

    /// One SIGCHLD may stand for several turns.
    fn children(&mut self) -> Result<Step, Failure> {
        while let Some(turn) = child::turn(self.child)? {
            match self.course.child(turn) {
                Step::Nothing => {}
                step => return Ok(step),
            }
        }
        Ok(Step::Nothing)
    }

    fn signalled(&mut self, arrived: Arrived) -> Step {
        let child = self.child.as_raw_nonzero().get().cast_unsigned();
        let sender = match arrived.sender {
            None => Sender::Terminal,
            Some(pid) if pid == child => Sender::Command,
            Some(_) => Sender::Other,
        };
        let step = self.course.signal(arrived.signal, sender);
        if step == Step::PassOn {
            self.send(arrived.signal);
        }
        step
    }

    fn looked(&mut self, values: Result<Vec<SecretBytes>, Failure>) -> Step {
        match values.and_then(|values| self.compare(values)) {
            Ok(step) => {
                self.look.succeeded();
                step
            }
            Err(failure) => {
                self.look.failed(&failure);
                Step::Nothing
            }
        }
    }

    fn compare(&mut self, values: Vec<SecretBytes>) -> Result<Step, Failure> {
        let differing: Vec<_> = self.fingerprints.differing(&values).collect();
        let changed = || differing.iter().map(|index| (&self.what.wanted[*index], &values[*index]));
        let change = match (differing.is_empty(), changed().all(|(one, _)| one.form == Form::TmpfsFile)) {
            (true, _) => Change::Nothing,
            (false, true) => Change::Files,
            (false, false) => Change::Fixed,
        };
        let names = changed().map(|(one, _)| one.name.as_str()).collect::<Vec<_>>().join(", ");
        let step = self.course.changed(change);
        match (step, self.what.signal, &self.directory) {
            (Step::Stop, ..) => {
                say(&format!("changed: {names}; the command is restarted"));
                self.fingerprints.become_of(&values);
                self.next = Some(values);
            }
            (Step::Renew, Some(signal), Some(directory)) => {
                changed().try_for_each(|(one, value)| launch::write(directory, &one.name, value).map(drop))?;
                self.fingerprints.become_of(&values);
                say(&format!("changed: {names}; the command gets {signal}"));
                self.send(signal);
            }
            _ => {}
        }
        Ok(step)
    }

    /// It has not been waited for, so that the number is still its own.
    fn send(&self, signal: Signal) {
        let _ = kill(nix::unistd::Pid::from_raw(self.child.as_raw_nonzero().get()), signal);
    }
}
