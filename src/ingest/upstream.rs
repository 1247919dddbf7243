//! Brings intents to their end: sends once, reconciles what has no known answer, writes the outcome.

use std::{borrow::Cow, collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::{
    document::{Document, Request},
    intake::LocalError,
    intent::{Acked, Effect, Follows, Held, Intent, Journaled, Operation, Rejected, Sent, Slip, Unfinished},
    journal::{Journal, now},
    layout::Layout,
    outcome,
    plan::{Body, Obstacle, Plan, Planner},
    reconcile::{Unanswered, Verdict, reconcile},
    refusal::Refusal,
};
use crate::{
    audit::{Action, AuditLog, Event, Outcome, Target},
    authentication::{AuthenticationId, Metadata, Owner},
    principals::Session,
    tray::{Class, NewAuthentication, Replacement, TrayError},
    vault::{GoneReason, State, Write},
};

/// What delivers.
pub(super) struct Upstream {
    pub(super) planner: Planner,
    pub(super) journal: Journal,
    pub(super) layout: Layout,
    pub(super) audit: AuditLog,
    pub(super) settle: Duration,
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
    /// Another of the same owner comes first.
    Behind,
    /// Not yet.
    Waiting(Waiting),
}

/// Why an intent is not finished.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Whose later intents wait with it.
    pub(super) owner: Option<Owner>,
    /// What is in the way, if something is.
    pub(super) problem: Option<String>,
    /// When to go on; `None` after a time that grows.
    pub(super) after: Option<Duration>,
}

impl Upstream {
    /// Goes on with an intent. `busy` are the keys of owners that have an earlier one waiting.
    ///
    /// # Errors
    /// Something on this host is in the way; the intent is as the journal has it.
    pub(super) async fn resume(&self, intent: Unfinished, busy: &BTreeSet<String>) -> Result<Progress, LocalError> {
        match intent {
            Unfinished::Journaled(intent) => self.deliver(intent, busy).await,
            Unfinished::Sent(intent) => self.recover(intent).await,
            Unfinished::Acked(intent) => self.accept(intent).await,
            Unfinished::Rejected(intent) => self.leave(intent).await,
            Unfinished::Held(_) => Ok(Progress::Held),
        }
    }

    async fn deliver(&self, intent: Intent<Journaled>, busy: &BTreeSet<String>) -> Result<Progress, LocalError> {
        let bytes = self.journal.document(&intent.slip).await?;
        let document = match Document::parse(&bytes) {
            Ok(document) => document,
            Err(refusal) => return self.refuse(intent, None, refusal).await,
        };
        let owner = match self.planner.owner(&document).await {
            Ok(owner) => owner,
            Err(obstacle) => return self.obstructed(intent, None, obstacle).await,
        };
        if busy.contains(owner.key()) {
            return Ok(Progress::Behind);
        }
        let session = match self.planner.principals.session(&owner).await {
            Ok(session) => session,
            Err(error) => return self.obstructed(intent, Some(owner), Obstacle::of_session(&error)).await,
        };
        match self.planner.plan(&document, &owner, &session).await {
            Ok(Plan { sent, body }) => {
                self.begin(&intent.slip, &sent).await?;
                let intent = self.journal.advance(intent, sent).await?;
                self.send(intent, body.as_ref(), &session).await
            }
            Err(obstacle) => self.obstructed(intent, Some(owner), obstacle).await,
        }
    }

    /// Sends, once.
    ///
    /// INVARIANT: the intent is committed as sent, and the audit entry on stable storage, before this is called.
    async fn send(
        &self,
        intent: Intent<Sent>,
        body: Option<&Body<'_>>,
        session: &Session,
    ) -> Result<Progress, LocalError> {
        match self.call(&intent.state.operation, body, session).await {
            Ok((effect, id)) => self.acknowledge(intent, effect, id).await,
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
            Obstacle::Refused(refusal) => self.refuse(intent, Some(owner), refusal).await,
            obstacle if intent.state.attempt > 1 => {
                // This attempt did nothing; what an earlier one did is still not known.
                self.wait(Some(owner), obstacle).await
            }
            obstacle => {
                self.journal.advance(intent, Journaled {}).await?;
                self.wait(Some(owner), obstacle).await
            }
        }
    }

    /// Goes on with what may have been sent.
    async fn recover(&self, intent: Intent<Sent>) -> Result<Progress, LocalError> {
        let owner = intent.state.owner.clone();
        let session = match self.planner.principals.session(&owner).await {
            Ok(session) => session,
            // Refused or not, what was sent has to be known first.
            Err(error) => return self.wait(Some(owner), Obstacle::Later(error.to_string())).await,
        };
        let listed = match self.planner.list(&session).await {
            Ok(listed) => listed,
            Err(Obstacle::Refused(refusal)) => return self.wait(Some(owner), Obstacle::Later(refusal.reason)).await,
            Err(obstacle) => return self.wait(Some(owner), obstacle).await,
        };
        let creation = match &intent.state.operation {
            Operation::Create(creation) => creation,
            Operation::Delete { id } if listed.iter().all(|one| one.id != *id) => {
                let id = *id;
                return self.acknowledge(intent, Effect::Deleted, id).await;
            }
            // To send these again does no harm.
            Operation::Replace { .. } | Operation::Delete { .. } => {
                self.journal.advance(intent, Journaled {}).await?;
                return Ok(Progress::Waiting(Waiting {
                    owner: Some(owner),
                    after: Some(Duration::ZERO),
                    problem: None,
                }));
            }
        };
        let waited = Timestamp::now().duration_since(intent.state.sent_at);
        let unanswered = Unanswered {
            before: &creation.before,
            name: &creation.name,
            environment: &creation.environment,
            waited: Duration::try_from(waited).unwrap_or_default(),
            attempt: intent.state.attempt,
        };
        match reconcile(&unanswered, &listed, self.settle) {
            Verdict::Adopt(id) => self.acknowledge(intent, Effect::Adopted, id).await,
            Verdict::Wait(after) => {
                Ok(Progress::Waiting(Waiting { owner: Some(owner), after: Some(after), problem: None }))
            }
            Verdict::Resend => self.resend(intent, &session).await,
            Verdict::Hold(candidates) => {
                let slip = &intent.slip;
                tracing::error!(intent = %slip.id, file = ?slip.file, "several new authentications could be it: held");
                let because = "several new authentications could be what was sent";
                self.settled(slip, &intent.state, None, Outcome::Failed, because)?;
                let sent = intent.state.clone();
                self.journal.advance(intent, Held { sent, candidates }).await?;
                Ok(Progress::Held)
            }
        }
    }

    /// Sends a create again, which the listing has shown not to have been done; the ids from before the first attempt
    /// are kept, so that an attempt which appears later yet is still seen.
    async fn resend(&self, intent: Intent<Sent>, session: &Session) -> Result<Progress, LocalError> {
        let bytes = self.journal.document(&intent.slip).await?;
        let owner = Some(intent.state.owner.clone());
        let (Request::Create(whole) | Request::Upsert(whole)) = (match Document::parse(&bytes) {
            Ok(document) => document.request,
            Err(refusal) => return self.refuse(intent, owner, refusal).await,
        }) else {
            return Ok(Progress::Held);
        };
        let again = Sent { sent_at: now(), attempt: intent.state.attempt + 1, ..intent.state.clone() };
        tracing::warn!(intent = %intent.slip.id, attempt = again.attempt, "a create did not appear: sent again");
        self.begin(&intent.slip, &again).await?;
        let intent = self.journal.advance(intent, again).await?;
        Box::pin(self.send(intent, Some(&Body::of(&whole)), session)).await
    }

    async fn acknowledge(
        &self,
        intent: Intent<Sent>,
        effect: Effect,
        authentication: AuthenticationId,
    ) -> Result<Progress, LocalError> {
        let sent = intent.state.clone();
        let acked = self.journal.advance(intent, Acked { sent, effect, authentication, settled_at: now() }).await?;
        self.accept(acked).await
    }

    /// Writes the outcome of what was done. Begun again after a crash, it ends the same.
    async fn accept(&self, intent: Intent<Acked>) -> Result<Progress, LocalError> {
        let Acked { sent, effect, authentication, settled_at } = &intent.state;
        let because = match effect {
            Effect::Created => "created",
            Effect::Adopted => "found after its answer was lost",
            Effect::Updated => "updated",
            Effect::Deleted => "deleted",
        };
        self.settled(&intent.slip, sent, Some(*authentication), Outcome::Done, because)?;
        if let Err(error) = self.planner.cache.write(changes(sent, *authentication, *settled_at)).await {
            // The next synchronisation finds it.
            tracing::warn!(intent = %intent.slip.id, %error, "the cache does not know of it yet");
        }
        outcome::write_receipt(&self.layout, &intent)?;
        tracing::info!(
            intent = %intent.slip.id, file = ?intent.slip.file, %authentication, ?effect, "a document was accepted"
        );
        self.journal.finish(intent).await?;
        Ok(Progress::Accepted)
    }

    /// Rejects an intent.
    async fn refuse<S>(&self, intent: Intent<S>, owner: Option<Owner>, refusal: Refusal) -> Result<Progress, LocalError>
    where
        Rejected: Follows<S>,
    {
        let target = Target { owner, ..Target::intent(intent.slip.id) };
        self.audit.record(&Event::new(Action::Reject, Outcome::Refused).on(target).because(refusal.kind.clause()))?;
        let rejected = self.journal.advance(intent, Rejected { refusal, at: now() }).await?;
        self.leave(rejected).await
    }

    /// Leaves what was rejected, with its reason. Begun again after a crash, it ends the same.
    async fn leave(&self, intent: Intent<Rejected>) -> Result<Progress, LocalError> {
        let document = self.journal.document(&intent.slip).await?;
        let (slip, Rejected { refusal, at }) = (&intent.slip, &intent.state);
        outcome::reject_document(&self.layout, (slip.id, &slip.file), &document, refusal, *at)?;
        tracing::warn!(intent = %slip.id, file = ?slip.file, because = refusal.kind.clause(), "a document was rejected");
        self.journal.finish(intent).await?;
        Ok(Progress::Rejected)
    }

    async fn obstructed(
        &self,
        intent: Intent<Journaled>,
        owner: Option<Owner>,
        obstacle: Obstacle,
    ) -> Result<Progress, LocalError> {
        match obstacle {
            Obstacle::Refused(refusal) => self.refuse(intent, owner, refusal).await,
            obstacle => self.wait(owner, obstacle).await,
        }
    }

    async fn wait(&self, owner: Option<Owner>, obstacle: Obstacle) -> Result<Progress, LocalError> {
        let problem = match (obstacle, &owner) {
            (Obstacle::TokenRejected, Some(rejected)) => {
                if let Err(error) = self.planner.principals.token_rejected(rejected).await {
                    tracing::warn!(%error, "a rejected token could not be forgotten");
                }
                "Tray does not accept an owner's token".to_owned()
            }
            (Obstacle::TokenRejected, None) => "Tray does not accept a token".to_owned(),
            (Obstacle::Later(problem), _) => problem,
            (Obstacle::Refused(refusal), _) => refusal.reason,
        };
        Ok(Progress::Waiting(Waiting { owner, problem: Some(problem), after: None }))
    }

    /// Records what is about to be sent, on stable storage.
    async fn begin(&self, slip: &Slip, sent: &Sent) -> Result<(), LocalError> {
        let action = match sent.operation {
            Operation::Create(_) => Action::Create,
            Operation::Replace { .. } => Action::Update,
            Operation::Delete { .. } => Action::Delete,
        };
        let event = Event::new(action, Outcome::Begun).on(target(slip, sent, sent.operation.authentication()));
        let audit = self.audit.clone();
        match tokio::task::spawn_blocking(move || audit.record_synced(&event)).await {
            Ok(recorded) => Ok(recorded?),
            Err(_) => Err(super::journal::JournalError::Gone.into()),
        }
    }

    fn settled(
        &self,
        slip: &Slip,
        sent: &Sent,
        authentication: Option<AuthenticationId>,
        outcome: Outcome,
        because: &'static str,
    ) -> Result<(), LocalError> {
        let event = Event::new(Action::Settle, outcome).on(target(slip, sent, authentication)).because(because);
        Ok(self.audit.record(&event)?)
    }
}

fn target(slip: &Slip, sent: &Sent, authentication: Option<AuthenticationId>) -> Target {
    Target { authentication, owner: Some(sent.owner.clone()), intent: Some(slip.id) }
}

/// What the cache should know at once.
fn changes(sent: &Sent, id: AuthenticationId, at: Timestamp) -> Vec<Write> {
    let listed = |metadata: Cow<'_, Metadata>| Write::Listed { metadata: metadata.into_owned(), at };
    match &sent.operation {
        Operation::Create(creation) => vec![listed(Cow::Owned(creation.metadata(id, &sent.owner)))],
        // What is held is not what Tray has any more: it is pulled anew.
        Operation::Replace { metadata } => {
            vec![listed(Cow::Borrowed(metadata)), Write::Mark { id, state: State::Pending }]
        }
        Operation::Delete { .. } => vec![Write::Gone { id, reason: GoneReason::DeletedUpstream, at }],
    }
}
