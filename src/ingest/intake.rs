//! From the drop directory into the journal: claim, read, parse, journal, and the plaintext is gone. All of it blocks,
//! and all of it can be begun again where a crash cut it off: what is claimed and not journaled is read again, what is
//! both is removed.
//!
//! It goes by batches: what waits for the disk (the claims, the commit, what is overwritten, what is removed) waits once
//! for many files.

use std::{
    fs::File,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    claim::{Opened, Permitted, Unread},
    contents,
    document::Document,
    intent::{Line, Slip},
    journal::{Admission, Journal, JournalError, now},
    lane::Lane,
    layout::{Claimed, Dropped, Layout, LayoutError},
    outcome::{self, Lasting, OutcomeError, Outcomes},
    refusal::{Kind, Refusal},
    retention,
};
use crate::{
    audit::{Action, AuditError, AuditLog, Event, Outcome, Target},
    clauses::clauses,
    failpoint::failpoint,
    feed::{Feed, Happening},
    secret::SecretBytes,
    system::{files::FileError, overwrite::overwrite},
    vault::Cache,
};

/// The most documents of a file.
const MANY: usize = 10_000;

/// The most files of a batch, and the most bytes that they have together.
const BATCH: usize = 256;
const BATCH_BYTES: u64 = 8 * 1024 * 1024;

/// What on this host stands in the way. Nothing is taken in and nothing is sent then.
#[derive(Debug, thiserror::Error)]
pub(super) enum LocalError {
    /// The drop directory can't be used.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A file can't be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// An outcome can't be written.
    #[error(transparent)]
    Outcome(#[from] OutcomeError),
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
            Self::Layout(LayoutError::File(error)) | Self::File(error) | Self::Outcome(OutcomeError::File(error)) => {
                error.hint()
            }
            _ => None,
        }
    }
}

/// What takes documents in.
#[derive(Clone)]
pub(super) struct Intake {
    pub(super) layout: Layout,
    pub(super) journal: Journal,
    pub(super) outcomes: Outcomes,
    pub(super) cache: Cache,
    pub(super) audit: AuditLog,
    pub(super) feed: Feed,
    pub(super) permitted: Permitted,
    /// Where documents go on from the journal.
    pub(super) admitted: mpsc::UnboundedSender<Admitted>,
    /// Documents that are journaled and whose plaintext is not gone yet.
    pub(super) unsettled: Arc<Mutex<Vec<Admitted>>>,
}

/// A document that was journaled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    pub(super) id: Uuid,
    pub(super) lane: Lane,
}

/// What one round took in.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Files that were rejected.
    pub(super) rejected: u64,
    /// Files that can't be claimed or read for now.
    pub(super) unreadable: usize,
    /// Files that are held open for writing, or have more to come.
    pub(super) growing: usize,
}

/// What became of one claimed file.
enum Step {
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

/// How a file at the top level looks.
enum Looks {
    Whole,
    /// Somebody has it open for writing, or it is gone: it has not arrived.
    Open,
    /// It holds no whole document, and is young: it may have more to come.
    Unfinished,
}

/// How a claimed file is removed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Removal {
    /// It holds plaintext: it is overwritten first.
    Overwritten,
    /// It was sealed.
    Plain,
}

impl Intake {
    /// Clears away what an earlier run did not get to its end in writing, and takes in what it had claimed.
    pub(super) fn begin(&self) -> Result<Taken, LocalError> {
        self.layout.prepare()?;
        retention::remove_unfinished(&self.layout)?;
        self.resume()
    }

    /// Takes in what an earlier run had claimed.
    ///
    /// INVARIANT: when this returns without an error, no journaled document's plaintext can come back, not even after a
    /// loss of power: only then may an intent be sent and finished.
    pub(super) fn resume(&self) -> Result<Taken, LocalError> {
        self.layout.prepare()?;
        let mut taken = Taken::default();
        for batch in self.layout.all_claimed()?.chunks(BATCH) {
            self.process(batch, true, &mut taken)?;
        }
        // Not before all of it is gone: which of it these were in, nobody knows.
        self.hand_over();
        Ok(taken)
    }

    /// Takes in what is claimed and what is at rest.
    pub(super) fn round(&self) -> Result<Taken, LocalError> {
        let mut taken = self.resume()?;
        let found = self.layout.look(Timestamp::now())?;
        let entrance = Layout::open(self.layout.root())?;
        taken.growing += usize::from(found.unrested);
        let mut whole = Vec::new();
        for dropped in &found.dropped {
            match self.look_at(&entrance, dropped)? {
                Looks::Whole => whole.push(dropped),
                Looks::Open => taken.growing += 1,
                Looks::Unfinished => {
                    // What came after it waits with it, for as long as it is young: it may be of the same owner.
                    taken.growing += 1;
                    break;
                }
            }
            // What is whole is taken in as it is found: a directory of many files is not looked through first.
            if whole.len() == BATCH {
                self.claim(&std::mem::take(&mut whole), &mut taken)?;
            }
        }
        self.claim(&whole, &mut taken)?;
        Ok(taken)
    }

    /// Whether a file at the top level counts: its writer has closed it, and if it is young it holds documents. One that
    /// will be refused counts.
    fn look_at(&self, entrance: &File, dropped: &Dropped) -> Result<Looks, LocalError> {
        let opened = match self.permitted.open(entrance, Path::new(&dropped.name)) {
            Ok(opened) => opened,
            Err(Unread::Growing | Unread::Gone) => return Ok(Looks::Open),
            Err(Unread::Refused(_) | Unread::Failed(_)) => return Ok(Looks::Whole),
        };
        if !opened.is_young(Timestamp::now()) {
            return Ok(Looks::Whole);
        }
        let Ok(bytes) = opened.read() else { return Ok(Looks::Open) };
        let name = dropped.name.to_string_lossy();
        let is_whole = match self.unseal(&bytes)? {
            Ok(None) => contents::is_whole(&name, &bytes),
            Ok(Some(opened)) => contents::is_whole(&name, &opened),
            Err(_) => false,
        };
        Ok(if is_whole { Looks::Whole } else { Looks::Unfinished })
    }

    fn unseal(&self, bytes: &SecretBytes) -> Result<Result<Option<SecretBytes>, Refusal>, LocalError> {
        let unsealed = contents::unseal(bytes, &self.outcomes.keyring, self.permitted.max_size);
        Ok(unsealed.map_err(JournalError::from)?)
    }

    fn claim(&self, batch: &[&Dropped], taken: &mut Taken) -> Result<(), LocalError> {
        let mut claimed = Vec::new();
        let mut bytes = 0;
        for dropped in batch {
            match self.layout.claim(dropped) {
                Ok(one) => claimed.extend(one),
                Err(error) => {
                    tracing::warn!(file = ?dropped.name, %error, "a dropped file can't be claimed");
                    taken.unreadable += 1;
                }
            }
            bytes += dropped.size.min(self.permitted.max_size);
            if bytes >= BATCH_BYTES {
                self.process(&std::mem::take(&mut claimed), false, taken)?;
                self.hand_over();
                bytes = 0;
            }
        }
        self.process(&claimed, false, taken)?;
        self.hand_over();
        Ok(())
    }

    /// Takes claimed files in, `again` if an earlier round may have begun with them.
    fn process(&self, batch: &[Claimed], again: bool, taken: &mut Taken) -> Result<(), LocalError> {
        if batch.is_empty() {
            return Ok(());
        }
        failpoint!("intake.claimed");
        // A file that came back to the top level after its document was journaled would be taken for another.
        self.layout.settle_claims()?;
        failpoint!("intake.claims_synced");
        let directory = Layout::open(&self.layout.claimed())?;
        let (mut admissions, mut removals, mut rejected) = (Vec::new(), Vec::new(), 0);
        for claimed in batch {
            match self.take(claimed, &directory, again)? {
                Step::Documents(documents, removal) => {
                    self.audit.record(&Event::new(Action::Claim, Outcome::Done).on(Target::intent(claimed.id)))?;
                    admissions.extend(documents);
                    removals.push((claimed, removal));
                }
                Step::Rejected(removal) => {
                    rejected += 1;
                    removals.push((claimed, removal));
                }
                Step::Known(removal) => removals.push((claimed, removal)),
                Step::Moved => taken.rejected += 1,
                Step::Gone => {}
                Step::MoreToCome => taken.growing += 1,
                Step::Unreadable => taken.unreadable += 1,
            }
        }
        self.admit(&admissions)?;
        if rejected > 0 {
            // What was written with `Lasting::Later`.
            outcome::settle(&self.layout)?;
            taken.rejected += rejected;
        }
        self.remove(&removals, &directory)
    }

    fn take(&self, claimed: &Claimed, directory: &File, again: bool) -> Result<Step, LocalError> {
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

    pub(super) fn admit(&self, admissions: &[Admission]) -> Result<(), LocalError> {
        if admissions.is_empty() {
            return Ok(());
        }
        failpoint!("intake.read");
        self.journal.admit(admissions)?;
        // At once: whatever fails from here on, they are the journal's, and nobody else would tell of them.
        let admitted = admissions.iter().map(|Admission { slip, .. }| Admitted::of(slip));
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).extend(admitted);
        failpoint!("intake.journaled");
        for Admission { slip, .. } in admissions {
            self.audit.record(&Event::new(Action::Journal, Outcome::Done).on(Target::intent(slip.id)))?;
            tracing::info!(intent = %slip.id, file = ?slip.file, "a dropped document was journaled");
        }
        Ok(())
    }

    /// Removes claimed files whose documents are journaled, or whose outcome is written; once for many, what is plaintext
    /// is overwritten, and the disk has all of it before a name goes.
    fn remove(&self, removals: &[(&Claimed, Removal)], directory: &File) -> Result<(), LocalError> {
        if removals.is_empty() {
            return Ok(());
        }
        let plain: Vec<_> = removals.iter().filter(|(_, removal)| *removal == Removal::Overwritten).collect();
        for (claimed, _) in &plain {
            if let Err(error) = overwrite(directory, Path::new(&claimed.entry)) {
                tracing::warn!(intent = %claimed.id, %error, "a dropped file could not be overwritten: it is only unlinked");
            }
        }
        if !plain.is_empty() {
            outcome::settle(&self.layout)?;
        }
        failpoint!("intake.overwritten");
        for (claimed, _) in removals {
            self.layout.remove(claimed)?;
        }
        failpoint!("intake.removed");
        Ok(self.layout.settle_removals()?)
    }

    /// Lets documents go on whose plaintext is gone.
    fn hand_over(&self) {
        for admitted in std::mem::take(&mut *self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)) {
            // Nobody listens any more: the daemon ends, and they are in the journal.
            let _ = self.admitted.send(admitted);
        }
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

impl Admitted {
    pub(super) fn of(slip: &Slip) -> Self {
        Self { id: slip.id, lane: slip.lane.clone() }
    }
}

fn unreadable(claimed: &Claimed, error: &dyn std::error::Error) -> Step {
    let error = clauses(error);
    tracing::warn!(intent = %claimed.id, file = ?claimed.name, error, "a claimed file can't be read for now");
    Step::Unreadable
}
