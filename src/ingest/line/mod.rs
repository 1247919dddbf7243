//! The line from the drop directory to Tray: takes in, sends, attends to what people ask, and has all of it on the board.
//! One thing decides, here and in [`Queue`]; the work is done beside it.

mod look;
mod orders;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until},
};
use uuid::Uuid;

use super::{
    PATIENCE, Pace,
    attend::{Attendant, Attended},
    intake::{Admitted, Intake, Taken},
    intent::Unfinished,
    journal::{Contents, JournalError},
    lane::Lane,
    local::LocalError,
    queue::{Queue, Waiting},
    upstream::{Progress, Upstream},
    watch::Watch,
};
use crate::{
    clauses::clauses,
    requests::ingest::IngestRequest,
    status::{Board, Problem},
    task::{Shutdown, TaskError},
};

/// The most documents that are under way at once: Tray's budget and a second's answer fit in.
const WIDTH: usize = 32;

/// While Tray does not answer, or something on this host is in the way, one document is tried after each of these.
const PAUSE: Duration = Duration::from_secs(1);

/// From the drop directory to Tray.
pub(super) struct Line {
    pub(super) intake: Intake,
    pub(super) upstream: Arc<Upstream>,
    pub(super) attendant: Attendant,
    pub(super) admitted: mpsc::UnboundedReceiver<Admitted>,
    pub(super) requests: mpsc::Receiver<IngestRequest>,
    pub(super) watch: Watch,
    pub(super) board: Board,
    pub(super) pace: Pace,
    pub(super) state: Standing,
}

/// How the line stands.
#[derive(Default)]
pub(super) struct Standing {
    queue: Queue,
    held: BTreeSet<Uuid>,
    damaged: BTreeSet<Uuid>,
    working: JoinSet<Worked>,
    /// A look into the directory that is under way.
    looking: Option<JoinHandle<Result<Taken, LocalError>>>,
    look_at: Option<Instant>,
    looked_again: u32,
    /// Whether the directory was not there when it was to be watched.
    is_missing: bool,
    clean_at: Option<Instant>,
    /// Until when nothing is begun.
    paused_until: Option<Instant>,
    problems: Vec<Problem>,
    /// A problem of this host's, until something goes well again.
    obstacle: Option<Problem>,
}

/// What was worked on.
enum Worked {
    Intent(Uuid, Result<Progress, LocalError>),
    Resolved(Uuid, Result<Lane, Waiting>),
    Attended(Attended),
    /// Something that changes nothing in the line.
    Other,
}

impl Line {
    /// Runs until the shutdown; what is under way then has [`PATIENCE`] to end by itself. The rest is in the journal, and
    /// goes on from there at the next start.
    ///
    /// # Errors
    /// A part of it panicked.
    pub(super) async fn run(mut self, mut shutdown: Shutdown) -> Result<(), TaskError> {
        tokio::select! {
            () = shutdown.requested() => return Ok(()),
            begun = self.begin() => begun?,
        }
        while !shutdown.is_requested() {
            if self.intake.journal.is_unlocked() {
                self.start_looking();
                self.start_cleaning();
                self.send();
            }
            self.post();
            let (wake_at, is_locked) = (self.wake_at(), !self.intake.journal.is_unlocked());
            tokio::select! {
                biased;
                () = shutdown.requested() => {}
                worked = join(&mut self.state.working) => self.worked(worked?),
                looked = looked(&mut self.state.looking) => self.looked(looked?),
                Some(admitted) = self.admitted.recv() => self.push(admitted),
                Some(request) = self.requests.recv() => self.attend(request),
                () = self.watch.happened(), if self.state.looking.is_none() => self.look_in(super::SWARM),
                () = until(wake_at), if !is_locked => {}
                () = self.intake.journal.unlocked(), if is_locked => {}
            }
        }
        let drained = async {
            while let Some(worked) = self.state.working.join_next().await {
                worked?;
            }
            if let Some(looking) = self.state.looking.take() {
                looking.await?.ok();
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, drained).await.unwrap_or(Ok(()))
    }

    /// Takes in what an earlier run had claimed, then what it had journaled.
    ///
    /// INVARIANT: the journal is gone on with only when no journaled document's plaintext is left: see
    /// [`Intake::resume`].
    async fn begin(&mut self) -> Result<(), TaskError> {
        loop {
            self.intake.journal.unlocked().await;
            let intake = self.intake.clone();
            let resumed = tokio::task::spawn_blocking(move || intake.begin()).await?;
            let begun = match resumed {
                Ok(taken) => {
                    self.count(&taken);
                    self.intake.journal.contents().await.map_err(LocalError::from)
                }
                Err(error) => Err(error),
            };
            match begun {
                Ok(contents) => {
                    self.load(contents).await;
                    return Ok(());
                }
                Err(error) => {
                    self.obstructed(&error);
                    self.post();
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn load(&mut self, contents: Contents) {
        self.state.damaged = contents.damaged.into_iter().collect();
        let mut bulks = BTreeMap::new();
        for intent in &contents.unfinished {
            let slip = intent.slip();
            match intent {
                Unfinished::Held(_) => drop(self.state.held.insert(slip.id)),
                Unfinished::Ended(_) => bulks.extend(slip.line.map(|line| (line.bulk, Admitted::of(slip)))),
                _ => {
                    if let Unfinished::Sent(sent) = intent {
                        // Nothing is under way yet that it could be in the way of.
                        let _ = self.upstream.turns.begin(slip.id, slip.lane.of_owner(&sent.state.owner));
                    }
                    self.push(Admitted::of(slip));
                }
            }
        }
        for (bulk, last) in bulks {
            if let Err(error) = self.upstream.end_bulk_if_due(bulk).await {
                self.obstructed(&error);
                self.push(last);
            }
        }
    }

    fn push(&mut self, Admitted { id, lane }: Admitted) {
        self.state.queue.push(id, lane);
    }

    /// Begins what may be begun.
    fn send(&mut self) {
        let now = Instant::now();
        if self.state.paused_until.is_some_and(|until| until > now) {
            return;
        }
        while self.has_room()
            && let Some((id, lane)) = self.state.queue.take(now)
        {
            let upstream = Arc::clone(&self.upstream);
            self.state.working.spawn(async move {
                match lane.unresolved() {
                    Some(user) => Worked::Resolved(id, upstream.resolve(lane, &user).await),
                    None => Worked::Intent(id, upstream.go_on(id).await),
                }
            });
        }
    }

    /// Whether another document may be begun. While Tray does not answer, one finds out for all.
    fn has_room(&self) -> bool {
        let width = if self.upstream.planner.tray.is_answering() { WIDTH } else { 1 };
        self.state.working.len() < width
    }

    fn worked(&mut self, worked: Worked) {
        let (id, progress) = match worked {
            Worked::Intent(id, progress) => (id, progress),
            Worked::Resolved(id, Ok(lane)) => return self.state.queue.resolve(id, lane),
            Worked::Resolved(id, Err(waiting)) => (id, Ok(Progress::Waiting(waiting))),
            Worked::Attended(attended) => return self.attended(attended),
            Worked::Other => return,
        };
        let (mut accepted, mut rejected) = (0, 0);
        match progress {
            Ok(Progress::Accepted) => accepted = 1,
            Ok(Progress::Rejected) => rejected = 1,
            Ok(Progress::Held) => drop(self.state.held.insert(id)),
            Ok(Progress::Settled) => {}
            Ok(Progress::Waiting(waiting) | Progress::Unknown(waiting)) => {
                if waiting.problem.is_some() && !self.upstream.planner.tray.is_answering() {
                    self.state.paused_until = Some(Instant::now() + PAUSE);
                }
                return self.state.queue.wait(id, waiting, Instant::now());
            }
            Err(LocalError::Journal(JournalError::Damaged(id))) => drop(self.state.damaged.insert(id)),
            Err(error) => {
                self.obstructed(&error);
                self.state.paused_until = Some(Instant::now() + PAUSE);
                let problem = self.state.obstacle.clone();
                return self.state.queue.wait(id, Waiting { problem, after: None }, Instant::now());
            }
        }
        self.state.obstacle = None;
        self.state.queue.finish(id);
        self.board.post(|posted| {
            posted.ingest.accepted += accepted;
            posted.ingest.rejected += rejected;
        });
    }

    /// Something on this host is in the way.
    fn obstructed(&mut self, error: &LocalError) {
        let hint = error.hint();
        let error = clauses(error);
        tracing::error!(error, "ingest is at a stand");
        self.state.obstacle = Some(Problem { what: format!("ingest is at a stand: {error}"), hint });
    }

    fn wake_at(&self) -> Option<Instant> {
        let now = Instant::now();
        let state = &self.state;
        let look_at = if state.looking.is_some() { None } else { state.look_at };
        let due = state.queue.next_due(now).map(|due| due.max(state.paused_until.unwrap_or(now)));
        // With no room, it is the end of one that is waited for.
        let due = due.filter(|_| self.has_room());
        [look_at, due, state.clean_at].into_iter().flatten().min()
    }

    fn post(&self) {
        let state = &self.state;
        let mut problems = state.problems.clone();
        problems.extend(state.obstacle.clone());
        problems.extend(state.queue.problems());
        if !state.held.is_empty() {
            let what = format!("{} dropped documents may have been done twice or not at all", state.held.len());
            problems.push(Problem { what, hint: Some("see: trayvault ingest list".to_owned()) });
        }
        if let Some(first) = state.damaged.first() {
            let what = format!("{} intents in the journal are damaged, {first} among them", state.damaged.len());
            let hint = "restore journal.db from before, or discard them: trayvault ingest list".to_owned();
            problems.push(Problem { what, hint: Some(hint) });
        }
        self.board.post(|posted| {
            let ingest = &mut posted.ingest;
            ingest.pending = state.queue.len();
            ingest.held = state.held.len() + state.damaged.len();
            ingest.problems = problems;
        });
    }
}

async fn join(working: &mut JoinSet<Worked>) -> Result<Worked, TaskError> {
    match working.join_next().await {
        Some(worked) => Ok(worked?),
        None => pending().await,
    }
}

async fn looked(
    looking: &mut Option<JoinHandle<Result<Taken, LocalError>>>,
) -> Result<Result<Taken, LocalError>, TaskError> {
    match looking {
        Some(looking) => Ok(looking.await?),
        None => pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
