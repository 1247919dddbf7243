//! An intent: a dropped document from its journaling to its end. Its states are types, and the arrows between them
//! ([`Follows`]) the only ways for it to go.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{document::Action, lane::Lane, refusal::Refusal};
use crate::authentication::{AuthenticationId, Environment, Metadata, Owner, Service, ServiceEnvironmentId};

/// What stays the same through all states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Slip {
    /// The intent's id.
    pub(super) id: Uuid,
    /// The dropped file's name.
    pub(super) file: String,
    /// Which line it is of a file of many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<Line>,
    /// What the document asks for; `None` for a line that is no document.
    pub(super) action: Option<Action>,
    /// When it was journaled.
    pub(super) received_at: Timestamp,
    /// Where it stands in line. Not known of what an earlier version journaled.
    #[serde(default)]
    pub(super) lane: Lane,
    /// The document's keyed fingerprint, by which a copy of it is told. Likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fingerprint: Option<[u8; 16]>,
    /// Whether it came sealed: then it is never written in the clear. Likewise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) sealed: bool,
}

/// A line of a file of many documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    /// The file: the id that it was claimed under.
    pub(super) bulk: Uuid,
    /// From 1; lines without a document count.
    pub(super) number: usize,
}

/// An intent in a state.
#[derive(Debug)]
pub(super) struct Intent<S> {
    pub(super) slip: Slip,
    pub(super) state: S,
    /// How often its state was written.
    pub(super) revision: u64,
}

/// Its document is sealed in the journal; nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Journaled {}

/// It may have been sent.
#[expect(clippy::struct_field_names, reason = "sent_at is the receipt's word for it")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sent {
    /// Whose authentication it is about.
    pub(super) owner: Owner,
    /// What was sent.
    pub(super) operation: Operation,
    /// Whether the schemas of its service environment were checked here.
    pub(super) schema_checked: bool,
    /// What is worth knowing of it: clauses.
    #[serde(default)]
    pub(super) notes: Vec<String>,
    /// When it was sent the last time.
    pub(super) sent_at: Timestamp,
    /// How often it was sent.
    pub(super) attempt: u32,
}

/// What is sent to Tray.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Operation {
    /// A new authentication.
    Create(Creation),
    /// A whole body for one that exists.
    Replace {
        /// What may be said of it afterwards.
        metadata: Metadata,
    },
    /// The end of one that exists.
    Delete {
        /// Which.
        id: AuthenticationId,
    },
}

/// What may be said of a new authentication that has no id yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Creation {
    pub(super) name: String,
    pub(super) service: Option<Service>,
    pub(super) environment: ServiceEnvironmentId,
    /// The environment's title, if it was looked up.
    pub(super) title: Option<String>,
    /// The ids that its owner had before: what appears beside them may be it.
    pub(super) before: Vec<AuthenticationId>,
}

/// It was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Acked {
    pub(super) sent: Sent,
    pub(super) effect: Effect,
    pub(super) authentication: AuthenticationId,
    pub(super) settled_at: Timestamp,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Effect {
    /// Tray answered with the new id.
    Created,
    /// Tray's answer was lost, and the one new authentication that matches was found.
    Adopted,
    Updated,
    Deleted,
}

impl Effect {
    /// Its name, as receipts have it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Adopted => "adopted",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }
}

/// It will not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rejected {
    pub(super) refusal: Refusal,
    pub(super) at: Timestamp,
}

/// It is a copy of one that was accepted, and not done again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Duplicate {
    /// The intent of the one that was accepted.
    pub(super) of: Uuid,
    /// What that one made, changed or deleted, if it is known.
    pub(super) authentication: Option<AuthenticationId>,
    pub(super) at: Timestamp,
}

/// It is at its end, and its file's other lines are not all yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ended {
    pub(super) end: End,
}

/// How it ended.
#[expect(clippy::large_enum_variant, reason = "most are the largest")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum End {
    Acked(Acked),
    Rejected(Rejected),
    Duplicate(Duplicate),
}

/// It may have been done, and the listing can't tell: a person has to look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) sent: Sent,
    /// The new authentications that match.
    pub(super) candidates: Vec<AuthenticationId>,
}

/// Any state, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(super) enum Stage {
    Journaled(Journaled),
    Sent(Sent),
    Acked(Acked),
    Rejected(Rejected),
    Held(Held),
    Duplicate(Duplicate),
    Ended(Ended),
}

/// A state that may follow another.
pub(super) trait Follows<Earlier>: Clone + Into<Stage> {}

/// A state after which only the outcome is left to be written.
pub(super) trait Final: Clone + Into<End> {}

impl Follows<Journaled> for Sent {}
impl Follows<Journaled> for Rejected {}
impl Follows<Journaled> for Duplicate {}
/// Sent again: nothing of the earlier attempt appeared.
impl Follows<Sent> for Sent {}
/// Nothing was done, and that is certain.
impl Follows<Sent> for Journaled {}
impl Follows<Sent> for Acked {}
impl Follows<Sent> for Rejected {}
impl Follows<Sent> for Held {}
/// A person has decided.
impl Follows<Held> for Journaled {}
impl Follows<Held> for Acked {}
impl Follows<Held> for Rejected {}
impl<S: Final> Follows<S> for Ended {}
impl Final for Acked {}
impl Final for Rejected {}
impl Final for Duplicate {}

/// An intent from the journal, in whichever state it is.
#[derive(Debug)]
pub(super) enum Unfinished {
    Journaled(Intent<Journaled>),
    Sent(Intent<Sent>),
    Acked(Intent<Acked>),
    Rejected(Intent<Rejected>),
    Held(Intent<Held>),
    Duplicate(Intent<Duplicate>),
    Ended(Intent<Ended>),
}

impl Unfinished {
    /// Puts an intent together again.
    pub(super) fn new(slip: Slip, revision: u64, stage: Stage) -> Self {
        match stage {
            Stage::Journaled(of) => Self::Journaled(Intent { slip, state: of, revision }),
            Stage::Sent(of) => Self::Sent(Intent { slip, state: of, revision }),
            Stage::Acked(of) => Self::Acked(Intent { slip, state: of, revision }),
            Stage::Rejected(of) => Self::Rejected(Intent { slip, state: of, revision }),
            Stage::Held(of) => Self::Held(Intent { slip, state: of, revision }),
            Stage::Duplicate(of) => Self::Duplicate(Intent { slip, state: of, revision }),
            Stage::Ended(of) => Self::Ended(Intent { slip, state: of, revision }),
        }
    }

    /// What stays the same through all states.
    pub(super) fn slip(&self) -> &Slip {
        match self {
            Self::Journaled(intent) => &intent.slip,
            Self::Sent(intent) => &intent.slip,
            Self::Acked(intent) => &intent.slip,
            Self::Rejected(intent) => &intent.slip,
            Self::Held(intent) => &intent.slip,
            Self::Duplicate(intent) => &intent.slip,
            Self::Ended(intent) => &intent.slip,
        }
    }
}

impl Operation {
    /// The authentication that it is about, if it has an id yet.
    pub(super) fn authentication(&self) -> Option<AuthenticationId> {
        match self {
            Self::Create(_) => None,
            Self::Replace { metadata } => Some(metadata.id),
            Self::Delete { id } => Some(*id),
        }
    }
}

impl Creation {
    /// What may be said of it once it has an id.
    pub(super) fn metadata(&self, id: AuthenticationId, owner: &Owner) -> Metadata {
        let environment = |title: &String| Environment { id: self.environment.clone(), title: title.clone() };
        Metadata {
            id,
            name: self.name.clone(),
            owner: owner.clone(),
            service: self.service.clone(),
            environment: self.title.as_ref().map(environment),
            scopes: None,
        }
    }
}

impl Stage {
    /// The state's number in the journal, to be counted by.
    pub(super) fn code(&self) -> i64 {
        match self {
            Self::Journaled(_) => 1,
            Self::Sent(_) => 2,
            Self::Acked(_) => 3,
            Self::Rejected(_) => 4,
            Self::Held(_) => 5,
            Self::Duplicate(_) => 6,
            Self::Ended(_) => 7,
        }
    }
}

macro_rules! stages {
    ($($state:ident),*) => {$(
        impl From<$state> for Stage {
            fn from(state: $state) -> Self {
                Self::$state(state)
            }
        }
    )*};
}
stages!(Journaled, Sent, Acked, Rejected, Held, Duplicate, Ended);

macro_rules! ends {
    ($($state:ident),*) => {$(
        impl From<$state> for End {
            fn from(state: $state) -> Self {
                Self::$state(state)
            }
        }
    )*};
}
ends!(Acked, Rejected, Duplicate);
