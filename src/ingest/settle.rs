//! The end of an intent: what was done or refused is recorded, told to the cache and left for whoever dropped it. Begun
//! again after a crash, each of it ends the same.

use jiff::Timestamp;
use uuid::Uuid;

use super::{
    intent::{Acked, Duplicate, Effect, End, Ended, Final, Follows, Intent, Operation, Rejected, Sent, Slip},
    journal::{Accepted, JournalError, LineEnd, now},
    local::LocalError,
    outcome::{Lasting, OutcomeError, Outcomes},
    refusal::Refusal,
    upstream::{Progress, Upstream},
};
use crate::{
    audit::{Action, Event, Outcome, Target},
    authentication::{AuthenticationId, Owner},
    failpoint::failpoint,
    requests::PartRequest,
    vault::{GoneReason, State, Write},
};

impl Upstream {
    pub(super) async fn acknowledge<S>(
        &self,
        intent: Intent<S>,
        sent: Sent,
        effect: Effect,
        authentication: AuthenticationId,
    ) -> Result<Progress, LocalError>
    where
        Acked: Follows<S>,
    {
        failpoint!("settle.answered");
        let acked = self.journal.advance(intent, Acked { sent, effect, authentication, settled_at: now() }).await?;
        failpoint!("settle.acked");
        self.accept(acked).await
    }

    /// Writes the outcome of what was done. Begun again after a crash, it ends the same.
    pub(super) async fn accept(&self, intent: Intent<Acked>) -> Result<Progress, LocalError> {
        let Acked { sent, effect, authentication, settled_at } = &intent.state;
        let because = match effect {
            Effect::Created => "created",
            Effect::Adopted => "found after its answer was lost",
            Effect::Updated => "updated",
            Effect::Deleted => "deleted",
        };
        self.settled(&intent.slip, sent, Some(*authentication), Outcome::Done, because)?;
        failpoint!("settle.recorded");
        if let Err(error) = self.planner.cache.write(changes(sent, *authentication, *settled_at)).await {
            // The next synchronisation finds it.
            tracing::warn!(intent = %intent.slip.id, %error, "the cache does not know of it yet");
        }
        failpoint!("settle.cached");
        if intent.slip.line.is_none() {
            let (slip, acked) = (intent.slip.clone(), intent.state.clone());
            self.write(move |outcomes| outcomes.accepted(&slip, &acked)).await?;
        }
        failpoint!("settle.receipt_written");
        tracing::info!(
            intent = %intent.slip.id, file = ?intent.slip.file, %authentication, ?effect, "a document was accepted"
        );
        let (effect, authentication, owner) = (*effect, *authentication, sent.owner.clone());
        self.finish(intent).await?;
        self.tell(effect.as_str(), Some(authentication));
        // A queue that is full is one that leads to a synchronisation anyway.
        let _ = self.sync.try_send(PartRequest::Owner(owner));
        Ok(Progress::Accepted)
    }

    /// Takes a copy of what was accepted for what it is: nothing is done again.
    pub(super) async fn repeat<S>(
        &self,
        intent: Intent<S>,
        of: Uuid,
        authentication: Option<AuthenticationId>,
    ) -> Result<Progress, LocalError>
    where
        Duplicate: Follows<S>,
    {
        let duplicate = self.journal.advance(intent, Duplicate { of, authentication, at: now() }).await?;
        failpoint!("settle.duplicate");
        self.note_duplicate(duplicate).await
    }

    /// Writes the receipt of a copy. Begun again after a crash, it ends the same.
    pub(super) async fn note_duplicate(&self, intent: Intent<Duplicate>) -> Result<Progress, LocalError> {
        let slip = &intent.slip;
        let target = Target { authentication: intent.state.authentication, ..Target::intent(slip.id) };
        let event = Event::new(Action::Settle, Outcome::Done).on(target);
        self.audit.record(&event.because("a copy of one that was accepted: nothing was done"))?;
        if slip.line.is_none() {
            let (slip, duplicate) = (slip.clone(), intent.state.clone());
            self.write(move |outcomes| outcomes.duplicate(&slip, &duplicate)).await?;
        }
        tracing::info!(intent = %slip.id, file = ?slip.file, of = %intent.state.of, "a copy of a document was dropped");
        self.finish(intent).await?;
        self.tell("duplicate", None);
        Ok(Progress::Accepted)
    }

    /// Rejects an intent.
    pub(super) async fn refuse<S>(
        &self,
        intent: Intent<S>,
        owner: Option<Owner>,
        refusal: Refusal,
    ) -> Result<Progress, LocalError>
    where
        Rejected: Follows<S>,
    {
        let target = Target { owner, ..Target::intent(intent.slip.id) };
        self.audit.record(&Event::new(Action::Reject, Outcome::Refused).on(target).because(refusal.kind.clause()))?;
        let rejected = self.journal.advance(intent, Rejected { refusal, at: now() }).await?;
        failpoint!("settle.rejected");
        self.leave(rejected).await
    }

    /// Leaves what was rejected, with its reason. Begun again after a crash, it ends the same.
    pub(super) async fn leave(&self, intent: Intent<Rejected>) -> Result<Progress, LocalError> {
        let (slip, refusal) = (&intent.slip, &intent.state.refusal);
        if slip.line.is_none() {
            let document = self.journal.document(slip).await?;
            let (slip, state) = (slip.clone(), intent.state.clone());
            let leave = move |outcomes: &Outcomes| {
                let why = (&state.refusal, state.at);
                outcomes.sealing(slip.sealed).rejected((slip.id, &slip.file), &document, why, Lasting::Now)
            };
            self.write(leave).await?;
        }
        failpoint!("settle.reason_written");
        tracing::warn!(intent = %slip.id, file = ?slip.file, because = refusal.kind.clause(), "a document was rejected");
        self.finish(intent).await?;
        self.tell("rejected", None);
        Ok(Progress::Rejected)
    }

    /// Writes an outcome. That waits for the disk: not on a thread that callers are answered on.
    async fn write(
        &self,
        write: impl FnOnce(&Outcomes) -> Result<(), OutcomeError> + Send + 'static,
    ) -> Result<(), LocalError> {
        let outcomes = self.outcomes.clone();
        let written = tokio::task::spawn_blocking(move || write(&outcomes)).await;
        Ok(written.map_err(|_| JournalError::Gone)??)
    }

    /// Takes an intent out of the journal; with the last line of a file of many, the file's outcome is written.
    async fn finish<S: Final>(&self, intent: Intent<S>) -> Result<(), LocalError>
    where
        Ended: Follows<S>,
    {
        let ended = self.journal.finish(intent).await?;
        failpoint!("settle.finished");
        match ended {
            Some(bulk) => self.end_bulk(bulk).await,
            None => Ok(()),
        }
    }

    /// Writes the outcome of a file of many, if a crash came between the end of its last line and that.
    pub(super) async fn end_bulk_if_due(&self, bulk: Uuid) -> Result<(), LocalError> {
        if self.journal.is_at_end(bulk).await? { self.end_bulk(bulk).await } else { Ok(()) }
    }

    /// Writes the outcome of a file of many whose lines are all at their end. Begun again after a crash, it ends the same.
    async fn end_bulk(&self, bulk: Uuid) -> Result<(), LocalError> {
        // The last two lines may come to their ends at once, and each find that it was the last.
        let _alone = self.ending.lock().await;
        let lines = self.journal.lines(bulk).await?;
        let mut rejected = Vec::new();
        for LineEnd { slip, end } in &lines {
            if matches!(end, End::Rejected(_)) {
                rejected.push(self.journal.document(slip).await?);
            }
        }
        let is_sealed = lines.iter().any(|line| line.slip.sealed);
        self.write(move |outcomes| outcomes.sealing(is_sealed).bulk(bulk, &lines, &rejected)).await?;
        failpoint!("settle.bulk_written");
        self.journal.finish_lines(bulk).await?;
        failpoint!("settle.lines_finished");
        Ok(())
    }

    /// The document of which this one is a copy, and which was accepted within the window.
    pub(super) async fn accepted_original(&self, slip: &Slip) -> Result<Option<Accepted>, LocalError> {
        let Some(fingerprint) = slip.fingerprint else { return Ok(None) };
        Ok(self.journal.accepted_copy(fingerprint, self.duplicate_window).await?)
    }

    /// The document of which this one is a copy, and which is held.
    pub(super) async fn held_original(&self, slip: &Slip) -> Result<Option<Uuid>, LocalError> {
        let Some(fingerprint) = slip.fingerprint else { return Ok(None) };
        Ok(self.journal.held_copy(fingerprint).await?.filter(|held| *held != slip.id))
    }

    pub(super) fn settled(
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

/// What an entry of the audit log is about.
pub(super) fn target(slip: &Slip, sent: &Sent, authentication: Option<AuthenticationId>) -> Target {
    Target { authentication, owner: Some(sent.owner.clone()), intent: Some(slip.id), name: None }
}

/// What the cache should know at once.
fn changes(sent: &Sent, id: AuthenticationId, at: Timestamp) -> Vec<Write> {
    match &sent.operation {
        Operation::Create(creation) => vec![Write::Listed { metadata: creation.metadata(id, &sent.owner), at }],
        // What is held is not what Tray has any more: it is pulled anew.
        Operation::Replace { metadata } => {
            vec![Write::Listed { metadata: metadata.clone(), at }, Write::Mark { id, state: State::Pending }]
        }
        Operation::Delete { .. } => vec![Write::Gone { id, reason: GoneReason::DeletedUpstream, at }],
    }
}
