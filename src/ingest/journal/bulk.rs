//! The lines of a file of many documents: each is an intent of its own, and they leave the journal together.

use rusqlite::params;
use uuid::Uuid;

use super::{
    super::intent::{End, Ended, Final, Follows, Intent, Line, Slip, Unfinished},
    Journal, JournalError, rows,
};

/// The state of a line that is at its end: see [`Ended`].
const ENDED: i64 = 7;

/// What became of a line of a file of many.
pub(in super::super) struct LineEnd {
    pub(in super::super) slip: Slip,
    pub(in super::super) end: End,
}

/// Whether a file has a line that is not at its end. ENDED is the last state there is: the index leads to one that is not,
/// however many are.
pub(super) const IS_OPEN: &str = "SELECT EXISTS (SELECT 1 FROM intent WHERE bulk = ?1 AND state < ?2)";

impl Journal {
    /// Takes an intent out, once its outcome is written. A line of many stays, as ended, until the others are too: gives
    /// the file's id when it was the last one.
    pub(in super::super) async fn finish<S: Final>(&self, intent: Intent<S>) -> Result<Option<Uuid>, JournalError>
    where
        Ended: Follows<S>,
    {
        let Some(Line { bulk, .. }) = intent.slip.line else {
            self.remove(intent.slip.id).await?;
            return Ok(None);
        };
        let end = intent.state.clone().into();
        self.advance(intent, Ended { end }).await?;
        Ok(self.is_at_end(bulk).await?.then_some(bulk))
    }

    /// Whether all lines of a file are at their end. One that is damaged is not.
    pub(in super::super) async fn is_at_end(&self, bulk: Uuid) -> Result<bool, JournalError> {
        self.blocking(move |journal| {
            let open: bool =
                journal.connection().query_row(IS_OPEN, params![bulk.as_bytes(), ENDED], |row| row.get(0))?;
            Ok(!open)
        })
        .await
    }

    /// What became of a file's lines, in their order. Lines that are damaged are left out.
    pub(in super::super) async fn lines(&self, bulk: Uuid) -> Result<Vec<LineEnd>, JournalError> {
        self.blocking(move |journal| {
            let keys = journal.0.keyring.keys()?;
            let rows = rows::of_bulk(&journal.connection(), bulk)?;
            let ended = rows.iter().filter_map(|row| match row.open(&keys)? {
                Unfinished::Ended(Intent { slip, state: Ended { end }, .. }) => Some(LineEnd { slip, end }),
                _ => None,
            });
            Ok(ended.collect())
        })
        .await
    }

    /// Takes a file's lines out, once their outcome is written.
    pub(in super::super) async fn finish_lines(&self, bulk: Uuid) -> Result<(), JournalError> {
        self.blocking(move |journal| {
            journal.commit(|transaction, _| {
                transaction.execute("DELETE FROM intent WHERE bulk = ?1", [bulk.as_bytes()])?;
                Ok(())
            })
        })
        .await
    }
}
