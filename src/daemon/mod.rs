//! The start-up story: configuration, unlock, build, spawn, ready, signals, drain.

mod confine;
mod error;
mod heartbeat;
mod sockets;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use tokio::{
    runtime::Handle,
    sync::{Mutex, Notify, mpsc, watch},
};

use self::{confine::confine, heartbeat::Heartbeat, sockets::Sockets};
pub use self::{error::DaemonError, sockets::HandoverError};
use crate::{
    audit::{Action, Anchors, AuditLog, Event, Outcome},
    clauses::clauses,
    config::Config,
    custody::{self, Custody},
    feed::Feed,
    freshness::Freshness,
    ingest::{self, Ingest},
    logging,
    metrics::Metrics,
    offline,
    policy::Policy,
    principals::Principals,
    requests::{CycleRequest, Requests},
    socket::{Api, Refusals},
    status::Board,
    stores::{self, Stores},
    sync,
    system::{
        files,
        journald::{self, Journald},
        limits, memory,
        sandbox::Sandbox,
        secret_memory::{self, Protection},
    },
    task::{Drained, Tasks},
    tray::{self, Priority, Tray},
    vault::{Cache, Locked, Unlocked},
};

/// How long the tasks have to end after a signal; systemd's default is to wait for 90 s.
const DRAIN_DEADLINE: Duration = Duration::from_secs(20);

/// Requests to synchronisation that may wait, of each kind.
const REQUESTS: usize = 64;

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// [`DaemonError`].
pub fn run(config_path: &Path, accept_rollback: bool, offline: bool) -> Result<(), DaemonError> {
    let (config, digest) = Config::load_with_digest(config_path)?;
    logging::start(config.log.level.into());
    memory::forbid_dumps().map_err(|source| DaemonError::System("the process can't be made undumpable", source))?;
    limits::raise_open_files();
    // It reads the system's root certificates, wherever they are.
    let tray = Tray::new(&tray::Config { offline: offline || config.tray.offline, ..config.tray.clone() })?;
    // Threads that come later are confined with this one.
    let sandbox = confine(config_path, &config);
    let signals = signals()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| DaemonError::System("no threads can be started", source))?;
    runtime.block_on(async {
        Daemon::start(config_path, config, digest, sandbox, tray, accept_rollback)?.run(signals).await
    })
}

/// A daemon that is up: what its tasks need from outside.
struct Daemon {
    config_path: PathBuf,
    config: Config,
    audit: AuditLog,
    cache: Cache,
    custody: Arc<Custody>,
    board: Board,
    requests: Requests,
    policy: watch::Sender<Arc<Policy>>,
    sync_config: watch::Sender<sync::Config>,
    freshness: watch::Sender<Freshness>,
    tasks: Tasks,
    /// Held as long as this daemon works on its state.
    _lock: File,
}

impl Daemon {
    /// Unlocks, builds and spawns. When this returns, sealed values are served; Tray is not waited for.
    fn start(
        config_path: &Path,
        config: Config,
        digest: [u8; 32],
        sandbox: Sandbox,
        tray: Tray,
        accept_rollback: bool,
    ) -> Result<Self, DaemonError> {
        let locked = Locked::open(&config.state_directory)?;
        files::private_directory(&config.state_directory)?;
        let lock = lock(&config.state_directory)?;
        let unlocked = offline::unlock(&config, locked)?;
        let audit = audit_log(&config, &unlocked, accept_rollback)?;
        let keyring = unlocked.into_keyring();
        audit.record(&Event::new(Action::Unlock, Outcome::Done))?;
        let board = Board::new(Timestamp::now(), {
            let tray = tray.clone();
            move || tray.standing()
        });
        board.post(|posted| posted.landlock = sandbox);
        let Stores { cache, journal } =
            stores::open(&config.state_directory, &keyring, &audit, &board, accept_rollback)?;
        audit.record_synced(&Event::new(Action::Start, Outcome::Done).digest(digest))?;
        let tokens = custody::read_tokens(&config.tokens)?;
        let principals = Principals::new(tray.clone(), cache.clone(), audit.clone(), tokens);
        let custody = Arc::new(Custody {
            state_directory: config.state_directory.clone(),
            unlock: config.vault.unlock.clone(),
            tokens: config.tokens.clone(),
            keyring,
            principals: principals.clone(),
            cache: cache.clone(),
            journal: journal.clone(),
            audit: audit.clone(),
            board: board.clone(),
            turn: Mutex::default(),
            rotated: Notify::default(),
        });

        let policy = watch::Sender::new(Arc::new(config.policy(config_path)?));
        let sync_config = watch::Sender::new(config.sync.clone());
        let ((cycles, cycle_requests), (parts, part_requests)) = (mpsc::channel(REQUESTS), mpsc::channel(REQUESTS));
        let (ingest_requests, for_ingest) = mpsc::channel(REQUESTS);
        let requests = Requests { cycles, parts, ingest: ingest_requests };
        let feed = Feed::default();
        let ingest = ingest::Dependencies {
            journal,
            tray: tray.at(Priority::Ingest),
            principals: principals.at(Priority::Ingest),
            cache: cache.clone(),
            sync: requests.parts.clone(),
            requests: for_ingest,
            audit: audit.clone(),
            policy: policy.subscribe(),
            board: board.clone(),
            feed: feed.clone(),
        };
        let ingest = Ingest::open(config.ingest.clone(), ingest)?;
        let sync = sync::Dependencies {
            tray,
            principals,
            cache: cache.clone(),
            audit: audit.clone(),
            policy: policy.subscribe(),
            config: sync_config.subscribe(),
            board: board.clone(),
            feed: feed.clone(),
        };
        let (sync, refresher) = sync::tasks(sync, cycle_requests, part_requests);
        let freshness = watch::Sender::new(config.sync.freshness());
        let api = Api {
            cache: cache.clone(),
            custody: Arc::clone(&custody),
            audit: audit.clone(),
            policy: policy.subscribe(),
            board: board.clone(),
            requests: requests.clone(),
            freshness: freshness.subscribe(),
            feed,
            metrics: Metrics::default(),
            refusals: Refusals::default(),
            runtime: Handle::current(),
        };
        let sockets = sockets::open(&config)?;

        // Nothing runs before all of it is in place.
        let mut tasks = Tasks::default();
        let shutdown = tasks.shutdown();
        tasks.spawn("anchors", Anchors::new(audit.clone(), config.audit.anchor.clone()).run(shutdown.clone()));
        tasks.spawn("ingest", ingest.run(shutdown.clone()));
        tasks.spawn("sync", sync.run(shutdown.clone()));
        tasks.spawn("refresh", refresher.run(shutdown.clone()));
        tasks.spawn("reseal", Arc::clone(&custody).reseal(shutdown));
        answer(sockets, api, &mut tasks);
        let config_path = config_path.to_owned();
        Ok(Self {
            config_path,
            config,
            audit,
            cache,
            custody,
            board,
            requests,
            policy,
            sync_config,
            freshness,
            tasks,
            _lock: lock,
        })
    }

    /// Says that it is ready, and answers signals until one ends it or a task dies.
    async fn run(mut self, mut signals: mpsc::UnboundedReceiver<i32>) -> Result<(), DaemonError> {
        tell_protection();
        notify(&[NotifyState::Ready]);
        tracing::info!("ready");
        let death = self.tasks.first_death();
        tokio::pin!(death);
        let outcome = loop {
            tokio::select! {
                (name, reason) = &mut death => {
                    tracing::error!(task = name, reason, "a task died; stopping");
                    break Err(DaemonError::Died { name, reason });
                }
                signal = signals.recv() => match signal {
                    Some(SIGHUP) => self.reload(),
                    Some(SIGUSR1) => self.dump_state(),
                    // A file at its size limit (LimitFSIZE=) is a failed write, not the daemon's end.
                    Some(SIGXFSZ) => {}
                    _ => break Ok(()),
                },
            }
        };
        notify(&[NotifyState::Stopping]);
        tracing::info!("stopping");
        let Self { tasks, audit, cache, .. } = self;
        let drained = tasks.drain(DRAIN_DEADLINE).await;
        if let Err(error) = cache.settle().await {
            tracing::warn!(error = clauses(&error), "the cache could not be put on stable storage");
        }
        audit.record_synced(&Event::new(Action::Stop, Outcome::Done))?;
        match drained {
            Drained::Whole => outcome,
            Drained::CutOff(tasks) => outcome.and(Err(DaemonError::CutOff(tasks))),
        }
    }

    /// Reads the configuration again: all of it takes effect, or, if it is wrong, none.
    fn reload(&mut self) {
        // With the time, as `Type=notify-reload` wants it.
        let now = NotifyState::monotonic_usec_now().unwrap_or(NotifyState::MonotonicUsec(0));
        notify(&[NotifyState::Reloading, now]);
        self.load_again();
        notify(&[NotifyState::Ready]);
    }

    fn load_again(&mut self) {
        let loaded = Config::load_with_digest(&self.config_path);
        let loaded = loaded.and_then(|(new, digest)| Ok((new.policy(&self.config_path)?, new, digest)));
        let event = |outcome| Event::new(Action::Reload, outcome);
        let event = match loaded {
            Ok((policy, new, digest)) => {
                for section in self.config.fixed_until_restart(&new) {
                    tracing::warn!(section, "a change takes effect at the next start only");
                }
                self.policy.send_replace(Arc::new(policy));
                self.sync_config.send_if_modified(|old| {
                    let changed = *old != new.sync;
                    old.clone_from(&new.sync);
                    changed
                });
                self.freshness.send_replace(new.sync.freshness());
                // What new rules forbid is destroyed at once, and what they permit is pulled. A queue that is full is
                // one that leads to a synchronisation anyway.
                let _ = self.requests.cycles.try_send(CycleRequest::new(false).0);
                tracing::info!("reloaded the configuration");
                event(Outcome::Done).digest(digest)
            }
            Err(error) => {
                let hint = error.hint();
                let error = clauses(&error);
                tracing::error!(error, hint, "kept the old configuration");
                event(Outcome::Failed)
            }
        };
        if let Err(error) = self.audit.record_synced(&event) {
            // Whichever configuration is in force: without the log no secret leaves under it.
            tracing::error!(%error, "a reload could not be recorded");
        }
    }

    /// Logs what the daemon is at: counts and states, no ids, no names, no secrets.
    fn dump_state(&self) {
        let counts = self.cache.counts();
        let state = serde_json::json!({
            "authentications": counts.as_ref().ok(),
            "generation": self.cache.generation().ok(),
            "posted": self.board.read(),
            "unlocked": self.custody.keyring.is_unlocked(),
        });
        tracing::info!(%state, "state");
    }
}

/// Starts what answers, and what shows that it does.
fn answer(sockets: Sockets, api: Api, tasks: &mut Tasks) {
    let (cache, audit, board) = (api.cache.clone(), api.audit.clone(), api.board.clone());
    let (server, credentials) = sockets.servers(api);
    let loops = [("api.sock", server.pulse()), ("credentials.sock", credentials.pulse())];
    let heartbeat = Heartbeat::new(cache, audit, board, loops);
    tasks.spawn("credentials", credentials.run(tasks.shutdown()));
    tasks.spawn("socket", server.run(tasks.shutdown()));
    tasks.spawn("heartbeat", heartbeat.run(tasks.shutdown()));
}

/// The log, whose entries go to journald too, where there is one.
fn audit_log(config: &Config, unlocked: &Unlocked, accept_rollback: bool) -> Result<AuditLog, DaemonError> {
    let audit_log = if accept_rollback { offline::audit_log_or_new } else { offline::audit_log };
    let audit = audit_log(config, unlocked)?;
    if let Ok(journald) = Journald::connect(Path::new(journald::SOCKET)) {
        audit.mirror_to(journald).map_err(|source| DaemonError::System("no threads can be started", source))?;
    }
    Ok(audit)
}

/// One daemon for each state directory.
fn lock(state_directory: &Path) -> Result<File, DaemonError> {
    let lock = files::try_lock(&state_directory.join(offline::LOCK))?;
    lock.ok_or_else(|| DaemonError::Running(state_directory.to_owned()))
}

/// Says how well keys and tokens are kept on this host.
fn tell_protection() {
    match secret_memory::protection() {
        Protection::Secret => tracing::info!("keys and tokens are in memfd_secret memory"),
        Protection::Locked => tracing::info!("keys and tokens are in locked memory: this kernel has no memfd_secret"),
        Protection::Unlocked => {
            tracing::warn!(hint = "raise LimitMEMLOCK=", "keys and tokens may be swapped: memory can't be locked");
        }
    }
}

/// Signals arrive on a thread of their own and are handed over in order.
fn signals() -> Result<mpsc::UnboundedReceiver<i32>, DaemonError> {
    let mut arriving = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGXFSZ])
        .map_err(|source| DaemonError::System("signals can't be received", source))?;
    let (sender, receiver) = mpsc::unbounded_channel();
    let wait = move || arriving.forever().take_while(|signal| sender.send(*signal).is_ok()).for_each(drop);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)
        .map_err(|source| DaemonError::System("no threads can be started", source))?;
    Ok(receiver)
}

/// Tells systemd, if it listens.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd could not be told");
    }
}
