//! The rows of `intent`, and how their columns are sealed.

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::intent::{Slip, Stage, Unfinished};
use crate::{
    crypto::CryptoError,
    vault::{Damaged, Keys, Place},
};

/// The sealed column `context`.
#[derive(Serialize, Deserialize)]
struct Context {
    slip: Slip,
    stage: Stage,
}

/// A row, but for its payload.
pub(super) struct Row {
    pub(super) id: Vec<u8>,
    received_at: i64,
    state: i64,
    revision: i64,
    context: Vec<u8>,
}

impl Row {
    fn place<'a>(&'a self, times: &'a [i64; 2]) -> Place<'a> {
        Place { table: "intent", column: "context", record: &self.id, revision: self.revision.cast_unsigned(), times }
    }

    /// The intent; `None` if it is not what this vault wrote there.
    pub(super) fn open(&self, keys: &Keys) -> Option<Unfinished> {
        let opened = keys.open(&self.place(&[self.received_at, self.state]), &self.context).ok()?;
        let Context { slip, stage } = serde_json::from_slice(opened.expose_secret()).ok()?;
        Some(Unfinished::new(slip, self.revision.cast_unsigned(), stage))
    }

    /// The context and the payload in the current epoch, each where it is not yet.
    pub(super) fn resealed(&self, keys: &Keys, payload: &[u8]) -> (Resealing, Resealing) {
        let context = keys.reseal(&self.place(&[self.received_at, self.state]), &self.context);
        let id = Uuid::from_slice(&self.id).map_err(|_| Damaged);
        let payload = id.and_then(|id| keys.reseal(&payload_place(&id, &[self.received_at]), payload));
        (context, payload)
    }
}

type Resealing = Result<Option<Vec<u8>>, Damaged>;

const COLUMNS: &str = "SELECT id, received_at, state, revision, context FROM intent";

/// Every row, in order of arrival.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<Row>> {
    connection.prepare_cached(&format!("{COLUMNS} ORDER BY arrival"))?.query_map([], |found| Ok(row(found)))?.collect()
}

/// The rows of one file of many documents, in the order of its lines.
pub(super) fn of_bulk(connection: &Connection, bulk: Uuid) -> rusqlite::Result<Vec<Row>> {
    let query = format!("{COLUMNS} WHERE bulk = ?1 ORDER BY arrival");
    connection.prepare_cached(&query)?.query_map([bulk.as_bytes()], |found| Ok(row(found)))?.collect()
}

/// The rows in a state.
pub(super) fn in_state(connection: &Connection, state: i64) -> rusqlite::Result<Vec<Row>> {
    let query = format!("{COLUMNS} WHERE state = ?1 ORDER BY arrival");
    connection.prepare_cached(&query)?.query_map([state], |found| Ok(row(found)))?.collect()
}

/// One row.
pub(super) fn one(connection: &Connection, id: Uuid) -> rusqlite::Result<Option<Row>> {
    connection
        .prepare_cached(&format!("{COLUMNS} WHERE id = ?1"))?
        .query_row([id.as_bytes()], |found| Ok(row(found)))
        .optional()
}

fn row(row: &rusqlite::Row<'_>) -> Row {
    // What is not of its column's type does not open, and stops no other.
    Row {
        id: row.get(0).unwrap_or_default(),
        received_at: row.get(1).unwrap_or_default(),
        state: row.get(2).unwrap_or_default(),
        revision: row.get(3).unwrap_or_default(),
        context: row.get(4).unwrap_or_default(),
    }
}

pub(super) fn seal(keys: &Keys, slip: &Slip, stage: &Stage, revision: u64) -> Result<Vec<u8>, CryptoError> {
    let times = [slip.received_at.as_millisecond(), stage.code()];
    let place = Place { table: "intent", column: "context", record: slip.id.as_bytes(), revision, times: &times };
    let context = serde_json::to_vec(&Context { slip: slip.clone(), stage: stage.clone() });
    let context = context.unwrap_or_else(|_| unreachable!("a context has string keys and plain values"));
    keys.seal(&place, &context)
}

pub(super) fn payload_place<'a>(id: &'a Uuid, times: &'a [i64]) -> Place<'a> {
    Place { table: "intent", column: "payload", record: id.as_bytes(), revision: 0, times }
}
