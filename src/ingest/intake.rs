//! From the drop directory into the journal: claim, read, parse, journal, and the plaintext is gone. All of it blocks,
//! and all of it can be begun again where a crash cut it off: what is claimed and not journaled is read again, what is
//! both is removed.

use std::{io, time::Duration};

use jiff::Timestamp;

use super::{
    claim::{self, Content, Unread},
    document::Document,
    intent::Slip,
    journal::{Journal, JournalError, now},
    layout::{Claimed, Layout, LayoutError},
    outcome,
    refusal::{Kind, Refusal},
};
use crate::{
    audit::{Action, AuditError, AuditLog, Event, Outcome, Target},
    feed::{Feed, Happening},
    system::files::FileError,
};

/// How soon to look again at files that may still be being written.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What on this host stands in the way. Nothing is taken in and nothing is sent then.
#[derive(Debug, thiserror::Error)]
pub(super) enum LocalError {
    /// The drop directory can't be used.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// An outcome can't be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The journal can't be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The audit log can't be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl LocalError {
    /// What to do about it, where that is known.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Layout(LayoutError::File(error)) | Self::File(error) => error.hint(),
            _ => None,
        }
    }
}

/// What takes documents in.
#[derive(Clone)]
pub(super) struct Intake {
    pub(super) layout: Layout,
    pub(super) journal: Journal,
    pub(super) audit: AuditLog,
    pub(super) feed: Feed,
    pub(super) max_size: u64,
}

/// What one round took in.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Documents that were journaled.
    pub(super) journaled: usize,
    /// Files that were rejected.
    pub(super) rejected: u64,
    /// Claimed files that can't be read for now.
    pub(super) unreadable: usize,
    /// When to look again, if files may still be being written.
    pub(super) again: Option<Duration>,
}

/// What became of one claimed file.
enum Step {
    Journaled,
    Rejected,
    MoreToCome,
    Unreadable,
}

impl Intake {
    /// Takes in what is at rest.
    ///
    /// INVARIANT: when this returns without an error, no journaled document's plaintext can come back, not even after
    /// a loss of power: only then may an intent be sent and finished.
    pub(super) fn round(&self) -> Result<Taken, LocalError> {
        self.layout.prepare()?;
        let unrested = self.layout.claim(Timestamp::now())?;
        let mut taken = Taken { again: unrested.then_some(LOOK_AGAIN), ..Taken::default() };
        let claimed = self.layout.all_claimed()?;
        if !claimed.is_empty() {
            self.layout.settle_claims()?;
        }
        for one in &claimed {
            match self.take(one)? {
                Step::Journaled => taken.journaled += 1,
                Step::Rejected => taken.rejected += 1,
                Step::MoreToCome => taken.again = Some(LOOK_AGAIN),
                Step::Unreadable => taken.unreadable += 1,
            }
        }
        if !claimed.is_empty() {
            self.layout.settle_removals()?;
        }
        Ok(taken)
    }

    fn take(&self, claimed: &Claimed) -> Result<Step, LocalError> {
        if self.journal.holds(claimed.id)? {
            self.layout.remove(claimed)?;
            return Ok(Step::Journaled);
        }
        let content = match claim::read(claimed, &self.layout, self.max_size, Timestamp::now()) {
            Ok(content) => content,
            Err(Unread::Refused(refusal)) => return self.reject(claimed, &refusal),
            Err(Unread::Growing) => return Ok(Step::MoreToCome),
            Err(Unread::Failed(error)) => return Ok(unreadable(claimed, &error)),
        };
        match Document::parse(&content.bytes) {
            Ok(document) => self.admit(claimed, &content, document.action()),
            Err(_) if content.young => Ok(Step::MoreToCome),
            Err(refusal) => self.reject(claimed, &refusal),
        }
    }

    fn admit(&self, claimed: &Claimed, content: &Content, action: super::document::Action) -> Result<Step, LocalError> {
        let target = Target::intent(claimed.id);
        self.audit.record(&Event::new(Action::Claim, Outcome::Done).on(target.clone()))?;
        let file = claimed.name.clone();
        tracing::info!(intent = %claimed.id, ?file, %action, "a dropped document was claimed");
        self.journal.admit(Slip { id: claimed.id, file, action, received_at: now() }, &content.bytes)?;
        self.layout.remove(claimed)?;
        self.audit.record(&Event::new(Action::Journal, Outcome::Done).on(target))?;
        Ok(Step::Journaled)
    }

    fn reject(&self, claimed: &Claimed, refusal: &Refusal) -> Result<Step, LocalError> {
        let (target, because) = (Target::intent(claimed.id), refusal.kind.clause());
        if refusal.kind != Kind::File {
            self.audit.record(&Event::new(Action::Claim, Outcome::Done).on(target.clone()))?;
        }
        self.audit.record(&Event::new(Action::Reject, Outcome::Refused).on(target).because(because))?;
        outcome::reject_claimed(&self.layout, claimed, refusal, now())?;
        self.feed.tell(None, Happening::Ingest { outcome: "rejected", id: None });
        tracing::warn!(intent = %claimed.id, file = ?claimed.name, because, "a dropped file was rejected");
        Ok(Step::Rejected)
    }
}

fn unreadable(claimed: &Claimed, error: &io::Error) -> Step {
    tracing::warn!(intent = %claimed.id, file = ?claimed.name, %error, "a claimed file can't be read for now");
    Step::Unreadable
}
