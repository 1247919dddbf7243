//! What becomes of one claimed file.

use std::{fs::File, path::Path};

use uuid::Uuid;

use super::{
    super::{
        claim::{Opened, Unread},
        contents,
        document::Document,
        intent::{Line, Slip},
        journal::{Admission, JournalError, now},
        lane::Lane,
        layout::Claimed,
        local::LocalError,
        outcome::Lasting,
        refusal::{Kind, Refusal},
    },
    Intake,
};
use crate::{
    audit::{Action, Event, Outcome, Target},
    clauses::clauses,
    failpoint::failpoint,
    feed::Happening,
    secret::SecretBytes,
};

/// The most documents of a file.
const MANY: usize = 10_000;

/// What became of one claimed file.
pub(super) enum Step {
    /// Its documents are to be journaled.
    Documents(Vec<Admission>, Removal),
    /// It is rejected, and that is written.
    Rejected(Removal),
    /// Its documents are journaled, or it is rejected, by an earlier round.
    Known(Removal),
    /// It is rejected, and was moved aside.
    Moved,
    /// It is gone.
    Gone,
    MoreToCome,
    Unreadable,
}

/// How a claimed file is removed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    /// It holds plaintext: it is overwritten first.
    Overwritten,
    /// It was sealed.
    Plain,
}

impl Intake {
    pub(super) fn take(&self, claimed: &Claimed, directory: &File, again: bool) -> Result<Step, LocalError> {
        if again && self.journal.holds(claimed.id)? {
            return Ok(Step::Known(Removal::Overwritten));
        }
        let bytes = match self.permitted.open(directory, Path::new(&claimed.entry)).and_then(Opened::read) {
            Ok(bytes) => bytes,
            Err(Unread::Refused(refusal)) => return self.refuse_unread(claimed, directory, &refusal),
            Err(Unread::Growing) => return Ok(Step::MoreToCome),
            Err(Unread::Gone) => return Ok(Step::Gone),
            Err(Unread::Failed(error)) => return Ok(unreadable(claimed, &error)),
        };
        // Overwritten by an earlier run, from the front and not always to the end: that comes after its reason is on the
        // disk.
        if again && bytes.expose_secret().first().is_none_or(|byte| *byte == 0) && self.outcomes.has_reason(claimed) {
            return Ok(Step::Known(Removal::Overwritten));
        }
        let (bytes, removal) = match self.unseal(&bytes)? {
            Ok(None) => (bytes, Removal::Overwritten),
            Ok(Some(opened)) => (opened, Removal::Plain),
            Err(refusal) => {
                let is_sealed = crate::sealed::is_sealed(bytes.expose_secret());
                let removal = if is_sealed { Removal::Plain } else { Removal::Overwritten };
                return self.refuse(claimed, &bytes, &refusal, removal);
            }
        };
        match contents::lines(&claimed.name, &bytes) {
            None => match Document::parse(&bytes) {
                Ok(document) => {
                    let slip = self.slip(claimed, claimed.id, None, &bytes, Some(&document), removal)?;
                    let admission = Admission { slip, document: bytes, refusal: None };
                    Ok(Step::Documents(vec![admission], removal))
                }
                Err(refusal) => self.refuse(claimed, &bytes, &refusal, removal),
            },
            Some(lines) if lines.is_empty() => {
                let refusal = Refusal::new(Kind::Document, "there is no document in the file");
                self.refuse(claimed, &bytes, &refusal, removal)
            }
            Some(lines) if lines.len() > MANY => {
                let refusal = Refusal::new(Kind::Document, format!("the file holds more than {MANY} documents"));
                self.refuse(claimed, &bytes, &refusal.hint("split it"), removal)
            }
            Some(lines) => {
                let admissions =
                    lines.into_iter().map(|(number, document)| self.line(claimed, number, document, removal));
                Ok(Step::Documents(admissions.collect::<Result<_, _>>()?, removal))
            }
        }
    }

    /// One line of a file of many.
    fn line(
        &self,
        claimed: &Claimed,
        number: usize,
        document: SecretBytes,
        removal: Removal,
    ) -> Result<Admission, LocalError> {
        let line = Some(Line { bulk: claimed.id, number });
        let (slip, refusal) = match Document::parse(&document) {
            Ok(parsed) => (self.slip(claimed, Uuid::new_v4(), line, &document, Some(&parsed), removal)?, None),
            Err(refusal) => (self.slip(claimed, Uuid::new_v4(), line, &document, None, removal)?, Some(refusal)),
        };
        Ok(Admission { slip, document, refusal })
    }

    fn slip(
        &self,
        claimed: &Claimed,
        id: Uuid,
        line: Option<Line>,
        bytes: &SecretBytes,
        document: Option<&Document<'_>>,
        removal: Removal,
    ) -> Result<Slip, LocalError> {
        let keys = self.outcomes.keyring.keys().map_err(JournalError::from)?;
        let fingerprint = keys.fingerprint("dropped document", bytes.expose_secret().trim_ascii());
        Ok(Slip {
            id,
            file: claimed.name.clone(),
            line,
            action: document.map(Document::action),
            received_at: now(),
            lane: document.map(|document| Lane::of(document, &self.cache)).unwrap_or_default(),
            fingerprint: Some(*fingerprint.as_bytes()),
            sealed: removal == Removal::Plain,
        })
    }

    fn refuse(
        &self,
        claimed: &Claimed,
        bytes: &SecretBytes,
        refusal: &Refusal,
        removal: Removal,
    ) -> Result<Step, LocalError> {
        self.audit.record(&Event::new(Action::Claim, Outcome::Done).on(Target::intent(claimed.id)))?;
        self.record_refusal(claimed, refusal)?;
        // What came sealed is not left in the clear. What does not open is as it was.
        let is_opened = removal == Removal::Plain && !crate::sealed::is_sealed(bytes.expose_secret());
        let outcomes = self.outcomes.sealing(is_opened);
        outcomes.rejected((claimed.id, &claimed.name), bytes, (refusal, now()), Lasting::Later)?;
        failpoint!("intake.rejected");
        Ok(Step::Rejected(removal))
    }

    fn refuse_unread(&self, claimed: &Claimed, directory: &File, refusal: &Refusal) -> Result<Step, LocalError> {
        self.record_refusal(claimed, refusal)?;
        match self.outcomes.unread(claimed, directory, (refusal, now())) {
            Ok(true) => Ok(Step::Rejected(Removal::Overwritten)),
            Ok(false) => Ok(Step::Moved),
            // Its owner may have a hand in that: it must not stop what others drop.
            Err(error) => Ok(unreadable(claimed, &error)),
        }
    }

    fn record_refusal(&self, claimed: &Claimed, refusal: &Refusal) -> Result<(), LocalError> {
        let (target, because) = (Target::intent(claimed.id), refusal.kind.clause());
        self.audit.record(&Event::new(Action::Reject, Outcome::Refused).on(target).because(because))?;
        self.feed.tell(None, Happening::Ingest { outcome: "rejected", id: None });
        tracing::warn!(intent = %claimed.id, file = ?claimed.name, because, "a dropped file was rejected");
        Ok(())
    }
}

fn unreadable(claimed: &Claimed, error: &dyn std::error::Error) -> Step {
    let error = clauses(error);
    tracing::warn!(intent = %claimed.id, file = ?claimed.name, error, "a claimed file can't be read for now");
    Step::Unreadable
}
