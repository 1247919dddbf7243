//! What a person asks about dropped documents, and what ingest answers. No value of a document is in any of it but in
//! what [`IngestRequest::Open`] gives.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{authentication::AuthenticationId, secret::SecretBytes, status::Problem};

/// How files are named that hold many documents, one a line.
const MANY: [&str; 2] = ["ndjson", "jsonl"];

/// Whether a file of this name holds many documents, one a line; sealed it may have `.age` behind that.
pub fn holds_many(name: &str) -> bool {
    let extension = Path::new(name.strip_suffix(".age").unwrap_or(name)).extension();
    extension.is_some_and(|extension| MANY.iter().any(|many| extension.eq_ignore_ascii_case(many)))
}

/// Where an answer goes. Nobody may be waiting for it.
pub type Answer<T> = oneshot::Sender<Result<T, IngestRefusal>>;

/// A request to ingest.
pub enum IngestRequest {
    /// Which documents are not finished, in order of arrival.
    List(Answer<Vec<Unfinished>>),
    /// One of them.
    Show(Uuid, Answer<Unfinished>),
    /// What to do with one of them.
    Settle(Uuid, Order, Answer<Settled>),
    /// What would become of a document.
    Plan(SecretBytes, Answer<Preview>),
    /// A document that was rejected, by its name in `rejected/`, in the clear.
    Open(String, Answer<SecretBytes>),
}

impl IngestRequest {
    /// Answers that it is not done.
    pub fn refuse(self, refusal: IngestRefusal) {
        // Nobody may be waiting for it.
        let _ = match self {
            Self::List(answer) => answer.send(Err(refusal)).is_ok(),
            Self::Show(_, answer) => answer.send(Err(refusal)).is_ok(),
            Self::Settle(_, _, answer) => answer.send(Err(refusal)).is_ok(),
            Self::Plan(_, answer) => answer.send(Err(refusal)).is_ok(),
            Self::Open(_, answer) => answer.send(Err(refusal)).is_ok(),
        };
    }
}

/// What a person has decided about a document that is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It was not done: send it again. One that only waits is tried at once.
    Retry,
    /// It was done, and this is it.
    Adopt(AuthenticationId),
    /// It is not to be done (any more): it is rejected.
    Discard,
}

/// A document that is not finished.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfinished {
    /// The intent's id.
    pub intent: Uuid,
    /// The dropped file's name. Empty for one that is damaged.
    pub file: String,
    /// The document's line, from 1, where the file has many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// `create`, `update`, `upsert` or `delete`; `unknown` for one that is damaged.
    pub action: String,
    /// How far it is.
    pub state: IntentState,
    /// When it was journaled.
    pub received_at: Option<Timestamp>,
    /// When it was sent the last time.
    pub sent_at: Option<Timestamp>,
    /// How often it was sent.
    pub attempts: u32,
    /// Whose it is, once that is known: an `externalUserId`, or nothing for the workspace.
    pub owner: Option<String>,
    /// The authentication that it is about, if it names one.
    pub authentication_id: Option<AuthenticationId>,
    /// Of a held one: the new authentications that could be it.
    pub candidates: Vec<AuthenticationId>,
    /// What is in the way.
    pub problem: Option<Problem>,
}

/// How far a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentState {
    /// Sealed in the journal; nothing was sent.
    Journaled,
    /// It may have been sent.
    Sent,
    /// Done, and its receipt is not written yet.
    Acked,
    /// Refused, and its reason is not written yet.
    Rejected,
    /// It may have been done, and the listing can't tell: a person decides.
    Held,
    /// A line of many at its end, whose file's other lines are not all yet.
    Ended,
    /// Its row in the journal does not open.
    Damaged,
}

/// What became of an [`Order`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// The intent's id.
    pub intent: Uuid,
    /// What was done.
    pub outcome: SettledAs,
}

/// What was done upon an [`Order`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettledAs {
    /// It is on its way again.
    Queued,
    /// It has its receipt.
    Adopted,
    /// It was rejected; one that was damaged is gone.
    Discarded,
}

/// Why ingest does not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IngestRefusal {
    /// There is no drop directory.
    #[error("there is no drop directory")]
    Off,
    /// There is no such document.
    #[error("no such document is waiting")]
    NotFound,
    /// It is in a state in which that can't be done.
    #[error("{0}")]
    Conflict(&'static str),
    /// What was sent is not right.
    #[error("{0}")]
    Bad(&'static str),
    /// Something is in the way, here or in Tray: one clause.
    #[error("{0}")]
    Unavailable(String),
}

/// What would become of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Preview {
    /// It would be sent.
    Accepted {
        /// What Tray would be asked for.
        does: Does,
        /// Whose it would be: an `externalUserId`, or nothing for the workspace.
        owner: Option<String>,
        /// Whether the end user would be created first.
        creates_user: bool,
        /// The authentication that exists, if one does.
        authentication_id: Option<AuthenticationId>,
        /// Its name afterwards.
        name: Option<String>,
        /// Field by field, by JSON pointer.
        fields: Vec<Field>,
        /// What is worth knowing, and stops nothing: clauses.
        notes: Vec<String>,
    },
    /// It would be rejected: the reason as a reason file has it.
    Rejected {
        /// Which kind of reason.
        kind: String,
        /// One clause.
        reason: String,
        /// What to do about it.
        hint: Option<String>,
        /// Where in the document (RFC 6901).
        pointer: Option<String>,
        /// Where in the file, from 1.
        line: Option<usize>,
        /// Likewise, in bytes.
        column: Option<usize>,
    },
}

/// What Tray would be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Does {
    /// A new authentication.
    Create,
    /// A whole body for one that exists.
    Replace,
    /// The end of one that exists.
    Delete,
}

/// One field of an authentication, without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Which (RFC 6901), such as `/credentials/access_token`.
    pub pointer: String,
    /// What happens to it.
    pub change: Change,
    /// The keyed fingerprint of what is there: equal values have equal ones, and nobody without the key can tell more.
    pub before: Option<String>,
    /// That of what would be there.
    pub after: Option<String>,
}

/// What happens to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is new.
    Added,
    /// It gets another value.
    Changed,
    /// It stays.
    Same,
    /// It goes.
    Removed,
}
