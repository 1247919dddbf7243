//! The end of an intent: what was done or refused is recorded, told to the cache and left for whoever dropped it. Begun
//! again after a crash, each of it ends the same.

use jiff::Timestamp;

use super::{
    intake::LocalError,
    intent::{Acked, Effect, Follows, Intent, Operation, Rejected, Sent, Slip},
    journal::now,
    outcome,
    refusal::Refusal,
    upstream::{Progress, Upstream},
};
use crate::{
    audit::{Action, Event, Outcome, Target},
    authentication::{AuthenticationId, Owner},
    requests::PartRequest,
    vault::{GoneReason, State, Write},
};

impl Upstream {
    pub(super) async fn acknowledge(
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
    pub(super) async fn accept(&self, intent: Intent<Acked>) -> Result<Progress, LocalError> {
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
        let (effect, authentication, owner) = (*effect, *authentication, sent.owner.clone());
        self.journal.finish(intent).await?;
        self.tell(effect.as_str(), Some(authentication));
        // A queue that is full is one that leads to a synchronisation anyway.
        let _ = self.sync.try_send(PartRequest::Owner(owner));
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
        self.leave(rejected).await
    }

    /// Leaves what was rejected, with its reason. Begun again after a crash, it ends the same.
    pub(super) async fn leave(&self, intent: Intent<Rejected>) -> Result<Progress, LocalError> {
        let document = self.journal.document(&intent.slip).await?;
        let (slip, Rejected { refusal, at }) = (&intent.slip, &intent.state);
        outcome::reject_document(&self.layout, (slip.id, &slip.file), &document, refusal, *at)?;
        tracing::warn!(intent = %slip.id, file = ?slip.file, because = refusal.kind.clause(), "a document was rejected");
        self.journal.finish(intent).await?;
        self.tell("rejected", None);
        Ok(Progress::Rejected)
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
    Target { authentication, owner: Some(sent.owner.clone()), intent: Some(slip.id) }
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
