//! Brings intents on: plans, records, commits, sends once. How it goes on from there is `recover`'s and `settle`'s.

use std::time::Duration;

use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    document::{self, Document},
    intent::{Effect, Intent, Journaled, Operation, Sent, Slip, Unfinished},
    journal::{Accepted, Journal, JournalError},
    lane::Lane,
    local::LocalError,
    outcome::Outcomes,
    plan::{Body, Obstacle, Plan, Planner},
    queue::Waiting,
    settle::target,
    turns::Turns,
};
use crate::{
    audit::{Action, AuditLog, Event, Outcome},
    authentication::{AuthenticationId, Owner, UserId},
    failpoint::failpoint,
    feed::{Feed, Happening},
    principals::Session,
    requests::PartRequest,
    status::Problem,
    tray::{Class, NewAuthentication, Replacement, TrayError},
};

/// How often an update in part is planned at once, when what it is put over changes each time.
const PLANS: usize = 3;

/// How soon to try again when another of the same owner is under way, which is known only by now.
pub(super) const TURN: Duration = Duration::from_millis(100);

/// What delivers.
pub(super) struct Upstream {
    pub(super) planner: Planner,
    pub(super) journal: Journal,
    pub(super) outcomes: Outcomes,
    pub(super) audit: AuditLog,
    pub(super) sync: mpsc::Sender<PartRequest>,
    pub(super) feed: Feed,
    pub(super) settle: Duration,
    pub(super) duplicate_window: Duration,
    pub(super) turns: Turns,
    /// Held while the outcome of a file of many is written.
    pub(super) ending: tokio::sync::Mutex<()>,
}

/// How far an intent came.
#[derive(Debug)]
pub(super) enum Progress {
    /// Done, and its receipt written.
    Accepted,
    /// Not to be done, and the reason written.
    Rejected,
    /// For a person.
    Held,
    /// Somebody has settled it.
    Settled,
    /// Not yet, and nothing of it was sent.
    Waiting(Waiting),
    /// It may have been sent, and that is not known yet.
    Unknown(Waiting),
}

impl Upstream {
    /// Goes on with the intent of an id.
    ///
    /// # Errors
    /// Something on this host is in the way; the intent is as the journal has it.
    pub(super) async fn go_on(&self, id: Uuid) -> Result<Progress, LocalError> {
        match self.journal.intent(id).await? {
            Some(intent) => self.resume(intent).await,
            None => Ok(Progress::Settled),
        }
    }

    /// Finds out whose lane it is, where a document names an end user of whom no more is known.
    pub(super) async fn resolve(&self, lane: Lane, user: &UserId) -> Result<Lane, Waiting> {
        match self.planner.principals.end_user(user).await {
            Ok(user) => Ok(lane.resolved(user.as_ref().map(|user| &user.external_user_id))),
            Err(error) => match Obstacle::of_session(&error) {
                // It is refused when its turn comes.
                Obstacle::Refused(_) => Ok(lane.resolved(None)),
                obstacle => Err(self.put_off(None, obstacle).await),
            },
        }
    }

    async fn resume(&self, intent: Unfinished) -> Result<Progress, LocalError> {
        let id = intent.slip().id;
        let progress = match intent {
            Unfinished::Journaled(intent) => self.deliver(intent).await,
            Unfinished::Sent(intent) => self.recover(intent).await,
            Unfinished::Acked(intent) => self.accept(intent).await,
            Unfinished::Rejected(intent) => self.leave(intent).await,
            Unfinished::Duplicate(intent) => self.note_duplicate(intent).await,
            // A line that waits for the others of its file is at its end; if it was the last, the file's outcome may yet be due.
            Unfinished::Ended(intent) => match intent.slip.line {
                Some(line) => self.end_bulk_if_due(line.bulk).await.map(|()| Progress::Accepted),
                None => Ok(Progress::Accepted),
            },
            Unfinished::Held(_) => Ok(Progress::Held),
        };
        // What may have been sent keeps its turn: to create beside it would make the listing say less.
        if !matches!(progress, Ok(Progress::Unknown(_)) | Err(_)) {
            self.turns.end(id);
        }
        progress
    }

    async fn deliver(&self, intent: Intent<Journaled>) -> Result<Progress, LocalError> {
        let bytes = self.journal.document(&intent.slip).await?;
        let document = match Document::parse(&bytes) {
            Ok(document) => document,
            Err(refusal) => return self.refuse(intent, None, refusal).await,
        };
        let owner = match self.planner.owner(&document).await {
            Ok(owner) => owner,
            Err(obstacle) => return self.obstructed(intent, None, obstacle).await,
        };
        if !self.turns.begin(intent.slip.id, intent.slip.lane.of_owner(&owner)) {
            return Ok(Progress::Waiting(Waiting { problem: None, after: Some(TURN) }));
        }
        let session = match self.planner.principals.session(&owner).await {
            Ok(session) => session,
            Err(error) => return self.obstructed(intent, Some(owner), Obstacle::of_session(&error)).await,
        };
        if let Some(Accepted { intent: of, authentication }) = self.accepted_original(&intent.slip).await? {
            // A copy of a delete, or of what still is there. That it is gone is Tray's to say.
            let is_done = intent.slip.action == Some(document::Action::Delete)
                || match self.planner.exists(authentication, &session).await {
                    Ok(is_there) => is_there,
                    Err(obstacle) => return self.obstructed(intent, Some(owner), obstacle).await,
                };
            if is_done {
                return self.repeat(intent, of, Some(authentication)).await;
            }
        }
        if let Some(of) = self.held_original(&intent.slip).await? {
            return self.repeat(intent, of, None).await;
        }
        let mut intent = intent;
        for _ in 0..PLANS {
            let Plan { sent, body, base } = match self.planner.plan(&document, &owner, &session).await {
                Ok(plan) => plan,
                Err(obstacle) => return self.obstructed(intent, Some(owner), obstacle).await,
            };
            failpoint!("deliver.planned");
            self.begin(&intent.slip, &sent).await?;
            failpoint!("deliver.begun");
            let sent = self.journal.advance(intent, sent).await?;
            failpoint!("deliver.sent");
            let is_unchanged = match &base {
                Some(base) => self.planner.is_unchanged(base, &session).await,
                None => Ok(true),
            };
            match is_unchanged {
                Ok(true) => return self.send(sent, body.as_ref(), &session).await,
                Ok(false) => intent = self.unsent(sent, "it changed meanwhile: nothing was sent").await?,
                Err(obstacle) => {
                    let intent = self.unsent(sent, "it could not be read again: nothing was sent").await?;
                    return self.obstructed(intent, Some(owner), obstacle).await;
                }
            }
        }
        let changing = Obstacle::Later("it changes while it is updated".to_owned());
        Ok(Progress::Waiting(self.put_off(Some(&owner), changing).await))
    }

    /// Takes back what was to be sent and was not.
    async fn unsent(&self, intent: Intent<Sent>, because: &'static str) -> Result<Intent<Journaled>, LocalError> {
        let Intent { slip, state, .. } = &intent;
        self.settled(slip, state, state.operation.authentication(), Outcome::Failed, because)?;
        Ok(self.journal.advance(intent, Journaled {}).await?)
    }

    /// Sends, once.
    ///
    /// INVARIANT: the intent is committed as sent, and the audit entry on stable storage, before this is called.
    pub(super) async fn send(
        &self,
        intent: Intent<Sent>,
        body: Option<&Body<'_>>,
        session: &Session,
    ) -> Result<Progress, LocalError> {
        match self.call(&intent.state.operation, body, session).await {
            Ok((effect, id)) => {
                let sent = intent.state.clone();
                self.acknowledge(intent, sent, effect, id).await
            }
            Err(error) => self.failed(intent, &error).await,
        }
    }

    async fn call(
        &self,
        operation: &Operation,
        body: Option<&Body<'_>>,
        session: &Session,
    ) -> Result<(Effect, AuthenticationId), TrayError> {
        let (tray, acting) = (&self.planner.tray, session.acting());
        match (operation, body) {
            (Operation::Create(creation), Some(body)) => {
                let new = NewAuthentication {
                    name: &body.name,
                    service_environment_id: &creation.environment,
                    user_data: &body.user_data,
                    credentials: &body.credentials,
                    scopes: body.scopes.as_deref().unwrap_or_default(),
                    on_prem_agent_group_id: body.on_prem_agent_group_id.as_deref(),
                };
                tray.create(acting, &new).await.map(|id| (Effect::Created, id))
            }
            (Operation::Replace { metadata }, Some(body)) => {
                let replacement = Replacement {
                    name: &body.name,
                    user_data: &body.user_data,
                    credentials: &body.credentials,
                    scopes: body.scopes.as_deref(),
                    on_prem_agent_group_id: body.on_prem_agent_group_id.as_deref(),
                };
                tray.replace(acting, metadata.id, &replacement).await.map(|()| (Effect::Updated, metadata.id))
            }
            (Operation::Delete { id }, _) => match tray.delete(acting, *id).await {
                // It was listed a moment ago, so it is gone by now, by whomever.
                Err(error) if error.class != Class::Gone => Err(error),
                _ => Ok((Effect::Deleted, *id)),
            },
            (_, None) => unreachable!("only a delete is planned without a body"),
        }
    }

    /// What an error of the call means, by its class and what was called.
    async fn failed(&self, intent: Intent<Sent>, error: &TrayError) -> Result<Progress, LocalError> {
        let slip = &intent.slip;
        tracing::warn!(intent = %slip.id, file = ?slip.file, %error, "a document was not accepted");
        let owner = intent.state.owner.clone();
        match Obstacle::of_call(error) {
            _ if error.class == Class::UnknownOutcome => self.recover(intent).await,
            // An earlier attempt may yet appear, which the list has shown for long enough not to have been done.
            Obstacle::Refused(refusal) if intent.state.attempt > 1 => {
                let hint = "look whether Tray has it: it was sent before, and that attempt may appear late";
                self.refuse(intent, Some(owner), refusal.hint(hint)).await
            }
            // This attempt did nothing; what an earlier one did is still not known.
            obstacle if intent.state.attempt > 1 => Ok(Progress::Unknown(self.put_off(Some(&owner), obstacle).await)),
            Obstacle::Refused(refusal) => self.refuse(intent, Some(owner), refusal).await,
            obstacle => {
                self.journal.advance(intent, Journaled {}).await?;
                failpoint!("deliver.taken_back");
                Ok(Progress::Waiting(self.put_off(Some(&owner), obstacle).await))
            }
        }
    }

    async fn obstructed(
        &self,
        intent: Intent<Journaled>,
        owner: Option<Owner>,
        obstacle: Obstacle,
    ) -> Result<Progress, LocalError> {
        match obstacle {
            Obstacle::Refused(refusal) => self.refuse(intent, owner, refusal).await,
            obstacle => Ok(Progress::Waiting(self.put_off(owner.as_ref(), obstacle).await)),
        }
    }

    /// What an obstacle means for when to go on; a token that Tray does not accept is forgotten.
    pub(super) async fn put_off(&self, owner: Option<&Owner>, obstacle: Obstacle) -> Waiting {
        let what = match (obstacle, owner) {
            (Obstacle::TokenRejected, Some(rejected)) => {
                if let Err(error) = self.planner.principals.token_rejected(rejected, None).await {
                    tracing::warn!(%error, "a rejected token could not be forgotten");
                }
                "Tray does not accept an owner's token".to_owned()
            }
            (Obstacle::TokenRejected, None) => "Tray does not accept a token".to_owned(),
            (Obstacle::Later(problem), _) => problem,
            (Obstacle::Refused(refusal), _) => refusal.reason,
        };
        Waiting { problem: Some(Problem { what, hint: None }), after: None }
    }

    /// Records what is about to be sent, on stable storage.
    pub(super) async fn begin(&self, slip: &Slip, sent: &Sent) -> Result<(), LocalError> {
        let action = match sent.operation {
            Operation::Create(_) => Action::Create,
            Operation::Replace { .. } => Action::Update,
            Operation::Delete { .. } => Action::Delete,
        };
        let event = Event::new(action, Outcome::Begun).on(target(slip, sent, sent.operation.authentication()));
        let audit = self.audit.clone();
        match tokio::task::spawn_blocking(move || audit.record_synced(&event)).await {
            Ok(recorded) => Ok(recorded?),
            Err(_) => Err(JournalError::Gone.into()),
        }
    }

    /// Tells what became of a document.
    pub(super) fn tell(&self, outcome: &'static str, id: Option<AuthenticationId>) {
        let record = id.and_then(|id| self.planner.cache.record(id).ok().flatten());
        self.feed.tell(record.as_ref().map(|record| &record.metadata), Happening::Ingest { outcome, id });
    }
}
