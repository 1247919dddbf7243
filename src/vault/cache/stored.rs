//! A row as it is stored: what is sealed of it is still sealed.

use std::hint;

use jiff::Timestamp;
use rusqlite::Row;

use super::model::{GoneReason, Record, Secret, State};
use super::schema::{self, unsigned};
use super::{packed, records::column};
use crate::authentication::AuthenticationId;
use crate::vault::keyring::Keys;

/// How much a processor fetches at once, in bytes.
const LINE: usize = 64;

/// The plain columns of a record.
pub(super) struct Plain {
    state: State,
    gone: Option<GoneReason>,
    revision: u64,
    metadata_revision: u64,
    /// In epoch milliseconds, as they are authenticated.
    listed_at: i64,
    fetched_at: Option<i64>,
    expires_at: Option<i64>,
}

/// All of a row.
pub(super) struct Stored {
    id: AuthenticationId,
    plain: Plain,
    /// The metadata and, if one is held, the secret behind them: one place in memory, which is far from the processor as a
    /// rule.
    sealed: Box<[u8]>,
    metadata_len: usize,
    has_secret: bool,
}

impl Plain {
    /// `None` if any of the columns isn't what was written.
    fn of(row: &Row<'_>) -> Option<Self> {
        let gone: Option<i64> = row.get(column::GONE_REASON).ok()?;
        Some(Self {
            state: State::from_code(row.get(column::STATE).ok()?)?,
            gone: match gone {
                Some(code) => Some(GoneReason::from_code(code)?),
                None => None,
            },
            revision: unsigned(row, column::REVISION).ok()?,
            metadata_revision: unsigned(row, column::METADATA_REVISION).ok()?,
            listed_at: row.get(column::LISTED_AT).ok()?,
            fetched_at: row.get(column::FETCHED_AT).ok()?,
            expires_at: row.get(column::EXPIRES_AT).ok()?,
        })
    }

    fn record(&self, keys: &Keys, id: AuthenticationId, metadata: &[u8]) -> Option<Record> {
        let Self { state, gone, revision, metadata_revision, listed_at, fetched_at, expires_at } = *self;
        let opened = keys.open(&schema::metadata_place(&id, metadata_revision, &[listed_at]), metadata).ok()?;
        Some(Record {
            metadata: packed::unpack(id, &opened)?,
            state,
            gone,
            revision,
            listed_at: time(listed_at)?,
            fetched_at: optional_time(fetched_at)?,
            expires_at: optional_time(expires_at)?,
        })
    }
}

/// The record of a row that SQLite holds, or `None` if any of the columns it is made of isn't what was written.
pub(super) fn open_record(row: &Row<'_>, keys: &Keys, id: AuthenticationId) -> Option<Record> {
    Plain::of(row)?.record(keys, id, row.get_ref(column::METADATA).ok()?.as_blob().ok()?)
}

impl Stored {
    /// `None` if any of the columns isn't what was written, as far as that can be told without the keys.
    pub(super) fn of(row: &Row<'_>, id: AuthenticationId) -> Option<Self> {
        let blob = |column| row.get_ref(column).ok()?.as_blob_or_null().ok();
        let (metadata, secret) = (blob(column::METADATA)??, blob(column::SECRET)?);
        let sealed = [metadata, secret.unwrap_or_default()].concat().into();
        Some(Self { id, plain: Plain::of(row)?, sealed, metadata_len: metadata.len(), has_secret: secret.is_some() })
    }

    pub(super) fn id(&self) -> AuthenticationId {
        self.id
    }

    pub(super) fn has_secret(&self) -> bool {
        self.has_secret
    }

    /// How much memory it takes, nearly, in bytes.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.sealed.len()
    }

    /// The record, or `None` if it isn't what was written.
    pub(super) fn record(&self, keys: &Keys) -> Option<Record> {
        // The processor fetches all of it while the first part is opened.
        self.sealed.iter().step_by(LINE).for_each(|byte| {
            hint::black_box(*byte);
        });
        self.plain.record(keys, self.id, &self.sealed[..self.metadata_len])
    }

    /// The secret, or `None` if none is held, or it or what is authenticated with it isn't what was written.
    pub(super) fn open(&self, keys: &Keys) -> Option<Secret> {
        let Plain { state, revision, fetched_at, expires_at, .. } = self.plain;
        let secret = self.has_secret.then(|| &self.sealed[self.metadata_len..])?;
        let times = [fetched_at?, expires_at.unwrap_or_default()];
        let times = if expires_at.is_some() { &times[..] } else { &times[..1] };
        Some(Secret {
            revision,
            fetched_at: time(times[0])?,
            expires_at: optional_time(expires_at)?,
            state,
            body: keys.open(&schema::secret_place(&self.id, revision, times), secret).ok()?,
        })
    }
}

fn time(milliseconds: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(milliseconds).ok()
}

/// `None` for what isn't a time at all, `Some(None)` for none.
#[expect(clippy::option_option, reason = "the outer one is for `?`, in functions that give an Option")]
pub(super) fn optional_time(milliseconds: Option<i64>) -> Option<Option<Timestamp>> {
    match milliseconds {
        Some(milliseconds) => time(milliseconds).map(Some),
        None => Some(None),
    }
}

#[cfg(test)]
impl Stored {
    /// One that does not open, of so many bytes.
    pub(super) fn of_size(id: AuthenticationId, bytes: usize) -> Self {
        let plain = Plain {
            state: State::Pending,
            gone: None,
            revision: 0,
            metadata_revision: 0,
            listed_at: 0,
            fetched_at: None,
            expires_at: None,
        };
        Self { id, plain, sealed: vec![0; bytes].into(), metadata_len: bytes, has_secret: false }
    }
}
