//! What may have been sent and has no known answer: never sent again blindly.

use std::time::Duration;

use super::{
    document::{Document, Request},
    intent::{Effect, Held, Intent, Journaled, Operation, Sent},
    journal::now,
    local::LocalError,
    plan::{Body, Obstacle},
    queue::Waiting,
    reconcile::{Unanswered, Verdict, reconcile},
    upstream::{Progress, TURN, Upstream},
};
use crate::{audit::Outcome, authentication::Environment, failpoint::failpoint, principals::Session};

impl Upstream {
    /// Goes on with what may have been sent.
    pub(super) async fn recover(&self, intent: Intent<Sent>) -> Result<Progress, LocalError> {
        let owner = intent.state.owner.clone();
        if !self.turns.begin(intent.slip.id, intent.slip.lane.of_owner(&owner)) {
            return Ok(Progress::Unknown(Waiting { problem: None, after: Some(TURN) }));
        }
        let waited = self.turns.unanswered_for(intent.slip.id);
        let session = match self.planner.principals.session(&owner).await {
            Ok(session) => session,
            // Refused or not, what was sent has to be known first.
            Err(error) => {
                let waiting = self.put_off(Some(&owner), Obstacle::Later(error.to_string())).await;
                return Ok(Progress::Unknown(waiting));
            }
        };
        let mut listed = match self.planner.list(&session).await {
            Ok(listed) => listed,
            Err(obstacle) => return Ok(Progress::Unknown(self.put_off(Some(&owner), obstacle).await)),
        };
        let creation = match &intent.state.operation {
            Operation::Create(creation) => creation,
            Operation::Delete { id } if listed.iter().all(|one| one.id != *id) => {
                let (id, sent) = (*id, intent.state.clone());
                return self.acknowledge(intent, sent, Effect::Deleted, id).await;
            }
            // What is late must neither undo what comes after it nor be done while it is planned anew.
            Operation::Replace { .. } | Operation::Delete { .. } if waited < self.settle => {
                let after = Some(self.settle.saturating_sub(waited));
                return Ok(Progress::Unknown(Waiting { problem: None, after }));
            }
            // To send these again does no harm then.
            Operation::Replace { .. } | Operation::Delete { .. } => {
                self.journal.advance(intent, Journaled {}).await?;
                failpoint!("recover.taken_back");
                return Ok(Progress::Waiting(Waiting { after: Some(Duration::ZERO), problem: None }));
            }
        };
        let mut candidates = Vec::new();
        for mut one in listed.drain(..) {
            if one.name != creation.name || creation.before.contains(&one.id) {
                continue;
            }
            // A list that lagged behind when this one was planned did not have what another had just made.
            if self.journal.is_anothers(one.id, intent.slip.id).await? {
                continue;
            }
            match self.planner.environment_id(&one, &session).await {
                Ok(Some(id)) => one.environment = Some(Environment { id, title: String::new() }),
                Ok(None) => {}
                Err(obstacle) => return Ok(Progress::Unknown(self.put_off(Some(&owner), obstacle).await)),
            }
            candidates.push(one);
        }
        let unanswered = Unanswered {
            before: &creation.before,
            name: &creation.name,
            environment: &creation.environment,
            waited,
            attempt: intent.state.attempt,
        };
        match reconcile(&unanswered, &candidates, self.settle) {
            Verdict::Adopt(id) => {
                let sent = intent.state.clone();
                self.acknowledge(intent, sent, Effect::Adopted, id).await
            }
            Verdict::Wait(after) => Ok(Progress::Unknown(Waiting { after: Some(after), problem: None })),
            Verdict::Resend => self.resend(intent, &session).await,
            Verdict::Hold(candidates) => {
                let slip = &intent.slip;
                tracing::error!(intent = %slip.id, file = ?slip.file, "several new authentications could be it: held");
                let because = "several new authentications could be what was sent";
                self.settled(slip, &intent.state, None, Outcome::Failed, because)?;
                let sent = intent.state.clone();
                self.journal.advance(intent, Held { sent, candidates }).await?;
                failpoint!("recover.held");
                self.tell("held", None);
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
        self.turns.sent_again(intent.slip.id);
        failpoint!("recover.begun");
        let intent = self.journal.advance(intent, again).await?;
        failpoint!("recover.sent_again");
        Box::pin(self.send(intent, Some(&Body::of(&whole)), session)).await
    }
}
