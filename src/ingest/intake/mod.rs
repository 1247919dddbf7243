//! From the drop directory into the journal: claim, read, parse, journal, and the plaintext is gone. All of it blocks,
//! and all of it can be begun again where a crash cut it off: what is claimed and not journaled is read again, what is
//! both is removed.
//!
//! It goes by batches: what waits for the disk (the claims, the commit, what is overwritten, what is removed) waits once
//! for many files.

mod take;

use std::{
    fs::File,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use tokio::sync::mpsc;
use uuid::Uuid;

use self::take::{Removal, Step};
use super::{
    claim::{Permitted, Unread},
    contents,
    intent::Slip,
    journal::{Admission, Journal, JournalError},
    lane::Lane,
    layout::{Claimed, Dropped, Layout},
    local::LocalError,
    outcome::{self, Outcomes},
    refusal::Refusal,
    retention,
};
use crate::{
    audit::{Action, AuditLog, Event, Outcome, Target},
    failpoint::failpoint,
    feed::Feed,
    secret::SecretBytes,
    system::overwrite::overwrite,
    vault::Cache,
};

/// The most files of a batch, and the most bytes that they have together.
const BATCH: usize = 256;
const BATCH_BYTES: u64 = 8 * 1024 * 1024;

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

/// How a file at the top level looks.
enum Looks {
    Whole,
    /// Somebody has it open for writing, or it is gone: it has not arrived.
    Open,
    /// It holds no whole document, and is young: it may have more to come.
    Unfinished,
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
}

impl Admitted {
    pub(super) fn of(slip: &Slip) -> Self {
        Self { id: slip.id, lane: slip.lane.clone() }
    }
}
