//! What the keeping of the vault asks of the journal: to be sealed anew, and to be made safe when it comes out of a backup.

use rusqlite::params;

use super::{
    super::{
        intent::{Rejected, Stage, Unfinished},
        refusal::{Kind, Refusal},
    },
    Journal, JournalError, now, rows,
};

/// What re-sealing came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// How many intents there are.
    pub seen: u64,
    /// How many of them don't open in any epoch: they stay as they are.
    pub damaged: u64,
}

impl Journal {
    /// Re-seals what earlier epochs sealed, all of it in one commit: there are few intents at a time.
    ///
    /// # Errors
    /// [`JournalError`]; nothing was changed then.
    pub async fn reseal(&self) -> Result<Resealed, JournalError> {
        self.blocking(|journal| {
            let mut resealed = Resealed::default();
            journal.commit(|transaction, keys| {
                let rows = rows::all(transaction)?;
                for row in &rows {
                    let payload: Vec<u8> =
                        transaction
                            .query_row("SELECT payload FROM intent WHERE id = ?1", [&row.id], |row| row.get(0))?;
                    let (context, payload) = row.resealed(keys, &payload);
                    // Each for itself: of one that is damaged the other may yet be of use.
                    resealed.damaged += u64::from(context.is_err() || payload.is_err());
                    match (context.ok().flatten(), payload.ok().flatten()) {
                        (None, None) => {}
                        (context, payload) => {
                            let sql = "UPDATE intent SET context = coalesce(?2, context), \
                                       payload = coalesce(?3, payload) WHERE id = ?1";
                            transaction.execute(sql, params![row.id, context, payload])?;
                        }
                    }
                }
                resealed.seen = rows.len() as u64;
                Ok(())
            })?;
            Ok(resealed)
        })
        .await
    }

    /// Makes a journal safe that comes out of a backup: what was waiting then may have been sent since, and what was sent
    /// may have been overtaken by what came after. It is rejected, so that the document comes back to whoever dropped it.
    /// Gives how many those are. Blocks.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn reject_unsettled(&self) -> Result<usize, JournalError> {
        let mut rejected = 0;
        for intent in self.read_contents()?.unfinished {
            let (slip, revision) = match intent {
                Unfinished::Journaled(intent) => (intent.slip, intent.revision),
                Unfinished::Sent(intent) => (intent.slip, intent.revision),
                Unfinished::Acked(_)
                | Unfinished::Rejected(_)
                | Unfinished::Held(_)
                | Unfinished::Duplicate(_)
                | Unfinished::Ended(_) => continue,
            };
            let refusal = Refusal::new(Kind::Restored, Kind::Restored.clause())
                .hint("look whether Tray has it; if not, drop it again");
            self.write_stage(&slip, &Stage::Rejected(Rejected { refusal, at: now() }), revision + 1)?;
            rejected += 1;
        }
        Ok(rejected)
    }
}
